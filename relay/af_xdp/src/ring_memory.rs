//! The memory of one ring: two cursors, a flags word and an array of descriptors.
//!
//! The kernel's layout is checked once, here; then every access stays inside the mapping whatever the
//! cursors say, because indices are masked. Which slots may be read or written is the business of
//! [`ring`](crate::ring).
#![allow(
    unsafe_code,
    reason = "cursors and descriptors live in memory shared with the kernel"
)]

use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::net::xdp::{XdpDesc, XdpRingFlags, XdpRingOffset};

use crate::mapping::Mapping;

/// A ring entry.
///
/// # Safety
///
/// Every bit pattern is a valid value, because the other side may have written anything.
pub(crate) unsafe trait Descriptor: Copy + Send {}

// SAFETY: an integer.
unsafe impl Descriptor for u64 {}
// SAFETY: three integers; the options are a transparent wrapper that keeps unknown bits.
unsafe impl Descriptor for XdpDesc {}

/// The shared memory of a ring with entries of type `T`.
#[derive(Debug)]
pub(crate) struct RingMemory<T> {
    producer: NonNull<AtomicU32>,
    consumer: NonNull<AtomicU32>,
    flags: NonNull<AtomicU32>,
    descriptors: NonNull<T>,
    size: u32,
    /// Keeps the pointers above valid.
    _mapping: Arc<Mapping>,
}

// SAFETY: the pointers lead into the mapping owned beside them, which is not bound to a thread; the
// entries are `Send` by the bound of `Descriptor`.
unsafe impl<T: Descriptor> Send for RingMemory<T> {}

impl<T: Descriptor> RingMemory<T> {
    /// How many octets must be mapped for `size` entries laid out as `offsets` say.
    pub(crate) fn length(offsets: &XdpRingOffset, size: u32) -> Option<usize> {
        let entries = usize::try_from(size).ok()?.checked_mul(size_of::<T>())?;
        usize::try_from(offsets.desc).ok()?.checked_add(entries)
    }

    /// Takes `mapping` as a ring of `size` entries.
    ///
    /// `None` when the size is no power of two, or when the layout does not fit the mapping, is not
    /// aligned or has no flags word (kernels before 5.4).
    pub(crate) fn new(mapping: Arc<Mapping>, offsets: &XdpRingOffset, size: u32) -> Option<Self> {
        if !size.is_power_of_two() {
            return None;
        }
        let entries = usize::try_from(size).ok()?.checked_mul(size_of::<T>())?;
        let word = size_of::<AtomicU32>();
        Some(Self {
            producer: locate(&mapping, offsets.producer, word)?,
            consumer: locate(&mapping, offsets.consumer, word)?,
            flags: locate(&mapping, offsets.flags?, word)?,
            descriptors: locate(&mapping, offsets.desc, entries)?,
            size,
            _mapping: mapping,
        })
    }

    /// The number of entries, a power of two.
    pub(crate) fn size(&self) -> u32 {
        self.size
    }

    /// The producer's cursor; what was written before it was stored is visible.
    pub(crate) fn load_producer(&self) -> u32 {
        // SAFETY: checked by `new`, and the mapping is owned.
        let producer = unsafe { self.producer.as_ref() };
        producer.load(Ordering::Acquire)
    }

    /// Moves the producer's cursor after the entries before it were written.
    pub(crate) fn store_producer(&mut self, cursor: u32) {
        // SAFETY: checked by `new`, and the mapping is owned.
        let producer = unsafe { self.producer.as_ref() };
        producer.store(cursor, Ordering::Release);
    }

    /// The consumer's cursor; what was read before it was stored may be overwritten.
    pub(crate) fn load_consumer(&self) -> u32 {
        // SAFETY: checked by `new`, and the mapping is owned.
        let consumer = unsafe { self.consumer.as_ref() };
        consumer.load(Ordering::Acquire)
    }

    /// Moves the consumer's cursor after the entries before it were read.
    pub(crate) fn store_consumer(&mut self, cursor: u32) {
        // SAFETY: checked by `new`, and the mapping is owned.
        let consumer = unsafe { self.consumer.as_ref() };
        consumer.store(cursor, Ordering::Release);
    }

    /// Whether the kernel asks for a system call before it looks at this ring again.
    pub(crate) fn needs_wakeup(&self) -> bool {
        // SAFETY: checked by `new`, and the mapping is owned.
        let flags = unsafe { self.flags.as_ref() };
        flags.load(Ordering::Relaxed) & XdpRingFlags::XDP_RING_NEED_WAKEUP.bits() != 0
    }

    /// The entry under `cursor`; only meaningful between the consumer's and the producer's cursor.
    pub(crate) fn read(&self, cursor: u32) -> T {
        let slot = self.slot(cursor);
        // SAFETY: `slot` lies inside the mapping and is aligned, and any bits make a `T`.
        unsafe { slot.read() }
    }

    /// Sets the entry under `cursor`, which must lie outside what the consumer may read.
    pub(crate) fn write(&mut self, cursor: u32, value: T) {
        let slot = self.slot(cursor);
        // SAFETY: `slot` lies inside the mapping and is aligned.
        unsafe { slot.write(value) }
    }

    fn slot(&self, cursor: u32) -> NonNull<T> {
        let index = cursor & (self.size - 1);
        // SAFETY: the mask keeps the index below `size`, and `new` checked that `size` entries fit.
        unsafe { self.descriptors.add(index as usize) }
    }
}

/// The address of `length` octets at `offset`, if they lie in the mapping and are aligned for a `U`.
fn locate<U>(mapping: &Mapping, offset: u64, length: usize) -> Option<NonNull<U>> {
    let pointer = mapping.at(usize::try_from(offset).ok()?, length)?.cast();
    pointer.is_aligned().then_some(pointer)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    const OFFSETS: XdpRingOffset = XdpRingOffset {
        producer: 0,
        consumer: 64,
        flags: Some(128),
        desc: 192,
    };

    /// Both ends of a ring without a kernel, with the cursors at `start`.
    pub(crate) fn connected<T: Descriptor>(
        size: u32,
        start: u32,
    ) -> (RingMemory<T>, RingMemory<T>) {
        let length = RingMemory::<T>::length(&OFFSETS, size).unwrap();
        let mapping = Arc::new(Mapping::anonymous(length).unwrap());
        let mut one = RingMemory::new(Arc::clone(&mapping), &OFFSETS, size).unwrap();
        let other = RingMemory::new(mapping, &OFFSETS, size).unwrap();
        one.store_producer(start);
        one.store_consumer(start);
        (one, other)
    }

    /// Plays the kernel that sets or clears XDP_RING_NEED_WAKEUP.
    pub(crate) fn set_needs_wakeup<T>(memory: &mut RingMemory<T>, needed: bool) {
        // SAFETY: checked by `new`, and the mapping is owned.
        let flags = unsafe { memory.flags.as_ref() };
        flags.store(u32::from(needed), Ordering::Relaxed);
    }

    #[test]
    fn a_layout_that_does_not_fit_is_refused() {
        let mapping = Arc::new(Mapping::anonymous(192 + 8 * 8).unwrap());
        let ring = |offsets: XdpRingOffset, size| {
            RingMemory::<u64>::new(Arc::clone(&mapping), &offsets, size)
        };
        assert!(ring(OFFSETS, 8).is_some());
        assert!(ring(OFFSETS, 16).is_none(), "past the end");
        assert!(ring(OFFSETS, 6).is_none(), "no power of two");
        assert!(ring(OFFSETS, 0).is_none(), "empty");
        assert!(
            ring(
                XdpRingOffset {
                    flags: None,
                    ..OFFSETS
                },
                8
            )
            .is_none(),
            "no flags"
        );
        assert!(
            ring(
                XdpRingOffset {
                    desc: 188,
                    ..OFFSETS
                },
                8
            )
            .is_none(),
            "unaligned"
        );
        let far = XdpRingOffset {
            producer: u64::MAX - 1,
            ..OFFSETS
        };
        assert!(ring(far, 8).is_none(), "outside");
    }

    #[test]
    fn indices_wrap_inside_the_ring() {
        let (mut one, other) = connected::<u64>(8, 0);
        one.write(u32::MAX, 7);
        assert_eq!(other.read(7), 7);
        assert_eq!(other.read(15), 7);
    }
}
