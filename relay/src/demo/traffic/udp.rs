//! UDP: requests of many lengths, each sent back by the server.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use rustix::event::PollFlags;

use super::super::error::{DemoError, failed};
use super::super::lab::{CLIENT_V4, SERVICE_V4, SERVICE_V6};
use super::super::patience::Patience;
use super::{Ends, Measured, Noise, all_answered, check_client};

/// The port of the service that sends everything back (RFC 862).
const ECHO_PORT: u16 = 7;
/// The lengths of the requests in octets: odd and even, around powers of two.
const LENGTHS: [usize; 16] = [
    1, 2, 3, 8, 63, 64, 65, 127, 255, 256, 511, 512, 1023, 1232, 1399, 1400,
];
/// How long to wait for one datagram.
const DATAGRAM_WAIT: Duration = Duration::from_secs(1);

/// Exchanges datagrams between client and server.
pub(in crate::demo) fn request_and_reply(ends: Ends<'_>) -> Result<Measured, DemoError> {
    let pair = Pair::open(ends)?;
    let answered = all_answered(LENGTHS, |length| {
        let request = Noise::octets(length as u64, length);
        pair.exchange(&request, ends.patience.at_most(DATAGRAM_WAIT))
    })?;
    let longest = LENGTHS.iter().max().unwrap_or(&0);
    Ok(format!("{answered}, up to {longest} octets").into())
}

/// A socket of the client, and the server's.
pub(in crate::demo) struct Pair {
    client: UdpSocket,
    server: UdpSocket,
}

impl Pair {
    pub(in crate::demo) fn open(ends: Ends<'_>) -> Result<Self, DemoError> {
        let bind = |address: SocketAddr| {
            let socket = UdpSocket::bind(address)?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        };
        let server = ends
            .server
            .run_in(|| bind((SERVICE_V6, ECHO_PORT).into()))?
            .map_err(failed::<io::Error>("open the server's UDP socket"))?;
        let client = ends
            .client
            .run_in(|| {
                let socket = bind((CLIENT_V4, 0).into())?;
                socket.connect((SERVICE_V4, ECHO_PORT))?;
                Ok(socket)
            })?
            .map_err(failed::<io::Error>("open the client's UDP socket"))?;
        Ok(Self { client, server })
    }

    /// Sends a request to the server and back to the client.
    pub(in crate::demo) fn exchange(
        &self,
        request: &[u8],
        patience: Patience<'_>,
    ) -> Result<(), DemoError> {
        let length = request.len();
        let mut buffer = [0; 2048];
        self.client
            .send(request)
            .map_err(failed(format!("send a request of {length} octets")))?;
        let call = || self.server.recv_from(&mut buffer);
        let (arrived, peer) = patience
            .retry(&self.server, PollFlags::IN, call)
            .map_err(failed(format!(
                "get the request of {length} octets at the server"
            )))?;
        check_client(peer)?;
        check_content("request", &buffer[..arrived], request)?;
        self.server
            .send_to(request, peer)
            .map_err(failed(format!("send a reply of {length} octets")))?;
        let call = || self.client.recv(&mut buffer);
        let arrived = patience
            .retry(&self.client, PollFlags::IN, call)
            .map_err(failed(format!(
                "get the reply of {length} octets at the client"
            )))?;
        check_content("reply", &buffer[..arrived], request)
    }
}

fn check_content(what: &str, arrived: &[u8], sent: &[u8]) -> Result<(), DemoError> {
    if arrived == sent {
        return Ok(());
    }
    let (length, other) = (sent.len(), arrived.len());
    Err(DemoError::Wrong(format!(
        "the {what} of {length} octets arrived altered, with {other}"
    )))
}
