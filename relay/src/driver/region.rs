//! Memory for counters that several threads, or the XDP program and the daemon, have in common.

#![expect(
    unsafe_code,
    reason = "memory that the kernel shares is only reachable through a mapping"
)]

use super::prefetch::prefer_huge_pages;
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};
use std::ops::{Deref, Range};
use std::os::fd::AsFd;
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::atomic::AtomicU64;

/// A mapping of numbers, all of them zero in the beginning. Memory is only taken for those that are used.
#[derive(Debug)]
pub struct Region {
    memory: NonNull<AtomicU64>,
    length: usize,
}

// SAFETY: the memory belongs to the mapping, which is nobody's but this value's, and is only reached by atomic operations.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Region {
    /// Maps memory of the process's own for so many numbers, at least one.
    ///
    /// # Errors
    ///
    /// [`Errno`] if the kernel has none left.
    pub fn anonymous(length: usize) -> Result<Self, Errno> {
        // SAFETY: a new mapping, at a place that the kernel chooses, takes nobody's memory away.
        let memory = unsafe {
            mmap_anonymous(
                ptr::null_mut(),
                length * size_of::<AtomicU64>(),
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE | MapFlags::NORESERVE,
            )
        }?;
        let region = Self::new(memory.cast(), length)?;
        let Range { start, end } = region.as_ptr_range();
        prefer_huge_pages(start.cast()..end.cast());
        Ok(region)
    }

    /// Maps the first numbers of a BPF array, at least one, which has as many.
    ///
    /// # Errors
    ///
    /// [`Errno`] if the kernel refuses.
    pub(super) fn of_map(map: impl AsFd, length: usize) -> Result<Self, Errno> {
        // SAFETY: as in `anonymous`.
        let memory = unsafe {
            mmap(
                ptr::null_mut(),
                length * size_of::<AtomicU64>(),
                ProtFlags::READ,
                MapFlags::SHARED,
                map,
                0,
            )
        }?;
        Self::new(memory.cast(), length)
    }

    fn new(memory: *mut AtomicU64, length: usize) -> Result<Self, Errno> {
        let memory = NonNull::new(memory).ok_or(Errno::NOMEM)?;
        Ok(Self { memory, length })
    }
}

impl Deref for Region {
    type Target = [AtomicU64];

    fn deref(&self) -> &[AtomicU64] {
        // SAFETY: the mapping is as long as that, was filled with zeros by the kernel, and stays until this value is dropped.
        unsafe { slice::from_raw_parts(self.memory.as_ptr(), self.length) }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        let octets = self.length * size_of::<AtomicU64>();
        // SAFETY: the mapping is this value's own, and nobody can reach it any more.
        let unmapped = unsafe { munmap(self.memory.as_ptr().cast(), octets) };
        // It only fails for what is no mapping.
        debug_assert!(unmapped.is_ok());
    }
}
