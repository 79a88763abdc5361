//! A device's whole state as bytes: what it stores itself, and what a thief copies. Both hold the same; the one is
//! compact, the other JSON for people to look into.

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
    /// The groups whose tree is left out of the Welcome.
    pub(crate) trees_apart: Vec<GroupId>,
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
    /// What a thief copies.
    pub(crate) fn to_export(&self) -> Result<Bytes, Error> {
        Ok(serde_json::to_vec(self).map_err(Error::internal)?.into())
    }

    pub(crate) fn from_export(bytes: &[u8]) -> Result<Self, Error> {
        serde_json::from_slice(bytes).map_err(|error| Error::bad_request(format!("not a state: {error}")))
    }

    /// What the device stores: the library's own bytes, one after the other.
    pub(crate) fn to_store(&self) -> Result<Bytes, Error> {
        Ok(postcard::to_stdvec(self).map_err(Error::internal)?.into())
    }

    pub(crate) fn from_store(bytes: &[u8]) -> Result<Self, Error> {
        match postcard::take_from_bytes(bytes) {
            Ok((state, [])) => Ok(state),
            Ok(_) => Err(Error::bad_request("not a store: more bytes than it has")),
            Err(error) => Err(Error::bad_request(format!("not a store: {error}"))),
        }
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

    /// Fills the library's storages and says which groups are in them.
    pub(crate) fn write(self, stores: &mut Stores) -> Result<Vec<Vec<u8>>, Error> {
        for (reference, data) in self.key_packages {
            let data = KeyPackageData::mls_decode(&mut data.as_ref())
                .map_err(|error| Error::bad_request(format!("not a key package's data: {error}")))?;
            stores.key_packages.insert(reference.0, data);
        }
        let ids = self.groups.iter().map(|record| record.id.0.clone()).collect();
        self.groups.into_iter().try_for_each(|record| record.write(stores))?;
        Ok(ids)
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

    fn write(self, stores: &mut Stores) -> Result<(), Error> {
        let state = GroupState { id: self.id.0, data: self.state.0.into() };
        let epochs = self.epochs.into_iter().map(|(id, data)| EpochRecord::new(id, data.0.into())).collect();
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
