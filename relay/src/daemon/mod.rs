//! The daemon: setting everything up, then the control thread.
//!
//! Setting up goes from the bottom to the top, and the XDP program is attached last, when workers are
//! ready for what it redirects. Stopping goes the other way. Whatever fails on the way up is undone by
//! dropping what is already there.

mod ports;
mod workers;

use crate::config::{Config, MtuOverride};
use crate::driver::bpf::{BpfError, XdpProgram};
use crate::driver::kernel::HandoverError;
use crate::paths::Live;
use crate::routes::{Mirror, MirrorError};
use crate::stats::WorkerCounters;
use crate::tables::Tables;
use crate::worker::Shared;
use ports::Ports;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use signal_hook::consts::{SIGINT, SIGTERM};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tracing::info;
use workers::Workers;

/// How often neighbours in use are confirmed, and other things that no event announces are looked at.
const HOUSEKEEPING: Duration = Duration::from_secs(1);
/// How long to gather changes of the network before workers get a new picture of it.
const GATHER: Duration = Duration::from_millis(20);

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
    let mut signals = signals()?;
    let mut mirror = Mirror::open()?;
    let mut ports = Ports::find(config, &mirror)?;
    let mut program = XdpProgram::load()?;
    ports.claim(&mut program, &tables, &mirror)?;

    let live = picture(&mut mirror, &ports, config.mtu);
    let shared = Arc::new(Shared::new(tables, live).map_err(failed("make an event descriptor"))?);
    let workers = Workers::start(config, &ports, &mut program, &shared)?;
    ports.attach(&mut program)?;
    info!("translating");

    let outcome = control(
        &mut signals,
        &mut mirror,
        &mut ports,
        &mut program,
        config.mtu,
        &shared,
        &workers,
    );
    // The counters of the program go with it.
    let xdp_counters = program.counters();
    drop(program);
    info!("XDP program detached");
    let counters = workers.stop(&shared);
    report(&counters, xdp_counters?);
    outcome
}

/// The control thread: follows the kernel's tables and waits for signals.
fn control(
    signals: &mut UnixStream,
    mirror: &mut Mirror,
    ports: &mut Ports,
    program: &mut XdpProgram,
    mtu: MtuOverride,
    shared: &Shared,
    workers: &Workers,
) -> Result<(), DaemonError> {
    let mut housekeeping = Instant::now() + HOUSEKEEPING;
    let mut publication: Option<Instant> = None;
    loop {
        let next = publication.map_or(housekeeping, |publication| publication.min(housekeeping));
        let wait = next.saturating_duration_since(Instant::now());
        let wait = Timespec {
            tv_sec: wait.as_secs() as i64,
            tv_nsec: i64::from(wait.subsec_nanos()),
        };
        let mut descriptors = [
            PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(mirror.as_fd(), PollFlags::IN),
        ];
        // An interruption is a signal, which the next turn finds.
        let _ = poll(&mut descriptors, Some(&wait));
        if descriptors[0].revents().contains(PollFlags::IN) {
            let mut number = [0; 16];
            let _ = signals.read(&mut number);
            info!("stopping");
            return Ok(());
        }
        mirror.process_events()?;
        let now = Instant::now();
        if mirror.is_dirty() && now >= *publication.get_or_insert(now + GATHER) {
            publication = None;
            ports.follow(program, mirror)?;
            shared.live.store(Arc::new(picture(mirror, ports, mtu)));
        }
        if now >= housekeeping {
            housekeeping = now + HOUSEKEEPING;
            mirror.confirm_used_neighbours();
            if workers.any_ended() {
                return Err(DaemonError::WorkerEnded);
            }
        }
    }
}

fn picture(mirror: &mut Mirror, ports: &Ports, mtu: MtuOverride) -> Live {
    let routes = mirror.snapshot(&ports.indices());
    Live::new(routes, mirror.own_addresses(), mtu)
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
fn report(workers: &WorkerCounters, program: Vec<(eam_tables::layout::XdpCounter, u64)>) {
    let program = program
        .into_iter()
        .map(|(counter, count)| (counter.name().to_owned(), count));
    let moved = workers
        .list()
        .into_iter()
        .chain(program)
        .filter(|(_, count)| *count != 0);
    for (name, count) in moved {
        info!("{name} {count}");
    }
}
