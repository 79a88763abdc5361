//! Records what a passive device is sent by an insider: a member who breaks one rule of MLS at a time, while everything that
//! depends on it fits.
//!
//!     cargo run --release -p e2esm-recorder-insider -- vectors/recorded --date 2026-11-23
//!
//! Changes from outside only ever hit a tag or the decoder. The insider, mallory, is a client of mls-rs, unmodified. Her
//! crypto provider is wrapped ([`bent`]): it can answer wrongly, and it sees the secrets that go through it. What the library
//! refuses to build is reached by taking its packets apart ([`wire`]), changing one thing, and computing anew what follows
//! from that ([`tree`], [`epoch`], [`commit`]). Each time the packet is first put together without a change, and has to come
//! out as the library has it. [`scene`] is the group and the vector in the making, [`faults`] are the vectors.
//!
//! Which outcome is right is what RFC 9420 says. A fault that an implementation under test takes is in a file only where that
//! is public, with the reference (`SECURITY.md`).

mod bent;
mod commit;
mod epoch;
mod faults;
mod member;
mod scene;
mod tree;
mod wire;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use e2esm_adapter::{Adapter, Protocol, Start};
use e2esm_playback::{Draft, Recorded, check, check_together, count, distinct_faults, judge, write};
use serde::Deserialize;

/// Records MLS vectors with an insider's faults: DIR/mls/THEME/NAME.json. Every one is played on all implementations before
/// any is written.
#[derive(Parser)]
struct Arguments {
    /// The directory of recorded vectors.
    directory: PathBuf,
    /// The day of the recording.
    #[arg(long, value_name = "YYYY-MM-DD")]
    date: String,
    /// Writes over files that are there. What has been published never changes: for a directory of one's own.
    #[arg(long)]
    replace: bool,
    /// Writes nothing, and says instead what each implementation makes of each fault.
    #[arg(long)]
    verdicts: bool,
}

fn main() -> Result<()> {
    let Arguments { directory, date, replace, verdicts } = Arguments::parse();
    let drafts = faults::all(&date)?;
    if verdicts {
        drafts.iter().for_each(print_verdicts);
        return Ok(());
    }
    let vectors = record(drafts)?;
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
            "{:60} {:>3} accepted {:>3} rejected {:>2} open {:>7} bytes",
            vector.id,
            many.accepted,
            many.rejected,
            many.harmless,
            text.len()
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

/// Everybody who has to agree. The first one records.
fn adapters() -> Vec<Box<dyn Adapter>> {
    e2esm_adapter_mls_rs::adapters().into_iter().chain(e2esm_adapter_openmls::adapters()).collect()
}

/// Every draft, recorded, confirmed by all implementations that have the cipher suite, and checked.
fn record(drafts: Vec<Draft>) -> Result<Vec<Recorded>> {
    let adapters = adapters();
    let recorder = adapters.first().context("nobody records")?;
    let mut vectors = Vec::new();
    for draft in drafts {
        let suite = suite_name(draft.start())?;
        let mut vector = draft.record(recorder.as_ref(), suite)?;
        for adapter in &adapters {
            vector.confirm(adapter.as_ref())?;
        }
        vectors.push(vector);
    }
    let requirements = requirements()?;
    let mut problems = check_together(&vectors);
    for vector in &vectors {
        problems.extend(check(vector, &requirements).into_iter().map(|problem| format!("{}: {problem}", vector.id)));
    }
    ensure!(problems.is_empty(), "{}", problems.join("\n"));
    Ok(vectors)
}

/// RFC 9420, section 17.1.
fn suite_name(start: &Start) -> Result<&'static str> {
    match start {
        Start::Mls(start) if start.cipher_suite == 1 => Ok("MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519 (0x0001)"),
        Start::Mls(start) if start.cipher_suite == 2 => Ok("MLS_128_DHKEMP256_AES128GCM_SHA256_P256 (0x0002)"),
        Start::Mls(start) if start.cipher_suite == 3 => {
            Ok("MLS_128_DHKEMX25519_CHACHA20POLY1305_SHA256_Ed25519 (0x0003)")
        }
        _ => anyhow::bail!("no name for this cipher suite"),
    }
}

/// The ids of the suite's requirements.
fn requirements() -> Result<BTreeSet<String>> {
    #[derive(Deserialize)]
    struct Requirement {
        id: String,
    }
    let mut files = e2esm_vectors::files();
    let found = files.find(|(path, _)| *path == Path::new("requirements.json"));
    let (_, json) = found.context("the suite's requirements are not embedded")?;
    let requirements: Vec<Requirement> = serde_json::from_slice(json)?;
    Ok(requirements.into_iter().map(|requirement| requirement.id).collect())
}

/// What each implementation makes of each fault of a vector.
fn print_verdicts(draft: &Draft) {
    for adapter in adapters() {
        println!("{} with {}", draft.id(), adapter.describe().name);
        let mut passive = match adapter.passive(draft.start()) {
            Ok(passive) => passive,
            Err(error) => {
                println!("    {error}");
                continue;
            }
        };
        for step in draft.steps() {
            let outcome = passive.deliver(&step.delivery());
            let wrong = judge(&step.expected, &outcome).err();
            if step.fault.is_some() || wrong.is_some() {
                let told = outcome.map_or_else(|error| error.to_string(), |_| "accepted".to_owned());
                let mark = if wrong.is_some() { "not as expected" } else { "as expected" };
                println!("    {:44} {mark}: {told}", step.name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use e2esm_playback::{Expected, ObservedOutcome};

    use super::*;

    /// The whole program, into memory: everybody agrees but where it is known that they do not, and there is as much as is
    /// claimed.
    #[test]
    fn everything_is_recorded_and_everybody_agrees() {
        let vectors = record(faults::all("2026-11-23").unwrap()).unwrap();
        let faults = distinct_faults(&vectors, Protocol::Mls);
        assert!(faults.len() >= 150, "{}", faults.len());
        let many = count(&vectors);
        assert!(many.accepted > many.rejected, "{many:?}");

        for vector in &vectors {
            let disagree = vector.disagreements.iter().any(|known| known.observed == ObservedOutcome::Accepted);
            let confirmed: Vec<_> = vector.confirmed_by.iter().map(|by| by.implementation.as_str()).collect();
            assert_eq!(confirmed.contains(&"openmls"), !disagree, "{}", vector.id);
            for step in vector.deliveries.iter().filter(|step| !matches!(step.expected, Expected::Accepted(_))) {
                let rule = step.fault.as_ref().unwrap().rule.as_ref().unwrap();
                assert!(!rule.section.is_empty() && !rule.demands.is_empty(), "{}: {}", vector.id, step.name);
            }
        }
        for suite in ["(0x0001)", "(0x0002)", "(0x0003)"] {
            assert!(vectors.iter().any(|vector| vector.cipher_suite.ends_with(suite)), "{suite}");
        }
    }
}
