//! Insiders who bend their own cryptography, outsiders who craft what they can: each is refused for the right reason, and
//! the honest twin is taken afterwards.

#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use e2esm_adapter::{Bundle, Change, DeviceId, ErrorClass, Fault, Forged, Forgery, Packet, PacketKind};
use e2esm_testing::{Net, readers};

const MEMBERS: [&str; 5] = ["alice", "bob", "carol", "dave", "erin"];

fn bend(net: &mut Net, device: &DeviceId, fault: Fault) {
    net.device(device).unwrap().misbehave(&fault).unwrap();
}

/// Bob's bent packet is refused by everybody else, in these words.
fn all_refuse(net: &mut Net, packet: &Packet, words: &str) {
    for name in MEMBERS.iter().filter(|name| **name != "bob") {
        let (class, text) = refusal(receive(net, &id(name), packet));
        assert_eq!((class, text.as_str()), (ErrorClass::AuthFailed, words), "{name}");
    }
}

#[test]
fn a_message_under_another_members_name_fails_at_the_signature_and_nowhere_before() {
    each(|adapter| {
        let mut net = group_of(adapter, &MEMBERS);
        everybody_reads_everybody(&mut net, &MEMBERS);
        bend(&mut net, &id("bob"), Fault::RelabelledSender(id("alice")));
        let forged = message_by(&mut net, &id("bob"), "alice owes me money");
        assert_eq!(forged.from, id("alice"));
        for name in ["carol", "dave", "erin"] {
            let (class, text) = refusal(receive(&mut net, &id(name), &forged));
            assert_eq!((class, text.as_str()), (ErrorClass::AuthFailed, "invalid signature found"), "{name}");
        }
        let (class, text) = refusal(receive(&mut net, &id("alice"), &forged));
        assert_eq!((class, text.as_str()), (ErrorClass::BadRequest, "message from self can't be processed"));

        bend(&mut net, &id("bob"), Fault::None);
        everybody_reads_everybody(&mut net, &MEMBERS);
    });
}

#[test]
fn a_relabelled_message_that_nobody_has_seen_yet_is_of_the_victims_next_generation() {
    each(|adapter| {
        let mut net = group_of(adapter, &["alice", "bob", "carol"]);
        bend(&mut net, &id("bob"), Fault::RelabelledSender(id("alice")));
        let forged = message_by(&mut net, &id("bob"), "first");
        assert_eq!(refusal(receive(&mut net, &id("carol"), &forged)).1, "invalid signature found");
        // Alice's own first message uses the same key, and is read.
        let deliveries = net.send(&id("alice"), &team(), "really first").unwrap();
        assert_eq!(readers(&deliveries, "really first").len(), 2);
    });
}

#[test]
fn relabelling_oneself_is_honest_and_a_stranger_is_no_member() {
    each(|adapter| {
        let mut net = group_of(adapter, &["alice", "bob"]);
        bend(&mut net, &id("bob"), Fault::RelabelledSender(id("bob")));
        everybody_reads_everybody(&mut net, &["alice", "bob"]);
        bend(&mut net, &id("bob"), Fault::RelabelledSender(id("zoe")));
        assert_eq!(refusal(net.device(&id("bob")).unwrap().send(&team(), b"hi")).0, ErrorClass::NotMember);
    });
}

#[test]
fn bent_commits_are_refused_for_what_is_wrong_with_them() {
    let faults = [
        (Fault::WrongLeafSignature, "invalid signature found"),
        (Fault::WrongParentHash, "update path parent hash mismatch"),
        (Fault::WrongConfirmationTag, "invalid confirmation tag"),
    ];
    each(|adapter| {
        for (fault, words) in &faults {
            let mut net = group_of(adapter, &MEMBERS);
            bend(&mut net, &id("bob"), fault.clone());
            let bent = only(change_by(&mut net, &id("bob"), refresh()));
            all_refuse(&mut net, &bent, words);

            bend(&mut net, &id("bob"), Fault::None);
            everybody_reads_everybody(&mut net, &MEMBERS);
            well(net.change(&id("bob"), &team(), &[], &[], true).unwrap());
            everybody_agrees(&mut net, &MEMBERS);
            everybody_reads_everybody(&mut net, &MEMBERS);
        }
    });
}

#[test]
fn a_bent_commit_with_a_removal_is_bent_only_where_it_is_meant_to_be() {
    each(|adapter| {
        let mut net = group_of(adapter, &MEMBERS);
        bend(&mut net, &id("bob"), Fault::WrongParentHash);
        let change = Change { remove: vec![id("carol")], ..Change::default() };
        let bent = only(change_by(&mut net, &id("bob"), change.clone()));
        assert_eq!(refusal(receive(&mut net, &id("alice"), &bent)).1, "update path parent hash mismatch");
        bend(&mut net, &id("bob"), Fault::None);
        well(net.change(&id("bob"), &team(), &[], &[id("carol")], false).unwrap());
        everybody_agrees(&mut net, &["alice", "bob", "dave", "erin"]);
    });
}

#[test]
fn after_a_refused_commit_the_next_path_still_opens() {
    each(|adapter| {
        // The library sets the private tree before it looks at the confirmation tag.
        let mut net = group_of(adapter, &MEMBERS);
        for name in MEMBERS {
            well(net.change(&id(name), &team(), &[], &[], true).unwrap());
        }
        bend(&mut net, &id("bob"), Fault::WrongConfirmationTag);
        let bent = only(change_by(&mut net, &id("bob"), refresh()));
        all_refuse(&mut net, &bent, "invalid confirmation tag");
        for name in ["erin", "alice", "carol"] {
            well(net.change(&id(name), &team(), &[], &[], true).unwrap());
        }
        everybody_agrees(&mut net, &MEMBERS);
    });
}

#[test]
fn an_outsider_cannot_speak() {
    each(|adapter| {
        let mut net = with_outsider(adapter, group_of(adapter, &["alice", "bob", "carol"]), "mallory");
        let plaintext = b"trust me".as_slice().into();
        let forgery = Forgery::Message { group: known(&["alice", "bob", "carol"], 1), claim: id("alice"), plaintext };
        let packets = crafted(&mut net, &id("mallory"), &forgery);
        assert_eq!(
            packets.iter().map(|packet| (packet.kind, &packet.from)).collect::<Vec<_>>(),
            [(PacketKind::Message, &id("alice"))]
        );
        for name in ["bob", "carol"] {
            let (class, text) = refusal(receive(&mut net, &id(name), &packets[0]));
            assert_eq!(class, ErrorClass::AuthFailed, "{name}: {text}");
            assert!(text.starts_with("Open: "), "the library gets as far as the sender data: {text}");
        }
        everybody_reads_everybody(&mut net, &["alice", "bob", "carol"]);
    });
}

#[test]
fn an_outsiders_message_follows_the_epoch() {
    each(|adapter| {
        let mut net = with_outsider(adapter, group_of(adapter, &["alice", "bob", "carol"]), "mallory");
        for _ in 0..6 {
            well(net.change(&id("bob"), &team(), &[], &[], true).unwrap());
        }
        for (changes, class) in [(7, ErrorClass::AuthFailed), (1, ErrorClass::StaleEpoch), (9, ErrorClass::StaleEpoch)]
        {
            let forgery = Forgery::Message {
                group: known(&["alice", "bob", "carol"], changes),
                claim: id("carol"),
                plaintext: b"trust me".as_slice().into(),
            };
            let packet = crafted(&mut net, &id("mallory"), &forgery).remove(0);
            assert_eq!(refusal(receive(&mut net, &id("bob"), &packet)).0, class, "{changes}");
        }
        everybody_reads_everybody(&mut net, &["alice", "bob", "carol"]);
    });
}

#[test]
fn an_outsider_cannot_change_the_group() {
    each(|adapter| {
        let mut net = with_outsider(adapter, group_of(adapter, &["alice", "bob", "carol"]), "mallory");
        let forgery = Forgery::Change {
            group: known(&["alice", "bob", "carol"], 1),
            claim: id("bob"),
            add: vec![],
            remove: vec![id("carol")],
        };
        let packets = crafted(&mut net, &id("mallory"), &forgery);
        assert_eq!(packets.len(), 1);
        for name in ["alice", "bob", "carol"] {
            let (class, text) = refusal(receive(&mut net, &id(name), &packets[0]));
            assert_eq!((class, text.as_str()), (ErrorClass::AuthFailed, "invalid membership tag"), "{name}");
        }
        everybody_agrees(&mut net, &["alice", "bob", "carol"]);
        well(net.change(&id("bob"), &team(), &[], &[id("carol")], false).unwrap());
        everybody_agrees(&mut net, &["alice", "bob"]);
    });
}

#[test]
fn an_outsider_who_adds_itself_also_proposes_itself() {
    each(|adapter| {
        let mut net = with_outsider(adapter, group_of(adapter, &["alice", "bob", "carol"]), "mallory");
        let add = vec![net.claim(&id("mallory"), &id("alice")).unwrap()];
        let forgery =
            Forgery::Change { group: known(&["alice", "bob", "carol"], 1), claim: id("alice"), add, remove: vec![] };
        let packets = crafted(&mut net, &id("mallory"), &forgery);
        let shown: Vec<_> = packets.iter().map(|packet| (packet.kind, packet.from.clone())).collect();
        assert_eq!(shown, [(PacketKind::Change, id("alice")), (PacketKind::Proposal, id("mallory"))]);
        assert_eq!(refusal(receive(&mut net, &id("bob"), &packets[0])).1, "invalid membership tag");
        assert!(
            receive(&mut net, &id("bob"), &packets[1]).is_ok(),
            "the library takes it and asks when it is committed"
        );
        assert!(net.device(&id("bob")).unwrap().roster(&team()).unwrap().members == ids(&["alice", "bob", "carol"]));
        let another_epoch = own_proposal(&mut net, &id("mallory"), &["alice", "bob", "carol"], 2);
        assert_eq!(refusal(receive(&mut net, &id("bob"), &another_epoch)).0, ErrorClass::StaleEpoch);
    });
}

#[test]
fn nobody_joins_without_the_groups_own_information() {
    each(|adapter| {
        let mut net = with_outsider(adapter, group_of(adapter, &["alice", "bob", "carol"]), "mallory");
        let forgery = Forgery::UninvitedJoin { group: known(&["alice", "bob", "carol"], 1) };
        let packet = crafted(&mut net, &id("mallory"), &forgery).remove(0);
        for name in ["alice", "bob", "carol"] {
            let (class, text) = refusal(receive(&mut net, &id(name), &packet));
            assert_eq!((class, text.as_str()), (ErrorClass::AuthFailed, "invalid signature found"), "{name}");
        }
        let info = net.device(&id("alice")).unwrap().group_info(&team()).unwrap();
        let invited = only(net.device(&id("mallory")).unwrap().external_join(info.as_ref()).unwrap());
        for name in ["alice", "bob", "carol"] {
            receive(&mut net, &id(name), &invited).unwrap();
        }
        everybody_agrees(&mut net, &["alice", "bob", "carol", "mallory"]);
    });
}

#[test]
fn a_broken_bundle_is_not_used() {
    each(|adapter| {
        let mut net = with_outsider(adapter, group_of(adapter, &["alice", "bob"]), "carol");
        let bundle = net.claim(&id("carol"), &id("alice")).unwrap();
        let forgery = Forgery::BrokenBundle { bundle: bundle.clone() };
        let Forged::Bundle(broken) = net.device(&id("bob")).unwrap().craft(&forgery).unwrap() else { panic!() };
        assert_eq!(broken.device, id("carol"));
        let add = |bundle: Bundle| Change { add: vec![bundle], ..Change::default() };
        let refused = net.device(&id("alice")).unwrap().change(&team(), &add(broken));
        let (class, text) = refusal(refused);
        assert_eq!((class, text.as_str()), (ErrorClass::AuthFailed, "invalid signature found"));
        net.device(&id("alice")).unwrap().change(&team(), &add(bundle)).unwrap();
    });
}

#[test]
fn every_flipped_bit_of_a_message_or_commit_is_refused_and_the_original_is_taken() {
    each(|adapter| {
        let mut net = group_of(adapter, &["alice", "bob"]);
        for commit in [false, true] {
            let original = match commit {
                false => message_by(&mut net, &id("alice"), "hello"),
                true => only(change_by(&mut net, &id("alice"), refresh())),
            };
            for bit in 0..original.bytes.0.len() * 8 {
                let mut flipped = original.clone();
                flipped.bytes.0[bit / 8] ^= 1 << (bit % 8);
                assert!(receive(&mut net, &id("bob"), &flipped).is_err(), "bit {bit}, commit: {commit}");
            }
            for length in 0..original.bytes.0.len() {
                let mut cut = original.clone();
                cut.bytes.0.truncate(length);
                let (class, text) = refusal(receive(&mut net, &id("bob"), &cut));
                assert_eq!(class, ErrorClass::BadRequest, "{length} bytes: {text}");
            }
            receive(&mut net, &id("bob"), &original).unwrap();
        }
    });
}

#[test]
fn a_packet_of_another_group_is_refused() {
    each(|adapter| {
        let other = e2esm_adapter::GroupId("other".into());
        let mut net = group_of(adapter, &["alice", "bob"]);
        net.group(&other, &id("alice"), &[id("bob")]).unwrap();
        let mut packet = message_by(&mut net, &id("alice"), "for the team");
        packet.group = other;
        let (class, text) = refusal(receive(&mut net, &id("bob"), &packet));
        assert_eq!((class, text.as_str()), (ErrorClass::BadRequest, "GroupID mismatch"));
        packet.group = team();
        assert!(receive(&mut net, &id("bob"), &packet).unwrap().message.is_some());
    });
}
