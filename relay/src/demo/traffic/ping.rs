//! Ping, both ways: ICMP and ICMPv6 echo (RFC 7915, 4.2 and 5.2) over raw sockets.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use etherparse::{
    IcmpEchoHeader, Icmpv4Header, Icmpv4Slice, Icmpv4Type, Icmpv6Header, Icmpv6Slice, Icmpv6Type,
};
use rustix::event::PollFlags;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, ipproto, recv, send,
    socket_with,
};

use super::super::error::{DemoError, failed};
use super::super::lab::{CLIENT_V6, SERVICE_V4};
use super::super::patience::Patience;
use super::{Ends, Measured, Noise, all_answered};
use crate::lab::Namespace;

/// The identifier of all our requests.
const IDENTIFIER: u16 = 7;
/// The payloads of the pings, in octets; the last makes an IPv4 packet of 1500.
const PAYLOADS: [usize; 10] = [0, 1, 8, 56, 64, 255, 512, 1000, 1232, 1472];
/// How long to wait for one reply.
const REPLY_WAIT: Duration = Duration::from_secs(1);

/// Pings the service from the client.
pub(in crate::demo) fn v4_to_v6(ends: Ends<'_>) -> Result<Measured, DemoError> {
    ping(ends.client, SERVICE_V4.into(), &PAYLOADS, ends.patience)
}

/// Pings the client from the server.
pub(in crate::demo) fn v6_to_v4(ends: Ends<'_>) -> Result<Measured, DemoError> {
    ping(ends.server, CLIENT_V6.into(), &PAYLOADS, ends.patience)
}

fn ping(
    from: &Namespace,
    to: IpAddr,
    payloads: &[usize],
    patience: Patience<'_>,
) -> Result<Measured, DemoError> {
    let pinger = Pinger::open(from, to)?;
    let mut total = Duration::ZERO;
    let answered = all_answered((1..).zip(payloads), |(sequence, length)| {
        let payload = Noise::octets(u64::from(sequence), *length);
        total += pinger.exchange(sequence, &payload, patience.at_most(REPLY_WAIT))?;
        Ok(())
    })?;
    let milliseconds = total.as_secs_f64() * 1e3 / payloads.len() as f64;
    let longest = payloads.iter().max().unwrap_or(&0);
    Ok(format!("{answered}, up to {longest} octets, {milliseconds:.2} ms on average").into())
}

/// A raw socket towards one destination.
pub(in crate::demo) struct Pinger {
    socket: OwnedFd,
    destination: IpAddr,
}

impl Pinger {
    pub(in crate::demo) fn open(from: &Namespace, destination: IpAddr) -> Result<Self, DemoError> {
        let (family, protocol) = match destination {
            IpAddr::V4(_) => (AddressFamily::INET, ipproto::ICMP),
            IpAddr::V6(_) => (AddressFamily::INET6, ipproto::ICMPV6),
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = from
            .run_in(|| {
                let socket = socket_with(family, SocketType::RAW, flags, Some(protocol))?;
                connect(&socket, &SocketAddr::new(destination, 0))?;
                Ok(socket)
            })?
            .map_err(failed::<io::Error>("open a raw socket for ICMP"))?;
        Ok(Self {
            socket,
            destination,
        })
    }

    /// Sends a request and waits for the reply that belongs to it; returns how long that took.
    pub(in crate::demo) fn exchange(
        &self,
        sequence: u16,
        payload: &[u8],
        patience: Patience<'_>,
    ) -> Result<Duration, DemoError> {
        let begin = Instant::now();
        let request = self.request(sequence, payload);
        send(&self.socket, &request, SendFlags::empty())
            .map_err(failed(format!("send echo request {sequence}")))?;
        let mut buffer = [0; 2048];
        loop {
            let call = || Ok(recv(&self.socket, &mut buffer, RecvFlags::empty())?.0);
            let length = patience
                .retry(&self.socket, PollFlags::IN, call)
                .map_err(failed(format!("get the reply to echo request {sequence}")))?;
            let reply = self.parse_reply(&buffer[..length]);
            let Some((echo, echoed)) = reply else {
                continue;
            };
            if (echo.id, echo.seq) != (IDENTIFIER, sequence) {
                continue;
            }
            if echoed != payload {
                let text = format!("the reply to echo request {sequence} has another payload");
                return Err(DemoError::Wrong(text));
            }
            return Ok(begin.elapsed());
        }
    }

    fn request(&self, sequence: u16, payload: &[u8]) -> Vec<u8> {
        let echo = IcmpEchoHeader {
            id: IDENTIFIER,
            seq: sequence,
        };
        let mut message = match self.destination {
            IpAddr::V4(_) => Icmpv4Header::with_checksum(Icmpv4Type::EchoRequest(echo), payload)
                .to_bytes()
                .to_vec(),
            // The kernel adds this checksum by itself.
            IpAddr::V6(_) => Icmpv6Header::new(Icmpv6Type::EchoRequest(echo))
                .to_bytes()
                .to_vec(),
        };
        message.extend_from_slice(payload);
        message
    }

    /// Returns what an echo reply carries; `None` for anything else.
    fn parse_reply<'p>(&self, packet: &'p [u8]) -> Option<(IcmpEchoHeader, &'p [u8])> {
        match self.destination {
            IpAddr::V4(_) => {
                // With IPv4, raw sockets get the header too.
                let header_length = usize::from(packet.first()? & 0x0f) * 4;
                let icmp = Icmpv4Slice::from_slice(packet.get(header_length..)?).ok()?;
                if let Icmpv4Type::EchoReply(echo) = icmp.icmp_type() {
                    return Some((echo, icmp.payload()));
                }
            }
            IpAddr::V6(_) => {
                let icmp = Icmpv6Slice::from_slice(packet).ok()?;
                if let Icmpv6Type::EchoReply(echo) = icmp.icmp_type() {
                    return Some((echo, icmp.payload()));
                }
            }
        }
        None
    }
}
