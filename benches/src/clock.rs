//! The clock that XDP programs and this program have in common, and one for how long a thread was at work.

use rustix::time::{ClockId, clock_gettime};

/// Returns the time of CLOCK_MONOTONIC, in nanoseconds, which is what `bpf_ktime_get_ns` returns.
pub(crate) fn now() -> u64 {
    nanoseconds(ClockId::Monotonic)
}

/// Returns how long this thread has been at work on a processor, in nanoseconds; interrupts that it was held up by count.
pub(crate) fn busy() -> u64 {
    nanoseconds(ClockId::ThreadCPUTime)
}

fn nanoseconds(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    // Neither clock is ever negative.
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
