//! The passive-client test vectors of the MLS working group, as recorded vectors.
//!
//! A case is a client that joins by a Welcome and follows commits; the only thing to be compared is each epoch's
//! authenticator. The format is that of `test-vectors.md` in the working group's repository of implementations.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use e2esm_adapter::{Bytes, Delivered, DeliveryKind, ExternalPsk, MlsKeyPackage, MlsStart, Protocol, Start};
use e2esm_playback::{Expected, Implementation, Recorded, Step};
use serde::Deserialize;

/// Why a folder of test vectors cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// The file system said no.
    #[error("{}: {error}", path.display())]
    File {
        /// Which file or folder.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// It is not of the format.
    #[error("{}: {field}: {error}", path.display())]
    Format {
        /// Which file.
        path: PathBuf,
        /// Where in it.
        field: String,
        /// What was expected.
        error: serde_json::Error,
    },
    /// There is nothing of the kind.
    #[error("{}: no passive-client*.json: expected the MLS working group's test vectors", path.display())]
    Empty {
        /// Which folder.
        path: PathBuf,
    },
}

#[derive(Deserialize)]
struct Case {
    cipher_suite: u16,
    external_psks: Vec<ExternalPsk>,
    key_package: Bytes,
    signature_priv: Bytes,
    encryption_priv: Bytes,
    init_priv: Bytes,
    welcome: Bytes,
    ratchet_tree: Option<Bytes>,
    initial_epoch_authenticator: Bytes,
    epochs: Vec<Epoch>,
}

#[derive(Deserialize)]
struct Epoch {
    proposals: Vec<Bytes>,
    commit: Bytes,
    epoch_authenticator: Bytes,
}

/// Every case of a folder's passive-client files.
///
/// # Errors
/// [`Unusable`].
pub fn cases(folder: &Path) -> Result<Vec<Recorded>, Unusable> {
    let file = |path: &Path, error| Unusable::File { path: path.to_owned(), error };
    let entries = std::fs::read_dir(folder).map_err(|error| file(folder, error))?;
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| file(folder, error))?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if name.starts_with("passive-client") && name.ends_with(".json") {
            paths.push(path);
        }
    }
    paths.sort();
    let mut all = Vec::new();
    for path in &paths {
        let bytes = std::fs::read(path).map_err(|error| file(path, error))?;
        let mut json = serde_json::Deserializer::from_slice(&bytes);
        let cases: Vec<Case> = serde_path_to_error::deserialize(&mut json).map_err(|error| Unusable::Format {
            path: path.clone(),
            field: error.path().to_string(),
            error: error.into_inner(),
        })?;
        let name = path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        all.extend(cases.into_iter().enumerate().map(|(index, case)| vector(&name, index, case)));
    }
    if all.is_empty() {
        return Err(Unusable::Empty { path: folder.to_owned() });
    }
    Ok(all)
}

fn vector(file: &str, index: usize, case: Case) -> Recorded {
    let step = |name: String, bytes: Bytes, ratchet_tree: Option<Bytes>, authenticator: Option<Bytes>| Step {
        name,
        comment: String::new(),
        kind: DeliveryKind::MlsMessage,
        from: None,
        bytes,
        ratchet_tree,
        flags: Vec::new(),
        fault: None,
        twin: None,
        expected: Expected::Accepted(Delivered { epoch_authenticator: authenticator, ..Delivered::default() }),
    };
    let welcome = step("welcome".to_owned(), case.welcome, case.ratchet_tree, Some(case.initial_epoch_authenticator));
    let mut deliveries = vec![welcome];
    for (number, epoch) in case.epochs.into_iter().enumerate() {
        for (place, proposal) in epoch.proposals.into_iter().enumerate() {
            deliveries.push(step(format!("proposal {place} of epoch {number}"), proposal, None, None));
        }
        deliveries.push(step(format!("commit {number}"), epoch.commit, None, Some(epoch.epoch_authenticator)));
    }
    let start = MlsStart {
        cipher_suite: case.cipher_suite,
        signature_priv: case.signature_priv,
        key_packages: vec![MlsKeyPackage {
            key_package: case.key_package,
            init_priv: case.init_priv,
            encryption_priv: case.encryption_priv,
        }],
        external_psks: case.external_psks,
    };
    Recorded {
        id: format!("{file}#{index}"),
        title: String::new(),
        description: String::new(),
        protocol: Protocol::Mls,
        cipher_suite: case.cipher_suite.to_string(),
        scenario: None,
        requirements: Vec::new(),
        recorded_by: Implementation {
            implementation: "MLS working group".to_owned(),
            version: String::new(),
            crypto_provider: String::new(),
        },
        confirmed_by: Vec::new(),
        disagreements: Vec::new(),
        recorded_on: String::new(),
        valid_until: None,
        flags: BTreeMap::new(),
        start: Start::Mls(start),
        deliveries,
    }
}
