//! The operations of an honest device.

#![allow(clippy::unwrap_used)]

mod common;

use common::{assert_refused, bytes, cast, junk, only, phone, well, with_both};
use e2esm_adapter::{Address, Capability, Change, DeviceId, ErrorClass, Event, GroupId, PacketKind};
use e2esm_testing::{Net, readers};

#[test]
fn everybody_reads_everybody_and_knows_who_said_it() {
    with_both(|adapter| {
        let mut cast = cast(adapter);
        cast.is_well();
        let members = vec![cast.alice.clone(), cast.bob.clone(), cast.carol.clone()];
        for member in members.clone() {
            assert_eq!(cast.roster(&member), members);
        }
    });
}

#[test]
fn the_two_providers_understand_each_other() {
    let adapters = e2esm_adapter_openmls::adapters();
    let mut cast = cast(adapters[0].as_ref());
    let dave = cast.dave.clone();
    cast.net.insert(&dave, adapters[1].device(&dave).unwrap());
    let (alice, bob, carol) = (cast.alice.clone(), cast.bob.clone(), cast.carol.clone());
    well(cast.change(&alice, &[&dave], &[], false));
    cast.reads(&dave, &[&alice, &bob, &carol]);
    well(cast.change(&dave, &[], &[], true));
    cast.reads(&alice, &[&bob, &carol, &dave]);
}

#[test]
fn an_addition_and_a_removal_are_seen_by_all_and_bind_all() {
    with_both(|adapter| {
        let mut cast = cast(adapter);
        let (alice, bob, carol, dave) = (cast.alice.clone(), cast.bob.clone(), cast.carol.clone(), cast.dave.clone());
        let group = cast.group.clone();

        well(cast.change(&bob, &[&dave], &[], false));
        let added = Event::MemberAdded { group: group.clone(), device: dave.clone(), by: bob.clone() };
        for member in [&alice, &bob, &carol] {
            assert!(cast.events(member).contains(&added), "{member}");
        }
        assert!(cast.events(&dave).contains(&Event::Joined { group: group.clone() }));
        cast.reads(&dave, &[&alice, &bob, &carol]);
        cast.reads(&alice, &[&bob, &carol, &dave]);

        well(cast.change(&alice, &[], &[&carol], false));
        let removed = Event::MemberRemoved { group: group.clone(), device: carol.clone(), by: alice.clone() };
        for member in [&alice, &bob, &carol, &dave] {
            assert!(cast.events(member).contains(&removed), "{member}");
        }
        assert_eq!(cast.roster(&bob), [alice.clone(), bob.clone(), dave.clone()]);
        cast.reads(&bob, &[&alice, &dave]);
    });
}

#[test]
fn a_removed_device_keeps_its_keys_tries_and_fails() {
    with_both(|adapter| {
        let mut cast = cast(adapter);
        let (alice, bob, carol) = (cast.alice.clone(), cast.bob.clone(), cast.carol.clone());
        let group = cast.group.clone();
        let early = only(cast.net.device(&alice).unwrap().send(&group, b"early").unwrap().packets);
        well(cast.change(&alice, &[], &[&carol], false));

        // Its old keys still work for what they are for: it really tries.
        let read = cast.receive(&carol, &early).unwrap().message.unwrap();
        assert_eq!((read.sender, read.plaintext), (alice.clone(), bytes("early")));

        let late = only(cast.net.device(&alice).unwrap().send(&group, b"late").unwrap().packets);
        assert_refused(cast.receive(&carol, &late), ErrorClass::StaleEpoch, "epoch differs");
        assert!(cast.receive(&bob, &late).unwrap().message.is_some());
        let change = only(cast.commit(&alice, &[], &[], true));
        assert_refused(cast.receive(&carol, &change), ErrorClass::StaleEpoch, "epoch differs");

        let carols = cast.net.device(&carol).unwrap();
        assert_refused(carols.send(&group, b"hello?"), ErrorClass::NotMember, "removed");
        assert_refused(carols.change(&group, &Change::default()), ErrorClass::NotMember, "removed");
        assert_refused(carols.group_info(&group), ErrorClass::NotMember, "removed");
    });
}

#[test]
fn a_removed_device_can_be_added_again() {
    with_both(|adapter| {
        let mut cast = cast(adapter);
        let (alice, bob, carol) = (cast.alice.clone(), cast.bob.clone(), cast.carol.clone());
        well(cast.change(&alice, &[], &[&carol], false));
        let group = cast.group.clone();
        let gap = only(cast.net.device(&alice).unwrap().send(&group, b"gap").unwrap().packets);
        assert!(cast.receive(&bob, &gap).unwrap().message.is_some());
        well(cast.change(&bob, &[&carol], &[], false));
        assert_refused(cast.receive(&carol, &gap), ErrorClass::StaleEpoch, "");
        cast.is_well();
    });
}

#[test]
fn a_change_waits_until_it_comes_back() {
    with_both(|adapter| {
        let mut cast = cast(adapter);
        let (alice, bob, carol) = (cast.alice.clone(), cast.bob.clone(), cast.carol.clone());
        let before = cast.fingerprint(&alice);
        let packet = only(cast.commit(&alice, &[], &[&carol], false));
        assert_eq!(packet.kind, PacketKind::Change);
        assert_eq!(cast.fingerprint(&alice), before);
        assert_eq!(cast.roster(&alice).len(), 3);
        // Meanwhile it still speaks in the epoch that everybody is in.
        cast.reads(&alice, &[&bob, &carol]);
        cast.receive(&alice, &packet).unwrap();
        assert_ne!(cast.fingerprint(&alice), before);
        assert_eq!(cast.roster(&alice).len(), 2);
    });
}

#[test]
fn of_two_racing_changes_the_first_wins() {
    with_both(|adapter| {
        let mut cast = cast(adapter);
        let (alice, bob, carol) = (cast.alice.clone(), cast.bob.clone(), cast.carol.clone());
        let first = only(cast.commit(&alice, &[], &[], true));
        let second = only(cast.commit(&bob, &[], &[&carol], false));
        for member in [&alice, &bob, &carol] {
            cast.receive(member, &first).unwrap();
        }
        let group = cast.group.clone();
        assert!(cast.events(&bob).contains(&Event::ChangeDropped { group: group.clone() }));
        assert!(!cast.events(&alice).contains(&Event::ChangeDropped { group }));
        for member in [&alice, &bob, &carol] {
            assert_refused(cast.receive(member, &second), ErrorClass::StaleEpoch, "epoch differs");
        }
        cast.is_well();
        // And the loser may try again.
        well(cast.change(&bob, &[], &[&carol], false));
        cast.reads(&bob, &[&alice]);
    });
}

#[test]
fn a_new_change_replaces_one_that_the_server_never_took() {
    with_both(|adapter| {
        let mut cast = cast(adapter);
        let (alice, bob) = (cast.alice.clone(), cast.bob.clone());
        let lost = only(cast.commit(&alice, &[], &[], true));
        well(cast.change(&alice, &[], &[], true));
        let group = cast.group.clone();
        assert!(cast.events(&alice).contains(&Event::ChangeDropped { group }));
        assert_refused(cast.receive(&bob, &lost), ErrorClass::StaleEpoch, "epoch differs");
        cast.is_well();
    });
}

#[test]
fn a_refused_change_of_another_member_leaves_the_own_one_pending() {
    with_both(|adapter| {
        let mut cast = cast(adapter);
        let (alice, bob, carol) = (cast.alice.clone(), cast.bob.clone(), cast.carol.clone());
        let own = only(cast.commit(&alice, &[], &[], true));
        let mut tampered = only(cast.commit(&bob, &[], &[], true));
        *tampered.bytes.0.last_mut().unwrap() ^= 1;
        assert_refused(cast.receive(&alice, &tampered), ErrorClass::AuthFailed, "AEAD");
        for member in [&alice, &bob, &carol] {
            cast.receive(member, &own).unwrap();
        }
        cast.is_well();
    });
}

#[test]
fn one_welcome_lets_all_new_devices_in() {
    with_both(|adapter| {
        let mut cast = cast(adapter);
        let (alice, dave) = (cast.alice.clone(), cast.dave.clone());
        let erin = phone("erin");
        cast.net.insert(&erin, adapter.device(&erin).unwrap());
        let bundles = [&dave, &erin].map(|device| cast.net.claim(device, &alice).unwrap());
        let packets = cast.commit(&alice, &bundles, &[], false);
        let to: Vec<_> = packets.iter().map(|packet| (packet.kind, packet.to.clone())).collect();
        assert_eq!(
            to,
            [
                (PacketKind::Change, Address::Group(cast.group.clone())),
                (PacketKind::Welcome, Address::Devices(vec![dave.clone(), erin.clone()])),
            ]
        );
        cast.receive(&dave, &packets[1]).unwrap();
        cast.receive(&erin, &packets[1]).unwrap();
        assert_eq!(cast.fingerprint(&dave), cast.fingerprint(&erin));
    });
}

#[test]
fn replays_are_refused() {
    with_both(|adapter| {
        let mut cast = cast(adapter);
        let (alice, bob, dave) = (cast.alice.clone(), cast.bob.clone(), cast.dave.clone());
        let group = cast.group.clone();
        let message = only(cast.net.device(&alice).unwrap().send(&group, b"once").unwrap().packets);
        assert!(cast.receive(&bob, &message).unwrap().message.is_some());
        assert_refused(cast.receive(&bob, &message), ErrorClass::Duplicate, "deleted to preserve forward secrecy");

        let bundle = cast.net.claim(&dave, &alice).unwrap();
        let packets = cast.commit(&alice, &[bundle], &[], false);
        for member in [&alice, &bob] {
            cast.receive(member, &packets[0]).unwrap();
            assert_refused(cast.receive(member, &packets[0]), ErrorClass::StaleEpoch, "epoch differs");
        }
        cast.receive(&dave, &packets[1]).unwrap();
        assert_refused(cast.receive(&dave, &packets[1]), ErrorClass::NoKey, "No matching key package");
        cast.reads(&alice, &[&bob]);
    });
}

#[test]
fn an_own_message_that_comes_back_cannot_be_read() {
    with_both(|adapter| {
        let mut cast = cast(adapter);
        let (alice, group) = (cast.alice.clone(), cast.group.clone());
        let own = only(cast.net.device(&alice).unwrap().send(&group, b"hello").unwrap().packets);
        assert_refused(cast.receive(&alice, &own), ErrorClass::NoKey, "this device's own");
        cast.is_well();
    });
}

#[test]
fn messages_may_overtake_each_other_and_get_lost() {
    with_both(|adapter| {
        let mut cast = cast(adapter);
        let (alice, bob) = (cast.alice.clone(), cast.bob.clone());
        let group = cast.group.clone();
        let packets: Vec<_> =
            (0..4u8).map(|n| only(cast.net.device(&alice).unwrap().send(&group, &[n]).unwrap().packets)).collect();
        for n in [3, 0, 2] {
            let read = cast.receive(&bob, &packets[n]).unwrap().message.unwrap();
            assert_eq!(read.plaintext.0, [u8::try_from(n).unwrap()]);
        }
    });
}

#[test]
fn a_message_of_the_epoch_before_is_an_explicit_loss() {
    with_both(|adapter| {
        let mut cast = cast(adapter);
        let (alice, bob) = (cast.alice.clone(), cast.bob.clone());
        let group = cast.group.clone();
        let message = only(cast.net.device(&alice).unwrap().send(&group, b"slow").unwrap().packets);
        well(cast.change(&alice, &[], &[], true));
        assert_refused(cast.receive(&bob, &message), ErrorClass::StaleEpoch, "");
        cast.is_well();
    });
}

#[test]
fn tampered_packets_are_refused_and_the_originals_still_taken() {
    with_both(|adapter| {
        let mut cast = cast(adapter);
        let (alice, bob, dave) = (cast.alice.clone(), cast.bob.clone(), cast.dave.clone());
        let group = cast.group.clone();
        let message = only(cast.net.device(&alice).unwrap().send(&group, b"hello").unwrap().packets);
        let bundle = cast.net.claim(&dave, &alice).unwrap();
        let packets = cast.commit(&alice, &[bundle], &[], true);
        for (by, packet) in [(&bob, &message), (&bob, &packets[0]), (&dave, &packets[1])] {
            for at in 0..packet.bytes.0.len() {
                let mut tampered = packet.clone();
                tampered.bytes.0[at] ^= 1;
                assert!(cast.receive(by, &tampered).is_err(), "{:?}, byte {at}", packet.kind);
                let mut short = packet.clone();
                short.bytes.0.truncate(at);
                assert!(cast.receive(by, &short).is_err(), "{:?}, {at} bytes", packet.kind);
            }
            cast.receive(by, packet).unwrap();
        }
        assert_eq!(cast.fingerprint(&bob), cast.fingerprint(&dave));
    });
}

#[test]
fn a_packet_of_another_group_kind_or_shape_makes_no_sense() {
    with_both(|adapter| {
        let mut cast = cast(adapter);
        let (alice, bob) = (cast.alice.clone(), cast.bob.clone());
        let group = cast.group.clone();
        let message = only(cast.net.device(&alice).unwrap().send(&group, b"hello").unwrap().packets);

        let mut unknown = message.clone();
        unknown.group = GroupId("strangers".to_owned());
        assert_refused(cast.receive(&bob, &unknown), ErrorClass::BadRequest, "no group");

        let other = GroupId("others".to_owned());
        cast.net.group(&other, &bob, std::slice::from_ref(&alice)).unwrap();
        let mut misplaced = message.clone();
        misplaced.group = other;
        assert_refused(cast.receive(&bob, &misplaced), ErrorClass::BadRequest, "group ID differs");

        let mut mislabelled = message.clone();
        for kind in [
            PacketKind::Change,
            PacketKind::Proposal,
            PacketKind::Welcome,
            PacketKind::KeyDistribution,
            PacketKind::KeyRequest,
            PacketKind::DeviceList,
        ] {
            mislabelled.kind = kind;
            assert_refused(cast.receive(&bob, &mislabelled), ErrorClass::BadRequest, "");
            assert_refused(cast.receive(&bob, &junk(kind, &group, &alice)), ErrorClass::BadRequest, "");
        }
        assert!(cast.receive(&bob, &message).unwrap().message.is_some());
    });
}

#[test]
fn a_second_group_of_the_same_id_does_not_overwrite_the_first() {
    with_both(|adapter| {
        let mut cast = cast(adapter);
        let (bob, dave, group) = (cast.bob.clone(), cast.dave.clone(), cast.group.clone());
        assert_refused(cast.net.device(&bob).unwrap().create_group(&group), ErrorClass::Duplicate, "already exists");
        cast.net.device(&dave).unwrap().create_group(&group).unwrap();
        let bundle = cast.net.claim(&bob, &dave).unwrap();
        let packets = cast.commit(&dave, &[bundle], &[], false);
        assert_refused(cast.receive(&bob, &packets[1]), ErrorClass::Duplicate, "already exists");
        cast.is_well();
    });
}

#[test]
fn only_members_can_be_removed() {
    with_both(|adapter| {
        let mut cast = cast(adapter);
        let (alice, dave, group) = (cast.alice.clone(), cast.dave.clone(), cast.group.clone());
        let device = cast.net.device(&alice).unwrap();
        let strangers = Change { remove: vec![dave], ..Change::default() };
        assert_refused(device.change(&group, &strangers), ErrorClass::NotMember, "not in the group");
        let oneself = Change { remove: vec![alice.clone()], ..Change::default() };
        assert_refused(device.change(&group, &oneself), ErrorClass::BadRequest, "remove self");
        cast.is_well();
    });
}

#[test]
fn names_of_all_kinds_are_found() {
    with_both(|adapter| {
        let mut cast = cast(adapter);
        let alice = cast.alice.clone();
        let odd = [r#"quo"te"#, r"back\slash", "ümläut", "tab\tbed", r#"x","device":"alice"#];
        let odd = odd.map(|name| DeviceId::new(name, "phone"));
        for device in &odd {
            cast.net.insert(device, adapter.device(device).unwrap());
            well(cast.change(&alice, &[device], &[], false));
        }
        assert_eq!(cast.roster(&alice).len(), 8);
        for device in &odd {
            well(cast.change(&alice, &[], &[device], false));
            assert!(!cast.roster(&alice).contains(device), "{device}");
        }
        cast.is_well();
    });
}

#[test]
fn a_stranger_joins_with_published_group_information() {
    with_both(|adapter| {
        let mut cast = cast(adapter);
        let (alice, bob, carol, dave) = (cast.alice.clone(), cast.bob.clone(), cast.carol.clone(), cast.dave.clone());
        let group = cast.group.clone();
        let info = cast.net.device(&alice).unwrap().group_info(&group).unwrap();
        let packet = only(cast.net.device(&dave).unwrap().external_join(info.as_ref()).unwrap().packets);
        assert!(cast.events(&dave).contains(&Event::Joined { group: group.clone() }));
        assert_eq!(cast.roster(&dave).len(), 4);
        for member in [&alice, &bob, &carol] {
            cast.receive(member, &packet).unwrap();
            let added = Event::MemberAdded { group: group.clone(), device: dave.clone(), by: dave.clone() };
            assert!(cast.events(member).contains(&added));
        }
        // Also where the server hands the joiner its own commit.
        cast.receive(&dave, &packet).unwrap();
        let message = only(cast.net.device(&dave).unwrap().send(&group, b"hi").unwrap().packets);
        assert_eq!(cast.receive(&bob, &message).unwrap().message.unwrap().sender, dave);
        // The next change is an ordinary one.
        let change = only(cast.commit(&bob, &[], &[], true));
        for member in [&alice, &bob, &carol, &dave] {
            cast.receive(member, &change).unwrap();
            assert!(!cast.events(member).contains(&Event::ChangeDropped { group: group.clone() }));
        }
        assert_eq!(cast.fingerprint(&dave), cast.fingerprint(&alice));
    });
}

#[test]
fn a_member_may_rejoin_from_outside_and_replaces_itself() {
    with_both(|adapter| {
        let mut cast = cast(adapter);
        let (alice, bob, carol) = (cast.alice.clone(), cast.bob.clone(), cast.carol.clone());
        let group = cast.group.clone();
        let info = cast.net.device(&alice).unwrap().group_info(&group).unwrap();
        let packet = only(cast.net.device(&carol).unwrap().external_join(info.as_ref()).unwrap().packets);
        for member in [&alice, &bob] {
            cast.receive(member, &packet).unwrap();
            let events = cast.events(member);
            let (group, device, by) = (group.clone(), carol.clone(), carol.clone());
            assert!(events.contains(&Event::MemberRemoved {
                group: group.clone(),
                device: device.clone(),
                by: by.clone()
            }));
            assert!(events.contains(&Event::MemberAdded { group, device, by }));
        }
        cast.is_well();
    });
}

#[test]
fn group_information_that_does_not_hold_is_refused() {
    with_both(|adapter| {
        let mut cast = cast(adapter);
        let (alice, dave, group) = (cast.alice.clone(), cast.dave.clone(), cast.group.clone());
        let info = cast.net.device(&alice).unwrap().group_info(&group).unwrap();
        let mut tampered = info.clone();
        *tampered.0.last_mut().unwrap() ^= 1;
        let device = cast.net.device(&dave).unwrap();
        assert_refused(device.external_join(tampered.as_ref()), ErrorClass::AuthFailed, "signature");
        assert_refused(device.external_join(b"junk"), ErrorClass::BadRequest, "malformed");
        device.external_join(info.as_ref()).unwrap();
    });
}

#[test]
fn a_linked_device_shows_its_users_account_key() {
    with_both(|adapter| {
        let mut cast = cast(adapter);
        let (alice, bob) = (cast.alice.clone(), cast.bob.clone());
        let tablet = DeviceId::new("bob", "tablet");
        cast.net.insert(&tablet, adapter.device(&tablet).unwrap());
        let request = cast.net.device(&tablet).unwrap().link_request().unwrap();
        let word = cast.net.device(&bob).unwrap().authorise(&request).unwrap();
        assert_refused(
            cast.net.device(&alice).unwrap().accept_authorisation(&word),
            ErrorClass::BadRequest,
            "is for bob/tablet",
        );
        cast.net.device(&tablet).unwrap().accept_authorisation(&word).unwrap();
        let [phones, tablets] = [&bob, &tablet].map(|device| cast.net.device(device).unwrap().identity().unwrap());
        assert_eq!(phones.account_key, tablets.account_key);
        assert_ne!(phones.device_key, tablets.device_key);
        assert!(e2esm_account::vouched(&tablet, &tablets));
        well(cast.change(&bob, &[&tablet], &[], false));
        let text = cast.send(&tablet, "both of me");
        assert_eq!(readers(&text, "both of me").len(), 3);
    });
}

#[test]
fn what_is_unsupported_says_so_whatever_is_asked() {
    with_both(|adapter| {
        let description = adapter.describe();
        assert_eq!(description.version, "0.9.2");
        let device = &mut adapter.device(&phone("alice")).unwrap();
        let (group, peer) = (GroupId("friends".to_owned()), phone("bob"));
        let bundle = device.publish(&peer).unwrap();
        for (capability, result) in [
            (Capability::PairwiseSessions, device.introduce(&bundle).map(drop)),
            (Capability::Resend, device.resend(&group, b"again", &bundle, false).map(drop)),
            (Capability::History, device.share_history(&group, &peer).map(drop)),
            (Capability::KeyRequest, device.request_keys(&group, &peer).map(drop)),
        ] {
            assert_refused(result, ErrorClass::Unsupported, "");
            assert!(description.unsupported.contains_key(&capability), "{capability:?}");
        }
        assert!(device.wants(&group).unwrap().is_empty());
    });
}

#[test]
fn what_is_claimed_never_says_that_it_is_unsupported() {
    with_both(|adapter| {
        let mut device = adapter.device(&phone("alice")).unwrap();
        let (group, peer) = (GroupId("nowhere".to_owned()), phone("bob"));
        let junk = e2esm_adapter::Bundle { device: peer.clone(), bytes: bytes("junk") };
        let change = Change { add: vec![junk], ..Change::default() };
        for error in [
            device.change(&group, &change).unwrap_err(),
            device.send(&group, b"").unwrap_err(),
            device.roster(&group).unwrap_err(),
            device.fingerprint(&group, &peer).unwrap_err(),
            device.group_info(&group).unwrap_err(),
            device.external_join(b"").unwrap_err(),
            device.ratchet_tree(&group).unwrap_err(),
            device.tree_in_welcome(&group, false).unwrap_err(),
            device.join_with_tree(&common::junk(PacketKind::Welcome, &group, &peer), b"").unwrap_err(),
            adapter.restore(&peer, b"").err().unwrap(),
            adapter.load(&peer, b"").err().unwrap(),
        ] {
            assert_eq!(error.class, ErrorClass::BadRequest, "{error}");
        }
        device.standard_keys().unwrap();
        device.create_group(&group).unwrap();
        assert_eq!(device.change(&group, &change).unwrap_err().class, ErrorClass::BadRequest);
    });
}

#[test]
fn a_server_of_one_group_can_hold_another() {
    with_both(|adapter| {
        let [alice, bob] = ["alice", "bob"].map(phone);
        let mut net = Net::new(adapter, &[alice.clone(), bob.clone()]).unwrap();
        for name in ["one", "two"] {
            net.group(&GroupId(name.to_owned()), &alice, std::slice::from_ref(&bob)).unwrap();
        }
        for name in ["one", "two"] {
            let deliveries = net.send(&bob, &GroupId(name.to_owned()), name).unwrap();
            assert_eq!(readers(&deliveries, name), [(alice.clone(), bob.clone())]);
        }
    });
}
