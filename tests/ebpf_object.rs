//! The XDP object: is it that of its sources, does the verifier take it whatever the configuration, and who gets a frame?
//!
//! Frames are made up and run through BPF_PROG_TEST_RUN, which needs no interface but the loopback. What is translated is not
//! looked at here: `equality` does that.

use aya::TestRunOptions;
use eam_tables::flat::Turn;
use eam_tables::layout::{self, List, Memory, Port, Settings, State, Work, XdpCounter};
use eam_tables::{Eam, EamTable, Place};
use ipnet::{Ipv4Net, Ipv6Net};
use relay::driver::bpf::{Generation, XdpProgram};
use relay::driver::xdp_counters::XdpCounters;
use relay::fast_path::{self, Wishes};
use relay::tables::Tables;
use relay::tally::Tally;
use relay_core::address::Prefix;
use relay_core::policy::{
    AtomicFragments, Hairpin, Policy, ServiceOctet, TcpMssClamp, WkpNonGlobal,
};
use relay_core::wire::checksum::Sum;
use rustix::net::{AddressFamily, SocketType};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use tests::packet::{UDP, packet};

#[path = "../ebpf/sources.rs"]
mod sources;

/// The loopback, which BPF_PROG_TEST_RUN takes for the ingress interface.
const LOOPBACK: u32 = 1;
const MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x01];
const OTHER_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x02];
const BROADCAST: [u8; 6] = [0xff; 6];

const ARP: u16 = 0x0806;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const CUSTOMER_TAG: u16 = 0x8100;
const SERVICE_TAG: u16 = 0x88a8;

const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;
const XDP_REDIRECT: u32 = 4;

/// How many instructions the verifier may look at; the kernel gives up after a million.
const MOST_VERIFIED: u32 = 150_000;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Skips the test if this user may not load programs.
fn may_load() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        tests::skip("loading the XDP object needs root");
    }
    is_root
}

#[test]
fn the_committed_object_is_that_of_its_sources() {
    let recorded = std::fs::read_to_string(repository().join("ebpf/object/SOURCES"))
        .expect("ebpf/object/SOURCES");
    let hash = sources::hash(&repository(), &sources::INPUTS).expect("all sources can be read");
    assert_eq!(
        recorded.trim(),
        hash,
        "run ebpf/build.sh and commit ebpf/object"
    );
}

#[test]
fn the_committed_object_can_be_rebuilt_octet_for_octet() {
    let check = Command::new(repository().join("ebpf/build.sh"))
        .arg("--check")
        .output()
        .expect("bash is there");
    let said = String::from_utf8_lossy(&check.stderr);
    match check.status.code() {
        Some(0) => {}
        Some(3 | 4) => tests::skip(&said),
        code => panic!("ebpf/build.sh --check: {code:?}\n{said}"),
    }
}

fn eam(ipv4: Ipv4Net, ipv6: Ipv6Net) -> Eam {
    let place = Place::start_of(Path::new("eam.yaml").into());
    Eam::new(ipv4, ipv6, None, place).expect("the IPv6 suffix is long enough")
}

fn table(entries: &[(&str, &str)]) -> EamTable {
    let entry = |(ipv4, ipv6): &(&str, &str)| {
        eam(
            ipv4.parse().expect("a prefix"),
            ipv6.parse().expect("a prefix"),
        )
    };
    EamTable::new(entries.iter().map(entry).collect())
}

/// Mappings with all 33 prefix lengths of IPv4, and with the `count` longest of IPv6.
fn lengths(count: u8) -> EamTable {
    let entry = |shorter: u8| {
        // The second suffix has to be as long as the first.
        let ipv4 = Ipv4Net::new_assert(Ipv4Addr::new(203, 0, 113, 9), 32 - shorter.min(32));
        let ipv6 = Ipv6Addr::new(0x2001, 0xdb8, 1, 1, 1, 1, 1, 1);
        eam(
            ipv4.trunc(),
            Ipv6Net::new_assert(ipv6, 128 - shorter).trunc(),
        )
    };
    let table = EamTable::new((0..count).map(entry).collect());
    let lengths = |turns: &[Turn]| turns.iter().filter(|turn| turn.level != 0).count();
    assert_eq!(lengths(&table.image_v4().shape().turns), 33);
    assert_eq!(lengths(&table.image_v6().shape().turns), usize::from(count));
    table
}

fn prefix(length: u8) -> Prefix {
    Prefix::new(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), length).expect("a prefix")
}

/// Policies with every prefix length, and with every switch in each of its places at least once.
fn policies() -> Vec<Policy> {
    let plain = Policy::new(prefix(96));
    let mut policies: Vec<Policy> = [32, 40, 48, 56, 64, 96]
        .into_iter()
        .flat_map(|length| {
            [Hairpin::Off, Hairpin::Simple, Hairpin::Intrinsic].map(|hairpin| Policy {
                hairpin,
                ..Policy::new(prefix(length))
            })
        })
        .collect();
    policies.extend([
        Policy {
            atomic_fragments: AtomicFragments::On,
            ..plain
        },
        Policy {
            traffic_class: ServiceOctet::Set(0x2e),
            tos: ServiceOctet::Set(0xff),
            ..plain
        },
        Policy {
            tcp_mss_clamp: TcpMssClamp::Auto,
            ..plain
        },
        Policy {
            lowest_ipv6_mtu: 9000,
            identification_key: u64::MAX,
            ..plain
        },
        Policy::new(Prefix::WELL_KNOWN),
        Policy {
            wkp_non_global: WkpNonGlobal::Translate,
            ..Policy::new(Prefix::WELL_KNOWN)
        },
        Policy {
            atomic_fragments: AtomicFragments::On,
            traffic_class: ServiceOctet::Set(0),
            tos: ServiceOctet::Set(0),
            tcp_mss_clamp: TcpMssClamp::AtMost(1),
            ..Policy::new(Prefix::WELL_KNOWN)
        },
    ]);
    policies
}

/// The verifier knows the settings, and looks only at what they lead to.
#[test]
fn the_verifier_accepts_every_configuration() {
    if !may_load() {
        return;
    }
    let tables = [
        ("no mappings", table(&[])),
        (
            "two mappings",
            table(&[
                ("192.0.2.1/32", "2001:db8:12:34::1/128"),
                ("192.0.2.16/28", "2001:db8:cccc::/124"),
            ]),
        ),
        ("33 lengths of IPv4 and of IPv6", lengths(33)),
        ("33 lengths of IPv4 and 48 of IPv6", lengths(48)),
        ("33 lengths of IPv4 and 129 of IPv6", lengths(129)),
    ];
    let list: Ipv4Net = "198.51.100.0/24".parse().expect("a prefix");
    let lists = [(list, List::Translatable.number())];
    let mut most = 0;
    for (name, eam) in &tables {
        for work in [Work::Steer, Work::Forward, Work::Translate] {
            let mut here = (u32::MAX, 0);
            for (number, policy) in policies().iter().enumerate() {
                // The other tables are there for what this one makes impossible, and for how it goes on.
                if eam.len() != 33 && number % 6 != 5 {
                    continue;
                }
                let (mtu_v4, lists) = match number % 2 {
                    0 => (u32::MAX, &lists[..]),
                    _ => (1280, &[][..]),
                };
                let settings = Settings {
                    mtu_v4,
                    ..Settings::new(policy, work)
                };
                let tally = Tally::new(eam.len(), true);
                let generation = Generation {
                    tally: &tally,
                    settings,
                    eam,
                    lists,
                };
                let mut program = XdpProgram::load(&generation)
                    .unwrap_or_else(|error| panic!("{name}, {work:?}, {policy:?}: {error}"));
                match program.verified_instructions().expect("it is loaded") {
                    Some(count) => here = (here.0.min(count), here.1.max(count)),
                    None => return tests::skip("the kernel does not tell what was verified"),
                }
            }
            eprintln!(
                "verified instructions, {name}, {work:?}: {} to {}",
                here.0, here.1
            );
            most = most.max(here.1);
        }
    }
    assert!(
        most <= MOST_VERIFIED,
        "the verifier looks at {most} instructions"
    );
}

#[test]
fn all_prefix_lengths_together_are_translated_in_the_driver() {
    if !may_load() {
        return;
    }
    let (config, _) = tests::case::configure("prefix: 2001:db8:46::/96", "eam: []");
    let tables = Tables::new(&config, lengths(129).entries().to_vec());
    let wishes = Wishes {
        work: Work::Forward,
        mtu_v4: None,
        mtu_v6: None,
    };
    let program = fast_path::prepare(&tables, wishes).unwrap_or_else(|error| panic!("{error}"));
    assert!(program.translates());
}

/// Which exit a frame is to take, and what it is.
struct Case {
    description: String,
    frame: Vec<u8>,
    expected: XdpCounter,
}

fn case(description: &str, frame: Vec<u8>, expected: XdpCounter) -> Case {
    Case {
        description: description.to_owned(),
        frame,
        expected,
    }
}

/// A frame of 64 octets or more, with these tags in front of the EtherType.
fn frame(destination: [u8; 6], tags: &[u16], ethertype: u16, packet: &[u8]) -> Vec<u8> {
    let mut frame = [&destination[..], &OTHER_MAC].concat();
    for tag in tags {
        frame.extend(tag.to_be_bytes());
        frame.extend(100_u16.to_be_bytes());
    }
    frame.extend(ethertype.to_be_bytes());
    frame.extend(packet);
    frame.resize(frame.len().max(64), 0);
    frame
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// A UDP packet of either family to an address.
fn to(destination: &str) -> Vec<u8> {
    let destination = ip(destination);
    let source = match destination {
        IpAddr::V4(_) => ip("203.0.113.50"),
        IpAddr::V6(_) => ip("2001:db8:12:34::1"),
    };
    packet(source, destination, UDP, &[0; 4])
}

fn framed(destination: &str) -> Vec<u8> {
    let packet = to(destination);
    let ethertype = if packet[0] >> 4 == 4 { IPV4 } else { IPV6 };
    frame(MAC, &[], ethertype, &packet)
}

/// The program in the kernel, with the tables of this file, and the loopback as its port.
struct Loaded {
    program: XdpProgram,
    /// Kept open: the kernel takes a closed socket out of the map.
    sockets: Vec<OwnedFd>,
    before: XdpCounters,
}

impl Loaded {
    /// Loads the object, or skips the test if this user may not. It has to steer.
    fn new(work: Work) -> Option<Self> {
        if !may_load() {
            return None;
        }
        let eam = table(&[
            ("192.0.2.1/32", "2001:db8:12:34::1/128"),
            ("192.0.2.16/28", "2001:db8:cccc::/124"),
        ]);
        let listed = |prefix: &str, lists: &[List]| {
            let numbers = lists.iter().map(|list| list.number()).sum();
            (prefix.parse().expect("a prefix"), numbers)
        };
        let policy = Policy::new(
            Prefix::new("2001:db8:46::".parse().expect("an address"), 96).expect("a prefix"),
        );
        let lists = [
            listed("198.51.100.0/24", &[List::Translatable]),
            listed("198.51.100.128/25", &[List::Translatable, List::Denied]),
            listed("192.0.2.0/24", &[List::ServicePool]),
            listed("203.0.113.0/24", &[List::Denied]),
        ];
        let mut program = XdpProgram::load(&Generation {
            settings: Settings::new(&policy, work),
            eam: &eam,
            tally: &Tally::new(eam.len(), true),
            lists: &lists,
        })
        .unwrap_or_else(|error| panic!("{error}"));
        for own in ["192.0.2.254", "2001:db8:46::192.0.0.8"] {
            program.set_own(ip(own), true).expect("room");
        }
        program.set_state(&STATE).expect("the map");
        Some(Self {
            program,
            sockets: Vec::new(),
            before: XdpCounters::default(),
        })
    }

    /// Makes the loopback a port whose queue 0 is at the index `first_socket`.
    fn port(&mut self, first_socket: u32, queues: u32) {
        self.numbered_port(first_socket, queues, 0);
    }

    /// As [`port`](Self::port), with a number that says more.
    fn numbered_port(&mut self, first_socket: u32, queues: u32, number: u16) {
        let port = Port {
            first_socket,
            queues,
            mac: MAC,
            number,
        };
        self.program
            .set_port(LOOPBACK, &port)
            .expect("room for a port");
    }

    /// Puts a socket at an index; it need not be bound for a test run.
    fn socket(&mut self, index: u32) {
        let socket = rustix::net::socket(AddressFamily::XDP, SocketType::RAW, None)
            .expect("an AF_XDP socket");
        self.program
            .set_socket(index, &socket)
            .expect("room for a socket");
        self.sockets.push(socket);
    }

    /// Runs one frame, and checks the action and the change of all counters.
    fn run(
        &mut self,
        Case {
            description,
            frame,
            expected,
        }: &Case,
    ) {
        let mut left = vec![0; frame.len()];
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut left),
            ..TestRunOptions::new()
        };
        let result = self
            .program
            .test_run(options)
            .unwrap_or_else(|error| panic!("{description}: {error}"));
        use XdpCounter::{
            Forwarded, Hairpinned, HopLookups, LeftToKernel, Malformed, NoSocket, NotAPort, NotIp,
            NotOurs, OctetsV4ToV6, OctetsV6ToV4, OtherStation, OwnAddress, PacketsV4ToV6,
            PacketsV6ToV4, PuntFragment, PuntIcmp, PuntLength, PuntMalformed, PuntNextHop,
            PuntOptions, PuntRefused, PuntSegmentSize, PuntUdpZeroChecksum, PuntUnfinishedChecksum,
            Redirected,
        };
        let action = match expected {
            NotAPort | Malformed | NotIp | OtherStation | NotOurs | OwnAddress => XDP_PASS,
            NoSocket => XDP_DROP,
            Redirected
            | PuntMalformed
            | PuntOptions
            | PuntFragment
            | PuntUdpZeroChecksum
            | PuntUnfinishedChecksum
            | PuntSegmentSize
            | PuntIcmp
            | PuntLength
            | PuntRefused
            | PuntNextHop => XDP_REDIRECT,
            Forwarded | LeftToKernel | PacketsV4ToV6 | OctetsV4ToV6 | PacketsV6ToV4
            | OctetsV6ToV4 | Hairpinned | HopLookups => panic!("nothing is translated here"),
        };
        assert_eq!(result.return_value, action, "{description}: the action");
        assert_eq!(&left, frame, "{description}: the frame is left as it was");
        let after = self.program.counters().expect("the counters");
        for (counter, value) in after.iter().filter(|(counter, _)| counter.is_fate()) {
            assert_eq!(
                value - self.before.get(counter),
                u64::from(counter == *expected),
                "{description}: {}",
                counter.name()
            );
        }
        self.before = after;
    }
}

/// Answers of the kernel are not remembered, and own addresses are looked for.
const STATE: State = State {
    epoch: 1,
    patience: 1000,
    memory_v4: FORGETFUL,
    memory_v6: FORGETFUL,
    own_v4: 1,
    own_v6: 1,
    is_watched: 0,
    reserved: 0,
};
const FORGETFUL: Memory = Memory::NONE;

const OURS_V4: &str = "192.0.2.1";
const OURS_V6: &str = "2001:db8:46::203.0.113.50";

/// One frame for each way through the program, if the receive queue has a socket.
fn steering_cases() -> Vec<Case> {
    use XdpCounter::{Malformed, NotIp, NotOurs, OtherStation, OwnAddress, Redirected};
    let tags = [SERVICE_TAG, CUSTOMER_TAG];
    let unknown = frame(MAC, &[], 0x88cc, &[0; 50]);
    let v4 = to(OURS_V4);
    let v6 = to(OURS_V6);
    let mut cases = vec![
        case("ARP request", frame(BROADCAST, &[], ARP, &[0; 28]), NotIp),
        case("ARP reply", frame(MAC, &[], ARP, &[0; 28]), NotIp),
        case("LLDP", unknown, NotIp),
        case(
            "LLC length instead of an EtherType",
            frame(MAC, &[], 46, &[0; 46]),
            NotIp,
        ),
        case(
            "IPv4 with three tags",
            frame(MAC, &[tags[0], tags[1], tags[1]], IPV4, &v4),
            NotIp,
        ),
        case(
            "a tag and nothing behind it",
            frame(MAC, &tags[..1], IPV4, &[])[..16].to_vec(),
            Malformed,
        ),
    ];
    for (name, ethertype, packet) in [("IPv4", IPV4, &v4), ("IPv6", IPV6, &v6)] {
        for (what, destination, expected) in [
            ("", MAC, Redirected),
            (" to another station", OTHER_MAC, OtherStation),
            (" to everybody", BROADCAST, OtherStation),
        ] {
            for count in 0..=2 {
                let description = format!("{name}, ours{what}, {count} tags");
                let frame = frame(destination, &tags[..count], ethertype, packet);
                cases.push(case(&description, frame, expected));
            }
        }
    }
    for (destination, expected) in [
        ("192.0.2.31", Redirected),
        // Only in the pool.
        ("192.0.2.200", Redirected),
        ("192.0.2.254", OwnAddress),
        ("192.0.3.1", NotOurs),
        ("198.51.100.1", Redirected),
        ("198.51.101.1", NotOurs),
        // Denied besides.
        ("198.51.100.200", NotOurs),
        ("203.0.113.1", NotOurs),
        ("224.0.0.5", NotOurs),
        ("2001:db8:46::192.0.0.8", OwnAddress),
        ("2001:db8:46:0:0:1::1", NotOurs),
        ("2001:db8:47::203.0.113.50", NotOurs),
        // A service itself: native IPv6.
        ("2001:db8:12:34::1", NotOurs),
        ("ff02::1", NotOurs),
    ] {
        cases.push(case(destination, framed(destination), expected));
    }
    cases
}

/// Every beginning of an IPv4 and of an IPv6 frame which is ours, with no, one and two tags.
fn truncated_cases(whole_header: XdpCounter) -> Vec<Case> {
    let tags = [SERVICE_TAG, CUSTOMER_TAG];
    let mut cases = Vec::new();
    for (name, ethertype, packet, header) in [
        ("IPv4", IPV4, to(OURS_V4), 20),
        ("IPv6", IPV6, to(OURS_V6), 40),
    ] {
        for count in 0..=tags.len() {
            let whole = frame(MAC, &tags[..count], ethertype, &packet);
            // BPF_PROG_TEST_RUN takes nothing shorter than an Ethernet header.
            for length in 14..=whole.len() {
                let network = 14 + 4 * count;
                let expected = match length {
                    _ if length < network => XdpCounter::Malformed,
                    _ if length < network + header => XdpCounter::PuntMalformed,
                    _ => whole_header,
                };
                cases.push(case(
                    &format!("{length} octets of {name}, {count} tags"),
                    whole[..length].to_vec(),
                    expected,
                ));
            }
        }
    }
    cases
}

fn is_punt(counter: XdpCounter) -> bool {
    counter == XdpCounter::Redirected || counter.name().starts_with("xdp_punt_")
}

#[test]
fn frames_are_steered() {
    let Some(mut loaded) = Loaded::new(Work::Steer) else {
        return;
    };
    loaded.port(8, 1);
    loaded.socket(8);
    let truncated = truncated_cases(XdpCounter::Redirected);
    for case in steering_cases().iter().chain(&truncated) {
        loaded.run(case);
    }
}

/// Where it translates, the program claims the same frames; these come from or go to a client that is denied.
#[test]
fn frames_are_claimed_alike_where_plain_ones_are_translated() {
    for work in [Work::Forward, Work::Translate] {
        let Some(mut loaded) = Loaded::new(work) else {
            return;
        };
        loaded.port(8, 1);
        loaded.socket(8);
        for mut case in steering_cases() {
            if is_punt(case.expected) {
                case.expected = XdpCounter::PuntRefused;
            }
            loaded.run(&case);
        }
    }
}

/// Only the other end of a veth pair can leave a checksum to hardware; elsewhere it is one as any other.
#[test]
fn unfinished_checksums_are_for_the_workers() {
    let Some(mut loaded) = Loaded::new(Work::Forward) else {
        return;
    };
    loaded.socket(8);
    for (source, destination, ethertype) in [
        ("198.18.0.9", OURS_V4, IPV4),
        ("2001:db8:12:34::1", "2001:db8:46::198.18.0.9", IPV6),
    ] {
        let (source, destination) = (ip(source), ip(destination));
        let mut packet = packet(source, destination, UDP, &[1, 2, 0, 0]);
        let segment = packet.len() - 12;
        let at = segment + 6;
        let add = |sum: Sum, address: IpAddr| match address {
            IpAddr::V4(address) => sum.add_v4(address),
            IpAddr::V6(address) => sum.add_v6(address),
        };
        let sum = add(add(Sum::ZERO, source), destination);
        let sum = sum.add_word(12).add_word(u16::from(UDP)).fold();
        let whole = frame(MAC, &[], ethertype, &packet);
        packet[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        let unfinished = frame(MAC, &[], ethertype, &packet);
        let data = Sum::ZERO.add_word(sum).add_octets(&packet[segment..]);
        packet[at + 4..].copy_from_slice(&data.checksum().to_be_bytes());
        let alike = frame(MAC, &[], ethertype, &packet);
        for (number, frame, expected) in [
            (Port::VETH, &whole, XdpCounter::PuntNextHop),
            (Port::VETH, &unfinished, XdpCounter::PuntUnfinishedChecksum),
            // It is right as it is.
            (Port::VETH, &alike, XdpCounter::PuntNextHop),
            (0, &unfinished, XdpCounter::PuntNextHop),
        ] {
            loaded.numbered_port(8, 1, number);
            let description = format!("{destination}, port {number:#x}");
            loaded.run(&case(&description, frame.clone(), expected));
        }
    }
}

#[test]
fn somebody_who_watches_gets_everything() {
    let Some(mut loaded) = Loaded::new(Work::Forward) else {
        return;
    };
    loaded.port(8, 1);
    loaded.socket(8);
    let watched = State {
        is_watched: 1,
        ..STATE
    };
    loaded.program.set_state(&watched).expect("the map");
    for case in steering_cases() {
        loaded.run(&case);
    }
}

#[test]
fn own_addresses_count_only_while_the_machine_has_them() {
    let Some(mut loaded) = Loaded::new(Work::Steer) else {
        return;
    };
    loaded.port(8, 1);
    loaded.socket(8);
    for own in ["192.0.2.254", "2001:db8:46::192.0.0.8"] {
        loaded.run(&case(own, framed(own), XdpCounter::OwnAddress));
        loaded
            .program
            .set_own(ip(own), false)
            .expect("it was there");
        loaded
            .program
            .set_own(ip(own), false)
            .expect("once more does no harm");
        loaded.run(&case(own, framed(own), XdpCounter::Redirected));
    }
}

#[test]
fn ours_without_a_socket_is_dropped_and_nothing_else_is() {
    for (first_socket, queues) in [
        (8, 1),
        (8, 0),
        (layout::SOCKETS_MAX_ENTRIES, 1),
        (u32::MAX, u32::MAX),
    ] {
        let Some(mut loaded) = Loaded::new(Work::Steer) else {
            return;
        };
        loaded.port(first_socket, queues);
        // A socket that is not the port's.
        loaded.socket(0);
        let truncated = truncated_cases(XdpCounter::Redirected);
        for mut case in steering_cases().into_iter().chain(truncated) {
            if is_punt(case.expected) {
                case.expected = XdpCounter::NoSocket;
            }
            loaded.run(&case);
        }
    }
}

#[test]
fn what_comes_in_elsewhere_is_the_kernels() {
    let Some(mut loaded) = Loaded::new(Work::Forward) else {
        return;
    };
    loaded.socket(0);
    let truncated = truncated_cases(XdpCounter::Redirected);
    for mut case in steering_cases().into_iter().chain(truncated) {
        case.expected = XdpCounter::NotAPort;
        loaded.run(&case);
    }
}
