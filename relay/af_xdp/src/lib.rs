//! AF_XDP sockets: packets between a network driver and this process, past the kernel's stack.
//!
//! A worker owns one [`Umem`] and a [`Socket`] for each interface and queue that it serves. A [`Frame`]
//! goes from the pool to the kernel, comes back with a packet, is changed in place and sent from any of
//! the sockets; the UMEM's [`Ledger`] tells at any time who has how many. This package knows nothing of
//! what the packets are, loads no XDP program and fills no XSKMAP. Linux only, single-threaded, `Send`.
//! (Kernel: Documentation/networking/af_xdp.rst.)
//!
//! Read it in this order; each rests only on the ones before it:
//!
//! 1. `mapping`: memory from mmap, unmapped by its last owner.
//! 2. `ring_memory`: cursors and descriptors of one ring inside a mapping.
//! 3. `ring`: a producer and a consumer, in batches.
//! 4. `frame`: the handle of one chunk and the packet inside it.
//! 5. `umem`: the pool of chunks and the ledger of their owners.
//! 6. `rings`: a frame's way through the four rings of a socket.
//! 7. `socket`: a bound socket in use.
//! 8. `bind`, with `sockopt`: how a socket comes to be bound.
//! 9. `busy_poll`: how its calls do the work of the device's interrupts.
//!
//! Beside them stands `error`. One turn of a worker:
//!
//! ```no_run
//! use af_xdp::{ChunkSize, Error, RingSizes, Socket, SocketConfig, Umem, ZeroCopy};
//!
//! # fn main() -> Result<(), Error> {
//! let mut umem = Umem::new(ChunkSize::Octets2048, 4096)?;
//! let mut socket = Socket::bind(
//!     &mut umem,
//!     &SocketConfig {
//!         interface_index: 2,
//!         interface: "eth0".to_owned(),
//!         queue: 0,
//!         ring_sizes: RingSizes::default(),
//!         zero_copy: ZeroCopy::Auto,
//!         long_packets: false,
//!     },
//! )?;
//! let mut frames = Vec::with_capacity(64);
//! socket.fill(&mut umem, 2048);
//! loop {
//!     socket.receive(&mut umem, &mut frames, 64);
//!     for frame in &mut frames {
//!         frame.octets_mut().swap(0, 6);
//!     }
//!     socket.transmit(&mut umem, &mut frames);
//!     if socket.tx_waiting() > 0 && socket.tx_needs_wakeup() {
//!         let kick = socket.kick_tx()?;
//!         # let _ = kick;
//!     }
//!     socket.reclaim(&mut umem, 64);
//!     socket.fill(&mut umem, 64);
//! }
//! # }
//! ```
#![cfg(target_os = "linux")]

mod bind;
mod busy_poll;
mod error;
mod frame;
mod mapping;
mod ring;
mod ring_memory;
mod rings;
mod socket;
mod sockopt;
mod umem;

pub use busy_poll::BusyPoll;
pub use error::{Call, Error, Ring};
pub use frame::{Frame, OutsideChunk, PACKET_HEADROOM};
pub use rings::DescriptorErrors;
pub use rustix::io::Errno;
pub use socket::{Kick, Mode, RingSizes, Socket, SocketConfig, Statistics, ZeroCopy};
pub use sockopt::BusyPollOption;
pub use umem::{ChunkSize, Ledger, Umem};
