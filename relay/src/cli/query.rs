//! `siit-relay query`: what an address becomes, and by which rule.

use crate::config::OwnAddresses;
use crate::tables::Tables;
use eam_tables::Eam;
use relay_core::policy::Hairpin;
use relay_core::{AddressMap, address};
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
    as_destination: String,
}

/// What is said of the addresses that the configuration gives to the relay.
const OWN: &str = "left to the kernel: an address of the relay";

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
            IpAddr::V4(address) => query_v4(&tables, config.icmp.own, *address),
            IpAddr::V6(address) => query_v6(&tables, config.icmp.own, *address),
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
    (!tables.policy.may_embed(address))
        .then_some("it is not global and the prefix is the Well-Known Prefix (RFC 6052, 3.1)")
}

fn query_v4<'t>(tables: &'t Tables, own: OwnAddresses, queried: Ipv4Addr) -> Answer<'t> {
    let eam = tables.eam.find_v4(queried);
    let is_illegal = address::is_illegal_source_v4(queried);
    let becomes = match (eam, forbidden(tables, queried)) {
        _ if is_illegal => Err("no packet from or to it is forwarded (RFC 1812, 5.3.7)"),
        (Some(eam), _) => by_eam(eam, eam.v4_to_v6(queried).map(IpAddr::V6)),
        (None, Some(why)) => Err(why),
        (None, None) => {
            let mapped = tables.policy.prefix.embed(queried);
            Ok((IpAddr::V6(mapped), rfc_6052(tables)))
        }
    };
    let is_translatable =
        tables.ipv4_translatable.contains(queried) && !tables.denylist4.contains(queried);
    let is_service = tables.service_pools.contains(queried);
    let as_destination = if own.ipv4 == Some(queried) {
        OWN
    } else if eam.is_none() && !is_translatable && !is_service {
        "left to the kernel: not ours"
    } else if becomes.is_err() {
        "dropped"
    } else if eam.is_none() && !is_translatable {
        "dropped: in a service pool without an EAM"
    } else {
        "translated"
    };
    Answer {
        address: IpAddr::V4(queried),
        becomes,
        as_destination: as_destination.to_owned(),
    }
}

fn query_v6<'t>(tables: &'t Tables, own: OwnAddresses, queried: Ipv6Addr) -> Answer<'t> {
    let prefix = tables.policy.prefix;
    let mapped = match tables.eam.find_v6(queried) {
        _ if address::is_illegal_source_v6(queried) => {
            Err("no packet from it is forwarded (RFC 7915, 5.1)")
        }
        Some(eam) => by_eam(eam, eam.v6_to_v4(queried)),
        None => match prefix.extract(queried) {
            None => Err("no EAM and no translation prefix covers it"),
            Some(mapped) => match forbidden(tables, mapped) {
                Some(why) => Err(why),
                None => Ok((mapped, rfc_6052(tables))),
            },
        },
    };
    let mapped = match mapped {
        Ok((mapped, _)) if address::is_illegal_destination_v4(mapped) => {
            Err("it stands for an IPv4 address that is never forwarded (RFC 1812, 5.3.7)")
        }
        other => other,
    };
    let as_destination = match &mapped {
        _ if own.ipv6 == Some(queried) => OWN.to_owned(),
        _ if !prefix.contains(queried) => "left to the kernel: native IPv6".to_owned(),
        Err(_) => "dropped".to_owned(),
        // RFC 7757, 4.2.2, condition set A.
        Ok((mapped, Rule::Rfc6052(_))) if tables.policy.hairpin == Hairpin::Intrinsic => {
            match tables.eam.v4_to_v6(*mapped) {
                Some(service) => format!("translated and straight back, to {service}"),
                None => "translated".to_owned(),
            }
        }
        Ok(_) => "translated".to_owned(),
    };
    let becomes = mapped.map(|(mapped, rule)| (IpAddr::V4(mapped), rule));
    Answer {
        address: IpAddr::V6(queried),
        becomes,
        as_destination,
    }
}

fn by_eam<T>(eam: &Eam, mapped: Option<T>) -> Result<(T, Rule<'_>), &'static str> {
    let mapped = mapped.ok_or("its mapping does not apply")?;
    Ok((mapped, Rule::Eam(eam)))
}

impl Answer<'_> {
    fn as_text(&self) -> String {
        let Self {
            address,
            as_destination,
            ..
        } = self;
        match &self.becomes {
            Err(why) => {
                format!("{address} is not translated: {why}; as a destination: {as_destination}")
            }
            Ok((mapped, rule)) => {
                let rule = match rule {
                    Rule::Eam(eam) => {
                        let name = eam
                            .name()
                            .map_or(String::new(), |name| format!(" \"{name}\""));
                        format!(
                            "EAM{name} {} <-> {} ({})",
                            eam.ipv4(),
                            eam.ipv6(),
                            eam.place()
                        )
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
