//! The ordinary EAM file, read without a YAML parser: what a large table costs is mostly that.
//!
//! Only forms are read here about whose meaning there can be no doubt, in a file without a single problem; anything else is
//! left to [`crate::reader`], which then reads the file from its beginning. Where both read a file, they read the same.

use crate::conflicts::PrefixSpots;
use crate::prefix::{untranslatable_ipv4, untranslatable_ipv6};
use crate::{Eam, Place, parse_ipv4_prefix, parse_ipv6_prefix};
use std::path::Path;
use std::sync::Arc;

/// The mappings of a file, and where their prefixes stand.
type Mappings = (Vec<Eam>, Vec<PrefixSpots>);

/// Reads a file; `None` if it is not for this reader.
pub(crate) fn read(path: &Arc<Path>, text: &str) -> Option<Mappings> {
    let mut reader = Reader {
        path,
        form: None,
        entry: Entry::default(),
        entries: Vec::new(),
        spots: Vec::new(),
    };
    let mut lines = (1..).zip(text.lines());
    let key = lines.find(|(_, line)| !is_blank(line))?;
    if key.1.trim_end_matches(' ') != "eam:" {
        return None;
    }
    for (number, line) in lines {
        if !is_blank(line) {
            reader.line(number, line)?;
        }
    }
    reader.finish_entry()?;
    // An empty list is a problem, or is written in another way.
    (!reader.entries.is_empty()).then_some((reader.entries, reader.spots))
}

/// Says whether there is nothing in a line but perhaps a comment.
fn is_blank(line: &str) -> bool {
    let content = line.trim_start_matches(' ');
    content.is_empty() || content.starts_with('#') && is_plain_text(content)
}

/// Says whether text is printable ASCII, of which each octet is a column.
fn is_plain_text(text: &str) -> bool {
    text.bytes().all(|octet| matches!(octet, b' '..=b'~'))
}

/// How the entries of a file are written.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Form {
    /// Spaces before each `-`.
    indentation: usize,
    style: Style,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    /// `- { ipv4: 192.0.2.1, ipv6: "2001:db8::1" }`
    Flow,
    /// `- ipv4: 192.0.2.1`, and the other keys in lines below.
    Block,
}

/// A value and where it stands.
#[derive(Clone, Copy)]
struct Value<'t> {
    text: &'t str,
    spot: (u32, u32),
}

/// What has been read of an entry so far.
#[derive(Default)]
struct Entry<'t> {
    spot: Option<(u32, u32)>,
    ipv4: Option<Value<'t>>,
    ipv6: Option<Value<'t>>,
    name: Option<Value<'t>>,
}

struct Reader<'p, 't> {
    path: &'p Arc<Path>,
    form: Option<Form>,
    entry: Entry<'t>,
    entries: Vec<Eam>,
    spots: Vec<PrefixSpots>,
}

impl<'t> Reader<'_, 't> {
    /// Reads a line that is not blank.
    fn line(&mut self, number: u32, line: &'t str) -> Option<()> {
        if !is_plain_text(line) {
            return None;
        }
        let mut cursor = Cursor {
            number,
            line,
            at: 0,
        };
        let indentation = cursor.skip_spaces();
        if cursor.take("- ") {
            cursor.skip_spaces();
            self.finish_entry()?;
            self.entry.spot = Some(cursor.spot()?);
            let style = match cursor.take("{") {
                true => Style::Flow,
                false => Style::Block,
            };
            let form = Form { indentation, style };
            if *self.form.get_or_insert(form) != form {
                return None;
            }
            match style {
                Style::Flow => loop {
                    cursor.skip_spaces();
                    self.pair(&mut cursor, Style::Flow)?;
                    cursor.skip_spaces();
                    if cursor.take("}") {
                        return cursor.is_at_end().then_some(());
                    }
                    if !cursor.take(",") {
                        return None;
                    }
                },
                // The keys below have to stand below the first one.
                Style::Block if cursor.at != indentation + 2 => None,
                Style::Block => self.last_pair(cursor),
            }
        } else {
            let form = self.form.filter(|form| form.style == Style::Block)?;
            match indentation == form.indentation + 2 {
                true => self.last_pair(cursor),
                false => None,
            }
        }
    }

    /// Reads the pair that a line ends with.
    fn last_pair(&mut self, mut cursor: Cursor<'t>) -> Option<()> {
        self.pair(&mut cursor, Style::Block)?;
        cursor.is_at_end().then_some(())
    }

    fn pair(&mut self, cursor: &mut Cursor<'t>, style: Style) -> Option<()> {
        let (slot, is_name) = if cursor.take("ipv4: ") {
            (&mut self.entry.ipv4, false)
        } else if cursor.take("ipv6: ") {
            (&mut self.entry.ipv6, false)
        } else if cursor.take("name: ") {
            (&mut self.entry.name, true)
        } else {
            return None;
        };
        cursor.skip_spaces();
        let value = cursor.value(is_name, style)?;
        slot.replace(value).is_none().then_some(())
    }

    /// Takes over the entry that has been read, if there is one.
    fn finish_entry(&mut self) -> Option<()> {
        let Entry {
            spot,
            ipv4,
            ipv6,
            name,
        } = std::mem::take(&mut self.entry);
        let Some((line, column)) = spot else {
            return Some(());
        };
        let (at4, at6) = (ipv4?, ipv6?);
        let ipv4 = parse_ipv4_prefix(at4.text).ok()?;
        let ipv6 = parse_ipv6_prefix(at6.text).ok()?;
        if untranslatable_ipv4(&ipv4).is_some() || untranslatable_ipv6(&ipv6).is_some() {
            return None;
        }
        let place = Place {
            path: self.path.clone(),
            line,
            column,
        };
        let name = name.map(|name| Box::from(name.text));
        self.entries.push(Eam::new(ipv4, ipv6, name, place).ok()?);
        self.spots.push(PrefixSpots {
            ipv4: at4.spot,
            ipv6: at6.spot,
        });
        Some(())
    }
}

/// A place in a line of ASCII.
struct Cursor<'t> {
    number: u32,
    line: &'t str,
    /// Octets before it.
    at: usize,
}

impl<'t> Cursor<'t> {
    fn rest(&self) -> &'t str {
        self.line.get(self.at..).unwrap_or_default()
    }

    fn spot(&self) -> Option<(u32, u32)> {
        Some((self.number, u32::try_from(self.at + 1).ok()?))
    }

    /// Goes over spaces, and returns how many there were.
    fn skip_spaces(&mut self) -> usize {
        let rest = self.rest();
        let spaces = rest.len() - rest.trim_start_matches(' ').len();
        self.at += spaces;
        spaces
    }

    /// Goes over `text`, if it stands here.
    fn take(&mut self, text: &str) -> bool {
        let is_here = self.rest().starts_with(text);
        if is_here {
            self.at += text.len();
        }
        is_here
    }

    /// Says whether the line ends here, perhaps with a comment behind a space.
    fn is_at_end(&self) -> bool {
        let rest = self.rest();
        rest.trim_start_matches(' ').is_empty()
            || rest.trim_start_matches(' ').starts_with('#') && rest.starts_with(' ')
    }

    /// Goes over a value: quoted without any escapes, or plain and of harmless characters.
    fn value(&mut self, is_name: bool, style: Style) -> Option<Value<'t>> {
        let spot = self.spot()?;
        let rest = self.rest();
        let quote = rest.chars().next().filter(|c| matches!(c, '\'' | '"'));
        if let Some(quote) = quote {
            let inside = &rest[1..];
            let end = inside.find(quote)?;
            let text = &inside[..end];
            // Two quotes in a row are one; and what is an escape in one kind of quotes is none in the other.
            if inside[end + 1..].starts_with(quote) || text.contains('\\') {
                return None;
            }
            self.at += end + 2;
            return Some(Value { text, spot });
        }
        let is_end = |c: char| c == ' ' || style == Style::Flow && matches!(c, ',' | '}');
        let text = &rest[..rest.find(is_end).unwrap_or(rest.len())];
        let is_harmless = match is_name {
            false => {
                !text.ends_with(':')
                    && text
                        .bytes()
                        .all(|c| c.is_ascii_hexdigit() || matches!(c, b'.' | b':' | b'/'))
            }
            // A word that YAML takes for a word: neither a number nor one of its own.
            true => {
                text.starts_with(|c: char| c.is_ascii_alphabetic())
                    && text
                        .bytes()
                        .all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_'))
                    && !OWN_WORDS.contains(&text.to_ascii_lowercase().as_str())
            }
        };
        self.at += text.len();
        (!text.is_empty() && is_harmless).then_some(Value { text, spot })
    }
}

/// Words that YAML or one of its readers takes for something else than text.
const OWN_WORDS: [&str; 11] = [
    "null", "true", "false", "yes", "no", "on", "off", "y", "n", "nan", "inf",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::Collection;
    use crate::reader;
    use proptest::prelude::*;

    fn path() -> Arc<Path> {
        Arc::from(Path::new("eam.yaml"))
    }

    fn spots(spots: &[PrefixSpots]) -> Vec<((u32, u32), (u32, u32))> {
        spots.iter().map(|spots| (spots.ipv4, spots.ipv6)).collect()
    }

    /// Reads a text both ways, which have to agree if this way is taken; says whether it is.
    fn agrees(text: &str) -> bool {
        let Some((entries, at)) = read(&path(), text) else {
            return false;
        };
        let mut collection = Collection::default();
        reader::read(&mut collection, path(), text);
        assert!(
            collection.problems.is_empty(),
            "{:?}\n{text}",
            collection.problems
        );
        assert_eq!(entries, collection.entries, "{text}");
        assert_eq!(spots(&at), spots(&collection.spots), "{text}");
        true
    }

    #[test]
    fn ordinary_files_are_read() {
        for text in [
            "eam:\n  - { ipv4: 192.0.2.1, ipv6: \"2001:db8:12:34::1\" }\n  - { ipv4: 192.0.2.16/28, ipv6: '2001:db8:cccc::/124', name: web }\n",
            "# Ours.\n\neam:   \n- {ipv6: 2001:db8::1,ipv4: 192.0.2.1}  # first\n\n# Ours, too.\n-   { name: \"two words: # no comment\",  ipv4: '192.0.2.2' , ipv6: 2001:db8::2 }",
            "eam:\n- ipv4: 192.0.2.1\n  ipv6: 2001:db8::1  # first\n- name: mail-2\n  ipv6: '2001:db8::'\n  ipv4: 192.0.2.2/32\n",
            "eam:\n    - name: ''\n      ipv4: \"192.0.2.1\"\n      # in between\n      ipv6: 2001:DB8::1\n",
        ] {
            assert!(agrees(text), "{text}");
        }
    }

    #[test]
    fn whatever_is_unusual_is_left_to_the_other_reader() {
        for text in [
            "",
            "eam: []\n",
            "eam:\n",
            "eam: # why not\n  - { ipv4: 192.0.2.1, ipv6: 2001:db8::1 }\n",
            "---\neam:\n  - { ipv4: 192.0.2.1, ipv6: 2001:db8::1 }\n",
            "eam:\n  - { ipv4: 192.0.2.1, ipv6: 2001:db8:: }\n",
            "eam:\n  - { ipv4: 192.0.2.1, ipv6: 2001:db8::1, name: no }\n",
            "eam:\n  - { ipv4: 192.0.2.1, ipv6: 2001:db8::1, name: 'it''s' }\n",
            "eam:\n  - { ipv4: 192.0.2.1, ipv6: 2001:db8::1, name: \"a\\tb\" }\n",
            "eam:\n  - { ipv4: 192.0.2.1, ipv6: 2001:db8::1, name: münchen }\n",
            "eam:\n  - { ipv4: 192.0.2.1, ipv4: 192.0.2.2, ipv6: 2001:db8::1 }\n",
            "eam:\n  - { ipv4: 192.0.2.1 }\n",
            "eam:\n  - { ipv4: 192.0.2.300, ipv6: 2001:db8::1 }\n",
            "eam:\n  - { ipv4: 127.0.0.1, ipv6: 2001:db8::1 }\n",
            "eam:\n  - { ipv4: 192.0.2.0/24, ipv6: 2001:db8::/121 }\n",
            "eam:\n  - { ipv4: 192.0.2.1, ipv6: 2001:db8::1 }#x\n",
            "eam:\n  - { ipv4: 192.0.2.1, ipv6: 2001:db8::1 }\n   - { ipv4: 192.0.2.2, ipv6: 2001:db8::2 }\n",
            "eam:\n  - { ipv4: 192.0.2.1, ipv6: 2001:db8::1 }\nother: 1\n",
            "eam:\n  - { ipv4: 192.0.2.1, ipv6: 2001:db8::1 }\n...\n",
            "eam:\n\t- { ipv4: 192.0.2.1, ipv6: 2001:db8::1 }\n",
            "eam:\r\n  - { ipv4: 192.0.2.1, ipv6: 2001:db8::1, name: a }\r\n#\u{7}\n",
            "eam:\n  - ipv4: 192.0.2.1\n   ipv6: 2001:db8::1\n",
            "eam:\n  -   ipv4: 192.0.2.1\n      ipv6: 2001:db8::1\n",
            "eam:\n  - &a { ipv4: 192.0.2.1, ipv6: 2001:db8::1 }\n  - *a\n",
            "eam:\n  - { ipv4: !!str 192.0.2.1, ipv6: 2001:db8::1 }\n",
        ] {
            assert!(read(&path(), text).is_none(), "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// Files of pieces that belong there and of pieces that do not: whenever this reader takes one, both agree.
        #[test]
        fn both_readers_agree(pieces in proptest::collection::vec(0_usize..PIECES.len(), 1..24)) {
            let text: String = pieces.iter().map(|piece| PIECES[*piece]).collect();
            agrees(&text);
            agrees(&format!("eam:\n{text}"));
            agrees(&format!("eam:\n  - {{ ipv4: 192.0.2.1, ipv6: 2001:db8::1 }}\n{text}\n"));
            agrees(&format!("eam:\n- ipv4: 192.0.2.1\n{text}\n  ipv6: 2001:db8::1\n"));
            agrees(&format!("eam:\n  - {{ ipv4: 192.0.2.1, ipv6: 2001:db8::1, name: {text} }}\n"));
        }
    }

    const PIECES: [&str; 32] = [
        "\n",
        " ",
        "  ",
        "- ",
        "-",
        "{ ",
        " }",
        "}",
        ", ",
        ",",
        "ipv4: ",
        "ipv6: ",
        "name: ",
        "192.0.2.7",
        "192.0.2.0/28",
        "2001:db8::7",
        "'2001:db8::'",
        "\"2001:db8::8\"",
        "web",
        "1e5",
        "'",
        "\"",
        "#",
        " # note",
        ":",
        "eam:",
        "\r",
        "\t",
        "~",
        "\\",
        "|",
        "ä",
    ];
}
