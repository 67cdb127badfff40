//! The relay's interfaces: found, announced to the XDP program, attached, followed as they change.

mod next;

pub(super) use next::PortChanges;

use super::{DaemonError, failed};
use crate::config::{Config, Interface};
use crate::driver::bpf::{AttachedMode, BpfError};
use crate::driver::ethtool::Ethtool;
use crate::driver::netdev::NetDevices;
use crate::fast_path::FastPath;
use crate::routes::{Link, Mirror};
use eam_tables::layout::{self, Egress};
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::BorrowedFd;
use tracing::{info, warn};

/// The longest frame in octets that fits into a chunk of 2048 or of 4096, behind what the kernel keeps
/// free in front.
const SMALL_FRAME: u32 = 2048 - af_xdp::PACKET_HEADROOM;
const LARGE_FRAME: u32 = 4096 - af_xdp::PACKET_HEADROOM;
/// Octets of a link header with two tags.
const LINK_HEADER: u32 = relay_core::wire::ethernet::MAX_HEADER_LENGTH as u32;

/// One interface of the relay.
#[derive(Clone)]
pub(super) struct Port {
    /// What the operator wants of it.
    pub(super) interface: Interface,
    /// The kernel's number for it.
    pub(super) index: u32,
    /// The receive queues that workers serve, ascending.
    pub(super) queues: Vec<u32>,
    /// The index in the map of sockets at which those of this port begin.
    pub(super) first_socket: u32,
    /// Its position among the ports of its generation.
    number: u16,
    /// Whether it is an end of a veth pair. Its driver does not tell the other end of frames that it sends back, unless that has an
    /// XDP program (seen on Linux 6.18).
    is_veth: bool,
    mtu: u32,
    mac: [u8; 6],
    /// Whether frames can be redirected to it.
    takes_redirects: bool,
    /// How the XDP program is attached, once it is.
    pub(super) attached: Option<AttachedMode>,
    is_gone: bool,
}

/// All interfaces of the relay, in the order of the configuration.
pub(super) struct Ports {
    ports: Vec<Port>,
    devices: NetDevices,
    /// The longest frame in octets that all sockets take in one chunk; `None` if they take several.
    longest_frame: Option<u32>,
}

impl Ports {
    /// Looks the interfaces of a configuration up.
    pub(super) fn find(config: &Config, mirror: &Mirror) -> Result<Self, DaemonError> {
        let interfaces = config.interfaces.iter();
        let found = interfaces.map(|interface| find(interface, mirror));
        Self::number(found.collect::<Result<_, _>>()?)
    }

    /// Numbers ports, and the places of their sockets, as they stand.
    fn number(mut ports: Vec<Port>) -> Result<Self, DaemonError> {
        let mut first_socket = 0;
        for (number, port) in (0..).zip(&mut ports) {
            (port.number, port.first_socket) = (number, first_socket);
            first_socket += port.queues.last().map_or(0, |last| last + 1);
        }
        if let Some(last) = ports.last()
            && (first_socket > layout::SOCKETS_MAX_ENTRIES
                || ports.len() > layout::PORTS_MAX_ENTRIES as usize)
        {
            let why = format!(
                "too many interfaces or queues; the relay serves {} and {} in all",
                layout::PORTS_MAX_ENTRIES,
                layout::SOCKETS_MAX_ENTRIES,
            );
            return Err(unfit(&last.interface, why));
        }
        let devices = NetDevices::open().map_err(failed("ask the kernel about XDP features"))?;
        Ok(Self {
            ports,
            devices,
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

    /// Tells the XDP program which interfaces are the relay's ports.
    pub(super) fn announce(&self, fast_path: &mut FastPath) -> Result<(), DaemonError> {
        for port in &self.ports {
            port.announce(fast_path)?;
        }
        Ok(())
    }

    /// Returns what becomes readable when an interface may take redirected frames that did not, or the other way round.
    pub(super) fn changes(&self) -> Option<BorrowedFd<'_>> {
        self.devices.changes()
    }

    /// Says whether the kernel has told of such a change since it was asked last.
    pub(super) fn take_changes(&self) -> bool {
        self.devices.take_changes()
    }

    /// Finds out which interfaces take frames that the program redirects; says whether that has changed.
    pub(super) fn look_at_redirects(&mut self) -> bool {
        // A frame that came by the kernel's generic path goes out as any other packet.
        let are_generic = |port: &Port| port.attached == Some(AttachedMode::Generic);
        let all_generic = self.ports.iter().all(are_generic);
        let mut has_changed = false;
        for port in &mut self.ports {
            let takes = all_generic
                || match self.devices.takes_redirects(port.index) {
                    Ok(takes) => takes.unwrap_or(true),
                    // It has gone.
                    Err(_) => false,
                };
            if takes == port.takes_redirects {
                continue;
            }
            has_changed = true;
            port.takes_redirects = takes;
            let name = &port.interface.name;
            match takes {
                true => info!("{name}: takes frames from the XDP program"),
                false => warn!(
                    "{name}: takes no frames from the XDP program (of a veth pair the other end needs an XDP program, or \
                     `ethtool -K ... gro on`); what leaves by it goes through the workers"
                ),
            }
        }
        has_changed
    }

    /// Returns how frames leave by the interfaces that take what the program redirects, and by VLAN interfaces upon these. Some
    /// drivers take it only once they have a program themselves.
    pub(super) fn egresses(&self, mirror: &Mirror) -> BTreeMap<u32, Egress> {
        let takes = |egress: &Egress| {
            let port = self.ports.get(egress.port as usize);
            port.is_some_and(|port| port.takes_redirects && port.attached.is_some())
        };
        let all = mirror.egresses(&self.indices()).into_iter();
        all.filter(|(_, egress)| takes(egress)).collect()
    }

    /// Finds out on which interfaces an earlier relay has left its program; says whether there are any.
    pub(super) fn look_at_what_is_left(&mut self, fast_path: &FastPath) -> Result<bool, BpfError> {
        for port in &mut self.ports {
            port.attached = fast_path.left_on(port.index)?;
        }
        Ok(self.ports.iter().any(|port| port.attached.is_some()))
    }

    /// Attaches the program to every interface.
    pub(super) fn attach(&mut self, fast_path: &mut FastPath) -> Result<(), DaemonError> {
        for port in &mut self.ports {
            let name = &port.interface.name;
            let mode = fast_path.attach(name, port.index, port.interface.xdp)?;
            port.attached = Some(mode);
            port.tell_attached(mode);
        }
        fast_path.settle()?;
        Ok(())
    }

    /// Follows what has changed on the interfaces and their addresses.
    pub(super) fn follow(
        &mut self,
        fast_path: &mut FastPath,
        mirror: &Mirror,
    ) -> Result<(), BpfError> {
        for port in &mut self.ports {
            let name = &port.interface.name;
            let Some(link) = mirror.link(port.index) else {
                if !port.is_gone {
                    warn!("{name}: the interface has gone; reload when it is back");
                    port.is_gone = true;
                    fast_path.forget_port(port.index);
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
                port.announce(fast_path)?;
            }
        }
        Ok(())
    }
}

impl Port {
    /// Logs how the program is attached.
    fn tell_attached(&self, mode: AttachedMode) {
        let (name, queues) = (&self.interface.name, self.queues.len());
        info!("{name}: XDP attached in {mode} mode, {queues} queues");
    }

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
    fn announce(&self, fast_path: &mut FastPath) -> Result<(), BpfError> {
        fast_path.set_port(self.index, self.layout())
    }

    /// Returns what the XDP program knows of the interface.
    fn layout(&self) -> layout::Port {
        layout::Port {
            first_socket: self.first_socket,
            queues: self.queues.last().map_or(0, |last| last + 1),
            mac: self.mac,
            number: match self.is_veth {
                true => self.number | layout::Port::VETH,
                false => self.number,
            },
        }
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

/// Finds an interface and checks that the relay can use it. It has no number yet.
fn find(interface: &Interface, mirror: &Mirror) -> Result<Port, DaemonError> {
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
        first_socket: 0,
        number: 0,
        is_veth: link.is_veth(),
        mtu: link.mtu,
        mac,
        takes_redirects: true,
        attached: None,
        is_gone: false,
    })
}
