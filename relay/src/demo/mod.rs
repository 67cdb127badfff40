//! `siit-relay demo`: a laboratory of network namespaces with real traffic through the real relay.
//!
//! Builds the example of RFC 7755, section 3, starts this same program as the relay in the middle, lets the kernels at both
//! ends talk through it, checks what arrives, and removes everything. Needs root and no other program. Every wait has an
//! end, so the demonstration has one too.
//!
//! | file | what is there |
//! |---|---|
//! | `lab` | namespaces, addresses and routes; what is left behind with `--keep` |
//! | `relay` | the relay's process |
//! | `traffic` | ping, TCP and UDP through the relay |
//! | `capture`, `packet`, `translation` | packets before and after translation |
//! | `patience` | waits that end |
//! | `report`, `progress` | what is shown |

mod capture;
mod error;
mod lab;
mod packet;
mod patience;
mod progress;
mod relay;
mod report;
mod traffic;
mod translation;

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::thread::{CapabilitySet, capabilities};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

pub use error::DemoError;
use error::failed;
use lab::Lab;
use patience::Patience;
use progress::Progress;
use report::{Check, Report, Style};
use traffic::{Ends, Measured, ping, tcp, udp};
use translation::Translation;

/// How long building the laboratory may take, with the relay's start; many times what it does take.
const START_LIMIT: Duration = Duration::from_secs(15);
/// How long the relay may take to stop.
const STOP_LIMIT: Duration = Duration::from_secs(5);
/// How long it may take to capture one packet of each kind.
const PACKETS_LIMIT: Duration = Duration::from_secs(5);

/// What the user wants.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Leave the laboratory and the running relay behind.
    pub keep: bool,
    /// Write JSON.
    pub json: bool,
}

/// A check by traffic.
struct Experiment {
    key: &'static str,
    title: &'static str,
    /// How long it may take; many times what it does take.
    limit: Duration,
    perform: fn(Ends<'_>) -> Result<Measured, DemoError>,
}

const EXPERIMENTS: [Experiment; 6] = [
    Experiment {
        key: "ping_v4_to_v6",
        title: "ping, client to server",
        limit: Duration::from_secs(5),
        perform: ping::v4_to_v6,
    },
    Experiment {
        key: "ping_v6_to_v4",
        title: "ping, server to client",
        limit: Duration::from_secs(5),
        perform: ping::v6_to_v4,
    },
    Experiment {
        key: "tcp_download",
        title: "TCP download",
        limit: Duration::from_secs(30),
        perform: tcp::download,
    },
    Experiment {
        key: "tcp_upload",
        title: "TCP upload",
        limit: Duration::from_secs(30),
        perform: tcp::upload,
    },
    Experiment {
        key: "udp",
        title: "UDP requests and replies",
        limit: Duration::from_secs(5),
        perform: udp::request_and_reply,
    },
    Experiment {
        key: "tcp_parallel",
        title: "parallel TCP connections",
        limit: Duration::from_secs(15),
        perform: tcp::parallel,
    },
];

/// Runs the demonstration and writes its report; returns whether all went well.
///
/// # Errors
///
/// [`DemoError`] if there is no laboratory to experiment in, or a signal came. Failed checks are in the report instead.
pub fn run(options: Options, output: &mut impl Write) -> Result<bool, DemoError> {
    check_privilege()?;
    let interrupted = interruption()?;
    let report = demonstrate(options, &interrupted)?;
    let written = match options.json {
        true => writeln!(output, "{:#}", report.to_json()),
        false => {
            let wants_none = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
            let has_colours = io::stdout().is_terminal() && !wants_none;
            report.write_text(Style { has_colours }, output)
        }
    };
    written.map_err(failed("write the report"))?;
    Ok(report.is_good())
}

fn check_privilege() -> Result<(), DemoError> {
    let needed = CapabilitySet::SYS_ADMIN | CapabilitySet::NET_ADMIN | CapabilitySet::NET_RAW;
    match capabilities(None) {
        Ok(sets) if sets.effective.contains(needed) => Ok(()),
        Ok(_) | Err(_) => Err(DemoError::Privilege),
    }
}

/// Returns a flag that the signals set which would otherwise end the process and leave the laboratory behind.
fn interruption() -> Result<Arc<AtomicBool>, DemoError> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, interrupted.clone())
            .map_err(failed("handle signals"))?;
    }
    Ok(interrupted)
}

/// Builds the laboratory, experiments in it, and removes it or leaves it behind.
fn demonstrate(options: Options, interrupted: &AtomicBool) -> Result<Report, DemoError> {
    let begin = Instant::now();
    let mut demo = Demo {
        interrupted,
        progress: Progress::new(),
        report: Report::default(),
    };
    let mut lab = demo.step("building the laboratory", START_LIMIT, Lab::build)??;
    let started = lab.relay.started_in().as_millis();
    demo.add(
        "relay_start",
        "relay starts",
        Ok(format!("translates after {started} ms").into()),
    );

    let mut translations = Vec::new();
    demo.check(
        "packets",
        "packets on the wire",
        PACKETS_LIMIT,
        |patience| {
            translations = capture::translations(lab.ends(patience))?;
            judge(&translations)
        },
    )?;
    demo.report.translations = translations;
    for experiment in &EXPERIMENTS {
        let Experiment {
            key,
            title,
            limit,
            perform,
        } = *experiment;
        demo.check(key, title, limit, |patience| perform(lab.ends(patience)))?;
    }
    if !options.keep {
        demo.check("relay_stop", "relay stops", STOP_LIMIT, |patience| {
            stop(&mut lab, patience)
        })?;
    }
    let mut report = demo.report;
    if !report.is_good() {
        report.relay_log = lab.relay.last_lines();
    }
    if options.keep {
        report.kept = Some(lab.keep());
    }
    report.seconds = begin.elapsed().as_secs_f64();
    Ok(report)
}

/// A demonstration on its way.
struct Demo<'a> {
    interrupted: &'a AtomicBool,
    progress: Progress,
    report: Report,
}

impl Demo<'_> {
    /// Performs a step. The outer error is a signal's; what failed because of it has not failed by itself.
    fn step<R>(
        &self,
        title: &str,
        limit: Duration,
        perform: impl FnOnce(Patience<'_>) -> Result<R, DemoError>,
    ) -> Result<Result<R, DemoError>, DemoError> {
        self.progress.show(title);
        let outcome = perform(Patience::new(self.interrupted, limit));
        match self.interrupted.load(Ordering::Relaxed) {
            true => Err(DemoError::Interrupted),
            false => Ok(outcome),
        }
    }

    /// Performs a step whose failure is a result, and no reason to end.
    fn check(
        &mut self,
        key: &'static str,
        title: &'static str,
        limit: Duration,
        perform: impl FnOnce(Patience<'_>) -> Result<Measured, DemoError>,
    ) -> Result<(), DemoError> {
        let outcome = self.step(title, limit, perform)?;
        self.add(key, title, outcome);
        Ok(())
    }

    fn add(
        &mut self,
        key: &'static str,
        title: &'static str,
        outcome: Result<Measured, DemoError>,
    ) {
        let outcome = outcome.map_err(|error| error.to_string());
        self.report.checks.push(Check {
            key,
            title,
            outcome,
        });
    }
}

/// Says whether every captured packet became what it should.
fn judge(translations: &[Translation]) -> Result<Measured, DemoError> {
    let problem = translations.iter().find_map(|translation| {
        let problem = translation.problem()?;
        Some(format!("{}: {problem}", translation.title()))
    });
    match problem {
        Some(problem) => Err(DemoError::Wrong(problem)),
        None => {
            let count = translations.len();
            Ok(format!("{count} of {count} as they should be, checksums right").into())
        }
    }
}

/// Stops the relay and checks that it took its XDP program along.
fn stop(lab: &mut Lab, patience: Patience<'_>) -> Result<Measured, DemoError> {
    let begin = Instant::now();
    let status = lab.relay.stop(patience)?;
    let took = begin.elapsed().as_millis();
    if !status.success() {
        return Err(DemoError::Wrong(format!(
            "after SIGTERM it ended with {status}"
        )));
    }
    let left = lab.programs_left()?;
    if !left.is_empty() {
        let left = left.join(" and ");
        return Err(DemoError::Wrong(format!(
            "it left its XDP program on {left}"
        )));
    }
    Ok(format!("{took} ms after SIGTERM, no XDP program left behind").into())
}
