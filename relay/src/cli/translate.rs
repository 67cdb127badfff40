//! `siit-relay translate`: the packets of a capture file, translated offline.

use super::explain::Explanation;
use crate::capture::{Packet, Reader, Writer};
use crate::offline::Offline;
use crate::tables::Tables;
use relay_core::counters::Counters;
use serde_json::json;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::ExitCode;

/// What is printed, and how.
#[derive(Clone, Copy)]
pub(super) struct Style {
    /// JSON instead of text.
    pub(super) json: bool,
    /// A line for each packet before the counters.
    pub(super) explain: bool,
}

pub(super) fn run(
    config: &Path,
    input: &Path,
    output: &Path,
    style: Style,
    report: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    let Some((config, eams)) = super::load(config) else {
        return Ok(ExitCode::FAILURE);
    };
    let tables = Tables::new(&config, eams);
    let mut relay = Offline::new(&config, tables);
    let mut reader = Reader::open(input)?;
    if is_same_file(input, output) {
        eprintln!(
            "siit-relay: {} is the input, too; write to another file",
            output.display()
        );
        return Ok(ExitCode::from(2));
    }
    let mut read = 0u64;
    let mut writer = None;
    // Of a damaged file, what comes before the damage is translated all the same.
    let mut damage = None;
    loop {
        let (link, packet) = match reader.read() {
            Ok(Some(next)) => next,
            Ok(None) => break,
            Err(error) => {
                damage = Some(error);
                break;
            }
        };
        read += 1;
        let writer = match &mut writer {
            Some(writer) => writer,
            none => none.insert(Writer::create(output, link)?),
        };
        let sent = match style.explain {
            true => {
                let account = relay.account(link, &packet.octets);
                let explanation = Explanation::new(relay.tables(), read, &packet.octets, &account);
                match style.json {
                    true => writeln!(report, "{}", explanation.as_json())?,
                    false => writeln!(report, "{}", explanation.as_text())?,
                }
                account.sent
            }
            false => relay.translate(link, &packet.octets),
        };
        for octets in sent {
            writer.write(&Packet { octets, ..packet })?;
        }
    }
    match writer {
        Some(writer) => writer.finish()?,
        None => Writer::create(output, reader.link()?)?.finish()?,
    }
    print(relay.counters(), read, style, report)?;
    match damage {
        Some(error) => Err(error.into()),
        None => Ok(ExitCode::SUCCESS),
    }
}

/// Says whether two paths lead to one file, which writing would destroy before it is read.
fn is_same_file(one: &Path, other: &Path) -> bool {
    let identify = |path: &Path| path.metadata().ok().map(|data| (data.dev(), data.ino()));
    identify(one).is_some_and(|one| identify(other) == Some(one))
}

/// Prints all counters as JSON, or those that moved as a table.
fn print(
    counters: &Counters,
    read: u64,
    style: Style,
    report: &mut impl Write,
) -> anyhow::Result<()> {
    let named = counters
        .iter()
        .map(|(name, count)| (name.to_string(), count));
    if style.json {
        let counters: serde_json::Map<_, _> =
            named.map(|(name, count)| (name, json!(count))).collect();
        let object = json!({ "packets_read": read, "counters": counters });
        // One line for each thing, where there are many.
        match style.explain {
            true => writeln!(report, "{object}")?,
            false => writeln!(report, "{object:#}")?,
        }
        return Ok(());
    }
    writeln!(report, "{read:>12} packets_read")?;
    for (name, count) in named.filter(|(_, count)| *count != 0) {
        writeln!(report, "{count:>12} {name}")?;
    }
    Ok(())
}
