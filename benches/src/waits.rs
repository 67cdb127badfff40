//! How long threads have waited for a processor that others used, by /proc/PID/task/TID/schedstat.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process;

/// The threads that a device works with.
#[derive(Clone, Debug, Default)]
pub(crate) struct Workers {
    /// A process with all its threads.
    pub(crate) process: Option<u32>,
    /// Threads of this process.
    pub(crate) threads: Vec<u32>,
}

impl Workers {
    /// Returns how long they have waited.
    pub(crate) fn waits(&self) -> Waits {
        let process = self.process.map(Waits::of_process).unwrap_or_default();
        self.threads.iter().fold(process, |waits, thread| {
            waits.and(Waits::of_thread(*thread))
        })
    }
}

/// Waiting times in nanoseconds since each thread began, by the thread's number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Waits(BTreeMap<u32, u64>);

impl Waits {
    /// Those of all threads of a process.
    pub(crate) fn of_process(process: u32) -> Self {
        let tasks = format!("/proc/{process}/task");
        // What has gone has not waited; neither has anybody on a kernel that does not tell.
        let Ok(entries) = fs::read_dir(&tasks) else {
            return Self::default();
        };
        let threads = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        Self(
            threads
                .map(|thread| (thread, waited(&tasks, thread)))
                .collect(),
        )
    }

    /// Those of one thread of this process.
    pub(crate) fn of_thread(thread: u32) -> Self {
        let tasks = format!("/proc/{}/task", process::id());
        Self(BTreeMap::from([(thread, waited(&tasks, thread))]))
    }

    /// Puts those of other threads beside these.
    pub(crate) fn and(mut self, others: Self) -> Self {
        self.0.extend(others.0);
        self
    }

    /// Returns how long the thread waited that waited longest since an earlier moment, in nanoseconds.
    pub(crate) fn longest_since(&self, earlier: &Self) -> u64 {
        let since = |(thread, now): (&u32, &u64)| {
            now.saturating_sub(earlier.0.get(thread).copied().unwrap_or(0))
        };
        self.0.iter().map(since).max().unwrap_or(0)
    }
}

fn waited(tasks: &str, thread: u32) -> u64 {
    let path = Path::new(tasks).join(thread.to_string()).join("schedstat");
    fs::read_to_string(path).map_or(0, |text| parse(&text))
}

/// Reads the second number: time on the processor, time waiting for it, time slices.
fn parse(text: &str) -> u64 {
    let second = text.split_whitespace().nth(1);
    second.and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_wait_counts() {
        let waits = |of: &[(u32, u64)]| Waits(of.iter().copied().collect());
        let (before, after) = (
            waits(&[(1, 50), (2, 900)]),
            waits(&[(1, 80), (2, 910), (3, 7)]),
        );
        assert_eq!(after.longest_since(&before), 30);
        assert_eq!(waits(&[]).longest_since(&before), 0);
        assert_eq!(
            waits(&[(1, 5)]).and(waits(&[(2, 6)])),
            waits(&[(1, 5), (2, 6)])
        );
    }

    #[test]
    fn the_kernels_line_is_read() {
        assert_eq!(parse("1000123 45678 9\n"), 45678);
        assert_eq!(parse(""), 0);
    }
}
