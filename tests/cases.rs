//! Golden packets: every case of `tests/data` through the offline relay, octet by octet and counter by counter.
//!
//! The octets come from elsewhere, so this is where the translator meets the RFCs. A case without a link type runs
//! twice: as it is, and in Ethernet frames.

use relay::offline::{Link, Offline};
use std::collections::BTreeMap;
use tests::case::{self, Case, Expected};
use tests::fragments;
use tests::packet::{self, Checksum};

/// Addresses of the frames around packets without a link header.
const ADDRESSES: [u8; 12] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];

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
    // These cannot happen: the one family has no header checksum, options or pools, the other no extension headers, and
    // every IPv4 address has an RFC 6052 form; zero checksums are IPv4's.
    let impossible = [
        "drop_v4_to_v6_malformed_extensions",
        "drop_v4_to_v6_segments_left",
        "drop_v4_to_v6_extension_in_fragment",
        "drop_v4_to_v6_unmapped_source",
        "drop_v4_to_v6_unmapped_quotation",
        "drop_v6_to_v4_header_checksum",
        "drop_v6_to_v4_malformed_options",
        "drop_v6_to_v4_source_route",
        "drop_v6_to_v4_unmapped_service",
        "drop_v6_to_v4_udp_zero_checksum",
    ];
    assert_eq!(never.len(), impossible.len(), "{never:#?}");
    for name in &never {
        assert!(
            impossible.contains(&name.as_str()),
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
        check_checksums(link, &input, &output)?;
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
    let network = network(link, sent);
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

/// Checks what became of one packet by another library and by the plain definition of checksums.
fn check_checksums(link: Link, input: &[u8], output: &[Vec<u8>]) -> Result<(), String> {
    let mut packets = Vec::new();
    for frame in output {
        let parsed = match link {
            Link::Ethernet => etherparse::SlicedPacket::from_ethernet(frame).map(|_| ()),
            Link::Raw => etherparse::SlicedPacket::from_ip(frame).map(|_| ()),
        };
        parsed.map_err(|error| format!("what was sent does not parse: {error}"))?;
        let packet = &frame[network(link, frame)..];
        let judgement = packet::judge(packet).ok_or("what was sent is not a whole packet")?;
        if !judgement.header_is_valid {
            return Err("an IPv4 header checksum is wrong".to_owned());
        }
        packets.push(packet);
    }
    let Some(first) = packets.first() else {
        return Ok(());
    };
    let input = &input[network(link, input)..];
    check_quotation(input, first)?;
    let before = match (
        fragments::is_fragment(input),
        fragments::reassemble(&[input]),
    ) {
        (_, Some(whole)) => judged(&whole)?,
        (true, None) => Checksum::None,
        (false, None) => return Err("what was translated was not a whole packet".to_owned()),
    };
    let after = match fragments::reassemble(&packets) {
        Some(whole) => judged(&whole)?,
        None if fragments::is_fragment(input) && fragments::is_fragment(first) => Checksum::None,
        None => return Err("the fragments do not make one packet".to_owned()),
    };
    match (before, after) {
        (Checksum::Valid, Checksum::Valid) | (Checksum::Invalid, Checksum::Invalid) => Ok(()),
        (Checksum::None, Checksum::None | Checksum::Valid) => Ok(()),
        // The relay's own word about a packet, whatever that was like.
        (Checksum::Invalid, Checksum::Valid) if is_icmp_error(first) => Ok(()),
        (before, after) => Err(format!(
            "the transport checksum was {before:?} and is {after:?}"
        )),
    }
}

/// Checks what an ICMP error that was sent quotes: what was right is right, what was wrong is wrong, and it can be read.
fn check_quotation(input: &[u8], output: &[u8]) -> Result<(), String> {
    if !is_icmp_error(output) {
        return Ok(());
    }
    let after = packet::quotation(output).ok_or("the length in an error leads out of it")?;
    // RFC 1812, 4.3.2.3; RFC 4443, 2.4 (c).
    let most = if output[0] >> 4 == 4 { 576 } else { 1280 };
    if output.len() > most {
        return Err(format!("an error of {} octets", output.len()));
    }
    if !after.header_is_valid() {
        return Err("the header checksum of a quoted IPv4 packet is wrong".to_owned());
    }
    // RFC 4884, 3.
    if !after.extensions.is_empty() && after.packet.len() < 128 {
        return Err("extensions stand too near".to_owned());
    }
    let Some(before) = packet::quotation(input) else {
        return Ok(());
    };
    if before.hops() != after.hops() {
        return Err("the hop limit of a quoted packet has changed".to_owned());
    }
    let transport = |octets| packet::judge(octets).map(|judgement| judgement.transport);
    let checksums = [
        (transport(before.packet), transport(after.packet)),
        (
            Some(before.extensions_checksum()),
            Some(after.extensions_checksum()),
        ),
    ];
    for (before, after) in checksums {
        match (before, after) {
            (Some(Checksum::Valid), Some(Checksum::Invalid))
            | (Some(Checksum::Invalid), Some(Checksum::Valid))
            | (Some(Checksum::None), Some(Checksum::Invalid)) => {
                return Err(format!(
                    "a checksum within an error was {before:?} and is {after:?}"
                ));
            }
            (Some(_) | None, Some(_) | None) => {}
        }
    }
    Ok(())
}

fn judged(packet: &[u8]) -> Result<Checksum, String> {
    let judgement = packet::judge(packet);
    Ok(judgement.ok_or("a packet is not all there")?.transport)
}

/// Says whether a packet that the relay sent, which has no options or extension headers then, is an ICMP error.
fn is_icmp_error(packet: &[u8]) -> bool {
    match packet[0] >> 4 {
        4 => packet[9] == 1 && matches!(packet.get(20), Some(3 | 11 | 12)),
        _ => packet[6] == 58 && matches!(packet.get(40), Some(1..=4)),
    }
}

fn network(link: Link, octets: &[u8]) -> usize {
    match link {
        Link::Ethernet => packet::network_offset(octets),
        Link::Raw => 0,
    }
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
