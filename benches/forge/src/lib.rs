//! Ratchet trees of any size, valid and from a seed.
//!
//! What an operation of a group costs depends on how large the group is and on what its members did before. To bring a
//! group of 100,000 into a given state by its members' own acts is out of reach; [`forge()`] writes the outcome in seconds:
//! the tree as RFC 9420 has it on the wire, with all keys, parent hashes and signatures, and a GroupInfo around it. Nobody
//! is behind the members. Live devices join by an external commit, as their libraries do it, and what they do is measured.
//!
//! A [`State`] is a history ([`Plan::history`]), so that the same group can be made by real members where it is small:
//! that, and the libraries' own checks of a group that one joins, are what the tests compare the forge with. [`Shape`]
//! reads the counts behind the byte law off any tree, forged or not.
//!
//! `README.md` says how it is done, and how it is checked.

mod forge;
mod forged;
mod group_info;
mod keys;
mod node;
mod plan;
mod shape;
mod tree;
mod wire;

#[doc(hidden)]
pub use forge::forge;
#[doc(hidden)]
pub use forge::forge_with_fault;
#[doc(hidden)]
pub use forged::{Fault, Field, Written};
pub use forged::{ForgeError, Forged};
pub use plan::{Commit, MAX_SIZE, Plan, State};
pub use shape::{NoLeaf, Shape};
pub use wire::Malformed;

/// Changes whenever the bytes that a plan gives do. Part of the key of whatever is kept of them.
pub const VERSION: u32 = 1;
