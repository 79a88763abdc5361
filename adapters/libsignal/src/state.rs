//! A device's whole secret state, in libsignal's own record formats: what the device stores, and what a thief copies.

use std::collections::BTreeMap;

use e2esm_adapter::{Bytes, DeviceId, Error, GroupId, Notebook};
use libsignal_protocol::{
    GenericSignedPreKey, IdentityKey, IdentityKeyPair, KyberPreKeyRecord, PreKeyRecord, ProtocolAddress,
    SenderKeyRecord, SessionRecord, SignalProtocolError, SignedPreKeyRecord,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::address::AddressBook;
use crate::error::{classify, malformed};
use crate::groups::Drawer;
use crate::signal::Signal;
use crate::stores::{Identities, KyberPreKeys, PreKeys, SenderKeys, Sessions, SignedPreKeys};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    identity_key_pair: Bytes,
    registration_id: u32,
    next_id: u32,
    pre_keys: Vec<Bytes>,
    signed_pre_keys: Vec<Bytes>,
    kyber_pre_keys: Vec<Bytes>,
    identities: BTreeMap<DeviceId, Bytes>,
    sessions: BTreeMap<DeviceId, Bytes>,
    groups: BTreeMap<GroupId, GroupState>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct GroupState {
    own: Option<Bytes>,
    keys: Vec<KeyState>,
    latest: BTreeMap<DeviceId, Bytes>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyState {
    sender: DeviceId,
    distribution_id: Bytes,
    record: Bytes,
}

impl State {
    pub(crate) fn of(signal: &Signal) -> Result<Self, Error> {
        let name = |address: &ProtocolAddress| -> Result<DeviceId, Error> {
            let device = signal.identities.book.device(address).cloned();
            device.ok_or_else(|| Error::internal(format!("{address} is nobody's")))
        };
        let identities = &signal.identities;
        Ok(Self {
            identity_key_pair: identities.own.serialize().into_vec().into(),
            registration_id: identities.registration_id,
            next_id: signal.next_id,
            pre_keys: records(signal.pre_keys.0.values().map(PreKeyRecord::serialize))?,
            signed_pre_keys: records(signal.signed_pre_keys.0.values().map(GenericSignedPreKey::serialize))?,
            kyber_pre_keys: records(signal.kyber_pre_keys.0.values().map(GenericSignedPreKey::serialize))?,
            identities: (identities.known.iter())
                .map(|(address, key)| Ok((name(address)?, key.serialize().into_vec().into())))
                .collect::<Result<_, Error>>()?,
            sessions: (signal.sessions.0.iter())
                .map(|(address, session)| Ok((name(address)?, session.serialize().map_err(classify)?.into())))
                .collect::<Result<_, Error>>()?,
            groups: (signal.groups.iter())
                .map(|(id, drawer)| Ok((id.clone(), GroupState::of(drawer, name)?)))
                .collect::<Result<_, Error>>()?,
        })
    }

    pub(crate) fn restore(self, id: &DeviceId) -> Result<Signal, Error> {
        let mut book = AddressBook::default();
        let address = book.address(id)?;
        let mut known = BTreeMap::new();
        for (device, key) in self.identities {
            known.insert(book.address(&device)?, IdentityKey::decode(key.as_ref()).map_err(malformed)?);
        }
        let mut sessions = Sessions::default();
        for (device, record) in self.sessions {
            sessions.0.insert(book.address(&device)?, SessionRecord::deserialize(record.as_ref()).map_err(malformed)?);
        }
        let mut groups = BTreeMap::new();
        for (group, state) in self.groups {
            groups.insert(group, state.restore(&mut book)?);
        }
        let mut pre_keys = PreKeys::default();
        for record in self.pre_keys {
            let record = PreKeyRecord::deserialize(record.as_ref()).map_err(malformed)?;
            pre_keys.0.insert(record.id().map_err(malformed)?, record);
        }
        let mut signed_pre_keys = SignedPreKeys::default();
        for record in self.signed_pre_keys {
            let record = SignedPreKeyRecord::deserialize(record.as_ref()).map_err(malformed)?;
            signed_pre_keys.0.insert(record.id().map_err(malformed)?, record);
        }
        let mut kyber_pre_keys = KyberPreKeys::default();
        for record in self.kyber_pre_keys {
            let record = KyberPreKeyRecord::deserialize(record.as_ref()).map_err(malformed)?;
            kyber_pre_keys.0.insert(record.id().map_err(malformed)?, record);
        }
        let own = IdentityKeyPair::try_from(self.identity_key_pair.as_ref()).map_err(malformed)?;
        let registration_id = self.registration_id;
        Ok(Signal {
            id: id.clone(),
            address,
            identities: Identities { own, registration_id, known, book, notebook: Notebook::new() },
            pre_keys,
            signed_pre_keys,
            kyber_pre_keys,
            sessions,
            groups,
            next_id: self.next_id,
            degenerate: false,
        })
    }
}

impl GroupState {
    fn of(drawer: &Drawer, name: impl Fn(&ProtocolAddress) -> Result<DeviceId, Error>) -> Result<Self, Error> {
        Ok(Self {
            own: drawer.own.map(|id| id.as_bytes().as_slice().into()),
            keys: (drawer.keys.0.iter())
                .map(|((sender, id), record)| {
                    Ok(KeyState {
                        sender: name(sender)?,
                        distribution_id: id.as_bytes().as_slice().into(),
                        record: record.serialize().map_err(classify)?.into(),
                    })
                })
                .collect::<Result<_, Error>>()?,
            latest: (drawer.latest.iter())
                .map(|(sender, id)| Ok((name(sender)?, id.as_bytes().as_slice().into())))
                .collect::<Result<_, Error>>()?,
        })
    }

    fn restore(self, book: &mut AddressBook) -> Result<Drawer, Error> {
        let own = self.own.as_ref().map(uuid).transpose()?;
        let mut keys = SenderKeys::default();
        for KeyState { sender, distribution_id, record } in self.keys {
            let record = SenderKeyRecord::deserialize(record.as_ref()).map_err(malformed)?;
            keys.0.insert((book.address(&sender)?, uuid(&distribution_id)?), record);
        }
        let mut latest = BTreeMap::new();
        for (sender, distribution_id) in self.latest {
            latest.insert(book.address(&sender)?, uuid(&distribution_id)?);
        }
        Ok(Drawer { own, keys, latest })
    }
}

fn records(records: impl Iterator<Item = Result<Vec<u8>, SignalProtocolError>>) -> Result<Vec<Bytes>, Error> {
    records.map(|record| record.map(Bytes::from).map_err(classify)).collect()
}

fn uuid(bytes: &Bytes) -> Result<Uuid, Error> {
    Uuid::from_slice(bytes.as_ref()).map_err(|error| Error::bad_request(format!("not a distribution id: {error}")))
}
