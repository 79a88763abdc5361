//! The commands, one module each, and what they share: finding vectors, implementations and settings by name.

pub(crate) mod bench;
pub(crate) mod cache;
pub(crate) mod check;
pub(crate) mod collections;
pub(crate) mod compare;
pub(crate) mod costs;
pub(crate) mod explain;
pub(crate) mod export;
pub(crate) mod list;
pub(crate) mod mls_vectors;
pub(crate) mod record;
pub(crate) mod rogues;
pub(crate) mod run;
pub(crate) mod schema;
pub(crate) mod verify_recorded;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use e2esm::scenario::Layer;
use e2esm::suite::{Settings, Target};
use e2esm::vector::load::{VectorSet, directory, embedded};
use e2esm::worker::Limits;

use super::args::{Layers, LimitArguments, VectorSource};

/// The vectors that were asked for.
pub(crate) fn vectors(source: &VectorSource) -> Result<VectorSet> {
    Ok(match &source.directory {
        Some(root) => directory(root)?,
        None => embedded()?,
    })
}

/// The ids of the requirements of a directory of vectors, or of ours where it has none.
pub(crate) fn requirement_ids(directory: &std::path::Path) -> Result<std::collections::BTreeSet<String>> {
    let own = directory.join("requirements.json");
    let requirements: Vec<e2esm::vector::load::Requirement> = if own.is_file() {
        let bytes = std::fs::read(&own).with_context(|| own.display().to_string())?;
        serde_json::from_slice(&bytes).with_context(|| own.display().to_string())?
    } else {
        embedded()?.requirements
    };
    Ok(requirements.into_iter().map(|requirement| requirement.id).collect())
}

/// The settings that were asked for.
pub(crate) fn settings(limits: &LimitArguments, layers: Layers) -> Settings {
    Settings {
        layers: match layers {
            Layers::Library => vec![Layer::Library],
            Layers::Policy => vec![Layer::Policy],
            Layers::Both => Layer::ALL.to_vec(),
        },
        limits: Limits {
            seconds: limits.timeout.unwrap_or(Limits::default().seconds),
            memory_bytes: limits.memory << 20,
        },
        seed: limits.seed,
        jobs: match limits.jobs {
            Some(jobs) => usize::from(jobs),
            None => std::thread::available_parallelism().map_or(1, usize::from),
        },
    }
}

/// This program: workers are more of it.
pub(crate) fn program() -> Result<PathBuf> {
    std::env::current_exe().context("finding this program, to start workers with it")
}

/// The built-in implementations of these names; all if none is named.
pub(crate) fn targets(names: &[String]) -> Result<Vec<Target>> {
    let program = program()?;
    let known: Vec<String> = e2esm::registry::built_in().iter().map(|adapter| adapter.describe().name).collect();
    for name in names {
        if !known.contains(name) {
            bail!("there is no implementation `{name}`: expected one of {}", known.join(", "));
        }
    }
    Ok(known
        .iter()
        .filter(|name| names.is_empty() || names.contains(name))
        .map(|name| Target::built_in(program.clone(), name))
        .collect())
}
