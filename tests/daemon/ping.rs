//! ICMP echo by raw sockets: both families, with loss and TTL told exactly.

use relay::lab::Namespace;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketAddrAny, SocketFlags, SocketType, bind,
    ipproto, recv, sendto, socket_with,
};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// What an ordinary request carries.
const PAYLOAD: usize = 48;
/// How long the last answer may take.
const ROUND_TRIP: Duration = Duration::from_secs(1);

/// What came back.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answers {
    /// How many requests were answered.
    pub(crate) count: usize,
    /// The lowest TTL of an answer; 0 in IPv6, where the header stays in the kernel.
    pub(crate) ttl: u8,
    /// The longest row of requests without an answer.
    pub(crate) gap: usize,
}

/// Sends echo requests at even intervals.
pub(crate) fn ping(from: &Namespace, to: IpAddr, count: u16, interval: Duration) -> Answers {
    ping_from(from, None, to, count, interval)
}

/// Sends echo requests until one is answered.
pub(crate) fn answers_within(from: &Namespace, to: IpAddr, limit: Duration) -> bool {
    let pinger = Pinger::open(from, None, to, PAYLOAD);
    let deadline = Instant::now() + limit;
    let mut sequence = 0;
    let mut seen = BTreeMap::new();
    while seen.is_empty() && Instant::now() < deadline {
        pinger.request(sequence);
        sequence += 1;
        pinger.collect(&mut seen, Instant::now() + Duration::from_millis(50));
    }
    !seen.is_empty()
}

/// Like [`ping`], from one of several addresses.
pub(crate) fn ping_from(
    from: &Namespace,
    source: Option<IpAddr>,
    to: IpAddr,
    count: u16,
    interval: Duration,
) -> Answers {
    Pinger::open(from, source, to, PAYLOAD).run(count, interval)
}

/// Like [`ping`], with so many octets behind the header of the message; an answer has to carry the same.
pub(crate) fn ping_of_length(from: &Namespace, to: IpAddr, payload: usize, count: u16) -> Answers {
    Pinger::open(from, None, to, payload).run(count, Duration::from_millis(5))
}

struct Pinger {
    socket: OwnedFd,
    to: IpAddr,
    identifier: u16,
    payload: usize,
}

impl Pinger {
    fn open(from: &Namespace, source: Option<IpAddr>, to: IpAddr, payload: usize) -> Self {
        static IDENTIFIER: AtomicU16 = AtomicU16::new(1);
        let (family, protocol) = match to {
            IpAddr::V4(_) => (AddressFamily::INET, ipproto::ICMP),
            IpAddr::V6(_) => (AddressFamily::INET6, ipproto::ICMPV6),
        };
        let socket = from.run_in(|| open(family, protocol)).unwrap();
        if let Some(source) = source {
            bind(&socket, &SocketAddrAny::from(SocketAddr::new(source, 0))).unwrap();
        }
        Self {
            socket,
            to,
            identifier: IDENTIFIER.fetch_add(1, Ordering::Relaxed),
            payload,
        }
    }

    /// Sends requests at even intervals and waits for the last answers.
    fn run(&self, count: u16, interval: Duration) -> Answers {
        let mut seen = BTreeMap::new();
        for sequence in 0..count {
            let next = Instant::now() + interval;
            self.request(sequence);
            self.collect(&mut seen, next);
        }
        let deadline = Instant::now() + ROUND_TRIP;
        while seen.len() < usize::from(count) && Instant::now() < deadline {
            self.collect(&mut seen, Instant::now() + Duration::from_millis(20));
        }
        let (mut gap, mut longest) = (0, 0);
        for sequence in 0..count {
            gap = if seen.contains_key(&sequence) {
                0
            } else {
                gap + 1
            };
            longest = longest.max(gap);
        }
        Answers {
            count: seen.len(),
            ttl: seen.values().copied().min().unwrap_or(0),
            gap: longest,
        }
    }

    fn request(&self, sequence: u16) {
        let kind = if self.to.is_ipv4() { 8 } else { 128 };
        let mut message = vec![kind, 0, 0, 0];
        message.extend(self.identifier.to_be_bytes());
        message.extend(sequence.to_be_bytes());
        message.extend(self.payload());
        // In ICMPv6 the kernel computes it, over the pseudo-header too.
        let checksum = crate::inject::checksum(&message);
        message[2..4].copy_from_slice(&checksum.to_be_bytes());
        // Without a route, or with the link down, a request is as lost as any other.
        let _ = sendto(
            &self.socket,
            &message,
            SendFlags::empty(),
            &SocketAddr::new(self.to, 0),
        );
    }

    /// Returns what the requests carry.
    fn payload(&self) -> impl Iterator<Item = u8> {
        (0..self.payload).map(|octet| (octet * 7) as u8)
    }

    /// Notes answers by sequence number, with their TTL, until a deadline.
    fn collect(&self, seen: &mut BTreeMap<u16, u8>, deadline: Instant) {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            set_socket_timeout(
                &self.socket,
                Timeout::Recv,
                Some(left.max(Duration::from_micros(1))),
            )
            .unwrap();
            let mut buffer = [0; 16384];
            let length = match recv(&self.socket, &mut buffer, RecvFlags::empty()) {
                Ok((length, _)) => length,
                Err(Errno::AGAIN) => return,
                // An ICMP error came; whether that is loss shows in the count.
                Err(_) => continue,
            };
            let (ttl, message, kind) = match self.to {
                IpAddr::V4(_) => (buffer[8], &buffer[20..length], 0),
                IpAddr::V6(_) => (0, &buffer[..length], 129),
            };
            if message[0] == kind && message[4..6] == self.identifier.to_be_bytes() {
                assert!(
                    message[8..].iter().copied().eq(self.payload()),
                    "another payload came back"
                );
                seen.insert(u16::from_be_bytes([message[6], message[7]]), ttl);
            }
        }
    }
}

fn open(family: AddressFamily, protocol: Protocol) -> OwnedFd {
    socket_with(
        family,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(protocol),
    )
    .unwrap()
}
