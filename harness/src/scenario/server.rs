//! The server: directory, mailboxes, groups, and what it does when it is malicious. It holds no keys.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use e2esm_adapter::{Address, DeviceId, GroupId, Packet, PacketKind, UserId};

use crate::policy::SignedDeviceList;
use crate::vector::Alteration;

use super::Traffic;

/// A packet on its way, with the named step from which it stems.
#[derive(Clone, Debug)]
pub(super) struct Mail {
    pub(super) name: Option<String>,
    pub(super) packet: Packet,
}

/// How the server tampers with packets from one device to others.
#[derive(Clone, Debug)]
pub(super) struct Tampering {
    pub(super) from: DeviceId,
    pub(super) to: Vec<DeviceId>,
    pub(super) alter: Alteration,
    pub(super) name: String,
}

#[derive(Clone, Debug, Default)]
struct Group {
    members: BTreeSet<DeviceId>,
    /// Removed devices: they are still given everything, and really try.
    former: BTreeSet<DeviceId>,
    changes: u64,
}

/// What the server knows. "Handle" is a device's own name in the vector; "id" is who it claims to be.
#[derive(Default)]
pub(super) struct Server {
    /// Which handle the directory and the mailbox serve for an id.
    registered: BTreeMap<DeviceId, DeviceId>,
    groups: BTreeMap<GroupId, Group>,
    withheld: BTreeMap<DeviceId, (Vec<PacketKind>, VecDeque<Mail>)>,
    stored: HashMap<String, Vec<Packet>>,
    /// Every device list ever published, honest ones first: the server may show any.
    lists: Vec<SignedDeviceList>,
    pub(super) tampering: Vec<Tampering>,
    /// Ids whose next bundle is broken, and by which handle.
    pub(super) broken: BTreeMap<DeviceId, DeviceId>,
    pub(super) traffic: Traffic,
}

impl Server {
    pub(super) fn register(&mut self, id: &DeviceId, handle: &DeviceId) {
        self.registered.insert(id.clone(), handle.clone());
    }

    pub(super) fn handle_of(&self, id: &DeviceId) -> Option<DeviceId> {
        self.registered.get(id).cloned()
    }

    pub(super) fn publish_list(&mut self, list: SignedDeviceList) {
        self.lists.push(list);
    }

    pub(super) fn lists_of(&self, user: &UserId) -> Vec<SignedDeviceList> {
        self.lists.iter().filter(|list| list.user == *user).cloned().collect()
    }

    pub(super) fn create_group(&mut self, group: &GroupId, creator: &DeviceId) {
        self.groups.insert(group.clone(), Group { members: BTreeSet::from([creator.clone()]), ..Group::default() });
    }

    pub(super) fn change_group(&mut self, group: &GroupId, add: &[DeviceId], remove: &[DeviceId]) {
        let group = self.groups.entry(group.clone()).or_default();
        group.changes += 1;
        for id in remove {
            group.members.remove(id);
            group.former.insert(id.clone());
        }
        for id in add {
            group.former.remove(id);
            group.members.insert(id.clone());
        }
    }

    pub(super) fn members(&self, group: &GroupId) -> Vec<DeviceId> {
        self.groups.get(group).map(|group| group.members.iter().cloned().collect()).unwrap_or_default()
    }

    pub(super) fn changes(&self, group: &GroupId) -> u64 {
        self.groups.get(group).map_or(0, |group| group.changes)
    }

    pub(super) fn groups(&self) -> Vec<GroupId> {
        self.groups.keys().cloned().collect()
    }

    pub(super) fn groups_with(&self, id: &DeviceId) -> Vec<GroupId> {
        self.groups.iter().filter(|(_, group)| group.members.contains(id)).map(|(id, _)| id.clone()).collect()
    }

    /// The handles that a packet goes to. Its author gets it back only if it is a change.
    pub(super) fn recipients(&self, author: &DeviceId, packet: &Packet) -> Vec<DeviceId> {
        match &packet.to {
            Address::Device(id) => self.handle_of(id).into_iter().collect(),
            Address::Devices(ids) => ids.iter().filter_map(|id| self.handle_of(id)).collect(),
            Address::Server => Vec::new(),
            Address::Group(group) => {
                let Some(group) = self.groups.get(group) else { return Vec::new() };
                group
                    .members
                    .iter()
                    .chain(&group.former)
                    .filter_map(|id| self.handle_of(id))
                    .filter(|handle| packet.kind == PacketKind::Change || handle != author)
                    .collect()
            }
        }
    }

    pub(super) fn store(&mut self, mail: &Mail) {
        self.traffic.packets += 1;
        self.traffic.bytes_up += mail.packet.bytes.0.len() as u64;
        if let Some(name) = &mail.name {
            self.stored.entry(name.clone()).or_default().push(mail.packet.clone());
        }
    }

    pub(super) fn stored(&self, name: &str) -> Vec<Packet> {
        self.stored.get(name).cloned().unwrap_or_default()
    }

    pub(super) fn withhold(&mut self, handle: &DeviceId, kinds: &[PacketKind]) {
        self.withheld.entry(handle.clone()).or_default().0 = kinds.to_vec();
    }

    /// Keeps the mail back if it is of a kind that is kept back from that handle.
    pub(super) fn keeps_back(&mut self, handle: &DeviceId, mail: &Mail) -> bool {
        match self.withheld.get_mut(handle) {
            Some((kinds, queue)) if kinds.is_empty() || kinds.contains(&mail.packet.kind) => {
                queue.push_back(mail.clone());
                true
            }
            _ => false,
        }
    }

    /// What was kept back from that handle; nothing is kept back any more.
    pub(super) fn release(&mut self, handle: &DeviceId) -> Vec<Mail> {
        self.withheld.remove(handle).map(|(_, queue)| queue.into()).unwrap_or_default()
    }
}
