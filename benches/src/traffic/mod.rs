//! Streams of test frames: what is sent, and what a device between sender and receiver has to make of it.
//!
//! A frame is Ethernet, IPv4 or IPv6, UDP with a valid checksum, a tag and filling. Addresses and ports vary at random
//! (RFC 4814), yet follow from the number in the tag, so that every single frame can be checked on arrival.

mod check;

use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

pub(crate) use check::Fault;

use crate::object::layout::{MAGIC, Side, Stream, TAG, TAG_V4, TAG_V6, Variation, fold, words};

/// Octets of the frame check sequence, which counts in the sizes of RFC 2544 and which no program sees.
pub(crate) const FCS: usize = 4;
/// What a packet grows by when it becomes IPv6, in octets.
pub(crate) const GROWTH: usize = 20;
/// TTL and hop limit.
const TTL: u8 = 64;
const UDP: u8 = 17;

/// An Ethernet address.
pub(crate) type Mac = [u8; 6];

/// The addresses of one side of a stream; those of a side lie `stride` apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Addresses {
    /// The first one.
    pub(crate) first: IpAddr,
    /// How far they lie apart.
    pub(crate) stride: u32,
    /// How many there are, at least one.
    pub(crate) count: u32,
}

impl Addresses {
    fn side(&self) -> Side {
        Side {
            base: low(self.first),
            stride: self.stride,
            count: self.count,
        }
    }

    /// Returns the last of as many addresses without gaps between them.
    pub(crate) fn last_without_gaps(&self) -> IpAddr {
        self.with_low(low(self.first).wrapping_add(self.count - 1))
    }

    /// Returns the address with these last 32 bits.
    fn with_low(&self, low: u32) -> IpAddr {
        match self.first {
            IpAddr::V4(_) => Ipv4Addr::from_bits(low).into(),
            IpAddr::V6(first) => {
                let high = first.to_bits() >> 32 << 32;
                Ipv6Addr::from_bits(high | u128::from(low)).into()
            }
        }
    }
}

/// Returns the last 32 bits of an address.
fn low(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(address) => address.to_bits(),
        IpAddr::V6(address) => address.to_bits() as u32,
    }
}

/// A stream through a device.
#[derive(Clone, Debug)]
pub(crate) struct Traffic {
    /// Length of the frames sent, in octets, without the frame check sequence.
    pub(crate) length: usize,
    /// The sender's MAC address.
    pub(crate) source_mac: Mac,
    /// The MAC address of the device, towards the sender.
    pub(crate) destination_mac: Mac,
    /// Where packets come from.
    pub(crate) source: Addresses,
    /// Where they go.
    pub(crate) destination: Addresses,
    /// What the first source address is on arrival.
    pub(crate) arriving_source: IpAddr,
    /// What the first destination address is on arrival.
    pub(crate) arriving_destination: IpAddr,
}

/// How fast to send.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Pace {
    /// As many frames as can be, until told to stop.
    Flood,
    /// So many frames a second, for so long.
    Rate(f64, Duration),
}

impl Traffic {
    /// Describes the stream to the program that generates it.
    pub(crate) fn stream(&self, pace: Pace) -> Stream {
        let ipv6 = self.source.first.is_ipv6();
        let template = self.template();
        let mut head = [0; 64];
        let tag = if ipv6 { TAG_V6 } else { TAG_V4 };
        head[..tag + 2].copy_from_slice(&template[..tag + 2]);
        // What varies: the last 32 bits of both addresses, the ports and the checksums.
        let (network, low_source, low_destination) = if ipv6 { (40, 34, 50) } else { (20, 26, 30) };
        let transport = 14 + network;
        for at in [low_source, low_destination] {
            head[at..at + 4].fill(0);
        }
        head[transport..transport + 4].fill(0);
        head[transport + 6..transport + 8].fill(0);
        if !ipv6 {
            head[24..26].fill(0);
        }
        // The pseudo-header: all of both addresses, protocol and length (RFC 8200, 8.1).
        let addresses = if ipv6 { 22..54 } else { 26..34 };
        let length = (template.len() - transport) as u64;
        let transport_sum = sum(&head[addresses])
            + u64::from(UDP)
            + length
            + sum(&head[transport..tag])
            + u64::from(MAGIC)
            + sum(&template[tag + TAG..]);
        let (interval, duration) = match pace {
            Pace::Flood => (0, 0),
            Pace::Rate(rate, duration) => ((65_536e9 / rate) as u64, duration.as_nanos() as u64),
        };
        Stream {
            header: std::array::from_fn(|word| {
                u64::from_ne_bytes(
                    head[8 * word..8 * word + 8]
                        .try_into()
                        .expect("eight octets"),
                )
            }),
            interval,
            duration,
            source: self.source.side(),
            destination: self.destination.side(),
            network_sum: if ipv6 { 0 } else { sum(&head[14..34]) as u32 },
            transport_sum: fold(transport_sum).into(),
            ipv6: ipv6.into(),
            stamped: (pace != Pace::Flood).into(),
        }
    }

    /// Returns a frame of the right length and contents, but for what varies.
    fn template(&self) -> Vec<u8> {
        self.frame(0, 0)
    }

    /// Returns the frame with this number; `time` goes into its tag.
    pub(crate) fn frame(&self, number: u64, time: u64) -> Vec<u8> {
        let mut frame = vec![0; self.length];
        self.write(number, time, &mut frame);
        frame
    }

    /// Writes the frame with this number into as many octets as it has.
    ///
    /// # Panics
    ///
    /// When they are fewer.
    pub(crate) fn write(&self, number: u64, time: u64, frame: &mut [u8]) {
        let variation = Variation::of(number, &self.source.side(), &self.destination.side());
        let source = self.source.with_low(variation.source);
        let destination = self.destination.with_low(variation.destination);
        let network = if source.is_ipv6() { 40 } else { 20 };
        let transport = 14 + network;
        let transport_length = (self.length - transport) as u16;
        let mut put = {
            let mut rest = &mut *frame;
            move |octets: &[u8]| {
                let (place, behind) = mem::take(&mut rest).split_at_mut(octets.len());
                place.copy_from_slice(octets);
                rest = behind;
            }
        };
        put(&self.destination_mac);
        put(&self.source_mac);
        if source.is_ipv6() {
            put(&[0x86, 0xdd, 0x60, 0, 0, 0]);
            put(&transport_length.to_be_bytes());
            put(&[UDP, TTL]);
        } else {
            put(&[0x08, 0x00, 0x45, 0]);
            put(&(transport_length + 20).to_be_bytes());
            // Don't Fragment: no translator has to add a Fragment header.
            put(&[0, 0, 0x40, 0, TTL, UDP, 0, 0]);
        }
        for address in [source, destination] {
            match address {
                IpAddr::V4(address) => put(&address.octets()),
                IpAddr::V6(address) => put(&address.octets()),
            }
        }
        put(&variation.source_port.to_be_bytes());
        put(&variation.destination_port.to_be_bytes());
        put(&transport_length.to_be_bytes());
        put(&[0, 0]);
        put(&MAGIC.to_be_bytes());
        put(&number.to_be_bytes());
        put(&time.to_be_bytes());
        for (position, octet) in frame[transport + 8 + TAG..].iter_mut().enumerate() {
            *octet = filler(position);
        }
        if source.is_ipv4() {
            let checksum = !fold(sum(&frame[14..34]));
            frame[24..26].copy_from_slice(&checksum.to_be_bytes());
        }
        let checksum = match !fold(transport_sum(source, destination, &frame[transport..])) {
            0 => 0xffff,
            checksum => checksum,
        };
        frame[transport + 6..transport + 8].copy_from_slice(&checksum.to_be_bytes());
    }
}

/// Sums what a UDP checksum covers: pseudo-header and datagram.
fn transport_sum(source: IpAddr, destination: IpAddr, datagram: &[u8]) -> u64 {
    let address = |address| match address {
        IpAddr::V4(address) => words(address.to_bits().into()),
        IpAddr::V6(address) => sum(&address.octets()),
    };
    address(source) + address(destination) + u64::from(UDP) + datagram.len() as u64 + sum(datagram)
}

/// Sums 16-bit words; an odd octet at the end counts as one followed by zero.
fn sum(octets: &[u8]) -> u64 {
    let (words, rest) = octets.as_chunks::<2>();
    let words: u64 = words
        .iter()
        .map(|word| u64::from(u16::from_be_bytes(*word)))
        .sum();
    words + rest.first().map_or(0, |octet| u64::from(*octet) << 8)
}

/// The octets behind the tag.
fn filler(position: usize) -> u8 {
    (position as u8).wrapping_mul(7).wrapping_add(0x5a)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn example(ipv6: bool, length: usize) -> Traffic {
        let addresses = |first: &str, count| Addresses {
            first: first.parse().unwrap(),
            stride: 3,
            count,
        };
        let v4 = (addresses("198.18.0.0", 1000), addresses("10.1.2.3", 5));
        let v6 = (
            addresses("2001:db8:1::a01:203", 5),
            addresses("2001:db8:46::c612:0", 1000),
        );
        let ((source, destination), arriving) = if ipv6 {
            (v6, (v4.1, v4.0))
        } else {
            (v4, (v6.1, v6.0))
        };
        Traffic {
            length,
            source_mac: [2, 0, 0, 0, 0, 1],
            destination_mac: [2, 0, 0, 0, 0, 2],
            source,
            destination,
            arriving_source: arriving.0.first,
            arriving_destination: arriving.1.first,
        }
    }

    /// The length of the frames on arrival, in octets, without the frame check sequence.
    pub(crate) fn arriving_length(traffic: &Traffic) -> usize {
        match (
            traffic.source.first.is_ipv6(),
            traffic.arriving_source.is_ipv6(),
        ) {
            (false, true) => traffic.length + GROWTH,
            (true, false) => traffic.length - GROWTH,
            (true, true) | (false, false) => traffic.length,
        }
    }

    /// What a device without fault makes of a frame: the same one, sent by somebody with the arriving addresses.
    pub(crate) fn arrived(traffic: &Traffic, number: u64) -> Vec<u8> {
        let mirror = Traffic {
            length: arriving_length(traffic),
            source: Addresses {
                first: traffic.arriving_source,
                ..traffic.source
            },
            destination: Addresses {
                first: traffic.arriving_destination,
                ..traffic.destination
            },
            ..traffic.clone()
        };
        mirror.frame(number, 99)
    }

    #[test]
    fn what_arrives_as_it_should_is_without_fault() {
        for (ipv6, length) in [(false, 60), (true, 80), (false, 1514), (true, 1535)] {
            let traffic = example(ipv6, length);
            for number in [0, 1, 77, u64::MAX] {
                let mut frame = arrived(&traffic, number);
                assert_eq!(frame.len(), arriving_length(&traffic));
                assert_eq!(traffic.check(&frame), Ok(()));
                frame.extend([0; 6]);
                assert_eq!(traffic.check(&frame), Ok(()), "padding is Ethernet's");
            }
        }
    }

    #[test]
    fn every_flipped_bit_is_found() {
        for ipv6 in [false, true] {
            let traffic = example(ipv6, if ipv6 { 100 } else { 80 });
            let frame = arrived(&traffic, 5);
            // The flow label, the traffic class and the hop limit of IPv6 are covered by nothing.
            let uncovered = |at: usize| frame[12] == 0x86 && [14, 15, 16, 17, 21].contains(&at);
            for at in (12..frame.len()).filter(|at| !uncovered(*at)) {
                for bit in 0..8 {
                    let mut frame = frame.clone();
                    frame[at] ^= 1 << bit;
                    assert!(traffic.check(&frame).is_err(), "octet {at}, bit {bit}");
                }
            }
            for length in 14..frame.len() {
                assert!(traffic.check(&frame[..length]).is_err(), "{length} octets");
            }
        }
    }

    #[test]
    fn an_untranslated_frame_is_a_fault() {
        let traffic = example(false, 60);
        let fault = traffic.check(&traffic.frame(3, 0)).unwrap_err();
        assert!(
            matches!(fault, Fault::Address { role: "source", .. }),
            "{fault}"
        );
    }
}
