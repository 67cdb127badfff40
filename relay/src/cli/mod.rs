//! The command line: arguments, subcommands and exit codes. Each subcommand is a file of its own.
//!
//! Exit codes: 0 fine, 1 the answer is no (a problem found, a test failed), 2 wrong usage.

mod ask;
mod check;
mod demo;
mod eam;
mod explain;
mod query;
mod rule;
mod run;
mod stop;
mod top;
mod trace;
mod translate;

use crate::config::{self, Config};
use crate::control::protocol::Request;
use crate::logging::LogFormat;
use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use eam_tables::Eam;
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// A SIIT-DC border relay: stateless translation between IPv4 and IPv6 at the edge of a data centre.
#[derive(Debug, Parser)]
#[command(name = "siit-relay", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Translate packets between the configured interfaces until told to stop
    ///
    /// Stays in the foreground and logs to standard error. SIGINT and SIGTERM stop it cleanly.
    ///
    /// SIGHUP has it read its files again. RUST_LOG says how much is logged.
    Run {
        #[command(flatten)]
        config: ConfigArguments,
        /// How the log is written
        #[arg(long, value_enum, default_value = "text")]
        log_format: LogFormat,
    },
    /// Check the configuration and its EAM files; tell every problem at once
    ///
    /// Each problem is a line of the form `file:line:column: message`. Exit code 1 if any is an error.
    Check {
        #[command(flatten)]
        config: ConfigArguments,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Tell what addresses become, and by which rule
    ///
    /// For each address also what happens to packets to it and from it, with the clause of the RFC and the counter that
    /// they move.
    Query {
        #[command(flatten)]
        config: ConfigArguments,
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// IPv4 and IPv6 addresses
        #[arg(required = true, value_name = "ADDR")]
        addresses: Vec<IpAddr>,
    },
    /// Translate the packets of a capture file, without a network and without privileges
    ///
    /// Reads pcap and pcapng with Ethernet or raw IP packets; writes what the relay would send. Then prints the counters
    /// that moved.
    Translate {
        #[command(flatten)]
        config: ConfigArguments,
        /// Print JSON: all counters, and with --explain, one line for each packet and one for the counters
        #[arg(long)]
        json: bool,
        /// Print a line for each packet: what became of it, by which rules, and in which counters it is
        #[arg(long)]
        explain: bool,
        /// The capture to read
        #[arg(value_name = "IN.pcap")]
        input: PathBuf,
        /// The capture to write
        #[arg(value_name = "OUT.pcap")]
        output: PathBuf,
    },
    /// Show the relay at work: a laboratory of network namespaces with real traffic through it
    ///
    /// An IPv4-only client talks to an IPv6-only server by ping, TCP and UDP. Needs root and no other program,
    /// touches no existing interface, and removes everything again. Exit code 1 if anything failed.
    Demo {
        /// Leave the laboratory and the running relay behind, and tell how to use and how to remove them
        #[arg(long)]
        keep: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Tell how the running relay is: generation, interfaces, workers, the last reload
    Status(SocketArguments),
    /// Print the counters of the running relay
    Stats {
        #[command(flatten)]
        socket: SocketArguments,
        /// Print those at zero, too
        #[arg(long)]
        all: bool,
    },
    /// Have the running relay read its files again
    ///
    /// If anything is wrong with them it goes on as it was; all problems are printed, exit code 1.
    Reload(SocketArguments),
    /// Show and change the mappings of the running relay
    #[command(subcommand)]
    Eam(eam::EamCommand),
    /// Show rates of the running relay, renewed every second
    Top {
        #[command(flatten)]
        socket: SocketArguments,
        /// Seconds between two looks
        #[arg(long, default_value_t = 1.0, value_parser = interval)]
        interval: f64,
        /// How often to look before ending; without it, until interrupted
        #[arg(long)]
        count: Option<u64>,
    },
    /// Show packets on their way through the running relay: what becomes of each, by which rule and counter
    ///
    /// Packets beyond the limit are counted and not shown; translation never waits for this.
    Trace(trace::PacketArguments),
    /// Write packets on their way into a capture file (pcapng), as they come and as they leave, with what became of them
    Capture {
        #[command(flatten)]
        packets: trace::PacketArguments,
        /// Only dropped packets
        #[arg(long, required_unless_present = "all", conflicts_with_all = ["all", "counter"])]
        dropped: bool,
        /// All packets
        #[arg(long)]
        all: bool,
        /// The capture to write
        #[arg(value_name = "OUT.pcapng")]
        output: PathBuf,
    },
    /// Have traffic go elsewhere: /readyz says no, packets are translated as before
    Drain(SocketArguments),
    /// Have traffic come again: /readyz says yes
    Undrain(SocketArguments),
    /// Stop the running relay, and wait until it has ended
    ///
    /// With `pin` in its configuration and `fast_path: xdp`, the XDP program goes on translating, until the next relay puts
    /// its own in that place.
    Stop {
        /// The control socket of the running relay; without it, that of --config
        #[arg(long, value_name = "PATH")]
        socket: Option<PathBuf>,
        /// The configuration of the relay
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Detach the XDP program, too, and leave nothing behind; with --config also when no relay is running
        #[arg(long)]
        detach: bool,
    },
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page
    Man,
}

#[derive(Debug, clap::Args)]
struct ConfigArguments {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

/// The way to a running relay.
#[derive(Debug, clap::Args)]
struct SocketArguments {
    /// The control socket of the running relay
    #[arg(long, value_name = "PATH", default_value = config::DEFAULT_SOCKET)]
    socket: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn interval(text: &str) -> Result<f64, &'static str> {
    match text.parse() {
        Ok(seconds) if (0.1..=3600.0).contains(&seconds) => Ok(seconds),
        Ok(_) | Err(_) => Err("must be a number of seconds from 0.1 to 3600"),
    }
}

/// Runs the command line that the process was started with.
pub fn main() -> ExitCode {
    match Arguments::parse().command.run() {
        Ok(code) => code,
        Err(error) => {
            // A closed pipe, as left behind by `head`, is nobody's fault.
            let is_closed_pipe = error.chain().any(|cause| {
                let cause = cause.downcast_ref::<io::Error>();
                cause.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
            });
            if !is_closed_pipe {
                eprintln!("siit-relay: {}", explain(&error));
            }
            ExitCode::FAILURE
        }
    }
}

impl Command {
    fn run(self) -> anyhow::Result<ExitCode> {
        let mut output = io::stdout().lock();
        match self {
            Self::Run { config, log_format } => run::run(&config.config, log_format),
            Self::Check { config, json } => check::run(&config.config, json, &mut output),
            Self::Query {
                config,
                json,
                addresses,
            } => query::run(&config.config, &addresses, json, &mut output),
            Self::Translate {
                config,
                json,
                explain,
                input,
                output: to,
            } => {
                let style = translate::Style { json, explain };
                translate::run(&config.config, &input, &to, style, &mut output)
            }
            Self::Demo { keep, json } => demo::run(keep, json, &mut output),
            Self::Status(socket) => {
                ask::ask(&socket, &Request::Status {}, &mut output, ask::status)
            }
            Self::Stats { socket, all } => {
                ask::ask(&socket, &Request::Stats {}, &mut output, |result, lines| {
                    ask::stats(result, all, lines);
                })
            }
            Self::Reload(socket) => {
                ask::ask(&socket, &Request::Reload {}, &mut output, ask::change)
            }
            Self::Eam(command) => eam::run(command, &mut output),
            Self::Top {
                socket,
                interval,
                count,
            } => top::run(
                &socket,
                Duration::from_secs_f64(interval),
                count,
                &mut output,
            ),
            Self::Trace(packets) => trace::trace(&packets, &mut output),
            Self::Capture {
                packets,
                dropped,
                all: _,
                output: path,
            } => trace::capture(&packets, dropped, &path, &mut output),
            Self::Drain(socket) => ask::ask(&socket, &Request::Drain {}, &mut output, ask::drain),
            Self::Undrain(socket) => {
                ask::ask(&socket, &Request::Undrain {}, &mut output, ask::drain)
            }
            Self::Stop {
                socket,
                config,
                detach,
            } => stop::run(socket, config.as_deref(), detach, &mut output),
            Self::Completions { shell } => {
                // The generator panics when it cannot write, so it writes to memory.
                let mut script = Vec::new();
                let mut command = Arguments::command();
                clap_complete::generate(shell, &mut command, "siit-relay", &mut script);
                output.write_all(&script)?;
                Ok(ExitCode::SUCCESS)
            }
            Self::Man => {
                clap_mangen::Man::new(Arguments::command()).render(&mut output)?;
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

/// Shows an error with those of its causes that it does not name itself.
fn explain(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// Loads a configuration that has to be usable; problems go to standard error.
fn load(path: &Path) -> Option<(Config, Vec<Eam>)> {
    let loaded = config::load(path);
    for problem in &loaded.problems {
        eprintln!("{problem}");
    }
    loaded.usable
}
