//! `siit-relay query`: what an address becomes, by which rule, and what happens to packets to it and from it.

use super::rule::{Rule, Step};
use crate::config::OwnAddresses;
use crate::tables::Tables;
use eam_tables::Eam;
use relay_core::counters::Name;
use relay_core::policy::Hairpin;
use relay_core::{AddressMap, Direction, DropReason, PassReason, address};
use serde_json::json;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::process::ExitCode;

/// The answer for one address.
struct Answer<'t> {
    address: IpAddr,
    becomes: Result<Step<'t>, Refused>,
    /// What happens to packets towards the address.
    as_destination: Fate,
    /// What happens to packets from the address.
    as_source: Fate,
}

/// Why an address is not translated.
#[derive(Clone, Copy)]
struct Refused {
    why: &'static str,
    as_destination: DropReason,
    as_source: DropReason,
}

/// What happens to packets with an address.
struct Fate {
    text: String,
    /// The counter that they move.
    counter: Name,
    /// Where the rule stands.
    clause: &'static str,
}

/// What is said of the addresses that the configuration gives to the relay.
const OWN: &str = "left to the kernel: an address of the relay";

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

/// Says why RFC 6052 may not translate an address, if so.
fn forbidden(tables: &Tables, address: Ipv4Addr) -> Option<Refused> {
    let refused = |why, reason| Refused {
        why,
        as_destination: reason,
        as_source: reason,
    };
    if tables.denylist4.contains(address) {
        let why = "denylist4 forbids to translate it by RFC 6052";
        return Some(refused(why, DropReason::Denied));
    }
    let why = "it is not global and the prefix is the Well-Known Prefix (RFC 6052, 3.1)";
    (!tables.policy.may_embed(address)).then_some(refused(why, DropReason::WkpNonGlobal))
}

fn query_v4<'t>(tables: &'t Tables, own: OwnAddresses, queried: Ipv4Addr) -> Answer<'t> {
    let direction = Direction::V4ToV6;
    let eam = tables.eam.find_v4(queried);
    let by_prefix = match forbidden(tables, queried) {
        Some(refused) => Err(refused),
        None => Ok(Step {
            from: IpAddr::V4(queried),
            to: IpAddr::V6(tables.policy.prefix.embed(queried)),
            rule: Rule::rfc_6052(tables),
        }),
    };
    let becomes = match eam {
        _ if address::is_illegal_source_v4(queried) => Err(Refused {
            why: "no packet from or to it is forwarded (RFC 1812, 5.3.7)",
            as_destination: DropReason::IllegalDestination,
            as_source: DropReason::IllegalSource,
        }),
        Some(eam) => by_eam(eam, queried.into(), eam.v4_to_v6(queried).map(IpAddr::V6)),
        None => by_prefix,
    };
    let is_translatable =
        tables.ipv4_translatable.contains(queried) && !tables.denylist4.contains(queried);
    let is_service = tables.service_pools.contains(queried);
    let as_destination = if own.ipv4 == Some(queried) {
        passed(OWN, PassReason::OwnAddress, direction)
    } else if eam.is_none() && !is_translatable && !is_service {
        let text = "left to the kernel: not ours";
        passed(text, PassReason::NotOurs, direction)
    } else if eam.is_none() && !is_translatable {
        match becomes {
            // The translator asks whether an address is legal before it looks at the pool.
            Err(refused) if refused.as_destination == DropReason::IllegalDestination => {
                dropped("dropped", refused.as_destination, direction)
            }
            Err(_) | Ok(_) => {
                let text = "dropped: in a service pool without an EAM";
                dropped(text, DropReason::UnmappedService, direction)
            }
        }
    } else {
        match becomes {
            Err(refused) => dropped("dropped", refused.as_destination, direction),
            Ok(_) => translated("translated".to_owned(), direction),
        }
    };
    // RFC 7757, 4.2.1: "The EAM algorithm MUST NOT be used in order to translate the source address in the IPv4 header."
    let is_simple = eam.is_some() && tables.policy.hairpin == Hairpin::Simple;
    let as_source = match (becomes, by_prefix) {
        (Err(refused), _) => dropped("dropped", refused.as_source, direction),
        (Ok(_), _) if !is_simple => translated("translated".to_owned(), direction),
        (Ok(_), Err(refused)) => dropped("dropped", refused.as_source, direction),
        (Ok(_), Ok(Step { to, rule, .. })) => Fate {
            clause: "RFC 7757, 4.2.1",
            ..translated(
                format!("translated to {to} by {rule}, for `hairpin` is `simple`"),
                direction,
            )
        },
    };
    Answer {
        address: IpAddr::V4(queried),
        becomes,
        as_destination,
        as_source,
    }
}

fn query_v6<'t>(tables: &'t Tables, own: OwnAddresses, queried: Ipv6Addr) -> Answer<'t> {
    let direction = Direction::V6ToV4;
    let prefix = tables.policy.prefix;
    let mapped = match (tables.eam.find_v6(queried), prefix.extract(queried)) {
        (Some(eam), _) => by_eam(eam, queried.into(), eam.v6_to_v4(queried).map(IpAddr::V4)),
        (None, Some(extracted)) => match forbidden(tables, extracted) {
            Some(refused) => Err(refused),
            None => Ok(Step {
                from: IpAddr::V6(queried),
                to: IpAddr::V4(extracted),
                rule: Rule::rfc_6052(tables),
            }),
        },
        (None, None) => Err(Refused {
            why: "no EAM and no translation prefix covers it",
            as_destination: DropReason::IllegalDestination,
            as_source: DropReason::UnmappedSource,
        }),
    };
    let becomes = match mapped {
        _ if address::is_illegal_source_v6(queried) => Err(Refused {
            why: "no packet from it is forwarded (RFC 7915, 5.1)",
            as_destination: DropReason::IllegalDestination,
            as_source: DropReason::IllegalSource,
        }),
        Ok(Step {
            to: IpAddr::V4(to), ..
        }) if address::is_illegal_destination_v4(to) => Err(Refused {
            why: "it stands for an IPv4 address that is never forwarded (RFC 1812, 5.3.7)",
            as_destination: DropReason::IllegalDestination,
            as_source: DropReason::IllegalSource,
        }),
        other => other,
    };
    let as_destination = match becomes {
        _ if !prefix.contains(queried) => {
            let text = "left to the kernel: native IPv6";
            passed(text, PassReason::NotOurs, direction)
        }
        _ if own.ipv6 == Some(queried) => passed(OWN, PassReason::OwnAddress, direction),
        Err(refused) => dropped("dropped", refused.as_destination, direction),
        Ok(Step {
            to: IpAddr::V4(to),
            rule: Rule::Rfc6052(_),
            ..
        }) if tables.eam.find_v4(to).is_none() && tables.ipv4_translatable.contains(to) => {
            let text = "left to the kernel: the service itself has the address";
            passed(text, PassReason::NotOurs, direction)
        }
        // RFC 7757, 4.2.2, condition set A.
        Ok(Step {
            to: IpAddr::V4(to),
            rule: Rule::Rfc6052(_),
            ..
        }) if tables.policy.hairpin == Hairpin::Intrinsic => match tables.eam.v4_to_v6(to) {
            Some(service) => Fate {
                clause: "RFC 7757, 4.2.2",
                counter: Name::Hairpinned,
                text: format!("translated and straight back, to {service}"),
            },
            None => translated("translated".to_owned(), direction),
        },
        Ok(_) => translated("translated".to_owned(), direction),
    };
    let as_source = match becomes {
        Err(refused) => dropped("dropped", refused.as_source, direction),
        Ok(_) => translated("translated".to_owned(), direction),
    };
    Answer {
        address: IpAddr::V6(queried),
        becomes,
        as_destination,
        as_source,
    }
}

fn by_eam(eam: &Eam, from: IpAddr, mapped: Option<IpAddr>) -> Result<Step<'_>, Refused> {
    let to = mapped.ok_or(Refused {
        why: "its mapping does not apply",
        as_destination: DropReason::IllegalDestination,
        as_source: DropReason::UnmappedSource,
    })?;
    let rule = Rule::Eam(eam);
    Ok(Step { from, to, rule })
}

fn translated(text: String, direction: Direction) -> Fate {
    Fate {
        text,
        counter: Name::ForwardedPackets(direction),
        clause: match direction {
            Direction::V4ToV6 => "RFC 7915, 4.1",
            Direction::V6ToV4 => "RFC 7915, 5.1",
        },
    }
}

fn passed(text: &str, reason: PassReason, direction: Direction) -> Fate {
    Fate {
        clause: match direction {
            Direction::V4ToV6 => "RFC 7915, 4.6",
            Direction::V6ToV4 => "RFC 7915, 5.6",
        },
        counter: Name::Passed(reason),
        text: text.to_owned(),
    }
}

fn dropped(text: &str, reason: DropReason, direction: Direction) -> Fate {
    let counter = Name::Dropped(direction, reason);
    Fate {
        text: text.to_owned(),
        clause: counter.clause().unwrap_or_default(),
        counter,
    }
}

impl Fate {
    fn as_text(&self) -> String {
        format!("{} ({}; {})", self.text, self.clause, self.counter)
    }

    fn as_json(&self) -> serde_json::Value {
        json!({
            "fate": self.text,
            "clause": self.clause,
            "counter": self.counter.to_string(),
        })
    }
}

impl Answer<'_> {
    fn as_text(&self) -> String {
        let address = self.address;
        let becomes = match &self.becomes {
            Err(refused) => format!("{address} is not translated: {}", refused.why),
            Ok(step) => format!("{address} becomes {} by {}", step.to, step.rule),
        };
        let (to, from) = (self.as_destination.as_text(), self.as_source.as_text());
        format!("{becomes}; as a destination: {to}; as a source: {from}")
    }

    fn as_json(&self) -> serde_json::Value {
        let mut answer = json!({
            "address": self.address,
            "becomes": null,
            "rule": null,
            "clause": null,
            "as_destination": self.as_destination.text,
            "to": self.as_destination.as_json(),
            "from": self.as_source.as_json(),
        });
        match &self.becomes {
            Err(refused) => answer["why"] = json!(refused.why),
            Ok(step) => step.describe(&mut answer),
        }
        answer
    }
}
