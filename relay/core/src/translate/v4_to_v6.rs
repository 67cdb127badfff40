//! IPv4 to IPv6: RFC 7915, section 4, in the order of its clauses.
//!
//! ICMP errors are only recognised here; [`super::error`] translates them.

use super::Translator;
use super::transport::{self, Addresses, Part, Upper};
use crate::address;
use crate::network::Network;
use crate::policy::{AtomicFragments, Hairpin};
use crate::reasons::{DropReason, PassReason};
use crate::rewrite::{NetworkHeader, Patch, Rewrite, Split};
use crate::verdict::{Refusal, Reply, Verdict};
use crate::wire::ipv4::{Options, Received};
use crate::wire::{Octets, icmp, ipv4, ipv6};
use core::net::Ipv4Addr;
use core::net::Ipv6Addr;

/// Says whether a packet to `destination` is the relay's, and what it knows of the address.
#[inline(always)]
pub(super) fn claim<N: Network + ?Sized>(
    translator: &Translator<'_, N>,
    destination: Ipv4Addr,
) -> Result<Target, PassReason> {
    let network = translator.network;
    if network.is_own_v4(destination) {
        return Err(PassReason::OwnAddress);
    }
    match network.v4_to_v6(destination) {
        Some(mapped) => Ok(Target::Mapped(mapped)),
        None => claim_unmapped(translator, destination),
    }
}

/// As [`claim`], for a destination without an EAM.
#[inline(always)]
pub(super) fn claim_unmapped<N: Network + ?Sized>(
    translator: &Translator<'_, N>,
    destination: Ipv4Addr,
) -> Result<Target, PassReason> {
    let network = translator.network;
    // RFC 7755, 4.10: a service may have an IPv4-translatable address instead of an EAM.
    if network.is_ipv4_translatable(destination) && !network.is_denied(destination) {
        return Ok(match translator.embed(destination) {
            Ok(embedded) => Target::Mapped(embedded),
            Err(reason) => Target::Prohibited(reason),
        });
    }
    if network.is_in_service_pool(destination) {
        return Ok(Target::Unmapped);
    }
    Err(PassReason::NotOurs)
}

/// Translates a packet that begins with `octets` and whose destination is a `target` of the relay.
#[inline]
pub(super) fn translate<N: Network + ?Sized, O: Octets + ?Sized>(
    translator: &Translator<'_, N>,
    packet: &O,
    octets: [u8; ipv4::HEADER_LENGTH],
    target: Target,
) -> Result<Verdict, Refusal> {
    let received = Received::parse_rest(octets, packet).map_err(|_| DropReason::MalformedHeader)?;
    if !received.checksum_is_valid {
        return Err(DropReason::HeaderChecksum.into());
    }
    let header = received.header;
    let destination = header.destination;
    let upper = Upper {
        protocol: header.protocol,
        offset: received.header_length,
        length: received.payload_length(),
        part: Part::new(header.fragment_offset, header.mf),
    };
    let icmp_kind = transport::icmp_kind(packet, upper, icmp::PROTOCOL_V4, icmp::kind_v4)
        .map_err(unless_malformed)?;
    // RFC 7915, 4.1: "If the translator gets an illegal source address (e.g., 0.0.0.0, 127.0.0.1, etc.), the
    // translator SHOULD silently discard the packet [...]. Note when translating ICMPv4 Error Messages into ICMPv6, the
    // "illegal" source address will be translated for the purpose of trouble shooting."
    if address::is_illegal_source_v4(header.source) && icmp_kind != Some(icmp::Kind::Error) {
        return Err(DropReason::IllegalSource.into());
    }
    if address::is_illegal_destination_v4(destination) {
        return Err(DropReason::IllegalDestination.into());
    }
    // RFC 7915, 4.1: "If any IPv4 options are present in the IPv4 packet, they MUST be ignored [...]. However, if an
    // unexpired source route option is present, then the packet MUST instead be discarded".
    match received
        .options(packet)
        .map_err(|_| DropReason::MalformedOptions)?
    {
        Options::Ignorable => {}
        // "and an ICMPv4 "Destination Unreachable, Source Route Failed" (Type 3, Code 5) error message SHOULD be returned".
        Options::SourceRoute => {
            return Err(Refusal::Told(
                DropReason::SourceRoute,
                Reply::SOURCE_ROUTE_FAILED,
            ));
        }
    }
    // IGMP comes with a TTL of 1 (RFC 3376, 4), and is to be dropped silently: so this is asked first.
    check_protocol(header.protocol)?;
    // RFC 7915, 4.1: "the translator (as any router) MUST check for zero and send the ICMPv4 "TTL Exceeded" [...] error".
    if header.ttl <= 1 {
        return Err(Refusal::Told(DropReason::HopLimit, Reply::TIME_EXCEEDED_V4));
    }

    let destination = match target {
        Target::Mapped(mapped) => mapped,
        Target::Prohibited(reason) => return Err(prohibited(reason)),
        // It would loop between the relay and the router that sends it here.
        Target::Unmapped => {
            return Err(Refusal::Told(
                DropReason::UnmappedService,
                Reply::HOST_UNREACHABLE,
            ));
        }
    };
    if icmp_kind == Some(icmp::Kind::Error) {
        return Ok(Verdict::IcmpError);
    }
    let source = map_source(translator, header.source).map_err(prohibited)?;

    let old = Addresses::V4(header.source, header.destination);
    let new = Addresses::V6(source, destination);
    let (next_header, patch) = match icmp_kind {
        Some(kind) => (
            icmp::PROTOCOL_V6,
            translate_query(packet, upper, kind, old, new)?,
        ),
        // RFC 7915, 4.1: "otherwise, the protocol field MUST be copied from the IPv4 header".
        None => (
            header.protocol,
            transport::patch(packet, upper, old, new, translator.policy.udp_zero_checksum)
                .map_err(unless_malformed)?,
        ),
    };
    let new_header = ipv6::Header {
        traffic_class: translator.policy.traffic_class.apply(header.tos),
        // At most 65535 less an IPv4 header.
        payload_length: upper.length as u16,
        next_header,
        hop_limit: header.ttl - 1,
        source,
        destination,
    };
    send(
        translator,
        &header,
        new_header,
        received.header_length,
        patch,
        // "plus 20": that is the length of the IPv6 packet, but for options, which do not travel, and a Fragment header.
        |mtu, growth| Reply::fragmentation_needed(mtu.saturating_sub(growth)),
    )
}

/// Says how a packet leaves whose IPv4 form has the header `old`: `cut` octets of what arrived are replaced by the header
/// `new`, with a Fragment header where there has to be one, and the rest changes by `patch`.
///
/// `too_big` makes an error of the next hop's MTU and of the octets by which the packet is longer in IPv6.
#[inline(always)]
pub(super) fn send<N: Network + ?Sized>(
    translator: &Translator<'_, N>,
    old: &ipv4::Header,
    new: ipv6::Header,
    cut: usize,
    patch: Patch,
    too_big: impl FnOnce(u32, u32) -> Reply,
) -> Result<Verdict, Refusal> {
    let whole = ipv6::Fragment {
        offset: 0,
        more: false,
        identification: u32::from(old.identification),
    };
    // RFC 7915, 4: "When the IPv4 sender does not set the DF bit, the translator MUST NOT include the Fragment Header for the
    // non-fragmented IPv6 packets." RFC 6145, 4 wanted it there.
    let is_atomic = !old.df && translator.policy.atomic_fragments == AtomicFragments::On;
    let fragment = old.as_v6_fragment().or(is_atomic.then_some(whole));
    let rewrite = Rewrite {
        cut,
        header: NetworkHeader::v6(new, fragment),
        payload: usize::from(new.payload_length),
        patch,
    };
    let length = rewrite.header.length() + rewrite.payload;
    // RFC 8200, 5: "IPv6 requires that every link in the Internet have an MTU of 1280 octets or greater."
    let mtu = translator
        .network
        .mtu_v6(new.destination)
        .max(ipv6::MINIMUM_MTU);
    if old.df {
        // RFC 7915, 4.1: "If the DF bit is set and the MTU of the next-hop interface is less than the total length value
        // of the IPv4 packet plus 20, the translator MUST send an ICMPv4 "Fragmentation Needed" error message".
        if length as u64 > u64::from(mtu) {
            let growth = rewrite.header.length() - ipv4::HEADER_LENGTH;
            let reply = too_big(mtu, growth as u32);
            return Err(Refusal::Told(DropReason::PacketTooBig, reply));
        }
        return Ok(Verdict::Forward(rewrite));
    }
    // RFC 7915, 4.1: "the packet SHOULD be fragmented so that the resulting IPv6 packet (with Fragment Header added to each
    // fragment) will be less than or equal to lowest-ipv6-mtu".
    let limit = mtu.min(translator.policy.lowest_ipv6_mtu);
    if length as u64 <= u64::from(limit) {
        return Ok(Verdict::Forward(rewrite));
    }
    let header = NetworkHeader::V6Fragment(new, fragment.unwrap_or(whole));
    let split = Split::new(Rewrite { header, ..rewrite }, limit);
    Ok(Verdict::Split(split.ok_or(DropReason::MalformedHeader)?))
}

/// RFC 7915, 4.4: "The ICMPv4 message, if sent, has a Type of 3 (Destination Unreachable) and a Code of 13 (Communication
/// Administratively Prohibited), unless otherwise specified".
fn prohibited(reason: DropReason) -> Refusal {
    Refusal::Told(reason, Reply::PROHIBITED_V4)
}

/// As [`prohibited`], but nobody is told of a packet that makes no sense.
fn unless_malformed(reason: DropReason) -> Refusal {
    if reason == DropReason::MalformedTransport {
        reason.into()
    } else {
        prohibited(reason)
    }
}

/// What the tables say about a destination that is the relay's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// An EAM or RFC 6052 translates it to this.
    Mapped(Ipv6Addr),
    /// RFC 6052 would have to translate it, and must not.
    Prohibited(DropReason),
    /// It is the relay's, but nothing maps it.
    Unmapped,
}

/// Refuses protocol numbers that would change their meaning in IPv6.
pub(super) fn check_protocol(protocol: u8) -> Result<(), Refusal> {
    match protocol {
        // RFC 7915, 4.2: "IGMP messages [...] SHOULD be silently dropped by the translator".
        2 => Err(DropReason::UntranslatableProtocol.into()),
        // The receiver would take these for Hop-by-Hop Options, Routing, Fragment, ICMPv6 and Destination Options.
        0 | 43 | 44 | 58 | 60 => Err(prohibited(DropReason::UntranslatableProtocol)),
        _ => Ok(()),
    }
}

/// Maps the source (RFC 7915, section 6; RFC 7757, 4.2.1).
#[inline(always)]
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

/// Translates an ICMPv4 message that is no error (RFC 7915, 4.2).
fn translate_query<O: Octets + ?Sized>(
    packet: &O,
    upper: Upper,
    kind: icmp::Kind,
    old: Addresses,
    new: Addresses,
) -> Result<Patch, DropReason> {
    match kind {
        icmp::Kind::EchoRequest => {
            transport::echo_patch(packet, upper, icmp::ECHO_REQUEST_V6, old, new)
        }
        icmp::Kind::EchoReply => {
            transport::echo_patch(packet, upper, icmp::ECHO_REPLY_V6, old, new)
        }
        // RFC 7915, 4.2: "Unknown ICMPv4 types: Silently drop."
        icmp::Kind::Error | icmp::Kind::Other => Err(DropReason::UntranslatableIcmp),
    }
}
