//! JSON for machines; `docs/performance.md` describes it.

use serde::Serialize;

use super::Spread;
use crate::cases::Case;
use crate::compare::{Comparison, Key, Outcome, Point};
use crate::lab::Direction;
use crate::machine::Machine;

/// Counts up when a field is renamed, goes, or gets another meaning.
const VERSION: u32 = 1;

#[derive(Serialize)]
struct Document<'a> {
    version: u32,
    kind: &'static str,
    machine: &'a Machine,
    duration_s: f64,
    rounds: u32,
    base: Point,
    results: Vec<Row<'a>>,
}

#[derive(Serialize)]
struct Row<'a> {
    case: Case,
    direction: Direction,
    #[serde(flatten)]
    point: Point,
    /// Absent if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    mpps: Option<Spread>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gbit_s: Option<Spread>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offered_mpps: Option<Spread>,
    #[serde(skip_serializing_if = "Option::is_none")]
    processor_share: Option<Spread>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frames_checked: Option<u64>,
    /// Why there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<&'a str>,
}

/// Returns a comparison as JSON.
pub(crate) fn comparison(comparison: &Comparison) -> String {
    let document = Document {
        version: VERSION,
        kind: "compare",
        machine: &comparison.machine,
        duration_s: comparison.options.duration.as_secs_f64(),
        rounds: comparison.options.rounds,
        base: comparison.base,
        results: comparison
            .outcomes
            .iter()
            .map(|(key, outcome)| row(key, outcome))
            .collect(),
    };
    serde_json::to_string_pretty(&document).expect("nothing in it that JSON cannot hold")
}

fn row<'a>(key: &Key, outcome: &'a Outcome) -> Row<'a> {
    let (rounds, problem) = match outcome {
        Outcome::Measured(rounds) => (&rounds[..], None),
        Outcome::None(why) => (&[][..], Some(why.as_str())),
    };
    Row {
        case: key.case,
        direction: key.direction,
        point: key.point,
        mpps: Spread::of_frames(rounds),
        gbit_s: Spread::of_bits(rounds),
        offered_mpps: Spread::of(rounds.iter().map(|round| round.offered / 1e6)),
        processor_share: Spread::of(rounds.iter().map(|round| round.share)),
        frames_checked: (!rounds.is_empty())
            .then(|| rounds.iter().map(|round| round.checked).sum()),
        problem,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    #[test]
    fn the_document_is_as_described() {
        let text = super::comparison(&crate::compare::tests::comparison());
        let document: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(document["version"], 1);
        assert_eq!(document["kind"], "compare");
        assert_eq!(
            document["base"],
            json!({ "size": 64, "clients": 65536, "eams": 1000 })
        );
        let results = document["results"].as_array().unwrap();
        assert_eq!(results.len(), 2 * (5 + 5 + 5 + 3));
        assert_eq!(
            results[0],
            json!({
                "case": "relay-xdp", "direction": "v4_to_v6", "size": 64, "clients": 1, "eams": 1000,
                "problem": "refused: `fast_path: xdp` & <more>",
            })
        );
        assert_eq!(
            results[10],
            json!({
                "case": "relay-af-xdp", "direction": "v4_to_v6", "size": 64, "clients": 1, "eams": 1000,
                "mpps": { "median": 2.0, "min": 1.0, "max": 3.0 },
                "gbit_s": { "median": 1.024, "min": 0.512, "max": 1.536 },
                "offered_mpps": { "median": 5.0, "min": 5.0, "max": 5.0 },
                "processor_share": { "median": 1.0, "min": 1.0, "max": 1.0 },
                "frames_checked": 300,
            })
        );
    }
}
