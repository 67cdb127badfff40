//! How a report looks.

use std::path::PathBuf;

use super::text::{WIDTH, wrap};
use super::*;
use crate::demo::lab::{CLIENT_V4, CLIENT_V6, SERVICE_V4, SERVICE_V6};
use crate::demo::packet::Kind;
use crate::demo::translation::Translation;

fn translation() -> Translation {
    let sent = Packet {
        source: CLIENT_V4.into(),
        destination: SERVICE_V4.into(),
        hops: 64,
        kind: Kind::EchoRequest,
        numbers: [7, 1],
        payload: 17,
        is_sound: true,
    };
    let received = Packet {
        source: CLIENT_V6.into(),
        destination: SERVICE_V6.into(),
        hops: 63,
        is_sound: false,
        ..sent.clone()
    };
    Translation { sent, received }
}

fn report() -> Report {
    let good = Ok("10 of 10 answered".to_owned().into());
    let why = "no word of this reason may be lost ".repeat(4);
    Report {
        translations: vec![translation()],
        checks: vec![
            Check {
                key: "ping",
                title: "ping, client to server",
                outcome: good,
            },
            Check {
                key: "udp",
                title: "UDP",
                outcome: Err(why),
            },
        ],
        seconds: 1.25,
        relay_log: vec!["INFO translating".to_owned()],
        kept: None,
    }
}

fn text(report: &Report, has_colours: bool) -> String {
    let mut output = Vec::new();
    report
        .write_text(Style { has_colours }, &mut output)
        .unwrap();
    String::from_utf8(output).unwrap()
}

#[test]
fn packets_stand_below_each_other() {
    let text = text(&report(), false);
    for line in [
        "  ICMP echo request, identifier 7, sequence number 1, 17 octets",
        "    203.0.113.50 -> 192.0.2.1                        ICMP type 8      TTL 64         checksum ok",
        "    2001:db8:46::203.0.113.50 -> 2001:db8:12:34::1   ICMPv6 type 128  hop limit 63   checksum WRONG",
    ] {
        assert!(text.lines().any(|other| other == line), "{line}\n{text}");
    }
}

#[test]
fn results_stand_in_columns_and_long_reasons_are_wrapped() {
    let text = text(&report(), false);
    let good = text.lines().find(|line| line.contains("ping")).unwrap();
    let bad = text.lines().find(|line| line.contains("UDP")).unwrap();
    assert!(
        good.ends_with("  ok") && bad.ends_with("  FAILED"),
        "{text}"
    );
    assert_eq!(good.find("ok"), bad.find("FAILED"));
    let words = text.split_whitespace();
    assert_eq!(words.filter(|word| *word == "reason").count(), 4, "{text}");
    assert!(
        text.lines().all(|line| line.chars().count() <= WIDTH),
        "{text}"
    );
    assert!(
        text.contains("\n1 of 2 checks failed; it took 1.2 s.\n"),
        "{text}"
    );
    assert!(text.contains("  INFO translating\nWith --keep"), "{text}");
}

#[test]
fn colours_change_nothing_but_colours() {
    let (plain, mut painted) = (text(&report(), false), text(&report(), true));
    assert!(!plain.contains('\x1b'));
    for code in [0, 1, 2, 31, 32] {
        painted = painted.replace(&format!("\x1b[{code}m"), "");
    }
    assert_eq!(painted, plain);
}

#[test]
fn what_is_kept_can_be_found_and_removed() {
    let kept = Kept {
        name: "a".to_owned(),
        relay_pid: 4711,
        directory: PathBuf::from("/tmp/a"),
    };
    let report = Report {
        kept: Some(kept),
        ..report()
    };
    let text = text(&report, false);
    assert!(text.contains("kill 4711; rm -r /tmp/a"), "{text}");
    for part in ["client", "relay", "server"] {
        assert!(
            text.contains(&format!("--net=/run/netns/a-{part}\n")),
            "{text}"
        );
    }
    assert!(!text.contains("With --keep"), "{text}");
    let json = report.to_json();
    assert_eq!(json["kept"]["relay_pid"], 4711);
    assert_eq!(json["ok"], false);
    assert_eq!(json["checks"][0]["ok"], true);
    assert_eq!(json["packets"][0]["received"]["checksums_ok"], false);
}

#[test]
fn lines_break_between_words() {
    assert_eq!(wrap("", 5), [""]);
    assert_eq!(wrap("one two three", 7), ["one two", "three"]);
    assert_eq!(wrap("unbreakable a b", 3), ["unbreakable", "a b"]);
}
