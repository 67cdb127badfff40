//! The report for people: packets before and after translation, and a table of results.

use std::fmt::Write as _;
use std::io::{self, Write};

use super::super::lab::{CLIENT_V4, CLIENT_V6, Kept, PREFIX, SERVICE_V4, SERVICE_V6};
use super::super::packet::Packet;
use super::super::translation::Address;
use super::{Check, Report};

/// The width of the longest line, in characters.
pub(super) const WIDTH: usize = 100;
/// The widths of the table's first column and of its last.
const TITLE_WIDTH: usize = 30;
const VERDICT_WIDTH: usize = 6;
/// What is left for the column between, with two spaces on each side and an indent of two.
const MEASURED_WIDTH: usize = WIDTH - TITLE_WIDTH - VERDICT_WIDTH - 6;

/// Colours, where they are wanted.
#[derive(Clone, Copy, Debug)]
pub(in crate::demo) struct Style {
    pub(in crate::demo) has_colours: bool,
}

impl Style {
    fn paint(self, code: u8, text: &str) -> String {
        match self.has_colours {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }

    fn bold(self, text: &str) -> String {
        self.paint(1, text)
    }

    fn dim(self, text: &str) -> String {
        self.paint(2, text)
    }

    fn good(self, text: &str) -> String {
        self.paint(32, text)
    }

    fn bad(self, text: &str) -> String {
        self.paint(31, text)
    }
}

impl Report {
    /// Writes the report for people.
    pub(in crate::demo) fn write_text(
        &self,
        style: Style,
        output: &mut impl Write,
    ) -> io::Result<()> {
        let mut text = String::new();
        self.format(style, &mut text).map_err(io::Error::other)?;
        output.write_all(text.as_bytes())
    }

    fn format(&self, style: Style, text: &mut String) -> std::fmt::Result {
        let title = "The example of RFC 7755, section 3, in network namespaces";
        writeln!(text, "{}", style.bold(title))?;
        let clients = format!("has IPv4 only; translated by {PREFIX}/96");
        let service = "has IPv6 only; translated by an EAM";
        for (name, v4, v6, what) in [
            (
                "client",
                CLIENT_V4.into(),
                CLIENT_V6.into(),
                clients.as_str(),
            ),
            ("service", SERVICE_V4.into(), SERVICE_V6.into(), service),
        ] {
            let (v4, v6) = (Address(v4), Address(v6));
            writeln!(text, "  {name:<7}  {v4:<12} <-> {v6:<25}  {what}")?;
        }
        if !self.translations.is_empty() {
            let title = "What packets were, and what they became";
            writeln!(text, "\n{}", style.bold(title))?;
        }
        for translation in &self.translations {
            writeln!(text, "  {}", translation.title())?;
            for packet in [&translation.sent, &translation.received] {
                writeln!(text, "    {}", describe(packet, style))?;
            }
        }
        writeln!(text, "\n{}", style.bold("Results"))?;
        for check in &self.checks {
            row(check, style, text)?;
        }
        let (count, seconds) = (self.checks.len(), self.seconds);
        let failed = self
            .checks
            .iter()
            .filter(|check| check.outcome.is_err())
            .count();
        match failed {
            0 => writeln!(text, "\nAll {count} checks are ok; it took {seconds:.1} s.")?,
            _ => writeln!(
                text,
                "\n{failed} of {count} checks failed; it took {seconds:.1} s."
            )?,
        }
        if !self.relay_log.is_empty() {
            writeln!(text, "\n{}", style.bold("The end of the relay's log"))?;
            for line in &self.relay_log {
                writeln!(text, "  {line}")?;
            }
            if self.kept.is_none() {
                writeln!(text, "With --keep, the laboratory and the whole log stay.")?;
            }
        }
        match &self.kept {
            Some(kept) => directions(kept, style, text),
            None => Ok(()),
        }
    }
}

fn describe(packet: &Packet, style: Style) -> String {
    let addresses = format!(
        "{} -> {}",
        Address(packet.source),
        Address(packet.destination)
    );
    let (protocol, lifetime) = (packet.protocol(), packet.lifetime());
    let checksum = match packet.is_sound {
        true => style.good("checksum ok"),
        false => style.bad("checksum WRONG"),
    };
    format!("{addresses:<47}  {protocol:<15}  {lifetime:<13}  {checksum}")
}

/// Writes one check as a row; what does not fit goes on in the next line.
fn row(check: &Check, style: Style, text: &mut String) -> std::fmt::Result {
    let (measured, verdict) = match &check.outcome {
        Ok(measured) => (measured.text.as_str(), style.good("ok")),
        Err(why) => (why.as_str(), style.bad("FAILED")),
    };
    let mut title = check.title;
    let mut verdict = Some(verdict);
    for line in wrap(measured, MEASURED_WIDTH) {
        match verdict.take() {
            Some(verdict) => {
                writeln!(
                    text,
                    "  {title:<TITLE_WIDTH$}  {line:<MEASURED_WIDTH$}  {verdict}"
                )?;
            }
            None => writeln!(text, "  {title:<TITLE_WIDTH$}  {line}")?,
        }
        title = "";
    }
    Ok(())
}

/// Breaks a text between words, into at least one line.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there is one from the start");
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= width {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

/// Writes how to use what still stands, and how to remove it.
fn directions(kept: &Kept, style: Style, text: &mut String) -> std::fmt::Result {
    let Kept {
        name,
        relay_pid,
        directory,
    } = kept;
    let directory = directory.display();
    let enter = |part| format!("nsenter --net=/run/netns/{name}-{part}");
    writeln!(text, "\n{}", style.bold("The laboratory still stands"))?;
    let rows = [
        (
            "try it",
            format!("ip netns exec {name}-client ping {SERVICE_V4}"),
        ),
        ("enter", enter("client")),
        ("", enter("relay")),
        ("", enter("server")),
        (
            "look at",
            format!("{directory}/relay.yaml, eam.yaml, relay.log"),
        ),
        ("stop the relay", format!("kill {relay_pid}")),
        (
            "remove it all",
            format!("kill {relay_pid}; rm -r {directory}"),
        ),
        (
            "",
            format!("for n in client relay server; do ip netns delete {name}-$n; done"),
        ),
    ];
    for (what, how) in rows {
        writeln!(text, "  {}{how}", style.dim(&format!("{what:<16}")))?;
    }
    Ok(())
}
