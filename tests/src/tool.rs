//! Programs of others that judge what the relay writes.

use std::io::Write;
use std::process::{Command, Output, Stdio};

/// Runs a program with input; `None`, and loudly, if it is not installed.
///
/// # Panics
///
/// If its outputs cannot be read, or it is not installed and nothing may be skipped.
pub fn tool(program: &str, arguments: &[&str], input: &str, package: &str) -> Option<Output> {
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        crate::skip(&format!(
            "{program} is not installed (Debian package {package})"
        ));
        return None;
    };
    // A tool that has seen enough may close its end.
    let _ = child
        .stdin
        .take()
        .expect("it is piped")
        .write_all(input.as_bytes());
    Some(child.wait_with_output().expect("its outputs are piped"))
}

/// Returns all that a program has said, on both of its outputs.
pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}
