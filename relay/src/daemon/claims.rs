//! Which destinations the XDP program hands to the relay, generation by generation, and the way from one to the next.
//!
//! The kernel's table is a longest-prefix table that is changed entry by entry while packets are looked up in it. What a
//! generation claims is a list of entries; [`steps`] is the order in which entries are written and deleted so that
//! each address changes hands once at most, and one that is claimed before and after never stops being claimed:
//!
//! 1. Entries that are new or changed are written, the longest prefixes first. When an entry is written, all longer ones of
//!    the new generation are there already, so it decides only about addresses that it is to decide about in the end, or
//!    about none, where a longer entry of the old generation still does.
//! 2. Entries that are gone are deleted, the shortest prefixes first. What an entry decided about falls to the new
//!    generation at once, since no shorter entry of the old one is left.

use crate::driver::bpf::{BpfError, XdpProgram};
use crate::tables::Tables;
use eam_tables::layout::Ownership;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::cmp::Ordering;
use std::net::IpAddr;

/// The entries of one generation, without those for the machine's own addresses.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// In ascending order, each prefix once.
    entries: Vec<(IpNet, Ownership)>,
}

/// One change of the kernel's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Says who owns a prefix.
    Set(IpNet, Ownership),
    /// Forgets what was said about a prefix.
    Clear(IpNet),
}

impl Claims {
    /// Lists what a generation claims.
    pub(super) fn of(tables: &Tables) -> Self {
        let mappings = || tables.eam.entries().iter().map(|eam| eam.ipv4());
        let denied = |prefix: &Ipv4Net| {
            tables
                .denylist4
                .iter()
                .any(|denied| denied.contains(prefix))
        };
        let translatable = tables
            .ipv4_translatable
            .iter()
            .filter(|prefix| !denied(prefix));
        let lists = translatable.chain(tables.service_pools.iter());
        let claimed: eam_tables::PrefixSet4 = mappings().chain(lists).collect();
        let entry = |prefix: Ipv4Net, owner| (IpNet::V4(prefix), owner);
        let mut entries: Vec<_> = claimed
            .iter()
            .map(|prefix| entry(prefix, Ownership::Relay))
            .collect();
        // What `denylist4` takes away from `ipv4_translatable` is the kernel's, but not what has a mapping or lies in a pool.
        for prefix in tables
            .denylist4
            .iter()
            .filter(|prefix| claimed.contains(prefix.network()))
        {
            let kept = || mappings().chain(tables.service_pools.iter());
            if kept().any(|kept| kept.contains(&prefix)) {
                continue;
            }
            entries.push(entry(prefix, Ownership::Kernel));
            let inside = kept().filter(|kept| prefix.contains(kept));
            entries.extend(inside.map(|kept| entry(kept, Ownership::Relay)));
        }
        let prefix = tables.policy.prefix;
        let prefix = Ipv6Net::new_assert(prefix.network(), prefix.length());
        entries.push((IpNet::V6(prefix), Ownership::Relay));
        // Of equal prefixes the last one counts; the sort keeps their order.
        entries.sort_by_key(|(prefix, _)| *prefix);
        entries.dedup_by(|later, earlier| {
            let is_equal = later.0 == earlier.0;
            if is_equal {
                earlier.1 = later.1;
            }
            is_equal
        });
        Self { entries }
    }

    /// Returns claims of prefixes that are given in ascending order.
    #[cfg(test)]
    pub(super) fn from_entries(entries: Vec<(IpNet, Ownership)>) -> Self {
        Self { entries }
    }

    /// Returns the number of entries.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns what a generation says of exactly this prefix.
    pub(super) fn owner(&self, prefix: IpNet) -> Option<Ownership> {
        let found = self
            .entries
            .binary_search_by_key(&prefix, |(other, _)| *other);
        found.ok().map(|index| self.entries[index].1)
    }
}

/// Returns what has to be done to get from one generation to the next, in the order in which it has to be done.
pub(super) fn steps(old: &Claims, new: &Claims) -> Vec<Step> {
    let (mut set, mut clear) = (Vec::new(), Vec::new());
    let (mut old, mut new) = (old.entries.as_slice(), new.entries.as_slice());
    loop {
        let order = match (old.first(), new.first()) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((old, _)), Some((new, _))) => old.cmp(new),
        };
        match (order, old, new) {
            (Ordering::Less, [(prefix, _), rest @ ..], _) => {
                clear.push(*prefix);
                old = rest;
            }
            (Ordering::Greater, _, [entry, rest @ ..]) => {
                set.push(*entry);
                new = rest;
            }
            (_, [before, old_rest @ ..], [after, new_rest @ ..]) => {
                if before.1 != after.1 {
                    set.push(*after);
                }
                (old, new) = (old_rest, new_rest);
            }
            // The order was found by the first entries.
            (_, [], _) | (_, _, []) => break,
        }
    }
    set.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.prefix_len()));
    clear.sort_by_key(IpNet::prefix_len);
    let set = set
        .into_iter()
        .map(|(prefix, owner)| Step::Set(prefix, owner));
    set.chain(clear.into_iter().map(Step::Clear)).collect()
}

/// A table that can be changed entry by entry.
pub(super) trait OwnershipTable {
    /// Carries out one step.
    fn take(&mut self, step: Step) -> Result<(), BpfError>;
}

impl OwnershipTable for XdpProgram {
    fn take(&mut self, step: Step) -> Result<(), BpfError> {
        match step {
            Step::Set(IpNet::V4(prefix), owner) => self.set_owner_v4(prefix, owner),
            Step::Set(IpNet::V6(prefix), owner) => self.set_owner_v6(prefix, owner),
            Step::Clear(IpNet::V4(prefix)) => self.clear_owner_v4(prefix),
            Step::Clear(IpNet::V6(prefix)) => self.clear_owner_v6(prefix),
        }
    }
}

/// Returns the prefix of one address alone.
pub(super) fn host(address: IpAddr) -> IpNet {
    IpNet::from(address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::net::Ipv4Addr;

    /// A longest-prefix table over addresses of six bits, behind 192.0.2.0.
    #[derive(Clone, Default)]
    pub(crate) struct Twin(BTreeMap<IpNet, Ownership>);

    impl OwnershipTable for Twin {
        fn take(&mut self, step: Step) -> Result<(), BpfError> {
            match step {
                Step::Set(prefix, owner) => self.0.insert(prefix, owner),
                Step::Clear(prefix) => self.0.remove(&prefix),
            };
            Ok(())
        }
    }

    impl Twin {
        fn owner(&self, address: Ipv4Addr) -> Ownership {
            let address = IpAddr::V4(address);
            let matching = self
                .0
                .iter()
                .filter(|(prefix, _)| prefix.contains(&address));
            let longest = matching.max_by_key(|(prefix, _)| prefix.prefix_len());
            longest.map_or(Ownership::Kernel, |(_, owner)| *owner)
        }

        fn owners(&self) -> Vec<Ownership> {
            (0..64)
                .map(|host| self.owner(Ipv4Addr::new(192, 0, 2, host)))
                .collect()
        }
    }

    /// A small generator of numbers, the same at every run (xorshift).
    fn random(state: &mut u64) -> u64 {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state
    }

    fn any_claims(state: &mut u64) -> Claims {
        let count = random(state) % 12;
        let mut entries: Vec<(IpNet, Ownership)> = (0..count)
            .map(|_| {
                let host = Ipv4Addr::new(192, 0, 2, (random(state) % 64) as u8);
                let prefix = Ipv4Net::new_assert(host, 26 + (random(state) % 7) as u8).trunc();
                let owner = match random(state) % 3 {
                    0 => Ownership::Kernel,
                    _ => Ownership::Relay,
                };
                (prefix.into(), owner)
            })
            .collect();
        entries.sort_by_key(|(prefix, _)| *prefix);
        entries.dedup_by_key(|(prefix, _)| *prefix);
        Claims { entries }
    }

    #[test]
    fn every_address_changes_hands_once_at_most_on_any_way() {
        let mut state = 0x5eed;
        for _ in 0..2_000 {
            let (old, new) = (any_claims(&mut state), any_claims(&mut state));
            let mut table = Twin(old.entries.iter().copied().collect());
            let goal = Twin(new.entries.iter().copied().collect());
            let (before, after) = (table.owners(), goal.owners());
            let mut last = before.clone();
            for step in steps(&old, &new) {
                table.take(step).unwrap();
                for (host, owner) in table.owners().into_iter().enumerate() {
                    let is_allowed = owner == last[host] || owner == after[host];
                    assert!(is_allowed, "{host} {step:?} {old:?} {new:?}");
                    last[host] = owner;
                }
            }
            assert_eq!(table.0, goal.0);
            assert_eq!(last, after);
        }
    }

    #[test]
    fn what_stays_is_not_written() {
        let mut state = 7;
        let claims = any_claims(&mut state);
        assert_eq!(steps(&claims, &claims), []);
    }
}
