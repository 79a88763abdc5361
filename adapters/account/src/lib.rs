//! A credential in which a device's key is vouched for by its user's account key.
//!
//! RFC 9420 leaves the validation of credentials to the application, and Olm leaves the signing of device keys to it
//! (Matrix calls it cross-signing). This crate is the one such scheme that the adapters share, so that "a device could
//! only be added by possessing private key material" can be kept and broken. The account key is part of the state of the
//! user's first device: a thief gets it too. A linked device holds a voucher and the public key only.

use e2esm_adapter::{Authorisation, Bytes, DeviceId, Error, Identity, LinkRequest};
use ed25519_dalek::{Signature, Signer, SigningKey, Verifier, VerifyingKey};
use serde::{Deserialize, Serialize};

const CONTEXT: &[u8] = b"E2ESM device voucher v1\0";

/// What an account key signs: the context string, the device's name and the device's key, each with its length.
fn statement(device: &DeviceId, device_key: &[u8]) -> Vec<u8> {
    let mut bytes = CONTEXT.to_vec();
    for part in [device.user.0.as_bytes(), device.device.as_bytes(), device_key] {
        bytes.extend((part.len() as u64).to_be_bytes());
        bytes.extend(part);
    }
    bytes
}

/// One device's share of its user's account: the account key pair (first device) or a voucher (linked device).
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    device: DeviceId,
    device_key: Bytes,
    /// The account key's seed, 32 bytes; a linked device has none.
    secret: Option<Bytes>,
    account_key: Bytes,
    voucher: Bytes,
}

impl Account {
    /// A fresh account whose only device is `device` with the public key `device_key`.
    pub fn new(device: &DeviceId, device_key: &[u8]) -> Self {
        Self::with_key(&SigningKey::generate(&mut rand::rngs::OsRng), device, device_key)
    }

    /// The same with the account key of this seed (an Ed25519 private key), for groups that must come out the same every
    /// time. Whoever knows the seed has the account.
    pub fn from_seed(device: &DeviceId, device_key: &[u8], seed: &[u8; 32]) -> Self {
        Self::with_key(&SigningKey::from_bytes(seed), device, device_key)
    }

    fn with_key(key: &SigningKey, device: &DeviceId, device_key: &[u8]) -> Self {
        Self {
            device: device.clone(),
            device_key: device_key.into(),
            voucher: key.sign(&statement(device, device_key)).to_vec().into(),
            account_key: key.verifying_key().to_bytes().to_vec().into(),
            secret: Some(key.to_bytes().to_vec().into()),
        }
    }

    /// The public side.
    pub fn identity(&self) -> Identity {
        Identity {
            account_key: self.account_key.clone(),
            device_key: self.device_key.clone(),
            voucher: self.voucher.clone(),
        }
    }

    /// What this device shows to an existing device of its user.
    pub fn link_request(&self) -> LinkRequest {
        LinkRequest { device: self.device.clone(), device_key: self.device_key.clone() }
    }

    /// Vouches for another device. Checks nothing: whoever calls it has decided.
    ///
    /// # Errors
    /// `BadRequest` on a linked device, which has no account key.
    pub fn authorise(&self, request: &LinkRequest) -> Result<Authorisation, Error> {
        let secret = self.secret.as_ref().ok_or_else(|| {
            Error::bad_request(format!("{} holds no account key: it is a linked device", self.device))
        })?;
        let seed: [u8; 32] = secret.as_ref().try_into().map_err(Error::internal)?;
        let voucher = SigningKey::from_bytes(&seed).sign(&statement(&request.device, request.device_key.as_ref()));
        let grant = Grant { account_key: self.account_key.clone(), voucher: voucher.to_vec().into() };
        let bytes = serde_json::to_vec(&grant).map_err(Error::internal)?;
        Ok(Authorisation { device: request.device.clone(), bytes: bytes.into() })
    }

    /// Takes the word of an existing device: this one is now a linked device of that account.
    ///
    /// # Errors
    /// `BadRequest` if it is for another device or malformed.
    pub fn accept(&mut self, authorisation: &Authorisation) -> Result<(), Error> {
        if authorisation.device != self.device {
            return Err(Error::bad_request(format!(
                "the authorisation is for {}, this device is {}",
                authorisation.device, self.device
            )));
        }
        let grant: Grant = serde_json::from_slice(authorisation.bytes.as_ref())
            .map_err(|error| Error::bad_request(format!("malformed authorisation: {error}")))?;
        self.account_key = grant.account_key;
        self.voucher = grant.voucher;
        self.secret = None;
        Ok(())
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Grant {
    account_key: Bytes,
    voucher: Bytes,
}

/// Whether possession of the account's private key is shown for this device: the voucher holds, or the device's key is
/// the account's key itself (Signal's linked devices share the identity key).
pub fn vouched(device: &DeviceId, identity: &Identity) -> bool {
    if identity.account_key == identity.device_key {
        return identity.voucher.as_ref().is_empty();
    }
    let Ok(key) = <[u8; 32]>::try_from(identity.account_key.as_ref()) else { return false };
    let Ok(key) = VerifyingKey::from_bytes(&key) else { return false };
    let Ok(signature) = Signature::from_slice(identity.voucher.as_ref()) else { return false };
    key.verify(&statement(device, identity.device_key.as_ref()), &signature).is_ok()
}

/// What stands before a credential's content where a group has members whose library takes nothing for an identity but
/// Wire's client ids, `UUID:HEX@DOMAIN` (core-crypto 10.3.0, `crypto/src/mls/session/id.rs:84`): the content is the domain.
/// It says nothing, and so it is the same for everybody.
const CLIENT_ID: &[u8] = b"00000000-0000-4000-8000-000000000000:0@";

/// The content of a credential in an MLS basic credential's identity: all of it, or what follows [`Credential::to_client_id`]'s
/// prefix. For those who want the name alone; [`Credential::from_bytes`] reads both.
pub fn content(identity: &[u8]) -> &[u8] {
    identity.strip_prefix(CLIENT_ID).unwrap_or(identity)
}

/// A credential's content: who this is and the vouching, as the bytes of an MLS basic credential's identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credential {
    /// The device named.
    pub device: DeviceId,
    /// The account key that vouches.
    pub account_key: Bytes,
    /// Its signature over the device's name and key.
    pub voucher: Bytes,
}

impl Credential {
    /// The credential of a device.
    pub fn of(account: &Account) -> Self {
        Self {
            device: account.device.clone(),
            account_key: account.account_key.clone(),
            voucher: account.voucher.clone(),
        }
    }

    /// The bytes for a basic credential: JSON with the fields in this order.
    ///
    /// # Errors
    /// `Internal`; never in practice.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        serde_json::to_vec(self).map_err(Error::internal)
    }

    /// The same as the domain of a client id, for groups with members that take nothing else.
    ///
    /// # Errors
    /// `Internal`; never in practice.
    pub fn to_client_id(&self) -> Result<Vec<u8>, Error> {
        Ok([CLIENT_ID, &self.to_bytes()?].concat())
    }

    /// Reads such bytes, in either form.
    ///
    /// # Errors
    /// `BadRequest` for anything else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        serde_json::from_slice(content(bytes))
            .map_err(|error| Error::bad_request(format!("not a credential of this suite: {error}")))
    }

    /// The identity that this credential claims for a leaf with the signature key `device_key`.
    pub fn identity(&self, device_key: &[u8]) -> Identity {
        Identity { account_key: self.account_key.clone(), device_key: device_key.into(), voucher: self.voucher.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_account_key_vouches_for_a_device() {
        let bob = DeviceId::new("bob", "phone");
        let tablet = DeviceId::new("bob", "tablet");
        let carol = DeviceId::new("carol", "phone");
        let phone = Account::new(&bob, b"phone key");
        assert!(vouched(&bob, &phone.identity()));
        assert!(!vouched(&tablet, &phone.identity()), "a voucher names one device");

        let mut linked = Account::new(&tablet, b"tablet key");
        let own = linked.identity();
        let word = phone.authorise(&linked.link_request()).expect("a first device can vouch");
        linked.accept(&word).expect("the word is for this device");
        assert!(vouched(&tablet, &linked.identity()));
        assert_eq!(linked.identity().account_key, phone.identity().account_key);
        assert!(linked.authorise(&own_request(&carol)).is_err(), "a linked device holds no account key");
        assert!(!vouched(&tablet, &Identity { account_key: phone.identity().account_key, ..own }));
    }

    #[test]
    fn a_seed_makes_the_same_account_every_time() {
        let bob = DeviceId::new("bob", "phone");
        let account = |seed| Account::from_seed(&bob, b"phone key", &[seed; 32]).identity();
        assert!(vouched(&bob, &account(1)));
        assert_eq!(account(1), account(1));
        assert_ne!(account(1).account_key, account(2).account_key);
    }

    #[test]
    fn a_credential_is_read_in_either_form() {
        let credential = Credential::of(&Account::new(&DeviceId::new("bob", "phone"), b"phone key"));
        let (plain, client_id) = (credential.to_bytes().expect("JSON"), credential.to_client_id().expect("JSON"));
        assert_eq!(client_id, [b"00000000-0000-4000-8000-000000000000:0@", plain.as_slice()].concat());
        assert_eq!(content(&client_id), plain);
        for bytes in [&plain, &client_id] {
            assert_eq!(Credential::from_bytes(bytes).expect("it was written so"), credential);
        }
        for prefix in ["0:0@", "@", "00000000-0000-4000-8000-000000000000:0@00000000-0000-4000-8000-000000000000:0@"] {
            Credential::from_bytes(&[prefix.as_bytes(), &plain].concat()).expect_err(prefix);
        }
    }

    fn own_request(device: &DeviceId) -> LinkRequest {
        LinkRequest { device: device.clone(), device_key: b"key".as_slice().into() }
    }
}
