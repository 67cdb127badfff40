//! What the tests of the whole house have in common.

pub mod case;
pub mod fragments;
pub mod packet;
pub mod random;
pub mod sent;
pub mod tool;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Says loudly that the calling test does not run, and why; the test then returns.
///
/// # Panics
///
/// If the environment says `SIIT_RELAY_REQUIRE_ALL=1`: nothing may be skipped then.
pub fn skip(reason: &str) {
    assert!(
        !std::env::var("SIIT_RELAY_REQUIRE_ALL").is_ok_and(|all| all == "1"),
        "required, but cannot run: {reason}"
    );
    // Written past the test harness, which keeps the output of tests that pass to itself.
    writeln!(std::io::stderr(), "SKIPPED: {reason}").expect("standard error is open");
}

/// Returns the path of the program `siit-relay`, built from the sources as they are, in the profile of the tests.
///
/// # Panics
///
/// If it cannot be built.
pub fn siit_relay() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let test = std::env::current_exe().expect("the path of this program");
        // Cargo puts tests into TARGET/PROFILE/deps.
        let directory = test
            .ancestors()
            .nth(2)
            .expect("three levels of directories");
        let target = directory.parent().expect("the target directory");
        let profile = match directory.file_name().and_then(|name| name.to_str()) {
            Some("debug") => "dev",
            Some(profile) => profile,
            None => panic!("{} has no profile", directory.display()),
        };
        let built = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .args(["build", "--quiet", "--locked", "--package", "relay"])
            .args(["--bin", "siit-relay", "--profile", profile])
            .arg("--target-dir")
            .arg(target)
            .status()
            .expect("cargo is there");
        assert!(built.success(), "siit-relay cannot be built");
        directory.join("siit-relay")
    })
}
