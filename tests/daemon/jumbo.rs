//! Packets that are longer than a chunk of memory: translated, split and refused like any other.

use crate::delivery::{octets, udp_socket};
use crate::lab::{CLIENT, Lab, SERVER, SERVICE, embedded};
use crate::ping::ping_of_length;

/// A lab whose links take 9000 octets of IPv4, and what these are after translation.
fn jumbo_lab() -> Option<Lab> {
    let lab = Lab::new()?;
    lab.set_mtu(9000, 9020);
    Some(lab)
}

/// Sends datagrams of so many octets there, and each one back.
fn echo_udp(lab: &Lab, lengths: &[u32]) {
    let server = udp_socket(&lab.server, SERVER.into());
    let client = udp_socket(&lab.client, CLIENT.into());
    client
        .connect((SERVICE, server.local_addr().unwrap().port()))
        .unwrap();
    for length in lengths {
        let request = octets(*length, *length);
        client.send(&request).unwrap();
        let mut buffer = [0; 10_000];
        let (received, from) = server.recv_from(&mut buffer).unwrap();
        assert!(buffer[..received] == request, "{length} octets there");
        server.send_to(&request, from).unwrap();
        let received = client.recv(&mut buffer).unwrap();
        assert!(buffer[..received] == request, "{length} octets back");
    }
}

#[test]
fn long_packets_cross_both_ways() {
    let Some(lab) = jumbo_lab() else { return };
    let mut daemon = lab.start("");
    // 8900 octets of IPv4, which must not be fragmented.
    assert_eq!(
        ping_of_length(&lab.client, SERVICE.into(), 8872, 5).count,
        5
    );
    let client = embedded(CLIENT).into();
    assert_eq!(ping_of_length(&lab.server, client, 8872, 5).count, 5);
    // Around the ends of chunks of 2048 and 4096 octets, and as long as fits.
    let lengths: Vec<u32> = (1720..1780)
        .chain(3770..3830)
        .chain([5000, 7600, 8000, 8972])
        .collect();
    echo_udp(&lab, &lengths);
    let counters = daemon.stop();
    counters.assert_balanced();
    assert_eq!(counters.sum("lost_"), 0, "{counters:?}");
}

#[test]
fn long_packets_are_split() {
    let Some(lab) = jumbo_lab() else { return };
    // Clients that do not set DF.
    lab.client.sysctl("net/ipv4/ip_no_pmtu_disc", "1").unwrap();
    // Into pieces that a chunk holds, and into such as are too long for one again.
    for more in ["", "translation: { lowest_ipv6_mtu: 5000 }"] {
        let mut daemon = lab.start(more);
        echo_udp(&lab, &[8000, 6000, 8972]);
        let counters = daemon.stop();
        counters.assert_balanced();
        assert_eq!(counters.get("split_packets"), 3, "{more}");
        assert_eq!(counters.sum("lost_"), 0, "{counters:?}");
    }
}

#[test]
fn an_mtu_may_be_raised_while_the_relay_runs() {
    let Some(lab) = Lab::new() else { return };
    let mut daemon = lab.start("");
    echo_udp(&lab, &[1000]);
    lab.set_mtu(9000, 9020);
    daemon.await_line("the MTU is 9020 octets");
    echo_udp(&lab, &[1000, 3000, 8000, 8972]);
    let counters = daemon.stop();
    counters.assert_balanced();
    assert_eq!(counters.sum("lost_"), 0, "{counters:?}");
}

#[test]
fn senders_of_long_packets_are_told_when_they_are_too_long() {
    let Some(lab) = Lab::new() else { return };
    lab.set_mtu(9000, 1520);
    let mut daemon = lab.start("");
    // The first is refused, and the client's kernel learns from that.
    assert!(ping_of_length(&lab.client, SERVICE.into(), 8872, 3).count < 3);
    let counters = daemon.stop();
    counters.assert_balanced();
    assert!(counters.get("reply_v4_to_v6_packets") > 0, "{counters:?}");
}
