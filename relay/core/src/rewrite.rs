//! How a packet is translated, as a description that a performer carries out on its own kind of buffer.
//!
//! The old network header is cut, the new one put there, and the transport header patched; a packet that is too long
//! leaves in pieces. Nothing here touches a frame.

use crate::wire::{ipv4, ipv6};
use core::net::IpAddr;
use core::ops::Range;

/// How a packet is translated: cut the old network header, put the new one there, patch the transport header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rewrite {
    /// Octets of the packet that the new header replaces: IPv4 header and options, or IPv6 and extension headers.
    pub cut: usize,
    /// The new network header.
    pub header: NetworkHeader,
    /// Octets that follow the new header; whatever the link added behind them is not sent on.
    pub payload: usize,
    /// What changes in the payload.
    pub patch: Patch,
}

/// How a packet is translated that leaves as several fragments (RFC 7915, 4.1 and 5.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split {
    /// What would be done if it fitted. The header is one that can tell a fragment's place.
    pub rewrite: Rewrite,
    /// Octets of payload that each fragment but the last carries; a multiple of eight.
    pub piece: usize,
}

/// One of the fragments of a [`Split`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Its network header.
    pub header: NetworkHeader,
    /// The part of the payload that it carries, in octets from the payload's start.
    pub payload: Range<usize>,
    /// What changes, wherever it is in the whole payload: see [`Patch::perform_from`].
    pub patch: Patch,
}

impl Split {
    /// Returns how to split a packet so that no fragment is longer than `mtu` octets.
    ///
    /// `None` if there is no way: the header cannot tell a fragment's place, the MTU is below the least that IPv4 has
    /// (RFC 791, 3.2), or the packet is a fragment that ends behind the greatest datagram there can be, so that the
    /// offsets of its pieces would come out as small ones.
    pub(crate) fn new(rewrite: Rewrite, mtu: u32) -> Option<Self> {
        let offset = match rewrite.header {
            NetworkHeader::V4(header) => header.fragment_offset,
            NetworkHeader::V6(_) => return None,
            NetworkHeader::V6Fragment(_, fragment) => fragment.offset,
        };
        let end = usize::from(offset) * 8 + rewrite.payload;
        let piece = (mtu as usize).checked_sub(rewrite.header.length())? & !7;
        let is_possible = mtu >= ipv4::MINIMUM_MTU && end <= usize::from(u16::MAX);
        is_possible.then_some(Self { rewrite, piece })
    }

    /// Returns the fragments in order.
    ///
    /// RFC 7915, 4.1: offsets go on from the packet's own if it is a fragment itself, and the last piece inherits its flag.
    pub fn pieces(&self) -> impl Iterator<Item = Piece> + '_ {
        let Rewrite {
            header,
            payload,
            patch,
            ..
        } = self.rewrite;
        (0..payload).step_by(self.piece.max(8)).map(move |start| {
            let end = payload.min(start + self.piece);
            let is_last = end == payload;
            // The datagram is shorter than 65536 octets, so neither number can leave its field.
            let (units, length) = ((start / 8) as u16, (end - start) as u16);
            let header = match header {
                NetworkHeader::V4(header) => NetworkHeader::V4(ipv4::Header {
                    total_length: ipv4::HEADER_LENGTH as u16 + length,
                    fragment_offset: header.fragment_offset + units,
                    mf: header.mf || !is_last,
                    ..header
                }),
                NetworkHeader::V6(header) => NetworkHeader::V6(header),
                NetworkHeader::V6Fragment(header, fragment) => NetworkHeader::V6Fragment(
                    ipv6::Header {
                        payload_length: length,
                        ..header
                    },
                    ipv6::Fragment {
                        offset: fragment.offset + units,
                        more: fragment.more || !is_last,
                        ..fragment
                    },
                ),
            };
            Piece {
                header,
                payload: start..end,
                patch,
            }
        })
    }
}

/// A network header, ready to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkHeader {
    /// An IPv4 header without options.
    V4(ipv4::Header),
    /// An IPv6 header without extension headers.
    V6(ipv6::Header),
    /// An IPv6 header and a Fragment header. The first keeps the protocol and the length of what follows both.
    V6Fragment(ipv6::Header, ipv6::Fragment),
}

impl NetworkHeader {
    /// Returns an IPv6 header, with a Fragment header if there is something for it to say.
    #[inline]
    pub const fn v6(header: ipv6::Header, fragment: Option<ipv6::Fragment>) -> Self {
        match fragment {
            Some(fragment) => Self::V6Fragment(header, fragment),
            None => Self::V6(header),
        }
    }

    /// Returns the address from which the packet comes.
    pub const fn source(&self) -> IpAddr {
        match self {
            Self::V4(header) => IpAddr::V4(header.source),
            Self::V6(header) | Self::V6Fragment(header, _) => IpAddr::V6(header.source),
        }
    }

    /// Returns the address to which the packet goes next.
    pub const fn destination(&self) -> IpAddr {
        match self {
            Self::V4(header) => IpAddr::V4(header.destination),
            Self::V6(header) | Self::V6Fragment(header, _) => IpAddr::V6(header.destination),
        }
    }

    /// Returns the header's length in octets.
    #[inline]
    pub const fn length(&self) -> usize {
        match self {
            Self::V4(_) => ipv4::HEADER_LENGTH,
            Self::V6(_) => ipv6::HEADER_LENGTH,
            Self::V6Fragment(..) => ipv6::HEADER_LENGTH + ipv6::FRAGMENT_HEADER_LENGTH,
        }
    }

    /// Writes the header to `output`, which is [`length`](Self::length) octets long.
    #[inline]
    pub fn emit(&self, output: &mut [u8]) {
        match self {
            Self::V4(header) => output.copy_from_slice(&header.emit()),
            Self::V6(header) => output.copy_from_slice(&header.emit()),
            Self::V6Fragment(header, fragment) => {
                let outer = ipv6::Header {
                    next_header: ipv6::FRAGMENT,
                    payload_length: header
                        .payload_length
                        .saturating_add(ipv6::FRAGMENT_HEADER_LENGTH as u16),
                    ..*header
                };
                if let Some((first, rest)) = output.split_first_chunk_mut() {
                    *first = outer.emit();
                    rest.copy_from_slice(&fragment.emit(header.next_header));
                }
            }
        }
    }
}

/// A change in the payload of a translated packet; offsets count from the payload's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patch {
    /// The payload stays as it is.
    None,
    /// A new checksum in host order goes to the two octets at offset `at`.
    Checksum {
        /// Offset of the checksum in octets.
        at: usize,
        /// The checksum, host order.
        checksum: u16,
    },
    /// A lower Maximum Segment Size and a new checksum go to a TCP header at the payload's start.
    TcpMss {
        /// Offset of the option's value in octets, which may be odd.
        at: usize,
        /// The Maximum Segment Size, host order.
        mss: u16,
        /// The checksum in host order, at offset 16.
        checksum: u16,
    },
    /// A new type and a new checksum go to an ICMP header at the payload's start.
    Icmp {
        /// The ICMP type, at offset 0.
        kind: u8,
        /// The checksum in host order, at offset 2.
        checksum: u16,
    },
}

impl Patch {
    /// Performs the change on a payload. What lies behind its end is not changed.
    #[inline]
    pub fn perform(&self, payload: &mut [u8]) {
        self.perform_from(0, payload);
    }

    /// Performs what the change means for a part of a payload that begins at octet `start` of the whole. What lies outside
    /// of it is not changed.
    #[inline]
    pub fn perform_from(&self, start: usize, part: &mut [u8]) {
        let mut write = |at: usize, octets: &[u8]| {
            for (at, octet) in (at..).zip(octets) {
                if let Some(place) = at.checked_sub(start).and_then(|at| part.get_mut(at)) {
                    *place = *octet;
                }
            }
        };
        match *self {
            Self::None => {}
            Self::Checksum { at, checksum } => write(at, &checksum.to_be_bytes()),
            Self::TcpMss { at, mss, checksum } => {
                write(at, &mss.to_be_bytes());
                write(16, &checksum.to_be_bytes());
            }
            Self::Icmp { kind, checksum } => {
                write(0, &[kind]);
                write(2, &checksum.to_be_bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESSES: (core::net::Ipv4Addr, core::net::Ipv6Addr) = (
        core::net::Ipv4Addr::LOCALHOST,
        core::net::Ipv6Addr::LOCALHOST,
    );

    /// A header that says to be a fragment with this offset in units of eight octets and this M flag.
    fn fragment(is_v4: bool, offset: u16, more: bool) -> NetworkHeader {
        let (v4, v6) = ADDRESSES;
        if is_v4 {
            return NetworkHeader::V4(ipv4::Header {
                tos: 0,
                total_length: 0xa5a5,
                identification: 0x1234,
                df: false,
                mf: more,
                fragment_offset: offset,
                ttl: 63,
                protocol: 17,
                source: v4,
                destination: v4,
            });
        }
        let header = ipv6::Header {
            traffic_class: 0,
            payload_length: 0xa5a5,
            next_header: 17,
            hop_limit: 63,
            source: v6,
            destination: v6,
        };
        let identification = 0x1234;
        NetworkHeader::V6Fragment(
            header,
            ipv6::Fragment {
                offset,
                more,
                identification,
            },
        )
    }

    /// What a header says of its fragment: offset in octets, M flag, octets of payload and Identification.
    fn place(header: &NetworkHeader) -> (usize, bool, usize, u32) {
        match header {
            NetworkHeader::V4(header) => (
                usize::from(header.fragment_offset) * 8,
                header.mf,
                usize::from(header.total_length) - ipv4::HEADER_LENGTH,
                u32::from(header.identification),
            ),
            NetworkHeader::V6Fragment(header, fragment) => (
                usize::from(fragment.offset) * 8,
                fragment.more,
                usize::from(header.payload_length),
                fragment.identification,
            ),
            NetworkHeader::V6(_) => panic!("a piece without a place"),
        }
    }

    fn check_pieces(split: &Split, mtu: u32) {
        let (offset, more, ..) = place(&split.rewrite.header);
        let (mut covered, mut is_last) = (0, false);
        for piece in split.pieces() {
            assert!(!is_last, "a piece behind the last one");
            let length = piece.payload.len();
            assert!(length > 0 && piece.header.length() + length <= mtu as usize);
            assert_eq!(piece.payload.start, covered);
            covered = piece.payload.end;
            is_last = covered == split.rewrite.payload;
            assert!(is_last || length % 8 == 0);
            // A longer piece would not fit.
            assert!(is_last || piece.header.length() + length + 8 > mtu as usize);
            let expected = (
                offset + piece.payload.start,
                more || !is_last,
                length,
                0x1234,
            );
            assert_eq!(place(&piece.header), expected);
            assert_eq!(piece.patch, split.rewrite.patch);
        }
        assert!(is_last, "a piece is missing");
    }

    #[test]
    fn pieces_cover_the_payload_and_fit() {
        // xorshift64 with a fixed seed.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        let (mut possible, mut impossible) = (0, 0);
        for _ in 0..20_000 {
            let furthest = 1 + random(8191);
            let offset = random(furthest) as u16;
            let header = fragment(random(2) == 0, offset, random(2) == 0);
            let patch = Patch::Checksum {
                at: 6,
                checksum: 0xbeef,
            };
            let rewrite = Rewrite {
                cut: 20,
                header,
                payload: 1 + random(65515) as usize,
                patch,
            };
            let (offset, ..) = place(&header);
            let mtu = 68 + random(3000) as u32;
            match Split::new(rewrite, mtu) {
                Some(split) => {
                    assert!(offset + rewrite.payload <= 65535);
                    check_pieces(&split, mtu);
                    possible += 1;
                }
                None => {
                    assert!(offset + rewrite.payload > 65535);
                    impossible += 1;
                }
            }
        }
        assert!(
            possible > 5000 && impossible > 1000,
            "{possible} {impossible}"
        );
    }

    #[test]
    fn a_change_reaches_each_piece_that_it_concerns() {
        let patch = Patch::TcpMss {
            at: 47,
            mss: 0x0102,
            checksum: 0x0304,
        };
        let mut whole = [0xa5; 64];
        patch.perform(&mut whole);
        let mut expected = [0xa5; 64];
        (expected[16], expected[17]) = (3, 4);
        (expected[47], expected[48]) = (1, 2);
        assert_eq!(whole, expected);
        for cut in 0..=64 {
            let mut pieces = [0xa5; 64];
            let (first, second) = pieces.split_at_mut(cut);
            patch.perform_from(0, first);
            patch.perform_from(cut, second);
            assert_eq!(pieces, expected, "cut at {cut}");
        }
    }

    #[test]
    fn what_cannot_be_split() {
        let rewrite = |header| Rewrite {
            cut: 20,
            header,
            payload: 1300,
            patch: Patch::None,
        };
        let NetworkHeader::V6Fragment(whole, _) = fragment(false, 0, false) else {
            panic!("asked for a fragment")
        };
        assert_eq!(Split::new(rewrite(NetworkHeader::V6(whole)), 1280), None);
        for is_v4 in [true, false] {
            let header = fragment(is_v4, 0, false);
            assert_eq!(Split::new(rewrite(header), 67), None);
            assert!(Split::new(rewrite(header), 68).is_some());
        }
        // The greatest datagram has 65535 octets.
        let last = fragment(false, (65535 - 1300) / 8, false);
        assert!(Split::new(rewrite(last), 1280).is_some());
        let beyond = fragment(false, (65535 - 1300) / 8 + 1, false);
        assert_eq!(Split::new(rewrite(beyond), 1280), None);
    }
}
