//! The IPv4 header (RFC 791): twenty octets, then options that are walked but never kept.

use super::checksum::Sum;
use super::{Malformed, Octets, ipv6};
use core::net::Ipv4Addr;

/// Length of a header without options, in octets.
pub const HEADER_LENGTH: usize = 20;

/// The smallest MTU that an IPv4 link may have, in octets (RFC 791, 3.2).
pub const MINIMUM_MTU: u32 = 68;

const OPTION_END: u8 = 0;
const OPTION_NO_OPERATION: u8 = 1;
const OPTION_LOOSE_SOURCE_ROUTE: u8 = 131;
const OPTION_STRICT_SOURCE_ROUTE: u8 = 137;

const FLAG_DF: u16 = 0x4000;
const FLAG_MF: u16 = 0x2000;
const FRAGMENT_OFFSET: u16 = 0x1fff;

/// Returns the source address in the octets of a header, whatever else they say.
#[inline]
pub fn source(octets: &[u8; HEADER_LENGTH]) -> Ipv4Addr {
    let [.., s0, s1, s2, s3, _, _, _, _] = *octets;
    Ipv4Addr::new(s0, s1, s2, s3)
}

/// Returns the destination address in the octets of a header, whatever else they say.
#[inline]
pub fn destination(octets: &[u8; HEADER_LENGTH]) -> Ipv4Addr {
    let [.., d0, d1, d2, d3] = *octets;
    Ipv4Addr::new(d0, d1, d2, d3)
}

/// The fields of an IPv4 header; its options, if any, are not part of it.
///
/// Addresses come first and aligned, so that whoever copies the value moves words which it can read again at once.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Source address.
    pub source: Ipv4Addr,
    /// Destination address.
    pub destination: Ipv4Addr,
    /// Octets from the start of the header to the end of the packet.
    pub total_length: u16,
    /// Identification.
    pub identification: u16,
    /// Fragment offset in units of eight octets.
    pub fragment_offset: u16,
    /// Type Of Service, all eight bits.
    pub tos: u8,
    /// Time To Live.
    pub ttl: u8,
    /// Protocol number of what follows.
    pub protocol: u8,
    /// The Don't Fragment flag.
    pub df: bool,
    /// The More Fragments flag.
    pub mf: bool,
}

/// Returns the first eight octets of the header of a whole packet as a number, host order.
#[inline(always)]
pub(crate) const fn front(tos: u8, total_length: u16, identification: u16, df: bool) -> u64 {
    let flags = if df { FLAG_DF } else { 0 };
    0x45 << 56
        | (tos as u64) << 48
        | (total_length as u64) << 32
        | (identification as u64) << 16
        | flags as u64
}

/// What stands in front of the payload of a received packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// The fixed fields.
    pub header: Header,
    /// Length of the header with its options, in octets: 20 to 60.
    pub header_length: usize,
    /// Whether the header checksum is right. Options count.
    pub checksum_is_valid: bool,
}

/// What an unexpired source route, or the lack of one, makes of the options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Options {
    /// Nothing in the options keeps the packet from being translated.
    Ignorable,
    /// A loose or strict source route has addresses left to visit.
    SourceRoute,
}

impl Header {
    /// Says whether the packet is one of several fragments.
    #[inline]
    pub const fn is_fragment(&self) -> bool {
        self.mf || self.fragment_offset != 0
    }

    /// Returns the IPv6 Fragment header that a fragment needs (RFC 7915, 4.1); `None` for a whole packet.
    #[inline]
    pub fn as_v6_fragment(&self) -> Option<ipv6::Fragment> {
        // "The low-order 16 bits copied from the Identification field in the IPv4 header. The high-order 16 bits set to
        // zero."
        self.is_fragment().then_some(ipv6::Fragment {
            offset: self.fragment_offset,
            more: self.mf,
            identification: u32::from(self.identification),
        })
    }

    /// Parses the header of a packet that an ICMP error quotes, and returns its length with options in octets too.
    ///
    /// The packet may be cut off behind its header. Routers change headers before they quote them, so the checksum says
    /// nothing.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if the version is not 4, the header is not all there, or the lengths contradict each other.
    pub fn parse_quoted<O: Octets + ?Sized>(packet: &O) -> Result<(Self, usize), Malformed> {
        let header = Self::fields(packet.load(0).ok_or(Malformed)?);
        let [version] = packet.load::<1>(0).ok_or(Malformed)?;
        let length = usize::from(version & 0x0f) * 4;
        let is_valid = version >> 4 == 4
            && (HEADER_LENGTH..=packet.len()).contains(&length)
            && usize::from(header.total_length) >= length;
        if is_valid {
            Ok((header, length))
        } else {
            Err(Malformed)
        }
    }

    /// Returns what the octets of a header say, whatever they are.
    #[inline]
    fn fields(octets: [u8; HEADER_LENGTH]) -> Self {
        let [
            _,
            tos,
            l0,
            l1,
            i0,
            i1,
            f0,
            f1,
            ttl,
            protocol,
            _,
            _,
            s0,
            s1,
            s2,
            s3,
            d0,
            d1,
            d2,
            d3,
        ] = octets;
        let flags = u16::from_be_bytes([f0, f1]);
        Self {
            tos,
            total_length: u16::from_be_bytes([l0, l1]),
            identification: u16::from_be_bytes([i0, i1]),
            df: flags & FLAG_DF != 0,
            mf: flags & FLAG_MF != 0,
            fragment_offset: flags & FRAGMENT_OFFSET,
            ttl,
            protocol,
            source: Ipv4Addr::new(s0, s1, s2, s3),
            destination: Ipv4Addr::new(d0, d1, d2, d3),
        }
    }

    /// Returns the header's twenty octets with a valid checksum.
    #[inline]
    pub fn emit(&self) -> [u8; HEADER_LENGTH] {
        let mut flags = self.fragment_offset & FRAGMENT_OFFSET;
        if self.df {
            flags |= FLAG_DF;
        }
        if self.mf {
            flags |= FLAG_MF;
        }
        let checksum = Sum::ZERO
            .add_word(u16::from_be_bytes([0x45, self.tos]))
            .add_word(self.total_length)
            .add_word(self.identification)
            .add_word(flags)
            .add_word(u16::from_be_bytes([self.ttl, self.protocol]))
            .add_v4(self.source)
            .add_v4(self.destination)
            .checksum();
        let [l0, l1] = self.total_length.to_be_bytes();
        let [i0, i1] = self.identification.to_be_bytes();
        let [f0, f1] = flags.to_be_bytes();
        let [c0, c1] = checksum.to_be_bytes();
        let [s0, s1, s2, s3] = self.source.octets();
        let [d0, d1, d2, d3] = self.destination.octets();
        [
            0x45,
            self.tos,
            l0,
            l1,
            i0,
            i1,
            f0,
            f1,
            self.ttl,
            self.protocol,
            c0,
            c1,
            s0,
            s1,
            s2,
            s3,
            d0,
            d1,
            d2,
            d3,
        ]
    }
}

impl Received {
    /// Parses the header at the start of `packet`.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if the version is not 4, or if header or packet do not fit into what is there (RFC 1812, 5.2.2).
    #[inline]
    pub fn parse<O: Octets + ?Sized>(packet: &O) -> Result<Self, Malformed> {
        Self::parse_rest(packet.load(0).ok_or(Malformed)?, packet)
    }

    /// Parses the header of a packet whose first twenty octets have been read already, which spares reading them again.
    ///
    /// # Errors
    ///
    /// As [`parse`](Self::parse).
    #[inline]
    pub fn parse_rest<O: Octets + ?Sized>(
        octets: [u8; HEADER_LENGTH],
        packet: &O,
    ) -> Result<Self, Malformed> {
        let header = Header::fields(octets);
        let [version, ..] = octets;
        let header_length = usize::from(version & 0x0f) * 4;
        if version >> 4 != 4
            || header_length < HEADER_LENGTH
            || usize::from(header.total_length) < header_length
            || usize::from(header.total_length) > packet.len()
        {
            return Err(Malformed);
        }
        let mut sum = Sum::ZERO.add_octets(&octets);
        let mut at = HEADER_LENGTH;
        while at < header_length {
            sum = sum.add_octets(&packet.load::<4>(at).ok_or(Malformed)?);
            at += 4;
        }
        Ok(Self {
            header,
            header_length,
            checksum_is_valid: sum.fold() == 0xffff,
        })
    }

    /// Returns the number of octets behind the header.
    #[inline]
    pub const fn payload_length(&self) -> usize {
        (self.header.total_length as usize).saturating_sub(self.header_length)
    }

    /// Walks the options of `packet`.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if an option's length is below two or leads out of the header, or if a source route has no room
    /// for its pointer.
    pub fn options<O: Octets + ?Sized>(&self, packet: &O) -> Result<Options, Malformed> {
        let mut options = Options::Ignorable;
        let mut at = HEADER_LENGTH;
        while at < self.header_length {
            let [kind] = packet.load::<1>(at).ok_or(Malformed)?;
            match kind {
                OPTION_END => break,
                OPTION_NO_OPERATION => at += 1,
                _ => {
                    let [length] = packet.load::<1>(at + 1).ok_or(Malformed)?;
                    if length < 2 || at + usize::from(length) > self.header_length {
                        return Err(Malformed);
                    }
                    if matches!(kind, OPTION_LOOSE_SOURCE_ROUTE | OPTION_STRICT_SOURCE_ROUTE) {
                        if length < 3 {
                            return Err(Malformed);
                        }
                        // RFC 791, 3.1: "If the pointer is greater than the length, the source route is empty".
                        let [pointer] = packet.load::<1>(at + 2).ok_or(Malformed)?;
                        if pointer <= length {
                            options = Options::SourceRoute;
                        }
                    }
                    at += usize::from(length);
                }
            }
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 791's fields with values of their own; 192.0.2.1 -> 203.0.113.50; checksum worked out by hand.
    const OCTETS: [u8; 20] = [
        0x45, 0xb8, 0x00, 0x1c, 0x12, 0x34, 0x40, 0x00, 0x40, 0x11, 0x29, 0xb1, 192, 0, 2, 1, 203,
        0, 113, 50,
    ];

    const HEADER: Header = Header {
        tos: 0xb8,
        total_length: 28,
        identification: 0x1234,
        df: true,
        mf: false,
        fragment_offset: 0,
        ttl: 64,
        protocol: 17,
        source: Ipv4Addr::new(192, 0, 2, 1),
        destination: Ipv4Addr::new(203, 0, 113, 50),
    };

    fn packet() -> [u8; 28] {
        let mut packet = [0xa5; 28];
        packet[..20].copy_from_slice(&OCTETS);
        packet
    }

    #[test]
    fn parse_and_emit_are_inverse() {
        let received = Received::parse(&packet()[..]).unwrap();
        assert_eq!(received.header, HEADER);
        assert_eq!((received.header_length, received.payload_length()), (20, 8));
        assert!(received.checksum_is_valid);
        assert_eq!(HEADER.emit(), OCTETS);
    }

    #[test]
    fn fragment_fields() {
        let header = Header {
            df: false,
            mf: true,
            fragment_offset: 0x1abc,
            ..HEADER
        };
        let mut packet = packet();
        packet[..20].copy_from_slice(&header.emit());
        let received = Received::parse(&packet[..]).unwrap();
        assert_eq!(received.header, header);
        assert!(received.header.is_fragment() && received.checksum_is_valid);
        assert!(!HEADER.is_fragment());
    }

    #[test]
    fn a_wrong_checksum_is_noticed() {
        for bit in 0..160 {
            let mut packet = packet();
            packet[bit / 8] ^= 1 << (bit % 8);
            assert!(
                !Received::parse(&packet[..]).is_ok_and(|received| received.checksum_is_valid),
                "bit {bit}"
            );
        }
    }

    #[test]
    fn lengths_that_contradict_each_other_are_malformed() {
        for (at, value) in [(0, 0x44), (0, 0x4f), (0, 0x65), (3, 19), (3, 29), (2, 1)] {
            let mut packet = packet();
            packet[at] = value;
            assert_eq!(
                Received::parse(&packet[..]),
                Err(Malformed),
                "octet {at} = {value:#x}"
            );
        }
        for length in 0..28 {
            assert_eq!(Received::parse(&packet()[..length]), Err(Malformed));
        }
    }

    fn walk(options: &[u8]) -> Result<Options, Malformed> {
        let mut packet = [0; 60];
        packet[..20].copy_from_slice(&OCTETS);
        packet[0] = 0x40 | (5 + options.len() / 4) as u8;
        packet[3] = 20 + options.len() as u8;
        packet[20..20 + options.len()].copy_from_slice(options);
        Received::parse(&packet[..]).unwrap().options(&packet[..])
    }

    #[test]
    fn options_are_walked_to_their_end() {
        assert_eq!(walk(&[]), Ok(Options::Ignorable));
        assert_eq!(walk(&[1, 1, 1, 0]), Ok(Options::Ignorable));
        assert_eq!(walk(&[7, 7, 4, 0, 0, 0, 0, 0]), Ok(Options::Ignorable));
        // What stands behind the end of the list is not looked at.
        assert_eq!(walk(&[0, 131, 0, 0]), Ok(Options::Ignorable));
        assert_eq!(walk(&[131, 7, 4, 10, 0, 0, 1, 0]), Ok(Options::SourceRoute));
        assert_eq!(walk(&[1, 137, 7, 4, 10, 0, 0, 1]), Ok(Options::SourceRoute));
        assert_eq!(walk(&[131, 7, 8, 10, 0, 0, 1, 0]), Ok(Options::Ignorable));
    }

    #[test]
    fn options_that_cannot_be_walked_are_malformed() {
        assert_eq!(walk(&[7, 0, 0, 0]), Err(Malformed));
        assert_eq!(walk(&[7, 1, 0, 0]), Err(Malformed));
        assert_eq!(walk(&[7, 5, 0, 0]), Err(Malformed));
        assert_eq!(walk(&[1, 1, 1, 7]), Err(Malformed));
        assert_eq!(walk(&[131, 2, 0, 0]), Err(Malformed));
    }
}
