//! What the serving threads share with the control thread.

use super::snapshot::Snapshot;
use crate::fast_path::Departure;
use crate::worker::Shared;
use crossbeam::channel::{RecvTimeoutError, Sender, bounded};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long the control thread may take to tell what it knows.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a change may take, files of a million mappings included.
const LONG_PATIENCE: Duration = Duration::from_secs(300);
/// A control thread that has not looked around for so long is stuck. Reading a large routing table anew takes seconds.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// What the control thread is asked to do. Whoever asks waits for the answer on a channel.
#[derive(Debug)]
pub enum Command {
    /// Tell everything that is known.
    Snapshot(Sender<Box<Snapshot>>),
    /// Read the files again and publish what they say.
    Reload(Sender<Result<Change, Refusal>>),
    /// Change one mapping.
    Edit(Edit, Sender<Result<Change, Refusal>>),
    /// Have all packets go by the workers, where they can be looked at, or no longer.
    Watch(bool, Sender<()>),
    /// End, and leave the program at work or take it along.
    Stop(Departure, Sender<()>),
}

/// All packets go by the workers. Dropping it ends that.
pub struct Watching<'a>(&'a Access);

impl Drop for Watching<'_> {
    fn drop(&mut self) {
        let (reply, _) = bounded(1);
        (self.0.send)(Command::Watch(false, reply));
    }
}

/// A change of one mapping at runtime.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum Edit {
    /// A new one.
    Add {
        /// Its IPv4 address or prefix.
        ipv4: String,
        /// Its IPv6 address or prefix.
        ipv6: String,
        /// What to call it.
        name: Option<String>,
        /// Whether it is written to the first EAM file, too.
        save: bool,
    },
    /// One to be removed.
    Delete {
        /// Its IPv4 address or prefix.
        ipv4: String,
        /// Whether it is removed from its EAM file, too.
        save: bool,
    },
}

/// What a new generation differs in from the one before.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Change {
    /// The number of the new generation.
    pub generation: u64,
    /// Mappings that were not there before.
    pub added: usize,
    /// Mappings that are no longer there.
    pub removed: usize,
    /// IPv4 prefixes that are mapped to another IPv6 prefix, or have another name.
    pub changed: usize,
    /// Mappings that are as they were.
    pub kept: usize,
    /// Interfaces that were not the relay's before, by name.
    pub interfaces_added: Vec<String>,
    /// Interfaces that are no longer the relay's.
    pub interfaces_removed: Vec<String>,
    /// Interfaces that are served in another way, or came back under another number of the kernel's.
    pub interfaces_changed: Vec<String>,
    /// Keys of the configuration whose new values need a restart; the old ones stay in force.
    pub needs_restart: Vec<String>,
    /// What is doubtful in the files.
    pub warnings: Vec<String>,
    /// From the request until the XDP program knew all about it, in seconds.
    pub duration_seconds: f64,
}

/// Why there is no new generation; the old one stays in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
#[error("{}", .problems.join("\n"))]
pub struct Refusal {
    /// Everything that is wrong, in a line each.
    pub problems: Vec<String>,
}

impl Refusal {
    /// Returns a refusal for one reason.
    pub fn because(why: impl ToString) -> Self {
        Self {
            problems: vec![why.to_string()],
        }
    }
}

/// How the daemon is, for those who cannot wait for the control thread.
#[derive(Debug)]
pub struct Health {
    started: Instant,
    /// When the control thread looked around last, in milliseconds since the start.
    heartbeat: AtomicU64,
    is_translating: AtomicBool,
    is_draining: AtomicBool,
}

impl Health {
    /// Returns the health of a daemon that does not translate yet.
    pub fn new() -> Self {
        Self {
            started: Instant::now(),
            heartbeat: AtomicU64::new(0),
            is_translating: AtomicBool::new(false),
            is_draining: AtomicBool::new(false),
        }
    }

    /// Says that the control thread is alive.
    pub fn beat(&self) {
        let now = self.started.elapsed().as_millis() as u64;
        self.heartbeat.store(now, Ordering::Relaxed);
    }

    /// Says that packets are translated, or are no longer.
    pub fn set_translating(&self, is_translating: bool) {
        self.is_translating.store(is_translating, Ordering::Relaxed);
    }

    /// Says whether traffic should go elsewhere.
    pub fn set_draining(&self, is_draining: bool) {
        self.is_draining.store(is_draining, Ordering::Relaxed);
    }

    /// Whether packets are translated, and the control thread is alive.
    pub fn is_translating(&self) -> bool {
        let beat = Duration::from_millis(self.heartbeat.load(Ordering::Relaxed));
        let is_alive = self.started.elapsed().saturating_sub(beat) < HEARTBEAT;
        self.is_translating.load(Ordering::Relaxed) && is_alive
    }

    /// Whether the operator wants traffic to go elsewhere. It is translated all the same.
    pub fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Relaxed)
    }

    /// The time since the daemon began to set itself up.
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

/// The way of the serving threads to everything they serve.
#[derive(Clone)]
pub struct Access {
    /// What the workers have; the mappings are read from here.
    pub shared: Arc<Shared>,
    /// How the daemon is.
    pub health: Arc<Health>,
    send: Arc<dyn Fn(Command) + Send + Sync>,
}

impl Access {
    /// Returns the way, where `send` brings a command to the control thread without waiting for it.
    pub fn new(
        shared: Arc<Shared>,
        health: Arc<Health>,
        send: impl Fn(Command) + Send + Sync + 'static,
    ) -> Self {
        Self {
            shared,
            health,
            send: Arc::new(send),
        }
    }

    /// Asks for everything that is known.
    ///
    /// # Errors
    ///
    /// The control thread does not answer.
    pub fn snapshot(&self) -> Result<Box<Snapshot>, Refusal> {
        self.ask(PATIENCE, Command::Snapshot)
    }

    /// Has all packets go by the workers, where they can be looked at, for as long as what is returned lives.
    ///
    /// # Errors
    ///
    /// The control thread does not answer.
    pub fn watch(&self) -> Result<Watching<'_>, Refusal> {
        let watching = Watching(self);
        self.ask(PATIENCE, |reply| Command::Watch(true, reply))?;
        Ok(watching)
    }

    /// Has the files read again.
    ///
    /// # Errors
    ///
    /// [`Refusal`] has everything that is wrong with them.
    pub fn reload(&self) -> Result<Change, Refusal> {
        self.ask(LONG_PATIENCE, Command::Reload)?
    }

    /// Has one mapping changed.
    ///
    /// # Errors
    ///
    /// [`Refusal`] says why it cannot be.
    pub fn edit(&self, edit: Edit) -> Result<Change, Refusal> {
        self.ask(LONG_PATIENCE, |reply| Command::Edit(edit, reply))?
    }

    /// Has the relay stop. The answer comes when it begins to.
    ///
    /// # Errors
    ///
    /// The control thread does not answer.
    pub fn stop(&self, departure: Departure) -> Result<(), Refusal> {
        self.ask(PATIENCE, |reply| Command::Stop(departure, reply))
    }

    fn ask<T>(
        &self,
        patience: Duration,
        command: impl FnOnce(Sender<T>) -> Command,
    ) -> Result<T, Refusal> {
        let (reply, answer) = bounded(1);
        (self.send)(command(reply));
        answer.recv_timeout(patience).map_err(|error| {
            Refusal::because(match error {
                RecvTimeoutError::Timeout => "the control thread does not answer",
                RecvTimeoutError::Disconnected => "the relay is stopping",
            })
        })
    }
}
