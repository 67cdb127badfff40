//! One generation of everything that decides about addresses: mappings, lists and policy.
//!
//! A generation never changes. The data plane reads the one that was published last, and a packet is
//! translated by one generation alone.

use crate::config::Config;
use eam_tables::{Eam, EamTable, PrefixSet4};
use relay_core::{AddressMap, Network, Policy};
use std::net::{Ipv4Addr, Ipv6Addr};

/// The mappings, lists and policy that a configuration amounts to.
pub struct Tables {
    /// How packets are translated.
    pub policy: Policy,
    /// The Explicit Address Mapping Table.
    pub eam: EamTable,
    /// Translated by RFC 6052 instead of an EAM.
    pub ipv4_translatable: PrefixSet4,
    /// Routed to the relay for services.
    pub service_pools: PrefixSet4,
    /// Never translated by RFC 6052.
    pub denylist4: PrefixSet4,
}

impl Tables {
    /// Builds the tables of a configuration and the mappings that belong to it.
    pub fn new(config: &Config, eams: Vec<Eam>) -> Self {
        Self {
            policy: config.policy,
            eam: EamTable::new(eams),
            ipv4_translatable: config.ipv4_translatable.clone(),
            service_pools: config.service_pools.clone(),
            denylist4: config.denylist4.clone(),
        }
    }
}

/// What is known of the network besides the tables: it changes by itself and needs no reload.
pub trait Paths {
    /// Says whether `address` is one of the machine's own.
    fn is_own_v4(&self, address: Ipv4Addr) -> bool;
    /// Says whether `address` is one of the machine's own.
    fn is_own_v6(&self, address: Ipv6Addr) -> bool;
    /// Returns the MTU in octets of the next hop towards `destination`.
    fn mtu_v4(&self, destination: Ipv4Addr) -> u32;
    /// Returns the MTU in octets of the next hop towards `destination`.
    fn mtu_v6(&self, destination: Ipv6Addr) -> u32;
}

/// The surroundings of the translator: tables and paths together.
pub struct Surroundings<'a, P> {
    /// The generation in force.
    pub tables: &'a Tables,
    /// The network as it is.
    pub paths: &'a P,
}

impl<P> AddressMap for Surroundings<'_, P> {
    #[inline]
    fn v4_to_v6(&self, address: Ipv4Addr) -> Option<Ipv6Addr> {
        self.tables.eam.v4_to_v6(address)
    }

    #[inline]
    fn v6_to_v4(&self, address: Ipv6Addr) -> Option<Ipv4Addr> {
        self.tables.eam.v6_to_v4(address)
    }
}

impl<P: Paths> Network for Surroundings<'_, P> {
    #[inline]
    fn is_own_v4(&self, address: Ipv4Addr) -> bool {
        self.paths.is_own_v4(address)
    }

    #[inline]
    fn is_own_v6(&self, address: Ipv6Addr) -> bool {
        self.paths.is_own_v6(address)
    }

    #[inline]
    fn is_ipv4_translatable(&self, address: Ipv4Addr) -> bool {
        self.tables.ipv4_translatable.contains(address)
    }

    #[inline]
    fn is_in_service_pool(&self, address: Ipv4Addr) -> bool {
        self.tables.service_pools.contains(address)
    }

    #[inline]
    fn is_denied(&self, address: Ipv4Addr) -> bool {
        self.tables.denylist4.contains(address)
    }

    #[inline]
    fn mtu_v4(&self, destination: Ipv4Addr) -> u32 {
        self.paths.mtu_v4(destination)
    }

    #[inline]
    fn mtu_v6(&self, destination: Ipv6Addr) -> u32 {
        self.paths.mtu_v6(destination)
    }
}
