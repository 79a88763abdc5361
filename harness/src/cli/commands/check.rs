//! `e2esm check`

use std::path::Path;

use anyhow::Result;
use e2esm::vector::load::problems;

use crate::cli::{AS_EXPECTED, MISUSE, console};

pub(crate) fn check(directory: &Path) -> Result<u8> {
    let (good, problems) = problems(directory);
    for problem in &problems {
        eprintln!("e2esm: {problem}");
    }
    if directory.is_dir() {
        console::say(format_args!("{good} vectors are well-formed, {} files are not", problems.len()));
    }
    Ok(if problems.is_empty() { AS_EXPECTED } else { MISUSE })
}
