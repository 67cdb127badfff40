//! Transport headers, only as far as the checksum: where it is, and whether addresses are part of it.

use super::Octets;
use super::checksum::Sum;

/// TCP's protocol number.
pub const TCP: u8 = 6;
/// UDP's protocol number.
pub const UDP: u8 = 17;
/// DCCP's protocol number.
pub const DCCP: u8 = 33;
/// UDP-Lite's protocol number.
pub const UDP_LITE: u8 = 136;

/// Length of the UDP header, in octets.
pub const UDP_HEADER_LENGTH: usize = 8;

/// Where a transport header keeps a checksum that covers the pseudo-header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChecksumField {
    /// Offset of the checksum in octets.
    pub at: usize,
    /// Length of the shortest header of this transport, in octets.
    pub header_length: usize,
}

/// Returns the place of the checksum that changes with the addresses, or `None` for transports without one.
///
/// SCTP's checksum does not cover addresses (RFC 9260, 6.8); ESP, GRE and the rest have none that does.
#[inline]
pub const fn checksum_field(protocol: u8) -> Option<ChecksumField> {
    match protocol {
        TCP => Some(ChecksumField {
            at: 16,
            header_length: 20,
        }),
        UDP => Some(ChecksumField {
            at: 6,
            header_length: UDP_HEADER_LENGTH,
        }),
        // RFC 4340, 9.1 and RFC 3828, 3.2: both cover the same pseudo-header as UDP, whatever part of the data they cover.
        DCCP => Some(ChecksumField {
            at: 6,
            header_length: 12,
        }),
        UDP_LITE => Some(ChecksumField {
            at: 6,
            header_length: 8,
        }),
        _ => None,
    }
}

/// Says whether a TCP or UDP checksum is unfinished: in its place stands the sum of the pseudo-header, for hardware to add up the
/// rest. `found` is what stands there, and the transport header begins at `offset` and has `length` octets with all behind it.
///
/// `without_pseudo_header` is the complement of that sum, which takes it out again (RFC 1624). What looks like that and cannot be
/// read counts as unfinished.
#[inline(always)]
pub fn is_unfinished<O: Octets + ?Sized>(
    packet: &O,
    offset: usize,
    length: usize,
    found: u16,
    without_pseudo_header: Sum,
) -> bool {
    if without_pseudo_header.add_word(found).fold() != 0xffff {
        return false;
    }
    // One right checksum in 65,536 looks like that; what it stands for is then the sum of the pseudo-header, too.
    let segment = packet.sum(offset, length);
    segment.map(|segment| segment.add_word(found).fold()) != Some(0xffff)
}

/// Returns the other form of zero for zero: in one's complement both sum up alike.
#[inline]
pub const fn never_zero(checksum: u16) -> u16 {
    match checksum {
        0 => 0xffff,
        checksum => checksum,
    }
}
