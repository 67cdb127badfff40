//! The relay as a process: started, watched, ended.

use crate::lab::eventually;
use relay::lab::Command;
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// No step of starting or stopping takes as long.
const PATIENCE: Duration = Duration::from_secs(15);

/// A running relay; it is killed when dropped.
pub(crate) struct Daemon {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
}

impl Daemon {
    pub(crate) fn launch(mut command: Command<'_>, config: &Path) -> Self {
        command.arg("run");
        Self::launch_as(command, config)
    }

    /// Starts a relay by a command that says how.
    pub(crate) fn launch_as(mut command: Command<'_>, config: &Path) -> Self {
        let mut child = command
            .arg("--config")
            .arg(config)
            .env("RUST_LOG", "info")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let log = Arc::new(Mutex::new(Vec::new()));
        let written = Arc::clone(&log);
        let reader = std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                written
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(line);
            }
        });
        Self {
            child,
            log,
            reader: Some(reader),
        }
    }

    /// Returns what it has written to standard error.
    pub(crate) fn log(&self) -> String {
        self.log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .join("\n")
    }

    /// Waits until a line of the log contains `text`.
    pub(crate) fn await_line(&self, text: &str) {
        let deadline = std::time::Instant::now() + PATIENCE;
        while !self.log().contains(text) {
            let in_time = std::time::Instant::now() < deadline;
            let ended = self.reader.as_ref().is_none_or(JoinHandle::is_finished);
            assert!(in_time && !ended, "no `{text}` in the log:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the end and returns the status.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("the relay ends", PATIENCE, || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        self.reader
            .take()
            .into_iter()
            .for_each(|reader| reader.join().unwrap());
        status.unwrap()
    }

    /// Says whether it still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Stops it by SIGTERM, which has to succeed, and returns its counters.
    pub(crate) fn stop(&mut self) -> Counters {
        self.signal(Signal::TERM);
        let status = self.wait();
        assert_eq!(status.code(), Some(0), "{}", self.log());
        self.counters()
    }

    /// Reads the counters from the log of a relay that was stopped.
    pub(crate) fn counters(&self) -> Counters {
        let log = self.log();
        let (_, end) = log
            .rsplit_once("XDP program detached")
            .unwrap_or_else(|| panic!("{log}"));
        let counter = |line: &str| {
            let mut words = line.split_whitespace().rev();
            let (count, name) = (words.next()?.parse().ok()?, words.next()?);
            Some((name.to_owned(), count))
        };
        Counters(end.lines().filter_map(counter).collect())
    }

    /// Returns the processor time used so far.
    pub(crate) fn processor_time(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        // The fields behind the name, which is in parentheses; times are in hundredths of a second.
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        let ticks: u64 = fields
            .split(' ')
            .skip(11)
            .take(2)
            .map(|ticks| ticks.parse::<u64>().unwrap())
            .sum();
        Duration::from_millis(10 * ticks)
    }

    /// Returns the memory in use, in KiB.
    pub(crate) fn memory(&self) -> u64 {
        self.memory_field("VmRSS:")
    }

    /// Returns the most memory that was in use at a time, in KiB.
    pub(crate) fn peak_memory(&self) -> u64 {
        self.memory_field("VmHWM:")
    }

    fn memory_field(&self, label: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(label))
            .unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the relay's log:\n{}", self.log());
        }
    }
}

/// The counters that were not zero.
#[derive(Debug)]
pub(crate) struct Counters(BTreeMap<String, u64>);

impl Counters {
    pub(crate) fn get(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// Returns the sum of the counters whose name begins so.
    pub(crate) fn sum(&self, prefix: &str) -> u64 {
        self.0
            .iter()
            .filter(|(name, _)| name.starts_with(prefix))
            .map(|(_, count)| count)
            .sum()
    }

    /// Returns the number of packets that left without the kernel's help, by whichever way.
    pub(crate) fn sent(&self) -> u64 {
        self.get("transmitted_frames") + self.get("xdp_forwarded")
    }

    /// Checks that each frame claimed was sent on at once, received by a worker or lost for a reason, that each received became of
    /// something, and that each packet translated went somewhere.
    pub(crate) fn assert_balanced(&self) {
        let unread = self.sum("lost_receive_");
        assert_eq!(
            self.get("xdp_redirected") + self.sum("xdp_punt_"),
            self.get("received_frames") + unread,
            "{self:?}"
        );
        let at_once = self.get("xdp_v4_to_v6_packets") + self.get("xdp_v6_to_v4_packets");
        assert_eq!(
            at_once,
            self.get("xdp_forwarded") + self.get("xdp_left_to_kernel"),
            "{self:?}"
        );
        let forwarded = self.get("out_v4_to_v6_packets") + self.get("out_v6_to_v4_packets");
        let forwarded = forwarded - at_once;
        let settled = forwarded + self.sum("drop_") + self.sum("pass_") + self.get("lost_errors");
        assert_eq!(self.get("received_frames"), settled, "{self:?}");
        // Packets that were split left as fragments instead, and errors about dropped packets left besides.
        let fragments = self.get("out_v4_to_v6_fragments") + self.get("out_v6_to_v4_fragments");
        let leaving = forwarded - self.get("split_packets") + fragments + self.sum("reply_");
        let handed_over = self.sum("kernel_") - self.get("kernel_passed");
        let lost = [
            "lost_kernel_refused",
            "lost_transmit_full",
            "lost_no_frame",
            "lost_too_long",
            "lost_icmp_errors_refused",
        ];
        let lost: u64 = lost.iter().map(|name| self.get(name)).sum();
        assert_eq!(
            leaving,
            self.get("transmitted_frames") + handed_over + lost,
            "{self:?}"
        );
    }
}
