//! This relay: the program `siit-relay run`, with a configuration for the laboratory.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::process::Command;

use super::{Settings, StartError};
use crate::lab::{Lab, NORTH, PREFIX, SOUTH, service};
use crate::process::{Process, Ready};

/// What the relay logs when it is ready.
const READY: Ready = Ready::Logs("translating");

/// Starts the relay on a fast path.
pub(super) fn start(
    lab: &Lab,
    settings: Settings<'_>,
    fast_path: &str,
) -> Result<Process, StartError> {
    if !settings.relay.exists() {
        return Err(StartError::NotInstalled(format!(
            "{} is not there; build it (cargo build --release -p relay) or name it with --relay",
            settings.relay.display()
        )));
    }
    let directory = tempfile::tempdir().map_err(|source| StartError::Io {
        what: "cannot make a temporary directory".to_owned(),
        source,
    })?;
    let path = directory.path();
    let config = configuration(path, settings.processor, fast_path);
    fs::write(path.join("relay.yaml"), config)
        .and_then(|()| write_mappings(&path.join("eam.yaml"), settings.eams))
        .map_err(|source| StartError::Io {
            what: format!("cannot write into {}", path.display()),
            source,
        })?;
    let mut command = Command::new(settings.relay);
    command
        .arg("run")
        .arg("--config")
        .arg(path.join("relay.yaml"))
        .env("RUST_LOG", "info");
    Process::start(&lab.device, command, directory, None, READY)
}

fn configuration(directory: &Path, processor: usize, fast_path: &str) -> String {
    let socket = directory.join("control.sock");
    format!(
        "prefix: {PREFIX}/96\n\
         eam: eam.yaml\n\
         fast_path: {fast_path}\n\
         interfaces:\n\
         \x20 - name: {NORTH}\n\
         \x20 - name: {SOUTH}\n\
         pin: off\n\
         control: {{ socket: {socket:?} }}\n\
         workers: {{ cpus: [{processor}] }}\n"
    )
}

fn write_mappings(path: &Path, eams: u32) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    writeln!(file, "eam:")?;
    for (v4, v6) in (0..eams).map(service) {
        writeln!(file, "  - {{ ipv4: {v4}, ipv6: \"{v6}\" }}")?;
    }
    file.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_one_that_the_relay_takes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("relay.yaml");
        fs::write(&path, configuration(directory.path(), 1, "af_xdp")).unwrap();
        write_mappings(&directory.path().join("eam.yaml"), 300).unwrap();
        let (config, eams) = relay::config::load(&path).usable.unwrap();
        assert_eq!(config.interfaces.len(), 2);
        assert_eq!(eams.len(), 300);
    }
}
