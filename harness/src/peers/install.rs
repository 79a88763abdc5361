//! Installing peers: into a directory of their own, whole or not at all.
//!
//! A peer's source is copied to a temporary directory beside its place, its steps are carried out there, and only then is
//! it moved to its place. Where nothing is copied (a program that is built where it lies) the steps write below the place
//! itself. What was installed is remembered with a hash of source and steps: the same is not installed twice, and what has
//! changed since is told. A source may hold what is made and not written (results, what package managers fetch, the very
//! installations): that is neither copied nor part of the hash.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::{Need, Peer};

/// The file that says what is installed in a place.
const MARK: &str = ".e2esm-installed.json";
/// How much of the output of a step that failed is shown, in bytes.
const SHOWN: u64 = 3000;
/// How the names of temporary directories begin.
const WORKSHOP: &str = ".installing-";
/// Directories that are made, and never source.
const MADE: [&str; 7] = ["results", "__pycache__", "node_modules", "target", "venv", ".venv", ".git"];
/// How often it is looked whether a step has ended, or is to end.
const WATCH: Duration = Duration::from_millis(20);

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

/// Installs a peer; `told` hears what is being done, and once `interrupted` says so the running step is ended and the
/// installation fails. What was there before stays until the new one is whole.
///
/// # Errors
/// What is missing on the machine, and how to get it; the step that failed, with the end of what it said. Nothing of a
/// failed installation stays.
pub fn install(peer: &Peer, told: &dyn Fn(&str), interrupted: &dyn Fn() -> bool) -> Result<()> {
    peer.usable()?;
    let missing = missing_needs(peer);
    if !missing.is_empty() {
        let missing: Vec<_> = missing.iter().map(ToString::to_string).collect();
        bail!("it needs {}", missing.join(", and "));
    }
    let sha256 = hash(peer)?;
    let parent = peer.into.parent().context("an installation needs a directory above it")?;
    std::fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
    let workshop = Workshop::new(parent)?;
    let log = workshop.path().join("log");
    let mark = serde_json::to_vec(&Mark { sha256 })?;
    match &peer.source {
        Some(source) => {
            let copy = workshop.path().join("copy");
            copy_tree(source, parent, &copy)?;
            steps(peer, &copy, &log, told, interrupted)?;
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
            if let Err(error) = steps(peer, &peer.directory, &log, told, interrupted) {
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

/// A temporary directory, removed when it is dropped. While it is in use it is locked: whoever cannot drop it any more has
/// lost the lock too, and the next installation removes what is left of it.
struct Workshop {
    directory: TempDir,
    /// `None` where directories cannot be locked: nothing is removed there but by who made it.
    _lock: Option<File>,
}

impl Workshop {
    fn new(parent: &Path) -> Result<Self> {
        // One after the other: between being made and being locked, one that is in use looks like one that is not.
        let gate = File::open(parent).ok().filter(|parent| parent.lock().is_ok());
        if gate.is_some() {
            remove_left(parent);
        }
        let directory = tempfile::Builder::new().prefix(WORKSHOP).tempdir_in(parent)?;
        let lock = locked(directory.path());
        Ok(Self { directory, _lock: lock })
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }
}

fn locked(directory: &Path) -> Option<File> {
    File::open(directory).ok().filter(|directory| directory.try_lock().is_ok())
}

/// Removes what dead installations have left. What cannot be removed does no harm: it stays for the next one.
fn remove_left(parent: &Path) {
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        let left = entry.file_name().as_encoded_bytes().starts_with(WORKSHOP.as_bytes());
        if left && let Some(_lock) = locked(&entry.path()) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

fn steps(peer: &Peer, directory: &Path, log: &Path, told: &dyn Fn(&str), interrupted: &dyn Fn() -> bool) -> Result<()> {
    for step in &peer.steps {
        let line = step.join(" ");
        told(&line);
        let Some((program, arguments)) = step.split_first() else { continue };
        let output = File::options().create(true).append(true).read(true).open(log)?;
        let begin = output.metadata()?.len();
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output.try_clone()?);
        let status = carry_out(&mut command, interrupted).with_context(|| format!("`{line}`"))?;
        let Some(status) = status else { bail!("`{line}` was interrupted") };
        if !status.success() {
            bail!("`{line}` ended with {status}:\n{}", end_of(output, begin)?);
        }
    }
    Ok(())
}

/// How a command ended; `None` if it was ended because of an interrupt.
fn carry_out(command: &mut Command, interrupted: &dyn Fn() -> bool) -> std::io::Result<Option<ExitStatus>> {
    // In a process group of its own, so that it can be ended with whatever it has started.
    #[cfg(target_os = "linux")]
    std::os::unix::process::CommandExt::process_group(command, 0);
    if interrupted() {
        return Ok(None);
    }
    let mut child = command.spawn()?;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if interrupted() {
            end(&mut child)?;
            return Ok(None);
        }
        std::thread::sleep(WATCH);
    }
}

/// Ends a command, and on Linux all of its process group: elsewhere a terminal's interrupt reaches them by itself.
fn end(child: &mut Child) -> std::io::Result<()> {
    // It has not been waited for: the number is still its own.
    #[cfg(target_os = "linux")]
    if let Some(group) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
    // An error here means that it is gone already.
    let _ = child.kill();
    child.wait().map(drop)
}

fn end_of(mut file: File, begin: u64) -> Result<String> {
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(begin.max(length.saturating_sub(SHOWN))))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned())
}

/// The files of a source, links followed, in a stable order: without what is made, and without what is installed, whether
/// below `root` or elsewhere.
fn files(source: &Path, root: &Path) -> Result<Vec<PathBuf>> {
    let root = root.canonicalize().ok();
    let is_source = |directory: &Path| {
        let name = directory.file_name().and_then(OsStr::to_str).unwrap_or_default();
        let made = MADE.contains(&name) || name.starts_with(WORKSHOP) || directory.join(MARK).exists();
        !made && (root.is_none() || directory.canonicalize().ok() != root)
    };
    let mut found = Vec::new();
    let mut open = vec![source.to_owned()];
    while let Some(directory) = open.pop() {
        let entries = std::fs::read_dir(&directory).with_context(|| directory.display().to_string())?;
        for entry in entries {
            let path = entry?.path();
            if !path.is_dir() {
                found.push(path);
            } else if is_source(&path) {
                open.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

fn copy_tree(from: &Path, root: &Path, to: &Path) -> Result<()> {
    // A source without a file is one too.
    std::fs::create_dir_all(to)?;
    for file in files(from, root)? {
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
        for file in files(source, peer.into.parent().unwrap_or(Path::new("/")))? {
            part(file.strip_prefix(source)?.to_string_lossy().as_bytes());
            part(&std::fs::read(&file).with_context(|| file.display().to_string())?);
        }
    }
    Ok(hex::encode(hasher.finalize()))
}
