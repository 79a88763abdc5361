//! Faults and forgeries, each with the honest twin taken afterwards.

#![allow(clippy::unwrap_used)]

mod common;

use common::{World, adapter, id, message, team, to};
use e2esm_adapter::{Bundle, ErrorClass, Fact, Fault, Forged, Forgery, Packet};

#[test]
fn a_relabelled_message_is_attributed_as_the_application_says() {
    let mut world = World::new(&["alice", "bob", "carol"], &[]);
    world.talk("alice", "one");
    world.talk("bob", "two");
    world.of("bob").misbehave(&Fault::RelabelledSender(id("alice"))).unwrap();
    let forged = message(&world.packets("bob", "as alice"));
    assert_eq!(forged.from, id("alice"));
    let fact = Fact::Sender { group: team(), claimed: id("alice"), owner: id("bob") };
    world.answer("carol", fact.clone(), false);
    world.events("carol");
    world.refuses("carol", &forged, ErrorClass::AuthFailed);
    assert!(world.asked("carol").contains(&("InboundGroupSession::decrypt".to_owned(), fact.clone())));
    world.answer("carol", fact, true);
    assert_eq!(world.receive("carol", &forged).unwrap().unwrap().sender, id("alice"), "left to the application");
    world.of("bob").misbehave(&Fault::None).unwrap();
    world.talk("bob", "as bob");
    world.talk("alice", "as alice");
}

#[test]
fn an_all_zero_one_time_key_is_refused_though_it_is_signed() {
    let mut world = World::new(&["alice", "bob"], &[]);
    world.of("bob").misbehave(&Fault::DegenerateKey).unwrap();
    let bundle = world.claim("bob", "alice");
    world.events("alice");
    let error = world.of("alice").introduce(&bundle).unwrap_err();
    assert_eq!(error.class, ErrorClass::BadRequest);
    assert!(error.text.contains("non-contributory"), "{error}");
    let asked = world.asked("alice");
    assert!(!asked.iter().any(|(_, fact)| matches!(fact, Fact::UnsignedPrekey { .. })), "the signature holds");
    world.of("bob").misbehave(&Fault::None).unwrap();
    let bundle = world.claim("bob", "alice");
    world.of("alice").introduce(&bundle).unwrap();
    world.talk("alice", "on");
}

#[test]
fn a_message_under_a_key_that_nobody_holds_is_unreadable() {
    let mut world = World::new(&["alice", "bob"], &["mallory"]);
    world.talk("alice", "one");
    let forgery = Forgery::Message { group: world.known(), claim: id("alice"), plaintext: b"forged".as_slice().into() };
    let packets = world.forge("mallory", &forgery);
    assert_eq!(packets[0].from, id("alice"));
    world.refuses("bob", &packets[0], ErrorClass::NoKey);
    world.talk("alice", "two");
}

#[test]
fn a_forged_sender_key_is_refused_by_the_library_where_the_name_is_known_and_asked_about_where_not() {
    let mut world = World::new(&["alice", "bob", "carol"], &["mallory"]);
    world.talk("alice", "one");
    let victims = ["bob", "carol"].map(|name| world.claim(name, "mallory")).to_vec();
    let plaintext = b"forged".as_slice().into();
    let forgery = Forgery::KeyDistribution { group: world.known(), claim: id("alice"), victims, plaintext };
    let packets = world.forge("mallory", &forgery);
    let error = world.refuses("bob", &to(&packets, "bob"), ErrorClass::UntrustedIdentity);
    assert!(error.text.contains("doesn't match the one in the pre-key message"), "{error}");
    world.refuses("bob", &message(&packets), ErrorClass::NoKey);
    world.talk("alice", "two");

    let mut world = World::new(&["alice", "bob", "carol"], &["mallory"]);
    let victims = vec![world.claim("bob", "mallory")];
    let plaintext = b"forged".as_slice().into();
    let forgery = Forgery::KeyDistribution { group: world.known(), claim: id("carol"), victims, plaintext };
    let packets = world.forge("mallory", &forgery);
    let identity = world.of("mallory").identity().unwrap();
    let fact = Fact::Identity { device: id("carol"), identity, previous: None };
    world.answer("bob", fact.clone(), false);
    world.refuses("bob", &to(&packets, "bob"), ErrorClass::UntrustedIdentity);
    world.talk("carol", "the real one");

    let mut world = World::new(&["alice", "bob", "carol"], &["mallory"]);
    let victims = vec![world.claim("bob", "mallory")];
    let plaintext = b"forged".as_slice().into();
    let forgery = Forgery::KeyDistribution { group: world.known(), claim: id("carol"), victims, plaintext };
    let packets = world.forge("mallory", &forgery);
    world.receive("bob", &to(&packets, "bob")).unwrap();
    world.reads("bob", &message(&packets), "forged");
}

#[test]
fn a_forged_change_is_asked_about_and_if_let_in_the_ghost_reads() {
    let forge = |world: &mut World| {
        let add = vec![world.claim("mallory", "alice")];
        let remove = vec![id("carol")];
        let forgery = Forgery::Change { group: world.known(), claim: id("bob"), add, remove };
        world.forge("mallory", &forgery)
    };
    let (group, by) = (team(), id("bob"));
    let add = Fact::Add { group: group.clone(), device: id("mallory"), by: by.clone(), authenticated: false };
    let remove = Fact::Remove { group, device: id("carol"), by, authenticated: false };

    let mut world = World::new(&["alice", "bob", "carol"], &["mallory"]);
    let packets = forge(&mut world);
    world.answer("alice", add.clone(), false);
    world.refuses("alice", &packets[0], ErrorClass::Refused);
    world.talk("alice", "among ourselves");

    let mut world = World::new(&["alice", "bob", "carol"], &["mallory"]);
    let packets = forge(&mut world);
    world.receive("alice", &packets[0]).unwrap();
    let asked: Vec<_> = world.asked("alice").into_iter().map(|(_, fact)| fact).collect();
    assert_eq!(asked, [remove, add]);
    world.receive("mallory", &to(&packets, "mallory")).unwrap();
    let packets = world.packets("alice", "not only you");
    world.receive("mallory", &to(&packets, "mallory")).unwrap();
    world.reads("mallory", &message(&packets), "not only you");
}

#[test]
fn a_bundle_with_a_broken_signature_is_asked_about() {
    let mut world = World::new(&["alice", "bob"], &["mallory"]);
    let honest = world.claim("bob", "alice");
    let Forged::Bundle(broken) = world.of("mallory").craft(&Forgery::BrokenBundle { bundle: honest.clone() }).unwrap()
    else {
        panic!("no bundle");
    };
    assert_ne!(honest, broken);
    let fact = Fact::UnsignedPrekey { device: id("bob") };
    world.answer("alice", fact.clone(), false);
    world.events("alice");
    assert_eq!(world.of("alice").introduce(&broken).unwrap_err().class, ErrorClass::AuthFailed);
    let point = "Account::create_outbound_session(one_time_key)".to_owned();
    assert!(world.asked("alice").contains(&(point, fact.clone())));
    world.of("alice").introduce(&honest).unwrap();
    world.talk("alice", "on");

    world.answer("alice", fact, true);
    let bundle = world.claim("bob", "alice");
    let Forged::Bundle(broken) = world.of("mallory").craft(&Forgery::BrokenBundle { bundle }).unwrap() else {
        panic!("no bundle");
    };
    world.of("alice").introduce(&broken).unwrap();
    world.talk("alice", "only the signature was broken");
}

#[test]
fn a_session_opened_under_another_identity_key_is_refused_known_or_not() {
    for known in [true, false] {
        let mut world = World::new(&["alice", "bob"], &["mallory"]);
        if known {
            world.talk("alice", "to be known");
            let bundle = world.claim("bob", "alice");
            world.of("alice").introduce(&bundle).unwrap();
        }
        let packets = world.packets("alice", "honest");
        let honest = to(&packets, "bob");
        let forged = world.forge("mallory", &Forgery::RewrittenIdentity { packet: honest.clone() }).remove(0);
        assert_eq!(forged.from, id("alice"));
        world.events("bob");
        if known {
            let error = world.refuses("bob", &forged, ErrorClass::UntrustedIdentity);
            assert!(error.text.contains("doesn't match the one in the pre-key message"), "{error}");
        } else {
            let identity = world.of("mallory").identity().unwrap();
            let error = world.refuses("bob", &forged, ErrorClass::AuthFailed);
            assert!(error.text.contains("couldn't be decrypted"), "{error}");
            let asked = world.asked("bob");
            assert_eq!(asked[0].1, Fact::Identity { device: id("alice"), identity, previous: None });
        }
        world.receive("bob", &honest).unwrap();
        world.reads("bob", &message(&packets), "honest");
    }
}

#[test]
fn a_forger_needs_something_to_forge() {
    let mut world = World::new(&["alice", "bob"], &["mallory"]);
    world.talk("alice", "one");
    let normal = message(&world.packets("alice", "two"));
    let bundle = Bundle { device: id("bob"), bytes: b"junk".as_slice().into() };
    let mallory = world.of("mallory");
    for forgery in [
        Forgery::RewrittenIdentity { packet: normal.clone() },
        Forgery::RewrittenIdentity { packet: Packet { opens_session: true, ..normal } },
        Forgery::BrokenBundle { bundle: bundle.clone() },
    ] {
        assert_eq!(mallory.craft(&forgery).unwrap_err().class, ErrorClass::BadRequest);
    }
    assert_eq!(mallory.introduce(&bundle).unwrap_err().class, ErrorClass::BadRequest);
}

/// Whether a bent packet was taken all the same. Then it must have been read rightly.
fn taken(state: &[u8], packet: &Packet, text: Option<&str>) -> bool {
    let mut bob = adapter().restore(&id("bob"), state).unwrap();
    match bob.receive(packet) {
        Ok(output) => {
            let read = output.message.as_ref().map(|message| message.plaintext.as_ref());
            assert_eq!(read, text.map(str::as_bytes));
            true
        }
        Err(error) => {
            use ErrorClass::{AuthFailed, BadRequest, NoKey, UntrustedIdentity};
            assert!([AuthFailed, BadRequest, NoKey, UntrustedIdentity].contains(&error.class), "{error}");
            false
        }
    }
}

#[test]
fn no_bit_of_a_packet_can_be_flipped_and_no_tail_cut_off_to_be_read_as_something_else() {
    let mut world = World::new(&["alice", "bob"], &[]);
    let packets = world.packets("alice", "first");
    let first = to(&packets, "bob");
    let before = world.of("bob").export_state().unwrap();
    world.receive("bob", &first).unwrap();
    let after = world.of("bob").export_state().unwrap();
    let second = message(&world.packets("alice", "second"));
    for (state, packet, text) in [(&before, &first, None), (&after, &second, Some("second"))] {
        let length = packet.bytes.as_ref().len();
        for end in 0..length {
            let mut cut = packet.clone();
            cut.bytes.0.truncate(end);
            assert!(!taken(state.as_ref(), &cut, text), "cut at {end}");
        }
        for bit in 0..length * 8 {
            let mut flipped = packet.clone();
            flipped.bytes.0[bit / 8] ^= 1 << (bit % 8);
            // The outer part of a first message is not authenticated by design, and the application is asked about the
            // identity beside it.
            assert!(!taken(state.as_ref(), &flipped, text) || packet.opens_session, "bit {bit}");
        }
    }
    world.reads("bob", &message(&packets), "first");
    world.reads("bob", &second, "second");
    world.talk("bob", "and back");
}
