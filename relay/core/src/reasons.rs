//! Why packets are dropped or left to the kernel: closed lists.
//!
//! Each reason is a counter, a name, a line of documentation and a clause at once; [`DropReason::name`],
//! [`DropReason::describe`] and [`DropReason::clauses`] are all that other places may use.

/// Declares a closed list of reasons, each with its name in counters, its line of documentation and the clause behind it, if
/// there is one: two, where the directions of translation have clauses of their own.
macro_rules! reasons {
    ($(#[$attribute:meta])* $name:ident {
        $(#[doc = $text:literal] $variant:ident = $label:literal $(: $clause:literal $(/ $clause_v6_to_v4:literal)?)?,)+
    }) => {
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $(#[doc = concat!($text $(, "\n\n", $clause $(, "; ", $clause_v6_to_v4)?)?)] $variant,)+
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

            /// Returns where the rule stands, as the clause of an RFC or a key of the configuration: once, or once for each direction of
            /// translation in the order of [`Direction::ALL`](crate::Direction::ALL); not at all, where no rule stands behind it.
            pub const fn clauses(self) -> &'static [&'static str] {
                match self { $(Self::$variant => &[$($clause $(, $clause_v6_to_v4)?)?],)+ }
            }
        }
    };
}

reasons! {
    /// Why a packet is left to the kernel.
    PassReason {
        /// The frame carries neither IPv4 nor IPv6.
        NotIp = "not_ip": "RFC 7915, 1.1",
        /// The destination is one of the machine's own addresses.
        OwnAddress = "own_address": "RFC 7915, 4.6 and 5.6",
        /// No EAM, prefix or pool covers the destination: native traffic.
        NotOurs = "not_ours": "RFC 7915, 4.6 and 5.6",
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
        /// The sender has left the transport checksum to hardware that is not there.
        UnfinishedChecksum = "unfinished_checksum",
        /// A TCP segment announces a segment size, which is to be lowered if need be.
        SegmentSize = "segment_size",
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
        MalformedHeader = "malformed_header": "RFC 1812, 5.2.2" / "RFC 8200, 3",
        /// The IPv4 header checksum is wrong.
        HeaderChecksum = "header_checksum": "RFC 1812, 5.2.2",
        /// The IPv4 options cannot be walked.
        MalformedOptions = "malformed_options": "RFC 1812, 5.2.4.1",
        /// The packet has an unexpired source route.
        SourceRoute = "source_route": "RFC 7915, 4.1",
        /// The chain of IPv6 extension headers is truncated or has too many links.
        MalformedExtensions = "malformed_extensions": "RFC 8200, 4",
        /// A Routing header has segments left.
        SegmentsLeft = "segments_left": "RFC 7915, 5.1",
        /// The source can never be the sender of a forwarded packet: loopback, multicast, link-local, unspecified.
        IllegalSource = "illegal_source": "RFC 7915, 4.1" / "RFC 7915, 5.1",
        /// The destination can never be the target of a forwarded unicast packet.
        IllegalDestination = "illegal_destination": "RFC 1812, 5.3.7",
        /// The source has no EAM and does not lie under the translation prefix.
        UnmappedSource = "unmapped_source": "RFC 7915, 5.1",
        /// The destination lies in a service pool but has no EAM.
        UnmappedService = "unmapped_service": "RFC 7755, 2",
        /// RFC 6052 would have to translate an address that denylist4 forbids.
        Denied = "denied": "denylist4",
        /// The Well-Known Prefix would stand for a non-global IPv4 address.
        WkpNonGlobal = "wkp_non_global": "RFC 6052, 3.1",
        /// TTL or hop limit is used up.
        HopLimit = "hop_limit": "RFC 7915, 4.1" / "RFC 7915, 5.1",
        /// An ICMP message is fragmented.
        FragmentedIcmp = "fragmented_icmp": "RFC 7915, 1.2",
        /// An extension header stands behind a Fragment header.
        ExtensionInFragment = "extension_in_fragment": "RFC 7915, 5.1.1",
        /// The translated packet may not be fragmented and exceeds the next hop's MTU.
        PacketTooBig = "packet_too_big": "RFC 7915, 4.1" / "RFC 7915, 5.1",
        /// The protocol number has no meaning in the other family (as IGMP or an IPv6 extension header in IPv4).
        UntranslatableProtocol = "untranslatable_protocol": "RFC 7915, 4.1" / "RFC 7915, 5.1",
        /// The transport header is truncated.
        MalformedTransport = "malformed_transport": "RFC 7915, 4.5" / "RFC 7915, 5.5",
        /// A UDP packet has no checksum and the policy is to drop it.
        UdpZeroChecksum = "udp_zero_checksum": "RFC 7915, 4.5",
        /// An ICMP error has a wrong checksum.
        IcmpChecksum = "icmp_checksum": "RFC 7915, 4.2" / "RFC 7915, 5.2",
        /// The packet that an ICMP error quotes cannot be parsed.
        MalformedQuotation = "malformed_quotation": "RFC 7915, 4.3" / "RFC 7915, 5.3",
        /// An address of the packet that an ICMP error quotes cannot be translated.
        UnmappedQuotation = "unmapped_quotation": "RFC 7915, 4.3" / "RFC 7915, 5.3",
        /// An ICMP error quotes an ICMP error.
        NestedError = "nested_error": "RFC 7915, 4.3" / "RFC 7915, 5.3",
        /// The ICMP type has no counterpart in the other family.
        UntranslatableIcmp = "untranslatable_icmp": "RFC 7915, 4.2" / "RFC 7915, 5.2",
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
        let clauses = DropReason::HopLimit.clauses();
        assert_eq!(clauses, ["RFC 7915, 4.1", "RFC 7915, 5.1"]);
    }
}
