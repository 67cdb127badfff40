//! The committed XDP object: is it that of its sources, does the kernel take it, and does it steer frames as it should?
//!
//! Frames are made up and run through BPF_PROG_TEST_RUN, which needs no interface but the loopback. Real interfaces and
//! translation are not tested here.

use std::{
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    process::Command,
};

use aya::{
    Ebpf, TestRunOptions,
    maps::{HashMap, LpmTrie, PerCpuArray, XskMap, lpm_trie::Key},
    programs::{TestRun, Xdp},
};
use eam_tables::layout::{self, Ownership, Port, XdpCounter};
use rustix::net::{AddressFamily, SocketType};

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

/// 192.0.2.0/24 is the relay's, but for 192.0.2.254, which is an address of the machine.
const OURS_V4: [u8; 4] = [192, 0, 2, 1];
const OWN_V4: [u8; 4] = [192, 0, 2, 254];
const FOREIGN_V4: [u8; 4] = [198, 51, 100, 1];

/// 2001:db8:46::/96 is the relay's, but for 2001:db8:46::192.0.0.8.
const OURS_V6: [u8; 16] = [
    0x20, 0x01, 0x0d, 0xb8, 0, 0x46, 0, 0, 0, 0, 0, 0, 203, 0, 113, 50,
];
const OWN_V6: [u8; 16] = [
    0x20, 0x01, 0x0d, 0xb8, 0, 0x46, 0, 0, 0, 0, 0, 0, 192, 0, 0, 8,
];
const FOREIGN_V6: [u8; 16] = [
    0x20, 0x01, 0x0d, 0xb8, 0, 0x47, 0, 0, 0, 0, 0, 0, 203, 0, 113, 50,
];

const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;
const XDP_REDIRECT: u32 = 4;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
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

/// An IPv4 header and eight octets more. Only the destination matters.
fn ipv4(destination: [u8; 4]) -> Vec<u8> {
    let header = [0x45, 0, 0, 28, 0, 0, 0x40, 0, 64, 17, 0, 0, 203, 0, 113, 50];
    [&header[..], &destination, &[0; 8]].concat()
}

/// An IPv6 header and eight octets more. Only the destination matters.
fn ipv6(destination: [u8; 16]) -> Vec<u8> {
    [
        &[0x60, 0, 0, 0, 0, 8, 17, 64][..],
        &FOREIGN_V6,
        &destination,
        &[0; 8],
    ]
    .concat()
}

/// The object in the kernel, with the tables of this file.
struct Loaded {
    ebpf: Ebpf,
    /// Kept open: the kernel takes a closed socket out of the map.
    sockets: Vec<OwnedFd>,
}

impl Loaded {
    /// Loads the object, or skips the test if this user may not.
    fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            tests::skip("loading the XDP object needs root");
            return None;
        }
        let mut ebpf =
            Ebpf::load(relay::driver::object::OBJECT).expect("the kernel makes the maps");
        let program: &mut Xdp = ebpf
            .program_mut(layout::PROGRAM)
            .expect("the program")
            .try_into()
            .expect("an XDP program");
        program
            .load()
            .unwrap_or_else(|error| panic!("the verifier refuses the program: {error}"));

        let mut loaded = Self {
            ebpf,
            sockets: Vec::new(),
        };
        loaded.own_v4(24, [192, 0, 2, 0], Ownership::Relay);
        loaded.own_v4(32, OWN_V4, Ownership::Kernel);
        let mut prefix = OURS_V6;
        prefix[12..].fill(0);
        loaded.own_v6(96, prefix, Ownership::Relay);
        loaded.own_v6(128, OWN_V6, Ownership::Kernel);
        Some(loaded)
    }

    fn own_v4(&mut self, length: u32, prefix: [u8; 4], ownership: Ownership) {
        let map = self.ebpf.map_mut(layout::OWNERSHIP_V4).expect("the map");
        let mut table: LpmTrie<_, [u8; 4], u32> = LpmTrie::try_from(map).expect("its types");
        table
            .insert(&Key::new(length, prefix), ownership.emit(), 0)
            .expect("room for a prefix");
    }

    fn own_v6(&mut self, length: u32, prefix: [u8; 16], ownership: Ownership) {
        let map = self.ebpf.map_mut(layout::OWNERSHIP_V6).expect("the map");
        let mut table: LpmTrie<_, [u8; 16], u32> = LpmTrie::try_from(map).expect("its types");
        table
            .insert(&Key::new(length, prefix), ownership.emit(), 0)
            .expect("room for a prefix");
    }

    /// Makes the loopback a port whose queue 0 is at the index `first_socket`.
    fn port(&mut self, first_socket: u32, queues: u32) {
        let port = Port {
            first_socket,
            queues,
            mac: MAC,
            reserved: [0; 2],
        };
        let map = self.ebpf.map_mut(layout::PORTS).expect("the map");
        let mut ports: HashMap<_, u32, [u8; Port::SIZE]> =
            HashMap::try_from(map).expect("its types");
        ports
            .insert(LOOPBACK, port.emit(), 0)
            .expect("room for a port");
    }

    /// Puts a socket at an index; it need not be bound for a test run.
    fn socket(&mut self, index: u32) {
        let socket = rustix::net::socket(AddressFamily::XDP, SocketType::RAW, None)
            .expect("an AF_XDP socket");
        let mut sockets = XskMap::try_from(self.ebpf.map_mut(layout::SOCKETS).expect("the map"))
            .expect("its type");
        sockets
            .set(index, socket.as_fd(), 0)
            .expect("room for a socket");
        self.sockets.push(socket);
    }

    fn counters(&self) -> Vec<u64> {
        let counters: PerCpuArray<_, u64> =
            PerCpuArray::try_from(self.ebpf.map(layout::COUNTERS).expect("the map"))
                .expect("its type");
        let sum = |index| {
            counters
                .get(&index, 0)
                .expect("one value for each CPU")
                .iter()
                .sum()
        };
        (0..XdpCounter::COUNT).map(sum).collect()
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
        let before = self.counters();
        let program: &mut Xdp = self
            .ebpf
            .program_mut(layout::PROGRAM)
            .expect("the program")
            .try_into()
            .expect("an XDP program");
        let mut left = vec![0; frame.len()];
        let result = program
            .test_run(TestRunOptions {
                data_in: Some(frame),
                data_out: Some(&mut left),
                ..TestRunOptions::new()
            })
            .unwrap_or_else(|error| panic!("{description}: {error}"));

        let action = match expected {
            XdpCounter::Redirected => XDP_REDIRECT,
            XdpCounter::NoSocket => XDP_DROP,
            XdpCounter::NotAPort
            | XdpCounter::Malformed
            | XdpCounter::NotIp
            | XdpCounter::OtherStation
            | XdpCounter::NotOurs => XDP_PASS,
        };
        assert_eq!(result.return_value, action, "{description}: the action");
        assert_eq!(&left, frame, "{description}: the frame is left as it was");
        for ((counter, before), after) in XdpCounter::ALL.iter().zip(before).zip(self.counters()) {
            assert_eq!(
                after - before,
                u64::from(counter == expected),
                "{description}: {}",
                counter.name()
            );
        }
    }
}

/// One frame for each way through the program, if the receive queue has a socket.
fn steering_cases() -> Vec<Case> {
    use XdpCounter::{Malformed, NotIp, NotOurs, OtherStation, Redirected};
    let tags = [SERVICE_TAG, CUSTOMER_TAG];
    let unknown = frame(MAC, &[], 0x88cc, &[0; 50]);
    vec![
        case("ARP request", frame(BROADCAST, &[], ARP, &[0; 28]), NotIp),
        case("ARP reply", frame(MAC, &[], ARP, &[0; 28]), NotIp),
        case("LLDP", unknown, NotIp),
        case(
            "LLC length instead of an EtherType",
            frame(MAC, &[], 46, &[0; 46]),
            NotIp,
        ),
        case(
            "IPv4, ours",
            frame(MAC, &[], IPV4, &ipv4(OURS_V4)),
            Redirected,
        ),
        case(
            "IPv4, not ours",
            frame(MAC, &[], IPV4, &ipv4(FOREIGN_V4)),
            NotOurs,
        ),
        case(
            "IPv4, own address inside our prefix",
            frame(MAC, &[], IPV4, &ipv4(OWN_V4)),
            NotOurs,
        ),
        case(
            "IPv4, ours, to another station",
            frame(OTHER_MAC, &[], IPV4, &ipv4(OURS_V4)),
            OtherStation,
        ),
        case(
            "IPv4, ours, to everybody",
            frame(BROADCAST, &[], IPV4, &ipv4(OURS_V4)),
            OtherStation,
        ),
        case(
            "IPv4, ours, one tag",
            frame(MAC, &tags[1..], IPV4, &ipv4(OURS_V4)),
            Redirected,
        ),
        case(
            "IPv4, not ours, one tag",
            frame(MAC, &tags[1..], IPV4, &ipv4(FOREIGN_V4)),
            NotOurs,
        ),
        case(
            "IPv4, ours, two tags",
            frame(MAC, &tags, IPV4, &ipv4(OURS_V4)),
            Redirected,
        ),
        case(
            "IPv4, ours, three tags",
            frame(MAC, &[tags[0], tags[1], tags[1]], IPV4, &ipv4(OURS_V4)),
            NotIp,
        ),
        case(
            "IPv6, ours",
            frame(MAC, &[], IPV6, &ipv6(OURS_V6)),
            Redirected,
        ),
        case(
            "IPv6, not ours",
            frame(MAC, &[], IPV6, &ipv6(FOREIGN_V6)),
            NotOurs,
        ),
        case(
            "IPv6, own address inside our prefix",
            frame(MAC, &[], IPV6, &ipv6(OWN_V6)),
            NotOurs,
        ),
        case(
            "IPv6, ours, to another station",
            frame(OTHER_MAC, &[], IPV6, &ipv6(OURS_V6)),
            OtherStation,
        ),
        case(
            "IPv6, ours, one tag",
            frame(MAC, &tags[..1], IPV6, &ipv6(OURS_V6)),
            Redirected,
        ),
        case(
            "IPv6, ours, two tags",
            frame(MAC, &tags, IPV6, &ipv6(OURS_V6)),
            Redirected,
        ),
        case(
            "a tag and nothing behind it",
            frame(MAC, &tags[..1], IPV4, &[])[..16].to_vec(),
            Malformed,
        ),
    ]
}

/// Every beginning of an IPv4 and of an IPv6 frame which is ours, with no, one and two tags.
fn truncated_cases() -> Vec<Case> {
    let tags = [SERVICE_TAG, CUSTOMER_TAG];
    let mut cases = Vec::new();
    for (name, ethertype, packet, header) in [
        ("IPv4", IPV4, ipv4(OURS_V4), 20),
        ("IPv6", IPV6, ipv6(OURS_V6), 40),
    ] {
        for count in 0..=tags.len() {
            let whole = frame(MAC, &tags[..count], ethertype, &packet);
            // BPF_PROG_TEST_RUN takes nothing shorter than an Ethernet header.
            for length in 14..=whole.len() {
                let readable = length >= 14 + 4 * count + header;
                let expected = if readable {
                    XdpCounter::Redirected
                } else {
                    XdpCounter::Malformed
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

#[test]
fn frames_are_steered() {
    let Some(mut loaded) = Loaded::new() else {
        return;
    };
    loaded.port(8, 1);
    loaded.socket(8);
    for case in steering_cases().iter().chain(&truncated_cases()) {
        loaded.run(case);
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
        let Some(mut loaded) = Loaded::new() else {
            return;
        };
        loaded.port(first_socket, queues);
        // A socket that is not the port's.
        loaded.socket(0);
        for mut case in steering_cases().into_iter().chain(truncated_cases()) {
            if case.expected == XdpCounter::Redirected {
                case.expected = XdpCounter::NoSocket;
            }
            loaded.run(&case);
        }
    }
}

#[test]
fn what_comes_in_elsewhere_is_the_kernels() {
    let Some(mut loaded) = Loaded::new() else {
        return;
    };
    loaded.socket(0);
    for mut case in steering_cases().into_iter().chain(truncated_cases()) {
        case.expected = XdpCounter::NotAPort;
        loaded.run(&case);
    }
}
