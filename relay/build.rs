//! Puts the XDP object where `src/driver/object.rs` embeds it. Needs nothing but stable Rust, unless the object's sources were
//! edited.
//!
//! - `SIIT_RELAY_EBPF_OBJECT=PATH` embeds that object, whatever it was built from;
//! - otherwise the object in `ebpf/object`, if it was built from the sources that are there;
//! - otherwise `ebpf/build.sh` builds one.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

#[path = "../ebpf/sources.rs"]
mod sources;

fn main() {
    if let Err(problem) = provide() {
        println!("cargo::error={problem}");
    }
}

/// Writes `siit_relay.bpf.o` to the build's own directory, or says what is wrong.
fn provide() -> Result<(), String> {
    let repository = directory("CARGO_MANIFEST_DIR")?.join("..");
    let output = directory("OUT_DIR")?.join("siit_relay.bpf.o");

    println!("cargo::rerun-if-env-changed=SIIT_RELAY_EBPF_OBJECT");
    if let Some(object) = env::var_os("SIIT_RELAY_EBPF_OBJECT") {
        let object = Path::new(&object);
        println!("cargo::rerun-if-changed={}", object.display());
        return copy(object, &output)
            .map_err(|problem| format!("SIIT_RELAY_EBPF_OBJECT: {problem}"));
    }

    let committed = repository.join("ebpf/object");
    println!("cargo::rerun-if-env-changed=SIIT_RELAY_NIGHTLY");
    println!("cargo::rerun-if-changed={}", committed.display());
    println!(
        "cargo::rerun-if-changed={}",
        repository.join("ebpf/sources.rs").display()
    );
    for input in sources::INPUTS {
        println!(
            "cargo::rerun-if-changed={}",
            repository.join(input).display()
        );
    }

    let hash = sources::hash(&repository, &sources::INPUTS).map_err(|error| error.to_string())?;
    let recorded = fs::read_to_string(committed.join("SOURCES")).unwrap_or_default();
    if recorded.trim() == hash {
        return copy(&committed.join("siit_relay.bpf.o"), &output);
    }
    let built = Command::new("bash")
        .arg(repository.join("ebpf/build.sh"))
        .arg("--out")
        .arg(&output)
        .output();
    match built {
        Ok(built) if built.status.success() => {
            println!(
                "cargo::warning=ebpf/object is older than its sources; embedding a fresh build (ebpf/build.sh updates it)"
            );
            Ok(())
        }
        Ok(built) => Err(stale(&String::from_utf8_lossy(&built.stderr))),
        Err(error) => Err(stale(&format!("bash: {error}"))),
    }
}

fn directory(variable: &str) -> Result<PathBuf, String> {
    env::var_os(variable)
        .map(PathBuf::from)
        .ok_or_else(|| format!("{variable} is not set: only cargo can run this"))
}

fn copy(from: &Path, to: &Path) -> Result<(), String> {
    fs::copy(from, to)
        .map(drop)
        .map_err(|error| format!("cannot copy {}: {error}", from.display()))
}

/// Says on one line (cargo shows no more) that the object is stale and could not be rebuilt.
fn stale(reason: &str) -> String {
    let reason: Vec<&str> = reason
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    format!(
        "the sources of the XDP object were edited since ebpf/object was built, and ebpf/build.sh failed; if a tool is missing, \
         ebpf/toolchain.sh installs it: {}",
        reason.join(" | ")
    )
}
