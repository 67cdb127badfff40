//! The frame in front of the XDP program, read by bounds-checked copies and rewritten: all the unsafe code that touches packets.
//!
//! Nothing is understood here; `relay_core` does that.
//!
//! Reading behind VLAN tags adds a run-time offset to a packet pointer, which Linux (seen on 6.18) refuses to a loader without
//! CAP_PERFMON. `bpf_xdp_load_bytes` in its place doubles the time of the whole program (24 to 43 ns a frame there).

#![expect(
    unsafe_code,
    reason = "packet memory is only reachable through the pointers of the context"
)]

use aya_ebpf::{
    bindings::xdp_md,
    helpers::generated::{
        bpf_csum_diff, bpf_xdp_adjust_head, bpf_xdp_adjust_tail, bpf_xdp_get_buff_len,
        bpf_xdp_load_bytes,
    },
    programs::XdpContext,
};
use relay_core::wire::{Octets, checksum::Sum};

use crate::maps;
use crate::opaque::opaque;
use crate::scratch::{PIECE, Piece};

/// The highest offset that is read at, in octets.
///
/// The verifier loses track of a packet pointer once the offset added to it may exceed 16 bits; no header lies as far as this.
const MAX_OFFSET: usize = 0x3fff;

/// The most pieces of a frame that are summed: more than a jumbo frame has.
const MOST_PIECES: u32 = 20;

/// A received frame from some offset on: from its Ethernet header, or from its network header.
#[derive(Clone, Copy)]
pub(crate) struct Frame<'a> {
    context: &'a XdpContext,
    start: usize,
}

impl<'a> Frame<'a> {
    /// Makes the frame of a context accessible.
    #[inline(always)]
    pub(crate) fn new(context: &'a XdpContext) -> Self {
        Self { context, start: 0 }
    }

    /// Moves the start by `octets`: forwards to cut the front off, backwards to make room there, if there is any.
    #[inline(always)]
    pub(crate) fn move_start(&mut self, octets: i32) -> Option<()> {
        // SAFETY: the context is the one that the kernel called this program with. All pointers into the frame are void after
        // this; `load` and `store` take theirs afresh each time.
        match unsafe { bpf_xdp_adjust_head(self.context.ctx, octets) } {
            0 => Some(()),
            _ => None,
        }
    }

    /// Cuts `octets` off the end, if there are as many.
    #[inline(always)]
    pub(crate) fn cut_end(&mut self, octets: u32) -> Option<()> {
        let change = 0_i32.wrapping_sub_unsigned(octets);
        // SAFETY: as in `move_start`.
        match unsafe { bpf_xdp_adjust_tail(self.context.ctx, change) } {
            0 => Some(()),
            _ => None,
        }
    }

    /// Returns the first `N` octets to be written, if they are all there.
    #[inline(always)]
    pub(crate) fn front_mut<const N: usize>(&mut self) -> Option<&mut [u8; N]> {
        let place = self.place::<N>(0)?.cast_mut();
        // SAFETY: `place` points at N octets of the frame, which is this program's alone while it runs. The frame does not move
        // while they are borrowed.
        Some(unsafe { &mut *place })
    }

    /// Writes octets at an offset, if they fit.
    #[inline(always)]
    pub(crate) fn store<const N: usize>(&mut self, at: usize, octets: [u8; N]) -> Option<()> {
        let place = self.place::<N>(at)?.cast_mut();
        // SAFETY: as in `front_mut`.
        unsafe { place.write(octets) };
        Some(())
    }

    /// Returns where the `N` octets from offset `at` lie, if they are all there.
    #[inline(always)]
    fn place<const N: usize>(&self, at: usize) -> Option<*const [u8; N]> {
        const { assert!(N <= MAX_OFFSET) };
        let at = self.start.wrapping_add(at);
        if at > MAX_OFFSET {
            return None;
        }
        // In this form, and no other, the verifier learns the bound: start, plus length, against the end. The compiler would
        // compare the start itself if the length is one.
        let start = self.context.data().wrapping_add(at);
        if opaque(start.wrapping_add(N) as u64) > self.context.data_end() as u64 {
            return None;
        }
        Some(start as *const [u8; N])
    }
}

impl Octets for Frame<'_> {
    /// Asks the kernel: `data_end - data` is not all of a frame that lies in several buffers.
    #[inline(always)]
    fn len(&self) -> usize {
        // SAFETY: the context is the one that the kernel called this program with, and lives as long as the call.
        let length = unsafe { bpf_xdp_get_buff_len(self.context.ctx) };
        (length as usize).wrapping_sub(self.start)
    }

    #[inline(always)]
    fn load<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        let octets = self.place::<N>(at)?;
        // SAFETY: `octets` points at N octets of the frame. Any octets are a valid array of them, at any alignment.
        Some(unsafe { octets.read() })
    }

    /// Sums nothing: only packets are summed.
    #[inline(always)]
    fn sum(&self, _at: usize, _length: usize) -> Option<Sum> {
        None
    }
}

/// What lies behind a link header, with a length that the kernel was asked for once.
pub(crate) struct Packet<'a> {
    frame: Frame<'a>,
    length: usize,
}

impl<'a> Packet<'a> {
    /// Returns what lies behind a link header of `start` octets.
    #[inline(always)]
    pub(crate) fn new(context: &'a XdpContext, start: usize) -> Self {
        let frame = Frame { context, start };
        let length = frame.len();
        Self { frame, length }
    }
}

impl Octets for Packet<'_> {
    #[inline(always)]
    fn len(&self) -> usize {
        self.length
    }

    #[inline(always)]
    fn load<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.frame.load(at)
    }

    #[inline(always)]
    fn sum(&self, at: usize, length: usize) -> Option<Sum> {
        let at = self.frame.start.wrapping_add(at) as u64;
        let sum = sum_octets(self.frame.context.ctx, at, length as u64);
        match u16::try_from(sum) {
            Ok(sum) => Some(Sum::ZERO.add_word(sum)),
            Err(_) => None,
        }
    }
}

/// No sum: more than any has.
const NO_SUM: u64 = u64::MAX;

/// Returns the one's complement sum of `length` octets of the frame from offset `at`, of which few packets have need, or
/// [`NO_SUM`].
///
/// A global function: the verifier looks at it once, and not again wherever it is called.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn sum_octets(context: *mut xdp_md, at: u64, length: u64) -> u64 {
    let Some(piece) = maps::piece() else {
        return NO_SUM;
    };
    let (mut at, mut left, mut sum) = (at as u32, length as u32, 0);
    for _ in 0..MOST_PIECES {
        if left == 0 {
            break;
        }
        let octets = left.min(PIECE as u32);
        let Some(next) = add(context, at, octets, piece, sum) else {
            return NO_SUM;
        };
        sum = next;
        at = at.wrapping_add(octets);
        left = left.wrapping_sub(octets);
    }
    match left {
        // The kernel sums in the order of this machine.
        0 => u64::from(Sum::ZERO.add_long(sum).fold().to_be()),
        _ => NO_SUM,
    }
}

/// Adds up to [`PIECE`] octets of the frame to a sum, by way of `piece`.
#[inline(always)]
fn add(context: *mut xdp_md, at: u32, octets: u32, piece: &mut Piece, sum: u32) -> Option<u32> {
    let octets = opaque(u64::from(octets)) as u32;
    if octets == 0 || octets > PIECE as u32 {
        return None;
    }
    // Whole words are summed.
    let last = (octets & !3) as usize;
    let padding = piece.get_mut(last..last.wrapping_add(4))?;
    padding.fill(0);
    let place = piece.as_mut_ptr();
    // SAFETY: the context is the one that the kernel called this program with, and `piece` has room for as many octets.
    let loaded = unsafe { bpf_xdp_load_bytes(context, at, place.cast(), octets) };
    if loaded != 0 {
        return None;
    }
    let words = octets.wrapping_add(3) & !3;
    // SAFETY: `piece` has as many octets; nothing is taken out of the sum.
    let sum = unsafe { bpf_csum_diff(core::ptr::null_mut(), 0, place.cast(), words, sum) };
    (sum >= 0).then_some(sum as u32)
}
