//! Expected divergences: bad verdicts of real libraries that are known, each with its reason and source. An entry that is
//! no longer needed is an error too.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::scenario::Layer;
use crate::suite::Column;
use crate::verdict::Verdict;

/// One known divergence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Divergence {
    /// The adapter.
    pub adapter: String,
    /// The vector.
    pub vector: String,
    /// The layer.
    pub layer: Layer,
    /// The verdict that is expected instead of a good one.
    pub verdict: Verdict,
    /// Why.
    pub reason: String,
    /// A line of the library's source or documentation.
    pub source: String,
}

/// The checked-in list.
#[derive(Clone, Debug, Default)]
pub struct Divergences(Vec<Divergence>);

/// What is not as expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unexpected {
    /// The adapter.
    pub adapter: String,
    /// The vector.
    pub vector: String,
    /// The layer.
    pub layer: Layer,
    /// What is wrong, in a sentence.
    pub sentence: String,
}

impl Divergences {
    /// The list that the binary carries, from `harness/divergences.json`.
    ///
    /// # Errors
    /// If that file is malformed: the project's own tests exclude it.
    pub fn checked_in() -> Result<Self, serde_json::Error> {
        serde_json::from_str(include_str!("../divergences.json")).map(Self)
    }

    /// All of them.
    pub fn all(&self) -> &[Divergence] {
        &self.0
    }

    /// The one for a row.
    pub fn find(&self, adapter: &str, vector: &str, layer: Layer) -> Option<&Divergence> {
        self.0.iter().find(|entry| entry.adapter == adapter && entry.vector == vector && entry.layer == layer)
    }

    /// What is not as expected: bad verdicts without an entry, and entries whose row came out otherwise. Entries for rows
    /// that did not run are left alone.
    pub fn unexpected(&self, columns: &[Column]) -> Vec<Unexpected> {
        let mut found = Vec::new();
        for column in columns {
            for row in &column.rows {
                let sentence = match self.find(&column.name, &row.vector, row.layer) {
                    Some(entry) if entry.verdict == row.verdict => continue,
                    Some(entry) => format!(
                        "came out as `{}`, but divergences.json expects `{}`: remove or mend the entry",
                        row.verdict.label(),
                        entry.verdict.label()
                    ),
                    None if row.verdict.needs_no_reason() => continue,
                    None => format!("{}: {}", row.verdict.label(), row.because()),
                };
                found.push(Unexpected {
                    adapter: column.name.clone(),
                    vector: row.vector.clone(),
                    layer: row.layer,
                    sentence,
                });
            }
        }
        found
    }
}
