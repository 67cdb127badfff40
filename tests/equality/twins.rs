//! The XDP program and the worker side by side: each gets the same frame, and what they do and count is compared.

use crate::lab::{Lab, MACS, PORTS};
use aya::TestRunOptions;
use eam_tables::layout::{Egress, Memory, Port, Work, XdpCounter};
use relay::config::{Config, OwnAddresses};
use relay::driver::xdp_counters::XdpCounters;
use relay::fast_path::{self, FastPath, Wishes};
use relay::memory::MemoryFrame;
use relay::paths::Live;
use relay::perform::Frame;
use relay::process::{Disposition, HandoverReason, Processor, Route};
use relay::routes::Mirror;
use relay::tables::Tables;
use relay_core::counters::{Counters, Name};
use relay_core::policy::TcpMssClamp;
use relay_core::wire::ethernet::{self, ETHERTYPE_IPV4, ETHERTYPE_IPV6};
use rustix::net::{AddressFamily, SocketType};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::os::fd::OwnedFd;

const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;
const XDP_TX: u32 = 3;
const XDP_REDIRECT: u32 = 4;

/// The worker that counts for the mappings what the program has translated; another one counts all the rest.
const COUNTING: usize = 1;

/// Room for a frame that comes back.
const LONGEST: usize = 70_000;

/// What the program did with a frame.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Translated and sent out of a port: of the same one or another.
    Forwarded(Vec<u8>),
    /// Translated and left to the kernel.
    LeftToKernel(Vec<u8>),
    /// Handed to a worker as it was.
    Punted,
    /// Left to the kernel as it was.
    Passed,
}

impl std::fmt::Debug for Fate {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Forwarded(frame) => write!(formatter, "forwarded {}", hex(frame)),
            Self::LeftToKernel(frame) => write!(formatter, "left to the kernel {}", hex(frame)),
            Self::Punted => formatter.write_str("punted"),
            Self::Passed => formatter.write_str("passed"),
        }
    }
}

/// What the worker did with a frame.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    disposition: Disposition,
    frame: Vec<u8>,
    counters: Counters,
}

impl Outcome {
    /// Returns the port that the frame is sent out of, if it is.
    fn port(&self) -> Option<usize> {
        match self.disposition {
            Disposition::Send(Route::Port(port)) => Some(port),
            Disposition::Send(Route::Kernel { .. })
            | Disposition::Split(_)
            | Disposition::Control { .. }
            | Disposition::Discard => None,
        }
    }

    /// Says whether the packet turned out not to be the relay's.
    fn is_pass(&self) -> bool {
        let is_pass = |(name, count): (Name, u64)| matches!(name, Name::Passed(_)) && count != 0;
        self.counters.iter().any(is_pass)
    }
}

/// The two, with one configuration in one network.
pub(crate) struct Twins {
    pub(crate) fast_path: FastPath,
    pub(crate) mirror: Mirror,
    pub(crate) indices: Vec<u32>,
    pub(crate) tables: Tables,
    pub(crate) config: Config,
    work: Work,
    live: Live,
    memory: [Memory; 2],
    /// Kept open: the kernel takes a closed socket out of the map.
    _sockets: Vec<OwnedFd>,
    buffer: Vec<u8>,
    /// What the worker counted of the packets that the program has translated, since the last look.
    expected: Counters,
    /// What the program did since the last look.
    pub(crate) tally: Tally,
    counted: XdpCounters,
}

/// How many frames took which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) forwarded: u64,
    pub(crate) left_to_kernel: u64,
    pub(crate) punted: u64,
    pub(crate) passed: u64,
}

impl Twins {
    /// Loads the program for a configuration. The calling thread is in the relay's namespace.
    pub(crate) fn new(lab: &Lab, config: Config, tables: Tables, work: Work) -> Self {
        let wishes = Wishes {
            work,
            mtu_v4: config.mtu.ipv4,
            mtu_v6: config.mtu.ipv6,
        };
        let program = fast_path::prepare(&tables, wishes).unwrap_or_else(|error| panic!("{error}"));
        let mut fast_path = FastPath::new(program, None);
        let mut mirror = Mirror::open().expect("the kernel's routes");
        let indices = PORTS
            .map(|name| lab.relay.interface_index(name).expect("the port"))
            .to_vec();
        let mut sockets = Vec::new();
        for ((number, index), mac) in (0..).zip(&indices).zip(MACS) {
            let port = Port {
                first_socket: u32::from(number),
                queues: 1,
                mac,
                number,
            };
            fast_path.set_port(*index, port).expect("room for a port");
            let socket = rustix::net::socket(AddressFamily::XDP, SocketType::RAW, None)
                .expect("an AF_XDP socket");
            fast_path
                .set_socket(u32::from(number), &socket)
                .expect("room for a socket");
            sockets.push(socket);
        }
        let live = Live::take(&mut mirror, &indices, &config);
        let mut twins = Self {
            fast_path,
            mirror,
            indices,
            tables,
            config,
            work,
            live,
            memory: Default::default(),
            _sockets: sockets,
            buffer: vec![0; LONGEST],
            expected: Counters::ZERO,
            tally: Tally::default(),
            counted: XdpCounters::default(),
        };
        twins.follow();
        twins
    }

    /// Tells both of the network as it is.
    pub(crate) fn follow(&mut self) {
        self.follow_with(|_| ());
    }

    /// As [`follow`](Self::follow), but the program is told something else of how frames leave.
    pub(crate) fn follow_with(&mut self, change: impl FnOnce(&mut BTreeMap<u32, Egress>)) {
        self.mirror.process_events().expect("the kernel's routes");
        self.live = Live::take(&mut self.mirror, &self.indices, &self.config);
        let OwnAddresses { ipv4, ipv6 } = self.config.icmp.own;
        let configured = ipv4.map(IpAddr::V4).into_iter().chain(ipv6.map(IpAddr::V6));
        let own: BTreeSet<IpAddr> = self.mirror.own_addresses().chain(configured).collect();
        let mut egresses = self.mirror.egresses(&self.indices).into_iter().collect();
        change(&mut egresses);
        self.memory = self.mirror.dependence();

        self.fast_path
            .follow(&self.tables, own, egresses, self.memory)
            .expect("room in the maps");
    }

    /// Runs the program on a frame that came in by a port. `None` if the kernel takes no such frame: a very short one.
    pub(crate) fn run(&mut self, port: usize, frame: &[u8]) -> Option<Fate> {
        if frame.len() < ethernet::HEADER_LENGTH {
            return None;
        }
        let length = u32::try_from(frame.len()).expect("no frame is so long");
        // The kernel's `struct xdp_md`: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
        let mut context = [0; 24];
        context[4..8].copy_from_slice(&length.to_ne_bytes());
        context[12..16].copy_from_slice(&self.indices[port].to_ne_bytes());
        let result = self.fast_path.program().test_run(TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut self.buffer),
            ctx_in: Some(&context),
            ..TestRunOptions::new()
        });
        let result = result.unwrap_or_else(|error| panic!("{error}: {} octets", frame.len()));
        let output = &self.buffer[..result.data_size_out as usize];
        let is_same = output == frame;
        let fate = match result.return_value {
            XDP_PASS if is_same => Fate::Passed,
            XDP_PASS => Fate::LeftToKernel(output.to_vec()),
            XDP_REDIRECT if is_same => Fate::Punted,
            XDP_REDIRECT | XDP_TX => Fate::Forwarded(output.to_vec()),
            XDP_DROP => panic!("dropped, though there is a socket"),
            action => panic!("action {action}"),
        };
        if let Fate::Forwarded(output) = &fate {
            let goes_back = output[6..12] == MACS[port];
            assert_eq!(
                goes_back,
                result.return_value == XDP_TX,
                "the port does not belong to the source address"
            );
        }
        *match fate {
            Fate::Forwarded(_) => &mut self.tally.forwarded,
            Fate::LeftToKernel(_) => &mut self.tally.left_to_kernel,
            Fate::Punted => &mut self.tally.punted,
            Fate::Passed => &mut self.tally.passed,
        } += 1;
        Some(fate)
    }

    /// Returns what the worker makes of a frame.
    pub(crate) fn worker_frame(&self, frame: &[u8]) -> Vec<u8> {
        self.work(frame).frame
    }

    /// Returns on what the kernel's answers depend.
    pub(crate) fn memory(&self) -> [Memory; 2] {
        self.memory
    }

    fn work(&self, frame: &[u8]) -> Outcome {
        let outcome = |is_short: bool| {
            let mut memory = MemoryFrame::new(frame, 128);
            let mut counters = Counters::ZERO;
            let mut processor = Processor::new(&self.tables, &self.live, 0, false);
            let disposition = match is_short {
                true => processor.process(&mut memory, &mut counters),
                false => processor.process_any(&mut memory, &mut counters),
            };
            Outcome {
                disposition,
                frame: memory.octets().to_vec(),
                counters,
            }
        };
        let (short, long) = (outcome(true), outcome(false));
        assert_eq!(
            short,
            long,
            "the worker's short way leads elsewhere than the long one: {}",
            hex(frame)
        );
        short
    }

    /// Has a worker count for the mappings of a frame that the program has translated.
    fn count_as_worker(&self, frame: &[u8]) {
        let mut memory = MemoryFrame::new(frame, 128);
        let mut counters = Counters::ZERO;
        Processor::new(&self.tables, &self.live, COUNTING, false)
            .process_any(&mut memory, &mut counters);
    }

    /// Runs both on a frame, and says what differs. `None` as for [`run`](Self::run).
    pub(crate) fn compare(&mut self, port: usize, frame: &[u8]) -> Result<Option<Fate>, String> {
        let outcome = self.work(frame);
        let Some(fate) = self.run(port, frame) else {
            return Ok(None);
        };
        let explain = |what: &str| {
            format!(
                "{what}\n port {}\nframe {}\n  XDP {fate:?}\nworker {:?}\n {}\n {:?}",
                PORTS[port],
                hex(frame),
                outcome.disposition,
                hex(&outcome.frame),
                moved(&outcome.counters),
            )
        };
        let is_ours = frame[..6] == MACS[port] && is_ip(frame);
        match &fate {
            Fate::Forwarded(output) => {
                if outcome.port().is_none() {
                    return Err(explain(
                        "the program forwards what the worker does not send",
                    ));
                }
                if *output != outcome.frame {
                    return Err(explain("the program sends another frame than the worker"));
                }
                self.expected.add(&outcome.counters);
                self.count_as_worker(frame);
            }
            Fate::LeftToKernel(output) => {
                let expected = behind_own_link(frame, &outcome.frame);
                if outcome.port().is_none() || *output != expected {
                    return Err(explain(
                        "the program translates in another way than the worker",
                    ));
                }
                self.expected.add(&outcome.counters);
                self.count_as_worker(frame);
            }
            Fate::Punted => {
                let is_done = outcome.port().is_some() && self.is_plain(frame, &outcome.frame);
                if is_done && self.work != Work::Steer {
                    return Err(explain("the program punts a plain packet"));
                }
                let is_passed = matches!(
                    outcome.disposition,
                    Disposition::Send(Route::Kernel {
                        reason: HandoverReason::Passed,
                        ..
                    })
                );
                if is_passed || outcome.is_pass() {
                    return Err(explain("the program claims what the worker passes"));
                }
            }
            Fate::Passed => {
                if is_ours && !outcome.is_pass() {
                    return Err(explain("the program passes what the worker does not"));
                }
            }
        }
        Ok(Some(fate))
    }

    /// Says whether nothing in a packet, which the worker sends on as `output`, asks for more than its headers, as the
    /// documentation of the reasons to punt describes it.
    fn is_plain(&self, frame: &[u8], output: &[u8]) -> bool {
        let packet = &frame[network(frame)..];
        let output = &output[network(output)..];
        let has_fragment_header = output[0] >> 4 == 6 && output[6] == 44;
        let [least_v4, least_v6] = self.memory.map(|memory| match memory.least_mtu {
            0 => usize::MAX,
            octets => octets as usize,
        });
        let least = if output[0] >> 4 == 4 {
            least_v4
        } else {
            least_v6
        };
        if has_fragment_header || output.len() > least {
            return false;
        }
        let (is_v4, protocol, payload) = match packet[0] >> 4 {
            4 => {
                if packet[0] != 0x45 || packet[6] & 0x3f != 0 || packet[7] != 0 {
                    return false;
                }
                (true, packet[9], &packet[20..])
            }
            _ => (false, packet[6], &packet[40..]),
        };
        match (is_v4, protocol) {
            (_, 6) => self.tables.policy.tcp_mss_clamp == TcpMssClamp::Off || payload[13] & 2 == 0,
            (_, 17) => payload[6..8] != [0; 2],
            (true, 1) => matches!(payload[0], 0 | 8),
            (false, 58) => matches!(payload[0], 128 | 129),
            (false, 0 | 43 | 44 | 60) => false,
            _ => true,
        }
    }

    /// Returns what the program has counted since the last look.
    pub(crate) fn count(&mut self) -> Vec<(XdpCounter, u64)> {
        let now = self.fast_path.counters().expect("the counters");
        let since: Vec<_> = now
            .iter()
            .map(|(counter, value)| (counter, value - self.counted.get(counter)))
            .collect();
        self.counted = now;
        since
    }

    /// Checks what the program has counted since the last check against what it did and what the worker counted, and forgets it.
    /// Returns the program's numbers.
    pub(crate) fn check_counters(&mut self) -> Result<Vec<(XdpCounter, u64)>, String> {
        let before = self.counted;
        let since = self.count();
        let (mut all, mut old) = (Counters::ZERO, Counters::ZERO);
        self.counted.add_to(&mut all);
        before.add_to(&mut old);
        old.add(&self.expected);
        if all != old {
            return Err(format!(
                "counters: the program {:?}\n           the worker {:?}",
                moved(&all),
                moved(&old)
            ));
        }
        let get = |wanted: &[XdpCounter]| -> u64 {
            let wanted = since.iter().filter(|(counter, _)| wanted.contains(counter));
            wanted.map(|(_, value)| value).sum()
        };
        use XdpCounter::{
            Forwarded, LeftToKernel, Malformed, NotAPort, NotIp, NotOurs, OtherStation, OwnAddress,
            PuntFragment, PuntIcmp, PuntLength, PuntMalformed, PuntNextHop, PuntOptions,
            PuntRefused, PuntSegmentSize, PuntUdpZeroChecksum, PuntUnfinishedChecksum, Redirected,
        };
        let counted = Tally {
            forwarded: get(&[Forwarded]),
            left_to_kernel: get(&[LeftToKernel]),
            punted: get(&[
                Redirected,
                PuntMalformed,
                PuntOptions,
                PuntFragment,
                PuntUdpZeroChecksum,
                PuntUnfinishedChecksum,
                PuntSegmentSize,
                PuntIcmp,
                PuntLength,
                PuntRefused,
                PuntNextHop,
            ]),
            passed: get(&[
                NotAPort,
                Malformed,
                NotIp,
                OtherStation,
                NotOurs,
                OwnAddress,
            ]),
        };
        let (by_worker, by_program) = (
            self.tables.tally.counts_of_worker(COUNTING),
            self.tables.tally.counts_of_program(),
        );
        if by_worker != by_program {
            return Err(format!(
                "by mapping: the program {by_program:?}\n            the worker {by_worker:?}"
            ));
        }
        let tally = std::mem::take(&mut self.tally);
        self.expected = Counters::ZERO;
        if counted != tally {
            return Err(format!(
                "the program did {tally:?}\nand counted {counted:?}"
            ));
        }
        Ok(since)
    }
}

/// Returns the octets in front of the network header.
pub(crate) fn network(frame: &[u8]) -> usize {
    ethernet::Header::parse(frame).map_or(frame.len(), |header| header.length)
}

fn is_ip(frame: &[u8]) -> bool {
    ethernet::Header::parse(frame)
        .is_ok_and(|header| matches!(header.ethertype, ETHERTYPE_IPV4 | ETHERTYPE_IPV6))
}

/// Puts the packet of `output` behind the link header of `frame`, which gets its EtherType.
fn behind_own_link(frame: &[u8], output: &[u8]) -> Vec<u8> {
    let (own, other) = (network(frame), network(output));
    [&frame[..own - 2], &output[other - 2..]].concat()
}

/// Lists the counters that are not zero.
fn moved(counters: &Counters) -> Vec<(String, u64)> {
    let moved = counters.iter().filter(|(_, count)| *count != 0);
    moved
        .map(|(name, count)| (name.to_string(), count))
        .collect()
}

/// Shows octets, not too many of them.
pub(crate) fn hex(octets: &[u8]) -> String {
    const MOST: usize = 300;
    let shown: String = octets
        .iter()
        .take(MOST)
        .map(|octet| format!("{octet:02x}"))
        .collect();
    match octets.len() {
        0..=MOST => shown,
        length => format!("{shown}..., {length} octets"),
    }
}
