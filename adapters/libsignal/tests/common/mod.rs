//! What the tests of this crate share: people, a group of them, and a look at what a device noticed.

#![allow(clippy::unwrap_used, dead_code, unreachable_pub)]

use e2esm_adapter::{
    Adapter, Asker, Bundle, Bytes, Device, DeviceId, Error, ErrorClass, Event, Fact, Forged, Forgery, GroupId,
    Identity, KnownGroup, Message, Output, Packet, PacketKind, Stance,
};
use e2esm_testing::Net;

/// The only decision that libsignal hands over.
pub const IS_TRUSTED_IDENTITY: &str = "IdentityKeyStore::is_trusted_identity";

pub fn adapter() -> Box<dyn Adapter> {
    e2esm_adapter_libsignal::adapters().remove(0)
}

pub fn phone(user: &str) -> DeviceId {
    DeviceId::new(user, "phone")
}

pub fn phones<const N: usize>(users: [&str; N]) -> [DeviceId; N] {
    users.map(phone)
}

pub fn team() -> GroupId {
    GroupId("team".into())
}

pub fn known(members: &[DeviceId]) -> KnownGroup {
    KnownGroup { id: team(), members: members.to_vec(), changes: 1 }
}

/// A group that the first of these has created and in which everybody has spoken once.
pub fn group(members: &[DeviceId]) -> Net {
    let mut net = Net::new(&*adapter(), members).unwrap();
    net.group(&team(), &members[0], &members[1..]).unwrap();
    for member in members {
        say(&mut net, member, "hello");
    }
    for member in members {
        events(&mut net, member);
    }
    net
}

/// A message that everybody else reads, as its sender's.
pub fn say(net: &mut Net, from: &DeviceId, text: &str) {
    let deliveries = net.send(from, &team(), text).unwrap();
    e2esm_testing::all_well(deliveries.clone()).unwrap();
    let readers = e2esm_testing::readers(&deliveries, text);
    let expected: Vec<_> =
        net.members(&team()).into_iter().filter(|member| member != from).map(|member| (member, from.clone())).collect();
    assert_eq!(readers, expected);
}

pub fn events(net: &mut Net, of: &DeviceId) -> Vec<Event> {
    net.device(of).unwrap().notebook().take_events()
}

/// What the application was asked by the library, and what it said.
pub fn asked_by_library(events: &[Event]) -> Vec<(Fact, bool)> {
    let asked = events.iter().filter_map(|event| match event {
        Event::Consulted { point, asker: Asker::Library, about, answer } => {
            assert_eq!(point, IS_TRUSTED_IDENTITY);
            Some((about.clone(), *answer))
        }
        _ => None,
    });
    asked.collect()
}

pub fn identity(net: &mut Net, of: &DeviceId) -> Identity {
    net.device(of).unwrap().identity().unwrap()
}

/// The fact that `device` shows these keys, where another account key may have been known.
pub fn shows(device: &DeviceId, identity: &Identity, previous: Option<&Identity>) -> Fact {
    let previous = previous.map(|previous| previous.account_key.clone());
    Fact::Identity { device: device.clone(), identity: identity.clone(), previous }
}

/// A first pairwise packet of `from`, with the sender key for `to`, and the message that follows it.
pub fn first_words(net: &mut Net, from: &DeviceId, to: &DeviceId, text: &str) -> (Packet, Packet) {
    let bundle = net.claim(to, from).unwrap();
    let device = net.device(from).unwrap();
    device.introduce(&bundle).unwrap();
    let packets = device.send(&team(), text.as_bytes()).unwrap().packets;
    let key = packets.iter().find(|packet| packet.to == e2esm_adapter::Address::Device(to.clone()));
    let message = packets.iter().find(|packet| packet.kind == PacketKind::Message);
    (key.unwrap().clone(), message.unwrap().clone())
}

pub fn receive(net: &mut Net, at: &DeviceId, packet: &Packet) -> Result<Option<Message>, Error> {
    net.device(at).unwrap().receive(packet).map(|output| output.message)
}

pub fn craft(device: &mut dyn Device, forgery: &Forgery) -> Vec<Packet> {
    match device.craft(forgery).unwrap() {
        Forged::Packets(packets) => packets,
        Forged::Bundle(_) => panic!("a bundle where packets were to be crafted"),
    }
}

pub fn broken(device: &mut dyn Device, bundle: &Bundle) -> Bundle {
    match device.craft(&Forgery::BrokenBundle { bundle: bundle.clone() }).unwrap() {
        Forged::Bundle(bundle) => bundle,
        Forged::Packets(_) => panic!("packets where a bundle was to be broken"),
    }
}

/// The refusal's class, and the library's own words, which tell for what reason.
pub fn assert_refused<T: std::fmt::Debug>(result: Result<T, Error>, class: ErrorClass, words: &str) {
    let error = result.unwrap_err();
    assert_eq!(error.class, class, "{error}");
    assert!(error.text.contains(words), "{error}");
}

pub fn set_stance(net: &mut Net, of: &DeviceId, stance: Stance) {
    net.device(of).unwrap().notebook().set_stance(stance);
}

pub fn flipped(packet: &Packet, bit: usize) -> Packet {
    let mut bytes = packet.bytes.0.clone();
    bytes[bit / 8] ^= 1 << (bit % 8);
    Packet { bytes: Bytes(bytes), ..packet.clone() }
}

pub fn output_message(output: Output) -> String {
    String::from_utf8(output.message.unwrap().plaintext.0).unwrap()
}
