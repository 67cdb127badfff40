//! The handle of one chunk of the UMEM while the worker owns it, and the packet inside the chunk.
//!
//! A chunk has one owner at a time: the pool, the kernel (fill or TX) or the holder of its [`Frame`].
//! The handle can be neither copied nor made up, so the octets it shows cannot change behind its back.
//! Who owns which chunk is recorded in [`umem`](crate::umem).
#![allow(
    unsafe_code,
    reason = "a chunk is a part of a mapping, not a Rust allocation"
)]

use std::mem::ManuallyDrop;
use std::ptr::NonNull;

/// The octets that the kernel leaves free in front of a received packet: XDP_PACKET_HEADROOM.
pub const PACKET_HEADROOM: u32 = 256;

/// The data would not lie inside the frame's chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the data would leave its chunk of {chunk_size} octets")]
pub struct OutsideChunk {
    /// The size of the chunk in octets.
    pub chunk_size: u32,
}

/// A chunk of the UMEM owned by whoever holds this handle, with the range of it that is the packet.
///
/// A frame ends in [`Umem::free`](crate::Umem::free) or
/// [`Socket::transmit`](crate::Socket::transmit). Dropping one loses its chunk, which shows in the
/// [`Ledger`](crate::Ledger) and is a debug assertion.
#[derive(Debug)]
pub struct Frame {
    chunk: NonNull<u8>,
    chunk_size: u32,
    /// `start + length <= chunk_size` always holds.
    start: u32,
    length: u32,
    continues: bool,
}

// SAFETY: the holder is the only one who reaches the chunk, and the mapping is not bound to a thread.
unsafe impl Send for Frame {}

impl Frame {
    /// Makes the handle of a chunk; `None` when the data does not lie inside the chunk.
    ///
    /// # Safety
    ///
    /// `chunk` must point to `chunk_size` initialised octets that stay mapped, and that nobody else reads
    /// or writes, until [`Frame::into_parts`] is called.
    pub(crate) unsafe fn new(
        chunk: NonNull<u8>,
        chunk_size: u32,
        start: u32,
        length: u32,
    ) -> Option<Self> {
        if start.checked_add(length)? > chunk_size {
            return None;
        }
        Some(Self {
            chunk,
            chunk_size,
            start,
            length,
            continues: false,
        })
    }

    /// Gives the chunk up: its address, the start and the length of the data.
    pub(crate) fn into_parts(self) -> (NonNull<u8>, u32, u32) {
        let frame = ManuallyDrop::new(self);
        (frame.chunk, frame.start, frame.length)
    }

    /// The address of the chunk.
    pub(crate) fn chunk(&self) -> NonNull<u8> {
        self.chunk
    }

    /// The packet.
    #[inline(always)]
    pub fn octets(&self) -> &[u8] {
        let data = self.data();
        // SAFETY: the range lies in the chunk, which by the contract of `new` is mapped, initialised and
        // ours alone; the borrow of `self` keeps writers away.
        unsafe { data.as_ref() }
    }

    /// The packet, to be changed in place.
    #[inline(always)]
    pub fn octets_mut(&mut self) -> &mut [u8] {
        let mut data = self.data();
        // SAFETY: as in `octets`; the exclusive borrow of `self` makes this the only reference.
        unsafe { data.as_mut() }
    }

    /// Whether the packet goes on in the frame behind this one, being longer than a chunk holds.
    pub fn continues(&self) -> bool {
        self.continues
    }

    /// Says whether the packet goes on in the frame behind this one. The two must be transmitted together.
    pub fn set_continues(&mut self, continues: bool) {
        self.continues = continues;
    }

    /// The length of the packet in octets, of what is in this frame.
    pub fn len(&self) -> usize {
        self.length as usize
    }

    /// Whether the packet has no octets; such a frame cannot be sent.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The octets of the chunk in front of the packet.
    pub fn headroom(&self) -> usize {
        self.start as usize
    }

    /// The octets of the chunk behind the packet.
    pub fn tailroom(&self) -> usize {
        (self.chunk_size - self.start - self.length) as usize
    }

    /// Moves the start of the packet by `octets`, and makes it `length` octets long: what lies there becomes a part of it.
    ///
    /// # Errors
    ///
    /// The packet would leave the chunk; the frame is unchanged.
    #[inline(always)]
    pub fn reshape(&mut self, octets: i32, length: usize) -> Result<(), OutsideChunk> {
        let start = i64::from(self.start) + i64::from(octets);
        let end = start.checked_add_unsigned(length as u64);
        let is_inside = end.is_some_and(|end| start >= 0 && end <= i64::from(self.chunk_size));
        if !is_inside {
            return Err(self.outside());
        }
        self.start = start as u32;
        self.length = length as u32;
        Ok(())
    }

    /// Sets the length of the packet in octets; its start stays where it is.
    ///
    /// # Errors
    ///
    /// The end would leave the chunk; the frame is unchanged.
    pub fn set_len(&mut self, length: usize) -> Result<(), OutsideChunk> {
        if length > self.len() + self.tailroom() {
            return Err(self.outside());
        }
        self.length = u32::try_from(length).map_err(|_| self.outside())?;
        Ok(())
    }

    /// Has the processor fetch what is about to be changed, without waiting for it: the first octets of the packet, and
    /// those in front of it, into which headers grow.
    ///
    /// Another processor has just written the packet. Fetched for reading only, its octets would have to be asked for a
    /// second time when they are overwritten.
    #[inline(always)]
    pub(crate) fn fetch_start(&self) {
        #[cfg(target_arch = "x86_64")]
        for offset in [self.start.saturating_sub(1), self.start] {
            // SAFETY: `start` is at most `chunk_size`, and the whole chunk is mapped.
            let place = unsafe { self.chunk.add(offset as usize) };
            // SAFETY: the instruction changes nothing that a program can see; where it is unknown, it does nothing.
            unsafe {
                std::arch::asm!(
                    "prefetchw [{}]",
                    in(reg) place.as_ptr(),
                    options(nostack, preserves_flags, readonly)
                );
            }
        }
    }

    fn outside(&self) -> OutsideChunk {
        OutsideChunk {
            chunk_size: self.chunk_size,
        }
    }

    #[inline(always)]
    fn data(&self) -> NonNull<[u8]> {
        // SAFETY: `start` is at most `chunk_size`, and the whole chunk is mapped.
        let first = unsafe { self.chunk.add(self.start as usize) };
        NonNull::slice_from_raw_parts(first, self.len())
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        debug_assert!(
            std::thread::panicking(),
            "a frame was dropped instead of freed or transmitted: its chunk is lost"
        );
    }
}

#[cfg(test)]
mod tests {
    use crate::{ChunkSize, Umem};

    fn umem() -> Umem {
        Umem::new(ChunkSize::Octets2048, 2).unwrap()
    }

    #[test]
    fn a_frame_takes_any_shape_inside_its_chunk() {
        let mut umem = umem();
        let mut frame = umem.allocate().unwrap();
        frame.set_len(40).unwrap();
        frame.octets_mut().fill(0xA5);

        frame.reshape(-20, 60).unwrap();
        assert_eq!(
            (frame.headroom(), frame.len(), frame.tailroom()),
            (236, 60, 1752)
        );
        assert_eq!(frame.octets()[..20], [0; 20]);
        assert_eq!(frame.octets()[20..], [0xA5; 40]);

        frame.reshape(30, 30).unwrap();
        assert_eq!(frame.octets(), [0xA5; 30]);
        frame.reshape(30, 0).unwrap();
        assert!(frame.is_empty());
        frame.reshape(-296, 2048).unwrap();
        assert_eq!((frame.headroom(), frame.len()), (0, 2048));
        frame.reshape(2048, 0).unwrap();
        frame.reshape(-1, 1).unwrap();
        for (octets, length) in [
            (2, 0),
            (0, 2),
            (0, usize::MAX),
            (-2048, 1),
            (i32::MIN, 0),
            (i32::MAX, 0),
        ] {
            assert!(frame.reshape(octets, length).is_err(), "{octets} {length}");
        }
        assert_eq!((frame.headroom(), frame.len()), (2047, 1));
        umem.free(frame);
    }

    #[test]
    fn the_length_ends_at_the_chunk() {
        let mut umem = umem();
        let mut frame = umem.allocate().unwrap();
        assert_eq!(frame.headroom(), 256);
        assert!(frame.is_empty());
        assert!(frame.set_len(1793).is_err());
        assert!(frame.set_len(usize::MAX).is_err());
        assert_eq!(frame.len(), 0);
        frame.set_len(1792).unwrap();
        assert_eq!(frame.tailroom(), 0);
        frame.octets_mut().fill(1);
        umem.free(frame);
    }

    #[test]
    fn two_frames_can_be_written_side_by_side() {
        let mut umem = umem();
        let mut one = umem.allocate().unwrap();
        let mut other = umem.allocate().unwrap();
        for (frame, value) in [(&mut one, 1), (&mut other, 2)] {
            frame.reshape(-256, 2048).unwrap();
            frame.octets_mut().fill(value);
        }
        other.octets_mut()[..100].copy_from_slice(&one.octets()[..100]);
        assert!(one.octets().iter().all(|octet| *octet == 1));
        assert!(other.octets()[100..].iter().all(|octet| *octet == 2));
        umem.free(one);
        umem.free(other);
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "its chunk is lost")]
    fn dropping_a_frame_is_noticed() {
        drop(umem().allocate());
    }
}
