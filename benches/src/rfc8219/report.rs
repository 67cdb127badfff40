//! The results, as tables (as RFC 8219 and RFC 2544 want them), JSON and charts.

use serde::Serialize;

use super::latency::{Delays, Repeated};
use super::search::{Loss, Throughput};
use super::wires::{Direction, Flow};
use super::{Options, Report, TestResult};
use crate::machine::Machine;
use crate::report::table::Table;
use crate::{generator, receiver};

/// Counts up when a field is renamed, goes, or gets another meaning.
const VERSION: u32 = 1;

#[derive(Serialize)]
struct Document<'a> {
    version: u32,
    kind: &'static str,
    machine: &'a Machine,
    tx: &'a str,
    rx: &'a str,
    direction: Direction,
    generator: generator::Kind,
    receiver: receiver::Kind,
    duration_s: f64,
    repetitions: u32,
    loss_tolerated_percent: f64,
    resolution_percent: f64,
    results: Vec<Row<'a>>,
}

#[derive(Serialize)]
struct Row<'a> {
    size: usize,
    flow: Flow,
    /// Frames a second.
    throughput: Option<Repeated>,
    limited_by_generator: bool,
    /// Nanoseconds, as the two below.
    #[serde(skip_serializing_if = "Option::is_none")]
    typical_latency_ns: Option<Repeated>,
    #[serde(skip_serializing_if = "Option::is_none")]
    worst_latency_ns: Option<Repeated>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pdv_ns: Option<Repeated>,
    losses: &'a [Loss],
}

impl<'a> Row<'a> {
    fn of(result: &'a TestResult) -> Self {
        let rates = result.throughputs.iter().map(|found| found.rate);
        let delays = |field: fn(&Delays) -> u64| {
            Repeated::of(result.delays.iter().map(|delays| field(delays) as f64))
        };
        Self {
            size: result.size,
            flow: result.flow,
            throughput: Repeated::of(rates),
            limited_by_generator: is_limited(&result.throughputs),
            typical_latency_ns: delays(|delays| delays.typical),
            worst_latency_ns: delays(|delays| delays.worst),
            pdv_ns: delays(|delays| delays.variation),
            losses: &result.losses,
        }
    }
}

fn is_limited(throughputs: &[Throughput]) -> bool {
    throughputs.iter().any(|found| found.limited_by_generator)
}

/// Returns the results as JSON; `docs/performance.md` describes it.
pub(crate) fn json(report: &Report) -> String {
    let Options {
        tx,
        rx,
        direction,
        duration,
        repetitions,
        tolerance,
        resolution,
        generator,
        receiver,
        ..
    } = &report.options;
    let document = Document {
        version: VERSION,
        kind: "rfc8219",
        machine: &report.machine,
        tx: &tx.port.name,
        rx: &rx.port.name,
        direction: *direction,
        generator: *generator,
        receiver: *receiver,
        duration_s: duration.as_secs_f64(),
        repetitions: *repetitions,
        loss_tolerated_percent: *tolerance,
        resolution_percent: *resolution,
        results: report.results.iter().map(Row::of).collect(),
    };
    serde_json::to_string_pretty(&document).expect("nothing in it that JSON cannot hold")
}

/// Returns the results as plain text.
pub(crate) fn text(report: &Report) -> String {
    let tables = tables(report).map(|(title, table)| format!("{title}\n\n{}", table.text()));
    format!("{}\n\n{}", conditions(report), tables.join("\n"))
}

/// Returns the results as tables in Markdown.
pub(crate) fn markdown(report: &Report) -> String {
    let tables = tables(report).map(|(title, table)| format!("{title}:\n\n{}", table.markdown()));
    format!("{}\n\n{}", conditions(report), tables.join("\n"))
}

fn conditions(report: &Report) -> String {
    let Report {
        machine, options, ..
    } = report;
    let loss = if options.tolerance > 0.0 {
        format!(" Up to {} % lost counts as no loss.", options.tolerance)
    } else {
        String::new()
    };
    format!(
        "{}, {} processors, {}. {} s a trial, {} repetitions; medians, with the 1st and the 99th percentile. Latency is that \
         of bit forwarding devices (RFC 1242), of all frames of a stream at the throughput.{loss}",
        machine.processor,
        machine.processors,
        machine.kernel,
        options.duration.as_secs_f64(),
        options.repetitions,
    )
}

fn tables(report: &Report) -> [(&'static str, Table); 2] {
    let mut delays = Table::new(&[
        "direction",
        ">octets",
        ">throughput, frames/s",
        "1st-99th percentile",
        ">typical latency, us",
        ">worst, us",
        ">PDV, ms",
    ]);
    let mut losses = Table::new(&["direction", ">octets", ">rate", ">frames/s", ">lost"]);
    for result in &report.results {
        let row = Row::of(result);
        let start = [result.flow.title().to_owned(), result.size.to_string()];
        let limited = if row.limited_by_generator { ">=" } else { "" };
        let rate = row.throughput.map_or_else(
            || ["-".to_owned(), "-".to_owned()],
            |rate| {
                [
                    format!("{limited}{:.0}", rate.median),
                    format!("{:.0}-{:.0}", rate.p1, rate.p99),
                ]
            },
        );
        let in_units = |delay: Option<Repeated>, unit: f64, digits: usize| {
            delay.map_or_else(
                || "-".to_owned(),
                |delay| format!("{:.digits$}", delay.median / unit),
            )
        };
        let times = [
            in_units(row.typical_latency_ns, 1e3, 1),
            in_units(row.worst_latency_ns, 1e3, 1),
            in_units(row.pdv_ns, 1e6, 4),
        ];
        delays.row([&start[..], &rate, &times].concat());
        for loss in &result.losses {
            let cells = [
                format!("{} %", loss.percent_of_max),
                format!("{:.0}", loss.offered),
                format!("{:.3} %", loss.loss),
            ];
            losses.row([&start[..], &cells].concat());
        }
    }
    [
        ("Throughput, latency and packet delay variation", delays),
        ("Frame loss rate", losses),
    ]
}

/// Returns charts, each with its file's name.
pub(crate) fn charts(report: &Report) -> Vec<(String, String)> {
    crate::report::charts::of_report(report)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;
    use crate::rfc8219::wires::{Ends, tests::wire};
    use crate::statistics::Histogram;

    /// Like a measured one.
    pub(crate) fn report() -> Report {
        let address = "2001:db8::1".parse().unwrap();
        let options = Options {
            tx: wire(1, None),
            rx: wire(2, None),
            direction: Direction::Both,
            ends: Ends {
                client_v4: "198.18.0.0".parse().unwrap(),
                client_v6: address,
                clients: 1,
                service_v4: "192.0.2.1".parse().unwrap(),
                service_v6: address,
                services: 1,
            },
            sizes: vec![64, 1518],
            duration: Duration::from_secs(60),
            wait: Duration::from_secs(2),
            repetitions: 20,
            tolerance: 0.01,
            resolution: 0.5,
            max_rate: None,
            generator: generator::Kind::LiveFrames,
            receiver: receiver::Kind::Xdp,
            processors: vec![0],
        };
        let result = |size, flow| {
            let mut distribution = Histogram::default();
            (0..5000).for_each(|n| distribution.record(2_000 + n * n));
            TestResult {
                size,
                flow,
                throughputs: (1..=20)
                    .map(|n| Throughput {
                        rate: 1e6 + 1e3 * f64::from(n),
                        limited_by_generator: size == 64 && n == 3,
                    })
                    .collect(),
                delays: vec![Delays::of(&distribution).unwrap(); 20],
                distribution,
                losses: [(100, 12.5), (90, 0.0), (80, 0.0)]
                    .map(|(percent_of_max, loss)| Loss {
                        percent_of_max,
                        offered: 2e4 * f64::from(percent_of_max),
                        loss,
                    })
                    .to_vec(),
            }
        };
        Report {
            machine: Machine {
                processor: "Example 9000".to_owned(),
                processors: 2,
                kernel: "Linux 6.18".to_owned(),
            },
            options,
            results: [64, 1518]
                .into_iter()
                .flat_map(|size| [result(size, Flow::V4ToV6), result(size, Flow::V6ToV4)])
                .collect(),
        }
    }

    #[test]
    fn the_document_is_as_described() {
        let document: Value = serde_json::from_str(&super::json(&report())).unwrap();
        assert_eq!(document["version"], 1);
        assert_eq!(document["kind"], "rfc8219");
        assert_eq!(document["direction"], "both");
        assert_eq!(document["generator"], "live-frames");
        assert_eq!(document["loss_tolerated_percent"], 0.01);
        let result = &document["results"][0];
        assert_eq!(result["flow"], "v4-to-v6");
        assert_eq!(result["limited_by_generator"], true);
        assert_eq!(
            result["throughput"],
            json!({ "median": 1_010_500.0, "p1": 1_001_000.0, "p99": 1_020_000.0 })
        );
        let delay = |name: &str| result[name]["median"].as_f64().unwrap();
        assert!((delay("typical_latency_ns") / 6.25e6 - 1.0).abs() < 0.01);
        assert_eq!(delay("worst_latency_ns") - 2000.0, delay("pdv_ns"));
        assert_eq!(
            result["losses"][0],
            json!({ "percent_of_max": 100, "offered": 2e6, "loss": 12.5 })
        );
    }

    #[test]
    fn tables_say_what_limits_a_number() {
        let text = text(&report());
        assert!(text.contains(" >=1010500  1001000-1020000 "), "{text}");
        assert!(text.contains("  1010500  1001000-1020000 "), "{text}");
        assert!(
            text.contains("Up to 0.01 % lost counts as no loss."),
            "{text}"
        );
        let markdown = markdown(&report());
        let rows = markdown.lines().filter(|line| line.starts_with('|'));
        assert_eq!(rows.count(), (2 + 4) + (2 + 4 * 3));
    }
}
