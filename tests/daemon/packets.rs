//! Packets that kernels seldom make, and octets that are none.

use crate::delivery::{echo_udp, udp_socket};
use crate::inject::{Injector, frame, ipv4, ipv6, raw_socket, receive, send_packet, udp};
use crate::lab::{CLIENT, Lab, SERVER, SERVICE, embedded};
use rustix::net::Protocol;
use std::net::IpAddr;
use std::num::NonZeroU32;

const UDP: u8 = 17;

/// Sends IPv4 packets with a UDP datagram, which the server's kernel has to accept.
fn server_accepts(lab: &Lab, options: &[u8], change: impl Fn(&mut Vec<u8>)) {
    let server = udp_socket(&lab.server, SERVER.into());
    let port = server.local_addr().unwrap().port();
    let mut datagram = udp(CLIENT.into(), SERVICE.into(), (4000, port), b"odd length!");
    change(&mut datagram);
    send_packet(
        &lab.client,
        SERVICE.into(),
        &ipv4(CLIENT, SERVICE, UDP, options, &datagram),
    );
    let mut buffer = [0; 64];
    let (length, from) = server
        .recv_from(&mut buffer)
        .expect("a datagram within a second");
    assert_eq!(
        (&buffer[..length], from.ip(), from.port()),
        (&b"odd length!"[..], embedded(CLIENT).into(), 4000)
    );
}

#[test]
fn ipv4_options_stay_behind() {
    let Some(lab) = Lab::new() else { return };
    let mut daemon = lab.start("");
    server_accepts(&lab, &[], |_| ());
    server_accepts(&lab, &[1, 1, 1, 0], |_| ());
    // Record Route with room for one address.
    server_accepts(&lab, &[7, 7, 4, 0, 0, 0, 0, 0], |_| ());
    daemon.stop().assert_balanced();
}

#[test]
fn an_absent_udp_checksum_is_computed() {
    let Some(lab) = Lab::new() else { return };
    let mut daemon = lab.start("translation: { udp_zero_checksum: compute }");
    server_accepts(&lab, &[], |datagram| datagram[6..8].fill(0));
    daemon.stop().assert_balanced();
}

#[test]
fn extension_headers_stay_behind() {
    let Some(lab) = Lab::new() else { return };
    let mut daemon = lab.start("");
    let client = udp_socket(&lab.client, CLIENT.into());
    let port = client.local_addr().unwrap().port();
    let to = embedded(CLIENT);
    let datagram = udp(SERVER.into(), to.into(), (4000, port), b"behind options");
    // Hop-by-Hop Options with PadN, then Destination Options with PadN, then a Routing header with nothing left.
    let chain = [
        &[60, 0, 1, 4, 0, 0, 0, 0][..],
        &[43, 0, 1, 4, 0, 0, 0, 0],
        &[UDP, 0, 4, 0, 0, 0, 0, 0],
        &datagram,
    ];
    for first in 0..chain.len() {
        let payload = chain[first..].concat();
        let next_header = [0, 60, 43, UDP][first];
        send_packet(
            &lab.server,
            to.into(),
            &ipv6(SERVER, to, next_header, &payload),
        );
        let mut buffer = [0; 64];
        let (length, from) = client
            .recv_from(&mut buffer)
            .unwrap_or_else(|error| panic!("{next_header}: {error}"));
        assert_eq!(
            (&buffer[..length], from.ip()),
            (&b"behind options"[..], IpAddr::from(SERVICE))
        );
    }
    daemon.stop().assert_balanced();
}

/// Fragments whose Identification ends in zeros: a kernel may take that for none and give each a number of its own.
#[test]
fn fragments_without_a_number_are_put_together_behind_the_kernel() {
    let Some(lab) = Lab::new() else { return };
    // Policy routing is the kernel's, so it gets all packets.
    lab.relay_ip("rule add pref 100 lookup main");
    let mut daemon = lab.start("");
    let client = udp_socket(&lab.client, CLIENT.into());
    let to = embedded(CLIENT);
    for identification in [0x1234_0000_u32, 0x1234_5678] {
        let ports = (4000, client.local_addr().unwrap().port());
        let datagram = udp(
            SERVER.into(),
            to.into(),
            ports,
            b"in two fragments, of course",
        );
        let (first, last) = datagram.split_at(16);
        for (offset_and_flags, part) in [(1_u16, first), (16, last)] {
            let mut payload = vec![UDP, 0];
            payload.extend(offset_and_flags.to_be_bytes());
            payload.extend(identification.to_be_bytes());
            payload.extend(part);
            send_packet(&lab.server, to.into(), &ipv6(SERVER, to, 44, &payload));
        }
        let mut buffer = [0; 64];
        let (length, _) = client
            .recv_from(&mut buffer)
            .unwrap_or_else(|error| panic!("{identification:#x}: {error}"));
        assert_eq!(&buffer[..length], b"in two fragments, of course");
    }
    let counters = daemon.stop();
    counters.assert_balanced();
    assert_eq!(counters.get("kernel_policy_rules"), 4, "{counters:?}");
}

#[test]
fn other_transports_keep_their_payload() {
    let Some(lab) = Lab::new() else { return };
    let mut daemon = lab.start("");
    let payload: Vec<u8> = (0..99).collect();
    // SCTP, GRE, ESP.
    for number in [132, 47, 50] {
        let protocol = Protocol::from_raw(NonZeroU32::new(number).unwrap());
        let server = raw_socket(&lab.server, SERVER.into(), protocol);
        send_packet(
            &lab.client,
            SERVICE.into(),
            &ipv4(CLIENT, SERVICE, number as u8, &[], &payload),
        );
        assert_eq!(receive(&server), payload, "{number}");
        let client = raw_socket(&lab.client, CLIENT.into(), protocol);
        let to = embedded(CLIENT);
        send_packet(
            &lab.server,
            to.into(),
            &ipv6(SERVER, to, number as u8, &payload),
        );
        // IPv4 brings its header along.
        assert_eq!(receive(&client)[20..], payload, "{number}");
    }
    daemon.stop().assert_balanced();
}

/// A repeatable stream of numbers (xorshift64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn octets(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| (self.next() >> 32) as u8).collect()
    }
}

/// Random octets behind a link header; most with the relay's destination, some even with a sound beginning.
fn garbage(numbers: &mut Numbers, mac: [u8; 6]) -> Vec<u8> {
    let length = (numbers.next() % 1400) as usize;
    let mut packet = numbers.octets(length);
    let (ethertype, mut sound) = match numbers.next() % 8 {
        0 => return frame(mac, numbers.next() as u16, &packet),
        1..=4 => (
            0x0800,
            ipv4(CLIENT, SERVICE, numbers.next() as u8, &[], &packet),
        ),
        _ => (
            0x86dd,
            ipv6(SERVER, embedded(CLIENT), numbers.next() as u8, &packet),
        ),
    };
    match numbers.next() % 4 {
        // As it is: random behind a sound header.
        0 => return frame(mac, ethertype, &sound),
        // Some octets of the header changed.
        1 => {
            for _ in 0..3 {
                let at = (numbers.next() % 40) as usize % sound.len();
                sound[at] = numbers.next() as u8;
            }
        }
        // Cut off.
        2 => sound.truncate((numbers.next() % 60) as usize),
        // Random, but for the destination.
        _ => {
            let destination = if ethertype == 0x0800 { 16..20 } else { 24..40 };
            if packet.len() >= destination.end {
                packet[destination.clone()].copy_from_slice(&sound[destination]);
            }
            sound = packet;
        }
    }
    frame(mac, ethertype, &sound)
}

#[test]
fn garbage_does_no_harm() {
    let Some(lab) = Lab::new() else { return };
    let mut daemon = lab.start("");
    let mut numbers = Numbers(0x5eed);
    let mut memory = Vec::new();
    for _ in 0..4 {
        for (host, port) in [(&lab.client, "north"), (&lab.server, "south")] {
            let mac = lab.relay.mac(port).unwrap().unwrap();
            let mut injector = Injector::open(host, "eth0");
            injector.send((0..5000).map(|_| garbage(&mut numbers, mac)));
        }
        // Until what waits in queues has been worked off.
        std::thread::sleep(std::time::Duration::from_secs(1));
        // Not ping: the server's kernel is busy complaining by ICMP about what it got.
        echo_udp(&lab, 100);
        memory.push(daemon.memory());
    }
    assert!(
        memory[3] <= memory[0] + 256,
        "KiB of memory in use: {memory:?}"
    );
    let counters = daemon.stop();
    counters.assert_balanced();
    assert!(counters.get("received_frames") > 20_000, "{counters:?}");
    assert!(counters.sum("drop_") > 5000, "{counters:?}");
}
