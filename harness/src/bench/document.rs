//! What a benchmark run leaves behind: one JSON document with every measurement, its samples and what sums them up, the
//! machine, and the fits. Everything that compares or exports starts from it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use e2esm_adapter::{Description, Primitive};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cell::{Actor, Cell, GroupState, Operation, Setting};
use super::stats;
use crate::results::{Environment, write_atomically};

/// The version of the document's schema. Another one is not comparable.
pub const SCHEMA_VERSION: u32 = 1;

/// One run of benchmarks, of any number of implementations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "E2ESM benchmarks")]
pub struct Benchmarks {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// What ran.
    pub suite: BenchSuite,
    /// Where it ran.
    pub environment: Environment,
    /// How it ran.
    pub run: BenchRun,
    /// Whether every cell of the run is in `measurements`: an interrupted run goes on with `--resume`.
    pub complete: bool,
    /// The implementations, by the name of their adapter.
    pub adapters: BTreeMap<String, Description>,
    /// The measurements, sorted by id.
    pub measurements: Vec<Measurement>,
    /// How cost grows with the size of the group.
    pub fits: Vec<Fit>,
}

/// The suite that ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BenchSuite {
    /// Its version.
    pub version: String,
    /// Its commit, with `-dirty` if there were changes; `unknown` outside a checkout.
    pub commit: String,
    /// The version of the forge: others make other trees.
    pub forge: u32,
}

/// How it ran.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BenchRun {
    /// Seconds since 1970 at the start (UTC).
    pub started_unix: u64,
    /// The tier; with `, a selection` where only some of its cells or measures were chosen.
    pub tier: String,
    /// What was measured.
    pub measures: Vec<Measure>,
    /// How often, and for how long.
    pub sampling: Sampling,
    /// The binary of the other side of interleaved pairs, with its commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub against: Option<String>,
    /// The made-up burden of every implementation: only the gate's own tests have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burden: Option<String>,
}

/// What can be measured.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Measure {
    /// Wall time, and the efficiency where the cryptography is metered.
    Time,
    /// Bytes, and calls of primitives where the cryptography is metered.
    Counts,
    /// Allocations and peak heap.
    Heap,
    /// Instructions and calls of functions, by valgrind's callgrind.
    Instructions,
}

/// How often, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sampling {
    /// Runs before anything counts.
    pub warm_up: u32,
    /// Runs from which counts are taken: more than one shows what is not exact.
    pub counted: u32,
    /// The fewest timed runs.
    pub least: u32,
    /// The most timed runs.
    pub most: u32,
    /// No further timed run is begun after this many seconds.
    pub seconds: f64,
    /// Instructions are counted in groups of at most this size.
    pub instructions_up_to: u32,
}

/// What came of one cell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Measurement {
    /// `operation/implementation/state/N`.
    pub id: String,
    /// What was done.
    pub operation: Operation,
    /// The adapter's name.
    pub adapter: String,
    /// In which group.
    pub state: GroupState,
    /// Of how many members.
    pub size: u32,
    /// By whom.
    pub actor: Actor,
    /// With how many threads in every pool.
    pub threads: usize,
    /// Whether it could be measured.
    pub outcome: Outcome,
    /// Wall time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<Time>,
    /// The part of the time that was spent in the primitives themselves, from runs of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub efficiency: Option<Spread>,
    /// Wall time here over wall time there, pair by pair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub against: Option<Spread>,
    /// Bytes, calls, allocations and instructions, by name: `bytes_up`, `bytes_fanned_out`, `state_bytes`,
    /// `calls.sign`, `allocations`, `allocated_bytes`, `peak_bytes`, `instructions`, `functions.x25519`.
    pub counts: BTreeMap<String, Count>,
    /// Measures that were asked for and are not to be had here, with the reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub missing: BTreeMap<String, String>,
}

/// Whether a cell could be measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Outcome {
    /// It was, and every answer was right.
    Measured,
    /// The implementation does not have the operation, or the protocol has no such thing.
    Unsupported(String),
    /// An answer was wrong: no timing counts.
    Void(String),
    /// It did not come to an answer.
    Failed(String),
}

/// Wall time in nanoseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Time {
    /// The middle one.
    pub median: f64,
    /// The median of the distances from the median.
    pub mad: f64,
    /// An interval for the median, of at least 95 % where there are enough samples (six), else all of them.
    pub low: f64,
    /// Its other end.
    pub high: f64,
    /// The samples in the order in which they were taken.
    pub samples: Vec<u64>,
}

/// Ratios: the middle one, and an interval for it as in [`Time`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Spread {
    /// The middle one.
    pub median: f64,
    /// The interval's lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
    /// How many there are.
    pub samples: usize,
}

/// Something counted: exact where `low` and `high` are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Count {
    /// The least that was counted.
    pub low: u64,
    /// The most.
    pub high: u64,
    /// In how many runs.
    pub runs: u32,
}

impl Count {
    /// What was counted in each run; `None` if there was none.
    pub fn of(values: &[u64]) -> Option<Self> {
        let runs = u32::try_from(values.len()).unwrap_or(u32::MAX);
        Some(Self { low: *values.iter().min()?, high: *values.iter().max()?, runs })
    }

    /// Whether every run came to the same.
    pub fn exact(&self) -> bool {
        self.low == self.high
    }
}

/// How cost grows with the size of the group: cost is proportional to N to the power of `exponent`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fit {
    /// `operation/implementation/state`.
    pub id: String,
    /// The cost: `time` or a count's name.
    pub of: String,
    /// The slope of log cost over log N.
    pub exponent: f64,
    /// The lower end of its 95 % interval.
    pub low: f64,
    /// The upper end.
    pub high: f64,
    /// The sizes that it is taken from.
    pub sizes: Vec<u32>,
}

impl Measurement {
    /// An empty one.
    pub fn new(cell: &Cell, outcome: Outcome) -> Self {
        let Cell { operation, setting: Setting { adapter, state, size, actor }, threads } = cell.clone();
        Self {
            id: cell.id(),
            operation,
            adapter,
            state,
            size,
            actor,
            threads,
            outcome,
            time: None,
            efficiency: None,
            against: None,
            counts: BTreeMap::new(),
            missing: BTreeMap::new(),
        }
    }

    /// The id without the size: what a fit is about.
    pub fn series(&self) -> &str {
        self.id.rsplit_once('/').map_or(&self.id, |(series, _)| series)
    }

    /// The name of a primitive's count.
    pub fn calls(primitive: Primitive) -> String {
        format!("calls.{}", primitive.label())
    }
}

impl Time {
    /// From samples in nanoseconds; `None` if there are none.
    pub fn of(samples: Vec<u64>) -> Option<Self> {
        let values: Vec<f64> = samples.iter().map(|sample| *sample as f64).collect();
        let stats::Median { median, mad, low, high } = stats::median(&values)?;
        Some(Self { median, mad, low, high, samples })
    }
}

impl Spread {
    /// From ratios; `None` if there are none.
    pub fn of(values: &[f64]) -> Option<Self> {
        let stats::Median { median, low, high, .. } = stats::median(values)?;
        Some(Self { median, low, high, samples: values.len() })
    }
}

/// Trouble with a document.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// It could not be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not such a document.
    #[error("{}: not a document of benchmarks: {reason} (expected what `e2esm bench` writes)", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// Where and what.
        reason: String,
    },
    /// It is one of another version.
    #[error("{}: schema version {found}, this program reads {SCHEMA_VERSION}", path.display())]
    Version {
        /// Which file.
        path: PathBuf,
        /// Its version.
        found: u64,
    },
    /// It could not be written; an earlier file is whole.
    #[error("writing {}: {source}; what was there before is whole", path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl Benchmarks {
    /// Reads one.
    ///
    /// # Errors
    /// [`DocumentError`], with the file and the field.
    pub fn read(path: &Path) -> Result<Self, DocumentError> {
        let read = |source| DocumentError::Read { path: path.to_owned(), source };
        let malformed = |reason: String| DocumentError::Malformed { path: path.to_owned(), reason };
        let text = std::fs::read(path).map_err(read)?;
        let value: serde_json::Value = serde_json::from_slice(&text).map_err(|error| malformed(error.to_string()))?;
        if let Some(found) = value.get("schema_version").and_then(serde_json::Value::as_u64)
            && found != u64::from(SCHEMA_VERSION)
        {
            return Err(DocumentError::Version { path: path.to_owned(), found });
        }
        serde_path_to_error::deserialize(value)
            .map_err(|error| malformed(format!("field `{}`: {}", error.path(), error.inner())))
    }

    /// Writes it: completely or not at all.
    ///
    /// # Errors
    /// [`DocumentError::Write`].
    pub fn write(&self, path: &Path) -> Result<(), DocumentError> {
        let failed = |source| DocumentError::Write { path: path.to_owned(), source };
        let mut text = serde_json::to_string_pretty(self).map_err(|error| failed(error.into()))?;
        text.push('\n');
        write_atomically(path, text.as_bytes()).map_err(failed)?;
        Ok(())
    }

    /// Sorts the measurements and makes the fits anew.
    pub fn settle(&mut self) {
        self.measurements.sort_by(|a, b| (a.series(), a.size).cmp(&(b.series(), b.size)));
        self.fits = fits(&self.measurements);
    }
}

/// Fits of at least three sizes: of the wall time, every sample a point, and of the instructions.
fn fits(measurements: &[Measurement]) -> Vec<Fit> {
    let mut series: BTreeMap<&str, Vec<&Measurement>> = BTreeMap::new();
    for measurement in measurements {
        series.entry(measurement.series()).or_default().push(measurement);
    }
    let mut fits = Vec::new();
    for (id, members) in series {
        let time = |member: &Measurement| {
            member.time.iter().flat_map(|time| time.samples.iter().map(|sample| *sample as f64)).collect()
        };
        let instructions = |member: &Measurement| {
            member.counts.get("instructions").map(|count| (count.low + count.high) as f64 / 2.0).into_iter().collect()
        };
        fits.extend(fit(id, "time", &members, time));
        fits.extend(fit(id, "instructions", &members, instructions));
    }
    fits
}

fn fit(id: &str, of: &str, members: &[&Measurement], cost: impl Fn(&Measurement) -> Vec<f64>) -> Option<Fit> {
    let mut sizes = Vec::new();
    let mut points = Vec::new();
    for member in members {
        let values: Vec<f64> = cost(member).into_iter().filter(|value| *value > 0.0).collect();
        if !values.is_empty() {
            sizes.push(member.size);
        }
        points.extend(values.into_iter().map(|value| (f64::from(member.size).ln(), value.ln())));
    }
    if sizes.len() < 3 {
        return None;
    }
    let stats::Slope { slope, low, high } = stats::slope(&points)?;
    Some(Fit { id: id.to_owned(), of: of.to_owned(), exponent: slope, low, high, sizes })
}
