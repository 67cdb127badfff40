//! Bringing memory nearer before it is read.

#![allow(
    unsafe_code,
    reason = "the instruction has no safe name, and the kernel takes an address"
)]

use rustix::mm::{Advice, madvise};
use std::ops::Range;

/// Has the processor fetch the cache line in which `place` begins, without waiting for it.
#[inline(always)]
pub fn prefetch<T>(place: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let place = std::ptr::from_ref(place).cast();
        // SAFETY: the instruction belongs to every x86-64 processor, and changes nothing that a program can see.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(place) };
    }
    // Elsewhere the memory is read when it is needed.
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}

/// The size of a huge page in octets, on most machines.
const HUGE_PAGE: usize = 2 * 1024 * 1024;

/// Asks the kernel for huge pages in memory that has not been used yet: looking something up in a large table then costs one miss in
/// the processor's address translation less.
pub fn prefer_huge_pages(memory: Range<*const ()>) {
    let start = memory.start.addr().next_multiple_of(HUGE_PAGE);
    let end = memory.end.addr() / HUGE_PAGE * HUGE_PAGE;
    if start >= end {
        return;
    }
    let place = memory.start.with_addr(start).cast_mut().cast();
    // SAFETY: the advice changes no octet of the memory, only how large the pieces are in which the kernel provides it.
    let advised = unsafe { madvise(place, end - start, Advice::LinuxHugepage) };
    // A kernel without huge pages goes on with small ones.
    let _ = advised;
}
