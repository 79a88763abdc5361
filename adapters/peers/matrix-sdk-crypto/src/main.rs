//! matrix-sdk-crypto as a child of the suite: Olm and Megolm with Matrix's own application layer. The first argument names the
//! configuration.
//!
//! [`client::Client`] is an `OlmMachine` with its homeserver, [`device::Matrix`] the room that it takes part in.

mod adapter;
mod client;
mod device;
mod error;
mod forge;
mod group;
mod names;
#[cfg(test)]
mod tests;
mod wire;

use std::io::{stdin, stdout};
use std::process::ExitCode;

use e2esm_adapter::serve_stdio;

use crate::adapter::{Configuration, MatrixAdapter};

fn main() -> ExitCode {
    let argument = std::env::args().nth(1);
    let Some(configuration) = Configuration::named(argument.as_deref()) else {
        eprintln!("unknown configuration: expected one of {}", Configuration::names().join(", "));
        return ExitCode::FAILURE;
    };
    match serve_stdio(&MatrixAdapter(configuration), stdin().lock(), stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
