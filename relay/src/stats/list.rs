//! Every counter of the relay with its name, its description and its place among the metrics: made here and nowhere else.

use super::{ControlCounters, WorkerCounters};
use crate::driver::xdp_counters::XdpCounters;
use crate::routes::KernelReason;
use relay_core::counters::Name;

/// What the whole relay has counted.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// The sum over all workers.
    pub workers: WorkerCounters,
    /// Of the control thread.
    pub control: ControlCounters,
    /// Of the XDP program, summed over all processors; zeros if they cannot be read.
    pub program: XdpCounters,
}

/// One counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counter {
    /// The name, as `stats` and the log spell it.
    pub name: String,
    /// One sentence for operators.
    pub description: &'static str,
    /// The metric that it belongs to, without prefix and suffix.
    pub metric: &'static str,
    /// What the metric is about.
    pub help: &'static str,
    /// What tells it from the others of the metric.
    pub labels: Vec<(&'static str, &'static str)>,
    /// The value.
    pub count: u64,
}

impl Totals {
    /// Lists every counter, also those at zero; those of one metric stand together.
    pub fn counters(&self) -> Vec<Counter> {
        let mut verdicts = self.workers.verdicts;
        verdicts.add(&self.control.verdicts);
        self.program.add_to(&mut verdicts);
        let mut list: Vec<Counter> = verdicts
            .iter()
            .map(|(name, count)| translated(name, count))
            .collect();
        let reasons = KernelReason::ALL.into_iter().zip(self.workers.handed_over);
        list.extend(reasons.map(|(reason, count)| Counter {
            name: format!("kernel_{}", reason.name()),
            description: reason.describe(),
            metric: "kernel_packets",
            help: "Translated packets handed to the kernel, which finds the next hop.",
            labels: vec![("reason", reason.name())],
            count,
        }));
        let plain = self.workers.plain().into_iter().chain(self.control.plain());
        list.extend(plain.map(|(name, description, count)| Counter {
            name: name.to_owned(),
            description,
            metric: name,
            help: description,
            labels: Vec::new(),
            count,
        }));
        list.extend(self.program.iter().map(|(counter, count)| {
            let (name, description) = (counter.name(), counter.description());
            let (metric, help, labels) = match counter.is_fate() {
                true => (
                    "xdp_packets",
                    "Frames that the XDP program has seen, by what became of them.",
                    vec![("verdict", name.trim_start_matches("xdp_"))],
                ),
                false => (name, description, Vec::new()),
            };
            Counter {
                name: name.to_owned(),
                description,
                metric,
                help,
                labels,
                count,
            }
        }));
        // The directions come one after the other; a metric has both.
        let mut order: Vec<&str> = Vec::new();
        for counter in &list {
            if !order.contains(&counter.metric) {
                order.push(counter.metric);
            }
        }
        list.sort_by_key(|counter| order.iter().position(|metric| *metric == counter.metric));
        list
    }
}

/// Describes a counter of the translator.
fn translated(name: Name, count: u64) -> Counter {
    let direction = |direction: relay_core::Direction| ("direction", direction.name());
    let (metric, help, labels) = match name {
        Name::ForwardedPackets(from) => {
            ("forwarded_packets", name.describe(), vec![direction(from)])
        }
        // Prometheus wants bytes; octets are the same.
        Name::ForwardedOctets(from) => ("forwarded_bytes", name.describe(), vec![direction(from)]),
        Name::Fragments(from) => ("fragments", name.describe(), vec![direction(from)]),
        Name::Replies(from) => ("replies", name.describe(), vec![direction(from)]),
        Name::Hairpinned => ("hairpinned_packets", name.describe(), Vec::new()),
        Name::Passed(reason) => (
            "passed_packets",
            "Packets left to the kernel as they came.",
            vec![("reason", reason.name())],
        ),
        Name::Dropped(from, reason) => (
            "dropped_packets",
            "Packets dropped by the translator.",
            vec![direction(from), ("reason", reason.name())],
        ),
    };
    Counter {
        name: name.to_string(),
        description: name.describe(),
        metric,
        help,
        labels,
        count,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::HandoverReason;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_sums_are_complete() {
        let mut one = WorkerCounters {
            received_frames: 3,
            ..WorkerCounters::default()
        };
        one.count_handover(HandoverReason::NextHop(KernelReason::NoNeighbour));
        one.count_handover(HandoverReason::Passed);
        let mut workers = one;
        workers.add(&one);
        let totals = Totals {
            workers,
            ..Totals::default()
        };
        let counters = totals.counters();
        let moved: Vec<_> = counters
            .iter()
            .filter(|counter| counter.count != 0)
            .map(|counter| (counter.name.as_str(), counter.count))
            .collect();
        let expected = [
            ("kernel_no_neighbour", 2),
            ("received_frames", 6),
            ("kernel_passed", 2),
        ];
        assert_eq!(moved, expected);
        let names: BTreeSet<_> = counters.iter().map(|counter| &counter.name).collect();
        assert_eq!(names.len(), counters.len());
        let metrics: BTreeSet<_> = counters
            .iter()
            .map(|counter| (counter.metric, &counter.labels))
            .collect();
        assert_eq!(metrics.len(), counters.len());
        for counter in &counters {
            assert!(counter.description.ends_with('.'), "{counter:?}");
            assert!(counter.help.ends_with('.'), "{counter:?}");
        }
    }
}
