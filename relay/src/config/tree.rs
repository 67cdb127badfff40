//! A YAML file as a tree in which every node knows its place.
//!
//! Nothing is judged here but the YAML itself, so that all that is wrong with the content can be
//! told at once. Limits keep a hostile file from costing more than its size warrants.

use eam_tables::{Place, Problem, printable, shorten};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_yaml::{Location, MessageFormatter, Spanned};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// A value, a list or a mapping, and where it begins.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) content: Content,
}

/// What a [`Node`] holds. Scalars are kept as they are written, so that `on` is no truth value.
#[derive(Debug)]
pub(super) enum Content {
    Nothing,
    Scalar(String),
    List(Vec<Node>),
    Mapping(Vec<(Node, Node)>),
}

impl fmt::Display for Content {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => formatter.write_str("nothing"),
            Self::Scalar(text) => write!(formatter, "`{}`", shorten(text)),
            Self::List(_) => formatter.write_str("a list"),
            Self::Mapping(_) => formatter.write_str("a mapping"),
        }
    }
}

/// Parses a file's text.
///
/// # Errors
///
/// The one [`Problem`] that makes it no YAML, or more than the limits allow.
pub(super) fn parse(path: &Arc<Path>, text: &str) -> Result<Node, Problem> {
    let options = serde_yaml::options! {
        budget: serde_yaml::budget! { max_depth: 16, flow_nesting_limit: 16, max_documents: 2 },
        duplicate_keys: serde_yaml::DuplicateKeyPolicy::PassThrough,
        merge_keys: serde_yaml::MergeKeyPolicy::AsOrdinary,
        non_finite_float_policy: serde_yaml::NonFiniteFloatPolicy::PassThrough,
        reject_unsupported_tags: true,
        with_snippet: false,
    };
    let source = Source { path, text };
    match serde_yaml::from_str_with_options::<Spanned<Raw>>(text, options) {
        Ok(raw) => Ok(source.node(raw)),
        Err(error) => {
            let location = error.location().unwrap_or(Location::UNKNOWN);
            let error = error.without_snippet();
            let message = if matches!(error, serde_yaml::Error::MultipleDocuments { .. }) {
                "a second YAML document; the configuration is one".to_owned()
            } else if matches!(error, serde_yaml::Error::Budget { .. }) {
                "the file is too large, nested too deeply or has too many anchors and aliases"
                    .to_owned()
            } else {
                let message = serde_yaml::UserMessageFormatter.format_message(error);
                let hint = match source.ends_in_colons(location) {
                    true => "; an address which ends in `::` must stand in quotes",
                    false => "",
                };
                printable(&message) + hint
            };
            Err(Problem::error(source.place(location), message))
        }
    }
}

/// The file that a tree comes from.
struct Source<'s> {
    path: &'s Arc<Path>,
    text: &'s str,
}

impl Source<'_> {
    fn place(&self, location: Location) -> Place {
        let number = |n: u64| u32::try_from(n).unwrap_or(u32::MAX).max(1);
        Place {
            path: self.path.clone(),
            line: number(location.line()),
            column: number(location.column()),
        }
    }

    /// Whether the line has a word without quotes that ends in two colons, which YAML takes for a key.
    fn ends_in_colons(&self, location: Location) -> bool {
        let line = usize::try_from(location.line().saturating_sub(1)).unwrap_or(usize::MAX);
        let line = self.text.lines().nth(line).unwrap_or_default();
        line.split([' ', ',', '}', ']'])
            .any(|word| word.ends_with("::"))
    }

    fn node(&self, raw: Spanned<Raw>) -> Node {
        let place = self.place(raw.referenced);
        let content = match raw.value {
            Raw::Nothing => Content::Nothing,
            Raw::Text(text) => Content::Scalar(text),
            Raw::Unquoted => Content::Scalar(self.written(raw.defined)),
            Raw::List(items) => {
                Content::List(items.into_iter().map(|item| self.node(item)).collect())
            }
            Raw::Mapping(pairs) => Content::Mapping(
                pairs
                    .into_iter()
                    .map(|(key, value)| (self.node(key), self.node(value)))
                    .collect(),
            ),
        };
        Node { place, content }
    }

    /// Returns a number or truth value as it stands in the file.
    fn written(&self, location: Location) -> String {
        let span = location.span();
        let range = span.byte_offset().zip(span.byte_len());
        range
            .and_then(|(from, length)| self.text.get(from as usize..(from + length) as usize))
            .map_or_else(String::new, |text| text.trim().to_owned())
    }
}

/// A node as the YAML reader hands it over.
enum Raw {
    Nothing,
    Text(String),
    /// A number or truth value by YAML's rules.
    Unquoted,
    List(Vec<Spanned<Raw>>),
    Mapping(Vec<(Spanned<Raw>, Spanned<Raw>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("anything")
    }

    fn visit_str<E>(self, text: &str) -> Result<Raw, E> {
        Ok(Raw::Text(text.to_owned()))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Raw, E> {
        Ok(Raw::Unquoted)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Raw, E> {
        Ok(Raw::Unquoted)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Raw, E> {
        Ok(Raw::Unquoted)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Raw, E> {
        Ok(Raw::Unquoted)
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Nothing)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Raw::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut mapping: A) -> Result<Raw, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = mapping.next_entry()? {
            pairs.push(pair);
        }
        Ok(Raw::Mapping(pairs))
    }
}
