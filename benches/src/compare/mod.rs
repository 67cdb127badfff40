//! `siit-bench compare`: several devices, measured in turns, so that whatever else happens on the machine hits all alike.
//!
//! One thing varies at a time around a [`Point`] that stands for all: see [`points`]. All devices with the same table run at
//! once, each in a laboratory of its own, and rest while another one is measured.

mod measure;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;

use crate::cases::{Case, Device, Settings, StartError};
use crate::generator::live_frames::LiveFrames;
use crate::interrupt;
use crate::lab::{Direction, Lab, Treatment, traffic};
use crate::machine::Machine;
use crate::progress::Progress;

/// What to measure, and how.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// For each measurement.
    pub(crate) duration: Duration,
    /// How often everything is measured.
    pub(crate) rounds: u32,
    /// Frame sizes with IPv4, with frame check sequence, in octets.
    pub(crate) sizes: Vec<usize>,
    /// Numbers of client addresses.
    pub(crate) clients: Vec<u32>,
    /// Numbers of mappings.
    pub(crate) eams: Vec<u32>,
    /// The devices.
    pub(crate) cases: Vec<Case>,
    /// The relay's program.
    pub(crate) relay: PathBuf,
    /// The processor that generates frames.
    pub(crate) generator_cpu: usize,
    /// The processor for threads of devices.
    pub(crate) device_cpu: usize,
}

/// The circumstances of a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub(crate) struct Point {
    /// Size of the frames with IPv4, with frame check sequence, in octets.
    pub(crate) size: usize,
    /// Number of client addresses.
    pub(crate) clients: u32,
    /// Number of mappings in the table.
    pub(crate) eams: u32,
}

/// What was measured, of which device, in which direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    /// The device.
    pub(crate) case: Case,
    /// The direction.
    pub(crate) direction: Direction,
    /// The circumstances.
    pub(crate) point: Point,
}

/// One measurement. Rates are those of the time in which generator and device had their processors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Round {
    /// Frames sent in a second.
    pub(crate) offered: f64,
    /// Frames arrived in a second.
    pub(crate) frames: f64,
    /// Bits arrived in a second, with frame check sequences.
    pub(crate) bits: f64,
    /// Which share of the whole time that was.
    pub(crate) share: f64,
    /// Frames whose every octet was checked.
    pub(crate) checked: u64,
}

/// What came of measuring.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    /// Frames arrived, and all that were looked at were right.
    Measured(Vec<Round>),
    /// There is no number, and this is why.
    None(String),
}

/// The result of a comparison.
#[derive(Clone, Debug)]
pub(crate) struct Comparison {
    /// Where it was made.
    pub(crate) machine: Machine,
    /// How it was made.
    pub(crate) options: Options,
    /// The circumstances that stand for all.
    pub(crate) base: Point,
    /// What came out.
    pub(crate) outcomes: BTreeMap<Key, Outcome>,
}

/// Returns the point that stands for all while other things vary: the first size, the last number of clients, the middle
/// number of mappings.
pub(crate) fn base(options: &Options) -> Point {
    Point {
        size: options.sizes[0],
        clients: options.clients[options.clients.len() - 1],
        eams: options.eams[options.eams.len() / 2],
    }
}

/// Returns the points where a device is measured: those that differ from the base in one thing. A device without a table
/// is not measured with different ones.
fn points(options: &Options, treatment: Treatment) -> Vec<Point> {
    let base = base(options);
    let sizes = options.sizes.iter().map(|size| Point {
        size: *size,
        ..base
    });
    let clients = options.clients.iter().map(|clients| Point {
        clients: *clients,
        ..base
    });
    let eams = options.eams.iter().map(|eams| Point {
        eams: *eams,
        ..base
    });
    let mut points: Vec<Point> = match treatment {
        Treatment::Translates => sizes.chain(clients).chain(eams).collect(),
        Treatment::Routes => sizes.chain(clients).collect(),
    };
    points.sort();
    points.dedup();
    points
}

/// Measures everything. When interrupted, returns what there is so far.
pub(crate) fn run(options: &Options) -> anyhow::Result<Comparison> {
    let mut comparison = Comparison {
        machine: Machine::this(),
        options: options.clone(),
        base: base(options),
        outcomes: BTreeMap::new(),
    };
    let progress = Progress::new();
    let mut generator = LiveFrames::load()?;
    let mut tables: Vec<u32> = options.eams.clone();
    tables.sort_unstable();
    tables.dedup();
    for eams in tables {
        let mut bench = Bench {
            options,
            outcomes: &mut comparison.outcomes,
            generator: &mut generator,
            progress: &progress,
        };
        bench.table(eams)?;
        if interrupt::requested() {
            break;
        }
    }
    Ok(comparison)
}

/// A device in its laboratory. The fields are dropped in their order: a namespace lives on while something runs inside.
struct Running {
    case: Case,
    points: Vec<Point>,
    device: Device,
    lab: Lab,
}

struct Bench<'a> {
    options: &'a Options,
    outcomes: &'a mut BTreeMap<Key, Outcome>,
    generator: &'a mut LiveFrames,
    progress: &'a Progress,
}

impl Bench<'_> {
    /// Measures all devices with a table of this size.
    fn table(&mut self, eams: u32) -> anyhow::Result<()> {
        let mut running = Vec::new();
        for case in &self.options.cases {
            let mut points = points(self.options, case.treatment());
            points.retain(|point| point.eams == eams);
            if points.is_empty() {
                continue;
            }
            self.progress
                .say(&format!("starting {} with {eams} mappings", case.title()));
            match self.start(*case, points.clone()) {
                Ok(started) => running.push(started),
                Err(StartError::Interrupted) => return Ok(()),
                Err(
                    error @ (StartError::Refused(_)
                    | StartError::NotInstalled(_)
                    | StartError::TooMuch(_)),
                ) => self.note(*case, &points, &error.to_string()),
                Err(
                    error @ (StartError::Lab(_)
                    | StartError::Object(_)
                    | StartError::Socket(_)
                    | StartError::Io { .. }),
                ) => {
                    return Err(error).with_context(|| format!("cannot start {}", case.title()));
                }
            }
        }
        for round in 1..=self.options.rounds {
            let mut points: Vec<Point> = running
                .iter()
                .flat_map(|running| running.points.clone())
                .collect();
            points.sort();
            points.dedup();
            for point in points {
                for running in running.iter_mut().filter(|it| it.points.contains(&point)) {
                    for direction in Direction::ALL {
                        if interrupt::requested() {
                            return Ok(());
                        }
                        self.progress.say(&format!(
                            "round {round} of {}: {} octets, {} clients, {} mappings: {}",
                            self.options.rounds,
                            point.size,
                            point.clients,
                            point.eams,
                            running.case.title()
                        ));
                        self.measure(running, direction, point)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn start(&self, case: Case, points: Vec<Point>) -> Result<Running, StartError> {
        let lab = Lab::build()?;
        let settings = Settings {
            eams: points[0].eams,
            processor: self.options.device_cpu,
            relay: &self.options.relay,
        };
        let device = case.start(&lab, settings)?;
        Ok(Running {
            case,
            points,
            device,
            lab,
        })
    }

    /// Notes for all its points why there is no number of a device.
    fn note(&mut self, case: Case, points: &[Point], why: &str) {
        for point in points {
            for direction in Direction::ALL {
                let point = *point;
                let key = Key {
                    case,
                    direction,
                    point,
                };
                self.outcomes.insert(key, Outcome::None(why.to_owned()));
            }
        }
    }

    /// Measures once, unless that has already gone wrong.
    fn measure(
        &mut self,
        running: &mut Running,
        direction: Direction,
        point: Point,
    ) -> anyhow::Result<()> {
        let key = Key {
            case: running.case,
            direction,
            point,
        };
        let outcome = self
            .outcomes
            .entry(key)
            .or_insert_with(|| Outcome::Measured(Vec::new()));
        let Outcome::Measured(rounds) = outcome else {
            return Ok(());
        };
        let treatment = running.case.treatment();
        let traffic = traffic(direction, treatment, point.size, point.clients, point.eams);
        let round = measure::measure(running, self.generator, direction, &traffic, self.options)
            .with_context(|| format!("cannot measure {}", running.case.title()))?;
        match round {
            // The one that was interrupted is not whole.
            Ok(_) if interrupt::requested() => {}
            Ok(round) => rounds.push(round),
            Err(why) => *outcome = Outcome::None(why),
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn options() -> Options {
        Options {
            duration: Duration::from_secs(1),
            rounds: 3,
            sizes: vec![64, 1518],
            clients: vec![1, 65536],
            eams: vec![1, 1000, 1_000_000],
            cases: vec![Case::RelayAfXdp, Case::XdpRouter],
            relay: PathBuf::from("siit-relay"),
            generator_cpu: 0,
            device_cpu: 1,
        }
    }

    /// Like a measured one.
    pub(crate) fn comparison() -> Comparison {
        let options = options();
        let mut outcomes = BTreeMap::new();
        for case in [
            Case::RelayXdp,
            Case::RelayAfXdp,
            Case::XdpRouter,
            Case::Tayga,
        ] {
            for (number, point) in points(&options, case.treatment()).into_iter().enumerate() {
                for direction in Direction::ALL {
                    let outcome = if case == Case::RelayXdp {
                        Outcome::None("refused: `fast_path: xdp` & <more>".to_owned())
                    } else {
                        let frames = |round: usize| 1e6 * (number + 1 + round) as f64;
                        let round = |round| Round {
                            offered: 5e6,
                            share: 1.0,
                            frames: frames(round),
                            bits: frames(round) * (point.size * 8) as f64,
                            checked: 100,
                        };
                        Outcome::Measured(vec![round(2), round(0), round(1)])
                    };
                    let key = Key {
                        case,
                        direction,
                        point,
                    };
                    outcomes.insert(key, outcome);
                }
            }
        }
        Comparison {
            machine: Machine {
                processor: "Example 9000".to_owned(),
                processors: 2,
                kernel: "Linux 6.18".to_owned(),
            },
            base: base(&options),
            options,
            outcomes,
        }
    }

    #[test]
    fn one_thing_varies_at_a_time() {
        let options = options();
        let point = |size, clients, eams| Point {
            size,
            clients,
            eams,
        };
        assert_eq!(base(&options), point(64, 65536, 1000));
        assert_eq!(
            points(&options, Treatment::Translates),
            [
                point(64, 1, 1000),
                point(64, 65536, 1),
                point(64, 65536, 1000),
                point(64, 65536, 1_000_000),
                point(1518, 65536, 1000),
            ]
        );
        assert_eq!(points(&options, Treatment::Routes).len(), 3);
    }
}
