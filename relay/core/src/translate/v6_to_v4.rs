//! IPv6 to IPv4: RFC 7915, section 5, in the order of its clauses; then RFC 7757's way back for hairpinned packets.
//!
//! Fragments and ICMP errors are not translated here: they are dropped and counted.

use super::transport::{self, Addresses, Upper};
use super::{MappedBy, Translator, identification};
use crate::address;
use crate::network::Network;
use crate::policy::{Hairpin, UdpZeroChecksum};
use crate::verdict::{DropReason, NetworkHeader, PassReason, Patch, Rewrite, Verdict};
use crate::wire::ipv6::Obstacle;
use crate::wire::{Octets, icmp, ipv4, ipv6};

/// ICMPv4 echo types by their ICMPv6 kind (RFC 7915, 5.2).
const ECHO_REQUEST_V4: u8 = 8;
const ECHO_REPLY_V4: u8 = 0;

/// The greatest length in octets of an IPv4 packet that is sent without DF (RFC 7915, 5.1).
const MAX_LENGTH_WITHOUT_DF: usize = 1260;

pub(super) fn translate<N: Network + ?Sized, O: Octets + ?Sized>(
    translator: &Translator<'_, N>,
    packet: &O,
) -> Result<Verdict, DropReason> {
    let destination = packet
        .load::<16>(24)
        .ok_or(DropReason::MalformedHeader)?
        .into();
    if translator.network.is_own_v6(destination) {
        return Ok(Verdict::Pass(PassReason::OwnAddress));
    }
    // Native traffic to a service is none of the relay's business, even though an EAM covers the address.
    if !translator.policy.prefix.contains(destination) {
        return Ok(Verdict::Pass(PassReason::NotOurs));
    }

    let header = ipv6::Header::parse(packet).map_err(|_| DropReason::MalformedHeader)?;
    // RFC 7915, 5.1: "If the translator gets an illegal source address (e.g., ::1, etc.), the translator SHOULD silently
    // drop the packet."
    if address::is_illegal_source_v6(header.source) {
        return Err(DropReason::IllegalSource);
    }
    // RFC 7915, 5.1: "the translator (as any router) MUST check for zero".
    if header.hop_limit <= 1 {
        return Err(DropReason::HopLimit);
    }
    // RFC 7915, 5.1: "those IPv6 extension headers MUST be ignored [...] and the packet translated normally".
    let upper = header.upper(packet).map_err(|obstacle| match obstacle {
        Obstacle::Malformed => DropReason::MalformedExtensions,
        // RFC 7915, 5.1: "If a Routing header with a non-zero Segments Left field is present, then the packet MUST NOT be
        // translated".
        Obstacle::SegmentsLeft => DropReason::SegmentsLeft,
        Obstacle::Fragment => DropReason::Fragment,
    })?;
    let upper = Upper {
        protocol: upper.protocol,
        offset: upper.offset,
        length: ipv6::HEADER_LENGTH + usize::from(header.payload_length) - upper.offset,
    };
    check_protocol(upper.protocol)?;

    let (destination, mapped_by) = translator
        .map_v6(destination)?
        .ok_or(DropReason::IllegalDestination)?;
    if address::is_illegal_destination_v4(destination) {
        return Err(DropReason::IllegalDestination);
    }
    let (source, _) = translator
        .map_v6(header.source)?
        .ok_or(DropReason::UnmappedSource)?;
    if address::is_illegal_source_v4(source) {
        return Err(DropReason::IllegalSource);
    }

    let old = Addresses::V6(header.source, header.destination);
    let tos = translator.policy.tos.apply(header.traffic_class);
    // RFC 7757, 4.2.2, condition set A: "The destination address was translated using the algorithm in [RFC6052]. The
    // destination address is found in the EAMT."
    if translator.policy.hairpin == Hairpin::Intrinsic
        && mapped_by == MappedBy::Rfc6052
        && let Some(destination) = translator.network.v4_to_v6(destination)
    {
        // RFC 7757, 4.2.1: the source "MUST instead be translated according to [RFC6145]".
        let source = translator.embed(source)?;
        if (ipv6::HEADER_LENGTH + upper.length) as u32 > translator.network.mtu_v6(destination) {
            return Err(DropReason::PacketTooBig);
        }
        let new = Addresses::V6(source, destination);
        return Ok(Verdict::Forward(Rewrite {
            cut: upper.offset,
            header: NetworkHeader::V6(ipv6::Header {
                traffic_class: translator.policy.traffic_class.apply(tos),
                payload_length: upper.length as u16,
                next_header: upper.protocol,
                // RFC 7757, 4.2.2: in the second pass "the Hop Limit field SHOULD NOT be decremented".
                hop_limit: header.hop_limit - 1,
                source,
                destination,
            }),
            payload: upper.length,
            patch: translate_upper(packet, upper, old, new)?,
        }));
    }

    let length = ipv4::HEADER_LENGTH + upper.length;
    if length as u32
        > translator
            .network
            .mtu_v4(destination)
            .min(u32::from(u16::MAX))
    {
        // RFC 7915, 5.1.1: a packet of at most 1280 octets would have to be fragmented by the translator.
        let may_be_fragmented =
            ipv6::HEADER_LENGTH as u32 + u32::from(header.payload_length) <= ipv6::MINIMUM_MTU;
        return Err(if may_be_fragmented {
            DropReason::FragmentationNeeded
        } else {
            DropReason::PacketTooBig
        });
    }
    let new = Addresses::V4(source, destination);
    let key = translator.policy.identification_key;
    Ok(Verdict::Forward(Rewrite {
        cut: upper.offset,
        header: NetworkHeader::V4(ipv4::Header {
            tos,
            total_length: length as u16,
            identification: identification::generate(
                key,
                packet,
                upper.offset,
                header.source,
                destination,
                length,
            ),
            // RFC 7915, 5.1: "If the size of the translated IPv4 packet is less than or equal to 1260 bytes, it is set to
            // zero; otherwise, it is set to one."
            df: length > MAX_LENGTH_WITHOUT_DF,
            mf: false,
            fragment_offset: 0,
            ttl: header.hop_limit - 1,
            protocol: match upper.protocol {
                icmp::PROTOCOL_V6 => icmp::PROTOCOL_V4,
                protocol => protocol,
            },
            source,
            destination,
        }),
        payload: upper.length,
        patch: translate_upper(packet, upper, old, new)?,
    }))
}

/// Refuses protocol numbers that would change their meaning in IPv4.
fn check_protocol(protocol: u8) -> Result<(), DropReason> {
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
    old: Addresses,
    new: Addresses,
) -> Result<Patch, DropReason> {
    if upper.protocol != icmp::PROTOCOL_V6 {
        // RFC 8200, 8.1 forbids a zero checksum, but for tunnels that RFC 6935 exempts: in IPv4 it is as good as any.
        return transport::patch(packet, upper, old, new, UdpZeroChecksum::Forward);
    }
    if upper.length < icmp::HEADER_LENGTH {
        return Err(DropReason::MalformedTransport);
    }
    let [number] = packet
        .load::<1>(upper.offset)
        .ok_or(DropReason::MalformedTransport)?;
    let (request, reply) = match new {
        Addresses::V4(..) => (ECHO_REQUEST_V4, ECHO_REPLY_V4),
        Addresses::V6(..) => (number, number),
    };
    match icmp::kind_v6(number) {
        icmp::Kind::EchoRequest => transport::echo_patch(packet, upper, request, old, new),
        icmp::Kind::EchoReply => transport::echo_patch(packet, upper, reply, old, new),
        icmp::Kind::Error => Err(DropReason::IcmpError),
        // RFC 7915, 5.2: "Unknown informational messages: Silently drop."
        icmp::Kind::Other => Err(DropReason::UntranslatableIcmp),
    }
}
