//! Mappings that get in each other's way: equal prefixes are refused, nested ones pointed out (RFC 7757, 5).

use crate::{Eam, Place, Problem};
use std::path::Path;
use std::sync::Arc;

/// Line and column of the two prefixes of an entry, in the entry's file.
pub(crate) struct PrefixSpots {
    pub(crate) ipv4: (u32, u32),
    pub(crate) ipv6: (u32, u32),
}

/// How many nested prefixes are pointed out one by one.
const MOST_OVERLAPS: usize = 20;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Family {
    Ipv4,
    Ipv6,
}

/// The entry `inner` (an index) has a prefix equal to, or inside, that of `outer`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Conflict {
    inner: usize,
    family: Family,
    outer: usize,
}

/// Finds all equal and nested prefixes in O(n log n); `spots` runs along `entries`.
///
/// Of equal prefixes the first is right, and all others are errors which name it. A nested prefix is a warning which names the
/// longest prefix around it.
pub(crate) fn find(entries: &[Eam], spots: &[PrefixSpots]) -> Vec<Problem> {
    let mut equal = Vec::new();
    let mut nested = Vec::new();
    let ipv4 = entries.iter().map(|eam| {
        (
            eam.ipv4().addr().to_bits(),
            eam.ipv4().broadcast().to_bits(),
        )
    });
    sweep(Family::Ipv4, ipv4, &mut equal, &mut nested);
    let ipv6 = entries.iter().map(|eam| {
        (
            eam.ipv6().addr().to_bits(),
            eam.ipv6().broadcast().to_bits(),
        )
    });
    sweep(Family::Ipv6, ipv6, &mut equal, &mut nested);
    equal.sort_unstable();
    nested.sort_unstable();

    let place = |index: usize, family: Family| {
        let (line, column) = match family {
            Family::Ipv4 => spots[index].ipv4,
            Family::Ipv6 => spots[index].ipv6,
        };
        let path: &Arc<Path> = &entries[index].place().path;
        Place {
            path: path.clone(),
            line,
            column,
        }
    };
    let prefix = |index: usize, family: Family| match family {
        Family::Ipv4 => entries[index].ipv4().to_string(),
        Family::Ipv6 => entries[index].ipv6().to_string(),
    };
    let duplicate = |c: &Conflict| {
        let (prefix, first) = (prefix(c.inner, c.family), place(c.outer, c.family));
        Problem::error(
            place(c.inner, c.family),
            format!("{prefix} is mapped already at {first}"),
        )
    };
    let overlap = |c: &Conflict| {
        let (inner, outer) = (prefix(c.inner, c.family), prefix(c.outer, c.family));
        let message = format!(
            "{inner} lies inside {outer} ({}); the longer prefix wins, so the two directions may differ (RFC 7757, 5)",
            place(c.outer, c.family)
        );
        Problem::warning(place(c.inner, c.family), message)
    };
    let mut problems: Vec<Problem> = equal.iter().map(duplicate).collect();
    problems.extend(nested.iter().take(MOST_OVERLAPS).map(overlap));
    if let Some(c) = nested.get(MOST_OVERLAPS) {
        let more = nested.len() - MOST_OVERLAPS;
        let message =
            format!("from here on, {more} more prefixes lie inside others; they are not listed");
        problems.push(Problem::warning(place(c.inner, c.family), message));
    }
    problems
}

/// Goes through the prefixes, given as first and last address, from low to high with the shorter ones first.
fn sweep<B: Copy + Ord>(
    family: Family,
    ranges: impl Iterator<Item = (B, B)>,
    equal: &mut Vec<Conflict>,
    nested: &mut Vec<Conflict>,
) {
    let mut sorted: Vec<(B, core::cmp::Reverse<B>, usize)> = ranges
        .enumerate()
        .map(|(index, (first, last))| (first, core::cmp::Reverse(last), index))
        .collect();
    sorted.sort_unstable();
    // The prefixes around the one at hand, the longest last.
    let mut around: Vec<(B, B, usize)> = Vec::new();
    for (first, core::cmp::Reverse(last), index) in sorted {
        while around
            .pop_if(|(_, outer_last, _)| *outer_last < first)
            .is_some()
        {}
        match around.last() {
            Some((outer_first, outer_last, outer))
                if (*outer_first, *outer_last) == (first, last) =>
            {
                equal.push(Conflict {
                    inner: index,
                    family,
                    outer: *outer,
                });
            }
            Some((_, _, outer)) => {
                nested.push(Conflict {
                    inner: index,
                    family,
                    outer: *outer,
                });
                around.push((first, last, index));
            }
            None => around.push((first, last, index)),
        }
    }
}
