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

/// Copies words of one width from `$from + $at` into octets, as many as fit, and moves `$at` on; returns the octets left over.
macro_rules! load {
    ($word:ty, $bits:literal, $octets:expr, $from:ident, $at:ident) => {{
        let (places, rest) = $octets.as_chunks_mut::<{ size_of::<$word>() }>();
        for place in places {
            let word: u64;
            // SAFETY: these octets are a part of what the caller of `load` vouches for.
            unsafe {
                asm!(
                    concat!("{} = *(u", $bits, " *)({} + 0)"),
                    out(reg) word,
                    in(reg) $from.wrapping_add($at),
                    options(nostack, readonly, pure)
                )
            };
            *place = (word as $word).to_ne_bytes();
            $at = $at.wrapping_add(size_of::<$word>());
        }
        rest
    }};
}

/// Writes octets to `$to + $at` in words of one width, as many as there are, and moves `$at` on; returns the octets left over.
macro_rules! store {
    ($word:ty, $bits:literal, $octets:expr, $to:ident, $at:ident) => {{
        let (pieces, rest) = $octets.as_chunks::<{ size_of::<$word>() }>();
        for piece in pieces {
            // SAFETY: these octets are a part of what the caller of `store` vouches for.
            unsafe {
                asm!(
                    concat!("*(u", $bits, " *)({} + 0) = {}"),
                    in(reg) $to.wrapping_add($at),
                    in(reg) u64::from(<$word>::from_ne_bytes(*piece)),
                    options(nostack)
                )
            };
            $at = $at.wrapping_add(size_of::<$word>());
        }
        rest
    }};
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
    let mut at = 0_usize;
    let rest = load!(u64, "64", octets, from, at);
    let rest = load!(u32, "32", rest, from, at);
    let rest = load!(u16, "16", rest, from, at);
    load!(u8, "8", rest, from, at);
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
    let mut at = 0_usize;
    let rest = store!(u64, "64", octets, to, at);
    let rest = store!(u32, "32", rest, to, at);
    let rest = store!(u16, "16", rest, to, at);
    store!(u8, "8", rest, to, at);
}
