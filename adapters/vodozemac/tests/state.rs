//! What a thief can do with a copied state.

#![allow(clippy::unwrap_used)]

mod common;

use common::{World, adapter, id, message, team};
use e2esm_adapter::{Change, ErrorClass, GroupId};
use e2esm_testing::all_well;

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
