//! Programs from outside the workspace: a separately built child, the skeletons, and what installs them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the harness lies in the checkout").to_owned()
}

fn e2esm(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_e2esm"))
        .args(arguments)
        .current_dir(directory)
        .env_remove("E2ESM_PEERS")
        .env("NO_COLOR", "1")
        .output()
        .expect("e2esm runs")
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Builds a package that is no member of the workspace: with the dependencies that are there already, where that is enough.
fn build(directory: &Path, target: &Path) {
    let cargo = |more: &[&str]| {
        Command::new(env!("CARGO"))
            .args(["build", "--release", "--target-dir"])
            .arg(target)
            .args(more)
            .current_dir(directory)
            // Another package's build: this one's settings are none of its business.
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .output()
            .expect("cargo runs")
    };
    if !cargo(&["--offline"]).status.success() {
        let output = cargo(&[]);
        assert!(output.status.success(), "{}", text(&output));
    }
}

fn verdicts(path: &Path) -> Vec<(String, Value, Value)> {
    let bytes = std::fs::read(path).expect("results were written");
    let results: Value = serde_json::from_slice(&bytes).expect("results are JSON");
    let vectors = results["vectors"].as_array().expect("there are vectors");
    vectors
        .iter()
        .map(|vector| {
            let layer = |name: &str| vector["layers"][name]["verdict"].clone();
            (vector["id"].to_string(), layer("library"), layer("policy"))
        })
        .collect()
}

#[test]
fn a_separately_built_child_gives_the_same_verdicts_as_the_built_in_one() {
    let target = checkout().join("target/outside");
    build(&checkout().join("harness/tests/child"), &target);
    let directory = tempfile::tempdir().expect("a temporary directory");
    let child = target.join("release/e2esm-outside-child");
    let manifest = format!("[adapter.child]\ncommand = ['{}']\n", child.display());
    std::fs::write(directory.path().join("adapters.toml"), manifest).expect("a file");
    let output = e2esm(directory.path(), &["run", "--adapter", "child", "--adapter", "vodozemac", "--out", "out"]);
    assert!(output.status.success(), "{}", text(&output));
    let [child, built_in] =
        ["child", "vodozemac"].map(|name| verdicts(&directory.path().join(format!("out/{name}.json"))));
    assert!(child.len() >= 50 && child.iter().any(|(_, _, policy)| policy == "pass"), "{child:?}");
    assert_eq!(child, built_in);
    // By its path it would be taken for the built-in one: it says so, and plays nothing.
    let path = target.join("release/e2esm-outside-child").display().to_string();
    let output = e2esm(directory.path(), &["run", "--adapter", &path, "--out", "out"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output).contains("calls itself `vodozemac`"), "{}", text(&output));
}

fn skeleton(language: &str, ready: impl FnOnce(&Path) -> Option<String>) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let place = directory.path().join("mine");
    let output = e2esm(directory.path(), &["new-adapter", "--language", language, "mine"]);
    assert!(output.status.success(), "{}", text(&output));
    // Nothing is overwritten.
    let again = e2esm(directory.path(), &["new-adapter", "--language", language, "mine"]);
    assert_eq!(again.status.code(), Some(2), "{}", text(&again));
    let Some(command) = ready(&place) else {
        eprintln!("there is no {language} on this machine: its skeleton was written, and not run");
        return;
    };
    let output = e2esm(&place, &["conformance", &command, "--format", "json"]);
    assert!(output.status.success(), "{}", text(&output));
    let points: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let outcomes: Vec<_> = points["points"].as_array().expect("a list").iter().map(|point| &point["outcome"]).collect();
    assert!(outcomes.iter().filter(|outcome| **outcome == "kept").count() >= 16, "{}", text(&output));
    let output = e2esm(&place, &["run", "--adapter", &command, "--out", "out"]);
    assert!(output.status.success(), "{}", text(&output));
    let all = verdicts(&place.join("out/my-adapter.json"));
    assert!(
        all.len() >= 50 && all.iter().all(|(_, library, policy)| [library, policy] == ["unsupported"; 2]),
        "{all:?}"
    );
}

fn runs(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

#[test]
fn the_python_skeleton_runs_and_says_that_it_can_do_nothing() {
    skeleton("python", |_| runs("python3").then(|| "python3 main.py".to_owned()));
}

#[test]
fn the_node_skeleton_runs_and_says_that_it_can_do_nothing() {
    skeleton("node", |_| runs("node").then(|| "node main.mjs".to_owned()));
}

#[test]
fn the_rust_skeleton_runs_and_says_that_it_can_do_nothing() {
    skeleton("rust", |place| {
        let target = checkout().join("target/outside");
        build(place, &target);
        Some(target.join("release/my-adapter").display().to_string())
    });
}

/// A file of adapters whose installation needs nothing but a shell.
const MANIFEST: &str = r#"
[adapter.copied]
about = "copied, then built"
source = "source"
install = [["sh", "-c", "cat part > whole"], ["sh", "-c", "test ! -e fail"]]
command = ["./run.sh"]
[adapter.sharing]
shares = "copied"
command = ["./run.sh", "{into}"]
[adapter.needy]
source = "source"
command = ["./run.sh"]
needs = [{ what = "a program that nobody has", check = ["no-such-program-anywhere"], get = "ask around" }]
"#;

fn listed(directory: &Path) -> Vec<(String, String)> {
    let output = e2esm(directory, &["peers", "list", "--peers", "peers", "--format", "json"]);
    let rows: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(&output)));
    let rows = rows.as_array().expect("a list").iter();
    rows.map(|row| {
        (row["name"].as_str().unwrap_or_default().to_owned(), row["state"].as_str().unwrap_or_default().to_owned())
    })
    .filter(|(name, _)| ["copied", "sharing", "needy"].contains(&name.as_str()))
    .collect()
}

fn states(of: [&str; 3]) -> Vec<(String, String)> {
    ["copied", "needy", "sharing"]
        .into_iter()
        .zip(of)
        .map(|(name, state)| (name.to_owned(), state.to_owned()))
        .collect()
}

#[test]
fn peers_are_installed_whole_or_not_at_all_and_twice_is_no_harm() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let here = directory.path();
    std::fs::create_dir(here.join("source")).expect("a directory");
    std::fs::write(here.join("source/part"), "1").expect("a file");
    std::fs::write(here.join("adapters.toml"), MANIFEST).expect("a file");
    let install = |names: &[&str]| e2esm(here, &[&["peers", "install", "--peers", "peers"], names].concat());
    assert_eq!(listed(here), states(["missing", "missing", "missing"]));
    // What one shares, its owner installs.
    let output = install(&["sharing"]);
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(listed(here), states(["installed", "missing", "installed"]));
    let whole = || std::fs::read_to_string(here.join("peers/copied/whole")).expect("it was made");
    assert_eq!(whole(), "1");
    assert!(!here.join("source/whole").exists(), "nothing is written where the source is");
    let output = install(&["copied"]);
    assert!(output.status.success() && text(&output).contains("there already"), "{}", text(&output));
    // A change of the source shows.
    std::fs::write(here.join("source/part"), "2").expect("a file");
    assert_eq!(listed(here), states(["outdated", "missing", "outdated"]));
    let refused = e2esm(here, &["run", "--adapter", "copied", "--peers", "peers", "--out", "out"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused).contains("peers install copied"), "{}", text(&refused));
    // An installation that fails leaves the former one as it was, and nothing beside it.
    std::fs::write(here.join("source/fail"), "").expect("a file");
    let output = install(&["copied"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("`sh -c test ! -e fail` ended with exit status: 1"), "{}", text(&output));
    assert_eq!(whole(), "1");
    let left: Vec<_> =
        std::fs::read_dir(here.join("peers")).expect("a directory").flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left, ["copied"]);
    std::fs::remove_file(here.join("source/fail")).expect("it is there");
    assert!(install(&["copied"]).status.success());
    assert_eq!(whole(), "2");
    // What the machine lacks is said, with how to get it, and the others are installed all the same.
    let output = install(&["needy", "copied"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("it needs a program that nobody has (ask around)"), "{}", text(&output));
    assert!(e2esm(here, &["peers", "remove", "copied", "--peers", "peers"]).status.success());
    assert_eq!(listed(here), states(["missing", "missing", "missing"]));
}

#[test]
fn what_is_wrong_with_an_adapters_file_is_said_with_the_field() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    for (manifest, says) in [
        ("[adapter.x]\n", "adapter.x: missing field `command`"),
        ("[adapter.x]\ncommand = []\n", "adapter.x.command: expected a program"),
        ("[adapter.x]\ncommand = 'node main.mjs'\n", "adapter.x.command: invalid type: string"),
        ("[adapter.x]\ncommand = ['x']\nsurprise = 1\n", "unknown field `surprise`"),
        ("[adapter.\"a b\"]\ncommand = ['x']\n", "adapter.a b: a name is of a-z"),
        ("[adapter.vodozemac]\ncommand = ['x']\n", "adapter.vodozemac: the name is taken"),
        ("[adapter.all]\ncommand = ['x']\n", "adapter.all: the name is taken"),
        ("[adapter.x]\ncommand = ['x']\nshares = 'y'\n", "adapter.x.shares: `y` is no adapter"),
        ("[adapter.x]\ncommand = ['x']\nsource = 's'\ndirectory = 'd'\n", "it runs where it is copied to"),
        ("[adapter.x]\ncommand = ['x']\ninstall = [[]]\n", "adapter.x.install: an empty command"),
        ("adapter = \n", "adapters.toml"),
    ] {
        std::fs::write(directory.path().join("adapters.toml"), manifest).expect("a file");
        let output = e2esm(directory.path(), &["run", "--adapter", "x", "--out", "out"]);
        assert_eq!(output.status.code(), Some(2), "{manifest}");
        assert!(text(&output).contains(says), "{manifest}: {}", text(&output));
    }
    for (adapter, says) in [
        ("nobody", "there is no implementation `nobody`"),
        ("./no/such/program", "results"),
        ("node 'main", "a quotation mark without its partner"),
    ] {
        std::fs::remove_file(directory.path().join("adapters.toml")).unwrap_or_default();
        let output = e2esm(
            directory.path(),
            &["run", "--adapter", adapter, "--vector", "authentication/oob-match", "--out", "results"],
        );
        assert_ne!(output.status.code(), Some(0), "{adapter}");
        assert!(text(&output).contains(says), "{adapter}: {}", text(&output));
    }
}

#[test]
fn built_in_adapters_keep_to_the_protocol_and_a_child_that_does_not_is_told_where() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    for adapter in e2esm::registry::built_in() {
        let name = adapter.describe().name;
        let output = e2esm(directory.path(), &["conformance", &name]);
        assert!(output.status.success(), "{}", text(&output));
        assert!(text(&output).contains("24 kept, 0 broken, 1 skipped of 25"), "{}", text(&output));
    }
    // It answers everything with the same words.
    let parrot = r#"while read line; do echo '{"id":7,"reply":{"ok":{"done":{}}}}'; done"#;
    std::fs::write(directory.path().join("parrot.sh"), parrot).expect("a file");
    let output = e2esm(directory.path(), &["conformance", "sh parrot.sh", "--timeout", "3"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("broken  a verb that does not exist is `unsupported`"), "{}", text(&output));
    assert!(text(&output).contains("it answered request 7 to request 1"), "{}", text(&output));
}
