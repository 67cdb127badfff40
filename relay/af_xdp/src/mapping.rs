//! A region of memory mapped from the kernel, unmapped when the last owner lets go of it.
//!
//! Two kinds are mapped: anonymous pages for the frames of a UMEM, and the rings that the kernel shares
//! through a socket. What lies in the memory, and who may touch which part, is settled elsewhere.
#![allow(
    unsafe_code,
    reason = "mmap and munmap cannot be safe calls: the compiler does not know the mapping"
)]

use std::ffi::c_void;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;

use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};

/// A mapped region; its base lies on a page boundary.
#[derive(Debug)]
pub(crate) struct Mapping {
    base: NonNull<u8>,
    length: usize,
}

// SAFETY: a mapping belongs to the process, not to a thread, and this type only tells its address.
unsafe impl Send for Mapping {}
// SAFETY: as above; no method reads or writes the memory.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `length` octets of zeroed private memory, already backed by pages.
    pub(crate) fn anonymous(length: usize) -> Result<Self, Errno> {
        let flags = MapFlags::PRIVATE | MapFlags::POPULATE;
        // SAFETY: a null hint lets the kernel choose free addresses, so that nothing is mapped over.
        let base = unsafe {
            mmap_anonymous(
                std::ptr::null_mut(),
                length,
                ProtFlags::READ | ProtFlags::WRITE,
                flags,
            )
        }?;
        Self::from_kernel(base, length)
    }

    /// Maps the first `length` octets of the ring that `socket` offers at `page_offset`.
    pub(crate) fn ring(
        socket: BorrowedFd<'_>,
        page_offset: u64,
        length: usize,
    ) -> Result<Self, Errno> {
        let flags = MapFlags::SHARED | MapFlags::POPULATE;
        // SAFETY: a null hint lets the kernel choose free addresses, so that nothing is mapped over.
        let base = unsafe {
            mmap(
                std::ptr::null_mut(),
                length,
                ProtFlags::READ | ProtFlags::WRITE,
                flags,
                socket,
                page_offset,
            )
        }?;
        Self::from_kernel(base, length)
    }

    fn from_kernel(base: *mut c_void, length: usize) -> Result<Self, Errno> {
        let base = NonNull::new(base.cast()).ok_or(Errno::NOMEM)?;
        Ok(Self { base, length })
    }

    /// The number of octets mapped.
    pub(crate) fn length(&self) -> usize {
        self.length
    }

    /// The address of the first octet.
    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// A pointer to `length` octets at `offset`, or `None` when they do not lie inside the mapping.
    pub(crate) fn at(&self, offset: usize, length: usize) -> Option<NonNull<u8>> {
        if offset.checked_add(length)? > self.length {
            return None;
        }
        // SAFETY: the check above keeps the result inside the mapping, or one past its end.
        Some(unsafe { self.base.add(offset) })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: base and length are those of our own mapping, and the last owner is going.
        let unmapped = unsafe { munmap(self.base.as_ptr().cast(), self.length) };
        debug_assert!(
            unmapped.is_ok(),
            "munmap of a mapping of ours: {unmapped:?}"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ranges_inside_the_mapping_have_an_address() {
        let mapping = Mapping::anonymous(8192).unwrap();
        assert_eq!(mapping.at(0, 8192), Some(mapping.base()));
        assert!(mapping.at(8192, 0).is_some());
        assert!(mapping.at(8192, 1).is_none());
        assert!(mapping.at(1, 8192).is_none());
        assert!(mapping.at(usize::MAX, 2).is_none());
    }
}
