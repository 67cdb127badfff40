//! `siit-relay translate --explain`: for each packet, what became of it and by which rules.

use super::rule::{Step, steps};
use crate::offline::Account;
use crate::tables::Tables;
use relay_core::counters::Name;
use relay_core::rewrite::{NetworkHeader, Patch};
use relay_core::wire::{Octets, icmp, ipv4, ipv6, transport};
use relay_core::{Direction, Rewrite, Verdict};
use serde_json::json;
use std::fmt::{self, Display};
use std::net::{IpAddr, SocketAddr};

/// What became of one packet of a capture.
pub(super) struct Explanation<'t> {
    /// Its number in the capture, from 1.
    number: u64,
    direction: Option<Direction>,
    /// What it says of itself, if it can be read.
    flow: Option<Flow>,
    fate: Fate,
    /// Where the rule stands that decided, if there is one.
    clause: Option<&'static str>,
    /// What was sent, each with its length in octets.
    sent: Vec<(Flow, usize)>,
    source: Vec<Step<'t>>,
    destination: Vec<Step<'t>>,
    moved: Vec<(Name, u64)>,
}

/// What became of a packet; the name tells why, if not translated.
#[derive(Clone, Copy)]
enum Fate {
    Forwarded,
    Split,
    IcmpError,
    Replied(Name),
    Passed(Name),
    Dropped(Name),
}

impl Fate {
    const fn name(self) -> &'static str {
        match self {
            Self::Forwarded => "forwarded",
            Self::Split => "split",
            Self::IcmpError => "icmp_error",
            Self::Replied(_) => "replied",
            Self::Passed(_) => "passed",
            Self::Dropped(_) => "dropped",
        }
    }
}

/// What a packet says of itself.
#[derive(Clone, Copy)]
struct Flow {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    detail: Detail,
}

/// What the transport header of a packet says.
#[derive(Clone, Copy)]
enum Detail {
    /// Source and destination port.
    Ports(u16, u16),
    /// ICMP's type and code.
    Icmp(u8, u8),
    /// There is none, or it is not there.
    None,
}

impl Flow {
    fn parse(packet: &[u8]) -> Option<Self> {
        let (source, destination, protocol, transport) = match packet.first()? >> 4 {
            4 => {
                let (header, length) = ipv4::Header::parse_quoted(packet).ok()?;
                let transport = (header.fragment_offset == 0).then_some(length);
                let (source, destination) = (header.source.into(), header.destination.into());
                (source, destination, header.protocol, transport)
            }
            _ => {
                let header = ipv6::Header::parse_quoted(packet).ok()?;
                let upper = header.upper(packet, packet.len(), true).ok();
                let is_first = |upper: &ipv6::Upper| upper.fragment.is_none_or(|f| f.offset == 0);
                let transport = upper.filter(is_first).map(|upper| upper.offset);
                let protocol = upper.map_or(header.next_header, |upper| upper.protocol);
                let (source, destination) = (header.source.into(), header.destination.into());
                (source, destination, protocol, transport)
            }
        };
        let octets = transport.and_then(|at| packet.load::<4>(at));
        let detail = match (octets, protocol) {
            (Some([kind, code, ..]), icmp::PROTOCOL_V4 | icmp::PROTOCOL_V6) => {
                Detail::Icmp(kind, code)
            }
            (Some([s0, s1, d0, d1]), _) if has_ports(protocol) => {
                Detail::Ports(u16::from_be_bytes([s0, s1]), u16::from_be_bytes([d0, d1]))
            }
            (_, _) => Detail::None,
        };
        Some(Self {
            source,
            destination,
            protocol,
            detail,
        })
    }

    fn as_json(&self) -> serde_json::Value {
        let mut object = json!({
            "source": self.source,
            "destination": self.destination,
            "protocol": self.protocol,
        });
        match self.detail {
            Detail::Ports(source, destination) => {
                object["source_port"] = json!(source);
                object["destination_port"] = json!(destination);
            }
            Detail::Icmp(kind, code) => {
                object["icmp_type"] = json!(kind);
                object["icmp_code"] = json!(code);
            }
            Detail::None => {}
        }
        object
    }
}

impl Display for Flow {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match protocol_name(self.protocol) {
            Some(name) => formatter.write_str(name)?,
            None => write!(formatter, "protocol {}", self.protocol)?,
        }
        let (source, destination) = (self.source, self.destination);
        match self.detail {
            Detail::Ports(from, to) => {
                let (source, destination) = (
                    SocketAddr::new(source, from),
                    SocketAddr::new(destination, to),
                );
                write!(formatter, " {source} > {destination}")
            }
            Detail::Icmp(kind, code) => write!(
                formatter,
                " type {kind} code {code} {source} > {destination}"
            ),
            Detail::None => write!(formatter, " {source} > {destination}"),
        }
    }
}

/// SCTP's protocol number.
const SCTP: u8 = 132;

const fn has_ports(protocol: u8) -> bool {
    matches!(
        protocol,
        transport::TCP | transport::UDP | transport::DCCP | transport::UDP_LITE | SCTP
    )
}

const fn protocol_name(protocol: u8) -> Option<&'static str> {
    Some(match protocol {
        icmp::PROTOCOL_V4 => "ICMP",
        icmp::PROTOCOL_V6 => "ICMPv6",
        transport::TCP => "TCP",
        transport::UDP => "UDP",
        transport::DCCP => "DCCP",
        transport::UDP_LITE => "UDP-Lite",
        SCTP => "SCTP",
        47 => "GRE",
        50 => "ESP",
        51 => "AH",
        _ => return None,
    })
}

impl<'t> Explanation<'t> {
    /// Explains what became of the packet with this number, which stands in a frame of the capture.
    pub(super) fn new(tables: &'t Tables, number: u64, frame: &[u8], account: &Account) -> Self {
        let packet_of = |frame: &'_ [u8]| -> Vec<u8> {
            frame.get(account.network..).unwrap_or_default().to_vec()
        };
        let direction = account.verdict.map(|(direction, _)| direction);
        let flow = direction.and_then(|_| Flow::parse(&packet_of(frame)));
        let sent: Vec<(Flow, usize)> = account
            .sent
            .iter()
            .filter_map(|frame| {
                let packet = packet_of(frame);
                Some((Flow::parse(&packet)?, packet.len()))
            })
            .collect();
        let (fate, clause) = fate(account);
        let is_translated = match fate {
            Fate::Forwarded | Fate::Split | Fate::IcmpError => true,
            Fate::Replied(_) | Fate::Passed(_) | Fate::Dropped(_) => false,
        };
        let ends = flow.zip(sent.first()).filter(|_| is_translated);
        let (source, destination) = ends.map_or_else(Default::default, |(before, (after, _))| {
            (
                steps(tables, before.source, after.source, true),
                steps(tables, before.destination, after.destination, false),
            )
        });
        Self {
            number,
            direction,
            flow,
            fate,
            clause,
            sent,
            source,
            destination,
            moved: account.moved.clone(),
        }
    }

    pub(super) fn as_text(&self) -> String {
        let mut text = format!("{}:", self.number);
        text += &match (self.direction, self.flow) {
            (Some(direction), Some(flow)) => format!(" {} {flow}: ", direction.name()),
            (Some(direction), None) => format!(" {} unreadable: ", direction.name()),
            (None, _) => " not IP: ".to_owned(),
        };
        let by = self
            .clause
            .map_or(String::new(), |clause| format!(" ({clause})"));
        let ends = self.sent.first().map_or(String::new(), |(flow, _)| {
            format!("{} > {}", flow.source, flow.destination)
        });
        let octets: usize = self.sent.iter().map(|(_, octets)| octets).sum();
        let went = format!("{ends}, {octets} octets");
        text += &match self.fate {
            Fate::Forwarded => format!("forwarded as {went}{by}"),
            Fate::Split => format!("split into {} fragments, {went}{by}", self.sent.len()),
            Fate::IcmpError => format!("ICMP error forwarded as {went}{by}"),
            Fate::Passed(why) => format!("left to the kernel: {}{by}", sentence(&why)),
            Fate::Dropped(why) => format!("dropped: {}{by}", sentence(&why)),
            Fate::Replied(why) => {
                let answer = self
                    .sent
                    .first()
                    .map_or(String::new(), |(flow, _)| flow.to_string());
                format!("dropped: {}{by}; answered by {answer}", sentence(&why))
            }
        };
        for (end, steps) in [("source", &self.source), ("destination", &self.destination)] {
            if !steps.is_empty() {
                let rules: Vec<String> = steps.iter().map(|step| step.rule.to_string()).collect();
                text += &format!("; {end} by {}", rules.join(", then "));
            }
        }
        let counters = self.moved.iter().map(|(name, _)| name);
        let counters: Vec<String> = counters
            .filter(|name| !matches!(name, Name::ForwardedOctets(_)))
            .map(ToString::to_string)
            .collect();
        text + &format!("; counted in {}", counters.join(", "))
    }

    pub(super) fn as_json(&self) -> serde_json::Value {
        let mut object = match &self.flow {
            Some(flow) => flow.as_json(),
            None => json!({ "source": null, "destination": null, "protocol": null }),
        };
        object["packet"] = json!(self.number);
        object["direction"] = json!(self.direction.map(Direction::name));
        object["verdict"] = json!(self.fate.name());
        object["clause"] = json!(self.clause);
        let why = match self.fate {
            Fate::Replied(why) | Fate::Passed(why) | Fate::Dropped(why) => Some(why),
            Fate::Forwarded | Fate::Split | Fate::IcmpError => None,
        };
        object["reason"] = json!(why.as_ref().and_then(reason));
        object["why"] = json!(why.as_ref().map(Name::describe));
        let sent = self.sent.iter().map(|(flow, octets)| {
            let mut sent = flow.as_json();
            sent["octets"] = json!(octets);
            sent
        });
        object["sent"] = sent.collect();
        for (key, steps) in [
            ("source_mapping", &self.source),
            ("destination_mapping", &self.destination),
        ] {
            let steps = steps.iter().map(|step| {
                let mut object = json!({});
                step.describe(&mut object);
                object
            });
            object[key] = steps.collect();
        }
        let counters = self.moved.iter();
        object["counters"] = counters
            .map(|(name, count)| (name.to_string(), json!(count)))
            .collect();
        object
    }
}

/// Says what became of a packet, and where the rule stands that decided.
fn fate(account: &Account) -> (Fate, Option<&'static str>) {
    let why = account.moved.iter().find_map(|(name, _)| match name {
        Name::Passed(_) | Name::Dropped(..) => Some(*name),
        Name::ForwardedPackets(_)
        | Name::ForwardedOctets(_)
        | Name::Fragments(_)
        | Name::Replies(_)
        | Name::Hairpinned => None,
    });
    let is_answered = !account.sent.is_empty();
    match (why, &account.verdict) {
        (Some(why @ Name::Passed(_)), _) => (Fate::Passed(why), why.clause()),
        (Some(why), _) if is_answered => (Fate::Replied(why), why.clause()),
        (Some(why), _) => (Fate::Dropped(why), why.clause()),
        (None, Some((direction, verdict))) => translated(*direction, verdict),
        (None, None) => (Fate::Forwarded, None),
    }
}

/// Of the many clauses that a translation obeys, returns the one that is particular to the packet.
fn translated(direction: Direction, verdict: &Verdict) -> (Fate, Option<&'static str>) {
    let (fate, v4_to_v6, v6_to_v4) = match verdict {
        Verdict::Forward(rewrite) => {
            let clause = forwarding_clause(direction, rewrite);
            (Fate::Forwarded, clause, clause)
        }
        Verdict::Split(_) => (Fate::Split, "RFC 7915, 4.1", "RFC 7915, 5.1.1"),
        Verdict::IcmpError | Verdict::Pass(_) | Verdict::Drop(_) | Verdict::Reply(..) => (
            Fate::IcmpError,
            "RFC 7915, 4.2 and 4.3",
            "RFC 7915, 5.2 and 5.3",
        ),
    };
    match direction {
        Direction::V4ToV6 => (fate, Some(v4_to_v6)),
        Direction::V6ToV4 => (fate, Some(v6_to_v4)),
    }
}

const fn forwarding_clause(direction: Direction, rewrite: &Rewrite) -> &'static str {
    match (direction, rewrite.header, rewrite.patch) {
        (Direction::V4ToV6, _, Patch::Icmp { .. }) => "RFC 7915, 4.2",
        (Direction::V4ToV6, ..) => "RFC 7915, 4.1",
        (Direction::V6ToV4, NetworkHeader::V6(_) | NetworkHeader::V6Fragment(..), _) => {
            "RFC 7757, 4.2.2"
        }
        (Direction::V6ToV4, NetworkHeader::V4(_), Patch::Icmp { .. }) => "RFC 7915, 5.2",
        (Direction::V6ToV4, NetworkHeader::V4(header), _)
            if header.mf || header.fragment_offset > 0 =>
        {
            "RFC 7915, 5.1.1"
        }
        (Direction::V6ToV4, NetworkHeader::V4(_), _) => "RFC 7915, 5.1",
    }
}

/// Returns what a counter is about, without a full stop.
fn sentence(name: &Name) -> &'static str {
    name.describe().trim_end_matches('.')
}

/// Returns the reason in a counter's name.
const fn reason(name: &Name) -> Option<&'static str> {
    match name {
        Name::Passed(reason) => Some(reason.name()),
        Name::Dropped(_, reason) => Some(reason.name()),
        Name::ForwardedPackets(_)
        | Name::ForwardedOctets(_)
        | Name::Fragments(_)
        | Name::Replies(_)
        | Name::Hairpinned => None,
    }
}
