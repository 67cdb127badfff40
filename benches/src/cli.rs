//! The command line. Exit codes: 0 fine, 1 something failed or was interrupted, 2 wrong usage.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, Parser, Subcommand};

use crate::cases::Case;
use crate::compare::{self, Options};
use crate::lab::{MAX_CLIENTS, MAX_EAMS};
use crate::report::{charts, json, table};
use crate::{interrupt, pin};

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
    Compare(CompareArguments),
}

#[derive(Debug, Args)]
struct CompareArguments {
    /// Seconds for each measurement
    #[arg(long, default_value = "1", value_parser = seconds)]
    duration: Duration,
    /// How often everything is measured, in turns
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Frame sizes with IPv4, with frame check sequence; the first one also stands for all while other things vary
    #[arg(long, value_delimiter = ',', default_value = "64,128,256,512,1024,1280,1518",
          value_parser = clap::value_parser!(u16).range(64..=1518))]
    sizes: Vec<u16>,
    /// Numbers of client addresses; the last one stands for all while other things vary
    #[arg(long, value_delimiter = ',', default_value = "1,65536",
          value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_CLIENTS)))]
    clients: Vec<u32>,
    /// Numbers of mappings in the table; the middle one stands for all while other things vary
    #[arg(long, value_delimiter = ',', default_value = "1,1000,1000000",
          value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_EAMS)))]
    eams: Vec<u32>,
    /// What to measure (default: everything)
    #[arg(long, value_delimiter = ',', value_enum)]
    cases: Vec<Case>,
    /// The relay's program (default: siit-relay beside this program)
    #[arg(long, value_name = "PATH")]
    relay: Option<PathBuf>,
    /// The processor that generates frames, and on which XDP programs and the kernel's forwarding run
    #[arg(long, value_name = "CPU")]
    generator_cpu: Option<usize>,
    /// The processor for devices with threads of their own
    #[arg(long, value_name = "CPU")]
    device_cpu: Option<usize>,
    #[command(flatten)]
    output: OutputArguments,
}

#[derive(Debug, Args)]
struct OutputArguments {
    /// Print JSON
    #[arg(long, conflicts_with = "markdown")]
    json: bool,
    /// Print a table in Markdown
    #[arg(long)]
    markdown: bool,
    /// Write charts into a directory
    #[arg(long, value_name = "DIR")]
    svg: Option<PathBuf>,
}

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
            Command::Compare(arguments) => compare(arguments),
        });
    match outcome {
        Ok(()) if interrupt::requested() => ExitCode::from(1),
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("siit-bench: {error:#}");
            ExitCode::from(1)
        }
    }
}

fn compare(arguments: CompareArguments) -> anyhow::Result<()> {
    let allowed = pin::allowed().context("cannot find out which processors there are")?;
    let [first, ..] = allowed[..] else {
        bail!("no processor to run on");
    };
    let all = <Case as clap::ValueEnum>::value_variants();
    let options = Options {
        duration: arguments.duration,
        rounds: arguments.rounds,
        sizes: arguments.sizes.iter().map(|size| usize::from(*size)).collect(),
        clients: arguments.clients,
        eams: arguments.eams,
        cases: if arguments.cases.is_empty() { all.to_vec() } else { arguments.cases },
        relay: arguments.relay.map_or_else(beside_this, Ok)?,
        generator_cpu: arguments.generator_cpu.unwrap_or(first),
        device_cpu: arguments
            .device_cpu
            .unwrap_or_else(|| allowed.get(1).copied().unwrap_or(first)),
    };
    let comparison = compare::run(&options)?;
    if let Some(directory) = &arguments.output.svg {
        write_charts(directory, charts::of_comparison(&comparison))?;
    }
    if arguments.output.json {
        println!("{}", json::comparison(&comparison));
    } else if arguments.output.markdown {
        print!("{}", table::markdown(&comparison));
    } else {
        print!("{}", table::text(&comparison));
    }
    Ok(())
}

fn beside_this() -> anyhow::Result<PathBuf> {
    let this = std::env::current_exe().context("cannot find this program itself")?;
    Ok(this.with_file_name("siit-relay"))
}

/// Writes charts, each with its file's name.
fn write_charts(directory: &Path, charts: Vec<(String, String)>) -> anyhow::Result<()> {
    std::fs::create_dir_all(directory)
        .with_context(|| format!("cannot make the directory {}", directory.display()))?;
    for (name, chart) in charts {
        let path = directory.join(name);
        std::fs::write(&path, chart)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
