//! The clock that XDP programs and this program have in common.

use rustix::time::{ClockId, clock_gettime};

/// Returns the time of CLOCK_MONOTONIC, in nanoseconds, which is what `bpf_ktime_get_ns` returns.
pub(crate) fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    // The time since the machine's start is not negative.
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
