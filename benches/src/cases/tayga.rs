//! TAYGA, if it is installed: its TUN interface, routes into it, and a `map` line for each service.

use std::fmt::Write;
use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::{Settings, StartError};
use crate::lab::{Lab, PREFIX, service};
use crate::process::{Process, Ready};

/// The TUN interface.
const TUN: &str = "nat64";
/// The most mappings: TAYGA compares each with all before it when it starts.
const MAX_MAPPINGS: u32 = 10_000;
/// How long it takes to start; its log is buffered until it ends.
const START: Duration = Duration::from_millis(500);

/// Starts TAYGA on a processor.
pub(super) fn start(lab: &Lab, settings: Settings<'_>) -> Result<Process, StartError> {
    if settings.eams > MAX_MAPPINGS {
        let eams = settings.eams;
        return Err(StartError::TooMuch(format!(
            "TAYGA's start takes quadratic time, which is too long with {eams} mappings"
        )));
    }
    let directory = tempfile::tempdir().map_err(io("cannot make a temporary directory"))?;
    let path = directory.path().join("tayga.conf");
    let data = directory.path().display();
    let mut config =
        format!("tun-device {TUN}\nipv4-addr 192.168.255.1\nprefix {PREFIX}/96\ndata-dir {data}\n");
    for (v4, v6) in (0..settings.eams).map(service) {
        writeln!(config, "map {v4} {v6}").expect("a string takes everything");
    }
    fs::write(&path, config).map_err(io("cannot write the configuration of TAYGA"))?;
    let command = |argument| {
        let mut command = Command::new("tayga");
        command.arg(argument).arg("--config").arg(&path);
        command
    };
    let made = lab
        .device
        .run_in(|| command("--mktun").stdin(Stdio::null()).output())?;
    let made = match made {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(StartError::NotInstalled(
                "tayga is not in PATH; on Debian it is the package tayga".to_owned(),
            ));
        }
        made => made.map_err(io("cannot run tayga"))?,
    };
    if !made.status.success() {
        let said = String::from_utf8_lossy(&made.stderr);
        return Err(StartError::Refused(said.trim().to_owned()));
    }
    lab.device.set_mtu(TUN, 1520)?;
    lab.device.set_up(TUN)?;
    lab.route_to_interface(TUN)?;
    Process::start(
        &lab.device,
        command("-d"),
        directory,
        Some(settings.processor),
        Ready::After(START),
    )
}

fn io(what: &str) -> impl FnOnce(std::io::Error) -> StartError {
    move |source| StartError::Io {
        what: what.to_owned(),
        source,
    }
}
