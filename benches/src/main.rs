//! `siit-bench`: the traffic harness of siit-relay.
//!
//! | module | what is there |
//! |---|---|
//! | [`cli`] | arguments, exit codes |
//! | [`compare`] | `siit-bench compare`: the relay beside what it has to stand comparison with |
//! | [`rfc8219`] | `siit-bench rfc8219`: any device between two interfaces |
//! | [`cases`] | what is compared |
//! | [`lab`] | the namespaces that this happens in |
//! | [`traffic`] | test frames: made, and checked on arrival |
//! | [`generator`], [`receiver`] | sending and receiving them |
//! | [`driver`] | the only unsafe code |
//! | [`object`] | the XDP programs for both |
//! | [`waits`] | time that other programs took |
//! | [`statistics`] | medians, percentiles, histograms |
//! | [`report`] | tables, JSON, charts |
//! | [`chain`] | errors with their causes |

mod cases;
mod chain;
mod cli;
mod clock;
mod compare;
mod driver;
mod generator;
mod interrupt;
mod lab;
mod machine;
mod object;
mod pin;
mod process;
mod progress;
mod receiver;
mod report;
mod rfc8219;
mod statistics;
mod traffic;
mod waits;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
