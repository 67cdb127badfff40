//! Reasons not to start: each is one line that says where and what.

use crate::lab::Lab;
use relay::lab::Vlan;

/// Starts a relay that cannot, and returns the last line it wrote.
fn refusal(lab: &Lab, more: &str) -> String {
    let mut daemon = lab.launch(&lab.configure(more));
    assert_eq!(daemon.wait().code(), Some(1), "{}", daemon.log());
    assert_eq!((lab.xdp("north"), lab.xdp("south")), (None, None));
    daemon.log().lines().last().unwrap_or_default().to_owned()
}

#[test]
fn an_absent_interface_is_named_with_its_place() {
    let Some(lab) = Lab::new() else { return };
    let line = refusal(&lab, "interfaces:\n  - { name: north }\n  - { name: west }");
    assert!(
        line.contains("relay.yaml:5:") && line.contains("interface `west` is not on this machine"),
        "{line}"
    );
}

#[test]
fn an_absent_queue_is_named() {
    let Some(lab) = Lab::new() else { return };
    let line = refusal(
        &lab,
        "interfaces: [{ name: north, queues: [0, 3] }, { name: south }]",
    );
    assert!(
        line.contains("interface `north`: it has no receive queue 3"),
        "{line}"
    );
}

#[test]
fn the_loopback_is_refused() {
    let Some(lab) = Lab::new() else { return };
    let line = refusal(&lab, "interfaces: [{ name: north }, { name: lo }]");
    assert!(line.contains("interface `lo`"), "{line}");
}

#[test]
fn a_vlan_interface_is_refused_in_favour_of_the_one_below() {
    let Some(lab) = Lab::new() else { return };
    let vlan = Vlan {
        id: 100,
        service: false,
    };
    if lab.relay.add_vlan("north", "north.100", vlan).is_err() {
        println!("SKIPPED: this kernel has no VLAN interfaces");
        return;
    }
    let line = refusal(&lab, "interfaces: [{ name: north.100 }, { name: south }]");
    assert!(
        line.contains("it is a VLAN interface; name the interface below it: `north`"),
        "{line}"
    );
}

#[test]
fn missing_capabilities_are_named() {
    let Some(lab) = Lab::new() else { return };
    let config = lab.configure("");
    for (kept, wanted) in [
        ("-all", "CAP_NET_ADMIN"),
        ("-all,+net_admin,+net_raw,+dac_override", "CAP_BPF"),
        ("-all,+bpf,+perfmon,+net_admin,+dac_override", "CAP_NET_RAW"),
    ] {
        let mut command = lab.relay.command("setpriv");
        command
            .args(["--bounding-set", kept, "--inh-caps", "-all"])
            .arg(tests::siit_relay());
        let mut daemon = crate::daemon::Daemon::launch(command, &config);
        assert_eq!(daemon.wait().code(), Some(1), "{kept}: {}", daemon.log());
        let log = daemon.log();
        assert!(
            log.lines().last().is_some_and(|line| line.contains(wanted)),
            "{kept}: {log}"
        );
    }
}
