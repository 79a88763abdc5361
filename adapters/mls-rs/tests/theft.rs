//! A copied state is the device: the thief reads, speaks and vouches as it does, until it heals or is removed.

#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use e2esm_adapter::{Adapter, Change, Device, DeviceId, ErrorClass, Packet, PacketKind};
use e2esm_testing::Net;

fn steal(adapter: &dyn Adapter, net: &mut Net, victim: &DeviceId) -> Box<dyn Device> {
    let state = net.device(victim).unwrap().export_state().unwrap();
    adapter.restore(victim, state.as_ref()).unwrap()
}

fn reads(device: &mut dyn Device, packet: &Packet) -> Option<String> {
    device.receive(packet).ok()?.message.map(|message| String::from_utf8(message.plaintext.0).unwrap())
}

/// A refresh by `by`, delivered to everybody and to the thief.
fn heal(net: &mut Net, thief: &mut dyn Device, by: &DeviceId, members: &[&str]) -> bool {
    let packet = only(change_by(net, by, refresh()));
    for name in members {
        receive(net, &id(name), &packet).unwrap();
    }
    thief.receive(&packet).is_ok()
}

#[test]
fn the_thief_reads_and_speaks_as_the_victim() {
    each(|adapter| {
        let mut net = group_of(adapter, &["alice", "bob", "carol"]);
        everybody_reads_everybody(&mut net, &["alice", "bob", "carol"]);
        let mut thief = steal(adapter, &mut net, &id("bob"));
        assert_eq!(thief.identity().unwrap(), net.device(&id("bob")).unwrap().identity().unwrap());
        assert_eq!(thief.roster(&team()).unwrap(), net.device(&id("bob")).unwrap().roster(&team()).unwrap());

        let message = message_by(&mut net, &id("alice"), "for bob");
        assert_eq!(reads(thief.as_mut(), &message).as_deref(), Some("for bob"));
        let spoken = only(thief.send(&team(), b"as bob").unwrap());
        let heard = receive(&mut net, &id("carol"), &spoken).unwrap().message.unwrap();
        assert_eq!((heard.sender, heard.plaintext.0), (id("bob"), b"as bob".to_vec()));
    });
}

#[test]
fn the_thief_follows_others_changes_until_the_victim_refreshes() {
    each(|adapter| {
        let members = ["alice", "bob", "carol"];
        let mut net = group_of(adapter, &members);
        let mut thief = steal(adapter, &mut net, &id("bob"));
        assert!(heal(&mut net, thief.as_mut(), &id("alice"), &members), "alice's refresh does not lock the thief out");
        let message = message_by(&mut net, &id("carol"), "not healed");
        assert_eq!(reads(thief.as_mut(), &message).as_deref(), Some("not healed"));

        assert!(!heal(&mut net, thief.as_mut(), &id("bob"), &members));
        let message = message_by(&mut net, &id("carol"), "healed");
        assert_eq!(reads(thief.as_mut(), &message), None);
        assert_eq!(reads(net.device(&id("bob")).unwrap().as_mut(), &message).as_deref(), Some("healed"));
    });
}

#[test]
fn what_was_read_stays_closed_and_what_was_not_yet_read_opens() {
    each(|adapter| {
        let mut net = group_of(adapter, &["alice", "bob"]);
        let packets: Vec<_> = (0..3).map(|n| message_by(&mut net, &id("alice"), &n.to_string())).collect();
        receive(&mut net, &id("bob"), &packets[0]).unwrap();
        receive(&mut net, &id("bob"), &packets[2]).unwrap();
        let mut thief = steal(adapter, &mut net, &id("bob"));
        assert_eq!(reads(thief.as_mut(), &packets[0]), None);
        assert_eq!(reads(thief.as_mut(), &packets[2]), None);
        assert_eq!(reads(thief.as_mut(), &packets[1]).as_deref(), Some("1"), "withheld");
    });
}

#[test]
fn retained_epochs_are_in_the_copy() {
    each(|adapter| {
        let members = ["alice", "bob"];
        let mut net = group_of(adapter, &members);
        let message = |net: &mut Net, text: &str| message_by(net, &id("alice"), text);
        let oldest = message(&mut net, "oldest");
        well(net.change(&id("alice"), &team(), &[], &[], true).unwrap());
        let older = message(&mut net, "older");
        for _ in 0..3 {
            well(net.change(&id("alice"), &team(), &[], &[], true).unwrap());
        }
        let mut thief = steal(adapter, &mut net, &id("bob"));
        assert_eq!(reads(thief.as_mut(), &older).as_deref(), Some("older"));
        assert_eq!(refusal(thief.receive(&oldest)).0, ErrorClass::StaleEpoch);
        assert!(heal(&mut net, thief.as_mut(), &id("alice"), &members));
    });
}

#[test]
fn bundles_and_pending_changes_are_in_the_copy() {
    each(|adapter| {
        let mut net = with_outsider(adapter, group_of(adapter, &["alice", "bob"]), "carol");
        let bundle = net.claim(&id("carol"), &id("alice")).unwrap();
        let mut other_carol = steal(adapter, &mut net, &id("carol"));
        let output = change_by(&mut net, &id("alice"), Change { add: vec![bundle], ..Change::default() });
        let mut other_alice = steal(adapter, &mut net, &id("alice"));

        other_carol.receive(&packets(&output, PacketKind::Welcome)[0]).unwrap();
        other_alice.receive(&packets(&output, PacketKind::Change)[0]).unwrap();
        receive(&mut net, &id("bob"), &packets(&output, PacketKind::Change)[0]).unwrap();
        let hello = only(other_carol.send(&team(), b"hello").unwrap());
        assert_eq!(reads(other_alice.as_mut(), &hello).as_deref(), Some("hello"));
        assert_eq!(reads(net.device(&id("bob")).unwrap().as_mut(), &hello).as_deref(), Some("hello"));
    });
}

#[test]
fn the_thief_vouches_for_a_device_of_its_own() {
    each(|adapter| {
        let mut net = group_of(adapter, &["alice", "bob"]);
        let mut thief = steal(adapter, &mut net, &id("bob"));
        let spy = DeviceId::new("bob", "spy");
        let mut spying = adapter.device(&spy).unwrap();
        let word = thief.authorise(&spying.link_request().unwrap()).unwrap();
        spying.accept_authorisation(&word).unwrap();
        let identity = spying.identity().unwrap();
        assert!(e2esm_account::vouched(&spy, &identity));
        assert_eq!(identity.account_key, net.device(&id("bob")).unwrap().identity().unwrap().account_key);
    });
}

#[test]
fn the_thief_takes_the_victims_place_by_an_external_commit() {
    each(|adapter| {
        let members = ["alice", "bob", "carol"];
        let mut net = group_of(adapter, &members);
        let mut thief = steal(adapter, &mut net, &id("bob"));
        assert!(!heal(&mut net, thief.as_mut(), &id("bob"), &members), "healed");
        let info = net.device(&id("alice")).unwrap().group_info(&team()).unwrap();
        let join = only(thief.external_join(info.as_ref()).unwrap());
        for name in members {
            receive(&mut net, &id(name), &join).unwrap();
        }
        let message = message_by(&mut net, &id("alice"), "for whom?");
        assert_eq!(reads(thief.as_mut(), &message).as_deref(), Some("for whom?"));
        assert_eq!(refusal(receive(&mut net, &id("bob"), &message)).0, ErrorClass::StaleEpoch);
    });
}

#[test]
fn a_state_is_one_devices_and_well_formed() {
    each(|adapter| {
        let mut net = group_of(adapter, &["alice", "bob"]);
        let state = net.device(&id("bob")).unwrap().export_state().unwrap();
        assert_eq!(refusal(adapter.restore(&id("alice"), state.as_ref()).map(|_| ())).0, ErrorClass::BadRequest);
        assert_eq!(refusal(adapter.restore(&id("bob"), b"junk").map(|_| ())).0, ErrorClass::BadRequest);
    });
}
