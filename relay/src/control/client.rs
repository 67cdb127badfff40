//! The other end of the control socket: what the command line asks with.

use super::protocol::{Answer, Line, Request};
use rustix::net::sockopt::socket_peercred;
use rustix::process::{PidfdFlags, pidfd_open};
use serde_json::Value;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No relay listens there.
    #[error(
        "no relay is listening on {}: {source}; is it running? `--socket` takes the `control.socket` of its configuration",
        .path.display()
    )]
    NoRelay {
        /// Where.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The process may not use the socket.
    #[error("control socket {}: permission denied; it is for root, the relay's user and the members of `control.group`", .0.display())]
    Forbidden(PathBuf),
    /// The connection broke.
    #[error("control socket: the connection broke: {0}")]
    Broken(String),
    /// What came cannot be shown.
    #[error("cannot write: {0}")]
    Output(#[source] io::Error),
    /// The relay speaks differently.
    #[error("control socket: the answer cannot be read: {0}")]
    Foreign(#[from] serde_json::Error),
}

/// A connection to a running relay.
#[derive(Debug)]
pub struct Client {
    reader: BufReader<UnixStream>,
}

impl Client {
    /// Connects to the relay that listens at `path`.
    ///
    /// # Errors
    ///
    /// [`ClientError::NoRelay`] if there is none, [`ClientError::Forbidden`] if it is not for this user.
    pub fn connect(path: &Path) -> Result<Self, ClientError> {
        let is_forbidden = |error: &io::Error| error.kind() == io::ErrorKind::PermissionDenied;
        let path = path.to_owned();
        let stream = UnixStream::connect(&path).map_err(|source| match is_forbidden(&source) {
            true => ClientError::Forbidden(path),
            false => ClientError::NoRelay { path, source },
        })?;
        Ok(Self {
            reader: BufReader::new(stream),
        })
    }

    /// Returns a descriptor that becomes readable when the relay's process has ended.
    ///
    /// # Errors
    ///
    /// It has ended already, or the kernel does not tell.
    pub fn process(&self) -> io::Result<OwnedFd> {
        let peer = socket_peercred(self.reader.get_ref())?;
        Ok(pidfd_open(peer.pid, PidfdFlags::empty())?)
    }

    /// Sends a request; gives every item to `take` and returns the last line of the answer.
    ///
    /// # Errors
    ///
    /// The connection breaks, or what comes is not the protocol; or `take` has enough.
    pub fn ask(
        &mut self,
        request: &Request,
        mut take: impl FnMut(Value) -> io::Result<()>,
    ) -> Result<Answer, ClientError> {
        // A relay that turns this user away says so and does not listen; its words are worth more than the failure.
        let sent = self.reader.get_mut().write_all(request.emit().as_bytes());
        let mut line = String::new();
        loop {
            line.clear();
            let length = self.reader.read_line(&mut line);
            if length.map_err(|error| ClientError::Broken(error.to_string()))? == 0 {
                let why = sent.err().map(|error| error.to_string());
                let why = why.unwrap_or_else(|| "the relay has closed it".to_owned());
                return Err(ClientError::Broken(why));
            }
            match serde_json::from_str(&line)? {
                Line::Item(item) => take(item.item).map_err(ClientError::Output)?,
                Line::Answer(answer) => return Ok(answer),
            }
        }
    }
}
