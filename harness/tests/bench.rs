//! Runs of benchmarks: what is written, what an interruption costs, what a wrong answer comes to.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use e2esm::bench::document::{Benchmarks, Outcome};

const TIERS: &str = r#"
[tiers.some]
about = "for this test"
sampling = { warm_up = 1, counted = 2, least = 3, most = 5, seconds = 0.1, instructions_up_to = 0 }
sweep = [{ operations = ["first-send", "send", "receive", "update", "join", "load"], sizes = [4, 5] }]
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

    fn arguments(&self, more: &[&str]) -> Vec<String> {
        let (tiers, out) = (self.path("tiers.toml"), self.path("out.json"));
        let fixed = ["bench", "--tier", "some", "--tiers", tiers.to_str().unwrap(), "--out", out.to_str().unwrap()];
        fixed.iter().chain(more).map(ToString::to_string).collect()
    }

    fn command(&self, arguments: &[String]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_e2esm"));
        command.args(arguments).env("E2ESM_CACHE", self.path("cache")).env("NO_COLOR", "1");
        command
    }

    fn bench(&self, more: &[&str]) -> Output {
        self.command(&self.arguments(more)).output().unwrap()
    }

    fn document(&self) -> Benchmarks {
        Benchmarks::read(&self.path("out.json")).unwrap()
    }

    /// Starts a run and lets it come to a few measurements.
    fn begin(&self) -> Child {
        let mut child = self.command(&self.arguments(&[])).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(120);
        while Benchmarks::read(&self.path("out.json")).map_or(0, |document| document.measurements.len()) < 3 {
            assert!(Instant::now() < deadline && child.try_wait().unwrap().is_none(), "the run does not run");
            std::thread::sleep(Duration::from_millis(20));
        }
        child
    }

    fn goes_on(&self, interrupted: &Benchmarks) {
        assert!(!interrupted.complete && interrupted.measurements.len() >= 3);
        let again = self.bench(&["--format", "none"]);
        assert_eq!(again.status.code(), Some(2));
        let text = String::from_utf8_lossy(&again.stderr).into_owned();
        assert!(text.contains("--resume") && text.contains("--fresh"), "{text}");
        let resumed = self.bench(&["--resume", "--format", "none"]);
        assert!(resumed.status.success(), "{}", String::from_utf8_lossy(&resumed.stderr));
        let complete = self.document();
        assert!(complete.complete);
        assert_eq!(complete.measurements.len(), 2 * 6 * e2esm::registry::built_in().len());
        for measurement in &interrupted.measurements {
            let kept = complete.measurements.iter().find(|kept| kept.id == measurement.id).unwrap();
            assert_eq!(kept, measurement, "what was measured is not measured again");
        }
    }
}

fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

fn whole(path: &Path) -> Benchmarks {
    Benchmarks::read(path).unwrap()
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_keeps_what_it_has_and_goes_on() {
    let place = Place::new();
    let mut child = place.begin();
    signal(&child, "-INT");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    place.goes_on(&place.document());
}

#[cfg(unix)]
#[test]
fn a_killed_run_keeps_what_it_has_and_goes_on() {
    let place = Place::new();
    let mut child = place.begin();
    signal(&child, "-KILL");
    assert_eq!(child.wait().unwrap().code(), None);
    place.goes_on(&place.document());
}

#[cfg(unix)]
#[test]
fn a_full_disk_is_told_and_what_was_written_is_whole() {
    let place = Place::new();
    let complete = place.bench(&["--format", "none"]);
    assert!(complete.status.success(), "{}", String::from_utf8_lossy(&complete.stderr));
    let size = std::fs::metadata(place.path("out.json")).unwrap().len();
    std::fs::remove_file(place.path("out.json")).unwrap();
    // No file may grow beyond two thirds of what the results need: as on a disk with no more room than that. The prepared
    // states are there already. Shells count in blocks of 512 bytes here.
    let limit = format!("trap '' XFSZ; ulimit -f {}; exec \"$0\" \"$@\"", size * 2 / 3 / 512);
    let output = Command::new("sh")
        .args(["-c", &limit, env!("CARGO_BIN_EXE_e2esm")])
        .args(place.arguments(&["--format", "none"]))
        .env("E2ESM_CACHE", place.path("cache"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("out.json") && text.contains("what was there before is whole"), "{text}");
    let kept = whole(&place.path("out.json"));
    assert!(!kept.complete && !kept.measurements.is_empty());
    place.goes_on(&kept);
}

#[test]
fn a_wrong_answer_voids_the_timing_and_is_told() {
    let place = Place::new();
    let chosen = ["--operation", "first-send", "--size", "4", "--burden", "wrong-answer", "--format", "none"];
    let output = place.bench(&chosen);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    for measurement in place.document().measurements {
        assert!(matches!(measurement.outcome, Outcome::Void(_)), "{measurement:?}");
        assert!(measurement.time.is_none() && measurement.counts.is_empty(), "{measurement:?}");
        assert!(text.contains(&format!("{}: void", measurement.id)), "{text}");
    }
}

#[test]
fn a_run_can_be_made_selection_by_selection() {
    let place = Place::new();
    for (adapter, more) in [("vodozemac", None), ("openmls-rustcrypto", Some("--resume"))] {
        let mut arguments = vec!["--operation", "send", "--size", "4", "--format", "none", "--adapter", adapter];
        arguments.extend(more);
        let output = place.bench(&arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let document = place.document();
    assert_eq!(document.measurements.len(), 2);
    assert!(document.measurements.iter().all(|measurement| document.adapters.contains_key(&measurement.adapter)));
}

#[test]
fn interleaved_pairs_are_taken_with_another_program() {
    let place = Place::new();
    let only = ["--operation", "send", "--adapter", "vodozemac", "--size", "4", "--format", "none"];
    let against = ["--against", env!("CARGO_BIN_EXE_e2esm")];
    let output = place.bench(&[&only[..], &against[..]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let document = place.document();
    let ratio = document.measurements[0].against.unwrap();
    assert!(ratio.samples >= 3 && ratio.median > 0.0, "{ratio:?}");
}

#[test]
fn a_damaged_state_is_made_again_and_the_cache_can_be_listed_and_cleared() {
    let place = Place::new();
    let only = ["--operation", "send", "--adapter", "openmls-rustcrypto", "--size", "4", "--format", "none"];
    assert!(place.bench(&only).status.success());
    let entries = |place: &Place| -> Vec<PathBuf> {
        std::fs::read_dir(place.path("cache")).unwrap().map(|entry| entry.unwrap().path()).collect()
    };
    let [state] = &entries(&place)[..] else { panic!("{:?}", entries(&place)) };
    let good = std::fs::read(state).unwrap();
    let mut bad = good.clone();
    let middle = bad.len() / 2;
    bad[middle] ^= 1;
    std::fs::write(state, &bad).unwrap();
    assert!(place.bench(&only).status.success());
    assert_ne!(std::fs::read(state).unwrap(), bad, "the damaged state has been replaced");

    let cache = |action: &str| {
        let arguments: Vec<String> = ["cache", action].map(str::to_owned).into();
        String::from_utf8(place.command(&arguments).output().unwrap().stdout).unwrap()
    };
    assert!(cache("list").contains("openmls-rustcrypto-flat-4-first"));
    assert!(cache("clear").starts_with("removed 1 prepared states"));
    assert!(entries(&place).is_empty());
}

#[test]
fn misuse_is_told_in_one_line() {
    let place = Place::new();
    for (arguments, expected) in [
        (&["--operation", "fly"][..], "`fly` is none of create"),
        (&["--adapter", "nobody"][..], "there is no implementation `nobody`: expected one of openmls-rustcrypto"),
        (&["--state", "full", "--adapter", "vodozemac"][..], "nothing in the tier `some` fits"),
        (&["--against", "no-such-revision"][..], "neither a program nor a revision"),
    ] {
        let output = place.bench(arguments);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains(expected), "{text}");
    }
    let output = place.command(&["bench", "--tier", "slow"].map(str::to_owned)).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("has no tier `slow`: expected one of exponents, extended, gate, nightly, quick"), "{text}");
}
