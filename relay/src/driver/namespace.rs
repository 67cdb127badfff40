//! Moving a thread into a network namespace. Making, naming and removing namespaces is the business of `lab`.
#![expect(unsafe_code, reason = "unshare(2) has flags with which it is unsafe")]

use std::os::fd::BorrowedFd;

use rustix::io;
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

/// Puts the calling thread into a new, empty network namespace. The other threads stay where they are.
pub fn unshare_network() -> io::Result<()> {
    // SAFETY: only UnshareFlags::FILES takes descriptors away from a thread, and it is not given.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }
}

/// Puts the calling thread into the network namespace that the descriptor refers to. Threads and programs that it starts
/// from now on begin there too.
pub fn enter_network(namespace: BorrowedFd<'_>) -> io::Result<()> {
    move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network))
}
