//! Ethernet II frames with up to two VLAN tags (IEEE 802.1Q, 802.1ad).
//!
//! Only what leads to the network header is read here; addresses are looked at by whoever decides where a frame
//! goes. LLC and LENGTH frames are of no interest to a router: they parse as an unknown EtherType.

use super::{Malformed, Octets};

/// Length of an Ethernet header without tags, in octets.
pub const HEADER_LENGTH: usize = 14;
/// Length of one VLAN tag, in octets.
pub const TAG_LENGTH: usize = 4;
/// The most VLAN tags that are looked behind: a service tag and a customer tag.
pub const MAX_TAGS: usize = 2;
/// Length of the longest header that [`Header::parse`] accepts, in octets.
pub const MAX_HEADER_LENGTH: usize = HEADER_LENGTH + MAX_TAGS * TAG_LENGTH;

/// EtherType of IPv4.
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// EtherType of IPv6.
pub const ETHERTYPE_IPV6: u16 = 0x86dd;
/// Tag protocol identifier of a customer VLAN tag (IEEE 802.1Q).
pub const TPID_CUSTOMER: u16 = 0x8100;
/// Tag protocol identifier of a service VLAN tag (IEEE 802.1ad).
pub const TPID_SERVICE: u16 = 0x88a8;

/// A hardware address, in wire order.
pub type Address = [u8; 6];

/// What an Ethernet header says about the packet behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Destination address.
    pub destination: Address,
    /// Source address.
    pub source: Address,
    /// EtherType behind the tags, host order.
    pub ethertype: u16,
    /// Octets from the start of the frame to the network header: 14, 18 or 22.
    pub length: usize,
}

impl Header {
    /// Parses the header at the start of `frame`, walking at most [`MAX_TAGS`] VLAN tags.
    ///
    /// A third tag is left alone: `ethertype` is then that of a tag, which is neither IPv4 nor IPv6.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if the frame ends inside the header.
    #[inline]
    pub fn parse<O: Octets + ?Sized>(frame: &O) -> Result<Self, Malformed> {
        let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, t0, t1] =
            frame.load::<HEADER_LENGTH>(0).ok_or(Malformed)?;
        let mut header = Self {
            destination: [d0, d1, d2, d3, d4, d5],
            source: [s0, s1, s2, s3, s4, s5],
            ethertype: u16::from_be_bytes([t0, t1]),
            length: HEADER_LENGTH,
        };
        for _ in 0..MAX_TAGS {
            if !is_tag(header.ethertype) {
                break;
            }
            let [_, _, t0, t1] = frame.load::<TAG_LENGTH>(header.length).ok_or(Malformed)?;
            header.ethertype = u16::from_be_bytes([t0, t1]);
            header.length += TAG_LENGTH;
        }
        Ok(header)
    }

    /// Says whether the frame is for a group of stations (multicast or broadcast).
    #[inline]
    pub fn is_group(&self) -> bool {
        self.destination[0] & 1 != 0
    }
}

/// Says whether an EtherType announces a VLAN tag.
#[inline]
pub fn is_tag(ethertype: u16) -> bool {
    matches!(ethertype, TPID_CUSTOMER | TPID_SERVICE)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNTAGGED: [u8; 14] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00];
    const TWO_TAGS: [u8; 22] = [
        2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xa8, 0x00, 0x64, 0x81, 0x00, 0x20, 0x0a, 0x86,
        0xdd,
    ];

    #[test]
    fn untagged_header() {
        let header = Header::parse(&UNTAGGED[..]).unwrap();
        assert_eq!((header.ethertype, header.length), (ETHERTYPE_IPV4, 14));
        assert_eq!(header.destination, [2, 0, 0, 0, 0, 1]);
        assert_eq!(header.source, [2, 0, 0, 0, 0, 2]);
        assert!(!header.is_group());
    }

    #[test]
    fn two_tags_are_walked_and_a_third_is_not() {
        let header = Header::parse(&TWO_TAGS[..]).unwrap();
        assert_eq!((header.ethertype, header.length), (ETHERTYPE_IPV6, 22));

        let mut three = [0; 26];
        three[..20].copy_from_slice(&TWO_TAGS[..20]);
        three[20..].copy_from_slice(&[0x81, 0x00, 0x00, 0x01, 0x08, 0x00]);
        let header = Header::parse(&three[..]).unwrap();
        assert_eq!((header.ethertype, header.length), (TPID_CUSTOMER, 22));
    }

    #[test]
    fn a_frame_that_ends_inside_the_header_is_malformed() {
        for length in 0..UNTAGGED.len() {
            assert_eq!(Header::parse(&UNTAGGED[..length]), Err(Malformed));
        }
        for length in 14..TWO_TAGS.len() {
            assert_eq!(Header::parse(&TWO_TAGS[..length]), Err(Malformed));
        }
    }
}
