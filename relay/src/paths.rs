//! The network as it is at a moment: routes, neighbours, MTUs and the machine's own addresses.
//!
//! The control thread publishes a new [`Live`] whenever the kernel's tables change; workers read one
//! for each batch of packets.

use crate::config::MtuOverride;
use crate::routes::Routes;
use crate::tables::Paths;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A picture of the network.
pub struct Live {
    /// Next hops.
    pub routes: Routes,
    mtu: MtuOverride,
    /// Ascending.
    own_v4: Vec<Ipv4Addr>,
    /// Ascending.
    own_v6: Vec<Ipv6Addr>,
}

impl Live {
    /// Returns a picture of the network with the given next hops and addresses.
    pub fn new(routes: Routes, own: impl IntoIterator<Item = IpAddr>, mtu: MtuOverride) -> Self {
        let (mut own_v4, mut own_v6) = (Vec::new(), Vec::new());
        for address in own {
            match address {
                IpAddr::V4(address) => own_v4.push(address),
                IpAddr::V6(address) => own_v6.push(address),
            }
        }
        own_v4.sort_unstable();
        own_v6.sort_unstable();
        Self {
            routes,
            mtu,
            own_v4,
            own_v6,
        }
    }
}

impl Paths for Live {
    #[inline]
    fn is_own_v4(&self, address: Ipv4Addr) -> bool {
        self.own_v4.binary_search(&address).is_ok()
    }

    #[inline]
    fn is_own_v6(&self, address: Ipv6Addr) -> bool {
        self.own_v6.binary_search(&address).is_ok()
    }

    /// Where the kernel decides about the next hop, it also decides about the size.
    #[inline]
    fn mtu_v4(&self, destination: Ipv4Addr) -> u32 {
        let learnt = || self.routes.mtu_v4(destination).unwrap_or(u32::MAX);
        self.mtu.ipv4.unwrap_or_else(learnt)
    }

    /// Where the kernel decides about the next hop, it also decides about the size.
    #[inline]
    fn mtu_v6(&self, destination: Ipv6Addr) -> u32 {
        let learnt = || self.routes.mtu_v6(destination).unwrap_or(u32::MAX);
        self.mtu.ipv6.unwrap_or_else(learnt)
    }
}
