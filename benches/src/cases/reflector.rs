//! An AF_XDP program that swaps the MAC addresses of each frame and sends it back: what AF_XDP alone costs.

use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use af_xdp::{ChunkSize, Frame, RingSizes, Socket, SocketConfig, Umem, ZeroCopy};
use aya::maps::{MapData, XskMap};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::thread::gettid;

use super::{Settings, StartError};
use crate::lab::Lab;
use crate::object::layout::{SOCKETS, TO_SOCKET};
use crate::object::{Object, in_map};
use crate::pin;

/// Frames taken at a time.
const BATCH: u32 = 64;
/// Frames of the UMEM.
const FRAMES: u32 = 4096;
/// How long to wait for frames before looking whether to stop.
const PATIENCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 20_000_000,
};

/// A reflector on one interface of the device. Dropping it ends its thread.
pub(super) struct Reflector {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    number: u32,
}

impl Reflector {
    /// Starts a reflector on a processor.
    pub(super) fn start(lab: &Lab, port: &str, settings: Settings<'_>) -> Result<Self, StartError> {
        let config = SocketConfig {
            interface_index: lab.device.interface_index(port)?,
            interface: port.to_owned(),
            queue: 0,
            ring_sizes: RingSizes::default(),
            zero_copy: ZeroCopy::Auto,
            long_packets: false,
        };
        let stop = Arc::new(AtomicBool::new(false));
        let (ready, is_ready) = mpsc::channel();
        let thread = lab.device.run_in(|| {
            let stop = Arc::clone(&stop);
            let processor = settings.processor;
            thread::spawn(move || match Bound::new(&config, processor) {
                Ok(bound) => {
                    let number = gettid().as_raw_nonzero().get().cast_unsigned();
                    let _ = ready.send(Ok(number));
                    bound.run(&stop);
                }
                Err(error) => drop(ready.send(Err(error))),
            })
        })?;
        let mut reflector = Self {
            stop,
            thread: Some(thread),
            number: 0,
        };
        reflector.number = is_ready
            .recv()
            .unwrap_or_else(|_| Err(StartError::Refused("the reflector ended".to_owned())))?;
        Ok(reflector)
    }

    /// The number of its thread.
    pub(super) fn thread(&self) -> u32 {
        self.number
    }
}

impl Drop for Reflector {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // If it panicked, it has said so itself.
            let _ = thread.join();
        }
    }
}

/// The socket with all that belongs to it.
struct Bound {
    umem: Umem,
    socket: Socket,
    _sockets: XskMap<MapData>,
    _object: Object,
}

impl Bound {
    fn new(config: &SocketConfig, processor: usize) -> Result<Self, StartError> {
        pin::to(processor).map_err(|source| StartError::Io {
            what: "the reflector".to_owned(),
            source,
        })?;
        let mut umem = Umem::new(ChunkSize::Octets2048, FRAMES)?;
        let mut socket = Socket::bind(&mut umem, config)?;
        socket.fill(&mut umem, FRAMES / 2);
        let mut object = Object::load(TO_SOCKET)?;
        let mut sockets: XskMap<MapData> = object.map(SOCKETS)?;
        sockets
            .set(0, socket.as_raw_fd(), 0)
            .map_err(in_map(SOCKETS))?;
        object.attach(TO_SOCKET, config.interface_index)?;
        Ok(Self {
            umem,
            socket,
            _sockets: sockets,
            _object: object,
        })
    }

    fn run(mut self, stop: &AtomicBool) {
        let mut frames: Vec<Frame> = Vec::with_capacity(BATCH as usize);
        while !stop.load(Ordering::Relaxed) {
            let received = self.socket.receive(&mut self.umem, &mut frames, BATCH);
            for frame in &mut frames {
                swap_addresses(frame.octets_mut());
            }
            self.socket.transmit(&mut self.umem, &mut frames);
            // What the TX ring has no room for is lost.
            frames.drain(..).for_each(|frame| self.umem.free(frame));
            if self.socket.tx_waiting() > 0 && self.socket.kick_tx().is_err() {
                return;
            }
            self.socket.reclaim(&mut self.umem, 2 * BATCH);
            self.socket.fill(&mut self.umem, 2 * BATCH);
            if received == 0 {
                let mut waiting = [PollFd::from_borrowed_fd(self.socket.as_fd(), PollFlags::IN)];
                // An interrupted wait is followed by another.
                let _ = poll(&mut waiting, Some(&PATIENCE));
            }
        }
    }
}

fn swap_addresses(frame: &mut [u8]) {
    if let Some((destination, source)) = frame.get_mut(..12).map(|both| both.split_at_mut(6)) {
        destination.swap_with_slice(source);
    }
}
