//! The counters of the XDP program.

use relay_core::reasons::PuntReason;

/// Makes the counters from one list, so that order, names and descriptions cannot differ.
macro_rules! xdp_counters {
    ($($(#[doc = $description:literal])+ $counter:ident = $name:literal,)+) => {
        /// What the XDP program counts. What can become of a frame comes first, and each frame is counted once there; the rest is
        /// about frames that were translated. The order is the map's.
        #[repr(u32)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum XdpCounter {
            $($(#[doc = $description])+ $counter,)+
        }

        impl XdpCounter {
            /// All counters, in the order of the map.
            pub const ALL: [Self; [$(Self::$counter),+].len()] = [$(Self::$counter),+];

            /// Returns the name, the same wherever the counter is shown.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$counter => $name,)+
                }
            }

            /// Returns one sentence for operators.
            pub const fn description(self) -> &'static str {
                match self {
                    $(Self::$counter => concat!($($description),+).trim_ascii(),)+
                }
            }
        }
    };
}

xdp_counters! {
    /// Passed to the kernel: the interface is not a port of the relay.
    NotAPort = "xdp_not_a_port",
    /// Passed to the kernel: the frame ends inside its Ethernet, IPv4 or IPv6 header.
    Malformed = "xdp_malformed",
    /// Passed to the kernel: neither IPv4 nor IPv6 (ARP, for example), or behind more than two VLAN tags.
    NotIp = "xdp_not_ip",
    /// Passed to the kernel: the frame is for another station, or for a group of stations.
    OtherStation = "xdp_other_station",
    /// Passed to the kernel: the destination address is not the relay's to translate.
    NotOurs = "xdp_not_ours",
    /// Passed to the kernel: the destination address is one of the machine's own.
    OwnAddress = "xdp_own_address",
    /// Handed to the worker of the receive queue, as everything is that is the relay's while the program does not translate.
    Redirected = "xdp_redirected",
    /// Dropped: the relay's packet, but no worker has a socket on the receive queue.
    NoSocket = "xdp_no_socket",
    /// Translated and sent to the next hop.
    Forwarded = "xdp_forwarded",
    /// Translated and left to the kernel, which finds the next hop.
    LeftToKernel = "xdp_left_to_kernel",
    /// Handed to a worker: shorter than its headers.
    PuntMalformed = "xdp_punt_malformed",
    /// Handed to a worker: IPv4 options or IPv6 extension headers.
    PuntOptions = "xdp_punt_options",
    /// Handed to a worker: a fragment.
    PuntFragment = "xdp_punt_fragment",
    /// Handed to a worker: UDP without a checksum.
    PuntUdpZeroChecksum = "xdp_punt_udp_zero_checksum",
    /// Handed to a worker: TCP or UDP whose checksum is still to be computed, since the other end of the veth pair has left that to
    /// hardware.
    PuntUnfinishedChecksum = "xdp_punt_unfinished_checksum",
    /// Handed to a worker: a TCP segment that announces a segment size, which is to be lowered if need be.
    PuntSegmentSize = "xdp_punt_segment_size",
    /// Handed to a worker: an ICMP message, but no echo.
    PuntIcmp = "xdp_punt_icmp",
    /// Handed to a worker: too long for the next hop, or in need of a Fragment header.
    PuntLength = "xdp_punt_length",
    /// Handed to a worker: not translated, for a reason which the worker counts.
    PuntRefused = "xdp_punt_refused",
    /// Handed to a worker: no neighbour entry, no route, or an interface that takes no redirected frames.
    PuntNextHop = "xdp_punt_next_hop",
    /// Packets translated from IPv4 to IPv6.
    PacketsV4ToV6 = "xdp_v4_to_v6_packets",
    /// Octets of those, from the new network header on.
    OctetsV4ToV6 = "xdp_v4_to_v6_octets",
    /// Packets translated from IPv6 to IPv4, or hairpinned.
    PacketsV6ToV4 = "xdp_v6_to_v4_packets",
    /// Octets of those, from the new network header on.
    OctetsV6ToV4 = "xdp_v6_to_v4_octets",
    /// Those of the packets from IPv6 that were hairpinned.
    Hairpinned = "xdp_hairpin_packets",
    /// Questions to the kernel for a next hop, for want of a remembered answer.
    HopLookups = "xdp_hop_lookups",
}

impl From<PuntReason> for XdpCounter {
    #[inline]
    fn from(reason: PuntReason) -> Self {
        match reason {
            PuntReason::Malformed => Self::PuntMalformed,
            PuntReason::Options => Self::PuntOptions,
            PuntReason::Fragment => Self::PuntFragment,
            PuntReason::UdpZeroChecksum => Self::PuntUdpZeroChecksum,
            PuntReason::UnfinishedChecksum => Self::PuntUnfinishedChecksum,
            PuntReason::SegmentSize => Self::PuntSegmentSize,
            PuntReason::Icmp => Self::PuntIcmp,
            PuntReason::Length => Self::PuntLength,
            PuntReason::Refused => Self::PuntRefused,
            PuntReason::NextHop => Self::PuntNextHop,
        }
    }
}

impl XdpCounter {
    /// Says whether the counter tells what became of frames.
    pub const fn is_fate(self) -> bool {
        (self as usize) < Self::PacketsV4ToV6 as usize
    }

    /// Number of counters: the size of the map's value.
    pub const COUNT: usize = Self::ALL.len();

    /// Returns the index in the map's value.
    #[inline]
    pub const fn index(self) -> usize {
        self as usize
    }
}
