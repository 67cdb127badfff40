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
    pub(super) program: XdpProgram,
}

impl Plan {
    /// Loads the XDP program of a generation. Takes long for large tables, so not for the control thread.
    pub(super) fn new(config: &Config, tables: Tables) -> Result<Self, BpfError> {
        let program = fast_path::prepare(&tables, wishes(config))?;
        Ok(Self {
            tables: Arc::new(tables),
            program,
        })
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

/// Puts a generation in force, and returns the tables of the one before, which nobody uses any more.
///
/// # Errors
///
/// The kernel refuses to replace the program; the workers have the tables before again.
pub(super) fn publish(
    plan: Plan,
    shared: &Shared,
    workers: &[Arc<AtomicU64>],
    fast_path: &mut FastPath,
) -> Result<Arc<Tables>, BpfError> {
    let generation = plan.tables.generation;
    let before = shared.tables.swap(Arc::clone(&plan.tables));
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
    match fast_path.publish(plan.program, &plan.tables) {
        Ok(()) => Ok(before),
        Err(error) => {
            shared.tables.store(before);
            Err(error)
        }
    }
}
