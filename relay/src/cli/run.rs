//! `siit-relay run`: the daemon in the foreground.

use crate::daemon;
use crate::tables::Tables;
use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;
use tracing::info;
use tracing_subscriber::EnvFilter;

pub(super) fn run(path: &Path) -> anyhow::Result<ExitCode> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let colours = std::io::stderr().is_terminal();
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colours);
    log.with_writer(std::io::stderr).with_target(false).init();
    let Some((mut config, eams)) = super::load(path) else {
        return Ok(ExitCode::FAILURE);
    };
    // Nobody outside may predict Identifications (RFC 7739).
    config.policy.identification_key = random()?;
    info!(
        "{}: {} mappings, {} interfaces",
        path.display(),
        eams.len(),
        config.interfaces.len()
    );
    let tables = Tables::new(&config, eams);
    daemon::run(path, config, tables)?;
    Ok(ExitCode::SUCCESS)
}

fn random() -> anyhow::Result<u64> {
    let mut octets = [0; 8];
    rustix::rand::getrandom(&mut octets, rustix::rand::GetRandomFlags::empty())?;
    Ok(u64::from_ne_bytes(octets))
}
