//! The `e2esm` command.

mod cli;

use std::process::ExitCode;

/// Counts what benchmarks ask of it.
#[global_allocator]
static ALLOCATOR: &e2esm::bench::heap::Allocator = &e2esm::bench::heap::ALLOCATOR;

fn main() -> ExitCode {
    cli::main()
}
