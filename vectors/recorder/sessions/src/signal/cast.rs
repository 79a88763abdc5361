//! Who takes part in a recording of Signal's protocol: a passive device of which only the keys are made, and live ones.

use std::collections::BTreeMap;
use std::time::SystemTime;

use aes::cipher::{BlockEncryptMut, KeyIvInit, block_padding::Pkcs7};
use anyhow::{Context, Result, anyhow, bail, ensure};
use e2esm_adapter::{Delivery, DeliveryKind, KnownIdentity, KyberPrekey, Prekey, SignalStart, SignedPrekey, Start};
use futures_util::FutureExt;
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use libsignal_protocol::{
    CiphertextMessage, DeviceId, IdentityKey, IdentityKeyPair, InMemSignalProtocolStore, KeyPair, PreKeyBundle,
    ProtocolAddress, SenderKeyDistributionMessage, SenderKeyMessage, ServiceId, SessionStore,
    create_sender_key_distribution_message, group_encrypt, kem, message_encrypt, process_prekey_bundle,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sha2::Sha256;
use uuid::Uuid;

use crate::alter::Layout;
use crate::scene::Sent;

/// Without a reply of bob's, every message of alice's is one of these. The first that bob reads opens the session.
pub(crate) const OPENING: Layout = Layout {
    packet: "PreKeySignalMessage that opens a session",
    head: &[("version", 1)],
    fields: PREKEY_FIELDS,
    tail: &[],
};
/// The later ones.
pub(crate) const IN_SESSION: Layout =
    Layout { packet: "PreKeySignalMessage in a session", head: &[("version", 1)], fields: PREKEY_FIELDS, tail: &[] };
const PREKEY_FIELDS: &[(u32, &str)] = &[
    (1, "pre_key_id"),
    (2, "base_key"),
    (3, "identity_key"),
    (4, "message"),
    (5, "registration_id"),
    (6, "signed_pre_key_id"),
    (7, "kyber_pre_key_id"),
    (8, "kyber_ciphertext"),
];
pub(crate) const MESSAGE: Layout = Layout {
    packet: "SignalMessage",
    head: &[("version", 1)],
    fields: &[(1, "ratchet_key"), (2, "counter"), (3, "previous_counter"), (4, "ciphertext"), (5, "pq_ratchet")],
    tail: &[("mac", 8)],
};
pub(crate) const SENDER_KEY_MESSAGE: Layout = Layout {
    packet: "SenderKeyMessage",
    head: &[("version", 1)],
    fields: &[(1, "distribution_uuid"), (2, "chain_id"), (3, "iteration"), (4, "ciphertext")],
    tail: &[("signature", 64)],
};
pub(crate) const DISTRIBUTION: Layout = Layout {
    packet: "SenderKeyDistributionMessage",
    head: &[("version", 1)],
    fields: &[(1, "distribution_uuid"), (2, "chain_id"), (3, "iteration"), (4, "chain_key"), (5, "signing_key")],
    tail: &[],
};

/// The stores here never wait, so neither do the library's calls.
fn at_once<T, E>(call: impl Future<Output = Result<T, E>>) -> Result<T>
where
    E: std::error::Error + Send + Sync + 'static,
{
    Ok(call.now_or_never().context("a store in memory made libsignal wait")??)
}

/// `NAME.DEVICE`.
pub(crate) fn address(text: &str) -> Result<ProtocolAddress> {
    let (name, device) = text.rsplit_once('.').context("no device number")?;
    let device = DeviceId::try_from(device.parse::<u32>()?).ok().context("no device number from 1 to 127")?;
    Ok(ProtocolAddress::new(name.to_owned(), device))
}

/// The keys of a passive device.
pub(crate) struct Keys {
    address: ProtocolAddress,
    registration_id: u32,
    identity: IdentityKeyPair,
    one_time: BTreeMap<u32, KeyPair>,
    signed: BTreeMap<u32, (KeyPair, Vec<u8>)>,
    kyber: BTreeMap<u32, (kem::KeyPair, Vec<u8>)>,
    known: Vec<KnownIdentity>,
}

impl Keys {
    /// New keys, with prekeys of these numbers.
    pub(crate) fn new(of: &str, one_time: &[u32], signed: &[u32], kyber: &[u32], rng: &mut StdRng) -> Result<Self> {
        let identity = IdentityKeyPair::generate(rng);
        let mut keys = Self {
            address: address(of)?,
            registration_id: rng.random_range(1..=0x3fff),
            identity,
            one_time: one_time.iter().map(|id| (*id, KeyPair::generate(rng))).collect(),
            signed: BTreeMap::new(),
            kyber: BTreeMap::new(),
            known: Vec::new(),
        };
        for id in signed {
            let pair = KeyPair::generate(rng);
            let signature = identity.private_key().calculate_signature(&pair.public_key.serialize(), rng)?;
            keys.signed.insert(*id, (pair, signature.into_vec()));
        }
        for id in kyber {
            let pair = kem::KeyPair::generate(kem::KeyType::Kyber1024, rng);
            let signature = identity.private_key().calculate_signature(&pair.public_key.serialize(), rng)?;
            keys.kyber.insert(*id, (pair, signature.into_vec()));
        }
        Ok(keys)
    }

    /// The device has met this person before.
    pub(crate) fn know(&mut self, person: &Person) {
        self.known.push(KnownIdentity {
            address: person.address.to_string(),
            identity_key: person.identity().serialize().into_vec().into(),
        });
    }

    /// Prekeys that were published and that the device does not have any more.
    pub(crate) fn start_without(&self, one_time: &[u32], signed: &[u32], kyber: &[u32]) -> Start {
        let start = SignalStart {
            address: self.address.to_string(),
            registration_id: self.registration_id,
            identity_key_priv: self.identity.private_key().serialize().into(),
            one_time_prekeys: (self.one_time.iter().filter(|(id, _)| !one_time.contains(id)))
                .map(|(id, pair)| Prekey { id: *id, private: pair.private_key.serialize().into() })
                .collect(),
            signed_prekeys: (self.signed.iter().filter(|(id, _)| !signed.contains(id)))
                .map(|(id, (pair, signature))| SignedPrekey {
                    id: *id,
                    private: pair.private_key.serialize().into(),
                    signature: signature.clone().into(),
                })
                .collect(),
            kyber_prekeys: (self.kyber.iter().filter(|(id, _)| !kyber.contains(id)))
                .map(|(id, (pair, signature))| KyberPrekey {
                    id: *id,
                    public: pair.public_key.serialize().into_vec().into(),
                    private: pair.secret_key.serialize().into_vec().into(),
                    signature: signature.clone().into(),
                })
                .collect(),
            known_identities: self.known.clone(),
        };
        Start::Signal(start)
    }

    pub(crate) fn start(&self) -> Start {
        self.start_without(&[], &[], &[])
    }

    /// What the server hands to somebody who wants to begin.
    fn bundle(&self, one_time: Option<u32>, signed: u32, kyber: u32) -> Result<PreKeyBundle> {
        let one_time = match one_time {
            Some(id) => Some((id.into(), self.one_time.get(&id).context("no such one-time prekey")?.public_key)),
            None => None,
        };
        let (signed_pair, signed_signature) = self.signed.get(&signed).context("no such signed prekey")?;
        let (kyber_pair, kyber_signature) = self.kyber.get(&kyber).context("no such Kyber prekey")?;
        Ok(PreKeyBundle::new(
            self.registration_id,
            self.address.device_id(),
            one_time,
            signed.into(),
            signed_pair.public_key,
            signed_signature.clone(),
            kyber.into(),
            kyber_pair.public_key.clone(),
            kyber_signature.clone(),
            *self.identity.identity_key(),
        )?)
    }
}

/// A live device.
pub(crate) struct Person {
    pub(crate) address: ProtocolAddress,
    identity: IdentityKeyPair,
    store: InMemSignalProtocolStore,
    rng: StdRng,
}

impl Person {
    pub(crate) fn new(name: &str, rng: &mut StdRng) -> Result<Self> {
        let pair = IdentityKeyPair::generate(rng);
        let registration_id = rng.random_range(1..=0x3fff);
        Ok(Self {
            address: address(name)?,
            identity: pair,
            store: InMemSignalProtocolStore::new(pair, registration_id)?,
            rng: StdRng::from_rng(rng),
        })
    }

    pub(crate) fn name(&self) -> String {
        self.address.to_string()
    }

    fn identity(&self) -> IdentityKey {
        *self.identity.identity_key()
    }

    /// Begins a session, with prekeys of these numbers.
    pub(crate) fn open(&mut self, with: &Keys, one_time: Option<u32>, signed: u32, kyber: u32) -> Result<()> {
        at_once(process_prekey_bundle(
            &with.address,
            &mut self.store.session_store,
            &mut self.store.identity_store,
            &with.bundle(one_time, signed, kyber)?,
            SystemTime::now(),
            &mut self.rng,
        ))
    }

    /// The next message of the session: a prekey message, since no answer ever comes.
    pub(crate) fn say(&mut self, to: &Keys, text: &str) -> Result<Sent> {
        let message = at_once(message_encrypt(
            text.as_bytes(),
            &to.address,
            &mut self.store.session_store,
            &mut self.store.identity_store,
            SystemTime::now(),
            &mut self.rng,
        ))?;
        match message {
            CiphertextMessage::PreKeySignalMessage(message) => {
                Ok(self.sent(DeliveryKind::PrekeyMessage, message.serialized(), text))
            }
            other => bail!("a {:?} where a prekey message was expected", other.message_type()),
        }
    }

    /// The same without the header that repeats how the session was opened: the SignalMessage inside.
    pub(crate) fn say_plainly(&mut self, to: &Keys, text: &str) -> Result<Sent> {
        self.say(to, text).and_then(|sent| without_header(&sent))
    }

    /// The next message of the session, whose tag covers both addresses, as libsignal has it since 0.91: a field 6 of the
    /// SignalMessage holds the sender's service id and device number and then the recipient's, 36 bytes in all.
    ///
    /// The keys are those of the Double Ratchet's present chain (its section 3.4, with the labels of libsignal); SPQR adds
    /// nothing to them before an answer has come.
    pub(crate) fn say_with_addresses(&mut self, to: &Keys, text: &str) -> Result<Sent> {
        let record = at_once(self.store.session_store.load_session(&to.address))?.context("no session")?;
        let mut keys = [0; 80];
        expand(&hmac(&record.get_sender_chain_key_bytes()?, &[&[1]])?, b"WhisperMessageKeys", &mut keys)?;
        let (ours, theirs) = (self.identity().serialize(), to.identity.identity_key().serialize());
        let tag = |bytes: &[u8]| Ok::<_, anyhow::Error>(hmac(&keys[32..64], &[&ours, &theirs, bytes])?[..8].to_vec());

        let sent = self.say(to, text)?;
        let inner = OPENING.bytes_of(sent.bytes(), "message")?;
        let (body, honest) = inner.split_at_checked(inner.len() - 8).context("shorter than its tag")?;
        ensure!(tag(body)? == honest, "these are not the keys of the message");
        let mut bound = body.to_vec();
        let mut addresses = Vec::new();
        for address in [&self.address, &to.address] {
            let id = ServiceId::parse_from_service_id_string(address.name()).context("not a service id")?;
            addresses.extend(id.service_id_fixed_width_binary());
            addresses.push(address.device_id().into());
        }
        bound.extend([6 << 3 | 2, u8::try_from(addresses.len())?]);
        bound.extend(&addresses);
        bound.extend(tag(&bound)?);
        let bytes = OPENING.replace(sent.bytes(), "message", bound)?;
        Ok(Sent { delivery: sent.with(bytes), ..sent })
    }

    /// The present sender key of a distribution; it is made where there is none.
    pub(crate) fn distribution(&mut self, id: Uuid) -> Result<Delivery> {
        let message = at_once(create_sender_key_distribution_message(
            &self.address,
            id,
            &mut self.store.sender_key_store,
            &mut self.rng,
        ))?;
        let from = self.name();
        Ok(crate::scene::delivery(DeliveryKind::SenderKeyDistribution, Some(&from), message.serialized()))
    }

    /// The next message under that sender key.
    pub(crate) fn say_to_group(&mut self, id: Uuid, text: &str) -> Result<Sent> {
        let store = &mut self.store.sender_key_store;
        let message = at_once(group_encrypt(store, &self.address, id, text.as_bytes(), &mut self.rng))?;
        Ok(self.sent(DeliveryKind::SenderKeyMessage, message.serialized(), text))
    }

    /// A message on somebody else's chain, as any member can derive it from what was distributed, signed with a key of this
    /// device's own: `ahead` messages after the one that the distribution begins with.
    pub(crate) fn forge(&mut self, distribution: &Delivery, ahead: u32, text: &str) -> Result<Delivery> {
        let theirs = SenderKeyDistributionMessage::try_from(distribution.bytes.as_ref())?;
        let mut chain_key = theirs.chain_key()?.to_vec();
        for _ in 0..ahead {
            chain_key = hmac(&chain_key, &[&[2]])?;
        }
        let mut keys = [0; 48];
        expand(&hmac(&chain_key, &[&[1]])?, b"WhisperGroup", &mut keys)?;
        let (iv, key) = keys.split_at(16);
        let cipher = cbc::Encryptor::<aes::Aes256>::new_from_slices(key, iv)?;
        let own = KeyPair::generate(&mut self.rng);
        let message = SenderKeyMessage::new(
            theirs.message_version(),
            theirs.distribution_id()?,
            theirs.chain_id()?,
            theirs.iteration()? + ahead,
            cipher.encrypt_padded_vec_mut::<Pkcs7>(text.as_bytes()).into(),
            &mut self.rng,
            &own.private_key,
        )?;
        Ok(Delivery {
            kind: DeliveryKind::SenderKeyMessage,
            bytes: message.serialized().into(),
            ..distribution.clone()
        })
    }

    fn sent(&self, kind: DeliveryKind, bytes: &[u8], text: &str) -> Sent {
        let from = self.name();
        let delivery = crate::scene::delivery(kind, Some(&from), bytes);
        Sent { delivery, text: text.as_bytes().to_vec(), index: None, sender: from }
    }
}

/// HMAC-SHA-256.
fn hmac(key: &[u8], parts: &[&[u8]]) -> Result<Vec<u8>> {
    let mut hmac = <Hmac<Sha256> as Mac>::new_from_slice(key)?;
    parts.iter().for_each(|part| hmac.update(part));
    Ok(hmac.finalize().into_bytes().to_vec())
}

/// HKDF-SHA-256 without a salt.
fn expand(secret: &[u8], label: &[u8], into: &mut [u8]) -> Result<()> {
    Hkdf::<Sha256>::new(None, secret).expand(label, into).map_err(|error| anyhow!("HKDF: {error}"))
}

/// The SignalMessage in a prekey message.
pub(crate) fn without_header(sent: &Sent) -> Result<Sent> {
    let inner = OPENING.bytes_of(sent.bytes(), "message")?;
    let delivery = Delivery { kind: DeliveryKind::Message, ..sent.with(inner) };
    Ok(Sent { delivery, ..sent.clone() })
}
