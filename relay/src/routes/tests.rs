//! Look-ups on made-up tables; no privileges needed.

use std::net::IpAddr;

use ipnet::IpNet;

use super::resolve::{compile, resolve};
use super::state::{Link, Neighbour, NextHop, Placement, Route, RouteKind, State, Target};
use super::*;

pub(super) const ETH0: u32 = 2;
pub(super) const ETH1: u32 = 3;
pub(super) const MAIN: usize = 1;

pub(super) fn mac(last: u8) -> [u8; 6] {
    [2, 0, 0, 0, 0, last]
}

pub(super) fn link(name: &str, last: u8) -> Link {
    Link {
        name: name.into(),
        mac: Some(mac(last)),
        mtu: 1500,
        up: true,
        lower_up: true,
        kind: None,
        vlan: None,
    }
}

pub(super) fn hop(link: u32, gateway: &str) -> NextHop {
    NextHop {
        link,
        gateway: Some(gateway.parse().unwrap()),
        weight: 1,
        dead: false,
    }
}

pub(super) fn on_link(link: u32) -> NextHop {
    NextHop {
        link,
        gateway: None,
        weight: 1,
        dead: false,
    }
}

fn target(kind: RouteKind, hops: &[NextHop]) -> Route {
    Route {
        metric: 0,
        selective: false,
        target: Target {
            kind,
            hops: hops.to_vec(),
            mtu: None,
        },
    }
}

pub(super) fn forward(hops: &[NextHop]) -> Route {
    target(RouteKind::Forward, hops)
}

/// Two ports, and a gateway on each for each family: 192.0.2.1 and 2001:db8::1 with MAC 0x11, 198.51.100.1 with 0x12.
pub(super) fn state() -> State {
    let mut state = State::default();
    state.v4.default_rules = true;
    state.v6.default_rules = true;
    state.set_link(ETH0, link("eth0", 1));
    state.set_link(ETH1, link("eth1", 2));
    neighbour(&mut state, ETH0, "192.0.2.1", 0x11);
    neighbour(&mut state, ETH0, "2001:db8::1", 0x11);
    neighbour(&mut state, ETH1, "198.51.100.1", 0x12);
    state
}

pub(super) fn neighbour(state: &mut State, link: u32, address: &str, last: u8) {
    state.set_neighbour(
        link,
        address.parse().unwrap(),
        Some(Neighbour {
            mac: mac(last),
            stale: false,
        }),
    );
}

pub(super) fn add(state: &mut State, table: usize, prefix: &str, route: Route) {
    match prefix.parse().unwrap() {
        IpNet::V4(prefix) => state.v4.insert(table, prefix, route, Placement::Last),
        IpNet::V6(prefix) => state.v6.insert(table, prefix, route, Placement::Last),
    };
}

pub(super) fn picture(state: &State) -> Routes {
    resolve(Arc::new(compile(state)), state, &[ETH0, ETH1]).0
}

pub(super) fn look(routes: &Routes, destination: &str) -> Result<u8, KernelReason> {
    look_with(routes, destination, 0)
}

/// The last octet of the destination MAC address, or why the kernel has to.
pub(super) fn look_with(routes: &Routes, destination: &str, flow: u32) -> Result<u8, KernelReason> {
    let hop = match destination.parse().unwrap() {
        IpAddr::V4(destination) => routes.v4(destination, flow),
        IpAddr::V6(destination) => routes.v6(destination, flow),
    };
    match hop {
        Hop::Direct(direct) => Ok(direct.destination[5]),
        Hop::Kernel(reason) => Err(reason),
    }
}

#[test]
fn the_longest_prefix_and_then_the_lowest_metric_decide() {
    let mut state = state();
    add(
        &mut state,
        MAIN,
        "0.0.0.0/0",
        forward(&[hop(ETH0, "192.0.2.1")]),
    );
    add(
        &mut state,
        MAIN,
        "203.0.113.0/24",
        Route {
            metric: 20,
            ..forward(&[hop(ETH0, "192.0.2.1")])
        },
    );
    add(
        &mut state,
        MAIN,
        "203.0.113.0/24",
        Route {
            metric: 10,
            ..forward(&[hop(ETH1, "198.51.100.1")])
        },
    );
    let routes = picture(&state);
    assert_eq!(look(&routes, "8.8.8.8"), Ok(0x11));
    assert_eq!(look(&routes, "203.0.113.9"), Ok(0x12));
    assert_eq!(look(&routes, "2001:db8:1::1"), Err(KernelReason::NoRoute));
    let Hop::Direct(direct) = routes.v4([203, 0, 113, 9].into(), 0) else {
        panic!()
    };
    assert_eq!(
        (direct.port, direct.tags, direct.source, direct.mtu),
        (1, Tags::None, mac(2), 1500)
    );
}

#[test]
fn the_first_table_with_a_match_decides_however_short_it_is() {
    const LOCAL: usize = 0;
    const DEFAULT: usize = 2;
    let mut state = state();
    add(
        &mut state,
        LOCAL,
        "192.0.2.7/32",
        target(RouteKind::Local, &[on_link(ETH0)]),
    );
    add(
        &mut state,
        LOCAL,
        "192.0.2.0/32",
        target(RouteKind::Special, &[on_link(ETH0)]),
    );
    add(
        &mut state,
        LOCAL,
        "10.0.0.0/8",
        target(RouteKind::Local, &[on_link(ETH0)]),
    );
    add(
        &mut state,
        MAIN,
        "10.1.0.0/16",
        forward(&[hop(ETH0, "192.0.2.1")]),
    );
    add(&mut state, MAIN, "192.0.2.0/24", forward(&[on_link(ETH0)]));
    add(
        &mut state,
        DEFAULT,
        "192.0.2.0/25",
        forward(&[hop(ETH1, "198.51.100.1")]),
    );
    add(
        &mut state,
        DEFAULT,
        "192.0.0.0/16",
        forward(&[hop(ETH1, "198.51.100.1")]),
    );
    let routes = picture(&state);
    assert_eq!(look(&routes, "192.0.2.7"), Err(KernelReason::LocalAddress));
    assert_eq!(look(&routes, "192.0.2.0"), Err(KernelReason::SpecialRoute));
    assert_eq!(look(&routes, "10.1.1.1"), Err(KernelReason::LocalAddress));
    assert_eq!(look(&routes, "192.0.2.1"), Ok(0x11));
    assert_eq!(look(&routes, "192.0.3.1"), Ok(0x12));
}

#[test]
fn on_link_destinations_are_their_own_neighbours() {
    let mut state = state();
    add(&mut state, MAIN, "192.0.2.0/24", forward(&[on_link(ETH0)]));
    add(&mut state, MAIN, "2001:db8::/64", forward(&[on_link(ETH0)]));
    neighbour(&mut state, ETH0, "192.0.2.9", 0x19);
    neighbour(&mut state, ETH0, "2001:db8::9", 0x69);
    // The same address behind another interface is somebody else.
    neighbour(&mut state, ETH1, "192.0.2.8", 0x18);
    let routes = picture(&state);
    assert_eq!(look(&routes, "192.0.2.9"), Ok(0x19));
    assert_eq!(look(&routes, "2001:db8::9"), Ok(0x69));
    assert_eq!(look(&routes, "192.0.2.8"), Err(KernelReason::NoNeighbour));
    assert_eq!(look(&routes, "2001:db8::8"), Err(KernelReason::NoNeighbour));
}

#[test]
fn what_the_kernel_alone_can_do_goes_there() {
    let mut state = state();
    add(
        &mut state,
        MAIN,
        "0.0.0.0/0",
        forward(&[hop(ETH0, "192.0.2.1")]),
    );
    add(
        &mut state,
        MAIN,
        "::/0",
        forward(&[hop(ETH0, "2001:db8::1")]),
    );
    add(
        &mut state,
        MAIN,
        "10.0.0.0/8",
        target(RouteKind::Special, &[]),
    );
    add(
        &mut state,
        MAIN,
        "11.0.0.0/8",
        Route {
            selective: true,
            ..forward(&[hop(ETH0, "192.0.2.1")])
        },
    );
    add(
        &mut state,
        MAIN,
        "12.0.0.0/8",
        forward(&[hop(77, "192.0.2.1")]),
    );
    // Two IPv6 routes of the same metric, as when two interfaces lie in one subnet.
    for interface in [ETH0, ETH1] {
        add(
            &mut state,
            MAIN,
            "2001:db8:5::/64",
            forward(&[on_link(interface)]),
        );
    }
    let routes = picture(&state);
    for destination in [
        "10.1.1.1",
        "11.1.1.1",
        "224.0.0.5",
        "255.255.255.255",
        "0.1.2.3",
    ] {
        assert_eq!(
            look(&routes, destination),
            Err(KernelReason::SpecialRoute),
            "{destination}"
        );
    }
    for destination in ["2001:db8:5::1", "ff02::1", "fe80::1", "::"] {
        assert_eq!(
            look(&routes, destination),
            Err(KernelReason::SpecialRoute),
            "{destination}"
        );
    }
    assert_eq!(
        look(&routes, "12.1.1.1"),
        Err(KernelReason::NotOurInterface)
    );
    assert_eq!(look(&routes, "2001:db8:6::1"), Ok(0x11));
}

#[test]
fn an_ipv4_route_may_have_an_ipv6_gateway() {
    let mut state = state();
    add(
        &mut state,
        MAIN,
        "203.0.113.0/24",
        forward(&[hop(ETH0, "2001:db8::1")]),
    );
    assert_eq!(look(&picture(&state), "203.0.113.1"), Ok(0x11));
}

#[test]
fn with_policy_rules_or_undecodable_routes_the_kernel_decides_everything_in_that_family() {
    let mut state = state();
    add(
        &mut state,
        MAIN,
        "0.0.0.0/0",
        forward(&[hop(ETH0, "192.0.2.1")]),
    );
    add(
        &mut state,
        MAIN,
        "::/0",
        forward(&[hop(ETH0, "2001:db8::1")]),
    );
    state.v4.default_rules = false;
    let routes = picture(&state);
    assert_eq!(look(&routes, "8.8.8.8"), Err(KernelReason::PolicyRules));
    assert_eq!(look(&routes, "2001:db8:9::1"), Ok(0x11));
    assert_eq!(routes.find_v4([8, 8, 8, 8].into()).mtu(), None);
    state.v6.undecodable = true;
    assert_eq!(
        look(&picture(&state), "2001:db8:9::1"),
        Err(KernelReason::NotUnderstood)
    );
}

#[test]
fn reasons_are_numbered_and_named_apart() {
    let names: std::collections::HashSet<_> = KernelReason::ALL
        .iter()
        .map(|reason| reason.name())
        .collect();
    assert_eq!(names.len(), KernelReason::ALL.len());
    for (position, reason) in KernelReason::ALL.iter().enumerate() {
        assert_eq!(*reason as usize, position);
    }
}
