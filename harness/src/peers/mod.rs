//! Implementations that are programs of their own: the small file that names them, and how each is started.
//!
//! `adapters.toml` names adapters: a command, where it runs, what is in its environment, and the steps that install it.
//! The suite's own peers stand in `adapters/peers/adapters.toml`; anybody's may stand in a file of the same form.
//! [`install`](mod@install) carries out the steps.

pub mod install;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::suite::Target;
use crate::worker::Launch;

/// The name of such a file.
pub const FILE: &str = "adapters.toml";
/// How long a name may be, in bytes.
pub const LONGEST_NAME: usize = 64;
/// What stands for the directory that a peer is installed into, in its command and steps.
const INTO: &str = "{into}";

/// What is wrong with an `adapters.toml`, or with an adapter of it.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It cannot be read.
    #[error("{path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not of the form that is expected.
    #[error("{path}: {reason}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Which field, and what was expected.
        reason: String,
    },
}

/// An adapter as the file has it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    /// What it is, in a line.
    #[serde(default)]
    about: String,
    /// The program and its arguments. A program with a slash is looked for where the adapter runs.
    command: Vec<String>,
    /// Where it runs and is installed, relative to the file. The file's own directory if there is none.
    #[serde(default)]
    directory: Option<PathBuf>,
    /// Added to its environment.
    #[serde(default)]
    environment: BTreeMap<String, String>,
    /// Commands that install it.
    #[serde(default)]
    install: Vec<Vec<String>>,
    /// What is copied before these commands run, relative to the file: the adapter is then installed, and runs, in the
    /// copy, and nothing is written where its source is. What is made and not written (see [`install`](mod@install)) is left
    /// out.
    #[serde(default)]
    source: Option<PathBuf>,
    /// Another adapter of this file whose installation this one uses.
    #[serde(default)]
    shares: Option<String>,
    /// Another adapter of this file for which this configuration stands in groups of several implementations.
    #[serde(default)]
    stands_in_for: Option<String>,
    /// What has to be on the machine.
    #[serde(default)]
    needs: Vec<Need>,
}

/// Something that has to be on the machine before a peer can be installed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Need {
    /// What it is: `Node.js 20 or later`.
    pub what: String,
    /// A command that succeeds where it is there.
    pub check: Vec<String>,
    /// How to get it.
    pub get: String,
}

/// What it is, and how to get it.
impl std::fmt::Display for Need {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} ({})", self.what, self.get)
    }
}

/// An adapter of an `adapters.toml`, with its paths made absolute.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its name.
    pub name: String,
    /// The file that names it.
    pub manifest: PathBuf,
    /// What it is, in a line.
    pub about: String,
    /// What has to be on the machine.
    pub needs: Vec<Need>,
    /// What is copied before it is installed.
    pub source: Option<PathBuf>,
    /// The commands that install it.
    pub steps: Vec<Vec<String>>,
    /// Where the steps are carried out and the command runs.
    pub directory: PathBuf,
    /// Whose installation it uses: another one's name, or its own.
    pub installed_as: String,
    /// For a configuration that is made for groups of several implementations: the adapter for which it stands there. It is
    /// run by its name only.
    pub stands_in_for: Option<String>,
    /// The directory that it is installed into: what `{into}` stands for.
    pub into: PathBuf,
    command: Vec<String>,
    environment: BTreeMap<String, String>,
    /// Whether `{into}` stands anywhere in its command, environment or steps.
    expands: bool,
}

impl Peer {
    /// Whether there is anything to install.
    pub fn installs(&self) -> bool {
        self.source.is_some() || !self.steps.is_empty()
    }

    /// Looks at what only matters once it is installed or run: whether the directory where it runs is there, and whether
    /// `{into}` can be written into a command.
    ///
    /// # Errors
    /// With the file, the field and the path.
    pub fn usable(&self) -> Result<(), ManifestError> {
        let malformed = |reason: String| ManifestError::Malformed { path: self.manifest.clone(), reason };
        if self.source.is_none() && !self.directory.is_dir() {
            return Err(malformed(format!(
                "adapter.{}.directory: there is no directory {}",
                self.name,
                self.directory.display()
            )));
        }
        if self.expands && self.into.to_str().is_none() {
            return Err(malformed(format!(
                "adapter.{}: `{INTO}` would be {}, which is not UTF-8: choose another directory for peers (--peers DIR)",
                self.name,
                self.into.display()
            )));
        }
        Ok(())
    }

    /// How it is started, kept by this program.
    pub fn target(&self, keeper: &Path) -> Target {
        let mut command = self.command.iter().map(|part| self.expand(part));
        let program = PathBuf::from(command.next().unwrap_or_default());
        // A path with a slash is the adapter's, not the caller's.
        let program = if program.components().count() > 1 { self.directory.join(program) } else { program };
        Target {
            name: self.name.clone(),
            launch: Launch {
                program,
                arguments: command.collect(),
                directory: Some(self.directory.clone()),
                environment: self.environment.iter().map(|(name, value)| (name.clone(), self.expand(value))).collect(),
                keeper: Some(keeper.to_owned()),
            },
        }
    }

    fn expand(&self, text: &str) -> String {
        text.replace(INTO, &self.into.display().to_string())
    }
}

/// Reads an `adapters.toml`. Installations go below `root`, a directory each.
///
/// # Errors
/// With the file, the field and what was expected.
pub fn read(path: &Path, root: &Path) -> Result<Vec<Peer>, ManifestError> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Manifest {
        adapter: BTreeMap<String, Entry>,
    }
    let malformed = |reason: String| ManifestError::Malformed { path: path.to_owned(), reason };
    let unreadable = |source| ManifestError::Unreadable { path: path.to_owned(), source };
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    let document = toml::Deserializer::parse(&text).map_err(|error| malformed(error.to_string()))?;
    let manifest: Manifest = serde_path_to_error::deserialize(document)
        .map_err(|error| malformed(format!("{}: {}", error.path(), error.inner().message())))?;
    // Of the whole path: the parent of a bare name is the empty path, which is none.
    let whole = std::path::absolute(path).map_err(unreadable)?;
    let home = whole.parent().unwrap_or(Path::new("/"));
    let root = std::path::absolute(root).map_err(unreadable)?;
    let mut peers = Vec::new();
    for (name, entry) in &manifest.adapter {
        if !is_name(name) {
            return Err(malformed(format!(
                "adapter.{name}: a name is of a-z, 0-9, `-`, `_` and `.`, as it becomes a file's"
            )));
        }
        if entry.command.first().is_none_or(String::is_empty) {
            return Err(malformed(format!("adapter.{name}.command: expected a program and its arguments")));
        }
        if entry.install.iter().any(Vec::is_empty) {
            return Err(malformed(format!("adapter.{name}.install: an empty command")));
        }
        let owner = match &entry.shares {
            None => entry,
            Some(other) => match manifest.adapter.get(other) {
                Some(owner) if owner.shares.is_none() && other != name => owner,
                _ => {
                    return Err(malformed(format!(
                        "adapter.{name}.shares: `{other}` is no adapter of this file with an installation of its own"
                    )));
                }
            },
        };
        if let Some(other) = &entry.stands_in_for
            && (other == name || !manifest.adapter.contains_key(other))
        {
            return Err(malformed(format!("adapter.{name}.stands_in_for: `{other}` is no other adapter of this file")));
        }
        let installed_as = entry.shares.clone().unwrap_or_else(|| name.clone());
        let into = root.join(&installed_as);
        let directory = match (&owner.source, &entry.directory) {
            (Some(_), None) => into.clone(),
            (Some(_), Some(_)) => {
                return Err(malformed(format!(
                    "adapter.{name}: `source` and `directory`: it runs where it is copied to"
                )));
            }
            (None, directory) => home.join(directory.as_deref().unwrap_or(Path::new(""))),
        };
        let steps = owner.install.iter().flatten();
        let mut expanded = entry.command.iter().chain(entry.environment.values()).chain(steps);
        let expands = expanded.any(|text| text.contains(INTO));
        let mut peer = Peer {
            name: name.clone(),
            manifest: path.to_owned(),
            about: entry.about.clone(),
            needs: owner.needs.clone(),
            source: owner.source.as_ref().map(|source| home.join(source)),
            steps: Vec::new(),
            directory,
            installed_as,
            stands_in_for: entry.stands_in_for.clone(),
            into,
            command: entry.command.clone(),
            environment: entry.environment.clone(),
            expands,
        };
        peer.steps = owner.install.iter().map(|step| step.iter().map(|part| peer.expand(part)).collect()).collect();
        peers.push(peer);
    }
    Ok(peers)
}

/// Whether a text can be an adapter's name: it becomes a file's.
pub fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
    !text.is_empty() && text.len() <= LONGEST_NAME && !text.starts_with('.') && text.bytes().all(allowed)
}

/// The suite's own peers: `adapters/peers/adapters.toml` of the checkout that this program was built in.
pub fn own_manifest() -> PathBuf {
    checkout().join("adapters/peers").join(FILE)
}

/// Where peers are installed if nobody says otherwise: in the checkout that this program was built in.
pub fn default_root() -> PathBuf {
    checkout().join("target/peers")
}

fn checkout() -> &'static Path {
    let harness = Path::new(env!("CARGO_MANIFEST_DIR"));
    harness.parent().unwrap_or(harness)
}
