//! A program that runs inside the laboratory until it is stopped, with its log in a file.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use relay::lab::Namespace;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::cases::StartError;
use crate::interrupt;
use crate::pin;

/// How often to look whether it is ready, or has ended.
const GLANCE: Duration = Duration::from_millis(5);
/// How long it may take to get ready; a million mappings have to be read.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long it may take to stop.
const GRACE: Duration = Duration::from_secs(5);

/// How to know that a program is ready.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ready {
    /// A line of its log contains this.
    Logs(&'static str),
    /// It does not tell, but has not ended after so long.
    After(Duration),
}

/// A running program with a directory of its own. Dropping it stops the program and removes the directory.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    name: String,
    log: PathBuf,
    directory: TempDir,
}

impl Process {
    /// Starts a program in a namespace and waits until it is ready. With a processor, the whole program stays on that one.
    ///
    /// # Errors
    ///
    /// [`StartError::Refused`] with the end of the log if it ends before; others if it cannot be run at all.
    pub(crate) fn start(
        namespace: &Namespace,
        mut command: Command,
        directory: TempDir,
        processor: Option<usize>,
        ready: Ready,
    ) -> Result<Self, StartError> {
        let name = command.get_program().to_string_lossy().into_owned();
        let failed = |what: &str| {
            let what = format!("cannot {what} {name}");
            move |source: io::Error| StartError::Io { what, source }
        };
        let log = directory.path().join("log");
        let output = File::create(&log).map_err(failed("create the log of"))?;
        let errors = output.try_clone().map_err(failed("create the log of"))?;
        command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            // Ctrl-C is for the benchmark, which then stops what it has started.
            .process_group(0);
        let child = namespace
            .run_in(|| {
                // A program inherits the processors of the thread that starts it.
                if let Some(processor) = processor {
                    pin::to(processor)?;
                }
                command.spawn()
            })?
            .map_err(failed("run"))?;
        let mut process = Self {
            child,
            name,
            log,
            directory,
        };
        let begin = Instant::now();
        loop {
            let is_ready = match ready {
                Ready::Logs(text) => process.read_log().lines().any(|line| line.contains(text)),
                Ready::After(time) => begin.elapsed() >= time,
            };
            if is_ready {
                return Ok(process);
            }
            process.still_runs()?;
            if interrupt::requested() {
                return Err(StartError::Interrupted);
            }
            if begin.elapsed() > PATIENCE {
                let seconds = PATIENCE.as_secs();
                return Err(StartError::Refused(format!("not ready after {seconds} s")));
            }
            thread::sleep(GLANCE);
        }
    }

    /// The number of its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Checks that the program has not ended.
    pub(crate) fn still_runs(&mut self) -> Result<(), StartError> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => {
                let log = self.read_log();
                let lines = || log.lines().map(str::trim).filter(|line| !line.is_empty());
                // Warnings are not why, and what is said last need not be.
                let why = lines()
                    .find(|line| !line.to_lowercase().contains("warn"))
                    .map_or_else(|| status.to_string(), str::to_owned);
                let directory = format!("{}/", self.directory.path().display());
                Err(StartError::Refused(why.replace(&directory, "")))
            }
            Err(source) => Err(StartError::Io {
                what: format!("cannot look after {}", self.name),
                source,
            }),
        }
    }

    fn read_log(&self) -> String {
        // A log that cannot be read looks like an empty one; the program's end says the rest.
        let octets = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&octets).into_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A child that was waited for has no process to signal; one that was not keeps its number.
        if let Ok(None) = self.child.try_wait() {
            let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        }
        let deadline = Instant::now() + GRACE;
        while let Ok(None) = self.child.try_wait() {
            if Instant::now() > deadline {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            thread::sleep(GLANCE);
        }
    }
}
