//! The vectors of the E2ESM suite, embedded: one dev-dependency gives an implementer's own tests all of them.
//!
//! This crate holds data only. The types, the schema's source and the player are in the crate `e2esm`.

use std::path::Path;

use include_dir::{Dir, include_dir};

static ROOT: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR");

/// Every JSON file: its path below the root, such as `removal/cannot-send.json` or `requirements.json`, and its bytes.
pub fn files() -> impl Iterator<Item = (&'static Path, &'static [u8])> {
    fn below(directory: &'static Dir<'static>) -> Box<dyn Iterator<Item = (&'static Path, &'static [u8])>> {
        Box::new(directory.files().map(|file| (file.path(), file.contents())).chain(directory.dirs().flat_map(below)))
    }
    below(&ROOT).filter(|(path, _)| path.extension().is_some_and(|extension| extension == "json"))
}
