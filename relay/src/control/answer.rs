//! The answers to requests on the control socket.

use super::access::{Access, Change, Edit, Refusal};
use super::protocol::{Answer, Item, Request};
use super::snapshot::Snapshot;
use super::trace::{self, Wanted};
use crate::fast_path::Departure;
use crate::tally::Count;
use eam_tables::Eam;
use relay_core::{AddressMap, Direction};
use serde_json::{Value, json};
use std::io::{self, Write};
use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

/// Carries a request out. Items are written to the client on the way; the last line is returned.
pub(super) fn answer(
    request: &Request,
    access: &Access,
    client: &mut impl Write,
) -> io::Result<Answer> {
    let result = match request {
        Request::Status {} => access.snapshot().map(|snapshot| status(&snapshot, access)),
        Request::Stats {} => access.snapshot().map(|snapshot| stats(&snapshot)),
        Request::Reload {} => access.reload().map(change),
        Request::Drain {} => Ok(drain(access, true)),
        Request::Undrain {} => Ok(drain(access, false)),
        Request::Stop { detach } => {
            let departure = match detach {
                true => Departure::Detach,
                false => Departure::Stay,
            };
            let stopped = access.stop(departure);
            stopped.map(|()| json!({ "process": std::process::id() }))
        }
        Request::EamList {} => Ok(list(access, client)?),
        Request::EamGet { address } => get(access, *address),
        Request::Trace {
            address,
            counter,
            limit,
            count,
            octets,
        } => {
            let wanted = Wanted {
                network: *address,
                counter: counter.as_deref(),
                limit: *limit,
                count: *count,
                octets: *octets,
            };
            trace::trace(&wanted, access, client)?
        }
        Request::EamAdd {
            ipv4,
            ipv6,
            name,
            save,
        } => {
            let edit = Edit::Add {
                ipv4: ipv4.clone(),
                ipv6: ipv6.clone(),
                name: name.clone(),
                save: *save,
            };
            access.edit(edit).map(change)
        }
        Request::EamDel { ipv4, save } => {
            let edit = Edit::Delete {
                ipv4: ipv4.clone(),
                save: *save,
            };
            access.edit(edit).map(change)
        }
    };
    Ok(match result {
        Ok(result) => Answer::with(result),
        Err(refusal) => Answer::refused(refusal),
    })
}

fn change(change: Change) -> Value {
    json!(change)
}

fn drain(access: &Access, is_draining: bool) -> Value {
    access.health.set_draining(is_draining);
    tracing::info!(
        "{}",
        match is_draining {
            true => "draining: not ready any more, still translating",
            false => "not draining any more: ready",
        }
    );
    json!({ "draining": is_draining })
}

/// Writes all mappings of the generation in force; a change meanwhile does not show.
fn list(access: &Access, client: &mut impl Write) -> io::Result<Value> {
    let tables = access.shared.tables.load_full();
    let counts = tables.tally.is_on().then(|| tables.tally.counts());
    for (number, eam) in tables.eam.entries().iter().enumerate() {
        let count = counts.as_ref().and_then(|counts| counts.get(number));
        client.write_all(Item::new(mapping(eam, count)).emit().as_bytes())?;
    }
    Ok(json!({ "generation": tables.generation, "mappings": tables.eam.len() }))
}

fn get(access: &Access, address: IpAddr) -> Result<Value, Refusal> {
    let tables = access.shared.tables.load();
    let found = match address {
        IpAddr::V4(address) => {
            let mapped = tables.eam.map_v4(address);
            mapped.map(|mapped| (mapped.entry, IpAddr::V6(mapped.address)))
        }
        IpAddr::V6(address) => {
            let mapped = tables.eam.map_v6(address);
            mapped.map(|mapped| (mapped.entry, IpAddr::V4(mapped.address)))
        }
    };
    let found = found.and_then(|(number, becomes)| {
        let eam = tables.eam.entries().get(number as usize)?;
        Some((number as usize, becomes, eam))
    });
    let (number, becomes, eam) =
        found.ok_or_else(|| Refusal::because(format!("no mapping covers {address}")))?;
    let count = tables.tally.is_on().then(|| tables.tally.get(number));
    let mapping = mapping(eam, count.as_ref());
    Ok(json!({ "address": address, "becomes": becomes, "mapping": mapping }))
}

/// Says whether a mapping was added at runtime and is in no file: lines of files count from 1.
pub fn is_runtime(eam: &Eam) -> bool {
    eam.place().line == 0
}

fn mapping(eam: &Eam, count: Option<&Count>) -> Value {
    let source = match is_runtime(eam) {
        true => "runtime".to_owned(),
        false => eam.place().to_string(),
    };
    json!({
        "ipv4": eam.ipv4().to_string(),
        "ipv6": eam.ipv6().to_string(),
        "name": eam.name(),
        "source": source,
        "counters": count.map(|count| {
            let numbers = |direction| json!({
                "packets": count.packets(direction),
                "octets": count.octets(direction),
            });
            let [v4_to_v6, v6_to_v4] = Direction::ALL;
            json!({
                v4_to_v6.name(): numbers(v4_to_v6),
                v6_to_v4.name(): numbers(v6_to_v4),
            })
        }),
    })
}

/// Returns a point in time as seconds since 1970.
pub(super) fn timestamp(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}

fn status(snapshot: &Snapshot, access: &Access) -> Value {
    let Snapshot {
        uptime,
        generation,
        reloads,
        interfaces,
        workers,
        queues: _,
        totals: _,
        limiter: _,
    } = snapshot;
    let last = reloads.last.as_ref().map(|last| {
        json!({
            "ok": last.problems.is_empty(),
            "at": timestamp(last.at),
            "duration_seconds": last.duration.as_secs_f64(),
            "problems": last.problems,
        })
    });
    let interfaces: Vec<Value> = interfaces
        .iter()
        .map(|interface| {
            json!({
                "name": interface.name,
                "xdp": interface.xdp,
                "zero_copy": interface.is_zero_copy,
                "queues": interface.queues,
                "mtu": interface.mtu,
                "up": interface.is_up,
            })
        })
        .collect();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "process": std::process::id(),
        "uptime_seconds": uptime.as_secs_f64(),
        "translating": access.health.is_translating(),
        "draining": access.health.is_draining(),
        "generation": {
            "number": generation.number,
            "mappings": generation.mappings,
            "runtime_mappings": generation.runtime,
            "since": timestamp(generation.since),
            "age_seconds": generation.age.as_secs_f64(),
        },
        "reloads": { "succeeded": reloads.succeeded, "failed": reloads.failed, "last": last },
        "interfaces": interfaces,
        "workers": workers,
    })
}

fn stats(snapshot: &Snapshot) -> Value {
    let counters: serde_json::Map<String, Value> = snapshot
        .totals
        .counters()
        .into_iter()
        .map(|counter| (counter.name, json!(counter.count)))
        .collect();
    let queues: Vec<Value> = snapshot
        .queues
        .iter()
        .map(|queue| {
            let counters: serde_json::Map<String, Value> = queue
                .counters
                .plain()
                .into_iter()
                .map(|(name, _, count)| (name.to_owned(), json!(count)))
                .collect();
            json!({
                "interface": queue.interface,
                "queue": queue.queue,
                "worker": queue.worker,
                "zero_copy": queue.is_zero_copy,
                "counters": counters,
            })
        })
        .collect();
    json!({
        "uptime_seconds": snapshot.uptime.as_secs_f64(),
        "counters": counters,
        "queues": queues,
    })
}
