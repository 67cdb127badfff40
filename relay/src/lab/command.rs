//! Programs that run inside a namespace.

use std::ffi::OsStr;
use std::io;
use std::process::{self, Child, ExitStatus, Output, Stdio};

use super::{LabError, Namespace};

/// A command like [`std::process::Command`], whose program runs inside a [`Namespace`].
///
/// It is not that type itself: a program inherits the namespace of the *thread* that starts it, so starting it has to be
/// done here.
#[derive(Debug)]
pub struct Command<'a> {
    namespace: &'a Namespace,
    command: process::Command,
}

impl<'a> Command<'a> {
    pub(super) fn new(namespace: &'a Namespace, program: &str) -> Self {
        Self {
            namespace,
            command: process::Command::new(program),
        }
    }

    /// Adds an argument.
    pub fn arg(&mut self, argument: impl AsRef<OsStr>) -> &mut Self {
        self.command.arg(argument);
        self
    }

    /// Adds several arguments.
    pub fn args<S: AsRef<OsStr>>(&mut self, arguments: impl IntoIterator<Item = S>) -> &mut Self {
        self.command.args(arguments);
        self
    }

    /// Sets a variable of the program's environment.
    pub fn env(&mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> &mut Self {
        self.command.env(key, value);
        self
    }

    /// Says where the program's standard input comes from.
    pub fn stdin(&mut self, input: impl Into<Stdio>) -> &mut Self {
        self.command.stdin(input);
        self
    }

    /// Says where the program's standard output goes.
    pub fn stdout(&mut self, output: impl Into<Stdio>) -> &mut Self {
        self.command.stdout(output);
        self
    }

    /// Says where the program's standard error goes.
    pub fn stderr(&mut self, output: impl Into<Stdio>) -> &mut Self {
        self.command.stderr(output);
        self
    }

    /// Starts the program. The caller has to wait for the child or end it before the namespace is dropped.
    pub fn spawn(&mut self) -> Result<Child, LabError> {
        self.run(process::Command::spawn)
    }

    /// Runs the program to its end and returns what it wrote.
    pub fn output(&mut self) -> Result<Output, LabError> {
        self.run(process::Command::output)
    }

    /// Runs the program to its end and returns how it ended.
    pub fn status(&mut self) -> Result<ExitStatus, LabError> {
        self.run(process::Command::status)
    }

    fn run<R: Send>(
        &mut self,
        start: impl FnOnce(&mut process::Command) -> io::Result<R> + Send,
    ) -> Result<R, LabError> {
        let command = &mut self.command;
        self.namespace.run_in(|| start(command))?.map_err(|source| {
            let program = self.command.get_program().to_string_lossy().into_owned();
            LabError::system(self.namespace.name(), &format!("run {program}"), source)
        })
    }
}
