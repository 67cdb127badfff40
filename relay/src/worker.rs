//! An AF_XDP worker: receive, process, transmit, reclaim, and nothing else.
//!
//! A worker owns one UMEM, which all its sockets share, so that a frame goes from one interface to the
//! other without a copy. It takes no lock and never waits for the control thread: tables and network are
//! published to it, and read once for each batch. A batch is translated by one generation; the next batch
//! may already see another one.

mod long;
mod rings;
mod shared;
mod sockets;
mod wait;

pub use shared::Shared;

use crate::config::Wait;
use crate::driver::kernel::Handover;
use crate::errors::{Request, Task};
use crate::lookahead::Lookahead;
use crate::offline::Link;
use crate::paths::Live;
use crate::perform::{NoRoom, perform_piece};
use crate::process::{Disposition, Fragments, HandoverReason, Processor, Route};
use crate::stats::{Published, QueueCounters, WorkerCounters};
use crate::tables::Tables;
use crate::tap::Tap;
use af_xdp::{Error, Frame, Socket, Umem};
use arc_swap::Cache;
use crossbeam::channel::Sender;
use relay_core::{Direction, MAX_ERROR_LENGTH};
use rings::WakeUps;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use wait::Publication;

/// Frames taken from a socket at a time.
const BATCH: u32 = 64;
/// A socket of a worker, and the port that it belongs to.
pub struct PortSocket {
    /// The position of the interface in the configuration; `None` if it is to go, and only what has come in by it is of interest.
    pub port: Option<usize>,
    /// The socket.
    pub socket: Socket,
}

/// An AF_XDP worker before and while it runs.
pub struct Worker {
    /// Under which it counts for the mappings.
    number: usize,
    umem: Umem,
    sockets: Vec<PortSocket>,
    /// For each port, the socket that sends out of it.
    senders: Vec<Option<usize>>,
    /// Frames on their way out, by socket.
    outgoing: Vec<Vec<Frame>>,
    /// How it stands between the worker and the kernel, by socket.
    wake_ups: Vec<WakeUps>,
    /// What the worker does while no packet comes.
    wait: Wait,
    handover: Handover,
    requests: Sender<Request>,
    /// Whether the control thread has to be woken up.
    has_requested: bool,
    counters: WorkerCounters,
    /// By socket.
    queues: Vec<QueueCounters>,
    /// What was counted by sockets that have gone, where the worker's counters are sums over its sockets.
    gone: WorkerCounters,
    published: Arc<Mutex<Published>>,
    /// The number of the generation by which the worker translates.
    generation: Arc<AtomicU64>,
}

impl Worker {
    /// Returns a worker for sockets that share `umem`, ready to receive. It sends out of a port by the
    /// first of its sockets there; what is not for its loop goes to the control thread as `requests`. What it does while no
    /// packet comes is `wait`, or where the kernel refuses that, [`Wait::Poll`].
    ///
    /// # Errors
    ///
    /// A socket failed in a way that nobody has foreseen.
    pub fn new(
        umem: Umem,
        mut sockets: Vec<PortSocket>,
        ports: usize,
        handover: Handover,
        requests: Sender<Request>,
        wait: Wait,
    ) -> Result<Self, Error> {
        let mut worker = Self {
            number: 0,
            senders: sockets::senders(&sockets, ports),
            outgoing: sockets
                .iter()
                .map(|_| Vec::with_capacity(2 * BATCH as usize))
                .collect(),
            wake_ups: vec![WakeUps::default(); sockets.len()],
            wait: wait::prepare(wait, &mut sockets),
            umem,
            queues: vec![QueueCounters::default(); sockets.len()],
            sockets,
            handover,
            requests,
            has_requested: false,
            counters: WorkerCounters::default(),
            gone: WorkerCounters::default(),
            published: Arc::default(),
            generation: Arc::default(),
        };
        // Packets may come before the thread is scheduled for the first time.
        worker.refill()?;
        Ok(worker)
    }

    /// Returns the place where the worker publishes its counters from time to time.
    pub fn counters(&self) -> Arc<Mutex<Published>> {
        self.published.clone()
    }

    /// Returns the place where the worker says by which generation it translates: no packet that it has yet to receive is
    /// translated by an older one.
    pub fn generation(&self) -> Arc<AtomicU64> {
        self.generation.clone()
    }

    /// Returns the worker's sockets.
    pub fn sockets(&self) -> &[PortSocket] {
        &self.sockets
    }

    /// Works until told to stop. Afterwards it is at rest and can be told to work again. Workers that run at the same time have
    /// different numbers, below the number of processors.
    ///
    /// # Errors
    ///
    /// A socket failed in a way that nobody has foreseen.
    pub fn run(&mut self, shared: &Shared, number: usize) -> Result<(), Error> {
        self.number = number;
        let mut tables = Cache::new(&shared.tables);
        let mut live = Cache::new(&shared.live);
        let mut incoming = Vec::with_capacity(BATCH as usize);
        let mut publication = Publication::new();
        let outcome = loop {
            let (tables, live) = (tables.load(), live.load());
            self.generation.store(tables.generation, Ordering::Release);
            let tap = shared.tap.tap();
            let turn = self.turn(tables, live, tap.as_deref(), &mut incoming);
            if std::mem::take(&mut self.has_requested) {
                shared.call_control();
            }
            let received = match turn {
                Ok(received) => received,
                Err(error) => break Err(error),
            };
            if publication.is_due(self.wait, received) {
                self.publish();
            }
            if shared.is_stopping() {
                break Ok(());
            }
            if received == 0 {
                self.wait(shared);
            }
        };
        for frame in incoming
            .drain(..)
            .chain(self.outgoing.iter_mut().flat_map(|frames| frames.drain(..)))
        {
            self.umem.free(frame);
        }
        self.publish();
        outcome
    }

    /// Serves every socket once; returns how many packets came in.
    fn turn(
        &mut self,
        tables: &Tables,
        live: &Live,
        tap: Option<&Tap>,
        incoming: &mut Vec<Frame>,
    ) -> Result<u32, Error> {
        let mut received = 0;
        for index in 0..self.sockets.len() {
            let socket = &mut self.sockets[index].socket;
            let taken = socket.receive(&mut self.umem, incoming, BATCH);
            self.wake_ups[index].has_more = taken >= BATCH;
            // A worker that never sleeps comes here most often for nothing.
            if incoming.is_empty() {
                continue;
            }
            let may_be_unfinished = live.may_be_unfinished(self.sockets[index].port);
            let mut processor = Processor::new(tables, live, self.number, may_be_unfinished);
            let lookahead = Lookahead::begin(incoming, tables);
            let mut batch = 0;
            let mut frames = incoming.drain(..);
            while let Some(frame) = frames.next() {
                lookahead.go_on(frames.as_slice());
                batch += 1;
                match frame.continues() {
                    false => self.dispatch(frame, index, &mut processor, tap),
                    true => self.dispatch_long(frame, &mut frames, &mut processor),
                }
            }
            drop(frames);
            self.queues[index].received_frames += u64::from(batch);
            received += batch;
        }
        self.counters.received_frames += u64::from(received);
        self.transmit()?;
        self.refill()?;
        Ok(received)
    }

    /// Processes one frame that came from a socket and puts it where it goes.
    fn dispatch(
        &mut self,
        mut frame: Frame,
        socket: usize,
        processor: &mut Processor<'_>,
        tap: Option<&Tap>,
    ) {
        let look = tap.and_then(|tap| {
            let interface = &self.sockets[socket].socket.config().interface;
            let counters = &self.counters.verdicts;
            tap.look(interface, Link::Ethernet, frame.octets(), counters)
        });
        let disposition = processor.process(&mut frame, &mut self.counters.verdicts);
        if let Some(look) = look {
            let port = |port: usize| match self.senders.get(port) {
                Some(Some(socket)) => self.sockets[*socket].socket.config().interface.as_str(),
                Some(None) | None => "nowhere",
            };
            look.end(&disposition, frame.octets(), &self.counters.verdicts, port);
        }
        match disposition {
            Disposition::Send(route) => return self.send(frame, route),
            Disposition::Split(fragments) => self.send_pieces(frame.octets(), &fragments),
            Disposition::Control {
                network,
                direction,
                task,
            } => {
                self.request(
                    frame.octets().get(network..).unwrap_or_default(),
                    direction,
                    task,
                );
            }
            Disposition::Discard => {}
        }
        self.umem.free(frame);
    }

    /// Leaves a packet to the control thread, which must never make a worker wait.
    ///
    /// Senders whose packets are dropped can be any number; they get half of the room, so that errors about the packets of
    /// others get through.
    fn request(&mut self, packet: &[u8], direction: Direction, task: Task) {
        let room = self.requests.capacity().unwrap_or(0);
        let (may_have, lost, packet) = match task {
            Task::Translate => (room, &mut self.counters.lost_errors, packet),
            // An error quotes no more than fits into it.
            Task::Reply(..) => {
                let quoted = packet.get(..MAX_ERROR_LENGTH).unwrap_or(packet);
                (room / 2, &mut self.counters.lost_replies, quoted)
            }
        };
        let request = Request {
            direction,
            packet: packet.to_vec(),
            task,
        };
        if self.requests.len() < may_have && self.requests.try_send(request).is_ok() {
            self.has_requested = true;
        } else {
            *lost += 1;
        }
    }

    /// Puts a frame on its way.
    fn send(&mut self, frame: Frame, route: Route) {
        match route {
            Route::Port(port) => match self.senders.get(port) {
                Some(Some(socket)) => {
                    self.counters.transmitted_frames += 1;
                    self.queues[*socket].transmitted_frames += 1;
                    return self.outgoing[*socket].push(frame);
                }
                Some(None) | None => self.counters.lost_transmit_full += 1,
            },
            Route::Kernel {
                destination,
                reason,
            } => self.hand_over(frame.octets(), destination, reason),
        }
        self.umem.free(frame);
    }

    /// Hands a packet without a link header to the kernel.
    fn hand_over(&mut self, packet: &[u8], destination: IpAddr, reason: HandoverReason) {
        match self.handover.send(packet, destination) {
            Ok(()) => self.counters.count_handover(reason),
            Err(_) => self.counters.lost_kernel_refused += 1,
        }
    }

    /// Puts the pieces of a packet on their way, each in a frame of its own.
    fn send_pieces(&mut self, packet: &[u8], fragments: &Fragments) {
        self.counters.split_packets += 1;
        let payload = packet.get(fragments.payload..).unwrap_or_default();
        for piece in fragments.split.pieces() {
            let Some(mut fresh) = self.umem.allocate() else {
                self.counters.lost_no_frame += 1;
                continue;
            };
            match perform_piece(&mut fresh, &fragments.link, &piece, payload) {
                Ok(()) => self.send(fresh, fragments.route),
                Err(NoRoom) => {
                    self.umem.free(fresh);
                    self.send_long_piece(fragments, &piece, payload);
                }
            }
        }
    }

    /// Puts the counters where others can read them.
    fn publish(&mut self) {
        let counters = &mut self.counters;
        counters.lost_receive_full = self.gone.lost_receive_full;
        counters.lost_receive_refused = self.gone.lost_receive_refused;
        counters.empty_fill_ring = self.gone.empty_fill_ring;
        counters.invalid_descriptors = self.gone.invalid_descriptors;
        for (PortSocket { socket, .. }, queue) in self.sockets.iter().zip(&mut self.queues) {
            let errors = socket.descriptor_errors();
            counters.invalid_descriptors += errors.receive + errors.completion + errors.empty;
            // A socket whose statistics cannot be read has gone with its interface.
            if let Ok(statistics) = socket.statistics() {
                queue.set_rings(&statistics);
                counters.empty_fill_ring += statistics.rx_fill_ring_empty;
                counters.invalid_descriptors +=
                    statistics.rx_invalid_descriptors + statistics.tx_invalid_descriptors;
            }
            counters.lost_receive_full += queue.rx_ring_full;
            counters.lost_receive_refused += queue.rx_dropped;
        }
        let mut published = self
            .published
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        published.counters = self.counters;
        published.queues.clone_from(&self.queues);
    }
}
