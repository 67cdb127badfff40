//! `siit-relay translate`: capture files of all kinds in, what the relay would send out.
//!
//! Files are made and read here by hand where it matters, and tcpdump has the last word on what came out.

use pcap_file::pcap::{PcapHeader, PcapReader, PcapWriter, RawPcapPacket};
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketBlock;
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::blocks::simple_packet::SimplePacketBlock;
use pcap_file::{DataLink, Endianness, TsResolution};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;
use tempfile::TempDir;
use tests::packet::{frame, packet};
use tests::{siit_relay, skip};

/// A folder with a configuration, for one test.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let relay = "prefix: 2001:db8:46::/96\neam: eam.yaml\ninterfaces: [{ name: eth0 }]\n";
        let eam = "eam:\n  - { ipv4: 192.0.2.1, ipv6: '2001:db8:12:34::1' }\n";
        fs::write(folder.path().join("relay.yaml"), relay).unwrap();
        fs::write(folder.path().join("eam.yaml"), eam).unwrap();
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, octets: &[u8]) {
        fs::write(self.path(name), octets).unwrap();
    }

    fn translate(&self, arguments: &[&str]) -> Output {
        Command::new(siit_relay())
            .args(["translate", "--config", "relay.yaml"])
            .args(arguments)
            .current_dir(self.0.path())
            .output()
            .unwrap()
    }

    /// Translates `in.pcap` to `out.pcap`, which has to work; returns the counters that moved, and what was sent.
    fn succeed(&self) -> (BTreeMap<String, u64>, DataLink, Vec<Packet>) {
        let output = self.translate(&["--json", "in.pcap", "out.pcap"]);
        assert!(output.status.success(), "{output:?}");
        assert!(output.stderr.is_empty(), "{output:?}");
        let (link, packets) = self.sent();
        (counters(&output.stdout), link, packets)
    }

    fn sent(&self) -> (DataLink, Vec<Packet>) {
        let file = fs::File::open(self.path("out.pcap")).unwrap();
        let mut reader = PcapReader::new(file).unwrap();
        assert_eq!(reader.header().ts_resolution, TsResolution::NanoSecond);
        let link = reader.header().datalink;
        let mut packets = Vec::new();
        while let Some(packet) = reader.next_raw_packet() {
            let packet = packet.unwrap();
            assert_eq!(packet.incl_len, packet.orig_len);
            packets.push(Packet {
                time: (packet.ts_sec, packet.ts_frac),
                octets: packet.data.into_owned(),
            });
        }
        (link, packets)
    }
}

#[derive(Debug, PartialEq)]
struct Packet {
    /// Seconds and nanoseconds.
    time: (u32, u32),
    octets: Vec<u8>,
}

fn counters(report: &[u8]) -> BTreeMap<String, u64> {
    let report: serde_json::Value = serde_json::from_slice(report).unwrap();
    let all = report["counters"].as_object().unwrap();
    assert!(all.len() > 40, "counters at zero are told, too");
    let all = all
        .iter()
        .map(|(name, count)| (name.clone(), count.as_u64().unwrap()));
    let read = (
        "packets_read".to_owned(),
        report["packets_read"].as_u64().unwrap(),
    );
    all.chain([read]).filter(|(_, count)| *count != 0).collect()
}

fn moved(expected: &[(&str, u64)]) -> BTreeMap<String, u64> {
    expected
        .iter()
        .map(|(name, count)| ((*name).to_owned(), *count))
        .collect()
}

/// A pcap file of packets that came a second apart, the first at 1000000000.123456 seconds.
fn pcap(
    link: DataLink,
    resolution: TsResolution,
    endianness: Endianness,
    packets: &[Vec<u8>],
) -> Vec<u8> {
    let header = PcapHeader {
        datalink: link,
        ts_resolution: resolution,
        endianness,
        ..PcapHeader::default()
    };
    let mut writer = PcapWriter::with_header(Vec::new(), header).unwrap();
    for (second, packet) in packets.iter().enumerate() {
        let raw = RawPcapPacket {
            ts_sec: 1_000_000_000 + second as u32,
            ts_frac: match resolution {
                TsResolution::MicroSecond => 123_456,
                TsResolution::NanoSecond => 123_456_789,
            },
            incl_len: packet.len() as u32,
            orig_len: packet.len() as u32,
            data: Cow::Borrowed(packet),
        };
        writer.write_raw_packet(&raw).unwrap();
    }
    writer.into_writer()
}

/// A plain pcap file, in microseconds.
fn plain_pcap(link: DataLink, packets: &[Vec<u8>]) -> Vec<u8> {
    pcap(link, TsResolution::MicroSecond, Endianness::Little, packets)
}

/// A pcapng file of one interface, whose units of time are `10^-resolution` seconds.
fn pcapng(link: DataLink, resolution: Option<u8>, units: u64, packets: &[Vec<u8>]) -> Vec<u8> {
    let mut writer = PcapNgWriter::new(Vec::new()).unwrap();
    let options = resolution
        .map(InterfaceDescriptionOption::IfTsResol)
        .into_iter()
        .collect();
    writer
        .write_pcapng_block(InterfaceDescriptionBlock {
            linktype: link,
            snaplen: 0,
            options,
        })
        .unwrap();
    for packet in packets {
        let block = EnhancedPacketBlock {
            interface_id: 0,
            timestamp: Duration::from_nanos(units),
            original_len: packet.len() as u32,
            data: Cow::Borrowed(packet),
            options: Vec::new(),
        };
        writer.write_pcapng_block(block).unwrap();
    }
    writer.into_inner()
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// From the client to the service, as the IPv4 network sends it.
fn request(protocol: u8, data: &[u8]) -> Vec<u8> {
    packet(
        address("203.0.113.50"),
        address("192.0.2.1"),
        protocol,
        data,
    )
}

/// The same as the service gets it, but for the hop limit.
fn translated_request(protocol: u8, data: &[u8]) -> Vec<u8> {
    let protocol = if protocol == 1 { 58 } else { protocol };
    let mut packet = packet(
        address("2001:db8:46::203.0.113.50"),
        address("2001:db8:12:34::1"),
        protocol,
        data,
    );
    packet[7] = 63;
    packet
}

/// From the service to the client.
fn answer(protocol: u8, data: &[u8]) -> Vec<u8> {
    packet(
        address("2001:db8:12:34::1"),
        address("2001:db8:46::203.0.113.50"),
        protocol,
        data,
    )
}

/// Neither of the relay's.
fn foreign() -> Vec<u8> {
    packet(
        address("203.0.113.50"),
        address("198.51.100.1"),
        17,
        b"elsewhere",
    )
}

#[test]
fn link_types_are_kept() {
    for (link, sent_link) in [
        (DataLink::ETHERNET, DataLink::ETHERNET),
        (DataLink::RAW, DataLink::RAW),
        (DataLink::IPV4, DataLink::RAW),
    ] {
        let folder = Folder::new();
        let on_link = |packet: Vec<u8>| {
            if link == DataLink::ETHERNET {
                frame(&packet)
            } else {
                packet
            }
        };
        let input = [
            on_link(request(17, b"one")),
            on_link(foreign()),
            on_link(request(1, b"two")),
        ];
        folder.write("in.pcap", &plain_pcap(link, &input));
        let (counters, found_link, sent) = folder.succeed();
        assert_eq!(found_link, sent_link);
        let expected = [
            Packet {
                time: (1_000_000_000, 123_456_000),
                octets: on_link(translated_request(17, b"one")),
            },
            Packet {
                time: (1_000_000_002, 123_456_000),
                octets: on_link(translated_request(1, b"two")),
            },
        ];
        assert_eq!(sent, expected);
        let expected = [
            ("packets_read", 3),
            ("out_v4_to_v6_packets", 2),
            ("out_v4_to_v6_octets", 2 * 51),
            ("pass_not_ours", 1),
        ];
        assert_eq!(counters, moved(&expected));
    }
}

#[test]
fn both_directions_in_one_file() {
    let folder = Folder::new();
    let input = [
        request(6, b"question"),
        answer(6, b"answer!!"),
        vec![0x45, 0, 0],
        Vec::new(),
    ];
    folder.write("in.pcap", &plain_pcap(DataLink::RAW, &input));
    let (counters, _, sent) = folder.succeed();
    assert_eq!(sent.len(), 2);
    let expected = [
        ("packets_read", 4),
        ("out_v4_to_v6_packets", 1),
        ("out_v4_to_v6_octets", 68),
        ("out_v6_to_v4_packets", 1),
        ("out_v6_to_v4_octets", 48),
        ("drop_v4_to_v6_malformed_header", 1),
        ("pass_not_ip", 1),
    ];
    assert_eq!(counters, moved(&expected));
}

#[test]
fn timestamps_of_pcap() {
    for endianness in [Endianness::Little, Endianness::Big] {
        for (resolution, nanoseconds) in [
            (TsResolution::MicroSecond, 123_456_000),
            (TsResolution::NanoSecond, 123_456_789),
        ] {
            let folder = Folder::new();
            folder.write(
                "in.pcap",
                &pcap(DataLink::RAW, resolution, endianness, &[request(17, b"")]),
            );
            let (_, _, sent) = folder.succeed();
            assert_eq!(
                sent[0].time,
                (1_000_000_000, nanoseconds),
                "{endianness:?}, {resolution:?}"
            );
        }
    }
}

#[test]
fn timestamps_of_pcapng() {
    for (resolution, units, time) in [
        (None, 1_000_000_000_123_456, (1_000_000_000, 123_456_000)),
        (Some(6), 1_000_000_000_123_456, (1_000_000_000, 123_456_000)),
        (
            Some(9),
            1_000_000_000_123_456_789,
            (1_000_000_000, 123_456_789),
        ),
        (Some(0), 1_000_000_000, (1_000_000_000, 0)),
        (Some(3), 1_000_000_000_500, (1_000_000_000, 500_000_000)),
        // Powers of two.
        (
            Some(0x80 | 10),
            (1_000_000_000 << 10) + 512,
            (1_000_000_000, 500_000_000),
        ),
    ] {
        let folder = Folder::new();
        let input = pcapng(
            DataLink::ETHERNET,
            resolution,
            units,
            &[frame(&request(17, b"x"))],
        );
        folder.write("in.pcap", &input);
        let (_, link, sent) = folder.succeed();
        assert_eq!(link, DataLink::ETHERNET);
        let octets = frame(&translated_request(17, b"x"));
        assert_eq!(sent, [Packet { time, octets }], "{resolution:?}");
    }
}

#[test]
fn simple_packets_and_unknown_blocks_of_pcapng() {
    let folder = Folder::new();
    let mut writer = PcapNgWriter::new(Vec::new()).unwrap();
    let interface = InterfaceDescriptionBlock {
        linktype: DataLink::RAW,
        snaplen: 0,
        options: Vec::new(),
    };
    writer.write_pcapng_block(interface).unwrap();
    let octets = request(17, b"simple");
    writer
        .write_pcapng_block(SimplePacketBlock {
            original_len: octets.len() as u32,
            data: Cow::Borrowed(&octets),
        })
        .unwrap();
    let mut input = writer.into_inner();
    // A custom block: type, length, four octets, length.
    input.extend([0xad, 0x0b, 0, 0, 16, 0, 0, 0, 1, 2, 3, 4, 16, 0, 0, 0]);
    folder.write("in.pcap", &input);
    let (counters, _, sent) = folder.succeed();
    assert_eq!(
        sent,
        [Packet {
            time: (0, 0),
            octets: translated_request(17, b"simple")
        }]
    );
    assert_eq!(counters["packets_read"], 1);
}

#[test]
fn vlan_tags_and_addresses_are_kept() {
    let folder = Folder::new();
    let tagged = |packet: &[u8], tags: &[u8]| {
        let mut frame = frame(packet);
        frame.splice(12..12, tags.iter().copied());
        frame
    };
    let one = [0x81, 0x00, 0xa0, 0x64];
    let two = [0x88, 0xa8, 0x00, 0x07, 0x81, 0x00, 0x0f, 0xfe];
    let input = [
        tagged(&request(17, b"1"), &one),
        tagged(&request(17, b"2"), &two),
    ];
    folder.write("in.pcap", &plain_pcap(DataLink::ETHERNET, &input));
    let (_, _, sent) = folder.succeed();
    let sent: Vec<Vec<u8>> = sent.into_iter().map(|packet| packet.octets).collect();
    assert_eq!(
        sent,
        [
            tagged(&translated_request(17, b"1"), &one),
            tagged(&translated_request(17, b"2"), &two)
        ]
    );
}

/// A capture with a short snap length has the beginnings of packets, which cannot be sent.
#[test]
fn packets_that_were_not_captured_whole() {
    let folder = Folder::new();
    let header = PcapHeader {
        datalink: DataLink::RAW,
        snaplen: 40,
        ..PcapHeader::default()
    };
    let mut writer = PcapWriter::with_header(Vec::new(), header).unwrap();
    for octets in [request(17, &[7; 100]), request(17, b"short")] {
        let captured = &octets[..octets.len().min(40)];
        let raw = RawPcapPacket {
            ts_sec: 1,
            ts_frac: 0,
            incl_len: captured.len() as u32,
            orig_len: octets.len() as u32,
            data: Cow::Borrowed(captured),
        };
        writer.write_raw_packet(&raw).unwrap();
    }
    folder.write("in.pcap", &writer.into_writer());
    let (counters, _, sent) = folder.succeed();
    assert_eq!(sent.len(), 1);
    assert_eq!(counters["drop_v4_to_v6_malformed_header"], 1);
    assert_eq!(counters["packets_read"], 2);
}

#[test]
fn captures_without_packets() {
    for (input, link) in [
        (plain_pcap(DataLink::ETHERNET, &[]), DataLink::ETHERNET),
        (plain_pcap(DataLink::RAW, &[]), DataLink::RAW),
        (pcapng(DataLink::RAW, None, 0, &[]), DataLink::ETHERNET),
        (plain_pcap(DataLink::RAW, &[foreign()]), DataLink::RAW),
    ] {
        let folder = Folder::new();
        folder.write("in.pcap", &input);
        let (_, sent_link, sent) = folder.succeed();
        assert_eq!((sent_link, sent), (link, Vec::new()));
    }
}

#[test]
fn the_counters_as_text() {
    let folder = Folder::new();
    folder.write(
        "in.pcap",
        &plain_pcap(DataLink::RAW, &[request(17, b"1234"), foreign()]),
    );
    let output = folder.translate(&["in.pcap", "out.pcap"]);
    let expected = [
        "           2 packets_read",
        "           1 out_v4_to_v6_packets",
        "          52 out_v4_to_v6_octets",
        "           1 pass_not_ours",
    ];
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn files_that_are_no_captures() {
    let ethernet = plain_pcap(DataLink::ETHERNET, &[]);
    for (octets, expected) in [
        (
            &b""[..],
            "in.pcap: no pcap or pcapng file: the file ends too early",
        ),
        (
            b"abc",
            "in.pcap: no pcap or pcapng file: the file ends too early",
        ),
        (
            b"This is a text, not a capture, and long enough.",
            "in.pcap: no pcap or pcapng file: ",
        ),
        (
            &ethernet[..20],
            "in.pcap: no pcap or pcapng file: the file ends too early",
        ),
        (b"\x0a\x0d\x0d\x0a", "in.pcap: no pcap or pcapng file: "),
        (
            b"\x0a\x0d\x0d\x0a\x1c\0\0\0garbagegarbagegarbage",
            "in.pcap: no pcap or pcapng file: ",
        ),
        (
            &plain_pcap(DataLink::LINUX_SLL, &[]),
            "in.pcap: link type 113 is not supported; Ethernet (1) and raw IP (101) are",
        ),
        (
            &plain_pcap(DataLink::LINUX_SLL, &[request(17, b"")]),
            "in.pcap: link type 113 is not supported; Ethernet (1) and raw IP (101) are",
        ),
    ] {
        let folder = Folder::new();
        folder.write("in.pcap", octets);
        let output = folder.translate(&["in.pcap", "out.pcap"]);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(
            stderr.starts_with(&format!("siit-relay: {expected}")),
            "{stderr}"
        );
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(!folder.path("out.pcap").exists(), "{expected}");
    }
}

/// A capture that breaks off, as they do when a machine goes down: what is there is translated, and the exit code tells.
#[test]
fn captures_that_break_off() {
    let whole = plain_pcap(
        DataLink::RAW,
        &[request(17, b"first"), request(17, b"second")],
    );
    for cut in [1, 20, 49] {
        let folder = Folder::new();
        folder.write("in.pcap", &whole[..whole.len() - cut]);
        let output = folder.translate(&["--json", "in.pcap", "out.pcap"]);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert_eq!(
            stderr,
            "siit-relay: in.pcap: packet 2: the file ends too early\n"
        );
        assert_eq!(folder.sent().1.len(), 1);
        assert_eq!(counters(&output.stdout)["packets_read"], 1);
    }
}

/// Whatever a capture holds, the program neither panics nor hangs.
#[test]
fn damaged_captures() {
    let mut random = tests::random::Random::new("damaged_captures");
    let packets = [frame(&request(17, b"first")), frame(&answer(6, b"second"))];
    let files = [
        plain_pcap(DataLink::ETHERNET, &packets),
        pcapng(DataLink::ETHERNET, Some(9), 5, &packets),
    ];
    let folder = Folder::new();
    for _ in 0..60 {
        let mut octets = files[random.below(2)].clone();
        for _ in 0..=random.below(3) {
            let at = random.below(octets.len());
            octets[at] = random.number() as u8;
        }
        folder.write("in.pcap", &octets);
        let output = folder.translate(&["in.pcap", "out.pcap"]);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(
            matches!(output.status.code(), Some(0 | 1)),
            "{stderr}\n{octets:02x?}"
        );
        assert!(!stderr.contains("panicked"), "{stderr}\n{octets:02x?}");
    }
}

#[test]
fn interfaces_with_different_link_types() {
    let folder = Folder::new();
    let mut writer = PcapNgWriter::new(Vec::new()).unwrap();
    for linktype in [DataLink::RAW, DataLink::ETHERNET] {
        let options = Vec::new();
        writer
            .write_pcapng_block(InterfaceDescriptionBlock {
                linktype,
                snaplen: 0,
                options,
            })
            .unwrap();
    }
    for (interface_id, octets) in [(0, request(17, b"")), (1, frame(&request(17, b"")))] {
        let block = EnhancedPacketBlock {
            interface_id,
            timestamp: Duration::ZERO,
            original_len: octets.len() as u32,
            data: Cow::Owned(octets),
            options: Vec::new(),
        };
        writer.write_pcapng_block(block).unwrap();
    }
    folder.write("in.pcap", &writer.into_inner());
    let output = folder.translate(&["in.pcap", "out.pcap"]);
    let expected =
        "siit-relay: in.pcap: packet 2 is from an interface of another link type; split the file\n";
    assert_eq!(String::from_utf8(output.stderr).unwrap(), expected);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn files_that_are_not_there_or_cannot_be_written() {
    let folder = Folder::new();
    folder.write("in.pcap", &plain_pcap(DataLink::RAW, &[request(17, b"")]));
    for (arguments, expected) in [
        (
            ["nowhere.pcap", "out.pcap"],
            "siit-relay: nowhere.pcap: No such file or directory",
        ),
        ([".", "out.pcap"], "siit-relay: .: Is a directory"),
        (
            ["in.pcap", "nowhere/out.pcap"],
            "siit-relay: nowhere/out.pcap: No such file or directory",
        ),
        (["in.pcap", "."], "siit-relay: .: Is a directory"),
    ] {
        let output = folder.translate(&arguments);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.starts_with(expected), "{stderr}");
        assert_eq!(output.status.code(), Some(1), "{stderr}");
    }
}

/// Writing begins before reading ends, so the capture would be lost.
#[test]
fn the_input_is_not_overwritten() {
    let folder = Folder::new();
    let input = plain_pcap(DataLink::RAW, &[request(17, b"")]);
    folder.write("in.pcap", &input);
    std::os::unix::fs::symlink("in.pcap", folder.path("link.pcap")).unwrap();
    for output in ["in.pcap", "./in.pcap", "link.pcap"] {
        let outcome = folder.translate(&["in.pcap", output]);
        let expected = format!("siit-relay: {output} is the input, too; write to another file\n");
        assert_eq!(String::from_utf8(outcome.stderr).unwrap(), expected);
        assert_eq!(outcome.status.code(), Some(2));
        assert_eq!(fs::read(folder.path("in.pcap")).unwrap(), input);
    }
}

#[test]
fn a_broken_configuration_is_told() {
    let folder = Folder::new();
    folder.write("in.pcap", &plain_pcap(DataLink::RAW, &[]));
    folder.write("relay.yaml", b"prefix: 2001:db8:46::/96\n");
    let output = folder.translate(&["in.pcap", "out.pcap"]);
    let expected = "relay.yaml:1:1: the key `interfaces` is missing\n";
    assert_eq!(String::from_utf8(output.stderr).unwrap(), expected);
    assert_eq!(output.status.code(), Some(1));
}

/// Another program takes what was sent for good packets of the right addresses.
#[test]
fn tcpdump_agrees() {
    if Command::new("tcpdump").arg("--version").output().is_err() {
        return skip("tcpdump is not there");
    }
    let folder = Folder::new();
    let mut input = Vec::new();
    for protocol in [1, 6, 17] {
        for length in [0, 1, 2, 3, 100, 1199] {
            input.push(frame(&request(protocol, &vec![0xa7; length])));
        }
    }
    for protocol in [58, 6, 17] {
        for length in [0, 1, 2, 3, 100, 1400] {
            input.push(frame(&answer(protocol, &vec![0x7a; length])));
        }
    }
    let told = tcpdump(&folder, &plain_pcap(DataLink::ETHERNET, &input));
    assert_eq!(told.matches("2001:db8:46::cb00:7132").count(), 18, "{told}");
    assert_eq!(told.matches("2001:db8:12:34::1").count(), 18, "{told}");
    assert_eq!(told.matches("> 203.0.113.50").count(), 18, "{told}");
    assert!(
        !told.contains("incorrect") && !told.contains("bad"),
        "{told}"
    );
    // It says which checksums it found right.
    assert_eq!(told.matches("(correct)").count(), 12, "TCP:\n{told}");
    assert_eq!(
        told.matches("sum ok]").count(),
        18,
        "UDP and ICMPv6:\n{told}"
    );

    // A checksum that was wrong stays wrong, and tcpdump is able to tell.
    let mut wrong = request(6, b"data");
    *wrong.last_mut().unwrap() ^= 1;
    let told = tcpdump(&folder, &plain_pcap(DataLink::ETHERNET, &[frame(&wrong)]));
    assert!(told.contains("(incorrect"), "{told}");
}

fn tcpdump(folder: &Folder, input: &[u8]) -> String {
    folder.write("in.pcap", input);
    folder.succeed();
    let output = Command::new("tcpdump")
        .args(["-vv", "-n", "-r"])
        .arg(folder.path("out.pcap"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The golden packets once more, by way of files and the program.
#[test]
fn golden_packets_in_files() {
    let mut seen = 0;
    for case in tests::case::load() {
        let is_default = case.config.trim() == "prefix: 2001:db8:46::/96"
            && case.eam.contains("2001:db8:12:34::2");
        if !is_default || case.link.is_some() || case.input.iter().any(|packet| packet.len() > 2000)
        {
            continue;
        }
        seen += 1;
        let folder = Folder::new();
        folder.write("eam.yaml", case.eam.as_bytes());
        folder.write("in.pcap", &plain_pcap(DataLink::RAW, &case.input));
        let (mut counters, _, sent) = folder.succeed();
        assert_eq!(
            counters.remove("packets_read"),
            Some(case.input.len() as u64),
            "{}",
            case.title
        );
        assert_eq!(counters, case.counters, "{}", case.title);
        let is_expected = sent.len() == case.output.len()
            && case
                .output
                .iter()
                .zip(&sent)
                .all(|(expected, sent)| expected.matches(&sent.octets));
        assert!(is_expected, "{}", case.title);
    }
    assert!(seen > 100, "only {seen} cases were run");
}

/// Paths that are no UTF-8 are paths all the same.
#[test]
fn any_path_will_do() {
    use std::os::unix::ffi::OsStrExt;
    let folder = Folder::new();
    let name = Path::new(std::ffi::OsStr::from_bytes(b"\xff in.pcap"));
    fs::write(
        folder.0.path().join(name),
        plain_pcap(DataLink::RAW, &[request(17, b"")]),
    )
    .unwrap();
    let output = Command::new(siit_relay())
        .args(["translate", "--config", "relay.yaml"])
        .args([name, Path::new("out.pcap")])
        .current_dir(folder.0.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(folder.sent().1.len(), 1);
}
