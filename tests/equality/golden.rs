//! All golden packets, through both.

use crate::lab::{Lab, MACS};
use crate::twins::{Fate, Twins};
use eam_tables::layout::Work;
use relay::offline::Link;
use std::collections::BTreeMap;
use tests::case::{self, Case};

/// What one thread found.
#[derive(Default)]
struct Found {
    failures: Vec<String>,
    packets: usize,
    forwarded: usize,
}

#[test]
fn golden_packets_fare_alike() {
    let cases = case::load();
    let mut by_config: BTreeMap<(&str, &str), Vec<&Case>> = BTreeMap::new();
    for case in &cases {
        let key = (case.config.as_str(), case.eam.as_str());
        by_config.entry(key).or_default().push(case);
    }
    let configs: Vec<_> = by_config.into_iter().collect();
    let half = configs.len() / 2;
    // Loading a program for each takes most of the time.
    let halves = std::thread::scope(|scope| {
        let work = |configs| scope.spawn(move || run_all(configs));
        [work(&configs[..half]), work(&configs[half..])].map(|thread| {
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    });
    let [Some(first), Some(second)] = halves else {
        return;
    };
    let packets = first.packets + second.packets;
    let forwarded = first.forwarded + second.forwarded;
    eprintln!(
        "{packets} golden packets under {} configurations, {forwarded} forwarded by the program",
        configs.len()
    );
    let failures = [first.failures, second.failures].concat();
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    assert!(
        packets > 800 && forwarded > 200,
        "the test compares next to nothing"
    );
}

/// Runs the cases of some configurations by each port; `None` if the test is skipped.
fn run_all(configs: &[((&str, &str), Vec<&Case>)]) -> Option<Found> {
    let lab = Lab::new(false)?;
    let found = lab.relay.run_in(|| {
        let mut found = Found::default();
        for ((config, eam), cases) in configs {
            let (config, tables) = case::configure(config, eam);
            let mut twins = Twins::new(&lab, config, tables, Work::Forward);
            for (case, port) in cases.iter().flat_map(|case| [(case, 0), (case, 1)]) {
                match run(&mut twins, port, case) {
                    Ok(fates) => {
                        found.packets += fates.len();
                        let is_forwarded = |fate: &&Fate| matches!(fate, Fate::Forwarded(_));
                        found.forwarded += fates.iter().filter(is_forwarded).count();
                    }
                    Err(failure) => found
                        .failures
                        .push(format!("{}: \"{}\":\n{failure}", case.file, case.title)),
                }
            }
        }
        found
    });
    Some(found.expect("the namespace"))
}

fn run(twins: &mut Twins, port: usize, case: &Case) -> Result<Vec<Fate>, String> {
    let mut fates = Vec::new();
    for input in &case.input {
        let mut frame = match case.link {
            Some(Link::Ethernet) => input.clone(),
            Some(Link::Raw) | None => {
                let ethertype = match input.first().map(|first| first >> 4) {
                    Some(6) => [0x86, 0xdd],
                    Some(_) | None => [0x08, 0x00],
                };
                [&[0; 6][..], &[2, 0, 0, 0, 9, 9], &ethertype, input].concat()
            }
        };
        if let Some(destination) = frame.first_chunk_mut() {
            *destination = MACS[port];
        }
        if let Some(fate) = twins.compare(port, &frame)? {
            fates.push(fate);
        }
        twins.check_counters()?;
    }
    Ok(fates)
}
