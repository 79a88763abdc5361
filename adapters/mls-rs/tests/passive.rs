//! Devices that only receive: the MLS working group's vectors, and twins of devices that are alive, which start from the
//! private keys of what those have published and are given what those are given.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::path::PathBuf;

use common::*;
use e2esm_account::Credential;
use e2esm_adapter::{
    Adapter, Bundle, Bytes, Change, Delivered, Delivery, DeliveryKind, Error, ErrorClass, ExternalPsk, Fault, GroupId,
    MegolmStart, MlsKeyPackage, MlsStart, Packet, PacketKind, Passive, Start,
};
use e2esm_adapter_mls_rs::{adapters, recording};
use e2esm_testing::Net;
use mls_rs::mls_rs_codec::byte_vec;
use serde::Deserialize;

fn bytes(message: impl Into<Bytes>) -> Delivery {
    Delivery { kind: DeliveryKind::MlsMessage, from: None, bytes: message.into(), ratchet_tree: None }
}

fn delivery(packet: &Packet) -> Delivery {
    bytes(packet.bytes.clone())
}

fn take(passive: &mut Box<dyn Passive>, packet: &Packet) -> Delivered {
    passive.deliver(&delivery(packet)).unwrap()
}

/// A group of which devices are members one after the other, and the packets that make them so.
struct Play {
    net: Net,
    members: Vec<&'static str>,
}

impl Play {
    /// The first of the devices has a group, with nobody else in it.
    fn new(adapter: &dyn Adapter, names: &[&'static str]) -> Self {
        let mut net = Net::new(adapter, &ids(names)).unwrap();
        net.device(&id(names[0])).unwrap().create_group(&team()).unwrap();
        Self { net, members: vec![names[0]] }
    }

    fn start(&mut self, name: &str) -> Start {
        self.net.device(&id(name)).unwrap().standard_keys().unwrap()
    }

    /// A passive device with what a device that is alive has published and not used.
    fn twin(&mut self, adapter: &dyn Adapter, name: &str) -> Box<dyn Passive> {
        adapter.passive(&self.start(name)).unwrap()
    }

    fn publish(&mut self, name: &str) -> Bundle {
        self.net.claim(&id(name), &id(self.members[0])).unwrap()
    }

    /// Adds these by bundles that they have published.
    fn add(&mut self, by: &str, names: &[&'static str], bundles: Vec<Bundle>) -> (Packet, Packet) {
        let output = change_by(&mut self.net, &id(by), Change { add: bundles, ..Change::default() });
        let change = packets(&output, PacketKind::Change).remove(0);
        let welcome = packets(&output, PacketKind::Welcome).remove(0);
        self.everybody_takes(&change);
        for name in names {
            receive(&mut self.net, &id(name), &welcome).unwrap();
            self.members.push(name);
        }
        (change, welcome)
    }

    fn remove(&mut self, by: &str, name: &str) -> Packet {
        let change = Change { remove: vec![id(name)], ..Change::default() };
        let change = only(change_by(&mut self.net, &id(by), change));
        self.everybody_takes(&change);
        self.members.retain(|member| *member != name);
        change
    }

    fn refresh(&mut self, by: &str) -> Packet {
        let change = only(change_by(&mut self.net, &id(by), refresh()));
        self.everybody_takes(&change);
        change
    }

    fn everybody_takes(&mut self, packet: &Packet) {
        for member in &self.members {
            receive(&mut self.net, &id(member), packet).unwrap();
        }
    }

    fn message(&mut self, by: &str, text: &str) -> Packet {
        message_by(&mut self.net, &id(by), text)
    }

    fn bend(&mut self, name: &str, fault: Fault) {
        self.net.device(&id(name)).unwrap().misbehave(&fault).unwrap();
    }

    /// What a passive device tells after a Welcome or a Commit is what this device, which is alive, says.
    fn agrees(&mut self, delivered: &Delivered, name: &str) {
        let alive = self.net.device(&id(name)).unwrap();
        assert_eq!(delivered.group_id.as_ref().unwrap().as_ref(), team().0.as_bytes());
        let authenticator = alive.fingerprint(&team(), &id(name)).unwrap().value;
        assert_eq!(hex::encode(delivered.epoch_authenticator.as_ref().unwrap()), authenticator);

        let roster = delivered.roster.as_ref().unwrap();
        assert!(roster.is_sorted_by_key(|member| member.leaf_index));
        let mut keys = BTreeMap::new();
        for member in roster {
            let device = Credential::from_bytes(member.identity.as_ref()).unwrap().device;
            keys.insert(device, member.signature_key.clone());
        }
        assert_eq!(keys.len(), roster.len());
        assert_eq!(keys.keys().cloned().collect::<Vec<_>>(), alive.roster(&team()).unwrap().members);
        for (device, key) in keys {
            assert_eq!(key, self.net.device(&device).unwrap().identity().unwrap().device_key, "{device}");
        }
        assert!(delivered.plaintext.is_none() && delivered.sender_leaf.is_none() && !delivered.removed);
    }
}

/// The leaf of a device in a roster.
fn leaf(delivered: &Delivered, name: &str) -> u32 {
    let roster = delivered.roster.as_ref().unwrap();
    let named = |identity: &Bytes| Credential::from_bytes(identity.as_ref()).unwrap().device == id(name);
    roster.iter().find(|member| named(&member.identity)).unwrap().leaf_index
}

fn said(text: &str, by: u32) -> Delivered {
    Delivered {
        plaintext: Some(text.as_bytes().into()),
        sender_leaf: Some(by),
        group_id: Some(team().0.as_bytes().into()),
        ..Delivered::default()
    }
}

fn class(result: Result<Delivered, Error>) -> ErrorClass {
    refusal(result).0
}

// The working group's vectors

/// A case of a passive-client file (`test-vectors.md` of mlswg/mls-implementations).
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

    /// Plays the case; the epochs whose authenticator was right, or what was wrong.
    fn play(&self, passive: &mut dyn Passive) -> Result<usize, String> {
        let reached = |delivered: Delivered, expected: &Bytes, place: usize| {
            if delivered.epoch_authenticator.as_ref() == Some(expected) {
                Ok(())
            } else {
                Err(format!("another authenticator in epoch {place}"))
            }
        };
        let mut deliver = |delivery: &Delivery| passive.deliver(delivery).map_err(|error| error.to_string());
        let welcome = Delivery { ratchet_tree: self.ratchet_tree.clone(), ..bytes(self.welcome.clone()) };
        reached(deliver(&welcome)?, &self.initial_epoch_authenticator, 0)?;
        for (epoch, place) in self.epochs.iter().zip(1..) {
            for proposal in &epoch.proposals {
                deliver(&bytes(proposal.clone()))?;
            }
            reached(deliver(&bytes(epoch.commit.clone()))?, &epoch.epoch_authenticator, place)?;
        }
        Ok(1 + self.epochs.len())
    }
}

/// The folder of the files: `E2ESM_MLS_VECTORS`, or where they lie beside the project.
fn vectors() -> Option<PathBuf> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/mls-test-vectors");
    let folder = std::env::var_os("E2ESM_MLS_VECTORS").map_or_else(|| beside.into(), PathBuf::from);
    folder.is_dir().then_some(folder)
}

#[test]
fn the_working_groups_passive_clients_end_where_they_should() {
    let Some(folder) = vectors() else {
        println!("not run: no MLS working group vectors here (E2ESM_MLS_VECTORS names their folder)");
        return;
    };
    let mut cases = Vec::new();
    for file in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if file.extension().is_some_and(|extension| extension == "json") {
            let read: Vec<Case> = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
            let name = file.file_stem().unwrap().to_string_lossy().into_owned();
            cases.extend(read.into_iter().enumerate().map(|(index, case)| (format!("{name} {index}"), case)));
        }
    }
    assert!(!cases.is_empty());
    let offered = [("mls-rs-rustcrypto", [1, 2, 3, 7].as_slice()), ("mls-rs-awslc", &[1, 2, 3, 5, 7])];
    for (adapter, (name, suites)) in adapters().iter().zip(offered) {
        assert_eq!(adapter.describe().name, name);
        let mut passed = BTreeMap::<u16, usize>::new();
        let (mut epochs, mut unsupported, mut failed) = (0, 0, Vec::new());
        for (title, case) in &cases {
            match adapter.passive(&case.start()) {
                Ok(mut passive) => match case.play(passive.as_mut()) {
                    Ok(right) => {
                        epochs += right;
                        *passed.entry(case.cipher_suite).or_default() += 1;
                    }
                    Err(wrong) => failed.push(format!("{title}: {wrong}")),
                },
                Err(error) if error.class == ErrorClass::Unsupported => {
                    assert!(!suites.contains(&case.cipher_suite), "{title}");
                    unsupported += 1;
                }
                Err(error) => failed.push(format!("{title}: {error}")),
            }
        }
        let sum: usize = passed.values().sum();
        println!(
            "{name}: {} cases, {sum} passed with {epochs} epoch authenticators, {unsupported} unsupported, {} failed; \
             passed by suite: {passed:?}",
            cases.len(),
            failed.len()
        );
        assert!(failed.is_empty(), "{failed:#?}");
        assert_eq!(passed.keys().copied().collect::<Vec<_>>(), suites);
        assert_eq!(sum, cases.iter().filter(|(_, case)| suites.contains(&case.cipher_suite)).count());
    }
}

// Twins

#[test]
fn a_twin_joins_by_the_same_welcome_and_follows() {
    each(|adapter| {
        let mut play = Play::new(adapter, &["alice", "bob", "carol", "dave"]);
        let bundle = play.publish("bob");
        let mut twin = play.twin(adapter, "bob");
        let (_, welcome) = play.add("alice", &["bob"], vec![bundle]);
        let joined = take(&mut twin, &welcome);
        play.agrees(&joined, "bob");
        assert_eq!(joined.epoch, Some(1));

        let bundles = vec![play.publish("carol"), play.publish("dave")];
        let (change, _) = play.add("alice", &["carol", "dave"], bundles);
        let added = take(&mut twin, &change);
        play.agrees(&added, "bob");
        for (by, text) in [("carol", "from carol"), ("alice", "from alice"), ("carol", "again")] {
            let message = play.message(by, text);
            assert_eq!(take(&mut twin, &message), said(text, leaf(&added, by)));
        }
        for by in ["dave", "carol", "alice"] {
            let refreshed = take(&mut twin, &play.refresh(by));
            play.agrees(&refreshed, "bob");
        }
        let late = play.message("dave", "late");
        let removed = take(&mut twin, &play.remove("carol", "alice"));
        play.agrees(&removed, "bob");
        assert_eq!(removed.epoch, Some(6));
        assert_eq!(take(&mut twin, &late), said("late", leaf(&added, "dave")), "of an earlier epoch");
    });
}

#[test]
fn the_tree_may_come_beside_the_welcome() {
    each(|adapter| {
        let mut play = Play::new(adapter, &["alice", "bob"]);
        play.net.device(&id("alice")).unwrap().tree_in_welcome(&team(), false).unwrap();
        let bundle = play.publish("bob");
        let mut twin = play.twin(adapter, "bob");
        let output = change_by(&mut play.net, &id("alice"), Change { add: vec![bundle], ..Change::default() });
        receive(&mut play.net, &id("alice"), &packets(&output, PacketKind::Change)[0]).unwrap();
        let welcome = &packets(&output, PacketKind::Welcome)[0];
        let tree = play.net.device(&id("alice")).unwrap().ratchet_tree(&team()).unwrap();

        assert_eq!(class(twin.deliver(&delivery(welcome))), ErrorClass::BadRequest, "no tree");
        let mut another = tree.clone();
        another.0[9] ^= 1;
        let with = |tree: Bytes| Delivery { ratchet_tree: Some(tree), ..delivery(welcome) };
        assert_eq!(class(twin.deliver(&with(another))), ErrorClass::AuthFailed, "another tree");
        assert_eq!(class(twin.deliver(&with(b"junk".as_slice().into()))), ErrorClass::BadRequest, "no tree at all");
        play.net.device(&id("bob")).unwrap().join_with_tree(welcome, tree.as_ref()).unwrap();
        let joined = twin.deliver(&with(tree)).unwrap();
        play.agrees(&joined, "bob");
    });
}

#[test]
fn who_joins_by_its_own_act_is_taken_and_so_is_who_proposes_itself() {
    each(|adapter| {
        let mut play = Play::new(adapter, &["alice", "bob", "carol", "dave"]);
        let bundle = play.publish("bob");
        let mut twin = play.twin(adapter, "bob");
        let (_, welcome) = play.add("alice", &["bob"], vec![bundle]);
        take(&mut twin, &welcome);

        for joiner in ["carol", "carol"] {
            // The second time carol's new leaf takes the place of the old one.
            let info = play.net.device(&id("alice")).unwrap().group_info(&team()).unwrap();
            let join = only(play.net.device(&id(joiner)).unwrap().external_join(info.as_ref()).unwrap());
            for member in ["alice", "bob"] {
                receive(&mut play.net, &id(member), &join).unwrap();
            }
            let joined = take(&mut twin, &join);
            play.agrees(&joined, "carol");
        }
        play.members.push("carol");

        let proposal = own_proposal(&mut play.net, &id("dave"), &["alice"], 3);
        play.everybody_takes(&proposal);
        let proposed = take(&mut twin, &proposal);
        let group_id = Some(team().0.as_bytes().into());
        assert_eq!(proposed, Delivered { group_id, epoch: Some(3), ..Delivered::default() });
        let output = change_by(&mut play.net, &id("carol"), Change::default());
        let change = packets(&output, PacketKind::Change).remove(0);
        let mut without = play.twin(adapter, "bob");
        assert_eq!(class(without.deliver(&delivery(&change))), ErrorClass::BadRequest, "a group that it is not in");
        play.everybody_takes(&change);
        receive(&mut play.net, &id("dave"), &packets(&output, PacketKind::Welcome)[0]).unwrap();
        let committed = take(&mut twin, &change);
        play.agrees(&committed, "dave");
        assert_eq!(committed.roster.unwrap().len(), 4);
    });
}

#[test]
fn a_proposal_that_was_lost_is_missed_by_its_commit() {
    each(|adapter| {
        let mut play = Play::new(adapter, &["alice", "bob", "dave"]);
        let bundle = play.publish("bob");
        let mut twin = play.twin(adapter, "bob");
        let (_, welcome) = play.add("alice", &["bob"], vec![bundle]);
        take(&mut twin, &welcome);
        let proposal = own_proposal(&mut play.net, &id("dave"), &["alice"], 1);
        play.everybody_takes(&proposal);
        let output = change_by(&mut play.net, &id("alice"), Change::default());
        let change = packets(&output, PacketKind::Change).remove(0);
        play.everybody_takes(&change);
        assert_eq!(class(twin.deliver(&delivery(&change))), ErrorClass::BadRequest);
        take(&mut twin, &proposal);
        // What a refusal takes back is not the proposal.
        let mut broken = change.clone();
        *broken.bytes.0.last_mut().unwrap() ^= 1;
        assert_eq!(class(twin.deliver(&delivery(&broken))), ErrorClass::AuthFailed);
        let committed = take(&mut twin, &change);
        play.agrees(&committed, "bob");
    });
}

#[test]
fn every_key_package_opens_a_group_of_its_own_and_once() {
    each(|adapter| {
        let mut play = Play::new(adapter, &["alice", "bob"]);
        let notes = GroupId("notes".into());
        play.net.device(&id("alice")).unwrap().create_group(&notes).unwrap();
        let (first, second) = (play.publish("bob"), play.publish("bob"));
        let mut twin = play.twin(adapter, "bob");
        let (_, welcome) = play.add("alice", &["bob"], vec![first]);
        take(&mut twin, &welcome);
        let alice = play.net.device(&id("alice")).unwrap();
        let output = alice.change(&notes, &Change { add: vec![second], ..Change::default() }).unwrap();
        alice.receive(&packets(&output, PacketKind::Change)[0]).unwrap();
        let other = packets(&output, PacketKind::Welcome).remove(0);
        assert_eq!(take(&mut twin, &other).group_id.unwrap().as_ref(), b"notes");
        for used in [&welcome, &other] {
            assert_eq!(class(twin.deliver(&delivery(used))), ErrorClass::NoKey);
        }
        let hello = only(play.net.device(&id("alice")).unwrap().send(&notes, b"noted").unwrap());
        let message = play.message("alice", "hello");
        assert_eq!(take(&mut twin, &hello).group_id.unwrap().as_ref(), b"notes");
        assert_eq!(take(&mut twin, &message), said("hello", 0));
        let refreshed = take(&mut twin, &play.refresh("alice"));
        play.agrees(&refreshed, "bob");
    });
}

// Refusals

/// The bytes with one bit of the byte at `place` flipped.
fn flipped(packet: &Packet, place: usize) -> Delivery {
    let mut bytes = packet.bytes.clone();
    bytes.0[place] ^= 1;
    Delivery { bytes, ..delivery(packet) }
}

fn position(packet: &Packet, bytes: &[u8]) -> usize {
    packet.bytes.0.windows(bytes.len()).position(|window| window == bytes).unwrap()
}

/// Where the epoch of a message to `team` ends, counted from the group's id.
const EPOCH: usize = 4 + 8;

/// Where the encrypted sender data of a PrivateMessage begin: after the epoch come the content type, no authenticated data and
/// the length.
const SENDER_DATA: usize = EPOCH + 3;

#[test]
fn a_tampered_welcome_is_refused_and_the_real_one_taken() {
    each(|adapter| {
        let mut play = Play::new(adapter, &["alice", "bob", "carol"]);
        let (bundle, unused) = (play.publish("bob"), play.publish("carol"));
        let mut twin = play.twin(adapter, "bob");
        let mut stranger = play.twin(adapter, "carol");
        let (_, welcome) = play.add("alice", &["bob"], vec![bundle]);
        assert_eq!(class(stranger.deliver(&delivery(&welcome))), ErrorClass::NoKey, "somebody else's");

        // Version, wire format, cipher suite; the length of the secrets; then the first reference.
        let mut rest = &welcome.bytes.0[6..];
        let secrets: Vec<u8> = byte_vec::mls_decode(&mut rest).unwrap();
        let reference: Vec<u8> = byte_vec::mls_decode(&mut secrets.as_slice()).unwrap();
        let info: Vec<u8> = byte_vec::mls_decode(&mut rest).unwrap();
        for (part, expected) in [
            (reference.as_slice(), ErrorClass::NoKey),
            (&secrets[secrets.len() - 16..], ErrorClass::AuthFailed),
            (info.as_slice(), ErrorClass::AuthFailed),
        ] {
            assert_eq!(class(twin.deliver(&flipped(&welcome, position(&welcome, part)))), expected);
        }
        for length in [0, 3, welcome.bytes.0.len() - 1] {
            assert_eq!(class(twin.deliver(&bytes(&welcome.bytes.0[..length]))), ErrorClass::BadRequest, "{length}");
        }
        let joined = take(&mut twin, &welcome);
        play.agrees(&joined, "bob");
        assert_eq!(class(twin.deliver(&delivery(&welcome))), ErrorClass::NoKey, "the key package is used up");
        let (_, welcome) = play.add("alice", &["carol"], vec![unused]);
        let joined = take(&mut stranger, &welcome);
        play.agrees(&joined, "carol");
    });
}

/// A MAC of SHA-256 with its length. A commit by a member ends in its signature, the confirmation tag and the membership tag.
const TAG: usize = 1 + 32;

#[test]
fn a_tampered_commit_is_refused_and_the_real_one_taken() {
    each(|adapter| {
        let mut play = Play::new(adapter, &["alice", "bob"]);
        let bundle = play.publish("bob");
        let mut twin = play.twin(adapter, "bob");
        let (_, welcome) = play.add("alice", &["bob"], vec![bundle]);
        take(&mut twin, &welcome);
        let commit = play.refresh("alice");
        let group = position(&commit, team().0.as_bytes());
        for (place, expected) in [
            (group, ErrorClass::BadRequest),
            (group + EPOCH - 1, ErrorClass::StaleEpoch),
            (position(&commit, b"alice"), ErrorClass::AuthFailed),
            (commit.bytes.0.len() - 2 * TAG - 1, ErrorClass::AuthFailed),
            (commit.bytes.0.len() - TAG - 1, ErrorClass::AuthFailed),
            (commit.bytes.0.len() - 1, ErrorClass::AuthFailed),
        ] {
            assert_eq!(class(twin.deliver(&flipped(&commit, place))), expected, "{place}");
        }
        let half = bytes(&commit.bytes.0[..commit.bytes.0.len() / 2]);
        assert_eq!(class(twin.deliver(&half)), ErrorClass::BadRequest);
        let refreshed = take(&mut twin, &commit);
        play.agrees(&refreshed, "bob");
        assert_eq!(class(twin.deliver(&delivery(&commit))), ErrorClass::StaleEpoch, "once more");
        let refreshed = take(&mut twin, &play.refresh("alice"));
        play.agrees(&refreshed, "bob");
    });
}

#[test]
fn a_tampered_message_is_refused_and_the_real_one_taken_once() {
    each(|adapter| {
        let mut play = Play::new(adapter, &["alice", "bob"]);
        let bundle = play.publish("bob");
        let mut twin = play.twin(adapter, "bob");
        let (_, welcome) = play.add("alice", &["bob"], vec![bundle]);
        take(&mut twin, &welcome);
        let message = play.message("alice", "hello");
        let group = position(&message, team().0.as_bytes());
        for (place, expected) in [
            (group, ErrorClass::BadRequest),
            (group + EPOCH - 1, ErrorClass::StaleEpoch),
            (group + SENDER_DATA, ErrorClass::AuthFailed),
            (message.bytes.0.len() - 1, ErrorClass::AuthFailed),
        ] {
            let (class, text) = refusal(twin.deliver(&flipped(&message, place)));
            assert_eq!(class, expected, "{place}: {text}");
        }
        assert_eq!(take(&mut twin, &message), said("hello", 0));
        assert_eq!(class(twin.deliver(&delivery(&message))), ErrorClass::NoKey, "once more");
        assert_eq!(take(&mut twin, &play.message("alice", "again")), said("again", 0));
        let as_another_kind = Delivery { kind: DeliveryKind::Message, ..delivery(&message) };
        assert_eq!(class(twin.deliver(&as_another_kind)), ErrorClass::BadRequest);
    });
}

#[test]
fn every_byte_counts_and_refusals_leave_nothing_behind() {
    each(|adapter| {
        let mut play = Play::new(adapter, &["alice", "bob"]);
        let bundle = play.publish("bob");
        let mut twin = play.twin(adapter, "bob");
        let (_, welcome) = play.add("alice", &["bob"], vec![bundle]);
        let message = play.message("alice", "hello");
        let commit = play.refresh("alice");
        for packet in [&welcome, &message, &commit] {
            for place in 0..packet.bytes.0.len() {
                twin.deliver(&flipped(packet, place)).unwrap_err();
            }
            take(&mut twin, packet);
        }
        let refreshed = take(&mut twin, &play.refresh("alice"));
        play.agrees(&refreshed, "bob");
        assert_eq!(take(&mut twin, &play.message("alice", "bye")), said("bye", 0));
    });
}

#[test]
fn an_insiders_bent_packets_are_refused_and_its_honest_ones_taken() {
    each(|adapter| {
        let names = ["alice", "bob", "carol", "dave", "erin"];
        let mut play = Play::new(adapter, &names);
        let bundles = names[1..].iter().map(|name| play.publish(name)).collect();
        let mut twin = play.twin(adapter, "dave");
        let (_, welcome) = play.add("alice", &names[1..], bundles);
        let joined = take(&mut twin, &welcome);

        play.bend("bob", Fault::RelabelledSender(id("alice")));
        let forged = play.message("bob", "alice owes me money");
        let (class, text) = refusal(twin.deliver(&delivery(&forged)));
        assert_eq!((class, text.as_str()), (ErrorClass::AuthFailed, "invalid signature found"));
        play.bend("bob", Fault::None);
        for by in ["alice", "bob"] {
            assert_eq!(take(&mut twin, &play.message(by, by)), said(by, leaf(&joined, by)));
        }

        for (fault, words) in [
            (Fault::WrongLeafSignature, "invalid signature found"),
            (Fault::WrongParentHash, "update path parent hash mismatch"),
            (Fault::WrongConfirmationTag, "invalid confirmation tag"),
        ] {
            play.bend("bob", fault);
            let bent = only(change_by(&mut play.net, &id("bob"), refresh()));
            let (class, text) = refusal(twin.deliver(&delivery(&bent)));
            assert_eq!((class, text.as_str()), (ErrorClass::AuthFailed, words));
            play.bend("bob", Fault::None);
            for by in ["erin", "bob"] {
                let refreshed = take(&mut twin, &play.refresh(by));
                play.agrees(&refreshed, "dave");
            }
        }
    });
}

// Removal

#[test]
fn a_removed_twin_keeps_trying_in_vain_until_it_is_added_again() {
    each(|adapter| {
        let mut play = Play::new(adapter, &["alice", "bob", "carol"]);
        let bundles = vec![play.publish("bob"), play.publish("carol")];
        let again = play.publish("carol");
        let mut twin = play.twin(adapter, "carol");
        let (_, welcome) = play.add("alice", &["bob", "carol"], bundles);
        let joined = take(&mut twin, &welcome);
        let old = play.message("bob", "old");
        for by in ["alice", "bob"] {
            take(&mut twin, &play.refresh(by));
        }
        let late = play.message("bob", "late");

        let removal = take(&mut twin, &play.remove("alice", "carol"));
        let group_id = Some(team().0.as_bytes().into());
        assert_eq!(removal, Delivered { group_id, removed: true, ..Delivered::default() });
        for (packet, text) in [(&late, "late"), (&old, "old")] {
            assert_eq!(take(&mut twin, packet), said(text, leaf(&joined, "bob")), "it keeps the keys that it had");
        }
        let after = play.message("alice", "without carol");
        let commit = play.refresh("bob");
        let later = play.message("bob", "still without");
        for packet in [&after, &commit, &later] {
            assert_eq!(class(twin.deliver(&delivery(packet))), ErrorClass::StaleEpoch);
        }

        let (_, welcome) = play.add("bob", &["carol"], vec![again]);
        let rejoined = take(&mut twin, &welcome);
        play.agrees(&rejoined, "carol");
        for packet in [&after, &later, &late, &old] {
            assert_eq!(class(twin.deliver(&delivery(packet))), ErrorClass::StaleEpoch, "nothing of before");
        }
        assert_eq!(take(&mut twin, &play.message("alice", "back")), said("back", leaf(&rejoined, "alice")));
        let refreshed = take(&mut twin, &play.refresh("bob"));
        play.agrees(&refreshed, "carol");
    });
}

// Starts

fn mls(start: Start) -> MlsStart {
    match start {
        Start::Mls(start) => start,
        other => panic!("not an MLS start: {other:?}"),
    }
}

#[test]
fn the_keys_of_what_is_published_and_unused_are_told_in_their_standards_form() {
    each(|adapter| {
        let mut play = Play::new(adapter, &["alice", "bob"]);
        let own = mls(play.start("bob"));
        assert_eq!(own.key_packages, [], "nothing yet");
        assert_eq!(own.signature_priv.0.len(), 32, "a seed, or a scalar of P-256");
        let bundles = [play.publish("bob"), play.publish("bob")];
        let start = mls(play.start("bob"));
        assert_eq!(start.signature_priv, own.signature_priv);
        let mut published: Vec<_> = bundles.iter().map(|bundle| &bundle.bytes).collect();
        let mut told: Vec<_> = start.key_packages.iter().map(|package| &package.key_package).collect();
        published.sort();
        told.sort();
        assert_eq!(told, published);
        for package in &start.key_packages {
            assert_eq!((package.init_priv.0.len(), package.encryption_priv.0.len()), (32, 32));
        }
        let name = adapter.describe().cipher_suite;
        assert!(name.ends_with(&format!("({:#06x})", start.cipher_suite)), "{name}");

        let [used, unused] = bundles;
        play.add("alice", &["bob"], vec![used]);
        let left: Vec<_> = mls(play.start("bob")).key_packages.into_iter().map(|package| package.key_package).collect();
        assert_eq!(left, [unused.bytes], "what has let it in is used");
        let json = serde_json::to_string(&Start::Mls(start.clone())).unwrap();
        assert_eq!(serde_json::from_str::<Start>(&json).unwrap(), Start::Mls(start));
    });
}

#[test]
fn another_protocol_and_an_unknown_suite_are_unsupported() {
    each(|adapter| {
        let mut play = Play::new(adapter, &["alice", "bob"]);
        let bundle = play.publish("bob");
        let start = mls(play.start("bob"));
        let class = |start: Start| refusal(adapter.passive(&start).map(|_| ())).0;
        assert_eq!(class(Start::Megolm(MegolmStart {})), ErrorClass::Unsupported);
        for cipher_suite in [0, 4, 6, 0x0a0a, u16::MAX] {
            assert_eq!(class(Start::Mls(MlsStart { cipher_suite, ..start.clone() })), ErrorClass::Unsupported);
        }
        let mut twin = adapter.passive(&Start::Mls(start)).unwrap();
        let (_, welcome) = play.add("alice", &["bob"], vec![bundle]);
        let joined = take(&mut twin, &welcome);
        play.agrees(&joined, "bob");
    });
}

/// What is changed in a start, and what the refusal speaks of.
type Breakage = (&'static str, fn(&mut MlsStart));

const BREAKAGES: [Breakage; 12] = [
    ("signature_priv", |start| start.signature_priv.0.clear()),
    ("signature_priv", |start| start.signature_priv.0.push(0)),
    ("signature_priv", |start| start.signature_priv.0.splice(..0, [0]).for_each(drop)),
    ("signature_priv", |start| start.signature_priv.0[7] ^= 1),
    ("init_priv", |start| start.key_packages[0].init_priv.0.clear()),
    ("init_priv", |start| start.key_packages[0].init_priv.0.push(0)),
    ("init_priv", |start| start.key_packages[0].init_priv.0[7] ^= 1),
    ("init_priv", |start| start.key_packages[0].init_priv = start.key_packages[0].encryption_priv.clone()),
    ("encryption_priv", |start| start.key_packages[0].encryption_priv.0[7] ^= 1),
    ("encryption_priv", |start| start.key_packages[0].encryption_priv.0.splice(..0, [0]).for_each(drop)),
    ("key_package", |start| start.cipher_suite = if start.cipher_suite == 1 { 3 } else { 1 }),
    ("", |start| start.key_packages[0].key_package.0.truncate(100)),
];

#[test]
fn broken_keys_are_a_bad_request() {
    each(|adapter| {
        let mut play = Play::new(adapter, &["alice", "bob"]);
        let bundle = play.publish("bob");
        let start = mls(play.start("bob"));
        for (place, (words, break_it)) in BREAKAGES.iter().enumerate() {
            let mut broken = start.clone();
            break_it(&mut broken);
            let (class, text) = refusal(adapter.passive(&Start::Mls(broken)).map(|_| ()));
            assert_eq!(class, ErrorClass::BadRequest, "{place}: {text}");
            assert!(text.contains(words), "{place}: {text}");
        }
        let (_, welcome) = play.add("alice", &["bob"], vec![bundle]);
        let mut no_package = start.clone();
        no_package.key_packages[0].key_package = welcome.bytes.clone();
        assert_eq!(refusal(adapter.passive(&Start::Mls(no_package)).map(|_| ())).0, ErrorClass::BadRequest);
        let mut twin = adapter.passive(&Start::Mls(start)).unwrap();
        let joined = take(&mut twin, &welcome);
        play.agrees(&joined, "bob");
    });
}

#[test]
fn a_scalar_whose_leading_zero_is_dropped_is_the_same_scalar() {
    let p256 = &recording()[1];
    let mut play = Play::new(p256.as_ref(), &["alice", "bob"]);
    // One init key in 256 begins with a zero byte.
    let short = loop {
        play.publish("bob");
        let package = mls(play.start("bob")).key_packages.into_iter().find(|package| package.init_priv.0[0] == 0);
        if let Some(package) = package {
            break package;
        }
    };
    let mut start = mls(play.start("bob"));
    start.key_packages = vec![short];
    start.key_packages[0].init_priv.0.remove(0);
    let bundle = Bundle { device: id("bob"), bytes: start.key_packages[0].key_package.clone() };
    let (_, welcome) = play.add("alice", &["bob"], vec![bundle]);
    for adapter in adapters() {
        let mut twin = adapter.passive(&Start::Mls(start.clone())).unwrap();
        let joined = take(&mut twin, &welcome);
        play.agrees(&joined, "bob");
    }
}

#[test]
fn any_provider_plays_what_another_has_recorded() {
    for (recorder, number) in recording().iter().zip([1, 2, 3]) {
        let mut play = Play::new(recorder.as_ref(), &["alice", "bob"]);
        let bundle = play.publish("bob");
        let start = play.start("bob");
        assert_eq!(mls(start.clone()).cipher_suite, number);
        let (_, welcome) = play.add("alice", &["bob"], vec![bundle]);
        let message = play.message("alice", "hello");
        let commit = play.refresh("alice");
        for player in adapters().into_iter().chain(recording()) {
            let mut twin = player.passive(&start).unwrap();
            take(&mut twin, &welcome);
            assert_eq!(take(&mut twin, &message), said("hello", 0));
            let refreshed = take(&mut twin, &commit);
            play.agrees(&refreshed, "bob");
        }
    }
}

#[test]
fn recordings_are_made_with_three_suites_by_adapters_that_are_told_apart() {
    let described: Vec<_> = recording().iter().map(|adapter| adapter.describe()).collect();
    let names: Vec<_> = described.iter().map(|description| description.name.as_str()).collect();
    assert_eq!(names, ["mls-rs-rustcrypto", "mls-rs-rustcrypto-p256", "mls-rs-rustcrypto-chacha20"]);
    for (description, suite) in described.iter().zip(["(0x0001)", "(0x0002)", "(0x0003)"]) {
        assert!(description.cipher_suite.ends_with(suite), "{}", description.cipher_suite);
    }
}
