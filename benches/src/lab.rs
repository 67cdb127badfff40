//! The laboratory: a tester and a device, each a network namespace, with a veth pair on either side of the device.
//!
//! | | tester | device | |
//! |---|---|---|---|
//! | north, IPv4 | 192.0.2.2 | 192.0.2.1 | clients 198.18.0.0/15 behind the tester (RFC 2544, C.2.2) |
//! | south, IPv6 | 2001:db8:5::2 | 2001:db8:5::1 | services 2001:db8:1::/96 behind the tester |
//!
//! For plain routers both families are on both sides. Neighbours are set for good, and the tester's kernel is kept silent.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use ipnet::{Ipv4Net, Ipv6Net};
use relay::lab::{LabError, Namespace, Route, VethEnd, veth_pair};

use crate::traffic::{Addresses, FCS, GROWTH, Mac, Traffic};

/// The first client, in IPv4.
const CLIENTS_V4: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 0);
/// The first service, in IPv4.
const SERVICES_V4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 0);
/// The first 96 bits of the clients, in IPv6: the translation prefix.
pub(crate) const PREFIX: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x46, 0, 0, 0, 0, 0);
/// The first 96 bits of the services, in IPv6.
const SERVICES_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0);
/// The services that a stream uses, if there are as many.
pub(crate) const SERVICES_IN_USE: u32 = 1024;
/// The most clients that fit.
pub(crate) const MAX_CLIENTS: u32 = 1 << 17;
/// The most services that fit.
pub(crate) const MAX_EAMS: u32 = 1 << 24;

/// The interfaces of tester and device towards the IPv4 network.
pub(crate) const NORTH: &str = "north";
/// The interfaces of tester and device towards the IPv6 network.
pub(crate) const SOUTH: &str = "south";
/// Room for full IPv4 packets after their translation; the same on both sides, for plain IPv6 routers.
const MTU: u32 = 1500 + GROWTH as u32;

const TESTER_NORTH: Mac = [2, 0, 0, 0, 0, 1];
const DEVICE_NORTH: Mac = [2, 0, 0, 0, 0, 2];
const DEVICE_SOUTH: Mac = [2, 0, 0, 0, 0, 3];
const TESTER_SOUTH: Mac = [2, 0, 0, 0, 0, 4];

/// Which way test frames go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Direction {
    /// In from the north as IPv4; out by the south as IPv6, if the device translates.
    V4ToV6,
    /// In from the south as IPv6; out by the north as IPv4, if the device translates.
    V6ToV4,
}

impl Direction {
    /// Both, in the order in which they are measured.
    pub(crate) const ALL: [Self; 2] = [Self::V4ToV6, Self::V6ToV4];

    /// The tester's interface that frames leave by.
    pub(crate) const fn sender(self) -> &'static str {
        match self {
            Self::V4ToV6 => NORTH,
            Self::V6ToV4 => SOUTH,
        }
    }

    /// The tester's interface that frames come back by, if they cross the device.
    pub(crate) const fn receiver(self) -> &'static str {
        match self {
            Self::V4ToV6 => SOUTH,
            Self::V6ToV4 => NORTH,
        }
    }
}

/// What a device does to packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Treatment {
    /// Translates between IPv4 and IPv6.
    Translates,
    /// Leaves the addresses as they are.
    Routes,
}

/// Both namespaces. Dropping it removes them; what runs inside has to be stopped before.
#[derive(Debug)]
pub(crate) struct Lab {
    /// Sends and receives.
    pub(crate) tester: Namespace,
    /// Whatever is measured runs here.
    pub(crate) device: Namespace,
}

impl Lab {
    /// Builds a laboratory under names that nobody else has.
    pub(crate) fn build() -> Result<Self, LabError> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let namespace =
            |part| Namespace::create(&format!("siit-bench-{}-{number}-{part}", process::id()));
        let (tester, device) = (namespace("tester")?, namespace("device")?);
        tester.sysctl("net/ipv6/conf/all/disable_ipv6", "1")?;
        for scope in ["all", "default"] {
            device.sysctl(&format!("net/ipv4/conf/{scope}/rp_filter"), "0")?;
        }
        for (port, tester_mac, device_mac) in [
            (NORTH, TESTER_NORTH, DEVICE_NORTH),
            (SOUTH, TESTER_SOUTH, DEVICE_SOUTH),
        ] {
            veth_pair(
                VethEnd::new(&tester, port).mac(tester_mac).mtu(MTU),
                VethEnd::new(&device, port).mac(device_mac).mtu(MTU),
            )?;
        }
        device.enable_forwarding()?;
        for (port, tester_mac, own_v4, own_v6) in [
            (NORTH, TESTER_NORTH, [192, 0, 2, 1], 4),
            (SOUTH, TESTER_SOUTH, [203, 0, 113, 1], 5),
        ] {
            let own_v4 = Ipv4Addr::from(own_v4);
            let own_v6 = Ipv6Addr::new(0x2001, 0xdb8, own_v6, 0, 0, 0, 0, 1);
            device.add_address(port, Ipv4Net::new_assert(own_v4, 24).into())?;
            device.add_address(port, Ipv6Net::new_assert(own_v6, 64).into())?;
            for neighbour in [tester_of(own_v4.into()), tester_of(own_v6.into())] {
                device.set_neighbour(port, neighbour, tester_mac)?;
            }
        }
        let v4 = |network, length, gateway: [u8; 4]| {
            Route::to(Ipv4Net::new_assert(network, length).into()).via(IpAddr::from(gateway))
        };
        device.add_route(&v4(CLIENTS_V4, 15, [192, 0, 2, 2]))?;
        device.add_route(&v6(SERVICES_V6, 5))?;
        Ok(Self { tester, device })
    }

    /// Adds the routes that only a plain router needs: IPv4 to the services, IPv6 to the clients.
    pub(crate) fn route_untranslated(&self) -> Result<(), LabError> {
        let services = Ipv4Net::new_assert(SERVICES_V4, 8);
        let gateway = IpAddr::from([203, 0, 113, 2]);
        self.device
            .add_route(&Route::to(services.into()).via(gateway))?;
        self.device.add_route(&v6(PREFIX, 4))
    }

    /// Sends what is to be translated to an interface of the device, as a translator behind a TUN interface needs it.
    pub(crate) fn route_to_interface(&self, interface: &str) -> Result<(), LabError> {
        let services = Ipv4Net::new_assert(SERVICES_V4, 8);
        let clients = Ipv6Net::new_assert(PREFIX, 96);
        self.device
            .add_route(&Route::to(services.into()).dev(interface))?;
        self.device
            .add_route(&Route::to(clients.into()).dev(interface))
    }
}

/// The tester's address in the network of a device's address.
fn tester_of(device: IpAddr) -> IpAddr {
    match device {
        IpAddr::V4(address) => Ipv4Addr::from_bits(address.to_bits() + 1).into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() + 1).into(),
    }
}

fn v6(network: Ipv6Addr, side: u16) -> Route<'static> {
    let gateway = Ipv6Addr::new(0x2001, 0xdb8, side, 0, 0, 0, 0, 2);
    Route::to(Ipv6Net::new_assert(network, 96).into()).via(gateway.into())
}

/// Returns the mapping with this number: a service's IPv4 and IPv6 addresses.
pub(crate) fn service(number: u32) -> (Ipv4Addr, Ipv6Addr) {
    let v4 = Ipv4Addr::from_bits(SERVICES_V4.to_bits() + number);
    (v4, embed(SERVICES_V6, v4))
}

fn embed(prefix: Ipv6Addr, address: Ipv4Addr) -> Ipv6Addr {
    Ipv6Addr::from_bits(prefix.to_bits() | u128::from(address.to_bits()))
}

/// Describes a stream in the laboratory.
///
/// `size` is that of the frames with IPv4, with the frame check sequence (RFC 2544, 9.1); with IPv6 they are 20 octets
/// longer (RFC 8219, 5.1.1). The services in use are spread over all of `eams`.
pub(crate) fn traffic(
    direction: Direction,
    treatment: Treatment,
    size: usize,
    clients: u32,
    eams: u32,
) -> Traffic {
    let in_use = eams.min(SERVICES_IN_USE);
    let services = |first: IpAddr| Addresses {
        first,
        stride: eams / in_use,
        count: in_use,
    };
    let clients = |first: IpAddr| Addresses {
        first,
        stride: 1,
        count: clients,
    };
    let clients_v6 = embed(PREFIX, CLIENTS_V4);
    let (service_v4, service_v6) = service(0);
    let v4 = (CLIENTS_V4.into(), service_v4.into());
    let v6 = (service_v6.into(), clients_v6.into());
    let ((source, destination), growth, macs, translated) = match direction {
        Direction::V4ToV6 => (
            (clients(v4.0), services(v4.1)),
            0,
            (TESTER_NORTH, DEVICE_NORTH),
            (v6.1, v6.0),
        ),
        Direction::V6ToV4 => (
            (services(v6.0), clients(v6.1)),
            GROWTH,
            (TESTER_SOUTH, DEVICE_SOUTH),
            (v4.1, v4.0),
        ),
    };
    let arriving = match treatment {
        Treatment::Translates => translated,
        Treatment::Routes => (source.first, destination.first),
    };
    Traffic {
        length: size - FCS + growth,
        source_mac: macs.0,
        destination_mac: macs.1,
        source,
        destination,
        arriving_source: arriving.0,
        arriving_destination: arriving.1,
    }
}
