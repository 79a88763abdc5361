//! A device that stored itself goes on after a restart as if nothing had happened.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::{Duration, Instant};

use common::{Cast, assert_refused, bytes, cast, only, phone, well, with_both};
use e2esm_adapter::{Adapter, Change, DeviceId, Error, ErrorClass, Event, Forgery, GroupId, PacketKind, Stance};

impl Cast {
    fn store(&mut self, of: &DeviceId) -> Vec<u8> {
        self.net.device(of).unwrap().store().unwrap().0
    }

    /// The device goes away, and comes back from what it stored.
    fn restart(&mut self, adapter: &dyn Adapter, of: &DeviceId) {
        let store = self.store(of);
        self.net.insert(of, adapter.load(of, &store).unwrap());
    }

    fn restart_all(&mut self, adapter: &dyn Adapter) {
        for device in [self.alice.clone(), self.bob.clone(), self.carol.clone(), self.dave.clone()] {
            self.restart(adapter, &device);
        }
    }
}

fn load(adapter: &dyn Adapter, id: &DeviceId, store: &[u8]) -> Result<(), Error> {
    adapter.load(id, store).map(drop)
}

#[test]
fn a_device_goes_on_from_its_store() {
    with_both(|adapter| {
        let mut cast = cast(adapter);
        let (alice, bob, carol, dave) = (cast.alice.clone(), cast.bob.clone(), cast.carol.clone(), cast.dave.clone());
        let identity = cast.net.device(&alice).unwrap().identity().unwrap();
        cast.restart_all(adapter);
        assert_eq!(cast.net.device(&alice).unwrap().identity().unwrap(), identity);
        cast.is_well();
        for member in [&alice, &bob, &carol] {
            well(cast.change(member, &[], &[], true));
            cast.restart_all(adapter);
        }
        well(cast.change(&bob, &[&dave], &[&carol], false));
        cast.restart_all(adapter);
        cast.reads(&dave, &[&alice, &bob]);
        cast.reads(&alice, &[&bob, &dave]);
    });
}

#[test]
fn a_group_goes_on_that_has_only_been_created() {
    with_both(|adapter| {
        let mut cast = cast(adapter);
        let (alice, bob) = (cast.alice.clone(), cast.bob.clone());
        let group = GroupId("empty".to_owned());
        cast.net.device(&alice).unwrap().create_group(&group).unwrap();
        cast.restart(adapter, &alice);
        let alices = cast.net.device(&alice).unwrap();
        assert_refused(alices.create_group(&group), ErrorClass::Duplicate, "already exists");
        assert_eq!(alices.roster(&group).unwrap().members, std::slice::from_ref(&alice));
        let bundle = cast.net.claim(&bob, &alice).unwrap();
        let change = Change { add: vec![bundle], ..Change::default() };
        let packets = cast.net.device(&alice).unwrap().change(&group, &change).unwrap().packets;
        // The key package's private keys are in the newcomer's store.
        cast.restart_all(adapter);
        cast.receive(&alice, &packets[0]).unwrap();
        cast.receive(&bob, &packets[1]).unwrap();
        let message = only(cast.net.device(&bob).unwrap().send(&group, b"hello").unwrap().packets);
        assert_eq!(cast.receive(&alice, &message).unwrap().message.unwrap().sender, bob);
        // The other group is still there as well.
        cast.is_well();
    });
}

#[test]
fn a_pending_change_comes_into_force_or_is_dropped_after_the_restart() {
    with_both(|adapter| {
        let mut cast = cast(adapter);
        let (alice, bob, carol, dave) = (cast.alice.clone(), cast.bob.clone(), cast.carol.clone(), cast.dave.clone());
        let before = cast.fingerprint(&alice);
        let bundle = cast.net.claim(&dave, &alice).unwrap();
        let packets = cast.commit(&alice, &[bundle], &[], true);
        cast.restart_all(adapter);
        assert_eq!(cast.fingerprint(&alice), before);
        cast.reads(&alice, &[&bob, &carol]);
        for member in [&alice, &bob, &carol] {
            cast.receive(member, &packets[0]).unwrap();
        }
        cast.receive(&dave, &packets[1]).unwrap();
        cast.is_well();

        let lost = only(cast.commit(&alice, &[], &[], true));
        let first = only(cast.commit(&bob, &[], &[], true));
        cast.restart_all(adapter);
        for member in [&alice, &bob, &carol, &dave] {
            cast.receive(member, &first).unwrap();
        }
        let group = cast.group.clone();
        assert!(cast.events(&alice).contains(&Event::ChangeDropped { group }));
        assert_refused(cast.receive(&alice, &lost), ErrorClass::StaleEpoch, "epoch differs");
        cast.is_well();
    });
}

#[test]
fn ratchets_go_on_where_they_stopped() {
    with_both(|adapter| {
        let mut cast = cast(adapter);
        let (alice, bob, group) = (cast.alice.clone(), cast.bob.clone(), cast.group.clone());
        let [read, unread] =
            [b"read", b"skip"].map(|text| only(cast.net.device(&alice).unwrap().send(&group, text).unwrap().packets));
        cast.receive(&bob, &read).unwrap();
        cast.restart_all(adapter);
        assert_refused(cast.receive(&bob, &read), ErrorClass::Duplicate, "deleted");
        let next = only(cast.net.device(&alice).unwrap().send(&group, b"next").unwrap().packets);
        assert_eq!(cast.receive(&bob, &next).unwrap().message.unwrap().plaintext, bytes("next"));
        cast.restart_all(adapter);
        assert_eq!(cast.receive(&bob, &unread).unwrap().message.unwrap().plaintext, bytes("skip"));
        cast.is_well();
    });
}

#[test]
fn what_waits_for_an_answer_still_does_after_the_restart() {
    with_both(|adapter| {
        let mut cast = cast(adapter);
        let (alice, bob, carol, dave) = (cast.alice.clone(), cast.bob.clone(), cast.carol.clone(), cast.dave.clone());
        let group = cast.group.clone();
        // A stranger's proposal, then the change that takes it up; with each the library spends a key that opens it once.
        let bundle = cast.net.claim(&dave, &alice).unwrap();
        let slip_in = Forgery::Change { group: cast.known(1), claim: alice.clone(), add: vec![bundle], remove: vec![] };
        let proposal = cast.craft(&dave, &slip_in).remove(1);
        assert_eq!(proposal.kind, PacketKind::Proposal);
        for member in [&alice, &carol] {
            cast.receive(member, &proposal).unwrap();
        }
        let packets = cast.commit(&alice, &[], &[], true);
        for packet in [&proposal, &packets[0]] {
            cast.stance(&bob, Stance::Ask);
            assert_refused(cast.receive(&bob, packet), ErrorClass::UndecidedTrust, "waits");
            cast.restart(adapter, &bob);
            cast.stance(&bob, Stance::Ask);
            assert_refused(cast.receive(&bob, packet), ErrorClass::UndecidedTrust, "waits");
            cast.stance(&bob, Stance::Yes);
            cast.drain();
            cast.receive(&bob, packet).unwrap();
            assert_eq!(cast.asked(&bob).len(), 2, "about the stranger's keys and its coming");
        }
        for member in [&alice, &carol] {
            cast.receive(member, &packets[0]).unwrap();
        }

        // A Welcome is read again.
        cast.stance(&dave, Stance::Ask);
        assert_refused(cast.receive(&dave, &packets[1]), ErrorClass::UndecidedTrust, "waits");
        cast.restart(adapter, &dave);
        cast.receive(&dave, &packets[1]).unwrap();
        assert!(cast.events(&dave).contains(&Event::Joined { group }));
        assert_eq!(cast.fingerprint(&dave), cast.fingerprint(&bob));
        cast.is_well();
    });
}

#[test]
fn a_removed_device_remains_removed() {
    with_both(|adapter| {
        let mut cast = cast(adapter);
        let (alice, carol, group) = (cast.alice.clone(), cast.carol.clone(), cast.group.clone());
        well(cast.change(&alice, &[], &[&carol], false));
        cast.restart_all(adapter);
        let carols = cast.net.device(&carol).unwrap();
        assert_refused(carols.send(&group, b"hello?"), ErrorClass::NotMember, "removed");
        well(cast.change(&alice, &[&carol], &[], false));
        cast.restart_all(adapter);
        cast.is_well();
    });
}

#[test]
fn a_loaded_device_is_no_thief() {
    with_both(|adapter| {
        let mut cast = cast(adapter);
        let (bob, group) = (cast.bob.clone(), cast.group.clone());
        let store = cast.store(&bob);
        let mut loaded = adapter.load(&bob, &store).unwrap();
        let later = only(cast.net.device(&bob).unwrap().send(&group, b"later").unwrap().packets);
        assert_refused(loaded.receive(&later), ErrorClass::NoKey, "this device's own");
    });
}

#[test]
fn a_store_holds_everything_and_nothing_changes_it() {
    with_both(|adapter| {
        let mut cast = cast(adapter);
        let (alice, bob) = (cast.alice.clone(), cast.bob.clone());
        cast.commit(&alice, &[], &[], true);
        let bundle = cast.net.claim(&bob, &alice).unwrap();
        assert!(!bundle.bytes.0.is_empty());
        for device in [&alice, &bob] {
            let store = cast.store(device);
            assert_eq!(cast.store(device), store);
            cast.restart(adapter, device);
            assert!(cast.store(device) == store, "{device} is another one after the restart");
        }
    });
}

#[test]
fn malformed_bytes_are_no_store() {
    with_both(|adapter| {
        let mut cast = cast(adapter);
        let alice = cast.alice.clone();
        let store = cast.store(&alice);
        let refused =
            |bytes: &[u8]| assert_refused(load(adapter, &alice, bytes), ErrorClass::BadRequest, "not a state");
        for junk in [&b""[..], b"junk", &[0xff; 64]] {
            refused(junk);
        }
        for length in (0..store.len()).step_by(17).chain([store.len() - 1]) {
            refused(&store[..length]);
        }
        refused(&[&store[..], b"\0"].concat());
        // What a thief copies is written otherwise.
        let state = cast.net.device(&alice).unwrap().export_state().unwrap();
        refused(state.as_ref());
        assert_refused(adapter.restore(&alice, &store).map(drop), ErrorClass::BadRequest, "not a state");
        // Each value of the library's own is needed.
        let mut broken = store.clone();
        let tree = broken.windows(8).position(|window| window == b"\"leaf_no").unwrap();
        broken[tree] = b'!';
        assert_refused(load(adapter, &alice, &broken), ErrorClass::BadRequest, "state of group `friends`");
        // And it is this device's.
        assert_refused(load(adapter, &phone("mallory"), &store), ErrorClass::BadRequest, "that of alice/phone");
        load(adapter, &alice, &store).unwrap();
    });
}

#[test]
fn each_provider_loads_what_the_other_stored() {
    let adapters = e2esm_adapter_openmls::adapters();
    let mut cast = cast(adapters[0].as_ref());
    cast.restart_all(adapters[1].as_ref());
    cast.is_well();
    cast.restart_all(adapters[0].as_ref());
    cast.is_well();
}

#[test]
#[ignore = "a group of 10,000 takes half a minute to build"]
fn a_large_group_is_loaded_in_well_under_two_seconds() {
    println!("| members | ratchet tree, bytes | store, bytes | `store`, ms | `load`, ms |\n|---|---|---|---|---|");
    let adapter = &e2esm_adapter_openmls::adapters()[0];
    let creator = phone("creator");
    let mut alice = adapter.device(&creator).unwrap();
    alice.notebook().mute();
    let group = GroupId("everybody".to_owned());
    alice.create_group(&group).unwrap();
    let mut members = 1;
    for size in [1_000, 10_000] {
        // The library's time for a commit grows with the square of the additions in it.
        while members < size {
            let more = 250.min(size - members);
            let add = (members..members + more)
                .map(|index| adapter.device(&phone(&format!("member{index:05}"))).unwrap().publish(&creator).unwrap());
            let change = Change { add: add.collect(), ..Change::default() };
            let packets = alice.change(&group, &change).unwrap().packets;
            alice.receive(&packets[0]).unwrap();
            members += more;
        }
        let tree = alice.ratchet_tree(&group).unwrap().0.len();
        let before = alice.fingerprint(&group, &creator).unwrap();
        let mut bytes = 0;
        let times = [(); 5].map(|()| {
            let start = Instant::now();
            let store = alice.store().unwrap();
            let stored = start.elapsed();
            bytes = store.0.len();
            let start = Instant::now();
            let mut loaded = adapter.load(&creator, store.as_ref()).unwrap();
            let load = start.elapsed();
            assert_eq!(loaded.fingerprint(&group, &creator).unwrap(), before);
            (load, stored)
        });
        let (load, store) = *times.iter().min().unwrap();
        println!("| {size} | {tree} | {bytes} | {:.1} | {:.1} |", 1e3 * store.as_secs_f64(), 1e3 * load.as_secs_f64());
        assert!(load < Duration::from_secs(1), "{load:?}");
    }
}
