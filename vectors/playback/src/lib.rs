//! The recorded vectors: what their files hold, what must be true of them, and how one is played.
//!
//! A recorded vector is one passive device ([`Passive`](e2esm_adapter::Passive)): what it starts with, and what is
//! delivered to it in order, each delivery with the outcome that a sound implementation shows. Playing one needs nothing
//! but this crate and something that takes deliveries; who makes them and who runs them is elsewhere.
//! `vectors/README.md` has the format in words.

mod check;
mod collection;
mod count;
mod draft;
mod file;
mod flags;
mod play;

pub use check::{check, check_together};
pub use collection::{Collection, ReadError, read, read_collection, read_directory, write};
pub use count::{Count, count, distinct_faults};
pub use draft::{Draft, DraftError};
pub use file::{Disagreement, Expected, Fault, Flag, Implementation, ObservedOutcome, Recorded, Rejection, Rule, Step};
pub use flags::{FLAGS, flag};
pub use play::{Outcome, Played, confirms, judge, play};
