//! New generations in a running relay: from files, by signal, of their own accord, and one mapping at a time.

use crate::control::{ask, mappings, refusal, siit_relay};
use crate::lab::{Lab, SERVICE, eventually, ip, net};
use crate::ping::ping;
use rustix::process::Signal;
use std::fmt::Write;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const INTERVAL: Duration = Duration::from_millis(2);
/// A service that the lab's files do not map.
const OTHER: &str = "192.0.2.77";
const WITH_OTHER: &str = "eam:
  - { ipv4: 192.0.2.1, ipv6: '2001:db8:12:34::1' }
  - { ipv4: 192.0.2.77, ipv6: '2001:db8:12:34::77' }
  - { ipv4: 192.0.2.16/28, ipv6: '2001:db8:12:34::20/124' }
";

fn answers(lab: &Lab, service: &str) -> bool {
    ping(&lab.client, ip(service), 1, INTERVAL).count == 1
}

/// A lab whose server has the address behind [`OTHER`], too.
fn lab() -> Option<Lab> {
    let lab = Lab::new()?;
    lab.server
        .add_address("eth0", net("2001:db8:12:34::77/64"))
        .unwrap();
    Some(lab)
}

#[test]
fn a_reload_puts_the_files_in_force() {
    let Some(lab) = lab() else { return };
    let mut daemon = lab.start("");
    assert!(answers(&lab, "192.0.2.1") && !answers(&lab, OTHER));
    fs::write(lab.path("eam.yaml"), WITH_OTHER).unwrap();
    let change = ask(&lab, "reload");
    let counts =
        ["generation", "added", "removed", "changed", "kept"].map(|key| change[key].as_u64());
    assert_eq!(counts, [2, 1, 1, 1, 1].map(Some), "{change}");
    assert_eq!(change["needs_restart"], serde_json::json!([]));
    assert!(answers(&lab, "192.0.2.1") && answers(&lab, OTHER));
    // A service that is no longer one is the kernel's again.
    let before = ask(&lab, "stats");
    assert!(!answers(&lab, "192.0.2.2"));
    let after = ask(&lab, "stats");
    let redirected = |stats: &serde_json::Value| stats["counters"]["xdp_redirected"].as_u64();
    assert_eq!(redirected(&before), redirected(&after));
    let status = ask(&lab, "status");
    assert_eq!(status["reloads"]["succeeded"], 1);
    assert_eq!(status["reloads"]["last"]["ok"], true);
    let balance = daemon.stop();
    balance.assert_balanced();
}

#[test]
fn files_with_problems_change_nothing_and_are_told() {
    let Some(lab) = lab() else { return };
    let mut daemon = lab.start("");
    let good = fs::read_to_string(lab.path("eam.yaml")).unwrap();
    let bad = format!(
        "{WITH_OTHER}  - {{ ipv4: 192.0.2.300, ipv6: '::1' }}\n  - {{ ipv4: 192.0.2.1 }}\n"
    );
    fs::write(lab.path("eam.yaml"), bad).unwrap();
    let problems = refusal(&lab, "reload");
    for line in [
        "eam.yaml:5:13: `192.0.2.300` is not an IPv4 address",
        "eam.yaml:5:32: `::1` can never be translated",
        "eam.yaml:6:5: the key `ipv6` is missing",
    ] {
        assert!(problems.contains(line), "{line}: {problems}");
        assert!(daemon.log().contains(line), "{line}: {}", daemon.log());
    }
    let status = ask(&lab, "status");
    assert_eq!(status["generation"]["number"], 1);
    assert_eq!(status["reloads"]["failed"], 1);
    assert_eq!(status["reloads"]["last"]["ok"], false);
    assert!(answers(&lab, "192.0.2.1") && !answers(&lab, OTHER));
    fs::write(lab.path("eam.yaml"), good).unwrap();
    assert_eq!(ask(&lab, "reload")["kept"], 3);
    daemon.stop();
}

#[test]
fn keys_change_or_are_named() {
    let Some(lab) = Lab::new() else { return };
    let mut daemon = lab.start("");
    let config = fs::read_to_string(lab.path("relay.yaml")).unwrap();
    let config = config.replace("2001:db8:46::/96", "2001:db8:48::/96")
        + "service_pools: [192.0.2.0/24]\nicmp: { own: { ipv4: 203.0.113.99 }, rate: 7 }\n";
    let config = config.replace("metrics: off }", "metrics: off, group: 0 }");
    fs::write(lab.path("relay.yaml"), config).unwrap();
    lab.server
        .add_route(&relay::lab::Route::to(net("2001:db8:48::/96")).via(crate::lab::SOUTH.into()))
        .unwrap();
    let change = ask(&lab, "reload");
    assert_eq!(
        change["needs_restart"],
        serde_json::json!(["control.group"])
    );
    // The new prefix is in force, both ways.
    assert_eq!(ping(&lab.client, SERVICE.into(), 20, INTERVAL).count, 20);
    assert_eq!(
        ping(&lab.server, ip("2001:db8:48::203.0.113.50"), 20, INTERVAL).count,
        20
    );
    assert_eq!(
        ping(&lab.server, ip("2001:db8:46::203.0.113.50"), 1, INTERVAL).count,
        0
    );
    daemon.stop();
}

#[test]
fn a_hangup_signal_reloads() {
    let Some(lab) = lab() else { return };
    let mut daemon = lab.start("");
    fs::write(lab.path("eam.yaml"), WITH_OTHER).unwrap();
    daemon.signal(Signal::HUP);
    daemon.await_line("generation 2 in force");
    assert!(answers(&lab, OTHER));
    daemon.stop();
}

#[test]
fn watched_files_reload_by_themselves() {
    let Some(lab) = lab() else { return };
    let mut daemon = lab.start("");
    let config = fs::read_to_string(lab.path("relay.yaml")).unwrap();
    let watching = config.replace("metrics: off }", "metrics: off, watch: on }");
    fs::write(lab.path("relay.yaml"), watching).unwrap();
    assert_eq!(ask(&lab, "reload")["needs_restart"], serde_json::json!([]));
    // By rename, as editors do, and broken first.
    for (text, line) in [
        (
            "eam: [banana]\n",
            "the reload was refused; generation 2 stays in force",
        ),
        (WITH_OTHER, "generation 3 in force"),
    ] {
        fs::write(lab.path("new.yaml"), text).unwrap();
        fs::rename(lab.path("new.yaml"), lab.path("eam.yaml")).unwrap();
        daemon.await_line(line);
    }
    assert!(answers(&lab, OTHER));
    // What is none of its files is nothing to it.
    fs::write(lab.path("other.yaml"), "x").unwrap();
    std::thread::sleep(Duration::from_millis(700));
    assert_eq!(ask(&lab, "status")["generation"]["number"], 3);
    daemon.stop();
}

#[test]
fn no_packet_is_lost_while_generations_change() {
    let Some(lab) = lab() else { return };
    let mut daemon = lab.start("service_pools: [192.0.2.0/26]");
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let echo = scope.spawn(|| {
            let answered = ping(&lab.client, SERVICE.into(), 1_000, Duration::from_millis(1)).count;
            is_over.store(true, Ordering::Relaxed);
            answered
        });
        let mut round = 0;
        while !is_over.load(Ordering::Relaxed) {
            // The claims around the service are cut differently each time.
            let pool = [
                "192.0.2.0/26",
                "192.0.2.0/24",
                "192.0.2.0/28",
                "192.0.2.1/32",
            ][round % 4];
            let mut eam = "eam:\n  - { ipv4: 192.0.2.1, ipv6: '2001:db8:12:34::1' }\n".to_owned();
            for host in 0..round % 7 {
                writeln!(
                    eam,
                    "  - {{ ipv4: 192.0.2.{}, ipv6: '2001:db8:99::{host}' }}",
                    host * 3 + 2
                )
                .unwrap();
            }
            fs::write(lab.path("eam.yaml"), eam).unwrap();
            let config = fs::read_to_string(lab.path("relay.yaml")).unwrap();
            let lines = config
                .lines()
                .map(|line| match line.starts_with("service_pools:") {
                    true => format!("service_pools: [{pool}]\n"),
                    false => format!("{line}\n"),
                });
            let config: String = lines.collect();
            fs::write(lab.path("relay.yaml"), config).unwrap();
            assert_eq!(ask(&lab, "reload")["generation"], round + 2);
            round += 1;
        }
        assert_eq!(echo.join().unwrap(), 1_000);
        assert!(round > 10, "{round} generations");
        println!("{round} generations");
    });
    let counters = daemon.stop();
    counters.assert_balanced();
    assert_eq!(counters.get("kernel_passed"), 0, "{counters:?}");
}

#[test]
fn mappings_come_and_go_at_runtime() {
    let Some(lab) = lab() else { return };
    let mut daemon = lab.start("");
    let change = ask(
        &lab,
        &format!("eam add {OTHER} 2001:db8:12:34::77 --name other"),
    );
    assert_eq!((&change["added"], &change["kept"]), (&1.into(), &3.into()));
    assert!(answers(&lab, OTHER));
    let runtime = ("192.0.2.77/32", "2001:db8:12:34::77/128", "runtime");
    let listed = mappings(&lab);
    assert_eq!(listed.len(), 4);
    assert!(listed[0].2.ends_with("eam.yaml:2:5"), "{listed:?}");
    let last = &listed[3];
    assert_eq!((last.0.as_str(), last.1.as_str(), last.2.as_str()), runtime);
    assert_eq!(ask(&lab, "status")["generation"]["runtime_mappings"], 1);
    let found = ask(&lab, &format!("eam get {OTHER}"));
    assert_eq!(found["becomes"], "2001:db8:12:34::77");
    assert_eq!(found["mapping"]["name"], "other");
    assert!(refusal(&lab, "eam get 198.51.100.1").contains("no mapping covers 198.51.100.1"));

    for (words, why) in [
        (
            "eam add 192.0.2.77 2001:db8::5",
            "192.0.2.77/32 is mapped already at runtime",
        ),
        (
            "eam add 192.0.2.9 2001:db8:12:34::1",
            "2001:db8:12:34::1/128 is mapped already at ",
        ),
        (
            "eam add 192.0.2.300 2001:db8::5",
            "`192.0.2.300` is not an IPv4 address",
        ),
        (
            "eam add 192.0.2.0/24 2001:db8::/121",
            "leaves 7 bits for the 8 suffix bits",
        ),
        ("eam del 192.0.2.78", "192.0.2.78/32 has no mapping"),
        (
            "eam del 192.0.2.17",
            "192.0.2.17/32 has no mapping of its own; it lies inside 192.0.2.16/28",
        ),
    ] {
        let problems = refusal(&lab, words);
        assert!(problems.contains(why), "{words}: {problems}");
    }
    let nested = ask(&lab, "eam add 192.0.2.20 2001:db8:77::1");
    let warning = nested["warnings"][0].as_str().unwrap();
    assert!(
        warning.contains("192.0.2.20/32 lies inside 192.0.2.16/28"),
        "{warning}"
    );

    assert_eq!(ask(&lab, &format!("eam del {OTHER}"))["removed"], 1);
    assert!(!answers(&lab, OTHER));
    // A reload goes back to the files.
    ask(&lab, "eam del 192.0.2.1");
    assert!(!answers(&lab, "192.0.2.1"));
    assert_eq!(ask(&lab, "reload")["added"], 1);
    assert!(answers(&lab, "192.0.2.1"));
    assert_eq!(mappings(&lab).len(), 3);
    daemon.stop();
}

#[test]
fn saved_mappings_survive_a_reload() {
    let Some(lab) = lab() else { return };
    let mut daemon = lab.start("");
    let file = lab.path("eam.yaml");
    let before = fs::read_to_string(&file).unwrap();
    ask(&lab, &format!("eam add {OTHER} 2001:db8:12:34::77 --save"));
    let added = format!("{before}  - {{ ipv4: \"{OTHER}\", ipv6: \"2001:db8:12:34::77\" }}\n");
    assert_eq!(fs::read_to_string(&file).unwrap(), added);
    assert!(
        mappings(&lab)[3].2.ends_with("eam.yaml:5:5"),
        "{:?}",
        mappings(&lab)
    );
    assert_eq!(ask(&lab, "reload")["kept"], 4);
    assert!(answers(&lab, OTHER));
    // What was taken away for now is still in the file.
    let change = ask(&lab, "eam del 192.0.2.2");
    let warning = change["warnings"][0].as_str().unwrap();
    assert!(
        warning.contains("eam.yaml:3:5; the next reload brings it back"),
        "{warning}"
    );
    let problems = refusal(&lab, "eam add 192.0.2.2 2001:db8:12:34::2 --save");
    assert!(
        problems.contains("is at ") && problems.contains("reload first"),
        "{problems}"
    );
    ask(&lab, "reload");
    ask(&lab, "eam del 192.0.2.2 --save");
    assert!(
        mappings(&lab)[2].2.ends_with("eam.yaml:4:5"),
        "{:?}",
        mappings(&lab)
    );
    ask(&lab, &format!("eam del {OTHER} --save"));
    let change = ask(&lab, "reload");
    assert_eq!((&change["kept"], &change["added"]), (&2.into(), &0.into()));
    assert_eq!(fs::read_to_string(&file).unwrap().lines().count(), 3);
    daemon.stop();
}

#[test]
fn many_reloads_take_no_memory() {
    let Some(lab) = lab() else { return };
    let mut daemon = lab.start("");
    let mut eam = "eam:\n".to_owned();
    for number in 0..2_000_u32 {
        let (high, low) = (number >> 8, number & 255);
        writeln!(
            eam,
            "  - {{ ipv4: 198.18.{high}.{low}, ipv6: '2001:db8:99::{number:x}', name: service }}"
        )
        .unwrap();
    }
    let files = [eam.clone(), eam.replace(":99::", ":98::")];
    let round = |count: usize| {
        for number in 0..count {
            fs::write(lab.path("eam.yaml"), &files[number % 2]).unwrap();
            assert_eq!(siit_relay(&lab, "reload").status.code(), Some(0));
        }
        daemon.memory()
    };
    let settled = round(20);
    let after = round(80);
    // A generation of this size takes some 800 KiB: one in ten that stayed would show.
    assert!(
        after < settled + 6 * 1024,
        "{settled} KiB, then {after} KiB"
    );
    daemon.stop();
}

/// As many mappings as the largest operators have: minutes in a debug build, so only on demand.
#[test]
#[ignore = "a million mappings; run in a release build: cargo test --release -p tests --test daemon -- --ignored million"]
fn a_million_mappings_in_five_seconds() {
    let Some(lab) = lab() else { return };
    let mut daemon = lab.start("");
    let write = |seed: u32| {
        let mut eam = "eam:\n  - { ipv4: 192.0.2.1, ipv6: '2001:db8:12:34::1' }\n".to_owned();
        for number in 0..1_000_000_u32 {
            // Spread, so that claims do not add up to shorter prefixes.
            let bits = 0x0a00_0000 | number << 1;
            let address = std::net::Ipv4Addr::from_bits(bits);
            writeln!(
                eam,
                "  - {{ ipv4: {address}, ipv6: '2001:db8:{seed:x}:{:x}::{:x}' }}",
                number >> 16,
                number & 0xffff
            )
            .unwrap();
        }
        fs::write(lab.path("eam.yaml"), eam).unwrap();
    };
    for (seed, what) in [
        (0x99, "all new"),
        (0x98, "all changed"),
        (0x98, "as it was"),
    ] {
        write(seed);
        let begin = Instant::now();
        let is_over = AtomicBool::new(false);
        let (change, echo) = std::thread::scope(|scope| {
            let echo = scope.spawn(|| {
                let mut count = (0, 0);
                while !is_over.load(Ordering::Relaxed) {
                    count.0 += 100;
                    count.1 += ping(&lab.client, SERVICE.into(), 100, INTERVAL).count;
                }
                count
            });
            let change = ask(&lab, "reload");
            is_over.store(true, Ordering::Relaxed);
            (change, echo.join().unwrap())
        });
        let took = begin.elapsed();
        println!(
            "{what}: {:?} s by its own account, {took:?} in all; peak {} KiB; pings {echo:?}; {change}",
            change["duration_seconds"],
            daemon.peak_memory()
        );
        assert!(change["duration_seconds"].as_f64().unwrap() < 5.0);
        assert_eq!(echo.0, echo.1);
    }
    assert!(daemon.peak_memory() < 1536 * 1024);
    eventually("memory is given back", Duration::from_secs(5), || {
        daemon.memory() < 1024 * 1024
    });
    daemon.stop();
}
