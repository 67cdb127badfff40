//! Datagrams longer than a packet, and links that take less than the hosts believe: fragments and path MTU discovery, as the
//! kernels at both ends do them.

use crate::delivery::{octets, transfer_tcp, udp_socket};
use crate::hops::RoutedPath;
use crate::lab::{CLIENT, Lab, NORTH, SERVER, SERVICE, SOUTH, embedded};
use crate::ping::ping_of_length;
use relay::lab::Namespace;
use rustix::io::Errno;
use rustix::net::sockopt::{
    Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ipv6_mtu_discover,
};
use std::io;
use std::net::{IpAddr, UdpSocket};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(10);
/// What a TCP transfer carries each way.
const TRANSFER: u32 = 3 << 20;
/// The MSS of links of 1500 octets, which hosts announce here though a link takes less: it has to be found out by errors.
const ANNOUNCED_MSS: &str = "1460";

fn patient_socket(host: &Namespace, address: IpAddr) -> UdpSocket {
    let socket = udp_socket(host, address);
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// Sends a datagram there and another of the same length back; both have to arrive whole.
fn exchange(lab: &Lab, length: u32, discovery: Ipv4PathMtuDiscovery) {
    let server = patient_socket(&lab.server, SERVER.into());
    let client = patient_socket(&lab.client, CLIENT.into());
    set_ip_mtu_discover(&client, discovery).unwrap();
    let (there, back) = (octets(length, length), octets(length + 1, length));
    let mut buffer = vec![0; 65536];
    client
        .send_to(&there, (SERVICE, server.local_addr().unwrap().port()))
        .unwrap();
    let (received, from) = server.recv_from(&mut buffer).unwrap();
    assert!(buffer[..received] == there, "{length} octets there");
    assert_eq!(from.ip(), embedded(CLIENT));
    server.send_to(&back, from).unwrap();
    let (received, from) = client.recv_from(&mut buffer).unwrap();
    assert!(buffer[..received] == back, "{length} octets back");
    assert_eq!(from.ip(), SERVICE);
}

#[test]
fn long_datagrams_arrive_whole_both_ways() {
    let Some(lab) = Lab::new() else { return };
    let mut daemon = lab.start("");
    for length in [1472, 1473, 4000, 30_000] {
        for discovery in [Ipv4PathMtuDiscovery::WANT, Ipv4PathMtuDiscovery::DONT] {
            exchange(&lab, length, discovery);
        }
    }
    let counters = daemon.stop();
    counters.assert_balanced();
    // A fragment that fills 1500 octets of IPv4 is split again in order that 1280 octets of IPv6 do.
    assert!(
        counters.get("out_v4_to_v6_fragments") >= 2 * (1 + 1 + 2 + 20),
        "{counters:?}"
    );
    assert_eq!(counters.get("out_v6_to_v4_fragments"), 0, "{counters:?}");
}

#[test]
fn long_datagrams_are_split_for_a_small_ipv4_link() {
    let Some(lab) = Lab::new() else { return };
    small_link(&lab, Side::North, 1000);
    let mut daemon = lab.start("");
    // Only packets of up to 1280 octets are split (RFC 7915, 5.1.1); about longer ones their sender is told.
    assert_learns(&lab, Side::South, 1280 - UDP_IN_IPV6);
    for length in [4000, 30_000] {
        exchange(&lab, length, Ipv4PathMtuDiscovery::DONT);
    }
    let counters = daemon.stop();
    counters.assert_balanced();
    assert!(
        counters.get("out_v6_to_v4_fragments") >= 2 * (2 + 20),
        "{counters:?}"
    );
}

#[test]
fn echo_fills_a_packet_and_no_more() {
    let Some(lab) = Lab::new() else { return };
    let mut daemon = lab.start("");
    let both = [
        (&lab.client, SERVICE.into()),
        (&lab.server, embedded(CLIENT).into()),
    ];
    for (host, to) in both {
        // The last fills 1500 octets of IPv4, and 1520 of IPv6.
        for payload in [0, 1, 1232, 1233, 1471, 1472] {
            assert_eq!(
                ping_of_length(host, to, payload, 10).count,
                10,
                "{to} {payload}"
            );
        }
        // "Fragmented ICMP/ICMPv6 packets will not be translated by IP/ICMP translators." (RFC 7915, 1.2)
        assert_eq!(ping_of_length(host, to, 4000, 10).count, 0, "{to}");
    }
    let counters = daemon.stop();
    counters.assert_balanced();
    for direction in ["v4_to_v6", "v6_to_v4"] {
        // Each request went in three fragments.
        let dropped = counters.get(&format!("drop_{direction}_fragmented_icmp"));
        assert_eq!(dropped, 30, "{direction}: {counters:?}");
    }
    // Senders are told once for each packet in IPv4 (RFC 7915, 4.4), and in IPv6 not about ICMPv6 (5.4).
    assert_eq!(counters.get("reply_v4_to_v6_packets"), 10, "{counters:?}");
    assert_eq!(counters.get("reply_v6_to_v4_packets"), 0, "{counters:?}");
}

#[derive(Clone, Copy, Debug)]
enum Side {
    North,
    South,
}

/// Makes the relay's own link on one side take less.
fn small_link(lab: &Lab, side: Side, mtu: u32) {
    let (host, port) = match side {
        Side::North => (&lab.client, "north"),
        Side::South => (&lab.server, "south"),
    };
    host.set_mtu("eth0", mtu).unwrap();
    lab.relay.set_mtu(port, mtu).unwrap();
    announce_more(lab);
}

/// Has both hosts announce an MSS that their links may not have room for.
fn announce_more(lab: &Lab) {
    let (north, south) = (NORTH.to_string(), SOUTH.to_string());
    for (host, family, to, gateway) in [
        (&lab.client, "-4", "default", &north),
        (&lab.server, "-6", "2001:db8:46::/96", &south),
    ] {
        let status = host
            .command("ip")
            .args([family, "route", "replace", to, "via", gateway])
            .args(["advmss", ANNOUNCED_MSS])
            .status()
            .unwrap();
        assert!(status.success(), "ip {family} route: {status}");
    }
}

/// Connects UDP sockets of the two hosts, which neither make fragments nor let others do so; the one on side `from` comes first.
fn unfragmented(lab: &Lab, from: Side) -> (UdpSocket, UdpSocket) {
    let client = patient_socket(&lab.client, CLIENT.into());
    let server = patient_socket(&lab.server, SERVER.into());
    let (client_port, server_port) = (
        client.local_addr().unwrap().port(),
        server.local_addr().unwrap().port(),
    );
    set_ip_mtu_discover(&client, Ipv4PathMtuDiscovery::DO).unwrap();
    set_ipv6_mtu_discover(&server, Ipv6PathMtuDiscovery::DO).unwrap();
    client.connect((SERVICE, server_port)).unwrap();
    server.connect((embedded(CLIENT), client_port)).unwrap();
    match from {
        Side::North => (client, server),
        Side::South => (server, client),
    }
}

/// Checks that a host learns the path MTU: `longest` octets of UDP then arrive, and the kernel refuses to send one more.
fn assert_learns(lab: &Lab, from: Side, longest: u32) {
    let (sender, receiver) = unfragmented(lab, from);
    let too_long = |result: io::Result<usize>| match result {
        Ok(_) => false,
        Err(error) => {
            assert_eq!(
                Errno::from_io_error(&error),
                Some(Errno::MSGSIZE),
                "{error}"
            );
            true
        }
    };
    let probe = octets(3, longest + 1);
    let deadline = Instant::now() + PATIENCE;
    while !too_long(sender.send(&probe)) {
        assert!(
            Instant::now() < deadline,
            "{from:?} sends more than {longest}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    // The first error may have been the one of an earlier datagram, kept for the socket.
    assert!(too_long(sender.send(&probe)));
    // Errors about further ones that were on their way then.
    std::thread::sleep(Duration::from_millis(50));
    while sender.take_error().unwrap().is_some() {}
    let fitting = octets(4, longest);
    assert_eq!(sender.send(&fitting).unwrap(), fitting.len());
    let mut buffer = [0; 2048];
    let received = receiver.recv(&mut buffer).unwrap();
    assert!(buffer[..received] == fitting, "{from:?}: {longest}");
}

const UDP_IN_IPV4: u32 = 28;
const UDP_IN_IPV6: u32 = 48;

#[test]
fn the_relays_own_small_links_are_learnt() {
    for (side, mtu) in [
        (Side::South, 1400),
        (Side::South, 1280),
        (Side::North, 1400),
        (Side::North, 1000),
    ] {
        let Some(lab) = Lab::new() else { return };
        small_link(&lab, side, mtu);
        let mut daemon = lab.start("");
        match side {
            Side::South => assert_learns(&lab, Side::North, mtu - 20 - UDP_IN_IPV4),
            Side::North => assert_learns(&lab, Side::South, (mtu + 20).max(1280) - UDP_IN_IPV6),
        }
        transfer_tcp(&lab, TRANSFER);
        let counters = daemon.stop();
        counters.assert_balanced();
        assert!(counters.sum("reply_") >= 1, "{side:?} {mtu}: {counters:?}");
    }
}

#[test]
fn tcp_learns_the_relays_own_small_links_by_itself() {
    for (side, mtu) in [(Side::South, 1400), (Side::North, 1000)] {
        let Some(lab) = Lab::new() else { return };
        small_link(&lab, side, mtu);
        let mut daemon = lab.start("");
        transfer_tcp(&lab, TRANSFER);
        let counters = daemon.stop();
        counters.assert_balanced();
        assert!(counters.sum("reply_") >= 1, "{side:?} {mtu}: {counters:?}");
    }
}

/// With lowered segment sizes, TCP never sends what does not fit: nobody has to be told, and nobody is.
#[test]
fn tcp_with_lowered_segment_sizes_needs_no_errors() {
    for (side, mtu) in [(Side::South, 1400), (Side::North, 1000)] {
        let Some(lab) = Lab::new() else { return };
        small_link(&lab, side, mtu);
        let mut daemon = lab.start("translation: { tcp_mss_clamp: auto }\nicmp: { errors: off }");
        transfer_tcp(&lab, TRANSFER);
        let counters = daemon.stop();
        counters.assert_balanced();
        let refused = counters.sum("drop_");
        assert_eq!(refused, 0, "{side:?} {mtu}: {counters:?}");
    }
}

#[test]
fn small_links_beyond_other_routers_are_learnt() {
    for (side, mtu) in [
        (Side::South, 1400),
        (Side::South, 1280),
        (Side::North, 1400),
        (Side::North, 1000),
    ] {
        let (north, south) = match side {
            Side::North => (mtu, 1520),
            Side::South => (1500, mtu),
        };
        let Some(path) = RoutedPath::new(north, south) else {
            return;
        };
        announce_more(&path.lab);
        let mut daemon = path.lab.start("");
        // TCP first: nothing else has told it.
        transfer_tcp(&path.lab, TRANSFER);
        match side {
            Side::South => assert_learns(&path.lab, Side::North, mtu - 20 - UDP_IN_IPV4),
            Side::North => {
                assert_learns(&path.lab, Side::South, (mtu + 20).max(1280) - UDP_IN_IPV6)
            }
        }
        for length in [4000, 30_000] {
            exchange(&path.lab, length, Ipv4PathMtuDiscovery::DONT);
        }
        let counters = daemon.stop();
        counters.assert_balanced();
        // It was the routers who told.
        assert_eq!(counters.sum("reply_"), 0, "{side:?} {mtu}: {counters:?}");
    }
}
