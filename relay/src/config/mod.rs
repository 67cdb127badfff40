//! The configuration: `relay.yaml`, read and validated, with every problem told at once.
//!
//! [`load`] turns files into a [`Config`] that can only hold what the relay can do. The EAM files
//! that the configuration names are read with it, since neither is of use without the other.

mod changes;
mod control;
mod interfaces;
mod keys;
mod read;
mod section;
#[cfg(test)]
mod tests;
mod tree;

pub use changes::Change;
pub use control::DEFAULT_SOCKET;

use eam_tables::{Eam, Place, PrefixSet4, Problem};
use ipnet::{Ipv4Net, Ipv6Net};
use relay_core::Policy;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// Everything that an operator can choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// How packets are translated.
    pub policy: Policy,
    /// The EAM files, as paths that can be opened.
    pub eam: Vec<PathBuf>,
    /// IPv4 addresses that are translated by RFC 6052 instead of an EAM (RFC 7755, 4.10).
    pub ipv4_translatable: PrefixSet4,
    /// IPv4 addresses that are routed to the relay.
    pub service_pools: PrefixSet4,
    /// IPv4 addresses that RFC 6052 must not translate.
    pub denylist4: PrefixSet4,
    /// The interfaces to translate on.
    pub interfaces: Vec<Interface>,
    /// Who translates plain packets.
    pub fast_path: FastPath,
    /// Who finds the next hops of translated packets.
    pub forwarding: Forwarding,
    /// The directory in a BPF file system that keeps the XDP program while no relay runs; `None` for none.
    pub pin: Option<PathBuf>,
    /// The MTUs in octets that take the place of those of next hops and interfaces.
    pub mtu: MtuOverride,
    /// ICMP errors: how many, and from which addresses.
    pub icmp: IcmpErrors,
    /// How operators and machines talk to the running daemon.
    pub control: ControlPoints,
    /// The processors that workers run on; `None` for all that the process may use.
    pub cpus: Option<Vec<usize>>,
    /// What workers do while no packet comes.
    pub wait: Wait,
}

/// Where the running daemon listens, and what it watches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlPoints {
    /// The control socket; `None` for none.
    pub socket: Option<PathBuf>,
    /// The group whose members may use the socket, by name or number; `None` for the daemon's own.
    pub group: Option<String>,
    /// Where metrics can be read over HTTP; `None` for nowhere.
    pub metrics: Option<SocketAddr>,
    /// Whether a change of the files is a reason to reload.
    pub watch: bool,
}

/// What a worker does while no packet comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// It sleeps; the kernel wakes it up.
    Poll,
    /// It keeps looking at its rings, which the driver fills on another processor.
    Busy,
    /// It keeps having the driver look for packets, on its own processor, and interrupts are put off (SO_PREFER_BUSY_POLL).
    PreferBusyPoll,
}

/// Who translates packets that take nothing but their headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FastPath {
    /// The XDP program, in the driver.
    Xdp,
    /// The workers, as they do all other packets.
    AfXdp,
}

/// Who finds the next hops of translated packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forwarding {
    /// The relay, from the kernel's routes and neighbours; the kernel where it cannot.
    Direct,
    /// The kernel, for every packet, so that its packet filters and captures see them.
    Kernel,
}

/// One interface to translate on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Where the configuration names it.
    pub place: Place,
    /// How the XDP program is attached.
    pub xdp: XdpMode,
    /// The receive queues that workers serve; `None` for all.
    pub queues: Option<Vec<u32>>,
    /// Whether AF_XDP sockets go without a copy between driver and worker.
    pub zero_copy: af_xdp::ZeroCopy,
}

/// How the XDP program is attached to an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpMode {
    /// In the driver, or where that cannot be, in the kernel's generic path.
    Auto,
    /// In the driver.
    Native,
    /// In the kernel's generic path, which works everywhere and is slow.
    Generic,
}

/// MTUs in octets that the operator sets; `None` where they are learnt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MtuOverride {
    /// Of the IPv4 network.
    pub ipv4: Option<u32>,
    /// Of the IPv6 network.
    pub ipv6: Option<u32>,
}

/// The ICMP errors that the relay originates, and the sources of those that it translates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IcmpErrors {
    /// The most errors a second that the relay originates; `None` for any number, zero for none at all.
    pub rate: Option<u32>,
    /// The sources of errors that the relay originates.
    pub own: OwnAddresses,
    /// IPv4 addresses that stand for untranslatable sources of ICMPv6 errors (RFC 6791); the relay's own if there are none.
    pub ipv4_sources: Vec<Ipv4Net>,
    /// IPv6 addresses that stand for untranslatable sources of ICMPv4 errors; the relay's own if there are none.
    pub ipv6_sources: Vec<Ipv6Net>,
    /// How one of several is chosen.
    pub source_choice: SourceChoice,
}

/// How one of several addresses is chosen that can stand for the source of an ICMP error (RFC 6791, 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceChoice {
    /// At random.
    Random,
    /// By the hop limit that the error arrived with, so that each hop of a traceroute keeps its address.
    HopLimit,
}

/// The relay's own addresses; `None` where they are learnt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OwnAddresses {
    /// In the IPv4 network.
    pub ipv4: Option<Ipv4Addr>,
    /// In the IPv6 network.
    pub ipv6: Option<Ipv6Addr>,
}

/// What the files on disk amount to.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration with its mappings; there is none if any problem is an error.
    pub usable: Option<(Config, Vec<Eam>)>,
    /// Everything that is wrong or doubtful, file by file in the order of lines.
    pub problems: Vec<Problem>,
}

/// Reads a configuration and the EAM files that it names.
pub fn load(path: &Path) -> Loaded {
    let contents = match eam_tables::read_text(path) {
        Ok(text) => read::read(path, &text),
        Err(problem) => {
            return Loaded {
                usable: None,
                problems: vec![problem],
            };
        }
    };
    let eams = eam_tables::load(&contents.eam);
    let has_errors = eams.has_errors();
    let mut problems = contents.problems;
    problems.extend(eams.problems);
    Loaded {
        usable: contents
            .config
            .filter(|_| !has_errors)
            .map(|config| (config, eams.entries)),
        problems,
    }
}
