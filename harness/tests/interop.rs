//! Mixed groups of the built-in implementations: what comes out alone comes out together, and what does not is told down to
//! the packet. With peers it is `e2esm interop`.

use std::path::PathBuf;

use e2esm::interop::{Outcome, is_mixed_by_default, known_differences, pairs, ready, run};
use e2esm::scenario::{Layer, Matter};
use e2esm::suite::{PATIENCE, Settings, Target};
use e2esm::vector::load::embedded;
use e2esm::worker::Limits;

fn settings(layers: &[Layer]) -> Settings {
    Settings { layers: layers.to_vec(), limits: Limits::default(), seed: 0, jobs: 2, patience: PATIENCE }
}

fn targets(names: &[&str]) -> Vec<Target> {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_e2esm"));
    names.iter().map(|name| Target::built_in(program.clone(), name)).collect()
}

#[test]
fn openmls_and_mls_rs_in_one_group_do_what_each_does_alone() {
    let settings = settings(&Layer::ALL);
    let vectors: Vec<_> =
        embedded().expect("the vectors are well-formed").vectors.into_iter().filter(is_mixed_by_default).collect();
    assert!(vectors.len() >= 30);
    let names = ["openmls-rustcrypto-mixed", "mls-rs-rustcrypto-mixed", "vodozemac"];
    let Ok(all) = ready(targets(&names), &settings) else { panic!("an implementation failed") };
    let chosen = pairs(&all);
    // vodozemac speaks to neither.
    assert_eq!(chosen, [[0, 1], [1, 0]]);
    let played = run(&all, &chosen, &vectors, &settings, &[], &|| {});
    for pair in &played {
        let differs: Vec<_> = pair.cells.iter().filter(|cell| cell.outcome == Outcome::Differs).collect();
        assert!(differs.is_empty(), "{} and {}: {differs:#?}", pair.first, pair.second);
        assert!(pair.cells.iter().filter(|cell| cell.outcome == Outcome::AsAlone).count() >= 50);
    }
}

#[test]
fn a_pair_that_does_not_understand_each_other_is_told_with_the_packet() {
    let settings = settings(&[Layer::Library]);
    let vectors: Vec<_> = embedded()
        .expect("the vectors are well-formed")
        .vectors
        .into_iter()
        .filter(|vector| vector.id == "removal/rejoin-gap")
        .collect();
    // By its default openmls refuses the PublicMessage that mls-rs sends by its own.
    let Ok(all) = ready(targets(&["mls-rs-rustcrypto", "openmls-rustcrypto"]), &settings) else {
        panic!("an implementation failed")
    };
    let played = run(&all, &[[0, 1]], &vectors, &settings, &[], &|| {});
    let cell = &played[0].cells[0];
    assert_eq!(cell.outcome, Outcome::Differs, "{cell:#?}");
    let difference = cell.difference.as_ref().expect("it says where");
    assert_eq!(difference.played_by, "openmls-rustcrypto");
    let [packet] = &difference.given[..] else { panic!("it is one packet that was refused: {difference:#?}") };
    assert!(matches!(packet.matter, Matter::Packet(_)), "{:?}", packet.matter);
    assert_eq!(packet.made_by, "mls-rs-rustcrypto");
    assert!(packet.bytes.as_ref().starts_with(&[0, 1, 0, 1]), "MLS 1.0, PublicMessage: {}", packet.bytes);
    assert!(difference.observed.contains("wire format"), "{}", difference.observed);
}

#[test]
fn what_others_had_made_is_told_where_a_call_is_refused() {
    let settings = settings(&[Layer::Library]);
    let all = embedded().expect("the vectors are well-formed").vectors;
    let vectors: Vec<_> = all.into_iter().filter(|vector| vector.id == "removal/rejoin-gap").collect();
    // They speak different protocols, so nobody would pair them: the first one cannot read the other's bundle.
    let Ok(all) = ready(targets(&["openmls-rustcrypto", "vodozemac"]), &settings) else {
        panic!("an implementation failed")
    };
    let played = run(&all, &[[0, 1]], &vectors, &settings, &[], &|| {});
    let difference = played[0].cells[0].difference.as_ref().expect("it says where");
    assert_eq!(difference.played_by, "openmls-rustcrypto");
    let foreign: Vec<_> = difference.given.iter().filter(|given| given.made_by == "vodozemac").collect();
    assert!(!foreign.is_empty() && foreign.iter().all(|given| given.matter == Matter::Bundle), "{difference:#?}");
    assert!(foreign.iter().all(|given| !given.bytes.as_ref().is_empty()));
}

#[test]
fn each_known_difference_names_a_vector_and_no_two_name_the_same() {
    let known = known_differences().expect("interop-divergences.json is well-formed");
    let vectors = embedded().expect("the vectors are well-formed").vectors;
    let mut seen = std::collections::BTreeSet::new();
    for entry in &known {
        assert!(vectors.iter().any(|vector| vector.id == entry.vector), "{entry:?}");
        assert!(!entry.reason.is_empty() && !entry.source.is_empty(), "{entry:?}");
        for layer in &entry.layers {
            assert!(seen.insert((&entry.first, &entry.second, &entry.vector, *layer)), "twice: {entry:?}");
        }
    }
}
