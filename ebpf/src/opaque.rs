//! Numbers of which the compiler is to know nothing.

#![expect(
    unsafe_code,
    reason = "no safe word keeps the compiler from knowing a number"
)]

use core::arch::asm;

/// Returns a number of which the compiler knows nothing.
#[inline(always)]
pub(crate) fn opaque(mut number: u64) -> u64 {
    // SAFETY: a register is moved to itself. Without any instruction there would be two entries for one in the line table, which
    // the kernel refuses.
    unsafe { asm!("{0} = {0}", inout(reg) number, options(pure, nomem, nostack)) };
    number
}
