//! The control thread: follows the kernel's tables, carries out what workers leave to it, changes generations, waits for
//! signals and for whoever asks something of it.

use super::DaemonError;
use super::changes::Changes;
use super::loader::Loaded;
use super::mailbox::{Mailbox, Post};
use super::ports::Ports;
use super::service::Service;
use super::watch::Watch;
use super::workers::Workers;
use crate::config::{Config, IcmpErrors, OwnAddresses};
use crate::control::snapshot::Limit;
use crate::control::{Command, Health};
use crate::driver::bpf::BpfError;
use crate::driver::kernel::Handover;
use crate::errors::{self, Limiter, Outcome, Request};
use crate::fast_path::{Departure, FastPath};
use crate::offline::Link;
use crate::paths::Live;
use crate::routes::Mirror;
use crate::stats::ControlCounters;
use crate::tables::Tables;
use crate::worker::Shared;
use crossbeam::channel::Receiver;
use relay_core::MAX_ERROR_LENGTH;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::hash::{BuildHasher, RandomState};
use std::io::Read;
use std::net::IpAddr;
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
pub(super) const PAUSE: Duration = Duration::from_secs(1);
/// The most requests of workers that are carried out before the control thread looks around.
const REQUESTS_PER_TURN: usize = 1024;

/// The most lines a second that packets can write into the log.
const EVENTS_PER_SECOND: u32 = 5;

/// What the control thread is told by others.
pub(super) enum Letter {
    /// Somebody asks for something.
    Command(Command),
    /// The loader has finished a job.
    Loaded(Loaded),
    /// Something has happened where the files are.
    Stir,
}

/// Streams that become readable when a signal comes.
pub(super) struct Signals {
    pub(super) stop: UnixStream,
    pub(super) reload: UnixStream,
}

/// What a signal asks for.
enum Call {
    Stop,
    Reload,
}

/// What the control thread works with.
pub(super) struct Control<'a> {
    pub(super) signals: Signals,
    pub(super) mailbox: Mailbox<Letter>,
    /// Where others post letters.
    pub(super) post: Post<Letter>,
    pub(super) mirror: &'a mut Mirror,
    pub(super) ports: &'a mut Ports,
    pub(super) fast_path: &'a mut FastPath,
    pub(super) changes: Changes,
    pub(super) watch: Option<Watch>,
    pub(super) shared: &'a Arc<Shared>,
    pub(super) workers: &'a mut Workers,
    pub(super) errors: Errors,
    pub(super) health: Arc<Health>,
    pub(super) service: Service,
    /// What becomes of the program, once somebody has asked the relay to stop.
    pub(super) departure: Option<Departure>,
}

/// What it takes to carry out the workers' requests.
pub(super) struct Errors {
    requests: Receiver<Request>,
    handover: Handover,
    limiter: Limiter,
    /// How many events are still logged.
    events: Limiter,
    random: RandomState,
    /// Requests carried out so far.
    handled: u64,
    counters: ControlCounters,
}

impl Errors {
    pub(super) fn new(icmp: &IcmpErrors, requests: Receiver<Request>, handover: Handover) -> Self {
        Self {
            requests,
            handover,
            limiter: Limiter::new(icmp.rate, Instant::now()),
            events: Limiter::new(Some(EVENTS_PER_SECOND), Instant::now()),
            random: RandomState::new(),
            handled: 0,
            counters: ControlCounters::default(),
        }
    }

    /// Takes a new rate over.
    pub(super) fn follow(&mut self, icmp: &IcmpErrors) {
        if icmp.rate != self.limiter.rate() {
            self.limiter = Limiter::new(icmp.rate, Instant::now());
        }
    }

    pub(super) fn counters(&self) -> ControlCounters {
        self.counters
    }

    pub(super) fn limit(&self, now: Instant) -> Limit {
        Limit {
            rate: self.limiter.rate(),
            tokens: self.limiter.tokens(now),
        }
    }

    /// Carries out what still waits, when there are no workers any more, and returns the counters.
    pub(super) fn finish(mut self, shared: &Shared) -> ControlCounters {
        while self.work(shared) {}
        self.counters
    }

    /// Carries out requests that wait; says whether there may be more.
    fn work(&mut self, shared: &Shared) -> bool {
        let (tables, live) = (shared.tables.load(), shared.live.load());
        let tap = shared.tap.tap();
        let now = Instant::now();
        for _ in 0..REQUESTS_PER_TURN {
            let Ok(request) = self.requests.try_recv() else {
                return false;
            };
            self.handled += 1;
            if let Some(event) = errors::event(&request).filter(|_| self.events.take(now)) {
                warn!("{event}");
            }
            let mut output = [0; MAX_ERROR_LENGTH];
            let random = self.random.hash_one(self.handled);
            let limit = || self.limiter.take(now);
            let verdicts = &mut self.counters.verdicts;
            let look = tap
                .as_ref()
                .and_then(|tap| tap.look("control", Link::Raw, &request.packet, verdicts));
            let outcome = errors::handle(
                &request,
                &tables,
                &**live,
                random,
                limit,
                verdicts,
                &mut output,
            );
            if let Some(look) = look {
                let sent = match outcome {
                    Outcome::Send(error) => output.get(..error.length),
                    Outcome::Limited | Outcome::Nothing => None,
                };
                look.end_at_control(sent, &self.counters.verdicts);
            }
            match outcome {
                Outcome::Send(error) => {
                    let packet = &output[..error.length];
                    match self.handover.send(packet, error.destination) {
                        Ok(()) => self.counters.kernel_icmp_errors += 1,
                        Err(_) => self.counters.lost_icmp_errors_refused += 1,
                    }
                }
                Outcome::Limited => self.counters.limited_replies += 1,
                Outcome::Nothing => {}
            }
        }
        true
    }
}

impl Control<'_> {
    /// Works until a signal comes, or somebody asks to stop.
    pub(super) fn run(&mut self) -> Result<(), DaemonError> {
        let mut housekeeping = Instant::now() + HOUSEKEEPING;
        let mut publication: Option<Instant> = None;
        let mut is_busy = false;
        let mut resumption = Instant::now();
        loop {
            let now = Instant::now();
            let due = [
                Some(housekeeping),
                publication,
                self.service.next(),
                self.changes.next(),
            ];
            let due = due.into_iter().flatten().min().unwrap_or(housekeeping);
            let wait = match is_busy {
                true => Duration::ZERO,
                false => due.saturating_duration_since(now),
            };
            match self.wait(wait, now >= resumption) {
                Some(Call::Stop) => {
                    info!("stopping");
                    return Ok(());
                }
                Some(Call::Reload) => self.changes.reload(None),
                None => {}
            }
            self.health.beat();
            self.shared.answer();
            is_busy = self.errors.work(self.shared);
            for letter in self.mailbox.take() {
                self.read(letter);
            }
            if self.departure.is_some() {
                info!("stopping");
                return Ok(());
            }
            let now = Instant::now();
            self.changes.look(now);
            self.begin_change();
            if now >= resumption
                && let Err(error) = self.mirror.process_events()
            {
                // Workers go on with what they know.
                warn!("{error}; trying again");
                resumption = now + PAUSE;
            }
            if self.mirror.is_dirty() {
                // The program asks the kernel again at once; what else it has to know of the change can wait.
                self.fast_path.forget_next_hops()?;
                if now >= *publication.get_or_insert(now + GATHER) {
                    publication = None;
                    self.follow_network()?;
                }
            }
            if self.ports.take_changes() {
                self.follow_redirects()?;
            }
            self.service.alive(now);
            if now >= housekeeping {
                housekeeping = now + HOUSEKEEPING;
                self.mirror.confirm_used_neighbours();
                self.fast_path.reclaim(now);
                self.changes.settle(now);
                for (link, address) in self.fast_path.take_used_neighbours()? {
                    self.mirror.confirm_neighbour(link, address);
                }
                // Some drivers tell nobody.
                self.follow_redirects()?;
                if self.workers.any_ended() {
                    self.health.set_translating(false);
                    return Err(DaemonError::WorkerEnded);
                }
            }
        }
    }

    /// Does what a letter asks for.
    fn read(&mut self, letter: Letter) {
        match letter {
            // Who has lost patience is no matter.
            Letter::Command(Command::Snapshot(reply)) => drop(reply.send(self.snapshot())),
            Letter::Command(Command::Reload(reply)) => self.changes.reload(Some(reply)),
            Letter::Command(Command::Edit(edit, reply)) => self.changes.edit(edit, reply),
            Letter::Command(Command::Watch(is_watched, reply)) => {
                match self.fast_path.set_watched(is_watched) {
                    Ok(()) => drop(reply.send(())),
                    Err(error) => warn!("{error}"),
                }
            }
            Letter::Command(Command::Stop(departure, reply)) => {
                let _ = reply.send(());
                self.departure = Some(departure);
            }
            Letter::Loaded(loaded) => self.take_over(loaded),
            Letter::Stir => self.changes.stir(Instant::now()),
        }
    }

    /// Tells workers and XDP program of the network as it is.
    pub(super) fn follow_network(&mut self) -> Result<(), BpfError> {
        self.ports.follow(self.fast_path, self.mirror)?;
        let config = self.changes.config();
        let tables = self.shared.tables.load();
        tell(self.fast_path, &tables, self.mirror, self.ports, config)?;
        let live = Live::take(self.mirror, &self.ports.indices(), config);
        self.shared.live.store(Arc::new(live));
        Ok(())
    }

    /// Tells them of interfaces that take redirected frames now, or do no longer.
    fn follow_redirects(&mut self) -> Result<(), BpfError> {
        match self.ports.look_at_redirects() {
            true => self.follow_network(),
            false => Ok(()),
        }
    }

    /// Waits for something to do, `for_events` of the kernel's tables among it; says whether a signal has come.
    fn wait(&mut self, at_most: Duration, for_events: bool) -> Option<Call> {
        let at_most = Timespec {
            tv_sec: at_most.as_secs() as i64,
            tv_nsec: i64::from(at_most.subsec_nanos()),
        };
        let mut descriptors = vec![
            PollFd::from_borrowed_fd(self.signals.stop.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.signals.reload.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.shared.control(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.mailbox.as_fd(), PollFlags::IN),
        ];
        if for_events {
            descriptors.push(PollFd::from_borrowed_fd(self.mirror.as_fd(), PollFlags::IN));
        }
        descriptors.extend(
            self.ports
                .changes()
                .map(|changes| PollFd::from_borrowed_fd(changes, PollFlags::IN)),
        );
        // An interruption is a signal, which the next turn finds.
        let _ = poll(&mut descriptors, Some(&at_most));
        let has = |index: usize| descriptors[index].revents().contains(PollFlags::IN);
        let (stop, reload) = (has(0), has(1));
        if stop {
            let _ = self.signals.stop.read(&mut [0; 16]);
            return Some(Call::Stop);
        }
        if reload {
            // Any number of signals is one call.
            let _ = self.signals.reload.read(&mut [0; 256]);
            return Some(Call::Reload);
        }
        None
    }
}

/// Tells the XDP program of the network as it is.
pub(super) fn tell(
    fast_path: &mut FastPath,
    tables: &Tables,
    mirror: &Mirror,
    ports: &Ports,
    config: &Config,
) -> Result<(), BpfError> {
    let OwnAddresses { ipv4, ipv6 } = config.icmp.own;
    let configured = ipv4.map(IpAddr::V4).into_iter().chain(ipv6.map(IpAddr::V6));
    let own = mirror.own_addresses().chain(configured).collect();
    fast_path.follow(tables, own, ports.egresses(mirror), mirror.dependence())
}
