//! The stores that libsignal asks its application for. They keep and forget as the traits' documentation says, in
//! memory, and decide nothing: `is_trusted_identity` is the [`Notebook`]'s to answer.

use std::collections::BTreeMap;

use async_trait::async_trait;
use e2esm_adapter::{DecisionPoint, Event, Fact, Identity, Notebook};
use libsignal_protocol::{
    Direction, IdentityChange, IdentityKey, IdentityKeyPair, IdentityKeyStore, KyberPreKeyId, KyberPreKeyRecord,
    KyberPreKeyStore, PreKeyId, PreKeyRecord, PreKeyStore, ProtocolAddress, PublicKey, SenderKeyRecord, SenderKeyStore,
    SessionRecord, SessionStore, SignalProtocolError, SignedPreKeyId, SignedPreKeyRecord, SignedPreKeyStore,
};
use uuid::Uuid;

use crate::address::AddressBook;

type Result<T> = std::result::Result<T, SignalProtocolError>;

/// The only decision that libsignal hands over.
const IS_TRUSTED_IDENTITY: DecisionPoint = DecisionPoint::library("IdentityKeyStore::is_trusted_identity");

/// The public keys of a device that is known by this identity key: a user's devices share it.
pub(crate) fn identity(key: &IdentityKey) -> Identity {
    let key = key.serialize().into_vec();
    Identity { account_key: key.clone().into(), device_key: key.into(), voucher: Vec::new().into() }
}

/// This device's identity, and those of the others as the library last saved them.
pub(crate) struct Identities {
    pub(crate) own: IdentityKeyPair,
    pub(crate) registration_id: u32,
    pub(crate) known: BTreeMap<ProtocolAddress, IdentityKey>,
    pub(crate) book: AddressBook,
    pub(crate) notebook: Notebook,
}

impl Identities {
    fn device(&self, address: &ProtocolAddress) -> Result<e2esm_adapter::DeviceId> {
        let device = self.book.device(address).cloned();
        device.ok_or_else(|| SignalProtocolError::InvalidState("address book", format!("{address} is nobody's")))
    }
}

#[async_trait(?Send)]
impl IdentityKeyStore for Identities {
    async fn get_identity_key_pair(&self) -> Result<IdentityKeyPair> {
        Ok(self.own)
    }

    async fn get_local_registration_id(&self) -> Result<u32> {
        Ok(self.registration_id)
    }

    async fn save_identity(&mut self, address: &ProtocolAddress, key: &IdentityKey) -> Result<IdentityChange> {
        let device = self.device(address)?;
        let changed = self.known.insert(address.clone(), *key).is_some_and(|previous| previous != *key);
        if changed {
            self.notebook.note(Event::KeyChanged { device });
        }
        Ok(IdentityChange::from_changed(changed))
    }

    async fn is_trusted_identity(&self, address: &ProtocolAddress, key: &IdentityKey, _: Direction) -> Result<bool> {
        // The library asks with every encryption, and putting the question would be seen beside that.
        if !self.notebook.listens() {
            return Ok(true);
        }
        let previous = self.known.get(address).filter(|known| *known != key);
        let fact = Fact::Identity {
            device: self.device(address)?,
            identity: identity(key),
            previous: previous.map(|known| known.serialize().into_vec().into()),
        };
        let answer = self.notebook.consult(IS_TRUSTED_IDENTITY, fact);
        answer.map_err(SignalProtocolError::for_application_callback("is_trusted_identity"))
    }

    async fn get_identity(&self, address: &ProtocolAddress) -> Result<Option<IdentityKey>> {
        Ok(self.known.get(address).copied())
    }
}

/// One-time prekeys.
#[derive(Clone, Default)]
pub(crate) struct PreKeys(pub(crate) BTreeMap<PreKeyId, PreKeyRecord>);

#[async_trait(?Send)]
impl PreKeyStore for PreKeys {
    async fn get_pre_key(&self, id: PreKeyId) -> Result<PreKeyRecord> {
        self.0.get(&id).cloned().ok_or(SignalProtocolError::InvalidPreKeyId)
    }

    async fn save_pre_key(&mut self, id: PreKeyId, record: &PreKeyRecord) -> Result<()> {
        self.0.insert(id, record.clone());
        Ok(())
    }

    async fn remove_pre_key(&mut self, id: PreKeyId) -> Result<()> {
        self.0.remove(&id);
        Ok(())
    }
}

/// Signed prekeys.
#[derive(Clone, Default)]
pub(crate) struct SignedPreKeys(pub(crate) BTreeMap<SignedPreKeyId, SignedPreKeyRecord>);

#[async_trait(?Send)]
impl SignedPreKeyStore for SignedPreKeys {
    async fn get_signed_pre_key(&self, id: SignedPreKeyId) -> Result<SignedPreKeyRecord> {
        self.0.get(&id).cloned().ok_or(SignalProtocolError::InvalidSignedPreKeyId)
    }

    async fn save_signed_pre_key(&mut self, id: SignedPreKeyId, record: &SignedPreKeyRecord) -> Result<()> {
        self.0.insert(id, record.clone());
        Ok(())
    }
}

/// Kyber prekeys, all of them one-time: a used one is deleted, as the trait's documentation asks.
#[derive(Clone, Default)]
pub(crate) struct KyberPreKeys(pub(crate) BTreeMap<KyberPreKeyId, KyberPreKeyRecord>);

#[async_trait(?Send)]
impl KyberPreKeyStore for KyberPreKeys {
    async fn get_kyber_pre_key(&self, id: KyberPreKeyId) -> Result<KyberPreKeyRecord> {
        self.0.get(&id).cloned().ok_or(SignalProtocolError::InvalidKyberPreKeyId)
    }

    async fn save_kyber_pre_key(&mut self, id: KyberPreKeyId, record: &KyberPreKeyRecord) -> Result<()> {
        self.0.insert(id, record.clone());
        Ok(())
    }

    async fn mark_kyber_pre_key_used(&mut self, id: KyberPreKeyId, _: SignedPreKeyId, _: &PublicKey) -> Result<()> {
        self.0.remove(&id);
        Ok(())
    }
}

/// Pairwise sessions.
#[derive(Clone, Default)]
pub(crate) struct Sessions(pub(crate) BTreeMap<ProtocolAddress, SessionRecord>);

#[async_trait(?Send)]
impl SessionStore for Sessions {
    async fn load_session(&self, address: &ProtocolAddress) -> Result<Option<SessionRecord>> {
        Ok(self.0.get(address).cloned())
    }

    async fn store_session(&mut self, address: &ProtocolAddress, record: &SessionRecord) -> Result<()> {
        self.0.insert(address.clone(), record.clone());
        Ok(())
    }
}

/// Sender keys, each under its sender's address and its distribution id.
#[derive(Clone, Default)]
pub(crate) struct SenderKeys(pub(crate) BTreeMap<(ProtocolAddress, Uuid), SenderKeyRecord>);

#[async_trait(?Send)]
impl SenderKeyStore for SenderKeys {
    async fn store_sender_key(&mut self, sender: &ProtocolAddress, id: Uuid, record: &SenderKeyRecord) -> Result<()> {
        self.0.insert((sender.clone(), id), record.clone());
        Ok(())
    }

    async fn load_sender_key(&mut self, sender: &ProtocolAddress, id: Uuid) -> Result<Option<SenderKeyRecord>> {
        Ok(self.0.get(&(sender.clone(), id)).cloned())
    }
}
