//! The command line as a user meets it: exit codes, help, stable output.

use std::process::{Command, Output};

use serde_json::Value;

fn e2esm(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_e2esm")).args(arguments).env("NO_COLOR", "1").output().expect("e2esm runs")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn misuse_is_exit_code_2_and_says_what_was_expected() {
    for (arguments, word) in [
        (vec!["run", "--adapter", "nosuch"], "expected one of openmls-rustcrypto"),
        (vec!["run", "--vector", "nosuch/*"], "e2esm list vectors"),
        (vec!["run", "--timeout=-1"], "expected a number of seconds"),
        (vec!["show", "nosuch/vector"], "e2esm list vectors"),
        (vec!["explain", "removal/cannot-send", "--adapter", "nosuch"], "e2esm list adapters"),
        (vec!["rogues", "--rogue", "nosuch"], "expected one of"),
        (vec!["check", "/no/such/directory"], "/no/such/directory"),
        (vec!["dance"], "unrecognized subcommand"),
        (vec!["peers", "remove"], "--all for every one"),
    ] {
        let output = e2esm(&arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(word), "{arguments:?}: {}", stderr(&output));
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn help_teaches_and_completions_are_there() {
    let help = stdout(&e2esm(&["--help"]));
    for word in ["run", "list", "show", "explain", "check", "rogues", "completions", "Exit codes"] {
        assert!(help.contains(word), "{help}");
    }
    for shell in ["bash", "zsh", "fish"] {
        let script = stdout(&e2esm(&["completions", shell]));
        assert!(script.contains("e2esm") && script.contains("verify-recorded") && script.contains("divergences"));
        // Commands that only the harness calls are not for people.
        for internal in ["bench-worker", "Serve one implementation", "Run a program and end it", "e2esm,keep"] {
            assert!(!script.contains(internal), "{shell}: {internal}");
        }
    }
}

#[test]
fn a_run_writes_its_results_whole_and_says_where() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let out = directory.path().join("deep/results");
    let path = out.to_string_lossy().into_owned();
    let output = e2esm(&["run", "--vector", "authentication/roundtrip", "--adapter", "vodozemac", "--out", &path]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(!stdout(&output).contains('\u{1b}'), "NO_COLOR is respected");
    assert!(stdout(&output).contains("\n1 vector x 1 implementation x 2 layers in "), "{}", stdout(&output));
    let files: Vec<_> =
        std::fs::read_dir(&out).expect("results").map(|entry| entry.expect("an entry").file_name()).collect();
    assert_eq!(files, ["vodozemac.json"], "no temporary file is left");
    let results: e2esm::results::Results =
        serde_json::from_slice(&std::fs::read(out.join("vodozemac.json")).expect("a file")).expect("results");
    assert_eq!(results.vectors.len(), 1);
}

#[test]
fn known_failures_of_ones_own_are_expected_and_nothing_else_is() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = |name: &str| directory.path().join(name).to_string_lossy().into_owned();
    let adapter = format!("'{}' worker --rogue trusts-own-label", env!("CARGO_BIN_EXE_e2esm"));
    let run = |entries: Option<&str>| {
        let (known, out) = (path("known.json"), path("out"));
        let mut arguments = vec!["run", "--adapter", &adapter, "--vector", "participation/ghost-*", "--out", &out];
        if let Some(entries) = entries {
            std::fs::write(&known, entries).expect("a file");
            arguments.extend(["--divergences", &known]);
        }
        e2esm(&arguments)
    };
    let entry = |verdict: &str| {
        format!(
            r#"{{"adapter": "trusts-own-label", "vector": "participation/ghost-server-inject", "layer": "policy",
                 "verdict": "{verdict}", "reason": "made so", "source": "here"}}"#
        )
    };
    let fails = entry("fail");
    assert_eq!(run(None).status.code(), Some(1));
    let output = run(Some(&format!("[{fails}]")));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let results = std::fs::read_to_string(directory.path().join("out/trusts-own-label.json")).expect("results");
    assert!(results.contains("made so"), "the reason stands beside the verdict");
    // An entry that came out otherwise, and one that is about another row.
    let output = run(Some(&format!("[{}]", entry("error"))));
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("came out as `fail`"), "{}", stderr(&output));
    assert_eq!(run(Some(&format!("[{}]", fails.replace("server-inject", "hidden")))).status.code(), Some(1));
    let taken = ("libsignal-rust", "authentication/degenerate-dh");
    for (entries, says) in [
        (format!("[{fails}, {fails}]"), "there is an entry about this already"),
        (
            format!("[{fails}]")
                .replace("trusts-own-label", taken.0)
                .replace("participation/ghost-server-inject", taken.1),
            "already",
        ),
        (format!("[{}]", entry("graded")), "`graded` is no divergence"),
        (format!("[{fails}]").replace("ghost-server-inject", "ghost"), "there is no such vector"),
        (format!("[{fails}]").replace("reason", "because"), "unknown field `because`"),
        (format!("[{fails}] and more"), "trailing characters"),
        (fails.clone(), "known.json: expected a list of entries: invalid type: map"),
        (format!("[{fails}, 7]"), "entry [1]: invalid type: integer"),
    ] {
        let output = run(Some(&entries));
        assert_eq!(output.status.code(), Some(2), "{entries}: {}", stderr(&output));
        assert!(stderr(&output).contains(says) && stderr(&output).contains("known.json"), "{}", stderr(&output));
    }
    let missing = e2esm(&["run", "--divergences", &path("missing.json")]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(stderr(&missing).contains("missing.json"), "{}", stderr(&missing));
}

#[test]
fn entries_about_nobody_are_told_of_and_change_nothing() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = |name: &str| directory.path().join(name).to_string_lossy().into_owned();
    let run = |adapter: &str| {
        let entry = serde_json::json!([{
            "adapter": adapter, "vector": "authentication/roundtrip", "layer": "policy", "verdict": "fail",
            "reason": "made so", "source": "here"
        }]);
        std::fs::write(path("known.json"), entry.to_string()).expect("a file");
        std::fs::write(path("adapters.toml"), "[adapter.mine]\ncommand = ['x']\n").expect("a file");
        let output = e2esm(&[
            "run",
            "--adapter",
            "vodozemac",
            "--vector",
            "authentication/roundtrip",
            "--out",
            &path("out"),
            "--divergences",
            &path("known.json"),
            "--adapters",
            &path("adapters.toml"),
        ]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        stderr(&output)
    };
    let said = run("vodozmac");
    assert!(said.contains("known.json: entries about `vodozmac` have no effect"), "{said}");
    // Others that are known: built in, of the suite's own peers, of one's own file.
    for name in ["mls-rs-rustcrypto", "ts-mls", "mine"] {
        assert!(!run(name).contains("have no effect"), "{name}");
    }
}

#[test]
fn what_all_rows_have_to_say_is_said_once() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().to_string_lossy().into_owned();
    let output = e2esm(&["run", "--adapter", "sh -c 'exit 3'", "--vector", "removal/*", "--out", &path]);
    assert_eq!(output.status.code(), Some(1));
    let lines: Vec<_> = stderr(&output).lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].starts_with("unexpected: sh removal/") && lines[0].contains(" and 19 rows more: "), "{lines:?}");
}

/// Everything that may differ between two runs: times.
fn without_times(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for name in ["milliseconds", "started_unix"] {
                fields.remove(name);
            }
            fields.values_mut().for_each(without_times);
        }
        Value::Array(items) => items.iter_mut().for_each(without_times),
        _ => {}
    }
}

#[test]
fn two_runs_differ_only_in_times_and_random_values() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().to_string_lossy().into_owned();
    let run = |jobs: &str| {
        let output = e2esm(&["run", "--format", "json", "--out", &path, "--jobs", jobs, "--vector", "removal/*"]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let mut value: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        without_times(&mut value);
        for results in value.as_array_mut().expect("one for each implementation") {
            results["run"]["jobs"].take();
            // Random values: lengths of encodings, and session ids in the libraries' own words.
            for name in ["traffic", "observed", "because"] {
                strip(results, name);
            }
        }
        value
    };
    let (one, other) = (run("1"), run("3"));
    assert!(one == other, "two runs differ in more than times and random values");
}

fn strip(value: &mut Value, name: &str) {
    match value {
        Value::Object(fields) => {
            fields.remove(name);
            fields.values_mut().for_each(|value| strip(value, name));
        }
        Value::Array(items) => items.iter_mut().for_each(|value| strip(value, name)),
        _ => {}
    }
}

#[test]
fn junit_has_one_case_for_each_vector_and_layer() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().to_string_lossy().into_owned();
    let output =
        e2esm(&["run", "--format", "junit", "--out", &path, "--adapter", "vodozemac", "--vector", "device-addition/*"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stdout(&output).matches("<testcase ").count(), 18);
}

#[test]
fn junit_says_what_is_expected_and_what_is_expected_no_more() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = |name: &str| directory.path().join(name).to_string_lossy().into_owned();
    let adapter = format!("'{}' worker --rogue trusts-own-label", env!("CARGO_BIN_EXE_e2esm"));
    let run = |adapter: &str, name: &str, vector: &str| {
        let entry = serde_json::json!([{
            "adapter": name, "vector": vector, "layer": "policy", "verdict": "fail", "reason": "made <so>", "source": "here"
        }]);
        std::fs::write(path("known.json"), entry.to_string()).expect("a file");
        e2esm(&[
            "run",
            "--format",
            "junit",
            "--layer",
            "policy",
            "--adapter",
            adapter,
            "--vector",
            vector,
            "--out",
            &path("out"),
            "--divergences",
            &path("known.json"),
        ])
    };
    let output = run(&adapter, "trusts-own-label", "participation/ghost-server-inject");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let marked = r#"<property name="expected divergence" value="made &lt;so&gt;"/>"#;
    assert!(stdout(&output).contains(marked) && stdout(&output).contains(r#"failures="0""#), "{}", stdout(&output));
    let output = run("vodozemac", "vodozemac", "authentication/roundtrip");
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let stale = r#"<failure message="came out as `pass`, but its entry of expected divergences says `fail`: remove or mend it""#;
    assert!(stdout(&output).contains(stale), "{}", stdout(&output));
    assert!(!stdout(&output).contains("expected divergence\""), "{}", stdout(&output));
}

// Without libsignal the table is another one.
#[cfg(feature = "libsignal")]
#[test]
fn the_verdicts_of_all_built_in_implementations() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().to_string_lossy().into_owned();
    let output = e2esm(&["run", "--format", "json", "--out", &path]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let all: Vec<e2esm::results::Results> = serde_json::from_slice(&output.stdout).expect("results");
    let mut lines = Vec::new();
    for results in &all {
        let name = results.adapter.as_ref().map_or("?", |adapter| adapter.name.as_str());
        for vector in &results.vectors {
            let verdicts: Vec<_> = vector.layers.values().map(|result| result.verdict.label()).collect();
            lines.push(format!("{:<44} {name:<20} {}", vector.id, verdicts.join(" | ")));
        }
    }
    lines.sort();
    insta::assert_snapshot!("verdicts", lines.join("\n"));
}
