//! The E2ESM suite: vectors for end-to-end secure messaging, played against real implementations.
//!
//! Data flows one way: [`vector`] -> [`scenario`] (play, observe) -> [`verdict`] -> [`suite`] (many at a time) ->
//! [`results`] -> [`report`]. [`policy`] is the application that the scenarios put on top of a library, [`worker`] the
//! process in which an implementation lives, [`registry`] the one place that knows which are built in, and [`rogues`] the
//! suite's test of itself. Beside it stands [`mod@bench`], which asks the same implementations what their operations cost, and
//! [`compare`], which says what has changed.
//! [`recorded`] makes and plays the vectors that are bytes. `harness/README.md` is the tour.

pub mod bench;
pub mod compare;
pub mod conformance;
pub mod divergence;
pub mod evidence;
pub mod interop;
pub mod keeper;
pub mod peers;
pub mod policy;
pub mod probe;
pub mod recorded;
pub mod registry;
pub mod report;
pub mod results;
pub mod rogues;
pub mod scenario;
pub mod schema;
pub mod suite;
pub mod vector;
pub mod verdict;
pub mod worker;
