//! What a device stores and goes on from, and what a thief can do with a copied state.

#![allow(clippy::unwrap_used)]

mod common;

use common::{World, adapter, id, message, sorted, team};
use e2esm_adapter::{Address, Change, ErrorClass, GroupId, Output, Packet, PacketKind};
use e2esm_testing::all_well;

/// Takes a device out of memory and puts in its place what it makes of its store.
fn restart(world: &mut World, name: &str) {
    let store = world.of(name).store().unwrap();
    let mut device = adapter().load(&id(name), store.as_ref()).unwrap();
    assert_eq!(device.store().unwrap(), store);
    world.net.insert(&id(name), device);
}

fn copy(world: &mut World, of: &str) -> Box<dyn e2esm_adapter::Device> {
    let state = world.of(of).export_state().unwrap();
    adapter().restore(&id(of), state.as_ref()).unwrap()
}

fn refresh(world: &mut World, name: &str) {
    world.of(name).change(&team(), &Change { refresh: true, ..Change::default() }).unwrap();
}

#[test]
fn a_restored_device_is_the_device_and_goes_on() {
    let mut world = World::new(&["alice", "bob", "carol"], &[]);
    world.talk("alice", "one");
    world.talk("bob", "two");
    for name in ["alice", "bob"] {
        let device = copy(&mut world, name);
        world.net.insert(&id(name), device);
    }
    world.talk("alice", "three");
    world.talk("bob", "four");
    world.change("alice", &[], &["carol"]);
    refresh(&mut world, "bob");
    world.talk("bob", "five");
}

#[test]
fn everybody_goes_on_after_a_restart() {
    let mut world = World::new(&["alice", "bob", "carol"], &["dave"]);
    let restart_all = |world: &mut World| ["alice", "bob", "carol"].iter().for_each(|name| restart(world, name));
    restart_all(&mut world);
    world.talk("alice", "sessions were open and the sender key is owed");
    let in_flight = world.packets("bob", "in flight");
    restart_all(&mut world);
    world.talk("alice", "on the same sender key");
    let deliveries = world.net.deliver(Output::packets(in_flight));
    assert_eq!(sorted(&deliveries, "in flight"), ["alice", "carol"].map(|name| (id(name), id("bob"))));
    world.talk("bob", "on his");

    // A change that has not come back, with a bundle that is out.
    let bundle = world.claim("dave", "alice");
    restart(&mut world, "dave");
    let change = Change { add: vec![bundle], remove: vec![id("carol")], refresh: true };
    let output = world.of("alice").change(&team(), &change).unwrap();
    restart_all(&mut world);
    world.events("alice");
    for name in ["alice", "bob"] {
        world.receive(name, &output.packets[0]).unwrap();
    }
    assert!(world.asked("alice").is_empty(), "it is still her own");
    world.receive("dave", &output.packets[1]).unwrap();
    let packets = world.packets("alice", "under a new key");
    assert_eq!(packets.len(), 3);
    for packet in &packets {
        if packet.to != Address::Device(id("bob")) {
            world.receive("dave", packet).unwrap();
        }
    }
}

#[test]
fn what_was_decrypted_and_waits_for_an_answer_is_stored_and_first_hand_outs_are_not() {
    let mut world = World::new(&["alice", "bob"], &[]);
    let packets = world.packets("alice", "hello");
    let astray = Packet { kind: PacketKind::Message, ..packets[0].clone() };
    world.refuses("bob", &astray, ErrorClass::BadRequest);
    restart(&mut world, "bob");
    world.receive("bob", &packets[0]).unwrap();
    world.reads("bob", &packets[1], "hello");
    restart(&mut world, "alice");
    assert_eq!(world.of("alice").share_history(&team(), &id("bob")).unwrap_err().class, ErrorClass::NoKey);
}

#[test]
fn a_store_that_is_none_is_a_bad_request() {
    let mut world = World::new(&["alice", "bob"], &[]);
    world.talk("alice", "one");
    world.talk("bob", "two");
    let store = world.of("bob").store().unwrap();
    let class = |name: &str, bytes: &[u8]| adapter().load(&id(name), bytes).err().unwrap().class;
    assert_eq!(class("alice", store.as_ref()), ErrorClass::BadRequest, "another device's");
    assert_eq!(class("bob", &[store.as_ref(), b"!"].concat()), ErrorClass::BadRequest);
    for length in 0..store.0.len() {
        assert_eq!(class("bob", &store.0[..length]), ErrorClass::BadRequest, "the first {length} bytes");
    }
    let export = world.of("bob").export_state().unwrap();
    assert_eq!(class("bob", export.as_ref()), ErrorClass::BadRequest, "a copied state is another format");
    assert!(adapter().restore(&id("alice"), export.as_ref()).is_err(), "and another device's");
}

#[test]
fn a_thief_of_a_receivers_state_reads_on_and_back_to_where_the_session_began() {
    let mut world = World::new(&["alice", "bob"], &[]);
    let old = world.say("alice", "old");
    let mut thief = copy(&mut world, "bob");
    assert!(thief.receive(&old).unwrap().message.is_some(), "Megolm keeps the first known ratchet");
    let next = world.say("alice", "next");
    assert!(thief.receive(&next).unwrap().message.is_some());
}

#[test]
fn a_thief_of_a_senders_state_reads_what_follows_and_nothing_before() {
    let mut world = World::new(&["alice", "bob"], &[]);
    let old = world.say("alice", "old");
    let thief = copy(&mut world, "alice");
    let mut world_of_thief = World::new(&["alice", "bob"], &[]);
    world_of_thief.net.insert(&id("alice"), thief);
    let shared = world_of_thief.of("alice").share_history(&team(), &id("bob")).unwrap_err();
    assert_eq!(shared.class, ErrorClass::NoKey, "what was handed out first is not part of the state");
    let packets = world_of_thief.of("alice").send(&team(), b"as alice").unwrap().packets;
    world.reads("bob", &message(&packets), "as alice");
    world.reads("bob", &old, "old");
}

#[test]
fn a_thief_is_shut_out_of_the_senders_messages_by_a_new_key_on_a_session_that_has_moved_on() {
    let mut world = World::new(&["alice", "bob"], &[]);
    world.talk("alice", "one");
    world.talk("bob", "two");
    let mut thief = copy(&mut world, "bob");
    refresh(&mut world, "alice");
    let packets = world.packets("alice", "still open");
    all_well(world.net.deliver(e2esm_adapter::Output::packets(packets.clone()))).unwrap();
    thief.receive(&packets[0]).unwrap();
    assert!(thief.receive(&packets[1]).unwrap().message.is_some(), "the Olm session was copied as well");

    for name in ["bob", "alice", "bob"] {
        refresh(&mut world, name);
        world.talk(name, "the Olm ratchet turns");
    }
    refresh(&mut world, "alice");
    let packets = world.packets("alice", "closed");
    all_well(world.net.deliver(e2esm_adapter::Output::packets(packets.clone()))).unwrap();
    assert!(thief.receive(&packets[0]).is_err());
    assert_eq!(thief.receive(&packets[1]).unwrap_err().class, ErrorClass::NoKey);
}

#[test]
fn a_state_that_is_none_is_a_bad_request() {
    for junk in [b"".as_slice(), b"{}", br#"{"groups":{},"primitives":{}}"#] {
        let refused = adapter().restore(&id("alice"), junk).err().unwrap();
        assert_eq!(refused.class, ErrorClass::BadRequest);
    }
    let mut alice = adapter().device(&id("alice")).unwrap();
    assert_eq!(alice.roster(&GroupId("none".into())).unwrap_err().class, ErrorClass::BadRequest);
}
