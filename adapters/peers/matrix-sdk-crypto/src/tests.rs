//! What vectors do not show: a restart, requests for keys, shared history, rotation by count, and what each strategy does about
//! a device that the homeserver lists.

#![allow(clippy::unwrap_used)]

use e2esm_adapter::{
    Adapter, Address, Bundle, DeviceId, Error, ErrorClass, Event, Fact, GroupId, Message, Output, Packet, PacketKind,
    Stance,
};
use e2esm_testing::{Net, all_well, readers};
use serde_json::Value;

use crate::adapter::{Configuration, MatrixAdapter};
use crate::wire::{RoomEvent, ToDevice, from_json, to_json};

fn phone(user: &str) -> DeviceId {
    DeviceId::new(user, "phone")
}

fn friends() -> GroupId {
    GroupId("friends".to_owned())
}

/// alice, bob and carol in one room, each of whom has written once.
fn net(configuration: Configuration) -> Net {
    let ids = ["alice", "bob", "carol"].map(phone);
    let mut net = Net::new(&MatrixAdapter(configuration), &ids).unwrap();
    net.group(&friends(), &ids[0], &ids[1..]).unwrap();
    for id in &ids {
        all_well(net.send(id, &friends(), "hello").unwrap()).unwrap();
    }
    net
}

/// Puts in a tablet of bob's that his phone has vouched for.
fn link_tablet(net: &mut Net, configuration: Configuration) -> DeviceId {
    let tablet = DeviceId::new("bob", "tablet");
    let mut device = MatrixAdapter(configuration).device(&tablet).unwrap();
    let word = net.device(&phone("bob")).unwrap().authorise(&device.link_request().unwrap()).unwrap();
    device.accept_authorisation(&word).unwrap();
    net.insert(&tablet, device);
    assert_eq!(identity(net, &tablet).account_key, identity(net, &phone("bob")).account_key);
    all_well(net.change(&phone("alice"), &friends(), std::slice::from_ref(&tablet), &[], false).unwrap()).unwrap();
    tablet
}

fn identity(net: &mut Net, device: &DeviceId) -> e2esm_adapter::Identity {
    net.device(device).unwrap().identity().unwrap()
}

/// What `by` sends, not yet delivered.
fn sent(net: &mut Net, by: &DeviceId, text: &str) -> Output {
    for peer in net.device(by).unwrap().wants(&friends()).unwrap() {
        let bundle = net.claim(&peer, by).unwrap();
        net.device(by).unwrap().introduce(&bundle).unwrap();
    }
    net.device(by).unwrap().send(&friends(), text.as_bytes()).unwrap()
}

fn message(output: &Output) -> Packet {
    output.packets.iter().find(|packet| packet.kind == PacketKind::Message).unwrap().clone()
}

fn class(result: Result<Output, Error>) -> ErrorClass {
    result.unwrap_err().class
}

/// The homeserver lists a device.
fn listed(bundle: &Bundle, to: &DeviceId) -> Packet {
    Packet {
        kind: PacketKind::DeviceList,
        group: friends(),
        from: bundle.device.clone(),
        to: Address::Device(to.clone()),
        opens_session: false,
        bytes: to_json(bundle).unwrap(),
        seal: None,
    }
}

#[test]
fn a_stored_device_goes_on_and_a_copied_one_reads_along() {
    for configuration in [Configuration::AllDevices, Configuration::IdentityBased, Configuration::VerifiedProblem] {
        let adapter = MatrixAdapter(configuration);
        let mut net = net(configuration);
        let (alice, bob, carol) = (phone("alice"), phone("bob"), phone("carol"));
        let copy = net.device(&bob).unwrap().export_state().unwrap();
        assert!(adapter.restore(&carol, copy.as_ref()).is_err(), "another name");
        assert!(adapter.restore(&bob, b"{}").is_err());
        for id in [&alice, &bob, &carol] {
            let store = net.device(id).unwrap().store().unwrap();
            let before = identity(&mut net, id);
            net.insert(id, adapter.load(id, store.as_ref()).unwrap());
            assert_eq!(identity(&mut net, id), before);
        }
        let mut thief = adapter.restore(&bob, copy.as_ref()).unwrap();
        let output = sent(&mut net, &alice, "after the restart");
        assert_eq!(output.packets.len(), 1, "everybody has the room key still");
        let stolen = thief.receive(&message(&output)).unwrap().message.unwrap();
        assert_eq!(stolen.plaintext.0, b"after the restart");
        let read = net.deliver(output);
        assert_eq!(readers(&read, "after the restart"), [(bob.clone(), alice.clone()), (carol.clone(), alice.clone())]);
        all_well(net.change(&alice, &friends(), &[], &[carol], false).unwrap()).unwrap();
        let read = net.send(&bob, &friends(), "two of us").unwrap();
        assert_eq!(readers(&read, "two of us"), [(alice, bob)]);
    }
}

#[test]
fn a_room_key_lasts_for_a_hundred_messages() {
    let mut net = net(Configuration::AllDevices);
    let alice = phone("alice");
    let mut sessions = Vec::new();
    for _ in 0..101 {
        let output = sent(&mut net, &alice, "again");
        let RoomEvent { content } = from_json(message(&output).bytes.as_ref(), "room event").unwrap();
        sessions.push(content["session_id"].as_str().unwrap().to_owned());
        all_well(net.deliver(output)).unwrap();
    }
    // One message was sent when the room was made.
    assert!(sessions[..99].iter().all(|session| *session == sessions[0]));
    assert!(sessions[99] != sessions[0] && sessions[100] == sessions[99]);
}

#[test]
fn what_is_altered_is_refused_and_what_was_sent_is_taken_after_it() {
    let mut net = net(Configuration::AllDevices);
    let (alice, bob) = (phone("alice"), phone("bob"));
    net.device(&alice).unwrap().misbehave(&e2esm_adapter::Fault::None).unwrap();
    let change = e2esm_adapter::Change { refresh: true, ..e2esm_adapter::Change::default() };
    net.device(&alice).unwrap().change(&friends(), &change).unwrap();
    let output = sent(&mut net, &alice, "under a new key");
    let key = output.packets.iter().find(|packet| packet.to == Address::Device(bob.clone())).unwrap().clone();
    let text = message(&output);
    let bob = net.device(&bob).unwrap();
    assert_eq!(class(bob.receive(&text)), ErrorClass::NoKey, "the key has not come yet");
    assert_eq!(class(bob.receive(&Packet { from: phone("carol"), ..key.clone() })), ErrorClass::AuthFailed);
    let mut event: ToDevice = from_json(key.bytes.as_ref(), "to-device event").unwrap();
    for ciphertext in event.content["ciphertext"].as_object_mut().unwrap().values_mut() {
        ciphertext["body"] = Value::String(ciphertext["body"].as_str().unwrap().replace(['a', 'b'], "c"));
    }
    let altered = Packet { bytes: to_json(&event).unwrap(), ..key.clone() };
    assert_eq!(class(bob.receive(&altered)), ErrorClass::AuthFailed);
    bob.receive(&key).unwrap();
    assert!(bob.receive(&key).is_err(), "an Olm message is taken once");
    let mut event: RoomEvent = from_json(text.bytes.as_ref(), "room event").unwrap();
    let body = event.content["ciphertext"].as_str().unwrap();
    let (start, end) = body.split_at(body.len() - 8);
    event.content["ciphertext"] = Value::String(format!("{start}AAAA{}", &end[4..]));
    assert_eq!(class(bob.receive(&Packet { bytes: to_json(&event).unwrap(), ..text.clone() })), ErrorClass::AuthFailed);
    assert_eq!(bob.receive(&text).unwrap().message.unwrap().plaintext.0, b"under a new key");
    let other = Packet { group: GroupId("others".to_owned()), ..text };
    bob.create_group(&other.group).unwrap();
    assert_eq!(class(bob.receive(&other)), ErrorClass::NoKey, "a room key is for one room");
}

#[test]
fn a_listed_device_gets_the_room_key_or_not_as_the_strategy_says() {
    for configuration in [Configuration::AllDevices, Configuration::IdentityBased, Configuration::VerifiedProblem] {
        let mut net = net(configuration);
        let (alice, ghost) = (phone("alice"), DeviceId::new("bob", "tablet"));
        let mut device = MatrixAdapter(configuration).device(&ghost).unwrap();
        let bundle = device.publish(&alice).unwrap();
        let notebook = net.device(&alice).unwrap().notebook().clone();
        notebook.take_events();
        net.device(&alice).unwrap().receive(&listed(&bundle, &alice)).unwrap();
        let asked = |events: &[Event]| {
            events.iter().any(|event| matches!(event, Event::Consulted { about: Fact::ListedDevice { .. }, .. }))
        };
        assert!(!asked(&notebook.take_events()), "{configuration:?}: nothing is asked when it is listed");
        if configuration == Configuration::VerifiedProblem {
            notebook.set_stance(Stance::No);
        }
        let output = net.device(&alice).unwrap().send(&friends(), b"who reads this?").unwrap();
        assert_eq!(asked(&notebook.take_events()), configuration == Configuration::VerifiedProblem);
        let given = output.packets.iter().any(|packet| packet.to == Address::Device(ghost.clone()));
        assert_eq!(given, configuration == Configuration::AllDevices, "{configuration:?}");
    }
}

#[test]
fn keys_of_old_messages_are_given_to_devices_that_their_user_signed_and_to_nobody_else() {
    let configuration = Configuration::AllDevices;
    let mut net = net(configuration);
    let (alice, bob) = (phone("alice"), phone("bob"));
    let old = sent(&mut net, &alice, "before the tablet came");
    all_well(net.deliver(Output { packets: old.packets.clone(), message: None })).unwrap();
    let tablet = link_tablet(&mut net, configuration);
    all_well(net.send(&tablet, &friends(), "now I know you").unwrap()).unwrap();
    assert_eq!(class(net.device(&tablet).unwrap().receive(&message(&old))), ErrorClass::NoKey);

    // The SDK makes the request of its own accord, too; it goes out with the next call.
    let output = net.device(&tablet).unwrap().send(&friends(), b"by the way").unwrap();
    let request = output.packets.iter().find(|packet| packet.kind == PacketKind::KeyRequest).unwrap().clone();
    assert_eq!(request.to, Address::Device(bob.clone()));
    all_well(net.deliver(output)).unwrap();
    let read = net.device(&tablet).unwrap().receive(&message(&old)).unwrap().message.unwrap();
    assert_eq!(read.plaintext.0, b"before the tablet came");

    // Somebody who calls himself bob's watch asks bob and alice.
    let watch = DeviceId::new("bob", "watch");
    let mut device = MatrixAdapter(configuration).device(&watch).unwrap();
    device.create_group(&friends()).unwrap();
    assert_eq!(class(device.request_keys(&friends(), &bob)), ErrorClass::NoKey, "it waits for nothing yet");
    assert_eq!(class(device.receive(&message(&old))), ErrorClass::NoKey);
    for holder in [&bob, &alice] {
        let request = device.request_keys(&friends(), holder).unwrap().packets.remove(0);
        assert_eq!(class(net.device(holder).unwrap().receive(&request)), ErrorClass::Refused);
    }
}

#[test]
fn shared_history_is_read_after_a_question_or_not_at_all() {
    for configuration in [Configuration::AllDevices, Configuration::IdentityBased] {
        let mut net = net(configuration);
        let (alice, dave) = (phone("alice"), phone("dave"));
        let old = sent(&mut net, &alice, "before dave came");
        all_well(net.deliver(Output { packets: old.packets.clone(), message: None })).unwrap();
        net.insert(&dave, MatrixAdapter(configuration).device(&dave).unwrap());
        all_well(net.change(&alice, &friends(), std::slice::from_ref(&dave), &[], false).unwrap()).unwrap();
        let shared = net.device(&alice).unwrap().share_history(&friends(), &dave).unwrap();
        all_well(net.deliver(shared)).unwrap();
        let notebook = net.device(&dave).unwrap().notebook().clone();
        notebook.take_events();
        let read = net.device(&dave).unwrap().receive(&message(&old));
        if configuration == Configuration::IdentityBased {
            assert_eq!(class(read), ErrorClass::UntrustedIdentity);
            continue;
        }
        let Message { plaintext, .. } = read.unwrap().message.unwrap();
        assert_eq!(plaintext.0, b"before dave came");
        let asked = notebook
            .take_events()
            .into_iter()
            .any(|event| matches!(event, Event::Consulted { about: Fact::Sender { owner, .. }, .. } if owner == alice));
        assert!(asked, "there is alice's word only that the key is hers");
    }
}
