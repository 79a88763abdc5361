//! The configuration for groups in which members have other implementations: what such a member shows, and how far it gets
//! on with members in the usual one.

#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use e2esm_adapter::{Change, DeviceId, ErrorClass};
use e2esm_adapter_openmls::{adapters, mixed};
use openmls::prelude::tls_codec::DeserializeBytes;
use openmls::prelude::{Capabilities, CredentialType, LeafNode, MlsMessageBodyIn, MlsMessageIn, ProtocolVersion};
use openmls_rust_crypto::RustCrypto;

/// A leaf as an outsider sees it: in a bundle.
fn leaf(cast: &mut Cast, of: &DeviceId) -> LeafNode {
    let bundle = cast.net.device(of).unwrap().publish(of).unwrap();
    let MlsMessageBodyIn::KeyPackage(key_package) =
        MlsMessageIn::tls_deserialize_exact_bytes(bundle.bytes.as_ref()).unwrap().extract()
    else {
        panic!("a bundle is a key package");
    };
    key_package.validate(&RustCrypto::default(), ProtocolVersion::Mls10).unwrap().leaf_node().clone()
}

#[test]
fn a_leaf_shows_a_client_id_and_lists_x509_credentials() {
    for (adapter, prefix, listed) in [
        (&adapters()[0], "", vec![CredentialType::Basic]),
        (&mixed(), "00000000-0000-4000-8000-000000000000:0@", vec![CredentialType::Basic, CredentialType::X509]),
    ] {
        let mut cast = cast(adapter.as_ref());
        let dave = cast.dave.clone();
        let leaf = leaf(&mut cast, &dave);
        let shown = String::from_utf8(leaf.credential().serialized_content().to_vec()).unwrap();
        assert!(shown.starts_with(&format!(r#"{prefix}{{"device":"dave/phone","account_key":""#)), "{shown}");
        assert_eq!(leaf.capabilities().credentials(), listed);
        let others = |capabilities: &Capabilities| {
            (
                capabilities.ciphersuites().to_vec(),
                capabilities.extensions().to_vec(),
                capabilities.proposals().to_vec(),
            )
        };
        assert_eq!(others(leaf.capabilities()), others(&Capabilities::default()));
    }
}

#[test]
fn a_group_of_such_members_works() {
    let adapter = mixed();
    let mut cast = cast(adapter.as_ref());
    let (alice, bob, carol, dave) = (cast.alice.clone(), cast.bob.clone(), cast.carol.clone(), cast.dave.clone());
    cast.is_well();
    cast.change(&bob, &[], &[], true);
    cast.change(&alice, &[], &[&carol], false);
    cast.change(&bob, &[&carol], &[], false);
    cast.is_well();
    // By its own act, and again from what it has stored.
    let group = cast.group.clone();
    let info = cast.net.device(&alice).unwrap().group_info(&group).unwrap();
    let join = only(cast.net.device(&dave).unwrap().external_join(info.as_ref()).unwrap().packets);
    for member in [&alice, &bob, &carol, &dave] {
        cast.receive(member, &join).unwrap();
    }
    let store = cast.net.device(&dave).unwrap().store().unwrap();
    let mut again = adapter.load(&dave, store.as_ref()).unwrap();
    assert_eq!(again.fingerprint(&group, &alice).unwrap().value, cast.fingerprint(&alice));
    let refresh = Change { refresh: true, ..Change::default() };
    let change = only(again.change(&group, &refresh).unwrap().packets);
    assert_eq!(change.bytes.0[..4], [0, 1, 0, 1], "a PublicMessage");
    for member in [&alice, &bob, &carol] {
        cast.receive(member, &change).unwrap();
    }
    again.receive(&change).unwrap();
    assert_eq!(again.fingerprint(&group, &alice).unwrap().value, cast.fingerprint(&alice));
}

#[test]
fn handshake_messages_are_taken_as_either_and_the_usual_configuration_takes_one() {
    let usual = &adapters()[0];
    let mut cast = cast(mixed().as_ref());
    let (alice, bob, carol, dave) = (cast.alice.clone(), cast.bob.clone(), cast.carol.clone(), cast.dave.clone());
    cast.net.insert(&dave, usual.device(&dave).unwrap());
    cast.change(&alice, &[&dave], &[], false);
    let change = only(cast.commit(&dave, &[], &[], true));
    assert_eq!(change.bytes.0[..4], [0, 1, 0, 2], "a PrivateMessage");
    for member in [&alice, &bob, &carol, &dave] {
        cast.receive(member, &change).unwrap();
    }
    cast.reads(&alice, &[&bob, &carol, &dave]);
    cast.reads(&dave, &[&alice, &bob, &carol]);
    assert_ne!(cast.fingerprint(&dave), cast.fingerprint(&alice), "the epoch authenticator is no exported secret");
    let change = only(cast.commit(&alice, &[], &[], true));
    assert_eq!(change.bytes.0[..4], [0, 1, 0, 1], "a PublicMessage");
    assert_refused(cast.receive(&dave, &change), ErrorClass::BadRequest, "wire format");
}
