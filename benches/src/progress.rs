//! One line on standard error that says what is being done, if somebody sees it.

use std::io::{IsTerminal, Write, stderr};

/// The line; it is wiped when the value is dropped.
#[derive(Debug)]
pub(crate) struct Progress {
    seen: bool,
}

impl Progress {
    /// Begins the line, if standard error is a terminal.
    pub(crate) fn new() -> Self {
        Self {
            seen: stderr().is_terminal(),
        }
    }

    /// Says what is being done.
    pub(crate) fn say(&self, what: &str) {
        if self.seen {
            // Nothing is lost with it.
            let _ = write!(stderr(), "\r\x1b[K{what}");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.say("");
    }
}
