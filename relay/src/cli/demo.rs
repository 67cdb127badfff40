//! `siit-relay demo`: the relay at work in a laboratory.

use std::io::Write;
use std::process::ExitCode;

use crate::demo::{self, Options};

pub(super) fn run(keep: bool, json: bool, output: &mut impl Write) -> anyhow::Result<ExitCode> {
    Ok(match demo::run(Options { keep, json }, output)? {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}
