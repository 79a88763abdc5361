//! vodozemac's adapter in a program of its own.

use std::io::{BufReader, stdin, stdout};

fn main() -> std::io::Result<()> {
    let adapters = e2esm_adapter_vodozemac::adapters();
    let adapter = adapters.first().ok_or_else(|| std::io::Error::other("there is no adapter"))?;
    e2esm_adapter::serve_stdio(adapter.as_ref(), BufReader::new(stdin().lock()), stdout().lock())
}
