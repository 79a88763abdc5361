//! A copied state is as good as the device, until the device heals.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Cast, assert_refused, bytes, cast, only, with_both};
use e2esm_adapter::{Adapter, Device, DeviceId, ErrorClass, Fault, Packet};

fn copy(adapter: &dyn Adapter, cast: &mut Cast, of: &DeviceId) -> Box<dyn Device> {
    let state = cast.net.device(of).unwrap().export_state().unwrap();
    adapter.restore(of, state.as_ref()).unwrap()
}

impl Cast {
    fn message(&mut self, by: &DeviceId, text: &str) -> Packet {
        let group = self.group.clone();
        only(self.net.device(by).unwrap().send(&group, text.as_bytes()).unwrap().packets)
    }
}

#[test]
fn a_thief_reads_what_comes_and_cannot_read_what_has_been_read() {
    with_both(|adapter| {
        let mut cast = cast(adapter);
        let (alice, bob, carol) = (cast.alice.clone(), cast.bob.clone(), cast.carol.clone());
        let read = cast.message(&alice, "before");
        let unread = cast.message(&alice, "on its way");
        cast.receive(&bob, &read).unwrap();
        let mut thief = copy(adapter, &mut cast, &bob);
        assert_refused(thief.receive(&read), ErrorClass::Duplicate, "deleted");
        assert_eq!(thief.receive(&unread).unwrap().message.unwrap().plaintext, bytes("on its way"));

        // Others' changes do not lock it out.
        let change = only(cast.commit(&alice, &[], &[], true));
        for member in [&alice, &bob, &carol] {
            cast.receive(member, &change).unwrap();
        }
        thief.receive(&change).unwrap();
        let later = cast.message(&carol, "after");
        assert_eq!(thief.receive(&later).unwrap().message.unwrap().sender, carol);
    });
}

#[test]
fn a_thief_reads_what_the_device_sends_from_then_on() {
    with_both(|adapter| {
        let mut cast = cast(adapter);
        let (alice, bob, carol) = (cast.alice.clone(), cast.bob.clone(), cast.carol.clone());
        let before = cast.message(&bob, "before");
        let mut thief = copy(adapter, &mut cast, &bob);
        let after = ["one", "two", "three"].map(|text| (text, cast.message(&bob, text)));
        for (text, packet) in [&after[1], &after[0], &after[2]] {
            let read = thief.receive(packet).unwrap().message.unwrap();
            assert_eq!((read.sender, read.plaintext), (bob.clone(), bytes(text)));
        }
        assert_refused(thief.receive(&before), ErrorClass::NoKey, "this device's own");
        assert_refused(cast.receive(&bob, &after[0].1), ErrorClass::NoKey, "this device's own");

        // What another member seals under the robbed one's name is not taken for its own.
        cast.net.device(&carol).unwrap().misbehave(&Fault::RelabelledSender(bob.clone())).unwrap();
        let forged = cast.message(&carol, "four");
        cast.net.device(&carol).unwrap().misbehave(&Fault::None).unwrap();
        assert_refused(thief.receive(&forged), ErrorClass::NoKey, "this device's own");

        let change = only(cast.commit(&alice, &[], &[], true));
        for member in [&alice, &bob, &carol] {
            cast.receive(member, &change).unwrap();
        }
        thief.receive(&change).unwrap();
        let later = cast.message(&bob, "four");
        assert_eq!(thief.receive(&later).unwrap().message.unwrap().plaintext, bytes("four"));

        let change = only(cast.commit(&bob, &[], &[], true));
        for member in [&alice, &bob, &carol] {
            cast.receive(member, &change).unwrap();
        }
        assert_refused(thief.receive(&change), ErrorClass::NoKey, "this device's own");
        let later = cast.message(&bob, "five");
        assert_refused(thief.receive(&later), ErrorClass::StaleEpoch, "epoch differs");
    });
}

#[test]
fn a_thief_can_do_whatever_the_device_can() {
    with_both(|adapter| {
        let mut cast = cast(adapter);
        let (alice, bob, carol) = (cast.alice.clone(), cast.bob.clone(), cast.carol.clone());
        let group = cast.group.clone();
        let mut thief = copy(adapter, &mut cast, &bob);
        let forged = only(thief.send(&group, b"I am Bob").unwrap().packets);
        assert_eq!(cast.receive(&alice, &forged).unwrap().message.unwrap().sender, bob);

        assert_eq!(thief.identity().unwrap(), cast.net.device(&bob).unwrap().identity().unwrap());
        // The account key is in it: the thief can vouch for a device of its own.
        let tablet = DeviceId::new("bob", "tablet");
        let mut own = adapter.device(&tablet).unwrap();
        let word = thief.authorise(&own.link_request().unwrap()).unwrap();
        own.accept_authorisation(&word).unwrap();
        assert!(e2esm_account::vouched(&tablet, &own.identity().unwrap()));

        let bundle = own.publish(&bob).unwrap();
        let change = e2esm_adapter::Change { add: vec![bundle], ..Default::default() };
        let packets = thief.change(&group, &change).unwrap().packets;
        for member in [&alice, &carol] {
            cast.receive(member, &packets[0]).unwrap();
        }
        own.receive(&packets[1]).unwrap();
        let later = cast.message(&alice, "to all of you");
        assert!(own.receive(&later).unwrap().message.is_some());
        // Its own copy follows when the server hands the change back.
        thief.receive(&packets[0]).unwrap();
        let later = cast.message(&alice, "to all of you");
        assert!(thief.receive(&later).unwrap().message.is_some());
    });
}

#[test]
fn a_thief_is_locked_out_when_the_device_refreshes_or_goes() {
    with_both(|adapter| {
        for (remove, refresh) in [(false, true), (true, false)] {
            let mut cast = cast(adapter);
            let (alice, bob, carol) = (cast.alice.clone(), cast.bob.clone(), cast.carol.clone());
            let mut thief = copy(adapter, &mut cast, &bob);
            let (by, gone) = if remove { (&alice, vec![&bob]) } else { (&bob, vec![]) };
            let change = only(cast.commit(by, &[], &gone, refresh));
            for member in [&alice, &bob, &carol] {
                cast.receive(member, &change).unwrap();
            }
            let processed = thief.receive(&change);
            assert_eq!(processed.is_ok(), remove, "its own removal it can read, the device's refresh it cannot");
            let later = cast.message(&alice, "secret again");
            assert_refused(thief.receive(&later), ErrorClass::StaleEpoch, "epoch differs");
            assert!(cast.receive(&carol, &later).unwrap().message.is_some());
        }
    });
}

#[test]
fn a_device_goes_on_from_its_copied_state() {
    with_both(|adapter| {
        let mut cast = cast(adapter);
        let (alice, bob, carol, dave) = (cast.alice.clone(), cast.bob.clone(), cast.carol.clone(), cast.dave.clone());
        // With a change pending, a key package published and a removal behind them.
        let pending = only(cast.commit(&alice, &[], &[], true));
        for device in [&alice, &bob, &carol] {
            let restored = copy(adapter, &mut cast, device);
            cast.net.insert(device, restored);
        }
        for device in [&alice, &bob, &carol] {
            cast.receive(device, &pending).unwrap();
        }
        cast.is_well();

        let bundle = cast.net.claim(&dave, &alice).unwrap();
        let restored = copy(adapter, &mut cast, &dave);
        cast.net.insert(&dave, restored);
        let packets = cast.commit(&alice, &[bundle], &[&carol], false);
        for device in [&alice, &bob, &carol] {
            cast.receive(device, &packets[0]).unwrap();
        }
        cast.receive(&dave, &packets[1]).unwrap();
        let restored = copy(adapter, &mut cast, &carol);
        cast.net.insert(&carol, restored);
        let group = cast.group.clone();
        assert_refused(cast.net.device(&carol).unwrap().send(&group, b"hello?"), ErrorClass::NotMember, "removed");
        let bundle = cast.net.claim(&carol, &dave).unwrap();
        let packets = cast.commit(&dave, &[bundle], &[], false);
        cast.receive(&carol, &packets[1]).unwrap();
        assert_eq!(cast.roster(&carol).len(), 4);
    });
}

#[test]
fn junk_is_no_state() {
    with_both(|adapter| {
        let bob = common::phone("bob");
        let refused = adapter.restore(&bob, b"junk").map(|_| ());
        assert_refused(refused, ErrorClass::BadRequest, "not a state");
    });
}
