//! Expected divergences: bad verdicts of real libraries that are known, each with its reason and source. An entry that is
//! no longer needed is an error too.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::scenario::Layer;
use crate::suite::{Column, Row};
use crate::vector::Vector;
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

/// What is wrong with a file of divergences.
#[derive(Debug, thiserror::Error)]
pub enum DivergencesError {
    /// It could not be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not such a file, or says what cannot be.
    #[error("{}: {reason}", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// Where, what, and what was expected.
        reason: String,
    },
}

/// The checked-in list, and whatever one's own files add to it.
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

    /// Adds those of a file of one's own. Each must be about one of these vectors, and about something that no other entry is
    /// about; the adapter may be one that does not run.
    ///
    /// # Errors
    /// [`DivergencesError`], with the file, the entry and what was expected. Nothing is added then.
    pub fn add(&mut self, path: &Path, vectors: &[Vector]) -> Result<(), DivergencesError> {
        let malformed = |reason: String| DivergencesError::Malformed { path: path.to_owned(), reason };
        let text =
            std::fs::read_to_string(path).map_err(|source| DivergencesError::Read { path: path.to_owned(), source })?;
        let mut json = serde_json::Deserializer::from_str(&text);
        let more: Vec<Divergence> =
            serde_path_to_error::deserialize(&mut json).map_err(|error| match error.path().iter().next() {
                None => malformed(format!("expected a list of entries: {}", error.inner())),
                Some(_) => malformed(format!("entry {}: {}", error.path(), error.inner())),
            })?;
        json.end().map_err(|error| malformed(error.to_string()))?;
        let mut all = self.clone();
        for entry in more {
            let Divergence { adapter, vector, layer, verdict, .. } = &entry;
            let about = format!("{adapter}, {vector} [{}]", layer.label());
            if !vectors.iter().any(|known| known.id == *vector) {
                return Err(malformed(format!("{about}: there is no such vector, see `e2esm list vectors`")));
            }
            if verdict.needs_no_reason() {
                let label = verdict.label();
                return Err(malformed(format!("{about}: `{label}` is no divergence, expected `fail` or `error`")));
            }
            if all.find(adapter, vector, *layer).is_some() {
                return Err(malformed(format!("{about}: there is an entry about this already")));
            }
            all.0.push(entry);
        }
        *self = all;
        Ok(())
    }

    /// All of them.
    pub fn all(&self) -> &[Divergence] {
        &self.0
    }

    /// The one for a row.
    pub fn find(&self, adapter: &str, vector: &str, layer: Layer) -> Option<&Divergence> {
        self.0.iter().find(|entry| entry.adapter == adapter && entry.vector == vector && entry.layer == layer)
    }

    /// What is not as expected about an adapter's row, in a sentence: a bad verdict without an entry, or an entry that says
    /// otherwise.
    pub fn objection(&self, adapter: &str, row: &Row) -> Option<String> {
        match self.find(adapter, &row.vector, row.layer) {
            Some(entry) if entry.verdict == row.verdict => None,
            Some(entry) => Some(format!(
                "came out as `{}`, but its entry of expected divergences says `{}`: remove or mend it",
                row.verdict.label(),
                entry.verdict.label()
            )),
            None if row.verdict.needs_no_reason() => None,
            None => Some(format!("{}: {}", row.verdict.label(), row.because())),
        }
    }

    /// What is not as expected: bad verdicts without an entry, and entries whose row came out otherwise. Entries for rows
    /// that did not run are left alone.
    pub fn unexpected(&self, columns: &[Column]) -> Vec<Unexpected> {
        let mut found = Vec::new();
        for column in columns {
            for row in &column.rows {
                let Some(sentence) = self.objection(&column.name, row) else { continue };
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
