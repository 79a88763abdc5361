//! Malformed vector files, made by mutating good ones: each gives one line with file and field (or line, or byte), exit
//! code 2, never a panic.

use std::path::Path;
use std::process::{Command, Output};

use e2esm::vector::load::{MAX_BYTES, embedded};
use serde_json::{Value, json};

struct Mutant {
    what: String,
    bytes: Vec<u8>,
}

fn check(bytes: &[u8], id: &str) -> Output {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join(format!("{id}.json"));
    std::fs::create_dir_all(path.parent().expect("a theme")).expect("a directory");
    std::fs::write(&path, bytes).expect("a file");
    run(directory.path())
}

fn run(directory: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_e2esm")).arg("check").arg(directory).output().expect("e2esm runs")
}

/// Every place in a JSON value, as a path of keys and indexes.
fn places(value: &Value, here: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                let path = format!("{here}/{key}");
                found.push(path.clone());
                places(value, &path, found);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                let path = format!("{here}/{index}");
                found.push(path.clone());
                places(value, &path, found);
            }
        }
        _ => {}
    }
}

fn mutants(good: &Value, text: &str) -> Vec<Mutant> {
    let mut mutants = Vec::new();
    let mut add = |what: String, bytes: Vec<u8>| mutants.push(Mutant { what, bytes });
    let mut found = Vec::new();
    places(good, "", &mut found);
    for place in &found {
        for (word, wrong) in [
            ("a number", json!(18_446_744_073_709_551_615_u64)),
            ("null", Value::Null),
            ("a list of lists", json!([[[]]])),
            ("an unknown object", json!({"surprise": {"surprise": 1}})),
        ] {
            let mut value = good.clone();
            if let Some(slot) = value.pointer_mut(place) {
                *slot = wrong;
            }
            add(format!("{word} at {place}"), value.to_string().into_bytes());
        }
        let mut value = good.clone();
        if let Some((parent, key)) = place.rsplit_once('/')
            && let Some(Value::Object(fields)) = value.pointer_mut(parent)
        {
            let inner = fields.remove(key).unwrap_or_default();
            add(format!("{place} missing"), value.to_string().into_bytes());
            let mut value = good.clone();
            if let Some(Value::Object(fields)) = value.pointer_mut(parent) {
                fields.remove(key);
                fields.insert(format!("{key}x"), inner);
            }
            add(format!("{place} misspelt"), value.to_string().into_bytes());
        }
    }
    for end in [0, 1, text.len() / 3, text.len() / 2, text.len() - 2] {
        add(format!("cut at {end}"), text.as_bytes()[..end].to_vec());
    }
    for at in [0, text.len() / 2, text.len() - 1] {
        let mut bytes = text.as_bytes().to_vec();
        bytes.insert(at, 0xff);
        add(format!("not UTF-8 at {at}"), bytes);
    }
    add("something after the end".to_owned(), format!("{text}{{}}").into_bytes());
    add("deep nesting".to_owned(), "[".repeat(200_000).into_bytes());
    add("deep nesting in a field".to_owned(), format!("{{\"id\":{}", "[".repeat(200_000)).into_bytes());
    add(
        "a huge number".to_owned(),
        text.replacen("\"steps\"", &format!("\"a\":1e{},\"steps\"", "9".repeat(400)), 1).into_bytes(),
    );
    add("the same field twice".to_owned(), text.replacen("\"title\"", "\"title\":\"x\",\"title\"", 1).into_bytes());
    add("a NUL".to_owned(), text.replacen("alice", "al\u{0}ice", 1).into_bytes());
    mutants
}

#[test]
fn malformed_files_get_one_line_and_exit_code_2() {
    let set = embedded().expect("the embedded vectors are well-formed");
    let mut tried = 0;
    for id in ["removal/cannot-read-next", "authentication/swap-first-contact", "integrity/reencrypt-undelivered"] {
        let vector = set.vectors.iter().find(|vector| vector.id == id).expect("a vector of ours");
        let good = serde_json::to_value(vector).expect("JSON");
        let text = good.to_string();
        assert_eq!(check(text.as_bytes(), id).status.code(), Some(0), "{id} itself is good");
        for mutant in mutants(&good, &text) {
            let output = check(&mutant.bytes, id);
            let stderr = String::from_utf8_lossy(&output.stderr);
            // Free text may hold anything: where the mutation is still a good vector there is nothing to refuse.
            if output.status.code() == Some(0) {
                assert!(stderr.is_empty(), "{id}: {}: {stderr}", mutant.what);
                continue;
            }
            tried += 1;
            assert_eq!(output.status.code(), Some(2), "{id}: {}: {stderr}", mutant.what);
            assert_eq!(stderr.lines().count(), 1, "{id}: {}: {stderr}", mutant.what);
            assert!(
                stderr.starts_with("e2esm: ") && stderr.contains(&format!("{id}.json: ")),
                "{id}: {}: {stderr}",
                mutant.what
            );
            assert!(!stderr.contains("panicked"), "{id}: {}: {stderr}", mutant.what);
            let place = stderr.split(".json: ").nth(1).unwrap_or_default();
            assert!(
                place.split(": ").next().is_some_and(|field| !field.trim().is_empty()),
                "{id}: {}: {stderr}",
                mutant.what
            );
        }
    }
    assert!(tried >= 200, "only {tried} malformed files");
    println!("{tried} malformed files, one line each");
}

#[test]
fn a_file_of_50_megabytes_is_refused_unread() {
    let output = check(&vec![b' '; 50 << 20], "removal/large");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr.contains(&format!("expected at most {MAX_BYTES}")), "{stderr}");
}

#[test]
fn what_the_types_cannot_say_is_refused_with_its_field() {
    let set = embedded().expect("the embedded vectors are well-formed");
    let vector = set.vectors.iter().find(|vector| vector.id == "removal/cannot-read-next").expect("a vector of ours");
    let good = serde_json::to_value(vector).expect("JSON");
    let last = good["steps"].as_array().map_or(0, Vec::len) - 1;
    let mutate = |change: &dyn Fn(&mut Value)| {
        let mut value = good.clone();
        change(&mut value);
        let output = check(value.to_string().as_bytes(), "removal/cannot-read-next");
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let expect = |stderr: String, words: &[&str]| {
        for word in words {
            assert!(stderr.contains(word), "expected `{word}` in: {stderr}");
        }
    };
    expect(mutate(&|v| v["requirements"] = json!(["Z9"])), &["requirements[0]", "Z9"]);
    expect(mutate(&|v| v["id"] = json!("removal/other")), &["id:", "as the file is called"]);
    expect(
        mutate(&|v| v["actors"].as_array_mut().expect("actors").push(json!({"user": "zoe", "devices": ["phone"]}))),
        &["zoe/phone", "never acts"],
    );
    expect(
        mutate(&|v| {
            v["steps"].as_array_mut().expect("steps").remove(last);
        }),
        &["expect", "a positive check after this negative one"],
    );
    expect(
        mutate(&|v| {
            v["steps"]
                .as_array_mut()
                .expect("steps")
                .insert(0, json!({"replay": {"of": "m9", "to": ["bob/phone"], "name": "x"}}))
        }),
        &["steps[0].replay.of", "m9"],
    );
    expect(
        mutate(&|v| {
            v["steps"]
                .as_array_mut()
                .expect("steps")
                .insert(0, json!({"send": {"by": "eve/phone", "group": "friends", "message": "m9"}}))
        }),
        &["steps[0].send.by", "eve/phone"],
    );
    expect(
        mutate(&|v| v["steps"].as_array_mut().expect("steps").insert(0, json!({"teleport": {}}))),
        &["steps[0]", "unknown variant `teleport`"],
    );
}
