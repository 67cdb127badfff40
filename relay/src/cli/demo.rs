//! `siit-relay demo`: the relay at work in a laboratory.

use std::io::{self, Write};
use std::process::ExitCode;

use tracing::Level;

use crate::demo::{self, Options};

pub(super) fn run(keep: bool, json: bool, output: &mut impl Write) -> anyhow::Result<ExitCode> {
    // What cannot be removed at the end is only logged.
    let log = tracing_subscriber::fmt().with_max_level(Level::WARN);
    log.without_time()
        .with_target(false)
        .with_ansi(false)
        .with_writer(io::stderr)
        .init();
    Ok(match demo::run(Options { keep, json }, output)? {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}
