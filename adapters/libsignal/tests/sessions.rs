//! Pairwise sessions: prekey bundles, first messages, identities.

#![allow(clippy::unwrap_used)]

mod common;

use common::{
    adapter, asked_by_library, assert_refused, broken, craft, events, first_words, flipped, group, identity, phone,
    phones, receive, say, set_stance, shows, team,
};
use e2esm_adapter::{
    Address, Bundle, Change, Decision, DeviceId, ErrorClass, Event, Fault, Forgery, Packet, PacketKind, Stance,
};
use e2esm_testing::Net;

/// Alice's group with bob in it, and no pairwise message between them yet.
fn strangers() -> (Net, DeviceId, DeviceId) {
    let [alice, bob] = phones(["alice", "bob"]);
    let mut net = Net::new(&*adapter(), &[alice.clone(), bob.clone()]).unwrap();
    let mut packets = net.device(&alice).unwrap().create_group(&team()).unwrap().packets;
    let bundle = net.claim(&bob, &alice).unwrap();
    let change = Change { add: vec![bundle], ..Default::default() };
    packets.extend(net.device(&alice).unwrap().change(&team(), &change).unwrap().packets);
    for packet in packets {
        match packet.kind {
            PacketKind::Change => receive(&mut net, &alice, &packet).unwrap(),
            _ => receive(&mut net, &bob, &packet).unwrap(),
        };
    }
    events(&mut net, &alice);
    events(&mut net, &bob);
    (net, alice, bob)
}

#[test]
fn a_bundle_opens_a_session_after_one_question_and_its_first_message_after_another() {
    let (mut net, alice, bob) = strangers();
    let (key, message) = first_words(&mut net, &alice, &bob, "hello");
    assert!(key.opens_session && !message.opens_session);
    let bobs = identity(&mut net, &bob);
    assert_eq!(bobs.account_key, bobs.device_key);
    assert_eq!((bobs.account_key.0.len(), bobs.voucher.0.len()), (33, 0));
    let noticed = events(&mut net, &alice);
    assert!(noticed.contains(&Event::SessionOpened { peer: bob.clone() }));
    // Once for the bundle, once for the encryption.
    assert_eq!(asked_by_library(&noticed), vec![(shows(&bob, &bobs, None), true); 2]);

    receive(&mut net, &bob, &key).unwrap();
    let noticed = events(&mut net, &bob);
    let alices = identity(&mut net, &alice);
    assert_eq!(asked_by_library(&noticed), vec![(shows(&alice, &alices, None), true)]);
    assert!(noticed.contains(&Event::SessionOpened { peer: alice.clone() }));
    assert_eq!(receive(&mut net, &bob, &message).unwrap().unwrap().plaintext.0, b"hello");
}

#[test]
fn a_bundle_serves_one_session() {
    let (mut net, alice, bob) = strangers();
    let carol = phone("carol");
    net.insert(&carol, adapter().device(&carol).unwrap());
    let bundle = net.claim(&bob, &alice).unwrap();
    let mut first_packets = Vec::new();
    for sender in [&alice, &carol] {
        let device = net.device(sender).unwrap();
        let forgery = Forgery::KeyDistribution {
            group: common::known(&[alice.clone(), bob.clone()]),
            claim: sender.clone(),
            victims: vec![bundle.clone()],
            plaintext: b"hello".as_slice().into(),
        };
        first_packets.push(craft(&mut **device, &forgery).remove(0));
    }
    receive(&mut net, &bob, &first_packets[0]).unwrap();
    assert_refused(receive(&mut net, &bob, &first_packets[1]), ErrorClass::NoKey, "invalid Kyber prekey identifier");
}

#[test]
fn a_bundle_with_a_broken_signature_is_refused_and_the_honest_one_is_taken() {
    let (mut net, alice, bob) = strangers();
    let honest = net.claim(&bob, &alice).unwrap();
    let broken = broken(&mut **net.device(&alice).unwrap(), &honest);
    assert_refused(
        net.device(&alice).unwrap().introduce(&broken),
        ErrorClass::AuthFailed,
        "invalid signature detected",
    );
    net.device(&alice).unwrap().introduce(&honest).unwrap();
    say(&mut net, &alice, "hello");
}

#[test]
fn bytes_that_are_no_bundle_are_a_bad_request() {
    let (mut net, alice, bob) = strangers();
    let honest = net.claim(&bob, &alice).unwrap();
    for end in [0, 1, 40, honest.bytes.0.len() - 1] {
        let bundle = Bundle { bytes: honest.bytes.0[..end].into(), ..honest.clone() };
        assert_refused(net.device(&alice).unwrap().introduce(&bundle), ErrorClass::BadRequest, "");
    }
    net.device(&alice).unwrap().introduce(&honest).unwrap();
}

#[test]
fn prekeys_of_zeros_are_taken_if_they_are_signed() {
    // Signal's library refuses the all-zero shared secret since 0.87.2; this is 0.85.3.
    let (mut net, alice, bob) = strangers();
    net.device(&bob).unwrap().misbehave(&Fault::DegenerateKey).unwrap();
    let degenerate = net.claim(&bob, &alice).unwrap();
    let device = net.device(&alice).unwrap();
    device.introduce(&degenerate).unwrap();
    let packets = device.send(&team(), b"hello").unwrap().packets;
    assert_refused(receive(&mut net, &bob, &packets[0]), ErrorClass::AuthFailed, "decryption failed");

    net.device(&bob).unwrap().misbehave(&Fault::None).unwrap();
    let (key, message) = first_words(&mut net, &alice, &bob, "hello again");
    receive(&mut net, &bob, &key).unwrap();
    assert_eq!(receive(&mut net, &bob, &message).unwrap().unwrap().plaintext.0, b"hello again");
}

#[test]
fn a_first_message_under_a_strangers_identity_key_fails_by_its_tag_after_the_question() {
    let (mut net, alice, bob) = strangers();
    let mallory = phone("mallory");
    net.insert(&mallory, adapter().device(&mallory).unwrap());
    let (key, message) = first_words(&mut net, &alice, &bob, "hello");
    let forgery = Forgery::RewrittenIdentity { packet: key.clone() };
    let rewritten = craft(&mut **net.device(&mallory).unwrap(), &forgery).remove(0);
    assert_eq!(rewritten.from, alice);

    assert_refused(receive(&mut net, &bob, &rewritten), ErrorClass::AuthFailed, "decryption failed");
    let mallorys = identity(&mut net, &mallory);
    let noticed = events(&mut net, &bob);
    assert_eq!(asked_by_library(&noticed), vec![(shows(&alice, &mallorys, None), true)]);
    assert!(!noticed.iter().any(|event| matches!(event, Event::SessionOpened { .. } | Event::KeyChanged { .. })));

    receive(&mut net, &bob, &key).unwrap();
    assert_eq!(receive(&mut net, &bob, &message).unwrap().unwrap().plaintext.0, b"hello");
}

#[test]
fn a_relabelled_first_message_is_taken_if_the_application_takes_the_key_for_the_labels() {
    // Up to 0.90 no address is under the tag of a pairwise message.
    let (mut net, alice, bob) = strangers();
    let carol = phone("carol");
    let (key, _) = first_words(&mut net, &alice, &bob, "hello");
    let relabelled = Packet { from: carol.clone(), ..key };
    let fact = shows(&carol, &identity(&mut net, &alice), None);

    let decide = |net: &mut Net, answer| {
        net.device(&bob).unwrap().notebook().decide(Decision { fact: fact.clone(), answer });
    };
    decide(&mut net, false);
    assert_refused(receive(&mut net, &bob, &relabelled), ErrorClass::UntrustedIdentity, "carol");
    assert_eq!(asked_by_library(&events(&mut net, &bob)), vec![(fact.clone(), false)]);
    decide(&mut net, true);
    receive(&mut net, &bob, &relabelled).unwrap();
    let noticed = events(&mut net, &bob);
    assert_eq!(asked_by_library(&noticed), vec![(fact, true)]);
    assert!(noticed.contains(&Event::SessionOpened { peer: carol.clone() }));
    assert!(noticed.contains(&Event::KeyAccepted { group: team(), owner: carol }));
}

#[test]
fn a_relabelled_later_message_finds_no_session_or_the_wrong_one() {
    let members = phones(["alice", "bob", "carol", "dave"]);
    let [alice, bob, carol, dave] = members.clone();
    let mut net = group(&members[..3]);
    let refreshed = Change { refresh: true, ..Default::default() };
    net.device(&alice).unwrap().change(&team(), &refreshed).unwrap();
    let packets = net.device(&alice).unwrap().send(&team(), b"hello").unwrap().packets;
    let key = packets.iter().find(|packet| packet.to == Address::Device(bob.clone())).unwrap();
    assert!(!key.opens_session);
    for (claim, class) in [(&carol, ErrorClass::AuthFailed), (&dave, ErrorClass::NoKey)] {
        let relabelled = Packet { from: claim.clone(), ..key.clone() };
        assert_refused(receive(&mut net, &bob, &relabelled), class, "");
    }
    receive(&mut net, &bob, key).unwrap();
}

#[test]
fn a_replayed_pairwise_message_is_a_duplicate_whether_it_opened_the_session_or_not() {
    let (mut net, alice, bob) = strangers();
    let (first, _) = first_words(&mut net, &alice, &bob, "hello");
    receive(&mut net, &bob, &first).unwrap();
    assert_refused(receive(&mut net, &bob, &first), ErrorClass::Duplicate, "message with old counter");
    say(&mut net, &bob, "hello alice");
    let refreshed = Change { refresh: true, ..Default::default() };
    net.device(&alice).unwrap().change(&team(), &refreshed).unwrap();
    let later = net.device(&alice).unwrap().send(&team(), b"hello").unwrap().packets.remove(0);
    assert_eq!((later.kind, later.opens_session), (PacketKind::KeyDistribution, false));
    receive(&mut net, &bob, &later).unwrap();
    assert_refused(receive(&mut net, &bob, &later), ErrorClass::Duplicate, "message with old counter");
}

#[test]
fn who_says_no_to_an_identity_opens_no_session_and_sends_nothing_to_it() {
    let (mut net, alice, bob) = strangers();
    let bundle = net.claim(&bob, &alice).unwrap();
    set_stance(&mut net, &alice, Stance::No);
    assert_refused(
        net.device(&alice).unwrap().introduce(&bundle),
        ErrorClass::UntrustedIdentity,
        "untrusted identity for address bob",
    );
    // Added with a first bundle earlier: there is a session, which is asked about again before each encryption.
    let packets = net.device(&alice).unwrap().send(&team(), b"hello").unwrap().packets;
    assert!(packets.iter().all(|packet| packet.kind == PacketKind::Message));
    assert!(events(&mut net, &alice).contains(&Event::Skipped { group: team(), device: bob.clone() }));
    set_stance(&mut net, &alice, Stance::Yes);
    net.device(&alice).unwrap().introduce(&bundle).unwrap();
    say(&mut net, &alice, "hello");
}

#[test]
fn who_says_no_to_a_senders_identity_reads_nothing_from_it() {
    let (mut net, alice, bob) = strangers();
    let (first, message) = first_words(&mut net, &alice, &bob, "hello");
    set_stance(&mut net, &bob, Stance::No);
    let fact = shows(&alice, &identity(&mut net, &alice), None);
    assert_refused(
        receive(&mut net, &bob, &first),
        ErrorClass::UntrustedIdentity,
        "untrusted identity for address alice",
    );
    assert_eq!(asked_by_library(&events(&mut net, &bob)), vec![(fact, false)]);
    set_stance(&mut net, &bob, Stance::Yes);
    receive(&mut net, &bob, &first).unwrap();
    assert!(receive(&mut net, &bob, &message).unwrap().is_some());
}

#[test]
fn a_new_identity_is_asked_about_beside_the_former_one_and_noticed() {
    let members = phones(["alice", "bob"]);
    let [alice, bob] = members.clone();
    let mut net = group(&members);
    let former = identity(&mut net, &bob);
    let refreshed = Change { refresh: true, ..Default::default() };
    net.device(&bob).unwrap().change(&team(), &refreshed).unwrap();
    let late = net.device(&bob).unwrap().send(&team(), b"by the former bob").unwrap().packets;
    net.insert(&bob, adapter().device(&bob).unwrap());
    let present = identity(&mut net, &bob);
    let bundle = net.claim(&bob, &alice).unwrap();

    let before = net.device(&alice).unwrap().export_state().unwrap();
    set_stance(&mut net, &alice, Stance::No);
    assert_refused(net.device(&alice).unwrap().introduce(&bundle), ErrorClass::UntrustedIdentity, "bob");
    assert_eq!(net.device(&alice).unwrap().export_state().unwrap(), before);
    let fact = shows(&bob, &present, Some(&former));
    let noticed = events(&mut net, &alice);
    assert_eq!(asked_by_library(&noticed), vec![(fact.clone(), false)]);
    assert!(!noticed.contains(&Event::KeyChanged { device: bob.clone() }));

    set_stance(&mut net, &alice, Stance::Yes);
    net.device(&alice).unwrap().introduce(&bundle).unwrap();
    let noticed = events(&mut net, &alice);
    assert_eq!(asked_by_library(&noticed), vec![(fact, true)]);
    assert!(noticed.contains(&Event::KeyChanged { device: bob }));
    assert_refused(receive(&mut net, &alice, &late[0]), ErrorClass::AuthFailed, "decryption failed");
}

#[test]
fn safety_numbers_agree_between_honest_ends_and_differ_when_a_key_was_swapped() {
    let members = phones(["alice", "bob", "carol"]);
    let [alice, bob, carol] = members.clone();
    let mut net = group(&members);
    let mut number = |of: &_, with: &_| net.device(of).unwrap().fingerprint(&team(), with).map(|print| print.value);
    let agreed = number(&alice, &bob).unwrap();
    assert_eq!(agreed.len(), 60);
    assert!(agreed.bytes().all(|digit| digit.is_ascii_digit()));
    assert_eq!(number(&bob, &alice).unwrap(), agreed);
    assert_ne!(number(&alice, &carol).unwrap(), agreed);
    assert_refused(number(&alice, &phone("nobody")), ErrorClass::BadRequest, "no identity of nobody/phone is known");

    net.insert(&bob, adapter().device(&bob).unwrap());
    let swapped = net.claim(&bob, &alice).unwrap();
    net.device(&alice).unwrap().introduce(&swapped).unwrap();
    assert_ne!(net.device(&alice).unwrap().fingerprint(&team(), &bob).unwrap().value, agreed);
}

#[test]
fn a_flipped_bit_in_a_first_message_yields_a_refusal_or_the_right_thing_and_never_spoils_the_original() {
    let (mut net, alice, bob) = strangers();
    let (first, message) = first_words(&mut net, &alice, &bob, "hello");
    let state = net.device(&bob).unwrap().export_state().unwrap();
    let mut taken = 0;
    // Every seventh: all of them take ten seconds, and the eight places in a byte have their turn like this too.
    for bit in (0..first.bytes.0.len() * 8).step_by(7) {
        let mut bob = adapter().restore(&bob, state.as_ref()).unwrap();
        match bob.receive(&flipped(&first, bit)) {
            // The registration id and half of the version byte bear on nothing.
            Ok(_) => {
                taken += 1;
                assert_eq!(common::output_message(bob.receive(&message).unwrap()), "hello", "bit {bit}");
            }
            Err(error) => {
                assert_ne!(error.class, ErrorClass::Internal, "bit {bit}: {error}");
                bob.receive(&first).unwrap();
            }
        }
    }
    assert!(taken <= 20, "{taken} flips of a first message were taken");
}

#[test]
fn every_flipped_bit_and_every_cut_of_a_later_message_is_refused_and_the_original_is_read() {
    let members = phones(["alice", "bob"]);
    let [alice, bob] = members.clone();
    let mut net = group(&members);
    let refreshed = Change { refresh: true, ..Default::default() };
    net.device(&alice).unwrap().change(&team(), &refreshed).unwrap();
    let packets = net.device(&alice).unwrap().send(&team(), b"hello").unwrap().packets;
    for packet in &packets {
        for bit in 0..packet.bytes.0.len() * 8 {
            let error = receive(&mut net, &bob, &flipped(packet, bit)).unwrap_err();
            assert_ne!(error.class, ErrorClass::Internal, "bit {bit}: {error}");
        }
        for end in 0..packet.bytes.0.len() {
            let cut = Packet { bytes: packet.bytes.0[..end].into(), ..packet.clone() };
            let error = receive(&mut net, &bob, &cut).unwrap_err();
            assert_ne!(error.class, ErrorClass::Internal, "cut to {end}: {error}");
        }
        receive(&mut net, &bob, packet).unwrap();
    }
}
