//! Translation without a network: what `translate` does to the packets of a capture file.
//!
//! The same translator and the same performer as in the daemon; only next hops are missing, so link
//! headers are kept.

use crate::config::Config;
use crate::memory::MemoryFrame;
use crate::perform::{Frame, LinkHeader, perform};
use crate::tables::{Paths, Surroundings, Tables};
use relay_core::counters::Counters;
use relay_core::wire::ethernet::{self, ETHERTYPE_IPV4, ETHERTYPE_IPV6};
use relay_core::wire::{Malformed, ipv6};
use relay_core::{Direction, DropReason, PassReason, Translator, Verdict};
use std::net::{Ipv4Addr, Ipv6Addr};

/// The MTU in octets where interfaces would have to be asked.
const AUTO_MTU: u32 = 1500;
/// The relay's own address where interfaces would have to be asked: RFC 7600's dummy.
const AUTO_IPV4: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 8);

/// How packets of a capture begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// With an Ethernet header.
    Ethernet,
    /// With the network header.
    Raw,
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
}

/// A relay without interfaces.
pub struct Offline {
    tables: Tables,
    paths: FixedPaths,
    counters: Counters,
}

impl Offline {
    /// Returns a relay that translates as `config` says.
    pub fn new(config: &Config, tables: Tables) -> Self {
        let own_v4 = config.own.ipv4.unwrap_or(AUTO_IPV4);
        let paths = FixedPaths {
            mtu_v4: config.mtu.ipv4.unwrap_or(AUTO_MTU),
            mtu_v6: config.mtu.ipv6.unwrap_or(AUTO_MTU),
            own_v4,
            own_v6: config.own.ipv6.unwrap_or_else(|| config.policy.prefix.embed(AUTO_IPV4)),
        };
        Self { tables, paths, counters: Counters::ZERO }
    }

    /// Returns what became of the packets so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Translates one packet; returns what the relay would send.
    pub fn translate(&mut self, link: Link, packet: &[u8]) -> Option<Vec<u8>> {
        let (network, ethertype) = match link {
            Link::Ethernet => match ethernet::Header::parse(packet) {
                Ok(header) => (header.length, header.ethertype),
                // A frame that ends inside its link header carries nothing.
                Err(Malformed) => (0, 0),
            },
            Link::Raw => match packet.first().map(|octet| octet >> 4) {
                Some(4) => (0, ETHERTYPE_IPV4),
                Some(6) => (0, ETHERTYPE_IPV6),
                Some(_) | None => (0, 0),
            },
        };
        let direction = match ethertype {
            ETHERTYPE_IPV4 => Direction::V4ToV6,
            ETHERTYPE_IPV6 => Direction::V6ToV4,
            _ => {
                self.counters.record_pass(PassReason::NotIp);
                return None;
            }
        };
        let surroundings = Surroundings { tables: &self.tables, paths: &self.paths };
        let translator = Translator::new(&self.tables.policy, &surroundings);
        let packet_octets = packet.get(network..).unwrap_or_default();
        let verdict = match direction {
            Direction::V4ToV6 => translator.v4_to_v6(packet_octets),
            Direction::V6ToV4 => translator.v6_to_v4(packet_octets),
        };
        let mut frame = MemoryFrame::new(packet, ipv6::HEADER_LENGTH);
        let verdict = match verdict {
            Verdict::Forward(rewrite) => {
                let link = match link {
                    Link::Ethernet => LinkHeader::copy(packet, network),
                    Link::Raw => LinkHeader::NONE,
                };
                match perform(&mut frame, network, &link, &rewrite) {
                    Ok(()) => Verdict::Forward(rewrite),
                    Err(_) => Verdict::Drop(DropReason::MalformedHeader),
                }
            }
            Verdict::Pass(_) | Verdict::Drop(_) => verdict,
        };
        self.counters.record(direction, &verdict);
        matches!(verdict, Verdict::Forward(_)).then(|| frame.octets().to_vec())
    }
}
