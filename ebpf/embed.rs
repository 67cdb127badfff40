//! What the build scripts of packages that embed an object do alike: take the committed one if it was built from the sources that
//! are there, and otherwise have `build.sh` build one.

use std::{fs, io, path::Path, process::Command};

/// A package of XDP programs with a committed object.
pub(crate) struct Package {
    /// Its folder, relative to the repository.
    pub(crate) folder: &'static str,
    /// The file name of its object.
    pub(crate) object: &'static str,
    /// Everything that the object is built from, relative to the repository.
    pub(crate) inputs: &'static [&'static str],
    /// Returns the hash of these, below the repository.
    pub(crate) hash: fn(&Path, &[&str]) -> io::Result<String>,
}

impl Package {
    /// Writes the object to `output`, or says on one line (cargo shows no more) what is wrong.
    pub(crate) fn provide(&self, repository: &Path, output: &Path) -> Result<(), String> {
        let Self { folder, object, .. } = self;
        println!("cargo::rerun-if-env-changed=SIIT_RELAY_NIGHTLY");
        let own = ["object", "sources.rs"].map(|name| format!("{folder}/{name}"));
        for input in self
            .inputs
            .iter()
            .copied()
            .chain(own.iter().map(String::as_str))
        {
            let input = repository.join(input);
            println!("cargo::rerun-if-changed={}", input.display());
        }
        let committed = repository.join(folder).join("object");
        let hash = (self.hash)(repository, self.inputs).map_err(|error| error.to_string())?;
        let recorded = fs::read_to_string(committed.join("SOURCES")).unwrap_or_default();
        if recorded.trim() == hash {
            return copy(&committed.join(object), output);
        }
        let built = Command::new("bash")
            .arg(repository.join("ebpf/build.sh"))
            .args(["--package", folder, "--out"])
            .arg(output)
            .output();
        match built {
            Ok(built) if built.status.success() => {
                println!(
                    "cargo::warning={folder}/object is older than its sources; embedding a fresh build (ebpf/build.sh updates it)"
                );
                Ok(())
            }
            Ok(built) => Err(self.stale(&String::from_utf8_lossy(&built.stderr))),
            Err(error) => Err(self.stale(&format!("bash: {error}"))),
        }
    }

    fn stale(&self, reason: &str) -> String {
        let reason: Vec<&str> = reason
            .lines()
            .filter(|line| !line.trim().is_empty())
            .collect();
        format!(
            "the sources of the XDP object were edited since {}/object was built, and ebpf/build.sh failed; if a tool is missing, \
             ebpf/toolchain.sh installs it: {}",
            self.folder,
            reason.join(" | ")
        )
    }
}

/// Copies a file, or names it.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<(), String> {
    fs::copy(from, to)
        .map(drop)
        .map_err(|error| format!("cannot copy {}: {error}", from.display()))
}
