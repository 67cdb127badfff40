//! The picture compared with the kernel's own answers, for random routes and destinations; needs root.

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_route::route::{RouteAttribute, RouteMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::KernelReason;
use super::decode_route::WayOut;
use super::kernel_tests::{GATEWAYS, Lab, look};
use crate::driver::netlink::Connection;
use crate::lab::Route;

/// A small generator (xorshift), so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 16) % limit
    }

    /// An address that lies in one of few places, so that prefixes of all lengths nest.
    fn address(&mut self, v6: bool) -> IpAddr {
        let low = self.next() & self.next();
        if v6 {
            let high = 0x2001_0db8_4000_0000 | (low >> 40);
            IpAddr::from(((u128::from(high) << 64) | u128::from(low & self.next())).to_be_bytes())
        } else {
            IpAddr::from((0x0a00_0000 | (low as u32 & 0x00ff_ffff)).to_be_bytes())
        }
    }
}

/// What the kernel would do: the interface and next hop, or nothing.
fn ask_kernel(connection: &mut Connection, destination: IpAddr) -> Option<(u32, IpAddr)> {
    let mut message = RouteMessage::default();
    (
        message.header.address_family,
        message.header.destination_prefix_length,
    ) = match destination {
        IpAddr::V4(_) => (AddressFamily::Inet, 32),
        IpAddr::V6(_) => (AddressFamily::Inet6, 128),
    };
    message
        .attributes
        .push(RouteAttribute::Destination(destination.into()));
    let answer = connection
        .query(RouteNetlinkMessage::GetRoute(message))
        .ok()?;
    let RouteNetlinkMessage::NewRoute(route) = answer else {
        panic!("{answer:?}")
    };
    let way = WayOut::decode(&route.attributes);
    Some((way.link?, way.gateway.unwrap_or(destination)))
}

#[test]
fn random_destinations_go_where_the_kernel_sends_them() {
    const SEED: u64 = 0x5117_0001;
    let Some(mut lab) = Lab::new("random") else {
        return;
    };
    println!("seed {SEED:#x}");
    let mut random = Random(SEED);
    let mut connection = lab.relay.run_in(|| Connection::open().unwrap()).unwrap();
    let mut routes = Vec::new();
    for _ in 0..600 {
        let v6 = random.below(2) == 1;
        let length = if v6 {
            34 + random.below(95)
        } else {
            8 + random.below(25)
        };
        let destination = IpNet::new(random.address(v6), length as u8)
            .unwrap()
            .trunc();
        let (interface, gateway, _) = GATEWAYS[random.below(2) as usize + if v6 { 2 } else { 0 }];
        let route = Route::to(destination).metric(1 + random.below(3) as u32);
        let route = match random.below(4) {
            0 => route.dev(interface),
            _ => route.via(gateway.parse().unwrap()),
        };
        // The same prefix and metric twice is refused.
        if lab.relay.add_route(&route).is_ok() {
            routes.push(route);
        }
    }
    let mut direct = 0;
    for round in 0..4 {
        let picture = lab.picture();
        for case in 0..500 {
            let destination = random.address(case % 2 == 1);
            let kernel = ask_kernel(&mut connection, destination);
            let expected = kernel.and_then(|(link, hop)| {
                GATEWAYS.iter().find_map(|(interface, gateway, last)| {
                    let same = hop == gateway.parse::<IpAddr>().unwrap()
                        && link == lab.relay.interface_index(interface).unwrap();
                    same.then_some(*last)
                })
            });
            let found = look(&picture, destination, 0);
            assert_eq!(
                found.ok(),
                expected,
                "{destination}: {found:?}, the kernel: {kernel:?}, round {round}"
            );
            let absent = matches!(found, Err(KernelReason::NoRoute));
            assert_eq!(
                absent,
                kernel.is_none(),
                "{destination}: {found:?}, the kernel: {kernel:?}, round {round}"
            );
            direct += usize::from(found.is_ok());
        }
        // Half of what is left goes, so that events are compared too and not only the first dump.
        for _ in 0..routes.len() / 2 {
            let route = routes.swap_remove(random.below(routes.len() as u64) as usize);
            lab.relay.delete_route(&route).unwrap();
        }
    }
    assert!(direct > 500, "only {direct} destinations had a next hop");
}
