//! Properties of the translator that hold for any octets: no panic, nothing malformed leaves, books balance, and there is a
//! way back.
//!
//! Everything follows from one seed. A failure prints the command that repeats it.

use relay::offline::{Link, Offline};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use tests::case;
use tests::packet::{self, Checksum, network_offset};
use tests::random::{self, Random};
use tests::sent::{check_sent, is_icmp_error};

const CONFIG: &str = "
prefix: 2001:db8:46::/96
ipv4_translatable: [198.51.100.0/24]
service_pools: [192.0.2.0/24]
denylist4: [203.0.113.66]
translation: { udp_zero_checksum: compute, tcp_mss_clamp: auto }
";

const EAM: &str = r#"
eam:
  - { ipv4: 192.0.2.1, ipv6: "2001:db8:12:34::1" }
  - { ipv4: 192.0.2.16/28, ipv6: "2001:db8:cccc::/124" }
  - { ipv4: 192.0.2.128/26, ipv6: "2001:db8:dddd::/64" }
"#;

/// Addresses in all roles: services with and without an EAM, clients, forbidden and illegal ones, the relay's own.
const ADDRESSES_V4: [[u8; 4]; 10] = [
    [192, 0, 2, 1],
    [192, 0, 2, 23],
    [192, 0, 2, 155],
    [192, 0, 2, 200],
    [198, 51, 100, 7],
    [203, 0, 113, 50],
    [203, 0, 113, 66],
    [192, 0, 0, 8],
    [127, 0, 0, 1],
    [224, 0, 0, 5],
];

/// Protocols with a checksum that covers addresses, others, and numbers that only one family can carry.
const PROTOCOLS: [u8; 16] = [6, 6, 6, 17, 17, 17, 1, 58, 33, 136, 132, 50, 51, 47, 0, 43];

/// Runs `test` a number of times; a panic tells how to repeat it.
fn repeat(name: &str, times: usize, mut test: impl FnMut(&mut Random)) {
    struct Tell<'n>(&'n str);
    impl Drop for Tell<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                let (name, seed) = (self.0, random::seed());
                eprintln!(
                    "repeat with: SIIT_RELAY_SEED={seed} cargo test -p tests --test properties {name}"
                );
            }
        }
    }
    let _tell = Tell(name);
    let mut random = Random::new(name);
    for _ in 0..times {
        test(&mut random);
    }
}

/// The relay, with books of its own about what it was given and what it sent.
struct Books {
    relay: Offline,
    received: u64,
    /// Packets received that made the relay send something.
    answered: u64,
    fragments: u64,
    sent_octets: u64,
}

impl Books {
    fn open() -> Self {
        let (config, tables) = case::configure(CONFIG, EAM);
        Self {
            relay: Offline::new(&config, tables),
            received: 0,
            answered: 0,
            fragments: 0,
            sent_octets: 0,
        }
    }

    fn translate(&mut self, link: Link, received: &[u8]) -> Vec<Vec<u8>> {
        self.received += 1;
        let sent = self.relay.translate(link, received);
        if let Err(error) = check_sent(link, received, &sent) {
            panic!("{error}\n{link:?}\nreceived {received:02x?}\n    sent {sent:02x?}");
        }
        self.answered += u64::from(!sent.is_empty());
        if sent.len() > 1 {
            self.fragments += sent.len() as u64;
        }
        let octets = sent
            .iter()
            .map(|frame| frame.len() - network_offset(link, frame));
        self.sent_octets += octets.sum::<usize>() as u64;
        sent
    }

    /// Checks that what came in was forwarded, passed or dropped, and nothing twice.
    fn close(self) {
        let sum = |begins: &str, ends: &str| -> u64 {
            let counters = self
                .relay
                .counters()
                .iter()
                .map(|(name, count)| (name.to_string(), count));
            counters
                .filter(|(name, _)| name.starts_with(begins) && name.ends_with(ends))
                .map(|(_, count)| count)
                .sum()
        };
        let (forwarded, replies) = (sum("out_", "_packets"), sum("reply_", ""));
        assert_eq!(forwarded + replies, self.answered);
        assert_eq!(sum("out_", "_fragments"), self.fragments);
        // Errors about dropped packets are no longer than 1280 octets.
        let octets = sum("out_", "_octets");
        assert!((octets..=octets + replies * 1280).contains(&self.sent_octets));
        assert_eq!(
            forwarded + sum("pass_", "") + sum("drop_", ""),
            self.received
        );
        assert!(
            forwarded > 0 && sum("pass_", "") > 0 && sum("drop_", "") > 0,
            "the test is lopsided"
        );
    }
}

fn v4(random: &mut Random) -> Ipv4Addr {
    random.one_of(&ADDRESSES_V4).into()
}

fn v6(random: &mut Random) -> Ipv6Addr {
    let embedded = |address: Ipv4Addr| {
        let [a, b, c, d] = address.octets();
        Ipv6Addr::from([
            0x20, 0x01, 0x0d, 0xb8, 0, 0x46, 0, 0, 0, 0, 0, 0, a, b, c, d,
        ])
    };
    match random.below(8) {
        0 => "2001:db8:12:34::1".parse().expect("an address"),
        1 => "2001:db8:cccc::7".parse().expect("an address"),
        2 => "2001:db8:dddd:0:6c00::".parse().expect("an address"),
        3 => random
            .one_of(&["::1", "fe80::1", "2001:db8:99::1"])
            .parse()
            .expect("an address"),
        _ => embedded(v4(random)),
    }
}

/// Returns a packet that is right in every way, with whatever headers may have.
fn valid_packet(random: &mut Random) -> Vec<u8> {
    let length = match random.below(10) {
        0 => random.below(1600),
        1 => 0,
        _ => random.below(40),
    };
    let data = random.octets(length);
    let protocol = match random.below(20) {
        0 => random.number() as u8,
        _ => random.one_of(&PROTOCOLS),
    };
    let mut packet = match random.below(2) {
        0 => packet::packet(v4(random).into(), v4(random).into(), protocol, &data),
        _ => packet::packet(v6(random).into(), v6(random).into(), protocol, &data),
    };
    match packet[0] >> 4 {
        4 => decorate_v4(random, &mut packet),
        _ => decorate_v6(random, &mut packet),
    }
    packet
}

fn decorate_v4(random: &mut Random, packet: &mut Vec<u8>) {
    packet[1] = random.number() as u8;
    packet[4..6].copy_from_slice(&random.octets(2));
    packet[6] = random.one_of(&[0, 0, 0x40, 0x40, 0x20, 0x80]);
    packet[8] = random.one_of(&[0, 1, 2, 64, 64, 64, 255]);
    if random.below(4) == 0 {
        let options: [&[u8]; 5] = [
            &[1, 1, 1, 1],
            &[0x94, 4, 0, 0],
            &[7, 11, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            &[0x83, 7, 8, 10, 0, 0, 1, 0],
            &[0x89, 7, 4, 10, 0, 0, 1, 0],
        ];
        let options = random.one_of(&options);
        packet.splice(20..20, options.iter().copied());
        packet[0] += options.len() as u8 / 4;
        let length = (packet.len() as u16).to_be_bytes();
        packet[2..4].copy_from_slice(&length);
    }
    packet::set_header_checksum(packet);
}

fn decorate_v6(random: &mut Random, packet: &mut Vec<u8>) {
    let octets = random.octets(3);
    packet[0] |= octets[0] & 0xf;
    packet[1..4].copy_from_slice(&[octets[1], octets[2], octets[0]]);
    packet[7] = random.one_of(&[0, 1, 2, 64, 64, 64, 255]);
    for _ in 0..random.one_of(&[0, 0, 0, 0, 1, 1, 2, 3]) {
        let kind = random.one_of(&[0, 60, 60, 43]);
        let units = random.below(3);
        let mut extension = vec![0; 8 + 8 * units];
        extension[0] = packet[6];
        extension[1] = units as u8;
        packet[6] = kind;
        packet.splice(40..40, extension);
        let length = (packet.len() as u16 - 40).to_be_bytes();
        packet[4..6].copy_from_slice(&length);
    }
}

/// Changes a few octets, cuts the end off or adds to it; the IPv4 header checksum is often made right again, so that
/// packets get further.
fn mutate(random: &mut Random, packet: &mut Vec<u8>) {
    for _ in 0..random.below(4) {
        // Headers are where it hurts.
        let end = if random.below(4) > 0 {
            packet.len().min(64)
        } else {
            packet.len()
        };
        if end > 0 {
            let at = random.below(end);
            let old = packet[at];
            let any = random.number() as u8;
            packet[at] = random.one_of(&[0, 1, 0xff, old ^ 1, old ^ 0x80, any]);
        }
    }
    match random.below(8) {
        0 => packet.truncate(random.below(packet.len() + 1)),
        1 => {
            let length = random.below(20);
            packet.extend(random.octets(length));
        }
        _ => {}
    }
    if random.below(3) > 0 {
        packet::set_header_checksum(packet);
    }
}

/// Puts a packet behind a link header, half of the time.
fn on_some_link(random: &mut Random, packet: &[u8], version: u8) -> (Link, Vec<u8>) {
    if random.below(2) == 0 {
        return (Link::Raw, packet.to_vec());
    }
    let mut frame = random.octets(12);
    for _ in 0..random.one_of(&[0, 0, 0, 1, 2, 3]) {
        frame.extend(random.one_of(&[[0x81, 0x00], [0x88, 0xa8]]));
        frame.extend(random.octets(2));
    }
    frame.extend(if version == 4 {
        [0x08, 0x00]
    } else {
        [0x86, 0xdd]
    });
    frame.extend(packet);
    (Link::Ethernet, frame)
}

#[test]
fn random_octets_do_no_harm() {
    let mut books = Books::open();
    repeat("random_octets_do_no_harm", 150_000, |random| {
        let length = random.below(120);
        let mut octets = random.octets(length);
        let version = random.one_of(&[4, 6]);
        // Pure noise never gets past the first look.
        if let Some(first) = octets.first_mut()
            && random.below(8) > 0
        {
            *first = version << 4 | *first & 0xf;
        }
        if version == 4 && length >= 20 && random.below(8) > 0 {
            octets[0] = 0x40 | random.one_of(&[5, 5, 6, 15]);
            octets[2..4].copy_from_slice(&(length as u16).to_be_bytes());
            let destination = v4(random).octets();
            octets[16..20].copy_from_slice(&destination);
            packet::set_header_checksum(&mut octets);
        }
        if version == 6 && length >= 40 && random.below(8) > 0 {
            octets[4..6].copy_from_slice(&(length as u16 - 40).to_be_bytes());
            octets[6] = random.one_of(&[0, 43, 60, 6, 17, 58, octets[6]]);
            let (source, destination) = (v6(random).octets(), v6(random).octets());
            octets[8..24].copy_from_slice(&source);
            octets[24..40].copy_from_slice(&destination);
        }
        let (link, octets) = on_some_link(random, &octets, version);
        books.translate(link, &octets);
    });
    books.close();
}

#[test]
fn valid_and_mutated_packets() {
    let mut books = Books::open();
    repeat("valid_and_mutated_packets", 150_000, |random| {
        let mut packet = valid_packet(random);
        let version = packet[0] >> 4;
        if random.below(3) > 0 {
            mutate(random, &mut packet);
        }
        let (link, octets) = on_some_link(random, &packet, version);
        books.translate(link, &octets);
    });
    books.close();
}

#[test]
fn packets_cut_off_at_each_length() {
    let mut books = Books::open();
    repeat("packets_cut_off_at_each_length", 200, |random| {
        let packet = valid_packet(random);
        let packet = &packet[..packet.len().min(160)];
        let frame = packet::frame(packet);
        for length in 0..packet.len() {
            books.translate(Link::Raw, &packet[..length]);
        }
        for length in 0..frame.len() {
            books.translate(Link::Ethernet, &frame[..length]);
        }
    });
    // Whole packets, or nothing would be sent.
    for protocol in [1, 6, 17] {
        let client = IpAddr::from([203, 0, 113, 50]);
        let whole = packet::packet(client, IpAddr::from([192, 0, 2, 1]), protocol, b"data");
        assert_eq!(books.translate(Link::Raw, &whole).len(), 1);
    }
    books.close();
}

/// What was broken on the way stays broken, so that the receiver finds out.
#[test]
fn an_invalid_transport_checksum_stays_invalid() {
    let mut books = Books::open();
    let mut seen = 0;
    repeat(
        "an_invalid_transport_checksum_stays_invalid",
        30_000,
        |random| {
            let mut packet = valid_packet(random);
            let header = if packet[0] >> 4 == 4 { 20 } else { 40 };
            if packet.len() == header {
                return;
            }
            let at = header + random.below(packet.len() - header);
            packet[at] ^= 1 << random.below(8);
            let judgement = packet::judge(&packet).map(|judgement| judgement.transport);
            if judgement == Some(Checksum::Invalid)
                && !books.translate(Link::Raw, &packet).is_empty()
            {
                seen += 1;
            }
        },
    );
    assert!(seen > 1000, "only {seen} packets were sent");
}

/// A lowered segment size is the only difference that the clamp makes, wherever the option stands, and a checksum is as right
/// or as wrong as it was.
#[test]
fn a_segment_size_is_lowered_and_nothing_else() {
    let relay = |clamp: &str| {
        let config = format!("prefix: 2001:db8:46::/96\ntranslation: {{ tcp_mss_clamp: {clamp} }}");
        let (config, tables) = case::configure(&config, EAM);
        Offline::new(&config, tables)
    };
    let (mut plain, mut clamping) = (relay("off"), relay("1000"));
    let mut seen = [0; 2];
    repeat(
        "a_segment_size_is_lowered_and_nothing_else",
        30_000,
        |random| {
            let (client, service) = match random.below(2) {
                0 => ("203.0.113.50", "192.0.2.1"),
                _ => ("2001:db8:12:34::1", "2001:db8:46::203.0.113.50"),
            };
            let address = |text: &str| -> IpAddr { text.parse().expect("an address") };
            // NOPs and a timestamp in front, so that the option stands at odd and even offsets; anything behind.
            let mut options = vec![1; random.below(6)];
            if random.below(3) == 0 {
                options.extend([8, 10, 1, 2, 3, 4, 5, 6, 7, 8]);
            }
            let announced = random.number() as u16;
            let at = 20 + options.len() + 2;
            options.extend([2, 4]);
            options.extend(announced.to_be_bytes());
            options.resize(options.len().next_multiple_of(4), 0);
            let length = random.below(40);
            let data = [&options[..], &random.octets(length)].concat();
            let mut packet = packet::packet(address(client), address(service), 6, &data);
            let header = if packet[0] >> 4 == 4 { 20 } else { 40 };
            // Data offset and flags make a SYN; what they add to the checksum is taken out of the urgent pointer.
            let is_valid = random.below(4) > 0;
            let old = u16::from_be_bytes([packet[header + 12], packet[header + 13]]);
            let flags = random.one_of(&[0x02, 0x12, 0xc2]);
            let new = ((20 + options.len() as u16) / 4) << 12 | flags;
            packet[header + 12..header + 14].copy_from_slice(&new.to_be_bytes());
            let urgent = u32::from(old) + u32::from(!new) + u32::from(!is_valid);
            let urgent = (urgent + (urgent >> 16)) as u16;
            packet[header + 18..header + 20].copy_from_slice(&urgent.to_be_bytes());
            let expected = match is_valid {
                true => Checksum::Valid,
                false => Checksum::Invalid,
            };
            let judged = |packet: &[u8]| packet::judge(packet).expect("it is whole").transport;
            assert_eq!(judged(&packet), expected);

            let unclamped = only(plain.translate(Link::Raw, &packet));
            let mut clamped = only(clamping.translate(Link::Raw, &packet));
            assert_eq!(judged(&clamped), expected, "{packet:02x?}");
            let header = if clamped[0] >> 4 == 4 { 20 } else { 40 };
            let mss = &mut clamped[header + at..header + at + 2];
            assert_eq!(mss, announced.min(1000).to_be_bytes());
            mss.copy_from_slice(&announced.to_be_bytes());
            clamped[header + 16..header + 18].copy_from_slice(&unclamped[header + 16..header + 18]);
            assert_eq!(clamped, unclamped);
            seen[usize::from(announced > 1000)] += 1;
        },
    );
    assert!(seen.into_iter().all(|seen| seen > 100), "{seen:?}");
}

/// Returns the one packet that was sent.
fn only(mut sent: Vec<Vec<u8>>) -> Vec<u8> {
    assert_eq!(sent.len(), 1, "{sent:02x?}");
    sent.remove(0)
}

/// IPv4 to IPv6 and back changes the TTL, the Identification and what follows from them; DF and options have rules of
/// their own.
#[test]
fn there_is_a_way_back() {
    // Where EAMs are bijective, a second relay whose prefix covers all services goes the way back.
    let policy = "translation: { udp_zero_checksum: forward }";
    let (config, tables) = case::configure(
        &format!("prefix: 2001:db8:46::/96\nipv4_translatable: [198.51.100.0/24]\n{policy}"),
        EAM,
    );
    let mut there = Offline::new(&config, tables);
    let (config, tables) = case::configure(&format!("prefix: 2001:db8::/32\n{policy}"), EAM);
    let mut back_by_eam = Offline::new(&config, tables);
    // Another with the same prefix, behind which those services are that the first one knows.
    let (config, tables) = case::configure(&format!("prefix: 2001:db8:46::/96\n{policy}"), EAM);
    let mut back_by_prefix = Offline::new(&config, tables);
    let mut seen = [0; 2];
    repeat("there_is_a_way_back", 60_000, |random| {
        let services = [[192, 0, 2, 1], [192, 0, 2, 23], [192, 0, 2, 155]];
        let is_by_eam = random.below(2) == 0;
        let (source, destination) = match is_by_eam {
            true => (random.one_of(&services), random.one_of(&services)),
            false => (
                [203, 0, 113, random.number() as u8],
                [198, 51, 100, random.number() as u8],
            ),
        };
        let protocol = random.one_of(&[1, 6, 17, 33, 136, 132, 50, 253]);
        let length = random.below(200);
        let data = random.octets(length);
        let mut original = packet::packet(
            IpAddr::from(source),
            IpAddr::from(destination),
            protocol,
            &data,
        );
        original[1] = random.number() as u8;
        original[8] = 3 + random.below(253) as u8;
        let has_no_checksum = protocol == 17 && random.below(4) == 0;
        if has_no_checksum {
            original[26..28].fill(0);
        } else if random.below(8) == 0 && original.len() > 20 {
            let last = original.len() - 1;
            original[last] ^= 1;
        }
        packet::set_header_checksum(&mut original);

        let ipv6 = only(there.translate(Link::Raw, &original));
        let back = match is_by_eam {
            true => &mut back_by_eam,
            false => &mut back_by_prefix,
        };
        let mut restored = only(back.translate(Link::Raw, &ipv6));
        assert_eq!(restored[8], original[8] - 2, "TTL");
        restored[4..6].copy_from_slice(&original[4..6]);
        restored[8] = original[8];
        packet::set_header_checksum(&mut restored);
        assert_eq!(restored, original, "by way of {ipv6:02x?}");
        seen[usize::from(is_by_eam)] += 1;
    });
    assert!(seen.into_iter().all(|seen| seen > 1000), "{seen:?}");
}

/// A hairpinned packet leaves as it would have after a way through the IPv4 network (RFC 7757, 4.2.2): translated by one relay,
/// and by another with `hairpin: simple` back again.
#[test]
fn hairpinning_is_a_way_through_ipv4() {
    let relay = |hairpin: &str, policy: &str| {
        let config =
            format!("prefix: 2001:db8:46::/96\ntranslation: {{ hairpin: {hairpin}, {policy} }}");
        let (config, tables) = case::configure(&config, EAM);
        Offline::new(&config, tables)
    };
    let policies = [
        "udp_zero_checksum: drop",
        "udp_zero_checksum: compute, tos: 7, traffic_class: 9",
        "udp_zero_checksum: forward, lowest_ipv6_mtu: 1400",
        "atomic_fragments: on, lowest_ipv6_mtu: 1500",
        "tcp_mss_clamp: 1000",
    ];
    let mut seen = [0; 3];
    let mut relays: Vec<[Offline; 3]> = policies
        .iter()
        .map(|policy| {
            let first = format!("{policy}, mtu: {{ ipv4: 65535 }}");
            [
                relay("intrinsic", policy),
                relay("off", &first),
                relay("simple", policy),
            ]
        })
        .collect();
    repeat("hairpinning_is_a_way_through_ipv4", 30_000, |random| {
        let services = [
            "2001:db8:12:34::1",
            "2001:db8:cccc::7",
            "2001:db8:46::203.0.113.50",
        ];
        let others = ["2001:db8:46::192.0.2.1", "2001:db8:46::192.0.2.23"];
        let address = |text: &str| -> IpAddr { text.parse().expect("an address") };
        let length = match random.below(3) {
            0 => random.below(1500),
            _ => random.below(60),
        };
        let data = random.octets(length);
        let protocol = random.one_of(&[6, 17, 17, 58, 33, 132, 50]);
        let mut original = packet::packet(
            address(random.one_of(&services)),
            address(random.one_of(&others)),
            protocol,
            &data,
        );
        if protocol == 17 && random.below(3) == 0 {
            original[46..48].fill(0);
        }
        let is_fragment = protocol != 58 && random.below(2) == 0;
        if is_fragment {
            let flags = random.one_of(&[0, 1, 8, 9, 0x101]) as u16;
            let mut fragment = vec![original[6], 0];
            fragment.extend(flags.to_be_bytes());
            fragment.extend(random.octets(4));
            original[6] = 44;
            original.splice(40..40, fragment);
            let length = (original.len() as u16 - 40).to_be_bytes();
            original[4..6].copy_from_slice(&length);
        }
        decorate_v6(random, &mut original);
        original[7] = random.one_of(&[3, 64, 255]);

        let number = random.below(relays.len());
        let [direct, first, second] = &mut relays[number];
        let sent = direct.translate(Link::Raw, &original);
        let ipv4 = first.translate(Link::Raw, &original);
        let mut detour = match ipv4.first().map(|packet| packet[0] >> 4) {
            Some(4) => ipv4
                .iter()
                .flat_map(|packet| second.translate(Link::Raw, packet))
                .collect(),
            Some(_) | None => ipv4,
        };
        let is_refused =
            |sent: &[Vec<u8>]| sent.is_empty() || sent.iter().any(|packet| is_icmp_error(packet));
        if is_refused(&sent) || is_refused(&detour) {
            assert_eq!(is_refused(&sent), is_refused(&detour), "{original:02x?}");
            seen[0] += 1;
            return;
        }
        for packet in &mut detour {
            packet[7] += 1;
        }
        assert_eq!(sent, detour, "{}: {original:02x?}", policies[number]);
        seen[1 + usize::from(sent.len() > 1)] += 1;
    });
    assert!(seen.into_iter().all(|seen| seen > 300), "{seen:?}");
}
