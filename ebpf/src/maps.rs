//! What the object declares to its loader: the BPF maps, with all the unsafe code that touches them, and the licence.
//!
//! Names, sizes and values of the maps are those of `eam_tables::layout`.

#![expect(
    unsafe_code,
    reason = "map values are only reachable through pointers into the kernel's memory, and the licence has its own section"
)]

use aya_ebpf::{
    bindings::{BPF_F_NO_PREALLOC, xdp_action},
    macros::map,
    maps::{HashMap, LpmTrie, PerCpuArray, XskMap, lpm_trie::Key},
};
use eam_tables::layout::{self, Ownership, Port, XdpCounter};

#[map]
static PORTS: HashMap<u32, Port> =
    HashMap::with_max_entries(layout::PORTS_MAX_ENTRIES, BPF_F_NO_PREALLOC);

#[map]
static OWNERSHIP_V4: LpmTrie<[u8; 4], u32> =
    LpmTrie::with_max_entries(layout::OWNERSHIP_MAX_ENTRIES, BPF_F_NO_PREALLOC);

#[map]
static OWNERSHIP_V6: LpmTrie<[u8; 16], u32> =
    LpmTrie::with_max_entries(layout::OWNERSHIP_MAX_ENTRIES, BPF_F_NO_PREALLOC);

#[map]
static SOCKETS: XskMap = XskMap::with_max_entries(layout::SOCKETS_MAX_ENTRIES, 0);

#[map]
static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(XdpCounter::COUNT, 0);

/// Returns the port with an interface index, if the interface is one.
#[inline(always)]
pub(crate) fn port(interface: u32) -> Option<Port> {
    // SAFETY: the map does not preallocate, so that an element is replaced as a whole and freed only after every program that
    // may have seen it has ended.
    unsafe { PORTS.get(interface) }.copied()
}

/// Says who gets the packets for an IPv4 address; without an entry it is the kernel.
#[inline(always)]
pub(crate) fn ownership_v4(destination: [u8; 4]) -> Ownership {
    OWNERSHIP_V4
        .get(Key::new(32, destination))
        .map_or(Ownership::Kernel, |value| Ownership::parse(*value))
}

/// Says who gets the packets for an IPv6 address; without an entry it is the kernel.
#[inline(always)]
pub(crate) fn ownership_v6(destination: [u8; 16]) -> Ownership {
    OWNERSHIP_V6
        .get(Key::new(128, destination))
        .map_or(Ownership::Kernel, |value| Ownership::parse(*value))
}

/// Asks the kernel to hand the frame to a socket; says whether there is one.
#[inline(always)]
pub(crate) fn redirect(socket: u32) -> bool {
    SOCKETS
        .redirect(socket, u64::from(xdp_action::XDP_DROP))
        .is_ok()
}

/// Adds one to a counter of this CPU.
#[inline(always)]
pub(crate) fn count(counter: XdpCounter) {
    if let Some(value) = COUNTERS.get_ptr_mut(counter.index()) {
        // SAFETY: the kernel returned the pointer to this CPU's value of the element.
        let count = unsafe { value.read() };
        // SAFETY: as above. Nothing comes between the two: no other program that counts here interrupts this one on its CPU.
        unsafe { value.write(count.wrapping_add(1)) };
    }
}

/// Licence as the kernel spells it; some helper functions are open to compatible ones only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
