//! libsignal, Signal's own library, behind the suite's adapter trait: PQXDH with Kyber1024, SPQR, the Double Ratchet,
//! Sender Keys and safety numbers. Version 0.85.3 as republished by a third party, because Signal publishes no crates.
//!
//! The library has no group object: the shared group management of `e2esm-sender-keys` is put on top. What is here is
//! the translation of pairwise sessions and sender keys, and the one decision that libsignal hands to its
//! application, `IdentityKeyStore::is_trusted_identity`. `README.md` lists where everything is decided.
//!
//! This crate is under the AGPL-3.0-only, because it links a library that is.

mod address;
mod bundle;
mod error;
mod groups;
mod passive;
mod signal;
mod state;
mod stores;

use e2esm_adapter::Adapter;
use e2esm_sender_keys::GroupAdapter;

use crate::signal::Signal;

/// The one configuration: `libsignal-rust`.
pub fn adapters() -> Vec<Box<dyn Adapter>> {
    vec![Box::new(GroupAdapter::<Signal>::new())]
}
