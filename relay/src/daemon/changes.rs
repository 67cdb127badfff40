//! Generations, from the wish for a new one until it is in force: one at a time.
//!
//! Whoever wants one waits in a queue. The loader prepares it, it is published, and everybody who waited is told. Nothing of
//! that holds the control thread up.

use super::DaemonError;
use super::control::{Control, Letter};
use super::loader::{Base, Job, Loaded, Prepared};
use super::ports::{PortChanges, Ports};
use super::publish::{self, Plan};
use super::watch::{Fingerprint, Watch};
use crate::config::Config;
use crate::control::snapshot::{LastReload, Reloads};
use crate::control::{Change, Edit, Refusal};
use crate::fast_path::GRACE;
use crate::tables::Tables;
use crate::tally::Tally;
use crossbeam::channel::Sender;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tracing::{error, info, warn};

/// How long files have to be left alone before a change of them is a reason to reload.
const SETTLE: Duration = Duration::from_millis(300);

/// Who is told what became of a wish.
type Reply = Sender<Result<Change, Refusal>>;

/// What a new generation is wanted for.
#[derive(Clone)]
enum Reason {
    Reload,
    Edit(Edit),
}

/// A wish for a new generation.
struct Wish {
    reason: Reason,
    since: Instant,
    replies: Vec<Reply>,
    /// Set when it is in force in the workers, and the XDP program has yet to follow.
    change: Option<Change>,
}

/// Everything about generations besides what is published.
pub(super) struct Changes {
    /// The configuration file.
    path: PathBuf,
    config: Arc<Config>,
    loader: Sender<Job>,
    waiting: VecDeque<Wish>,
    current: Option<Wish>,
    reloads: Reloads,
    /// Generations that may still be at work after they were replaced: since when, what follows them counts where, their tables.
    unsettled: VecDeque<(Instant, Arc<Tally>, Arc<Tables>)>,
    since: (SystemTime, Instant),
    runtime_mappings: usize,
    fingerprint: Fingerprint,
    /// When files that have changed will have been left alone for long enough.
    settled: Option<Instant>,
}

impl Changes {
    pub(super) fn new(path: PathBuf, config: Config, loader: Sender<Job>) -> Self {
        let mut changes = Self {
            path,
            config: Arc::new(config),
            loader,
            waiting: VecDeque::new(),
            current: None,
            reloads: Reloads::default(),
            unsettled: VecDeque::new(),
            since: (SystemTime::now(), Instant::now()),
            runtime_mappings: 0,
            fingerprint: Fingerprint::default(),
            settled: None,
        };
        changes.fingerprint = Fingerprint::take(changes.files());
        changes
    }

    /// The configuration in force.
    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// What became of reloads so far.
    pub(super) fn reloads(&self) -> &Reloads {
        &self.reloads
    }

    /// The number of mappings in force that are in no file.
    pub(super) fn runtime_mappings(&self) -> usize {
        self.runtime_mappings
    }

    /// When the generation was put in force.
    pub(super) fn since(&self) -> (SystemTime, Instant) {
        self.since
    }

    /// The files that the generation came from.
    pub(super) fn files(&self) -> impl Iterator<Item = &Path> {
        let eam = self.config.eam.iter().map(PathBuf::as_path);
        std::iter::once(self.path.as_path()).chain(eam)
    }

    /// Has the loader free generations that nobody uses any more: with a million mappings, that takes its time.
    pub(super) fn settle(&mut self, now: Instant) {
        let is_due = |(since, _, _): &mut (Instant, _, _)| now.duration_since(*since) >= GRACE;
        while let Some((_, tally, before)) = self.unsettled.pop_front_if(is_due) {
            let _ = self.loader.send(Job::Settle(tally, before));
        }
    }

    /// Wishes for a generation from the files as they are. One that waits already does for all who wish it.
    pub(super) fn reload(&mut self, reply: Option<Reply>) {
        let mut waiting = self.waiting.iter_mut();
        if let Some(wish) = waiting.find(|wish| matches!(wish.reason, Reason::Reload)) {
            wish.replies.extend(reply);
            return;
        }
        self.wish(Reason::Reload, reply);
    }

    /// Wishes for a generation that differs in one mapping.
    pub(super) fn edit(&mut self, edit: Edit, reply: Reply) {
        self.wish(Reason::Edit(edit), Some(reply));
    }

    fn wish(&mut self, reason: Reason, reply: Option<Reply>) {
        self.waiting.push_back(Wish {
            reason,
            since: Instant::now(),
            replies: Vec::from_iter(reply),
            change: None,
        });
    }

    /// Takes note that something has happened where the files are.
    pub(super) fn stir(&mut self, now: Instant) {
        self.settled = Some(now + SETTLE);
    }

    /// Returns when the files have to be looked at, if at all.
    pub(super) fn next(&self) -> Option<Instant> {
        self.settled
    }

    /// Wishes for a reload if the files have changed and are left alone by now.
    pub(super) fn look(&mut self, now: Instant) {
        if self.settled.is_some_and(|settled| now >= settled) {
            self.settled = None;
            if Fingerprint::take(self.files()) != self.fingerprint {
                info!("files have changed");
                self.reload(None);
            }
        }
    }
}

/// Whether a change is one of ports, too.
fn has_rewired(change: &Change) -> bool {
    let lists = [
        &change.interfaces_added,
        &change.interfaces_removed,
        &change.interfaces_changed,
    ];
    lists.iter().any(|names| !names.is_empty())
}

impl Control<'_> {
    /// Has the loader begin with the next wish, if it has nothing to do.
    pub(super) fn begin_change(&mut self) {
        let changes = &mut self.changes;
        if changes.current.is_some() {
            return;
        }
        let Some(wish) = changes.waiting.pop_front() else {
            return;
        };
        let base = Base {
            config: Arc::clone(&changes.config),
            tables: self.shared.tables.load_full(),
        };
        let job = match &wish.reason {
            Reason::Reload => {
                info!("reloading");
                self.service.reloading();
                // Taken before they are read: what changes meanwhile is read once more.
                changes.fingerprint = Fingerprint::take(changes.files());
                Job::Reload(changes.path.clone(), base)
            }
            Reason::Edit(edit) => Job::Edit(edit.clone(), base),
        };
        changes.current = Some(wish);
        // The loader lives as long as this sender does.
        let _ = changes.loader.send(job);
    }

    /// Puts what the loader has prepared in force, or says why there is nothing.
    pub(super) fn take_over(&mut self, loaded: Loaded) {
        match loaded {
            Err(refusal) => self.refuse(refusal),
            Ok(prepared) => {
                let Prepared {
                    config,
                    plan,
                    runtime_mappings,
                    mut change,
                } = *prepared;
                let before = self.shared.tables.load_full();
                if let Err(error) = self.put_in_force(plan, &config, &mut change) {
                    error!("{error}");
                    return self.refuse(Refusal::because(error));
                }
                let tally = Arc::clone(&self.shared.tables.load().tally);
                let replaced = (Instant::now(), tally, before);
                self.changes.unsettled.push_back(replaced);
                self.changes.since = (SystemTime::now(), Instant::now());
                self.changes.runtime_mappings = runtime_mappings;
                self.errors.follow(&config.icmp);
                let old = std::mem::replace(&mut self.changes.config, Arc::new(config));
                let new = self.changes.config();
                let sees_another_network = (old.mtu, old.icmp.own, old.forwarding)
                    != (new.mtu, new.icmp.own, new.forwarding);
                let has_redirects_changed = self.ports.look_at_redirects();
                if (sees_another_network || has_redirects_changed || has_rewired(&change))
                    && let Err(error) = self.follow_network()
                {
                    warn!("{error}");
                }
                if let Some(watch) = &mut self.watch {
                    watch.follow(self.changes.files());
                }
                if let Some(wish) = &mut self.changes.current {
                    wish.change = Some(change);
                    if matches!(wish.reason, Reason::Edit(_)) {
                        // A mapping that was saved is in force already.
                        self.changes.fingerprint = Fingerprint::take(self.changes.files());
                    }
                }
                self.complete();
            }
        }
    }

    /// Puts a generation in force; returns the tables of the one before.
    fn put_in_force(
        &mut self,
        plan: Plan,
        config: &Config,
        change: &mut Change,
    ) -> Result<(), DaemonError> {
        let watch = self.watch_wanted(config)?;
        match self.new_ports(config)? {
            Some((next, changes)) => {
                self.rewire(plan, next, config)?;
                change.interfaces_added = changes.added;
                change.interfaces_removed = changes.removed;
                change.interfaces_changed = changes.changed;
            }
            None => {
                let workers = self.workers.generations();
                publish::publish(plan, self.shared, workers, self.fast_path)?;
            }
        }
        self.watch = watch.unwrap_or(self.watch.take());
        Ok(())
    }

    /// Returns the ports to come, if they or their workers are others than before. A change of one mapping leaves them alone.
    fn new_ports(&mut self, config: &Config) -> Result<Option<(Ports, PortChanges)>, DaemonError> {
        let is_reload = |wish: &Wish| matches!(wish.reason, Reason::Reload);
        if !self.changes.current.as_ref().is_some_and(is_reload) {
            return Ok(None);
        }
        // An interface may have come or gone a moment ago.
        self.mirror.process_events()?;
        self.ports.follow(self.fast_path, self.mirror)?;
        let (next, changes) = self.ports.next(config, self.mirror)?;
        let has_new_cpus = config.cpus != self.changes.config().cpus;
        let is_new = !changes.is_empty() || has_new_cpus;
        Ok(is_new.then_some((next, changes)))
    }

    /// Begins to watch files if a configuration wants it and they are not watched; `None` if nothing changes.
    fn watch_wanted(&self, config: &Config) -> Result<Option<Option<Watch>>, DaemonError> {
        Ok(match (config.control.watch, &self.watch) {
            (true, None) => {
                let post = self.post.clone();
                Some(Some(Watch::begin(move || post.send(Letter::Stir))?))
            }
            (false, Some(_)) => Some(None),
            (true, Some(_)) | (false, None) => None,
        })
    }

    fn refuse(&mut self, refusal: Refusal) {
        let Some(wish) = self.changes.current.take() else {
            return;
        };
        if let Reason::Reload = wish.reason {
            error!(
                "the reload was refused; generation {} stays in force",
                self.generation()
            );
            self.finish_reload(wish.since.elapsed(), refusal.problems.clone());
        }
        for reply in wish.replies {
            // Who has lost patience is no matter.
            let _ = reply.send(Err(refusal.clone()));
        }
    }

    /// Tells everybody that the generation is in force everywhere.
    fn complete(&mut self) {
        let Some(mut wish) = self.changes.current.take_if(|wish| wish.change.is_some()) else {
            return;
        };
        let duration = wish.since.elapsed();
        let mut change = wish.change.take().unwrap_or_default();
        change.duration_seconds = duration.as_secs_f64();
        let Change {
            generation,
            added,
            removed,
            changed,
            kept,
            needs_restart,
            interfaces_added,
            interfaces_removed,
            interfaces_changed,
            warnings: _,
            duration_seconds: _,
        } = &change;
        info!(
            "generation {generation} in force after {duration:.3?}: {added} mappings added, {removed} removed, {changed} changed, {kept} kept"
        );
        for (names, what) in [
            (interfaces_added, "added"),
            (interfaces_removed, "removed"),
            (interfaces_changed, "changed"),
        ] {
            for name in names {
                info!("{name}: interface {what}");
            }
        }
        if !needs_restart.is_empty() {
            warn!("only a restart changes {}", needs_restart.join(", "));
        }
        if let Reason::Reload = wish.reason {
            self.finish_reload(duration, Vec::new());
        }
        for reply in wish.replies {
            let _ = reply.send(Ok(change.clone()));
        }
    }

    fn finish_reload(&mut self, duration: Duration, problems: Vec<String>) {
        let status = match problems.len() {
            0 => format!("generation {} in force", self.generation()),
            count => format!(
                "generation {} in force; the last reload was refused for {count} problems",
                self.generation()
            ),
        };
        let reloads = &mut self.changes.reloads;
        match problems.is_empty() {
            true => reloads.succeeded += 1,
            false => reloads.failed += 1,
        }
        reloads.last = Some(LastReload {
            at: SystemTime::now(),
            duration,
            problems,
        });
        self.service.ready(&status);
    }

    /// Returns the number of the generation in force.
    pub(super) fn generation(&self) -> u64 {
        self.shared.tables.load().generation
    }
}
