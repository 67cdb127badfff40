//! What a worker does with its rings besides receiving: sending, taking back, lending, and waking the kernel up.

use super::wait::{Called, IDLE_WAIT, RETRY_WAIT};
use super::{PortSocket, Worker};
use crate::config::Wait;
use crate::stats::WorkerCounters;
use af_xdp::{Errno, Error, Kick};
use std::time::Duration;

/// How it stands between the worker and the kernel, for one socket.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct WakeUps {
    /// Whether the interface was down when the kernel was last called for it.
    pub(super) is_down: bool,
    /// Whether packets were left on the RX ring.
    pub(super) has_more: bool,
    /// When the kernel was last told of the TX ring, unless by the way.
    tx: Called,
    /// When it was last told of the fill ring.
    fill: Called,
}

impl WakeUps {
    /// Returns how long the kernel is not called again for want of anything new.
    fn pause(&self) -> Duration {
        match self.is_down {
            true => IDLE_WAIT,
            false => RETRY_WAIT,
        }
    }
}

impl Worker {
    /// Sends what is on its way out; what an interface does not take is lost.
    pub(super) fn transmit(&mut self) -> Result<(), Error> {
        let Self {
            umem,
            sockets,
            outgoing,
            wake_ups,
            counters,
            queues,
            ..
        } = self;
        for (((PortSocket { socket, .. }, frames), state), queue) in
            sockets.iter_mut().zip(outgoing).zip(wake_ups).zip(queues)
        {
            socket.reclaim(umem, u32::MAX);
            let has_news = !frames.is_empty();
            if has_news {
                socket.transmit(umem, frames);
                if !frames.is_empty() {
                    state.is_down = !wake_up(socket.kick_tx(), counters)?;
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
            // What the kernel has left on the ring is not worth a call in every turn.
            let pause = state.pause();
            if socket.tx_waiting() > 0
                && socket.tx_needs_wakeup()
                && state.tx.is_due(has_news, pause)
            {
                state.is_down = !wake_up(socket.kick_tx(), counters)?;
            }
        }
        Ok(())
    }

    /// Lends the kernel frames to receive into, and has it receive where it does not by itself.
    pub(super) fn refill(&mut self) -> Result<(), Error> {
        for (PortSocket { port, socket }, state) in self.sockets.iter_mut().zip(&mut self.wake_ups)
        {
            let room = match port {
                Some(_) => socket.config().ring_sizes.fill,
                // Nobody takes frames back from one that goes.
                None => 0,
            };
            let lent = socket.fill(&mut self.umem, room.saturating_sub(socket.fill_waiting()));
            let pause = state.pause();
            let is_asked = match self.wait {
                Wait::Poll | Wait::Busy => {
                    socket.mode() == af_xdp::Mode::ZeroCopy
                        && socket.fill_needs_wakeup()
                        && state.fill.is_due(lent > 0, pause)
                }
                // This is how the driver gets to work. It need not as long as there is something left.
                Wait::PreferBusyPoll => !state.has_more && state.fill.is_due(!state.is_down, pause),
            };
            if is_asked {
                state.is_down = !wake_up(socket.wake_rx(), &mut self.counters)?;
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
