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
    // Who only shares an installation does not take it from its owner, and nothing is removed unasked.
    for (names, says) in [(&["sharing"][..], "`sharing` uses the installation of `copied`"), (&[], "--all")] {
        let output = e2esm(here, &[&["peers", "remove", "--peers", "peers"], names].concat());
        assert_eq!(output.status.code(), Some(2), "{}", text(&output));
        assert!(text(&output).contains(says), "{}", text(&output));
        assert_eq!(listed(here), states(["installed", "missing", "installed"]));
    }
    assert!(e2esm(here, &["peers", "remove", "sharing", "copied", "--peers", "peers"]).status.success());
    assert_eq!(listed(here), states(["missing", "missing", "missing"]));
    assert!(install(&["copied"]).status.success());
    assert!(e2esm(here, &["peers", "remove", "--all", "--peers", "peers"]).status.success());
    assert_eq!(listed(here), states(["missing", "missing", "missing"]));
}

#[test]
fn what_is_made_beside_a_source_is_no_part_of_it() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let here = directory.path();
    let manifest =
        "[adapter.copied]\nsource = '.'\ninstall = [['sh', '-c', 'cat part > whole']]\ncommand = ['./run.sh']\n";
    std::fs::write(here.join("adapters.toml"), manifest).expect("a file");
    std::fs::write(here.join("part"), "1").expect("a file");
    let make = |name: &str| {
        std::fs::create_dir_all(here.join(name)).expect("a directory");
        std::fs::write(here.join(name).join("made"), name).expect("a file");
    };
    let install = |root: &str| e2esm(here, &["peers", "install", "copied", "--peers", root]);
    let installed = [("copied".to_owned(), "installed".to_owned())];
    make("results");
    let output = install("peers");
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(listed(here), installed);
    for name in ["results", "__pycache__", "node_modules", "target", "venv", ".venv", ".git", "peers/other"] {
        make(name);
    }
    assert_eq!(listed(here), installed);
    assert!(text(&install("peers")).contains("there already"));
    // Not even where the installations lie among the source.
    for _ in 0..2 {
        let output = e2esm(here, &["peers", "install", "copied", "--force", "--peers", "."]);
        assert!(output.status.success(), "{}", text(&output));
    }
    let output = install(".");
    assert!(output.status.success() && text(&output).contains("there already"), "{}", text(&output));
    for root in ["copied", "peers/copied"] {
        let mut copied: Vec<_> = std::fs::read_dir(here.join(root))
            .expect("it was installed")
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .filter(|name| name != "peers")
            .collect();
        copied.sort();
        assert_eq!(copied, [".e2esm-installed.json", "adapters.toml", "part", "whole"], "{root}");
    }
    assert!(!here.join("peers/copied/peers").exists());
    // A directory with any other name is source.
    make("more");
    assert_eq!(listed(here), [("copied".to_owned(), "outdated".to_owned())]);
}

#[cfg(target_os = "linux")]
#[test]
fn what_a_dead_installation_left_is_removed_and_a_living_ones_is_not() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let here = directory.path();
    std::fs::write(here.join("adapters.toml"), MANIFEST).expect("a file");
    std::fs::create_dir(here.join("source")).expect("a directory");
    std::fs::write(here.join("source/part"), "1").expect("a file");
    for name in [".installing-dead", ".installing-living", "other"] {
        std::fs::create_dir_all(here.join("peers").join(name).join("copy")).expect("a directory");
        std::fs::write(here.join("peers").join(name).join("copy/part"), "1").expect("a file");
    }
    let living = std::fs::File::open(here.join("peers/.installing-living")).expect("it is there");
    living.try_lock().expect("nobody else has it");
    let left = || {
        let output = e2esm(here, &["peers", "install", "copied", "--force", "--peers", "peers"]);
        assert!(output.status.success(), "{}", text(&output));
        let mut left: Vec<_> = std::fs::read_dir(here.join("peers"))
            .expect("a directory")
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        left.sort();
        left
    };
    assert_eq!(left(), [".installing-living", "copied", "other"]);
    drop(living);
    assert_eq!(left(), ["copied", "other"]);
}

#[cfg(target_os = "linux")]
#[test]
fn an_interrupted_installation_ends_its_step_and_leaves_nothing() {
    use std::time::{Duration, Instant};

    let directory = tempfile::tempdir().expect("a temporary directory");
    let here = directory.path();
    std::fs::create_dir(here.join("source")).expect("a directory");
    // The step tells of a process that it has started, and then would never end.
    let told = here.join("told");
    let manifest = format!(
        "[adapter.slow]\nsource = 'source'\ncommand = ['x']\n\
         install = [['sh', '-c', 'sleep 1000 & echo $! > \"{0}.part\"; mv \"{0}.part\" \"{0}\"; wait']]\n",
        told.display()
    );
    std::fs::write(here.join("adapters.toml"), manifest).expect("a file");
    let installing = Command::new(env!("CARGO_BIN_EXE_e2esm"))
        .args(["peers", "install", "slow", "--peers", "peers"])
        .current_dir(here)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("e2esm runs");
    let begun = Instant::now();
    while !told.exists() {
        assert!(begun.elapsed() < Duration::from_secs(60), "the step did not begin");
        std::thread::sleep(Duration::from_millis(10));
    }
    let kill = format!("kill -INT {}", installing.id());
    assert!(Command::new("sh").args(["-c", &kill]).status().expect("a shell").success());
    let output = installing.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(130), "{}", text(&output));
    assert!(text(&output).contains("slow was not installed"), "{}", text(&output));
    assert_eq!(std::fs::read_dir(here.join("peers")).expect("a directory").count(), 0);
    let started = std::fs::read_to_string(&told).expect("it was told");
    let lives = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", started.trim())).unwrap_or_default();
        stat.contains("sleep") && !stat.contains(") Z ") && !stat.contains(") X ")
    };
    while lives() {
        assert!(begun.elapsed() < Duration::from_secs(60), "what the step had started goes on");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// This program, as one from outside that calls itself by the name of a rogue.
fn rogue(before: &str, name: &str) -> String {
    format!("{before}'{}' worker --rogue {name}", env!("CARGO_BIN_EXE_e2esm"))
}

fn run(directory: &Path, adapters: &[&str]) -> Output {
    let mut arguments = vec!["run", "--vector", "authentication/oob-match", "--out", "out"];
    for adapter in adapters {
        arguments.extend(["--adapter", adapter]);
    }
    e2esm(directory, &arguments)
}

#[test]
fn two_programs_of_one_name_are_not_taken_for_each_other() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let here = directory.path();
    let (one, other) = (rogue("", "trusts-own-label"), rogue("env ", "trusts-own-label"));
    let output = run(here, &[&one, &other]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    let says = format!("`{one}` and `{other}` are both called `trusts-own-label`");
    assert!(text(&output).contains(&says) && text(&output).contains("adapters.toml"), "{}", text(&output));
    // The same twice is one.
    let output = run(here, &[&one, &one]);
    assert!(text(&output).contains("1 vector x 1 implementation x"), "{}", text(&output));
    // A name in an adapters.toml is another's only where that one runs too.
    std::fs::write(here.join("adapters.toml"), "[adapter.trusts-own-label]\ncommand = ['no-such-program']\n")
        .expect("a file");
    let output = run(here, &[&one]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    for asked in [[one.as_str(), "trusts-own-label"], ["trusts-own-label", &one]] {
        let output = run(here, &asked);
        assert_eq!(output.status.code(), Some(2), "{}", text(&output));
        let says = format!("`trusts-own-label` and `{one}` are both called");
        assert!(text(&output).contains(&says), "{}", text(&output));
    }
}

#[cfg(unix)]
#[test]
fn programs_that_say_no_name_get_one_that_nobody_has() {
    use std::os::unix::fs::PermissionsExt;

    let directory = tempfile::tempdir().expect("a temporary directory");
    let here = directory.path();
    for name in ["vodozemac", "x/vodozemac", "x/trusts-own-label", "x/mine"] {
        let path = here.join(name);
        std::fs::create_dir_all(path.parent().expect("one")).expect("a directory");
        std::fs::write(&path, "#!/bin/sh\nexit 3\n").expect("a file");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("it can be run");
    }
    std::fs::write(here.join("adapters.toml"), "[adapter.mine]\ncommand = ['no-such-program']\n").expect("a file");
    let named = rogue("", "trusts-own-label");
    let asked = ["./vodozemac", "vodozemac", "x/vodozemac", "x/trusts-own-label", &named, "x/mine"];
    let output = run(here, &asked);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let mut results: Vec<_> = std::fs::read_dir(here.join("out"))
        .expect("results")
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().trim_end_matches(".json").to_owned())
        .collect();
    results.sort();
    let all = ["mine-2", "trusts-own-label", "trusts-own-label-2", "vodozemac", "vodozemac-2", "vodozemac-3"];
    assert_eq!(results, all);
    let library = |name: &str| verdicts(&here.join(format!("out/{name}.json")))[0].1.clone();
    assert_eq!(["vodozemac", "vodozemac-2", "vodozemac-3"].map(library), ["pass", "error", "error"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_directory_that_no_command_can_name_is_refused() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let directory = tempfile::tempdir().expect("a temporary directory");
    let here = directory.path();
    let manifest = "[adapter.plain]\ncommand = ['true']\n[adapter.placed]\ncommand = ['true', '{into}']\n\
                    [adapter.built]\ncommand = ['true']\ninstall = [['touch', '{into}/x']]\n";
    std::fs::write(here.join("adapters.toml"), manifest).expect("a file");
    let at = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_e2esm"))
            .args(arguments)
            .arg("--peers")
            .arg(OsStr::from_bytes(b"peers\xff"))
            .current_dir(here)
            .output()
            .expect("e2esm runs")
    };
    let run = |name: &str| at(&["run", "--adapter", name, "--vector", "authentication/oob-match", "--out", "out"]);
    let output = run("placed");
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(text(&output).contains("adapter.placed: `{into}` would be"), "{}", text(&output));
    assert!(text(&output).contains("not UTF-8"), "{}", text(&output));
    let output = at(&["peers", "install", "built"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("adapter.built: `{into}` would be"), "{}", text(&output));
    // Who does not use it is not concerned, and a list is a list.
    assert!(!text(&run("plain")).contains("UTF-8"));
    let output = at(&["peers", "list", "--format", "json"]);
    assert!(output.status.success(), "{}", text(&output));
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
        (
            "[adapter.x]\ncommand = ['x']\ndirectory = 'nowhere'\n",
            "adapters.toml: adapter.x.directory: there is no directory",
        ),
        ("[adapter.x]\ncommand = ['x']\ndirectory = 'nowhere'\n", "/nowhere"),
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
