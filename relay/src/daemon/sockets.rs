//! Which worker serves which queue, and the sockets for that.

use super::ports::{Port, Ports};
use super::{DaemonError, failed};
use crate::config::{Config, Wait};
use crate::driver::kernel::Handover;
use crate::errors::Request;
use crate::tally;
use crate::worker::{PortSocket, Worker};
use af_xdp::{RingSizes, Socket, SocketConfig, Umem, ZeroCopy};
use crossbeam::channel::Sender;
use rustix::thread::{CpuSet, sched_getaffinity};
use tracing::info;

/// Frames of each socket for the fragments of packets that have to be split.
const PIECES: u32 = 1024;

/// A queue of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seat {
    /// The position of the port.
    pub(super) port: usize,
    /// The queue.
    pub(super) queue: u32,
}

/// Returns the processors for workers.
pub(super) fn cpus(config: &Config) -> Result<Vec<usize>, DaemonError> {
    if let Some(cpus) = &config.cpus {
        return Ok(cpus.clone());
    }
    let set = sched_getaffinity(None)
        .map_err(|error| failed("read the processor affinity")(error.into()))?;
    let all = 0..CpuSet::MAX_CPU;
    Ok(all.filter(|cpu| set.is_set(*cpu)).collect())
}

/// Returns how many workers it takes.
///
/// Each worker serves at least one queue of every port, since it can only send where it has a socket. So there are as many as
/// the port with the fewest queues has, and no more than processors that the configuration names and the machine has.
pub(super) fn count(ports: &Ports, cpus: &[usize]) -> usize {
    let queues = ports.iter().map(|port| port.queues.len());
    let most = cpus.len().min(tally::most_workers());
    queues.min().unwrap_or(0).min(most).max(1)
}

/// Deals the queues of all ports out to workers.
pub(super) fn deal(ports: &Ports, count: usize) -> Vec<Vec<Seat>> {
    let of = |number: usize| {
        let all = ports.iter().enumerate();
        all.flat_map(move |(position, port)| {
            let queues = port.queues.iter().skip(number).step_by(count);
            queues.map(move |queue| Seat {
                port: position,
                queue: *queue,
            })
        })
        .collect()
    };
    (0..count).map(of).collect()
}

/// Deals out the queues that no worker holds yet, given the queues of each port; those that a worker holds stay where they are.
/// Returns what each worker gets, or `None` if a worker would be left without a queue of some port.
pub(super) fn deal_more(
    queues: &[Vec<u32>],
    count: usize,
    holder: impl Fn(Seat) -> Option<usize>,
) -> Option<Vec<Vec<Seat>>> {
    let mut hands = vec![Vec::new(); count];
    for (port, queues) in queues.iter().enumerate() {
        let mut held = vec![0; count];
        let mut fresh = Vec::new();
        for queue in queues {
            let seat = Seat {
                port,
                queue: *queue,
            };
            match holder(seat) {
                Some(worker) => *held.get_mut(worker)? += 1,
                None => fresh.push(seat),
            }
        }
        for seat in fresh {
            let (worker, least) = held.iter_mut().enumerate().min_by_key(|(_, held)| **held)?;
            *least += 1;
            hands[worker].push(seat);
        }
        if held.contains(&0) {
            return None;
        }
    }
    Some(hands)
}

/// Says whether so many frames will do for so many sockets. With fewer than they were [made](open) with, sockets have all that they
/// can hold on its way in, and share what is on its way out.
pub(super) fn will_do(frames: u32, sockets: usize) -> bool {
    frames >= sockets as u32 * (RingSizes::default().fill + PIECES)
}

/// Returns the one mode for all ports, since they share their frames.
pub(super) fn wanted_zero_copy(ports: &Ports) -> ZeroCopy {
    let wanted = |mode| ports.iter().any(|port| port.interface.zero_copy == mode);
    match (wanted(ZeroCopy::On), wanted(ZeroCopy::Off)) {
        (true, _) => ZeroCopy::On,
        (false, true) => ZeroCopy::Off,
        (false, false) => ZeroCopy::Auto,
    }
}

/// Returns how the socket of a queue is bound.
pub(super) fn socket_config(port: &Port, queue: u32, ports: &Ports) -> SocketConfig {
    SocketConfig {
        interface_index: port.index,
        interface: port.interface.name.clone(),
        queue,
        ring_sizes: RingSizes::default(),
        zero_copy: wanted_zero_copy(ports),
        long_packets: ports.have_long_packets(),
    }
}

/// Finds out whether sockets can be had for the queues that `before` does not have. None of them is kept.
pub(super) fn probe(ports: &Ports, before: &Ports) -> Result<(), DaemonError> {
    for port in ports.iter() {
        let is_held = |queue: &&u32| {
            let mut all = before.iter();
            all.any(|it| it.index == port.index && it.queues.contains(queue))
        };
        for queue in port.queues.iter().filter(|queue| !is_held(queue)) {
            let mut umem = Umem::new(ports.chunk_size(), 1)?;
            Socket::bind(&mut umem, &socket_config(port, *queue, ports))?;
        }
    }
    Ok(())
}

/// Logs who serves a queue.
pub(super) fn tell(number: usize, socket: &Socket) {
    let (config, mode) = (socket.config(), socket.mode());
    info!(
        "{}: queue {} served by worker {number}, {mode} mode",
        config.interface, config.queue
    );
}

/// Makes a worker for each hand of queues, which is ready to receive and does not run yet.
pub(super) fn open(
    hands: &[Vec<Seat>],
    ports: &Ports,
    wait: Wait,
    requests: &Sender<Request>,
) -> Result<Vec<Worker>, DaemonError> {
    let mut workers = Vec::new();
    for (number, seats) in hands.iter().enumerate() {
        let zero_copy = wanted_zero_copy(ports);
        let opened = match open_with(seats, ports, zero_copy) {
            // One interface has it and another one does not: frames can only be shared by copying.
            Err(_) if zero_copy == ZeroCopy::Auto => open_with(seats, ports, ZeroCopy::Off),
            outcome => outcome,
        };
        let (umem, sockets) = opened?;
        for PortSocket { socket, .. } in &sockets {
            tell(number, socket);
        }
        let handover = Handover::open()?;
        let count = ports.iter().count();
        workers.push(Worker::new(
            umem,
            sockets,
            count,
            handover,
            requests.clone(),
            wait,
        )?);
    }
    Ok(workers)
}

/// Opens the sockets of one worker over one UMEM.
fn open_with(
    seats: &[Seat],
    ports: &Ports,
    zero_copy: ZeroCopy,
) -> Result<(Umem, Vec<PortSocket>), DaemonError> {
    let RingSizes { fill, tx, .. } = RingSizes::default();
    // For each socket as many frames as it can hold on its way in and on its way out, and some for what leaves in pieces.
    let frames = seats.len() as u32 * (fill + tx + PIECES);
    let mut umem = Umem::new(ports.chunk_size(), frames)?;
    let mut sockets = Vec::new();
    for seat in seats {
        let Some(port) = ports.iter().nth(seat.port) else {
            continue;
        };
        let config = SocketConfig {
            zero_copy,
            ..socket_config(port, seat.queue, ports)
        };
        sockets.push(PortSocket {
            port: Some(seat.port),
            socket: Socket::bind(&mut umem, &config)?,
        });
    }
    Ok((umem, sockets))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seats(hand: &[(usize, u32)]) -> Vec<Seat> {
        let seat = |(port, queue): &(usize, u32)| Seat {
            port: *port,
            queue: *queue,
        };
        hand.iter().map(seat).collect()
    }

    #[test]
    fn queues_that_are_held_stay_and_others_go_where_there_are_fewest() {
        // Port 1 is new; of port 0 each worker has one queue, and queue 5 comes to it.
        let holder = |seat: Seat| match (seat.port, seat.queue) {
            (0, queue @ (0 | 1)) => Some(1 - queue as usize),
            _ => None,
        };
        let hands = deal_more(&[vec![0, 1, 5], vec![0, 1, 2]], 2, holder).unwrap();
        assert_eq!(hands[0], seats(&[(0, 5), (1, 0), (1, 2)]));
        assert_eq!(hands[1], seats(&[(1, 1)]));
    }

    #[test]
    fn a_worker_without_a_queue_of_a_port_cannot_be() {
        // Both queues that stay are those of one worker.
        let holder = |seat: Seat| (seat.queue < 2).then_some(0);
        assert_eq!(deal_more(&[vec![0, 1]], 2, holder), None);
        assert!(deal_more(&[vec![0, 1, 2]], 2, holder).is_some());
        assert_eq!(deal_more(&[vec![7]], 2, |_| None), None);
    }
}
