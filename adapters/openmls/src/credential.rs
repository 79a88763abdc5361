//! Translation between openmls's basic credentials and the suite's names and keys.

use std::borrow::Cow;
use std::collections::HashMap;

use e2esm_account::{Account, Credential as AccountCredential};
use e2esm_adapter::{Bytes, DeviceId, Error, Identity};
use openmls::group::MlsGroup;
use openmls::prelude::{BasicCredential, Credential, CredentialWithKey, LeafNode, LeafNodeIndex};
use serde::Deserialize;

/// What a leaf shows: a name and keys. Nothing here says that they belong together.
#[derive(Clone)]
pub(crate) struct Shown {
    pub(crate) device: DeviceId,
    pub(crate) identity: Identity,
}

impl Shown {
    pub(crate) fn new(credential: &Credential, signature_key: &[u8]) -> Result<Self, Error> {
        let content = AccountCredential::from_bytes(credential.serialized_content())?;
        let identity = content.identity(signature_key);
        Ok(Self { device: content.device, identity })
    }

    pub(crate) fn of(leaf: &LeafNode) -> Result<Self, Error> {
        Self::new(leaf.credential(), leaf.signature_key().as_slice())
    }
}

/// The credential of a device, with the key that it vouches for.
pub(crate) fn credential_of(account: &Account) -> Result<CredentialWithKey, Error> {
    let content = AccountCredential::of(account).to_bytes()?;
    Ok(CredentialWithKey {
        credential: BasicCredential::new(content).into(),
        signature_key: account.identity().device_key.0.into(),
    })
}

/// The device that a credential names.
pub(crate) fn name_in(credential: &Credential) -> Result<DeviceId, Error> {
    Ok(AccountCredential::from_bytes(credential.serialized_content())?.device)
}

/// The device at a leaf.
pub(crate) fn name_at(group: &MlsGroup, leaf: LeafNodeIndex) -> Result<DeviceId, Error> {
    let credential = group.member(leaf).ok_or_else(|| Error::bad_request(format!("no member at {leaf}")))?;
    name_in(credential)
}

/// Reads the name alone: this is asked of every leaf of a group.
#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow)]
    device: Cow<'a, str>,
}

/// The leaves that bear each of these names, in one pass over the tree. MLS does not keep them down to one a name.
pub(crate) fn leaves_named<'a>(
    group: &'a MlsGroup,
    names: impl Iterator<Item = &'a DeviceId>,
) -> HashMap<String, Vec<(LeafNodeIndex, &'a LeafNode)>> {
    let mut found: HashMap<String, Vec<_>> = names.map(|name| (name.to_string(), Vec::new())).collect();
    if found.is_empty() {
        return found;
    }
    for (index, leaf) in group.treesync().full_leaves() {
        // A leaf with somebody else's kind of credential bears no name.
        if let Ok(Named { device }) = serde_json::from_slice(leaf.credential().serialized_content())
            && let Some(leaves) = found.get_mut(device.as_ref())
        {
            leaves.push((index, leaf));
        }
    }
    found
}

/// For each device shown: the account key under which the group knows it, where that is another one.
pub(crate) fn previous_keys<'a>(
    group: &'a MlsGroup,
    shown: impl Iterator<Item = &'a Shown> + Clone,
) -> Vec<Option<Bytes>> {
    let known = leaves_named(group, shown.clone().map(|shown| &shown.device));
    shown
        .map(|shown| {
            let leaves = known.get(&shown.device.to_string()).into_iter().flatten();
            leaves
                .filter_map(|(_, leaf)| Shown::of(leaf).ok())
                .map(|known| known.identity.account_key)
                .find(|known| *known != shown.identity.account_key)
        })
        .collect()
}
