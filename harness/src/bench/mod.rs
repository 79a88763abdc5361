//! Benchmarks of group operations: what they cost, in exact measures first and in time last.
//!
//! Data flows one way: a tier is expanded into cells ([`tiers`], [`cell`]); each cell is measured in a process of its own
//! ([`child`]), where the group is brought into its state ([`prepare`], [`cache`]) and the operation is done and checked
//! ([`stage`], [`heap`]); the session drives the children, and writes as it goes ([`session`]) what becomes one document
//! ([`document`], [`stats`]). [`callgrind`] counts what only a simulated processor sees. `benches/MODELS.md` says what is
//! measured, `benches/BIAS.md` what is left out.

pub mod cache;
pub mod callgrind;
pub mod cell;
pub mod child;
pub mod document;
pub mod heap;
pub mod prepare;
pub mod session;
pub mod stage;
pub mod stats;
pub mod tiers;
