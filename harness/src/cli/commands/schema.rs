//! `e2esm schema`

use std::path::Path;

use anyhow::{Context, Result};
use e2esm::results::write_atomically;

use crate::cli::{AS_EXPECTED, console};

pub(crate) fn schema(root: Option<&Path>) -> Result<u8> {
    for (path, schema) in e2esm::schema::all() {
        let text = serde_json::to_string_pretty(&schema)? + "\n";
        match root {
            Some(root) => {
                let path = root.join(path);
                write_atomically(&path, text.as_bytes()).with_context(|| format!("writing {}", path.display()))?;
                console::say(format_args!("wrote {}", path.display()));
            }
            None => console::say(text),
        }
    }
    Ok(AS_EXPECTED)
}
