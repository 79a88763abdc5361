//! The shared group management, over the real library.

#![allow(clippy::unwrap_used)]

mod common;

use common::{World, adapter, count, id, message, team, to};
use e2esm_adapter::{Change, ErrorClass, Event, Fact, PacketKind};
use e2esm_testing::{Net, all_well};

fn change(world: &mut World, by: &str, add: &[&str], remove: &[&str], refresh: bool) -> Change {
    let add = add.iter().map(|name| world.claim(name, by)).collect();
    Change { add, remove: remove.iter().map(|name| id(name)).collect(), refresh }
}

#[test]
fn everybody_reads_everybody_and_nobody_is_authenticated_in_the_roster() {
    let mut world = World::new(&["alice", "bob", "carol"], &[]);
    for name in ["alice", "bob", "carol", "alice"] {
        world.talk(name, &format!("from {name}"));
    }
    for name in ["alice", "bob", "carol"] {
        let roster = world.of(name).roster(&team()).unwrap();
        assert_eq!(roster.members, ["alice", "bob", "carol"].map(id));
        assert!(!roster.authenticated);
    }
}

#[test]
fn a_group_is_made_once_and_a_change_of_it_is_noticed_by_all() {
    let mut net = Net::new(&*adapter(), &["alice", "bob"].map(id)).unwrap();
    net.group(&team(), &id("alice"), &[id("bob")]).unwrap();
    let group = team();
    let (device, by) = (id("bob"), id("alice"));
    let alice = net.device(&by).unwrap();
    assert_eq!(alice.create_group(&group).unwrap_err().class, ErrorClass::Duplicate);
    let events = alice.notebook().take_events();
    assert!(events.contains(&Event::SessionOpened { peer: device.clone() }));
    assert!(events.contains(&Event::MemberAdded { group: group.clone(), device: device.clone(), by }));
    let events = net.device(&device).unwrap().notebook().take_events();
    assert!(events.contains(&Event::Joined { group }));
}

#[test]
fn a_change_is_in_force_when_the_server_brings_it_back_and_not_before() {
    let mut world = World::new(&["alice", "bob"], &["carol"]);
    let change = change(&mut world, "alice", &["carol"], &["bob"], false);
    let output = world.of("alice").change(&team(), &change).unwrap();
    assert_eq!((count(&output, PacketKind::Change), count(&output, PacketKind::Welcome)), (1, 1));
    assert_eq!(world.of("alice").roster(&team()).unwrap().members, ["alice", "bob"].map(id));

    world.receive("alice", &output.packets[0]).unwrap();
    assert_eq!(world.of("alice").roster(&team()).unwrap().members, ["alice", "carol"].map(id));
    let asked = world.asked("alice");
    assert!(asked.iter().all(|(_, fact)| matches!(fact, Fact::Identity { .. })), "one's own is not asked about");

    world.receive("bob", &output.packets[0]).unwrap();
    assert_eq!(world.of("bob").send(&team(), b"still here").unwrap_err().class, ErrorClass::NotMember);
    assert_eq!(world.of("bob").wants(&team()).unwrap(), []);
    let (group, by) = (team(), id("alice"));
    assert!(world.events("bob").contains(&Event::MemberRemoved { group, device: id("bob"), by }));
}

#[test]
fn one_invitation_goes_to_all_newcomers() {
    let mut world = World::new(&["alice", "bob"], &["carol", "dave"]);
    let change = change(&mut world, "alice", &["carol", "dave"], &["bob"], false);
    let output = world.of("alice").change(&team(), &change).unwrap();
    let [change, welcome] = <[e2esm_adapter::Packet; 2]>::try_from(output.packets).unwrap();
    assert_eq!(welcome.to, e2esm_adapter::Address::Devices(["carol", "dave"].map(id).into()));
    world.receive("alice", &change).unwrap();
    for name in ["carol", "dave"] {
        world.receive(name, &welcome).unwrap();
        assert_eq!(world.of(name).roster(&team()).unwrap().members, ["alice", "carol", "dave"].map(id));
    }
}

#[test]
fn of_two_racing_changes_the_other_is_processed_and_ones_own_is_dropped() {
    let mut world = World::new(&["alice", "bob", "carol"], &["dave"]);
    let by_alice = change(&mut world, "alice", &["dave"], &[], false);
    let by_bob = change(&mut world, "bob", &[], &["carol"], false);
    let first = world.of("alice").change(&team(), &by_alice).unwrap().packets[0].clone();
    world.of("bob").change(&team(), &by_bob).unwrap();
    world.receive("bob", &first).unwrap();
    assert!(world.events("bob").contains(&Event::ChangeDropped { group: team() }));
    assert_eq!(world.of("bob").roster(&team()).unwrap().members, ["alice", "bob", "carol", "dave"].map(id));
}

#[test]
fn the_same_change_by_another_member_is_not_mistaken_for_ones_own() {
    let mut world = World::new(&["alice", "bob", "carol"], &[]);
    let without_carol = change(&mut world, "alice", &[], &["carol"], false);
    let by_alice = world.of("alice").change(&team(), &without_carol).unwrap().packets[0].clone();
    let by_bob = world.of("bob").change(&team(), &without_carol).unwrap().packets[0].clone();
    assert_eq!(by_alice.bytes, by_bob.bytes);
    world.receive("bob", &by_alice).unwrap();
    let events = world.events("bob");
    let (group, device, by) = (team(), id("carol"), id("alice"));
    assert!(events.contains(&Event::ChangeDropped { group: group.clone() }));
    assert!(events.contains(&Event::MemberRemoved { group, device, by }));
}

#[test]
fn a_change_that_the_application_refuses_leaves_everything_as_it_was() {
    let mut world = World::new(&["alice", "bob", "carol"], &["dave"]);
    let without_carol = change(&mut world, "bob", &[], &["carol"], false);
    let pending = world.of("bob").change(&team(), &without_carol).unwrap().packets[0].clone();
    let both = change(&mut world, "alice", &["dave"], &["carol"], false);
    let packet = world.of("alice").change(&team(), &both).unwrap().packets[0].clone();
    let (group, device, by) = (team(), id("dave"), id("alice"));
    let add = Fact::Add { group, device, by, authenticated: false };
    world.answer("bob", add.clone(), false);
    world.events("bob");
    world.refuses("bob", &packet, ErrorClass::Refused);
    let (group, device, by) = (team(), id("carol"), id("alice"));
    let remove = Fact::Remove { group, device, by, authenticated: false };
    let point = "GroupDevice::receive_change".to_owned();
    assert_eq!(world.asked("bob"), [(point.clone(), remove), (point, add)]);
    assert_eq!(world.of("bob").roster(&team()).unwrap().members.len(), 3);

    world.receive("bob", &pending).unwrap();
    let events = world.events("bob");
    assert!(!events.iter().any(|event| matches!(event, Event::Consulted { .. })), "bob's own is still pending");
}

#[test]
fn whoever_is_added_or_removed_must_not_or_must_be_there() {
    let mut world = World::new(&["alice", "bob"], &["carol"]);
    let refused = |world: &mut World, change: &Change| world.of("alice").change(&team(), change).unwrap_err().class;
    let again = change(&mut world, "alice", &["bob"], &[], false);
    assert_eq!(refused(&mut world, &again), ErrorClass::Duplicate);
    let nobody = change(&mut world, "alice", &[], &["carol"], false);
    assert_eq!(refused(&mut world, &nobody), ErrorClass::NotMember);
    let swap = change(&mut world, "alice", &["bob"], &["bob"], false);
    assert!(world.of("alice").change(&team(), &swap).is_ok(), "a reinstalled device, in one step");
}

#[test]
fn a_removed_device_keeps_reading_as_long_as_the_application_lets_the_key_be_used() {
    let mut world = World::new(&["alice", "bob", "carol"], &[]);
    world.talk("alice", "all three");
    world.change("bob", &[], &["carol"]);
    world.events("alice");
    let packets = world.packets("alice", "kept");
    let stale = Fact::StaleKey { group: team(), device: id("carol") };
    assert_eq!(world.asked("alice"), [("GroupDevice::send".to_owned(), stale.clone())]);
    world.reads("carol", &message(&packets), "kept");
    world.reads("bob", &message(&packets), "kept");

    world.answer("alice", stale, false);
    let packets = world.packets("alice", "new key");
    world.receive("bob", &to(&packets, "bob")).unwrap();
    world.reads("bob", &message(&packets), "new key");
    world.refuses("carol", &message(&packets), ErrorClass::NoKey);
    world.events("alice");
    world.packets("alice", "and on");
    assert_eq!(world.asked("alice"), [], "nobody outside holds the new key");
}

#[test]
fn what_is_sent_between_a_removal_and_a_return_stays_closed_with_a_new_key() {
    let mut world = World::new(&["alice", "bob", "carol"], &[]);
    world.talk("alice", "before");
    world.answer("alice", Fact::StaleKey { group: team(), device: id("carol") }, false);
    world.change("alice", &[], &["carol"]);
    let gap = world.say("alice", "gap");
    world.change("alice", &["carol"], &[]);
    world.talk("alice", "after");
    world.refuses("carol", &gap, ErrorClass::NoKey);
}

#[test]
fn a_removed_device_that_sends_all_the_same_is_asked_about() {
    let mut world = World::new(&["alice", "bob", "carol"], &[]);
    world.talk("carol", "as a member");
    let removal = change(&mut world, "alice", &[], &["carol"], false);
    let packet = world.of("alice").change(&team(), &removal).unwrap().packets[0].clone();
    world.receive("bob", &packet).unwrap();
    let unaware = message(&world.packets("carol", "withheld from me"));
    let fact = Fact::NonMemberSender { group: team(), device: id("carol") };
    world.answer("bob", fact.clone(), false);
    world.events("bob");
    world.refuses("bob", &unaware, ErrorClass::NotMember);
    assert_eq!(world.asked("bob"), [("GroupDevice::receive_message".to_owned(), fact.clone())]);
    world.answer("bob", fact, true);
    world.reads("bob", &unaware, "withheld from me");
    world.talk("alice", "and on");
}

#[test]
fn a_sender_key_from_outside_the_roster_is_asked_about() {
    let mut world = World::new(&["alice", "bob"], &["carol"]);
    let bundles = vec![world.claim("bob", "carol")];
    world.of("carol").create_group(&team()).unwrap();
    let add = Change { add: bundles, ..Change::default() };
    let added = world.of("carol").change(&team(), &add).unwrap().packets[0].clone();
    world.receive("carol", &added).unwrap();
    let packets = world.packets("carol", "let me in");
    let fact = Fact::NonMemberSender { group: team(), device: id("carol") };
    world.answer("bob", fact.clone(), false);
    world.events("bob");
    world.refuses("bob", &to(&packets, "bob"), ErrorClass::NotMember);
    assert_eq!(world.asked("bob"), [("GroupDevice::receive_key_distribution".to_owned(), fact.clone())]);
    world.answer("bob", fact, true);
    world.receive("bob", &to(&packets, "bob")).unwrap();
    assert!(world.events("bob").contains(&Event::KeyAccepted { group: team(), owner: id("carol") }));
    world.talk("alice", "among ourselves");
}

#[test]
fn a_member_without_a_session_is_left_out_and_wanted() {
    let mut world = World::new(&["alice", "bob", "carol"], &[]);
    assert_eq!(world.of("bob").wants(&team()).unwrap(), ["alice", "carol"].map(id));
    let output = world.of("bob").send(&team(), b"anybody?").unwrap();
    assert_eq!(output.packets.len(), 1);
    let skipped = ["alice", "carol"].map(|name| Event::Skipped { group: team(), device: id(name) });
    assert_eq!(world.events("bob"), skipped);
    world.refuses("carol", &output.packets[0], ErrorClass::NoKey);
    world.talk("bob", "now");
    assert_eq!(world.of("bob").wants(&team()).unwrap(), []);
}

#[test]
fn a_newcomer_reads_nothing_from_before_it_came() {
    let mut world = World::new(&["alice", "bob"], &["carol"]);
    let early = world.say("alice", "early");
    world.change("alice", &["carol"], &[]);
    world.talk("alice", "welcome");
    let error = world.refuses("carol", &early, ErrorClass::NoKey);
    assert!(error.text.contains("unknown message index"), "{error}");
}

#[test]
fn a_refresh_is_a_new_sender_key_at_the_next_send_and_costs_nothing_before() {
    let mut world = World::new(&["alice", "bob"], &[]);
    world.talk("alice", "one");
    let again = world.of("alice").send(&team(), b"two").unwrap();
    assert_eq!(count(&again, PacketKind::KeyDistribution), 0);
    let refresh = Change { refresh: true, ..Change::default() };
    assert!(world.of("alice").change(&team(), &refresh).unwrap().packets.is_empty());
    let fresh = world.of("alice").send(&team(), b"three").unwrap();
    assert_eq!(count(&fresh, PacketKind::KeyDistribution), 1);
    world.refuses("bob", &message(&fresh.packets), ErrorClass::NoKey);
    world.receive("bob", &to(&fresh.packets, "bob")).unwrap();
    world.reads("bob", &message(&fresh.packets), "three");
}

#[test]
fn a_refresh_together_with_a_removal_comes_with_it_and_asks_nothing() {
    let mut world = World::new(&["alice", "bob", "carol"], &[]);
    world.talk("alice", "one");
    all_well(world.net.change(&id("alice"), &team(), &[], &[id("carol")], true).unwrap()).unwrap();
    world.events("alice");
    let packets = world.packets("alice", "two");
    assert_eq!(world.asked("alice"), []);
    world.refuses("carol", &message(&packets), ErrorClass::NoKey);
}

#[test]
fn nothing_shows_to_whom_else_a_message_went() {
    let mut world = World::new(&["alice", "bob"], &[]);
    let packets = world.packets("alice", "only you, or you and others");
    world.receive("bob", &to(&packets, "bob")).unwrap();
    let fact = Fact::Recipients { group: team(), sender: id("alice") };
    world.answer("bob", fact.clone(), false);
    world.refuses("bob", &message(&packets), ErrorClass::Refused);
    world.answer("bob", fact, true);
    world.reads("bob", &message(&packets), "only you, or you and others");
}

#[test]
fn an_invitation_is_asked_about_and_one_into_a_known_group_keeps_the_keys() {
    let mut world = World::new(&["alice", "bob"], &["carol"]);
    world.talk("alice", "one");
    world.talk("bob", "two");
    world.of("carol").create_group(&team()).unwrap();
    let add = change(&mut world, "carol", &["bob"], &[], false);
    let welcome = world.of("carol").change(&team(), &add).unwrap().packets[1].clone();
    let (group, device, by) = (team(), id("bob"), id("carol"));
    let fact = Fact::Add { group, device, by, authenticated: false };
    world.answer("bob", fact.clone(), false);
    world.events("bob");
    world.refuses("bob", &welcome, ErrorClass::Refused);
    assert_eq!(world.asked("bob"), [("GroupDevice::receive_welcome".to_owned(), fact.clone())]);
    world.talk("alice", "still the old roster");

    world.answer("bob", fact, true);
    world.receive("bob", &welcome).unwrap();
    assert_eq!(world.of("bob").roster(&team()).unwrap().members, ["bob", "carol"].map(id));
    let from_alice = message(&world.packets("alice", "read with the old key"));
    world.reads("bob", &from_alice, "read with the old key");
}

#[test]
fn a_welcome_must_be_for_the_one_who_gets_it() {
    let mut world = World::new(&["alice", "bob"], &["carol"]);
    let add = change(&mut world, "alice", &["carol"], &[], false);
    let output = world.of("alice").change(&team(), &add).unwrap();
    let mut other = to(&output.packets, "carol");
    other.bytes = br#"{"members":["alice/phone","mallory/phone"]}"#.as_slice().into();
    world.refuses("carol", &other, ErrorClass::BadRequest);
    world.receive("carol", &to(&output.packets, "carol")).unwrap();
}

#[test]
fn a_listed_device_becomes_a_recipient_if_the_application_says_so() {
    let tablet = e2esm_adapter::DeviceId::new("bob", "tablet");
    let mut world = World::new(&["alice", "bob"], &[]);
    world.talk("alice", "one");
    world.net.insert(&tablet, adapter().device(&tablet).unwrap());
    let bundle = world.net.claim(&tablet, &id("alice")).unwrap();
    let packet = e2esm_adapter::Packet {
        kind: PacketKind::DeviceList,
        group: team(),
        from: tablet.clone(),
        to: e2esm_adapter::Address::Device(id("alice")),
        opens_session: false,
        bytes: serde_json::to_vec(&bundle).unwrap().into(),
        seal: None,
    };
    let fact = Fact::ListedDevice { device: tablet.clone() };
    world.answer("alice", fact.clone(), false);
    world.events("alice");
    world.refuses("alice", &packet, ErrorClass::UntrustedIdentity);
    assert_eq!(world.asked("alice"), [("GroupDevice::receive_device_list".to_owned(), fact.clone())]);
    world.talk("alice", "two");

    world.answer("alice", fact, true);
    world.receive("alice", &packet).unwrap();
    let events = world.events("alice");
    let (group, by) = (team(), tablet.clone());
    assert!(events.contains(&Event::MemberAdded { group, device: tablet.clone(), by }));
    let packets = world.packets("alice", "three");
    let given: Vec<_> = packets.iter().map(|packet| packet.to.clone()).collect();
    assert!(given.contains(&e2esm_adapter::Address::Device(tablet)));
}

#[test]
fn history_is_the_sender_keys_as_first_handed_out_and_the_sessions_of_others() {
    let mut world = World::new(&["alice", "bob"], &["carol"]);
    let from_bob = world.packets("bob", "from bob");
    world.receive("alice", &to(&from_bob, "alice")).unwrap();
    let early = world.packets("alice", "early");
    world.of("alice").change(&team(), &Change { refresh: true, ..Change::default() }).unwrap();
    let later = world.packets("alice", "under a later key");
    world.change("alice", &["carol"], &[]);
    for packets in [&from_bob, &early, &later] {
        world.refuses("carol", &message(packets), ErrorClass::NoKey);
    }

    let fact = Fact::History { group: team(), device: id("carol") };
    world.answer("alice", fact.clone(), false);
    let refused = world.of("alice").share_history(&team(), &id("carol")).unwrap_err();
    assert_eq!(refused.class, ErrorClass::Refused);
    world.answer("alice", fact, true);
    world.events("alice");
    let output = world.of("alice").share_history(&team(), &id("carol")).unwrap();
    assert!(world.events("alice").contains(&Event::HistoryShared { group: team(), device: id("carol") }));
    all_well(world.net.deliver(output)).unwrap();
    assert!(world.events("carol").contains(&Event::KeyAccepted { group: team(), owner: id("bob") }));
    world.reads("carol", &message(&early), "early");
    world.reads("carol", &message(&later), "under a later key");
    world.reads("carol", &message(&from_bob), "from bob");
    let next = world.of("alice").send(&team(), b"next").unwrap();
    assert_eq!(count(&next, PacketKind::KeyDistribution), 0, "carol has the present key by now");
    world.reads("carol", &message(&next.packets), "next");
}

#[test]
fn there_is_no_history_to_share_with_a_stranger_or_before_anything_was_said() {
    let mut world = World::new(&["alice", "bob"], &["carol"]);
    assert_eq!(world.of("alice").share_history(&team(), &id("bob")).unwrap_err().class, ErrorClass::NoKey);
    world.talk("alice", "one");
    assert_eq!(world.of("alice").share_history(&team(), &id("carol")).unwrap_err().class, ErrorClass::NoKey);
    assert_eq!(world.of("carol").share_history(&team(), &id("bob")).unwrap_err().class, ErrorClass::BadRequest);
}

#[test]
fn keys_are_requested_and_given_to_the_key_that_asks() {
    let mut world = World::new(&["alice", "bob"], &[]);
    let early = world.say("alice", "early");
    world.talk("alice", "late");
    let new_bob = adapter().device(&id("bob")).unwrap();
    world.net.insert(&id("bob"), new_bob);
    let members = ["alice", "bob"].map(id).to_vec();
    let invitation = format!(r#"{{"members":{}}}"#, serde_json::to_string(&members).unwrap());
    let mut welcome = early.clone();
    (welcome.kind, welcome.bytes) = (PacketKind::Welcome, invitation.into_bytes().into());
    world.receive("bob", &welcome).unwrap();

    let request = world.of("bob").request_keys(&team(), &id("alice")).unwrap();
    assert_eq!(count(&request, PacketKind::KeyRequest), 1);
    let fact = Fact::KeyRequest { group: team(), device: id("bob") };
    world.answer("alice", fact.clone(), false);
    world.events("alice");
    world.refuses("alice", &request.packets[0], ErrorClass::Refused);
    assert_eq!(world.asked("alice"), [("GroupDevice::receive_key_request".to_owned(), fact.clone())]);
    world.answer("alice", fact, true);
    all_well(world.net.deliver(request)).unwrap();
    let next = world.of("alice").send(&team(), b"no need for the key again").unwrap();
    assert_eq!(count(&next, PacketKind::KeyDistribution), 0);
    let events = world.events("alice");
    assert!(events.contains(&Event::KeyChanged { device: id("bob") }));
    assert!(events.contains(&Event::HistoryShared { group: team(), device: id("bob") }));
    world.reads("bob", &early, "early");
    world.talk("alice", "next");
}

#[test]
fn a_message_is_sent_again_to_a_new_key_only_if_the_application_says_so() {
    let mut world = World::new(&["alice", "bob"], &[]);
    world.packets("alice", "undelivered");
    let original = world.of("bob").identity().unwrap().account_key;
    let new_bob = adapter().device(&id("bob")).unwrap();
    world.net.insert(&id("bob"), new_bob);
    world.of("bob").create_group(&team()).unwrap();
    let bundle = world.claim("bob", "alice");
    let account_key = world.of("bob").identity().unwrap().account_key;
    let fact = Fact::Resend { device: id("bob"), account_key, original, acknowledged: false };
    world.answer("alice", fact.clone(), false);
    world.events("alice");
    let resend = |world: &mut World| world.of("alice").resend(&team(), b"undelivered", &bundle, false);
    assert_eq!(resend(&mut world).unwrap_err().class, ErrorClass::Refused);
    assert_eq!(world.asked("alice"), [("GroupDevice::resend".to_owned(), fact.clone())]);

    world.answer("alice", fact, true);
    let output = resend(&mut world).unwrap();
    let events = world.events("alice");
    assert!(events.contains(&Event::KeyChanged { device: id("bob") }));
    assert_eq!((output.packets.len(), output.packets[0].opens_session), (1, true));
    world.reads("bob", &output.packets[0], "undelivered");
    let next = world.of("alice").send(&team(), b"next").unwrap();
    assert_eq!(count(&next, PacketKind::KeyDistribution), 1, "the new device has yet to get the sender key");
}

#[test]
fn pairwise_content_is_for_one_group_and_one_use_and_is_read_after_a_wrong_delivery() {
    let mut world = World::new(&["alice", "bob"], &[]);
    let other = e2esm_adapter::GroupId("other".into());
    world.net.group(&other, &id("alice"), &[id("bob")]).unwrap();
    let packets = world.packets("alice", "for the team");
    let honest = to(&packets, "bob");
    let mut wrong = honest.clone();
    wrong.group = other;
    let error = world.refuses("bob", &wrong, ErrorClass::BadRequest);
    assert!(error.text.contains("delivered for other"), "{error}");
    let mut wrong = honest.clone();
    wrong.kind = PacketKind::Message;
    world.refuses("bob", &wrong, ErrorClass::BadRequest);
    world.receive("bob", &honest).unwrap();
    world.reads("bob", &message(&packets), "for the team");

    let bundle = world.claim("bob", "alice");
    let output = world.of("alice").resend(&team(), b"again", &bundle, false).unwrap();
    let mut wrong = output.packets[0].clone();
    wrong.kind = PacketKind::KeyDistribution;
    world.refuses("bob", &wrong, ErrorClass::BadRequest);
    world.reads("bob", &output.packets[0], "again");
    world.refuses("bob", &output.packets[0], ErrorClass::NoKey);
}

#[test]
fn what_makes_no_sense_is_a_bad_request_and_does_no_harm() {
    let mut world = World::new(&["alice", "bob"], &[]);
    let packets = world.packets("alice", "one");
    let honest = [to(&packets, "bob"), message(&packets)];
    for kind in [
        PacketKind::Change,
        PacketKind::Welcome,
        PacketKind::Proposal,
        PacketKind::KeyRequest,
        PacketKind::DeviceList,
        PacketKind::KeyDistribution,
    ] {
        let mut junk = honest[1].clone();
        junk.kind = kind;
        world.refuses("bob", &junk, ErrorClass::BadRequest);
    }
    for packet in &honest {
        let mut unknown = packet.clone();
        unknown.group = e2esm_adapter::GroupId("unknown".into());
        world.refuses("bob", &unknown, ErrorClass::BadRequest);
    }
    for to in [e2esm_adapter::Address::Server, e2esm_adapter::Address::Devices(["alice", "bob"].map(id).into())] {
        world.refuses("bob", &e2esm_adapter::Packet { to, ..honest[1].clone() }, ErrorClass::BadRequest);
    }
    world.receive("bob", &honest[0]).unwrap();
    world.reads("bob", &honest[1], "one");
    let own = world.claim("alice", "bob");
    assert_eq!(world.of("alice").introduce(&own).unwrap_err().class, ErrorClass::BadRequest);
}

#[test]
fn what_these_protocols_lack_is_declared_with_a_reason_and_answered_unsupported() {
    use e2esm_adapter::{Capability, Fault, Forgery};
    let mut world = World::new(&["alice"], &["mallory"]);
    let unsupported = adapter().describe().unsupported;
    let declared: Vec<_> = unsupported.keys().copied().collect();
    assert_eq!(
        declared,
        [
            Capability::Epochs,
            Capability::ExternalJoin,
            Capability::RatchetTree,
            Capability::WrongLeafSignature,
            Capability::WrongParentHash,
            Capability::WrongConfirmationTag,
            Capability::UninvitedJoin,
        ]
    );
    assert!(unsupported.values().all(|reason| !reason.is_empty()));
    let alice = world.of("alice");
    assert_eq!(alice.group_info(&team()).unwrap_err().class, ErrorClass::Unsupported);
    assert_eq!(alice.external_join(b"").unwrap_err().class, ErrorClass::Unsupported);
    assert_eq!(alice.tree_in_welcome(&team(), false).unwrap_err().class, ErrorClass::Unsupported);
    assert_eq!(alice.ratchet_tree(&team()).unwrap_err().class, ErrorClass::Unsupported);
    let welcome = world.packets("alice", "no welcome").remove(0);
    let alice = world.of("alice");
    assert_eq!(alice.join_with_tree(&welcome, b"").unwrap_err().class, ErrorClass::Unsupported);
    for fault in [Fault::WrongLeafSignature, Fault::WrongParentHash, Fault::WrongConfirmationTag] {
        assert_eq!(alice.misbehave(&fault).unwrap_err().class, ErrorClass::Unsupported);
    }
    let group = world.known();
    let refused = world.of("mallory").craft(&Forgery::UninvitedJoin { group }).unwrap_err();
    assert_eq!(refused.class, ErrorClass::Unsupported);
}
