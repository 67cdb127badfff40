//! The rule by which an address is translated, in words for people and for machines.

use crate::tables::Tables;
use eam_tables::Eam;
use relay_core::AddressMap;
use relay_core::address::Prefix;
use relay_core::policy::Hairpin;
use serde_json::json;
use std::fmt::{self, Display};
use std::net::IpAddr;

/// The rule by which an address is translated.
#[derive(Clone, Copy)]
pub(super) enum Rule<'t> {
    /// An explicit mapping.
    Eam(&'t Eam),
    /// The translation prefix.
    Rfc6052(Prefix),
    /// An address stands for one that cannot be translated: the source of an ICMP error.
    Substitute,
}

/// One translation of an address; a hairpinned packet goes through two.
#[derive(Clone, Copy)]
pub(super) struct Step<'t> {
    pub(super) from: IpAddr,
    pub(super) to: IpAddr,
    pub(super) rule: Rule<'t>,
}

impl<'t> Rule<'t> {
    pub(super) const fn rfc_6052(tables: &'t Tables) -> Self {
        Self::Rfc6052(tables.policy.prefix)
    }
}

impl Display for Rule<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Eam(eam) => {
                let name = eam.name().map(|name| format!(" \"{name}\""));
                let name = name.unwrap_or_default();
                let (ipv4, ipv6, place) = (eam.ipv4(), eam.ipv6(), eam.place());
                write!(formatter, "EAM{name} {ipv4} <-> {ipv6} ({place})")
            }
            Self::Rfc6052(prefix) => write!(
                formatter,
                "RFC 6052 under {}/{}",
                prefix.network(),
                prefix.length()
            ),
            Self::Substitute => formatter.write_str("RFC 6791"),
        }
    }
}

impl Step<'_> {
    /// Returns where the rule stands.
    pub(super) const fn clause(&self) -> &'static str {
        match (self.rule, self.from) {
            (Rule::Eam(_), IpAddr::V4(_)) => "RFC 7757, 3.3.1",
            (Rule::Eam(_), IpAddr::V6(_)) => "RFC 7757, 3.3.2",
            (Rule::Rfc6052(_), _) => "RFC 6052, 2.3",
            (Rule::Substitute, _) => "RFC 6791, 3",
        }
    }

    /// Adds what there is to say to an object.
    pub(super) fn describe(&self, object: &mut serde_json::Value) {
        object["becomes"] = json!(self.to);
        object["clause"] = json!(self.clause());
        match self.rule {
            Rule::Eam(eam) => {
                object["rule"] = json!("eam");
                object["eam"] = json!({
                    "ipv4": eam.ipv4().to_string(),
                    "ipv6": eam.ipv6().to_string(),
                    "name": eam.name(),
                    "place": eam.place().to_string(),
                });
            }
            Rule::Rfc6052(prefix) => {
                object["rule"] = json!("rfc6052");
                object["prefix"] = json!(format!("{}/{}", prefix.network(), prefix.length()));
            }
            Rule::Substitute => object["rule"] = json!("rfc6791"),
        }
    }
}

/// Says by which rules the address `from` of a packet became `to`.
pub(super) fn steps(tables: &Tables, from: IpAddr, to: IpAddr, is_source: bool) -> Vec<Step<'_>> {
    // RFC 7757, 4.2.2: a hairpinned packet goes to IPv4 and straight back.
    if let (IpAddr::V6(address), IpAddr::V6(_)) = (from, to) {
        let by_eam = tables.eam.v6_to_v4(address);
        let by_prefix = || tables.policy.prefix.extract(address);
        let way = by_eam.or_else(by_prefix).map(IpAddr::V4).map(|between| {
            let there = step(tables, from, between, is_source);
            [there, step(tables, between, to, is_source)]
        });
        return match way {
            Some(way) if !way.iter().any(|step| matches!(step.rule, Rule::Substitute)) => {
                way.to_vec()
            }
            Some(_) | None => vec![step(tables, from, to, is_source)],
        };
    }
    vec![step(tables, from, to, is_source)]
}

fn step(tables: &Tables, from: IpAddr, to: IpAddr, is_source: bool) -> Step<'_> {
    let prefix = tables.policy.prefix;
    let (by_eam, eam, by_prefix) = match from {
        IpAddr::V4(address) => (
            tables.eam.v4_to_v6(address).map(IpAddr::V6),
            tables.eam.find_v4(address),
            Some(IpAddr::V6(prefix.embed(address))),
        ),
        IpAddr::V6(address) => (
            tables.eam.v6_to_v4(address).map(IpAddr::V4),
            tables.eam.find_v6(address),
            prefix.extract(address).map(IpAddr::V4),
        ),
    };
    // RFC 7757, 4.2.1: the EAM algorithm is not used for the source, even if it came to the same.
    let is_simple = is_source && from.is_ipv4() && tables.policy.hairpin == Hairpin::Simple;
    let eam = eam.filter(|_| by_eam == Some(to) && !is_simple);
    let rule = match eam {
        Some(eam) => Rule::Eam(eam),
        None if by_prefix == Some(to) => Rule::Rfc6052(prefix),
        None => Rule::Substitute,
    };
    Step { from, to, rule }
}
