//! The later release of `libcrux-sha3` under its older version number: `Cargo.toml` says why.
#![no_std]
#![forbid(unsafe_code)]
pub use current::*;
