//! Private keys in the form that their standard gives them, which is what a recorded vector starts with, and in mls-rs's.
//!
//! For X25519 the two are the same: 32 bytes. An Ed25519 private key is a seed of 32 bytes (RFC 8032, section 5.1.5), and
//! in mls-rs that seed followed by the public key. On the NIST curves a private key is a scalar, big-endian, as long as the
//! field's elements (RFC 9180, section 7.1.2; RFC 9420 takes the same for signatures); mls-rs takes it shorter as well.

use e2esm_adapter::{Bytes, Error, MlsKeyPackage};
use ed25519_dalek::SigningKey;
use mls_rs::crypto::{HpkePublicKey, HpkeSecretKey, SignatureSecretKey};
use mls_rs::mls_rs_codec::{MlsDecode, MlsEncode};
use mls_rs::storage_provider::KeyPackageData;
use mls_rs::{CipherSuite, CipherSuiteProvider, KeyPackage, MlsMessage};

use crate::client::Keys;
use crate::error::translate;

/// ProtocolVersion mls10 and WireFormat mls_key_package (RFC 9420, section 6): how an MLSMessage begins that is a key
/// package.
const KEY_PACKAGE_HEADER: [u8; 4] = [0, 1, 0, 5];

/// The length in bytes of an Ed25519 seed.
const SEED: usize = 32;

/// What is sealed to a public key to see whether the private key is that one's.
const PROBE: &[u8] = b"is this your key?";

/// The length in bytes of a scalar on the suite's curve; none for the suites of RFC 7748's curves.
fn scalar_length(suite: CipherSuite) -> Option<usize> {
    match suite {
        CipherSuite::P256_AES128 => Some(32),
        CipherSuite::P384_AES256 => Some(48),
        CipherSuite::P521_AES256 => Some(66),
        _ => None,
    }
}

fn is_ed25519(suite: CipherSuite) -> bool {
    matches!(suite, CipherSuite::CURVE25519_AES128 | CipherSuite::CURVE25519_CHACHA)
}

/// A scalar at its full length. Libraries that drop leading zeros, mls-rs over AWS-LC among them, write one in 256 shorter
/// (and so do the MLS working group's vectors); whatever is no scalar comes back as it is.
fn padded(suite: CipherSuite, private: &[u8]) -> Vec<u8> {
    let missing = scalar_length(suite).and_then(|length| length.checked_sub(private.len())).unwrap_or(0);
    [&vec![0; missing], private].concat()
}

/// A signature private key for mls-rs, and its public key.
///
/// # Errors
/// `BadRequest` for bytes that are no private key of the suite's signature scheme.
pub(crate) fn signature_keys<S: CipherSuiteProvider>(suite: &S, private: &[u8]) -> Result<Keys, Error> {
    let secret = if is_ed25519(suite.cipher_suite()) {
        let seed = <[u8; SEED]>::try_from(private)
            .map_err(|_| Error::bad_request(format!("signature_priv: {} bytes are no Ed25519 seed", private.len())))?;
        SigningKey::from_bytes(&seed).to_keypair_bytes().to_vec()
    } else {
        scalar(suite.cipher_suite(), "signature_priv", private)?
    };
    let secret = SignatureSecretKey::new(secret);
    let public = suite
        .signature_key_derive_public(&secret)
        .map_err(|_| Error::bad_request("signature_priv: no private key of this cipher suite"))?;
    Ok(Keys { secret, public })
}

/// A signature private key as its standard writes it.
pub(crate) fn signature_private(suite: CipherSuite, secret: &SignatureSecretKey) -> Bytes {
    match secret.as_bytes() {
        keypair if is_ed25519(suite) => keypair.get(..SEED).unwrap_or(keypair).into(),
        scalar => padded(suite, scalar).into(),
    }
}

/// A key package and its private keys as mls-rs stores them, and the reference under which it does.
///
/// # Errors
/// `BadRequest` for what is no key package of the suite with these private keys and a leaf with this signature key.
pub(crate) fn stored<S: CipherSuiteProvider>(
    suite: &S,
    keys: &Keys,
    package: &MlsKeyPackage,
) -> Result<(Vec<u8>, KeyPackageData), Error> {
    let key_package = MlsMessage::from_bytes(package.key_package.as_ref())
        .map_err(translate)?
        .into_key_package()
        .ok_or_else(|| Error::bad_request("key_package: a message of another kind"))?;
    if key_package.cipher_suite != suite.cipher_suite() {
        return Err(Error::bad_request("key_package: of another cipher suite"));
    }
    if key_package.signing_identity().signature_key != keys.public {
        return Err(Error::bad_request("signature_priv: not the key in a key package's leaf"));
    }
    let init = hpke_private(suite, "init_priv", &package.init_priv, &key_package.hpke_init_key)?;
    let encryption = hpke_private(suite, "encryption_priv", &package.encryption_priv, &encryption_key(&key_package)?)?;
    let reference = key_package.to_reference(suite).map_err(translate)?.to_vec();
    let expiration = key_package.expiration().map_err(translate)?.seconds_since_epoch();
    let bytes = key_package.mls_encode_to_vec().map_err(Error::internal)?;
    Ok((reference, KeyPackageData::new(bytes, init, encryption, expiration)))
}

/// A stored key package and its private keys as their standards write them.
pub(crate) fn published(suite: CipherSuite, data: &KeyPackageData) -> MlsKeyPackage {
    MlsKeyPackage {
        key_package: [&KEY_PACKAGE_HEADER, data.key_package_bytes.as_slice()].concat().into(),
        init_priv: padded(suite, &data.init_key).into(),
        encryption_priv: padded(suite, &data.leaf_node_key).into(),
    }
}

/// The leaf's encryption key, to which the library gives no access: the bytes before it are the version, the cipher suite and
/// the init key (RFC 9420, sections 7.2 and 10).
fn encryption_key(key_package: &KeyPackage) -> Result<HpkePublicKey, Error> {
    let bytes = key_package.mls_encode_to_vec().map_err(Error::internal)?;
    let mut rest = bytes.get(4..).unwrap_or_default();
    HpkePublicKey::mls_decode(&mut rest).and_then(|_| HpkePublicKey::mls_decode(&mut rest)).map_err(Error::internal)
}

/// The private key of `public`.
fn hpke_private<S: CipherSuiteProvider>(
    suite: &S,
    name: &str,
    private: &Bytes,
    public: &HpkePublicKey,
) -> Result<HpkeSecretKey, Error> {
    let secret = HpkeSecretKey::from(scalar(suite.cipher_suite(), name, private.as_ref())?);
    let opened = suite
        .hpke_seal(public, &[], None, PROBE)
        .and_then(|sealed| suite.hpke_open(&sealed, &secret, public, &[], None));
    match opened {
        Ok(opened) if opened.as_slice() == PROBE => Ok(secret),
        _ => Err(Error::bad_request(format!("{name}: not the private key of the public one"))),
    }
}

fn scalar(suite: CipherSuite, name: &str, private: &[u8]) -> Result<Vec<u8>, Error> {
    match scalar_length(suite) {
        Some(length) if private.is_empty() || private.len() > length => {
            Err(Error::bad_request(format!("{name}: {} bytes instead of {length}", private.len())))
        }
        _ => Ok(padded(suite, private)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use e2esm_adapter::ErrorClass;
    use mls_rs::CryptoProvider;
    use mls_rs_crypto_awslc::AwsLcCryptoProvider;
    use mls_rs_crypto_rustcrypto::RustCryptoProvider;

    use super::*;

    const SUITE: CipherSuite = CipherSuite::P256_AES128;

    fn public<S: CipherSuiteProvider>(suite: &S, private: &[u8]) -> Result<Vec<u8>, ErrorClass> {
        let keys = signature_keys(suite, private).map_err(|error| error.class)?;
        Ok(keys.public.as_bytes().to_vec())
    }

    fn a_scalar_may_lack_zeros_and_not_have_more<S: CipherSuiteProvider>(suite: &S) {
        let mut full = [0; 32];
        full[29..].copy_from_slice(&[1, 2, 3]);
        let expected = public(suite, &full).unwrap();
        assert_eq!(public(suite, &full[29..]).unwrap(), expected);
        assert_eq!(public(suite, &full[1..]).unwrap(), expected);
        assert_ne!(public(suite, &full[30..]).unwrap(), expected);
        for none in [[&[0], full.as_slice()].concat(), vec![0; 32], vec![0xff; 32], Vec::new()] {
            assert_eq!(public(suite, &none), Err(ErrorClass::BadRequest), "{none:?}");
        }
    }

    #[test]
    fn a_scalar_is_taken_at_its_full_length_and_without_leading_zeros() {
        a_scalar_may_lack_zeros_and_not_have_more(&RustCryptoProvider::new().cipher_suite_provider(SUITE).unwrap());
        a_scalar_may_lack_zeros_and_not_have_more(&AwsLcCryptoProvider::new().cipher_suite_provider(SUITE).unwrap());
    }

    #[test]
    fn a_scalar_is_told_at_its_full_length() {
        for (suite, length) in [(SUITE, 32), (CipherSuite::P384_AES256, 48), (CipherSuite::P521_AES256, 66)] {
            let short = vec![7; length - 2];
            let expected = [&[0, 0], short.as_slice()].concat();
            assert_eq!(signature_private(suite, &SignatureSecretKey::new(short.clone())).0, expected);
            let data = KeyPackageData::new(vec![1, 2, 3], short.clone().into(), short.into(), 0);
            let told = published(suite, &data);
            assert_eq!((told.init_priv.0, told.encryption_priv.0), (expected.clone(), expected));
        }
    }

    #[test]
    fn an_ed25519_key_is_its_seed() {
        let seed = [7; 32];
        let suite = CipherSuite::CURVE25519_AES128;
        let rustcrypto = RustCryptoProvider::new().cipher_suite_provider(suite).unwrap();
        let aws_lc = AwsLcCryptoProvider::new().cipher_suite_provider(suite).unwrap();
        for keys in [signature_keys(&rustcrypto, &seed).unwrap(), signature_keys(&aws_lc, &seed).unwrap()] {
            let signature = rustcrypto.sign(&keys.secret, b"statement").unwrap();
            aws_lc.verify(&keys.public, &signature, b"statement").unwrap();
            aws_lc.verify(&keys.public, &signature, b"another").unwrap_err();
            assert_eq!(signature_private(suite, &keys.secret).as_ref(), seed);
        }
    }
}
