//! Where paths lead on made-up links: several hops, dead ones, VLANs, MTUs; no privileges needed.

use std::collections::HashMap as Map;
use std::net::IpAddr;

use super::resolve::{compile, resolve};
use super::state::{Link, NextHop, VlanLink};
use super::tests::*;
use super::*;

#[test]
fn flows_spread_by_weight_and_stay_where_they_are() {
    let mut state = state();
    let heavy = NextHop {
        weight: 3,
        ..hop(ETH1, "198.51.100.1")
    };
    add(
        &mut state,
        MAIN,
        "0.0.0.0/0",
        forward(&[hop(ETH0, "192.0.2.1"), heavy]),
    );
    let routes = picture(&state);
    let mut counts: Map<u8, u32> = Map::new();
    for flow in 0..10_000 {
        let first = look_with(&routes, "8.8.8.8", flow).unwrap();
        *counts.entry(first).or_default() += 1;
        assert_eq!(look_with(&routes, "8.8.8.8", flow), Ok(first));
    }
    assert!((2300..2700).contains(&counts[&0x11]), "{counts:?}");
    assert_eq!(counts.values().sum::<u32>(), 10_000);
    // The ends of the range.
    for flow in [0, u32::MAX] {
        assert!(look_with(&routes, "8.8.8.8", flow).is_ok());
    }
}

#[test]
fn dead_hops_and_down_links_are_not_chosen() {
    for kill in 0..3 {
        let mut state = state();
        let dead = NextHop {
            dead: kill == 0,
            ..hop(ETH0, "192.0.2.1")
        };
        add(
            &mut state,
            MAIN,
            "0.0.0.0/0",
            forward(&[dead, hop(ETH1, "198.51.100.1")]),
        );
        add(&mut state, MAIN, "203.0.113.0/24", forward(&[dead]));
        let (up, lower_up) = (kill != 1, kill != 2);
        state.set_link(
            ETH0,
            Link {
                up,
                lower_up,
                ..link("eth0", 1)
            },
        );
        let routes = picture(&state);
        for flow in 0..1000 {
            assert_eq!(look_with(&routes, "8.8.8.8", flow), Ok(0x12));
        }
        assert_eq!(look(&routes, "203.0.113.1"), Err(KernelReason::LinkDown));
        assert_eq!(routes.find_v4([203, 0, 113, 1].into()).mtu(), None);
    }
}

#[test]
fn vlan_interfaces_lead_to_the_port_below_with_their_tags() {
    const STACK: [(u32, u16, u16, u32); 3] = [
        (10, 0x88a8, 7, ETH0),
        (11, 0x8100, 100, 10),
        (12, 0x8100, 200, 11),
    ];
    let mut state = state();
    for (index, tpid, vid, parent) in STACK {
        let vlan = Some(VlanLink { tpid, vid, parent });
        state.set_link(
            index,
            Link {
                mtu: 1400,
                vlan,
                ..link("vlan", index as u8)
            },
        );
        neighbour(&mut state, index, "192.0.2.1", 0x40);
        add(
            &mut state,
            MAIN,
            &format!("203.0.113.{index}/32"),
            forward(&[hop(index, "192.0.2.1")]),
        );
    }
    let routes = picture(&state);
    let hop_to = |last| routes.v4([203, 0, 113, last].into(), 0);
    let (outer, inner) = (
        Tag {
            tpid: 0x88a8,
            vid: 7,
        },
        Tag {
            tpid: 0x8100,
            vid: 100,
        },
    );
    let Hop::Direct(one) = hop_to(10) else {
        panic!()
    };
    assert_eq!(
        (one.port, one.tags, one.source, one.mtu),
        (0, Tags::One(outer), mac(10), 1400)
    );
    let Hop::Direct(two) = hop_to(11) else {
        panic!()
    };
    assert_eq!(
        (two.port, two.tags, two.source),
        (0, Tags::Two(outer, inner), mac(11))
    );
    assert_eq!(hop_to(12), Hop::Kernel(KernelReason::NotOurInterface));

    // A VLAN interface that is itself one of the relay's needs no tag.
    let routes = resolve(Arc::new(compile(&state)), &state, &[ETH0, 11]).0;
    let Hop::Direct(own) = routes.v4([203, 0, 113, 11].into(), 0) else {
        panic!()
    };
    assert_eq!((own.port, own.tags), (1, Tags::None));

    state.set_link(
        ETH0,
        Link {
            lower_up: false,
            ..link("eth0", 1)
        },
    );
    let routes = picture(&state);
    assert_eq!(look(&routes, "203.0.113.11"), Err(KernelReason::LinkDown));
}

#[test]
fn the_mtu_is_that_of_the_route_or_of_the_interface() {
    let mut state = state();
    let mut small = forward(&[hop(ETH0, "192.0.2.1")]);
    small.target.mtu = Some(1280);
    add(&mut state, MAIN, "203.0.113.0/24", small);
    add(
        &mut state,
        MAIN,
        "198.51.100.0/24",
        forward(&[on_link(ETH1)]),
    );
    // Also where the kernel does the sending.
    state.set_link(
        9,
        Link {
            mtu: 1420,
            ..link("wg0", 9)
        },
    );
    add(&mut state, MAIN, "10.0.0.0/8", forward(&[on_link(9)]));
    let routes = picture(&state);
    assert_eq!(routes.find_v4([203, 0, 113, 1].into()).mtu(), Some(1280));
    assert_eq!(routes.find_v4([198, 51, 100, 77].into()).mtu(), Some(1500));
    assert_eq!(routes.find_v4([10, 1, 1, 1].into()).mtu(), Some(1420));
    assert_eq!(routes.find_v4([8, 8, 8, 8].into()).mtu(), None);
    assert_eq!(routes.find_v6(Ipv6Addr::LOCALHOST).mtu(), None);
    let Hop::Direct(direct) = routes.v4([203, 0, 113, 1].into(), 0) else {
        panic!()
    };
    assert_eq!(direct.mtu, 1280);
}

#[test]
fn look_ups_mark_the_neighbours_they_come_upon() {
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
        forward(&[hop(ETH1, "198.51.100.99")]),
    );
    let (routes, neighbours) = resolve(Arc::new(compile(&state)), &state, &[ETH0, ETH1]);
    let marked = || -> Vec<IpAddr> {
        let marks = neighbours.iter().zip(routes.used.iter());
        marks
            .filter(|(_, used)| used.load(Ordering::Relaxed))
            .map(|((_, address), _)| *address)
            .collect()
    };
    assert!(marked().is_empty());
    assert_eq!(look(&routes, "8.8.8.8"), Ok(0x11));
    assert_eq!(marked(), ["192.0.2.1".parse::<IpAddr>().unwrap()]);
    // One that is missing has to be found out, even if the kernel itself would take another path.
    assert_eq!(look(&routes, "203.0.113.1"), Err(KernelReason::NoNeighbour));
    assert_eq!(marked().len(), 2);
}
