//! Words at any address of a frame, read and written in one instruction each.
//!
//! The BPF instruction set and the verifier allow it where the machine does; the compiler would take them octet by octet.

#![expect(
    unsafe_code,
    reason = "packet memory is only reachable through pointers, and the compiler has no word for what is needed"
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

/// Copies the octets at a place, in the fewest words.
///
/// # Safety
///
/// `from` points at `N` octets that may be read.
#[inline(always)]
pub(crate) unsafe fn load<const N: usize>(from: *const [u8; N]) -> [u8; N] {
    let from: *const u8 = from.cast();
    let mut octets = [0; N];
    let (eights, rest) = octets.as_chunks_mut::<8>();
    let mut at = 0_usize;
    for eight in eights {
        let word: u64;
        // SAFETY: these octets are a part of what the caller vouches for.
        unsafe {
            asm!("{} = *(u64 *)({} + 0)", out(reg) word, in(reg) from.wrapping_add(at), options(nostack, readonly, pure))
        };
        *eight = word.to_ne_bytes();
        at = at.wrapping_add(8);
    }
    let (fours, rest) = rest.as_chunks_mut::<4>();
    for four in fours {
        let word: u64;
        // SAFETY: as above.
        unsafe {
            asm!("{} = *(u32 *)({} + 0)", out(reg) word, in(reg) from.wrapping_add(at), options(nostack, readonly, pure))
        };
        *four = (word as u32).to_ne_bytes();
        at = at.wrapping_add(4);
    }
    let (twos, rest) = rest.as_chunks_mut::<2>();
    for two in twos {
        let word: u64;
        // SAFETY: as above.
        unsafe {
            asm!("{} = *(u16 *)({} + 0)", out(reg) word, in(reg) from.wrapping_add(at), options(nostack, readonly, pure))
        };
        *two = (word as u16).to_ne_bytes();
        at = at.wrapping_add(2);
    }
    for one in rest {
        let word: u64;
        // SAFETY: as above.
        unsafe {
            asm!("{} = *(u8 *)({} + 0)", out(reg) word, in(reg) from.wrapping_add(at), options(nostack, readonly, pure))
        };
        *one = word as u8;
        at = at.wrapping_add(1);
    }
    octets
}

/// Writes octets to a place, in the fewest words.
///
/// # Safety
///
/// `to` points at `N` octets that may be written.
#[inline(always)]
pub(crate) unsafe fn store<const N: usize>(to: *mut [u8; N], octets: [u8; N]) {
    let to: *mut u8 = to.cast();
    let (eights, rest) = octets.as_chunks::<8>();
    let mut at = 0_usize;
    for eight in eights {
        let word = u64::from_ne_bytes(*eight);
        // SAFETY: these octets are a part of what the caller vouches for.
        unsafe {
            asm!("*(u64 *)({} + 0) = {}", in(reg) to.wrapping_add(at), in(reg) word, options(nostack))
        };
        at = at.wrapping_add(8);
    }
    let (fours, rest) = rest.as_chunks::<4>();
    for four in fours {
        let word = u64::from(u32::from_ne_bytes(*four));
        // SAFETY: as above.
        unsafe {
            asm!("*(u32 *)({} + 0) = {}", in(reg) to.wrapping_add(at), in(reg) word, options(nostack))
        };
        at = at.wrapping_add(4);
    }
    let (twos, rest) = rest.as_chunks::<2>();
    for two in twos {
        let word = u64::from(u16::from_ne_bytes(*two));
        // SAFETY: as above.
        unsafe {
            asm!("*(u16 *)({} + 0) = {}", in(reg) to.wrapping_add(at), in(reg) word, options(nostack))
        };
        at = at.wrapping_add(2);
    }
    for one in rest {
        // SAFETY: as above.
        unsafe {
            asm!("*(u8 *)({} + 0) = {}", in(reg) to.wrapping_add(at), in(reg) u64::from(*one), options(nostack))
        };
        at = at.wrapping_add(1);
    }
}
