//! The two formats of metrics, and how metrics are written in either: Prometheus' text format 0.0.4 and OpenMetrics 1.0.0.
//!
//! They differ in little. In OpenMetrics a counter's family has a name without `_total` and an `info` one without `_info`, units
//! are named, help is quoted in another way, and the text has an end. What there is to say is said once, by
//! [`metrics`](super::metrics).

use std::fmt::{Display, Write};

/// Units that names of metrics end in, as OpenMetrics spells them.
const UNITS: [&str; 2] = ["seconds", "bytes"];

/// A format of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' text format, version 0.0.4.
    Text,
    /// OpenMetrics, version 1.0.0.
    OpenMetrics,
}

impl Format {
    /// Returns the media type, as a Content-Type has it.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Kinds of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A number that only grows; the names of its samples end in `_total`.
    Counter,
    /// A number that goes up and down.
    Gauge,
    /// What does not change, in labels; the names of its samples, which are always 1, end in `_info`.
    Info,
}

/// The name of the samples of a metric that was begun.
pub(super) struct Samples(String);

/// Writes metrics one after the other.
pub(super) struct Exposition {
    format: Format,
    text: String,
}

impl Exposition {
    pub(super) fn new(format: Format) -> Self {
        Self {
            format,
            text: String::new(),
        }
    }

    /// Begins a metric. The name is without the suffix that every metric of its kind has.
    pub(super) fn begin(&mut self, name: &str, kind: Kind, help: &str) -> Samples {
        let (suffix, classic, modern) = match kind {
            Kind::Counter => ("_total", "counter", "counter"),
            Kind::Gauge => ("", "gauge", "gauge"),
            Kind::Info => ("_info", "gauge", "info"),
        };
        let samples = format!("{name}{suffix}");
        let help = help.replace('\\', "\\\\").replace('\n', " ");
        // Writing to memory cannot fail.
        let _ = match self.format {
            Format::Text => writeln!(
                self.text,
                "# HELP {samples} {help}\n# TYPE {samples} {classic}"
            ),
            Format::OpenMetrics => {
                let mut units = UNITS.iter();
                let unit = units.find(|unit| name.ends_with(&format!("_{unit}")));
                let unit = unit.map_or(String::new(), |unit| format!("# UNIT {name} {unit}\n"));
                let help = help.replace('"', "\\\"");
                writeln!(
                    self.text,
                    "# TYPE {name} {modern}\n{unit}# HELP {name} {help}"
                )
            }
        };
        Samples(samples)
    }

    /// Writes a value of a metric that was begun last.
    pub(super) fn sample(&mut self, of: &Samples, labels: &[(&str, &str)], value: impl Display) {
        let labels: Vec<String> = labels
            .iter()
            .map(|(label, value)| {
                let value = value.replace('\\', "\\\\").replace('"', "\\\"");
                format!("{label}=\"{}\"", value.replace('\n', "\\n"))
            })
            .collect();
        let labels = match labels.is_empty() {
            true => String::new(),
            false => format!("{{{}}}", labels.join(",")),
        };
        let _ = writeln!(self.text, "{}{labels} {value}", of.0);
    }

    /// Returns all that was written.
    pub(super) fn end(mut self) -> String {
        match self.format {
            Format::Text => {}
            Format::OpenMetrics => self.text.push_str("# EOF\n"),
        }
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(format: Format) -> String {
        let mut metrics = Exposition::new(format);
        let samples = metrics.begin("lost_seconds", Kind::Counter, "A \\ and a \"word\".");
        metrics.sample(&samples, &[("why", "a \"b\"\\\n")], 2);
        let samples = metrics.begin("build", Kind::Info, "Always 1.");
        metrics.sample(&samples, &[("version", "1")], 1);
        let samples = metrics.begin("limit", Kind::Gauge, "How many.");
        metrics.sample(&samples, &[], "+Inf");
        metrics.end()
    }

    #[test]
    fn the_text_format_has_whole_names() {
        let expected = r#"# HELP lost_seconds_total A \\ and a "word".
# TYPE lost_seconds_total counter
lost_seconds_total{why="a \"b\"\\\n"} 2
# HELP build_info Always 1.
# TYPE build_info gauge
build_info{version="1"} 1
# HELP limit How many.
# TYPE limit gauge
limit +Inf
"#;
        assert_eq!(text(Format::Text), expected);
    }

    #[test]
    fn openmetrics_has_families_units_and_an_end() {
        let expected = r#"# TYPE lost_seconds counter
# UNIT lost_seconds seconds
# HELP lost_seconds A \\ and a \"word\".
lost_seconds_total{why="a \"b\"\\\n"} 2
# TYPE build info
# HELP build Always 1.
build_info{version="1"} 1
# TYPE limit gauge
# HELP limit How many.
limit +Inf
# EOF
"#;
        assert_eq!(text(Format::OpenMetrics), expected);
    }
}
