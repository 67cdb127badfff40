//! The relay under demonstration: this same program, started as `siit-relay run` in the namespace in the middle.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::error::{DemoError, failed};
use super::patience::Patience;
use crate::lab::Namespace;

/// What the relay logs when it is ready.
const READY: &str = "translating";
/// How often to look whether it is ready, or has ended.
const GLANCE: Duration = Duration::from_millis(5);
/// How long a relay that nobody waits for any more may take to stop.
const LAST_GRACE: Duration = Duration::from_secs(5);
/// How much of the log is worth showing, in lines.
const LAST_LINES: usize = 20;

/// A running relay. Dropping it stops it, unless it is to be kept.
#[derive(Debug)]
pub(super) struct Relay {
    child: Child,
    log: PathBuf,
    started_in: Duration,
    kept: bool,
}

impl Relay {
    /// Starts the relay with the configuration `relay.yaml` in `directory`, and waits until it translates.
    ///
    /// It logs into a file there and not into a pipe, so that a relay which is kept can go on logging.
    pub(super) fn start(
        namespace: &Namespace,
        directory: &Path,
        patience: Patience<'_>,
    ) -> Result<Self, DemoError> {
        let log = directory.join("relay.log");
        let program = std::env::current_exe().map_err(failed("find the program itself"))?;
        let output = File::create(&log).map_err(failed("create the relay's log"))?;
        let mut command = Command::new(program);
        command
            .arg("run")
            .arg("--config")
            .arg(directory.join("relay.yaml"))
            .env("RUST_LOG", "info")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(output)
            // Ctrl-C is for the demonstration, which then stops the relay in its turn.
            .process_group(0);
        let begin = Instant::now();
        let child = namespace
            .run_in(|| command.spawn())?
            .map_err(failed("start the relay"))?;
        let mut relay = Self {
            child,
            log,
            started_in: Duration::ZERO,
            kept: false,
        };
        loop {
            if relay.read_log().lines().any(|line| line.ends_with(READY)) {
                relay.started_in = begin.elapsed();
                return Ok(relay);
            }
            let why = match (relay.ended()?, patience.left()) {
                (Some(status), _) => format!("it ended with {status}"),
                (None, Err(error)) => error.to_string(),
                (None, Ok(_)) => {
                    thread::sleep(GLANCE);
                    continue;
                }
            };
            let log = relay.last_lines().join("\n");
            return Err(DemoError::Relay { why, log });
        }
    }

    /// Returns how long it took from its start until it translated.
    pub(super) fn started_in(&self) -> Duration {
        self.started_in
    }

    /// Returns the number of its process.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns the last lines of its log.
    pub(super) fn last_lines(&self) -> Vec<String> {
        let log = self.read_log();
        let lines: Vec<&str> = log.lines().collect();
        let first = lines.len().saturating_sub(LAST_LINES);
        lines[first..]
            .iter()
            .map(|line| (*line).to_owned())
            .collect()
    }

    /// Tells the relay to stop and waits until it has.
    pub(super) fn stop(&mut self, patience: Patience<'_>) -> Result<ExitStatus, DemoError> {
        if let Some(status) = self.ended()? {
            let text = format!("it had ended before by itself, with {status}");
            return Err(DemoError::Wrong(text));
        }
        kill_process(Pid::from_child(&self.child), Signal::TERM)
            .map_err(failed("send SIGTERM to the relay"))?;
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            patience
                .left()
                .map_err(failed("see the relay stop after SIGTERM"))?;
            thread::sleep(GLANCE);
        }
    }

    /// Leaves the relay running when the value is dropped.
    pub(super) fn keep(mut self) {
        self.kept = true;
    }

    fn ended(&mut self) -> Result<Option<ExitStatus>, DemoError> {
        self.child
            .try_wait()
            .map_err(failed("look after the relay's process"))
    }

    fn read_log(&self) -> String {
        // A log that cannot be read looks like an empty one; the relay's end says the rest.
        let octets = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&octets).into_owned()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        let until = Instant::now() + LAST_GRACE;
        // A child that was waited for has no process to signal; one that was not keeps its number.
        if let Ok(None) = self.child.try_wait() {
            let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        }
        while let Ok(None) = self.child.try_wait() {
            if Instant::now() > until {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            thread::sleep(GLANCE);
        }
    }
}
