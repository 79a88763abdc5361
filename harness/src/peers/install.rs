//! Installing peers: into a directory of their own, whole or not at all.
//!
//! A peer's source is copied to a temporary directory beside its place, its steps are carried out there, and only then is
//! it moved to its place. Where nothing is copied (a program that is built where it lies) the steps write below the place
//! itself. What was installed is remembered with a hash of source and steps: the same is not installed twice, and what has
//! changed since is told.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Need, Peer};

/// The file that says what is installed in a place.
const MARK: &str = ".e2esm-installed.json";
/// How much of the output of a step that failed is shown, in bytes.
const SHOWN: u64 = 3000;

/// Whether a peer is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// There, as its source and steps have it.
    Installed,
    /// There, but source or steps have changed since.
    Outdated,
    /// Not there.
    Missing,
    /// Nothing has to be installed.
    Nothing,
}

impl State {
    /// The name used in tables and JSON.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Installed => "installed",
            Self::Outdated => "outdated",
            Self::Missing => "missing",
            Self::Nothing => "needs no installation",
        }
    }

    /// Whether it can be run.
    pub fn runs(&self) -> bool {
        matches!(self, Self::Installed | Self::Nothing)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mark {
    /// SHA-256 over source and steps.
    sha256: String,
}

/// Whether a peer is there.
///
/// # Errors
/// Its source cannot be read.
pub fn state(peer: &Peer) -> Result<State> {
    if !peer.installs() {
        return Ok(State::Nothing);
    }
    let Ok(mark) = std::fs::read(peer.into.join(MARK)) else { return Ok(State::Missing) };
    Ok(match serde_json::from_slice::<Mark>(&mark) {
        Ok(mark) if mark.sha256 == hash(peer)? => State::Installed,
        _ => State::Outdated,
    })
}

/// What a peer needs and this machine does not have.
pub fn missing_needs(peer: &Peer) -> Vec<&Need> {
    let absent = |need: &&Need| {
        let Some((program, arguments)) = need.check.split_first() else { return false };
        let checked = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        !checked.is_ok_and(|status| status.success())
    };
    peer.needs.iter().filter(absent).collect()
}

/// Installs a peer; `told` hears what is being done. What was there before stays until the new one is whole.
///
/// # Errors
/// What is missing on the machine, and how to get it; the step that failed, with the end of what it said. Nothing of a
/// failed installation stays.
pub fn install(peer: &Peer, told: &dyn Fn(&str)) -> Result<()> {
    let missing = missing_needs(peer);
    if !missing.is_empty() {
        let missing: Vec<_> = missing.iter().map(ToString::to_string).collect();
        bail!("it needs {}", missing.join(", and "));
    }
    let sha256 = hash(peer)?;
    let parent = peer.into.parent().context("an installation needs a directory above it")?;
    std::fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
    // Removed when it is dropped, whatever happens.
    let workshop = tempfile::Builder::new().prefix(".installing-").tempdir_in(parent)?;
    let log = workshop.path().join("log");
    let mark = serde_json::to_vec(&Mark { sha256 })?;
    match &peer.source {
        Some(source) => {
            let copy = workshop.path().join("copy");
            copy_tree(source, &copy)?;
            steps(peer, &copy, &log, told)?;
            std::fs::write(copy.join(MARK), mark)?;
            let former = workshop.path().join("former");
            if peer.into.exists() {
                std::fs::rename(&peer.into, &former).with_context(|| peer.into.display().to_string())?;
            }
            if let Err(error) = std::fs::rename(&copy, &peer.into) {
                // The former one comes back; if that fails too, the first error is the one to tell.
                let _ = std::fs::rename(&former, &peer.into);
                return Err(error).with_context(|| peer.into.display().to_string());
            }
        }
        None => {
            let fresh = !peer.into.exists();
            std::fs::create_dir_all(&peer.into)?;
            // What is there may be half of the new: until the steps are done it counts as missing.
            let _ = std::fs::remove_file(peer.into.join(MARK));
            if let Err(error) = steps(peer, &peer.directory, &log, told) {
                if fresh {
                    std::fs::remove_dir_all(&peer.into).with_context(|| peer.into.display().to_string())?;
                }
                return Err(error);
            }
            std::fs::write(peer.into.join(MARK), mark)?;
        }
    }
    Ok(())
}

fn steps(peer: &Peer, directory: &Path, log: &Path, told: &dyn Fn(&str)) -> Result<()> {
    for step in &peer.steps {
        let line = step.join(" ");
        told(&line);
        let Some((program, arguments)) = step.split_first() else { continue };
        let output = File::options().create(true).append(true).read(true).open(log)?;
        let begin = output.metadata()?.len();
        let status = Command::new(program)
            .args(arguments)
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output.try_clone()?)
            .status()
            .with_context(|| format!("`{line}`"))?;
        if !status.success() {
            bail!("`{line}` ended with {status}:\n{}", end_of(output, begin)?);
        }
    }
    Ok(())
}

fn end_of(mut file: File, begin: u64) -> Result<String> {
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(begin.max(length.saturating_sub(SHOWN))))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned())
}

/// The files below a directory, links followed, in a stable order.
fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        let entries = std::fs::read_dir(&directory).with_context(|| directory.display().to_string())?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() { open.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    Ok(found)
}

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    for file in files(from)? {
        let target = to.join(file.strip_prefix(from)?);
        if let Some(parent) = target.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::copy(&file, &target).with_context(|| file.display().to_string())?;
    }
    Ok(())
}

/// SHA-256 over the steps and the source: names and contents. What is built where it lies is for its own tool to compare.
fn hash(peer: &Peer) -> Result<String> {
    let mut hasher = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hasher.update((bytes.len() as u64).to_be_bytes());
        hasher.update(bytes);
    };
    part(serde_json::to_string(&peer.steps)?.as_bytes());
    if let Some(source) = &peer.source {
        for file in files(source)? {
            part(file.strip_prefix(source)?.to_string_lossy().as_bytes());
            part(&std::fs::read(&file).with_context(|| file.display().to_string())?);
        }
    }
    Ok(hex::encode(hasher.finalize()))
}
