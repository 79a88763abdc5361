//! `e2esm mls-vectors`

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::Result;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{Cell, CellAlignment, Table};
use e2esm::recorded::{Agreement, Column, verify, working_group};
use e2esm_adapter::Protocol;
use e2esm_playback::Recorded;
use serde_json::json;

use crate::cli::args::{Layers, MlsVectorsArguments, RogueFormat};
use crate::cli::{AS_EXPECTED, UNEXPECTED, console};

/// What became of the cases of one implementation.
#[derive(Default)]
struct Tally {
    passed: usize,
    unsupported: usize,
    failed: usize,
    epochs: usize,
    suites: BTreeMap<String, usize>,
}

pub(crate) fn mls_vectors(arguments: &MlsVectorsArguments) -> Result<u8> {
    let cases = working_group::cases(&arguments.directory)?;
    let mut targets = super::targets(&arguments.adapter, &arguments.peers, &arguments.limits)?;
    if arguments.adapter.is_empty() {
        targets.retain(|target| {
            let adapter = e2esm::registry::find(&target.name);
            adapter.is_some_and(|adapter| adapter.describe().recorded.contains(&Protocol::Mls))
        });
    }
    let settings = super::settings(&arguments.limits, Layers::Library);
    let start = Instant::now();
    let bar = console::progress(targets.len() * cases.len(), "playing the working group's vectors");
    let columns = verify(&targets, &cases, settings.limits, settings.jobs, &|| bar.inc(1));
    bar.finish_and_clear();
    let mut failed = 0;
    let tallies: Vec<_> = columns.iter().map(|column| tally(column, &cases, &mut failed)).collect();
    match arguments.format {
        RogueFormat::Table => {
            let mut table = Table::new();
            table.load_style(UTF8_FULL_CONDENSED);
            table.set_header([
                "implementation",
                "run",
                "passed",
                "unsupported",
                "failed",
                "epochs",
                "passed by cipher suite",
            ]);
            for (column, tally) in columns.iter().zip(&tallies) {
                let suites: Vec<_> =
                    tally.suites.iter().map(|(suite, count)| format!("0x{:0>4}: {count}", suite)).collect();
                let number = |number: usize| Cell::new(number).set_alignment(CellAlignment::Right);
                table.add_row(vec![
                    Cell::new(&column.name),
                    number(cases.len()),
                    number(tally.passed),
                    number(tally.unsupported),
                    number(tally.failed),
                    number(tally.epochs),
                    Cell::new(suites.join(", ")),
                ]);
            }
            console::say(table);
            console::say(format_args!(
                "{} cases of {} in {:.1} s; epochs: authenticators that were compared and equal",
                cases.len(),
                arguments.directory.display(),
                start.elapsed().as_secs_f64()
            ));
        }
        RogueFormat::Json => {
            let rows = columns.iter().zip(&tallies).map(|(column, tally)| {
                json!({
                    "adapter": column.name,
                    "run": cases.len(),
                    "passed": tally.passed,
                    "unsupported": tally.unsupported,
                    "failed": tally.failed,
                    "epochs": tally.epochs,
                    "passed_by_cipher_suite": tally.suites,
                })
            });
            console::say(serde_json::to_string_pretty(&rows.collect::<Vec<_>>())?);
        }
    }
    Ok(if failed == 0 { AS_EXPECTED } else { UNEXPECTED })
}

fn tally(column: &Column, cases: &[Recorded], failed: &mut usize) -> Tally {
    let who = column.implementation();
    let mut tally = Tally::default();
    for (row, case) in column.rows.iter().zip(cases) {
        match row.judge(case, &who) {
            (Agreement::Unsupported, _) => tally.unsupported += 1,
            (Agreement::Agrees, _) => {
                tally.passed += 1;
                *tally.suites.entry(case.cipher_suite.clone()).or_default() += 1;
                let compared = |step: &&e2esm_playback::Step| matches!(&step.expected, e2esm_playback::Expected::Accepted(facts) if facts.epoch_authenticator.is_some());
                tally.epochs += case.deliveries.iter().filter(compared).count();
            }
            (_, why) => {
                eprintln!("failed: {} {}: {why}", column.name, case.id);
                tally.failed += 1;
                *failed += 1;
            }
        }
    }
    tally
}
