//! `e2esm split` and `e2esm combine`

use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use e2esm::recorded::{embedded, path_of, problems, published};
use e2esm::results::write_atomically;
use e2esm_playback::{read_collection, write};

use crate::cli::{AS_EXPECTED, MISUSE, UNEXPECTED, console};

/// A file for each vector of a collection.
pub(crate) fn split(collection: Option<&Path>, directory: &Path) -> Result<u8> {
    let vectors = match collection {
        Some(path) => {
            let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
            read_collection(path, &bytes)?.vectors
        }
        None => embedded()?,
    };
    for vector in &vectors {
        // The id becomes a path: it must stay below the directory.
        let plain = |part: &str| {
            !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        };
        if vector.id.split('/').count() != 3 || !vector.id.split('/').all(plain) {
            bail!("id: `{}` is not `protocol/theme/name`: nothing was written for it or for those after it", vector.id);
        }
        let path = directory.join(path_of(vector));
        write_atomically(&path, write(vector)?.as_bytes()).with_context(|| format!("writing {}", path.display()))?;
    }
    console::say(format_args!("wrote {} vectors below {}", vectors.len(), directory.display()));
    Ok(AS_EXPECTED)
}

/// The collections and tables of a checkout.
pub(crate) fn combine(root: &Path, check: bool) -> Result<u8> {
    let directory = root.join("vectors");
    let recorded = directory.join("recorded");
    if !recorded.is_dir() {
        bail!("{}: no such directory; expected the root of a checkout", recorded.display());
    }
    let (vectors, flaws) = problems(&recorded, &super::requirement_ids(&directory)?);
    if !flaws.is_empty() {
        for flaw in flaws {
            eprintln!("e2esm: {flaw}");
        }
        return Ok(MISUSE);
    }
    let mut files: Vec<_> = published::collections(&vectors)
        .map_err(|error| anyhow!(error))?
        .into_iter()
        .map(|(name, text)| (recorded.join(name), text))
        .collect();
    let readme = directory.join("README.md");
    let text = std::fs::read_to_string(&readme).with_context(|| readme.display().to_string())?;
    let with_tables =
        published::with_tables(&text, &vectors).map_err(|error| anyhow!("{}: {error}", readme.display()))?;
    files.push((readme, with_tables));
    let mut stale = 0;
    for (path, text) in files {
        if std::fs::read_to_string(&path).is_ok_and(|present| present == text) {
            continue;
        }
        stale += 1;
        if check {
            eprintln!("e2esm: {}: is stale: run `e2esm combine`", path.display());
        } else {
            write_atomically(&path, text.as_bytes()).with_context(|| format!("writing {}", path.display()))?;
            console::say(format_args!("wrote {}", path.display()));
        }
    }
    if stale == 0 {
        console::say(format_args!("{} recorded vectors: everything is current", vectors.len()));
    }
    Ok(if check && stale > 0 { UNEXPECTED } else { AS_EXPECTED })
}
