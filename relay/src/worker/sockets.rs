//! Sockets of a worker that come and go while it is at rest, and the ports that they belong to.
//!
//! The frames and all other sockets stay as they are: what waits on their rings is processed when the worker goes on. Nothing
//! here decides which worker gets which socket.

use super::rings::WakeUps;
use super::{PortSocket, Shared, Worker, wait};
use crate::stats::QueueCounters;
use af_xdp::{ChunkSize, Error, Socket, SocketConfig};

/// Returns for each port the first socket that sends out of it.
pub(super) fn senders(sockets: &[PortSocket], ports: usize) -> Vec<Option<usize>> {
    let sender = |port| {
        let mut all = sockets.iter();
        all.position(|socket| socket.port == Some(port))
    };
    (0..ports).map(sender).collect()
}

impl Worker {
    /// Returns the size of the chunks that its frames lie in, and how many frames there are to work with.
    pub fn frames(&self) -> (ChunkSize, u32) {
        (self.umem.chunk_size(), self.umem.usable())
    }

    /// Binds one more socket, which belongs to no port before [`assign`](Self::assign) says so. It does not wait for a queue that is
    /// busy. What the worker does while no packet comes holds for this socket, too; where the kernel refuses that, the worker
    /// [sleeps](crate::config::Wait::Poll) from now on.
    ///
    /// # Errors
    ///
    /// The socket cannot be bound; the worker is as it was.
    pub fn bind(&mut self, config: &SocketConfig) -> Result<(), Error> {
        let socket = Socket::bind_at_once(&mut self.umem, config)?;
        let mut fresh = PortSocket { port: None, socket };
        self.wait = wait::prepare(self.wait, std::slice::from_mut(&mut fresh));
        self.sockets.push(fresh);
        self.outgoing.push(Vec::new());
        self.wake_ups.push(WakeUps::default());
        self.queues.push(QueueCounters::default());
        Ok(())
    }

    /// Assigns the sockets to so many ports anew. Those for which `port_of` knows none are to go.
    pub fn assign(&mut self, ports: usize, port_of: impl Fn(&SocketConfig) -> Option<usize>) {
        for socket in &mut self.sockets {
            socket.port = port_of(socket.socket.config());
        }
        self.senders = senders(&self.sockets, ports);
    }

    /// Closes the sockets that belong to no port, when what has come in by them is processed. Frames that the kernel has for them
    /// are lost to the worker.
    ///
    /// # Errors
    ///
    /// A socket failed in a way that nobody has foreseen.
    pub fn let_go(&mut self, shared: &Shared) -> Result<(), Error> {
        let (tables, live) = (shared.tables.load(), shared.live.load());
        let tap = shared.tap.tap();
        let mut incoming = Vec::new();
        loop {
            let before = self.received_by_leaving();
            self.turn(&tables, &live, tap.as_deref(), &mut incoming)?;
            if self.received_by_leaving() == before {
                break;
            }
        }
        if std::mem::take(&mut self.has_requested) {
            shared.call_control();
        }
        self.publish();
        while let Some(index) = self.sockets.iter().position(|it| it.port.is_none()) {
            let mut socket = self.sockets.remove(index).socket;
            self.outgoing.remove(index);
            self.wake_ups.remove(index);
            self.count_gone(&socket, index);
            socket.reclaim(&mut self.umem, u32::MAX);
        }
        self.senders = senders(&self.sockets, self.senders.len());
        self.publish();
        Ok(())
    }

    /// Adds what was counted by a socket that goes to what those before it have counted.
    fn count_gone(&mut self, socket: &Socket, index: usize) {
        let queue = self.queues.remove(index);
        self.gone.lost_receive_full += queue.rx_ring_full;
        self.gone.lost_receive_refused += queue.rx_dropped;
        let errors = socket.descriptor_errors();
        self.gone.invalid_descriptors += errors.receive + errors.completion + errors.empty;
        self.gone.invalid_descriptors +=
            queue.rx_invalid_descriptors + queue.tx_invalid_descriptors;
        self.gone.empty_fill_ring += queue.rx_fill_ring_empty;
    }

    fn received_by_leaving(&self) -> u64 {
        let sockets = self.sockets.iter().zip(&self.queues);
        let leaving = sockets.filter(|(socket, _)| socket.port.is_none());
        leaving.map(|(_, queue)| queue.received_frames).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Wait;
    use crate::driver::kernel::Handover;
    use crate::lab::tests::{namespace, privileged};
    use crate::lab::{VethEnd, veth_pair};
    use af_xdp::{BusyPollOption, RingSizes, Umem, ZeroCopy};

    #[test]
    fn the_driver_is_polled_for_a_later_socket_as_for_the_first() {
        if !privileged("the_driver_is_polled_for_a_later_socket_as_for_the_first") {
            return;
        }
        let (here, there) = (namespace("later-l"), namespace("later-r"));
        let ends = [VethEnd::new(&here, "eth0"), VethEnd::new(&there, "far0")];
        let [near, far] = ends.map(|end| end.queues(4));
        veth_pair(near, far).unwrap();
        let config = |queue| SocketConfig {
            interface_index: here.interface_index("eth0").unwrap(),
            interface: "eth0".to_owned(),
            queue,
            ring_sizes: RingSizes::default(),
            zero_copy: ZeroCopy::Off,
            long_packets: false,
        };
        let polled = |wait, first, later| {
            let mut umem = Umem::new(ChunkSize::Octets2048, 64).unwrap();
            let socket = Socket::bind(&mut umem, &config(first)).unwrap();
            let port = Some(0);
            let sockets = vec![PortSocket { port, socket }];
            let (requests, _) = crossbeam::channel::bounded(1);
            let handover = Handover::open().unwrap();
            let mut worker = Worker::new(umem, sockets, 1, handover, requests, wait).unwrap();
            worker.bind(&config(later)).unwrap();
            let time = |socket: &PortSocket| socket.socket.busy_poll(BusyPollOption::Time).unwrap();
            let times: Vec<u32> = worker.sockets.iter().map(time).collect();
            (worker.wait, times.iter().map(|time| *time > 0).collect())
        };
        for (wait, queue, expected) in [(Wait::PreferBusyPoll, 0, true), (Wait::Busy, 2, false)] {
            let outcome: (Wait, Vec<bool>) =
                here.run_in(|| polled(wait, queue, queue + 1)).unwrap();
            assert_eq!(outcome, (wait, vec![expected; 2]));
        }
    }
}
