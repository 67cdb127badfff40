//! Random frames as a relay may meet them: mostly right, some wrong in one way, some in several.

use crate::lab::MACS;
use relay_core::address::Prefix;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use tests::packet::{ICMP_V4, ICMP_V6, TCP, UDP, packet, set_header_checksum};
use tests::random::Random;

/// A frame on its way to the relay.
pub(crate) struct Made {
    /// The port that it comes in by.
    pub(crate) port: usize,
    pub(crate) frame: Vec<u8>,
    /// Whether nothing about it is unusual, so that the program has to translate it.
    pub(crate) is_simple: bool,
}

/// Makes a frame; half of them are simple.
pub(crate) fn make(random: &mut Random, prefix: Prefix) -> Made {
    let is_simple = random.below(2) == 0;
    let is_v4 = random.below(2) == 0;
    let (source, destination) = match (is_v4, is_simple) {
        (true, true) => (client(random).into(), service_v4(random).into()),
        (true, false) => (any_v4(random).into(), any_v4(random).into()),
        (false, true) => (
            service_v6(random).into(),
            prefix.embed(client(random)).into(),
        ),
        (false, false) => (
            any_v6(random, prefix).into(),
            target_v6(random, prefix).into(),
        ),
    };
    let mut packet = whole(random, source, destination, is_simple);
    let mut port = random.below(2);
    let mut destination = MACS[port];
    if !is_simple {
        for _ in 0..random.below(4) {
            spoil(random, is_v4, &mut packet);
        }
        match random.below(40) {
            0 => destination = [0xff; 6],
            1 => destination[random.below(6)] ^= 1 << random.below(8),
            2 => port = 1 - port,
            _ => {}
        }
    }
    let mut frame = [&destination[..], &[2, 0, 0, 0, 9, 9]].concat();
    let tags = match (random.below(8), is_simple) {
        (0, _) => 1,
        (1, _) => 2,
        (2, false) if random.below(4) == 0 => 3,
        _ => 0,
    };
    for _ in 0..tags {
        frame.extend(random.one_of(&[[0x81, 0x00], [0x88, 0xa8]]));
        frame.extend((random.number() as u16).to_be_bytes());
    }
    let ethertype = match random.below(200) {
        0 if !is_simple => [0x08, 0x06],
        1 if !is_simple => [0x86, 0xdd],
        2 if !is_simple => [0x08, 0x00],
        _ if is_v4 => [0x08, 0x00],
        _ => [0x86, 0xdd],
    };
    frame.extend(ethertype);
    frame.extend(packet);
    if random.below(4) == 0 {
        let padding = random.below(50);
        frame.extend(random.octets(padding));
    }
    if !is_simple {
        if random.below(8) == 0 {
            let at = random.below(frame.len().min(120));
            frame[at] ^= 1 << random.below(8);
        }
        if random.below(16) == 0 {
            let length = match random.below(2) {
                0 => 14 + random.below(frame.len() - 13),
                _ => frame.len().min(14 + random.below(100)),
            };
            frame.truncate(length);
        }
    }
    Made {
        port,
        frame,
        is_simple,
    }
}

/// An address behind the default route that nothing is wrong with, even under the Well-Known Prefix.
fn client(random: &mut Random) -> Ipv4Addr {
    let [_, b, c, d, ..] = random.number().to_be_bytes();
    match random.below(4) {
        0 => Ipv4Addr::new(9, 9, 9, d),
        _ => Ipv4Addr::new(9, b, c, d),
    }
}

/// The IPv4 address of a service whose next hop is there.
fn service_v4(random: &mut Random) -> Ipv4Addr {
    let last = match random.below(4) {
        0 => 1,
        1 => 17 + random.below(2),
        2 => 32 + random.below(8),
        _ => 64 + random.below(64),
    };
    Ipv4Addr::new(192, 0, 2, last as u8)
}

fn service_v6(random: &mut Random) -> Ipv6Addr {
    let last = random.below(16) as u16;
    match random.below(5) {
        0 => Ipv6Addr::new(0x2001, 0xdb8, 0x12, 0x34, 0, 0, 0, 1),
        1 => Ipv6Addr::new(0x2001, 0xdb8, 0xcccc, 0, 0, 0, 0, last),
        2 => Ipv6Addr::new(0x2001, 0xdb8, 0xdddd, 0, 0, 0, 0, last),
        3 => Ipv6Addr::new(0x2001, 0xdb8, 0xaaaa, 0, 0, last, 0, 0),
        _ => Ipv6Addr::new(0x2001, 0xdb8, 0xeeee, 0, 0, 0, 0, last),
    }
}

/// Services, clients and the relay itself; all that lists speak of; what cannot be reached or is illegal.
fn any_v4(random: &mut Random) -> Ipv4Addr {
    let last = random.number() as u8;
    match random.below(16) {
        0..=3 => service_v4(random),
        4 | 5 => client(random),
        6 => Ipv4Addr::new(192, 0, 2, last),
        7 => Ipv4Addr::new(198, 51, 100, last),
        8 => Ipv4Addr::new(203, 0, 113, 60 + last % 10),
        9 => Ipv4Addr::new(198, 18, 0, last % 6),
        10 => Ipv4Addr::new(100, 64, 0, last),
        11 => Ipv4Addr::new(198, 18, random.one_of(&[64, 65, 66]), last % 16),
        12 => random
            .one_of(&[
                [198, 18, 7, 7],
                [198, 18, 7, 8],
                [198, 18, 0, 255],
                [198, 18, 0, 1],
            ])
            .into(),
        13 => random
            .one_of(&[
                [0, 0, 0, 0],
                [127, 0, 0, 1],
                [169, 254, 1, 1],
                [224, 0, 0, 5],
                [240, 0, 0, 1],
                [255, 255, 255, 255],
            ])
            .into(),
        14 => random
            .one_of(&[
                [10, 1, 2, 3],
                [192, 168, 0, 1],
                [172, 16, 0, 1],
                [192, 0, 0, 8],
            ])
            .into(),
        _ => Ipv4Addr::from_bits(random.number() as u32),
    }
}

fn any_v6(random: &mut Random, prefix: Prefix) -> Ipv6Addr {
    match random.below(12) {
        0..=5 => service_v6(random),
        6..=8 => prefix.embed(any_v4(random)),
        9 => random
            .one_of(&[
                "::1",
                "::",
                "fe80::1",
                "ff02::1",
                "2001:db8:99::1",
                "2001:db8:1::1",
            ])
            .parse()
            .expect("an address"),
        10 => {
            // Octet "u" or the suffix is not zero, as RFC 6052 wants them.
            let bits = prefix.embed(any_v4(random)).to_bits();
            (bits ^ 1 << random.below(128)).into()
        }
        _ => {
            let high = u128::from(random.number()) << 64;
            (high | u128::from(random.number())).into()
        }
    }
}

fn target_v6(random: &mut Random, prefix: Prefix) -> Ipv6Addr {
    match random.below(8) {
        0 => any_v6(random, prefix),
        _ => prefix.embed(any_v4(random)),
    }
}

/// Returns a packet that is right in every way.
fn whole(random: &mut Random, source: IpAddr, destination: IpAddr, is_simple: bool) -> Vec<u8> {
    let icmp = match source {
        IpAddr::V4(_) => ICMP_V4,
        IpAddr::V6(_) => ICMP_V6,
    };
    let protocol = match is_simple {
        true => random.one_of(&[TCP, UDP, UDP, icmp, 47, 50]),
        false => random.one_of(&[TCP, TCP, UDP, UDP, icmp, icmp, 132, 33, 136, 47, 50, 51]),
    };
    let length = match random.below(32) {
        // On the way to some, that is too long.
        0 if !is_simple => random.below(3500),
        1 if !is_simple => 1200 + random.below(300),
        2 if !is_simple && random.below(20) == 0 => 3500 + random.below(5500),
        3 => random.below(1000),
        _ => random.below(64),
    };
    let data = random.octets(length);
    let mut packet = packet(source, destination, protocol, &data);
    let hops = 2 + random.below(254);
    match source {
        IpAddr::V4(_) => {
            packet[1] = random.number() as u8;
            packet[4..6].copy_from_slice(&(random.number() as u16).to_be_bytes());
            if is_simple || random.below(2) == 0 {
                packet[6] |= 0x40;
            }
            packet[8] = hops as u8;
            set_header_checksum(&mut packet);
        }
        IpAddr::V6(_) => {
            let first = 0x6000_0000 | random.number() as u32 & 0x0fff_ffff;
            packet[..4].copy_from_slice(&first.to_be_bytes());
            packet[7] = hops as u8;
        }
    }
    packet
}

/// Does something unusual to a packet. IPv4 header checksums are right again behind most of it.
fn spoil(random: &mut Random, is_v4: bool, packet: &mut Vec<u8>) {
    let header = if is_v4 { 20 } else { 40 };
    let some = random.number() as u8;
    let mut flip = |packet: &mut Vec<u8>, from: usize, to: usize| {
        let at = from + random.below(to - from);
        if let Some(octet) = packet.get_mut(at) {
            *octet ^= some | 1;
        }
    };
    match some % 16 {
        0 => packet[if is_v4 { 8 } else { 7 }] = some >> 4 & 1,
        1 => flip(packet, 0, header),
        2 => flip(packet, header, header + 24),
        3 if is_v4 => packet[6] = some & 0xe0,
        4 if is_v4 => packet[7] = some,
        5 if is_v4 => {
            packet[10] ^= some | 1;
            return;
        }
        6 | 7 if is_v4 => options(random, packet),
        3..=7 => extensions(random, packet),
        // The checksum of UDP.
        8 => packet
            .iter_mut()
            .skip(header + 6)
            .take(2)
            .for_each(|octet| *octet = 0),
        // A segment that opens a connection, with an MSS in most.
        9 => {
            for (at, octet) in [(12, 0x60), (13, 2), (20, 2), (21, 4), (22, 5), (23, 0xb4)] {
                if let Some(place) = packet.get_mut(header + at) {
                    *place = octet;
                }
            }
        }
        // An ICMP message of any type, or what looks like one.
        10 => {
            let kinds = [0, 3, 4, 5, 8, 11, 12, 13, 1, 2, 3, 4, 128, 129, 133, 135];
            if let Some(kind) = packet.get_mut(header) {
                *kind = random.one_of(&kinds);
            }
        }
        11 => {
            packet[if is_v4 { 9 } else { 6 }] = random.one_of(&[
                0, 1, 2, 4, 6, 17, 41, 43, 44, 50, 51, 58, 59, 60, 132, 135, some,
            ]);
        }
        12 => {
            let at = if is_v4 { 2 } else { 4 };
            let length = u16::from_be_bytes([packet[at], packet[at + 1]]);
            let change = random.below(40) as u16;
            let length = match random.below(4) {
                0 => length.wrapping_add(change),
                1 => random.number() as u16,
                _ => length.saturating_sub(change),
            };
            packet[at..at + 2].copy_from_slice(&length.to_be_bytes());
        }
        13 => packet[0] = some,
        14 => {
            let count = 1 + random.below(8);
            for _ in 0..count {
                let at = random.below(packet.len());
                packet[at] = random.number() as u8;
            }
        }
        _ => {
            // Shorter than it says.
            let length = header + random.below(packet.len() - header + 1);
            packet.truncate(length);
        }
    }
    if is_v4 && random.below(16) != 0 {
        set_header_checksum(packet);
    }
}

/// Puts options into an IPv4 header that has none.
fn options(random: &mut Random, packet: &mut Vec<u8>) {
    if packet[0] != 0x45 {
        return;
    }
    let options: [u8; 8] = match random.below(4) {
        0 => [1; 8],
        1 => [131, 7, 4, 10, 0, 0, 1, 0],
        2 => [131, 7, 8, 10, 0, 0, 1, 0],
        _ => random.number().to_be_bytes(),
    };
    packet.splice(20..20, options);
    packet[0] = 0x47;
    let length = u16::from_be_bytes([packet[2], packet[3]]).wrapping_add(8);
    packet[2..4].copy_from_slice(&length.to_be_bytes());
}

/// Puts an extension header behind the IPv6 header.
fn extensions(random: &mut Random, packet: &mut Vec<u8>) {
    let (kind, mut header) = match random.below(5) {
        0 => (0, [0, 0, 1, 4, 0, 0, 0, 0]),
        1 => (60, [0, 0, 1, 4, 0, 0, 0, 0]),
        2 => (43, [0, 0, 0, random.below(2) as u8, 0, 0, 0, 0]),
        3 => (44, [0, 0, 0, 0, 1, 2, 3, 4]),
        _ => (
            44,
            [
                0,
                0,
                random.number() as u8,
                random.number() as u8,
                1,
                2,
                3,
                4,
            ],
        ),
    };
    header[0] = std::mem::replace(&mut packet[6], kind);
    packet.splice(40..40, header);
    let length = u16::from_be_bytes([packet[4], packet[5]]).wrapping_add(8);
    packet[4..6].copy_from_slice(&length.to_be_bytes());
}
