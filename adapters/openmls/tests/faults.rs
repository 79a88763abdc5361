//! An insider bends its own cryptography: everybody else refuses, for the reason intended, and the honest twin is taken.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Cast, assert_refused, cast, only, well, with_both};
use e2esm_adapter::{Adapter, DeviceId, ErrorClass, Fault};

fn misbehave(cast: &mut Cast, by: &DeviceId, fault: Fault) {
    cast.net.device(by).unwrap().misbehave(&fault).unwrap();
}

/// A bent commit by Bob is refused by Alice and Carol for this reason, twice; his next one is taken.
fn a_bent_commit_is_refused(adapter: &dyn Adapter, fault: Fault, reason: &str) {
    let mut cast = cast(adapter);
    let (alice, bob, carol) = (cast.alice.clone(), cast.bob.clone(), cast.carol.clone());
    misbehave(&mut cast, &bob, fault);
    let bent = only(cast.commit(&bob, &[], &[], true));
    for member in [&alice, &carol] {
        for _ in 0..2 {
            assert_refused(cast.receive(member, &bent), ErrorClass::AuthFailed, reason);
        }
    }
    misbehave(&mut cast, &bob, Fault::None);
    well(cast.change(&bob, &[], &[], true));
    cast.is_well();
}

#[test]
fn a_leaf_signed_by_another_key_is_refused() {
    with_both(|adapter| {
        a_bent_commit_is_refused(adapter, Fault::WrongLeafSignature, "Signature verification failed");
    });
}

#[test]
fn a_wrong_parent_hash_is_refused() {
    with_both(|adapter| a_bent_commit_is_refused(adapter, Fault::WrongParentHash, "parent hash"));
}

#[test]
fn a_wrong_confirmation_tag_is_refused() {
    with_both(|adapter| {
        a_bent_commit_is_refused(adapter, Fault::WrongConfirmationTag, "confirmation tag is invalid");
    });
}

#[test]
fn the_author_of_a_bent_commit_can_merge_it() {
    with_both(|adapter| {
        for fault in [Fault::WrongLeafSignature, Fault::WrongParentHash, Fault::WrongConfirmationTag] {
            let mut cast = cast(adapter);
            let (bob, carol) = (cast.bob.clone(), cast.carol.clone());
            misbehave(&mut cast, &bob, fault);
            let bent = only(cast.commit(&bob, &[], &[&carol], false));
            cast.receive(&bob, &bent).unwrap();
            assert_eq!(cast.roster(&bob).len(), 2);
        }
    });
}

#[test]
fn a_new_member_refuses_what_a_bent_commit_made() {
    with_both(|adapter| {
        for (fault, class, reason) in [
            (Fault::WrongLeafSignature, ErrorClass::AuthFailed, "signature"),
            (Fault::WrongParentHash, ErrorClass::AuthFailed, "parent hash"),
            (Fault::WrongConfirmationTag, ErrorClass::AuthFailed, "confirmation tag"),
        ] {
            let mut cast = cast(adapter);
            let (bob, dave) = (cast.bob.clone(), cast.dave.clone());
            let bundle = cast.net.claim(&dave, &bob).unwrap();
            misbehave(&mut cast, &bob, fault);
            let packets = cast.commit(&bob, std::slice::from_ref(&bundle), &[], true);
            assert_refused(cast.receive(&dave, &packets[1]), class, reason);
            misbehave(&mut cast, &bob, Fault::None);
            let packets = cast.commit(&bob, &[bundle], &[], true);
            cast.receive(&dave, &packets[1]).unwrap();
        }
    });
}

#[test]
fn a_message_under_another_members_name_is_refused_for_its_signature() {
    with_both(|adapter| {
        let mut cast = cast(adapter);
        let (alice, bob, carol) = (cast.alice.clone(), cast.bob.clone(), cast.carol.clone());
        let group = cast.group.clone();
        // Wherever the victim's ratchet stands: untouched, used, far along, and with a message lost.
        for messages in [0, 1, 7] {
            for _ in 0..messages {
                cast.reads(&alice, &[&bob, &carol]);
            }
            misbehave(&mut cast, &bob, Fault::RelabelledSender(alice.clone()));
            let forged = only(cast.net.device(&bob).unwrap().send(&group, b"I am Alice").unwrap().packets);
            misbehave(&mut cast, &bob, Fault::None);
            assert_refused(cast.receive(&carol, &forged), ErrorClass::AuthFailed, "Verifying the signature failed");
            assert_refused(cast.receive(&alice, &forged), ErrorClass::NoKey, "this device's own");
            let lost = cast.net.device(&alice).unwrap().send(&group, b"lost").unwrap();
            drop(lost);
            cast.is_well();
        }
    });
}

#[test]
fn a_message_under_ones_own_name_is_an_honest_one() {
    with_both(|adapter| {
        let mut cast = cast(adapter);
        let bob = cast.bob.clone();
        misbehave(&mut cast, &bob, Fault::RelabelledSender(bob.clone()));
        cast.is_well();
    });
}

#[test]
fn nobody_can_take_the_name_of_a_stranger() {
    with_both(|adapter| {
        let mut cast = cast(adapter);
        let (bob, dave, group) = (cast.bob.clone(), cast.dave.clone(), cast.group.clone());
        misbehave(&mut cast, &bob, Fault::RelabelledSender(dave));
        assert_refused(
            cast.net.device(&bob).unwrap().send(&group, b"I am Dave"),
            ErrorClass::NotMember,
            "not in the group",
        );
    });
}
