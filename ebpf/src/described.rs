//! What the translator describes, on its way from the functions that translate to the one that performs.
//!
//! It lies in memory of the kernel: the stack has no room for it, and the verifier, which does not follow numbers through there,
//! looks at performing once and not for every kind of packet.

use core::net::{Ipv4Addr, Ipv6Addr};

use eam_tables::layout::Settings;
use relay_core::rewrite::{NetworkHeader, Patch, Rewrite};
use relay_core::wire::{ipv4, ipv6};

/// A [`Rewrite`] of a plain packet, flat, with its new header ready to be sent.
#[repr(C)]
pub(crate) struct Described {
    /// The new header; an IPv4 one at the beginning.
    pub(crate) header: [u8; ipv6::HEADER_LENGTH],
    /// Where the packet comes from: the halves of the address in host order, an IPv4 one behind zeros.
    pub(crate) source: [u64; 2],
    /// Where it goes.
    pub(crate) destination: [u64; 2],
    /// Octets that the new header replaces.
    pub(crate) cut: u32,
    /// Octets behind the new header.
    pub(crate) payload: u32,
    /// Octets behind these, which the link added.
    pub(crate) surplus: u32,
    /// What changes in the payload: one of the constants.
    pub(crate) patch: u32,
    /// Where it changes.
    pub(crate) at: u32,
    /// The new checksum, network order.
    pub(crate) checksum: [u8; 2],
    /// The new ICMP type.
    pub(crate) kind: u8,
    /// Type Of Service or Traffic Class.
    pub(crate) service: u8,
    /// Whether the new header is an IPv6 one: 0 or 1.
    pub(crate) is_v6: u32,
    /// Room for a link header that is kept.
    pub(crate) link: [u8; 20],
}

impl Described {
    /// Value of [`patch`](Self::patch): nothing.
    pub(crate) const NOTHING: u32 = 0;
    /// Value of [`patch`](Self::patch): the checksum.
    pub(crate) const CHECKSUM: u32 = 1;
    /// Value of [`patch`](Self::patch): the ICMP type, and the checksum.
    pub(crate) const ICMP: u32 = 2;

    /// Takes over what the translator describes of a packet with `length` octets, those behind its end included; `None` if it is
    /// for packets that are not plain.
    #[inline(always)]
    pub(crate) fn set(&mut self, rewrite: &Rewrite, length: usize) -> Option<()> {
        match &rewrite.header {
            NetworkHeader::V4(header) => {
                *self.header.first_chunk_mut()? = header.emit();
                self.source = words_v4(header.source);
                self.destination = words_v4(header.destination);
                self.service = header.tos;
                self.is_v6 = 0;
            }
            NetworkHeader::V6(header) => {
                self.header = header.emit();
                self.source = words_v6(header.source);
                self.destination = words_v6(header.destination);
                self.service = header.traffic_class;
                self.is_v6 = 1;
            }
            NetworkHeader::V6Fragment(..) => return None,
        }
        self.cut = rewrite.cut as u32;
        self.payload = rewrite.payload as u32;
        self.surplus = (length as u32)
            .wrapping_sub(self.cut)
            .wrapping_sub(self.payload);
        match rewrite.patch {
            Patch::None => self.patch = Self::NOTHING,
            Patch::Checksum { at, checksum } => {
                self.patch = Self::CHECKSUM;
                self.at = at as u32;
                self.checksum = checksum.to_be_bytes();
            }
            Patch::Icmp { kind, checksum } => {
                self.patch = Self::ICMP;
                self.kind = kind;
                self.at = 2;
                self.checksum = checksum.to_be_bytes();
            }
            Patch::TcpMss { .. } => return None,
        }
        Some(())
    }

    /// Returns the length of the packet in octets.
    #[inline(always)]
    pub(crate) fn length(&self) -> u32 {
        (self.header_length() as u32).wrapping_add(self.payload)
    }

    /// Returns how long the packet may be in octets, where the next hop takes `mtu`.
    #[inline(always)]
    pub(crate) fn limit(&self, mtu: u32, settings: &Settings) -> u32 {
        match self.is_v6 {
            0 => mtu.min(settings.mtu_v4).max(ipv4::MINIMUM_MTU),
            _ => mtu.min(settings.mtu_v6).max(ipv6::MINIMUM_MTU),
        }
    }

    /// Returns the length of the new header in octets.
    #[inline(always)]
    pub(crate) fn header_length(&self) -> usize {
        match self.is_v6 {
            0 => ipv4::HEADER_LENGTH,
            _ => ipv6::HEADER_LENGTH,
        }
    }
}

/// Returns an IPv4 address behind zeros.
#[inline(always)]
pub(crate) fn words_v4(address: Ipv4Addr) -> [u64; 2] {
    [0, u64::from(address.to_bits())]
}

/// Returns the halves of an IPv6 address, in host order.
#[inline(always)]
pub(crate) fn words_v6(address: Ipv6Addr) -> [u64; 2] {
    let bits = address.to_bits();
    [(bits >> 64) as u64, bits as u64]
}
