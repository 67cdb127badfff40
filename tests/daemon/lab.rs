//! The namespaces, their addresses and routes, and the relay's files.

use crate::daemon::Daemon;
use ipnet::IpNet;
use relay::driver::xdp_link;
use relay::lab::{Namespace, Route, VethEnd, veth_pair};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub(crate) const CLIENT: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 50);
pub(crate) const NORTH: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
pub(crate) const SERVICE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub(crate) const SERVER: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x12, 0x34, 0, 0, 0, 1);
pub(crate) const SOUTH: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x12, 0x34, 0, 0, 0, 0xfe);
/// Long enough for 1500 octets of IPv4 after translation.
const SOUTH_MTU: u32 = 1520;

const CONFIG: &str = "prefix: 2001:db8:46::/96\neam: eam.yaml\n";
const INTERFACES: &str = "interfaces: [{ name: north }, { name: south }]\n";
const MAPPINGS: &str = "eam:
  - { ipv4: 192.0.2.1, ipv6: '2001:db8:12:34::1' }
  - { ipv4: 192.0.2.2, ipv6: '2001:db8:12:34::2' }
  - { ipv4: 192.0.2.16/28, ipv6: '2001:db8:12:34::10/124' }
";

/// Returns the address by which the IPv6 side knows an IPv4 host.
pub(crate) fn embedded(address: Ipv4Addr) -> Ipv6Addr {
    let prefix = Ipv6Addr::new(0x2001, 0xdb8, 0x46, 0, 0, 0, 0, 0);
    Ipv6Addr::from_bits(prefix.to_bits() | u128::from(address.to_bits()))
}

pub(crate) fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// The network of one test. Tests take turns, since some measure loss and time on few processors.
pub(crate) struct Lab {
    pub(crate) client: Namespace,
    pub(crate) relay: Namespace,
    pub(crate) server: Namespace,
    directory: TempDir,
    number: u32,
    _turn: MutexGuard<'static, ()>,
}

impl Lab {
    /// Builds the network, or skips the test if this user may not.
    pub(crate) fn new() -> Option<Self> {
        Self::with_queues(1, 1)
    }

    /// Builds the network with so many queues on each of the relay's interfaces, and on those of the hosts.
    pub(crate) fn with_queues(relay: u32, hosts: u32) -> Option<Self> {
        let lab = Self::bare()?;
        lab.add_north(hosts, relay);
        lab.add_south(hosts, relay);
        Some(lab)
    }

    /// Links the client with the relay, by so many queues at each end.
    pub(crate) fn add_north(&self, host_queues: u32, queues: u32) {
        self.link(&self.client, "north", host_queues, queues, 1500);
        self.client
            .add_address("eth0", net("203.0.113.50/24"))
            .unwrap();
        self.relay
            .add_address("north", net("203.0.113.1/24"))
            .unwrap();
        self.client
            .add_route(&Route::to(net("0.0.0.0/0")).via(NORTH.into()))
            .unwrap();
    }

    /// Links the server with the relay, by so many queues at each end.
    pub(crate) fn add_south(&self, host_queues: u32, queues: u32) {
        self.link(&self.server, "south", host_queues, queues, SOUTH_MTU);
        self.relay
            .add_address("south", net("2001:db8:12:34::fe/64"))
            .unwrap();
        self.server
            .add_address("eth0", net("2001:db8:12:34::1/64"))
            .unwrap();
        self.server
            .add_route(&Route::to(net("2001:db8:46::/96")).via(SOUTH.into()))
            .unwrap();
    }

    /// Sets the MTUs of both links, in octets.
    pub(crate) fn set_mtu(&self, north: u32, south: u32) {
        for (namespace, interface, mtu) in [
            (&self.client, "eth0", north),
            (&self.relay, "north", north),
            (&self.server, "eth0", south),
            (&self.relay, "south", south),
        ] {
            namespace.set_mtu(interface, mtu).unwrap();
        }
    }

    /// Makes the three namespaces and ties nothing together.
    pub(crate) fn bare() -> Option<Self> {
        static TURN: Mutex<()> = Mutex::new(());
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        if !rustix::process::geteuid().is_root() {
            tests::skip("network namespaces need root");
            return None;
        }
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let lab = Self {
            client: namespace(number, "client"),
            relay: namespace(number, "relay"),
            server: namespace(number, "server"),
            directory: tempfile::tempdir().unwrap(),
            number,
            _turn: turn,
        };
        lab.relay.enable_forwarding().unwrap();
        Some(lab)
    }

    /// Makes one more namespace.
    pub(crate) fn namespace(&self, part: &str) -> Namespace {
        namespace(self.number, part)
    }

    /// Ties `eth0` of a host to an interface of the relay.
    pub(crate) fn link(
        &self,
        host: &Namespace,
        port: &str,
        host_queues: u32,
        queues: u32,
        mtu: u32,
    ) {
        let host_end = VethEnd::new(host, "eth0").queues(host_queues).mtu(mtu);
        veth_pair(
            host_end,
            VethEnd::new(&self.relay, port).queues(queues).mtu(mtu),
        )
        .unwrap();
        // What a veth leaves to hardware never happens, and the relay would see checksums that nobody has finished.
        host.disable_transmit_checksum_offload("eth0").unwrap();
        host.take_redirected_frames("eth0").unwrap();
    }

    /// Writes the relay's files; `more` may bring interfaces and a control section of its own.
    pub(crate) fn configure(&self, more: &str) -> PathBuf {
        // Other relays of this machine have sockets of their own.
        let control = match more.contains("control:") {
            true => String::new(),
            false => format!("control: {{ socket: {:?}, metrics: off }}\n", self.socket()),
        };
        // What a test leaves on its interfaces goes with its process, unless it is about that.
        let pin = match more.contains("pin:") {
            true => "",
            false => "pin: off\n",
        };
        let interfaces = if more.contains("interfaces:") {
            ""
        } else {
            INTERFACES
        };
        let config = self.path("relay.yaml");
        std::fs::write(
            &config,
            format!("{CONFIG}{interfaces}{more}\n{pin}{control}"),
        )
        .unwrap();
        std::fs::write(self.path("eam.yaml"), MAPPINGS).unwrap();
        config
    }

    /// Returns the relay's control socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.path("control.sock")
    }

    /// Returns the path of a file that goes with the lab.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Starts the relay and waits until it translates.
    pub(crate) fn start(&self, more: &str) -> Daemon {
        let daemon = self.launch(&self.configure(more));
        daemon.await_line("translating");
        daemon
    }

    /// Starts the relay.
    pub(crate) fn launch(&self, config: &Path) -> Daemon {
        Daemon::launch(
            self.relay.command(tests::siit_relay().to_str().unwrap()),
            config,
        )
    }

    /// Returns the XDP program on an interface of the relay.
    pub(crate) fn xdp(&self, interface: &str) -> Option<u32> {
        let index = self.relay.interface_index(interface).unwrap();
        self.relay
            .run_in(|| xdp_link::attached_program(index))
            .unwrap()
            .unwrap()
    }

    /// Runs `ip` in the relay's namespace.
    pub(crate) fn relay_ip(&self, arguments: &str) {
        let status = self
            .relay
            .command("ip")
            .args(arguments.split(' '))
            .status()
            .unwrap();
        assert!(status.success(), "ip {arguments}: {status}");
    }
}

fn namespace(number: u32, part: &str) -> Namespace {
    Namespace::create(&format!("relay-{}-{number}-{part}", std::process::id())).unwrap()
}

/// Returns how many packets an interface has received.
pub(crate) fn received_packets(namespace: &Namespace, interface: &str) -> u64 {
    let table = namespace
        .run_in(|| std::fs::read_to_string("/proc/thread-self/net/dev"))
        .unwrap()
        .unwrap();
    let label = format!("{interface}:");
    let line = table
        .lines()
        .find_map(|line| line.trim_start().strip_prefix(&label))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Waits until a condition holds; panics after `limit`.
pub(crate) fn eventually(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
