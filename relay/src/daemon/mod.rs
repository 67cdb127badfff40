//! The daemon: setting everything up, then the control thread.
//!
//! Setting up goes from the bottom to the top, and the XDP program is attached last, when workers are
//! ready for what it redirects. Where an earlier relay has left a program, the new one knows all that it has to know before it
//! takes that one's place. Stopping goes the other way, and so does undoing what a failure on the way up leaves behind;
//! a program that is pinned stays.

mod changes;
mod control;
mod edit;
mod loader;
mod look;
mod mailbox;
mod placement;
mod ports;
mod publish;
mod rewire;
mod save;
mod service;
mod sockets;
mod watch;
mod workers;

use crate::config::{Config, FastPath as Choice};
use crate::control::{Access, Health, ListenError, Listener};
use crate::driver::bpf::BpfError;
use crate::driver::kernel::{Handover, HandoverError};
use crate::driver::pins::{PinError, Pins};
use crate::driver::xdp_counters::XdpCounters;
use crate::fast_path::Departure;
use crate::paths::Live;
use crate::routes::{Mirror, MirrorError};
use crate::stats::Totals;
use crate::tables::Tables;
use crate::worker::Shared;
use changes::Changes;
use control::{Control, Errors, Letter, Signals};
use crossbeam::channel::Sender;
use loader::Job;
use mailbox::{Mailbox, Post};
use ports::Ports;
use publish::Plan;
use service::Service;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tracing::{info, warn};
use watch::Watch;
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
    /// The directory for what stays when the process ends belongs to another relay.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// An AF_XDP socket cannot be opened or failed.
    #[error(transparent)]
    AfXdp(#[from] af_xdp::Error),
    /// The kernel's routes and neighbours cannot be read.
    #[error(transparent)]
    Mirror(#[from] MirrorError),
    /// Packets cannot be handed to the kernel.
    #[error(transparent)]
    Handover(#[from] HandoverError),
    /// The control socket cannot be opened.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The files cannot be watched.
    #[error("cannot watch the configuration: {0}; `control.watch: off` does without")]
    Watch(#[from] notify::Error),
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

/// Translates packets until a signal comes, or somebody asks it to stop.
///
/// `path` is where the configuration was read from, and is read from again.
///
/// # Errors
///
/// [`DaemonError`] names what could not be set up, or what ended the daemon.
pub fn run(path: &Path, config: Config, tables: Tables) -> Result<(), DaemonError> {
    let health = Arc::new(Health::new());
    let signals = signals()?;
    let pins = pins(&config)?;
    let mut mirror = Mirror::open()?;
    let mut ports = Ports::find(&config, &mirror)?;
    let (first, mut fast_path) = Plan::new(&config, tables, Vec::new())?.begin(pins);
    ports.announce(&mut fast_path)?;

    let live = Live::take(&mut mirror, &ports.indices(), &config);
    let shared = Arc::new(Shared::new(first, live).map_err(failed("make an event descriptor"))?);
    let (requests, waiting) = crossbeam::channel::bounded(REQUESTS);
    let errors = Errors::new(&config.icmp, waiting, Handover::open()?);
    let mut workers = Workers::start(&config, &ports, &mut fast_path, &shared, &requests)?;
    ports.set_takes_long_packets(workers.take_long_packets());
    let service = Service::find();
    let begun = begin(path, &config, &shared, &health).and_then(|begun| {
        let tables = shared.tables.load();
        if ports.look_at_what_is_left(&fast_path)? {
            ports.look_at_redirects();
            control::tell(&mut fast_path, &tables, &mirror, &ports, &config)?;
        }
        ports.attach(&mut fast_path)?;
        ports.look_at_redirects();
        control::tell(&mut fast_path, &tables, &mirror, &ports, &config)?;
        Ok(begun)
    });
    let Begun {
        mailbox,
        post,
        loader,
        watch,
        listener,
    } = match begun {
        Ok(begun) => begun,
        Err(error) => {
            workers.stop(&shared);
            return Err(error);
        }
    };
    health.beat();
    health.set_translating(true);
    info!("translating");
    service.ready("translating");

    let mut control = Control {
        signals,
        mailbox,
        post,
        mirror: &mut mirror,
        ports: &mut ports,
        fast_path: &mut fast_path,
        changes: Changes::new(path.to_owned(), config, loader),
        watch,
        shared: &shared,
        workers: &mut workers,
        errors,
        health: Arc::clone(&health),
        service,
        departure: None,
    };
    let outcome = control.run();
    health.set_translating(false);
    control.service.stopping();
    let departure = control.departure.unwrap_or(Departure::Stay);
    let errors = control.errors;
    drop(listener);
    let xdp_counters = fast_path.end(departure);
    let workers = workers.stop(&shared);
    let program = xdp_counters.unwrap_or_else(|error| {
        warn!("{error}");
        XdpCounters::default()
    });
    let control = errors.finish(&shared);
    report(&Totals {
        workers,
        control,
        program,
    });
    outcome
}

/// Takes hold of the place where the program stays when the process ends; without one, it ends with the process.
fn pins(config: &Config) -> Result<Option<Pins>, DaemonError> {
    let Some(directory) = &config.pin else {
        return Ok(None);
    };
    let pins = match config.fast_path {
        Choice::Xdp => Pins::open(directory).map(Some),
        // There is nothing to keep, but an earlier relay may have left something.
        Choice::AfXdp => Pins::find(directory),
    };
    match pins {
        Err(error @ PinError::InUse(_)) => Err(error.into()),
        Err(error) => {
            warn!(
                "{error}; nothing is translated while the relay is stopped (`pin: off` says that this is meant)"
            );
            Ok(None)
        }
        Ok(pins) => Ok(pins),
    }
}

/// What serves operators, and the ways between it and the control thread.
struct Begun {
    mailbox: Mailbox<Letter>,
    post: Post<Letter>,
    loader: Sender<Job>,
    watch: Option<Watch>,
    /// Dropped when the relay can no longer be asked.
    listener: Option<Listener>,
}

/// Starts what serves operators.
fn begin(
    path: &Path,
    config: &Config,
    shared: &Arc<Shared>,
    health: &Arc<Health>,
) -> Result<Begun, DaemonError> {
    let (mailbox, post) = mailbox::mailbox().map_err(failed("make an event descriptor"))?;
    let loaded = post.clone();
    let loader = loader::start(move |outcome| loaded.send(Letter::Loaded(outcome)));
    let loader = loader.map_err(failed("start the loader thread"))?;
    let watch = match config.control.watch {
        false => None,
        true => {
            let stirred = post.clone();
            let mut watch = Watch::begin(move || stirred.send(Letter::Stir))?;
            let eam = config.eam.iter().map(PathBuf::as_path);
            watch.follow(std::iter::once(path).chain(eam));
            Some(watch)
        }
    };
    let listener = Listener::open(&config.control)?;
    let commands = post.clone();
    let send = move |command| commands.send(Letter::Command(command));
    let access = Access::new(Arc::clone(shared), Arc::clone(health), send);
    if let Some(listener) = &listener {
        crate::control::serve(listener, access.clone())
            .map_err(failed("serve the control socket"))?;
    }
    if let Some(address) = config.control.metrics {
        crate::control::serve_metrics(address, access).map_err(failed("serve metrics"))?;
    }
    Ok(Begun {
        mailbox,
        post,
        loader,
        watch,
        listener,
    })
}

/// Returns streams that become readable when the daemon is told to stop, or to read its files again.
fn signals() -> Result<Signals, DaemonError> {
    let stream = |signals: &[i32]| {
        let (reader, writer) = UnixStream::pair()?;
        for signal in signals {
            signal_hook::low_level::pipe::register(*signal, writer.try_clone()?)?;
        }
        Ok(reader)
    };
    let stop = stream(&[SIGINT, SIGTERM]).map_err(failed("handle signals"))?;
    let reload = stream(&[SIGHUP]).map_err(failed("handle signals"))?;
    Ok(Signals { stop, reload })
}

/// Logs every counter that moved.
fn report(totals: &Totals) {
    let counters = totals.counters();
    for counter in counters.iter().filter(|counter| counter.count != 0) {
        info!("{} {}", counter.name, counter.count);
    }
}
