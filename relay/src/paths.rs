//! The network as it is at a moment: routes, neighbours, MTUs and the machine's own addresses.
//!
//! The control thread publishes a new [`Live`] whenever the kernel's tables change; workers read one
//! for each batch of packets.

use crate::config::{Config, Forwarding, MtuOverride, OwnAddresses};
use crate::routes::{Found, Hop, Link, Mirror, Routes};
use crate::tables::Paths;
use eam_tables::one_bit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The IPv4 address of a node that has none (RFC 7600, 4).
pub const DUMMY_IPV4: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 8);

/// A picture of the network.
pub struct Live {
    /// Next hops.
    pub routes: Routes,
    mtu: MtuOverride,
    /// Ascending.
    own_v4: Vec<Ipv4Addr>,
    /// Ascending.
    own_v6: Vec<Ipv6Addr>,
    /// Where the bits are that stand for own addresses.
    own_bits: u64,
    senders: Senders,
    /// For each port, by its position, whether it is an end of a veth pair.
    veths: Vec<bool>,
}

/// What the relay knows of its own ports.
#[derive(Clone, Debug, Default)]
pub struct Senders {
    /// What the configuration says.
    pub configured: OwnAddresses,
    /// The addresses of each port, by its position.
    pub ports: Vec<Vec<IpAddr>>,
    /// The least MTU of all ports in octets, for where the kernel decides about the next hop; `None` if no port is there.
    pub least_mtu: Option<u32>,
}

impl Live {
    /// Returns a picture of the network with the given next hops and addresses.
    pub fn new(
        routes: Routes,
        own: impl IntoIterator<Item = IpAddr>,
        mtu: MtuOverride,
        senders: Senders,
    ) -> Self {
        let (mut own_v4, mut own_v6) = (Vec::new(), Vec::new());
        let configured = senders.configured;
        let configured = [
            configured.ipv4.map(IpAddr::V4),
            configured.ipv6.map(IpAddr::V6),
        ];
        for address in own.into_iter().chain(configured.into_iter().flatten()) {
            match address {
                IpAddr::V4(address) => own_v4.push(address),
                IpAddr::V6(address) => own_v6.push(address),
            }
        }
        own_v4.sort_unstable();
        own_v6.sort_unstable();
        let bits = own_v4.iter().map(|own| own_bit(own.to_bits().into()));
        let bits = bits.chain(own_v6.iter().map(|own| own_bit(own.to_bits())));
        Self {
            routes,
            mtu,
            own_bits: bits.fold(0, |all, bit| all | bit),
            own_v4,
            own_v6,
            senders,
            veths: Vec::new(),
        }
    }

    /// Takes a picture of the network as it is. `ports` are the indices of the relay's interfaces, in their order.
    pub fn take(mirror: &mut Mirror, ports: &[u32], config: &Config) -> Self {
        let routes = mirror.snapshot(ports);
        let routes = match config.forwarding {
            Forwarding::Direct => routes,
            Forwarding::Kernel => routes.for_kernel(),
        };
        let addresses = ports
            .iter()
            .map(|index| mirror.addresses_of(*index).collect());
        let links = ports.iter().filter_map(|index| mirror.link(*index));
        let senders = Senders {
            configured: config.icmp.own,
            ports: addresses.collect(),
            least_mtu: links.map(|link| link.mtu).min(),
        };
        let is_veth = |index: &u32| mirror.link(*index).is_some_and(Link::is_veth);
        let veths = ports.iter().map(is_veth).collect();
        Self {
            veths,
            ..Self::new(routes, mirror.own_addresses(), config.mtu, senders)
        }
    }

    /// Says whether packets come by a port with unfinished checksums, as they do by an end of a veth pair; they may if it is not known
    /// which port it is.
    pub fn may_be_unfinished(&self, port: Option<usize>) -> bool {
        port.is_none_or(|port| self.veths.get(port).is_some_and(|is_veth| *is_veth))
    }

    /// Returns the addresses from which the relay sends errors.
    pub fn senders(&self) -> &Senders {
        &self.senders
    }

    /// Returns the MTU of a next hop: no more than the operator says, nor than it is known to be.
    #[inline]
    fn mtu(&self, learnt: Option<u32>, configured: Option<u32>) -> u32 {
        let learnt = learnt.or(self.senders.least_mtu).unwrap_or(u32::MAX);
        configured.map_or(learnt, |configured| configured.min(learnt))
    }

    /// Returns the MTU in octets by the route to an IPv4 destination.
    #[inline]
    pub fn mtu_by_v4(&self, found: Found<'_>) -> u32 {
        self.mtu(found.mtu(), self.mtu.ipv4)
    }

    /// Returns the MTU in octets by the route to an IPv6 destination.
    #[inline]
    pub fn mtu_by_v6(&self, found: Found<'_>) -> u32 {
        self.mtu(found.mtu(), self.mtu.ipv6)
    }

    /// Returns the addresses of the port by which a hop leaves, then those of all ports, then all others of the machine: the
    /// first that fits is the best.
    fn candidates(&self, hop: Hop<'_>) -> impl Iterator<Item = IpAddr> + '_ {
        let port = match hop {
            Hop::Direct(hop) => self.senders.ports.get(hop.port),
            Hop::Kernel(_) => None,
        };
        let others = self.own_v4.iter().copied().map(IpAddr::V4);
        let others = others.chain(self.own_v6.iter().copied().map(IpAddr::V6));
        port.into_iter()
            .chain(&self.senders.ports)
            .flatten()
            .copied()
            .chain(others)
            .filter(|address| !address.is_loopback())
    }
}

/// Returns the bit of [`Live::own_bits`] that an address shares with few others: it tells of most addresses at once that they are
/// not the machine's own.
#[inline(always)]
fn own_bit(address: u128) -> u64 {
    one_bit((address >> 64) as u64 ^ address as u64)
}

impl Paths for Live {
    #[inline(always)]
    fn is_own_v4(&self, address: Ipv4Addr) -> bool {
        self.own_bits & own_bit(address.to_bits().into()) != 0
            && self.own_v4.binary_search(&address).is_ok()
    }

    #[inline(always)]
    fn is_own_v6(&self, address: Ipv6Addr) -> bool {
        self.own_bits & own_bit(address.to_bits()) != 0
            && self.own_v6.binary_search(&address).is_ok()
    }

    #[inline]
    fn mtu_v4(&self, destination: Ipv4Addr) -> u32 {
        self.mtu_by_v4(self.routes.find_v4(destination))
    }

    #[inline]
    fn mtu_v6(&self, destination: Ipv6Addr) -> u32 {
        self.mtu_by_v6(self.routes.find_v6(destination))
    }

    /// RFC 7600's dummy address serves a relay that has no IPv4 address of its own.
    fn own_v4(&self, destination: Ipv4Addr) -> Option<Ipv4Addr> {
        let mut candidates = self.candidates(self.routes.v4(destination, 0));
        let learnt = candidates.find_map(|address| match address {
            IpAddr::V4(address) if !address.is_link_local() => Some(address),
            IpAddr::V4(_) | IpAddr::V6(_) => None,
        });
        self.senders.configured.ipv4.or(learnt).or(Some(DUMMY_IPV4))
    }

    fn own_v6(&self, destination: Ipv6Addr) -> Option<Ipv6Addr> {
        let mut candidates = self.candidates(self.routes.v6(destination, 0));
        let learnt = candidates.find_map(|address| match address {
            IpAddr::V6(address) if !address.is_unicast_link_local() => Some(address),
            IpAddr::V4(_) | IpAddr::V6(_) => None,
        });
        self.senders.configured.ipv6.or(learnt)
    }
}
