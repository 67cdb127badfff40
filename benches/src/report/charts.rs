//! Which charts there are, and what is in them.

use super::Spread;
use super::svg::{Axis, Chart, Point, Series};
use crate::cases::Case;
use crate::compare::{self, Comparison, Key, Outcome};
use crate::lab::{Direction, Treatment};
use crate::rfc8219::wires::Flow;
use crate::rfc8219::{Report, TestResult};
use crate::statistics::Histogram;

/// Shares of frames at which the latency is drawn, beside those between them.
const PERCENTILES: [(f64, &str); 7] = [
    (0.0, "0"),
    (0.5, "50"),
    (0.9, "90"),
    (0.99, "99"),
    (0.999, "99.9"),
    (0.9999, "99.99"),
    (0.99999, "99.999"),
];

/// Returns the charts of a comparison, each with its file's name: throughput against frame size and against table size, for
/// each direction.
pub(crate) fn of_comparison(comparison: &Comparison) -> Vec<(String, String)> {
    let base = comparison.base;
    let mut charts = Vec::new();
    for direction in Direction::ALL {
        let (name, title) = match direction {
            Direction::V4ToV6 => ("v4-to-v6", "IPv4 to IPv6"),
            Direction::V6ToV4 => ("v6-to-v4", "IPv6 to IPv4"),
        };
        let by_size = |point: compare::Point| {
            let here = compare::Point {
                size: point.size,
                ..base
            };
            (point == here).then_some(point.size as f64)
        };
        let by_table = |point: compare::Point| {
            let here = compare::Point {
                eams: point.eams,
                ..base
            };
            (point == here).then_some(f64::from(point.eams))
        };
        charts.push((
            format!("frame-size-{name}.svg"),
            throughput(
                comparison,
                direction,
                by_size,
                |_| true,
                |values| Frame {
                    title: format!("Throughput by frame size, {title}"),
                    subtitle: format!("{} client addresses, {} mappings", base.clients, base.eams),
                    x: Axis::from_zero("frame size with IPv4, octets", values),
                },
            ),
        ));
        charts.push((
            format!("table-size-{name}.svg"),
            throughput(
                comparison,
                direction,
                by_table,
                |case| case.treatment() == Treatment::Translates,
                |values| Frame {
                    title: format!("Throughput by size of the table, {title}"),
                    subtitle: format!(
                        "{} client addresses, frames of {} octets with IPv4",
                        base.clients, base.size
                    ),
                    x: Axis::values("mappings in the table", values),
                },
            ),
        ));
    }
    charts
}

/// What stands around the lines.
struct Frame {
    title: String,
    subtitle: String,
    x: Axis,
}

fn throughput(
    comparison: &Comparison,
    direction: Direction,
    place: impl Fn(compare::Point) -> Option<f64>,
    wanted: impl Fn(Case) -> bool,
    frame: impl FnOnce(&[f64]) -> Frame,
) -> String {
    let mut series = Vec::new();
    let cases = <Case as clap::ValueEnum>::value_variants();
    for (style, case) in cases.iter().enumerate() {
        // The ceiling is no device, and would make all others look small.
        if *case == Case::Ceiling || !wanted(*case) {
            continue;
        }
        let points: Vec<Point> = comparison
            .outcomes
            .iter()
            .filter(|(key, _)| key.case == *case && key.direction == direction)
            .filter_map(|(Key { point, .. }, outcome)| {
                let Outcome::Measured(rounds) = outcome else {
                    return None;
                };
                let Spread { median, min, max } = Spread::of_frames(rounds)?;
                Some(Point {
                    x: place(*point)?,
                    y: median,
                    spread: Some((min, max)),
                })
            })
            .collect();
        if !points.is_empty() {
            series.push(Series {
                label: case.title().to_owned(),
                style,
                marked: true,
                points,
            });
        }
    }
    let Frame { title, subtitle, x } = frame(&places(&series));
    let highest = all_points(&series).map(|point| point.spread.map_or(point.y, |(_, high)| high));
    let machine = &comparison.machine;
    Chart {
        title,
        subtitle: format!("{subtitle}; {}, {}", machine.processor, machine.kernel),
        x,
        y: Axis::linear(
            "frames forwarded, millions a second",
            highest.fold(0.0, f64::max),
        ),
        series,
    }
    .svg()
}

/// Returns the charts of tests, each with its file's name: throughput; and for each stream latency and loss.
pub(crate) fn of_report(report: &Report) -> Vec<(String, String)> {
    let mut flows: Vec<Flow> = Vec::new();
    for result in &report.results {
        if !flows.contains(&result.flow) {
            flows.push(result.flow);
        }
    }
    let mut charts = vec![(
        "throughput.svg".to_owned(),
        throughput_by_size(report, &flows),
    )];
    for flow in flows {
        let name = match flow {
            Flow::V4ToV6 => "v4-to-v6",
            Flow::V6ToV4 => "v6-to-v4",
            Flow::V4 => "v4",
            Flow::V6 => "v6",
        };
        charts.push((format!("latency-{name}.svg"), latency(report, flow)));
        charts.push((format!("loss-{name}.svg"), loss(report, flow)));
    }
    charts
}

fn throughput_by_size(report: &Report, flows: &[Flow]) -> String {
    let series: Vec<Series> = flows
        .iter()
        .enumerate()
        .map(|(style, flow)| Series {
            label: flow.title().to_owned(),
            style,
            marked: true,
            points: results(report, *flow)
                .filter_map(|result| {
                    let rates = result.throughputs.iter().map(|found| found.rate / 1e6);
                    let Spread { median, min, max } = Spread::of(rates)?;
                    Some(Point {
                        x: result.size as f64,
                        y: median,
                        spread: Some((min, max)),
                    })
                })
                .collect(),
        })
        .collect();
    let highest = all_points(&series).map(|point| point.y).fold(0.0, f64::max);
    Chart {
        title: "Throughput (RFC 2544, 26.1)".to_owned(),
        subtitle: subtitle(report),
        x: Axis::from_zero("frame size with IPv4, octets", &places(&series)),
        y: Axis::linear("frames, millions a second", highest),
        series,
    }
    .svg()
}

fn latency(report: &Report, flow: Flow) -> String {
    let series: Vec<Series> = results(report, flow)
        .enumerate()
        .map(|(style, result)| Series {
            label: format!("{} octets", result.size),
            style,
            marked: false,
            points: percentile_points(&result.distribution),
        })
        .collect();
    let low = all_points(&series)
        .map(|point| point.y)
        .fold(f64::MAX, f64::min);
    let high = all_points(&series).map(|point| point.y).fold(0.1, f64::max);
    Chart {
        title: format!("Latency at the throughput, {}", flow.title()),
        subtitle: format!("{}; last repetition", subtitle(report)),
        x: Axis {
            label: "frames that took no longer, percent".to_owned(),
            logarithmic: true,
            range: (1.0, 1e5),
            ticks: PERCENTILES
                .map(|(share, text)| (rareness(share), text.to_owned()))
                .to_vec(),
        },
        y: Axis::decades("one-way delay, microseconds", low.min(high), high),
        series,
    }
    .svg()
}

/// The place of a percentile on an axis where each further nine is as far: one in so many frames takes longer.
fn rareness(share: f64) -> f64 {
    1.0 / (1.0 - share)
}

fn percentile_points(histogram: &Histogram) -> Vec<Point> {
    let count = histogram.count() as f64;
    let point = |x: f64| {
        let share = 1.0 - 1.0 / x;
        let y = histogram.percentile(share)?.max(1) as f64 / 1e3;
        Some(Point { x, y, spread: None })
    };
    // Twenty to each further nine, as far as there are frames for them.
    (0..=100)
        .map(|step| 10_f64.powf(f64::from(step) / 20.0))
        .filter(|x| *x <= count)
        .filter_map(point)
        .collect()
}

fn loss(report: &Report, flow: Flow) -> String {
    let series = results(report, flow)
        .enumerate()
        .map(|(style, result)| Series {
            label: format!("{} octets", result.size),
            style,
            marked: true,
            points: result
                .losses
                .iter()
                .rev()
                .map(|loss| Point {
                    x: f64::from(loss.percent_of_max),
                    y: loss.loss,
                    spread: None,
                })
                .collect(),
        })
        .collect();
    Chart {
        title: format!("Frame loss rate (RFC 2544, 26.3), {}", flow.title()),
        subtitle: subtitle(report),
        x: Axis::linear("rate, percent of the highest", 100.0),
        y: Axis::linear("frames lost, percent", 100.0),
        series,
    }
    .svg()
}

fn subtitle(report: &Report) -> String {
    let options = &report.options;
    format!(
        "{} s a trial, {} repetitions; {}, {}",
        options.duration.as_secs_f64(),
        options.repetitions,
        report.machine.processor,
        report.machine.kernel
    )
}

fn results(report: &Report, flow: Flow) -> impl Iterator<Item = &TestResult> {
    report
        .results
        .iter()
        .filter(move |result| result.flow == flow)
}

fn all_points(series: &[Series]) -> impl Iterator<Item = &Point> {
    series.iter().flat_map(|series| &series.points)
}

/// Returns all places along the horizontal axis, in order.
fn places(series: &[Series]) -> Vec<f64> {
    let mut places: Vec<f64> = all_points(series).map(|point| point.x).collect();
    places.sort_by(f64::total_cmp);
    places.dedup();
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::svg::tests::assert_well_formed;

    #[test]
    fn a_comparison_has_two_charts_for_each_direction() {
        let charts = of_comparison(&crate::compare::tests::comparison());
        let names: Vec<&str> = charts.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            [
                "frame-size-v4-to-v6.svg",
                "table-size-v4-to-v6.svg",
                "frame-size-v6-to-v4.svg",
                "table-size-v6-to-v4.svg",
            ]
        );
        for (_, chart) in &charts {
            assert_well_formed(chart);
            assert!(chart.contains("siit-relay, AF_XDP") && chart.contains("TAYGA"));
            assert!(!chart.contains("siit-relay, XDP"), "refused, so not drawn");
        }
        assert!(charts[0].1.contains("plain XDP router"));
        assert!(!charts[1].1.contains("plain XDP router"), "has no table");
    }

    #[test]
    fn latencies_are_drawn_as_far_as_there_are_frames() {
        let mut histogram = Histogram::default();
        (1..=1000).for_each(|latency| histogram.record(latency * 1000));
        let points = percentile_points(&histogram);
        assert_eq!(points.len(), 61);
        assert!(points.is_sorted_by(|a, b| a.y <= b.y));
        assert!(
            (points[60].y / 999.0 - 1.0).abs() < 0.01,
            "{:?}",
            points[60]
        );
        assert_eq!(percentile_points(&Histogram::default()), []);
    }

    #[test]
    fn tests_have_a_chart_of_everything() {
        let charts = of_report(&crate::rfc8219::report::tests::report());
        let names: Vec<&str> = charts.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            [
                "throughput.svg",
                "latency-v4-to-v6.svg",
                "loss-v4-to-v6.svg",
                "latency-v6-to-v4.svg",
                "loss-v6-to-v4.svg",
            ]
        );
        for (_, chart) in &charts {
            assert_well_formed(chart);
        }
    }
}
