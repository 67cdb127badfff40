//! Interfaces that come and go by a reload, while packets go through the others.

use crate::control::{ask, refusal, siit_relay};
use crate::daemon::Daemon;
use crate::lab::{Lab, SERVICE, embedded, eventually, net};
use crate::ping::{answers_within, ping};
use crate::restart::Pin;
use crate::stream::loses_nothing;
use relay::lab::{Namespace, Route};
use std::fs;
use std::net::Ipv4Addr;
use std::time::Duration;

const INTERVAL: Duration = Duration::from_millis(2);
const LIMIT: Duration = Duration::from_secs(3);
/// A client behind the interface that comes and goes.
const WEST: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 50);

pub(crate) const TWO: &str = "interfaces: [{ name: north }, { name: south }]";
pub(crate) const THREE: &str = "interfaces: [{ name: north }, { name: west }, { name: south }]";

/// Ties one more client to an interface of the relay, `west`.
pub(crate) fn add_west(lab: &Lab, queues: u32, mtu: u32) -> Namespace {
    let west = lab.namespace("west");
    tie_west(lab, &west, queues, mtu);
    west
}

fn tie_west(lab: &Lab, west: &Namespace, queues: u32, mtu: u32) {
    lab.link(west, "west", queues, queues, mtu);
    west.add_address("eth0", net("198.51.100.50/24")).unwrap();
    lab.relay
        .add_address("west", net("198.51.100.1/24"))
        .unwrap();
    west.add_route(&Route::to(net("0.0.0.0/0")).via("198.51.100.1".parse().unwrap()))
        .unwrap();
}

/// Starts another relay, on `west` alone.
fn other_relay(lab: &Lab) -> Daemon {
    let config = lab.path("other.yaml");
    let text = format!(
        "prefix: 2001:db8:99::/96\neam: eam.yaml\ninterfaces: [{{ name: west }}]\npin: off\n\
         control: {{ socket: {:?}, metrics: off }}\n",
        lab.path("other.sock")
    );
    fs::write(&config, text).unwrap();
    let other = lab.launch(&config);
    other.await_line("translating");
    other
}

/// Puts other lines in the place of those of the configuration that begin with the same key.
fn rewrite(lab: &Lab, lines: &[&str]) {
    let path = lab.path("relay.yaml");
    let mut text = String::new();
    let key = |line: &str| line.split(':').next().unwrap_or("").to_owned();
    for line in fs::read_to_string(&path).unwrap().lines() {
        let new = lines.iter().find(|new| key(new) == key(line));
        text += &format!("{}\n", new.unwrap_or(&line));
    }
    fs::write(&path, text).unwrap();
}

pub(crate) fn reload(lab: &Lab, lines: &[&str]) -> serde_json::Value {
    rewrite(lab, lines);
    ask(lab, "reload")
}

fn names(lab: &Lab) -> Vec<String> {
    let status = ask(lab, "status");
    let interfaces = status["interfaces"].as_array().unwrap();
    let name = |interface: &serde_json::Value| interface["name"].as_str().unwrap().to_owned();
    interfaces.iter().map(name).collect()
}

fn counter(lab: &Lab, name: &str) -> u64 {
    ask(lab, "stats")["counters"][name].as_u64().unwrap()
}

/// Checks that packets between `west` and the server are translated, and by the relay alone.
pub(crate) fn west_is_served(lab: &Lab, west: &Namespace) {
    assert!(answers_within(west, SERVICE.into(), LIMIT));
    assert!(answers_within(&lab.server, embedded(WEST).into(), LIMIT));
    let before = counter(lab, "out_v4_to_v6_packets");
    assert_eq!(ping(west, SERVICE.into(), 50, INTERVAL).count, 50);
    // Workers that never sleep tell a little later.
    eventually("the packets are counted", LIMIT, || {
        counter(lab, "out_v4_to_v6_packets") >= before + 50
    });
}

fn comes_and_goes(more: &str) {
    let Some(lab) = Lab::new() else { return };
    let west = add_west(&lab, 1, 1500);
    let mut daemon = lab.start(more);
    // The services are the kernel's to forward where the relay has no interface, and it has no route.
    assert_eq!(ping(&west, SERVICE.into(), 1, INTERVAL).count, 0);
    for round in 0..3 {
        loses_nothing(&lab, || {
            let change = reload(&lab, &[THREE]);
            assert_eq!(change["interfaces_added"], serde_json::json!(["west"]));
            assert_eq!(change["needs_restart"], serde_json::json!([]));
            west_is_served(&lab, &west);
        });
        assert_eq!(names(&lab), ["north", "west", "south"]);
        assert!(lab.xdp("west").is_some());
        loses_nothing(&lab, || {
            std::thread::scope(|scope| {
                // Packets come in and leave by it until its end.
                scope.spawn(|| ping(&west, SERVICE.into(), 200, INTERVAL));
                scope.spawn(|| ping(&lab.server, embedded(WEST).into(), 200, INTERVAL));
                std::thread::sleep(Duration::from_millis(150));
                let change = reload(&lab, &[TWO]);
                assert_eq!(change["interfaces_removed"], serde_json::json!(["west"]));
                assert_eq!(lab.xdp("west"), None, "round {round}");
            });
        });
        assert_eq!(names(&lab), ["north", "south"]);
        assert_eq!(ping(&west, SERVICE.into(), 1, INTERVAL).count, 0);
        assert_eq!(ping(&lab.relay, WEST.into(), 3, INTERVAL).count, 3);
    }
    let log = daemon.log();
    assert!(!log.contains("made anew"), "{log}");
    let counters = daemon.stop();
    counters.assert_balanced();
}

#[test]
fn an_interface_comes_and_goes_under_traffic() {
    comes_and_goes("");
}

#[test]
fn an_interface_comes_and_goes_while_workers_translate() {
    comes_and_goes("fast_path: af_xdp");
}

#[test]
fn the_first_interface_can_go_and_come_back() {
    let Some(lab) = Lab::new() else { return };
    let west = add_west(&lab, 1, 1500);
    // Its socket is the one that has registered the memory of the worker.
    let first = "interfaces: [{ name: west }, { name: north }, { name: south }]";
    let mut daemon = lab.start(&format!("{first}\nfast_path: af_xdp"));
    for _ in 0..2 {
        loses_nothing(&lab, || {
            let change = reload(&lab, &[TWO]);
            assert_eq!(change["interfaces_removed"], serde_json::json!(["west"]));
            let change = reload(&lab, &[first]);
            assert_eq!(change["interfaces_added"], serde_json::json!(["west"]));
            west_is_served(&lab, &west);
        });
    }
    assert!(!daemon.log().contains("made anew"), "{}", daemon.log());
    daemon.stop().assert_balanced();
}

fn assert_refused(lab: &Lab, daemon: &Daemon, lines: &[&str], expected: &str) {
    rewrite(lab, lines);
    let problems = refusal(lab, "reload");
    assert!(problems.contains(expected), "{expected}: {problems}");
    assert!(
        daemon.log().contains(expected),
        "{expected}: {}",
        daemon.log()
    );
    assert_eq!(names(lab), ["north", "south"]);
    assert_eq!(ask(lab, "status")["generation"]["number"], 1);
}

#[test]
fn an_addition_that_is_refused_changes_nothing() {
    for more in ["", "fast_path: af_xdp"] {
        let Some(lab) = Lab::new() else { return };
        let west = add_west(&lab, 1, 1500);
        let mut daemon = lab.start(more);
        let before = (lab.xdp("north"), lab.xdp("south"));
        loses_nothing(&lab, || {
            assert_refused(
                &lab,
                &daemon,
                &["interfaces: [{ name: north }, { name: nowhere }, { name: south }]"],
                "relay.yaml:3:39: interface `nowhere` is not on this machine",
            );
            assert_refused(
                &lab,
                &daemon,
                &["interfaces: [{ name: north }, { name: west, queues: [3] }, { name: south }]"],
                "relay.yaml:3:39: interface `west`: it has no receive queue 3",
            );
            // It has sockets by then, and no way to run a program in its driver.
            lab.relay_ip("link add name bridge type bridge");
            lab.relay_ip("link set dev bridge up");
            assert_refused(
                &lab,
                &daemon,
                &["interfaces: [{ name: bridge, xdp: native }, { name: north }, { name: south }]"],
                "interface bridge: cannot attach the XDP program in native mode",
            );
        });
        assert_eq!((lab.xdp("north"), lab.xdp("south")), before);
        // The queue belongs to another relay.
        let mut other = other_relay(&lab);
        let program = lab.xdp("west");
        loses_nothing(&lab, || {
            assert_refused(
                &lab,
                &daemon,
                &[THREE],
                "another AF_XDP socket holds this queue",
            );
        });
        assert_eq!(lab.xdp("west"), program);
        other.stop();
        assert_eq!(reload(&lab, &[THREE])["generation"], 2);
        west_is_served(&lab, &west);
        daemon.stop().assert_balanced();
    }
}

#[test]
fn an_interface_that_was_made_anew_comes_back_by_a_reload() {
    let Some(lab) = Lab::new() else { return };
    let west = add_west(&lab, 1, 1500);
    let mut daemon = lab.start(THREE);
    west_is_served(&lab, &west);
    lab.relay.delete_link("west").unwrap();
    daemon.await_line("west: the interface has gone");
    loses_nothing(&lab, || {
        // One that has gone hinders no other change.
        let change = reload(&lab, &[]);
        assert_eq!(change["interfaces_changed"], serde_json::json!([]));
        tie_west(&lab, &west, 1, 1500);
        let change = reload(&lab, &[]);
        assert_eq!(change["interfaces_changed"], serde_json::json!(["west"]));
        west_is_served(&lab, &west);
    });
    lab.relay.delete_link("west").unwrap();
    daemon.await_line("west: the interface has gone");
    loses_nothing(&lab, || {
        let change = reload(&lab, &[TWO]);
        assert_eq!(change["interfaces_removed"], serde_json::json!(["west"]));
    });
    daemon.stop();
}

#[test]
fn workers_are_made_anew_where_they_do_not_fit() {
    let Some(lab) = Lab::with_queues(2, 1) else {
        return;
    };
    // Fewer queues, and frames that are longer than the chunks up to now.
    let west = add_west(&lab, 1, 3000);
    let mut daemon = lab.start("");
    assert_eq!(ask(&lab, "status")["workers"], 2);
    for (lines, workers) in [(THREE, 1), (TWO, 2), (THREE, 1)] {
        // What the program sends on by itself passes meanwhile.
        loses_nothing(&lab, || reload(&lab, &[lines]));
        assert_eq!(ask(&lab, "status")["workers"], workers);
    }
    west_is_served(&lab, &west);
    assert!(daemon.log().contains("made anew"), "{}", daemon.log());
    daemon.stop().assert_balanced();
}

#[test]
fn a_refusal_loses_nothing_where_workers_would_have_to_be_made_anew() {
    let Some(lab) = Lab::new() else { return };
    let _west = add_west(&lab, 1, 3000);
    let mut daemon = lab.start("fast_path: af_xdp");
    let mut other = other_relay(&lab);
    loses_nothing(&lab, || {
        assert_refused(
            &lab,
            &daemon,
            &[THREE],
            "another AF_XDP socket holds this queue",
        );
    });
    // It has sockets by then, and its program is refused.
    other.stop();
    lab.relay_ip("link add name bridge mtu 3000 type bridge");
    lab.relay_ip("link set dev bridge up");
    let bridge = "interfaces: [{ name: bridge, xdp: native }, { name: north }, { name: south }]";
    let why = "interface bridge: cannot attach the XDP program in native mode";
    assert_refused(&lab, &daemon, &[bridge], why);
    let log = daemon.log();
    assert!(log.contains("made anew"), "{log}");
    // The workers that were made in the place of those for the ports before have all of them.
    loses_nothing(&lab, || std::thread::sleep(Duration::from_millis(300)));
    daemon.stop().assert_balanced();
}

#[test]
fn queues_modes_and_processors_change() {
    let Some(lab) = Lab::with_queues(2, 1) else {
        return;
    };
    let mut daemon = lab.start(
        "interfaces: [{ name: north, queues: [0] }, { name: south }]\nworkers: { cpus: auto }",
    );
    loses_nothing(&lab, || {
        let change = reload(
            &lab,
            &["interfaces: [{ name: north, queues: [0] }, { name: south, queues: [0] }]"],
        );
        assert_eq!(change["interfaces_changed"], serde_json::json!(["south"]));
        let change = reload(&lab, &["workers: { cpus: [0] }"]);
        assert_eq!(change["needs_restart"], serde_json::json!([]));
    });
    let generic =
        "interfaces: [{ name: north, xdp: generic }, { name: south, xdp: native, zero_copy: off }]";
    let change = reload(&lab, &[generic]);
    assert_eq!(
        change["interfaces_changed"],
        serde_json::json!(["north", "south"])
    );
    let status = ask(&lab, "status");
    assert_eq!(status["interfaces"][0]["xdp"], "generic");
    assert_eq!(status["interfaces"][0]["queues"], serde_json::json!([0, 1]));
    assert_eq!(status["interfaces"][1]["xdp"], "native");
    assert!(answers_within(&lab.client, SERVICE.into(), LIMIT));
    loses_nothing(&lab, || ask(&lab, "reload"));
    daemon.stop().assert_balanced();
}

#[test]
fn a_removed_interface_is_no_longer_pinned() {
    let Some(lab) = Lab::new() else { return };
    let _west = add_west(&lab, 1, 1500);
    let pin = Pin::new(&lab);
    let pinned = || ["north", "west", "south"].map(|interface| pin.has(&lab, interface));
    let mut daemon = lab.start(&format!("{TWO}\n{}", pin.key()));
    loses_nothing(&lab, || {
        reload(&lab, &[THREE]);
        assert_eq!(pinned(), [true, true, true]);
        reload(&lab, &[TWO]);
    });
    assert_eq!(pinned(), [true, false, true]);
    assert_eq!(lab.xdp("west"), None);
    reload(&lab, &[THREE]);
    let output = siit_relay(&lab, "stop --detach");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    daemon.wait();
    assert_eq!((lab.xdp("north"), lab.xdp("west")), (None, None));
    assert_eq!(pinned(), [false, false, false]);
}
