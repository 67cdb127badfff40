//! A network around the relay: two ports, gateways, neighbours that are there and others that are not.
//!
//! | destination | way |
//! |---|---|
//! | `0.0.0.0/0` | a gateway behind `west` |
//! | `100.64.0.0/16` | the same one, with an MTU of 1280 octets |
//! | `198.18.0.0/24` | on the link of `west`; .2 and .3 are there |
//! | `198.18.64.0/24` | a gateway behind `east` |
//! | `198.18.65.0/24` | a gateway that does not answer |
//! | `198.18.66.0/24` | unreachable by an interface that is not the relay's |
//! | `198.18.7.7`, `198.18.64.9` | the machine itself |
//! | `::/0` | a gateway behind `east` |
//! | `2001:db8:cccc::/64` | on the link of `east`; ::1 and ::2 are there |
//! | `2001:db8:dddd::/64` | a gateway behind `east`, with an MTU of 1400 octets |
//! | `2001:db8:eeee::/64` | a gateway behind `west` |
//! | `2001:db8:ffff::/64` | a gateway that does not answer |
//! | `2001:db8:eeee::9` | the machine itself |

use ipnet::IpNet;
use relay::lab::{Namespace, Route, VethEnd, veth_pair};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};

/// The relay's ports, in their order.
pub(crate) const PORTS: [&str; 2] = ["west", "east"];
/// Their hardware addresses.
pub(crate) const MACS: [[u8; 6]; 2] = [[2, 0, 0, 0, 1, 1], [2, 0, 0, 0, 2, 1]];
/// The MTU of the ports, in octets.
pub(crate) const MTU: u32 = 1500;

/// The namespaces; they go with the value.
pub(crate) struct Lab {
    /// Where the relay is.
    pub(crate) relay: Namespace,
    _far: Namespace,
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

pub(crate) fn net(text: &str) -> IpNet {
    text.parse().expect("a prefix")
}

impl Lab {
    /// Builds the network, with or without the MTUs of routes, or skips the test if this user may not.
    pub(crate) fn new(with_route_mtus: bool) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            tests::skip("loading the XDP object and making network namespaces need root");
            return None;
        }
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let namespace = |part: &str| {
            let name = format!("equality-{part}-{number}-{}", std::process::id());
            Namespace::create(&name).unwrap_or_else(|error| panic!("{error}"))
        };
        let (relay, far) = (namespace("relay"), namespace("far"));
        for (name, mac) in PORTS.into_iter().zip(MACS) {
            let end = VethEnd::new(&relay, name).mac(mac).mtu(MTU);
            veth_pair(end, VethEnd::new(&far, name)).expect("a veth pair");
        }
        // Only one end is the relay's; routes through it lead nowhere that the program can send to.
        veth_pair(VethEnd::new(&relay, "other"), VethEnd::new(&far, "other")).expect("a veth pair");
        relay.enable_forwarding().expect("forwarding");
        for (interface, address) in [
            ("west", "198.18.0.1/24"),
            ("east", "198.18.1.1/24"),
            ("other", "198.18.2.1/24"),
            ("lo", "198.18.7.7/32"),
            ("lo", "198.18.64.9/32"),
            ("west", "2001:db8:1::1/64"),
            ("east", "2001:db8:2::1/64"),
            ("east", "2001:db8:cccc::fe/64"),
            ("lo", "2001:db8:eeee::9/128"),
            ("lo", "2001:db8:46::c000:2fe/128"),
            ("lo", "192.0.2.254/32"),
        ] {
            relay
                .add_address(interface, net(address))
                .unwrap_or_else(|error| panic!("{error}"));
        }
        for (number, (interface, address)) in (1..).zip([
            ("west", "198.18.0.2"),
            ("west", "198.18.0.3"),
            ("east", "198.18.1.2"),
            ("other", "198.18.2.2"),
            ("west", "2001:db8:1::2"),
            ("east", "2001:db8:2::2"),
            ("east", "2001:db8:2::3"),
            ("east", "2001:db8:cccc::1"),
            ("east", "2001:db8:cccc::2"),
        ]) {
            relay
                .set_neighbour(interface, ip(address), [2, 0, 0, 0, 9, number])
                .unwrap_or_else(|error| panic!("{error}"));
        }
        for (destination, gateway, mtu) in [
            ("0.0.0.0/0", "198.18.0.2", None),
            ("100.64.0.0/16", "198.18.0.2", Some(1280)),
            ("198.18.64.0/24", "198.18.1.2", None),
            ("198.18.65.0/24", "198.18.1.3", None),
            ("198.18.66.0/24", "198.18.2.2", None),
            ("::/0", "2001:db8:2::2", None),
            ("2001:db8:dddd::/64", "2001:db8:2::3", Some(1400)),
            ("2001:db8:eeee::/64", "2001:db8:1::2", None),
            ("2001:db8:ffff::/64", "2001:db8:2::4", None),
        ] {
            let route = Route::to(net(destination)).via(ip(gateway));
            let route = match mtu {
                Some(mtu) if with_route_mtus => route.mtu(mtu),
                Some(_) | None => route,
            };
            relay
                .add_route(&route)
                .unwrap_or_else(|error| panic!("{error}"));
        }
        Some(Self { relay, _far: far })
    }
}
