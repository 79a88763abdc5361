//! `e2esm interop`

use std::collections::BTreeMap;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, bail};
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{Cell as Field, CellAlignment, Color, Table};
use e2esm::interop::{self, Interop, KnownDifference, Outcome, Pair, Ready};
use e2esm::results::{Environment, Run, Suite, write_atomically};
use e2esm::suite::Target;

use crate::cli::args::{InteropArguments, RogueFormat};
use crate::cli::{AS_EXPECTED, UNEXPECTED, console};

/// How much of the bytes is shown in the text, in hex digits; the JSON has all.
const SHOWN: usize = 96;

pub(crate) fn interop(arguments: &InteropArguments) -> Result<u8> {
    let set = super::vectors(&arguments.vectors)?;
    let globs = super::globs(&arguments.vector)?;
    let chosen = |vector: &&e2esm::vector::Vector| match arguments.vector.is_empty() {
        true => interop::is_mixed_by_default(vector),
        false => globs.is_match(&vector.id),
    };
    let vectors: Vec<_> = set.vectors.iter().filter(chosen).cloned().collect();
    if vectors.is_empty() {
        bail!("no vector matches {}: see `e2esm list vectors`", arguments.vector.join(", "));
    }
    let settings = super::settings(&arguments.limits, arguments.layer);
    let known = interop::known_differences().context("harness/interop-divergences.json")?;
    super::writable(&arguments.out)?;
    let started_unix = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let start = Instant::now();
    let ready = interop::ready(targets(arguments)?, &settings)
        .map_err(|(name, failure)| anyhow!("{name}: the implementation {failure}"))?;
    let pairs = interop::pairs(&ready);
    if pairs.is_empty() {
        bail!("no two of these speak one wire protocol with one cipher suite: {}", names(&ready));
    }
    let bar = console::progress(interop::work(&pairs, &vectors, &settings), "playing");
    let played = interop::run(&ready, &pairs, &vectors, &settings, &known, &|| bar.inc(1));
    bar.finish_and_clear();
    let document = Interop {
        schema_version: interop::SCHEMA_VERSION,
        suite: Suite::playing(&set),
        environment: Environment::here(),
        run: Run { started_unix, seed: settings.seed, jobs: settings.jobs, limits: settings.limits },
        implementations: ready.iter().map(|ready| ready.description.clone()).collect(),
        pairs: played,
    };
    let mut text = serde_json::to_string_pretty(&document)?;
    text.push('\n');
    let path = arguments.out.join("interop.json");
    write_atomically(&path, text.as_bytes()).with_context(|| path.display().to_string())?;
    match arguments.format {
        RogueFormat::Json => console::say(text.trim_end()),
        RogueFormat::Table => {
            console::say(matrices(&ready, &document.pairs));
            console::say(format_args!(
                "{} x {} x {} in {:.1} s; JSON in {}",
                super::count(vectors.len(), "vector"),
                super::count(document.pairs.len(), "ordered pair"),
                super::count(settings.layers.len(), "layer"),
                start.elapsed().as_secs_f64(),
                path.display()
            ));
        }
    }
    let wrong = tell_wrong(&document.pairs) + stale(&document.pairs, &known);
    Ok(if wrong == 0 { AS_EXPECTED } else { UNEXPECTED })
}

/// Those that were asked for, or all that there are; of the built-in ones those whose settings let them be among others.
fn targets(arguments: &InteropArguments) -> Result<Vec<Target>> {
    if !arguments.adapter.is_empty() {
        return super::targets(&arguments.adapter, &arguments.peers, &arguments.limits);
    }
    let mut targets = super::targets(&["all".to_owned()], &arguments.peers, &arguments.limits)?;
    let stands_in: BTreeMap<_, _> = e2esm::registry::among_others().into_iter().collect();
    targets.retain(|target| stands_in.get(target.name.as_str()) != Some(&None));
    let program = super::program()?;
    let peers = super::peers(&arguments.peers)?;
    for target in &mut targets {
        if let Some(Some(other)) = stands_in.get(target.name.as_str()) {
            *target = Target::built_in(program.clone(), other);
        } else if let Some(peer) = peers.iter().find(|peer| peer.stands_in_for.as_deref() == Some(&target.name)) {
            peer.usable()?;
            *target = peer.target(&program);
        }
    }
    Ok(targets)
}

fn names(ready: &[Ready]) -> String {
    ready.iter().map(|ready| ready.target.name.as_str()).collect::<Vec<_>>().join(", ")
}

/// A matrix for each wire protocol: who comes first down, who comes second across.
fn matrices(ready: &[Ready], pairs: &[Pair]) -> String {
    let mut families: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for one in ready {
        let about = &one.description;
        if pairs.iter().any(|pair| pair.first == one.target.name) {
            families.entry((&about.protocol, &about.cipher_suite)).or_default().push(&one.target.name);
        }
    }
    let colour = console::colour();
    let mut text = String::new();
    for ((protocol, suite), members) in families {
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED);
        let mut head = vec!["first \\ second".to_owned()];
        head.extend(members.iter().map(|name| (*name).to_owned()));
        table.set_header(head);
        for first in &members {
            let mut row = vec![Field::new(first)];
            for second in &members {
                let field = match pairs.iter().find(|pair| pair.first == *first && pair.second == *second) {
                    None => Field::new(""),
                    Some(pair) => field(pair, colour),
                };
                row.push(field.set_alignment(CellAlignment::Right));
            }
            table.add_row(row);
        }
        text.push_str(&format!("{protocol}, {suite}\n{table}\n\n"));
    }
    text.push_str(
        "as with one of the two alone / played; * of the rest, explained in harness/interop-divergences.json\n",
    );
    text
}

fn field(pair: &Pair, colour: bool) -> Field {
    let count = |outcome| pair.cells.iter().filter(|cell| cell.outcome == outcome).count();
    let (good, explained, wrong) = (count(Outcome::AsAlone), count(Outcome::Explained), count(Outcome::Differs));
    let played = good + explained + wrong;
    let text = match explained {
        0 => format!("{good}/{played}"),
        _ => format!("{good}+{explained}*/{played}"),
    };
    let shade = match (wrong, explained) {
        (0, 0) => Color::Green,
        (0, _) => Color::Yellow,
        _ => Color::Red,
    };
    if colour { Field::new(text).fg(shade) } else { Field::new(text) }
}

/// Each cell that nobody has explained, on stderr: the first step that differs, and what was refused there.
fn tell_wrong(pairs: &[Pair]) -> usize {
    let mut wrong = 0;
    for pair in pairs {
        for cell in pair.cells.iter().filter(|cell| cell.outcome == Outcome::Differs) {
            wrong += 1;
            eprintln!(
                "differs: {} and {}, {} [{}]: {}, alone {} and {}",
                pair.first,
                pair.second,
                cell.vector,
                cell.layer.label(),
                cell.verdict.label(),
                cell.alone[0].label(),
                cell.alone[1].label()
            );
            let Some(difference) = &cell.difference else { continue };
            eprintln!(
                "    step {}, {}: at {} ({}) {}",
                difference.step + 1,
                difference.action,
                difference.device,
                difference.played_by,
                difference.observed
            );
            for given in &difference.given {
                let hex = given.bytes.to_string();
                let cut = if hex.len() > SHOWN { "..." } else { "" };
                eprintln!(
                    "    what it was given: {} of {} ({}), {} bytes: {}{cut}",
                    given.matter.label(),
                    given.from,
                    given.made_by,
                    given.bytes.as_ref().len(),
                    &hex[..hex.len().min(SHOWN)]
                );
            }
        }
    }
    wrong
}

/// Entries of the list whose cell was played and came out otherwise.
fn stale(pairs: &[Pair], known: &[KnownDifference]) -> usize {
    let mut wrong = 0;
    for entry in known {
        let Some(pair) = pairs.iter().find(|pair| pair.first == entry.first && pair.second == entry.second) else {
            continue;
        };
        for cell in pair.cells.iter().filter(|cell| cell.vector == entry.vector && entry.layers.contains(&cell.layer)) {
            if cell.outcome != Outcome::Explained {
                wrong += 1;
                eprintln!(
                    "unexpected: {} and {}, {} [{}] came out as `{}`, but interop-divergences.json expects `{}`",
                    entry.first,
                    entry.second,
                    entry.vector,
                    cell.layer.label(),
                    cell.verdict.label(),
                    entry.verdict.label()
                );
            }
        }
    }
    wrong
}
