//! vodozemac as [`Primitives`], and the places where it hands a decision to its caller.

use std::collections::{BTreeMap, BTreeSet};

use e2esm_account::Account;
use e2esm_adapter::{
    Authorisation, Bundle, Bytes, DecisionPoint, Delivery, DeliveryKind, Description, DeviceId, Error, Event, Fact,
    Fingerprint, FingerprintKind, GroupId, Identity, LinkRequest, Notebook, Passive, Protocol, Start,
};
use e2esm_sender_keys::{HandedOn, Kinds, Primitives, Sealed};
use serde::{Deserialize, Serialize};
use vodozemac::megolm::{self, ExportedSessionKey, InboundGroupSession, SessionKey};
use vodozemac::olm::{self, AccountPickle, InboundCreationResult, MessageType, OlmMessage, PreKeyMessage, Session};
use vodozemac::{Curve25519PublicKey, Ed25519Signature};

use crate::error::refused;
use crate::keys::{DeviceKeys, PrekeyBundle, beside, split_identity};
use crate::megolm::{Envelope, Sessions, SessionsPickle};
use crate::olm::{Peer, PeerPickle, no_session};
use crate::passive;

/// Whose Curve25519 key a session is opened with.
const OUTBOUND_IDENTITY: DecisionPoint = DecisionPoint::library("Account::create_outbound_session(identity_key)");
/// Whether a one-time key is the one its owner published.
const ONE_TIME_KEY: DecisionPoint = DecisionPoint::library("Account::create_outbound_session(one_time_key)");
/// Whose Curve25519 key an incoming session is expected to bear.
const INBOUND_IDENTITY: DecisionPoint = DecisionPoint::library("Account::create_inbound_session(their_identity_key)");
/// Whose message it is: a session knows only its own signing key.
const SENDER: DecisionPoint = DecisionPoint::library("InboundGroupSession::decrypt");
/// Whether a message has been read before.
const REPLAY: DecisionPoint = DecisionPoint::library("DecryptedMessage::message_index");
/// Whether a session that is handed on is whose it is said to be.
const IMPORT: DecisionPoint = DecisionPoint::library("InboundGroupSession::import");

/// One device.
pub(crate) struct Vodozemac {
    id: DeviceId,
    notebook: Notebook,
    olm: olm::Account,
    account: Account,
    peers: BTreeMap<DeviceId, Peer>,
    groups: BTreeMap<GroupId, Sessions>,
    degenerate: bool,
}

/// Everything that a device holds.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    olm: AccountPickle,
    account: Account,
    peers: BTreeMap<DeviceId, PeerPickle>,
    groups: BTreeMap<GroupId, SessionsPickle>,
}

impl Vodozemac {
    /// The question whose keys these are.
    fn ask_identity(&self, point: DecisionPoint, device: &DeviceId, identity: &Identity) -> Result<(), Error> {
        let known = self.peers.get(device).map(|peer| &peer.identity.account_key);
        let previous = known.filter(|known| **known != identity.account_key).cloned();
        self.notebook.require(point, Fact::Identity { device: device.clone(), identity: identity.clone(), previous })
    }

    fn opened(&mut self, device: &DeviceId, identity: Identity, session: Session) {
        self.notebook.note(Event::SessionOpened { peer: device.clone() });
        if let Some(peer) = self.peers.get_mut(device) {
            if peer.identity.account_key != identity.account_key {
                self.notebook.note(Event::KeyChanged { device: device.clone() });
            }
            peer.open(identity, session);
        } else {
            self.peers.insert(device.clone(), Peer::new(identity, session));
        }
    }

    /// A message that opens a session. vodozemac compares the Curve25519 key inside with the one it is given: that is
    /// the key this device is known by. Only where it is not known yet are the keys beside the message taken for it.
    fn decrypt_first(
        &mut self,
        claimed: &DeviceId,
        carried: Identity,
        message: &PreKeyMessage,
    ) -> Result<Vec<u8>, Error> {
        let identity = match self.peers.get(claimed) {
            Some(peer) if peer.identity.device_key != carried.device_key => peer.identity.clone(),
            _ => carried,
        };
        let expected = DeviceKeys::of(&identity)?.curve25519;
        self.ask_identity(INBOUND_IDENTITY, claimed, &identity)?;
        let InboundCreationResult { session, plaintext } =
            self.olm.create_inbound_session(olm::SessionConfig::default(), expected, message).map_err(refused)?;
        self.opened(claimed, identity, session);
        Ok(plaintext)
    }

    fn group(&mut self, group: &GroupId) -> &mut Sessions {
        self.groups.entry(group.clone()).or_default()
    }
}

impl Primitives for Vodozemac {
    type PeerState = Option<PeerPickle>;
    type State = State;

    fn describe() -> Description {
        let configuration = [
            ("olm", "SessionConfig::version_1, the default: AES-256-CBC, HMAC-SHA-256 truncated to 8 bytes"),
            (
                "megolm",
                "SessionConfig::version_1, the default: AES-256-CBC, HMAC-SHA-256 truncated to 8 bytes, Ed25519",
            ),
            ("bundles", "one-time keys, signed as Matrix signs them; no fallback key"),
            ("inbound group sessions", "kept from their first known index: advance_to is never called"),
            ("rotation", "none by count or time"),
        ];
        Description {
            name: "vodozemac".to_owned(),
            implementation: "vodozemac".to_owned(),
            version: vodozemac::VERSION.to_owned(),
            protocol: "Olm and Megolm".to_owned(),
            cipher_suite: "Olm version 1, Megolm version 1 (Curve25519, Ed25519, AES-256-CBC, HMAC-SHA-256)".to_owned(),
            crypto_provider: "RustCrypto and dalek".to_owned(),
            configuration: configuration.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            group_object: false,
            recorded: BTreeSet::from([Protocol::Olm, Protocol::Megolm]),
            unsupported: BTreeMap::new(),
        }
    }

    fn new(id: &DeviceId) -> Result<Self, Error> {
        let olm = olm::Account::new();
        let olm::IdentityKeys { ed25519, curve25519 } = olm.identity_keys();
        let account = Account::new(id, &DeviceKeys { curve25519, ed25519 }.to_bytes());
        Ok(Self {
            id: id.clone(),
            notebook: Notebook::new(),
            olm,
            account,
            peers: BTreeMap::new(),
            groups: BTreeMap::new(),
            degenerate: false,
        })
    }

    fn state(&self) -> Result<State, Error> {
        Ok(State {
            olm: self.olm.pickle(),
            account: self.account.clone(),
            peers: self.peers.iter().map(|(id, peer)| (id.clone(), peer.pickle())).collect(),
            groups: self.groups.iter().map(|(id, sessions)| (id.clone(), sessions.pickle())).collect(),
        })
    }

    fn restore(id: &DeviceId, state: State) -> Result<Self, Error> {
        let State { olm, account, peers, groups } = state;
        Ok(Self {
            id: id.clone(),
            notebook: Notebook::new(),
            olm: olm::Account::from_pickle(olm),
            account,
            peers: peers.into_iter().map(|(id, peer)| (id, peer.into())).collect(),
            groups: groups.into_iter().map(|(id, sessions)| (id, sessions.into())).collect(),
            degenerate: false,
        })
    }

    const KINDS: Kinds = Kinds { key: DeliveryKind::SessionKey, message: DeliveryKind::MegolmMessage };

    fn passive(start: &Start) -> Result<Box<dyn Passive>, Error> {
        passive::start(start)
    }

    fn standard_keys(&mut self) -> Result<Start, Error> {
        passive::standard_keys(&self.olm)
    }

    fn delivery(&self, kind: DeliveryKind, peer: &DeviceId, bytes: &Bytes) -> Delivery {
        // The Curve25519 key is the first half of what a device is known by.
        let from = || self.known_identity(peer).map(|identity| hex::encode(&identity.device_key.0[..32]));
        let (from, bytes) = match kind {
            DeliveryKind::PrekeyMessage => {
                (from(), split_identity(bytes.as_ref()).map_or_else(|_| bytes.clone(), |(_, message)| message.into()))
            }
            DeliveryKind::Message => (from(), bytes.clone()),
            DeliveryKind::MegolmMessage => (None, Envelope::message_in(bytes.as_ref()).into()),
            _ => (None, bytes.clone()),
        };
        Delivery { kind, from, bytes, ratchet_tree: None }
    }

    fn notebook(&self) -> &Notebook {
        &self.notebook
    }

    fn identity(&self) -> Result<Identity, Error> {
        Ok(self.account.identity())
    }

    fn publish(&mut self, _peer: &DeviceId) -> Result<Bundle, Error> {
        let one_time_key = if self.degenerate {
            Curve25519PublicKey::from_bytes([0; 32])
        } else {
            let created = self.olm.generate_one_time_keys(1).created;
            self.olm.mark_keys_as_published();
            *created.first().ok_or_else(|| Error::internal("vodozemac made no one-time key"))?
        };
        let signature = self.olm.sign(PrekeyBundle::statement(&one_time_key));
        let bundle = PrekeyBundle { identity: self.account.identity(), one_time_key, signature };
        Ok(Bundle { device: self.id.clone(), bytes: bundle.to_bytes() })
    }

    fn bundle_identity(&self, bundle: &Bundle) -> Result<Identity, Error> {
        Ok(PrekeyBundle::from_bytes(bundle.bytes.as_ref())?.identity)
    }

    fn introduce(&mut self, bundle: &Bundle) -> Result<(), Error> {
        let PrekeyBundle { identity, one_time_key, signature } = PrekeyBundle::from_bytes(bundle.bytes.as_ref())?;
        let DeviceKeys { curve25519, ed25519 } = DeviceKeys::of(&identity)?;
        let device = &bundle.device;
        self.ask_identity(OUTBOUND_IDENTITY, device, &identity)?;
        if ed25519.verify(PrekeyBundle::statement(&one_time_key).as_bytes(), &signature).is_err() {
            self.notebook.require(ONE_TIME_KEY, Fact::UnsignedPrekey { device: device.clone() })?;
        }
        let config = olm::SessionConfig::default();
        let session = self.olm.create_outbound_session(config, curve25519, one_time_key).map_err(refused)?;
        self.opened(device, identity, session);
        Ok(())
    }

    fn has_session(&self, peer: &DeviceId) -> bool {
        self.peers.contains_key(peer)
    }

    fn known_identity(&self, peer: &DeviceId) -> Option<Identity> {
        self.peers.get(peer).map(|peer| peer.identity.clone())
    }

    fn peer_state(&self, peer: &DeviceId) -> Result<Self::PeerState, Error> {
        Ok(self.peers.get(peer).map(Peer::pickle))
    }

    fn restore_peer(&mut self, peer: &DeviceId, state: Self::PeerState) {
        match state {
            Some(pickle) => drop(self.peers.insert(peer.clone(), pickle.into())),
            None => drop(self.peers.remove(peer)),
        }
    }

    fn encrypt(&mut self, peer: &DeviceId, plaintext: &[u8]) -> Result<Sealed, Error> {
        Ok(match self.peers.get_mut(peer).ok_or_else(no_session)?.encrypt(plaintext)? {
            OlmMessage::Normal(message) => Sealed { opens_session: false, bytes: message.to_bytes().into() },
            OlmMessage::PreKey(message) => {
                Sealed { opens_session: true, bytes: beside(&self.account.identity(), &message.to_bytes()) }
            }
        })
    }

    fn decrypt(&mut self, claimed: &DeviceId, sealed: &Sealed) -> Result<Vec<u8>, Error> {
        let bytes = sealed.bytes.as_ref();
        if !sealed.opens_session {
            let message = OlmMessage::from_parts(MessageType::Normal.into(), bytes).map_err(refused)?;
            return self.peers.get_mut(claimed).ok_or_else(no_session)?.decrypt(&message);
        }
        let (carried, bytes) = split_identity(bytes)?;
        let message = PreKeyMessage::from_bytes(bytes).map_err(refused)?;
        match self.peers.get_mut(claimed) {
            Some(peer) if peer.knows(&message) => peer.decrypt(&message.into()),
            _ => self.decrypt_first(claimed, carried, &message),
        }
    }

    fn new_sender_key(&mut self, group: &GroupId) -> Result<(), Error> {
        self.group(group).renew();
        Ok(())
    }

    fn distribution(&mut self, group: &GroupId) -> Result<Bytes, Error> {
        self.group(group).session_key()
    }

    fn accept_sender_key(&mut self, group: &GroupId, owner: &DeviceId, distribution: &[u8]) -> Result<(), Error> {
        let key = SessionKey::from_bytes(distribution).map_err(refused)?;
        self.group(group).take(owner, InboundGroupSession::new(&key, megolm::SessionConfig::default()))
    }

    fn group_encrypt(&mut self, group: &GroupId, plaintext: &[u8]) -> Result<Bytes, Error> {
        Ok(self.group(group).encrypt(plaintext)?.to_bytes())
    }

    /// There is nothing to bend: a Megolm message names a session and no sender, so the packet's label is all there is.
    fn group_encrypt_as(&mut self, group: &GroupId, _other: &DeviceId, plaintext: &[u8]) -> Result<Bytes, Error> {
        self.group_encrypt(group, plaintext)
    }

    fn group_decrypt(&mut self, group: &GroupId, claimed: &DeviceId, ciphertext: &[u8]) -> Result<Vec<u8>, Error> {
        let envelope = Envelope::from_bytes(ciphertext)?;
        let owner = self.group(group).owner(&envelope.session)?.clone();
        if owner != *claimed {
            let (group, claimed) = (group.clone(), claimed.clone());
            self.notebook.require(SENDER, Fact::Sender { group, claimed, owner })?;
        }
        // Only decrypting shows that the index is the sender's. It can be done again if the answer has to be waited
        // for.
        let message = self.group(group).decrypt(&envelope)?;
        let (device, session, index) = (claimed.clone(), envelope.session, message.message_index.into());
        self.notebook.require(REPLAY, Fact::Replay { device, session, index })?;
        Ok(message.plaintext)
    }

    fn export_history(&mut self, group: &GroupId) -> Result<Vec<HandedOn>, Error> {
        Ok(self.group(group).export())
    }

    fn import_history(&mut self, group: &GroupId, from: &DeviceId, handed_on: &HandedOn) -> Result<(), Error> {
        let HandedOn { owner, key } = handed_on;
        let key = ExportedSessionKey::from_bytes(key.as_ref()).map_err(refused)?;
        let fact = Fact::Sender { group: group.clone(), claimed: owner.clone(), owner: from.clone() };
        self.notebook.require(IMPORT, fact)?;
        self.group(group).take(owner, InboundGroupSession::import(&key, megolm::SessionConfig::default()))
    }

    fn fingerprint(&mut self, peer: &DeviceId) -> Result<Fingerprint, Error> {
        let known =
            self.peers.get(peer).ok_or_else(|| Error::bad_request(format!("the keys of {peer} are not known")))?;
        let mut keys = [&self.account.identity(), &known.identity].map(|identity| identity.device_key.to_string());
        keys.sort();
        Ok(Fingerprint { kind: FingerprintKind::DeviceKeys, value: keys.join(" ") })
    }

    fn link_request(&mut self) -> Result<LinkRequest, Error> {
        Ok(self.account.link_request())
    }

    fn authorise(&mut self, request: &LinkRequest) -> Result<Authorisation, Error> {
        self.account.authorise(request)
    }

    fn accept_authorisation(&mut self, authorisation: &Authorisation) -> Result<(), Error> {
        self.account.accept(authorisation)
    }

    fn publish_degenerate_keys(&mut self, degenerate: bool) {
        self.degenerate = degenerate;
    }

    fn break_bundle(&self, bundle: &Bundle) -> Result<Bundle, Error> {
        let honest = PrekeyBundle::from_bytes(bundle.bytes.as_ref())?;
        let mut signature = honest.signature.to_bytes();
        signature[0] ^= 1;
        let signature = Ed25519Signature::from_slice(&signature).map_err(Error::internal)?;
        Ok(Bundle { device: bundle.device.clone(), bytes: PrekeyBundle { signature, ..honest }.to_bytes() })
    }

    fn rewrite_identity(&self, sealed: &Sealed) -> Result<Sealed, Error> {
        if !sealed.opens_session {
            return Err(Error::bad_request("this packet opens no session"));
        }
        let (_, bytes) = split_identity(sealed.bytes.as_ref())?;
        let honest = PreKeyMessage::from_bytes(bytes).map_err(refused)?.identity_key();
        let at = bytes
            .windows(Curve25519PublicKey::LENGTH)
            .position(|window| window == honest.as_bytes())
            .ok_or_else(|| Error::internal("the identity key is not where it was read"))?;
        let mut bytes = bytes.to_vec();
        bytes[at..at + Curve25519PublicKey::LENGTH].copy_from_slice(self.olm.curve25519_key().as_bytes());
        Ok(Sealed { opens_session: true, bytes: beside(&self.account.identity(), &bytes) })
    }
}
