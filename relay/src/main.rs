//! The binary `siit-relay`: everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    relay::cli::main()
}
