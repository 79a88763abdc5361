//! The suite's test of itself: no missed flaw, no wrong accusation, every negative check load-bearing.

use std::path::Path;

use e2esm::rogues;
use e2esm::scenario::Layer;
use e2esm::suite::{PATIENCE, Settings};
use e2esm::vector::load::embedded;
use e2esm::worker::Limits;

fn settings() -> Settings {
    // Some rogues never return, others eat memory: the limits are what they cost.
    let limits = Limits { seconds: 10.0, memory_bytes: 512 << 20 };
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    Settings { layers: Layer::ALL.to_vec(), limits, seed: 0, jobs, patience: PATIENCE }
}

#[test]
fn flawed_implementations_are_caught_sound_ones_are_not_and_every_negative_check_bears_a_verdict() {
    let vectors = embedded().expect("the embedded vectors are well-formed").vectors;
    let program = Path::new(env!("CARGO_BIN_EXE_e2esm"));
    let matrix = rogues::play(program, rogues::all(), &vectors, &settings(), &|| {});
    let findings = matrix.findings(&vectors);
    assert!(findings.is_clean(), "{findings:#?}");
    // And the other way round: for each negative check of each vector, by name, whose verdict rests on it.
    let mut negative = 0;
    for vector in &vectors {
        for (step, check) in vector.checks() {
            if check.polarity() == e2esm::vector::Polarity::Negative {
                negative += 1;
                let bearers = matrix.bearers(&vector.id, step);
                assert!(!bearers.is_empty(), "{}, step {}", vector.id, step + 1);
                println!("{}, step {} ({}): {}", vector.id, step + 1, check.verb(), bearers.join(", "));
            }
        }
    }
    assert!(negative > 30, "only {negative} negative checks: were the vectors loaded?");
}

/// The same for devices that only receive: no flaw among them is missed, and nobody is accused wrongly.
#[test]
fn every_passive_rogue_is_caught_by_a_recorded_vector() {
    let program = Path::new(env!("CARGO_BIN_EXE_e2esm"));
    let vectors = e2esm::recorded::embedded().expect("the embedded vectors are well-formed");
    let matrix = rogues::play_recorded(program, rogues::passive(), &vectors, &settings(), &|| {});
    let mut findings = rogues::Findings::default();
    matrix.add_to(&mut findings, &vectors);
    assert!(findings.is_clean(), "{findings:#?}");
}

#[test]
fn a_lost_process_ends_as_rows_that_say_how() {
    let vectors: Vec<_> = embedded()
        .expect("the embedded vectors are well-formed")
        .vectors
        .into_iter()
        .filter(|vector| vector.id == "authentication/roundtrip")
        .collect();
    let program = Path::new(env!("CARGO_BIN_EXE_e2esm"));
    let lost = ["panics", "aborts", "never-returns", "eats-memory"];
    let chosen = rogues::all().into_iter().filter(|rogue| lost.contains(&rogue.name)).collect();
    let mut settings = settings();
    settings.limits.seconds = 3.0;
    let matrix = rogues::play(program, chosen, &vectors, &settings, &|| {});
    let words = ["panicked", "ended", "did not answer", "memory"];
    assert_eq!(matrix.columns.len(), lost.len());
    for (column, word) in matrix.columns.iter().zip(words) {
        assert_eq!(column.rows.len(), 2, "{}: one row for each layer", column.name);
        for row in &column.rows {
            let because = row.because();
            assert_eq!(row.verdict, e2esm::verdict::Verdict::Error, "{}: {because}", column.name);
            assert!(because.contains(word), "{}: {because}", column.name);
        }
    }
}
