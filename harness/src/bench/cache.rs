//! Prepared states on disk: named by what they are made from, checked when they are read, written completely or not at
//! all, in a directory that is kept below a bound by forgetting what was used longest ago.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use crate::results::write_atomically;

/// Bytes that the directory may hold unless somebody says otherwise.
pub const DEFAULT_BOUND: u64 = 4 << 30;

const EXTENSION: &str = "state";
const CHECKSUM: usize = 32;

/// Such a directory.
#[derive(Clone, Debug)]
pub struct Cache {
    directory: PathBuf,
    bound: u64,
}

/// Trouble with the directory. A damaged entry is none: it is forgotten and made again.
#[derive(Debug, thiserror::Error)]
#[error("the cache of prepared states: {}: {source}", path.display())]
pub struct CacheError {
    path: PathBuf,
    source: std::io::Error,
}

/// What a state is made from, in words: two that differ in anything differ here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    label: String,
    hash: String,
}

impl Key {
    /// A key from its parts. The label is for people; the parts decide, the label among them.
    pub fn new(label: &str, parts: &impl Serialize) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(label.as_bytes());
        // A type that cannot be written as JSON would be a fault of ours: then only the label counts.
        hasher.update(serde_json::to_vec(parts).unwrap_or_default());
        let label =
            label.chars().map(|c| if c.is_ascii_alphanumeric() || "-+".contains(c) { c } else { '_' }).collect();
        Self { label, hash: hex::encode(&hasher.finalize()[..8]) }
    }

    fn file(&self) -> String {
        format!("{}.{}.{EXTENSION}", self.label, self.hash)
    }
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its file's name.
    pub name: String,
    /// Bytes on disk.
    pub bytes: u64,
    /// When it was last read or written.
    pub used: SystemTime,
}

impl Cache {
    /// The cache in that directory, which need not exist yet; at most `bound` bytes are kept.
    pub fn new(directory: PathBuf, bound: u64) -> Self {
        Self { directory, bound }
    }

    /// `$E2ESM_CACHE`, or `e2esm` in the user's directory for caches.
    pub fn default_directory() -> PathBuf {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        set("E2ESM_CACHE")
            .or_else(|| set("XDG_CACHE_HOME").map(|path| path.join("e2esm")))
            .or_else(|| set("HOME").map(|path| path.join(".cache").join("e2esm")))
            .unwrap_or_else(|| std::env::temp_dir().join("e2esm-cache"))
    }

    /// Where it is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The bound in bytes.
    pub fn bound(&self) -> u64 {
        self.bound
    }

    /// What is there under this key. A damaged entry, or one of another layout, counts as none.
    pub fn get<T: DeserializeOwned>(&self, key: &Key) -> Option<T> {
        let path = self.directory.join(key.file());
        let bytes = std::fs::read(&path).ok()?;
        let (checksum, body) = bytes.split_at_checked(CHECKSUM)?;
        if Sha256::digest(body).as_slice() != checksum {
            return None;
        }
        // Only so that what is used is not forgotten first: no loss where the time cannot be set.
        if let Ok(file) = std::fs::File::options().append(true).open(&path) {
            let _ = file.set_modified(SystemTime::now());
        }
        postcard::from_bytes(body).ok()
    }

    /// Puts something there, and forgets what no longer fits.
    ///
    /// # Errors
    /// [`CacheError`]; what was there stays whole.
    pub fn put(&self, key: &Key, value: &impl Serialize) -> Result<(), CacheError> {
        let path = self.directory.join(key.file());
        let failed = |source| CacheError { path: path.clone(), source };
        let body = postcard::to_stdvec(value).map_err(|error| failed(std::io::Error::other(error)))?;
        let bytes = [Sha256::digest(&body).as_slice(), &body].concat();
        if bytes.len() as u64 > self.bound {
            return Ok(());
        }
        write_atomically(&path, &bytes).map_err(failed)?;
        self.shrink(&key.file())
    }

    fn shrink(&self, keep: &str) -> Result<(), CacheError> {
        let mut entries = self.entries()?;
        entries.sort_by_key(|entry| entry.used);
        let mut total: u64 = entries.iter().map(|entry| entry.bytes).sum();
        for entry in entries.iter().filter(|entry| entry.name != keep) {
            if total <= self.bound {
                break;
            }
            self.remove(&entry.name)?;
            total -= entry.bytes;
        }
        Ok(())
    }

    /// What is there, by name.
    ///
    /// # Errors
    /// [`CacheError`] if the directory cannot be read; one that does not exist is empty.
    pub fn entries(&self) -> Result<Vec<Entry>, CacheError> {
        let failed = |source| CacheError { path: self.directory.clone(), source };
        let listing = match std::fs::read_dir(&self.directory) {
            Ok(listing) => listing,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut entries = Vec::new();
        for file in listing {
            let file = file.map_err(failed)?;
            let name = file.file_name().to_string_lossy().into_owned();
            // One that another process has just removed is not there.
            let Ok(metadata) = file.metadata() else { continue };
            if name.ends_with(&format!(".{EXTENSION}")) {
                let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                entries.push(Entry { name, bytes: metadata.len(), used });
            }
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// Removes everything; how many entries and bytes that was.
    ///
    /// # Errors
    /// [`CacheError`].
    pub fn clear(&self) -> Result<(usize, u64), CacheError> {
        let entries = self.entries()?;
        for entry in &entries {
            self.remove(&entry.name)?;
        }
        Ok((entries.len(), entries.iter().map(|entry| entry.bytes).sum()))
    }

    fn remove(&self, name: &str) -> Result<(), CacheError> {
        let path = self.directory.join(name);
        match std::fs::remove_file(&path) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(CacheError { path, source }),
        }
    }
}

impl Entry {
    /// How long ago it was used.
    pub fn age(&self) -> Duration {
        self.used.elapsed().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn key(name: &str) -> Key {
        Key::new(name, &1)
    }

    #[test]
    fn what_is_put_is_got_and_what_is_damaged_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::new(directory.path().join("new"), 1 << 20);
        assert_eq!(cache.get::<String>(&key("a")), None);
        cache.put(&key("a"), &"hello".to_owned()).unwrap();
        assert_eq!(cache.get::<String>(&key("a")).as_deref(), Some("hello"));
        assert_eq!(cache.get::<String>(&Key::new("a", &2)), None, "made from something else");
        let path = cache.directory().join(key("a").file());
        let mut bytes = std::fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            bytes[at] ^= 1;
            std::fs::write(&path, &bytes).unwrap();
            assert_eq!(cache.get::<String>(&key("a")), None, "byte {at}");
            bytes[at] ^= 1;
        }
        std::fs::write(&path, &bytes[..10]).unwrap();
        assert_eq!(cache.get::<String>(&key("a")), None);
    }

    #[test]
    fn the_one_used_longest_ago_is_forgotten_first() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::new(directory.path().to_owned(), 350);
        for (name, age) in [("old", 300), ("older", 400)] {
            cache.put(&key(name), &vec![0_u8; 100]).unwrap();
            let file = std::fs::File::options().append(true).open(directory.path().join(key(name).file())).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(age)).unwrap();
        }
        cache.put(&key("new"), &vec![0_u8; 100]).unwrap();
        let names: Vec<_> = cache.entries().unwrap().into_iter().map(|entry| entry.name).collect();
        assert_eq!(names, [key("new").file(), key("old").file()]);
        cache.put(&key("huge"), &vec![0_u8; 1000]).unwrap();
        assert_eq!(cache.entries().unwrap().len(), 2, "what never fits displaces nothing");
        assert_eq!(cache.clear().unwrap().0, 2);
        assert!(cache.entries().unwrap().is_empty());
    }
}
