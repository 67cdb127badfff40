//! Serving the control socket: a thread that accepts, and one for each client.

use super::access::{Access, Refusal};
use super::answer;
use super::listen::{Listener, Serving};
use super::protocol::{Answer, MAX_REQUEST, Request};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;
use tracing::{debug, warn};

/// The most clients at a time.
const MAX_CLIENTS: usize = 32;
/// How long a client may be silent, or not read what it is sent.
const IDLE: Duration = Duration::from_secs(60);
/// How long to wait before the next client, when one could not be accepted.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves the control socket for as long as the process lives.
///
/// # Errors
///
/// There cannot be another thread or descriptor.
pub fn serve(listener: &Listener, access: Access) -> io::Result<()> {
    let serving = listener.serving()?;
    let thread = thread::Builder::new().name("control-socket".to_owned());
    thread.spawn(move || accept(&serving, &access))?;
    Ok(())
}

fn accept(serving: &Serving, access: &Access) {
    let clients = Arc::new(AtomicUsize::new(0));
    loop {
        let (stream, may) = match serving.accept() {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!("control socket: {error}");
                thread::sleep(PAUSE);
                continue;
            }
        };
        let why_not = match may {
            false => Some(
                "you may not use this socket: it is for root, the relay's user and the members of `control.group`",
            ),
            true if clients.load(Ordering::Relaxed) >= MAX_CLIENTS => Some("too many clients"),
            true => None,
        };
        if let Some(why) = why_not {
            let _ = (&stream).write_all(Answer::refused(Refusal::because(why)).emit().as_bytes());
            continue;
        }
        clients.fetch_add(1, Ordering::Relaxed);
        let place = Place(Arc::clone(&clients));
        let access = access.clone();
        let thread = thread::Builder::new().name("control-client".to_owned());
        let spawned = thread.spawn(move || {
            let _place = place;
            // A client that goes away is no matter.
            if let Err(error) = converse(&stream, &access) {
                debug!("control socket: {error}");
            }
        });
        if let Err(error) = spawned {
            warn!("control socket: cannot start a thread: {error}");
        }
    }
}

/// A client's place among those that may be there at a time.
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Answers a client's requests until it goes.
fn converse(stream: &UnixStream, access: &Access) -> io::Result<()> {
    stream.set_read_timeout(Some(IDLE))?;
    stream.set_write_timeout(Some(IDLE))?;
    let mut reader = BufReader::new(stream);
    let mut writer = BufWriter::new(stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        if (&mut reader)
            .take(MAX_REQUEST)
            .read_until(b'\n', &mut line)?
            == 0
        {
            return Ok(());
        }
        let is_whole = line.ends_with(b"\n") || (line.len() as u64) < MAX_REQUEST;
        if line.trim_ascii().is_empty() && is_whole {
            continue;
        }
        let answer = match Request::parse(&line) {
            _ if !is_whole => {
                let why = format!("a request has {MAX_REQUEST} octets at most");
                writer.write_all(Answer::refused(Refusal::because(why)).emit().as_bytes())?;
                return writer.flush();
            }
            Ok(request) => answer::answer(&request, access, &mut writer)?,
            Err(why) => Answer::refused(Refusal::because(why)),
        };
        writer.write_all(answer.emit().as_bytes())?;
        writer.flush()?;
    }
}
