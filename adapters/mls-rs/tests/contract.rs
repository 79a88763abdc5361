//! What is declared unsupported says so whatever it is given; what is claimed never does, not even with junk.

#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use e2esm_adapter::{
    Address, Authorisation, Bundle, Bytes, Call, Capability, Change, Device, Error, ErrorClass, Fault, Forgery,
    GroupId, KnownGroup, LinkRequest, Packet, PacketKind,
};

fn junk() -> Bytes {
    b"junk".as_slice().into()
}

fn nowhere() -> GroupId {
    GroupId("nowhere".into())
}

fn junk_bundle() -> Bundle {
    Bundle { device: id("zoe"), bytes: junk() }
}

fn junk_packet(kind: PacketKind, group: &GroupId) -> Packet {
    Packet {
        kind,
        group: group.clone(),
        from: id("zoe"),
        to: Address::Group(group.clone()),
        opens_session: false,
        bytes: junk(),
        seal: None,
    }
}

fn answer(device: &mut dyn Device, call: Call) -> Result<(), Error> {
    device.call(&call).map(|_| ())
}

/// Calls with junk that belong to a capability.
fn probes(capability: Capability) -> Vec<Call> {
    let group = nowhere;
    let known = || KnownGroup { id: nowhere(), members: vec![], changes: 0 };
    let (bundle, plaintext) = (junk_bundle, junk);
    let claim = || id("zoe");
    match capability {
        Capability::Groups => vec![Call::CreateGroup { group: group() }],
        Capability::Epochs | Capability::ThirdMember => {
            vec![Call::Change { group: group(), change: Change::default() }]
        }
        Capability::ExternalJoin => {
            vec![Call::GroupInfo { group: group() }, Call::ExternalJoin { group_info: junk() }]
        }
        Capability::KeyDistribution => vec![],
        Capability::PairwiseSessions => vec![Call::Introduce { bundle: bundle() }],
        Capability::Resend => {
            vec![Call::Resend { group: group(), plaintext: plaintext(), bundle: bundle(), acknowledged: false }]
        }
        Capability::History => vec![Call::ShareHistory { group: group(), to: id("zoe") }],
        Capability::KeyRequest => vec![Call::RequestKeys { group: group(), holder: id("zoe") }],
        Capability::Linking => vec![
            Call::LinkRequest {},
            Call::Authorise { request: LinkRequest { device: id("zoe"), device_key: junk() } },
            Call::AcceptAuthorisation { authorisation: Authorisation { device: id("zoe"), bytes: junk() } },
        ],
        Capability::Fingerprint => vec![Call::Fingerprint { group: group(), peer: id("zoe") }],
        Capability::StateExport => vec![Call::ExportState {}],
        Capability::StandardKeys => vec![Call::StandardKeys {}],
        Capability::Persistence => vec![Call::Store {}],
        Capability::RatchetTree => vec![
            Call::TreeInWelcome { group: group(), inside: false },
            Call::RatchetTree { group: group() },
            Call::JoinWithTree { welcome: junk_packet(PacketKind::Welcome, &nowhere()), ratchet_tree: junk() },
        ],
        Capability::RelabelledSender => vec![Call::Misbehave { fault: Fault::RelabelledSender(id("zoe")) }],
        Capability::WrongLeafSignature => vec![Call::Misbehave { fault: Fault::WrongLeafSignature }],
        Capability::WrongParentHash => vec![Call::Misbehave { fault: Fault::WrongParentHash }],
        Capability::WrongConfirmationTag => vec![Call::Misbehave { fault: Fault::WrongConfirmationTag }],
        Capability::DegenerateKey => vec![Call::Misbehave { fault: Fault::DegenerateKey }],
        Capability::ForgedMessage => {
            vec![Call::Craft { forgery: Forgery::Message { group: known(), claim: claim(), plaintext: plaintext() } }]
        }
        Capability::ForgedKeyDistribution => vec![Call::Craft {
            forgery: Forgery::KeyDistribution {
                group: known(),
                claim: claim(),
                victims: vec![bundle()],
                plaintext: plaintext(),
            },
        }],
        Capability::ForgedChange => vec![Call::Craft {
            forgery: Forgery::Change { group: known(), claim: claim(), add: vec![bundle()], remove: vec![claim()] },
        }],
        Capability::UninvitedJoin => vec![Call::Craft { forgery: Forgery::UninvitedJoin { group: known() } }],
        Capability::BrokenBundle => vec![Call::Craft { forgery: Forgery::BrokenBundle { bundle: bundle() } }],
        Capability::RewrittenIdentity => vec![Call::Craft {
            forgery: Forgery::RewrittenIdentity { packet: junk_packet(PacketKind::Message, &nowhere()) },
        }],
    }
}

#[test]
fn capabilities_are_what_they_are_declared_to_be() {
    each(|adapter| {
        let unsupported = adapter.describe().unsupported;
        for capability in Capability::ALL {
            let mut device = adapter.device(&id("alice")).unwrap();
            for call in probes(capability) {
                let verb = call.verb();
                let class = answer(device.as_mut(), call).err().map(|error| error.class);
                let says_so = class == Some(ErrorClass::Unsupported);
                assert_eq!(says_so, unsupported.contains_key(&capability), "{verb}: {class:?}");
                assert_ne!(class, Some(ErrorClass::Internal), "{verb}");
            }
        }
    });
}

#[test]
fn an_unknown_group_and_malformed_bytes_are_bad_requests() {
    each(|adapter| {
        let mut net = group_of(adapter, &["alice", "bob"]);
        let alice = net.device(&id("alice")).unwrap();
        let calls = [
            Call::Send { group: nowhere(), plaintext: junk() },
            Call::Change { group: nowhere(), change: Change::default() },
            Call::Roster { group: nowhere() },
            Call::Fingerprint { group: nowhere(), peer: id("bob") },
            Call::GroupInfo { group: nowhere() },
            Call::TreeInWelcome { group: nowhere(), inside: false },
            Call::RatchetTree { group: nowhere() },
            Call::Change { group: team(), change: Change { add: vec![junk_bundle()], ..Change::default() } },
        ];
        for call in calls {
            let verb = call.verb();
            assert_eq!(refusal(answer(alice.as_mut(), call)).0, ErrorClass::BadRequest, "{verb}");
        }
        let kinds = [
            PacketKind::Change,
            PacketKind::Welcome,
            PacketKind::Proposal,
            PacketKind::Message,
            PacketKind::KeyDistribution,
            PacketKind::KeyRequest,
            PacketKind::DeviceList,
        ];
        for kind in kinds {
            for group in [nowhere(), team()] {
                let packet = junk_packet(kind, &group);
                assert_eq!(refusal(alice.receive(&packet)).0, ErrorClass::BadRequest, "{}", kind.label());
            }
        }
        everybody_reads_everybody(&mut net, &["alice", "bob"]);
    });
}

#[test]
fn a_packet_under_another_kinds_label_is_a_bad_request_and_can_still_be_taken_under_its_own() {
    each(|adapter| {
        let mut net = group_of(adapter, &["alice", "bob"]);
        let packet = message_by(&mut net, &id("alice"), "hello");
        for kind in [PacketKind::Change, PacketKind::Welcome, PacketKind::Proposal] {
            let relabelled = Packet { kind, ..packet.clone() };
            assert_eq!(refusal(receive(&mut net, &id("bob"), &relabelled)).0, ErrorClass::BadRequest);
        }
        assert!(receive(&mut net, &id("bob"), &packet).unwrap().message.is_some());
    });
}

#[test]
fn nobody_is_removed_who_is_not_there() {
    each(|adapter| {
        let mut net = group_of(adapter, &["alice", "bob"]);
        let change = Change { remove: vec![id("zoe")], ..Change::default() };
        let refused = net.device(&id("alice")).unwrap().change(&team(), &change);
        assert_eq!(refusal(refused).0, ErrorClass::NotMember);
        everybody_reads_everybody(&mut net, &["alice", "bob"]);
    });
}

#[test]
fn a_member_is_not_added_twice() {
    each(|adapter| {
        let mut net = group_of(adapter, &["alice", "bob"]);
        let bundle = net.claim(&id("bob"), &id("alice")).unwrap();
        let change = Change { add: vec![bundle], ..Change::default() };
        let refused = net.device(&id("alice")).unwrap().change(&team(), &change);
        assert_eq!(refusal(refused).0, ErrorClass::Duplicate);
        everybody_reads_everybody(&mut net, &["alice", "bob"]);
    });
}

#[test]
fn the_description_names_the_versions_that_are_linked() {
    let manifest = include_str!("../../../Cargo.toml");
    for adapter in e2esm_adapter_mls_rs::adapters() {
        let description = adapter.describe();
        assert!(description.group_object);
        assert!(manifest.contains(&format!("mls-rs = \"={}\"", description.version)));
        let provider = description.crypto_provider.split_once('(').unwrap().1.trim_end_matches(')').to_owned();
        let (name, version) = provider.split_once(' ').unwrap();
        assert!(manifest.contains(&format!("{name} = \"={version}\"")), "{provider}");
    }
}
