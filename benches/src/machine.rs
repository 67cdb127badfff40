//! The machine that numbers come from.

use std::fs;

use serde::Serialize;

/// What a reader of numbers has to know of the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Machine {
    /// The processor's name.
    pub(crate) processor: String,
    /// How many processors this program may use.
    pub(crate) processors: usize,
    /// The kernel's name and release.
    pub(crate) kernel: String,
}

impl Machine {
    /// Describes this machine.
    pub(crate) fn this() -> Self {
        let information = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let name = information
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
            .map_or("unknown", |(_, name)| name.trim());
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            processor: name.to_owned(),
            processors: crate::pin::allowed().map_or(1, |allowed| allowed.len()),
            kernel: format!("Linux {}", release.trim()),
        }
    }
}
