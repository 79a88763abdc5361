//! The commands, one module each, and what they share: finding vectors, implementations and settings by name.

pub(crate) mod bench;
pub(crate) mod cache;
pub(crate) mod check;
pub(crate) mod collections;
pub(crate) mod compare;
pub(crate) mod conformance;
pub(crate) mod costs;
pub(crate) mod explain;
pub(crate) mod export;
pub(crate) mod interop;
pub(crate) mod list;
pub(crate) mod mls_vectors;
pub(crate) mod new_adapter;
pub(crate) mod peers;
pub(crate) mod record;
pub(crate) mod rogues;
pub(crate) mod run;
pub(crate) mod schema;
pub(crate) mod verify_recorded;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};
use e2esm::peers::{LONGEST_NAME, Peer, install};
use e2esm::scenario::Layer;
use e2esm::suite::{PATIENCE, Settings, Target};
use e2esm::vector::load::{VectorSet, directory, embedded};
use e2esm::worker::{Launch, Limits, Worker};
use globset::{Glob, GlobSet, GlobSetBuilder};

use super::args::{Layers, LimitArguments, PeerSource, VectorSource};

/// The vectors that were asked for.
pub(crate) fn vectors(source: &VectorSource) -> Result<VectorSet> {
    Ok(match &source.directory {
        Some(root) => directory(root)?,
        None => embedded()?,
    })
}

/// The ids of the requirements of a directory of vectors, or of ours where it has none.
pub(crate) fn requirement_ids(directory: &std::path::Path) -> Result<std::collections::BTreeSet<String>> {
    let own = directory.join("requirements.json");
    let requirements: Vec<e2esm::vector::load::Requirement> = if own.is_file() {
        let bytes = std::fs::read(&own).with_context(|| own.display().to_string())?;
        serde_json::from_slice(&bytes).with_context(|| own.display().to_string())?
    } else {
        embedded()?.requirements
    };
    Ok(requirements.into_iter().map(|requirement| requirement.id).collect())
}

/// Makes the directory for results. Before the work, not after it: can anything be written there?
pub(crate) fn writable(out: &Path) -> Result<()> {
    let unwritable = || format!("{}: no results can be written there", out.display());
    std::fs::create_dir_all(out).with_context(unwritable)?;
    tempfile::tempfile_in(out).with_context(unwritable)?;
    Ok(())
}

/// The ids of vectors that `--vector` was given for.
pub(crate) fn globs(patterns: &[String]) -> Result<GlobSet> {
    let mut globs = GlobSetBuilder::new();
    for pattern in patterns {
        globs.add(Glob::new(pattern).with_context(|| format!("--vector {pattern}"))?);
    }
    Ok(globs.build()?)
}

/// The settings that were asked for.
pub(crate) fn settings(limits: &LimitArguments, layers: Layers) -> Settings {
    Settings {
        layers: match layers {
            Layers::Library => vec![Layer::Library],
            Layers::Policy => vec![Layer::Policy],
            Layers::Both => Layer::ALL.to_vec(),
        },
        limits: Limits {
            seconds: limits.timeout.unwrap_or(Limits::default().seconds),
            memory_bytes: limits.memory << 20,
        },
        seed: limits.seed,
        patience: PATIENCE,
        jobs: match limits.jobs {
            Some(jobs) => usize::from(jobs),
            None => std::thread::available_parallelism().map_or(1, usize::from),
        },
    }
}

/// This program: workers are more of it.
pub(crate) fn program() -> Result<PathBuf> {
    std::env::current_exe().context("finding this program, to start workers with it")
}

/// The implementations that were asked for; the built-in ones if none was.
///
/// Each is the name of a built-in one or of a peer, `all`, the path of a program (with a slash) or a command line (with a
/// blank).
pub(crate) fn targets(asked: &[String], source: &PeerSource, limits: &LimitArguments) -> Result<Vec<Target>> {
    let program = program()?;
    let built_in: Vec<String> = e2esm::registry::built_in().iter().map(|adapter| adapter.describe().name).collect();
    let target = |name: &String| Target::built_in(program.clone(), name);
    if asked.is_empty() {
        return Ok(built_in.iter().map(target).collect());
    }
    super::adopt_strays();
    let peers = peers(source)?;
    let mut found: Vec<Found> = Vec::new();
    for text in asked {
        if found.iter().any(|found| found.text == *text) {
            continue;
        }
        let unusual = || e2esm::registry::unusual().iter().any(|adapter| adapter.describe().name == *text);
        let (targets, named) = if built_in.contains(text) || unusual() {
            (vec![target(text)], Named::Known)
        } else if text == "all" {
            let mut all: Vec<_> = built_in.iter().map(target).collect();
            all.extend(installed(&peers, &program)?);
            (all, Named::Known)
        } else if let Some(peer) = peers.iter().find(|peer| peer.name == *text) {
            if !install::state(peer)?.runs() {
                bail!("`{text}` is not installed, or is not current: `e2esm peers install {}`", peer.installed_as);
            }
            peer.usable()?;
            (vec![peer.target(&program)], Named::Known)
        } else if text.contains(std::path::MAIN_SEPARATOR) || text.contains(char::is_whitespace) {
            let (target, named) = foreign(text, &program, settings(limits, Layers::Library).limits)?;
            (vec![target], named)
        } else {
            let known: Vec<_> = built_in.iter().chain(peers.iter().map(|peer| &peer.name)).cloned().collect();
            bail!(
                "there is no implementation `{text}`: expected one of {}, or `all`, or a program as ./PATH or 'COMMAND LINE'",
                known.join(", ")
            );
        };
        found.push(Found { text: text.clone(), targets, named });
    }
    tell_apart(&mut found, &peers)?;
    let mut targets: Vec<Target> = Vec::new();
    for target in found.into_iter().flat_map(|found| found.targets) {
        if !targets.iter().any(|known| known.name == target.name) {
            targets.push(target);
        }
    }
    Ok(targets)
}

/// What was found for something that was asked for.
struct Found {
    text: String,
    targets: Vec<Target>,
    named: Named,
}

/// Where a name comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Named {
    /// The suite or an `adapters.toml` knows it by this name.
    Known,
    /// A program that calls itself so.
    ByItself,
    /// A program that says no name, and was named after its file.
    AfterFile,
}

/// Sees to it that every program has a name of its own: the rows of one would stand for another's.
fn tell_apart(found: &mut [Found], peers: &[Peer]) -> Result<()> {
    let own = e2esm::peers::own_manifest();
    let reserved = |name: &str| {
        e2esm::registry::find(name).is_some() || peers.iter().any(|peer| peer.name == name && peer.manifest == own)
    };
    // Each name with what was asked for.
    let names = |found: &Found| -> Vec<_> {
        found.targets.iter().map(|target| (target.name.clone(), found.text.clone())).collect()
    };
    let is = |named: Named| move |found: &&Found| found.named == named;
    let known = found.iter().filter(is(Named::Known)).flat_map(|found| &found.targets);
    let mut taken: BTreeMap<String, String> = known.map(|target| (target.name.clone(), target.name.clone())).collect();
    for (name, text) in found.iter().filter(is(Named::ByItself)).flat_map(names) {
        if reserved(&name) {
            bail!(
                "`{text}` calls itself `{name}`, and so does another implementation: if it is that one, say `{name}`; else it \
                 needs a name of its own"
            );
        }
        if let Some(other) = taken.get(&name) {
            bail!(
                "`{other}` and `{text}` are both called `{name}`: give one of them a name of its own in an adapters.toml, and ask \
                 for it by that name"
            );
        }
        taken.insert(name, text);
    }
    for found in found.iter_mut().filter(|found| found.named == Named::AfterFile) {
        for target in &mut found.targets {
            let free = |name: &String| {
                !reserved(name) && !taken.contains_key(name) && !peers.iter().any(|peer| peer.name == *name)
            };
            let numbered = |number: usize| {
                let end = format!("-{number}");
                target.name.chars().take(LONGEST_NAME - end.len()).chain(end.chars()).collect()
            };
            let name = std::iter::once(target.name.clone()).chain((2..).map(numbered)).find(free);
            target.name = name.unwrap_or_default();
            taken.insert(target.name.clone(), found.text.clone());
        }
    }
    Ok(())
}

/// The one implementation that was asked for.
pub(crate) fn target(asked: &str, source: &PeerSource, limits: &LimitArguments) -> Result<Target> {
    let mut found = targets(&[asked.to_owned()], source, limits)?;
    match (found.pop(), found.is_empty()) {
        (Some(target), true) => Ok(target),
        _ => bail!("expected one implementation, not `{asked}`"),
    }
}

/// The adapters that are programs of their own: the suite's peers, and those of the user's own file.
pub(crate) fn peers(source: &PeerSource) -> Result<Vec<Peer>> {
    let root = source.root.clone().unwrap_or_else(e2esm::peers::default_root);
    let mut all = Vec::new();
    let own = e2esm::peers::own_manifest();
    if own.is_file() {
        all.extend(e2esm::peers::read(&own, &root)?);
    }
    let here = PathBuf::from(e2esm::peers::FILE);
    let user = source.adapters.clone().or_else(|| here.is_file().then_some(here));
    // Whoever stands beside the suite's own file has named it already.
    let is_own =
        |path: &PathBuf| matches!((path.canonicalize(), own.canonicalize()), (Ok(one), Ok(other)) if one == other);
    if let Some(path) = user.filter(|path| !is_own(path)) {
        let own = all.len();
        for peer in e2esm::peers::read(&path, &root)? {
            let taken = all[..own].iter().any(|known: &Peer| known.name == peer.name || known.into == peer.into);
            if taken || peer.name == "all" || e2esm::registry::find(&peer.name).is_some() {
                bail!("{}: adapter.{}: the name is taken, see `e2esm list adapters`", path.display(), peer.name);
            }
            all.push(peer);
        }
    }
    Ok(all)
}

/// Those that can be run; the others are named on stderr.
fn installed(peers: &[Peer], program: &Path) -> Result<Vec<Target>> {
    let mut targets = Vec::new();
    let mut absent = Vec::new();
    for peer in peers.iter().filter(|peer| peer.stands_in_for.is_none()) {
        if install::state(peer)?.runs() {
            peer.usable()?;
            targets.push(peer.target(program));
        } else {
            absent.push(peer.name.as_str());
        }
    }
    if !absent.is_empty() {
        eprintln!("e2esm: not installed, and left out: {} (`e2esm peers install`)", absent.join(", "));
    }
    Ok(targets)
}

/// A program that is not of this project, by the name that it gives itself, or one made of its file's.
fn foreign(text: &str, keeper: &Path, limits: Limits) -> Result<(Target, Named)> {
    let whole = PathBuf::from(text);
    let parts = if whole.is_file() {
        vec![text.to_owned()]
    } else {
        shlex::split(text).with_context(|| format!("`{text}`: a quotation mark without its partner"))?
    };
    let Some((program, arguments)) = parts.split_first() else { bail!("`{text}`: no program") };
    // What has a slash is looked for from here, whatever directory it is started in.
    let program = PathBuf::from(program);
    let program = if program.components().count() > 1 { std::path::absolute(program)? } else { program };
    let launch = Launch {
        program: program.clone(),
        arguments: arguments.to_vec(),
        keeper: Some(keeper.to_owned()),
        ..Launch::default()
    };
    let said = Worker::start(&launch, limits).and_then(|mut worker| worker.hello());
    let (name, named) = match said {
        Ok(description) => {
            let name = description.name;
            if !e2esm::peers::is_name(&name) {
                bail!(
                    "`{text}` calls itself `{name}`: expected a name of a-z, 0-9, `-`, `_` and `.`, as it becomes a file's"
                );
            }
            (name, Named::ByItself)
        }
        // Its rows will say what is wrong with it.
        Err(_) => (named_after(&program, arguments), Named::AfterFile),
    };
    Ok((Target { name, launch }, named))
}

/// A name for a program that does not say one: after the last part of its command line that is a file.
fn named_after(program: &Path, arguments: &[String]) -> String {
    let script = arguments.iter().rev().map(Path::new).find(|argument| argument.is_file());
    let stem = script.unwrap_or(program).file_stem().unwrap_or_default().to_string_lossy().to_lowercase();
    let name: String =
        stem.chars().filter(|letter| e2esm::peers::is_name(&letter.to_string())).take(LONGEST_NAME).collect();
    if name.is_empty() { "adapter".to_owned() } else { name }
}

/// From now on an interrupt does not end this program: the answer says whether there has been one.
pub(crate) fn interrupts() -> Result<impl Fn() -> bool> {
    static INTERRUPT: AtomicBool = AtomicBool::new(false);
    ctrlc::set_handler(|| INTERRUPT.store(true, Ordering::SeqCst)).context("listening for an interrupt")?;
    Ok(|| INTERRUPT.load(Ordering::SeqCst))
}

/// A number of things, in words.
pub(crate) fn count(number: usize, of: &str) -> String {
    format!("{number} {of}{}", if number == 1 { "" } else { "s" })
}
