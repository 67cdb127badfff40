//! Interfaces of a laboratory: veth pairs, VLANs, their state and addresses.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::AsRawFd;
use std::thread;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
    VlanProtocol,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::{LabError, Namespace};

/// How long the kernel may take until it answers to a new address, and how often it is asked meanwhile.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(1);
/// The kernel's flag RTF_LOCAL of IPv6 routes.
const ROUTE_IS_LOCAL: u32 = 0x8000_0000;

/// One end of a veth pair: where it lies and what it is called.
#[derive(Clone, Copy, Debug)]
pub struct VethEnd<'a> {
    namespace: &'a Namespace,
    name: &'a str,
    mac: Option<[u8; 6]>,
    mtu: Option<u32>,
    queues: u32,
}

impl<'a> VethEnd<'a> {
    /// Describes an end with one queue, an MTU of 1500 octets and a MAC address of the kernel's choice.
    pub fn new(namespace: &'a Namespace, name: &'a str) -> Self {
        Self {
            namespace,
            name,
            mac: None,
            mtu: None,
            queues: 1,
        }
    }

    /// Sets the MAC address.
    pub fn mac(self, mac: [u8; 6]) -> Self {
        Self {
            mac: Some(mac),
            ..self
        }
    }

    /// Sets the MTU, in octets without the Ethernet header.
    pub fn mtu(self, mtu: u32) -> Self {
        Self {
            mtu: Some(mtu),
            ..self
        }
    }

    /// Sets the number of queues, the same for both directions.
    pub fn queues(self, queues: u32) -> Self {
        Self { queues, ..self }
    }

    fn message(&self) -> LinkMessage {
        let mut link = LinkMessage::default();
        link.attributes = vec![
            LinkAttribute::IfName(self.name.to_owned()),
            LinkAttribute::NumTxQueues(self.queues),
            LinkAttribute::NumRxQueues(self.queues),
        ];
        link.attributes
            .extend(self.mac.map(|mac| LinkAttribute::Address(mac.to_vec())));
        link.attributes.extend(self.mtu.map(LinkAttribute::Mtu));
        link
    }
}

/// Makes a veth pair and brings both ends up.
pub fn veth_pair(left: VethEnd<'_>, right: VethEnd<'_>) -> Result<(), LabError> {
    let mut peer = right.message();
    peer.attributes
        .push(LinkAttribute::NetNsFd(right.namespace.handle.as_raw_fd()));
    let mut link = left.message();
    link.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Veth),
        LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
    ]));
    let what = format!(
        "make the veth pair {} - {} in {}",
        left.name, right.name, right.namespace.name
    );
    left.namespace.request(
        &what,
        RouteNetlinkMessage::NewLink(link),
        NLM_F_CREATE | NLM_F_EXCL,
    )?;
    left.namespace.set_up(left.name)?;
    right.namespace.set_up(right.name)
}

/// The tag of a VLAN interface.
#[derive(Clone, Copy, Debug)]
pub struct Vlan {
    /// The VLAN identifier, 1 to 4094.
    pub id: u16,
    /// Whether it is a service tag (IEEE 802.1ad, 0x88a8) and not a customer tag (802.1Q, 0x8100).
    pub service: bool,
}

impl Namespace {
    /// Makes a VLAN interface on top of another, for example `eth0.100` on `eth0`, and brings it up.
    pub fn add_vlan(&self, parent: &str, name: &str, vlan: Vlan) -> Result<(), LabError> {
        let protocol = if vlan.service {
            VlanProtocol::Ieee8021Ad
        } else {
            VlanProtocol::Ieee8021Q
        };
        let mut link = LinkMessage::default();
        link.attributes = vec![
            LinkAttribute::IfName(name.to_owned()),
            LinkAttribute::Link(self.interface_index(parent)?),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Vlan),
                LinkInfo::Data(InfoData::Vlan(vec![
                    InfoVlan::Id(vlan.id),
                    InfoVlan::Protocol(protocol),
                ])),
            ]),
        ];
        let what = format!("make the VLAN interface {name} on {parent}");
        self.request(
            &what,
            RouteNetlinkMessage::NewLink(link),
            NLM_F_CREATE | NLM_F_EXCL,
        )?;
        self.set_up(name)
    }

    /// Brings an interface up.
    pub fn set_up(&self, interface: &str) -> Result<(), LabError> {
        self.change_link(interface, "bring up", |link| {
            link.header.flags = LinkFlags::Up;
            link.header.change_mask = LinkFlags::Up;
        })
    }

    /// Takes an interface down.
    pub fn set_down(&self, interface: &str) -> Result<(), LabError> {
        self.change_link(interface, "take down", |link| {
            link.header.change_mask = LinkFlags::Up
        })
    }

    /// Gives an interface another MAC address.
    pub fn set_mac(&self, interface: &str, mac: [u8; 6]) -> Result<(), LabError> {
        self.change_link(interface, "set the MAC address of", |link| {
            link.attributes.push(LinkAttribute::Address(mac.to_vec()));
        })
    }

    /// Gives an interface another MTU, in octets without the Ethernet header.
    pub fn set_mtu(&self, interface: &str, mtu: u32) -> Result<(), LabError> {
        self.change_link(interface, "set the MTU of", |link| {
            link.attributes.push(LinkAttribute::Mtu(mtu))
        })
    }

    /// Deletes an interface; with one end of a veth pair the other goes too.
    pub fn delete_link(&self, interface: &str) -> Result<(), LabError> {
        let mut link = LinkMessage::default();
        link.attributes
            .push(LinkAttribute::IfName(interface.to_owned()));
        self.request(
            &format!("delete {interface}"),
            RouteNetlinkMessage::DelLink(link),
            0,
        )
    }

    /// Returns the number that the kernel gave an interface.
    pub fn interface_index(&self, interface: &str) -> Result<u32, LabError> {
        Ok(self.link(interface)?.header.index)
    }

    /// Returns the MAC address of an interface, if it is Ethernet.
    pub fn mac(&self, interface: &str) -> Result<Option<[u8; 6]>, LabError> {
        Ok(self
            .link(interface)?
            .attributes
            .iter()
            .find_map(|attribute| {
                if let LinkAttribute::Address(octets) = attribute {
                    octets.as_slice().try_into().ok()
                } else {
                    None
                }
            }))
    }

    /// Adds an address to an interface, usable at once: IPv6 addresses are not probed for duplicates.
    pub fn add_address(&self, interface: &str, address: IpNet) -> Result<(), LabError> {
        let message = self.address_message(interface, address)?;
        let what = format!("add the address {address} to {interface}");
        self.request(
            &what,
            RouteNetlinkMessage::NewAddress(message),
            NLM_F_CREATE | NLM_F_EXCL,
        )?;
        match address.addr() {
            IpAddr::V4(_) => Ok(()),
            IpAddr::V6(address) => self.await_answering(address),
        }
    }

    /// Waits until the namespace answers to an IPv6 address. The kernel says at once that it is there; some time later it joins the
    /// group by which neighbours look for it, and at last it has a route to itself for it. What comes before is lost.
    fn await_answering(&self, address: Ipv6Addr) -> Result<(), LabError> {
        // How the kernel writes a route for one destination.
        let destination = format!("{:032x} 80 ", address.to_bits());
        let is_own = |line: &str| {
            let flags = line.split_whitespace().nth(8);
            let flags = flags.and_then(|flags| u32::from_str_radix(flags, 16).ok());
            line.starts_with(&destination) && flags.is_some_and(|flags| flags & ROUTE_IS_LOCAL != 0)
        };
        let deadline = Instant::now() + PATIENCE;
        let answers = || loop {
            let routes = fs::read_to_string("/proc/thread-self/net/ipv6_route")?;
            match routes.lines().any(is_own) {
                true => return Ok(()),
                false if Instant::now() >= deadline => return Err(io::ErrorKind::TimedOut.into()),
                false => thread::sleep(PAUSE),
            }
        };
        self.run_in(answers)?.map_err(|source| {
            LabError::system(self.name(), &format!("see it answer to {address}"), source)
        })
    }

    /// Takes an address away from an interface.
    pub fn delete_address(&self, interface: &str, address: IpNet) -> Result<(), LabError> {
        let message = self.address_message(interface, address)?;
        let what = format!("delete the address {address} of {interface}");
        self.request(&what, RouteNetlinkMessage::DelAddress(message), 0)
    }

    fn address_message(&self, interface: &str, address: IpNet) -> Result<AddressMessage, LabError> {
        let mut message = AddressMessage::default();
        message.header.family = family(address.addr());
        message.header.prefix_len = address.prefix_len();
        message.header.index = self.interface_index(interface)?;
        message.header.flags = match address {
            IpNet::V4(_) => AddressHeaderFlags::empty(),
            IpNet::V6(_) => AddressHeaderFlags::Nodad,
        };
        message.attributes = vec![
            AddressAttribute::Local(address.addr()),
            AddressAttribute::Address(address.addr()),
        ];
        Ok(message)
    }

    fn link(&self, interface: &str) -> Result<LinkMessage, LabError> {
        let mut link = LinkMessage::default();
        link.attributes
            .push(LinkAttribute::IfName(interface.to_owned()));
        let what = format!("find the interface {interface}");
        let answer = self.netlink(&what, |connection| {
            connection.query(RouteNetlinkMessage::GetLink(link))
        })?;
        if let RouteNetlinkMessage::NewLink(link) = answer {
            Ok(link)
        } else {
            Err(LabError::netlink(
                self.name(),
                &what,
                crate::driver::netlink::NetlinkError::NoAnswer,
            ))
        }
    }

    fn change_link(
        &self,
        interface: &str,
        what: &str,
        change: impl FnOnce(&mut LinkMessage),
    ) -> Result<(), LabError> {
        let mut link = LinkMessage::default();
        link.attributes
            .push(LinkAttribute::IfName(interface.to_owned()));
        change(&mut link);
        self.request(
            &format!("{what} {interface}"),
            RouteNetlinkMessage::SetLink(link),
            0,
        )
    }
}

pub(super) fn family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}
