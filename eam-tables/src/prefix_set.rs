//! A set of IPv4 prefixes, such as the addresses that may be translated by RFC 6052.

use core::net::Ipv4Addr;
use ipnet::Ipv4Net;

/// A frozen set of IPv4 addresses, written as prefixes.
///
/// Prefixes which lie in others, or add up to a shorter one, are merged; a question costs one binary search.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PrefixSet4 {
    /// Disjoint, ascending.
    prefixes: Vec<Ipv4Net>,
}

impl PrefixSet4 {
    /// Whether the address lies in one of the prefixes.
    #[inline(always)]
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        !self.prefixes.is_empty() && self.contains_prefix(address.into())
    }

    /// Whether all addresses of `prefix` lie in one of the prefixes.
    pub fn contains_prefix(&self, prefix: Ipv4Net) -> bool {
        let after = self
            .prefixes
            .partition_point(|candidate| candidate.network() <= prefix.network());
        self.prefixes[..after]
            .last()
            .is_some_and(|candidate| candidate.contains(&prefix))
    }

    /// The fewest prefixes that make up the set, in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = Ipv4Net> + '_ {
        self.prefixes.iter().copied()
    }

    /// The number of prefixes that [`PrefixSet4::iter`] yields.
    pub fn len(&self) -> usize {
        self.prefixes.len()
    }

    /// Whether no address lies in the set.
    pub fn is_empty(&self) -> bool {
        self.prefixes.is_empty()
    }
}

impl FromIterator<Ipv4Net> for PrefixSet4 {
    fn from_iter<I: IntoIterator<Item = Ipv4Net>>(prefixes: I) -> Self {
        let prefixes: Vec<Ipv4Net> = prefixes.into_iter().map(|prefix| prefix.trunc()).collect();
        let mut prefixes = Ipv4Net::aggregate(&prefixes);
        prefixes.sort_unstable();
        Self { prefixes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn set(texts: &[&str]) -> PrefixSet4 {
        texts
            .iter()
            .map(|text| text.parse::<Ipv4Net>().unwrap())
            .collect()
    }

    #[test]
    fn merges_what_it_can() {
        let set = set(&[
            "192.0.2.128/25",
            "192.0.2.0/25",
            "192.0.2.7/32",
            "203.0.113.0/24",
        ]);
        assert_eq!(
            set.iter().map(|p| p.to_string()).collect::<Vec<_>>(),
            ["192.0.2.0/24", "203.0.113.0/24"]
        );
        assert_eq!(set.len(), 2);
    }

    #[test]
    fn knows_its_edges() {
        let set = set(&["10.0.0.0/8", "255.255.255.255/32", "0.0.0.0/32"]);
        for (address, expected) in [
            ("9.255.255.255", false),
            ("10.0.0.0", true),
            ("10.255.255.255", true),
            ("11.0.0.0", false),
            ("255.255.255.255", true),
            ("255.255.255.254", false),
            ("0.0.0.0", true),
            ("0.0.0.1", false),
        ] {
            assert_eq!(
                set.contains(address.parse().unwrap()),
                expected,
                "{address}"
            );
        }
        assert!(!PrefixSet4::default().contains(Ipv4Addr::UNSPECIFIED));
        assert!(super::tests::set(&["0.0.0.0/0"]).contains(Ipv4Addr::BROADCAST));
    }

    proptest! {
        #[test]
        fn agrees_with_asking_every_prefix(
            // Few bits in play, so that prefixes nest and touch.
            prefixes in proptest::collection::vec((0u32..64, 26u8..=32), 0..40), address in 0u32..64,
        ) {
            let nets: Vec<_> = prefixes.iter().map(|(bits, length)| Ipv4Net::new((*bits).into(), *length).unwrap()).collect();
            let set: PrefixSet4 = nets.iter().copied().collect();
            let address = Ipv4Addr::from(address);
            prop_assert_eq!(set.contains(address), nets.iter().any(|net| net.contains(&address)));
        }
    }
}
