//! `siit-relay stop`: the end of the running relay, and of what it or one before it has left attached.

use crate::config;
use crate::control::client::{Client, ClientError};
use crate::control::protocol::Request;
use crate::driver::pins::{self, Pins};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// How long a relay may take to end, in seconds.
const PATIENCE: i64 = 15;

pub(super) fn run(
    socket: Option<PathBuf>,
    config: Option<&Path>,
    detach: bool,
    output: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    let config = match config {
        None => None,
        Some(path) => match super::load(path) {
            Some((config, _)) => Some(config),
            None => return Ok(ExitCode::FAILURE),
        },
    };
    // A configuration may have no control socket.
    let socket = socket.or_else(|| match &config {
        Some(config) => config.control.socket.clone(),
        None => Some(config::DEFAULT_SOCKET.into()),
    });
    let stopped = match &socket {
        Some(socket) => stop(socket, detach, output),
        None => Ok(None),
    };
    match (stopped, config) {
        (Ok(Some(code)), _) => Ok(code),
        (Ok(None) | Err(StopError::Client(ClientError::NoRelay { .. })), Some(config))
            if detach =>
        {
            detach_all(config.pin.as_deref(), output)
        }
        (Ok(None), _) => Err(anyhow::anyhow!(
            "the configuration has no `control.socket`; stop the relay by SIGTERM"
        )),
        (Err(StopError::Client(error @ ClientError::NoRelay { .. })), None) if detach => {
            Err(anyhow::Error::new(error)
                .context("what a stopped relay has left is found with `--config`"))
        }
        (Err(error), _) => Err(error.into()),
    }
}

/// Why a relay could not be stopped.
#[derive(Debug, thiserror::Error)]
enum StopError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("cannot wait for the relay: {0}")]
    Wait(#[from] io::Error),
    #[error("the relay has not ended after {PATIENCE} seconds")]
    Late,
}

/// Asks the relay that listens there to stop, and waits until it has.
fn stop(
    socket: &Path,
    detach: bool,
    output: &mut impl Write,
) -> Result<Option<ExitCode>, StopError> {
    let mut client = Client::connect(socket)?;
    let process = client.process()?;
    match client.ask(&Request::Stop { detach }, |_| Ok(())) {
        Ok(answer) if !answer.ok => {
            super::ask::present(false, &answer, output, |_, _| ())?;
            return Ok(Some(super::ask::code(&answer)));
        }
        // It may have been faster to end than to answer.
        Ok(_) | Err(ClientError::Broken(_)) => {}
        Err(error) => return Err(error.into()),
    }
    let limit = Timespec {
        tv_sec: PATIENCE,
        tv_nsec: 0,
    };
    match poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&limit))
        .map_err(io::Error::from)?
    {
        0 => Err(StopError::Late),
        _ => {
            writeln!(output, "stopped")?;
            Ok(Some(ExitCode::SUCCESS))
        }
    }
}

/// Takes away what a relay has left that runs no more.
fn detach_all(directory: Option<&Path>, output: &mut impl Write) -> anyhow::Result<ExitCode> {
    let pins = directory.map(Pins::find).transpose()?.flatten();
    let Some(pins) = pins else {
        writeln!(output, "no relay is running, and none has left anything")?;
        return Ok(ExitCode::SUCCESS);
    };
    let indices = pins.remove_all()?;
    for index in &indices {
        pins::await_detached(*index);
    }
    writeln!(output, "detached from {} interfaces", indices.len())?;
    Ok(ExitCode::SUCCESS)
}
