//! Openness evidence (requirement R3), as data beside each implementation. Evidence is published, never a rank.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Yes, in part, no, or not known. "None found" is not known, never no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Known {
    Yes,
    Partial,
    No,
    Unknown,
}

/// What is known about one implementation's openness.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// The library.
    pub implementation: String,
    /// Its documentation.
    pub docs: Docs,
    /// Its source.
    pub source: Source,
    /// Audits of it.
    pub audits: Vec<Audit>,
    /// Which of the message's three criteria are met.
    pub criteria_met: Criteria,
    /// Whether an audit covers the version that is tested here.
    pub audit_covers_tested_version: Known,
    /// How sure we are of this entry: high, medium or low.
    pub confidence: String,
    /// Anything else.
    pub notes: String,
    /// Where it was looked up.
    pub sources: Vec<String>,
}

/// Documentation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Docs {
    /// Where.
    pub url: String,
    /// Whether it covers security: what is promised, and what is left to the application.
    pub covers_security: Known,
    /// When that was looked at, `YYYY-MM-DD`.
    pub checked_on: String,
}

/// Source code.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Where.
    pub url: String,
    /// Under which licence.
    pub licence: String,
}

/// An audit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Audit {
    /// By whom.
    pub auditor: String,
    /// When.
    pub year: Option<u32>,
    /// Of what.
    pub scope: String,
    /// Of which version.
    pub version_or_commit: Option<String>,
    /// Whether the auditor is independent.
    pub independent: Known,
    /// Where the report is.
    pub report_url: Option<String>,
    /// Whether the whole report is public.
    pub unabridged: Known,
    /// How many findings.
    pub findings: Option<u32>,
    /// How many of them are open.
    pub open_findings: Option<u32>,
}

/// The message's three criteria, of which two must hold before a verdict on a system may be given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Criteria {
    /// Full security documentation.
    pub documentation: Known,
    /// Open source.
    pub open_source: Known,
    /// An independent audit with its unabridged report public.
    pub independent_audit: Known,
}

impl Evidence {
    /// The checked-in entries.
    ///
    /// # Errors
    /// If the file is malformed: the project's own tests exclude it.
    pub fn all() -> Result<Vec<Self>, serde_json::Error> {
        serde_json::from_str(include_str!("../evidence.json"))
    }

    /// The entry of an implementation.
    pub fn of(implementation: &str) -> Option<Self> {
        Self::all().ok()?.into_iter().find(|entry| entry.implementation == implementation)
    }
}
