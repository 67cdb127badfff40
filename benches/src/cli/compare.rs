//! `siit-bench compare`: its arguments.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;

use super::{OutputArguments, seconds};
use crate::cases::Case;
use crate::compare::{self, Options};
use crate::lab::{MAX_CLIENTS, MAX_EAMS};
use crate::pin;
use crate::report::{charts, json, table};

#[derive(Debug, Args)]
pub(super) struct Arguments {
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

impl Arguments {
    /// Compares.
    pub(super) fn run(self) -> anyhow::Result<()> {
        let allowed = pin::allowed().context("cannot find out which processors there are")?;
        let [first, ..] = allowed[..] else {
            bail!("no processor to run on");
        };
        let all = <Case as clap::ValueEnum>::value_variants();
        let options = Options {
            duration: self.duration,
            rounds: self.rounds,
            sizes: self.sizes.iter().map(|size| usize::from(*size)).collect(),
            clients: self.clients,
            eams: self.eams,
            cases: if self.cases.is_empty() {
                all.to_vec()
            } else {
                self.cases
            },
            relay: self.relay.map_or_else(beside_this, Ok)?,
            generator_cpu: self.generator_cpu.unwrap_or(first),
            device_cpu: self
                .device_cpu
                .unwrap_or_else(|| allowed.get(1).copied().unwrap_or(first)),
        };
        let comparison = compare::run(&options)?;
        self.output.give(
            || table::text(&comparison),
            || table::markdown(&comparison),
            || json::comparison(&comparison),
            || charts::of_comparison(&comparison),
        )
    }
}

fn beside_this() -> anyhow::Result<PathBuf> {
    let this = std::env::current_exe().context("cannot find this program itself")?;
    Ok(this.with_file_name("siit-relay"))
}
