//! What stays when the relay ends: its program goes on translating, and the next relay takes its place without a loss.

use crate::control::ask;
use crate::daemon::Daemon;
use crate::inject::{ipv4, send_packet, udp};
use crate::lab::{CLIENT, Lab, SERVER, SERVICE, embedded, eventually, net};
use crate::lifecycle::leave_attached;
use crate::ping::{answers_within, ping};
use crate::service::{USER, with_the_rights_of_the_service};
use crate::stream::{INTERVAL, PORT, QUIET, assert_all, collect, loses_nothing, open, send};
use relay::driver::xdp_link::Hook;
use rustix::process::Signal;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// A service whose mapping changes.
const MOVING: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

/// A directory for one lab; nothing stays in it.
pub(crate) struct Pin(PathBuf);

impl Pin {
    pub(crate) fn new(lab: &Lab) -> Self {
        let name = lab.relay.name();
        Self(Path::new("/sys/fs/bpf").join(name))
    }

    /// Whether there is a link for an interface of the relay.
    pub(crate) fn has(&self, lab: &Lab, interface: &str) -> bool {
        let index = lab.relay.interface_index(interface).unwrap();
        self.0.join(format!("link-{index}")).exists()
    }

    pub(crate) fn key(&self) -> String {
        format!("pin: {}\n", self.0.display())
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        for entry in std::fs::read_dir(&self.0).into_iter().flatten().flatten() {
            let _ = std::fs::remove_file(entry.path());
        }
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// A lab in which the XDP program can send to both hosts.
fn lab() -> Option<Lab> {
    let lab = Lab::new()?;
    for host in [&lab.client, &lab.server] {
        host.take_redirected_frames("eth0").unwrap();
    }
    Some(lab)
}

fn add_north(lab: &Lab) {
    lab.add_north(1, 1);
    lab.client.take_redirected_frames("eth0").unwrap();
}

fn stop(lab: &Lab, more: &[&str]) -> Output {
    let mut command = lab.relay.command(tests::siit_relay().to_str().unwrap());
    let socket = lab.socket();
    command
        .arg("stop")
        .args(["--socket", socket.to_str().unwrap()])
        .args(more)
        .output()
        .unwrap()
}

fn programs(lab: &Lab) -> [Option<u32>; 2] {
    [lab.xdp("north"), lab.xdp("south")]
}

fn refused(mut daemon: Daemon, why: &str) {
    assert_eq!(daemon.wait().code(), Some(1), "{}", daemon.log());
    assert!(daemon.log().contains(why), "{}", daemon.log());
}

#[test]
fn nothing_is_lost_while_relays_come_and_go() {
    let Some(lab) = lab() else { return };
    let pin = Pin::new(&lab);
    let mut relay = lab.start(&pin.key());
    let mut relay = loses_nothing(&lab, || {
        for signal in [Signal::KILL, Signal::TERM, Signal::KILL, Signal::INT] {
            let before = programs(&lab);
            assert!(before.iter().all(Option::is_some));
            relay.signal(signal);
            let status = relay.wait();
            assert_eq!(status.success(), signal != Signal::KILL, "{}", relay.log());
            std::thread::sleep(QUIET);
            assert_eq!(programs(&lab), before, "the program stays");
            relay = lab.start(&pin.key());
            assert!(relay.log().contains("took the place"), "{}", relay.log());
            assert!(
                programs(&lab)
                    .iter()
                    .zip(before)
                    .all(|(new, old)| *new != old)
            );
            // A reload changes the program, too, and what stays is that of the last one.
            ask(&lab, "reload");
        }
        relay
    });
    let output = stop(&lab, &["--detach"]);
    assert!(output.status.success(), "{output:?}");
    assert!(relay.wait().success());
    assert_eq!(programs(&lab), [None, None]);
    assert!(!pin.0.exists());
}

#[test]
fn the_next_relay_has_mappings_of_its_own() {
    let Some(lab) = lab() else { return };
    let pin = Pin::new(&lab);
    for address in ["2001:db8:12:34::2/64", "2001:db8:12:34::3/64"] {
        lab.server.add_address("eth0", net(address)).unwrap();
    }
    let mut relay = lab.start(&pin.key());
    let eam = std::fs::read_to_string(lab.path("eam.yaml")).unwrap();
    for to in [SERVICE, MOVING] {
        assert!(answers_within(
            &lab.client,
            to.into(),
            Duration::from_secs(2)
        ));
    }
    let receivers = ["2001:db8:12:34::2", "2001:db8:12:34::3"]
        .map(|address| open(&lab.server, address.parse::<IpAddr>().unwrap(), PORT));
    // The new host is known to the relay's kernel already.
    assert!(answers_within(
        &lab.relay,
        crate::lab::ip("2001:db8:12:34::3"),
        Duration::from_secs(2)
    ));
    let client = open(&lab.client, CLIENT, 0);
    let (is_over, is_settled) = (AtomicBool::new(false), AtomicBool::new(false));
    let sent = AtomicU64::new(0);
    let from = embedded(CLIENT).into();
    let [old, new] = std::thread::scope(|scope| {
        let sender = scope.spawn(|| send(&client, MOVING.into(), &sent, &is_over));
        let [old, new] = &receivers;
        let collectors = [
            scope.spawn(|| collect(old, from, &is_settled)),
            scope.spawn(|| collect(new, from, &is_settled)),
        ];
        std::thread::sleep(QUIET);
        relay.signal(Signal::TERM);
        assert!(relay.wait().success(), "{}", relay.log());
        std::thread::sleep(QUIET);
        let config = lab.configure(&pin.key());
        let eam = eam.replace("'2001:db8:12:34::2'", "'2001:db8:12:34::3'");
        std::fs::write(lab.path("eam.yaml"), eam).unwrap();
        relay = lab.launch(&config);
        relay.await_line("translating");
        std::thread::sleep(QUIET);
        is_over.store(true, Ordering::Relaxed);
        sender.join().unwrap();
        std::thread::sleep(QUIET);
        is_settled.store(true, Ordering::Relaxed);
        collectors.map(|collector| collector.join().unwrap())
    });
    assert_eq!((old.1, new.1), (0, 0), "from elsewhere");
    assert!(
        old.0.len() > 100 && new.0.len() > 100,
        "{} {}",
        old.0.len(),
        new.0.len()
    );
    let all: Vec<u64> = old.0.into_iter().chain(new.0).collect();
    assert_all(&all, sent.into_inner());
    assert!(stop(&lab, &["--detach"]).status.success());
}

#[test]
fn what_happens_meanwhile_is_counted_by_the_next_relay() {
    let Some(lab) = lab() else { return };
    let pin = Pin::new(&lab);
    let mut relay = lab.start(&pin.key());
    let server = open(&lab.server, SERVER, PORT);
    let client = open(&lab.client, CLIENT, PORT);
    assert!(answers_within(&lab.client, SERVICE.into(), QUIET));
    let exchange = |count: u64| {
        for next in 0..count {
            client
                .send_to(&next.to_be_bytes(), (SERVICE, PORT))
                .unwrap();
            server.recv(&mut [0; 64]).unwrap();
        }
    };
    exchange(300);
    relay.signal(Signal::TERM);
    assert!(relay.wait().success());
    let log = relay.log();
    assert!(log.contains("XDP program left at work"), "{log}");
    exchange(200);
    // These need a worker: they have an option.
    let datagram = udp(CLIENT.into(), SERVICE.into(), (PORT, PORT), b"optional");
    let packet = ipv4(CLIENT, SERVICE, 17, &[1, 1, 1, 0], &datagram);
    for _ in 0..10 {
        send_packet(&lab.client, SERVICE.into(), &packet);
    }
    let mut relay = lab.start(&pin.key());
    let count = |name: &str| ask(&lab, "stats")["counters"][name].as_u64().unwrap();
    assert_eq!(count("out_v4_to_v6_packets"), 200);
    assert_eq!(count("xdp_no_socket"), 10);
    exchange(100);
    assert_eq!(count("out_v4_to_v6_packets"), 300);
    // What the earlier program has counted is taken over for good.
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(count("out_v4_to_v6_packets"), 300);
    assert!(stop(&lab, &["--detach"]).status.success());
    assert!(relay.wait().success());
    assert_eq!(relay.counters().get("xdp_no_socket"), 10);
}

#[test]
fn next_hops_are_found_by_the_kernel_while_no_relay_runs() {
    for forwarding in ["direct", "kernel"] {
        let Some(lab) = lab() else { return };
        let pin = Pin::new(&lab);
        let config = format!("{}forwarding: {forwarding}", pin.key());
        let mut relay = lab.start(&config);
        relay.signal(Signal::KILL);
        relay.wait();
        // Nobody has talked to anybody yet, so there are no neighbours.
        let answers = ping(&lab.client, SERVICE.into(), 20, INTERVAL);
        assert_eq!(answers.count, 20, "{forwarding}");
        let _next = lab.start(&config);
        let counters = ask(&lab, "stats")["counters"].clone();
        let left = counters["xdp_left_to_kernel"].as_u64();
        assert!(left > Some(0), "{forwarding}: {counters}");
        assert_eq!(counters["out_v4_to_v6_packets"], 20, "{forwarding}");
    }
}

#[test]
fn stop_leaves_the_program_and_detach_takes_it_away() {
    let Some(lab) = lab() else { return };
    let pin = Pin::new(&lab);
    let mut relay = lab.start(&pin.key());
    assert!(answers_within(&lab.client, SERVICE.into(), QUIET));
    let output = stop(&lab, &[]);
    assert!(output.status.success(), "{output:?}");
    assert!(relay.wait().success());
    assert!(programs(&lab).iter().all(Option::is_some));
    assert_eq!(ping(&lab.client, SERVICE.into(), 20, INTERVAL).count, 20);

    // Nobody listens: without the configuration nobody knows where to look.
    let output = stop(&lab, &["--detach"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("--config"), "{text}");
    assert_eq!(stop(&lab, &[]).status.code(), Some(1));
    let config = lab.path("relay.yaml");
    let with_config = ["--detach", "--config", config.to_str().unwrap()];
    let output = stop(&lab, &with_config);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(programs(&lab), [None, None]);
    assert!(!pin.0.exists());
    // A second time there is nothing to do.
    assert!(stop(&lab, &with_config).status.success());
}

#[test]
fn without_a_pin_or_a_fast_path_nothing_stays() {
    let Some(lab) = lab() else { return };
    let pin = Pin::new(&lab);
    let mut relay = lab.start(&pin.key());
    relay.signal(Signal::KILL);
    relay.wait();
    // What was left is taken over, and not left again.
    let mut relay = lab.start(&format!("{}fast_path: af_xdp", pin.key()));
    assert!(relay.log().contains("took the place"), "{}", relay.log());
    assert!(answers_within(&lab.client, SERVICE.into(), QUIET));
    relay.stop();
    eventually("it is detached", QUIET, || programs(&lab) == [None, None]);
    let mut relay = lab.start("pin: off");
    relay.signal(Signal::KILL);
    relay.wait();
    assert_eq!(programs(&lab), [None, None]);
    // Where nothing can be pinned, the relay says so and works.
    let mut relay = lab.start("pin: /tmp");
    assert!(
        relay
            .log()
            .contains("pin /tmp: this is in no BPF file system")
    );
    relay.stop();
    assert_eq!(programs(&lab), [None, None]);
}

#[test]
fn a_program_of_somebody_else_is_left_alone_and_nothing_stays() {
    let Some(lab) = lab() else { return };
    let pin = Pin::new(&lab);
    let theirs = leave_attached(&lab, "south", "other_prog", Hook::Driver);
    refused(
        lab.launch(&lab.configure(&pin.key())),
        "XDP program `other_prog`",
    );
    assert_eq!(programs(&lab), [None, Some(theirs)]);
}

#[test]
fn two_relays_on_one_interface_are_refused() {
    let Some(lab) = lab() else { return };
    let pin = Pin::new(&lab);
    let other = Pin(pin.0.with_extension("other"));
    let mut first = lab.start(&pin.key());
    let before = programs(&lab);
    refused(
        lab.launch(&lab.configure(&pin.key())),
        "another relay is running with this directory",
    );
    refused(lab.launch(&lab.configure(&other.key())), "north queue 0");
    assert_eq!(programs(&lab), before);
    assert_eq!(ping(&lab.client, SERVICE.into(), 20, INTERVAL).count, 20);
    // What it leaves belongs to those that look where it is.
    first.signal(Signal::TERM);
    assert!(first.wait().success());
    refused(
        lab.launch(&lab.configure(&other.key())),
        "has left its program with another `pin`",
    );
    assert_eq!(programs(&lab), before);
    assert_eq!(ping(&lab.client, SERVICE.into(), 20, INTERVAL).count, 20);
    first = lab.start(&pin.key());
    assert!(stop(&lab, &["--detach"]).status.success());
    assert!(first.wait().success());
}

#[test]
fn an_interface_that_was_made_anew_gets_the_program_again() {
    let Some(lab) = lab() else { return };
    let pin = Pin::new(&lab);
    let mut relay = lab.start(&pin.key());
    relay.signal(Signal::KILL);
    relay.wait();
    let index = lab.relay.interface_index("north").unwrap();
    lab.relay_ip("link del north");
    add_north(&lab);
    let mut relay = lab.start(&pin.key());
    assert_ne!(lab.relay.interface_index("north").unwrap(), index);
    assert!(!pin.0.join(format!("link-{index}")).exists());
    assert!(answers_within(
        &lab.client,
        SERVICE.into(),
        Duration::from_secs(2)
    ));
    // While the relay runs, too.
    lab.relay_ip("link del north");
    relay.await_line("north: the interface has gone");
    relay.signal(Signal::TERM);
    assert!(relay.wait().success());
    add_north(&lab);
    let mut relay = lab.start(&pin.key());
    assert!(answers_within(
        &lab.client,
        SERVICE.into(),
        Duration::from_secs(2)
    ));
    assert!(stop(&lab, &["--detach"]).status.success());
    assert!(relay.wait().success());
    assert_eq!(programs(&lab), [None, None]);
}

#[test]
fn another_mode_takes_a_new_attachment() {
    let Some(lab) = lab() else { return };
    let pin = Pin::new(&lab);
    let interfaces = |mode: &str| {
        format!(
            "{}interfaces: [{{ name: north, xdp: {mode} }}, {{ name: south, xdp: {mode} }}]",
            pin.key()
        )
    };
    let mut relay = lab.start(&interfaces("generic"));
    relay.signal(Signal::TERM);
    assert!(relay.wait().success());
    // Any mode is the one that is there.
    let mut relay = lab.start(&interfaces("auto"));
    assert_eq!(ask(&lab, "status")["interfaces"][0]["xdp"], "generic");
    relay.signal(Signal::TERM);
    assert!(relay.wait().success());
    let mut relay = lab.start(&interfaces("native"));
    assert_eq!(ask(&lab, "status")["interfaces"][0]["xdp"], "native");
    assert!(relay.log().contains("detaching what runs in generic mode"));
    assert!(answers_within(
        &lab.client,
        SERVICE.into(),
        Duration::from_secs(2)
    ));
    assert!(stop(&lab, &["--detach"]).status.success());
    assert!(relay.wait().success());
}

#[test]
fn the_rights_of_the_service_are_enough_to_stay_and_to_take_over() {
    let Some(lab) = lab() else { return };
    let pin = Pin::new(&lab);
    // As the service file has it made.
    std::fs::create_dir(&pin.0).unwrap();
    std::os::unix::fs::chown(&pin.0, Some(USER), Some(USER)).unwrap();
    let config = lab.configure(&pin.key());
    let start = || {
        let relay = Daemon::launch(with_the_rights_of_the_service(&lab), &config);
        relay.await_line("translating");
        assert!(!relay.log().contains("WARN"), "{}", relay.log());
        relay
    };
    let mut relay = start();
    let mut relay = loses_nothing(&lab, || {
        for signal in [Signal::KILL, Signal::TERM] {
            relay.signal(signal);
            relay.wait();
            std::thread::sleep(QUIET);
            relay = start();
            assert!(relay.log().contains("took the place"), "{}", relay.log());
        }
        relay
    });
    assert!(stop(&lab, &["--detach"]).status.success());
    assert!(relay.wait().success());
    assert!(!relay.log().contains("WARN"), "{}", relay.log());
    assert_eq!(programs(&lab), [None, None]);
}
