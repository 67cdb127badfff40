//! Latency and its variation (RFC 8219, 7.2 and 7.3.1), from the one-way delays of all frames of a stream.

use crate::statistics::{Histogram, median, percentile};

/// The delays of one stream, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Delays {
    /// "TL = Median(Li)"
    pub(crate) typical: u64,
    /// "WCL = L99.9thPercentile"
    pub(crate) worst: u64,
    /// "PDV = D99.9thPercentile - Dmin"
    pub(crate) variation: u64,
}

impl Delays {
    /// Sums up a stream; nothing if no frame had a time in it.
    pub(crate) fn of(histogram: &Histogram) -> Option<Self> {
        let worst = histogram.percentile(0.999)?;
        Some(Self {
            typical: histogram.percentile(0.5)?,
            worst,
            variation: worst - histogram.min()?,
        })
    }
}

/// The repetitions of a test in one number, with percentiles "to account for the variation".
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub(crate) struct Repeated {
    /// The median.
    pub(crate) median: f64,
    /// The 1st percentile.
    pub(crate) p1: f64,
    /// The 99th percentile.
    pub(crate) p99: f64,
}

impl Repeated {
    /// Sums up; nothing if there is nothing.
    pub(crate) fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let values: Vec<f64> = values.collect();
        Some(Self {
            median: median(&values)?,
            p1: percentile(&values, 0.01)?,
            p99: percentile(&values, 0.99)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variation_is_between_the_least_and_almost_the_worst() {
        let mut histogram = Histogram::default();
        // 998 frames of 100 ns, one of 60, and two stragglers of which one does not count.
        (0..998).for_each(|_| histogram.record(100));
        for straggler in [60, 5_000, 1_000_000] {
            histogram.record(straggler);
        }
        let delays = Delays::of(&histogram).unwrap();
        assert_eq!(delays.typical, 100);
        assert!(delays.worst.abs_diff(5_000) <= 40, "{delays:?}");
        assert_eq!(delays.variation, delays.worst - 60);
        assert_eq!(Delays::of(&Histogram::default()), None);
    }

    #[test]
    fn twenty_repetitions_are_their_median() {
        let repeated = Repeated::of((1..=20).map(f64::from)).unwrap();
        assert_eq!(
            repeated,
            Repeated {
                median: 10.5,
                p1: 1.0,
                p99: 20.0
            }
        );
        assert_eq!(Repeated::of(std::iter::empty()), None);
    }
}
