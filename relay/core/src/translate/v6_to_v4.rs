//! IPv6 to IPv4: RFC 7915, section 5, in the order of its clauses; and RFC 7757's way back for hairpinned packets.
//!
//! ICMP errors are only recognised here; [`super::error`] translates them.

use super::transport::{self, Addresses, Part, Upper};
use super::{MappedBy, Translator, identification, v4_to_v6};
use crate::address;
use crate::network::Network;
use crate::policy::{Hairpin, UdpZeroChecksum};
use crate::reasons::{DropReason, PassReason};
use crate::rewrite::{NetworkHeader, Patch, Rewrite, Split};
use crate::verdict::{Refusal, Reply, Verdict};
use crate::wire::ipv6::Obstacle;
use crate::wire::{Octets, icmp, ipv4, ipv6};
use core::net::{Ipv4Addr, Ipv6Addr};

/// The greatest length in octets of an IPv4 packet that is sent without DF (RFC 7915, 5.1).
pub(super) const MAX_LENGTH_WITHOUT_DF: usize = 1260;

/// Says whether a packet to `destination` is the relay's, and what the address stands for by RFC 6052.
#[inline(always)]
pub(super) fn claim<N: Network + ?Sized>(
    translator: &Translator<'_, N>,
    destination: Ipv6Addr,
) -> Result<Ipv4Addr, PassReason> {
    // Native traffic to a service is none of the relay's business, even though an EAM covers the address.
    let embedded = translator.policy.prefix.extract(destination);
    let embedded = embedded.ok_or(PassReason::NotOurs)?;
    if translator.network.is_own_v6(destination) {
        return Err(PassReason::OwnAddress);
    }
    // RFC 7915, 5.6: "the destination address is reachable by a more specific route without translation".
    if translator.is_ipv4_translatable(destination, embedded) {
        return Err(PassReason::NotOurs);
    }
    Ok(embedded)
}

/// Translates a packet with this header, whose destination is the relay's.
#[inline]
pub(super) fn translate<N: Network + ?Sized, O: Octets + ?Sized>(
    translator: &Translator<'_, N>,
    packet: &O,
    header: ipv6::Header,
) -> Result<Verdict, Refusal> {
    // RFC 7915, 5.1: "If the translator gets an illegal source address (e.g., ::1, etc.), the translator SHOULD silently
    // drop the packet."
    if address::is_illegal_source_v6(header.source) {
        return Err(DropReason::IllegalSource.into());
    }
    // RFC 7915, 5.1: "the translator (as any router) MUST check for zero and send the [...] ICMPv6 "Hop Limit
    // Exceeded" error."
    if header.hop_limit <= 1 {
        return Err(Refusal::Told(DropReason::HopLimit, Reply::TIME_EXCEEDED_V6));
    }
    // RFC 7915, 5.1: "those IPv6 extension headers MUST be ignored [...] and the packet translated normally".
    let end = ipv6::HEADER_LENGTH + usize::from(header.payload_length);
    let walked = header
        .upper(packet, end, false)
        .map_err(|obstacle| match obstacle {
            Obstacle::Malformed => Refusal::Silent(DropReason::MalformedExtensions),
            // RFC 7915, 5.1: "If a Routing header with a non-zero Segments Left field is present, then the packet MUST NOT be
            // translated, and an ICMPv6 "parameter problem/erroneous header field encountered" (Type 4, Code 0) error message, with
            // the Pointer field indicating the first byte of the Segments Left field, SHOULD be returned to the sender."
            Obstacle::SegmentsLeft { pointer } => {
                Refusal::Told(DropReason::SegmentsLeft, Reply::erroneous_field(pointer))
            }
            Obstacle::ExtensionInFragment => prohibited(DropReason::ExtensionInFragment),
        })?;
    let upper = Upper {
        protocol: walked.protocol,
        offset: walked.offset,
        length: end - walked.offset,
        part: walked.fragment.map_or(Part::Whole, |fragment| {
            Part::new(fragment.offset, fragment.more)
        }),
    };
    check_protocol(upper.protocol).map_err(prohibited)?;
    let icmp_kind = transport::icmp_kind(packet, upper, icmp::PROTOCOL_V6, icmp::kind_v6)?;

    let (destination, mapped_by) = translator
        .map_v6(header.destination)
        .map_err(prohibited)?
        .ok_or(prohibited(DropReason::IllegalDestination))?;
    if address::is_illegal_destination_v4(destination) {
        return Err(prohibited(DropReason::IllegalDestination));
    }
    if icmp_kind == Some(icmp::Kind::Error) {
        return Ok(Verdict::IcmpError);
    }
    let (source, _) = translator
        .map_v6(header.source)
        .map_err(prohibited)?
        .ok_or(prohibited(DropReason::UnmappedSource))?;
    if address::is_illegal_source_v4(source) {
        return Err(DropReason::IllegalSource.into());
    }

    let old = Addresses::V6(header.source, header.destination);
    let length = ipv4::HEADER_LENGTH + upper.length;
    // RFC 791, 3.2: "Every internet module must be able to forward a datagram of 68 octets without further fragmentation."
    let mtu = || {
        translator
            .network
            .mtu_v4(destination)
            .max(ipv4::MINIMUM_MTU)
    };
    let key = translator.policy.identification_key;
    let new_header = ipv4::Header {
        tos: translator.policy.tos.apply(header.traffic_class),
        total_length: u16::try_from(length).map_err(|_| too_big(mtu().min(u32::from(u16::MAX))))?,
        identification: match walked.fragment {
            // RFC 7915, 5.1.1: "Copied from the low-order 16 bits in the Identification field in the Fragment Header."
            Some(fragment) => fragment.identification as u16,
            None => identification::generate(
                key,
                packet,
                upper.offset,
                header.source,
                destination,
                length,
            ),
        },
        // RFC 7915, 5.1: "If the size of the translated IPv4 packet is less than or equal to 1260 bytes, it is set to
        // zero; otherwise, it is set to one." 5.1.1: with a Fragment header, it "is cleared".
        df: walked.fragment.is_none() && length > MAX_LENGTH_WITHOUT_DF,
        mf: walked.fragment.is_some_and(|fragment| fragment.more),
        fragment_offset: walked.fragment.map_or(0, |fragment| fragment.offset),
        ttl: header.hop_limit - 1,
        protocol: match upper.protocol {
            icmp::PROTOCOL_V6 => icmp::PROTOCOL_V4,
            protocol => protocol,
        },
        source,
        destination,
    };
    // RFC 7757, 4.2.2, condition set A: "The destination address was translated using the algorithm in [RFC6052]. The
    // destination address is found in the EAMT."
    if translator.policy.hairpin == Hairpin::Intrinsic
        && mapped_by == MappedBy::Rfc6052
        && let Some(destination) = translator.network.v4_to_v6(destination)
    {
        return second_pass(
            translator,
            packet,
            upper,
            icmp_kind,
            &header,
            &new_header,
            destination,
        );
    }

    // RFC 8200, 8.1 forbids a zero checksum, but for tunnels that RFC 6935 exempts: in IPv4 it is as good as any.
    let zero = UdpZeroChecksum::Forward;
    let new = Addresses::V4(source, destination);
    let patch = translate_upper(packet, upper, icmp_kind, old, new, zero)?;
    let rewrite = Rewrite {
        cut: upper.offset,
        header: NetworkHeader::V4(new_header),
        payload: upper.length,
        patch,
    };
    let mtu = mtu();
    if length as u64 <= u64::from(mtu) {
        return Ok(Verdict::Forward(rewrite));
    }
    // RFC 7915, 5.1.1: "If an IPv6 packet that is smaller than or equal to 1280 bytes results (after translation) in an IPv4
    // packet that is larger than the MTU of the next-hop interface, then the translator MUST perform IPv4 fragmentation".
    if end as u32 > ipv6::MINIMUM_MTU {
        return Err(too_big(mtu));
    }
    let split = Split::new(rewrite, mtu);
    Ok(Verdict::Split(split.ok_or(DropReason::MalformedHeader)?))
}

/// Translates a packet straight back to IPv6, whose IPv4 form would have the header `first`: by the rules of RFC 7915, 4.
///
/// RFC 7757, 4.2.2: "The implementation MUST immediately (i.e., prior to forwarding it to the IPv4 network) translate the packet
/// back to IPv6."
#[inline(always)]
fn second_pass<N: Network + ?Sized, O: Octets + ?Sized>(
    translator: &Translator<'_, N>,
    packet: &O,
    upper: Upper,
    icmp_kind: Option<icmp::Kind>,
    header: &ipv6::Header,
    first: &ipv4::Header,
    destination: Ipv6Addr,
) -> Result<Verdict, Refusal> {
    // RFC 7757, 4.2.1: the source "MUST instead be translated according to [RFC6145]".
    let source = translator.embed(first.source).map_err(prohibited)?;
    let old = Addresses::V6(header.source, header.destination);
    let new = Addresses::V6(source, destination);
    let zero = translator.policy.udp_zero_checksum;
    let patch = translate_upper(packet, upper, icmp_kind, old, new, zero).map_err(|reason| {
        // RFC 7915, 4.5 and 4.4 are about the packet as it would be in IPv4.
        if reason == DropReason::UdpZeroChecksum {
            prohibited(reason)
        } else {
            reason.into()
        }
    })?;
    let new_header = ipv6::Header {
        traffic_class: translator.policy.traffic_class.apply(first.tos),
        payload_length: upper.length as u16,
        next_header: upper.protocol,
        // RFC 7757, 4.2.2: in the second pass "the Hop Limit field SHOULD NOT be decremented".
        hop_limit: first.ttl,
        source,
        destination,
    };
    // The IPv4 error would come back as an IPv6 one, and its MTU would be this again.
    let too_big = |mtu, _| Reply::packet_too_big(mtu);
    v4_to_v6::send(translator, first, new_header, upper.offset, patch, too_big)
}

/// RFC 7915, 5.4: "The ICMPv6 message MUST have Type 1 (Destination Unreachable) and Code 1 (Communication with destination
/// administratively prohibited), unless otherwise specified".
fn prohibited(reason: DropReason) -> Refusal {
    Refusal::Told(reason, Reply::PROHIBITED_V6)
}

/// Refuses a packet that is longer than an IPv4 MTU allows (RFC 7915, 1.4: the difference between the headers is 20 octets).
fn too_big(mtu_v4: u32) -> Refusal {
    Refusal::Told(
        DropReason::PacketTooBig,
        Reply::packet_too_big(mtu_v4.saturating_add(20)),
    )
}

/// Refuses protocol numbers that would change their meaning in IPv4.
pub(super) fn check_protocol(protocol: u8) -> Result<(), DropReason> {
    match protocol {
        // The receiver would take these for ICMPv4, whose checksum has no pseudo-header, and for IGMP.
        1 | 2 => Err(DropReason::UntranslatableProtocol),
        _ => Ok(()),
    }
}

/// Returns what changes behind the network header, for IPv4 addresses or, hairpinned, for other IPv6 addresses.
fn translate_upper<O: Octets + ?Sized>(
    packet: &O,
    upper: Upper,
    icmp_kind: Option<icmp::Kind>,
    old: Addresses,
    new: Addresses,
    udp_zero_checksum: UdpZeroChecksum,
) -> Result<Patch, DropReason> {
    let (request, reply) = match new {
        Addresses::V4(..) => (icmp::ECHO_REQUEST_V4, icmp::ECHO_REPLY_V4),
        Addresses::V6(..) => (icmp::ECHO_REQUEST_V6, icmp::ECHO_REPLY_V6),
    };
    match icmp_kind {
        None => transport::patch(packet, upper, old, new, udp_zero_checksum),
        Some(icmp::Kind::EchoRequest) => transport::echo_patch(packet, upper, request, old, new),
        Some(icmp::Kind::EchoReply) => transport::echo_patch(packet, upper, reply, old, new),
        // RFC 7915, 5.2: "Unknown informational messages: Silently drop."
        Some(icmp::Kind::Error | icmp::Kind::Other) => Err(DropReason::UntranslatableIcmp),
    }
}
