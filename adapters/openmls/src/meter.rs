//! The library's cryptography and signer, each call through the suite's meter.

use e2esm_adapter::{Error, Primitive, metered};
use openmls::prelude::tls_codec::SecretVLBytes;
use openmls_basic_credential::SignatureKeyPair;
use openmls_traits::crypto::OpenMlsCrypto;
use openmls_traits::random::OpenMlsRand;
use openmls_traits::signatures::{Signer, SignerError};
use openmls_traits::types::{
    AeadType, Ciphersuite, CryptoError, ExporterSecret, HashType, HpkeCiphertext, HpkeConfig, HpkeKeyPair, KemOutput,
    SignatureScheme,
};
use serde::{Deserialize, Serialize};

use crate::provider::SUITE;

/// What does cryptography for the library, counted; otherwise it is as if it were not wrapped.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Metered<T>(pub(crate) T);

/// A device's signature key.
pub(crate) type SignatureKey = Metered<SignatureKeyPair>;

impl SignatureKey {
    /// A fresh key. It comes from `openmls_basic_credential`, as does each signature: the provider has no part in either.
    pub(crate) fn generate() -> Result<Self, Error> {
        metered(Primitive::SignatureKey, || SignatureKeyPair::new(SUITE.signature_algorithm()))
            .map(Self)
            .map_err(|error| Error::internal(format!("making a signature key: {error}")))
    }

    pub(crate) fn public(&self) -> &[u8] {
        self.0.public()
    }
}

impl<S: Signer> Signer for Metered<S> {
    fn sign(&self, payload: &[u8]) -> Result<Vec<u8>, SignerError> {
        metered(Primitive::Sign, || self.0.sign(payload))
    }

    fn signature_scheme(&self) -> SignatureScheme {
        self.0.signature_scheme()
    }
}

impl<R: OpenMlsRand> OpenMlsRand for Metered<R> {
    type Error = R::Error;

    fn random_array<const N: usize>(&self) -> Result<[u8; N], Self::Error> {
        self.0.random_array()
    }

    fn random_vec(&self, length: usize) -> Result<Vec<u8>, Self::Error> {
        self.0.random_vec(length)
    }
}

impl<C: OpenMlsCrypto> OpenMlsCrypto for Metered<C> {
    fn supports(&self, ciphersuite: Ciphersuite) -> Result<(), CryptoError> {
        self.0.supports(ciphersuite)
    }

    fn supported_ciphersuites(&self) -> Vec<Ciphersuite> {
        self.0.supported_ciphersuites()
    }

    fn hkdf_extract(&self, hash: HashType, salt: &[u8], ikm: &[u8]) -> Result<SecretVLBytes, CryptoError> {
        metered(Primitive::Kdf, || self.0.hkdf_extract(hash, salt, ikm))
    }

    fn hmac(&self, hash: HashType, key: &[u8], message: &[u8]) -> Result<SecretVLBytes, CryptoError> {
        metered(Primitive::Mac, || self.0.hmac(hash, key, message))
    }

    fn hkdf_expand(
        &self,
        hash: HashType,
        prk: &[u8],
        info: &[u8],
        length: usize,
    ) -> Result<SecretVLBytes, CryptoError> {
        metered(Primitive::Kdf, || self.0.hkdf_expand(hash, prk, info, length))
    }

    fn hash(&self, hash: HashType, data: &[u8]) -> Result<Vec<u8>, CryptoError> {
        metered(Primitive::Hash, || self.0.hash(hash, data))
    }

    fn aead_encrypt(
        &self,
        aead: AeadType,
        key: &[u8],
        data: &[u8],
        nonce: &[u8],
        aad: &[u8],
    ) -> Result<Vec<u8>, CryptoError> {
        metered(Primitive::AeadSeal, || self.0.aead_encrypt(aead, key, data, nonce, aad))
    }

    fn aead_decrypt(
        &self,
        aead: AeadType,
        key: &[u8],
        ciphertext: &[u8],
        nonce: &[u8],
        aad: &[u8],
    ) -> Result<Vec<u8>, CryptoError> {
        metered(Primitive::AeadOpen, || self.0.aead_decrypt(aead, key, ciphertext, nonce, aad))
    }

    fn signature_key_gen(&self, scheme: SignatureScheme) -> Result<(Vec<u8>, Vec<u8>), CryptoError> {
        metered(Primitive::SignatureKey, || self.0.signature_key_gen(scheme))
    }

    fn verify_signature(
        &self,
        scheme: SignatureScheme,
        data: &[u8],
        key: &[u8],
        signature: &[u8],
    ) -> Result<(), CryptoError> {
        metered(Primitive::Verify, || self.0.verify_signature(scheme, data, key, signature))
    }

    fn sign(&self, scheme: SignatureScheme, data: &[u8], key: &[u8]) -> Result<Vec<u8>, CryptoError> {
        metered(Primitive::Sign, || self.0.sign(scheme, data, key))
    }

    fn hpke_seal(
        &self,
        config: HpkeConfig,
        key: &[u8],
        info: &[u8],
        aad: &[u8],
        plaintext: &[u8],
    ) -> Result<HpkeCiphertext, CryptoError> {
        metered(Primitive::Seal, || self.0.hpke_seal(config, key, info, aad, plaintext))
    }

    fn hpke_open(
        &self,
        config: HpkeConfig,
        input: &HpkeCiphertext,
        key: &[u8],
        info: &[u8],
        aad: &[u8],
    ) -> Result<Vec<u8>, CryptoError> {
        metered(Primitive::Open, || self.0.hpke_open(config, input, key, info, aad))
    }

    fn hpke_setup_sender_and_export(
        &self,
        config: HpkeConfig,
        key: &[u8],
        info: &[u8],
        context: &[u8],
        length: usize,
    ) -> Result<(KemOutput, ExporterSecret), CryptoError> {
        metered(Primitive::Export, || self.0.hpke_setup_sender_and_export(config, key, info, context, length))
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
        metered(Primitive::Export, || {
            self.0.hpke_setup_receiver_and_export(config, kem_output, key, info, context, length)
        })
    }

    fn derive_hpke_keypair(&self, config: HpkeConfig, ikm: &[u8]) -> Result<HpkeKeyPair, CryptoError> {
        metered(Primitive::KemKey, || self.0.derive_hpke_keypair(config, ikm))
    }
}
