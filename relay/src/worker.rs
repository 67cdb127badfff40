//! An AF_XDP worker: receive, process, transmit, reclaim, and nothing else.
//!
//! A worker owns one UMEM, which all its sockets share, so that a frame goes from one interface to the
//! other without a copy. It takes no lock and never waits for the control thread: tables and network are
//! published to it, and read once for each batch. A batch is translated by one generation; the next batch
//! may already see another one.

use crate::driver::kernel::Handover;
use crate::paths::Live;
use crate::errors::Request;
use crate::perform::{NoRoom, perform_piece};
use crate::process::{Disposition, Fragments, Route, process};
use crate::stats::WorkerCounters;
use crate::tables::Tables;
use af_xdp::{Error, Frame, Kick, Socket, Umem};
use arc_swap::{ArcSwap, Cache};
use crossbeam::channel::Sender;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fd::OwnedFd;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Frames taken from a socket at a time.
const BATCH: u32 = 64;
/// How long to wait for packets before looking around all the same.
const IDLE_WAIT: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
/// How long to stand back from sockets that only report errors, as those of an interface that is down.
const ERROR_WAIT: Duration = Duration::from_millis(50);

/// What the control thread shares with all workers.
pub struct Shared {
    /// The tables in force.
    pub tables: ArcSwap<Tables>,
    /// The network as it is.
    pub live: ArcSwap<Live>,
    stop: AtomicBool,
    wake_up: OwnedFd,
    control: OwnedFd,
}

impl Shared {
    /// Returns what workers need to begin.
    ///
    /// # Errors
    ///
    /// The process may not have another file descriptor.
    pub fn new(tables: Tables, live: Live) -> std::io::Result<Self> {
        Ok(Self {
            tables: ArcSwap::from_pointee(tables),
            live: ArcSwap::from_pointee(live),
            stop: AtomicBool::new(false),
            wake_up: eventfd(0, EventfdFlags::CLOEXEC)?,
            control: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        })
    }

    /// Returns the descriptor that is readable while requests wait for the control thread.
    pub fn control(&self) -> BorrowedFd<'_> {
        self.control.as_fd()
    }

    /// Says that requests wait for the control thread.
    fn call_control(&self) {
        // It only fails where the descriptor is readable anyway.
        let _ = rustix::io::write(&self.control, &1u64.to_ne_bytes());
    }

    /// Makes [`control`](Self::control) unreadable, before the requests that wait are taken.
    pub fn answer(&self) {
        let _ = rustix::io::read(&self.control, &mut [0; 8]);
    }

    /// Has all workers return.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        // Nobody reads it, so it stays readable for every worker. Full or not, it is readable.
        let _ = rustix::io::write(&self.wake_up, &1u64.to_ne_bytes());
    }
}

/// A socket of a worker, and the port that it belongs to.
pub struct PortSocket {
    /// The position of the interface in the configuration.
    pub port: usize,
    /// The socket.
    pub socket: Socket,
}

/// An AF_XDP worker before and while it runs.
pub struct Worker {
    umem: Umem,
    sockets: Vec<PortSocket>,
    /// For each port, the socket that sends out of it.
    senders: Vec<Option<usize>>,
    /// Frames on their way out, by socket.
    outgoing: Vec<Vec<Frame>>,
    handover: Handover,
    requests: Sender<Request>,
    /// Whether the control thread has to be woken up.
    has_requested: bool,
    counters: WorkerCounters,
    published: Arc<Mutex<WorkerCounters>>,
}

impl Worker {
    /// Returns a worker for sockets that share `umem`. It sends out of a port by the first of its
    /// sockets there; what is not for its loop goes to the control thread as `requests`.
    pub fn new(
        umem: Umem,
        sockets: Vec<PortSocket>,
        ports: usize,
        handover: Handover,
        requests: Sender<Request>,
    ) -> Self {
        let sender = |port| sockets.iter().position(|socket: &PortSocket| socket.port == port);
        Self {
            senders: (0..ports).map(sender).collect(),
            outgoing: sockets.iter().map(|_| Vec::with_capacity(2 * BATCH as usize)).collect(),
            umem,
            sockets,
            handover,
            requests,
            has_requested: false,
            counters: WorkerCounters::default(),
            published: Arc::default(),
        }
    }

    /// Returns the place where the worker publishes its counters from time to time.
    pub fn counters(&self) -> Arc<Mutex<WorkerCounters>> {
        self.published.clone()
    }

    /// Returns the worker's sockets.
    pub fn sockets(&self) -> &[PortSocket] {
        &self.sockets
    }

    /// Works until told to stop.
    ///
    /// # Errors
    ///
    /// A socket failed in a way that does not pass, as when its interface is removed.
    pub fn run(mut self, shared: &Shared) -> Result<(), Error> {
        let mut tables = Cache::new(&shared.tables);
        let mut live = Cache::new(&shared.live);
        let mut incoming = Vec::with_capacity(BATCH as usize);
        self.refill()?;
        let outcome = loop {
            let (tables, live) = (tables.load(), live.load());
            let turn = self.turn(tables, live, &mut incoming);
            if std::mem::take(&mut self.has_requested) {
                shared.call_control();
            }
            match turn {
                Ok(0) => {
                    self.publish();
                    if shared.stop.load(Ordering::Acquire) {
                        break Ok(());
                    }
                    self.wait(shared);
                }
                Ok(_) => {
                    if shared.stop.load(Ordering::Acquire) {
                        break Ok(());
                    }
                }
                Err(error) => break Err(error),
            }
        };
        for frame in incoming.drain(..).chain(self.outgoing.iter_mut().flat_map(|frames| frames.drain(..))) {
            self.umem.free(frame);
        }
        self.publish();
        outcome
    }

    /// Serves every socket once; returns how many frames came in.
    fn turn(&mut self, tables: &Tables, live: &Live, incoming: &mut Vec<Frame>) -> Result<u32, Error> {
        let mut received = 0;
        for index in 0..self.sockets.len() {
            received += self.sockets[index].socket.receive(&mut self.umem, incoming, BATCH);
            for frame in incoming.drain(..) {
                self.dispatch(frame, tables, live);
            }
        }
        self.counters.received_frames += u64::from(received);
        self.transmit()?;
        self.refill()?;
        Ok(received)
    }

    /// Processes one frame and puts it where it goes.
    fn dispatch(&mut self, mut frame: Frame, tables: &Tables, live: &Live) {
        match process(&mut frame, tables, live, &mut self.counters.verdicts) {
            Disposition::Send(route) => return self.send(frame, route),
            Disposition::Split(fragments) => self.send_pieces(&frame, &fragments),
            Disposition::Control { network, direction, task } => {
                let packet = frame.octets().get(network..).unwrap_or_default().to_vec();
                // The control thread must never make a worker wait.
                if self.requests.try_send(Request { direction, packet, task }).is_err() {
                    self.counters.lost_requests += 1;
                } else {
                    self.has_requested = true;
                }
            }
            Disposition::Discard => {}
        }
        self.umem.free(frame);
    }

    /// Puts a frame on its way.
    fn send(&mut self, frame: Frame, route: Route) {
        match route {
            Route::Port(port) => match self.senders.get(port) {
                Some(Some(socket)) => return self.outgoing[*socket].push(frame),
                Some(None) | None => self.counters.lost_transmit_full += 1,
            },
            Route::Kernel { destination, reason } => {
                match self.handover.send(frame.octets(), destination) {
                    Ok(()) => self.counters.count_handover(reason),
                    Err(_) => self.counters.lost_kernel_refused += 1,
                }
            }
        }
        self.umem.free(frame);
    }

    /// Puts the pieces of a frame on their way, each in a frame of its own.
    fn send_pieces(&mut self, frame: &Frame, fragments: &Fragments) {
        let payload = frame.octets().get(fragments.payload..).unwrap_or_default();
        for piece in fragments.split.pieces() {
            let Some(mut fresh) = self.umem.allocate() else {
                self.counters.lost_no_frame += 1;
                continue;
            };
            match perform_piece(&mut fresh, &fragments.link, &piece, payload) {
                Ok(()) => self.send(fresh, fragments.route),
                Err(NoRoom) => {
                    self.counters.lost_no_frame += 1;
                    self.umem.free(fresh);
                }
            }
        }
    }

    /// Sends what is on its way out; what an interface does not take is lost.
    fn transmit(&mut self) -> Result<(), Error> {
        for (PortSocket { socket, .. }, frames) in self.sockets.iter_mut().zip(&mut self.outgoing) {
            socket.reclaim(&mut self.umem, u32::MAX);
            if !frames.is_empty() {
                let mut sent = socket.transmit(&mut self.umem, frames);
                if !frames.is_empty() {
                    count_failures(&mut self.counters, socket.kick_tx()?);
                    socket.reclaim(&mut self.umem, u32::MAX);
                    sent += socket.transmit(&mut self.umem, frames);
                }
                self.counters.transmitted_frames += u64::from(sent);
                self.counters.lost_transmit_full += frames.len() as u64;
                for frame in frames.drain(..) {
                    self.umem.free(frame);
                }
            }
            if socket.tx_waiting() > 0 && socket.tx_needs_wakeup() {
                count_failures(&mut self.counters, socket.kick_tx()?);
            }
        }
        Ok(())
    }

    /// Lends the kernel frames to receive into.
    fn refill(&mut self) -> Result<(), Error> {
        for PortSocket { socket, .. } in &mut self.sockets {
            let room = socket.config().ring_sizes.fill.saturating_sub(socket.fill_waiting());
            socket.fill(&mut self.umem, room);
            if socket.fill_needs_wakeup() && socket.mode() == af_xdp::Mode::ZeroCopy {
                count_failures(&mut self.counters, socket.wake_rx()?);
            }
        }
        Ok(())
    }

    /// Sleeps until a packet comes, somebody calls, or a while has passed.
    fn wait(&self, shared: &Shared) {
        let sockets = self.sockets.iter().map(|socket| {
            // What a full interface left behind has to be kicked again as soon as there is room.
            let flags = match socket.socket.tx_waiting() {
                0 => PollFlags::IN,
                _ => PollFlags::IN | PollFlags::OUT,
            };
            PollFd::from_borrowed_fd(socket.socket.as_fd(), flags)
        });
        let wake_up = PollFd::from_borrowed_fd(shared.wake_up.as_fd(), PollFlags::IN);
        let mut descriptors: Vec<PollFd<'_>> = sockets.chain([wake_up]).collect();
        // An interruption only ends the wait early.
        let _ = poll(&mut descriptors, Some(&IDLE_WAIT));
        let only_errors = PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL;
        let is_ready = |descriptor: &PollFd<'_>| descriptor.revents().intersects(PollFlags::IN | PollFlags::OUT);
        let has_failed = |descriptor: &PollFd<'_>| descriptor.revents().intersects(only_errors);
        if descriptors.iter().any(has_failed) && !descriptors.iter().any(is_ready) {
            std::thread::sleep(ERROR_WAIT);
        }
    }

    fn publish(&self) {
        *self.published.lock().unwrap_or_else(PoisonError::into_inner) = self.counters;
    }
}

fn count_failures(counters: &mut WorkerCounters, kick: Kick) {
    counters.failed_wake_ups += u64::from(kick.busy + kick.no_buffers + kick.network_down);
}
