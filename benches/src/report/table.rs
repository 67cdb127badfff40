//! Tables for people: plain text, and Markdown for documents.

use std::fmt::Write;

use super::Spread;
use crate::compare::{Comparison, Key, Outcome};
use crate::lab::{Direction, Treatment};

/// The share of a processor that need not be mentioned.
const FREE: f64 = 0.95;

/// Rows below heads; some columns are for numbers and stand to the right.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    heads: Vec<&'static str>,
    to_the_right: Vec<bool>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Makes a table with these heads. One that begins with `>` is that of a column to the right.
    pub(crate) fn new(heads: &[&'static str]) -> Self {
        Self {
            heads: heads
                .iter()
                .map(|head| head.trim_start_matches('>'))
                .collect(),
            to_the_right: heads.iter().map(|head| head.starts_with('>')).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row. It may be shorter than the heads; then its last cell is a remark, as long as it likes.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// Returns it as plain text.
    pub(crate) fn text(&self) -> String {
        let width = |column: usize| {
            let rows = self.rows.iter();
            // The last cell of a short row is the remark.
            let cells = rows.filter(|row| row.len() == self.heads.len() || column + 1 < row.len());
            let widths = cells.map(|row| row[column].chars().count());
            widths.chain([self.heads[column].len()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.heads.len()).map(width).collect();
        let heads: Vec<String> = self.heads.iter().map(ToString::to_string).collect();
        let mut text = String::new();
        for row in std::iter::once(&heads).chain(&self.rows) {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let width = widths[column];
                let is_remark = row.len() < self.heads.len() && column + 1 == row.len();
                if self.to_the_right[column] && !is_remark {
                    write!(line, "{cell:>width$}  ").expect("a string takes everything");
                } else {
                    write!(line, "{cell:width$}  ").expect("a string takes everything");
                }
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    /// Returns it as Markdown.
    pub(crate) fn markdown(&self) -> String {
        let mut text = format!("| {} |\n|", self.heads.join(" | "));
        for to_the_right in &self.to_the_right {
            text.push_str(if *to_the_right { "---:|" } else { "---|" });
        }
        text.push('\n');
        for row in &self.rows {
            let missing = self.heads.len() - row.len();
            let cells: Vec<String> = row.iter().map(|cell| cell.replace('|', "\\|")).collect();
            let rest = " | ".repeat(missing);
            writeln!(text, "| {}{rest} |", cells.join(" | ")).expect("a string takes everything");
        }
        text
    }
}

/// Returns a comparison as plain text.
pub(crate) fn text(comparison: &Comparison) -> String {
    format!("{}\n\n{}", conditions(comparison), table(comparison).text())
}

/// Returns a comparison as a table in Markdown.
pub(crate) fn markdown(comparison: &Comparison) -> String {
    format!(
        "{}\n\n{}",
        conditions(comparison),
        table(comparison).markdown()
    )
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
    let shares = comparison
        .outcomes
        .values()
        .flat_map(|outcome| match outcome {
            Outcome::Measured(rounds) => &rounds[..],
            Outcome::None(_) => &[],
        });
    let least = shares.map(|round| round.share).min_by(f64::total_cmp);
    if let Some(least) = least.filter(|least| *least < FREE) {
        write!(
            text,
            " Other programs were running: at worst a device had its processor for {:.0} % of the time, which is the time that \
             counts.",
            least * 100.0
        )
        .expect("a string takes everything");
    }
    text
}

fn table(comparison: &Comparison) -> Table {
    let mut table = Table::new(&[
        "device",
        "direction",
        ">octets",
        ">clients",
        ">mappings",
        ">Mpps",
        "spread",
        ">Gbit/s",
    ]);
    let mut keys: Vec<&Key> = comparison.outcomes.keys().collect();
    keys.sort_by_key(|key| (key.point, key.direction, key.case));
    for key in keys {
        table.row(row(key, &comparison.outcomes[key]));
    }
    table
}

fn row(key: &Key, outcome: &Outcome) -> Vec<String> {
    let mappings = match key.case.treatment() {
        Treatment::Translates => key.point.eams.to_string(),
        Treatment::Routes => "-".to_owned(),
    };
    let mut row = vec![
        key.case.title().to_owned(),
        direction(key).to_owned(),
        key.point.size.to_string(),
        key.point.clients.to_string(),
        mappings,
    ];
    match outcome {
        Outcome::Measured(rounds) => match (Spread::of_frames(rounds), Spread::of_bits(rounds)) {
            (Some(frames), Some(bits)) => row.extend([
                format!("{:.2}", frames.median),
                format!("{:.2}-{:.2}", frames.min, frames.max),
                format!("{:.2}", bits.median),
            ]),
            _ => row.push("interrupted".to_owned()),
        },
        Outcome::None(why) => row.push(why.clone()),
    }
    row
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
        assert!(!lines[0].contains("Other programs"), "{}", lines[0]);
        let octets = lines[2].find("octets").unwrap() + "octets".len();
        for line in &lines[3..] {
            let start = &line[..octets];
            assert!(start.ends_with("  64") || start.ends_with("1518"), "{line}");
        }
        assert!(
            text.contains("1000  refused: `fast_path: xdp` & <more>\n"),
            "{text}"
        );
        assert!(text.contains("2.00-4.00"), "{text}");
    }

    #[test]
    fn markdown_has_as_many_cells_in_every_row() {
        let text = markdown(&comparison());
        let rows: Vec<&str> = text.lines().filter(|line| line.starts_with('|')).collect();
        assert!(rows.len() > 20);
        assert!(
            rows.iter().all(|row| row.matches('|').count() == 9),
            "{text}"
        );
        assert!(
            text.contains("|---|---|---:|---:|---:|---:|---|---:|"),
            "{text}"
        );
    }

    #[test]
    fn a_busy_machine_is_mentioned() {
        let mut comparison = comparison();
        for outcome in comparison.outcomes.values_mut() {
            if let Outcome::Measured(rounds) = outcome {
                rounds[0].share = 0.4;
            }
        }
        assert!(text(&comparison).contains("its processor for 40 % of the time"));
    }
}
