//! TCP: a long download, a long upload, and many connections at the same time.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use sha2::{Digest, Sha256};

use super::super::error::{DemoError, failed};
use super::super::lab::{SERVICE_V4, SERVICE_V6};
use super::super::patience::{Patience, Stream};
use super::{Ends, Measured, Noise, at_once, check_client, join};

/// The port of the service.
const PORT: u16 = 80;
/// How much goes through one connection, in octets.
const TRANSFER: usize = 50_000_000;
/// How much is written and read at a time, in octets.
const CHUNK: usize = 65_536;
/// How many connections there are at the same time.
const CONNECTIONS: usize = 200;
/// What goes through each of them in either direction: so many messages of so many octets.
const MESSAGES: usize = 4;
const MESSAGE: usize = 16_384;
/// How long to wait for one connection: long enough for a repetition of the SYN.
const CONNECT_WAIT: Duration = Duration::from_secs(2);
/// How long the server waits for the next connection.
const ACCEPT_WAIT: Duration = Duration::from_secs(4);

/// Has the server send a lot to the client.
pub(in crate::demo) fn download(ends: Ends<'_>) -> Result<Measured, DemoError> {
    let (client, server) = Service::open(ends)?.connect(ends)?;
    transfer(server, client)
}

/// Has the client send a lot to the server.
pub(in crate::demo) fn upload(ends: Ends<'_>) -> Result<Measured, DemoError> {
    let (client, server) = Service::open(ends)?.connect(ends)?;
    transfer(client, server)
}

/// The server's listening socket.
pub(in crate::demo) struct Service(TcpListener);

impl Service {
    pub(in crate::demo) fn open(ends: Ends<'_>) -> Result<Self, DemoError> {
        let listen = || {
            let listener = TcpListener::bind((SERVICE_V6, PORT))?;
            listener.set_nonblocking(true)?;
            // The standard library lets 128 connections wait to be accepted; many at once may overrun that.
            rustix::net::listen(&listener, CONNECTIONS as i32)?;
            Ok(listener)
        };
        let listener = ends.server.run_in(listen)?;
        Ok(Self(listener.map_err(failed::<io::Error>(
            "open the server's TCP socket",
        ))?))
    }

    /// Opens a connection; returns its client's and its server's end.
    pub(in crate::demo) fn connect<'a>(
        &self,
        ends: Ends<'a>,
    ) -> Result<(Stream<'a>, Stream<'a>), DemoError> {
        let client = ends
            .client
            .run_in(|| connect(ends.patience))?
            .map_err(failed("connect from the client"))?;
        Ok((client, self.accept(ends.patience)?))
    }

    fn accept<'a>(&self, patience: Patience<'a>) -> Result<Stream<'a>, DemoError> {
        let (stream, peer) = patience
            .at_most(ACCEPT_WAIT)
            .retry(&self.0, PollFlags::IN, || self.0.accept())
            .map_err(failed("accept a connection at the server"))?;
        check_client(peer)?;
        Stream::new(stream, patience).map_err(failed("set the server's socket up"))
    }
}

/// Connects to the service; to be called inside the client's namespace.
fn connect(patience: Patience<'_>) -> io::Result<Stream<'_>> {
    let limit = patience.at_most(CONNECT_WAIT).left()?;
    let stream = TcpStream::connect_timeout(&(SERVICE_V4, PORT).into(), limit)?;
    Stream::new(stream, patience)
}

/// Sends [`TRANSFER`] octets over a connection and compares the digests of what went in and what came out.
fn transfer(from: Stream<'_>, to: Stream<'_>) -> Result<Measured, DemoError> {
    let begin = Instant::now();
    let (sent, received) = thread::scope(|scope| {
        let sender = scope.spawn(|| send(from));
        let received = receive(to);
        (join(sender), received)
    });
    let seconds = begin.elapsed().as_secs_f64();
    // Where both ends fail, the receiver's failure is the reason of the sender's.
    let (octets, received) = received.map_err(failed("receive"))?;
    let sent = sent.map_err(failed(format!("send all; {octets} octets arrived")))?;
    if octets != TRANSFER || received != sent {
        let text = format!("{octets} of {TRANSFER} octets arrived, with another SHA-256");
        return Err(DemoError::Wrong(text));
    }
    let (megabytes, rate) = (octets as f64 / 1e6, octets as f64 * 8e-6 / seconds);
    Ok(Measured {
        text: format!("{megabytes:.0} MB in {seconds:.2} s, {rate:.0} Mbit/s, SHA-256 equal"),
        megabits_per_second: Some(rate),
    })
}

fn send(mut stream: Stream<'_>) -> io::Result<[u8; 32]> {
    let (mut noise, mut digest) = (Noise(0), Sha256::new());
    let mut chunk = vec![0; CHUNK];
    let mut left = TRANSFER;
    while left > 0 {
        let part = &mut chunk[..left.min(CHUNK)];
        noise.fill(part);
        digest.update(&*part);
        stream.write_all(part)?;
        left -= part.len();
    }
    stream.finish()?;
    Ok(digest.finalize().into())
}

fn receive(mut stream: Stream<'_>) -> io::Result<(usize, [u8; 32])> {
    let mut digest = Sha256::new();
    let mut chunk = vec![0; CHUNK];
    let mut received = 0;
    loop {
        match stream.read(&mut chunk)? {
            0 => return Ok((received, digest.finalize().into())),
            length => {
                digest.update(&chunk[..length]);
                received += length;
            }
        }
    }
}

/// Has many connections open at the same time and exchanges messages over each.
pub(in crate::demo) fn parallel(ends: Ends<'_>) -> Result<Measured, DemoError> {
    let service = Service::open(ends)?;
    let begin = Instant::now();
    let (served, visits) = thread::scope(|scope| {
        let served = scope.spawn(|| serve(&service, ends.patience));
        let visits = ends
            .client
            .run_in(|| at_once(0..CONNECTIONS, |number| visit(number, ends.patience)));
        (join(served), visits)
    });
    let seconds = begin.elapsed().as_secs_f64();
    let failures: Vec<io::Error> = visits?.into_iter().filter_map(Result::err).collect();
    if let Some(first) = failures.first() {
        let good = CONNECTIONS - failures.len();
        let text = format!("{good} of {CONNECTIONS} connections went well; {first}");
        return Err(DemoError::Wrong(text));
    }
    served?;
    let kibibytes = MESSAGES * MESSAGE / 1024;
    let text =
        format!("{CONNECTIONS} at once, {kibibytes} KiB each way on each, in {seconds:.2} s");
    Ok(text.into())
}

/// Accepts all connections; only when they are there sends back what comes in on each.
fn serve(service: &Service, patience: Patience<'_>) -> Result<(), DemoError> {
    let mut streams = Vec::new();
    let accepted: Result<(), DemoError> = (0..CONNECTIONS).try_for_each(|_| {
        streams.push(service.accept(patience)?);
        Ok(())
    });
    // Where some are missing, the others go on, so that the failure is seen where it is.
    let answered = at_once(streams, |mut stream| {
        let mut message = vec![0; MESSAGE];
        for _ in 0..MESSAGES {
            stream.read_exact(&mut message)?;
            stream.write_all(&message)?;
        }
        Ok(())
    });
    accepted?;
    answered
        .into_iter()
        .collect::<io::Result<()>>()
        .map_err(failed("answer at the server"))
}

/// Sends messages that no other connection has, and wants each of them back.
fn visit(number: usize, patience: Patience<'_>) -> io::Result<()> {
    let mut stream = connect(patience)?;
    let sent = Noise::octets(number as u64, MESSAGES * MESSAGE);
    let mut received = vec![0; MESSAGE];
    for message in sent.chunks(MESSAGE) {
        stream.write_all(message)?;
        stream.read_exact(&mut received)?;
        if received != message {
            return Err(io::Error::new(
                ErrorKind::InvalidData,
                "an altered message came back",
            ));
        }
    }
    Ok(())
}
