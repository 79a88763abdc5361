//! One device's keys: [`Primitives`] over libsignal.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{SystemTime, UNIX_EPOCH};

use e2esm_adapter::{
    Authorisation, Bundle, Bytes, Capability, Delivery, DeliveryKind, Description, DeviceId, Error, Event, Fingerprint,
    FingerprintKind, GroupId, Identity, LinkRequest, Notebook, Passive, Protocol, Start,
};
use e2esm_sender_keys::{Kinds, Primitives, Sealed};
use libsignal_protocol::{
    CiphertextMessage, GenericSignedPreKey, IdentityKey, IdentityKeyPair, KeyPair, KyberPayload, KyberPreKeyId,
    KyberPreKeyRecord, PreKeyId, PreKeyRecord, PreKeySignalMessage, ProtocolAddress, PublicKey, SessionRecord,
    SessionUsabilityRequirements, SignalMessage, SignedPreKeyId, SignedPreKeyRecord, Timestamp, kem, message_decrypt,
    message_encrypt, process_prekey_bundle,
};
use prost::Message;
use rand::rngs::OsRng;
use rand::{CryptoRng, Rng, TryRngCore};

use crate::address::AddressBook;
use crate::bundle::{WireBundle, WireKey};
use crate::error::{at_once, classify, malformed};
use crate::groups::Drawer;
use crate::passive::{self, Receiver};
use crate::state::State;
use crate::stores::{Identities, KyberPreKeys, PreKeys, Sessions, SignedPreKeys, identity};

/// The iterations that Signal's own applications ask for.
const FINGERPRINT_ITERATIONS: u32 = 5200;
/// The version of the format for scanning, which does not bear on the digits.
const FINGERPRINT_VERSION: u32 = 2;
/// Registration ids have 14 bits, and 0 says that there is none.
pub(crate) const REGISTRATION_IDS: std::ops::RangeInclusive<u32> = 1..=0x3fff;

/// The randomness that libsignal takes as a parameter.
pub(crate) fn rng() -> impl CryptoRng + Rng {
    OsRng.unwrap_err()
}

/// One device's keys in libsignal's terms.
pub(crate) struct Signal {
    pub(crate) id: DeviceId,
    pub(crate) address: ProtocolAddress,
    pub(crate) identities: Identities,
    pub(crate) pre_keys: PreKeys,
    /// The last one is the one in use.
    pub(crate) signed_pre_keys: SignedPreKeys,
    pub(crate) kyber_pre_keys: KyberPreKeys,
    pub(crate) sessions: Sessions,
    pub(crate) groups: BTreeMap<GroupId, Drawer>,
    pub(crate) next_id: u32,
    pub(crate) degenerate: bool,
}

impl Signal {
    fn fresh_id(&mut self) -> u32 {
        let id = self.next_id;
        self.next_id += 1;
        id
    }

    fn sign(&self, key: &[u8]) -> Result<Vec<u8>, Error> {
        let signature = self.identities.own.private_key().calculate_signature(key, &mut rng());
        signature.map(<[u8]>::into_vec).map_err(|error| classify(error.into()))
    }

    fn renew_signed_pre_key(&mut self) -> Result<(), Error> {
        let pair = KeyPair::generate(&mut rng());
        let signature = self.sign(&pair.public_key.serialize())?;
        let id = SignedPreKeyId::from(self.fresh_id());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(Error::internal)?;
        let now = Timestamp::from_epoch_millis(u64::try_from(now.as_millis()).map_err(Error::internal)?);
        self.signed_pre_keys.0.insert(id, SignedPreKeyRecord::new(id, now, &pair, &signature));
        Ok(())
    }

    fn address(&mut self, device: &DeviceId) -> Result<ProtocolAddress, Error> {
        self.identities.book.address(device)
    }

    fn known(&self, peer: &DeviceId) -> Option<&IdentityKey> {
        self.identities.known.get(&self.identities.book.find(peer)?)
    }

    fn drawer(&mut self, group: &GroupId) -> &mut Drawer {
        self.groups.entry(group.clone()).or_default()
    }
}

/// What two people compare: 60 digits, the same at both ends. The stable identifiers are the names, as UTF-8.
///
/// # Errors
/// `Internal` where the library fails.
pub(crate) fn safety_number(
    (own_name, own_key): (&str, &IdentityKey),
    (their_name, their_key): (&str, &IdentityKey),
) -> Result<String, Error> {
    let fingerprint = libsignal_protocol::Fingerprint::new(
        FINGERPRINT_VERSION,
        FINGERPRINT_ITERATIONS,
        own_name.as_bytes(),
        own_key,
        their_name.as_bytes(),
        their_key,
    );
    fingerprint.and_then(|fingerprint| fingerprint.display_string()).map_err(Error::internal)
}

/// What is held about one peer.
pub(crate) struct Peer {
    session: Option<SessionRecord>,
    identity: Option<IdentityKey>,
}

impl Primitives for Signal {
    type PeerState = Peer;
    type State = State;

    fn describe() -> Description {
        let configuration = [
            (
                "prekeys",
                "a one-time X25519 and a one-time Kyber1024 prekey in each bundle, one signed X25519 prekey a device",
            ),
            ("SPQR", "on: version 1, with the library's fallback for peers without it"),
            ("padding", "none: the library leaves it to the application"),
            ("safety number", "5200 iterations"),
        ];
        let unsupported = [(Capability::KeyRequest, "libsignal has no request for the keys of messages already sent")];
        Description {
            name: "libsignal-rust".into(),
            implementation: "libsignal".into(),
            version: "0.85.3 (libsignal-protocol-syft 0.85.3-beta.5)".into(),
            protocol: "Signal (PQXDH, SPQR, Double Ratchet, Sender Keys)".into(),
            cipher_suite: "X25519, Kyber1024 and ML-KEM 768, XEdDSA, AES-256-CBC, HMAC-SHA-256, HKDF-SHA-256".into(),
            crypto_provider: "curve25519-dalek, libcrux-ml-kem, RustCrypto".into(),
            configuration: configuration.map(|(name, value)| (name.into(), value.into())).into(),
            group_object: false,
            recorded: BTreeSet::from([Protocol::Signal]),
            unsupported: unsupported.map(|(capability, reason)| (capability, reason.into())).into(),
        }
    }

    fn new(id: &DeviceId) -> Result<Self, Error> {
        let mut book = AddressBook::default();
        let mut signal = Self {
            id: id.clone(),
            address: book.address(id)?,
            identities: Identities {
                own: IdentityKeyPair::generate(&mut rng()),
                registration_id: rng().random_range(REGISTRATION_IDS),
                known: BTreeMap::new(),
                book,
                notebook: Notebook::new(),
            },
            pre_keys: PreKeys::default(),
            signed_pre_keys: SignedPreKeys::default(),
            kyber_pre_keys: KyberPreKeys::default(),
            sessions: Sessions::default(),
            groups: BTreeMap::new(),
            next_id: 1,
            degenerate: false,
        };
        signal.renew_signed_pre_key()?;
        Ok(signal)
    }

    fn state(&self) -> Result<State, Error> {
        State::of(self)
    }

    fn restore(id: &DeviceId, state: State) -> Result<Self, Error> {
        state.restore(id)
    }

    const KINDS: Kinds = Kinds { key: DeliveryKind::SenderKeyDistribution, message: DeliveryKind::SenderKeyMessage };

    fn passive(start: &Start) -> Result<Box<dyn Passive>, Error> {
        Ok(Box::new(Receiver::start(start)?))
    }

    fn standard_keys(&mut self) -> Result<Start, Error> {
        passive::standard_keys(self)
    }

    fn delivery(&self, kind: DeliveryKind, peer: &DeviceId, bytes: &Bytes) -> Delivery {
        let from = self.identities.book.find(peer).map(|address| address.to_string());
        Delivery { kind, from, bytes: bytes.clone(), ratchet_tree: None }
    }

    fn notebook(&self) -> &Notebook {
        &self.identities.notebook
    }

    fn identity(&self) -> Result<Identity, Error> {
        Ok(identity(self.identities.own.identity_key()))
    }

    fn publish(&mut self, _: &DeviceId) -> Result<Bundle, Error> {
        let (id, signed) =
            self.signed_pre_keys.0.last_key_value().ok_or_else(|| Error::internal("no signed prekey"))?;
        let mut signed_pre_key = WireKey {
            id: (*id).into(),
            public: signed.public_key().map_err(classify)?.serialize().into_vec(),
            signature: signed.signature().map_err(classify)?,
        };
        let id = self.fresh_id();
        let one_time = KeyPair::generate(&mut rng());
        let kyber = KyberPreKeyRecord::generate(kem::KeyType::Kyber1024, id.into(), self.identities.own.private_key())
            .map_err(classify)?;
        let mut pre_key = WireKey { id, public: one_time.public_key.serialize().into_vec(), signature: Vec::new() };
        let kyber_pre_key = WireKey {
            id,
            public: kyber.public_key().map_err(classify)?.serialize().into_vec(),
            signature: kyber.signature().map_err(classify)?,
        };
        if self.degenerate {
            let zero = PublicKey::from_djb_public_key_bytes(&[0; 32]).map_err(|error| classify(error.into()))?;
            pre_key.public = zero.serialize().into_vec();
            signed_pre_key.public = zero.serialize().into_vec();
            signed_pre_key.signature = self.sign(&zero.serialize())?;
        }
        self.pre_keys.0.insert(PreKeyId::from(id), PreKeyRecord::new(id.into(), &one_time));
        self.kyber_pre_keys.0.insert(KyberPreKeyId::from(id), kyber);
        let bundle = WireBundle {
            registration_id: self.identities.registration_id,
            device_id: self.address.device_id().into(),
            identity_key: self.identities.own.identity_key().serialize().into_vec(),
            pre_key: Some(pre_key),
            signed_pre_key: Some(signed_pre_key),
            kyber_pre_key: Some(kyber_pre_key),
        };
        Ok(Bundle { device: self.id.clone(), bytes: bundle.encode_to_vec().into() })
    }

    fn bundle_identity(&self, bundle: &Bundle) -> Result<Identity, Error> {
        Ok(identity(&WireBundle::from_bytes(bundle.bytes.as_ref())?.identity_key()?))
    }

    fn introduce(&mut self, bundle: &Bundle) -> Result<(), Error> {
        let address = self.address(&bundle.device)?;
        let wire = WireBundle::from_bytes(bundle.bytes.as_ref())?;
        // The library would archive a session with another identity and still read with it.
        let replaced = match self.sessions.0.get(&address) {
            Some(session) => {
                session.remote_identity_key_bytes().map_err(classify)?.as_ref() != Some(&wire.identity_key)
            }
            None => false,
        };
        let former = if replaced { self.sessions.0.remove(&address) } else { None };
        let result = wire.to_library().and_then(|bundle| {
            at_once(process_prekey_bundle(
                &address,
                &mut self.sessions,
                &mut self.identities,
                &bundle,
                SystemTime::now(),
                &mut rng(),
            ))
        });
        match (result, former) {
            (Ok(()), _) => {
                self.notebook().note(Event::SessionOpened { peer: bundle.device.clone() });
                Ok(())
            }
            (Err(error), Some(former)) => {
                self.sessions.0.insert(address, former);
                Err(error)
            }
            (Err(error), None) => Err(error),
        }
    }

    fn has_session(&self, peer: &DeviceId) -> bool {
        let session = self.identities.book.find(peer).and_then(|address| self.sessions.0.get(&address));
        session.is_some_and(|session| {
            session.has_usable_sender_chain(SystemTime::now(), SessionUsabilityRequirements::NotStale).unwrap_or(false)
        })
    }

    fn known_identity(&self, peer: &DeviceId) -> Option<Identity> {
        self.known(peer).map(identity)
    }

    fn peer_state(&self, peer: &DeviceId) -> Result<Peer, Error> {
        let address = self.identities.book.find(peer);
        Ok(Peer {
            session: address.as_ref().and_then(|address| self.sessions.0.get(address)).cloned(),
            identity: self.known(peer).copied(),
        })
    }

    fn restore_peer(&mut self, peer: &DeviceId, state: Peer) {
        let Some(address) = self.identities.book.find(peer) else { return };
        put(&mut self.sessions.0, &address, state.session);
        put(&mut self.identities.known, &address, state.identity);
    }

    fn encrypt(&mut self, peer: &DeviceId, plaintext: &[u8]) -> Result<Sealed, Error> {
        let address = self.address(peer)?;
        let message = at_once(message_encrypt(
            plaintext,
            &address,
            &mut self.sessions,
            &mut self.identities,
            SystemTime::now(),
            &mut rng(),
        ))?;
        let opens_session = matches!(message, CiphertextMessage::PreKeySignalMessage(_));
        Ok(Sealed { opens_session, bytes: message.serialize().into() })
    }

    fn decrypt(&mut self, claimed: &DeviceId, sealed: &Sealed) -> Result<Vec<u8>, Error> {
        let bytes = sealed.bytes.as_ref();
        let message = if sealed.opens_session {
            CiphertextMessage::PreKeySignalMessage(PreKeySignalMessage::try_from(bytes).map_err(malformed)?)
        } else {
            CiphertextMessage::SignalMessage(SignalMessage::try_from(bytes).map_err(malformed)?)
        };
        let address = self.address(claimed)?;
        let prekeys = self.kyber_pre_keys.0.len();
        let plaintext = at_once(message_decrypt(
            &message,
            &address,
            &mut self.sessions,
            &mut self.identities,
            &mut self.pre_keys,
            &self.signed_pre_keys,
            &mut self.kyber_pre_keys,
            &mut rng(),
        ))?;
        // Each session costs a Kyber prekey; a later prekey message of the same session does not.
        if self.kyber_pre_keys.0.len() < prekeys {
            self.notebook().note(Event::SessionOpened { peer: claimed.clone() });
        }
        Ok(plaintext)
    }

    fn new_sender_key(&mut self, group: &GroupId) -> Result<(), Error> {
        let me = self.address.clone();
        self.drawer(group).rotate(&me)
    }

    fn distribution(&mut self, group: &GroupId) -> Result<Bytes, Error> {
        let me = self.address.clone();
        self.drawer(group).distribution(&me)
    }

    fn accept_sender_key(&mut self, group: &GroupId, owner: &DeviceId, distribution: &[u8]) -> Result<(), Error> {
        let owner = self.address(owner)?;
        self.drawer(group).accept(owner, distribution)
    }

    fn group_encrypt(&mut self, group: &GroupId, plaintext: &[u8]) -> Result<Bytes, Error> {
        let me = self.address.clone();
        self.drawer(group).encrypt(&me, plaintext)
    }

    fn group_encrypt_as(&mut self, group: &GroupId, other: &DeviceId, plaintext: &[u8]) -> Result<Bytes, Error> {
        let (me, other) = (self.address.clone(), self.address(other)?);
        self.drawer(group).encrypt_as(&me, &other, plaintext)
    }

    fn group_decrypt(&mut self, group: &GroupId, claimed: &DeviceId, ciphertext: &[u8]) -> Result<Vec<u8>, Error> {
        let claimed = self.address(claimed)?;
        self.drawer(group).decrypt(&claimed, ciphertext)
    }

    fn fingerprint(&mut self, peer: &DeviceId) -> Result<Fingerprint, Error> {
        let theirs = self.known(peer).ok_or_else(|| Error::bad_request(format!("no identity of {peer} is known")))?;
        let own = self.identities.own.identity_key();
        let value = safety_number((&self.id.user.0, own), (&peer.user.0, theirs))?;
        Ok(Fingerprint { kind: FingerprintKind::SafetyNumber, value })
    }

    fn link_request(&mut self) -> Result<LinkRequest, Error> {
        Ok(LinkRequest { device: self.id.clone(), device_key: Bytes::default() })
    }

    fn authorise(&mut self, request: &LinkRequest) -> Result<Authorisation, Error> {
        let bytes = self.identities.own.serialize().into_vec().into();
        Ok(Authorisation { device: request.device.clone(), bytes })
    }

    fn accept_authorisation(&mut self, authorisation: &Authorisation) -> Result<(), Error> {
        if authorisation.device != self.id {
            let (theirs, mine) = (&authorisation.device, &self.id);
            return Err(Error::bad_request(format!("the authorisation is for {theirs}, this device is {mine}")));
        }
        let own = IdentityKeyPair::try_from(authorisation.bytes.as_ref()).map_err(malformed)?;
        let former = std::mem::replace(&mut self.identities.own, own);
        // The prekey's signature is the former key's.
        self.renew_signed_pre_key().inspect_err(|_| self.identities.own = former)
    }

    fn publish_degenerate_keys(&mut self, degenerate: bool) {
        self.degenerate = degenerate;
    }

    fn break_bundle(&self, bundle: &Bundle) -> Result<Bundle, Error> {
        let mut wire = WireBundle::from_bytes(bundle.bytes.as_ref())?;
        let signature = wire.signed_pre_key.as_mut().and_then(|key| key.signature.first_mut());
        *signature.ok_or_else(|| Error::bad_request("a bundle without a signature"))? ^= 1;
        Ok(Bundle { device: bundle.device.clone(), bytes: wire.encode_to_vec().into() })
    }

    fn rewrite_identity(&self, sealed: &Sealed) -> Result<Sealed, Error> {
        let message = PreKeySignalMessage::try_from(sealed.bytes.as_ref()).map_err(malformed)?;
        let kyber = message.kyber_pre_key_id().zip(message.kyber_ciphertext());
        let rewritten = PreKeySignalMessage::new(
            message.message_version(),
            message.registration_id(),
            message.pre_key_id(),
            message.signed_pre_key_id(),
            kyber.map(|(id, ciphertext)| KyberPayload::new(id, ciphertext.clone())),
            *message.base_key(),
            *self.identities.own.identity_key(),
            message.message().clone(),
        );
        let bytes = rewritten.map_err(classify)?.serialized().into();
        Ok(Sealed { opens_session: true, bytes })
    }
}

fn put<T>(store: &mut BTreeMap<ProtocolAddress, T>, address: &ProtocolAddress, value: Option<T>) {
    match value {
        Some(value) => store.insert(address.clone(), value),
        None => store.remove(address),
    };
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_session_is_post_quantum_in_its_handshake_and_in_its_ratchet_and_costs_one_prekey_of_each_kind() {
        let [(alice, mut a), (bob, mut b)] = ["alice", "bob"].map(|user| {
            let id = DeviceId::new(user, "phone");
            (id.clone(), Signal::new(&id).unwrap())
        });
        let bundle = b.publish(&alice).unwrap();
        a.introduce(&bundle).unwrap();
        for turn in 0..4 {
            let sealed = a.encrypt(&bob, b"ping").unwrap();
            assert_eq!(sealed.opens_session, turn == 0);
            assert_eq!(b.decrypt(&alice, &sealed).unwrap(), b"ping");
            let sealed = b.encrypt(&alice, b"pong").unwrap();
            assert_eq!(a.decrypt(&bob, &sealed).unwrap(), b"pong");
        }
        let required = SessionUsabilityRequirements::EstablishedWithPqxdh | SessionUsabilityRequirements::Spqr;
        for session in a.sessions.0.values().chain(b.sessions.0.values()) {
            assert!(session.has_usable_sender_chain(SystemTime::now(), required).unwrap());
        }
        assert!(b.pre_keys.0.is_empty() && b.kyber_pre_keys.0.is_empty());
        assert_eq!(b.signed_pre_keys.0.len(), 1);
    }

    #[test]
    fn each_bundle_has_one_time_prekeys_of_its_own() {
        let peer = DeviceId::new("alice", "phone");
        let mut bob = Signal::new(&DeviceId::new("bob", "phone")).unwrap();
        let [first, second] = [(); 2].map(|()| {
            let bundle = bob.publish(&peer).unwrap();
            assert_eq!(bob.bundle_identity(&bundle).unwrap(), bob.identity().unwrap());
            WireBundle::from_bytes(bundle.bytes.as_ref()).unwrap()
        });
        assert_eq!(first.signed_pre_key, second.signed_pre_key);
        assert!(first.pre_key.is_some() && first.pre_key != second.pre_key);
        assert_ne!(first.kyber_pre_key, second.kyber_pre_key);
    }
}
