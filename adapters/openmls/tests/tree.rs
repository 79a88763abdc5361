//! A group's ratchet tree can travel beside the Welcome.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Cast, assert_refused, bytes, cast, only, phone, with_both};
use e2esm_adapter::{Adapter, Bytes, DeviceId, ErrorClass, GroupId, Packet, PacketKind, Stance};

impl Cast {
    fn tree_in_welcome(&mut self, by: &DeviceId, inside: bool) {
        let group = self.group.clone();
        self.net.device(by).unwrap().tree_in_welcome(&group, inside).unwrap();
    }

    fn tree(&mut self, of: &DeviceId) -> Bytes {
        let group = self.group.clone();
        self.net.device(of).unwrap().ratchet_tree(&group).unwrap()
    }

    /// Alice adds devices, and everybody takes the change. Yields the Welcome.
    fn add(&mut self, newcomers: &[&DeviceId]) -> Packet {
        let (alice, bob, carol) = (self.alice.clone(), self.bob.clone(), self.carol.clone());
        let bundles: Vec<_> = newcomers.iter().map(|device| self.net.claim(device, &alice).unwrap()).collect();
        let mut packets = self.commit(&alice, &bundles, &[], false);
        for member in [&alice, &bob, &carol] {
            self.receive(member, &packets[0]).unwrap();
        }
        packets.remove(1)
    }

    fn joins(&mut self, device: &DeviceId, welcome: &Packet, tree: &Bytes) {
        self.net.device(device).unwrap().join_with_tree(welcome, tree.as_ref()).unwrap();
    }
}

fn with_erin(adapter: &dyn Adapter) -> (Cast, DeviceId) {
    let mut cast = cast(adapter);
    let erin = phone("erin");
    cast.net.insert(&erin, adapter.device(&erin).unwrap());
    (cast, erin)
}

#[test]
fn newcomers_join_with_the_tree_from_elsewhere() {
    with_both(|adapter| {
        let (mut cast, erin) = with_erin(adapter);
        let (alice, bob, carol, dave) = (cast.alice.clone(), cast.bob.clone(), cast.carol.clone(), cast.dave.clone());
        cast.tree_in_welcome(&alice, false);
        let welcome = cast.add(&[&dave, &erin]);
        let tree = cast.tree(&alice);
        // Every member has it.
        assert_eq!(cast.tree(&bob), tree);
        for newcomer in [&dave, &erin] {
            assert_refused(cast.receive(newcomer, &welcome), ErrorClass::BadRequest, "No ratchet tree available");
            cast.joins(newcomer, &welcome, &tree);
            assert_eq!(cast.tree(newcomer), tree);
        }
        assert_eq!(cast.fingerprint(&dave), cast.fingerprint(&alice));
        let group = cast.group.clone();
        let message = only(cast.net.device(&erin).unwrap().send(&group, b"hello").unwrap().packets);
        for member in [&alice, &bob, &carol, &dave] {
            assert_eq!(cast.receive(member, &message).unwrap().message.unwrap().plaintext, bytes("hello"));
        }
        // Where the tree travels is each member's own affair.
        let change = only(cast.commit(&dave, &[], &[], true));
        for member in [&alice, &bob, &carol, &dave, &erin] {
            cast.receive(member, &change).unwrap();
        }
        assert_eq!(cast.fingerprint(&erin), cast.fingerprint(&alice));
    });
}

#[test]
fn a_welcome_is_smaller_by_the_tree() {
    with_both(|adapter| {
        let (mut cast, erin) = with_erin(adapter);
        let (alice, dave) = (cast.alice.clone(), cast.dave.clone());
        // The server never takes the first: both let the same device into the same epoch.
        let bundle = cast.net.claim(&dave, &alice).unwrap();
        let inside = cast.commit(&alice, std::slice::from_ref(&bundle), &[], false).remove(1).bytes.0.len();
        cast.tree_in_welcome(&alice, false);
        let packets = cast.commit(&alice, &[bundle], &[], false);
        let outside = packets[1].bytes.0.len();
        cast.receive(&alice, &packets[0]).unwrap();
        let tree = cast.tree(&alice);
        // An extension has a type and a length besides, and longer lengths around it.
        let saved = inside - outside;
        assert!((tree.0.len() + 4..=tree.0.len() + 10).contains(&saved), "{saved} of {}", tree.0.len());
        cast.joins(&dave, &packets[1], &tree);

        // And back.
        cast.tree_in_welcome(&alice, true);
        let bundle = cast.net.claim(&erin, &alice).unwrap();
        let packets = cast.commit(&alice, &[bundle], &[], false);
        cast.receive(&erin, &packets[1]).unwrap();
        assert_eq!(cast.roster(&erin).len(), 5);
    });
}

#[test]
fn another_tree_is_refused_and_the_right_one_still_taken() {
    with_both(|adapter| {
        let mut cast = cast(adapter);
        let (alice, dave) = (cast.alice.clone(), cast.dave.clone());
        cast.tree_in_welcome(&alice, false);
        let earlier = cast.tree(&alice);
        let welcome = cast.add(&[&dave]);
        let tree = cast.tree(&alice);
        let join = |cast: &mut Cast, tree: &[u8]| cast.net.device(&dave).unwrap().join_with_tree(&welcome, tree);
        assert_refused(join(&mut cast, earlier.as_ref()), ErrorClass::AuthFailed, "tree hash");
        for junk in [&b""[..], b"junk", &tree.0[..tree.0.len() - 1], &[&tree.0[..], b"\0"].concat()] {
            assert_refused(join(&mut cast, junk), ErrorClass::BadRequest, "malformed");
        }
        for at in (0..tree.0.len()).step_by(13) {
            let mut tampered = tree.0.clone();
            tampered[at] ^= 1;
            let error = join(&mut cast, &tampered).unwrap_err();
            assert!(matches!(error.class, ErrorClass::AuthFailed | ErrorClass::BadRequest), "byte {at}: {error}");
        }
        let mislabelled = Packet { kind: PacketKind::Change, ..welcome.clone() };
        let mislabelled = cast.net.device(&dave).unwrap().join_with_tree(&mislabelled, tree.as_ref());
        assert_refused(mislabelled, ErrorClass::BadRequest, "lets nobody in");
        cast.joins(&dave, &welcome, &tree);
        assert_eq!(cast.fingerprint(&dave), cast.fingerprint(&alice));
    });
}

#[test]
fn a_join_that_waits_for_an_answer_waits_for_the_same_tree() {
    with_both(|adapter| {
        let mut cast = cast(adapter);
        let (alice, dave) = (cast.alice.clone(), cast.dave.clone());
        cast.tree_in_welcome(&alice, false);
        let welcome = cast.add(&[&dave]);
        let tree = cast.tree(&alice);
        cast.stance(&dave, Stance::Ask);
        let daves = cast.net.device(&dave).unwrap();
        for _ in 0..2 {
            let waits = daves.join_with_tree(&welcome, tree.as_ref());
            assert_refused(waits, ErrorClass::UndecidedTrust, "waits");
        }
        daves.notebook().set_stance(Stance::Yes);
        assert_refused(daves.join_with_tree(&welcome, b"junk"), ErrorClass::BadRequest, "malformed");
        assert_refused(daves.receive(&welcome), ErrorClass::BadRequest, "No ratchet tree available");
        cast.joins(&dave, &welcome, &tree);
        assert_eq!(cast.roster(&dave).len(), 4);
    });
}

#[test]
fn group_information_for_external_joins_has_the_tree_all_the_same() {
    with_both(|adapter| {
        let mut cast = cast(adapter);
        let (alice, dave, group) = (cast.alice.clone(), cast.dave.clone(), cast.group.clone());
        cast.tree_in_welcome(&alice, false);
        let tree = cast.tree(&alice);
        let info = cast.net.device(&alice).unwrap().group_info(&group).unwrap();
        assert!(info.0.windows(tree.0.len()).any(|window| window == tree.0), "an extension is the tree as it is");
        let packet = only(cast.net.device(&dave).unwrap().external_join(info.as_ref()).unwrap().packets);
        cast.receive(&alice, &packet).unwrap();
        assert_eq!(cast.fingerprint(&dave), cast.fingerprint(&alice));
    });
}

#[test]
fn where_the_tree_travels_is_kept_over_a_restart() {
    with_both(|adapter| {
        let mut cast = cast(adapter);
        let (alice, dave) = (cast.alice.clone(), cast.dave.clone());
        cast.tree_in_welcome(&alice, false);
        let store = cast.net.device(&alice).unwrap().store().unwrap();
        cast.net.insert(&alice, adapter.load(&alice, store.as_ref()).unwrap());
        let welcome = cast.add(&[&dave]);
        assert_refused(cast.receive(&dave, &welcome), ErrorClass::BadRequest, "No ratchet tree available");
        let tree = cast.tree(&alice);
        cast.joins(&dave, &welcome, &tree);
    });
}

#[test]
fn only_a_member_has_a_tree() {
    with_both(|adapter| {
        let mut cast = cast(adapter);
        let (alice, bob, carol, group) = (cast.alice.clone(), cast.bob.clone(), cast.carol.clone(), cast.group.clone());
        let nowhere = GroupId("nowhere".to_owned());
        let alices = cast.net.device(&alice).unwrap();
        assert_refused(alices.ratchet_tree(&nowhere), ErrorClass::BadRequest, "no group");
        assert_refused(alices.tree_in_welcome(&nowhere, false), ErrorClass::BadRequest, "no group");
        let change = only(cast.commit(&alice, &[], &[&carol], false));
        for member in [&alice, &bob, &carol] {
            cast.receive(member, &change).unwrap();
        }
        let carols = cast.net.device(&carol).unwrap();
        assert_refused(carols.ratchet_tree(&group), ErrorClass::NotMember, "removed");
        assert_refused(carols.tree_in_welcome(&group, false), ErrorClass::NotMember, "removed");
    });
}
