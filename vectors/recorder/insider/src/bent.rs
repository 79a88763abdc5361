//! An insider's cryptography: the real crypto provider with a bend underneath the library, and a record of the secrets
//! that pass through it.
//!
//! While a bend is in force it sees what goes into each operation and what comes out, and may change either; the library
//! makes everything downstream consistent with that. Which operation is meant shows in its input: signatures and
//! encryptions to a public key bear labels (RFC 9420, sections 5.1.2 and 5.1.3), so do the steps of the key schedule
//! (section 8).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mls_rs::crypto::{HpkeCiphertext, HpkePsk, HpkePublicKey, HpkeSecretKey, SignaturePublicKey, SignatureSecretKey};
use mls_rs::{CipherSuite, CipherSuiteProvider, CryptoProvider};
use zeroize::Zeroizing;

use crate::wire::Reader;

/// One call of the library's, before it is made or after it.
#[derive(Debug)]
pub(crate) enum Call<'a> {
    /// About to sign.
    Sign {
        /// The label, without the protocol's prefix.
        label: &'a str,
        /// What is signed under it.
        content: &'a mut Vec<u8>,
        /// With which key.
        key: &'a mut SignatureSecretKey,
    },
    /// Signed.
    Signature {
        /// The label, without the protocol's prefix.
        label: &'a str,
        /// The signature.
        signature: &'a mut Vec<u8>,
    },
    /// About to compute a tag.
    Mac {
        /// With which key.
        key: &'a mut Vec<u8>,
        /// Over what.
        data: &'a mut Vec<u8>,
    },
    /// The tag.
    Tag {
        /// Over what.
        data: &'a [u8],
        /// The tag.
        tag: &'a mut Vec<u8>,
    },
    /// The hash.
    Hash {
        /// Of what.
        data: &'a [u8],
        /// The hash.
        hash: &'a mut Vec<u8>,
    },
    /// A step of the key schedule, taken.
    Expand {
        /// The label, without the protocol's prefix.
        label: &'a str,
        /// What came of it.
        secret: &'a mut Vec<u8>,
    },
    /// A fresh HPKE key pair.
    KemGenerate {
        /// The private key.
        secret: &'a mut HpkeSecretKey,
        /// The public one.
        public: &'a mut HpkePublicKey,
    },
    /// An HPKE key pair that follows from a secret.
    KemDerive {
        /// The public key.
        public: &'a mut HpkePublicKey,
    },
    /// About to encrypt to a public key.
    Seal {
        /// The label, without the protocol's prefix.
        label: &'a str,
        /// To whom.
        to: &'a mut HpkePublicKey,
        /// The context under the label.
        context: &'a mut Vec<u8>,
        /// What.
        plaintext: &'a mut Vec<u8>,
    },
    /// About to encrypt with a symmetric key.
    AeadSeal {
        /// What.
        plaintext: &'a mut Vec<u8>,
    },
}

/// What goes wrong.
pub(crate) type Bend = Box<dyn FnMut(Call<'_>) + Send>;

/// Secrets that an insider has in hand, as they passed through the provider.
#[derive(Clone, Debug)]
pub(crate) enum Seen {
    /// The secret of the epoch with this GroupContext, encoded (RFC 9420, section 8).
    EpochSecret {
        /// The context.
        context: Vec<u8>,
        /// The secret.
        secret: Vec<u8>,
    },
    /// The path secret of a node (section 7.4).
    PathSecret(Vec<u8>),
    /// A GroupSecrets, encoded (section 12.4.3.1).
    GroupSecrets(Vec<u8>),
    /// The private key of an encryption key.
    EncryptionKey {
        /// The public key.
        public: Vec<u8>,
        /// The private one.
        secret: Vec<u8>,
    },
}

/// The place where an insider reaches into the cryptography: shared by all providers of one device.
#[derive(Clone, Default)]
pub(crate) struct Lever(Arc<Mutex<Mechanism>>);

#[derive(Default)]
struct Mechanism {
    bend: Option<Bend>,
    seen: Vec<Seen>,
}

impl Lever {
    /// Puts a bend in force until the answer is dropped.
    pub(crate) fn pull(&self, bend: impl FnMut(Call<'_>) + Send + 'static) -> Pulled {
        self.lock().bend = Some(Box::new(bend));
        Pulled(self.clone())
    }

    /// Everything that was seen so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.lock().seen.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Mechanism> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A bend must not use a provider with this lever: the lever is held while the bend is at work.
    fn through(&self, call: Call<'_>) {
        if let Some(bend) = &mut self.lock().bend {
            bend(call);
        }
    }

    fn remember(&self, seen: Seen) {
        self.lock().seen.push(seen);
    }
}

/// Lets the lever go when dropped.
#[must_use]
pub(crate) struct Pulled(Lever);

impl Drop for Pulled {
    fn drop(&mut self) {
        self.0.lock().bend = None;
    }
}

/// A crypto provider with a lever.
#[derive(Clone)]
pub(crate) struct BentProvider<P> {
    inner: P,
    lever: Lever,
}

impl<P> BentProvider<P> {
    /// Around `inner`.
    pub(crate) fn new(inner: P, lever: Lever) -> Self {
        Self { inner, lever }
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

/// A cipher suite's operations, with a lever.
#[derive(Clone)]
pub(crate) struct BentSuite<S> {
    inner: S,
    lever: Lever,
}

/// A label and what stands under it: SignContent and EncryptContext (RFC 9420, sections 5.1.2 and 5.1.3) are encoded alike.
/// None for what is no such structure.
fn labelled(data: &[u8]) -> Option<(String, Vec<u8>)> {
    let mut reader = Reader::new(data);
    let (label, content) = (reader.opaque().ok()?, reader.opaque().ok()?);
    let label = String::from_utf8(label).ok()?;
    reader.is_empty().then_some((label.strip_prefix("MLS 1.0 ")?.to_owned(), content))
}

/// SignContent and EncryptContext.
pub(crate) fn label(label: &str, content: &[u8]) -> Vec<u8> {
    let mut data = Vec::new();
    crate::wire::write_opaque(format!("MLS 1.0 {label}").as_bytes(), &mut data);
    crate::wire::write_opaque(content, &mut data);
    data
}

impl<S: CipherSuiteProvider> CipherSuiteProvider for BentSuite<S> {
    type Error = S::Error;
    type HpkeContextS = S::HpkeContextS;
    type HpkeContextR = S::HpkeContextR;

    fn cipher_suite(&self) -> CipherSuite {
        self.inner.cipher_suite()
    }

    fn hash(&self, data: &[u8]) -> Result<Vec<u8>, S::Error> {
        let mut hash = self.inner.hash(data)?;
        self.lever.through(Call::Hash { data, hash: &mut hash });
        Ok(hash)
    }

    fn mac(&self, key: &[u8], data: &[u8]) -> Result<Vec<u8>, S::Error> {
        let (mut key, mut data) = (key.to_vec(), data.to_vec());
        self.lever.through(Call::Mac { key: &mut key, data: &mut data });
        let mut tag = self.inner.mac(&key, &data)?;
        self.lever.through(Call::Tag { data: &data, tag: &mut tag });
        Ok(tag)
    }

    fn aead_seal(&self, key: &[u8], data: &[u8], aad: Option<&[u8]>, nonce: &[u8]) -> Result<Vec<u8>, S::Error> {
        let mut plaintext = data.to_vec();
        self.lever.through(Call::AeadSeal { plaintext: &mut plaintext });
        self.inner.aead_seal(key, &plaintext, aad, nonce)
    }

    fn aead_open(
        &self,
        key: &[u8],
        ciphertext: &[u8],
        aad: Option<&[u8]>,
        nonce: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, S::Error> {
        self.inner.aead_open(key, ciphertext, aad, nonce)
    }

    fn aead_key_size(&self) -> usize {
        self.inner.aead_key_size()
    }

    fn aead_nonce_size(&self) -> usize {
        self.inner.aead_nonce_size()
    }

    fn kdf_extract(&self, salt: &[u8], ikm: &[u8]) -> Result<Zeroizing<Vec<u8>>, S::Error> {
        self.inner.kdf_extract(salt, ikm)
    }

    fn kdf_expand(&self, prk: &[u8], info: &[u8], len: usize) -> Result<Zeroizing<Vec<u8>>, S::Error> {
        let mut secret = self.inner.kdf_expand(prk, info, len)?;
        // KDFLabel: a length of two bytes, and then what the other labelled structures have.
        if let Some((label, context)) = info.get(2..).and_then(labelled) {
            self.lever.through(Call::Expand { label: &label, secret: &mut secret });
            if label == "epoch" {
                self.lever.remember(Seen::EpochSecret { context, secret: secret.to_vec() });
            }
        }
        Ok(secret)
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
    ) -> Result<HpkeCiphertext, S::Error> {
        let Some((name, mut context)) = labelled(info) else { return self.inner.hpke_seal(remote_key, info, aad, pt) };
        match name.as_str() {
            "UpdatePathNode" => self.lever.remember(Seen::PathSecret(pt.to_vec())),
            "Welcome" => self.lever.remember(Seen::GroupSecrets(pt.to_vec())),
            _ => {}
        }
        let (mut to, mut plaintext) = (remote_key.clone(), pt.to_vec());
        self.lever.through(Call::Seal { label: &name, to: &mut to, context: &mut context, plaintext: &mut plaintext });
        self.inner.hpke_seal(&to, &label(&name, &context), aad, &plaintext)
    }

    fn hpke_seal_psk(
        &self,
        remote_key: &HpkePublicKey,
        info: &[u8],
        aad: Option<&[u8]>,
        pt: &[u8],
        psk: HpkePsk<'_>,
    ) -> Result<HpkeCiphertext, S::Error> {
        self.inner.hpke_seal_psk(remote_key, info, aad, pt, psk)
    }

    fn hpke_open(
        &self,
        ciphertext: &HpkeCiphertext,
        local_secret: &HpkeSecretKey,
        local_public: &HpkePublicKey,
        info: &[u8],
        aad: Option<&[u8]>,
    ) -> Result<Zeroizing<Vec<u8>>, S::Error> {
        self.inner.hpke_open(ciphertext, local_secret, local_public, info, aad)
    }

    fn hpke_open_psk(
        &self,
        ciphertext: &HpkeCiphertext,
        local_secret: &HpkeSecretKey,
        local_public: &HpkePublicKey,
        info: &[u8],
        aad: Option<&[u8]>,
        psk: HpkePsk<'_>,
    ) -> Result<Zeroizing<Vec<u8>>, S::Error> {
        self.inner.hpke_open_psk(ciphertext, local_secret, local_public, info, aad, psk)
    }

    fn hpke_setup_s(&self, remote_key: &HpkePublicKey, info: &[u8]) -> Result<(Vec<u8>, Self::HpkeContextS), S::Error> {
        self.inner.hpke_setup_s(remote_key, info)
    }

    fn hpke_setup_r(
        &self,
        kem_output: &[u8],
        local_secret: &HpkeSecretKey,
        local_public: &HpkePublicKey,
        info: &[u8],
    ) -> Result<Self::HpkeContextR, S::Error> {
        self.inner.hpke_setup_r(kem_output, local_secret, local_public, info)
    }

    fn kem_derive(&self, ikm: &[u8]) -> Result<(HpkeSecretKey, HpkePublicKey), S::Error> {
        let (secret, mut public) = self.inner.kem_derive(ikm)?;
        self.lever.through(Call::KemDerive { public: &mut public });
        Ok((secret, public))
    }

    fn kem_generate(&self) -> Result<(HpkeSecretKey, HpkePublicKey), S::Error> {
        let (mut secret, mut public) = self.inner.kem_generate()?;
        self.lever.through(Call::KemGenerate { secret: &mut secret, public: &mut public });
        self.lever.remember(Seen::EncryptionKey { public: public.to_vec(), secret: secret.to_vec() });
        Ok((secret, public))
    }

    fn kem_public_key_validate(&self, key: &HpkePublicKey) -> Result<(), S::Error> {
        self.inner.kem_public_key_validate(key)
    }

    fn random_bytes(&self, out: &mut [u8]) -> Result<(), S::Error> {
        self.inner.random_bytes(out)
    }

    fn signature_key_generate(&self) -> Result<(SignatureSecretKey, SignaturePublicKey), S::Error> {
        self.inner.signature_key_generate()
    }

    fn signature_key_derive_public(&self, secret_key: &SignatureSecretKey) -> Result<SignaturePublicKey, S::Error> {
        self.inner.signature_key_derive_public(secret_key)
    }

    fn sign(&self, secret_key: &SignatureSecretKey, data: &[u8]) -> Result<Vec<u8>, S::Error> {
        let Some((name, mut content)) = labelled(data) else { return self.inner.sign(secret_key, data) };
        let mut key = secret_key.clone();
        self.lever.through(Call::Sign { label: &name, content: &mut content, key: &mut key });
        let mut signature = self.inner.sign(&key, &label(&name, &content))?;
        self.lever.through(Call::Signature { label: &name, signature: &mut signature });
        Ok(signature)
    }

    fn verify(&self, public_key: &SignaturePublicKey, signature: &[u8], data: &[u8]) -> Result<(), S::Error> {
        self.inner.verify(public_key, signature, data)
    }
}
