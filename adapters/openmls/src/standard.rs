//! Private keys in MLS's own standard form: handed out by a device that has published them, and taken in by a passive one.
//!
//! openmls neither hands out nor takes in the private half of a key package as such. What it stores is its own public
//! type, [`KeyPackageBundle`], written with serde: that is the way in and out.

use std::collections::BTreeSet;
use std::fmt::Display;

use e2esm_adapter::{Bytes, Error, MlsKeyPackage, MlsStart};
use openmls::prelude::tls_codec::{DeserializeBytes, Serialize as _, VLBytes};
use openmls::prelude::{
    Ciphersuite, HpkePrivateKey, KeyPackage, KeyPackageBundle, KeyPackageIn, KeyPackageVerifyError, MlsMessageBodyIn,
    MlsMessageOut, ProtocolVersion, SignatureScheme,
};
use openmls::schedule::PreSharedKeyId;
use openmls_basic_credential::SignatureKeyPair;
use openmls_traits::crypto::OpenMlsCrypto;
use openmls_traits::signatures::Signer;
use openmls_traits::storage::StorageProvider;
use serde::{Deserialize, Serialize};

use crate::device::{parse, to_bytes};
use crate::errors::refused;
use crate::meter::SignatureKey;
use crate::provider::{Backend, Provider, SUITE};

/// A [`KeyPackageBundle`] as it is written.
#[derive(Serialize, Deserialize)]
struct Written<Package> {
    key_package: Package,
    private_init_key: HpkePrivateKey,
    private_encryption_key: WrittenKey,
}

#[derive(Serialize, Deserialize)]
struct WrittenKey {
    key: HpkePrivateKey,
}

/// What of a [`SignatureKeyPair`], as it is written, is not public.
#[derive(Deserialize)]
struct WrittenSigner {
    private: Vec<u8>,
}

/// What `openmls_memory_storage` puts before the key of each key package (`lib.rs:251`). No other label begins so.
const KEY_PACKAGE_LABEL: &[u8] = b"KeyPackage";

/// Everything that a device has published and not used, in an order that says nothing about when.
pub(crate) fn exported<C: Backend>(provider: &Provider<C>, signer: &SignatureKey) -> Result<MlsStart, Error> {
    let values = provider.storage.values.read().map_err(Error::internal)?;
    // The library deletes a key package with the join that uses it: what is there has not been used.
    let stored = values.iter().filter(|(key, _)| key.starts_with(KEY_PACKAGE_LABEL));
    let mut key_packages = stored
        .map(|(_, value)| {
            let written: Written<KeyPackage> = serde_json::from_slice(value).map_err(Error::internal)?;
            Ok(MlsKeyPackage {
                key_package: to_bytes(&MlsMessageOut::from(written.key_package))?,
                init_priv: Bytes::from(&*written.private_init_key),
                encryption_priv: Bytes::from(&*written.private_encryption_key.key),
            })
        })
        .collect::<Result<Vec<_>, Error>>()?;
    key_packages.sort();
    let signer = serde_json::to_value(signer).and_then(serde_json::from_value::<WrittenSigner>);
    let signature_priv = signer.map_err(Error::internal)?.private.into();
    Ok(MlsStart { cipher_suite: SUITE.into(), signature_priv, key_packages, external_psks: Vec::new() })
}

/// A provider that holds what a passive device starts with. Keys that do not fit their public halves are refused here:
/// nothing that came later would say so.
pub(crate) fn imported<C: Backend>(start: &MlsStart) -> Result<Provider<C>, Error> {
    let provider = Provider::<C>::new()?;
    let suite = Ciphersuite::try_from(start.cipher_suite)
        .ok()
        .filter(|suite| provider.crypto.supports(*suite).is_ok())
        .ok_or_else(|| Error::unsupported(format!("{} has no suite {:#06x}", C::PROVIDER, start.cipher_suite)))?;
    let scheme = suite.signature_algorithm();
    if start.signature_priv.0.len() != signature_priv_length(scheme)? {
        return Err(Error::bad_request("signature_priv: not as long as a private key of this suite's"));
    }
    for (index, key_package) in start.key_packages.iter().enumerate() {
        import(&provider, suite, start.signature_priv.as_ref(), key_package)
            .map_err(|error| Error { text: format!("key package {index}: {}", error.text), ..error })?;
    }
    let mut ids = BTreeSet::new();
    for psk in &start.external_psks {
        if !ids.insert(&psk.psk_id) {
            return Err(Error::bad_request(format!("two pre-shared keys are called {}", psk.psk_id)));
        }
        // A nonce belongs to each use of the key, and is not stored with it.
        let id = PreSharedKeyId::external(psk.psk_id.0.clone(), Vec::new());
        id.store(&provider, psk.psk.as_ref()).map_err(Error::internal)?;
    }
    Ok(provider)
}

fn import<C: Backend>(
    provider: &Provider<C>,
    suite: Ciphersuite,
    signature_priv: &[u8],
    MlsKeyPackage { key_package, init_priv, encryption_priv }: &MlsKeyPackage,
) -> Result<(), Error> {
    let MlsMessageBodyIn::KeyPackage(received) = parse(key_package.as_ref())? else {
        return Err(Error::bad_request("not a key package"));
    };
    validate(provider, &received)?;
    let written = Written {
        key_package: received,
        private_init_key: init_priv.as_ref().into(),
        private_encryption_key: WrittenKey { key: encryption_priv.as_ref().into() },
    };
    let bundle: KeyPackageBundle = serde_json::to_value(written)
        .and_then(serde_json::from_value)
        .map_err(|error| Error::bad_request(format!("not a key package: {error}")))?;
    let key_package = bundle.key_package();
    if key_package.ciphersuite() != suite {
        return Err(Error::bad_request("it is of another suite"));
    }
    let leaf = key_package.leaf_node();
    // The library shows a leaf's encryption key in no other way.
    let encryption_key = leaf.encryption_key().tls_serialize_detached().map_err(Error::internal)?;
    let encryption_key = VLBytes::tls_deserialize_exact_bytes(&encryption_key).map_err(Error::internal)?;
    check_pair(provider, suite, key_package.hpke_init_key().as_slice(), init_priv, "init_priv")?;
    check_pair(provider, suite, encryption_key.as_slice(), encryption_priv, "encryption_priv")?;
    check_signer(provider, suite.signature_algorithm(), leaf.signature_key().as_slice(), signature_priv)?;

    let reference = key_package.hash_ref(&provider.crypto).map_err(Error::internal)?;
    let known: Option<KeyPackageBundle> = provider.storage.key_package(&reference).map_err(Error::internal)?;
    if known.is_some() {
        return Err(Error::bad_request("it is there twice"));
    }
    provider.storage.write_key_package(&reference, &bundle).map_err(Error::internal)
}

/// As the library validates a key package, except that its lifetime may be over: that is looked at by whoever adds it.
fn validate<C: Backend>(provider: &Provider<C>, key_package: &KeyPackageIn) -> Result<(), Error> {
    match key_package.clone().validate(&provider.crypto, ProtocolVersion::Mls10) {
        // The last thing that is looked at.
        Ok(_) | Err(KeyPackageVerifyError::LifetimeError(_)) => Ok(()),
        Err(error) => Err(Error::bad_request(refused("validating it")(error).text)),
    }
}

/// Whether what is sealed to the public key opens with the private one.
fn check_pair<C: Backend>(
    provider: &Provider<C>,
    suite: Ciphersuite,
    public: &[u8],
    private: &Bytes,
    name: &str,
) -> Result<(), Error> {
    let crypto = &provider.crypto;
    let said = b"a key and its other half";
    let opened = crypto
        .hpke_seal(suite.hpke_config(), public, &[], &[], said)
        .and_then(|sealed| crypto.hpke_open(suite.hpke_config(), &sealed, private.as_ref(), &[], &[]));
    match opened {
        Ok(opened) if opened == said => Ok(()),
        _ => Err(not_fitting(name)),
    }
}

/// Whether what is signed with the private key bears the public one's signature.
fn check_signer<C: Backend>(
    provider: &Provider<C>,
    scheme: SignatureScheme,
    public: &[u8],
    private: &[u8],
) -> Result<(), Error> {
    let said = b"a key and its other half";
    let signer = SignatureKeyPair::from_raw(scheme, private.to_vec(), public.to_vec());
    let signature = signer.sign(said).map_err(|_| not_fitting("signature_priv"))?;
    provider.crypto.verify_signature(scheme, said, public, &signature).map_err(|_| not_fitting("signature_priv"))
}

/// In bytes: the seed (RFC 8032, 5.1.5) or the scalar. `openmls_basic_credential` panics on an ECDSA key of any other
/// length.
fn signature_priv_length(scheme: SignatureScheme) -> Result<usize, Error> {
    match scheme {
        SignatureScheme::ED25519 | SignatureScheme::ECDSA_SECP256R1_SHA256 => Ok(32),
        SignatureScheme::ECDSA_SECP384R1_SHA384 => Ok(48),
        scheme => Err(Error::unsupported(format!("openmls_basic_credential has no {scheme:?}"))),
    }
}

fn not_fitting(name: impl Display) -> Error {
    Error::bad_request(format!("{name} is not the private key of what it publishes"))
}
