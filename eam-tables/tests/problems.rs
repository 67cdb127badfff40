//! What the reader of EAM files says about broken ones, to the column, and what it takes.

use eam_tables::{Loaded, Severity, load, parse};
use relay_core::AddressMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

fn lines(loaded: &Loaded) -> Vec<String> {
    loaded.problems.iter().map(ToString::to_string).collect()
}

/// A file without errors, in every style that YAML offers.
#[test]
fn all_styles_are_read() {
    let texts = [
        "eam:\n  - { ipv4: 192.0.2.1, ipv6: \"2001:db8:12:34::1\", name: web }\n",
        "eam:\n  - {ipv6: 2001:db8:12:34::1, ipv4: 192.0.2.1/32, name: 'web'}\n",
        "eam:\n  - ipv4: 192.0.2.1\n    ipv6: 2001:db8:12:34::1/128\n    name: web\n",
        "eam:\n- name: web\n  ipv4: \"192.0.2.1\" # a comment\n  ipv6: '2001:DB8:12:34:0:0:0:1'\n",
        "{\"eam\": [{\"ipv4\": \"192.0.2.1\", \"ipv6\": \"2001:db8:12:34::1\", \"name\": \"web\"}]}",
        "%YAML 1.2\n---\neam: [{ipv4: !!str 192.0.2.1, ipv6: \"2001:db8:12:34::1\", name: w\u{65}b}]\n...\n",
        "\u{feff}eam:\r\n  - { ipv4: 192.0.2.1, ipv6: \"2001:db8:12:34::1\", name: \"w\\x65b\" }\r\n",
    ];
    for text in texts {
        let loaded = parse(Path::new("eam.yaml"), text);
        assert_eq!(lines(&loaded), [""; 0], "{text}");
        let [eam] = loaded.entries.as_slice() else {
            panic!("{text}")
        };
        assert_eq!(eam.ipv4().to_string(), "192.0.2.1/32", "{text}");
        assert_eq!(eam.ipv6().to_string(), "2001:db8:12:34::1/128", "{text}");
        assert_eq!(eam.name(), Some("web"), "{text}");
    }
}

/// RFC 7757, 3.2, Figure 1, and the name of an entry, which may look like a number or be absent.
#[test]
fn a_good_file_gives_its_entries_in_order() {
    let text = "\
eam:
  - { ipv4: 192.0.2.1, ipv6: \"2001:db8:aaaa::\" }
  - { ipv4: 192.0.2.2/32, ipv6: \"2001:db8:bbbb::b/128\", name: 0x1F }
  - { ipv4: 192.0.2.16/28, ipv6: \"2001:db8:cccc::/124\", name: yes }
  - { ipv4: 192.0.2.128/26, ipv6: 2001:db8:dddd::/64, name: ~ }
  - { ipv4: 192.0.2.192/29, ipv6: 2001:db8:eeee:8::/62, name: 007 }
  - { ipv4: 192.0.2.224/31, ipv6: 64:ff9b::/127, name: \"two words\" }
";
    let loaded = parse(Path::new("eam.yaml"), text);
    assert_eq!(lines(&loaded), [""; 0]);
    let names: Vec<_> = loaded.entries.iter().map(|eam| eam.name()).collect();
    assert_eq!(
        names,
        [
            None,
            Some("0x1F"),
            Some("yes"),
            None,
            Some("007"),
            Some("two words")
        ]
    );
    let places: Vec<_> = loaded
        .entries
        .iter()
        .map(|eam| eam.place().to_string())
        .collect();
    assert_eq!(places[0], "eam.yaml:2:5");
    assert_eq!(places[5], "eam.yaml:7:5");
    let eamt = eam_tables::EamTable::new(loaded.entries);
    assert_eq!(
        eamt.v4_to_v6("192.0.2.195".parse().unwrap()),
        Some("2001:db8:eeee:9:8000::".parse().unwrap())
    );
}

#[test]
fn an_empty_list_is_a_fine_file() {
    let loaded = parse(Path::new("eam.yaml"), "eam: []\n");
    assert_eq!(lines(&loaded), [""; 0]);
    assert!(loaded.entries.is_empty());
}

/// Content, all problems expected, each as `line:column: message`.
const BROKEN: &[(&str, &[&str])] = &[
    (
        "",
        &["1:1: the file is empty; write `eam: []` for an empty table"],
    ),
    (
        "# only a comment\n",
        &["1:1: the file is empty; write `eam: []` for an empty table"],
    ),
    (
        "---\n",
        &["1:1: the file is empty; write `eam: []` for an empty table"],
    ),
    (
        "~\n",
        &["1:1: the file is empty; write `eam: []` for an empty table"],
    ),
    (
        "eam:\n",
        &["1:1: `eam` has no value; write `eam: []` for an empty table"],
    ),
    (
        "eam: null\n",
        &["1:1: `eam` has no value; write `eam: []` for an empty table"],
    ),
    (
        "eam: 5\n",
        &["1:1: `eam` must be a list of mappings, found a single value"],
    ),
    (
        "eam: text\n",
        &["1:1: `eam` must be a list of mappings, found a single value"],
    ),
    (
        "eam: {a: 1}\n",
        &["1:1: `eam` must be a list of mappings, found a mapping"],
    ),
    (
        "- { ipv4: 192.0.2.1, ipv6: \"2001:db8::1\" }\n",
        &["1:1: expected the key `eam` with a list of mappings, found a list"],
    ),
    (
        r#"# a comment
just text
"#,
        &["1:1: expected the key `eam` with a list of mappings, found a single value"],
    ),
    (
        "other: 1\n",
        &[
            "1:1: unknown key `other`; known are `eam`",
            "1:1: the key `eam` is missing; write `eam: []` for an empty table",
        ],
    ),
    (
        "aem: []\n",
        &["1:1: unknown key `aem`; did you mean `eam`?"],
    ),
    (
        r#"eam: []
eam: []
"#,
        &["2:1: duplicate key `eam`; the first is at f:1:1"],
    ),
    (
        r#"eam: []
other: [1, {a: b}]
5: x
"#,
        &[
            "2:1: unknown key `other`; known are `eam`",
            "3:1: unknown key `5`; known are `eam`",
        ],
    ),
    (
        r#"eam:
  - text
  - 5
  -
  - [a]
  - {}
"#,
        &[
            "2:5: expected a mapping with `ipv4` and `ipv6`, found a single value",
            "3:5: expected a mapping with `ipv4` and `ipv6`, found a single value",
            "4:4: expected a mapping with `ipv4` and `ipv6`, found nothing",
            "5:5: expected a mapping with `ipv4` and `ipv6`, found a list",
            "6:5: the key `ipv4` is missing",
            "6:5: the key `ipv6` is missing",
        ],
    ),
    (
        r#"eam:
  - { ipv4: 10, ipv6: 1.5, name: [x] }
  - { ipv4: true, ipv6: , name: {a: b} }
  - { ipv4: .inf, ipv6: .nan }
"#,
        &[
            "2:13: `10` is not an IPv4 address or prefix",
            "2:23: `1.5` is not an IPv6 address or prefix",
            "2:34: `name` must be text, found a list",
            "3:13: `true` is not an IPv4 address or prefix",
            "3:23: `ipv6` must be an address or a prefix, found nothing",
            "3:33: `name` must be text, found a mapping",
            "4:13: `.inf` is not an IPv4 address or prefix",
            "4:25: `.nan` is not an IPv6 address or prefix",
        ],
    ),
    (
        r#"eam:
  - { ip4: 192.0.2.1, ipv6: "2001:db8::1" }
"#,
        &["2:7: unknown key `ip4`; did you mean `ipv4`?"],
    ),
    (
        r#"eam:
  - { ipv4: 192.0.2.1, ipv4: 192.0.2.2, ipv6: "2001:db8::1" }
"#,
        &["2:24: duplicate key `ipv4`"],
    ),
    (
        r#"eam:
  - ipv4: 192.0.2.1
    ipv6: 2001:db8::1
    comment: x
    ? [a]
    : y
    ? {b: c}
    : z
    ~: t
"#,
        &[
            "4:5: unknown key `comment`; known are `ipv4`, `ipv6`, `name`",
            "5:7: a list cannot be a key; known are `ipv4`, `ipv6`, `name`",
            "7:7: a mapping cannot be a key; known are `ipv4`, `ipv6`, `name`",
            "9:5: nothing cannot be a key; known are `ipv4`, `ipv6`, `name`",
        ],
    ),
    (
        r#"eam:
  - ipv4: 192.0.2.1/28
    ipv6: 2001:db8::1/64
"#,
        &[
            "2:11: 192.0.2.1/28 has host bits set; write 192.0.2.0/28",
            "3:11: 2001:db8::1/64 has host bits set; write 2001:db8::/64",
        ],
    ),
    (
        r#"eam:
  - ipv4: 192.0.2.0/24
    ipv6: 2001:db8::/121
"#,
        &[
            "3:11: 2001:db8::/121 leaves 7 bits for the 8 suffix bits of 192.0.2.0/24; its length can be /120 at most (RFC 7757, 3.2)",
        ],
    ),
    (
        r#"eam:
  - { ipv4: 127.0.0.1, ipv6: ff02::1 }
  - { ipv4: 224.0.0.0/24, ipv6: fe80::/64 }
"#,
        &[
            "2:13: `127.0.0.1` can never be translated: loopback",
            "2:30: `ff02::1` can never be translated: multicast",
            "3:13: `224.0.0.0/24` can never be translated: multicast",
            "3:33: `fe80::/64` can never be translated: link-local",
        ],
    ),
    (
        r#"eam:
  - { ipv4: 2001:db8::1, ipv6: 192.0.2.1 }
"#,
        &[
            "2:13: `2001:db8::1` is IPv6, but IPv4 is wanted here",
            "2:32: `192.0.2.1` is IPv4, but IPv6 is wanted here",
        ],
    ),
    (
        r#"eam:
  - { ipv4: 192.0.2.0/33, ipv6: 2001:db8::/200 }
"#,
        &[
            "2:13: `192.0.2.0/33`: the prefix length must be a number from 0 to 32",
            "2:33: `2001:db8::/200`: the prefix length must be a number from 0 to 128",
        ],
    ),
    (
        r#"eam:
  - { ipv4: "10.0.0.1\n", ipv6: "2001:db8::1", name: "a\nb" }
"#,
        &[
            "2:13: `10.0.0.1\\n` is not an IPv4 address or prefix",
            "2:54: `name` must be one line without control characters",
        ],
    ),
    (
        r#"eam:
  - { name: "üü", ipv4: 10.0.0, ipv6: 2001:db8::2 }
"#,
        &["2:25: `10.0.0` is not an IPv4 address or prefix"],
    ),
    (
        r#"eam:
  - { ipv4: 10.0.0.1, ipv6: "2001:db8::1" }
  - { ipv4: 10.0.0.1/32, ipv6: "2001:db8:0::1" }
  - { ipv4: 10.0.0.1, ipv6: "2001:db8::2" }
"#,
        &[
            "3:13: 10.0.0.1/32 is mapped already at f:2:13",
            "3:32: 2001:db8::1/128 is mapped already at f:2:29",
            "4:13: 10.0.0.1/32 is mapped already at f:2:13",
        ],
    ),
    (
        r#"eam:
  - { ipv4: 10.0.0.300, ipv6: "2001:db8::1" }
  - { ipv4: 10.0.0.1, ipv6: "2001:db8::1"
  - { ipv4: 10.0.0.2, ipv6: "2001:db8::2" }
"#,
        &[
            "2:13: `10.0.0.300` is not an IPv4 address or prefix",
            r#"4:3: "-" is only valid inside a block"#,
        ],
    ),
    (
        r#"eam:
  - { ipv4: 10.0.0.1, ipv6: "2001:db8::1 }
"#,
        &["2:29: unclosed quote"],
    ),
    (
        "eam:\n  - ipv4: 10.0.0.1\n\tipv6: 2001:db8::1\n",
        &["2:11: while scanning a plain scalar, found a tab"],
    ),
    (
        r#"eam:
  - ipv4: 10.0.0.1
   ipv6: 2001:db8::1
"#,
        &[
            "2:5: the key `ipv6` is missing",
            "3:4: while parsing a block collection, did not find expected '-' indicator",
        ],
    ),
    (
        r#"eam:
  - ipv4: 10.0.0.1
    ipv6: 2001:db8::
"#,
        &[
            "3:20: mapping values are not allowed in this context; an address which ends in `::` must stand in quotes",
        ],
    ),
    (
        r#"eam:
  - { ipv4: 10.0.0.1, ipv6: 2001:db8:: }
"#,
        &[
            "2:38: while parsing a flow mapping, did not find expected ',' or '}'; an address which ends in `::` must stand in quotes",
        ],
    ),
    (
        r#"eam: []
---
eam: []
"#,
        &["3:1: a second YAML document; an EAM file has one"],
    ),
    (
        r#"eam: []
}
"#,
        &["2:1: misplaced bracket"],
    ),
    (
        r#"eam:
  - &a { ipv4: 10.0.0.1, ipv6: "2001:db8::1" }
  - *a
  - *b
"#,
        &[
            "3:5: 10.0.0.1/32 is mapped already at f:2:16",
            "3:5: 2001:db8::1/128 is mapped already at f:2:32",
            "4:5: reference to unknown value",
        ],
    ),
    (
        r#"eam: &x
  - *x
"#,
        &["2:5: Recursive reference not allowed here"],
    ),
    (
        "eam: !!int many\n",
        &["1:12: the value does not fit its YAML tag; leave the tag out"],
    ),
    (
        r#"eam:
  - !mapping { ipv4: 10.0.0.1, ipv6: "2001:db8::1" }
"#,
        &["2:14: unsupported tag `!mapping`"],
    ),
    (
        r#"eam:
  - { <<: { ipv4: 10.0.0.1 }, ipv6: "2001:db8::1" }
"#,
        &[
            "2:5: the key `ipv4` is missing",
            "2:7: unknown key `<<`; known are `ipv4`, `ipv6`, `name`",
        ],
    ),
    ("eam: @list\n", &["1:6: unexpected character: `@'"]),
    (
        "{\"eam\": [{\"ipv4\": \"10.0.0.1\", \"ipv6\": \"2001:db8::1\"}]\n",
        &["1:1: unclosed bracket '{'"],
    ),
    (
        "eam: [[[[[[[[[[[[[[[[[[[[\n",
        &["1:22: recursion limit exceeded"],
    ),
    (
        r#"eam:
  - ipv4: *none
    ipv6: 2001:db8::1
"#,
        &["2:11: reference to unknown value"],
    ),
    ("eam: []\0\n", &["1:8: unexpected character: `\\u{0}'"]),
];

#[test]
fn every_problem_is_named_with_its_place() {
    for (text, expected) in BROKEN {
        let loaded = parse(Path::new("f"), text);
        let expected: Vec<String> = expected.iter().map(|line| format!("f:{line}")).collect();
        assert_eq!(lines(&loaded), expected, "\n{text}");
        assert!(loaded.has_errors(), "{text}");
    }
}

#[test]
fn deep_nesting_is_refused_at_once() {
    for bracket in ["[", "{a: ", "- "] {
        let text = format!("eam:\n  {}", bracket.repeat(100_000));
        let loaded = parse(Path::new("f"), &text);
        assert_eq!(loaded.problems.len(), 1, "{bracket}: {:?}", lines(&loaded));
        assert_eq!(loaded.problems[0].place.line, 2);
    }
}

#[test]
fn an_alias_bomb_is_refused_at_once() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..30 {
        let aliases = vec![format!("*a{}", level - 1); 9].join(", ");
        writeln!(text, "a{level}: &a{level} [{aliases}]").unwrap();
    }
    let loaded = parse(Path::new("f"), &text);
    let last = lines(&loaded).pop().unwrap();
    assert!(last.contains("too large or too complex"), "{last}");
}

/// The limits which the YAML crate sets by itself end at 50,000 entries.
#[test]
fn large_files_are_read_whole() {
    let mut text = "eam:\n".to_owned();
    for n in 1..=50_100_u32 {
        let [_, a, b, c] = n.to_be_bytes();
        writeln!(
            text,
            "  - {{ ipv4: 10.{a}.{b}.{c}, ipv6: 2001:db8::{n:x} }}"
        )
        .unwrap();
    }
    let loaded = parse(Path::new("eam.yaml"), &text);
    assert_eq!(lines(&loaded), [""; 0]);
    assert_eq!(loaded.entries.len(), 50_100);
}

/// Twenty overlaps are listed and one line stands for the rest; the file can still be used.
#[test]
fn overlaps_are_warnings_and_do_not_flood() {
    let mut text = "eam:\n  - { ipv4: 10.0.0.0/24, ipv6: \"2001:db8::/120\" }\n".to_owned();
    for n in 1..=30 {
        writeln!(
            text,
            "  - {{ ipv4: 10.0.0.{n}, ipv6: \"2001:db8:1::{n:x}\" }}"
        )
        .unwrap();
    }
    let loaded = parse(Path::new("f"), &text);
    assert!(!loaded.has_errors());
    assert_eq!(loaded.entries.len(), 31);
    let lines = lines(&loaded);
    assert_eq!(lines.len(), 21);
    assert_eq!(
        lines[0],
        "f:3:13: warning: 10.0.0.1/32 lies inside 10.0.0.0/24 (f:2:13); the longer prefix wins, \
         so the two directions may differ (RFC 7757, 5)"
    );
    assert_eq!(
        lines[20],
        "f:23:13: warning: from here on, 10 more prefixes lie inside others; they are not listed"
    );
}

/// Overlaps name the nearest prefix around, also when it comes later in the file.
#[test]
fn nested_prefixes_name_the_nearest() {
    let text = "\
eam:
  - { ipv4: 10.0.0.1, ipv6: \"2001:db8:1::1\" }
  - { ipv4: 10.0.0.0/8, ipv6: \"2001:db8:2::/96\" }
  - { ipv4: 10.0.0.0/24, ipv6: \"2001:db8:2::/112\" }
  - { ipv4: 0.0.0.0/0, ipv6: \"2001:db8:ff00::/40\" }
";
    let loaded = parse(Path::new("f"), text);
    assert!(
        loaded
            .problems
            .iter()
            .all(|p| p.severity == Severity::Warning)
    );
    let heads: Vec<String> = lines(&loaded)
        .iter()
        .map(|line| line.split(';').next().unwrap().to_owned())
        .collect();
    assert_eq!(
        heads,
        [
            "f:2:13: warning: 10.0.0.1/32 lies inside 10.0.0.0/24 (f:4:13)",
            "f:3:13: warning: 10.0.0.0/8 lies inside 0.0.0.0/0 (f:5:13)",
            "f:4:13: warning: 10.0.0.0/24 lies inside 10.0.0.0/8 (f:3:13)",
            "f:4:32: warning: 2001:db8:2::/112 lies inside 2001:db8:2::/96 (f:3:31)",
        ]
    );
}

/// A folder of files which is gone after the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("eam-tables-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, octets: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, octets).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A folder left behind in the temporary directory harms nobody.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn files_are_checked_against_each_other_and_reported_in_the_order_given() {
    let folder = Folder::new("several");
    let paths = [
        folder.file(
            "b.yaml",
            b"eam:\n  - { ipv4: 10.0.0.1, ipv6: \"2001:db8::1\", x: 1 }\n",
        ),
        folder.0.join("missing.yaml"),
        folder.file(
            "latin1.yaml",
            "eam:\n  - { name: ü"
                .as_bytes()
                .strip_suffix(&[0xbc])
                .unwrap(),
        ),
        folder.file("utf16.yaml", b"\xff\xfee\0a\0m\0"),
        folder.file(
            "a.yaml",
            b"eam:\n  - ipv4: 10.0.0.2\n    ipv6: 2001:db8::1\n",
        ),
    ];
    let loaded = load(&paths);
    let place = |file: usize| paths[file].display();
    let known = "known are `ipv4`, `ipv6`, `name`";
    assert_eq!(
        lines(&loaded),
        [
            format!("{}:2:44: unknown key `x`; {known}", place(0)),
            format!(
                "{}:1:1: cannot read: No such file or directory (os error 2)",
                place(1)
            ),
            format!(
                "{}:2:13: octet 0xc3 is not UTF-8; save the file as UTF-8",
                place(2)
            ),
            format!(
                "{}:1:1: octet 0xff is not UTF-8; save the file as UTF-8",
                place(3)
            ),
            format!(
                "{}:3:11: 2001:db8::1/128 is mapped already at {}:2:29",
                place(4),
                place(0)
            ),
        ]
    );
    assert_eq!(loaded.entries.len(), 2);
}
