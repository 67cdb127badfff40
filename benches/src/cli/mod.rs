//! The command line. Exit codes: 0 fine, 1 something failed or was interrupted, 2 wrong usage.

mod compare;
mod rfc8219;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};

use crate::chain::Chain;
use crate::interrupt;

/// Measures siit-relay, what it is compared with, and any device between two interfaces.
#[derive(Debug, Parser)]
#[command(name = "siit-bench", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure the relay beside routers and another translator, in a laboratory of network namespaces
    ///
    /// Frames come as fast as one processor can make them; what counts is how many arrive, translated rightly. One thing
    /// varies at a time: frame size, number of clients, size of the table. Needs root.
    Compare(compare::Arguments),
    /// Test a device between two interfaces as RFC 8219 and RFC 2544 ask
    ///
    /// Throughput, latency and packet delay variation, frame loss rate; frames have random addresses and ports (RFC 4814).
    /// Needs root.
    Rfc8219(rfc8219::Arguments),
}

#[derive(Debug, Args)]
struct OutputArguments {
    /// Print JSON
    #[arg(long, conflicts_with = "markdown")]
    json: bool,
    /// Print tables in Markdown
    #[arg(long)]
    markdown: bool,
    /// Write charts into a directory
    #[arg(long, value_name = "DIR")]
    svg: Option<PathBuf>,
}

impl OutputArguments {
    /// Prints in the form that is wanted, and writes the charts.
    fn give(
        &self,
        text: impl FnOnce() -> String,
        markdown: impl FnOnce() -> String,
        json: impl FnOnce() -> String,
        charts: impl FnOnce() -> Vec<(String, String)>,
    ) -> anyhow::Result<()> {
        if self.json {
            println!("{}", json());
        } else if self.markdown {
            print!("{}", markdown());
        } else {
            print!("{}", text());
        }
        self.svg
            .as_ref()
            .map_or(Ok(()), |directory| write_charts(directory, charts()))
    }
}

/// Writes charts, each with its file's name.
fn write_charts(directory: &Path, charts: Vec<(String, String)>) -> anyhow::Result<()> {
    std::fs::create_dir_all(directory)
        .with_context(|| format!("cannot make the directory {}", directory.display()))?;
    for (name, chart) in charts {
        let path = directory.join(name);
        std::fs::write(&path, chart).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Reads a duration in seconds.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|duration| *duration >= Duration::from_millis(50))
        .ok_or_else(|| "at least 0.05 seconds".to_owned())
}

/// Runs the program.
pub(crate) fn run() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = interrupt::watch()
        .context("cannot catch signals")
        .and_then(|()| match arguments.command {
            Command::Compare(arguments) => arguments.run(),
            Command::Rfc8219(arguments) => arguments.run(),
        });
    match outcome {
        Ok(()) if interrupt::requested() => {
            eprintln!("siit-bench: interrupted: this is not everything");
            ExitCode::from(1)
        }
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("siit-bench: {}", Chain(error.as_ref()));
            ExitCode::from(1)
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn seconds_are_not_too_few() {
        assert_eq!(seconds("0.2"), Ok(Duration::from_millis(200)));
        for wrong in ["0", "-1", "x", "inf"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
