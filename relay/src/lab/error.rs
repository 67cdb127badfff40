//! Why a laboratory could not be built.

use std::io;

use crate::driver::ethtool::EthtoolError;
use crate::driver::netlink::NetlinkError;

/// A failed step in building a laboratory.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// A system call or program failed.
    #[error("namespace {namespace}: cannot {request}: {source}{}", needs(.source.raw_os_error()))]
    System {
        /// The namespace's name.
        namespace: String,
        /// What was to be done, with the object it was to be done to.
        request: String,
        /// The error of the system call.
        source: io::Error,
    },
    /// The kernel refused to configure an interface, address, route or neighbour.
    #[error("namespace {namespace}: cannot {request}: {source}{}", needs(.source.os_error()))]
    Netlink {
        /// The namespace's name.
        namespace: String,
        /// What was to be done, with the object it was to be done to.
        request: String,
        /// The kernel's answer.
        source: NetlinkError,
    },
    /// An interface's driver refused.
    #[error("namespace {namespace}: {source}")]
    Ethtool {
        /// The namespace's name.
        namespace: String,
        /// The driver's answer.
        source: EthtoolError,
    },
}

impl LabError {
    pub(super) fn system(namespace: &str, request: &str, source: io::Error) -> Self {
        Self::System {
            namespace: namespace.to_owned(),
            request: request.to_owned(),
            source,
        }
    }

    pub(super) fn netlink(namespace: &str, request: &str, source: NetlinkError) -> Self {
        Self::Netlink {
            namespace: namespace.to_owned(),
            request: request.to_owned(),
            source,
        }
    }
}

/// What the caller lacks, when that is what the error number says.
fn needs(error: Option<i32>) -> &'static str {
    let denied = [rustix::io::Errno::PERM, rustix::io::Errno::ACCESS]
        .map(|errno| Some(errno.raw_os_error()));
    if denied.contains(&error) {
        "; this needs root (CAP_SYS_ADMIN and CAP_NET_ADMIN)"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_for_want_of_privilege_names_the_capabilities() {
        let error = LabError::system(
            "lab",
            "make a network namespace",
            rustix::io::Errno::PERM.into(),
        );
        let text = error.to_string();
        assert!(
            text.starts_with("namespace lab: cannot make a network namespace: "),
            "{text}"
        );
        assert!(
            text.ends_with("; this needs root (CAP_SYS_ADMIN and CAP_NET_ADMIN)"),
            "{text}"
        );
        let other = LabError::system("lab", "open", rustix::io::Errno::NOENT.into());
        assert!(!other.to_string().contains("root"), "{other}");
    }
}
