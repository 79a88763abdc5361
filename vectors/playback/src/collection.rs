//! Files on disk: one vector each, and one collection for each protocol.

use std::fs;
use std::path::{Path, PathBuf};

use e2esm_adapter::Protocol;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::file::Recorded;

/// The largest file that is read: a collection holds at most 10 MB.
const MAX_BYTES: usize = 10 << 20;

/// All vectors of one protocol in one file, for an implementer who takes nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Collection {
    /// Whose vectors these are.
    pub protocol: Protocol,
    /// Sorted by id.
    pub vectors: Vec<Recorded>,
}

/// Why a file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The system's error.
    #[error("{path}: {error}")]
    File {
        /// Which file.
        path: PathBuf,
        /// The system's word.
        error: std::io::Error,
    },
    /// Too large.
    #[error("{path}: {bytes} bytes; a recorded vector or a collection of them has at most {MAX_BYTES}")]
    TooLarge {
        /// Which file.
        path: PathBuf,
        /// How large.
        bytes: usize,
    },
    /// Not what it should be.
    #[error("{path}: at `{field}`: {error}")]
    Format {
        /// Which file.
        path: PathBuf,
        /// Where in it.
        field: String,
        /// What was expected.
        error: serde_json::Error,
    },
}

/// A vector from the bytes of its file; `path` is for the error alone.
///
/// # Errors
/// [`ReadError`]: unknown fields are refused.
pub fn read(path: &Path, bytes: &[u8]) -> Result<Recorded, ReadError> {
    parse(path, bytes)
}

/// A collection from the bytes of its file; `path` is for the error alone.
///
/// # Errors
/// [`ReadError`]: unknown fields are refused.
pub fn read_collection(path: &Path, bytes: &[u8]) -> Result<Collection, ReadError> {
    parse(path, bytes)
}

fn parse<T: DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T, ReadError> {
    let path = path.to_owned();
    if bytes.len() > MAX_BYTES {
        return Err(ReadError::TooLarge { path, bytes: bytes.len() });
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let result =
        serde_path_to_error::deserialize(&mut json).map_err(|error| (error.path().to_string(), error.into_inner()));
    let result = result.and_then(|value| json.end().map(|()| value).map_err(|error| (String::from("."), error)));
    result.map_err(|(field, error)| ReadError::Format { path, field, error })
}

/// Every vector below a directory, or in one file (a vector's or a collection's), each with the file it is from. In a
/// directory, collections are passed over where the vectors themselves lie beside them.
///
/// # Errors
/// One for each file that cannot be read; the others are read all the same.
pub fn read_directory(path: &Path) -> (Vec<(PathBuf, Recorded)>, Vec<ReadError>) {
    let (mut vectors, mut errors) = (Vec::new(), Vec::new());
    let mut collections = Vec::new();
    for file in json_files(path, &mut errors) {
        let bytes = match fs::read(&file) {
            Ok(bytes) => bytes,
            Err(error) => {
                errors.push(ReadError::File { path: file, error });
                continue;
            }
        };
        if is_collection(&bytes) {
            collections.push((file, bytes));
            continue;
        }
        match read(&file, &bytes) {
            Ok(vector) => vectors.push((file, vector)),
            Err(error) => errors.push(error),
        }
    }
    for (file, bytes) in collections {
        match read_collection(&file, &bytes) {
            Ok(collection) => {
                let apart = vectors.iter().any(|(_, vector)| vector.protocol == collection.protocol);
                if !apart {
                    vectors.extend(collection.vectors.into_iter().map(|vector| (file.clone(), vector)));
                }
            }
            Err(error) => errors.push(error),
        }
    }
    vectors.sort_by(|(_, a), (_, b)| a.id.cmp(&b.id));
    (vectors, errors)
}

/// Tells the two kinds of file apart by what only a collection has.
fn is_collection(bytes: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Look {
        vectors: Option<serde::de::IgnoredAny>,
    }
    serde_json::from_slice::<Look>(bytes).is_ok_and(|look| look.vectors.is_some())
}

fn json_files(path: &Path, errors: &mut Vec<ReadError>) -> Vec<PathBuf> {
    if !path.is_dir() {
        return vec![path.to_owned()];
    }
    let mut files = Vec::new();
    match fs::read_dir(path) {
        Ok(entries) => {
            for entry in entries.filter_map(Result::ok) {
                let entry = entry.path();
                if entry.is_dir() {
                    files.extend(json_files(&entry, errors));
                } else if entry.extension().is_some_and(|extension| extension == "json") {
                    files.push(entry);
                }
            }
        }
        Err(error) => errors.push(ReadError::File { path: path.to_owned(), error }),
    }
    files.sort();
    files
}

/// The text of a file: indented JSON with a line feed at its end.
///
/// # Errors
/// Those of the encoder.
pub fn write(value: &impl Serialize) -> Result<String, serde_json::Error> {
    serde_json::to_string_pretty(value).map(|text| text + "\n")
}
