//! Transport headers under new addresses (RFC 7915, 4.5 and 5.5).

use crate::policy::UdpZeroChecksum;
use crate::reasons::DropReason;
use crate::rewrite::Patch;
use crate::wire::checksum::{self, Sum};
use crate::wire::transport::{self, UDP, UDP_HEADER_LENGTH, UDP_LITE};
use crate::wire::{Octets, icmp};
use core::net::{Ipv4Addr, Ipv6Addr};

/// The upper layer of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Upper {
    /// Protocol number in the family in which the packet arrived.
    pub(super) protocol: u8,
    /// Octets from the start of the packet to the transport header.
    pub(super) offset: usize,
    /// Octets from the transport header to the end of the packet.
    pub(super) length: usize,
    /// What of the whole payload this packet has.
    pub(super) part: Part,
}

/// What of a payload a packet has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// All of it.
    Whole,
    /// The first fragment, in which the transport header is.
    First,
    /// A later fragment, without a transport header.
    Later,
}

impl Part {
    /// Returns the part of a packet with these fragment fields.
    #[inline]
    pub(super) const fn new(fragment_offset: u16, more: bool) -> Self {
        match (fragment_offset, more) {
            (0, false) => Self::Whole,
            (0, true) => Self::First,
            (_, _) => Self::Later,
        }
    }
}

/// Source and destination of a packet, in one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Addresses {
    V4(Ipv4Addr, Ipv4Addr),
    V6(Ipv6Addr, Ipv6Addr),
}

impl Addresses {
    #[inline(always)]
    fn sum(self) -> Sum {
        match self {
            Self::V4(source, destination) => Sum::ZERO.add_v4(source).add_v4(destination),
            Self::V6(source, destination) => Sum::ZERO.add_v6(source).add_v6(destination),
        }
    }

    /// Returns what ICMP's checksum covers besides the message: nothing in IPv4, a pseudo-header in IPv6.
    #[inline]
    pub(super) fn icmp_pseudo_header(self, length: usize) -> Sum {
        match self {
            Self::V4(..) => Sum::ZERO,
            Self::V6(source, destination) => {
                checksum::pseudo_header_v6(source, destination, length as u32, icmp::PROTOCOL_V6)
            }
        }
    }
}

/// Says what kind of ICMP message a packet is, if it is one at all. ICMP has another number in each family, and other types,
/// which `sort` sorts.
#[inline]
pub(super) fn icmp_kind<O: Octets + ?Sized>(
    packet: &O,
    upper: Upper,
    icmp_protocol: u8,
    sort: fn(u8) -> icmp::Kind,
) -> Result<Option<icmp::Kind>, DropReason> {
    if upper.protocol != icmp_protocol {
        return Ok(None);
    }
    // RFC 7915, 1.2: "Fragmented ICMP/ICMPv6 packets will not be translated by IP/ICMP translators." An atomic fragment is
    // whole.
    if upper.part != Part::Whole {
        return Err(DropReason::FragmentedIcmp);
    }
    if upper.length < icmp::HEADER_LENGTH {
        return Err(DropReason::MalformedTransport);
    }
    let number = packet.load::<1>(upper.offset);
    let [number] = number.ok_or(DropReason::MalformedTransport)?;
    Ok(Some(sort(number)))
}

/// Returns the change that new addresses bring to any transport but ICMP.
///
/// Pseudo-headers of both families sum up the same length and protocol, so only the addresses make a difference. Of a
/// UDP header with a zero checksum, `udp_zero_checksum` decides.
#[inline(always)]
pub(super) fn patch<O: Octets + ?Sized>(
    packet: &O,
    upper: Upper,
    old: Addresses,
    new: Addresses,
    udp_zero_checksum: UdpZeroChecksum,
) -> Result<Patch, DropReason> {
    if upper.part == Part::Later {
        return Ok(Patch::None);
    }
    // RFC 7915, 4.5: "translators MUST forward all transport protocols".
    let Some(field) = transport::checksum_field(upper.protocol) else {
        return Ok(Patch::None);
    };
    if upper.length < field.header_length {
        return Err(DropReason::MalformedTransport);
    }
    let received = packet
        .load::<2>(upper.offset + field.at)
        .ok_or(DropReason::MalformedTransport)?;
    let received = u16::from_be_bytes(received);
    if upper.protocol != UDP {
        let checksum = checksum::update(received, old.sum(), new.sum());
        return Ok(Patch::Checksum {
            at: field.at,
            // RFC 3828, 3.1: as in UDP, zero would mean that there is no checksum.
            checksum: match upper.protocol {
                UDP_LITE => transport::never_zero(checksum),
                _ => checksum,
            },
        });
    }
    let checksum = match (received, udp_zero_checksum) {
        // RFC 7915, 4.5: "Dropping the packet and generating a system management event".
        (0, UdpZeroChecksum::Drop) => return Err(DropReason::UdpZeroChecksum),
        (0, UdpZeroChecksum::Forward) => return Ok(Patch::None),
        // RFC 7915, 4.5: "A stateless translator cannot compute the UDP checksum of fragmented packets".
        (0, UdpZeroChecksum::Compute) if upper.part != Part::Whole => {
            return Err(DropReason::UdpZeroChecksum);
        }
        // RFC 7915, 4.5: "Calculating an IPv6 checksum and forwarding the packet".
        (0, UdpZeroChecksum::Compute) => udp_checksum(packet, upper, new)?,
        (received, _) => checksum::update(received, old.sum(), new.sum()),
    };
    Ok(Patch::Checksum {
        at: field.at,
        // RFC 768 and RFC 8200, 8.1: a checksum that comes out as zero is sent as 0xffff.
        checksum: transport::never_zero(checksum),
    })
}

/// Computes the checksum of a UDP packet that has none.
fn udp_checksum<O: Octets + ?Sized>(
    packet: &O,
    upper: Upper,
    new: Addresses,
) -> Result<u16, DropReason> {
    // The UDP header has its own idea of the length, and it is the one that the receiver goes by.
    let claimed = packet
        .load::<2>(upper.offset + 4)
        .ok_or(DropReason::MalformedTransport)?;
    let claimed = u16::from_be_bytes(claimed);
    let length = usize::from(claimed);
    if length < UDP_HEADER_LENGTH || length > upper.length {
        return Err(DropReason::MalformedTransport);
    }
    let octets = packet
        .sum(upper.offset, length)
        .ok_or(DropReason::MalformedTransport)?;
    Ok(new
        .sum()
        .add_word(claimed)
        .add_word(u16::from(UDP))
        .add(octets)
        .checksum())
}

/// Returns the change that makes an ICMP echo message one of the other family, or keeps it one of the same.
#[inline(always)]
pub(super) fn echo_patch<O: Octets + ?Sized>(
    packet: &O,
    upper: Upper,
    kind: u8,
    old: Addresses,
    new: Addresses,
) -> Result<Patch, DropReason> {
    if upper.length < icmp::HEADER_LENGTH {
        return Err(DropReason::MalformedTransport);
    }
    let [old_kind, _, c0, c1] = packet
        .load::<4>(upper.offset)
        .ok_or(DropReason::MalformedTransport)?;
    // RFC 7915, 4.2: "adjust the ICMP checksum both to take the type change into account and to include the ICMPv6
    // pseudo-header"; 5.2 the other way round.
    let checksum = checksum::update(
        u16::from_be_bytes([c0, c1]),
        old.icmp_pseudo_header(upper.length)
            .add_word(u16::from(old_kind) << 8),
        new.icmp_pseudo_header(upper.length)
            .add_word(u16::from(kind) << 8),
    );
    // A message of nothing but zeros, as only an ICMPv4 echo reply can be, sums up to zero: its checksum is 0xffff, and
    // no other form verifies. In other echo replies either form does.
    let checksum = match kind {
        0 => transport::never_zero(checksum),
        _ => checksum,
    };
    Ok(Patch::Icmp { kind, checksum })
}
