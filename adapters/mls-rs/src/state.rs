//! A device's whole state as bytes: what a thief copies.

use e2esm_account::Account;
use e2esm_adapter::{Bytes, Error, GroupId};
use mls_rs::GroupStateStorage;
use mls_rs::mls_rs_codec::{MlsDecode, MlsEncode};
use mls_rs::storage_provider::KeyPackageData;
use mls_rs_core::group::{EpochRecord, GroupState};
use serde::{Deserialize, Serialize};

use crate::client::Stores;

/// Everything that a device holds between two calls.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    pub(crate) account: Account,
    pub(crate) secret_key: Bytes,
    pub(crate) public_key: Bytes,
    pub(crate) storage: Storage,
    pub(crate) pending: Vec<PendingRecord>,
}

/// A change that has not come back yet.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PendingRecord {
    pub(crate) group: GroupId,
    pub(crate) packet: Bytes,
    pub(crate) secrets: Bytes,
}

impl State {
    pub(crate) fn to_bytes(&self) -> Result<Bytes, Error> {
        Ok(serde_json::to_vec(self).map_err(Error::internal)?.into())
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        serde_json::from_slice(bytes).map_err(|error| Error::bad_request(format!("not a state: {error}")))
    }
}

/// The content of the library's two storages.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Storage {
    /// By reference.
    key_packages: Vec<(Bytes, Bytes)>,
    groups: Vec<GroupRecord>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct GroupRecord {
    id: Bytes,
    state: Bytes,
    /// The earlier epochs that are retained, oldest first.
    epochs: Vec<(u64, Bytes)>,
}

impl Storage {
    pub(crate) fn read(stores: &Stores) -> Result<Self, Error> {
        let mut key_packages = stores
            .key_packages
            .key_packages()
            .into_iter()
            .map(|(reference, data)| Ok((reference.into(), data.mls_encode_to_vec().map_err(Error::internal)?.into())))
            .collect::<Result<Vec<(Bytes, Bytes)>, Error>>()?;
        key_packages.sort();
        let mut groups = stores
            .groups
            .stored_groups()
            .iter()
            .map(|id| Ok(GroupRecord::read(stores, id)?.into_iter()))
            .collect::<Result<Vec<_>, Error>>()?
            .into_iter()
            .flatten()
            .collect::<Vec<_>>();
        groups.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(Self { key_packages, groups })
    }

    pub(crate) fn write(&self, stores: &mut Stores) -> Result<(), Error> {
        for (reference, data) in &self.key_packages {
            let data = KeyPackageData::mls_decode(&mut data.as_ref())
                .map_err(|error| Error::bad_request(format!("not a key package's data: {error}")))?;
            stores.key_packages.insert(reference.0.clone(), data);
        }
        for record in &self.groups {
            record.write(stores)?;
        }
        Ok(())
    }

    /// The groups in it.
    pub(crate) fn group_ids(&self) -> impl Iterator<Item = &[u8]> {
        self.groups.iter().map(|record| record.id.as_ref())
    }
}

impl GroupRecord {
    fn read(stores: &Stores, id: &[u8]) -> Result<Option<Self>, Error> {
        let storage = &stores.groups;
        let Some(state) = storage.state(id).map_err(Error::internal)? else { return Ok(None) };
        let mut epochs = Vec::new();
        let mut next = storage.max_epoch_id(id).map_err(Error::internal)?;
        while let Some(epoch) = next {
            let Some(record) = storage.epoch(id, epoch).map_err(Error::internal)? else { break };
            epochs.push((epoch, record.as_slice().into()));
            next = epoch.checked_sub(1);
        }
        epochs.reverse();
        Ok(Some(Self { id: id.into(), state: state.as_slice().into(), epochs }))
    }

    fn write(&self, stores: &mut Stores) -> Result<(), Error> {
        let state = GroupState { id: self.id.0.clone(), data: self.state.0.clone().into() };
        let epochs = self.epochs.iter().map(|(id, data)| EpochRecord::new(*id, data.0.clone().into())).collect();
        stores.groups.write(state, epochs, Vec::new()).map_err(Error::internal)
    }
}

/// A group's records taken out of storage, so that the library finds none, and put back if it comes to nothing.
pub(crate) struct Stash(Option<GroupRecord>);

impl Stash {
    pub(crate) fn take(stores: &Stores, id: &[u8]) -> Result<Self, Error> {
        let record = GroupRecord::read(stores, id)?;
        stores.groups.delete_group(id);
        Ok(Self(record))
    }

    pub(crate) fn put_back(self, stores: &mut Stores) -> Result<(), Error> {
        self.0.map_or(Ok(()), |record| record.write(stores))
    }
}
