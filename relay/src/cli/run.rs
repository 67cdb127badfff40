//! `siit-relay run`: the daemon in the foreground.

use crate::daemon;
use crate::logging::{self, LogFormat};
use crate::tables::Tables;
use std::path::Path;
use std::process::ExitCode;
use tracing::info;

pub(super) fn run(path: &Path, format: LogFormat) -> anyhow::Result<ExitCode> {
    logging::begin(format);
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
