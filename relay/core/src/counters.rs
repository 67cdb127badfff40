//! One number for each thing that can become of a packet.
//!
//! A counter's name says what happened, then the direction if there is one, then the reason: `drop_v4_to_v6_hop_limit`. Names of
//! reasons come from [`crate::reasons`] alone; every list, table or metric is made by [`Counters::iter`]. The books balance:
//! what came in was forwarded, passed or dropped, once its ICMP errors have been translated.

use crate::plain::Plain;
use crate::reasons::{DropReason, PassReason};
use crate::translate::TranslatedError;
use crate::verdict::{Direction, Verdict};
use core::net::IpAddr;

/// The counters of one owner; owners add theirs up with [`Counters::add`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counters {
    directions: [PerDirection; Direction::ALL.len()],
    /// Those of the packets forwarded from IPv6 that went back to IPv6 (RFC 7757, 4.2.2).
    hairpinned: u64,
    /// Packets left to the kernel, by [`PassReason`]. They have no direction: nothing was going to be translated.
    passed: [u64; PassReason::ALL.len()],
}

/// The counters of one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PerDirection {
    forwarded_packets: u64,
    forwarded_octets: u64,
    fragments: u64,
    replies: u64,
    dropped: [u64; DropReason::ALL.len()],
}

/// The name of one counter, in parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// Packets that were translated and sent on.
    ForwardedPackets(Direction),
    /// Octets of those, counted as network-layer octets after translation.
    ForwardedOctets(Direction),
    /// Fragments as which packets were sent on that had to be split.
    Fragments(Direction),
    /// ICMP errors that the relay sent about packets that it dropped.
    Replies(Direction),
    /// Packets that were translated from IPv6 and straight back to IPv6.
    Hairpinned,
    /// Packets that were left to the kernel.
    Passed(PassReason),
    /// Packets that were dropped.
    Dropped(Direction, DropReason),
}

impl core::fmt::Display for Name {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::ForwardedPackets(direction) => {
                write!(formatter, "out_{}_packets", direction.name())
            }
            Self::ForwardedOctets(direction) => {
                write!(formatter, "out_{}_octets", direction.name())
            }
            Self::Fragments(direction) => write!(formatter, "out_{}_fragments", direction.name()),
            Self::Replies(direction) => write!(formatter, "reply_{}_packets", direction.name()),
            Self::Hairpinned => formatter.write_str("hairpin_packets"),
            Self::Passed(reason) => write!(formatter, "pass_{}", reason.name()),
            Self::Dropped(direction, reason) => {
                write!(formatter, "drop_{}_{}", direction.name(), reason.name())
            }
        }
    }
}

impl Name {
    /// Returns one line that explains the counter to an operator.
    pub const fn describe(&self) -> &'static str {
        match self {
            Self::ForwardedPackets(_) => "Packets translated and sent on.",
            Self::ForwardedOctets(_) => {
                "Octets of the packets sent on, from the new network header to the end."
            }
            Self::Fragments(_) => "Fragments as which packets were sent on that had to be split.",
            Self::Replies(_) => {
                "ICMP errors sent about dropped packets, in the family in which these arrived."
            }
            Self::Hairpinned => {
                "Those of out_v6_to_v4_packets that were hairpinned: sent on as IPv6 (RFC 7757, 4.2.2)."
            }
            Self::Passed(reason) => reason.describe(),
            Self::Dropped(_, reason) => reason.describe(),
        }
    }
}

impl Name {
    /// Returns where the rule stands by which the counter moves, as the clause of an RFC or a key of the configuration; `None`
    /// where that differs from packet to packet.
    pub fn clause(&self) -> Option<&'static str> {
        match self {
            Self::ForwardedPackets(_) | Self::ForwardedOctets(_) | Self::Fragments(_) => None,
            Self::Replies(Direction::V4ToV6) => Some("RFC 7915, 4.4"),
            Self::Replies(Direction::V6ToV4) => Some("RFC 7915, 5.4"),
            Self::Hairpinned => Some("RFC 7757, 4.2.2"),
            Self::Passed(reason) => reason.clauses().first().copied(),
            Self::Dropped(direction, reason) => {
                let clauses = reason.clauses();
                let own = clauses.get(*direction as usize);
                own.or(clauses.first()).copied()
            }
        }
    }
}

impl Counters {
    /// All counters at zero.
    pub const ZERO: Self = Self {
        directions: [PerDirection {
            forwarded_packets: 0,
            forwarded_octets: 0,
            fragments: 0,
            replies: 0,
            dropped: [0; DropReason::ALL.len()],
        }; Direction::ALL.len()],
        hairpinned: 0,
        passed: [0; PassReason::ALL.len()],
    };

    /// Counts what became of one packet that arrived in the family of `direction`.
    #[inline]
    pub fn record(&mut self, direction: Direction, verdict: &Verdict) {
        // Every index is the discriminant of an enum whose ALL gives the array its length.
        match verdict {
            Verdict::Forward(rewrite) => {
                let octets = rewrite.header.length() + rewrite.payload;
                self.record_forwarded(direction, &rewrite.header.destination(), octets);
            }
            Verdict::Split(split) => {
                let pieces = split
                    .pieces()
                    .map(|piece| piece.header.length() + piece.payload.len());
                let (count, octets) =
                    pieces.fold((0, 0), |(count, sum), piece| (count + 1, sum + piece));
                self.record_forwarded(direction, &split.rewrite.header.destination(), octets);
                if let Some(counters) = self.directions.get_mut(direction as usize) {
                    counters.fragments += count;
                }
            }
            // Counted by `record_error` when it is translated.
            Verdict::IcmpError => {}
            Verdict::Pass(reason) => self.record_pass(*reason),
            Verdict::Drop(reason) | Verdict::Reply(reason, _) => {
                self.record_drop(direction, *reason)
            }
        }
    }

    /// Counts a plain packet that was translated, and that arrived in the family of `direction`.
    #[inline(always)]
    pub fn record_plain(&mut self, direction: Direction, plain: &Plain) {
        if direction == Direction::V6ToV4 && plain.is_v6() {
            self.hairpinned += 1;
        }
        self.add_forwarded(direction, 1, u64::from(plain.length()));
    }

    /// Counts what became of an ICMP error that arrived in the family of `direction`.
    pub fn record_error(
        &mut self,
        direction: Direction,
        outcome: &Result<TranslatedError, DropReason>,
    ) {
        match outcome {
            Ok(error) => self.record_forwarded(direction, &error.destination, error.length),
            Err(reason) => self.record_drop(direction, *reason),
        }
    }

    /// Counts an ICMP error that was sent about a dropped packet, which arrived in the family of `direction`.
    pub fn record_reply(&mut self, direction: Direction) {
        if let Some(counters) = self.directions.get_mut(direction as usize) {
            counters.replies += 1;
        }
    }

    /// Adds packets that were forwarded elsewhere, and their octets.
    #[inline]
    pub fn add_forwarded(&mut self, direction: Direction, packets: u64, octets: u64) {
        if let Some(counters) = self.directions.get_mut(direction as usize) {
            counters.forwarded_packets += packets;
            counters.forwarded_octets += octets;
        }
    }

    /// Adds packets that were hairpinned elsewhere.
    pub fn add_hairpinned(&mut self, packets: u64) {
        self.hairpinned += packets;
    }

    #[inline]
    fn record_forwarded(&mut self, direction: Direction, destination: &IpAddr, octets: usize) {
        if direction == Direction::V6ToV4 && destination.is_ipv6() {
            self.hairpinned += 1;
        }
        if let Some(counters) = self.directions.get_mut(direction as usize) {
            counters.forwarded_packets += 1;
            counters.forwarded_octets += octets as u64;
        }
    }

    #[inline]
    fn record_drop(&mut self, direction: Direction, reason: DropReason) {
        if let Some(counters) = self.directions.get_mut(direction as usize)
            && let Some(counter) = counters.dropped.get_mut(reason as usize)
        {
            *counter += 1;
        }
    }

    /// Counts one packet that was left to the kernel.
    #[inline]
    pub fn record_pass(&mut self, reason: PassReason) {
        if let Some(counter) = self.passed.get_mut(reason as usize) {
            *counter += 1;
        }
    }

    /// Adds another owner's counters to these.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.directions.iter_mut().zip(&other.directions) {
            mine.forwarded_packets += theirs.forwarded_packets;
            mine.forwarded_octets += theirs.forwarded_octets;
            mine.fragments += theirs.fragments;
            mine.replies += theirs.replies;
            mine.dropped
                .iter_mut()
                .zip(&theirs.dropped)
                .for_each(|(mine, theirs)| *mine += theirs);
        }
        self.hairpinned += other.hairpinned;
        self.passed
            .iter_mut()
            .zip(&other.passed)
            .for_each(|(mine, theirs)| *mine += theirs);
    }

    /// Lists every counter with its name, also those at zero.
    pub fn iter(&self) -> impl Iterator<Item = (Name, u64)> + '_ {
        let directions =
            Direction::ALL
                .into_iter()
                .zip(&self.directions)
                .flat_map(|(direction, counters)| {
                    let forwarded = [
                        (
                            Name::ForwardedPackets(direction),
                            counters.forwarded_packets,
                        ),
                        (Name::ForwardedOctets(direction), counters.forwarded_octets),
                        (Name::Fragments(direction), counters.fragments),
                        (Name::Replies(direction), counters.replies),
                    ];
                    let dropped = DropReason::ALL.into_iter().zip(counters.dropped);
                    forwarded.into_iter().chain(
                        dropped
                            .map(move |(reason, count)| (Name::Dropped(direction, reason), count)),
                    )
                });
        let passed = PassReason::ALL.into_iter().zip(self.passed);
        directions
            .chain([(Name::Hairpinned, self.hairpinned)])
            .chain(passed.map(|(reason, count)| (Name::Passed(reason), count)))
    }
}

impl Default for Counters {
    fn default() -> Self {
        Self::ZERO
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::ToString;

    #[test]
    fn each_verdict_moves_exactly_its_own_counter() {
        for reason in DropReason::ALL {
            let mut counters = Counters::ZERO;
            counters.record(Direction::V6ToV4, &Verdict::Drop(reason));
            let moved: std::vec::Vec<_> =
                counters.iter().filter(|(_, count)| *count != 0).collect();
            assert_eq!(moved, [(Name::Dropped(Direction::V6ToV4, reason), 1)]);
        }
        let mut counters = Counters::ZERO;
        counters.record(Direction::V4ToV6, &Verdict::Pass(PassReason::OwnAddress));
        let moved: std::vec::Vec<_> = counters.iter().filter(|(_, count)| *count != 0).collect();
        assert_eq!(moved, [(Name::Passed(PassReason::OwnAddress), 1)]);
    }

    #[test]
    fn names_follow_one_grammar() {
        let dropped = Name::Dropped(Direction::V4ToV6, DropReason::HopLimit);
        assert_eq!(dropped.to_string(), "drop_v4_to_v6_hop_limit");
        assert_eq!(
            Name::ForwardedPackets(Direction::V6ToV4).to_string(),
            "out_v6_to_v4_packets"
        );
        assert_eq!(
            Name::Passed(PassReason::NotOurs).to_string(),
            "pass_not_ours"
        );
    }

    #[test]
    fn each_direction_has_its_clause() {
        let clauses =
            Direction::ALL.map(|direction| Name::Dropped(direction, DropReason::HopLimit).clause());
        assert_eq!(clauses, [Some("RFC 7915, 4.1"), Some("RFC 7915, 5.1")]);
        let clauses = Direction::ALL
            .map(|direction| Name::Dropped(direction, DropReason::FragmentedIcmp).clause());
        assert_eq!(clauses, [Some("RFC 7915, 1.2"); 2]);
    }

    #[test]
    fn counters_add_up() {
        let mut total = Counters::ZERO;
        let mut part = Counters::ZERO;
        part.record(
            Direction::V4ToV6,
            &Verdict::Drop(DropReason::FragmentedIcmp),
        );
        part.record_pass(PassReason::NotIp);
        part.record_reply(Direction::V6ToV4);
        part.record(Direction::V6ToV4, &Verdict::Split(split()));
        total.add(&part);
        total.add(&part);
        let moved: std::vec::Vec<_> = total
            .iter()
            .filter(|(_, count)| *count != 0)
            .map(|(name, count)| (name.to_string(), count))
            .collect();
        let expected = [
            ("drop_v4_to_v6_fragmented_icmp", 2),
            ("out_v6_to_v4_packets", 2),
            ("out_v6_to_v4_octets", 2 * (20 + 48 + 20 + 2)),
            ("out_v6_to_v4_fragments", 4),
            ("reply_v6_to_v4_packets", 2),
            ("pass_not_ip", 2),
        ];
        assert_eq!(
            moved,
            expected.map(|(name, count)| (name.to_string(), count))
        );
    }

    /// 50 octets in fragments of 48.
    fn split() -> crate::rewrite::Split {
        let header = crate::wire::ipv4::Header {
            tos: 0,
            total_length: 70,
            identification: 1,
            df: false,
            mf: false,
            fragment_offset: 0,
            ttl: 63,
            protocol: 17,
            source: core::net::Ipv4Addr::new(192, 0, 2, 1),
            destination: core::net::Ipv4Addr::new(203, 0, 113, 50),
        };
        let rewrite = crate::rewrite::Rewrite {
            cut: 40,
            header: crate::rewrite::NetworkHeader::V4(header),
            payload: 50,
            patch: crate::rewrite::Patch::None,
        };
        crate::rewrite::Split { rewrite, piece: 48 }
    }
}
