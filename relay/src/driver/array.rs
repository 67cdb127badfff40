//! Memory that is shared with the XDP program: arrays of the kernel, filled in one go instead of entry by entry.

#![expect(
    unsafe_code,
    reason = "the memory of a BPF map is only reachable through a mapping, and aya takes only marked types for globals"
)]

use super::bpf::BpfError;
use super::region::Region;
use aya::maps::Map;
use aya::{Ebpf, Pod};
use eam_tables::flat::{Slot4, Slot6};
use eam_tables::layout::Settings;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use std::os::fd::AsFd;
use std::ptr;

/// What may lie in an array: integers without padding, of a size that is a multiple of eight octets, as the kernel spaces them.
pub(super) trait Element: Copy {}

impl Element for u64 {}
impl Element for Slot4 {}
impl Element for Slot6 {}

const _: () = assert!(size_of::<Slot4>().is_multiple_of(8) && size_of::<Slot6>().is_multiple_of(8));

/// Settings as aya takes them for a global variable.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct Loadable(pub(super) Settings);

// SAFETY: the settings are made of integers, and the layout makes sure that there is no padding between them.
unsafe impl Pod for Loadable {}

/// Maps an array of so many entries, which are made of numbers of eight octets.
pub(super) fn map<T>(ebpf: &Ebpf, name: &'static str, entries: usize) -> Result<Region, BpfError> {
    const { assert!(size_of::<T>().is_multiple_of(8)) };
    let Some(Map::Array(map)) = ebpf.map(name) else {
        return Err(BpfError::Missing(name));
    };
    let octets = entries * size_of::<T>();
    Region::of_map(map.fd().as_fd(), octets / 8).map_err(|source| BpfError::Memory {
        map: name,
        octets,
        source: source.into(),
    })
}

/// Fills an array of the kernel from its first entry on.
pub(super) fn fill<T: Element>(
    ebpf: &Ebpf,
    name: &'static str,
    entries: &[T],
) -> Result<(), BpfError> {
    if entries.is_empty() {
        return Ok(());
    }
    let Some(Map::Array(map)) = ebpf.map(name) else {
        return Err(BpfError::Missing(name));
    };
    let octets = size_of_val(entries);
    let failed = |source: rustix::io::Errno| BpfError::Memory {
        map: name,
        octets,
        source: source.into(),
    };
    // SAFETY: a new mapping, at a place that the kernel chooses, takes nobody's memory away.
    let memory = unsafe {
        mmap(
            ptr::null_mut(),
            octets,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::SHARED,
            map.fd().as_fd(),
            0,
        )
    }
    .map_err(failed)?;
    // SAFETY: the mapping was just made and is as large as the entries; the array has as many, as they were counted for it. No
    // program runs on it yet.
    unsafe { ptr::copy_nonoverlapping(entries.as_ptr(), memory.cast::<T>(), entries.len()) };
    // SAFETY: nothing points into the mapping any more.
    unsafe { munmap(memory, octets) }.map_err(failed)
}
