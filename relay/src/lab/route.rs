//! Routes and neighbours of a laboratory.

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::neighbour::{NeighbourAttribute, NeighbourMessage, NeighbourState};
use netlink_packet_route::route::{
    RouteAttribute, RouteHeader, RouteMessage, RouteMetric, RouteProtocol, RouteScope, RouteType,
};

use rustix::io::Errno;

use super::link::family;
use super::{LabError, Namespace};

/// A unicast route of the main table.
#[derive(Clone, Copy, Debug)]
pub struct Route<'a> {
    destination: IpNet,
    gateway: Option<IpAddr>,
    interface: Option<&'a str>,
    metric: Option<u32>,
    mtu: Option<u32>,
}

impl<'a> Route<'a> {
    /// Describes a route to a destination. It needs a gateway, an interface, or both.
    pub fn to(destination: IpNet) -> Self {
        Self {
            destination,
            gateway: None,
            interface: None,
            metric: None,
            mtu: None,
        }
    }

    /// Sets the gateway; one of the other address family needs an interface too.
    pub fn via(self, gateway: IpAddr) -> Self {
        Self {
            gateway: Some(gateway),
            ..self
        }
    }

    /// Sets the interface.
    pub fn dev(self, interface: &'a str) -> Self {
        Self {
            interface: Some(interface),
            ..self
        }
    }

    /// Sets the metric: of routes to the same destination the one with the lowest counts.
    pub fn metric(self, metric: u32) -> Self {
        Self {
            metric: Some(metric),
            ..self
        }
    }

    /// Sets the MTU towards the destination, in octets.
    pub fn mtu(self, mtu: u32) -> Self {
        Self {
            mtu: Some(mtu),
            ..self
        }
    }
}

impl Namespace {
    /// Adds a route to the main table.
    pub fn add_route(&self, route: &Route<'_>) -> Result<(), LabError> {
        let message = self.route_message(route)?;
        let what = format!("add the route to {}", route.destination);
        self.request(
            &what,
            RouteNetlinkMessage::NewRoute(message),
            NLM_F_CREATE | NLM_F_EXCL,
        )
    }

    /// Deletes the route of the main table that fits the description.
    pub fn delete_route(&self, route: &Route<'_>) -> Result<(), LabError> {
        let mut message = self.route_message(route)?;
        // The scope that fits all.
        message.header.scope = RouteScope::NoWhere;
        self.request(
            &format!("delete the route to {}", route.destination),
            RouteNetlinkMessage::DelRoute(message),
            0,
        )
    }

    /// Sets the MAC address of a neighbour for good, in place of what the kernel has learnt.
    pub fn set_neighbour(
        &self,
        interface: &str,
        address: IpAddr,
        mac: [u8; 6],
    ) -> Result<(), LabError> {
        let mut message = self.neighbour_message(interface, address)?;
        message.header.state = NeighbourState::Permanent;
        message
            .attributes
            .push(NeighbourAttribute::LinkLayerAddress(mac.to_vec()));
        let what = format!("set the neighbour {address} on {interface}");
        self.request(
            &what,
            RouteNetlinkMessage::NewNeighbour(message),
            NLM_F_CREATE | NLM_F_REPLACE,
        )
    }

    /// Returns the MAC address of a neighbour, if the kernel knows it.
    pub fn neighbour(&self, interface: &str, address: IpAddr) -> Result<Option<[u8; 6]>, LabError> {
        let message = self.neighbour_message(interface, address)?;
        let what = format!("find the neighbour {address} on {interface}");
        let answer = self.netlink(&what, |connection| {
            match connection.query(RouteNetlinkMessage::GetNeighbour(message)) {
                Err(error) if error.os_error() == Some(Errno::NOENT.raw_os_error()) => Ok(None),
                answer => answer.map(Some),
            }
        })?;
        let Some(RouteNetlinkMessage::NewNeighbour(neighbour)) = answer else {
            return Ok(None);
        };
        Ok(neighbour.attributes.iter().find_map(|attribute| {
            if let NeighbourAttribute::LinkLayerAddress(octets) = attribute {
                octets.as_slice().try_into().ok()
            } else {
                None
            }
        }))
    }

    /// Forgets a neighbour.
    pub fn delete_neighbour(&self, interface: &str, address: IpAddr) -> Result<(), LabError> {
        let message = self.neighbour_message(interface, address)?;
        self.request(
            &format!("delete the neighbour {address} on {interface}"),
            RouteNetlinkMessage::DelNeighbour(message),
            0,
        )
    }

    fn neighbour_message(
        &self,
        interface: &str,
        address: IpAddr,
    ) -> Result<NeighbourMessage, LabError> {
        let mut message = NeighbourMessage::default();
        message.header.family = family(address);
        message.header.ifindex = self.interface_index(interface)?;
        message
            .attributes
            .push(NeighbourAttribute::Destination(address.into()));
        Ok(message)
    }

    fn route_message(&self, route: &Route<'_>) -> Result<RouteMessage, LabError> {
        let mut message = RouteMessage::default();
        let destination = route.destination.trunc();
        message.header = RouteHeader {
            address_family: family(destination.addr()),
            destination_prefix_length: destination.prefix_len(),
            table: RouteHeader::RT_TABLE_MAIN,
            protocol: RouteProtocol::Static,
            scope: match (destination, route.gateway) {
                (IpNet::V4(_), None) => RouteScope::Link,
                (IpNet::V4(_), Some(_)) | (IpNet::V6(_), _) => RouteScope::Universe,
            },
            kind: RouteType::Unicast,
            ..RouteHeader::default()
        };
        message
            .attributes
            .push(RouteAttribute::Destination(destination.addr().into()));
        message.attributes.extend(route.gateway.map(|gateway| {
            if gateway.is_ipv4() == destination.addr().is_ipv4() {
                RouteAttribute::Gateway(gateway.into())
            } else {
                RouteAttribute::Via(gateway.into())
            }
        }));
        if let Some(interface) = route.interface {
            message
                .attributes
                .push(RouteAttribute::Oif(self.interface_index(interface)?));
        }
        message
            .attributes
            .extend(route.metric.map(RouteAttribute::Priority));
        message.attributes.extend(
            route
                .mtu
                .map(|mtu| RouteAttribute::Metrics(vec![RouteMetric::Mtu(mtu)])),
        );
        Ok(message)
    }
}
