//! What a worker does between two turns: it sleeps, or it does not.

use super::rings::WakeUps;
use super::{PortSocket, Shared, Worker};
use crate::config::Wait;
use af_xdp::BusyPoll;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};
use tracing::warn;

/// How long to wait for packets before looking around all the same, and how long before an interface that is down is asked
/// again.
pub(super) const IDLE_WAIT: Duration = Duration::from_millis(200);
/// How long to wait before an interface that took only a part of what was to be sent is asked again.
pub(super) const RETRY_WAIT: Duration = Duration::from_millis(1);
/// How long to stand back from sockets that only report errors, as those of an interface that has gone.
const ERROR_WAIT: Duration = Duration::from_millis(50);
/// How long counters are kept back by a worker that never sleeps. It asks the kernel for some of them.
const PUBLISH_PAUSE: Duration = Duration::from_millis(100);
/// Turns after which the counters may be published, even though the worker is never idle.
const TURNS_UNPUBLISHED: u32 = 256;

/// How the kernel polls a device for a worker: at most a batch at a time, so that the RX ring is emptied in between. Only that
/// it is not zero matters about the time, since no call of a worker blocks.
const BUSY_POLL: BusyPoll = BusyPoll {
    microseconds: 20,
    budget: super::BATCH,
};

/// Prepares sockets for how their worker is to wait; returns how it will. What the kernel refuses is logged.
pub(super) fn prepare(wanted: Wait, sockets: &mut [PortSocket]) -> Wait {
    match wanted {
        Wait::Poll | Wait::Busy => wanted,
        Wait::PreferBusyPoll => {
            for PortSocket { socket, .. } in sockets {
                if let Err(error) = socket.prefer_busy_poll(BUSY_POLL) {
                    warn!(
                        "{error}; the worker of this queue sleeps instead, as with `workers.wait: poll`"
                    );
                    return Wait::Poll;
                }
            }
            wanted
        }
    }
}

/// When the counters were last published, and how many turns ago.
pub(super) struct Publication {
    turns: u32,
    at: Instant,
}

impl Publication {
    pub(super) fn new() -> Self {
        Self {
            turns: 0,
            at: Instant::now(),
        }
    }

    /// Says after each turn whether the counters are due, and takes them for published if so.
    pub(super) fn is_due(&mut self, wait: Wait, received: u32) -> bool {
        self.turns += 1;
        let is_due = match (wait, received) {
            // The worker is about to sleep.
            (Wait::Poll, 0) => true,
            (Wait::Poll, _) => self.turns >= TURNS_UNPUBLISHED,
            // The clock is not asked in each turn either.
            (Wait::Busy | Wait::PreferBusyPoll, _) => {
                self.turns.is_multiple_of(TURNS_UNPUBLISHED) && self.at.elapsed() >= PUBLISH_PAUSE
            }
        };
        if is_due {
            *self = Self::new();
        }
        is_due
    }
}

/// When the kernel was last called for a ring that it does not look at by itself.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Called(Option<Instant>);

impl Called {
    /// Says whether to call now: at once if there is something new, else after a pause.
    pub(super) fn is_due(&mut self, has_news: bool, pause: Duration) -> bool {
        let now = Instant::now();
        let is_due = has_news || self.0.is_none_or(|last| now - last >= pause);
        if is_due {
            self.0 = Some(now);
        }
        is_due
    }
}

impl Worker {
    /// Does nothing for a while if it may: until a packet comes, somebody calls, or some time has passed.
    pub(super) fn wait(&self, shared: &Shared) {
        match self.wait {
            Wait::Poll => self.sleep(shared),
            // Polling the driver is a system call, which is pause enough.
            Wait::PreferBusyPoll => {}
            Wait::Busy => std::hint::spin_loop(),
        }
    }

    fn sleep(&self, shared: &Shared) {
        // POLLOUT is no help: it means room on the ring, and is there while the interface takes nothing.
        let has_backlog = |(socket, state): (&PortSocket, &WakeUps)| {
            !state.is_down && socket.socket.tx_waiting() > 0
        };
        let timeout = match self.sockets.iter().zip(&self.wake_ups).any(has_backlog) {
            true => RETRY_WAIT,
            false => IDLE_WAIT,
        };
        let timeout = Timespec::try_from(timeout).expect("the waits are short");
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::tests::{namespace, privileged};
    use crate::lab::{VethEnd, veth_pair};
    use af_xdp::{BusyPollOption, ChunkSize, RingSizes, Socket, SocketConfig, Umem, ZeroCopy};
    use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

    #[test]
    fn what_the_kernel_refuses_is_done_without() {
        if !privileged("what_the_kernel_refuses_is_done_without") {
            return;
        }
        let (here, there) = (namespace("wait-l"), namespace("wait-r"));
        veth_pair(VethEnd::new(&here, "eth0"), VethEnd::new(&there, "far0")).unwrap();
        let config = SocketConfig {
            interface_index: here.interface_index("eth0").unwrap(),
            interface: "eth0".to_owned(),
            queue: 0,
            ring_sizes: RingSizes::default(),
            zero_copy: ZeroCopy::Off,
            long_packets: false,
        };
        let [refused, granted] = here
            .run_in(|| {
                let mut umem = Umem::new(ChunkSize::Octets2048, 64).unwrap();
                let socket = Socket::bind(&mut umem, &config).unwrap();
                let mut sockets = [PortSocket {
                    port: Some(0),
                    socket,
                }];
                let mut prepared = || {
                    let wait = prepare(Wait::PreferBusyPoll, &mut sockets);
                    let time = sockets[0].socket.busy_poll(BusyPollOption::Time);
                    (wait, time.unwrap())
                };
                let before = capabilities(None).unwrap();
                let mut without = before;
                without.effective.remove(CapabilitySet::NET_ADMIN);
                set_capabilities(None, without).unwrap();
                let refused = prepared();
                set_capabilities(None, before).unwrap();
                [refused, prepared()]
            })
            .unwrap();
        assert_eq!(refused, (Wait::Poll, 0));
        assert_eq!(granted, (Wait::PreferBusyPoll, BUSY_POLL.microseconds));
    }

    #[test]
    fn who_sleeps_publishes_before_and_who_does_not_from_time_to_time() {
        let mut publication = Publication::new();
        assert!(publication.is_due(Wait::Poll, 0));
        let due = |publication: &mut Publication, wait, turns| {
            (0..turns).filter(|_| publication.is_due(wait, 1)).count()
        };
        assert_eq!(due(&mut publication, Wait::Poll, 2 * TURNS_UNPUBLISHED), 2);
        assert_eq!(due(&mut publication, Wait::Busy, 2 * TURNS_UNPUBLISHED), 0);
        std::thread::sleep(PUBLISH_PAUSE);
        assert_eq!(due(&mut publication, Wait::Busy, 2 * TURNS_UNPUBLISHED), 1);
    }

    #[test]
    fn the_kernel_is_called_at_once_for_news_and_else_after_a_pause() {
        let mut called = Called::default();
        assert!(called.is_due(false, IDLE_WAIT));
        assert!(!called.is_due(false, IDLE_WAIT));
        assert!(called.is_due(true, IDLE_WAIT));
        std::thread::sleep(RETRY_WAIT);
        assert!(called.is_due(false, RETRY_WAIT));
    }
}
