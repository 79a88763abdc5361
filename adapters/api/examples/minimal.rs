//! An adapter in one file, as a start for your own: real cryptography, and a protocol as small as it can be.
//!
//! Every device has one X25519 key pair for life, and whatever goes to a group is sealed for each member apart. That
//! authenticates the sender and nothing more: a leaked key opens everything, nothing heals, a replay is read twice. It
//! is no implementation under test; `describe` says what it cannot do. `main` serves it over stdin and stdout.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufReader, stdin, stdout};

use chacha20poly1305::aead::{Aead, AeadCore, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use e2esm_adapter::{
    Adapter, Address, Bundle, Bytes, Capability, Change, DecisionPoint, Description, Device, DeviceId, Error,
    ErrorClass, Event, Fact, GroupId, Identity, Message, Notebook, Output, Packet, PacketKind, Roster, serve_stdio,
};
use hkdf::Hkdf;
use rand::rngs::OsRng;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use x25519_dalek::{PublicKey, StaticSecret};

// Where questions are put. The primitives ask nothing, so all of these are the group management's own; a question that
// a library puts is a `DecisionPoint::library("TheLibrarys::name_for_the_place")`.
const WHOSE_KEY: DecisionPoint = DecisionPoint::group_management("MinimalDevice::ask_whose");
const SENDER: DecisionPoint = DecisionPoint::group_management("MinimalDevice::receive");
const CHANGE: DecisionPoint = DecisionPoint::group_management("MinimalDevice::receive_change");
const WELCOME: DecisionPoint = DecisionPoint::group_management("MinimalDevice::receive_welcome");

/// Why a capability is missing: a property of the protocol, or a gap. A new one does not compile without an answer.
fn missing(capability: Capability) -> Option<&'static str> {
    use Capability::*;
    Some(match capability {
        Groups | ThirdMember | StateExport => return None,
        Epochs => "changes are applied as they come, nothing numbers them",
        ExternalJoin | UninvitedJoin => "a group has no public information to join with",
        KeyDistribution | ForgedKeyDistribution => "a message is sealed for each member: there are no sender keys",
        PairwiseSessions | RewrittenIdentity => "keys are static: no session is opened",
        History | KeyRequest => "there are no keys of messages, only those of devices",
        StandardKeys => "there are no recorded vectors of its protocol",
        Linking => "there is no account key: each device stands for itself",
        RatchetTree | WrongLeafSignature | WrongParentHash | WrongConfirmationTag => "a group has no tree and no tag",
        Fingerprint | Resend | Persistence => "left out of this example, though the protocol would allow it",
        RelabelledSender | DegenerateKey | ForgedMessage | ForgedChange | BrokenBundle => {
            "left out: this example has no attacker"
        }
    })
}

pub(crate) struct Minimal;

impl Adapter for Minimal {
    fn describe(&self) -> Description {
        let settings = [("padding", "none"), ("replay protection", "none"), ("refresh", "no effect: keys are static")];
        let gap = |capability| missing(capability).map(|reason| (capability, reason.to_owned()));
        Description {
            name: "minimal".to_owned(),
            implementation: "minimal example".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            protocol: "static pairwise boxes".to_owned(),
            cipher_suite: "X25519, HKDF-SHA256, XChaCha20-Poly1305".to_owned(),
            crypto_provider: "dalek and RustCrypto".to_owned(),
            configuration: settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            group_object: false,
            recorded: BTreeSet::new(),
            unsupported: Capability::ALL.into_iter().filter_map(gap).collect(),
        }
    }

    fn device(&self, id: &DeviceId) -> Result<Box<dyn Device>, Error> {
        let secret = StaticSecret::random_from_rng(OsRng);
        let key = Bytes(PublicKey::from(&secret).to_bytes().to_vec());
        let keys = BTreeMap::from([(id.clone(), key.clone())]);
        let (me, secret, groups) = (id.clone(), Bytes(secret.to_bytes().to_vec()), BTreeMap::new());
        Ok(Box::new(MinimalDevice { notebook: Notebook::new(), me, secret, key, keys, groups }))
    }

    fn restore(&self, _id: &DeviceId, state: &[u8]) -> Result<Box<dyn Device>, Error> {
        Ok(Box::new(from_json::<MinimalDevice>(state)?))
    }
}

/// Serialised it is what a thief copies: everything but the application's answers.
#[derive(Serialize, Deserialize)]
struct MinimalDevice {
    #[serde(skip)]
    notebook: Notebook,
    me: DeviceId,
    secret: Bytes,
    key: Bytes,
    /// Whose key is which, this device's own among them.
    keys: BTreeMap<DeviceId, Bytes>,
    groups: BTreeMap<GroupId, Group>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Group {
    members: BTreeSet<DeviceId>,
    /// A change of this device's own that the server has not delivered back yet.
    pending: Option<Bytes>,
}

/// A packet's bytes: its author's key, and a box for each receiver. Sent once, fanned out by the server.
#[derive(Serialize, Deserialize)]
struct Boxes {
    key: Bytes,
    boxes: BTreeMap<DeviceId, Bytes>,
}

/// What would be the library's, were there one.
impl MinimalDevice {
    fn cipher(&self, key: &Bytes) -> Result<XChaCha20Poly1305, Error> {
        let shared = StaticSecret::from(key32(&self.secret)?).diffie_hellman(&PublicKey::from(key32(key)?));
        if !shared.was_contributory() {
            return Err(Error::new(ErrorClass::AuthFailed, "a public key of small order"));
        }
        let mut okm = [0; 32];
        Hkdf::<Sha256>::new(None, shared.as_bytes()).expand(b"e2esm minimal v1", &mut okm).map_err(Error::internal)?;
        Ok(XChaCha20Poly1305::new(&okm.into()))
    }

    /// `msg` in a packet with a box for each of `readers`.
    fn seal(
        &self,
        kind: PacketKind,
        group: &GroupId,
        readers: &BTreeSet<DeviceId>,
        msg: &[u8],
    ) -> Result<Packet, Error> {
        let (group, from, to) = (group.clone(), self.me.clone(), Address::Group(group.clone()));
        let mut packet = Packet { kind, group, from, to, opens_session: false, bytes: Bytes::default(), seal: None };
        let mut boxes = BTreeMap::new();
        for reader in readers {
            let no_key = || Error::new(ErrorClass::NoKey, format!("no key of {reader}"));
            let cipher = self.cipher(self.keys.get(reader).ok_or_else(no_key)?)?;
            let (nonce, aad) = (XChaCha20Poly1305::generate_nonce(OsRng), context(&packet, reader)?);
            let sealed = cipher.encrypt(&nonce, Payload { msg, aad: &aad.0 }).map_err(Error::internal)?;
            boxes.insert(reader.clone(), Bytes([nonce.as_slice(), &sealed].concat()));
        }
        packet.bytes = json(&Boxes { key: self.key.clone(), boxes })?;
        Ok(packet)
    }

    /// The author's key, and what the box for this device holds: nobody else than that key's owner can have sealed it.
    fn open(&self, packet: &Packet) -> Result<(Bytes, Vec<u8>), Error> {
        let Boxes { key, boxes } = from_json(&packet.bytes.0)?;
        let sealed = boxes.get(&self.me).ok_or_else(|| Error::new(ErrorClass::NoKey, "no box for this device"))?;
        let (nonce, msg) = sealed.0.split_at_checked(24).ok_or_else(|| Error::bad_request("no nonce"))?;
        let aad = context(packet, &self.me)?;
        let opened = self.cipher(&key)?.decrypt(XNonce::from_slice(nonce), Payload { msg, aad: &aad.0 });
        Ok((key, opened.map_err(|_| Error::new(ErrorClass::AuthFailed, "the tag does not fit"))?))
    }
}

/// The questions, and what a packet does. Each call first refuses and asks, then writes: one that waits for an answer
/// is made again from its start, and must find the device as it was.
impl MinimalDevice {
    fn group(&self, group: &GroupId) -> Result<&Group, Error> {
        self.groups.get(group).ok_or_else(|| Error::bad_request(format!("no group {group}")))
    }

    /// The members of a group that this device is in.
    fn own_group(&self, group: &GroupId) -> Result<&BTreeSet<DeviceId>, Error> {
        let members = &self.group(group)?.members;
        let outside = || Error::new(ErrorClass::NotMember, format!("{} is not in {group}", self.me));
        members.contains(&self.me).then_some(members).ok_or_else(outside)
    }

    /// Nothing here can tell whose key this is: the application is asked, unless it has said so before.
    fn ask_whose(&self, device: &DeviceId, key: &Bytes) -> Result<(), Error> {
        self.cipher(key)?;
        let (device, previous) = (device.clone(), self.keys.get(device).cloned());
        if previous.as_ref() == Some(key) {
            return Ok(());
        }
        if device == self.me {
            return Err(Error::new(ErrorClass::UntrustedIdentity, "not this device's own key"));
        }
        self.notebook.require(WHOSE_KEY, Fact::Identity { device, identity: identity(key), previous })
    }

    fn learn(&mut self, device: &DeviceId, key: &Bytes) {
        if self.keys.insert(device.clone(), key.clone()).is_some_and(|before| before != *key) {
            self.notebook.note(Event::KeyChanged { device: device.clone() });
        }
    }

    fn receive_change(&mut self, packet: &Packet, opened: &[u8]) -> Result<(), Error> {
        let (group, by, authenticated) = (packet.group.clone(), packet.from.clone(), true);
        let (mut after, own) = (self.group(&group)?.clone(), by == self.me);
        if own && after.pending.as_ref() != Some(&packet.bytes) {
            return Err(Error::bad_request("no such change of this device's own is pending"));
        }
        let change: Change = from_json(opened)?;
        for Bundle { device, bytes } in change.add.iter().filter(|_| !own) {
            self.ask_whose(device, bytes)?;
            let (group, device, by) = (group.clone(), device.clone(), by.clone());
            self.notebook.require(CHANGE, Fact::Add { group, device, by, authenticated })?;
        }
        for device in change.remove.iter().filter(|_| !own).cloned() {
            let (group, by) = (group.clone(), by.clone());
            self.notebook.require(CHANGE, Fact::Remove { group, device, by, authenticated })?;
        }
        if after.pending.take().is_some() && !own {
            self.notebook.note(Event::ChangeDropped { group: group.clone() });
        }
        for device in change.remove {
            if after.members.remove(&device) {
                self.notebook.note(Event::MemberRemoved { group: group.clone(), device, by: by.clone() });
            }
        }
        for Bundle { device, bytes } in change.add {
            self.learn(&device, &bytes);
            if after.members.insert(device.clone()) {
                self.notebook.note(Event::MemberAdded { group: group.clone(), device, by: by.clone() });
            }
        }
        self.groups.insert(group, after);
        Ok(())
    }

    fn receive_welcome(&mut self, packet: &Packet, opened: &[u8]) -> Result<(), Error> {
        let (group, by, device) = (packet.group.clone(), packet.from.clone(), self.me.clone());
        let keys: BTreeMap<DeviceId, Bytes> = from_json(opened)?;
        if keys.get(&device) != Some(&self.key) || !keys.contains_key(&by) {
            return Err(Error::bad_request("an invitation without its author or this device"));
        }
        for (device, key) in &keys {
            self.ask_whose(device, key)?;
        }
        self.notebook.require(WELCOME, Fact::Add { group: group.clone(), device, by, authenticated: true })?;
        for (device, key) in &keys {
            self.learn(device, key);
        }
        self.notebook.note(Event::Joined { group: group.clone() });
        self.groups.insert(group, Group { members: keys.into_keys().collect(), pending: None });
        Ok(())
    }
}

impl Device for MinimalDevice {
    fn notebook(&self) -> &Notebook {
        &self.notebook
    }

    fn identity(&mut self) -> Result<Identity, Error> {
        Ok(identity(&self.key))
    }

    fn publish(&mut self, _peer: &DeviceId) -> Result<Bundle, Error> {
        Ok(Bundle { device: self.me.clone(), bytes: self.key.clone() })
    }

    fn create_group(&mut self, group: &GroupId) -> Result<Output, Error> {
        if self.groups.contains_key(group) {
            return Err(Error::new(ErrorClass::Duplicate, format!("there is a group {group} already")));
        }
        let members = BTreeSet::from([self.me.clone()]);
        self.groups.insert(group.clone(), Group { members, pending: None });
        Ok(Output::default())
    }

    fn change(&mut self, group: &GroupId, change: &Change) -> Result<Output, Error> {
        let before = self.own_group(group)?.clone();
        let mut after = before.clone();
        if let Some(stranger) = change.remove.iter().find(|device| !after.remove(device)) {
            return Err(Error::new(ErrorClass::NotMember, format!("{stranger} is not in {group}")));
        }
        for Bundle { device, bytes } in &change.add {
            if !after.insert(device.clone()) {
                return Err(Error::new(ErrorClass::Duplicate, format!("{device} is in {group} already")));
            }
            self.ask_whose(device, bytes)?;
        }
        for Bundle { device, bytes } in &change.add {
            self.learn(device, bytes);
        }
        let announcement = self.seal(PacketKind::Change, group, &before, &json(change)?.0)?;
        let pending = Some(announcement.bytes.clone());
        let mut packets = vec![announcement];
        let keys: BTreeMap<&DeviceId, &Bytes> = self.keys.iter().filter(|(device, _)| after.contains(device)).collect();
        for Bundle { device, .. } in &change.add {
            let reader = BTreeSet::from([device.clone()]);
            let welcome = self.seal(PacketKind::Welcome, group, &reader, &json(&keys)?.0)?;
            packets.push(Packet { to: Address::Device(device.clone()), ..welcome });
        }
        self.groups.insert(group.clone(), Group { members: before, pending });
        Ok(Output::packets(packets))
    }

    fn send(&mut self, group: &GroupId, plaintext: &[u8]) -> Result<Output, Error> {
        let mut to = self.own_group(group)?.clone();
        to.remove(&self.me);
        Ok(Output::packets(vec![self.seal(PacketKind::Message, group, &to, plaintext)?]))
    }

    fn receive(&mut self, packet: &Packet) -> Result<Output, Error> {
        let (group, from) = (&packet.group, &packet.from);
        match packet.kind {
            PacketKind::Message | PacketKind::Change => {
                self.group(group)?;
            }
            PacketKind::Welcome if self.own_group(group).is_err() => {}
            PacketKind::Welcome => return Err(Error::new(ErrorClass::Duplicate, format!("in {group} already"))),
            other => return Err(Error::bad_request(format!("there is no {} in this protocol", other.label()))),
        }
        let (key, opened) = self.open(packet)?;
        self.ask_whose(from, &key)?;
        if packet.kind != PacketKind::Welcome && !self.group(group)?.members.contains(from) {
            self.notebook.require(SENDER, Fact::NonMemberSender { group: group.clone(), device: from.clone() })?;
        }
        match packet.kind {
            PacketKind::Change => self.receive_change(packet, &opened)?,
            PacketKind::Welcome => self.receive_welcome(packet, &opened)?,
            _ => {}
        }
        self.learn(from, &key);
        let read = Message { group: group.clone(), sender: from.clone(), plaintext: Bytes(opened) };
        Ok(if packet.kind == PacketKind::Message { Output::message(read) } else { Output::default() })
    }

    /// This member's own list: nothing makes members agree.
    fn roster(&mut self, group: &GroupId) -> Result<Roster, Error> {
        let members = self.group(group)?.members.iter().cloned().collect();
        Ok(Roster { members, authenticated: false })
    }

    fn export_state(&mut self) -> Result<Bytes, Error> {
        json(self)
    }
}

fn identity(key: &Bytes) -> Identity {
    Identity { account_key: key.clone(), device_key: key.clone(), voucher: Bytes::default() }
}

fn key32(bytes: &Bytes) -> Result<[u8; 32], Error> {
    bytes.as_ref().try_into().map_err(|_| Error::bad_request("a key has 32 bytes"))
}

/// What a box is bound to: the group, what it is for, from whom, to whom.
fn context(packet: &Packet, to: &DeviceId) -> Result<Bytes, Error> {
    json(&(&packet.group, packet.kind, &packet.from, to))
}

fn json(value: &impl Serialize) -> Result<Bytes, Error> {
    serde_json::to_vec(value).map(Bytes).map_err(Error::internal)
}

fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(|error| Error::bad_request(error.to_string()))
}

fn main() -> std::io::Result<()> {
    serve_stdio(&Minimal, BufReader::new(stdin()), stdout().lock())
}
