//! What the tests share: three devices over the real library, and the server of `e2esm-testing` between them.

#![allow(clippy::unwrap_used, dead_code, unreachable_pub)]

use e2esm_adapter::{
    Adapter, Address, Bundle, Bytes, Device, DeviceId, Error, ErrorClass, Event, Fact, Forged, Forgery, GroupId,
    KnownGroup, Message, Output, Packet, PacketKind,
};
use e2esm_testing::{Deliveries, Net, all_well, readers};

pub fn adapter() -> Box<dyn Adapter> {
    e2esm_adapter_vodozemac::adapters().remove(0)
}

pub fn id(name: &str) -> DeviceId {
    DeviceId::new(name, "phone")
}

pub fn team() -> GroupId {
    GroupId("team".into())
}

/// Devices and a group, in which whoever is a `member` is one.
pub struct World {
    pub net: Net,
}

impl World {
    /// The first member creates the group and adds the others.
    pub fn new(members: &[&str], others: &[&str]) -> Self {
        let members: Vec<_> = members.iter().map(|name| id(name)).collect();
        let all: Vec<_> = members.iter().cloned().chain(others.iter().map(|name| id(name))).collect();
        let mut net = Net::new(&*adapter(), &all).unwrap();
        net.group(&team(), &members[0], &members[1..]).unwrap();
        let mut world = Self { net };
        all.iter().for_each(|device| drop(world.device(device).notebook().take_events()));
        world
    }

    pub fn device(&mut self, id: &DeviceId) -> &mut dyn Device {
        self.net.device(id).unwrap().as_mut()
    }

    pub fn of(&mut self, name: &str) -> &mut dyn Device {
        self.device(&id(name))
    }

    pub fn events(&mut self, name: &str) -> Vec<Event> {
        self.of(name).notebook().take_events()
    }

    /// The facts a device was asked about since the last time, and where.
    pub fn asked(&mut self, name: &str) -> Vec<(String, Fact)> {
        let consulted = |event| match event {
            Event::Consulted { point, about, .. } => Some((point, about)),
            _ => None,
        };
        self.events(name).into_iter().filter_map(consulted).collect()
    }

    pub fn answer(&mut self, name: &str, fact: Fact, answer: bool) {
        self.of(name).notebook().decide(e2esm_adapter::Decision { fact, answer });
    }

    /// A message to the group, with sessions opened where they are wanted.
    pub fn send(&mut self, by: &str, text: &str) -> Deliveries {
        self.net.send(&id(by), &team(), text).unwrap()
    }

    /// The same, and everybody else in the group reads it.
    pub fn talk(&mut self, by: &str, text: &str) {
        let deliveries = self.send(by, text);
        let mut others = self.net.members(&team());
        others.retain(|member| *member != id(by));
        assert_eq!(sorted(&deliveries, text), others.into_iter().map(|member| (member, id(by))).collect::<Vec<_>>());
        all_well(deliveries).unwrap();
    }

    pub fn change(&mut self, by: &str, add: &[&str], remove: &[&str]) {
        let [add, remove] = [add, remove].map(|names| names.iter().map(|name| id(name)).collect::<Vec<_>>());
        all_well(self.net.change(&id(by), &team(), &add, &remove, false).unwrap()).unwrap();
    }

    pub fn claim(&mut self, of: &str, by: &str) -> Bundle {
        self.net.claim(&id(of), &id(by)).unwrap()
    }

    /// What a send produces, delivered to nobody.
    pub fn packets(&mut self, by: &str, text: &str) -> Vec<Packet> {
        for peer in self.of(by).wants(&team()).unwrap() {
            let bundle = self.net.claim(&peer, &id(by)).unwrap();
            self.of(by).introduce(&bundle).unwrap();
        }
        self.of(by).send(&team(), text.as_bytes()).unwrap().packets
    }

    /// Sends and delivers, and keeps the message.
    pub fn say(&mut self, by: &str, text: &str) -> Packet {
        let packets = self.packets(by, text);
        all_well(self.net.deliver(Output::packets(packets.clone()))).unwrap();
        message(&packets)
    }

    pub fn receive(&mut self, name: &str, packet: &Packet) -> Result<Option<Message>, Error> {
        self.of(name).receive(packet).map(|output| output.message)
    }

    pub fn reads(&mut self, name: &str, packet: &Packet, text: &str) {
        let message = self.receive(name, packet).unwrap().unwrap();
        assert_eq!(message.plaintext, Bytes::from(text.as_bytes()));
    }

    pub fn refuses(&mut self, name: &str, packet: &Packet, class: ErrorClass) -> Error {
        let error = self.receive(name, packet).unwrap_err();
        assert_eq!(error.class, class, "{error}");
        error
    }

    pub fn forge(&mut self, by: &str, forgery: &Forgery) -> Vec<Packet> {
        match self.of(by).craft(forgery).unwrap() {
            Forged::Packets(packets) => packets,
            Forged::Bundle(_) => panic!("a bundle"),
        }
    }

    pub fn known(&self) -> KnownGroup {
        KnownGroup { id: team(), members: self.net.members(&team()), changes: 1 }
    }
}

/// Who read `text` from whom, by reader.
pub fn sorted(deliveries: &Deliveries, text: &str) -> Vec<(DeviceId, DeviceId)> {
    let mut readers = readers(deliveries, text);
    readers.sort();
    readers
}

pub fn to(packets: &[Packet], name: &str) -> Packet {
    let to = Address::Device(id(name));
    packets.iter().find(|packet| packet.to == to).unwrap().clone()
}

pub fn message(packets: &[Packet]) -> Packet {
    packets.iter().find(|packet| packet.kind == PacketKind::Message).unwrap().clone()
}

pub fn count(output: &Output, kind: PacketKind) -> usize {
    output.packets.iter().filter(|packet| packet.kind == kind).count()
}
