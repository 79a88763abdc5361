//! What a thief reads beyond what the library reads for it: the messages that the robbed device sends.
//!
//! openmls refuses to open what bears its own leaf, since a sender keeps no key to open it with. A thief has the sending
//! ratchet too, and needs no more: it lets a copy of the group encrypt until it comes to the message's generation, and
//! overhears the key. What had been sent before the theft stays closed, as it should: the ratchet is past it.

use std::sync::{Mutex, PoisonError};

use e2esm_adapter::Error;
use openmls::group::MlsGroup;
use openmls::prelude::ProtocolMessage;
use openmls::prelude::tls_codec::{DeserializeBytes, VLBytes};
use openmls_rust_crypto::MemoryStorage;
use openmls_traits::crypto::OpenMlsCrypto;

use crate::bent::{Bend, Bent, Sealing};
use crate::errors::refused;
use crate::meter::SignatureKey;
use crate::provider::{Backend, Parts, Provider, SUITE};

/// Reads an application message of this very leaf's, given as the library takes it and as bytes.
pub(crate) fn read_own<C: Backend>(
    group: &mut MlsGroup,
    provider: &Provider<C>,
    signer: &SignatureKey,
    message: ProtocolMessage,
    bytes: &[u8],
) -> Result<Option<Vec<u8>>, Error> {
    let crypto = Bent::new(&provider.crypto, Overheard::default());
    let parts = Parts { crypto: &crypto, rand: &provider.crypto, storage: &provider.storage };
    group.process_message(&parts, message).map_err(refused("listening to an own message"))?;
    let Some(wanted) = crypto.into_bend().opened().and_then(|data| SenderData::parse(&data)) else { return Ok(None) };

    let scratch = MemoryStorage::default();
    let values = provider.storage.values.read().map_err(Error::internal)?.clone();
    *scratch.values.write().map_err(Error::internal)? = values;
    let copy = MlsGroup::load(&scratch, group.group_id()).map_err(Error::internal)?;
    let mut copy = copy.ok_or_else(|| Error::internal("the group is not in the storage"))?;
    // With proposals pending the library encrypts nothing.
    copy.clear_pending_proposals(&scratch).map_err(Error::internal)?;
    let furthest = copy.configuration().sender_ratchet_configuration().maximum_forward_distance();
    for _ in 0..=furthest {
        let crypto = Bent::new(&provider.crypto, Overheard::default());
        let parts = Parts { crypto: &crypto, rand: &provider.crypto, storage: &scratch };
        copy.create_message(&parts, signer, b"").map_err(refused("advancing a stolen ratchet"))?;
        let Some((sealed, own)) = crypto.into_bend().sealed() else { return Ok(None) };
        if own.generation < wanted.generation {
            continue;
        }
        if own.generation > wanted.generation {
            break;
        }
        let nonce = guarded(&guarded(&sealed.nonce, own.reuse_guard), wanted.reuse_guard);
        let Some(ciphertext) = ciphertext_of(bytes) else { return Ok(None) };
        let aead = SUITE.aead_algorithm();
        let content = provider.crypto.aead_decrypt(aead, &sealed.key, &ciphertext, &nonce, &sealed.aad);
        let Some((content, data)) =
            content.ok().and_then(|content| application_data(&content).map(|data| (content, data)))
        else {
            return Ok(None);
        };
        // Any member can encrypt with this ratchet, but not sign; and Ed25519 signs the same content the same way.
        let crypto = Bent::new(&provider.crypto, Overheard::default());
        let parts = Parts { crypto: &crypto, rand: &provider.crypto, storage: &scratch };
        copy.create_message(&parts, signer, &data).map_err(refused("signing anew"))?;
        let signed = crypto.into_bend().sealed();
        return Ok(signed.is_some_and(|(anew, _)| content.starts_with(&anew.data)).then_some(data));
    }
    Ok(None)
}

/// RFC 9420, 6.3.2.
struct SenderData {
    generation: u32,
    reuse_guard: [u8; 4],
}

impl SenderData {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let (generation, reuse_guard) = bytes.get(4..12)?.split_at(4);
        Some(Self {
            generation: u32::from_be_bytes(generation.try_into().ok()?),
            reuse_guard: reuse_guard.try_into().ok()?,
        })
    }
}

/// The ratchet's nonce with the guard XORed into its beginning, or out of it.
fn guarded(nonce: &[u8], guard: [u8; 4]) -> Vec<u8> {
    let mut nonce = nonce.to_vec();
    for (byte, guard) in nonce.iter_mut().zip(guard) {
        *byte ^= guard;
    }
    nonce
}

/// The ciphertext of a PrivateMessage (RFC 9420, 6.3): after version, wire format, group id, epoch, content type,
/// authenticated data and sender data.
fn ciphertext_of(bytes: &[u8]) -> Option<Vec<u8>> {
    let (_, rest) = VLBytes::tls_deserialize_bytes(bytes.get(4..)?).ok()?;
    let (_, rest) = VLBytes::tls_deserialize_bytes(rest.get(9..)?).ok()?;
    let (_, rest) = VLBytes::tls_deserialize_bytes(rest).ok()?;
    let (ciphertext, _) = VLBytes::tls_deserialize_bytes(rest).ok()?;
    Some(ciphertext.into())
}

/// A PrivateMessageContent begins with what was said.
fn application_data(content: &[u8]) -> Option<Vec<u8>> {
    let (data, _) = VLBytes::tls_deserialize_bytes(content).ok()?;
    Some(data.into())
}

struct Sealed {
    key: Vec<u8>,
    nonce: Vec<u8>,
    data: Vec<u8>,
    aad: Vec<u8>,
}

/// Bends nothing, and keeps what goes through the AEAD.
#[derive(Default)]
struct Overheard {
    sealed: Mutex<Vec<Sealed>>,
    opened: Mutex<Option<Vec<u8>>>,
}

impl Overheard {
    /// The sender data of the message that was opened.
    fn opened(self) -> Option<Vec<u8>> {
        self.opened.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// The content that was encrypted, and its sender data.
    fn sealed(self) -> Option<(Sealed, SenderData)> {
        let sealed = self.sealed.into_inner().unwrap_or_else(PoisonError::into_inner);
        let [content, sender_data] = <[Sealed; 2]>::try_from(sealed).ok()?;
        SenderData::parse(&sender_data.data).map(|data| (content, data))
    }
}

impl Bend for Overheard {
    fn seal<'a>(&'a self, sealing: Sealing<'a>) -> Sealing<'a> {
        let Sealing { key, nonce, data, aad } = sealing;
        let sealed = Sealed { key: key.to_vec(), nonce: nonce.to_vec(), data: data.to_vec(), aad: aad.to_vec() };
        self.sealed.lock().unwrap_or_else(PoisonError::into_inner).push(sealed);
        sealing
    }

    fn opened(&self, plaintext: &[u8]) {
        *self.opened.lock().unwrap_or_else(PoisonError::into_inner) = Some(plaintext.to_vec());
    }
}
