//! `siit-relay translate`: the packets of a capture file, translated offline.

use crate::capture::{Packet, Reader, Writer};
use crate::offline::Offline;
use crate::tables::Tables;
use relay_core::counters::Counters;
use serde_json::json;
use std::io::Write;
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
    let mut read = 0u64;
    let mut writer = None;
    while let Some((link, packet)) = reader.next()? {
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
    Ok(ExitCode::SUCCESS)
}

/// Prints all counters as JSON, or those that moved as a table.
fn print(
    counters: &Counters,
    read: u64,
    json: bool,
    report: &mut impl Write,
) -> anyhow::Result<()> {
    let named = counters.iter().map(|(name, count)| (name.to_string(), count));
    if json {
        let counters: serde_json::Map<_, _> = named.map(|(name, count)| (name, json!(count))).collect();
        writeln!(report, "{:#}", json!({ "packets_read": read, "counters": counters }))?;
        return Ok(());
    }
    writeln!(report, "{read:>12} packets_read")?;
    for (name, count) in named.filter(|(_, count)| *count != 0) {
        writeln!(report, "{count:>12} {name}")?;
    }
    Ok(())
}
