//! What a captured packet was: addresses, hop limit, kind, and whether its checksums are right.
//!
//! Decoding is etherparse's and shares nothing with the translator, which it is to judge.

use std::net::IpAddr;

use etherparse::checksum::Sum16BitWords;
use etherparse::{
    IcmpEchoHeader, Icmpv4Type, Icmpv6Type, NetSlice, SlicedPacket, TransportSlice, ip_number,
};

/// The kinds of packets that the demonstration shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    EchoRequest,
    Syn,
    SynAck,
    Datagram,
}

impl Kind {
    pub(super) const ALL: [Self; 4] = [Self::EchoRequest, Self::Syn, Self::SynAck, Self::Datagram];

    /// Returns what to call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::EchoRequest => "ICMP echo request",
            Self::Syn => "TCP SYN",
            Self::SynAck => "TCP SYN/ACK",
            Self::Datagram => "UDP datagram",
        }
    }

    /// Says whether the client sends it, and not the server.
    pub(super) fn is_from_client(self) -> bool {
        match self {
            Self::EchoRequest | Self::Syn | Self::Datagram => true,
            Self::SynAck => false,
        }
    }
}

/// A packet of one of these kinds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Packet {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    /// TTL or hop limit.
    pub(super) hops: u8,
    pub(super) kind: Kind,
    /// Identifier and sequence number, or source and destination port.
    pub(super) numbers: [u16; 2],
    /// The octets behind all headers.
    pub(super) payload: usize,
    /// Whether the checksums of all headers are right.
    pub(super) is_sound: bool,
}

/// What the network header tells, with the sum of the pseudo-header without length and protocol.
struct Network {
    source: IpAddr,
    destination: IpAddr,
    hops: u8,
    is_sound: bool,
    pseudo_header: Sum16BitWords,
}

/// What the transport header tells.
struct Transport {
    kind: Kind,
    numbers: [u16; 2],
    payload: usize,
    is_sound: bool,
}

impl Packet {
    /// Decodes an Ethernet frame; `None` for other kinds of packets.
    pub(super) fn parse(frame: &[u8]) -> Option<Self> {
        let packet = SlicedPacket::from_ethernet(frame).ok()?;
        let network = network(packet.net.as_ref()?)?;
        let transport = transport(packet.transport.as_ref()?, network.pseudo_header)?;
        Some(Self {
            source: network.source,
            destination: network.destination,
            hops: network.hops,
            kind: transport.kind,
            numbers: transport.numbers,
            payload: transport.payload,
            is_sound: network.is_sound && transport.is_sound,
        })
    }

    /// Returns the protocol as the network header's version calls it.
    pub(super) fn protocol(&self) -> &'static str {
        match (self.kind, self.source) {
            (Kind::EchoRequest, IpAddr::V4(_)) => "ICMP type 8",
            (Kind::EchoRequest, IpAddr::V6(_)) => "ICMPv6 type 128",
            (Kind::Syn | Kind::SynAck, _) => "TCP",
            (Kind::Datagram, _) => "UDP",
        }
    }

    /// Returns the hop limit by the name that the network header's version has for it.
    pub(super) fn lifetime(&self) -> String {
        match self.source {
            IpAddr::V4(_) => format!("TTL {}", self.hops),
            IpAddr::V6(_) => format!("hop limit {}", self.hops),
        }
    }
}

fn network(slice: &NetSlice<'_>) -> Option<Network> {
    match slice {
        NetSlice::Ipv4(packet) => {
            let header = packet.header();
            let sum = Sum16BitWords::new().add_slice(header.slice());
            Some(Network {
                source: header.source_addr().into(),
                destination: header.destination_addr().into(),
                hops: header.ttl(),
                is_sound: sum.ones_complement() == 0,
                pseudo_header: Sum16BitWords::new()
                    .add_4bytes(header.source())
                    .add_4bytes(header.destination()),
            })
        }
        NetSlice::Ipv6(packet) => {
            let header = packet.header();
            Some(Network {
                source: header.source_addr().into(),
                destination: header.destination_addr().into(),
                hops: header.hop_limit(),
                is_sound: true,
                pseudo_header: Sum16BitWords::new()
                    .add_16bytes(header.source())
                    .add_16bytes(header.destination()),
            })
        }
        NetSlice::Arp(_) => None,
    }
}

fn transport(slice: &TransportSlice<'_>, pseudo_header: Sum16BitWords) -> Option<Transport> {
    let with_pseudo_header = |octets: &[u8], protocol: etherparse::IpNumber| {
        let length = u16::try_from(octets.len()).unwrap_or(u16::MAX);
        pseudo_header
            .add_2bytes(length.to_be_bytes())
            .add_2bytes([0, protocol.0])
            .add_slice(octets)
    };
    let echo_request = |echo: IcmpEchoHeader| (Kind::EchoRequest, [echo.id, echo.seq]);
    let ((kind, numbers), payload, sum) = match slice {
        TransportSlice::Icmpv4(icmp) => {
            let Icmpv4Type::EchoRequest(echo) = icmp.icmp_type() else {
                return None;
            };
            let sum = Sum16BitWords::new().add_slice(icmp.slice());
            (echo_request(echo), icmp.payload(), sum)
        }
        TransportSlice::Icmpv6(icmp) => {
            let Icmpv6Type::EchoRequest(echo) = icmp.icmp_type() else {
                return None;
            };
            let sum = with_pseudo_header(icmp.slice(), ip_number::IPV6_ICMP);
            (echo_request(echo), icmp.payload(), sum)
        }
        TransportSlice::Tcp(tcp) => {
            let kind = match (tcp.syn(), tcp.ack()) {
                (true, false) => Kind::Syn,
                (true, true) => Kind::SynAck,
                (false, _) => return None,
            };
            let ports = [tcp.source_port(), tcp.destination_port()];
            (
                (kind, ports),
                tcp.payload(),
                with_pseudo_header(tcp.slice(), ip_number::TCP),
            )
        }
        TransportSlice::Udp(udp) => {
            let ports = [udp.source_port(), udp.destination_port()];
            let sum = with_pseudo_header(udp.slice(), ip_number::UDP);
            ((Kind::Datagram, ports), udp.payload(), sum)
        }
        TransportSlice::Igmp(_) => return None,
    };
    Some(Transport {
        kind,
        numbers,
        payload: payload.len(),
        is_sound: sum.ones_complement() == 0,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use etherparse::PacketBuilder;

    use super::super::lab::{CLIENT_V4, CLIENT_V6, SERVICE_V4, SERVICE_V6};
    use super::*;

    fn v4() -> etherparse::PacketBuilderStep<etherparse::IpHeaders> {
        PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4(CLIENT_V4.octets(), SERVICE_V4.octets(), 64)
    }

    fn v6() -> etherparse::PacketBuilderStep<etherparse::IpHeaders> {
        PacketBuilder::ethernet2([2; 6], [4; 6]).ipv6(CLIENT_V6.octets(), SERVICE_V6.octets(), 63)
    }

    /// An echo request with 13 octets on both sides of the relay.
    pub(in crate::demo) fn echo() -> [Vec<u8>; 2] {
        let (mut sent, mut received) = (Vec::new(), Vec::new());
        v4().icmpv4_echo_request(7, 1)
            .write(&mut sent, &[9; 13])
            .unwrap();
        v6().icmpv6_echo_request(7, 1)
            .write(&mut received, &[9; 13])
            .unwrap();
        [sent, received]
    }

    #[test]
    fn syn_and_datagram_are_recognised_and_sound() {
        for (kind, frame) in [
            (Kind::Syn, {
                let mut frame = Vec::new();
                v6().tcp(40000, 80, 5, 1000)
                    .syn()
                    .write(&mut frame, &[])
                    .unwrap();
                frame
            }),
            (Kind::Datagram, {
                let mut frame = Vec::new();
                v4().udp(40000, 7).write(&mut frame, b"odd").unwrap();
                frame
            }),
        ] {
            let packet = Packet::parse(&frame).unwrap();
            assert_eq!(packet.kind, kind);
            assert_eq!(packet.numbers[0], 40000);
            assert!(packet.is_sound);
        }
    }

    #[test]
    fn other_packets_are_passed_over() {
        let [mut reply, _] = echo();
        reply[34] = 0;
        assert_eq!(Packet::parse(&reply), None);
        assert_eq!(Packet::parse(&[]), None);
        assert_eq!(Packet::parse(&[0xa5; 60]), None);
    }
}
