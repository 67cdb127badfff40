//! Which files the object of the benchmarks is made of. How the number for their contents is found, the relay's own list says.

#[path = "../../ebpf/sources.rs"]
#[allow(
    dead_code,
    reason = "the list of the relay's own sources is not wanted here"
)]
mod relay;

pub(crate) use relay::hash;

/// Everything that the object is built from: files, and directories with all they hold, relative to the repository.
pub(crate) const INPUTS: [&str; 5] = [
    "benches/ebpf/.cargo",
    "benches/ebpf/Cargo.lock",
    "benches/ebpf/Cargo.toml",
    "benches/ebpf/src",
    "ebpf/build.sh",
];
