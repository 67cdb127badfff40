//! From netlink messages to the state they tell of.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use netlink_packet_core::{NLM_F_APPEND, NLM_F_REPLACE};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    InfoData, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{RouteAttribute, RouteFlags, RouteHeader, RouteMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::decode_route::{decode_route, ip};
use super::state::{Family, Link, Neighbour, Placement, Prefix, Route, State, VlanLink};
use crate::driver::netlink::Message;

const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
const RTM_NEWRULE: u16 = 32;
const RTM_NEWNEXTHOP: u16 = 104;
const RTM_DELNEXTHOP: u16 = 105;
const ETH_P_8021Q: u16 = 0x8100;
/// The tables default, main and local.
const RT_TABLE_DEFAULT: u32 = 253;
const RT_TABLE_MAIN: u32 = 254;
const RT_TABLE_LOCAL: u32 = 255;

/// Whether messages are the answer to a dump, or come by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Dump,
    Event,
}

impl State {
    /// Takes a message in. One that cannot be decoded is never just skipped: see [`State::note_undecodable`].
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the library's enum lists every message of the kernel"
    )]
    pub(super) fn take_in(&mut self, message: Message, origin: Origin) {
        let content = match message.content {
            Ok(content) => content,
            Err(error) => {
                self.note_undecodable(message.kind, origin, &error.to_string());
                return;
            }
        };
        match content {
            RouteNetlinkMessage::NewLink(link) if is_interface(&link) => {
                self.set_link(link.header.index, decode_link(&link))
            }
            RouteNetlinkMessage::DelLink(link) if is_interface(&link) => {
                self.remove_link(link.header.index)
            }
            RouteNetlinkMessage::NewAddress(message) => {
                if let Some(address) = decode_address(&message) {
                    self.add_address(message.header.index, address, message.header.prefix_len);
                }
            }
            RouteNetlinkMessage::DelAddress(message) => {
                if let Some(address) = decode_address(&message) {
                    self.remove_address(message.header.index, address, message.header.prefix_len);
                }
            }
            RouteNetlinkMessage::NewNeighbour(message) => {
                if let Some(address) = neighbour_address(&message) {
                    self.set_neighbour(message.header.ifindex, address, decode_neighbour(&message));
                }
            }
            RouteNetlinkMessage::DelNeighbour(message) => {
                if let Some(address) = neighbour_address(&message) {
                    self.set_neighbour(message.header.ifindex, address, None);
                }
            }
            RouteNetlinkMessage::NewRoute(message_body) => {
                let placement = match origin {
                    Origin::Dump => Placement::Last,
                    Origin::Event if message.flags & NLM_F_REPLACE != 0 => Placement::Replace,
                    Origin::Event if message.flags & NLM_F_APPEND != 0 => Placement::Last,
                    Origin::Event => Placement::First,
                };
                self.change_route(&message_body, Some(placement));
            }
            RouteNetlinkMessage::DelRoute(message_body) => self.change_route(&message_body, None),
            RouteNetlinkMessage::NewRule(_) | RouteNetlinkMessage::DelRule(_) => {
                self.outdated.rules = true
            }
            _ => {}
        }
    }

    /// An event that cannot be decoded means to read everything again. What cannot be decoded in a dump either is treated as
    /// what it might be: a route or rule that would decide about any packet, or else an interface, address or neighbour that
    /// the relay does not know, so that the kernel has to.
    fn note_undecodable(&mut self, kind: u16, origin: Origin, error: &str) {
        if (RTM_NEWNEXTHOP..=RTM_DELNEXTHOP).contains(&kind) {
            self.outdated.routes = true;
            return;
        }
        tracing::warn!("undecodable netlink message of type {kind}: {error}");
        match origin {
            Origin::Event => self.outdated.everything = true,
            Origin::Dump if matches!(kind, RTM_NEWROUTE | RTM_DELROUTE | RTM_NEWRULE) => {
                self.v4.undecodable = true;
                self.v6.undecodable = true;
            }
            Origin::Dump => {}
        }
    }

    /// Inserts a route at a place, or removes it.
    fn change_route(&mut self, message: &RouteMessage, placement: Option<Placement>) {
        let header = &message.header;
        // A path MTU or redirect which the kernel keeps beside the route.
        if header.flags.contains(RouteFlags::Cloned) {
            return;
        }
        let named = find(&message.attributes, |attribute| {
            if let RouteAttribute::Table(table) = attribute {
                Some(*table)
            } else {
                None
            }
        });
        let table = match named.unwrap_or(header.table.into()) {
            RT_TABLE_LOCAL => 0,
            RT_TABLE_MAIN => 1,
            RT_TABLE_DEFAULT => 2,
            _ => return,
        };
        let destination = find(&message.attributes, |attribute| {
            if let RouteAttribute::Destination(address) = attribute {
                ip(address)
            } else {
                None
            }
        });
        let route = decode_route(message);
        let certain = if header.address_family == AddressFamily::Inet {
            let address = destination.unwrap_or(IpAddr::from([0; 4]));
            place(
                &mut self.v4,
                table,
                v4_prefix(address, header),
                route,
                placement,
            )
        } else if header.address_family == AddressFamily::Inet6 {
            let address = destination.unwrap_or(IpAddr::from([0; 16]));
            place(
                &mut self.v6,
                table,
                v6_prefix(address, header),
                route,
                placement,
            )
        } else {
            return;
        };
        self.outdated.routes |= !certain;
        self.routes_changed = true;
        self.changed = true;
    }
}

/// Inserts or removes; returns false when the outcome is not sure.
fn place<P: Prefix>(
    family: &mut Family<P>,
    table: usize,
    prefix: Option<P>,
    route: Route,
    placement: Option<Placement>,
) -> bool {
    let Some(prefix) = prefix else {
        family.undecodable = true;
        return true;
    };
    match placement {
        Some(placement) => family.insert(table, prefix, route, placement),
        None => {
            family.remove(table, prefix, &route);
            true
        }
    }
}

fn v4_prefix(address: IpAddr, header: &RouteHeader) -> Option<Ipv4Net> {
    match IpNet::new(address, header.destination_prefix_length) {
        Ok(IpNet::V4(prefix)) => Some(prefix.trunc()),
        Ok(IpNet::V6(_)) | Err(_) => None,
    }
}

fn v6_prefix(address: IpAddr, header: &RouteHeader) -> Option<Ipv6Net> {
    match IpNet::new(address, header.destination_prefix_length) {
        Ok(IpNet::V6(prefix)) => Some(prefix.trunc()),
        Ok(IpNet::V4(_)) | Err(_) => None,
    }
}

pub(super) fn find<'a, A, T>(
    attributes: &'a [A],
    pick: impl FnMut(&'a A) -> Option<T>,
) -> Option<T> {
    attributes.iter().find_map(pick)
}

/// Whether a link message is about an interface as such, and not about its part in a bridge.
fn is_interface(message: &LinkMessage) -> bool {
    message.header.interface_family == AddressFamily::Unspec
}

pub(super) fn decode_link(message: &LinkMessage) -> Link {
    let flags = message.header.flags;
    let mut link = Link {
        name: String::new(),
        mac: None,
        mtu: 0,
        up: flags.contains(LinkFlags::Up),
        lower_up: flags.contains(LinkFlags::LowerUp),
        kind: None,
        vlan: None,
    };
    let (mut parent, mut elsewhere, mut tag) = (None, false, None);
    for attribute in &message.attributes {
        if let LinkAttribute::IfName(name) = attribute {
            link.name.clone_from(name);
        } else if let LinkAttribute::Address(octets) = attribute {
            link.mac = octets.as_slice().try_into().ok();
        } else if let LinkAttribute::Mtu(mtu) = attribute {
            link.mtu = *mtu;
        } else if let LinkAttribute::Link(index) = attribute {
            parent = Some(*index);
        } else if let LinkAttribute::LinkNetNsId(_) = attribute {
            elsewhere = true;
        } else if let LinkAttribute::LinkInfo(information) = attribute {
            for part in information {
                if let LinkInfo::Kind(kind) = part {
                    link.kind = Some(kind.to_string());
                } else if let LinkInfo::Data(InfoData::Vlan(data)) = part {
                    tag = vlan_tag(data);
                }
            }
        }
    }
    // The index of a parent in another namespace means nothing here.
    if let (Some((tpid, vid)), Some(parent), false) = (tag, parent, elsewhere) {
        link.vlan = Some(VlanLink { tpid, vid, parent });
    }
    link
}

fn vlan_tag(data: &[InfoVlan]) -> Option<(u16, u16)> {
    let vid = find(data, |part| {
        if let InfoVlan::Id(vid) = part {
            Some(*vid)
        } else {
            None
        }
    })?;
    let tpid = find(data, |part| {
        if let InfoVlan::Protocol(tpid) = part {
            Some(u16::from(*tpid))
        } else {
            None
        }
    });
    Some((tpid.unwrap_or(ETH_P_8021Q), vid))
}

/// The machine's own address: of the two ends of a point-to-point link, `IFA_LOCAL`.
fn decode_address(message: &AddressMessage) -> Option<IpAddr> {
    find(&message.attributes, |part| {
        if let AddressAttribute::Local(address) = part {
            Some(*address)
        } else {
            None
        }
    })
    .or_else(|| {
        find(&message.attributes, |part| {
            if let AddressAttribute::Address(address) = part {
                Some(*address)
            } else {
                None
            }
        })
    })
}

fn neighbour_address(message: &NeighbourMessage) -> Option<IpAddr> {
    if message.header.flags.contains(NeighbourFlags::Proxy) {
        return None;
    }
    find(&message.attributes, |part| {
        if let NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) = part {
            Some(IpAddr::V4(*address))
        } else if let NeighbourAttribute::Destination(NeighbourAddress::Inet6(address)) = part {
            Some(IpAddr::V6(*address))
        } else {
            None
        }
    })
}

fn decode_neighbour(message: &NeighbourMessage) -> Option<Neighbour> {
    use NeighbourState::{Delay, Noarp, Permanent, Probe, Reachable, Stale};
    if !matches!(
        message.header.state,
        Permanent | Noarp | Reachable | Stale | Delay | Probe
    ) {
        return None;
    }
    let mac = find(&message.attributes, |part| {
        if let NeighbourAttribute::LinkLayerAddress(octets) = part {
            octets.as_slice().try_into().ok()
        } else {
            None
        }
    })?;
    Some(Neighbour {
        mac,
        stale: message.header.state == Stale,
    })
}

#[cfg(test)]
mod tests {
    use netlink_packet_route::link::{InfoKind, VlanProtocol};

    use super::super::tests::{ETH0, mac};
    use super::*;

    #[test]
    fn a_vlan_link_is_decoded_with_tag_and_parent() {
        let mut message = LinkMessage::default();
        message.header.flags = LinkFlags::Up;
        let data = vec![
            InfoVlan::Protocol(VlanProtocol::Ieee8021Ad),
            InfoVlan::Id(7),
        ];
        message.attributes = vec![
            LinkAttribute::IfName("eth0.7".into()),
            LinkAttribute::Address(mac(5).to_vec()),
            LinkAttribute::Mtu(1496),
            LinkAttribute::Link(ETH0),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Vlan),
                LinkInfo::Data(InfoData::Vlan(data)),
            ]),
        ];
        let link = decode_link(&message);
        assert_eq!(
            link.vlan,
            Some(VlanLink {
                tpid: 0x88a8,
                vid: 7,
                parent: ETH0
            })
        );
        assert_eq!(
            (
                link.name.as_str(),
                link.mac,
                link.mtu,
                link.up,
                link.lower_up
            ),
            ("eth0.7", Some(mac(5)), 1496, true, false)
        );
        assert_eq!(link.kind.as_deref(), Some("vlan"));
        message.attributes.push(LinkAttribute::LinkNetNsId(1));
        assert_eq!(decode_link(&message).vlan, None);
    }
}
