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
use crate::prefix::{shorten, untranslatable_ipv4, untranslatable_ipv6};
use crate::yaml::{Document, Found, RawEntry, Receiver, Value};
use crate::{Eam, Place, Problem, Severity, closest, parse_ipv4_prefix, parse_ipv6_prefix};
use ipnet::{Ipv4Net, Ipv6Net};
use serde::de::DeserializeSeed;
use serde_yaml::{Location, MessageFormatter, Spanned};
use std::borrow::Cow;
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
        let path: Arc<Path> = Arc::from(path.as_path());
        match read(&path) {
            Ok(text) => collection.add(path, &text),
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

fn read(path: &Arc<Path>) -> Result<String, Problem> {
    let start = || Place::start_of(path.clone());
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
            path: path.clone(),
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
struct Collection {
    entries: Vec<Eam>,
    spots: Vec<PrefixSpots>,
    problems: Vec<Problem>,
}

impl Collection {
    fn add(&mut self, path: Arc<Path>, text: &str) {
        let mut reader = Reader {
            collection: self,
            path,
            text,
            list_key: None,
        };
        let outcome =
            serde_yaml::with_deserializer_from_str_with_options(text, options(), |deserializer| {
                Document(&mut reader).deserialize(deserializer)
            });
        match outcome {
            Ok(None) if reader.list_key.is_none() => {
                reader.whole_file("the key `eam` is missing; write `eam: []` for an empty table")
            }
            Ok(None) => {}
            Ok(Some(Found::Nothing)) => {
                reader.whole_file("the file is empty; write `eam: []` for an empty table")
            }
            Ok(Some(found @ (Found::Scalar | Found::List | Found::Mapping))) => {
                reader.whole_file(format!(
                    "expected the key `eam` with a list of mappings, found {found}"
                ));
            }
            Err(error) => reader.broken(&error),
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
fn options() -> serde_yaml::Options {
    serde_yaml::options! {
        budget: serde_yaml::budget! {
            // Counts which the size of the file bounds already.
            max_events: usize::MAX,
            max_nodes: usize::MAX,
            max_total_scalar_bytes: usize::MAX,
            max_depth: 16,
            flow_nesting_limit: 16,
            max_documents: 1,
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

/// Judges the content of one file.
struct Reader<'c, 'de> {
    collection: &'c mut Collection,
    path: Arc<Path>,
    text: &'de str,
    /// Where the key `eam` stands.
    list_key: Option<Place>,
}

impl Reader<'_, '_> {
    fn place(&self, location: Location) -> Place {
        let (line, column) = spot(location);
        Place {
            path: self.path.clone(),
            line,
            column,
        }
    }

    fn error(&mut self, location: Location, message: impl Into<String>) {
        let place = self.place(location);
        self.collection
            .problems
            .push(Problem::error(place, message));
    }

    fn whole_file(&mut self, message: impl Into<String>) {
        self.collection
            .problems
            .push(Problem::error(Place::start_of(self.path.clone()), message));
    }

    fn broken(&mut self, error: &serde_yaml::Error) {
        let message = serde_yaml::UserMessageFormatter
            .format_message(error.without_snippet())
            .into_owned();
        self.error(error.location().unwrap_or(Location::UNKNOWN), message);
    }

    /// The text of a scalar as it stands in the file, unless it is no scalar.
    fn written<'v>(&self, value: &'v Spanned<Value<'v>>) -> Result<Cow<'v, str>, Found>
    where
        Self: 'v,
    {
        match &value.value {
            Value::Text(text) => Ok(Cow::Borrowed(text)),
            Value::Unquoted => {
                let span = value.defined.span();
                let range = span
                    .byte_offset()
                    .zip(span.byte_len())
                    .map(|(offset, len)| offset as usize..(offset + len) as usize);
                let text = range
                    .and_then(|range| self.text.get(range))
                    .unwrap_or("a number");
                Ok(Cow::Owned(text.trim().to_owned()))
            }
            Value::Other(found) => Err(*found),
        }
    }

    fn unknown_key(&mut self, key: &Spanned<Value<'_>>, known: &[&str]) {
        let message = match self.written(key) {
            Ok(text) => match closest(&text, known) {
                Some(meant) => format!("unknown key `{}`; did you mean `{meant}`?", shorten(&text)),
                None => format!(
                    "unknown key `{}`; known are {}",
                    shorten(&text),
                    list(known)
                ),
            },
            Err(found) => format!("{found} cannot be a key; known are {}", list(known)),
        };
        self.error(key.referenced, message);
    }

    /// Reads one prefix of an entry; `None` when it is wrong, which is then noted.
    fn prefix<N>(
        &mut self,
        key: &str,
        value: &Spanned<Value<'_>>,
        parse: fn(&str) -> Result<N, crate::PrefixError>,
        untranslatable: fn(&N) -> Option<&'static str>,
    ) -> Option<N> {
        let message = match self.written(value) {
            Err(found) => format!("`{key}` must be an address or a prefix, found {found}"),
            Ok(text) => match parse(&text) {
                Err(error) => error.to_string(),
                Ok(net) => match untranslatable(&net) {
                    None => return Some(net),
                    Some(kind) => format!("`{}` can never be translated: {kind}", shorten(&text)),
                },
            },
        };
        self.error(value.referenced, message);
        None
    }

    /// Reads the name of an entry; nothing is a fine name.
    fn name(&mut self, value: &Spanned<Value<'_>>) -> Option<Box<str>> {
        match self.written(value) {
            Ok(text) if text.chars().any(char::is_control) => {
                self.error(
                    value.referenced,
                    "`name` must be one line without control characters",
                );
                None
            }
            Ok(text) => Some(text.into()),
            Err(Found::Nothing) => None,
            Err(found @ (Found::Scalar | Found::List | Found::Mapping)) => {
                self.error(
                    value.referenced,
                    format!("`name` must be text, found {found}"),
                );
                None
            }
        }
    }
}

impl<'de> Receiver<'de> for Reader<'_, 'de> {
    fn top_key(&mut self, key: Spanned<Value<'de>>) -> bool {
        if !matches!(&key.value, Value::Text(text) if text == "eam") {
            self.unknown_key(&key, &["eam"]);
            return false;
        }
        if let Some(first) = &self.list_key {
            let message = format!("duplicate key `eam`; the first is at {first}");
            self.error(key.referenced, message);
            return false;
        }
        self.list_key = Some(self.place(key.referenced));
        true
    }

    fn no_list(&mut self, found: Found) {
        if let Some(place) = self.list_key.clone() {
            let message = match found {
                Found::Nothing => {
                    "`eam` has no value; write `eam: []` for an empty table".to_owned()
                }
                Found::Scalar | Found::List | Found::Mapping => {
                    format!("`eam` must be a list of mappings, found {found}")
                }
            };
            self.collection
                .problems
                .push(Problem::error(place, message));
        }
    }

    fn entry(&mut self, entry: Spanned<RawEntry<'de>>) {
        let at = entry.referenced;
        let entry = entry.value;
        if let Some(found) = entry.no_mapping {
            return self.error(
                at,
                format!("expected a mapping with `ipv4` and `ipv6`, found {found}"),
            );
        }
        for key in &entry.surplus {
            match &key.value {
                Value::Text(text) if KEYS.contains(&text.as_ref()) => {
                    self.error(key.referenced, format!("duplicate key `{text}`"));
                }
                Value::Text(_) | Value::Unquoted | Value::Other(_) => self.unknown_key(key, &KEYS),
            }
        }
        for (key, value) in [("ipv4", &entry.ipv4), ("ipv6", &entry.ipv6)] {
            if value.is_none() {
                self.error(at, format!("the key `{key}` is missing"));
            }
        }
        let name = entry.name.as_ref().and_then(|value| self.name(value));
        let ipv4: Option<Ipv4Net> = entry
            .ipv4
            .as_ref()
            .and_then(|value| self.prefix("ipv4", value, parse_ipv4_prefix, untranslatable_ipv4));
        let ipv6: Option<Ipv6Net> = entry
            .ipv6
            .as_ref()
            .and_then(|value| self.prefix("ipv6", value, parse_ipv6_prefix, untranslatable_ipv6));
        if let (Some(ipv4), Some(ipv6), Some(at4), Some(at6)) = (ipv4, ipv6, entry.ipv4, entry.ipv6)
        {
            match Eam::new(ipv4, ipv6, name, self.place(at)) {
                Ok(eam) => {
                    self.collection.entries.push(eam);
                    self.collection.spots.push(PrefixSpots {
                        ipv4: spot(at4.referenced),
                        ipv6: spot(at6.referenced),
                    });
                }
                Err(error) => self.error(at6.referenced, error.to_string()),
            }
        }
    }
}

/// The keys of an entry.
const KEYS: [&str; 3] = ["ipv4", "ipv6", "name"];

fn list(keys: &[&str]) -> String {
    keys.iter()
        .map(|key| format!("`{key}`"))
        .collect::<Vec<_>>()
        .join(", ")
}

/// Line and column, both from 1.
fn spot(location: Location) -> (u32, u32) {
    let number = |n: u64| u32::try_from(n).unwrap_or(u32::MAX).max(1);
    (number(location.line()), number(location.column()))
}
