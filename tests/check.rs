//! `siit-relay check`: broken files, each with the place and the words that an operator gets to see.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use tests::siit_relay;

const GOOD: &str = "prefix: 2001:db8:46::/96\ninterfaces: [{ name: lo }]\n";

/// A file and what is said about it: `line:column: message`, where the message may be cut off at its end.
type Row = (&'static str, &'static [&'static str]);

/// Files which replace the good one.
const WHOLE_FILES: &[Row] = &[
    (
        "",
        &["1:1: the file is empty; `prefix` and `interfaces` are needed at least"],
    ),
    ("# a comment\n", &["1:1: the file is empty"]),
    ("null\n", &["1:1: the file is empty"]),
    (
        "relay\n",
        &["1:1: expected a mapping with `role`, `prefix`, `eam`, "],
    ),
    (
        "- prefix\n",
        &["1:1: expected a mapping with `role`, `prefix`, `eam`, "],
    ),
    (
        "role: border\n",
        &[
            "1:1: the key `prefix` is missing",
            "1:1: the key `interfaces` is missing",
        ],
    ),
    (
        "interfaces: [{ name: lo }]\n",
        &["1:1: the key `prefix` is missing"],
    ),
    (
        "prefix: 2001:db8:46::/96\n",
        &["1:1: the key `interfaces` is missing"],
    ),
    (
        "prefx: 2001:db8:46::/96\ninterfaces: [{ name: lo }]\n",
        &["1:1: unknown key `prefx`; did you mean `prefix`?"],
    ),
    (
        "prefix:\ninterfaces: [{ name: lo }]\n",
        &["1:1: `prefix` has no value"],
    ),
    // Prefixes.
    (
        "prefix: 2001:db8:46::/95\ninterfaces: [{ name: lo }]\n",
        &[
            "1:9: `prefix`: `2001:db8:46::/95`: a translation prefix has a length of 32, 40, 48, 56, 64 or 96 (RFC 6052",
        ],
    ),
    (
        "prefix: '2001:db8:46::'\ninterfaces: [{ name: lo }]\n",
        &["1:9: `prefix`: `2001:db8:46::`: a translation prefix has a length of"],
    ),
    (
        "prefix: 2001:db8:46::1/96\ninterfaces: [{ name: lo }]\n",
        &["1:9: `prefix`: 2001:db8:46::1/96 has host bits set; write 2001:db8:46::/96"],
    ),
    (
        "prefix: 2001:db8:46:0:ff00::/96\ninterfaces: [{ name: lo }]\n",
        &[
            "1:9: `prefix`: `2001:db8:46:0:ff00::/96`: bits 64 to 71 of a /96 translation prefix must be zero",
        ],
    ),
    (
        "prefix: 2001:db8:46::/129\ninterfaces: [{ name: lo }]\n",
        &["1:9: `prefix`: `2001:db8:46::/129`: the prefix length must be a number from 0 to 128"],
    ),
    (
        "prefix: 192.0.2.0/24\ninterfaces: [{ name: lo }]\n",
        &["1:9: `prefix`: `192.0.2.0/24` is IPv4, but IPv6 is wanted here"],
    ),
    (
        "prefix: ff02::/32\ninterfaces: [{ name: lo }]\n",
        &["1:9: `prefix`: `ff02::/32`: a translation prefix must be of unicast addresses"],
    ),
    (
        "prefix: banana\ninterfaces: [{ name: lo }]\n",
        &["1:9: `prefix`: `banana` is not an IPv6 address or prefix"],
    ),
    (
        "prefix: [2001:db8:46::/96]\ninterfaces: [{ name: lo }]\n",
        &["1:9: `prefix` must be a single value, found a list"],
    ),
    (
        "prefix: \"\\e[31m\"\ninterfaces: [{ name: lo }]\n",
        &["1:9: `prefix`: `\\u{1b}[31m` is not an IPv6 address or prefix"],
    ),
    // Interfaces.
    (
        "prefix: 2001:db8:46::/96\ninterfaces:\n",
        &["2:1: `interfaces` must be a list of mappings with `name`, found nothing"],
    ),
    (
        "prefix: 2001:db8:46::/96\ninterfaces: eth0\n",
        &["2:13: `interfaces` must be a list of mappings with `name`, found `eth0`"],
    ),
    (
        "prefix: 2001:db8:46::/96\ninterfaces: []\n",
        &["2:13: `interfaces` must be a list of mappings with `name`, found an empty list"],
    ),
    (
        "prefix: 2001:db8:46::/96\ninterfaces: [eth0]\n",
        &["2:14: expected a mapping with `name`, `xdp`, `queues`, `zero_copy`, found `eth0`"],
    ),
    (
        "prefix: 2001:db8:46::/96\ninterfaces:\n  - xdp: auto\n",
        &["3:5: the key `interfaces.name` is missing"],
    ),
    (
        "prefix: 2001:db8:46::/96\ninterfaces:\n  - name: lo\n    mtu: 1500\n",
        &["4:5: unknown key `interfaces.mtu`; known are `name`, `xdp`, `queues`, `zero_copy`"],
    ),
    (
        "prefix: 2001:db8:46::/96\ninterfaces: [{ name: a-name-that-is-too-long }]\n",
        &[
            "2:22: `interfaces.name`: `a-name-that-is-too-long`: an interface name has 1 to 15 octets",
        ],
    ),
    (
        "prefix: 2001:db8:46::/96\ninterfaces: [{ name: eth0/1 }, { name: '' }, { name: .. }]\n",
        &[
            "2:22: `interfaces.name`: `eth0/1`: an interface name",
            "2:40: `interfaces.name`: ``: an interface name",
            "2:54: `interfaces.name`: `..`: an interface name",
        ],
    ),
    (
        "prefix: 2001:db8:46::/96\ninterfaces: [{ name: lo }, { name: lo }]\n",
        &["2:36: interface `lo` is listed twice; the first is at relay.yaml:2:22"],
    ),
    (
        "prefix: 2001:db8:46::/96\ninterfaces: [{ name: lo, xdp: offload, zero_copy: maybe }]\n",
        &[
            "2:31: `interfaces.xdp`: `offload`: must be one of `auto`, `native`, `generic`",
            "2:51: `interfaces.zero_copy`: `maybe`: must be one of `auto`, `on`, `off`",
        ],
    ),
    (
        "prefix: 2001:db8:46::/96\ninterfaces: [{ name: lo, queues: [0, -1, x, 4096, 1, 1] }]\n",
        &[
            "2:38: `interfaces.queues`: `-1`: must be a number from 0 to 4095",
            "2:42: `interfaces.queues`: `x`: must be a number from 0 to 4095",
            "2:45: `interfaces.queues`: `4096`: must be a number from 0 to 4095",
            "2:54: `interfaces.queues`: `1`: is listed twice",
        ],
    ),
    (
        "prefix: 2001:db8:46::/96\ninterfaces: [{ name: lo, queues: 0 }, { name: eth0, queues: [] }]\n",
        &[
            "2:34: `interfaces.queues` must be `all` or a list of numbers, found `0`",
            "2:61: `interfaces.queues` must be `all` or a list of numbers, found an empty list",
        ],
    ),
    // YAML.
    (
        "prefix: 2001:db8:46::/96\ninterfaces:\n\t- name: lo\n",
        &["3:2: tabs disallowed"],
    ),
    (
        "prefix: 2001:db8:46::/96\ninterfaces: [{ name: lo }\n",
        &["2:13: unclosed bracket '['"],
    ),
    ("prefix: \"2001:db8\n", &["1:9: unclosed quote"]),
    (
        "prefix: 2001:db8:46::\ninterfaces: [{ name: lo }]\n",
        &[
            "1:21: mapping values are not allowed in this context; an address which ends in `::` must stand in quotes",
        ],
    ),
    (
        "prefix: 2001:db8:46::/96\ninterfaces: [{ name: lo }]\n---\nprefix: 2001:db8:46::/96\n",
        &["4:1: a second YAML document; the configuration is one"],
    ),
    (
        "prefix: *nothing\ninterfaces: [{ name: lo }]\n",
        &["1:9: reference to unknown value"],
    ),
    (
        "prefix: [[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]\n",
        &["1:25: recursion limit exceeded"],
    ),
];

/// What is added to the good file, from its third line on.
const ADDITIONS: &[Row] = &[
    (
        "prefix: 2001:db8:46::/96\n",
        &["3:1: duplicate key `prefix`; the first is at relay.yaml:1:1"],
    ),
    ("{ a: b }: c\n", &["3:1: a mapping cannot be a key"]),
    (
        "workers: { cpu: 1 }\n",
        &["3:12: unknown key `workers.cpu`; did you mean `cpus`?"],
    ),
    (
        "control: { port: 1 }\n",
        &["3:12: unknown key `control.port`; known are `socket`, `group`, `metrics`, `watch`"],
    ),
    (
        "icmp: { own: { v4: 1 } }\n",
        &["3:16: unknown key `icmp.own.v4`; did you mean `ipv4`?"],
    ),
    (
        "translation:\n  hairpn: off\n  mtu:\n    ipv5: 1\n",
        &[
            "4:3: unknown key `translation.hairpn`; did you mean `hairpin`?",
            "6:5: unknown key `translation.mtu.ipv5`; did you mean `ipv4`?",
        ],
    ),
    (
        "translation:\n  tos: copy\n  tos: copy\n",
        &["5:3: duplicate key `translation.tos`; the first is at relay.yaml:4:3"],
    ),
    (
        "translation: off\n",
        &["3:14: expected a mapping with `hairpin`, `atomic_fragments`, "],
    ),
    (
        "translation: { mtu: 1500 }\n",
        &["3:21: expected a mapping with `ipv4`, `ipv6`, found `1500`"],
    ),
    (
        "translation: { traffic_class: 256, tos: 0x10 }\n",
        &[
            "3:31: `translation.traffic_class`: `256`: must be `copy` or a number from 0 to 255",
            "3:41: `translation.tos`: `0x10`: must be `copy` or a number from 0 to 255",
        ],
    ),
    (
        "translation: { lowest_ipv6_mtu: 1279, mtu: { ipv4: 67, ipv6: 65536 } }\n",
        &[
            "3:33: `translation.lowest_ipv6_mtu`: `1279`: must be a number from 1280 to 65535",
            "3:52: `translation.mtu.ipv4`: `67`: must be a number from 68 to 65535",
            "3:62: `translation.mtu.ipv6`: `65536`: must be a number from 1280 to 65535",
        ],
    ),
    (
        "translation: { hairpin: yes, udp_zero_checksum: pass, wkp_non_global: no }\n",
        &[
            "3:25: `translation.hairpin`: `yes`: must be one of `intrinsic`, `simple`, `off`",
            "3:49: `translation.udp_zero_checksum`: `pass`: must be one of `drop`, `compute`, `forward`",
            "3:71: `translation.wkp_non_global`: `no`: must be one of `drop`, `translate`",
        ],
    ),
    (
        "translation: { mtu_plateaus: [65535, 10] }\n",
        &["3:38: `translation.mtu_plateaus`: `10`: must be a number from 68 to 65535"],
    ),
    (
        "service_pools: [192.0.2.1/24, 300.0.0.1, '2001:db8::/32', 10.0.0.0/33]\n",
        &[
            "3:17: `service_pools`: 192.0.2.1/24 has host bits set; write 192.0.2.0/24",
            "3:31: `service_pools`: `300.0.0.1` is not an IPv4 address or prefix",
            "3:42: `service_pools`: `2001:db8::/32` is IPv6, but IPv4 is wanted here",
            "3:59: `service_pools`: `10.0.0.0/33`: the prefix length must be a number from 0 to 32",
        ],
    ),
    (
        "denylist4: 192.0.2.1\n",
        &["3:12: `denylist4` must be a list, found `192.0.2.1`"],
    ),
    (
        "ipv4_translatable:\n",
        &["3:1: `ipv4_translatable` must be a list, found nothing"],
    ),
    (
        "icmp: { own: { ipv4: '2001:db8::1', ipv6: 192.0.2.1 } }\n",
        &[
            "3:22: `icmp.own.ipv4`: `2001:db8::1`: must be `auto` or an IPv4 address",
            "3:43: `icmp.own.ipv6`: `192.0.2.1`: must be `auto` or an IPv6 address",
        ],
    ),
    (
        "icmp: { own: { ipv4: 127.0.0.1, ipv6: 'fe80::1' } }\n",
        &[
            "3:22: `icmp.own.ipv4`: `127.0.0.1`: no packet from it would be forwarded",
            "3:39: `icmp.own.ipv6`: `fe80::1`: no packet from it would be forwarded",
        ],
    ),
    (
        "icmp: { errors: maybe, rate: 0, source_choice: best, interface_object: 1 }\n",
        &[
            "3:17: `icmp.errors`: `maybe`: must be one of `on`, `rate-limited`, `off`",
            "3:30: `icmp.rate`: `0`: must be a number from 1 to 1000000000",
            "3:48: `icmp.source_choice`: `best`: must be one of `random`, `hop-limit`",
            "3:72: `icmp.interface_object`: `1`: must be one of `on`, `off`",
        ],
    ),
    (
        "control: { socket: run.sock, metrics: 9469, group: a b, watch: maybe }\n",
        &[
            "3:20: `control.socket`: `run.sock`: must be `off` or an absolute path",
            "3:39: `control.metrics`: `9469`: must be `off`, or an address and a port, as 127.0.0.1:9469 or [::1]:9469",
            "3:52: `control.group`: `a b`: must be `auto`, or the name or number of a group",
            "3:64: `control.watch`: `maybe`: must be one of `on`, `off`",
        ],
    ),
    (
        "workers: { cpus: 2 }\n",
        &["3:18: `workers.cpus` must be `auto` or a list of numbers, found `2`"],
    ),
    (
        "workers: { wait: spin }\n",
        &["3:18: `workers.wait`: `spin`: must be one of `poll`, `busy`, `prefer-busy-poll`"],
    ),
    // EAM files.
    (
        "eam: nowhere.yaml\n",
        &["3:6: `eam`: cannot open `nowhere.yaml`: No such file or directory"],
    ),
    (
        "eam: [eam.yaml, eam.yaml]\n",
        &["3:17: `eam`: `eam.yaml`: is listed twice"],
    ),
    (
        "eam: .\n",
        &["3:6: `eam`: `.`: is a directory; name the files"],
    ),
    ("eam:\n", &["3:1: `eam` has no value"]),
    (
        "eam:\n  - { ipv4: 192.0.2.1, ipv6: '2001:db8::1' }\n",
        &[
            "4:5: `eam` must be a path or a list of paths, found a mapping; mappings have a file of their own",
        ],
    ),
    // Later versions.
    (
        "role: edge\n",
        &["3:7: `role`: `edge`: is not available in this version; use `border`"],
    ),
    (
        "role: centre\n",
        &["3:7: `role`: `centre`: must be `border`"],
    ),
    (
        "fast_path: xpd\n",
        &["3:12: `fast_path`: `xpd`: must be one of `xdp`, `af_xdp`"],
    ),
    (
        "forwarding: kernl\n",
        &["3:13: `forwarding`: `kernl`: must be one of `direct`, `kernel`"],
    ),
    (
        "translation: { atomic_fragments: yes, tcp_mss_clamp: on }\n",
        &[
            "3:34: `translation.atomic_fragments`: `yes`: must be one of `off`, `on`",
            "3:54: `translation.tcp_mss_clamp`: `on`: must be `off`, `auto` or a number from 28 to 65535",
        ],
    ),
    (
        "translation: { tcp_mss_clamp: 27 }\n",
        &[
            "3:31: `translation.tcp_mss_clamp`: `27`: must be `off`, `auto` or a number from 28 to 65535",
        ],
    ),
    // Several at once, in the order of the file.
    (
        "role: edge\nzone: 1\ntranslation:\n  tos: 300\nicmp: []\ntranslaton: {}\n",
        &[
            "3:7: `role`: `edge`: is not available",
            "4:1: unknown key `zone`; ",
            "6:8: `translation.tos`: `300`: must be",
            "7:7: expected a mapping with `errors`, ",
            "8:1: unknown key `translaton`; did you mean `translation`?",
        ],
    ),
];

/// EAM files.
const EAM_FILES: &[Row] = &[
    (
        "",
        &["1:1: the file is empty; write `eam: []` for an empty table"],
    ),
    (
        "eams: []\n",
        &["1:1: unknown key `eams`; did you mean `eam`?"],
    ),
    (
        "eam: {}\n",
        &["1:1: `eam` must be a list of mappings, found a mapping"],
    ),
    (
        "eam:\n  - 192.0.2.1\n",
        &["2:5: expected a mapping with `ipv4` and `ipv6`, found a single value"],
    ),
    (
        "eam:\n  - { ipv4: 192.0.2.1 }\n",
        &["2:5: the key `ipv6` is missing"],
    ),
    (
        "eam:\n  - { ipv4: 192.0.2.1/24, ipv6: 2001:db8::1 }\n",
        &["2:13: 192.0.2.1/24 has host bits set; write 192.0.2.0/24"],
    ),
    (
        "eam:\n  - { ipv4: 192.0.2.0/24, ipv6: '2001:db8::/121' }\n",
        &["2:33: 2001:db8::/121 leaves 7 bits for the 8 suffix bits of 192.0.2.0/24"],
    ),
    (
        "eam:\n  - { ipv4: 192.0.2.1, ipv6: 2001:db8::1 }\n  - { ipv4: 192.0.2.1, ipv6: 2001:db8::2 }\n",
        &["3:13: 192.0.2.1/32 is mapped already at eam.yaml:2:13"],
    ),
    (
        "eam:\n  - { ipv4: 127.0.0.1, ipv6: 2001:db8::1, port: 80 }\n",
        &[
            "2:13: `127.0.0.1` can never be translated: loopback",
            "2:43: unknown key `port`; known are",
        ],
    ),
];

#[test]
fn broken_files() {
    let mut failures = Vec::new();
    for (text, expected) in WHOLE_FILES {
        failures.extend(compare("relay.yaml", text, "eam: []\n", expected));
    }
    for (text, expected) in ADDITIONS {
        failures.extend(compare(
            "relay.yaml",
            &format!("{GOOD}{text}"),
            "eam: []\n",
            expected,
        ));
    }
    for (text, expected) in EAM_FILES {
        failures.extend(compare(
            "eam.yaml",
            &format!("{GOOD}eam: eam.yaml\n"),
            text,
            expected,
        ));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Checks a configuration whose problems are all in `file`; returns what is not as expected.
fn compare(file: &str, relay: &str, eam: &str, expected: &[&str]) -> Option<String> {
    let output = check(relay, eam, &[]);
    let found = text(&output.stdout);
    let lines: Vec<&str> = found.lines().collect();
    let is_expected = lines.len() == expected.len()
        && lines
            .iter()
            .zip(expected)
            .all(|(line, expected)| line.starts_with(&format!("{file}:{expected}")));
    let is_fine = is_expected && output.status.code() == Some(1) && output.stderr.is_empty();
    (!is_fine).then(|| {
        let stderr = text(&output.stderr);
        format!(
            "{relay}---\n{eam}---\nexpected {expected:#?}\nfound {}\n{found}{stderr}",
            output.status
        )
    })
}

/// Runs `check` in a folder with the two files, so that messages have short paths.
fn check(relay: &str, eam: &str, arguments: &[&str]) -> Output {
    run(
        relay,
        eam,
        &[&["check", "--config", "relay.yaml"], arguments].concat(),
    )
}

fn run(relay: &str, eam: &str, arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("relay.yaml"), relay).unwrap();
    fs::write(folder.path().join("eam.yaml"), eam).unwrap();
    run_in(folder.path(), arguments)
}

fn run_in(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(siit_relay())
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap()
}

fn text(octets: &[u8]) -> String {
    String::from_utf8(octets.to_vec()).unwrap()
}

const EAM: &str = r#"eam:
  - { ipv4: 192.0.2.1, ipv6: "2001:db8:12:34::1", name: web }
  - { ipv4: 192.0.2.16/28, ipv6: "2001:db8:cccc::/124" }
"#;

#[test]
fn good_files() {
    for (relay, eam, expected) in [
        (GOOD, "", "relay.yaml: ok, 0 mappings, 1 interface\n"),
        (
            "\u{feff}---\r\nprefix: 64:ff9b::/96\r\ninterfaces: [{ name: lo }]\r\n",
            "",
            "relay.yaml: ok, 0 mappings, 1 interface\n",
        ),
        (
            "prefix: 2001:db8:46::/96\ninterfaces: [{ name: lo }]\neam: eam.yaml\ntranslation:\nworkers: {}\n",
            EAM,
            "relay.yaml: ok, 2 mappings, 1 interface\n",
        ),
        (
            "prefix: 2001:db8:46::/96\ninterfaces: [{ name: lo, queues: [0, 1] }]\neam: [eam.yaml]\nworkers: { cpus: [1, 0] }\n",
            "eam: []\n",
            "relay.yaml: ok, 0 mappings, 1 interface\n",
        ),
    ] {
        let output = check(relay, eam, &[]);
        assert_eq!(text(&output.stdout), expected, "{relay}");
        assert_eq!(
            (output.status.code(), text(&output.stderr)),
            (Some(0), String::new())
        );
    }
}

#[test]
fn warnings_do_not_fail() {
    let relay = "prefix: 2001:db8:46::/96\ninterfaces:\n  - name: lo\n  - name: siit-nowhere\neam: eam.yaml\n\
                 icmp: { rate: 5 }\n";
    let eam = "eam:\n  - { ipv4: 192.0.2.0/24, ipv6: '2001:db8:c::/120' }\n  - { ipv4: 192.0.2.1, ipv6: '2001:db8:d::1' }\n";
    let output = check(relay, eam, &[]);
    let expected = [
        "eam.yaml:3:13: warning: 192.0.2.1/32 lies inside 192.0.2.0/24 (eam.yaml:2:13); the longer prefix wins, so the two directions may differ (RFC 7757, 5)",
        "relay.yaml:4:11: warning: interface `siit-nowhere` is not on this machine",
        "relay.yaml: ok, 2 mappings, 2 interfaces",
    ];
    assert_eq!(text(&output.stdout).lines().collect::<Vec<_>>(), expected);
    assert_eq!(output.status.code(), Some(0));
}

/// The loopback's interrupts are never put off.
#[test]
fn interrupts_that_go_on_beside_polling_are_warned_of() {
    let relay = "prefix: 2001:db8:46::/96\ninterfaces: [{ name: lo }, { name: siit-nowhere }]\nworkers: { wait: prefer-busy-poll }\n";
    let output = check(relay, "eam: []\n", &[]);
    let shown = text(&output.stdout);
    let begin = "relay.yaml:2:22: warning: lo: its interrupts are not put off while workers poll it \
                 (napi_defer_hard_irqs is 0, gro_flush_timeout is 0)";
    assert!(shown.contains(begin), "{shown}");
    assert_eq!(shown.lines().count(), 3, "{shown}");
    assert_eq!(output.status.code(), Some(0));
}

/// All interfaces share their frames.
#[test]
fn zero_copy_for_some() {
    let relay = "prefix: 2001:db8:46::/96\ninterfaces:\n  - { name: lo, zero_copy: on }\n  - { name: lo2 }\n  - { name: lo3, zero_copy: off }\n";
    let output = check(relay, "eam: []\n", &[]);
    let expected = "relay.yaml:5:13: `interfaces.zero_copy` is the contrary for `lo` at relay.yaml:3:13; interfaces share their frames, so use one for all\n";
    assert_eq!(text(&output.stdout), expected);
    assert_eq!(output.status.code(), Some(1));
}

/// What the RFCs advise against is allowed.
#[test]
fn advice_of_the_rfcs() {
    let relay = "prefix: 64:ff9b::/96\ninterfaces: [{ name: lo }]\nipv4_translatable: [192.0.2.0/24]\n\
                 icmp: { ipv4_sources: [192.0.2.7, 100.64.0.0/24] }\n";
    let output = check(relay, "eam: []\n", &[]);
    let expected = [
        "relay.yaml:3:1: warning: `ipv4_translatable`: 64:ff9b::/96 should not stand for services (RFC 6052, 3.1); use a prefix of your own",
        "relay.yaml:4:9: warning: `icmp.ipv4_sources`: `100.64.0.0/24` is private; errors from there are likely to be filtered (RFC 6791, 3.1)",
        "relay.yaml: ok, 0 mappings, 1 interface",
    ];
    assert_eq!(text(&output.stdout).lines().collect::<Vec<_>>(), expected);
    assert_eq!(output.status.code(), Some(0));
}

/// Problems of both files are told in one go.
#[test]
fn problems_of_all_files_at_once() {
    let output = check(
        &format!("{GOOD}eam: eam.yaml\nrole: edge\n"),
        "eam:\n  - {}\n",
        &[],
    );
    let expected = [
        "relay.yaml:4:7: `role`: `edge`: is not available in this version; use `border`",
        "eam.yaml:2:5: the key `ipv4` is missing",
        "eam.yaml:2:5: the key `ipv6` is missing",
    ];
    assert_eq!(text(&output.stdout).lines().collect::<Vec<_>>(), expected);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn paths_are_relative_to_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("etc")).unwrap();
    fs::write(
        folder.path().join("etc/relay.yaml"),
        format!("{GOOD}eam: eam.yaml\n"),
    )
    .unwrap();
    fs::write(folder.path().join("etc/eam.yaml"), "eam:\n  - 1\n").unwrap();
    let output = run_in(folder.path(), &["check", "--config", "etc/relay.yaml"]);
    let expected =
        "etc/eam.yaml:2:5: expected a mapping with `ipv4` and `ipv6`, found a single value\n";
    assert_eq!(text(&output.stdout), expected);
}

#[test]
fn json() {
    let parse =
        |output: &Output| -> serde_json::Value { serde_json::from_slice(&output.stdout).unwrap() };
    let good = check(&format!("{GOOD}eam: eam.yaml\n"), EAM, &["--json"]);
    let expected = serde_json::json!({ "ok": true, "mappings": 2, "problems": [] });
    assert_eq!(parse(&good), expected);
    assert_eq!(good.status.code(), Some(0));

    let bad = check(
        &format!("{GOOD}role: edge\nicmp: {{ ipv4_sources: [10.0.0.1] }}\n"),
        "",
        &["--json"],
    );
    let report = parse(&bad);
    assert_eq!(report["ok"], false);
    assert_eq!(report["problems"].as_array().unwrap().len(), 2);
    let expected = serde_json::json!({
        "severity": "error",
        "file": "relay.yaml",
        "line": 3,
        "column": 7,
        "message": "`role`: `edge`: is not available in this version; use `border`",
    });
    assert_eq!(report["problems"][0], expected);
    assert_eq!(report["problems"][1]["severity"], "warning");
    assert_eq!(bad.status.code(), Some(1));
}

#[test]
fn files_that_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let output = run_in(folder.path(), &["check", "--config", "nowhere.yaml"]);
    let expected = "nowhere.yaml:1:1: cannot read: No such file or directory (os error 2)\n";
    assert_eq!(
        (text(&output.stdout).as_str(), output.status.code()),
        (expected, Some(1))
    );

    fs::write(
        folder.path().join("latin1.yaml"),
        b"role: border\nzone: M\xfcnchen\n",
    )
    .unwrap();
    let output = run_in(folder.path(), &["check", "--config", "latin1.yaml"]);
    let expected = "latin1.yaml:2:8: octet 0xfc is not UTF-8; save the file as UTF-8\n";
    assert_eq!(
        (text(&output.stdout).as_str(), output.status.code()),
        (expected, Some(1))
    );
}

#[test]
fn wrong_usage_is_exit_code_2() {
    for arguments in [
        &[][..],
        &["check"],
        &["check", "--config"],
        &["check", "--config", "relay.yaml", "more"],
        &["check", "--config", "relay.yaml", "--xml"],
        &["query", "--config", "relay.yaml"],
        &["query", "--config", "relay.yaml", "banana"],
        &["query", "--config", "relay.yaml", "192.0.2.0/24"],
        &["translate", "--config", "relay.yaml", "one.pcap"],
        &["chekc"],
    ] {
        let output = run(GOOD, "", arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(
            output.stdout.is_empty() && !output.stderr.is_empty(),
            "{arguments:?}"
        );
    }
    for arguments in [&["--help"][..], &["--version"], &["check", "--help"]] {
        assert_eq!(
            run(GOOD, "", arguments).status.code(),
            Some(0),
            "{arguments:?}"
        );
    }
}
