//! The one socket option that rustix does not know.
#![allow(unsafe_code, reason = "setsockopt takes a pointer to the value")]

use std::os::fd::{AsRawFd, BorrowedFd};

/// `XDP_MAX_TX_SKB_BUDGET` of linux/if_xdp.h (seen in Linux 6.18); the C library has no constant for it.
const XDP_MAX_TX_SKB_BUDGET: libc::c_int = 9;

/// Asks the kernel to send up to `frames` frames in one system call in copy mode, 32 otherwise.
///
/// Only a saving of system calls, so a refusal (an older kernel, a number below 32 or above the TX
/// ring's size) has no consequence and is not reported.
pub(crate) fn raise_tx_budget(socket: BorrowedFd<'_>, frames: u32) {
    // SAFETY: the pointer and the length describe `frames`, which lives until the call returns.
    let _refusal = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_XDP,
            XDP_MAX_TX_SKB_BUDGET,
            (&raw const frames).cast(),
            size_of_val(&frames) as libc::socklen_t,
        )
    };
}
