//! What is not the relay's stays the kernel's, at any moment.

use crate::lab::{CLIENT, Lab, NORTH, SERVER, SOUTH, ip, net};
use crate::ping::ping;
use relay::lab::Route;
use std::time::Duration;

const INTERVAL: Duration = Duration::from_millis(2);
/// How long a change of the machine's addresses may take to be known everywhere.
const AT_ONCE: Duration = Duration::from_millis(200);

#[test]
fn native_ipv6_to_a_service_is_never_touched() {
    let Some(lab) = Lab::new() else { return };
    lab.client
        .add_address("eth0", net("2001:db8:99::50/64"))
        .unwrap();
    lab.relay
        .add_address("north", net("2001:db8:99::1/64"))
        .unwrap();
    lab.client
        .add_route(&Route::to(net("::/0")).via(ip("2001:db8:99::1")))
        .unwrap();
    lab.server
        .add_route(&Route::to(net("2001:db8:99::/64")).via(SOUTH.into()))
        .unwrap();
    let mut daemon = lab.start("");
    assert_eq!(ping(&lab.client, SERVER.into(), 50, INTERVAL).count, 50);
    assert_eq!(daemon.stop().get("received_frames"), 0);
}

#[test]
fn the_relays_own_addresses_answer() {
    let Some(lab) = Lab::new() else { return };
    let mut daemon = lab.start("");
    assert_eq!(ping(&lab.client, NORTH.into(), 20, INTERVAL).count, 20);
    assert_eq!(ping(&lab.server, SOUTH.into(), 20, INTERVAL).count, 20);
    // From the relay's side of the link too.
    assert_eq!(ping(&lab.relay, CLIENT.into(), 20, INTERVAL).count, 20);
    assert_eq!(ping(&lab.relay, SERVER.into(), 20, INTERVAL).count, 20);
    assert_eq!(daemon.stop().get("received_frames"), 0);
}

#[test]
fn an_own_address_inside_a_mapped_prefix_comes_and_goes() {
    let Some(lab) = Lab::new() else { return };
    // Mapped to and from 192.0.2.17.
    lab.server
        .add_address("eth0", net("2001:db8:12:34::11/128"))
        .unwrap();
    let mut daemon = lab.start("");
    let ttl = || ping(&lab.client, ip("192.0.2.17"), 1, INTERVAL).ttl;
    assert_eq!(ttl(), 63, "the server answers");
    lab.relay
        .add_address("north", net("192.0.2.17/32"))
        .unwrap();
    std::thread::sleep(AT_ONCE);
    assert_eq!(ttl(), 64, "the relay's kernel answers");
    lab.relay
        .delete_address("north", net("192.0.2.17/32"))
        .unwrap();
    std::thread::sleep(AT_ONCE);
    assert_eq!(ttl(), 63, "the server answers again");
    daemon.stop();
}

#[test]
fn an_own_address_under_the_translation_prefix_comes_and_goes() {
    let Some(lab) = Lab::new() else { return };
    let mut daemon = lab.start("");
    let address = ip("2001:db8:46::192.0.0.8");
    let answers = |count| ping(&lab.server, address, count, INTERVAL).count;
    assert_eq!(answers(1), 0);
    lab.relay
        .add_address("south", net("2001:db8:46::192.0.0.8/128"))
        .unwrap();
    std::thread::sleep(AT_ONCE);
    assert_eq!(answers(20), 20);
    lab.relay
        .delete_address("south", net("2001:db8:46::192.0.0.8/128"))
        .unwrap();
    std::thread::sleep(AT_ONCE);
    assert_eq!(answers(1), 0);
    daemon.stop();
}
