//! One generation of everything that decides about addresses: mappings, lists and policy.
//!
//! A generation never changes. The data plane reads the one that was published last, and a packet is
//! translated by one generation alone.

use crate::config::{Config, IcmpErrors, SourceChoice};
use crate::driver::prefetch::prefer_huge_pages;
use crate::tally::Tally;
use eam_tables::{Eam, EamTable, PrefixSet4};
use ipnet::{Ipv4Net, Ipv6Net};
use relay_core::network::Mapped;
use relay_core::wire::Octets;
use relay_core::{AddressMap, Direction, Network, Policy};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// The mappings, lists and policy that a configuration amounts to.
pub struct Tables {
    /// The number of the generation; the first is 1.
    pub generation: u64,
    /// How packets are translated.
    pub policy: Policy,
    /// The Explicit Address Mapping Table.
    pub eam: EamTable,
    /// Whether any of them has addresses under the translation prefix.
    has_embedded: bool,
    /// Translated by RFC 6052 instead of an EAM.
    pub ipv4_translatable: PrefixSet4,
    /// Routed to the relay for services.
    pub service_pools: PrefixSet4,
    /// Never translated by RFC 6052.
    pub denylist4: PrefixSet4,
    /// Sources of ICMP errors whose own could not be translated.
    pub error_sources: ErrorSources,
    /// What is counted for each mapping.
    pub tally: Arc<Tally>,
}

impl Tables {
    /// Builds the tables of a configuration and the mappings that belong to it.
    pub fn new(config: &Config, eams: Vec<Eam>) -> Self {
        let eam = EamTable::in_memory(eams, &prefer_huge_pages);
        Self {
            generation: 1,
            tally: Arc::new(Tally::new(eam.len(), config.eam_counters)),
            policy: config.policy,
            has_embedded: eam.has_any_under(&config.policy.prefix),
            eam,
            ipv4_translatable: config.ipv4_translatable.clone(),
            service_pools: config.service_pools.clone(),
            denylist4: config.denylist4.clone(),
            error_sources: ErrorSources::new(&config.icmp),
        }
    }

    /// Returns the numbers plus one of the mappings by which a packet got its new source and its new destination; zero for RFC 6052.
    pub fn mappings_of(
        &self,
        direction: Direction,
        packet: &[u8],
        [source, destination]: [IpAddr; 2],
    ) -> [u32; 2] {
        let from_v4 = |old: Ipv4Addr, new: IpAddr| {
            let mapped = self.eam.map_v4(old);
            let mapped = mapped.filter(|mapped| IpAddr::V6(mapped.address) == new);
            mapped.map_or(0, |mapped| mapped.entry + 1)
        };
        let from_v6 = |old: Ipv6Addr, new: Option<IpAddr>| {
            let mapped = self.eam.map_v6(old);
            let mapped =
                mapped.filter(|mapped| new.is_none_or(|new| IpAddr::V4(mapped.address) == new));
            mapped.map_or(0, |mapped| mapped.entry + 1)
        };
        match direction {
            Direction::V4ToV6 => {
                let old = |at| packet.load::<4>(at).map(Ipv4Addr::from);
                let mapping = |at, new| old(at).map_or(0, |old| from_v4(old, new));
                [mapping(12, source), mapping(16, destination)]
            }
            Direction::V6ToV4 => {
                let (Some(from), Some(to)) = (packet.load::<16>(8), packet.load::<16>(24)) else {
                    return [0; 2];
                };
                let (from, to) = (Ipv6Addr::from(from), Ipv6Addr::from(to));
                match destination {
                    IpAddr::V4(_) => [from_v6(from, Some(source)), from_v6(to, Some(destination))],
                    // RFC 7757, 4.2.2: the packet was translated twice, its source by a mapping the first time and its destination
                    // the second time.
                    IpAddr::V6(_) => {
                        let embedded = self.policy.prefix.extract(to);
                        let to = embedded.map_or(0, |embedded| from_v4(embedded, destination));
                        [from_v6(from, None), to]
                    }
                }
            }
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
    /// Returns the relay's own address from which it sends errors to `destination`.
    fn own_v4(&self, destination: Ipv4Addr) -> Option<Ipv4Addr>;
    /// Returns the relay's own address from which it sends errors to `destination`.
    fn own_v6(&self, destination: Ipv6Addr) -> Option<Ipv6Addr>;
}

/// The surroundings of the translator: tables and paths together.
pub struct Surroundings<'a, P> {
    /// The generation in force.
    pub tables: &'a Tables,
    /// The network as it is.
    pub paths: &'a P,
    /// Whether packets come with unfinished checksums.
    pub may_be_unfinished: bool,
    /// A number that nobody can foresee, for choices at random.
    pub random: u64,
}

impl<P> AddressMap for Surroundings<'_, P> {
    #[inline(always)]
    fn map_v4(&self, address: Ipv4Addr) -> Option<Mapped<Ipv6Addr>> {
        self.tables.eam.map_v4(address)
    }

    #[inline(always)]
    fn map_v6(&self, address: Ipv6Addr) -> Option<Mapped<Ipv4Addr>> {
        self.tables.eam.map_v6(address)
    }

    #[inline(always)]
    fn map_embedded_v6(&self, address: Ipv6Addr) -> Option<Mapped<Ipv4Addr>> {
        match self.tables.has_embedded {
            true => self.map_v6(address),
            false => None,
        }
    }

    #[inline(always)]
    fn map_service_v4(&self, address: Ipv4Addr) -> Option<Mapped<Ipv6Addr>> {
        self.tables.eam.map_service_v4(address)
    }

    #[inline(always)]
    fn map_service_v6(&self, address: Ipv6Addr) -> Option<Mapped<Ipv4Addr>> {
        self.tables.eam.map_service_v6(address)
    }
}

impl<P: Paths> Network for Surroundings<'_, P> {
    #[inline(always)]
    fn is_own_v4(&self, address: Ipv4Addr) -> bool {
        self.paths.is_own_v4(address)
    }

    #[inline(always)]
    fn is_own_v6(&self, address: Ipv6Addr) -> bool {
        self.paths.is_own_v6(address)
    }

    #[inline(always)]
    fn is_ipv4_translatable(&self, address: Ipv4Addr) -> bool {
        self.tables.ipv4_translatable.contains(address)
    }

    #[inline(always)]
    fn is_in_service_pool(&self, address: Ipv4Addr) -> bool {
        self.tables.service_pools.contains(address)
    }

    #[inline(always)]
    fn is_denied(&self, address: Ipv4Addr) -> bool {
        self.tables.denylist4.contains(address)
    }

    #[inline(always)]
    fn may_be_unfinished(&self) -> bool {
        self.may_be_unfinished
    }

    #[inline(always)]
    fn mtu_v4(&self, destination: Ipv4Addr) -> u32 {
        self.paths.mtu_v4(destination)
    }

    #[inline(always)]
    fn mtu_v6(&self, destination: Ipv6Addr) -> u32 {
        self.paths.mtu_v6(destination)
    }

    fn error_source_v4(
        &self,
        _: Ipv6Addr,
        destination: Ipv4Addr,
        hop_limit: u8,
    ) -> Option<Ipv4Addr> {
        let sources = &self.tables.error_sources;
        let pool = pick(&sources.v4, sources.choice, hop_limit, self.random);
        pool.or_else(|| self.paths.own_v4(destination))
    }

    fn error_source_v6(
        &self,
        _: Ipv4Addr,
        destination: Ipv6Addr,
        hop_limit: u8,
    ) -> Option<Ipv6Addr> {
        let sources = &self.tables.error_sources;
        let pool = pick(&sources.v6, sources.choice, hop_limit, self.random);
        pool.or_else(|| self.paths.own_v6(destination))
    }
}

/// The addresses that can stand for the untranslatable source of an ICMP error (RFC 6791).
#[derive(Clone, Debug)]
pub struct ErrorSources {
    v4: Vec<Ipv4Net>,
    v6: Vec<Ipv6Net>,
    choice: SourceChoice,
}

impl ErrorSources {
    fn new(icmp: &IcmpErrors) -> Self {
        Self {
            v4: icmp.ipv4_sources.clone(),
            v6: icmp.ipv6_sources.clone(),
            choice: icmp.source_choice,
        }
    }
}

/// A prefix whose addresses can be numbered.
trait Numbered {
    type Address;
    /// Returns how many addresses there are, or the greatest number if there are more.
    fn count(&self) -> u64;
    /// Returns the address with a number below the count.
    fn address(&self, number: u64) -> Self::Address;
}

impl Numbered for Ipv4Net {
    type Address = Ipv4Addr;

    fn count(&self) -> u64 {
        1 << (32 - self.prefix_len())
    }

    fn address(&self, number: u64) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.network().to_bits() | number as u32)
    }
}

impl Numbered for Ipv6Net {
    type Address = Ipv6Addr;

    fn count(&self) -> u64 {
        1u64.checked_shl(128 - u32::from(self.prefix_len()))
            .unwrap_or(u64::MAX)
    }

    fn address(&self, number: u64) -> Ipv6Addr {
        Ipv6Addr::from_bits(self.network().to_bits() | u128::from(number))
    }
}

/// Chooses one of the addresses of a pool (RFC 6791, 5); `None` if it is empty.
fn pick<N: Numbered>(
    pool: &[N],
    choice: SourceChoice,
    hop_limit: u8,
    random: u64,
) -> Option<N::Address> {
    let total = pool
        .iter()
        .fold(0u64, |sum, prefix| sum.saturating_add(prefix.count()));
    let number = match choice {
        SourceChoice::Random => random,
        SourceChoice::HopLimit => u64::from(hop_limit),
    };
    let mut number = number.checked_rem(total)?;
    for prefix in pool {
        match number.checked_sub(prefix.count()) {
            Some(rest) => number = rest,
            None => return Some(prefix.address(number)),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_of_a_pool_is_picked() {
        let pool: Vec<Ipv4Net> = vec![
            "192.0.2.8/31".parse().unwrap(),
            "192.0.2.1/32".parse().unwrap(),
        ];
        let by_hop_limit: Vec<_> = (0..4)
            .map(|hop_limit| {
                pick(&pool, SourceChoice::HopLimit, hop_limit, 99)
                    .unwrap()
                    .to_string()
            })
            .collect();
        assert_eq!(
            by_hop_limit,
            ["192.0.2.8", "192.0.2.9", "192.0.2.1", "192.0.2.8"]
        );
        assert_eq!(
            pick(&pool, SourceChoice::Random, 0, 5),
            Some(Ipv4Addr::new(192, 0, 2, 1))
        );
        assert_eq!(pick::<Ipv4Net>(&[], SourceChoice::Random, 0, 5), None);
        let all: Vec<Ipv6Net> = vec!["::/0".parse().unwrap(), "2001:db8::/126".parse().unwrap()];
        assert!(pick(&all, SourceChoice::Random, 0, u64::MAX - 1).is_some());
    }
}
