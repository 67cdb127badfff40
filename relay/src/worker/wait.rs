//! How a worker waits that has nothing to do.

use super::{PortSocket, Shared, Worker};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::os::fd::AsFd;
use std::time::Duration;

/// How long to wait for packets before looking around all the same.
const IDLE_WAIT: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 200_000_000,
};
/// How long to wait before an interface that took only a part of what was to be sent is asked again.
const RETRY_WAIT: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 1_000_000,
};
/// How long to stand back from sockets that only report errors, as those of an interface that has gone.
const ERROR_WAIT: Duration = Duration::from_millis(50);

impl Worker {
    /// Sleeps until a packet comes, somebody calls, or a while has passed.
    pub(super) fn wait(&self, shared: &Shared) {
        // POLLOUT is no help: it means room on the ring, and is there while the interface takes nothing.
        let has_backlog =
            |(socket, down): (&PortSocket, &bool)| !down && socket.socket.tx_waiting() > 0;
        let timeout = match self.sockets.iter().zip(&self.down).any(has_backlog) {
            true => RETRY_WAIT,
            false => IDLE_WAIT,
        };
        let sockets = self.sockets.iter();
        let sockets =
            sockets.map(|socket| PollFd::from_borrowed_fd(socket.socket.as_fd(), PollFlags::IN));
        let wake_up = PollFd::from_borrowed_fd(shared.wake_up(), PollFlags::IN);
        let mut descriptors: Vec<PollFd<'_>> = sockets.chain([wake_up]).collect();
        // An interruption only ends the wait early.
        let _ = poll(&mut descriptors, Some(&timeout));
        let only_errors = PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL;
        let is_ready = |descriptor: &PollFd<'_>| descriptor.revents().contains(PollFlags::IN);
        let has_failed = |descriptor: &PollFd<'_>| descriptor.revents().intersects(only_errors);
        if descriptors.iter().any(has_failed) && !descriptors.iter().any(is_ready) {
            std::thread::sleep(ERROR_WAIT);
        }
    }
}
