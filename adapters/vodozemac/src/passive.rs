//! Devices that only receive, for recorded vectors: an Olm account and its sessions, and a receiver of Megolm sessions.
//!
//! Nothing of the group management takes part, and nothing is asked: an Olm device is known by the Curve25519 key that the
//! label names, and a Megolm session by the Ed25519 key in it.
//!
//! A refusal leaves a device as it was. An account and a Megolm session are changed only by what has been decrypted
//! (`src/olm/account/mod.rs:315-324` of vodozemac 0.11.1; of Megolm it is a second ratchet that is wound on before,
//! `src/megolm/inbound_group_session.rs:318-333`). Of Olm sessions a copy is kept and put back. The tests below compare
//! the states.

use std::collections::{BTreeMap, BTreeSet};

use e2esm_adapter::{
    Bytes, Delivered, Delivery, DeliveryKind, Error, ErrorClass, MegolmStart, OlmStart, Passive, Prekey, Start,
};
use serde::{Deserialize, Serialize};
use vodozemac::megolm::{self, ExportedSessionKey, InboundGroupSession, MegolmMessage, SessionKey};
use vodozemac::olm::{self, Account, AccountPickle, InboundCreationResult, Message, OlmMessage, PreKeyMessage};
use vodozemac::{Curve25519PublicKey, base64_decode};

use crate::error::refused;
use crate::olm::{Sessions, no_session};

/// A device with what `start` gives it.
///
/// # Errors
/// `Unsupported` for another protocol. `BadRequest` for keys that have not their length, and for a one-time key that is
/// there twice.
pub(crate) fn start(start: &Start) -> Result<Box<dyn Passive>, Error> {
    match start {
        Start::Olm(start) => Ok(Box::new(OlmReceiver::start(start)?)),
        Start::Megolm(MegolmStart {}) => Ok(Box::new(MegolmReceiver::default())),
        Start::Mls(_) | Start::Signal(_) => Err(Error::unsupported(format!(
            "recorded vectors of {}: vodozemac speaks olm and megolm",
            start.protocol().label()
        ))),
    }
}

/// The private keys of an account that have been published and not used.
///
/// # Errors
/// `Internal` where vodozemac's format is not the one below.
pub(crate) fn standard_keys(account: &Account) -> Result<Start, Error> {
    let AccountFormat { signing_key, diffie_hellman_key, one_time_keys, .. } = AccountFormat::of(account)?;
    let OneTimeKeys { public_keys: unpublished, private_keys, .. } = one_time_keys;
    let published = private_keys.iter().filter(|(id, _)| !unpublished.contains_key(id));
    let one_time_keys = published
        .map(|(id, private)| {
            Ok(Prekey { id: (*id).try_into().map_err(Error::internal)?, private: private.to_vec().into() })
        })
        .collect::<Result<_, Error>>()?;
    Ok(Start::Olm(OlmStart {
        ed25519_priv: match signing_key {
            SigningKey::Normal(seed) => seed.to_vec().into(),
            SigningKey::Expanded(expanded) => expanded.into(),
        },
        curve25519_priv: diffie_hellman_key.to_vec().into(),
        one_time_keys,
    }))
}

/// The receiving side of Olm.
struct OlmReceiver {
    account: Account,
    /// By the sender's identity key.
    sessions: BTreeMap<[u8; Curve25519PublicKey::LENGTH], Sessions>,
}

impl OlmReceiver {
    fn start(start: &OlmStart) -> Result<Self, Error> {
        let OlmStart { ed25519_priv, curve25519_priv, one_time_keys } = start;
        let signing_key = match ed25519_priv.as_ref().len() {
            64 => SigningKey::Expanded(ed25519_priv.0.clone()),
            _ => SigningKey::Normal(key(ed25519_priv)?),
        };
        let mut private_keys = BTreeMap::new();
        for Prekey { id, private } in one_time_keys {
            if private_keys.insert(u64::from(*id), key(private)?).is_some() {
                return Err(Error::bad_request(format!("two one-time keys {id}")));
            }
        }
        if private_keys.values().collect::<BTreeSet<_>>().len() < private_keys.len() {
            return Err(Error::bad_request("a one-time key under two numbers"));
        }
        let format = AccountFormat {
            signing_key,
            diffie_hellman_key: key(curve25519_priv)?,
            one_time_keys: OneTimeKeys {
                next_key_id: private_keys.keys().next_back().map_or(0, |id| id + 1),
                public_keys: BTreeMap::new(),
                private_keys,
            },
            fallback_keys: FallbackKeys { key_id: 0, fallback_key: None, previous_fallback_key: None },
        };
        Ok(Self { account: format.to_account()?, sessions: BTreeMap::new() })
    }

    /// A message with a handshake. A session that was opened by this very handshake decrypts it; if there is none, one is
    /// opened, which costs a one-time key.
    fn prekey_message(&mut self, from: Curve25519PublicKey, message: PreKeyMessage) -> Result<Vec<u8>, Error> {
        if let Some(sessions) = self.sessions.get_mut(from.as_bytes()).filter(|sessions| sessions.know(&message)) {
            return decrypt(sessions, &message.into());
        }
        let InboundCreationResult { session, plaintext } =
            self.account.create_inbound_session(olm::SessionConfig::version_1(), from, &message).map_err(refused)?;
        self.sessions.entry(from.to_bytes()).or_default().open(session);
        Ok(plaintext)
    }
}

impl Passive for OlmReceiver {
    fn deliver(&mut self, delivery: &Delivery) -> Result<Delivered, Error> {
        no_tree(delivery)?;
        let from = delivery.from.as_deref().ok_or_else(|| Error::bad_request("a delivery of Olm's from nobody"))?;
        let mut sender = [0; Curve25519PublicKey::LENGTH];
        hex::decode_to_slice(from, &mut sender)
            .map_err(|error| Error::bad_request(format!("`{from}` is not a Curve25519 key in hex: {error}")))?;
        let bytes = delivery.bytes.as_ref();
        let plaintext = match delivery.kind {
            DeliveryKind::PrekeyMessage => {
                self.prekey_message(sender.into(), PreKeyMessage::from_bytes(bytes).map_err(refused)?)?
            }
            DeliveryKind::Message => {
                let message = Message::from_bytes(bytes).map_err(refused)?;
                decrypt(self.sessions.get_mut(&sender).ok_or_else(no_session)?, &message.into())?
            }
            kind => return Err(Error::bad_request(format!("an Olm device takes no {kind:?}"))),
        };
        let sender = Some(hex::encode(sender));
        Ok(Delivered { plaintext: Some(plaintext.into()), sender, ..Delivered::default() })
    }
}

/// Decrypts, or leaves the sessions as they were.
fn decrypt(sessions: &mut Sessions, message: &OlmMessage) -> Result<Vec<u8>, Error> {
    let before = sessions.pickle();
    sessions.decrypt(message).inspect_err(|_| *sessions = Sessions::from_pickle(before))
}

/// The receiving side of Megolm.
#[derive(Default)]
struct MegolmReceiver {
    /// In the order in which they came, each with another signing key.
    sessions: Vec<InboundGroupSession>,
}

impl MegolmReceiver {
    /// Keeps a session. With one that is here already it is merged, as `InboundGroupSession::merge` is made for: the
    /// earlier of the two positions holds, and nothing that could be read becomes unreadable. Two that do not connect
    /// cannot both be the sender's, and which is, nobody here can tell: the first stays.
    fn keep(&mut self, mut session: InboundGroupSession) -> Result<Delivered, Error> {
        let id = session.session_id();
        match self.sessions.iter_mut().find(|known| known.session_id() == id) {
            None => self.sessions.push(session),
            Some(known) => {
                *known = known.merge(&mut session).ok_or_else(|| {
                    Error::new(ErrorClass::Duplicate, format!("another Megolm session has the id {id} already"))
                })?;
            }
        }
        Ok(Delivered::default())
    }

    /// A message does not say to which session it belongs; its signature holds under the key of one. If it holds under
    /// none, it cannot be known whether the message is broken or that session is not here.
    fn decrypt(&mut self, message: &MegolmMessage) -> Result<Delivered, Error> {
        let mut refusal = Error::new(ErrorClass::NoKey, "there is no Megolm session");
        for session in &mut self.sessions {
            match session.decrypt(message) {
                Ok(decrypted) => {
                    let sender = base64_decode(session.session_id()).map_err(Error::internal)?;
                    return Ok(Delivered {
                        plaintext: Some(decrypted.plaintext.into()),
                        sender: Some(hex::encode(sender)),
                        message_index: Some(decrypted.message_index),
                        ..Delivered::default()
                    });
                }
                Err(megolm::DecryptionError::Signature(error)) => {
                    refusal = refused(megolm::DecryptionError::Signature(error));
                }
                Err(error) => return Err(refused(error)),
            }
        }
        Err(refusal)
    }
}

impl Passive for MegolmReceiver {
    fn deliver(&mut self, delivery: &Delivery) -> Result<Delivered, Error> {
        no_tree(delivery)?;
        if let Some(from) = &delivery.from {
            return Err(Error::bad_request(format!("a delivery of Megolm's is from nobody, and this one from {from}")));
        }
        let bytes = delivery.bytes.as_ref();
        let config = megolm::SessionConfig::version_1();
        match delivery.kind {
            DeliveryKind::SessionKey => {
                self.keep(InboundGroupSession::new(&SessionKey::from_bytes(bytes).map_err(refused)?, config))
            }
            DeliveryKind::ExportedSessionKey => {
                self.keep(InboundGroupSession::import(&ExportedSessionKey::from_bytes(bytes).map_err(refused)?, config))
            }
            DeliveryKind::MegolmMessage => self.decrypt(&MegolmMessage::from_bytes(bytes).map_err(refused)?),
            kind => Err(Error::bad_request(format!("a receiver of Megolm's takes no {kind:?}"))),
        }
    }
}

fn no_tree(delivery: &Delivery) -> Result<(), Error> {
    match delivery.ratchet_tree {
        None => Ok(()),
        Some(_) => Err(Error::bad_request("a ratchet tree beside a delivery that is not of MLS")),
    }
}

fn key(bytes: &Bytes) -> Result<[u8; 32], Error> {
    let length = bytes.as_ref().len();
    bytes.as_ref().try_into().map_err(|_| Error::bad_request(format!("a private key of {length} bytes")))
}

/// An account as vodozemac stores it. There is no other way in for private keys, nor out: `AccountPickle` has no fields
/// to look at, only this form of itself, in JSON. A form that vodozemac changes is an error and not a loss.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AccountFormat {
    signing_key: SigningKey,
    diffie_hellman_key: [u8; 32],
    one_time_keys: OneTimeKeys,
    fallback_keys: FallbackKeys,
}

#[derive(Serialize, Deserialize)]
enum SigningKey {
    /// The seed.
    Normal([u8; 32]),
    /// Both halves of the seed's SHA-512: what libolm stores. Always 64 bytes.
    Expanded(Vec<u8>),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OneTimeKeys {
    next_key_id: u64,
    /// Those that have not been published.
    public_keys: BTreeMap<u64, [u8; 32]>,
    /// Those that have not been used.
    private_keys: BTreeMap<u64, [u8; 32]>,
}

/// There is never one here: a device of this adapter makes none.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FallbackKeys {
    key_id: u64,
    fallback_key: Option<()>,
    previous_fallback_key: Option<()>,
}

impl AccountFormat {
    fn of(account: &Account) -> Result<Self, Error> {
        let json = serde_json::to_vec(&account.pickle()).map_err(Error::internal)?;
        serde_json::from_slice(&json).map_err(Error::internal)
    }

    fn to_account(&self) -> Result<Account, Error> {
        let json = serde_json::to_vec(self).map_err(Error::internal)?;
        let pickle: AccountPickle = serde_json::from_slice(&json).map_err(Error::internal)?;
        Ok(Account::from_pickle(pickle))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::Value;
    use vodozemac::megolm::GroupSession;

    use super::*;

    /// RFC 8032, section 7.1, test 1; the second is the SHA-512 of the first.
    const ED25519_SEED: &str = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
    const ED25519_EXPANDED: &str = "357c83864f2833cb427a2ef1c00a013cfdff2768d980c0a3a520f006904de90f\
                                    9b4f0afe280b746a778684e75442502057b7473a03f08f96f5a38e9287e01f8f";
    const ED25519_PUBLIC: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    /// RFC 7748, section 6.1, Alice.
    const CURVE25519_PRIVATE: &str = "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a";
    const CURVE25519_PUBLIC: &str = "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a";
    const ONE_TIME_KEY: u8 = 7;

    fn hexed(text: &str) -> Bytes {
        Bytes(hex::decode(text).unwrap())
    }

    fn olm(ed25519_priv: &str) -> OlmStart {
        OlmStart {
            ed25519_priv: hexed(ed25519_priv),
            curve25519_priv: hexed(CURVE25519_PRIVATE),
            one_time_keys: vec![Prekey { id: 3, private: [ONE_TIME_KEY; 32].as_slice().into() }],
        }
    }

    fn state(device: &OlmReceiver) -> Value {
        let sessions: Vec<_> = device.sessions.iter().map(|(sender, sessions)| (sender, sessions.pickle())).collect();
        serde_json::to_value((device.account.pickle(), sessions)).unwrap()
    }

    fn delivery(kind: DeliveryKind, from: Option<&Account>, bytes: &[u8]) -> Delivery {
        let from = from.map(|account| hex::encode(account.curve25519_key().as_bytes()));
        Delivery { kind, from, bytes: bytes.into(), ratchet_tree: None }
    }

    /// Every flip and every cut of a delivery: how many are refused, each leaving `state` as it was.
    fn refusals<D: Passive, S: PartialEq + std::fmt::Debug>(
        make: impl Fn() -> D,
        state: impl Fn(&D) -> S,
        honest: &Delivery,
    ) -> usize {
        let bytes = honest.bytes.as_ref();
        let flips = (0..bytes.len() * 8).map(|bit| {
            let mut bytes = bytes.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            bytes
        });
        let cuts = (0..bytes.len()).map(|end| bytes[..end].to_vec());
        let mut refused = 0;
        for bytes in flips.chain(cuts) {
            let mut device = make();
            let before = state(&device);
            if device.deliver(&Delivery { bytes: bytes.into(), ..honest.clone() }).is_err() {
                refused += 1;
                assert_eq!(state(&device), before);
                device.deliver(honest).unwrap();
            }
        }
        refused
    }

    #[test]
    fn an_account_made_of_private_keys_has_the_public_keys_that_belong_to_them() {
        for private in [ED25519_SEED, ED25519_EXPANDED] {
            let start = olm(private);
            let OlmReceiver { account, .. } = OlmReceiver::start(&start).unwrap();
            assert_eq!(hex::encode(account.ed25519_key().as_bytes()), ED25519_PUBLIC);
            assert_eq!(hex::encode(account.curve25519_key().as_bytes()), CURVE25519_PUBLIC);
            assert_eq!(standard_keys(&account).unwrap(), Start::Olm(start));
        }
    }

    #[test]
    fn only_one_time_keys_that_have_been_published_are_standard_keys() {
        let mut account = OlmReceiver::start(&olm(ED25519_SEED)).unwrap().account;
        let ids = |account: &Account| match standard_keys(account).unwrap() {
            Start::Olm(start) => start.one_time_keys.iter().map(|key| key.id).collect::<Vec<_>>(),
            start => panic!("{start:?}"),
        };
        account.generate_one_time_keys(2);
        assert_eq!(ids(&account), [3]);
        account.mark_keys_as_published();
        assert_eq!(ids(&account), [3, 4, 5]);
    }

    #[test]
    fn an_account_in_a_form_that_is_not_known_here_is_an_error_and_not_a_loss() {
        let mut account = Account::new();
        account.generate_fallback_key();
        assert_eq!(standard_keys(&account).unwrap_err().class, ErrorClass::Internal);
    }

    #[test]
    fn a_refusal_changes_neither_account_nor_sessions() {
        let start = olm(ED25519_SEED);
        let ours = Curve25519PublicKey::from_slice(&hex::decode(CURVE25519_PUBLIC).unwrap()).unwrap();
        let one_time_key = (&vodozemac::Curve25519SecretKey::from_slice(&[ONE_TIME_KEY; 32])).into();
        let alice = Account::new();
        let config = olm::SessionConfig::version_1();
        let mut session = alice.create_outbound_session(config, ours, one_time_key).unwrap();
        let [first, second, third] = [(); 3].map(|()| match session.encrypt("hello").unwrap() {
            OlmMessage::PreKey(message) => message,
            OlmMessage::Normal(_) => panic!("no answer has come"),
        });
        let prekey = |message: &PreKeyMessage| delivery(DeliveryKind::PrekeyMessage, Some(&alice), &message.to_bytes());
        let fresh = || OlmReceiver::start(&start).unwrap();
        assert!(refusals(fresh, state, &prekey(&first)) > 1000);

        // The third comes before the second, so that there is a skipped key to lose.
        let after = || {
            let mut device = fresh();
            device.deliver(&prekey(&first)).unwrap();
            device.deliver(&prekey(&third)).unwrap();
            device
        };
        assert!(refusals(after, state, &prekey(&second)) > 1000);
        let inner = delivery(DeliveryKind::Message, Some(&alice), &second.message().to_bytes());
        assert!(refusals(after, state, &inner) > 500);
    }

    #[test]
    fn a_refusal_changes_no_megolm_session() {
        let state = |device: &MegolmReceiver| {
            serde_json::to_value(device.sessions.iter().map(InboundGroupSession::pickle).collect::<Vec<_>>()).unwrap()
        };
        let mut session = GroupSession::new(megolm::SessionConfig::version_1());
        let key = delivery(DeliveryKind::SessionKey, None, &session.session_key().to_bytes());
        assert!(refusals(MegolmReceiver::default, state, &key) > 2000);
        let holder = || {
            let mut device = MegolmReceiver::default();
            device.deliver(&key).unwrap();
            device
        };
        session.encrypt("hello");
        let message = delivery(DeliveryKind::MegolmMessage, None, &session.encrypt("hello").to_bytes());
        assert!(refusals(holder, state, &message) > 500);
        let later = delivery(DeliveryKind::ExportedSessionKey, None, &{
            let mut held = InboundGroupSession::new(&session.session_key(), megolm::SessionConfig::version_1());
            held.export_at(5).unwrap().to_bytes()
        });
        assert!(refusals(holder, state, &later) > 1000);
    }
}
