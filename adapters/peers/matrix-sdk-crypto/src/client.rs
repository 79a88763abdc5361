//! One Matrix client's cryptography, and the homeserver as it sees it: an `OlmMachine`, its store, and what `/keys/query`
//! last said of each user.
//!
//! What a homeserver answers comes out of bundles and packets. The client asks for it, hands it on to the SDK and does no more:
//! whom it trusts, who gets a room key and what is decrypted is decided in the SDK.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Cursor, Read};

use e2esm_account::Account;
use e2esm_adapter::{Bytes, DeviceId, Error, ErrorClass, Identity};
use matrix_sdk_common::deserialized_responses::{
    DecryptedRoomEvent, ProcessedToDeviceEvent, ToDeviceUnableToDecryptReason,
};
use matrix_sdk_crypto::olm::{
    InboundGroupSession, OutboundGroupSession, PickledAccount, PickledInboundGroupSession, PickledOutboundGroupSession,
    PickledSession,
};
use matrix_sdk_crypto::store::types::{Changes, DeviceChanges, IdentityChanges, PendingChanges, RoomKeyInfo};
use matrix_sdk_crypto::store::{CryptoStore as _, MemoryStore};
use matrix_sdk_crypto::types::events::room_key_bundle::RoomKeyBundleContent;
use matrix_sdk_crypto::types::requests::{AnyIncomingResponse, AnyOutgoingRequest, ToDeviceRequest};
use matrix_sdk_crypto::types::{CrossSigningKey, SecretsBundle};
use matrix_sdk_crypto::vodozemac::{Curve25519PublicKey, base64_decode};
use matrix_sdk_crypto::{
    AttachmentDecryptor, AttachmentEncryptor, DecryptionSettings, DeviceData, EncryptionSettings,
    EncryptionSyncChanges, GossipRequest, LocalTrust, OlmError, OlmMachine, Session, UserIdentity, UserIdentityData,
};
use ruma::api::client::keys::{claim_keys, get_keys, upload_keys, upload_signatures, upload_signing_keys};
use ruma::api::client::to_device::send_event_to_device;
use ruma::events::room::EncryptedFile;
use ruma::serde::Raw;
use ruma::to_device::DeviceIdOrAllDevices;
use ruma::{OneTimeKeyAlgorithm, OwnedDeviceId, OwnedTransactionId, OwnedUserId, RoomId, TransactionId, UInt, UserId};
use serde::{Deserialize, Serialize};
use serde_json::value::to_raw_value;
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

use crate::adapter::Configuration;
use crate::error::refused;
use crate::names;
use crate::wire::{Card, CrossSigning, OneTimeKey, Published, ToDevice, account_key, device_key, from_value, to_value};

/// What the homeserver last said of a user.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Listing {
    /// With this client's own signature on the master key, once the user is verified.
    cross_signing: Option<CrossSigning>,
    /// Keys and voucher of each device.
    devices: BTreeMap<OwnedDeviceId, (Value, Bytes)>,
}

/// What the SDK has to say of a user's identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// This user has signed it.
    Verified,
    /// Nobody has, and it is the only one that was ever seen.
    Unverified,
    /// It took the place of another one, and wants approval.
    Changed,
}

/// A to-device message on its way.
pub(crate) struct Outgoing {
    pub(crate) user: OwnedUserId,
    pub(crate) device: OwnedDeviceId,
    pub(crate) event_type: String,
    pub(crate) content: Value,
}

/// What came of a to-device event.
pub(crate) struct Received {
    /// The event, decrypted if it was encrypted.
    pub(crate) event: Value,
    /// The room keys that were in it.
    pub(crate) keys: Vec<RoomKeyInfo>,
}

/// What a device hands to a new one of its user, in private.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Linkage {
    secrets: SecretsBundle,
    public: CrossSigning,
}

/// One device's client.
pub(crate) struct Client {
    configuration: Configuration,
    runtime: Runtime,
    machine: OlmMachine,
    id: DeviceId,
    user: OwnedUserId,
    device: OwnedDeviceId,
    card: Card,
    directory: BTreeMap<OwnedUserId, Listing>,
    /// One-time keys that wait at the homeserver.
    waiting: Vec<OneTimeKey>,
    /// Requests for room keys that this client has made.
    requested: Vec<OwnedTransactionId>,
}

/// Everything that a client holds.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClientState {
    account: PickledAccount,
    secrets: Option<SecretsBundle>,
    sessions: Vec<PickledSession>,
    received: Vec<PickledInboundGroupSession>,
    own: Vec<PickledOutboundGroupSession>,
    devices: Vec<DeviceData>,
    identities: Vec<UserIdentityData>,
    requests: Vec<GossipRequest>,
    card: Card,
    directory: BTreeMap<OwnedUserId, Listing>,
    waiting: Vec<OneTimeKey>,
}

fn raw<T>(value: &Value) -> Result<Raw<T>, Error> {
    to_raw_value(value).map(Raw::from_json).map_err(Error::internal)
}

fn runtime() -> Result<Runtime, Error> {
    Builder::new_current_thread().enable_time().build().map_err(Error::internal)
}

fn missing(what: &str) -> Error {
    Error::internal(format!("the SDK gave no {what}"))
}

/// Adds the signatures of one signed object to another that is otherwise the same.
fn merge_signatures(into: &mut Value, from: &Value) {
    let Some(from) = from.get("signatures").and_then(Value::as_object) else { return };
    for (user, signatures) in from {
        for (key, signature) in signatures.as_object().into_iter().flatten() {
            into["signatures"][user][key] = signature.clone();
        }
    }
}

impl Client {
    /// A client with fresh keys: its user's first one, with cross-signing keys of its own.
    pub(crate) fn new(id: &DeviceId, configuration: Configuration) -> Result<Self, Error> {
        let runtime = runtime()?;
        let (user, device) = (names::user(&id.user)?, names::fresh_device(id));
        let machine =
            runtime.block_on(OlmMachine::with_store(&user, &device, MemoryStore::new(), None)).map_err(refused)?;
        let mut client = Self {
            configuration,
            runtime,
            machine,
            id: id.clone(),
            user,
            device,
            card: Card::default(),
            directory: BTreeMap::new(),
            waiting: Vec::new(),
            requested: Vec::new(),
        };
        client.bootstrap(None)?;
        Ok(client)
    }

    /// Uploads the device keys, the cross-signing keys and the signature that ties the first to the second; makes what is
    /// missing. `uploaded` are the user's cross-signing keys if another device has uploaded them.
    fn bootstrap(&mut self, uploaded: Option<CrossSigning>) -> Result<(), Error> {
        let requests = self.runtime.block_on(self.machine.bootstrap_cross_signing(false)).map_err(refused)?;
        if let Some(upload) = requests.upload_keys_req
            && let AnyOutgoingRequest::KeysUpload(request) = upload.request()
        {
            if let Some(keys) = &request.device_keys {
                self.card.device_keys = to_value(keys)?;
            }
            self.uploaded(upload.request_id(), request)?;
        }
        self.card.cross_signing = match uploaded {
            Some(uploaded) => uploaded,
            None => {
                let keys = requests.upload_signing_keys_req;
                let value = |key: Option<CrossSigningKey>, what| to_value(&key.ok_or_else(|| missing(what))?);
                let response = upload_signing_keys::v3::Response::new();
                self.answer(&TransactionId::new(), AnyIncomingResponse::SigningKeysUpload(&response))
                    .map_err(refused)?;
                CrossSigning {
                    master_key: value(keys.master_key, "master key")?,
                    self_signing_key: value(keys.self_signing_key, "self-signing key")?,
                    user_signing_key: value(keys.user_signing_key, "user-signing key")?,
                }
            }
        };
        for (_, signed) in requests.upload_signatures_req.signed_keys.values().flat_map(|keys| keys.iter()) {
            let signed: Value = serde_json::from_str(signed.get()).map_err(Error::internal)?;
            merge_signatures(&mut self.card.device_keys, &signed);
        }

        self.card.voucher = self.voucher()?;
        let listing = self.directory.entry(self.user.clone()).or_default();
        listing.cross_signing = Some(self.card.cross_signing.clone());
        listing.devices.insert(self.device.clone(), (self.card.device_keys.clone(), self.card.voucher.clone()));
        self.query(&self.user.clone())
    }

    /// The suite's voucher for this device, made with the private master key.
    fn voucher(&self) -> Result<Bytes, Error> {
        let keys = self.runtime.block_on(self.machine.export_cross_signing_keys()).map_err(refused)?;
        let seed = keys.and_then(|keys| keys.master_key.clone()).ok_or_else(|| missing("master key"))?;
        let seed = base64_decode(seed).map_err(Error::internal)?;
        let seed = <[u8; 32]>::try_from(seed).map_err(|_| missing("master key of 32 bytes"))?;
        Ok(Account::from_seed(&self.id, device_key(&self.card.device_keys()?)?.as_ref(), &seed).identity().voucher)
    }

    /// The homeserver answers a request. Not generic, as `mark_request_as_sent` is: that would be compiled for each answer anew.
    fn answer(&self, request: &TransactionId, response: AnyIncomingResponse<'_>) -> Result<(), OlmError> {
        self.runtime.block_on(self.machine.mark_request_as_sent(request, response))
    }

    /// The homeserver has taken a to-device message.
    fn sent(&self, request: &TransactionId) -> Result<(), OlmError> {
        self.answer(request, AnyIncomingResponse::ToDevice(&send_event_to_device::v3::Response::new()))
    }

    /// Takes the one-time keys of an upload for the homeserver.
    fn uploaded(&mut self, id: &TransactionId, request: &upload_keys::v3::Request) -> Result<(), Error> {
        for (id, key) in &request.one_time_keys {
            self.waiting.push(OneTimeKey { id: id.to_string(), key: to_value(key)? });
        }
        let response = upload_keys::v3::Response::new(self.counts());
        self.answer(id, AnyIncomingResponse::KeysUpload(&response)).map_err(refused)
    }

    /// How many one-time keys wait at the homeserver.
    fn counts(&self) -> BTreeMap<OneTimeKeyAlgorithm, UInt> {
        let count = UInt::try_from(self.waiting.len()).unwrap_or(UInt::MAX);
        BTreeMap::from([(OneTimeKeyAlgorithm::SignedCurve25519, count)])
    }

    /// `/keys/query` for one user.
    fn query(&self, user: &UserId) -> Result<(), Error> {
        let mut response = get_keys::v3::Response::new();
        let mut devices = BTreeMap::new();
        if let Some(listing) = self.directory.get(user) {
            for (id, (keys, _)) in &listing.devices {
                devices.insert(id.clone(), raw(keys)?);
            }
            if let Some(keys) = &listing.cross_signing {
                response.master_keys.insert(user.to_owned(), raw(&keys.master_key)?);
                response.self_signing_keys.insert(user.to_owned(), raw(&keys.self_signing_key)?);
                if *user == *self.user {
                    response.user_signing_keys.insert(user.to_owned(), raw(&keys.user_signing_key)?);
                }
            }
        }
        response.device_keys.insert(user.to_owned(), devices);
        self.answer(&TransactionId::new(), AnyIncomingResponse::KeysQuery(&response)).map_err(refused)
    }

    pub(crate) fn card(&self) -> &Card {
        &self.card
    }

    pub(crate) fn user(&self) -> &UserId {
        &self.user
    }

    pub(crate) fn curve25519(&self) -> Curve25519PublicKey {
        self.machine.identity_keys().curve25519
    }

    /// What the SDK holds for this user's identity: the public master key.
    pub(crate) fn known_account(&self, user: &UserId) -> Result<Option<Bytes>, Error> {
        let identity = self.runtime.block_on(self.machine.store().get_user_identity(user)).map_err(refused)?;
        let key = identity.and_then(|identity| identity.master_key().get_first_key());
        Ok(key.map(|key| key.as_bytes().as_slice().into()))
    }

    /// Whether this very card is what the homeserver showed last.
    pub(crate) fn knows(&self, card: &Card) -> Result<bool, Error> {
        let keys = card.device_keys()?;
        let Some(listing) = self.directory.get(&keys.user_id) else { return Ok(false) };
        let device = listing.devices.get(&keys.device_id).is_some_and(|(known, _)| *known == card.device_keys);
        let Some(known) = &listing.cross_signing else { return Ok(false) };
        let same = account_key(known)? == account_key(&card.cross_signing)?
            && known.self_signing_key == card.cross_signing.self_signing_key;
        Ok(device && same)
    }

    /// The Matrix device that bears this name now, and the identity that the homeserver shows for it.
    pub(crate) fn listed(&self, device: &DeviceId) -> Option<(OwnedUserId, OwnedDeviceId, Identity)> {
        let user = names::user(&device.user).ok()?;
        let listing = self.directory.get(&user)?;
        let (id, (keys, voucher)) = listing.devices.iter().find(|(id, _)| names::device_name(id) == device.device)?;
        let keys = from_value(keys, "device keys").ok()?;
        let account_key = listing.cross_signing.as_ref().and_then(|keys| account_key(keys).ok()).unwrap_or_default();
        let device_key = device_key(&keys).ok()?;
        Some((user, id.clone(), Identity { account_key, device_key, voucher: voucher.clone() }))
    }

    /// The public cross-signing keys that the homeserver shows for a user.
    pub(crate) fn listed_cross_signing(&self, user: &UserId) -> Option<CrossSigning> {
        self.directory.get(user)?.cross_signing.clone()
    }

    /// Which device has this Curve25519 key, as far as the homeserver says.
    pub(crate) fn device_with(&self, key: &str) -> Option<DeviceId> {
        self.directory.iter().find_map(|(user, listing)| {
            listing.devices.iter().find_map(|(id, (keys, _))| {
                let shown = keys["keys"][format!("curve25519:{id}")].as_str()?;
                (shown.trim_end_matches('=') == key).then(|| names::device_of(user, id))
            })
        })
    }

    /// The homeserver shows a device. It takes the place of the one that bore its name. If it is only listed as one more device
    /// of a user who is known, the user's cross-signing keys stay as they were.
    pub(crate) fn learn(&mut self, card: &Card, one_more: bool) -> Result<(), Error> {
        let keys = card.device_keys()?;
        let listing = self.directory.entry(keys.user_id.clone()).or_default();
        listing.devices.retain(|id, _| names::device_name(id) != names::device_name(&keys.device_id));
        listing.devices.insert(keys.device_id.clone(), (card.device_keys.clone(), card.voucher.clone()));
        let shown = account_key(&card.cross_signing)?;
        match &mut listing.cross_signing {
            Some(_) if one_more => {}
            Some(known) if account_key(known)? == shown => {
                known.self_signing_key.clone_from(&card.cross_signing.self_signing_key);
            }
            other => *other = Some(card.cross_signing.clone()),
        }
        self.query(&keys.user_id)
    }

    /// The homeserver no longer lists a device.
    pub(crate) fn forget(&mut self, device: &DeviceId) -> Result<(), Error> {
        let Some((user, id, _)) = self.listed(device) else { return Ok(()) };
        if id == self.device {
            return Ok(());
        }
        if let Some(listing) = self.directory.get_mut(&user) {
            listing.devices.remove(&id);
        }
        self.query(&user)
    }

    /// The application says that the present identity of a user is theirs: it is signed with this user's user-signing key, or, if
    /// it is this very user's, with the device's key.
    pub(crate) fn verify(&mut self, user: &UserId) -> Result<(), Error> {
        let identity = self.runtime.block_on(self.machine.get_identity(user, None)).map_err(refused)?;
        let request = match identity {
            Some(UserIdentity::Own(identity)) => self.runtime.block_on(identity.verify()),
            Some(UserIdentity::Other(identity)) => self.runtime.block_on(identity.verify()),
            None => return Ok(()),
        };
        // A client whose own identity was replaced has no user-signing key; the other user then stays unverified.
        let Ok(request) = request else { return Ok(()) };
        let signed = request.signed_keys.get(user).and_then(|keys| keys.iter().next().map(|(_, key)| key.get()));
        let signed: Value = serde_json::from_str(signed.unwrap_or("null")).map_err(Error::internal)?;
        if let Some(keys) = self.directory.get_mut(user).and_then(|listing| listing.cross_signing.as_mut()) {
            merge_signatures(&mut keys.master_key, &signed);
        }
        let response = upload_signatures::v3::Response::new();
        self.answer(&TransactionId::new(), AnyIncomingResponse::SignatureUpload(&response)).map_err(refused)?;
        self.query(user)
    }

    /// What the SDK has to say of a user's present identity.
    pub(crate) fn standing(&self, user: &UserId) -> Result<Standing, Error> {
        Ok(match self.runtime.block_on(self.machine.get_identity(user, None)).map_err(refused)? {
            Some(identity) if identity.is_verified() => Standing::Verified,
            Some(UserIdentity::Own(_)) => Standing::Changed,
            Some(UserIdentity::Other(identity)) if identity.identity_needs_user_approval() => Standing::Changed,
            Some(UserIdentity::Other(_)) | None => Standing::Unverified,
        })
    }

    /// Whether the SDK gives room keys to this device, as far as that can be said before it does: the roster is to show it.
    pub(crate) fn gives_keys(&self, device: &DeviceId) -> Result<bool, Error> {
        let Some((user, id, _)) = self.listed(device) else { return Ok(false) };
        let device = self.runtime.block_on(self.machine.get_device(&user, &id, None)).map_err(refused)?;
        Ok(device.is_some_and(|device| match self.configuration {
            Configuration::AllDevices => !device.is_blacklisted(),
            Configuration::IdentityBased => device.is_cross_signed_by_owner(),
            Configuration::VerifiedProblem => {
                !device.is_blacklisted()
                    && (device.is_cross_signed_by_owner()
                        || !device.is_device_owner_verified()
                        || device.local_trust_state() == LocalTrust::Ignored)
            }
        }))
    }

    /// The application lets a user whose identity changed after it was verified be unverified.
    pub(crate) fn withdraw_verification(&self, user: &UserId) -> Result<(), Error> {
        match self.runtime.block_on(self.machine.get_identity(user, None)).map_err(refused)? {
            Some(identity) => self.runtime.block_on(identity.withdraw_verification()).map_err(refused),
            None => Ok(()),
        }
    }

    /// The application decides about one device.
    pub(crate) fn set_local_trust(
        &self,
        user: &UserId,
        device: &ruma::DeviceId,
        trust: LocalTrust,
    ) -> Result<(), Error> {
        match self.runtime.block_on(self.machine.get_device(user, device, None)).map_err(refused)? {
            Some(device) => self.runtime.block_on(device.set_local_trust(trust)).map_err(refused),
            None => Ok(()),
        }
    }

    /// None of a user's devices gets a room key.
    pub(crate) fn blacklist(&self, user: &UserId) -> Result<(), Error> {
        let devices = self.directory.get(user).into_iter().flat_map(|listing| listing.devices.keys());
        devices.into_iter().try_for_each(|device| self.set_local_trust(user, device, LocalTrust::BlackListed))
    }

    /// The same as [`set_local_trust`](Self::set_local_trust), of the device that bears this name now.
    pub(crate) fn trust(&self, device: &DeviceId, trust: LocalTrust) -> Result<(), Error> {
        match self.listed(device) {
            Some((user, id, _)) => self.set_local_trust(&user, &id, trust),
            None => Ok(()),
        }
    }

    /// How many Olm sessions there are with a Curve25519 key.
    pub(crate) fn sessions_with(&self, key: &str) -> Result<usize, Error> {
        let sessions = self.runtime.block_on(self.machine.store().get_sessions(key)).map_err(refused)?;
        Ok(sessions.map_or(0, |sessions| sessions.len()))
    }

    /// Whether a room key can be sent to this device at all.
    pub(crate) fn reaches(&self, device: &DeviceId) -> Result<bool, Error> {
        let Some((user, id, _)) = self.listed(device) else { return Ok(false) };
        let keys = self.runtime.block_on(self.machine.store().get_device(&user, &id)).map_err(refused)?;
        match keys.and_then(|device| device.curve25519_key()) {
            Some(key) => Ok(self.sessions_with(&key.to_base64())? > 0),
            None => Ok(false),
        }
    }

    /// `/keys/claim`: opens an Olm session with this one-time key. The SDK does not say why it opens none.
    pub(crate) fn claim(&self, published: &Published) -> Result<(), Error> {
        let keys = published.card.device_keys()?;
        let curve25519 = keys.curve25519_key().map(|key| key.to_base64()).unwrap_or_default();
        let before = self.sessions_with(&curve25519)?;
        let OneTimeKey { id, key } = &published.one_time_key;
        let id = id.as_str().try_into().map_err(|error| Error::bad_request(format!("one-time key: {error}")))?;
        let claimed = BTreeMap::from([(keys.device_id.clone(), BTreeMap::from([(id, raw(key)?)]))]);
        let response = claim_keys::v3::Response::new(BTreeMap::from([(keys.user_id.clone(), claimed)]));
        self.answer(&TransactionId::new(), AnyIncomingResponse::KeysClaim(&response)).map_err(refused)?;
        if self.sessions_with(&curve25519)? > before {
            return Ok(());
        }
        let (class, text) = match self.runtime.block_on(self.machine.store().get_device(&keys.user_id, &keys.device_id))
        {
            Ok(None) => (ErrorClass::AuthFailed, "the SDK did not take the device's keys"),
            _ if signed(key, &keys) => (ErrorClass::BadRequest, "the SDK opened no session with this one-time key"),
            _ => (ErrorClass::AuthFailed, "the SDK opened no session: the one-time key's signature does not hold"),
        };
        Err(Error::new(class, text))
    }

    /// A one-time key for a peer to claim. When none is left at the homeserver, the SDK is told so and uploads more.
    pub(crate) fn publish(&mut self) -> Result<Published, Error> {
        if self.waiting.is_empty() {
            self.sync(Vec::new())?;
            let requests = self.runtime.block_on(self.machine.outgoing_requests()).map_err(refused)?;
            for request in requests {
                if let AnyOutgoingRequest::KeysUpload(upload) = request.request() {
                    self.uploaded(request.request_id(), upload)?;
                }
            }
        }
        let one_time_key = self.waiting.pop().ok_or_else(|| missing("one-time key"))?;
        Ok(Published { card: self.card.clone(), one_time_key })
    }

    /// This device's signature over a text, as the SDK makes it for backups.
    pub(crate) fn sign(&self, text: &str) -> Result<Value, Error> {
        let signatures = self.runtime.block_on(self.machine.sign(text)).map_err(refused)?;
        to_value(&signatures)
    }

    /// Makes sure that all devices that the SDK chooses have the room key, and says what is to be sent to whom. Notices that a
    /// key is withheld are as good as sent.
    pub(crate) fn share(&self, room: &RoomId, users: &BTreeSet<OwnedUserId>) -> Result<Vec<Outgoing>, OlmError> {
        let settings =
            EncryptionSettings { sharing_strategy: self.configuration.strategy(), ..EncryptionSettings::default() };
        let users = users.iter().map(AsRef::as_ref);
        let requests = self.runtime.block_on(self.machine.share_room_key(room, users, settings))?;
        let mut outgoing = Vec::new();
        for request in requests {
            outgoing.extend(self.outgoing(&request));
            self.sent(&request.txn_id)?;
        }
        Ok(outgoing.into_iter().filter(|message| message.event_type == "m.room.encrypted").collect())
    }

    /// The messages of a request; one to all devices of a user goes to those that are listed.
    fn outgoing(&self, request: &ToDeviceRequest) -> Vec<Outgoing> {
        let mut outgoing = Vec::new();
        for (user, devices) in &request.messages {
            for (device, content) in devices {
                let devices = match device {
                    DeviceIdOrAllDevices::DeviceId(device) => vec![device.clone()],
                    DeviceIdOrAllDevices::AllDevices => self
                        .directory
                        .get(user)
                        .map(|listing| listing.devices.keys().cloned().collect())
                        .unwrap_or_default(),
                };
                outgoing.extend(devices.into_iter().map(|device| Outgoing {
                    user: user.clone(),
                    device,
                    event_type: request.event_type.to_string(),
                    content: to_value(content).unwrap_or_default(),
                }));
            }
        }
        outgoing
    }

    /// Encrypts a message to a room whose key has been shared.
    pub(crate) fn encrypt(&self, room: &RoomId, plaintext: &[u8]) -> Result<Value, Error> {
        let content = match std::str::from_utf8(plaintext) {
            Ok(body) => json!({"msgtype": "m.text", "body": body}),
            Err(_) => json!({"msgtype": "m.text", "body": "", "e2esm.bytes": hex::encode(plaintext)}),
        };
        let encrypted =
            self.runtime.block_on(self.machine.encrypt_room_event_raw(room, "m.room.message", &raw(&content)?));
        to_value(&encrypted.map_err(refused)?.content)
    }

    /// The next message is to be under a new room key.
    pub(crate) fn discard_room_key(&self, room: &RoomId) -> Result<(), Error> {
        self.runtime.block_on(self.machine.discard_room_key(room)).map_err(refused).map(|_| ())
    }

    fn decryption_settings(&self) -> DecryptionSettings {
        DecryptionSettings { sender_device_trust_requirement: self.configuration.trust() }
    }

    /// Decrypts a room event under the name that the homeserver gives its sender.
    pub(crate) fn decrypt(&self, room: &RoomId, sender: &UserId, content: &Value) -> Result<DecryptedRoomEvent, Error> {
        let event = room_event(sender, content);
        let decrypted =
            self.runtime.block_on(self.machine.decrypt_room_event(&raw(&event)?, room, &self.decryption_settings()));
        decrypted.map_err(refused)
    }

    fn sync(&self, events: Vec<Value>) -> Result<(Vec<ProcessedToDeviceEvent>, Vec<RoomKeyInfo>), Error> {
        let changes = EncryptionSyncChanges {
            to_device_events: events.iter().map(raw).collect::<Result<_, _>>()?,
            changed_devices: &Default::default(),
            one_time_keys_counts: &self.counts(),
            unused_fallback_keys: None,
            next_batch_token: None,
        };
        self.runtime.block_on(self.machine.receive_sync_changes(changes, &self.decryption_settings())).map_err(refused)
    }

    /// Takes a to-device event under the name that the homeserver gives its sender.
    pub(crate) fn receive(&self, sender: &UserId, event_type: &str, content: &Value) -> Result<Received, Error> {
        let (events, keys) = self.sync(vec![json!({"type": event_type, "sender": sender, "content": content})])?;
        let event = events.into_iter().next().ok_or_else(|| Error::bad_request("the SDK passed the event over"))?;
        match event {
            ProcessedToDeviceEvent::Decrypted { raw, .. } | ProcessedToDeviceEvent::PlainText(raw) => {
                Ok(Received { event: to_value(&raw)?, keys })
            }
            ProcessedToDeviceEvent::Invalid(_) => Err(Error::bad_request("the SDK could not read the event")),
            ProcessedToDeviceEvent::UnableToDecrypt { utd_info, .. } => {
                let class = match utd_info.reason {
                    ToDeviceUnableToDecryptReason::UnverifiedSenderDevice => ErrorClass::UntrustedIdentity,
                    _ => ErrorClass::AuthFailed,
                };
                Err(Error::new(class, format!("the SDK could not decrypt the event: {:?}", utd_info.reason)))
            }
        }
    }

    /// What the SDK wants to send of its own accord: requests for room keys, and answers to those of others.
    pub(crate) fn pending(&mut self) -> Result<Vec<Outgoing>, Error> {
        let mut pending = Vec::new();
        for request in self.runtime.block_on(self.machine.outgoing_requests()).map_err(refused)? {
            if let AnyOutgoingRequest::ToDeviceRequest(to_device) = request.request() {
                pending.extend(self.outgoing(to_device));
                self.requested.push(request.request_id().to_owned());
                self.sent(request.request_id()).map_err(refused)?;
            }
        }
        pending.retain(|message| message.device != self.device);
        Ok(pending)
    }

    /// Asks this user's other devices for the key of a room event that could not be decrypted: the content of the request.
    pub(crate) fn request_key(&mut self, room: &RoomId, sender: &UserId, content: &Value) -> Result<Value, Error> {
        let event = room_event(sender, content);
        let (_, request) =
            self.runtime.block_on(self.machine.request_room_key(&raw(&event)?, room)).map_err(refused)?;
        self.sent(request.request_id()).map_err(refused)?;
        self.requested.push(request.request_id().to_owned());
        let AnyOutgoingRequest::ToDeviceRequest(to_device) = request.request() else {
            return Err(missing("key request"));
        };
        let content = to_device.messages.values().flat_map(BTreeMap::values).next();
        to_value(content.ok_or_else(|| missing("key request"))?)
    }

    /// The keys of what was sent to a room, for all devices of a user that the SDK lets have them, and the encrypted file that
    /// holds them.
    pub(crate) fn share_history(&self, room: &RoomId, user: &UserId) -> Result<(Vec<Outgoing>, Bytes), Error> {
        let bundle = self.runtime.block_on(self.machine.store().build_room_key_bundle(room)).map_err(refused)?;
        if bundle.room_keys.is_empty() {
            return Err(Error::new(ErrorClass::NoKey, "the SDK has no room keys that may be shared"));
        }
        let mut plain = Cursor::new(serde_json::to_vec(&bundle).map_err(Error::internal)?);
        let mut encryptor = AttachmentEncryptor::new(&mut plain);
        let mut file = Vec::new();
        encryptor.read_to_end(&mut file).map_err(Error::internal)?;
        let key = encryptor.finish();
        let content = RoomKeyBundleContent {
            room_id: room.to_owned(),
            file: EncryptedFile::new("mxc://e2esm.test/bundle".into(), key.encryption_info, key.hashes),
        };
        let strategy = self.configuration.strategy();
        let requests = self.runtime.block_on(self.machine.share_room_key_bundle_data(user, &strategy, content));
        let requests = requests.map_err(refused)?;
        Ok((requests.iter().flat_map(|request| self.outgoing(request)).collect(), file.into()))
    }

    /// Takes the keys in a room key bundle that `sender` has announced.
    pub(crate) fn take_history(&self, sender: &UserId, event: &Value, file: &[u8]) -> Result<Vec<RoomKeyInfo>, Error> {
        let content: RoomKeyBundleContent = from_value(&event["content"], "room key bundle")?;
        let store = self.machine.store();
        let announced = store.get_received_room_key_bundle_data(&content.room_id, sender);
        let announced = self.runtime.block_on(announced).map_err(refused)?;
        let announced = announced.ok_or_else(|| Error::new(ErrorClass::Refused, "the SDK took no room key bundle"))?;
        let mut file = Cursor::new(file);
        let mut plain = Vec::new();
        AttachmentDecryptor::new(&mut file, announced.bundle_data.file.clone().into())
            .map_err(|error| Error::bad_request(error.to_string()))?
            .read_to_end(&mut plain)
            .map_err(|error| Error::new(ErrorClass::AuthFailed, error.to_string()))?;
        let bundle = crate::wire::from_json(&plain, "room key bundle")?;
        let before: BTreeSet<String> = self.received()?.iter().map(|session| session.session_id().to_owned()).collect();
        let taken = store.receive_room_key_bundle(&announced, bundle, |_, _| {});
        self.runtime.block_on(taken).map_err(refused)?;
        let new: Vec<_> = self
            .received()?
            .iter()
            .filter(|session| !before.contains(session.session_id()))
            .map(RoomKeyInfo::from)
            .collect();
        if new.is_empty() {
            return Err(Error::new(ErrorClass::UntrustedIdentity, "the SDK took no key from the bundle"));
        }
        Ok(new)
    }

    fn received(&self) -> Result<Vec<InboundGroupSession>, Error> {
        self.runtime.block_on(self.machine.store().get_inbound_group_sessions()).map_err(refused)
    }

    /// All cross-signing keys, for a new device of this user: the private ones, which one device hands to the other, and the public
    /// ones, which the new device has from the homeserver.
    pub(crate) fn linkage(&self) -> Result<Linkage, Error> {
        let secrets = self
            .runtime
            .block_on(self.machine.store().export_secrets_bundle())
            .map_err(|error| Error::bad_request(format!("nothing to vouch with: {error}")))?;
        Ok(Linkage { secrets, public: self.card.cross_signing.clone() })
    }

    /// From now on this is a device of the user to whom these keys belong.
    pub(crate) fn link(&mut self, linkage: Linkage) -> Result<(), Error> {
        let taken = self.runtime.block_on(self.machine.store().import_secrets_bundle(&linkage.secrets));
        taken.map_err(|error| Error::bad_request(error.to_string()))?;
        if let Some(signatures) = self.card.device_keys["signatures"][self.user.as_str()].as_object_mut() {
            // The cross-signing key that signed this device until now is not this user's any more.
            let own = format!("ed25519:{}", self.device);
            signatures.retain(|key, _| *key == own);
        }
        self.bootstrap(Some(linkage.public))
    }

    /// Everything that this client holds, read out of its store.
    pub(crate) fn state(&self) -> Result<ClientState, Error> {
        let store = self.machine.store();
        self.runtime.block_on(async {
            let account = store.load_account().await.map_err(refused)?.ok_or_else(|| missing("account"))?;
            let mut received = Vec::new();
            let mut rooms = BTreeSet::new();
            for session in store.get_inbound_group_sessions().await.map_err(refused)? {
                rooms.insert(session.room_id().to_owned());
                received.push(session.pickle().await);
            }
            let mut own = Vec::new();
            for room in rooms {
                if let Some(session) = store.get_outbound_group_session(&room).await.map_err(refused)? {
                    own.push(session.pickle().await);
                }
            }
            let (mut devices, mut identities, mut sessions) = (Vec::new(), Vec::new(), Vec::new());
            for (user, listing) in &self.directory {
                identities.extend(store.get_user_identity(user).await.map_err(refused)?);
                devices.extend(store.get_user_devices(user).await.map_err(refused)?.into_values());
                for (keys, _) in listing.devices.values() {
                    let key = from_value::<matrix_sdk_crypto::types::DeviceKeys>(keys, "device keys")?.curve25519_key();
                    let key = key.map(|key| key.to_base64()).unwrap_or_default();
                    for session in store.get_sessions(&key).await.map_err(refused)?.unwrap_or_default() {
                        sessions.push(session.pickle().await);
                    }
                }
            }
            let mut requests = Vec::new();
            for id in &self.requested {
                requests.extend(store.get_outgoing_secret_requests(id).await.map_err(refused)?);
            }
            Ok(ClientState {
                account: account.pickle(),
                secrets: store.export_secrets_bundle().await.ok(),
                sessions,
                received,
                own,
                devices,
                identities,
                requests,
                card: self.card.clone(),
                directory: self.directory.clone(),
                waiting: self.waiting.clone(),
            })
        })
    }

    /// The client of such a state, as after a restart.
    pub(crate) fn from_state(id: &DeviceId, configuration: Configuration, state: ClientState) -> Result<Self, Error> {
        let malformed = |error: &dyn std::fmt::Display| Error::bad_request(format!("not a state: {error}"));
        let runtime = runtime()?;
        let (user, device) = (state.account.user_id.clone(), state.account.device_id.clone());
        if names::device_of(&user, &device) != *id {
            return Err(Error::bad_request(format!("the state is not {id}'s")));
        }
        let account = matrix_sdk_crypto::Account::from_pickle(state.account).map_err(|error| malformed(&error))?;
        let keys = std::sync::Arc::new(account.identity_keys());
        let own_keys = state.card.device_keys()?;
        let mut changes = Changes {
            devices: DeviceChanges { new: state.devices, ..DeviceChanges::default() },
            identities: IdentityChanges { new: state.identities, ..IdentityChanges::default() },
            key_requests: state.requests,
            ..Changes::default()
        };
        let requested = changes.key_requests.iter().map(|request| request.request_id.clone()).collect();
        for pickle in state.sessions {
            changes.sessions.push(Session::from_pickle(own_keys.clone(), pickle).map_err(|error| malformed(&error))?);
        }
        for pickle in state.received {
            let session = InboundGroupSession::from_pickle(pickle).map_err(|error| malformed(&error))?;
            changes.inbound_group_sessions.push(session);
        }
        for pickle in state.own {
            let session = OutboundGroupSession::from_pickle(device.clone(), keys.clone(), pickle)
                .map_err(|error| malformed(&error))?;
            changes.outbound_group_sessions.push(session);
        }
        let machine = runtime.block_on(async {
            let store = MemoryStore::new();
            let Ok(()) = store.save_pending_changes(PendingChanges { account: Some(account) }).await;
            let Ok(()) = store.save_changes(changes).await;
            let machine = OlmMachine::with_store(&user, &device, store, None).await.map_err(refused)?;
            if let Some(secrets) = &state.secrets {
                machine.store().import_secrets_bundle(secrets).await.map_err(|error| malformed(&error))?;
            }
            Ok::<_, Error>(machine)
        })?;
        Ok(Self {
            configuration,
            runtime,
            machine,
            id: id.clone(),
            user,
            device,
            card: state.card,
            directory: state.directory,
            waiting: state.waiting,
            requested,
        })
    }

    /// A to-device packet's body; with what the homeserver says of this device if it opens a session.
    pub(crate) fn packed(&self, outgoing: &Outgoing, file: Option<&Bytes>) -> ToDevice {
        let mut event = ToDevice {
            card: None,
            event_type: outgoing.event_type.clone(),
            content: outgoing.content.clone(),
            file: file.cloned(),
        };
        event.card = event.opens_session().then(|| self.card.clone());
        event
    }
}

/// A room event as a homeserver shows it. Nothing but sender and content bears on anything here.
fn room_event(sender: &UserId, content: &Value) -> Value {
    json!({
        "type": "m.room.encrypted",
        "event_id": "$event",
        "sender": sender,
        "origin_server_ts": 0,
        "content": content,
    })
}

/// Whether the device's Ed25519 key signed this one-time key: asked only to say why the SDK passed it over.
fn signed(one_time_key: &Value, keys: &matrix_sdk_crypto::types::DeviceKeys) -> bool {
    let signature = || {
        let signature =
            one_time_key["signatures"][keys.user_id.as_str()][format!("ed25519:{}", keys.device_id)].as_str()?;
        matrix_sdk_crypto::vodozemac::Ed25519Signature::from_base64(signature).ok()
    };
    let mut unsigned = one_time_key.clone();
    if let Some(fields) = unsigned.as_object_mut() {
        fields.remove("signatures");
        fields.remove("unsigned");
    }
    match (signature(), keys.ed25519_key(), ruma::CanonicalJsonValue::try_from(unsigned)) {
        (Some(signature), Some(key), Ok(text)) => key.verify(text.to_string().as_bytes(), &signature).is_ok(),
        _ => false,
    }
}
