//! What the XDP program counts, and a note beside it how much of that has been told: a program that stays when its process
//! ends goes on counting, and the next process tells what was not told before.

use super::bpf::{BpfError, in_map};
use aya::maps::{Map, PerCpuArray, PerCpuValues};
use eam_tables::layout::{self, XdpCounter};
use relay_core::Direction;
use relay_core::counters::Counters;

/// The entries of the map of counters: that of the program, and one for a note how much of it has been told.
pub(super) const ENTRIES: u32 = 2;
const COUNTED: u32 = 0;
const TOLD: u32 = 1;

/// What programs have counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XdpCounters([u64; XdpCounter::COUNT]);

impl Default for XdpCounters {
    fn default() -> Self {
        Self([0; XdpCounter::COUNT])
    }
}

impl XdpCounters {
    fn read(map: &Map, index: u32) -> Result<Self, BpfError> {
        let failed = in_map(layout::COUNTERS);
        let map: PerCpuArray<_, [u64; XdpCounter::COUNT]> =
            PerCpuArray::try_from(map).map_err(&failed)?;
        let mut sum = Self::default();
        for value in map.get(&index, 0).map_err(&failed)?.iter() {
            sum.add(&Self(*value));
        }
        Ok(sum)
    }

    /// Reads all that a program has counted from its map, summed over all processors.
    pub(super) fn counted(map: &Map) -> Result<Self, BpfError> {
        Self::read(map, COUNTED)
    }

    /// Notes in the map of a program how much of it has been told.
    pub(super) fn note(&self, map: &mut Map) -> Result<(), BpfError> {
        let failed = in_map(layout::COUNTERS);
        let mut map: PerCpuArray<_, [u64; XdpCounter::COUNT]> =
            PerCpuArray::try_from(map).map_err(&failed)?;
        let mut values = vec![[0; XdpCounter::COUNT]; map.get(&TOLD, 0).map_err(&failed)?.len()];
        values[0] = self.0;
        let values = PerCpuValues::try_from(values).map_err(|error| failed(error.into()))?;
        map.set(TOLD, values, 0).map_err(failed)
    }

    /// Returns what the program of an earlier relay has counted and no relay has told, from the map that it has left.
    ///
    /// # Errors
    ///
    /// [`BpfError::Map`] if the kernel refuses to tell, or the earlier relay counted otherwise.
    pub fn untold(map: &Map) -> Result<Self, BpfError> {
        let mut counters = Self::read(map, COUNTED)?;
        let told = Self::read(map, TOLD)?;
        for (number, told) in counters.0.iter_mut().zip(told.0) {
            *number = number.saturating_sub(told);
        }
        Ok(counters)
    }

    /// Adds what another program has counted.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            *mine += theirs;
        }
    }

    /// Returns one of the numbers.
    pub fn get(&self, counter: XdpCounter) -> u64 {
        self.0[counter.index()]
    }

    /// Adds the packets that were translated to those of the workers.
    pub fn add_to(&self, verdicts: &mut Counters) {
        for (direction, packets, octets) in [
            (
                Direction::V4ToV6,
                XdpCounter::PacketsV4ToV6,
                XdpCounter::OctetsV4ToV6,
            ),
            (
                Direction::V6ToV4,
                XdpCounter::PacketsV6ToV4,
                XdpCounter::OctetsV6ToV4,
            ),
        ] {
            verdicts.add_forwarded(direction, self.get(packets), self.get(octets));
        }
        verdicts.add_hairpinned(self.get(XdpCounter::Hairpinned));
    }

    /// Lists all numbers.
    pub fn iter(&self) -> impl Iterator<Item = (XdpCounter, u64)> + '_ {
        XdpCounter::ALL.into_iter().zip(self.0)
    }
}
