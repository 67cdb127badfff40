//! The two interfaces of the tester, and the streams between them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use clap::ValueEnum;
use relay::lab::Namespace;

use crate::generator::Port;
use crate::traffic::{Addresses, FCS, GROWTH, Mac, Traffic};

/// How long a neighbour may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// The least size of an IPv6 frame that holds a tag (RFC 8219, 5.1.1), with frame check sequence.
const MIN_SIZE_V6: usize = 84;

/// Which way test frames go, and what the device makes of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Direction {
    /// IPv4 out of --tx, IPv6 into --rx
    V4ToV6,
    /// IPv6 out of --tx, IPv4 into --rx
    V6ToV4,
    /// IPv4 out of --tx and IPv6 out of --rx at the same time
    Both,
    /// IPv4 from --tx to --rx, for plain routers
    V4,
    /// IPv6 from --tx to --rx, for plain routers
    V6,
}

/// The kind of a single stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Flow {
    /// IPv4 becomes IPv6.
    V4ToV6,
    /// IPv6 becomes IPv4.
    V6ToV4,
    /// IPv4 stays so.
    V4,
    /// IPv6 stays so.
    V6,
}

impl Flow {
    /// What it is called in reports.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::V4ToV6 => "IPv4 -> IPv6",
            Self::V6ToV4 => "IPv6 -> IPv4",
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }
}

/// An interface and what is at its other end.
#[derive(Clone, Debug)]
pub(crate) struct Wire {
    /// The interface.
    pub(crate) port: Port,
    mac: Mac,
    device: Option<Mac>,
}

impl Wire {
    /// Looks an interface up. The MAC address of the device is given, or it is that of a neighbour; without either nothing
    /// can be sent here.
    pub(crate) fn new(
        here: &Namespace,
        name: &str,
        device: Option<Mac>,
        gateway: Option<IpAddr>,
    ) -> anyhow::Result<Self> {
        let port = Port {
            name: name.to_owned(),
            index: here.interface_index(name)?,
        };
        let mac = here
            .mac(name)?
            .ok_or_else(|| anyhow!("{name} is not an Ethernet interface"))?;
        let device = match (device, gateway) {
            (None, Some(gateway)) => Some(resolve(here, &port, gateway)?),
            (device, _) => device,
        };
        Ok(Self { port, mac, device })
    }
}

/// Makes the kernel find the MAC address of a neighbour.
fn resolve(here: &Namespace, port: &Port, address: IpAddr) -> anyhow::Result<Mac> {
    let any: SocketAddr = match address {
        IpAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        IpAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).context("cannot open a socket")?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        // Port 9 (discard): only the question for the neighbour matters, which is asked before anything is sent.
        let sent = socket.send_to(&[], (address, 9));
        if let Some(mac) = here.neighbour(&port.name, address)? {
            return Ok(mac);
        }
        if Instant::now() > deadline {
            let why = sent
                .err()
                .map_or_else(String::new, |error| format!(" ({error})"));
            let name = &port.name;
            return Err(anyhow!(
                "{address} does not answer on {name}{why}: give {name} an address in its network, or give the MAC address"
            ));
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// The addresses of both ends, as they are on both sides of the device.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends {
    /// The first client in IPv4.
    pub(crate) client_v4: Ipv4Addr,
    /// The same in IPv6.
    pub(crate) client_v6: Ipv6Addr,
    /// How many clients follow one another.
    pub(crate) clients: u32,
    /// The first service in IPv4.
    pub(crate) service_v4: Ipv4Addr,
    /// The same in IPv6.
    pub(crate) service_v6: Ipv6Addr,
    /// How many services follow one another.
    pub(crate) services: u32,
}

/// A stream from one wire to the other.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    /// What becomes of it.
    pub(crate) flow: Flow,
    /// Where it is sent.
    pub(crate) sender: Port,
    /// Where it arrives.
    pub(crate) receiver: Port,
    /// Its frames.
    pub(crate) traffic: Traffic,
}

/// Returns the streams of a direction with frames of a size. The size is that with IPv4, with frame check sequence; a frame
/// with IPv6 is 20 octets longer if it is translated, and at least 84 octets long if it is not.
pub(crate) fn streams(
    direction: Direction,
    tx: &Wire,
    rx: &Wire,
    ends: &Ends,
    size: usize,
) -> anyhow::Result<Vec<Stream>> {
    let flows: &[(Flow, &Wire, &Wire)] = match direction {
        Direction::V4ToV6 => &[(Flow::V4ToV6, tx, rx)],
        Direction::V6ToV4 => &[(Flow::V6ToV4, tx, rx)],
        Direction::Both => &[(Flow::V4ToV6, tx, rx), (Flow::V6ToV4, rx, tx)],
        Direction::V4 => &[(Flow::V4, tx, rx)],
        Direction::V6 => &[(Flow::V6, tx, rx)],
    };
    flows
        .iter()
        .map(|(flow, from, to)| stream(*flow, from, to, ends, size))
        .collect()
}

fn stream(flow: Flow, from: &Wire, to: &Wire, ends: &Ends, size: usize) -> anyhow::Result<Stream> {
    let clients = |first| Addresses {
        first,
        stride: 1,
        count: ends.clients,
    };
    let services = |first| Addresses {
        first,
        stride: 1,
        count: ends.services,
    };
    let v4 = (IpAddr::from(ends.client_v4), IpAddr::from(ends.service_v4));
    let v6 = (IpAddr::from(ends.client_v6), IpAddr::from(ends.service_v6));
    let (source, destination, arriving, size) = match flow {
        Flow::V4ToV6 => (clients(v4.0), services(v4.1), (v6.0, v6.1), size),
        Flow::V6ToV4 => (services(v6.1), clients(v6.0), (v4.1, v4.0), size + GROWTH),
        Flow::V4 => (clients(v4.0), services(v4.1), v4, size),
        Flow::V6 => (clients(v6.0), services(v6.1), v6, size.max(MIN_SIZE_V6)),
    };
    let device = from.device.ok_or_else(|| {
        let name = &from.port.name;
        anyhow!("the device's MAC address at {name} is not known: give it, or the address of the device there as gateway")
    })?;
    Ok(Stream {
        flow,
        sender: from.port.clone(),
        receiver: to.port.clone(),
        traffic: Traffic {
            length: size - FCS,
            source_mac: from.mac,
            destination_mac: device,
            source,
            destination,
            arriving_source: arriving.0,
            arriving_destination: arriving.1,
        },
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::traffic::tests::{arrived, arriving_length};

    /// A wire to nowhere.
    pub(crate) fn wire(index: u32, device: Option<Mac>) -> Wire {
        Wire {
            port: Port {
                name: format!("eth{index}"),
                index,
            },
            mac: [2, 0, 0, 0, 0, 1],
            device,
        }
    }

    fn ends() -> Ends {
        Ends {
            client_v4: "198.18.0.0".parse().unwrap(),
            client_v6: "2001:db8:46::c612:0".parse().unwrap(),
            clients: 100,
            service_v4: "192.0.2.1".parse().unwrap(),
            service_v6: "2001:db8:12:34::1".parse().unwrap(),
            services: 1,
        }
    }

    #[test]
    fn both_directions_are_two_streams_that_meet() {
        let mac = Some([2, 0, 0, 0, 0, 2]);
        let (tx, rx) = (wire(1, mac), wire(2, mac));
        let streams = streams(Direction::Both, &tx, &rx, &ends(), 64).unwrap();
        let [there, back] = &streams[..] else {
            panic!("{streams:?}")
        };
        assert_eq!(
            (there.flow, there.sender.index, there.receiver.index),
            (Flow::V4ToV6, 1, 2)
        );
        assert_eq!(
            (back.flow, back.sender.index, back.receiver.index),
            (Flow::V6ToV4, 2, 1)
        );
        assert_eq!((there.traffic.length, back.traffic.length), (60, 80));
        assert_eq!(arriving_length(&there.traffic), 80);
        for stream in &streams {
            let frame = arrived(&stream.traffic, 3);
            assert_eq!(stream.traffic.check(&frame), Ok(()));
        }
    }

    #[test]
    fn a_missing_mac_address_is_asked_for_where_it_is_needed() {
        let (tx, rx) = (wire(1, Some([2, 0, 0, 0, 0, 2])), wire(2, None));
        assert!(streams(Direction::V4, &tx, &rx, &ends(), 64).is_ok());
        let error = streams(Direction::Both, &tx, &rx, &ends(), 64).unwrap_err();
        assert!(error.to_string().contains("MAC address at eth2"), "{error}");
    }

    #[test]
    fn plain_ipv6_frames_have_room_for_a_tag() {
        let (tx, rx) = (wire(1, Some([2, 0, 0, 0, 0, 2])), wire(2, None));
        let streams = streams(Direction::V6, &tx, &rx, &ends(), 64).unwrap();
        assert_eq!(streams[0].traffic.length, 80);
    }
}
