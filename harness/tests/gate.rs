//! The gate sees, and raises no false alarm.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Exact measures of operations that each family does differently.
const TIERS: &str = r#"
[tiers.small]
about = "for this test"
sampling = { warm_up = 1, counted = 2, least = 1, most = 1, seconds = 5.0, instructions_up_to = 64 }
sweep = [
    { operations = ["update", "send", "add-1"], sizes = [16], measures = ["counts", "heap"] },
    { operations = ["join", "process-update"], states = ["full"], adapters = ["mls"], sizes = [9], measures = ["counts", "heap"] },
]

[tiers.instructions]
about = "for this test"
sampling = { warm_up = 1, counted = 3, least = 1, most = 1, seconds = 5.0, instructions_up_to = 64 }
sweep = [{ operations = ["update", "send"], adapters = ["openmls-rustcrypto", "vodozemac"], sizes = [16], measures = ["instructions"] }]
"#;

struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("tiers.toml"), TIERS).unwrap();
        Self { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn e2esm(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_e2esm"))
            .args(arguments)
            .env("E2ESM_CACHE", self.path("cache"))
            .env("NO_COLOR", "1")
            .output()
            .unwrap()
    }

    fn bench(&self, tier: &str, name: &str, more: &[&str]) -> PathBuf {
        let (tiers, out) = (self.path("tiers.toml"), self.path(name));
        let mut arguments = vec!["bench", "--tier", tier, "--tiers", tiers.to_str().unwrap()];
        arguments.extend(["--out", out.to_str().unwrap(), "--format", "none"]);
        arguments.extend(more);
        let output = self.e2esm(&arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        out
    }

    /// The gate's exit code and what it prints.
    fn gate(&self, before: &Path, after: &Path) -> (Option<i32>, String) {
        let output = self.e2esm(&["compare", before.to_str().unwrap(), after.to_str().unwrap(), "--gate"]);
        let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        (output.status.code(), text)
    }
}

#[test]
fn twenty_comparisons_of_a_build_with_itself_raise_no_alarm() {
    let place = Place::new();
    let first = place.bench("small", "first.json", &[]);
    for turn in 1..=20 {
        let again = place.bench("small", "again.json", &["--fresh"]);
        let (code, text) = place.gate(&first, &again);
        assert_eq!(code, Some(0), "comparison {turn}: {text}");
    }
}

#[test]
fn each_burden_is_seen_in_the_measure_that_it_burdens() {
    let place = Place::new();
    let before = place.bench("small", "before.json", &[]);
    for (burden, measure, id) in [
        ("seal", "calls.seal", "update/openmls-rustcrypto/flat/16"),
        ("seal", "calls.seal", "send/mls-rs-awslc/flat/16"),
        ("packet", "bytes_up", "send/vodozemac/flat/16"),
        ("packet", "bytes_up", "update/openmls-libcrux/flat/16"),
        ("allocation", "allocations", "update/mls-rs-rustcrypto/flat/16"),
        ("allocation", "allocations", "send/libsignal-rust/flat/16"),
    ] {
        if id.contains("libsignal") && !cfg!(feature = "libsignal") {
            continue;
        }
        let after = place.bench("small", &format!("{burden}.json"), &["--fresh", "--burden", burden]);
        let (code, text) = place.gate(&before, &after);
        assert_eq!(code, Some(1), "{burden}: {text}");
        assert!(
            text.lines().any(|line| line.contains(id) && line.contains(measure)),
            "{burden} is not seen in {measure} of {id}:\n{text}"
        );
        if burden == "seal" {
            assert!(!text.lines().any(|line| line.contains("bytes_up")), "a seal is no packet:\n{text}");
        }
    }
}

#[test]
fn five_percent_more_instructions_are_seen() {
    if e2esm::bench::callgrind::valgrind().is_none() {
        println!("skipped: there is no valgrind here to count instructions");
        return;
    }
    let place = Place::new();
    let before = place.bench("instructions", "before.json", &[]);
    let again = place.bench("instructions", "again.json", &[]);
    let (code, text) = place.gate(&before, &again);
    assert_eq!(code, Some(0), "the same build: {text}");
    let document = e2esm::bench::document::Benchmarks::read(&before).unwrap();
    for measurement in &document.measurements {
        let instructions = measurement.counts["instructions"].low;
        let burden = format!("instructions={}", instructions / 20);
        let only = ["--fresh", "--burden", &burden, "--operation", measurement.operation.label()];
        let after =
            place.bench("instructions", "after.json", &[&only[..], &["--adapter", &measurement.adapter]].concat());
        let (code, text) = place.gate(&before, &after);
        assert_eq!(code, Some(1), "{text}");
        let seen = |line: &str| line.contains(&measurement.id) && line.contains("instructions");
        assert!(text.lines().any(seen), "{}:\n{text}", measurement.id);
    }
}
