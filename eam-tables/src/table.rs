//! The table of all mappings (EAMT, RFC 7757, 3.1) and the translation of single addresses by it (3.3).
//!
//! Whether an address is to be translated by the table at all (hairpinning, RFC 7757, 4.2) is the translator's business.

use crate::Eam;
use crate::flat::{Image, Slot4, Slot6};
use core::net::{Ipv4Addr, Ipv6Addr};
use core::ops::Range;
use ipnet::Ipv6Net;
use relay_core::AddressMap;
use relay_core::address::Prefix;
use relay_core::network::Mapped;

/// A frozen set of mappings, searched per direction for the longest prefix.
#[derive(Default)]
pub struct EamTable {
    entries: Vec<Eam>,
    v4: Image<Slot4>,
    v6: Image<Slot6>,
}

impl EamTable {
    /// Freezes the mappings.
    ///
    /// What RFC 7757, 5 leaves unspecified: of two mappings with the same prefix the last one counts in that direction.
    pub fn new(entries: Vec<Eam>) -> Self {
        Self::in_memory(entries, &|_| ())
    }

    /// As [`new`](Self::new); `reserved` is told of each large piece of memory before it is used, as for having the kernel arrange it
    /// better.
    pub fn in_memory(entries: Vec<Eam>, reserved: &dyn Fn(Range<*const ()>)) -> Self {
        Self {
            v4: Image::<Slot4>::new(&entries, reserved),
            v6: Image::<Slot6>::new(&entries, reserved),
            entries,
        }
    }

    /// Returns the mapping by which [`AddressMap::v4_to_v6`] goes.
    pub fn find_v4(&self, address: Ipv4Addr) -> Option<&Eam> {
        self.v4
            .find(address)
            .and_then(|mapped| self.entries.get(mapped.entry as usize))
    }

    /// Returns the mapping by which [`AddressMap::v6_to_v4`] goes.
    pub fn find_v6(&self, address: Ipv6Addr) -> Option<&Eam> {
        self.v6
            .find(address)
            .and_then(|mapped| self.entries.get(mapped.entry as usize))
    }

    /// All mappings, in the order given.
    pub fn entries(&self) -> &[Eam] {
        &self.entries
    }

    /// The number of mappings.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no mapping at all.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Says whether a mapping has IPv6 addresses under the translation prefix, by a walk over all of them.
    pub fn has_any_under(&self, prefix: &Prefix) -> bool {
        let Ok(prefix) = Ipv6Net::new(prefix.network(), prefix.length()) else {
            return true;
        };
        let mut mappings = self.entries.iter().map(Eam::ipv6);
        mappings.any(|ipv6| prefix.contains(&ipv6) || ipv6.contains(&prefix))
    }

    /// The arrays in which IPv4 addresses are looked up.
    pub fn image_v4(&self) -> &Image<Slot4> {
        &self.v4
    }

    /// The arrays in which IPv6 addresses are looked up.
    pub fn image_v6(&self) -> &Image<Slot6> {
        &self.v6
    }
}

impl AddressMap for EamTable {
    #[inline(always)]
    fn map_v4(&self, address: Ipv4Addr) -> Option<Mapped<Ipv6Addr>> {
        self.v4.find(address)
    }

    #[inline(always)]
    fn map_v6(&self, address: Ipv6Addr) -> Option<Mapped<Ipv4Addr>> {
        self.v6.find(address)
    }

    #[inline(always)]
    fn map_service_v4(&self, address: Ipv4Addr) -> Option<Mapped<Ipv6Addr>> {
        self.v4.find_service(address)
    }

    #[inline(always)]
    fn map_service_v6(&self, address: Ipv6Addr) -> Option<Mapped<Ipv4Addr>> {
        self.v6.find_service(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Place;
    use std::path::Path;

    fn table(rows: &[(&str, &str)]) -> EamTable {
        let place = Place::start_of(Path::new("eam.yaml").into());
        let eam = |(ipv4, ipv6): &(&str, &str)| {
            let (ipv4, ipv6) = (
                crate::parse_ipv4_prefix(ipv4).unwrap(),
                crate::parse_ipv6_prefix(ipv6).unwrap(),
            );
            Eam::new(ipv4, ipv6, None, place.clone()).unwrap()
        };
        EamTable::new(rows.iter().map(eam).collect())
    }

    /// RFC 7757, 3.2, Figure 1.
    const FIGURE_1: [(&str, &str); 6] = [
        ("192.0.2.1", "2001:db8:aaaa::"),
        ("192.0.2.2/32", "2001:db8:bbbb::b/128"),
        ("192.0.2.16/28", "2001:db8:cccc::/124"),
        ("192.0.2.128/26", "2001:db8:dddd::/64"),
        ("192.0.2.192/29", "2001:db8:eeee:8::/62"),
        ("192.0.2.224/31", "64:ff9b::/127"),
    ];

    /// RFC 7757, Appendix B, Figure 7: both directions of every row, and the EAM it is due to.
    #[test]
    fn rfc7757_figure_7() {
        let table = table(&FIGURE_1);
        for (ipv4, ipv6, eam) in [
            ("192.0.2.1", "2001:db8:aaaa::", 1),
            ("192.0.2.2", "2001:db8:bbbb::b", 2),
            ("192.0.2.16", "2001:db8:cccc::", 3),
            ("192.0.2.24", "2001:db8:cccc::8", 3),
            ("192.0.2.31", "2001:db8:cccc::f", 3),
            ("192.0.2.128", "2001:db8:dddd::", 4),
            ("192.0.2.152", "2001:db8:dddd:0:6000::", 4),
            ("192.0.2.183", "2001:db8:dddd:0:dc00::", 4),
            ("192.0.2.191", "2001:db8:dddd:0:fc00::", 4),
            ("192.0.2.195", "2001:db8:eeee:9:8000::", 5),
            ("192.0.2.225", "64:ff9b::1", 6),
        ] {
            let (ipv4, ipv6): (Ipv4Addr, Ipv6Addr) = (ipv4.parse().unwrap(), ipv6.parse().unwrap());
            assert_eq!(table.v4_to_v6(ipv4), Some(ipv6), "{ipv4}");
            assert_eq!(table.v6_to_v4(ipv6), Some(ipv4), "{ipv6}");
            assert_eq!(table.find_v4(ipv4), Some(&table.entries()[eam - 1]));
            assert_eq!(table.find_v6(ipv6), Some(&table.entries()[eam - 1]));
        }
        // "According to RFC 6052": no EAM covers it, in either direction.
        assert_eq!(table.v4_to_v6("192.0.2.248".parse().unwrap()), None);
        assert_eq!(table.v6_to_v4("64:ff9b::c000:2f8".parse().unwrap()), None);
        assert_eq!(table.find_v4("192.0.2.248".parse().unwrap()), None);
    }

    /// RFC 7757, Appendix B.1: which addresses of the hairpinning walk-throughs the table knows, and what it makes of them.
    #[test]
    fn rfc7757_appendix_b1() {
        let table = table(&FIGURE_1);
        for (ipv6, ipv4) in [
            ("2001:db8:aaaa::", Some("192.0.2.1")),
            ("2001:db8:bbbb::b", Some("192.0.2.2")),
            // Translated by RFC 6052, or a router without a mapping.
            ("64:ff9b::c000:201", None),
            ("64:ff9b::c000:202", None),
            ("2001:db8::1234", None),
        ] {
            assert_eq!(
                table.v6_to_v4(ipv6.parse().unwrap()),
                ipv4.map(|a| a.parse().unwrap()),
                "{ipv6}"
            );
        }
        assert_eq!(
            table.v4_to_v6("192.0.2.2".parse().unwrap()),
            Some("2001:db8:bbbb::b".parse().unwrap())
        );
        assert_eq!(table.v4_to_v6("198.51.100.1".parse().unwrap()), None);
    }

    /// RFC 7757, 5, Figure 2: the directions need not mirror each other.
    #[test]
    fn rfc7757_figure_2() {
        let table = table(&[
            ("0.0.0.0/0", "2001:db8:ff00::/40"),
            ("198.51.100.64/32", "2001:db8::abcd/128"),
        ]);
        let outer: Ipv6Addr = "2001:db8:ffc6:3364:4000::".parse().unwrap();
        assert_eq!(
            table.v6_to_v4(outer),
            Some("198.51.100.64".parse().unwrap())
        );
        assert_eq!(
            table.v4_to_v6("198.51.100.64".parse().unwrap()),
            Some("2001:db8::abcd".parse().unwrap())
        );
        assert_eq!(
            table.v6_to_v4("2001:db8::abcd".parse().unwrap()),
            Some("198.51.100.64".parse().unwrap())
        );
        assert_eq!(
            table.v4_to_v6("198.51.100.65".parse().unwrap()),
            Some("2001:db8:ffc6:3364:4100::".parse().unwrap())
        );
    }

    /// "any trailing bits are discarded" (RFC 7757, 3.3.2).
    #[test]
    fn trailing_ipv6_bits_are_discarded() {
        let table = table(&FIGURE_1);
        assert_eq!(
            table.v6_to_v4("2001:db8:dddd:0:dc00::1".parse().unwrap()),
            Some("192.0.2.183".parse().unwrap())
        );
        assert_eq!(
            table.v6_to_v4("2001:db8:dddd:0:dfff::".parse().unwrap()),
            Some("192.0.2.183".parse().unwrap())
        );
    }

    #[test]
    fn an_empty_table_translates_nothing() {
        let table = EamTable::default();
        assert!(table.is_empty());
        assert_eq!(table.v4_to_v6("192.0.2.1".parse().unwrap()), None);
        assert_eq!(table.v6_to_v4("2001:db8::".parse().unwrap()), None);
    }
}
