//! Taking a mapping apart: each key once, known keys only, every value of the right kind.
//!
//! A [`Section`] hands out its keys one by one and notes whatever is wrong in one list of problems;
//! what cannot be read yields the default, so that reading goes on to the next problem.

use super::tree::{Content, Node};
use eam_tables::{Place, Problem, Severity, closest, shorten};
use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;

/// Everything that was found wrong so far.
#[derive(Debug)]
pub(super) struct Problems {
    path: Arc<Path>,
    found: Vec<Problem>,
}

impl Problems {
    pub(super) fn new(path: Arc<Path>) -> Self {
        Self {
            path,
            found: Vec::new(),
        }
    }

    pub(super) fn error(&mut self, place: &Place, message: impl Into<String>) {
        self.found.push(Problem::error(place.clone(), message));
    }

    pub(super) fn warning(&mut self, place: &Place, message: impl Into<String>) {
        self.found.push(Problem::warning(place.clone(), message));
    }

    pub(super) fn whole_file(&mut self, message: impl Into<String>) {
        self.error(&Place::start_of(self.path.clone()), message);
    }

    pub(super) fn has_errors(&self) -> bool {
        self.found
            .iter()
            .any(|problem| problem.severity == Severity::Error)
    }

    /// Returns the problems in the order of the file.
    pub(super) fn finish(mut self) -> Vec<Problem> {
        self.found
            .sort_by_key(|problem| (problem.place.line, problem.place.column));
        self.found
    }
}

/// A mapping whose keys are being taken out.
pub(super) struct Section {
    /// Where the mapping begins; the start of the file if it is not there at all.
    place: Place,
    /// What messages call it: nothing for the top of the file, else `name.`.
    prefix: String,
    pairs: Vec<(Place, String, Node)>,
    /// Whether there is no mapping at all; then it says nothing that a key is missing.
    is_unreadable: bool,
    /// The keys for which unknown ones were probably meant.
    misspelt: Vec<String>,
}

impl Section {
    /// Opens the mapping in `node`, whose keys must be among `keys`.
    pub(super) fn open(node: Node, prefix: &str, keys: &[&str], problems: &mut Problems) -> Self {
        let Node { place, content } = node;
        let mut section = Self::empty(place, prefix);
        let pairs = match content {
            Content::Mapping(pairs) => pairs,
            Content::Nothing => Vec::new(),
            Content::Scalar(_) | Content::List(_) => {
                let message = format!("expected a mapping with {}, found {content}", list(keys));
                problems.error(&section.place, message);
                section.is_unreadable = true;
                Vec::new()
            }
        };
        for (key, value) in pairs {
            let Content::Scalar(name) = key.content else {
                problems.error(&key.place, format!("{} cannot be a key", key.content));
                continue;
            };
            if !keys.contains(&name.as_str()) {
                let hint = match closest(&name, keys) {
                    Some(meant) => {
                        section.misspelt.push(meant.to_owned());
                        format!("did you mean `{meant}`?")
                    }
                    None => format!("known are {}", list(keys)),
                };
                let name = shorten(&name);
                problems.error(&key.place, format!("unknown key `{prefix}{name}`; {hint}"));
            } else if let Some(first) = section.place_of(&name) {
                let message = format!("duplicate key `{prefix}{name}`; the first is at {first}");
                problems.error(&key.place, message);
            } else {
                section.pairs.push((key.place, name, value));
            }
        }
        section
    }

    fn empty(place: Place, prefix: &str) -> Self {
        Self {
            place,
            prefix: prefix.to_owned(),
            pairs: Vec::new(),
            is_unreadable: false,
            misspelt: Vec::new(),
        }
    }

    /// Takes a key out: where the key stands, and its value.
    pub(super) fn take(&mut self, key: &str) -> Option<(Place, Node)> {
        let index = self.pairs.iter().position(|(_, name, _)| name == key)?;
        let (place, _, node) = self.pairs.swap_remove(index);
        Some((place, node))
    }

    /// Takes a key out that has to be there: where the key stands, and its value.
    pub(super) fn require(&mut self, key: &str, problems: &mut Problems) -> Option<(Place, Node)> {
        let taken = self.take(key);
        // One slip of the pen is one problem.
        if taken.is_none() && !self.is_unreadable && !self.misspelt.iter().any(|meant| meant == key)
        {
            problems.error(
                &self.place,
                format!("the key `{}{key}` is missing", self.prefix),
            );
        }
        taken
    }

    /// Takes out a mapping, which is empty if the key is not there.
    pub(super) fn section(&mut self, key: &str, keys: &[&str], problems: &mut Problems) -> Self {
        let prefix = format!("{}{key}.", self.prefix);
        match self.take(key) {
            Some((_, node)) => Self::open(node, &prefix, keys, problems),
            None => Self::empty(self.place.clone(), &prefix),
        }
    }

    /// Takes out a value that `parse` understands; its error says what would be right.
    pub(super) fn parsed<T, E: Display>(
        &mut self,
        key: &str,
        default: T,
        problems: &mut Problems,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> T {
        match self.take(key) {
            Some((place, node)) => {
                let name = self.name_of(key);
                scalar(&name, &place, &node, problems, parse).unwrap_or(default)
            }
            None => default,
        }
    }

    /// Takes out one of a few words. Words in `later` are right, but nothing acts on them yet.
    pub(super) fn choice<T: Copy>(
        &mut self,
        key: &str,
        default: T,
        words: &[(&str, T)],
        problems: &mut Problems,
        later: &[&str],
    ) -> T {
        self.parsed(key, default, problems, |text| {
            if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
                return Ok(*value);
            }
            let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            if later.contains(&text) {
                return Err(format!(
                    "is not available in this version; use {}",
                    list(&words)
                ));
            }
            Err(match words.as_slice() {
                [only] => format!("must be `{only}`"),
                several => format!("must be one of {}", list(several)),
            })
        })
    }

    /// Returns what messages call a key.
    pub(super) fn name_of(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// Returns where a key stands that has not been taken out.
    pub(super) fn place_of(&self, key: &str) -> Option<Place> {
        let pair = self.pairs.iter().find(|(_, name, _)| name == key);
        pair.map(|(place, _, _)| place.clone())
    }

    /// Takes out a list of different numbers up to `high`, or the word `all`, which yields `None`.
    pub(super) fn numbers(
        &mut self,
        key: &str,
        all: &str,
        high: u32,
        problems: &mut Problems,
    ) -> Option<Vec<u32>> {
        let (key_place, node) = self.take(key)?;
        let name = self.name_of(key);
        let items = match node.content {
            Content::Scalar(text) if text == all => return None,
            Content::List(items) if !items.is_empty() => items,
            content @ (Content::Nothing
            | Content::Scalar(_)
            | Content::List(_)
            | Content::Mapping(_)) => {
                let (place, found) = match content {
                    Content::List(_) => (&node.place, "an empty list".to_owned()),
                    Content::Nothing => (&key_place, "nothing".to_owned()),
                    Content::Scalar(_) | Content::Mapping(_) => (&node.place, content.to_string()),
                };
                problems.error(
                    place,
                    format!("`{name}` must be `{all}` or a list of numbers, found {found}"),
                );
                return None;
            }
        };
        let mut numbers = Vec::new();
        for item in &items {
            let number = scalar(&name, &item.place, item, problems, |text| {
                match number(0, high)(text)? {
                    number if numbers.contains(&number) => Err("is listed twice".to_owned()),
                    number => Ok(number),
                }
            });
            numbers.extend(number);
        }
        Some(numbers)
    }

    /// Takes out a list of values that `parse` understands; what it does not is left out.
    pub(super) fn items<T, E: Display>(
        &mut self,
        key: &str,
        problems: &mut Problems,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Vec<T> {
        let name = self.name_of(key);
        let items = match self.take(key) {
            None => Vec::new(),
            Some((
                _,
                Node {
                    content: Content::List(items),
                    ..
                },
            )) => items,
            Some((place, node)) => {
                let place = if matches!(node.content, Content::Nothing) {
                    &place
                } else {
                    &node.place
                };
                problems.error(
                    place,
                    format!("`{name}` must be a list, found {}", node.content),
                );
                Vec::new()
            }
        };
        items
            .iter()
            .filter_map(|item| scalar(&name, &item.place, item, problems, &parse))
            .collect()
    }
}

/// Parses one value. A value that is nothing is pointed out at `key_place`.
pub(super) fn scalar<T, E: Display>(
    name: &str,
    key_place: &Place,
    node: &Node,
    problems: &mut Problems,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Option<T> {
    match &node.content {
        Content::Scalar(text) => match parse(text) {
            Ok(value) => return Some(value),
            Err(error) => {
                let (error, shown) = (error.to_string(), shorten(text));
                // Some errors quote the value themselves.
                let message = match !shown.is_empty() && error.starts_with(&shown)
                    || error.contains(&format!("`{shown}`"))
                {
                    true => format!("`{name}`: {error}"),
                    false => format!("`{name}`: `{shown}`: {error}"),
                };
                problems.error(&node.place, message);
            }
        },
        Content::Nothing => problems.error(key_place, format!("`{name}` has no value")),
        Content::List(_) | Content::Mapping(_) => {
            problems.error(
                &node.place,
                format!("`{name}` must be a single value, found {}", node.content),
            );
        }
    }
    None
}

/// Lists words as messages show them.
pub(super) fn list(words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    words.join(", ")
}

/// Returns a parser of whole numbers in a range.
pub(super) fn number(low: u32, high: u32) -> impl Fn(&str) -> Result<u32, String> {
    move |text| match text.parse() {
        Ok(value) if (low..=high).contains(&value) => Ok(value),
        Ok(_) | Err(_) => Err(format!("must be a number from {low} to {high}")),
    }
}

/// Returns a parser of either the word `auto` or something else.
pub(super) fn auto_or<T, E>(
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> impl FnOnce(&str) -> Result<Option<T>, E> {
    move |text| match text {
        "auto" => Ok(None),
        _ => parse(text).map(Some),
    }
}

/// Returns a parser of either the word `off` or something else.
pub(super) fn off_or<T, E>(
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> impl FnOnce(&str) -> Result<Option<T>, E> {
    move |text| match text {
        "off" => Ok(None),
        _ => parse(text).map(Some),
    }
}
