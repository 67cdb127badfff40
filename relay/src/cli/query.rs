//! `siit-relay query`: what an address becomes, and by which rule.

use crate::tables::Tables;
use eam_tables::Eam;
use relay_core::address;
use serde_json::json;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::process::ExitCode;

/// The answer for one address.
struct Answer<'t> {
    address: IpAddr,
    becomes: Result<(IpAddr, Rule<'t>), &'static str>,
    /// What happens to packets towards the address; those from it need no rule of their own.
    as_destination: &'static str,
}

/// The rule by which an address is translated.
enum Rule<'t> {
    Eam(&'t Eam),
    Rfc6052(String),
}

pub(super) fn run(
    config: &Path,
    addresses: &[IpAddr],
    json: bool,
    output: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    let Some((config, eams)) = super::load(config) else {
        return Ok(ExitCode::FAILURE);
    };
    let tables = Tables::new(&config, eams);
    let answers: Vec<Answer<'_>> = addresses
        .iter()
        .map(|address| match address {
            IpAddr::V4(address) => query_v4(&tables, *address),
            IpAddr::V6(address) => query_v6(&tables, *address),
        })
        .collect();
    if json {
        let answers: Vec<_> = answers.iter().map(Answer::as_json).collect();
        writeln!(output, "{:#}", json!(answers))?;
    } else {
        for answer in &answers {
            writeln!(output, "{}", answer.as_text())?;
        }
    }
    Ok(match answers.iter().all(|answer| answer.becomes.is_ok()) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

fn rfc_6052(tables: &Tables) -> Rule<'static> {
    let prefix = tables.policy.prefix;
    Rule::Rfc6052(format!("{}/{}", prefix.network(), prefix.length()))
}

/// Says why RFC 6052 may not translate an address, if so.
fn forbidden(tables: &Tables, address: Ipv4Addr) -> Option<&'static str> {
    if tables.denylist4.contains(address) {
        return Some("denylist4 forbids to translate it by RFC 6052");
    }
    let is_forbidden = tables.policy.prefix.is_well_known()
        && tables.policy.wkp_non_global == relay_core::policy::WkpNonGlobal::Drop
        && !address::is_global_v4(address);
    is_forbidden.then_some("it is not global and the prefix is the Well-Known Prefix (RFC 6052, 3.1)")
}

fn query_v4(tables: &Tables, queried: Ipv4Addr) -> Answer<'_> {
    let is_translatable = tables.ipv4_translatable.contains(queried) && forbidden(tables, queried).is_none();
    let (becomes, as_destination) = if address::is_illegal_source_v4(queried) {
        (Err("no packet from or to it is forwarded (RFC 1812, 5.3.7)"), "dropped")
    } else if let Some(eam) = tables.eam.find_v4(queried) {
        let mapped = eam.v4_to_v6(queried).ok_or("its mapping does not apply");
        (mapped.map(|mapped| (IpAddr::V6(mapped), Rule::Eam(eam))), "translated")
    } else {
        let mapped = match forbidden(tables, queried) {
            Some(why) => Err(why),
            None => Ok((IpAddr::V6(tables.policy.prefix.embed(queried)), rfc_6052(tables))),
        };
        let as_destination = match (is_translatable, tables.service_pools.contains(queried)) {
            (true, _) => "translated",
            (false, true) => "dropped: in a service pool without an EAM",
            (false, false) => "left to the kernel: not ours",
        };
        (mapped, as_destination)
    };
    Answer { address: IpAddr::V4(queried), becomes, as_destination }
}

fn query_v6(tables: &Tables, queried: Ipv6Addr) -> Answer<'_> {
    let prefix = tables.policy.prefix;
    let as_destination = match prefix.contains(queried) {
        true => "translated",
        false => "left to the kernel: native IPv6",
    };
    let becomes = if address::is_illegal_source_v6(queried) {
        Err("no packet from it is forwarded (RFC 7915, 5.1)")
    } else if let Some(eam) = tables.eam.find_v6(queried) {
        let mapped = eam.v6_to_v4(queried).ok_or("its mapping does not apply");
        mapped.map(|mapped| (IpAddr::V4(mapped), Rule::Eam(eam)))
    } else {
        match prefix.extract(queried) {
            None => Err("no EAM and no translation prefix covers it"),
            Some(mapped) if address::is_illegal_destination_v4(mapped) => {
                Err("it stands for an IPv4 address that is never forwarded (RFC 1812, 5.3.7)")
            }
            Some(mapped) => match forbidden(tables, mapped) {
                Some(why) => Err(why),
                None => Ok((IpAddr::V4(mapped), rfc_6052(tables))),
            },
        }
    };
    Answer { address: IpAddr::V6(queried), becomes, as_destination }
}

impl Answer<'_> {
    fn as_text(&self) -> String {
        let Self { address, as_destination, .. } = self;
        match &self.becomes {
            Err(why) => format!("{address} is not translated: {why}; as a destination: {as_destination}"),
            Ok((mapped, rule)) => {
                let rule = match rule {
                    Rule::Eam(eam) => {
                        let name = eam.name().map_or(String::new(), |name| format!(" \"{name}\""));
                        format!("EAM{name} {} <-> {} ({})", eam.ipv4(), eam.ipv6(), eam.place())
                    }
                    Rule::Rfc6052(prefix) => format!("RFC 6052 under {prefix}"),
                };
                format!("{address} becomes {mapped} by {rule}; as a destination: {as_destination}")
            }
        }
    }

    fn as_json(&self) -> serde_json::Value {
        let mut answer = json!({
            "address": self.address,
            "becomes": null,
            "rule": null,
            "as_destination": self.as_destination,
        });
        match &self.becomes {
            Err(why) => answer["why"] = json!(why),
            Ok((mapped, rule)) => {
                answer["becomes"] = json!(mapped);
                match rule {
                    Rule::Eam(eam) => {
                        answer["rule"] = json!("eam");
                        answer["eam"] = json!({
                            "ipv4": eam.ipv4().to_string(),
                            "ipv6": eam.ipv6().to_string(),
                            "name": eam.name(),
                            "place": eam.place().to_string(),
                        });
                    }
                    Rule::Rfc6052(prefix) => {
                        answer["rule"] = json!("rfc6052");
                        answer["prefix"] = json!(prefix);
                    }
                }
            }
        }
        answer
    }
}
