//! Mappings written into EAM files and taken out of them, for changes at runtime that are to last.
//!
//! Files belong to their authors: what is not the mapping in question is not touched, and what was written is read
//! back before it takes the file's place. Where the form of a file is too unusual for that, it is left alone.

use eam_tables::Eam;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

/// Why a file is left as it is.
#[derive(Debug, thiserror::Error)]
pub(super) enum SaveError {
    /// What is in it stands against it.
    #[error("cannot save: {0}")]
    Contrary(String),
    /// Nothing that was tried gives what is wanted.
    #[error("cannot save: {} is written in a way that cannot be changed by itself; edit it by hand: {line}", .path.display())]
    Unusual {
        /// The file.
        path: PathBuf,
        /// The line in question.
        line: String,
    },
    /// It cannot be written.
    #[error("cannot save {}: {source}", .path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

/// A file as it is to be.
#[derive(Debug)]
pub(super) struct Saved {
    path: PathBuf,
    text: String,
    /// The new mapping at its place in the file, if there is one.
    pub(super) entry: Option<Eam>,
    /// The number of lines that are gone.
    pub(super) lines_removed: u32,
}

/// Returns a mapping as an item of a list.
fn item(ipv4: &str, ipv6: &str, name: Option<&str>) -> String {
    // JSON's strings are YAML's.
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let name = name.map_or(String::new(), |name| format!(", name: {}", quoted(name)));
    format!(
        "- {{ ipv4: {}, ipv6: {}{name} }}",
        quoted(ipv4),
        quoted(ipv6)
    )
}

/// Returns an EAM file with one mapping.
pub(super) fn file_of(ipv4: &str, ipv6: &str, name: Option<&str>) -> String {
    format!("eam:\n  {}\n", item(ipv4, ipv6, name))
}

fn item_of(eam: &Eam) -> String {
    let ipv4 = match eam.ipv4().prefix_len() {
        32 => eam.ipv4().addr().to_string(),
        _ => eam.ipv4().to_string(),
    };
    let ipv6 = match eam.ipv6().prefix_len() {
        128 => eam.ipv6().addr().to_string(),
        _ => eam.ipv6().to_string(),
    };
    item(&ipv4, &ipv6, eam.name())
}

/// Returns the file with a mapping behind all others.
pub(super) fn appended(path: &Path, eam: &Eam) -> Result<Saved, SaveError> {
    let (text, before) = read(path)?;
    let is_taken = |other: &&Eam| other.ipv4() == eam.ipv4() || other.ipv6() == eam.ipv6();
    if let Some(other) = before.iter().find(is_taken) {
        let (ipv4, ipv6, place) = (other.ipv4(), other.ipv6(), other.place());
        let why =
            format!("{ipv4} <-> {ipv6} is at {place}, though it is not in force; reload first");
        return Err(SaveError::Contrary(why));
    }
    let item = item_of(eam);
    let mut wanted = before;
    wanted.push(eam.clone());
    let end = if text.ends_with('\n') || text.is_empty() {
        ""
    } else {
        "\n"
    };
    let list = text
        .lines()
        .rev()
        .find(|line| line.trim_start().starts_with("- "));
    let indentation = list.map(|line| &line[..line.len() - line.trim_start().len()]);
    let behind = indentation.map(|indentation| format!("{text}{end}{indentation}{item}\n"));
    let first = text
        .lines()
        .find(|line| line.trim_end() == "eam: []" || line.trim_end() == "eam:")
        .map(|line| text.replacen(line, &format!("eam:\n  {item}"), 1));
    let candidates = behind.into_iter().chain(first);
    choose(path, candidates, &wanted).map_or_else(
        || unusual(path, item),
        |(text, mut entries)| {
            Ok(Saved {
                path: path.to_owned(),
                text,
                entry: entries.pop(),
                lines_removed: 0,
            })
        },
    )
}

/// Returns the file without a mapping that stands in it.
pub(super) fn removed(eam: &Eam) -> Result<Saved, SaveError> {
    let path: &Path = &eam.place().path;
    let (text, before) = read(path)?;
    let same = |other: &&Eam| other.ipv4() == eam.ipv4();
    let Some(stands) = before.iter().find(same).map(|eam| eam.place().clone()) else {
        let why = format!("{} does not have {} any more", path.display(), eam.ipv4());
        return Err(SaveError::Contrary(why));
    };
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let first = stands.line as usize - 1;
    let next = before.iter().map(|eam| eam.place().line as usize - 1);
    let next = next
        .filter(|line| *line > first)
        .min()
        .unwrap_or(lines.len());
    let without = |count: usize| -> String {
        let end = (first + count).min(lines.len());
        lines[..first]
            .iter()
            .chain(&lines[end..])
            .copied()
            .collect()
    };
    let wanted: Vec<Eam> = before
        .iter()
        .filter(|other| !same(other))
        .cloned()
        .collect();
    // The mapping's own lines at least, and at most all up to the next one; what is between may be a comment.
    let candidates = (1..=next - first).map(without).flat_map(|text| {
        let emptied = wanted
            .is_empty()
            .then(|| text.replacen("eam:", "eam: []", 1));
        [Some(text), emptied]
    });
    choose(path, candidates.flatten(), &wanted).map_or_else(
        || unusual(path, item_of(eam)),
        |(text, _)| {
            let lines_removed = lines.len() - text.split_inclusive('\n').count();
            Ok(Saved {
                path: path.to_owned(),
                text,
                entry: None,
                lines_removed: lines_removed as u32,
            })
        },
    )
}

fn unusual(path: &Path, line: String) -> Result<Saved, SaveError> {
    Err(SaveError::Unusual {
        path: path.to_owned(),
        line,
    })
}

fn read(path: &Path) -> Result<(String, Vec<Eam>), SaveError> {
    let text =
        eam_tables::read_text(path).map_err(|problem| SaveError::Contrary(problem.to_string()))?;
    let loaded = eam_tables::parse(path, &text);
    match loaded.problems.iter().find(|_| loaded.has_errors()) {
        Some(problem) => Err(SaveError::Contrary(problem.to_string())),
        None => Ok((text, loaded.entries)),
    }
}

/// Returns the first candidate that reads as wanted, with its mappings.
fn choose(
    path: &Path,
    candidates: impl Iterator<Item = String>,
    wanted: &[Eam],
) -> Option<(String, Vec<Eam>)> {
    let same = |(one, other): (&Eam, &Eam)| {
        (one.ipv4(), one.ipv6(), one.name()) == (other.ipv4(), other.ipv6(), other.name())
    };
    candidates
        .map(|text| {
            let loaded = eam_tables::parse(path, &text);
            (text, loaded)
        })
        .find(|(_, loaded)| {
            !loaded.has_errors()
                && loaded.entries.len() == wanted.len()
                && loaded.entries.iter().zip(wanted).all(same)
        })
        .map(|(text, loaded)| (text, loaded.entries))
}

impl Saved {
    /// Puts the new file in the old one's place, at once and for good, with the same owner and mode.
    pub(super) fn write(&self) -> Result<(), SaveError> {
        let failed = |source| SaveError::Unwritable {
            path: self.path.clone(),
            source,
        };
        // Not a link to the file, but the file itself is replaced.
        let path = fs::canonicalize(&self.path).map_err(failed)?;
        let metadata = fs::metadata(&path).map_err(failed)?;
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}", std::process::id()));
        let temporary = path.with_file_name(name);
        let written = self.write_to(&temporary, &metadata);
        let outcome = written.and_then(|()| fs::rename(&temporary, &path));
        if outcome.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        outcome.map_err(failed)
    }

    fn write_to(&self, temporary: &Path, metadata: &fs::Metadata) -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(temporary)?;
        file.write_all(self.text.as_bytes())?;
        if (metadata.uid(), metadata.gid()) != own_identity(&file)? {
            fchown(&file, Some(metadata.uid()), Some(metadata.gid()))?;
        }
        file.set_permissions(metadata.permissions())?;
        file.sync_all()
    }
}

fn own_identity(file: &File) -> io::Result<(u32, u32)> {
    let metadata = file.metadata()?;
    Ok((metadata.uid(), metadata.gid()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str, text: &str) -> Self {
            let path = std::env::temp_dir().join(format!("relay-{name}-{}", std::process::id()));
            fs::write(&path, text).unwrap();
            Self(path)
        }

        fn text(&self) -> String {
            fs::read_to_string(&self.0).unwrap()
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    fn nine() -> Eam {
        let place = eam_tables::Place::start_of(Path::new("runtime").into());
        let (ipv4, ipv6) = (
            "192.0.2.9/32".parse().unwrap(),
            "2001:db8::/128".parse().unwrap(),
        );
        Eam::new(ipv4, ipv6, Some("a \"b\"".into()), place).unwrap()
    }

    const ADDED: &str = r#"- { ipv4: "192.0.2.9", ipv6: "2001:db8::", name: "a \"b\"" }"#;

    #[test]
    fn a_mapping_is_appended_in_the_form_of_the_file_and_taken_out_again() {
        let block = "# Ours.\neam:\n- { ipv4: 192.0.2.1, ipv6: '2001:db8::1' }  # first\n- ipv4: 192.0.2.2\n  ipv6: 2001:db8::2\n";
        for (number, text, expected) in [
            (0, block.to_owned(), format!("{block}{ADDED}\n")),
            (1, block.trim_end().to_owned(), format!("{block}{ADDED}\n")),
            (
                2,
                "eam: []\n# end\n".to_owned(),
                format!("eam:\n  {ADDED}\n# end\n"),
            ),
        ] {
            let file = Scratch::new(&format!("append-{number}"), &text);
            fs::set_permissions(&file.0, fs::Permissions::from_mode(0o640)).unwrap();
            let saved = appended(&file.0, &nine()).unwrap();
            saved.write().unwrap();
            assert_eq!(file.text(), expected);
            let mode = fs::metadata(&file.0).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o640);
            let entry = saved.entry.unwrap();
            assert_eq!(entry.ipv4(), nine().ipv4());
            let gone = removed(&entry).unwrap();
            assert_eq!(gone.lines_removed, 1);
            gone.write().unwrap();
            assert_eq!(
                file.text(),
                if number == 1 { block.to_owned() } else { text }
            );
        }
    }

    #[test]
    fn a_mapping_of_several_lines_is_taken_out_whole() {
        let text = "eam:\n  - ipv4: 192.0.2.9\n    ipv6: '2001:db8::'\n    name: 'a \"b\"'\n  # Keep.\n  - { ipv4: 192.0.2.1, ipv6: '2001:db8::1' }\n";
        let file = Scratch::new("several", text);
        let entries = eam_tables::parse(&file.0, text).entries;
        let gone = removed(&entries[0]).unwrap();
        gone.write().unwrap();
        assert_eq!(
            file.text(),
            "eam:\n  # Keep.\n  - { ipv4: 192.0.2.1, ipv6: '2001:db8::1' }\n"
        );
        assert_eq!(gone.lines_removed, 3);
    }

    #[test]
    fn a_file_of_unusual_form_is_left_alone() {
        let text = "eam: [{ ipv4: 192.0.2.1, ipv6: '2001:db8::1' },\n  { ipv4: 192.0.2.2, ipv6: '2001:db8::2' }]\n";
        let file = Scratch::new("unusual", text);
        let error = appended(&file.0, &nine()).unwrap_err().to_string();
        assert!(
            error.contains("edit it by hand") && error.contains(ADDED),
            "{error}"
        );
        let entries = eam_tables::parse(&file.0, text).entries;
        assert!(removed(&entries[0]).is_err());
        assert_eq!(file.text(), text);
    }
}
