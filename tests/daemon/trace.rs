//! Looking at packets on their way through a running relay.

use crate::control::{ask, refusal};
use crate::inject::{Injector, frame, ipv4, udp};
use crate::lab::{CLIENT, Lab, SERVICE};
use crate::ping::ping;
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketOption;
use pcap_file::pcapng::{Block, PcapNgReader};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

const INTERVAL: Duration = Duration::from_millis(2);

/// A `siit-relay` that looks at packets; it has begun when this returns.
struct Looker {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Looker {
    fn trace(lab: &Lab, words: &str) -> Self {
        let mut command = Command::new(tests::siit_relay());
        command
            .args(["trace", "--json"])
            .args(words.split_whitespace());
        let mut child = command
            .arg("--socket")
            .arg(lab.socket())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "{\"not_shown\":0}");
        Self { child, lines }
    }

    /// Returns all packets, when there were as many as were asked for.
    fn packets(mut self) -> Vec<serde_json::Value> {
        let lines = self
            .lines
            .map(|line| serde_json::from_str(&line.unwrap()).unwrap());
        let packets: Vec<serde_json::Value> = lines
            .filter(|line: &serde_json::Value| line["not_shown"].is_null())
            .collect();
        assert!(self.child.wait().unwrap().success());
        packets
    }
}

/// Sends a UDP packet without a checksum, which is dropped and answered.
fn send_without_checksum(lab: &Lab) {
    let mut datagram = udp(CLIENT.into(), SERVICE.into(), (4711, 53), b"question");
    datagram[6..8].copy_from_slice(&[0, 0]);
    let packet = ipv4(CLIENT, SERVICE, 17, &[], &datagram);
    let octets = frame(lab.relay.mac("north").unwrap().unwrap(), 0x0800, &packet);
    Injector::open(&lab.client, "eth0").send(std::iter::once(&octets));
}

#[test]
fn a_trace_tells_what_becomes_of_each_packet() {
    let Some(lab) = Lab::new() else { return };
    let mut daemon = lab.start("");
    assert_eq!(ping(&lab.client, SERVICE.into(), 5, INTERVAL).count, 5);
    let looker = Looker::trace(&lab, "--count 4 --address 192.0.2.1");
    assert_eq!(ping(&lab.client, SERVICE.into(), 4, INTERVAL).count, 4);
    let packets = looker.packets();
    assert_eq!(packets.len(), 4);
    let packet = &packets[0];
    assert_eq!(packet["verdict"], "forwarded");
    assert_eq!(packet["counter"], "out_v4_to_v6_packets");
    assert_eq!(packet["rules"]["source"], "RFC 6052");
    assert_eq!(
        packet["rules"]["destination"],
        "EAM 192.0.2.1/32 <-> 2001:db8:12:34::1/128"
    );
    assert_eq!(packet["before"]["where"], "north");
    assert_eq!(
        packet["before"]["packet"],
        "203.0.113.50 > 192.0.2.1 ICMP type 8 code 0"
    );
    assert_eq!(packet["after"][0]["where"], "south");
    let after = "2001:db8:46::cb00:7132 > 2001:db8:12:34::1 ICMPv6 type 128 code 0";
    assert_eq!(packet["after"][0]["packet"], after);

    // Without a direction, both; by counter, only those.
    let looker = Looker::trace(&lab, "--count 2 --counter drop_v4_to_v6_udp_zero_checksum");
    assert_eq!(ping(&lab.client, SERVICE.into(), 4, INTERVAL).count, 4);
    send_without_checksum(&lab);
    send_without_checksum(&lab);
    let packets = looker.packets();
    assert_eq!(
        packets[0]["before"]["packet"],
        "203.0.113.50 > 192.0.2.1 UDP 4711 > 53"
    );
    assert_eq!(packets[0]["after"], serde_json::json!([]));
    assert!(
        refusal(&lab, "trace --counter banana")
            .contains("no counter of the translator begins with `banana`")
    );
    daemon.stop().assert_balanced();
}

#[test]
fn a_flood_is_sampled_and_one_looks_at_a_time() {
    let Some(lab) = Lab::new() else { return };
    let mut daemon = lab.start("");
    let mut looker = Looker::trace(&lab, "--limit 10");
    assert!(refusal(&lab, "trace").contains("somebody else is looking"));
    // Twice as many packets as pings, each way.
    assert_eq!(ping(&lab.client, SERVICE.into(), 500, INTERVAL).count, 500);
    let (mut shown, mut not_shown) = (0, 0);
    while shown + not_shown < 1_000 {
        let line = looker.lines.next().unwrap().unwrap();
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        match line["not_shown"].as_u64() {
            Some(count) => not_shown += count,
            None => shown += 1,
        }
    }
    assert_eq!(shown + not_shown, 1_000);
    assert!((5..100).contains(&shown), "{shown}");
    // When the client has gone, the place is free within the heartbeat.
    looker.child.kill().unwrap();
    looker.child.wait().unwrap();
    std::thread::sleep(Duration::from_millis(2_500));
    let looker = Looker::trace(&lab, "--count 1");
    assert_eq!(ping(&lab.client, SERVICE.into(), 1, INTERVAL).count, 1);
    assert_eq!(looker.packets().len(), 1);
    daemon.stop();
}

#[test]
fn a_capture_has_packets_before_and_after_with_comments() {
    let Some(lab) = Lab::new() else { return };
    let mut daemon = lab.start("");
    assert_eq!(ping(&lab.client, SERVICE.into(), 5, INTERVAL).count, 5);
    for (kind, count, expected) in [
        (
            "--all",
            2,
            [
                "out_v4_to_v6_packets",
                "after, to south",
                "out_v6_to_v4_packets",
                "after, to north",
            ]
            .as_slice(),
        ),
        (
            "--dropped",
            1,
            ["drop_v4_to_v6_udp_zero_checksum: A UDP packet has no checksum"].as_slice(),
        ),
    ] {
        let path = lab.path("out.pcapng");
        let mut child = Command::new(tests::siit_relay())
            .args(["capture", kind, "--count", &count.to_string(), "--socket"])
            .arg(lab.socket())
            .arg(&path)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        // There is one place. It is taken when this one has begun, unless another one is faster.
        std::thread::sleep(Duration::from_millis(500));
        crate::lab::eventually("it looks", Duration::from_secs(2), || {
            let mut second = Command::new(tests::siit_relay());
            second
                .args(["trace", "--count", "0", "--socket"])
                .arg(lab.socket());
            !second.output().unwrap().status.success()
        });
        if kind == "--all" {
            assert_eq!(ping(&lab.client, SERVICE.into(), 1, INTERVAL).count, 1);
        } else {
            send_without_checksum(&lab);
        }
        assert!(child.wait().unwrap().success());
        let mut reader = PcapNgReader::new(File::open(&path).unwrap()).unwrap();
        let mut comments = Vec::new();
        let mut packets = Vec::new();
        while let Some(block) = reader.next_block() {
            if let Block::EnhancedPacket(packet) = block.unwrap() {
                let comment = packet.options.iter().find_map(|option| match option {
                    EnhancedPacketOption::Comment(comment) => Some(comment.to_string()),
                    EnhancedPacketOption::Flags(_)
                    | EnhancedPacketOption::Hash(_)
                    | EnhancedPacketOption::DropCount(_)
                    | EnhancedPacketOption::CustomBinary(_)
                    | EnhancedPacketOption::CustomUtf8(_)
                    | EnhancedPacketOption::Unknown(_) => None,
                });
                comments.push(comment.unwrap());
                packets.push(packet.data.into_owned());
            }
        }
        assert_eq!(comments.len(), expected.len(), "{comments:?}");
        for (comment, expected) in comments.iter().zip(expected) {
            assert!(comment.contains(expected), "{comments:?}");
        }
        // The first is as the client sent it, behind an Ethernet header.
        assert_eq!(packets[0][12..14], [8, 0]);
        let source: [u8; 4] = packets[0][26..30].try_into().unwrap();
        assert_eq!(Ipv4Addr::from(source), CLIENT);
    }
    assert_eq!(ask(&lab, "status")["translating"], true);
    daemon.stop().assert_balanced();
}
