//! Plain packets from IPv4 to IPv6: the rules of [`crate::translate::v4_to_v6`].

use super::{Addresses, ClaimedV4, NotPlain, Target, ToV6, Translator, change, echo_change, load};
use crate::address::{is_illegal_destination_v4, is_illegal_source_v4};
use crate::network::Network;
use crate::plain::Plain;
use crate::policy::Hairpin;
use crate::reasons::{PassReason, PuntReason};
use crate::translate::v4_to_v6::{self as rules, check_protocol};
use crate::wire::checksum::Sum;
use crate::wire::{Octets, icmp, ipv4};
use core::net::Ipv4Addr;

/// Version 4 and a header of five words: one without options.
const VERSION_WITHOUT_OPTIONS: u64 = 0x45;
/// In the first eight octets, the More Fragments flag and the fragment offset: zeros in a whole packet.
const FRAGMENT_FIELDS: u64 = 0x3fff;
/// In the first eight octets, the Don't Fragment flag.
const DF: u64 = 0x4000;

#[inline(always)]
pub(super) fn claim<N: Network + ?Sized, O: Octets + ?Sized>(
    translator: &Translator<'_, N>,
    packet: &O,
) -> Result<ClaimedV4, NotPlain> {
    let octets = load::<{ ipv4::HEADER_LENGTH }, O>(packet, 0)?;
    let (words, rest) = octets.as_chunks::<8>();
    let ([front, middle], Some(last)) = (words, rest.first_chunk()) else {
        return Err(PuntReason::Malformed.into());
    };
    let destination = u32::from_be_bytes(*last);
    let claimed = ClaimedV4 {
        front: u64::from_be_bytes(*front),
        middle: u64::from_be_bytes(*middle),
        destination,
        target: None,
    };
    let (network, destination) = (translator.network, Ipv4Addr::from_bits(destination));
    if network.is_own_v4(destination) {
        return Err(PassReason::OwnAddress.into());
    }
    if let Some(mapped) = network.map_service_v4(destination) {
        let target = Some(Target::<[u64; 2]>::by_eam(mapped));
        return Ok(ClaimedV4 { target, ..claimed });
    }
    Ok(match rules::claim_unmapped(translator, destination)? {
        rules::Target::Mapped(address) => ClaimedV4 {
            target: Some(translator.by_prefix(destination, address)),
            ..claimed
        },
        rules::Target::Prohibited(_) | rules::Target::Unmapped => claimed,
    })
}

#[inline(always)]
pub(super) fn translate<N: Network + ?Sized, O: Octets + ?Sized>(
    translator: &Translator<'_, N>,
    packet: &O,
    claimed: ClaimedV4,
) -> Result<Plain, PuntReason> {
    let ClaimedV4 { front, middle, .. } = claimed;
    let target = claimed.target.ok_or(PuntReason::Refused)?;
    if front >> 56 != VERSION_WITHOUT_OPTIONS {
        return Err(PuntReason::Options);
    }
    if front & FRAGMENT_FIELDS != 0 {
        return Err(PuntReason::Fragment);
    }
    let total_length = (front >> 32) as u16;
    let Some(payload) = total_length.checked_sub(ipv4::HEADER_LENGTH as u16) else {
        return Err(PuntReason::Malformed);
    };
    if usize::from(total_length) > packet.len() {
        return Err(PuntReason::Malformed);
    }
    let (old_source, old_destination) = (middle as u32, claimed.destination);
    let header = Sum::ZERO
        .add_halves([front, middle])
        .add_long(old_destination);
    let (ttl, protocol) = ((middle >> 56) as u8, (middle >> 48) as u8);
    let (source, destination) = (
        Ipv4Addr::from_bits(old_source),
        Ipv4Addr::from_bits(old_destination),
    );
    if header.fold() != 0xffff
        || ttl <= 1
        || is_illegal_source_v4(source)
        || is_illegal_destination_v4(destination)
    {
        return Err(PuntReason::Refused);
    }
    let source = map_source(translator, source)?;

    let payload = u32::from(payload);
    let addresses = Addresses {
        difference: Sum::ZERO
            .add_word(source.difference)
            .add_word(target.difference),
        without_old: Sum::ZERO.add_long(!old_source).add_long(!old_destination),
    };
    let place = (ipv4::HEADER_LENGTH, payload);
    let (next_header, change) = if protocol == icmp::PROTOCOL_V4 {
        // In IPv6, the checksum covers a pseudo-header.
        let pseudo_header = Sum::ZERO
            .add_halves(source.address)
            .add_halves(target.address)
            .add_long(payload)
            .add_word(u16::from(icmp::PROTOCOL_V6));
        let types = [icmp::ECHO_REQUEST_V6, icmp::ECHO_REPLY_V6];
        let change = echo_change(packet, place, icmp::kind_v4, types, pseudo_header)?;
        (icmp::PROTOCOL_V6, change)
    } else {
        check_protocol(protocol).map_err(|_| PuntReason::Refused)?;
        (
            protocol,
            change(translator, packet, place, protocol, addresses)?,
        )
    };
    let packet = ToV6 {
        source,
        destination: target,
        cut: ipv4::HEADER_LENGTH as u32,
        payload,
        next_header,
        service: translator.policy.traffic_class.apply((front >> 48) as u8),
        hop_limit: ttl.wrapping_sub(1),
    };
    packet.describe(translator.policy, front & DF != 0, change)
}

#[inline(always)]
fn map_source<N: Network + ?Sized>(
    translator: &Translator<'_, N>,
    source: Ipv4Addr,
) -> Result<Target<[u64; 2]>, PuntReason> {
    match translator.policy.hairpin {
        Hairpin::Simple => translator.embedded(source),
        Hairpin::Intrinsic | Hairpin::Off => match translator.network.map_v4(source) {
            Some(mapped) => Ok(Target::<[u64; 2]>::by_eam(mapped)),
            None => translator.embedded(source),
        },
    }
}
