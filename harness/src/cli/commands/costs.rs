//! `e2esm costs`

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use e2esm::bench::cell::{GroupState, Operation};
use e2esm::bench::document::{Benchmarks, Measurement};
use e2esm::report::costs::tables;

use crate::cli::{AS_EXPECTED, console};

#[derive(Debug, Args)]
pub(crate) struct CostsArguments {
    /// What `e2esm bench` wrote
    file: PathBuf,
    /// Only these operations; may be repeated
    #[arg(long, value_name = "NAME")]
    operation: Vec<Operation>,
    /// Only these implementations; may be repeated
    #[arg(long, value_name = "NAME")]
    adapter: Vec<String>,
    /// Only these group states; may be repeated
    #[arg(long, value_name = "NAME")]
    state: Vec<GroupState>,
    /// Only groups of this size; may be repeated
    #[arg(long, value_name = "N")]
    size: Vec<u32>,
}

pub(crate) fn costs(arguments: &CostsArguments) -> Result<u8> {
    let mut document = Benchmarks::read(&arguments.file)?;
    let CostsArguments { operation, adapter, state, size, .. } = arguments;
    let chosen = |measurement: &Measurement| {
        (operation.is_empty() || operation.contains(&measurement.operation))
            && (adapter.is_empty() || adapter.contains(&measurement.adapter))
            && (state.is_empty() || state.contains(&measurement.state))
            && (size.is_empty() || size.contains(&measurement.size))
    };
    document.measurements.retain(chosen);
    if document.measurements.is_empty() {
        bail!("{}: none of its measurements was chosen", arguments.file.display());
    }
    document.adapters.retain(|name, _| document.measurements.iter().any(|measurement| measurement.adapter == *name));
    // The exponents of what is left, over the sizes that are left.
    document.settle();
    for table in tables(&document, console::colour()) {
        console::say(table);
    }
    Ok(AS_EXPECTED)
}
