//! Types of ICMPv4 (RFC 792) and ICMPv6 (RFC 4443) messages, as far as a translator tells them apart.

/// ICMP's protocol number in IPv4.
pub const PROTOCOL_V4: u8 = 1;
/// ICMP's protocol number in IPv6.
pub const PROTOCOL_V6: u8 = 58;
/// ICMPv4's type of an echo request.
pub const ECHO_REQUEST_V4: u8 = 8;
/// ICMPv4's type of an echo reply.
pub const ECHO_REPLY_V4: u8 = 0;
/// ICMPv6's type of an echo request.
pub const ECHO_REQUEST_V6: u8 = 128;
/// ICMPv6's type of an echo reply.
pub const ECHO_REPLY_V6: u8 = 129;
/// Octets of the header that every message has: type, code, checksum and one more word.
pub const HEADER_LENGTH: usize = 8;

/// What a message is to the translator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An echo request.
    EchoRequest,
    /// An echo reply.
    EchoReply,
    /// An error, which quotes another packet.
    Error,
    /// A message without a counterpart in the other family.
    Other,
}

/// Sorts an ICMPv4 type.
pub const fn kind_v4(number: u8) -> Kind {
    match number {
        ECHO_REPLY_V4 => Kind::EchoReply,
        ECHO_REQUEST_V4 => Kind::EchoRequest,
        // Destination Unreachable, Time Exceeded, Parameter Problem. Source Quench (4) and Redirect (5) quote a packet
        // too, but have no counterpart.
        3 | 11 | 12 => Kind::Error,
        _ => Kind::Other,
    }
}

/// Sorts an ICMPv6 type.
pub const fn kind_v6(number: u8) -> Kind {
    match number {
        ECHO_REQUEST_V6 => Kind::EchoRequest,
        ECHO_REPLY_V6 => Kind::EchoReply,
        // Destination Unreachable, Packet Too Big, Time Exceeded, Parameter Problem.
        1..=4 => Kind::Error,
        _ => Kind::Other,
    }
}
