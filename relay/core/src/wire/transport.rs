//! Transport headers, only as far as the checksum: where it is, and whether addresses are part of it.

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

/// Returns the other form of zero for zero: in one's complement both sum up alike.
#[inline]
pub const fn never_zero(checksum: u16) -> u16 {
    match checksum {
        0 => 0xffff,
        checksum => checksum,
    }
}
