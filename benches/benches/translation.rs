//! How long a worker takes for one packet in memory: parse, look up, translate, find the next hop, perform; and how long without
//! the next hop (`alone`). No I/O.
//!
//! Packets come in batches of as many frames of a UMEM as a worker takes at a time; services are drawn at random from the
//! mappings and clients from the whole Internet, so that no look-up is warm by repetition. Next hops come from a laboratory
//! namespace, which takes root.

use std::hint::black_box;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::time::{Duration, Instant};

use af_xdp::{ChunkSize, Frame, Umem};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use eam_tables::{Eam, Place};
use relay::config::{self, Config, MtuOverride};
use relay::lab::{Namespace, Route, VethEnd, veth_pair};
use relay::link::LinkHeader;
use relay::lookahead::Lookahead;
use relay::paths::{Live, Senders};
use relay::perform::perform_plain;
use relay::process::{Disposition, Processor, translate_plain};
use relay::routes::Mirror;
use relay::tables::{Surroundings, Tables};
use relay_core::Direction;
use relay_core::counters::Counters;
use relay_core::wire::checksum::{Sum, pseudo_header_v6};
use relay_core::wire::{ethernet, icmp, ipv4, ipv6};
use rustix::time::{ClockId, clock_gettime};

/// Frames in a batch, as in a worker.
const BATCH: usize = 64;
/// Batches between two looks at the clock, which takes a while itself.
const AT_ONCE: usize = 4;
/// Different packets, enough to leave the caches of the processor to large tables.
const PACKETS: usize = 1 << 16;
const UDP: u8 = 17;
const TCP: u8 = 6;
const PREFIX: &str = "2001:db8:46::";

#[derive(Clone, Copy)]
enum Kind {
    Udp,
    Tcp,
    Echo,
}

/// xorshift64*: the same packets in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

fn mappings(count: usize) -> Vec<Eam> {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let place = Place::start_of(Path::new("eam.yaml").into());
    (0..count)
        .map(|_| {
            let bits = random.next();
            // Anywhere from 1.0.0.0 to 126.255.255.255, and anywhere under 2001:db8:1000::/36.
            let ipv4 = Ipv4Addr::from_bits(0x0100_0000 + (bits as u32) % 0x7e00_0000);
            let ipv6 = 0x2001_0db8_1000_u128 << 80 | u128::from(random.next()) << 28 | 1;
            let ipv6 = Ipv6Addr::from_bits(ipv6);
            Eam::new(ipv4.into(), ipv6.into(), None, place.clone()).expect("host prefixes fit")
        })
        .collect()
}

/// A frame of 64 octets of IPv4 or 84 of IPv6, from a client to a service or back.
fn frame(kind: Kind, to_v6: bool, eam: &Eam, random: &mut Random) -> Vec<u8> {
    let client = Ipv4Addr::from_bits(0x0100_0000 + (random.next() as u32) % 0x7e00_0000);
    let prefix: Ipv6Addr = PREFIX.parse().expect("a constant");
    let embedded = Ipv6Addr::from_bits(prefix.to_bits() | u128::from(client.to_bits()));
    let (protocol, payload) = match kind {
        Kind::Udp => (UDP, vec![0x12, 0x34, 0, 53, 0, 30, 0, 0]),
        Kind::Tcp => {
            let mut header = vec![0x12, 0x34, 0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 1, 0];
            header.extend([0; 4]);
            (TCP, header)
        }
        Kind::Echo => match to_v6 {
            true => (icmp::PROTOCOL_V4, vec![8, 0, 0, 0, 0, 1, 0, 1]),
            false => (icmp::PROTOCOL_V6, vec![129, 0, 0, 0, 0, 1, 0, 1]),
        },
    };
    let mut payload = payload;
    payload.resize(30, 0x5a);
    let length = payload.len() as u16;
    let (header, pseudo) = if to_v6 {
        let header = ipv4::Header {
            tos: 0,
            total_length: 20 + length,
            identification: 1,
            df: true,
            mf: false,
            fragment_offset: 0,
            ttl: 60,
            protocol,
            source: client,
            destination: eam.ipv4().addr(),
        };
        let pseudo = Sum::ZERO
            .add_v4(header.source)
            .add_v4(header.destination)
            .add_word(length)
            .add_word(u16::from(protocol));
        (header.emit().to_vec(), pseudo)
    } else {
        let header = ipv6::Header {
            traffic_class: 0,
            payload_length: length,
            next_header: protocol,
            hop_limit: 60,
            source: eam.ipv6().addr(),
            destination: embedded,
        };
        let (source, destination) = (header.source, header.destination);
        let pseudo = pseudo_header_v6(source, destination, length.into(), protocol);
        (header.emit().to_vec(), pseudo)
    };
    let (at, covered) = match kind {
        Kind::Udp => (6, pseudo),
        Kind::Tcp => (16, pseudo),
        Kind::Echo if to_v6 => (2, Sum::ZERO),
        Kind::Echo => (2, pseudo),
    };
    let checksum = match covered.add_octets(&payload).checksum() {
        // In UDP, zero means that there is none.
        0 => 0xffff,
        checksum => checksum,
    };
    payload[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    frame.extend(if to_v6 { [0x08, 0x00] } else { [0x86, 0xdd] });
    frame.extend(header);
    frame.extend(payload);
    frame
}

fn configuration() -> Config {
    let directory = tempfile::tempdir().expect("a directory for files");
    let write = |name, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).expect("a file in it");
        path
    };
    write("eam.yaml", "eam: []\n");
    let text = format!(
        "prefix: {PREFIX}/96\neam: eam.yaml\ninterfaces: [{{ name: wan }}, {{ name: lan }}]\n"
    );
    let loaded = config::load(&write("relay.yaml", &text));
    loaded.usable.expect("a valid configuration").0
}

/// The next hops of a border relay: a default route per family, each by its own port.
fn network() -> Option<Live> {
    let name = format!("siit-bench-{}", std::process::id());
    let (near, far) = match (
        Namespace::create(&name),
        Namespace::create(&format!("{name}-far")),
    ) {
        (Ok(near), Ok(far)) => (near, far),
        (Err(error), _) | (_, Err(error)) => {
            println!("SKIPPED: no network namespaces: {error}");
            return None;
        }
    };
    let mac = [2, 0, 0, 0, 0, 9];
    for (interface, address, gateway, destination) in [
        ("wan", "192.0.2.1/24", "192.0.2.254", "0.0.0.0/0"),
        ("lan", "2001:db8:ffff::1/64", "2001:db8:ffff::fe", "::/0"),
    ] {
        let pair = veth_pair(
            VethEnd::new(&near, interface),
            VethEnd::new(&far, interface),
        );
        pair.expect("a pair of interfaces");
        let address = address.parse().expect("a constant");
        near.add_address(interface, address).expect("an address");
        let gateway = gateway.parse().expect("a constant");
        near.set_neighbour(interface, gateway, mac)
            .expect("a neighbour");
        let route = Route::to(destination.parse().expect("a constant"));
        let route = route.via(gateway).dev(interface);
        near.add_route(&route).expect("a route");
    }
    let ports = ["wan", "lan"].map(|name| near.interface_index(name).expect("an interface"));
    let live = near.run_in(|| {
        let mut mirror = Mirror::open().expect("the kernel's tables");
        let own: Vec<_> = mirror.own_addresses().collect();
        Live::new(
            mirror.snapshot(&ports),
            own,
            MtuOverride::default(),
            Senders::default(),
        )
    });
    Some(live.expect("to enter the namespace"))
}

/// The time that this thread has had of a processor: others may want it too.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).expect("a time that has passed")
}

/// Translates a batch as a worker does.
fn translate(frames: &mut [Frame], tables: &Tables, live: &Live, counters: &mut Counters) {
    let mut processor = Processor::new(tables, live, 0, false);
    each(frames, tables, |frame| {
        let disposition = processor.process(frame, counters);
        assert!(matches!(black_box(&disposition), Disposition::Send(_)));
    });
}

/// As [`translate`], with one next hop for all, and without counting for the mappings.
fn translate_alone(frames: &mut [Frame], tables: &Tables, live: &Live, counters: &mut Counters) {
    let link = LinkHeader::new([2, 0, 0, 0, 0, 9], [2, 0, 0, 0, 0, 1], []);
    each(frames, tables, |frame| {
        let header = ethernet::Header::parse(frame.octets()).expect("an Ethernet header");
        let network = header.length;
        let surroundings = Surroundings {
            tables,
            paths: live,
            may_be_unfinished: false,
            random: 0,
        };
        // As in a worker, each direction has this code for itself.
        match header.ethertype {
            ethernet::ETHERTYPE_IPV4 => {
                forward(
                    frame,
                    network,
                    Direction::V4ToV6,
                    surroundings,
                    &link,
                    counters,
                );
            }
            _ => forward(
                frame,
                network,
                Direction::V6ToV4,
                surroundings,
                &link,
                counters,
            ),
        }
    });
}

/// Translates a packet in a direction.
#[inline(always)]
fn forward(
    frame: &mut Frame,
    network: usize,
    direction: Direction,
    surroundings: Surroundings<'_, Live>,
    link: &LinkHeader,
    counters: &mut Counters,
) {
    let plain = translate_plain(frame.octets(), network, direction, surroundings);
    let plain = plain.expect("a plain packet");
    perform_plain(frame, network, link, &plain).expect("room for longer headers");
    counters.record_plain(direction, &plain);
}

/// Goes through a batch, looking ahead as a worker does.
#[inline(always)]
fn each(frames: &mut [Frame], tables: &Tables, mut work: impl FnMut(&mut Frame)) {
    let lookahead = Lookahead::begin(frames, tables);
    let mut rest = frames;
    while let Some((frame, behind)) = rest.split_first_mut() {
        lookahead.go_on(behind);
        work(frame);
        rest = behind;
    }
}

type Translate = fn(&mut [Frame], &Tables, &Live, &mut Counters);

fn measure(
    translate: Translate,
    packets: &[Vec<u8>],
    tables: &Tables,
    live: &Live,
    umem: &mut Umem,
    groups: u64,
) -> Duration {
    let mut counters = Counters::ZERO;
    let mut spent = Vec::new();
    let mut frames = Vec::with_capacity(BATCH * AT_ONCE);
    for group in packets
        .chunks_exact(BATCH * AT_ONCE)
        .cycle()
        .take(groups as usize)
    {
        for packet in group {
            let mut frame = umem.allocate().expect("a free frame");
            frame.set_len(packet.len()).expect("a small packet");
            frame.octets_mut().copy_from_slice(packet);
            frames.push(frame);
        }
        let start = processor_time();
        for batch in frames.chunks_mut(BATCH) {
            translate(batch, tables, live, &mut counters);
        }
        spent.push(processor_time() - start);
        frames.drain(..).for_each(|frame| umem.free(frame));
    }
    // Others may share the processor's caches and its clock: the quietest tenth tells most of the code.
    spent.sort_unstable();
    spent[spent.len() / 10] * groups as u32
}

fn translation(criterion: &mut Criterion) {
    let Some(live) = network() else { return };
    let config = configuration();
    let mut umem = Umem::new(ChunkSize::Octets2048, 4096).expect("memory");
    for size in [10, 1_000, 1_000_000] {
        let eams = mappings(size);
        let start = Instant::now();
        let tables = Tables::new(&config, eams);
        println!("{size} mappings: tables built in {:?}", start.elapsed());
        for (direction, to_v6) in [("v4_to_v6", true), ("v6_to_v4", false)] {
            for (name, kind) in [("udp", Kind::Udp), ("tcp", Kind::Tcp), ("echo", Kind::Echo)] {
                let mut random = Random(0x1234_5678_9abc_def1);
                let packets: Vec<_> = (0..PACKETS)
                    .map(|_| {
                        let eams = tables.eam.entries();
                        let service = &eams[(random.next() % eams.len() as u64) as usize];
                        frame(kind, to_v6, service, &mut random)
                    })
                    .collect();
                let mut group = criterion.benchmark_group(format!("{direction}/{name}"));
                group.throughput(Throughput::Elements((BATCH * AT_ONCE) as u64));
                let ways: [(&str, Translate); 2] =
                    [("forwarded", translate), ("alone", translate_alone)];
                for (way, translate) in ways {
                    group.bench_function(BenchmarkId::new(way, size), |bencher| {
                        bencher.iter_custom(|groups| {
                            measure(translate, &packets, &tables, &live, &mut umem, groups)
                        });
                    });
                }
                group.finish();
            }
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2)).sample_size(20);
    targets = translation
}
criterion_main!(benches);
