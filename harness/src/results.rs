//! Results as comparable JSON: versioned, in a stable order, written atomically.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use e2esm_adapter::Description;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::divergence::Divergences;
use crate::evidence::Evidence;
use crate::scenario::{Checked, Consultation, Layer, Stop, Traffic};
use crate::suite::{Column, Row, Settings};
use crate::vector::load::VectorSet;
use crate::verdict::Verdict;
use crate::worker::Limits;

/// The version of the results' schema. Another one is not comparable.
pub const SCHEMA_VERSION: u32 = 2;

/// One implementation, one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "E2ESM results")]
pub struct Results {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// What ran.
    pub suite: Suite,
    /// Where it ran.
    pub environment: Environment,
    /// How it ran.
    pub run: Run,
    /// What was tested; `None` if it could not even say who it is.
    pub adapter: Option<Description>,
    /// What is known about the implementation's openness: evidence, never a rank.
    pub evidence: Option<Evidence>,
    /// How many rows came to which verdict, by layer.
    pub totals: BTreeMap<Layer, BTreeMap<Verdict, u32>>,
    /// The vectors, sorted by id.
    pub vectors: Vec<VectorResult>,
}

/// The suite that ran.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Suite {
    /// Its version.
    pub version: String,
    /// Its commit, with `-dirty` if there were changes; `unknown` outside a checkout.
    pub commit: String,
    /// SHA-256 over the vectors: names and contents.
    pub vectors_sha256: String,
}

/// The machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Environment {
    /// Operating system and processor family: `linux x86_64`.
    pub system: String,
    /// The processor's model, where the system tells.
    pub cpu: Option<String>,
    /// Logical processors that this process may use.
    pub cores: usize,
    /// Memory in bytes, where the system tells.
    pub memory_bytes: Option<u64>,
    /// The frequency governor, where the system tells.
    pub governor: Option<String>,
    /// The compiler that built the suite.
    pub rustc: String,
    /// `release` or `debug`.
    pub profile: String,
}

/// How it ran.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// Seconds since 1970 at the start (UTC).
    pub started_unix: u64,
    /// From what message texts are made.
    pub seed: u64,
    /// Scenarios at a time.
    pub jobs: usize,
    /// What a scenario may use.
    pub limits: Limits,
}

/// One vector.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VectorResult {
    /// Its id.
    pub id: String,
    /// By layer.
    pub layers: BTreeMap<Layer, LayerResult>,
}

/// One vector at one layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LayerResult {
    /// What follows from the observations.
    pub verdict: Verdict,
    /// Why, in a sentence.
    pub because: String,
    /// The decision points that explain a bad outcome.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub decision_points: Vec<Consultation>,
    /// Whether what decided is the adapter's own group management, because the library has no group object.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_group_object: bool,
    /// Whether the verdict is as expected: see `divergences.json`.
    pub expected: bool,
    /// Why a bad verdict is expected, and where the library's source or documentation says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub divergence: Option<String>,
    /// What each check found.
    pub checks: Vec<Checked>,
    /// What stopped the scenario, if anything did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<Stop>,
    /// What crossed the server.
    pub traffic: Traffic,
    /// How long it took, the start of the process included. Not comparable across machines.
    pub milliseconds: f64,
}

/// What one run adds to the rows.
pub struct Frame<'a> {
    /// The vectors that ran.
    pub set: &'a VectorSet,
    /// How they ran.
    pub settings: &'a Settings,
    /// When, in seconds since 1970.
    pub started_unix: u64,
    /// Expected divergences.
    pub divergences: &'a Divergences,
}

impl Suite {
    /// This program, with these vectors.
    pub fn playing(set: &VectorSet) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: env!("E2ESM_COMMIT").to_owned(),
            vectors_sha256: set.sha256.clone(),
        }
    }
}

impl Results {
    /// The results of one column.
    pub fn new(column: &Column, frame: &Frame<'_>) -> Self {
        let implementation = column.description.as_ref().map(|description| description.implementation.as_str());
        let mut totals: BTreeMap<Layer, BTreeMap<Verdict, u32>> = BTreeMap::new();
        let mut vectors: BTreeMap<&str, VectorResult> = BTreeMap::new();
        for row in &column.rows {
            *totals.entry(row.layer).or_default().entry(row.verdict).or_default() += 1;
            vectors
                .entry(&row.vector)
                .or_insert_with(|| VectorResult { id: row.vector.clone(), layers: BTreeMap::new() })
                .layers
                .insert(row.layer, layer_result(&column.name, row, frame.divergences));
        }
        Self {
            schema_version: SCHEMA_VERSION,
            suite: Suite::playing(frame.set),
            environment: Environment::here(),
            run: Run {
                started_unix: frame.started_unix,
                seed: frame.settings.seed,
                jobs: frame.settings.jobs,
                limits: frame.settings.limits,
            },
            adapter: column.description.clone(),
            evidence: implementation.and_then(Evidence::of),
            totals,
            vectors: vectors.into_values().collect(),
        }
    }

    /// Writes `DIR/NAME.json`: complete or not at all.
    ///
    /// # Errors
    /// Those of the file system; an earlier file stays whole.
    pub fn write(&self, directory: &Path, name: &str) -> std::io::Result<PathBuf> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        write_atomically(&directory.join(format!("{name}.json")), text.as_bytes())
    }
}

/// Writes a file beside its place and then moves it there.
///
/// # Errors
/// Those of the file system; an earlier file stays whole.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> std::io::Result<PathBuf> {
    let directory = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(directory)?;
    let mut file = tempfile::Builder::new().prefix(".e2esm-").suffix(".tmp").tempfile_in(directory)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
    }
    file.persist(path).map_err(|error| error.error)?;
    Ok(path.to_owned())
}

fn layer_result(adapter: &str, row: &Row, divergences: &Divergences) -> LayerResult {
    let divergence = divergences.find(adapter, &row.vector, row.layer);
    let mut decision_points: Vec<_> = row.checks.iter().flat_map(|check| check.consulted.clone()).collect();
    decision_points.sort();
    decision_points.dedup();
    LayerResult {
        verdict: row.verdict,
        because: row.because(),
        decision_points,
        no_group_object: row.no_group_object,
        expected: match divergence {
            Some(divergence) => divergence.verdict == row.verdict,
            None => row.verdict.needs_no_reason(),
        },
        divergence: divergence.map(|divergence| format!("{} ({})", divergence.reason, divergence.source)),
        checks: row.checks.clone(),
        stop: row.stop.clone(),
        traffic: row.traffic,
        milliseconds: (row.milliseconds * 10.0).round() / 10.0,
    }
}

impl Environment {
    /// This machine.
    pub fn here() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).ok();
        let field = |text: Option<String>, name: &str| {
            text?.lines().find(|line| line.starts_with(name))?.split_once(':').map(|(_, value)| value.trim().to_owned())
        };
        let memory = field(read("/proc/meminfo"), "MemTotal")
            .and_then(|value| value.split_whitespace().next()?.parse::<u64>().ok())
            .map(|kilobytes| kilobytes * 1024);
        Self {
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            cpu: field(read("/proc/cpuinfo"), "model name"),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: memory,
            governor: read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").map(|text| text.trim().to_owned()),
            rustc: env!("E2ESM_RUSTC").to_owned(),
            profile: if cfg!(debug_assertions) { "debug" } else { "release" }.to_owned(),
        }
    }
}
