//! The next hop of one packet, and the network as its translation sees it.

use super::{HandoverReason, Route};
use crate::link::LinkHeader;
use crate::paths::Live;
use crate::routes::{Found, Hop};
use crate::tables::Paths;
use relay_core::address::halves;
use relay_core::rewrite::NetworkHeader;
use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The network as one packet sees it: the route that the translator asks for is kept for the next hop.
pub(super) struct Way<'a> {
    live: &'a Live,
    found_v4: Cell<Option<(Ipv4Addr, Found<'a>)>>,
    found_v6: Cell<Option<(Ipv6Addr, Found<'a>)>>,
}

impl<'a> Way<'a> {
    #[inline(always)]
    pub(super) fn new(live: &'a Live) -> Self {
        Self {
            live,
            found_v4: Cell::new(None),
            found_v6: Cell::new(None),
        }
    }

    /// Returns the way of a packet with this header, and the link header for it.
    #[inline(always)]
    pub(super) fn next_hop(&self, header: &NetworkHeader) -> (&'a LinkHeader, Route) {
        let routes = &self.live.routes;
        let hop = match header {
            NetworkHeader::V4(header) => {
                let destination = header.destination;
                let flow = flow_v4(header.source, destination);
                let found = match self.found_v4.get() {
                    Some((asked, found)) if asked == destination => found,
                    Some(_) | None => routes.find_v4(destination),
                };
                routes.hop_v4(found, destination, flow)
            }
            NetworkHeader::V6(header) | NetworkHeader::V6Fragment(header, _) => {
                let destination = header.destination;
                let flow = flow_v6(halves(header.source), halves(destination));
                let found = match self.found_v6.get() {
                    Some((asked, found)) if asked == destination => found,
                    Some(_) | None => routes.find_v6(destination),
                };
                routes.hop_v6(found, destination, flow)
            }
        };
        leave_by(hop, || header.destination())
    }
}

/// Returns the link header and the way of a packet with this next hop. `destination` is where it goes in the end.
#[inline(always)]
pub(super) fn leave_by<'a>(
    hop: Hop<'a>,
    destination: impl FnOnce() -> IpAddr,
) -> (&'a LinkHeader, Route) {
    match hop {
        Hop::Direct(hop) => (hop.link(), Route::Port(hop.port)),
        Hop::Kernel(reason) => {
            let route = Route::Kernel {
                destination: destination(),
                reason: HandoverReason::NextHop(reason),
            };
            (&LinkHeader::NONE, route)
        }
    }
}

/// Returns the same number for all packets between two IPv4 hosts in one direction.
#[inline(always)]
pub(super) fn flow_v4(source: Ipv4Addr, destination: Ipv4Addr) -> u32 {
    source.to_bits() ^ destination.to_bits().rotate_left(16)
}

/// Returns the same number for all packets between two IPv6 hosts, whose addresses are given in halves, in one direction.
#[inline(always)]
pub(super) fn flow_v6([s0, s1]: [u64; 2], [d0, d1]: [u64; 2]) -> u32 {
    let both = s0 ^ s1 ^ (d0 ^ d1).rotate_left(32);
    (both ^ both >> 32) as u32
}

impl Paths for Way<'_> {
    #[inline(always)]
    fn is_own_v4(&self, address: Ipv4Addr) -> bool {
        self.live.is_own_v4(address)
    }

    #[inline(always)]
    fn is_own_v6(&self, address: Ipv6Addr) -> bool {
        self.live.is_own_v6(address)
    }

    #[inline(always)]
    fn mtu_v4(&self, destination: Ipv4Addr) -> u32 {
        let found = self.live.routes.find_v4(destination);
        self.found_v4.set(Some((destination, found)));
        self.live.mtu_by_v4(found)
    }

    #[inline(always)]
    fn mtu_v6(&self, destination: Ipv6Addr) -> u32 {
        let found = self.live.routes.find_v6(destination);
        self.found_v6.set(Some((destination, found)));
        self.live.mtu_by_v6(found)
    }

    fn own_v4(&self, destination: Ipv4Addr) -> Option<Ipv4Addr> {
        self.live.own_v4(destination)
    }

    fn own_v6(&self, destination: Ipv6Addr) -> Option<Ipv6Addr> {
        self.live.own_v6(destination)
    }
}
