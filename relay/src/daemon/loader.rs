//! The loader thread: does all that takes long before a generation can be published, so that the control thread need not.
//!
//! It reads and checks files, applies changes of single mappings, builds tables, and frees those that are no longer used.

use super::edit;
use super::publish::Plan;
use crate::config::{self, Config};
use crate::control::{Change, Edit, Refusal, is_runtime};
use crate::tables::Tables;
use crate::tally::{IS_NEW, Tally};
use crossbeam::channel::{Receiver, Sender, unbounded};
use eam_tables::{Eam, Problem, Severity};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tracing::{error, warn};

/// The most problems of one reload that are logged and told.
const MOST_PROBLEMS: usize = 100;

/// What is in force while a job is done.
pub(super) struct Base {
    pub(super) config: Arc<Config>,
    pub(super) tables: Arc<Tables>,
}

/// What the loader has to do.
pub(super) enum Job {
    /// Read the configuration at a path, and the EAM files that it names.
    Reload(PathBuf, Base),
    /// Change one mapping.
    Edit(Edit, Base),
    /// Have a tally take the counts of the generation before for good, and free the tables of that: nobody uses them any more.
    Settle(Arc<Tally>, Arc<Tables>),
}

/// What is ready to be published.
pub(super) struct Prepared {
    pub(super) config: Config,
    pub(super) plan: Plan,
    /// The number of mappings that are in no file.
    pub(super) runtime_mappings: usize,
    /// How it differs from what is in force; nothing is said of the time it took.
    pub(super) change: Change,
}

/// What became of a job.
pub(super) type Loaded = Result<Box<Prepared>, Refusal>;

/// Starts the loader; `done` brings what became of a job to the control thread.
pub(super) fn start(done: impl Fn(Loaded) + Send + 'static) -> io::Result<Sender<Job>> {
    let (sender, jobs) = unbounded();
    let thread = std::thread::Builder::new().name("loader".to_owned());
    thread.spawn(move || work(&jobs, done))?;
    Ok(sender)
}

fn work(jobs: &Receiver<Job>, done: impl Fn(Loaded)) {
    for job in jobs {
        match job {
            Job::Reload(path, base) => done(reload(&path, &base)),
            Job::Edit(edit, base) => done(edit::edit(&edit, &base)),
            Job::Settle(tally, before) => {
                tally.settle();
                drop(before);
            }
        }
    }
}

fn reload(path: &Path, base: &Base) -> Loaded {
    let loaded = config::load(path);
    let problems = told(&loaded.problems);
    let Some((config, eams)) = loaded.usable else {
        return Err(Refusal { problems });
    };
    let change = base.config.changed_to(config);
    prepare(change.config, eams, base).map(|mut prepared| {
        prepared.change.warnings = problems;
        prepared.change.needs_restart = change
            .needs_restart
            .into_iter()
            .map(str::to_owned)
            .collect();
        prepared
    })
}

/// Builds the tables and works out what it takes to put them in force.
pub(super) fn prepare(config: Config, eams: Vec<Eam>, base: &Base) -> Loaded {
    let mut tables = Tables::new(&config, eams);
    tables.generation = base.tables.generation + 1;
    let (mut change, numbers) = difference(base.tables.eam.entries(), tables.eam.entries());
    change.generation = tables.generation;
    let runtime_mappings = tables
        .eam
        .entries()
        .iter()
        .filter(|eam| is_runtime(eam))
        .count();
    let plan = Plan::new(&config, tables, numbers).map_err(Refusal::because)?;
    Ok(Box::new(Prepared {
        config,
        plan,
        runtime_mappings,
        change,
    }))
}

/// Logs problems, and returns them as they are told to whoever asked for the reload.
fn told(problems: &[Problem]) -> Vec<String> {
    let mut lines = Vec::new();
    for problem in problems.iter().take(MOST_PROBLEMS) {
        match problem.severity {
            Severity::Error => error!("{problem}"),
            Severity::Warning => warn!("{problem}"),
        }
        lines.push(problem.to_string());
    }
    if problems.len() > MOST_PROBLEMS {
        let more = problems.len() - MOST_PROBLEMS;
        let line = format!("{more} more; `siit-relay check` lists all of them");
        warn!("{line}");
        lines.push(line);
    }
    lines
}

/// Counts what two lists of mappings have in common, by their IPv4 prefixes; no prefix is there twice. Returns the number in the old
/// list of each mapping of the new one, too, or [`IS_NEW`].
fn difference(old: &[Eam], new: &[Eam]) -> (Change, Vec<u32>) {
    let sorted = |eams: &[Eam]| {
        let mut order: Vec<u32> = (0..eams.len() as u32).collect();
        order.sort_unstable_by_key(|index| eams[*index as usize].ipv4());
        order
    };
    let (old_order, new_order) = (sorted(old), sorted(new));
    let mut change = Change::default();
    let mut numbers = vec![IS_NEW; new.len()];
    let old_of = |index: &&u32| &old[**index as usize];
    let mut befores = old_order.iter().peekable();
    for index in new_order {
        let after = &new[index as usize];
        while befores
            .next_if(|before| old_of(before).ipv4() < after.ipv4())
            .is_some()
        {
            change.removed += 1;
        }
        let Some(number) = befores.next_if(|before| old_of(before).ipv4() == after.ipv4()) else {
            change.added += 1;
            continue;
        };
        let before = old_of(&number);
        if before.ipv6() == after.ipv6() {
            numbers[index as usize] = *number;
        }
        match before.ipv6() == after.ipv6() && before.name() == after.name() {
            true => change.kept += 1,
            false => change.changed += 1,
        }
    }
    change.removed += befores.count();
    (change, numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn eams(rows: &[(&str, &str)]) -> Vec<Eam> {
        let place = eam_tables::Place::start_of(Path::new("eam.yaml").into());
        let eam = |(ipv4, ipv6): &(&str, &str)| {
            let (ipv4, ipv6) = (ipv4.parse().unwrap(), ipv6.parse().unwrap());
            Eam::new(ipv4, ipv6, None, place.clone()).unwrap()
        };
        rows.iter().map(eam).collect()
    }

    #[test]
    fn differences_are_counted_by_ipv4_prefix() {
        let old = eams(&[
            ("192.0.2.7/32", "2001:db8::7/128"),
            ("192.0.2.1/32", "2001:db8::1/128"),
            ("192.0.2.0/24", "2001:db8:1::/120"),
        ]);
        let new = eams(&[
            ("192.0.2.0/25", "2001:db8:1::/121"),
            ("192.0.2.1/32", "2001:db8::9/128"),
            ("192.0.2.7/32", "2001:db8::7/128"),
            ("192.0.2.8/32", "2001:db8::8/128"),
        ]);
        let (change, numbers) = difference(&old, &new);
        assert_eq!(numbers, [IS_NEW, IS_NEW, 0, IS_NEW]);
        assert_eq!(
            (change.added, change.removed, change.changed, change.kept),
            (2, 1, 1, 1)
        );
        assert_eq!(difference(&[], &old).0.added, 3);
        assert_eq!(difference(&old, &[]).0.removed, 3);
        let (change, numbers) = difference(&old, &old);
        assert_eq!((change.kept, numbers), (3, vec![0, 1, 2]));
    }
}
