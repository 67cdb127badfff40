//! Bringing memory nearer before it is read.

#![allow(
    unsafe_code,
    reason = "the instruction has no safe name, and the kernel takes an address"
)]

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
