//! Ordinary traffic arrives whole: TCP, UDP, ICMP echo, with every checksum right.

use crate::lab::{CLIENT, Lab, SERVER, SERVICE, embedded};
use crate::ping::ping;
use relay::driver::ethtool::Ethtool;
use relay::lab::Namespace;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Option<Duration> = Some(Duration::from_secs(10));
const INTERVAL: Duration = Duration::from_millis(2);

/// Opens a UDP socket on an address of a host.
pub(crate) fn udp_socket(host: &Namespace, address: IpAddr) -> UdpSocket {
    let socket = host
        .run_in(|| UdpSocket::bind((address, 0)))
        .unwrap()
        .unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(1)))
        .unwrap();
    socket
}

/// Sends datagrams, each of which is answered before the next.
pub(crate) fn echo_udp(lab: &Lab, count: u32) {
    let server = udp_socket(&lab.server, SERVER.into());
    let client = udp_socket(&lab.client, CLIENT.into());
    client
        .connect((SERVICE, server.local_addr().unwrap().port()))
        .unwrap();
    for number in 0..count {
        // All lengths, odd and even, and the empty datagram.
        let request: Vec<u8> = (0..number % 1400)
            .map(|octet| (octet * 7 + number) as u8)
            .collect();
        client.send(&request).unwrap();
        let mut buffer = [0; 2048];
        let received = server.recv_from(&mut buffer);
        let (length, from) = received.unwrap_or_else(|error| panic!("datagram {number}: {error}"));
        assert_eq!(buffer[..length], request);
        assert_eq!(from.ip(), embedded(CLIENT));
        server.send_to(&buffer[..length], from).unwrap();
        let length = client.recv(&mut buffer).unwrap();
        assert_eq!(buffer[..length], request);
    }
}

pub(crate) fn octets(seed: u32, length: u32) -> Vec<u8> {
    (0..length)
        .map(|number| (number.wrapping_mul(2_654_435_761).wrapping_add(seed) >> 24) as u8)
        .collect()
}

/// Sends `length` octets there, and as many others back.
pub(crate) fn transfer_tcp(lab: &Lab, length: u32) {
    let (there, back) = (octets(1, length), octets(2, length));
    let listener = lab
        .server
        .run_in(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)))
        .unwrap()
        .unwrap();
    let target = SocketAddr::new(SERVICE.into(), listener.local_addr().unwrap().port());
    let connect = || TcpStream::connect_timeout(&target, Duration::from_secs(5));
    let mut client = lab.client.run_in(connect).unwrap().unwrap();
    let (mut server, _) = listener.accept().unwrap();
    for stream in [&client, &server] {
        stream.set_read_timeout(PATIENCE).unwrap();
        stream.set_write_timeout(PATIENCE).unwrap();
    }
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut received = vec![0; there.len()];
            server.read_exact(&mut received).unwrap();
            assert!(received == there, "the server received something else");
            server.write_all(&back).unwrap();
        });
        client.write_all(&there).unwrap();
        let mut received = vec![0; back.len()];
        client.read_exact(&mut received).unwrap();
        assert!(received == back, "the client received something else");
    });
}

#[test]
fn tcp_carries_octets_both_ways() {
    let Some(lab) = Lab::new() else { return };
    let mut daemon = lab.start("");
    transfer_tcp(&lab, 8 << 20);
    daemon.stop().assert_balanced();
}

#[test]
fn udp_is_echoed() {
    let Some(lab) = Lab::new() else { return };
    let mut daemon = lab.start("");
    echo_udp(&lab, 1500);
    let counters = daemon.stop();
    counters.assert_balanced();
    assert_eq!(counters.get("out_v4_to_v6_packets"), 1500);
    assert_eq!(counters.get("out_v6_to_v4_packets"), 1500);
}

/// As it is where nobody has switched off what a veth offers.
#[test]
fn checksums_that_are_left_to_hardware_are_finished() {
    for fast_path in ["xdp", "af_xdp"] {
        let Some(lab) = Lab::new() else { return };
        for host in [&lab.client, &lab.server] {
            let offload = || Ethtool::open()?.set_transmit_checksum("eth0", true);
            host.run_in(offload).unwrap().unwrap();
        }
        let mut daemon = lab.start(&format!("fast_path: {fast_path}\n"));
        transfer_tcp(&lab, 1 << 20);
        echo_udp(&lab, 200);
        let counters = daemon.stop();
        counters.assert_balanced();
        if fast_path == "xdp" {
            assert!(counters.get("xdp_punt_unfinished_checksum") > 400);
        }
    }
}

#[test]
fn both_sides_can_ping() {
    let Some(lab) = Lab::new() else { return };
    let mut daemon = lab.start("");
    let from_client = ping(&lab.client, SERVICE.into(), 100, INTERVAL);
    assert_eq!((from_client.count, from_client.ttl), (100, 63));
    assert_eq!(
        ping(&lab.server, embedded(CLIENT).into(), 100, INTERVAL).count,
        100
    );
    daemon.stop().assert_balanced();
}

/// Runs tcpdump on `eth0` of a host until dropped.
struct Capture {
    child: Child,
}

impl Capture {
    fn start(host: &Namespace, file: &str) -> Self {
        let mut child = host
            .command("tcpdump")
            .args([
                "-i",
                "eth0",
                "--immediate-mode",
                "-U",
                // Room for all of it, in KiB, for when the machine is busy.
                "-B",
                "16384",
                "-w",
                file,
                "ip or ip6",
            ])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It says `listening on ...` when it does.
        let mut said = [0; 16];
        child
            .stderr
            .as_mut()
            .unwrap()
            .read_exact(&mut said)
            .unwrap();
        Self { child }
    }

    /// Ends the capture when the file holds `enough`, or after a while, and returns tcpdump's account of each packet.
    fn read(self, file: &str, enough: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            // What was seen on the wire reaches the file within a moment.
            std::thread::sleep(Duration::from_millis(300));
            let output = std::process::Command::new("tcpdump")
                .args(["-nn", "-vv", "-r", file])
                .output()
                .unwrap();
            let account = String::from_utf8(output.stdout).unwrap();
            if enough(&account) || Instant::now() > deadline {
                return account;
            }
        }
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The words by which tcpdump complains about a checksum.
const COMPLAINTS: [&str; 4] = [
    "bad cksum",
    "bad udp cksum",
    "incorrect",
    "wrong icmp cksum",
];

#[test]
fn tcpdump_finds_every_checksum_right() {
    let Some(lab) = Lab::new() else { return };
    if std::process::Command::new("tcpdump")
        .arg("--version")
        .output()
        .is_err()
    {
        return tests::skip("there is no `tcpdump` command");
    }
    // What is put together again has no checksum to look at.
    for host in [&lab.client, &lab.server] {
        host.run_in(|| Ethtool::open()?.set_receive_offload("eth0", false))
            .unwrap()
            .unwrap();
    }
    let mut daemon = lab.start("");
    let files =
        ["client.pcap", "server.pcap"].map(|name| lab.path(name).to_str().unwrap().to_owned());
    let captures = [
        Capture::start(&lab.client, &files[0]),
        Capture::start(&lab.server, &files[1]),
    ];
    transfer_tcp(&lab, 100_000);
    echo_udp(&lab, 300);
    assert_eq!(ping(&lab.client, SERVICE.into(), 10, INTERVAL).count, 10);
    assert_eq!(
        ping(&lab.server, embedded(CLIENT).into(), 10, INTERVAL).count,
        10
    );
    for (capture, file) in captures.into_iter().zip(&files) {
        let count = |account: &str, what: &str| account.matches(what).count();
        let account = capture.read(file, |account| {
            count(account, "(correct)") > 100
                && count(account, "udp sum ok") >= 600
                && count(account, "echo reply") >= 20
        });
        for complaint in COMPLAINTS {
            assert!(!account.contains(complaint), "{file}: {complaint}");
        }
        // It did look.
        assert!(count(&account, "(correct)") > 100, "{file}: TCP");
        assert!(count(&account, "udp sum ok") >= 600, "{file}: UDP");
        assert!(count(&account, "echo reply") >= 20, "{file}: ICMP");
    }
    daemon.stop();
}
