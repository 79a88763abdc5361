//! `e2esm check`

use std::path::Path;

use anyhow::Result;
use e2esm::vector::load::problems;

use crate::cli::{AS_EXPECTED, MISUSE, console};

pub(crate) fn check(directory: &Path) -> Result<u8> {
    let (good, problems) = problems(directory);
    let recorded = directory.join("recorded");
    let (recorded, flaws) = if recorded.is_dir() { check_recorded(directory, &recorded)? } else { (0, Vec::new()) };
    for problem in &problems {
        eprintln!("e2esm: {problem}");
    }
    for flaw in &flaws {
        eprintln!("e2esm: {flaw}");
    }
    if directory.is_dir() {
        console::say(format_args!("{good} vectors are well-formed, {} files are not", problems.len()));
        if recorded > 0 || !flaws.is_empty() {
            console::say(format_args!("{recorded} recorded vectors, {} problems", flaws.len()));
        }
    }
    Ok(if problems.is_empty() && flaws.is_empty() { AS_EXPECTED } else { MISUSE })
}

/// Recorded vectors, and whether what is generated from them is current.
fn check_recorded(directory: &Path, recorded: &Path) -> Result<(usize, Vec<String>)> {
    let requirements = super::requirement_ids(directory)?;
    let (vectors, mut flaws) = e2esm::recorded::problems(recorded, &requirements);
    flaws.extend(e2esm::recorded::published::stale_collections(recorded, &vectors));
    let readme = directory.join("README.md");
    if flaws.is_empty() && readme.is_file() {
        let text = std::fs::read_to_string(&readme)?;
        // A directory of somebody's own need not have the tables.
        if e2esm::recorded::published::with_tables(&text, &vectors).is_ok_and(|current| current != text) {
            flaws.push(format!("{}: its tables are stale: run `e2esm combine`", readme.display()));
        }
    }
    Ok((vectors.len(), flaws))
}
