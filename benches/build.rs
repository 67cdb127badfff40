//! Puts the XDP object of the benchmarks where `src/object.rs` embeds it: the committed one if it was built from the sources
//! that are there, otherwise a fresh build by `ebpf/build.sh`, which needs the toolchain that `ebpf/toolchain.sh` installs.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

#[path = "ebpf/sources.rs"]
mod sources;

fn main() {
    if let Err(problem) = provide() {
        println!("cargo::error={}", problem.replace('\n', " | "));
    }
}

fn provide() -> Result<(), String> {
    let variable = |name: &str| env::var_os(name).ok_or(format!("{name} is not set"));
    let repository = PathBuf::from(variable("CARGO_MANIFEST_DIR")?).join("..");
    let output = Path::new(&variable("OUT_DIR")?).join("siit_bench.bpf.o");
    let committed = repository.join("benches/ebpf/object");
    for input in sources::INPUTS
        .iter()
        .chain(&["benches/ebpf/object", "benches/ebpf/sources.rs"])
    {
        println!(
            "cargo::rerun-if-changed={}",
            repository.join(input).display()
        );
    }
    println!("cargo::rerun-if-env-changed=SIIT_RELAY_NIGHTLY");

    let hash = sources::hash(&repository, &sources::INPUTS).map_err(|error| error.to_string())?;
    let recorded = fs::read_to_string(committed.join("SOURCES")).unwrap_or_default();
    if recorded.trim() == hash {
        return fs::copy(committed.join("siit_bench.bpf.o"), &output)
            .map(drop)
            .map_err(|error| format!("cannot copy {}: {error}", committed.display()));
    }
    let built = Command::new("bash")
        .arg(repository.join("ebpf/build.sh"))
        .args(["--package", "benches/ebpf", "--out"])
        .arg(&output)
        .output()
        .map_err(|error| format!("cannot run bash: {error}"))?;
    if built.status.success() {
        println!(
            "cargo::warning=benches/ebpf/object is older than its sources; embedding a fresh build"
        );
        Ok(())
    } else {
        Err(format!(
            "the sources of benches/ebpf were edited since its object was built, and ebpf/build.sh failed: {}",
            String::from_utf8_lossy(&built.stderr).trim()
        ))
    }
}
