use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use super::*;
use crate::driver::ethtool::Queues;

/// Returns whether namespaces can be made here; says so when not.
pub(crate) fn privileged(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        assert!(
            std::env::var_os("SIIT_RELAY_REQUIRE_ALL").is_none(),
            "{test} needs root"
        );
        println!("SKIPPED: {test} needs root");
    }
    root
}

/// Returns whether this kernel knows VLAN interfaces; says so when not, which no setting of the environment can cure.
pub(crate) fn vlan_support(namespace: &Namespace, port: &str) -> bool {
    let unsupported = rustix::io::Errno::OPNOTSUPP.raw_os_error();
    match namespace.add_vlan(
        port,
        "probe",
        Vlan {
            id: 1,
            service: false,
        },
    ) {
        Ok(()) => {
            namespace.delete_link("probe").unwrap();
            true
        }
        Err(LabError::Netlink { source, .. }) if source.os_error() == Some(unsupported) => {
            println!("SKIPPED: this kernel has no VLAN interfaces");
            false
        }
        Err(error) => panic!("{error}"),
    }
}

/// Makes a namespace whose name no other test uses.
pub(crate) fn namespace(part: &str) -> Namespace {
    Namespace::create(&format!("lab-{part}-{}", std::process::id())).unwrap()
}

fn pair(test: &str) -> Option<(Namespace, Namespace)> {
    if !privileged(test) {
        return None;
    }
    let (left, right) = (
        namespace(&format!("{test}-l")),
        namespace(&format!("{test}-r")),
    );
    veth_pair(
        VethEnd::new(&left, "eth0")
            .mac([2, 0, 0, 0, 0, 1])
            .queues(4),
        VethEnd::new(&right, "far0")
            .mac([2, 0, 0, 0, 0, 2])
            .queues(2),
    )
    .unwrap();
    left.add_address("eth0", "192.0.2.1/24".parse().unwrap())
        .unwrap();
    right
        .add_address("far0", "192.0.2.2/24".parse().unwrap())
        .unwrap();
    left.add_address("eth0", "2001:db8::1/64".parse().unwrap())
        .unwrap();
    right
        .add_address("far0", "2001:db8::2/64".parse().unwrap())
        .unwrap();
    Some((left, right))
}

/// Opens a connection from the left to an address on the right.
fn connects(left: &Namespace, right: &Namespace, address: IpAddr) -> bool {
    let listener = right
        .run_in(|| TcpListener::bind((address, 0)))
        .unwrap()
        .unwrap();
    let target = listener.local_addr().unwrap();
    left.run_in(|| TcpStream::connect_timeout(&target, Duration::from_millis(500)))
        .unwrap()
        .is_ok()
}

#[test]
fn a_namespace_is_named_and_is_gone_after_drop() {
    if !privileged("lab::namespace") {
        return;
    }
    let namespace = namespace("drop");
    let path = namespace.path();
    assert!(
        fs::read_to_string("/proc/self/mountinfo")
            .unwrap()
            .contains(path.to_str().unwrap())
    );
    let again = Namespace::create(namespace.name()).unwrap_err();
    assert!(again.to_string().contains(namespace.name()), "{again}");
    // The failed second attempt must not have removed the first one's file.
    assert!(path.exists());
    drop(namespace);
    assert!(!path.exists());
    assert!(
        !fs::read_to_string("/proc/self/mountinfo")
            .unwrap()
            .contains(path.to_str().unwrap())
    );
}

#[test]
fn a_kept_namespace_stays() {
    if !privileged("lab::keep") {
        return;
    }
    let namespace = namespace("keep");
    let path = namespace.path();
    namespace.keep();
    assert!(path.exists());
    remove(&path).unwrap();
    assert!(!path.exists());
}

#[test]
fn names_that_leave_the_directory_are_refused() {
    for name in ["", "..", "a/b", "."] {
        assert!(Namespace::create(name).is_err());
    }
}

#[test]
fn both_families_pass_between_the_ends() {
    let Some((left, right)) = pair("pass") else {
        return;
    };
    assert!(connects(&left, &right, "192.0.2.2".parse().unwrap()));
    assert!(connects(&left, &right, "2001:db8::2".parse().unwrap()));
    right
        .delete_address("far0", "192.0.2.2/24".parse().unwrap())
        .unwrap();
    right
        .add_address("far0", "192.0.2.3/24".parse().unwrap())
        .unwrap();
    assert!(connects(&left, &right, "192.0.2.3".parse().unwrap()));
}

#[test]
fn programs_run_inside() {
    let Some((left, _right)) = pair("program") else {
        return;
    };
    let output = left.command("cat").arg("/proc/net/dev").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("eth0:") && !text.contains("far0:"), "{text}");
    let error = left.command("no-such-program").status().unwrap_err();
    assert!(error.to_string().contains("no-such-program"), "{error}");
}

#[test]
fn interfaces_are_as_described() {
    let Some((left, right)) = pair("links") else {
        return;
    };
    assert_eq!(left.mac("eth0").unwrap(), Some([2, 0, 0, 0, 0, 1]));
    right.set_mac("far0", [2, 0, 0, 0, 0, 9]).unwrap();
    assert_eq!(right.mac("far0").unwrap(), Some([2, 0, 0, 0, 0, 9]));
    let (driver, queues) = left
        .run_in(|| {
            let ethtool = Ethtool::open().unwrap();
            (
                ethtool.driver("eth0").unwrap(),
                ethtool.queues("eth0").unwrap(),
            )
        })
        .unwrap();
    assert_eq!(driver, "veth");
    assert_eq!(
        queues,
        Queues {
            receive: 4,
            transmit: 4
        }
    );
    left.disable_transmit_checksum_offload("eth0").unwrap();
    left.set_mtu("eth0", 9000).unwrap();
    left.set_down("eth0").unwrap();
    left.delete_link("eth0").unwrap();
    let error = right.mac("far0").unwrap_err();
    assert!(error.to_string().contains("far0"), "{error}");
}

#[test]
fn vlans_stack_and_carry_traffic() {
    let Some((left, right)) = pair("vlan") else {
        return;
    };
    for (namespace, port, address) in [
        (&left, "eth0", "198.51.100.1/24"),
        (&right, "far0", "198.51.100.2/24"),
    ] {
        if !vlan_support(namespace, port) {
            return;
        }
        namespace
            .add_vlan(
                port,
                "s",
                Vlan {
                    id: 7,
                    service: true,
                },
            )
            .unwrap();
        namespace
            .add_vlan(
                "s",
                "c",
                Vlan {
                    id: 100,
                    service: false,
                },
            )
            .unwrap();
        namespace
            .add_address("c", address.parse().unwrap())
            .unwrap();
    }
    assert!(connects(&left, &right, "198.51.100.2".parse().unwrap()));
}

#[test]
fn routes_and_neighbours_lead_through_a_router() {
    let Some((left, router)) = pair("router") else {
        return;
    };
    let far = namespace("router-far");
    veth_pair(
        VethEnd::new(&router, "up0"),
        VethEnd::new(&far, "eth0").mac([2, 0, 0, 0, 0, 3]),
    )
    .unwrap();
    router
        .add_address("up0", "203.0.113.1/24".parse().unwrap())
        .unwrap();
    far.add_address("eth0", "203.0.113.2/24".parse().unwrap())
        .unwrap();
    router.enable_forwarding().unwrap();
    let back = Route::to("192.0.2.0/24".parse().unwrap()).via("203.0.113.1".parse().unwrap());
    far.add_route(&back).unwrap();
    let out = Route::to("203.0.113.0/24".parse().unwrap())
        .via("2001:db8::2".parse().unwrap())
        .dev("eth0")
        .metric(5);
    left.add_route(&out.mtu(1400)).unwrap();
    assert!(connects(&left, &far, "203.0.113.2".parse().unwrap()));

    router
        .set_neighbour("up0", "203.0.113.2".parse().unwrap(), [2, 0, 0, 0, 0, 0x99])
        .unwrap();
    assert!(!connects(&left, &far, "203.0.113.2".parse().unwrap()));
    router
        .delete_neighbour("up0", "203.0.113.2".parse().unwrap())
        .unwrap();
    assert!(connects(&left, &far, "203.0.113.2".parse().unwrap()));

    left.delete_route(&out).unwrap();
    let error = left.delete_route(&out).unwrap_err();
    assert!(error.to_string().contains("203.0.113.0/24"), "{error}");
}

#[test]
fn a_refusal_carries_the_words_of_the_kernel() {
    let Some((left, _right)) = pair("refusal") else {
        return;
    };
    let route = Route::to("203.0.113.0/24".parse().unwrap()).via("198.51.100.1".parse().unwrap());
    let text = left.add_route(&route).unwrap_err().to_string();
    assert!(
        text.contains("203.0.113.0/24") && text.contains("gateway"),
        "{text}"
    );
}

#[test]
fn settings_and_sockets_belong_to_the_namespace() {
    let Some((left, right)) = pair("setting") else {
        return;
    };
    left.sysctl("net/ipv4/ip_forward", "1").unwrap();
    let read = |namespace: &Namespace| {
        namespace
            .run_in(|| fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap())
            .unwrap()
    };
    assert_eq!((read(&left).trim(), read(&right).trim()), ("1", "0"));
    let socket = right.run_in(|| UdpSocket::bind("192.0.2.2:0")).unwrap();
    assert!(socket.is_ok());
    let error = left.sysctl("net/ipv4/no_such_setting", "1").unwrap_err();
    assert!(error.to_string().contains("no_such_setting"), "{error}");
}

#[test]
fn the_current_namespace_is_the_one_that_the_thread_is_in() {
    let Some((left, _right)) = pair("current") else {
        return;
    };
    let neighbour: IpAddr = "192.0.2.9".parse().unwrap();
    let mac = [2, 0, 0, 0, 0, 0x99];
    left.run_in(|| {
        let here = Namespace::current().unwrap();
        assert_eq!(
            here.interface_index("eth0").unwrap(),
            left.interface_index("eth0").unwrap()
        );
        assert_eq!(here.neighbour("eth0", neighbour).unwrap(), None);
        here.set_neighbour("eth0", neighbour, mac).unwrap();
    })
    .unwrap();
    // The value is gone and the namespace is not.
    assert_eq!(left.neighbour("eth0", neighbour).unwrap(), Some(mac));
}
