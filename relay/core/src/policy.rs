//! The operator's choices, as one plain value. Each says what the RFC leaves open and what it recommends.

use crate::address::{Prefix, is_global_v4};
use core::net::Ipv4Addr;

/// Everything about translation that an operator can choose, apart from addresses that come in lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The translation prefix (RFC 6052).
    pub prefix: Prefix,
    /// What happens to packets between two services behind the relay (RFC 7757, 4).
    pub hairpin: Hairpin,
    /// What happens to unfragmented IPv4 UDP packets without a checksum (RFC 7915, 4.5).
    pub udp_zero_checksum: UdpZeroChecksum,
    /// The IPv6 Traffic Class (RFC 7915, 4.1).
    pub traffic_class: ServiceOctet,
    /// The IPv4 Type Of Service (RFC 7915, 5.1).
    pub tos: ServiceOctet,
    /// Whether whole IPv4 packets without DF get a Fragment header.
    pub atomic_fragments: AtomicFragments,
    /// The size in octets to which packets without DF are cut on the IPv6 side (RFC 7915, 4.1); at least 1280.
    pub lowest_ipv6_mtu: u32,
    /// What happens to non-global IPv4 addresses under 64:ff9b::/96 (RFC 6052, 3.1).
    pub wkp_non_global: WkpNonGlobal,
    /// Path MTUs in octets to guess from where a router does not tell one (RFC 1191, 7.1).
    pub mtu_plateaus: Plateaus,
    /// What happens to the segment sizes that TCP announces in SYNs.
    pub tcp_mss_clamp: TcpMssClamp,
    /// Whether a translated ICMP error names the IPv6 source that it had, if that could not be translated (RFC 6791, 4).
    pub interface_object: bool,
    /// Secret from which IPv4 Identifications are made, so that nobody outside can predict them (RFC 7739).
    pub identification_key: u64,
}

impl Policy {
    /// Returns the defaults of the RFCs for a translation prefix.
    pub const fn new(prefix: Prefix) -> Self {
        Self {
            prefix,
            hairpin: Hairpin::Intrinsic,
            udp_zero_checksum: UdpZeroChecksum::Drop,
            traffic_class: ServiceOctet::Copy,
            tos: ServiceOctet::Copy,
            atomic_fragments: AtomicFragments::Off,
            lowest_ipv6_mtu: 1280,
            wkp_non_global: WkpNonGlobal::Drop,
            mtu_plateaus: Plateaus::RFC_1191,
            tcp_mss_clamp: TcpMssClamp::Off,
            interface_object: true,
            identification_key: 0,
        }
    }
}

impl Policy {
    /// Says whether the translation prefix may stand for `address`.
    ///
    /// RFC 6052, 3.1: "Address translators MUST NOT translate packets in which an address is composed of the Well-Known Prefix
    /// and a non-global IPv4 address; they MUST drop these packets."
    #[inline]
    pub const fn may_embed(&self, address: Ipv4Addr) -> bool {
        match self.wkp_non_global {
            WkpNonGlobal::Translate => true,
            WkpNonGlobal::Drop => !self.prefix.is_well_known() || is_global_v4(address),
        }
    }
}

/// A list of path MTUs in octets; [`MAX`](Self::MAX) at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plateaus {
    values: [u16; Self::MAX],
    count: usize,
}

impl Plateaus {
    /// The most values that a list can hold.
    pub const MAX: usize = 32;

    /// RFC 1191's table 7-1.
    pub const RFC_1191: Self = match Self::new(&[
        65535, 32000, 17914, 8166, 4352, 2002, 1492, 1006, 508, 296, 68,
    ]) {
        Some(plateaus) => plateaus,
        None => panic!("the table has less than MAX values"),
    };

    /// Returns a list of values in any order, or `None` if they are too many.
    pub const fn new(list: &[u16]) -> Option<Self> {
        if list.len() > Self::MAX {
            return None;
        }
        let mut values = [0; Self::MAX];
        let (used, _) = values.split_at_mut(list.len());
        used.copy_from_slice(list);
        Some(Self {
            values,
            count: list.len(),
        })
    }

    /// Returns the values.
    pub fn as_slice(&self) -> &[u16] {
        self.values.get(..self.count).unwrap_or_default()
    }
}

/// Hairpinning of packets between two services behind the relay (RFC 7757, 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hairpin {
    /// The packet is translated back at once, before it reaches the IPv4 network (4.2.2).
    Intrinsic,
    /// Sources are never translated by an EAM, so that the IPv4 network may send packets back (4.2.1).
    Simple,
    /// No rule of section 4 is applied.
    Off,
}

/// Treatment of IPv4 UDP packets whose checksum is zero: none was computed (RFC 7915, 4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UdpZeroChecksum {
    /// The packet is dropped.
    Drop,
    /// The checksum that IPv6 asks for is computed over the whole packet.
    Compute,
    /// The packet is forwarded with a zero checksum (RFC 7915, 1.2; RFC 6935 says who may accept it).
    Forward,
}

/// Treatment of whole IPv4 packets without DF that fit on the IPv6 side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtomicFragments {
    /// They get no Fragment header (RFC 7915, 4).
    Off,
    /// They get a Fragment header, which says that the sender allowed to fragment (RFC 6145, 4).
    On,
}

/// Where the Traffic Class or Type Of Service octet of a translated packet comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceOctet {
    /// It is copied, all eight bits.
    Copy,
    /// It is always this value.
    Set(u8),
}

impl ServiceOctet {
    /// Returns the octet that follows from the `original` one.
    #[inline]
    pub const fn apply(self, original: u8) -> u8 {
        match self {
            Self::Copy => original,
            Self::Set(value) => value,
        }
    }
}

/// Treatment of the Maximum Segment Size that a TCP SYN announces (RFC 9293, 3.7.1). It is never raised, and never added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TcpMssClamp {
    /// It stays as it is.
    Off,
    /// It is lowered to what the MTUs towards both hosts leave for a segment.
    Auto,
    /// It is lowered to this number of octets.
    AtMost(u16),
}

/// Treatment of non-global IPv4 addresses under the Well-Known Prefix (RFC 6052, 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WkpNonGlobal {
    /// Such packets are dropped, as the RFC demands.
    Drop,
    /// Such packets are translated all the same.
    Translate,
}
