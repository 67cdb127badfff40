//! SCTP between a client and a service that know nothing of the relay: a real stack at both ends, over raw sockets, since not
//! every kernel has one. Its checksum (CRC32c) covers no addresses, so packets have to come through octet by octet.

use crate::inject::raw_socket;
use crate::lab::{CLIENT, Lab, SERVICE, embedded};
use relay::lab::Namespace;
use rustix::fd::OwnedFd;
use rustix::net::{Protocol, RecvFlags, SendFlags, connect, recv, send};
use sctp_proto::{
    Association, AssociationHandle, ClientConfig, DatagramEvent, Endpoint, EndpointConfig, Event,
    Payload, PayloadProtocolIdentifier, ServerConfig, StreamEvent, Transmit,
};
use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// SCTP's protocol number.
const SCTP: u32 = 132;
/// Octets that flow each way.
const OCTETS: usize = 200_000;
/// Octets of one message, which travels in several packets.
const MESSAGE: usize = 10_000;
const STREAM: u16 = 7;
/// The port that the stack takes for both ends by itself; raw sockets have none.
const PORT: u16 = 5000;

/// An end of an association.
struct Host {
    socket: OwnedFd,
    peer: SocketAddr,
    endpoint: Endpoint,
    association: Option<(AssociationHandle, Association)>,
    is_connected: bool,
    /// What was sent and received so far, packet by packet.
    sent: HashSet<Vec<u8>>,
    packets: Vec<Vec<u8>>,
    /// What came in on the stream.
    received: Vec<u8>,
}

impl Host {
    /// Opens the socket of a host that talks to `peer`.
    fn new(namespace: &Namespace, peer: IpAddr, is_server: bool) -> Self {
        let protocol = Protocol::from_raw(NonZeroU32::new(SCTP).unwrap());
        let socket = raw_socket(namespace, peer, protocol);
        connect(&socket, &SocketAddr::new(peer, 0)).unwrap();
        let server = is_server.then(|| Arc::new(ServerConfig::default()));
        Self {
            socket,
            peer: SocketAddr::new(peer, PORT),
            endpoint: Endpoint::new(Arc::new(EndpointConfig::default()), server),
            association: None,
            is_connected: false,
            sent: HashSet::new(),
            packets: Vec::new(),
            received: Vec::new(),
        }
    }

    fn connect(&mut self) {
        let association = self.endpoint.connect(ClientConfig::default(), self.peer);
        self.association = Some(association.unwrap());
    }

    fn association(&mut self) -> &mut Association {
        &mut self.association.as_mut().expect("an association").1
    }

    /// Does what there is to do: receives, lets time pass, sends.
    fn turn(&mut self) {
        let now = Instant::now();
        let mut buffer = [0; 2048];
        while let Ok((length, _)) = recv(&self.socket, &mut buffer, RecvFlags::DONTWAIT) {
            // IPv4 brings its header along.
            let header = if self.peer.is_ipv4() { 20 } else { 0 };
            let packet = buffer[header..length].to_vec();
            self.packets.push(packet.clone());
            let handled = self
                .endpoint
                .handle(now, self.peer, None, None, packet.into());
            match handled {
                Some((handle, DatagramEvent::NewAssociation(association))) => {
                    self.association = Some((handle, association));
                }
                Some((_, DatagramEvent::AssociationEvent(event))) => {
                    self.association().handle_event(event);
                }
                None => {}
            }
        }
        while let Some(transmit) = self.endpoint.poll_transmit() {
            self.transmit(transmit);
        }
        let Some((handle, association)) = &mut self.association else {
            return;
        };
        if association.poll_timeout().is_some_and(|at| at <= now) {
            association.handle_timeout(now);
        }
        while let Some(event) = association.poll_endpoint_event() {
            if let Some(event) = self.endpoint.handle_event(*handle, event) {
                association.handle_event(event);
            }
        }
        while let Some(event) = association.poll() {
            if let Event::Stream(StreamEvent::Readable { id }) = event {
                let mut stream = association.stream(id).unwrap();
                while let Ok(Some(chunks)) = stream.read() {
                    let before = self.received.len();
                    self.received.resize(before + chunks.len(), 0);
                    chunks.read(&mut self.received[before..]).unwrap();
                }
            } else if let Event::HandshakeFailed { reason } = event {
                panic!("{reason}");
            }
            self.is_connected |= matches!(event, Event::Connected);
        }
        let mut transmits = Vec::new();
        while let Some(transmit) = association.poll_transmit(now) {
            transmits.push(transmit);
        }
        for transmit in transmits {
            self.transmit(transmit);
        }
    }

    fn transmit(&mut self, transmit: Transmit) {
        let Payload::RawEncode(packets) = transmit.payload else {
            panic!("a packet that is not encoded");
        };
        for packet in packets {
            self.sent.insert(packet.to_vec());
            let sent = send(&self.socket, &packet, SendFlags::empty());
            assert_eq!(sent, Ok(packet.len()));
        }
    }

    /// Has the association send messages on the stream.
    fn write(&mut self, data: &[u8]) {
        let binary = PayloadProtocolIdentifier::Binary;
        let is_open = self.association().stream(STREAM).is_ok();
        let mut stream = match is_open {
            true => self.association().stream(STREAM),
            false => self.association().open_stream(STREAM, binary),
        }
        .unwrap();
        for message in data.chunks(MESSAGE) {
            assert_eq!(stream.write_with_ppi(message, binary), Ok(message.len()));
        }
    }
}

/// Lets both ends work until a condition holds.
fn until(what: &str, hosts: [&mut Host; 2], holds: impl Fn([&Host; 2]) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    let [client, server] = hosts;
    while !holds([client, server]) {
        assert!(Instant::now() < deadline, "never: {what}");
        client.turn();
        server.turn();
        std::thread::sleep(Duration::from_micros(200));
    }
}

#[test]
fn an_association_carries_data_both_ways() {
    let Some(lab) = Lab::new() else { return };
    let mut daemon = lab.start("");
    let mut server = Host::new(&lab.server, embedded(CLIENT).into(), true);
    let mut client = Host::new(&lab.client, SERVICE.into(), false);
    client.connect();
    until("a handshake", [&mut client, &mut server], |hosts| {
        hosts.iter().all(|host| host.is_connected)
    });

    let question: Vec<u8> = (0..OCTETS).map(|at| (at * 7 % 251) as u8).collect();
    let answer: Vec<u8> = question.iter().rev().copied().collect();
    client.write(&question);
    until("a question", [&mut client, &mut server], |[_, server]| {
        server.received.len() >= OCTETS
    });
    assert!(server.received == question);
    server.write(&answer);
    until("an answer", [&mut client, &mut server], |[client, _]| {
        client.received.len() >= OCTETS
    });
    assert!(client.received == answer);

    client.association().shutdown().unwrap();
    until("a farewell", [&mut client, &mut server], |hosts| {
        let mut associations = hosts
            .into_iter()
            .filter_map(|host| host.association.as_ref());
        associations.all(|(_, association)| association.is_closed() || association.is_drained())
    });
    for (from, to) in [(&client, &server), (&server, &client)] {
        assert!(to.packets.len() > OCTETS / 1500);
        assert!(to.packets.iter().all(|packet| from.sent.contains(packet)));
    }
    let counters = daemon.stop();
    counters.assert_balanced();
    assert_eq!(counters.sum("drop_"), 0, "{counters:?}");
    for (name, packets) in [
        ("out_v4_to_v6_packets", server.packets.len()),
        ("out_v6_to_v4_packets", client.packets.len()),
    ] {
        assert!(counters.get(name) >= packets as u64, "{counters:?}");
    }
}
