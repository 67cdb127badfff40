//! Which format of metrics a client wants, by its `Accept` header (RFC 9110, 12.5.1), as Prometheus' own libraries read it.
//!
//! OpenMetrics is for those that name it; to whom anything will do, or nothing of what there is, gets the text format.

use super::exposition::Format;

/// Returns the format for a client whose `Accept` headers have these values.
///
/// The one with the greatest quality value is chosen, and the one that is named first of two with the same.
pub(super) fn choose<'h>(accept: impl Iterator<Item = &'h str>) -> Format {
    let ranges = accept.flat_map(|header| header.split(','));
    let mut best = (Format::Text, 0);
    for (format, quality) in ranges.filter_map(wanted) {
        if quality > best.1 {
            best = (format, quality);
        }
    }
    best.0
}

/// Returns the format that a media range stands for, if it is one of ours, with its quality value in thousandths.
fn wanted(range: &str) -> Option<(Format, u32)> {
    let mut parts = range.split(';').map(str::trim);
    let media = parts.next()?.to_ascii_lowercase();
    let (mut version, mut quality) = (None, 1000);
    for parameter in parts {
        let (name, value) = parameter.split_once('=')?;
        let value = value.trim().trim_matches('"');
        match name.trim().to_ascii_lowercase().as_str() {
            "version" => version = Some(value),
            "q" => quality = thousandths(value)?,
            // Character sets, ways to escape names: all that is sent is ASCII.
            _ => {}
        }
    }
    let format = match (media.as_str(), version) {
        ("application/openmetrics-text", None | Some("1.0.0")) => Format::OpenMetrics,
        ("text/plain", None | Some("0.0.4")) | ("text/*" | "*/*", _) => Format::Text,
        _ => return None,
    };
    Some((format, quality))
}

/// Reads a quality value: 0 to 1, with three decimals at most.
fn thousandths(text: &str) -> Option<u32> {
    let value: f64 = text.parse().ok()?;
    (0.0..=1.0)
        .contains(&value)
        .then(|| (value * 1000.0).round() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openmetrics_is_for_those_that_want_it_most() {
        for (accept, format) in [
            ("", Format::Text),
            ("*/*", Format::Text),
            ("text/html, */*;q=0.1", Format::Text),
            ("application/json", Format::Text),
            ("application/*", Format::Text),
            ("text/plain", Format::Text),
            ("application/openmetrics-text", Format::OpenMetrics),
            (
                "Application/OpenMetrics-Text; Version=\"1.0.0\"; charset=utf-8",
                Format::OpenMetrics,
            ),
            ("application/openmetrics-text;version=2.0.0", Format::Text),
            ("application/openmetrics-text;version=0.0.1", Format::Text),
            ("application/openmetrics-text;q=0", Format::Text),
            ("application/openmetrics-text;q=2", Format::Text),
            (
                "application/openmetrics-text;q=0.5,text/plain;q=0.6",
                Format::Text,
            ),
            (
                "text/plain;q=0.5,application/openmetrics-text;q=0.501",
                Format::OpenMetrics,
            ),
            ("text/plain,application/openmetrics-text", Format::Text),
            (
                "application/openmetrics-text,text/plain",
                Format::OpenMetrics,
            ),
            // Prometheus 2.42 and 3.5.
            (
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                 text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                Format::OpenMetrics,
            ),
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                 application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
                 text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                Format::OpenMetrics,
            ),
            (
                "text/plain;version=0.0.4;q=0.6,application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.4",
                Format::Text,
            ),
        ] {
            assert_eq!(choose([accept].into_iter()), format, "{accept}");
        }
        let lines = ["text/plain;q=0.1", "application/openmetrics-text;q=0.2"];
        assert_eq!(choose(lines.into_iter()), Format::OpenMetrics);
        assert_eq!(choose([].into_iter()), Format::Text);
    }
}
