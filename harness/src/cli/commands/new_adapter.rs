//! `e2esm new-adapter`

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::cli::args::Language;
use crate::cli::{AS_EXPECTED, console};

/// A file of a skeleton: its path below the new directory, and its text.
type Part = (&'static str, &'static str);

const PYTHON: [Part; 3] = [
    ("e2esm.py", include_str!("../../../../adapters/skeletons/python/e2esm.py")),
    ("main.py", include_str!("../../../../adapters/skeletons/python/main.py")),
    ("README.md", include_str!("../../../../adapters/skeletons/python/README.md")),
];
const NODE: [Part; 4] = [
    ("e2esm.mjs", include_str!("../../../../adapters/skeletons/node/e2esm.mjs")),
    ("main.mjs", include_str!("../../../../adapters/skeletons/node/main.mjs")),
    ("package.json", include_str!("../../../../adapters/skeletons/node/package.json")),
    ("README.md", include_str!("../../../../adapters/skeletons/node/README.md")),
];
const RUST: [Part; 3] = [
    ("Cargo.toml", include_str!("../../../../adapters/skeletons/rust/Cargo.toml.in")),
    ("src/main.rs", include_str!("../../../../adapters/skeletons/rust/main.rs")),
    ("README.md", include_str!("../../../../adapters/skeletons/rust/README.md")),
];
/// What stands for the path of the crate `e2esm-adapter`.
const API: &str = "{{api}}";

pub(crate) fn new_adapter(language: Language, directory: &Path) -> Result<u8> {
    let (parts, next): (&[Part], _) = match language {
        Language::Python => (&PYTHON, "e2esm conformance 'python3 main.py'"),
        Language::Node => (&NODE, "e2esm conformance 'node main.mjs'"),
        Language::Rust => (&RUST, "cargo build --release && e2esm conformance target/release/my-adapter"),
    };
    let place = || directory.display().to_string();
    if directory.exists() && std::fs::read_dir(directory).with_context(place)?.next().is_some() {
        bail!("{}: is there already, and not empty: nothing is overwritten", directory.display());
    }
    let api = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../adapters/api");
    let api = api.canonicalize().unwrap_or(api);
    for (name, text) in parts {
        let path = directory.join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
        }
        let text = text.replace(API, &api.display().to_string());
        std::fs::write(&path, text).with_context(|| path.display().to_string())?;
    }
    console::say(format_args!(
        "{}: a skeleton of {} files. Next: cd {} && {next}",
        directory.display(),
        parts.len(),
        directory.display()
    ));
    Ok(AS_EXPECTED)
}
