//! Records what passive devices of Signal, Olm and Megolm are given.
//!
//!     e2esm-recorder-sessions vectors/recorded --date 2026-11-23 --libolm vectors/readers/libolm.py
//!
//! The libraries are driven directly: the program makes all private keys of the passive device, plays everybody else live,
//! and writes down what the device is given and what the protocol says must come of it. Nothing is written before the
//! recording implementation has shown exactly that, and with `--libolm` before libolm has, too, of Olm and Megolm.

mod alter;
mod megolm;
mod olm;
mod scene;
mod signal;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use e2esm_adapter::Protocol;
use e2esm_playback::{Implementation, Recorded, check, check_together, count, distinct_faults, read_directory, write};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// Records vectors of Signal, Olm and Megolm: one file each, DIR/PROTOCOL/THEME/NAME.json.
#[derive(Parser)]
struct Options {
    /// Where the directories of the protocols lie.
    dir: PathBuf,
    /// The day that is written down as that of recording.
    #[arg(long, value_name = "YYYY-MM-DD", required_unless_present = "confirm_only")]
    date: Option<String>,
    /// Overwrite files that are there. What is published never changes: not for those.
    #[arg(long)]
    replace: bool,
    /// Let libolm confirm Olm and Megolm: the path of readers/libolm.py, which is run with python3.
    #[arg(long, value_name = "SCRIPT")]
    libolm: Option<PathBuf>,
    /// Record nothing: let libolm confirm what lies in DIR, whoever recorded it.
    #[arg(long, requires = "libolm", conflicts_with_all = ["date", "replace"])]
    confirm_only: bool,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let Some(date) = &options.date else {
        let script = options.libolm.as_ref().context("who is to confirm?")?;
        return confirm_what_is_there(&options.dir, script);
    };
    let mut vectors = record(date)?;
    if let Some(script) = &options.libolm {
        confirm_by_libolm(&mut vectors, script)?;
    }
    if !options.replace {
        let there = vectors.iter().map(|vector| path(&options.dir, vector)).find(|path| path.exists());
        if let Some(path) = there {
            bail!("{} is there already: --replace, if it has not been published", path.display());
        }
    }
    write_all(&options.dir, &vectors)?;
    for vector in &vectors {
        let found = count([vector]);
        println!(
            "{}: {} deliveries, {} accepted, {} rejected, {} harmless; confirmed by {}",
            vector.id,
            found.deliveries,
            found.accepted,
            found.rejected,
            found.harmless,
            vector.confirmed_by.len()
        );
    }
    for protocol in [Protocol::Signal, Protocol::Olm, Protocol::Megolm] {
        let of_protocol: Vec<_> = vectors.iter().filter(|vector| vector.protocol == protocol).collect();
        let found = count(of_protocol.iter().copied());
        println!(
            "{}: {} files, {} deliveries: {} accepted, {} rejected, {} harmless; {} distinct faults",
            protocol.label(),
            found.files,
            found.deliveries,
            found.accepted,
            found.rejected,
            found.harmless,
            distinct_faults(of_protocol.iter().copied(), protocol).len()
        );
    }
    Ok(())
}

/// Randomness that is the same whenever the vector is recorded, for what takes it as a parameter: libsignal, and the keys
/// of passive devices. vodozemac takes the operating system's.
fn dice(id: &str) -> StdRng {
    StdRng::from_seed(Sha256::digest(id).into())
}

/// Every vector, recorded, confirmed by the built-in implementations that can, and checked.
fn record(date: &str) -> Result<Vec<Recorded>> {
    let adapters: Vec<_> =
        e2esm_adapter_libsignal::adapters().into_iter().chain(e2esm_adapter_vodozemac::adapters()).collect();
    let recorder = |protocol| {
        let mut able = adapters.iter().filter(|adapter| adapter.describe().recorded.contains(&protocol));
        able.next().with_context(|| format!("nobody here can record {}", protocol.label()))
    };
    let told = [
        (Protocol::Signal, signal::CIPHER_SUITE, signal::scenes(date)?),
        (Protocol::Olm, olm::CIPHER_SUITE, olm::scenes(date)?),
        (Protocol::Megolm, megolm::CIPHER_SUITE, megolm::scenes(date)?),
    ];
    let mut vectors = Vec::new();
    for (protocol, cipher_suite, scenes) in told {
        let recorder = recorder(protocol)?;
        for scene in scenes {
            let mut vector = scene.draft.record(recorder.as_ref(), cipher_suite)?;
            for adapter in &adapters {
                vector.confirm(adapter.as_ref())?;
            }
            vectors.push(vector);
        }
    }
    let requirements = requirements()?;
    let problems: Vec<_> = vectors
        .iter()
        .flat_map(|vector| {
            check(vector, &requirements).into_iter().map(move |problem| format!("{}: {problem}", vector.id))
        })
        .chain(check_together(&vectors))
        .collect();
    ensure!(problems.is_empty(), "{}", problems.join("\n"));
    Ok(vectors)
}

/// The ids of the suite's requirements.
fn requirements() -> Result<BTreeSet<String>> {
    #[derive(Deserialize)]
    struct Requirement {
        id: String,
    }
    let (_, json) = e2esm_vectors::files()
        .find(|(path, _)| path == Path::new("requirements.json"))
        .context("the suite's requirements are not embedded")?;
    let requirements: Vec<Requirement> = serde_json::from_slice(json)?;
    Ok(requirements.into_iter().map(|requirement| requirement.id).collect())
}

fn path(dir: &Path, vector: &Recorded) -> PathBuf {
    dir.join(format!("{}.json", vector.id))
}

fn write_all(dir: &Path, vectors: &[Recorded]) -> Result<()> {
    for vector in vectors {
        let path = path(dir, vector);
        let parent = path.parent().context("a file without a directory")?;
        let place = || format!("writing {}", path.display());
        fs::create_dir_all(parent).with_context(place)?;
        fs::write(&path, write(vector)?).with_context(place)?;
    }
    Ok(())
}

/// What the script tells with `--json`.
#[derive(Deserialize)]
struct Confirmation {
    by: Implementation,
    /// Ids of the vectors with every outcome of which it agrees.
    agrees: BTreeSet<String>,
    /// Each disagreement, as a sentence: of those that the files know of, and of those that they do not.
    known: Vec<String>,
    unknown: Vec<String>,
}

/// Lets libolm play the vectors of Olm and Megolm, from files, as anybody else would. A disagreement that is not in the
/// file is an error.
fn confirm_by_libolm(vectors: &mut [Recorded], script: &Path) -> Result<()> {
    let dir = tempfile::tempdir()?;
    write_all(dir.path(), vectors)?;
    let told = play_on_libolm(script, dir.path())?.context("libolm is absent, or python3, or its cryptography")?;
    ensure!(told.unknown.is_empty(), "{} does not agree:\n{}", told.by.implementation, told.unknown.join("\n"));
    for known in &told.known {
        println!("{} is known to disagree: {known}", told.by.implementation);
    }
    for vector in vectors.iter_mut().filter(|vector| told.agrees.contains(&vector.id)) {
        vector.confirmed_by.push(told.by.clone());
        vector.confirmed_by.sort();
        vector.confirmed_by.dedup();
    }
    Ok(())
}

/// The same for files that are there: nothing in them changes but who confirms them.
fn confirm_what_is_there(dir: &Path, script: &Path) -> Result<()> {
    for protocol in [Protocol::Olm, Protocol::Megolm] {
        let (files, errors) = read_directory(&dir.join(protocol.label()));
        if let Some(error) = errors.into_iter().next() {
            return Err(error.into());
        }
        let (paths, mut vectors): (Vec<_>, Vec<_>) = files.into_iter().unzip();
        confirm_by_libolm(&mut vectors, script)?;
        for (path, vector) in paths.iter().zip(&vectors) {
            fs::write(path, write(vector)?).with_context(|| format!("writing {}", path.display()))?;
        }
        let confirmed = vectors.iter().filter(|vector| !vector.confirmed_by.is_empty()).count();
        println!("{}: {confirmed} of {} files confirmed", protocol.label(), vectors.len());
    }
    Ok(())
}

/// What the script tells of the vectors in a directory; nothing where something that it needs is absent.
fn play_on_libolm(script: &Path, dir: &Path) -> Result<Option<Confirmation>> {
    let mut command = Command::new("python3");
    let paths = ["olm", "megolm"].map(|protocol| dir.join(protocol));
    command.arg(script).arg("--json").args(paths.iter().filter(|path| path.exists()));
    let output = match command.output() {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).context("running python3"),
    };
    match output.status.code() {
        // 1 is its word for a disagreement, which is in what it tells.
        Some(0 | 1) => {
            serde_json::from_slice(&output.stdout).map(Some).with_context(|| format!("what {} tells", script.display()))
        }
        Some(3) => Ok(None),
        _ => bail!("{}: {}: {}", script.display(), output.status, String::from_utf8_lossy(&output.stderr).trim()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// The whole program, into memory: everybody here agrees with every outcome, and there is as much as is claimed.
    #[test]
    fn everything_can_be_recorded_again() {
        let vectors = record("2026-11-23").unwrap();
        for (protocols, faults) in
            [([Protocol::Signal].as_slice(), 90), ([Protocol::Olm, Protocol::Megolm].as_slice(), 70)]
        {
            let distinct: usize = protocols.iter().map(|protocol| distinct_faults(&vectors, *protocol).len()).sum();
            assert!(distinct >= faults, "{protocols:?}: {distinct}");
            for protocol in protocols {
                let found = count(vectors.iter().filter(|vector| vector.protocol == *protocol));
                assert!(found.accepted >= found.rejected, "{protocol:?}: {found:?}");
            }
        }
        for vector in &vectors {
            assert!(write(vector).unwrap().len() < 300_000, "{}", vector.id);
        }
    }

    /// What is in the repository, as it lies there.
    #[test]
    fn libolm_agrees_with_what_is_published() {
        let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let recorded = vectors.join("recorded");
        let Some(told) = play_on_libolm(&vectors.join("readers/libolm.py"), &recorded).unwrap() else {
            eprintln!("libolm is absent (or python3, or its package cryptography): nothing has been confirmed here");
            return;
        };
        assert!(told.unknown.is_empty(), "{:#?}", told.unknown);
        let (published, errors) = read_directory(&recorded);
        assert!(errors.is_empty(), "{errors:?}");
        let of_protocol = |vector: &&Recorded| matches!(vector.protocol, Protocol::Olm | Protocol::Megolm);
        let published: Vec<_> = published.iter().map(|(_, vector)| vector).filter(of_protocol).collect();
        assert!(!published.is_empty());
        for vector in published {
            let claimed = vector.confirmed_by.iter().any(|by| by.implementation == told.by.implementation);
            assert!(!claimed || told.agrees.contains(&vector.id), "{}", vector.id);
        }
    }

    /// What takes its randomness as a parameter is the same each time.
    #[test]
    fn recordings_of_signal_are_the_same_each_time() {
        let recordings = || -> Vec<_> {
            let scenes = signal::scenes("2026-11-23").unwrap();
            scenes.iter().map(|scene| (scene.draft.start().clone(), scene.draft.steps().to_vec())).collect()
        };
        assert_eq!(recordings(), recordings());
    }
}
