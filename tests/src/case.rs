//! Golden packets: cases in YAML, as `tests/data/README.md` describes them.
//!
//! Here they are only read; `tests/cases.rs` runs them.

use relay::config;
use relay::offline::Link;
use relay::tables::Tables;
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

/// One case: packets in, packets out, and all counters that move.
#[derive(Clone, Debug)]
pub struct Case {
    /// The name, which no other case has.
    pub title: String,
    /// The rule that the case is about.
    pub clause: String,
    /// The file that it stands in, without its folder.
    pub file: String,
    /// How the packets begin; `None` for packets without link header, which any link may carry.
    pub link: Option<Link>,
    /// The text of `relay.yaml` without `interfaces` and `eam`.
    pub config: String,
    /// The text of the EAM file.
    pub eam: String,
    /// What arrives, in order.
    pub input: Vec<Vec<u8>>,
    /// What the relay sends, in order.
    pub output: Vec<Expected>,
    /// All counters that move, and by how much.
    pub counters: BTreeMap<String, u64>,
}

/// A packet that the relay should send; `None` stands for octets of which only the checksum can be foretold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected(pub Vec<Option<u8>>);

impl Expected {
    /// Says whether `octets` are the expected ones.
    pub fn matches(&self, octets: &[u8]) -> bool {
        self.0.len() == octets.len()
            && self
                .0
                .iter()
                .zip(octets)
                .all(|(expected, octet)| expected.is_none_or(|e| e == *octet))
    }

    /// Returns the same packet behind a link header.
    #[must_use]
    pub fn behind(&self, link_header: &[u8]) -> Self {
        let link_header = link_header.iter().copied().map(Some);
        Self(link_header.chain(self.0.iter().copied()).collect())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    config: String,
    eam: String,
    cases: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    title: String,
    clause: String,
    link: Option<LinkName>,
    config: Option<String>,
    eam: Option<String>,
    r#in: Vec<String>,
    out: Vec<String>,
    counters: BTreeMap<String, u64>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum LinkName {
    Ethernet,
    Raw,
}

/// Returns all cases of `tests/data`.
///
/// # Panics
///
/// If a file is not as it should be, or two cases have the same title.
pub fn load() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("data");
    let listing = std::fs::read_dir(&folder).expect("tests/data is there");
    let mut paths: Vec<PathBuf> = listing
        .map(|entry| entry.expect("it can be listed").path())
        .collect();
    paths.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "yaml")
    });
    paths.sort();
    let cases: Vec<Case> = paths.iter().flat_map(|path| read(path)).collect();
    let mut titles = HashMap::new();
    for case in &cases {
        if let Some(other) = titles.insert(&case.title, &case.file) {
            panic!(
                "two cases are called \"{}\": in {other} and {}",
                case.title, case.file
            );
        }
    }
    cases
}

fn read(path: &Path) -> Vec<Case> {
    let file = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{file}: {error}"));
    let contents: File =
        serde_yaml::from_str(&text).unwrap_or_else(|error| panic!("{file}: {error}"));
    let case = |entry: Entry| {
        let octets = |hex: &String| match octets(hex) {
            Ok(octets) => octets,
            Err(error) => panic!("{file}: {}: {error}", entry.title),
        };
        let input = entry.r#in.iter().map(|hex| {
            let octets: Option<Vec<u8>> = octets(hex).into_iter().collect();
            octets
                .unwrap_or_else(|| panic!("{file}: {}: `??` in a packet that arrives", entry.title))
        });
        Case {
            input: input.collect(),
            output: entry.out.iter().map(|hex| Expected(octets(hex))).collect(),
            link: entry.link.map(|link| match link {
                LinkName::Ethernet => Link::Ethernet,
                LinkName::Raw => Link::Raw,
            }),
            config: entry.config.unwrap_or_else(|| contents.config.clone()),
            eam: entry.eam.unwrap_or_else(|| contents.eam.clone()),
            title: entry.title,
            clause: entry.clause,
            file: file.clone(),
            counters: entry.counters,
        }
    };
    contents.cases.into_iter().map(case).collect()
}

/// Reads octets in hexadecimal: any grouping, comments from `#` to the end of the line, `??` for any octet, and `da*100`
/// for a hundred times the same one.
fn octets(text: &str) -> Result<Vec<Option<u8>>, String> {
    let mut octets = Vec::new();
    let lines = text
        .lines()
        .map(|line| line.split_once('#').map_or(line, |(line, _)| line));
    for word in lines.flat_map(str::split_whitespace) {
        let (digits, count) = match word.split_once('*') {
            Some((digits, count)) => (
                digits,
                count.parse().map_err(|_| format!("`{word}`: no number"))?,
            ),
            None => (word, 1),
        };
        if !digits.is_ascii() || digits.len() % 2 != 0 || (count != 1 && digits.len() != 2) {
            return Err(format!("`{word}` is no sequence of octets"));
        }
        for at in (0..digits.len()).step_by(2) {
            let octet = match &digits[at..at + 2] {
                "??" => None,
                octet => Some(
                    u8::from_str_radix(octet, 16)
                        .map_err(|_| format!("`{word}` is not hexadecimal"))?,
                ),
            };
            octets.extend(std::iter::repeat_n(octet, count));
        }
    }
    Ok(octets)
}

/// Returns the configuration and tables that texts of `relay.yaml`, without `interfaces` and `eam`, and of an EAM file
/// amount to.
///
/// # Panics
///
/// If anything is wrong with them.
pub fn configure(config: &str, eam: &str) -> (config::Config, Tables) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("relay.yaml");
    let config = format!(
        "{}\neam: eam.yaml\ninterfaces: [{{ name: eth0 }}]\n",
        config.trim_end()
    );
    std::fs::write(&path, &config).expect("it can be written");
    std::fs::write(folder.path().join("eam.yaml"), eam).expect("it can be written");
    let loaded = config::load(&path);
    let Some((config, eams)) = loaded.usable else {
        panic!("{:#?}\nin\n{config}\nand\n{eam}", loaded.problems);
    };
    let tables = Tables::new(&config, eams);
    (config, tables)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_octets() {
        let read = octets("# a comment\n45 0000 ???? # the rest\nda*3 01").unwrap();
        let expected = [
            Some(0x45),
            Some(0),
            Some(0),
            None,
            None,
            Some(0xda),
            Some(0xda),
            Some(0xda),
            Some(1),
        ];
        assert_eq!(read, expected);
        assert!(Expected(read).matches(&[0x45, 0, 0, 7, 8, 0xda, 0xda, 0xda, 1]));
        for wrong in ["4", "4g", "?", "45*x", "4500*2", "µµ"] {
            assert!(octets(wrong).is_err(), "{wrong}");
        }
    }
}
