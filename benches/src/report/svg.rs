//! Line charts as SVG, for reports: title, axes with units, grid, legend, error bars; nothing else.
//!
//! Dark on white, in colours that people with impaired colour vision can tell apart (Okabe and Ito), and with marks of
//! different shape besides.

use std::fmt::Write;

/// Size of a chart, in pixels.
const WIDTH: f64 = 880.0;
const HEIGHT: f64 = 460.0;
/// Where the lines are drawn: left, right, top, bottom.
const LEFT: f64 = 76.0;
const RIGHT: f64 = 640.0;
const TOP: f64 = 56.0;
const BOTTOM: f64 = 396.0;
/// Where the legend begins.
const LEGEND: f64 = 664.0;
/// What has to be free between two numbers.
const GAP: f64 = 2.0;
/// Width of a digit.
const DIGIT: f64 = 7.7;
/// Height of a line of the legend.
const LINE: f64 = 22.0;
/// Colours, in the order of the series.
const COLOURS: [&str; 8] = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#000000", "#e69f00", "#56b4e9", "#7f7f7f",
];

/// A chart.
#[derive(Clone, Debug)]
pub(crate) struct Chart {
    /// What it shows.
    pub(crate) title: String,
    /// Under what conditions.
    pub(crate) subtitle: String,
    /// The horizontal axis.
    pub(crate) x: Axis,
    /// The vertical axis.
    pub(crate) y: Axis,
    /// The lines.
    pub(crate) series: Vec<Series>,
}

/// An axis.
#[derive(Clone, Debug)]
pub(crate) struct Axis {
    /// What it measures, with its unit.
    pub(crate) label: String,
    /// Whether equal distances are equal factors.
    pub(crate) logarithmic: bool,
    /// From where to where.
    pub(crate) range: (f64, f64),
    /// Where there is a number, and how it reads.
    pub(crate) ticks: Vec<(f64, String)>,
}

/// A line.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    /// Its name.
    pub(crate) label: String,
    /// Which colour and mark it has; the same for the same thing in several charts.
    pub(crate) style: usize,
    /// Whether its points have marks.
    pub(crate) marked: bool,
    /// Its points, from left to right.
    pub(crate) points: Vec<Point>,
}

/// A point of a line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Point {
    /// Along the horizontal axis.
    pub(crate) x: f64,
    /// Along the vertical axis.
    pub(crate) y: f64,
    /// From where to where along the vertical axis measurements were spread.
    pub(crate) spread: Option<(f64, f64)>,
}

impl Axis {
    /// Makes an axis from zero, with round numbers up to at least `max`.
    pub(crate) fn linear(label: &str, max: f64) -> Self {
        let max = if max > 0.0 { max } else { 1.0 };
        let rough = max / 5.0;
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 2.5, 5.0, 10.0]
            .map(|factor| factor * power)
            .into_iter()
            .find(|step| *step >= rough)
            .unwrap_or(10.0 * power);
        let count = (max / step).ceil() as u32;
        Self {
            label: label.to_owned(),
            logarithmic: false,
            range: (0.0, step * f64::from(count)),
            ticks: (0..=count)
                .map(|tick| (step * f64::from(tick), number(step * f64::from(tick))))
                .collect(),
        }
    }

    /// Makes an axis with equal distances for equal factors, with a number at each power of ten.
    pub(crate) fn decades(label: &str, min: f64, max: f64) -> Self {
        let low = min.log10().floor() as i32;
        let high = (max.log10().ceil() as i32).max(low + 1);
        Self {
            label: label.to_owned(),
            logarithmic: true,
            range: (10_f64.powi(low), 10_f64.powi(high)),
            ticks: (low..=high)
                .map(|power| (10_f64.powi(power), number(10_f64.powi(power))))
                .collect(),
        }
    }

    /// Makes an axis with equal distances for equal factors, with numbers where there are values; they are in order.
    pub(crate) fn values(label: &str, values: &[f64]) -> Self {
        let first = values.first().copied().unwrap_or(1.0);
        let last = values.last().copied().unwrap_or(1.0);
        // Some room at both ends, and something to divide by.
        let room = (last / first).powf(0.04).max(1.05);
        Self {
            label: label.to_owned(),
            logarithmic: true,
            range: (first / room, last * room),
            ticks: values
                .iter()
                .map(|value| (*value, number(*value)))
                .collect(),
        }
    }

    /// Makes an axis from zero, with numbers where there are values; they are in order.
    pub(crate) fn from_zero(label: &str, values: &[f64]) -> Self {
        let last = values.last().copied().unwrap_or(1.0);
        Self {
            logarithmic: false,
            range: (0.0, last * 1.04),
            ..Self::values(label, values)
        }
    }

    /// Returns how far along the axis a value lies, between 0 and 1.
    fn place(&self, value: f64) -> f64 {
        let (low, high) = self.range;
        let value = value.clamp(low, high);
        if self.logarithmic {
            (value / low).ln() / (high / low).ln()
        } else {
            (value - low) / (high - low)
        }
    }
}

impl Chart {
    /// Returns the chart as an SVG document.
    pub(crate) fn svg(&self) -> String {
        let mut svg = String::new();
        self.draw(&mut svg).expect("a string takes everything");
        svg
    }

    fn draw(&self, svg: &mut String) -> std::fmt::Result {
        writeln!(
            svg,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
             viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"DejaVu Sans, Helvetica, Arial, sans-serif\" font-size=\"12\">\n\
             <title>{title}</title>\n\
             <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n\
             <text x=\"{LEFT}\" y=\"24\" font-size=\"16\" font-weight=\"bold\" fill=\"#111111\">{title}</text>\n\
             <text x=\"{LEFT}\" y=\"43\" fill=\"#555555\">{subtitle}</text>",
            title = escape(&self.title),
            subtitle = escape(&self.subtitle),
        )?;
        self.draw_axes(svg)?;
        for series in &self.series {
            self.draw_series(svg, series)?;
        }
        self.draw_legend(svg)?;
        svg.write_str("</svg>\n")
    }

    fn draw_axes(&self, svg: &mut String) -> std::fmt::Result {
        for (value, text) in &self.y.ticks {
            let y = self.y(*value);
            let text = escape(text);
            writeln!(
                svg,
                "<path d=\"M{LEFT} {y:.1}H{RIGHT}\" stroke=\"#dddddd\"/>\n\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#333333\">{text}</text>",
                LEFT - 8.0,
                y + 4.0,
            )?;
        }
        let mut free_from = f64::MIN;
        for (value, text) in &self.x.ticks {
            let x = self.x(*value);
            writeln!(
                svg,
                "<path d=\"M{x:.1} {TOP}V{BOTTOM}\" stroke=\"#eeeeee\"/>\n\
                 <path d=\"M{x:.1} {BOTTOM}v5\" stroke=\"#333333\"/>"
            )?;
            // Numbers that would run into the one before are left out.
            let half = text.chars().count() as f64 * DIGIT / 2.0;
            if x - half < free_from {
                continue;
            }
            free_from = x + half + GAP;
            writeln!(
                svg,
                "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#333333\">{}</text>",
                BOTTOM + 19.0,
                escape(text),
            )?;
        }
        let middle = (TOP + BOTTOM) / 2.0;
        writeln!(
            svg,
            "<path d=\"M{LEFT} {TOP}V{BOTTOM}H{RIGHT}\" fill=\"none\" stroke=\"#333333\"/>\n\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#111111\">{}</text>\n\
             <text x=\"20\" y=\"{middle:.1}\" text-anchor=\"middle\" fill=\"#111111\" \
             transform=\"rotate(-90 20 {middle:.1})\">{}</text>",
            (LEFT + RIGHT) / 2.0,
            BOTTOM + 44.0,
            escape(&self.x.label),
            escape(&self.y.label),
        )
    }

    fn draw_series(&self, svg: &mut String, series: &Series) -> std::fmt::Result {
        let colour = COLOURS[series.style % COLOURS.len()];
        let mut path = String::new();
        for (number, point) in series.points.iter().enumerate() {
            let command = if number == 0 { 'M' } else { 'L' };
            write!(
                path,
                "{command}{:.1} {:.1}",
                self.x(point.x),
                self.y(point.y)
            )?;
        }
        if !path.is_empty() {
            writeln!(
                svg,
                "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" stroke-linejoin=\"round\"/>"
            )?;
        }
        for point in &series.points {
            let (x, y) = (self.x(point.x), self.y(point.y));
            if let Some((low, high)) = point.spread {
                let (low, high) = (self.y(low), self.y(high));
                writeln!(
                    svg,
                    "<path d=\"M{x:.1} {low:.1}V{high:.1}M{:.1} {low:.1}h6M{:.1} {high:.1}h6\" stroke=\"{colour}\"/>",
                    x - 3.0,
                    x - 3.0,
                )?;
            }
            if series.marked {
                draw_mark(svg, series.style, x, y)?;
            }
        }
        Ok(())
    }

    fn draw_legend(&self, svg: &mut String) -> std::fmt::Result {
        for (series, line) in self.series.iter().zip(0..) {
            let y = TOP + 10.0 + LINE * f64::from(line);
            let colour = COLOURS[series.style % COLOURS.len()];
            writeln!(
                svg,
                "<path d=\"M{LEGEND} {y:.1}h24\" stroke=\"{colour}\" stroke-width=\"2\"/>"
            )?;
            if series.marked {
                draw_mark(svg, series.style, LEGEND + 12.0, y)?;
            }
            writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{:.1}\" fill=\"#111111\">{}</text>",
                LEGEND + 32.0,
                y + 4.0,
                escape(&series.label),
            )?;
        }
        Ok(())
    }

    fn x(&self, value: f64) -> f64 {
        LEFT + (RIGHT - LEFT) * self.x.place(value)
    }

    fn y(&self, value: f64) -> f64 {
        BOTTOM - (BOTTOM - TOP) * self.y.place(value)
    }
}

/// Draws one of four marks: disc, square, diamond, triangle.
fn draw_mark(svg: &mut String, style: usize, x: f64, y: f64) -> std::fmt::Result {
    let colour = COLOURS[style % COLOURS.len()];
    let shape = match style % 4 {
        0 => "m-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z",
        1 => "m-3.5 -3.5h7v7h-7z",
        2 => "m0 -5l5 5l-5 5l-5 -5z",
        _ => "m0 -5l4.5 8h-9z",
    };
    writeln!(svg, "<path d=\"M{x:.1} {y:.1}{shape}\" fill=\"{colour}\"/>")
}

/// Writes a number shortly, with thin spaces between thousands.
fn number(value: f64) -> String {
    let text = format!("{value:.6}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    let (whole, rest) = text.find('.').map_or((text, ""), |at| text.split_at(at));
    let mut spaced = String::new();
    for (position, digit) in whole.chars().enumerate() {
        if position > 0 && whole.len() > 4 && (whole.len() - position).is_multiple_of(3) {
            spaced.push('\u{2009}');
        }
        spaced.push(digit);
    }
    spaced + rest
}

/// Escapes what has a meaning in XML.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Checks that all elements are closed in their order, and that nothing is left unescaped.
    pub(crate) fn assert_well_formed(svg: &str) {
        let mut open = Vec::new();
        let mut rest = svg;
        while let Some(start) = rest.find('<') {
            assert!(
                !rest[..start].contains('>'),
                "a stray > in {}",
                &rest[..start]
            );
            let end = start + rest[start..].find('>').expect("every tag ends");
            let tag = &rest[start + 1..end];
            assert!(tag.matches('"').count().is_multiple_of(2), "{tag}");
            for text in [&rest[..start], tag] {
                for (at, _) in text.match_indices('&') {
                    let known = ["&amp;", "&lt;", "&gt;", "&quot;"];
                    assert!(
                        known.iter().any(|entity| text[at..].starts_with(entity)),
                        "{text}"
                    );
                }
            }
            if let Some(name) = tag.strip_prefix('/') {
                assert_eq!(open.pop(), Some(name.to_owned()));
            } else if !tag.ends_with('/') {
                open.push(tag.split_whitespace().next().unwrap().to_owned());
            }
            rest = &rest[end + 1..];
        }
        assert_eq!(open, Vec::<String>::new());
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }

    #[test]
    fn numbers_on_axes_are_round() {
        let ticks = |axis: &Axis| {
            let ticks = axis
                .ticks
                .iter()
                .map(|(_, text)| text.replace('\u{2009}', " "));
            ticks.collect::<Vec<String>>()
        };
        assert_eq!(ticks(&Axis::linear("", 7.3)), ["0", "2", "4", "6", "8"]);
        assert_eq!(
            ticks(&Axis::linear("", 0.42)),
            ["0", "0.1", "0.2", "0.3", "0.4", "0.5"]
        );
        assert_eq!(ticks(&Axis::linear("", 0.0)).len(), 6);
        assert_eq!(
            ticks(&Axis::decades("", 3.0, 12_000.0)),
            ["1", "10", "100", "1000", "10 000", "100 000"]
        );
        assert_eq!(ticks(&Axis::values("", &[64.0, 1518.0])), ["64", "1518"]);
    }

    #[test]
    fn values_lie_in_order_between_the_ends() {
        for axis in [
            Axis::linear("", 10.0),
            Axis::decades("", 0.1, 10.0),
            Axis::values("", &[1.0, 10.0]),
            Axis::values("", &[5.0]),
            Axis::from_zero("", &[5.0, 9.0]),
        ] {
            let places = [-1.0, 0.5, 1.0, 5.0, 9.0, 1e9].map(|value| axis.place(value));
            assert!(places.is_sorted(), "{places:?}");
            assert!(
                places.iter().all(|place| (0.0..=1.0).contains(place)),
                "{places:?}"
            );
        }
    }

    #[test]
    fn a_chart_is_well_formed_whatever_is_in_it() {
        let point = |x, y| Point {
            x,
            y,
            spread: Some((y / 2.0, y * 2.0)),
        };
        let series = |style, points| Series {
            label: "a < b & \"c\"".to_owned(),
            style,
            marked: true,
            points,
        };
        let chart = Chart {
            title: "<Title> & more".to_owned(),
            subtitle: String::new(),
            x: Axis::values("octets", &[64.0, 1518.0]),
            y: Axis::linear("Mpps", 3.0),
            series: vec![
                series(0, vec![point(64.0, 3.0), point(1518.0, 1.0)]),
                series(17, vec![]),
                series(3, vec![point(64.0, 0.0)]),
            ],
        };
        let svg = chart.svg();
        assert_well_formed(&svg);
        assert!(svg.contains("<title>&lt;Title&gt; &amp; more</title>"));
        assert!(svg.contains("a &lt; b &amp; &quot;c&quot;"));
    }
}
