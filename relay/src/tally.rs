//! What was counted for each mapping: packets and octets in either direction.
//!
//! A packet counts for the mapping by which its source was translated, and for that by which its destination was. Everybody who
//! translates counts in a part of its own, so that nobody waits for anybody: each worker and the control thread in memory of the
//! process, each processor in an array of the XDP program. A generation begins with what those before it have counted for the same
//! mappings.

use crate::driver::prefetch::prefetch;
use crate::driver::region::Region;
use relay_core::Direction;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use tracing::warn;

/// Numbers for each mapping: packets and octets, of each direction.
const NUMBERS: usize = 2 * Direction::ALL.len();

/// The most memory that the counters of the XDP program may take, in octets.
const MOST_OCTETS: usize = 1 << 30;

/// Of a mapping of a new generation: that it has no counterpart in the one before.
pub const IS_NEW: u32 = u32::MAX;

/// What was counted for a mapping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count([u64; NUMBERS]);

impl Count {
    /// Returns the packets that arrived in the family of a direction.
    pub fn packets(&self, direction: Direction) -> u64 {
        self.0[2 * direction as usize]
    }

    /// Returns the octets of these after translation, from the new network header on.
    pub fn octets(&self, direction: Direction) -> u64 {
        self.0[2 * direction as usize + 1]
    }

    fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            *mine += theirs;
        }
    }
}

/// The counts of a generation.
pub struct Tally {
    mappings: usize,
    /// Those of the threads of this process, one part for each.
    parts: Option<Region>,
    /// Those of the XDP program, one part for each processor.
    program: OnceLock<Region>,
    past: Mutex<Past>,
}

/// What was counted before a generation was in force.
enum Past {
    Nothing,
    /// What the generation before has counted and perhaps still does, and the number of each mapping there.
    Before(Arc<Tally>, Vec<u32>),
    Known(Vec<Count>),
}

impl Tally {
    /// Returns counts of zero for so many mappings. Nothing is counted without `is_on`, nor where that would take too much memory.
    pub fn new(mappings: usize, is_on: bool) -> Self {
        let part = mappings * NUMBERS * size_of::<u64>();
        let needed = part * most_workers();
        let parts = match is_on && mappings > 0 {
            false => None,
            true if needed > MOST_OCTETS => {
                warn!(
                    "nothing is counted for single mappings: {mappings} of them on {} processors take {} MB, and {} are allowed",
                    most_workers(),
                    needed >> 20,
                    MOST_OCTETS >> 20
                );
                None
            }
            true => Region::anonymous(parts() * mappings * NUMBERS)
                .inspect_err(|error| warn!("nothing is counted for single mappings: {error}"))
                .ok(),
        };
        Self {
            mappings,
            parts,
            program: OnceLock::new(),
            past: Mutex::new(Past::Nothing),
        }
    }

    /// Says whether anything is counted.
    pub fn is_on(&self) -> bool {
        self.parts.is_some()
    }

    /// The number of mappings that are counted for; zero if none are.
    pub fn mappings(&self) -> usize {
        match self.parts {
            Some(_) => self.mappings,
            None => 0,
        }
    }

    /// Takes over where the XDP program counts. Only the first one counts.
    pub(crate) fn set_program(&self, region: Region) {
        // A second program for the same tables is one that takes the place of a refused one, which never ran.
        let _ = self.program.set(region);
    }

    /// Returns what a worker with a number, or the [control thread](control_part), counts by.
    pub fn counting(&self, part: usize) -> Counting<'_> {
        let numbers = self.parts.as_deref().unwrap_or_default();
        let (counts, _) = numbers.as_chunks();
        let first = part * self.mappings;
        Counting {
            counts: counts.get(first..first + self.mappings).unwrap_or_default(),
            later: [Later::NOTHING; BATCH],
            length: 0,
        }
    }

    /// Has the counts go on from those of the generation before. `numbers` says for each mapping which one it was there, or
    /// [`IS_NEW`].
    pub fn follow(&self, before: Arc<Self>, numbers: Vec<u32>) {
        *self.past() = Past::Before(before, numbers);
    }

    /// Takes the counts of the generation before for good, which nobody counts in any more, and lets go of it.
    pub fn settle(&self) {
        let mut past = self.past();
        let known = match &*past {
            Past::Nothing | Past::Known(_) => return,
            Past::Before(before, numbers) => {
                before.settle();
                let earlier = before.past();
                let count = |number: &u32| match *number {
                    IS_NEW => Count::default(),
                    number => before.count(&earlier, number as usize),
                };
                numbers.iter().map(count).collect()
            }
        };
        *past = Past::Known(known);
    }

    fn past(&self) -> MutexGuard<'_, Past> {
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the counts of all mappings, in their order.
    pub fn counts(&self) -> Vec<Count> {
        let past = self.past();
        let all = 0..self.mappings;
        all.map(|mapping| self.count(&past, mapping)).collect()
    }

    /// Returns the counts of the mapping with a number.
    pub fn get(&self, mapping: usize) -> Count {
        self.count(&self.past(), mapping)
    }

    /// Returns what a worker has counted in this generation, for all mappings.
    pub fn counts_of_worker(&self, number: usize) -> Vec<Count> {
        let parts = self.parts.as_deref().unwrap_or_default();
        let part = parts.chunks((self.mappings * NUMBERS).max(1)).nth(number);
        self.sums(part.unwrap_or_default())
    }

    /// Returns what the XDP program of this generation has counted, for all mappings.
    pub fn counts_of_program(&self) -> Vec<Count> {
        self.sums(self.program.get().map(Deref::deref).unwrap_or_default())
    }

    /// Sums parts up, for all mappings.
    fn sums(&self, parts: &[AtomicU64]) -> Vec<Count> {
        let all = 0..self.mappings;
        all.map(|mapping| sum(parts, self.mappings, mapping))
            .collect()
    }

    fn count(&self, past: &Past, mapping: usize) -> Count {
        let mut count = match past {
            Past::Nothing => Count::default(),
            Past::Known(counts) => counts.get(mapping).copied().unwrap_or_default(),
            Past::Before(before, numbers) => match numbers.get(mapping) {
                Some(&IS_NEW) | None => Count::default(),
                Some(number) => before.get(*number as usize),
            },
        };
        for parts in self.parts.iter().chain(self.program.get()) {
            count.add(&sum(parts, self.mappings, mapping));
        }
        count
    }
}

/// Who counts for the mappings, for a while: nobody else does in the same part.
///
/// Of many mappings the counts are in no cache of the processor. They are fetched when a packet is known to be for them, and what
/// is to be added is added a few packets later, when they have come; at the latest when this goes.
pub struct Counting<'a> {
    counts: &'a [[AtomicU64; NUMBERS]],
    later: [Later; BATCH],
    /// How many of these are to be added.
    length: usize,
}

/// Packets to be counted at a time.
const BATCH: usize = 64;

/// A packet that is to be counted for a mapping.
#[derive(Clone, Copy)]
struct Later {
    /// The number of the mapping.
    mapping: u32,
    octets: u32,
    direction: Direction,
}

impl Later {
    const NOTHING: Self = Self {
        mapping: 0,
        octets: 0,
        direction: Direction::V4ToV6,
    };
}

impl Counting<'_> {
    /// Counts a packet of so many octets for the mappings with these numbers less one; zero stands for none.
    #[inline(always)]
    pub fn add(&mut self, direction: Direction, mappings: [u32; 2], octets: u32) {
        for mapping in mappings {
            let mapping = mapping.wrapping_sub(1);
            let Some([first, ..]) = self.counts.get(mapping as usize) else {
                continue;
            };
            prefetch(first);
            if self.length == BATCH {
                self.settle();
            }
            if let Some(place) = self.later.get_mut(self.length) {
                *place = Later {
                    mapping,
                    octets,
                    direction,
                };
                self.length += 1;
            }
        }
    }

    /// Adds what is to be added.
    fn settle(&mut self) {
        for later in self.later.iter().take(self.length) {
            let counts = self.counts.get(later.mapping as usize);
            if let Some(([v4_to_v6, v6_to_v4], _)) = counts.map(|counts| counts.as_chunks()) {
                let [packets, sum] = match later.direction {
                    Direction::V4ToV6 => v4_to_v6,
                    Direction::V6ToV4 => v6_to_v4,
                };
                grow(packets, 1);
                grow(sum, later.octets.into());
            }
        }
        self.length = 0;
    }
}

impl Drop for Counting<'_> {
    fn drop(&mut self) {
        self.settle();
    }
}

/// Sums up what is counted for one of so many mappings, in all parts.
fn sum(parts: &[AtomicU64], mappings: usize, mapping: usize) -> Count {
    let (counts, _) = parts.as_chunks::<NUMBERS>();
    let mut sum = Count::default();
    for count in counts.iter().skip(mapping).step_by(mappings.max(1)) {
        sum.add(&Count(
            count
                .each_ref()
                .map(|number| number.load(Ordering::Relaxed)),
        ));
    }
    sum
}

/// Adds to a number that nobody else adds to, which is why it need not be done at one blow.
#[inline(always)]
fn grow(number: &AtomicU64, by: u64) {
    let sum = number.load(Ordering::Relaxed).wrapping_add(by);
    number.store(sum, Ordering::Relaxed);
}

/// The number of parts: one for each worker, and the last for the control thread.
fn parts() -> usize {
    most_workers() + 1
}

/// The part of the control thread.
pub fn control_part() -> usize {
    most_workers()
}

/// The most workers that can count at the same time: as many as there are processors.
pub fn most_workers() -> usize {
    static PROCESSORS: OnceLock<usize> = OnceLock::new();
    *PROCESSORS.get_or_init(|| aya::util::nr_cpus().unwrap_or(1))
}
