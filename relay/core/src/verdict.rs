//! What becomes of a packet: a closed list, and for everything but forwarding a closed list of reasons.
//!
//! Leaving the translator without a reason does not compile, and each reason is a counter, a name and a line of
//! documentation at once: [`DropReason::name`] and [`DropReason::describe`] are all that other places may use.

use crate::wire::{ipv4, ipv6};
use core::net::IpAddr;

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
    /// Leave it to the kernel: the relay has no part in it.
    Pass(PassReason),
    /// Drop it.
    Drop(DropReason),
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

/// A network header, ready to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkHeader {
    /// An IPv4 header without options.
    V4(ipv4::Header),
    /// An IPv6 header without extension headers.
    V6(ipv6::Header),
}

impl NetworkHeader {
    /// Returns the address to which the packet goes next.
    pub const fn destination(&self) -> IpAddr {
        match self {
            Self::V4(header) => IpAddr::V4(header.destination),
            Self::V6(header) => IpAddr::V6(header.destination),
        }
    }

    /// Returns the header's length in octets.
    #[inline]
    pub const fn length(&self) -> usize {
        match self {
            Self::V4(_) => ipv4::HEADER_LENGTH,
            Self::V6(_) => ipv6::HEADER_LENGTH,
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
        /// The packet is a fragment.
        Fragment = "fragment",
        /// The translated packet may be fragmented, and would have to be.
        FragmentationNeeded = "fragmentation_needed",
        /// The translated packet may not be fragmented and exceeds the next hop's MTU.
        PacketTooBig = "packet_too_big",
        /// The protocol number has no meaning in the other family (as IGMP or an IPv6 extension header in IPv4).
        UntranslatableProtocol = "untranslatable_protocol",
        /// The transport header is truncated.
        MalformedTransport = "malformed_transport",
        /// A UDP packet has no checksum and the policy is to drop it (RFC 7915, 4.5).
        UdpZeroChecksum = "udp_zero_checksum",
        /// The ICMP message is an error.
        IcmpError = "icmp_error",
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
}
