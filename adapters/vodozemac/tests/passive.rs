//! Devices that only receive: they read what the live device reads, and refuse in the same classes.

#![allow(clippy::unwrap_used)]

mod common;

use common::{World, adapter, id, message, team, to};
use e2esm_adapter::{
    Bytes, Change, Delivered, Delivery, DeliveryKind, Error, ErrorClass, Identity, MegolmStart, OlmStart, Packet,
    Passive, Prekey, SignalStart, Start,
};
use vodozemac::megolm::{GroupSession, InboundGroupSession};
use vodozemac::olm::{Account, OlmMessage, PreKeyMessage, Session};
use vodozemac::{Curve25519PublicKey, Curve25519SecretKey, Ed25519SecretKey};

/// What stands before the Olm message in a packet that opens a session, and before the one-time key in a bundle: account
/// key, device keys, voucher.
const IDENTITY: usize = 32 + 64 + 64;
/// What stands before a Megolm message in a packet.
const SESSION_ID: usize = 43;

fn passive(start: &Start) -> Box<dyn Passive> {
    adapter().passive(start).unwrap()
}

fn megolm() -> Box<dyn Passive> {
    passive(&Start::Megolm(MegolmStart {}))
}

fn standard_keys(world: &mut World, name: &str) -> OlmStart {
    match world.of(name).standard_keys().unwrap() {
        Start::Olm(start) => start,
        start => panic!("{start:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    Bytes::from(bytes).to_string()
}

/// The label of a device's Olm messages.
fn label(identity: &Identity) -> String {
    hex(&identity.device_key.as_ref()[..32])
}

fn delivery(kind: DeliveryKind, from: Option<&str>, bytes: &[u8]) -> Delivery {
    Delivery { kind, from: from.map(str::to_owned), bytes: bytes.into(), ratchet_tree: None }
}

fn with_bytes(delivery: &Delivery, edit: impl FnOnce(&mut Vec<u8>)) -> Delivery {
    let mut delivery = delivery.clone();
    edit(&mut delivery.bytes.0);
    delivery
}

/// The last byte is the tag's in an Olm message, and the signature's in a Megolm message and in a session key.
fn last_flipped(delivery: &Delivery) -> Delivery {
    with_bytes(delivery, |bytes| *bytes.last_mut().unwrap() ^= 1)
}

fn cut(delivery: &Delivery, by: usize) -> Delivery {
    with_bytes(delivery, |bytes| bytes.truncate(bytes.len() - by))
}

fn labelled(delivery: &Delivery, from: &str) -> Delivery {
    Delivery { from: Some(from.to_owned()), ..delivery.clone() }
}

fn refuses(device: &mut dyn Passive, delivery: &Delivery, class: ErrorClass) -> Error {
    let error = device.deliver(delivery).unwrap_err();
    assert_eq!(error.class, class, "{error}");
    error
}

fn reads(device: &mut dyn Passive, delivery: &Delivery, text: &str) -> Delivered {
    let delivered = device.deliver(delivery).unwrap();
    assert_eq!(delivered.plaintext, Some(Bytes::from(text.as_bytes())));
    if delivery.from.is_some() {
        assert_eq!(delivered.sender, delivery.from);
    }
    delivered
}

/// The session key in the plaintext of a pairwise message of the group management: a tag, the group, the key.
fn session_key(plaintext: &Bytes) -> Delivery {
    let head = 1 + 4 + team().0.len();
    delivery(DeliveryKind::SessionKey, None, &plaintext.as_ref()[head..])
}

fn megolm_message(packet: &Packet) -> Delivery {
    delivery(DeliveryKind::MegolmMessage, None, &packet.bytes.as_ref()[SESSION_ID..])
}

/// A live device with one bundle out, and the passive device that starts where it stands.
struct Bob {
    start: OlmStart,
    identity_key: Curve25519PublicKey,
    one_time_key: Curve25519PublicKey,
}

impl Bob {
    fn new() -> Self {
        let mut live = adapter().device(&id("bob")).unwrap();
        let bundle = live.publish(&id("alice")).unwrap();
        let Start::Olm(start) = live.standard_keys().unwrap() else { panic!("not Olm's") };
        let key = |bytes: &[u8]| Curve25519PublicKey::from_slice(bytes).unwrap();
        Self {
            start,
            identity_key: key(&bundle.bytes.as_ref()[32..64]),
            one_time_key: key(&bundle.bytes.as_ref()[IDENTITY..IDENTITY + 32]),
        }
    }

    fn device(&self) -> Box<dyn Passive> {
        passive(&Start::Olm(self.start.clone()))
    }
}

/// A sender that is nothing but the library.
struct Sender {
    label: String,
    session: Session,
}

impl Sender {
    fn to(bob: &Bob) -> Self {
        let account = Account::new();
        let config = vodozemac::olm::SessionConfig::version_1();
        let session = account.create_outbound_session(config, bob.identity_key, bob.one_time_key).unwrap();
        Self { label: hex(account.curve25519_key().as_bytes()), session }
    }

    fn encrypt(&mut self, text: &str) -> PreKeyMessage {
        match self.session.encrypt(text).unwrap() {
            OlmMessage::PreKey(message) => message,
            OlmMessage::Normal(_) => panic!("no answer has come"),
        }
    }

    fn prekey(&mut self, text: &str) -> Delivery {
        delivery(DeliveryKind::PrekeyMessage, Some(&self.label.clone()), &self.encrypt(text).to_bytes())
    }

    /// What is inside a message with a handshake is a message without.
    fn normal(&mut self, text: &str) -> Delivery {
        delivery(DeliveryKind::Message, Some(&self.label.clone()), &self.encrypt(text).message().to_bytes())
    }
}

#[test]
fn a_passive_twin_reads_what_the_live_device_reads_in_any_order_and_without_what_is_lost() {
    let mut world = World::new(&["alice", "bob"], &[]);
    let start = standard_keys(&mut world, "bob");
    let (mut olm, mut megolm) = (passive(&Start::Olm(start)), megolm());
    let alice = label(&world.of("alice").identity().unwrap());
    // Five sender keys on one Olm session, with three messages each.
    let sent: Vec<_> = (0..5)
        .map(|key| {
            world.of("alice").change(&team(), &Change { refresh: true, ..Change::default() }).unwrap();
            let first = world.packets("alice", &format!("{key}.0"));
            let rest = [1, 2].map(|n| message(&world.packets("alice", &format!("{key}.{n}"))));
            (to(&first, "bob"), [message(&first), rest[0].clone(), rest[1].clone()])
        })
        .collect();
    for key in [2, 0, 1, 4] {
        let (distribution, messages) = &sent[key];
        world.receive("bob", distribution).unwrap();
        let bytes = &distribution.bytes.as_ref()[IDENTITY..];
        let delivered = olm.deliver(&delivery(DeliveryKind::PrekeyMessage, Some(&alice), bytes)).unwrap();
        let plaintext = delivered.plaintext.clone().unwrap();
        let expected =
            Delivered { plaintext: Some(plaintext.clone()), sender: Some(alice.clone()), ..Delivered::default() };
        assert_eq!(delivered, expected);
        let handed_out = session_key(&plaintext);
        assert_eq!(megolm.deliver(&handed_out).unwrap(), Delivered::default());
        // The signing key stands behind version, index and ratchet.
        let sender = hex(&handed_out.bytes.as_ref()[133..165]);
        for index in [2, 0] {
            let live = world.receive("bob", &messages[index]).unwrap().unwrap();
            assert_eq!(live.plaintext, Bytes::from(format!("{key}.{index}").as_bytes()));
            let expected = Delivered {
                plaintext: Some(live.plaintext),
                sender: Some(sender.clone()),
                message_index: Some(u32::try_from(index).unwrap()),
                ..Delivered::default()
            };
            assert_eq!(megolm.deliver(&megolm_message(&messages[index])).unwrap(), expected);
        }
    }
    let lost = &sent[3].1[0];
    world.refuses("bob", lost, ErrorClass::NoKey);
    refuses(&mut *megolm, &megolm_message(lost), ErrorClass::AuthFailed);
}

#[test]
fn standard_keys_are_the_private_halves_of_what_is_out_and_not_used() {
    let mut world = World::new(&["alice", "bob"], &[]);
    let bundle = world.claim("bob", "alice");
    let device_key = world.of("bob").identity().unwrap().device_key;
    let start = standard_keys(&mut world, "bob");
    let private = |bytes: &Bytes| <[u8; 32]>::try_from(bytes.as_ref()).unwrap();
    let public = |bytes: &Bytes| Curve25519PublicKey::from(&Curve25519SecretKey::from_slice(&private(bytes)));
    assert_eq!(public(&start.curve25519_priv).as_bytes(), &device_key.as_ref()[..32]);
    let ed25519 = Ed25519SecretKey::from_slice(&private(&start.ed25519_priv)).public_key();
    assert_eq!(ed25519.as_bytes(), &device_key.as_ref()[32..]);
    assert_eq!(start.one_time_keys.len(), 2, "one for alice's session, and one more");
    let published = &bundle.bytes.as_ref()[IDENTITY..IDENTITY + 32];
    assert_eq!(public(&start.one_time_keys[1].private).as_bytes(), published);
    assert!(start.one_time_keys[0].id < start.one_time_keys[1].id);

    world.talk("alice", "this uses the first");
    let later = standard_keys(&mut world, "bob");
    assert_eq!(later, OlmStart { one_time_keys: start.one_time_keys[1..].to_vec(), ..start });
}

#[test]
fn messages_on_an_open_session_are_read_with_their_handshake_and_without() {
    let bob = Bob::new();
    let mut device = bob.device();
    let mut alice = Sender::to(&bob);
    let first = alice.prekey("first");
    let [a, b, c, d] = ["a", "b", "c", "d"].map(|text| alice.normal(text));
    let last = alice.prekey("last");
    refuses(&mut *device, &a, ErrorClass::NoKey);
    reads(&mut *device, &first, "first");
    reads(&mut *device, &b, "b");
    reads(&mut *device, &a, "a");
    reads(&mut *device, &last, "last");
    reads(&mut *device, &d, "d");
    refuses(&mut *device, &a, ErrorClass::NoKey);
    refuses(&mut *device, &labelled(&c, &hex(&[9; 32])), ErrorClass::NoKey);
    refuses(&mut *device, &last_flipped(&c), ErrorClass::AuthFailed);
    refuses(&mut *device, &with_bytes(&c, |bytes| bytes.truncate(9)), ErrorClass::BadRequest);
    reads(&mut *device, &c, "c");
}

#[test]
fn a_first_message_is_refused_for_what_is_wrong_with_it_and_the_honest_one_is_read() {
    let bob = Bob::new();
    let mut device = bob.device();
    let mut alice = Sender::to(&bob);
    let first = alice.prekey("first");
    refuses(&mut *device, &last_flipped(&first), ErrorClass::AuthFailed);
    refuses(&mut *device, &with_bytes(&first, |bytes| bytes[0] = 4), ErrorClass::BadRequest);
    refuses(&mut *device, &cut(&first, 1), ErrorClass::BadRequest);
    refuses(&mut *device, &with_bytes(&first, Vec::clear), ErrorClass::BadRequest);
    let mallory = Sender::to(&bob);
    let error = refuses(&mut *device, &labelled(&first, &mallory.label), ErrorClass::UntrustedIdentity);
    assert!(error.text.contains("doesn't match the one in the pre-key message"), "vodozemac's own words: {error}");
    let empty = OlmStart { one_time_keys: Vec::new(), ..bob.start.clone() };
    refuses(&mut *passive(&Start::Olm(empty)), &first, ErrorClass::NoKey);
    reads(&mut *device, &first, "first");

    refuses(&mut *device, &first, ErrorClass::NoKey);
    let second = alice.prekey("second");
    refuses(&mut *device, &last_flipped(&second), ErrorClass::AuthFailed);
    refuses(&mut *device, &labelled(&second, &mallory.label), ErrorClass::UntrustedIdentity);
    reads(&mut *device, &second, "second");
}

#[test]
fn a_one_time_key_is_for_one_session() {
    let bob = Bob::new();
    let [mut alice, mut carol] = [Sender::to(&bob), Sender::to(&bob)];
    let (from_alice, from_carol) = (alice.prekey("alice"), carol.prekey("carol"));
    let mut device = bob.device();
    reads(&mut *device, &from_alice, "alice");
    let error = refuses(&mut *device, &from_carol, ErrorClass::NoKey);
    assert!(error.text.contains("unknown one-time key"), "{error}");
    reads(&mut *device, &alice.prekey("alice again"), "alice again");
    reads(&mut *bob.device(), &from_carol, "carol");
}

#[test]
fn a_device_reads_each_senders_sessions_under_that_senders_label_alone() {
    let secrets = [21, 22, 23].map(|byte| [byte; 32]);
    let mut bob = Bob::new();
    bob.start.one_time_keys =
        secrets.iter().zip(1..).map(|(secret, id)| Prekey { id, private: secret.as_slice().into() }).collect();
    let mut device = bob.device();
    let mut senders = secrets.map(|secret| {
        bob.one_time_key = (&Curve25519SecretKey::from_slice(&secret)).into();
        Sender::to(&bob)
    });
    for sender in &mut senders {
        reads(&mut *device, &sender.prekey("hello"), "hello");
    }
    let message = senders[0].normal("from the first");
    refuses(&mut *device, &labelled(&message, &senders[1].label), ErrorClass::AuthFailed);
    reads(&mut *device, &message, "from the first");
}

#[test]
fn a_megolm_message_is_refused_for_what_is_wrong_with_it_and_the_honest_one_is_read() {
    let mut alice = GroupSession::default();
    let key = delivery(DeliveryKind::SessionKey, None, &alice.session_key().to_bytes());
    alice.encrypt("index 0");
    let message = delivery(DeliveryKind::MegolmMessage, None, &alice.encrypt("hello").to_bytes());
    let mut device = megolm();
    refuses(&mut *device, &message, ErrorClass::NoKey);
    refuses(&mut *device, &last_flipped(&key), ErrorClass::AuthFailed);
    refuses(&mut *device, &with_bytes(&key, |bytes| bytes[40] ^= 1), ErrorClass::AuthFailed);
    refuses(&mut *device, &with_bytes(&key, |bytes| bytes[0] = 1), ErrorClass::BadRequest);
    refuses(&mut *device, &cut(&key, 1), ErrorClass::BadRequest);
    refuses(&mut *device, &message, ErrorClass::NoKey);
    device.deliver(&key).unwrap();

    refuses(&mut *device, &last_flipped(&message), ErrorClass::AuthFailed);
    let ciphertext = message.bytes.0.len() - 64 - 8 - 1;
    refuses(&mut *device, &with_bytes(&message, |bytes| bytes[ciphertext] ^= 1), ErrorClass::AuthFailed);
    refuses(&mut *device, &with_bytes(&message, |bytes| bytes[0] = 2), ErrorClass::BadRequest);
    refuses(&mut *device, &with_bytes(&message, |bytes| bytes.truncate(70)), ErrorClass::BadRequest);
    let strangers = GroupSession::default().encrypt("from a session that is not here").to_bytes();
    refuses(&mut *device, &delivery(DeliveryKind::MegolmMessage, None, &strangers), ErrorClass::AuthFailed);
    reads(&mut *device, &message, "hello");
}

#[test]
fn a_repeated_megolm_message_is_read_again_and_told_by_its_index() {
    let mut alice = GroupSession::default();
    let key = delivery(DeliveryKind::SessionKey, None, &alice.session_key().to_bytes());
    let messages: Vec<_> = (0..3).map(|n| alice.encrypt(n.to_string())).collect();
    let mut device = megolm();
    device.deliver(&key).unwrap();
    for index in [1, 2, 1, 0, 2] {
        let bytes = messages[usize::try_from(index).unwrap()].to_bytes();
        let delivered = reads(&mut *device, &delivery(DeliveryKind::MegolmMessage, None, &bytes), &index.to_string());
        assert_eq!(delivered.message_index, Some(index));
    }
}

#[test]
fn each_megolm_message_is_shown_as_the_one_whose_session_it_is() {
    let mut sessions = [(); 3].map(|()| GroupSession::default());
    let mut device = megolm();
    for session in &sessions {
        device.deliver(&delivery(DeliveryKind::SessionKey, None, &session.session_key().to_bytes())).unwrap();
    }
    for session in sessions.iter_mut().rev() {
        let sender = hex(&vodozemac::base64_decode(session.session_id()).unwrap());
        let message = delivery(DeliveryKind::MegolmMessage, None, &session.encrypt("hello").to_bytes());
        assert_eq!(reads(&mut *device, &message, "hello").sender, Some(sender));
    }
}

#[test]
fn of_two_keys_of_one_session_the_earlier_position_holds_whichever_comes_first() {
    let mut alice = GroupSession::default();
    let whole = delivery(DeliveryKind::SessionKey, None, &alice.session_key().to_bytes());
    let mut held = InboundGroupSession::from(&alice);
    let exported = delivery(DeliveryKind::ExportedSessionKey, None, &held.export_at(2).unwrap().to_bytes());
    let messages: Vec<_> =
        (0..4).map(|n| delivery(DeliveryKind::MegolmMessage, None, &alice.encrypt(n.to_string()).to_bytes())).collect();

    let mut device = megolm();
    device.deliver(&exported).unwrap();
    let error = refuses(&mut *device, &messages[1], ErrorClass::NoKey);
    assert!(error.text.contains("first known index 2"), "{error}");
    reads(&mut *device, &messages[2], "2");
    device.deliver(&whole).unwrap();
    reads(&mut *device, &messages[1], "1");
    device.deliver(&exported).unwrap();
    reads(&mut *device, &messages[0], "0");

    // Nothing signs an exported key: another ratchet under a known signing key is not the sender's, or the first is not.
    let forged = with_bytes(&exported, |bytes| bytes[40] ^= 1);
    refuses(&mut *device, &forged, ErrorClass::Duplicate);
    reads(&mut *device, &messages[3], "3");
    let mut deceived = megolm();
    deceived.deliver(&forged).unwrap();
    refuses(&mut *deceived, &whole, ErrorClass::Duplicate);
    refuses(&mut *deceived, &messages[3], ErrorClass::AuthFailed);
}

#[test]
fn a_delivery_that_makes_no_sense_is_a_bad_request() {
    let bob = Bob::new();
    let mut alice = Sender::to(&bob);
    let honest = alice.prekey("hello");
    let mut device = bob.device();
    let from = |from: Option<&str>| Delivery { from: from.map(str::to_owned), ..honest.clone() };
    let not_hex = format!("{}gg", &alice.label[2..]);
    for label in [None, Some(""), Some("alice.1"), Some(&alice.label[2..]), Some(&*not_hex)] {
        refuses(&mut *device, &from(label), ErrorClass::BadRequest);
    }
    let tree = Delivery { ratchet_tree: Some(Bytes::default()), ..honest.clone() };
    refuses(&mut *device, &tree, ErrorClass::BadRequest);
    for kind in [
        DeliveryKind::MlsMessage,
        DeliveryKind::Message,
        DeliveryKind::SenderKeyDistribution,
        DeliveryKind::SenderKeyMessage,
        DeliveryKind::SessionKey,
        DeliveryKind::ExportedSessionKey,
        DeliveryKind::MegolmMessage,
    ] {
        refuses(&mut *device, &Delivery { kind, ..honest.clone() }, ErrorClass::BadRequest);
    }
    reads(&mut *device, &honest, "hello");

    let mut session = GroupSession::default();
    let key = delivery(DeliveryKind::SessionKey, None, &session.session_key().to_bytes());
    let mut device = megolm();
    refuses(&mut *device, &labelled(&key, &alice.label), ErrorClass::BadRequest);
    refuses(&mut *device, &Delivery { ratchet_tree: Some(Bytes::default()), ..key.clone() }, ErrorClass::BadRequest);
    for kind in [
        DeliveryKind::MlsMessage,
        DeliveryKind::PrekeyMessage,
        DeliveryKind::Message,
        DeliveryKind::SenderKeyDistribution,
        DeliveryKind::SenderKeyMessage,
        DeliveryKind::ExportedSessionKey,
    ] {
        refuses(&mut *device, &Delivery { kind, ..key.clone() }, ErrorClass::BadRequest);
    }
    device.deliver(&key).unwrap();
    let message = delivery(DeliveryKind::MegolmMessage, None, &session.encrypt("hello").to_bytes());
    reads(&mut *device, &message, "hello");
}

#[test]
fn a_start_that_is_none_of_ours_is_unsupported_and_one_that_is_broken_a_bad_request() {
    let class = |start: &Start| adapter().passive(start).err().unwrap().class;
    let signal = SignalStart {
        address: "bob.1".into(),
        registration_id: 1,
        identity_key_priv: Bytes(vec![1; 32]),
        one_time_prekeys: Vec::new(),
        signed_prekeys: Vec::new(),
        kyber_prekeys: Vec::new(),
        known_identities: Vec::new(),
    };
    assert_eq!(class(&Start::Signal(signal)), ErrorClass::Unsupported);

    let bob = Bob::new();
    let honest = bob.start.clone();
    let short = |bytes: &Bytes| Bytes(bytes.0[1..].to_vec());
    let key = honest.one_time_keys[0].clone();
    let with = |one_time_keys: Vec<Prekey>| OlmStart { one_time_keys, ..honest.clone() };
    for broken in [
        OlmStart { ed25519_priv: short(&honest.ed25519_priv), ..honest.clone() },
        OlmStart { ed25519_priv: Bytes(vec![1; 63]), ..honest.clone() },
        OlmStart { curve25519_priv: short(&honest.curve25519_priv), ..honest.clone() },
        OlmStart { curve25519_priv: Bytes(vec![1; 33]), ..honest.clone() },
        with(vec![Prekey { private: short(&key.private), ..key.clone() }]),
        with(vec![key.clone(), Prekey { private: Bytes(vec![1; 32]), ..key.clone() }]),
        with(vec![key.clone(), Prekey { id: key.id + 1, ..key.clone() }]),
    ] {
        assert_eq!(class(&Start::Olm(broken.clone())), ErrorClass::BadRequest, "{broken:?}");
    }
    reads(&mut *bob.device(), &Sender::to(&bob).prekey("hello"), "hello");
}
