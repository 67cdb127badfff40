//! The order in which a binary search over prefix lengths looks at them: the same for whoever searches and whoever leaves markers
//! for it.

/// Where the search among the levels from `low` up to, but not including, `high` goes on.
#[inline]
pub(crate) fn middle(low: usize, high: usize) -> usize {
    low + (high - low) / 2
}

/// Lists the levels, of so many, in which the search for a prefix of level `target` looks before it gets there and must go on to
/// longer prefixes.
pub(crate) fn marker_levels(levels: usize, target: usize) -> impl Iterator<Item = usize> {
    let (mut low, mut high) = (0, levels);
    core::iter::from_fn(move || {
        while low < high {
            let at = middle(low, high);
            if at == target {
                return None;
            }
            if at < target {
                low = at + 1;
                return Some(at);
            }
            high = at;
        }
        None
    })
}
