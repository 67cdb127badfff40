//! Golden packets: every case of `tests/data` through the offline relay, octet by octet and counter by counter.
//!
//! The octets come from elsewhere, so this is where the translator meets the RFCs. A case without a link type runs
//! twice: as it is, and in Ethernet frames.

use relay::offline::{Link, Offline};
use std::collections::BTreeMap;
use tests::case::{self, Case, Expected};
use tests::packet::network_offset;
use tests::sent::{check_sent, is_icmp_error};

/// Addresses of the frames around packets without a link header.
const ADDRESSES: [u8; 12] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];

/// Counters that never move: the one family has no header checksum, options or pools, the other no extension headers, and every
/// IPv4 address has an RFC 6052 form.
const IMPOSSIBLE: [&str; 9] = [
    "drop_v4_to_v6_malformed_extensions",
    "drop_v4_to_v6_segments_left",
    "drop_v4_to_v6_extension_in_fragment",
    "drop_v4_to_v6_unmapped_source",
    "drop_v4_to_v6_unmapped_quotation",
    "drop_v6_to_v4_header_checksum",
    "drop_v6_to_v4_malformed_options",
    "drop_v6_to_v4_source_route",
    "drop_v6_to_v4_unmapped_service",
];

#[test]
fn golden_packets() {
    let cases = case::load();
    assert!(cases.len() >= 250, "only {} cases were found", cases.len());
    let mut failures = Vec::new();
    for case in &cases {
        let links = match case.link {
            Some(link) => vec![link],
            None => vec![Link::Raw, Link::Ethernet],
        };
        for link in links {
            if let Err(failure) = run(case, link) {
                failures.push(format!(
                    "{}: \"{}\" ({}), {link:?}:\n{failure}",
                    case.file, case.title, case.clause
                ));
            }
        }
    }
    assert!(
        failures.is_empty(),
        "{} of {} cases failed\n\n{}",
        failures.len(),
        cases.len(),
        failures.join("\n\n")
    );
}

/// Every reason to drop or to pass occurs, in every direction in which it can.
#[test]
fn every_counter_moves_in_some_case() {
    let (config, tables) = case::configure("prefix: 2001:db8:46::/96", "eam: []");
    let relay = Offline::new(&config, tables);
    let cases = case::load();
    let never: Vec<String> = relay
        .counters()
        .iter()
        .map(|(name, _)| name.to_string())
        .filter(|name| !cases.iter().any(|case| case.counters.contains_key(name)))
        .collect();
    assert_eq!(never.len(), IMPOSSIBLE.len(), "{never:#?}");
    for name in &never {
        assert!(
            IMPOSSIBLE.contains(&name.as_str()),
            "{name} moves in no case"
        );
    }
}

fn run(case: &Case, link: Link) -> Result<(), String> {
    let (config, tables) = case::configure(&case.config, &case.eam);
    let mut relay = Offline::new(&config, tables);
    let before = counters(&relay);
    let mut sent = Vec::new();
    for input in &case.input {
        let input = match (case.link, link) {
            (None, Link::Ethernet) => [&ADDRESSES[..], &ethertype(input[0] >> 4), input].concat(),
            (None, Link::Raw) | (Some(_), _) => input.clone(),
        };
        let output = relay.translate(link, &input);
        check_sent(link, &input, &output)?;
        sent.extend(output);
    }
    let expected: Vec<Expected> = case
        .output
        .iter()
        .map(|output| match (case.link, link) {
            (None, Link::Ethernet) => {
                let version = output.0[0].unwrap_or(0) >> 4;
                output.behind(&[&ADDRESSES[..], &ethertype(version)].concat())
            }
            (None, Link::Raw) | (Some(_), _) => output.clone(),
        })
        .collect();
    compare_packets(link, &expected, &sent)?;

    let moved: BTreeMap<String, u64> = counters(&relay)
        .into_iter()
        .map(|(name, after)| (name.clone(), after - before[&name]))
        .filter(|(_, moved)| *moved != 0)
        .collect();
    if moved != case.counters {
        return Err(format!(
            "counters: expected {:?}\n           found {moved:?}",
            case.counters
        ));
    }
    Ok(())
}

fn ethertype(version: u8) -> [u8; 2] {
    match version {
        4 => [0x08, 0x00],
        6 => [0x86, 0xdd],
        _ => panic!("a case without link type needs IPv4 or IPv6; say `link: raw`"),
    }
}

fn counters(relay: &Offline) -> BTreeMap<String, u64> {
    relay
        .counters()
        .iter()
        .map(|(name, count)| (name.to_string(), count))
        .collect()
}

fn compare_packets(link: Link, expected: &[Expected], sent: &[Vec<u8>]) -> Result<(), String> {
    for (index, (expected, sent)) in expected.iter().zip(sent).enumerate() {
        check_unknown_octets(link, expected, sent)?;
        if !expected.matches(sent) {
            return Err(format!(
                "packet {}:\nexpected {}\n   found {}",
                index + 1,
                hex(expected.0.iter().copied()),
                hex(sent.iter().copied().map(Some))
            ));
        }
    }
    match expected.len() == sent.len() {
        true => Ok(()),
        false => Err(format!(
            "expected {} packets, found {}",
            expected.len(),
            sent.len()
        )),
    }
}

/// Only an Identification that the translator makes up, and the header checksum over it, may be left open, also of the
/// packet that an ICMPv4 error quotes. A header with a valid checksum sums up to nothing, so no other checksum depends
/// on it.
fn check_unknown_octets(link: Link, expected: &Expected, sent: &[u8]) -> Result<(), String> {
    let network = network_offset(link, sent);
    let packet = sent.get(network..).unwrap_or_default();
    let quotation = 20 + 8;
    let allows = |at: usize| match packet.first().map(|first| first >> 4) {
        Some(4) if is_icmp_error(packet) && at >= quotation => {
            matches!(at - quotation, 4 | 5 | 10 | 11)
        }
        Some(4) => matches!(at, 4 | 5 | 10 | 11),
        Some(_) | None => false,
    };
    for (at, octet) in expected.0.iter().enumerate() {
        if octet.is_none() && !at.checked_sub(network).is_some_and(allows) {
            return Err(format!("`??` at octet {at} of an expected packet"));
        }
    }
    Ok(())
}

fn hex(octets: impl Iterator<Item = Option<u8>>) -> String {
    let words = octets.enumerate().map(|(at, octet)| {
        let space = if at > 0 && at % 4 == 0 { " " } else { "" };
        match octet {
            Some(octet) => format!("{space}{octet:02x}"),
            None => format!("{space}??"),
        }
    });
    words.collect()
}
