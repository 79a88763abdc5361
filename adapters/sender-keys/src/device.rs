//! [`GroupDevice`]: a library's primitives and the group management above them, as one device.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use e2esm_adapter::{
    Address, Authorisation, Bundle, Bytes, Capability, Change, DecisionPoint, Delivery, DeliveryKind, Device, DeviceId,
    Error, ErrorClass, Event, Fact, Fault, Fingerprint, Forged, Forgery, GroupId, Identity, LinkRequest, Message,
    Notebook, Output, Packet, PacketKind, Roster, Start,
};
use serde::{Deserialize, Serialize};

use crate::adapter::{claims, never};
use crate::group::{Group, Pending};
use crate::points;
use crate::primitives::{Primitives, Sealed};
use crate::wire::{Body, Content, Invitation, RosterChange, from_json, to_json};

/// One device of a library without a group object.
///
/// Every question is put before anything changes. Where a library has to decrypt before it is known what is to be
/// asked, the opened content is held until its packet comes again; where a session has to be opened first, its peer's
/// former state is put back.
pub struct GroupDevice<P> {
    pub(crate) me: DeviceId,
    pub(crate) primitives: P,
    pub(crate) groups: BTreeMap<GroupId, Group>,
    /// The last pairwise message that could be decrypted but not dealt with: no library decrypts it twice.
    held: Option<Held>,
    /// What the latest packet brought to the library itself.
    transcript: Vec<Brought>,
    /// `Fault::RelabelledSender`.
    relabel: Option<DeviceId>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Held {
    from: DeviceId,
    bytes: Bytes,
    plaintext: Bytes,
}

/// A sender key on its way.
#[derive(Default)]
struct Distribution {
    /// To whom it goes, and the packet.
    given: Vec<(DeviceId, Packet)>,
    /// The members that are left out, because there is no session that may be used.
    skipped: Vec<DeviceId>,
}

/// What [`Device::export_state`] and [`Device::store`] hold.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State<'a, S> {
    device: Cow<'a, DeviceId>,
    groups: Cow<'a, BTreeMap<GroupId, Group>>,
    /// Not in an exported state: a message that waits for an answer is as good as not received yet.
    held: Option<Cow<'a, Held>>,
    primitives: S,
}

/// Something that a packet brought to the library.
struct Brought {
    kind: DeliveryKind,
    from: DeviceId,
    bytes: Bytes,
}

impl<P: Primitives> GroupDevice<P> {
    pub(crate) fn new(id: &DeviceId) -> Result<Self, Error> {
        Ok(Self::with(id, P::new(id)?, BTreeMap::new()))
    }

    /// A device from a copied state.
    pub(crate) fn restore(id: &DeviceId, state: &[u8]) -> Result<Self, Error> {
        Self::from_state(id, from_json(state, "state")?)
    }

    /// A device from what it stored.
    pub(crate) fn load(id: &DeviceId, store: &[u8]) -> Result<Self, Error> {
        match postcard::take_from_bytes(store) {
            Ok((state, [])) => Self::from_state(id, state),
            Ok(_) => Err(Error::bad_request("not a store: more bytes than it has")),
            Err(error) => Err(Error::bad_request(format!("not a store: {error}"))),
        }
    }

    fn from_state(id: &DeviceId, state: State<'_, P::State>) -> Result<Self, Error> {
        let State { device, groups, held, primitives } = state;
        if *device != *id {
            return Err(Error::bad_request(format!("the state is {device}'s, not {id}'s")));
        }
        let primitives = P::restore(id, primitives)?;
        Ok(Self { held: held.map(Cow::into_owned), ..Self::with(id, primitives, groups.into_owned()) })
    }

    fn state(&self) -> Result<State<'_, P::State>, Error> {
        Ok(State {
            device: Cow::Borrowed(&self.me),
            groups: Cow::Borrowed(&self.groups),
            held: self.held.as_ref().map(Cow::Borrowed),
            primitives: self.primitives.state()?,
        })
    }

    fn with(id: &DeviceId, primitives: P, groups: BTreeMap<GroupId, Group>) -> Self {
        Self { me: id.clone(), primitives, groups, held: None, transcript: Vec::new(), relabel: None }
    }

    fn group(&self, id: &GroupId) -> Result<&Group, Error> {
        self.groups.get(id).ok_or_else(|| unknown(id))
    }

    fn group_mut(&mut self, id: &GroupId) -> Result<&mut Group, Error> {
        self.groups.get_mut(id).ok_or_else(|| unknown(id))
    }

    fn membership(&self, id: &GroupId) -> Result<&Group, Error> {
        let group = self.group(id)?;
        if group.has(&self.me) {
            Ok(group)
        } else {
            Err(Error::new(ErrorClass::NotMember, format!("{} is not a member of {id}", self.me)))
        }
    }

    fn ask(&self, point: DecisionPoint, fact: Fact) -> Result<(), Error> {
        self.primitives.notebook().require(point, fact)
    }

    fn note(&self, event: Event) {
        self.primitives.notebook().note(event);
    }

    fn packet(&self, kind: PacketKind, group: &GroupId, to: Address, sealed: Sealed) -> Packet {
        let Sealed { opens_session, bytes } = sealed;
        Packet { kind, group: group.clone(), from: self.me.clone(), to, opens_session, bytes, seal: None }
    }

    /// Opens a session from each bundle and goes on with `then`. If a decision is waited for, even after the last
    /// session was opened, there are none: the same call will be made again, and is to ask and notice the same things.
    pub(crate) fn introducing<T>(
        &mut self,
        bundles: &[Bundle],
        then: impl FnOnce(&mut Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut before = Vec::new();
        let outcome = bundles
            .iter()
            .try_for_each(|bundle| {
                if bundle.device == self.me {
                    return Err(Error::bad_request("a bundle of this very device"));
                }
                let state = self.primitives.peer_state(&bundle.device)?;
                self.primitives.introduce(bundle)?;
                before.push((&bundle.device, state));
                Ok(())
            })
            .and_then(|()| then(self));
        let waits = matches!(&outcome, Err(error) if error.class == ErrorClass::UndecidedTrust);
        for (peer, state) in before.into_iter().rev() {
            if waits {
                self.primitives.restore_peer(peer, state);
            } else {
                self.groups.values_mut().for_each(|group| group.session_replaced(peer));
            }
        }
        outcome
    }

    /// A pairwise packet with `body`.
    pub(crate) fn seal(
        &mut self,
        kind: PacketKind,
        group: &GroupId,
        peer: &DeviceId,
        body: Body,
    ) -> Result<Packet, Error> {
        self.seal_content(kind, group, peer, &Content { group: group.clone(), body }.to_bytes()?)
    }

    /// The same with the content in bytes, which are written once for all peers that get the same.
    fn seal_content(
        &mut self,
        kind: PacketKind,
        group: &GroupId,
        peer: &DeviceId,
        content: &[u8],
    ) -> Result<Packet, Error> {
        let sealed = self.primitives.encrypt(peer, content)?;
        Ok(self.packet(kind, group, Address::Device(peer.clone()), sealed))
    }

    /// Opens a pairwise packet, or finds it opened, and lets `accept` deal with what is in it.
    fn open<T>(
        &mut self,
        packet: &Packet,
        accept: impl FnOnce(&mut Self, Body) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let from = &packet.from;
        let held = self.held.take_if(|held| held.from == *from && held.bytes == packet.bytes);
        let plaintext = match held {
            Some(held) => held.plaintext.0,
            None => {
                let known = self.primitives.known_identity(from);
                let sealed = Sealed { opens_session: packet.opens_session, bytes: packet.bytes.clone() };
                let kind = if sealed.opens_session { DeliveryKind::PrekeyMessage } else { DeliveryKind::Message };
                self.brought(kind, from, &sealed.bytes);
                let plaintext = self.primitives.decrypt(from, &sealed)?;
                if known.is_some() && known != self.primitives.known_identity(from) {
                    self.groups.values_mut().for_each(|group| group.session_replaced(from));
                }
                plaintext
            }
        };
        let outcome = Content::from_bytes(&plaintext).and_then(|content| {
            if content.group == packet.group {
                accept(self, content.body)
            } else {
                Err(Error::bad_request(format!("sent for {}, delivered for {}", content.group, packet.group)))
            }
        });
        if outcome.is_err() {
            let plaintext = plaintext.into();
            self.held = Some(Held { from: from.clone(), bytes: packet.bytes.clone(), plaintext });
        }
        outcome
    }

    fn brought(&mut self, kind: DeliveryKind, from: &DeviceId, bytes: &Bytes) {
        self.transcript.push(Brought { kind, from: from.clone(), bytes: bytes.clone() });
    }

    fn sender_in_roster(&self, packet: &Packet, point: DecisionPoint) -> Result<(), Error> {
        if self.group(&packet.group)?.has(&packet.from) {
            return Ok(());
        }
        self.ask(point, Fact::NonMemberSender { group: packet.group.clone(), device: packet.from.clone() })
    }

    fn added(&mut self, id: &GroupId, device: &DeviceId, by: &DeviceId) -> Result<(), Error> {
        if self.group_mut(id)?.join(device) {
            self.note(Event::MemberAdded { group: id.clone(), device: device.clone(), by: by.clone() });
        }
        Ok(())
    }

    fn removed(&mut self, id: &GroupId, device: &DeviceId, by: &DeviceId) -> Result<(), Error> {
        if self.group_mut(id)?.leave(device) {
            self.note(Event::MemberRemoved { group: id.clone(), device: device.clone(), by: by.clone() });
        }
        Ok(())
    }

    /// Drops a change of this device's own that has not come back.
    fn drop_pending(&mut self, id: &GroupId) -> Result<(), Error> {
        if self.group_mut(id)?.pending.take().is_some() {
            self.note(Event::ChangeDropped { group: id.clone() });
        }
        Ok(())
    }

    fn receive_change(&mut self, packet: &Packet) -> Result<Output, Error> {
        let Packet { group: id, from: by, bytes, .. } = packet;
        let RosterChange { add, remove } = from_json(bytes.as_ref(), "change")?;
        let me = self.me.clone();
        let group = self.group_mut(id)?;
        // Another member may make the very same change: the label is part of what is recognised.
        if let Some(Pending { refresh, .. }) = group.pending.take_if(|pending| *by == me && pending.bytes == *bytes) {
            if refresh {
                group.retire_key();
            }
        } else {
            for device in &remove {
                let (group, device, by) = (id.clone(), device.clone(), by.clone());
                self.ask(points::CHANGE, Fact::Remove { group, device, by, authenticated: false })?;
            }
            for device in &add {
                let (group, device, by) = (id.clone(), device.clone(), by.clone());
                self.ask(points::CHANGE, Fact::Add { group, device, by, authenticated: false })?;
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
        let Invitation::<DeviceId> { members } = from_json(bytes.as_ref(), "welcome")?;
        if !members.contains(&self.me) {
            return Err(Error::bad_request(format!("a welcome to {id} that leaves out {}", self.me)));
        }
        let (group, device, by) = (id.clone(), self.me.clone(), by.clone());
        self.ask(points::WELCOME, Fact::Add { group, device, by, authenticated: false })?;
        if let Some(group) = self.groups.get_mut(id) {
            // In again, or never out in its own view: the roster is the new one, the sender keys stay.
            let gone: Vec<_> = group.roster().difference(&members).cloned().collect();
            for member in &gone {
                group.leave(member);
            }
            for member in &members {
                group.join(member);
            }
            self.drop_pending(id)?;
        } else {
            self.groups.insert(id.clone(), Group::new(&self.me, members));
        }
        self.note(Event::Joined { group: id.clone() });
        Ok(Output::default())
    }

    fn receive_device_list(&mut self, packet: &Packet) -> Result<Output, Error> {
        let bundle: Bundle = from_json(packet.bytes.as_ref(), "bundle in a device list")?;
        let device = &bundle.device;
        self.ask(points::DEVICE_LIST, Fact::ListedDevice { device: device.clone() })?;
        self.introducing(std::slice::from_ref(&bundle), |this| {
            let groups: Vec<_> = this
                .groups
                .iter()
                .filter(|(_, group)| group.has_device_of(&device.user))
                .map(|(id, _)| id.clone())
                .collect();
            groups.iter().try_for_each(|id| this.added(id, device, device))
        })?;
        Ok(Output::default())
    }

    fn receive_message(&mut self, packet: &Packet) -> Result<Output, Error> {
        let Packet { group: id, from: sender, .. } = packet;
        self.sender_in_roster(packet, points::MESSAGE)?;
        let plaintext = match &packet.to {
            Address::Group(_) => {
                self.ask(points::MESSAGE, Fact::Recipients { group: id.clone(), sender: sender.clone() })?;
                self.brought(P::KINDS.message, sender, &packet.bytes);
                self.primitives.group_decrypt(id, sender, packet.bytes.as_ref())?.into()
            }
            Address::Device(_) => self.open(packet, |_, body| match body {
                Body::Message(plaintext) => Ok(plaintext),
                Body::SenderKey(_) | Body::HandedOn(_) => {
                    Err(Error::bad_request("a sender key, delivered as a message"))
                }
            })?,
            Address::Devices(_) | Address::Server => {
                return Err(Error::bad_request("a message to neither a group nor a device"));
            }
        };
        Ok(Output::message(Message { group: id.clone(), sender: sender.clone(), plaintext }))
    }

    fn receive_key_distribution(&mut self, packet: &Packet) -> Result<Output, Error> {
        let Packet { group: id, from, .. } = packet;
        self.sender_in_roster(packet, points::KEY_DISTRIBUTION)?;
        self.open(packet, |this, body| {
            match body {
                Body::SenderKey(key) => {
                    this.brought(P::KINDS.key, from, &key);
                    this.primitives.accept_sender_key(id, from, key.as_ref())?;
                    this.note(Event::KeyAccepted { group: id.clone(), owner: from.clone() });
                }
                Body::HandedOn(keys) => {
                    for key in keys {
                        this.primitives.import_history(id, from, &key)?;
                        this.note(Event::KeyAccepted { group: id.clone(), owner: key.owner });
                    }
                }
                Body::Message(_) => return Err(Error::bad_request("a message, delivered as a sender key")),
            }
            Ok(Output::default())
        })
    }

    fn receive_key_request(&mut self, packet: &Packet) -> Result<Output, Error> {
        let Packet { group: id, from: device, bytes, .. } = packet;
        if claims::<P>(Capability::KeyRequest).is_err() {
            return Err(Error::bad_request("a key request, which this library cannot answer"));
        }
        self.group(id)?;
        self.ask(points::KEY_REQUEST, Fact::KeyRequest { group: id.clone(), device: device.clone() })?;
        let bundle = Bundle { device: device.clone(), bytes: bytes.clone() };
        let packets = self.introducing(&[bundle], |this| this.seal_history(id, device))?;
        self.hand_over(id, device, packets)
    }

    /// Encrypts to `to` the keys of what was sent before: one's own as they were first handed out, and those of others
    /// where the library can export them.
    fn seal_history(&mut self, id: &GroupId, to: &DeviceId) -> Result<Vec<Packet>, Error> {
        let mut packets = Vec::new();
        for key in self.group(id)?.archive().to_vec() {
            packets.push(self.seal(PacketKind::KeyDistribution, id, to, Body::SenderKey(key))?);
        }
        let keys = self.primitives.export_history(id)?;
        if !keys.is_empty() {
            packets.push(self.seal(PacketKind::KeyDistribution, id, to, Body::HandedOn(keys))?);
        }
        if packets.is_empty() {
            return Err(Error::new(ErrorClass::NoKey, format!("there are no keys of {id} to hand over")));
        }
        Ok(packets)
    }

    /// Sends what [`seal_history`](Self::seal_history) made. The present sender key is among it if it is in the
    /// archive.
    fn hand_over(&mut self, id: &GroupId, to: &DeviceId, packets: Vec<Packet>) -> Result<Output, Error> {
        let account_key = self.account_key(to)?;
        let group = self.group_mut(id)?;
        if !group.needs_key() && !group.archive().is_empty() {
            group.key_given(to, account_key);
        }
        self.note(Event::HistoryShared { group: id.clone(), device: to.clone() });
        Ok(Output::packets(packets))
    }

    fn account_key(&self, peer: &DeviceId) -> Result<Bytes, Error> {
        let identity = self.primitives.known_identity(peer);
        identity.map(|identity| identity.account_key).ok_or_else(|| Error::internal("a session with nobody known"))
    }

    /// Encrypts the present sender key to those who are owed it.
    fn distribute(&mut self, id: &GroupId, owed: BTreeSet<DeviceId>, key: &Bytes) -> Result<Distribution, Error> {
        let Distribution { mut given, mut skipped } = Distribution::default();
        let content = Content { group: id.clone(), body: Body::SenderKey(key.clone()) }.to_bytes()?;
        for peer in owed {
            if !self.primitives.has_session(&peer) {
                skipped.push(peer);
                continue;
            }
            match self.seal_content(PacketKind::KeyDistribution, id, &peer, &content) {
                Ok(packet) => given.push((peer, packet)),
                Err(error) if error.class == ErrorClass::UntrustedIdentity => skipped.push(peer),
                Err(error) => return Err(error),
            }
        }
        Ok(Distribution { given, skipped })
    }
}

fn unknown(id: &GroupId) -> Error {
    Error::bad_request(format!("no group {id}"))
}

/// Bytes that no session is opened by.
pub(crate) fn plain(bytes: Bytes) -> Sealed {
    Sealed { opens_session: false, bytes }
}

impl<P: Primitives> Device for GroupDevice<P> {
    fn notebook(&self) -> &Notebook {
        self.primitives.notebook()
    }

    fn identity(&mut self) -> Result<Identity, Error> {
        self.primitives.identity()
    }

    fn publish(&mut self, peer: &DeviceId) -> Result<Bundle, Error> {
        self.primitives.publish(peer)
    }

    fn create_group(&mut self, group: &GroupId) -> Result<Output, Error> {
        if self.groups.contains_key(group) {
            return Err(Error::new(ErrorClass::Duplicate, format!("there is a group {group} already")));
        }
        self.groups.insert(group.clone(), Group::new(&self.me, [self.me.clone()]));
        Ok(Output::default())
    }

    fn change(&mut self, id: &GroupId, change: &Change) -> Result<Output, Error> {
        let Change { add, remove, refresh } = change;
        let group = self.membership(id)?;
        let (mut gone, mut new) = (BTreeSet::new(), BTreeSet::new());
        for device in remove {
            if !group.has(device) || !gone.insert(device) {
                return Err(Error::new(ErrorClass::NotMember, format!("{device} is not a member of {id}")));
            }
        }
        for Bundle { device, .. } in add {
            if group.has(device) && !gone.contains(device) || !new.insert(device) {
                return Err(Error::new(ErrorClass::Duplicate, format!("{device} is a member of {id} already")));
            }
        }
        if add.is_empty() && remove.is_empty() {
            if *refresh {
                self.group_mut(id)?.retire_key();
            }
            return Ok(Output::default());
        }
        self.introducing(add, |_| Ok(()))?;

        let add = add.iter().map(|bundle| bundle.device.clone()).collect::<Vec<_>>();
        let bytes = to_json(&RosterChange { add: add.clone(), remove: remove.clone() })?;
        self.drop_pending(id)?;
        self.group_mut(id)?.pending = Some(Pending { bytes: bytes.clone(), refresh: *refresh });
        let mut packets = vec![self.packet(PacketKind::Change, id, Address::Group(id.clone()), plain(bytes))];
        if !add.is_empty() {
            let stay = self.group(id)?.roster().iter().filter(|member| !gone.contains(member));
            let invitation = to_json(&Invitation { members: stay.chain(new).collect() })?;
            packets.push(self.packet(PacketKind::Welcome, id, Address::devices(add), plain(invitation)));
        }
        Ok(Output::packets(packets))
    }

    fn wants(&mut self, group: &GroupId) -> Result<Vec<DeviceId>, Error> {
        let group = self.group(group)?;
        let owed = group.owed().iter().filter(|peer| group.has(&self.me) && !self.primitives.has_session(peer));
        Ok(owed.cloned().collect())
    }

    fn introduce(&mut self, bundle: &Bundle) -> Result<Output, Error> {
        self.introducing(std::slice::from_ref(bundle), |_| Ok(Output::default()))
    }

    fn send(&mut self, id: &GroupId, plaintext: &[u8]) -> Result<Output, Error> {
        let group = self.membership(id)?;
        let mut fresh = group.needs_key();
        for device in group.stale() {
            let fact = Fact::StaleKey { group: id.clone(), device: device.clone() };
            fresh |= !self.primitives.notebook().consult(points::SEND, fact)?;
        }
        let owed = if fresh { group.everybody_else() } else { group.owed().clone() };
        if fresh {
            self.group_mut(id)?.replace_key();
            self.primitives.new_sender_key(id)?;
        }
        let needed = fresh || !owed.is_empty();
        let key = needed.then(|| self.primitives.distribution(id)).transpose()?.unwrap_or_default();
        let Distribution { given, skipped } = self.distribute(id, owed, &key)?;
        let (from, bytes) = match self.relabel.clone() {
            None => (self.me.clone(), self.primitives.group_encrypt(id, plaintext)?),
            Some(other) => (other.clone(), self.primitives.group_encrypt_as(id, &other, plaintext)?),
        };
        let message = self.packet(PacketKind::Message, id, Address::Group(id.clone()), plain(bytes));

        let keys = given
            .iter()
            .map(|(peer, _)| Ok((peer.clone(), self.account_key(peer)?)))
            .collect::<Result<Vec<_>, Error>>()?;
        let group = self.group_mut(id)?;
        if fresh {
            group.key_made(key);
        }
        for (peer, account_key) in keys {
            group.key_given(&peer, account_key);
        }
        group.sent(plaintext);
        for device in skipped {
            self.note(Event::Skipped { group: id.clone(), device });
        }
        let mut packets: Vec<_> = given.into_iter().map(|(_, packet)| packet).collect();
        packets.push(Packet { from, ..message });
        Ok(Output::packets(packets))
    }

    fn receive(&mut self, packet: &Packet) -> Result<Output, Error> {
        self.transcript.clear();
        match packet.kind {
            PacketKind::Change => self.receive_change(packet),
            PacketKind::Welcome => self.receive_welcome(packet),
            PacketKind::Message => self.receive_message(packet),
            PacketKind::KeyDistribution => self.receive_key_distribution(packet),
            PacketKind::KeyRequest => self.receive_key_request(packet),
            PacketKind::DeviceList => self.receive_device_list(packet),
            PacketKind::Proposal => Err(Error::bad_request("there are no proposals in this protocol")),
        }
    }

    fn roster(&mut self, group: &GroupId) -> Result<Roster, Error> {
        let members = self.group(group)?.roster().iter().cloned().collect();
        Ok(Roster { members, authenticated: false })
    }

    fn fingerprint(&mut self, group: &GroupId, peer: &DeviceId) -> Result<Fingerprint, Error> {
        claims::<P>(Capability::Fingerprint)?;
        self.group(group)?;
        self.primitives.fingerprint(peer)
    }

    fn resend(&mut self, id: &GroupId, plaintext: &[u8], bundle: &Bundle, acknowledged: bool) -> Result<Output, Error> {
        claims::<P>(Capability::Resend)?;
        let original = self.membership(id)?.original_key(&bundle.device, plaintext).cloned().unwrap_or_default();
        let account_key = self.primitives.bundle_identity(bundle)?.account_key;
        let device = bundle.device.clone();
        self.ask(points::RESEND, Fact::Resend { device, account_key, original, acknowledged })?;
        self.introducing(std::slice::from_ref(bundle), |this| {
            let packet = this.seal(PacketKind::Message, id, &bundle.device, Body::Message(plaintext.into()))?;
            Ok(Output::packets(vec![packet]))
        })
    }

    fn share_history(&mut self, group: &GroupId, to: &DeviceId) -> Result<Output, Error> {
        claims::<P>(Capability::History)?;
        self.group(group)?;
        self.ask(points::SHARE_HISTORY, Fact::History { group: group.clone(), device: to.clone() })?;
        let packets = self.seal_history(group, to)?;
        self.hand_over(group, to, packets)
    }

    fn request_keys(&mut self, group: &GroupId, holder: &DeviceId) -> Result<Output, Error> {
        claims::<P>(Capability::KeyRequest)?;
        self.group(group)?;
        let Bundle { bytes, .. } = self.primitives.publish(holder)?;
        let packet = self.packet(PacketKind::KeyRequest, group, Address::Device(holder.clone()), plain(bytes));
        Ok(Output::packets(vec![packet]))
    }

    fn link_request(&mut self) -> Result<LinkRequest, Error> {
        claims::<P>(Capability::Linking)?;
        self.primitives.link_request()
    }

    fn authorise(&mut self, request: &LinkRequest) -> Result<Authorisation, Error> {
        claims::<P>(Capability::Linking)?;
        self.primitives.authorise(request)
    }

    fn accept_authorisation(&mut self, authorisation: &Authorisation) -> Result<(), Error> {
        claims::<P>(Capability::Linking)?;
        self.primitives.accept_authorisation(authorisation)
    }

    fn tree_in_welcome(&mut self, _group: &GroupId, _inside: bool) -> Result<(), Error> {
        Err(never(Capability::RatchetTree))
    }

    fn ratchet_tree(&mut self, _group: &GroupId) -> Result<Bytes, Error> {
        Err(never(Capability::RatchetTree))
    }

    fn join_with_tree(&mut self, _welcome: &Packet, _ratchet_tree: &[u8]) -> Result<Output, Error> {
        Err(never(Capability::RatchetTree))
    }

    /// All but the archive of first hand-outs, which is an application's as its users' messages are.
    fn store(&mut self) -> Result<Bytes, Error> {
        claims::<P>(Capability::Persistence)?;
        postcard::to_stdvec(&self.state()?).map(Bytes::from).map_err(Error::internal)
    }

    fn standard_keys(&mut self) -> Result<Start, Error> {
        claims::<P>(Capability::StandardKeys)?;
        self.primitives.standard_keys()
    }

    fn transcript(&mut self) -> Result<Vec<Delivery>, Error> {
        claims::<P>(Capability::StandardKeys)?;
        let deliveries =
            self.transcript.iter().map(|Brought { kind, from, bytes }| self.primitives.delivery(*kind, from, bytes));
        Ok(deliveries.collect())
    }

    fn export_state(&mut self) -> Result<Bytes, Error> {
        claims::<P>(Capability::StateExport)?;
        to_json(&State { held: None, ..self.state()? })
    }

    fn misbehave(&mut self, fault: &Fault) -> Result<(), Error> {
        match fault {
            Fault::None => {
                self.relabel = None;
                self.primitives.publish_degenerate_keys(false);
            }
            Fault::RelabelledSender(other) => {
                claims::<P>(Capability::RelabelledSender)?;
                self.relabel = Some(other.clone());
            }
            Fault::DegenerateKey => {
                claims::<P>(Capability::DegenerateKey)?;
                self.primitives.publish_degenerate_keys(true);
            }
            Fault::WrongLeafSignature => return Err(never(Capability::WrongLeafSignature)),
            Fault::WrongParentHash => return Err(never(Capability::WrongParentHash)),
            Fault::WrongConfirmationTag => return Err(never(Capability::WrongConfirmationTag)),
        }
        Ok(())
    }

    fn craft(&mut self, forgery: &Forgery) -> Result<Forged, Error> {
        match forgery {
            Forgery::Message { group, claim, plaintext } => {
                claims::<P>(Capability::ForgedMessage)?;
                self.forge_message(group, claim, plaintext)
            }
            Forgery::KeyDistribution { group, claim, victims, plaintext } => {
                claims::<P>(Capability::ForgedKeyDistribution)?;
                self.forge_key_distribution(group, claim, victims, plaintext)
            }
            Forgery::Change { group, claim, add, remove } => {
                claims::<P>(Capability::ForgedChange)?;
                self.forge_change(group, claim, add, remove)
            }
            Forgery::UninvitedJoin { .. } => Err(never(Capability::UninvitedJoin)),
            Forgery::BrokenBundle { bundle } => {
                claims::<P>(Capability::BrokenBundle)?;
                Ok(Forged::Bundle(self.primitives.break_bundle(bundle)?))
            }
            Forgery::RewrittenIdentity { packet } => {
                claims::<P>(Capability::RewrittenIdentity)?;
                let sealed = Sealed { opens_session: packet.opens_session, bytes: packet.bytes.clone() };
                let Sealed { opens_session, bytes } = self.primitives.rewrite_identity(&sealed)?;
                Ok(Forged::Packets(vec![Packet { opens_session, bytes, ..packet.clone() }]))
            }
        }
    }
}
