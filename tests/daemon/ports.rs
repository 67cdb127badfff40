//! Kinds of interfaces and queues, and interfaces that go down or away.

use crate::interfaces::add_west;
use crate::lab::{CLIENT, Lab, SERVER, SERVICE, embedded, eventually, net};
use crate::ping::{answers_within, ping, ping_from};
use relay::lab::{Namespace, Route, Vlan};
use std::time::Duration;

const INTERVAL: Duration = Duration::from_millis(2);

fn loss_free(lab: &Lab) -> bool {
    ping(&lab.client, SERVICE.into(), 50, INTERVAL).count == 50
        && ping(&lab.server, embedded(CLIENT).into(), 50, INTERVAL).count == 50
}

#[test]
fn several_queues_are_served_by_several_workers() {
    let Some(lab) = Lab::with_queues(2, 2) else {
        return;
    };
    let mut daemon = lab.start("");
    // Several addresses, so that the hosts use both of their queues.
    for last in 60..76 {
        let address = format!("203.0.113.{last}");
        lab.client
            .add_address("eth0", net(&format!("{address}/24")))
            .unwrap();
        let source = Some(address.parse().unwrap());
        assert_eq!(
            ping_from(&lab.client, source, SERVICE.into(), 20, INTERVAL).count,
            20,
            "{address}"
        );
    }
    assert!(loss_free(&lab));
    for queue in [
        "north: queue 0",
        "north: queue 1",
        "south: queue 0",
        "south: queue 1",
    ] {
        assert!(
            daemon.log().contains(&format!("{queue} served by worker")),
            "{}",
            daemon.log()
        );
    }
    daemon.stop().assert_balanced();
}

#[test]
fn unequal_numbers_of_queues_are_all_served() {
    let Some(lab) = Lab::bare() else { return };
    lab.add_north(3, 3);
    lab.add_south(1, 1);
    let mut daemon = lab.start("");
    assert!(loss_free(&lab));
    daemon.stop().assert_balanced();
}

#[test]
fn the_generic_mode_translates_too() {
    let Some(lab) = Lab::new() else { return };
    let mut daemon =
        lab.start("interfaces: [{ name: north, xdp: generic }, { name: south, xdp: generic }]");
    assert!(
        daemon.log().contains("attached in generic mode"),
        "{}",
        daemon.log()
    );
    assert!(loss_free(&lab));
    daemon.stop().assert_balanced();
    assert_eq!((lab.xdp("north"), lab.xdp("south")), (None, None));
}

#[test]
fn some_of_the_queues_can_be_chosen() {
    // The hosts have one queue, so everything arrives on queue 0.
    let Some(lab) = Lab::with_queues(2, 1) else {
        return;
    };
    let mut daemon =
        lab.start("interfaces: [{ name: north, queues: [0] }, { name: south, queues: [0] }]");
    assert!(loss_free(&lab));
    assert!(!daemon.log().contains("queue 1 served"), "{}", daemon.log());
    daemon.stop().assert_balanced();
}

#[test]
fn one_interface_can_be_both_sides() {
    let Some(lab) = Lab::bare() else { return };
    let gateway = &lab.server;
    lab.link(gateway, "only", 1, 1, 1520);
    // Both families on one wire, the far end being both client and server.
    for (host, interface, address) in [
        (gateway, "eth0", "203.0.113.50/24"),
        (gateway, "eth0", "2001:db8:12:34::1/64"),
        (&lab.relay, "only", "203.0.113.1/24"),
        (&lab.relay, "only", "2001:db8:12:34::fe/64"),
    ] {
        host.add_address(interface, net(address)).unwrap();
    }
    gateway
        .add_route(&Route::to(net("192.0.2.0/24")).via(crate::lab::NORTH.into()))
        .unwrap();
    gateway
        .add_route(&Route::to(net("2001:db8:46::/96")).via(crate::lab::SOUTH.into()))
        .unwrap();
    let mut daemon = lab.start("interfaces: [{ name: only }]");
    assert_eq!(ping(gateway, SERVICE.into(), 50, INTERVAL).count, 50);
    let counters = daemon.stop();
    counters.assert_balanced();
    assert_eq!(
        (
            counters.get("out_v4_to_v6_packets"),
            counters.get("out_v6_to_v4_packets")
        ),
        (50, 50)
    );
}

/// Puts a host behind tags on top of its `eth0`, and the relay's side likewise.
fn behind_tags(
    lab: &Lab,
    host: &Namespace,
    port: &str,
    tags: &[Vlan],
    addresses: (&str, &str),
) -> bool {
    for (namespace, bottom, address) in
        [(host, "eth0", addresses.0), (&lab.relay, port, addresses.1)]
    {
        let mut below = bottom.to_owned();
        for tag in tags {
            let name = format!("v{}", tag.id);
            if namespace.add_vlan(&below, &name, *tag).is_err() {
                println!("SKIPPED: this kernel has no VLAN interfaces");
                return false;
            }
            below = name;
        }
        namespace.add_address(&below, net(address)).unwrap();
    }
    true
}

fn translates_between_tags(north: &[Vlan], south: &[Vlan]) {
    let Some(lab) = Lab::bare() else { return };
    lab.link(&lab.client, "north", 1, 1, 1500);
    lab.link(&lab.server, "south", 1, 1, 1520);
    let there = behind_tags(
        &lab,
        &lab.client,
        "north",
        north,
        ("203.0.113.50/24", "203.0.113.1/24"),
    );
    let addresses = ("2001:db8:12:34::1/64", "2001:db8:12:34::fe/64");
    if !there || !behind_tags(&lab, &lab.server, "south", south, addresses) {
        return;
    }
    lab.client
        .add_route(&Route::to(net("0.0.0.0/0")).via(crate::lab::NORTH.into()))
        .unwrap();
    lab.server
        .add_route(&Route::to(net("::/0")).via(crate::lab::SOUTH.into()))
        .unwrap();
    let mut daemon = lab.start("");
    assert!(loss_free(&lab));
    let counters = daemon.stop();
    counters.assert_balanced();
    assert!(counters.get("transmitted_frames") > 150, "{counters:?}");
}

const CUSTOMER: Vlan = Vlan {
    id: 100,
    service: false,
};
const SERVICE_TAG: Vlan = Vlan {
    id: 7,
    service: true,
};

#[test]
fn tags_are_taken_off_and_put_on() {
    translates_between_tags(&[CUSTOMER], &[]);
    translates_between_tags(&[], &[CUSTOMER]);
    translates_between_tags(
        &[CUSTOMER],
        &[Vlan {
            id: 200,
            service: false,
        }],
    );
}

#[test]
fn two_tags_are_taken_off_and_put_on() {
    translates_between_tags(&[SERVICE_TAG, CUSTOMER], &[]);
    translates_between_tags(&[], &[SERVICE_TAG, CUSTOMER]);
}

#[test]
fn a_link_that_was_down_works_again() {
    let Some(lab) = Lab::new() else { return };
    let mut daemon = lab.start("");
    assert!(loss_free(&lab));
    for (port, host, route) in [
        (
            "north",
            &lab.client,
            Route::to(net("0.0.0.0/0")).via(crate::lab::NORTH.into()),
        ),
        (
            "south",
            &lab.server,
            Route::to(net("2001:db8:46::/96")).via(crate::lab::SOUTH.into()),
        ),
    ] {
        // The far end loses its carrier and keeps its configuration.
        lab.relay.set_down(port).unwrap();
        let from = if port == "north" {
            &lab.server
        } else {
            &lab.client
        };
        let to = if port == "north" {
            embedded(CLIENT).into()
        } else {
            SERVICE.into()
        };
        let before = daemon.processor_time();
        assert_eq!(ping(from, to, 200, Duration::from_millis(5)).count, 0);
        let used = daemon.processor_time() - before;
        assert!(
            used < Duration::from_millis(200),
            "{port} is down: {used:?} of processor time in 2 s"
        );
        lab.relay.set_up(port).unwrap();
        if port == "south" {
            // The kernel takes IPv6 addresses away with the link.
            lab.relay
                .add_address("south", net("2001:db8:12:34::fe/64"))
                .unwrap();
        }
        let _ = host.add_route(&route);
        assert!(
            answers_within(&lab.client, SERVICE.into(), Duration::from_secs(3)),
            "{port} is up again"
        );
        assert!(loss_free(&lab), "{port} is up again");
    }
    daemon.stop().assert_balanced();
}

#[test]
fn an_idle_relay_sleeps() {
    let Some(lab) = Lab::new() else { return };
    let mut daemon = lab.start("");
    let before = daemon.processor_time();
    std::thread::sleep(Duration::from_secs(2));
    let used = daemon.processor_time() - before;
    assert!(
        used <= Duration::from_millis(40),
        "{used:?} of processor time in 2 s"
    );
    daemon.stop();
}

#[test]
fn an_interface_that_is_removed_is_told_and_the_others_go_on() {
    let Some(lab) = Lab::new() else { return };
    let _west = add_west(&lab, 1, 1500);
    let mut daemon = lab.start("interfaces: [{ name: west }, { name: north }, { name: south }]");
    assert!(loss_free(&lab));
    std::thread::scope(|scope| {
        // Traffic that leaves by the interface at the moment of its end.
        scope.spawn(|| {
            ping(
                &lab.server,
                embedded("198.51.100.50".parse().unwrap()).into(),
                300,
                INTERVAL,
            )
        });
        std::thread::sleep(Duration::from_millis(200));
        lab.relay.delete_link("west").unwrap();
    });
    eventually("the log tells", Duration::from_secs(2), || {
        daemon.log().contains("west: the interface has gone")
    });
    let before = daemon.processor_time();
    std::thread::sleep(Duration::from_secs(2));
    let used = daemon.processor_time() - before;
    assert!(daemon.is_running(), "{}", daemon.log());
    assert!(
        used <= Duration::from_millis(100),
        "{used:?} of processor time in 2 s"
    );
    assert!(loss_free(&lab));
    assert_eq!(ping(&lab.relay, SERVER.into(), 1, INTERVAL).count, 1);
    daemon.stop().assert_balanced();
}

#[test]
fn a_new_hardware_address_of_the_relay_is_followed() {
    let Some(lab) = Lab::new() else { return };
    let mut daemon = lab.start("");
    assert!(loss_free(&lab));
    for port in ["north", "south"] {
        lab.relay.set_mac(port, [2, 0, 0, 0, 0, 0x42]).unwrap();
    }
    lab.client
        .delete_neighbour("eth0", crate::lab::NORTH.into())
        .unwrap();
    lab.server
        .delete_neighbour("eth0", crate::lab::SOUTH.into())
        .unwrap();
    assert!(answers_within(
        &lab.client,
        SERVICE.into(),
        Duration::from_secs(3)
    ));
    assert!(loss_free(&lab));
    daemon.stop().assert_balanced();
}
