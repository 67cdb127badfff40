//! The relay's interfaces: found, claimed in the XDP program's maps, attached, followed as they change.

use super::DaemonError;
use crate::config::{Config, Interface};
use crate::driver::bpf::{BpfError, XdpProgram};
use crate::driver::ethtool::Ethtool;
use crate::routes::{Link, Mirror};
use crate::tables::Tables;
use eam_tables::PrefixSet4;
use eam_tables::layout::{self, Ownership};
use ipnet::{Ipv4Net, Ipv6Net};
use std::collections::BTreeSet;
use std::net::IpAddr;
use tracing::{info, warn};

/// The longest frame in octets that fits into a chunk of 2048 or of 4096, behind what the kernel keeps
/// free in front.
const SMALL_FRAME: u32 = 2048 - af_xdp::PACKET_HEADROOM;
const LARGE_FRAME: u32 = 4096 - af_xdp::PACKET_HEADROOM;
/// Octets of a link header with two tags.
const LINK_HEADER: u32 = relay_core::wire::ethernet::MAX_HEADER_LENGTH as u32;

/// One interface of the relay.
pub(super) struct Port {
    /// What the operator wants of it.
    pub(super) interface: Interface,
    /// The kernel's number for it.
    pub(super) index: u32,
    /// The receive queues that workers serve, ascending.
    pub(super) queues: Vec<u32>,
    /// The index in the map of sockets at which those of this port begin.
    pub(super) first_socket: u32,
    mtu: u32,
    mac: [u8; 6],
    is_gone: bool,
}

/// All interfaces of the relay, in the order of the configuration, and who owns which addresses.
pub(super) struct Ports {
    ports: Vec<Port>,
    /// IPv4 destinations that are the relay's.
    claimed_v4: PrefixSet4,
    /// Addresses that the configuration calls the relay's own.
    configured_own: Vec<IpAddr>,
    /// Addresses of the machine that the program leaves to the kernel.
    own: BTreeSet<IpAddr>,
    /// The longest frame in octets that all sockets take in one chunk; `None` if they take several.
    longest_frame: Option<u32>,
}

impl Ports {
    /// Looks the interfaces of a configuration up.
    pub(super) fn find(config: &Config, mirror: &Mirror) -> Result<Self, DaemonError> {
        let mut ports = Vec::new();
        let mut first_socket = 0;
        for interface in &config.interfaces {
            let port = find(interface, first_socket, mirror)?;
            first_socket += port.queues.last().map_or(0, |last| last + 1);
            ports.push(port);
        }
        if first_socket > layout::SOCKETS_MAX_ENTRIES
            || ports.len() > layout::PORTS_MAX_ENTRIES as usize
        {
            let last = &config.interfaces[config.interfaces.len() - 1];
            let why = format!(
                "too many interfaces or queues; the relay serves {} and {} in all",
                layout::PORTS_MAX_ENTRIES,
                layout::SOCKETS_MAX_ENTRIES,
            );
            return Err(unfit(last, why));
        }
        let own = config.icmp.own;
        Ok(Self {
            ports,
            claimed_v4: PrefixSet4::default(),
            configured_own: own
                .ipv4
                .map(IpAddr::V4)
                .into_iter()
                .chain(own.ipv6.map(IpAddr::V6))
                .collect(),
            own: BTreeSet::new(),
            longest_frame: None,
        })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Port> {
        self.ports.iter()
    }

    /// Returns the kernel's numbers of the interfaces.
    pub(super) fn indices(&self) -> Vec<u32> {
        self.ports.iter().map(|port| port.index).collect()
    }

    /// Returns the size of UMEM chunks that the longest frame of any port fits in.
    pub(super) fn chunk_size(&self) -> af_xdp::ChunkSize {
        let longest = self
            .ports
            .iter()
            .map(|port| port.mtu + LINK_HEADER)
            .max()
            .unwrap_or(0);
        match longest {
            0..=SMALL_FRAME => af_xdp::ChunkSize::Octets2048,
            _ => af_xdp::ChunkSize::Octets4096,
        }
    }

    /// Says whether frames of some port are longer than any chunk.
    pub(super) fn have_long_packets(&self) -> bool {
        self.ports
            .iter()
            .any(|port| port.mtu + LINK_HEADER > LARGE_FRAME)
    }

    /// Notes whether the sockets take packets in several chunks, and warns of those that will be lost.
    pub(super) fn set_takes_long_packets(&mut self, takes: bool) {
        self.longest_frame = match self.chunk_size() {
            _ if takes => None,
            af_xdp::ChunkSize::Octets2048 => Some(SMALL_FRAME),
            af_xdp::ChunkSize::Octets4096 => Some(LARGE_FRAME),
        };
        for port in &self.ports {
            port.warn_of_long_frames(self.longest_frame);
        }
    }

    /// Tells the XDP program which destinations are the relay's, and which interfaces are its ports.
    pub(super) fn claim(
        &mut self,
        program: &mut XdpProgram,
        tables: &Tables,
        mirror: &Mirror,
    ) -> Result<(), DaemonError> {
        let mappings = tables.eam.entries().iter().map(|eam| eam.ipv4());
        let denied = |prefix: &Ipv4Net| {
            tables
                .denylist4
                .iter()
                .any(|denied| denied.contains(prefix))
        };
        let translatable = tables
            .ipv4_translatable
            .iter()
            .filter(|prefix| !denied(prefix));
        let lists = translatable.chain(tables.service_pools.iter());
        self.claimed_v4 = mappings.chain(lists).collect();
        for prefix in self.claimed_v4.iter() {
            program.set_owner_v4(prefix, Ownership::Relay)?;
        }
        for prefix in tables
            .denylist4
            .iter()
            .filter(|prefix| self.claimed_v4.contains(prefix.network()))
        {
            leave_denied(prefix, program, tables)?;
        }
        let prefix = tables.policy.prefix;
        let prefix = Ipv6Net::new_assert(prefix.network(), prefix.length());
        program.set_owner_v6(prefix, Ownership::Relay)?;
        self.disown(program, mirror)?;
        for port in &self.ports {
            port.announce(program)?;
        }
        Ok(())
    }

    /// Attaches the program to every interface.
    pub(super) fn attach(&self, program: &mut XdpProgram) -> Result<(), DaemonError> {
        for port in &self.ports {
            let name = &port.interface.name;
            let mode = program.attach(name, port.index, port.interface.xdp)?;
            info!(
                "{name}: XDP attached in {mode} mode, {} queues",
                port.queues.len()
            );
        }
        Ok(())
    }

    /// Follows what has changed on the interfaces and their addresses.
    pub(super) fn follow(
        &mut self,
        program: &mut XdpProgram,
        mirror: &Mirror,
    ) -> Result<(), DaemonError> {
        self.disown(program, mirror)?;
        for port in &mut self.ports {
            let name = &port.interface.name;
            let Some(link) = mirror.link(port.index) else {
                if !port.is_gone {
                    warn!("{name}: the interface has gone; restart the relay when it is back");
                    port.is_gone = true;
                }
                continue;
            };
            if link.mtu != port.mtu {
                info!(
                    "{name}: the MTU is {} octets, it was {}",
                    link.mtu, port.mtu
                );
                port.mtu = link.mtu;
                port.warn_of_long_frames(self.longest_frame);
            }
            if let Some(mac) = link.mac.filter(|mac| *mac != port.mac) {
                info!("{name}: the hardware address has changed");
                port.mac = mac;
                port.announce(program)?;
            }
        }
        Ok(())
    }

    /// Leaves the machine's own addresses to the kernel, and takes back those that it no longer has.
    fn disown(&mut self, program: &mut XdpProgram, mirror: &Mirror) -> Result<(), BpfError> {
        let own: BTreeSet<IpAddr> = mirror
            .own_addresses()
            .chain(self.configured_own.iter().copied())
            .collect();
        for address in own.difference(&self.own) {
            match address {
                IpAddr::V4(address) => {
                    program.set_owner_v4((*address).into(), Ownership::Kernel)?
                }
                IpAddr::V6(address) => {
                    program.set_owner_v6((*address).into(), Ownership::Kernel)?
                }
            }
        }
        for address in self.own.difference(&own) {
            match address {
                IpAddr::V4(address) => {
                    let host = Ipv4Net::from(*address);
                    // A claim of exactly this address had to give way.
                    match self.claimed_v4.contains(*address) {
                        true => program.set_owner_v4(host, Ownership::Relay)?,
                        false => program.clear_owner_v4(host)?,
                    }
                }
                IpAddr::V6(address) => program.clear_owner_v6((*address).into())?,
            }
        }
        self.own = own;
        Ok(())
    }
}

/// Leaves to the kernel what `denylist4` takes away from `ipv4_translatable`, but not what has a mapping or lies in a pool.
fn leave_denied(
    denied: Ipv4Net,
    program: &mut XdpProgram,
    tables: &Tables,
) -> Result<(), BpfError> {
    let stays = |prefix: &Ipv4Net| prefix.contains(&denied);
    let kept = || {
        let mappings = tables.eam.entries().iter().map(|eam| eam.ipv4());
        mappings.chain(tables.service_pools.iter())
    };
    if kept().any(|prefix| stays(&prefix)) {
        return Ok(());
    }
    program.set_owner_v4(denied, Ownership::Kernel)?;
    for prefix in kept().filter(|prefix| denied.contains(prefix)) {
        program.set_owner_v4(prefix, Ownership::Relay)?;
    }
    Ok(())
}

impl Port {
    /// Warns if the MTU lets frames in that the sockets do not take.
    fn warn_of_long_frames(&self, longest: Option<u32>) {
        let (name, mtu) = (&self.interface.name, self.mtu);
        if let Some(longest) = longest.filter(|longest| mtu + LINK_HEADER > *longest) {
            warn!(
                "{name}: the MTU is {mtu}, but frames longer than {longest} octets are lost: \
                 the kernel (Linux 6.6 can) or the driver takes no AF_XDP packets in several buffers; \
                 restart the relay if the MTU was raised while it ran, or lower it"
            );
        }
    }

    /// Writes the interface into the map of ports.
    fn announce(&self, program: &mut XdpProgram) -> Result<(), BpfError> {
        let port = layout::Port {
            first_socket: self.first_socket,
            queues: self.queues.last().map_or(0, |last| last + 1),
            mac: self.mac,
            reserved: [0; 2],
        };
        program.set_port(self.index, &port)
    }
}

fn unfit(interface: &Interface, why: impl Into<String>) -> DaemonError {
    let Interface { name, place, .. } = interface;
    DaemonError::UnfitInterface {
        place: place.clone(),
        name: name.clone(),
        why: why.into(),
    }
}

/// Finds an interface and checks that the relay can use it.
fn find(interface: &Interface, first_socket: u32, mirror: &Mirror) -> Result<Port, DaemonError> {
    let Interface { name, place, .. } = interface;
    let found: Option<(u32, &Link)> = mirror.links().find(|(_, link)| link.name == *name);
    let Some((index, link)) = found else {
        return Err(DaemonError::NoInterface {
            place: place.clone(),
            name: name.clone(),
        });
    };
    // The loopback's is all zeros.
    let mac = link.mac.filter(|mac| *mac != [0; 6]);
    let mac = mac.ok_or_else(|| unfit(interface, "it is no Ethernet interface"))?;
    if let Some(vlan) = link.vlan {
        let below = mirror
            .link(vlan.parent)
            .map_or("in another namespace", |link| &link.name);
        let why = format!(
            "it is a VLAN interface; name the interface below it: `{below}`; the relay handles its tags"
        );
        return Err(unfit(interface, why));
    }
    let there = Ethtool::open()
        .and_then(|ethtool| ethtool.queues(name))
        .map_err(|error| unfit(interface, error.to_string()))?
        .receive;
    let queues = match &interface.queues {
        None => (0..there).collect(),
        Some(queues) => queues
            .iter()
            .copied()
            .collect::<BTreeSet<u32>>()
            .into_iter()
            .collect::<Vec<_>>(),
    };
    if let Some(absent) = queues.iter().find(|queue| **queue >= there) {
        return Err(unfit(
            interface,
            format!("it has no receive queue {absent}, only 0 to {}", there - 1),
        ));
    }
    if queues.is_empty() {
        return Err(unfit(interface, "`queues` lists none; use `all`"));
    }
    if (queues.len() as u32) < there {
        warn!(
            "{name}: packets to translate that arrive on other queues than {queues:?} are dropped; steer them"
        );
    }
    if !link.up {
        warn!("{name}: the interface is down");
    }
    Ok(Port {
        interface: interface.clone(),
        index,
        queues,
        first_socket,
        mtu: link.mtu,
        mac,
        is_gone: false,
    })
}
