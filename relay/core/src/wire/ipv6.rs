//! The IPv6 header and its extension headers (RFC 8200).

use super::{Malformed, Octets};
use core::net::Ipv6Addr;

/// Length of the fixed header, in octets.
pub const HEADER_LENGTH: usize = 40;

/// The smallest MTU that an IPv6 link may have, in octets (RFC 8200, 5).
pub const MINIMUM_MTU: u32 = 1280;

/// The most extension headers that are walked in one packet.
///
/// RFC 8200, 4.1 recommends at most seven; a longer chain serves nobody but who wants to keep a router busy.
pub const MAX_EXTENSION_HEADERS: usize = 16;

/// Length of a Fragment header, in octets.
pub const FRAGMENT_HEADER_LENGTH: usize = 8;

pub(crate) const HOP_BY_HOP_OPTIONS: u8 = 0;
pub(crate) const ROUTING: u8 = 43;
/// The next-header number of a Fragment header.
pub const FRAGMENT: u8 = 44;
pub(crate) const AUTHENTICATION: u8 = 51;
pub(crate) const DESTINATION_OPTIONS: u8 = 60;

/// The fields of an IPv6 header. The flow label is not kept: the translator never copies one.
///
/// Addresses come first and aligned, so that whoever copies the value moves words which it can read again at once.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Source address.
    pub source: Ipv6Addr,
    /// Destination address.
    pub destination: Ipv6Addr,
    /// Octets behind the fixed header.
    pub payload_length: u16,
    /// Traffic Class, all eight bits.
    pub traffic_class: u8,
    /// Protocol number of what follows.
    pub next_header: u8,
    /// Hop limit.
    pub hop_limit: u8,
}

/// Returns the first eight octets of a header as a number, host order; the flow label is zero (RFC 7915, 4.1).
#[inline(always)]
pub(crate) const fn front(
    traffic_class: u8,
    payload_length: u16,
    next_header: u8,
    hop_limit: u8,
) -> u64 {
    6 << 60
        | (traffic_class as u64) << 52
        | (payload_length as u64) << 16
        | (next_header as u64) << 8
        | hop_limit as u64
}

/// Where the extension headers of a packet end, and what is behind them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upper {
    /// Protocol number of the first header that is not an extension header to skip.
    pub protocol: u8,
    /// Octets from the start of the packet to that header.
    pub offset: usize,
    /// The Fragment header, if there is one; `offset` lies behind it.
    pub fragment: Option<Fragment>,
}

/// The fields of a Fragment header (RFC 8200, 4.5), without its next header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Offset in units of eight octets.
    pub offset: u16,
    /// The M flag: more fragments follow.
    pub more: bool,
    /// Identification.
    pub identification: u32,
}

impl Fragment {
    /// Says whether the packet is whole all the same: an atomic fragment (RFC 6946).
    #[inline]
    pub const fn is_atomic(&self) -> bool {
        self.offset == 0 && !self.more
    }

    /// Parses the octets of a Fragment header; returns its next header too.
    #[inline]
    pub const fn parse(octets: [u8; FRAGMENT_HEADER_LENGTH]) -> (u8, Self) {
        let [next_header, _, o0, o1, i0, i1, i2, i3] = octets;
        let offset = u16::from_be_bytes([o0, o1]);
        let identification = u32::from_be_bytes([i0, i1, i2, i3]);
        (
            next_header,
            Self {
                offset: offset >> 3,
                more: offset & 1 != 0,
                identification,
            },
        )
    }

    /// Returns the octets of a Fragment header in front of `next_header`.
    #[inline]
    pub const fn emit(&self, next_header: u8) -> [u8; FRAGMENT_HEADER_LENGTH] {
        let [o0, o1] = (self.offset << 3 | self.more as u16).to_be_bytes();
        let [i0, i1, i2, i3] = self.identification.to_be_bytes();
        [next_header, 0, o0, o1, i0, i1, i2, i3]
    }
}

/// Why the walk over extension headers found no upper layer to translate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// A header is truncated, or there are more than [`MAX_EXTENSION_HEADERS`].
    Malformed,
    /// A Routing header has segments left.
    SegmentsLeft {
        /// Octets from the start of the packet to the Segments Left field.
        pointer: usize,
    },
    /// An extension header stands behind a Fragment header.
    ExtensionInFragment,
}

impl Header {
    /// Parses the fixed header at the start of `packet`.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if the version is not 6, or if header or payload do not fit into what is there.
    #[inline]
    pub fn parse<O: Octets + ?Sized>(packet: &O) -> Result<Self, Malformed> {
        let header = Self::parse_quoted(packet)?;
        if HEADER_LENGTH + usize::from(header.payload_length) > packet.len() {
            return Err(Malformed);
        }
        Ok(header)
    }

    /// Parses the fixed header of a packet that an ICMP error quotes, which may be cut off behind it.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if the version is not 6 or the header is not all there.
    #[inline]
    pub fn parse_quoted<O: Octets + ?Sized>(packet: &O) -> Result<Self, Malformed> {
        let [v0, v1, _, _, l0, l1, next_header, hop_limit] =
            packet.load::<8>(0).ok_or(Malformed)?;
        let source = packet.load::<16>(8).ok_or(Malformed)?;
        let destination = packet.load::<16>(24).ok_or(Malformed)?;
        if v0 >> 4 != 6 {
            return Err(Malformed);
        }
        Ok(Self {
            traffic_class: v0 << 4 | v1 >> 4,
            payload_length: u16::from_be_bytes([l0, l1]),
            next_header,
            hop_limit,
            source: Ipv6Addr::from(source),
            destination: Ipv6Addr::from(destination),
        })
    }

    /// Returns the header's forty octets; the flow label is zero (RFC 7915, 4.1).
    #[inline]
    pub fn emit(&self) -> [u8; HEADER_LENGTH] {
        let mut octets = [0; HEADER_LENGTH];
        let (first, rest) = octets.split_at_mut(8);
        let (source, destination) = rest.split_at_mut(16);
        let front = front(
            self.traffic_class,
            self.payload_length,
            self.next_header,
            self.hop_limit,
        );
        first.copy_from_slice(&front.to_be_bytes());
        source.copy_from_slice(&self.source.octets());
        destination.copy_from_slice(&self.destination.octets());
        octets
    }

    /// Walks the extension headers of `packet` to the upper layer.
    ///
    /// Hop-by-Hop Options, Destination Options and Routing headers without segments left are skipped in any order and
    /// number (RFC 7915, 5.1). ESP and AH are upper layers here: neither can be seen through.
    ///
    /// `end` is the offset at which the packet ends; that of a quoted packet may lie before the end of its payload.
    /// Segments that a quoted packet had left are nobody's business any more: `is_quoted` skips them.
    ///
    /// # Errors
    ///
    /// [`Obstacle`] says why there is no upper layer to translate.
    #[inline]
    pub fn upper<O: Octets + ?Sized>(
        &self,
        packet: &O,
        end: usize,
        is_quoted: bool,
    ) -> Result<Upper, Obstacle> {
        let mut upper = Upper {
            protocol: self.next_header,
            offset: HEADER_LENGTH,
            fragment: None,
        };
        for _ in 0..=MAX_EXTENSION_HEADERS {
            match upper.protocol {
                HOP_BY_HOP_OPTIONS | ROUTING | DESTINATION_OPTIONS | FRAGMENT | AUTHENTICATION
                    if upper.fragment.is_some() =>
                {
                    // RFC 7915, 5.1.1: "If the Next Header field of the Fragment Header is an extension header (except
                    // ESP, but including the Authentication Header (AH)), then the packet SHOULD be dropped".
                    return Err(Obstacle::ExtensionInFragment);
                }
                HOP_BY_HOP_OPTIONS | ROUTING | DESTINATION_OPTIONS => {}
                FRAGMENT => {
                    let next = upper.offset + FRAGMENT_HEADER_LENGTH;
                    let octets = packet.load(upper.offset).ok_or(Obstacle::Malformed)?;
                    if next > end {
                        return Err(Obstacle::Malformed);
                    }
                    let (protocol, fragment) = Fragment::parse(octets);
                    upper = Upper {
                        protocol,
                        offset: next,
                        fragment: Some(fragment),
                    };
                    continue;
                }
                _ => return Ok(upper),
            }
            // Each begins with a next header, a length in units of eight octets beyond the first eight, and four more
            // octets; the fourth octet of a Routing header is Segments Left (RFC 8200, 4.3, 4.4, 4.6).
            let [next_header, length, _, segments_left] =
                packet.load::<4>(upper.offset).ok_or(Obstacle::Malformed)?;
            let next = upper.offset + 8 + 8 * usize::from(length);
            if next > end {
                return Err(Obstacle::Malformed);
            }
            if upper.protocol == ROUTING && segments_left != 0 && !is_quoted {
                return Err(Obstacle::SegmentsLeft {
                    pointer: upper.offset + 3,
                });
            }
            upper = Upper {
                protocol: next_header,
                offset: next,
                fragment: None,
            };
        }
        Err(Obstacle::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: Header = Header {
        traffic_class: 0xb9,
        payload_length: 8,
        next_header: 17,
        hop_limit: 63,
        source: Ipv6Addr::new(0x2001, 0xdb8, 0x12, 0x34, 0, 0, 0, 1),
        destination: Ipv6Addr::new(0x2001, 0xdb8, 0x46, 0, 0, 0, 0xcb00, 0x7132),
    };

    fn packet() -> [u8; 48] {
        let mut packet = [0xa5; 48];
        packet[..40].copy_from_slice(&HEADER.emit());
        packet
    }

    #[test]
    fn parse_and_emit_are_inverse() {
        let octets = HEADER.emit();
        assert_eq!(octets[..8], [0x6b, 0x90, 0, 0, 0, 8, 17, 63]);
        assert_eq!(Header::parse(&packet()[..]), Ok(HEADER));
    }

    #[test]
    fn a_flow_label_does_not_change_the_traffic_class() {
        let mut packet = packet();
        (packet[1], packet[2], packet[3]) = (packet[1] | 0x0f, 0xff, 0xff);
        assert_eq!(Header::parse(&packet[..]), Ok(HEADER));
    }

    #[test]
    fn what_does_not_fit_is_malformed() {
        for length in 0..48 {
            assert_eq!(
                Header::parse(&packet()[..length]),
                Err(Malformed),
                "length {length}"
            );
        }
        let mut packet = packet();
        packet[0] = 0x4b;
        assert_eq!(Header::parse(&packet[..]), Err(Malformed));
    }

    /// Walks `extensions` in front of nothing; the fixed header announces `first`.
    fn walk(first: u8, extensions: &[u8]) -> Result<(u8, usize), Obstacle> {
        let mut packet = [0; 400];
        let header = Header {
            next_header: first,
            payload_length: extensions.len() as u16,
            ..HEADER
        };
        packet[..40].copy_from_slice(&header.emit());
        packet[40..40 + extensions.len()].copy_from_slice(extensions);
        header
            .upper(&packet[..], 40 + extensions.len(), false)
            .map(|upper| (upper.protocol, upper.offset))
    }

    #[test]
    fn extension_headers_are_skipped_in_any_order() {
        assert_eq!(walk(17, &[]), Ok((17, 40)));
        assert_eq!(walk(0, &[6, 0, 1, 4, 0, 0, 0, 0]), Ok((6, 48)));
        let chain = [
            0, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            0, // Destination Options, sixteen octets
            43, 0, 1, 4, 0, 0, 0, 0, // Hop-by-Hop Options
            60, 0, 0, 0, 0, 0, 0, 0, // Routing, no segments left
            58, 0, 1, 4, 0, 0, 0, 0, // Destination Options
        ];
        assert_eq!(walk(60, &chain), Ok((58, 80)));
    }

    #[test]
    fn esp_authentication_and_no_next_header_are_upper_layers() {
        for protocol in [50, 51, 59] {
            assert_eq!(walk(protocol, &[0; 8]), Ok((protocol, 40)));
        }
    }

    #[test]
    fn obstacles() {
        assert_eq!(
            walk(43, &[6, 0, 0, 1, 0, 0, 0, 0]),
            Err(Obstacle::SegmentsLeft { pointer: 43 })
        );
        // Truncated in the header, behind it, or by its own length.
        assert_eq!(walk(0, &[]), Err(Obstacle::Malformed));
        assert_eq!(walk(0, &[6, 0, 1, 4]), Err(Obstacle::Malformed));
        assert_eq!(
            walk(60, &[6, 1, 1, 4, 0, 0, 0, 0]),
            Err(Obstacle::Malformed)
        );
    }

    #[test]
    fn a_fragment_header_is_read_and_nothing_may_follow_it() {
        let walk_fragment = |chain: &[u8]| {
            let mut packet = [0; 64];
            let header = Header {
                next_header: FRAGMENT,
                payload_length: chain.len() as u16,
                ..HEADER
            };
            packet[40..40 + chain.len()].copy_from_slice(chain);
            header.upper(&packet[..], 40 + chain.len(), false)
        };
        let fragment = Fragment {
            offset: 185,
            more: true,
            identification: 0x1234_5678,
        };
        let octets = [17, 0, 0x05, 0xc9, 0x12, 0x34, 0x56, 0x78];
        let upper = Upper {
            protocol: 17,
            offset: 48,
            fragment: Some(fragment),
        };
        assert_eq!(walk_fragment(&octets), Ok(upper));
        assert_eq!(fragment.emit(17), octets);
        assert!(!fragment.is_atomic());
        for extension in [0, 43, 44, 51, 60] {
            let octets = [extension, 0, 0, 0, 0, 0, 0, 1, 6, 0, 0, 0, 0, 0, 0, 0];
            assert_eq!(
                walk_fragment(&octets),
                Err(Obstacle::ExtensionInFragment),
                "{extension}"
            );
        }
        assert_eq!(
            walk_fragment(&[50, 0, 0, 0, 0, 0, 0, 1]).map(|upper| upper.protocol),
            Ok(50)
        );
        assert_eq!(walk_fragment(&[17, 0, 0, 0]), Err(Obstacle::Malformed));
    }

    #[test]
    fn the_walk_is_bounded() {
        let chain = |count: usize| {
            let mut chain = [0; 160];
            for header in chain.chunks_mut(8).take(count) {
                header[0] = 60;
            }
            chain[8 * (count - 1)] = 6;
            walk(60, &chain[..8 * count])
        };
        assert_eq!(
            chain(MAX_EXTENSION_HEADERS),
            Ok((6, 40 + 8 * MAX_EXTENSION_HEADERS))
        );
        assert_eq!(chain(MAX_EXTENSION_HEADERS + 1), Err(Obstacle::Malformed));
    }
}
