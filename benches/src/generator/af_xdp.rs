//! The generator in this program: it writes each frame itself and sends it through an AF_XDP socket.

use std::sync::atomic::{AtomicBool, Ordering};

use af_xdp::{ChunkSize, Error, Frame, RingSizes, Socket, SocketConfig, Umem, ZeroCopy};

use super::Port;
use crate::clock;
use crate::traffic::{Pace, Traffic};

/// Frames sent at a time.
const BATCH: usize = 64;
/// Frames of the UMEM.
const FRAMES: u32 = 2048;
/// How long the last frames may take to be sent, in nanoseconds.
const LAST_PATIENCE: u64 = 1_000_000_000;
/// How far a stream may be behind before the frames that it owes are given up, in nanoseconds.
const MAX_DEBT: u64 = 50_000;

/// A generator on queue 0 of an interface.
pub(crate) struct AfXdp {
    umem: Umem,
    socket: Socket,
}

impl AfXdp {
    /// Binds the socket.
    pub(super) fn bind(port: &Port) -> Result<Self, Error> {
        let config = SocketConfig {
            interface_index: port.index,
            interface: port.name.clone(),
            queue: 0,
            ring_sizes: RingSizes::default(),
            zero_copy: ZeroCopy::Auto,
            long_packets: false,
        };
        let mut umem = Umem::new(ChunkSize::Octets2048, FRAMES)?;
        let socket = Socket::bind(&mut umem, &config)?;
        Ok(Self { umem, socket })
    }

    /// Sends until the stream ends or until told to stop; returns how many frames were sent.
    pub(super) fn run(
        &mut self,
        traffic: &Traffic,
        pace: Pace,
        stop: &AtomicBool,
    ) -> Result<u64, Error> {
        let mut schedule = Schedule::new(pace, clock::now());
        let end = schedule.end;
        let mut frames: Vec<Frame> = Vec::with_capacity(BATCH);
        let mut sent = 0;
        while !stop.load(Ordering::Relaxed) {
            let now = clock::now();
            if now >= end {
                break;
            }
            let due = schedule.due(now).min(BATCH);
            while frames.len() < due
                && let Some(mut frame) = self.umem.allocate()
            {
                let time = match pace {
                    Pace::Flood => 0,
                    Pace::Rate(..) => clock::now(),
                };
                frame
                    .set_len(traffic.length)
                    .expect("a chunk has room for the largest test frame");
                traffic.write(sent + frames.len() as u64, time, frame.octets_mut());
                frames.push(frame);
            }
            let taken = self.socket.transmit(&mut self.umem, &mut frames);
            // What the ring has no room for is made again, with its number and a later time.
            frames.drain(..).for_each(|frame| self.umem.free(frame));
            schedule.took(taken as usize);
            sent += u64::from(taken);
            if self.socket.tx_waiting() > 0 {
                // What comes of it shows in what arrives.
                let _ = self.socket.kick_tx()?;
            }
            self.socket.reclaim(&mut self.umem, 2 * BATCH as u32);
        }
        while self.socket.tx_waiting() > 0 && clock::now() < end.saturating_add(LAST_PATIENCE) {
            let _ = self.socket.kick_tx()?;
            self.socket.reclaim(&mut self.umem, FRAMES);
        }
        Ok(sent)
    }
}

/// When frames are due.
struct Schedule {
    /// Between two frames, in nanoseconds; zero at full speed.
    interval: f64,
    next: f64,
    /// When the stream ends, in nanoseconds.
    end: u64,
}

impl Schedule {
    fn new(pace: Pace, now: u64) -> Self {
        let (interval, end) = match pace {
            Pace::Flood => (0.0, u64::MAX),
            Pace::Rate(rate, duration) => (1e9 / rate, now + duration.as_nanos() as u64),
        };
        Self {
            interval,
            next: now as f64,
            end,
        }
    }

    /// How many frames are due.
    fn due(&mut self, now: u64) -> usize {
        let now = now as f64;
        self.next = self.next.max(now - MAX_DEBT as f64);
        if self.interval == 0.0 {
            usize::MAX
        } else if now < self.next {
            0
        } else {
            ((now - self.next) / self.interval) as usize + 1
        }
    }

    /// Notes that so many are sent.
    fn took(&mut self, frames: usize) {
        self.next += self.interval * frames as f64;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn frames_are_due_at_their_rate() {
        let start = 5_000_000_000;
        let mut schedule = Schedule::new(Pace::Rate(1e6, Duration::from_secs(3)), start);
        let mut sent = 0;
        for now in (start..start + 1_000_000).step_by(700) {
            let due = schedule.due(now);
            assert!(due <= 2);
            schedule.took(due);
            sent += due;
        }
        assert!((999..=1001).contains(&sent), "{sent}");
        assert_eq!(schedule.end, start + 3_000_000_000);
        // After a pause not all are made up for.
        assert_eq!(schedule.due(start + 1_000_000_000), 51);
        assert_eq!(Schedule::new(Pace::Flood, start).due(start), usize::MAX);
    }
}
