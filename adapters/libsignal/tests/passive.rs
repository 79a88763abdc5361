//! Devices that only receive: they read what the live device reads, and refuse in the same classes.

#![allow(clippy::unwrap_used)]

mod common;

use common::{adapter, identity, phone, phones, receive, team};
use e2esm_adapter::{
    Address, Bytes, Change, Delivered, Delivery, DeliveryKind, DeviceId, Error, ErrorClass, KnownIdentity, MegolmStart,
    Packet, PacketKind, Passive, SignalStart, Start,
};
use e2esm_testing::Net;
use libsignal_protocol::{PreKeySignalMessage, PrivateKey};

fn passive(start: &SignalStart) -> Box<dyn Passive> {
    adapter().passive(&Start::Signal(start.clone())).unwrap()
}

fn standard_keys(net: &mut Net, of: &DeviceId) -> SignalStart {
    match net.device(of).unwrap().standard_keys().unwrap() {
        Start::Signal(start) => start,
        start => panic!("{start:?}"),
    }
}

/// The label of a device's messages.
fn label(net: &mut Net, of: &DeviceId) -> String {
    standard_keys(net, of).address
}

fn delivery(kind: DeliveryKind, from: &str, bytes: &[u8]) -> Delivery {
    Delivery { kind, from: Some(from.to_owned()), bytes: bytes.into(), ratchet_tree: None }
}

fn with_bytes(delivery: &Delivery, edit: impl FnOnce(&mut Vec<u8>)) -> Delivery {
    let mut delivery = delivery.clone();
    edit(&mut delivery.bytes.0);
    delivery
}

/// The delivery with another part, as long as the honest one, in its place.
fn replaced(delivery: &Delivery, part: &[u8], by: &[u8]) -> Delivery {
    let start = delivery.bytes.0.windows(part.len()).position(|window| window == part).unwrap();
    with_bytes(delivery, |bytes| bytes[start..start + part.len()].copy_from_slice(by))
}

/// The delivery with the last byte of one of its parts changed.
fn bent(delivery: &Delivery, part: &[u8]) -> Delivery {
    let mut by = part.to_vec();
    *by.last_mut().unwrap() ^= 1;
    replaced(delivery, part, &by)
}

fn labelled(delivery: &Delivery, from: &str) -> Delivery {
    Delivery { from: Some(from.to_owned()), ..delivery.clone() }
}

fn refuses(device: &mut dyn Passive, delivery: &Delivery, class: ErrorClass) -> Error {
    let error = device.deliver(delivery).unwrap_err();
    assert_eq!(error.class, class, "{error}");
    error
}

/// What was read, by the label's sender.
fn reads(device: &mut dyn Passive, delivery: &Delivery) -> Bytes {
    let delivered = device.deliver(delivery).unwrap();
    assert_eq!(delivered.sender, delivery.from);
    delivered.plaintext.unwrap()
}

/// Alice and bob in a group, in which alice holds a session with bob that bob has not heard of.
struct Pair {
    net: Net,
    alice: DeviceId,
    bob: DeviceId,
    /// Alice's.
    label: String,
    /// Bob's.
    start: SignalStart,
}

impl Pair {
    fn new() -> Self {
        let [alice, bob] = phones(["alice", "bob"]);
        let mut net = Net::new(&*adapter(), &[alice.clone(), bob.clone()]).unwrap();
        net.group(&team(), &alice, std::slice::from_ref(&bob)).unwrap();
        let (label, start) = (label(&mut net, &alice), standard_keys(&mut net, &bob));
        Self { net, alice, bob, label, start }
    }

    /// A new sender key of alice's on its way to bob, and messages under it.
    fn speak(&mut self, texts: &[&str]) -> (Packet, Vec<Packet>) {
        let alice = self.net.device(&self.alice).unwrap();
        alice.change(&team(), &Change { refresh: true, ..Change::default() }).unwrap();
        let packets: Vec<_> =
            texts.iter().flat_map(|text| alice.send(&team(), text.as_bytes()).unwrap().packets).collect();
        let (keys, messages): (Vec<_>, Vec<_>) =
            packets.into_iter().partition(|packet| packet.to == Address::Device(self.bob.clone()));
        let [key] = <[Packet; 1]>::try_from(keys).unwrap();
        assert!(key.opens_session && messages.iter().all(|packet| packet.kind == PacketKind::Message));
        (key, messages)
    }

    /// A pairwise message of alice's, as a device gets it that has not answered.
    fn prekey(&mut self) -> Delivery {
        let (key, _) = self.speak(&["hello"]);
        delivery(DeliveryKind::PrekeyMessage, &self.label, key.bytes.as_ref())
    }

    /// What is inside a prekey message is a message without.
    fn whisper(&mut self) -> Delivery {
        let prekey = self.prekey();
        delivery(DeliveryKind::Message, &self.label, parsed(&prekey).message().serialized())
    }
}

fn parsed(prekey: &Delivery) -> PreKeySignalMessage {
    PreKeySignalMessage::try_from(prekey.bytes.as_ref()).unwrap()
}

/// The sender key in the plaintext of a pairwise message of the group management: a tag, the group, the key.
fn distribution(from: &str, plaintext: &Bytes) -> Delivery {
    let head = 1 + 4 + team().0.len();
    delivery(DeliveryKind::SenderKeyDistribution, from, &plaintext.as_ref()[head..])
}

fn sender_key_message(from: &str, packet: &Packet) -> Delivery {
    delivery(DeliveryKind::SenderKeyMessage, from, packet.bytes.as_ref())
}

#[test]
fn a_passive_twin_reads_what_the_live_device_reads_in_any_order_and_without_what_is_lost() {
    let mut pair = Pair::new();
    let mut device = passive(&pair.start);
    // Five sender keys on one session, with three messages each.
    let sent: Vec<_> = (0..5)
        .map(|key| {
            let texts = [0, 1, 2].map(|n| format!("{key}.{n}"));
            pair.speak(&texts.each_ref().map(String::as_str))
        })
        .collect();
    let from = pair.label.clone();
    for (turn, key) in [2, 0, 1, 4].into_iter().enumerate() {
        let (packet, messages) = &sent[key];
        receive(&mut pair.net, &pair.bob, packet).unwrap();
        let delivered = device.deliver(&delivery(DeliveryKind::PrekeyMessage, &from, packet.bytes.as_ref())).unwrap();
        let plaintext = delivered.plaintext.clone().unwrap();
        let fingerprint = pair.net.device(&pair.bob).unwrap().fingerprint(&team(), &pair.alice).unwrap();
        let expected = Delivered {
            plaintext: Some(plaintext.clone()),
            sender: Some(from.clone()),
            // The first of them opens the session, in whichever order they were sent.
            safety_number: (turn == 0).then_some(fingerprint.value),
            ..Delivered::default()
        };
        assert_eq!(delivered, expected);
        assert_eq!(device.deliver(&distribution(&from, &plaintext)).unwrap(), Delivered::default());
        for index in [2, 0] {
            let live = receive(&mut pair.net, &pair.bob, &messages[index]).unwrap().unwrap();
            assert_eq!(live.plaintext, Bytes::from(format!("{key}.{index}").as_bytes()));
            assert_eq!(reads(&mut *device, &sender_key_message(&from, &messages[index])), live.plaintext);
        }
    }
    let lost = &sent[3].1[0];
    assert_eq!(receive(&mut pair.net, &pair.bob, lost).unwrap_err().class, ErrorClass::NoKey);
    refuses(&mut *device, &sender_key_message(&from, lost), ErrorClass::NoKey);
}

#[test]
fn a_safety_number_is_told_when_a_session_is_opened_and_is_the_one_at_the_other_end() {
    let mut pair = Pair::new();
    let mut device = passive(&pair.start);
    let delivered = device.deliver(&pair.prekey()).unwrap();
    let at_alice = pair.net.device(&pair.alice).unwrap().fingerprint(&team(), &pair.bob).unwrap().value;
    assert_eq!(at_alice.len(), 60);
    assert!(at_alice.bytes().all(|digit| digit.is_ascii_digit()));
    assert_eq!(delivered.safety_number, Some(at_alice));
    assert_eq!(device.deliver(&pair.prekey()).unwrap().safety_number, None);
    assert_eq!(device.deliver(&pair.whisper()).unwrap().safety_number, None);
}

#[test]
fn standard_keys_are_the_private_halves_of_what_is_out_and_not_used() {
    let mut pair = Pair::new();
    let bundle = pair.net.claim(&pair.bob, &pair.alice).unwrap();
    let start = standard_keys(&mut pair.net, &pair.bob);
    let public = |private: &Bytes| {
        PrivateKey::deserialize(private.as_ref()).unwrap().public_key().unwrap().serialize().into_vec()
    };
    let is_out = |part: &[u8]| bundle.bytes.0.windows(part.len()).any(|window| window == part);
    assert_eq!(public(&start.identity_key_priv), identity(&mut pair.net, &pair.bob).device_key.0);
    assert_eq!(start.address.rsplit_once('.').unwrap().0, "bob");
    assert_eq!((start.one_time_prekeys.len(), start.signed_prekeys.len(), start.kyber_prekeys.len()), (2, 1, 2));
    assert!(is_out(&public(&start.one_time_prekeys[1].private)));
    assert!(is_out(&public(&start.signed_prekeys[0].private)));
    assert!(is_out(start.signed_prekeys[0].signature.as_ref()));
    assert!(is_out(start.kyber_prekeys[1].public.as_ref()));
    assert!(is_out(start.kyber_prekeys[1].signature.as_ref()));
    assert!(!is_out(&public(&start.one_time_prekeys[0].private)), "that one is in alice's bundle");

    let (first, _) = pair.speak(&["this uses the first"]);
    receive(&mut pair.net, &pair.bob, &first).unwrap();
    let later = standard_keys(&mut pair.net, &pair.bob);
    let expected = SignalStart {
        one_time_prekeys: start.one_time_prekeys[1..].to_vec(),
        kyber_prekeys: start.kyber_prekeys[1..].to_vec(),
        ..start
    };
    assert_eq!(later, expected);
}

#[test]
fn a_linked_device_has_the_keys_that_its_present_identity_has_signed() {
    let mut pair = Pair::new();
    let laptop = DeviceId::new("bob", "laptop");
    pair.net.insert(&laptop, adapter().device(&laptop).unwrap());
    pair.net.claim(&laptop, &pair.alice).unwrap();
    let request = pair.net.device(&laptop).unwrap().link_request().unwrap();
    let authorisation = pair.net.device(&pair.bob).unwrap().authorise(&request).unwrap();
    pair.net.device(&laptop).unwrap().accept_authorisation(&authorisation).unwrap();
    e2esm_testing::all_well(pair.net.change(&pair.alice, &team(), std::slice::from_ref(&laptop), &[], false).unwrap())
        .unwrap();
    let start = standard_keys(&mut pair.net, &laptop);
    assert_eq!(start.identity_key_priv, pair.start.identity_key_priv);
    assert_ne!(start.address, pair.start.address);
    assert_eq!((start.signed_prekeys.len(), start.kyber_prekeys.len()), (1, 1));
    let packets = pair.net.device(&pair.alice).unwrap().send(&team(), b"hello").unwrap().packets;
    let packet = packets.iter().find(|packet| packet.to == Address::Device(laptop.clone())).unwrap();
    reads(&mut *passive(&start), &delivery(DeliveryKind::PrekeyMessage, &pair.label, packet.bytes.as_ref()));
}

#[test]
fn messages_on_an_open_session_are_read_with_their_handshake_and_without() {
    let mut pair = Pair::new();
    let mut device = passive(&pair.start);
    let first = pair.prekey();
    let [a, b, c, d] = [(); 4].map(|()| pair.whisper());
    let last = pair.prekey();
    refuses(&mut *device, &a, ErrorClass::NoKey);
    for message in [&first, &b, &a, &last, &d] {
        reads(&mut *device, message);
    }
    for message in [&first, &b, &a, &last, &d] {
        refuses(&mut *device, message, ErrorClass::Duplicate);
    }
    refuses(&mut *device, &labelled(&c, "carol.1"), ErrorClass::NoKey);
    let mac = &c.bytes.0[c.bytes.0.len() - 8..];
    refuses(&mut *device, &bent(&c, mac), ErrorClass::AuthFailed);
    refuses(&mut *device, &with_bytes(&c, |bytes| bytes.truncate(8)), ErrorClass::BadRequest);
    refuses(&mut *device, &with_bytes(&c, |bytes| bytes[0] = 0x54), ErrorClass::BadRequest);
    reads(&mut *device, &c);
}

#[test]
fn a_first_message_is_refused_for_what_is_wrong_with_it_and_the_honest_one_is_read() {
    let mut pair = Pair::new();
    let mut device = passive(&pair.start);
    let first = pair.prekey();
    let parts = parsed(&first);
    let inner = parts.message().serialized();
    let kyber = parts.kyber_ciphertext().unwrap();
    for part in [inner, &inner[..inner.len() - 9], &kyber[..]] {
        refuses(&mut *device, &bent(&first, part), ErrorClass::AuthFailed);
    }
    let bobs = identity(&mut pair.net, &pair.bob).device_key;
    refuses(&mut *device, &replaced(&first, &parts.base_key().serialize(), bobs.as_ref()), ErrorClass::AuthFailed);
    // Nobody's identity is known yet, so that it is the tag that does not fit; and none is known afterwards.
    refuses(&mut *device, &replaced(&first, &parts.identity_key().serialize(), bobs.as_ref()), ErrorClass::AuthFailed);
    refuses(&mut *device, &with_bytes(&first, |bytes| bytes[0] = 0x54), ErrorClass::BadRequest);
    refuses(&mut *device, &with_bytes(&first, |bytes| bytes.truncate(bytes.len() - 1)), ErrorClass::BadRequest);
    refuses(&mut *device, &with_bytes(&first, Vec::clear), ErrorClass::BadRequest);
    for start in [
        SignalStart { one_time_prekeys: Vec::new(), ..pair.start.clone() },
        SignalStart { signed_prekeys: Vec::new(), ..pair.start.clone() },
        SignalStart { kyber_prekeys: Vec::new(), ..pair.start.clone() },
    ] {
        refuses(&mut *passive(&start), &first, ErrorClass::NoKey);
    }
    reads(&mut *device, &first);

    refuses(&mut *device, &first, ErrorClass::Duplicate);
    let second = pair.prekey();
    refuses(&mut *device, &bent(&second, parsed(&second).message().serialized()), ErrorClass::AuthFailed);
    reads(&mut *device, &second);
}

#[test]
fn a_changed_identity_is_refused_and_the_known_one_goes_on() {
    let mut pair = Pair::new();
    // Another alice at the same address, with a bundle of her own.
    let mut impostor = Pair::new();
    let bundle = pair.net.claim(&pair.bob, &pair.alice).unwrap();
    impostor.net.device(&impostor.alice).unwrap().introduce(&bundle).unwrap();
    let start = standard_keys(&mut pair.net, &pair.bob);
    let by_impostor = impostor.prekey();
    assert_eq!(by_impostor.from.as_ref(), Some(&pair.label));

    let mut device = passive(&start);
    reads(&mut *device, &pair.prekey());
    let error = refuses(&mut *device, &by_impostor, ErrorClass::UntrustedIdentity);
    assert!(error.text.contains(&pair.label), "{error}");
    reads(&mut *device, &pair.prekey());

    // Whoever comes first is trusted.
    let mut device = passive(&start);
    reads(&mut *device, &by_impostor);
    refuses(&mut *device, &pair.prekey(), ErrorClass::UntrustedIdentity);
    reads(&mut *device, &impostor.prekey());
}

#[test]
fn an_identity_that_is_known_beforehand_is_trusted_and_no_other() {
    let mut pair = Pair::new();
    let first = pair.prekey();
    let knows = |address: &str, identity_key: Bytes| SignalStart {
        known_identities: vec![KnownIdentity { address: address.to_owned(), identity_key }],
        ..pair.start.clone()
    };
    let alice = identity(&mut pair.net, &pair.alice).device_key;
    let bob = identity(&mut pair.net, &pair.bob).device_key;
    refuses(&mut *passive(&knows(&pair.label, bob.clone())), &first, ErrorClass::UntrustedIdentity);
    reads(&mut *passive(&knows(&pair.label, alice.clone())), &first);

    // The same message under the name of somebody who is known by another key.
    let mut device = passive(&knows("carol.1", bob));
    refuses(&mut *device, &labelled(&first, "carol.1"), ErrorClass::UntrustedIdentity);
    reads(&mut *device, &first);
}

#[test]
fn prekeys_are_for_one_session() {
    let carol = phone("carol");
    let mut pair = Pair::new();
    let bundle = pair.net.claim(&pair.bob, &pair.alice).unwrap();
    pair.net.device(&pair.alice).unwrap().introduce(&bundle).unwrap();
    let start = standard_keys(&mut pair.net, &pair.bob);
    let from_alice = pair.prekey();
    pair.net.insert(&carol, adapter().device(&carol).unwrap());
    pair.net.device(&carol).unwrap().create_group(&team()).unwrap();
    let by_carol =
        pair.net.device(&carol).unwrap().resend(&team(), b"hello", &bundle, false).unwrap().packets.remove(0);
    let carols = label(&mut pair.net, &carol);
    let by_carol = delivery(DeliveryKind::PrekeyMessage, &carols, by_carol.bytes.as_ref());
    let mut device = passive(&start);
    reads(&mut *device, &from_alice);
    refuses(&mut *device, &by_carol, ErrorClass::NoKey);
    reads(&mut *device, &pair.prekey());
    reads(&mut *passive(&start), &by_carol);
}

#[test]
fn a_sender_key_message_is_refused_for_what_is_wrong_with_it_and_the_honest_one_is_read() {
    let mut pair = Pair::new();
    let mut device = passive(&pair.start);
    let (key, messages) = pair.speak(&["first", "second", "third"]);
    let from = pair.label.clone();
    let [first, second, third] = [0, 1, 2].map(|n| sender_key_message(&from, &messages[n]));
    let plaintext = reads(&mut *device, &delivery(DeliveryKind::PrekeyMessage, &from, key.bytes.as_ref()));
    let key = distribution(&from, &plaintext);
    refuses(&mut *device, &second, ErrorClass::NoKey);
    refuses(&mut *device, &with_bytes(&key, |bytes| bytes.truncate(64)), ErrorClass::BadRequest);
    refuses(&mut *device, &with_bytes(&key, |bytes| bytes.truncate(bytes.len() - 1)), ErrorClass::BadRequest);
    refuses(&mut *device, &with_bytes(&key, |bytes| bytes[0] = 0x43), ErrorClass::BadRequest);
    refuses(&mut *device, &second, ErrorClass::NoKey);
    device.deliver(&key).unwrap();

    let signature = second.bytes.0.len() - 64;
    refuses(&mut *device, &bent(&second, &second.bytes.0[signature..]), ErrorClass::AuthFailed);
    refuses(&mut *device, &bent(&second, &second.bytes.0[..signature]), ErrorClass::AuthFailed);
    refuses(&mut *device, &with_bytes(&second, |bytes| bytes.truncate(64)), ErrorClass::BadRequest);
    refuses(&mut *device, &labelled(&second, "carol.1"), ErrorClass::NoKey);
    assert_eq!(reads(&mut *device, &second).0, b"second");
    refuses(&mut *device, &second, ErrorClass::Duplicate);
    // A key that comes again winds nothing back.
    device.deliver(&key).unwrap();
    refuses(&mut *device, &second, ErrorClass::Duplicate);
    assert_eq!(reads(&mut *device, &first).0, b"first");
    assert_eq!(reads(&mut *device, &third).0, b"third");
}

#[test]
fn no_flipped_bit_of_a_first_message_spoils_the_honest_one() {
    let mut pair = Pair::new();
    let (first, second) = (pair.prekey(), pair.prekey());
    let mut refused = 0;
    // Every seventh, so that the eight places in a byte have their turn.
    for bit in (0..first.bytes.0.len() * 8).step_by(7) {
        let mut device = passive(&pair.start);
        match device.deliver(&with_bytes(&first, |bytes| bytes[bit / 8] ^= 1 << (bit % 8))) {
            Ok(delivered) => assert_eq!(delivered.sender, Some(pair.label.clone()), "bit {bit}"),
            Err(error) => {
                refused += 1;
                assert_ne!(error.class, ErrorClass::Internal, "bit {bit}: {error}");
                reads(&mut *device, &first);
            }
        }
        reads(&mut *device, &second);
    }
    assert!(refused > 2000, "{refused}");
}

#[test]
fn a_delivery_that_makes_no_sense_is_a_bad_request() {
    let mut pair = Pair::new();
    let mut device = passive(&pair.start);
    let honest = pair.prekey();
    for from in [None, Some(""), Some("alice"), Some("alice."), Some("alice.0"), Some("alice.128"), Some("alice.01")] {
        let delivery = Delivery { from: from.map(str::to_owned), ..honest.clone() };
        refuses(&mut *device, &delivery, ErrorClass::BadRequest);
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
    reads(&mut *device, &honest);
}

#[test]
fn a_start_that_is_none_of_ours_is_unsupported_and_one_that_is_broken_a_bad_request() {
    type Break<'a> = (&'a str, &'a dyn Fn(&mut SignalStart));

    let class = |start: &Start| adapter().passive(start).err().unwrap().class;
    assert_eq!(class(&Start::Megolm(MegolmStart {})), ErrorClass::Unsupported);

    let mut pair = Pair::new();
    let alice = identity(&mut pair.net, &pair.alice).device_key;
    let short = |bytes: &mut Bytes| bytes.0.truncate(bytes.0.len() - 1);
    let flip = |bytes: &mut Bytes| bytes.0[9] ^= 1;
    let known = |address: &str, identity_key: &[u8]| KnownIdentity {
        address: address.to_owned(),
        identity_key: identity_key.into(),
    };
    let breaks: [Break<'_>; 20] = [
        ("no device", &|start| start.address = "bob".into()),
        ("device 0", &|start| start.address = "bob.0".into()),
        ("registration id 0", &|start| start.registration_id = 0),
        ("15 bits of registration id", &|start| start.registration_id = 0x4000),
        ("short identity key", &|start| short(&mut start.identity_key_priv)),
        ("another identity key", &|start| flip(&mut start.identity_key_priv)),
        ("short one-time prekey", &|start| short(&mut start.one_time_prekeys[0].private)),
        ("two one-time prekeys of one number", &|start| start.one_time_prekeys.push(start.one_time_prekeys[0].clone())),
        ("short signed prekey", &|start| short(&mut start.signed_prekeys[0].private)),
        ("another signed prekey", &|start| flip(&mut start.signed_prekeys[0].private)),
        ("another signature", &|start| flip(&mut start.signed_prekeys[0].signature)),
        ("two signed prekeys of one number", &|start| start.signed_prekeys.push(start.signed_prekeys[0].clone())),
        ("short public Kyber prekey", &|start| short(&mut start.kyber_prekeys[0].public)),
        ("another public Kyber prekey", &|start| flip(&mut start.kyber_prekeys[0].public)),
        ("short Kyber prekey", &|start| short(&mut start.kyber_prekeys[0].private)),
        ("another Kyber prekey", &|start| flip(&mut start.kyber_prekeys[0].private)),
        ("another Kyber signature", &|start| flip(&mut start.kyber_prekeys[0].signature)),
        ("another type of Kyber prekey", &|start| start.kyber_prekeys[0].private.0[0] = 7),
        ("somebody without an address", &|start| start.known_identities.push(known("alice", alice.as_ref()))),
        ("an identity without its type", &|start| start.known_identities.push(known("alice.1", &alice.0[1..]))),
    ];
    for (what, break_it) in breaks {
        let mut start = pair.start.clone();
        break_it(&mut start);
        assert_eq!(class(&Start::Signal(start)), ErrorClass::BadRequest, "{what}");
    }
    let mut start = pair.start.clone();
    start.known_identities = vec![known("alice.1", alice.as_ref()); 2];
    assert_eq!(class(&Start::Signal(start)), ErrorClass::BadRequest, "two identities of one address");
    let first = pair.prekey();
    reads(&mut *passive(&pair.start), &first);
}
