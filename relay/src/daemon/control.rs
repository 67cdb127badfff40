//! The control thread: follows the kernel's tables, carries out what workers leave to it, waits for signals.

use super::DaemonError;
use super::ports::Ports;
use super::workers::Workers;
use crate::config::{IcmpErrors, MtuOverride};
use crate::driver::bpf::XdpProgram;
use crate::driver::kernel::Handover;
use crate::errors::{self, Limiter, Outcome, Request};
use crate::paths::{Live, Senders};
use crate::routes::Mirror;
use crate::worker::Shared;
use crossbeam::channel::Receiver;
use relay_core::MAX_ERROR_LENGTH;
use relay_core::counters::Counters;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::hash::{BuildHasher, RandomState};
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// How often neighbours in use are confirmed, and other things that no event announces are looked at.
const HOUSEKEEPING: Duration = Duration::from_secs(1);
/// How long to gather changes of the network before workers get a new picture of it.
const GATHER: Duration = Duration::from_millis(20);
/// How long to leave the kernel's tables alone when they could not be read, as while routes change without pause.
const PAUSE: Duration = Duration::from_secs(1);
/// The most requests of workers that are carried out before the control thread looks around.
const REQUESTS_PER_TURN: usize = 1024;

/// The most lines a second that packets can write into the log.
const EVENTS_PER_SECOND: u32 = 5;

/// What the control thread works with.
pub(super) struct Control<'a> {
    pub(super) signals: UnixStream,
    pub(super) mirror: &'a mut Mirror,
    pub(super) ports: &'a mut Ports,
    pub(super) program: &'a mut XdpProgram,
    pub(super) mtu: MtuOverride,
    pub(super) shared: &'a Shared,
    pub(super) workers: &'a Workers,
    pub(super) errors: Errors,
}

/// What it takes to carry out the workers' requests.
pub(super) struct Errors {
    requests: Receiver<Request>,
    handover: Handover,
    limiter: Limiter,
    /// How many events are still logged.
    events: Limiter,
    random: RandomState,
    counters: ErrorCounters,
}

/// What became of the workers' requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ErrorCounters {
    /// What became of the packets in the translator.
    pub(super) verdicts: Counters,
    /// Errors that the kernel took.
    pub(super) sent: u64,
    /// Errors not originated because the relay has said enough for now.
    pub(super) limited: u64,
    /// Errors that the kernel did not take.
    pub(super) refused: u64,
    /// Requests carried out so far.
    handled: u64,
}

impl Errors {
    pub(super) fn new(icmp: &IcmpErrors, requests: Receiver<Request>, handover: Handover) -> Self {
        Self {
            requests,
            handover,
            limiter: Limiter::new(icmp.rate, Instant::now()),
            events: Limiter::new(Some(EVENTS_PER_SECOND), Instant::now()),
            random: RandomState::new(),
            counters: ErrorCounters::default(),
        }
    }

    /// Carries out what still waits, when there are no workers any more, and returns the counters.
    pub(super) fn finish(mut self, shared: &Shared) -> ErrorCounters {
        while self.work(shared) {}
        self.counters
    }

    /// Carries out requests that wait; says whether there may be more.
    fn work(&mut self, shared: &Shared) -> bool {
        let (tables, live) = (shared.tables.load(), shared.live.load());
        let now = Instant::now();
        for _ in 0..REQUESTS_PER_TURN {
            let Ok(request) = self.requests.try_recv() else {
                return false;
            };
            self.counters.handled += 1;
            if let Some(event) = errors::event(&request).filter(|_| self.events.take(now)) {
                warn!("{event}");
            }
            let mut output = [0; MAX_ERROR_LENGTH];
            let random = self.random.hash_one(self.counters.handled);
            let limit = || self.limiter.take(now);
            let verdicts = &mut self.counters.verdicts;
            match errors::handle(
                &request,
                &tables,
                &**live,
                random,
                limit,
                verdicts,
                &mut output,
            ) {
                Outcome::Send(error) => {
                    let packet = &output[..error.length];
                    match self.handover.send(packet, error.destination) {
                        Ok(()) => self.counters.sent += 1,
                        Err(_) => self.counters.refused += 1,
                    }
                }
                Outcome::Limited => self.counters.limited += 1,
                Outcome::Nothing => {}
            }
        }
        true
    }
}

impl Control<'_> {
    /// Works until a signal comes.
    pub(super) fn run(&mut self) -> Result<(), DaemonError> {
        let mut housekeeping = Instant::now() + HOUSEKEEPING;
        let mut publication: Option<Instant> = None;
        let mut is_busy = false;
        let mut resumption = Instant::now();
        loop {
            let next =
                publication.map_or(housekeeping, |publication| publication.min(housekeeping));
            let wait = match is_busy {
                true => Duration::ZERO,
                false => next.saturating_duration_since(Instant::now()),
            };
            if self.wait(wait, Instant::now() >= resumption) {
                info!("stopping");
                return Ok(());
            }
            self.shared.answer();
            is_busy = self.errors.work(self.shared);
            let now = Instant::now();
            if now >= resumption
                && let Err(error) = self.mirror.process_events()
            {
                // Workers go on with what they know.
                warn!("{error}; trying again");
                resumption = now + PAUSE;
            }
            if self.mirror.is_dirty() && now >= *publication.get_or_insert(now + GATHER) {
                publication = None;
                self.ports.follow(self.program, self.mirror)?;
                let live = picture(
                    self.mirror,
                    self.ports,
                    self.mtu,
                    self.shared.live.load().senders(),
                );
                self.shared.live.store(Arc::new(live));
            }
            if now >= housekeeping {
                housekeeping = now + HOUSEKEEPING;
                self.mirror.confirm_used_neighbours();
                if self.workers.any_ended() {
                    return Err(DaemonError::WorkerEnded);
                }
            }
        }
    }

    /// Waits for something to do, `for_events` of the kernel's tables among it; says whether a signal has come.
    fn wait(&mut self, at_most: Duration, for_events: bool) -> bool {
        let at_most = Timespec {
            tv_sec: at_most.as_secs() as i64,
            tv_nsec: i64::from(at_most.subsec_nanos()),
        };
        let mut descriptors = vec![
            PollFd::from_borrowed_fd(self.signals.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.shared.control(), PollFlags::IN),
        ];
        if for_events {
            descriptors.push(PollFd::from_borrowed_fd(self.mirror.as_fd(), PollFlags::IN));
        }
        // An interruption is a signal, which the next turn finds.
        let _ = poll(&mut descriptors, Some(&at_most));
        let has_signal = descriptors[0].revents().contains(PollFlags::IN);
        if has_signal {
            let _ = self.signals.read(&mut [0; 16]);
        }
        has_signal
    }
}

/// Takes a picture of the network for the workers.
pub(super) fn picture(
    mirror: &mut Mirror,
    ports: &Ports,
    mtu: MtuOverride,
    senders: &Senders,
) -> Live {
    let indices = ports.indices();
    let routes = mirror.snapshot(&indices);
    let addresses = indices
        .iter()
        .map(|index| mirror.addresses_of(*index).collect());
    let mtus = indices.iter().filter_map(|index| mirror.link(*index));
    let senders = Senders {
        configured: senders.configured,
        ports: addresses.collect(),
        least_mtu: mtus.map(|link| link.mtu).min(),
    };
    Live::new(routes, mirror.own_addresses(), mtu, senders)
}
