//! What the XDP program has to know of the kernel's routes and links, though it asks the kernel itself: by which interfaces
//! frames can leave, and on what the answers depend, so that it may remember them.

use super::resolve::egress;
use super::state::{Family, Prefix, RouteKind, State};
use super::{Mirror, Tag, Tags};
use eam_tables::layout::{Egress, Memory};

impl Mirror {
    /// Returns the interfaces by which frames can leave through one of the `ports`, a list of interface indices: these
    /// themselves, and VLAN interfaces upon them.
    pub fn egresses(&self, ports: &[u32]) -> Vec<(u32, Egress)> {
        let all = self.links().map(|(index, _)| index);
        all.filter_map(|index| {
            let egress = egress(&self.state, ports, index)?;
            let (tag_count, tags) = emit(egress.tags());
            let port = egress.port as u32;
            let egress = Egress {
                port,
                tag_count,
                tags,
            };
            Some((index, egress))
        })
        .collect()
    }

    /// Says on what the kernel's answers depend: about IPv4 destinations, then about IPv6 ones.
    pub fn dependence(&self) -> [Memory; 2] {
        let State { v4, v6, .. } = &self.state;
        [dependence(v4), dependence(v6)]
    }
}

/// Returns the number of tags, and their octets on the wire.
fn emit(tags: Tags) -> (u32, [u8; 8]) {
    let tag = |Tag { tpid, vid }: Tag| {
        let ([p0, p1], [v0, v1]) = (tpid.to_be_bytes(), vid.to_be_bytes());
        [p0, p1, v0, v1]
    };
    let none = Tag { tpid: 0, vid: 0 };
    let (count, first, second) = match tags {
        Tags::None => (0, none, none),
        Tags::One(only) => (1, only, none),
        Tags::Two(outer, inner) => (2, outer, inner),
    };
    let mut octets = [0; 8];
    octets[..4].copy_from_slice(&tag(first));
    octets[4..].copy_from_slice(&tag(second));
    (count, octets)
}

fn dependence<P: Prefix>(family: &Family<P>) -> Memory {
    let mut memory = Memory {
        on: Memory::ON_DESTINATION,
        longest: 0,
        but_own: 0,
        least_mtu: 0,
    };
    let routes = family.tables.iter().flatten().flat_map(|(_, routes)| routes);
    let mtus = routes.filter_map(|route| route.target.mtu);
    memory.least_mtu = mtus.min().unwrap_or(0);
    if family.undecodable || !family.default_rules {
        memory.on = Memory::NOTHING;
        return memory;
    }
    for (prefix, routes) in family.tables.iter().flatten() {
        if routes.iter().any(|route| route.selective) {
            memory.on = Memory::NOTHING;
            return memory;
        }
        if routes.iter().any(|route| route.target.hops.len() > 1)
            || P::HOPS_JOIN && routes.len() > 1
        {
            memory.on = Memory::ON_BOTH;
        }
        let is_local = |kind| kind == RouteKind::Local;
        if routes.iter().all(|route| is_local(route.target.kind)) {
            memory.but_own |= u32::from(is_among_gateways(family, *prefix));
        } else {
            memory.longest = memory.longest.max(u32::from(prefix.length()));
        }
    }
    memory
}

/// Says whether a packet to a prefix of the machine's own would go to a gateway if it were not the machine's own.
fn is_among_gateways<P: Prefix>(family: &Family<P>, prefix: P) -> bool {
    for length in (0..=prefix.length()).rev() {
        let routes = family
            .tables
            .iter()
            .filter_map(|table| table.get(&prefix.cut(length)))
            .flatten();
        let mut hops = routes
            .filter(|route| route.target.kind == RouteKind::Forward)
            .flat_map(|route| &route.target.hops)
            .peekable();
        if hops.peek().is_some() {
            return hops.any(|hop| hop.gateway.is_some());
        }
    }
    false
}
