//! An insider's faults: openmls computes everything itself, with cryptography or a signer that is wrong in one place, so
//! that whatever depends on that place stays consistent.
//!
//! A device that behaves never comes here: it hands the library its provider and its key as they are.

use e2esm_adapter::{Error, Fault};
use openmls::group::{CommitBuilder, Complete, CreateCommitError, MlsGroup};
use openmls::prelude::tls_codec::{DeserializeBytes, SecretVLBytes, VLBytes};
use openmls::prelude::{KeyPackage, LeafNodeIndex, LeafNodeParameters};
use openmls_rust_crypto::MemoryStorage;
use openmls_traits::crypto::OpenMlsCrypto;
use openmls_traits::random::OpenMlsRand;
use openmls_traits::signatures::{Signer, SignerError};
use openmls_traits::types::{
    AeadType, Ciphersuite, CryptoError, ExporterSecret, HashType, HpkeCiphertext, HpkeConfig, HpkeKeyPair, KemOutput,
    SignatureScheme,
};

use crate::errors::refused;
use crate::meter::SignatureKey;
use crate::provider::{Backend, Provider, SUITE};

/// What goes into a commit.
pub(crate) struct Plan {
    pub(crate) add: Vec<KeyPackage>,
    pub(crate) remove: Vec<LeafNodeIndex>,
    pub(crate) refresh: bool,
    pub(crate) leaf: LeafNodeParameters,
}

/// Builds a commit, with whatever cryptography and signer it is given.
pub(crate) fn build<'a>(
    group: &'a mut MlsGroup,
    storage: &'a MemoryStorage,
    rand: &impl OpenMlsRand,
    crypto: &impl OpenMlsCrypto,
    signer: &impl Signer,
    plan: Plan,
) -> Result<CommitBuilder<'a, Complete>, CreateCommitError> {
    group
        .commit_builder()
        .propose_adds(plan.add)
        .propose_removals(plan.remove)
        .force_self_update(plan.refresh)
        .leaf_node_parameters(plan.leaf)
        .load_psks(storage)?
        // A Welcome has one of its own; the one for external joiners is made when it is asked for.
        .create_group_info(false)
        .build(rand, crypto, signer, |_| true)
}

/// Builds a commit as the fault in force demands.
pub(crate) fn commit<'a, C: Backend>(
    fault: &Fault,
    group: &'a mut MlsGroup,
    provider: &'a Provider<C>,
    signer: &SignatureKey,
    plan: Plan,
) -> Result<CommitBuilder<'a, Complete>, Error> {
    let Provider { crypto, storage } = provider;
    match fault {
        Fault::WrongLeafSignature => {
            let other = SignatureKey::generate()?;
            build(group, storage, crypto, crypto, &TwoKeys { own: signer, leaf: &other }, plan)
        }
        Fault::WrongParentHash => build(group, storage, crypto, &Bent::new(crypto, WrongParentHash), signer, plan),
        Fault::WrongConfirmationTag => {
            build(group, storage, crypto, &Bent::new(crypto, WrongConfirmationTag), signer, plan)
        }
        Fault::None | Fault::RelabelledSender(_) | Fault::DegenerateKey => {
            build(group, storage, crypto, crypto, signer, plan)
        }
    }
    .map_err(refused("building the commit"))
}

/// What goes into an encryption.
#[derive(Clone, Copy)]
pub(crate) struct Sealing<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) nonce: &'a [u8],
    pub(crate) data: &'a [u8],
    pub(crate) aad: &'a [u8],
}

/// Where cryptography can be bent; what a fault leaves alone stays honest.
pub(crate) trait Bend: Send + Sync {
    /// After a hash.
    fn digest(&self, _data: &[u8], digest: Vec<u8>) -> Vec<u8> {
        digest
    }

    /// After an HMAC.
    fn tag(&self, tag: SecretVLBytes) -> SecretVLBytes {
        tag
    }

    /// Before an encryption.
    fn seal<'a>(&'a self, sealing: Sealing<'a>) -> Sealing<'a> {
        sealing
    }

    /// Instead of a decryption.
    fn open(&self, _key: &[u8], _nonce: &[u8]) -> Option<Result<Vec<u8>, CryptoError>> {
        None
    }

    /// After an honest decryption.
    fn opened(&self, _plaintext: &[u8]) {}
}

/// The leaf in the update path does not carry the hash of the path above it.
struct WrongParentHash;

impl Bend for WrongParentHash {
    fn digest(&self, data: &[u8], mut digest: Vec<u8>) -> Vec<u8> {
        if is_parent_hash_input(data) {
            flip(&mut digest);
        }
        digest
    }
}

/// While a commit is being built the only HMAC is its confirmation tag.
struct WrongConfirmationTag;

impl Bend for WrongConfirmationTag {
    fn tag(&self, tag: SecretVLBytes) -> SecretVLBytes {
        let mut tag = tag.as_slice().to_vec();
        flip(&mut tag);
        tag.into()
    }
}

/// RFC 9420, 7.9: a `ParentHashInput` is an encryption key, the parent's parent hash (empty at the root) and a tree hash. No
/// other hash input of the protocol has that shape.
fn is_parent_hash_input(data: &[u8]) -> bool {
    let hash = SUITE.hash_length();
    let mut rest = data;
    let mut lengths = Vec::new();
    while !rest.is_empty() && lengths.len() < 4 {
        let Ok((part, tail)) = VLBytes::tls_deserialize_bytes(rest) else { return false };
        lengths.push(part.as_slice().len());
        rest = tail;
    }
    matches!(lengths[..], [32, parent, sibling] if sibling == hash && (parent == 0 || parent == hash))
}

fn flip(bytes: &mut [u8]) {
    if let Some(byte) = bytes.first_mut() {
        *byte ^= 1;
    }
}

/// The label and the content of what is being signed (RFC 9420, 5.1.2).
pub(crate) fn sign_content(payload: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (label, rest) = VLBytes::tls_deserialize_bytes(payload).ok()?;
    let (content, rest) = VLBytes::tls_deserialize_bytes(rest).ok()?;
    rest.is_empty().then(|| (label.into(), content.into()))
}

/// Signs leaves with another key than everything else.
struct TwoKeys<'a> {
    own: &'a SignatureKey,
    leaf: &'a SignatureKey,
}

impl Signer for TwoKeys<'_> {
    fn sign(&self, payload: &[u8]) -> Result<Vec<u8>, SignerError> {
        match sign_content(payload) {
            Some((label, _)) if label == b"MLS 1.0 LeafNodeTBS" => self.leaf.sign(payload),
            _ => self.own.sign(payload),
        }
    }

    fn signature_scheme(&self) -> SignatureScheme {
        self.own.signature_scheme()
    }
}

/// Honest cryptography with one bend.
pub(crate) struct Bent<'a, C, B> {
    honest: &'a C,
    bend: B,
}

impl<'a, C, B> Bent<'a, C, B> {
    pub(crate) fn new(honest: &'a C, bend: B) -> Self {
        Self { honest, bend }
    }

    pub(crate) fn into_bend(self) -> B {
        self.bend
    }
}

impl<C: OpenMlsCrypto, B: Bend> OpenMlsCrypto for Bent<'_, C, B> {
    fn supports(&self, ciphersuite: Ciphersuite) -> Result<(), CryptoError> {
        self.honest.supports(ciphersuite)
    }

    fn supported_ciphersuites(&self) -> Vec<Ciphersuite> {
        self.honest.supported_ciphersuites()
    }

    fn hkdf_extract(&self, hash: HashType, salt: &[u8], ikm: &[u8]) -> Result<SecretVLBytes, CryptoError> {
        self.honest.hkdf_extract(hash, salt, ikm)
    }

    fn hmac(&self, hash: HashType, key: &[u8], message: &[u8]) -> Result<SecretVLBytes, CryptoError> {
        self.honest.hmac(hash, key, message).map(|tag| self.bend.tag(tag))
    }

    fn hkdf_expand(
        &self,
        hash: HashType,
        prk: &[u8],
        info: &[u8],
        length: usize,
    ) -> Result<SecretVLBytes, CryptoError> {
        self.honest.hkdf_expand(hash, prk, info, length)
    }

    fn hash(&self, hash: HashType, data: &[u8]) -> Result<Vec<u8>, CryptoError> {
        self.honest.hash(hash, data).map(|digest| self.bend.digest(data, digest))
    }

    fn aead_encrypt(
        &self,
        aead: AeadType,
        key: &[u8],
        data: &[u8],
        nonce: &[u8],
        aad: &[u8],
    ) -> Result<Vec<u8>, CryptoError> {
        let Sealing { key, nonce, data, aad } = self.bend.seal(Sealing { key, nonce, data, aad });
        self.honest.aead_encrypt(aead, key, data, nonce, aad)
    }

    fn aead_decrypt(
        &self,
        aead: AeadType,
        key: &[u8],
        ciphertext: &[u8],
        nonce: &[u8],
        aad: &[u8],
    ) -> Result<Vec<u8>, CryptoError> {
        if let Some(instead) = self.bend.open(key, nonce) {
            return instead;
        }
        let plaintext = self.honest.aead_decrypt(aead, key, ciphertext, nonce, aad)?;
        self.bend.opened(&plaintext);
        Ok(plaintext)
    }

    fn signature_key_gen(&self, scheme: SignatureScheme) -> Result<(Vec<u8>, Vec<u8>), CryptoError> {
        self.honest.signature_key_gen(scheme)
    }

    fn verify_signature(
        &self,
        scheme: SignatureScheme,
        data: &[u8],
        key: &[u8],
        signature: &[u8],
    ) -> Result<(), CryptoError> {
        self.honest.verify_signature(scheme, data, key, signature)
    }

    fn sign(&self, scheme: SignatureScheme, data: &[u8], key: &[u8]) -> Result<Vec<u8>, CryptoError> {
        self.honest.sign(scheme, data, key)
    }

    fn hpke_seal(
        &self,
        config: HpkeConfig,
        key: &[u8],
        info: &[u8],
        aad: &[u8],
        plaintext: &[u8],
    ) -> Result<HpkeCiphertext, CryptoError> {
        self.honest.hpke_seal(config, key, info, aad, plaintext)
    }

    fn hpke_open(
        &self,
        config: HpkeConfig,
        input: &HpkeCiphertext,
        key: &[u8],
        info: &[u8],
        aad: &[u8],
    ) -> Result<Vec<u8>, CryptoError> {
        self.honest.hpke_open(config, input, key, info, aad)
    }

    fn hpke_setup_sender_and_export(
        &self,
        config: HpkeConfig,
        key: &[u8],
        info: &[u8],
        context: &[u8],
        length: usize,
    ) -> Result<(KemOutput, ExporterSecret), CryptoError> {
        self.honest.hpke_setup_sender_and_export(config, key, info, context, length)
    }

    fn hpke_setup_receiver_and_export(
        &self,
        config: HpkeConfig,
        kem_output: &[u8],
        key: &[u8],
        info: &[u8],
        context: &[u8],
        length: usize,
    ) -> Result<ExporterSecret, CryptoError> {
        self.honest.hpke_setup_receiver_and_export(config, kem_output, key, info, context, length)
    }

    fn derive_hpke_keypair(&self, config: HpkeConfig, ikm: &[u8]) -> Result<HpkeKeyPair, CryptoError> {
        self.honest.derive_hpke_keypair(config, ikm)
    }
}
