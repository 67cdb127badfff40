//! What is counted for each mapping, against what was sent and received outside.

use crate::control::{ask, get, siit_relay};
use crate::lab::{CLIENT, Lab, SERVER, SERVICE, embedded, eventually};
use crate::stream::open;
use serde_json::{Value, json};
use std::fs;
use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

const PORT: u16 = 7;
/// A port that nobody listens on.
const CLOSED: u16 = 9;
/// Octets of a UDP header and what is sent behind it.
const UDP: u64 = 16;

/// Sends so many packets, and waits until they are all there.
fn send(from: &UdpSocket, to: IpAddr, at: &UdpSocket, count: usize) {
    let mut buffer = [0; 64];
    for number in 0..count {
        from.send_to(&number.to_be_bytes(), (to, PORT)).unwrap();
        at.recv_from(&mut buffer).unwrap();
    }
}

/// What the relay says of the mapping of a service: packets and octets from IPv4, then packets and octets from IPv6.
fn counters(lab: &Lab, service: &str) -> [u64; 4] {
    let answer = ask(lab, &format!("eam get {service}"));
    let counters = &answer["mapping"]["counters"];
    let number = |direction: &str, what: &str| counters[direction][what].as_u64().unwrap();
    [
        number("v4_to_v6", "packets"),
        number("v4_to_v6", "octets"),
        number("v6_to_v4", "packets"),
        number("v6_to_v4", "octets"),
    ]
}

fn counts_packets_and_octets(fast_path: &str) {
    let Some(lab) = Lab::new() else { return };
    let control = format!(
        "control: {{ socket: {:?}, metrics: '203.0.113.1:9469' }}",
        lab.socket()
    );
    let mut daemon = lab.start(&format!("fast_path: {fast_path}\n{control}"));
    daemon.await_line("metrics at");
    let client = open(&lab.client, CLIENT, PORT);
    let server = open(&lab.server, SERVER, PORT);
    let (to_service, to_client) = (SERVICE.into(), embedded(CLIENT).into());
    send(&client, to_service, &server, 40);
    send(&server, to_client, &client, 25);
    let expected = [40, 40 * (40 + UDP), 25, 25 * (20 + UDP)];
    assert_eq!(counters(&lab, "192.0.2.1"), expected);
    assert_eq!(counters(&lab, "2001:db8:12:34::1"), expected);
    assert_eq!(counters(&lab, "192.0.2.2"), [0; 4]);

    // An ICMP error is no plain packet: the server says that nobody listens.
    client.send_to(&[0; 8], (to_service, CLOSED)).unwrap();
    // The header of the error, and the packet that it quotes.
    let error = 20 + 8 + 20 + UDP;
    let expected = [41, 41 * (40 + UDP), 26, 25 * (20 + UDP) + error];
    let is_counted = || counters(&lab, "192.0.2.1") == expected;
    eventually("the error is counted", Duration::from_secs(2), is_counted);
    // The socket has been told of it.
    let _ = client.recv_from(&mut [0; 64]);

    // A mapping keeps its counts where it stands somewhere else in the files; what becomes of its address by another one is not
    // its own.
    let files = "eam:
  - { ipv4: 192.0.2.9, ipv6: '2001:db8:12:34::9' }
  - { ipv4: 192.0.2.2, ipv6: '2001:db8:12:34::22' }
  - { ipv4: 192.0.2.1, ipv6: '2001:db8:12:34::1', name: first }
";
    fs::write(lab.path("eam.yaml"), files).unwrap();
    for generation in 2..4 {
        assert_eq!(ask(&lab, "reload")["generation"], generation);
        assert_eq!(counters(&lab, "192.0.2.1"), expected);
    }
    send(&client, to_service, &server, 10);
    let expected = [51, 51 * (40 + UDP), expected[2], expected[3]];
    assert_eq!(counters(&lab, "192.0.2.1"), expected);
    // Long enough for the generations before to be forgotten.
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(counters(&lab, "192.0.2.1"), expected);

    let [packets, octets, ..] = expected;
    for path in ["/metrics", "/metrics/eam"] {
        let (_, text) = get(&lab, path);
        let labels = "{ipv4=\"192.0.2.1/32\",ipv6=\"2001:db8:12:34::1/128\",name=\"first\",direction=\"v4_to_v6\"}";
        for (name, number) in [("packets", packets), ("bytes", octets)] {
            let line = format!("siit_relay_eam_{name}_total{labels} {number}\n");
            assert!(text.contains(&line), "{line}{text}");
        }
    }
    let list = siit_relay(&lab, "eam list");
    let list = String::from_utf8(list.stdout).unwrap();
    let counted = format!("v4_to_v6 {packets} packets, {octets} octets");
    assert!(list.contains(&counted), "{list}");
    daemon.stop();
}

#[test]
fn the_xdp_program_counts_for_each_mapping() {
    counts_packets_and_octets("xdp");
}

#[test]
fn workers_count_for_each_mapping() {
    counts_packets_and_octets("af_xdp");
}

#[test]
fn counting_for_mappings_can_be_left_alone() {
    let Some(lab) = Lab::new() else { return };
    let mut daemon = lab.start("eam_counters: off");
    let client = open(&lab.client, CLIENT, PORT);
    let server = open(&lab.server, SERVER, PORT);
    send(&client, SERVICE.into(), &server, 5);
    let counters = |answer: Value| answer["mapping"]["counters"].clone();
    assert_eq!(counters(ask(&lab, "eam get 192.0.2.1")), Value::Null);
    // It begins with the reload that says so.
    let file = lab.path("relay.yaml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("eam_counters: off", "eam_counters: on")).unwrap();
    ask(&lab, "reload");
    send(&client, SERVICE.into(), &server, 3);
    let expected = json!({ "packets": 3, "octets": 3 * (40 + UDP) });
    let counted = counters(ask(&lab, "eam get 192.0.2.1"));
    assert_eq!(counted["v4_to_v6"], expected);
    daemon.stop();
}
