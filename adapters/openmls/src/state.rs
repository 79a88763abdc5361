//! A device's whole secret state as bytes: what a thief copies, and a device made of them.

use std::collections::BTreeMap;

use e2esm_account::Account;
use e2esm_adapter::{Bytes, DeviceId, Error, GroupId};
use openmls::group::{GroupId as MlsGroupId, MlsGroup};
use openmls_basic_credential::SignatureKeyPair;
use serde::{Deserialize, Serialize};

use crate::device::{OpenMlsDevice, Seat};
use crate::provider::{Backend, Provider};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State<Account, Signer> {
    account: Account,
    signer: Signer,
    groups: BTreeMap<GroupId, SavedSeat>,
    storage: BTreeMap<Bytes, Bytes>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedSeat {
    pending: Option<Bytes>,
    removed: bool,
}

impl<C: Backend> OpenMlsDevice<C> {
    pub(crate) fn export(&self) -> Result<Bytes, Error> {
        let values = self.provider.storage.values.read().map_err(Error::internal)?;
        let groups = self
            .groups
            .iter()
            .map(|(group, seat)| (group.clone(), SavedSeat { pending: seat.pending.clone(), removed: seat.removed }));
        let state = State {
            account: &self.account,
            signer: &self.signer,
            groups: groups.collect(),
            storage: values.iter().map(|(key, value)| (key.clone().into(), value.clone().into())).collect(),
        };
        serde_json::to_vec(&state).map(Bytes::from).map_err(Error::internal)
    }

    pub(crate) fn restore(id: &DeviceId, state: &[u8]) -> Result<Self, Error> {
        let state: State<Account, SignatureKeyPair> = serde_json::from_slice(state)
            .map_err(|error| Error::bad_request(format!("not a state of this adapter: {error}")))?;
        let provider = Provider::new()?;
        let mut values = provider.storage.values.write().map_err(Error::internal)?;
        values.extend(state.storage.into_iter().map(|(key, value)| (key.0, value.0)));
        drop(values);
        let mut groups = BTreeMap::new();
        for (group, SavedSeat { pending, removed }) in state.groups {
            let mls_group = MlsGroup::load(&provider.storage, &MlsGroupId::from_slice(group.0.as_bytes()))
                .map_err(|error| Error::bad_request(format!("the state of group `{group}`: {error}")))?
                .ok_or_else(|| Error::bad_request(format!("the state has no group `{group}`")))?;
            let mut seat = Seat::new(mls_group);
            (seat.pending, seat.removed) = (pending, removed);
            groups.insert(group, seat);
        }
        Ok(Self::with(id.clone(), provider, state.signer, state.account, groups, true))
    }
}
