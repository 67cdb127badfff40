//! EAM files: YAML with one key, `eam`, a list of mappings with `ipv4`, `ipv6` and perhaps `name`.
//!
//! ```yaml
//! eam:
//!   - { ipv4: 192.0.2.1, ipv6: "2001:db8:12:34::1" }
//!   - { ipv4: 192.0.2.16/28, ipv6: "2001:db8:cccc::/124", name: web }
//! ```
//!
//! Everything that is wrong is found in one go. Limits keep a hostile file from costing more than its size warrants.

use crate::conflicts::{self, PrefixSpots};
use crate::{Eam, Place, Problem, Severity, plain, reader};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The largest file that is read, in octets: room for ten million mappings.
const LARGEST_FILE: u64 = 1 << 30;

/// What was found in one or more EAM files.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The mappings without errors of their own, in the order of the files and lines.
    pub entries: Vec<Eam>,
    /// Everything that is wrong or doubtful, in the order of the files and lines.
    pub problems: Vec<Problem>,
}

impl Loaded {
    /// Whether any problem is an error; the mappings must not be used then.
    pub fn has_errors(&self) -> bool {
        self.problems
            .iter()
            .any(|problem| problem.severity == Severity::Error)
    }
}

/// Reads EAM files and checks the mappings of all of them against each other.
///
/// Files that cannot be read are problems like all others, at their first character.
pub fn load(paths: &[PathBuf]) -> Loaded {
    let mut collection = Collection::default();
    for path in paths {
        match read_text(path) {
            Ok(text) => collection.add(Arc::from(path.as_path()), &text),
            Err(problem) => collection.problems.push(problem),
        }
    }
    collection.finish(paths)
}

/// Reads one EAM file from memory; `path` is only for messages.
pub fn parse(path: &Path, text: &str) -> Loaded {
    let mut collection = Collection::default();
    collection.add(Arc::from(path), text);
    collection.finish(&[path])
}

/// Reads a text file whole.
///
/// # Errors
///
/// The [`Problem`] says why it cannot be read, or where it is not UTF-8.
pub fn read_text(path: &Path) -> Result<String, Problem> {
    let start = || Place::start_of(Arc::from(path));
    let cannot = |error: io::Error| Problem::error(start(), format!("cannot read: {error}"));
    let mut octets = Vec::new();
    File::open(path)
        .and_then(|file| file.take(LARGEST_FILE + 1).read_to_end(&mut octets))
        .map_err(cannot)?;
    if octets.len() as u64 > LARGEST_FILE {
        return Err(Problem::error(
            start(),
            format!("the file is larger than {LARGEST_FILE} octets; split it"),
        ));
    }
    String::from_utf8(octets).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let octet = error.as_bytes()[valid];
        let before = String::from_utf8_lossy(&error.as_bytes()[..valid]);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let place = Place {
            path: Arc::from(path),
            line: count(before[..line_start].matches('\n').count()),
            column: count(before[line_start..].chars().count()),
        };
        Problem::error(
            place,
            format!("octet 0x{octet:02x} is not UTF-8; save the file as UTF-8"),
        )
    })
}

/// Turns the number of things before the one meant into its number.
fn count(before: usize) -> u32 {
    u32::try_from(before + 1).unwrap_or(u32::MAX)
}

/// The mappings and problems of all files read.
#[derive(Default)]
pub(crate) struct Collection {
    pub(crate) entries: Vec<Eam>,
    /// Runs along `entries`.
    pub(crate) spots: Vec<PrefixSpots>,
    pub(crate) problems: Vec<Problem>,
}

impl Collection {
    fn add(&mut self, path: Arc<Path>, text: &str) {
        match plain::read(&path, text) {
            Some((entries, spots)) => {
                self.entries.extend(entries);
                self.spots.extend(spots);
            }
            None => reader::read(self, path, text),
        }
    }

    fn finish<P: AsRef<Path>>(mut self, paths: &[P]) -> Loaded {
        self.problems
            .extend(conflicts::find(&self.entries, &self.spots));
        let mut order = HashMap::new();
        for (index, path) in paths.iter().enumerate() {
            order.entry(path.as_ref()).or_insert(index);
        }
        let key = |p: &Problem| {
            (
                order.get(&*p.place.path).copied(),
                p.place.line,
                p.place.column,
            )
        };
        self.problems.sort_by_key(key);
        Loaded {
            entries: self.entries,
            problems: self.problems,
        }
    }
}

/// The limits of the YAML reader; what an honest file never needs is refused.
pub(crate) fn options() -> serde_yaml::Options {
    serde_yaml::options! {
        budget: serde_yaml::budget! {
            // Counts which the size of the file bounds already.
            max_events: usize::MAX,
            max_nodes: usize::MAX,
            max_total_scalar_bytes: usize::MAX,
            max_depth: 16,
            flow_nesting_limit: 16,
            max_documents: 2,
        },
        alias_limits: serde_yaml::alias_limits! { max_total_replayed_events: 100_000 },
        // The visitors see every key, so each duplicate can be named.
        duplicate_keys: serde_yaml::DuplicateKeyPolicy::PassThrough,
        merge_keys: serde_yaml::MergeKeyPolicy::AsOrdinary,
        non_finite_float_policy: serde_yaml::NonFiniteFloatPolicy::PassThrough,
        reject_unsupported_tags: true,
        with_snippet: false,
    }
}
