//! Publishing: how the data plane gets from one generation to the next. This is the only place that changes what is in force,
//! besides [`rewire`](super::rewire) where ports change.
//!
//! Two parties translate by a generation: the workers, by its tables, and the XDP program, which has tables of its own and hands
//! the workers what it cannot do. Each packet is translated by one of them, and by one generation. They change one after the
//! other: first the workers get the new tables by one exchange of a pointer, and when each of them has seen it, the new program
//! takes the old one's place. So what the new program claims finds workers that know it; what the old one still hands over
//! for a moment, and the new generation does not know, the workers give to the kernel as it came.
//!
//! What belongs to the picture of the network (MTUs and own addresses that the configuration sets) is published with it, right
//! after the tables.

use crate::config::{Config, FastPath as Choice, Forwarding};
use crate::driver::bpf::{BpfError, XdpProgram};
use crate::driver::pins::Pins;
use crate::fast_path::{self, FastPath, Wishes};
use crate::tables::Tables;
use crate::worker::Shared;
use eam_tables::layout::Work;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tracing::warn;

/// How long a worker may take to see a new generation; it looks before every batch.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often workers are looked at meanwhile.
const GLANCE: Duration = Duration::from_micros(50);

/// A generation that is ready to be published: all that takes long has been done.
pub(super) struct Plan {
    /// The tables, with the number of the generation.
    pub(super) tables: Arc<Tables>,
    /// The number that each mapping has in the generation before, or [`IS_NEW`](crate::tally::IS_NEW).
    numbers: Vec<u32>,
    pub(super) program: XdpProgram,
}

impl Plan {
    /// Loads the XDP program of a generation, whose mappings have these numbers in the one before. Takes long for large tables, so
    /// not for the control thread.
    pub(super) fn new(
        config: &Config,
        tables: Tables,
        numbers: Vec<u32>,
    ) -> Result<Self, BpfError> {
        let program = fast_path::prepare(&tables, wishes(config))?;
        Ok(Self {
            tables: Arc::new(tables),
            numbers,
            program,
        })
    }

    /// Has the counts of the mappings go on from those of the generation before.
    pub(super) fn inherit(&mut self, before: &Arc<Tables>) {
        let numbers = std::mem::take(&mut self.numbers);
        self.tables.tally.follow(Arc::clone(&before.tally), numbers);
    }

    /// Returns what the first generation consists of; its program is pinned where `pins` says.
    pub(super) fn begin(self, pins: Option<Pins>) -> (Arc<Tables>, FastPath) {
        (self.tables, FastPath::new(self.program, pins))
    }
}

/// Returns what a configuration asks of the XDP program.
fn wishes(config: &Config) -> Wishes {
    Wishes {
        work: match (config.fast_path, config.forwarding) {
            (Choice::AfXdp, _) => Work::Steer,
            (Choice::Xdp, Forwarding::Direct) => Work::Forward,
            (Choice::Xdp, Forwarding::Kernel) => Work::Translate,
        },
        mtu_v4: config.mtu.ipv4,
        mtu_v6: config.mtu.ipv6,
    }
}

/// Puts a generation in force. The one before may be at work for a moment longer; its tables stay with the counts of the new one.
///
/// # Errors
///
/// The kernel refuses to replace the program; the workers have the tables before again.
pub(super) fn publish(
    mut plan: Plan,
    shared: &Shared,
    workers: &[Arc<AtomicU64>],
    fast_path: &mut FastPath,
) -> Result<(), BpfError> {
    let generation = plan.tables.generation;
    let before = shared.tables.load_full();
    plan.inherit(&before);
    shared.tables.store(Arc::clone(&plan.tables));
    let deadline = Instant::now() + PATIENCE;
    let has_seen = |seen: &Arc<AtomicU64>| seen.load(Ordering::Acquire) >= generation;
    shared.rouse();
    while !workers.iter().all(has_seen) {
        if Instant::now() > deadline {
            warn!("a worker is slow to see generation {generation}; going on without it");
            break;
        }
        std::thread::sleep(GLANCE);
    }
    shared.rest();
    fast_path
        .publish(plan.program, &plan.tables)
        .inspect_err(|_| shared.tables.store(before))
}
