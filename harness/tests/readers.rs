//! The readers in other languages agree with every recorded vector of the protocols that they read. They need Python 3 with
//! `cryptography` (E2ESM_PYTHON names the interpreter), and libolm for its own; where one is absent, the test says so.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The reader's exit code for "something that I need is absent".
const ABSENT: i32 = 3;

fn readers() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../vectors/readers")
}

/// What a reader prints, or nothing if it cannot be run here.
fn run(script: &str, arguments: &[&str]) -> Option<(bool, String)> {
    let python = std::env::var("E2ESM_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let output = match Command::new(&python).arg(readers().join(script)).args(arguments).output() {
        Ok(output) => output,
        Err(error) => {
            println!("{python} is absent ({error}): {script} was NOT run");
            return None;
        }
    };
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.code() == Some(ABSENT) {
        println!("{script} was NOT run: {text}");
        return None;
    }
    println!("{text}");
    Some((output.status.success(), text))
}

#[test]
fn the_python_reader_agrees_with_every_file_that_it_reads() {
    let Some((agrees, text)) = run("reader.py", &[]) else { return };
    assert!(agrees, "{text}");
    assert!(text.contains("mls") && text.contains("megolm"), "{text}");
}

#[test]
fn libolm_agrees_with_every_olm_and_megolm_file() {
    let Some((agrees, text)) = run("libolm.py", &[]) else { return };
    assert!(agrees, "{text}");
    assert!(text.contains("olm") && text.contains("megolm"), "{text}");
}

/// A reader that agrees with anything would be worth nothing.
#[test]
fn the_readers_notice_a_corrupted_file() {
    for (script, protocol) in
        [("reader.py", "mls"), ("reader.py", "megolm"), ("libolm.py", "olm"), ("libolm.py", "megolm")]
    {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../vectors/recorded/{protocol}.json"));
        let text = std::fs::read_to_string(&path).expect("a collection");
        let mut collection: serde_json::Value = serde_json::from_str(&text).expect("a collection is JSON");
        let mut turned = 0;
        for vector in collection["vectors"].as_array_mut().expect("vectors") {
            for step in vector["deliveries"].as_array_mut().expect("deliveries") {
                let plaintext = &mut step["expected"]["accepted"]["plaintext"];
                if plaintext.is_string() {
                    *plaintext = serde_json::json!("00");
                    turned += 1;
                }
                // Indexing has made what was not there.
                if let Some(expected) = step["expected"].as_object_mut()
                    && expected.len() > 1
                {
                    expected.remove("accepted");
                }
                if let Some(accepted) = step["expected"].get_mut("accepted").and_then(|it| it.as_object_mut()) {
                    accepted.retain(|_, value| !value.is_null());
                }
            }
        }
        assert!(turned > 0, "{protocol}: nothing was read in any vector");
        let directory = tempfile::tempdir().expect("a temporary directory");
        let corrupted = directory.path().join(format!("{protocol}.json"));
        std::fs::write(&corrupted, collection.to_string()).expect("a file");
        let Some((agrees, text)) = run(script, &[corrupted.to_str().expect("a path of text")]) else { continue };
        assert!(!agrees, "{script} agrees with a corrupted {protocol}: {text}");
    }
}
