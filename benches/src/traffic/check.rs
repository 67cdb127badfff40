//! Checking frames on arrival: each has to be what a device without fault makes of the frame that was sent with its number.

use std::net::IpAddr;

use super::{Addresses, Traffic, UDP, filler, low, sum, transport_sum};
use crate::object::layout::{TAG, TAG_V4, TAG_V6, Variation, fold};

/// What is wrong with a frame that arrived.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    /// It is too short for what its headers say, or is not IP and UDP at all.
    #[error("a frame of {0} octets is no whole UDP packet of the family that has to arrive")]
    Malformed(usize),
    /// A source or destination address is not what the device had to write.
    #[error("frame {number} has the {role} address {found}, and not {expected}")]
    Address {
        /// The frame's number.
        number: u64,
        /// Which of the two.
        role: &'static str,
        /// What is there.
        found: IpAddr,
        /// What has to be there.
        expected: IpAddr,
    },
    /// The ports are not those that were sent.
    #[error("frame {0} has other ports than were sent")]
    Ports(u64),
    /// The checksum of the IPv4 header or of UDP is wrong.
    #[error("frame {number} has a wrong {protocol} checksum")]
    Checksum {
        /// The frame's number.
        number: u64,
        /// `IPv4` or `UDP`.
        protocol: &'static str,
    },
    /// The payload has another length or other octets than were sent.
    #[error("frame {0} has another payload than was sent")]
    Payload(u64),
}

impl Traffic {
    /// Checks a frame that arrived: it has to be what a device makes of the frame that was sent with its number.
    pub(crate) fn check(&self, frame: &[u8]) -> Result<(), Fault> {
        let malformed = || Fault::Malformed(frame.len());
        let (packet, addresses, transport) = dissect(frame).ok_or_else(malformed)?;
        let [source, destination] = addresses;
        let tag = transport.get(8..8 + TAG).ok_or_else(malformed)?;
        let number = u64::from_be_bytes(tag[2..10].try_into().expect("eight octets"));
        let sent = Variation::of(number, &self.source.side(), &self.destination.side());
        for (role, found, low_sent, side, arriving) in [
            (
                "source",
                source,
                sent.source,
                &self.source,
                self.arriving_source,
            ),
            (
                "destination",
                destination,
                sent.destination,
                &self.destination,
                self.arriving_destination,
            ),
        ] {
            let distance = low_sent.wrapping_sub(low(side.first));
            let first = Addresses {
                first: arriving,
                ..*side
            };
            let expected = first.with_low(low(arriving).wrapping_add(distance));
            if found != expected {
                return Err(Fault::Address {
                    number,
                    role,
                    found,
                    expected,
                });
            }
        }
        let ports = [sent.source_port, sent.destination_port].map(u16::to_be_bytes);
        if transport[..4] != *ports.as_flattened() {
            return Err(Fault::Ports(number));
        }
        let wrong = |protocol| Fault::Checksum { number, protocol };
        if source.is_ipv4() && fold(sum(&packet[..20])) != 0xffff {
            return Err(wrong("IPv4"));
        }
        // Zero stands for no checksum, which is not what was sent.
        let covered = transport_sum(source, destination, transport);
        if fold(covered) != 0xffff || transport[6..8] == [0, 0] {
            return Err(wrong("UDP"));
        }
        let headers = if self.source.first.is_ipv6() {
            TAG_V6
        } else {
            TAG_V4
        };
        let filling = &transport[8 + TAG..];
        let same = filling.len() == self.length - headers - TAG
            && filling.iter().copied().eq((0..filling.len()).map(filler));
        if same {
            Ok(())
        } else {
            Err(Fault::Payload(number))
        }
    }
}

/// Returns packet, addresses and UDP datagram of a frame without VLAN tag, without Ethernet's padding.
fn dissect(frame: &[u8]) -> Option<(&[u8], [IpAddr; 2], &[u8])> {
    let packet = frame.get(14..)?;
    let length = |at: usize| {
        let octets = packet.get(at..at + 2)?.try_into().ok()?;
        Some(usize::from(u16::from_be_bytes(octets)))
    };
    let (addresses, header, end) = match frame[12..14] {
        [0x08, 0x00] if packet.first() == Some(&0x45) && packet.get(9) == Some(&UDP) => {
            let address = |at| {
                let octets: [u8; 4] = packet.get(at..at + 4)?.try_into().ok()?;
                Some(IpAddr::from(octets))
            };
            ([address(12)?, address(16)?], 20, length(2)?)
        }
        [0x86, 0xdd] if packet.first()? >> 4 == 6 && packet.get(6) == Some(&UDP) => {
            let address = |at| {
                let octets: [u8; 16] = packet.get(at..at + 16)?.try_into().ok()?;
                Some(IpAddr::from(octets))
            };
            ([address(8)?, address(24)?], 40, 40 + length(4)?)
        }
        _ => return None,
    };
    let transport = packet.get(header..end)?;
    let whole = transport.len() >= 8 && length(header + 4)? == transport.len();
    whole.then_some((packet, addresses, transport))
}
