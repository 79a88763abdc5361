//! `e2esm export`

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use e2esm::bench::document::Benchmarks;
use e2esm::compare::export as formats;
use e2esm::results::write_atomically;

use crate::cli::{AS_EXPECTED, console};

#[derive(Debug, Args)]
pub(crate) struct ExportArguments {
    /// The document, as `e2esm bench` wrote it
    pub file: PathBuf,
    /// For which service; both get exact measures alone, never times
    #[arg(long, value_enum)]
    pub format: ExportFormat,
    /// Where to write it, instead of to stdout
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportFormat {
    /// Bencher Metric Format
    Bencher,
    /// github-action-benchmark, tool customSmallerIsBetter
    GithubActionBenchmark,
}

pub(crate) fn export(arguments: &ExportArguments) -> Result<u8> {
    let document = Benchmarks::read(&arguments.file)?;
    if let Some(burden) = &document.run.burden {
        bail!("{}: burdened on purpose ({burden}): its numbers are not the implementations'", arguments.file.display());
    }
    let value = match arguments.format {
        ExportFormat::Bencher => formats::bencher(&document),
        ExportFormat::GithubActionBenchmark => formats::github_action_benchmark(&document),
    };
    let mut text = serde_json::to_string_pretty(&value)?;
    match &arguments.out {
        None => console::say(text),
        Some(out) => {
            text.push('\n');
            write_atomically(out, text.as_bytes()).with_context(|| format!("writing {}", out.display()))?;
        }
    }
    Ok(AS_EXPECTED)
}
