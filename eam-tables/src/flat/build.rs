//! Building the arrays of a table.
//!
//! A table takes 64 octets for each prefix and marker (slots of 32 octets, half of them empty), and two to four octets of filter
//! for each distinct IPv4 /24 or prefix of the shortest length, 2 MiB at most. The same mappings always give the same octets.

mod filter;

use self::filter::Bits;
use super::key::{Key, Key4, Key6, home};
use super::{
    Mapped, PROBES, Shape, Slot4, Slot6, Turn, find_service_v4, find_service_v6, find_v4, find_v6,
    first_slot_v4, first_slot_v6,
};
use crate::Eam;
use crate::search_order::{marker_levels, middle};
use core::net::{Ipv4Addr, Ipv6Addr};
use relay_core::wire::checksum;

/// Slots for each prefix or marker, so that most of them lie where their hash says.
const SLOTS_PER_ENTRY: usize = 2;

/// Somebody who is told of memory that has been reserved and not been used yet.
type Reserved<'a> = &'a dyn Fn(core::ops::Range<*const ()>);

/// The arrays of one table, as they lie in a BPF map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image<S> {
    shape: Shape,
    slots: Vec<S>,
    filter: Vec<u64>,
}

impl<S> Image<S> {
    /// How to read the arrays.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The slots; none at all when there is no mapping.
    pub fn slots(&self) -> &[S] {
        &self.slots
    }

    /// The memory that the arrays take, in octets.
    pub fn octets(&self) -> usize {
        size_of_val(&self.slots[..]) + size_of_val(&self.filter[..])
    }

    /// The words of the filter; none at all when there is no mapping.
    pub fn filter(&self) -> &[u64] {
        &self.filter
    }
}

impl<S> Default for Image<S> {
    fn default() -> Self {
        Self {
            shape: Shape::EMPTY,
            slots: Vec::new(),
            filter: Vec::new(),
        }
    }
}

impl Image<Slot4> {
    /// Builds the table of all IPv4 prefixes; of equal ones the last mapping counts. `reserved` is told of the slots' memory before
    /// it is used.
    pub(crate) fn new(mappings: &[Eam], reserved: Reserved<'_>) -> Self {
        let row = |(entry, eam): (u32, &Eam)| Row {
            prefix: u128::from(eam.ipv4().addr().to_bits()) << 96,
            length: eam.ipv4().prefix_len(),
            other: eam.ipv6().addr().to_bits(),
            other_length: eam.ipv6().prefix_len(),
            entry,
        };
        let sorted = Sorted::new((0..).zip(mappings).map(row).collect());
        let filter = Bits::of_ipv4(&sorted);
        place(&sorted, filter, reserved)
    }

    /// Translates an address by the longest prefix that contains it; `None` when there is none.
    #[inline(always)]
    pub fn find(&self, address: Ipv4Addr) -> Option<Mapped<Ipv6Addr>> {
        find_v4(&self.shape, &self.slots[..], &self.filter[..], address)
    }

    /// As [`find`](Self::find), without asking the filter, for an address that most likely has a mapping.
    #[inline(always)]
    pub fn find_service(&self, address: Ipv4Addr) -> Option<Mapped<Ipv6Addr>> {
        find_service_v4(&self.shape, &self.slots[..], address)
    }

    /// Returns the slots that a look-up without the filter reads first, two of them; none if there is no mapping.
    #[inline(always)]
    pub fn first_slots(&self, address: Ipv4Addr) -> &[Slot4] {
        first_slot_v4(&self.shape, address)
            .and_then(|first| self.slots.get(first as usize..first as usize + 2))
            .unwrap_or_default()
    }

    /// Returns the word of the filter that a look-up reads before anything else.
    #[inline]
    pub fn filter_word(&self, address: Ipv4Addr) -> Option<&u64> {
        let mark = Key4::from(address).mark(&self.shape);
        self.filter.get(mark.word as usize)
    }
}

impl Image<Slot6> {
    /// Builds the table of all IPv6 prefixes; of equal ones the last mapping counts. `reserved` is told of the slots' memory before
    /// it is used.
    pub(crate) fn new(mappings: &[Eam], reserved: Reserved<'_>) -> Self {
        let row = |(entry, eam): (u32, &Eam)| Row {
            prefix: eam.ipv6().addr().to_bits(),
            length: eam.ipv6().prefix_len(),
            other: u128::from(eam.ipv4().addr().to_bits()),
            other_length: eam.ipv4().prefix_len(),
            entry,
        };
        let sorted = Sorted::new((0..).zip(mappings).map(row).collect());
        let filter = Bits::of_ipv6(&sorted);
        place(&sorted, filter, reserved)
    }

    /// Translates an address by the longest prefix that contains it; `None` when there is none.
    #[inline(always)]
    pub fn find(&self, address: Ipv6Addr) -> Option<Mapped<Ipv4Addr>> {
        find_v6(&self.shape, &self.slots[..], &self.filter[..], address)
    }

    /// As [`find`](Self::find), without asking the filter, for an address that most likely has a mapping.
    #[inline(always)]
    pub fn find_service(&self, address: Ipv6Addr) -> Option<Mapped<Ipv4Addr>> {
        find_service_v6(&self.shape, &self.slots[..], address)
    }

    /// Returns the slots that a look-up without the filter reads first, two of them; none if there is no mapping.
    #[inline(always)]
    pub fn first_slots(&self, address: Ipv6Addr) -> &[Slot6] {
        first_slot_v6(&self.shape, address)
            .and_then(|first| self.slots.get(first as usize..first as usize + 2))
            .unwrap_or_default()
    }

    /// Returns the word of the filter that a look-up reads before anything else.
    #[inline]
    pub fn filter_word(&self, address: Ipv6Addr) -> Option<&u64> {
        let mark = Key6::from(address).mark(&self.shape);
        self.filter.get(mark.word as usize)
    }
}

/// One mapping in one direction; the prefix is left-aligned in both families.
#[derive(Clone, Copy)]
struct Row {
    prefix: u128,
    length: u8,
    other: u128,
    other_length: u8,
    entry: u32,
}

impl Row {
    fn contains(&self, prefix: u128) -> bool {
        truncate(prefix, self.length) == self.prefix
    }
}

/// A prefix of a level, or a marker there, and the longest prefix that it knows.
struct Candidate {
    prefix: u128,
    length: u8,
    best: Option<Row>,
}

fn truncate(prefix: u128, length: u8) -> u128 {
    let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
    prefix & mask
}

/// Distinct prefixes, each behind all that contain it, and the lengths that occur.
struct Sorted {
    rows: Vec<Row>,
    lengths: Vec<u8>,
}

impl Sorted {
    fn new(mut rows: Vec<Row>) -> Self {
        rows.sort_unstable_by_key(|row| (row.prefix, row.length, core::cmp::Reverse(row.entry)));
        rows.dedup_by_key(|row| (row.prefix, row.length));
        let mut occurs = [false; 129];
        for row in &rows {
            occurs[usize::from(row.length)] = true;
        }
        let lengths = (0..).zip(occurs).filter(|(_, occurs)| *occurs);
        Self {
            rows,
            lengths: lengths.map(|(length, _)| length).collect(),
        }
    }

    /// Lists the prefixes with the markers that lead to them.
    fn candidates(&self) -> Vec<Candidate> {
        let mut candidates = Vec::with_capacity(self.rows.len());
        let mut level_of = [0; 129];
        for (level, length) in (0..).zip(&self.lengths) {
            level_of[usize::from(*length)] = level;
        }
        // At each level keys come in ascending order, so equal ones follow upon each other.
        let mut last = [None; 129];
        // The prefixes which contain the one at hand, the longest last.
        let mut enclosing: Vec<Row> = Vec::new();
        for row in &self.rows {
            while enclosing
                .pop_if(|outer| !outer.contains(row.prefix))
                .is_some()
            {}
            let target = level_of[usize::from(row.length)];
            for level in marker_levels(self.lengths.len(), target) {
                let length = self.lengths[level];
                let prefix = truncate(row.prefix, length);
                if last[level].replace(prefix) != Some(prefix) {
                    let best = enclosing.iter().rev().find(|outer| outer.length <= length);
                    candidates.push(Candidate {
                        prefix,
                        length,
                        best: best.copied(),
                    });
                }
            }
            last[target] = Some(row.prefix);
            candidates.push(Candidate {
                prefix: row.prefix,
                length: row.length,
                best: Some(*row),
            });
            enclosing.push(*row);
        }
        candidates
    }

    /// Writes the search down among the levels from `low` up to, but not including, `high`; returns the place of its first
    /// turn.
    fn turns(&self, turns: &mut [Turn], low: usize, high: usize) -> u8 {
        if low >= high {
            return 0;
        }
        let at = middle(low, high);
        let mask = truncate(u128::MAX, self.lengths[at]);
        let turn = Turn {
            mask: [(mask >> 64) as u64, mask as u64],
            level: self.lengths[at] + 1,
            hit: self.turns(turns, at + 1, high),
            miss: self.turns(turns, low, at),
            reserved: [0; 5],
        };
        turns[at + 1] = turn;
        at as u8 + 1
    }
}

/// A slot that can be filled.
trait Place: Copy + Default {
    fn hash(prefix: u128, length: u8, seed: u64) -> u32;
    fn fill(candidate: &Candidate) -> Self;
}

impl Place for Slot4 {
    fn hash(prefix: u128, length: u8, seed: u64) -> u32 {
        Key4((prefix >> 64) as u64).hash(length + 1, seed)
    }

    fn fill(candidate: &Candidate) -> Self {
        let slot = Self {
            key: Key4((candidate.prefix >> 64) as u64).label(candidate.length + 1),
            ..Self::default()
        };
        match candidate.best {
            None => slot,
            Some(best) => Self {
                other_high: (best.other >> 64) as u64,
                other_low: best.other as u64,
                difference: checksum::difference_to_v6(
                    Ipv4Addr::from_bits((best.prefix >> 96) as u32),
                    Ipv6Addr::from_bits(best.other),
                ),
                entry: best.entry,
                matched: best.length + 1,
                other_length: best.other_length,
                ..slot
            },
        }
    }
}

impl Place for Slot6 {
    fn hash(prefix: u128, length: u8, seed: u64) -> u32 {
        let (high, low) = ((prefix >> 64) as u64, prefix as u64);
        Key6 { high, low }.hash(length + 1, seed)
    }

    fn fill(candidate: &Candidate) -> Self {
        let slot = Self {
            key_high: (candidate.prefix >> 64) as u64,
            key_low: candidate.prefix as u64,
            level: candidate.length + 1,
            ..Self::default()
        };
        match candidate.best {
            None => slot,
            Some(best) => Self {
                other: best.other as u32,
                difference: checksum::difference_to_v4(
                    Ipv6Addr::from_bits(best.prefix),
                    Ipv4Addr::from_bits(best.other as u32),
                ),
                entry: best.entry,
                matched: best.length + 1,
                other_length: best.other_length,
                ..slot
            },
        }
    }
}

/// Lays prefixes and markers out so that none is farther than a look-up goes.
fn place<S: Place>(sorted: &Sorted, filter: Bits, reserved: Reserved<'_>) -> Image<S> {
    if sorted.rows.is_empty() {
        return Image::default();
    }
    let candidates = sorted.candidates();
    let mut shape = filter.shape();
    shape.root = u32::from(sorted.turns(&mut shape.turns, 0, sorted.lengths.len()));
    let mut room = candidates.len() * SLOTS_PER_ENTRY;
    let slots = loop {
        shape.slots = u32::try_from(room).unwrap_or(u32::MAX);
        if let Some(slots) = lay_out(&candidates, &shape, reserved) {
            break slots;
        }
        shape.seed += 1;
        room += room / 8 + 1;
    };
    Image {
        shape,
        slots,
        filter: filter.words,
    }
}

/// Puts every candidate into the first free slot from its home on, in the order of homes: what Robin Hood placement comes to.
/// `None` if one would lie too far.
fn lay_out<S: Place>(
    candidates: &[Candidate],
    shape: &Shape,
    reserved: Reserved<'_>,
) -> Option<Vec<S>> {
    let home_of = |(index, candidate): (u64, &Candidate)| {
        let hash = S::hash(candidate.prefix, candidate.length, shape.seed);
        u64::from(home(hash, shape.slots)) << 32 | index
    };
    let mut order: Vec<u64> = (0..).zip(candidates).map(home_of).collect();
    order.sort_unstable();
    let mut next = 0;
    let length = shape.slots as usize + PROBES as usize - 1;
    let mut slots = Vec::with_capacity(length);
    let memory = slots.spare_capacity_mut().as_ptr_range();
    reserved(memory.start.cast()..memory.end.cast());
    slots.resize(length, S::default());
    for position in order {
        let home = (position >> 32) as usize;
        let at = home.max(next);
        if at >= home + PROBES as usize {
            return None;
        }
        slots[at] = S::fill(&candidates[position as u32 as usize]);
        next = at + 1;
    }
    Some(slots)
}

#[cfg(test)]
mod tests;
