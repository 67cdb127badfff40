//! Sockets on real interfaces: veth pairs in a network namespace of each test's own.
//!
//! Receiving needs an XDP program and is tested where there is one. Needs root and `ip`; without them a
//! test prints `SKIPPED` and passes, or fails when `SIIT_RELAY_REQUIRE_ALL=1`.
#![cfg(target_os = "linux")]

use std::fs::File;
use std::num::NonZeroU32;
use std::os::fd::{AsFd, OwnedFd};
use std::process::Command;
use std::time::{Duration, Instant};

use af_xdp::{
    BusyPoll, BusyPollOption, Call, ChunkSize, DescriptorErrors, Errno, Error, Frame, Kick, Ledger,
    Mode, RingSizes, Socket, SocketConfig, Umem, ZeroCopy,
};
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SocketFlags, SocketType, netdevice, recv, socket_with,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{
    CapabilitySet, LinkNameSpaceType, capabilities, move_into_link_name_space, set_capabilities,
};

/// The EtherType of IEEE 802's local experiments: nobody else in the namespace sends it.
const ETHERTYPE: u16 = 0x88B5;

/// A network namespace with the veth pairs `a0`-`a1` and `b0`-`b1`, all up; deleted when dropped.
struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes the namespace and moves the calling thread into it; `None` after printing why not.
    fn enter(test: &str) -> Option<Self> {
        if let Some(why) = cannot_run() {
            assert!(
                std::env::var_os("SIIT_RELAY_REQUIRE_ALL").is_none_or(|value| value != "1"),
                "{test}: {why}"
            );
            println!("SKIPPED: {test}: {why}");
            return None;
        }
        let namespace = Self {
            name: format!("af-xdp-{test}-{}", std::process::id()),
        };
        ip(&["netns", "add", &namespace.name]);
        let file = File::open(format!("/run/netns/{}", namespace.name)).unwrap();
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        for (one, other) in [("a0", "a1"), ("b0", "b1")] {
            ip(&["link", "add", one, "type", "veth", "peer", "name", other]);
            ip(&["link", "set", one, "up"]);
            ip(&["link", "set", other, "up"]);
        }
        Some(namespace)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let deleted = Command::new("ip")
            .args(["netns", "delete", &self.name])
            .status();
        if !deleted.is_ok_and(|status| status.success()) {
            eprintln!("the network namespace {} is left behind", self.name);
        }
    }
}

fn cannot_run() -> Option<&'static str> {
    if !rustix::process::geteuid().is_root() {
        return Some("not root");
    }
    if Command::new("ip").arg("-V").output().is_err() {
        return Some("there is no `ip` command");
    }
    None
}

/// Runs `ip` in the network namespace of the calling thread.
fn ip(arguments: &[&str]) {
    let status = Command::new("ip").args(arguments).status().unwrap();
    assert!(status.success(), "ip {arguments:?}: {status}");
}

fn config(interface: &str, queue: u32, zero_copy: ZeroCopy) -> SocketConfig {
    let any = socket_with(
        AddressFamily::INET,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    );
    SocketConfig {
        interface_index: netdevice::name_to_index(any.unwrap(), interface).unwrap(),
        interface: interface.to_owned(),
        queue,
        ring_sizes: RingSizes::default(),
        zero_copy,
        long_packets: false,
    }
}

/// Hears everything with `ETHERTYPE` that arrives on any interface of the namespace.
fn listener() -> OwnedFd {
    let protocol = NonZeroU32::new(u32::from(ETHERTYPE.to_be())).map(Protocol::from_raw);
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(AddressFamily::PACKET, SocketType::RAW, flags, protocol).unwrap()
}

/// A broadcast frame that carries a sender and a number.
fn write_packet(frame: &mut Frame, sender: u8, number: u32) {
    frame.set_len(60).unwrap();
    let octets = frame.octets_mut();
    octets.fill(0xA5);
    octets[..6].fill(0xFF);
    octets[6..12].copy_from_slice(&[2, 0, 0, 0, 0, sender]);
    octets[12..14].copy_from_slice(&ETHERTYPE.to_be_bytes());
    octets[14..18].copy_from_slice(&number.to_be_bytes());
}

/// Sender and number of all packets that have arrived.
fn heard(listener: &OwnedFd, packets: &mut Vec<(u8, u32)>) {
    let mut buffer = [0; 128];
    loop {
        match recv(listener, &mut buffer, RecvFlags::empty()) {
            Ok((length, _)) => {
                assert_eq!(length, 60);
                assert_eq!(buffer[18..60], [0xA5; 42]);
                let number = u32::from_be_bytes(buffer[14..18].try_into().unwrap());
                packets.push((buffer[11], number));
            }
            Err(Errno::AGAIN) => return,
            Err(errno) => panic!("recv: {errno}"),
        }
    }
}

/// Repeats `step` until it says that it is done, for at most five seconds.
fn until(what: &str, mut step: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while !step() {
        assert!(Instant::now() < deadline, "timed out: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn two_interfaces_send_from_one_umem() {
    const PACKETS: u32 = 1000;
    let Some(_namespace) = Namespace::enter("send") else {
        return;
    };
    let listener = listener();
    let mut umem = Umem::new(ChunkSize::Octets2048, 512).unwrap();
    let mut a = Socket::bind(&mut umem, &config("a0", 0, ZeroCopy::Off)).unwrap();
    let mut b = Socket::bind(&mut umem, &config("b0", 0, ZeroCopy::Auto)).unwrap();
    assert_eq!((a.mode(), b.mode()), (Mode::Copy, Mode::Copy));
    assert!(a.tx_needs_wakeup() && b.tx_needs_wakeup());
    assert_eq!(a.fill(&mut umem, 64), 64);
    assert_eq!(b.fill(&mut umem, 64), 64);
    assert_eq!(
        a.wake_rx().unwrap(),
        Kick {
            calls: 1,
            ..Kick::default()
        }
    );

    let mut packets = Vec::new();
    for (sender, socket) in [(0, &mut a), (1, &mut b)] {
        let mut sent = 0;
        let mut frames = Vec::new();
        while sent < PACKETS {
            for _ in 0..64.min(PACKETS - sent) {
                let mut frame = umem.allocate().expect("sent frames come back");
                write_packet(&mut frame, sender, sent);
                frames.push(frame);
                sent += 1;
            }
            socket.transmit(&mut umem, &mut frames);
            assert!(frames.is_empty(), "the TX ring has room for a batch");
            let kick = socket.kick_tx().unwrap();
            assert_eq!((kick.busy, kick.no_buffers, kick.network_down), (0, 0, 0));
            assert_eq!(socket.tx_waiting(), 0, "{kick:?}");
            socket.reclaim(&mut umem, 64);
            heard(&listener, &mut packets);
        }
    }
    until("all packets", || {
        heard(&listener, &mut packets);
        packets.len() >= 2 * PACKETS as usize
    });
    packets.sort_unstable();
    let expected: Vec<(u8, u32)> = (0..2)
        .flat_map(|sender| (0..PACKETS).map(move |number| (sender, number)))
        .collect();
    assert_eq!(packets, expected);

    until("all frames", || {
        a.reclaim(&mut umem, 2048);
        b.reclaim(&mut umem, 2048);
        umem.ledger().transmit == 0
    });
    assert_eq!(
        umem.ledger(),
        Ledger {
            free: 384,
            fill: 128,
            ..Ledger::default()
        }
    );
    for socket in [&a, &b] {
        assert_eq!(socket.descriptor_errors(), DescriptorErrors::default());
        let statistics = socket.statistics().unwrap();
        assert_eq!(statistics.tx_invalid_descriptors, 0);
        assert_eq!(statistics.rx_dropped, 0);
    }
}

#[test]
fn a_packet_in_several_frames_is_sent_as_one() {
    const LENGTH: usize = 8000;
    let Some(_namespace) = Namespace::enter("long") else {
        return;
    };
    ip(&["link", "set", "a0", "mtu", "9000"]);
    ip(&["link", "set", "a1", "mtu", "9000"]);
    let listener = listener();
    let mut umem = Umem::new(ChunkSize::Octets4096, 64).unwrap();
    let mut socket = Socket::bind(&mut umem, &config("a0", 0, ZeroCopy::Auto)).unwrap();
    if !socket.is_multi_buffer() {
        println!("SKIPPED: the kernel has no AF_XDP packets in several buffers (Linux 6.6)");
        return;
    }
    let mut packet = vec![0xFF; 6];
    packet.extend([2, 0, 0, 0, 0, 9]);
    packet.extend(ETHERTYPE.to_be_bytes());
    packet.extend((packet.len()..LENGTH).map(|number| (number * 7) as u8));

    let mut frames: Vec<Frame> = packet
        .chunks(3840)
        .map(|part| {
            let mut frame = umem.allocate().unwrap();
            frame.set_len(part.len()).unwrap();
            frame.octets_mut().copy_from_slice(part);
            frame.set_continues(true);
            frame
        })
        .collect();
    frames.last_mut().unwrap().set_continues(false);
    assert_eq!(socket.transmit(&mut umem, &mut frames), 3);
    let kick = socket.kick_tx().unwrap();
    assert_eq!((kick.busy, kick.no_buffers, kick.network_down), (0, 0, 0));
    until("the packet", || {
        let mut buffer = [0; 10_000];
        match recv(&listener, &mut buffer, RecvFlags::empty()) {
            Ok((length, _)) => {
                assert!(buffer[..length] == packet, "something else arrived");
                true
            }
            Err(Errno::AGAIN) => false,
            Err(errno) => panic!("recv: {errno}"),
        }
    });
    until("all frames", || {
        socket.reclaim(&mut umem, 64);
        umem.outstanding() == 0
    });
    assert_eq!(socket.statistics().unwrap().tx_invalid_descriptors, 0);
}

#[test]
fn a_full_ring_is_sent_by_one_kick() {
    let Some(_namespace) = Namespace::enter("kick") else {
        return;
    };
    let listener = listener();
    let mut umem = Umem::new(ChunkSize::Octets4096, 200).unwrap();
    // A ring of 16 refuses a larger budget than the kernel's own; one of 128 takes it or goes in steps.
    for size in [16, 128] {
        let mut config = config("a0", 0, ZeroCopy::Off);
        config.ring_sizes = RingSizes {
            fill: size,
            completion: size,
            rx: size,
            tx: size,
        };
        let mut socket = Socket::bind(&mut umem, &config).unwrap();
        let mut frames: Vec<Frame> = std::iter::from_fn(|| umem.allocate()).collect();
        for frame in &mut frames {
            write_packet(frame, 0, 0);
        }
        assert_eq!(socket.transmit(&mut umem, &mut frames), size);
        assert_eq!(frames.len(), 200 - size as usize);
        let _kick = socket.kick_tx().unwrap();
        assert_eq!(socket.tx_waiting(), 0);
        frames.drain(..).for_each(|frame| umem.free(frame));
        let mut packets = Vec::new();
        until("all packets", || {
            heard(&listener, &mut packets);
            socket.reclaim(&mut umem, size);
            packets.len() == size as usize && umem.outstanding() == 0
        });
    }
}

#[test]
fn an_interface_that_is_down_is_counted_and_loses_nothing() {
    let Some(_namespace) = Namespace::enter("down") else {
        return;
    };
    let mut umem = Umem::new(ChunkSize::Octets2048, 8).unwrap();
    let mut socket = Socket::bind(&mut umem, &config("a0", 0, ZeroCopy::Off)).unwrap();
    let mut frames: Vec<Frame> = std::iter::from_fn(|| umem.allocate()).collect();
    for frame in &mut frames {
        write_packet(frame, 0, 0);
    }

    ip(&["link", "set", "a0", "down"]);
    assert_eq!(socket.transmit(&mut umem, &mut frames), 8);
    let kick = socket.kick_tx().unwrap();
    assert_eq!(
        kick,
        Kick {
            calls: 1,
            network_down: 1,
            ..Kick::default()
        }
    );
    assert_eq!(socket.tx_waiting(), 8);

    // No carrier: the kernel drops each frame and still completes it.
    ip(&["link", "set", "a1", "down"]);
    ip(&["link", "set", "a0", "up"]);
    let mut busy = 0;
    until("all frames", || {
        busy += socket.kick_tx().unwrap().busy;
        socket.reclaim(&mut umem, 8);
        umem.outstanding() == 0
    });
    assert!(busy > 0);

    ip(&["link", "delete", "a0"]);
    let error = socket.kick_tx().unwrap_err().to_string();
    assert!(
        error.contains("a0 queue 0: sendto: ") && error.contains("has gone"),
        "{error}"
    );
}

#[test]
fn a_bind_that_fails_says_why() {
    let Some(_namespace) = Namespace::enter("bind") else {
        return;
    };
    let mut umem = Umem::new(ChunkSize::Octets2048, 64).unwrap();
    let mut refusal =
        |config: &SocketConfig| Socket::bind(&mut umem, config).unwrap_err().to_string();

    let error = refusal(&config("a0", 99, ZeroCopy::Auto));
    assert!(
        error.starts_with("a0 queue 99: bind(XDP_COPY): "),
        "{error}"
    );
    assert!(error.contains("no such queue"), "{error}");

    let error = refusal(&config("a0", 0, ZeroCopy::On));
    assert!(
        error.starts_with("a0 queue 0: bind(XDP_ZEROCOPY): "),
        "{error}"
    );
    assert!(error.contains("zero copy is not possible"), "{error}");

    let mut wrong = config("a0", 0, ZeroCopy::Off);
    wrong.interface_index = 9999;
    let error = refusal(&wrong);
    assert!(error.contains("no such interface"), "{error}");

    let mut wrong = config("a0", 0, ZeroCopy::Off);
    wrong.ring_sizes.rx = 1000;
    let error = refusal(&wrong);
    assert!(error.contains("RX ring of 1000 entries"), "{error}");

    let _first = Socket::bind(&mut umem, &config("a0", 0, ZeroCopy::Off)).unwrap();
    let mut refusal =
        |config: &SocketConfig| Socket::bind(&mut umem, config).unwrap_err().to_string();
    let error = refusal(&config("b0", 99, ZeroCopy::Auto));
    assert!(
        error.starts_with("b0 queue 99: bind(XDP_SHARED_UMEM): "),
        "{error}"
    );
    let error = refusal(&config("b0", 0, ZeroCopy::On));
    assert!(error.contains("otherwise than in copy mode"), "{error}");
    let error = refusal(&config("a0", 0, ZeroCopy::Off));
    assert!(error.contains("has a socket on it already"), "{error}");
    assert_eq!(umem.outstanding(), 0);
}

#[test]
fn a_busy_queue_is_waited_for() {
    let Some(_namespace) = Namespace::enter("busy") else {
        return;
    };
    let config = config("a0", 0, ZeroCopy::Off);
    let mut umem = Umem::new(ChunkSize::Octets2048, 64).unwrap();
    let first = Socket::bind(&mut umem, &config).unwrap();

    let mut other = Umem::new(ChunkSize::Octets2048, 64).unwrap();
    let begin = Instant::now();
    let error = Socket::bind(&mut other, &config).unwrap_err().to_string();
    assert!(
        error.contains("another AF_XDP socket holds this queue"),
        "{error}"
    );
    assert!(begin.elapsed() >= Duration::from_secs(2));

    let closing = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        drop(first);
    });
    let second = Socket::bind(&mut other, &config).unwrap();
    closing.join().unwrap();

    // With its last socket gone, a UMEM is registered anew by the next one.
    drop(second);
    let _third = Socket::bind(&mut umem, &config).unwrap();
}

#[test]
fn a_missing_capability_is_named() {
    let Some(_namespace) = Namespace::enter("caps") else {
        return;
    };
    let config = config("a0", 0, ZeroCopy::Off);
    let mut umem = Umem::new(ChunkSize::Octets4096, 4096).unwrap();
    let soft = Rlimit {
        current: Some(64 << 10),
        ..getrlimit(Resource::Memlock)
    };
    // For the whole process; the other tests do not notice, having CAP_IPC_LOCK.
    setrlimit(Resource::Memlock, soft).unwrap();

    let mut sets = capabilities(None).unwrap();
    for (capability, call, expected) in [
        (
            CapabilitySet::IPC_LOCK,
            "setsockopt(XDP_UMEM_REG)",
            "needs CAP_IPC_LOCK or a larger RLIMIT_MEMLOCK",
        ),
        (
            CapabilitySet::NET_RAW,
            "socket(AF_XDP)",
            "needs CAP_NET_RAW",
        ),
    ] {
        // Capabilities are the thread's: the namespace is deleted by a child that inherits root's.
        sets.effective.remove(capability);
        set_capabilities(None, sets).unwrap();
        let error = Socket::bind(&mut umem, &config).unwrap_err();
        assert!(matches!(error, Error::Call { .. }));
        let error = error.to_string();
        assert!(
            error.starts_with(&format!("a0 queue 0: {call}: ")),
            "{error}"
        );
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn busy_polling_is_what_the_kernel_says_it_is() {
    const OPTIONS: [BusyPollOption; 2] = [BusyPollOption::Time, BusyPollOption::Preferred];
    let Some(_namespace) = Namespace::enter("poll") else {
        return;
    };
    let mut umem = Umem::new(ChunkSize::Octets2048, 64).unwrap();
    let mut socket = Socket::bind(&mut umem, &config("a0", 0, ZeroCopy::Off)).unwrap();
    assert_eq!(OPTIONS.map(|option| socket.busy_poll(option)), [Ok(0); 2]);
    let how = BusyPoll {
        microseconds: 20,
        budget: 64,
    };
    socket.prefer_busy_poll(how).unwrap();
    assert_eq!(
        OPTIONS.map(|option| socket.busy_poll(option)),
        [Ok(20), Ok(1)]
    );
    // Before the first packet the kernel knows no queue to poll, which is no error.
    let kick = socket.wake_rx().unwrap();
    assert_eq!((kick.calls, kick.network_down), (1, 0));

    let too_much = BusyPoll {
        budget: 65536,
        ..how
    };
    let error = socket.prefer_busy_poll(too_much).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "a0 queue 0: setsockopt(SO_BUSY_POLL_BUDGET): {}; at most 65535 packets at a time",
            Errno::INVAL
        )
    );
}

#[test]
fn busy_polling_without_the_capability_is_refused_by_name() {
    let Some(_namespace) = Namespace::enter("poll-refused") else {
        return;
    };
    let mut umem = Umem::new(ChunkSize::Octets2048, 64).unwrap();
    let mut socket = Socket::bind(&mut umem, &config("a0", 0, ZeroCopy::Off)).unwrap();
    let before = capabilities(None).unwrap();
    let mut without = before;
    without.effective.remove(CapabilitySet::NET_ADMIN);
    set_capabilities(None, without).unwrap();
    let how = BusyPoll {
        microseconds: 20,
        budget: 8,
    };
    let refused = socket.prefer_busy_poll(how);
    set_capabilities(None, before).unwrap();
    let error = refused.unwrap_err();
    let refusal = Call::BusyPoll(BusyPollOption::Budget);
    assert!(
        matches!(&error, Error::Call { call, errno: Errno::PERM, .. } if *call == refusal),
        "{error}"
    );
    assert!(
        error.to_string().ends_with("needs CAP_NET_ADMIN"),
        "{error}"
    );
    assert_eq!(socket.busy_poll(BusyPollOption::Time), Ok(0));
}
