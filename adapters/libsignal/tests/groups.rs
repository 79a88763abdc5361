//! Groups: life, rotation, resending, linking, theft.

#![allow(clippy::unwrap_used)]

mod common;

use std::slice;

use common::{
    adapter, asked_by_library, assert_refused, events, group, identity, phone, phones, receive, say, set_stance, shows,
    team,
};
use e2esm_adapter::{
    Address, Authorisation, Bundle, Capability, Change, Decision, DeviceId, ErrorClass, Event, Fact, Forgery, GroupId,
    Output, Packet, PacketKind, Roster, Stance,
};
use e2esm_testing::{Net, all_well, readers};

#[test]
fn everybody_reads_everybody_and_knows_who_speaks() {
    let members = phones(["alice", "bob", "carol"]);
    let mut net = group(&members);
    for member in &members {
        say(&mut net, member, "good morning");
        let roster = net.device(member).unwrap().roster(&team()).unwrap();
        assert_eq!(roster, Roster { members: members.to_vec(), authenticated: false });
    }
}

#[test]
fn a_newcomer_reads_from_then_on_and_nothing_before() {
    let members = phones(["alice", "bob", "carol"]);
    let [alice, bob, carol] = members.clone();
    let mut net = group(&members[..2]);
    net.insert(&carol, adapter().device(&carol).unwrap());
    let before = net.device(&alice).unwrap().send(&team(), b"before").unwrap().packets.remove(0);
    assert_eq!(before.kind, PacketKind::Message);
    receive(&mut net, &bob, &before).unwrap();
    all_well(net.change(&alice, &team(), slice::from_ref(&carol), &[], false).unwrap()).unwrap();
    assert!(events(&mut net, &carol).contains(&Event::Joined { group: team() }));
    let added = Event::MemberAdded { group: team(), device: carol.clone(), by: alice.clone() };
    assert!(events(&mut net, &bob).contains(&added) && events(&mut net, &alice).contains(&added));

    assert_refused(receive(&mut net, &carol, &before), ErrorClass::NoKey, "missing sender key state");
    for member in &members {
        say(&mut net, member, "welcome");
    }
    assert!(events(&mut net, &carol).contains(&Event::KeyAccepted { group: team(), owner: bob }));
    // Carol holds alice's key now, from a later place: the library takes the earlier one for a repeat.
    assert_refused(receive(&mut net, &carol, &before), ErrorClass::Duplicate, "message with old counter");
    say(&mut net, &alice, "and on");
}

#[test]
fn a_removed_member_reads_on_if_the_application_goes_on_with_the_key_and_not_after_a_rotation() {
    for (stance, reads) in [(Stance::Yes, true), (Stance::No, false)] {
        let members = phones(["alice", "bob", "carol"]);
        let [alice, bob, carol] = members.clone();
        let mut net = group(&members);
        all_well(net.change(&alice, &team(), &[], slice::from_ref(&carol), false).unwrap()).unwrap();
        assert!(events(&mut net, &carol).iter().any(|event| matches!(event, Event::MemberRemoved { .. })));
        let fact = Fact::StaleKey { group: team(), device: carol.clone() };
        let notebook = net.device(&alice).unwrap().notebook().clone();
        notebook.decide(Decision { fact, answer: stance == Stance::Yes });

        let packets = net.device(&alice).unwrap().send(&team(), b"without carol").unwrap().packets;
        for packet in &packets {
            receive(&mut net, &bob, packet).unwrap();
        }
        let message = packets.last().unwrap();
        let read = receive(&mut net, &carol, message);
        if reads {
            assert_eq!(read.unwrap().unwrap().plaintext.0, b"without carol");
        } else {
            assert_refused(read, ErrorClass::NoKey, "missing sender key state");
        }
        say(&mut net, &alice, "hello bob");
        say(&mut net, &bob, "hello alice");
    }
}

#[test]
fn a_refresh_is_a_new_sender_key_and_the_former_one_still_opens_what_is_late() {
    let members = phones(["alice", "bob"]);
    let [alice, bob] = members.clone();
    let mut net = group(&members);
    let late = net.device(&alice).unwrap().send(&team(), b"late").unwrap().packets.remove(0);
    all_well(net.change(&alice, &team(), &[], &[], true).unwrap()).unwrap();
    let deliveries = net.send(&alice, &team(), "under the new key").unwrap();
    assert_eq!(deliveries.iter().filter(|(_, kind, _)| *kind == PacketKind::KeyDistribution).count(), 1);
    assert_eq!(readers(&deliveries, "under the new key"), [(bob.clone(), alice)]);
    assert_eq!(receive(&mut net, &bob, &late).unwrap().unwrap().plaintext.0, b"late");
}

#[test]
fn messages_out_of_order_are_read_and_a_repeat_is_not() {
    let members = phones(["alice", "bob"]);
    let [alice, bob] = members.clone();
    let mut net = group(&members);
    let mut packets = ["one", "two", "three"]
        .map(|text| net.device(&alice).unwrap().send(&team(), text.as_bytes()).unwrap().packets.remove(0));
    packets.rotate_right(1);
    for packet in &packets {
        assert!(receive(&mut net, &bob, packet).unwrap().is_some());
        assert_refused(receive(&mut net, &bob, packet), ErrorClass::Duplicate, "message with old counter");
    }
}

#[test]
fn a_message_of_one_group_finds_no_key_in_another() {
    let members = phones(["alice", "bob"]);
    let [alice, bob] = members.clone();
    let mut net = group(&members);
    let other = GroupId("other".into());
    net.group(&other, &alice, slice::from_ref(&bob)).unwrap();
    all_well(net.send(&alice, &other, "hello other").unwrap()).unwrap();
    // The session with bob is a new one since the second group: the key for the first goes out once more.
    let mut packets = net.device(&alice).unwrap().send(&team(), b"for the team").unwrap().packets;
    let packet = packets.pop().unwrap();
    receive(&mut net, &bob, &packets[0]).unwrap();
    let astray = Packet { group: other, ..packet.clone() };
    assert_refused(receive(&mut net, &bob, &astray), ErrorClass::NoKey, "missing sender key state");
    assert!(receive(&mut net, &bob, &packet).unwrap().is_some());
}

#[test]
fn a_replayed_sender_key_does_not_rewind() {
    let members = phones(["alice", "bob"]);
    let [alice, bob] = members.clone();
    let mut net = group(&members);
    let message = net.device(&alice).unwrap().send(&team(), b"once").unwrap().packets.remove(0);
    receive(&mut net, &bob, &message).unwrap();
    // The very first position once more, and honestly sent: history is for those who have nothing.
    let packets = net.device(&alice).unwrap().share_history(&team(), &bob).unwrap().packets;
    receive(&mut net, &bob, &packets[0]).unwrap();
    assert_refused(receive(&mut net, &bob, &packets[0]), ErrorClass::Duplicate, "message with old counter");
    assert_refused(receive(&mut net, &bob, &message), ErrorClass::Duplicate, "message with old counter");
    say(&mut net, &alice, "twice");
}

#[test]
fn shared_history_opens_what_was_sent_before_the_newcomer_came() {
    let members = phones(["alice", "bob", "carol"]);
    let [alice, bob, carol] = members.clone();
    let mut net = group(&members[..2]);
    net.insert(&carol, adapter().device(&carol).unwrap());
    let before = net.device(&alice).unwrap().send(&team(), b"before").unwrap().packets.remove(0);
    receive(&mut net, &bob, &before).unwrap();
    all_well(net.change(&alice, &team(), slice::from_ref(&carol), &[], false).unwrap()).unwrap();
    let output = net.device(&alice).unwrap().share_history(&team(), &carol).unwrap();
    assert!(events(&mut net, &alice).contains(&Event::HistoryShared { group: team(), device: carol.clone() }));
    all_well(net.deliver(output)).unwrap();
    assert_eq!(receive(&mut net, &carol, &before).unwrap().unwrap().plaintext.0, b"before");
    say(&mut net, &alice, "and on");
}

#[test]
fn a_message_is_sent_again_to_a_new_identity_only_after_the_questions() {
    let members = phones(["alice", "bob"]);
    let [alice, bob] = members.clone();
    let mut net = group(&members);
    let former = identity(&mut net, &bob);
    let sent = net.device(&alice).unwrap().send(&team(), b"undelivered").unwrap();
    assert_eq!(sent.packets.len(), 1);
    net.insert(&bob, adapter().device(&bob).unwrap());
    let present = identity(&mut net, &bob);
    let bundle = net.claim(&bob, &alice).unwrap();

    set_stance(&mut net, &alice, Stance::No);
    let refused = net.device(&alice).unwrap().resend(&team(), b"undelivered", &bundle, false);
    assert_refused(refused, ErrorClass::Refused, "");
    let fact = Fact::Resend {
        device: bob.clone(),
        account_key: present.account_key.clone(),
        original: former.account_key.clone(),
        acknowledged: false,
    };
    let notebook = net.device(&alice).unwrap().notebook().clone();
    notebook.decide(Decision { fact, answer: true });
    let refused = net.device(&alice).unwrap().resend(&team(), b"undelivered", &bundle, false);
    assert_refused(refused, ErrorClass::UntrustedIdentity, "bob");
    events(&mut net, &alice);

    set_stance(&mut net, &alice, Stance::Yes);
    let output = net.device(&alice).unwrap().resend(&team(), b"undelivered", &bundle, false).unwrap();
    let asked = asked_by_library(&events(&mut net, &alice));
    assert_eq!(asked, vec![(shows(&bob, &present, Some(&former)), true), (shows(&bob, &present, None), true)]);
    // The new bob has not been told of the group: the invitation comes first.
    let change = Change { remove: vec![bob.clone()], ..Default::default() };
    let device = net.device(&alice).unwrap();
    let removal = device.change(&team(), &change).unwrap();
    all_well(net.deliver(removal).into_iter().filter(|(device, ..)| *device == alice).collect()).unwrap();
    let bundle = net.claim(&bob, &alice).unwrap();
    let change = Change { add: vec![bundle], ..Default::default() };
    let addition = net.device(&alice).unwrap().change(&team(), &change).unwrap();
    for packet in &addition.packets {
        receive(&mut net, if packet.kind == PacketKind::Welcome { &bob } else { &alice }, packet).unwrap();
    }
    let read = receive(&mut net, &bob, &output.packets[0]).unwrap().unwrap();
    assert_eq!(read.plaintext.0, b"undelivered");
    say(&mut net, &alice, "hello again");
}

#[test]
fn a_linked_device_shows_the_users_identity_key_and_takes_part() {
    let members = phones(["alice", "bob"]);
    let [alice, bob] = members.clone();
    let tablet = DeviceId::new("bob", "tablet");
    let mut net = group(&members);
    net.insert(&tablet, adapter().device(&tablet).unwrap());
    let own = identity(&mut net, &tablet);
    let stale = net.claim(&tablet, &alice).unwrap();

    let request = net.device(&tablet).unwrap().link_request().unwrap();
    assert_eq!((&request.device, request.device_key.0.len()), (&tablet, 0));
    let word = net.device(&bob).unwrap().authorise(&request).unwrap();
    assert_refused(net.device(&alice).unwrap().accept_authorisation(&word), ErrorClass::BadRequest, "bob/tablet");
    let junk = Authorisation { bytes: b"junk".as_slice().into(), ..word.clone() };
    assert_refused(net.device(&tablet).unwrap().accept_authorisation(&junk), ErrorClass::BadRequest, "");
    assert_eq!(identity(&mut net, &tablet), own);
    net.device(&tablet).unwrap().accept_authorisation(&word).unwrap();
    assert_eq!(identity(&mut net, &tablet), identity(&mut net, &bob));
    assert_ne!(identity(&mut net, &tablet), own);

    all_well(net.change(&bob, &team(), slice::from_ref(&tablet), &[], false).unwrap()).unwrap();
    for member in [&alice, &bob, &tablet] {
        say(&mut net, member, "three devices");
    }
    let mut number = |with: &_| net.device(&alice).unwrap().fingerprint(&team(), with).unwrap();
    assert_eq!(number(&bob), number(&tablet));
    // A linked device can vouch in its turn: it holds the key itself.
    let laptop = DeviceId::new("bob", "laptop");
    net.insert(&laptop, adapter().device(&laptop).unwrap());
    let request = net.device(&laptop).unwrap().link_request().unwrap();
    let word = net.device(&tablet).unwrap().authorise(&request).unwrap();
    net.device(&laptop).unwrap().accept_authorisation(&word).unwrap();
    assert_eq!(identity(&mut net, &laptop), identity(&mut net, &bob));
    // A bundle from before the linking bears a key that the tablet has given up.
    net.device(&alice).unwrap().introduce(&stale).unwrap();
    let packets = net.device(&alice).unwrap().send(&team(), b"?").unwrap().packets;
    assert_refused(receive(&mut net, &tablet, &packets[0]), ErrorClass::AuthFailed, "decryption failed");
}

#[test]
fn a_thief_reads_and_speaks_as_the_victim_until_new_keys_are_made_without_it() {
    let members = phones(["alice", "bob", "carol"]);
    let [alice, bob, carol] = members.clone();
    let mut net = group(&members);
    let state = net.device(&bob).unwrap().export_state().unwrap();
    let mut thief = adapter().restore(&bob, state.as_ref()).unwrap();
    assert_eq!(thief.identity().unwrap(), identity(&mut net, &bob));
    assert_eq!(thief.roster(&team()).unwrap().members, members);

    let overheard = net.device(&alice).unwrap().send(&team(), b"overheard").unwrap();
    assert_eq!(common::output_message(thief.receive(&overheard.packets[0]).unwrap()), "overheard");
    all_well(net.deliver(overheard)).unwrap();
    let forged = thief.send(&team(), b"in bob's name").unwrap();
    let read = receive(&mut net, &alice, &forged.packets[0]).unwrap().unwrap();
    assert_eq!((read.sender, read.plaintext.0.as_slice()), (bob.clone(), b"in bob's name".as_slice()));

    // Bob's device is removed, and the others answer that a key he holds is not to be used again.
    all_well(net.change(&alice, &team(), &[], slice::from_ref(&bob), false).unwrap()).unwrap();
    let fact = Fact::StaleKey { group: team(), device: bob.clone() };
    for member in [&alice, &carol] {
        let notebook = net.device(member).unwrap().notebook().clone();
        notebook.decide(Decision { fact: fact.clone(), answer: false });
        let packets = net.device(member).unwrap().send(&team(), b"closed").unwrap().packets;
        for packet in &packets {
            assert!(thief.receive(packet).is_err());
        }
        all_well(net.deliver(Output::packets(packets))).unwrap();
    }
    say(&mut net, &carol, "still here");
}

#[test]
fn a_thief_answers_first_messages_and_relinks_with_the_stolen_identity() {
    let members = phones(["alice", "bob"]);
    let [alice, bob] = members.clone();
    let mut net = Net::new(&*adapter(), &members).unwrap();
    net.group(&team(), &alice, slice::from_ref(&bob)).unwrap();
    let state = net.device(&bob).unwrap().export_state().unwrap();
    let mut thief = adapter().restore(&bob, state.as_ref()).unwrap();
    let output = net.device(&alice).unwrap().send(&team(), b"hello").unwrap();
    assert!(output.packets[0].opens_session);
    for packet in &output.packets {
        thief.receive(packet).unwrap();
    }
    all_well(net.deliver(output)).unwrap();
    let spy = DeviceId::new("bob", "spy");
    let mut linked = adapter().device(&spy).unwrap();
    let word = thief.authorise(&linked.link_request().unwrap()).unwrap();
    linked.accept_authorisation(&word).unwrap();
    assert_eq!(linked.identity().unwrap(), identity(&mut net, &bob));
}

#[test]
fn a_restored_device_is_the_same_device() {
    let members = phones(["alice", "bob", "carol"]);
    let [alice, bob, _] = members.clone();
    let mut net = group(&members);
    let bundle = net.claim(&bob, &alice).unwrap();
    for member in &members {
        let state = net.device(member).unwrap().export_state().unwrap();
        let mut restored = adapter().restore(member, state.as_ref()).unwrap();
        assert_eq!(restored.export_state().unwrap(), state);
        net.insert(member, restored);
    }
    for member in &members {
        say(&mut net, member, "after the restart");
    }
    // The prekeys of a bundle that is out survive as well.
    net.device(&alice).unwrap().introduce(&bundle).unwrap();
    all_well(net.change(&alice, &team(), &[], &[], true).unwrap()).unwrap();
    say(&mut net, &alice, "by a new session");
    for junk in [b"".as_slice(), b"{}", b"junk"] {
        assert_refused(adapter().restore(&alice, junk).map(|_| ()), ErrorClass::BadRequest, "");
    }
}

#[test]
fn a_device_that_stored_itself_goes_on() {
    let members = phones(["alice", "bob", "carol"]);
    let [alice, bob, carol] = members.clone();
    let mut net = Net::new(&*adapter(), &members).unwrap();
    net.group(&team(), &alice, slice::from_ref(&bob)).unwrap();
    say(&mut net, &alice, "alice's session, bob's is yet to be opened");
    let bundle = net.claim(&carol, &bob).unwrap();
    let restart = |net: &mut Net| {
        for member in &members {
            let store = net.device(member).unwrap().store().unwrap();
            let mut loaded = adapter().load(member, store.as_ref()).unwrap();
            assert_eq!(loaded.store().unwrap(), store);
            assert_eq!(loaded.identity().unwrap(), identity(net, member));
            net.insert(member, loaded);
        }
    };
    restart(&mut net);
    say(&mut net, &bob, "back");
    // A change that has not come back, and a bundle that is out.
    let change = Change { add: vec![bundle], ..Default::default() };
    let output = net.device(&bob).unwrap().change(&team(), &change).unwrap();
    restart(&mut net);
    for member in [&alice, &bob] {
        receive(&mut net, member, &output.packets[0]).unwrap();
    }
    receive(&mut net, &carol, &output.packets[1]).unwrap();
    let packets = net.device(&bob).unwrap().send(&team(), b"to all three").unwrap().packets;
    for packet in packets.iter().filter(|packet| packet.to != Address::Device(alice.clone())) {
        receive(&mut net, &carol, packet).unwrap();
    }
    restart(&mut net);
    assert_refused(receive(&mut net, &carol, packets.last().unwrap()), ErrorClass::Duplicate, "old counter");

    let store = net.device(&bob).unwrap().store().unwrap();
    let refused = |name: &DeviceId, bytes: &[u8]| {
        assert_refused(adapter().load(name, bytes).map(|_| ()), ErrorClass::BadRequest, "");
    };
    refused(&alice, store.as_ref());
    refused(&bob, &[store.as_ref(), b"!"].concat());
    (0..store.0.len()).for_each(|length| refused(&bob, &store.0[..length]));
}

#[test]
fn a_muted_device_asks_nothing_and_works() {
    let members = phones(["alice", "bob"]);
    let [alice, bob] = members.clone();
    let mut net = Net::new(&*adapter(), &members).unwrap();
    for member in &members {
        let notebook = net.device(member).unwrap().notebook().clone();
        notebook.set_stance(Stance::No);
        notebook.mute();
    }
    net.group(&team(), &alice, slice::from_ref(&bob)).unwrap();
    for member in &members {
        say(&mut net, member, "hello");
    }
    assert!(events(&mut net, &alice).is_empty() && events(&mut net, &bob).is_empty());
}

#[test]
fn of_two_racing_changes_the_first_counts() {
    let members = phones(["alice", "bob", "carol"]);
    let [alice, bob, carol] = members.clone();
    let mut net = group(&members);
    let dave = phone("dave");
    net.insert(&dave, adapter().device(&dave).unwrap());
    let bundle = net.claim(&dave, &bob).unwrap();
    let loses = Change { add: vec![bundle], ..Default::default() };
    net.device(&bob).unwrap().change(&team(), &loses).unwrap();
    all_well(net.change(&alice, &team(), &[], slice::from_ref(&carol), false).unwrap()).unwrap();
    assert!(events(&mut net, &bob).contains(&Event::ChangeDropped { group: team() }));
    assert_eq!(net.device(&bob).unwrap().roster(&team()).unwrap().members, [alice.clone(), bob]);
    say(&mut net, &alice, "two of us");
}

#[test]
fn what_is_declared_unsupported_is_and_what_is_not_is_not() {
    let members = phones(["alice", "bob"]);
    let [alice, bob] = members.clone();
    let mut net = group(&members);
    let description = adapter().describe();
    assert_eq!(description.name, "libsignal-rust");
    assert!(!description.group_object);
    let unsupported: Vec<_> = description.unsupported.keys().copied().collect();
    let expected = [
        Capability::Epochs,
        Capability::ExternalJoin,
        Capability::KeyRequest,
        Capability::RatchetTree,
        Capability::WrongLeafSignature,
        Capability::WrongParentHash,
        Capability::WrongConfirmationTag,
        Capability::UninvitedJoin,
    ];
    assert_eq!(unsupported, expected);
    let nowhere = GroupId("nowhere".into());
    let device = net.device(&alice).unwrap();
    assert_refused(device.request_keys(&nowhere, &bob), ErrorClass::Unsupported, "");
    assert_refused(device.group_info(&nowhere), ErrorClass::Unsupported, "");
    assert_refused(device.external_join(b"junk"), ErrorClass::Unsupported, "");
    assert_refused(device.ratchet_tree(&nowhere), ErrorClass::Unsupported, "");
    let junk = Bundle { device: bob.clone(), bytes: b"junk".as_slice().into() };
    assert_refused(device.fingerprint(&nowhere, &bob), ErrorClass::BadRequest, "");
    assert_refused(device.resend(&nowhere, b"", &junk, false), ErrorClass::BadRequest, "");
    assert_refused(device.share_history(&nowhere, &bob), ErrorClass::BadRequest, "");
    assert_refused(device.introduce(&junk), ErrorClass::BadRequest, "");
    for forgery in [
        Forgery::BrokenBundle { bundle: junk },
        Forgery::RewrittenIdentity {
            packet: Packet {
                kind: PacketKind::Message,
                group: team(),
                from: bob.clone(),
                to: Address::Device(alice.clone()),
                opens_session: true,
                bytes: b"junk".as_slice().into(),
                seal: None,
            },
        },
    ] {
        assert_refused(device.craft(&forgery), ErrorClass::BadRequest, "");
    }
}
