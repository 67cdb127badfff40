//! The counters of the XDP program.

use relay_core::reasons::PuntReason;

/// Makes the counters from one list, so that order, names and descriptions cannot differ.
macro_rules! xdp_counters {
    ($($(#[doc = $description:literal])+ $counter:ident = $name:literal,)+) => {
        /// What can become of a frame in the XDP program: each frame is counted once. The order is the map's.
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
    /// Handed to the worker of the receive queue.
    Redirected = "xdp_redirected",
    /// Dropped: the relay's packet, but no worker has a socket on the receive queue.
    NoSocket = "xdp_no_socket",
    /// Dropped: the frame has no room for a longer header, which no known driver is short of.
    NoRoom = "xdp_no_room",
    /// Translated from IPv4 to IPv6 and sent on, packets.
    ForwardedPacketsV4ToV6 = "xdp_out_v4_to_v6_packets",
    /// Translated from IPv4 to IPv6 and sent on, octets from the new network header on.
    ForwardedOctetsV4ToV6 = "xdp_out_v4_to_v6_octets",
    /// Translated from IPv6 to IPv4, or hairpinned to IPv6, and sent on, packets.
    ForwardedPacketsV6ToV4 = "xdp_out_v6_to_v4_packets",
    /// Translated from IPv6 to IPv4, or hairpinned to IPv6, and sent on, octets from the new network header on.
    ForwardedOctetsV6ToV4 = "xdp_out_v6_to_v4_octets",
    /// Those of xdp_out_v6_to_v4_packets that were hairpinned.
    Hairpinned = "xdp_hairpin_packets",
    /// Those of the packets sent on that were left to the kernel, translated.
    LeftToKernel = "xdp_left_to_kernel",
    /// Handed to a worker: shorter than its headers.
    PuntMalformed = "xdp_punt_malformed",
    /// Handed to a worker: IPv4 options or IPv6 extension headers.
    PuntOptions = "xdp_punt_options",
    /// Handed to a worker: a fragment.
    PuntFragment = "xdp_punt_fragment",
    /// Handed to a worker: UDP without a checksum.
    PuntUdpZeroChecksum = "xdp_punt_udp_zero_checksum",
    /// Handed to a worker: an ICMP message, but no echo.
    PuntIcmp = "xdp_punt_icmp",
    /// Handed to a worker: too long for the next hop, or in need of a Fragment header.
    PuntLength = "xdp_punt_length",
    /// Handed to a worker: not translated, for a reason which the worker counts.
    PuntRefused = "xdp_punt_refused",
    /// Handed to a worker: no neighbour entry, no route, or an interface that takes no redirected frames.
    PuntNextHop = "xdp_punt_next_hop",
    /// Asked the kernel for the next hop, for want of a remembered answer.
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
            PuntReason::Icmp => Self::PuntIcmp,
            PuntReason::Length => Self::PuntLength,
            PuntReason::Refused => Self::PuntRefused,
            PuntReason::NextHop => Self::PuntNextHop,
        }
    }
}

impl XdpCounter {
    /// Number of counters: the size of the map's value.
    pub const COUNT: usize = Self::ALL.len();

    /// Returns the index in the map's value.
    #[inline]
    pub const fn index(self) -> usize {
        self as usize
    }
}
