//! The filter in front of the slots: which addresses may have a mapping at all.

use super::{Row, Sorted};
use crate::flat::Shape;
use crate::flat::key::{Key, Key4, Key6};

/// Bits of the filter for each distinct value that it has to know, at least.
const FILTER_BITS_PER_ENTRY: usize = 16;
/// The least and the most bits of a filter, as powers of two. The most is one for each IPv4 /24.
const FILTER_BITS: core::ops::RangeInclusive<u32> = 9..=24;
/// The most IPv4 /24s among which a filter is of any use; of more than these it would let too many pass.
const WORTH_FILTERING: u64 = 1 << 22;

/// A filter with its place in the shape.
pub(super) struct Bits {
    pub(super) words: Vec<u64>,
    mask: u64,
    shift: u32,
}

impl Bits {
    fn new(entries: usize, mask: u64) -> Self {
        let wanted = entries.saturating_mul(FILTER_BITS_PER_ENTRY);
        let bits = wanted
            .next_power_of_two()
            .ilog2()
            .clamp(*FILTER_BITS.start(), *FILTER_BITS.end());
        Self {
            words: vec![0; 1 << (bits - 6)],
            mask,
            shift: 64 - bits,
        }
    }

    fn set(&mut self, bit: u64) {
        self.words[(bit / 64) as usize] |= 1 << (bit % 64);
    }

    /// Returns a shape with nothing in it but the filter's place.
    pub(super) fn shape(&self) -> Shape {
        Shape {
            filter_mask: self.mask,
            filter_shift: self.shift,
            ..Shape::EMPTY
        }
    }

    /// Marks every /24 that some prefix covers or lies in.
    pub(super) fn of_ipv4(rows: &[Row]) -> Self {
        // Ascending and disjoint, since rows are in order.
        let mut ranges: Vec<core::ops::Range<u64>> = Vec::new();
        for row in rows {
            let first = (row.prefix >> 104) as u64;
            let count = 1 << 24_u8.saturating_sub(row.length);
            match ranges.last_mut() {
                Some(last) if first < last.end => last.end = last.end.max(first + count),
                Some(_) | None => ranges.push(first..first + count),
            }
        }
        let count: u64 = ranges.iter().map(|range| range.end - range.start).sum();
        if count > WORTH_FILTERING {
            let mut filter = Self::new(0, mask(24));
            filter.words.fill(u64::MAX);
            return filter;
        }
        let mut filter = Self::new(count as usize, mask(24));
        let shape = filter.shape();
        for network in ranges.into_iter().flatten() {
            filter.set(Key4(network << 40).filter_bit(&shape));
        }
        filter
    }

    /// Marks the beginning of every prefix, cut to the length of the shortest one.
    pub(super) fn of_ipv6(sorted: &Sorted) -> Self {
        let shortest = sorted.lengths.first().copied().unwrap_or(0);
        let mask = mask(u32::from(shortest.min(64)));
        let mut heads: Vec<u64> = sorted
            .rows
            .iter()
            .map(|row| (row.prefix >> 64) as u64 & mask)
            .collect();
        heads.dedup();
        let mut filter = Self::new(heads.len(), mask);
        let shape = filter.shape();
        for high in heads {
            filter.set(Key6 { high, low: 0 }.filter_bit(&shape));
        }
        filter
    }
}

/// Returns a number whose upper `length` bits, 64 at most, are ones.
fn mask(length: u32) -> u64 {
    // A shift by 64 is none in most instruction sets.
    if length == 0 {
        0
    } else {
        u64::MAX << (64u32.wrapping_sub(length) & 63)
    }
}
