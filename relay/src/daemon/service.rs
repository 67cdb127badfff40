//! What the service manager is told (sd_notify): ready, reloading, stopping, alive. Without one, nothing.

use sd_notify::NotifyState;
use std::time::{Duration, Instant};
use tracing::warn;

/// The way to the service manager.
pub(super) struct Service {
    /// How often it wants to hear that the daemon is alive.
    watchdog: Option<Duration>,
    next: Instant,
}

impl Service {
    /// Finds out whether there is a service manager, and what it wants to hear.
    pub(super) fn find() -> Self {
        Self {
            // Half of the time after which it would lose patience.
            watchdog: sd_notify::watchdog_enabled().map(|patience| patience / 2),
            next: Instant::now(),
        }
    }

    /// Says that packets are translated, for the first time or after a reload.
    pub(super) fn ready(&self, status: &str) {
        tell(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// Says that the files are being read again.
    pub(super) fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => tell(&[NotifyState::Reloading, now]),
            Err(error) => warn!("the clock cannot be read: {error}"),
        }
    }

    /// Says that the daemon is stopping.
    pub(super) fn stopping(&self) {
        tell(&[NotifyState::Stopping]);
    }

    /// Says that the control thread is alive, if it is time to. Called by its loop alone, so that silence means that it hangs.
    pub(super) fn alive(&mut self, now: Instant) {
        if let Some(interval) = self.watchdog
            && now >= self.next
        {
            self.next = now + interval;
            tell(&[NotifyState::Watchdog]);
        }
    }

    /// Returns when [`alive`](Self::alive) has to be called next, if at all.
    pub(super) fn next(&self) -> Option<Instant> {
        self.watchdog.map(|_| self.next)
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!("the service manager cannot be told: {error}");
    }
}
