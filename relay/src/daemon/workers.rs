//! The worker threads: how many, on which processors, with which sockets; started and stopped.

use super::ports::{Port, Ports};
use super::{DaemonError, failed, placement};
use crate::config::{Config, Wait};
use crate::control::snapshot::Queue;
use crate::driver::kernel::Handover;
use crate::driver::napi;
use crate::errors::Request;
use crate::fast_path::FastPath;
use crate::stats::{Published, QueueCounters, WorkerCounters};
use crate::worker::{PortSocket, Shared, Worker};
use af_xdp::{RingSizes, Socket, SocketConfig, Umem, ZeroCopy};
use crossbeam::channel::Sender;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use tracing::{error, info, warn};

/// The running workers.
pub(super) struct Workers {
    threads: Vec<JoinHandle<()>>,
    seen: Vec<Seen>,
    /// The number of the generation by which each worker translates.
    generations: Vec<Arc<AtomicU64>>,
    /// Whether all sockets take packets that lie in several chunks.
    multi_buffer: bool,
}

/// What can be seen of a worker from outside.
struct Seen {
    counters: Arc<Mutex<Published>>,
    /// Its sockets, in their order, with nothing counted.
    queues: Vec<Queue>,
}

impl Workers {
    /// Opens all sockets, puts them into the XDP program's map and starts the workers.
    ///
    /// Each worker serves at least one queue of every port, since it can only send where it has a socket. So
    /// there are as many as the port with the fewest queues has, and no more than processors.
    pub(super) fn start(
        config: &Config,
        ports: &Ports,
        fast_path: &mut FastPath,
        shared: &Arc<Shared>,
        requests: &Sender<Request>,
    ) -> Result<Self, DaemonError> {
        let cpus = match &config.cpus {
            Some(cpus) => cpus.clone(),
            None => allowed_cpus()?,
        };
        let queues = ports
            .iter()
            .map(|port| port.queues.len())
            .min()
            .unwrap_or(0);
        let count = queues.min(cpus.len()).max(1);
        let places = placement::place(config, ports, count, &cpus);
        warn_of_interrupts(config.wait, ports);
        let mut workers = Self {
            threads: Vec::new(),
            seen: Vec::new(),
            generations: Vec::new(),
            multi_buffer: true,
        };
        for (number, cpu) in places.into_iter().enumerate() {
            let post = Post {
                number,
                count,
                cpu,
                wait: config.wait,
            };
            let started = start_one(&post, ports, fast_path, shared, requests);
            match started {
                Ok((thread, seen, generation, multi_buffer)) => {
                    workers.multi_buffer &= multi_buffer;
                    workers.threads.push(thread);
                    workers.seen.push(seen);
                    workers.generations.push(generation);
                }
                Err(error) => {
                    workers.stop(shared);
                    return Err(error);
                }
            }
        }
        Ok(workers)
    }

    /// Says whether all sockets take packets that are longer than a chunk of memory.
    pub(super) fn take_long_packets(&self) -> bool {
        self.multi_buffer
    }

    /// Says whether a worker has given up.
    pub(super) fn any_ended(&self) -> bool {
        self.threads.iter().any(JoinHandle::is_finished)
    }

    /// Has the workers end and returns the sum of their counters.
    pub(super) fn stop(self, shared: &Shared) -> WorkerCounters {
        shared.stop();
        for thread in self.threads {
            if thread.join().is_err() {
                error!("a worker panicked");
            }
        }
        sum(&self.seen)
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
        sum(&self.seen)
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

/// Frames of each socket for the fragments of packets that have to be split.
const PIECES: u32 = 1024;

type Started = (JoinHandle<()>, Seen, Arc<AtomicU64>, bool);

fn sum(seen: &[Seen]) -> WorkerCounters {
    let mut sum = WorkerCounters::default();
    for seen in seen {
        let published = seen.counters.lock();
        sum.add(&published.unwrap_or_else(PoisonError::into_inner).counters);
    }
    sum
}

/// What is settled about a worker before it starts.
struct Post {
    /// Its number, one of `count`.
    number: usize,
    count: usize,
    /// The processor that it runs on; `None` for any.
    cpu: Option<usize>,
    wait: Wait,
}

/// Starts a worker.
fn start_one(
    post: &Post,
    ports: &Ports,
    fast_path: &mut FastPath,
    shared: &Arc<Shared>,
    requests: &Sender<Request>,
) -> Result<Started, DaemonError> {
    let Post {
        number,
        count,
        cpu,
        wait,
    } = *post;
    let (umem, sockets) = open(number, count, ports)?;
    let mut queues = Vec::new();
    for PortSocket { port, socket } in &sockets {
        let port = ports.iter().nth(*port);
        let first_socket = port.map_or(0, |port| port.first_socket);
        fast_path.set_socket(first_socket + socket.config().queue, socket)?;
        let SocketConfig {
            interface, queue, ..
        } = socket.config();
        info!(
            "{interface}: queue {queue} served by worker {number}, {} mode",
            socket.mode()
        );
        queues.push(Queue {
            interface: interface.clone(),
            queue: *queue,
            worker: number,
            is_zero_copy: socket.mode() == af_xdp::Mode::ZeroCopy,
            counters: QueueCounters::default(),
        });
    }
    let handover = Handover::open()?;
    let worker = Worker::new(
        umem,
        sockets,
        ports.iter().count(),
        handover,
        requests.clone(),
        wait,
    )?;
    let seen = Seen {
        counters: worker.counters(),
        queues,
    };
    let generation = worker.generation();
    let multi_buffer = worker
        .sockets()
        .iter()
        .all(|socket| socket.socket.is_multi_buffer());
    let shared = shared.clone();
    let thread = std::thread::Builder::new()
        .name(format!("worker-{number}"))
        .spawn(move || {
            if let Some(cpu) = cpu {
                let mut set = CpuSet::new();
                set.set(cpu);
                if let Err(error) = sched_setaffinity(None, &set) {
                    error!("worker {number} cannot run on processor {cpu}: {error}");
                }
            }
            if let Err(error) = worker.run(&shared, number) {
                error!("worker {number}: {error}");
            }
        });
    let thread = thread.map_err(failed("start a worker thread"))?;
    Ok((thread, seen, generation, multi_buffer))
}

/// Warns where polling the driver does not keep its interrupts away.
fn warn_of_interrupts(wait: Wait, ports: &Ports) {
    match wait {
        Wait::Poll | Wait::Busy => {}
        Wait::PreferBusyPoll => {
            let missing = |port: &Port| napi::missing(&port.interface.name, port.index);
            for missing in ports.iter().filter_map(missing) {
                warn!("{missing}");
            }
        }
    }
}

/// Opens the sockets of one worker over one UMEM.
fn open(
    number: usize,
    count: usize,
    ports: &Ports,
) -> Result<(Umem, Vec<PortSocket>), DaemonError> {
    let zero_copy = wanted_zero_copy(ports);
    match open_with(number, count, ports, zero_copy) {
        // One interface has it and another one does not: frames can only be shared by copying.
        Err(_) if zero_copy == ZeroCopy::Auto => open_with(number, count, ports, ZeroCopy::Off),
        outcome => outcome,
    }
}

/// Returns the one mode for all ports, since they share their frames.
fn wanted_zero_copy(ports: &Ports) -> ZeroCopy {
    let wanted = |mode| ports.iter().any(|port| port.interface.zero_copy == mode);
    match (wanted(ZeroCopy::On), wanted(ZeroCopy::Off)) {
        (true, _) => ZeroCopy::On,
        (false, true) => ZeroCopy::Off,
        (false, false) => ZeroCopy::Auto,
    }
}

fn open_with(
    number: usize,
    count: usize,
    ports: &Ports,
    zero_copy: ZeroCopy,
) -> Result<(Umem, Vec<PortSocket>), DaemonError> {
    let ring_sizes = RingSizes::default();
    let served: Vec<(usize, &Port, u32)> = ports
        .iter()
        .enumerate()
        .flat_map(|(position, port)| {
            let queues = port.queues.iter().skip(number).step_by(count);
            queues.map(move |queue| (position, port, *queue))
        })
        .collect();
    // For each socket as many frames as it can hold on its way in and on its way out, and some for what leaves in pieces.
    let frames = served.len() as u32 * (ring_sizes.fill + ring_sizes.tx + PIECES);
    let mut umem = Umem::new(ports.chunk_size(), frames)?;
    let mut sockets = Vec::new();
    for (position, port, queue) in served {
        let config = SocketConfig {
            interface_index: port.index,
            interface: port.interface.name.clone(),
            queue,
            ring_sizes,
            zero_copy,
            long_packets: ports.have_long_packets(),
        };
        sockets.push(PortSocket {
            port: position,
            socket: Socket::bind(&mut umem, &config)?,
        });
    }
    Ok((umem, sockets))
}

/// Returns the processors that the process may run on.
fn allowed_cpus() -> Result<Vec<usize>, DaemonError> {
    let set = sched_getaffinity(None)
        .map_err(|error| failed("read the processor affinity")(error.into()))?;
    Ok((0..CpuSet::MAX_CPU)
        .filter(|cpu| set.is_set(*cpu))
        .collect())
}
