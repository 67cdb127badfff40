//! The XDP program in the kernel: loading, its maps, attaching to interfaces.
//!
//! Dropping an [`XdpProgram`] detaches it everywhere. Where the kernel has BPF links (5.9), that also
//! happens when the process dies; what an older kernel leaves behind is recognised by its name and
//! replaced.

use super::object::OBJECT;
use super::xdp_link;
use crate::config::XdpMode;
use aya::maps::lpm_trie::Key;
use aya::maps::{HashMap, LpmTrie, MapData, MapError, PerCpuArray, XskMap};
use aya::programs::{ProgramError, ProgramInfo, Xdp, xdp};
use aya::{Ebpf, EbpfError, EbpfLoader, Pod};
use eam_tables::layout::{self, Ownership, Port, XdpCounter};
use ipnet::{Ipv4Net, Ipv6Net};
use rustix::io::Errno;
use std::io;
use std::os::fd::AsRawFd;

/// Why the XDP program cannot do its work.
#[derive(Debug, thiserror::Error)]
pub enum BpfError {
    /// The kernel or the capabilities of the process do not allow to load it.
    #[error("cannot load the XDP program: {}; it needs root or the capabilities \
             CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON", chain(.0))]
    Load(#[source] EbpfError),
    /// The program or one of its maps is not in the object.
    #[error("the XDP object has no `{0}`; it does not belong to this binary")]
    Missing(&'static str),
    /// The verifier refused the program.
    #[error("the kernel refuses the XDP program: {}", chain(.0))]
    Refused(#[source] ProgramError),
    /// A map could not be read or written.
    #[error("BPF map {map}: {}", chain(.source))]
    Map {
        /// The name of the map.
        map: &'static str,
        /// What aya says.
        #[source]
        source: MapError,
    },
    /// The interface already has a program of somebody else.
    #[error(
        "interface {interface}: XDP program `{program}` (id {id}) is attached; \
             detach it with `ip link set dev {interface} xdp off`"
    )]
    Occupied {
        /// The interface.
        interface: String,
        /// The name of its program.
        program: String,
        /// The id of its program.
        id: u32,
    },
    /// The interface has the program of a relay that is still running.
    #[error(
        "interface {interface}: another relay is running on it (XDP program id {id}); stop that one first"
    )]
    InUse {
        /// The interface.
        interface: String,
        /// The id of its program.
        id: u32,
    },
    /// The program cannot be attached in the mode asked for.
    #[error("interface {interface}: cannot attach the XDP program in {mode} mode: {}", chain(.source))]
    Attach {
        /// The interface.
        interface: String,
        /// The mode.
        mode: AttachedMode,
        /// What aya says.
        #[source]
        source: ProgramError,
    },
    /// The kernel's list of attached programs cannot be read or changed.
    #[error("interface {interface}: cannot {action} its XDP program: {source}")]
    Leftover {
        /// The interface.
        interface: String,
        /// What was to be done.
        action: &'static str,
        /// What the kernel says.
        #[source]
        source: io::Error,
    },
}

/// Shows an error with its causes, which aya keeps apart.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// How the program turned out to be attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachedMode {
    /// In the driver.
    Native,
    /// In the kernel's generic path.
    Generic,
}

impl std::fmt::Display for AttachedMode {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Native => "native",
            Self::Generic => "generic",
        })
    }
}

/// The loaded program with its maps.
pub struct XdpProgram {
    ebpf: Ebpf,
    ports: HashMap<MapData, u32, [u8; Port::SIZE]>,
    ownership_v4: LpmTrie<MapData, [u8; 4], u32>,
    ownership_v6: LpmTrie<MapData, [u8; 16], u32>,
    sockets: XskMap<MapData>,
    counters: PerCpuArray<MapData, u64>,
}

impl XdpProgram {
    /// Loads the program into the kernel; it is attached to nothing yet, and its maps are empty.
    ///
    /// # Errors
    ///
    /// [`BpfError`] says what the kernel or the process lacks.
    pub fn load() -> Result<Self, BpfError> {
        let mut ebpf = EbpfLoader::new().load(OBJECT).map_err(BpfError::Load)?;
        program(&mut ebpf)?.load().map_err(BpfError::Refused)?;
        let mut take = |name: &'static str| ebpf.take_map(name).ok_or(BpfError::Missing(name));
        let (ports, sockets) = (take(layout::PORTS)?, take(layout::SOCKETS)?);
        let (v4, v6) = (take(layout::OWNERSHIP_V4)?, take(layout::OWNERSHIP_V6)?);
        let counters = take(layout::COUNTERS)?;
        Ok(Self {
            ports: HashMap::try_from(ports).map_err(in_map(layout::PORTS))?,
            ownership_v4: LpmTrie::try_from(v4).map_err(in_map(layout::OWNERSHIP_V4))?,
            ownership_v6: LpmTrie::try_from(v6).map_err(in_map(layout::OWNERSHIP_V6))?,
            sockets: XskMap::try_from(sockets).map_err(in_map(layout::SOCKETS))?,
            counters: PerCpuArray::try_from(counters).map_err(in_map(layout::COUNTERS))?,
            ebpf,
        })
    }

    /// Makes an interface a port of the relay, or changes what is known of it.
    ///
    /// # Errors
    ///
    /// [`BpfError::Map`] if the kernel refuses.
    pub fn set_port(&mut self, interface_index: u32, port: &Port) -> Result<(), BpfError> {
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

    /// Says who gets the packets for an IPv4 prefix.
    ///
    /// # Errors
    ///
    /// [`BpfError::Map`] if the kernel refuses.
    pub fn set_owner_v4(&mut self, prefix: Ipv4Net, owner: Ownership) -> Result<(), BpfError> {
        let key = Key::new(u32::from(prefix.prefix_len()), prefix.network().octets());
        insert(&mut self.ownership_v4, &key, owner, layout::OWNERSHIP_V4)
    }

    /// Says who gets the packets for an IPv6 prefix.
    ///
    /// # Errors
    ///
    /// [`BpfError::Map`] if the kernel refuses.
    pub fn set_owner_v6(&mut self, prefix: Ipv6Net, owner: Ownership) -> Result<(), BpfError> {
        let key = Key::new(u32::from(prefix.prefix_len()), prefix.network().octets());
        insert(&mut self.ownership_v6, &key, owner, layout::OWNERSHIP_V6)
    }

    /// Forgets what was said about exactly this IPv4 prefix.
    ///
    /// # Errors
    ///
    /// [`BpfError::Map`] if the kernel refuses; not if nothing had been said.
    pub fn clear_owner_v4(&mut self, prefix: Ipv4Net) -> Result<(), BpfError> {
        let key = Key::new(u32::from(prefix.prefix_len()), prefix.network().octets());
        remove(&mut self.ownership_v4, &key, layout::OWNERSHIP_V4)
    }

    /// Forgets what was said about exactly this IPv6 prefix.
    ///
    /// # Errors
    ///
    /// [`BpfError::Map`] if the kernel refuses; not if nothing had been said.
    pub fn clear_owner_v6(&mut self, prefix: Ipv6Net) -> Result<(), BpfError> {
        let key = Key::new(u32::from(prefix.prefix_len()), prefix.network().octets());
        remove(&mut self.ownership_v6, &key, layout::OWNERSHIP_V6)
    }

    /// Attaches the program to an interface; says in which mode. `Auto` tries the driver first.
    ///
    /// # Errors
    ///
    /// [`BpfError::Occupied`] if somebody else's program is there, [`BpfError::Attach`] if the mode
    /// cannot be had.
    pub fn attach(
        &mut self,
        interface: &str,
        interface_index: u32,
        mode: XdpMode,
    ) -> Result<AttachedMode, BpfError> {
        clear_leftover(interface, interface_index)?;
        let modes: &[AttachedMode] = match mode {
            XdpMode::Auto => &[AttachedMode::Native, AttachedMode::Generic],
            XdpMode::Native => &[AttachedMode::Native],
            XdpMode::Generic => &[AttachedMode::Generic],
        };
        let program = program(&mut self.ebpf)?;
        let mut outcome = Err(BpfError::Missing(layout::PROGRAM));
        for &mode in modes {
            let flag = match mode {
                AttachedMode::Native => xdp::XdpMode::Driver,
                AttachedMode::Generic => xdp::XdpMode::Skb,
            };
            outcome = match program.attach_to_if_index(interface_index, flag) {
                Ok(_) => return Ok(mode),
                Err(source) => {
                    let interface = interface.to_owned();
                    Err(BpfError::Attach {
                        interface,
                        mode,
                        source,
                    })
                }
            };
        }
        outcome
    }

    /// Returns all that the program has counted so far, summed over all processors.
    ///
    /// # Errors
    ///
    /// [`BpfError::Map`] if the kernel refuses to tell.
    pub fn counters(&self) -> Result<Vec<(XdpCounter, u64)>, BpfError> {
        sums(&self.counters)
    }

    /// Detaches the program everywhere and returns all that it has counted, summed over all processors.
    ///
    /// # Errors
    ///
    /// [`BpfError::Map`] if the kernel refuses to tell; the program is detached even then.
    pub fn detach(self) -> Result<Vec<(XdpCounter, u64)>, BpfError> {
        let Self { ebpf, counters, .. } = self;
        // The map outlives the program, and counts all that was claimed until then.
        drop(ebpf);
        sums(&counters)
    }
}

fn sums(counters: &PerCpuArray<MapData, u64>) -> Result<Vec<(XdpCounter, u64)>, BpfError> {
    let sum = |counter: XdpCounter| {
        let values = counters
            .get(&counter.index(), 0)
            .map_err(in_map(layout::COUNTERS))?;
        Ok((counter, values.iter().sum()))
    };
    XdpCounter::ALL.into_iter().map(sum).collect()
}

fn program(ebpf: &mut Ebpf) -> Result<&mut Xdp, BpfError> {
    let program = ebpf
        .program_mut(layout::PROGRAM)
        .ok_or(BpfError::Missing(layout::PROGRAM))?;
    program.try_into().map_err(BpfError::Refused)
}

fn in_map(map: &'static str) -> impl Fn(MapError) -> BpfError {
    move |source| BpfError::Map { map, source }
}

fn insert<K: Pod>(
    trie: &mut LpmTrie<MapData, K, u32>,
    key: &Key<K>,
    owner: Ownership,
    map: &'static str,
) -> Result<(), BpfError> {
    trie.insert(key, owner.emit(), 0).map_err(in_map(map))
}

fn remove<K: Pod>(
    trie: &mut LpmTrie<MapData, K, u32>,
    key: &Key<K>,
    map: &'static str,
) -> Result<(), BpfError> {
    match trie.remove(key) {
        Ok(()) | Err(MapError::KeyNotFound) => Ok(()),
        Err(MapError::SyscallError(error)) if error.io_error.kind() == io::ErrorKind::NotFound => {
            Ok(())
        }
        Err(source) => Err(BpfError::Map { map, source }),
    }
}

/// Removes a program that an earlier relay left behind when it died; anybody else's is left alone.
fn clear_leftover(interface: &str, interface_index: u32) -> Result<(), BpfError> {
    let failed = |action| {
        move |source| BpfError::Leftover {
            interface: interface.to_owned(),
            action,
            source,
        }
    };
    let Some((id, hook)) = xdp_link::attached(interface_index).map_err(failed("read"))? else {
        return Ok(());
    };
    let info = aya::programs::loaded_programs()
        .filter_map(Result::ok)
        .find(|info: &ProgramInfo| info.id() == id);
    let program = info
        .as_ref()
        .and_then(ProgramInfo::name_as_str)
        .unwrap_or("?")
        .to_owned();
    if program != layout::PROGRAM {
        return Err(BpfError::Occupied {
            interface: interface.to_owned(),
            program,
            id,
        });
    }
    match xdp_link::detach(interface_index, hook) {
        Err(error) if error.raw_os_error() == Some(Errno::BUSY.raw_os_error()) => {
            Err(BpfError::InUse {
                interface: interface.to_owned(),
                id,
            })
        }
        outcome => outcome.map_err(failed("detach")),
    }
}
