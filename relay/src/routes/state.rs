//! What the kernel has told: links, addresses, routes, rules and neighbours.
//!
//! Knows nothing of sockets. `decode` brings messages into this form; `resolve` makes next hops of it.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::net::IpAddr;

use ipnet::{Ipv4Net, Ipv6Net};

/// The tables local, main and default, numbered in the order in which the kernel's own rules ask them.
pub(super) const TABLES: usize = 3;

/// An interface of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The name.
    pub name: String,
    /// The MAC address, if it has one of six octets.
    pub mac: Option<[u8; 6]>,
    /// The MTU, in octets without the Ethernet header.
    pub mtu: u32,
    /// Whether the operator has brought it up.
    pub up: bool,
    /// Whether it has carrier.
    pub lower_up: bool,
    /// What kind of virtual interface it is, in the kernel's word, for example `veth`; `None` for hardware.
    pub kind: Option<String>,
    /// What makes it a VLAN interface, if it is one.
    pub vlan: Option<VlanLink>,
}

impl Link {
    /// Says whether the interface is an end of a veth pair.
    pub fn is_veth(&self) -> bool {
        self.kind.as_deref() == Some("veth")
    }
}

/// The tag of a VLAN interface and the interface it lies upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VlanLink {
    /// The tag protocol identifier: 0x8100 or 0x88a8.
    pub tpid: u16,
    /// The VLAN identifier.
    pub vid: u16,
    /// The index of the interface below.
    pub parent: u32,
}

/// A neighbour with a usable MAC address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Neighbour {
    pub(super) mac: [u8; 6],
    /// Whether the kernel wants it confirmed before it relies on it.
    pub(super) stale: bool,
}

/// A route without its prefix and table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) metric: u32,
    /// Whether it applies to some source addresses or traffic classes only.
    pub(super) selective: bool,
    pub(super) target: Target,
}

/// What a route does with a packet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Target {
    pub(super) kind: RouteKind,
    pub(super) hops: Vec<NextHop>,
    /// The route's own MTU, in octets.
    pub(super) mtu: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum RouteKind {
    Forward,
    Local,
    /// What the kernel alone can do.
    Special,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct NextHop {
    pub(super) link: u32,
    /// The gateway; without one, the destination itself is the neighbour.
    pub(super) gateway: Option<IpAddr>,
    /// At least 1.
    pub(super) weight: u32,
    /// Whether the kernel holds the hop for dead.
    pub(super) dead: bool,
}

impl NextHop {
    fn leads_like(&self, other: &Self) -> bool {
        (self.link, self.gateway) == (other.link, other.gateway)
    }
}

impl Route {
    /// Whether the two are one route to the kernel, whatever it says about the state of the hops.
    fn is(&self, other: &Self) -> bool {
        self.same_place(other)
            && self.target.kind == other.target.kind
            && self.hops_within(other)
            && other.hops_within(self)
    }

    fn same_place(&self, other: &Self) -> bool {
        (self.metric, self.selective) == (other.metric, other.selective)
    }

    fn hops_within(&self, other: &Self) -> bool {
        self.target.hops.iter().all(|hop| {
            other
                .target
                .hops
                .iter()
                .any(|theirs| hop.leads_like(theirs))
        })
    }
}

/// Where the kernel puts a route among those of the same prefix and metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placement {
    First,
    Last,
    /// In place of the first.
    Replace,
}

/// The routes to each prefix, in ascending order of metric, then in the order of the kernel.
pub(super) type Table<P> = HashMap<P, Vec<Route>>;

/// The routes of one address family, and whether its policy rules are the kernel's own.
#[derive(Debug)]
pub(super) struct Family<P> {
    pub(super) tables: [Table<P>; TABLES],
    pub(super) default_rules: bool,
    /// Whether a route or rule could not be decoded.
    pub(super) undecodable: bool,
}

impl<P> Default for Family<P> {
    fn default() -> Self {
        Self {
            tables: Default::default(),
            default_rules: false,
            undecodable: false,
        }
    }
}

/// What tells the two families apart here.
pub(super) trait Prefix: Copy + Eq + Hash {
    /// Whether routes of the same metric become one route with several hops (IPv6), or stay behind one another (IPv4).
    const HOPS_JOIN: bool;

    /// The number of bits that count.
    fn length(self) -> u8;

    /// The prefix of at most `length` bits that contains this one.
    fn cut(self, length: u8) -> Self;
}

impl Prefix for Ipv4Net {
    const HOPS_JOIN: bool = false;

    fn length(self) -> u8 {
        self.prefix_len()
    }

    fn cut(self, length: u8) -> Self {
        Self::new_assert(self.addr(), length.min(self.prefix_len())).trunc()
    }
}

impl Prefix for Ipv6Net {
    const HOPS_JOIN: bool = true;

    fn length(self) -> u8 {
        self.prefix_len()
    }

    fn cut(self, length: u8) -> Self {
        Self::new_assert(self.addr(), length.min(self.prefix_len())).trunc()
    }
}

impl<P: Prefix> Family<P> {
    pub(super) fn clear_routes(&mut self) {
        self.tables = Default::default();
        self.undecodable = false;
    }

    /// Puts a route into a table. Returns false when the outcome is not sure, so that the routes have to be dumped.
    ///
    /// Events that a dump has overtaken may come again: a route that is there already is not added twice.
    pub(super) fn insert(
        &mut self,
        table: usize,
        prefix: P,
        route: Route,
        placement: Placement,
    ) -> bool {
        let routes = self.tables[table].entry(prefix).or_default();
        let place = routes.partition_point(|other| other.metric < route.metric);
        let peers = routes[place..]
            .iter()
            .take_while(|other| other.metric == route.metric)
            .count();
        if let Some(same) = routes[place..place + peers]
            .iter_mut()
            .find(|other| other.is(&route))
        {
            *same = route;
            return placement != Placement::Replace || peers == 1;
        }
        match placement {
            Placement::Replace if peers > 0 => {
                routes[place] = route;
                return peers == 1;
            }
            // A hop joins a route of several: the kernel tells the whole.
            Placement::First | Placement::Last
                if P::HOPS_JOIN
                    && peers > 0
                    && route.target.hops.len() > routes[place].target.hops.len()
                    && routes[place].hops_within(&route)
                    && !routes[place].target.hops.is_empty() =>
            {
                routes[place] = route;
            }
            Placement::First | Placement::Replace => routes.insert(place, route),
            Placement::Last => routes.insert(place + peers, route),
        }
        true
    }

    /// Takes a route, or some hops of one, out of a table.
    pub(super) fn remove(&mut self, table: usize, prefix: P, route: &Route) {
        let Some(routes) = self.tables[table].get_mut(&prefix) else {
            return;
        };
        if let Some(position) = routes.iter().position(|other| other.is(route)) {
            routes.remove(position);
        } else if P::HOPS_JOIN
            && let Some(whole) = routes
                .iter_mut()
                .find(|other| route.same_place(other) && route.hops_within(other))
        {
            whole
                .target
                .hops
                .retain(|hop| !route.target.hops.iter().any(|gone| gone.leads_like(hop)));
        }
        if routes.is_empty() {
            self.tables[table].remove(&prefix);
        }
    }
}

/// Everything that the kernel has told, and what it is good for.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) links: HashMap<u32, Link>,
    /// With their prefix lengths: an address can be there with two of them.
    pub(super) addresses: BTreeSet<(u32, IpAddr, u8)>,
    pub(super) v4: Family<Ipv4Net>,
    pub(super) v6: Family<Ipv6Net>,
    pub(super) neighbours: HashMap<(u32, IpAddr), Neighbour>,
    /// Whether a new picture would differ from the last.
    pub(super) changed: bool,
    /// Whether it would differ in the prefixes.
    pub(super) routes_changed: bool,
    /// What has to be read again, because the kernel does not tell all that follows from a change.
    pub(super) outdated: Outdated,
}

/// Parts of the state which may no longer be what the kernel has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Outdated {
    pub(super) everything: bool,
    pub(super) routes: bool,
    pub(super) rules: bool,
}

impl State {
    pub(super) fn set_link(&mut self, index: u32, link: Link) {
        let before = self.links.get(&index);
        if before == Some(&link) {
            return;
        }
        // Routes die and revive with their interface, and for IPv4 the kernel does not say so.
        let state = |link: &Link| (link.up, link.lower_up);
        self.outdated.routes |= before.map(state) != Some(state(&link));
        self.links.insert(index, link);
        self.changed = true;
    }

    pub(super) fn remove_link(&mut self, index: u32) {
        if self.links.remove(&index).is_some() {
            self.addresses.retain(|(link, _, _)| *link != index);
            self.neighbours.retain(|(link, _), _| *link != index);
            self.outdated.routes = true;
            self.changed = true;
        }
    }

    pub(super) fn add_address(&mut self, link: u32, address: IpAddr, length: u8) {
        self.changed |= self.addresses.insert((link, address, length));
    }

    pub(super) fn remove_address(&mut self, link: u32, address: IpAddr, length: u8) {
        // Routes that prefer the address as their source go silently.
        self.outdated.routes = true;
        self.changed |= self.addresses.remove(&(link, address, length));
    }

    /// Notes a neighbour, or with `None` that it has no usable MAC address.
    pub(super) fn set_neighbour(
        &mut self,
        link: u32,
        address: IpAddr,
        neighbour: Option<Neighbour>,
    ) {
        let key = (link, address);
        let before = match neighbour {
            Some(neighbour) => self.neighbours.insert(key, neighbour),
            None => self.neighbours.remove(&key),
        };
        // Whether it is stale does not matter to a look-up.
        self.changed |= before.map(|before| before.mac) != neighbour.map(|neighbour| neighbour.mac);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{ETH0, ETH1, MAIN, forward, hop, link, mac, state};
    use super::*;

    #[test]
    fn a_stale_neighbour_needs_no_new_picture() {
        let mut state = state();
        state.changed = false;
        let address = "192.0.2.1".parse().unwrap();
        state.set_neighbour(
            ETH0,
            address,
            Some(Neighbour {
                mac: mac(0x11),
                stale: true,
            }),
        );
        assert!(!state.changed);
        state.set_neighbour(
            ETH0,
            address,
            Some(Neighbour {
                mac: mac(0x21),
                stale: true,
            }),
        );
        assert!(state.changed);
        state.changed = false;
        state.set_neighbour(ETH0, address, None);
        assert!(state.changed);
    }

    #[test]
    fn routes_of_one_prefix_keep_the_order_of_the_kernel() {
        let (a, b) = (
            forward(&[hop(ETH0, "192.0.2.1")]),
            forward(&[hop(ETH1, "198.51.100.1")]),
        );
        let prefix = "203.0.113.0/24".parse().unwrap();
        let mut family = State::default().v4;
        family.insert(MAIN, prefix, a.clone(), Placement::First);
        family.insert(MAIN, prefix, b.clone(), Placement::Last);
        // An event which a dump has overtaken.
        family.insert(MAIN, prefix, b.clone(), Placement::First);
        assert_eq!(family.tables[MAIN][&prefix], [a.clone(), b.clone()]);
        family.remove(MAIN, prefix, &a);
        assert_eq!(family.tables[MAIN][&prefix], std::slice::from_ref(&b));
        assert!(family.insert(MAIN, prefix, a.clone(), Placement::Replace));
        assert_eq!(family.tables[MAIN][&prefix], std::slice::from_ref(&a));
        // In IPv4 a route of several hops is another route than one of them.
        let both = forward(&[a.target.hops[0], b.target.hops[0]]);
        family.insert(MAIN, prefix, both.clone(), Placement::Last);
        assert_eq!(family.tables[MAIN][&prefix].len(), 2);
        assert!(
            !family.insert(MAIN, prefix, b, Placement::Replace),
            "which of the two went is not sure"
        );
        family.remove(MAIN, prefix, &both);
    }

    #[test]
    fn hops_of_an_ipv6_route_come_and_go_one_by_one() {
        let (a, b) = (
            forward(&[hop(ETH0, "2001:db8::1")]),
            forward(&[hop(ETH1, "2001:db8:1::1")]),
        );
        let both = forward(&[b.target.hops[0], a.target.hops[0]]);
        let prefix = "2001:db8:9::/48".parse().unwrap();
        let mut family = State::default().v6;
        family.insert(MAIN, prefix, a.clone(), Placement::First);
        family.insert(MAIN, prefix, both.clone(), Placement::Last);
        assert_eq!(family.tables[MAIN][&prefix], [both]);
        family.remove(MAIN, prefix, &b);
        assert_eq!(family.tables[MAIN][&prefix], std::slice::from_ref(&a));
        family.remove(MAIN, prefix, &a);
        assert!(family.tables[MAIN].is_empty());
    }

    #[test]
    fn links_that_come_go_or_change_state_have_the_routes_read_again() {
        let mut state = state();
        state.outdated = Default::default();
        state.set_link(
            ETH0,
            Link {
                mtu: 9000,
                ..link("eth0", 1)
            },
        );
        assert!(!state.outdated.routes);
        state.set_link(
            ETH0,
            Link {
                lower_up: false,
                ..link("eth0", 1)
            },
        );
        assert!(std::mem::take(&mut state.outdated).routes);
        state.remove_link(ETH0);
        assert!(state.outdated.routes);
        assert!(state.neighbours.keys().all(|(link, _)| *link != ETH0));
    }
}
