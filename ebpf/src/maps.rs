//! What the object declares to its loader, and what it asks the kernel besides: BPF maps, settings, next hops, licence.
//!
//! Names, sizes and values of the maps are those of `eam_tables::layout`. A size of one entry is the loader's to change.

#![expect(
    unsafe_code,
    reason = "map values are only reachable through pointers into the kernel's memory, and the licence has its own section"
)]

use core::net::{Ipv4Addr, Ipv6Addr};

use crate::scratch::{Piece, Question, Scratch};
use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC, BPF_FIB_LKUP_RET_SUCCESS, xdp_action},
    helpers::generated::{bpf_fib_lookup, bpf_get_smp_processor_id, bpf_jiffies64},
    macros::map,
    maps::{Array, DevMap, HashMap, LpmTrie, LruHashMap, PerCpuArray, XskMap, lpm_trie::Key},
    programs::XdpContext,
};
use eam_tables::flat::{self, Filter, Slot4, Slot6, Slots};
use eam_tables::layout::{
    self, CachedHop, Egress, List, MappingCount, NeighbourKey, Port, Settings, State, XdpCounter,
};
use relay_core::address::{halves, join};

#[map]
static PORTS: HashMap<u32, Port> =
    HashMap::with_max_entries(layout::PORTS_MAX_ENTRIES, BPF_F_NO_PREALLOC);

/// The ports with low interface indices, which take no hash to be found.
#[map]
static LOW_PORTS: Array<Port> = Array::with_max_entries(layout::LOW_PORTS_MAX_ENTRIES, 0);

#[map]
static EAM_V4: Array<Slot4> = Array::with_max_entries(1, BPF_F_MMAPABLE);

#[map]
static EAM_V6: Array<Slot6> = Array::with_max_entries(1, BPF_F_MMAPABLE);

#[map]
static FILTER_V4: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);

#[map]
static FILTER_V6: Array<u64> = Array::with_max_entries(1, BPF_F_MMAPABLE);

#[map]
static EAM_COUNTS: Array<MappingCount> = Array::with_max_entries(1, BPF_F_MMAPABLE);

#[map]
static LISTS_V4: LpmTrie<u32, u32> =
    LpmTrie::with_max_entries(layout::LISTS_MAX_ENTRIES, BPF_F_NO_PREALLOC);

#[map]
static OWN_V4: HashMap<u32, u32> =
    HashMap::with_max_entries(layout::OWN_MAX_ENTRIES, BPF_F_NO_PREALLOC);

#[map]
static OWN_V6: HashMap<[u64; 2], u32> =
    HashMap::with_max_entries(layout::OWN_MAX_ENTRIES, BPF_F_NO_PREALLOC);

#[map]
static EGRESSES: HashMap<u32, Egress> =
    HashMap::with_max_entries(layout::EGRESSES_MAX_ENTRIES, BPF_F_NO_PREALLOC);

#[map]
static DEVICES: DevMap = DevMap::with_max_entries(layout::PORTS_MAX_ENTRIES, 0);

#[map]
static STATE: Array<State> = Array::with_max_entries(1, 0);

#[map]
static HOPS: PerCpuArray<CachedHop> = PerCpuArray::with_max_entries(layout::HOPS_MAX_ENTRIES, 0);

#[map]
static NEIGHBOURS: LruHashMap<NeighbourKey, u32> =
    LruHashMap::with_max_entries(layout::NEIGHBOURS_MAX_ENTRIES, 0);

#[map]
static SOCKETS: XskMap = XskMap::with_max_entries(layout::SOCKETS_MAX_ENTRIES, 0);

/// The counters of a CPU.
type Counters = [u64; XdpCounter::COUNT];

#[map]
static COUNTERS: PerCpuArray<Counters> = PerCpuArray::with_max_entries(1, 0);

/// The notes of each CPU.
#[map]
static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);

/// Pieces of frames that are summed.
#[map]
static PIECES: PerCpuArray<Piece> = PerCpuArray::with_max_entries(1, 0);

#[unsafe(no_mangle)]
static SETTINGS: Settings = Settings::NONE;

/// Returns what the loader has put in place of [`SETTINGS`].
#[inline(always)]
pub(crate) fn settings() -> &'static Settings {
    // The compiler must not think that it knows them.
    core::hint::black_box(&SETTINGS)
}

/// Returns the port with an interface index, if the interface is one.
#[inline(always)]
pub(crate) fn port(interface: u32) -> Option<&'static Port> {
    if interface < layout::LOW_PORTS_MAX_ENTRIES {
        return LOW_PORTS.get(interface).filter(|port| port.mac != [0; 6]);
    }
    // SAFETY: the map does not preallocate, so that an element is replaced as a whole and freed only after every program that
    // may have seen it has ended.
    unsafe { PORTS.get(interface) }
}

/// The slots and the filter for IPv4 addresses.
pub(crate) struct TableV4;

impl Slots<Slot4> for TableV4 {
    #[inline(always)]
    fn slot(&self, index: u32) -> Option<&Slot4> {
        EAM_V4.get(index)
    }
}

impl Filter for TableV4 {
    #[inline(always)]
    fn word(&self, index: u32) -> Option<u64> {
        FILTER_V4.get(index).copied()
    }
}

/// The slots and the filter for IPv6 addresses.
pub(crate) struct TableV6;

impl Slots<Slot6> for TableV6 {
    #[inline(always)]
    fn slot(&self, index: u32) -> Option<&Slot6> {
        EAM_V6.get(index)
    }
}

impl Filter for TableV6 {
    #[inline(always)]
    fn word(&self, index: u32) -> Option<u64> {
        FILTER_V6.get(index).copied()
    }
}

/// Returns the slot of the longest prefix that contains an IPv4 address, without asking the filter.
#[inline(always)]
pub(crate) fn longest_v4(address: Ipv4Addr) -> Option<&'static Slot4> {
    let number = search_v4(address.to_bits()).checked_sub(1)?;
    EAM_V4.get(number as u32)
}

/// Returns the slot of the longest prefix that contains an IPv6 address, without asking the filter.
#[inline(always)]
pub(crate) fn longest_v6(address: Ipv6Addr) -> Option<&'static Slot6> {
    let [high, low] = halves(address);
    let number = search_v6(high, low).checked_sub(1)?;
    EAM_V6.get(number as u32)
}

// The searches are functions of their own, and global ones, which take and return numbers: so the verifier looks at them once,
// and not again wherever they are called.

/// Returns the number of the slot for an IPv4 address plus one; zero if there is none.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn search_v4(address: u32) -> u64 {
    let (shape, address) = (&settings().shape_v4, Ipv4Addr::from_bits(address));
    flat::longest_v4(shape, &TableV4, address).map_or(0, |number| u64::from(number).wrapping_add(1))
}

/// Returns the number of the slot for an IPv6 address plus one; zero if there is none.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn search_v6(high: u64, low: u64) -> u64 {
    let address = join([high, low]);
    let shape = &settings().shape_v6;
    flat::longest_v6(shape, &TableV6, address).map_or(0, |number| u64::from(number).wrapping_add(1))
}

/// A key on the stack, where the verifier wants words at multiples of their size.
#[repr(align(8))]
struct Aligned<T>(T);

/// Says whether an IPv4 address is in a list.
#[inline(always)]
pub(crate) fn is_listed(address: Ipv4Addr, list: List) -> bool {
    let key = Aligned(Key::new(32, address.to_bits().to_be()));
    LISTS_V4
        .get(&key.0)
        .is_some_and(|lists| lists & list.number() != 0)
}

/// Says whether an IPv4 address is one of the machine's own.
#[inline(always)]
pub(crate) fn is_own_v4(address: u64) -> bool {
    // SAFETY: as for the ports.
    unsafe { OWN_V4.get(address as u32) }.is_some()
}

/// Says whether an IPv6 address, in halves, is one of the machine's own.
#[inline(always)]
pub(crate) fn is_own_v6(address: [u64; 2]) -> bool {
    // SAFETY: as for the ports.
    unsafe { OWN_V6.get(address) }.is_some()
}

/// Returns how frames leave by an interface, if they can without the kernel's help.
#[inline(always)]
pub(crate) fn egress(interface: u32) -> Option<&'static Egress> {
    // SAFETY: as for the ports.
    unsafe { EGRESSES.get(interface) }
}

/// Returns what of the network changes by itself.
#[inline(always)]
pub(crate) fn state() -> Option<&'static State> {
    STATE.get(0)
}

/// Returns a place of this CPU for an answer of the kernel.
#[inline(always)]
pub(crate) fn hop(index: u32) -> Option<&'static mut CachedHop> {
    let place = HOPS.get_ptr_mut(index)?;
    // SAFETY: the kernel returned the pointer to this CPU's value of the element, and nothing else that uses it interrupts this
    // program on its CPU.
    Some(unsafe { &mut *place })
}

/// Returns the notes of this CPU.
#[inline(always)]
pub(crate) fn scratch() -> Option<&'static mut Scratch> {
    let place = SCRATCH.get_ptr_mut(0)?;
    // SAFETY: as for the next hops.
    Some(unsafe { &mut *place })
}

/// Returns this CPU's room for a piece of a frame.
#[inline(always)]
pub(crate) fn piece() -> Option<&'static mut Piece> {
    let place = PIECES.get_ptr_mut(0)?;
    // SAFETY: as for the next hops.
    Some(unsafe { &mut *place })
}

/// Asks the kernel to hand the frame to a socket; says whether there is one.
#[inline(always)]
pub(crate) fn redirect(socket: u32) -> bool {
    SOCKETS
        .redirect(socket, u64::from(xdp_action::XDP_DROP))
        .is_ok()
}

/// Asks the kernel to send the frame out of a port, which is there.
#[inline(always)]
pub(crate) fn send(port: u32) {
    let _ = DEVICES.redirect(port, u64::from(xdp_action::XDP_DROP));
}

/// Adds to a counter of this CPU.
#[inline(always)]
pub(crate) fn count(counter: XdpCounter, amount: u64) {
    count_at(counter.index(), amount);
}

/// Adds to the counter of this CPU with an index.
#[inline(always)]
pub(crate) fn count_at(index: usize, amount: u64) {
    if let Some(counters) = counters() {
        add(counters, index, amount);
    }
}

/// Returns the counters of this CPU.
#[inline(always)]
pub(crate) fn counters() -> Option<&'static mut Counters> {
    let values = COUNTERS.get_ptr_mut(0)?;
    // SAFETY: the kernel returned the pointer to this CPU's value, and no other program that counts here interrupts this one
    // on its CPU.
    Some(unsafe { &mut *values })
}

/// Counts a packet of so many octets for the mapping with a number less one, if there is one.
#[inline(always)]
pub(crate) fn count_for(mapping: u32, is_from_v4: bool, octets: u64) {
    let mappings = settings().mappings;
    if mapping == 0 || mappings == 0 {
        return;
    }
    // SAFETY: the helper takes nothing and only reads a number.
    let processor = unsafe { bpf_get_smp_processor_id() };
    let index = processor
        .wrapping_mul(mappings)
        .wrapping_add(mapping.wrapping_sub(1));
    let Some(place) = EAM_COUNTS.get_ptr_mut(index) else {
        return;
    };
    // SAFETY: nobody else writes to the values of this processor, and nothing that does interrupts this program on it.
    let [packets_v4, octets_v4, packets_v6, octets_v6] = unsafe { &mut *place };
    let (packets, sum) = if is_from_v4 {
        (packets_v4, octets_v4)
    } else {
        (packets_v6, octets_v6)
    };
    *packets = packets.wrapping_add(1);
    *sum = sum.wrapping_add(octets);
}

/// Adds to one of the counters.
#[inline(always)]
pub(crate) fn add(counters: &mut Counters, index: usize, amount: u64) {
    if let Some(value) = counters.get_mut(index) {
        *value = value.wrapping_add(amount);
    }
}

/// Notes the neighbour that an answer named, so that the daemon has the kernel confirm it from time to time.
#[inline(always)]
pub(crate) fn note_neighbour(answer: &Question) {
    let [a, b, c, d] = answer.destination;
    let key: NeighbourKey = [answer.interface, u32::from(answer.family), a, b, c, d];
    // Without room, another neighbour in use had it.
    let _ = NEIGHBOURS.insert(key, 1, 0);
}

/// Asks the kernel; says whether there is a gateway between here and the destination, or `None` if there is no answer.
#[inline(always)]
pub(crate) fn ask(context: &XdpContext, question: &mut Question) -> Option<bool> {
    let destination = question.destination;
    // SAFETY: the structure is the kernel's, of the size given, and lives as long as the call.
    let answer = unsafe {
        bpf_fib_lookup(
            context.ctx.cast(),
            (&raw mut *question).cast(),
            size_of::<Question>() as i32,
            0,
        )
    };
    if answer != i64::from(BPF_FIB_LKUP_RET_SUCCESS) {
        return None;
    }
    // The loopback's 65536 does not fit into the field.
    if question.mtu == 0 {
        question.mtu = u16::MAX;
    }
    // The kernel puts the gateway in the destination's place.
    let [a, b, c, d] = destination;
    let [e, f, g, h] = question.destination;
    Some((a ^ e) | (b ^ f) | (c ^ g) | (d ^ h) != 0)
}

/// Returns the kernel's clock, in its jiffies.
#[inline(always)]
pub(crate) fn jiffies() -> u32 {
    // SAFETY: the helper takes nothing and only reads a number.
    let jiffies = unsafe { bpf_jiffies64() };
    jiffies as u32
}

/// Licence as the kernel spells it; some helper functions are open to compatible ones only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
