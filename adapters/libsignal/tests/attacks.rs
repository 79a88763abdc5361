//! Insiders and outsiders: what they forge, why it fails, and what the library leaves to its application.

#![allow(clippy::unwrap_used)]

mod common;

use common::{
    adapter, asked_by_library, assert_refused, craft, events, group, identity, known, phone, phones, receive, say,
    shows, team,
};
use e2esm_adapter::{Asker, Decision, ErrorClass, Event, Fact, Fault, Forgery, PacketKind};

#[test]
fn an_insider_who_relabels_its_message_fails_by_the_signature_and_not_for_want_of_a_key() {
    let members = phones(["alice", "bob", "carol"]);
    let [alice, bob, carol] = members.clone();
    let mut net = group(&members);
    net.device(&bob).unwrap().misbehave(&Fault::RelabelledSender(alice.clone())).unwrap();
    let packets = net.device(&bob).unwrap().send(&team(), b"I am alice").unwrap().packets;
    let [forged] = packets.as_slice() else { panic!("one packet to the group: {packets:?}") };
    assert_eq!(forged.from, alice);
    // Alice's own next message: the same place of the same chain, which is why only the signature can tell.
    let honest = net.device(&alice).unwrap().send(&team(), b"I am alice").unwrap().packets.remove(0);
    let signed = honest.bytes.0.len() - 64;
    assert_eq!(forged.bytes.0[..signed], honest.bytes.0[..signed]);
    assert_ne!(forged.bytes.0[signed..], honest.bytes.0[signed..]);

    assert_refused(receive(&mut net, &carol, forged), ErrorClass::AuthFailed, "invalid signature detected");
    assert!(receive(&mut net, &carol, &honest).unwrap().is_some());
    assert!(receive(&mut net, &bob, &honest).unwrap().is_some());
    net.device(&bob).unwrap().misbehave(&Fault::None).unwrap();
    say(&mut net, &bob, "I am bob");
}

#[test]
fn an_insider_cannot_pass_for_one_whose_key_it_never_had() {
    let members = phones(["alice", "bob"]);
    let [_, bob] = members.clone();
    let mut net = group(&members);
    net.device(&bob).unwrap().misbehave(&Fault::RelabelledSender(phone("nobody"))).unwrap();
    assert_refused(net.device(&bob).unwrap().send(&team(), b"?"), ErrorClass::NoKey, "no sender key of nobody");
}

#[test]
fn a_message_from_outside_is_under_a_key_that_nobody_has() {
    let members = phones(["alice", "bob"]);
    let [alice, bob] = members.clone();
    let mut net = group(&members);
    let mut mallory = adapter().device(&phone("mallory")).unwrap();
    let plaintext = b"trust me".as_slice().into();
    let forgery = Forgery::Message { group: known(&members), claim: alice.clone(), plaintext };
    for packet in craft(&mut *mallory, &forgery) {
        assert_refused(receive(&mut net, &bob, &packet), ErrorClass::NoKey, "missing sender key state");
    }
    say(&mut net, &alice, "it is me");
}

#[test]
fn a_sender_key_from_outside_is_taken_only_if_the_application_takes_its_identity_key_for_the_claimed() {
    let members = phones(["alice", "bob"]);
    let [alice, bob] = members.clone();
    let mut net = group(&members);
    let mut mallory = adapter().device(&phone("mallory")).unwrap();
    let real = identity(&mut net, &alice);
    let fact = shows(&alice, &mallory.identity().unwrap(), Some(&real));
    for answer in [false, true] {
        let forgery = Forgery::KeyDistribution {
            group: known(&members),
            claim: alice.clone(),
            victims: vec![net.claim(&bob, &alice).unwrap()],
            plaintext: b"trust me".as_slice().into(),
        };
        let packets = craft(&mut *mallory, &forgery);
        let [key, message] = packets.as_slice() else { panic!("a key and a message: {packets:?}") };
        net.device(&bob).unwrap().notebook().decide(Decision { fact: fact.clone(), answer });
        events(&mut net, &bob);
        let taken = receive(&mut net, &bob, key);
        let noticed = events(&mut net, &bob);
        assert_eq!(asked_by_library(&noticed), vec![(fact.clone(), answer)]);
        if answer {
            taken.unwrap();
            assert!(noticed.contains(&Event::KeyChanged { device: alice.clone() }));
            assert_eq!(receive(&mut net, &bob, message).unwrap().unwrap().sender, alice);
        } else {
            assert_refused(taken, ErrorClass::UntrustedIdentity, "alice");
            assert_refused(receive(&mut net, &bob, message), ErrorClass::NoKey, "missing sender key state");
            say(&mut net, &alice, "it is me");
        }
    }
}

#[test]
fn a_change_from_outside_is_nothing_the_library_hears_of() {
    let members = phones(["alice", "bob"]);
    let [alice, bob] = members.clone();
    let ghost = phone("ghost");
    let mut net = group(&members);
    net.insert(&ghost, adapter().device(&ghost).unwrap());
    let mut mallory = adapter().device(&phone("mallory")).unwrap();
    let add = vec![net.claim(&ghost, &alice).unwrap()];
    let forgery = Forgery::Change { group: known(&members), claim: alice.clone(), add, remove: vec![] };
    let packets = craft(&mut *mallory, &forgery);
    let change = packets.iter().find(|packet| packet.kind == PacketKind::Change).unwrap();
    let fact = Fact::Add { group: team(), device: ghost.clone(), by: alice.clone(), authenticated: false };
    net.device(&bob).unwrap().notebook().decide(Decision { fact: fact.clone(), answer: false });
    assert_refused(receive(&mut net, &bob, change), ErrorClass::Refused, "");
    let noticed = events(&mut net, &bob);
    assert!(noticed.iter().any(|event| matches!(event,
        Event::Consulted { asker: Asker::GroupManagement, about, answer: false, .. } if *about == fact)));
    assert_eq!(asked_by_library(&noticed), []);
    assert!(!net.device(&bob).unwrap().roster(&team()).unwrap().members.contains(&ghost));
    say(&mut net, &bob, "without the ghost");
}
