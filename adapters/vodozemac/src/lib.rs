//! vodozemac under the suite's shared group management: Olm between two devices, Megolm for groups.
//!
//! vodozemac takes keys as arguments and gives bytes back; whose keys they are, whose session a message may come from
//! and whether it has been seen before, it leaves to its caller. This crate asks about each of these where vodozemac
//! leaves it (`README.md` has the table) and translates the rest.

mod error;
mod keys;
mod megolm;
mod olm;
mod passive;
mod primitives;

use e2esm_adapter::Adapter;
use e2esm_sender_keys::GroupAdapter;

use crate::primitives::Vodozemac;

/// The configurations of vodozemac that the suite tests.
pub fn adapters() -> Vec<Box<dyn Adapter>> {
    vec![Box::new(GroupAdapter::<Vodozemac>::new())]
}
