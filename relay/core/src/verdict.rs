//! What becomes of a packet: a closed list, and for everything but forwarding a closed list of reasons.
//!
//! Leaving the translator without a reason does not compile, and each reason is a counter, a name and a line of
//! documentation at once: [`DropReason::name`] and [`DropReason::describe`] are all that other places may use.

use crate::wire::{ipv4, ipv6};
use core::net::IpAddr;
use core::ops::Range;

/// One of the two directions of translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The packet arrived as IPv4.
    V4ToV6,
    /// The packet arrived as IPv6.
    V6ToV4,
}

impl Direction {
    /// Both directions, in the order of their indices.
    pub const ALL: [Self; 2] = [Self::V4ToV6, Self::V6ToV4];

    /// Returns the direction's name as counters spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::V4ToV6 => "v4_to_v6",
            Self::V6ToV4 => "v6_to_v4",
        }
    }
}

/// What is to be done with a packet. Nothing has been done to it yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Translate it as described and send it on.
    Forward(Rewrite),
    /// Translate it as described and send it on in several fragments.
    Split(Split),
    /// It is an ICMP error: build the translated one with [`Translator::error_v4_to_v6`] or
    /// [`Translator::error_v6_to_v4`].
    ///
    /// [`Translator::error_v4_to_v6`]: crate::Translator::error_v4_to_v6
    /// [`Translator::error_v6_to_v4`]: crate::Translator::error_v6_to_v4
    IcmpError,
    /// Leave it to the kernel: the relay has no part in it.
    Pass(PassReason),
    /// Drop it.
    Drop(DropReason),
    /// Drop it, and tell the sender by an ICMP error of the family in which it arrived, which [`reply_v4`] or [`reply_v6`]
    /// builds.
    ///
    /// [`reply_v4`]: crate::reply_v4
    /// [`reply_v6`]: crate::reply_v6
    Reply(DropReason, Reply),
}

impl From<Refusal> for Verdict {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Silent(reason) => Self::Drop(reason),
            Refusal::Told(reason, reply) => Self::Reply(reason, reply),
        }
    }
}

/// Why a packet is not translated, and whether its sender is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Silent(DropReason),
    Told(DropReason, Reply),
}

impl From<DropReason> for Refusal {
    fn from(reason: DropReason) -> Self {
        Self::Silent(reason)
    }
}

/// The ICMP error that tells a sender why its packet was refused: type, code and the header's last four octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    kind: u8,
    code: u8,
    rest: u32,
}

impl Reply {
    /// ICMPv4 Time Exceeded in transit.
    pub const TIME_EXCEEDED_V4: Self = Self::new(11, 0);
    /// ICMPv4 Destination Unreachable, host unreachable.
    pub const HOST_UNREACHABLE: Self = Self::new(3, 1);
    /// ICMPv4 Destination Unreachable, source route failed.
    pub const SOURCE_ROUTE_FAILED: Self = Self::new(3, 5);
    /// ICMPv4 Destination Unreachable, communication administratively prohibited: the default (RFC 7915, 4.4).
    pub const PROHIBITED_V4: Self = Self::new(3, 13);
    /// ICMPv6 Time Exceeded, hop limit exceeded in transit.
    pub const TIME_EXCEEDED_V6: Self = Self::new(3, 0);
    /// ICMPv6 Destination Unreachable, administratively prohibited: the default (RFC 7915, 5.4).
    pub const PROHIBITED_V6: Self = Self::new(1, 1);

    const fn new(kind: u8, code: u8) -> Self {
        Self {
            kind,
            code,
            rest: 0,
        }
    }

    /// ICMPv4 Fragmentation Needed with the MTU in octets for the next try.
    pub(crate) fn fragmentation_needed(mtu: u32) -> Self {
        Self {
            rest: mtu.min(u32::from(u16::MAX)),
            ..Self::new(3, 4)
        }
    }

    /// ICMPv6 Packet Too Big with the MTU in octets for the next try, which is never below the least that IPv6 has.
    pub(crate) fn packet_too_big(mtu: u32) -> Self {
        Self {
            rest: mtu.max(ipv6::MINIMUM_MTU),
            ..Self::new(2, 0)
        }
    }

    /// ICMPv6 Parameter Problem, erroneous header field, with its offset in octets.
    pub(crate) fn erroneous_field(pointer: usize) -> Self {
        // A packet is shorter than 2^32 octets.
        Self {
            rest: pointer as u32,
            ..Self::new(4, 0)
        }
    }

    /// Says whether this is what is sent for want of something more to the point.
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::PROHIBITED_V4 || *self == Self::PROHIBITED_V6
    }

    /// Returns the header of the message with a zero checksum.
    pub(crate) const fn emit(&self) -> [u8; 8] {
        let [r0, r1, r2, r3] = self.rest.to_be_bytes();
        [self.kind, self.code, 0, 0, r0, r1, r2, r3]
    }
}

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
    /// What changes in that part.
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
            // A checksum lies within the first 18 octets of the payload, which are in the first fragment.
            let patch = if start == 0 { patch } else { Patch::None };
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
        let mut write = |at: usize, octets: &[u8]| {
            if let Some(place) = payload
                .get_mut(at..)
                .and_then(|rest| rest.get_mut(..octets.len()))
            {
                place.copy_from_slice(octets);
            }
        };
        match *self {
            Self::None => {}
            Self::Checksum { at, checksum } => write(at, &checksum.to_be_bytes()),
            Self::Icmp { kind, checksum } => {
                write(0, &[kind]);
                write(2, &checksum.to_be_bytes());
            }
        }
    }
}

/// Declares a closed list of reasons, each with its name in counters and its line of documentation.
macro_rules! reasons {
    ($(#[$attribute:meta])* $name:ident { $(#[doc = $text:literal] $variant:ident = $label:literal,)+ }) => {
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $(#[doc = $text] $variant,)+
        }

        impl $name {
            /// Every reason, in the order of their indices.
            pub const ALL: [Self; [$($label),+].len()] = [$(Self::$variant),+];

            /// Returns the reason's name as counters spell it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $label,)+ }
            }

            /// Returns one line that explains the reason to an operator.
            pub const fn describe(self) -> &'static str {
                match self { $(Self::$variant => $text.trim_ascii(),)+ }
            }
        }
    };
}

reasons! {
    /// Why a packet is left to the kernel.
    PassReason {
        /// The frame carries neither IPv4 nor IPv6.
        NotIp = "not_ip",
        /// The destination is one of the machine's own addresses.
        OwnAddress = "own_address",
        /// No EAM, prefix or pool covers the destination: native traffic.
        NotOurs = "not_ours",
    }
}

reasons! {
    /// Why a packet is dropped.
    DropReason {
        /// The network header is truncated, has a wrong version, or contradicts the length of the packet.
        MalformedHeader = "malformed_header",
        /// The IPv4 header checksum is wrong (RFC 1812, 5.2.2).
        HeaderChecksum = "header_checksum",
        /// The IPv4 options cannot be walked (RFC 1812, 5.2.4.1).
        MalformedOptions = "malformed_options",
        /// The packet has an unexpired source route (RFC 7915, 4.1).
        SourceRoute = "source_route",
        /// The chain of IPv6 extension headers is truncated or has too many links.
        MalformedExtensions = "malformed_extensions",
        /// A Routing header has segments left (RFC 7915, 5.1).
        SegmentsLeft = "segments_left",
        /// The source can never be the sender of a forwarded packet: loopback, multicast, link-local, unspecified.
        IllegalSource = "illegal_source",
        /// The destination can never be the target of a forwarded unicast packet.
        IllegalDestination = "illegal_destination",
        /// The source has no EAM and does not lie under the translation prefix.
        UnmappedSource = "unmapped_source",
        /// The destination lies in a service pool but has no EAM.
        UnmappedService = "unmapped_service",
        /// RFC 6052 would have to translate an address that denylist4 forbids.
        Denied = "denied",
        /// The Well-Known Prefix would stand for a non-global IPv4 address (RFC 6052, 3.1).
        WkpNonGlobal = "wkp_non_global",
        /// TTL or hop limit is used up.
        HopLimit = "hop_limit",
        /// An ICMP message is fragmented (RFC 7915, 1.2).
        FragmentedIcmp = "fragmented_icmp",
        /// An extension header stands behind a Fragment header (RFC 7915, 5.1.1).
        ExtensionInFragment = "extension_in_fragment",
        /// The translated packet may not be fragmented and exceeds the next hop's MTU.
        PacketTooBig = "packet_too_big",
        /// The protocol number has no meaning in the other family (as IGMP or an IPv6 extension header in IPv4).
        UntranslatableProtocol = "untranslatable_protocol",
        /// The transport header is truncated.
        MalformedTransport = "malformed_transport",
        /// A UDP packet has no checksum and the policy is to drop it (RFC 7915, 4.5).
        UdpZeroChecksum = "udp_zero_checksum",
        /// An ICMP error has a wrong checksum.
        IcmpChecksum = "icmp_checksum",
        /// The packet that an ICMP error quotes cannot be parsed.
        MalformedQuotation = "malformed_quotation",
        /// An address of the packet that an ICMP error quotes cannot be translated.
        UnmappedQuotation = "unmapped_quotation",
        /// An ICMP error quotes an ICMP error (RFC 7915, 4.3 and 5.3).
        NestedError = "nested_error",
        /// The ICMP type has no counterpart in the other family (RFC 7915, 4.2 and 5.2).
        UntranslatableIcmp = "untranslatable_icmp",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_indices_are_positions() {
        for (index, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
            assert!(
                DropReason::ALL[..index]
                    .iter()
                    .all(|other| other.name() != reason.name())
            );
            assert!(reason.describe().ends_with('.'));
        }
        for (index, reason) in PassReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
        }
        assert_eq!(DropReason::HopLimit.name(), "hop_limit");
        assert_eq!(
            DropReason::HopLimit.describe(),
            "TTL or hop limit is used up."
        );
    }

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
            let patch = if piece.payload.start == 0 {
                split.rewrite.patch
            } else {
                Patch::None
            };
            assert_eq!(piece.patch, patch);
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
