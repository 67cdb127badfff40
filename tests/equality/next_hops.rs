//! Next hops: what the program remembers of the kernel's answers, for how long, and what it must not remember.

use crate::lab::{Lab, MACS, ip};
use crate::twins::{Fate, Twins};
use eam_tables::layout::{Memory, Work, XdpCounter};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::time::{Duration, Instant};
use tests::case;
use tests::packet::{UDP, packet};

const CONFIG: &str = "prefix: 2001:db8:46::/96";
const EAM: &str = r#"
eam:
  - { ipv4: 192.0.2.16/28, ipv6: "2001:db8:cccc::/124" }
  - { ipv4: 192.0.2.32/28, ipv6: "2001:db8:eeee::/124" }
  - { ipv4: 192.0.2.64/28, ipv6: "2001:db8:dddd::/124" }
"#;

/// The hardware addresses of gateways and neighbours, as the laboratory has them.
const WEST_GATEWAY: u8 = 1;
const EAST_GATEWAY: u8 = 3;

/// Runs a test in the network, on one processor: each has a memory of its own.
fn with_twins(test: impl FnOnce(&Lab, &mut Twins) + Send) {
    let Some(lab) = Lab::new(false) else { return };
    let outcome = lab.relay.run_in(|| {
        let allowed = sched_getaffinity(None).expect("the processors");
        let first = (0..CpuSet::MAX_CPU).find(|cpu| allowed.is_set(*cpu));
        let mut only = CpuSet::new();
        only.set(first.expect("a processor"));
        sched_setaffinity(None, &only).expect("it is allowed");
        let (config, tables) = case::configure(CONFIG, EAM);
        test(&lab, &mut Twins::new(&lab, config, tables, Work::Forward));
    });
    outcome.expect("the namespace");
}

/// A frame to an IPv4 address, which an IPv6 service or a client behind the prefix stands for.
fn frame(port: usize, destination: &str) -> Vec<u8> {
    frame_from(port, "9.9.9.9", destination)
}

fn frame_from(port: usize, source: &str, destination: &str) -> Vec<u8> {
    let (ethertype, packet) = if destination.starts_with("192.0.2.") {
        (
            [0x08, 0x00],
            packet(ip(source), ip(destination), UDP, b"data"),
        )
    } else {
        let destination = ip(&format!("2001:db8:46::{destination}"));
        let source = ip("2001:db8:dddd::1");
        ([0x86, 0xdd], packet(source, destination, UDP, b"data"))
    };
    [&MACS[port][..], &[2, 0, 0, 0, 9, 9], &ethertype, &packet].concat()
}

/// Has both process a frame; returns what the program did, and how often it asked the kernel.
fn look(twins: &mut Twins, frame: &[u8]) -> (Fate, u64) {
    let fate = twins
        .compare(0, frame)
        .unwrap_or_else(|error| panic!("{error}"));
    let counted = twins
        .check_counters()
        .unwrap_or_else(|error| panic!("{error}"));
    (fate.expect("it is long enough"), lookups(&counted))
}

fn lookups(counted: &[(XdpCounter, u64)]) -> u64 {
    let mut counted = counted.iter();
    let lookups = counted.find(|(counter, _)| *counter == XdpCounter::HopLookups);
    lookups.expect("it is among them").1
}

/// Checks that a frame is forwarded, and how often the kernel is asked.
fn forwards(twins: &mut Twins, destination: &str, lookups: u64) {
    let (fate, asked) = look(twins, &frame(0, destination));
    assert!(
        matches!(fate, Fate::Forwarded(_)),
        "{destination}: {fate:?}"
    );
    assert_eq!(asked, lookups, "{destination}: questions to the kernel");
}

fn punts(twins: &mut Twins, destination: &str) {
    let (fate, _) = look(twins, &frame(0, destination));
    assert_eq!(fate, Fate::Punted, "{destination}");
}

#[test]
fn destinations_behind_a_gateway_share_an_answer_and_those_on_a_link_do_not() {
    with_twins(|_, twins| {
        // No route tells addresses apart that begin with 9.
        forwards(twins, "9.9.9.1", 1);
        forwards(twins, "9.8.7.1", 0);
        forwards(twins, "10.9.9.1", 1);
        forwards(twins, "9.9.9.1", 0);
        // Of the routes to those that begin with 198, the longest has 24 bits.
        forwards(twins, "198.51.100.1", 1);
        forwards(twins, "198.51.100.2", 0);
        forwards(twins, "198.51.101.1", 1);
        forwards(twins, "198.51.100.1", 0);
        forwards(twins, "198.18.0.2", 1);
        forwards(twins, "198.18.0.3", 1);
        forwards(twins, "198.18.0.2", 0);
        punts(twins, "198.18.0.4");
        punts(twins, "198.18.0.255");
        punts(twins, "198.18.0.1");
        // 64 bits of IPv6.
        forwards(twins, "192.0.2.65", 1);
        forwards(twins, "192.0.2.66", 0);
        forwards(twins, "192.0.2.17", 1);
        forwards(twins, "192.0.2.18", 1);
        forwards(twins, "192.0.2.17", 0);
        punts(twins, "192.0.2.19");
    });
}

#[test]
fn the_machines_own_addresses_among_those_behind_a_gateway_are_the_kernels() {
    with_twins(|lab, twins| {
        for _ in 0..2 {
            punts(twins, "198.18.64.9");
            let (fate, _) = look(twins, &frame(0, "198.18.64.8"));
            assert!(matches!(fate, Fate::Forwarded(_)));
            punts(twins, "198.18.64.9");
            forwards(twins, "198.18.64.8", 0);
            punts(twins, "192.0.2.41");
            let (fate, _) = look(twins, &frame(0, "192.0.2.42"));
            assert!(matches!(fate, Fate::Forwarded(_)));
            punts(twins, "192.0.2.41");
            forwards(twins, "192.0.2.42", 0);
        }
        // A whole network that is the machine's own, though it has none of the addresses.
        if !route(lab, &["local", "198.18.64.128/25", "dev", "lo"]) {
            return;
        }
        twins.follow();
        forwards(twins, "198.18.64.8", 1);
        forwards(twins, "198.18.64.8", 0);
        punts(twins, "198.18.64.200");
        forwards(twins, "198.18.64.8", 0);
    });
}

/// Adds a route that the laboratory has no words for; false if iproute2 is not there.
fn route(lab: &Lab, words: &[&str]) -> bool {
    let status = lab
        .relay
        .command("ip")
        .args(["route", "add"])
        .args(words)
        .status();
    match status {
        Ok(status) => {
            assert!(status.success(), "ip route add {words:?}");
            true
        }
        Err(_) => {
            tests::skip("no `ip` to add an unusual route with");
            false
        }
    }
}

#[test]
fn any_change_voids_what_is_remembered() {
    with_twins(|lab, twins| {
        forwards(twins, "9.9.9.1", 1);
        forwards(twins, "9.9.9.1", 0);
        twins.fast_path.forget_next_hops().expect("the map");
        forwards(twins, "9.9.9.1", 1);
        forwards(twins, "9.9.9.1", 0);

        lab.relay
            .set_neighbour("west", ip("198.18.0.2"), [2, 0, 0, 0, 7, 7])
            .expect("the neighbour");
        twins.follow();
        let (fate, _) = look(twins, &frame(0, "9.9.9.1"));
        let Fate::Forwarded(sent) = fate else {
            panic!("{fate:?}")
        };
        assert_eq!(sent[..6], [2, 0, 0, 0, 7, 7]);

        lab.relay
            .delete_neighbour("west", ip("198.18.0.2"))
            .expect("the neighbour");
        twins.follow();
        punts(twins, "9.9.9.1");
    });
}

#[test]
fn answers_grow_old() {
    with_twins(|_, twins| {
        forwards(twins, "9.9.9.1", 1);
        let begin = Instant::now();
        loop {
            let (fate, asked) = look(twins, &frame(0, "9.9.9.1"));
            assert!(matches!(fate, Fate::Forwarded(_)));
            let age = begin.elapsed();
            if asked == 1 {
                assert!(age >= Duration::from_millis(900), "after {age:?}");
                break;
            }
            // A thousand jiffies, of which there are a hundred a second at least.
            assert!(age < Duration::from_secs(12), "never asked again");
            std::thread::sleep(Duration::from_millis(50));
        }
    });
}

#[test]
fn where_there_are_several_ways_the_source_counts() {
    with_twins(|lab, twins| {
        let two_ways = [
            "198.19.0.0/16",
            "nexthop",
            "via",
            "198.18.0.2",
            "nexthop",
            "via",
            "198.18.1.2",
        ];
        if !route(lab, &two_ways) {
            return;
        }
        twins.follow();
        assert_eq!(twins.memory()[0].on, Memory::ON_BOTH);
        // The workers choose for themselves: nothing to compare.
        let mut ways = [0; 2];
        for source in 0..16 {
            let source = format!("2001:db8:dddd::{source:x}");
            let destination = ip("2001:db8:46::198.19.1.1");
            let packet = packet(ip(&source), destination, UDP, b"data");
            let frame = [&MACS[0][..], &[2, 0, 0, 0, 9, 9, 0x86, 0xdd], &packet].concat();
            let mut before = None;
            for expected in [1, 0] {
                let fate = twins.run(0, &frame).expect("it is long enough");
                let Fate::Forwarded(sent) = &fate else {
                    panic!("{fate:?}")
                };
                match sent[5] {
                    WEST_GATEWAY => ways[0] += 1,
                    EAST_GATEWAY => ways[1] += 1,
                    other => panic!("neighbour {other}"),
                }
                assert_eq!(lookups(&twins.count()), expected, "{source}");
                assert!(before.is_none_or(|before| before == fate));
                before = Some(fate);
            }
        }
        assert!(ways[0] > 0 && ways[1] > 0, "{ways:?}");
    });
}

#[test]
fn frames_leave_with_the_tags_of_the_interface_and_not_without_one() {
    with_twins(|_, twins| {
        let [west, east] = [twins.indices[0], twins.indices[1]];
        let all = [0x88, 0xa8, 0x00, 0x64, 0x81, 0x00, 0x00, 0x0a];
        for count in [1, 2] {
            let mut tags = [0; 8];
            tags[..4 * count].copy_from_slice(&all[8 - 4 * count..]);
            twins.follow_with(|egresses| {
                for index in [west, east] {
                    let egress = egresses.get_mut(&index).expect("a port");
                    egress.tag_count = count as u32;
                    egress.tags = tags;
                }
            });
            for destination in [
                "9.9.9.1",
                "198.18.64.8",
                "198.18.0.2",
                "192.0.2.65",
                "192.0.2.17",
            ] {
                // Asked, then remembered.
                for _ in 0..2 {
                    for padding in [0, 30] {
                        let mut frame = frame(0, destination);
                        frame.resize(frame.len() + padding, 0xa5);
                        let mut expected = twins.worker_frame(&frame);
                        expected.splice(12..12, tags[..4 * count].iter().copied());
                        let fate = twins.run(0, &frame);
                        assert_eq!(fate, Some(Fate::Forwarded(expected)), "{destination}");
                    }
                }
            }
        }
        twins.follow_with(|egresses| {
            egresses.remove(&east);
        });
        let fate = |twins: &mut Twins, destination| twins.run(0, &frame(0, destination));
        assert_eq!(fate(twins, "192.0.2.65"), Some(Fate::Punted));
        assert!(matches!(fate(twins, "9.9.9.1"), Some(Fate::Forwarded(_))));
        assert_eq!(fate(twins, "198.18.64.8"), Some(Fate::Punted));
    });
}
