//! One packet of each kind, captured on both sides of the relay: what it was, and what it became.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::PollFlags;
use rustix::net::{AddressFamily, Protocol, RecvFlags, SocketFlags, SocketType, recv, socket_with};

use super::error::{DemoError, failed};
use super::lab::SERVICE_V4;
use super::packet::{Kind, Packet};
use super::patience::Patience;
use super::traffic::Ends;
use super::traffic::ping::Pinger;
use super::traffic::tcp::Service;
use super::traffic::udp::Pair;
use super::translation::Translation;
use crate::lab::Namespace;

/// Every Ethernet protocol, in network order as socket(2) wants it.
const ETH_P_ALL: u32 = (3_u16).to_be() as u32;
/// The payload of the packets that are shown.
const PAYLOAD: &[u8] = b"through the relay";
/// How long to wait for a packet that was sent to appear in a capture.
const CAPTURE_WAIT: Duration = Duration::from_secs(1);

/// Sends one packet of each kind through the relay and returns what became of each.
pub(super) fn translations(ends: Ends<'_>) -> Result<Vec<Translation>, DemoError> {
    let mut client = Tap::open(ends.client)?;
    let mut server = Tap::open(ends.server)?;
    Pinger::open(ends.client, SERVICE_V4.into())?.exchange(1, PAYLOAD, ends.patience)?;
    drop(Service::open(ends)?.connect(ends)?);
    Pair::open(ends)?.exchange(PAYLOAD, ends.patience)?;
    let patience = ends.patience.at_most(CAPTURE_WAIT);
    Kind::ALL
        .into_iter()
        .map(|kind| {
            let (at_client, at_server) =
                (client.find(kind, patience)?, server.find(kind, patience)?);
            Ok(match kind.is_from_client() {
                true => Translation {
                    sent: at_client,
                    received: at_server,
                },
                false => Translation {
                    sent: at_server,
                    received: at_client,
                },
            })
        })
        .collect()
}

/// A socket that gets a copy of every frame that enters or leaves a namespace.
struct Tap {
    socket: OwnedFd,
    packets: Vec<Packet>,
    namespace: String,
}

impl Tap {
    fn open(namespace: &Namespace) -> Result<Self, DemoError> {
        let protocol = rustix::net::RawProtocol::new(ETH_P_ALL).map(Protocol::from_raw);
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = namespace
            .run_in(|| socket_with(AddressFamily::PACKET, SocketType::RAW, flags, protocol))?
            .map_err(failed("open a packet socket (AF_PACKET) to capture with"))?;
        Ok(Self {
            socket,
            packets: Vec::new(),
            namespace: namespace.name().to_owned(),
        })
    }

    /// Returns the first packet of a kind, and waits for it if need be.
    fn find(&mut self, kind: Kind, patience: Patience<'_>) -> Result<Packet, DemoError> {
        loop {
            if let Some(packet) = self.packets.iter().find(|packet| packet.kind == kind) {
                return Ok(packet.clone());
            }
            let packet = self.next(patience).map_err(failed(format!(
                "capture the {} in {}",
                kind.name(),
                self.namespace
            )))?;
            self.packets.extend(packet);
        }
    }

    /// Returns the next frame's packet; `None` if the frame is of no interest.
    fn next(&self, patience: Patience<'_>) -> io::Result<Option<Packet>> {
        let mut frame = [0; 2048];
        let call = || Ok(recv(&self.socket, &mut frame, RecvFlags::empty())?.0);
        let length = patience.retry(&self.socket, PollFlags::IN, call)?;
        Ok(Packet::parse(&frame[..length]))
    }
}
