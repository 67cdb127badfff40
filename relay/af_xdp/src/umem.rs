//! The UMEM: the memory that holds all frames, and the ledger of who owns each.
//!
//! Every descriptor that comes back from the kernel is checked against the ledger before it becomes a
//! [`Frame`], so that a wrong or repeated one is an error to count and never a second handle to a chunk.
//! Rings and system calls are elsewhere; a UMEM works without any socket (and without privileges).
#![allow(
    unsafe_code,
    reason = "only the ledger can vouch that a chunk has no other owner"
)]

use std::os::fd::OwnedFd;
use std::ptr::NonNull;
use std::sync::{Arc, Weak};

use rustix::net::xdp::{XdpDesc, XdpDescOptions, XdpUmemReg, XdpUmemRegFlags};

use crate::error::Error;
use crate::frame::{Frame, PACKET_HEADROOM};
use crate::mapping::Mapping;

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

/// Distinguishes the sockets of a UMEM; never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SocketId(u16);

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

/// Who may touch a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    /// Nobody: the chunk lies in the pool.
    Free,
    /// The holder of its [`Frame`].
    Worker,
    /// The kernel, to receive into: on the fill ring, in the driver or on the RX ring of this socket.
    Fill(SocketId),
    /// The kernel, to send from: on the TX ring, in the driver or on the completion ring of this socket.
    Transmit(SocketId),
}

/// How many frames each kind of owner has; the sum never changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Frames in the pool.
    pub free: u32,
    /// Frames that are out as [`Frame`] handles.
    pub worker: u32,
    /// Frames lent to the kernel for receiving, those waiting on RX rings included.
    pub fill: u32,
    /// Frames lent to the kernel for sending, those waiting on completion rings included.
    pub transmit: u32,
}

impl Ledger {
    /// The number of frames of the UMEM.
    pub fn total(&self) -> u32 {
        self.free + self.worker + self.fill + self.transmit
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
        let mut ledger = Ledger::default();
        for owner in &self.owners {
            match owner {
                Owner::Free => ledger.free += 1,
                Owner::Worker => ledger.worker += 1,
                Owner::Fill(_) => ledger.fill += 1,
                Owner::Transmit(_) => ledger.transmit += 1,
            }
        }
        ledger
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

#[cfg(test)]
mod tests {
    use super::*;

    fn received(addr: u64, len: u32) -> XdpDesc {
        XdpDesc {
            addr,
            len,
            options: XdpDescOptions::empty(),
        }
    }

    #[test]
    fn a_umem_needs_frames() {
        let error = Umem::new(ChunkSize::Octets4096, 0).unwrap_err();
        assert!(matches!(error, Error::FrameCount { frames: 0 }), "{error}");
    }

    #[test]
    fn the_pool_hands_out_each_chunk_once() {
        let mut umem = Umem::new(ChunkSize::Octets2048, 3).unwrap();
        let mut frames: Vec<Frame> = std::iter::from_fn(|| umem.allocate()).collect();
        let chunks: Vec<u32> = frames.iter().map(|frame| umem.chunk_of(frame)).collect();
        assert_eq!(chunks, [0, 1, 2]);
        assert_eq!((umem.available(), umem.outstanding()), (0, 3));
        umem.free(frames.remove(1));
        let again = umem.allocate().unwrap();
        assert_eq!(umem.chunk_of(&again), 1);
        frames.push(again);
        for frame in frames {
            umem.free(frame);
        }
        assert_eq!(
            umem.ledger(),
            Ledger {
                free: 3,
                ..Ledger::default()
            }
        );
    }

    #[test]
    fn a_frame_goes_through_the_kernel_and_back() {
        let mut umem = Umem::new(ChunkSize::Octets4096, 2).unwrap();
        let (a, b) = (umem.enrol_fake(), umem.enrol_fake());
        assert_eq!(umem.lend_to_fill(a), Some(0));
        assert_eq!(
            umem.ledger(),
            Ledger {
                free: 1,
                fill: 1,
                ..Ledger::default()
            }
        );

        let mut frame = umem.take_received(a, received(256, 60)).unwrap();
        assert_eq!((frame.headroom(), frame.len()), (256, 60));
        assert_eq!(
            umem.ledger(),
            Ledger {
                free: 1,
                worker: 1,
                ..Ledger::default()
            }
        );

        frame.move_start(-20).unwrap();
        assert_eq!(umem.lend_to_transmit(b, frame), received(236, 80));
        assert_eq!(
            umem.ledger(),
            Ledger {
                free: 1,
                transmit: 1,
                ..Ledger::default()
            }
        );
        assert!(umem.take_completed(b, 236));
        assert_eq!(
            umem.ledger(),
            Ledger {
                free: 2,
                ..Ledger::default()
            }
        );
    }

    #[test]
    fn frames_of_a_dropped_socket_come_back_with_the_next_one_at_its_queue() {
        let open = || Arc::new(OwnedFd::from(std::fs::File::open("/dev/null").unwrap()));
        let mut umem = Umem::new(ChunkSize::Octets2048, 5).unwrap();
        let (stays, goes) = (open(), open());
        let stays_id = umem.enrol(&stays, (1, 0)).unwrap();
        let goes_id = umem.enrol(&goes, (2, 0)).unwrap();
        umem.lend_to_fill(stays_id).unwrap();
        umem.lend_to_fill(goes_id).unwrap();
        let sent = umem.allocate().unwrap();
        umem.lend_to_transmit(goes_id, sent);
        assert_eq!((umem.usable(), umem.available()), (5, 2));
        drop(goes);
        assert_eq!((umem.usable(), umem.available()), (3, 2));
        let elsewhere = open();
        umem.enrol(&elsewhere, (2, 1)).unwrap();
        assert_eq!((umem.usable(), umem.available()), (3, 2));
        let again = open();
        umem.enrol(&again, (2, 0)).unwrap();
        assert_eq!((umem.usable(), umem.available()), (5, 4));
    }

    #[test]
    fn wrong_descriptors_change_nothing() {
        let mut umem = Umem::new(ChunkSize::Octets2048, 4).unwrap();
        let (a, b) = (umem.enrol_fake(), umem.enrol_fake());
        umem.lend_to_fill(a).unwrap();
        let mut sent = umem.allocate().unwrap();
        sent.set_len(60).unwrap();
        umem.lend_to_transmit(a, sent);
        let held = umem.allocate().unwrap();
        let before = umem.ledger();

        for address in [4 * 2048, u64::from(u32::MAX) * 2048, u64::MAX] {
            assert!(
                umem.take_received(a, received(address, 60)).is_none(),
                "outside"
            );
            assert!(!umem.take_completed(a, address), "outside");
        }
        for address in [2048 + 256, 2 * 2048 + 256, 3 * 2048 + 256] {
            assert!(
                umem.take_received(a, received(address, 60)).is_none(),
                "not lent to fill"
            );
        }
        for address in [256, 2 * 2048 + 256, 3 * 2048 + 256] {
            assert!(!umem.take_completed(a, address), "not lent to transmit");
        }
        assert!(
            umem.take_received(b, received(256, 60)).is_none(),
            "another socket's"
        );
        assert!(!umem.take_completed(b, 2048 + 256), "another socket's");
        assert_eq!(umem.ledger(), before);
        umem.free(held);
    }

    #[test]
    fn data_that_leaves_its_chunk_gives_the_chunk_back() {
        for (start, length) in [(256, 1793), (2047, 2), (0, 2049), (1, u32::MAX)] {
            let mut umem = Umem::new(ChunkSize::Octets2048, 2).unwrap();
            let socket = umem.enrol_fake();
            umem.lend_to_fill(socket).unwrap();
            assert!(
                umem.take_received(socket, received(start, length))
                    .is_none()
            );
            assert_eq!(
                umem.ledger(),
                Ledger {
                    free: 2,
                    ..Ledger::default()
                }
            );
        }
    }

    #[test]
    #[should_panic(expected = "another UMEM")]
    fn a_foreign_frame_is_refused() {
        let mut one = Umem::new(ChunkSize::Octets2048, 1).unwrap();
        let mut other = Umem::new(ChunkSize::Octets2048, 1).unwrap();
        let frame = one.allocate().unwrap();
        other.free(frame);
    }

    #[test]
    fn memory_outlives_the_umem_while_a_frame_is_held() {
        let mut umem = Umem::new(ChunkSize::Octets2048, 1).unwrap();
        let mut frame = umem.allocate().unwrap();
        drop(umem);
        frame.set_len(1).unwrap();
        frame.octets_mut()[0] = 0xA5;
        assert_eq!(frame.octets(), [0xA5]);
        frame.into_parts();
    }
}
