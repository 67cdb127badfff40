//! The frame in front of a program: all the unsafe code that touches packets, and the helpers that take one.

#![expect(
    unsafe_code,
    reason = "packet memory is only reachable through the pointers of the context"
)]

use core::mem::MaybeUninit;

use aya_ebpf::{
    bindings::bpf_fib_lookup,
    helpers::generated::{bpf_fib_lookup as fib_lookup, bpf_xdp_get_buff_len, bpf_xdp_load_bytes},
    programs::XdpContext,
};

/// A frame of which the first `LENGTH` octets are known to be there.
pub(crate) struct Frame<const LENGTH: usize> {
    start: usize,
}

impl<const LENGTH: usize> Frame<LENGTH> {
    /// Returns the frame of a context, if it is as long as that.
    #[inline(always)]
    pub(crate) fn new(context: &XdpContext) -> Option<Self> {
        let start = context.data();
        (start.wrapping_add(LENGTH) <= context.data_end()).then_some(Self { start })
    }

    /// Reads octets at an offset.
    #[inline(always)]
    pub(crate) fn load<const AT: usize, const N: usize>(&self) -> [u8; N] {
        const { assert!(AT + N <= LENGTH) };
        let octets = self.start.wrapping_add(AT) as *const [u8; N];
        // SAFETY: the offset and length lie within what `new` found to be there, and octets have no alignment.
        unsafe { octets.read() }
    }

    /// Writes octets at an offset.
    #[inline(always)]
    pub(crate) fn store<const AT: usize, const N: usize>(&self, value: [u8; N]) {
        const { assert!(AT + N <= LENGTH) };
        let octets = self.start.wrapping_add(AT) as *mut [u8; N];
        // SAFETY: the offset and length lie within what `new` found to be there, and octets have no alignment.
        unsafe { octets.write(value) };
    }

    /// Writes a 16-bit word at an even offset, in one instruction.
    #[inline(always)]
    pub(crate) fn store_16<const AT: usize>(&self, value: u16) {
        const { assert!(AT.is_multiple_of(2) && AT + 2 <= LENGTH) };
        let word = self.start.wrapping_add(AT) as *mut u16;
        // SAFETY: the offset lies within what `new` found to be there. Live frames start at a multiple of eight, behind a
        // structure of pointers, so that an even offset is aligned.
        unsafe { word.write(value.to_be()) };
    }

    /// Writes a 32-bit word at an even offset, in two instructions.
    #[inline(always)]
    pub(crate) fn store_32<const AT: usize, const LOW: usize>(&self, value: u32) {
        const { assert!(LOW == AT + 2) };
        self.store_16::<AT>((value >> 16) as u16);
        self.store_16::<LOW>(value as u16);
    }

    /// Writes a 64-bit word at an offset that is a multiple of eight, in memory order.
    #[inline(always)]
    pub(crate) fn store_word<const AT: usize>(&self, value: u64) {
        const { assert!(AT.is_multiple_of(8) && AT + 8 <= LENGTH) };
        let word = self.start.wrapping_add(AT) as *mut u64;
        // SAFETY: as for `store_16`.
        unsafe { word.write(value) };
    }

    /// Writes a 64-bit number at an offset that is a multiple of four, in two instructions.
    #[inline(always)]
    pub(crate) fn store_64<const AT: usize, const LOW: usize>(&self, value: u64) {
        const { assert!(AT.is_multiple_of(4) && LOW == AT + 4 && LOW + 4 <= LENGTH) };
        let high = self.start.wrapping_add(AT) as *mut u32;
        // SAFETY: as for `store_16`.
        unsafe { high.write(((value >> 32) as u32).to_be()) };
        let low = self.start.wrapping_add(LOW) as *mut u32;
        // SAFETY: as for `store_16`.
        unsafe { low.write((value as u32).to_be()) };
    }
}

/// Returns the length of the frame, in octets. It lies in one buffer: the kernel attaches a program like these to nothing
/// else.
#[inline(always)]
pub(crate) fn length(context: &XdpContext) -> u64 {
    context.data_end().wrapping_sub(context.data()) as u64
}

/// Returns the same, as the kernel tells it. What the compiler knows of the other form, as that it is not zero, it would not
/// check again, and the verifier knows nothing of it (seen on 6.18).
#[inline(always)]
pub(crate) fn told_length(context: &XdpContext) -> u64 {
    // SAFETY: the context is the one that the kernel called this program with, and lives as long as the call.
    unsafe { bpf_xdp_get_buff_len(context.ctx) }
}

/// Copies the first `length` octets of the frame; says whether they were there.
#[inline(always)]
pub(crate) fn copy<const N: usize>(
    context: &XdpContext,
    length: u64,
    octets: *mut [u8; N],
) -> bool {
    let length = if length < N as u64 {
        length as u32
    } else {
        N as u32
    };
    // The verifier has to see that it is not zero.
    if length == 0 {
        return false;
    }
    // SAFETY: the kernel writes `length` octets, which is not more than the N that the verifier knows `octets` to have.
    let result = unsafe { bpf_xdp_load_bytes(context.ctx, 0, octets.cast(), length) };
    result == 0
}

/// Makes a question to the kernel's routes.
#[inline(always)]
pub(crate) fn question() -> bpf_fib_lookup {
    let zero: MaybeUninit<bpf_fib_lookup> = MaybeUninit::zeroed();
    // SAFETY: it consists of integers and unions of them, for which zero is a value.
    unsafe { zero.assume_init() }
}

/// Asks the kernel's routes; says whether there is a next hop.
#[inline(always)]
pub(crate) fn ask(context: &XdpContext, question: &mut bpf_fib_lookup) -> bool {
    let length = size_of::<bpf_fib_lookup>() as i32;
    // SAFETY: the kernel reads and writes a structure of that length, and the context is the one it called with.
    let result = unsafe { fib_lookup(context.ctx.cast(), question, length, 0) };
    result == 0
}
