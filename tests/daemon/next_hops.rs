//! Next hops as the kernel has them: neighbours unknown, moved or behind gateways, routes that come and go.

use crate::lab::{CLIENT, Lab, NORTH, SERVER, SERVICE, SOUTH, embedded, ip, net, received_packets};
use crate::ping::{answers_within, ping, ping_from};
use relay::lab::{Namespace, Route, VethEnd, veth_pair};
use std::time::Duration;

const INTERVAL: Duration = Duration::from_millis(2);

#[test]
fn no_packet_is_lost_for_want_of_a_neighbour() {
    let Some(lab) = Lab::new() else { return };
    let mut daemon = lab.start("");
    for _ in 0..10 {
        // The far ends forget as well, so that their questions do not answer the relay's.
        for (host, interface, neighbour) in [
            (&lab.relay, "north", CLIENT.into()),
            (&lab.relay, "south", SERVER.into()),
            (&lab.client, "eth0", NORTH.into()),
            (&lab.server, "eth0", SOUTH.into()),
        ] {
            // It may not be there the first time.
            let _ = host.delete_neighbour(interface, neighbour);
        }
        assert_eq!(ping(&lab.client, SERVICE.into(), 20, INTERVAL).count, 20);
        let _ = lab.relay.delete_neighbour("north", CLIENT.into());
        assert_eq!(
            ping(&lab.server, embedded(CLIENT).into(), 20, INTERVAL).count,
            20
        );
    }
    let counters = daemon.stop();
    counters.assert_balanced();
    assert!(counters.get("kernel_no_neighbour") > 0, "{counters:?}");
    assert!(counters.sent() > 400, "{counters:?}");
}

#[test]
fn neighbours_that_move_to_another_hardware_address_are_found_again() {
    let Some(lab) = Lab::new() else { return };
    // As hosts do that take over an address: they announce it.
    lab.client
        .sysctl("net/ipv4/conf/eth0/arp_notify", "1")
        .unwrap();
    lab.server
        .sysctl("net/ipv6/conf/eth0/ndisc_notify", "1")
        .unwrap();
    let mut daemon = lab.start("");
    assert_eq!(ping(&lab.client, SERVICE.into(), 20, INTERVAL).count, 20);
    for (host, mac) in [
        (&lab.client, [2, 0, 0, 0, 1, 1]),
        (&lab.server, [2, 0, 0, 0, 2, 2]),
    ] {
        std::thread::scope(|scope| {
            let pings =
                scope.spawn(|| ping(&lab.client, SERVICE.into(), 400, Duration::from_millis(10)));
            // The kernel believes no change within a second of the last.
            std::thread::sleep(Duration::from_millis(1500));
            host.set_mac("eth0", mac).unwrap();
            let answers = pings.join().unwrap();
            assert!(answers.gap < 100, "{answers:?}");
        });
        assert_eq!(ping(&lab.client, SERVICE.into(), 20, INTERVAL).count, 20);
    }
    daemon.stop().assert_balanced();
}

#[test]
fn a_neighbour_that_is_not_there_does_not_disturb_the_others() {
    let Some(lab) = Lab::new() else { return };
    let mut daemon = lab.start("");
    std::thread::scope(|scope| {
        // 192.0.2.2 is mapped, and nobody has the address.
        scope.spawn(|| ping(&lab.client, ip("192.0.2.2"), 500, INTERVAL));
        assert_eq!(ping(&lab.client, SERVICE.into(), 400, INTERVAL).count, 400);
    });
    daemon.stop().assert_balanced();
}

/// A server behind two routers, which are reached by two interfaces of the relay.
struct Routers {
    lab: Lab,
    routers: [Namespace; 2],
}

impl Routers {
    const PORTS: [&str; 2] = ["south", "south2"];

    fn new() -> Option<Self> {
        let lab = Lab::bare()?;
        lab.add_north(1, 1);
        lab.server
            .add_address("lo", net("2001:db8:12:34::1/128"))
            .unwrap();
        let routers = [lab.namespace("router-a"), lab.namespace("router-b")];
        for (number, (router, port)) in routers.iter().zip(Self::PORTS).enumerate() {
            router.enable_forwarding().unwrap();
            lab.link(router, port, 1, 1, 1520);
            let down = format!("down{number}");
            veth_pair(
                VethEnd::new(router, "down").mtu(1520),
                VethEnd::new(&lab.server, &down).mtu(1520),
            )
            .unwrap();
            lab.server.disable_transmit_checksum_offload(&down).unwrap();
            lab.relay
                .add_address(port, net(&format!("2001:db8:{number}::fe/64")))
                .unwrap();
            router
                .add_address("eth0", net(&format!("2001:db8:{number}::1/64")))
                .unwrap();
            router
                .add_address("down", net(&format!("2001:db8:a{number}::1/64")))
                .unwrap();
            lab.server
                .add_address(&down, net(&format!("2001:db8:a{number}::2/64")))
                .unwrap();
            let way_back = Route::to(net("2001:db8:46::/96"));
            router
                .add_route(&way_back.via(ip(&format!("2001:db8:{number}::fe"))))
                .unwrap();
            let service = Route::to(net("2001:db8:12:34::1/128"));
            router
                .add_route(&service.via(ip(&format!("2001:db8:a{number}::2"))))
                .unwrap();
            let metric = number as u32 + 1;
            lab.server
                .add_route(
                    &way_back
                        .via(ip(&format!("2001:db8:a{number}::1")))
                        .metric(metric),
                )
                .unwrap();
        }
        Some(Self { lab, routers })
    }

    fn start(&self) -> crate::daemon::Daemon {
        self.lab
            .start("interfaces: [{ name: north }, { name: south }, { name: south2 }]")
    }

    /// Returns how many packets each router got from the relay while `work` ran.
    fn received(&self, work: impl FnOnce()) -> [u64; 2] {
        let count = || {
            self.routers
                .each_ref()
                .map(|router| received_packets(router, "eth0"))
        };
        let before = count();
        work();
        let after = count();
        [after[0] - before[0], after[1] - before[1]]
    }
}

#[test]
fn more_specific_routes_come_and_go_under_traffic() {
    let Some(network) = Routers::new() else {
        return;
    };
    let relay = &network.lab.relay;
    relay
        .add_route(&Route::to(net("2001:db8:12::/48")).via(ip("2001:db8:0::1")))
        .unwrap();
    let mut daemon = network.start();
    let pings = |count| ping(&network.lab.client, SERVICE.into(), count, INTERVAL);
    assert_eq!(pings(20).count, 20);
    let specific = Route::to(net("2001:db8:12:34::/64")).via(ip("2001:db8:1::1"));
    std::thread::scope(|scope| {
        let running = scope.spawn(|| pings(600));
        for _ in 0..4 {
            std::thread::sleep(Duration::from_millis(150));
            relay.add_route(&specific).unwrap();
            std::thread::sleep(Duration::from_millis(150));
            relay.delete_route(&specific).unwrap();
        }
        assert_eq!(running.join().unwrap().count, 600);
    });
    let [first, second] = network.received(|| assert_eq!(pings(100).count, 100));
    assert!(
        first >= 100 && second < 20,
        "without the route: {first}, {second}"
    );
    relay.add_route(&specific).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    // The way back leads through the first router.
    let [first, second] = network.received(|| assert_eq!(pings(100).count, 100));
    assert!(
        first < 20 && second >= 100,
        "with the route: {first}, {second}"
    );
    daemon.stop().assert_balanced();
}

#[test]
fn a_default_route_is_enough() {
    let Some(network) = Routers::new() else {
        return;
    };
    network
        .lab
        .relay
        .add_route(&Route::to(net("::/0")).via(ip("2001:db8:1::1")))
        .unwrap();
    let mut daemon = network.start();
    assert_eq!(
        ping(&network.lab.client, SERVICE.into(), 100, INTERVAL).count,
        100
    );
    let counters = daemon.stop();
    counters.assert_balanced();
    assert!(counters.sent() >= 150, "{counters:?}");
}

#[test]
fn equal_gateways_are_both_used_and_flows_keep_theirs() {
    let Some(network) = Routers::new() else {
        return;
    };
    let lab = &network.lab;
    lab.relay_ip(
        "-6 route add 2001:db8:12::/48 nexthop via 2001:db8:0::1 nexthop via 2001:db8:1::1",
    );
    let mut daemon = network.start();
    for router in ["2001:db8:0::1", "2001:db8:1::1"] {
        // Until a neighbour is known the kernel chooses, by a hash of its own.
        assert_eq!(ping(&lab.relay, ip(router), 1, INTERVAL).count, 1);
    }
    std::thread::sleep(Duration::from_millis(100));
    let mut used = [0; 2];
    for last in 60..76 {
        let address = format!("203.0.113.{last}");
        lab.client
            .add_address("eth0", net(&format!("{address}/24")))
            .unwrap();
        let source = Some(address.parse().unwrap());
        let received = network.received(|| {
            let answers = ping_from(&lab.client, source, SERVICE.into(), 50, INTERVAL);
            assert_eq!(answers.count, 50, "{address}");
        });
        let taken = received.map(|count| count >= 50);
        assert_ne!(taken[0], taken[1], "{address} takes one way: {received:?}");
        // Neighbour Discovery passes by either way.
        assert!(
            received.into_iter().min().unwrap() < 20,
            "{address} takes one way: {received:?}"
        );
        used[usize::from(taken[1])] += 1;
    }
    assert!(used.iter().all(|flows| *flows >= 3), "{used:?}");
    daemon.stop().assert_balanced();
}

#[test]
fn a_client_behind_a_gateway_is_reached() {
    let Some(lab) = Lab::new() else { return };
    let far = lab.namespace("far");
    lab.client.enable_forwarding().unwrap();
    veth_pair(
        VethEnd::new(&lab.client, "down"),
        VethEnd::new(&far, "eth0"),
    )
    .unwrap();
    far.disable_transmit_checksum_offload("eth0").unwrap();
    lab.client
        .add_address("down", net("198.51.100.1/24"))
        .unwrap();
    far.add_address("eth0", net("198.51.100.50/24")).unwrap();
    far.add_route(&Route::to(net("0.0.0.0/0")).via(ip("198.51.100.1")))
        .unwrap();
    lab.relay
        .add_route(&Route::to(net("0.0.0.0/0")).via(CLIENT.into()))
        .unwrap();
    let mut daemon = lab.start("");
    assert!(answers_within(&far, SERVICE.into(), Duration::from_secs(2)));
    let answers = ping(&far, SERVICE.into(), 100, INTERVAL);
    assert_eq!((answers.count, answers.ttl), (100, 62));
    daemon.stop().assert_balanced();
}

#[test]
fn services_reach_each_other_by_their_ipv4_addresses() {
    let Some(lab) = Lab::new() else { return };
    let other = lab.namespace("other");
    lab.link(&other, "south2", 1, 1, 1520);
    other.add_address("eth0", net("2001:db8:2::2/64")).unwrap();
    other
        .add_address("lo", net("2001:db8:12:34::2/128"))
        .unwrap();
    lab.relay
        .add_address("south2", net("2001:db8:2::fe/64"))
        .unwrap();
    lab.relay
        .add_route(&Route::to(net("2001:db8:12:34::2/128")).via(ip("2001:db8:2::2")))
        .unwrap();
    other
        .add_route(&Route::to(net("2001:db8:46::/96")).via(ip("2001:db8:2::fe")))
        .unwrap();
    let mut daemon = lab.start("interfaces: [{ name: north }, { name: south }, { name: south2 }]");

    // What a service sends to another comes from that service's side as from the IPv4 Internet (RFC 7757, 4).
    let server = crate::delivery::udp_socket(&other, ip("2001:db8:12:34::2"));
    let client = crate::delivery::udp_socket(&lab.server, SERVER.into());
    let port = server.local_addr().unwrap().port();
    client
        .send_to(b"there", (embedded("192.0.2.2".parse().unwrap()), port))
        .unwrap();
    let mut buffer = [0; 64];
    let (length, from) = server.recv_from(&mut buffer).unwrap();
    assert_eq!(
        (&buffer[..length], from.ip()),
        (&b"there"[..], embedded(SERVICE).into())
    );
    server.send_to(b"back", from).unwrap();
    let (length, from) = client.recv_from(&mut buffer).unwrap();
    assert_eq!(
        (&buffer[..length], from.ip()),
        (&b"back"[..], embedded("192.0.2.2".parse().unwrap()).into())
    );

    let source = Some(SERVER.into());
    let to = embedded("192.0.2.2".parse().unwrap()).into();
    assert_eq!(ping_from(&lab.server, source, to, 50, INTERVAL).count, 50);
    let counters = daemon.stop();
    counters.assert_balanced();
    assert_eq!(counters.get("hairpin_packets"), 102);
}
