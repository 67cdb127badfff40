//! Translation without a network: what `translate` does to the packets of a capture file.
//!
//! The same translator and the same performer as in the daemon; only next hops are missing, so link
//! headers are kept.

use crate::config::Config;
use crate::errors::{self, Outcome, Request, Task};
use crate::link::LinkHeader;
use crate::memory::MemoryFrame;
use crate::paths::DUMMY_IPV4;
use crate::perform::{Frame, perform, perform_piece};
use crate::tables::{Paths, Surroundings, Tables};
use relay_core::counters::{Counters, Name};
use relay_core::wire::ethernet::{self, ETHERTYPE_IPV4, ETHERTYPE_IPV6};
use relay_core::wire::{Malformed, ipv6};
use relay_core::{Direction, MAX_ERROR_LENGTH, PassReason, Translator, Verdict};
use std::net::{Ipv4Addr, Ipv6Addr};

/// Octets that a packet can grow in front: an IPv6 and a Fragment header.
const HEADROOM: usize = ipv6::HEADER_LENGTH + ipv6::FRAGMENT_HEADER_LENGTH;
/// The MTU in octets where interfaces would have to be asked.
const AUTO_MTU: u32 = 1500;

/// How packets of a capture begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// With an Ethernet header.
    Ethernet,
    /// With the network header.
    Raw,
}

/// What became of one packet.
#[derive(Clone, Debug)]
pub struct Account {
    /// Offset of the network header in octets, in the frame that arrived and in all that were sent.
    pub network: usize,
    /// The family in which the packet arrived, and what the translator said; `None` if it is neither IPv4 nor IPv6.
    pub verdict: Option<(Direction, Verdict)>,
    /// What the relay would send, in order.
    pub sent: Vec<Vec<u8>>,
    /// The counters that moved, and by how much.
    pub moved: Vec<(Name, u64)>,
}

/// What stands in for interfaces, routes and neighbours.
#[derive(Clone, Copy, Debug)]
struct FixedPaths {
    mtu_v4: u32,
    mtu_v6: u32,
    own_v4: Ipv4Addr,
    own_v6: Ipv6Addr,
}

impl Paths for FixedPaths {
    fn is_own_v4(&self, address: Ipv4Addr) -> bool {
        address == self.own_v4
    }

    fn is_own_v6(&self, address: Ipv6Addr) -> bool {
        address == self.own_v6
    }

    fn mtu_v4(&self, _: Ipv4Addr) -> u32 {
        self.mtu_v4
    }

    fn mtu_v6(&self, _: Ipv6Addr) -> u32 {
        self.mtu_v6
    }

    fn own_v4(&self, _: Ipv4Addr) -> Option<Ipv4Addr> {
        Some(self.own_v4)
    }

    fn own_v6(&self, _: Ipv6Addr) -> Option<Ipv6Addr> {
        Some(self.own_v6)
    }
}

/// A relay without interfaces.
pub struct Offline {
    tables: Tables,
    paths: FixedPaths,
    /// Whether errors are originated at all; no rate limit applies.
    sends_errors: bool,
    counters: Counters,
}

impl Offline {
    /// Returns a relay that translates as `config` says.
    pub fn new(config: &Config, tables: Tables) -> Self {
        let own_v4 = config.icmp.own.ipv4.unwrap_or(DUMMY_IPV4);
        let paths = FixedPaths {
            mtu_v4: config.mtu.ipv4.unwrap_or(AUTO_MTU),
            mtu_v6: config.mtu.ipv6.unwrap_or(AUTO_MTU),
            own_v4,
            own_v6: config
                .icmp
                .own
                .ipv6
                .unwrap_or_else(|| config.policy.prefix.embed(DUMMY_IPV4)),
        };
        Self {
            tables,
            paths,
            sends_errors: config.icmp.rate != Some(0),
            counters: Counters::ZERO,
        }
    }

    /// Returns what became of the packets so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Returns the tables by which packets are translated.
    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    /// Translates one packet; returns what the relay would send, in order.
    pub fn translate(&mut self, link: Link, packet: &[u8]) -> Vec<Vec<u8>> {
        match arrival(link, packet) {
            Some((network, direction)) => self.process(link, packet, network, direction).1,
            None => {
                self.counters.record_pass(PassReason::NotIp);
                Vec::new()
            }
        }
    }

    /// Translates one packet, and tells all that became of it.
    pub fn account(&mut self, link: Link, packet: &[u8]) -> Account {
        let before = self.counters;
        let (network, verdict, sent) = match arrival(link, packet) {
            Some((network, direction)) => {
                let (verdict, sent) = self.process(link, packet, network, direction);
                (network, Some((direction, verdict)), sent)
            }
            None => {
                self.counters.record_pass(PassReason::NotIp);
                (0, None, Vec::new())
            }
        };
        let counts = self.counters.iter().zip(before.iter());
        let moved = counts.map(|((name, after), (_, before))| (name, after - before));
        let moved = moved.filter(|(_, moved)| *moved != 0).collect();
        Account {
            network,
            verdict,
            sent,
            moved,
        }
    }

    /// Translates the packet whose network header begins at offset `network`, and says what the translator said.
    fn process(
        &mut self,
        link: Link,
        packet: &[u8],
        network: usize,
        direction: Direction,
    ) -> (Verdict, Vec<Vec<u8>>) {
        let is_sent_to_group =
            link == Link::Ethernet && packet.first().is_some_and(|octet| octet & 1 == 1);
        let link = match link {
            Link::Ethernet => LinkHeader::copy(packet, network),
            Link::Raw => LinkHeader::NONE,
        };
        let surroundings = Surroundings {
            tables: &self.tables,
            paths: &self.paths,
            may_be_unfinished: false,
            random: 0,
        };
        let translator = Translator::new(&self.tables.policy, &surroundings);
        let octets = packet.get(network..).unwrap_or_default();
        let verdict = match direction {
            Direction::V4ToV6 => translator.v4_to_v6(octets),
            Direction::V6ToV4 => translator.v6_to_v4(octets),
        };
        self.counters.record(direction, &verdict);
        let sent = match verdict {
            Verdict::Forward(rewrite) => {
                let mut frame = MemoryFrame::new(packet, HEADROOM);
                // There is room for the longest header, so this cannot fail.
                let performed = perform(&mut frame, network, &link, &rewrite);
                performed
                    .map(|()| frame.octets().to_vec())
                    .into_iter()
                    .collect()
            }
            Verdict::Split(split) => {
                let payload = octets.get(split.rewrite.cut..).unwrap_or_default();
                let pieces = split.pieces().filter_map(|piece| {
                    let mut frame = MemoryFrame::new(&[], 0);
                    perform_piece(&mut frame, &link, &piece, payload).ok()?;
                    Some(frame.octets().to_vec())
                });
                pieces.collect()
            }
            Verdict::IcmpError => self.carry_out(direction, octets, Task::Translate, &link),
            // RFC 1812, 4.3.2.7 and RFC 4443, 2.4 (e.4, e.5): no error about "a packet sent as a Link Layer broadcast or
            // multicast". The daemon never sees one, for the XDP program leaves them to the kernel.
            Verdict::Reply(..) if is_sent_to_group => Vec::new(),
            Verdict::Reply(reason, reply) => {
                self.carry_out(direction, octets, Task::Reply(reason, reply), &link)
            }
            Verdict::Pass(_) | Verdict::Drop(_) => Vec::new(),
        };
        (verdict, sent)
    }

    /// Translates or originates an ICMP error.
    fn carry_out(
        &mut self,
        direction: Direction,
        packet: &[u8],
        task: Task,
        link: &LinkHeader,
    ) -> Vec<Vec<u8>> {
        let request = Request {
            direction,
            packet: packet.to_vec(),
            task,
        };
        let mut output = [0; MAX_ERROR_LENGTH];
        let Self {
            tables,
            paths,
            sends_errors,
            counters,
        } = self;
        let limit = || *sends_errors;
        match errors::handle(&request, tables, paths, 0, limit, counters, &mut output) {
            Outcome::Send(error) => {
                vec![link.around(error.destination, &output[..error.length])]
            }
            Outcome::Limited | Outcome::Nothing => Vec::new(),
        }
    }
}

/// Returns where the network header of a packet begins, and its family; `None` if it is neither IPv4 nor IPv6.
fn arrival(link: Link, packet: &[u8]) -> Option<(usize, Direction)> {
    match link {
        Link::Ethernet => match ethernet::Header::parse(packet) {
            Ok(header) => match header.ethertype {
                ETHERTYPE_IPV4 => Some((header.length, Direction::V4ToV6)),
                ETHERTYPE_IPV6 => Some((header.length, Direction::V6ToV4)),
                _ => None,
            },
            // A frame that ends inside its link header carries nothing.
            Err(Malformed) => None,
        },
        Link::Raw => match packet.first().map(|octet| octet >> 4) {
            Some(4) => Some((0, Direction::V4ToV6)),
            Some(6) => Some((0, Direction::V6ToV4)),
            Some(_) | None => None,
        },
    }
}
