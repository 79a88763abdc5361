//! Translation between openmls's basic credentials and the suite's names and keys.

use std::borrow::Cow;
use std::collections::HashMap;

use e2esm_account::{Account, Credential as AccountCredential, content};
use e2esm_adapter::{Bytes, DeviceId, Error, Identity};
use openmls::group::MlsGroup;
use openmls::prelude::{BasicCredential, Credential, CredentialWithKey, LeafNode, LeafNodeIndex};
use serde::{Deserialize, Serialize};

use crate::provider::Company;

/// What a leaf shows: a name and keys. Nothing here says that they belong together.
#[derive(Clone, Serialize, Deserialize)]
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
pub(crate) fn credential_of(account: &Account, company: Company) -> Result<CredentialWithKey, Error> {
    let credential = AccountCredential::of(account);
    let content = match company {
        Company::Own => credential.to_bytes()?,
        Company::Mixed => credential.to_client_id()?,
    };
    Ok(CredentialWithKey {
        credential: BasicCredential::new(content).into(),
        signature_key: account.identity().device_key.0.into(),
    })
}

/// The device that a credential names.
pub(crate) fn name_in(credential: &Credential) -> Result<DeviceId, Error> {
    let Named { device } = serde_json::from_slice(content(credential.serialized_content()))
        .map_err(|error| Error::bad_request(format!("not a credential of this suite: {error}")))?;
    device.parse().map_err(Error::bad_request)
}

/// The device at a leaf.
pub(crate) fn name_at(group: &MlsGroup, leaf: LeafNodeIndex) -> Result<DeviceId, Error> {
    let credential = group.member(leaf).ok_or_else(|| Error::bad_request(format!("no member at {leaf}")))?;
    name_in(credential)
}

/// Reads the name alone: keys that nobody looks at would cost more to decode than the rest of the adapter's work on a
/// message.
#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow)]
    device: Cow<'a, str>,
}

/// The name that a credential's content begins with, if it is written as this suite writes it: then the whole is read as
/// this name, or as none. It is asked of every leaf of a group, where parsing would cost as much again as the rest.
fn leading_name(content: &[u8]) -> Option<&str> {
    let name = content.strip_prefix(br#"{"device":""#)?;
    let end = name.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
    (name[end] == b'"').then(|| str::from_utf8(&name[..end]).ok())?
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
        let content = content(leaf.credential().serialized_content());
        if leading_name(content).is_some_and(|name| !found.contains_key(name)) {
            continue;
        }
        // A leaf with somebody else's kind of credential bears no name.
        if let Ok(Named { device }) = serde_json::from_slice(content)
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use openmls_rust_crypto::RustCrypto;

    use super::*;
    use crate::meter::SignatureKey;
    use crate::provider::{Provider, create_config};

    /// How many leaves bear Bob's name in a group of one whose credential is this.
    fn found(content: &str) -> usize {
        let provider = Provider::<RustCrypto>::new().unwrap();
        let signer = SignatureKey::generate().unwrap();
        let credential = CredentialWithKey {
            credential: BasicCredential::new(content.as_bytes().to_vec()).into(),
            signature_key: signer.public().into(),
        };
        let group = MlsGroup::new(&provider, &signer, &create_config(Company::default()), credential).unwrap();
        let bob = DeviceId::new("bob", "phone");
        leaves_named(&group, [&bob].into_iter())["bob/phone"].len()
    }

    #[test]
    fn a_name_is_found_however_it_is_written() {
        for content in [
            r#"{"device":"bob/phone","account_key":"","voucher":""}"#,
            r#"{"device":"bob/phone"}"#,
            r#"{ "device": "bob/phone" }"#,
            r#"{"voucher":"","device":"bob/phone"}"#,
            r#"{"device":"b\u006fb\/phone"}"#,
            r#"00000000-0000-4000-8000-000000000000:0@{"device":"bob/phone","account_key":"","voucher":""}"#,
            r#"00000000-0000-4000-8000-000000000000:0@{"voucher":"","device":"bob/phone"}"#,
        ] {
            assert_eq!(found(content), 1, "{content}");
        }
    }

    #[test]
    fn nothing_else_is_taken_for_the_name() {
        for content in [
            r#"{"device":"bob/phones"}"#,
            r#"{"device":"bob/phon"}"#,
            r#"{"device":"carol/phone","also":"bob/phone"}"#,
            r#"{"device":"carol/phone","device":"bob/phone"}"#,
            r#"{"device":"bob/phone","device":"bob/phone"}"#,
            r#"{"device":"bob/phone""#,
            r#"{"device":"bob/phone"#,
            r#"{"device":"#,
            r#"00000000-0000-4000-8000-000000000000:0@{"device":"carol/phone"}"#,
            r#"@{"device":"bob/phone"}"#,
            "bob/phone",
            "",
        ] {
            assert_eq!(found(content), 0, "{content}");
        }
    }
}
