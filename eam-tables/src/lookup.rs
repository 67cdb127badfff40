//! Longest-prefix look-up whose cost does not grow with the number of prefixes.
//!
//! One hash table for each prefix length that occurs, and a binary search over these lengths (Waldvogel, Varghese, Turner,
//! Plattner: "Scalable High Speed IP Routing Lookups", SIGCOMM 1997). A longer prefix leaves *markers* in the shorter tables
//! which the search passes on the way to it; a marker carries the best match among the prefixes no longer than itself, so the
//! search never has to go back. One length costs one probe, 3 lengths two, 33 lengths at most six.
//!
//! Tables are frozen: a change means a new table.

use crate::search_order::{marker_levels, middle};
use core::hash::Hash;
use core::net::{Ipv4Addr, Ipv6Addr};
use hashbrown::HashMap;
use ipnet::{Ipv4Net, Ipv6Net};
use relay_core::hash::MULTIPLIERS;

/// The address families a [`PrefixTable`] can hold.
pub trait Address: Copy + sealed::Bits {
    /// The prefix type of the family.
    type Prefix: Copy;
}

impl Address for Ipv4Addr {
    type Prefix = Ipv4Net;
}

impl Address for Ipv6Addr {
    type Prefix = Ipv6Net;
}

mod sealed {
    use super::{Address, Hash};

    /// An address as a number, the first bit on the wire being the highest.
    pub trait Bits {
        type Bits: Copy + Ord + Hash + core::ops::BitAnd<Output = Self::Bits>;
        fn bits(self) -> Self::Bits;
        fn mask(length: u8) -> Self::Bits;
        /// Returns a number with one bit, which depends on all bits.
        fn filter_bit(bits: Self::Bits) -> u64;
        fn split(prefix: Self::Prefix) -> (Self::Bits, u8)
        where
            Self: Address;
        fn join(bits: Self::Bits, length: u8) -> Self::Prefix
        where
            Self: Address;
    }
}

impl sealed::Bits for Ipv4Addr {
    type Bits = u32;

    fn bits(self) -> u32 {
        self.to_bits()
    }

    fn mask(length: u8) -> u32 {
        u32::MAX.checked_shl(u32::from(32 - length)).unwrap_or(0)
    }

    fn filter_bit(bits: u32) -> u64 {
        one_bit(u64::from(bits))
    }

    fn split(prefix: Ipv4Net) -> (u32, u8) {
        (prefix.network().to_bits(), prefix.prefix_len())
    }

    fn join(bits: u32, length: u8) -> Ipv4Net {
        Ipv4Net::new_assert(Ipv4Addr::from_bits(bits), length)
    }
}

impl sealed::Bits for Ipv6Addr {
    type Bits = u128;

    fn bits(self) -> u128 {
        self.to_bits()
    }

    fn mask(length: u8) -> u128 {
        u128::MAX.checked_shl(u32::from(128 - length)).unwrap_or(0)
    }

    fn filter_bit(bits: u128) -> u64 {
        one_bit((bits >> 64) as u64 ^ (bits as u64).rotate_left(32))
    }

    fn split(prefix: Ipv6Net) -> (u128, u8) {
        (prefix.network().to_bits(), prefix.prefix_len())
    }

    fn join(bits: u128, length: u8) -> Ipv6Net {
        Ipv6Net::new_assert(Ipv6Addr::from_bits(bits), length)
    }
}

/// Returns a number with one bit, which depends on all bits of another one: what no bit of a few numbers stands for is none of them.
#[inline(always)]
pub fn one_bit(number: u64) -> u64 {
    let [a, ..] = MULTIPLIERS;
    1 << (number.wrapping_mul(a) >> 58)
}

/// What a prefix or marker knows about itself and everything shorter.
#[derive(Clone, Copy)]
enum Slot<V> {
    /// A marker that no prefix covers.
    Uncovered,
    /// The longest prefix of this length or shorter.
    Best { length: u8, value: V },
}

/// All prefixes and markers of one length.
struct Level<A: Address, V> {
    length: u8,
    mask: A::Bits,
    slots: HashMap<A::Bits, Slot<V>>,
    /// The bits of the keys of `slots`, in front of a short table: most addresses need no look at it.
    filter: u64,
}

impl<A: Address, V> Level<A, V> {
    #[inline]
    fn get(&self, address: A::Bits) -> Option<&Slot<V>> {
        let key = address & self.mask;
        match self.filter & A::filter_bit(key) {
            0 => None,
            _ => self.slots.get(&key),
        }
    }
}

/// A frozen map from prefixes to values, searched by address for the longest prefix.
///
/// Values lie in the hash slots, so keep them small. Built by collecting `(prefix, value)` pairs; bits after a prefix are
/// ignored, and of equal prefixes the last one stays.
pub struct PrefixTable<A: Address, V> {
    /// The value of the prefix of length zero, which every address matches: it costs no probe.
    whole: Option<V>,
    /// Those of all other lengths, in ascending order.
    levels: Vec<Level<A, V>>,
    len: usize,
}

impl<A: Address, V: Copy> PrefixTable<A, V> {
    /// Returns the value of the longest prefix that contains the address.
    #[inline]
    pub fn get(&self, address: A) -> Option<V> {
        self.find(address).map(|(_, value)| value)
    }

    /// Returns the longest prefix that contains the address, and its value.
    pub fn get_with_prefix(&self, address: A) -> Option<(A::Prefix, V)> {
        self.find(address)
            .map(|(length, value)| (A::join(address.bits() & A::mask(length), length), value))
    }

    /// The number of prefixes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no prefix at all.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The prefix lengths that occur, in ascending order.
    pub fn lengths(&self) -> impl Iterator<Item = u8> + '_ {
        let whole = self.whole.is_some().then_some(0);
        whole
            .into_iter()
            .chain(self.levels.iter().map(|level| level.length))
    }

    /// Returns the length of the longest prefix that contains the address, and its value.
    #[inline]
    pub(crate) fn find(&self, address: A) -> Option<(u8, V)> {
        let bits = address.bits();
        let mut best = &Slot::Uncovered;
        let (mut low, mut high) = (0, self.levels.len());
        while low < high {
            let at = middle(low, high);
            let level = &self.levels[at];
            match level.get(bits) {
                // The slot of a longer prefix or marker knows at least as much.
                Some(slot) => {
                    best = slot;
                    low = at + 1;
                }
                None => high = at,
            }
        }
        match best {
            Slot::Uncovered => self.whole.map(|value| (0, value)),
            Slot::Best { length, value } => Some((*length, *value)),
        }
    }
}

impl<A: Address, V> Default for PrefixTable<A, V> {
    fn default() -> Self {
        Self {
            whole: None,
            levels: Vec::new(),
            len: 0,
        }
    }
}

impl<A: Address, V: Copy> FromIterator<(A::Prefix, V)> for PrefixTable<A, V> {
    fn from_iter<I: IntoIterator<Item = (A::Prefix, V)>>(pairs: I) -> Self {
        let mut prefixes: Vec<(A::Bits, u8, V)> = pairs
            .into_iter()
            .map(|(prefix, value)| {
                let (bits, length) = A::split(prefix);
                (bits, length, value)
            })
            .collect();
        let mut whole = None;
        prefixes.retain(|(_, length, value)| {
            if *length == 0 {
                whole = Some(*value);
            }
            *length != 0
        });

        const LENGTHS: usize = 129;
        let mut counts = [0_usize; LENGTHS];
        for (_, length, _) in &prefixes {
            counts[usize::from(*length)] += 1;
        }
        let mut levels: Vec<Level<A, V>> = (0_u8..)
            .zip(counts)
            .filter(|(_, count)| *count > 0)
            .map(|(length, count)| Level {
                length,
                mask: A::mask(length),
                slots: HashMap::with_capacity(count),
                filter: 0,
            })
            .collect();

        if levels.len() > 1 {
            // Every prefix comes after all that contain it, equal ones in the given order.
            prefixes.sort_by_key(|(bits, length, _)| (*bits, *length));
        }
        let mut level_of = [0_usize; LENGTHS];
        for (index, level) in levels.iter().enumerate() {
            level_of[usize::from(level.length)] = index;
        }
        // The prefixes which contain the one at hand, the longest last.
        let mut enclosing: Vec<(A::Bits, u8, V)> = Vec::new();
        for prefix in prefixes {
            let (bits, length, value) = prefix;
            while enclosing
                .pop_if(|(outer, length, _)| bits & A::mask(*length) != *outer)
                .is_some()
            {}
            let target = level_of[usize::from(length)];
            for at in marker_levels(levels.len(), target) {
                let level = &mut levels[at];
                level.slots.entry(bits & level.mask).or_insert_with(|| {
                    enclosing
                        .iter()
                        .rev()
                        .find(|(_, length, _)| *length <= level.length)
                        .map_or(Slot::Uncovered, |(_, length, value)| Slot::Best {
                            length: *length,
                            value: *value,
                        })
                });
            }
            levels[target]
                .slots
                .insert(bits, Slot::Best { length, value });
            enclosing.push(prefix);
        }

        for level in &mut levels {
            let bits = level.slots.keys().map(|key| A::filter_bit(*key));
            level.filter = bits.fold(0, |all, bit| all | bit);
        }

        // Equal prefixes fell together.
        let below: usize = levels
            .iter()
            .map(|level| match levels.len() {
                1 => level.slots.len(),
                _ => level
                    .slots
                    .values()
                    .filter(
                        |slot| matches!(slot, Slot::Best { length, .. } if *length == level.length),
                    )
                    .count(),
            })
            .sum();
        let len = below + usize::from(whole.is_some());
        Self { whole, levels, len }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The longest prefix by asking all of them; of equal ones the last.
    fn scan<T: Copy>(pairs: &[(Ipv6Net, T)], address: Ipv6Addr) -> Option<(Ipv6Net, T)> {
        pairs
            .iter()
            .copied()
            .filter(|(net, _)| net.contains(&address))
            .max_by_key(|(net, _)| net.prefix_len())
    }

    fn scan4<T: Copy>(pairs: &[(Ipv4Net, T)], address: Ipv4Addr) -> Option<(Ipv4Net, T)> {
        pairs
            .iter()
            .copied()
            .filter(|(net, _)| net.contains(&address))
            .max_by_key(|(net, _)| net.prefix_len())
    }

    /// Spreads few random bits over the whole address, so that prefixes of any length nest and touch.
    fn spread4(seed: u32) -> u32 {
        (0..32).fold(0, |bits, i| bits | ((seed >> (i / 4) & 1) << i))
    }

    fn spread6(seed: u32) -> u128 {
        (0..128).fold(0, |bits, i| bits | (u128::from(seed >> (i / 16) & 1) << i))
    }

    /// Addresses at, just before and just after the edges of a prefix.
    fn edges(low: u128, high: u128) -> [u128; 4] {
        [low, high, low.wrapping_sub(1), high.wrapping_add(1)]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn ipv4_agrees_with_a_linear_scan(
            prefixes in proptest::collection::vec((any::<u8>(), 0u8..=32), 0..200),
            lengths in proptest::collection::vec(0u8..=32, 1..=33),
            others in proptest::collection::vec(any::<u32>(), 20),
        ) {
            let pairs: Vec<(Ipv4Net, usize)> = prefixes.iter().enumerate().map(|(value, (seed, length))| {
                let length = lengths[usize::from(*length) % lengths.len()];
                (Ipv4Net::new(spread4(u32::from(*seed)).into(), length).unwrap().trunc(), value)
            }).collect();
            let table: PrefixTable<Ipv4Addr, usize> = pairs.iter().copied().collect();
            let near = pairs.iter().flat_map(|(net, _)| {
                edges(net.network().to_bits().into(), net.broadcast().to_bits().into()).map(|bits| bits as u32)
            });
            for address in near.chain(others).map(Ipv4Addr::from) {
                let expected = scan4(&pairs, address);
                prop_assert_eq!(table.get_with_prefix(address), expected);
                prop_assert_eq!(table.get(address), expected.map(|(_, value)| value));
            }
            let distinct: std::collections::BTreeSet<_> = pairs.iter().map(|(net, _)| *net).collect();
            prop_assert_eq!(table.len(), distinct.len());
            prop_assert_eq!(table.is_empty(), distinct.is_empty());
        }

        #[test]
        fn ipv6_agrees_with_a_linear_scan(
            prefixes in proptest::collection::vec((any::<u8>(), any::<u8>()), 0..200),
            lengths in proptest::collection::vec(0u8..=128, 1..=33),
            others in proptest::collection::vec(any::<u128>(), 20),
        ) {
            let pairs: Vec<(Ipv6Net, usize)> = prefixes.iter().enumerate().map(|(value, (seed, length))| {
                let length = lengths[usize::from(*length) % lengths.len()];
                (Ipv6Net::new(spread6(u32::from(*seed)).into(), length).unwrap().trunc(), value)
            }).collect();
            let table: PrefixTable<Ipv6Addr, usize> = pairs.iter().copied().collect();
            let near = pairs.iter().flat_map(|(net, _)| edges(net.network().to_bits(), net.broadcast().to_bits()));
            for address in near.chain(others).map(Ipv6Addr::from) {
                prop_assert_eq!(table.get_with_prefix(address), scan(&pairs, address));
            }
        }
    }

    #[test]
    fn all_lengths_nested_in_each_other() {
        let pairs: Vec<(Ipv4Net, u8)> = (0..=32)
            .map(|n| (Ipv4Net::new(Ipv4Addr::BROADCAST, n).unwrap(), n))
            .collect();
        let table: PrefixTable<Ipv4Addr, u8> = pairs.into_iter().collect();
        assert_eq!(
            table.lengths().collect::<Vec<_>>(),
            (0..=32).collect::<Vec<u8>>()
        );
        for n in 0..=32 {
            // The first n bits are ones, the next is a zero.
            let address = Ipv4Addr::from_bits(<Ipv4Addr as sealed::Bits>::mask(n));
            assert_eq!(table.get(address), Some(n));
        }
    }

    #[test]
    fn a_marker_leads_nowhere_without_a_prefix() {
        let nets = ["10.0.0.0/8", "172.16.0.0/16", "192.0.2.1/32"];
        let table: PrefixTable<Ipv4Addr, usize> = nets
            .iter()
            .enumerate()
            .map(|(i, net)| (net.parse().unwrap(), i))
            .collect();
        assert_eq!(table.get("192.0.2.1".parse().unwrap()), Some(2));
        assert_eq!(table.get("192.0.2.2".parse().unwrap()), None);
        assert_eq!(table.len(), 3);
    }

    #[test]
    fn an_empty_table_finds_nothing() {
        let table: PrefixTable<Ipv6Addr, u32> = core::iter::empty().collect();
        assert_eq!(table.get(Ipv6Addr::LOCALHOST), None);
        assert!(table.is_empty());
    }

    #[test]
    fn probes_are_logarithmic_in_the_number_of_lengths() {
        for (lengths, most) in [(1, 1), (3, 2), (7, 3), (33, 6), (129, 8)] {
            let probes = (0..lengths)
                .map(|target| marker_levels(lengths, target).count() + 1)
                .max();
            assert!(probes <= Some(most), "{lengths}: {probes:?}");
        }
    }
}
