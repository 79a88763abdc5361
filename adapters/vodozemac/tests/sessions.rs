//! Olm sessions and Megolm sessions: what vodozemac checks itself, and what it leaves to its caller.

#![allow(clippy::unwrap_used)]

mod common;

use common::{World, adapter, id, message, team, to};
use e2esm_account::vouched;
use e2esm_adapter::{Change, DeviceId, ErrorClass, Event, Fact, FingerprintKind, GroupId};
use e2esm_testing::all_well;

const OUTBOUND_IDENTITY: &str = "Account::create_outbound_session(identity_key)";
const INBOUND_IDENTITY: &str = "Account::create_inbound_session(their_identity_key)";

#[test]
fn both_may_open_a_session_at_once_and_both_go_on() {
    let mut world = World::new(&["alice", "bob"], &[]);
    let from_alice = world.packets("alice", "a");
    let from_bob = world.packets("bob", "b");
    assert!(to(&from_alice, "bob").opens_session && to(&from_bob, "alice").opens_session);
    world.receive("bob", &to(&from_alice, "bob")).unwrap();
    world.receive("alice", &to(&from_bob, "alice")).unwrap();
    for round in 0..3 {
        for name in ["alice", "bob"] {
            world.of(name).change(&team(), &Change { refresh: true, ..Change::default() }).unwrap();
            world.talk(name, &format!("{name} {round}"));
        }
    }
}

#[test]
fn the_application_is_asked_whose_keys_they_are_whenever_a_session_is_opened() {
    let mut world = World::new(&["alice", "bob"], &[]);
    let [alice, bob] = ["alice", "bob"].map(|name| world.of(name).identity().unwrap());
    let fact = |device: &str, identity| Fact::Identity { device: id(device), identity, previous: None };
    let asked = fact("alice", alice);
    world.answer("bob", asked.clone(), false);
    let packets = world.packets("alice", "one");
    world.events("bob");
    let error = world.refuses("bob", &to(&packets, "bob"), ErrorClass::UntrustedIdentity);
    assert!(error.text.contains(INBOUND_IDENTITY), "{error}");
    assert_eq!(world.asked("bob"), [(INBOUND_IDENTITY.to_owned(), asked.clone())]);
    world.answer("bob", asked, true);
    world.receive("bob", &to(&packets, "bob")).unwrap();
    assert!(world.events("bob").contains(&Event::SessionOpened { peer: id("alice") }));
    world.reads("bob", &message(&packets), "one");

    let bundle = world.claim("bob", "alice");
    world.answer("alice", fact("bob", bob.clone()), false);
    world.events("alice");
    assert_eq!(world.of("alice").introduce(&bundle).unwrap_err().class, ErrorClass::UntrustedIdentity);
    assert_eq!(world.asked("alice"), [(OUTBOUND_IDENTITY.to_owned(), fact("bob", bob))]);
    world.talk("alice", "on the session there was");
}

#[test]
fn a_first_message_under_a_known_name_must_bear_the_known_key() {
    let mut world = World::new(&["alice", "bob", "carol"], &[]);
    let packets = world.packets("alice", "from alice");
    let honest = to(&packets, "bob");
    let by_carol = world.packets("carol", "from carol");
    world.receive("bob", &to(&by_carol, "bob")).unwrap();
    let mut relabelled = honest.clone();
    relabelled.from = id("carol");
    let error = world.refuses("bob", &relabelled, ErrorClass::UntrustedIdentity);
    assert!(error.text.contains("doesn't match the one in the pre-key message"), "vodozemac's own words: {error}");
    world.receive("bob", &honest).unwrap();
    world.reads("bob", &message(&packets), "from alice");
    world.reads("bob", &message(&by_carol), "from carol");
}

#[test]
fn a_first_message_under_an_unknown_name_is_whose_the_application_says() {
    let mut world = World::new(&["alice", "bob", "carol"], &[]);
    let packets = world.packets("alice", "from alice");
    let mut relabelled = to(&packets, "bob");
    relabelled.from = id("carol");
    let identity = world.of("alice").identity().unwrap();
    let fact = Fact::Identity { device: id("carol"), identity: identity.clone(), previous: None };
    assert!(!vouched(&id("carol"), &identity), "alice's account key does not vouch for a device of carol's");
    world.answer("bob", fact.clone(), false);
    world.refuses("bob", &relabelled, ErrorClass::UntrustedIdentity);
    world.receive("bob", &to(&packets, "bob")).unwrap();
    world.reads("bob", &message(&packets), "from alice");

    let mut world = World::new(&["alice", "bob", "carol"], &[]);
    let mut relabelled = to(&world.packets("alice", "from alice"), "bob");
    relabelled.from = id("carol");
    world.receive("bob", &relabelled).unwrap();
    assert!(world.events("bob").contains(&Event::KeyAccepted { group: team(), owner: id("carol") }));
}

#[test]
fn another_key_under_a_known_name_is_shown_with_the_one_before() {
    let mut world = World::new(&["alice", "bob"], &[]);
    world.talk("alice", "one");
    world.talk("bob", "two");
    let old = world.of("bob").identity().unwrap();
    world.net.insert(&id("bob"), adapter().device(&id("bob")).unwrap());
    let identity = world.of("bob").identity().unwrap();
    let bundle = world.claim("bob", "alice");
    let fact = Fact::Identity { device: id("bob"), identity, previous: Some(old.account_key) };
    world.events("alice");
    world.of("alice").introduce(&bundle).unwrap();
    let events = world.events("alice");
    assert!(events.iter().any(|event| matches!(event, Event::Consulted { about, .. } if *about == fact)));
    assert!(events.contains(&Event::KeyChanged { device: id("bob") }));
    assert!(events.contains(&Event::SessionOpened { peer: id("bob") }));
    let to_new_bob = to(&world.of("alice").send(&team(), b"three").unwrap().packets, "bob");
    assert!(to_new_bob.opens_session);
}

#[test]
fn a_handshake_or_a_key_distribution_that_comes_twice_is_refused_the_second_time() {
    let mut world = World::new(&["alice", "bob"], &[]);
    let packets = world.packets("alice", "one");
    world.receive("bob", &to(&packets, "bob")).unwrap();
    let error = world.refuses("bob", &to(&packets, "bob"), ErrorClass::NoKey);
    assert!(error.text.contains("message key"), "{error}");
    world.reads("bob", &message(&packets), "one");

    let bundle = world.claim("bob", "alice");
    let [first, second] = ["first", "second"]
        .map(|text| world.of("alice").resend(&team(), text.as_bytes(), &bundle, false).unwrap().packets.remove(0));
    world.reads("bob", &first, "first");
    let error = world.refuses("bob", &second, ErrorClass::NoKey);
    assert!(error.text.contains("unknown one-time key"), "a bundle is for one session: {error}");
    let bundle = world.claim("bob", "alice");
    world.of("alice").introduce(&bundle).unwrap();
    world.talk("alice", "and on");
}

#[test]
fn a_group_message_that_comes_twice_is_decrypted_twice_if_the_application_takes_it() {
    let mut world = World::new(&["alice", "bob"], &[]);
    let packets = world.packets("alice", "pay 10");
    world.receive("bob", &to(&packets, "bob")).unwrap();
    world.events("bob");
    world.reads("bob", &message(&packets), "pay 10");
    let asked = world.asked("bob");
    let (point, replay) = asked.iter().find(|(_, fact)| matches!(fact, Fact::Replay { .. })).unwrap();
    assert_eq!(point, "DecryptedMessage::message_index");
    world.reads("bob", &message(&packets), "pay 10");
    assert_eq!(world.asked("bob"), asked, "the very same questions");
    world.answer("bob", replay.clone(), false);
    world.refuses("bob", &message(&packets), ErrorClass::Duplicate);
    world.talk("alice", "the next one has another index");
}

#[test]
fn messages_are_read_in_any_order_and_without_those_that_are_lost() {
    let mut world = World::new(&["alice", "bob"], &[]);
    let first = world.packets("alice", "0");
    world.receive("bob", &to(&first, "bob")).unwrap();
    let messages: Vec<_> = (1..6).map(|n| message(&world.packets("alice", &n.to_string()))).collect();
    for at in [4, 0, 2, 1] {
        world.reads("bob", &messages[at], &(at + 1).to_string());
    }
    world.reads("bob", &message(&first), "0");
}

#[test]
fn a_message_is_for_its_own_group() {
    let mut world = World::new(&["alice", "bob"], &[]);
    let other = GroupId("other".into());
    world.net.group(&other, &id("alice"), &[id("bob")]).unwrap();
    all_well(world.net.send(&id("alice"), &other, "there").unwrap()).unwrap();
    let packets = world.packets("alice", "here");
    world.receive("bob", &to(&packets, "bob")).unwrap();
    let mut wrong = message(&packets);
    wrong.group = other;
    world.refuses("bob", &wrong, ErrorClass::NoKey);
    world.reads("bob", &message(&packets), "here");
}

#[test]
fn two_devices_compare_their_keys_and_a_stranger_in_between_shows() {
    let mut world = World::new(&["alice", "bob"], &["mallory"]);
    world.talk("alice", "one");
    let at_alice = world.of("alice").fingerprint(&team(), &id("bob")).unwrap();
    let at_bob = world.of("bob").fingerprint(&team(), &id("alice")).unwrap();
    assert_eq!(at_alice.kind, FingerprintKind::DeviceKeys);
    assert_eq!(at_alice, at_bob);
    assert_eq!(world.of("alice").fingerprint(&team(), &id("mallory")).unwrap_err().class, ErrorClass::BadRequest);

    let mut bundle = world.claim("mallory", "alice");
    bundle.device = id("bob");
    world.of("alice").introduce(&bundle).unwrap();
    assert_ne!(world.of("alice").fingerprint(&team(), &id("bob")).unwrap(), at_bob);
}

#[test]
fn a_linked_device_shows_its_users_account_key_and_the_voucher() {
    let tablet = DeviceId::new("bob", "tablet");
    let mut world = World::new(&["alice", "bob"], &["carol"]);
    world.net.insert(&tablet, adapter().device(&tablet).unwrap());
    let request = world.device(&tablet).link_request().unwrap();
    let word = world.of("bob").authorise(&request).unwrap();
    assert_eq!(world.of("carol").accept_authorisation(&word).unwrap_err().class, ErrorClass::BadRequest);
    world.device(&tablet).accept_authorisation(&word).unwrap();
    assert_eq!(world.device(&tablet).authorise(&request).unwrap_err().class, ErrorClass::BadRequest);

    let phone = world.of("bob").identity().unwrap();
    let identity = world.device(&tablet).identity().unwrap();
    assert_eq!(identity.account_key, phone.account_key);
    assert!(vouched(&tablet, &identity));
    let bundle = world.net.claim(&tablet, &id("alice")).unwrap();
    world.events("alice");
    world.of("alice").introduce(&bundle).unwrap();
    let asked = world.asked("alice");
    assert_eq!(asked[0].1, Fact::Identity { device: tablet.clone(), identity, previous: None });

    all_well(world.net.change(&id("alice"), &team(), &[tablet], &[], false).unwrap()).unwrap();
    world.talk("alice", "to the tablet too");
}
