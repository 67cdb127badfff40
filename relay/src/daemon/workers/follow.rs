//! Workers that go on with other ports than before.
//!
//! They outlive a change of ports where they can: they rest, get sockets or lose them, and go on with their frames and whatever
//! has arrived meanwhile. Where their memory or their number does not fit any more, others are made in their place. Which processor
//! each runs on is chosen anew once it is settled who serves which queue; until then, and if nothing comes of it, they stay where
//! they are.

use super::{Sockets, Workers, sockets_of, sum};
use crate::config::Config;
use crate::daemon::DaemonError;
use crate::daemon::placement::{self, Interrupts};
use crate::daemon::ports::Ports;
use crate::daemon::sockets::{self, Seat};
use crate::fast_path::FastPath;
use crate::worker::{PortSocket, Shared, Worker};
use af_xdp::{Mode, ZeroCopy};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tracing::info;

/// How long the kernel may take to let go of a queue whose socket was closed, and how often it is asked meanwhile.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(20);

impl Workers {
    /// Gives the workers sockets for the ports to come in place of `before`, and has them go on; what is not needed any more stays
    /// open until they are told to [let go](Self::let_go) of it. `meanwhile` is called while no worker runs. Returns the sockets
    /// for the XDP program's map.
    ///
    /// # Errors
    ///
    /// A socket cannot be had: the workers go on as before, and `meanwhile` was not called. If not even that can be,
    /// [`any_ended`](Self::any_ended) says so.
    pub(in crate::daemon) fn follow(
        &mut self,
        (before, next): (&Ports, &Ports),
        config: &Config,
        fast_path: &mut FastPath,
        shared: &Arc<Shared>,
        meanwhile: impl FnOnce(),
    ) -> Result<Sockets, DaemonError> {
        let cpus = sockets::cpus(config)?;
        let interrupts = Interrupts::look_up(config, next);
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
            self.go_on(resting, shared)?;
            match outcome {
                Ok(()) => {
                    sockets::probe(next, before)?;
                    let resting = self.rest(shared)?;
                    break self.replace(resting, (before, next), config, fast_path, shared)?;
                }
                Err(DaemonError::AfXdp(error)) if error.is_busy() && Instant::now() < deadline => {
                    std::thread::sleep(PAUSE);
                }
                Err(error) => return Err(error),
            }
        };
        self.places = placement::place(config, &cpus, &hands_of(&resting), &interrupts);
        meanwhile();
        self.go_on(resting, shared)?;
        Ok(sockets)
    }

    /// Closes the sockets that belong to no port any more.
    pub(in crate::daemon) fn let_go(&mut self, shared: &Arc<Shared>) -> Result<(), DaemonError> {
        let mut resting = self.rest(shared)?;
        for worker in &mut resting {
            worker.let_go(shared)?;
        }
        self.go_on(resting, shared)
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
        config: &Config,
        fast_path: &mut FastPath,
        shared: &Arc<Shared>,
    ) -> Result<(Vec<Worker>, Sockets), DaemonError> {
        let count = sockets::count(next, &sockets::cpus(config)?);
        let count_before = resting.len();
        info!("the workers are made anew; packets that need one are lost meanwhile");
        self.ended.add(&sum(&self.seen));
        self.seen.clear();
        // The kernel lets go of a queue when nobody has its socket open.
        fast_path.forget_sockets();
        drop(resting);
        let open = |ports: &Ports, count| {
            let hands = sockets::deal(ports, count);
            let workers = sockets::open(&hands, ports, config.wait, &self.requests)?;
            let sockets = sockets_of(&workers, ports)?;
            Ok((workers, sockets))
        };
        let opened = open(next, count);
        let refused = match opened {
            Ok(opened) => {
                self.expects_long_packets = next.have_long_packets();
                return Ok(opened);
            }
            Err(error) => error,
        };
        let (workers, sockets) = open(before, count_before)?;
        for (index, socket) in sockets {
            fast_path.set_socket(index, &socket)?;
        }
        self.go_on(workers, shared)?;
        Err(refused)
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

/// Returns the queues of ports that each worker serves.
fn hands_of(workers: &[Worker]) -> Vec<Vec<Seat>> {
    let hand = |worker: &Worker| {
        let seat = |socket: &PortSocket| {
            Some(Seat {
                port: socket.port?,
                queue: socket.socket.config().queue,
            })
        };
        let mut seats: Vec<Seat> = worker.sockets().iter().filter_map(seat).collect();
        // As if they had been dealt at once.
        seats.sort_unstable_by_key(|seat| (seat.port, seat.queue));
        seats
    };
    workers.iter().map(hand).collect()
}
