//! A device that has stored itself is, once loaded, the same device and goes on.

#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use e2esm_adapter::{Adapter, Change, ErrorClass, GroupId, PacketKind};
use e2esm_testing::Net;

/// Takes a device out of memory and puts in its place what it makes of its store.
fn restart(adapter: &dyn Adapter, net: &mut Net, name: &str) {
    let store = net.device(&id(name)).unwrap().store().unwrap();
    net.insert(&id(name), adapter.load(&id(name), store.as_ref()).unwrap());
}

#[test]
fn everybody_goes_on_after_a_restart() {
    each(|adapter| {
        let members = ["alice", "bob", "carol"];
        let mut net = group_of(adapter, &members);
        let late = message_by(&mut net, &id("alice"), "late");
        everybody_reads_everybody(&mut net, &members);
        well(net.change(&id("alice"), &team(), &[], &[], true).unwrap());
        let unread = message_by(&mut net, &id("alice"), "unread");
        for name in members {
            restart(adapter, &mut net, name);
        }
        everybody_agrees(&mut net, &members);
        for (packet, text) in [(&unread, "unread"), (&late, "late")] {
            let read = receive(&mut net, &id("bob"), packet).unwrap().message.unwrap();
            assert_eq!(read.plaintext.0, text.as_bytes(), "of this epoch and of an earlier one");
            assert_eq!(refusal(receive(&mut net, &id("bob"), packet)).0, ErrorClass::NoKey, "but once");
        }
        everybody_reads_everybody(&mut net, &members);
        well(net.change(&id("bob"), &team(), &[], &[id("carol")], true).unwrap());
        everybody_reads_everybody(&mut net, &["alice", "bob"]);
    });
}

#[test]
fn a_group_of_one_is_stored_and_a_second_store_is_the_same() {
    each(|adapter| {
        let mut alice = adapter.device(&id("alice")).unwrap();
        alice.create_group(&team()).unwrap();
        let store = alice.store().unwrap();
        let mut loaded = adapter.load(&id("alice"), store.as_ref()).unwrap();
        assert_eq!(loaded.store().unwrap(), store);
        assert_eq!(loaded.identity().unwrap(), alice.identity().unwrap());
        assert_eq!(loaded.roster(&team()).unwrap().members, [id("alice")]);
        assert_eq!(refusal(loaded.create_group(&team())).0, ErrorClass::Duplicate);
    });
}

#[test]
fn bundles_pending_changes_and_the_place_of_the_tree_are_stored() {
    each(|adapter| {
        let mut net = with_outsider(adapter, group_of(adapter, &["alice", "bob"]), "carol");
        let bundle = net.claim(&id("carol"), &id("alice")).unwrap();
        net.device(&id("alice")).unwrap().tree_in_welcome(&team(), false).unwrap();
        let lost = only(change_by(&mut net, &id("alice"), refresh()));
        restart(adapter, &mut net, "alice");
        let output = change_by(&mut net, &id("alice"), Change { add: vec![bundle], ..Change::default() });
        for name in ["alice", "carol"] {
            restart(adapter, &mut net, name);
        }
        let change = packets(&output, PacketKind::Change).remove(0);
        let welcome = packets(&output, PacketKind::Welcome).remove(0);
        for name in ["alice", "bob"] {
            receive(&mut net, &id(name), &change).unwrap();
        }
        assert_eq!(refusal(receive(&mut net, &id("alice"), &lost)).0, ErrorClass::StaleEpoch, "the other own change");
        assert_eq!(refusal(receive(&mut net, &id("carol"), &welcome)).0, ErrorClass::BadRequest, "no tree inside");
        let tree = net.device(&id("alice")).unwrap().ratchet_tree(&team()).unwrap();
        net.device(&id("carol")).unwrap().join_with_tree(&welcome, tree.as_ref()).unwrap();
        everybody_agrees(&mut net, &["alice", "bob", "carol"]);
    });
}

#[test]
fn what_is_no_store_of_this_device_is_a_bad_request() {
    each(|adapter| {
        let mut net = group_of(adapter, &["alice", "bob"]);
        net.device(&id("bob")).unwrap().create_group(&GroupId("notes".into())).unwrap();
        let store = net.device(&id("bob")).unwrap().store().unwrap();
        let class = |name: &str, bytes: &[u8]| refusal(adapter.load(&id(name), bytes).map(|_| ())).0;
        assert_eq!(class("alice", store.as_ref()), ErrorClass::BadRequest, "another device's");
        for length in 0..store.0.len() {
            assert_eq!(class("bob", &store.0[..length]), ErrorClass::BadRequest, "the first {length} bytes");
        }
        assert_eq!(class("bob", &[store.as_ref(), b"!"].concat()), ErrorClass::BadRequest, "one byte more");
        let export = net.device(&id("bob")).unwrap().export_state().unwrap();
        assert_eq!(class("bob", export.as_ref()), ErrorClass::BadRequest, "a copied state is another format");
        adapter.load(&id("bob"), store.as_ref()).unwrap();
    });
}
