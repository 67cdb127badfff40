//! The receiver in this program: an AF_XDP socket, and a thread that takes its frames.

use std::mem;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use af_xdp::{ChunkSize, Frame, RingSizes, Socket, SocketConfig, Umem, ZeroCopy};
use aya::maps::{MapData, XskMap};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::ReceiverError;
use crate::clock;
use crate::generator::Port;
use crate::object::layout::{MAGIC, SAMPLE_EVERY, SOCKETS, TAG, TAG_V4, TAG_V6, TO_SOCKET};
use crate::object::{Object, in_map};
use crate::statistics::Histogram;

/// Frames taken at a time.
const BATCH: u32 = 64;
/// Frames of the UMEM.
const FRAMES: u32 = 4096;
/// How long to wait for frames before looking whether to stop.
const PATIENCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 20_000_000,
};

/// What has arrived.
#[derive(Default)]
struct Tally {
    frames: u64,
    latencies: Histogram,
    samples: Vec<Vec<u8>>,
}

/// A receiver on queue 0 of an interface. Dropping it ends its thread.
pub(crate) struct AfXdpReceiver {
    tally: Arc<Mutex<Tally>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    _sockets: XskMap<MapData>,
    _object: Object,
}

impl AfXdpReceiver {
    /// Binds the socket and begins.
    pub(super) fn start(port: &Port) -> Result<Self, ReceiverError> {
        let config = SocketConfig {
            interface_index: port.index,
            interface: port.name.clone(),
            queue: 0,
            ring_sizes: RingSizes::default(),
            zero_copy: ZeroCopy::Auto,
            long_packets: false,
        };
        let mut umem = Umem::new(ChunkSize::Octets2048, FRAMES)?;
        let mut socket = Socket::bind(&mut umem, &config)?;
        socket.fill(&mut umem, FRAMES / 2);
        let mut object = Object::load(TO_SOCKET)?;
        let mut sockets: XskMap<MapData> = object.map(SOCKETS)?;
        sockets
            .set(0, socket.as_raw_fd(), 0)
            .map_err(in_map(SOCKETS))?;
        object.attach(TO_SOCKET, port.index)?;
        let tally = Arc::<Mutex<Tally>>::default();
        let stop = Arc::<AtomicBool>::default();
        let thread = thread::spawn({
            let (tally, stop) = (Arc::clone(&tally), Arc::clone(&stop));
            move || receive(umem, socket, &tally, &stop)
        });
        Ok(Self {
            tally,
            stop,
            thread: Some(thread),
            _sockets: sockets,
            _object: object,
        })
    }

    /// Forgets everything.
    pub(super) fn reset(&mut self) {
        *lock(&self.tally) = Tally::default();
    }

    /// Returns how many frames arrived since the last reset, and how long they took; some are passed to `look`.
    pub(super) fn arrived(&mut self, mut look: impl FnMut(&[u8])) -> (u64, Histogram) {
        let Tally {
            frames,
            latencies,
            samples,
        } = mem::take(&mut *lock(&self.tally));
        samples.iter().for_each(|sample| look(sample));
        (frames, latencies)
    }
}

impl Drop for AfXdpReceiver {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // If it panicked, it has said so itself.
            let _ = thread.join();
        }
    }
}

fn lock(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    // A panic elsewhere leaves whole frames counted.
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

fn receive(mut umem: Umem, mut socket: Socket, tally: &Mutex<Tally>, stop: &AtomicBool) {
    let mut frames: Vec<Frame> = Vec::with_capacity(BATCH as usize);
    while !stop.load(Ordering::Relaxed) {
        if socket.receive(&mut umem, &mut frames, BATCH) == 0 {
            let mut waiting = [PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::IN)];
            // An interrupted wait is followed by another.
            let _ = poll(&mut waiting, Some(&PATIENCE));
            continue;
        }
        let now = clock::now();
        let mut tally = lock(tally);
        for frame in frames.drain(..) {
            if tally.frames.is_multiple_of(SAMPLE_EVERY) && is_tagged(frame.octets()) {
                tally.samples.push(frame.octets().to_vec());
            }
            tally.frames += 1;
            if let Some(stamp) = stamp(frame.octets()) {
                tally.latencies.record(now.saturating_sub(stamp));
            }
            umem.free(frame);
        }
        drop(tally);
        socket.fill(&mut umem, 2 * BATCH);
        if socket.fill_needs_wakeup() {
            // If it fails, the next one does it.
            let _ = socket.wake_rx();
        }
    }
}

/// Returns the tag of a frame that has one.
fn tag(frame: &[u8]) -> Option<&[u8]> {
    let at = match frame.get(12..14)? {
        [0x08, 0x00] => TAG_V4,
        _ => TAG_V6,
    };
    let tag = frame.get(at..at + TAG)?;
    (tag[..2] == MAGIC.to_be_bytes()).then_some(tag)
}

fn is_tagged(frame: &[u8]) -> bool {
    tag(frame).is_some()
}

/// Returns when a frame was sent, if it tells.
fn stamp(frame: &[u8]) -> Option<u64> {
    let octets = tag(frame)?[10..].try_into().expect("eight octets");
    Some(u64::from_be_bytes(octets)).filter(|stamp| *stamp != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traffic::tests::example;

    #[test]
    fn stamps_are_found() {
        for (ipv6, length) in [(false, 60), (true, 80)] {
            let frame = example(ipv6, length).frame(9, 1234);
            assert!(is_tagged(&frame));
            assert_eq!(stamp(&frame), Some(1234));
            assert_eq!(stamp(&example(ipv6, length).frame(9, 0)), None);
            assert_eq!(stamp(&frame[..50]), None);
        }
    }
}
