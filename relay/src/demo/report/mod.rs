//! What the demonstration tells: here as JSON, in `text` for people.

mod text;

use serde_json::{Value, json};

use super::lab::Kept;
use super::packet::Packet;
use super::traffic::Measured;
use super::translation::Translation;

pub(super) use text::Style;

/// The result of one check.
#[derive(Debug)]
pub(super) struct Check {
    /// Its name for programs.
    pub(super) key: &'static str,
    /// Its name for people.
    pub(super) title: &'static str,
    /// What was measured, or why it failed.
    pub(super) outcome: Result<Measured, String>,
}

/// All that came out.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) translations: Vec<Translation>,
    pub(super) checks: Vec<Check>,
    /// How long the whole demonstration took.
    pub(super) seconds: f64,
    /// The end of the relay's log, if something failed.
    pub(super) relay_log: Vec<String>,
    /// What still stands.
    pub(super) kept: Option<Kept>,
}

impl Report {
    /// Says whether every check succeeded.
    pub(super) fn is_good(&self) -> bool {
        self.checks.iter().all(|check| check.outcome.is_ok())
    }

    /// Returns the report for programs.
    pub(super) fn to_json(&self) -> Value {
        let checks = self.checks.iter().map(|check| match &check.outcome {
            Ok(measured) => json!({
                "check": check.key,
                "ok": true,
                "measured": measured.text,
                "megabits_per_second": measured.megabits_per_second,
            }),
            Err(why) => json!({ "check": check.key, "ok": false, "why": why }),
        });
        let packets = self.translations.iter().map(|translation| {
            json!({
                "kind": translation.sent.kind.name(),
                "sent": packet_json(&translation.sent),
                "received": packet_json(&translation.received),
            })
        });
        json!({
            "ok": self.is_good(),
            "seconds": self.seconds,
            "checks": checks.collect::<Vec<_>>(),
            "packets": packets.collect::<Vec<_>>(),
            "relay_log": self.relay_log,
            "kept": self.kept,
        })
    }
}

fn packet_json(packet: &Packet) -> Value {
    json!({
        "source": packet.source,
        "destination": packet.destination,
        "hops": packet.hops,
        "checksums_ok": packet.is_sound,
    })
}

#[cfg(test)]
mod tests;
