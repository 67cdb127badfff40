//! The keys that `relay.yaml` may have, section by section, in the order of `docs/configuration.md`.

pub(super) const TOP: [&str; 14] = [
    "role",
    "prefix",
    "eam",
    "ipv4_translatable",
    "service_pools",
    "denylist4",
    "interfaces",
    "fast_path",
    "forwarding",
    "pin",
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
pub(super) const CONTROL: [&str; 4] = ["socket", "group", "metrics", "watch"];
pub(super) const WORKERS: [&str; 2] = ["cpus", "wait"];
