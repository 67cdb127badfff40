//! Everything that is known of the running daemon, gathered for whoever asks.

use super::control::Control;
use super::ports::Ports;
use crate::control::snapshot::{Generation, Interface, Queue, Snapshot};
use crate::driver::bpf::AttachedMode;
use crate::routes::Mirror;
use crate::stats::Totals;
use std::time::Instant;

impl Control<'_> {
    /// Gathers everything that is known.
    pub(super) fn snapshot(&self) -> Box<Snapshot> {
        let tables = self.shared.tables.load();
        let now = Instant::now();
        let (since, since_instant) = self.changes.since();
        let queues = self.workers.queues();
        Box::new(Snapshot {
            uptime: self.health.uptime(),
            generation: Generation {
                number: tables.generation,
                mappings: tables.eam.len(),
                runtime: self.changes.runtime_mappings(),
                since,
                age: now.saturating_duration_since(since_instant),
            },
            reloads: self.changes.reloads().clone(),
            interfaces: interfaces(self.ports, self.mirror, &queues),
            workers: self.workers.count(),
            queues,
            totals: Totals {
                workers: self.workers.counters(),
                control: self.errors.counters(),
                program: self.fast_path.counters().unwrap_or_default(),
            },
            limiter: self.errors.limit(now),
        })
    }
}

fn interfaces(ports: &Ports, mirror: &Mirror, queues: &[Queue]) -> Vec<Interface> {
    ports
        .iter()
        .map(|port| {
            let link = mirror.link(port.index);
            let name = &port.interface.name;
            let mut sockets = queues
                .iter()
                .filter(|queue| queue.interface == *name)
                .peekable();
            Interface {
                name: name.clone(),
                xdp: match port.attached {
                    Some(AttachedMode::Native) => "native",
                    Some(AttachedMode::Generic) => "generic",
                    None => "detached",
                },
                is_zero_copy: sockets.peek().is_some() && sockets.all(|queue| queue.is_zero_copy),
                queues: port.queues.clone(),
                mtu: link.map(|link| link.mtu),
                is_up: link.is_some_and(|link| link.up && link.lower_up),
            }
        })
        .collect()
}
