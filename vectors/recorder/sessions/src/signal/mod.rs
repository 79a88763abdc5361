//! Signal: PQXDH, the Double Ratchet and Sender Keys, as one passive device sees them.

mod altered;
mod cast;
mod groups;
mod sessions;

use anyhow::Result;

use crate::scene::Scene;

/// The cipher suite of all of them.
pub(crate) const CIPHER_SUITE: &str = "X25519, Kyber1024, XEdDSA, AES-256-CBC, HMAC-SHA-256, HKDF-SHA-256";

/// Every vector of Signal's.
pub(crate) fn scenes(date: &str) -> Result<Vec<Scene>> {
    let mut scenes = sessions::scenes(date)?;
    scenes.extend(groups::scenes(date)?);
    scenes.extend(altered::scenes(date)?);
    Ok(scenes)
}
