//! Puts the XDP object of the benchmarks where `src/object.rs` embeds it: the committed one if it was built from the sources
//! that are there, otherwise a fresh build by `ebpf/build.sh`, which needs the toolchain that `ebpf/toolchain.sh` installs.

use std::{env, path::Path};

#[path = "../ebpf/embed.rs"]
mod embed;
#[path = "ebpf/sources.rs"]
mod sources;

const PACKAGE: embed::Package = embed::Package {
    folder: "benches/ebpf",
    object: "siit_bench.bpf.o",
    inputs: &sources::INPUTS,
    hash: sources::hash,
};

fn main() {
    if let Err(problem) = provide() {
        println!("cargo::error={problem}");
    }
}

fn provide() -> Result<(), String> {
    let variable = |name: &str| env::var_os(name).ok_or(format!("{name} is not set"));
    let repository = Path::new(&variable("CARGO_MANIFEST_DIR")?).join("..");
    let output = Path::new(&variable("OUT_DIR")?).join(PACKAGE.object);
    PACKAGE.provide(&repository, &output)
}
