//! A device that only receives, for recorded vectors: the library's sessions and sender keys, and nothing above them.
//!
//! It starts from raw private keys and knows addresses only; what is in a plaintext is none of its business. Identity keys
//! are trusted on first use, by the store that the library itself ships for that ([`InMemIdentityKeyStore`]); everything
//! else is in the stores of the live devices, where a used prekey is gone.

use std::collections::BTreeMap;

use e2esm_adapter::{
    Bytes, Delivered, Delivery, DeliveryKind, Error, KyberPrekey, Passive, Prekey, Protocol, SignalStart, SignedPrekey,
    Start,
};
use libsignal_protocol::{
    CiphertextMessage, GenericSignedPreKey, IdentityKey, IdentityKeyPair, IdentityKeyStore, InMemIdentityKeyStore,
    KeyPair, KyberPreKeyRecord, PreKeyRecord, PreKeySignalMessage, PrivateKey, ProtocolAddress,
    SenderKeyDistributionMessage, SignalMessage, SignedPreKeyRecord, Timestamp, group_decrypt, kem, message_decrypt,
    process_sender_key_distribution_message,
};

use crate::address;
use crate::error::{at_once, classify, malformed};
use crate::signal::{REGISTRATION_IDS, Signal, rng, safety_number};
use crate::stores::{KyberPreKeys, PreKeys, SenderKeys, Sessions, SignedPreKeys};

/// A passive device.
pub(crate) struct Receiver {
    /// Its own.
    address: ProtocolAddress,
    identity: IdentityKey,
    stores: Stores,
}

/// Everything that a delivery can touch.
#[derive(Clone)]
struct Stores {
    identities: InMemIdentityKeyStore,
    pre_keys: PreKeys,
    signed_pre_keys: SignedPreKeys,
    kyber_pre_keys: KyberPreKeys,
    sessions: Sessions,
    sender_keys: SenderKeys,
}

impl Receiver {
    /// A device with these keys and no session.
    ///
    /// # Errors
    /// `Unsupported` for another protocol. `BadRequest` for keys that are none, for prekeys that the identity key has not
    /// signed, and for two of one number.
    pub(crate) fn start(start: &Start) -> Result<Self, Error> {
        let Start::Signal(start) = start else {
            let (mine, theirs) = (Protocol::Signal.label(), start.protocol().label());
            return Err(Error::unsupported(format!("recorded vectors of {theirs}: libsignal speaks {mine} alone")));
        };
        if !REGISTRATION_IDS.contains(&start.registration_id) {
            return Err(Error::bad_request(format!("{} is not a registration id", start.registration_id)));
        }
        let own = key_pair(&start.identity_key_priv)?;
        let identity = IdentityKey::new(own.public_key);
        let mut stores = Stores {
            identities: InMemIdentityKeyStore::new(
                IdentityKeyPair::new(identity, own.private_key),
                start.registration_id,
            ),
            pre_keys: PreKeys::default(),
            signed_pre_keys: SignedPreKeys::default(),
            kyber_pre_keys: KyberPreKeys::default(),
            sessions: Sessions::default(),
            sender_keys: SenderKeys::default(),
        };
        for Prekey { id, private } in &start.one_time_prekeys {
            let record = PreKeyRecord::new((*id).into(), &key_pair(private)?);
            only(&mut stores.pre_keys.0, (*id).into(), record, || format!("one-time prekeys {id}"))?;
        }
        for SignedPrekey { id, private, signature } in &start.signed_prekeys {
            let pair = key_pair(private)?;
            let what = || format!("signed prekeys {id}");
            signed(&identity, &pair.public_key.serialize(), signature, what)?;
            let record = SignedPreKeyRecord::new((*id).into(), UNDATED, &pair, signature.as_ref());
            only(&mut stores.signed_pre_keys.0, (*id).into(), record, what)?;
        }
        for KyberPrekey { id, public, private, signature } in &start.kyber_prekeys {
            let pair = kyber_pair(public, private)?;
            let what = || format!("Kyber prekeys {id}");
            signed(&identity, public.as_ref(), signature, what)?;
            let record = KyberPreKeyRecord::new((*id).into(), UNDATED, &pair, signature.as_ref());
            only(&mut stores.kyber_pre_keys.0, (*id).into(), record, what)?;
        }
        for known in &start.known_identities {
            let address = address::parse(&known.address)?;
            let key = IdentityKey::decode(known.identity_key.as_ref()).map_err(malformed)?;
            if at_once(stores.identities.get_identity(&address))?.is_some() {
                return Err(Error::bad_request(format!("two identities of {address}")));
            }
            at_once(stores.identities.save_identity(&address, &key))?;
        }
        Ok(Self { address: address::parse(&start.address)?, identity, stores })
    }

    /// The number that is told when a session has been opened.
    fn safety_number(&self, peer: &ProtocolAddress, theirs: &IdentityKey) -> Result<String, Error> {
        safety_number((self.address.name(), &self.identity), (peer.name(), theirs))
    }

    /// What `stores` make of a delivery. They are to be dropped if it is refused.
    fn take(&self, stores: &mut Stores, delivery: &Delivery) -> Result<Delivered, Error> {
        if delivery.ratchet_tree.is_some() {
            return Err(Error::bad_request("a ratchet tree beside a delivery of Signal's"));
        }
        let from = delivery.from.as_deref().ok_or_else(|| Error::bad_request("a delivery from nobody"))?;
        let from = address::parse(from)?;
        let bytes = delivery.bytes.as_ref();
        match delivery.kind {
            DeliveryKind::PrekeyMessage => {
                let message = PreKeySignalMessage::try_from(bytes).map_err(malformed)?;
                let theirs = *message.identity_key();
                let prekeys = stores.kyber_pre_keys.0.len();
                let plaintext = stores.decrypt(&from, &CiphertextMessage::PreKeySignalMessage(message))?;
                // Each session costs a Kyber prekey; a later prekey message of the same session does not.
                let opened = stores.kyber_pre_keys.0.len() < prekeys;
                let safety_number = opened.then(|| self.safety_number(&from, &theirs)).transpose()?;
                Ok(Delivered { safety_number, ..read(&from, plaintext) })
            }
            DeliveryKind::Message => {
                let message = SignalMessage::try_from(bytes).map_err(malformed)?;
                Ok(read(&from, stores.decrypt(&from, &CiphertextMessage::SignalMessage(message))?))
            }
            DeliveryKind::SenderKeyDistribution => {
                let message = SenderKeyDistributionMessage::try_from(bytes).map_err(malformed)?;
                at_once(process_sender_key_distribution_message(&from, &message, &mut stores.sender_keys))?;
                Ok(Delivered::default())
            }
            DeliveryKind::SenderKeyMessage => {
                Ok(read(&from, at_once(group_decrypt(bytes, &mut stores.sender_keys, &from))?))
            }
            DeliveryKind::MlsMessage
            | DeliveryKind::SessionKey
            | DeliveryKind::ExportedSessionKey
            | DeliveryKind::MegolmMessage => {
                Err(Error::bad_request(format!("a device of Signal's takes no {:?}", delivery.kind)))
            }
        }
    }
}

impl Passive for Receiver {
    /// Works on a copy of the stores: whatever the library has written into them before it refuses is dropped with it.
    fn deliver(&mut self, delivery: &Delivery) -> Result<Delivered, Error> {
        let mut stores = self.stores.clone();
        let delivered = self.take(&mut stores, delivery)?;
        self.stores = stores;
        Ok(delivered)
    }
}

impl Stores {
    fn decrypt(&mut self, from: &ProtocolAddress, message: &CiphertextMessage) -> Result<Vec<u8>, Error> {
        at_once(message_decrypt(
            message,
            from,
            &mut self.sessions,
            &mut self.identities,
            &mut self.pre_keys,
            &self.signed_pre_keys,
            &mut self.kyber_pre_keys,
            &mut rng(),
        ))
    }
}

/// Prekeys are kept with a date for those who renew them, which a passive device does not.
const UNDATED: Timestamp = Timestamp::from_epoch_millis(0);

fn read(from: &ProtocolAddress, plaintext: Vec<u8>) -> Delivered {
    Delivered { plaintext: Some(plaintext.into()), sender: Some(from.to_string()), ..Delivered::default() }
}

fn key_pair(private: &Bytes) -> Result<KeyPair, Error> {
    let pair = PrivateKey::deserialize(private.as_ref()).and_then(KeyPair::try_from);
    pair.map_err(|error| malformed(error.into()))
}

/// Both halves of a Kyber prekey, if they belong together.
fn kyber_pair(public: &Bytes, private: &Bytes) -> Result<kem::KeyPair, Error> {
    let pair = kem::KeyPair::from_public_and_private(public.as_ref(), private.as_ref()).map_err(malformed)?;
    let (sent, ciphertext) = pair.public_key.encapsulate(&mut rng()).map_err(malformed)?;
    if pair.secret_key.decapsulate(&ciphertext).map_err(malformed)? == sent {
        Ok(pair)
    } else {
        Err(Error::bad_request("the halves of a Kyber prekey do not belong together"))
    }
}

fn signed(by: &IdentityKey, key: &[u8], signature: &Bytes, what: impl FnOnce() -> String) -> Result<(), Error> {
    if by.public_key().verify_signature(key, signature.as_ref()) {
        Ok(())
    } else {
        Err(Error::bad_request(format!("{}: the identity key has not signed this one", what())))
    }
}

fn only<K: Ord, V>(store: &mut BTreeMap<K, V>, id: K, record: V, what: impl FnOnce() -> String) -> Result<(), Error> {
    match store.insert(id, record) {
        None => Ok(()),
        Some(_) => Err(Error::bad_request(format!("{}: there are two", what()))),
    }
}

/// The prekeys of a live device that have not been used, with its identity key and its address. Those are left out that a
/// former identity key has signed, before this device was linked: no session can be opened with them any more. Known
/// identities are left out as well, because a passive device learns them from what is delivered to it, as the live one did.
///
/// # Errors
/// `Internal` where the library cannot read its own records.
pub(crate) fn standard_keys(signal: &Signal) -> Result<Start, Error> {
    let own = &signal.identities.own;
    let mut start = SignalStart {
        address: signal.address.to_string(),
        registration_id: signal.identities.registration_id,
        identity_key_priv: own.private_key().serialize().into(),
        one_time_prekeys: Vec::new(),
        signed_prekeys: Vec::new(),
        kyber_prekeys: Vec::new(),
        known_identities: Vec::new(),
    };
    for (id, record) in &signal.pre_keys.0 {
        let private = record.private_key().map_err(classify)?.serialize().into();
        start.one_time_prekeys.push(Prekey { id: (*id).into(), private });
    }
    for (id, record) in &signal.signed_pre_keys.0 {
        let (public, signature) = (record.public_key().map_err(classify)?, record.signature().map_err(classify)?);
        if own.public_key().verify_signature(&public.serialize(), &signature) {
            let private = record.private_key().map_err(classify)?.serialize().into();
            start.signed_prekeys.push(SignedPrekey { id: (*id).into(), private, signature: signature.into() });
        }
    }
    for (id, record) in &signal.kyber_pre_keys.0 {
        let public = record.public_key().map_err(classify)?.serialize();
        let signature = record.signature().map_err(classify)?;
        if own.public_key().verify_signature(&public, &signature) {
            let private = record.secret_key().map_err(classify)?.serialize().into_vec().into();
            let public = public.into_vec().into();
            start.kyber_prekeys.push(KyberPrekey { id: (*id).into(), public, private, signature: signature.into() });
        }
    }
    Ok(Start::Signal(start))
}
