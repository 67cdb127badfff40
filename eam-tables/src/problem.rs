//! What is wrong in a file, and where. Also used for the daemon's own configuration file.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// A spot in a text file.
///
/// The path is displayed as it was given. Many places share one path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file, as its reader was told to open it.
    pub path: Arc<Path>,
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
}

impl Place {
    /// Names the first character of a file, for problems which concern the whole of it.
    pub fn start_of(path: Arc<Path>) -> Self {
        Self {
            path,
            line: 1,
            column: 1,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.path.display(), self.line, self.column)
    }
}

/// How bad a [`Problem`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The file must not be used.
    Error,
    /// The file can be used, but may not do what its author meant.
    Warning,
}

/// One finding about a file, shown as `file:line:column: message`.
///
/// A warning has the word `warning: ` before its message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Whether the file can be used all the same.
    pub severity: Severity,
    /// Where the author has to look.
    pub place: Place,
    /// What is wrong and what to write instead; one line, no full stop.
    pub message: String,
}

impl Problem {
    /// Makes a problem that forbids the use of the file.
    pub fn error(place: Place, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            place,
            message: message.into(),
        }
    }

    /// Makes a problem that leaves the file usable.
    pub fn warning(place: Place, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            place,
            message: message.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.severity {
            Severity::Error => "",
            Severity::Warning => "warning: ",
        };
        write!(f, "{}: {kind}{}", self.place, self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_shown_as_file_line_column_message() {
        let place = Place {
            path: Path::new("dir/eam.yaml").into(),
            line: 3,
            column: 12,
        };
        assert_eq!(
            Problem::error(place.clone(), "no").to_string(),
            "dir/eam.yaml:3:12: no"
        );
        assert_eq!(
            Problem::warning(place, "hm").to_string(),
            "dir/eam.yaml:3:12: warning: hm"
        );
    }
}
