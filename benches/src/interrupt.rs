//! Ctrl-C and SIGTERM: whoever waits looks here, and leaves in good order.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::driver;

/// How often to look.
const GLANCE: Duration = Duration::from_millis(20);

fn requested_flag() -> &'static Arc<AtomicBool> {
    static REQUESTED: OnceLock<Arc<AtomicBool>> = OnceLock::new();
    REQUESTED.get_or_init(Arc::default)
}

/// From now on signals are noted instead of ending the program, and [`driver::SIGNAL`] does nothing but end a system call.
pub(crate) fn watch() -> io::Result<()> {
    flag::register(driver::SIGNAL, Arc::default())?;
    for signal in [SIGINT, SIGTERM] {
        flag::register(signal, Arc::clone(requested_flag()))?;
    }
    Ok(())
}

/// Whether somebody wants the program to end.
pub(crate) fn requested() -> bool {
    requested_flag().load(Ordering::Relaxed)
}

/// Sleeps, unless interrupted; says whether it was for the whole time.
pub(crate) fn sleep(time: Duration) -> bool {
    let deadline = Instant::now() + time;
    while !requested() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        thread::sleep(left.min(GLANCE));
    }
    false
}
