//! What the XDP program has to know of the kernel's routes and links, though it asks the kernel itself: by which interfaces
//! frames can leave, and on what the answers depend, so that it may remember them.

use super::resolve::egress;
use super::state::{Family, Prefix, Route, RouteKind, State, Table};
use super::{Mirror, Tag, Tags};
use eam_tables::layout::{Egress, Memory};
use ipnet::{Ipv4Net, Ipv6Net};
use std::collections::{BTreeSet, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

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
        dependences(&self.state)
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

fn dependences(state: &State) -> [Memory; 2] {
    let own: HashSet<IpAddr> = state.addresses.iter().map(|(_, own, _)| *own).collect();
    let is_own_v4 =
        |prefix: Ipv4Net| prefix.prefix_len() == 32 && own.contains(&prefix.addr().into());
    let is_own_v6 =
        |prefix: Ipv6Net| prefix.prefix_len() == 128 && own.contains(&prefix.addr().into());
    [
        dependence(&state.v4, is_own_v4),
        dependence(&state.v6, is_own_v6),
    ]
}

/// A prefix of destinations.
trait Destination: Prefix {
    /// Returns the first octets of the addresses in the prefix.
    fn first_octets(self) -> RangeInclusive<u8>;

    /// Says whether nothing is ever sent on to the prefix, nor mapped to it (RFC 1812, 5.3.7; RFC 4291, 2.5).
    fn is_never_forwarded(self) -> bool;
}

impl Destination for Ipv4Net {
    fn first_octets(self) -> RangeInclusive<u8> {
        self.network().octets()[0]..=self.broadcast().octets()[0]
    }

    fn is_never_forwarded(self) -> bool {
        [
            (Ipv4Addr::UNSPECIFIED, 8),
            (Ipv4Addr::LOCALHOST, 8),
            (Ipv4Addr::new(169, 254, 0, 0), 16),
            (Ipv4Addr::new(224, 0, 0, 0), 4),
            (Ipv4Addr::BROADCAST, 32),
        ]
        .into_iter()
        .any(|(address, length)| Self::new_assert(address, length).contains(&self))
    }
}

impl Destination for Ipv6Net {
    fn first_octets(self) -> RangeInclusive<u8> {
        self.network().octets()[0]..=self.broadcast().octets()[0]
    }

    fn is_never_forwarded(self) -> bool {
        [
            (Ipv6Addr::LOCALHOST, 128),
            (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10),
            (Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8),
        ]
        .into_iter()
        .any(|(address, length)| Self::new_assert(address, length).contains(&self))
    }
}

/// `is_own` says whether a prefix is an address that the machine is known to have.
fn dependence<P: Destination>(family: &Family<P>, is_own: impl Fn(P) -> bool) -> Memory {
    let mut memory = Memory {
        on: Memory::ON_DESTINATION,
        ..Memory::NONE
    };
    let all = || family.tables.iter().flatten();
    let mtus = all().flat_map(|(_, routes)| routes.iter().filter_map(|route| route.target.mtu));
    memory.least_mtu = mtus.min().unwrap_or(0);
    if family.undecodable || !family.default_rules {
        memory.on = Memory::NOTHING;
        return memory;
    }
    let lengths = Lengths::new(family);
    for (number, table) in family.tables.iter().enumerate() {
        for (prefix, routes) in table {
            if prefix.is_never_forwarded() {
                continue;
            }
            if routes.iter().any(|route| route.selective) {
                memory.on = Memory::NOTHING;
                return memory;
            }
            if routes.iter().any(forwards) {
                let is_spread = routes.iter().any(|route| route.target.hops.len() > 1);
                if is_spread || P::HOPS_JOIN && routes.len() > 1 {
                    memory.on = Memory::ON_BOTH;
                }
                if is_longest(&memory, *prefix) && !lengths.is_hidden(number, *prefix) {
                    note_length(&mut memory, *prefix);
                }
            } else if lengths.is_among_gateways(*prefix) {
                let are_local = routes
                    .iter()
                    .all(|route| route.target.kind == RouteKind::Local);
                match are_local && is_own(*prefix) {
                    true => memory.but_own = 1,
                    false => note_length(&mut memory, *prefix),
                }
            }
            // Else it lies among destinations on a link, whose answers are not shared.
        }
    }
    memory
}

/// Says whether a prefix is longer than all that are noted so far for some of its destinations.
fn is_longest<P: Destination>(memory: &Memory, prefix: P) -> bool {
    let mut octets = prefix.first_octets();
    octets.any(|octet| memory.longest[usize::from(octet)] < prefix.length())
}

/// Notes the length of a prefix for its destinations.
fn note_length<P: Destination>(memory: &mut Memory, prefix: P) {
    for octet in prefix.first_octets() {
        let longest = &mut memory.longest[usize::from(octet)];
        *longest = prefix.length().max(*longest);
    }
}

fn forwards(route: &Route) -> bool {
    route.target.kind == RouteKind::Forward
}

/// The prefix lengths that occur in each table.
struct Lengths<'a, P> {
    family: &'a Family<P>,
    lengths: Vec<BTreeSet<u8>>,
}

impl<'a, P: Prefix> Lengths<'a, P> {
    fn new(family: &'a Family<P>) -> Self {
        let lengths = |table: &Table<P>| table.keys().map(|prefix| prefix.length()).collect();
        Self {
            family,
            lengths: family.tables.iter().map(lengths).collect(),
        }
    }

    /// Says whether a table before the one with this number decides about a prefix.
    fn is_hidden(&self, number: usize, prefix: P) -> bool {
        let tables = self.family.tables.iter().zip(&self.lengths);
        tables.take(number).any(|(table, lengths)| {
            let mut lengths = lengths.range(..=prefix.length());
            lengths.any(|length| table.contains_key(&prefix.cut(*length)))
        })
    }

    /// Says whether a packet to a prefix would go to a gateway if the kernel did not have something else to do with it.
    fn is_among_gateways(&self, prefix: P) -> bool {
        for length in (0..prefix.length()).rev() {
            let around = prefix.cut(length);
            let routes = self.family.tables.iter().enumerate();
            let routes = routes.filter_map(|(number, table)| Some((number, table.get(&around)?)));
            let mut hops = routes
                .filter(|(number, _)| !self.is_hidden(*number, around))
                .flat_map(|(_, routes)| routes)
                .filter(|route| forwards(route))
                .flat_map(|route| &route.target.hops)
                .peekable();
            if hops.peek().is_some() {
                return hops.any(|hop| hop.gateway.is_some());
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{ETH0, ETH1, MAIN, add, forward, hop, on_link, state};
    use super::*;
    use crate::routes::state::Target;

    const LOCAL: usize = 0;

    fn other(kind: RouteKind, link: u32) -> Route {
        Route {
            metric: 0,
            selective: false,
            target: Target {
                kind,
                hops: vec![on_link(link)],
                mtu: None,
            },
        }
    }

    /// What every machine with two interfaces and a default route has, and the lengths that count.
    fn usual() -> State {
        let mut state = state();
        let (local, special) = (RouteKind::Local, RouteKind::Special);
        add(
            &mut state,
            MAIN,
            "0.0.0.0/0",
            forward(&[hop(ETH0, "192.0.2.1")]),
        );
        add(&mut state, MAIN, "192.0.2.0/24", forward(&[on_link(ETH0)]));
        add(&mut state, LOCAL, "127.0.0.0/8", other(local, 1));
        add(&mut state, LOCAL, "127.255.255.255/32", other(special, 1));
        add(&mut state, LOCAL, "192.0.2.7/32", other(local, ETH0));
        add(&mut state, LOCAL, "192.0.2.255/32", other(special, ETH0));
        add(
            &mut state,
            MAIN,
            "::/0",
            forward(&[hop(ETH0, "2001:db8::1")]),
        );
        add(&mut state, MAIN, "2001:db8::/64", forward(&[on_link(ETH0)]));
        add(&mut state, LOCAL, "::1/128", other(local, 1));
        add(&mut state, LOCAL, "2001:db8::7/128", other(local, ETH0));
        for link in [ETH0, ETH1] {
            add(&mut state, MAIN, "fe80::/64", forward(&[on_link(link)]));
            add(&mut state, LOCAL, "ff00::/8", other(special, link));
        }
        state
    }

    /// What is remembered where the longest prefixes are those of destinations with these first octets.
    fn memory(longest: &[(u8, u8)]) -> Memory {
        let mut memory = Memory {
            on: Memory::ON_DESTINATION,
            ..Memory::NONE
        };
        for (octet, length) in longest {
            memory.longest[usize::from(*octet)] = *length;
        }
        memory
    }

    #[test]
    fn what_no_packet_goes_to_does_not_count() {
        let [v4, v6] = dependences(&usual());
        assert_eq!(v4, memory(&[(192, 24)]));
        assert_eq!(v6, memory(&[(0x20, 64)]));
    }

    #[test]
    fn short_prefixes_count_for_all_first_octets_that_they_have() {
        let mut state = usual();
        for prefix in ["100.0.0.0/6", "101.0.0.0/9"] {
            let route = forward(&[hop(ETH0, "192.0.2.1")]);
            add(&mut state, MAIN, prefix, route);
        }
        // No prefix is shorter than what tells the octets apart.
        let [v4, _] = dependences(&state);
        assert_eq!(v4, memory(&[(101, 9), (192, 24)]));
    }

    #[test]
    fn own_addresses_among_gateways_are_exceptions_and_own_networks_count() {
        let mut state = usual();
        for own in ["203.0.113.9", "2001:db8:99::9"] {
            let own: IpAddr = own.parse().unwrap();
            state.addresses.insert((1, own, own.is_ipv4().into()));
            let prefix = ipnet::IpNet::from(own).to_string();
            add(&mut state, LOCAL, &prefix, other(RouteKind::Local, 1));
            // As the kernel does for an IPv6 address on the loopback.
            add(&mut state, MAIN, &prefix, forward(&[on_link(1)]));
        }
        let [v4, v6] = dependences(&state);
        assert_eq!((v4.longest, v4.but_own), (memory(&[(192, 24)]).longest, 1));
        assert_eq!((v6.longest, v6.but_own), (memory(&[(0x20, 64)]).longest, 1));
        add(
            &mut state,
            LOCAL,
            "203.0.113.128/25",
            other(RouteKind::Local, 1),
        );
        add(
            &mut state,
            LOCAL,
            "2001:db8:98::1/128",
            other(RouteKind::Local, 1),
        );
        let [v4, v6] = dependences(&state);
        assert_eq!(v4.longest, memory(&[(192, 24), (203, 25)]).longest);
        assert_eq!(v6.longest, memory(&[(0x20, 128)]).longest);
    }

    #[test]
    fn what_is_refused_among_gateways_counts() {
        let mut state = usual();
        add(
            &mut state,
            MAIN,
            "10.0.0.0/28",
            other(RouteKind::Special, 1),
        );
        assert_eq!(dependences(&state)[0], memory(&[(10, 28), (192, 24)]));
    }

    #[test]
    fn the_least_mtu_of_routes_is_told() {
        let mut state = usual();
        for (prefix, mtu) in [("10.0.0.0/8", 1400), ("11.0.0.0/8", 1300)] {
            let mut route = forward(&[hop(ETH0, "192.0.2.1")]);
            route.target.mtu = Some(mtu);
            add(&mut state, MAIN, prefix, route);
        }
        let [v4, v6] = dependences(&state);
        assert_eq!((v4.least_mtu, v6.least_mtu), (1300, 0));
    }
}
