//! What the tests share: names, a group of three, and words for what came of it.

#![allow(dead_code)] // each test binary uses its part of this
#![allow(clippy::unwrap_used)]

use e2esm_adapter::{
    Adapter, Address, Bundle, Bytes, DeviceId, Error, ErrorClass, Event, Fact, FactKind, Forged, Forgery, GroupId,
    KnownGroup, Output, Packet, PacketKind, Stance,
};
use e2esm_testing::{Deliveries, Net, all_well, readers};

pub(crate) struct Cast {
    pub(crate) net: Net,
    pub(crate) group: GroupId,
    pub(crate) alice: DeviceId,
    pub(crate) bob: DeviceId,
    pub(crate) carol: DeviceId,
    pub(crate) dave: DeviceId,
}

/// Runs a test with both providers.
pub(crate) fn with_both(test: impl Fn(&dyn Adapter)) {
    let adapters = e2esm_adapter_openmls::adapters();
    assert_eq!(adapters.len(), 2);
    for adapter in adapters {
        println!("{}", adapter.describe().name);
        test(adapter.as_ref());
    }
}

pub(crate) fn phone(user: &str) -> DeviceId {
    DeviceId::new(user, "phone")
}

/// Alice, Bob and Carol in a group; Dave has a device and is outside.
pub(crate) fn cast(adapter: &dyn Adapter) -> Cast {
    let [alice, bob, carol, dave] = ["alice", "bob", "carol", "dave"].map(phone);
    let group = GroupId("friends".to_owned());
    let mut net = Net::new(adapter, &[alice.clone(), bob.clone(), carol.clone(), dave.clone()]).unwrap();
    net.group(&group, &alice, &[bob.clone(), carol.clone()]).unwrap();
    let mut cast = Cast { net, group, alice, bob, carol, dave };
    cast.drain();
    cast
}

impl Cast {
    /// Forgets the events so far.
    pub(crate) fn drain(&mut self) {
        for id in [self.alice.clone(), self.bob.clone(), self.carol.clone(), self.dave.clone()] {
            self.events(&id);
        }
    }

    pub(crate) fn events(&mut self, of: &DeviceId) -> Vec<Event> {
        self.net.device(of).unwrap().notebook().take_events()
    }

    /// The facts that a device was asked about since the last time.
    pub(crate) fn asked(&mut self, of: &DeviceId) -> Vec<(String, Fact)> {
        self.events(of)
            .into_iter()
            .filter_map(|event| match event {
                Event::Consulted { point, about, .. } => Some((point, about)),
                _ => None,
            })
            .collect()
    }

    pub(crate) fn stance(&mut self, of: &DeviceId, stance: Stance) {
        self.net.device(of).unwrap().notebook().set_stance(stance);
    }

    pub(crate) fn send(&mut self, by: &DeviceId, text: &str) -> Deliveries {
        let group = self.group.clone();
        self.net.send(by, &group, text).unwrap()
    }

    pub(crate) fn receive(&mut self, by: &DeviceId, packet: &Packet) -> Result<Output, Error> {
        self.net.device(by).unwrap().receive(packet)
    }

    /// A message by `by` is read by exactly `expected`, and attributed to `by`.
    pub(crate) fn reads(&mut self, by: &DeviceId, expected: &[&DeviceId]) {
        let deliveries = self.send(by, "hello");
        let mut read = readers(&deliveries, "hello");
        read.sort();
        let mut expected: Vec<_> = expected.iter().map(|device| ((*device).clone(), by.clone())).collect();
        expected.sort();
        assert_eq!(read, expected, "{deliveries:?}");
    }

    /// Everybody reads everybody, and sees the same.
    pub(crate) fn is_well(&mut self) {
        let (alice, bob, carol) = (self.alice.clone(), self.bob.clone(), self.carol.clone());
        self.reads(&alice, &[&bob, &carol]);
        self.reads(&bob, &[&alice, &carol]);
        self.reads(&carol, &[&alice, &bob]);
        let fingerprints = [&alice, &bob, &carol].map(|device| self.fingerprint(device));
        assert_eq!(fingerprints[0], fingerprints[1]);
        assert_eq!(fingerprints[0], fingerprints[2]);
    }

    pub(crate) fn fingerprint(&mut self, of: &DeviceId) -> String {
        let group = self.group.clone();
        self.net.device(of).unwrap().fingerprint(&group, of).unwrap().value
    }

    pub(crate) fn roster(&mut self, of: &DeviceId) -> Vec<DeviceId> {
        let group = self.group.clone();
        let roster = self.net.device(of).unwrap().roster(&group).unwrap();
        assert!(roster.authenticated);
        roster.members
    }

    pub(crate) fn change(
        &mut self,
        by: &DeviceId,
        add: &[&DeviceId],
        remove: &[&DeviceId],
        refresh: bool,
    ) -> Deliveries {
        let group = self.group.clone();
        let [add, remove] = [add, remove].map(|list| list.iter().map(|id| (*id).clone()).collect::<Vec<_>>());
        self.net.change(by, &group, &add, &remove, refresh).unwrap()
    }

    /// A change whose packets are not delivered.
    pub(crate) fn commit(&mut self, by: &DeviceId, add: &[Bundle], remove: &[&DeviceId], refresh: bool) -> Vec<Packet> {
        let group = self.group.clone();
        let change = e2esm_adapter::Change {
            add: add.to_vec(),
            remove: remove.iter().map(|id| (*id).clone()).collect(),
            refresh,
        };
        self.net.device(by).unwrap().change(&group, &change).unwrap().packets
    }

    /// What the server knows.
    pub(crate) fn known(&self, changes: u64) -> KnownGroup {
        KnownGroup { id: self.group.clone(), members: self.net.members(&self.group), changes }
    }

    pub(crate) fn craft(&mut self, by: &DeviceId, forgery: &Forgery) -> Vec<Packet> {
        match self.net.device(by).unwrap().craft(forgery).unwrap() {
            Forged::Packets(packets) => packets,
            Forged::Bundle(_) => panic!("packets expected"),
        }
    }
}

pub(crate) fn bytes(text: &str) -> Bytes {
    text.as_bytes().into()
}

pub(crate) fn only(packets: Vec<Packet>) -> Packet {
    assert_eq!(packets.len(), 1);
    packets.into_iter().next().unwrap()
}

/// A refusal of this class, for the reason that these words name.
pub(crate) fn assert_refused<T: std::fmt::Debug>(result: Result<T, Error>, class: ErrorClass, reason: &str) {
    let error = result.unwrap_err();
    assert_eq!(error.class, class, "{error}");
    assert!(error.text.contains(reason), "{error}");
}

pub(crate) fn kinds(asked: &[(String, Fact)]) -> Vec<FactKind> {
    asked.iter().map(|(_, fact)| fact.kind()).collect()
}

pub(crate) fn junk(kind: PacketKind, group: &GroupId, from: &DeviceId) -> Packet {
    Packet {
        kind,
        group: group.clone(),
        from: from.clone(),
        to: Address::Group(group.clone()),
        opens_session: false,
        bytes: bytes("junk"),
        seal: None,
    }
}

pub(crate) fn well(deliveries: Deliveries) {
    all_well(deliveries).unwrap();
}
