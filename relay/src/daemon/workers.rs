//! The worker threads: started, stopped, and put to rest for the moment in which their ports change.
//!
//! Workers outlive a change of ports where they can: they rest, get sockets or lose them, and go on with their frames and whatever
//! has arrived meanwhile. Where their memory or their number does not fit any more, others are made in their place.

use super::ports::Ports;
use super::sockets::{self, Seat};
use super::{DaemonError, failed};
use crate::config::Config;
use crate::control::snapshot::Queue;
use crate::errors::Request;
use crate::fast_path::FastPath;
use crate::stats::{Published, QueueCounters, WorkerCounters};
use crate::worker::{Shared, Worker};
use af_xdp::{Mode, ZeroCopy};
use crossbeam::channel::Sender;
use rustix::fd::OwnedFd;
use rustix::thread::{CpuSet, sched_setaffinity};
use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tracing::{error, info};

/// How long the kernel may take to let go of a queue whose socket was closed, and how often it is asked meanwhile.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(20);

/// The running workers.
pub(super) struct Workers {
    threads: Vec<JoinHandle<Option<Worker>>>,
    seen: Vec<Seen>,
    /// The number of the generation by which each worker translates.
    generations: Vec<Arc<AtomicU64>>,
    /// Whether all sockets take packets that lie in several chunks.
    multi_buffer: bool,
    /// Whether packets longer than a chunk were expected when the sockets were made.
    expects_long_packets: bool,
    requests: Sender<Request>,
    /// What workers have counted in whose place there are others.
    ended: WorkerCounters,
}

/// What can be seen of a worker from outside.
struct Seen {
    counters: Arc<Mutex<Published>>,
    /// Its sockets, in their order, with nothing counted.
    queues: Vec<Queue>,
}

/// The sockets of all workers, by their indices in the XDP program's map.
pub(super) type Sockets = BTreeMap<u32, OwnedFd>;

impl Workers {
    /// Opens all sockets, puts them into the XDP program's map and starts the workers.
    pub(super) fn start(
        config: &Config,
        ports: &Ports,
        fast_path: &mut FastPath,
        shared: &Arc<Shared>,
        requests: &Sender<Request>,
    ) -> Result<Self, DaemonError> {
        let cpus = sockets::cpus(config)?;
        let hands = sockets::deal(ports, sockets::count(ports, &cpus));
        let resting = sockets::open(&hands, ports, requests)?;
        let mut workers = Self {
            threads: Vec::new(),
            seen: Vec::new(),
            generations: Vec::new(),
            multi_buffer: true,
            expects_long_packets: ports.have_long_packets(),
            requests: requests.clone(),
            ended: WorkerCounters::default(),
        };
        for (index, socket) in sockets_of(&resting, ports)? {
            fast_path.set_socket(index, &socket)?;
        }
        match workers.go_on(resting, &cpus, shared) {
            Ok(()) => Ok(workers),
            Err(error) => {
                workers.stop(shared);
                Err(error)
            }
        }
    }

    /// Gives the workers sockets for the ports to come in place of `before`, and has them go on; what is not needed any more stays
    /// open until they are told to [let go](Self::let_go) of it. `meanwhile` is called while no worker runs. Returns the sockets
    /// for the XDP program's map.
    ///
    /// # Errors
    ///
    /// A socket cannot be had: the workers go on as before, and `meanwhile` was not called. If not even that can be,
    /// [`any_ended`](Self::any_ended) says so.
    pub(super) fn follow(
        &mut self,
        (before, next): (&Ports, &Ports),
        config: &Config,
        fast_path: &mut FastPath,
        shared: &Arc<Shared>,
        meanwhile: impl FnOnce(),
    ) -> Result<Sockets, DaemonError> {
        let cpus = sockets::cpus(config)?;
        let deadline = Instant::now() + PATIENCE;
        let (resting, sockets) = loop {
            let mut resting = self.rest(shared)?;
            let outcome = match self.extend(&mut resting, next, &cpus) {
                Ok(Some(sockets)) => break (resting, sockets),
                Ok(None) => Ok(()),
                Err(error) => Err(error),
            };
            assign(&mut resting, before);
            for worker in &mut resting {
                worker.let_go(shared)?;
            }
            self.go_on(resting, &cpus, shared)?;
            match outcome {
                Ok(()) => {
                    sockets::probe(next, before)?;
                    let resting = self.rest(shared)?;
                    break self.replace(resting, (before, next), &cpus, fast_path, shared)?;
                }
                Err(DaemonError::AfXdp(error)) if error.is_busy() && Instant::now() < deadline => {
                    std::thread::sleep(PAUSE);
                }
                Err(error) => return Err(error),
            }
        };
        meanwhile();
        self.go_on(resting, &cpus, shared)?;
        Ok(sockets)
    }

    /// Closes the sockets that belong to no port any more.
    pub(super) fn let_go(
        &mut self,
        config: &Config,
        shared: &Arc<Shared>,
    ) -> Result<(), DaemonError> {
        let mut resting = self.rest(shared)?;
        for worker in &mut resting {
            worker.let_go(shared)?;
        }
        self.go_on(resting, &sockets::cpus(config)?, shared)
    }

    /// Binds sockets for the queues that no worker has yet, and returns all sockets; `None` if these workers do not fit the ports.
    fn extend(
        &self,
        resting: &mut [Worker],
        next: &Ports,
        cpus: &[usize],
    ) -> Result<Option<Sockets>, DaemonError> {
        let needs_long_packets = next.have_long_packets() && !self.expects_long_packets;
        if resting.len() != sockets::count(next, cpus) || needs_long_packets {
            return Ok(None);
        }
        let Some(hands) = hands_for(resting, next) else {
            return Ok(None);
        };
        for (worker, seats) in resting.iter_mut().zip(hands) {
            let has = |mode| {
                let mut held = worker.sockets().iter();
                held.all(|socket| socket.socket.mode() == mode)
            };
            let fits = match sockets::wanted_zero_copy(next) {
                ZeroCopy::Auto => true,
                ZeroCopy::On => has(Mode::ZeroCopy),
                ZeroCopy::Off => has(Mode::Copy),
            };
            if !fits || worker.frames().0.octets() < next.chunk_size().octets() {
                return Ok(None);
            }
            let may_copy = sockets::wanted_zero_copy(next) == ZeroCopy::Auto && !has(Mode::Copy);
            for Seat { port, queue } in seats {
                let Some(port) = next.iter().nth(port) else {
                    continue;
                };
                match worker.bind(&sockets::socket_config(port, queue, next)) {
                    Ok(()) => {}
                    // It cannot do what the interfaces up to now can, but all can copy.
                    Err(error) if may_copy && !error.is_busy() => {
                        info!("{error}");
                        return Ok(None);
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            // Asked now, since a socket that comes back brings frames along.
            if !sockets::will_do(worker.frames().1, worker.sockets().len()) {
                return Ok(None);
            }
        }
        for (number, worker) in resting.iter().enumerate() {
            let fresh = worker.sockets().iter().filter(|it| it.port.is_none());
            fresh.for_each(|socket| sockets::tell(number, &socket.socket));
        }
        assign(resting, next);
        sockets_of(resting, next).map(Some)
    }

    /// Makes workers for the ports to come in place of those that rest; if that cannot be, for the ports before.
    fn replace(
        &mut self,
        resting: Vec<Worker>,
        (before, next): (&Ports, &Ports),
        cpus: &[usize],
        fast_path: &mut FastPath,
        shared: &Arc<Shared>,
    ) -> Result<(Vec<Worker>, Sockets), DaemonError> {
        info!("the workers are made anew; packets that need one are lost meanwhile");
        self.ended.add(&sum(&self.seen));
        self.seen.clear();
        // The kernel lets go of a queue when nobody has its socket open.
        fast_path.forget_sockets();
        drop(resting);
        let hands = sockets::deal(next, sockets::count(next, cpus));
        let opened = sockets::open(&hands, next, &self.requests).and_then(|workers| {
            let sockets = sockets_of(&workers, next)?;
            Ok((workers, sockets))
        });
        let refused = match opened {
            Ok(opened) => {
                self.expects_long_packets = next.have_long_packets();
                return Ok(opened);
            }
            Err(error) => error,
        };
        let hands = sockets::deal(before, sockets::count(before, cpus));
        let workers = sockets::open(&hands, before, &self.requests)?;
        for (index, socket) in sockets_of(&workers, before)? {
            fast_path.set_socket(index, &socket)?;
        }
        self.go_on(workers, cpus, shared)?;
        Err(refused)
    }

    /// Has all workers rest, and returns them.
    fn rest(&mut self, shared: &Shared) -> Result<Vec<Worker>, DaemonError> {
        shared.stop();
        let threads = self.threads.drain(..);
        let workers: Vec<Option<Worker>> = threads
            .map(|thread| thread.join().unwrap_or_default())
            .collect();
        let workers: Option<Vec<Worker>> = workers.into_iter().collect();
        workers.ok_or(DaemonError::WorkerEnded)
    }

    /// Has workers run that rest.
    fn go_on(
        &mut self,
        resting: Vec<Worker>,
        cpus: &[usize],
        shared: &Arc<Shared>,
    ) -> Result<(), DaemonError> {
        self.seen = resting.iter().enumerate().map(seen).collect();
        self.generations = resting.iter().map(Worker::generation).collect();
        let mut sockets = resting.iter().flat_map(Worker::sockets);
        self.multi_buffer = sockets.all(|socket| socket.socket.is_multi_buffer());
        shared.go_on();
        for (number, worker) in resting.into_iter().enumerate() {
            let thread = spawn(number, worker, cpus.get(number).copied(), shared.clone());
            self.threads
                .push(thread.map_err(failed("start a worker thread"))?);
        }
        Ok(())
    }

    /// Says whether all sockets take packets that are longer than a chunk of memory.
    pub(super) fn take_long_packets(&self) -> bool {
        self.multi_buffer
    }

    /// Says whether a worker has given up.
    pub(super) fn any_ended(&self) -> bool {
        self.threads.is_empty() || self.threads.iter().any(JoinHandle::is_finished)
    }

    /// Has the workers end and returns the sum of their counters.
    pub(super) fn stop(mut self, shared: &Shared) -> WorkerCounters {
        shared.stop();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                error!("a worker panicked");
            }
        }
        self.counters()
    }

    /// Returns the number of workers.
    pub(super) fn count(&self) -> usize {
        self.threads.len()
    }

    /// Returns where each worker says by which generation it translates.
    pub(super) fn generations(&self) -> &[Arc<AtomicU64>] {
        &self.generations
    }

    /// Returns the sum of the workers' counters, as they were published last.
    pub(super) fn counters(&self) -> WorkerCounters {
        let mut counters = self.ended;
        counters.add(&sum(&self.seen));
        counters
    }

    /// Returns the queues that are served, with what was counted on them.
    pub(super) fn queues(&self) -> Vec<Queue> {
        let mut queues = Vec::new();
        for seen in &self.seen {
            let published = seen.counters.lock();
            let published = published.unwrap_or_else(PoisonError::into_inner);
            let counters = published.queues.iter().copied().map(Some);
            let counters = counters.chain(std::iter::repeat(None));
            queues.extend(
                seen.queues
                    .iter()
                    .zip(counters)
                    .map(|(queue, counters)| Queue {
                        counters: counters.unwrap_or_default(),
                        ..queue.clone()
                    }),
            );
        }
        queues.sort_by(|one, other| {
            (&one.interface, one.queue).cmp(&(&other.interface, other.queue))
        });
        queues
    }
}

fn sum(seen: &[Seen]) -> WorkerCounters {
    let mut sum = WorkerCounters::default();
    for seen in seen {
        let published = seen.counters.lock();
        sum.add(&published.unwrap_or_else(PoisonError::into_inner).counters);
    }
    sum
}

/// Returns what can be seen of a worker with a number.
fn seen((number, worker): (usize, &Worker)) -> Seen {
    let queue = |socket: &crate::worker::PortSocket| Queue {
        interface: socket.socket.config().interface.clone(),
        queue: socket.socket.config().queue,
        worker: number,
        is_zero_copy: socket.socket.mode() == Mode::ZeroCopy,
        counters: QueueCounters::default(),
    };
    Seen {
        counters: worker.counters(),
        queues: worker.sockets().iter().map(queue).collect(),
    }
}

/// Returns what each worker gets besides what it has.
fn hands_for(resting: &[Worker], next: &Ports) -> Option<Vec<Vec<Seat>>> {
    let queues: Vec<Vec<u32>> = next.iter().map(|port| port.queues.clone()).collect();
    let indices = next.indices();
    sockets::deal_more(&queues, resting.len(), |Seat { port, queue }| {
        resting.iter().position(|worker| {
            let mut sockets = worker.sockets().iter();
            sockets.any(|socket| {
                let config = socket.socket.config();
                indices.get(port) == Some(&config.interface_index) && config.queue == queue
            })
        })
    })
}

/// Has the sockets of workers belong to the ports at their interfaces that have their queues; to none if there is none.
fn assign(workers: &mut [Worker], ports: &Ports) {
    for worker in workers {
        worker.assign(ports.iter().count(), |config| {
            let mut all = ports.iter();
            all.position(|port| {
                port.index == config.interface_index && port.queues.contains(&config.queue)
            })
        });
    }
}

/// Returns the sockets that belong to ports, by their indices in the XDP program's map.
fn sockets_of(workers: &[Worker], ports: &Ports) -> Result<Sockets, DaemonError> {
    let mut sockets = Sockets::new();
    for socket in workers.iter().flat_map(Worker::sockets) {
        let port = socket.port.and_then(|port| ports.iter().nth(port));
        let Some(port) = port else {
            continue;
        };
        let descriptor = socket.socket.as_fd().try_clone_to_owned();
        let descriptor = descriptor.map_err(failed("duplicate the descriptor of a socket"))?;
        let index = port.first_socket + socket.socket.config().queue;
        sockets.insert(index, descriptor);
    }
    Ok(sockets)
}

/// Starts the thread of a worker, which returns it when it has been told to stop.
fn spawn(
    number: usize,
    mut worker: Worker,
    cpu: Option<usize>,
    shared: Arc<Shared>,
) -> std::io::Result<JoinHandle<Option<Worker>>> {
    let thread = std::thread::Builder::new().name(format!("worker-{number}"));
    thread.spawn(move || {
        if let Some(cpu) = cpu {
            let mut set = CpuSet::new();
            set.set(cpu);
            if let Err(error) = sched_setaffinity(None, &set) {
                error!("worker {number} cannot run on processor {cpu}: {error}");
            }
        }
        match worker.run(&shared) {
            Ok(()) => Some(worker),
            Err(error) => {
                error!("worker {number}: {error}");
                None
            }
        }
    })
}
