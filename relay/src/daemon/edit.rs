//! Changes of single mappings at runtime, checked as the loader checks files.
//!
//! What was changed lasts until the next reload, which goes back to the files; unless it was saved.

use super::loader::{Base, Loaded, prepare};
use super::save::{self, Saved};
use crate::control::{Edit, Refusal};
use eam_tables::{Eam, Place, parse_ipv4_prefix};
use ipnet::Ipv4Net;
use std::path::Path;
use std::sync::Arc;

/// Where mappings stand that were added at runtime. Lines of files count from 1.
fn nowhere() -> Place {
    Place {
        path: Arc::from(Path::new("runtime")),
        line: 0,
        column: 0,
    }
}

/// Carries a change out, as far as it goes without publishing it. The file is written when nothing else can fail.
pub(super) fn edit(edit: &Edit, base: &Base) -> Loaded {
    let (prepared, saved) = match edit {
        Edit::Add {
            ipv4,
            ipv6,
            name,
            save,
        } => {
            let eam = read(ipv4, ipv6, name.as_deref())?;
            let warnings = conflicts(&eam, base.tables.eam.entries())?;
            let saved = match save {
                true => Some(appended(&eam, base)?),
                false => None,
            };
            let eam = match &saved {
                Some(saved) => saved.entry.clone().unwrap_or(eam),
                None => eam,
            };
            let mut entries = base.tables.eam.entries().to_vec();
            entries.push(eam);
            let mut prepared = prepare((*base.config).clone(), entries, base)?;
            prepared.change.warnings = warnings;
            (prepared, saved)
        }
        Edit::Delete { ipv4, save } => {
            let prefix = parse_ipv4_prefix(ipv4).map_err(Refusal::because)?;
            let entries = base.tables.eam.entries();
            let found = entries.iter().position(|eam| eam.ipv4() == prefix);
            let index = found.ok_or_else(|| no_mapping(prefix, entries))?;
            let mut entries = entries.to_vec();
            let eam = entries.remove(index);
            let saved = match *save && eam.place().line != 0 {
                true => {
                    let saved = save::removed(&eam).map_err(Refusal::because)?;
                    move_up(&mut entries, eam.place(), saved.lines_removed);
                    Some(saved)
                }
                false => None,
            };
            let mut prepared = prepare((*base.config).clone(), entries, base)?;
            if saved.is_none() && eam.place().line != 0 {
                let note = format!(
                    "it is still at {}; the next reload brings it back",
                    eam.place()
                );
                prepared.change.warnings.push(note);
            }
            (prepared, saved)
        }
    };
    if let Some(saved) = saved {
        saved.write().map_err(Refusal::because)?;
    }
    Ok(prepared)
}

/// Reads a mapping with the words and the checks of the file loader.
fn read(ipv4: &str, ipv6: &str, name: Option<&str>) -> Result<Eam, Refusal> {
    let loaded = eam_tables::parse(Path::new("runtime"), &save::file_of(ipv4, ipv6, name));
    match loaded.entries.as_slice() {
        [eam] if !loaded.has_errors() => {
            Eam::new(eam.ipv4(), eam.ipv6(), eam.name().map(Box::from), nowhere())
                .map_err(Refusal::because)
        }
        _ => Err(Refusal {
            problems: loaded
                .problems
                .into_iter()
                .map(|problem| problem.message)
                .collect(),
        }),
    }
}

/// Refuses a mapping whose prefixes are taken, and warns of those that it lies in or that lie in it.
fn conflicts(eam: &Eam, entries: &[Eam]) -> Result<Vec<String>, Refusal> {
    let mut taken = Vec::new();
    let mut nested = Vec::new();
    let at = |other: &Eam| match other.place().line {
        0 => "at runtime".to_owned(),
        _ => format!("at {}", other.place()),
    };
    let mut warn = |inner: String, outer: String, other: &Eam| {
        nested.push(format!(
            "{inner} lies inside {outer} (mapped {}); the longer prefix wins, so the two directions may differ (RFC 7757, 5)",
            at(other)
        ));
    };
    for other in entries {
        let (ours, theirs) = (eam.ipv4(), other.ipv4());
        if ours == theirs {
            taken.push(format!("{ours} is mapped already {}", at(other)));
        } else if theirs.contains(&ours) {
            warn(ours.to_string(), theirs.to_string(), other);
        } else if ours.contains(&theirs) {
            warn(theirs.to_string(), ours.to_string(), other);
        }
        let (ours, theirs) = (eam.ipv6(), other.ipv6());
        if ours == theirs {
            taken.push(format!("{ours} is mapped already {}", at(other)));
        } else if theirs.contains(&ours) {
            warn(ours.to_string(), theirs.to_string(), other);
        } else if ours.contains(&theirs) {
            warn(theirs.to_string(), ours.to_string(), other);
        }
    }
    nested.truncate(20);
    match taken.is_empty() {
        true => Ok(nested),
        false => Err(Refusal { problems: taken }),
    }
}

fn no_mapping(prefix: Ipv4Net, entries: &[Eam]) -> Refusal {
    let around = entries.iter().find(|eam| eam.ipv4().contains(&prefix));
    Refusal::because(match around {
        Some(eam) => format!(
            "{prefix} has no mapping of its own; it lies inside {}",
            eam.ipv4()
        ),
        None => format!("{prefix} has no mapping"),
    })
}

fn appended(eam: &Eam, base: &Base) -> Result<Saved, Refusal> {
    let path = base
        .config
        .eam
        .first()
        .ok_or_else(|| Refusal::because("the configuration names no EAM file to save to"))?;
    save::appended(path, eam).map_err(Refusal::because)
}

/// Follows the lines of a file that others were taken out of.
fn move_up(entries: &mut [Eam], removed: &Place, lines: u32) {
    for eam in entries {
        let place = eam.place();
        if place.path == removed.path && place.line > removed.line {
            let place = Place {
                line: place.line - lines,
                ..place.clone()
            };
            *eam = Eam::new(eam.ipv4(), eam.ipv6(), eam.name().map(Box::from), place)
                .expect("it was valid at another place");
        }
    }
}
