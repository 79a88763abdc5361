//! An insider's message under another member's name, consistent in all but the signature.
//!
//! Every member can derive every sender's ratchet, and openmls derives it when it decrypts. So the insider first lets its
//! own library try to open a decoy "from" the victim, and overhears key and nonce at the AEAD; a message that does not
//! open leaves the ratchets as they were. Then the library encrypts the insider's message as always, except that the
//! AEAD gets the victim's key, the sender data say the victim's leaf, and the signature is made over a content that
//! says so too. Receivers get as far as the signature, which is the insider's own.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use e2esm_adapter::Error;
use openmls::group::MlsGroup;
use openmls::prelude::tls_codec::{DeserializeBytes, Serialize, VLBytes};
use openmls::prelude::{LeafNodeIndex, MlsMessageIn, MlsMessageOut};
use openmls_traits::signatures::{Signer, SignerError};
use openmls_traits::types::{CryptoError, SignatureScheme};

use crate::bent::{Bend, Bent, Sealing, sign_content};
use crate::errors::refused;
use crate::meter::SignatureKey;
use crate::provider::{Backend, Parts, Provider};

/// A message by this device that says it is by the member at `victim`.
pub(crate) fn create_message<C: Backend>(
    group: &mut MlsGroup,
    provider: &Provider<C>,
    signer: &SignatureKey,
    victim: LeafNodeIndex,
    plaintext: &[u8],
) -> Result<MlsMessageOut, Error> {
    let borrowed = next_key(group, provider, victim)?;
    let crypto = Bent::new(&provider.crypto, Disguise { borrowed, calls: AtomicUsize::new(0) });
    let parts = Parts { crypto: &crypto, rand: &provider.crypto, storage: &provider.storage };
    let signer = OtherName { own: signer, name: victim };
    group.create_message(&parts, &signer, plaintext).map_err(refused("encrypting under another name"))
}

/// The key material of one message of a sender's.
struct Borrowed {
    sender_data: Vec<u8>,
    key: Vec<u8>,
    nonce: Vec<u8>,
}

/// What the victim would use for its next message, as far as this member knows: the generation after the last one used.
fn next_key<C: Backend>(
    group: &mut MlsGroup,
    provider: &Provider<C>,
    victim: LeafNodeIndex,
) -> Result<Borrowed, Error> {
    // A used generation has no key any more; an unused one has, also where a message was skipped. Only the head is
    // followed by more free generations than can have been skipped.
    let tolerance = group.configuration().sender_ratchet_configuration().out_of_order_tolerance();
    let mut head = 0;
    let mut generation = 0;
    let mut borrowed = None;
    while generation <= head + tolerance {
        match overhear(group, provider, victim, generation)? {
            Some(heard) if generation == head => borrowed = Some(heard),
            Some(_) => {}
            None => head = generation + 1,
        }
        generation += 1;
    }
    borrowed.ok_or_else(|| Error::internal("the victim's ratchet has no next key"))
}

/// The key for one generation, if this member still can derive it.
fn overhear<C: Backend>(
    group: &mut MlsGroup,
    provider: &Provider<C>,
    victim: LeafNodeIndex,
    generation: u32,
) -> Result<Option<Borrowed>, Error> {
    // The guard is XORed into the nonce: any will do, as long as the sender data say the same.
    let reuse_guard = [0; 4];
    let sender_data = [victim.u32().to_be_bytes(), generation.to_be_bytes(), reuse_guard].concat();
    let crypto = Bent::new(
        &provider.crypto,
        Ear { sender_data: sender_data.clone(), calls: AtomicUsize::new(0), heard: Mutex::new(None) },
    );
    let decoy = MlsMessageIn::tls_deserialize_exact_bytes(&decoy(group)?)
        .map_err(Error::internal)?
        .try_into_protocol_message()
        .map_err(Error::internal)?;
    let parts = Parts { crypto: &crypto, rand: &provider.crypto, storage: &provider.storage };
    if group.process_message(&parts, decoy).is_ok() {
        return Err(Error::internal("a decoy was opened"));
    }
    let heard = crypto.into_bend().heard.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(heard.map(|(key, nonce)| Borrowed { sender_data, key, nonce }))
}

/// An application message of this epoch whose ciphertexts say nothing (RFC 9420, 6.3).
fn decoy(group: &MlsGroup) -> Result<Vec<u8>, Error> {
    const MLS10: u16 = 1;
    const PRIVATE_MESSAGE: u16 = 2;
    const APPLICATION: u8 = 1;
    let opaque = |length| VLBytes::new(vec![0; length]);
    let mut bytes = Vec::new();
    let written = MLS10
        .tls_serialize(&mut bytes)
        .and_then(|_| PRIVATE_MESSAGE.tls_serialize(&mut bytes))
        .and_then(|_| group.group_id().tls_serialize(&mut bytes))
        .and_then(|_| group.epoch().tls_serialize(&mut bytes))
        .and_then(|_| APPLICATION.tls_serialize(&mut bytes))
        .and_then(|_| opaque(0).tls_serialize(&mut bytes))
        .and_then(|_| opaque(28).tls_serialize(&mut bytes))
        .and_then(|_| opaque(64).tls_serialize(&mut bytes));
    written.map(|_| bytes).map_err(Error::internal)
}

/// Hands out chosen sender data, then listens.
struct Ear {
    sender_data: Vec<u8>,
    calls: AtomicUsize,
    heard: Mutex<Option<(Vec<u8>, Vec<u8>)>>,
}

impl Bend for Ear {
    fn open(&self, key: &[u8], nonce: &[u8]) -> Option<Result<Vec<u8>, CryptoError>> {
        Some(match self.calls.fetch_add(1, Ordering::Relaxed) {
            0 => Ok(self.sender_data.clone()),
            _ => {
                *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Some((key.to_vec(), nonce.to_vec()));
                Err(CryptoError::AeadDecryptionError)
            }
        })
    }
}

/// Encrypts the content with borrowed keys, and then sender data that fit them.
struct Disguise {
    borrowed: Borrowed,
    calls: AtomicUsize,
}

impl Bend for Disguise {
    fn seal<'a>(&'a self, honest: Sealing<'a>) -> Sealing<'a> {
        let Borrowed { sender_data, key, nonce } = &self.borrowed;
        match self.calls.fetch_add(1, Ordering::Relaxed) {
            0 => Sealing { key, nonce, ..honest },
            _ => Sealing { data: sender_data, ..honest },
        }
    }
}

/// Signs a content that names another sender.
struct OtherName<'a> {
    own: &'a SignatureKey,
    name: LeafNodeIndex,
}

impl Signer for OtherName<'_> {
    fn sign(&self, payload: &[u8]) -> Result<Vec<u8>, SignerError> {
        let (label, content) = sign_content(payload).ok_or(SignerError::SigningError)?;
        let content = renamed(content, self.name).ok_or(SignerError::SigningError)?;
        let mut payload = Vec::new();
        VLBytes::new(label)
            .tls_serialize(&mut payload)
            .and_then(|_| VLBytes::new(content).tls_serialize(&mut payload))
            .map_err(|_| SignerError::SigningError)?;
        self.own.sign(&payload)
    }

    fn signature_scheme(&self) -> SignatureScheme {
        self.own.signature_scheme()
    }
}

/// A `FramedContentTBS` with another leaf index (RFC 9420, 6.1): version, wire format, group id, epoch, sender type, index.
fn renamed(mut content: Vec<u8>, name: LeafNodeIndex) -> Option<Vec<u8>> {
    let (_, after_group) = VLBytes::tls_deserialize_bytes(content.get(4..)?).ok()?;
    let index = content.len() - after_group.len() + 8 + 1;
    content.get_mut(index..index + 4)?.copy_from_slice(&name.u32().to_be_bytes());
    Some(content)
}
