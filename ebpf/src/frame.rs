//! The frame in front of the XDP program, read by bounds-checked copies: all the unsafe code that touches packets.
//!
//! Nothing is understood here; `relay_core::wire` does that. Nothing is written either.
//!
//! Reading behind VLAN tags adds a run-time offset to a packet pointer, which Linux (seen on 6.18) refuses to a loader without
//! CAP_PERFMON. `bpf_xdp_load_bytes` in its place doubles the time of the whole program (24 to 43 ns a frame there).

#![expect(
    unsafe_code,
    reason = "packet memory is only reachable through the pointers of the context"
)]

use aya_ebpf::{helpers::generated::bpf_xdp_get_buff_len, programs::XdpContext};
use relay_core::wire::{Octets, checksum::Sum};

/// The highest offset that is read at, in octets.
///
/// The verifier loses track of a packet pointer once the offset added to it may exceed 16 bits; no header lies as far as this.
const MAX_OFFSET: usize = 0x3fff;

/// A received frame, from its Ethernet header on.
pub(crate) struct Frame<'a> {
    context: &'a XdpContext,
}

impl<'a> Frame<'a> {
    /// Makes the frame of a context readable.
    #[inline(always)]
    pub(crate) fn new(context: &'a XdpContext) -> Self {
        Self { context }
    }
}

impl Octets for Frame<'_> {
    /// Asks the kernel: `data_end - data` is not all of a frame that lies in several buffers.
    #[inline(always)]
    fn len(&self) -> usize {
        // SAFETY: the context is the one that the kernel called this program with, and lives as long as the call.
        let length = unsafe { bpf_xdp_get_buff_len(self.context.ctx) };
        length as usize
    }

    #[inline(always)]
    fn load<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        const { assert!(N <= MAX_OFFSET) };
        if at > MAX_OFFSET {
            return None;
        }
        // In this form, and no other, the verifier learns the bound: start, plus length, against the end.
        let start = self.context.data().wrapping_add(at);
        if start.wrapping_add(N) > self.context.data_end() {
            return None;
        }
        let octets = start as *const [u8; N];
        // SAFETY: `octets` points at N octets of the frame: `at` and N are far too small to wrap around, and the end of what is
        // read was just found not to lie behind the frame's. Any octets are a valid array of them, at any alignment.
        Some(unsafe { octets.read_unaligned() })
    }

    /// Sums nothing: a payload of run-time length is not for the XDP program.
    #[inline(always)]
    fn sum(&self, _at: usize, _length: usize) -> Option<Sum> {
        None
    }
}
