//! What the translator asks of its surroundings, as traits: the same core then runs over a frozen table in memory,
//! over BPF maps, or over three lines in a test.

use crate::wire::checksum;
use core::net::{Ipv4Addr, Ipv6Addr};

/// What an address becomes by a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapped<A> {
    /// The translated address.
    pub address: A,
    /// The number by which the table knows the mapping.
    pub entry: u32,
    /// What a sum over a pseudo-header gains with the translated address in place of the other, one's complement, host order.
    pub difference: u16,
}

impl Mapped<Ipv6Addr> {
    /// Returns what a mapping with a number makes of an IPv4 address.
    #[inline(always)]
    pub const fn from_v4(old: Ipv4Addr, address: Ipv6Addr, entry: u32) -> Self {
        Self {
            address,
            entry,
            difference: checksum::difference_to_v6(old, address),
        }
    }
}

impl Mapped<Ipv4Addr> {
    /// Returns what a mapping with a number makes of an IPv6 address.
    #[inline(always)]
    pub const fn from_v6(old: Ipv6Addr, address: Ipv4Addr, entry: u32) -> Self {
        Self {
            address,
            entry,
            difference: checksum::difference_to_v4(old, address),
        }
    }
}

/// The Explicit Address Mapping Table (RFC 7757, 3.1).
///
/// Each direction is a longest-prefix match of its own; neither knows of RFC 6052.
pub trait AddressMap {
    /// Returns what an EAM makes of an IPv4 address, if one covers it (RFC 7757, 3.3.1).
    fn map_v4(&self, address: Ipv4Addr) -> Option<Mapped<Ipv6Addr>>;

    /// Returns what an EAM makes of an IPv6 address, if one covers it (RFC 7757, 3.3.2).
    fn map_v6(&self, address: Ipv6Addr) -> Option<Mapped<Ipv4Addr>>;

    /// Returns the same as [`map_v4`](Self::map_v4), for an address that most likely is a service's: a table may be faster then.
    #[inline(always)]
    fn map_service_v4(&self, address: Ipv4Addr) -> Option<Mapped<Ipv6Addr>> {
        self.map_v4(address)
    }

    /// Returns the same as [`map_v6`](Self::map_v6), for an address that most likely is a service's: a table may be faster then.
    #[inline(always)]
    fn map_service_v6(&self, address: Ipv6Addr) -> Option<Mapped<Ipv4Addr>> {
        self.map_v6(address)
    }

    /// Returns the same as [`map_v6`](Self::map_v6), for an address under the translation prefix: a table may know that it has no
    /// mappings there.
    #[inline(always)]
    fn map_embedded_v6(&self, address: Ipv6Addr) -> Option<Mapped<Ipv4Addr>> {
        self.map_v6(address)
    }

    /// Returns the IPv6 address to which an EAM maps `address`, if one does (RFC 7757, 3.3.1).
    #[inline(always)]
    fn v4_to_v6(&self, address: Ipv4Addr) -> Option<Ipv6Addr> {
        self.map_v4(address).map(|mapped| mapped.address)
    }

    /// Returns the IPv4 address to which an EAM maps `address`, if one does (RFC 7757, 3.3.2).
    #[inline(always)]
    fn v6_to_v4(&self, address: Ipv6Addr) -> Option<Ipv4Addr> {
        self.map_v6(address).map(|mapped| mapped.address)
    }
}

/// The network around the translator, as far as it matters for a packet.
pub trait Network: AddressMap {
    /// Says whether `address` is one of the machine's own, whose packets are the kernel's business.
    fn is_own_v4(&self, address: Ipv4Addr) -> bool;

    /// Says whether `address` is one of the machine's own, whose packets are the kernel's business.
    fn is_own_v6(&self, address: Ipv6Addr) -> bool;

    /// Says whether packets to `address` are translated by RFC 6052 without an EAM (RFC 7755, 4.10).
    fn is_ipv4_translatable(&self, address: Ipv4Addr) -> bool;

    /// Says whether `address` is routed to the relay for services, so that it must not be sent on untranslated.
    fn is_in_service_pool(&self, address: Ipv4Addr) -> bool;

    /// Says whether the operator forbids to translate `address` by RFC 6052.
    fn is_denied(&self, address: Ipv4Addr) -> bool;

    /// Says whether packets come whose TCP or UDP checksum is unfinished: their sender has left it to hardware, as the kernel does
    /// for the other end of a virtual cable.
    #[inline(always)]
    fn may_be_unfinished(&self) -> bool {
        false
    }

    /// Returns the MTU in octets of the next hop towards `destination`.
    fn mtu_v4(&self, destination: Ipv4Addr) -> u32;

    /// Returns the MTU in octets of the next hop towards `destination`.
    fn mtu_v6(&self, destination: Ipv6Addr) -> u32;

    /// Returns the IPv4 address that stands for the untranslatable IPv6 source of an ICMP error (RFC 6791, 5) on its way to
    /// `destination`; its hop limit may decide among several. `None` if the relay has none.
    fn error_source_v4(
        &self,
        source: Ipv6Addr,
        destination: Ipv4Addr,
        hop_limit: u8,
    ) -> Option<Ipv4Addr>;

    /// Returns the IPv6 address that stands for the untranslatable IPv4 source of an ICMP error, as the other way round.
    fn error_source_v6(
        &self,
        source: Ipv4Addr,
        destination: Ipv6Addr,
        hop_limit: u8,
    ) -> Option<Ipv6Addr>;
}
