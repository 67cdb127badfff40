//! What a worker does with its rings besides receiving: sending, taking back, lending, and waking the kernel up.

use super::{PortSocket, Worker};
use crate::stats::WorkerCounters;
use af_xdp::{Errno, Error, Kick};

impl Worker {
    /// Sends what is on its way out; what an interface does not take is lost.
    pub(super) fn transmit(&mut self) -> Result<(), Error> {
        let Self {
            umem,
            sockets,
            outgoing,
            down,
            counters,
            queues,
            ..
        } = self;
        for (((PortSocket { socket, .. }, frames), down), queue) in
            sockets.iter_mut().zip(outgoing).zip(down).zip(queues)
        {
            socket.reclaim(umem, u32::MAX);
            if !frames.is_empty() {
                socket.transmit(umem, frames);
                if !frames.is_empty() {
                    *down = !wake_up(socket.kick_tx(), counters)?;
                    socket.reclaim(umem, u32::MAX);
                    socket.transmit(umem, frames);
                }
                // A packet in several frames is one packet.
                let lost = frames.iter().filter(|frame| !frame.continues()).count() as u64;
                counters.transmitted_frames -= lost;
                queue.transmitted_frames -= lost;
                counters.lost_transmit_full += lost;
                for frame in frames.drain(..) {
                    umem.free(frame);
                }
            }
            if socket.tx_waiting() > 0 && socket.tx_needs_wakeup() {
                *down = !wake_up(socket.kick_tx(), counters)?;
            }
        }
        Ok(())
    }

    /// Lends the kernel frames to receive into.
    pub(super) fn refill(&mut self) -> Result<(), Error> {
        for PortSocket { socket, .. } in &mut self.sockets {
            let room = socket
                .config()
                .ring_sizes
                .fill
                .saturating_sub(socket.fill_waiting());
            socket.fill(&mut self.umem, room);
            if socket.fill_needs_wakeup() && socket.mode() == af_xdp::Mode::ZeroCopy {
                wake_up(socket.wake_rx(), &mut self.counters)?;
            }
        }
        Ok(())
    }
}

/// Counts what failed in waking the kernel up; says whether the interface was up.
fn wake_up(outcome: Result<Kick, Error>, counters: &mut WorkerCounters) -> Result<bool, Error> {
    let kick = match outcome {
        Ok(kick) => kick,
        // The interface has gone, or its driver starts over. The other interfaces go on.
        Err(Error::Call {
            errno: Errno::NXIO, ..
        }) => Kick {
            calls: 1,
            network_down: 1,
            ..Kick::default()
        },
        Err(error) => return Err(error),
    };
    counters.failed_wake_ups += u64::from(kick.busy + kick.no_buffers + kick.network_down);
    Ok(kick.network_down == 0)
}
