//! Puts the XDP object where `src/driver/object.rs` embeds it. Needs nothing but stable Rust, unless the object's sources were
//! edited.
//!
//! - `SIIT_RELAY_EBPF_OBJECT=PATH` embeds that object, whatever it was built from;
//! - otherwise the object in `ebpf/object`, if it was built from the sources that are there;
//! - otherwise `ebpf/build.sh` builds one.

use std::{
    env,
    path::{Path, PathBuf},
};

#[path = "../ebpf/embed.rs"]
mod embed;
#[path = "../ebpf/sources.rs"]
mod sources;

const PACKAGE: embed::Package = embed::Package {
    folder: "ebpf",
    object: "siit_relay.bpf.o",
    inputs: &sources::INPUTS,
    hash: sources::hash,
};

fn main() {
    if let Err(problem) = provide() {
        println!("cargo::error={problem}");
    }
}

/// Writes the object to the build's own directory, or says what is wrong.
fn provide() -> Result<(), String> {
    let repository = directory("CARGO_MANIFEST_DIR")?.join("..");
    let output = directory("OUT_DIR")?.join(PACKAGE.object);

    println!("cargo::rerun-if-env-changed=SIIT_RELAY_EBPF_OBJECT");
    if let Some(object) = env::var_os("SIIT_RELAY_EBPF_OBJECT") {
        let object = Path::new(&object);
        println!("cargo::rerun-if-changed={}", object.display());
        return embed::copy(object, &output)
            .map_err(|problem| format!("SIIT_RELAY_EBPF_OBJECT: {problem}"));
    }
    PACKAGE.provide(&repository, &output)
}

fn directory(variable: &str) -> Result<PathBuf, String> {
    env::var_os(variable)
        .map(PathBuf::from)
        .ok_or_else(|| format!("{variable} is not set: only cargo can run this"))
}
