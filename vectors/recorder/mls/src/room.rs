//! Devices of one implementation, the server between them, and one device that is only looked at: what is delivered to it
//! becomes a recorded vector.
//!
//! The server here is honest to all others and delivers at once. What the passive device gets, and when, is the script's.
//! Epochs and leaves are reckoned from RFC 9420 alone (sections 7.7 and 12.4), not asked from anybody.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use e2esm_adapter::{
    Bundle, Bytes, Change, Delivered, Device, DeviceId, ErrorClass, Fault, Forged, Forgery, GroupId, KnownGroup,
    Output, Packet, PacketKind,
};
use e2esm_playback::{Draft, Recorded, Rule};

use crate::{Recorder, Recording, delivery, epoch_reached, message_read, removed_from};

/// Who takes part: a name is a user's, and of a user with one device also that device's.
pub type Name = &'static str;

/// What is said about a vector.
pub struct Head {
    /// `theme/name`, without the protocol and the recording's label.
    pub id: &'static str,
    /// A few words.
    pub title: &'static str,
    /// What happens and what a sound device does.
    pub description: &'static str,
    /// Ids of requirements.
    pub requirements: &'static [&'static str],
    /// The scenario that it is from.
    pub scenario: Option<&'static str>,
    /// Who is looked at.
    pub passive: Name,
    /// How many key packages that device has published.
    pub key_packages: usize,
}

/// A group, as the server knows it.
struct Group {
    epoch: u64,
    leaves: BTreeMap<u32, Name>,
}

/// A change of a group that somebody has made.
#[derive(Clone)]
pub struct Changed {
    /// Of which group.
    pub group: &'static str,
    /// The epoch that it leads to.
    pub epoch: u64,
    /// The commit.
    pub commit: Vec<u8>,
    /// What lets newcomers in.
    pub welcome: Option<Vec<u8>>,
    /// Of the epoch that it leads to, from a member who is there. None before it has been [spread](Room::spread).
    authenticator: Option<Bytes>,
    packets: Vec<Packet>,
    add: Vec<Name>,
    remove: Vec<Name>,
}

impl Changed {
    /// What must hold once this is in force.
    fn entered(&self) -> Delivered {
        let epoch_authenticator = self.authenticator.clone();
        Delivered { epoch_authenticator, ..epoch_reached(self.group, self.epoch) }
    }
}

/// A message that somebody has sent.
#[derive(Clone)]
pub struct Said {
    /// Its bytes.
    pub packet: Vec<u8>,
    group: &'static str,
    text: String,
    leaf: u32,
}

impl Said {
    /// The same from this leaf, for a sender that has left it.
    #[must_use]
    pub fn at(self, leaf: u32) -> Self {
        Self { leaf, ..self }
    }

    /// What must hold once it has been read.
    pub fn read(&self) -> Delivered {
        message_read(self.group, &self.text, self.leaf)
    }
}

/// What is wrong with a delivery.
pub struct Wrong<'a> {
    /// See [`e2esm_playback::Fault::packet`].
    pub packet: &'a str,
    /// See [`e2esm_playback::Fault::field`].
    pub field: &'a str,
    /// See [`e2esm_playback::Fault::change`].
    pub change: &'a str,
    /// Flags.
    pub flags: &'a [&'a str],
    /// The delivery that it would be otherwise.
    pub twin: &'a str,
}

/// Everybody, and the vector in the making.
pub struct Room<'a> {
    recorder: &'a Recorder,
    by: Recording<'a>,
    passive: Name,
    devices: BTreeMap<Name, Box<dyn Device>>,
    published: Vec<Bundle>,
    groups: BTreeMap<&'static str, Group>,
    draft: Draft,
}

/// The device of a name: `alice` has one phone, `alice/laptop` is a second device.
pub fn device_id(name: Name) -> DeviceId {
    match name.split_once('/') {
        Some((user, device)) => DeviceId::new(user, device),
        None => DeviceId::new(name, "phone"),
    }
}

impl<'a> Room<'a> {
    /// Nobody but the passive device, which has published its key packages.
    ///
    /// # Errors
    /// The adapter's.
    pub fn new(recorder: &'a Recorder, by: Recording<'a>, head: &Head) -> Result<Self> {
        let mut device = by.adapter.device(&device_id(head.passive))?;
        let published =
            (0..head.key_packages).map(|_| device.publish(&device_id("alice"))).collect::<Result<Vec<_>, _>>()?;
        let start = device.standard_keys()?;
        let id = format!("mls/{}-{}", head.id, by.label);
        let mut draft = Draft::new(&id, head.title, head.description, head.requirements, &recorder.date, start);
        if let Some(scenario) = head.scenario {
            draft.from_scenario(scenario);
        }
        let (devices, groups) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self { recorder, by, passive: head.passive, devices, published, groups, draft })
    }

    /// How the members' commits and proposals are sent: the end of a fault's packet.
    pub fn handshake(&self) -> &'static str {
        self.by.handshake
    }

    /// Somebody's device; made when it is first spoken of.
    ///
    /// # Errors
    /// The adapter's; for the passive device, which does nothing.
    pub fn device(&mut self, name: Name) -> Result<&mut Box<dyn Device>> {
        ensure!(name != self.passive, "{name} only receives");
        if !self.devices.contains_key(name) {
            self.devices.insert(name, self.by.adapter.device(&device_id(name))?);
        }
        self.devices.get_mut(name).with_context(|| format!("no device {name}"))
    }

    fn group(&mut self, group: &str) -> Result<&mut Group> {
        self.groups.get_mut(group).with_context(|| format!("no group {group}"))
    }

    fn bundle(&mut self, name: Name) -> Result<Bundle> {
        if name == self.passive {
            ensure!(!self.published.is_empty(), "{name} has no key package left");
            return Ok(self.published.remove(0));
        }
        Ok(self.device(name)?.publish(&device_id("alice"))?)
    }

    /// A new group with everybody in it.
    ///
    /// # Errors
    /// Anybody's.
    pub fn found(&mut self, group: &'static str, by: Name, others: &[Name]) -> Result<Changed> {
        self.device(by)?.create_group(&GroupId(group.to_owned()))?;
        self.groups.insert(group, Group { epoch: 0, leaves: BTreeMap::from([(0, by)]) });
        self.change(group, by, others, &[], false)
    }

    /// A change that all take at once, those included whom it removes.
    ///
    /// # Errors
    /// Anybody's.
    pub fn change(
        &mut self,
        group: &'static str,
        by: Name,
        add: &[Name],
        remove: &[Name],
        refresh: bool,
    ) -> Result<Changed> {
        let mut changed = self.prepare(group, by, add, remove, refresh)?;
        self.spread(&mut changed, &[])?;
        Ok(changed)
    }

    /// A change that nobody has been given yet.
    ///
    /// # Errors
    /// The author's.
    pub fn prepare(
        &mut self,
        group: &'static str,
        by: Name,
        add: &[Name],
        remove: &[Name],
        refresh: bool,
    ) -> Result<Changed> {
        let bundles = add.iter().map(|name| self.bundle(name)).collect::<Result<Vec<_>>>()?;
        let change = Change { add: bundles, remove: remove.iter().map(|name| device_id(name)).collect(), refresh };
        let output = self.device(by)?.change(&GroupId(group.to_owned()), &change)?;
        self.changed(group, output, add, remove)
    }

    fn changed(&mut self, group: &'static str, output: Output, add: &[Name], remove: &[Name]) -> Result<Changed> {
        let of_kind =
            |kind| output.packets.iter().find(|packet| packet.kind == kind).map(|packet| packet.bytes.0.clone());
        Ok(Changed {
            group,
            epoch: self.group(group)?.epoch + 1,
            commit: of_kind(PacketKind::Change).context("a change without a commit")?,
            welcome: of_kind(PacketKind::Welcome),
            authenticator: None,
            packets: output.packets.clone(),
            add: add.to_vec(),
            remove: remove.to_vec(),
        })
    }

    /// Gives a change to all members, except these, and its Welcome to the newcomers.
    ///
    /// # Errors
    /// Anybody's.
    pub fn spread(&mut self, changed: &mut Changed, except: &[Name]) -> Result<()> {
        let mut to: Vec<Name> = self.group(changed.group)?.leaves.values().copied().collect();
        to.retain(|name| !except.contains(name));
        for packet in &changed.packets {
            let to = if packet.kind == PacketKind::Welcome { &changed.add } else { &to };
            self.give(packet, to)?;
        }
        to.retain(|name| *name != self.passive && !changed.remove.contains(name));
        let witness = to.first().context("nobody is left")?;
        let authenticator =
            self.device(witness)?.fingerprint(&GroupId(changed.group.to_owned()), &device_id(witness))?;
        changed.authenticator = Some(hex::decode(authenticator.value)?.into());
        let group = self.group(changed.group)?;
        group.epoch = changed.epoch;
        group.leaves.retain(|_, name| !changed.remove.contains(name));
        for name in &changed.add {
            // The leftmost blank leaf.
            let leaf = (0..).find(|leaf| !group.leaves.contains_key(leaf)).unwrap_or_default();
            group.leaves.insert(leaf, name);
        }
        Ok(())
    }

    /// Gives a packet to these, all of whom take it; the passive one is passed over.
    ///
    /// # Errors
    /// Anybody's.
    pub fn give(&mut self, packet: &Packet, to: &[Name]) -> Result<()> {
        let passive = self.passive;
        for name in to.iter().filter(|name| **name != passive) {
            self.device(name)?.receive(packet).with_context(|| format!("{name} receives a {}", packet.kind.label()))?;
        }
        Ok(())
    }

    /// A message, which everybody else who is a member reads.
    ///
    /// # Errors
    /// Anybody's.
    pub fn say(&mut self, group: &'static str, by: Name, text: &str) -> Result<Said> {
        let (said, packet) = self.utter(group, by, text)?;
        let to: Vec<Name> = self.group(group)?.leaves.values().copied().filter(|name| *name != by).collect();
        self.give(&packet, &to)?;
        Ok(said)
    }

    /// A message that nobody has been given.
    ///
    /// # Errors
    /// The author's.
    pub fn mutter(&mut self, group: &'static str, by: Name, text: &str) -> Result<Said> {
        Ok(self.utter(group, by, text)?.0)
    }

    fn utter(&mut self, group: &'static str, by: Name, text: &str) -> Result<(Said, Packet)> {
        let leaf = self.leaf(group, by).unwrap_or_default();
        let output = self.device(by)?.send(&GroupId(group.to_owned()), text.as_bytes())?;
        let packet = output.packets.into_iter().next().context("nothing was sent")?;
        Ok((Said { packet: packet.bytes.0.clone(), group, text: text.to_owned(), leaf }, packet))
    }

    /// Where somebody is in a group.
    pub fn leaf(&self, group: &str, name: Name) -> Option<u32> {
        let leaves = &self.groups.get(group)?.leaves;
        leaves.iter().find(|(_, other)| **other == name).map(|(leaf, _)| *leaf)
    }

    /// Somebody joins by what a member has published; everybody takes it.
    ///
    /// # Errors
    /// Anybody's.
    pub fn join_externally(&mut self, group: &'static str, host: Name, joiner: Name) -> Result<Changed> {
        let info = self.device(host)?.group_info(&GroupId(group.to_owned()))?;
        let output = self.device(joiner)?.external_join(info.as_ref())?;
        let mut changed = self.changed(group, output, &[joiner], &[])?;
        self.spread(&mut changed, &[])?;
        Ok(changed)
    }

    /// What mallory, who is not a member, makes of what the server knows of a group.
    ///
    /// # Errors
    /// The adapter's; if no packet of this kind comes of it.
    pub fn forged(
        &mut self,
        group: &'static str,
        kind: PacketKind,
        forgery: impl FnOnce(&mut Box<dyn Device>, KnownGroup) -> Result<Forgery>,
    ) -> Result<Vec<u8>> {
        let Group { epoch, leaves } = self.group(group)?;
        let members = leaves.values().map(|name| device_id(name)).collect();
        let known = KnownGroup { id: GroupId(group.to_owned()), members, changes: *epoch };
        let mallory = self.device("mallory")?;
        let forgery = forgery(mallory, known)?;
        let Forged::Packets(packets) = mallory.craft(&forgery)? else { bail!("not packets") };
        let packet = packets.into_iter().find(|packet| packet.kind == kind);
        Ok(packet.context("no such packet")?.bytes.0)
    }

    /// A message by an insider who bears another member's name.
    ///
    /// # Errors
    /// The adapter's.
    pub fn forge_name(&mut self, group: &'static str, insider: Name, victim: Name, text: &str) -> Result<Vec<u8>> {
        let device = self.device(insider)?;
        device.misbehave(&Fault::RelabelledSender(device_id(victim)))?;
        let output = device.send(&GroupId(group.to_owned()), text.as_bytes())?;
        device.misbehave(&Fault::None)?;
        Ok(output.packets.into_iter().next().context("nothing was sent")?.bytes.0)
    }

    /// A second device of a user, vouched for by the first.
    ///
    /// # Errors
    /// The adapter's.
    pub fn link(&mut self, first: Name, second: Name) -> Result<()> {
        let request = self.device(second)?.link_request()?;
        let authorisation = self.device(first)?.authorise(&request)?;
        Ok(self.device(second)?.accept_authorisation(&authorisation)?)
    }

    /// The passive device is let in.
    ///
    /// # Errors
    /// If the change lets nobody in.
    pub fn hear_welcome(&mut self, name: &str, comment: &str, changed: &Changed) -> Result<()> {
        let welcome = changed.welcome.clone().context("nobody is let in")?;
        self.draft.accept(name, comment, delivery(&welcome), changed.entered());
        Ok(())
    }

    /// The passive device takes a change.
    pub fn hear_change(&mut self, name: &str, comment: &str, changed: &Changed) {
        let facts =
            if changed.remove.contains(&self.passive) { removed_from(changed.group) } else { changed.entered() };
        self.draft.accept(name, comment, delivery(&changed.commit), facts);
    }

    /// The passive device reads a message.
    pub fn hear(&mut self, name: &str, comment: &str, said: &Said) {
        self.draft.accept(name, comment, delivery(&said.packet), said.read());
    }

    /// The passive device reads a message that comes out of its order.
    pub fn hear_late(&mut self, name: &str, comment: &str, said: &Said) {
        self.draft.accept_flagged(name, comment, delivery(&said.packet), &["OutOfOrder"], said.read());
    }

    /// The passive device refuses something.
    pub fn refuse(&mut self, name: &str, comment: &str, packet: &[u8], wrong: &Wrong<'_>, reasons: &[ErrorClass]) {
        self.refuse_for(name, comment, packet, wrong, reasons, None);
    }

    /// The same, where a member made it, who broke this rule.
    pub fn refuse_for(
        &mut self,
        name: &str,
        comment: &str,
        packet: &[u8],
        wrong: &Wrong<'_>,
        reasons: &[ErrorClass],
        rule: Option<Rule>,
    ) {
        let fault = fault(wrong, rule);
        self.draft.reject(name, comment, delivery(packet), wrong.flags, fault, wrong.twin, reasons);
    }

    /// The passive device reads a message or not: RFC 9420 leaves it open.
    pub fn leave_open(&mut self, name: &str, comment: &str, said: &Said, wrong: &Wrong<'_>) {
        let fault = fault(wrong, None);
        self.draft.harmless(name, comment, delivery(&said.packet), wrong.flags, fault, wrong.twin, said.read());
    }

    /// The vector, played and confirmed.
    ///
    /// # Errors
    /// The first disagreement.
    pub fn finish(self) -> Result<Recorded> {
        self.recorder.finish(self.draft, self.by)
    }
}

fn fault(wrong: &Wrong<'_>, rule: Option<Rule>) -> e2esm_playback::Fault {
    let Wrong { packet, field, change, .. } = wrong;
    e2esm_playback::Fault {
        packet: (*packet).to_owned(),
        field: (*field).to_owned(),
        change: (*change).to_owned(),
        rule,
    }
}
