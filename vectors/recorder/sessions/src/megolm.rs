//! Megolm: a group's ratchet for one sender, as one receiver sees it.

use anyhow::{Context, Result};
use e2esm_adapter::{Delivery, DeliveryKind, MegolmStart, Start};
use ed25519_dalek::{Signer, SigningKey};
use vodozemac::megolm::{GroupSession, InboundGroupSession, SessionConfig};

use crate::alter::{Change, Layout, WHOLE};
use crate::scene::{AUTH, AUTH_BAD, AUTH_NO_KEY, BAD, NO_KEY, Row, Scene, Sent, Want::Refuse, delivery};

/// The cipher suite of all of them.
pub(crate) const CIPHER_SUITE: &str = "Ed25519, HMAC-SHA-256 cut to 8 bytes, HKDF-SHA-256, AES-256-CBC";

const MESSAGE: Layout = Layout {
    packet: "message",
    head: &[("version", 1)],
    fields: &[(1, "message_index"), (2, "ciphertext")],
    tail: &[("mac", 8), ("signature", 64)],
};
/// The session sharing format.
const KEY: Layout = Layout {
    packet: "session key",
    head: &[("version", 1), ("index", 4), ("ratchet", 128), ("signing_key", 32), ("signature", 64)],
    fields: &[],
    tail: &[],
};
/// The session export format.
const EXPORT: Layout = Layout {
    packet: "exported session key",
    head: &[("version", 1), ("index", 4), ("ratchet", 128), ("signing_key", 32)],
    fields: &[],
    tail: &[],
};

const VERSION_4: Change = Change::Set("set to 4, which the present format is not", &[4]);
const FAR: Change = Change::Set("set to 2^32 - 1", &[0xff; 4]);

const MESSAGE_FIELDS: &[Row] = &[
    ("version", Change::Flipped, Refuse(BAD)),
    ("version", VERSION_4, Refuse(AUTH_BAD)),
    ("version", Change::Zeroed, Refuse(BAD)),
    ("message_index", Change::Flipped, Refuse(AUTH)),
    ("message_index", Change::Increased, Refuse(AUTH)),
    ("message_index", Change::Decreased, Refuse(AUTH)),
    ("message_index", Change::Zeroed, Refuse(AUTH)),
    ("message_index", FAR, Refuse(AUTH)),
    ("message_index", Change::Doubled, Refuse(AUTH)),
    ("message_index", Change::Removed, Refuse(AUTH_BAD)),
    ("message_index", Change::WireType, Refuse(AUTH_BAD)),
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
    ("signature", Change::Flipped, Refuse(AUTH)),
    ("signature", Change::Swapped, Refuse(AUTH)),
    ("signature", Change::Zeroed, Refuse(AUTH)),
    ("signature", Change::Removed, Refuse(AUTH_BAD)),
    ("signature", Change::Cut, Refuse(AUTH_BAD)),
    ("signature", Change::Extended, Refuse(AUTH_BAD)),
    (WHOLE, Change::Emptied, Refuse(BAD)),
    (WHOLE, Change::Halved, Refuse(AUTH_BAD)),
];

const KEY_FIELDS: &[Row] = &[
    ("version", Change::Flipped, Refuse(BAD)),
    ("version", Change::Set("set to 1, that of an exported key", &[1]), Refuse(BAD)),
    ("version", Change::Zeroed, Refuse(BAD)),
    ("index", Change::Flipped, Refuse(AUTH)),
    ("index", Change::Set("set to 1", &[0, 0, 0, 1]), Refuse(AUTH)),
    ("ratchet", Change::Flipped, Refuse(AUTH)),
    ("ratchet", Change::Swapped, Refuse(AUTH)),
    ("ratchet", Change::Zeroed, Refuse(AUTH)),
    ("signing_key", Change::Flipped, Refuse(AUTH_BAD)),
    ("signing_key", Change::Swapped, Refuse(AUTH)),
    ("signing_key", Change::Zeroed, Refuse(AUTH_BAD)),
    ("signature", Change::Flipped, Refuse(AUTH)),
    ("signature", Change::Swapped, Refuse(AUTH)),
    ("signature", Change::Zeroed, Refuse(AUTH)),
    ("signature", Change::Removed, Refuse(BAD)),
    ("signature", Change::Cut, Refuse(BAD)),
    ("signature", Change::Extended, Refuse(AUTH_BAD)),
    (WHOLE, Change::Emptied, Refuse(BAD)),
    (WHOLE, Change::Halved, Refuse(BAD)),
];

const EXPORT_FIELDS: &[Row] = &[
    ("version", Change::Flipped, Refuse(BAD)),
    ("version", Change::Set("set to 2, that of a signed key", &[2]), Refuse(BAD)),
    ("signing_key", Change::Cut, Refuse(BAD)),
    ("signing_key", Change::Removed, Refuse(BAD)),
    (WHOLE, Change::Emptied, Refuse(BAD)),
    (WHOLE, Change::Halved, Refuse(BAD)),
];

/// A sender's present session.
struct Sender(GroupSession);

impl Sender {
    fn new() -> Self {
        Self(GroupSession::new(SessionConfig::version_1()))
    }

    /// The same ratchet under another sender's signing key: what a member can do who was given the session.
    fn with_ratchet_of(other: &Self) -> Result<Self> {
        let mut pickle = serde_json::to_value(other.0.pickle())?;
        let own = serde_json::to_value(Self::new().0.pickle())?;
        let key = own.get("signing_key").context("vodozemac's format has changed")?;
        *pickle.get_mut("signing_key").context("vodozemac's format has changed")? = key.clone();
        Ok(Self(GroupSession::from_pickle(serde_json::from_value(pickle)?)))
    }

    /// A message as this sender would have signed it with another tag: the signature is the session's own.
    fn sign_anew(&self, message: &[u8]) -> Result<Vec<u8>> {
        let pickle = serde_json::to_value(self.0.pickle())?;
        let seed = pickle.pointer("/signing_key/Normal").context("vodozemac's format has changed")?;
        let key = SigningKey::from_bytes(&serde_json::from_value(seed.clone())?);
        let signature = key.sign(&message[..message.len().saturating_sub(64)]).to_bytes().to_vec();
        MESSAGE.replace(message, "signature", signature)
    }

    /// The session from its present position on, in the session sharing format.
    fn key(&self) -> Delivery {
        delivery(DeliveryKind::SessionKey, None, &self.0.session_key().to_bytes())
    }

    /// What somebody hands on who was given the session at its present position: from `index` on, in the session export
    /// format.
    fn export(&self, index: u32) -> Result<Delivery> {
        let mut held = InboundGroupSession::new(&self.0.session_key(), SessionConfig::version_1());
        let exported = held.export_at(index).context("the session is past that index")?;
        Ok(delivery(DeliveryKind::ExportedSessionKey, None, &exported.to_bytes()))
    }

    fn say(&mut self, text: &str) -> Result<Sent> {
        let index = self.0.message_index();
        let message = self.0.encrypt(text);
        let signing_key = KEY.bytes_of(&self.0.session_key().to_bytes(), "signing_key")?;
        Ok(Sent {
            delivery: delivery(DeliveryKind::MegolmMessage, None, &message.to_bytes()),
            text: text.as_bytes().to_vec(),
            index: Some(index),
            sender: hex::encode(signing_key),
        })
    }
}

fn begin(id: &str, title: &str, description: &str, requirements: &[&str], date: &str) -> Scene {
    Scene::new(id, title, description, requirements, date, Start::Megolm(MegolmStart {}))
}

/// Every vector of Megolm's.
pub(crate) fn scenes(date: &str) -> Result<Vec<Scene>> {
    Ok(vec![
        session(date)?,
        two_senders(date)?,
        exported(date)?,
        out_of_order(date)?,
        repeated(date)?,
        key_again(date)?,
        newcomer(date)?,
        better_key(date)?,
        rotated(date)?,
        rotation_seen_by_a_member(date)?,
        removed_and_back(date)?,
        no_history(date)?,
        not_shared(date)?,
        forged(date)?,
        unconnected(date)?,
        signed_with_wrong_tag(date)?,
        altered_message(date)?,
        altered_key(date)?,
        altered_export(date)?,
    ])
}

fn session(date: &str) -> Result<Scene> {
    let mut alice = Sender::new();
    let mut scene = begin(
        "megolm/authentication/session",
        "A session",
        "Alice hands Bob the key of a session, signed, and writes to the group. He reads what she writes, and learns \
         each message's index.",
        &["R1"],
        date,
    );
    scene.take("key", "The session at index 0.", alice.key());
    scene.read("m0", "", &alice.say("m0: welcome, everybody")?);
    scene.read("m1", "An empty text.", &alice.say("")?);
    scene.read("m2", "", &alice.say("m2: äöü ß 安全, and longer than one block of the cipher")?);
    scene.read("m3", "Sixteen bytes.", &alice.say("m3: 16 bytes now")?);
    for number in 4..260 {
        let sent = alice.say(&format!("m{number}"))?;
        if number > 254 {
            let comment = if number == 256 { "Here the ratchet's second part moves for the first time." } else { "" };
            scene.read_out_of_order(&format!("m{number}"), comment, &sent);
        }
    }
    Ok(scene)
}

fn two_senders(date: &str) -> Result<Scene> {
    let (mut alice, mut carol) = (Sender::new(), Sender::new());
    let mut scene = begin(
        "megolm/authentication/two-senders",
        "Two senders",
        "Alice and Carol each hand Bob a session of theirs. Messages do not say to which session they belong, but \
         each is signed with its session's key, and is shown as that one's.",
        &["R1"],
        date,
    );
    scene.take("alice-key", "", alice.key());
    scene.take("carol-key", "", carol.key());
    for round in 0..4 {
        scene.read(&format!("a{round}"), "", &alice.say(&format!("a{round}: this is Alice"))?);
        scene.read(&format!("c{round}"), "", &carol.say(&format!("c{round}: this is Carol"))?);
    }
    Ok(scene)
}

fn exported(date: &str) -> Result<Scene> {
    let mut alice = Sender::new();
    let mut scene = begin(
        "megolm/device-addition/exported-key",
        "A session handed on by another device",
        "Bob's other device hands on a session of Alice's, from index 3 on, in the session export format. The new \
         device reads messages from there on and none from before.",
        &["I1", "R2"],
        date,
    );
    let key = alice.export(3)?;
    let messages: Vec<_> = (0..6).map(|number| alice.say(&format!("m{number}"))).collect::<Result<_>>()?;
    scene.take("key", "From index 3 on.", key);
    scene.read("m4", "", &messages[4]);
    let fault = (MESSAGE.packet, "message_index", "below the first one of the exported key");
    for number in [2, 0] {
        let name = format!("m{number}");
        scene.refuse(&name, "", messages[number].delivery.clone(), &["BeforeJoining"], fault, "m3", NO_KEY);
    }
    scene.read_out_of_order("m3", "The first that the key opens.", &messages[3]);
    scene.read("m5", "", &messages[5]);
    Ok(scene)
}

fn out_of_order(date: &str) -> Result<Scene> {
    let mut alice = Sender::new();
    let mut scene = begin(
        "megolm/integrity/out-of-order",
        "Messages in any order",
        "Alice's messages come in another order than she wrote them, and many never come. A sound device reads all \
         that come.",
        &["L1"],
        date,
    );
    scene.take("key", "", alice.key());
    let mut messages = Vec::new();
    for number in 0..40 {
        messages.push((number, alice.say(&format!("m{number}: one of many"))?));
    }
    messages.retain(|(number, _)| number % 10 != 9);
    messages.sort_by_key(|(number, _)| (number % 7, *number));
    for (number, sent) in messages {
        scene.read_out_of_order(&format!("m{number}"), "", &sent);
    }
    for number in 40..70_000 {
        let sent = alice.say(&format!("m{number}"))?;
        if [65_535, 65_536].contains(&number) {
            let comment = "After many that have not come: the higher parts of the ratchet move.";
            scene.read_out_of_order(&format!("m{number}"), comment, &sent);
        }
    }
    scene.read_out_of_order("m70000", "", &alice.say("m70000: at last")?);
    Ok(scene)
}

fn repeated(date: &str) -> Result<Scene> {
    let mut alice = Sender::new();
    let mut scene = begin(
        "megolm/integrity/repeated-message",
        "A message delivered again shows the same index",
        "The server delivers messages of Alice's a second time. Megolm decrypts them again; by the message index, \
         which is the same again, a caller sees that it has them already.",
        &["L1"],
        date,
    );
    scene.take("key", "", alice.key());
    let messages: Vec<_> = (0..4).map(|number| alice.say(&format!("m{number}"))).collect::<Result<_>>()?;
    scene.read("m0", "", &messages[0]);
    scene.read("m0-again", "The same bytes, the same index.", &messages[0]);
    scene.read("m1", "", &messages[1]);
    scene.read_out_of_order("m3", "", &messages[3]);
    scene.read_out_of_order("m1-again", "After a later one.", &messages[1]);
    scene.read_out_of_order("m2", "Late.", &messages[2]);
    scene.read("m2-again", "", &messages[2]);
    Ok(scene)
}

fn key_again(date: &str) -> Result<Scene> {
    let mut alice = Sender::new();
    let mut scene = begin(
        "megolm/integrity/key-delivered-again",
        "A session key delivered again",
        "Bob is given the key of one session several times: the same one, and the session at a later index, as a \
         client sends it to somebody who asks again. What he could read before he can read after.",
        &["L1"],
        date,
    );
    let key = alice.key();
    scene.take("key", "At index 0.", key.clone());
    let (m0, m1) = (alice.say("m0: hello")?, alice.say("m1: late")?);
    scene.read("m0", "", &m0);
    scene.take("key-again", "The same bytes.", key);
    scene.take("key-at-2", "The same session at index 2.", alice.key());
    scene.read_out_of_order("m1", "From before that index, and still readable.", &m1);
    scene.read("m2", "", &alice.say("m2: good")?);
    scene.read("m0-again", "", &m0);
    Ok(scene)
}

fn newcomer(date: &str) -> Result<Scene> {
    let mut alice = Sender::new();
    let mut scene = begin(
        "megolm/device-addition/newcomer",
        "A new device reads nothing from before",
        "Bob links a second device. Alice hands it her session at its present index. The server gives it what was \
         written before, too. A sound device reads what follows and nothing from before: the ratchet does not run \
         backwards.",
        &["I1", "R2"],
        date,
    );
    let before: Vec<_> = (0..3).map(|number| alice.say(&format!("m{number}: before"))).collect::<Result<_>>()?;
    let fault =
        (MESSAGE.packet, "message_index", "from before this device was given the session, and ahead of its key");
    scene.refuse(
        "m0-early",
        "Before any key is here.",
        before[0].delivery.clone(),
        &["BeforeJoining"],
        fault,
        "m3",
        NO_KEY,
    );
    scene.take("key", "The session at index 3.", alice.key());
    let fault = (MESSAGE.packet, "message_index", "from before this device was given the session");
    for (number, sent) in before.iter().enumerate() {
        scene.refuse(&format!("m{number}"), "", sent.delivery.clone(), &["BeforeJoining"], fault, "m3", NO_KEY);
    }
    scene.read("m3", "The first that is for this device.", &alice.say("m3: welcome")?);
    scene.read("m4", "", &alice.say("m4: how is the tablet?")?);
    Ok(scene)
}

fn better_key(date: &str) -> Result<Scene> {
    let mut alice = Sender::new();
    let mut scene = begin(
        "megolm/integrity/better-and-worse-keys",
        "One session handed on several times",
        "Bob is given one session from index 5 on, then from index 2 on, then from index 8 on, by devices that have \
         it. The earliest holds: from index 2 on he reads everything, and nothing from before.",
        &["L1", "I1"],
        date,
    );
    let (at_2, at_5, at_8) = (alice.export(2)?, alice.export(5)?, alice.export(8)?);
    let messages: Vec<_> = (0..10).map(|number| alice.say(&format!("m{number}"))).collect::<Result<_>>()?;
    let early = |sent: &Sent| sent.delivery.clone();
    scene.take("key-at-5", "", at_5);
    scene.read("m5", "", &messages[5]);
    let fault = (MESSAGE.packet, "message_index", "below the first one of a key that was handed on");
    scene.refuse("m4-early", "", early(&messages[4]), &["BeforeJoining"], fault, "m4", NO_KEY);
    scene.take("key-at-2", "A better one.", at_2);
    scene.read("m4", "Now it can be read.", &messages[4]);
    scene.read("m2", "", &messages[2]);
    scene.take("key-at-8", "A worse one.", at_8);
    let fault = (MESSAGE.packet, "message_index", "below the first one of the best key that was handed on");
    scene.refuse("m1", "", early(&messages[1]), &["BeforeJoining"], fault, "m3", NO_KEY);
    scene.read("m3", "The worse key has taken nothing away.", &messages[3]);
    scene.read("m9", "", &messages[9]);
    Ok(scene)
}

fn rotated(date: &str) -> Result<Scene> {
    let (mut old, mut new) = (Sender::new(), Sender::new());
    let mut scene = begin(
        "megolm/removal/session-rotated",
        "Who has been removed reads nothing more",
        "Carol is removed from a group. Alice begins a new session and hands it to everybody else; the server is on \
         Carol's side and still gives her everything. Carol's device keeps trying: what was written before, and \
         comes late, it may read, and nothing after.",
        &["I1"],
        date,
    );
    scene.take("key", "While Carol is a member.", old.key());
    scene.read("m0", "", &old.say("m0: hello, all")?);
    let (in_flight, last) = (old.say("m1: written before the removal")?, old.say("m2: also before")?);
    let fault = (MESSAGE.packet, WHOLE, "of the session begun after this device's removal");
    for number in 0..3 {
        let sent = new.say(&format!("n{number}: now that she is gone"))?;
        scene.refuse(
            &format!("n{number}"),
            "After the removal.",
            sent.delivery,
            &["AfterRemoval"],
            fault,
            "m0",
            AUTH_NO_KEY,
        );
        if number == 1 {
            scene.read("m1", "Written before the removal.", &in_flight);
        }
    }
    scene.read("m2", "Written before the removal.", &last);
    Ok(scene)
}

fn rotation_seen_by_a_member(date: &str) -> Result<Scene> {
    let (mut old, mut new) = (Sender::new(), Sender::new());
    let mut scene = begin(
        "megolm/removal/rotation-seen-by-a-member",
        "Who stays reads on after a removal",
        "Somebody is removed from a group. Alice hands those who stay a new session and writes in it; a message of \
         the old one comes late. A sound device reads both, and a message of the new session that comes before its \
         key is refused and can be read afterwards.",
        &["I1", "L1"],
        date,
    );
    scene.take("key", "The old session.", old.key());
    scene.read("m0", "", &old.say("m0: hello, all")?);
    let late = old.say("m1: written before the removal")?;
    let key = new.key();
    let n0 = new.say("n0: now that she is gone")?;
    let fault = (MESSAGE.packet, WHOLE, "delivered ahead of its session key");
    scene.refuse("n0-early", "", n0.delivery.clone(), &["OtherEpoch"], fault, "n0", AUTH_NO_KEY);
    scene.take("new-key", "The new session.", key);
    scene.read("n0", "", &n0);
    scene.read_out_of_order("m1", "Of the old session, and late.", &late);
    scene.read("n1", "", &new.say("n1: good")?);
    Ok(scene)
}

fn removed_and_back(date: &str) -> Result<Scene> {
    let (mut old, mut new) = (Sender::new(), Sender::new());
    let mut scene = begin(
        "megolm/removal/rejoin-gap",
        "Who comes back does not read what was said meanwhile",
        "Carol is removed from a group and later added again. Alice begins a new session at the removal, and hands \
         it to Carol when she is back, at its present index. The server gives Carol everything. A sound device reads \
         what was written while she was a member, and nothing from between.",
        &["I1"],
        date,
    );
    scene.take("key", "While Carol is a member.", old.key());
    scene.read("m0", "", &old.say("m0: hello, all")?);
    let gap: Vec<_> = (0..2).map(|number| new.say(&format!("n{number}: she is away"))).collect::<Result<_>>()?;
    let away = (MESSAGE.packet, WHOLE, "of the session begun while this device was not a member");
    scene.refuse("n0", "While she is away.", gap[0].delivery.clone(), &["AfterRemoval"], away, "n2", AUTH_NO_KEY);
    scene.take("new-key", "Carol is back: the new session at its present index.", new.key());
    let back = (MESSAGE.packet, "message_index", "from while this device was not a member");
    for (number, sent) in gap.iter().enumerate() {
        let name = format!("n{number}-again");
        scene.refuse(&name, "Now that she is back.", sent.delivery.clone(), &["BeforeJoining"], back, "n2", NO_KEY);
    }
    scene.read("n2", "", &new.say("n2: welcome back")?);
    scene.read("n3", "", &new.say("n3: what did you miss?")?);
    Ok(scene)
}

fn no_history(date: &str) -> Result<Scene> {
    let (mut alice, mut carol) = (Sender::new(), Sender::new());
    let mut scene = begin(
        "megolm/integrity/no-history",
        "A new member reads nothing of any sender's from before",
        "Dave is added to a group in which Alice and Carol have written. Each hands him her session at its present \
         index, Carol later than Alice. A sound device reads of each what she writes from then on: that Alice's \
         session is here opens nothing of Carol's.",
        &["I1", "T1"],
        date,
    );
    let (a0, c0) = (alice.say("a0: before Dave")?, carol.say("c0: before Dave")?);
    scene.take("alice-key", "Alice's at index 1.", alice.key());
    let (a1, c1) = (alice.say("a1: hello, Dave")?, carol.say("c1: Dave does not have my key yet")?);
    scene.read("a1", "", &a1);
    let fault = (MESSAGE.packet, "message_index", "from before the sender handed this member her session");
    scene.refuse("a0", "", a0.delivery.clone(), &["BeforeJoining"], fault, "a1", NO_KEY);
    let without = (MESSAGE.packet, WHOLE, "of a sender who has not handed this member her session, as another has");
    scene.refuse("c1-early", "", c1.delivery.clone(), &["BeforeJoining"], without, "c2", AUTH_NO_KEY);
    scene.take("carol-key", "Carol's at index 2.", carol.key());
    for (name, sent) in [("c0", &c0), ("c1", &c1)] {
        scene.refuse(name, "", sent.delivery.clone(), &["BeforeJoining"], fault, "c2", NO_KEY);
    }
    scene.read("c2", "", &carol.say("c2: hello, Dave")?);
    scene.read("a2", "", &alice.say("a2: we were talking about you")?);
    Ok(scene)
}

fn not_shared(date: &str) -> Result<Scene> {
    let (mut ours, mut elsewhere) = (Sender::new(), Sender::new());
    let mut scene = begin(
        "megolm/participation/not-shared",
        "A message of a session that was not handed out",
        "Alice writes to two groups, each with a session of its own; Bob is in one of them. The server gives him the \
         messages of both. A sound device reads those to his group alone.",
        &["T1", "I1"],
        date,
    );
    scene.take("key", "That of Bob's group.", ours.key());
    let fault = (MESSAGE.packet, WHOLE, "of a session that this device was not given");
    for round in 0..3 {
        scene.read(&format!("m{round}"), "", &ours.say(&format!("m{round}: to Bob's group"))?);
        let sent = elsewhere.say(&format!("e{round}: to the other group"))?;
        scene.refuse(&format!("e{round}"), "", sent.delivery, &["OtherGroup"], fault, "m0", AUTH_NO_KEY);
    }
    scene.read("m3", "", &ours.say("m3: to Bob's group")?);
    Ok(scene)
}

fn forged(date: &str) -> Result<Scene> {
    let mut alice = Sender::new();
    let mut mallory = Sender::with_ratchet_of(&alice)?;
    let mut scene = begin(
        "megolm/authentication/forged-by-member",
        "A member writes with another member's ratchet",
        "Every member has Alice's ratchet and can encrypt as she does. Mallory, a member, encrypts with it and signs \
         with a key of her own: a sound device refuses that, since the signature is not by Alice's session. When \
         Mallory hands out the same ratchet under her own key, it is another session, and what she writes is shown \
         as hers.",
        &["R1"],
        date,
    );
    scene.take("alice-key", "Mallory is given the same.", alice.key());
    scene.read("a0", "", &alice.say("a0: hello")?);
    let fault = (MESSAGE.packet, "signature", "made by another member with a key of her own");
    let past = mallory.say("f0: I leave my house to Mallory")?;
    scene.refuse("f0", "At an index that was read.", past.delivery, &["Insider"], fault, "a0", AUTH_NO_KEY);
    let next = mallory.say("f1: I leave my house to Mallory")?;
    scene.refuse("f1", "At Alice's next index.", next.delivery.clone(), &["Insider"], fault, "a1", AUTH_NO_KEY);
    let a1 = alice.say("a1: how are you?")?;
    scene.read("a1", "", &a1);
    // Her tag fits the ratchet, and Alice's signature is over another one.
    let signature = MESSAGE.bytes_of(a1.bytes(), "signature")?;
    let signed = MESSAGE.replace(next.bytes(), "signature", signature)?;
    let fault = (MESSAGE.packet, "signature", "the sender's own, from another message at that index");
    scene.refuse("f1-with-signature", "", next.with(signed), &["WrongSignature"], fault, "a1", AUTH_NO_KEY);
    scene.take("mallory-key", "Alice's ratchet under Mallory's signing key, from index 2 on.", mallory.key());
    scene.read("f2", "Shown as Mallory's session.", &mallory.say("f2: I am Mallory")?);
    scene.read("a2", "Alice's, at the same index.", &alice.say("a2: good")?);
    Ok(scene)
}

fn signed_with_wrong_tag(date: &str) -> Result<Scene> {
    let mut alice = Sender::new();
    let mut scene = begin(
        "megolm/authentication/signed-with-wrong-tag",
        "A signed message whose tag does not hold",
        "Alice's own message, with another tag, and signed anew with the session's key. The signature holds and the \
         tag does not: a device that looks at the signature alone reads it. A sound one refuses it, and reads the \
         message as Alice sent it.",
        &["R1"],
        date,
    );
    scene.take("key", "", alice.key());
    let mut before = alice.say("m0: hello")?;
    scene.read("m0", "", &before);
    for (place, what) in ["one bit flipped", "zeroed", "of the message before"].into_iter().enumerate() {
        let honest = alice.say(&format!("m{}: Alice's own", place + 1))?;
        let tag = match place {
            0 => MESSAGE.bytes_of(&MESSAGE.alter(honest.bytes(), "mac", Change::Flipped, None)?, "mac")?,
            1 => vec![0; 8],
            _ => MESSAGE.bytes_of(before.bytes(), "mac")?,
        };
        let signed = alice.sign_anew(&MESSAGE.replace(honest.bytes(), "mac", tag)?)?;
        let change = format!("{what}, and the message signed anew by its sender");
        let (name, twin) = (format!("m{}-with-wrong-tag", place + 1), format!("m{}", place + 1));
        let fault = (MESSAGE.packet, "mac", change.as_str());
        scene.refuse(&name, "Ahead of the message itself.", honest.with(signed), &["Insider"], fault, &twin, AUTH);
        scene.read(&twin, "", &honest);
        before = honest;
    }
    Ok(scene)
}

fn unconnected(date: &str) -> Result<Scene> {
    let (mut alice, mut mallory) = (Sender::new(), Sender::new());
    let mut scene = begin(
        "megolm/authentication/unconnected-key",
        "Another ratchet under a session's signing key",
        "Bob has a session of Alice's. Somebody hands on what claims to be the same session and is not: a session \
         key in the export format has no signature, so another ratchet stands under Alice's signing key. Whether a \
         device refuses it or keeps it beside the one it has is left open; it must not take that one's place, or \
         Alice's messages could not be read any more. And it lets nobody speak for Alice: messages need her \
         signature.",
        &["R1"],
        date,
    );
    let (key, honest) = (alice.key(), alice.export(1)?);
    scene.take("key", "Alice's, signed.", key);
    scene.read("m0", "", &alice.say("m0: hello")?);
    let ratchet = EXPORT.bytes_of(mallory.export(0)?.bytes.as_ref(), "ratchet")?;
    let fault = |change| (EXPORT.packet, "ratchet", change);
    let false_one = EXPORT.replace(honest.bytes.as_ref(), "ratchet", ratchet)?;
    let with = |bytes: Vec<u8>| Delivery { bytes: bytes.into(), ..honest.clone() };
    let flags = &["Outsider", "UnauthenticatedByDesign"];
    let change = fault("of another session, under this one's signing key");
    scene.open_key("false-key", "", with(false_one.clone()), flags, change, "honest-key");
    let flipped = EXPORT.alter(honest.bytes.as_ref(), "ratchet", Change::Flipped, None)?;
    scene.open_key("flipped-key", "", with(flipped), flags, fault("one bit flipped"), "honest-key");
    let earlier = EXPORT.replace(&false_one, "index", vec![0; 4])?;
    let change = fault("of another session, under this one's signing key, from an earlier index on");
    scene.open_key("false-better-key", "It claims to reach further back.", with(earlier), flags, change, "honest-key");
    scene.read("m1", "Alice's session has kept its place.", &alice.say("m1: still there")?);
    mallory.say("f0: at Alice's former index")?;
    let forged = mallory.say("f1: it is me, Alice")?;
    let change =
        (MESSAGE.packet, "signature", "made by whoever handed on another ratchet under the session's signing key");
    scene.refuse(
        "forged",
        "Encrypted with the false ratchet.",
        forged.delivery,
        &["Outsider"],
        change,
        "m1",
        AUTH_NO_KEY,
    );
    scene.take("honest-key", "The same session, honestly handed on.", honest);
    scene.read("m2", "", &alice.say("m2: good")?);
    Ok(scene)
}

fn altered_message(date: &str) -> Result<Scene> {
    let (mut alice, mut carol) = (Sender::new(), Sender::new());
    let mut scene = begin(
        "megolm/authentication/altered-message",
        "Every field of a message, altered",
        "Ahead of each of Alice's messages comes a copy with one field altered. A sound device refuses the copy, \
         since everything is under its tag and its signature, and then reads the message.",
        &["R1"],
        date,
    );
    scene.take("alice-key", "", alice.key());
    scene.take("carol-key", "Carol's session, from which swapped fields are.", carol.key());
    scene.read("c0", "", &carol.say("c0: hello")?);
    let donor = carol.say("c1: it is raining")?;
    scene.read("c1", "The message that swapped fields are from.", &donor);
    let mut number = 0;
    scene.read("m0", "", &alice.say("message 0")?);
    scene.one_altered_copy_each(&MESSAGE, MESSAGE_FIELDS, &donor, || {
        number += 1;
        alice.say(&format!("message {number}"))
    })?;
    Ok(scene)
}

fn key_as_sent(key: &Delivery) -> Sent {
    Sent { delivery: key.clone(), text: Vec::new(), index: None, sender: String::new() }
}

fn altered_key(date: &str) -> Result<Scene> {
    let (mut alice, carol) = (Sender::new(), Sender::new());
    let mut scene = begin(
        "megolm/authentication/altered-key",
        "Every field of a session key, altered",
        "Alice hands out a session. Ahead of its key come copies with one field altered. The key is signed with the \
         session's own signing key: a sound device refuses each copy and keeps no session of it. Then it takes the \
         key itself.",
        &["R1"],
        date,
    );
    let key = alice.key();
    let donor = key_as_sent(&carol.key());
    scene.altered_copies(&KEY, KEY_FIELDS, Some(&donor), &key_as_sent(&key), "key")?;
    let m0 = alice.say("message 0")?;
    let fault = (MESSAGE.packet, WHOLE, "of a session whose key was refused");
    scene.refuse(
        "m0-early",
        "No copy of the key has left a session behind.",
        m0.delivery.clone(),
        &["WrongSignature"],
        fault,
        "m0",
        AUTH_NO_KEY,
    );
    scene.take("key", "The key itself.", key);
    scene.read("m0", "", &m0);
    for number in 1..KEY_FIELDS.len() {
        scene.next(&alice.say(&format!("message {number}"))?);
    }
    Ok(scene)
}

fn altered_export(date: &str) -> Result<Scene> {
    let mut alice = Sender::new();
    let mut scene = begin(
        "megolm/authentication/malformed-export",
        "Malformed exported session keys",
        "A session key in the export format has no signature, so only its form can be wrong. A sound device refuses \
         what has another version or length, among it a key that claims to be a signed one, and then takes the key \
         itself.",
        &["R1"],
        date,
    );
    let key = alice.export(0)?;
    scene.altered_copies(&EXPORT, EXPORT_FIELDS, None, &key_as_sent(&key), "key")?;
    scene.take("key", "The key itself.", key);
    for number in 0..EXPORT_FIELDS.len() {
        scene.next(&alice.say(&format!("message {number}"))?);
    }
    Ok(scene)
}
