//! Records the vectors of MLS and writes them: see the library for what they are.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use e2esm_adapter::Protocol;
use e2esm_playback::{count, distinct_faults, write};
use e2esm_recorder_mls::Recorder;

/// Records MLS vectors: `DIR/mls/THEME/NAME.json`. Every one is played on all implementations before any is written.
#[derive(Parser)]
struct Arguments {
    /// The directory of recorded vectors.
    directory: PathBuf,
    /// The day of the recording, YYYY-MM-DD.
    #[arg(long)]
    date: String,
    /// Writes over files that are there. What has been published never changes: for a directory of one's own.
    #[arg(long)]
    replace: bool,
}

fn main() -> Result<()> {
    let Arguments { directory, date, replace } = Arguments::parse();
    let vectors = Recorder::new(&date).record()?;
    let mut files = Vec::new();
    for vector in &vectors {
        let path = directory.join(format!("{}.json", vector.id));
        ensure!(replace || !path.exists(), "{} is there already, and what is published never changes", path.display());
        files.push((path, write(vector).with_context(|| vector.id.clone())?));
    }
    for (vector, (path, text)) in vectors.iter().zip(&files) {
        let folder = path.parent().context("a file outside any directory")?;
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        fs::write(path, text).with_context(|| path.display().to_string())?;
        let many = count([vector]);
        println!(
            "{:56} {:>4} accepted {:>4} rejected {:>3} open {:>8} bytes, by {}",
            vector.id,
            many.accepted,
            many.rejected,
            many.harmless,
            text.len(),
            vector.recorded_by.implementation
        );
    }
    let many = count(&vectors);
    let bytes: usize = files.iter().map(|(_, text)| text.len()).sum();
    println!(
        "{} files, {} deliveries: {} accepted, {} rejected, {} left open; {} distinct faults; {bytes} bytes",
        many.files,
        many.deliveries,
        many.accepted,
        many.rejected,
        many.harmless,
        distinct_faults(&vectors, Protocol::Mls).len()
    );
    Ok(())
}
