//! Medians, percentiles and histograms.

use crate::object::layout::{BUCKETS, bucket};

/// Returns the value below which a share of all values lies, by the nearest rank: of twenty values the 99th percentile is
/// the largest. `share` is between 0 and 1. Nothing if there are no values.
pub(crate) fn percentile(values: &[f64], share: f64) -> Option<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let rank = (share * values.len() as f64).ceil() as usize;
    values.get(rank.saturating_sub(1)).copied()
}

/// Returns the median, which of an even number of values is the mean of the two in the middle.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    Some(if values.len().is_multiple_of(2) {
        f64::midpoint(values[values.len() / 2 - 1], upper)
    } else {
        upper
    })
}

/// How often latencies occurred: in buckets that are less than one part in a hundred wide, and exactly at both ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Histogram {
    buckets: Vec<u64>,
    min: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: vec![0; BUCKETS as usize],
            min: u64::MAX,
            max: 0,
        }
    }
}

impl Histogram {
    /// Adds a latency, in nanoseconds.
    pub(crate) fn record(&mut self, nanoseconds: u64) {
        self.add(bucket(nanoseconds), 1);
        self.widen(nanoseconds, nanoseconds);
    }

    /// Adds to a bucket.
    pub(crate) fn add(&mut self, bucket: u32, count: u64) {
        self.buckets[bucket as usize] += count;
    }

    /// Notes how far the latencies reach, in nanoseconds.
    pub(crate) fn widen(&mut self, min: u64, max: u64) {
        self.min = self.min.min(min);
        self.max = self.max.max(max);
    }

    /// How many latencies there are.
    pub(crate) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The shortest latency, in nanoseconds.
    pub(crate) fn min(&self) -> Option<u64> {
        (self.count() > 0).then_some(self.min)
    }

    /// Returns the latency that a share of all does not exceed, by the nearest rank, in nanoseconds.
    pub(crate) fn percentile(&self, share: f64) -> Option<u64> {
        let count = self.count();
        let rank = ((share * count as f64).ceil() as u64).clamp(1, count.max(1));
        let mut below = 0;
        self.occupied().find_map(|(from, to, count)| {
            below += count;
            // The middle of the bucket, as far as there were latencies in it.
            (below >= rank).then_some(u64::midpoint(from, to).clamp(self.min, self.max))
        })
    }

    /// Goes through the buckets that are not empty: from, to (both in nanoseconds and inside), count.
    pub(crate) fn occupied(&self) -> impl Iterator<Item = (u64, u64, u64)> {
        self.buckets
            .iter()
            .zip(0..)
            .filter(|(count, _)| **count > 0)
            .map(|(count, index)| (lower_bound(index), lower_bound(index + 1) - 1, *count))
    }
}

/// Returns the smallest latency of a bucket: the inverse of [`bucket`].
fn lower_bound(index: u32) -> u64 {
    // A whole power of two falls into the bucket that begins with it, so a search between powers finds the others.
    let (mut low, mut high) = (0_u64, 1 << 39);
    while low < high {
        let middle = u64::midpoint(low, high);
        let at = if middle >= 1 << 38 {
            BUCKETS
        } else {
            bucket(middle)
        };
        if at < index {
            low = middle + 1
        } else {
            high = middle
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let twenty: Vec<f64> = (1..=20).rev().map(f64::from).collect();
        assert_eq!(percentile(&twenty, 0.01), Some(1.0));
        assert_eq!(percentile(&twenty, 0.5), Some(10.0));
        assert_eq!(percentile(&twenty, 0.99), Some(20.0));
        assert_eq!(percentile(&twenty, 1.0), Some(20.0));
        assert_eq!(percentile(&[7.0], 0.0), Some(7.0));
        assert_eq!(percentile(&[], 0.5), None);
    }

    #[test]
    fn medians_of_even_and_odd_numbers() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn buckets_are_narrow_and_without_gaps() {
        let mut next = 0;
        for index in 0..BUCKETS - 1 {
            let (from, to) = (lower_bound(index), lower_bound(index + 1) - 1);
            assert_eq!(from, next);
            assert_eq!((bucket(from), bucket(to)), (index, index));
            assert!((to - from) as f64 <= from as f64 / 128.0, "{from} to {to}");
            next = to + 1;
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn a_histogram_agrees_with_the_sorted_list() {
        let mut histogram = Histogram::default();
        let latencies: Vec<u64> = (0..10_000_u64).map(|n| 900 + n * n / 100).collect();
        for latency in &latencies {
            histogram.record(*latency);
        }
        assert_eq!(histogram.count(), 10_000);
        assert_eq!(histogram.min(), Some(900));
        for share in [0.001, 0.5, 0.999, 1.0] {
            let exact = latencies[(share * 10_000.0) as usize - 1] as f64;
            let found = histogram.percentile(share).unwrap() as f64;
            assert!(
                (found / exact - 1.0).abs() < 0.008,
                "{share}: {found}, {exact}"
            );
        }
        assert_eq!(Histogram::default().percentile(0.5), None);
        assert_eq!(Histogram::default().min(), None);
    }
}
