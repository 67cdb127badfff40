//! `siit-relay query`: what addresses become, and what happens to packets with them, in words and in packets.

use relay::offline::{Link, Offline};
use std::fs;
use std::net::IpAddr;
use std::process::{Command, Output};
use tests::packet::packet;
use tests::siit_relay;

const EAM: &str = r#"eam:
  - { ipv4: 192.0.2.1, ipv6: "2001:db8:12:34::1", name: web }
  - { ipv4: 192.0.2.16/28, ipv6: "2001:db8:cccc::/124" }
"#;

fn run(relay: &str, eam: &str, arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("relay.yaml"), relay).unwrap();
    fs::write(folder.path().join("eam.yaml"), eam).unwrap();
    Command::new(siit_relay())
        .args(arguments)
        .current_dir(folder.path())
        .output()
        .unwrap()
}

fn text(octets: &[u8]) -> String {
    String::from_utf8(octets.to_vec()).unwrap()
}

const QUERIED: &str = "prefix: 2001:db8:46::/96\ninterfaces: [{ name: lo }]\neam: eam.yaml\n\
    service_pools: [192.0.2.0/24]\nipv4_translatable: [198.51.100.0/24]\ndenylist4: [198.51.100.9, 203.0.113.66]\n\
    icmp: { own: { ipv4: 192.0.2.254, ipv6: '2001:db8:46::192.0.2.254' } }\n";

#[test]
fn queries() {
    let rows = [
        (
            "192.0.2.1",
            "becomes 2001:db8:12:34::1 by EAM \"web\" 192.0.2.1/32 <-> 2001:db8:12:34::1/128 (eam.yaml:2:5); as a destination: translated (RFC 7915, 4.1; out_v4_to_v6_packets); as a source: translated (RFC 7915, 4.1; out_v4_to_v6_packets)",
        ),
        (
            "192.0.2.20",
            "becomes 2001:db8:cccc::4 by EAM 192.0.2.16/28 <-> 2001:db8:cccc::/124 (eam.yaml:3:5); as a destination: translated (RFC 7915, 4.1; out_v4_to_v6_packets); as a source: translated (RFC 7915, 4.1; out_v4_to_v6_packets)",
        ),
        (
            "192.0.2.77",
            "becomes 2001:db8:46::c000:24d by RFC 6052 under 2001:db8:46::/96; as a destination: dropped: in a service pool without an EAM (RFC 7755, 2; drop_v4_to_v6_unmapped_service); as a source: translated (RFC 7915, 4.1; out_v4_to_v6_packets)",
        ),
        (
            "192.0.2.254",
            "becomes 2001:db8:46::c000:2fe by RFC 6052 under 2001:db8:46::/96; as a destination: left to the kernel: an address of the relay (RFC 7915, 4.6; pass_own_address); as a source: translated (RFC 7915, 4.1; out_v4_to_v6_packets)",
        ),
        (
            "198.51.100.7",
            "becomes 2001:db8:46::c633:6407 by RFC 6052 under 2001:db8:46::/96; as a destination: translated (RFC 7915, 4.1; out_v4_to_v6_packets); as a source: translated (RFC 7915, 4.1; out_v4_to_v6_packets)",
        ),
        (
            "198.51.100.9",
            "is not translated: denylist4 forbids to translate it by RFC 6052; as a destination: left to the kernel: not ours (RFC 7915, 4.6; pass_not_ours); as a source: dropped (denylist4; drop_v4_to_v6_denied)",
        ),
        (
            "203.0.113.50",
            "becomes 2001:db8:46::cb00:7132 by RFC 6052 under 2001:db8:46::/96; as a destination: left to the kernel: not ours (RFC 7915, 4.6; pass_not_ours); as a source: translated (RFC 7915, 4.1; out_v4_to_v6_packets)",
        ),
        (
            "127.0.0.1",
            "is not translated: no packet from or to it is forwarded (RFC 1812, 5.3.7); as a destination: left to the kernel: not ours (RFC 7915, 4.6; pass_not_ours); as a source: dropped (RFC 7915, 4.1; drop_v4_to_v6_illegal_source)",
        ),
        (
            "2001:db8:cccc::7",
            "becomes 192.0.2.23 by EAM 192.0.2.16/28 <-> 2001:db8:cccc::/124 (eam.yaml:3:5); as a destination: left to the kernel: native IPv6 (RFC 7915, 5.6; pass_not_ours); as a source: translated (RFC 7915, 5.1; out_v6_to_v4_packets)",
        ),
        (
            "2001:db8:46::cb00:7132",
            "becomes 203.0.113.50 by RFC 6052 under 2001:db8:46::/96; as a destination: translated (RFC 7915, 5.1; out_v6_to_v4_packets); as a source: translated (RFC 7915, 5.1; out_v6_to_v4_packets)",
        ),
        (
            "2001:db8:46::c000:201",
            "becomes 192.0.2.1 by RFC 6052 under 2001:db8:46::/96; as a destination: translated and straight back, to 2001:db8:12:34::1 (RFC 7757, 4.2.2; hairpin_packets); as a source: translated (RFC 7915, 5.1; out_v6_to_v4_packets)",
        ),
        (
            "2001:db8:46::c000:2fe",
            "becomes 192.0.2.254 by RFC 6052 under 2001:db8:46::/96; as a destination: left to the kernel: an address of the relay (RFC 7915, 5.6; pass_own_address); as a source: translated (RFC 7915, 5.1; out_v6_to_v4_packets)",
        ),
        (
            "2001:db8:46::cb00:7142",
            "is not translated: denylist4 forbids to translate it by RFC 6052; as a destination: dropped (denylist4; drop_v6_to_v4_denied); as a source: dropped (denylist4; drop_v6_to_v4_denied)",
        ),
        (
            "2001:db8:46::c633:6407",
            "becomes 198.51.100.7 by RFC 6052 under 2001:db8:46::/96; as a destination: left to the kernel: the service itself has the address (RFC 7915, 5.6; pass_not_ours); as a source: translated (RFC 7915, 5.1; out_v6_to_v4_packets)",
        ),
        (
            "2001:db8:46::7f00:1",
            "is not translated: it stands for an IPv4 address that is never forwarded (RFC 1812, 5.3.7); as a destination: dropped (RFC 1812, 5.3.7; drop_v6_to_v4_illegal_destination); as a source: dropped (RFC 7915, 5.1; drop_v6_to_v4_illegal_source)",
        ),
        (
            "2001:db8:99::1",
            "is not translated: no EAM and no translation prefix covers it; as a destination: left to the kernel: native IPv6 (RFC 7915, 5.6; pass_not_ours); as a source: dropped (RFC 7915, 5.1; drop_v6_to_v4_unmapped_source)",
        ),
    ];
    let addresses: Vec<&str> = rows.iter().map(|(address, _)| *address).collect();
    let output = run(
        QUERIED,
        EAM,
        &[&["query", "--config", "relay.yaml"], &addresses[..]].concat(),
    );
    let expected: Vec<String> = rows
        .iter()
        .map(|(address, answer)| format!("{address} {answer}"))
        .collect();
    assert_eq!(text(&output.stdout).lines().collect::<Vec<_>>(), expected);
    assert_eq!(output.status.code(), Some(1), "some are not translated");
    let output = run(
        QUERIED,
        EAM,
        &[
            "query",
            "--config",
            "relay.yaml",
            "192.0.2.1",
            "203.0.113.50",
        ],
    );
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn queries_in_json() {
    let output = run(
        QUERIED,
        EAM,
        &[
            "query",
            "--config",
            "relay.yaml",
            "--json",
            "192.0.2.1",
            "203.0.113.50",
            "::1",
        ],
    );
    let answers: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let expected = serde_json::json!([
        {
            "address": "192.0.2.1",
            "as_destination": "translated",
            "becomes": "2001:db8:12:34::1",
            "clause": "RFC 7757, 3.3.1",
            "eam": { "ipv4": "192.0.2.1/32", "ipv6": "2001:db8:12:34::1/128", "name": "web", "place": "eam.yaml:2:5" },
            "from": { "fate": "translated", "clause": "RFC 7915, 4.1", "counter": "out_v4_to_v6_packets" },
            "rule": "eam",
            "to": { "fate": "translated", "clause": "RFC 7915, 4.1", "counter": "out_v4_to_v6_packets" },
        },
        {
            "address": "203.0.113.50",
            "as_destination": "left to the kernel: not ours",
            "becomes": "2001:db8:46::cb00:7132",
            "clause": "RFC 6052, 2.3",
            "from": { "fate": "translated", "clause": "RFC 7915, 4.1", "counter": "out_v4_to_v6_packets" },
            "prefix": "2001:db8:46::/96",
            "rule": "rfc6052",
            "to": { "fate": "left to the kernel: not ours", "clause": "RFC 7915, 4.6", "counter": "pass_not_ours" },
        },
        {
            "address": "::1",
            "as_destination": "left to the kernel: native IPv6",
            "becomes": null,
            "clause": null,
            "from": { "fate": "dropped", "clause": "RFC 7915, 5.1", "counter": "drop_v6_to_v4_illegal_source" },
            "rule": null,
            "to": { "fate": "left to the kernel: native IPv6", "clause": "RFC 7915, 5.6", "counter": "pass_not_ours" },
            "why": "no packet from it is forwarded (RFC 7915, 5.1)",
        },
    ]);
    assert_eq!(answers, expected);
    assert_eq!(output.status.code(), Some(1));
}

/// The counters that a query names are those that packets move, whatever `hairpin` says.
#[test]
fn queries_tell_what_packets_do() {
    let (service, client) = (
        ["192.0.2.1", "2001:db8:12:34::1"],
        ["203.0.113.50", "2001:db8:46::203.0.113.50"],
    );
    let addresses = [
        "192.0.2.1",
        "192.0.2.20",
        "192.0.2.77",
        "192.0.2.254",
        "198.51.100.7",
        "198.51.100.9",
        "203.0.113.50",
        "203.0.113.66",
        "127.0.0.1",
        "224.0.0.5",
        "2001:db8:12:34::1",
        "2001:db8:cccc::7",
        "2001:db8:46::203.0.113.50",
        "2001:db8:46::192.0.2.1",
        "2001:db8:46::192.0.2.77",
        "2001:db8:46::198.51.100.7",
        "2001:db8:46::198.51.100.9",
        "2001:db8:46::192.0.2.254",
        "2001:db8:46::203.0.113.66",
        "2001:db8:46::127.0.0.1",
        "2001:db8:99::1",
        "fe80::1",
    ];
    for (prefix, hairpin) in [
        ("2001:db8:46::/96", "intrinsic"),
        ("2001:db8:46::/96", "simple"),
        ("2001:db8:46::/96", "off"),
        ("64:ff9b::/96", "intrinsic"),
    ] {
        let relay = QUERIED.replace("2001:db8:46::/96", prefix);
        let relay = format!("{relay}translation: {{ hairpin: {hairpin} }}\n");
        let arguments = [
            &["query", "--config", "relay.yaml", "--json"],
            &addresses[..],
        ]
        .concat();
        let output = run(&relay, EAM, &arguments);
        let answers: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let relay = relay.replace("interfaces: [{ name: lo }]\neam: eam.yaml\n", "");
        let (config, tables) = tests::case::configure(&relay, EAM);
        let mut relay = Offline::new(&config, tables);
        for (address, answer) in addresses.iter().zip(answers.as_array().unwrap()) {
            let family = usize::from(address.contains(':'));
            // From IPv4, packets go to a service; from IPv6, to a client that lies under the prefix.
            let mut sender: IpAddr = [client, service][family][family].parse().unwrap();
            let mut receiver: IpAddr = [service, client][family][family].parse().unwrap();
            if prefix.starts_with("64:") && family == 1 {
                receiver = "64:ff9b::8.8.8.8".parse().unwrap();
            }
            if prefix.starts_with("64:") && family == 0 {
                sender = "8.8.8.8".parse().unwrap();
            }
            let queried: IpAddr = address.parse().unwrap();
            for (key, packet) in [
                ("to", packet(sender, queried, 17, b"data")),
                ("from", packet(queried, receiver, 17, b"data")),
            ] {
                let account = relay.account(Link::Raw, &packet);
                let moved: Vec<String> = account
                    .moved
                    .iter()
                    .map(|(name, _)| name.to_string())
                    .collect();
                let named = answer[key]["counter"].as_str().unwrap();
                assert!(
                    moved.iter().any(|name| name == named),
                    "{prefix}, {hairpin}: {key} {address}: {answer:#}\nmoved {moved:?}"
                );
                let is_hairpinned = moved.iter().any(|name| name == "hairpin_packets");
                assert_eq!(is_hairpinned, named == "hairpin_packets");
            }
        }
    }
}

/// Where sources are not translated by their EAM, a query says so.
#[test]
fn queries_about_sources_with_simple_hairpinning() {
    let relay = format!("{QUERIED}translation: {{ hairpin: simple }}\n");
    let output = run(
        &relay,
        EAM,
        &["query", "--config", "relay.yaml", "192.0.2.1"],
    );
    let expected = "192.0.2.1 becomes 2001:db8:12:34::1 by EAM \"web\" 192.0.2.1/32 <-> 2001:db8:12:34::1/128 (eam.yaml:2:5); \
        as a destination: translated (RFC 7915, 4.1; out_v4_to_v6_packets); \
        as a source: translated to 2001:db8:46::c000:201 by RFC 6052 under 2001:db8:46::/96, for `hairpin` is `simple` \
        (RFC 7757, 4.2.1; out_v4_to_v6_packets)\n";
    assert_eq!(text(&output.stdout), expected);
}

#[test]
fn a_query_needs_a_good_configuration() {
    let output = run(
        &format!("{QUERIED}role: edge\n"),
        "",
        &["query", "--config", "relay.yaml", "192.0.2.1"],
    );
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    assert!(text(&output.stderr).contains("`role`: `edge`"));
}
