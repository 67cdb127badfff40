//! Loading the program of a generation: its settings, its mappings and its lists of prefixes.

use crate::driver::bpf::{BpfError, Generation, XdpProgram};
use crate::tables::Tables;
use eam_tables::layout::{List, Settings, Work};
use ipnet::Ipv4Net;
use std::collections::BTreeSet;
use tracing::warn;

/// What the operator wants of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wishes {
    /// What to do with plain packets.
    pub work: Work,
    /// The most that a packet may have on each side, in octets, whatever the interfaces say.
    pub mtu_v4: Option<u32>,
    /// As for IPv4.
    pub mtu_v6: Option<u32>,
}

/// Loads the program of a generation, which takes a while if there are many mappings. It is attached to nothing yet.
///
/// If the kernel refuses a program that translates, one that leaves all to the workers takes its place, and the log says so.
///
/// # Errors
///
/// [`BpfError`] says what the kernel or the process lacks.
pub fn prepare(tables: &Tables, wishes: Wishes) -> Result<XdpProgram, BpfError> {
    let lists = lists(tables);
    let with = |work| Generation {
        settings: Settings {
            mtu_v4: wishes.mtu_v4.unwrap_or(u32::MAX),
            mtu_v6: wishes.mtu_v6.unwrap_or(u32::MAX),
            ..Settings::new(&tables.policy, work)
        },
        eam: &tables.eam,
        tally: &tables.tally,
        lists: &lists,
    };
    match XdpProgram::load(&with(wishes.work)) {
        Err(BpfError::Refused(error)) if wishes.work != Work::Steer => {
            let error = BpfError::Refused(error);
            warn!("{error}; every packet goes to the workers instead, as with `fast_path: af_xdp`");
            XdpProgram::load(&with(Work::Steer))
        }
        outcome => outcome,
    }
}

/// Returns the prefixes of all lists, each with the sum of the numbers of the lists that contain it.
fn lists(tables: &Tables) -> Vec<(Ipv4Net, u32)> {
    let lists = [
        (&tables.ipv4_translatable, List::Translatable),
        (&tables.service_pools, List::ServicePool),
        (&tables.denylist4, List::Denied),
    ];
    let prefixes: BTreeSet<Ipv4Net> = lists.iter().flat_map(|(set, _)| set.iter()).collect();
    let numbers = |prefix: &Ipv4Net| {
        let holds = lists.iter().filter(|(set, _)| set.contains_prefix(*prefix));
        holds.map(|(_, list)| list.number()).sum()
    };
    prefixes
        .iter()
        .map(|prefix| (*prefix, numbers(prefix)))
        .collect()
}
