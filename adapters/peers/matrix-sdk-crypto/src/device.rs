//! [`Matrix`]: one device. The room and the questions about it are this adapter's own; all else is asked and answered where the
//! SDK does so.

use std::collections::{BTreeMap, BTreeSet};

use e2esm_adapter::{
    Address, Authorisation, Bundle, Bytes, Capability, Change, DecisionPoint, Delivery, Device, DeviceId, Error,
    ErrorClass, Event, Fact, Fault, Fingerprint, FingerprintKind, Forged, Forgery, GroupId, Identity, LinkRequest,
    Message, Notebook, Output, Packet, PacketKind, Roster, Start,
};
use matrix_sdk_common::deserialized_responses::{
    AlgorithmInfo, DecryptedRoomEvent, EncryptionInfo, VerificationLevel, VerificationState,
};
use matrix_sdk_crypto::store::types::RoomKeyInfo;
use matrix_sdk_crypto::{LocalTrust, OlmError, SessionRecipientCollectionError};
use ruma::{OwnedDeviceId, OwnedUserId};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::adapter::{Configuration, unsupported};
use crate::client::{Client, ClientState, Outgoing, Standing};
use crate::error::refused;
use crate::group::{Group, Pending};
use crate::names;
use crate::wire::{
    Card, CrossSigning, Invitation, KeyRequests, OneTimeKey, Published, RoomEvent, RosterChange, ToDevice, from_json,
    to_json, to_value,
};

/// Whose a user identity is that has not been seen before.
const VERIFY: DecisionPoint = DecisionPoint::library("OtherUserIdentity::verify");
/// Whether a user has changed their identity themselves.
const CHANGED: DecisionPoint = DecisionPoint::library("OtherUserIdentity::identity_needs_user_approval");
/// Whether a verified user's device that is not signed by them is to get room keys.
const UNSIGNED_DEVICE: DecisionPoint =
    DecisionPoint::library("SessionRecipientCollectionError::VerifiedUserHasUnsignedDevice");
/// Whether a user who was verified and has another identity now is to get room keys.
const CHANGED_IDENTITY: DecisionPoint =
    DecisionPoint::library("SessionRecipientCollectionError::VerifiedUserChangedIdentity");
/// What is to become of a message whose sender is not verified.
const VERIFICATION_STATE: DecisionPoint = DecisionPoint::library("EncryptionInfo::verification_state");
/// A change of a room's members.
const CHANGE: DecisionPoint = DecisionPoint::group_management("Matrix::receive_change");
/// An invitation into a room.
const WELCOME: DecisionPoint = DecisionPoint::group_management("Matrix::receive_welcome");
/// A message to a room.
const MESSAGE: DecisionPoint = DecisionPoint::group_management("Matrix::receive_message");
/// Giving away the keys of old messages.
const SHARE_HISTORY: DecisionPoint = DecisionPoint::group_management("Matrix::share_history");

/// One device.
pub(crate) struct Matrix {
    id: DeviceId,
    configuration: Configuration,
    notebook: Notebook,
    client: Client,
    groups: BTreeMap<GroupId, Group>,
    /// Cross-signing keys that went by, for an outsider that works with the homeserver.
    seen: BTreeMap<DeviceId, Card>,
    /// `Fault::RelabelledSender`.
    relabel: Option<DeviceId>,
    /// `Fault::DegenerateKey`.
    degenerate: bool,
}

/// What is stored and exported.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    client: ClientState,
    groups: BTreeMap<GroupId, Group>,
}

impl Matrix {
    pub(crate) fn new(id: &DeviceId, configuration: Configuration) -> Result<Self, Error> {
        Ok(Self::with(id, configuration, Client::new(id, configuration)?, BTreeMap::new()))
    }

    pub(crate) fn load(id: &DeviceId, configuration: Configuration, state: &[u8]) -> Result<Self, Error> {
        let State { client, groups } = from_json(state, "state")?;
        Ok(Self::with(id, configuration, Client::from_state(id, configuration, client)?, groups))
    }

    fn with(id: &DeviceId, configuration: Configuration, client: Client, groups: BTreeMap<GroupId, Group>) -> Self {
        Self {
            id: id.clone(),
            configuration,
            notebook: Notebook::new(),
            client,
            groups,
            seen: BTreeMap::new(),
            relabel: None,
            degenerate: false,
        }
    }

    fn group(&self, id: &GroupId) -> Result<&Group, Error> {
        self.groups.get(id).ok_or_else(|| unknown(id))
    }

    fn group_mut(&mut self, id: &GroupId) -> Result<&mut Group, Error> {
        self.groups.get_mut(id).ok_or_else(|| unknown(id))
    }

    fn membership(&self, id: &GroupId) -> Result<&Group, Error> {
        let group = self.group(id)?;
        if group.roster.contains(&self.id) {
            Ok(group)
        } else {
            Err(Error::new(ErrorClass::NotMember, format!("{} is not a member of {id}", self.id)))
        }
    }

    /// The cross-signing keys that this device has seen for another.
    pub(crate) fn seen(&self, device: &DeviceId) -> Option<CrossSigning> {
        let listed = || self.client.listed_cross_signing(&names::user(&device.user).ok()?);
        let card = self.seen.get(device).map(|card| card.cross_signing.clone());
        card.or_else(listed)
    }

    fn packet(&self, kind: PacketKind, group: &GroupId, to: Address, opens: bool, bytes: Bytes) -> Packet {
        let (group, from) = (group.clone(), self.id.clone());
        Packet { kind, group, from, to, opens_session: opens, bytes, seal: None }
    }

    fn to_device(&self, group: &GroupId, outgoing: &[Outgoing], file: Option<&Bytes>) -> Result<Vec<Packet>, Error> {
        let packet = |message: &Outgoing| {
            let event = self.client.packed(message, file);
            let to = Address::Device(names::device_of(&message.user, &message.device));
            Ok(self.packet(PacketKind::KeyDistribution, group, to, event.opens_session(), to_json(&event)?))
        };
        outgoing.iter().map(packet).collect()
    }

    /// Runs something that the SDK may refuse half-way, and puts everything back if it does.
    fn attempt<T>(&mut self, attempt: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        let before = self.client.state()?;
        let outcome = attempt(self);
        if outcome.is_err() {
            self.client = Client::from_state(&self.id, self.configuration, before)?;
        }
        outcome
    }

    /// Hands a card to the SDK, which takes whatever the homeserver says of a user. The account key that it knew before.
    fn meet(&mut self, device: &DeviceId, card: &Card, one_more: bool) -> Result<Option<Bytes>, Error> {
        let user = names::user(&device.user)?;
        let before = self.client.known_account(&user)?;
        self.client.learn(card, one_more)?;
        if before.is_some() && before != self.client.known_account(&user)? {
            self.notebook.note(Event::KeyChanged { device: device.clone() });
        }
        Ok(before)
    }

    /// Asks whose an identity is, if the SDK says that it is not verified. A yes verifies it; after a no the device gets no room
    /// keys, and nothing else of what the SDK was told is taken back: that is the refusal which comes back.
    fn approve(&mut self, device: &DeviceId, card: &Card, previous: Option<Bytes>) -> Result<Option<Error>, Error> {
        let user = names::user(&device.user)?;
        let (point, previous) = match self.client.standing(&user)? {
            Standing::Verified => return Ok(None),
            Standing::Unverified => (VERIFY, None),
            Standing::Changed => (CHANGED, previous),
        };
        let fact = Fact::Identity { device: device.clone(), identity: card.identity()?, previous };
        let class = fact.refusal();
        if self.notebook.consult(point, fact)? {
            self.client.trust(device, LocalTrust::Unset)?;
            self.client.verify(&user)?;
            return Ok(None);
        }
        self.client.trust(device, LocalTrust::BlackListed)?;
        Ok(Some(Error::new(class, format!("the application said no at {}: {device}", point.name))))
    }

    /// Why a device that somebody is about to add cannot be: a member to whom the SDK gives no room keys is none. What the SDK would
    /// ask with the next message is asked here.
    fn receives(&mut self, device: &DeviceId) -> Result<Option<Error>, Error> {
        if self.client.gives_keys(device)? {
            return Ok(None);
        }
        let text = match self.configuration {
            Configuration::AllDevices => "the SDK gives it no room keys: it is blacklisted".to_owned(),
            Configuration::IdentityBased => "the SDK gives it no room keys: its user has not signed it".to_owned(),
            Configuration::VerifiedProblem => {
                let fact = Fact::ListedDevice { device: device.clone() };
                if self.notebook.consult(UNSIGNED_DEVICE, fact)? {
                    self.client.trust(device, LocalTrust::Ignored)?;
                    return Ok(None);
                }
                self.client.trust(device, LocalTrust::BlackListed)?;
                format!("the application said no at {}: {device}", UNSIGNED_DEVICE.name)
            }
        };
        Ok(Some(Error::new(ErrorClass::UntrustedIdentity, text)))
    }

    /// A bundle of the device that it says it is of.
    fn published(&self, bundle: &Bundle) -> Result<Published, Error> {
        let published: Published = from_json(bundle.bytes.as_ref(), "bundle")?;
        if bundle.device == self.id {
            return Err(Error::bad_request("a bundle of this very device"));
        }
        if published.card.named(&bundle.device)?.is_none() {
            return Err(Error::bad_request(format!("not a bundle of {}", bundle.device)));
        }
        Ok(published)
    }

    /// Opens an Olm session from each bundle, after all questions have been put.
    fn introduce_all(&mut self, bundles: &[Bundle]) -> Result<(), Error> {
        if bundles.is_empty() {
            return Ok(());
        }
        let refusal = self.attempt(|this| {
            let mut met = Vec::new();
            for bundle in bundles {
                let published = this.published(bundle)?;
                let before = this.meet(&bundle.device, &published.card, false)?;
                met.push((&bundle.device, published, before));
            }
            let mut refusal = None;
            for (device, published, before) in &mut met {
                let mut no = this.approve(device, &published.card, before.take())?;
                if no.is_none() {
                    no = this.receives(device)?;
                }
                refusal = refusal.or(no);
            }
            for (device, published, _) in met.iter().filter(|_| refusal.is_none()) {
                this.client.claim(published)?;
                this.notebook.note(Event::SessionOpened { peer: (*device).clone() });
            }
            Ok(refusal)
        })?;
        refusal.map_or(Ok(()), Err)
    }

    fn added(&mut self, id: &GroupId, device: &DeviceId, by: &DeviceId) -> Result<(), Error> {
        if self.group_mut(id)?.roster.insert(device.clone()) {
            self.notebook.note(Event::MemberAdded { group: id.clone(), device: device.clone(), by: by.clone() });
        }
        Ok(())
    }

    /// Takes a device out of a room. A room's members are users: as long as others of its user's devices are in it, the device
    /// can only be taken off its user's list.
    fn removed(&mut self, id: &GroupId, device: &DeviceId, by: &DeviceId) -> Result<(), Error> {
        let group = self.group_mut(id)?;
        if !group.roster.remove(device) {
            return Ok(());
        }
        let stays = group.roster.iter().any(|member| member.user == device.user);
        if stays && *device != self.id {
            self.client.forget(device)?;
        }
        self.notebook.note(Event::MemberRemoved { group: id.clone(), device: device.clone(), by: by.clone() });
        Ok(())
    }

    fn drop_pending(&mut self, id: &GroupId) -> Result<(), Error> {
        if self.group_mut(id)?.pending.take().is_some() {
            self.notebook.note(Event::ChangeDropped { group: id.clone() });
        }
        Ok(())
    }

    fn receive_change(&mut self, packet: &Packet) -> Result<Output, Error> {
        let Packet { group: id, from: by, bytes, .. } = packet;
        let RosterChange { add, remove } = from_json(bytes.as_ref(), "change")?;
        let me = self.id.clone();
        let group = self.group_mut(id)?;
        if let Some(Pending { refresh, .. }) = group.pending.take_if(|pending| *by == me && pending.bytes == *bytes) {
            if refresh {
                self.client.discard_room_key(&names::room(id)?)?;
            }
        } else {
            for device in &remove {
                let (group, device, by) = (id.clone(), device.clone(), by.clone());
                self.notebook.require(CHANGE, Fact::Remove { group, device, by, authenticated: false })?;
            }
            for device in &add {
                let (group, device, by) = (id.clone(), device.clone(), by.clone());
                self.notebook.require(CHANGE, Fact::Add { group, device, by, authenticated: false })?;
            }
            self.drop_pending(id)?;
        }
        for device in &remove {
            self.removed(id, device, by)?;
        }
        for device in &add {
            self.added(id, device, by)?;
        }
        Ok(Output::default())
    }

    fn receive_welcome(&mut self, packet: &Packet) -> Result<Output, Error> {
        let Packet { group: id, from: by, bytes, .. } = packet;
        let Invitation { members } = from_json(bytes.as_ref(), "welcome")?;
        if !members.contains(&self.id) {
            return Err(Error::bad_request(format!("a welcome to {id} that leaves out {}", self.id)));
        }
        let (group, device, by) = (id.clone(), self.id.clone(), by.clone());
        self.notebook.require(WELCOME, Fact::Add { group, device, by, authenticated: false })?;
        if let Some(group) = self.groups.get_mut(id) {
            group.roster = members;
            self.drop_pending(id)?;
        } else {
            self.groups.insert(id.clone(), Group::new(members));
        }
        self.notebook.note(Event::Joined { group: id.clone() });
        Ok(Output::default())
    }

    /// The homeserver lists one more device of a user. Whether it gets keys is the SDK's decision.
    fn receive_device_list(&mut self, packet: &Packet) -> Result<Output, Error> {
        let bundle: Bundle = from_json(packet.bytes.as_ref(), "bundle in a device list")?;
        let published = self.published(&bundle)?;
        let device = &bundle.device;
        let refusal = self.attempt(|this| {
            let refusal = this.meet_one_more(device, &published.card)?;
            if refusal.is_none() {
                this.client.claim(&published)?;
                this.notebook.note(Event::SessionOpened { peer: device.clone() });
            }
            if this.client.gives_keys(device)? {
                this.joined_by_list(device)?;
            }
            Ok(refusal)
        })?;
        refusal.map_or(Ok(Output::default()), Err)
    }

    /// One more device of a user. If the SDK knows none of this user's it is asked whose it is; a known user's brings no question.
    fn meet_one_more(&mut self, device: &DeviceId, card: &Card) -> Result<Option<Error>, Error> {
        let stranger = self.client.known_account(&names::user(&device.user)?)?.is_none();
        let before = self.meet(device, card, true)?;
        if stranger { self.approve(device, card, before) } else { Ok(None) }
    }

    /// A device that gets room keys without having been added: it is in each room in which its user is.
    fn joined_by_list(&mut self, device: &DeviceId) -> Result<(), Error> {
        let theirs = |(_, group): &(&GroupId, &Group)| group.roster.iter().any(|member| member.user == device.user);
        let groups: Vec<_> = self.groups.iter().filter(theirs).map(|(id, _)| id.clone()).collect();
        groups.iter().try_for_each(|id| self.added(id, device, device))
    }

    fn receive_message(&mut self, packet: &Packet) -> Result<Output, Error> {
        let Packet { group: id, from, to, bytes, .. } = packet;
        let group = self.group(id)?;
        if !matches!(to, Address::Group(_)) {
            return Err(Error::bad_request("a message that does not go to a room"));
        }
        if !group.roster.contains(from) {
            let (group, device) = (id.clone(), from.clone());
            self.notebook.require(MESSAGE, Fact::NonMemberSender { group, device })?;
        }
        self.notebook.require(MESSAGE, Fact::Recipients { group: id.clone(), sender: from.clone() })?;
        let RoomEvent { content } = from_json(bytes.as_ref(), "room event")?;
        match self.client.decrypt(&names::room(id)?, &names::user(&from.user)?, &content) {
            Ok(decrypted) => {
                let sender = self.sender(packet, &decrypted.encryption_info)?;
                let plaintext = plaintext(&decrypted)?;
                Ok(Output::message(Message { group: id.clone(), sender, plaintext }))
            }
            Err(error) => {
                let unread = &mut self.group_mut(id)?.unread;
                if error.class == ErrorClass::NoKey && !unread.iter().any(|(_, known)| *known == content) {
                    unread.push((from.clone(), content));
                }
                Err(error)
            }
        }
    }

    /// Who sent a message, by what the SDK says of the session; where it says that this is not certain, the application is asked.
    fn sender(&mut self, packet: &Packet, info: &EncryptionInfo) -> Result<DeviceId, Error> {
        let AlgorithmInfo::MegolmV1AesSha2 { curve25519_key, .. } = &info.algorithm_info else {
            return Err(Error::internal("a room event that is not Megolm's"));
        };
        let device = info.sender_device.as_ref().map(|device| names::device_of(&info.sender, device));
        let owner = device.clone().or_else(|| self.client.device_with(curve25519_key));
        let VerificationState::Unverified(level) = &info.verification_state else {
            return Ok(owner.unwrap_or_else(|| packet.from.clone()));
        };
        let listed = device.as_ref().and_then(|device| self.client.listed(device));
        let shown = listed.filter(|(_, _, identity)| {
            self.client.device_with(curve25519_key) == device && !identity.account_key.as_ref().is_empty()
        });
        match (level, device, shown) {
            (
                VerificationLevel::UnverifiedIdentity
                | VerificationLevel::VerificationViolation
                | VerificationLevel::UnsignedDevice,
                Some(device),
                Some((_, _, identity)),
            ) => {
                let fact = Fact::Identity { device: device.clone(), identity, previous: None };
                self.notebook.require(VERIFICATION_STATE, fact)?;
                if !matches!(level, VerificationLevel::UnsignedDevice) {
                    self.client.verify(&info.sender)?;
                }
                Ok(device)
            }
            // The session came from somebody else than the label names, or nothing shows from whom it came.
            _ => {
                let forwarder = info.forwarder.as_ref().map(|from| names::device_of(&from.user_id, &from.device_id));
                let owner = forwarder.or(owner).unwrap_or_else(|| packet.from.clone());
                let (group, claimed) = (packet.group.clone(), packet.from.clone());
                self.notebook.require(VERIFICATION_STATE, Fact::Sender { group, claimed, owner })?;
                Ok(packet.from.clone())
            }
        }
    }

    fn receive_key_distribution(&mut self, packet: &Packet) -> Result<Output, Error> {
        let Packet { from, bytes, .. } = packet;
        let event: ToDevice = from_json(bytes.as_ref(), "to-device event")?;
        let sender = names::user(&from.user)?;
        if !event.recipients().contains(self.client.curve25519().to_base64().as_str()) {
            // Nothing in it is for this device, and so nothing changes before it is refused.
            let refusal = self.client.receive(&sender, &event.event_type, &event.content).map(|_| Output::default());
            return refusal.map_err(|error| Error { class: ErrorClass::NoKey, ..error });
        }
        // A card under another name is passed over, as the SDK would pass it over.
        let card = match &event.card {
            Some(card) if card.named(from)?.is_some() && !self.client.knows(card)? => Some(card),
            _ => None,
        };
        self.attempt(|this| {
            if let Some(card) = card {
                this.meet(from, card, false)?;
            }
            let key = event.content["sender_key"].as_str().unwrap_or_default();
            let sessions = this.client.sessions_with(key)?;
            let received = this.client.receive(&sender, &event.event_type, &event.content)?;
            if this.client.sessions_with(key)? > sessions {
                this.notebook.note(Event::SessionOpened { peer: from.clone() });
            }
            this.accepted(from, &received.keys);
            if let Some(file) = &event.file {
                let keys = this.client.take_history(&sender, &received.event, file.as_ref())?;
                this.accepted(from, &keys);
            }
            Ok(Output::default())
        })
    }

    fn accepted(&self, from: &DeviceId, keys: &[RoomKeyInfo]) {
        for key in keys {
            let owner = self.client.device_with(&key.sender_key.to_base64()).unwrap_or_else(|| from.clone());
            self.notebook.note(Event::KeyAccepted { group: names::group_of(&key.room_id), owner });
        }
    }

    /// A request for room keys. Whether it is served is the SDK's decision.
    fn receive_key_request(&mut self, packet: &Packet) -> Result<Output, Error> {
        let Packet { group: id, from, bytes, .. } = packet;
        self.group(id)?;
        let KeyRequests { sender, requests } = from_json(bytes.as_ref(), "key request")?;
        if sender.card.named(from)?.is_none() {
            return Err(Error::bad_request(format!("not a request of {from}")));
        }
        self.attempt(|this| {
            if !this.client.knows(&sender.card)?
                && let Some(refusal) = this.meet_one_more(from, &sender.card)?
            {
                return Ok(Err(refusal));
            }
            this.client.claim(&sender)?;
            for request in &requests {
                this.client.receive(&names::user(&from.user)?, "m.room_key_request", request)?;
            }
            let mut answers = this.client.pending()?;
            answers.retain(|answer| answer.event_type == "m.room.encrypted");
            if answers.is_empty() {
                return Err(Error::new(ErrorClass::Refused, "the SDK does not serve this request"));
            }
            this.notebook.note(Event::HistoryShared { group: id.clone(), device: from.clone() });
            Ok(Ok(Output::packets(this.to_device(id, &answers, None)?)))
        })?
    }

    /// Shares the room key with whom the SDK shares it. Where the SDK cannot decide, the application is asked.
    fn share(&mut self, id: &GroupId) -> Result<Vec<Outgoing>, Error> {
        let group = self.membership(id)?;
        let users = group.roster.iter().map(|member| names::user(&member.user)).collect::<Result<BTreeSet<_>, _>>()?;
        let room = names::room(id)?;
        // An answer that did not help is not asked for again.
        for _ in 0..3 {
            match self.client.share(&room, &users) {
                Ok(outgoing) => return Ok(outgoing),
                Err(OlmError::SessionRecipientCollectionError(problem)) => self.resolve(id, problem)?,
                Err(error) => return Err(refused(error)),
            }
        }
        Err(Error::internal("the SDK goes on refusing to share the room key"))
    }

    fn resolve(&mut self, id: &GroupId, problem: SessionRecipientCollectionError) -> Result<(), Error> {
        match problem {
            SessionRecipientCollectionError::VerifiedUserHasUnsignedDevice(devices) => {
                let devices: Vec<(OwnedUserId, OwnedDeviceId)> = devices
                    .into_iter()
                    .flat_map(|(user, devices)| devices.into_iter().map(move |device| (user.clone(), device)))
                    .collect();
                let mut decided = Vec::new();
                for (user, device) in devices {
                    let fact = Fact::ListedDevice { device: names::device_of(&user, &device) };
                    let trust = match self.notebook.consult(UNSIGNED_DEVICE, fact)? {
                        true => LocalTrust::Ignored,
                        false => LocalTrust::BlackListed,
                    };
                    decided.push((user, device, trust));
                }
                for (user, device, trust) in decided {
                    self.client.set_local_trust(&user, &device, trust)?;
                    if trust == LocalTrust::Ignored {
                        self.joined_by_list(&names::device_of(&user, &device))?;
                    }
                }
                Ok(())
            }
            SessionRecipientCollectionError::VerifiedUserChangedIdentity(users) => {
                let mut decided = Vec::new();
                for user in users {
                    let group = self.group(id)?;
                    let device = group.roster.iter().find(|member| member.user == names::user_of(&user)).cloned();
                    let shown = device.and_then(|device| Some((self.client.listed(&device)?.2, device)));
                    let yes = match shown {
                        Some((identity, device)) => {
                            let fact = Fact::Identity { device, identity, previous: None };
                            self.notebook.consult(CHANGED_IDENTITY, fact)?
                        }
                        // There is no device of theirs that could be given anything.
                        None => false,
                    };
                    decided.push((user, yes));
                }
                for (user, yes) in &decided {
                    // After a no the others are to be written to all the same.
                    self.client.withdraw_verification(user)?;
                    if !yes {
                        self.client.blacklist(user)?;
                    }
                }
                Ok(())
            }
            other => Err(refused(OlmError::SessionRecipientCollectionError(other))),
        }
    }

    /// A one-time key of zeros, signed like any other.
    fn degenerate_key(&self) -> Result<OneTimeKey, Error> {
        let zeros = matrix_sdk_crypto::vodozemac::base64_encode([0; 32]);
        let signatures = self.client.sign(&json!({"key": zeros}).to_string())?;
        Ok(OneTimeKey {
            id: "signed_curve25519:AAAAAA".to_owned(),
            key: json!({"key": zeros, "signatures": signatures}),
        })
    }

    fn key_request(&mut self, group: &GroupId, to: &DeviceId, requests: Vec<Value>) -> Result<Packet, Error> {
        let bytes = to_json(&KeyRequests { sender: self.client.publish()?, requests })?;
        Ok(self.packet(PacketKind::KeyRequest, group, Address::Device(to.clone()), false, bytes))
    }

    /// Requests for room keys that the SDK makes of its own accord, when a message could not be decrypted and this user has
    /// another device. They go out with the next call that is not refused.
    fn own_requests(&mut self) -> Result<Vec<Packet>, Error> {
        let mut packets = Vec::new();
        for message in self.client.pending()? {
            if message.event_type == "m.room_key_request"
                && let Some(room) = message.content["body"]["room_id"].as_str()
                && let Ok(room) = ruma::RoomId::parse(room)
            {
                let to = names::device_of(&message.user, &message.device);
                packets.push(self.key_request(&names::group_of(&room), &to, vec![message.content])?);
            }
        }
        Ok(packets)
    }

    fn state(&self) -> Result<Bytes, Error> {
        to_json(&State { client: self.client.state()?, groups: self.groups.clone() })
    }
}

fn unknown(id: &GroupId) -> Error {
    Error::bad_request(format!("no group {id}"))
}

fn plaintext(decrypted: &DecryptedRoomEvent) -> Result<Bytes, Error> {
    let content = &to_value(&decrypted.event)?["content"];
    match (content["e2esm.bytes"].as_str(), content["body"].as_str()) {
        (Some(bytes), _) => hex::decode(bytes).map(Bytes).map_err(|error| Error::bad_request(error.to_string())),
        (None, Some(body)) => Ok(body.as_bytes().into()),
        (None, None) => Err(Error::bad_request("a room event without a text")),
    }
}

impl Device for Matrix {
    fn notebook(&self) -> &Notebook {
        &self.notebook
    }

    fn identity(&mut self) -> Result<Identity, Error> {
        self.client.card().identity()
    }

    fn publish(&mut self, _peer: &DeviceId) -> Result<Bundle, Error> {
        let published = if self.degenerate {
            Published { card: self.client.card().clone(), one_time_key: self.degenerate_key()? }
        } else {
            self.client.publish()?
        };
        Ok(Bundle { device: self.id.clone(), bytes: to_json(&published)? })
    }

    fn create_group(&mut self, group: &GroupId) -> Result<Output, Error> {
        if self.groups.contains_key(group) {
            return Err(Error::new(ErrorClass::Duplicate, format!("there is a group {group} already")));
        }
        names::room(group)?;
        self.groups.insert(group.clone(), Group::new(BTreeSet::from([self.id.clone()])));
        Ok(Output::default())
    }

    fn change(&mut self, id: &GroupId, change: &Change) -> Result<Output, Error> {
        let Change { add, remove, refresh } = change;
        let group = self.membership(id)?;
        let (mut gone, mut new) = (BTreeSet::new(), BTreeSet::new());
        for device in remove {
            if !group.roster.contains(device) || !gone.insert(device) {
                return Err(Error::new(ErrorClass::NotMember, format!("{device} is not a member of {id}")));
            }
        }
        for Bundle { device, .. } in add {
            if group.roster.contains(device) && !gone.contains(device) || !new.insert(device) {
                return Err(Error::new(ErrorClass::Duplicate, format!("{device} is a member of {id} already")));
            }
        }
        let stay = group.roster.iter().filter(|member| !gone.contains(member));
        let members = stay.chain(new).cloned().collect();
        if add.is_empty() && remove.is_empty() {
            if *refresh {
                self.client.discard_room_key(&names::room(id)?)?;
            }
            return Ok(Output::default());
        }
        self.introduce_all(add)?;
        let add: Vec<_> = add.iter().map(|bundle| bundle.device.clone()).collect();
        let bytes = to_json(&RosterChange { add: add.clone(), remove: remove.clone() })?;
        self.drop_pending(id)?;
        self.group_mut(id)?.pending = Some(Pending { bytes: bytes.clone(), refresh: *refresh });
        let mut packets = vec![self.packet(PacketKind::Change, id, Address::Group(id.clone()), false, bytes)];
        if !add.is_empty() {
            let invitation = to_json(&Invitation { members })?;
            packets.push(self.packet(PacketKind::Welcome, id, Address::devices(add), false, invitation));
        }
        Ok(Output::packets(packets))
    }

    fn wants(&mut self, group: &GroupId) -> Result<Vec<DeviceId>, Error> {
        let group = self.group(group)?;
        let mut wanted = Vec::new();
        if group.roster.contains(&self.id) {
            for member in &group.roster {
                if *member != self.id && !self.client.reaches(member)? {
                    wanted.push(member.clone());
                }
            }
        }
        Ok(wanted)
    }

    fn introduce(&mut self, bundle: &Bundle) -> Result<Output, Error> {
        self.introduce_all(std::slice::from_ref(bundle))?;
        Ok(Output::default())
    }

    fn send(&mut self, id: &GroupId, plaintext: &[u8]) -> Result<Output, Error> {
        let outgoing = self.share(id)?;
        let mut content = self.client.encrypt(&names::room(id)?, plaintext)?;
        let session = content["session_id"].as_str().unwrap_or_default().to_owned();
        let group = self.group_mut(id)?;
        group.sent(&session, &outgoing);
        let group = self.group(id)?;
        for member in group.roster.iter().filter(|member| **member != self.id) {
            let has_key = self.client.listed(member).is_some_and(|(user, device, _)| group.has_key(user, device));
            if !has_key {
                self.notebook.note(Event::Skipped { group: id.clone(), device: member.clone() });
            }
        }
        let mut packets = self.to_device(id, &outgoing, None)?;
        let mut from = self.id.clone();
        if let Some(other) = &self.relabel {
            from = other.clone();
            // Both fields are deprecated, and the SDK still writes them.
            if let Some((_, device, identity)) = self.client.listed(other) {
                let key = identity.device_key.as_ref().get(..32).unwrap_or_default();
                content["sender_key"] = json!(matrix_sdk_crypto::vodozemac::base64_encode(key));
                content["device_id"] = json!(device);
            }
        }
        let message = to_json(&RoomEvent { content })?;
        let message = self.packet(PacketKind::Message, id, Address::Group(id.clone()), false, message);
        packets.push(Packet { from, ..message });
        packets.extend(self.own_requests()?);
        Ok(Output::packets(packets))
    }

    fn receive(&mut self, packet: &Packet) -> Result<Output, Error> {
        if packet.opens_session
            && let Ok(ToDevice { card: Some(card), .. }) = from_json(packet.bytes.as_ref(), "to-device event")
            && matches!(card.named(&packet.from), Ok(Some(_)))
        {
            self.seen.entry(packet.from.clone()).or_insert(card);
        }
        let mut output = match packet.kind {
            PacketKind::Change => self.receive_change(packet),
            PacketKind::Welcome => self.receive_welcome(packet),
            PacketKind::Message => self.receive_message(packet),
            PacketKind::KeyDistribution => self.receive_key_distribution(packet),
            PacketKind::KeyRequest => self.receive_key_request(packet),
            PacketKind::DeviceList => self.receive_device_list(packet),
            PacketKind::Proposal => Err(Error::bad_request("there are no proposals in this protocol")),
        }?;
        output.packets.extend(self.own_requests()?);
        Ok(output)
    }

    fn roster(&mut self, group: &GroupId) -> Result<Roster, Error> {
        let members = self.group(group)?.roster.iter().cloned().collect();
        Ok(Roster { members, authenticated: false })
    }

    fn fingerprint(&mut self, group: &GroupId, peer: &DeviceId) -> Result<Fingerprint, Error> {
        self.group(group)?;
        let (_, _, known) =
            self.client.listed(peer).ok_or_else(|| Error::bad_request(format!("the keys of {peer} are not known")))?;
        let mut keys = [self.client.card().identity()?.device_key.to_string(), known.device_key.to_string()];
        keys.sort();
        Ok(Fingerprint { kind: FingerprintKind::DeviceKeys, value: keys.join(" ") })
    }

    fn resend(&mut self, _: &GroupId, _: &[u8], _: &Bundle, _: bool) -> Result<Output, Error> {
        Err(unsupported(Capability::Resend))
    }

    fn share_history(&mut self, group: &GroupId, to: &DeviceId) -> Result<Output, Error> {
        self.group(group)?;
        self.notebook.require(SHARE_HISTORY, Fact::History { group: group.clone(), device: to.clone() })?;
        let (outgoing, file) = self.client.share_history(&names::room(group)?, &names::user(&to.user)?)?;
        if outgoing.is_empty() {
            let text =
                "the SDK shares history with devices that their user has signed, and with which there is a session";
            return Err(Error::new(ErrorClass::UntrustedIdentity, text));
        }
        self.notebook.note(Event::HistoryShared { group: group.clone(), device: to.clone() });
        Ok(Output::packets(self.to_device(group, &outgoing, Some(&file))?))
    }

    fn request_keys(&mut self, group: &GroupId, holder: &DeviceId) -> Result<Output, Error> {
        let unread = self.group(group)?.unread.clone();
        if unread.is_empty() {
            return Err(Error::new(ErrorClass::NoKey, "there is no message here that waits for a key"));
        }
        let mut requests = Vec::new();
        for (sender, content) in unread {
            requests.push(self.client.request_key(&names::room(group)?, &names::user(&sender.user)?, &content)?);
        }
        Ok(Output::packets(vec![self.key_request(group, holder, requests)?]))
    }

    fn link_request(&mut self) -> Result<LinkRequest, Error> {
        Ok(LinkRequest { device: self.id.clone(), device_key: self.client.card().identity()?.device_key })
    }

    /// Hands over the private cross-signing keys, as a sign-in by QR code does.
    fn authorise(&mut self, request: &LinkRequest) -> Result<Authorisation, Error> {
        Ok(Authorisation { device: request.device.clone(), bytes: to_json(&self.client.linkage()?)? })
    }

    fn accept_authorisation(&mut self, authorisation: &Authorisation) -> Result<(), Error> {
        if authorisation.device != self.id {
            let Authorisation { device, .. } = authorisation;
            return Err(Error::bad_request(format!("the authorisation is for {device}, this device is {}", self.id)));
        }
        self.client.link(from_json(authorisation.bytes.as_ref(), "authorisation")?)
    }

    fn group_info(&mut self, _: &GroupId) -> Result<Bytes, Error> {
        Err(unsupported(Capability::ExternalJoin))
    }

    fn external_join(&mut self, _: &[u8]) -> Result<Output, Error> {
        Err(unsupported(Capability::ExternalJoin))
    }

    fn tree_in_welcome(&mut self, _: &GroupId, _: bool) -> Result<(), Error> {
        Err(unsupported(Capability::RatchetTree))
    }

    fn ratchet_tree(&mut self, _: &GroupId) -> Result<Bytes, Error> {
        Err(unsupported(Capability::RatchetTree))
    }

    fn join_with_tree(&mut self, _: &Packet, _: &[u8]) -> Result<Output, Error> {
        Err(unsupported(Capability::RatchetTree))
    }

    fn store(&mut self) -> Result<Bytes, Error> {
        self.state()
    }

    fn standard_keys(&mut self) -> Result<Start, Error> {
        Err(unsupported(Capability::StandardKeys))
    }

    fn transcript(&mut self) -> Result<Vec<Delivery>, Error> {
        Err(unsupported(Capability::StandardKeys))
    }

    fn export_state(&mut self) -> Result<Bytes, Error> {
        self.state()
    }

    fn misbehave(&mut self, fault: &Fault) -> Result<(), Error> {
        match fault {
            Fault::None => {
                self.relabel = None;
                self.degenerate = false;
            }
            Fault::RelabelledSender(other) => self.relabel = Some(other.clone()),
            Fault::DegenerateKey => self.degenerate = true,
            Fault::WrongLeafSignature => return Err(unsupported(Capability::WrongLeafSignature)),
            Fault::WrongParentHash => return Err(unsupported(Capability::WrongParentHash)),
            Fault::WrongConfirmationTag => return Err(unsupported(Capability::WrongConfirmationTag)),
        }
        Ok(())
    }

    fn craft(&mut self, forgery: &Forgery) -> Result<Forged, Error> {
        match forgery {
            Forgery::Message { group, claim, plaintext } => self.forge_message(group, claim, plaintext),
            Forgery::KeyDistribution { group, claim, victims, plaintext } => {
                self.forge_key_distribution(group, claim, victims, plaintext)
            }
            Forgery::Change { group, claim, add, remove } => Self::forge_change(group, claim, add, remove),
            Forgery::UninvitedJoin { .. } => Err(unsupported(Capability::UninvitedJoin)),
            Forgery::BrokenBundle { bundle } => Self::break_bundle(bundle),
            Forgery::RewrittenIdentity { packet } => self.rewrite_identity(packet),
        }
    }
}
