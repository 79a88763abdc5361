//! `e2esm bench`

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use e2esm::bench::document::{BenchRun, BenchSuite, Benchmarks, Measure, Outcome, SCHEMA_VERSION};
use e2esm::bench::session::{Progress, Session, SessionError, resumable, weight};
use e2esm::bench::tiers::{self, Choice, Plan, Tier};
use e2esm::report::costs;
use e2esm::results::Environment;
use e2esm_adapter::Description;
use e2esm_rogues::burden::Burden;

use super::{cache, program};
use crate::cli::args::{BenchArguments, BenchFormat};
use crate::cli::{AS_EXPECTED, INTERRUPTED, UNEXPECTED, console};

pub(crate) fn bench(arguments: &BenchArguments) -> Result<u8> {
    let descriptions: Vec<Description> = e2esm::registry::built_in().iter().map(|adapter| adapter.describe()).collect();
    let tier = tier(arguments)?;
    let plan = plan(arguments, &tier, &descriptions)?;
    if arguments.list {
        for (cell, measures) in &plan {
            let measures: Vec<_> = measures.iter().map(|measure| format!("{measure:?}").to_lowercase()).collect();
            console::say(format_args!("{}  {}", cell.id(), measures.join(" ")));
        }
        return Ok(AS_EXPECTED);
    }
    let out = arguments.out.clone().unwrap_or_else(|| PathBuf::from(format!("results/bench-{}.json", arguments.tier)));
    let against = arguments.against.as_deref().map(other_side).transpose()?;
    let used: BTreeSet<&String> = plan.iter().map(|(cell, _)| &cell.setting.adapter).collect();
    let adapters = descriptions.iter().filter(|description| used.contains(&description.name));
    let mut document = Benchmarks {
        schema_version: SCHEMA_VERSION,
        suite: BenchSuite {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: env!("E2ESM_COMMIT").to_owned(),
            forge: e2esm_forge::VERSION,
        },
        environment: Environment::here(),
        run: BenchRun {
            started_unix: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs()),
            tier: name_of(arguments),
            measures: plan
                .iter()
                .flat_map(|(_, measures)| measures.iter().copied())
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect(),
            sampling: tier.sampling,
            against: arguments.against.clone(),
            burden: arguments.burden.clone(),
        },
        complete: false,
        adapters: adapters.map(|description| (description.name.clone(), description.clone())).collect(),
        measurements: Vec::new(),
        fits: Vec::new(),
    };
    go_on(arguments, &out, &mut document)?;
    if plan.iter().any(|(_, measures)| measures.contains(&Measure::Instructions))
        && e2esm::bench::callgrind::valgrind().is_none()
    {
        eprintln!("e2esm: there is no valgrind here: instructions are left out (Debian: apt install valgrind)");
    }

    let interrupted = super::interrupts()?;
    let cache = cache::open(&arguments.cache);
    let total: u64 = plan.iter().map(|(cell, _)| weight(cell)).sum();
    let bar = console::work(total);
    let begin = Instant::now();
    let result = {
        let session = Session {
            program: program()?,
            against,
            cache: cache.directory().to_owned(),
            bound: cache.bound(),
            burden: arguments.burden.as_deref().map(burden).transpose()?,
            out: out.clone(),
            interrupted: &interrupted,
            progress: &|progress| match progress {
                Progress::Begun(cell) => bar.set_message(cell.id()),
                Progress::Done(cell) => bar.inc(weight(cell)),
            },
        };
        eprintln!(
            "e2esm: {} cells of the tier `{}` ({}); results go to {}",
            plan.len(),
            arguments.tier,
            tier.about,
            out.display()
        );
        session.run(&plan, &mut document)
    };
    bar.finish_and_clear();
    match result {
        Err(error @ SessionError::Interrupted) => {
            eprintln!("e2esm: {error}");
            return Ok(INTERRUPTED);
        }
        result => result?,
    }
    match arguments.format {
        BenchFormat::Table => {
            for table in costs::tables(&document, console::colour()) {
                console::say(table);
            }
            console::say(format_args!(
                "{} cells in {:.0} s; JSON in {}",
                document.measurements.len(),
                begin.elapsed().as_secs_f64(),
                out.display()
            ));
        }
        BenchFormat::Json => console::say(serde_json::to_string_pretty(&document)?),
        BenchFormat::None => {}
    }
    let mut code = AS_EXPECTED;
    for measurement in &document.measurements {
        match &measurement.outcome {
            Outcome::Measured | Outcome::Unsupported(_) => {}
            Outcome::Void(reason) => {
                eprintln!("e2esm: {}: void, the answer was wrong: {reason}", measurement.id);
                code = UNEXPECTED;
            }
            Outcome::Failed(reason) => {
                eprintln!("e2esm: {}: failed: {reason}", measurement.id);
                code = UNEXPECTED;
            }
        }
    }
    Ok(code)
}

/// A tier of which only a selection is measured is another one: what is left out is not lost.
fn name_of(arguments: &BenchArguments) -> String {
    let BenchArguments { operation, adapter, state, size, actor, measure, threads, .. } = arguments;
    let whole = operation.is_empty()
        && adapter.is_empty()
        && state.is_empty()
        && size.is_empty()
        && actor.is_empty()
        && measure.is_empty()
        && threads.is_none();
    if whole { arguments.tier.clone() } else { format!("{}, a selection", arguments.tier) }
}

fn tier(arguments: &BenchArguments) -> Result<Tier> {
    let (text, place) = match &arguments.tiers {
        Some(path) => {
            let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
            (text, path.display().to_string())
        }
        None => (tiers::COMMITTED.to_owned(), "benches/tiers.toml".to_owned()),
    };
    let mut known = tiers::read(&text).map_err(|error| anyhow::anyhow!("{place}: {error}"))?.tiers;
    match known.remove(&arguments.tier) {
        Some(tier) => Ok(tier),
        None => {
            let names: Vec<_> = known.keys().cloned().collect();
            bail!("{place} has no tier `{}`: expected one of {}", arguments.tier, names.join(", "))
        }
    }
}

fn plan(arguments: &BenchArguments, tier: &Tier, descriptions: &[Description]) -> Result<Plan> {
    for name in &arguments.adapter {
        if !descriptions.iter().any(|description| description.name == *name) {
            let known: Vec<_> = descriptions.iter().map(|description| description.name.as_str()).collect();
            bail!("there is no implementation `{name}`: expected one of {}", known.join(", "));
        }
    }
    let mut tier = tier.clone();
    for sweep in &mut tier.sweep {
        // A size that was asked for is measured, whether the tier has it or not.
        sweep.sizes.extend(&arguments.size);
    }
    let choice = Choice {
        operations: arguments.operation.clone(),
        adapters: arguments.adapter.clone(),
        states: arguments.state.clone(),
        sizes: arguments.size.clone(),
        actors: arguments.actor.clone(),
        measures: arguments.measure.clone(),
        threads: arguments.threads.map(usize::from),
    };
    let (plan, impossible) = tier.plan(descriptions, &choice);
    if plan.is_empty() {
        let why = impossible.iter().next().map(|(id, reason)| format!("; {id} is none: {reason}")).unwrap_or_default();
        bail!("nothing in the tier `{}` fits what was chosen{why}", arguments.tier);
    }
    Ok(plan)
}

/// What an earlier run left at that place: gone on with, refused, or replaced.
fn go_on(arguments: &BenchArguments, out: &Path, document: &mut Benchmarks) -> Result<()> {
    if arguments.fresh || !out.exists() {
        return Ok(());
    }
    let earlier = Benchmarks::read(out);
    if !arguments.resume {
        return match earlier {
            Ok(earlier) if !earlier.complete => bail!(
                "{} is an interrupted run with {} measurements: --resume goes on with it, --fresh begins anew",
                out.display(),
                earlier.measurements.len()
            ),
            _ => Ok(()),
        };
    }
    let earlier = earlier?;
    if let Err(reason) = resumable(&earlier, document) {
        bail!("{} cannot be gone on with: {reason}; --fresh begins anew", out.display());
    }
    eprintln!("e2esm: going on after {} measurements", earlier.measurements.len());
    document.run.started_unix = earlier.run.started_unix;
    // The earlier part may have been of another selection.
    document.adapters.extend(earlier.adapters);
    // What failed, perhaps for want of memory or disk, is tried again.
    let again = |outcome: &Outcome| matches!(outcome, Outcome::Failed(_));
    document.measurements = earlier.measurements;
    document.measurements.retain(|measurement| !again(&measurement.outcome));
    Ok(())
}

fn burden(name: &str) -> Result<Burden> {
    Ok(match name.split_once('=') {
        None if name == "seal" => Burden::Seal,
        None if name == "packet" => Burden::Packet,
        None if name == "allocation" => Burden::Allocation,
        None if name == "wrong-answer" => Burden::WrongAnswer,
        Some(("instructions", count)) => Burden::Instructions(count.parse().context("a number of instructions")?),
        _ => bail!("`{name}` is no burden"),
    })
}

/// The program on the other side: a file, or this repository at another revision, built in a work tree of its own.
fn other_side(what: &str) -> Result<PathBuf> {
    let path = PathBuf::from(what);
    if path.is_file() {
        return path.canonicalize().with_context(|| format!("finding {what}"));
    }
    let git = |arguments: &[&str]| -> Result<String> {
        let output = std::process::Command::new("git").args(arguments).output().context("starting git")?;
        if !output.status.success() {
            bail!("git {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let root = PathBuf::from(git(&["rev-parse", "--show-toplevel"])?);
    let commit = git(&["rev-parse", "--verify", &format!("{what}^{{commit}}")])
        .with_context(|| format!("`{what}` is neither a program nor a revision"))?;
    let tree = root.join("target").join("against").join(&commit[..commit.len().min(12)]);
    if !tree.exists() {
        git(&["worktree", "add", "--detach", &tree.to_string_lossy(), &commit])?;
    }
    eprintln!("e2esm: building {what} ({}) in {}", &commit[..commit.len().min(12)], tree.display());
    let status = std::process::Command::new("cargo")
        .args(["build", "--release", "--locked", "--package", "e2esm"])
        .current_dir(&tree)
        .env("CARGO_TARGET_DIR", tree.join("target"))
        .status()
        .context("starting cargo")?;
    if !status.success() {
        bail!("building {what} failed");
    }
    Ok(tree.join("target").join("release").join(format!("e2esm{}", std::env::consts::EXE_SUFFIX)))
}
