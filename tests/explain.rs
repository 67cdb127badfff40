//! `siit-relay translate --explain`: what an operator reads about each packet of a capture.

use pcap_file::DataLink;
use pcap_file::pcap::{PcapHeader, PcapWriter, RawPcapPacket};
use serde_json::{Value, json};
use std::borrow::Cow;
use std::fs;
use std::process::Command;
use tests::packet::{packet, set_header_checksum};
use tests::siit_relay;

const RELAY: &str = "prefix: 2001:db8:46::/96\neam: eam.yaml\nservice_pools: [192.0.2.0/24]\ninterfaces: [{ name: lo }]\n";

const EAM: &str = r#"eam:
  - { ipv4: 192.0.2.1, ipv6: "2001:db8:12:34::1", name: web }
  - { ipv4: 192.0.2.16/28, ipv6: "2001:db8:cccc::/124" }
"#;

/// The same packets for every test, one of each fate.
fn packets() -> Vec<Vec<u8>> {
    let made = |source: &str, destination: &str, protocol: u8, data: &[u8]| {
        packet(
            source.parse().unwrap(),
            destination.parse().unwrap(),
            protocol,
            data,
        )
    };
    let (client, service) = ("203.0.113.50", "192.0.2.1");
    let (client_v6, service_v6) = ("2001:db8:46::203.0.113.50", "2001:db8:12:34::1");
    let mut expired = made(client, service, 17, b"data");
    expired[8] = 1;
    set_header_checksum(&mut expired);
    let mut error = made(
        "198.51.100.9",
        service,
        1,
        &made(service, client, 17, b"data"),
    );
    // Destination Unreachable, port unreachable; the checksum of an echo request with the same octets behind it follows.
    error[20..22].copy_from_slice(&[3, 3]);
    error[24..28].fill(0);
    error[22..24].fill(0);
    let sum = tests::packet::checksum(&error[20..]).to_be_bytes();
    error[22..24].copy_from_slice(&sum);
    let mut later = made(client, service, 17, b"data");
    later[7] = 3;
    set_header_checksum(&mut later);
    let mut broken = made(client, service, 17, b"data");
    broken[10] ^= 1;
    vec![
        made(client, service, 6, b"data"),
        made("2001:db8:cccc::7", client_v6, 58, b"data"),
        made(client, service, 17, &[0; 1400]),
        error,
        made(service_v6, "2001:db8:46::192.0.2.23", 17, b"data"),
        expired,
        made(client, "192.0.2.99", 17, b"data"),
        broken,
        made(client, "198.51.100.1", 132, b"data"),
        made(client_v6, service_v6, 17, b"data"),
        later,
        vec![0; 20],
        vec![0x45; 10],
    ]
}

/// Runs `translate --explain` on the packets, with more arguments; returns what it prints.
fn explain(arguments: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("relay.yaml"), RELAY).unwrap();
    fs::write(folder.path().join("eam.yaml"), EAM).unwrap();
    let header = PcapHeader {
        datalink: DataLink::RAW,
        ..PcapHeader::default()
    };
    let mut writer = PcapWriter::with_header(Vec::new(), header).unwrap();
    for packet in packets() {
        let raw = RawPcapPacket {
            ts_sec: 0,
            ts_frac: 0,
            incl_len: packet.len() as u32,
            orig_len: packet.len() as u32,
            data: Cow::Owned(packet),
        };
        writer.write_raw_packet(&raw).unwrap();
    }
    fs::write(folder.path().join("in.pcap"), writer.into_writer()).unwrap();
    let translate = |arguments: &[&str], output: &str| {
        let output = Command::new(siit_relay())
            .args(["translate", "--config", "relay.yaml"])
            .args(arguments)
            .args(["in.pcap", output])
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{output:?}"
        );
        String::from_utf8(output.stdout).unwrap()
    };
    let explained = translate(&[&["--explain"], arguments].concat(), "explained.pcap");
    // To explain changes nothing.
    translate(&[], "plain.pcap");
    let file = |name: &str| fs::read(folder.path().join(name)).unwrap();
    assert_eq!(file("explained.pcap"), file("plain.pcap"));
    explained
}

#[test]
fn in_words() {
    let printed = explain(&[]);
    let eam = "EAM \"web\" 192.0.2.1/32 <-> 2001:db8:12:34::1/128 (eam.yaml:2:5)";
    let pool = "EAM 192.0.2.16/28 <-> 2001:db8:cccc::/124 (eam.yaml:3:5)";
    let prefix = "RFC 6052 under 2001:db8:46::/96";
    let lines = [
        format!(
            "1: v4_to_v6 TCP 203.0.113.50:40000 > 192.0.2.1:443: forwarded as 2001:db8:46::cb00:7132 > 2001:db8:12:34::1, \
             64 octets (RFC 7915, 4.1); source by {prefix}; destination by {eam}; counted in out_v4_to_v6_packets"
        ),
        format!(
            "2: v6_to_v4 ICMPv6 type 128 code 0 2001:db8:cccc::7 > 2001:db8:46::cb00:7132: forwarded as 192.0.2.23 > \
             203.0.113.50, 32 octets (RFC 7915, 5.2); source by {pool}; destination by {prefix}; counted in \
             out_v6_to_v4_packets"
        ),
        format!(
            "3: v4_to_v6 UDP 203.0.113.50:40000 > 192.0.2.1:53: split into 2 fragments, 2001:db8:46::cb00:7132 > \
             2001:db8:12:34::1, 1504 octets (RFC 7915, 4.1); source by {prefix}; destination by {eam}; counted in out_v4_to_v6_packets, \
             out_v4_to_v6_fragments"
        ),
        format!(
            "4: v4_to_v6 ICMP type 3 code 3 198.51.100.9 > 192.0.2.1: ICMP error forwarded as 2001:db8:46::c633:6409 > \
             2001:db8:12:34::1, 100 octets (RFC 7915, 4.2 and 4.3); source by {prefix}; destination by {eam}; counted in \
             out_v4_to_v6_packets"
        ),
        format!(
            "5: v6_to_v4 UDP [2001:db8:12:34::1]:40000 > [2001:db8:46::c000:217]:53: forwarded as 2001:db8:46::c000:201 > \
             2001:db8:cccc::7, 52 octets (RFC 7757, 4.2.2); source by {eam}, then {prefix}; destination by {prefix}, then \
             {pool}; counted in out_v6_to_v4_packets, hairpin_packets"
        ),
        "6: v4_to_v6 UDP 203.0.113.50:40000 > 192.0.2.1:53: dropped: TTL or hop limit is used up (RFC 7915, 4.1); answered by \
         ICMP type 11 code 0 192.0.0.8 > 203.0.113.50; counted in reply_v4_to_v6_packets, drop_v4_to_v6_hop_limit"
            .to_owned(),
        "7: v4_to_v6 UDP 203.0.113.50:40000 > 192.0.2.99:53: dropped: The destination lies in a service pool but has no EAM \
         (RFC 7755, 2); answered by ICMP type 3 code 1 192.0.0.8 > 203.0.113.50; counted in reply_v4_to_v6_packets, \
         drop_v4_to_v6_unmapped_service"
            .to_owned(),
        "8: v4_to_v6 UDP 203.0.113.50:40000 > 192.0.2.1:53: dropped: The IPv4 header checksum is wrong (RFC 1812, 5.2.2); \
         counted in drop_v4_to_v6_header_checksum"
            .to_owned(),
        "9: v4_to_v6 SCTP 203.0.113.50:25697 > 198.51.100.1:29793: left to the kernel: No EAM, prefix or pool covers the \
         destination: native traffic (RFC 7915, 4.6 and 5.6); counted in pass_not_ours"
            .to_owned(),
        "10: v6_to_v4 UDP [2001:db8:46::cb00:7132]:40000 > [2001:db8:12:34::1]:53: left to the kernel: No EAM, prefix or pool \
         covers the destination: native traffic (RFC 7915, 4.6 and 5.6); counted in pass_not_ours"
            .to_owned(),
        format!(
            "11: v4_to_v6 UDP 203.0.113.50 > 192.0.2.1: forwarded as 2001:db8:46::cb00:7132 > 2001:db8:12:34::1, 60 octets \
             (RFC 7915, 4.1); source by {prefix}; destination by {eam}; counted in out_v4_to_v6_packets"
        ),
        "12: not IP: left to the kernel: The frame carries neither IPv4 nor IPv6 (RFC 7915, 1.1); counted in pass_not_ip"
            .to_owned(),
        "13: v4_to_v6 unreadable: dropped: The network header is truncated, has a wrong version, or contradicts the length of \
         the packet (RFC 1812, 5.2.2); counted in drop_v4_to_v6_malformed_header"
            .to_owned(),
    ];
    let mut printed = printed.lines();
    for line in lines {
        assert_eq!(printed.next(), Some(line.as_str()));
    }
    assert_eq!(printed.next().map(str::trim), Some("13 packets_read"));
}

#[test]
fn in_json() {
    let printed = explain(&["--json"]);
    let objects: Vec<Value> = printed
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let web = json!({
        "ipv4": "192.0.2.1/32", "ipv6": "2001:db8:12:34::1/128", "name": "web", "place": "eam.yaml:2:5",
    });
    let expected = json!({
        "packet": 1,
        "direction": "v4_to_v6",
        "source": "203.0.113.50",
        "source_port": 40000,
        "destination": "192.0.2.1",
        "destination_port": 443,
        "protocol": 6,
        "verdict": "forwarded",
        "reason": null,
        "why": null,
        "clause": "RFC 7915, 4.1",
        "sent": [{
            "source": "2001:db8:46::cb00:7132",
            "source_port": 40000,
            "destination": "2001:db8:12:34::1",
            "destination_port": 443,
            "protocol": 6,
            "octets": 64,
        }],
        "source_mapping": [{
            "becomes": "2001:db8:46::cb00:7132",
            "rule": "rfc6052",
            "prefix": "2001:db8:46::/96",
            "clause": "RFC 6052, 2.3",
        }],
        "destination_mapping": [{
            "becomes": "2001:db8:12:34::1", "rule": "eam", "eam": web, "clause": "RFC 7757, 3.3.1",
        }],
        "counters": { "out_v4_to_v6_packets": 1, "out_v4_to_v6_octets": 64 },
    });
    assert_eq!(objects[0], expected);
    let verdicts: Vec<&str> = objects[..13]
        .iter()
        .map(|object| object["verdict"].as_str().unwrap())
        .collect();
    let expected = [
        "forwarded",
        "forwarded",
        "split",
        "icmp_error",
        "forwarded",
        "replied",
        "replied",
        "dropped",
        "passed",
        "passed",
        "forwarded",
        "passed",
        "dropped",
    ];
    assert_eq!(verdicts, expected);
    let expired = &objects[5];
    assert_eq!(expired["reason"], "hop_limit");
    assert_eq!(expired["why"], "TTL or hop limit is used up.");
    assert_eq!(expired["sent"][0]["icmp_type"], 11);
    assert_eq!(expired["destination_mapping"], json!([]));
    assert_eq!(objects[11]["source"], Value::Null);
    // The counters come last, and those of all packets add up to them.
    let total = objects[13]["counters"].as_object().unwrap();
    assert_eq!(
        (objects.len(), &objects[13]["packets_read"]),
        (14, &json!(13))
    );
    for (name, count) in total {
        let sum: u64 = objects[..13]
            .iter()
            .filter_map(|object| object["counters"][name].as_u64())
            .sum();
        assert_eq!(count.as_u64(), Some(sum), "{name}");
    }
}
