//! What was measured, as tables, JSON and charts.

pub(crate) mod charts;
pub(crate) mod json;
pub(crate) mod svg;
pub(crate) mod table;

use crate::compare::Round;
use crate::statistics::median;

/// The rounds of a measurement in one number, with its spread.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub(crate) struct Spread {
    /// The median of all rounds.
    pub(crate) median: f64,
    /// The least of them.
    pub(crate) min: f64,
    /// The greatest of them.
    pub(crate) max: f64,
}

impl Spread {
    /// Sums up; nothing if there is nothing.
    pub(crate) fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let values: Vec<f64> = values.collect();
        Some(Self {
            median: median(&values)?,
            min: values.iter().copied().min_by(f64::total_cmp)?,
            max: values.iter().copied().max_by(f64::total_cmp)?,
        })
    }

    /// Sums up frame rates, in millions a second.
    pub(crate) fn of_frames(rounds: &[Round]) -> Option<Self> {
        Self::of(rounds.iter().map(|round| round.frames / 1e6))
    }

    /// Sums up bit rates, in 10^9 a second.
    pub(crate) fn of_bits(rounds: &[Round]) -> Option<Self> {
        Self::of(rounds.iter().map(|round| round.bits / 1e9))
    }
}
