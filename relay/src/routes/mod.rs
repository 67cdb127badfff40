//! Next hops from the kernel's own routes and neighbours.
//!
//! [`Mirror`] follows the kernel's tables on the control thread. It hands out [`Routes`], frozen pictures of them, in which
//! workers look up next hops without a system call, a lock or an allocation. A look-up says either how to send a packet, or
//! why the kernel has to: then the translated packet goes to the kernel, which resolves, forwards or refuses it. The picture
//! therefore only has to be right where it says [`Hop::Direct`]; in doubt it says [`Hop::Kernel`].
//!
//! Not looked at: firewall marks and source addresses (a packet that depends on them goes to the kernel, see
//! [`KernelReason::PolicyRules`]), priority bits of VLAN tags, path MTUs the kernel learnt for itself.

mod announce;
mod decode;
mod decode_route;
mod hop;
mod mirror;
mod resolve;
mod state;

pub use hop::{DirectHop, Hop, KernelReason, Tag, Tags};
pub use mirror::{Mirror, MirrorError};
pub use state::{Link, VlanLink};

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use eam_tables::{Address, PrefixTable};
use hashbrown::HashMap;

/// A frozen picture of the kernel's routes and neighbours, to be shared by the workers.
pub struct Routes {
    tables: Arc<Tables>,
    /// Whether the kernel gets every packet, though its MTU is still known.
    is_for_kernel: bool,
    /// Why not to look anything up in the family, if so.
    withheld_v4: Option<KernelReason>,
    withheld_v6: Option<KernelReason>,
    /// What has become of the target with the same position in `tables.targets`.
    resolved: Vec<Resolved>,
    paths: Vec<WeightedPath>,
    hops: Vec<DirectHop>,
    on_link_v4: HashMap<(u32, Ipv4Addr), u32>,
    on_link_v6: HashMap<(u32, Ipv6Addr), u32>,
    /// Marks of the neighbours that look-ups came upon, for [`Mirror::confirm_used_neighbours`].
    used: Arc<[AtomicBool]>,
}

/// The routes by prefix.
struct Tables {
    v4: PrefixTable<Ipv4Addr, u32>,
    v6: PrefixTable<Ipv6Addr, u32>,
    /// What the values of the prefix tables stand for; many prefixes share one.
    targets: Vec<state::Target>,
}

/// Where a target leads.
#[derive(Clone, Copy)]
struct Resolved {
    action: Action,
    mtu: Option<u32>,
}

#[derive(Clone, Copy)]
enum Action {
    Kernel(KernelReason),
    Take(Path),
    /// Choose one of `count` paths from `first` on, in proportion to their weights.
    Spread {
        first: u32,
        count: u32,
        weight: u32,
    },
}

#[derive(Clone, Copy)]
enum Path {
    Kernel(KernelReason),
    /// To a gateway whose MAC address is known.
    Gateway(u32),
    /// To a gateway whose MAC address has still to be found out; the number is that of its mark.
    Unresolved(u32),
    /// To the destination itself, with the link number under which `on_link_v4` and `on_link_v6` list its neighbours.
    OnLink(u32),
}

struct WeightedPath {
    /// The sum of the weights up to and with this path.
    weight: u32,
    path: Path,
}

/// What the routes say about a destination, before one of several paths is chosen.
#[derive(Clone, Copy)]
pub struct Found<'a> {
    /// Why the kernel has to take packets to this destination, whatever its route.
    kernel: Option<KernelReason>,
    resolved: Option<&'a Resolved>,
}

impl Found<'_> {
    /// Returns the MTU towards the destination, in octets: the route's own or that of the interface it leads out of.
    /// Of several paths the smallest counts. `None` when there is no such route, or the destination alone does not decide.
    #[inline]
    pub fn mtu(&self) -> Option<u32> {
        self.resolved.and_then(|resolved| resolved.mtu)
    }
}

impl Routes {
    /// Looks up the next hop of an IPv4 destination. Packets of one flow bring the same `flow` hash and take the same path.
    pub fn v4(&self, destination: Ipv4Addr, flow: u32) -> Hop<'_> {
        self.hop_v4(self.find_v4(destination), destination, flow)
    }

    /// Looks up the next hop of an IPv6 destination. Packets of one flow bring the same `flow` hash and take the same path.
    pub fn v6(&self, destination: Ipv6Addr, flow: u32) -> Hop<'_> {
        self.hop_v6(self.find_v6(destination), destination, flow)
    }

    /// Looks up the route to an IPv4 destination.
    #[inline(always)]
    pub fn find_v4(&self, destination: Ipv4Addr) -> Found<'_> {
        // All others are unicast: 1.0.0.0 to 223.255.255.255.
        let is_unicast = (destination.to_bits() >> 24).wrapping_sub(1) < 223;
        let is_special = !is_unicast
            && (destination.is_multicast()
                || destination.is_broadcast()
                || destination.octets()[0] == 0);
        let withheld = self.withheld_v4;
        self.find(&self.tables.v4, destination, withheld, is_special)
    }

    /// Looks up the route to an IPv6 destination.
    #[inline(always)]
    pub fn find_v6(&self, destination: Ipv6Addr) -> Found<'_> {
        // The first octet of all others is one of three.
        let is_special = matches!(destination.to_bits() >> 120, 0 | 0xfe | 0xff)
            && (destination.is_multicast()
                || destination.is_unspecified()
                || destination.is_unicast_link_local());
        let withheld = self.withheld_v6;
        self.find(&self.tables.v6, destination, withheld, is_special)
    }

    /// Leaves every packet to the kernel.
    pub fn for_kernel(self) -> Self {
        Self {
            is_for_kernel: true,
            ..self
        }
    }

    /// Returns the next hop by what [`find_v4`](Self::find_v4) said about the same destination.
    #[inline(always)]
    pub fn hop_v4(&self, found: Found<'_>, destination: Ipv4Addr, flow: u32) -> Hop<'_> {
        let neighbour = |link| self.on_link_v4.get(&(link, destination)).copied();
        self.hop(found, flow, neighbour)
    }

    /// Returns the next hop by what [`find_v6`](Self::find_v6) said about the same destination.
    #[inline(always)]
    pub fn hop_v6(&self, found: Found<'_>, destination: Ipv6Addr, flow: u32) -> Hop<'_> {
        let neighbour = |link| self.on_link_v6.get(&(link, destination)).copied();
        self.hop(found, flow, neighbour)
    }

    #[inline(always)]
    fn find<A: Address>(
        &self,
        table: &PrefixTable<A, u32>,
        destination: A,
        withheld: Option<KernelReason>,
        is_special: bool,
    ) -> Found<'_> {
        if withheld.is_some() {
            return Found {
                kernel: withheld,
                resolved: None,
            };
        }
        let target = table.get(destination);
        Found {
            kernel: is_special.then_some(KernelReason::SpecialRoute),
            resolved: target.and_then(|target| self.resolved.get(target as usize)),
        }
    }

    #[inline(always)]
    fn hop(
        &self,
        found: Found<'_>,
        flow: u32,
        neighbour: impl FnOnce(u32) -> Option<u32>,
    ) -> Hop<'_> {
        if let Some(reason) = found.kernel {
            return Hop::Kernel(reason);
        }
        if self.is_for_kernel {
            return Hop::Kernel(KernelReason::Configured);
        }
        let path = match found.resolved.map(|resolved| resolved.action) {
            None => Path::Kernel(KernelReason::NoRoute),
            Some(Action::Kernel(reason)) => Path::Kernel(reason),
            Some(Action::Take(path)) => path,
            Some(Action::Spread {
                first,
                count,
                weight,
            }) => self.choose(first, count, weight, flow),
        };
        let hop = match path {
            Path::Kernel(reason) => return Hop::Kernel(reason),
            Path::Gateway(hop) => Some(hop),
            Path::Unresolved(mark) => {
                self.mark(mark);
                None
            }
            Path::OnLink(link) => neighbour(link),
        };
        hop.map_or(Hop::Kernel(KernelReason::NoNeighbour), |hop| {
            let hop = &self.hops[hop as usize];
            self.mark(hop.mark);
            Hop::Direct(hop)
        })
    }

    fn choose(&self, first: u32, count: u32, weight: u32, flow: u32) -> Path {
        // The golden ratio spreads hashes whose high bits say little.
        let spread = u64::from(flow.wrapping_mul(0x9e37_79b1));
        let point = ((spread * u64::from(weight)) >> 32) as u32;
        let paths = &self.paths[first as usize..][..count as usize];
        paths[paths.partition_point(|path| path.weight <= point)].path
    }

    /// Notes that a packet went to a neighbour. Reads first: the cache line stays shared while nothing changes.
    #[inline(always)]
    fn mark(&self, mark: u32) {
        let used = &self.used[mark as usize];
        if !used.load(Ordering::Relaxed) {
            used.store(true, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod kernel_agreement_tests;
#[cfg(test)]
mod kernel_tests;
#[cfg(test)]
mod resolve_tests;
#[cfg(test)]
mod tests;
