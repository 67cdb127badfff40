//! The ways in which workers wait: whichever it is, packets pass, tables and interfaces change, counters move, and the relay ends.

use crate::control::ask;
use crate::daemon::Daemon;
use crate::interfaces::{THREE, TWO, add_west, reload, west_is_served};
use crate::lab::{Lab, SERVICE, eventually, ip, net};
use crate::ping::ping;
use crate::stream::loses_nothing;
use serde_json::json;
use std::time::{Duration, Instant};

const INTERVAL: Duration = Duration::from_millis(2);

fn start(lab: &Lab, wait: &str) -> Daemon {
    lab.start(&format!("fast_path: af_xdp\nworkers: {{ wait: {wait} }}\n"))
}

/// Returns how much of a second of a processor an idle relay uses.
fn idle_share(daemon: &Daemon) -> f64 {
    let (begun, used) = (Instant::now(), daemon.processor_time());
    std::thread::sleep(Duration::from_millis(500));
    let used = daemon.processor_time() - used;
    used.as_secs_f64() / begun.elapsed().as_secs_f64()
}

/// Returns what a running relay says that it has received.
fn received(lab: &Lab) -> u64 {
    let stats = ask(lab, "stats");
    stats["counters"]["received_frames"].as_u64().unwrap()
}

fn works(wait: &str, is_idle: impl FnOnce(f64) -> bool) -> Option<String> {
    let lab = Lab::new()?;
    let mut daemon = start(&lab, wait);
    assert_eq!(ping(&lab.client, SERVICE.into(), 20, INTERVAL).count, 20);
    // With nothing to do it must tell all the same, and soon.
    eventually("the counters are told", Duration::from_secs(2), || {
        received(&lab) >= 40
    });

    lab.server
        .add_address("eth0", net("2001:db8:12:34::77/64"))
        .unwrap();
    let other = ip("192.0.2.77");
    assert_eq!(ping(&lab.client, other, 1, INTERVAL).count, 0);
    ask(&lab, "eam add 192.0.2.77 2001:db8:12:34::77");
    assert_eq!(ping(&lab.client, other, 20, INTERVAL).count, 20);

    let share = idle_share(&daemon);
    assert!(is_idle(share), "{wait}: {share} of a processor");
    let told = Instant::now();
    let counters = daemon.stop();
    assert!(
        told.elapsed() < Duration::from_secs(3),
        "{:?}",
        told.elapsed()
    );
    counters.assert_balanced();
    assert_eq!(counters.get("failed_wake_ups"), 0);
    Some(daemon.log())
}

#[test]
fn a_worker_that_polls_sleeps() {
    let Some(log) = works("poll", |share| share < 0.2) else {
        return;
    };
    assert!(
        log.contains("worker 0: processor") && log.contains("no interrupt of its queues is known"),
        "{log}"
    );
}

#[test]
fn a_busy_worker_never_sleeps() {
    works("busy", |share| share > 0.3);
}

#[test]
fn a_worker_that_has_the_driver_polled_says_what_is_missing() {
    let Some(log) = works("prefer-busy-poll", |share| share > 0.3) else {
        return;
    };
    assert!(!log.contains("sleeps instead"), "{log}");
    for interface in ["north", "south"] {
        let advice = format!("echo 2 > /sys/class/net/{interface}/napi_defer_hard_irqs");
        assert!(log.contains(&advice), "{log}");
    }
}

#[test]
fn a_busy_worker_serves_one_interface_while_the_other_is_down() {
    let Some(lab) = Lab::new() else { return };
    for wait in ["busy", "prefer-busy-poll"] {
        let mut daemon = start(&lab, wait);
        lab.relay_ip("link set south down");
        ping(&lab.client, SERVICE.into(), 20, INTERVAL);
        std::thread::sleep(Duration::from_millis(500));
        assert!(daemon.is_running());
        let calls = daemon.stop().get("failed_wake_ups");
        // No more than a few a second and one for each packet.
        assert!(
            calls < 100,
            "{wait}: the kernel was called {calls} times in vain"
        );
        lab.relay_ip("link set south up");
    }
}

#[test]
fn workers_that_go_on_wait_as_they_did() {
    let advice = |interface| format!("echo 2 > /sys/class/net/{interface}/napi_defer_hard_irqs");
    for (wait, warnings) in [("busy", 0), ("prefer-busy-poll", 1)] {
        let Some(lab) = Lab::new() else { return };
        let west = add_west(&lab, 1, 1500);
        let mut daemon = start(&lab, wait);
        loses_nothing(&lab, || {
            let change = reload(&lab, &[THREE]);
            assert_eq!(change["interfaces_added"], json!(["west"]));
            west_is_served(&lab, &west);
        });
        let change = reload(&lab, &["workers: { wait: poll }"]);
        assert_eq!(change["needs_restart"], json!(["workers.wait"]));
        loses_nothing(&lab, || {
            let cpus = format!("workers: {{ cpus: [0], wait: {wait} }}");
            assert_eq!(reload(&lab, &[&cpus])["needs_restart"], json!([]));
        });
        daemon.await_line("worker 0: processor 0, by `workers.cpus`");
        west_is_served(&lab, &west);
        reload(&lab, &[TWO]);
        let share = idle_share(&daemon);
        assert!(share > 0.3, "{wait}: {share} of a processor");
        let counters = daemon.stop();
        counters.assert_balanced();
        assert_eq!(counters.get("failed_wake_ups"), 0);
        let log = daemon.log();
        for interface in ["north", "west", "south"] {
            assert_eq!(log.matches(&advice(interface)).count(), warnings, "{log}");
        }
        assert!(
            !log.contains("made anew") && !log.contains("sleeps instead"),
            "{log}"
        );
    }
}
