//! Packets made and judged by the plain definitions, with nothing shared with the translator.
//!
//! Checksums are summed up word by word (RFC 1071, 1). Only what the translator forwards is made here.

use relay::offline::Link;
use std::net::IpAddr;

/// Protocol number of ICMP for IPv4.
pub const ICMP_V4: u8 = 1;
/// Protocol number of TCP.
pub const TCP: u8 = 6;
/// Protocol number of UDP.
pub const UDP: u8 = 17;
const DCCP: u8 = 33;
/// Protocol number of ICMPv6.
pub const ICMP_V6: u8 = 58;
const UDP_LITE: u8 = 136;

/// What a receiver makes of a transport checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// It is right.
    Valid,
    /// It is wrong.
    Invalid,
    /// There is none, or nobody can say what it covers.
    None,
}

/// What a receiver makes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// Whether the IPv4 header checksum is right; IPv6 has none, which is as good.
    pub header_is_valid: bool,
    /// The transport checksum.
    pub transport: Checksum,
    /// Octets from the start of the network header to the end of the packet.
    pub length: usize,
}

/// Returns the one's complement sum of octets, an odd last one padded with zero (RFC 1071, 1).
fn sum<'o>(octets: impl IntoIterator<Item = &'o u8>) -> u16 {
    let mut sum = 0u32;
    let mut octets = octets.into_iter();
    while let Some(high) = octets.next() {
        sum += u32::from(u16::from_be_bytes([
            *high,
            octets.next().copied().unwrap_or(0),
        ]));
        if sum > 0xffff {
            sum -= 0xffff;
        }
    }
    sum as u16
}

/// Returns the checksum that belongs to octets.
pub fn checksum<'o>(octets: impl IntoIterator<Item = &'o u8>) -> u16 {
    !sum(octets)
}

fn pseudo_header(source: IpAddr, destination: IpAddr, protocol: u8, length: usize) -> Vec<u8> {
    let mut octets = Vec::new();
    for address in [source, destination] {
        match address {
            IpAddr::V4(address) => octets.extend(address.octets()),
            IpAddr::V6(address) => octets.extend(address.octets()),
        }
    }
    octets.extend((length as u32).to_be_bytes());
    octets.extend([0, protocol]);
    octets
}

/// Returns where the network header of a packet of a capture begins.
pub fn network_offset(link: Link, octets: &[u8]) -> usize {
    match link {
        Link::Raw => 0,
        Link::Ethernet => {
            // Behind any number of VLAN tags.
            let mut at = 12;
            while matches!(octets.get(at..at + 2), Some([0x81, 0x00] | [0x88, 0xa8])) {
                at += 4;
            }
            (at + 2).min(octets.len())
        }
    }
}

/// The parts of what an ICMP error has behind its header (RFC 4884, 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quotation<'p> {
    /// The packet in error, as far as it is there, and padding.
    pub packet: &'p [u8],
    /// The extension structure; nothing if there is none.
    pub extensions: &'p [u8],
}

impl Quotation<'_> {
    /// Says whether a quoted IPv4 header has a right checksum; IPv6 has none, which is as good.
    pub fn header_is_valid(&self) -> bool {
        let header = match self.packet.first() {
            Some(first) if first >> 4 == 4 => usize::from(first & 0xf) * 4,
            Some(_) | None => return true,
        };
        self.packet
            .get(..header)
            .is_some_and(|header| sum(header) == 0xffff)
    }

    /// Returns the TTL or hop limit of the quoted packet.
    pub fn hops(&self) -> Option<u8> {
        match self.packet.first()? >> 4 {
            4 => self.packet.get(8).copied(),
            _ => self.packet.get(7).copied(),
        }
    }

    /// Returns what a receiver makes of the extension structure's checksum.
    pub fn extensions_checksum(&self) -> Checksum {
        match self.extensions {
            [_, _, 0, 0, ..] | [] => Checksum::None,
            structure if sum(structure) == 0xffff => Checksum::Valid,
            _ => Checksum::Invalid,
        }
    }
}

/// Returns what an ICMP error quotes; `None` for any other packet, and for one whose length leads out of it.
pub fn quotation(octets: &[u8]) -> Option<Quotation<'_>> {
    let (message, is_v4) = match octets.first()? >> 4 {
        4 => {
            let length = usize::from(u16::from_be_bytes([*octets.get(2)?, *octets.get(3)?]));
            let packet = octets.get(..length)?;
            let header = usize::from(packet.first()? & 0xf) * 4;
            (packet.get(header..).filter(|_| packet[9] == ICMP_V4)?, true)
        }
        _ => {
            let length = usize::from(u16::from_be_bytes([*octets.get(4)?, *octets.get(5)?]));
            let packet = octets.get(..40 + length)?;
            let (mut protocol, mut at) = (packet[6], 40);
            while matches!(protocol, 0 | 43 | 44 | 60) {
                let [next, units] = *packet.get(at..)?.first_chunk()?;
                let units = if protocol == 44 { 0 } else { units };
                (protocol, at) = (next, at + 8 + 8 * usize::from(units));
            }
            (packet.get(at..).filter(|_| protocol == ICMP_V6)?, false)
        }
    };
    let (header, body) = message.split_first_chunk::<8>()?;
    let quoted = match (is_v4, header[0]) {
        (true, 3 | 11 | 12) => usize::from(header[5]) * 4,
        (false, 1 | 3) => usize::from(header[4]) * 8,
        (false, 2 | 4) => 0,
        (_, _) => return None,
    };
    let end = if quoted == 0 { body.len() } else { quoted };
    let (packet, extensions) = body.split_at_checked(end)?;
    Some(Quotation { packet, extensions })
}

/// Judges the packet at the start of `octets`, or returns `None` if it is not all there.
pub fn judge(octets: &[u8]) -> Option<Judgement> {
    match octets.first()? >> 4 {
        4 => judge_v4(octets),
        6 => judge_v6(octets),
        _ => None,
    }
}

fn judge_v4(octets: &[u8]) -> Option<Judgement> {
    let fixed = octets.first_chunk::<20>()?;
    let header = usize::from(fixed[0] & 0xf) * 4;
    let length = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
    if header < 20 || length < header {
        return None;
    }
    let packet = octets.get(..length)?;
    let source = <[u8; 4]>::try_from(&fixed[12..16]).ok()?;
    let destination = <[u8; 4]>::try_from(&fixed[16..20]).ok()?;
    let is_fragment = u16::from_be_bytes([fixed[6], fixed[7]]) & 0x3fff != 0;
    Some(Judgement {
        header_is_valid: sum(&packet[..header]) == 0xffff,
        transport: match is_fragment {
            true => Checksum::None,
            false => judge_transport(
                source.into(),
                destination.into(),
                fixed[9],
                &packet[header..],
            ),
        },
        length,
    })
}

fn judge_v6(octets: &[u8]) -> Option<Judgement> {
    let fixed = octets.first_chunk::<40>()?;
    let length = 40 + usize::from(u16::from_be_bytes([fixed[4], fixed[5]]));
    let packet = octets.get(..length)?;
    let source = <[u8; 16]>::try_from(&fixed[8..24]).ok()?;
    let destination = <[u8; 16]>::try_from(&fixed[24..40]).ok()?;
    let (mut protocol, mut at) = (fixed[6], 40);
    while matches!(protocol, 0 | 43 | 60) {
        let [next, units] = *packet.get(at..)?.first_chunk()?;
        (protocol, at) = (next, at + 8 + 8 * usize::from(units));
    }
    let transport = judge_transport(
        source.into(),
        destination.into(),
        protocol,
        packet.get(at..)?,
    );
    Some(Judgement {
        header_is_valid: true,
        transport,
        length,
    })
}

fn judge_transport(source: IpAddr, destination: IpAddr, protocol: u8, payload: &[u8]) -> Checksum {
    let word = |at: usize| {
        payload
            .get(at..at + 2)
            .map(|o| u16::from_be_bytes([o[0], o[1]]))
    };
    // What the checksum covers besides the pseudo-header, and the length that the pseudo-header tells.
    let covered = match protocol {
        ICMP_V4 if source.is_ipv4() => {
            return match payload.len() {
                ..8 => Checksum::None,
                _ if sum(payload) == 0xffff => Checksum::Valid,
                _ => Checksum::Invalid,
            };
        }
        ICMP_V6 if source.is_ipv6() => payload.get(8..).map(|_| (payload.len(), payload.len())),
        TCP => payload.get(20..).map(|_| (payload.len(), payload.len())),
        UDP => match (word(4), word(6)) {
            (_, Some(0)) => None,
            (Some(length), Some(_)) => Some((usize::from(length), usize::from(length))),
            _ => None,
        },
        UDP_LITE => match (word(4), word(6)) {
            // RFC 3828, 3.1: zero is no checksum, and none may be missing.
            (_, Some(0)) => None,
            (Some(0), Some(_)) => Some((payload.len(), payload.len())),
            (Some(coverage), Some(_)) => Some((usize::from(coverage), payload.len())),
            _ => None,
        },
        DCCP => payload.get(..12).and_then(|header| {
            let covered = match header[5] & 0xf {
                0 => payload.len(),
                coverage => usize::from(header[4]) * 4 + usize::from(coverage - 1) * 4,
            };
            (usize::from(header[4]) * 4 >= 12).then_some((covered, payload.len()))
        }),
        _ => None,
    };
    let Some((covered, length)) = covered else {
        return Checksum::None;
    };
    if covered < 8 || length < 8 || length > payload.len() {
        return Checksum::None;
    }
    let Some(covered) = payload.get(..covered) else {
        return Checksum::None;
    };
    let pseudo_header = pseudo_header(source, destination, protocol, length);
    match sum(pseudo_header.iter().chain(covered)) {
        0xffff => Checksum::Valid,
        _ => Checksum::Invalid,
    }
}

/// Returns a packet with valid checksums, hop count 64 and the protocol's usual header in front of `data`.
///
/// ICMP is an echo request; protocols other than the five with checksums carry `data` alone. IPv4 packets have the
/// Identification 0x1234 and no DF.
///
/// # Panics
///
/// If the addresses are of different families, or the packet is too long.
pub fn packet(source: IpAddr, destination: IpAddr, protocol: u8, data: &[u8]) -> Vec<u8> {
    let udp_length = (data.len() as u16).wrapping_add(8).to_be_bytes();
    let (header, checksum_at): (Vec<u8>, _) = match protocol {
        TCP => {
            let mut header = vec![0x9c, 0x40, 0x01, 0xbb, 1, 2, 3, 4, 5, 6, 7, 8, 0x50, 0x18];
            header.extend([0x20, 0, 0, 0, 0, 0]);
            (header, Some(16))
        }
        UDP => (
            vec![0x9c, 0x40, 0, 53, udp_length[0], udp_length[1], 0, 0],
            Some(6),
        ),
        UDP_LITE => (vec![0x9c, 0x40, 0, 53, 0, 0, 0, 0], Some(6)),
        DCCP => (vec![0x9c, 0x40, 0, 53, 3, 0, 0, 0, 4, 0, 0, 1], Some(6)),
        ICMP_V4 if source.is_ipv4() => (vec![8, 0, 0, 0, 0xbe, 0xef, 0, 1], Some(2)),
        ICMP_V6 if source.is_ipv6() => (vec![128, 0, 0, 0, 0xbe, 0xef, 0, 1], Some(2)),
        _ => (Vec::new(), None),
    };
    let mut payload = header;
    payload.extend(data);
    if let Some(at) = checksum_at {
        let pseudo_header = match protocol {
            ICMP_V4 => Vec::new(),
            _ => pseudo_header(source, destination, protocol, payload.len()),
        };
        let value = match checksum(pseudo_header.iter().chain(&payload)) {
            0 if matches!(protocol, UDP | UDP_LITE) => 0xffff,
            value => value,
        };
        payload[at..at + 2].copy_from_slice(&value.to_be_bytes());
    }
    let mut packet = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let length = u16::try_from(20 + payload.len())
                .expect("it fits")
                .to_be_bytes();
            let mut header = vec![0x45, 0, length[0], length[1], 0x12, 0x34, 0, 0];
            header.extend([64, protocol, 0, 0]);
            header.extend(source.octets());
            header.extend(destination.octets());
            header
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let length = u16::try_from(payload.len()).expect("it fits").to_be_bytes();
            let mut header = vec![0x60, 0, 0, 0, length[0], length[1], protocol, 64];
            header.extend(source.octets());
            header.extend(destination.octets());
            header
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {
            panic!("{source} and {destination} are of different families")
        }
    };
    packet.extend(payload);
    set_header_checksum(&mut packet);
    packet
}

/// Gives an IPv4 packet the header checksum that its header asks for; IPv6 packets have none.
///
/// A header that is not all there stays as it is.
pub fn set_header_checksum(packet: &mut [u8]) {
    let header = match packet.first() {
        Some(first @ 0x40..=0x4f) => usize::from(first & 0xf) * 4,
        Some(_) | None => return,
    };
    let Some(header) = packet.get_mut(..header.max(20)) else {
        return;
    };
    header[10..12].fill(0);
    let value = checksum(&*header).to_be_bytes();
    header[10..12].copy_from_slice(&value);
}

/// Returns an Ethernet frame around a packet, from 02:00:00:00:00:02 to 02:00:00:00:00:01.
///
/// # Panics
///
/// If the packet is neither IPv4 nor IPv6 by its first octet.
pub fn frame(packet: &[u8]) -> Vec<u8> {
    let ethertype = match packet.first().map(|first| first >> 4) {
        Some(4) => [0x08, 0x00],
        Some(6) => [0x86, 0xdd],
        version => panic!("no EtherType for version {version:?}"),
    };
    let addresses = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    [&addresses[..], &ethertype, packet].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_made_is_judged_valid_until_a_bit_changes() {
        for (source, destination) in [
            ("192.0.2.1", "203.0.113.50"),
            ("2001:db8::1", "2001:db8::2"),
        ] {
            for protocol in [ICMP_V4, TCP, UDP, DCCP, ICMP_V6, UDP_LITE] {
                let mut packet = packet(address(source), address(destination), protocol, b"odd");
                let judgement = judge(&packet).unwrap();
                assert!(judgement.header_is_valid);
                let has_checksum = match protocol {
                    ICMP_V4 => source.contains('.'),
                    ICMP_V6 => source.contains(':'),
                    _ => true,
                };
                if has_checksum {
                    assert_eq!(judgement.transport, Checksum::Valid, "{source}, {protocol}");
                    *packet.last_mut().unwrap() ^= 4;
                    assert_eq!(judge(&packet).unwrap().transport, Checksum::Invalid);
                } else {
                    assert_eq!(judgement.transport, Checksum::None, "{source}, {protocol}");
                }
                assert_eq!(judge(&packet[..packet.len() - 1]), None);
            }
        }
    }

    #[test]
    fn header_checksums_are_judged() {
        let mut packet = packet(address("192.0.2.1"), address("192.0.2.2"), UDP, b"");
        packet[8] -= 1;
        assert!(!judge(&packet).unwrap().header_is_valid);
        set_header_checksum(&mut packet);
        assert!(judge(&packet).unwrap().header_is_valid);
    }

    #[test]
    fn quotations_are_taken_apart_and_judged() {
        let (here, there) = (address("192.0.2.1"), address("203.0.113.50"));
        let quoted = packet(here, there, UDP, b"data");
        let mut error = packet(there, here, ICMP_V4, &quoted);
        assert_eq!(quotation(&error), None);
        // The identifier of the echo request stands where the length goes.
        (error[20], error[25]) = (3, 0);
        let found = quotation(&error).unwrap();
        assert_eq!((found.packet, found.extensions), (&quoted[..], &[][..]));
        assert!(found.header_is_valid());
        assert_eq!(found.hops(), Some(64));
        error[36] ^= 1;
        assert!(!quotation(&error).unwrap().header_is_valid());

        let padded = [&quoted[..], &[0; 96], &[0x20, 0, 0xdf, 0xff]].concat();
        let mut error = packet(
            address("2001:db8::1"),
            address("2001:db8::2"),
            ICMP_V6,
            &padded,
        );
        (error[40], error[44]) = (3, 16);
        let found = quotation(&error).unwrap();
        assert_eq!((found.packet.len(), found.extensions.len()), (128, 4));
        assert_eq!(found.extensions_checksum(), Checksum::Valid);
        error[44] = 17;
        assert_eq!(quotation(&error), None);
    }

    #[test]
    fn the_network_header_is_found_behind_tags() {
        assert_eq!(network_offset(Link::Ethernet, &[0; 60]), 14);
        let mut frame = [0; 60];
        frame[12..14].copy_from_slice(&[0x88, 0xa8]);
        frame[16..18].copy_from_slice(&[0x81, 0x00]);
        assert_eq!(network_offset(Link::Ethernet, &frame), 22);
        assert_eq!(network_offset(Link::Ethernet, &frame[..15]), 15);
    }
}
