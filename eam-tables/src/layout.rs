//! What the XDP program and the daemon have in common: maps, their keys and values, and the counters of the XDP program.
//!
//! Keys and values are fixed-size and made of integers, without padding. Numbers are in host order, addresses in network
//! order. The daemon writes values as octets (`emit`), so that no side has to trust the other's types. What the values
//! mean for translation is not said here: the XDP program only decides who gets a packet.

use core::mem::offset_of;

/// Name of the XDP program.
pub const PROGRAM: &str = "siit_relay";

/// Map: interface index (`u32`) to [`Port`]; an interface that is not in it is left to the kernel.
pub const PORTS: &str = "PORTS";
/// The most ports a relay can have.
pub const PORTS_MAX_ENTRIES: u32 = 256;

/// Map: longest-prefix table from IPv4 destination (`[u8; 4]`) to [`Ownership`].
pub const OWNERSHIP_V4: &str = "OWNERSHIP_V4";
/// Map: longest-prefix table from IPv6 destination (`[u8; 16]`) to [`Ownership`].
pub const OWNERSHIP_V6: &str = "OWNERSHIP_V6";
/// The most prefixes in each of the ownership tables; memory is only taken for those that are there.
pub const OWNERSHIP_MAX_ENTRIES: u32 = 1 << 22;

/// Map: AF_XDP sockets, at the index that [`Port::socket`] gives.
pub const SOCKETS: &str = "SOCKETS";
/// The most sockets of all ports together.
pub const SOCKETS_MAX_ENTRIES: u32 = 4096;

/// Map: one number for each [`XdpCounter`] and CPU, at the index of the counter.
pub const COUNTERS: &str = "COUNTERS";

/// An interface whose packets the relay looks at.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port {
    /// Index in [`SOCKETS`] of the socket of receive queue 0.
    pub first_socket: u32,
    /// Number of receive queues that have a socket, from queue 0 on.
    pub queues: u32,
    /// The interface's own unicast hardware address.
    pub mac: [u8; 6],
    /// Zeros, in place of padding.
    pub reserved: [u8; 2],
}

impl Port {
    /// Size of the value in octets.
    pub const SIZE: usize = 16;

    /// Returns the octets of the map's value.
    pub fn emit(&self) -> [u8; Self::SIZE] {
        let mut octets = [0; Self::SIZE];
        octets[..4].copy_from_slice(&self.first_socket.to_ne_bytes());
        octets[4..8].copy_from_slice(&self.queues.to_ne_bytes());
        octets[8..14].copy_from_slice(&self.mac);
        octets
    }

    /// Returns the index in [`SOCKETS`] for a receive queue, or `None` if the queue has no socket.
    #[inline]
    pub fn socket(&self, queue: u32) -> Option<u32> {
        if queue < self.queues {
            self.first_socket.checked_add(queue)
        } else {
            None
        }
    }
}

const _: () = assert!(size_of::<Port>() == Port::SIZE);
const _: () = assert!(align_of::<Port>() == 4);
const _: () = assert!(offset_of!(Port, first_socket) == 0);
const _: () = assert!(offset_of!(Port, queues) == 4);
const _: () = assert!(offset_of!(Port, mac) == 8);
const _: () = assert!(offset_of!(Port, reserved) == 14);

/// Who gets the packets for a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// The kernel: the destination is not translated, or is an address of this machine.
    Kernel,
    /// The relay.
    Relay,
}

impl Ownership {
    /// Returns the map's value.
    pub const fn emit(self) -> u32 {
        match self {
            Self::Kernel => 0,
            Self::Relay => 1,
        }
    }

    /// Parses the map's value; a number that nobody has given a meaning leaves the packet to the kernel.
    #[inline]
    pub const fn parse(value: u32) -> Self {
        if value == Self::Relay.emit() {
            Self::Relay
        } else {
            Self::Kernel
        }
    }
}

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
    /// Handed to the worker of the receive queue.
    Redirected = "xdp_redirected",
    /// Dropped: the relay's packet, but no worker has a socket on the receive queue.
    NoSocket = "xdp_no_socket",
}

impl XdpCounter {
    /// Number of counters: the size of the map [`COUNTERS`].
    pub const COUNT: u32 = Self::ALL.len() as u32;

    /// Returns the index in the map [`COUNTERS`].
    #[inline]
    pub const fn index(self) -> u32 {
        self as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_emitted_as_the_struct_lies_in_memory() {
        let port = Port {
            first_socket: 0x0102_0304,
            queues: 7,
            mac: [2, 0, 0, 0, 0, 9],
            reserved: [0; 2],
        };
        let octets = port.emit();
        assert_eq!(
            octets[offset_of!(Port, first_socket)..][..4],
            0x0102_0304_u32.to_ne_bytes()
        );
        assert_eq!(octets[offset_of!(Port, queues)..][..4], 7_u32.to_ne_bytes());
        assert_eq!(octets[offset_of!(Port, mac)..][..6], [2, 0, 0, 0, 0, 9]);
        assert_eq!(octets[offset_of!(Port, reserved)..], [0, 0]);
    }

    #[test]
    fn queues_without_a_socket_have_no_index() {
        let port = Port {
            first_socket: 8,
            queues: 2,
            mac: [0; 6],
            reserved: [0; 2],
        };
        assert_eq!(
            [0, 1, 2, u32::MAX].map(|queue| port.socket(queue)),
            [Some(8), Some(9), None, None]
        );
        assert_eq!(
            Port {
                first_socket: u32::MAX,
                ..port
            }
            .socket(1),
            None
        );
    }

    #[test]
    fn ownership_survives_the_map() {
        for ownership in [Ownership::Kernel, Ownership::Relay] {
            assert_eq!(Ownership::parse(ownership.emit()), ownership);
        }
        assert_eq!(Ownership::parse(u32::MAX), Ownership::Kernel);
    }

    #[test]
    fn counters_are_indexed_in_order_and_named_apart() {
        for (index, counter) in (0..).zip(XdpCounter::ALL) {
            assert_eq!(counter.index(), index);
            assert!(counter.name().starts_with("xdp_"));
            assert!(counter.description().ends_with('.'));
            assert_eq!(
                XdpCounter::ALL
                    .iter()
                    .filter(|other| other.name() == counter.name())
                    .count(),
                1
            );
        }
    }
}
