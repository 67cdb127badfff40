//! The mirror in namespaces with real routes and neighbours; needs root.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use rustix::net::sockopt::set_socket_recv_buffer_size;

use super::*;
use crate::driver::netlink::{Events, NetlinkError};
use crate::lab::tests::{namespace, privileged, vlan_support};
use crate::lab::{Namespace, Route, VethEnd, Vlan, veth_pair};

pub(super) const GATEWAYS: [(&str, &str, u8); 4] = [
    ("eth0", "192.0.2.2", 0x12),
    ("eth1", "198.51.100.2", 0x22),
    ("eth0", "2001:db8::2", 0x16),
    ("eth1", "2001:db8:1::2", 0x26),
];

/// A relay with two interfaces, a far end for each, and a mirror inside the relay.
pub(super) struct Lab {
    pub(super) relay: Namespace,
    far: Namespace,
    mirror: Mirror,
    ports: [u32; 2],
}

impl Lab {
    pub(super) fn new(test: &str) -> Option<Self> {
        if !privileged(test) {
            return None;
        }
        let (relay, far) = (
            namespace(&format!("{test}-relay")),
            namespace(&format!("{test}-far")),
        );
        for (near, remote, last) in [("eth0", "far0", 0x10), ("eth1", "far1", 0x20)] {
            veth_pair(
                VethEnd::new(&relay, near).mac([2, 0, 0, 0, 0, last + 1]),
                VethEnd::new(&far, remote).mac([2, 0, 0, 0, 0, last + 2]),
            )
            .unwrap();
        }
        for (interface, address) in [
            ("eth0", "192.0.2.1/24"),
            ("eth1", "198.51.100.1/24"),
            ("eth0", "2001:db8::1/64"),
            ("eth1", "2001:db8:1::1/64"),
        ] {
            relay
                .add_address(interface, address.parse().unwrap())
                .unwrap();
        }
        for (interface, address, last) in GATEWAYS {
            relay
                .set_neighbour(interface, address.parse().unwrap(), [2, 0, 0, 0, 0, last])
                .unwrap();
        }
        let mirror = relay.run_in(|| Mirror::open().unwrap()).unwrap();
        let ports = ["eth0", "eth1"].map(|name| relay.interface_index(name).unwrap());
        Some(Self {
            relay,
            far,
            mirror,
            ports,
        })
    }

    fn add(&self, destination: &str, gateway: &str) {
        let route = Route::to(destination.parse().unwrap()).via(gateway.parse().unwrap());
        self.relay.add_route(&route).unwrap();
    }

    pub(super) fn picture(&mut self) -> Routes {
        self.mirror.process_events().unwrap();
        self.mirror.snapshot(&self.ports)
    }

    /// Looks up until the answer is as expected; events take a moment.
    fn expect(&mut self, destination: &str, expected: Result<u8, KernelReason>) {
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            let found = look(&self.picture(), destination.parse().unwrap(), 0);
            if found == expected {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{destination}: {found:?}, not {expected:?}"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Runs `ip` for what the laboratory has no words for. Returns false when there is no such program.
    fn ip(&self, arguments: &str) -> bool {
        match self.relay.command("ip").args(arguments.split(' ')).status() {
            Ok(status) => {
                assert!(status.success(), "ip {arguments}");
                true
            }
            Err(error) => {
                assert!(
                    std::env::var_os("SIIT_RELAY_REQUIRE_ALL").is_none(),
                    "{error}"
                );
                println!("SKIPPED: {error}");
                false
            }
        }
    }
}

/// The last octet of the destination MAC address, or why the kernel has to.
pub(super) fn look(routes: &Routes, destination: IpAddr, flow: u32) -> Result<u8, KernelReason> {
    let hop = match destination {
        IpAddr::V4(destination) => routes.v4(destination, flow),
        IpAddr::V6(destination) => routes.v6(destination, flow),
    };
    match hop {
        Hop::Direct(direct) => Ok(direct.destination[5]),
        Hop::Kernel(reason) => Err(reason),
    }
}

#[test]
fn routes_come_and_go() {
    let Some(mut lab) = Lab::new("come-go") else {
        return;
    };
    lab.expect("203.0.113.1", Err(KernelReason::NoRoute));
    assert!(!lab.mirror.is_dirty());
    lab.add("203.0.113.0/24", "192.0.2.2");
    lab.add("2001:db8:9::/48", "2001:db8:1::2");
    lab.expect("203.0.113.1", Ok(0x12));
    lab.expect("2001:db8:9::1", Ok(0x26));
    lab.expect("192.0.2.1", Err(KernelReason::LocalAddress));
    lab.expect("2001:db8::1", Err(KernelReason::LocalAddress));
    lab.expect("192.0.2.2", Ok(0x12));
    lab.expect("192.0.2.3", Err(KernelReason::NoNeighbour));
    lab.relay
        .delete_route(&Route::to("203.0.113.0/24".parse().unwrap()))
        .unwrap();
    lab.relay
        .delete_route(&Route::to("2001:db8:9::/48".parse().unwrap()))
        .unwrap();
    lab.expect("203.0.113.1", Err(KernelReason::NoRoute));
    lab.expect("2001:db8:9::1", Err(KernelReason::NoRoute));
    let own: Vec<IpAddr> = lab.mirror.own_addresses().collect();
    for address in [
        "127.0.0.1",
        "192.0.2.1",
        "198.51.100.1",
        "2001:db8::1",
        "::1",
    ] {
        assert!(
            own.contains(&address.parse().unwrap()),
            "{address} in {own:?}"
        );
    }
    assert!(
        lab.mirror
            .addresses_of(lab.ports[1])
            .all(|address| address != own[0])
    );
}

#[test]
fn neighbours_change_their_mac_address() {
    let Some(mut lab) = Lab::new("neighbour") else {
        return;
    };
    lab.add("203.0.113.0/24", "192.0.2.2");
    lab.expect("203.0.113.1", Ok(0x12));
    lab.relay
        .set_neighbour("eth0", "192.0.2.2".parse().unwrap(), [2, 0, 0, 0, 0, 0x99])
        .unwrap();
    lab.expect("203.0.113.1", Ok(0x99));
    lab.relay
        .delete_neighbour("eth0", "192.0.2.2".parse().unwrap())
        .unwrap();
    lab.expect("203.0.113.1", Err(KernelReason::NoNeighbour));
}

#[test]
fn the_kernel_is_made_to_resolve_and_confirm_neighbours() {
    let Some(mut lab) = Lab::new("confirm") else {
        return;
    };
    lab.far
        .add_address("far0", "192.0.2.2/24".parse().unwrap())
        .unwrap();
    lab.far
        .add_address("far0", "2001:db8::2/64".parse().unwrap())
        .unwrap();
    for family in ["ipv4", "ipv6"] {
        let setting = format!("net/{family}/neigh/eth0/delay_first_probe_time");
        lab.relay.sysctl(&setting, "0").unwrap();
    }
    for (gateway, destination) in [
        ("192.0.2.2", "203.0.113.1"),
        ("2001:db8::2", "2001:db8:9::1"),
    ] {
        let (address, net): (IpAddr, IpAddr) =
            (gateway.parse().unwrap(), destination.parse().unwrap());
        lab.relay.delete_neighbour("eth0", address).unwrap();
        lab.add(&IpNet::from(net).to_string(), gateway);
        lab.expect(destination, Err(KernelReason::NoNeighbour));
        assert_eq!(lab.mirror.confirm_used_neighbours(), 1);
        lab.expect(destination, Ok(0x12));
        assert_eq!(lab.mirror.confirm_used_neighbours(), 0, "it is fresh");

        assert!(lab.ip(&format!(
            "neigh replace {gateway} dev eth0 lladdr 02:00:00:00:00:55 nud stale"
        )));
        lab.expect(destination, Ok(0x55));
        // The kernel probes under the address it has been told.
        lab.far.set_mac("far0", [2, 0, 0, 0, 0, 0x55]).unwrap();
        assert_eq!(lab.mirror.confirm_used_neighbours(), 1);
        let deadline = Instant::now() + Duration::from_secs(10);
        let key = (lab.ports[0], address);
        while lab
            .mirror
            .state
            .neighbours
            .get(&key)
            .is_none_or(|neighbour| neighbour.stale)
        {
            assert!(Instant::now() < deadline, "not confirmed");
            lab.mirror.process_events().unwrap();
            std::thread::sleep(Duration::from_millis(5));
        }
        lab.far.set_mac("far0", [2, 0, 0, 0, 0, 0x12]).unwrap();
    }
}

#[test]
fn interfaces_go_down_and_come_back() {
    let Some(mut lab) = Lab::new("down") else {
        return;
    };
    lab.add("203.0.113.0/24", "192.0.2.2");
    lab.expect("203.0.113.1", Ok(0x12));
    // Without carrier the route stays, and what was said of the neighbour too.
    lab.far.set_down("far0").unwrap();
    lab.expect("203.0.113.1", Err(KernelReason::LinkDown));
    lab.far.set_up("far0").unwrap();
    lab.relay
        .set_neighbour("eth0", "192.0.2.2".parse().unwrap(), [2, 0, 0, 0, 0, 0x12])
        .unwrap();
    lab.expect("203.0.113.1", Ok(0x12));
    // The kernel drops IPv4 routes of an interface that goes down, without a word.
    lab.relay.set_down("eth0").unwrap();
    lab.expect("203.0.113.1", Err(KernelReason::NoRoute));
    lab.relay.set_up("eth0").unwrap();
    lab.relay
        .set_neighbour("eth0", "192.0.2.2".parse().unwrap(), [2, 0, 0, 0, 0, 0x12])
        .unwrap();
    lab.add("203.0.113.0/24", "192.0.2.2");
    lab.expect("203.0.113.1", Ok(0x12));
    lab.relay.delete_link("eth0").unwrap();
    lab.expect("203.0.113.1", Err(KernelReason::NoRoute));
}

#[test]
fn several_hops_share_the_flows() {
    let Some(mut lab) = Lab::new("ecmp") else {
        return;
    };
    if !lab.ip(
        "route add 203.0.113.0/24 nexthop via 192.0.2.2 weight 1 nexthop via 198.51.100.2 weight 3",
    ) {
        return;
    }
    lab.ip("-6 route add 2001:db8:9::/48 nexthop via 2001:db8::2 nexthop via 2001:db8:1::2");
    let shares = |lab: &mut Lab, destination: &str| {
        let routes = lab.picture();
        let found = |flow| look(&routes, destination.parse().unwrap(), flow).unwrap();
        (0..4000_u32)
            .filter(|flow| found(*flow) & 0xf0 == 0x10)
            .count()
    };
    lab.expect("203.0.113.1", Ok(0x12));
    assert!((850..1150).contains(&shares(&mut lab, "203.0.113.1")));
    assert!((1800..2200).contains(&shares(&mut lab, "2001:db8:9::1")));
    // IPv6 takes hops away and adds them one by one.
    lab.ip("-6 route del 2001:db8:9::/48 via 2001:db8::2");
    lab.expect("2001:db8:9::1", Ok(0x26));
    assert_eq!(shares(&mut lab, "2001:db8:9::1"), 0);
    lab.ip("-6 route append 2001:db8:9::/48 via 2001:db8::2");
    assert!((1800..2200).contains(&shares(&mut lab, "2001:db8:9::1")));
    lab.ip("-6 route replace 2001:db8:9::/48 via 2001:db8::2");
    assert_eq!(shares(&mut lab, "2001:db8:9::1"), 4000);
    lab.far.set_down("far0").unwrap();
    lab.expect("2001:db8:9::1", Err(KernelReason::LinkDown));
    lab.expect("203.0.113.1", Ok(0x22));
    assert_eq!(shares(&mut lab, "203.0.113.1"), 0);
}

#[test]
fn special_routes_rules_and_nexthop_objects() {
    let Some(mut lab) = Lab::new("special") else {
        return;
    };
    if !lab.ip("route add blackhole 203.0.113.0/25") {
        return;
    }
    lab.ip("route add 203.0.113.128/25 via inet6 2001:db8::2 dev eth0 mtu 1300");
    lab.ip("-6 route add unreachable 2001:db8:9::/48");
    lab.ip("-6 route add 2001:db8:a::/48 from 2001:db8:b::/48 via 2001:db8::2");
    lab.ip("nexthop add id 7 via 198.51.100.2 dev eth1");
    lab.ip("route add 10.0.0.0/8 nhid 7");
    lab.ip("route add 11.0.0.0/8 encap ip id 5 dst 192.0.2.2 via 192.0.2.2");
    lab.expect("203.0.113.1", Err(KernelReason::SpecialRoute));
    lab.expect("203.0.113.129", Ok(0x16));
    assert_eq!(
        lab.picture().find_v4([203, 0, 113, 129].into()).mtu(),
        Some(1300)
    );
    lab.expect("2001:db8:9::1", Err(KernelReason::SpecialRoute));
    lab.expect("2001:db8:a::1", Err(KernelReason::SpecialRoute));
    lab.expect("10.1.1.1", Ok(0x22));
    lab.expect("11.1.1.1", Err(KernelReason::SpecialRoute));
    lab.ip("nexthop replace id 7 via 192.0.2.2 dev eth0");
    lab.expect("10.1.1.1", Ok(0x12));
    lab.ip("nexthop del id 7");
    lab.expect("10.1.1.1", Err(KernelReason::NoRoute));

    lab.ip("rule add from 192.0.2.0/24 lookup 77");
    lab.expect("203.0.113.129", Err(KernelReason::PolicyRules));
    lab.expect("2001:db8::2", Ok(0x16));
    lab.ip("rule del from 192.0.2.0/24 lookup 77");
    lab.expect("203.0.113.129", Ok(0x16));
}

#[test]
fn vlans_on_real_interfaces() {
    let Some(mut lab) = Lab::new("vlans") else {
        return;
    };
    if !vlan_support(&lab.relay, "eth0") {
        return;
    }
    lab.relay
        .add_vlan(
            "eth0",
            "eth0.100",
            Vlan {
                id: 100,
                service: false,
            },
        )
        .unwrap();
    lab.relay
        .add_address("eth0.100", "203.0.113.1/24".parse().unwrap())
        .unwrap();
    lab.relay
        .set_neighbour(
            "eth0.100",
            "203.0.113.2".parse().unwrap(),
            [2, 0, 0, 0, 0, 0x77],
        )
        .unwrap();
    lab.expect("203.0.113.2", Ok(0x77));
    let routes = lab.picture();
    let Hop::Direct(direct) = routes.v4([203, 0, 113, 2].into(), 0) else {
        panic!()
    };
    assert_eq!(
        (direct.port, direct.tags),
        (
            0,
            Tags::One(Tag {
                tpid: 0x8100,
                vid: 100
            })
        )
    );
}

#[test]
fn lost_events_mean_a_new_look_at_everything() {
    let Some(mut lab) = Lab::new("overrun") else {
        return;
    };
    let neighbours = 3;
    let mut witness = lab
        .relay
        .run_in(|| Events::subscribe(&[neighbours]).unwrap())
        .unwrap();
    set_socket_recv_buffer_size(&lab.mirror, 4096).unwrap();
    set_socket_recv_buffer_size(&witness, 4096).unwrap();
    for last in 0..50 {
        let mac = [2, 0, 0, 1, 0, last];
        lab.relay
            .set_neighbour("eth0", "192.0.2.77".parse().unwrap(), mac)
            .unwrap();
    }
    lab.relay
        .set_neighbour("eth0", "192.0.2.2".parse().unwrap(), [2, 0, 0, 0, 0, 0x66])
        .unwrap();
    // The witness gets the same events into as small a buffer.
    let overrun = std::iter::repeat_with(|| witness.receive(|_| ()))
        .find(|received| !matches!(received, Ok(true)));
    assert!(
        matches!(overrun, Some(Err(NetlinkError::Overrun))),
        "{overrun:?}"
    );
    lab.expect("192.0.2.2", Ok(0x66));
    lab.relay
        .set_neighbour("eth0", "192.0.2.2".parse().unwrap(), [2, 0, 0, 0, 0, 0x12])
        .unwrap();
    lab.add("203.0.113.0/24", "192.0.2.2");
    lab.expect("203.0.113.1", Ok(0x12));
}
