//! Comparison of benchmark runs: what changed between two documents, and how two implementations in one document differ.
//!
//! Both are pure functions over documents ([`compare()`], [`between()`]). What is not comparable is refused with the reason, or
//! listed as not compared with the reason; nothing is left out in silence. [`Thresholds`] says how much worse is too much,
//! [`text`] puts a comparison into words, and [`export`] hands exact measures to services that watch them over time.

mod between;
mod documents;
pub mod export;
pub mod text;
mod thresholds;

use std::collections::BTreeMap;

use e2esm_adapter::Description;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bench::document::{BenchRun, BenchSuite, Count, Fit, Spread, Time};
use crate::results::Environment;

pub use between::{Between, Ratio, between};
pub use documents::compare;
pub use thresholds::{Override, Pattern, Thresholds, ThresholdsError};

/// The version of the schema of [`Comparison`] and [`Between`].
pub const SCHEMA_VERSION: u32 = 1;

/// Two documents compared: A before, B after.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "E2ESM comparison of benchmarks")]
pub struct Comparison {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The document from before.
    pub a: Side,
    /// The one from after.
    pub b: Side,
    /// The implementations, by the name of their adapter. Other versions, suites, providers and settings under the same
    /// name are what one compares: they are listed, not refused.
    pub implementations: BTreeMap<String, Versions>,
    /// What a reader must know before the numbers: other machines, burdens, what is incomplete.
    pub notes: Vec<String>,
    /// How it came out.
    pub totals: Totals,
    /// Every measure of every measurement that both documents have, in the order of the documents.
    pub changes: Vec<Change>,
    /// The scaling exponents that A or B has.
    pub fits: Vec<Change>,
    /// What A measured and B should have but has not. This is a regression.
    pub lost: Vec<Absent>,
    /// What B measured and A tried in vain.
    pub gained: Vec<Absent>,
    /// What both tried in vain.
    pub in_neither: Vec<Absent>,
    /// What is in A alone and was not B's to measure, because B is of another tier.
    pub only_in_a: Vec<String>,
    /// What is in B alone.
    pub only_in_b: Vec<String>,
}

/// Where one side comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Side {
    /// The suite.
    pub suite: BenchSuite,
    /// The machine.
    pub environment: Environment,
    /// How it ran.
    pub run: BenchRun,
    /// Whether it ran to its end.
    pub complete: bool,
    /// How many measurements it has, those that failed included.
    pub measurements: usize,
}

/// One implementation on both sides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Versions {
    /// In A, if it is there.
    pub a: Option<Description>,
    /// In B, if it is there.
    pub b: Option<Description>,
}

/// How many there are of which.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Totals {
    /// Measurements of which something was compared.
    pub measurements: usize,
    /// Different measures that were compared.
    pub measures: usize,
    /// Values and exponents that are the same.
    pub same: usize,
    /// That differ within what the measure allows.
    pub within: usize,
    /// That are better.
    pub better: usize,
    /// That are worse.
    pub worse: usize,
    /// Whole measurements and single values that were there before and are not any more.
    pub lost: usize,
    /// Values and exponents that were not compared.
    pub not_compared: usize,
}

/// One measure of one measurement (or one fit) on both sides.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// The measurement's id; of a fit, `operation/implementation/state`.
    pub id: String,
    /// A count's name; `time` and `efficiency`; `against` for interleaved pairs; `exponent.time` and
    /// `exponent.instructions`.
    pub measure: String,
    /// In A; always absent for `against`, which is a ratio by itself.
    pub a: Option<Value>,
    /// In B.
    pub b: Option<Value>,
    /// How far B lies from A, as a part of A: from the nearest ends where they are intervals, and 0 where these overlap. Of an
    /// exponent it is the difference, of `against` the distance from 1. Absent where nothing was compared, and where A is 0.
    pub difference: Option<f64>,
    /// How far it may.
    pub threshold: Option<f64>,
    /// What follows.
    pub judgement: Judgement,
}

/// A value, or an interval with its middle. Times are in nanoseconds, sizes in bytes; the others are numbers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Value {
    /// The lower end.
    pub low: f64,
    /// The median, or halfway where only the ends are known.
    pub middle: f64,
    /// The upper end.
    pub high: f64,
}

/// What follows from two values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Judgement {
    /// They are the same.
    Same,
    /// They differ, but not beyond what the measure allows.
    Within,
    /// B costs less.
    Better,
    /// B costs more.
    Worse,
    /// B should have it and has not, and why: a regression, since nobody would notice another one here.
    Lost(String),
    /// They were not compared, and why.
    NotCompared(String),
}

/// A measurement that one side or both do not have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Absent {
    /// Its id.
    pub id: String,
    /// Why.
    pub reason: String,
}

/// Why documents cannot be compared.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Incomparable {
    /// They are of different schemas.
    #[error("schema version {0} against {1}: measure both with the same version of e2esm")]
    Schema(u32, u32),
    /// The forge made other trees.
    #[error(
        "forge version {0} against {1}: the groups were not the same, so their costs are not either; measure A anew"
    )]
    Forge(u32, u32),
    /// Optimised against not.
    #[error("a {0} build against a {1} build: measure both with --release")]
    Profile(String, String),
    /// One document contradicts itself.
    #[error("{document} has {id} twice: no program of this suite writes that")]
    Duplicate {
        /// `A` or `B`.
        document: &'static str,
        /// What is there twice.
        id: String,
    },
    /// Nothing is left to compare: a gate that lets this pass would let everything pass.
    #[error("nothing in the two can be compared: {0}")]
    Nothing(String),
    /// No such implementation in the document.
    #[error("there is no `{name}` in it: expected one of {}", known.join(", "))]
    Unknown {
        /// What was asked for.
        name: String,
        /// What is there.
        known: Vec<String>,
    },
    /// An implementation against itself.
    #[error("`{0}` was to be compared with itself: name two different implementations")]
    Itself(String),
}

impl Value {
    /// Something counted once and for all.
    pub fn exactly(value: f64) -> Self {
        Self { low: value, middle: value, high: value }
    }

    /// Whether it is one value and no interval.
    pub fn exact(&self) -> bool {
        self.low == self.high
    }
}

impl From<&Count> for Value {
    fn from(count: &Count) -> Self {
        let (low, high) = (count.low as f64, count.high as f64);
        Self { low, middle: f64::midpoint(low, high), high }
    }
}

impl From<&Spread> for Value {
    fn from(spread: &Spread) -> Self {
        Self { low: spread.low, middle: spread.median, high: spread.high }
    }
}

impl From<&Time> for Value {
    fn from(time: &Time) -> Self {
        Self { low: time.low, middle: time.median, high: time.high }
    }
}

impl From<&Fit> for Value {
    fn from(fit: &Fit) -> Self {
        Self { low: fit.low, middle: fit.exponent, high: fit.high }
    }
}

impl Comparison {
    /// One line for each thing that is worse or lost: what, by how much, where, and what the threshold is. A gate is open
    /// if there is none.
    pub fn regressions(&self) -> Vec<String> {
        let lost = self.lost.iter().map(|absent| format!("lost: {}: {}", absent.id, absent.reason));
        self.changes.iter().chain(&self.fits).filter_map(text::regression).chain(lost).collect()
    }
}
