//! Charts.

use crate::compare::Comparison;

/// Returns the charts of a comparison, each with its file's name.
pub(crate) fn of_comparison(_comparison: &Comparison) -> Vec<(String, String)> {
    Vec::new()
}
