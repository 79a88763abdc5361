//! The whole recorder into memory: it still works, everybody still agrees, and the files are what they are to be.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use e2esm_adapter::Protocol;
use e2esm_playback::{Expected, check, check_together, count, distinct_faults, write};
use e2esm_recorder_mls::Recorder;

/// The ids in `requirements.json`.
fn requirements() -> BTreeSet<String> {
    let (_, bytes) = e2esm_vectors::files().find(|(path, _)| path.ends_with("requirements.json")).unwrap();
    let list: Vec<serde_json::Value> = serde_json::from_slice(bytes).unwrap();
    list.iter().map(|requirement| requirement["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn everything_is_recorded_and_confirmed() {
    let vectors = Recorder::new("2026-11-23").record().unwrap();
    let (requirements, mut problems) = (requirements(), Vec::new());
    let scenarios: BTreeSet<String> =
        e2esm_vectors::files().map(|(path, _)| path.with_extension("").to_string_lossy().into_owned()).collect();
    for vector in &vectors {
        problems.extend(check(vector, &requirements).into_iter().map(|problem| format!("{}: {problem}", vector.id)));
        // `Recorder::finish` has refused what anybody disagrees with; here: who has agreed.
        let other = if vector.recorded_by.implementation == "openmls" { "mls-rs" } else { "openmls" };
        assert!(vector.confirmed_by.iter().all(|by| by.implementation == other), "{}", vector.id);
        // libcrux has no P-256.
        let confirmed = if vector.id.ends_with("-p256") { 1 } else { 2 };
        assert_eq!(vector.confirmed_by.len(), confirmed, "{}", vector.id);
        assert!(vector.disagreements.is_empty(), "{}", vector.id);
        assert!(vector.scenario.iter().all(|scenario| scenarios.contains(scenario)), "{:?}", vector.scenario);
        let bytes = write(vector).unwrap().len();
        assert!(bytes <= 300_000, "{}: {bytes} bytes", vector.id);
    }
    problems.extend(check_together(&vectors));
    assert_eq!(problems, Vec::<String>::new());

    let many = count(&vectors);
    assert!(many.accepted >= many.rejected, "{many:?}");
    let faults = distinct_faults(&vectors, Protocol::Mls);
    assert!(faults.len() >= 170, "{} distinct faults", faults.len());
    let themes: BTreeSet<_> = vectors.iter().filter_map(|vector| vector.id.split('/').nth(1)).collect();
    let expected = ["authentication", "device-addition", "integrity", "participation", "removal"];
    assert_eq!(themes.into_iter().collect::<Vec<_>>(), expected);
}

/// Within one cipher suite and one way of sending commits, each fault is there once.
#[test]
fn no_fault_is_there_twice_without_reason() {
    let vectors = Recorder::new("2026-11-23").record().unwrap();
    for label in ["private", "public", "p256", "chacha20"] {
        let mut seen = BTreeSet::new();
        let of_label = vectors.iter().filter(|vector| {
            let altered = vector.id.contains("/altered-");
            vector.id.ends_with(&format!("-{label}")) && !altered || label == "public" && altered
        });
        for vector in of_label {
            for step in &vector.deliveries {
                let Some(fault) = &step.fault else {
                    assert!(matches!(step.expected, Expected::Accepted(_)), "{}: {}", vector.id, step.name);
                    continue;
                };
                assert!(seen.insert(fault.clone()), "{}: {fault:?} again", vector.id);
            }
        }
        assert!(!seen.is_empty(), "no vector of {label}");
    }
}
