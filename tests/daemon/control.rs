//! The control socket and the metrics of a running relay: what operators and machines are told.

use crate::daemon::Daemon;
use crate::lab::{Lab, SERVICE, eventually};
use crate::ping::ping;
use rustix::process::Signal;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

const INTERVAL: Duration = Duration::from_millis(2);

/// Runs `siit-relay` with words that are separated by spaces, at the relay of a lab.
pub(crate) fn siit_relay(lab: &Lab, words: &str) -> Output {
    let mut command = Command::new(tests::siit_relay());
    command
        .args(words.split(' '))
        .arg("--socket")
        .arg(lab.socket());
    command.output().unwrap()
}

/// Asks the relay of a lab, and returns the result of its answer.
pub(crate) fn ask(lab: &Lab, words: &str) -> Value {
    let output = siit_relay(lab, &format!("{words} --json"));
    let answer: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{words}: {error}: {output:?}"));
    assert_eq!(output.status.code(), Some(0), "{words}: {answer}");
    assert_eq!(
        (&answer["version"], &answer["ok"]),
        (&1.into(), &true.into())
    );
    answer["result"].clone()
}

/// Asks for what the relay refuses, and returns the problems.
pub(crate) fn refusal(lab: &Lab, words: &str) -> String {
    let output = siit_relay(lab, words);
    assert_eq!(output.status.code(), Some(1), "{words}: {output:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// Lists the mappings of the relay of a lab: IPv4, IPv6, source.
pub(crate) fn mappings(lab: &Lab) -> Vec<(String, String, String)> {
    let output = siit_relay(lab, "eam list --json");
    let text = String::from_utf8(output.stdout).unwrap();
    let row = |line: &str| {
        let row: Value = serde_json::from_str(line).unwrap();
        let text = |key: &str| row[key].as_str().unwrap().to_owned();
        (text("ipv4"), text("ipv6"), text("source"))
    };
    text.lines().map(row).collect()
}

/// Gets a page of the relay of a lab: status and body.
pub(crate) fn get(lab: &Lab, path: &str) -> (u16, String) {
    let (head, body) = get_as(lab, path, "");
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body)
}

/// Gets a page of the relay of a lab, with more headers, each with its end of line: the head of the answer and the body.
pub(crate) fn get_as(lab: &Lab, path: &str, headers: &str) -> (String, String) {
    let exchange = || {
        let mut stream = TcpStream::connect("203.0.113.1:9469")?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: relay\r\n{headers}\r\n"
        )?;
        let mut response = String::new();
        stream.read_to_string(&mut response).map(|_| response)
    };
    let response = lab.relay.run_in(exchange).unwrap().unwrap();
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

pub(crate) fn start_with_metrics(lab: &Lab) -> Daemon {
    lab.start(&format!(
        "control: {{ socket: {:?}, metrics: '203.0.113.1:9469' }}",
        lab.socket()
    ))
}

#[test]
fn status_and_stats_tell_what_happens() {
    let Some(lab) = Lab::new() else { return };
    let mut daemon = lab.start("");
    let status = ask(&lab, "status");
    assert_eq!(status["translating"], true);
    assert_eq!(status["draining"], false);
    assert_eq!(status["generation"]["number"], 1);
    assert_eq!(status["generation"]["mappings"], 3);
    assert_eq!(status["workers"], 1);
    assert_eq!(status["reloads"]["last"], Value::Null);
    let interfaces = status["interfaces"].as_array().unwrap();
    let names: Vec<_> = interfaces
        .iter()
        .map(|interface| &interface["name"])
        .collect();
    assert_eq!(names, ["north", "south"]);
    assert_eq!(interfaces[1]["mtu"], 1520);
    assert_eq!(interfaces[0]["up"], true);
    assert_eq!(interfaces[0]["xdp"], "native");
    assert_eq!(interfaces[0]["zero_copy"], false);
    assert_eq!(interfaces[0]["queues"], serde_json::json!([0]));

    assert_eq!(ping(&lab.client, SERVICE.into(), 20, INTERVAL).count, 20);
    lab.relay_ip("link set dev south mtu 1400");
    eventually("all is counted", Duration::from_secs(2), || {
        let stats = ask(&lab, "stats");
        let counter = |name: &str| stats["counters"][name].as_u64().unwrap();
        let queue = |at: usize, name: &str| stats["queues"][at]["counters"][name].as_u64().unwrap();
        counter("out_v4_to_v6_packets") >= 20
            && counter("out_v6_to_v4_packets") >= 20
            && queue(0, "received_frames") + queue(1, "received_frames")
                == counter("received_frames")
            && stats["queues"][0]["interface"] == "north"
            && ask(&lab, "status")["interfaces"][1]["mtu"] == 1400
    });
    for (words, expected) in [
        ("status", "generation 1: 3 mappings, in force for "),
        ("stats", "\nout_v4_to_v6_packets "),
        ("stats --all", "\ndrop_v4_to_v6_source_route 0\n"),
        ("top --interval 0.1 --count 1", "IPv4 to IPv6"),
        ("top --interval 0.1 --count 1 --json", "{\"rates\":{"),
    ] {
        let output = siit_relay(&lab, words);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains(expected), "{words}: {text}");
        assert_eq!(output.status.code(), Some(0));
    }
    // What is told while it runs is what is told in the end.
    daemon.stop().assert_balanced();
    let output = siit_relay(&lab, "status");
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("no relay is listening"), "{error}");
}

#[test]
fn counters_are_told_under_load_too() {
    let Some(lab) = Lab::new() else { return };
    let mut daemon = lab.start("");
    std::thread::scope(|scope| {
        let flood = scope.spawn(|| ping(&lab.client, SERVICE.into(), 2_000, Duration::ZERO));
        let mut last = 0;
        eventually("counters move", Duration::from_secs(5), || {
            last = ask(&lab, "stats")["counters"]["out_v4_to_v6_packets"]
                .as_u64()
                .unwrap();
            last > 500
        });
        flood.join().unwrap();
    });
    daemon.stop();
}

#[test]
fn the_socket_is_spoken_on_line_by_line() {
    let Some(lab) = Lab::new() else { return };
    let mut daemon = lab.start("");
    let mut stream = UnixStream::connect(lab.socket()).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut talk = |request: &str| {
        stream.write_all(request.as_bytes()).unwrap();
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        line
    };
    let answer = talk("{\"version\":1,\"command\":\"status\"}\n");
    assert!(
        answer.starts_with("{\"version\":1,\"ok\":true,\"result\":{"),
        "{answer}"
    );
    for (request, error) in [
        (
            "{\"version\":2,\"command\":\"status\"}\n",
            "version 2 is not spoken here",
        ),
        (
            "{\"version\":1,\"command\":\"stat\"}\n",
            "unknown variant `stat`",
        ),
        ("banana\n", "not a line of JSON"),
    ] {
        let answer = talk(request);
        assert!(
            answer.starts_with("{\"version\":1,\"ok\":false,\"error\":\""),
            "{answer}"
        );
        assert!(answer.contains(error), "{answer}");
    }
    // The connection is as good as before.
    assert!(talk("{\"version\":1,\"command\":\"drain\"}\n").contains("\"draining\":true"));
    let endless = "x".repeat(70_000);
    let _ = stream.write_all(endless.as_bytes());
    let mut line = String::new();
    let _ = reader.read_line(&mut line);
    assert!(line.is_empty() || line.contains("at most"), "{line}");
    assert_eq!(ping(&lab.client, SERVICE.into(), 5, INTERVAL).count, 5);
    daemon.stop();
}

#[test]
fn clients_that_do_nothing_hold_nobody_up() {
    let Some(lab) = Lab::new() else { return };
    let mut daemon = lab.start("");
    // One that never asks, and one that asks for everything and never reads.
    let silent: Vec<UnixStream> = (0..8)
        .map(|_| UnixStream::connect(lab.socket()).unwrap())
        .collect();
    let mut deaf = UnixStream::connect(lab.socket()).unwrap();
    for _ in 0..2_000 {
        let request = b"{\"version\":1,\"command\":\"eam-list\"}\n";
        deaf.set_write_timeout(Some(Duration::from_millis(50)))
            .unwrap();
        if deaf.write_all(request).is_err() {
            break;
        }
    }
    assert_eq!(ask(&lab, "status")["translating"], true);
    assert_eq!(ask(&lab, "reload")["generation"], 2);
    assert_eq!(ping(&lab.client, SERVICE.into(), 20, INTERVAL).count, 20);
    drop((silent, deaf));
    daemon.stop();
}

#[test]
fn a_dead_relays_socket_is_replaced_and_a_live_ones_refused() {
    let Some(lab) = Lab::new() else { return };
    let mut first = lab.start("");
    first.signal(Signal::KILL);
    first.wait();
    assert!(lab.socket().exists());
    let mut second = lab.start("");
    assert_eq!(ask(&lab, "status")["translating"], true);
    // Other interfaces, so that only the socket is in the way.
    lab.relay_ip("link add west type veth peer name west-peer");
    lab.relay_ip("link set dev west up");
    let config = lab.path("other.yaml");
    let text = format!(
        "prefix: 2001:db8:47::/96\ninterfaces: [{{ name: west }}]\npin: off\ncontrol: {{ socket: {:?}, metrics: off }}\n",
        lab.socket()
    );
    std::fs::write(&config, text).unwrap();
    let mut third = lab.launch(&config);
    assert_eq!(third.wait().code(), Some(1), "{}", third.log());
    assert!(
        third.log().contains("another relay is listening on it"),
        "{}",
        third.log()
    );
    assert_eq!(ask(&lab, "status")["translating"], true);
    second.stop();
    assert!(!lab.socket().exists());
}

#[test]
fn strangers_are_turned_away() {
    let Some(lab) = Lab::new() else { return };
    if !Path::new("/usr/bin/setpriv").exists() {
        tests::skip("setpriv is not installed");
        return;
    }
    // Everybody may reach the file, so that only the relay can refuse.
    let group = "nogroup";
    let mut daemon = lab.start(&format!(
        "control: {{ socket: {:?}, group: {group}, metrics: off }}",
        lab.socket()
    ));
    let mode = |path: &Path, mode: u32| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let copy = lab.path("siit-relay");
    std::fs::copy(tests::siit_relay(), &copy).unwrap();
    mode(lab.socket().parent().unwrap(), 0o755);
    let ask_as = |user: &str| {
        let mut command = Command::new("setpriv");
        command
            .args(user.split(' '))
            .arg(&copy)
            .args(["status", "--socket"])
            .arg(lab.socket());
        let output = command.output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let stranger = "--reuid 4711 --regid 4711 --clear-groups";
    let (code, error) = ask_as(stranger);
    assert_eq!(code, Some(1));
    assert!(error.contains("permission denied"), "{error}");
    mode(&lab.socket(), 0o666);
    let (code, error) = ask_as(stranger);
    assert_eq!(code, Some(1));
    assert!(error.contains("you may not use this socket"), "{error}");
    mode(&lab.socket(), 0o660);
    for member in [
        "--reuid 4711 --regid 65534 --clear-groups",
        "--reuid 4711 --regid 4711 --groups 65534",
    ] {
        assert_eq!(ask_as(member), (Some(0), String::new()), "{member}");
    }
    daemon.stop();
}

#[test]
fn draining_shows_and_changes_nothing_else() {
    let Some(lab) = Lab::new() else { return };
    let mut daemon = start_with_metrics(&lab);
    daemon.await_line("metrics at");
    assert_eq!(get(&lab, "/healthz"), (200, "translating\n".to_owned()));
    assert_eq!(get(&lab, "/readyz"), (200, "ready\n".to_owned()));
    ask(&lab, "drain");
    assert_eq!(get(&lab, "/readyz"), (503, "draining\n".to_owned()));
    assert_eq!(get(&lab, "/healthz").0, 200);
    assert_eq!(ask(&lab, "status")["draining"], true);
    assert_eq!(ping(&lab.client, SERVICE.into(), 20, INTERVAL).count, 20);
    ask(&lab, "undrain");
    assert_eq!(get(&lab, "/readyz").0, 200);
    assert_eq!(get(&lab, "/nowhere").0, 404);
    daemon.stop();
}
