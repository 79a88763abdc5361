//! A passive device makes of what is delivered what the live device makes of it, from private keys alone.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use common::{Cast, assert_refused, bytes, cast, only, phone, with_both};
use e2esm_adapter::{
    Adapter, Bundle, Bytes, Delivered, Delivery, DeliveryKind, DeviceId, Error, ErrorClass, ExternalPsk, Fault,
    Forgery, MegolmStart, Member, MlsKeyPackage, MlsStart, Packet, PacketKind, Passive, Start,
};
use serde::Deserialize;

/// A live device, and a passive one made from what it had published.
struct Twins {
    live: DeviceId,
    passive: Box<dyn Passive>,
}

fn deliver(passive: &mut dyn Passive, packet: &[u8], tree: Option<&Bytes>) -> Result<Delivered, Error> {
    let (kind, bytes, ratchet_tree) = (DeliveryKind::MlsMessage, packet.into(), tree.cloned());
    passive.deliver(&Delivery { kind, from: None, bytes, ratchet_tree })
}

impl Twins {
    fn of(cast: &mut Cast, adapter: &dyn Adapter, live: &DeviceId) -> Self {
        let start = cast.net.device(live).unwrap().standard_keys().unwrap();
        Self { live: live.clone(), passive: adapter.passive(&start).unwrap() }
    }

    fn take(&mut self, packet: &Packet) -> Result<Delivered, Error> {
        deliver(self.passive.as_mut(), packet.bytes.as_ref(), None)
    }

    /// Both take it, and agree about the group from then on.
    fn both_take(&mut self, cast: &mut Cast, packet: &Packet) -> Delivered {
        cast.receive(&self.live, packet).unwrap();
        let delivered = self.take(packet).unwrap();
        self.agree(cast, &delivered);
        delivered
    }

    fn agree(&self, cast: &mut Cast, delivered: &Delivered) {
        assert_eq!(delivered.group_id, Some(bytes(&cast.group.0)));
        assert_eq!(delivered.epoch_authenticator.as_ref().unwrap().to_string(), cast.fingerprint(&self.live));
        let roster = delivered.roster.as_ref().unwrap();
        let mut named: Vec<_> = roster.iter().map(name).collect();
        named.sort();
        assert_eq!(named, cast.roster(&self.live));
        for member in roster {
            let identity = cast.net.device(&name(member)).unwrap().identity().unwrap();
            assert_eq!(member.signature_key, identity.device_key);
        }
        let leaves: BTreeSet<_> = roster.iter().map(|member| member.leaf_index).collect();
        assert_eq!(leaves.len(), roster.len());
    }

    /// The passive one reads a message by `by`, which the live one reads as well.
    fn read(&mut self, cast: &mut Cast, by: &DeviceId, roster: &Delivered) {
        let message = say(cast, by, "hello");
        cast.receive(&self.live, &message).unwrap();
        self.reads(&message, by, "hello", roster);
    }

    fn reads(&mut self, message: &Packet, by: &DeviceId, text: &str, roster: &Delivered) {
        let delivered = self.take(message).unwrap();
        let author = roster.roster.as_ref().unwrap().iter().find(|member| name(member) == *by).unwrap();
        let expected = Delivered {
            plaintext: Some(bytes(text)),
            sender_leaf: Some(author.leaf_index),
            group_id: roster.group_id.clone(),
            ..Delivered::default()
        };
        assert_eq!(delivered, expected);
    }
}

fn name(member: &Member) -> DeviceId {
    #[derive(Deserialize)]
    struct Named {
        device: DeviceId,
    }
    serde_json::from_slice::<Named>(member.identity.as_ref()).unwrap().device
}

fn say(cast: &mut Cast, by: &DeviceId, text: &str) -> Packet {
    let group = cast.group.clone();
    only(cast.net.device(by).unwrap().send(&group, text.as_bytes()).unwrap().packets)
}

/// Alice's change with these bundles, which Alice, Bob and Carol take. Yields the change, and the Welcome if there is one.
fn change(cast: &mut Cast, add: &[Bundle], remove: &[&DeviceId]) -> (Packet, Option<Packet>) {
    let (alice, bob, carol) = (cast.alice.clone(), cast.bob.clone(), cast.carol.clone());
    let mut packets = cast.commit(&alice, add, remove, false);
    for member in [&alice, &bob, &carol] {
        cast.receive(member, &packets[0]).unwrap();
    }
    let welcome = (packets.len() == 2).then(|| packets.remove(1));
    (only(packets), welcome)
}

/// Dave and its passive twin, both let in by Alice.
fn joined(cast: &mut Cast, adapter: &dyn Adapter) -> (Twins, Delivered) {
    let (alice, dave) = (cast.alice.clone(), cast.dave.clone());
    let bundle = cast.net.claim(&dave, &alice).unwrap();
    let mut twins = Twins::of(cast, adapter, &dave);
    let (_, welcome) = change(cast, &[bundle], &[]);
    let told = twins.both_take(cast, &welcome.unwrap());
    (twins, told)
}

fn mls(cast: &mut Cast, of: &DeviceId) -> MlsStart {
    match cast.net.device(of).unwrap().standard_keys().unwrap() {
        Start::Mls(start) => start,
        start => panic!("{start:?}"),
    }
}

/// The packet with one bit turned in the byte that is this far from its end.
fn tampered(packet: &Packet, from_end: usize) -> Packet {
    let mut packet = packet.clone();
    let index = packet.bytes.0.len() - 1 - from_end;
    packet.bytes.0[index] ^= 1;
    packet
}

#[derive(Deserialize)]
struct Case {
    cipher_suite: u16,
    external_psks: Vec<ExternalPsk>,
    key_package: Bytes,
    signature_priv: Bytes,
    encryption_priv: Bytes,
    init_priv: Bytes,
    welcome: Bytes,
    ratchet_tree: Option<Bytes>,
    initial_epoch_authenticator: Bytes,
    epochs: Vec<Epoch>,
}

#[derive(Deserialize)]
struct Epoch {
    proposals: Vec<Bytes>,
    commit: Bytes,
    epoch_authenticator: Bytes,
}

impl Case {
    fn start(&self) -> Start {
        Start::Mls(MlsStart {
            cipher_suite: self.cipher_suite,
            signature_priv: self.signature_priv.clone(),
            key_packages: vec![MlsKeyPackage {
                key_package: self.key_package.clone(),
                init_priv: self.init_priv.clone(),
                encryption_priv: self.encryption_priv.clone(),
            }],
            external_psks: self.external_psks.clone(),
        })
    }

    /// Plays it to the end, and compares every epoch's authenticator.
    fn play(&self, adapter: &dyn Adapter) -> Result<(), Error> {
        let mut passive = adapter.passive(&self.start())?;
        let differs = |told: Delivered, expected: &Bytes| {
            let same = told.epoch_authenticator.as_ref() == Some(expected);
            if same { Ok(()) } else { Err(Error::internal(format!("epoch {:?}: another authenticator", told.epoch))) }
        };
        let told = deliver(passive.as_mut(), self.welcome.as_ref(), self.ratchet_tree.as_ref())?;
        differs(told, &self.initial_epoch_authenticator)?;
        for epoch in &self.epochs {
            for proposal in &epoch.proposals {
                deliver(passive.as_mut(), proposal.as_ref(), None)?;
            }
            let told = deliver(passive.as_mut(), epoch.commit.as_ref(), None)?;
            differs(told, &epoch.epoch_authenticator)?;
        }
        Ok(())
    }
}

/// Every case of the MLS working group's passive-client files; none, and a word about it, where they are not.
fn working_group_cases() -> Vec<Case> {
    let folder = std::env::var_os("E2ESM_MLS_VECTORS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/mls-test-vectors"), PathBuf::from);
    let passive = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with("passive-client-") && name.ends_with(".json"))
    };
    let entries = folder.read_dir().into_iter().flatten();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).filter(passive).collect();
    if files.is_empty() {
        println!("SKIPPED: the MLS working group's files are not here; E2ESM_MLS_VECTORS names their folder");
    }
    files.sort();
    let read = |file: &PathBuf| serde_json::from_slice::<Vec<Case>>(&std::fs::read(file).unwrap()).unwrap();
    files.iter().flat_map(read).collect()
}

#[test]
fn the_working_groups_passive_client_files_are_played() {
    let cases = working_group_cases();
    if cases.is_empty() {
        return;
    }
    with_both(|adapter| {
        let suites: &[u16] = if adapter.describe().name == "openmls-libcrux" { &[1, 3] } else { &[1, 2, 3] };
        let mut counts: BTreeMap<u16, (u32, u32)> = BTreeMap::new();
        for (index, case) in cases.iter().enumerate() {
            let (passed, unsupported) = counts.entry(case.cipher_suite).or_default();
            match case.play(adapter) {
                Ok(()) => *passed += 1,
                Err(error) if error.class == ErrorClass::Unsupported => *unsupported += 1,
                Err(error) => panic!("case {index}, suite {}: {error}", case.cipher_suite),
            }
        }
        for (suite, (passed, unsupported)) in &counts {
            println!("suite {suite}: {passed} passed, {unsupported} unsupported, 0 failed");
            // All of a suite, or nothing.
            assert_eq!((*passed > 0, *unsupported > 0), (suites.contains(suite), !suites.contains(suite)));
        }
        println!("{} of {} cases passed", counts.values().map(|(passed, _)| passed).sum::<u32>(), cases.len());
    });
}

#[test]
fn a_passive_twin_follows_a_live_device() {
    with_both(|adapter| {
        let mut cast = cast(adapter);
        let (alice, bob, carol) = (cast.alice.clone(), cast.bob.clone(), cast.carol.clone());
        let (mut twins, mut told) = joined(&mut cast, adapter);
        assert_eq!(told.epoch, Some(2));
        for member in [&alice, &bob, &carol] {
            twins.read(&mut cast, member, &told);
        }
        // Every member's leaf and path is new once.
        for (done, member) in [&alice, &bob, &carol].into_iter().enumerate() {
            let commit = only(cast.commit(member, &[], &[], true));
            for other in [&alice, &bob, &carol] {
                cast.receive(other, &commit).unwrap();
            }
            told = twins.both_take(&mut cast, &commit);
            assert_eq!(told.epoch, Some(3 + done as u64));
            twins.read(&mut cast, member, &told);
        }
        // Somebody comes, and somebody goes, in one change.
        let erin = phone("erin");
        cast.net.insert(&erin, adapter.device(&erin).unwrap());
        let bundle = cast.net.claim(&erin, &alice).unwrap();
        let packets = cast.commit(&alice, &[bundle], &[&carol], true);
        for member in [&alice, &bob] {
            cast.receive(member, &packets[0]).unwrap();
        }
        cast.receive(&erin, &packets[1]).unwrap();
        let told = twins.both_take(&mut cast, &packets[0]);
        assert_eq!(told.roster.as_ref().unwrap().len(), 4);
        twins.read(&mut cast, &erin, &told);
        twins.read(&mut cast, &alice, &told);
    });
}

#[test]
fn proposals_and_external_joiners_are_taken() {
    with_both(|adapter| {
        let mut cast = cast(adapter);
        let (alice, bob, carol) = (cast.alice.clone(), cast.bob.clone(), cast.carol.clone());
        let (mut twins, _) = joined(&mut cast, adapter);
        let [erin, frank] = ["erin", "frank"].map(phone);
        for stranger in [&erin, &frank] {
            cast.net.insert(stranger, adapter.device(stranger).unwrap());
        }
        // A stranger proposes itself; a change takes that up by reference.
        let bundle = cast.net.claim(&erin, &alice).unwrap();
        let slip_in = Forgery::Change { group: cast.known(2), claim: alice.clone(), add: vec![bundle], remove: vec![] };
        let proposal = cast.craft(&erin, &slip_in).remove(1);
        assert_eq!(proposal.kind, PacketKind::Proposal);
        for member in [&alice, &bob, &carol, &twins.live] {
            cast.receive(member, &proposal).unwrap();
        }
        let expected = Delivered { group_id: Some(bytes(&cast.group.0)), epoch: Some(2), ..Delivered::default() };
        assert_eq!(twins.take(&proposal).unwrap(), expected);
        let (commit, welcome) = change(&mut cast, &[], &[]);
        cast.receive(&erin, &welcome.unwrap()).unwrap();
        let told = twins.both_take(&mut cast, &commit);
        assert_eq!(told.roster.as_ref().unwrap().len(), 5);
        twins.read(&mut cast, &erin, &told);
        // Another lets itself in.
        let group = cast.group.clone();
        let info = cast.net.device(&bob).unwrap().group_info(&group).unwrap();
        let commit = only(cast.net.device(&frank).unwrap().external_join(info.as_ref()).unwrap().packets);
        for member in [&alice, &bob, &carol, &erin, &frank] {
            cast.receive(member, &commit).unwrap();
        }
        let told = twins.both_take(&mut cast, &commit);
        assert_eq!(told.roster.as_ref().unwrap().len(), 6);
        twins.read(&mut cast, &frank, &told);
    });
}

#[test]
fn several_groups_are_followed_at_once() {
    with_both(|adapter| {
        let mut cast = cast(adapter);
        let (alice, bob, dave, friends) = (cast.alice.clone(), cast.bob.clone(), cast.dave.clone(), cast.group.clone());
        let work = e2esm_adapter::GroupId("work".to_owned());
        let [first, second] = [(), ()].map(|()| cast.net.claim(&dave, &alice).unwrap());
        let mut twins = Twins::of(&mut cast, adapter, &dave);
        let (_, welcome) = change(&mut cast, &[first], &[]);
        let here = twins.both_take(&mut cast, &welcome.unwrap());
        cast.net.device(&bob).unwrap().create_group(&work).unwrap();
        cast.group = work.clone();
        let packets = cast.commit(&bob, &[second], &[], false);
        cast.receive(&bob, &packets[0]).unwrap();
        let there = twins.both_take(&mut cast, &packets[1]);
        assert_eq!(there.roster.as_ref().unwrap().len(), 2);
        for _ in 0..2 {
            cast.group = friends.clone();
            twins.read(&mut cast, &alice, &here);
            cast.group = work.clone();
            twins.read(&mut cast, &bob, &there);
        }
        // Nothing is left to start from.
        assert!(mls(&mut cast, &dave).key_packages.is_empty());
    });
}

#[test]
fn the_tree_comes_beside_the_welcome() {
    with_both(|adapter| {
        let mut cast = cast(adapter);
        let (alice, dave, group) = (cast.alice.clone(), cast.dave.clone(), cast.group.clone());
        let bundle = cast.net.claim(&dave, &alice).unwrap();
        let mut twins = Twins::of(&mut cast, adapter, &dave);
        cast.net.device(&alice).unwrap().tree_in_welcome(&group, false).unwrap();
        let earlier = cast.net.device(&alice).unwrap().ratchet_tree(&group).unwrap();
        let (commit, welcome) = change(&mut cast, &[bundle], &[]);
        let welcome = welcome.unwrap();
        let tree = cast.net.device(&alice).unwrap().ratchet_tree(&group).unwrap();
        let junk = bytes("junk");
        let mut join = |tree| deliver(twins.passive.as_mut(), welcome.bytes.as_ref(), tree);
        assert_refused(join(None), ErrorClass::BadRequest, "No ratchet tree available");
        assert_refused(join(Some(&earlier)), ErrorClass::AuthFailed, "tree hash does not match");
        let mut bent = tree.clone();
        let last = bent.0.len() - 10;
        bent.0[last] ^= 1;
        assert_refused(join(Some(&bent)), ErrorClass::AuthFailed, "signature");
        assert_refused(join(Some(&junk)), ErrorClass::BadRequest, "malformed");
        let told = join(Some(&tree)).unwrap();
        cast.net.device(&dave).unwrap().join_with_tree(&welcome, tree.as_ref()).unwrap();
        twins.agree(&mut cast, &told);
        // It belongs to nothing else.
        let beside = deliver(twins.passive.as_mut(), commit.bytes.as_ref(), Some(&tree));
        assert_refused(beside, ErrorClass::BadRequest, "beside a Welcome");
        twins.read(&mut cast, &alice, &told);
    });
}

#[test]
fn a_refused_welcome_leaves_the_key_package_where_it_is() {
    with_both(|adapter| {
        let mut cast = cast(adapter);
        let (alice, dave) = (cast.alice.clone(), cast.dave.clone());
        let bundle = cast.net.claim(&dave, &alice).unwrap();
        let mut twins = Twins::of(&mut cast, adapter, &dave);
        let (_, welcome) = change(&mut cast, &[bundle], &[]);
        let welcome = welcome.unwrap();
        for from_end in [0, 100] {
            let refused = twins.take(&tampered(&welcome, from_end));
            assert_refused(refused, ErrorClass::AuthFailed, "joining by Welcome");
        }
        let mut cut = welcome.clone();
        cut.bytes.0.pop();
        assert_refused(twins.take(&cut), ErrorClass::BadRequest, "malformed");
        let told = twins.both_take(&mut cast, &welcome);
        twins.read(&mut cast, &alice, &told);
        assert_refused(twins.take(&welcome), ErrorClass::NoKey, "No matching key package");
        twins.read(&mut cast, &alice, &told);
    });
}

#[test]
fn a_second_welcome_does_not_replace_a_group_that_one_is_in() {
    with_both(|adapter| {
        let mut cast = cast(adapter);
        let (alice, dave) = (cast.alice.clone(), cast.dave.clone());
        let [first, second] = [(), ()].map(|()| cast.net.claim(&dave, &alice).unwrap());
        let mut twins = Twins::of(&mut cast, adapter, &dave);
        // Alice lets Dave in twice, into two epochs that exclude each other; only the second comes about.
        let shadow = cast.commit(&alice, &[first], &[], true).remove(1);
        let (_, welcome) = change(&mut cast, &[second], &[]);
        let told = twins.both_take(&mut cast, &welcome.unwrap());
        for _ in 0..2 {
            assert_refused(twins.take(&shadow), ErrorClass::Duplicate, "already exists");
        }
        twins.read(&mut cast, &alice, &told);
    });
}

#[test]
fn refused_messages_and_commits_cost_nothing() {
    with_both(|adapter| {
        let mut cast = cast(adapter);
        let (alice, bob, carol, dave) = (cast.alice.clone(), cast.bob.clone(), cast.carol.clone(), cast.dave.clone());
        let (mut twins, told) = joined(&mut cast, adapter);
        // Of a message: the signature's ciphertext, and the sender data's.
        let message = say(&mut cast, &alice, "hello");
        for from_end in [0, 40, 100] {
            assert_refused(twins.take(&tampered(&message, from_end)), ErrorClass::AuthFailed, "processing");
        }
        twins.reads(&message, &alice, "hello", &told);
        assert_refused(twins.take(&message), ErrorClass::Duplicate, "deleted");
        // An insider under another name, at the very place of Alice's next message; a stranger; and the device itself.
        cast.receive(&bob, &message).unwrap();
        cast.net.device(&bob).unwrap().misbehave(&Fault::RelabelledSender(alice.clone())).unwrap();
        let relabelled = say(&mut cast, &bob, "hello");
        assert_refused(twins.take(&relabelled), ErrorClass::AuthFailed, "signature");
        let forgery = Forgery::Message { group: cast.known(2), claim: alice.clone(), plaintext: bytes("hello") };
        let mallory = phone("mallory");
        cast.net.insert(&mallory, adapter.device(&mallory).unwrap());
        let forged = only(cast.craft(&mallory, &forgery));
        assert_refused(twins.take(&forged), ErrorClass::AuthFailed, "processing");
        let own = say(&mut cast, &dave, "hello");
        assert_refused(twins.take(&own), ErrorClass::NoKey, "own");
        twins.read(&mut cast, &alice, &told);

        // Commits: tampered with on the way, and bent by their author.
        for fault in [Fault::WrongConfirmationTag, Fault::WrongParentHash, Fault::WrongLeafSignature] {
            cast.net.device(&bob).unwrap().misbehave(&fault).unwrap();
            let bent = only(cast.commit(&bob, &[], &[], true));
            for _ in 0..2 {
                assert_refused(twins.take(&bent), ErrorClass::AuthFailed, "processing");
            }
        }
        cast.net.device(&bob).unwrap().misbehave(&Fault::None).unwrap();
        let commit = only(cast.commit(&bob, &[], &[], true));
        for from_end in [0, 40, 100] {
            assert_refused(twins.take(&tampered(&commit, from_end)), ErrorClass::AuthFailed, "processing");
        }
        let late = say(&mut cast, &alice, "late");
        for member in [&alice, &bob, &carol] {
            cast.receive(member, &commit).unwrap();
        }
        let early = say(&mut cast, &alice, "early");
        assert_refused(twins.take(&early), ErrorClass::StaleEpoch, "epoch");
        let told = twins.both_take(&mut cast, &commit);
        assert_refused(twins.take(&commit), ErrorClass::StaleEpoch, "epoch");
        assert_refused(twins.take(&late), ErrorClass::StaleEpoch, "processing");
        twins.reads(&early, &alice, "early", &told);
        twins.read(&mut cast, &bob, &told);
    });
}

#[test]
fn what_is_no_message_of_a_group_is_a_bad_request() {
    with_both(|adapter| {
        let mut cast = cast(adapter);
        let (alice, bob, group) = (cast.alice.clone(), cast.bob.clone(), cast.group.clone());
        let (mut twins, told) = joined(&mut cast, adapter);
        let info = cast.net.device(&alice).unwrap().group_info(&group).unwrap();
        let bundle = cast.net.claim(&bob, &alice).unwrap();
        for (packet, reason) in
            [(bytes(""), "malformed"), (bytes("junk"), "malformed"), (info, "neither"), (bundle.bytes, "neither")]
        {
            let refused = deliver(twins.passive.as_mut(), packet.as_ref(), None);
            assert_refused(refused, ErrorClass::BadRequest, reason);
        }
        let message = say(&mut cast, &alice, "hello");
        for kind in [DeliveryKind::Message, DeliveryKind::SenderKeyMessage, DeliveryKind::MegolmMessage] {
            let delivery = Delivery { kind, from: None, bytes: message.bytes.clone(), ratchet_tree: None };
            assert_refused(twins.passive.deliver(&delivery), ErrorClass::BadRequest, "MLS has no");
        }
        twins.reads(&message, &alice, "hello", &told);
        cast.group = e2esm_adapter::GroupId("elsewhere".to_owned());
        let elsewhere = cast.group.clone();
        cast.net.device(&bob).unwrap().create_group(&elsewhere).unwrap();
        let message = say(&mut cast, &bob, "hello");
        assert_refused(twins.take(&message), ErrorClass::BadRequest, "no group");
        cast.group = group;
        twins.read(&mut cast, &bob, &told);
    });
}

#[test]
fn a_removed_device_goes_on_trying_until_it_is_added_again() {
    with_both(|adapter| {
        let mut cast = cast(adapter);
        let (alice, bob, carol, dave) = (cast.alice.clone(), cast.bob.clone(), cast.carol.clone(), cast.dave.clone());
        let [first, second] = [(), ()].map(|()| cast.net.claim(&dave, &alice).unwrap());
        let mut twins = Twins::of(&mut cast, adapter, &dave);
        let (_, welcome) = change(&mut cast, &[first], &[]);
        let told = twins.both_take(&mut cast, &welcome.unwrap());

        let late = say(&mut cast, &bob, "late");
        let competing = only(cast.commit(&carol, &[], &[], true));
        let (removal, _) = change(&mut cast, &[], &[&dave]);
        cast.receive(&dave, &removal).unwrap();
        let expected = Delivered { group_id: Some(bytes(&cast.group.0)), removed: true, ..Delivered::default() };
        assert_eq!(twins.take(&removal).unwrap(), expected);
        // What was for the members of then can be read; what comes after cannot.
        twins.reads(&late, &bob, "late", &told);
        let later = say(&mut cast, &bob, "later");
        let refresh = only(cast.commit(&bob, &[], &[], true));
        for packet in [&later, &refresh] {
            assert_refused(twins.take(packet), ErrorClass::StaleEpoch, "epoch");
        }
        // This one it could have followed. It costs nothing either, though the library has processed it to the end.
        for _ in 0..2 {
            assert_refused(twins.take(&competing), ErrorClass::NotMember, "removed");
        }
        assert_refused(twins.take(&removal), ErrorClass::Duplicate, "deleted");
        assert_refused(cast.receive(&dave, &later), ErrorClass::StaleEpoch, "epoch");

        for member in [&alice, &bob, &carol] {
            cast.receive(member, &refresh).unwrap();
        }
        let (_, welcome) = change(&mut cast, &[second], &[]);
        let welcome = welcome.unwrap();
        assert_refused(twins.take(&tampered(&welcome, 0)), ErrorClass::AuthFailed, "joining by Welcome");
        assert_refused(twins.take(&later), ErrorClass::StaleEpoch, "epoch");
        let told = twins.both_take(&mut cast, &welcome);
        twins.read(&mut cast, &bob, &told);
        assert_refused(twins.take(&later), ErrorClass::StaleEpoch, "processing");
        let commit = only(cast.commit(&carol, &[], &[], true));
        for member in [&alice, &bob, &carol] {
            cast.receive(member, &commit).unwrap();
        }
        let told = twins.both_take(&mut cast, &commit);
        twins.read(&mut cast, &carol, &told);
    });
}

#[test]
fn standard_keys_are_what_is_published_and_unused() {
    with_both(|adapter| {
        let mut cast = cast(adapter);
        let (alice, dave) = (cast.alice.clone(), cast.dave.clone());
        let empty = mls(&mut cast, &dave);
        assert_eq!((empty.cipher_suite, empty.signature_priv.0.len()), (1, 32));
        assert!(empty.key_packages.is_empty() && empty.external_psks.is_empty());
        let bundles: Vec<_> = [(); 3].map(|()| cast.net.claim(&dave, &alice).unwrap()).into();
        let published: BTreeSet<_> = bundles.iter().map(|bundle| bundle.bytes.clone()).collect();
        let start = mls(&mut cast, &dave);
        assert_eq!(mls(&mut cast, &dave), start);
        assert_eq!(start.signature_priv, empty.signature_priv);
        let found = |start: &MlsStart| -> BTreeSet<_> {
            start.key_packages.iter().map(|published| published.key_package.clone()).collect()
        };
        assert_eq!(found(&start), published);
        // A device that comes back from its store has them still.
        let store = cast.net.device(&dave).unwrap().store().unwrap();
        cast.net.insert(&dave, adapter.load(&dave, store.as_ref()).unwrap());
        assert_eq!(mls(&mut cast, &dave), start);
        // One is used. A Welcome that is refused uses none.
        let (_, welcome) = change(&mut cast, &bundles[..1], &[]);
        let welcome = welcome.unwrap();
        cast.receive(&dave, &tampered(&welcome, 0)).unwrap_err();
        assert_eq!(mls(&mut cast, &dave), start);
        cast.receive(&dave, &welcome).unwrap();
        let left = bundles[1..].iter().map(|bundle| bundle.bytes.clone()).collect();
        assert_eq!(found(&mls(&mut cast, &dave)), left);
    });
}

#[test]
fn each_provider_starts_from_the_others_keys() {
    let adapters = e2esm_adapter_openmls::adapters();
    for (live, passive) in [(0, 1), (1, 0)] {
        let mut cast = cast(adapters[live].as_ref());
        let (mut twins, told) = joined(&mut cast, adapters[passive].as_ref());
        let alice = cast.alice.clone();
        twins.read(&mut cast, &alice, &told);
    }
}

#[test]
fn what_an_adapter_does_not_play_is_unsupported() {
    with_both(|adapter| {
        let mut cast = cast(adapter);
        let (alice, dave) = (cast.alice.clone(), cast.dave.clone());
        cast.net.claim(&dave, &alice).unwrap();
        let start = mls(&mut cast, &dave);
        let passive = |start: Start| adapter.passive(&start).map(drop);
        assert_refused(passive(Start::Megolm(MegolmStart {})), ErrorClass::Unsupported, "megolm");
        for suite in [0, 4, 5, 6, 7, 8, 0xf000, u16::MAX] {
            let other = MlsStart { cipher_suite: suite, ..start.clone() };
            assert_refused(passive(Start::Mls(other)), ErrorClass::Unsupported, "has no suite");
        }
        passive(Start::Mls(start)).unwrap();
    });
}

#[test]
fn keys_that_are_none_are_bad_requests() {
    with_both(|adapter| {
        let mut cast = cast(adapter);
        let (alice, bob, dave, group) = (cast.alice.clone(), cast.bob.clone(), cast.dave.clone(), cast.group.clone());
        for _ in 0..2 {
            cast.net.claim(&dave, &alice).unwrap();
        }
        cast.net.claim(&bob, &alice).unwrap();
        let start = mls(&mut cast, &dave);
        let bobs = mls(&mut cast, &bob);
        let info = cast.net.device(&alice).unwrap().group_info(&group).unwrap();
        let refused = |start: MlsStart, reason: &str| {
            assert_refused(adapter.passive(&Start::Mls(start)).map(drop), ErrorClass::BadRequest, reason);
        };
        let bent = |bend: &dyn Fn(&mut MlsKeyPackage)| {
            let mut start = start.clone();
            bend(&mut start.key_packages[1]);
            start
        };
        let others = &start.key_packages[0];

        // The private halves.
        let lengths = [0, 1, 16, 31, 33, 48, 64, 1000];
        for length in lengths {
            let key = Bytes(vec![7; length]);
            refused(bent(&|package| package.init_priv = key.clone()), "key package 1: init_priv is not");
            refused(bent(&|package| package.encryption_priv = key.clone()), "key package 1: encryption_priv is not");
            refused(MlsStart { signature_priv: key.clone(), ..start.clone() }, "signature_priv: not as long");
        }
        refused(bent(&|package| package.init_priv = others.init_priv.clone()), "init_priv is not");
        refused(bent(&|package| package.init_priv = package.encryption_priv.clone()), "init_priv is not");
        refused(bent(&|package| package.encryption_priv = others.encryption_priv.clone()), "encryption_priv is not");
        refused(bent(&|package| package.encryption_priv.0[5] ^= 1), "encryption_priv is not");
        refused(MlsStart { signature_priv: bobs.signature_priv.clone(), ..start.clone() }, "signature_priv is not");
        refused(
            MlsStart { signature_priv: Bytes(vec![0; 32]), ..start.clone() },
            "key package 0: signature_priv is not the private key",
        );

        // The public ones.
        refused(bent(&|package| package.key_package = bytes("junk")), "key package 1: malformed");
        refused(bent(&|package| package.key_package = bytes("")), "key package 1: malformed");
        refused(bent(&|package| package.key_package.0.push(0)), "key package 1: malformed");
        refused(bent(&|package| package.key_package = info.clone()), "key package 1: not a key package");
        refused(bent(&|package| *package.key_package.0.last_mut().unwrap() ^= 1), "signature is not valid");
        refused(bent(&|package| *package = bobs.key_packages[0].clone()), "signature_priv is not");
        refused(bent(&|package| *package = others.clone()), "it is there twice");
        // The other suite with keys of the same kind.
        refused(MlsStart { cipher_suite: 3, ..start.clone() }, "of another suite");

        // Pre-shared keys.
        let psk = |psk: &str| ExternalPsk { psk_id: bytes("id"), psk: bytes(psk) };
        refused(MlsStart { external_psks: vec![psk("a"), psk("b")], ..start.clone() }, "two pre-shared keys");

        adapter.passive(&Start::Mls(MlsStart { external_psks: vec![psk("a")], ..start.clone() })).unwrap();
    });
}

/// Our devices encrypt their handshake messages; the working group's come as PublicMessages.
#[test]
fn refused_public_messages_cost_nothing_either() {
    let cases = working_group_cases();
    if cases.is_empty() {
        return;
    }
    let case = cases
        .iter()
        .find(|case| case.cipher_suite == 1 && case.epochs.iter().any(|epoch| !epoch.proposals.is_empty()))
        .unwrap();
    with_both(|adapter| {
        use ErrorClass::{AuthFailed, BadRequest, NotMember, StaleEpoch};

        let mut passive = adapter.passive(&case.start()).unwrap();
        deliver(passive.as_mut(), case.welcome.as_ref(), case.ratchet_tree.as_ref()).unwrap();
        for epoch in &case.epochs {
            for (honest, is_commit) in
                epoch.proposals.iter().map(|proposal| (proposal, false)).chain([(&epoch.commit, true)])
            {
                for index in (0..honest.0.len()).step_by(5) {
                    let mut tampered = honest.clone();
                    tampered.0[index] ^= 1;
                    let error = deliver(passive.as_mut(), tampered.as_ref(), None).unwrap_err();
                    assert!(
                        [AuthFailed, BadRequest, NotMember, StaleEpoch].contains(&error.class),
                        "byte {index}: {error}"
                    );
                }
                let told = deliver(passive.as_mut(), honest.as_ref(), None).unwrap();
                if is_commit {
                    assert_eq!(told.epoch_authenticator.as_ref(), Some(&epoch.epoch_authenticator));
                    let replayed = deliver(passive.as_mut(), honest.as_ref(), None);
                    assert_refused(replayed, StaleEpoch, "epoch");
                }
            }
        }
    });
}

#[test]
fn a_pre_shared_key_that_is_missing_is_no_key() {
    let cases = working_group_cases();
    if cases.is_empty() {
        return;
    }
    // One whose Welcome asks for the key: it has nothing else to use it for.
    let wanted = |case: &&Case| case.cipher_suite == 1 && case.epochs.is_empty() && !case.external_psks.is_empty();
    let case = cases.iter().find(wanted).unwrap();
    with_both(|adapter| {
        let Start::Mls(start) = case.start() else { panic!("MLS") };
        let join = |psks: &[ExternalPsk]| {
            let start = Start::Mls(MlsStart { external_psks: psks.to_vec(), ..start.clone() });
            let mut passive = adapter.passive(&start).unwrap();
            deliver(passive.as_mut(), case.welcome.as_ref(), case.ratchet_tree.as_ref())
        };
        assert_refused(join(&[]), ErrorClass::NoKey, "joining by Welcome");
        let other = ExternalPsk { psk: bytes("another key"), ..case.external_psks[0].clone() };
        assert_refused(join(&[other]), ErrorClass::AuthFailed, "joining by Welcome");
        let told = join(&case.external_psks).unwrap();
        assert_eq!(told.epoch_authenticator.as_ref(), Some(&case.initial_epoch_authenticator));
    });
}

/// The keys of NIST's curves are bytes of another kind: a provider that has them takes the working group's and refuses
/// others.
#[test]
fn broken_ecdsa_keys_are_bad_requests_too() {
    let cases = working_group_cases();
    if cases.is_empty() {
        return;
    }
    let case = cases.iter().find(|case| case.cipher_suite == 2).unwrap();
    let Start::Mls(start) = case.start() else { panic!("MLS") };
    let adapters = e2esm_adapter_openmls::adapters();
    let passive = |start: &MlsStart| adapters[0].passive(&Start::Mls(start.clone())).map(drop);
    passive(&start).unwrap();
    for key in [vec![], vec![1], vec![0; 32], vec![7; 31], vec![7; 32], vec![7; 33], vec![0xff; 32], vec![7; 65]] {
        let key = Bytes(key);
        for (which, reason) in [(0, "init_priv"), (1, "encryption_priv"), (2, "signature_priv")] {
            let mut start = start.clone();
            *match which {
                0 => &mut start.key_packages[0].init_priv,
                1 => &mut start.key_packages[0].encryption_priv,
                _ => &mut start.signature_priv,
            } = key.clone();
            assert_refused(passive(&start), ErrorClass::BadRequest, reason);
        }
    }
    passive(&start).unwrap();
}
