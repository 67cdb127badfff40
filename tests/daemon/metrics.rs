//! The metrics of a running relay, in both formats, as Prometheus reads them.

use crate::control::{ask, get, get_as, start_with_metrics};
use crate::lab::{CLIENT, Lab, embedded, eventually};
use crate::ping::ping;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::Duration;
use tests::tool::{said, tool};

const INTERVAL: Duration = Duration::from_millis(2);

#[test]
fn metrics_are_complete_and_clean() {
    let Some(lab) = Lab::new() else { return };
    let mut daemon = start_with_metrics(&lab);
    daemon.await_line("metrics at");
    assert_eq!(
        ping(&lab.server, embedded(CLIENT).into(), 20, INTERVAL).count,
        20
    );
    let mut text = String::new();
    eventually("all is counted", Duration::from_secs(2), || {
        text = get(&lab, "/metrics").1;
        let value = |name: &str| -> f64 {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_else(|| panic!("{name}: {text}"))
                .trim()
                .parse()
                .unwrap()
        };
        let forwarded = "siit_relay_forwarded_packets_total{direction=\"v6_to_v4\"}";
        assert_eq!(value("siit_relay_generation "), 1.0);
        assert_eq!(value("siit_relay_mappings "), 3.0);
        assert_eq!(value("siit_relay_translating "), 1.0);
        assert!(value("process_resident_memory_bytes ") > 1e6);
        value(forwarded) >= 20.0
    });
    // Each counter that `stats` knows is somewhere among the metrics.
    let counters = ask(&lab, "stats");
    let counters = counters["counters"].as_object().unwrap().len();
    let totals = text.lines().filter(|line| {
        line.starts_with("siit_relay_")
            && line.contains("_total")
            && !line.contains("_queue_")
            && !line.contains("_reloads_")
            && !line.contains("_eam_")
    });
    assert_eq!(totals.count(), counters);
    promtool(&["check", "metrics"], &text);
    daemon.stop();
}

#[test]
fn metrics_are_in_the_format_that_is_asked_for() {
    let Some(lab) = Lab::new() else { return };
    let mut daemon = start_with_metrics(&lab);
    daemon.await_line("metrics at");
    let (text, open) = (
        "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n",
        "Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n",
    );
    for (headers, kind) in [
        ("", text),
        ("Accept: */*\r\n", text),
        (
            "accept:application/openmetrics-text; version=1.0.0\r\n",
            open,
        ),
        (
            "Accept: application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.7\r\n",
            text,
        ),
        (
            "Accept: text/plain;q=0.3\r\nAccept: application/openmetrics-text;q=0.4\r\n",
            open,
        ),
    ] {
        let (head, body) = get_as(&lab, "/metrics", headers);
        assert!(head.contains(kind), "{headers}: {head}");
        assert_eq!(body.ends_with("\n# EOF\n"), kind == open, "{headers}");
        let line = match kind == open {
            true => "# TYPE siit_relay_forwarded_packets counter\n",
            false => "# TYPE siit_relay_forwarded_packets_total counter\n",
        };
        assert!(body.contains(line), "{headers}: {body}");
    }
    daemon.stop();
}

#[test]
fn prometheus_scrapes_openmetrics() {
    let Some(lab) = Lab::new() else { return };
    let mut daemon = start_with_metrics(&lab);
    daemon.await_line("metrics at");
    let config = lab.path("prometheus.yaml");
    let job = "scrape_configs: [{ job_name: relay, scrape_interval: 1s, static_configs: [{ targets: ['203.0.113.1:9469'] }] }]\n";
    std::fs::write(&config, job).unwrap();
    lab.relay_ip("link set dev lo up");
    let child = lab
        .relay
        .command("prometheus")
        .arg(format!("--config.file={}", config.display()))
        .arg(format!(
            "--storage.tsdb.path={}",
            lab.path("tsdb").display()
        ))
        .arg("--web.listen-address=127.0.0.1:9090")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = child else {
        return tests::skip("prometheus is not installed (Debian package prometheus)");
    };
    let query = |path: &str| -> Option<Value> {
        let exchange = || {
            let mut stream = TcpStream::connect("127.0.0.1:9090")?;
            write!(stream, "GET {path} HTTP/1.0\r\n\r\n")?;
            let mut response = String::new();
            stream.read_to_string(&mut response).map(|_| response)
        };
        let response = lab.relay.run_in(exchange).unwrap().ok()?;
        serde_json::from_str(response.split_once("\r\n\r\n")?.1).ok()
    };
    let scraped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        eventually("it has scraped", Duration::from_secs(20), || {
            let samples = query("/api/v1/query?query=siit_relay_forwarded_packets_total");
            samples.is_some_and(|it| {
                it["data"]["result"]
                    .as_array()
                    .is_some_and(|it| !it.is_empty())
            })
        });
        // The types and units that it keeps tell which format it was given.
        let metadata = query("/api/v1/targets/metadata?metric=siit_relay_uptime_seconds").unwrap();
        assert_eq!(metadata["data"][0]["unit"], "seconds", "{metadata}");
        let metadata = query("/api/v1/targets/metadata?metric=siit_relay_build").unwrap();
        assert_eq!(metadata["data"][0]["type"], "info", "{metadata}");
    }));
    child.kill().unwrap();
    child.wait().unwrap();
    scraped.unwrap();
    daemon.stop();
}

/// Has Prometheus' own tool check something; what it has to say is a failure.
fn promtool(arguments: &[&str], input: &str) {
    let Some(output) = tool("promtool", arguments, input, "prometheus") else {
        return;
    };
    let said = said(&output);
    assert!(
        output.status.success() && said.trim().is_empty(),
        "{said}\n{input}"
    );
}
