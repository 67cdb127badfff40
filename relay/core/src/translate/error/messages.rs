//! Types, codes, pointers and MTUs of ICMP errors: the tables of RFC 7915, 4.2 and 5.2.

use crate::reasons::DropReason;
use crate::wire::{icmp, ipv6};

/// MTUs in octets of the next hops on both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mtus {
    pub(super) v4: u32,
    pub(super) v6: u32,
}

/// The header of a translated error, but for the checksum and the length of what it quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Message {
    kind: u8,
    code: u8,
    /// The last four octets: unused, a pointer, or an MTU.
    rest: u32,
    /// Where the length of the quoted packet goes, if the message may have extensions (RFC 4884, 4).
    pub(super) length_at: Option<usize>,
}

impl Message {
    /// Returns the header with a zero checksum.
    pub(super) fn emit(&self, length_field: u8) -> [u8; icmp::HEADER_LENGTH] {
        let [r0, r1, r2, r3] = self.rest.to_be_bytes();
        let mut octets = [self.kind, self.code, 0, 0, r0, r1, r2, r3];
        if let Some(field) = self.length_at.and_then(|at| octets.get_mut(at)) {
            *field = length_field;
        }
        octets
    }
}

/// Offset of the length in ICMPv4 messages that may have extensions (RFC 4884, 4.1 to 4.3), in words of 32 bits.
pub(super) const LENGTH_AT_V4: usize = 5;
/// Offset of the length in ICMPv6 messages that may have extensions (RFC 4884, 4.4 and 4.5), in words of 64 bits.
pub(super) const LENGTH_AT_V6: usize = 4;

/// Translates type, code, pointer and MTU of an ICMPv4 error (RFC 7915, 4.2).
///
/// `quoted_length` is the Total Length of the quoted packet.
pub(super) fn v4_to_v6(
    fields: [u8; icmp::HEADER_LENGTH],
    quoted_length: u16,
    mtus: Mtus,
    plateaus: &[u16],
) -> Result<Message, DropReason> {
    let [kind, code, _, _, pointer, _, m0, m1] = fields;
    let unreachable = |code| Message {
        kind: 1,
        code,
        rest: 0,
        length_at: Some(LENGTH_AT_V6),
    };
    let problem = |code, pointer| Message {
        kind: 4,
        code,
        rest: pointer,
        length_at: None,
    };
    Ok(match (kind, code) {
        // "Code 0, 1 (Net Unreachable, Host Unreachable): Set the Code to 0"; 5 to 8, 11 and 12 likewise.
        (3, 0 | 1 | 5..=8 | 11 | 12) => unreachable(0),
        // "Code 2 (Protocol Unreachable): Translate to an ICMPv6 Parameter Problem (Type 4, Code 1) and make the Pointer
        // point to the IPv6 Next Header field."
        (3, 2) => problem(1, 6),
        // "Code 3 (Port Unreachable): Set the Code to 4".
        (3, 3) => unreachable(4),
        // "Code 4 (Fragmentation Needed and DF was Set): Translate to an ICMPv6 Packet Too Big message".
        (3, 4) => {
            let rest = packet_too_big(u16::from_be_bytes([m0, m1]), quoted_length, mtus, plateaus);
            Message {
                kind: 2,
                code: 0,
                rest,
                length_at: None,
            }
        }
        // "Code 9, 10 [...] 13 [...] 15: Set the Code to 1".
        (3, 9 | 10 | 13 | 15) => unreachable(1),
        // "Time Exceeded (Type 11): Set the Type to 3 [...]. The Code is unchanged."
        (11, code) => Message {
            kind: 3,
            code,
            rest: 0,
            length_at: Some(LENGTH_AT_V6),
        },
        // "Code 0 (Pointer indicates the error) [...]. Code 2 (Bad length): Set the Code to 0".
        (12, 0 | 2) => problem(
            0,
            pointer_v4_to_v6(pointer).ok_or(DropReason::UntranslatableIcmp)?,
        ),
        // "Code 14 (Host Precedence Violation): Silently drop. [...] Other Code values: Silently drop."
        _ => return Err(DropReason::UntranslatableIcmp),
    })
}

/// Returns the MTU of a Packet Too Big message.
fn packet_too_big(mtu: u16, quoted_length: u16, mtus: Mtus, plateaus: &[u16]) -> u32 {
    let mtu = match mtu {
        // "if the IPv4 router set the MTU field to zero [...] Use the greatest plateau value that is less than the returned
        // Total Length field, but that is larger than or equal to 1280."
        0 => plateaus
            .iter()
            .copied()
            .filter(|plateau| (1280..quoted_length).contains(plateau))
            .max()
            .unwrap_or(0),
        mtu => mtu,
    };
    // "maximum(1280, minimum((MTU value in the Packet Too Big Message) + 20, MTU_of_IPv6_nexthop, (MTU_of_IPv4_nexthop) +
    // 20))"
    (u32::from(mtu) + 20)
        .min(mtus.v6)
        .min(mtus.v4.saturating_add(20))
        .max(ipv6::MINIMUM_MTU)
}

/// RFC 7915, figure 3.
fn pointer_v4_to_v6(pointer: u8) -> Option<u32> {
    Some(match pointer {
        0 => 0,
        1 => 1,
        2 | 3 => 4,
        8 => 7,
        9 => 6,
        12..=15 => 8,
        16..=19 => 24,
        _ => return None,
    })
}

/// Translates type, code, pointer and MTU of an ICMPv6 error (RFC 7915, 5.2).
pub(super) fn v6_to_v4(
    fields: [u8; icmp::HEADER_LENGTH],
    quotes_fragment: bool,
    mtus: Mtus,
) -> Result<Message, DropReason> {
    let [kind, code, _, _, rest @ ..] = fields;
    let rest = u32::from_be_bytes(rest);
    let unreachable = |code| Message {
        kind: 3,
        code,
        rest: 0,
        length_at: Some(LENGTH_AT_V4),
    };
    Ok(match (kind, code) {
        // "Code 0 (No route to destination): Set the Code to 1 (Host unreachable)"; 2 and 3 likewise.
        (1, 0 | 2 | 3) => unreachable(1),
        // "Code 1 [...]: Set the Code to 10".
        (1, 1) => unreachable(10),
        // "Code 4 (Port unreachable): Set the Code to 3".
        (1, 4) => unreachable(3),
        // "Packet Too Big (Type 2): Translate to an ICMPv4 Destination Unreachable (Type 3) with Code 4 [...] taking into
        // account whether or not the packet in error includes a Fragment Header, i.e., minimum((MTU value in the Packet Too
        // Big Message)-20, MTU_of_IPv4_nexthop, (MTU_of_IPv6_nexthop)-20)".
        (2, _) => {
            let difference = if quotes_fragment { 28 } else { 20 };
            let mtu = rest
                .saturating_sub(difference)
                .min(mtus.v4)
                .min(mtus.v6.saturating_sub(difference));
            // RFC 791: no IPv4 link has an MTU below 68; the field has 16 bits.
            Message {
                rest: mtu.clamp(68, u32::from(u16::MAX)),
                ..unreachable(4)
            }
        }
        // "Time Exceeded (Type 3): Set the Type to 11 [...]. The Code is unchanged."
        (3, code) => Message {
            kind: 11,
            ..unreachable(code)
        },
        // "Code 0 (Erroneous header field encountered): Set to Type 12, Code 0, and update the pointer".
        (4, 0) => {
            let pointer = pointer_v6_to_v4(rest).ok_or(DropReason::UntranslatableIcmp)?;
            Message {
                kind: 12,
                rest: pointer << 24,
                ..unreachable(0)
            }
        }
        // "Code 1 (Unrecognized Next Header type encountered): Translate this to an ICMPv4 protocol unreachable".
        (4, 1) => unreachable(2),
        // "Other Code values: Silently drop. [...] Unknown error messages: Silently drop."
        _ => return Err(DropReason::UntranslatableIcmp),
    })
}

/// RFC 7915, figure 6.
fn pointer_v6_to_v4(pointer: u32) -> Option<u32> {
    Some(match pointer {
        0 => 0,
        1 => 1,
        4 | 5 => 2,
        6 => 9,
        7 => 8,
        8..=23 => 12,
        24..=39 => 16,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDE: Mtus = Mtus {
        v4: 65535,
        v6: 65535,
    };
    const PLATEAUS: [u16; 11] = [
        65535, 32000, 17914, 8166, 4352, 2002, 1492, 1006, 508, 296, 68,
    ];

    /// The octets of a translated header without the checksum: type, code and the last four.
    fn octets(message: Message) -> (u8, u8, [u8; 4]) {
        let [kind, code, _, _, rest @ ..] = message.emit(0);
        (kind, code, rest)
    }

    fn to_v6(kind: u8, code: u8, rest: [u8; 4], mtus: Mtus) -> Option<(u8, u8, [u8; 4])> {
        let [r0, r1, r2, r3] = rest;
        let fields = [kind, code, 0xa5, 0xa5, r0, r1, r2, r3];
        v4_to_v6(fields, 1500, mtus, &PLATEAUS).ok().map(octets)
    }

    fn to_v4(kind: u8, code: u8, rest: u32, fragment: bool, mtus: Mtus) -> Option<(u8, u8, u32)> {
        let [r0, r1, r2, r3] = rest.to_be_bytes();
        let fields = [kind, code, 0xa5, 0xa5, r0, r1, r2, r3];
        let (kind, code, rest) = octets(v6_to_v4(fields, fragment, mtus).ok()?);
        Some((kind, code, u32::from_be_bytes(rest)))
    }

    /// RFC 7915, 4.2, code by code.
    #[test]
    fn every_icmpv4_code() {
        for code in 0..=255 {
            let expected = match code {
                0 | 1 | 5 | 6 | 7 | 8 | 11 | 12 => Some((1, 0, [0; 4])),
                2 => Some((4, 1, [0, 0, 0, 6])),
                3 => Some((1, 4, [0; 4])),
                4 => Some((2, 0, 1420u32.to_be_bytes())),
                9 | 10 | 13 | 15 => Some((1, 1, [0; 4])),
                _ => None,
            };
            let rest = [0xa5, 0, 5, 120];
            assert_eq!(to_v6(3, code, rest, WIDE), expected, "code {code}");
            assert_eq!(to_v6(11, code, [0xa5; 4], WIDE), Some((3, code, [0; 4])));
            let problem = match code {
                0 | 2 => Some((4, 0, [0, 0, 0, 7])),
                _ => None,
            };
            assert_eq!(to_v6(12, code, [8, 0xa5, 0xa5, 0xa5], WIDE), problem);
        }
        for kind in (0..=255).filter(|kind| ![3, 11, 12].contains(kind)) {
            assert_eq!(to_v6(kind, 0, [0; 4], WIDE), None, "type {kind}");
        }
    }

    /// RFC 7915, 5.2, code by code.
    #[test]
    fn every_icmpv6_code() {
        for code in 0..=255 {
            let unreachable = match code {
                0 | 2 | 3 => Some((3, 1, 0)),
                1 => Some((3, 10, 0)),
                4 => Some((3, 3, 0)),
                _ => None,
            };
            assert_eq!(to_v4(1, code, 0xa5a5_a5a5, false, WIDE), unreachable);
            assert_eq!(to_v4(2, code, 1400, false, WIDE), Some((3, 4, 1380)));
            assert_eq!(
                to_v4(3, code, 0xa5a5_a5a5, false, WIDE),
                Some((11, code, 0))
            );
            let problem = match code {
                0 => Some((12, 0, 9 << 24)),
                1 => Some((3, 2, 0)),
                _ => None,
            };
            assert_eq!(to_v4(4, code, 6, false, WIDE), problem, "code {code}");
        }
        for kind in (0..=255).filter(|kind| !(1..=4).contains(kind)) {
            assert_eq!(to_v4(kind, 0, 0, false, WIDE), None, "type {kind}");
        }
    }

    /// RFC 7915, figures 3 and 6, row by row.
    #[test]
    fn pointers() {
        let figure_3 = [
            (0..=0, Some(0)),
            (1..=1, Some(1)),
            (2..=3, Some(4)),
            (4..=7, None),
            (8..=8, Some(7)),
            (9..=9, Some(6)),
            (10..=11, None),
            (12..=15, Some(8)),
            (16..=19, Some(24)),
            (20..=255, None),
        ];
        for (pointers, expected) in figure_3 {
            for pointer in pointers {
                assert_eq!(pointer_v4_to_v6(pointer), expected, "{pointer}");
            }
        }
        let figure_6 = [
            (0..=0, Some(0)),
            (1..=1, Some(1)),
            (2..=3, None),
            (4..=5, Some(2)),
            (6..=6, Some(9)),
            (7..=7, Some(8)),
            (8..=23, Some(12)),
            (24..=39, Some(16)),
            (40..=300, None),
            (u32::MAX..=u32::MAX, None),
        ];
        for (pointers, expected) in figure_6 {
            for pointer in pointers {
                assert_eq!(pointer_v6_to_v4(pointer), expected, "{pointer}");
            }
        }
    }

    #[test]
    fn mtus_towards_ipv6() {
        let mtu =
            |reported, quoted, v4, v6| packet_too_big(reported, quoted, Mtus { v4, v6 }, &PLATEAUS);
        assert_eq!(mtu(1400, 1500, 1500, 1500), 1420);
        assert_eq!(mtu(1480, 1500, 1500, 1490), 1490);
        assert_eq!(mtu(1480, 1500, 1400, 1500), 1420);
        assert_eq!(mtu(1259, 1500, 1500, 1500), 1280);
        assert_eq!(mtu(1261, 1500, 1500, 1500), 1281);
        assert_eq!(mtu(65535, 65535, u32::MAX, u32::MAX), 65555);
        // RFC 1191, 7.1: the plateau below the packet, not the one that it has.
        assert_eq!(mtu(0, 1493, 9000, 9000), 1512);
        assert_eq!(mtu(0, 1492, 9000, 9000), 1280);
        assert_eq!(mtu(0, 2002, 9000, 9000), 1512);
        assert_eq!(mtu(0, 65535, u32::MAX, u32::MAX), 32020);
        assert_eq!(mtu(0, 40, 9000, 9000), 1280);
    }

    #[test]
    fn mtus_towards_ipv4() {
        let mtu = |reported, fragment, v4, v6| {
            to_v4(2, 0, reported, fragment, Mtus { v4, v6 }).map(|(_, _, mtu)| mtu)
        };
        assert_eq!(mtu(1400, false, 1500, 1500), Some(1380));
        assert_eq!(mtu(1400, true, 1500, 1500), Some(1372));
        assert_eq!(mtu(1480, false, 1400, 1500), Some(1400));
        assert_eq!(mtu(1500, false, 1500, 1420), Some(1400));
        assert_eq!(mtu(1500, true, 1500, 1420), Some(1392));
        assert_eq!(mtu(0, false, 1500, 1500), Some(68));
        assert_eq!(mtu(u32::MAX, false, u32::MAX, u32::MAX), Some(65535));
    }

    #[test]
    fn lengths_go_where_extensions_may_follow() {
        let header = |kind, code| {
            let fields = [kind, code, 0, 0, 0, 0, 5, 120];
            v4_to_v6(fields, 1500, WIDE, &PLATEAUS).unwrap().emit(0xa5)
        };
        assert_eq!(header(3, 0)[4..], [0xa5, 0, 0, 0]);
        assert_eq!(header(11, 0)[4..], [0xa5, 0, 0, 0]);
        // RFC 4884, 4.6: "these messages lack space for a length attribute".
        assert_eq!(header(3, 4)[4..], 1420u32.to_be_bytes());
        assert_eq!(header(3, 2)[4..], [0, 0, 0, 6]);
        assert_eq!(header(12, 0)[4..], [0, 0, 0, 0]);
        let header = |kind, code| {
            let fields = [kind, code, 0, 0, 0, 0, 0, 6];
            v6_to_v4(fields, false, WIDE).unwrap().emit(0xa5)
        };
        assert_eq!(header(1, 0)[4..], [0, 0xa5, 0, 0]);
        assert_eq!(header(2, 0)[4..], [0, 0xa5, 0, 68]);
        assert_eq!(header(3, 0)[4..], [0, 0xa5, 0, 0]);
        assert_eq!(header(4, 0)[4..], [9, 0xa5, 0, 0]);
        assert_eq!(header(4, 1)[4..], [0, 0xa5, 0, 0]);
    }
}
