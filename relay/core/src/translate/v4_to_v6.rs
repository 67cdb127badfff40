//! IPv4 to IPv6: RFC 7915, section 4, in the order of its clauses.
//!
//! Fragments and ICMP errors are not translated here: they are dropped and counted.

use super::Translator;
use super::transport::{self, Addresses, Upper};
use crate::address;
use crate::network::Network;
use crate::policy::Hairpin;
use crate::verdict::{DropReason, NetworkHeader, PassReason, Patch, Rewrite, Verdict};
use crate::wire::ipv4::{Options, Received};
use crate::wire::{Octets, icmp, ipv6};
use core::net::{Ipv4Addr, Ipv6Addr};

/// ICMPv6 echo types by their ICMPv4 kind (RFC 7915, 4.2).
const ECHO_REQUEST_V6: u8 = 128;
const ECHO_REPLY_V6: u8 = 129;

pub(super) fn translate<N: Network + ?Sized, O: Octets + ?Sized>(
    translator: &Translator<'_, N>,
    packet: &O,
) -> Result<Verdict, DropReason> {
    let destination = packet
        .load::<4>(16)
        .ok_or(DropReason::MalformedHeader)?
        .into();
    let network = translator.network;
    if network.is_own_v4(destination) {
        return Ok(Verdict::Pass(PassReason::OwnAddress));
    }
    let mapping = network.v4_to_v6(destination);
    let is_service = network.is_in_service_pool(destination);
    // RFC 7755, 4.10: a service may have an IPv4-translatable address instead of an EAM.
    let is_translatable =
        network.is_ipv4_translatable(destination) && !network.is_denied(destination);
    if mapping.is_none() && !is_translatable && !is_service {
        return Ok(Verdict::Pass(PassReason::NotOurs));
    }

    let received = Received::parse(packet).map_err(|_| DropReason::MalformedHeader)?;
    if !received.checksum_is_valid {
        return Err(DropReason::HeaderChecksum);
    }
    let header = received.header;
    // RFC 7915, 4.1: "If the translator gets an illegal source address (e.g., 0.0.0.0, 127.0.0.1, etc.), the
    // translator SHOULD silently discard the packet".
    if address::is_illegal_source_v4(header.source) {
        return Err(DropReason::IllegalSource);
    }
    if address::is_illegal_destination_v4(destination) {
        return Err(DropReason::IllegalDestination);
    }
    // RFC 7915, 4.1: "If any IPv4 options are present in the IPv4 packet, they MUST be ignored [...]. However, if an
    // unexpired source route option is present, then the packet MUST instead be discarded".
    match received
        .options(packet)
        .map_err(|_| DropReason::MalformedOptions)?
    {
        Options::Ignorable => {}
        Options::SourceRoute => return Err(DropReason::SourceRoute),
    }
    // RFC 7915, 4.1: "the translator (as any router) MUST check for zero".
    if header.ttl <= 1 {
        return Err(DropReason::HopLimit);
    }
    if header.is_fragment() {
        return Err(DropReason::Fragment);
    }
    check_protocol(header.protocol)?;

    let destination = match mapping {
        Some(mapped) => mapped,
        None if is_translatable => translator.embed(destination)?,
        None => return Err(DropReason::UnmappedService),
    };
    let source = map_source(translator, header.source)?;

    let upper = Upper {
        protocol: header.protocol,
        offset: received.header_length,
        length: received.payload_length(),
    };
    let length = (ipv6::HEADER_LENGTH + upper.length) as u32;
    let mtu = network.mtu_v6(destination);
    if header.df {
        // RFC 7915, 4.1: "If the DF bit is set and the MTU of the next-hop interface is less than the total length value
        // of the IPv4 packet plus 20". Without options that is the length of the IPv6 packet; options do not travel.
        if length > mtu {
            return Err(DropReason::PacketTooBig);
        }
    } else if length > mtu.min(translator.policy.lowest_ipv6_mtu) {
        return Err(DropReason::FragmentationNeeded);
    }

    let old = Addresses::V4(header.source, header.destination);
    let new = Addresses::V6(source, destination);
    let (next_header, patch) = if header.protocol == icmp::PROTOCOL_V4 {
        (icmp::PROTOCOL_V6, translate_icmp(packet, upper, old, new)?)
    } else {
        // RFC 7915, 4.1: "otherwise, the protocol field MUST be copied from the IPv4 header".
        (
            header.protocol,
            transport::patch(packet, upper, old, new, translator.policy.udp_zero_checksum)?,
        )
    };
    Ok(Verdict::Forward(Rewrite {
        cut: received.header_length,
        header: NetworkHeader::V6(ipv6::Header {
            traffic_class: translator.policy.traffic_class.apply(header.tos),
            // At most 65535 less an IPv4 header.
            payload_length: upper.length as u16,
            next_header,
            hop_limit: header.ttl - 1,
            source,
            destination,
        }),
        payload: upper.length,
        patch,
    }))
}

/// Refuses protocol numbers that would change their meaning in IPv6.
fn check_protocol(protocol: u8) -> Result<(), DropReason> {
    match protocol {
        // RFC 7915, 4.2: "IGMP messages [...] SHOULD be silently dropped by the translator".
        2 => Err(DropReason::UntranslatableProtocol),
        // The receiver would take these for Hop-by-Hop Options, Routing, Fragment, ICMPv6 and Destination Options.
        0 | 43 | 44 | 58 | 60 => Err(DropReason::UntranslatableProtocol),
        _ => Ok(()),
    }
}

/// Maps the source (RFC 7915, section 6; RFC 7757, 4.2.1).
fn map_source<N: Network + ?Sized>(
    translator: &Translator<'_, N>,
    source: Ipv4Addr,
) -> Result<Ipv6Addr, DropReason> {
    match translator.policy.hairpin {
        // RFC 7757, 4.2.1: "The EAM algorithm MUST NOT be used in order to translate the source address in the IPv4
        // header."
        Hairpin::Simple => translator.embed(source),
        Hairpin::Intrinsic | Hairpin::Off => match translator.network.v4_to_v6(source) {
            Some(mapped) => Ok(mapped),
            None => translator.embed(source),
        },
    }
}

/// Translates an ICMPv4 message (RFC 7915, 4.2).
fn translate_icmp<O: Octets + ?Sized>(
    packet: &O,
    upper: Upper,
    old: Addresses,
    new: Addresses,
) -> Result<Patch, DropReason> {
    if upper.length < icmp::HEADER_LENGTH {
        return Err(DropReason::MalformedTransport);
    }
    let [number] = packet
        .load::<1>(upper.offset)
        .ok_or(DropReason::MalformedTransport)?;
    match icmp::kind_v4(number) {
        icmp::Kind::EchoRequest => transport::echo_patch(packet, upper, ECHO_REQUEST_V6, old, new),
        icmp::Kind::EchoReply => transport::echo_patch(packet, upper, ECHO_REPLY_V6, old, new),
        icmp::Kind::Error => Err(DropReason::IcmpError),
        // RFC 7915, 4.2: "Unknown ICMPv4 types: Silently drop."
        icmp::Kind::Other => Err(DropReason::UntranslatableIcmp),
    }
}
