//! Which processor each worker runs on, and why.
//!
//! A worker that sleeps belongs on the processor that serves its queue's interrupt: what the driver has just read is in that
//! processor's cache, and each queue takes up one processor. So does a worker that does the driver's work itself. A worker
//! that never sleeps must stay away: the driver would have to share the processor with it. It gets one beside.

use super::ports::{Port, Ports};
use super::sockets::Seat;
use crate::config::{Config, Wait};
use crate::driver::interrupts::{self, Interrupt};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use tracing::{info, warn};

/// A worker's place.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    /// `None` if there are fewer processors than workers.
    processor: Option<usize>,
    why: Why,
}

/// Why a worker has its place.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Why {
    /// The configuration says so.
    Configured,
    /// An interrupt of one of its queues is served there.
    Same(Source),
    /// An interrupt of one of its queues is served elsewhere, and none is here.
    Beside(Source),
    /// There is no better place.
    Full(Source),
    /// Nothing is known of its interrupts.
    InTurn,
}

/// A queue of a worker with a known interrupt.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Source {
    interface: String,
    queue: u32,
    interrupt: Interrupt,
}

/// What is known of the interrupts of the ports' queues.
pub(super) struct Interrupts {
    /// For each port its name, and its interrupts by queue.
    ports: Vec<(String, BTreeMap<u32, Interrupt>)>,
    /// The processors of each NUMA node.
    nodes: Vec<Vec<usize>>,
}

impl Interrupts {
    /// Reads what the kernel tells, and logs of which ports it does not, if that matters.
    pub(super) fn look_up(config: &Config, ports: &Ports) -> Self {
        let of_port = |port: &Port| {
            let name = &port.interface.name;
            let known = interrupts::of_interface(name, port.index).unwrap_or_else(|why| {
                if config.cpus.is_none() {
                    info!("{name}: not known which processors serve its interrupts: {why}");
                }
                BTreeMap::new()
            });
            (name.clone(), known)
        };
        Self {
            ports: ports.iter().map(of_port).collect(),
            nodes: interrupts::nodes(),
        }
    }

    /// Lists those of a worker's queues whose interrupts are known.
    fn sources(&self, seats: &[Seat]) -> Vec<Source> {
        let source = |seat: &Seat| {
            let (interface, known) = self.ports.get(seat.port)?;
            Some(Source {
                interface: interface.clone(),
                queue: seat.queue,
                interrupt: *known.get(&seat.queue)?,
            })
        };
        seats.iter().filter_map(source).collect()
    }
}

/// Chooses the processors of workers, out of those allowed, and logs them. Each hand is the queues of one worker; the result has one
/// processor for each.
pub(super) fn place(
    config: &Config,
    allowed: &[usize],
    hands: &[Vec<Seat>],
    interrupts: &Interrupts,
) -> Vec<Option<usize>> {
    let sources: Vec<Vec<Source>> = hands.iter().map(|hand| interrupts.sources(hand)).collect();
    let places = match &config.cpus {
        Some(_) => in_order(allowed, &sources),
        None => choose(config.wait, allowed, &sources, &interrupts.nodes),
    };
    let all: BTreeSet<usize> = processors(&sources);
    for (worker, place) in places.iter().enumerate() {
        let Some(processor) = place.processor else {
            info!("worker {worker}: any processor, since there are more workers than processors");
            continue;
        };
        info!("worker {worker}: processor {processor}, {}", place.why);
        if config.wait == Wait::Busy && all.contains(&processor) {
            warn!(
                "worker {worker}: processor {processor} serves interrupts of the relay's queues, and a worker that never sleeps \
                 (`workers.wait: busy`) takes it from them: move the interrupts, or choose others by `workers.cpus`"
            );
        }
    }
    places.into_iter().map(|place| place.processor).collect()
}

/// Returns the processors that serve interrupts of any worker.
fn processors(sources: &[Vec<Source>]) -> BTreeSet<usize> {
    let all = sources.iter().flatten();
    all.map(|source| source.interrupt.processor).collect()
}

/// Takes the processors as they are listed.
fn in_order(listed: &[usize], sources: &[Vec<Source>]) -> Vec<Place> {
    let place = |worker| Place {
        processor: listed.get(worker).copied(),
        why: Why::Configured,
    };
    (0..sources.len()).map(place).collect()
}

/// Chooses a place for each worker, given the queues with known interrupts of each, and the processors of each NUMA node.
///
/// Each gets what suits it best, the first worker first; then those left over get what is left over, in order. Given the
/// same interrupts, the result is the same.
fn choose(
    wait: Wait,
    allowed: &[usize],
    workers: &[Vec<Source>],
    nodes: &[Vec<usize>],
) -> Vec<Place> {
    let serving = processors(workers);
    let mut free = allowed.to_vec();
    let mut places: Vec<Option<Place>> = Vec::new();
    for sources in workers {
        let place = main_source(sources).and_then(|source| {
            let wanted = source.interrupt.processor;
            let (processor, why) = match wait {
                Wait::Poll | Wait::PreferBusyPoll => {
                    let same = free.contains(&wanted).then_some(wanted);
                    (same, Why::Same(source.clone()))
                }
                Wait::Busy => {
                    let candidates = free.iter().copied();
                    let candidates = candidates.filter(|processor| !serving.contains(processor));
                    let nearest = candidates.min_by_key(|one| distance(wanted, *one, nodes));
                    (nearest, Why::Beside(source.clone()))
                }
            };
            processor.map(|processor| Place {
                processor: Some(processor),
                why,
            })
        });
        if let Some(processor) = place.as_ref().and_then(|place| place.processor) {
            free.retain(|other| *other != processor);
        }
        places.push(place);
    }
    let mut left = free.into_iter();
    let rest = |(place, sources): (Option<Place>, &Vec<Source>)| {
        place.unwrap_or_else(|| Place {
            processor: left.next(),
            why: main_source(sources).map_or(Why::InTurn, |source| Why::Full(source.clone())),
        })
    };
    places.into_iter().zip(workers).map(rest).collect()
}

/// Returns the first of the queues whose interrupts come to the same processor as most of the others'.
fn main_source(sources: &[Source]) -> Option<&Source> {
    let same = |one: &Source| {
        let others = sources.iter().map(|other| other.interrupt.processor);
        others
            .filter(|processor| *processor == one.interrupt.processor)
            .count()
    };
    let most = sources.iter().map(same).max()?;
    sources.iter().find(|source| same(source) == most)
}

/// Says how far a processor is from another: those of its NUMA node first, and of these the next above it.
fn distance(from: usize, to: usize, nodes: &[Vec<usize>]) -> (bool, bool, usize) {
    let is_near = nodes
        .iter()
        .any(|node| node.contains(&from) && node.contains(&to));
    (!is_near, to < from, to)
}

impl fmt::Display for Why {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Configured => formatter.write_str("by `workers.cpus`"),
            Self::Same(source) => write!(formatter, "which serves {source}"),
            Self::Beside(source) => write!(
                formatter,
                "beside processor {}, which serves {source}",
                source.interrupt.processor
            ),
            Self::Full(source) => write!(
                formatter,
                "in turn, since there is no better place for a worker with {source} on processor {}",
                source.interrupt.processor
            ),
            Self::InTurn => {
                formatter.write_str("in turn, since no interrupt of its queues is known")
            }
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            interface,
            queue,
            interrupt,
        } = self;
        write!(
            formatter,
            "interrupt {} of {interface} queue {queue}",
            interrupt.number
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(interface: &str, queue: u32, processor: usize) -> Source {
        Source {
            interface: interface.to_owned(),
            queue,
            interrupt: Interrupt {
                number: 100 + queue,
                processor,
            },
        }
    }

    /// Workers with one queue of each of two interfaces, by the processors of their interrupts.
    fn workers(processors: &[(usize, usize)]) -> Vec<Vec<Source>> {
        let worker = |(queue, (one, other)): (u32, &(usize, usize))| {
            vec![source("eth0", queue, *one), source("eth1", queue, *other)]
        };
        (0..).zip(processors).map(worker).collect()
    }

    fn chosen(wait: Wait, allowed: &[usize], workers: &[Vec<Source>]) -> Vec<Option<usize>> {
        let nodes = [vec![0, 1, 2, 3], vec![4, 5, 6, 7]];
        let places = choose(wait, allowed, workers, &nodes);
        places.into_iter().map(|place| place.processor).collect()
    }

    const ALL: [usize; 8] = [0, 1, 2, 3, 4, 5, 6, 7];

    #[test]
    fn the_interrupts_of_a_worker_are_those_of_its_queues() {
        let of = |interface: &str, queues: &[u32]| {
            let known = queues.iter().map(|queue| {
                let Source { interrupt, .. } = source(interface, *queue, *queue as usize);
                (*queue, interrupt)
            });
            (interface.to_owned(), known.collect())
        };
        let interrupts = Interrupts {
            ports: vec![of("eth0", &[0, 1]), of("eth1", &[1])],
            nodes: Vec::new(),
        };
        let seats = [(0, 1), (1, 0), (1, 1)].map(|(port, queue)| Seat { port, queue });
        assert_eq!(
            interrupts.sources(&seats),
            [source("eth0", 1, 1), source("eth1", 1, 1)]
        );
    }

    #[test]
    fn a_worker_that_sleeps_is_where_its_interrupt_is() {
        let workers = workers(&[(3, 3), (2, 2), (1, 1), (0, 0)]);
        for wait in [Wait::Poll, Wait::PreferBusyPoll] {
            let expected = [Some(3), Some(2), Some(1), Some(0)];
            assert_eq!(chosen(wait, &ALL, &workers), expected);
        }
    }

    #[test]
    fn a_worker_that_never_sleeps_is_beside_all_interrupts_on_the_same_node() {
        let pairs = workers(&[(0, 0), (1, 1)]);
        assert_eq!(chosen(Wait::Busy, &ALL, &pairs), [Some(2), Some(3)]);
        let far = workers(&[(5, 5), (6, 6)]);
        assert_eq!(chosen(Wait::Busy, &ALL, &far), [Some(7), Some(4)]);
        // With its node full, another node is better than an interrupt.
        let full = workers(&[(0, 1), (2, 3)]);
        assert_eq!(chosen(Wait::Busy, &ALL, &full), [Some(4), Some(5)]);
        let nowhere = workers(&[(0, 1), (1, 0)]);
        assert_eq!(chosen(Wait::Busy, &[0, 1], &nowhere), [Some(0), Some(1)]);
    }

    #[test]
    fn two_workers_never_share_a_processor() {
        let same = workers(&[(2, 2), (2, 2), (0, 0)]);
        assert_eq!(
            chosen(Wait::Poll, &ALL, &same),
            [Some(2), Some(1), Some(0)],
            "who comes second must not take what the third wants"
        );
        assert_eq!(chosen(Wait::Poll, &[0, 2], &same), [Some(2), None, Some(0)]);
    }

    #[test]
    fn processors_that_the_process_may_not_use_are_left_alone() {
        let workers = workers(&[(0, 0), (1, 1)]);
        assert_eq!(chosen(Wait::Poll, &[1, 5], &workers), [Some(5), Some(1)]);
    }

    #[test]
    fn without_known_interrupts_processors_are_taken_in_order() {
        let unknown = vec![Vec::new(), Vec::new()];
        for wait in [Wait::Poll, Wait::Busy, Wait::PreferBusyPoll] {
            assert_eq!(chosen(wait, &[1, 4, 6], &unknown), [Some(1), Some(4)]);
        }
    }

    #[test]
    fn most_interrupts_decide_and_the_first_among_equals() {
        let mut sources = vec![source("eth0", 0, 1), source("eth1", 0, 2)];
        assert_eq!(main_source(&sources), sources.first());
        sources.push(source("eth1", 4, 2));
        assert_eq!(main_source(&sources), sources.get(1));
        assert_eq!(main_source(&[]), None);
    }

    #[test]
    fn the_log_says_why() {
        let worker = workers(&[(3, 3)]);
        let why = |wait, allowed: &[usize]| choose(wait, allowed, &worker, &[])[0].why.to_string();
        assert_eq!(
            why(Wait::Poll, &ALL),
            "which serves interrupt 100 of eth0 queue 0"
        );
        assert_eq!(
            why(Wait::Busy, &ALL),
            "beside processor 3, which serves interrupt 100 of eth0 queue 0"
        );
        assert!(why(Wait::Poll, &[0]).starts_with("in turn, since there is no better place"));
    }
}
