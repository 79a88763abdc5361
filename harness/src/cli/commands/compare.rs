//! `e2esm compare`

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use e2esm::bench::document::Benchmarks;
use e2esm::compare::{Thresholds, between, compare as documents, text};
use serde::Serialize;

use crate::cli::{AS_EXPECTED, UNEXPECTED, console};

#[derive(Debug, Args)]
pub(crate) struct CompareArguments {
    /// The document from before, as `e2esm bench` wrote it
    #[arg(value_name = "A")]
    pub a: PathBuf,
    /// The document from after
    #[arg(value_name = "B", required_unless_present = "baseline", conflicts_with = "baseline")]
    pub b: Option<PathBuf>,
    /// Compare two implementations within A: with this one
    #[arg(long, value_name = "NAME", requires = "with")]
    pub baseline: Option<String>,
    /// Compare two implementations within A: this one
    #[arg(long, value_name = "NAME", requires = "baseline")]
    pub with: Option<String>,
    /// Exit with 1 if anything is worse or lost, and say what
    #[arg(long, conflicts_with = "baseline")]
    pub gate: bool,
    /// How much worse is too much, instead of what benches/gate.toml says
    #[arg(long, value_name = "FILE", conflicts_with = "baseline")]
    pub thresholds: Option<PathBuf>,
    /// Show what is the same as well
    #[arg(long)]
    pub all: bool,
    /// What to print
    #[arg(long, value_enum, default_value_t = CompareFormat::Table)]
    pub format: CompareFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CompareFormat {
    Table,
    Json,
}

pub(crate) fn compare(arguments: &CompareArguments) -> Result<u8> {
    let CompareArguments { a, b, baseline, with, gate, thresholds, all, format } = arguments;
    let before = Benchmarks::read(a)?;
    if let (Some(baseline), Some(with)) = (baseline, with) {
        let between = between(&before, baseline, with).with_context(|| format!("comparing within {}", a.display()))?;
        say(*format, &between, || text::between(&between, *all, console::colour()))?;
        return Ok(AS_EXPECTED);
    }
    // clap has seen to it that there is one.
    let b = b.as_ref().context("a second document is missing: see `e2esm compare --help`")?;
    let after = Benchmarks::read(b)?;
    let thresholds = match thresholds {
        Some(path) => Thresholds::read(path)?,
        None => Thresholds::checked_in()?,
    };
    let (name_a, name_b) = (a.display().to_string(), b.display().to_string());
    let comparison =
        documents(&before, &after, &thresholds).with_context(|| format!("comparing {name_a} with {name_b}"))?;
    say(*format, &comparison, || text::comparison(&comparison, [&name_a, &name_b], *all, console::colour()))?;
    let regressions = comparison.regressions();
    if !gate || regressions.is_empty() {
        return Ok(AS_EXPECTED);
    }
    for line in regressions {
        eprintln!("{line}");
    }
    Ok(UNEXPECTED)
}

fn say(format: CompareFormat, value: &impl Serialize, table: impl FnOnce() -> String) -> Result<()> {
    match format {
        CompareFormat::Table => console::say(table()),
        CompareFormat::Json => console::say(serde_json::to_string_pretty(value)?),
    }
    Ok(())
}
