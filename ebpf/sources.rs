//! Which files the XDP object is made of, and one number for their contents.
//!
//! Used by `build.sh` (which writes the number beside the object), by `relay/build.rs` and by the tests (which compare it), so
//! it needs nothing but std. The number finds forgotten rebuilds; it is no defence against anybody.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Everything that the object is built from: files, and directories with all they hold, relative to the repository.
pub(crate) const INPUTS: [&str; 14] = [
    "Cargo.toml",
    "eam-tables/Cargo.toml",
    "eam-tables/src/flat/find.rs",
    "eam-tables/src/flat/key.rs",
    "eam-tables/src/flat/mod.rs",
    "eam-tables/src/graft.rs",
    "eam-tables/src/layout",
    "eam-tables/src/lib.rs",
    "ebpf/.cargo",
    "ebpf/Cargo.lock",
    "ebpf/Cargo.toml",
    "ebpf/build.sh",
    "ebpf/src",
    "relay/core",
];

/// Returns the hash of `inputs` (files or directories below `root`), as 16 hexadecimal digits.
///
/// Paths count as well as contents. Of the workspace's own manifest only what packages inherit counts: the object does not
/// change with the versions of other dependencies.
///
/// # Errors
///
/// Names the path that cannot be read.
pub(crate) fn hash(root: &Path, inputs: &[&str]) -> io::Result<String> {
    let mut files = Vec::new();
    for input in inputs {
        collect(root, PathBuf::from(input), &mut files)?;
    }
    files.sort();
    let mut hash = Fnv1a::new();
    for file in &files {
        let path = file
            .to_str()
            .ok_or_else(|| named(file, "not a UTF-8 path"))?;
        let contents = fs::read(root.join(file)).map_err(|error| named(file, error))?;
        let contents = if path == "Cargo.toml" {
            inherited(&contents)
        } else {
            &contents
        };
        hash.add(path.as_bytes());
        hash.add(contents);
    }
    Ok(format!("{:016x}", hash.0))
}

/// Lists the files of `input`, relative to `root`.
fn collect(root: &Path, input: PathBuf, files: &mut Vec<PathBuf>) -> io::Result<()> {
    let path = root.join(&input);
    if path.is_dir() {
        for entry in fs::read_dir(&path).map_err(|error| named(&input, error))? {
            collect(root, input.join(entry?.file_name()), files)?;
        }
    } else {
        files.push(input);
    }
    Ok(())
}

/// Cuts the section `[workspace.package]` out of a manifest.
fn inherited(manifest: &[u8]) -> &[u8] {
    const SECTION: &[u8] = b"[workspace.package]";
    let start = manifest
        .windows(SECTION.len())
        .position(|window| window == SECTION)
        .unwrap_or(0);
    let section = &manifest[start..];
    let end = section
        .windows(2)
        .position(|window| window == b"\n[")
        .unwrap_or(section.len());
    &section[..end]
}

fn named(path: &Path, error: impl std::fmt::Display) -> io::Error {
    io::Error::other(format!("{}: {error}", path.display()))
}

/// The 64-bit FNV-1a hash.
struct Fnv1a(u64);

impl Fnv1a {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    /// Adds octets, and their number, so that no two lists of files look the same.
    fn add(&mut self, octets: &[u8]) {
        for octet in (octets.len() as u64).to_le_bytes().iter().chain(octets) {
            self.0 = (self.0 ^ u64::from(*octet)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}
