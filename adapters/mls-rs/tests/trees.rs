//! The group's tree beside the Welcome instead of in it.

#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use e2esm_adapter::{Adapter, Address, Change, ErrorClass, Packet, PacketKind};
use e2esm_testing::Net;
use mls_rs::group::ExportedTree;

/// Alice adds carol and dave, and the change comes back to her and bob: the Welcome for the two.
fn addition(net: &mut Net, inside: bool) -> Packet {
    net.device(&id("alice")).unwrap().tree_in_welcome(&team(), inside).unwrap();
    let add = ["carol", "dave"].map(|name| net.claim(&id(name), &id("alice")).unwrap()).into();
    let output = change_by(net, &id("alice"), Change { add, ..Change::default() });
    let [change, welcome] = <[Packet; 2]>::try_from(output.packets).unwrap();
    for name in ["alice", "bob"] {
        receive(net, &id(name), &change).unwrap();
    }
    assert_eq!((welcome.kind, &welcome.to), (PacketKind::Welcome, &Address::Devices(ids(&["carol", "dave"]))));
    welcome
}

fn four(adapter: &dyn Adapter) -> Net {
    with_outsider(adapter, with_outsider(adapter, group_of(adapter, &["alice", "bob"]), "carol"), "dave")
}

#[test]
fn two_newcomers_take_one_welcome_with_the_tree_in_it() {
    each(|adapter| {
        let mut net = four(adapter);
        let welcome = addition(&mut net, true);
        for name in ["carol", "dave"] {
            receive(&mut net, &id(name), &welcome).unwrap();
        }
        everybody_agrees(&mut net, &["alice", "bob", "carol", "dave"]);
    });
}

#[test]
fn a_welcome_without_the_tree_is_smaller_by_it_and_needs_the_right_one() {
    each(|adapter| {
        let whole = addition(&mut four(adapter), true).bytes.0.len();
        let mut net = four(adapter);
        let former = net.device(&id("alice")).unwrap().ratchet_tree(&team()).unwrap();
        let welcome = addition(&mut net, false);
        let tree = net.device(&id("alice")).unwrap().ratchet_tree(&team()).unwrap();
        assert_eq!(ExportedTree::from_bytes(tree.as_ref()).unwrap().to_bytes().unwrap(), tree.0);
        assert_eq!(net.device(&id("bob")).unwrap().ratchet_tree(&team()).unwrap(), tree);
        // Beside the tree the extension's type and the lengths of tree and list go.
        let without = whole - welcome.bytes.0.len();
        assert!((tree.0.len()..tree.0.len() + 16).contains(&without), "{without} less, the tree has {}", tree.0.len());

        assert_eq!(refusal(receive(&mut net, &id("carol"), &welcome)).0, ErrorClass::BadRequest, "no tree");
        let mut join = |name: &str, packet: &Packet, tree: &[u8]| {
            net.device(&id(name)).unwrap().join_with_tree(packet, tree).map_err(|error| error.class)
        };
        assert_eq!(join("carol", &welcome, former.as_ref()).unwrap_err(), ErrorClass::AuthFailed, "an earlier tree");
        assert_eq!(join("carol", &welcome, b"junk").unwrap_err(), ErrorClass::BadRequest);
        let change = Packet { kind: PacketKind::Change, ..welcome.clone() };
        assert_eq!(join("carol", &change, tree.as_ref()).unwrap_err(), ErrorClass::BadRequest);
        for name in ["carol", "dave"] {
            join(name, &welcome, tree.as_ref()).unwrap();
        }
        everybody_agrees(&mut net, &["alice", "bob", "carol", "dave"]);
    });
}

#[test]
fn where_the_tree_goes_is_asked_of_each_group_apart_and_can_be_taken_back() {
    each(|adapter| {
        let mut net = four(adapter);
        let other = e2esm_adapter::GroupId("other".into());
        let alice = net.device(&id("alice")).unwrap();
        alice.create_group(&other).unwrap();
        alice.tree_in_welcome(&team(), false).unwrap();
        well(net.change(&id("alice"), &other, &[id("bob")], &[], false).unwrap());
        let welcome = addition(&mut net, true);
        receive(&mut net, &id("carol"), &welcome).unwrap();
    });
}
