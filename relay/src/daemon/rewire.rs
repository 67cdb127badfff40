//! Putting a generation in force that has other ports than the one before.
//!
//! The order is that of [`publish`](super::publish): the workers first, then the XDP program. What can be refused comes before
//! anything has changed, or is taken back.
//!
//! 1. The workers rest for a moment. They get sockets for the ports that come, and with the numbers of the new generation its
//!    tables and its picture of the network. So no packet goes by a number of another generation than the route that it was
//!    found by. Sockets of ports that go stay open: they belong to no port, but receive what the old program still sends them.
//! 2. The new program is attached where it has to be, takes the old one's place where ports stay, and the old one is detached from
//!    those that go. Each program has maps of its own, so what the old one is about to send out of a port goes out of that.
//! 3. The workers process what has come in by ports that are gone, and let go of their sockets.

use super::DaemonError;
use super::control::Control;
use super::ports::Ports;
use super::publish::Plan;
use super::workers;
use crate::config::Config;
use crate::fast_path::Wiring;
use crate::paths::Live;
use crate::tables::Tables;
use std::sync::Arc;
use tracing::error;

impl Control<'_> {
    /// Puts a generation in force with the ports `next`.
    ///
    /// # Errors
    ///
    /// [`DaemonError`] names what could not be had; all is as it was then.
    pub(super) fn rewire(
        &mut self,
        mut plan: Plan,
        mut next: Ports,
        config: &Config,
    ) -> Result<(), DaemonError> {
        let shared = self.shared;
        let before = (shared.tables.load_full(), shared.live.load_full());
        plan.inherit(&before.0);
        let live = Live::take(self.mirror, &next.indices(), config);
        let outcome =
            self.workers
                .follow((self.ports, &next), config, self.fast_path, shared, || {
                    shared.tables.store(Arc::clone(&plan.tables));
                    shared.live.store(Arc::new(live));
                });
        let wiring = Wiring {
            ports: next.layouts(),
            sockets: outcome?,
            egresses: next.egresses(self.mirror),
            attachments: next.attachments(),
        };
        match self.fast_path.rewire(plan.program, &plan.tables, wiring) {
            Ok(modes) => next.set_attached(&modes),
            Err(refused) => {
                if let Err(error) = self.go_back(&next, before) {
                    // The workers have ended then, which is noticed.
                    error!("{error}");
                }
                return Err(refused.into());
            }
        }
        next.set_takes_long_packets(self.workers.take_long_packets());
        let known = self.ports.indices();
        let new = next.iter().filter(|port| !known.contains(&port.index));
        workers::warn_of_interrupts(config.wait, new);
        *self.ports = next;
        if let Err(error) = self.workers.let_go(shared) {
            error!("{error}");
        }
        Ok(())
    }

    /// Gives the workers the sockets, tables and network back that they had before.
    fn go_back(
        &mut self,
        next: &Ports,
        (tables, live): (Arc<Tables>, Arc<Live>),
    ) -> Result<(), DaemonError> {
        let (shared, config) = (self.shared, self.changes.config());
        let sockets =
            self.workers
                .follow((next, self.ports), config, self.fast_path, shared, || {
                    shared.tables.store(tables);
                    shared.live.store(live);
                })?;
        for (index, socket) in sockets {
            self.fast_path.set_socket(index, &socket)?;
        }
        self.workers.let_go(shared)
    }
}
