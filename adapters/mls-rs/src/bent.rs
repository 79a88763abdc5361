//! An insider's cryptography: the real crypto provider, with a lever underneath the library. While the lever is pulled,
//! one operation answers wrongly, and the library makes everything downstream consistent with the wrong answer. While it
//! is not, each operation costs one relaxed load more.
//!
//! The suite's [meter](e2esm_adapter::meter) sits at the same place. What counts is one call of the library's to its
//! provider; drawing random bytes, checking a public key's form and deriving it from its secret key are not counted.
//!
//! Which operation is meant shows in its input: `sign` sees labels (RFC 9420, section 5.1.2), `mac` and `hash` see
//! structures whose lengths tell them apart.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use e2esm_adapter::{Primitive, metered};
use mls_rs::crypto::{HpkeCiphertext, HpkePsk, HpkePublicKey, HpkeSecretKey, SignaturePublicKey, SignatureSecretKey};
use mls_rs::error::{AnyError, IntoAnyError};
use mls_rs::mls_rs_codec::byte_vec;
use mls_rs::{CipherSuite, CipherSuiteProvider, CryptoProvider};
use zeroize::Zeroizing;

use crate::relabel::Relabelling;

/// What goes wrong while the lever is pulled.
#[derive(Clone)]
pub(crate) enum Bend {
    /// Leaves are signed with a key that nobody knows.
    LeafSignature,
    /// Parent hashes have a bit flipped.
    ParentHash,
    /// Confirmation tags have a bit flipped.
    ConfirmationTag,
    /// The next application message is another member's.
    Sender(Relabelling),
}

/// Bends the operations of all providers that share it.
#[derive(Clone, Default)]
pub(crate) struct Lever(Arc<Mechanism>);

#[derive(Default)]
struct Mechanism {
    pulled: AtomicBool,
    bend: Mutex<Option<Bend>>,
}

impl Lever {
    /// Pulls the lever until the answer is dropped.
    pub(crate) fn pull(&self, bend: Bend) -> Pulled {
        self.set(Some(bend));
        Pulled(self.clone())
    }

    fn set(&self, bend: Option<Bend>) {
        let mut place = self.0.bend.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.pulled.store(bend.is_some(), Ordering::Relaxed);
        *place = bend;
    }

    #[inline]
    fn bend(&self) -> Option<Bend> {
        if !self.0.pulled.load(Ordering::Relaxed) {
            return None;
        }
        self.0.bend.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Lets the lever go when dropped.
pub(crate) struct Pulled(Lever);

impl Drop for Pulled {
    fn drop(&mut self) {
        self.0.set(None);
    }
}

/// A crypto provider with a lever, and the cipher suite that its device uses.
#[derive(Clone)]
pub(crate) struct BentProvider<P> {
    inner: P,
    suite: CipherSuite,
    lever: Lever,
}

impl<P> BentProvider<P> {
    pub(crate) fn new(inner: P, suite: CipherSuite, lever: Lever) -> Self {
        Self { inner, suite, lever }
    }

    pub(crate) fn suite(&self) -> CipherSuite {
        self.suite
    }
}

impl<P: CryptoProvider> CryptoProvider for BentProvider<P> {
    type CipherSuiteProvider = BentSuite<P::CipherSuiteProvider>;

    fn supported_cipher_suites(&self) -> Vec<CipherSuite> {
        self.inner.supported_cipher_suites()
    }

    fn cipher_suite_provider(&self, cipher_suite: CipherSuite) -> Option<Self::CipherSuiteProvider> {
        let inner = self.inner.cipher_suite_provider(cipher_suite)?;
        Some(BentSuite { inner, lever: self.lever.clone() })
    }
}

/// Which operation failed: the library passes on that the provider failed, and the two providers have errors of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Authenticated decryption, with a key of the group or with an HPKE private key.
    Open,
    /// Encryption to somebody's HPKE public key.
    SealTo,
    /// Anything that fails only when the provider is broken or its input malformed.
    Other,
}

/// A failure of the crypto provider.
#[derive(Debug)]
pub(crate) struct CryptoFailure {
    pub(crate) operation: Operation,
    source: AnyError,
}

impl fmt::Display for CryptoFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.operation, self.source)
    }
}

impl std::error::Error for CryptoFailure {}

impl IntoAnyError for CryptoFailure {
    fn into_dyn_error(self) -> Result<Box<dyn std::error::Error + Send + Sync>, Self> {
        Ok(Box::new(self))
    }
}

/// As the error of `operation`.
fn at<E: IntoAnyError>(operation: Operation) -> impl FnOnce(E) -> CryptoFailure {
    move |error| CryptoFailure { operation, source: error.into_any_error() }
}

/// The length in bytes of a SHA-256 hash: of all suites that devices are made for.
const HASH: usize = 32;

/// Whether bytes to be signed bear this label: one byte of length, then the label (all of them are short).
fn labelled(data: &[u8], label: &[u8]) -> bool {
    data.get(1..).is_some_and(|data| data.starts_with(label))
}

/// ParentHashInput (RFC 9420, section 7.9): a key, a hash or nothing, a hash, each with its length. No other input to the
/// hash has this shape: a TreeHashInput begins with a node type, the label of a reference is shorter, and a transcript begins
/// with a bare hash.
fn is_parent_hash_input(data: &[u8]) -> bool {
    /// The lengths of a public key on Curve25519 and on P-256.
    const KEYS: [usize; 2] = [32, 65];
    let mut rest = data;
    let mut field = || byte_vec::mls_decode::<Vec<u8>>(&mut rest).map(|field| field.len());
    let (Ok(key), Ok(parent), Ok(sibling)) = (field(), field(), field()) else { return false };
    rest.is_empty() && KEYS.contains(&key) && sibling == HASH && (parent == 0 || parent == HASH)
}

/// The confirmation tag is over a hash alone, the membership tag over a whole message.
fn is_confirmed_transcript_hash(data: &[u8]) -> bool {
    data.len() == HASH
}

fn flip(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(byte) = bytes.first_mut() {
        *byte ^= 1;
    }
    bytes
}

/// A cipher suite's operations, with a lever.
#[derive(Clone)]
pub(crate) struct BentSuite<S> {
    inner: S,
    lever: Lever,
}

impl<S: CipherSuiteProvider> CipherSuiteProvider for BentSuite<S> {
    type Error = CryptoFailure;
    type HpkeContextS = S::HpkeContextS;
    type HpkeContextR = S::HpkeContextR;

    fn cipher_suite(&self) -> CipherSuite {
        self.inner.cipher_suite()
    }

    fn hash(&self, data: &[u8]) -> Result<Vec<u8>, CryptoFailure> {
        let hash = metered(Primitive::Hash, || self.inner.hash(data)).map_err(at(Operation::Other))?;
        match self.lever.bend() {
            Some(Bend::ParentHash) if is_parent_hash_input(data) => Ok(flip(hash)),
            _ => Ok(hash),
        }
    }

    fn mac(&self, key: &[u8], data: &[u8]) -> Result<Vec<u8>, CryptoFailure> {
        let tag = metered(Primitive::Mac, || self.inner.mac(key, data)).map_err(at(Operation::Other))?;
        match self.lever.bend() {
            Some(Bend::ConfirmationTag) if is_confirmed_transcript_hash(data) => Ok(flip(tag)),
            _ => Ok(tag),
        }
    }

    fn aead_seal(&self, key: &[u8], data: &[u8], aad: Option<&[u8]>, nonce: &[u8]) -> Result<Vec<u8>, CryptoFailure> {
        match self.lever.bend() {
            Some(Bend::Sender(relabelling)) => {
                metered(Primitive::AeadSeal, || relabelling.seal(&self.inner, key, data, aad, nonce))
            }
            _ => metered(Primitive::AeadSeal, || self.inner.aead_seal(key, data, aad, nonce)),
        }
        .map_err(at(Operation::Other))
    }

    fn aead_open(
        &self,
        key: &[u8],
        ciphertext: &[u8],
        aad: Option<&[u8]>,
        nonce: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, CryptoFailure> {
        metered(Primitive::AeadOpen, || self.inner.aead_open(key, ciphertext, aad, nonce)).map_err(at(Operation::Open))
    }

    fn aead_key_size(&self) -> usize {
        self.inner.aead_key_size()
    }

    fn aead_nonce_size(&self) -> usize {
        self.inner.aead_nonce_size()
    }

    fn kdf_extract(&self, salt: &[u8], ikm: &[u8]) -> Result<Zeroizing<Vec<u8>>, CryptoFailure> {
        metered(Primitive::Kdf, || self.inner.kdf_extract(salt, ikm)).map_err(at(Operation::Other))
    }

    fn kdf_expand(&self, prk: &[u8], info: &[u8], len: usize) -> Result<Zeroizing<Vec<u8>>, CryptoFailure> {
        metered(Primitive::Kdf, || self.inner.kdf_expand(prk, info, len)).map_err(at(Operation::Other))
    }

    fn kdf_extract_size(&self) -> usize {
        self.inner.kdf_extract_size()
    }

    fn hpke_seal(
        &self,
        remote_key: &HpkePublicKey,
        info: &[u8],
        aad: Option<&[u8]>,
        pt: &[u8],
    ) -> Result<HpkeCiphertext, CryptoFailure> {
        metered(Primitive::Seal, || self.inner.hpke_seal(remote_key, info, aad, pt)).map_err(at(Operation::SealTo))
    }

    fn hpke_seal_psk(
        &self,
        remote_key: &HpkePublicKey,
        info: &[u8],
        aad: Option<&[u8]>,
        pt: &[u8],
        psk: HpkePsk<'_>,
    ) -> Result<HpkeCiphertext, CryptoFailure> {
        metered(Primitive::Seal, || self.inner.hpke_seal_psk(remote_key, info, aad, pt, psk))
            .map_err(at(Operation::SealTo))
    }

    fn hpke_open(
        &self,
        ciphertext: &HpkeCiphertext,
        local_secret: &HpkeSecretKey,
        local_public: &HpkePublicKey,
        info: &[u8],
        aad: Option<&[u8]>,
    ) -> Result<Zeroizing<Vec<u8>>, CryptoFailure> {
        metered(Primitive::Open, || self.inner.hpke_open(ciphertext, local_secret, local_public, info, aad))
            .map_err(at(Operation::Open))
    }

    fn hpke_open_psk(
        &self,
        ciphertext: &HpkeCiphertext,
        local_secret: &HpkeSecretKey,
        local_public: &HpkePublicKey,
        info: &[u8],
        aad: Option<&[u8]>,
        psk: HpkePsk<'_>,
    ) -> Result<Zeroizing<Vec<u8>>, CryptoFailure> {
        metered(Primitive::Open, || self.inner.hpke_open_psk(ciphertext, local_secret, local_public, info, aad, psk))
            .map_err(at(Operation::Open))
    }

    fn hpke_setup_s(
        &self,
        remote_key: &HpkePublicKey,
        info: &[u8],
    ) -> Result<(Vec<u8>, Self::HpkeContextS), CryptoFailure> {
        metered(Primitive::Export, || self.inner.hpke_setup_s(remote_key, info)).map_err(at(Operation::SealTo))
    }

    fn hpke_setup_r(
        &self,
        kem_output: &[u8],
        local_secret: &HpkeSecretKey,
        local_public: &HpkePublicKey,
        info: &[u8],
    ) -> Result<Self::HpkeContextR, CryptoFailure> {
        metered(Primitive::Export, || self.inner.hpke_setup_r(kem_output, local_secret, local_public, info))
            .map_err(at(Operation::Open))
    }

    fn kem_derive(&self, ikm: &[u8]) -> Result<(HpkeSecretKey, HpkePublicKey), CryptoFailure> {
        metered(Primitive::KemKey, || self.inner.kem_derive(ikm)).map_err(at(Operation::Other))
    }

    fn kem_generate(&self) -> Result<(HpkeSecretKey, HpkePublicKey), CryptoFailure> {
        metered(Primitive::KemKey, || self.inner.kem_generate()).map_err(at(Operation::Other))
    }

    fn kem_public_key_validate(&self, key: &HpkePublicKey) -> Result<(), CryptoFailure> {
        self.inner.kem_public_key_validate(key).map_err(at(Operation::Other))
    }

    fn random_bytes(&self, out: &mut [u8]) -> Result<(), CryptoFailure> {
        self.inner.random_bytes(out).map_err(at(Operation::Other))
    }

    fn signature_key_generate(&self) -> Result<(SignatureSecretKey, SignaturePublicKey), CryptoFailure> {
        metered(Primitive::SignatureKey, || self.inner.signature_key_generate()).map_err(at(Operation::Other))
    }

    fn signature_key_derive_public(
        &self,
        secret_key: &SignatureSecretKey,
    ) -> Result<SignaturePublicKey, CryptoFailure> {
        self.inner.signature_key_derive_public(secret_key).map_err(at(Operation::Other))
    }

    fn sign(&self, secret_key: &SignatureSecretKey, data: &[u8]) -> Result<Vec<u8>, CryptoFailure> {
        match self.lever.bend() {
            Some(Bend::LeafSignature) if labelled(data, b"MLS 1.0 LeafNodeTBS") => {
                let (other, _) = self.signature_key_generate()?;
                metered(Primitive::Sign, || self.inner.sign(&other, data))
            }
            Some(Bend::Sender(relabelling)) if labelled(data, b"MLS 1.0 FramedContentTBS") => {
                let statement = relabelling.statement(data).map_err(at(Operation::Other))?;
                metered(Primitive::Sign, || self.inner.sign(secret_key, &statement))
            }
            _ => metered(Primitive::Sign, || self.inner.sign(secret_key, data)),
        }
        .map_err(at(Operation::Other))
    }

    fn verify(&self, public_key: &SignaturePublicKey, signature: &[u8], data: &[u8]) -> Result<(), CryptoFailure> {
        metered(Primitive::Verify, || self.inner.verify(public_key, signature, data)).map_err(at(Operation::Other))
    }
}
