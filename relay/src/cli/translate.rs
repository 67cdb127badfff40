//! `siit-relay translate`: the packets of a capture file, translated offline.

use crate::capture::{Packet, Reader, Writer};
use crate::offline::Offline;
use crate::tables::Tables;
use relay_core::counters::Counters;
use serde_json::json;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::ExitCode;

pub(super) fn run(
    config: &Path,
    input: &Path,
    output: &Path,
    json: bool,
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
        for octets in relay.translate(link, &packet.octets) {
            writer.write(&Packet { octets, ..packet })?;
        }
    }
    match writer {
        Some(writer) => writer.finish()?,
        None => Writer::create(output, reader.link()?)?.finish()?,
    }
    print(relay.counters(), read, json, report)?;
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
    json: bool,
    report: &mut impl Write,
) -> anyhow::Result<()> {
    let named = counters
        .iter()
        .map(|(name, count)| (name.to_string(), count));
    if json {
        let counters: serde_json::Map<_, _> =
            named.map(|(name, count)| (name, json!(count))).collect();
        writeln!(
            report,
            "{:#}",
            json!({ "packets_read": read, "counters": counters })
        )?;
        return Ok(());
    }
    writeln!(report, "{read:>12} packets_read")?;
    for (name, count) in named.filter(|(_, count)| *count != 0) {
        writeln!(report, "{count:>12} {name}")?;
    }
    Ok(())
}
