//! `e2esm verify-recorded`

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Result, bail};
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{Cell, CellAlignment, Color, Table};
use e2esm::recorded::{self, Agreement, Column, embedded, load};
use e2esm::suite::Target;
use e2esm_playback::Recorded;
use serde_json::json;

use crate::cli::args::{Layers, RogueFormat, VerifyRecordedArguments};
use crate::cli::{AS_EXPECTED, MISUSE, UNEXPECTED, console};

pub(crate) fn verify(arguments: &VerifyRecordedArguments) -> Result<u8> {
    let globs = super::globs(&arguments.vector)?;
    let all = match &arguments.path {
        None => embedded()?,
        Some(path) => match load(path, &super::requirement_ids(path)?) {
            Ok(vectors) => vectors,
            Err(problems) => {
                for problem in problems {
                    eprintln!("e2esm: {problem}");
                }
                return Ok(MISUSE);
            }
        },
    };
    let vectors: Vec<_> =
        all.into_iter().filter(|vector| arguments.vector.is_empty() || globs.is_match(&vector.id)).collect();
    if vectors.is_empty() {
        bail!("no recorded vector matches {}", arguments.vector.join(", "));
    }
    let targets = targets(arguments)?;
    let settings = super::settings(&arguments.limits, Layers::Library);
    let start = Instant::now();
    let bar = console::progress(targets.len() * vectors.len(), "playing recorded vectors");
    let columns = recorded::verify(&targets, &vectors, settings.limits, settings.jobs, &|| bar.inc(1));
    bar.finish_and_clear();
    let seconds = start.elapsed().as_secs_f64();
    let wrong = match arguments.format {
        RogueFormat::Table => {
            console::say(table(&columns, &vectors));
            let wrong = tell_wrong(&columns, &vectors);
            let deliveries: usize = vectors.iter().map(|vector| vector.deliveries.len()).sum();
            console::say(format_args!(
                "{} vectors with {deliveries} deliveries x {} implementations in {seconds:.1} s: {wrong} disagreements without a note",
                vectors.len(),
                columns.len(),
            ));
            wrong
        }
        RogueFormat::Json => {
            console::say(serde_json::to_string_pretty(&json(&columns, &vectors))?);
            tell_wrong(&columns, &vectors)
        }
    };
    Ok(if wrong == 0 { AS_EXPECTED } else { UNEXPECTED })
}

/// Implementations and rogues that were asked for; all built-in implementations if none was.
fn targets(arguments: &VerifyRecordedArguments) -> Result<Vec<Target>> {
    let names = &arguments.adapter;
    let program = super::program()?;
    let rogues: Vec<_> = e2esm::rogues::passive().into_iter().map(|rogue| rogue.name).collect();
    let (flawed, others): (Vec<_>, Vec<_>) = names.iter().cloned().partition(|name| rogues.contains(&name.as_str()));
    let mut targets = match others.is_empty() && !flawed.is_empty() {
        true => Vec::new(),
        false => super::targets(&others, &arguments.peers, &arguments.limits)?,
    };
    targets.extend(flawed.iter().map(|name| Target::rogue(program.clone(), name)));
    Ok(targets)
}

/// Protocols and themes down, implementations across: how many vectors agree, of how many played.
pub(crate) fn table(columns: &[Column], vectors: &[Recorded]) -> String {
    let mut places: BTreeMap<(String, String), Vec<usize>> = BTreeMap::new();
    for (index, vector) in vectors.iter().enumerate() {
        let theme = vector.id.split('/').nth(1).unwrap_or_default().to_owned();
        places.entry((vector.protocol.label().to_owned(), theme)).or_default().push(index);
    }
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    let mut head = vec!["recorded".to_owned()];
    head.extend(columns.iter().map(|column| wrapped(&column.name)));
    table.set_header(head);
    let colour = console::colour();
    for ((protocol, theme), indexes) in places {
        let mut cells = vec![Cell::new(format!("{protocol}/{theme}"))];
        for column in columns {
            let who = column.implementation();
            let verdicts: Vec<_> =
                indexes.iter().map(|&index| column.rows[index].judge(&vectors[index], &who).0).collect();
            let played = verdicts.iter().filter(|verdict| **verdict != Agreement::Unsupported).count();
            let known = verdicts.iter().filter(|verdict| **verdict == Agreement::Known).count();
            let good = verdicts.iter().filter(|verdict| **verdict == Agreement::Agrees).count();
            let (text, shade) = match played {
                0 => ("-".to_owned(), Color::DarkGrey),
                _ if good + known < played => (format!("{good}/{played}"), Color::Red),
                _ if known > 0 => (format!("{good}+{known}*/{played}"), Color::Yellow),
                _ => (format!("{good}/{played}"), Color::Green),
            };
            let cell = Cell::new(text).set_alignment(CellAlignment::Right);
            cells.push(if colour { cell.fg(shade) } else { cell });
        }
        table.add_row(cells);
    }
    format!("{table}\nagreeing / played; * known and explained in the vector; - not this protocol or cipher suite\n")
}

/// A name in two lines, as in the table of a run.
fn wrapped(name: &str) -> String {
    name.rsplit_once('-').map_or_else(|| name.to_owned(), |(library, provider)| format!("{library}-\n{provider}"))
}

/// Each disagreement on stderr; how many there are.
fn tell_wrong(columns: &[Column], vectors: &[Recorded]) -> usize {
    let mut wrong = 0;
    for column in columns {
        let who = column.implementation();
        for (row, vector) in column.rows.iter().zip(vectors) {
            let (agreement, why) = row.judge(vector, &who);
            if matches!(agreement, Agreement::Disagrees | Agreement::Error) {
                eprintln!("{}: {} {}: {why}", agreement.label(), column.name, vector.id);
                wrong += 1;
            }
        }
    }
    wrong
}

fn json(columns: &[Column], vectors: &[Recorded]) -> serde_json::Value {
    let columns = columns.iter().map(|column| {
        let who = column.implementation();
        let rows = column.rows.iter().zip(vectors).map(|(row, vector)| {
            let (agreement, why) = row.judge(vector, &who);
            json!({ "vector": vector.id, "agreement": agreement, "why": why })
        });
        json!({ "adapter": column.name, "implementation": who, "rows": rows.collect::<Vec<_>>() })
    });
    json!(columns.collect::<Vec<_>>())
}
