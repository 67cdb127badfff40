//! A million random frames under all sorts of configurations, through both.
//!
//! `SIIT_RELAY_EQUALITY_FRAMES` makes them fewer; `SIIT_RELAY_SEED` makes them others; `SIIT_RELAY_EQUALITY_FRAME` names a single
//! one, as a failure does.

use crate::lab::Lab;
use crate::packets::{self, Made};
use crate::twins::{Fate, Twins};
use eam_tables::layout::{Work, XdpCounter};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Mutex;
use tests::case;
use tests::random::{Random, seed};

/// How many frames there are in all configurations together.
const FRAMES: usize = 1_000_000;
/// How many frames are run before the counters are compared.
const BATCH: usize = 4096;

/// The mappings of all configurations.
const EAM: &str = r#"
eam:
  - { ipv4: 192.0.2.1, ipv6: "2001:db8:12:34::1" }
  - { ipv4: 192.0.2.16/28, ipv6: "2001:db8:cccc::/124" }
  - { ipv4: 192.0.2.32/28, ipv6: "2001:db8:eeee::/124" }
  - { ipv4: 192.0.2.40/30, ipv6: "2001:db8:eeee:1::/64" }
  - { ipv4: 192.0.2.48/30, ipv6: "2001:db8:ffff::/126" }
  - { ipv4: 192.0.2.64/26, ipv6: "2001:db8:dddd::/64" }
  - { ipv4: 192.0.2.128/26, ipv6: "2001:db8:aaaa::/80" }
  - { ipv4: 192.0.2.192/29, ipv6: "2001:db8:bbbb::/125" }
  - { ipv4: 192.0.2.248/29, ipv6: "2001:db8:12:35::/125" }
"#;

const LISTS: &str = "
ipv4_translatable: [198.51.100.0/24]
service_pools: [192.0.2.0/24]
denylist4: [203.0.113.66, 198.51.100.128/25]
";

pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    config: &'static str,
    has_lists: bool,
    has_route_mtus: bool,
    pub(crate) eam: &'static str,
    work: Work,
}

impl Scenario {
    /// Returns the configuration.
    pub(crate) fn text(&self) -> String {
        let lists = if self.has_lists { LISTS } else { "" };
        format!("{}\n{lists}", self.config)
    }
}

const fn scenario(name: &'static str, config: &'static str) -> Scenario {
    Scenario {
        name,
        config,
        has_lists: true,
        has_route_mtus: false,
        eam: EAM,
        work: Work::Forward,
    }
}

/// All configurations.
pub(crate) const SCENARIOS: [Scenario; 13] = [
    scenario("defaults", "prefix: 2001:db8:46::/96"),
    Scenario {
        has_route_mtus: true,
        ..scenario("route-mtus", "prefix: 2001:db8:46::/96")
    },
    Scenario {
        has_lists: false,
        ..scenario("no-lists", "prefix: 2001:db8:46::/96")
    },
    scenario(
        "well-known",
        "prefix: 64:ff9b::/96\ntranslation: { hairpin: simple, tos: 32 }",
    ),
    scenario(
        "length-64",
        "prefix: 2001:db8:46:1::/64\ntranslation: { hairpin: off, traffic_class: 184 }",
    ),
    scenario(
        "length-56",
        "prefix: 2001:db8:46:100::/56\ntranslation: { tcp_mss_clamp: auto }",
    ),
    scenario(
        "length-48",
        "prefix: 2001:db8:46::/48\ntranslation: { atomic_fragments: on }",
    ),
    scenario(
        "length-40",
        "prefix: 2001:db8:4600::/40\ntranslation: { hairpin: simple, udp_zero_checksum: compute }",
    ),
    scenario(
        "length-32",
        "prefix: 2001:db9::/32\ntranslation: { udp_zero_checksum: forward, lowest_ipv6_mtu: 1400 }",
    ),
    scenario(
        "small-mtu",
        "prefix: 2001:db8:46::/96\ntranslation: { mtu: { ipv4: 1100, ipv6: 1300 } }",
    ),
    scenario(
        "well-known-translated",
        "prefix: 64:ff9b::/96\ntranslation: { wkp_non_global: translate }",
    ),
    Scenario {
        work: Work::Translate,
        ..scenario("kernel", "prefix: 2001:db8:46::/96")
    },
    Scenario {
        work: Work::Steer,
        ..scenario("steer", "prefix: 2001:db8:46::/96")
    },
];

#[test]
fn random_frames_fare_alike() {
    let only = std::env::var("SIIT_RELAY_EQUALITY_FRAME").ok();
    if let Some(only) = only {
        let (name, number) = only.split_once(':').expect("NAME:NUMBER");
        let number = number.parse().expect("the number of a frame");
        let wanted = SCENARIOS.iter().find(|scenario| scenario.name == name);
        run(wanted.expect("a configuration"), number..number + 1);
        return;
    }
    let frames = match std::env::var("SIIT_RELAY_EQUALITY_FRAMES") {
        Ok(frames) => frames.parse().expect("a number"),
        Err(_) => FRAMES,
    };
    let each = frames.div_ceil(SCENARIOS.len());
    let queue = Mutex::new(SCENARIOS.iter());
    let sums = Mutex::new(Sums::default());
    let next = || queue.lock().expect("nobody panics with it").next();
    let work = || {
        while let Some(scenario) = next() {
            if let Some(more) = run(scenario, 0..each) {
                sums.lock().expect("nobody panics with it").add(more);
            }
        }
    };
    std::thread::scope(|scope| {
        let others = [scope.spawn(work), scope.spawn(work)];
        for other in others {
            if let Err(panic) = other.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
    let sums = sums.into_inner().expect("nobody panics with it");
    if sums.frames == 0 {
        return;
    }
    eprintln!("{sums:#?}");
    // With so few, chance decides.
    if frames < 100_000 {
        return;
    }
    assert!(
        sums.translated * 10 > sums.frames * 4,
        "too few are translated"
    );
    for counter in XdpCounter::ALL {
        // No port is taken for an end of a veth pair here.
        let is_needed = !matches!(
            counter,
            XdpCounter::NotAPort | XdpCounter::NoSocket | XdpCounter::PuntUnfinishedChecksum
        );
        assert!(
            !is_needed
                || sums
                    .counted
                    .get(counter.name())
                    .is_some_and(|count| *count > 0),
            "{} never moved",
            counter.name()
        );
    }
}

#[derive(Debug, Default)]
struct Sums {
    frames: u64,
    simple: u64,
    translated: u64,
    counted: BTreeMap<&'static str, u64>,
}

impl Sums {
    fn add(&mut self, other: Self) {
        self.frames += other.frames;
        self.simple += other.simple;
        self.translated += other.translated;
        for (name, count) in other.counted {
            *self.counted.entry(name).or_default() += count;
        }
    }
}

/// Runs frames under a configuration; `None` if the test is skipped.
fn run(scenario: &Scenario, numbers: Range<usize>) -> Option<Sums> {
    let lab = Lab::new(scenario.has_route_mtus)?;
    let config = scenario.text();
    let sums = lab.relay.run_in(|| {
        let (config, tables) = case::configure(&config, scenario.eam);
        let mut twins = Twins::new(&lab, config, tables, scenario.work);
        let mut sums = Sums::default();
        for start in numbers.clone().step_by(BATCH) {
            let batch = start..numbers.end.min(start + BATCH);
            for number in batch.clone() {
                one(scenario, &mut twins, number, &mut sums)
                    .unwrap_or_else(|failure| fail(scenario, number, &failure));
            }
            match twins.check_counters() {
                Ok(counted) => {
                    for (counter, count) in counted {
                        *sums.counted.entry(counter.name()).or_default() += count;
                    }
                }
                Err(failure) => fail(scenario, culprit(scenario, &mut twins, batch), &failure),
            }
        }
        sums
    });
    Some(sums.expect("the namespace"))
}

fn frame(scenario: &Scenario, twins: &Twins, number: usize) -> Made {
    let mut random = Random::new(&format!("{}:{number}", scenario.name));
    packets::make(&mut random, twins.tables.policy.prefix)
}

fn one(
    scenario: &Scenario,
    twins: &mut Twins,
    number: usize,
    sums: &mut Sums,
) -> Result<(), String> {
    let Made {
        port,
        frame,
        is_simple,
    } = frame(scenario, twins, number);
    let fate = twins.compare(port, &frame)?;
    let is_translated = matches!(fate, Some(Fate::Forwarded(_) | Fate::LeftToKernel(_)));
    if is_simple && !is_translated && scenario.work != Work::Steer {
        let counted = twins.count();
        let moved = counted.iter().filter(|(_, count)| *count != 0);
        return Err(format!(
            "a simple frame is not translated: {fate:?}\n{}\n{:?}",
            crate::twins::hex(&frame),
            moved.collect::<Vec<_>>()
        ));
    }
    sums.frames += 1;
    sums.simple += u64::from(is_simple);
    sums.translated += u64::from(is_translated);
    Ok(())
}

/// Finds the first frame of a batch for which the counters do not agree.
fn culprit(scenario: &Scenario, twins: &mut Twins, mut batch: Range<usize>) -> usize {
    let first = batch.start;
    let is_counted_wrong = |number: &usize| {
        let Made { port, frame, .. } = frame(scenario, twins, *number);
        twins.compare(port, &frame).is_err() || twins.check_counters().is_err()
    };
    batch.find(is_counted_wrong).unwrap_or(first)
}

fn fail(scenario: &Scenario, number: usize, failure: &str) -> ! {
    panic!(
        "{failure}\nrepeat with: SIIT_RELAY_SEED={} SIIT_RELAY_EQUALITY_FRAME={}:{number} cargo test -p tests --test equality \
         random_frames_fare_alike",
        seed(),
        scenario.name,
    )
}
