//! What the tests share: the adapters, named devices, and questions to a net.

#![allow(dead_code, clippy::unwrap_used)] // each test file uses a part; tests may unwrap

use e2esm_adapter::{
    Adapter, Change, Device, DeviceId, Error, ErrorClass, Event, Fact, FactKind, Forged, Forgery, GroupId, KnownGroup,
    Output, Packet, PacketKind,
};
use e2esm_adapter_mls_rs::{adapters, recording};
use e2esm_testing::{Deliveries, Net, all_well, readers};

/// Runs a test once per crypto provider, and once for each of the other cipher suites that recordings are made with.
pub(crate) fn each(test: impl Fn(&dyn Adapter)) {
    for adapter in adapters().into_iter().chain(recording().into_iter().skip(1)) {
        test(adapter.as_ref());
    }
}

/// `name/phone`.
pub(crate) fn id(name: &str) -> DeviceId {
    DeviceId::new(name, "phone")
}

pub(crate) fn ids(names: &[&str]) -> Vec<DeviceId> {
    names.iter().map(|name| id(name)).collect()
}

pub(crate) fn team() -> GroupId {
    GroupId("team".into())
}

/// Devices of these names, all of them in one group that the first has created.
pub(crate) fn group_of(adapter: &dyn Adapter, names: &[&str]) -> Net {
    let devices = ids(names);
    let mut net = Net::new(adapter, &devices).unwrap();
    net.group(&team(), &devices[0], &devices[1..]).unwrap();
    forget_events(&mut net, &devices);
    net
}

/// One device more, outside the group.
pub(crate) fn with_outsider(adapter: &dyn Adapter, mut net: Net, name: &str) -> Net {
    net.insert(&id(name), adapter.device(&id(name)).unwrap());
    net
}

pub(crate) fn forget_events(net: &mut Net, devices: &[DeviceId]) {
    for device in devices {
        events(net, device);
    }
}

pub(crate) fn events(net: &mut Net, device: &DeviceId) -> Vec<Event> {
    net.device(device).unwrap().notebook().take_events()
}

/// The kinds of the facts that a device was asked about, in order.
pub(crate) fn asked(events: &[Event]) -> Vec<(FactKind, Option<DeviceId>, bool)> {
    events
        .iter()
        .filter_map(|event| match event {
            Event::Consulted { about, answer, .. } => Some((about.kind(), about.about().cloned(), *answer)),
            _ => None,
        })
        .collect()
}

/// What a device noticed, apart from being asked.
pub(crate) fn noticed(events: Vec<Event>) -> Vec<Event> {
    events.into_iter().filter(|event| !matches!(event, Event::Consulted { .. })).collect()
}

/// The facts that a device was asked about.
pub(crate) fn facts(events: &[Event]) -> Vec<Fact> {
    events
        .iter()
        .filter_map(|event| match event {
            Event::Consulted { about, .. } => Some(about.clone()),
            _ => None,
        })
        .collect()
}

/// The packet that `by` sends.
pub(crate) fn message_by(net: &mut Net, by: &DeviceId, text: &str) -> Packet {
    only(net.device(by).unwrap().send(&team(), text.as_bytes()).unwrap())
}

/// What comes of a change that `by` makes, not yet delivered.
pub(crate) fn change_by(net: &mut Net, by: &DeviceId, change: Change) -> Output {
    net.device(by).unwrap().change(&team(), &change).unwrap()
}

pub(crate) fn refresh() -> Change {
    Change { refresh: true, ..Change::default() }
}

pub(crate) fn only(output: Output) -> Packet {
    let [packet] = <[Packet; 1]>::try_from(output.packets).unwrap();
    packet
}

pub(crate) fn receive(net: &mut Net, device: &DeviceId, packet: &Packet) -> Result<Output, Error> {
    net.device(device).unwrap().receive(packet)
}

/// Everybody but the author reads a message by each of these, and knows whose it is.
pub(crate) fn everybody_reads_everybody(net: &mut Net, members: &[&str]) {
    for by in members {
        let text = format!("hello from {by}");
        let deliveries = net.send(&id(by), &team(), &text).unwrap();
        let mut expected: Vec<_> = members.iter().filter(|name| *name != by).map(|name| (id(name), id(by))).collect();
        expected.sort();
        let mut read = readers(&deliveries, &text);
        read.sort();
        assert_eq!(read, expected, "{by}'s message: {deliveries:?}");
    }
}

/// Everybody has the same roster and epoch.
pub(crate) fn everybody_agrees(net: &mut Net, members: &[&str]) {
    let views: Vec<_> = members.iter().map(|name| view(net.device(&id(name)).unwrap().as_mut())).collect();
    for view in &views {
        assert_eq!(view, &views[0]);
    }
    let mut expected = ids(members);
    expected.sort();
    assert_eq!(views[0].0, expected);
}

fn view(device: &mut dyn Device) -> (Vec<DeviceId>, String) {
    let roster = device.roster(&team()).unwrap();
    assert!(roster.authenticated);
    (roster.members, device.fingerprint(&team(), &id("anybody")).unwrap().value)
}

pub(crate) fn well(deliveries: Deliveries) {
    all_well(deliveries).unwrap();
}

/// The class and the words of a refusal.
pub(crate) fn refusal<T: std::fmt::Debug>(result: Result<T, Error>) -> (ErrorClass, String) {
    let error = result.unwrap_err();
    (error.class, error.text)
}

pub(crate) fn packets(output: &Output, kind: PacketKind) -> Vec<Packet> {
    output.packets.iter().filter(|packet| packet.kind == kind).cloned().collect()
}

/// What the server knows of the team after `changes` changes.
pub(crate) fn known(members: &[&str], changes: u64) -> KnownGroup {
    KnownGroup { id: team(), members: ids(members), changes }
}

/// The packets that `outsider` crafts.
pub(crate) fn crafted(net: &mut Net, outsider: &DeviceId, forgery: &Forgery) -> Vec<Packet> {
    match net.device(outsider).unwrap().craft(forgery).unwrap() {
        Forged::Packets(packets) => packets,
        Forged::Bundle(bundle) => panic!("a bundle instead of packets: {bundle:?}"),
    }
}

/// An outsider's proposal of itself, which needs nobody's secrets.
pub(crate) fn own_proposal(net: &mut Net, outsider: &DeviceId, members: &[&str], changes: u64) -> Packet {
    let add = vec![net.claim(outsider, outsider).unwrap()];
    let forgery = Forgery::Change { group: known(members, changes), claim: id(members[0]), add, remove: vec![] };
    crafted(net, outsider, &forgery).into_iter().find(|packet| packet.kind == PacketKind::Proposal).unwrap()
}
