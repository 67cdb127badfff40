//! Why packets are dropped or left to the kernel: closed lists.
//!
//! Each reason is a counter, a name and a line of documentation at once; [`DropReason::name`] and
//! [`DropReason::describe`] are all that other places may use.

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
    /// Why the XDP program leaves a packet to a worker, which can do what it cannot.
    PuntReason {
        /// The packet is shorter than its headers.
        Malformed = "malformed",
        /// The packet has IPv4 options or IPv6 extension headers.
        Options = "options",
        /// The packet is a fragment.
        Fragment = "fragment",
        /// A UDP packet has no checksum.
        UdpZeroChecksum = "udp_zero_checksum",
        /// The packet is an ICMP message, but no echo.
        Icmp = "icmp",
        /// The translated packet does not fit the next hop's MTU, or needs a Fragment header.
        Length = "length",
        /// The packet is not translated; the worker counts the reason and tells the sender if need be.
        Refused = "refused",
        /// No neighbour entry, no route, or an interface that takes no redirected frames: the worker asks the kernel.
        NextHop = "next_hop",
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
}
