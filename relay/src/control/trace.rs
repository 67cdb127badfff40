//! Packets on their way, shown to a client of the control socket: `trace` in words, `capture` with their octets.

use super::access::{Access, Refusal};
use super::answer::timestamp;
use super::protocol::Item;
use crate::offline::Link;
use crate::tables::Tables;
use crate::tap::{self, Copied, Filter, Sighting, Tap};
use crossbeam::channel::{RecvTimeoutError, bounded};
use ipnet::IpNet;
use relay_core::Direction;
use relay_core::counters::{Counters, Name};
use relay_core::wire::{Octets, ipv4, ipv6};
use serde_json::{Value, json};
use std::io::{self, Write};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often more packets are allowed.
const SLICE: Duration = Duration::from_millis(100);
/// How often the client hears of packets that are not shown, and the relay of a client that has gone.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// The most packets that wait for a client.
const WAITING: usize = 1024;
/// Octets of a packet that it takes to describe it.
const HEADERS: usize = 256;
/// The most octets of a packet that are shown.
const SNAP: usize = 65_535;

/// Which packets a client wants, and how.
pub(super) struct Wanted<'r> {
    pub(super) network: Option<IpNet>,
    pub(super) counter: Option<&'r str>,
    pub(super) limit: u32,
    pub(super) count: Option<u64>,
    pub(super) octets: bool,
}

/// Shows packets until there were enough, or the client goes.
pub(super) fn trace(
    wanted: &Wanted<'_>,
    access: &Access,
    client: &mut impl Write,
) -> io::Result<Result<Value, Refusal>> {
    let counters = match wanted.counter.map(counters).transpose() {
        Ok(counters) => counters,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let filter = Filter {
        network: wanted.network,
        counters,
    };
    let (sender, sightings) = bounded(WAITING);
    let snap = if wanted.octets { SNAP } else { HEADERS };
    let tap = Arc::new(Tap::new(filter, snap, sender));
    let Some(_looking) = access.shared.tap.take(Arc::clone(&tap)) else {
        let why = "somebody else is looking at packets; one can at a time";
        return Ok(Err(Refusal::because(why)));
    };
    let _watching = match access.watch() {
        Ok(watching) => watching,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let slices = (1000 / SLICE.as_millis()) as u32;
    let allowance = wanted.limit.div_ceil(slices);
    tap.allow(allowance);
    let (mut refill, mut heartbeat) = (Instant::now() + SLICE, Instant::now() + HEARTBEAT);
    let mut shown = 0;
    // Tells the client that everything from here on is seen.
    client.write_all(Item::new(json!({ "not_shown": 0 })).emit().as_bytes())?;
    client.flush()?;
    while wanted.count.is_none_or(|count| shown < count) {
        let now = Instant::now();
        if now >= refill {
            tap.allow(allowance);
            refill = now + SLICE;
        }
        if now >= heartbeat {
            heartbeat = now + HEARTBEAT;
            let item = Item::new(json!({ "not_shown": tap.take_not_shown() }));
            client.write_all(item.emit().as_bytes())?;
            client.flush()?;
        }
        match sightings.recv_timeout(refill.saturating_duration_since(now)) {
            Ok(sighting) => {
                shown += 1;
                let tables = access.shared.tables.load();
                let item = Item::new(describe(&sighting, &tables, wanted.octets));
                client.write_all(item.emit().as_bytes())?;
                if sightings.is_empty() {
                    client.flush()?;
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            // The tap lives as long as this function does.
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    Ok(Ok(
        json!({ "shown": shown, "not_shown": tap.take_not_shown() }),
    ))
}

/// Returns the counters whose names begin so.
fn counters(beginning: &str) -> Result<Vec<Name>, Refusal> {
    let names: Vec<Name> = Counters::ZERO
        .iter()
        .map(|(name, _)| name)
        .filter(|name| name.to_string().starts_with(beginning))
        .collect();
    match names.is_empty() {
        true => Err(Refusal::because(format!(
            "no counter of the translator begins with `{beginning}`; `siit-relay stats --all` lists them"
        ))),
        false => Ok(names),
    }
}

fn describe(sighting: &Sighting, tables: &Tables, octets: bool) -> Value {
    let Sighting {
        at,
        counter,
        before,
        after,
    } = sighting;
    let after: Vec<Value> = after.iter().map(|copied| packet(copied, octets)).collect();
    let verdict = match counter {
        Name::ForwardedPackets(_)
        | Name::ForwardedOctets(_)
        | Name::Fragments(_)
        | Name::Hairpinned => "forwarded",
        Name::Replies(_) => "answered",
        Name::Passed(_) => "passed",
        Name::Dropped(..) => "dropped",
    };
    let rules = tap::addresses(before.link, &before.octets)
        .map(|[source, destination]| {
            json!({ "source": rule(source, false, tables), "destination": rule(destination, true, tables) })
        });
    json!({
        "time": timestamp(*at),
        "verdict": verdict,
        "counter": counter.to_string(),
        "reason": counter.describe(),
        "rules": rules,
        "before": packet(before, octets),
        "after": after,
    })
}

/// Names the rule by which an address is translated.
fn rule(address: IpAddr, is_destination: bool, tables: &Tables) -> String {
    let (eam, by_rfc_6052) = match address {
        IpAddr::V4(address) => (
            tables.eam.find_v4(address),
            !is_destination || tables.ipv4_translatable.contains(address),
        ),
        IpAddr::V6(address) => (
            tables.eam.find_v6(address),
            tables.policy.prefix.contains(address),
        ),
    };
    match eam {
        Some(eam) => format!("EAM {} <-> {}", eam.ipv4(), eam.ipv6()),
        None if by_rfc_6052 => "RFC 6052".to_owned(),
        None => "none".to_owned(),
    }
}

fn packet(copied: &Copied, octets: bool) -> Value {
    let mut value = json!({
        "where": copied.whereabouts,
        "packet": summary(copied.link, &copied.octets).unwrap_or_else(|| "no packet".to_owned()),
        "length": copied.length,
    });
    if octets {
        value["link"] = json!(match copied.link {
            Link::Ethernet => "ethernet",
            Link::Raw => "raw",
        });
        let digits: String = copied
            .octets
            .iter()
            .map(|octet| format!("{octet:02x}"))
            .collect();
        value["octets"] = json!(digits);
    }
    value
}

/// Describes a packet in a few words.
fn summary(link: Link, octets: &[u8]) -> Option<String> {
    let (start, direction) = tap::network(link, octets)?;
    let [source, destination] = tap::addresses(link, octets)?;
    let packet = octets.get(start..)?;
    let transport = match direction {
        Direction::V4ToV6 => {
            let (header, length) = ipv4::Header::parse_quoted(packet).ok()?;
            match header.fragment_offset {
                0 => transport(header.protocol, packet.get(length..)?),
                offset => format!("fragment at {}", u32::from(offset) * 8),
            }
        }
        Direction::V6ToV4 => {
            let next = *packet.get(6)?;
            transport(next, packet.get(ipv6::HEADER_LENGTH..)?)
        }
    };
    Some(format!("{source} > {destination} {transport}"))
}

fn transport(protocol: u8, payload: &[u8]) -> String {
    let ports = |name: &str| match payload.load::<4>(0) {
        Some([s0, s1, d0, d1]) => {
            let (from, to) = (u16::from_be_bytes([s0, s1]), u16::from_be_bytes([d0, d1]));
            format!("{name} {from} > {to}")
        }
        None => name.to_owned(),
    };
    let message = |name: &str| match payload {
        [kind, code, ..] => format!("{name} type {kind} code {code}"),
        _ => name.to_owned(),
    };
    match protocol {
        1 => message("ICMP"),
        6 => ports("TCP"),
        17 => ports("UDP"),
        44 => "fragment".to_owned(),
        58 => message("ICMPv6"),
        other => format!("protocol {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_described_by_their_headers() {
        let mut packet = vec![0; 28];
        packet[0] = 0x45;
        packet[3] = 28;
        packet[9] = 17;
        packet[12..20].copy_from_slice(&[203, 0, 113, 50, 192, 0, 2, 1]);
        packet[20..24].copy_from_slice(&[0x30, 0x39, 0, 53]);
        let described = summary(Link::Raw, &packet).unwrap();
        assert_eq!(described, "203.0.113.50 > 192.0.2.1 UDP 12345 > 53");
        packet[7] = 2;
        assert_eq!(
            summary(Link::Raw, &packet).unwrap(),
            "203.0.113.50 > 192.0.2.1 fragment at 16"
        );
        let mut packet = vec![0; 44];
        packet[0] = 0x60;
        packet[5] = 4;
        packet[6] = 58;
        packet[40] = 128;
        assert_eq!(
            summary(Link::Raw, &packet).unwrap(),
            ":: > :: ICMPv6 type 128 code 0"
        );
        for cut in 0..packet.len() {
            // Whatever it says, it says something or nothing.
            let _ = summary(Link::Raw, &packet[..cut]);
        }
        assert_eq!(summary(Link::Ethernet, &packet), None);
    }

    #[test]
    fn counters_are_chosen_by_the_beginning_of_their_names() {
        assert_eq!(counters("drop_v4_to_v6_hop_limit").unwrap().len(), 1);
        assert!(counters("drop_").unwrap().len() > 20);
        assert!(counters("banana").is_err());
    }
}
