//! How a plain packet is translated, described in the words that a performer writes.
//!
//! Plain packets are those whose translation needs nothing but headers at fixed places; they are most of all packets, and a
//! [`Rewrite`](crate::Rewrite) of structured headers would cost more to make and to write than the translation itself.

use crate::address::join;
use crate::wire::{ipv4, ipv6};
use core::net::{Ipv4Addr, Ipv6Addr};

/// The translation of a plain packet: the words of the new header, and what changes behind it.
///
/// Numbers are in host order and are written in network order. There is no padding and no value without a meaning, so that
/// the description can lie in a BPF map.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plain {
    /// The new source in halves; an IPv4 address behind zeros.
    pub source: [u64; 2],
    /// The new destination in halves; an IPv4 address behind zeros.
    pub destination: [u64; 2],
    /// The first eight octets of the new header.
    pub front: u64,
    /// In IPv4 the four octets behind these: Time To Live, protocol and header checksum. Zero in IPv6.
    pub middle: u32,
    /// Octets of the packet that the new header replaces.
    pub cut: u32,
    /// Octets behind the new header; whatever the link added behind them is not sent on.
    pub payload: u32,
    /// Offset in octets from the payload's start to a checksum that changes; zero if none does, [`ICMP`](Self::ICMP) if the type
    /// of an ICMP message changes, too.
    pub checksum_at: u32,
    /// The mappings by which source and destination were translated: the number of each plus one, zero for RFC 6052.
    pub mappings: [u32; 2],
    /// The new checksum, if one changes.
    pub checksum: u16,
    /// The new ICMP type, if it changes.
    pub icmp_type: u8,
    /// Type Of Service or Traffic Class of the new header.
    pub service: u8,
    /// The version of the new header: 4 or 6.
    pub version: u32,
}

const _: () = assert!(size_of::<Plain>() == 72);

impl Plain {
    /// Value of [`checksum_at`](Self::checksum_at) for an ICMP message, which no other transport has: its type is in front.
    pub const ICMP: u32 = 2;

    /// Says whether the new header is an IPv6 one.
    #[inline(always)]
    pub const fn is_v6(&self) -> bool {
        self.version == 6
    }

    /// Returns the new source, if the new header is an IPv4 one.
    #[inline(always)]
    pub const fn source_v4(&self) -> Ipv4Addr {
        let [_, bits] = self.source;
        Ipv4Addr::from_bits(bits as u32)
    }

    /// Returns the new destination, if the new header is an IPv4 one.
    #[inline(always)]
    pub const fn destination_v4(&self) -> Ipv4Addr {
        let [_, bits] = self.destination;
        Ipv4Addr::from_bits(bits as u32)
    }

    /// Returns the new destination, if the new header is an IPv6 one.
    #[inline(always)]
    pub const fn destination_v6(&self) -> Ipv6Addr {
        join(self.destination)
    }

    /// Returns the length of the packet in octets, from the new header on.
    #[inline(always)]
    pub const fn length(&self) -> u32 {
        self.length_as(self.is_v6())
    }

    /// As [`length`](Self::length), for somebody who knows whether the new header is an IPv6 one.
    #[inline(always)]
    pub const fn length_as(&self, is_v6: bool) -> u32 {
        let header = if is_v6 {
            ipv6::HEADER_LENGTH
        } else {
            ipv4::HEADER_LENGTH
        };
        self.payload.wrapping_add(header as u32)
    }

    /// Says whether the packet fits through a next hop that takes `mtu` octets.
    #[inline(always)]
    pub const fn fits(&self, mtu: u32) -> bool {
        self.fits_as(self.is_v6(), mtu)
    }

    /// As [`fits`](Self::fits), for somebody who knows whether the new header is an IPv6 one.
    #[inline(always)]
    pub const fn fits_as(&self, is_v6: bool, mtu: u32) -> bool {
        // No link has less.
        let least = if is_v6 {
            ipv6::MINIMUM_MTU
        } else {
            ipv4::MINIMUM_MTU
        };
        let length = self.length_as(is_v6);
        length <= mtu || length <= least
    }

    /// Returns the octets of an IPv4 header, in three pieces.
    #[inline(always)]
    pub const fn header_v4(&self) -> ([u8; 8], [u8; 8], [u8; 4]) {
        let ([_, source], [_, destination]) = (self.source, self.destination);
        let second = (self.middle as u64) << 32 | source;
        (
            self.front.to_be_bytes(),
            second.to_be_bytes(),
            (destination as u32).to_be_bytes(),
        )
    }

    /// Returns the octets of an IPv6 header.
    #[inline(always)]
    pub const fn header_v6(&self) -> [[u8; 8]; 5] {
        let ([s0, s1], [d0, d1]) = (self.source, self.destination);
        [
            self.front.to_be_bytes(),
            s0.to_be_bytes(),
            s1.to_be_bytes(),
            d0.to_be_bytes(),
            d1.to_be_bytes(),
        ]
    }
}
