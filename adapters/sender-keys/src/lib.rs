//! The group management that libsignal and vodozemac lack, written once: who is in a group, who holds whose sender key,
//! when a new one is due.
//!
//! Neither library has a group object. Membership is managed by the server, as in WhatsApp and Matrix, and nothing
//! authenticates it; so every question about it is asked at a [`DecisionPoint`](e2esm_adapter::DecisionPoint) of the
//! group management, and nobody needs to take this crate's behaviour for a library's. A library is put under it by
//! implementing [`Primitives`]; [`GroupAdapter`] makes an adapter of that.

mod adapter;
mod device;
mod forge;
mod group;
mod points;
mod primitives;
mod wire;

pub use adapter::GroupAdapter;
pub use device::GroupDevice;
pub use primitives::{HandedOn, Kinds, Primitives, Sealed};
