//! What travels: a card (what the homeserver shows of a device), a bundle, to-device events and room events. All of it
//! is JSON, as it is between a Matrix client and its homeserver; nothing here vouches for any of it.

use std::collections::BTreeSet;

use e2esm_adapter::{Bytes, DeviceId, Error, Identity};
use matrix_sdk_crypto::types::{DeviceKeys, MasterPubkey};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::names;

/// A user's public cross-signing keys, as they were uploaded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CrossSigning {
    pub(crate) master_key: Value,
    pub(crate) self_signing_key: Value,
    /// A homeserver shows it to nobody but the user.
    pub(crate) user_signing_key: Value,
}

/// What a homeserver shows of one device: its keys, its user's cross-signing keys, and the suite's voucher.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Card {
    pub(crate) device_keys: Value,
    pub(crate) cross_signing: CrossSigning,
    /// The master key's signature over the suite's own statement. Matrix has none: there the self-signing key signs the
    /// device keys, and the master key signs the self-signing key. The SDK never sees this.
    pub(crate) voucher: Bytes,
}

impl Card {
    pub(crate) fn device_keys(&self) -> Result<DeviceKeys, Error> {
        from_value(&self.device_keys, "device keys")
    }

    /// The identity in the suite's form.
    pub(crate) fn identity(&self) -> Result<Identity, Error> {
        Ok(Identity {
            account_key: account_key(&self.cross_signing)?,
            device_key: device_key(&self.device_keys()?)?,
            voucher: self.voucher.clone(),
        })
    }

    /// The keys, if they bear the name under which they are shown. Under another the SDK passes them over
    /// (`src/identities/manager.rs:313`).
    pub(crate) fn named(&self, device: &DeviceId) -> Result<Option<DeviceKeys>, Error> {
        let keys = self.device_keys()?;
        Ok((names::device_of(&keys.user_id, &keys.device_id) == *device).then_some(keys))
    }
}

/// The public master key, 32 bytes.
pub(crate) fn account_key(keys: &CrossSigning) -> Result<Bytes, Error> {
    let key: MasterPubkey = from_value(&keys.master_key, "master key")?;
    let key = key.get_first_key().ok_or_else(|| Error::bad_request("a master key without a key"))?;
    Ok(key.as_bytes().as_slice().into())
}

/// Curve25519 and Ed25519, one after the other, as the suite has it for Olm.
pub(crate) fn device_key(keys: &DeviceKeys) -> Result<Bytes, Error> {
    match (keys.curve25519_key(), keys.ed25519_key()) {
        (Some(curve25519), Some(ed25519)) => Ok([curve25519.to_bytes(), *ed25519.as_bytes()].concat().into()),
        _ => Err(Error::bad_request("device keys without keys")),
    }
}

/// What a device publishes for one peer: the answers to `/keys/query` and `/keys/claim`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Published {
    pub(crate) card: Card,
    pub(crate) one_time_key: OneTimeKey,
}

/// A one-time key that waits at the homeserver.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OneTimeKey {
    pub(crate) id: String,
    pub(crate) key: Value,
}

/// A to-device event, and what the homeserver tells the receiver about its sender.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ToDevice {
    /// With a message that opens a session. A Matrix client fetches it with `/keys/query`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) card: Option<Card>,
    #[serde(rename = "type")]
    pub(crate) event_type: String,
    pub(crate) content: Value,
    /// With a room key bundle: the encrypted file. A Matrix client downloads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) file: Option<Bytes>,
}

impl ToDevice {
    /// Whether it opens an Olm session at one of its receivers.
    pub(crate) fn opens_session(&self) -> bool {
        self.ciphertexts().any(|(_, ciphertext)| ciphertext.get("type").and_then(Value::as_u64) == Some(0))
    }

    /// The Curve25519 keys for which there is a ciphertext.
    pub(crate) fn recipients(&self) -> BTreeSet<&str> {
        self.ciphertexts().map(|(key, _)| key.as_str()).collect()
    }

    fn ciphertexts(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.content.get("ciphertext").and_then(Value::as_object).into_iter().flatten()
    }
}

/// Requests for room keys, with what the homeserver tells the receiver about their sender.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeyRequests {
    pub(crate) sender: Published,
    /// The contents of `m.room_key_request` events.
    pub(crate) requests: Vec<Value>,
}

/// A room event. Its sender is what the packet's label says, as it is what the homeserver says in Matrix.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RoomEvent {
    pub(crate) content: Value,
}

/// The body of a `Change` packet, the same as in the suite's group management.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RosterChange {
    pub(crate) add: Vec<DeviceId>,
    pub(crate) remove: Vec<DeviceId>,
}

/// The body of a `Welcome` packet, the same as in the suite's group management.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Invitation {
    pub(crate) members: BTreeSet<DeviceId>,
}

pub(crate) fn to_json(value: &impl Serialize) -> Result<Bytes, Error> {
    serde_json::to_vec(value).map(Bytes::from).map_err(Error::internal)
}

pub(crate) fn from_json<T: DeserializeOwned>(bytes: &[u8], what: &str) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(|error| Error::bad_request(format!("malformed {what}: {error}")))
}

pub(crate) fn to_value(value: &impl Serialize) -> Result<Value, Error> {
    serde_json::to_value(value).map_err(Error::internal)
}

pub(crate) fn from_value<T: DeserializeOwned>(value: &Value, what: &str) -> Result<T, Error> {
    T::deserialize(value).map_err(|error| Error::bad_request(format!("malformed {what}: {error}")))
}
