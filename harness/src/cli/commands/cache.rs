//! `e2esm cache`

use anyhow::Result;
use comfy_table::{CellAlignment, Table, presets::UTF8_FULL_CONDENSED};
use e2esm::bench::cache::Cache;
use indicatif::{HumanBytes, HumanDuration};

use crate::cli::args::{CacheAction, CacheArguments};
use crate::cli::{AS_EXPECTED, console};

/// The cache that was asked for.
pub(crate) fn open(arguments: &CacheArguments) -> Cache {
    let directory = arguments.directory.clone().unwrap_or_else(Cache::default_directory);
    Cache::new(directory, (arguments.bound.max(0.0) * f64::from(1 << 30)) as u64)
}

pub(crate) fn cache(action: &CacheAction) -> Result<u8> {
    match action {
        CacheAction::List { cache } => list(&open(cache)),
        CacheAction::Clear { cache } => {
            let cache = open(cache);
            let (entries, bytes) = cache.clear()?;
            console::say(format_args!(
                "removed {entries} prepared states ({}) from {}",
                HumanBytes(bytes),
                cache.directory().display()
            ));
            Ok(AS_EXPECTED)
        }
    }
}

fn list(cache: &Cache) -> Result<u8> {
    let entries = cache.entries()?;
    if !entries.is_empty() {
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED).set_header(["prepared state", "size", "last used"]);
        for entry in &entries {
            table.add_row([
                entry.name.clone(),
                HumanBytes(entry.bytes).to_string(),
                format!("{} ago", HumanDuration(entry.age())),
            ]);
        }
        if let Some(column) = table.column_mut(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        console::say(table);
    }
    let total = entries.iter().map(|entry| entry.bytes).sum();
    console::say(format_args!(
        "{} prepared states, {} of at most {}, in {}",
        entries.len(),
        HumanBytes(total),
        HumanBytes(cache.bound()),
        cache.directory().display()
    ));
    Ok(AS_EXPECTED)
}
