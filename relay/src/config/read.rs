//! The keys of `relay.yaml`, in the order of the file, each with its default.
//!
//! A value that this version cannot act on is refused, so that nobody relies on what does not happen.

use super::control::control;
use super::interfaces::interfaces;
use super::keys::{ICMP, MTU, OWN, TOP, TRANSLATION, WORKERS};
use super::section::{Problems, Section, auto_or, number, off_or, scalar};
use super::tree::{self, Content};
use super::{
    Config, FastPath, Forwarding, IcmpErrors, MtuOverride, OwnAddresses, SourceChoice, Wait,
};
use eam_tables::{PrefixSet4, Problem, parse_ipv4_prefix, parse_ipv6_prefix};
use ipnet::{Ipv4Net, Ipv6Net};
use relay_core::Policy;
use relay_core::address::{self, Prefix};
use relay_core::policy::{
    AtomicFragments, Hairpin, Plateaus, ServiceOctet, TcpMssClamp, UdpZeroChecksum, WkpNonGlobal,
};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a configuration file holds.
pub(super) struct Contents {
    /// There is none if any problem is an error.
    pub(super) config: Option<Config>,
    /// The EAM files that could be opened.
    pub(super) eam: Vec<PathBuf>,
    pub(super) problems: Vec<Problem>,
}

/// Reads the text of the file at `path`.
pub(super) fn read(path: &Path, text: &str) -> Contents {
    let shared: Arc<Path> = Arc::from(path);
    let mut problems = Problems::new(shared.clone());
    let root = match tree::parse(&shared, text) {
        Ok(root) => root,
        Err(problem) => {
            return Contents {
                config: None,
                eam: Vec::new(),
                problems: vec![problem],
            };
        }
    };
    if matches!(root.content, Content::Nothing) {
        problems.whole_file("the file is empty; `prefix` and `interfaces` are needed at least");
        return Contents {
            config: None,
            eam: Vec::new(),
            problems: problems.finish(),
        };
    }
    let mut top = Section::open(root, "", &TOP, &mut problems);
    let eam = eam(&mut top, path, &mut problems);
    let config = config(top, eam.clone(), &mut problems);
    let has_errors = problems.has_errors();
    Contents {
        config: config.filter(|_| !has_errors),
        eam,
        problems: problems.finish(),
    }
}

/// Where the XDP program is pinned unless the configuration says otherwise.
const DEFAULT_PIN: &str = "/sys/fs/bpf/siit-relay";

/// The highest number of a processor that the kernel's interface takes in its usual form.
const MAX_CPU: u32 = 1023;

fn config(mut top: Section, eam: Vec<PathBuf>, problems: &mut Problems) -> Option<Config> {
    top.choice("role", (), &[("border", ())], problems, &["edge"]);
    let prefix = top.require("prefix", problems);
    let prefix = prefix.and_then(|(key_place, node)| {
        scalar("prefix", &key_place, &node, problems, translation_prefix)
    });
    let place_of_translatable = top.place_of("ipv4_translatable");
    let ipv4_translatable = prefixes(&mut top, "ipv4_translatable", problems);
    // RFC 6052, 3.1: "The Well-Known Prefix SHOULD NOT be used to construct IPv4-translatable IPv6 addresses."
    if let Some(place) = place_of_translatable
        && prefix.is_some_and(|prefix| prefix.is_well_known())
        && !ipv4_translatable.is_empty()
    {
        let why =
            "64:ff9b::/96 should not stand for services (RFC 6052, 3.1); use a prefix of your own";
        problems.warning(&place, format!("`ipv4_translatable`: {why}"));
    }
    let service_pools = prefixes(&mut top, "service_pools", problems);
    let denylist4 = prefixes(&mut top, "denylist4", problems);
    let interfaces = interfaces(&mut top, problems);
    let fast_paths = [("xdp", FastPath::Xdp), ("af_xdp", FastPath::AfXdp)];
    let fast_path = top.choice("fast_path", FastPath::Xdp, &fast_paths, problems, &[]);
    let forwardings = [
        ("direct", Forwarding::Direct),
        ("kernel", Forwarding::Kernel),
    ];
    let forwarding = top.choice(
        "forwarding",
        Forwarding::Direct,
        &forwardings,
        problems,
        &[],
    );
    let pin = top.parsed("pin", Some(DEFAULT_PIN.into()), problems, off_or(pin));
    let (policy, mtu) = translation(&mut top, prefix.unwrap_or(Prefix::WELL_KNOWN), problems);
    let (icmp, interface_object) = icmp(&mut top, problems);
    let policy = Policy {
        interface_object,
        ..policy
    };
    let control = control(&mut top, problems);
    let mut workers = top.section("workers", &WORKERS, problems);
    let cpus = workers.numbers("cpus", "auto", MAX_CPU, problems);
    let waits = [
        ("poll", Wait::Poll),
        ("busy", Wait::Busy),
        ("prefer-busy-poll", Wait::PreferBusyPoll),
    ];
    let wait = workers.choice("wait", Wait::Poll, &waits, problems, &[]);
    prefix?;
    Some(Config {
        policy,
        eam,
        ipv4_translatable,
        service_pools,
        denylist4,
        interfaces,
        fast_path,
        forwarding,
        pin,
        mtu,
        icmp,
        control,
        cpus: cpus.map(|cpus| cpus.into_iter().map(|cpu| cpu as usize).collect()),
        wait,
    })
}

fn pin(text: &str) -> Result<PathBuf, &'static str> {
    match Path::new(text) {
        path if path.is_absolute() => Ok(path.to_owned()),
        _ => Err("must be `off` or an absolute path in a BPF file system"),
    }
}

/// Reads `eam`: one path or a list of them, relative to the configuration file.
fn eam(top: &mut Section, config: &Path, problems: &mut Problems) -> Vec<PathBuf> {
    let Some((key_place, node)) = top.take("eam") else {
        return Vec::new();
    };
    let nodes = match node.content {
        Content::List(items) => items,
        Content::Nothing | Content::Scalar(_) | Content::Mapping(_) => vec![node],
    };
    let folder = config.parent().unwrap_or(Path::new(""));
    let mut paths: Vec<PathBuf> = Vec::new();
    for node in &nodes {
        if matches!(node.content, Content::List(_) | Content::Mapping(_)) {
            let message = format!(
                "`eam` must be a path or a list of paths, found {}; mappings have a file of their own",
                node.content
            );
            problems.error(&node.place, message);
            continue;
        }
        let path = scalar("eam", &key_place, node, problems, |text| {
            let path = folder.join(text);
            match std::fs::File::open(&path).and_then(|file| file.metadata()) {
                Ok(_) if paths.contains(&path) => Err("is listed twice".to_owned()),
                Ok(metadata) if metadata.is_dir() => {
                    Err("is a directory; name the files".to_owned())
                }
                Ok(_) => Ok(path),
                Err(error) => Err(format!("cannot open `{}`: {error}", path.display())),
            }
        });
        paths.extend(path);
    }
    paths
}

fn translation_prefix(text: &str) -> Result<Prefix, String> {
    let net = parse_ipv6_prefix(text).map_err(|error| error.to_string())?;
    if address::is_illegal_source_v6(net.network()) {
        return Err(
            "a translation prefix must be of unicast addresses that routers forward".to_owned(),
        );
    }
    Prefix::new(net.network(), net.prefix_len()).map_err(|error| error.to_string())
}

fn prefixes(top: &mut Section, key: &str, problems: &mut Problems) -> PrefixSet4 {
    top.items(key, problems, parse_ipv4_prefix)
        .into_iter()
        .collect()
}

fn translation(
    top: &mut Section,
    prefix: Prefix,
    problems: &mut Problems,
) -> (Policy, MtuOverride) {
    let mut section = top.section("translation", &TRANSLATION, problems);
    let default = Policy::new(prefix);
    let hairpin = [
        ("intrinsic", Hairpin::Intrinsic),
        ("simple", Hairpin::Simple),
        ("off", Hairpin::Off),
    ];
    let zero = [
        ("drop", UdpZeroChecksum::Drop),
        ("compute", UdpZeroChecksum::Compute),
        ("forward", UdpZeroChecksum::Forward),
    ];
    let non_global = [
        ("drop", WkpNonGlobal::Drop),
        ("translate", WkpNonGlobal::Translate),
    ];
    let policy = Policy {
        hairpin: section.choice("hairpin", default.hairpin, &hairpin, problems, &[]),
        udp_zero_checksum: section.choice(
            "udp_zero_checksum",
            default.udp_zero_checksum,
            &zero,
            problems,
            &[],
        ),
        traffic_class: section.parsed(
            "traffic_class",
            default.traffic_class,
            problems,
            service_octet,
        ),
        tos: section.parsed("tos", default.tos, problems, service_octet),
        lowest_ipv6_mtu: section.parsed(
            "lowest_ipv6_mtu",
            default.lowest_ipv6_mtu,
            problems,
            number(1280, 65535),
        ),
        wkp_non_global: section.choice(
            "wkp_non_global",
            default.wkp_non_global,
            &non_global,
            problems,
            &[],
        ),
        atomic_fragments: section.choice(
            "atomic_fragments",
            default.atomic_fragments,
            &[("off", AtomicFragments::Off), ("on", AtomicFragments::On)],
            problems,
            &[],
        ),
        mtu_plateaus: plateaus(&mut section, problems),
        tcp_mss_clamp: section.parsed(
            "tcp_mss_clamp",
            default.tcp_mss_clamp,
            problems,
            tcp_mss_clamp,
        ),
        ..default
    };
    let mut section = section.section("mtu", &MTU, problems);
    let mtu = MtuOverride {
        ipv4: section.parsed("ipv4", None, problems, auto_or(number(68, 65535))),
        ipv6: section.parsed("ipv6", None, problems, auto_or(number(1280, 65535))),
    };
    (policy, mtu)
}

/// Reads `mtu_plateaus`, whose default is RFC 1191's table.
fn plateaus(section: &mut Section, problems: &mut Problems) -> Plateaus {
    let Some(place) = section.place_of("mtu_plateaus") else {
        return Plateaus::RFC_1191;
    };
    let values = section.items("mtu_plateaus", problems, number(68, 65535));
    let values: Vec<u16> = values.into_iter().map(|value| value as u16).collect();
    Plateaus::new(&values).unwrap_or_else(|| {
        let message = format!(
            "`translation.mtu_plateaus` may have {} values at most",
            Plateaus::MAX
        );
        problems.error(&place, message);
        Plateaus::RFC_1191
    })
}

fn service_octet(text: &str) -> Result<ServiceOctet, &'static str> {
    match (text, text.parse()) {
        ("copy", _) => Ok(ServiceOctet::Copy),
        (_, Ok(value)) => Ok(ServiceOctet::Set(value)),
        (_, Err(_)) => Err("must be `copy` or a number from 0 to 255"),
    }
}

/// The segment in octets that the least MTU of IPv4 leaves room for.
const LEAST_MSS: u16 = 28;

fn tcp_mss_clamp(text: &str) -> Result<TcpMssClamp, String> {
    match (text, text.parse()) {
        ("off", _) => Ok(TcpMssClamp::Off),
        ("auto", _) => Ok(TcpMssClamp::Auto),
        (_, Ok(octets)) if octets >= LEAST_MSS => Ok(TcpMssClamp::AtMost(octets)),
        (_, Ok(_) | Err(_)) => Err(format!(
            "must be `off`, `auto` or a number from {LEAST_MSS} to {}",
            u16::MAX
        )),
    }
}

/// Reads `icmp`; the second value is whether errors name the source that they had.
fn icmp(top: &mut Section, problems: &mut Problems) -> (IcmpErrors, bool) {
    /// What `errors` can say.
    #[derive(Clone, Copy)]
    enum Errors {
        On,
        RateLimited,
        Off,
    }
    let mut section = top.section("icmp", &ICMP, problems);
    let errors = [
        ("on", Errors::On),
        ("rate-limited", Errors::RateLimited),
        ("off", Errors::Off),
    ];
    let errors = section.choice("errors", Errors::RateLimited, &errors, problems, &[]);
    let rate = section.parsed("rate", 1000, problems, number(1, 1_000_000_000));
    let choices = [
        ("random", SourceChoice::Random),
        ("hop-limit", SourceChoice::HopLimit),
    ];
    let source_choice = section.choice(
        "source_choice",
        SourceChoice::Random,
        &choices,
        problems,
        &[],
    );
    let on_off = [("on", true), ("off", false)];
    let interface_object = section.choice("interface_object", true, &on_off, problems, &[]);
    let place_of_sources = section.place_of("ipv4_sources");
    let ipv4_sources = section.items("ipv4_sources", problems, source_v4);
    // RFC 6791, 3.1: "It SHOULD NOT be drawn from [RFC1918] or [RFC6598] address space".
    if let Some(place) = place_of_sources
        && let Some(private) = ipv4_sources.iter().find(|prefix| is_private(prefix))
    {
        let why = "is private; errors from there are likely to be filtered (RFC 6791, 3.1)";
        problems.warning(&place, format!("`icmp.ipv4_sources`: `{private}` {why}"));
    }
    let ipv6_sources = section.items("ipv6_sources", problems, source_v6);
    let mut own = section.section("own", &OWN, problems);
    let own = OwnAddresses {
        ipv4: own.parsed("ipv4", None, problems, auto_or(own_v4)),
        ipv6: own.parsed("ipv6", None, problems, auto_or(own_v6)),
    };
    let rate = match errors {
        Errors::On => None,
        Errors::RateLimited => Some(rate),
        Errors::Off => Some(0),
    };
    let icmp = IcmpErrors {
        rate,
        own,
        ipv4_sources,
        ipv6_sources,
        source_choice,
    };
    (icmp, interface_object)
}

/// Reads a prefix of addresses that packets may come from.
fn source_v4(text: &str) -> Result<Ipv4Net, String> {
    let prefix = parse_ipv4_prefix(text).map_err(|error| error.to_string())?;
    match address::is_illegal_source_v4(prefix.network()) {
        true => Err("no packet from it would be forwarded".to_owned()),
        false => Ok(prefix),
    }
}

/// Reads a prefix of addresses that packets may come from.
fn source_v6(text: &str) -> Result<Ipv6Net, String> {
    let prefix = parse_ipv6_prefix(text).map_err(|error| error.to_string())?;
    match address::is_illegal_source_v6(prefix.network()) {
        true => Err("no packet from it would be forwarded".to_owned()),
        false => Ok(prefix),
    }
}

/// Says whether a prefix lies in the private address space of RFC 1918 or the shared one of RFC 6598.
fn is_private(prefix: &Ipv4Net) -> bool {
    let shared = Ipv4Net::new_assert(Ipv4Addr::new(100, 64, 0, 0), 10);
    prefix.network().is_private() || shared.contains(prefix)
}

fn own_v4(text: &str) -> Result<Ipv4Addr, &'static str> {
    match text.parse() {
        Ok(address) if address::is_illegal_source_v4(address) => {
            Err("no packet from it would be forwarded")
        }
        Ok(address) => Ok(address),
        Err(_) => Err("must be `auto` or an IPv4 address"),
    }
}

fn own_v6(text: &str) -> Result<Ipv6Addr, &'static str> {
    match text.parse() {
        Ok(address) if address::is_illegal_source_v6(address) => {
            Err("no packet from it would be forwarded")
        }
        Ok(address) => Ok(address),
        Err(_) => Err("must be `auto` or an IPv6 address"),
    }
}
