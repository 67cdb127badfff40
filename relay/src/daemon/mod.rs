//! The daemon: setting everything up, then the control thread.
//!
//! Setting up goes from the bottom to the top, and the XDP program is attached last, when workers are
//! ready for what it redirects. Stopping goes the other way, and so does undoing what a failure on the way
//! up leaves behind.

mod control;
mod ports;
mod workers;

use crate::config::Config;
use crate::driver::bpf::{BpfError, XdpProgram};
use crate::driver::kernel::{Handover, HandoverError};
use crate::paths::Senders;
use crate::routes::{Mirror, MirrorError};
use crate::stats::WorkerCounters;
use crate::tables::Tables;
use crate::worker::Shared;
use control::{Control, ErrorCounters, Errors};
use eam_tables::layout::XdpCounter;
use ports::Ports;
use signal_hook::consts::{SIGINT, SIGTERM};
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use tracing::{info, warn};
use workers::Workers;

/// The most ICMP errors that wait for the control thread.
const REQUESTS: usize = 4096;

/// Why the daemon cannot start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// An interface of the configuration is not on this machine.
    #[error("{place}: interface `{name}` is not on this machine")]
    NoInterface {
        /// Where the configuration names it.
        place: eam_tables::Place,
        /// Its name.
        name: String,
    },
    /// An interface cannot be used.
    #[error("{place}: interface `{name}`: {why}")]
    UnfitInterface {
        /// Where the configuration names it.
        place: eam_tables::Place,
        /// Its name.
        name: String,
        /// What it lacks.
        why: String,
    },
    /// The XDP program cannot be loaded or attached.
    #[error(transparent)]
    Bpf(#[from] BpfError),
    /// An AF_XDP socket cannot be opened or failed.
    #[error(transparent)]
    AfXdp(#[from] af_xdp::Error),
    /// The kernel's routes and neighbours cannot be read.
    #[error(transparent)]
    Mirror(#[from] MirrorError),
    /// Packets cannot be handed to the kernel.
    #[error(transparent)]
    Handover(#[from] HandoverError),
    /// A system call failed.
    #[error("cannot {action}: {source}")]
    System {
        /// What was to be done.
        action: &'static str,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A worker ended by itself.
    #[error("a worker ended unexpectedly; see the log above")]
    WorkerEnded,
}

fn failed(action: &'static str) -> impl FnOnce(io::Error) -> DaemonError {
    move |source| DaemonError::System { action, source }
}

/// Translates packets until a signal comes.
///
/// # Errors
///
/// [`DaemonError`] names what could not be set up, or what ended the daemon.
pub fn run(config: &Config, tables: Tables) -> Result<(), DaemonError> {
    let signals = signals()?;
    let mut mirror = Mirror::open()?;
    let mut ports = Ports::find(config, &mirror)?;
    let mut program = XdpProgram::load()?;
    ports.claim(&mut program, &tables, &mirror)?;

    let senders = Senders {
        configured: config.icmp.own,
        ..Senders::default()
    };
    let live = control::picture(&mut mirror, &ports, config.mtu, &senders);
    let shared = Arc::new(Shared::new(tables, live).map_err(failed("make an event descriptor"))?);
    let (requests, waiting) = crossbeam::channel::bounded(REQUESTS);
    let errors = Errors::new(&config.icmp, waiting, Handover::open()?);
    let workers = Workers::start(config, &ports, &mut program, &shared, &requests)?;
    ports.set_takes_long_packets(workers.take_long_packets());
    if let Err(error) = ports.attach(&mut program) {
        workers.stop(&shared);
        return Err(error);
    }
    info!("translating");

    let mut control = Control {
        signals,
        mirror: &mut mirror,
        ports: &mut ports,
        program: &mut program,
        mtu: config.mtu,
        shared: &shared,
        workers: &workers,
        errors,
    };
    let outcome = control.run();
    let errors = control.errors;
    let xdp_counters = program.detach();
    info!("XDP program detached");
    let counters = workers.stop(&shared);
    let xdp_counters = xdp_counters.unwrap_or_else(|error| {
        warn!("{error}");
        Vec::new()
    });
    report(&counters, &errors.finish(&shared), xdp_counters);
    outcome
}

/// Returns a stream that becomes readable when the daemon is told to stop.
fn signals() -> Result<UnixStream, DaemonError> {
    let (reader, writer) = UnixStream::pair().map_err(failed("make a socket pair"))?;
    for signal in [SIGINT, SIGTERM] {
        let writer = writer.try_clone().map_err(failed("make a socket pair"))?;
        signal_hook::low_level::pipe::register(signal, writer).map_err(failed("handle signals"))?;
    }
    Ok(reader)
}

/// Logs every counter that moved.
fn report(workers: &WorkerCounters, errors: &ErrorCounters, program: Vec<(XdpCounter, u64)>) {
    let mut sum = *workers;
    sum.verdicts.add(&errors.verdicts);
    let control = [
        ("kernel_icmp_errors", errors.sent),
        ("limited_replies", errors.limited),
        ("lost_icmp_errors_refused", errors.refused),
    ];
    let control = control.map(|(name, count)| (name.to_owned(), count));
    let program = program
        .into_iter()
        .map(|(counter, count)| (counter.name().to_owned(), count));
    let moved = sum
        .list()
        .into_iter()
        .chain(control)
        .chain(program)
        .filter(|(_, count)| *count != 0);
    for (name, count) in moved {
        info!("{name} {count}");
    }
}
