//! Judges the content of one EAM file, entry by entry, and words the problems.

use crate::conflicts::PrefixSpots;
use crate::file::{Collection, options};
use crate::prefix::{printable, shorten, untranslatable_ipv4, untranslatable_ipv6};
use crate::yaml::{Document, Found, RawEntry, Receiver, Value};
use crate::{Eam, Place, PrefixError, Problem, closest, parse_ipv4_prefix, parse_ipv6_prefix};
use ipnet::{Ipv4Net, Ipv6Net};
use serde::de::DeserializeSeed;
use serde_yaml::{Location, MessageFormatter, Spanned};
use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

/// Reads a file's text into the collection.
pub(crate) fn read(collection: &mut Collection, path: Arc<Path>, text: &str) {
    let mut reader = Reader {
        collection,
        path,
        text,
        list_key: None,
        list_key_misspelt: false,
    };
    let outcome =
        serde_yaml::with_deserializer_from_str_with_options(text, options(), |deserializer| {
            Document(&mut reader).deserialize(deserializer)
        });
    match outcome {
        Ok(None) => {
            if reader.list_key.is_none() && !reader.list_key_misspelt {
                reader.whole_file("the key `eam` is missing; write `eam: []` for an empty table");
            }
        }
        Ok(Some(Found::Nothing)) => {
            reader.whole_file("the file is empty; write `eam: []` for an empty table");
        }
        Ok(Some(found @ (Found::Scalar | Found::List | Found::Mapping))) => {
            reader.whole_file(format!(
                "expected the key `eam` with a list of mappings, found {found}"
            ));
        }
        Err(error) => reader.broken(&error),
    }
}

/// Judges the content of one file.
struct Reader<'c, 'de> {
    collection: &'c mut Collection,
    path: Arc<Path>,
    text: &'de str,
    /// Where the key `eam` stands.
    list_key: Option<Place>,
    /// Whether an unknown key looks like `eam`.
    list_key_misspelt: bool,
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
        let location = error.location().unwrap_or(Location::UNKNOWN);
        let error = error.without_snippet();
        let message = if matches!(error, serde_yaml::Error::MultipleDocuments { .. }) {
            "a second YAML document; an EAM file has one".to_owned()
        } else if matches!(error, serde_yaml::Error::InvalidScalar { .. }) {
            "the value does not fit its YAML tag; leave the tag out".to_owned()
        } else if matches!(error, serde_yaml::Error::Budget { .. }) {
            "the file is nested too deeply or has too many anchors and aliases".to_owned()
        } else {
            let message = serde_yaml::UserMessageFormatter.format_message(error);
            let hint = match self.ends_in_colons(location) {
                true => "; an address which ends in `::` must stand in quotes",
                false => "",
            };
            printable(&message) + hint
        };
        self.error(location, message);
    }

    /// Whether the line has a word without quotes that ends in two colons, which YAML takes for a key.
    fn ends_in_colons(&self, location: Location) -> bool {
        let line = usize::try_from(location.line().saturating_sub(1)).unwrap_or(usize::MAX);
        let line = self.text.lines().nth(line).unwrap_or_default();
        line.split([' ', ',', '}']).any(|word| word.ends_with("::"))
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

    /// Notes an unknown key, and returns the key which it may have been meant to be.
    fn unknown_key(
        &mut self,
        key: &Spanned<Value<'_>>,
        known: &[&'static str],
    ) -> Option<&'static str> {
        let (meant, message) = match self.written(key) {
            Ok(text) => {
                let (meant, text) = (closest(&text, known), shorten(&text));
                let message = match meant {
                    Some(meant) => format!("unknown key `{text}`; did you mean `{meant}`?"),
                    None => format!("unknown key `{text}`; known are {}", list(known)),
                };
                (meant, message)
            }
            Err(found) => {
                let message = format!("{found} cannot be a key; known are {}", list(known));
                (None, message)
            }
        };
        self.error(key.referenced, message);
        meant
    }

    /// Reads one prefix of an entry; `None` when it is wrong, which is then noted.
    fn prefix<N>(
        &mut self,
        key: &str,
        value: &Spanned<Value<'_>>,
        parse: fn(&str) -> Result<N, PrefixError>,
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
            self.list_key_misspelt |= self.unknown_key(&key, &["eam"]).is_some();
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
        let mut misspelt = Vec::new();
        for key in &entry.surplus {
            match &key.value {
                Value::Text(text) if KEYS.contains(&text.as_ref()) => {
                    self.error(key.referenced, format!("duplicate key `{text}`"));
                }
                Value::Text(_) | Value::Unquoted | Value::Other(_) => {
                    misspelt.extend(self.unknown_key(key, &KEYS));
                }
            }
        }
        for (key, value) in [("ipv4", &entry.ipv4), ("ipv6", &entry.ipv6)] {
            // One slip of the pen is one problem.
            if value.is_none() && !misspelt.contains(&key) {
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
