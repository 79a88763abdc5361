//! Keys from randomness, and signatures, as the two suites have them: X25519, Ed25519 and SHA-256.

use ed25519_dalek::{Signer, SigningKey};
use rand::RngCore;
use rand_chacha::ChaCha20Rng;
use x25519_dalek::{PublicKey, StaticSecret};

use crate::wire::vector;

pub(crate) fn draw(random: &mut ChaCha20Rng) -> [u8; 32] {
    let mut bytes = [0; 32];
    random.fill_bytes(&mut bytes);
    bytes
}

/// A public key for HPKE. Nobody needs the private one.
pub(crate) fn hpke_key(random: &mut ChaCha20Rng) -> [u8; 32] {
    PublicKey::from(&StaticSecret::from(draw(random))).to_bytes()
}

/// A leaf's signature key, which is the first thing that is drawn from its randomness.
pub(crate) fn signature_key(random: &mut ChaCha20Rng) -> SigningKey {
    SigningKey::from_bytes(&draw(random))
}

/// `SignWithLabel` (RFC 9420, section 5.1.2).
pub(crate) fn sign(key: &SigningKey, label: &str, content: &[u8]) -> [u8; 64] {
    let mut signed = Vec::with_capacity(content.len() + 64);
    vector(&mut signed, format!("MLS 1.0 {label}").as_bytes());
    vector(&mut signed, content);
    key.sign(&signed).to_bytes()
}
