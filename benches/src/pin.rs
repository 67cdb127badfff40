//! Processors: which there are, and keeping a thread on one.

use std::io;

use rustix::process::getpid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Keeps the calling thread, and what it starts from now on, on one processor.
pub(crate) fn to(processor: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(processor);
    sched_setaffinity(None, &set).map_err(|errno| {
        let errno = io::Error::from(errno);
        io::Error::new(
            errno.kind(),
            format!("cannot stay on processor {processor}: {errno}"),
        )
    })
}

/// Lets the calling thread run wherever the program's first thread may.
pub(crate) fn as_at_first() -> io::Result<()> {
    let set = sched_getaffinity(Some(getpid()))?;
    Ok(sched_setaffinity(None, &set)?)
}

/// Returns the processors that this program may use, in order.
pub(crate) fn allowed() -> io::Result<Vec<usize>> {
    let set = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU)
        .filter(|cpu| set.is_set(*cpu))
        .collect())
}
