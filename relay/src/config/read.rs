//! The keys of `relay.yaml`, in the order of the file, each with its default.
//!
//! A value that this version cannot act on is refused, so that nobody relies on what does not happen.

use super::section::{Problems, Section, auto_or, number, scalar};
use super::tree::{self, Content, Node};
use super::{Config, IcmpErrors, Interface, MtuOverride, OwnAddresses, SourceChoice, XdpMode};
use af_xdp::ZeroCopy;
use eam_tables::{Place, PrefixSet4, Problem, parse_ipv4_prefix, parse_ipv6_prefix};
use relay_core::Policy;
use relay_core::address::Prefix;
use relay_core::policy::{
    AtomicFragments, Hairpin, Plateaus, ServiceOctet, UdpZeroChecksum, WkpNonGlobal,
};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(super) const TOP: [&str; 13] = [
    "role",
    "prefix",
    "eam",
    "ipv4_translatable",
    "service_pools",
    "denylist4",
    "interfaces",
    "fast_path",
    "forwarding",
    "translation",
    "icmp",
    "control",
    "workers",
];
pub(super) const INTERFACE: [&str; 4] = ["name", "xdp", "queues", "zero_copy"];
pub(super) const TRANSLATION: [&str; 10] = [
    "hairpin",
    "atomic_fragments",
    "udp_zero_checksum",
    "traffic_class",
    "tos",
    "lowest_ipv6_mtu",
    "mtu",
    "mtu_plateaus",
    "tcp_mss_clamp",
    "wkp_non_global",
];
pub(super) const MTU: [&str; 2] = ["ipv4", "ipv6"];
pub(super) const ICMP: [&str; 7] = [
    "errors",
    "rate",
    "own",
    "ipv4_sources",
    "ipv6_sources",
    "source_choice",
    "interface_object",
];
pub(super) const OWN: [&str; 2] = ["ipv4", "ipv6"];
pub(super) const CONTROL: [&str; 2] = ["socket", "metrics"];
pub(super) const WORKERS: [&str; 1] = ["cpus"];

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
            return Contents { config: None, eam: Vec::new(), problems: vec![problem] };
        }
    };
    if matches!(root.content, Content::Nothing) {
        problems.whole_file("the file is empty; `prefix` and `interfaces` are needed at least");
        return Contents { config: None, eam: Vec::new(), problems: problems.finish() };
    }
    let mut top = Section::open(root, "", &TOP, &mut problems);
    let eam = eam(&mut top, path, &mut problems);
    let config = config(top, eam.clone(), &mut problems);
    let has_errors = problems.has_errors();
    Contents { config: config.filter(|_| !has_errors), eam, problems: problems.finish() }
}

fn config(mut top: Section, eam: Vec<PathBuf>, problems: &mut Problems) -> Option<Config> {
    top.choice("role", (), &[("border", ())], problems, &["edge"]);
    let prefix = top.require("prefix", problems);
    let prefix = prefix.and_then(|node| {
        scalar("prefix", &node.place, &node, problems, translation_prefix)
    });
    let ipv4_translatable = prefixes(&mut top, "ipv4_translatable", problems);
    let service_pools = prefixes(&mut top, "service_pools", problems);
    let denylist4 = prefixes(&mut top, "denylist4", problems);
    let interfaces = interfaces(&mut top, problems);
    top.choice("fast_path", (), &[("af_xdp", ())], problems, &["xdp"]);
    top.choice("forwarding", (), &[("direct", ())], problems, &["kernel"]);
    let (policy, mtu) = translation(&mut top, prefix.unwrap_or(Prefix::WELL_KNOWN), problems);
    let (icmp, interface_object) = icmp(&mut top, problems);
    let policy = Policy { interface_object, ..policy };
    control(&mut top, problems);
    let mut workers = top.section("workers", &WORKERS, problems);
    let cpus = numbers(&mut workers, "cpus", "auto", problems);
    prefix?;
    Some(Config {
        policy,
        eam,
        ipv4_translatable,
        service_pools,
        denylist4,
        interfaces,
        mtu,
        icmp,
        cpus: cpus.map(|cpus| cpus.into_iter().map(|cpu| cpu as usize).collect()),
    })
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
        let path = scalar("eam", &key_place, node, problems, |text| {
            let path = folder.join(text);
            match std::fs::File::open(&path) {
                Ok(_) if paths.contains(&path) => Err("the file is listed twice".to_owned()),
                Ok(_) => Ok(path),
                Err(error) => Err(format!("cannot open {}: {error}", path.display())),
            }
        });
        paths.extend(path);
    }
    paths
}

fn translation_prefix(text: &str) -> Result<Prefix, String> {
    let net = parse_ipv6_prefix(text).map_err(|error| error.to_string())?;
    Prefix::new(net.network(), net.prefix_len()).map_err(|error| error.to_string())
}

fn prefixes(top: &mut Section, key: &str, problems: &mut Problems) -> PrefixSet4 {
    top.items(key, problems, parse_ipv4_prefix).into_iter().collect()
}

fn interfaces(top: &mut Section, problems: &mut Problems) -> Vec<Interface> {
    let Some(node) = top.require("interfaces", problems) else {
        return Vec::new();
    };
    let items = match node.content {
        Content::List(items) if !items.is_empty() => items,
        content => {
            let found = match content {
                Content::List(_) => "an empty list".to_owned(),
                Content::Nothing | Content::Scalar(_) | Content::Mapping(_) => content.to_string(),
            };
            let message = format!("`interfaces` must be a list of mappings with `name`, found {found}");
            problems.error(&node.place, message);
            return Vec::new();
        }
    };
    let mut interfaces: Vec<Interface> = Vec::new();
    for item in items {
        let Some(interface) = interface(item, problems) else {
            continue;
        };
        if let Some(first) = interfaces.iter().find(|other| other.name == interface.name) {
            let message = format!("interface `{}` is listed twice; the first is at {}", first.name, first.place);
            problems.error(&interface.place, message);
        } else {
            interfaces.push(interface);
        }
    }
    interfaces
}

fn interface(item: Node, problems: &mut Problems) -> Option<Interface> {
    let mut section = Section::open(item, "interfaces.", &INTERFACE, problems);
    let xdp = [("auto", XdpMode::Auto), ("native", XdpMode::Native), ("generic", XdpMode::Generic)];
    let xdp = section.choice("xdp", XdpMode::Auto, &xdp, problems, &[]);
    let zero_copy = [("auto", ZeroCopy::Auto), ("on", ZeroCopy::On), ("off", ZeroCopy::Off)];
    let zero_copy = section.choice("zero_copy", ZeroCopy::Auto, &zero_copy, problems, &[]);
    let queues = numbers(&mut section, "queues", "all", problems);
    let node = section.require("name", problems)?;
    let name = scalar("interfaces.name", &node.place, &node, problems, interface_name)?;
    Some(Interface { name, place: node.place, xdp, queues, zero_copy })
}

/// Checks a name by the kernel's rule, so that a typing error is not taken for a missing interface.
fn interface_name(text: &str) -> Result<String, &'static str> {
    let is_valid = !text.is_empty()
        && text.len() <= 15
        && text != "."
        && text != ".."
        && !text.contains(|c: char| c == '/' || c == ':' || c.is_whitespace());
    is_valid
        .then(|| text.to_owned())
        .ok_or("an interface name has 1 to 15 octets, without spaces, `/` and `:`")
}

/// Reads a list of numbers, or the word that stands for all of them.
fn numbers(section: &mut Section, key: &str, all: &str, problems: &mut Problems) -> Option<Vec<u32>> {
    section.scalar_or_items(key, all, problems, number(0, 4095))
}

fn translation(top: &mut Section, prefix: Prefix, problems: &mut Problems) -> (Policy, MtuOverride) {
    let mut section = top.section("translation", &TRANSLATION, problems);
    let default = Policy::new(prefix);
    let hairpin = [("intrinsic", Hairpin::Intrinsic), ("simple", Hairpin::Simple), ("off", Hairpin::Off)];
    let zero = [
        ("drop", UdpZeroChecksum::Drop),
        ("compute", UdpZeroChecksum::Compute),
        ("forward", UdpZeroChecksum::Forward),
    ];
    let non_global = [("drop", WkpNonGlobal::Drop), ("translate", WkpNonGlobal::Translate)];
    let policy = Policy {
        hairpin: section.choice("hairpin", default.hairpin, &hairpin, problems, &[]),
        udp_zero_checksum: section.choice("udp_zero_checksum", default.udp_zero_checksum, &zero, problems, &[]),
        traffic_class: section.parsed("traffic_class", default.traffic_class, problems, service_octet),
        tos: section.parsed("tos", default.tos, problems, service_octet),
        lowest_ipv6_mtu: section.parsed(
            "lowest_ipv6_mtu",
            default.lowest_ipv6_mtu,
            problems,
            number(1280, 65535),
        ),
        wkp_non_global: section.choice("wkp_non_global", default.wkp_non_global, &non_global, problems, &[]),
        atomic_fragments: section.choice(
            "atomic_fragments",
            default.atomic_fragments,
            &[("off", AtomicFragments::Off), ("on", AtomicFragments::On)],
            problems,
            &[],
        ),
        mtu_plateaus: plateaus(&mut section, problems),
        ..default
    };
    section.choice("tcp_mss_clamp", (), &[("off", ())], problems, &["auto"]);
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
        let message = format!("`translation.mtu_plateaus` may have {} values at most", Plateaus::MAX);
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
    let source_choice = section.choice("source_choice", SourceChoice::Random, &choices, problems, &[]);
    let on_off = [("on", true), ("off", false)];
    let interface_object = section.choice("interface_object", true, &on_off, problems, &[]);
    let ipv4_sources = section.items("ipv4_sources", problems, parse_ipv4_prefix);
    let ipv6_sources = section.items("ipv6_sources", problems, parse_ipv6_prefix);
    let mut own = section.section("own", &OWN, problems);
    let own = OwnAddresses {
        ipv4: own.parsed("ipv4", None, problems, auto_or(str::parse::<Ipv4Addr>)),
        ipv6: own.parsed("ipv6", None, problems, auto_or(str::parse::<Ipv6Addr>)),
    };
    let rate = match errors {
        Errors::On => None,
        Errors::RateLimited => Some(rate),
        Errors::Off => Some(0),
    };
    let icmp = IcmpErrors { rate, own, ipv4_sources, ipv6_sources, source_choice };
    (icmp, interface_object)
}

fn control(top: &mut Section, problems: &mut Problems) {
    let mut section = top.section("control", &CONTROL, problems);
    for key in CONTROL {
        let place = section.place_of(key);
        no_effect(&format!("control.{key}"), place, "the relay does not listen yet", problems);
    }
    section.parsed("socket", (), problems, |text| match Path::new(text).is_absolute() {
        true => Ok(()),
        false => Err("must be an absolute path"),
    });
    section.parsed("metrics", (), problems, |text| match text.parse::<SocketAddr>() {
        Ok(_) => Ok(()),
        Err(_) => Err("must be an address and a port, as 127.0.0.1:9469 or [::1]:9469"),
    });
}

/// Warns about a key whose value is understood but changes nothing.
fn no_effect(name: &str, place: Option<Place>, why: &str, problems: &mut Problems) {
    if let Some(place) = place {
        problems.warning(&place, format!("`{name}` has no effect: {why}"));
    }
}
