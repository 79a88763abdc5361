//! Public keys on the wire: an identity beside a message that opens a session, and a prekey bundle.
//!
//! Matrix has both from the server's device list; here they travel with what they are for, in a fixed layout. Nothing
//! vouches for them but the voucher inside, and that is for the application to check.

use e2esm_adapter::{Bytes, Error, Identity};
use vodozemac::{Curve25519PublicKey, Ed25519PublicKey, Ed25519Signature};

use crate::error::refused;

const ACCOUNT_KEY: usize = 32;
const DEVICE_KEY: usize = 64;
const VOUCHER: usize = 64;
const IDENTITY: usize = ACCOUNT_KEY + DEVICE_KEY + VOUCHER;
const ONE_TIME_KEY: usize = Curve25519PublicKey::LENGTH;

/// The identity, then whatever belongs to it.
pub(crate) fn beside(identity: &Identity, rest: &[u8]) -> Bytes {
    let Identity { account_key, device_key, voucher } = identity;
    [account_key.as_ref(), device_key.as_ref(), voucher.as_ref(), rest].concat().into()
}

/// The parts of [`beside`].
pub(crate) fn split_identity(bytes: &[u8]) -> Result<(Identity, &[u8]), Error> {
    let (identity, rest) = bytes.split_at_checked(IDENTITY).ok_or_else(|| Error::bad_request("truncated identity"))?;
    let (account_key, keys) = identity.split_at(ACCOUNT_KEY);
    let (device_key, voucher) = keys.split_at(DEVICE_KEY);
    let identity = Identity { account_key: account_key.into(), device_key: device_key.into(), voucher: voucher.into() };
    Ok((identity, rest))
}

/// A device's Olm keys, as the `device_key` of an [`Identity`] holds them.
pub(crate) struct DeviceKeys {
    pub(crate) curve25519: Curve25519PublicKey,
    pub(crate) ed25519: Ed25519PublicKey,
}

impl DeviceKeys {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        [self.curve25519.as_bytes().as_slice(), self.ed25519.as_bytes()].concat()
    }

    pub(crate) fn of(identity: &Identity) -> Result<Self, Error> {
        let bytes: &[u8; DEVICE_KEY] = identity
            .device_key
            .as_ref()
            .try_into()
            .map_err(|_| Error::bad_request(format!("a device key has {DEVICE_KEY} bytes")))?;
        let (curve25519, ed25519) = bytes.split_at(Curve25519PublicKey::LENGTH);
        let ed25519: &[u8; Ed25519PublicKey::LENGTH] = ed25519.try_into().map_err(Error::internal)?;
        Ok(Self {
            curve25519: Curve25519PublicKey::from_slice(curve25519).map_err(refused)?,
            ed25519: Ed25519PublicKey::from_slice(ed25519).map_err(refused)?,
        })
    }
}

/// An identity and a signed one-time key.
pub(crate) struct PrekeyBundle {
    pub(crate) identity: Identity,
    pub(crate) one_time_key: Curve25519PublicKey,
    pub(crate) signature: Ed25519Signature,
}

impl PrekeyBundle {
    /// What the device's Ed25519 key signs: the JSON that Matrix signs for a `signed_curve25519` key.
    pub(crate) fn statement(one_time_key: &Curve25519PublicKey) -> String {
        format!(r#"{{"key":"{one_time_key}"}}"#)
    }

    pub(crate) fn to_bytes(&self) -> Bytes {
        beside(&self.identity, &[self.one_time_key.as_bytes().as_slice(), &self.signature.to_bytes()].concat())
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let (identity, rest) = split_identity(bytes)?;
        let (one_time_key, signature) =
            rest.split_at_checked(ONE_TIME_KEY).ok_or_else(|| Error::bad_request("truncated one-time key"))?;
        Ok(Self {
            identity,
            one_time_key: Curve25519PublicKey::from_slice(one_time_key).map_err(refused)?,
            signature: Ed25519Signature::from_slice(signature)
                .map_err(|error| Error::bad_request(format!("malformed signature: {error}")))?,
        })
    }
}
