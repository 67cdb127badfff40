//! What the tests of the whole house have in common.

use std::io::Write;

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
