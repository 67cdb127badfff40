//! Charts.

use crate::compare::Comparison;
use crate::rfc8219::Report;

/// Returns the charts of a comparison, each with its file's name.
pub(crate) fn of_comparison(_comparison: &Comparison) -> Vec<(String, String)> {
    Vec::new()
}

/// Returns the charts of tests, each with its file's name.
pub(crate) fn of_report(_report: &Report) -> Vec<(String, String)> {
    Vec::new()
}
