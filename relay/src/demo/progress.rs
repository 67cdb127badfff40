//! The line that says what is going on; only on a terminal, and gone afterwards.

use std::io::{self, IsTerminal, Write};

/// A line on standard error that is written again and again. Dropping it wipes it out.
pub(super) struct Progress {
    is_shown: bool,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self {
            is_shown: io::stderr().is_terminal(),
        }
    }

    /// Shows what is going on instead of what was shown before.
    pub(super) fn show(&self, text: &str) {
        self.write(&format!("\r\x1b[K{text} ..."));
    }

    fn write(&self, text: &str) {
        if self.is_shown {
            let mut stderr = io::stderr();
            // A terminal that has gone away shall not end the demonstration before it has cleaned up.
            let _ = stderr
                .write_all(text.as_bytes())
                .and_then(|()| stderr.flush());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.write("\r\x1b[K");
    }
}
