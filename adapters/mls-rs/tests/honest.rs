//! The life of honest devices: everything works, everybody sees the same, and what has happened is noticed.

#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use e2esm_adapter::{
    Address, Bundle, Change, DeviceId, ErrorClass, Event, FingerprintKind, GroupId, Output, Packet, PacketKind,
};
use e2esm_testing::{Net, readers};
use mls_rs::{MlsMessage, WireFormat};

#[test]
fn everybody_reads_everybody_and_all_see_the_same_group() {
    each(|adapter| {
        let mut net = group_of(adapter, &["alice", "bob", "carol", "dave"]);
        everybody_agrees(&mut net, &["alice", "bob", "carol", "dave"]);
        everybody_reads_everybody(&mut net, &["alice", "bob", "carol", "dave"]);
        let kind = net.device(&id("bob")).unwrap().fingerprint(&team(), &id("alice")).unwrap().kind;
        assert_eq!(kind, FingerprintKind::EpochAuthenticator);
    });
}

#[test]
fn the_two_crypto_providers_talk_to_each_other() {
    let adapters = e2esm_adapter_mls_rs::adapters();
    let mut net = Net::default();
    for (index, name) in ["alice", "bob", "carol", "dave"].iter().enumerate() {
        net.insert(&id(name), adapters[index % 2].device(&id(name)).unwrap());
    }
    net.group(&team(), &id("alice"), &ids(&["bob", "carol", "dave"])).unwrap();
    well(net.change(&id("bob"), &team(), &[], &[], true).unwrap());
    everybody_agrees(&mut net, &["alice", "bob", "carol", "dave"]);
    everybody_reads_everybody(&mut net, &["alice", "bob", "carol", "dave"]);
}

#[test]
fn a_group_is_created_once() {
    each(|adapter| {
        let mut alice = adapter.device(&id("alice")).unwrap();
        assert_eq!(alice.create_group(&team()).unwrap(), Output::default());
        assert_eq!(refusal(alice.create_group(&team())).0, ErrorClass::Duplicate);
        assert_eq!(alice.roster(&team()).unwrap().members, [id("alice")]);
        alice.send(&team(), b"to myself").unwrap();
    });
}

#[test]
fn a_change_is_noticed_by_all_whom_it_concerns() {
    each(|adapter| {
        let mut net = with_outsider(adapter, group_of(adapter, &["alice", "bob", "carol"]), "dave");
        well(net.change(&id("bob"), &team(), &[id("dave")], &[id("carol")], false).unwrap());
        let (group, by) = (team(), id("bob"));
        let removed = Event::MemberRemoved { group: group.clone(), device: id("carol"), by: by.clone() };
        let added = Event::MemberAdded { group: group.clone(), device: id("dave"), by };
        for witness in ["alice", "bob", "carol"] {
            assert_eq!(noticed(events(&mut net, &id(witness))), [removed.clone(), added.clone()], "{witness}");
        }
        assert_eq!(noticed(events(&mut net, &id("dave"))), [Event::Joined { group }]);
        everybody_agrees(&mut net, &["alice", "bob", "dave"]);
        everybody_reads_everybody(&mut net, &["alice", "bob", "dave"]);
    });
}

#[test]
fn a_member_who_comes_back_with_another_account_is_noticed() {
    each(|adapter| {
        let mut net = group_of(adapter, &["alice", "bob", "carol"]);
        net.insert(&id("bob"), adapter.device(&id("bob")).unwrap());
        let bundle = net.claim(&id("bob"), &id("alice")).unwrap();
        let change = Change { add: vec![bundle], remove: vec![id("bob")], refresh: false };
        let output = change_by(&mut net, &id("alice"), change);
        let packet = packets(&output, PacketKind::Change).remove(0);
        receive(&mut net, &id("carol"), &packet).unwrap();
        let changed = Event::KeyChanged { device: id("bob") };
        assert_eq!(noticed(events(&mut net, &id("carol"))).last(), Some(&changed));
    });
}

#[test]
fn a_change_takes_effect_when_it_comes_back() {
    each(|adapter| {
        let mut net = with_outsider(adapter, group_of(adapter, &["alice", "bob"]), "carol");
        let bundle = net.claim(&id("carol"), &id("alice")).unwrap();
        let output = change_by(&mut net, &id("alice"), Change { add: vec![bundle], ..Change::default() });
        assert_eq!(net.device(&id("alice")).unwrap().roster(&team()).unwrap().members, ids(&["alice", "bob"]));
        everybody_reads_everybody(&mut net, &["alice", "bob"]);

        let addresses: Vec<_> = output.packets.iter().map(|packet| (packet.kind, packet.to.clone())).collect();
        assert_eq!(
            addresses,
            [(PacketKind::Change, Address::Group(team())), (PacketKind::Welcome, Address::Device(id("carol")))]
        );
        for packet in packets(&output, PacketKind::Change) {
            receive(&mut net, &id("alice"), &packet).unwrap();
            receive(&mut net, &id("bob"), &packet).unwrap();
        }
        for packet in packets(&output, PacketKind::Welcome) {
            receive(&mut net, &id("carol"), &packet).unwrap();
        }
        everybody_agrees(&mut net, &["alice", "bob", "carol"]);
    });
}

#[test]
fn of_two_racing_changes_the_first_wins_and_the_other_author_drops_its_own() {
    each(|adapter| {
        let names = ["alice", "bob", "carol", "dave"];
        let mut net = group_of(adapter, &names);
        let first = only(change_by(&mut net, &id("alice"), Change { remove: vec![id("dave")], ..Change::default() }));
        let second = only(change_by(&mut net, &id("bob"), Change { remove: vec![id("carol")], ..Change::default() }));
        for name in names {
            receive(&mut net, &id(name), &first).unwrap();
        }
        assert_eq!(noticed(events(&mut net, &id("bob")))[0], Event::ChangeDropped { group: team() });
        for name in ["alice", "bob", "carol"] {
            assert_eq!(refusal(receive(&mut net, &id(name), &second)).0, ErrorClass::StaleEpoch, "{name}");
        }
        everybody_agrees(&mut net, &["alice", "bob", "carol"]);
    });
}

#[test]
fn of_two_own_changes_the_one_that_comes_back_counts() {
    each(|adapter| {
        let mut net = group_of(adapter, &["alice", "bob", "carol"]);
        let lost = only(change_by(&mut net, &id("alice"), Change { remove: vec![id("bob")], ..Change::default() }));
        let taken = only(change_by(&mut net, &id("alice"), refresh()));
        assert_ne!(lost.bytes, taken.bytes);
        for name in ["alice", "bob", "carol"] {
            receive(&mut net, &id(name), &taken).unwrap();
        }
        assert_eq!(noticed(events(&mut net, &id("alice"))), [Event::ChangeDropped { group: team() }]);
        everybody_agrees(&mut net, &["alice", "bob", "carol"]);
    });
}

#[test]
fn only_a_refresh_forces_a_path_where_the_library_needs_none() {
    each(|adapter| {
        let mut net = with_outsider(adapter, group_of(adapter, &["alice", "bob"]), "carol");
        let bundle = net.claim(&id("carol"), &id("alice")).unwrap();
        for refresh in [false, true] {
            let change = Change { add: vec![bundle.clone()], refresh, ..Change::default() };
            let commit = packets(&change_by(&mut net, &id("alice"), change), PacketKind::Change).remove(0);
            let commit = MlsMessage::from_bytes(commit.bytes.as_ref()).unwrap();
            assert_eq!(commit.commit_path_leaf_node().is_some(), refresh);
        }
    });
}

#[test]
fn handshakes_are_public_and_messages_private_and_padded() {
    each(|adapter| {
        let mut net = group_of(adapter, &["alice", "bob"]);
        let wire_format = |packet: &Packet| MlsMessage::from_bytes(packet.bytes.as_ref()).unwrap().wire_format();
        let lengths: Vec<_> = (0..64)
            .map(|length| {
                let packet = message_by(&mut net, &id("alice"), &"x".repeat(length));
                assert_eq!(wire_format(&packet), WireFormat::PrivateMessage);
                packet.bytes.0.len()
            })
            .collect();
        let steps: std::collections::BTreeSet<_> = lengths.iter().map(|length| length - lengths[0]).collect();
        assert_eq!(steps.into_iter().collect::<Vec<_>>(), [0, 32, 64], "steps of 32 bytes");
        let change = only(change_by(&mut net, &id("alice"), refresh()));
        assert_eq!(wire_format(&change), WireFormat::PublicMessage);
    });
}

#[test]
fn messages_arrive_in_any_order_and_each_once() {
    each(|adapter| {
        let mut net = group_of(adapter, &["alice", "bob"]);
        let sent: Vec<_> = (0..5).map(|n| message_by(&mut net, &id("alice"), &n.to_string())).collect();
        for n in [3, 0, 4] {
            let read = receive(&mut net, &id("bob"), &sent[n]).unwrap().message.unwrap();
            assert_eq!((read.sender, read.plaintext.0), (id("alice"), n.to_string().into_bytes()));
        }
        assert_eq!(refusal(receive(&mut net, &id("bob"), &sent[3])).0, ErrorClass::NoKey, "a replay");
        assert!(receive(&mut net, &id("bob"), &sent[1]).is_ok(), "the refusal has spent nothing");
        assert!(receive(&mut net, &id("bob"), &sent[2]).is_ok());
    });
}

#[test]
fn a_message_of_an_earlier_epoch_is_read_while_the_epoch_is_retained() {
    each(|adapter| {
        let mut net = group_of(adapter, &["alice", "bob"]);
        let late: Vec<_> = (0..3).map(|n| message_by(&mut net, &id("alice"), &n.to_string())).collect();
        for _ in 0..3 {
            well(net.change(&id("bob"), &team(), &[], &[], true).unwrap());
        }
        assert!(receive(&mut net, &id("bob"), &late[0]).unwrap().message.is_some());
        assert_eq!(refusal(receive(&mut net, &id("bob"), &late[0])).0, ErrorClass::NoKey, "but once");
        assert!(receive(&mut net, &id("bob"), &late[1]).unwrap().message.is_some());
        well(net.change(&id("bob"), &team(), &[], &[], true).unwrap());
        assert_eq!(refusal(receive(&mut net, &id("bob"), &late[2])).0, ErrorClass::StaleEpoch);
    });
}

#[test]
fn a_message_of_an_earlier_epoch_is_not_read_once_its_sender_has_left() {
    each(|adapter| {
        let mut net = with_outsider(adapter, group_of(adapter, &["alice", "bob", "carol"]), "dave");
        let late = message_by(&mut net, &id("carol"), "my last words");
        well(net.change(&id("alice"), &team(), &[], &[id("carol")], false).unwrap());
        assert_eq!(refusal(receive(&mut net, &id("bob"), &late)).0, ErrorClass::NotMember);
        // Somebody else in carol's leaf is not taken for her.
        well(net.change(&id("alice"), &team(), &[id("dave")], &[], false).unwrap());
        assert_eq!(refusal(receive(&mut net, &id("bob"), &late)).0, ErrorClass::NotMember);
        assert_eq!(
            asked(&events(&mut net, &id("bob"))).iter().filter(|(_, about, _)| *about == Some(id("carol"))).count(),
            1
        );
        everybody_reads_everybody(&mut net, &["alice", "bob", "dave"]);
    });
}

#[test]
fn a_removed_device_tries_later_traffic_and_fails() {
    each(|adapter| {
        let mut net = group_of(adapter, &["alice", "bob", "carol"]);
        well(net.change(&id("alice"), &team(), &[], &[id("carol")], false).unwrap());
        let later = message_by(&mut net, &id("alice"), "without carol");
        assert_eq!(refusal(receive(&mut net, &id("carol"), &later)).0, ErrorClass::StaleEpoch);
        let change = only(change_by(&mut net, &id("alice"), refresh()));
        assert_eq!(refusal(receive(&mut net, &id("carol"), &change)).0, ErrorClass::StaleEpoch);
        assert!(receive(&mut net, &id("bob"), &later).unwrap().message.is_some());

        // The library lets her go on sending in her epoch; nobody takes it.
        let stale = message_by(&mut net, &id("carol"), "still here");
        assert_eq!(refusal(receive(&mut net, &id("bob"), &stale)).0, ErrorClass::NotMember);
        everybody_reads_everybody(&mut net, &["alice", "bob"]);
    });
}

#[test]
fn a_removed_device_can_be_added_again_and_reads_from_then_on() {
    each(|adapter| {
        let mut net = group_of(adapter, &["alice", "bob", "carol"]);
        well(net.change(&id("alice"), &team(), &[], &[id("carol")], false).unwrap());
        let gap = message_by(&mut net, &id("alice"), "the gap");
        well(net.change(&id("alice"), &team(), &[id("carol")], &[], false).unwrap());
        everybody_agrees(&mut net, &["alice", "bob", "carol"]);
        everybody_reads_everybody(&mut net, &["alice", "bob", "carol"]);
        assert!(receive(&mut net, &id("carol"), &gap).is_err());
        well(net.change(&id("carol"), &team(), &[], &[], true).unwrap());
        everybody_reads_everybody(&mut net, &["alice", "bob", "carol"]);
    });
}

#[test]
fn a_newcomer_reads_nothing_of_before() {
    each(|adapter| {
        let mut net = with_outsider(adapter, group_of(adapter, &["alice", "bob"]), "carol");
        let before = message_by(&mut net, &id("alice"), "before");
        well(net.change(&id("alice"), &team(), &[id("carol")], &[], false).unwrap());
        assert_eq!(refusal(receive(&mut net, &id("carol"), &before)).0, ErrorClass::StaleEpoch);
        assert!(receive(&mut net, &id("bob"), &before).unwrap().message.is_some());
        everybody_reads_everybody(&mut net, &["alice", "bob", "carol"]);
    });
}

#[test]
fn a_device_joins_by_its_own_act_with_group_information() {
    each(|adapter| {
        let mut net = with_outsider(adapter, group_of(adapter, &["alice", "bob"]), "carol");
        let info = net.device(&id("alice")).unwrap().group_info(&team()).unwrap();
        let join = only(net.device(&id("carol")).unwrap().external_join(info.as_ref()).unwrap());
        assert_eq!(noticed(events(&mut net, &id("carol"))), [Event::Joined { group: team() }]);
        let added = Event::MemberAdded { group: team(), device: id("carol"), by: id("carol") };
        for name in ["alice", "bob"] {
            receive(&mut net, &id(name), &join).unwrap();
            assert_eq!(noticed(events(&mut net, &id(name))), std::slice::from_ref(&added));
        }
        everybody_agrees(&mut net, &["alice", "bob", "carol"]);

        // Its own comes back too, and has been in force from the start. It is known by its label and bytes.
        let mut bent = join.clone();
        *bent.bytes.0.last_mut().unwrap() ^= 1;
        for other in [bent, Packet { group: GroupId("another".into()), ..join.clone() }] {
            refusal(receive(&mut net, &id("carol"), &other));
        }
        assert_eq!(receive(&mut net, &id("carol"), &join).unwrap(), Output::default());
        assert_eq!(events(&mut net, &id("carol")), []);
        assert_eq!(refusal(receive(&mut net, &id("carol"), &join)).0, ErrorClass::StaleEpoch);
        everybody_agrees(&mut net, &["alice", "bob", "carol"]);
        well(net.change(&id("bob"), &team(), &[], &[], true).unwrap());

        // Used up: the group has moved on.
        let mut dave = adapter.device(&id("dave")).unwrap();
        let late = only(dave.external_join(info.as_ref()).unwrap());
        assert_eq!(refusal(receive(&mut net, &id("alice"), &late)).0, ErrorClass::StaleEpoch);
    });
}

#[test]
fn a_device_that_has_lost_its_place_takes_it_again_by_its_own_act() {
    each(|adapter| {
        let mut net = group_of(adapter, &["alice", "bob", "carol"]);
        let info = net.device(&id("alice")).unwrap().group_info(&team()).unwrap();
        let join = only(net.device(&id("bob")).unwrap().external_join(info.as_ref()).unwrap());
        for name in ["alice", "carol"] {
            receive(&mut net, &id(name), &join).unwrap();
        }
        everybody_agrees(&mut net, &["alice", "bob", "carol"]);
        everybody_reads_everybody(&mut net, &["alice", "bob", "carol"]);
    });
}

#[test]
fn two_devices_of_one_user_are_members_and_vouched_for_by_one_account() {
    each(|adapter| {
        let tablet = DeviceId::new("bob", "tablet");
        let mut net = group_of(adapter, &["alice", "bob"]);
        net.insert(&tablet, adapter.device(&tablet).unwrap());
        let request = net.device(&tablet).unwrap().link_request().unwrap();
        let word = net.device(&id("bob")).unwrap().authorise(&request).unwrap();
        net.device(&tablet).unwrap().accept_authorisation(&word).unwrap();
        let (phone, linked) =
            (net.device(&id("bob")).unwrap().identity().unwrap(), net.device(&tablet).unwrap().identity().unwrap());
        assert_eq!(phone.account_key, linked.account_key);
        assert_ne!(phone.device_key, linked.device_key);

        well(net.change(&id("bob"), &team(), std::slice::from_ref(&tablet), &[], false).unwrap());
        let shown = facts(&events(&mut net, &id("alice"))).into_iter().find_map(|fact| match fact {
            e2esm_adapter::Fact::Identity { device, identity, .. } if device == tablet => Some(identity),
            _ => None,
        });
        assert_eq!(shown, Some(linked.clone()));
        assert!(e2esm_account::vouched(&tablet, &linked));
        let deliveries = net.send(&tablet, &team(), "from the tablet").unwrap();
        assert_eq!(readers(&deliveries, "from the tablet").len(), 2);
        let word = net.device(&tablet).unwrap().authorise(&request);
        assert_eq!(refusal(word).0, ErrorClass::BadRequest, "a linked device has no account key");
    });
}

#[test]
fn a_proposal_of_a_newcomer_is_committed_with_the_next_change() {
    each(|adapter| {
        let mut net = with_outsider(adapter, group_of(adapter, &["alice", "bob"]), "mallory");
        let proposal = own_proposal(&mut net, &id("mallory"), &["alice", "bob"], 1);
        for name in ["alice", "bob"] {
            receive(&mut net, &id(name), &proposal).unwrap();
        }
        assert!(asked(&events(&mut net, &id("bob"))).is_empty(), "the library asks nothing when it caches one");
        let blocked = net.device(&id("alice")).unwrap().send(&team(), b"anything");
        assert_eq!(refusal(blocked).0, ErrorClass::BadRequest, "a commit comes first");

        let output = change_by(&mut net, &id("bob"), Change::default());
        let welcome = packets(&output, PacketKind::Welcome).remove(0);
        assert_eq!(welcome.to, Address::Device(id("mallory")));
        let change = packets(&output, PacketKind::Change).remove(0);
        for name in ["alice", "bob"] {
            receive(&mut net, &id(name), &change).unwrap();
        }
        receive(&mut net, &id("mallory"), &welcome).unwrap();
        everybody_agrees(&mut net, &["alice", "bob", "mallory"]);
    });
}

#[test]
fn a_bundle_is_used_once() {
    each(|adapter| {
        let mut net = with_outsider(adapter, group_of(adapter, &["alice", "bob"]), "carol");
        let bundle = net.claim(&id("carol"), &id("alice")).unwrap();
        let welcome = |net: &mut Net, group: &GroupId, bundle: &Bundle| {
            let change = Change { add: vec![bundle.clone()], ..Change::default() };
            let output = net.device(&id("alice")).unwrap().change(group, &change).unwrap();
            packets(&output, PacketKind::Welcome).remove(0)
        };
        let other = GroupId("other".into());
        net.device(&id("alice")).unwrap().create_group(&other).unwrap();
        let first = welcome(&mut net, &team(), &bundle);
        let second = welcome(&mut net, &other, &bundle);
        receive(&mut net, &id("carol"), &first).unwrap();
        assert_eq!(refusal(receive(&mut net, &id("carol"), &first)).0, ErrorClass::NoKey);
        assert_eq!(refusal(receive(&mut net, &id("carol"), &second)).0, ErrorClass::NoKey);
    });
}

#[test]
fn a_long_conversation_is_written_down_now_and_then() {
    each(|adapter| {
        let mut net = group_of(adapter, &["alice", "bob"]);
        for n in 0..300 {
            let packet = message_by(&mut net, &id("alice"), &n.to_string());
            receive(&mut net, &id("bob"), &packet).unwrap();
            if n % 97 == 0 {
                // A refusal takes bob back to what was written, and through what came after.
                assert_eq!(refusal(receive(&mut net, &id("bob"), &packet)).0, ErrorClass::NoKey);
            }
        }
        everybody_reads_everybody(&mut net, &["alice", "bob"]);
    });
}

#[test]
fn a_refusal_takes_back_nothing_that_was_sent_read_or_proposed_before() {
    each(|adapter| {
        let mut net = with_outsider(adapter, group_of(adapter, &["alice", "bob"]), "mallory");
        let read = message_by(&mut net, &id("alice"), "read");
        receive(&mut net, &id("bob"), &read).unwrap();
        let sent: Vec<_> = (0..3).map(|n| message_by(&mut net, &id("bob"), &n.to_string())).collect();
        assert_eq!(refusal(receive(&mut net, &id("bob"), &read)).0, ErrorClass::NoKey);
        for packet in sent.iter().chain([&message_by(&mut net, &id("bob"), "under a key of its own")]) {
            assert!(receive(&mut net, &id("alice"), packet).unwrap().message.is_some());
        }
        let proposal = own_proposal(&mut net, &id("mallory"), &["alice", "bob"], 1);
        receive(&mut net, &id("bob"), &proposal).unwrap();
        assert_eq!(refusal(receive(&mut net, &id("bob"), &read)).0, ErrorClass::NoKey);
        let output = change_by(&mut net, &id("bob"), Change::default());
        assert_eq!(packets(&output, PacketKind::Welcome).len(), 1, "the proposal is still there");
    });
}
