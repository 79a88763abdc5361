//! The configuration for groups in which members have other implementations: what such a member shows, and how far it gets
//! on with members in the usual one.

#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use e2esm_adapter::Device;
use e2esm_adapter_mls_rs::{adapters, mixed};
use e2esm_testing::Net;
use mls_rs::MlsMessage;
use mls_rs::identity::CredentialType;

/// What a leaf shows, as the others see it in an update path: its identity, and the types of credentials that it lists.
fn shown(device: &mut dyn Device) -> (String, Vec<CredentialType>) {
    let change = only(device.change(&team(), &refresh()).unwrap());
    let commit = MlsMessage::from_bytes(change.bytes.as_ref()).unwrap();
    let leaf = commit.commit_path_leaf_node().unwrap();
    let identity = leaf.signing_identity.credential.as_basic().unwrap().identifier().to_vec();
    (String::from_utf8(identity).unwrap(), leaf.capabilities.credentials.clone())
}

#[test]
fn a_leaf_shows_a_client_id_and_lists_x509_credentials() {
    for (adapter, prefix, listed) in [
        (&adapters()[0], "", vec![CredentialType::BASIC]),
        (&mixed(), "00000000-0000-4000-8000-000000000000:0@", vec![CredentialType::BASIC, CredentialType::X509]),
    ] {
        let mut net = group_of(adapter.as_ref(), &["alice", "bob"]);
        let (identity, credentials) = shown(net.device(&id("alice")).unwrap().as_mut());
        assert!(identity.starts_with(&format!(r#"{prefix}{{"device":"alice/phone","account_key":""#)), "{identity}");
        assert_eq!(credentials, listed);
    }
}

#[test]
fn a_group_of_such_members_works() {
    let adapter = mixed();
    let names = ["alice", "bob", "carol"];
    let mut net = with_outsider(adapter.as_ref(), group_of(adapter.as_ref(), &names), "dave");
    well(net.change(&id("bob"), &team(), &[], &[], true).unwrap());
    well(net.change(&id("alice"), &team(), &[], &[id("carol")], false).unwrap());
    well(net.change(&id("bob"), &team(), &[id("carol")], &[], false).unwrap());
    everybody_agrees(&mut net, &names);
    everybody_reads_everybody(&mut net, &names);

    // By its own act, and from what it has stored.
    let info = net.device(&id("alice")).unwrap().group_info(&team()).unwrap();
    let join = only(net.device(&id("dave")).unwrap().external_join(info.as_ref()).unwrap());
    for name in ["alice", "bob", "carol", "dave"] {
        receive(&mut net, &id(name), &join).unwrap();
    }
    let store = net.device(&id("dave")).unwrap().store().unwrap();
    net.insert(&id("dave"), adapter.load(&id("dave"), store.as_ref()).unwrap());
    let change = only(change_by(&mut net, &id("dave"), refresh()));
    for name in ["alice", "bob", "carol", "dave"] {
        receive(&mut net, &id(name), &change).unwrap();
    }
    everybody_agrees(&mut net, &["alice", "bob", "carol", "dave"]);
    let (identity, credentials) = shown(net.device(&id("dave")).unwrap().as_mut());
    assert!(identity.contains(":0@{") && credentials.contains(&CredentialType::X509), "{identity}");
}

#[test]
fn either_configuration_is_a_member_beside_the_other() {
    let mut net = Net::default();
    for (name, adapter) in [("alice", &mixed()), ("bob", &adapters()[0])] {
        net.insert(&id(name), adapter.device(&id(name)).unwrap());
    }
    net.group(&team(), &id("alice"), &[id("bob")]).unwrap();
    for author in ["bob", "alice"] {
        well(net.change(&id(author), &team(), &[], &[], true).unwrap());
        everybody_reads_everybody(&mut net, &["alice", "bob"]);
    }
    let fingerprint =
        |net: &mut Net, name| net.device(&id(name)).unwrap().fingerprint(&team(), &id("bob")).unwrap().value;
    let (alice, bob) = (fingerprint(&mut net, "alice"), fingerprint(&mut net, "bob"));
    assert_ne!(alice, bob, "the epoch authenticator is no exported secret");
}
