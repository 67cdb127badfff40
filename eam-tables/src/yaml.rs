//! The shape of an EAM file, read so tolerantly that wrong content never ends the reading.
//!
//! Every visitor here accepts whatever stands in the file and notes what it is and where; judging comes after. Only broken
//! YAML, and YAML that breaks a limit, is an error of the deserializer. Nothing of the file is kept but the entry at hand.

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_yaml::Spanned;
use std::borrow::Cow;
use std::fmt;

/// Gets the content of a file, piece by piece, in the order of the text.
pub(crate) trait Receiver<'de> {
    /// A key at the top level; answers whether its value is a list of entries to be read.
    fn top_key(&mut self, key: Spanned<Value<'de>>) -> bool;
    /// An item of the list.
    fn entry(&mut self, entry: Spanned<RawEntry<'de>>);
    /// The value of the key last accepted is no list.
    fn no_list(&mut self, found: Found);
}

/// What kind of YAML node stands where another was expected.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Found {
    Nothing,
    Scalar,
    List,
    Mapping,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "nothing",
            Self::Scalar => "a single value",
            Self::List => "a list",
            Self::Mapping => "a mapping",
        })
    }
}

/// A key or a value.
#[derive(Debug)]
pub(crate) enum Value<'de> {
    /// Text, quoted or not.
    Text(Cow<'de, str>),
    /// A number or a truth value by YAML's rules; how it is written stands in the file.
    Unquoted,
    Other(Found),
}

/// The value and position of each key of an entry, as far as they are there.
#[derive(Debug, Default)]
pub(crate) struct RawEntry<'de> {
    /// Set when the entry is no mapping at all.
    pub(crate) no_mapping: Option<Found>,
    pub(crate) ipv4: Option<Spanned<Value<'de>>>,
    pub(crate) ipv6: Option<Spanned<Value<'de>>>,
    pub(crate) name: Option<Spanned<Value<'de>>>,
    /// Keys that should not be there, the known ones because they come twice.
    pub(crate) surplus: Vec<Spanned<Value<'de>>>,
}

/// Implements the `visit_*` methods for scalars; the visitors here differ in the outcome only.
macro_rules! visit_scalars {
    (text: $text:expr, unquoted: $unquoted:expr, nothing: $nothing:expr) => {
        fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
            Ok($text(self, Cow::Borrowed(text)))
        }

        fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
            Ok($text(self, Cow::Owned(text.to_owned())))
        }

        fn visit_string<E>(self, text: String) -> Result<Self::Value, E> {
            Ok($text(self, Cow::Owned(text)))
        }

        fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
            Ok($unquoted(self))
        }

        fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
            Ok($unquoted(self))
        }

        fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
            Ok($unquoted(self))
        }

        fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
            Ok($unquoted(self))
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok($nothing(self))
        }
    };
}

fn pass_over_list<'de, A: SeqAccess<'de>>(mut list: A) -> Result<(), A::Error> {
    while list.next_element::<IgnoredAny>()?.is_some() {}
    Ok(())
}

fn pass_over_mapping<'de, A: MapAccess<'de>>(mut mapping: A) -> Result<(), A::Error> {
    while mapping.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
    Ok(())
}

impl<'de> Deserialize<'de> for Value<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ValueVisitor;

        impl<'de> Visitor<'de> for ValueVisitor {
            type Value = Value<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("anything")
            }

            visit_scalars! {
                text: |_, text| Value::Text(text),
                unquoted: |_| Value::Unquoted,
                nothing: |_| Value::Other(Found::Nothing)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
                pass_over_list(list)?;
                Ok(Value::Other(Found::List))
            }

            fn visit_map<A: MapAccess<'de>>(self, mapping: A) -> Result<Self::Value, A::Error> {
                pass_over_mapping(mapping)?;
                Ok(Value::Other(Found::Mapping))
            }
        }

        deserializer.deserialize_any(ValueVisitor)
    }
}

impl<'de> Deserialize<'de> for RawEntry<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntryVisitor;

        fn no_mapping<'de>(found: Found) -> RawEntry<'de> {
            RawEntry {
                no_mapping: Some(found),
                ..RawEntry::default()
            }
        }

        impl<'de> Visitor<'de> for EntryVisitor {
            type Value = RawEntry<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("anything")
            }

            visit_scalars! {
                text: |_, _: Cow<'_, str>| no_mapping(Found::Scalar),
                unquoted: |_| no_mapping(Found::Scalar),
                nothing: |_| no_mapping(Found::Nothing)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
                pass_over_list(list)?;
                Ok(no_mapping(Found::List))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut mapping: A) -> Result<Self::Value, A::Error> {
                let mut entry = RawEntry::default();
                while let Some(key) = mapping.next_key::<Spanned<Value<'de>>>()? {
                    let slot = match &key.value {
                        Value::Text(text) => match text.as_ref() {
                            "ipv4" => Some(&mut entry.ipv4),
                            "ipv6" => Some(&mut entry.ipv6),
                            "name" => Some(&mut entry.name),
                            _ => None,
                        },
                        Value::Unquoted | Value::Other(_) => None,
                    };
                    match slot {
                        Some(slot) if slot.is_none() => *slot = Some(mapping.next_value()?),
                        Some(_) | None => {
                            entry.surplus.push(key);
                            mapping.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(entry)
            }
        }

        deserializer.deserialize_any(EntryVisitor)
    }
}

/// Reads the whole document into a receiver; yields what stands at the top when that is no mapping.
pub(crate) struct Document<'r, R>(pub(crate) &'r mut R);

impl<'de, R: Receiver<'de>> DeserializeSeed<'de> for Document<'_, R> {
    type Value = Option<Found>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, R: Receiver<'de>> Visitor<'de> for Document<'_, R> {
    type Value = Option<Found>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    visit_scalars! {
        text: |_, _: Cow<'_, str>| Some(Found::Scalar),
        unquoted: |_| Some(Found::Scalar),
        nothing: |_| Some(Found::Nothing)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
        pass_over_list(list)?;
        Ok(Some(Found::List))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut mapping: A) -> Result<Self::Value, A::Error> {
        while let Some(key) = mapping.next_key()? {
            if self.0.top_key(key) {
                mapping.next_value_seed(List(&mut *self.0))?;
            } else {
                mapping.next_value::<IgnoredAny>()?;
            }
        }
        Ok(None)
    }
}

struct List<'r, R>(&'r mut R);

impl<'de, R: Receiver<'de>> DeserializeSeed<'de> for List<'_, R> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, R: Receiver<'de>> Visitor<'de> for List<'_, R> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    visit_scalars! {
        text: |list: Self, _: Cow<'_, str>| list.0.no_list(Found::Scalar),
        unquoted: |list: Self| list.0.no_list(Found::Scalar),
        nothing: |list: Self| list.0.no_list(Found::Nothing)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        while let Some(entry) = list.next_element()? {
            self.0.entry(entry);
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mapping: A) -> Result<Self::Value, A::Error> {
        pass_over_mapping(mapping)?;
        self.0.no_list(Found::Mapping);
        Ok(())
    }
}
