//! The `gradpath` program.

use std::process::ExitCode;

use gradpath::runtime::CountingAllocator;

/// Measurements say what was really held.
#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

fn main() -> ExitCode {
    match gradpath::cli::main() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
