//! What the control thread shares with all workers: what they work by, and the ways to call each other.

use crate::paths::Live;
use crate::tables::Tables;
use crate::tap::TapPlace;
use arc_swap::ArcSwap;
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::OwnedFd;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What the control thread shares with all workers.
pub struct Shared {
    /// The tables in force.
    pub tables: ArcSwap<Tables>,
    /// The network as it is.
    pub live: ArcSwap<Live>,
    /// Who looks at packets on their way.
    pub tap: TapPlace,
    stop: AtomicBool,
    wake_up: OwnedFd,
    control: OwnedFd,
}

impl Shared {
    /// Returns what workers need to begin.
    ///
    /// # Errors
    ///
    /// The process may not have another file descriptor.
    pub fn new(tables: Arc<Tables>, live: Live) -> std::io::Result<Self> {
        Ok(Self {
            tables: ArcSwap::new(tables),
            live: ArcSwap::from_pointee(live),
            tap: TapPlace::default(),
            stop: AtomicBool::new(false),
            wake_up: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            control: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        })
    }

    /// Returns the descriptor that is readable while requests wait for the control thread.
    pub fn control(&self) -> BorrowedFd<'_> {
        self.control.as_fd()
    }

    /// Says that requests wait for the control thread.
    pub(super) fn call_control(&self) {
        // It only fails where the descriptor is readable anyway.
        let _ = rustix::io::write(&self.control, &1u64.to_ne_bytes());
    }

    /// Makes [`control`](Self::control) unreadable, before the requests that wait are taken.
    pub fn answer(&self) {
        let _ = rustix::io::read(&self.control, &mut [0; 8]);
    }

    /// Has all workers return.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.rouse();
    }

    /// Says whether workers are to return.
    pub(super) fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Returns the descriptor that is readable while workers must not sleep.
    pub(super) fn wake_up(&self) -> BorrowedFd<'_> {
        self.wake_up.as_fd()
    }

    /// Keeps all workers from sleeping until [`rest`](Self::rest) is called.
    pub fn rouse(&self) {
        // No worker reads it, so it stays readable for every one. Full or not, it is readable.
        let _ = rustix::io::write(&self.wake_up, &1u64.to_ne_bytes());
    }

    /// Lets workers begin that are told to work again after [`stop`](Self::stop).
    pub fn go_on(&self) {
        self.stop.store(false, Ordering::Release);
        self.rest();
    }

    /// Lets workers sleep again that have nothing to do. Not after [`stop`](Self::stop).
    pub fn rest(&self) {
        let _ = rustix::io::read(&self.wake_up, &mut [0; 8]);
    }
}
