//! `siit-bench rfc8219`: any device between two interfaces, as RFC 8219 and RFC 2544 ask.
//!
//! Throughput (RFC 2544, 26.1), latency and packet delay variation at the throughput (RFC 8219, 7.2 and 7.3.1), frame loss
//! rate (RFC 2544, 26.3). One-way delays are those of all frames of a stream. Not done: IPDV, back-to-back frames, system
//! recovery, reset, mixtures with native traffic, VLAN-tagged and jumbo frames.

pub(crate) mod latency;
pub(crate) mod report;
pub(crate) mod search;
pub(crate) mod wires;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};

use crate::generator::{self, Generator};
use crate::machine::Machine;
use crate::progress::Progress;
use crate::receiver::{self, Arrived, Receiver};
use crate::statistics::Histogram;
use crate::traffic::Pace;
use crate::{interrupt, pin};
use latency::Delays;
use search::{Loss, Throughput, Trial};
use wires::{Direction, Ends, Flow, Stream, Wire};

/// More than any generator makes.
const ANY_RATE: f64 = 1e8;
/// How often to look whether a trial is over, or somebody wants the program to end.
const GLANCE: Duration = Duration::from_millis(2);

/// What to test, and how.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// The interface that frames leave by.
    pub(crate) tx: Wire,
    /// The interface that they come back by.
    pub(crate) rx: Wire,
    /// Which way they go.
    pub(crate) direction: Direction,
    /// Their addresses.
    pub(crate) ends: Ends,
    /// Frame sizes with IPv4, with frame check sequence, in octets.
    pub(crate) sizes: Vec<usize>,
    /// How long each trial sends.
    pub(crate) duration: Duration,
    /// How long to wait for what is under way after each trial.
    pub(crate) wait: Duration,
    /// How often each test is repeated.
    pub(crate) repetitions: u32,
    /// The loss that is still no loss, in percent.
    pub(crate) tolerance: f64,
    /// How close to come to the throughput, in percent of the highest rate.
    pub(crate) resolution: f64,
    /// The highest rate, in frames a second, if it is not what the generator makes.
    pub(crate) max_rate: Option<f64>,
    /// How frames are made.
    pub(crate) generator: generator::Kind,
    /// How they are received.
    pub(crate) receiver: receiver::Kind,
    /// The processors for the generators, one for each stream.
    pub(crate) processors: Vec<usize>,
}

/// The result of all tests.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    /// The tester.
    pub(crate) machine: Machine,
    /// How it was made.
    pub(crate) options: Options,
    /// What came out for each size and stream.
    pub(crate) results: Vec<TestResult>,
}

/// The results of one stream of frames of one size.
#[derive(Clone, Debug)]
pub(crate) struct TestResult {
    /// The frames' size with IPv4, with frame check sequence.
    pub(crate) size: usize,
    /// The stream.
    pub(crate) flow: Flow,
    /// One throughput for each repetition.
    pub(crate) throughputs: Vec<Throughput>,
    /// One for each repetition; none if the generator writes no times.
    pub(crate) delays: Vec<Delays>,
    /// The delays of the last repetition.
    pub(crate) distribution: Histogram,
    /// The loss at falling rates.
    pub(crate) losses: Vec<Loss>,
}

/// Runs all tests. When interrupted, returns the sizes that are complete.
pub(crate) fn run(options: &Options) -> anyhow::Result<Report> {
    let mut report = Report {
        machine: Machine::this(),
        options: options.clone(),
        results: Vec::new(),
    };
    let progress = Progress::new();
    for size in &options.sizes {
        let streams = wires::streams(
            options.direction,
            &options.tx,
            &options.rx,
            &options.ends,
            *size,
        )?;
        let mut tester = Tester::new(options, &streams, &progress)?;
        let results = tester.test(*size);
        if interrupt::requested() {
            break;
        }
        report.results.extend(results?);
    }
    Ok(report)
}

/// What one stream of a trial came to.
struct Passage {
    sent: u64,
    arrived: Arrived,
}

struct Tester<'a> {
    options: &'a Options,
    progress: &'a Progress,
    lines: Vec<Line<'a>>,
}

/// A stream with its two ends.
struct Line<'a> {
    stream: &'a Stream,
    processor: usize,
    generator: Generator,
    receiver: Receiver,
}

impl<'a> Tester<'a> {
    fn new(
        options: &'a Options,
        streams: &'a [Stream],
        progress: &'a Progress,
    ) -> anyhow::Result<Self> {
        let lines = streams.iter().zip(options.processors.iter().cycle());
        let lines = lines
            .map(|(stream, processor)| {
                let name = &stream.sender.name;
                Ok(Line {
                    stream,
                    processor: *processor,
                    receiver: Receiver::new(options.receiver, &stream.receiver)
                        .with_context(|| format!("cannot receive on {}", stream.receiver.name))?,
                    generator: Generator::new(options.generator, &stream.sender, *processor)
                        .with_context(|| format!("cannot send on {name}"))?,
                })
            })
            .collect::<anyhow::Result<_>>()?;
        Ok(Self {
            options,
            progress,
            lines,
        })
    }

    /// Tests all that there is to test with one size.
    fn test(&mut self, size: usize) -> anyhow::Result<Vec<TestResult>> {
        let options = self.options;
        let mut results: Vec<TestResult> = self
            .lines
            .iter()
            .map(|line| TestResult {
                size,
                flow: line.stream.flow,
                throughputs: Vec::new(),
                delays: Vec::new(),
                distribution: Histogram::default(),
                losses: Vec::new(),
            })
            .collect();
        let max = match options.max_rate {
            Some(rate) => rate,
            None => self.fastest(size)?,
        };
        for repetition in 1..=options.repetitions {
            let what = format!(
                "{size} octets, repetition {repetition} of {}",
                options.repetitions
            );
            let found = search::throughput(max, options.resolution, options.tolerance, |rate| {
                self.progress
                    .say(&format!("{what}: throughput, {rate:.0} frames/s"));
                Ok::<_, anyhow::Error>(trial(&self.send(rate, options.duration)?, options.duration))
            })?;
            results
                .iter_mut()
                .for_each(|result| result.throughputs.push(found));
            if found.rate > 0.0 {
                self.progress.say(&format!("{what}: latency"));
                // "The stream SHOULD be at least 120 seconds in duration", twice as long as other trials (RFC 8219, 7.2).
                let passages = self.send(found.rate, options.duration * 2)?;
                for (result, passage) in results.iter_mut().zip(passages) {
                    result.delays.extend(Delays::of(&passage.arrived.latencies));
                    result.distribution = passage.arrived.latencies;
                }
            }
        }
        let mut steps: Vec<Vec<Passage>> = Vec::new();
        search::losses(max, |rate| {
            self.progress
                .say(&format!("{size} octets: loss, {rate:.0} frames/s"));
            let passages = self.send(rate, options.duration)?;
            let trial = trial(&passages, options.duration);
            steps.push(passages);
            Ok::<_, anyhow::Error>(trial)
        })
        .map(|losses| {
            for (loss, passages) in losses.iter().zip(&steps) {
                for (result, passage) in results.iter_mut().zip(passages) {
                    let own = trial(std::slice::from_ref(passage), options.duration);
                    result.losses.push(Loss {
                        offered: own.offered,
                        loss: own.loss,
                        ..*loss
                    });
                }
            }
        })?;
        Ok(results)
    }

    /// Returns the rate that the slowest of the generators makes.
    fn fastest(&mut self, size: usize) -> anyhow::Result<f64> {
        self.progress.say(&format!(
            "{size} octets: how many frames the generator makes"
        ));
        let duration = self.options.duration;
        let passages = self.send(ANY_RATE, duration)?;
        Ok(trial(&passages, duration).offered)
    }

    /// Sends all streams at once at a rate, waits, and returns what arrived.
    fn send(&mut self, rate: f64, duration: Duration) -> anyhow::Result<Vec<Passage>> {
        for line in &mut self.lines {
            line.receiver.reset()?;
        }
        let stop = AtomicBool::new(false);
        let sent: Vec<u64> = thread::scope(|scope| {
            let senders: Vec<_> = self
                .lines
                .iter_mut()
                .map(|line| {
                    let stop = &stop;
                    scope.spawn(move || -> anyhow::Result<u64> {
                        pin::to(line.processor)?;
                        let Stream {
                            sender, traffic, ..
                        } = line.stream;
                        let pace = Pace::Rate(rate, duration);
                        Ok(line.generator.run(sender, traffic, pace, stop)?)
                    })
                })
                .collect();
            while senders.iter().any(|sender| !sender.is_finished()) {
                thread::sleep(GLANCE);
                stop.fetch_or(interrupt::requested(), Ordering::Relaxed);
            }
            senders
                .into_iter()
                .map(|sender| sender.join().expect("generators do not panic"))
                .collect::<anyhow::Result<_>>()
        })?;
        if !interrupt::sleep(self.options.wait) {
            bail!("interrupted");
        }
        let lines = self.lines.iter_mut().zip(sent);
        lines
            .map(|(line, sent)| {
                let arrived = line.receiver.arrived(&line.stream.traffic)?;
                if let Some(fault) = &arrived.fault {
                    bail!(
                        "wrong output on {} ({}): {fault}",
                        line.stream.receiver.name,
                        line.stream.flow.title()
                    );
                }
                if arrived.frames > sent {
                    bail!(
                        "{sent} frames were sent and {} arrived on {}: somebody else sends too, or --wait is too short",
                        arrived.frames,
                        line.stream.receiver.name
                    );
                }
                Ok(Passage { sent, arrived })
            })
            .collect()
    }
}

/// Sums up a trial: the rate of the slowest stream, the loss of the one that lost most.
fn trial(passages: &[Passage], duration: Duration) -> Trial {
    let rates = passages
        .iter()
        .map(|passage| passage.sent as f64 / duration.as_secs_f64());
    let losses = passages.iter().map(|passage| {
        let lost = passage.sent - passage.arrived.frames;
        100.0 * lost as f64 / passage.sent.max(1) as f64
    });
    Trial {
        offered: rates.min_by(f64::total_cmp).unwrap_or(0.0),
        loss: losses.max_by(f64::total_cmp).unwrap_or(0.0),
    }
}
