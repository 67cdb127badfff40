//! Waiting that always ends: at a deadline, or when a signal asks the demonstration to stop.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How long a wait may overlook a signal.
const ATTENTION: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 50_000_000,
};

/// How long a TCP connection may stand still.
const STANDSTILL: Duration = Duration::from_secs(5);

/// For how long to wait at most, and the flag that ends all waits at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience<'a> {
    interrupted: &'a AtomicBool,
    until: Instant,
}

impl<'a> Patience<'a> {
    pub(super) fn new(interrupted: &'a AtomicBool, limit: Duration) -> Self {
        Self {
            interrupted,
            until: Instant::now() + limit,
        }
    }

    /// Returns the same patience, but for a shorter time.
    pub(super) fn at_most(self, limit: Duration) -> Self {
        Self {
            until: self.until.min(Instant::now() + limit),
            ..self
        }
    }

    /// Returns how much time there is, or an error if there is none.
    pub(super) fn left(self) -> io::Result<Duration> {
        let left = self.until.saturating_duration_since(Instant::now());
        if self.interrupted.load(Ordering::Relaxed) {
            Err(io::Error::other("told to stop"))
        } else if left.is_zero() {
            Err(io::Error::new(ErrorKind::TimedOut, "nothing came in time"))
        } else {
            Ok(left)
        }
    }

    /// Waits until a socket is ready for one of `events` or has an error to tell.
    pub(super) fn wait(self, socket: impl AsFd, events: PollFlags) -> io::Result<()> {
        loop {
            self.left()?;
            let mut descriptors = [PollFd::new(&socket, events)];
            match poll(&mut descriptors, Some(&ATTENTION)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Repeats a call on a non-blocking socket until it no longer has to wait.
    pub(super) fn retry<R>(
        self,
        socket: impl AsFd,
        events: PollFlags,
        mut call: impl FnMut() -> io::Result<R>,
    ) -> io::Result<R> {
        loop {
            match call() {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.wait(&socket, events)?
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }
}

/// A TCP connection that is read and written with patience.
#[derive(Debug)]
pub(super) struct Stream<'a> {
    stream: TcpStream,
    patience: Patience<'a>,
}

impl<'a> Stream<'a> {
    pub(super) fn new(stream: TcpStream, patience: Patience<'a>) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        // Small answers go out at once, or each would wait for an acknowledgment.
        stream.set_nodelay(true)?;
        Ok(Self { stream, patience })
    }

    /// Says that nothing more will be written.
    pub(super) fn finish(&self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)
    }
}

impl Read for Stream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let call = || (&self.stream).read(buffer);
        let patience = self.patience.at_most(STANDSTILL);
        patience.retry(&self.stream, PollFlags::IN, call)
    }
}

impl Write for Stream<'_> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let call = || (&self.stream).write(octets);
        let patience = self.patience.at_most(STANDSTILL);
        patience.retry(&self.stream, PollFlags::OUT, call)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn a_wait_ends_at_its_deadline() {
        let interrupted = AtomicBool::new(false);
        let patience = Patience::new(&interrupted, Duration::from_secs(60));
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let begin = Instant::now();
        let short = patience.at_most(Duration::from_millis(60));
        let error = short.wait(&socket, PollFlags::IN).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(begin.elapsed() < Duration::from_secs(5));
        assert!(patience.left().is_ok());
    }

    #[test]
    fn a_signal_ends_every_wait() {
        let interrupted = AtomicBool::new(true);
        let patience = Patience::new(&interrupted, Duration::from_secs(60));
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let error = patience.wait(&socket, PollFlags::IN).unwrap_err();
        assert_eq!(error.to_string(), "told to stop");
    }

    #[test]
    fn what_is_ready_needs_no_wait() {
        let interrupted = AtomicBool::new(false);
        let patience = Patience::new(&interrupted, Duration::from_secs(5));
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        socket.send_to(b"x", socket.local_addr().unwrap()).unwrap();
        let mut buffer = [0; 4];
        let call = || socket.recv(&mut buffer);
        assert_eq!(patience.retry(&socket, PollFlags::IN, call).unwrap(), 1);
    }
}
