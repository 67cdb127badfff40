//! Checksums that a sender has left to hardware which is not there.
//!
//! The kernel hands packets that come by a veth pair over as the other end's stack has made them: with the sum of the
//! pseudo-header in place of the TCP or UDP checksum, for the device to finish. Translated as it is, such a packet would be
//! wrong; so this is done here as a device would.

use relay_core::wire::checksum::Sum;
use relay_core::wire::transport::{self, TCP, UDP};
use relay_core::wire::{Octets, ipv4, ipv6};

/// Finishes the checksum of a packet, if that is to be done.
pub(super) fn finish(packet: &mut [u8]) {
    if let Some((at, checksum)) = missing(packet)
        && let Some(place) = packet.get_mut(at..).and_then(<[u8]>::first_chunk_mut)
    {
        *place = checksum.to_be_bytes();
    }
}

/// Returns the checksum that a packet lacks, and its offset in octets.
fn missing(packet: &[u8]) -> Option<(usize, u16)> {
    let (protocol, offset, length, addresses) = match packet.first()? >> 4 {
        4 => {
            let received = ipv4::Received::parse(packet).ok()?;
            let header = received.header;
            // Nobody sends checksums to finish in pieces.
            if header.is_fragment() {
                return None;
            }
            let addresses = Sum::ZERO.add_v4(header.source).add_v4(header.destination);
            let (offset, length) = (received.header_length, received.payload_length());
            (header.protocol, offset, length, addresses)
        }
        _ => {
            let header = ipv6::Header::parse(packet).ok()?;
            let end = ipv6::HEADER_LENGTH + usize::from(header.payload_length);
            let upper = header.upper(packet, end, false).ok()?;
            if upper.fragment.is_some() {
                return None;
            }
            let addresses = Sum::ZERO.add_v6(header.source).add_v6(header.destination);
            (upper.protocol, upper.offset, end - upper.offset, addresses)
        }
    };
    let field = transport::checksum_field(protocol)?;
    if !matches!(protocol, TCP | UDP) || length < field.header_length {
        return None;
    }
    let pseudo_header = addresses
        .add_long(length as u32)
        .add_word(u16::from(protocol));
    let at = offset + field.at;
    let found = u16::from_be_bytes(packet.load(at)?);
    let without = Sum::ZERO.remove(pseudo_header);
    if !transport::is_unfinished(packet, offset, length, found, without) {
        return None;
    }
    // The pseudo-header is in the sum already.
    let segment = packet.sum(offset, length)?;
    Some((at, transport::never_zero(segment.checksum())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    const V4: [Ipv4Addr; 2] = [Ipv4Addr::new(203, 0, 113, 2), Ipv4Addr::new(192, 0, 2, 1)];
    const V6: [Ipv6Addr; 2] = [
        Ipv6Addr::new(0x2001, 0xdb8, 0x46, 0, 0, 0, 0xcb00, 0x7102),
        Ipv6Addr::new(0x2001, 0xdb8, 0x12, 0x34, 0, 0, 0, 1),
    ];

    /// A packet with padding behind, whose checksum is the sum of the pseudo-header; and that sum.
    fn unfinished(is_v6: bool, protocol: u8, data: &[u8]) -> (Vec<u8>, usize, Sum) {
        let field = transport::checksum_field(protocol).unwrap();
        let length = field.header_length + data.len();
        let (mut packet, addresses) = if is_v6 {
            let header = ipv6::Header {
                traffic_class: 0,
                payload_length: length as u16,
                next_header: protocol,
                hop_limit: 64,
                source: V6[0],
                destination: V6[1],
            };
            let addresses = Sum::ZERO.add_v6(V6[0]).add_v6(V6[1]);
            (header.emit().to_vec(), addresses)
        } else {
            let header = ipv4::Header {
                tos: 0,
                total_length: (ipv4::HEADER_LENGTH + length) as u16,
                identification: 7,
                df: true,
                mf: false,
                fragment_offset: 0,
                ttl: 64,
                protocol,
                source: V4[0],
                destination: V4[1],
            };
            let addresses = Sum::ZERO.add_v4(V4[0]).add_v4(V4[1]);
            (header.emit().to_vec(), addresses)
        };
        let sum = addresses
            .add_word(length as u16)
            .add_word(u16::from(protocol));
        let at = packet.len() + field.at;
        packet.extend((0..field.header_length).map(|octet| octet as u8));
        packet.extend(data);
        packet.extend([0xa5; 5]);
        packet[at..at + 2].copy_from_slice(&sum.fold().to_be_bytes());
        (packet, at, sum)
    }

    /// Whether the checksum of a packet as made above is right.
    fn is_right(packet: &[u8], at: usize, protocol: u8, sum: Sum) -> bool {
        let offset = at - transport::checksum_field(protocol).unwrap().at;
        sum.add_octets(&packet[offset..packet.len() - 5]).fold() == 0xffff
    }

    #[test]
    fn what_is_unfinished_is_finished() {
        for (is_v6, protocol) in [(false, TCP), (false, UDP), (true, TCP), (true, UDP)] {
            for data in [&b""[..], b"x", b"hello, world"] {
                let (mut packet, at, sum) = unfinished(is_v6, protocol, data);
                let before = packet.clone();
                assert!(!is_right(&packet, at, protocol, sum));
                finish(&mut packet);
                assert!(is_right(&packet, at, protocol, sum), "{is_v6} {protocol}");
                let others = |packet: &[u8]| [packet[..at].to_vec(), packet[at + 2..].to_vec()];
                assert_eq!(others(&packet), others(&before));
                // Once is enough.
                let finished = packet.clone();
                finish(&mut packet);
                assert_eq!(packet, finished);
            }
        }
    }

    #[test]
    fn a_right_checksum_stays_even_if_it_looks_unfinished() {
        for is_v6 in [false, true] {
            let (packet, at, sum) = unfinished(is_v6, UDP, &[0, 0]);
            let offset = at - 6;
            // With the sum of the pseudo-header in place of the checksum, and this behind it, all sums up to zero.
            let segment = sum.add_octets(&packet[offset..packet.len() - 5]);
            let data = segment.checksum().to_be_bytes();
            let (mut packet, at, sum) = unfinished(is_v6, UDP, &data);
            assert!(is_right(&packet, at, UDP, sum));
            let before = packet.clone();
            finish(&mut packet);
            assert_eq!(packet, before);
        }
    }

    #[test]
    fn wrong_checksums_stay_wrong() {
        for (is_v6, protocol) in [(false, TCP), (true, UDP)] {
            let (mut packet, at, _) = unfinished(is_v6, protocol, b"data");
            packet[at] ^= 1;
            let before = packet.clone();
            finish(&mut packet);
            assert_eq!(packet, before);
        }
    }

    #[test]
    fn no_packet_is_too_short() {
        for is_v6 in [false, true] {
            let (packet, ..) = unfinished(is_v6, TCP, b"data");
            for length in 0..packet.len() - 5 {
                let mut short = packet[..length].to_vec();
                finish(&mut short);
                assert_eq!(short, packet[..length]);
            }
        }
    }
}
