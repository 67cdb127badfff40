//! Hop by hop through the relay, and the ends of paths: who answers a packet that goes no further, and what the sender's kernel
//! makes of it.

use crate::delivery::udp_socket;
use crate::lab::{CLIENT, Lab, NORTH, SERVER, SERVICE, SOUTH, embedded, ip, net};
use relay::lab::{Namespace, Route, VethEnd, veth_pair};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_ip_ttl, set_ipv6_unicast_hops, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SocketFlags, SocketType, ipproto, recvfrom, socket_with,
};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(10);
/// No host here listens on it.
const CLOSED: u16 = 33434;

/// A lab with one more router on each side.
///
/// ```text
/// client -- 203.0.113.1 [router] 198.51.100.1 -- .254 [relay] a::fe -- a::1 [router] ...:34::fe -- server
/// ```
pub(crate) struct RoutedPath {
    pub(crate) lab: Lab,
    _routers: [Namespace; 2],
}

const RELAY_NORTH: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 254);
const RELAY_SOUTH: &str = "2001:db8:a::fe";
const ROUTER_NORTH: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const ROUTER_SOUTH: &str = "2001:db8:a::1";

impl RoutedPath {
    /// Builds the network, with these MTUs between the hosts and their routers; `None` if this user may not.
    pub(crate) fn new(north_mtu: u32, south_mtu: u32) -> Option<Self> {
        let lab = Lab::bare()?;
        let routers = [lab.namespace("north"), lab.namespace("south")];
        for (router, host, port, mtu, down_mtu) in [
            (&routers[0], &lab.client, "north", 1500, north_mtu),
            (&routers[1], &lab.server, "south", 1520, south_mtu),
        ] {
            router.enable_forwarding().unwrap();
            lab.link(router, port, 1, 1, mtu);
            veth_pair(
                VethEnd::new(router, "down").mtu(down_mtu),
                VethEnd::new(host, "eth0").mtu(down_mtu),
            )
            .unwrap();
            host.disable_transmit_checksum_offload("eth0").unwrap();
            // Errors come as often as there is a reason.
            for machine in [router, host] {
                machine.sysctl("net/ipv4/icmp_ratelimit", "0").unwrap();
                machine.sysctl("net/ipv6/icmp/ratelimit", "0").unwrap();
            }
        }
        for (machine, interface, address) in [
            (&lab.client, "eth0", "203.0.113.50/24"),
            (&routers[0], "down", "203.0.113.1/24"),
            (&routers[0], "eth0", "198.51.100.1/24"),
            (&lab.relay, "north", "198.51.100.254/24"),
            (&lab.relay, "south", "2001:db8:a::fe/64"),
            (&routers[1], "eth0", "2001:db8:a::1/64"),
            (&routers[1], "down", "2001:db8:12:34::fe/64"),
            (&lab.server, "eth0", "2001:db8:12:34::1/64"),
        ] {
            machine.add_address(interface, net(address)).unwrap();
        }
        for (machine, to, gateway) in [
            (&lab.client, "0.0.0.0/0", NORTH.into()),
            (&routers[0], "0.0.0.0/0", RELAY_NORTH.into()),
            (&lab.relay, "203.0.113.0/24", ROUTER_NORTH.into()),
            (&lab.relay, "2001:db8:12:34::/64", ip(ROUTER_SOUTH)),
            (&routers[1], "2001:db8:46::/96", ip(RELAY_SOUTH)),
            (&lab.server, "2001:db8:46::/96", SOUTH.into()),
        ] {
            machine.add_route(&Route::to(net(to)).via(gateway)).unwrap();
        }
        Some(Self {
            lab,
            _routers: routers,
        })
    }
}

/// An ICMP error about a UDP datagram: its source, type and code.
type Answer = (IpAddr, u8, u8);

const TIME_EXCEEDED_V4: (u8, u8) = (11, 0);
const TIME_EXCEEDED_V6: (u8, u8) = (3, 0);
const PORT_UNREACHABLE_V4: (u8, u8) = (3, 3);
const PORT_UNREACHABLE_V6: (u8, u8) = (1, 4);

/// Sees the ICMP errors that come to a host.
struct Listener {
    socket: OwnedFd,
    is_ipv4: bool,
}

impl Listener {
    fn open(host: &Namespace, is_ipv4: bool) -> Self {
        let (family, protocol) = match is_ipv4 {
            true => (AddressFamily::INET, ipproto::ICMP),
            false => (AddressFamily::INET6, ipproto::ICMPV6),
        };
        let open = || {
            socket_with(
                family,
                SocketType::RAW,
                SocketFlags::CLOEXEC,
                Some(protocol),
            )
        };
        Self {
            socket: host.run_in(open).unwrap().unwrap(),
            is_ipv4,
        }
    }

    /// Returns the next error about a datagram from a port, if one comes within `limit`.
    fn error_about(&self, port: u16, limit: Duration) -> Option<Answer> {
        let deadline = Instant::now() + limit;
        // The message, and in it the ports: in IPv4 behind the header that raw sockets see, and without options in either.
        let (message, ports) = if self.is_ipv4 { (20, 48) } else { (0, 48) };
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            let left = left.max(Duration::from_micros(1));
            set_socket_timeout(&self.socket, Timeout::Recv, Some(left)).unwrap();
            let mut buffer = [0; 2048];
            let (length, from) = match recvfrom(&self.socket, &mut buffer, RecvFlags::empty()) {
                Ok((length, _, from)) => (length, from.unwrap()),
                Err(Errno::AGAIN) => return None,
                Err(error) => panic!("{error}"),
            };
            let octets = &buffer[..length];
            if octets.get(ports..ports + 2) == Some(&port.to_be_bytes()) {
                let from = SocketAddr::try_from(from).unwrap().ip();
                return Some((from, octets[message], octets[message + 1]));
            }
        }
    }
}

fn set_hop_limit(socket: &UdpSocket, hops: u8) {
    match socket.local_addr().unwrap() {
        SocketAddr::V4(_) => set_ip_ttl(socket, hops.into()).unwrap(),
        SocketAddr::V6(_) => set_ipv6_unicast_hops(socket, Some(hops)).unwrap(),
    }
}

/// Sends datagrams that come one hop further each time, and returns who answered.
fn trace(host: &Namespace, from: IpAddr, to: IpAddr, hops: u8) -> Vec<Option<Answer>> {
    let listener = Listener::open(host, from.is_ipv4());
    let answer = |hops| {
        let socket = udp_socket(host, from);
        set_hop_limit(&socket, hops);
        socket.send_to(b"how far?", (to, CLOSED)).unwrap();
        listener.error_about(socket.local_addr().unwrap().port(), PATIENCE)
    };
    (1..=hops).map(answer).collect()
}

fn answer(from: impl Into<IpAddr>, (kind, code): (u8, u8)) -> Option<Answer> {
    Some((from.into(), kind, code))
}

#[test]
fn each_hop_answers_in_turn() {
    let Some(path) = RoutedPath::new(1500, 1520) else {
        return;
    };
    for (config, router) in [
        ("", IpAddr::from(RELAY_NORTH)),
        ("icmp: { ipv4_sources: [198.18.0.1/32] }", ip("198.18.0.1")),
    ] {
        let mut daemon = path.lab.start(config);
        assert_eq!(
            trace(&path.lab.client, CLIENT.into(), SERVICE.into(), 4),
            [
                answer(NORTH, TIME_EXCEEDED_V4),
                answer(RELAY_NORTH, TIME_EXCEEDED_V4),
                // No IPv4 address belongs to the router in IPv6 (RFC 6791).
                answer(router, TIME_EXCEEDED_V4),
                answer(SERVICE, PORT_UNREACHABLE_V4),
            ]
        );
        assert_eq!(
            trace(&path.lab.server, SERVER.into(), embedded(CLIENT).into(), 4),
            [
                answer(SOUTH, TIME_EXCEEDED_V6),
                answer(ip(RELAY_SOUTH), TIME_EXCEEDED_V6),
                answer(embedded(ROUTER_NORTH), TIME_EXCEEDED_V6),
                answer(embedded(CLIENT), PORT_UNREACHABLE_V6),
            ]
        );
        let counters = daemon.stop();
        counters.assert_balanced();
        assert_eq!(counters.sum("reply_"), 2, "{counters:?}");
    }
}

/// Checks that a datagram to a closed port makes the sender's kernel refuse.
fn assert_refused(host: &Namespace, from: IpAddr, to: IpAddr) {
    let socket = udp_socket(host, from);
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.connect((to, CLOSED)).unwrap();
    socket.send(b"anybody?").unwrap();
    let error = socket.recv(&mut [0; 16]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused, "{error}");
}

#[test]
fn closed_ports_refuse_both_ways() {
    let Some(lab) = Lab::new() else { return };
    let mut daemon = lab.start("");
    assert_refused(&lab.client, CLIENT.into(), SERVICE.into());
    assert_refused(&lab.server, SERVER.into(), embedded(CLIENT).into());
    let counters = daemon.stop();
    counters.assert_balanced();
    assert_eq!(counters.sum("reply_"), 0, "{counters:?}");
}

#[test]
fn a_closed_port_of_another_service_refuses() {
    let Some(lab) = Lab::new() else { return };
    // The other service may be on the same host: the way between the two leads through the relay all the same.
    lab.server
        .add_address("eth0", net("2001:db8:12:34::2/64"))
        .unwrap();
    let mut daemon = lab.start("");
    let other = embedded(Ipv4Addr::new(192, 0, 2, 2)).into();
    assert_refused(&lab.server, SERVER.into(), other);
    let counters = daemon.stop();
    counters.assert_balanced();
    assert_eq!(counters.get("hairpin_packets"), 2, "{counters:?}");
}

#[test]
fn a_service_address_that_nothing_maps_is_unreachable() {
    let Some(lab) = Lab::new() else { return };
    let mut daemon = lab.start("service_pools: [192.0.2.0/24]");
    let target = SocketAddr::from(([192, 0, 2, 200], 80));
    let connect = || TcpStream::connect_timeout(&target, PATIENCE);
    let error = lab.client.run_in(connect).unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::HostUnreachable, "{error}");
    let counters = daemon.stop();
    counters.assert_balanced();
    assert!(counters.sum("reply_") >= 1, "{counters:?}");
}

/// Sends datagrams that the relay has to complain about; returns how many errors came, and within how many seconds.
fn complaints(lab: &Lab, count: u32) -> (u32, f64) {
    let listener = Listener::open(&lab.client, true);
    let socket = udp_socket(&lab.client, CLIENT.into());
    let port = socket.local_addr().unwrap().port();
    set_hop_limit(&socket, 1);
    let start = Instant::now();
    for _ in 0..count {
        socket.send_to(b"how far?", (SERVICE, CLOSED)).unwrap();
    }
    let mut errors = 0;
    while let Some(error) = listener.error_about(port, Duration::from_millis(700)) {
        assert_eq!(Some(error), answer(NORTH, TIME_EXCEEDED_V4));
        errors += 1;
    }
    (errors, start.elapsed().as_secs_f64())
}

#[test]
fn errors_are_limited_to_their_rate() {
    let Some(lab) = Lab::new() else { return };
    let mut daemon = lab.start("icmp: { rate: 5 }");
    let (errors, seconds) = complaints(&lab, 200);
    // The tokens of one second, and those that came in meanwhile.
    let most = 5.0 + 5.0 * seconds;
    assert!(errors >= 5 && f64::from(errors) <= most, "{errors}, {most}");
    let counters = daemon.stop();
    counters.assert_balanced();
    assert_eq!(counters.sum("reply_"), u64::from(errors), "{counters:?}");
    assert_eq!(counters.get("drop_v4_to_v6_hop_limit"), 200, "{counters:?}");
}

#[test]
fn errors_may_be_off() {
    let Some(lab) = Lab::new() else { return };
    let mut daemon = lab.start("icmp: { errors: off }");
    assert_eq!(complaints(&lab, 50).0, 0);
    let counters = daemon.stop();
    counters.assert_balanced();
    assert_eq!(counters.get("drop_v4_to_v6_hop_limit"), 50, "{counters:?}");
}
