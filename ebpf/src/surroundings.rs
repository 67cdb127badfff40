//! The translator's surroundings, as far as plain packets need them: the tables of the maps.

use core::net::{Ipv4Addr, Ipv6Addr};

use eam_tables::{
    flat,
    layout::{List, Settings, State},
};
use relay_core::address::{halves, join};
use relay_core::network::Mapped;
use relay_core::{AddressMap, Network};

use crate::{
    maps::{self, TableV4, TableV6},
    opaque::opaque,
};

/// The generation that the program was loaded with, and the machine's own addresses.
pub(crate) struct Surroundings {
    pub(crate) settings: &'static Settings,
    pub(crate) state: &'static State,
    /// Whether the packet came by an end of a veth pair.
    pub(crate) is_from_veth: bool,
}

impl Surroundings {
    #[inline(always)]
    fn is_listed(&self, address: Ipv4Addr, list: List) -> bool {
        self.settings.has_lists != 0 && maps::is_listed(address, list)
    }
}

// What an address becomes is a number also where there is no mapping. Else the compiler would leave that number undefined, and
// keep some register in its place that the verifier knows nothing of.
impl AddressMap for Surroundings {
    #[inline(always)]
    fn map_v4(&self, address: Ipv4Addr) -> Option<Mapped<Ipv6Addr>> {
        if flat::may_match_v4(&self.settings.shape_v4, &TableV4, address) {
            self.map_service_v4(address)
        } else {
            None
        }
    }

    #[inline(always)]
    fn map_v6(&self, address: Ipv6Addr) -> Option<Mapped<Ipv4Addr>> {
        if flat::may_match_v6(&self.settings.shape_v6, &TableV6, address) {
            self.map_service_v6(address)
        } else {
            None
        }
    }

    #[inline(always)]
    fn map_embedded_v6(&self, address: Ipv6Addr) -> Option<Mapped<Ipv4Addr>> {
        match self.settings.has_embedded {
            0 => None,
            _ => self.map_v6(address),
        }
    }

    #[inline(always)]
    fn map_service_v4(&self, address: Ipv4Addr) -> Option<Mapped<Ipv6Addr>> {
        let found = maps::longest_v4(address).map(|slot| slot.translate(address));
        let [high, low] = found.map_or([0; 2], |mapped| halves(mapped.address));
        let entry = found.map_or(0, |mapped| mapped.entry);
        let difference = found.map_or(0, |mapped| mapped.difference);
        let mapped = Mapped {
            address: join([opaque(high), opaque(low)]),
            entry: opaque(u64::from(entry)) as u32,
            difference: opaque(u64::from(difference)) as u16,
        };
        found.is_some().then_some(mapped)
    }

    #[inline(always)]
    fn map_service_v6(&self, address: Ipv6Addr) -> Option<Mapped<Ipv4Addr>> {
        let found = maps::longest_v6(address).map(|slot| slot.translate(address));
        let bits = found.map_or(0, |mapped| mapped.address.to_bits());
        let entry = found.map_or(0, |mapped| mapped.entry);
        let difference = found.map_or(0, |mapped| mapped.difference);
        let mapped = Mapped {
            address: Ipv4Addr::from_bits(opaque(u64::from(bits)) as u32),
            entry: opaque(u64::from(entry)) as u32,
            difference: opaque(u64::from(difference)) as u16,
        };
        found.is_some().then_some(mapped)
    }
}

impl Network for Surroundings {
    #[inline(always)]
    fn is_own_v4(&self, address: Ipv4Addr) -> bool {
        self.state.own_v4 != 0 && maps::is_own_v4(u64::from(address.to_bits()))
    }

    #[inline(always)]
    fn is_own_v6(&self, address: Ipv6Addr) -> bool {
        self.state.own_v6 != 0 && maps::is_own_v6(halves(address))
    }

    #[inline(always)]
    fn is_ipv4_translatable(&self, address: Ipv4Addr) -> bool {
        self.is_listed(address, List::Translatable)
    }

    #[inline(always)]
    fn is_in_service_pool(&self, address: Ipv4Addr) -> bool {
        self.is_listed(address, List::ServicePool)
    }

    #[inline(always)]
    fn is_denied(&self, address: Ipv4Addr) -> bool {
        self.is_listed(address, List::Denied)
    }

    #[inline(always)]
    fn may_be_unfinished(&self) -> bool {
        self.is_from_veth
    }

    /// Anything fits: the next hop is looked up later, when the source is known, and its MTU is compared then.
    #[inline(always)]
    fn mtu_v4(&self, _: Ipv4Addr) -> u32 {
        u32::MAX
    }

    /// Anything fits, as for IPv4.
    #[inline(always)]
    fn mtu_v6(&self, _: Ipv6Addr) -> u32 {
        u32::MAX
    }

    /// No plain packet is an ICMP error.
    #[inline(always)]
    fn error_source_v4(&self, _: Ipv6Addr, _: Ipv4Addr, _: u8) -> Option<Ipv4Addr> {
        None
    }

    /// No plain packet is an ICMP error.
    #[inline(always)]
    fn error_source_v6(&self, _: Ipv4Addr, _: Ipv6Addr, _: u8) -> Option<Ipv6Addr> {
        None
    }
}
