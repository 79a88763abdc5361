//! The world of one scenario: devices in worker processes, their applications, and the network between them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use e2esm_adapter::{
    Address, Answer, Bundle, Bytes, Call, Capability, Change, DeviceId, Error, ErrorClass, Fact, Forged, Forgery,
    GroupId, Identity, KnownGroup, Message, Output, Packet, PacketKind, Stance,
};

use crate::policy::{App, Context};
use crate::vector::{Alteration, Role, Step, Vector};
use crate::worker::{Called, Failure, Limits, Worker};

use super::log::{Delivery, Entry, Given, Log, Matter};
use super::server::{Mail, Server};
use super::tape::Tape;
use super::{Cast, Layer, Observations, Stop};

/// A device of the vector.
pub(super) struct Seat {
    /// Who it claims to be.
    pub id: DeviceId,
    pub role: Role,
    pub identity: Identity,
    pub app: App,
}

/// Why a step did not succeed.
pub(super) enum Trouble {
    /// A device refused; the directory counts as one of the server's.
    Refused(DeviceId, Error),
    /// Its process failed.
    Failed(Failure),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// A refusal of the world itself: the directory has nothing, nobody is there.
impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Refused(DeviceId::new("server", "directory"), error)
    }
}

/// A message of the scenario: what it says, and who truly says it.
pub(super) struct Said {
    pub text: Bytes,
    pub by: DeviceId,
    pub group: GroupId,
}

/// A change of the server's own member list, made once the change packet has gone out.
#[derive(Default)]
pub(super) struct Membership {
    pub group: Option<GroupId>,
    pub add: Vec<DeviceId>,
    pub remove: Vec<DeviceId>,
}

pub(super) struct World<'v> {
    pub vector: &'v Vector,
    cast: &'v Cast<'v>,
    pub layer: Layer,
    pub seed: u64,
    /// One for each implementation of the cast.
    workers: Vec<Worker>,
    /// In which of them the devices are.
    places: BTreeMap<DeviceId, usize>,
    pub seats: BTreeMap<DeviceId, Seat>,
    pub server: Server,
    pub log: Log,
    pub said: BTreeMap<String, Said>,
    /// Messages that stood in a packet in the clear.
    pub exposed: BTreeSet<String>,
    /// Attempts whose author's own call was refused.
    pub refused: BTreeMap<String, (DeviceId, Error)>,
    /// The step being played, for the log, and its name.
    pub step: usize,
    pub name: Option<String>,
    /// What one device is given, where that is wanted.
    pub tape: Option<Tape>,
}

impl<'v> World<'v> {
    pub(super) fn new(
        vector: &'v Vector,
        cast: &'v Cast<'v>,
        layer: Layer,
        limits: Limits,
        seed: u64,
    ) -> Result<Self, Failure> {
        let mut world = Self {
            vector,
            cast,
            layer,
            seed,
            workers: cast.start(limits)?,
            places: BTreeMap::new(),
            seats: BTreeMap::new(),
            server: Server::default(),
            log: Log::default(),
            said: BTreeMap::new(),
            exposed: BTreeSet::new(),
            refused: BTreeMap::new(),
            step: 0,
            name: None,
            tape: None,
        };
        let thieves = vector.thieves();
        let mut users = BTreeSet::new();
        // Honest lists first: see `Server::lists`.
        for role in [Role::Honest, Role::Insider, Role::Outsider] {
            for actor in vector.actors.iter().filter(|actor| actor.role == role) {
                for device in &actor.devices {
                    let handle = DeviceId::new(&actor.user.0, device);
                    if !thieves.contains(&handle) {
                        let id = actor.poses_as.clone().unwrap_or_else(|| handle.clone());
                        // A user's first device has the account, and so a list to publish; an impostor publishes its own.
                        let first = users.insert(&actor.user);
                        world.make_device(&handle, &id, role, first || actor.poses_as.is_some())?;
                    }
                }
            }
        }
        Ok(world)
    }

    fn make_device(&mut self, handle: &DeviceId, id: &DeviceId, role: Role, lists: bool) -> Result<(), Failure> {
        let cannot = |error: Error| Failure::Nonsense { reason: format!("it cannot make a device: {error}") };
        let place = self.cast.place(handle);
        self.places.insert(handle.clone(), place);
        self.worker(handle)?.device(handle, id)?.map_err(cannot)?;
        self.take_seat(handle, id, role, lists)
    }

    /// Gives a device that the worker has just made its place here.
    fn take_seat(&mut self, handle: &DeviceId, id: &DeviceId, role: Role, lists: bool) -> Result<(), Failure> {
        let identity = match self.worker(handle)?.call(handle, Call::Identity {}, |_, _| Ok(true))?.result {
            Ok(Answer::Identity(identity)) => identity,
            other => return Err(Failure::Nonsense { reason: format!("to `identity` it answered {other:?}") }),
        };
        let app = App::new(id, &identity, &self.vector.policy);
        let judges = self.layer == Layer::Policy && role == Role::Honest;
        self.worker(handle)?.stance(handle, if judges { Stance::Ask } else { Stance::Yes })?;
        if lists {
            self.server.publish_list(app.device_list().clone());
        }
        if handle == id {
            self.server.register(id, handle);
        }
        self.seats.insert(handle.clone(), Seat { id: id.clone(), role, identity, app });
        Ok(())
    }

    /// A thief's device, made from a copied state.
    pub(super) fn restore(&mut self, handle: &DeviceId, robbed: &DeviceId, state: Bytes) -> Result<(), Trouble> {
        let id = self.id(robbed);
        // A state is only read by the implementation that wrote it.
        let place = self.places.get(robbed).copied().unwrap_or_default();
        self.places.insert(handle.clone(), place);
        self.worker(handle)?.restore(handle, &id, state)?.map_err(|error| Trouble::Refused(handle.clone(), error))?;
        self.take_seat(handle, &id, Role::Outsider, false)?;
        // The application's state is on the same device: a thief gets it too.
        let app = self.seats.get(robbed).map(|seat| seat.app.clone());
        if let (Some(seat), Some(app)) = (self.seats.get_mut(handle), app) {
            seat.app = app;
        }
        Ok(())
    }

    pub(super) fn play(&mut self) -> Observations {
        let mut checks = Vec::new();
        let mut stop = None;
        let vector = self.vector;
        for (index, step) in vector.steps.iter().enumerate() {
            self.step = index;
            self.name = step.name().map(str::to_owned);
            self.log.push(Entry::Step(index));
            let result = match step {
                Step::Expect(check) => self.evaluate(check).map(|checked| checks.push(checked)),
                step => self.take(step),
            };
            match result {
                Ok(()) => {}
                Err(Trouble::Refused(device, error)) => match step.name() {
                    Some(name) => {
                        self.refused.insert(name.to_owned(), (device, error));
                    }
                    None => {
                        let action = crate::vector::describe(step);
                        stop = Some(Stop::Refused { step: index, action, reason: error.to_string() });
                        break;
                    }
                },
                Err(Trouble::Failed(failure)) => {
                    stop = Some(Stop::Failed { step: index, failure });
                    break;
                }
            }
        }
        if stop.is_none() {
            let last = vector.steps.len().saturating_sub(1);
            let ended: Result<Vec<_>, _> = self.workers.drain(..).map(Worker::finish).collect();
            stop = ended.err().map(|failure| Stop::Failed { step: last, failure });
        }
        let log = std::mem::take(&mut self.log);
        Observations { checks, stop, traffic: self.server.traffic, log }
    }

    /// The process in which a device is.
    fn worker(&mut self, handle: &DeviceId) -> Result<&mut Worker, Failure> {
        let place = self.places.get(handle).copied().unwrap_or_default();
        self.workers.get_mut(place).ok_or_else(|| unplaced(handle))
    }

    pub(super) fn id(&self, handle: &DeviceId) -> DeviceId {
        self.seats.get(handle).map_or_else(|| handle.clone(), |seat| seat.id.clone())
    }

    pub(super) fn supports(&self, capability: Capability) -> bool {
        self.cast.supports(capability)
    }

    /// A call to a device, logged; questions are answered by its application.
    pub(super) fn call(&mut self, handle: &DeviceId, call: Call) -> Result<Answer, Trouble> {
        let verb = call.verb();
        if let Some(tape) = self.tape.as_mut().filter(|tape| tape.device == *handle) {
            tape.acted(&call);
        }
        let given = self.given(&call);
        let called = self.ask(handle, call, None)?;
        let error = called.result.as_ref().err().cloned();
        // What it was asked and noticed on the way, then what came of it.
        self.note_events(handle, &called);
        self.log.push(Entry::Called { device: handle.clone(), verb, given, error });
        self.note_rosters(handle)?;
        called.result.map_err(|error| Trouble::Refused(handle.clone(), error))
    }

    /// What of a call was made by other devices.
    fn given(&self, call: &Call) -> Vec<Given> {
        let bundle = |bundle: &Bundle| Given {
            matter: Matter::Bundle,
            from: self.server.handle_of(&bundle.device).unwrap_or_else(|| bundle.device.clone()),
            bytes: bundle.bytes.clone(),
        };
        match call {
            Call::Change { change, .. } => change.add.iter().map(bundle).collect(),
            Call::Introduce { bundle: one } | Call::Resend { bundle: one, .. } => vec![bundle(one)],
            Call::ExternalJoin { group_info } => {
                // It is the answer to the question before.
                let from = self.log.entries.iter().rev().find_map(|entry| match entry {
                    Entry::Called { device, verb: "group_info", .. } => Some(device.clone()),
                    _ => None,
                });
                let given = |from| Given { matter: Matter::GroupInfo, from, bytes: group_info.clone() };
                from.map(given).into_iter().collect()
            }
            _ => Vec::new(),
        }
    }

    /// The same, for calls that produce packets.
    pub(super) fn output(&mut self, handle: &DeviceId, call: Call) -> Result<Output, Trouble> {
        match self.call(handle, call)? {
            Answer::Output(output) => {
                // Whatever is read counts, whichever call brought it.
                if let Some(message) = &output.message {
                    self.log.push(Entry::Delivered(Delivery {
                        name: self.name.clone(),
                        kind: PacketKind::Message,
                        label: message.sender.clone(),
                        to: handle.clone(),
                        tapped: false,
                        bytes: Bytes::default(),
                        result: Ok(Some(message.clone())),
                    }));
                }
                Ok(output)
            }
            other => Err(odd("an output", &other)),
        }
    }

    fn ask(&mut self, handle: &DeviceId, call: Call, packet: Option<&Packet>) -> Result<Called, Failure> {
        let server = &self.server;
        let Some(seat) = self.seats.get_mut(handle) else {
            return Err(Failure::Nonsense { reason: format!("the scenario has no device {handle} at this point") });
        };
        let lists = |user: &_| server.lists_of(user);
        // At the layer library, and for those who do not follow the policy, whatever is asked is affirmed.
        let judges = self.layer == Layer::Policy && seat.role == Role::Honest;
        let app = &mut seat.app;
        let place = self.places.get(handle).copied().unwrap_or_default();
        let worker = self.workers.get_mut(place).ok_or_else(|| unplaced(handle))?;
        worker.call(handle, call, |_, fact: &Fact| Ok(!judges || app.decide(fact, &Context { packet, lists: &lists })))
    }

    fn note_events(&mut self, handle: &DeviceId, called: &Called) {
        for event in &called.events {
            self.log.push(Entry::Noticed { device: handle.clone(), event: event.clone() });
        }
    }

    /// Tells the device's application how its rosters stand: a signed roster is one that the sender has in mind.
    fn note_rosters(&mut self, handle: &DeviceId) -> Result<(), Failure> {
        if self.layer == Layer::Library {
            return Ok(());
        }
        for group in self.server.groups() {
            let answer = self.worker(handle)?.call(handle, Call::Roster { group: group.clone() }, |_, _| Ok(true))?;
            if let (Ok(Answer::Roster(roster)), Some(seat)) = (answer.result, self.seats.get_mut(handle)) {
                seat.app.note_roster(&group, &roster.members);
            }
        }
        Ok(())
    }

    /// A bundle of `device`, claimed from the directory by `peer`.
    pub(super) fn claim(&mut self, device: &DeviceId, peer: &DeviceId) -> Result<Bundle, Trouble> {
        let owner = self
            .server
            .handle_of(device)
            .ok_or_else(|| Error::bad_request(format!("the directory has no bundle of {device}")))?;
        let bundle = self.publish(&owner, &self.id(peer))?;
        match self.server.broken.remove(device) {
            Some(by) => {
                self.log
                    .push(Entry::Server(format!("the server hands out a bundle of {device} with a broken signature")));
                match self.craft(&by, Forgery::BrokenBundle { bundle })? {
                    Forged::Bundle(bundle) => Ok(bundle),
                    Forged::Packets(_) => Err(odd("a bundle", &"packets")),
                }
            }
            None => Ok(bundle),
        }
    }

    pub(super) fn publish(&mut self, owner: &DeviceId, peer: &DeviceId) -> Result<Bundle, Trouble> {
        match self.call(owner, Call::Publish { peer: peer.clone() })? {
            Answer::Bundle(bundle) => {
                self.tape_keys(owner)?;
                Ok(bundle)
            }
            other => Err(odd("a bundle", &other)),
        }
    }

    /// The private keys of what a taped device has published just now.
    fn tape_keys(&mut self, owner: &DeviceId) -> Result<(), Trouble> {
        if self.tape.as_ref().is_none_or(|tape| tape.device != *owner) {
            return Ok(());
        }
        let keys = self.worker(owner)?.call(owner, Call::StandardKeys {}, |_, _| Ok(true))?;
        match (keys.result, &mut self.tape) {
            (Ok(Answer::Start(start)), Some(tape)) => {
                tape.published(*start);
                Ok(())
            }
            (Ok(other), _) => Err(odd("private keys", &other)),
            (Err(error), _) => Err(Trouble::Refused(owner.clone(), error)),
        }
    }

    /// What a taped device has just been given.
    fn tape_packet(
        &mut self,
        to: &DeviceId,
        mail: &Mail,
        result: &Result<Option<Message>, Error>,
    ) -> Result<(), Failure> {
        if self.tape.as_ref().is_none_or(|tape| tape.device != *to) {
            return Ok(());
        }
        let transcript = self.worker(to)?.call(to, Call::Transcript {}, |_, _| Ok(true))?;
        let deliveries = match transcript.result {
            Ok(Answer::Deliveries(deliveries)) => Some(deliveries),
            _ => None,
        };
        if let Some(tape) = &mut self.tape {
            tape.heard(mail.name.clone(), &mail.packet, deliveries, result.clone());
        }
        Ok(())
    }

    pub(super) fn craft(&mut self, by: &DeviceId, forgery: Forgery) -> Result<Forged, Trouble> {
        match self.call(by, Call::Craft { forgery })? {
            Answer::Forged(forged) => Ok(forged),
            other => Err(odd("a forgery", &other)),
        }
    }

    pub(super) fn known(&self, group: &GroupId) -> KnownGroup {
        KnownGroup { id: group.clone(), members: self.server.members(group), changes: self.server.changes(group) }
    }

    /// A change by `by`, with bundles claimed for those who are added.
    pub(super) fn change(
        &mut self,
        by: &DeviceId,
        group: &GroupId,
        add: &[DeviceId],
        remove: &[DeviceId],
        refresh: bool,
    ) -> Result<Output, Trouble> {
        let mut bundles = Vec::new();
        for device in add {
            bundles.push(self.claim(device, by)?);
        }
        self.may_change(by, add, remove)?;
        let change = Change { add: bundles, remove: remove.to_vec(), refresh };
        self.output(by, Call::Change { group: group.clone(), change })
    }

    /// An honest application does not let its own user do what others would refuse.
    fn may_change(&self, by: &DeviceId, add: &[DeviceId], remove: &[DeviceId]) -> Result<(), Trouble> {
        let judged = self.seats.get(by).filter(|seat| self.layer == Layer::Policy && seat.role == Role::Honest);
        let allowed = judged.is_none_or(|seat| (add.is_empty() || seat.app.may_add()) && seat.app.may_remove(remove));
        match allowed {
            true => Ok(()),
            false => Err(Trouble::Refused(by.clone(), Error::new(ErrorClass::Refused, "its user is not an admin"))),
        }
    }

    /// Sends a message, after claiming bundles for those with whom a session is wanted.
    pub(super) fn send(&mut self, by: &DeviceId, group: &GroupId, text: Bytes) -> Result<(), Trouble> {
        let wanted = match self.call(by, Call::Wants { group: group.clone() })? {
            Answer::Devices(devices) => devices,
            other => return Err(odd("devices", &other)),
        };
        for device in wanted {
            // A device with whom no session may be opened is left out of the message; the log has the refusal.
            match self.introduce(by, &device) {
                Ok(()) | Err(Trouble::Refused(..)) => {}
                Err(failed) => return Err(failed),
            }
        }
        let output = self.output(by, Call::Send { group: group.clone(), plaintext: text })?;
        self.route(by, output.packets, Membership::default())
    }

    /// `by` claims a bundle of `device` and opens a session with it.
    pub(super) fn introduce(&mut self, by: &DeviceId, device: &DeviceId) -> Result<(), Trouble> {
        let bundle = self.claim(device, by)?;
        let output = self.output(by, Call::Introduce { bundle })?;
        self.route(by, output.packets, Membership::default())
    }

    /// Takes packets from `author` to wherever they go, and the answers to them, until nothing is left. After the first
    /// change packet the server's own member list follows.
    pub(super) fn route(
        &mut self,
        author: &DeviceId,
        packets: Vec<Packet>,
        membership: Membership,
    ) -> Result<(), Trouble> {
        let name = self.name.clone();
        let mut queue: VecDeque<(DeviceId, Mail)> =
            packets.into_iter().map(|packet| (author.clone(), Mail { name: name.clone(), packet })).collect();
        let mut pending = Some(membership);
        while let Some((author, mut mail)) = queue.pop_front() {
            self.seal(&author, &mut mail.packet);
            self.server.store(&mail);
            self.search(&mail.packet);
            self.log.push(Entry::Sent {
                device: author.clone(),
                kind: mail.packet.kind,
                to: mail.packet.to.clone(),
                bytes: mail.packet.bytes.0.len(),
            });
            let recipients = self.server.recipients(&author, &mail.packet);
            for to in &recipients {
                for altered in self.altered(&author, to, &mail)? {
                    queue.extend(self.hand_over(to, altered, false)?);
                }
                queue.extend(self.hand_over(to, mail.clone(), false)?);
            }
            // Whoever works with the server is given everything, and tries it.
            for tap in self.taps() {
                if !recipients.contains(&tap) && tap != author {
                    // Its answers to what it was only shown go nowhere: what the server lets it say is the scenario's to say.
                    self.hand_over(&tap, mail.clone(), true)?;
                }
            }
            if mail.packet.kind == PacketKind::Change
                && let Some(Membership { group: Some(group), add, remove }) = pending.take()
            {
                self.server.change_group(&group, &add, &remove);
            }
        }
        Ok(())
    }

    fn seal(&mut self, author: &DeviceId, packet: &mut Packet) {
        if self.layer == Layer::Policy
            && packet.seal.is_none()
            && let Some(seat) = self.seats.get_mut(author)
        {
            seat.app.seal(packet);
        }
    }

    /// What stands in a packet in the clear, the server has read.
    fn search(&mut self, packet: &Packet) {
        for (name, said) in &self.said {
            let text = said.text.as_ref();
            if packet.bytes.as_ref().windows(text.len()).any(|window| window == text)
                && self.exposed.insert(name.clone())
            {
                self.log.push(Entry::Server(format!("{name} stands in a packet in the clear")));
            }
        }
    }

    fn taps(&self) -> Vec<DeviceId> {
        self.seats.iter().filter(|(_, seat)| seat.role == Role::Outsider).map(|(handle, _)| handle.clone()).collect()
    }

    /// The copies that the server slips in ahead of a packet.
    fn altered(&mut self, author: &DeviceId, to: &DeviceId, mail: &Mail) -> Result<Vec<Mail>, Trouble> {
        let mut copies = Vec::new();
        for rule in self.server.tampering.clone() {
            if rule.from != *author || !rule.to.contains(to) {
                continue;
            }
            let mut packet = mail.packet.clone();
            match &rule.alter {
                Alteration::RelabelOpening { claim } if packet.opens_session => packet.from = claim.clone(),
                Alteration::RewriteIdentity { by } if packet.opens_session => {
                    match self.craft(by, Forgery::RewrittenIdentity { packet })? {
                        Forged::Packets(mut packets) => match packets.pop() {
                            Some(rewritten) => packet = rewritten,
                            None => continue,
                        },
                        Forged::Bundle(_) => return Err(odd("a packet", &"a bundle")),
                    }
                }
                Alteration::FlipLastBit {} => match packet.bytes.0.last_mut() {
                    Some(byte) => *byte ^= 1,
                    None => continue,
                },
                _ => continue,
            }
            self.log.push(Entry::Server(format!("the server slips an altered copy (`{}`) in ahead of it", rule.name)));
            copies.push(Mail { name: Some(rule.name), packet });
        }
        Ok(copies)
    }

    /// Hands one packet to one device, unless it is kept back; what the device answers goes on its way.
    pub(super) fn hand_over(
        &mut self,
        to: &DeviceId,
        mail: Mail,
        tapped: bool,
    ) -> Result<Vec<(DeviceId, Mail)>, Trouble> {
        if self.server.keeps_back(to, &mail) {
            self.log.push(Entry::Withheld { from: to.clone(), kind: mail.packet.kind });
            return Ok(Vec::new());
        }
        if !self.seats.contains_key(to) {
            return Ok(Vec::new());
        }
        if !tapped {
            self.server.traffic.bytes_fanned_out += mail.packet.bytes.0.len() as u64;
        }
        let called = self.ask(to, Call::Receive { packet: mail.packet.clone() }, Some(&mail.packet))?;
        self.note_events(to, &called);
        let (result, packets) = match called.result {
            Ok(Answer::Output(output)) => (Ok(output.message), output.packets),
            Ok(other) => return Err(odd("an output", &other)),
            Err(error) => (Err(error), Vec::new()),
        };
        self.tape_packet(to, &mail, &result)?;
        self.log.push(Entry::Delivered(Delivery {
            name: mail.name.clone(),
            kind: mail.packet.kind,
            label: mail.packet.from.clone(),
            to: to.clone(),
            tapped,
            bytes: mail.packet.bytes,
            result,
        }));
        self.note_rosters(to)?;
        Ok(packets.into_iter().map(|packet| (to.clone(), Mail { name: mail.name.clone(), packet })).collect())
    }

    /// Hands mail over outside the usual course, and routes what comes in answer.
    pub(super) fn redeliver(&mut self, to: &DeviceId, mail: Mail) -> Result<(), Trouble> {
        for (author, mail) in self.hand_over(to, mail, false)? {
            self.route(&author, vec![mail.packet], Membership::default())?;
        }
        Ok(())
    }

    /// The server's word to a member about one more device.
    pub(super) fn device_list_packet(&mut self, device: &DeviceId, to: &DeviceId) -> Result<Packet, Trouble> {
        let id = self.id(device);
        let bundle = self.publish(device, &self.id(to))?;
        let bytes = serde_json::to_vec(&bundle).map_err(Error::internal)?;
        // A group in which both users are, if there is one.
        let user = &id.user;
        let groups = self.server.groups_with(&self.id(to));
        let shared = groups.iter().find(|group| self.server.members(group).iter().any(|member| member.user == *user));
        let group = shared.or(groups.first()).cloned();
        Ok(Packet {
            kind: PacketKind::DeviceList,
            group: group.ok_or_else(|| Error::bad_request(format!("{to} is in no group")))?,
            from: id,
            to: Address::Device(self.id(to)),
            opens_session: false,
            bytes: bytes.into(),
            seal: None,
        })
    }
}

fn unplaced(handle: &DeviceId) -> Failure {
    Failure::Nonsense { reason: format!("the scenario has no process for {handle} at this point") }
}

/// An answer of the wrong kind.
pub(super) fn odd(expected: &str, answer: &impl std::fmt::Debug) -> Trouble {
    Trouble::Failed(Failure::Nonsense { reason: format!("expected {expected}, it answered {answer:?}") })
}

/// Refusals that only say "I was not asked anything I know".
pub(super) fn is_unsupported(trouble: &Trouble) -> bool {
    matches!(trouble, Trouble::Refused(_, error) if error.class == ErrorClass::Unsupported)
}
