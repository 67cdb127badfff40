//! Publishing: how the data plane gets from one generation to the next. The only place that changes what is in force.
//!
//! Two parties read a generation: the workers, who translate by its tables, and the XDP program, which hands them the packets
//! for what it claims. They cannot change in one instant, so they change in an order in which no packet suffers:
//!
//! 1. The workers get the new tables by one exchange of a pointer, and [`Publisher::switch`] waits until each of them has
//!    seen it. From then on no packet is translated by the old generation.
//! 2. [`Publisher::proceed`] changes the ownership table, by difference, in the order of [`super::claims`]. What is newly claimed is
//!    so when workers know it; until then the kernel has it, as before. What is claimed no more may still reach a
//!    worker for a moment, on the way or because its entry has not been deleted yet; the worker finds that it is not the
//!    relay's and hands it to the kernel as it came. What both generations claim never stops being claimed.
//!
//! The other order would be worse for packets that are released: between the deletion and the exchange nobody translates
//! them, though the generation in force says so; and for packets that are claimed it would be wrong: workers
//! would hand them to the kernel untranslated.
//!
//! What belongs to the picture of the network (MTUs and own addresses that the configuration sets) is published with it, right
//! after the tables.
//!
//! The ownership table is changed in slices, so that errors and events are served meanwhile. A failure leaves the new
//! tables in force and the rest of the steps to be tried again: each generation is whole in the workers at any time.

use super::claims::{Claims, OwnershipTable, Step, host, steps};
use crate::driver::bpf::BpfError;
use crate::tables::Tables;
use crate::worker::Shared;
use eam_tables::layout::{OWNERSHIP_MAX_ENTRIES, Ownership};
use ipnet::IpNet;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tracing::warn;

/// The most entries of the ownership table that are changed before the control thread looks around.
const STEPS_PER_TURN: usize = 4096;
/// How long a worker may take to see a new generation; it looks before every batch.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often workers are looked at meanwhile.
const GLANCE: Duration = Duration::from_micros(50);

/// A generation that is ready to be published: all that takes long has been done.
pub(super) struct Plan {
    /// The tables, with the number of the generation.
    pub(super) tables: Arc<Tables>,
    claims: Arc<Claims>,
    /// What leads from the claims in force to the new ones.
    steps: std::vec::IntoIter<Step>,
}

/// The new generation claims more prefixes than the ownership table holds.
#[derive(Debug, thiserror::Error)]
#[error(
    "{needed} prefixes would be claimed while the generations change, and the XDP program's table holds {OWNERSHIP_MAX_ENTRIES}; \
     use fewer mappings, or shorter prefixes"
)]
pub struct TooManyClaims {
    needed: usize,
}

impl Plan {
    /// Works out what it takes to replace the claims in force. Takes long for large tables, so not for the control thread.
    pub(super) fn new(tables: Tables, in_force: &Claims) -> Result<Self, TooManyClaims> {
        let claims = Claims::of(&tables);
        let steps = steps(in_force, &claims);
        let written = steps.iter().filter(|step| matches!(step, Step::Set(..)));
        // Entries are deleted last; a few are left for the machine's own addresses.
        let needed = in_force.len() + written.count() + 1024;
        if needed > OWNERSHIP_MAX_ENTRIES as usize {
            return Err(TooManyClaims { needed });
        }
        Ok(Self {
            tables: Arc::new(tables),
            claims: Arc::new(claims),
            steps: steps.into_iter(),
        })
    }
}

/// What the data plane has been told.
pub(super) struct Publisher {
    claims: Arc<Claims>,
    /// What is left to do for the claims in force.
    steps: std::vec::IntoIter<Step>,
    /// Addresses of the machine that the program leaves to the kernel, whatever is claimed.
    own: BTreeSet<IpAddr>,
}

impl Publisher {
    /// Tells the XDP program of the first generation, before it is attached anywhere.
    pub(super) fn begin(
        plan: Plan,
        own: BTreeSet<IpAddr>,
        program: &mut impl OwnershipTable,
    ) -> Result<Self, BpfError> {
        let mut publisher = Self {
            claims: plan.claims,
            steps: plan.steps,
            own: BTreeSet::new(),
        };
        publisher.follow(own, program)?;
        while !publisher.proceed(program)? {}
        Ok(publisher)
    }

    /// Returns the claims in force.
    pub(super) fn claims(&self) -> &Arc<Claims> {
        &self.claims
    }

    /// Says whether the ownership table is still being changed.
    pub(super) fn is_busy(&self) -> bool {
        self.steps.len() > 0
    }

    /// Puts a generation in force in the workers, and returns the one before, which nobody uses any more unless to list it.
    ///
    /// Nothing may be left to do of the change before. The claims follow by [`proceed`](Self::proceed).
    pub(super) fn switch(
        &mut self,
        plan: Plan,
        shared: &Shared,
        workers: &[Arc<AtomicU64>],
    ) -> Arc<Tables> {
        let generation = plan.tables.generation;
        let before = shared.tables.swap(plan.tables);
        let deadline = Instant::now() + PATIENCE;
        let has_seen = |seen: &Arc<AtomicU64>| seen.load(Ordering::Acquire) >= generation;
        shared.rouse();
        while !workers.iter().all(has_seen) {
            if Instant::now() > deadline {
                warn!("a worker is slow to see generation {generation}; going on without it");
                break;
            }
            std::thread::sleep(GLANCE);
        }
        shared.rest();
        self.claims = plan.claims;
        self.steps = plan.steps;
        before
    }

    /// Changes some more entries of the ownership table; says whether that was all.
    ///
    /// # Errors
    ///
    /// The kernel refuses an entry. The next call tries it again.
    pub(super) fn proceed(&mut self, program: &mut impl OwnershipTable) -> Result<bool, BpfError> {
        for _ in 0..STEPS_PER_TURN {
            let Some(step) = self.steps.as_slice().first().copied() else {
                break;
            };
            let (Step::Set(prefix, _) | Step::Clear(prefix)) = step;
            if !self.is_own(prefix) {
                program.take(step)?;
            }
            self.steps.next();
        }
        Ok(!self.is_busy())
    }

    /// Leaves the machine's own addresses to the kernel, and takes back those that it no longer has.
    ///
    /// # Errors
    ///
    /// The kernel refuses an entry.
    pub(super) fn follow(
        &mut self,
        own: BTreeSet<IpAddr>,
        program: &mut impl OwnershipTable,
    ) -> Result<(), BpfError> {
        for address in own.difference(&self.own) {
            program.take(Step::Set(host(*address), Ownership::Kernel))?;
        }
        for address in self.own.difference(&own) {
            let host = host(*address);
            // A claim of exactly this address had to give way.
            program.take(match self.claims.owner(host) {
                Some(owner) => Step::Set(host, owner),
                None => Step::Clear(host),
            })?;
        }
        self.own = own;
        Ok(())
    }

    fn is_own(&self, prefix: IpNet) -> bool {
        prefix.prefix_len() == prefix.max_prefix_len() && self.own.contains(&prefix.addr())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[derive(Default)]
    struct Twin {
        entries: BTreeMap<IpNet, Ownership>,
        /// How many more entries are taken.
        patience: usize,
    }

    impl OwnershipTable for Twin {
        fn take(&mut self, step: Step) -> Result<(), BpfError> {
            self.patience = self
                .patience
                .checked_sub(1)
                .ok_or(BpfError::Missing("room"))?;
            match step {
                Step::Set(prefix, owner) => self.entries.insert(prefix, owner),
                Step::Clear(prefix) => self.entries.remove(&prefix),
            };
            Ok(())
        }
    }

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn claims(prefixes: &[&str]) -> Arc<Claims> {
        let entry = |prefix: &&str| (net(prefix), Ownership::Relay);
        Arc::new(Claims::from_entries(prefixes.iter().map(entry).collect()))
    }

    fn own(addresses: &[&str]) -> BTreeSet<IpAddr> {
        addresses
            .iter()
            .map(|address| address.parse().unwrap())
            .collect()
    }

    /// Takes up new claims as [`Publisher::switch`] does, without workers.
    fn turn_to(publisher: &mut Publisher, next: Arc<Claims>) {
        publisher.steps = steps(&publisher.claims, &next).into_iter();
        publisher.claims = next;
    }

    #[test]
    fn own_addresses_stay_with_the_kernel_whatever_is_claimed() {
        let mut table = Twin {
            patience: usize::MAX,
            ..Twin::default()
        };
        let mut publisher = Publisher {
            claims: claims(&[]),
            steps: Vec::new().into_iter(),
            own: BTreeSet::new(),
        };
        publisher
            .follow(own(&["192.0.2.1", "192.0.2.9"]), &mut table)
            .unwrap();
        turn_to(&mut publisher, claims(&["192.0.2.0/24", "192.0.2.1/32"]));
        assert!(publisher.proceed(&mut table).unwrap());
        assert_eq!(table.entries[&net("192.0.2.1/32")], Ownership::Kernel);
        // An address that is claimed, and one that lies in what is claimed, are no longer the machine's.
        publisher.follow(own(&[]), &mut table).unwrap();
        let expected =
            [net("192.0.2.0/24"), net("192.0.2.1/32")].map(|net| (net, Ownership::Relay));
        assert_eq!(table.entries, BTreeMap::from(expected));
        // One that stops being claimed while it is the machine's leaves nothing behind.
        publisher.follow(own(&["192.0.2.1"]), &mut table).unwrap();
        turn_to(&mut publisher, claims(&["192.0.2.0/24"]));
        assert!(publisher.proceed(&mut table).unwrap());
        assert_eq!(table.entries[&net("192.0.2.1/32")], Ownership::Kernel);
        publisher.follow(own(&[]), &mut table).unwrap();
        assert_eq!(
            table.entries,
            BTreeMap::from([(net("192.0.2.0/24"), Ownership::Relay)])
        );
    }

    #[test]
    fn what_the_kernel_refuses_is_tried_again() {
        let mut table = Twin {
            patience: 1,
            ..Twin::default()
        };
        let mut publisher = Publisher {
            claims: claims(&[]),
            steps: Vec::new().into_iter(),
            own: BTreeSet::new(),
        };
        turn_to(&mut publisher, claims(&["192.0.2.0/24", "198.51.100.0/24"]));
        assert!(publisher.proceed(&mut table).is_err());
        assert!(publisher.is_busy());
        table.patience = usize::MAX;
        assert!(publisher.proceed(&mut table).unwrap());
        assert_eq!(table.entries.len(), 2);
    }

    #[test]
    fn long_ways_are_gone_in_slices() {
        let mut table = Twin {
            patience: usize::MAX,
            ..Twin::default()
        };
        let many: Vec<(IpNet, Ownership)> = (0..10_000_u32)
            .map(|number| {
                let address = std::net::Ipv4Addr::from_bits(0x0a00_0000 | number << 1);
                (host(address.into()), Ownership::Relay)
            })
            .collect();
        let mut publisher = Publisher {
            claims: claims(&[]),
            steps: Vec::new().into_iter(),
            own: BTreeSet::new(),
        };
        turn_to(&mut publisher, Arc::new(Claims::from_entries(many)));
        let turns = (1..).find(|_| publisher.proceed(&mut table).unwrap());
        assert_eq!((turns, table.entries.len()), (Some(3), 10_000));
    }
}
