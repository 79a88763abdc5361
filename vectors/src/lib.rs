//! The vectors of the E2ESM suite, embedded: one dev-dependency gives an implementer's own tests all of them.
//!
//! This crate holds data only. The types of scenarios, their schema's source and their player are in the crate `e2esm`;
//! those of recorded vectors in `e2esm-playback`.

use std::path::Path;

use include_dir::{Dir, include_dir};

static REQUIREMENTS: &[u8] = include_bytes!("../requirements.json");

/// One directory for each theme.
static THEMES: [Dir<'_>; 5] = [
    include_dir!("$CARGO_MANIFEST_DIR/authentication"),
    include_dir!("$CARGO_MANIFEST_DIR/removal"),
    include_dir!("$CARGO_MANIFEST_DIR/device-addition"),
    include_dir!("$CARGO_MANIFEST_DIR/participation"),
    include_dir!("$CARGO_MANIFEST_DIR/integrity"),
];

/// Their names, in the same order.
const NAMES: [&str; 5] = ["authentication", "removal", "device-addition", "participation", "integrity"];

/// Every file of the scenarios: its path, such as `removal/cannot-send.json` or `requirements.json`, and its bytes.
pub fn files() -> impl Iterator<Item = (std::path::PathBuf, &'static [u8])> {
    let scenarios = NAMES
        .into_iter()
        .zip(&THEMES)
        .flat_map(|(name, theme)| theme.files().map(move |file| (Path::new(name).join(file.path()), file.contents())));
    let json = |(path, _): &(std::path::PathBuf, _)| path.extension().is_some_and(|extension| extension == "json");
    scenarios.filter(json).chain([(Path::new("requirements.json").to_owned(), REQUIREMENTS)])
}

/// The recorded vectors: one collection for each protocol, by its path `recorded/PROTOCOL.json`, and its bytes.
pub fn recorded() -> [(&'static str, &'static [u8]); 4] {
    [
        ("recorded/mls.json", include_bytes!("../recorded/mls.json")),
        ("recorded/signal.json", include_bytes!("../recorded/signal.json")),
        ("recorded/olm.json", include_bytes!("../recorded/olm.json")),
        ("recorded/megolm.json", include_bytes!("../recorded/megolm.json")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A theme that is not named above would be missing from the binary.
    #[test]
    fn every_scenario_on_disk_is_embedded() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let embedded: Vec<_> = files().map(|(path, _)| path).collect();
        let mut found = 0;
        for theme in std::fs::read_dir(root).expect("this crate has a directory").flatten() {
            let name = theme.file_name();
            let apart = ["recorded", "schema", "src", "playback", "recorder", "readers"];
            if !theme.path().is_dir() || apart.iter().any(|apart| name == *apart) {
                continue;
            }
            for file in std::fs::read_dir(theme.path()).expect("a theme is a directory").flatten() {
                let path = Path::new(&name).join(file.file_name());
                assert!(embedded.contains(&path), "{} is not embedded", path.display());
                found += 1;
            }
        }
        assert_eq!(found + 1, embedded.len());
    }
}
