//! Types, codes, pointers and MTUs of ICMP errors: the tables of RFC 7915, 4.2 and 5.2.

use crate::verdict::DropReason;
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
