//! `e2esm run`

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use e2esm::divergence::{Divergence, Divergences, Unexpected};
use e2esm::report::{junit, table};
use e2esm::results::{Frame, Results};
use e2esm::suite::{self, Target};

use crate::cli::args::{Format, PeerSource, RunArguments};
use crate::cli::{AS_EXPECTED, UNEXPECTED, console};

pub(crate) fn run(arguments: &RunArguments) -> Result<u8> {
    let set = super::vectors(&arguments.vectors)?;
    let globs = super::globs(&arguments.vector)?;
    let chosen: Vec<_> = set
        .vectors
        .iter()
        .filter(|vector| arguments.vector.is_empty() || globs.is_match(&vector.id))
        .cloned()
        .collect();
    if chosen.is_empty() {
        bail!("no vector matches {}: see `e2esm list vectors`", arguments.vector.join(", "));
    }
    let targets = super::targets(&arguments.adapter, &arguments.peers, &arguments.limits)?;
    let settings = super::settings(&arguments.limits, arguments.layer);
    let mut divergences = Divergences::checked_in().context("harness/divergences.json")?;
    for path in &arguments.divergences {
        let before = divergences.all().len();
        divergences.add(path, &set.vectors)?;
        for name in unknown(&divergences.all()[before..], &targets, &arguments.peers) {
            eprintln!(
                "e2esm: {}: entries about `{name}` have no effect: there is no such implementation, see `e2esm list adapters`",
                path.display()
            );
        }
    }
    super::writable(&arguments.out)?;
    let started_unix = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let start = Instant::now();
    let bar = console::progress(targets.len() * chosen.len() * settings.layers.len(), "playing");
    let columns = suite::run(&targets, &chosen, &settings, &|| bar.inc(1));
    bar.finish_and_clear();
    let seconds = start.elapsed().as_secs_f64();

    let frame = Frame { set: &set, settings: &settings, started_unix, divergences: &divergences };
    let results: Vec<_> = columns.iter().map(|column| (column.name.as_str(), Results::new(column, &frame))).collect();
    for (name, result) in &results {
        result
            .write(&arguments.out, name)
            .with_context(|| format!("writing results into {}: earlier ones are whole", arguments.out.display()))?;
    }
    let unexpected = divergences.unexpected(&columns);
    match arguments.format {
        Format::Table => {
            console::say(table::verdicts(&columns, &settings.layers, &divergences, console::colour()));
            console::say(format_args!(
                "\n{} x {} x {} in {seconds:.1} s; JSON in {}",
                super::count(chosen.len(), "vector"),
                super::count(targets.len(), "implementation"),
                super::count(settings.layers.len(), "layer"),
                arguments.out.display()
            ));
        }
        Format::Json => {
            let all: Vec<_> = results.iter().map(|(_, result)| result).collect();
            console::say(serde_json::to_string_pretty(&all)?);
        }
        Format::Junit => console::say(junit::report(&columns, &divergences)?),
    }
    for line in told(&unexpected) {
        eprintln!("unexpected: {line}");
    }
    Ok(if unexpected.is_empty() { AS_EXPECTED } else { UNEXPECTED })
}

/// Adapters that entries are about, and that are none: neither in this run nor known by name.
fn unknown<'a>(entries: &'a [Divergence], targets: &[Target], source: &PeerSource) -> BTreeSet<&'a str> {
    let known = |name: &str| targets.iter().any(|target| target.name == name) || e2esm::registry::find(name).is_some();
    let mut names: BTreeSet<_> =
        entries.iter().map(|entry| entry.adapter.as_str()).filter(|name| !known(name)).collect();
    if !names.is_empty() {
        match super::peers(source) {
            Ok(peers) => names.retain(|name| !peers.iter().any(|peer| peer.name == *name)),
            // Whose file cannot be read may know them: that is no reason for this run to end.
            Err(_) => names.clear(),
        }
    }
    names
}

/// A line for each row that is not as expected; one line for all rows of an adapter that have the same to say, such as that it
/// does not start.
fn told(unexpected: &[Unexpected]) -> Vec<String> {
    const MANY: usize = 3;
    let mut alike: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for row in unexpected {
        *alike.entry((&row.adapter, &row.sentence)).or_default() += 1;
    }
    let mut lines = Vec::new();
    for Unexpected { adapter, vector, layer, sentence } in unexpected {
        let place = format!("{adapter} {vector} [{}]", layer.label());
        match alike.get_mut(&(adapter.as_str(), sentence.as_str())) {
            // It has been told already.
            Some(0) => {}
            Some(rows) if *rows >= MANY => {
                lines.push(format!("{place} and {} more: {sentence}", super::count(*rows - 1, "row")));
                *rows = 0;
            }
            _ => lines.push(format!("{place}: {sentence}")),
        }
    }
    lines
}
