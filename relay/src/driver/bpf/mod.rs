//! The XDP program in the kernel: loading, its maps, attaching to interfaces.
//!
//! Dropping an [`XdpProgram`] detaches it wherever its link is not [pinned](super::pins). Where the kernel has BPF links
//! (5.9), that also happens when the process dies; what an older kernel leaves behind is recognised by its name and
//! replaced.

mod attach;
mod error;

pub use attach::AttachedMode;
pub use error::BpfError;

use super::array::{self, Loadable};
use super::object::OBJECT;
use super::xdp_counters::{self, XdpCounters};
use crate::tally::Tally;
use aya::maps::lpm_trie::Key;
use aya::maps::{Array, DevMap, HashMap, LpmTrie, Map, MapData, MapError, XskMap};
use aya::programs::xdp::XdpLinkId;
use aya::programs::{TestRun, Xdp};
use aya::util::nr_cpus;
use aya::{Ebpf, EbpfLoader, Pod, TestRunOptions, TestRunResult};
use eam_tables::EamTable;
use eam_tables::layout::{self, Egress, MappingCount, NeighbourKey, Port, Settings, State, Work};
use ipnet::Ipv4Net;
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::AsRawFd;

/// The kernel's number for IPv4.
const AF_INET: u32 = 2;

/// What a program is loaded with, and keeps for as long as it lives.
pub struct Generation<'a> {
    /// Policy and what plain packets are to be done with; the shapes of the tables are filled in by [`XdpProgram::load`].
    pub settings: Settings,
    /// The mappings.
    pub eam: &'a EamTable,
    /// What is counted for each of them.
    pub tally: &'a Tally,
    /// IPv4 prefixes with the sum of the numbers of the [lists](layout::List) that they are in. A prefix inside another one has
    /// the numbers of that one, too.
    pub lists: &'a [(Ipv4Net, u32)],
}

/// A loaded program with its maps.
pub struct XdpProgram {
    ebpf: Ebpf,
    ports: HashMap<MapData, u32, [u8; Port::SIZE]>,
    low_ports: Array<MapData, [u8; Port::SIZE]>,
    own_v4: HashMap<MapData, u32, u32>,
    own_v6: HashMap<MapData, [u64; 2], u32>,
    egresses: HashMap<MapData, u32, [u8; Egress::SIZE]>,
    devices: DevMap<MapData>,
    state: Array<MapData, [u8; State::SIZE]>,
    sockets: XskMap<MapData>,
    neighbours: HashMap<MapData, NeighbourKey, u32>,
    /// What it does with plain packets.
    work: Work,
    /// Where the program is attached, by interface index.
    links: BTreeMap<u32, XdpLinkId>,
}

impl XdpProgram {
    /// Loads a program into the kernel; it is attached to nothing yet. Its tables of mappings and lists are filled, all others
    /// are empty.
    ///
    /// # Errors
    ///
    /// [`BpfError`] says what the kernel or the process lacks.
    pub fn load(generation: &Generation<'_>) -> Result<Self, BpfError> {
        let (v4, v6) = (generation.eam.image_v4(), generation.eam.image_v6());
        let counted = generation.tally.mappings();
        let processors =
            nr_cpus().map_err(|(file, source)| BpfError::Processors { file, source })?;
        let settings = Loadable(Settings {
            mappings: u32::try_from(counted).unwrap_or(0),
            has_embedded: u32::from(generation.eam.has_any_under(&generation.settings.prefix)),
            shape_v4: *v4.shape(),
            shape_v6: *v6.shape(),
            has_lists: u32::from(!generation.lists.is_empty()),
            ..generation.settings
        });
        let entries = |length: usize| u32::try_from(length.max(1)).unwrap_or(u32::MAX);
        let mut ebpf = EbpfLoader::new()
            .override_global(layout::SETTINGS, &settings, true)
            .map_max_entries(layout::EAM_V4, entries(v4.slots().len()))
            .map_max_entries(layout::EAM_V6, entries(v6.slots().len()))
            .map_max_entries(layout::EAM_COUNTS, entries(counted * processors))
            .map_max_entries(layout::FILTER_V4, entries(v4.filter().len()))
            .map_max_entries(layout::FILTER_V6, entries(v6.filter().len()))
            .map_max_entries(layout::COUNTERS, xdp_counters::ENTRIES)
            .load(OBJECT)
            .map_err(BpfError::Load)?;
        array::fill(&ebpf, layout::EAM_V4, v4.slots())?;
        array::fill(&ebpf, layout::EAM_V6, v6.slots())?;
        array::fill(&ebpf, layout::FILTER_V4, v4.filter())?;
        array::fill(&ebpf, layout::FILTER_V6, v6.filter())?;
        program(&mut ebpf)?.load().map_err(BpfError::Refused)?;
        if counted > 0 {
            let length = counted * processors;
            let region = array::map::<MappingCount>(&ebpf, layout::EAM_COUNTS, length)?;
            generation.tally.set_program(region);
        }
        let mut take = |name: &'static str| ebpf.take_map(name).ok_or(BpfError::Missing(name));
        let mut lists: LpmTrie<MapData, u32, u32> =
            LpmTrie::try_from(take(layout::LISTS_V4)?).map_err(in_map(layout::LISTS_V4))?;
        for (prefix, numbers) in generation.lists {
            let network = prefix.network().to_bits().to_be();
            let key = Key::new(u32::from(prefix.prefix_len()), network);
            lists
                .insert(&key, *numbers, 0)
                .map_err(in_map(layout::LISTS_V4))?;
        }
        Ok(Self {
            ports: HashMap::try_from(take(layout::PORTS)?).map_err(in_map(layout::PORTS))?,
            low_ports: Array::try_from(take(layout::LOW_PORTS)?)
                .map_err(in_map(layout::LOW_PORTS))?,
            own_v4: HashMap::try_from(take(layout::OWN_V4)?).map_err(in_map(layout::OWN_V4))?,
            own_v6: HashMap::try_from(take(layout::OWN_V6)?).map_err(in_map(layout::OWN_V6))?,
            egresses: HashMap::try_from(take(layout::EGRESSES)?)
                .map_err(in_map(layout::EGRESSES))?,
            devices: DevMap::try_from(take(layout::DEVICES)?).map_err(in_map(layout::DEVICES))?,
            state: Array::try_from(take(layout::STATE)?).map_err(in_map(layout::STATE))?,
            sockets: XskMap::try_from(take(layout::SOCKETS)?).map_err(in_map(layout::SOCKETS))?,
            neighbours: HashMap::try_from(take(layout::NEIGHBOURS)?)
                .map_err(in_map(layout::NEIGHBOURS))?,
            work: generation.settings.work(),
            links: BTreeMap::new(),
            ebpf,
        })
    }

    /// Makes an interface a port of the relay, or changes what is known of it.
    ///
    /// # Errors
    ///
    /// [`BpfError::Map`] if the kernel refuses.
    pub fn set_port(&mut self, interface_index: u32, port: &Port) -> Result<(), BpfError> {
        self.devices
            .set(port.device(), interface_index, None, 0)
            .map_err(BpfError::Device)?;
        if interface_index < layout::LOW_PORTS_MAX_ENTRIES {
            return self
                .low_ports
                .set(interface_index, port.emit(), 0)
                .map_err(in_map(layout::LOW_PORTS));
        }
        self.ports
            .insert(interface_index, port.emit(), 0)
            .map_err(in_map(layout::PORTS))
    }

    /// Puts an AF_XDP socket at an index, as [`Port::socket`] counts.
    ///
    /// # Errors
    ///
    /// [`BpfError::Map`] if the kernel refuses.
    pub fn set_socket(&mut self, index: u32, socket: &impl AsRawFd) -> Result<(), BpfError> {
        self.sockets
            .set(index, socket.as_raw_fd(), 0)
            .map_err(in_map(layout::SOCKETS))
    }

    /// Says whether an address which the tables cover is one of the machine's own.
    ///
    /// # Errors
    ///
    /// [`BpfError::Map`] if the kernel refuses.
    pub fn set_own(&mut self, address: IpAddr, is_own: bool) -> Result<(), BpfError> {
        match address {
            IpAddr::V4(address) => {
                set_member(&mut self.own_v4, address.to_bits(), is_own, layout::OWN_V4)
            }
            IpAddr::V6(address) => {
                let bits = address.to_bits();
                let halves = [(bits >> 64) as u64, bits as u64];
                set_member(&mut self.own_v6, halves, is_own, layout::OWN_V6)
            }
        }
    }

    /// Says how frames leave by an interface without the kernel's help, or that they cannot.
    ///
    /// # Errors
    ///
    /// [`BpfError::Map`] if the kernel refuses.
    pub fn set_egress(
        &mut self,
        interface_index: u32,
        egress: Option<&Egress>,
    ) -> Result<(), BpfError> {
        match egress {
            Some(egress) => self
                .egresses
                .insert(interface_index, egress.emit(), 0)
                .map_err(in_map(layout::EGRESSES)),
            None => forget(self.egresses.remove(&interface_index), layout::EGRESSES),
        }
    }

    /// Says what of the network changes by itself.
    ///
    /// # Errors
    ///
    /// [`BpfError::Map`] if the kernel refuses.
    pub fn set_state(&mut self, state: &State) -> Result<(), BpfError> {
        self.state
            .set(0, state.emit(), 0)
            .map_err(in_map(layout::STATE))
    }

    /// Returns the neighbours, by interface index and address, to which the kernel has led the program since the last call.
    ///
    /// # Errors
    ///
    /// [`BpfError::Map`] if the kernel refuses to tell.
    pub fn take_used_neighbours(&mut self) -> Result<Vec<(u32, IpAddr)>, BpfError> {
        let keys = self.neighbours.keys().collect::<Result<Vec<_>, _>>();
        let keys = keys.map_err(in_map(layout::NEIGHBOURS))?;
        for key in &keys {
            forget(self.neighbours.remove(key), layout::NEIGHBOURS)?;
        }
        let neighbour = |[interface, family, a, b, c, d]: NeighbourKey| {
            let address = match family {
                AF_INET => IpAddr::from(a.to_ne_bytes()),
                _ => {
                    let [a, b, c, d] = [a, b, c, d].map(|word| u128::from(u32::from_be(word)));
                    Ipv6Addr::from_bits(a << 96 | b << 64 | c << 32 | d).into()
                }
            };
            (interface, address)
        };
        Ok(keys.into_iter().map(neighbour).collect())
    }

    /// Takes all sockets out of the map, so that packets for them are counted as lost.
    ///
    /// # Errors
    ///
    /// [`BpfError::Map`] if the kernel refuses.
    pub fn forget_sockets(&mut self, indices: impl Iterator<Item = u32>) -> Result<(), BpfError> {
        for index in indices {
            forget(self.sockets.unset(index), layout::SOCKETS)?;
        }
        Ok(())
    }

    /// Returns all that the program has counted, summed over all processors.
    ///
    /// # Errors
    ///
    /// [`BpfError::Map`] if the kernel refuses to tell.
    pub fn counters(&self) -> Result<XdpCounters, BpfError> {
        XdpCounters::counted(self.counters_map()?)
    }

    /// Notes how much of what the program has counted was told by this process; a successor tells the rest.
    ///
    /// # Errors
    ///
    /// [`BpfError::Map`] if the kernel refuses.
    pub fn set_told(&mut self, told: &XdpCounters) -> Result<(), BpfError> {
        let map = self.ebpf.map_mut(layout::COUNTERS);
        told.note(map.ok_or(BpfError::Missing(layout::COUNTERS))?)
    }

    fn counters_map(&self) -> Result<&Map, BpfError> {
        let map = self.ebpf.map(layout::COUNTERS);
        map.ok_or(BpfError::Missing(layout::COUNTERS))
    }

    /// Whether the program translates plain packets, so that it is of use without workers.
    pub fn translates(&self) -> bool {
        match self.work {
            Work::Forward | Work::Translate => true,
            Work::Steer => false,
        }
    }

    /// Runs the program on a frame that was on no wire (`BPF_PROG_TEST_RUN`): nothing is sent. Interfaces and routes are those of
    /// the calling thread's network namespace.
    ///
    /// # Errors
    ///
    /// [`BpfError::TestRun`] if the kernel refuses.
    pub fn test_run(&self, options: TestRunOptions<'_>) -> Result<TestRunResult, BpfError> {
        let program = self.ebpf.program(layout::PROGRAM);
        let program = program.ok_or(BpfError::Missing(layout::PROGRAM))?;
        let program: &Xdp = program.try_into().map_err(BpfError::TestRun)?;
        program.test_run(options).map_err(BpfError::TestRun)
    }

    /// Returns how many instructions the verifier has looked at, of a million at most; `None` if the kernel (before 5.16) does not
    /// tell.
    ///
    /// # Errors
    ///
    /// [`BpfError::Refused`] if the program is not loaded.
    pub fn verified_instructions(&mut self) -> Result<Option<u32>, BpfError> {
        let info = program(&mut self.ebpf)?.info();
        Ok(info
            .map_err(BpfError::Refused)?
            .verified_instruction_count())
    }
}

fn set_member<K: Pod>(
    set: &mut HashMap<MapData, K, u32>,
    key: K,
    is_member: bool,
    map: &'static str,
) -> Result<(), BpfError> {
    match is_member {
        true => set.insert(key, 1, 0).map_err(in_map(map)),
        false => forget(set.remove(&key), map),
    }
}

/// What was not there need not be removed.
fn forget(outcome: Result<(), MapError>, map: &'static str) -> Result<(), BpfError> {
    match outcome {
        Ok(()) | Err(MapError::KeyNotFound) => Ok(()),
        Err(MapError::SyscallError(error)) if error.io_error.kind() == io::ErrorKind::NotFound => {
            Ok(())
        }
        Err(source) => Err(BpfError::Map { map, source }),
    }
}

fn program(ebpf: &mut Ebpf) -> Result<&mut Xdp, BpfError> {
    let program = ebpf
        .program_mut(layout::PROGRAM)
        .ok_or(BpfError::Missing(layout::PROGRAM))?;
    program.try_into().map_err(BpfError::Refused)
}

pub(super) fn in_map(map: &'static str) -> impl Fn(MapError) -> BpfError {
    move |source| BpfError::Map { map, source }
}
