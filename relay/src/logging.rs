//! The log on standard error: as text or JSON, and never the same line without end.
//!
//! Something that fails again and again says so again and again. Of equal lines only some are written; how many
//! were left out is told when they stop, or go on for long.

use clap::ValueEnum;
use serde_json::json;
use std::collections::HashMap;
use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// How many equal lines are written in a window.
const BURST: u64 = 5;
/// The length of the window.
const WINDOW: Duration = Duration::from_secs(10);

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// A line of text each.
    Text,
    /// A line of JSON each.
    Json,
}

/// Begins to log. `RUST_LOG` says how much, as usual; without it, everything but details.
pub fn begin(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(Throttle::new(format, io::stderr()));
    match format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
}

/// Writes lines, but not too many equal ones.
struct Throttle<W> {
    format: LogFormat,
    state: Mutex<State<W>>,
}

struct State<W> {
    output: W,
    /// By what a line says, without its time.
    recent: HashMap<String, Recent>,
}

/// What is known of equal lines.
struct Recent {
    since: Instant,
    count: u64,
}

impl<W: Write> Throttle<W> {
    fn new(format: LogFormat, output: W) -> Self {
        Self {
            format,
            state: Mutex::new(State {
                output,
                recent: HashMap::new(),
            }),
        }
    }

    fn line(&self, line: &[u8], now: Instant) -> io::Result<()> {
        let text = String::from_utf8_lossy(line);
        // The time ends in Z and stands in front.
        let said = text.split_once('Z').map_or(&*text, |(_, said)| said).trim();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State { output, recent } = &mut *state;
        let ended = recent.extract_if(|_, recent| now.duration_since(recent.since) >= WINDOW);
        for (said, Recent { count, .. }) in ended.filter(|(_, recent)| recent.count > BURST) {
            output.write_all(self.left_out(count - BURST, &said).as_bytes())?;
        }
        let known = recent.entry(said.to_owned()).or_insert(Recent {
            since: now,
            count: 0,
        });
        known.count += 1;
        match known.count <= BURST {
            true => output.write_all(line),
            false => Ok(()),
        }
    }

    fn left_out(&self, count: u64, said: &str) -> String {
        match self.format {
            LogFormat::Text => format!("{count} more of: {said}\n"),
            LogFormat::Json => {
                let said = said.trim_start_matches("\",");
                let note = json!({ "message": "lines left out", "count": count, "line": said });
                format!("{note}\n")
            }
        }
    }
}

/// One line on its way.
struct Line<'t, W>(&'t Throttle<W>);

impl<W: Write> Write for Line<'_, W> {
    /// Takes a whole line: the formatter writes each at once.
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.line(octets, Instant::now()).map(|()| octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'t, W: Write + 't> MakeWriter<'t> for Throttle<W> {
    type Writer = Line<'t, W>;

    fn make_writer(&'t self) -> Line<'t, W> {
        Line(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_lines_are_cut_and_counted_and_others_are_not() {
        let throttle = Throttle::new(LogFormat::Text, Vec::new());
        let begin = Instant::now();
        for number in 0..20_u64 {
            let now = begin + Duration::from_millis(number);
            let line = format!("2026-11-22T18:06:06.{number:06}Z  WARN it fails\n");
            throttle.line(line.as_bytes(), now).unwrap();
            let line = format!("2026-11-22T18:06:06.{number:06}Z  INFO number {number}\n");
            throttle.line(line.as_bytes(), now).unwrap();
        }
        let later = begin + WINDOW + Duration::from_millis(1);
        throttle
            .line(b"2026-11-22T18:06:16.5Z  WARN it fails\n", later)
            .unwrap();
        let written = throttle.state.into_inner().unwrap().output;
        let text = String::from_utf8(written).unwrap();
        assert_eq!(text.matches("it fails").count(), 5 + 1 + 1, "{text}");
        assert_eq!(text.matches("number").count(), 20);
        assert!(text.contains("15 more of: WARN it fails\n"), "{text}");
    }

    #[test]
    fn what_was_left_out_of_json_is_json() {
        let throttle = Throttle::new(LogFormat::Json, Vec::new());
        let begin = Instant::now();
        let line =
            b"{\"timestamp\":\"2026-11-22T18:06:06.1Z\",\"level\":\"WARN\",\"message\":\"no\"}\n";
        for _ in 0..7 {
            throttle.line(line, begin).unwrap();
        }
        throttle.line(line, begin + WINDOW).unwrap();
        let written = throttle.state.into_inner().unwrap().output;
        let text = String::from_utf8(written).unwrap();
        let values: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(values.len(), 7);
        assert_eq!(values[5]["count"], 2);
    }
}
