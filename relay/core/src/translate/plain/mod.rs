//! Plain packets: those whose translation needs nothing but their headers, at fixed places.
//!
//! They are most of all packets, so they are translated in whole words and described by a [`Plain`]. The rules are those of
//! [`super::v4_to_v6`] and [`super::v6_to_v4`], where each stands with its clause; whatever they do besides translating a packet
//! as a whole (dropping, answering, splitting) is left to them. Nothing here asks for a next hop: whether the packet fits
//! there is for the performer to see ([`Plain::fits`]).

mod v4_to_v6;
mod v6_to_v4;

use super::{NotPlain, Translator};
use crate::address::halves;
use crate::network::{Mapped, Network};
use crate::plain::Plain;
use crate::policy::{AtomicFragments, Policy, TcpMssClamp};
use crate::reasons::PuntReason;
use crate::wire::checksum::Sum;
use crate::wire::transport::{self, TCP, UDP, UDP_LITE};
use crate::wire::{Octets, icmp, ipv6, tcp};
use core::net::{Ipv4Addr, Ipv6Addr};

/// An IPv4 packet that is the relay's, and what is known of it so far.
#[derive(Clone, Copy, Debug)]
pub struct ClaimedV4 {
    /// The first eight octets.
    front: u64,
    /// The next eight: Time To Live, protocol, checksum, source.
    middle: u64,
    destination: u32,
    /// What the destination becomes; `None` if that is for others to say.
    target: Option<Target<[u64; 2]>>,
}

/// An IPv6 packet that is the relay's, and what is known of it so far.
#[derive(Clone, Copy, Debug)]
pub struct ClaimedV6 {
    /// The first eight octets.
    front: u64,
    source: [u64; 2],
    destination: [u64; 2],
    /// What the destination stands for by RFC 6052.
    embedded: Ipv4Addr,
}

/// What an address becomes.
#[derive(Clone, Copy, Debug)]
struct Target<A> {
    address: A,
    /// The number plus one of the mapping by which it does; zero for RFC 6052.
    mapping: u32,
    /// What a sum over a pseudo-header gains by that, one's complement.
    difference: u16,
}

impl<N: Network + ?Sized> Translator<'_, N> {
    /// Says whether an IPv4 packet is the relay's, for a performer that leaves what is not plain to another one.
    ///
    /// # Errors
    ///
    /// [`NotPlain`] says who gets the packet instead.
    #[inline(always)]
    pub fn claim_v4<O: Octets + ?Sized>(&self, packet: &O) -> Result<ClaimedV4, NotPlain> {
        v4_to_v6::claim(self, packet)
    }

    /// Says whether an IPv6 packet is the relay's, for a performer that leaves what is not plain to another one.
    ///
    /// # Errors
    ///
    /// [`NotPlain`] says who gets the packet instead.
    #[inline(always)]
    pub fn claim_v6<O: Octets + ?Sized>(&self, packet: &O) -> Result<ClaimedV6, NotPlain> {
        v6_to_v4::claim(self, packet)
    }

    /// Translates a claimed IPv4 packet as [`v4_to_v6`](Self::v4_to_v6) does, if that takes nothing but its headers.
    ///
    /// # Errors
    ///
    /// [`PuntReason`] says what else it takes.
    #[inline(always)]
    pub fn plain_v4_to_v6<O: Octets + ?Sized>(
        &self,
        packet: &O,
        claimed: ClaimedV4,
    ) -> Result<Plain, PuntReason> {
        v4_to_v6::translate(self, packet, claimed)
    }

    /// Translates a claimed IPv6 packet as [`v6_to_v4`](Self::v6_to_v4) does, if that takes nothing but its headers.
    ///
    /// # Errors
    ///
    /// [`PuntReason`] says what else it takes.
    #[inline(always)]
    pub fn plain_v6_to_v4<O: Octets + ?Sized>(
        &self,
        packet: &O,
        claimed: ClaimedV6,
    ) -> Result<Plain, PuntReason> {
        v6_to_v4::translate(self, packet, claimed)
    }

    /// Returns the RFC 6052 form of an address.
    #[inline(always)]
    fn embedded(&self, address: Ipv4Addr) -> Result<Target<[u64; 2]>, PuntReason> {
        let embedded = self.embed(address).map_err(|_| PuntReason::Refused)?;
        Ok(self.by_prefix(address, embedded))
    }

    /// Returns an address that stands for another one by RFC 6052.
    #[inline(always)]
    fn by_prefix(&self, address: Ipv4Addr, embedded: Ipv6Addr) -> Target<[u64; 2]> {
        Target {
            address: halves(embedded),
            mapping: 0,
            difference: self.policy.prefix.difference_to_v6(address, embedded),
        }
    }
}

impl Target<[u64; 2]> {
    #[inline(always)]
    fn by_eam(mapped: Mapped<Ipv6Addr>) -> Self {
        Self {
            address: halves(mapped.address),
            mapping: mapped.entry.wrapping_add(1),
            difference: mapped.difference,
        }
    }
}

impl Target<Ipv4Addr> {
    #[inline(always)]
    fn by_eam(mapped: Mapped<Ipv4Addr>) -> Self {
        Self {
            address: mapped.address,
            mapping: mapped.entry.wrapping_add(1),
            difference: mapped.difference,
        }
    }
}

/// A packet on its way to an IPv6 header.
struct ToV6 {
    source: Target<[u64; 2]>,
    destination: Target<[u64; 2]>,
    /// Octets of the header that it came with.
    cut: u32,
    payload: u32,
    next_header: u8,
    service: u8,
    hop_limit: u8,
}

impl ToV6 {
    /// Describes the packet; `df` says whether its IPv4 form may not be fragmented.
    #[inline(always)]
    fn describe(self, policy: &Policy, df: bool, change: Change) -> Result<Plain, PuntReason> {
        let Self {
            source,
            destination,
            cut,
            payload,
            next_header,
            service,
            hop_limit,
        } = self;
        let plain = Plain {
            source: source.address,
            destination: destination.address,
            front: ipv6::front(service, payload as u16, next_header, hop_limit),
            middle: 0,
            cut,
            payload,
            checksum_at: change.checksum_at,
            mappings: [source.mapping, destination.mapping],
            checksum: change.checksum,
            icmp_type: change.icmp_type,
            service,
            version: 6,
        };
        // It would have to say so, or to be split.
        let is_atomic = policy.atomic_fragments == AtomicFragments::On;
        if !df && (is_atomic || plain.length() > policy.lowest_ipv6_mtu) {
            return Err(PuntReason::Length);
        }
        Ok(plain)
    }
}

/// What changes in a payload, in the terms of [`Plain`].
struct Change {
    checksum_at: u32,
    checksum: u16,
    icmp_type: u8,
}

impl Change {
    const NONE: Self = Self {
        checksum_at: 0,
        checksum: 0,
        icmp_type: 0,
    };
}

/// Returns what changes in a payload that is no ICMP message, which begins at `offset` and has `length` octets. The sum that its
/// checksum covers loses the old addresses and gets the new ones.
#[inline(always)]
fn change<N: Network + ?Sized, O: Octets + ?Sized>(
    translator: &Translator<'_, N>,
    packet: &O,
    (offset, length): (usize, u32),
    protocol: u8,
    addresses: Addresses,
) -> Result<Change, PuntReason> {
    // Nearly all packets are of two protocols, and for these all that depends on the protocol is known beforehand.
    let place = (offset, length);
    match protocol {
        UDP => change_of(translator, packet, place, UDP, addresses),
        TCP => change_of(translator, packet, place, TCP, addresses),
        other => change_of(translator, packet, place, other, addresses),
    }
}

/// What the addresses of a packet do to the sum that a checksum covers.
#[derive(Clone, Copy)]
struct Addresses {
    /// What the new ones add, less what the old ones did.
    difference: Sum,
    /// The complement of what the old ones did.
    without_old: Sum,
}

#[inline(always)]
fn change_of<N: Network + ?Sized, O: Octets + ?Sized>(
    translator: &Translator<'_, N>,
    packet: &O,
    (offset, length): (usize, u32),
    protocol: u8,
    Addresses {
        difference,
        without_old,
    }: Addresses,
) -> Result<Change, PuntReason> {
    let Some(field) = transport::checksum_field(protocol) else {
        return Ok(Change::NONE);
    };
    if length < field.header_length as u32 {
        return Err(PuntReason::Malformed);
    }
    // The options of a segment that opens a connection may have to be changed.
    if protocol == TCP && translator.policy.tcp_mss_clamp != TcpMssClamp::Off {
        let [flags] = load(packet, offset.wrapping_add(tcp::FLAGS))?;
        if flags & tcp::SYN != 0 {
            return Err(PuntReason::SegmentSize);
        }
    }
    let received = u16::from_be_bytes(load(packet, offset.wrapping_add(field.at))?);
    // It may need one, over all of the packet.
    if protocol == UDP && received == 0 {
        return Err(PuntReason::UdpZeroChecksum);
    }
    if translator.network.may_be_unfinished() && matches!(protocol, TCP | UDP) {
        let without_pseudo_header = without_old.add_long(!length).remove_word(protocol as u16);
        if transport::is_unfinished(
            packet,
            offset,
            length as usize,
            received,
            without_pseudo_header,
        ) {
            return Err(PuntReason::UnfinishedChecksum);
        }
    }
    let checksum = difference.remove_word(received).checksum();
    Ok(Change {
        checksum_at: field.at as u32,
        checksum: match protocol {
            UDP | UDP_LITE => transport::never_zero(checksum),
            _ => checksum,
        },
        icmp_type: 0,
    })
}

/// Returns what changes in an ICMP message: its type becomes that of `types` which stands at the place of its kind, for requests
/// and replies. `difference` is what the new pseudo-header adds to the sum that the checksum covers, less the old one.
#[inline(always)]
fn echo_change<O: Octets + ?Sized>(
    packet: &O,
    (offset, length): (usize, u32),
    sort: fn(u8) -> icmp::Kind,
    [request, reply]: [u8; 2],
    difference: Sum,
) -> Result<Change, PuntReason> {
    if length < icmp::HEADER_LENGTH as u32 {
        return Err(PuntReason::Malformed);
    }
    let [old, _, c0, c1] = load(packet, offset)?;
    let new = match sort(old) {
        icmp::Kind::EchoRequest => request,
        icmp::Kind::EchoReply => reply,
        // An error quotes a packet that has to be translated, too.
        icmp::Kind::Error | icmp::Kind::Other => return Err(PuntReason::Icmp),
    };
    let checksum = difference
        .remove_word(u16::from_be_bytes([c0, c1]))
        .remove_word(u16::from(old) << 8)
        .add_word(u16::from(new) << 8)
        .checksum();
    Ok(Change {
        checksum_at: Plain::ICMP,
        checksum: match new {
            icmp::ECHO_REPLY_V4 => transport::never_zero(checksum),
            _ => checksum,
        },
        icmp_type: new,
    })
}

#[inline(always)]
fn load<const N: usize, O: Octets + ?Sized>(packet: &O, at: usize) -> Result<[u8; N], PuntReason> {
    packet.load(at).ok_or(PuntReason::Malformed)
}
