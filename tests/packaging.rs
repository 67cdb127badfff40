//! What is shipped beside the program fits it: alerts, the dashboard, the service, and what the metrics are called.

use relay::control::snapshot::{Generation, Interface, Limit, Queue, Reloads, Snapshot};
use relay::control::{Format, Health, Process, ProcessFigures, exposition};
use relay::stats::{QueueCounters, Totals};
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, SystemTime};
use tests::tool::{said, tool};

fn packaging(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../packaging")
        .join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(packaging(name)).unwrap()
}

/// Returns the metrics of a relay with an interface of an awkward name.
fn metrics(format: Format) -> String {
    let snapshot = Snapshot {
        uptime: Duration::from_secs(1),
        generation: Generation {
            number: 1,
            mappings: 2,
            runtime: 0,
            since: SystemTime::now(),
            age: Duration::from_millis(1),
        },
        reloads: Reloads::default(),
        interfaces: vec![Interface {
            name: "a\"b\\c".to_owned(),
            xdp: "native",
            is_zero_copy: false,
            queues: vec![0],
            mtu: Some(1500),
            is_up: true,
        }],
        workers: 1,
        queues: vec![Queue {
            interface: "a\"b\\c".to_owned(),
            queue: 0,
            worker: 0,
            is_zero_copy: false,
            counters: QueueCounters::default(),
        }],
        totals: Totals::default(),
        limiter: Limit {
            rate: None,
            tokens: 0.0,
        },
    };
    let process = Process {
        started: SystemTime::now(),
    };
    let figures = ProcessFigures::default();
    let (_, tables) = tests::case::configure(
        "prefix: 2001:db8:46::/96",
        "eam: [{ ipv4: 192.0.2.1, ipv6: '2001:db8::1', name: 'a \"b\"' }]",
    );
    exposition(
        format,
        &snapshot,
        &tables,
        &Health::new(),
        &process,
        &figures,
    )
}

/// Returns the names of metrics that a text mentions.
fn mentioned(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c| !is_part(c));
    words
        .filter(|word| word.starts_with("siit_relay_") || word.starts_with("process_"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn metrics_are_what_prometheus_likes() {
    let text = metrics(Format::Text);
    if let Some(output) = tool("promtool", &["check", "metrics"], &text, "prometheus") {
        assert!(
            output.status.success() && said(&output).trim().is_empty(),
            "{}\n{text}",
            said(&output)
        );
    }
    // Every metric is described once.
    let helps: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("# HELP"))
        .collect();
    let distinct: BTreeSet<_> = helps.iter().collect();
    assert_eq!(helps.len(), distinct.len());
    assert!(
        text.contains("siit_relay_interface_up{interface=\"a\\\"b\\\\c\"} 1\n"),
        "{text}"
    );
}

/// Reads OpenMetrics from its input, more strictly than Prometheus, and prints name, type, unit and number of samples of each family.
const PARSER: &str = "
import sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families
for family in text_string_to_metric_families(sys.stdin.read()):
    print(family.name, family.type, family.unit or '-', len(family.samples))
";

#[test]
fn openmetrics_are_what_their_own_parser_likes() {
    let text = metrics(Format::OpenMetrics);
    // Debian's own, whose packages these are.
    let python = "/usr/bin/python3";
    let is_there = tool(python, &["-c", "import prometheus_client"], "", "python3");
    if is_there.is_none_or(|output| !output.status.success()) {
        return tests::skip(
            "prometheus_client is not installed (Debian package python3-prometheus-client)",
        );
    }
    let output = tool(python, &["-c", PARSER], &text, "python3").unwrap();
    assert!(output.status.success(), "{}\n{text}", said(&output));
    let families = said(&output);
    for family in [
        "siit_relay_build info - 1",
        "siit_relay_interface info - 1",
        "siit_relay_uptime_seconds gauge seconds 1",
        "siit_relay_interface_mtu_bytes gauge bytes 1",
        "siit_relay_reloads counter - 2",
        "siit_relay_queue_received_frames counter - 1",
        "process_cpu_seconds counter seconds 1",
        "process_resident_memory_bytes gauge bytes 1",
    ] {
        assert!(
            families.lines().any(|line| line == family),
            "{family}: {families}"
        );
    }
}

#[test]
fn both_formats_tell_the_same() {
    let samples = |format| {
        let text = metrics(format);
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        // Times differ.
        let steady = lines.filter(|line| !line.contains("time") && !line.contains("_age_"));
        steady.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(samples(Format::Text), samples(Format::OpenMetrics));
    assert!(samples(Format::Text).len() > 100);
}

#[test]
fn alerts_and_dashboard_name_metrics_that_exist() {
    let there: BTreeSet<String> = metrics(Format::Text)
        .lines()
        .filter_map(|line| Some(line.strip_prefix("# TYPE ")?.split(' ').next()?.to_owned()))
        .collect();
    for file in ["prometheus/alerts.yaml", "grafana/siit-relay.json"] {
        let absent: Vec<_> = mentioned(&read(file)).difference(&there).cloned().collect();
        assert_eq!(absent, [""; 0], "{file}");
    }
    // The tests of absence would not see a file that names nothing.
    assert!(mentioned(&read("grafana/siit-relay.json")).len() > 20);
}

#[test]
fn reasons_in_alerts_exist() {
    let text = metrics(Format::Text);
    for line in read("prometheus/alerts.yaml").lines() {
        for label in ["reason=~\"", "verdict=\""] {
            let Some((_, rest)) = line.split_once(label) else {
                continue;
            };
            let values = rest.split('"').next().unwrap_or_default();
            for value in values.split('|') {
                assert!(text.contains(&format!("=\"{value}\"")), "{value}: {line}");
            }
        }
    }
}

#[test]
fn alerts_are_rules() {
    let path = packaging("prometheus/alerts.yaml");
    let arguments = ["check", "rules", path.to_str().unwrap()];
    if let Some(output) = tool("promtool", &arguments, "", "prometheus") {
        assert!(output.status.success(), "{}", said(&output));
    }
}

#[test]
fn the_dashboard_is_json() {
    let dashboard: serde_json::Value =
        serde_json::from_str(&read("grafana/siit-relay.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64()).collect();
    assert_eq!(ids.len(), panels.len());
}

#[test]
fn the_service_is_one_and_has_few_rights() {
    let folder = tempfile::tempdir().unwrap();
    let unit = folder.path().join("siit-relay.service");
    // Checked as if it were installed.
    let program = tests::siit_relay().to_str().unwrap();
    let documentation = packaging("../docs/operations.md");
    let text = read("systemd/siit-relay.service")
        .replace("/usr/bin/siit-relay", program)
        .replace(
            "/usr/share/doc/siit-relay/operations.md",
            documentation.to_str().unwrap(),
        );
    fs::write(&unit, text).unwrap();
    let unit = unit.to_str().unwrap();
    let Some(output) = tool("systemd-analyze", &["verify", unit], "", "systemd") else {
        return;
    };
    let said_of_unit = said(&output);
    let complaints: Vec<&str> = said_of_unit
        .lines()
        .filter(|line| line.contains("siit-relay"))
        // systemd before 253 stays with the type in the line above.
        .filter(|line| !line.contains("Failed to parse service type, ignoring: notify-reload"))
        .collect();
    assert_eq!(complaints, [""; 0], "{said_of_unit}");
    let arguments = ["security", "--offline=true", "--threshold=25", unit];
    if let Some(output) = tool("systemd-analyze", &arguments, "", "systemd") {
        assert!(output.status.success(), "{}", said(&output));
    }
}

/// Set to 1, the page is written instead of compared.
const UPDATE: &str = "SIIT_RELAY_UPDATE_DOCS";

/// Returns the page about counters and metrics.
fn page() -> String {
    let mut page = String::from(
        "# Counters and metrics\n\n\
         `siit-relay stats` and the log at the end spell counters as in the first column; Prometheus sees them as in the second. A \
         packet that comes in is forwarded, passed or dropped, and counted once as that.\n\n\
         This page is made from the program's own lists:\n\n    \
         SIIT_RELAY_UPDATE_DOCS=1 cargo test -p tests --test packaging\n\n\
         ## Counters\n\n| counter | metric | meaning |\n|---|---|---|\n",
    );
    for counter in Totals::default().counters() {
        let labels: Vec<String> = counter
            .labels
            .iter()
            .map(|(label, value)| format!("{label}=\"{value}\""))
            .collect();
        let labels = match labels.is_empty() {
            true => String::new(),
            false => format!("{{{}}}", labels.join(",")),
        };
        page += &format!(
            "| `{}` | `siit_relay_{}_total{labels}` | {} |\n",
            counter.name, counter.metric, counter.description
        );
    }
    page += "\n## Counters of each queue\n\n\
             Their metrics are `siit_relay_queue_…_total`, with the labels `interface`, `queue` and `worker`.\n\n\
             | counter | meaning |\n|---|---|\n";
    for (name, description, _) in QueueCounters::default().plain() {
        page += &format!("| `{name}` | {description} |\n");
    }
    page += "\n## Other metrics\n\n| metric | meaning |\n|---|---|\n";
    let text = metrics(Format::Text);
    for line in text.lines().filter_map(|line| line.strip_prefix("# HELP ")) {
        let (name, help) = line.split_once(' ').unwrap();
        let is_counter = name.starts_with("siit_relay_") && name.ends_with("_total");
        if !is_counter || name == "siit_relay_reloads_total" {
            page += &format!("| `{name}` | {help} |\n");
        }
    }
    page
}

#[test]
fn the_page_about_counters_is_that_of_the_program() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/counters.md");
    let page = page();
    if std::env::var(UPDATE).is_ok_and(|update| update == "1") {
        fs::write(&path, &page).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page,
        "docs/counters.md is out of date; run with {UPDATE}=1"
    );
}

/// What the manual tells operators to type is there.
#[test]
fn commands_in_the_manual_exist() {
    let manual = fs::read_to_string(packaging("../docs/operations.md")).unwrap();
    let mut commands = BTreeSet::new();
    for (at, _) in manual.match_indices("siit-relay ") {
        let word: String = manual[at + 11..]
            .chars()
            .take_while(|c| c.is_ascii_lowercase())
            .collect();
        // At the beginning of a code span, or of a line in a block.
        let before = manual[..at].rsplit('\n').next().unwrap_or_default();
        if before.ends_with('`') || before.trim().is_empty() && before.len() >= 4 {
            commands.insert(word);
        }
    }
    for command in commands.iter().filter(|command| !command.is_empty()) {
        let output = Command::new(tests::siit_relay())
            .args([command, "--help"])
            .output()
            .unwrap();
        assert!(output.status.success(), "siit-relay {command}");
    }
    assert!(commands.len() > 8, "{commands:?}");
}
