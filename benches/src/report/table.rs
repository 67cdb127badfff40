//! Tables for people: plain text, and Markdown for documents.

use std::fmt::Write;

use super::Spread;
use crate::compare::{Comparison, Key, Outcome};
use crate::lab::{Direction, Treatment};

/// The heads of the columns.
const HEADS: [&str; 8] = [
    "device",
    "direction",
    "octets",
    "clients",
    "mappings",
    "Mpps",
    "spread",
    "Gbit/s",
];

/// The share of a processor that leaves no doubt about rates.
const FREE: f64 = 0.95;

/// Returns a comparison as plain text.
pub(crate) fn text(comparison: &Comparison) -> String {
    let rows: Vec<[String; 8]> = rows(comparison);
    let heads = HEADS.map(str::to_owned);
    let widths: [usize; 8] = std::array::from_fn(|column| {
        // Reasons in place of numbers may be of any length.
        let numbers = rows.iter().filter(|row| column != 5 || !row[6].is_empty());
        let widths = numbers.map(|row| row[column].chars().count());
        widths.chain([HEADS[column].len()]).max().unwrap_or(0)
    });
    let mut text = format!("{}\n\n", conditions(comparison));
    for row in std::iter::once(&heads).chain(&rows) {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
            if column < 2 {
                write!(line, "{cell:width$}  ").expect("a string takes everything");
            } else if row[6].is_empty() && column >= 5 {
                write!(line, "{cell}").expect("a string takes everything");
            } else {
                write!(line, "{cell:>width$}  ").expect("a string takes everything");
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Returns a comparison as a table in Markdown.
pub(crate) fn markdown(comparison: &Comparison) -> String {
    let mut text = format!(
        "{}\n\n| {} |\n|---|---|---:|---:|---:|---:|---|---:|\n",
        conditions(comparison),
        HEADS.join(" | ")
    );
    for row in rows(comparison) {
        let cells = row.map(|cell| cell.replace('|', "\\|"));
        writeln!(text, "| {} |", cells.join(" | ")).expect("a string takes everything");
    }
    text
}

/// Says where and how the numbers came about.
fn conditions(comparison: &Comparison) -> String {
    let Comparison {
        machine, options, ..
    } = comparison;
    let mut text = format!(
        "{}, {} processors, {}. {} rounds of {} s; medians, with the least and the greatest.",
        machine.processor,
        machine.processors,
        machine.kernel,
        options.rounds,
        options.duration.as_secs_f64()
    );
    let shares = comparison.outcomes.values().flat_map(|outcome| match outcome {
        Outcome::Measured(rounds) => &rounds[..],
        Outcome::None(_) => &[],
    });
    let least = shares.map(|round| round.share).min_by(f64::total_cmp);
    if let Some(least) = least.filter(|least| *least < FREE) {
        write!(
            text,
            " Other programs were running: at times the generator had only {:.0} % of its processor, and rates are too low.",
            least * 100.0
        )
        .expect("a string takes everything");
    }
    text
}

fn rows(comparison: &Comparison) -> Vec<[String; 8]> {
    let mut keys: Vec<&Key> = comparison.outcomes.keys().collect();
    keys.sort_by_key(|key| (key.point, key.direction, key.case));
    keys.into_iter()
        .map(|key| row(key, &comparison.outcomes[key]))
        .collect()
}

fn row(key: &Key, outcome: &Outcome) -> [String; 8] {
    let mappings = match key.case.treatment() {
        Treatment::Translates => key.point.eams.to_string(),
        Treatment::Routes => "-".to_owned(),
    };
    let [frames, spread, bits] = match outcome {
        Outcome::Measured(rounds) => match (Spread::of_frames(rounds), Spread::of_bits(rounds)) {
            (Some(frames), Some(bits)) => [
                format!("{:.2}", frames.median),
                format!("{:.2}-{:.2}", frames.min, frames.max),
                format!("{:.2}", bits.median),
            ],
            _ => ["interrupted".to_owned(), String::new(), String::new()],
        },
        Outcome::None(why) => [why.clone(), String::new(), String::new()],
    };
    [
        key.case.title().to_owned(),
        direction(key).to_owned(),
        key.point.size.to_string(),
        key.point.clients.to_string(),
        mappings,
        frames,
        spread,
        bits,
    ]
}

/// Names a direction as it is for this device.
pub(crate) fn direction(key: &Key) -> &'static str {
    match (key.case.treatment(), key.direction) {
        (Treatment::Translates, Direction::V4ToV6) => "IPv4 -> IPv6",
        (Treatment::Translates, Direction::V6ToV4) => "IPv6 -> IPv4",
        (Treatment::Routes, Direction::V4ToV6) => "IPv4",
        (Treatment::Routes, Direction::V6ToV4) => "IPv6",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::tests::comparison;

    #[test]
    fn columns_stand_below_each_other() {
        let text = text(&comparison());
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("Example 9000, 2 processors, Linux 6.18. 3 rounds of 1 s;"));
        let octets = lines[2].find("octets").unwrap() + "octets".len();
        for line in &lines[3..] {
            assert!(line[..octets].ends_with("64") || line[..octets].ends_with("1518"), "{line}");
            assert!(line.starts_with("siit") || line.starts_with("plain") || line.starts_with("TAYGA"));
        }
        assert!(text.contains("1000  refused: `fast_path: xdp` & <more>\n"), "{text}");
        assert!(text.contains("2.00-4.00"), "{text}");
    }

    #[test]
    fn markdown_has_as_many_cells_in_every_row() {
        let text = markdown(&comparison());
        let rows: Vec<&str> = text.lines().filter(|line| line.starts_with('|')).collect();
        assert!(rows.len() > 20);
        assert!(rows.iter().all(|row| row.matches('|').count() == 9), "{text}");
    }
}
