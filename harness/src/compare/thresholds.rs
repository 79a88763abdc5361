//! How much worse is too much: a small TOML file (`benches/gate.toml`).

use std::fmt;
use std::path::{Path, PathBuf};

use globset::{Glob, GlobMatcher};
use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};

/// The thresholds that the binary carries.
const CHECKED_IN: &str = include_str!("../../../benches/gate.toml");

/// How far a value may lie from the one before. All are parts of one, except that of exponents, which is a difference.
#[derive(Clone, Debug)]
pub struct Thresholds {
    /// For bytes and calls on which all runs agree, on both sides.
    pub exact: f64,
    /// For those on which they do not: between the nearest ends of the intervals.
    pub inexact: f64,
    /// For `state_bytes`, whether the runs agree or not: all of a process start from the same state, so they mostly do.
    pub state_bytes: f64,
    /// For `allocations` and `allocated_bytes`, whether the runs agree or not.
    pub heap: f64,
    /// For `peak_bytes`, whether the runs agree or not.
    pub peak_bytes: f64,
    /// For instructions, of which there is one run.
    pub instructions: f64,
    /// For the ratio of interleaved wall times: beyond one.
    pub time: f64,
    /// For scaling exponents: between the nearest ends of the intervals.
    pub exponent: f64,
    /// Exceptions. The last one that matches holds.
    pub overrides: Vec<Override>,
}

/// An exception.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Override {
    /// Of which measures: a glob over names such as `bytes_up`, `calls.sign`, `against` and `exponent.time`.
    pub measure: Pattern,
    /// Of which measurements: a glob over ids.
    pub ids: Pattern,
    /// What holds for them.
    #[serde(deserialize_with = "threshold")]
    pub threshold: f64,
    /// Whether it is from a file of one's own: then it should be about something.
    #[serde(skip)]
    pub own: bool,
}

/// A glob in which `*` matches `/` as well.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct Pattern(GlobMatcher);

/// The file: what it does not name stays as it was.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    #[serde(default, deserialize_with = "given")]
    exact: Option<f64>,
    #[serde(default, deserialize_with = "given")]
    inexact: Option<f64>,
    #[serde(default, deserialize_with = "given")]
    state_bytes: Option<f64>,
    #[serde(default, deserialize_with = "given")]
    heap: Option<f64>,
    #[serde(default, deserialize_with = "given")]
    peak_bytes: Option<f64>,
    #[serde(default, deserialize_with = "given")]
    instructions: Option<f64>,
    #[serde(default, deserialize_with = "given")]
    time: Option<f64>,
    #[serde(default, deserialize_with = "given")]
    exponent: Option<f64>,
    #[serde(default, rename = "override")]
    overrides: Vec<Override>,
}

/// Trouble with a file of thresholds.
#[derive(Debug, thiserror::Error)]
pub enum ThresholdsError {
    /// It could not be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not such a file.
    #[error("{}: not a file of thresholds: {reason} (see benches/gate.toml)", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// Where, what, and what was expected.
        reason: String,
    },
}

impl Thresholds {
    /// Those of `benches/gate.toml`.
    ///
    /// # Errors
    /// If that file is malformed: the project's own tests exclude it.
    pub fn checked_in() -> Result<Self, ThresholdsError> {
        // What the file leaves out allows nothing.
        let nothing = Self {
            exact: 0.0,
            inexact: 0.0,
            state_bytes: 0.0,
            heap: 0.0,
            peak_bytes: 0.0,
            instructions: 0.0,
            time: 0.0,
            exponent: 0.0,
            overrides: Vec::new(),
        };
        nothing.with(CHECKED_IN, Path::new("benches/gate.toml"))
    }

    /// Those of a file of one's own, and those of `benches/gate.toml` for what it does not name.
    ///
    /// # Errors
    /// [`ThresholdsError`], with the file, the field and what was expected.
    pub fn read(path: &Path) -> Result<Self, ThresholdsError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| ThresholdsError::Read { path: path.to_owned(), source })?;
        let checked_in = Self::checked_in()?;
        let count = checked_in.overrides.len();
        let mut thresholds = checked_in.with(&text, path)?;
        thresholds.overrides.iter_mut().skip(count).for_each(|entry| entry.own = true);
        Ok(thresholds)
    }

    fn with(self, text: &str, path: &Path) -> Result<Self, ThresholdsError> {
        let malformed = |reason: String| ThresholdsError::Malformed { path: path.to_owned(), reason };
        let file = toml::Deserializer::parse(text).map_err(|error| malformed(error.to_string()))?;
        let file: Wire = serde_path_to_error::deserialize(file)
            .map_err(|error| malformed(format!("field `{}`: {}", error.path(), error.inner().message())))?;
        let mut overrides = self.overrides;
        overrides.extend(file.overrides);
        Ok(Self {
            exact: file.exact.unwrap_or(self.exact),
            inexact: file.inexact.unwrap_or(self.inexact),
            state_bytes: file.state_bytes.unwrap_or(self.state_bytes),
            heap: file.heap.unwrap_or(self.heap),
            peak_bytes: file.peak_bytes.unwrap_or(self.peak_bytes),
            instructions: file.instructions.unwrap_or(self.instructions),
            time: file.time.unwrap_or(self.time),
            exponent: file.exponent.unwrap_or(self.exponent),
            overrides,
        })
    }

    /// The one for a measure of a measurement (or a fit). `exact`: whether all runs agreed, on both sides.
    pub fn of(&self, measure: &str, id: &str, exact: bool) -> f64 {
        let exception = self.overrides.iter().rev().find(|entry| entry.matches(measure, id));
        exception.map_or_else(|| self.usual(measure, exact), |entry| entry.threshold)
    }

    fn usual(&self, measure: &str, exact: bool) -> f64 {
        match measure {
            "instructions" => self.instructions,
            "against" => self.time,
            _ if measure.starts_with("exponent.") => self.exponent,
            "state_bytes" => self.state_bytes,
            "allocations" | "allocated_bytes" => self.heap,
            "peak_bytes" => self.peak_bytes,
            _ if exact => self.exact,
            _ => self.inexact,
        }
    }
}

impl Override {
    /// Whether it is about this measure of this measurement.
    pub fn matches(&self, measure: &str, id: &str) -> bool {
        self.measure.0.is_match(measure) && self.ids.0.is_match(id)
    }
}

impl TryFrom<String> for Pattern {
    type Error = globset::Error;

    fn try_from(text: String) -> Result<Self, globset::Error> {
        Ok(Self(Glob::new(&text)?.compile_matcher()))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.glob().glob())
    }
}

fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    threshold(deserializer).map(Some)
}

/// TOML knows infinity, and `5` is what somebody writes who means 5 %: neither is a threshold.
fn threshold<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    struct Threshold;

    impl Visitor<'_> for Threshold {
        type Value = f64;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a number from 0 to 1, such as 0.05 for 5 %")
        }

        fn visit_f64<E: Error>(self, value: f64) -> Result<f64, E> {
            let sound = (0.0..=1.0).contains(&value);
            if sound { Ok(value) } else { Err(E::invalid_value(Unexpected::Float(value), &self)) }
        }

        fn visit_i64<E: Error>(self, value: i64) -> Result<f64, E> {
            self.visit_f64(value as f64)
        }

        fn visit_u64<E: Error>(self, value: u64) -> Result<f64, E> {
            self.visit_f64(value as f64)
        }
    }

    deserializer.deserialize_any(Threshold)
}
