//! What the kernel says of the process itself, for the metrics that every exporter has.

use std::fs;
use std::time::SystemTime;

/// What does not change about the process.
#[derive(Clone, Copy, Debug)]
pub struct Process {
    /// When it was started, to the accuracy of its first own instructions.
    pub started: SystemTime,
}

/// What changes; zeros where the kernel does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ProcessFigures {
    /// Processor time in user and kernel mode, in seconds.
    pub cpu_seconds: f64,
    /// Memory that is in use, in octets.
    pub resident_bytes: u64,
    /// Address space that is taken, in octets.
    pub virtual_bytes: u64,
    /// Open file descriptors.
    pub open_fds: u64,
    /// The most file descriptors that may be open.
    pub max_fds: u64,
}

impl ProcessFigures {
    /// Reads the figures as they are.
    pub fn read() -> Self {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        // The fields behind the name, which is in parentheses.
        let fields: Vec<u64> = stat
            .rsplit_once(") ")
            .map_or("", |(_, fields)| fields)
            .split(' ')
            .map(|field| field.trim().parse().unwrap_or(0))
            .collect();
        let field = |number: usize| fields.get(number).copied().unwrap_or(0);
        let ticks = rustix::param::clock_ticks_per_second();
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        let max_fds = limits
            .lines()
            .find_map(|line| line.strip_prefix("Max open files"))
            .and_then(|line| line.split_whitespace().next()?.parse().ok());
        Self {
            cpu_seconds: (field(11) + field(12)) as f64 / ticks as f64,
            virtual_bytes: field(20),
            resident_bytes: field(21) * rustix::param::page_size() as u64,
            open_fds: fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64),
            max_fds: max_fds.unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_all_of_them() {
        let spin = std::time::Instant::now();
        while spin.elapsed().as_millis() < 50 {}
        let figures = ProcessFigures::read();
        assert!(figures.cpu_seconds > 0.0, "{figures:?}");
        assert!(figures.resident_bytes > 1 << 20, "{figures:?}");
        assert!(
            figures.virtual_bytes >= figures.resident_bytes,
            "{figures:?}"
        );
        assert!(
            figures.open_fds >= 3 && figures.max_fds >= figures.open_fds,
            "{figures:?}"
        );
    }
}
