//! What becomes of a packet: a closed list, and for everything but forwarding a closed list of [reasons](crate::reasons).
//!
//! Leaving the translator without a reason does not compile.

use crate::reasons::{DropReason, PassReason};
use crate::rewrite::{Rewrite, Split};
use crate::wire::ipv6;

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
