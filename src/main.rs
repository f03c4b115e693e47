//! The `gradpath` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    match gradpath::cli::main() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
