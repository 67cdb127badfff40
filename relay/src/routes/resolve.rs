//! From the state to a frozen picture.
//!
//! Two steps, because they change at different rates: `compile` sorts the prefixes, which costs most and is due when a route
//! changes; `resolve` finds out where the few distinct targets lead, which links and neighbours decide.

use std::collections::{BTreeSet, HashMap as Map};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use eam_tables::{Address, PrefixTable};
use hashbrown::HashMap;

use super::state::{Family, NextHop, Prefix, Route, RouteKind, State, Table, Target};
use super::{
    Action, DirectHop, KernelReason, Path, Resolved, Routes, Tables, Tag, Tags, WeightedPath,
};

/// Sorts the prefixes of both families.
pub(super) fn compile(state: &State) -> Tables {
    let mut numbers = Numbers::default();
    let v4 = compile_family(&state.v4, &mut numbers);
    let v6 = compile_family(&state.v6, &mut numbers);
    Tables {
        v4,
        v6,
        targets: numbers.into_list(),
    }
}

/// Merges the tables of a family into one. The kernel asks them in order and takes the first that has any match, however
/// short; so a prefix counts if no table before has one that contains it.
fn compile_family<A, P>(family: &Family<P>, numbers: &mut Numbers<Target>) -> PrefixTable<A, u32>
where
    A: Address<Prefix = P>,
    P: Prefix,
{
    let mut merged = Vec::new();
    let mut earlier: Vec<(&Table<P>, BTreeSet<u8>)> = Vec::new();
    for table in &family.tables {
        for (prefix, routes) in table {
            let hidden = earlier.iter().any(|(table, lengths)| {
                lengths
                    .range(..=prefix.length())
                    .any(|length| table.contains_key(&prefix.cut(*length)))
            });
            if !hidden && let Some(target) = deciding::<P>(routes) {
                merged.push((*prefix, numbers.of(target)));
            }
        }
        earlier.push((table, table.keys().map(|prefix| prefix.length()).collect()));
    }
    merged.into_iter().collect()
}

/// Of the routes to one prefix, the target that counts.
fn deciding<P: Prefix>(routes: &[Route]) -> Option<Target> {
    let first = routes.first()?;
    let rivals = routes.iter().filter(|other| other.metric == first.metric);
    // IPv6 chooses among equals by what it knows of their reachability; IPv4 takes the first.
    let unclear = P::HOPS_JOIN
        && rivals.clone().count() > 1
        && !rivals
            .clone()
            .all(|rival| rival.target.kind == RouteKind::Local);
    if unclear || routes.iter().any(|route| route.selective) {
        return Some(Target {
            kind: RouteKind::Special,
            hops: Vec::new(),
            mtu: None,
        });
    }
    Some(first.target.clone())
}

/// Finds out where each target leads. Returns the neighbours, too, to which the marks of the picture belong.
pub(super) fn resolve(
    tables: Arc<Tables>,
    state: &State,
    ports: &[u32],
) -> (Routes, Vec<(u32, IpAddr)>) {
    let mut resolver = Resolver {
        state,
        ports,
        neighbours: Numbers::default(),
        on_link: Numbers::default(),
        hops: Vec::new(),
        paths: Vec::new(),
    };
    let resolved = tables
        .targets
        .iter()
        .map(|target| resolver.resolve(target))
        .collect();
    let (on_link_v4, on_link_v6) = resolver.list_on_link();
    let neighbours = resolver.neighbours.into_list();
    let routes = Routes {
        is_for_kernel: false,
        withheld_v4: withheld(&state.v4),
        withheld_v6: withheld(&state.v6),
        tables,
        resolved,
        paths: resolver.paths,
        hops: resolver.hops,
        on_link_v4,
        on_link_v6,
        used: neighbours.iter().map(|_| AtomicBool::new(false)).collect(),
    };
    (routes, neighbours)
}

fn withheld<P>(family: &Family<P>) -> Option<KernelReason> {
    if family.undecodable {
        Some(KernelReason::NotUnderstood)
    } else {
        (!family.default_rules).then_some(KernelReason::PolicyRules)
    }
}

/// Gives each distinct value a number, counted from 0.
struct Numbers<T> {
    numbers: Map<T, u32>,
}

impl<T> Default for Numbers<T> {
    fn default() -> Self {
        Self {
            numbers: Map::new(),
        }
    }
}

impl<T: Eq + std::hash::Hash> Numbers<T> {
    fn of(&mut self, value: T) -> u32 {
        let next = self.numbers.len() as u32;
        *self.numbers.entry(value).or_insert(next)
    }

    fn into_list(self) -> Vec<T> {
        let mut list: Vec<(u32, T)> = self
            .numbers
            .into_iter()
            .map(|(value, number)| (number, value))
            .collect();
        list.sort_unstable_by_key(|(number, _)| *number);
        list.into_iter().map(|(_, value)| value).collect()
    }
}

/// How frames leave by a link: its port, tags and source address, and what fits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Egress {
    pub(super) port: usize,
    tags: [Option<(u16, u16)>; 2],
    source: [u8; 6],
    mtu: u32,
}

impl Egress {
    pub(super) fn tags(self) -> Tags {
        let tag = |(tpid, vid)| Tag { tpid, vid };
        // Collected from the inside out.
        match self.tags {
            [Some(inner), Some(outer)] => Tags::Two(tag(outer), tag(inner)),
            [Some(only), None] | [None, Some(only)] => Tags::One(tag(only)),
            [None, None] => Tags::None,
        }
    }
}

/// Follows a link down to one of the ports.
pub(super) fn egress(state: &State, ports: &[u32], index: u32) -> Option<Egress> {
    let top = state.links.get(&index)?;
    let mut egress = Egress {
        port: 0,
        tags: [None; 2],
        source: top.mac?,
        mtu: top.mtu,
    };
    let mut index = index;
    for depth in 0..=egress.tags.len() {
        if let Some(port) = ports.iter().position(|port| *port == index) {
            return Some(Egress { port, ..egress });
        }
        let vlan = state.links.get(&index)?.vlan?;
        *egress.tags.get_mut(depth)? = Some((vlan.tpid, vlan.vid));
        index = vlan.parent;
    }
    None
}

struct Resolver<'a> {
    state: &'a State,
    ports: &'a [u32],
    neighbours: Numbers<(u32, IpAddr)>,
    /// Links with routes to destinations on them.
    on_link: Numbers<(u32, Egress)>,
    hops: Vec<DirectHop>,
    paths: Vec<WeightedPath>,
}

impl Resolver<'_> {
    fn resolve(&mut self, target: &Target) -> Resolved {
        let kernel = |reason| Resolved {
            action: Action::Kernel(reason),
            mtu: None,
        };
        match target.kind {
            RouteKind::Local => kernel(KernelReason::LocalAddress),
            RouteKind::Special => kernel(KernelReason::SpecialRoute),
            RouteKind::Forward => self.resolve_hops(target),
        }
    }

    fn resolve_hops(&mut self, target: &Target) -> Resolved {
        let first = self.paths.len();
        let mut weight = 0_u32;
        let mut mtu = None;
        for hop in &target.hops {
            if hop.dead || !self.is_alive(hop.link) {
                continue;
            }
            let link_mtu = self.state.links.get(&hop.link).map(|link| link.mtu);
            let hop_mtu = target.mtu.into_iter().chain(link_mtu).min();
            mtu = mtu.into_iter().chain(hop_mtu).min();
            weight = weight.saturating_add(hop.weight);
            let path = self.path(hop, target.mtu);
            self.paths.push(WeightedPath { weight, path });
        }
        let action = match &self.paths[first..] {
            [] => Action::Kernel(KernelReason::LinkDown),
            [WeightedPath { path, .. }] => Action::Take(*path),
            several => Action::Spread {
                first: first as u32,
                count: several.len() as u32,
                weight,
            },
        };
        Resolved { action, mtu }
    }

    /// Whether a link and all below it are up and have carrier.
    fn is_alive(&self, index: u32) -> bool {
        let mut next = Some(index);
        // A chain that is no longer than the links there are does not go round in circles.
        for _ in 0..=self.state.links.len() {
            let Some(index) = next else { return true };
            let Some(link) = self.state.links.get(&index) else {
                return true;
            };
            if !link.up || !link.lower_up {
                return false;
            }
            next = link.vlan.map(|vlan| vlan.parent);
        }
        false
    }

    fn path(&mut self, hop: &NextHop, route_mtu: Option<u32>) -> Path {
        let Some(mut egress) = egress(self.state, self.ports, hop.link) else {
            return Path::Kernel(KernelReason::NotOurInterface);
        };
        egress.mtu = egress.mtu.min(route_mtu.unwrap_or(u32::MAX));
        let Some(gateway) = hop.gateway else {
            return Path::OnLink(self.on_link.of((hop.link, egress)));
        };
        match self.state.neighbours.get(&(hop.link, gateway)) {
            Some(neighbour) => {
                Path::Gateway(self.direct(egress, (hop.link, gateway), neighbour.mac))
            }
            None => Path::Unresolved(self.neighbours.of((hop.link, gateway))),
        }
    }

    /// Adds a hop to a neighbour and returns its number.
    fn direct(&mut self, egress: Egress, neighbour: (u32, IpAddr), mac: [u8; 6]) -> u32 {
        let mark = self.neighbours.of(neighbour);
        let Egress {
            port, source, mtu, ..
        } = egress;
        let hop = DirectHop::new(port, egress.tags(), [source, mac], mtu, mark);
        self.hops.push(hop);
        self.hops.len() as u32 - 1
    }

    /// Lists the neighbours of the links which have routes to destinations on them.
    #[expect(clippy::type_complexity, reason = "one map for each family")]
    fn list_on_link(
        &mut self,
    ) -> (
        HashMap<(u32, std::net::Ipv4Addr), u32>,
        HashMap<(u32, std::net::Ipv6Addr), u32>,
    ) {
        let mut links: Map<u32, Vec<(u32, Egress)>> = Map::new();
        for ((link, egress), number) in &self.on_link.numbers {
            links.entry(*link).or_default().push((*number, *egress));
        }
        let (mut v4, mut v6) = (HashMap::new(), HashMap::new());
        for (key, neighbour) in &self.state.neighbours {
            for (number, egress) in links.get(&key.0).into_iter().flatten() {
                let hop = self.direct(*egress, *key, neighbour.mac);
                match key.1 {
                    IpAddr::V4(address) => v4.insert((*number, address), hop),
                    IpAddr::V6(address) => v6.insert((*number, address), hop),
                };
            }
        }
        (v4, v6)
    }
}
