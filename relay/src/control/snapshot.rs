//! Everything that is known of the running daemon at one moment: what `status`, `stats` and the metrics are made from.

use crate::stats::{QueueCounters, Totals};
use std::time::{Duration, SystemTime};

/// The daemon at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Time since the daemon began to set itself up.
    pub uptime: Duration,
    /// The generation in force.
    pub generation: Generation,
    /// How many reloads have succeeded and failed.
    pub reloads: Reloads,
    /// The interfaces, in the order of the configuration.
    pub interfaces: Vec<Interface>,
    /// The number of workers.
    pub workers: usize,
    /// The receive queues that workers serve.
    pub queues: Vec<Queue>,
    /// All counters.
    pub totals: Totals,
    /// How many errors the relay may originate.
    pub limiter: Limit,
}

/// The generation in force.
#[derive(Clone, Copy, Debug)]
pub struct Generation {
    /// Its number; the first is 1.
    pub number: u64,
    /// The number of its mappings.
    pub mappings: usize,
    /// How many of them were added at runtime and are in no file.
    pub runtime: usize,
    /// When it was put in force.
    pub since: SystemTime,
    /// How long it has been in force.
    pub age: Duration,
}

/// What became of reloads.
#[derive(Clone, Debug, Default)]
pub struct Reloads {
    /// Those that led to a new generation.
    pub succeeded: u64,
    /// Those that were refused because of their files.
    pub failed: u64,
    /// The last one; `None` before the first.
    pub last: Option<LastReload>,
}

/// What became of a reload.
#[derive(Clone, Debug)]
pub struct LastReload {
    /// When it was finished.
    pub at: SystemTime,
    /// How long it took.
    pub duration: Duration,
    /// Everything that was wrong; empty if it succeeded.
    pub problems: Vec<String>,
}

/// One interface of the relay.
#[derive(Clone, Debug)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// `native` or `generic`: how the XDP program is attached.
    pub xdp: &'static str,
    /// Whether all its sockets go without a copy.
    pub is_zero_copy: bool,
    /// The receive queues that workers serve.
    pub queues: Vec<u32>,
    /// The MTU in octets; `None` if the interface has gone.
    pub mtu: Option<u32>,
    /// Whether it is up and has carrier.
    pub is_up: bool,
}

/// One receive queue that a worker serves.
#[derive(Clone, Debug)]
pub struct Queue {
    /// The name of the interface.
    pub interface: String,
    /// The number of the queue.
    pub queue: u32,
    /// The number of the worker.
    pub worker: usize,
    /// Whether frames go without a copy between driver and worker.
    pub is_zero_copy: bool,
    /// What was counted on it.
    pub counters: QueueCounters,
}

/// The rate limit of errors that the relay originates.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// Errors a second; `None` for no limit.
    pub rate: Option<u32>,
    /// How many may be originated at once right now.
    pub tokens: f64,
}
