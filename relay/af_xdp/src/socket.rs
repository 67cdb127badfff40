//! An AF_XDP socket in use: frames in and out, wake-ups, statistics.
//!
//! Nothing here blocks. To wait, `poll` the sockets (they are [`AsFd`]). To receive, an XDP program must
//! redirect packets to the socket through an XSKMAP; making and filling that map is the caller's.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::sockopt::xdp_statistics;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use crate::error::{Call, Error, Ring};
use crate::frame::Frame;
use crate::rings::{DescriptorErrors, Rings};
use crate::umem::Umem;

/// Whether packets are to pass between the driver and the UMEM without a copy.
///
/// The first socket of a [`Umem`] decides for all of them. If that one got zero copy, a later socket on
/// an interface that cannot do it fails to bind; then `Off` must be chosen for all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ZeroCopy {
    /// Zero copy if the driver can, copy mode if not.
    #[default]
    Auto,
    /// Zero copy or an error.
    On,
    /// Copy mode.
    Off,
}

/// The mode that a socket works in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The kernel copies each packet into or out of the UMEM.
    Copy,
    /// The device reads and writes the UMEM.
    ZeroCopy,
}

impl std::fmt::Display for Mode {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Copy => "copy",
            Self::ZeroCopy => "zero-copy",
        })
    }
}

/// The number of entries of each ring; powers of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingSizes {
    /// Frames for the kernel to receive into.
    pub fill: u32,
    /// Sent frames on their way back; in copy mode also the most frames that are being sent at a time.
    pub completion: u32,
    /// Received packets that wait for the worker.
    pub rx: u32,
    /// Packets that wait for the kernel to send them.
    pub tx: u32,
}

impl Default for RingSizes {
    fn default() -> Self {
        Self {
            fill: 2048,
            completion: 2048,
            rx: 2048,
            tx: 2048,
        }
    }
}

/// Where and how to bind a [`Socket`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketConfig {
    /// The interface's index in the network namespace of the calling thread.
    pub interface_index: u32,
    /// The interface's name, for error messages.
    pub interface: String,
    /// The queue, counted from zero.
    pub queue: u32,
    /// The ring sizes.
    pub ring_sizes: RingSizes,
    /// Whether zero copy is wanted.
    pub zero_copy: ZeroCopy,
    /// Whether packets longer than a chunk are to be expected, so that [`Socket::is_multi_buffer`] is worth more than zero
    /// copy where both cannot be had.
    pub long_packets: bool,
}

impl SocketConfig {
    pub(crate) fn failed(&self, call: Call) -> impl FnOnce(Errno) -> Error + use<'_> {
        move |errno| Error::Call {
            interface: self.interface.clone(),
            queue: self.queue,
            call,
            errno,
        }
    }

    pub(crate) fn ring_size(&self, ring: Ring, size: u32) -> Error {
        Error::RingSize {
            interface: self.interface.clone(),
            queue: self.queue,
            ring,
            size,
        }
    }

    pub(crate) fn ring_layout(&self, ring: Ring) -> Error {
        Error::RingLayout {
            interface: self.interface.clone(),
            queue: self.queue,
            ring,
        }
    }

    pub(crate) fn mode_fixed(&self, mode: Mode) -> Error {
        Error::ModeFixed {
            interface: self.interface.clone(),
            queue: self.queue,
            mode,
        }
    }

    pub(crate) fn sockets_exhausted(&self) -> Error {
        Error::SocketsExhausted {
            interface: self.interface.clone(),
            queue: self.queue,
        }
    }
}

/// The system calls of one wake-up, by result. None of these results is fatal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use = "a wake-up that failed is to be counted"]
pub struct Kick {
    /// System calls made.
    pub calls: u32,
    /// EAGAIN: the kernel has done a part, or has no room on the completion ring or in the device.
    pub again: u32,
    /// EBUSY: the device dropped a frame; its chunk comes back on the completion ring all the same.
    pub busy: u32,
    /// ENOBUFS: the kernel is short of memory.
    pub no_buffers: u32,
    /// ENETDOWN: the interface is down.
    pub network_down: u32,
}

impl Kick {
    /// Counts one result; an error that it has no place for is given back.
    fn count(&mut self, result: Result<usize, Errno>) -> Result<(), Errno> {
        self.calls += 1;
        match result {
            Ok(_) => {}
            Err(Errno::AGAIN) => self.again += 1,
            Err(Errno::BUSY) => self.busy += 1,
            Err(Errno::NOBUFS) => self.no_buffers += 1,
            Err(Errno::NETDOWN) => self.network_down += 1,
            Err(errno) => return Err(errno),
        }
        Ok(())
    }
}

/// What the kernel has counted for one socket (XDP_STATISTICS); zero where it is too old to count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Received packets dropped for other reasons than the ones below, as being larger than a chunk.
    pub rx_dropped: u64,
    /// Entries of the fill ring that were not valid.
    pub rx_invalid_descriptors: u64,
    /// Entries of the TX ring that were not valid.
    pub tx_invalid_descriptors: u64,
    /// Received packets dropped because the RX ring was full.
    pub rx_ring_full: u64,
    /// How often a packet came and the fill ring was empty.
    pub rx_fill_ring_empty: u64,
    /// How often the kernel looked for a packet to send and the TX ring was empty.
    pub tx_ring_empty: u64,
}

/// A bound AF_XDP socket: one queue of one interface.
///
/// Frames that are with the kernel when a socket is dropped stay so in the [`Ledger`](crate::Ledger):
/// nobody tells when the device has let go of them. [`Umem::usable`](crate::Umem::usable) says how many are left.
#[derive(Debug)]
pub struct Socket {
    fd: Arc<OwnedFd>,
    rings: Rings,
    mode: Mode,
    multi_buffer: bool,
    config: SocketConfig,
}

impl Socket {
    pub(crate) fn new(
        fd: Arc<OwnedFd>,
        rings: Rings,
        mode: Mode,
        multi_buffer: bool,
        config: &SocketConfig,
    ) -> Self {
        Self {
            fd,
            rings,
            mode,
            multi_buffer,
            config: config.clone(),
        }
    }

    /// The mode that the kernel chose.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Whether packets may lie in several frames ([`Frame::continues`]); if not, the kernel drops what is longer than a chunk.
    pub fn is_multi_buffer(&self) -> bool {
        self.multi_buffer
    }

    /// What this socket was bound with.
    pub fn config(&self) -> &SocketConfig {
        &self.config
    }

    /// Lends up to `limit` frames of the pool to the kernel for receiving; returns how many.
    ///
    /// # Panics
    ///
    /// The socket was bound with another UMEM. So do the three methods below.
    pub fn fill(&mut self, umem: &mut Umem, limit: u32) -> u32 {
        self.rings.fill(umem, limit)
    }

    /// Appends up to `limit` received frames to `frames`, and those in which the last packet goes on; returns how many.
    pub fn receive(&mut self, umem: &mut Umem, frames: &mut Vec<Frame>, limit: u32) -> u32 {
        self.rings.receive(umem, frames, limit)
    }

    /// Lends frames, from the front of `frames`, to the kernel for sending; returns how many.
    ///
    /// Those that the TX ring has no room for stay in `frames`, in order, and so does a packet in several frames of which
    /// some would have to stay. Empty frames are freed and
    /// counted in [`DescriptorErrors`]. Nothing is sent before [`Socket::kick_tx`].
    pub fn transmit(&mut self, umem: &mut Umem, frames: &mut Vec<Frame>) -> u32 {
        self.rings.transmit(umem, frames)
    }

    /// Takes up to `limit` frames that were sent back into the pool; returns how many.
    pub fn reclaim(&mut self, umem: &mut Umem, limit: u32) -> u32 {
        self.rings.reclaim(umem, limit)
    }

    /// How many frames wait on the TX ring for the kernel.
    pub fn tx_waiting(&self) -> u32 {
        self.rings.tx.waiting()
    }

    /// How many frames wait on the fill ring for the kernel.
    pub fn fill_waiting(&self) -> u32 {
        self.rings.fill.waiting()
    }

    /// Whether the kernel sends only after [`Socket::kick_tx`]; always so in copy mode.
    pub fn tx_needs_wakeup(&self) -> bool {
        self.rings.tx.needs_wakeup()
    }

    /// Whether the kernel fetches frames from the fill ring only after [`Socket::wake_rx`].
    pub fn fill_needs_wakeup(&self) -> bool {
        self.rings.fill.needs_wakeup()
    }

    /// Makes the kernel send what is on the TX ring.
    ///
    /// In copy mode one system call sends a bounded number of frames (32, unless the kernel let itself be
    /// raised) and says EAGAIN for the rest, so the call is repeated as long as the ring gets shorter.
    /// Frames may be left when the completion ring or the device is full: [`Socket::reclaim`] and kick
    /// again while [`Socket::tx_waiting`] is not zero.
    ///
    /// # Errors
    ///
    /// The interface has gone (ENXIO), or something unforeseen.
    pub fn kick_tx(&mut self) -> Result<Kick, Error> {
        let mut kick = Kick::default();
        let mut waiting = self.tx_waiting();
        loop {
            let result = send(&self.fd, &[], SendFlags::DONTWAIT);
            kick.count(result)
                .map_err(self.config.failed(Call::KickTx))?;
            let left = self.tx_waiting();
            let unfinished = matches!(result, Err(Errno::AGAIN | Errno::BUSY));
            if !unfinished || left == 0 || left >= waiting {
                return Ok(kick);
            }
            waiting = left;
        }
    }

    /// Makes the kernel look at the fill ring.
    ///
    /// # Errors
    ///
    /// The interface has gone (ENXIO), or something unforeseen.
    pub fn wake_rx(&mut self) -> Result<Kick, Error> {
        let mut kick = Kick::default();
        let result = recv(&self.fd, &mut [0; 0], RecvFlags::DONTWAIT);
        kick.count(result.map(|(read, _)| read))
            .map_err(self.config.failed(Call::WakeRx))?;
        Ok(kick)
    }

    /// What the kernel has counted since the socket was bound.
    ///
    /// # Errors
    ///
    /// The system call failed.
    pub fn statistics(&self) -> Result<Statistics, Error> {
        let counted = xdp_statistics(&self.fd).map_err(self.config.failed(Call::Statistics))?;
        Ok(Statistics {
            rx_dropped: counted.rx_dropped,
            rx_invalid_descriptors: counted.rx_invalid_descs,
            tx_invalid_descriptors: counted.tx_invalid_descs,
            rx_ring_full: counted.rx_ring_full.unwrap_or(0),
            rx_fill_ring_empty: counted.rx_fill_ring_empty_descs.unwrap_or(0),
            tx_ring_empty: counted.tx_ring_empty_descs.unwrap_or(0),
        })
    }

    /// What this program has counted since the socket was bound.
    pub fn descriptor_errors(&self) -> DescriptorErrors {
        self.rings.errors
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}
