//! ICMP errors that the relay itself sends about packets that it refuses (RFC 7915, 4.4 and 5.4; RFC 792; RFC 4443).
//!
//! The error is built from the untouched original. Whether it is sent at all is decided here as far as the packet
//! decides; how many are sent a second is the caller's business.

use super::{MAX_ERROR_LENGTH, MAX_V4_ERROR_LENGTH, TranslatedError, emit_parts};
use crate::address;
use crate::rewrite::NetworkHeader;
use crate::translate::transport::Addresses;
use crate::verdict::Reply;
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
    let packet = packet.get(..usize::from(header.total_length).min(packet.len()))?;
    // RFC 1812, 4.3.2.7: not about a fragment other than the first, nor about a source or destination that is no single host.
    if header.fragment_offset != 0
        || address::is_illegal_source_v4(header.source)
        || address::is_illegal_destination_v4(header.destination)
    {
        return None;
    }
    // "unless the discarded packet is itself an ICMPv4 error message" (RFC 7915, 4.4); redirects and source quenches are
    // errors here too. RFC 7915, 4.2: Router Advertisement and Solicitation are "Single-hop message. Silently drop."
    let kind = packet.load::<1>(header_length);
    if header.protocol == icmp::PROTOCOL_V4 && !matches!(kind, Some([0 | 8 | 13..=18])) {
        return None;
    }
    let room = MAX_V4_ERROR_LENGTH - ipv4::HEADER_LENGTH - icmp::HEADER_LENGTH;
    let quoted = packet.get(..room).unwrap_or(packet);
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
    let end = ipv6::HEADER_LENGTH + usize::from(header.payload_length);
    let packet = packet.get(..end.min(packet.len()))?;
    match innermost(packet, header.next_header) {
        Innermost::LaterFragment => return None,
        // RFC 4443, 2.4 (e): not about an ICMPv6 error, nor a redirect. RFC 7915, 5.4: the default error is not sent if
        // "the discarded packet is itself an ICMPv6 message".
        // 5.2: MLD and Neighbor Discovery (130 to 137, and 143 of RFC 3810) are "Single-hop message. Silently drop."
        Innermost::Icmp(kind) => {
            if reply.is_default() || !matches!(kind, Some(128 | 129 | 138..=142 | 144..)) {
                return None;
            }
        }
        Innermost::Other => {}
    }
    let room = MAX_ERROR_LENGTH - ipv6::HEADER_LENGTH - icmp::HEADER_LENGTH;
    let quoted = packet.get(..room).unwrap_or(packet);
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

/// What an IPv6 packet carries behind all its extension headers, as far as errors about it depend on that.
enum Innermost {
    /// Nobody can tell: the packet is a fragment other than the first.
    LaterFragment,
    /// An ICMPv6 message of this type, if there is so much of it.
    Icmp(Option<u8>),
    /// Anything else, or headers that cannot be walked.
    Other,
}

/// Walks extension headers in any order, that of AH (RFC 4302, 2.2) and those behind a Fragment header too: an ICMPv6
/// error is one wherever it hides.
fn innermost(packet: &[u8], next_header: u8) -> Innermost {
    let (mut protocol, mut at) = (next_header, ipv6::HEADER_LENGTH);
    for _ in 0..=ipv6::MAX_EXTENSION_HEADERS {
        if protocol == icmp::PROTOCOL_V6 {
            return Innermost::Icmp(packet.get(at).copied());
        }
        let Some([next, length, o0, o1]) = packet.load::<4>(at) else {
            return Innermost::Other;
        };
        let length = usize::from(length);
        at += match protocol {
            ipv6::HOP_BY_HOP_OPTIONS | ipv6::ROUTING | ipv6::DESTINATION_OPTIONS => 8 + 8 * length,
            ipv6::AUTHENTICATION => 8 + 4 * length,
            ipv6::FRAGMENT if u16::from_be_bytes([o0, o1]) >> 3 != 0 => {
                return Innermost::LaterFragment;
            }
            ipv6::FRAGMENT => ipv6::FRAGMENT_HEADER_LENGTH,
            _ => return Innermost::Other,
        };
        protocol = next;
    }
    Innermost::Other
}
