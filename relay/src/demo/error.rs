//! Why a step of the demonstration failed.

use std::io;

use crate::lab::LabError;

/// A failed step: of building the laboratory, or of a check.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The process may not do what the demonstration needs.
    #[error(
        "the demo needs root (CAP_SYS_ADMIN, CAP_NET_ADMIN and CAP_NET_RAW) for its network \
         namespaces and the relay's XDP program; try `sudo siit-relay demo`"
    )]
    Privilege,
    /// A namespace could not be made, furnished or entered.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// A system call failed, or what it waited for did not come.
    #[error("cannot {action}: {source}")]
    System {
        /// What was to be done.
        action: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The relay did not come as far as translating.
    #[error("the relay does not start: {why}; the end of its log:\n{log}")]
    Relay {
        /// How it failed.
        why: String,
        /// The last lines that it logged.
        log: String,
    },
    /// Something else came than should have come.
    #[error("{0}")]
    Wrong(String),
    /// A signal ended the demonstration.
    #[error("interrupted; the laboratory is removed")]
    Interrupted,
}

/// Completes "cannot ..." for an error of the system.
pub(super) fn failed<E: Into<io::Error>>(action: impl Into<String>) -> impl FnOnce(E) -> DemoError {
    move |source| DemoError::System {
        action: action.into(),
        source: source.into(),
    }
}
