//! The metrics: what there are, once for every format. Names and help of counters come from the one list in [`crate::stats`].

use super::access::Health;
use super::answer::timestamp;
use super::exposition::{Exposition, Format, Kind, Samples};
use super::process::{Process, ProcessFigures};
use super::snapshot::Snapshot;
use crate::tables::Tables;
use crate::tally::Count;
use relay_core::Direction;
use std::fmt::Display;

/// What the name of every metric of the relay begins with.
const PREFIX: &str = "siit_relay_";

impl Exposition {
    /// Begins a metric of the relay.
    fn family(&mut self, name: &str, kind: Kind, help: &str) -> Samples {
        self.begin(&format!("{PREFIX}{name}"), kind, help)
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        let name = self.family(name, Kind::Gauge, help);
        self.sample(&name, &[], value);
    }

    fn counters(&mut self, snapshot: &Snapshot) {
        let mut family: Option<(&str, Samples)> = None;
        for counter in snapshot.totals.counters() {
            let begun = family.take_if(|(name, _)| *name == counter.metric);
            let (_, samples) = family.insert(begun.unwrap_or_else(|| {
                let samples = self.family(counter.metric, Kind::Counter, counter.help);
                (counter.metric, samples)
            }));
            self.sample(samples, &counter.labels, counter.count);
        }
    }

    fn queues(&mut self, snapshot: &Snapshot) {
        let described = crate::stats::QueueCounters::default().plain();
        for (position, (name, help, _)) in described.into_iter().enumerate() {
            let family = self.family(&format!("queue_{name}"), Kind::Counter, help);
            for queue in &snapshot.queues {
                let (number, worker) = (queue.queue.to_string(), queue.worker.to_string());
                let labels = [
                    ("interface", queue.interface.as_str()),
                    ("queue", &number),
                    ("worker", &worker),
                ];
                let counted = queue.counters.plain().get(position).map_or(0, |row| row.2);
                self.sample(&family, &labels, counted);
            }
        }
    }

    fn interfaces(&mut self, snapshot: &Snapshot) {
        let help = "How the interface is served; always 1.";
        let name = self.family("interface", Kind::Info, help);
        for interface in &snapshot.interfaces {
            let zero_copy = if interface.is_zero_copy {
                "zero"
            } else {
                "copy"
            };
            let labels = [
                ("interface", interface.name.as_str()),
                ("xdp", interface.xdp),
                ("copy", zero_copy),
            ];
            self.sample(&name, &labels, 1);
        }
        type Value = fn(&super::snapshot::Interface) -> u32;
        let gauges: [(&str, &str, Value); 4] = [
            (
                "interface_up",
                "Whether the interface is up and has carrier.",
                |interface| u32::from(interface.is_up),
            ),
            (
                "interface_zero_copy",
                "Whether frames go without a copy between driver and worker.",
                |interface| u32::from(interface.is_zero_copy),
            ),
            (
                "interface_mtu_bytes",
                "The MTU of the interface; 0 if it has gone.",
                |interface| interface.mtu.unwrap_or(0),
            ),
            (
                "interface_queues",
                "Receive queues of the interface that workers serve.",
                |interface| interface.queues.len() as u32,
            ),
        ];
        for (name, help, value) in gauges {
            let name = self.family(name, Kind::Gauge, help);
            for interface in &snapshot.interfaces {
                self.sample(&name, &[("interface", &interface.name)], value(interface));
            }
        }
    }

    fn generation(&mut self, snapshot: &Snapshot) {
        let generation = &snapshot.generation;
        self.gauge(
            "generation",
            "The number of the generation in force.",
            generation.number,
        );
        self.gauge(
            "mappings",
            "Explicit address mappings in force.",
            generation.mappings,
        );
        self.gauge(
            "runtime_mappings",
            "Mappings in force that were added at runtime and are in no file.",
            generation.runtime,
        );
        self.gauge(
            "generation_timestamp_seconds",
            "When the generation was put in force.",
            timestamp(generation.since),
        );
        self.gauge(
            "generation_age_seconds",
            "How long the generation has been in force.",
            generation.age.as_secs_f64(),
        );
        let reloads = &snapshot.reloads;
        let name = self.family("reloads", Kind::Counter, "Reloads, by what became of them.");
        self.sample(&name, &[("result", "success")], reloads.succeeded);
        self.sample(&name, &[("result", "failure")], reloads.failed);
        let last = reloads.last.as_ref();
        let is_success = last.is_none_or(|last| last.problems.is_empty());
        self.gauge(
            "last_reload_successful",
            "Whether the last reload succeeded, or none was tried.",
            u8::from(is_success),
        );
        self.gauge(
            "last_reload_timestamp_seconds",
            "When the last reload ended; 0 if none was tried.",
            last.map_or(0.0, |last| timestamp(last.at)),
        );
        self.gauge(
            "last_reload_duration_seconds",
            "How long the last reload took.",
            last.map_or(0.0, |last| last.duration.as_secs_f64()),
        );
    }

    fn mappings(&mut self, tables: &Tables) {
        if !tables.tally.is_on() {
            return;
        }
        let counts = tables.tally.counts();
        let is_large = counts.len() > MOST_MAPPINGS;
        type Number = fn(&Count, Direction) -> u64;
        let kinds: [(&str, &str, Number); 2] = [
            (
                "eam_packets",
                "Packets translated by the mapping, of their source or of their destination, by the direction in which they were.",
                Count::packets,
            ),
            (
                "eam_bytes",
                "Octets of these packets after translation, from the new network header to the end.",
                Count::octets,
            ),
        ];
        for (name, help, number) in kinds {
            let samples = self.family(name, Kind::Counter, help);
            for (eam, count) in tables.eam.entries().iter().zip(&counts) {
                if is_large && *count == Count::default() {
                    continue;
                }
                let (ipv4, ipv6) = (eam.ipv4().to_string(), eam.ipv6().to_string());
                for direction in Direction::ALL {
                    let labels = [
                        ("ipv4", ipv4.as_str()),
                        ("ipv6", &ipv6),
                        ("name", eam.name().unwrap_or_default()),
                        ("direction", direction.name()),
                    ];
                    self.sample(&samples, &labels, number(count, direction));
                }
            }
        }
    }

    fn process(&mut self, process: &Process, figures: &ProcessFigures) {
        let name = self.begin(
            "process_cpu_seconds",
            Kind::Counter,
            "Total user and system CPU time spent in seconds.",
        );
        self.sample(&name, &[], figures.cpu_seconds);
        for (name, help, value) in [
            (
                "process_resident_memory_bytes",
                "Resident memory size in bytes.",
                figures.resident_bytes as f64,
            ),
            (
                "process_virtual_memory_bytes",
                "Virtual memory size in bytes.",
                figures.virtual_bytes as f64,
            ),
            (
                "process_open_fds",
                "Number of open file descriptors.",
                figures.open_fds as f64,
            ),
            (
                "process_max_fds",
                "Maximum number of open file descriptors.",
                figures.max_fds as f64,
            ),
            (
                "process_start_time_seconds",
                "Start time of the process since unix epoch in seconds.",
                timestamp(process.started),
            ),
        ] {
            let name = self.begin(name, Kind::Gauge, help);
            self.sample(&name, &[], value);
        }
    }
}

/// The most mappings about which [`exposition`] tells; there may be more in [`of_mappings`].
const MOST_MAPPINGS: usize = 10_000;

/// Returns what was counted for each mapping, in a format. Of large tables only those are told that something was counted for.
pub(super) fn of_mappings(format: Format, tables: &Tables) -> String {
    let mut metrics = Exposition::new(format);
    metrics.mappings(tables);
    metrics.end()
}

/// Returns all metrics in a format; those of single mappings only if they are not too many.
pub fn exposition(
    format: Format,
    snapshot: &Snapshot,
    tables: &Tables,
    health: &Health,
    process: &Process,
    figures: &ProcessFigures,
) -> String {
    let mut metrics = Exposition::new(format);
    let name = metrics.family("build", Kind::Info, "The version; always 1.");
    metrics.sample(&name, &[("version", env!("CARGO_PKG_VERSION"))], 1);
    metrics.gauge(
        "translating",
        "Whether packets are translated.",
        u8::from(health.is_translating()),
    );
    metrics.gauge(
        "draining",
        "Whether the operator wants traffic to go elsewhere.",
        u8::from(health.is_draining()),
    );
    metrics.gauge("workers", "Worker threads.", snapshot.workers);
    metrics.gauge(
        "uptime_seconds",
        "Time since the relay was started.",
        snapshot.uptime.as_secs_f64(),
    );
    metrics.counters(snapshot);
    let limiter = &snapshot.limiter;
    metrics.gauge(
        "icmp_rate_limit",
        "ICMP errors that the relay may originate in a second; +Inf without a limit.",
        limiter
            .rate
            .map_or("+Inf".to_owned(), |rate| rate.to_string()),
    );
    metrics.gauge(
        "icmp_tokens",
        "ICMP errors that the relay may originate at once.",
        limiter.tokens,
    );
    metrics.generation(snapshot);
    metrics.interfaces(snapshot);
    metrics.queues(snapshot);
    if tables.eam.len() <= MOST_MAPPINGS {
        metrics.mappings(tables);
    }
    metrics.process(process, figures);
    metrics.end()
}
