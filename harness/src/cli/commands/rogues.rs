//! `e2esm rogues`

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail};
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{Cell, CellAlignment, Color, Table};
use e2esm::rogues::{self, Matrix, RecordedMatrix};
use e2esm::scenario::Layer;
use e2esm::vector::Vector;
use serde::Serialize;

use crate::cli::args::{Layers, RogueArguments, RogueFormat, VectorSource};
use crate::cli::{AS_EXPECTED, UNEXPECTED, console};

pub(crate) fn rogues(arguments: &RogueArguments) -> Result<u8> {
    let set = super::vectors(&VectorSource::default())?;
    let all = rogues::all();
    let passive = rogues::passive();
    for name in &arguments.rogue {
        if !all.iter().any(|rogue| rogue.name == name) && !passive.iter().any(|rogue| rogue.name == name) {
            let names: Vec<_> =
                all.iter().map(|rogue| rogue.name).chain(passive.iter().map(|rogue| rogue.name)).collect();
            bail!("there is no rogue `{name}`: expected one of {}", names.join(", "));
        }
    }
    let wanted = |name: &str| arguments.rogue.is_empty() || arguments.rogue.iter().any(|wanted| wanted == name);
    let chosen: Vec<_> = all.into_iter().filter(|rogue| wanted(rogue.name)).collect();
    let passive: Vec<_> = passive.into_iter().filter(|rogue| wanted(rogue.name)).collect();
    let recorded = e2esm::recorded::embedded()?;
    let mut settings = super::settings(&arguments.limits, Layers::Both);
    // Some rogues never return: the limit of a scenario is what each of them costs.
    settings.limits.seconds = arguments.limits.timeout.unwrap_or(10.0);
    let bases: BTreeSet<_> = passive.iter().map(|rogue| rogue.base).collect();
    let work = rogues::work(&chosen, &set.vectors, &settings) + (passive.len() + bases.len()) * recorded.len();
    let bar = console::progress(work, "playing");
    let matrix = rogues::play(&super::program()?, chosen, &set.vectors, &settings, &|| bar.inc(1));
    let passive = rogues::play_recorded(&super::program()?, passive, &recorded, &settings, &|| bar.inc(1));
    bar.finish_and_clear();
    let mut findings = matrix.findings(&set.vectors);
    passive.add_to(&mut findings, &recorded);
    match arguments.format {
        RogueFormat::Table => {
            console::say(table(&matrix, &set.vectors));
            console::say(recorded_table(&passive));
            console::say(format_args!("l caught at the layer library, p at the layer policy, b at both\n"));
            print_list("missed flaws", &findings.missed_flaws);
            print_list("wrong accusations", &findings.wrong_accusations);
            if arguments.rogue.is_empty() {
                print_list("negative checks that no rogue's verdict rests on", &findings.idle_checks);
                print_list("vectors that no flawed implementation fails", &findings.idle_vectors);
            }
        }
        RogueFormat::Json => console::say(serde_json::to_string_pretty(&json(&matrix, &passive, &findings))?),
    }
    let clean = match arguments.rogue.is_empty() {
        true => findings.is_clean(),
        false => findings.missed_flaws.is_empty() && findings.wrong_accusations.is_empty(),
    };
    Ok(if clean { AS_EXPECTED } else { UNEXPECTED })
}

fn print_list(what: &str, list: &[String]) {
    console::say(format_args!("{what}: {}", if list.is_empty() { "none".to_owned() } else { list.len().to_string() }));
    for item in list {
        console::say(format_args!("  {item}"));
    }
}

/// Vectors down, rogues across, by number so that it fits.
fn table(matrix: &Matrix, vectors: &[Vector]) -> String {
    let colour = console::colour();
    let mut key = Table::new();
    key.load_style(UTF8_FULL_CONDENSED).set_header(["", "rogue", "over", "what", "caught by"]);
    let mut grid = Table::new();
    let mut head = vec!["vector".to_owned()];
    head.extend((1..=matrix.rogues.len()).map(|number| number.to_string()));
    grid.load_style(UTF8_FULL_CONDENSED).set_header(head);
    for (number, (rogue, column)) in matrix.rogues.iter().zip(&matrix.columns).enumerate() {
        let caught = matrix.caught_by(rogue, column).len();
        let words = match (rogue.sound, caught) {
            (true, 0) => "nothing, as it should be".to_owned(),
            (true, n) => format!("{n} vectors: wrongly accused"),
            (false, 0) => "nothing: missed".to_owned(),
            (false, n) => format!("{n} vectors"),
        };
        let cell = Cell::new(words);
        let bad = rogue.sound != (caught == 0);
        key.add_row(vec![
            Cell::new(number + 1),
            Cell::new(rogue.name),
            Cell::new(rogue.base),
            Cell::new(rogue.what),
            if colour && bad { cell.fg(Color::Red) } else { cell },
        ]);
    }
    for vector in vectors {
        let mut cells = vec![Cell::new(&vector.id)];
        for (rogue, column) in matrix.rogues.iter().zip(&matrix.columns) {
            let letter = match matrix.layers(rogue, column, &vector.id).as_slice() {
                [] => "",
                [Layer::Library] => "l",
                [Layer::Policy] => "p",
                _ => "b",
            };
            cells.push(Cell::new(letter).set_alignment(CellAlignment::Center));
        }
        grid.add_row(cells);
    }
    format!("{key}\n\n{grid}")
}

/// Passive rogues, and how many recorded vectors catch each.
fn recorded_table(matrix: &RecordedMatrix) -> String {
    let colour = console::colour();
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header(["passive rogue", "over", "what", "caught by recorded vectors"]);
    for (rogue, caught) in matrix.rogues.iter().zip(&matrix.caught_by) {
        let words = match (rogue.sound, caught.len()) {
            (true, 0) => "none, as it should be".to_owned(),
            (true, n) => format!("{n}: wrongly accused"),
            (false, 0) => "none: missed".to_owned(),
            (false, n) => n.to_string(),
        };
        let cell = Cell::new(words);
        let bad = rogue.sound != caught.is_empty();
        table.add_row(vec![
            Cell::new(rogue.name),
            Cell::new(rogue.base),
            Cell::new(rogue.what),
            if colour && bad { cell.fg(Color::Red) } else { cell },
        ]);
    }
    format!("{table}\n")
}

#[derive(Serialize)]
struct Json<'a> {
    rogues: Vec<RogueJson>,
    passive: Vec<PassiveJson>,
    findings: &'a rogues::Findings,
}

#[derive(Serialize)]
struct RogueJson {
    name: &'static str,
    base: &'static str,
    what: &'static str,
    precedent: &'static str,
    sound: bool,
    caught_by: BTreeMap<String, Vec<Layer>>,
}

#[derive(Serialize)]
struct PassiveJson {
    name: &'static str,
    base: &'static str,
    what: &'static str,
    precedent: &'static str,
    sound: bool,
    caught_by: Vec<String>,
}

fn json<'a>(matrix: &Matrix, passive: &RecordedMatrix, findings: &'a rogues::Findings) -> Json<'a> {
    let passive = passive.rogues.iter().zip(&passive.caught_by).map(|(rogue, caught)| PassiveJson {
        name: rogue.name,
        base: rogue.base,
        what: rogue.what,
        precedent: rogue.precedent,
        sound: rogue.sound,
        caught_by: caught.clone(),
    });
    let passive = passive.collect();
    let rogues = matrix
        .rogues
        .iter()
        .zip(&matrix.columns)
        .map(|(rogue, column)| RogueJson {
            name: rogue.name,
            base: rogue.base,
            what: rogue.what,
            precedent: rogue.precedent,
            sound: rogue.sound,
            caught_by: matrix
                .caught_by(rogue, column)
                .into_iter()
                .map(|vector| {
                    let layers = matrix.layers(rogue, column, &vector);
                    (vector, layers)
                })
                .collect(),
        })
        .collect();
    Json { rogues, passive, findings }
}
