//! What touches the operating system directly, and the only module of this package with `unsafe` code.
#![expect(unsafe_code, reason = "tgkill(2) has no safe form")]

use rustix::process::getpid;
use rustix::thread::Pid;

/// The signal that ends a system call of a thread. [`crate::interrupt::watch`] sees to it that it does nothing else.
pub(crate) const SIGNAL: i32 = libc::SIGUSR1;

/// Interrupts the system call that a thread of this process is in, if it is in one.
pub(crate) fn interrupt(thread: Pid) {
    let (process, thread) = (getpid().as_raw_nonzero(), thread.as_raw_nonzero());
    // SAFETY: tgkill takes three numbers and touches no memory. The process handles the signal, so that it does not end it.
    let result = unsafe { libc::syscall(libc::SYS_tgkill, process, thread, SIGNAL) };
    // A thread that has ended is in no system call.
    debug_assert!(result == 0 || result == -1);
}
