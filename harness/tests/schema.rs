//! The checked-in schemas are those of the types, and every file of ours keeps to its own.

use std::path::{Path, PathBuf};

use e2esm::vector::load::embedded;
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn json(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn the_checked_in_schemas_are_current() {
    for (path, schema) in e2esm::schema::all() {
        let ours = json(&root().join(path));
        assert_eq!(ours, schema.to_value(), "{path} is stale: run `cargo run --release -- schema .`");
    }
}

#[test]
fn every_vector_keeps_to_the_schema() {
    let schema = json(&root().join("vectors/schema/vector.json"));
    let validator = jsonschema::validator_for(&schema).expect("the schema itself is sound");
    let mut count = 0;
    for vector in embedded().expect("the embedded vectors are well-formed").vectors {
        let path = root().join("vectors").join(format!("{}.json", vector.id));
        let problems: Vec<_> = validator.iter_errors(&json(&path)).map(|error| error.to_string()).collect();
        assert!(problems.is_empty(), "{}: {problems:?}", path.display());
        count += 1;
    }
    assert!(count >= 50, "only {count} vectors");
}

#[test]
fn the_schema_refuses_unknown_fields() {
    let schema = json(&root().join("vectors/schema/vector.json"));
    let validator = jsonschema::validator_for(&schema).expect("the schema itself is sound");
    let mut vector = json(&root().join("vectors/authentication/roundtrip.json"));
    assert!(validator.is_valid(&vector));
    vector["surprise"] = Value::Bool(true);
    assert!(!validator.is_valid(&vector));
}

#[test]
fn every_divergence_is_about_something_that_there_is() {
    let vectors = embedded().expect("the embedded vectors are well-formed").vectors;
    let divergences = e2esm::divergence::Divergences::checked_in().expect("divergences.json is well-formed");
    let peers =
        e2esm::peers::read(&e2esm::peers::own_manifest(), Path::new("peers")).expect("adapters.toml is well-formed");
    let mut seen = std::collections::BTreeSet::new();
    for entry in divergences.all() {
        let place = (entry.adapter.clone(), entry.vector.clone(), entry.layer);
        assert!(vectors.iter().any(|vector| vector.id == entry.vector), "{place:?}");
        // libsignal-rust is not built in without its feature.
        let built_in = entry.adapter == "libsignal-rust" || e2esm::registry::find(&entry.adapter).is_some();
        assert!(built_in || peers.iter().any(|peer| peer.name == entry.adapter), "{place:?}");
        assert!(seen.insert(place.clone()), "{place:?} stands there twice");
    }
}

#[test]
fn lists_of_divergences_keep_to_the_schema_and_the_examples_goes_with_ours() {
    let schema = json(&root().join("results/schema/divergences.json"));
    let validator = jsonschema::validator_for(&schema).expect("the schema itself is sound");
    let example = root().join("adapters/examples/pynacl-box/divergences.json");
    for path in [root().join("harness/divergences.json"), example.clone()] {
        let problems: Vec<_> = validator.iter_errors(&json(&path)).map(|error| error.to_string()).collect();
        assert!(problems.is_empty(), "{}: {problems:?}", path.display());
    }
    let vectors = embedded().expect("the embedded vectors are well-formed").vectors;
    let mut all = e2esm::divergence::Divergences::checked_in().expect("divergences.json is well-formed");
    all.add(&example, &vectors).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn the_evidence_names_every_built_in_implementation() {
    let evidence = e2esm::evidence::Evidence::all().expect("evidence.json is well-formed");
    for adapter in e2esm::registry::built_in() {
        let name = adapter.describe().implementation;
        assert!(evidence.iter().any(|entry| entry.implementation == name), "no evidence about {name}");
    }
}
