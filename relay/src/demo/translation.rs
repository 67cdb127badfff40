//! A packet before and after the relay: whether it became what it should, and how to show it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::lab::{CLIENT_V4, CLIENT_V6, PREFIX, SERVICE_V4, SERVICE_V6};
use super::packet::{Kind, Packet};

/// A packet as it was sent, and as it arrived on the other side of the relay.
#[derive(Clone, Debug)]
pub(super) struct Translation {
    pub(super) sent: Packet,
    pub(super) received: Packet,
}

impl Translation {
    /// Says what is wrong with it, if anything.
    pub(super) fn problem(&self) -> Option<&'static str> {
        let Self { sent, received } = self;
        let v4 = (CLIENT_V4.into(), SERVICE_V4.into());
        let v6 = (CLIENT_V6.into(), SERVICE_V6.into());
        let pair = |packet: &Packet| match packet.kind.is_from_client() {
            true => (packet.source, packet.destination),
            false => (packet.destination, packet.source),
        };
        let (expected_sent, expected_received) = match sent.kind.is_from_client() {
            true => (v4, v6),
            false => (v6, v4),
        };
        let checks = [
            (
                pair(sent) == expected_sent,
                "it was sent with other addresses",
            ),
            (
                pair(received) == expected_received,
                "it arrived with other addresses",
            ),
            (
                sent.numbers == received.numbers,
                "its ports or identifiers changed",
            ),
            (
                sent.payload == received.payload,
                "the length of its payload changed",
            ),
            (
                sent.hops.checked_sub(1) == Some(received.hops),
                "its TTL was not decremented by one",
            ),
            (sent.is_sound, "it was sent with a wrong checksum"),
            (received.is_sound, "it arrived with a wrong checksum"),
        ];
        checks
            .iter()
            .find(|(is_right, _)| !is_right)
            .map(|(_, problem)| *problem)
    }

    /// Describes what translation leaves as it is.
    pub(super) fn title(&self) -> String {
        let Packet {
            kind,
            numbers: [first, second],
            payload,
            ..
        } = &self.sent;
        let name = kind.name();
        match kind {
            Kind::EchoRequest => {
                format!("{name}, identifier {first}, sequence number {second}, {payload} octets")
            }
            Kind::Syn => format!("{name}, port {first} to {second}"),
            Kind::SynAck => format!("{name}, port {first} to {second}, on the way back"),
            Kind::Datagram => format!("{name}, port {first} to {second}, {payload} octets"),
        }
    }
}

/// Shows addresses inside the translation prefix with the IPv4 address in its own form (RFC 6052, 2.4).
pub(super) struct Address(pub(super) IpAddr);

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_inside = |address: Ipv6Addr| address.segments()[..6] == PREFIX.segments()[..6];
        let text = match self.0 {
            IpAddr::V6(address) if is_inside(address) => {
                let [.., a, b, c, d] = address.octets();
                format!("{PREFIX}{}", Ipv4Addr::new(a, b, c, d))
            }
            IpAddr::V4(_) | IpAddr::V6(_) => self.0.to_string(),
        };
        formatter.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::super::packet::tests::echo;
    use super::*;

    fn translation([sent, received]: [Vec<u8>; 2]) -> Translation {
        let parse = |frame: &[u8]| Packet::parse(frame).unwrap();
        Translation {
            sent: parse(&sent),
            received: parse(&received),
        }
    }

    #[test]
    fn an_echo_request_is_described() {
        let translation = translation(echo());
        assert_eq!(translation.problem(), None);
        assert_eq!(
            translation.title(),
            "ICMP echo request, identifier 7, sequence number 1, 13 octets"
        );
        let Translation { sent, received } = translation;
        assert_eq!(
            (sent.protocol(), sent.lifetime().as_str()),
            ("ICMP type 8", "TTL 64")
        );
        assert_eq!(
            (received.protocol(), received.lifetime().as_str()),
            ("ICMPv6 type 128", "hop limit 63")
        );
        assert_eq!(
            Address(received.source).to_string(),
            "2001:db8:46::203.0.113.50"
        );
        assert_eq!(
            Address(received.destination).to_string(),
            "2001:db8:12:34::1"
        );
    }

    #[test]
    fn every_altered_octet_of_the_packet_is_noticed() {
        let [sent, received] = echo();
        for (frame, other_end) in [(&sent, &received), (&received, &sent)] {
            // Behind the Ethernet header, and without traffic class and flow label, which no checksum covers in IPv6.
            for place in (14..frame.len()).filter(|place| !(14..18).contains(place)) {
                let mut altered = frame.clone();
                altered[place] ^= 0x01;
                let Some(altered) = Packet::parse(&altered) else {
                    continue;
                };
                let other = Packet::parse(other_end).unwrap();
                let translation = match altered.source {
                    IpAddr::V4(_) => Translation {
                        sent: altered,
                        received: other,
                    },
                    IpAddr::V6(_) => Translation {
                        sent: other,
                        received: altered,
                    },
                };
                assert!(translation.problem().is_some(), "octet {place}");
            }
        }
    }
}
