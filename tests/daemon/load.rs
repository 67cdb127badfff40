//! Under load: what cannot be sent is lost, and nothing else goes with it.

use crate::inject::{Injector, frame, ipv4, ipv6, udp};
use crate::lab::{CLIENT, Lab, SERVER, SERVICE, embedded};
use crate::ping::{answers_within, ping};
use std::time::{Duration, Instant};

/// Sends as much as it can from both sides for a while.
fn flood(lab: &Lab, length: usize, time: Duration) -> u64 {
    let payload = vec![0; length];
    let to = embedded(CLIENT);
    let there = udp(CLIENT.into(), SERVICE.into(), (9, 9), &payload);
    let back = udp(SERVER.into(), to.into(), (9, 9), &payload);
    let north = frame(
        lab.relay.mac("north").unwrap().unwrap(),
        0x0800,
        &ipv4(CLIENT, SERVICE, 17, &[], &there),
    );
    let south = frame(
        lab.relay.mac("south").unwrap().unwrap(),
        0x86dd,
        &ipv6(SERVER, to, 17, &back),
    );
    let deadline = Instant::now() + time;
    let send = |host, octets: Vec<u8>| {
        let mut injector = Injector::open(host, "eth0");
        let mut sent = 0;
        while Instant::now() < deadline {
            injector.send(std::iter::repeat_n(&octets, 640));
            sent += 640;
        }
        sent
    };
    std::thread::scope(|scope| {
        let there = scope.spawn(|| send(&lab.client, north));
        let back = scope.spawn(|| send(&lab.server, south));
        there.join().unwrap() + back.join().unwrap()
    })
}

#[test]
fn a_flood_leaves_no_frame_behind() {
    let Some(lab) = Lab::new() else { return };
    let mut daemon = lab.start("");
    // Ports that nobody listens on: without this each host would answer every packet.
    for host in [&lab.client, &lab.server] {
        host.sysctl("net/ipv4/icmp_ratelimit", "100000").unwrap();
    }
    let mut sent = 0;
    for length in [22, 1400] {
        assert!(answers_within(
            &lab.client,
            SERVICE.into(),
            Duration::from_secs(2)
        ));
        sent += flood(&lab, length, Duration::from_secs(2));
        // What was under way arrives.
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(
            ping(&lab.client, SERVICE.into(), 200, Duration::from_millis(2)).count,
            200
        );
    }
    assert!(sent > 200_000, "{sent} frames");
    let counters = daemon.stop();
    counters.assert_balanced();
    let became_of = counters.get("received_frames") + counters.get("xdp_forwarded");
    assert!(became_of > 100_000, "{counters:?}");
    println!("{sent} frames sent; {counters:?}");
}
