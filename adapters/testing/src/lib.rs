//! An honest server in memory, for the tests of adapters: it delivers at once and in order, and never lies. The harness
//! has the one that does.

use std::collections::{BTreeMap, BTreeSet};

use e2esm_adapter::{
    Adapter, Address, Bundle, Change, Device, DeviceId, Error, GroupId, Message, Output, Packet, PacketKind,
};

/// What each device made of each packet.
pub type Deliveries = Vec<(DeviceId, PacketKind, Result<Option<Message>, Error>)>;

/// Devices and the server between them.
#[derive(Default)]
pub struct Net {
    devices: BTreeMap<DeviceId, Box<dyn Device>>,
    members: BTreeMap<GroupId, BTreeSet<DeviceId>>,
}

impl Net {
    /// Devices of one adapter.
    ///
    /// # Errors
    /// The adapter's.
    pub fn new(adapter: &dyn Adapter, ids: &[DeviceId]) -> Result<Self, Error> {
        let mut net = Self::default();
        for id in ids {
            net.devices.insert(id.clone(), adapter.device(id)?);
        }
        Ok(net)
    }

    /// Puts a device in, or another in its place.
    pub fn insert(&mut self, id: &DeviceId, device: Box<dyn Device>) {
        self.devices.insert(id.clone(), device);
    }

    /// One device.
    ///
    /// # Errors
    /// `BadRequest` if there is none of that id.
    pub fn device(&mut self, id: &DeviceId) -> Result<&mut Box<dyn Device>, Error> {
        self.devices.get_mut(id).ok_or_else(|| Error::bad_request(format!("no device {id}")))
    }

    /// Who the server thinks is in the group.
    pub fn members(&self, group: &GroupId) -> Vec<DeviceId> {
        self.members.get(group).into_iter().flatten().cloned().collect()
    }

    /// A bundle of `of`, claimed by `peer`.
    ///
    /// # Errors
    /// The device's.
    pub fn claim(&mut self, of: &DeviceId, peer: &DeviceId) -> Result<Bundle, Error> {
        self.device(of)?.publish(peer)
    }

    /// Creates a group and adds everybody in one change; every delivery must succeed.
    ///
    /// # Errors
    /// The first error of any device.
    pub fn group(&mut self, group: &GroupId, creator: &DeviceId, others: &[DeviceId]) -> Result<(), Error> {
        let output = self.device(creator)?.create_group(group)?;
        self.members.insert(group.clone(), BTreeSet::from([creator.clone()]));
        all_well(self.deliver(output))?;
        all_well(self.change(creator, group, others, &[], false)?)
    }

    /// A change by `by`, accepted and delivered to everybody.
    ///
    /// # Errors
    /// The author's; those of the receivers are in the deliveries.
    pub fn change(
        &mut self,
        by: &DeviceId,
        group: &GroupId,
        add: &[DeviceId],
        remove: &[DeviceId],
        refresh: bool,
    ) -> Result<Deliveries, Error> {
        let bundles = add.iter().map(|device| self.claim(device, by)).collect::<Result<_, _>>()?;
        let change = Change { add: bundles, remove: remove.to_vec(), refresh };
        let output = self.device(by)?.change(group, &change)?;
        let deliveries = self.deliver(output);
        let members = self.members.entry(group.clone()).or_default();
        members.extend(add.iter().cloned());
        members.retain(|member| !remove.contains(member));
        Ok(deliveries)
    }

    /// A message by `by`, with bundles claimed for whom it wants a session with, delivered to everybody.
    ///
    /// # Errors
    /// The author's; those of the receivers are in the deliveries.
    pub fn send(&mut self, by: &DeviceId, group: &GroupId, text: &str) -> Result<Deliveries, Error> {
        let mut deliveries = Vec::new();
        for peer in self.device(by)?.wants(group)? {
            let bundle = self.claim(&peer, by)?;
            let output = self.device(by)?.introduce(&bundle)?;
            deliveries.extend(self.deliver(output));
        }
        let output = self.device(by)?.send(group, text.as_bytes())?;
        deliveries.extend(self.deliver(output));
        Ok(deliveries)
    }

    /// Delivers packets, and what comes in answer, until nothing is left. A group packet goes to every member and back to
    /// its author if it is a change.
    pub fn deliver(&mut self, output: Output) -> Deliveries {
        let mut queue: std::collections::VecDeque<Packet> = output.packets.into();
        let mut deliveries = Vec::new();
        while let Some(packet) = queue.pop_front() {
            let to = match &packet.to {
                Address::Group(group) => self
                    .members(group)
                    .into_iter()
                    .filter(|member| packet.kind == PacketKind::Change || *member != packet.from)
                    .collect(),
                Address::Device(device) => vec![device.clone()],
                Address::Devices(devices) => devices.clone(),
                Address::Server => Vec::new(),
            };
            for id in to {
                let result = self.device(&id).and_then(|device| device.receive(&packet)).map(|output| {
                    queue.extend(output.packets);
                    output.message
                });
                deliveries.push((id, packet.kind, result));
            }
        }
        deliveries
    }
}

/// The first error among deliveries.
///
/// # Errors
/// That one.
pub fn all_well(deliveries: Deliveries) -> Result<(), Error> {
    for (device, kind, result) in deliveries {
        result.map_err(|error| Error::new(error.class, format!("{device}, {}: {}", kind.label(), error.text)))?;
    }
    Ok(())
}

/// Who read a message that says `text`, and from whom they think it comes.
pub fn readers(deliveries: &Deliveries, text: &str) -> Vec<(DeviceId, DeviceId)> {
    deliveries
        .iter()
        .filter_map(|(device, _, result)| match result {
            Ok(Some(message)) if message.plaintext.0 == text.as_bytes() => {
                Some((device.clone(), message.sender.clone()))
            }
            _ => None,
        })
        .collect()
}
