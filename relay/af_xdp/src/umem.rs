//! The UMEM: the memory that holds all frames, and the ledger of who owns each.
//!
//! Every descriptor that comes back from the kernel is checked against the ledger before it becomes a
//! [`Frame`], so that a wrong or repeated one is an error to count and never a second handle to a chunk.
//! Rings and system calls are elsewhere; a UMEM works without any socket (and without privileges).
#![allow(
    unsafe_code,
    reason = "only the ledger can vouch that a chunk has no other owner"
)]

mod ledger;
#[cfg(test)]
mod tests;

use std::os::fd::OwnedFd;
use std::ptr::NonNull;
use std::sync::{Arc, Weak};

use rustix::net::xdp::{XdpDesc, XdpDescOptions, XdpUmemReg, XdpUmemRegFlags};

use crate::error::Error;
use crate::frame::{Frame, PACKET_HEADROOM};
use crate::mapping::Mapping;
pub use ledger::Ledger;
use ledger::Owner;
pub(crate) use ledger::SocketId;

/// The size of a chunk; a chunk holds one frame and its headroom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkSize {
    /// 2048 octets: packets of up to 1792 octets as the kernel delivers them.
    Octets2048,
    /// 4096 octets: packets of up to 3840 octets as the kernel delivers them.
    Octets4096,
}

impl ChunkSize {
    /// The size in octets.
    pub const fn octets(self) -> u32 {
        match self {
            Self::Octets2048 => 2048,
            Self::Octets4096 => 4096,
        }
    }
}

/// A socket as its UMEM knows it, also when it was dropped.
#[derive(Debug)]
struct Enrolled {
    id: SocketId,
    /// The interface's index and the queue.
    place: (u32, u32),
    socket: Weak<OwnedFd>,
}

impl Enrolled {
    fn is_open(&self) -> bool {
        self.socket.strong_count() > 0
    }
}

/// The memory shared with the kernel, cut into chunks of equal size.
///
/// One UMEM serves sockets on any number of interfaces and queues, so that a frame received on one is
/// sent from another without a copy. The first [`Socket::bind`](crate::Socket::bind) registers it.
///
/// If the UMEM is dropped while [`Frame`] handles exist, its memory is leaked rather than unmapped under
/// them.
#[derive(Debug)]
pub struct Umem {
    mapping: Arc<Mapping>,
    chunk_size: ChunkSize,
    owners: Box<[Owner]>,
    /// The free chunks, the one used last on top: it is the likeliest to be in a cache.
    free: Vec<u32>,
    sockets: Vec<Enrolled>,
    sockets_bound: u16,
    /// Whether the sockets take packets that lie in several chunks, as the first of them was bound.
    multi_buffer: bool,
}

impl Umem {
    /// Maps the memory for `frames` frames.
    ///
    /// # Errors
    ///
    /// No frames or more than fit the address space, or no memory.
    pub fn new(chunk_size: ChunkSize, frames: u32) -> Result<Self, Error> {
        let length = (frames as usize)
            .checked_mul(chunk_size.octets() as usize)
            .filter(|length| *length > 0)
            .ok_or(Error::FrameCount { frames })?;
        let mapping =
            Mapping::anonymous(length).map_err(|errno| Error::MapUmem { length, errno })?;
        Ok(Self {
            mapping: Arc::new(mapping),
            chunk_size,
            owners: vec![Owner::Free; frames as usize].into_boxed_slice(),
            free: (0..frames).rev().collect(),
            sockets: Vec::new(),
            sockets_bound: 0,
            multi_buffer: false,
        })
    }

    /// The size of a chunk.
    pub fn chunk_size(&self) -> ChunkSize {
        self.chunk_size
    }

    /// Takes a frame from the pool, or `None` when the pool is empty.
    ///
    /// The frame is empty and starts behind [`PACKET_HEADROOM`] octets of headroom, as a received one
    /// does. Its chunk holds the octets of an earlier packet.
    pub fn allocate(&mut self) -> Option<Frame> {
        let chunk = self.free.pop()?;
        self.hand_over(chunk, PACKET_HEADROOM, 0)
    }

    /// Gives a frame back to the pool.
    ///
    /// # Panics
    ///
    /// The frame belongs to another UMEM.
    pub fn free(&mut self, frame: Frame) {
        let chunk = self.chunk_of(&frame);
        frame.into_parts();
        self.set_free(chunk);
    }

    /// How many frames are in the pool.
    pub fn available(&self) -> usize {
        self.free.len()
    }

    /// How many frames are not in the pool: with the worker or with the kernel.
    pub fn outstanding(&self) -> usize {
        self.owners.len() - self.free.len()
    }

    /// Counts the owners of all frames, by a walk over all of them.
    pub fn ledger(&self) -> Ledger {
        Ledger::of(&self.owners)
    }

    /// Counts the frames that can be used, by a walk over all of them: not those that were with the kernel when their socket was
    /// dropped. These are free again when another socket is bound to the queue of that one.
    pub fn usable(&self) -> u32 {
        let lives = |id| {
            let mut sockets = self.sockets.iter();
            sockets.any(|known| known.id == id && known.is_open())
        };
        let is_usable = |owner: &&Owner| match owner {
            Owner::Free | Owner::Worker => true,
            Owner::Fill(id) | Owner::Transmit(id) => lives(*id),
        };
        self.owners.iter().filter(is_usable).count() as u32
    }

    /// Lends a free chunk to the kernel for receiving; its address goes on the fill ring of `socket`.
    pub(crate) fn lend_to_fill(&mut self, socket: SocketId) -> Option<u64> {
        let chunk = self.free.pop()?;
        self.owners[chunk as usize] = Owner::Fill(socket);
        Some(u64::from(chunk) * u64::from(self.chunk_size.octets()))
    }

    /// Takes a received frame over from the kernel.
    ///
    /// `None` when the descriptor does not name a chunk lent to `socket` for receiving. When it does, but
    /// its data leaves the chunk, the chunk goes back to the pool and the result is `None` too.
    pub(crate) fn take_received(&mut self, socket: SocketId, descriptor: XdpDesc) -> Option<Frame> {
        let (chunk, start) = self.locate(descriptor.addr)?;
        if self.owners[chunk as usize] != Owner::Fill(socket) {
            return None;
        }
        let Some(mut frame) = self.hand_over(chunk, start, descriptor.len) else {
            self.set_free(chunk);
            return None;
        };
        let options = descriptor.options;
        frame.set_continues(options.contains(XdpDescOptions::XDP_PKT_CONTD));
        Some(frame)
    }

    /// Lends a frame to the kernel for sending; the result goes on the TX ring of `socket`.
    ///
    /// # Panics
    ///
    /// The frame belongs to another UMEM.
    pub(crate) fn lend_to_transmit(&mut self, socket: SocketId, frame: Frame) -> XdpDesc {
        let chunk = self.chunk_of(&frame);
        let options = match frame.continues() {
            true => XdpDescOptions::XDP_PKT_CONTD,
            false => XdpDescOptions::empty(),
        };
        let (_, start, length) = frame.into_parts();
        self.owners[chunk as usize] = Owner::Transmit(socket);
        XdpDesc {
            addr: u64::from(chunk) * u64::from(self.chunk_size.octets()) + u64::from(start),
            len: length,
            options,
        }
    }

    /// Takes a sent frame back into the pool; `false` when `address` does not name a chunk lent to
    /// `socket` for sending.
    pub(crate) fn take_completed(&mut self, socket: SocketId, address: u64) -> bool {
        let Some((chunk, _)) = self.locate(address) else {
            return false;
        };
        let ours = self.owners[chunk as usize] == Owner::Transmit(socket);
        if ours {
            self.set_free(chunk);
        }
        ours
    }

    /// The memory, which a socket keeps mapped for as long as it lives.
    pub(crate) fn mapping(&self) -> &Arc<Mapping> {
        &self.mapping
    }

    /// What the kernel is told about this UMEM.
    pub(crate) fn registration(&self) -> XdpUmemReg {
        XdpUmemReg {
            addr: self.mapping.base().as_ptr().expose_provenance() as u64,
            len: self.mapping.length() as u64,
            chunk_size: self.chunk_size.octets(),
            headroom: 0,
            flags: XdpUmemRegFlags::empty(),
            tx_metadata_len: 0,
        }
    }

    /// A bound socket through which the registration can be shared, if one is still open.
    pub(crate) fn registered_by(&self) -> Option<Arc<OwnedFd>> {
        self.sockets.iter().find_map(|known| known.socket.upgrade())
    }

    /// Whether the sockets take packets that lie in several chunks.
    pub(crate) fn multi_buffer(&self) -> bool {
        self.multi_buffer
    }

    /// Remembers whether the first socket was bound for packets that lie in several chunks.
    pub(crate) fn set_multi_buffer(&mut self, multi_buffer: bool) {
        self.multi_buffer = multi_buffer;
    }

    /// Remembers a bound socket and names it; `None` after 65,535 of them. `place` is the interface's index and the queue.
    ///
    /// The kernel binds no queue before it has let go of all that the socket there had before, so the frames of that one are
    /// free again.
    pub(crate) fn enrol(&mut self, socket: &Arc<OwnedFd>, place: (u32, u32)) -> Option<SocketId> {
        let id = SocketId(self.sockets_bound);
        self.sockets_bound = self.sockets_bound.checked_add(1)?;
        let has_gone = |known: &mut Enrolled| known.place == place && !known.is_open();
        let gone: Vec<SocketId> = self
            .sockets
            .extract_if(.., has_gone)
            .map(|known| known.id)
            .collect();
        self.recover(&gone);
        self.sockets.push(Enrolled {
            id,
            place,
            socket: Arc::downgrade(socket),
        });
        Some(id)
    }

    /// Takes back all frames that the kernel had for these sockets.
    fn recover(&mut self, sockets: &[SocketId]) {
        if sockets.is_empty() {
            return;
        }
        for chunk in 0..self.owners.len() {
            match self.owners[chunk] {
                Owner::Fill(id) | Owner::Transmit(id) if sockets.contains(&id) => {
                    self.set_free(chunk as u32);
                }
                Owner::Free | Owner::Worker | Owner::Fill(_) | Owner::Transmit(_) => {}
            }
        }
    }

    /// Makes the handle of a chunk that nobody or the kernel owned up to here.
    fn hand_over(&mut self, chunk: u32, start: u32, length: u32) -> Option<Frame> {
        let size = self.chunk_size.octets();
        let pointer = self
            .mapping
            .at(chunk as usize * size as usize, size as usize)?;
        debug_assert_ne!(self.owners[chunk as usize], Owner::Worker);
        // SAFETY: the chunk is mapped (zeroed, so initialised) until no frame is left, see `drop`; no
        // other handle exists, because both callers checked the owner, and it is `Worker` from here on.
        let frame = unsafe { Frame::new(pointer, size, start, length) }?;
        self.owners[chunk as usize] = Owner::Worker;
        Some(frame)
    }

    fn set_free(&mut self, chunk: u32) {
        self.owners[chunk as usize] = Owner::Free;
        self.free.push(chunk);
    }

    /// The chunk that an address from the kernel lies in, and the offset inside it.
    fn locate(&self, address: u64) -> Option<(u32, u32)> {
        let size = self.chunk_size.octets();
        let chunk = u32::try_from(address >> size.trailing_zeros()).ok()?;
        let offset = u32::try_from(address & u64::from(size - 1)).ok()?;
        ((chunk as usize) < self.owners.len()).then_some((chunk, offset))
    }

    /// The chunk that a frame stands for.
    fn chunk_of(&self, frame: &Frame) -> u32 {
        let address = |pointer: NonNull<u8>| pointer.addr().get() as u64;
        address(frame.chunk())
            .checked_sub(address(self.mapping.base()))
            .and_then(|offset| self.locate(offset))
            .expect("the frame belongs to another UMEM")
            .0
    }
}

impl Drop for Umem {
    fn drop(&mut self) {
        if self.owners.contains(&Owner::Worker) {
            std::mem::forget(Arc::clone(&self.mapping));
        }
    }
}

#[cfg(test)]
impl Umem {
    /// A name as [`Umem::enrol`] gives it, without a socket.
    pub(crate) fn enrol_fake(&mut self) -> SocketId {
        self.sockets_bound += 1;
        SocketId(self.sockets_bound - 1)
    }
}
