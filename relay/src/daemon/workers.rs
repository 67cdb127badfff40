//! The worker threads: started, stopped, and put to rest for the moment in which their ports change.

mod follow;

use super::placement::{self, Interrupts};
use super::ports::{Port, Ports};
use super::sockets;
use super::{DaemonError, failed};
use crate::config::{Config, Wait};
use crate::control::snapshot::Queue;
use crate::driver::napi;
use crate::errors::Request;
use crate::fast_path::FastPath;
use crate::stats::{Published, QueueCounters, WorkerCounters};
use crate::worker::{Shared, Worker};
use af_xdp::Mode;
use crossbeam::channel::Sender;
use rustix::fd::OwnedFd;
use rustix::thread::{CpuSet, sched_setaffinity};
use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use tracing::{error, warn};

/// The running workers.
pub(super) struct Workers {
    threads: Vec<JoinHandle<Option<Worker>>>,
    seen: Vec<Seen>,
    /// The processor that each worker runs on; `None` for any.
    places: Vec<Option<usize>>,
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
        let interrupts = Interrupts::look_up(config, ports);
        let places = placement::place(config, &cpus, &hands, &interrupts);
        warn_of_interrupts(config.wait, ports.iter());
        let resting = sockets::open(&hands, ports, config.wait, requests)?;
        let mut workers = Self {
            threads: Vec::new(),
            seen: Vec::new(),
            places,
            generations: Vec::new(),
            multi_buffer: true,
            expects_long_packets: ports.have_long_packets(),
            requests: requests.clone(),
            ended: WorkerCounters::default(),
        };
        for (index, socket) in sockets_of(&resting, ports)? {
            fast_path.set_socket(index, &socket)?;
        }
        match workers.go_on(resting, shared) {
            Ok(()) => Ok(workers),
            Err(error) => {
                workers.stop(shared);
                Err(error)
            }
        }
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

    /// Has workers run that rest, each in its place.
    fn go_on(&mut self, resting: Vec<Worker>, shared: &Arc<Shared>) -> Result<(), DaemonError> {
        self.seen = resting.iter().enumerate().map(seen).collect();
        self.generations = resting.iter().map(Worker::generation).collect();
        let mut sockets = resting.iter().flat_map(Worker::sockets);
        self.multi_buffer = sockets.all(|socket| socket.socket.is_multi_buffer());
        shared.go_on();
        for (number, worker) in resting.into_iter().enumerate() {
            let place = self.places.get(number).copied().flatten();
            let thread = spawn(number, worker, place, shared.clone());
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
        match worker.run(&shared, number) {
            Ok(()) => Some(worker),
            Err(error) => {
                error!("worker {number}: {error}");
                None
            }
        }
    })
}

/// Warns where polling the driver does not keep its interrupts away.
pub(super) fn warn_of_interrupts<'a>(wait: Wait, ports: impl Iterator<Item = &'a Port>) {
    match wait {
        Wait::Poll | Wait::Busy => {}
        Wait::PreferBusyPoll => {
            for missing in ports.filter_map(|port| napi::missing(&port.interface.name, port.index))
            {
                warn!("{missing}");
            }
        }
    }
}
