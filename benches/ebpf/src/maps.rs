//! What the object declares to its loader: the BPF maps, with all the unsafe code that touches them, and the licence.

#![expect(
    unsafe_code,
    reason = "map values are only reachable through pointers into the kernel's memory, and the licence has its own section"
)]

use aya_ebpf::{
    bindings::{BPF_RB_NO_WAKEUP, xdp_action},
    helpers::generated::{bpf_ktime_get_ns, bpf_redirect},
    macros::map,
    maps::{Array, PerCpuArray, RingBuf, XskMap},
    programs::XdpContext,
};

use crate::frame;
use crate::layout::{self, Count, Progress, Sample, Stream};

#[map]
static STREAM: Array<Stream> = Array::with_max_entries(1, 0);

#[map]
static PROGRESS: Array<u64> = Array::with_max_entries(Progress::COUNT, 0);

#[map]
static COUNTS: PerCpuArray<u64> = PerCpuArray::with_max_entries(Count::COUNT, 0);

#[map]
static LATENCIES: PerCpuArray<u64> = PerCpuArray::with_max_entries(layout::BUCKETS, 0);

#[map]
static SAMPLES: RingBuf = RingBuf::with_byte_size(layout::SAMPLES_OCTETS, 0);

#[map]
static SOCKETS: XskMap = XskMap::with_max_entries(layout::SOCKETS_MAX_ENTRIES, 0);

/// Returns what to send.
#[inline(always)]
pub(crate) fn stream() -> Option<&'static Stream> {
    STREAM.get(0)
}

/// An integer in a map which one program at a time changes, on one CPU.
pub(crate) struct Cell(*mut u64);

impl Cell {
    /// Reads it.
    #[inline(always)]
    pub(crate) fn get(&self) -> u64 {
        // SAFETY: the kernel returned the pointer to an element of eight aligned octets, which is never freed.
        unsafe { self.0.read() }
    }

    /// Writes it.
    #[inline(always)]
    pub(crate) fn set(&self, value: u64) {
        // SAFETY: as for `get`.
        unsafe { self.0.write(value) };
    }

    /// Adds to it.
    #[inline(always)]
    pub(crate) fn add(&self, value: u64) {
        self.set(self.get().wrapping_add(value));
    }
}

/// Returns how far the generator is.
#[inline(always)]
pub(crate) fn progress(element: Progress) -> Option<Cell> {
    PROGRESS.get_ptr_mut(element as u32).map(Cell)
}

/// Returns a counter of this CPU.
#[inline(always)]
pub(crate) fn count(element: Count) -> Option<Cell> {
    COUNTS.get_ptr_mut(element as u32).map(Cell)
}

/// Returns a bucket of this CPU's histogram of latencies.
#[inline(always)]
pub(crate) fn latency(bucket: u32) -> Option<Cell> {
    LATENCIES.get_ptr_mut(bucket).map(Cell)
}

/// Hands a copy of the frame to the loader, if there is room.
#[inline(always)]
pub(crate) fn sample(context: &XdpContext) {
    let Some(mut entry) = SAMPLES.reserve::<Sample>(0) else {
        return;
    };
    let sample = entry.as_mut_ptr();
    // SAFETY: the entry has room for a whole sample.
    let octets = unsafe { &raw mut (*sample).octets };
    let length = frame::told_length(context);
    if frame::copy(context, length, octets) {
        // SAFETY: the entry has room for a whole sample.
        let field = unsafe { &raw mut (*sample).length };
        // SAFETY: as above; the kernel aligns entries to eight octets.
        unsafe { field.write(length) };
        entry.submit(u64::from(BPF_RB_NO_WAKEUP));
    } else {
        entry.discard(u64::from(BPF_RB_NO_WAKEUP));
    }
}

/// Hands the frame to the socket of its queue, or to the kernel if there is none.
#[inline(always)]
pub(crate) fn to_socket(queue: u32) -> u32 {
    match SOCKETS.redirect(queue, u64::from(xdp_action::XDP_PASS)) {
        Ok(action) | Err(action) => action,
    }
}

/// Sends the frame out of an interface.
#[inline(always)]
pub(crate) fn redirect(interface: u32) -> u32 {
    // SAFETY: the helper takes any number, and refuses those that are no interface's.
    let action = unsafe { bpf_redirect(interface, 0) };
    action as u32
}

/// Returns the time since the machine's start, in nanoseconds.
#[inline(always)]
pub(crate) fn now() -> u64 {
    // SAFETY: the helper has no arguments and cannot fail.
    unsafe { bpf_ktime_get_ns() }
}

/// Licence as the kernel spells it; some helper functions are open to compatible ones only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
