//! Starting, stopping and dying: what is left on the interfaces, and whether the next relay works.

use crate::lab::{Lab, SERVICE, net};
use crate::ping::{answers_within, ping};
use aya::programs::Xdp;
use aya::{Ebpf, EbpfLoader};
use eam_tables::layout;
use relay::driver::object::OBJECT;
use relay::driver::xdp_link::{self, Hook};
use relay::lab::Route;
use rustix::process::Signal;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

const INTERVAL: Duration = Duration::from_millis(2);

fn loss_free(lab: &Lab) -> bool {
    ping(&lab.client, SERVICE.into(), 20, INTERVAL).count == 20
}

/// A way for native traffic between the two hosts through the relay's kernel.
fn connect_natively(lab: &Lab) {
    lab.client
        .add_address("eth0", net("2001:db8:99::50/64"))
        .unwrap();
    lab.relay
        .add_address("north", net("2001:db8:99::1/64"))
        .unwrap();
    lab.client
        .add_route(&Route::to(net("::/0")).via(crate::lab::ip("2001:db8:99::1")))
        .unwrap();
    lab.server
        .add_route(&Route::to(net("2001:db8:99::/64")).via(crate::lab::SOUTH.into()))
        .unwrap();
}

fn stops_cleanly(signal: Signal) {
    let Some(lab) = Lab::new() else { return };
    connect_natively(&lab);
    let mut daemon = lab.start("");
    assert!(lab.xdp("north").is_some() && lab.xdp("south").is_some());
    assert!(loss_free(&lab));
    daemon.signal(signal);
    assert_eq!(daemon.wait().code(), Some(0), "{}", daemon.log());
    assert_eq!((lab.xdp("north"), lab.xdp("south")), (None, None));
    assert_eq!(
        ping(&lab.client, crate::lab::SERVER.into(), 20, INTERVAL).count,
        20
    );
    assert_eq!(
        ping(&lab.client, SERVICE.into(), 1, INTERVAL).count,
        0,
        "nobody translates"
    );
}

#[test]
fn sigterm_leaves_nothing_behind() {
    stops_cleanly(Signal::TERM);
}

#[test]
fn sigint_leaves_nothing_behind() {
    stops_cleanly(Signal::INT);
}

#[test]
fn a_relay_that_was_killed_is_replaced_within_three_seconds() {
    let Some(lab) = Lab::new() else { return };
    for _ in 0..3 {
        let mut daemon = lab.start("");
        assert!(loss_free(&lab));
        daemon.signal(Signal::KILL);
        daemon.wait();
        let died = Instant::now();
        let mut next = lab.start("");
        assert!(answers_within(
            &lab.client,
            SERVICE.into(),
            Duration::from_secs(3)
        ));
        assert!(
            died.elapsed() < Duration::from_secs(3),
            "{:?}",
            died.elapsed()
        );
        next.stop();
    }
}

/// Loads the relay's program under the name `name`, which has as many letters, and attaches it as a process would on a
/// kernel without BPF links: it stays when the loader is gone.
pub(crate) fn leave_attached(lab: &Lab, interface: &str, name: &str, hook: Hook) -> u32 {
    assert_eq!(name.len(), layout::PROGRAM.len());
    let mut object = OBJECT.to_vec();
    let positions: Vec<usize> = object
        .windows(name.len())
        .enumerate()
        .filter(|(_, part)| *part == layout::PROGRAM.as_bytes())
        .map(|(at, _)| at)
        .collect();
    for at in positions {
        object[at..at + name.len()].copy_from_slice(name.as_bytes());
    }
    let mut ebpf: Ebpf = EbpfLoader::new().load(&object).unwrap();
    let program: &mut Xdp = ebpf.program_mut(name).unwrap().try_into().unwrap();
    program.load().unwrap();
    let index = lab.relay.interface_index(interface).unwrap();
    let descriptor = program.fd().unwrap().as_fd();
    lab.relay
        .run_in(|| xdp_link::attach(index, descriptor, hook))
        .unwrap()
        .unwrap();
    drop(ebpf);
    lab.xdp(interface).expect("it stays")
}

#[test]
fn a_program_left_by_an_earlier_relay_is_replaced() {
    let Some(lab) = Lab::new() else { return };
    for hook in [Hook::Driver, Hook::Generic] {
        let left = leave_attached(&lab, "south", layout::PROGRAM, hook);
        let mut daemon = lab.start("");
        assert_ne!(lab.xdp("south"), Some(left));
        assert!(loss_free(&lab), "{hook:?}");
        daemon.stop();
        assert_eq!(lab.xdp("south"), None);
    }
}

#[test]
fn a_program_of_somebody_else_is_left_alone() {
    let Some(lab) = Lab::new() else { return };
    let theirs = leave_attached(&lab, "south", "other_prog", Hook::Driver);
    let mut daemon = lab.launch(&lab.configure(""));
    assert_eq!(daemon.wait().code(), Some(1), "{}", daemon.log());
    let log = daemon.log();
    let expected = format!("interface south: XDP program `other_prog` (id {theirs}) is attached");
    assert!(log.contains(&expected), "{log}");
    assert_eq!((lab.xdp("north"), lab.xdp("south")), (None, Some(theirs)));
}

#[test]
fn a_second_relay_on_the_same_interfaces_gives_up_and_harms_nobody() {
    let Some(lab) = Lab::new() else { return };
    let mut first = lab.start("");
    let programs = (lab.xdp("north"), lab.xdp("south"));
    let mut second = lab.launch(&lab.configure(""));
    assert_eq!(second.wait().code(), Some(1), "{}", second.log());
    assert!(second.log().contains("north queue 0"), "{}", second.log());
    assert_eq!((lab.xdp("north"), lab.xdp("south")), programs);
    assert!(loss_free(&lab));
    first.stop();
}
