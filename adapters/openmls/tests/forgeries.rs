//! What somebody crafts who knows only what the server knows.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Cast, assert_refused, bytes, cast, kinds, only, well, with_both};
use e2esm_adapter::{
    Adapter, Capability, Change, DeviceId, ErrorClass, Fact, FactKind, Forged, Forgery, GroupId, KnownGroup,
    PacketKind, Stance,
};
use e2esm_testing::readers;

/// A group that has taken this many changes.
fn after(adapter: &dyn Adapter, changes: u64) -> Cast {
    let mut cast = cast(adapter);
    let bob = cast.bob.clone();
    for _ in 1..changes {
        well(cast.change(&bob, &[], &[], true));
    }
    cast
}

#[test]
fn a_strangers_message_does_not_open() {
    with_both(|adapter| {
        for changes in [1, 2, 5] {
            let mut cast = after(adapter, changes);
            let (alice, bob, carol, dave) =
                (cast.alice.clone(), cast.bob.clone(), cast.carol.clone(), cast.dave.clone());
            for claim in [&alice, &carol, &dave] {
                let group = cast.known(changes);
                let forgery = Forgery::Message { group, claim: claim.clone(), plaintext: bytes("psst") };
                let packet = only(cast.craft(&dave, &forgery));
                assert_eq!((packet.kind, &packet.from), (PacketKind::Message, claim));
                assert_refused(cast.receive(&bob, &packet), ErrorClass::AuthFailed, "AEAD");
            }
            cast.is_well();
        }
    });
}

#[test]
fn a_strangers_commit_does_not_open() {
    with_both(|adapter| {
        let mut cast = after(adapter, 3);
        let (alice, bob, carol, dave) = (cast.alice.clone(), cast.bob.clone(), cast.carol.clone(), cast.dave.clone());
        for (add, remove) in [(vec![], vec![carol.clone()]), (vec![], vec![])] {
            let group = cast.known(3);
            let forgery = Forgery::Change { group, claim: alice.clone(), add, remove };
            let packet = only(cast.craft(&dave, &forgery));
            assert_eq!((packet.kind, &packet.from), (PacketKind::Change, &alice));
            assert_refused(cast.receive(&bob, &packet), ErrorClass::AuthFailed, "AEAD");
        }
        cast.is_well();
    });
}

fn slip_in(cast: &mut Cast) -> Vec<e2esm_adapter::Packet> {
    let (alice, dave) = (cast.alice.clone(), cast.dave.clone());
    let bundle = cast.net.claim(&dave, &alice).unwrap();
    let group = cast.known(1);
    let packets = cast.craft(&dave, &Forgery::Change { group, claim: alice, add: vec![bundle], remove: vec![] });
    assert_eq!(
        packets.iter().map(|packet| packet.kind).collect::<Vec<_>>(),
        [PacketKind::Change, PacketKind::Proposal]
    );
    packets
}

#[test]
fn a_stranger_who_proposes_itself_is_the_applications_decision() {
    with_both(|adapter| {
        let mut cast = cast(adapter);
        let (alice, bob, carol, dave) = (cast.alice.clone(), cast.bob.clone(), cast.carol.clone(), cast.dave.clone());
        let group = cast.group.clone();
        let packets = slip_in(&mut cast);
        for member in [&alice, &bob, &carol] {
            assert_refused(cast.receive(member, &packets[0]), ErrorClass::AuthFailed, "AEAD");
            cast.receive(member, &packets[1]).unwrap();
            let asked = cast.asked(member);
            assert_eq!(kinds(&asked), [FactKind::Identity, FactKind::Add]);
            let add = Fact::Add { group: group.clone(), device: dave.clone(), by: dave.clone(), authenticated: true };
            assert_eq!(asked[1].1, add);
            assert_eq!(asked[1].0, "ProcessedMessageContent::ExternalJoinProposalMessage");
            assert_eq!(cast.roster(member).len(), 3);
        }
        // Until somebody commits it openmls sends nothing.
        assert_refused(
            cast.net.device(&alice).unwrap().send(&group, b"hello"),
            ErrorClass::BadRequest,
            "pending proposal exists",
        );
        let packets = cast.commit(&bob, &[], &[], true);
        let welcome = packets.iter().find(|packet| packet.kind == PacketKind::Welcome).unwrap();
        assert_eq!(welcome.to, e2esm_adapter::Address::Device(dave.clone()));
        for member in [&alice, &bob, &carol] {
            cast.receive(member, &packets[0]).unwrap();
            assert_eq!(cast.roster(member).len(), 4);
        }
        let asked = cast.asked(&alice);
        assert_eq!(kinds(&asked), [FactKind::Identity, FactKind::Add]);
        assert!(matches!(&asked[1].1, Fact::Add { by, .. } if *by == dave), "bob commits it, dave answers for it");
        cast.receive(&dave, welcome).unwrap();
        let message = only(cast.net.device(&alice).unwrap().send(&group, b"hello").unwrap().packets);
        assert!(cast.receive(&dave, &message).unwrap().message.is_some());
    });
}

#[test]
fn a_stranger_who_proposes_itself_can_be_turned_away() {
    with_both(|adapter| {
        let mut cast = cast(adapter);
        let (alice, bob, carol) = (cast.alice.clone(), cast.bob.clone(), cast.carol.clone());
        let packets = slip_in(&mut cast);
        for member in [&alice, &bob, &carol] {
            cast.stance(member, Stance::No);
            for _ in 0..2 {
                assert_refused(cast.receive(member, &packets[1]), ErrorClass::UntrustedIdentity, "said no");
            }
            cast.stance(member, Stance::Yes);
        }
        cast.is_well();
        well(cast.change(&bob, &[], &[], true));
        assert_eq!(cast.roster(&alice).len(), 3);
        cast.is_well();
    });
}

#[test]
fn an_external_commit_without_the_groups_information_is_refused() {
    with_both(|adapter| {
        for changes in [1, 4] {
            let mut cast = after(adapter, changes);
            let (bob, dave) = (cast.bob.clone(), cast.dave.clone());
            let group = cast.known(changes);
            let packet = only(cast.craft(&dave, &Forgery::UninvitedJoin { group }));
            assert_eq!((packet.kind, &packet.from), (PacketKind::Change, &dave));
            // The signature covers the group's context, which the stranger does not know.
            assert_refused(cast.receive(&bob, &packet), ErrorClass::AuthFailed, "Verifying the signature failed");
            assert!(cast.asked(&bob).is_empty());
            cast.is_well();
        }
    });
}

#[test]
fn a_bundle_with_a_broken_signature_is_refused() {
    with_both(|adapter| {
        let mut cast = cast(adapter);
        let (alice, bob, dave) = (cast.alice.clone(), cast.bob.clone(), cast.dave.clone());
        let group = cast.group.clone();
        let bundle = cast.net.claim(&dave, &alice).unwrap();
        let forgery = Forgery::BrokenBundle { bundle: bundle.clone() };
        let Forged::Bundle(broken) = cast.net.device(&bob).unwrap().craft(&forgery).unwrap() else {
            panic!("a bundle expected")
        };
        assert_eq!(broken.device, dave);
        let change = Change { add: vec![broken], ..Change::default() };
        assert_refused(
            cast.net.device(&alice).unwrap().change(&group, &change),
            ErrorClass::AuthFailed,
            "key package signature is not valid",
        );
        assert!(cast.asked(&alice).is_empty());
        let packets = cast.commit(&alice, &[bundle], &[], false);
        cast.receive(&dave, &packets[1]).unwrap();
    });
}

#[test]
fn a_stolen_name_is_shown_with_keys_that_are_not_its_own() {
    with_both(|adapter| {
        let mut cast = cast(adapter);
        let (alice, bob, carol) = (cast.alice.clone(), cast.bob.clone(), cast.carol.clone());
        // Mallory calls himself bob's tablet.
        let tablet = DeviceId::new("bob", "tablet");
        cast.net.insert(&tablet, adapter.device(&tablet).unwrap());
        well(cast.change(&alice, &[&tablet], &[], false));
        for member in [&bob, &carol] {
            let asked = cast.asked(member);
            let Fact::Identity { device, identity, .. } = &asked[0].1 else { panic!("{asked:?}") };
            assert_eq!(*device, tablet);
            let phone = cast.net.device(&bob).unwrap().identity().unwrap();
            assert_ne!(identity.account_key, phone.account_key);
        }
        let read = cast.send(&alice, "hello");
        assert_eq!(readers(&read, "hello").len(), 3);
    });
}

#[test]
fn forgeries_without_a_counterpart_are_unsupported() {
    with_both(|adapter| {
        let mut cast = cast(adapter);
        let (alice, dave) = (cast.alice.clone(), cast.dave.clone());
        let packet = common::junk(PacketKind::Message, &cast.group, &alice);
        let distribution =
            Forgery::KeyDistribution { group: cast.known(1), claim: alice, victims: vec![], plaintext: bytes("psst") };
        let unsupported = adapter.describe().unsupported;
        for (capability, forgery) in [
            (Capability::ForgedKeyDistribution, distribution),
            (Capability::RewrittenIdentity, Forgery::RewrittenIdentity { packet }),
        ] {
            assert!(unsupported.contains_key(&capability));
            assert_refused(
                cast.net.device(&dave).unwrap().craft(&forgery).map(drop),
                ErrorClass::Unsupported,
                "MLS has no",
            );
        }
    });
}

#[test]
fn forgeries_about_nothing_are_forgeries_all_the_same() {
    with_both(|adapter| {
        let mut cast = cast(adapter);
        let (alice, dave) = (cast.alice.clone(), cast.dave.clone());
        let known = |changes| KnownGroup { id: GroupId("nowhere".to_owned()), members: vec![], changes };
        let message = |changes| Forgery::Message { group: known(changes), claim: alice.clone(), plaintext: bytes("") };
        for changes in [0, 1, 2] {
            only(cast.craft(&dave, &message(changes)));
            only(cast.craft(&dave, &Forgery::UninvitedJoin { group: known(changes) }));
        }
        let device = cast.net.device(&dave).unwrap();
        let endless = device.craft(&message(u64::MAX)).map(drop);
        assert_refused(endless, ErrorClass::BadRequest, "are the most");
        let junk = e2esm_adapter::Bundle { device: alice.clone(), bytes: bytes("junk") };
        let broken = device.craft(&Forgery::BrokenBundle { bundle: junk.clone() }).map(drop);
        assert_refused(broken, ErrorClass::BadRequest, "malformed");
        let change = |add, remove| Forgery::Change { group: known(1), claim: alice.clone(), add, remove };
        let with_junk = device.craft(&change(vec![junk], vec![])).map(drop);
        assert_refused(with_junk, ErrorClass::BadRequest, "malformed");
        let nobody = device.craft(&change(vec![], vec![dave.clone()])).map(drop);
        assert_refused(nobody, ErrorClass::NotMember, "not in the group");
    });
}
