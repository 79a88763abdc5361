//! Reading vectors: from the binary or from a directory, each problem in one line with its file and field.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Vector;
use super::validate::validate;

/// The largest vector file that is read, in bytes. The longest of ours has a few thousand.
pub const MAX_BYTES: u64 = 1 << 20;

/// A requirement of the catalogue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Requirement {
    /// `R2`; never changes and is never reused.
    pub id: String,
    /// A few words.
    pub title: String,
    /// What is required, in our own words.
    pub statement: String,
    /// What a user of a messenger takes for granted: a missed flaw is measured by this sentence, not by a clause.
    pub expectation: String,
    /// Where it comes from: the document.
    pub document: String,
    /// Where it comes from: the section.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub section: Option<String>,
}

/// Why vectors cannot be used. One line each.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file system said no.
    #[error("{path}: cannot be read: {source}", path = path.display())]
    Unreadable {
        /// Which file or directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Too large to be a vector.
    #[error("{path}: has {bytes} bytes, expected at most {MAX_BYTES}: a vector is one scenario", path = path.display())]
    TooLarge {
        /// Which file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// Not text.
    #[error("{path}: byte {offset} is not UTF-8, expected JSON text", path = path.display())]
    NotUtf8 {
        /// Which file.
        path: PathBuf,
        /// Where, counted from 0.
        offset: usize,
    },
    /// Not JSON, or not of the right shape.
    #[error("{path}: {field}: {message}", path = path.display())]
    Shape {
        /// Which file.
        path: PathBuf,
        /// Which field, or the line where JSON ends.
        field: String,
        /// What was expected.
        message: String,
    },
    /// The right shape, but it makes no sense.
    #[error("{path}: {field}: expected {expected}", path = path.display())]
    Sense {
        /// Which file.
        path: PathBuf,
        /// Which field.
        field: String,
        /// What was expected.
        expected: String,
    },
    /// Nothing to read.
    #[error("{path}: no vectors: expected files THEME/NAME.json", path = path.display())]
    Empty {
        /// Which directory.
        path: PathBuf,
    },
}

/// The vectors and requirements of one source, sorted by id.
#[derive(Clone, Debug)]
pub struct VectorSet {
    /// The scenarios.
    pub vectors: Vec<Vector>,
    /// The requirements that they name.
    pub requirements: Vec<Requirement>,
    /// SHA-256 over all files: names and contents, in order; hex.
    pub sha256: String,
}

/// A file as it was found: its path below the root, for messages, and its bytes.
struct Source {
    path: PathBuf,
    bytes: Vec<u8>,
}

/// The vectors that the binary carries.
///
/// # Errors
/// None in a released binary: the same checks as for a directory.
pub fn embedded() -> Result<VectorSet, LoadError> {
    let sources = e2esm_vectors::files()
        .map(|(path, bytes)| Source { path: Path::new("vectors").join(path), bytes: bytes.to_vec() })
        .collect();
    assemble(Path::new("vectors"), sources)
}

/// The vectors of a directory: `THEME/NAME.json`, and `requirements.json` if it has one (else ours).
///
/// # Errors
/// The first problem found, in the order of the paths.
pub fn directory(root: &Path) -> Result<VectorSet, LoadError> {
    let mut sources = Vec::new();
    for path in json_files(root)? {
        sources.push(read(path)?);
    }
    assemble(root, sources)
}

/// Every problem of a directory: at most one for each file.
pub fn problems(root: &Path) -> (usize, Vec<LoadError>) {
    let paths = match json_files(root) {
        Ok(paths) => paths,
        Err(error) => return (0, vec![error]),
    };
    let mut errors = Vec::new();
    let mut sources = Vec::new();
    for path in paths {
        match read(path) {
            Ok(source) => sources.push(source),
            Err(error) => errors.push(error),
        }
    }
    let requirements = match requirements(root, &sources) {
        Ok(requirements) => requirements,
        Err(error) => {
            errors.push(error);
            return (0, errors);
        }
    };
    let known = requirements.iter().map(|requirement| requirement.id.clone()).collect();
    let mut good = 0;
    for source in sources.iter().filter(|source| is_vector(root, &source.path)) {
        match vector(root, source, &known) {
            Ok(_) => good += 1,
            Err(error) => errors.push(error),
        }
    }
    if good == 0 && errors.is_empty() {
        errors.push(LoadError::Empty { path: root.to_owned() });
    }
    (good, errors)
}

fn assemble(root: &Path, mut sources: Vec<Source>) -> Result<VectorSet, LoadError> {
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    let requirements = requirements(root, &sources)?;
    let known = requirements.iter().map(|requirement| requirement.id.clone()).collect();
    let mut vectors = Vec::new();
    let mut hash = Hasher::default();
    for source in sources.iter().filter(|source| is_vector(root, &source.path)) {
        vectors.push(vector(root, source, &known)?);
        hash.add(&source.path.strip_prefix(root).unwrap_or(&source.path).to_string_lossy(), &source.bytes);
    }
    if vectors.is_empty() {
        return Err(LoadError::Empty { path: root.to_owned() });
    }
    vectors.sort_by(|a: &Vector, b| a.id.cmp(&b.id));
    Ok(VectorSet { vectors, requirements, sha256: hash.finish() })
}

/// `schema/` and `requirements.json` hold other things; everything else is to be a vector.
fn is_vector(root: &Path, path: &Path) -> bool {
    let below = path.strip_prefix(root).unwrap_or(path);
    below != Path::new("requirements.json") && !below.starts_with("schema")
}

fn requirements(root: &Path, sources: &[Source]) -> Result<Vec<Requirement>, LoadError> {
    let own = root.join("requirements.json");
    match sources.iter().find(|source| source.path == own) {
        Some(source) => parse(source),
        None => {
            let bytes = e2esm_vectors::files()
                .find(|(path, _)| *path == Path::new("requirements.json"))
                .map(|(_, bytes)| bytes.to_vec())
                .unwrap_or_default();
            parse(&Source { path: PathBuf::from("requirements.json"), bytes })
        }
    }
}

fn vector(root: &Path, source: &Source, known: &BTreeSet<String>) -> Result<Vector, LoadError> {
    let vector: Vector = parse(source)?;
    let below = source.path.strip_prefix(root).unwrap_or(&source.path).with_extension("");
    let expected = below.iter().map(|part| part.to_string_lossy()).collect::<Vec<_>>().join("/");
    let sense = |field: &str, expected: String| LoadError::Sense {
        path: source.path.clone(),
        field: field.to_owned(),
        expected,
    };
    let plain =
        |part: &str| !part.is_empty() && part.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
    if expected.split('/').count() != 2 || !expected.split('/').all(plain) {
        let place = format!("the file at THEME/NAME.json, of a-z, 0-9 and -, not at `{}`", shortened(&expected));
        return Err(sense("id", place));
    }
    if vector.id != expected {
        return Err(sense("id", format!("`{expected}`, as the file is called, not `{}`", shortened(&vector.id))));
    }
    validate(&vector, known).map_err(|flaw| sense(&flaw.field, shortened(&flaw.expected)))?;
    Ok(vector)
}

fn parse<T: DeserializeOwned>(source: &Source) -> Result<T, LoadError> {
    let text = std::str::from_utf8(&source.bytes)
        .map_err(|error| LoadError::NotUtf8 { path: source.path.clone(), offset: error.valid_up_to() })?;
    let mut json = serde_json::Deserializer::from_str(text);
    let shape = |field: String, message: &dyn std::fmt::Display| LoadError::Shape {
        path: source.path.clone(),
        field,
        message: shortened(&message.to_string()),
    };
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let line = error.inner().line();
        let path = error.path().to_string();
        let field = if path == "." { format!("line {line}") } else { path };
        shape(field, error.inner())
    })?;
    json.end().map_err(|error| shape(format!("line {}", error.line()), &error))?;
    Ok(value)
}

/// Somebody's bytes in our message: one line, not too long.
fn shortened(text: &str) -> String {
    const MAX: usize = 300;
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match line.char_indices().nth(MAX) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    }
}

fn read(path: PathBuf) -> Result<Source, LoadError> {
    let unreadable = |source| LoadError::Unreadable { path: path.clone(), source };
    let found = fs::metadata(&path).map_err(unreadable)?;
    if !found.is_file() {
        return Err(unreadable(std::io::Error::other("it is not a regular file")));
    }
    if found.len() > MAX_BYTES {
        return Err(LoadError::TooLarge { path, bytes: found.len() });
    }
    let mut bytes = Vec::new();
    fs::File::open(&path).and_then(|file| file.take(MAX_BYTES).read_to_end(&mut bytes)).map_err(unreadable)?;
    Ok(Source { path, bytes })
}

fn json_files(root: &Path) -> Result<Vec<PathBuf>, LoadError> {
    let mut files = Vec::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        let unreadable = |source| LoadError::Unreadable { path: directory.clone(), source };
        for entry in fs::read_dir(&directory).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let path = entry.path();
            // A link to a directory is not followed: it may lead back here.
            if entry.file_type().map_err(unreadable)?.is_dir() {
                // Recorded vectors are others' to read, and larger.
                if path != root.join("recorded") {
                    directories.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "json") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

#[derive(Default)]
struct Hasher(sha2::Sha256);

impl Hasher {
    fn add(&mut self, name: &str, bytes: &[u8]) {
        use sha2::Digest;
        for part in [name.as_bytes(), bytes] {
            self.0.update((part.len() as u64).to_be_bytes());
            self.0.update(part);
        }
    }

    fn finish(self) -> String {
        use sha2::Digest;
        hex::encode(self.0.finalize())
    }
}
