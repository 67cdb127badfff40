//! What the XDP program and the daemon have in common: maps, their keys and values, and the counters of the XDP program.
//!
//! Keys and values are fixed-size and made of integers, without padding. Numbers are in host order, addresses in network
//! order. The daemon writes values as octets (`emit`), so that no side has to trust the other's types. What the values
//! mean for translation is not said here: the XDP program only decides who gets a packet.

mod counters;
mod next_hop;
mod settings;

pub use counters::XdpCounter;
pub use next_hop::{
    CachedHop, DEVICES, EGRESSES, EGRESSES_MAX_ENTRIES, Egress, HOPS, HOPS_MAX_ENTRIES, Memory,
    NEIGHBOURS, NEIGHBOURS_MAX_ENTRIES, NeighbourKey, STATE, State,
};
pub use settings::{SETTINGS, Settings, Work};

use core::mem::offset_of;

/// Name of the XDP program.
pub const PROGRAM: &str = "siit_relay";

/// Map: interface index (`u32`) to [`Port`]; an interface that is not in it is left to the kernel.
pub const PORTS: &str = "PORTS";
/// Map: as [`PORTS`], at the index of the interface; one with a hardware address of zeros is none.
pub const LOW_PORTS: &str = "LOW_PORTS";
/// Interface indices below this one are in [`LOW_PORTS`], others in [`PORTS`].
pub const LOW_PORTS_MAX_ENTRIES: u32 = 1 << 12;
/// The most ports a relay can have.
pub const PORTS_MAX_ENTRIES: u32 = 256;

/// Map: [`Slot4`](crate::flat::Slot4)s of the mappings, searched by IPv4 address.
pub const EAM_V4: &str = "EAM_V4";
/// Map: [`Slot6`](crate::flat::Slot6)s of the mappings, searched by IPv6 address.
pub const EAM_V6: &str = "EAM_V6";
/// Map: the words (`u64`) of the filter in front of [`EAM_V4`].
pub const FILTER_V4: &str = "FILTER_V4";
/// Map: the words (`u64`) of the filter in front of [`EAM_V6`].
pub const FILTER_V6: &str = "FILTER_V6";

/// Map: [`MappingCount`]s, for each processor one of each mapping, in the order of the mappings' numbers; none at all if
/// [`Settings::mappings`] is zero.
pub const EAM_COUNTS: &str = "EAM_COUNTS";
/// What a processor has counted for a mapping: packets and octets from IPv4, then packets and octets from IPv6.
pub type MappingCount = [u64; 4];

/// Map: longest-prefix table from IPv4 address (`u32`, network order) to the sum of the numbers of the [`List`]s that it is in.
pub const LISTS_V4: &str = "LISTS_V4";
/// The most prefixes in [`LISTS_V4`]; memory is only taken for those that are there.
pub const LISTS_MAX_ENTRIES: u32 = 1 << 20;

/// Map: the machine's own IPv4 addresses (`u32`, host order).
pub const OWN_V4: &str = "OWN_V4";
/// Map: the machine's own IPv6 addresses (`[u64; 2]`: the halves, host order).
pub const OWN_V6: &str = "OWN_V6";
/// The most own addresses of each family; memory is only taken for those that are there.
pub const OWN_MAX_ENTRIES: u32 = 1 << 16;

/// Map: AF_XDP sockets, at the index that [`Port::socket`] gives.
pub const SOCKETS: &str = "SOCKETS";
/// The most sockets of all ports together.
pub const SOCKETS_MAX_ENTRIES: u32 = 4096;

/// Map: one number for each [`XdpCounter`] and CPU, at the index of the counter.
pub const COUNTERS: &str = "COUNTERS";

/// An interface whose packets the relay looks at.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port {
    /// The interface's own unicast hardware address.
    pub mac: [u8; 6],
    /// Number of the port, counted from 0; and [`VETH`](Self::VETH).
    pub number: u16,
    /// Index in [`SOCKETS`] of the socket of receive queue 0.
    pub first_socket: u32,
    /// Number of receive queues that have a socket, from queue 0 on.
    pub queues: u32,
}

impl Port {
    /// Size of the value in octets.
    pub const SIZE: usize = 16;

    /// In [`number`](Self::number): the interface is an end of a veth pair. Frames that leave by the port by which they came are
    /// redirected to it, too, since its driver does not send them back by itself (XDP_TX); and checksums may be unfinished.
    pub const VETH: u16 = 1 << 15;

    /// Returns the index in [`DEVICES`].
    pub const fn device(&self) -> u32 {
        (self.number & !Self::VETH) as u32
    }

    /// Says whether the interface is an end of a veth pair.
    #[inline(always)]
    pub const fn is_veth(&self) -> bool {
        self.number & Self::VETH != 0
    }

    /// Returns the octets of the map's value.
    pub fn emit(&self) -> [u8; Self::SIZE] {
        let mut octets = [0; Self::SIZE];
        octets[..6].copy_from_slice(&self.mac);
        octets[6..8].copy_from_slice(&self.number.to_ne_bytes());
        octets[8..12].copy_from_slice(&self.first_socket.to_ne_bytes());
        octets[12..].copy_from_slice(&self.queues.to_ne_bytes());
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
const _: () = assert!(offset_of!(Port, mac) == 0);
const _: () = assert!(offset_of!(Port, number) == 6);
const _: () = assert!(offset_of!(Port, first_socket) == 8);
const _: () = assert!(offset_of!(Port, queues) == 12);

/// The lists of IPv4 prefixes in a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    /// Translated by RFC 6052 instead of an EAM.
    Translatable,
    /// Routed to the relay for services.
    ServicePool,
    /// Never translated by RFC 6052.
    Denied,
}

impl List {
    /// Returns the list's number: a power of two.
    #[inline]
    pub const fn number(self) -> u32 {
        match self {
            Self::Translatable => 1,
            Self::ServicePool => 2,
            Self::Denied => 4,
        }
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
            number: 0x0506,
        };
        let octets = port.emit();
        assert_eq!(
            octets[offset_of!(Port, first_socket)..][..4],
            0x0102_0304_u32.to_ne_bytes()
        );
        assert_eq!(octets[offset_of!(Port, queues)..][..4], 7_u32.to_ne_bytes());
        assert_eq!(octets[offset_of!(Port, mac)..][..6], [2, 0, 0, 0, 0, 9]);
        assert_eq!(
            octets[offset_of!(Port, number)..][..2],
            0x0506_u16.to_ne_bytes()
        );
    }

    #[test]
    fn queues_without_a_socket_have_no_index() {
        let port = Port {
            first_socket: 8,
            queues: 2,
            mac: [0; 6],
            number: 0,
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
    fn counters_are_indexed_in_order_and_named_apart() {
        for (index, counter) in XdpCounter::ALL.into_iter().enumerate() {
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
