//! ICMP errors that the relay itself sends about packets that it refuses (RFC 7915, 4.4 and 5.4; RFC 792; RFC 4443).
//!
//! The error is built from the untouched original. Whether it is sent at all is decided here as far as the packet
//! decides; how many are sent a second is the caller's business.

use super::{MAX_ERROR_LENGTH, MAX_V4_ERROR_LENGTH, TranslatedError, emit_parts};
use crate::address;
use crate::translate::transport::Addresses;
use crate::verdict::{NetworkHeader, Reply};
use crate::wire::checksum::Sum;
use crate::wire::{Octets, icmp, ipv4, ipv6};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The hop limit and TTL of packets that the relay sends itself (RFC 1700's default).
const FRESH_HOP_LIMIT: u8 = 64;
/// Internetwork Control: the precedence of ICMPv4 errors (RFC 1812, 4.3.2.5).
const ERROR_TOS: u8 = 0xc0;

/// Builds an ICMPv4 error from `own` about the IPv4 packet at the start of `packet`.
///
/// `None` if there must be no error about such a packet (RFC 1812, 4.3.2.7).
pub fn reply_v4(
    packet: &[u8],
    reply: Reply,
    own: Ipv4Addr,
    output: &mut [u8; MAX_ERROR_LENGTH],
) -> Option<TranslatedError> {
    let (header, header_length) = ipv4::Header::parse_quoted(packet).ok()?;
    // RFC 1812, 4.3.2.7: not about a fragment other than the first, nor about a source or destination that is no single host.
    if header.fragment_offset != 0
        || address::is_illegal_source_v4(header.source)
        || address::is_illegal_destination_v4(header.destination)
    {
        return None;
    }
    // "unless the discarded packet is itself an ICMPv4 error message" (RFC 7915, 4.4); redirects and source quenches are
    // errors here too.
    let kind = packet.load::<1>(header_length);
    if header.protocol == icmp::PROTOCOL_V4 && !matches!(kind, Some([0 | 8..=10 | 13..=18])) {
        return None;
    }
    let quoted = packet.get(..usize::from(header.total_length).min(packet.len()))?;
    let room = MAX_V4_ERROR_LENGTH - ipv4::HEADER_LENGTH - icmp::HEADER_LENGTH;
    let quoted = quoted.get(..room).unwrap_or(quoted);
    let length = ipv4::HEADER_LENGTH + icmp::HEADER_LENGTH + quoted.len();
    let new = ipv4::Header {
        tos: ERROR_TOS,
        total_length: length as u16,
        // RFC 6864, 4.1: a packet that nobody may fragment needs no Identification.
        identification: 0,
        df: true,
        mf: false,
        fragment_offset: 0,
        ttl: FRESH_HOP_LIMIT,
        protocol: icmp::PROTOCOL_V4,
        source: own,
        destination: header.source,
    };
    emit_parts(
        NetworkHeader::V4(new),
        reply.emit(),
        quoted,
        Sum::ZERO,
        output,
    )?;
    Some(TranslatedError {
        length,
        destination: IpAddr::V4(header.source),
    })
}

/// Builds an ICMPv6 error from `own` about the IPv6 packet at the start of `packet`.
///
/// `None` if there must be no error about such a packet (RFC 4443, 2.4 (e)).
pub fn reply_v6(
    packet: &[u8],
    reply: Reply,
    own: Ipv6Addr,
    output: &mut [u8; MAX_ERROR_LENGTH],
) -> Option<TranslatedError> {
    let header = ipv6::Header::parse_quoted(packet).ok()?;
    if address::is_illegal_source_v6(header.source) || header.destination.is_multicast() {
        return None;
    }
    let end = (ipv6::HEADER_LENGTH + usize::from(header.payload_length)).min(packet.len());
    if let Ok(upper) = header.upper(packet, end, true) {
        let is_later = upper.fragment.is_some_and(|fragment| fragment.offset != 0);
        let kind = packet.load::<1>(upper.offset);
        // RFC 4443, 2.4 (e): not about an ICMPv6 error, nor a redirect.
        let is_error =
            upper.protocol == icmp::PROTOCOL_V6 && !matches!(kind, Some([128..=136 | 138..]));
        // RFC 7915, 5.4: the default error is not sent if "the discarded packet is itself an ICMPv6 message".
        let is_message = upper.protocol == icmp::PROTOCOL_V6 && reply.is_default();
        if is_later || is_error || is_message {
            return None;
        }
    }
    let quoted = packet.get(..end)?;
    let room = MAX_ERROR_LENGTH - ipv6::HEADER_LENGTH - icmp::HEADER_LENGTH;
    let quoted = quoted.get(..room).unwrap_or(quoted);
    let message_length = icmp::HEADER_LENGTH + quoted.len();
    let new = ipv6::Header {
        traffic_class: 0,
        payload_length: message_length as u16,
        next_header: icmp::PROTOCOL_V6,
        hop_limit: FRESH_HOP_LIMIT,
        source: own,
        destination: header.source,
    };
    let pseudo_header = Addresses::V6(own, header.source).icmp_pseudo_header(message_length);
    emit_parts(
        NetworkHeader::V6(new),
        reply.emit(),
        quoted,
        pseudo_header,
        output,
    )?;
    let length = ipv6::HEADER_LENGTH + message_length;
    Some(TranslatedError {
        length,
        destination: IpAddr::V6(header.source),
    })
}
