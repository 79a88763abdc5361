//! Recorded vectors as a user meets them: playing them, making one, taking collections apart, and what becomes of files that
//! have been tampered with.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use e2esm::recorded::{embedded, path_of};
use e2esm_adapter::Protocol;
use e2esm_playback::{Expected, Recorded, count, distinct_faults};
use serde_json::{Value, json};

fn e2esm(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_e2esm")).args(arguments).output().expect("e2esm runs")
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn the_published_vectors_are_in_order_and_what_is_generated_from_them_is_current() {
    let vectors = root().join("vectors");
    let output = e2esm(&["check", vectors.to_str().expect("a path of text")]);
    assert!(output.status.success(), "{}", text(&output));
    assert!(text(&output).contains(" recorded vectors, 0 problems"), "{}", text(&output));
}

#[test]
fn every_published_file_keeps_to_the_schema() {
    let read = |path: &Path| -> Value {
        serde_json::from_slice(&std::fs::read(path).expect("a file")).expect("a file of JSON")
    };
    let schema = |name: &str| {
        let schema = read(&root().join("vectors/schema").join(name));
        jsonschema::validator_for(&schema).expect("the schema itself is sound")
    };
    let (one, many) = (schema("recorded.json"), schema("collection.json"));
    for vector in embedded().expect("the embedded vectors are well-formed") {
        let mut value = read(&root().join("vectors/recorded").join(path_of(&vector)));
        assert!(one.is_valid(&value), "{}", vector.id);
        value["deliveries"][0]["surprise"] = json!(1);
        assert!(!one.is_valid(&value), "{}: an unknown field is refused", vector.id);
    }
    for protocol in Protocol::ALL {
        let path = root().join(format!("vectors/recorded/{}.json", protocol.label()));
        assert!(many.is_valid(&read(&path)), "{}", path.display());
    }
}

/// What the issue asks for: so many distinct faults, and as many accepted deliveries.
#[test]
fn there_are_as_many_faults_as_promised_and_as_many_accepted_deliveries() {
    let vectors = embedded().expect("the embedded vectors are well-formed");
    for (protocols, least) in
        [(vec![Protocol::Mls], 150), (vec![Protocol::Signal], 80), (vec![Protocol::Olm, Protocol::Megolm], 60)]
    {
        let faults: usize = protocols.iter().map(|&protocol| distinct_faults(&vectors, protocol).len()).sum();
        let all = count(vectors.iter().filter(|vector| protocols.contains(&vector.protocol)));
        assert!(faults >= least, "{protocols:?}: {faults} distinct faults");
        assert!(all.accepted >= all.rejected, "{protocols:?}: {all:?}");
    }
    let rules: std::collections::BTreeSet<_> = vectors
        .iter()
        .flat_map(|vector| &vector.deliveries)
        .filter_map(|step| step.fault.as_ref().filter(|fault| fault.rule.is_some()))
        .map(|fault| (&fault.packet, &fault.field, &fault.change))
        .collect();
    assert!(rules.len() >= 40, "{} faults of an insider", rules.len());
}

/// A vector with a Welcome, a refusal and a message, that openmls plays.
fn sample() -> Recorded {
    let fits = |vector: &Recorded| {
        let reads = |facts: &e2esm_adapter::Delivered| facts.plaintext.is_some();
        vector.protocol == Protocol::Mls
            && vector.cipher_suite.contains("0x0001")
            && vector.disagreements.is_empty()
            && vector.deliveries.len() >= 4
            && vector.deliveries.iter().any(|step| matches!(step.expected, Expected::Rejected(_)))
            && vector.deliveries.iter().any(|step| matches!(&step.expected, Expected::Accepted(facts) if reads(facts)))
    };
    let vectors = embedded().expect("the embedded vectors are well-formed");
    vectors.into_iter().find(fits).expect("there is such a vector")
}

/// The last hex digit of a string, another one.
fn flip(value: &mut Value) {
    let text = value.as_str().expect("a string of hex digits");
    let (rest, last) = text.split_at(text.len() - 1);
    *value = json!(format!("{rest}{}", if last == "0" { "1" } else { "0" }));
}

#[test]
fn deliberate_corruptions_are_noticed() {
    let vector = sample();
    let whole = serde_json::to_value(&vector).expect("a vector is JSON");
    let place = |wanted: fn(&Expected) -> bool| {
        vector.deliveries.iter().position(|step| wanted(&step.expected)).expect("there is one")
    };
    let welcome =
        place(|expected| matches!(expected, Expected::Accepted(facts) if facts.epoch_authenticator.is_some()));
    let message = place(|expected| matches!(expected, Expected::Accepted(facts) if facts.plaintext.is_some()));
    let refused = place(|expected| matches!(expected, Expected::Rejected(_)));
    type Corruption<'a> = (&'a str, Box<dyn Fn(&mut Value) + 'a>);
    let corruptions: Vec<Corruption<'_>> = vec![
        ("a digit of a private key", Box::new(|v| flip(&mut v["start"]["mls"]["key_packages"][0]["init_priv"]))),
        ("a digit of the key package", Box::new(|v| flip(&mut v["start"]["mls"]["key_packages"][0]["key_package"]))),
        ("the cipher suite", Box::new(|v| v["start"]["mls"]["cipher_suite"] = json!(3))),
        ("a digit of a packet", Box::new(move |v| flip(&mut v["deliveries"][message]["bytes"]))),
        (
            "a digit of an authenticator",
            Box::new(move |v| {
                flip(&mut v["deliveries"][welcome]["expected"]["accepted"]["epoch_authenticator"]);
            }),
        ),
        (
            "a digit of a plaintext",
            Box::new(move |v| {
                flip(&mut v["deliveries"][message]["expected"]["accepted"]["plaintext"]);
            }),
        ),
        (
            "another sender",
            Box::new(move |v| v["deliveries"][message]["expected"]["accepted"]["sender_leaf"] = json!(77)),
        ),
        (
            "a member less",
            Box::new(move |v| {
                v["deliveries"][welcome]["expected"]["accepted"]["roster"].as_array_mut().expect("a roster").pop();
            }),
        ),
        (
            "an acceptance turned round",
            Box::new(move |v| {
                v["deliveries"][message]["expected"] = json!({"rejected": {"reasons": ["auth_failed"]}});
            }),
        ),
        ("a refusal turned round", Box::new(move |v| v["deliveries"][refused]["expected"] = json!({"accepted": {}}))),
        (
            "another reason",
            Box::new(move |v| {
                v["deliveries"][refused]["expected"]["rejected"]["reasons"] = json!(["untrusted_identity"]);
            }),
        ),
        ("no reason", Box::new(move |v| v["deliveries"][refused]["expected"]["rejected"]["reasons"] = json!([]))),
        (
            "a missing delivery",
            Box::new(move |v| {
                v["deliveries"].as_array_mut().expect("deliveries").remove(welcome);
            }),
        ),
        (
            "another order",
            Box::new(move |v| v["deliveries"].as_array_mut().expect("deliveries").swap(welcome, message)),
        ),
        ("a twin that is not there", Box::new(move |v| v["deliveries"][refused]["twin"] = json!("nobody"))),
        ("an unknown field", Box::new(|v| v["surprise"] = json!(true))),
        ("an odd number of digits", Box::new(move |v| v["deliveries"][message]["bytes"] = json!("abc"))),
        ("another id", Box::new(|v| v["id"] = json!("signal/removal/elsewhere"))),
    ];
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("vector.json");
    let play = || e2esm(&["verify-recorded", path.to_str().expect("text"), "--adapter", "openmls-rustcrypto"]);
    std::fs::write(&path, whole.to_string()).expect("a file");
    let output = play();
    assert!(output.status.success(), "as it is, {} is agreed with: {}", vector.id, text(&output));
    for (what, corrupt) in corruptions {
        let mut value = whole.clone();
        corrupt(&mut value);
        assert_ne!(value, whole, "{what}: nothing was corrupted");
        std::fs::write(&path, value.to_string()).expect("a file");
        let output = play();
        assert!(!output.status.success(), "{what}: not noticed in {}: {}", vector.id, text(&output));
        assert!(matches!(output.status.code(), Some(1 | 2)), "{what}: {:?}", output.status);
        assert!(!output.stderr.is_empty(), "{what}: it says nothing");
    }
}

#[test]
fn a_vector_is_recorded_from_a_scenario_played_and_never_overwritten() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("recorded.json");
    let path = path.to_str().expect("a path of text");
    let scenario = "removal/cannot-read-next";
    let record = ["record", scenario, "--adapter", "mls-rs-rustcrypto", "--passive", "bob/phone", "--out", path];
    let output = e2esm(&record);
    assert!(output.status.success(), "{}", text(&output));
    assert!(text(&output).contains("confirmed by openmls"), "{}", text(&output));
    let output = e2esm(&["verify-recorded", path]);
    assert!(output.status.success(), "{}", text(&output));
    let before = std::fs::read(path).expect("a file");
    let output = e2esm(&record);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert_eq!(std::fs::read(path).expect("a file"), before);
}

/// Where a library has no group object, what is recorded are its own sessions and keys, without the group management.
#[test]
fn sessions_and_sender_keys_are_recorded_from_a_scenario_too() {
    let recorders: &[(&str, &str)] = &[
        #[cfg(feature = "libsignal")]
        ("libsignal-rust", "signal"),
        ("vodozemac", "olm"),
        ("vodozemac", "megolm"),
    ];
    for (adapter, protocol) in recorders {
        let scenario = "authentication/roundtrip";
        let arguments = ["record", scenario, "--adapter", adapter, "--protocol", protocol, "--passive", "carol/phone"];
        let output = e2esm(&arguments);
        assert!(output.status.success(), "{adapter}: {}", text(&output));
        let vector: Recorded = serde_json::from_slice(&output.stdout).expect("a vector");
        let read = vector
            .deliveries
            .iter()
            .filter(|step| matches!(&step.expected, Expected::Accepted(facts) if facts.plaintext.is_some()));
        assert!(read.count() >= 2, "{adapter} {protocol}: {:?}", vector.deliveries);
    }
}

#[test]
fn who_is_not_passive_is_not_recorded() {
    for (passive, word) in
        [("alice/phone", "is not passive"), ("nobody/phone", "expected one of"), ("x", "user/device")]
    {
        let arguments = ["record", "removal/cannot-read-next", "--adapter", "mls-rs-rustcrypto", "--passive", passive];
        let output = e2esm(&arguments);
        assert_eq!(output.status.code(), Some(2), "{passive}: {}", text(&output));
        assert!(text(&output).contains(word), "{passive}: {}", text(&output));
    }
}

#[test]
fn a_collection_taken_apart_is_the_published_files() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let output = e2esm(&["split", directory.path().to_str().expect("a path of text")]);
    assert!(output.status.success(), "{}", text(&output));
    for vector in embedded().expect("the embedded vectors are well-formed") {
        let split = std::fs::read(directory.path().join(path_of(&vector))).expect("a file");
        let published = std::fs::read(root().join("vectors/recorded").join(path_of(&vector))).expect("a file");
        assert!(split == published, "{}", vector.id);
    }
}

/// The MLS working group's own vectors: read from outside, and only where they are.
#[test]
fn the_working_groups_vectors_pass() {
    let folder =
        std::env::var("E2ESM_MLS_VECTORS").map_or_else(|_| root().join("../shared/mls-test-vectors"), PathBuf::from);
    if !folder.is_dir() {
        println!("{} is absent: the working group's vectors were not played", folder.display());
        return;
    }
    let output = e2esm(&["mls-vectors", folder.to_str().expect("a path of text"), "--format", "json"]);
    assert!(output.status.success(), "{}", text(&output));
    let rows: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let rows = rows.as_array().expect("a list");
    assert_eq!(rows.len(), 4);
    for row in rows {
        assert_eq!(row["failed"], 0, "{row}");
        assert!(row["passed"].as_u64().is_some_and(|passed| passed >= 42), "{row}");
        assert_eq!(row["passed"].as_u64().zip(row["unsupported"].as_u64()).map(|(a, b)| a + b), row["run"].as_u64());
    }
}
