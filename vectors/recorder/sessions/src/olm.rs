//! Olm: 3DH and the Double Ratchet between two devices, as one passive device sees them.
//!
//! It never replies, so that all of its correspondents' messages repeat how the session was opened. Normal messages are
//! what is inside of those: the server has stripped the header.

use anyhow::{Context, Result};
use e2esm_adapter::{Delivery, DeliveryKind, OlmStart, Prekey, Start};
use rand::Rng;
use rand::rngs::StdRng;
use vodozemac::olm::{Account, OlmMessage, Session, SessionConfig};
use vodozemac::{Curve25519PublicKey, Curve25519SecretKey};

use crate::alter::{Change, Layout, WHOLE};
use crate::dice;
use crate::scene::{
    AUTH, AUTH_BAD, AUTH_BAD_NO_KEY, AUTH_NO_KEY, BAD, NO_KEY, READ_BEFORE, Row, Scene, Sent, UNTRUSTED_AUTH,
    Want::{Open, Refuse},
    delivery,
};

/// The cipher suite of all of them.
pub(crate) const CIPHER_SUITE: &str = "X25519, HKDF-SHA-256, AES-256-CBC, HMAC-SHA-256 cut to 8 bytes";

const OPENING: Layout =
    Layout { packet: "prekey message that opens a session", head: &[("version", 1)], fields: PREKEY_FIELDS, tail: &[] };
const IN_SESSION: Layout =
    Layout { packet: "prekey message in a session", head: &[("version", 1)], fields: PREKEY_FIELDS, tail: &[] };
const PREKEY_FIELDS: &[(u32, &str)] = &[(1, "one_time_key"), (2, "base_key"), (3, "identity_key"), (4, "message")];
const MESSAGE: Layout = Layout {
    packet: "normal message",
    head: &[("version", 1)],
    fields: &[(1, "ratchet_key"), (2, "chain_index"), (4, "ciphertext")],
    tail: &[("mac", 8)],
};

const fn key(first: u8, middle: u8, last: u8) -> [u8; 32] {
    let mut key = [middle; 32];
    (key[0], key[31]) = (first, last);
    key
}

/// Curve25519 public keys of small order: u = 0, 1, -1 and one of order 8 (RFC 7748, section 6.1).
const ZERO: Change = Change::Set("replaced by the all-zero key", &key(0, 0, 0));
const ONE: Change = Change::Set("replaced by a key of order 4", &key(1, 0, 0));
const MINUS_ONE: Change = Change::Set("replaced by a key of order 4 on the twist", &key(0xec, 0xff, 0x7f));
const ORDER_8: Change = Change::Set(
    "replaced by a key of order 8",
    &[
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a, 0xda, 0x09,
        0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00,
    ],
);
const VERSION_4: Change = Change::Set("set to 4, which the present format is not", &[4]);
const FAR: Change = Change::Set("set to 2^32 - 1", &[0xff; 4]);

const OPENING_KEYS: &[Row] = &[
    ("one_time_key", Change::Flipped, Refuse(NO_KEY)),
    ("one_time_key", Change::Swapped, Refuse(AUTH)),
    ("one_time_key", ZERO, Refuse(NO_KEY)),
    ("one_time_key", Change::Doubled, Refuse(NO_KEY)),
    ("one_time_key", Change::Removed, Refuse(BAD)),
    ("one_time_key", Change::Emptied, Refuse(BAD)),
    ("one_time_key", Change::Cut, Refuse(BAD)),
    ("one_time_key", Change::Extended, Refuse(BAD)),
    ("one_time_key", Change::WireType, Refuse(BAD)),
    ("base_key", Change::Flipped, Refuse(AUTH)),
    ("base_key", Change::Swapped, Refuse(AUTH)),
    ("base_key", ZERO, Refuse(AUTH_BAD)),
    ("base_key", ONE, Refuse(AUTH_BAD)),
    ("base_key", MINUS_ONE, Refuse(AUTH_BAD)),
    ("base_key", ORDER_8, Refuse(AUTH_BAD)),
    ("base_key", Change::Doubled, Refuse(AUTH)),
    ("base_key", Change::Removed, Refuse(BAD)),
    ("base_key", Change::Emptied, Refuse(BAD)),
    ("base_key", Change::Cut, Refuse(BAD)),
    ("base_key", Change::Extended, Refuse(BAD)),
    ("base_key", Change::WireType, Refuse(BAD)),
];

const OPENING_REST: &[Row] = &[
    ("identity_key", Change::Flipped, Refuse(UNTRUSTED_AUTH)),
    ("identity_key", Change::Swapped, Refuse(UNTRUSTED_AUTH)),
    ("identity_key", Change::Doubled, Refuse(UNTRUSTED_AUTH)),
    ("identity_key", Change::Emptied, Refuse(BAD)),
    ("identity_key", Change::Cut, Refuse(BAD)),
    ("identity_key", Change::Extended, Refuse(BAD)),
    ("message", Change::Flipped, Refuse(AUTH_BAD)),
    ("message", Change::Swapped, Refuse(AUTH)),
    ("message", Change::Doubled, Refuse(AUTH_BAD)),
    ("message", Change::Removed, Refuse(BAD)),
    ("message", Change::Emptied, Refuse(BAD)),
    ("message", Change::Cut, Refuse(AUTH_BAD)),
    ("message", Change::Extended, Refuse(AUTH_BAD)),
    ("message", Change::WireType, Refuse(BAD)),
    (WHOLE, Change::Emptied, Refuse(BAD)),
    (WHOLE, Change::Cut, Refuse(BAD)),
    (WHOLE, Change::Halved, Refuse(BAD)),
];

/// Nothing in the header is under a tag, and the version is in no key either.
const OPENING_OPEN: &[Row] =
    &[("version", Change::Flipped, Open), ("version", VERSION_4, Open), ("version", Change::Zeroed, Open)];

const HEADER_OPEN: &[Row] = &[
    ("one_time_key", Change::Flipped, Open),
    ("one_time_key", ZERO, Open),
    ("one_time_key", Change::Removed, Open),
    ("base_key", Change::Flipped, Open),
    ("base_key", ZERO, Open),
    ("base_key", Change::Cut, Open),
];

const HEADER_REFUSED: &[Row] = &[
    ("message", Change::Flipped, Refuse(AUTH_BAD)),
    ("message", Change::Cut, Refuse(AUTH_BAD)),
    ("message", Change::Removed, Refuse(BAD)),
];

const MESSAGE_FIELDS: &[Row] = &[
    ("version", Change::Flipped, Refuse(BAD)),
    ("version", VERSION_4, Refuse(AUTH_BAD)),
    ("version", Change::Zeroed, Refuse(BAD)),
    ("ratchet_key", Change::Flipped, Refuse(AUTH)),
    ("ratchet_key", Change::Swapped, Refuse(AUTH)),
    ("ratchet_key", ZERO, Refuse(AUTH_BAD)),
    ("ratchet_key", ONE, Refuse(AUTH_BAD)),
    ("ratchet_key", MINUS_ONE, Refuse(AUTH_BAD)),
    ("ratchet_key", ORDER_8, Refuse(AUTH_BAD)),
    ("ratchet_key", Change::Doubled, Refuse(AUTH)),
    ("ratchet_key", Change::Removed, Refuse(BAD)),
    ("ratchet_key", Change::Emptied, Refuse(BAD)),
    ("ratchet_key", Change::Cut, Refuse(BAD)),
    ("ratchet_key", Change::Extended, Refuse(BAD)),
    ("ratchet_key", Change::WireType, Refuse(BAD)),
    ("chain_index", Change::Flipped, Refuse(AUTH)),
    ("chain_index", Change::Increased, Refuse(AUTH)),
    ("chain_index", Change::Decreased, Refuse(READ_BEFORE)),
    ("chain_index", Change::Zeroed, Refuse(READ_BEFORE)),
    ("chain_index", FAR, Refuse(AUTH_NO_KEY)),
    ("chain_index", Change::Doubled, Refuse(AUTH)),
    ("chain_index", Change::Removed, Refuse(AUTH_BAD_NO_KEY)),
    ("chain_index", Change::WireType, Refuse(BAD)),
    ("ciphertext", Change::Flipped, Refuse(AUTH)),
    ("ciphertext", Change::Swapped, Refuse(AUTH)),
    ("ciphertext", Change::Zeroed, Refuse(AUTH)),
    ("ciphertext", Change::Doubled, Refuse(AUTH)),
    ("ciphertext", Change::Removed, Refuse(AUTH_BAD)),
    ("ciphertext", Change::Emptied, Refuse(AUTH_BAD)),
    ("ciphertext", Change::Cut, Refuse(AUTH_BAD)),
    ("ciphertext", Change::Extended, Refuse(AUTH_BAD)),
    ("ciphertext", Change::WireType, Refuse(AUTH_BAD)),
    ("mac", Change::Flipped, Refuse(AUTH)),
    ("mac", Change::Swapped, Refuse(AUTH)),
    ("mac", Change::Zeroed, Refuse(AUTH)),
    ("mac", Change::Removed, Refuse(AUTH_BAD)),
    ("mac", Change::Cut, Refuse(AUTH_BAD)),
    ("mac", Change::Extended, Refuse(AUTH_BAD)),
    (WHOLE, Change::Emptied, Refuse(BAD)),
    (WHOLE, Change::Halved, Refuse(AUTH_BAD)),
];

/// The keys of a passive device.
struct Keys(OlmStart);

impl Keys {
    fn new(one_time_keys: u32, rng: &mut StdRng) -> Self {
        let mut fresh = || rng.random::<[u8; 32]>().as_slice().into();
        Self(OlmStart {
            ed25519_priv: fresh(),
            curve25519_priv: fresh(),
            one_time_keys: (1..=one_time_keys).map(|id| Prekey { id, private: fresh() }).collect(),
        })
    }

    fn start(&self) -> Start {
        Start::Olm(self.0.clone())
    }

    /// The same without one of the one-time keys that it has published.
    fn start_without(&self, id: u32) -> Start {
        let mut start = self.0.clone();
        start.one_time_keys.retain(|key| key.id != id);
        Start::Olm(start)
    }

    fn one_time_key(&self, id: u32) -> Result<Curve25519PublicKey> {
        let key = self.0.one_time_keys.iter().find(|key| key.id == id).context("no such one-time key")?;
        public(key.private.as_ref())
    }
}

fn public(private: &[u8]) -> Result<Curve25519PublicKey> {
    let private: &[u8; 32] = private.try_into()?;
    Ok((&Curve25519SecretKey::from_slice(private)).into())
}

/// A live device and its session.
struct Person {
    account: Account,
    session: Option<Session>,
}

impl Person {
    fn new() -> Self {
        Self { account: Account::new(), session: None }
    }

    fn name(&self) -> String {
        hex::encode(self.account.curve25519_key().as_bytes())
    }

    /// Begins a session, with this one-time key; what was there before is forgotten.
    fn open(&mut self, with: &Keys, one_time_key: u32) -> Result<()> {
        let identity = public(with.0.curve25519_priv.as_ref())?;
        let config = SessionConfig::version_1();
        self.session =
            Some(self.account.create_outbound_session(config, identity, with.one_time_key(one_time_key)?)?);
        Ok(())
    }

    fn say(&mut self, text: &str) -> Result<Sent> {
        let message = match self.session.as_mut().context("no session")?.encrypt(text)? {
            OlmMessage::PreKey(message) => message.to_bytes(),
            OlmMessage::Normal(_) => anyhow::bail!("a normal message, though nobody has answered"),
        };
        let from = self.name();
        Ok(Sent {
            delivery: delivery(DeliveryKind::PrekeyMessage, Some(&from), &message),
            text: text.as_bytes().to_vec(),
            index: None,
            sender: from,
        })
    }

    /// The same without the header that repeats how the session was opened.
    fn say_plainly(&mut self, text: &str) -> Result<Sent> {
        let sent = self.say(text)?;
        let inner = OPENING.bytes_of(sent.bytes(), "message")?;
        let delivery = Delivery { kind: DeliveryKind::Message, ..sent.with(inner) };
        Ok(Sent { delivery, ..sent })
    }
}

/// Every vector of Olm's.
pub(crate) fn scenes(date: &str) -> Result<Vec<Scene>> {
    Ok(vec![
        session(date)?,
        two_senders(date)?,
        second_session(date)?,
        out_of_order(date)?,
        lost(date)?,
        openings_out_of_order(date)?,
        replayed(date)?,
        opening_replayed(date)?,
        key_used_twice(date)?,
        unknown_key(date)?,
        relabelled_opening(date)?,
        relabelled(date)?,
        false_identity(date)?,
        second_device(date)?,
        altered_opening(
            date,
            "olm/authentication/altered-opening-keys",
            "One-time key and base key of an opening message, altered",
            "Alice opens a session. Ahead of her message come copies of it with another one-time key or base key, \
             among them keys of small order, with which every agreement is zero. A sound device refuses each, spends \
             no one-time key on it, and then takes the message itself.",
            OPENING_KEYS,
        )?,
        altered_opening(
            date,
            "olm/authentication/altered-opening-rest",
            "Identity key and content of an opening message, altered",
            "Alice opens a session. Ahead of her message come copies of it with another identity key, or with the \
             message inside it altered, and pieces of it. A sound device refuses each, spends no one-time key on it, \
             and then takes the message itself.",
            OPENING_REST,
        )?,
        opening_open(date)?,
        header(date)?,
        altered(date)?,
    ])
}

fn session(date: &str) -> Result<Scene> {
    let id = "olm/authentication/session";
    let bob = Keys::new(1, &mut dice(id));
    let mut alice = Person::new();
    alice.open(&bob, 1)?;
    let mut scene = Scene::new(
        id,
        "A session",
        "Alice opens a session with Bob's identity key and a one-time key of his. He reads what she writes, as hers. \
         Until she hears from him each of her messages repeats how the session was opened; two come without that \
         header.",
        &["R1"],
        date,
        bob.start(),
    );
    scene.read("m0", "Opens the session.", &alice.say("m0: hello, Bob")?);
    scene.read("m1", "", &alice.say("m1: are you there?")?);
    scene.read("m2", "An empty text.", &alice.say("")?);
    scene.read("m3", "Without the header: a normal message.", &alice.say_plainly("m3: a normal message")?);
    scene.read(
        "m4",
        "Longer than one block of the cipher, and not all ASCII.",
        &alice.say("m4: äöü ß 安全, and so on and on")?,
    );
    scene.read("m5", "", &alice.say_plainly("m5: the end")?);
    Ok(scene)
}

fn two_senders(date: &str) -> Result<Scene> {
    let id = "olm/authentication/two-senders";
    let bob = Keys::new(2, &mut dice(id));
    let (mut alice, mut carol) = (Person::new(), Person::new());
    alice.open(&bob, 1)?;
    carol.open(&bob, 2)?;
    let mut scene = Scene::new(
        id,
        "Two senders at once",
        "Alice and Carol write to Bob at the same time. Each message is shown as the one's who wrote it.",
        &["R1"],
        date,
        bob.start(),
    );
    for round in 0..4 {
        scene.read(&format!("a{round}"), "", &alice.say(&format!("a{round}: this is Alice"))?);
        scene.read(&format!("c{round}"), "", &carol.say(&format!("c{round}: this is Carol"))?);
    }
    Ok(scene)
}

fn second_session(date: &str) -> Result<Scene> {
    let id = "olm/integrity/second-session";
    let bob = Keys::new(2, &mut dice(id));
    let mut alice = Person::new();
    let mut scene = Scene::new(
        id,
        "A second session of the same sender",
        "Alice opens a second session with Bob, with another one-time key. Messages of the first one are still on \
         their way. A sound device reads both, each in its session.",
        &["L1"],
        date,
        bob.start(),
    );
    alice.open(&bob, 1)?;
    scene.read("m0", "Opens the first session.", &alice.say("m0: hello, Bob")?);
    let (m1, m2) = (alice.say("m1: on its way")?, alice.say_plainly("m2: on its way, too")?);
    alice.open(&bob, 2)?;
    scene.read("n0", "Opens the second session.", &alice.say("n0: from the start")?);
    scene.read_out_of_order("m1", "Of the first session, and late.", &m1);
    scene.read("n1", "", &alice.say("n1: once more")?);
    scene.read_out_of_order("m2", "Of the first session, late, and without the header that says so.", &m2);
    scene.read("n2", "", &alice.say_plainly("n2: the end")?);
    Ok(scene)
}

/// The order in which nine messages come.
const SHUFFLED: [usize; 9] = [4, 2, 8, 0, 7, 1, 3, 6, 5];

fn out_of_order(date: &str) -> Result<Scene> {
    let id = "olm/integrity/out-of-order";
    let bob = Keys::new(1, &mut dice(id));
    let mut alice = Person::new();
    alice.open(&bob, 1)?;
    let mut scene = Scene::new(
        id,
        "Messages in any order",
        "Alice writes nine messages before she hears from Bob. The network brings them in another order, so that not \
         her first one opens the session. A sound device reads all of them.",
        &["L1"],
        date,
        bob.start(),
    );
    let messages: Vec<_> =
        (0..SHUFFLED.len()).map(|number| alice.say(&format!("m{number}: one of nine"))).collect::<Result<_>>()?;
    for number in SHUFFLED {
        scene.read_out_of_order(&format!("m{number}"), "", &messages[number]);
    }
    let mut more = Vec::new();
    for number in 9..49 {
        more.push((number, alice.say_plainly(&format!("m{number}: one of many"))?));
    }
    more.sort_by_key(|(number, _)| (number % 5, *number));
    for (number, sent) in more {
        scene.read_out_of_order(&format!("m{number}"), "", &sent);
    }
    Ok(scene)
}

fn lost(date: &str) -> Result<Scene> {
    let id = "olm/integrity/lost-messages";
    let bob = Keys::new(1, &mut dice(id));
    let mut alice = Person::new();
    alice.open(&bob, 1)?;
    let mut scene = Scene::new(
        id,
        "Messages that never come",
        "Alice's first message never comes, and later many in a row do not. A sound device reads what does come; a \
         message that was held back is still read.",
        &["L1"],
        date,
        bob.start(),
    );
    alice.say("m0: never delivered")?;
    let held_back = alice.say("m1: held back")?;
    scene.read_out_of_order(
        "m2",
        "Opens the session; two messages before it have not come.",
        &alice.say("m2: first to come")?,
    );
    for number in 3..30 {
        alice.say(&format!("m{number}: never delivered"))?;
    }
    scene.read_out_of_order("m30", "After 27 that have not come.", &alice.say("m30: after a gap")?);
    scene.read_out_of_order("m1", "Held back until now.", &held_back);
    scene.read("m31", "", &alice.say("m31: as usual")?);
    Ok(scene)
}

fn openings_out_of_order(date: &str) -> Result<Scene> {
    let id = "olm/integrity/openings-out-of-order";
    let bob = Keys::new(3, &mut dice(id));
    let mut alice = Person::new();
    let mut scene = Scene::new(
        id,
        "Sessions whose opening messages come in the wrong order",
        "Alice opens three sessions with Bob in a row. The message that opened the first comes last. A sound device \
         reads all.",
        &["L1"],
        date,
        bob.start(),
    );
    let mut opened = Vec::new();
    for number in 0..3 {
        alice.open(&bob, 1 + number)?;
        opened.push(alice.say(&format!("s{number}: the first of session {number}"))?);
        opened.push(alice.say_plainly(&format!("t{number}: the second of session {number}"))?);
    }
    scene.read_out_of_order("s2", "Opens the third session.", &opened[4]);
    scene.read_out_of_order("s1", "Opens the second.", &opened[2]);
    scene.read_out_of_order("t2", "", &opened[5]);
    scene.read_out_of_order("s0", "Opens the first.", &opened[0]);
    scene.read_out_of_order("t1", "", &opened[3]);
    scene.read_out_of_order("t0", "", &opened[1]);
    Ok(scene)
}

fn replayed(date: &str) -> Result<Scene> {
    let id = "olm/authentication/replayed-message";
    let bob = Keys::new(1, &mut dice(id));
    let mut alice = Person::new();
    alice.open(&bob, 1)?;
    let mut scene = Scene::new(
        id,
        "A message delivered again",
        "The server delivers messages of Alice's a second time: at once, after later ones, one that had come late, \
         and one without its header. A sound device shows none of them twice: their keys are used up.",
        &["R1"],
        date,
        bob.start(),
    );
    scene.read("m0", "Opens the session.", &alice.say("m0: hello, Bob")?);
    let (m1, m2) = (alice.say_plainly("m1: pay him")?, alice.say_plainly("m2: ten euros")?);
    let (m3, m4) = (alice.say("m3: today")?, alice.say_plainly("m4: please")?);
    let again = |change| (MESSAGE.packet, WHOLE, change);
    scene.read("m1", "", &m1);
    scene.refuse("m1-again", "", m1.delivery.clone(), &["Replayed"], again("delivered again"), "m1", READ_BEFORE);
    scene.read_out_of_order("m3", "m2 is still on its way.", &m3);
    let fault = again("delivered again after later ones");
    scene.refuse("m1-after-m3", "", m1.delivery.clone(), &["Replayed"], fault, "m1", READ_BEFORE);
    scene.read_out_of_order("m2", "Late.", &m2);
    let fault = again("delivered again, after it had come late");
    scene.refuse("m2-again", "", m2.delivery.clone(), &["Replayed"], fault, "m2", READ_BEFORE);
    let inner = OPENING.bytes_of(m3.bytes(), "message")?;
    let stripped = Delivery { kind: DeliveryKind::Message, ..m3.with(inner) };
    let fault = again("delivered again without its prekey header");
    scene.refuse("m3-again", "m3 had come with its header.", stripped, &["Replayed"], fault, "m4", READ_BEFORE);
    scene.read("m4", "", &m4);
    Ok(scene)
}

fn opening_replayed(date: &str) -> Result<Scene> {
    let id = "olm/authentication/replayed-opening";
    let bob = Keys::new(2, &mut dice(id));
    let mut alice = Person::new();
    let mut scene = Scene::new(
        id,
        "An opening message delivered again",
        "The server delivers the message with which Alice opened a session a second time: at once, and when she has \
         long opened another. A sound device does not read it again.",
        &["R1"],
        date,
        bob.start(),
    );
    alice.open(&bob, 1)?;
    let m0 = alice.say("m0: hello, Bob")?;
    scene.read("m0", "Opens the session.", &m0);
    let fault = (OPENING.packet, WHOLE, "delivered again");
    scene.refuse("m0-again", "At once.", m0.delivery.clone(), &["Replayed"], fault, "m0", READ_BEFORE);
    scene.read("m1", "", &alice.say("m1: still there")?);
    alice.open(&bob, 2)?;
    scene.read("n0", "Opens another session.", &alice.say("n0: from the start")?);
    let fault = (OPENING.packet, WHOLE, "delivered again after another session was opened");
    scene.refuse("m0-after-n0", "", m0.delivery.clone(), &["Replayed"], fault, "m0", READ_BEFORE);
    scene.read("n1", "The later session goes on.", &alice.say("n1: all well")?);
    Ok(scene)
}

fn key_used_twice(date: &str) -> Result<Scene> {
    let id = "olm/authentication/one-time-key-given-twice";
    let bob = Keys::new(2, &mut dice(id));
    let (mut alice, mut carol) = (Person::new(), Person::new());
    let mut scene = Scene::new(
        id,
        "One one-time key given to two people",
        "The server gives one of Bob's one-time keys to Alice and to Carol, and to Alice a second time. What is for \
         one use is gone after it: a sound device refuses the later opening messages.",
        &["R1"],
        date,
        bob.start(),
    );
    alice.open(&bob, 1)?;
    carol.open(&bob, 1)?;
    scene.read("a0", "Spends one-time key 1.", &alice.say("a0: hello, Bob")?);
    scene.read("a1", "", &alice.say("a1: how are you?")?);
    let fault = (OPENING.packet, "one_time_key", "one that somebody else has used");
    scene.refuse("c0", "", carol.say("c0: me too")?.delivery, &["UnknownPrekey"], fault, "c1", NO_KEY);
    alice.open(&bob, 1)?;
    let fault = (OPENING.packet, "one_time_key", "one that the sender has used before");
    scene.refuse("b0", "Alice again.", alice.say("b0: once more")?.delivery, &["UnknownPrekey"], fault, "a0", NO_KEY);
    carol.open(&bob, 2)?;
    scene.read("c1", "With a one-time key of her own.", &carol.say("c1: at last")?);
    scene.read("c2", "", &carol.say("c2: all well")?);
    Ok(scene)
}

fn unknown_key(date: &str) -> Result<Scene> {
    let id = "olm/authentication/one-time-key-of-an-earlier-installation";
    let bob = Keys::new(2, &mut dice(id));
    let mut alice = Person::new();
    let mut scene = Scene::new(
        id,
        "A one-time key that the device does not have any more",
        "The server hands out a one-time key that Bob has thrown away. Alice's opening message is honest, and \
         nothing here opens it, nor the normal message that follows. A sound device says so, and takes the session \
         that she opens with a key it has.",
        &["R1"],
        date,
        bob.start_without(2),
    );
    alice.open(&bob, 2)?;
    let fault = (OPENING.packet, "one_time_key", "one that was thrown away");
    scene.refuse("lost-0", "", alice.say("are you there?")?.delivery, &["UnknownPrekey"], fault, "m0", NO_KEY);
    let fault = (MESSAGE.packet, WHOLE, "of a session that could not be opened");
    scene.refuse("lost-1", "", alice.say_plainly("are you?")?.delivery, &["UnknownPrekey"], fault, "m1", NO_KEY);
    alice.open(&bob, 1)?;
    scene.read("m0", "With a key that the device has.", &alice.say("m0: there you are")?);
    scene.read("m1", "", &alice.say_plainly("m1: good")?);
    Ok(scene)
}

fn relabelled_opening(date: &str) -> Result<Scene> {
    let id = "olm/authentication/relabelled-opening";
    let bob = Keys::new(2, &mut dice(id));
    let (mut alice, mut carol) = (Person::new(), Person::new());
    alice.open(&bob, 1)?;
    carol.open(&bob, 2)?;
    let mut scene = Scene::new(
        id,
        "An opening message under another sender's name",
        "The server delivers the message with which Alice opens a session as that of Carol's device, whom Bob has \
         not met and then has. The message names its sender's identity key, so a sound device sees that it is not \
         Carol's.",
        &["R1", "R6"],
        date,
        bob.start(),
    );
    let (a0, c0) = (alice.say("a0: it is me, Alice")?, carol.say("c0: it is me, Carol")?);
    let carols = c0.sender.clone();
    let stranger = (OPENING.packet, "from", "delivered under another sender's label");
    scene.refuse(
        "a0-as-carol",
        "Carol is a stranger.",
        a0.labelled(&carols),
        &["Relabelled"],
        stranger,
        "a0",
        UNTRUSTED_AUTH,
    );
    scene.read("c0", "", &c0);
    let known = (OPENING.packet, "from", "delivered under the label of another sender with a session");
    scene.refuse(
        "a0-as-carol-again",
        "Carol has a session.",
        a0.labelled(&carols),
        &["Relabelled"],
        known,
        "a0",
        UNTRUSTED_AUTH,
    );
    scene.read("a0", "Under its own label.", &a0);
    scene.read("a1", "", &alice.say("a1: all well")?);
    scene.read("c1", "", &carol.say("c1: fine")?);
    Ok(scene)
}

fn relabelled(date: &str) -> Result<Scene> {
    let id = "olm/authentication/relabelled-message";
    let bob = Keys::new(2, &mut dice(id));
    let (mut alice, mut carol, mallory) = (Person::new(), Person::new(), Person::new());
    alice.open(&bob, 1)?;
    carol.open(&bob, 2)?;
    let mut scene = Scene::new(
        id,
        "A message under another sender's name",
        "Alice and Carol have sessions with Bob. The server delivers a normal message of Alice's as Carol's and as a \
         stranger's. A sound device opens it with the sessions of the sender that is claimed, so it does not open.",
        &["R1"],
        date,
        bob.start(),
    );
    scene.read("a0", "", &alice.say("a0: it is me, Alice")?);
    let c0 = carol.say("c0: it is me, Carol")?;
    scene.read("c0", "", &c0);
    let a1 = alice.say_plainly("a1: trust me")?;
    let other = (MESSAGE.packet, "from", "delivered under the label of another sender with a session");
    scene.refuse("a1-as-carol", "", a1.labelled(&c0.sender), &["Relabelled"], other, "a1", AUTH_NO_KEY);
    let stranger = (MESSAGE.packet, "from", "delivered under the label of somebody without a session");
    scene.refuse("a1-as-mallory", "", a1.labelled(&mallory.name()), &["Relabelled"], stranger, "a1", NO_KEY);
    scene.read("a1", "Under its own label.", &a1);
    scene.read("c1", "Carol's session has not suffered.", &carol.say_plainly("c1: fine")?);
    Ok(scene)
}

fn false_identity(date: &str) -> Result<Scene> {
    let id = "olm/authentication/false-identity";
    let bob = Keys::new(3, &mut dice(id));
    let (mut alice, mut mallory) = (Person::new(), Person::new());
    alice.open(&bob, 1)?;
    mallory.open(&bob, 2)?;
    let mut scene = Scene::new(
        id,
        "Somebody else's identity key in an opening message",
        "Mallory opens a session and puts Alice's identity key into her message, and it is delivered as Alice's. \
         Then she takes Alice's message, puts her own identity key into it, and has it delivered as hers. The \
         identity key is part of the shared secret, so a sound device refuses both.",
        &["R1", "R6"],
        date,
        bob.start(),
    );
    let (a0, f0) = (alice.say("a0: it is me, Alice")?, mallory.say("f0: it is me, Alice")?);
    let identity = |sent: &Sent| OPENING.bytes_of(sent.bytes(), "identity_key");
    let as_alice = OPENING.replace(f0.bytes(), "identity_key", identity(&a0)?)?;
    let forged = Delivery { from: Some(a0.sender.clone()), ..f0.with(as_alice) };
    let fault = (OPENING.packet, "identity_key and from", "those of somebody whose key the maker does not have");
    scene.refuse("f0-as-alice", "Mallory's session with Alice's key.", forged, &["SwappedIdentity"], fault, "a0", AUTH);
    let taken = OPENING.replace(a0.bytes(), "identity_key", identity(&f0)?)?;
    let forged = Delivery { from: Some(f0.sender.clone()), ..a0.with(taken) };
    let fault = (OPENING.packet, "identity_key and from", "those of somebody who claims another's message");
    scene.refuse(
        "a0-as-mallory",
        "Alice's message with Mallory's key.",
        forged,
        &["SwappedIdentity"],
        fault,
        "a0",
        AUTH,
    );
    let zero = OPENING.replace(f0.bytes(), "identity_key", vec![0; 32])?;
    let forged = Delivery { from: Some(hex::encode([0; 32])), ..f0.with(zero) };
    let fault = (OPENING.packet, "identity_key and from", "the all-zero key");
    scene.refuse(
        "f0-as-nobody",
        "An identity key of which nobody has the private one.",
        forged,
        &["DegenerateKey"],
        fault,
        "a0",
        AUTH_BAD,
    );
    scene.read("a0", "Alice's message as she sent it.", &a0);
    scene.read("f0", "Mallory's, under her own name.", &f0);
    alice.open(&bob, 3)?;
    scene.read("a1", "", &alice.say("a1: once more")?);
    Ok(scene)
}

fn second_device(date: &str) -> Result<Scene> {
    let id = "olm/device-addition/second-device";
    let bob = Keys::new(2, &mut dice(id));
    let (mut phone, mut tablet) = (Person::new(), Person::new());
    phone.open(&bob, 1)?;
    tablet.open(&bob, 2)?;
    let mut scene = Scene::new(
        id,
        "A second device of one sender",
        "Alice's phone has a session with Bob. Then her tablet opens one; it is a device of its own, with its own \
         identity key. The server delivers the tablet's first message as the phone's, and a message of the phone's \
         as the tablet's. A sound device keeps the two apart.",
        &["R1", "R2"],
        date,
        bob.start(),
    );
    let p0 = phone.say("p0: from the phone")?;
    scene.read("p0", "", &p0);
    let t0 = tablet.say("t0: from the tablet")?;
    let fault = (OPENING.packet, "from", "of a new device, delivered as an old one's");
    scene.refuse("t0-as-phone", "", t0.labelled(&p0.sender), &["Relabelled"], fault, "t0", UNTRUSTED_AUTH);
    scene.read("t0", "", &t0);
    let p1 = phone.say_plainly("p1: from the phone")?;
    let fault = (MESSAGE.packet, "from", "of an old device, delivered as a new one's");
    scene.refuse("p1-as-tablet", "", p1.labelled(&t0.sender), &["Relabelled"], fault, "p1", AUTH_NO_KEY);
    scene.read("p1", "", &p1);
    scene.read("t1", "", &tablet.say("t1: from the tablet")?);
    Ok(scene)
}

/// Alice's opening message with altered copies before it. What is swapped is that of carol's, who uses another one-time key.
fn altered_opening(date: &str, id: &str, title: &str, description: &str, rows: &[Row]) -> Result<Scene> {
    let bob = Keys::new(2, &mut dice(id));
    let (mut alice, mut carol) = (Person::new(), Person::new());
    alice.open(&bob, 1)?;
    carol.open(&bob, 2)?;
    let (m0, c0) = (alice.say("m0: here I am")?, carol.say("c0: me too")?);
    let mut scene = Scene::new(id, title, description, &["R1"], date, bob.start());
    scene.altered_copies(&OPENING, rows, Some(&c0), &m0, "m0")?;
    scene.read("m0", "The message itself: none of the copies has spent its one-time key.", &m0);
    scene.read("c0", "Carol's opening message, with the other one-time key.", &c0);
    for number in 0..rows.len() / 2 {
        scene.next(&alice.say_plainly(&format!("{number} more"))?);
        scene.next(&carol.say_plainly(&format!("{number} more of Carol's"))?);
    }
    Ok(scene)
}

fn opening_open(date: &str) -> Result<Scene> {
    let id = "olm/authentication/opening-unauthenticated";
    let rng = &mut dice(id);
    let mut keys = 0;
    let bob = Keys::new(u32::try_from(OPENING_OPEN.len())?, rng);
    let mut alice = Person::new();
    let mut scene = Scene::new(
        id,
        "What nothing authenticates in an opening message",
        "Alice opens one session after the other. The version of an opening message is under no tag and in no key. A \
         device may refuse a message in which it is altered, or read it; if it reads it, it is Alice's message as \
         she wrote it.",
        &["R1"],
        date,
        bob.start(),
    );
    for row in OPENING_OPEN {
        keys += 1;
        alice.open(&bob, keys)?;
        let (first, second) =
            (alice.say(&format!("session {keys}, first"))?, alice.say(&format!("session {keys}, second"))?);
        let twin = format!("session-{keys}");
        scene.altered_copies(&OPENING, &[*row], None, &first, &twin)?;
        scene.read(&twin, "The second message of the session, which opens it if the first has not.", &second);
    }
    Ok(scene)
}

fn header(date: &str) -> Result<Scene> {
    let id = "olm/authentication/header-in-session";
    let bob = Keys::new(1, &mut dice(id));
    let mut alice = Person::new();
    alice.open(&bob, 1)?;
    let mut scene = Scene::new(
        id,
        "The header that repeats how a session was opened, altered",
        "Until she hears from Bob, Alice repeats in each message how she opened the session. When the session is \
         there already, that header says nothing new, and nothing authenticates it. A device may refuse a message \
         whose one-time key or base key is altered, or read it as Alice wrote it. The message inside is \
         authenticated as ever.",
        &["R1"],
        date,
        bob.start(),
    );
    scene.read("m0", "Opens the session.", &alice.say("m0: here I am")?);
    for row in HEADER_OPEN {
        scene.altered_copies(&IN_SESSION, &[*row], None, &alice.say("one more")?, "twin")?;
    }
    for row in HEADER_REFUSED {
        let sent = alice.say("one more")?;
        let name = format!("after-{}", row.1.label().replace(' ', "-"));
        scene.altered_copies(&IN_SESSION, &[*row], None, &sent, &name)?;
        scene.read(&name, "The message itself.", &sent);
    }
    scene.read("twin", "A message of the same session with its header as it was sent.", &alice.say("the last")?);
    for number in 0..8 {
        scene.next(&alice.say(&format!("{number} more"))?);
    }
    Ok(scene)
}

fn altered(date: &str) -> Result<Scene> {
    let id = "olm/authentication/altered-message";
    let bob = Keys::new(2, &mut dice(id));
    let (mut alice, mut carol) = (Person::new(), Person::new());
    alice.open(&bob, 1)?;
    carol.open(&bob, 2)?;
    let mut scene = Scene::new(
        id,
        "Every field of a normal message, altered",
        "Alice has opened a session; her messages come here without the header that repeats how. Ahead of each comes \
         a copy with one field altered. A sound device refuses the copy, since everything is under its tag, and then \
         reads the message: a refusal has neither used up its key nor moved the ratchet.",
        &["R1"],
        date,
        bob.start(),
    );
    scene.read("m0", "Opens the session.", &alice.say("m0: here I am")?);
    scene.read("c0", "Carol's session, from which swapped fields are.", &carol.say("c0: me too")?);
    let donor = carol.say_plainly("c1: it is raining")?;
    scene.read("c1", "The message that swapped fields are from.", &donor);
    let mut number = 0;
    scene.one_altered_copy_each(&MESSAGE, MESSAGE_FIELDS, &donor, || {
        number += 1;
        alice.say_plainly(&format!("message {number}"))
    })?;
    Ok(scene)
}
