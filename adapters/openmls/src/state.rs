//! A device's whole secret state as bytes: what a thief copies, what a device stores, and a device made of either.
//!
//! openmls keeps its own state up to date in its storage provider; here are its values, and what the adapter keeps
//! beside them.

use std::collections::BTreeMap;
use std::fmt::Display;

use e2esm_account::Account;
use e2esm_adapter::{Bytes, DeviceId, Error, GroupId};
use openmls::group::{GroupId as MlsGroupId, MlsGroup};
use serde::{Deserialize, Serialize, Serializer};

use crate::device::{Held, OpenMlsDevice, Seat};
use crate::meter::SignatureKey;
use crate::provider::{Backend, Provider};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State<Account, Signer, Value: Ord> {
    account: Account,
    signer: Signer,
    groups: BTreeMap<GroupId, SavedSeat>,
    /// The library's own, in the order of its keys: equal devices make equal bytes.
    storage: BTreeMap<Value, Value>,
}

/// What a device is made of.
type Saved = State<Account, SignatureKey, Bytes>;

/// What it is saved from: a large group's values are megabytes, and are not copied on the way.
type Saving<'a> = State<&'a Account, &'a SignatureKey, Borrowed<'a>>;

/// Written as [`Bytes`] are.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Borrowed<'a>(&'a [u8]);

impl Serialize for Borrowed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            hex::serialize(self.0, serializer)
        } else {
            serializer.serialize_bytes(self.0)
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedSeat {
    pending: Option<Bytes>,
    removed: bool,
    /// In JSON, which is how the library writes its own values.
    held: Vec<Bytes>,
}

impl SavedSeat {
    fn of(seat: &Seat) -> Result<Self, Error> {
        let held = seat.held.iter().map(|held| serde_json::to_vec(held).map(Bytes::from));
        let held = held.collect::<Result<_, _>>().map_err(Error::internal)?;
        Ok(Self { pending: seat.pending.clone(), removed: seat.removed, held })
    }

    fn into_seat(self, group: MlsGroup) -> Result<Seat, Error> {
        let held = self.held.iter().map(|held| serde_json::from_slice::<Held>(held.as_ref()));
        let held = held.collect::<Result<_, _>>().map_err(no_state)?;
        Ok(Seat { group, pending: self.pending, removed: self.removed, held })
    }
}

impl<C: Backend> OpenMlsDevice<C> {
    /// What a thief copies: in JSON, to be looked at.
    pub(crate) fn exported(&self) -> Result<Bytes, Error> {
        self.saved(|state| serde_json::to_vec(state))
    }

    /// What the device stores, in as many bytes as it is.
    pub(crate) fn stored(&self) -> Result<Bytes, Error> {
        self.saved(|state| postcard::to_stdvec(state))
    }

    fn saved<E: Display>(&self, encode: impl FnOnce(&Saving<'_>) -> Result<Vec<u8>, E>) -> Result<Bytes, Error> {
        let values = self.provider.storage.values.read().map_err(Error::internal)?;
        let groups = self.groups.iter().map(|(group, seat)| Ok((group.clone(), SavedSeat::of(seat)?)));
        let state = State {
            account: &self.account,
            signer: &self.signer,
            groups: groups.collect::<Result<_, Error>>()?,
            storage: values.iter().map(|(key, value)| (Borrowed(key), Borrowed(value))).collect(),
        };
        encode(&state).map(Bytes::from).map_err(Error::internal)
    }

    /// What a thief makes of a copied state.
    pub(crate) fn restore(id: &DeviceId, state: &[u8]) -> Result<Self, Error> {
        Self::of_state(id, serde_json::from_slice(state).map_err(no_state)?, true)
    }

    /// The device that stored itself.
    pub(crate) fn load(id: &DeviceId, store: &[u8]) -> Result<Self, Error> {
        let (state, rest) = postcard::take_from_bytes::<Saved>(store).map_err(no_state)?;
        if !rest.is_empty() {
            return Err(no_state("more bytes than it has"));
        }
        let stored = state.account.link_request().device;
        if stored != *id {
            return Err(Error::bad_request(format!("the state is that of {stored}")));
        }
        Self::of_state(id, state, false)
    }

    fn of_state(id: &DeviceId, state: Saved, stolen: bool) -> Result<Self, Error> {
        let provider = Provider::new()?;
        let mut values = provider.storage.values.write().map_err(Error::internal)?;
        values.extend(state.storage.into_iter().map(|(key, value)| (key.0, value.0)));
        drop(values);
        let mut groups = BTreeMap::new();
        for (group, seat) in state.groups {
            let mls_group = MlsGroup::load(&provider.storage, &MlsGroupId::from_slice(group.0.as_bytes()))
                .map_err(|error| Error::bad_request(format!("the state of group `{group}`: {error}")))?
                .ok_or_else(|| Error::bad_request(format!("the state has no group `{group}`")))?;
            groups.insert(group, seat.into_seat(mls_group)?);
        }
        Ok(Self::with(id.clone(), provider, state.signer, state.account, groups, stolen))
    }
}

fn no_state(error: impl Display) -> Error {
    Error::bad_request(format!("not a state of this adapter: {error}"))
}
