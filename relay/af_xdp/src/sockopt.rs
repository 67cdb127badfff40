//! The socket options that rustix does not know.
#![allow(
    unsafe_code,
    reason = "setsockopt and getsockopt take a pointer to the value"
)]

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

/// `XDP_MAX_TX_SKB_BUDGET` of linux/if_xdp.h (seen in Linux 6.18); the C library has no constant for it.
const XDP_MAX_TX_SKB_BUDGET: libc::c_int = 9;

/// The options of any socket by which it has its device polled (Linux 5.11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BusyPollOption {
    /// SO_BUSY_POLL: the microseconds for which a call that would block polls instead; 0 for none. Without it, no call polls.
    Time,
    /// SO_PREFER_BUSY_POLL: whether interrupts are put off as long as somebody polls.
    Preferred,
    /// SO_BUSY_POLL_BUDGET: the most packets that the driver takes in at a time.
    Budget,
}

impl BusyPollOption {
    /// The name of the option in the kernel's headers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Time => "SO_BUSY_POLL",
            Self::Preferred => "SO_PREFER_BUSY_POLL",
            Self::Budget => "SO_BUSY_POLL_BUDGET",
        }
    }

    const fn number(self) -> libc::c_int {
        match self {
            Self::Time => libc::SO_BUSY_POLL,
            Self::Preferred => libc::SO_PREFER_BUSY_POLL,
            Self::Budget => libc::SO_BUSY_POLL_BUDGET,
        }
    }
}

/// Asks the kernel to send up to `frames` frames in one system call in copy mode, 32 otherwise.
///
/// Only a saving of system calls, so a refusal (an older kernel, a number below 32 or above the TX
/// ring's size) has no consequence and is not reported.
pub(crate) fn raise_tx_budget(socket: BorrowedFd<'_>, frames: u32) {
    let _refusal = set(socket, libc::SOL_XDP, XDP_MAX_TX_SKB_BUDGET, frames);
}

/// Sets an option of busy polling.
pub(crate) fn set_busy_poll(
    socket: BorrowedFd<'_>,
    option: BusyPollOption,
    value: u32,
) -> Result<(), Errno> {
    set(socket, libc::SOL_SOCKET, option.number(), value)
}

/// Asks for an option of busy polling. Of the budget the kernel does not tell (seen on Linux 6.18).
pub(crate) fn busy_poll(socket: BorrowedFd<'_>, option: BusyPollOption) -> Result<u32, Errno> {
    let mut value = 0_u32;
    let mut length = size_of_val(&value) as libc::socklen_t;
    // SAFETY: the pointers lead to `value` and `length`, which live until the call returns, and `length` is the size of `value`.
    let outcome = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            option.number(),
            (&raw mut value).cast(),
            &raw mut length,
        )
    };
    succeeded(outcome).map(|()| value)
}

fn set(
    socket: BorrowedFd<'_>,
    level: libc::c_int,
    option: libc::c_int,
    value: u32,
) -> Result<(), Errno> {
    // SAFETY: the pointer and the length describe `value`, which lives until the call returns.
    let outcome = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            size_of_val(&value) as libc::socklen_t,
        )
    };
    succeeded(outcome)
}

/// Takes the error of a C library call that has just returned, if it failed.
fn succeeded(outcome: libc::c_int) -> Result<(), Errno> {
    match outcome {
        0 => Ok(()),
        _ => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)),
    }
}
