//! Signal: every field of every packet, altered in every way that it allows, each ahead of the packet itself.

use anyhow::Result;
use uuid::Uuid;

use crate::alter::{Change, WHOLE};
use crate::dice;
use crate::scene::{
    AUTH, AUTH_BAD, AUTH_BAD_NO_KEY, AUTH_DUPLICATE, AUTH_NO_KEY, BAD, NO_KEY, Row, Scene, Sent,
    Want::{Open, Refuse},
};
use crate::signal::cast::{DISTRIBUTION, IN_SESSION, Keys, MESSAGE, OPENING, Person, SENDER_KEY_MESSAGE};

const fn key(last: u8, first: u8, middle: u8) -> [u8; 33] {
    let mut key = [middle; 33];
    (key[0], key[1], key[32]) = (5, first, last);
    key
}

/// Curve25519 public keys of small order: u = 0, 1, -1 and one of order 8 (RFC 7748, section 6.1), with Signal's type byte.
const ZERO: Change = Change::Set("replaced by the all-zero key", &key(0, 0, 0));
const ONE: Change = Change::Set("replaced by a key of order 4", &key(0, 1, 0));
const MINUS_ONE: Change = Change::Set("replaced by a key of order 4 on the twist", &key(0x7f, 0xec, 0xff));
const ORDER_8: Change = Change::Set(
    "replaced by a key of order 8",
    &[
        5, 0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a, 0xda, 0x09,
        0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00,
    ],
);
/// The version is in the upper half of the byte; in the lower one is the highest that the sender knows.
const VERSION_2: Change = Change::Set("set to 2, before the present formats", &[0x24]);
const VERSION_3: Change = Change::Set("set to 3, before Kyber", &[0x34]);
const VERSION_5: Change = Change::Set("set to 5, which does not exist", &[0x54]);
const FAR: Change = Change::Set("set to 2^32 - 1", &[0xff; 4]);

const OPENING_PREKEYS: &[Row] = &[
    ("pre_key_id", Change::Flipped, Refuse(NO_KEY)),
    ("pre_key_id", Change::Increased, Refuse(NO_KEY)),
    ("pre_key_id", Change::Decreased, Refuse(NO_KEY)),
    ("pre_key_id", Change::Swapped, Refuse(AUTH)),
    ("pre_key_id", Change::Removed, Refuse(AUTH)),
    ("pre_key_id", Change::Doubled, Refuse(NO_KEY)),
    ("pre_key_id", Change::WireType, Refuse(AUTH_BAD)),
    ("signed_pre_key_id", Change::Flipped, Refuse(NO_KEY)),
    ("signed_pre_key_id", Change::Increased, Refuse(NO_KEY)),
    ("signed_pre_key_id", Change::Decreased, Refuse(NO_KEY)),
    ("signed_pre_key_id", Change::Swapped, Refuse(AUTH)),
    ("signed_pre_key_id", Change::Removed, Refuse(BAD)),
    ("signed_pre_key_id", Change::Doubled, Refuse(NO_KEY)),
    ("signed_pre_key_id", Change::WireType, Refuse(BAD)),
    ("kyber_pre_key_id", Change::Flipped, Refuse(NO_KEY)),
    ("kyber_pre_key_id", Change::Increased, Refuse(NO_KEY)),
    ("kyber_pre_key_id", Change::Decreased, Refuse(NO_KEY)),
    ("kyber_pre_key_id", Change::Swapped, Refuse(AUTH)),
    ("kyber_pre_key_id", Change::Removed, Refuse(BAD)),
    ("kyber_pre_key_id", Change::Doubled, Refuse(NO_KEY)),
    ("kyber_pre_key_id", Change::WireType, Refuse(BAD)),
];

const OPENING_KEYS: &[Row] = &[
    ("base_key", Change::Flipped, Refuse(AUTH_BAD)),
    ("base_key", Change::Swapped, Refuse(AUTH)),
    ("base_key", ZERO, Refuse(AUTH_BAD)),
    ("base_key", ONE, Refuse(AUTH_BAD)),
    ("base_key", MINUS_ONE, Refuse(AUTH_BAD)),
    ("base_key", ORDER_8, Refuse(AUTH_BAD)),
    ("base_key", Change::Zeroed, Refuse(BAD)),
    ("base_key", Change::Removed, Refuse(BAD)),
    ("base_key", Change::Emptied, Refuse(BAD)),
    ("base_key", Change::Cut, Refuse(BAD)),
    ("base_key", Change::Doubled, Refuse(AUTH_BAD)),
    ("base_key", Change::WireType, Refuse(BAD)),
    ("identity_key", Change::Flipped, Refuse(AUTH_BAD)),
    ("identity_key", Change::Swapped, Refuse(AUTH)),
    ("identity_key", ZERO, Refuse(AUTH_BAD)),
    ("identity_key", ORDER_8, Refuse(AUTH_BAD)),
    ("identity_key", Change::Zeroed, Refuse(BAD)),
    ("identity_key", Change::Removed, Refuse(BAD)),
    ("identity_key", Change::Emptied, Refuse(BAD)),
    ("identity_key", Change::Cut, Refuse(BAD)),
    ("identity_key", Change::Doubled, Refuse(AUTH_BAD)),
    ("identity_key", Change::WireType, Refuse(BAD)),
];

const OPENING_KYBER: &[Row] = &[
    ("kyber_ciphertext", Change::Flipped, Refuse(AUTH)),
    ("kyber_ciphertext", Change::Swapped, Refuse(AUTH)),
    ("kyber_ciphertext", Change::Doubled, Refuse(AUTH)),
    ("kyber_ciphertext", Change::Zeroed, Refuse(BAD)),
    ("kyber_ciphertext", Change::Removed, Refuse(BAD)),
    ("kyber_ciphertext", Change::Emptied, Refuse(BAD)),
    ("kyber_ciphertext", Change::Cut, Refuse(BAD)),
    ("kyber_ciphertext", Change::Extended, Refuse(BAD)),
    ("kyber_ciphertext", Change::WireType, Refuse(BAD)),
];

const OPENING_MESSAGE: &[Row] = &[
    ("version", VERSION_2, Refuse(BAD)),
    ("version", VERSION_3, Refuse(AUTH_BAD)),
    ("version", VERSION_5, Refuse(BAD)),
    ("message", Change::Flipped, Refuse(AUTH_BAD)),
    ("message", Change::Swapped, Refuse(AUTH)),
    ("message", Change::Doubled, Refuse(AUTH_BAD)),
    ("message", Change::Zeroed, Refuse(BAD)),
    ("message", Change::Removed, Refuse(BAD)),
    ("message", Change::Emptied, Refuse(BAD)),
    ("message", Change::Cut, Refuse(AUTH_BAD)),
    ("message", Change::Extended, Refuse(AUTH_BAD)),
    ("message", Change::WireType, Refuse(BAD)),
    (WHOLE, Change::Emptied, Refuse(BAD)),
    (WHOLE, Change::Cut, Refuse(BAD)),
    (WHOLE, Change::Halved, Refuse(BAD)),
    (WHOLE, Change::Extended, Refuse(BAD)),
];

const OPENING_OPEN: &[Row] = &[
    ("registration_id", Change::Flipped, Open),
    ("registration_id", Change::Removed, Open),
    ("version", Change::Set("its lower half set to 3, the highest that the sender claims to know", &[0x43]), Open),
    ("base_key", Change::Extended, Open),
];

const HEADER_OPEN: &[Row] = &[
    ("registration_id", Change::Flipped, Open),
    ("registration_id", Change::Removed, Open),
    ("pre_key_id", Change::Flipped, Open),
    ("pre_key_id", Change::Removed, Open),
    ("signed_pre_key_id", Change::Increased, Open),
    ("signed_pre_key_id", Change::Removed, Open),
    ("kyber_pre_key_id", Change::Flipped, Open),
    ("kyber_ciphertext", Change::Flipped, Open),
    ("kyber_ciphertext", Change::Cut, Open),
    ("kyber_ciphertext", Change::Emptied, Open),
    ("base_key", Change::Flipped, Open),
    ("base_key", ZERO, Open),
];

const HEADER_REFUSED: &[Row] = &[
    ("message", Change::Flipped, Refuse(AUTH_BAD)),
    ("message", Change::Cut, Refuse(AUTH_BAD)),
    ("message", Change::Removed, Refuse(BAD)),
];

const MESSAGE_HEADER: &[Row] = &[
    ("version", VERSION_2, Refuse(BAD)),
    ("version", VERSION_3, Refuse(AUTH_BAD)),
    ("version", VERSION_5, Refuse(BAD)),
    ("version", Change::Flipped, Refuse(AUTH)),
    ("ratchet_key", Change::Flipped, Refuse(AUTH)),
    ("ratchet_key", Change::Swapped, Refuse(AUTH)),
    ("ratchet_key", ZERO, Refuse(AUTH_BAD)),
    ("ratchet_key", ONE, Refuse(AUTH_BAD)),
    ("ratchet_key", ORDER_8, Refuse(AUTH_BAD)),
    ("ratchet_key", Change::Doubled, Refuse(AUTH)),
    ("ratchet_key", Change::Zeroed, Refuse(BAD)),
    ("ratchet_key", Change::Removed, Refuse(BAD)),
    ("ratchet_key", Change::Emptied, Refuse(BAD)),
    ("ratchet_key", Change::Cut, Refuse(BAD)),
    ("ratchet_key", Change::Extended, Refuse(AUTH_BAD)),
    ("ratchet_key", Change::WireType, Refuse(BAD)),
    ("counter", Change::Flipped, Refuse(AUTH)),
    ("counter", Change::Increased, Refuse(AUTH)),
    ("counter", Change::Decreased, Refuse(AUTH_DUPLICATE)),
    ("counter", Change::Zeroed, Refuse(AUTH_DUPLICATE)),
    ("counter", FAR, Refuse(AUTH_NO_KEY)),
    ("counter", Change::Doubled, Refuse(AUTH)),
    ("counter", Change::Removed, Refuse(AUTH_BAD)),
    ("counter", Change::WireType, Refuse(BAD)),
    ("previous_counter", Change::Flipped, Refuse(AUTH)),
    ("previous_counter", Change::Increased, Refuse(AUTH)),
    ("previous_counter", Change::Removed, Refuse(AUTH_BAD)),
    ("previous_counter", Change::Doubled, Refuse(AUTH)),
    ("previous_counter", Change::WireType, Refuse(AUTH_BAD)),
];

const MESSAGE_BODY: &[Row] = &[
    ("ciphertext", Change::Flipped, Refuse(AUTH)),
    ("ciphertext", Change::Swapped, Refuse(AUTH)),
    ("ciphertext", Change::Zeroed, Refuse(AUTH)),
    ("ciphertext", Change::Doubled, Refuse(AUTH)),
    ("ciphertext", Change::Removed, Refuse(BAD)),
    ("ciphertext", Change::Emptied, Refuse(AUTH_BAD)),
    ("ciphertext", Change::Cut, Refuse(AUTH_BAD)),
    ("ciphertext", Change::Extended, Refuse(AUTH_BAD)),
    ("ciphertext", Change::WireType, Refuse(BAD)),
    ("pq_ratchet", Change::Flipped, Refuse(AUTH)),
    ("pq_ratchet", Change::Swapped, Refuse(AUTH)),
    ("pq_ratchet", Change::Zeroed, Refuse(AUTH_BAD)),
    ("pq_ratchet", Change::Doubled, Refuse(AUTH)),
    ("pq_ratchet", Change::Removed, Refuse(AUTH)),
    ("pq_ratchet", Change::Emptied, Refuse(AUTH)),
    ("pq_ratchet", Change::Cut, Refuse(AUTH_BAD)),
    ("pq_ratchet", Change::Extended, Refuse(AUTH_BAD)),
    ("pq_ratchet", Change::WireType, Refuse(AUTH_BAD)),
    ("mac", Change::Flipped, Refuse(AUTH)),
    ("mac", Change::Swapped, Refuse(AUTH)),
    ("mac", Change::Zeroed, Refuse(AUTH)),
    ("mac", Change::Removed, Refuse(AUTH_BAD)),
    ("mac", Change::Cut, Refuse(AUTH_BAD)),
    ("mac", Change::Extended, Refuse(AUTH_BAD)),
    (WHOLE, Change::Emptied, Refuse(BAD)),
    (WHOLE, Change::Halved, Refuse(AUTH_BAD)),
    (WHOLE, Change::Repeated, Refuse(AUTH_BAD)),
];

const GROUP_MESSAGE: &[Row] = &[
    ("version", Change::Set("set to 2, before the present format", &[0x23]), Refuse(BAD)),
    ("version", Change::Set("set to 4, which does not exist", &[0x43]), Refuse(BAD)),
    ("version", Change::Flipped, Refuse(AUTH)),
    ("distribution_uuid", Change::Flipped, Refuse(NO_KEY)),
    ("distribution_uuid", Change::Swapped, Refuse(AUTH_NO_KEY)),
    ("distribution_uuid", Change::Zeroed, Refuse(NO_KEY)),
    ("distribution_uuid", Change::Doubled, Refuse(AUTH_NO_KEY)),
    ("distribution_uuid", Change::Removed, Refuse(BAD)),
    ("distribution_uuid", Change::Emptied, Refuse(BAD)),
    ("distribution_uuid", Change::Cut, Refuse(BAD)),
    ("distribution_uuid", Change::Extended, Refuse(BAD)),
    ("distribution_uuid", Change::WireType, Refuse(BAD)),
    ("chain_id", Change::Flipped, Refuse(AUTH_NO_KEY)),
    ("chain_id", Change::Increased, Refuse(AUTH_NO_KEY)),
    ("chain_id", Change::Swapped, Refuse(AUTH_NO_KEY)),
    ("chain_id", Change::Zeroed, Refuse(AUTH_NO_KEY)),
    ("chain_id", Change::Doubled, Refuse(AUTH_NO_KEY)),
    ("chain_id", Change::Removed, Refuse(BAD)),
    ("chain_id", Change::WireType, Refuse(BAD)),
    ("iteration", Change::Flipped, Refuse(AUTH)),
    ("iteration", Change::Increased, Refuse(AUTH)),
    ("iteration", Change::Decreased, Refuse(AUTH_DUPLICATE)),
    ("iteration", Change::Zeroed, Refuse(AUTH_DUPLICATE)),
    ("iteration", FAR, Refuse(AUTH_NO_KEY)),
    ("iteration", Change::Doubled, Refuse(AUTH)),
    ("iteration", Change::Removed, Refuse(AUTH_BAD)),
    ("iteration", Change::WireType, Refuse(BAD)),
    ("ciphertext", Change::Flipped, Refuse(AUTH)),
    ("ciphertext", Change::Swapped, Refuse(AUTH)),
    ("ciphertext", Change::Zeroed, Refuse(AUTH)),
    ("ciphertext", Change::Doubled, Refuse(AUTH)),
    ("ciphertext", Change::Removed, Refuse(BAD)),
    ("ciphertext", Change::Emptied, Refuse(AUTH_BAD)),
    ("ciphertext", Change::Cut, Refuse(AUTH_BAD)),
    ("ciphertext", Change::Extended, Refuse(AUTH_BAD)),
    ("ciphertext", Change::WireType, Refuse(BAD)),
    ("signature", Change::Flipped, Refuse(AUTH)),
    ("signature", Change::Swapped, Refuse(AUTH)),
    ("signature", Change::Zeroed, Refuse(AUTH)),
    ("signature", Change::Removed, Refuse(AUTH_BAD)),
    ("signature", Change::Cut, Refuse(AUTH_BAD)),
    ("signature", Change::Extended, Refuse(AUTH_BAD)),
    (WHOLE, Change::Emptied, Refuse(BAD)),
    (WHOLE, Change::Halved, Refuse(AUTH_BAD)),
    (WHOLE, Change::Repeated, Refuse(AUTH_BAD_NO_KEY)),
];

const GROUP_KEY: &[Row] = &[
    ("version", Change::Set("set to 2, before the present format", &[0x23]), Refuse(BAD)),
    ("version", Change::Set("set to 4, which does not exist", &[0x43]), Refuse(BAD)),
    ("distribution_uuid", Change::Removed, Refuse(BAD)),
    ("distribution_uuid", Change::Emptied, Refuse(BAD)),
    ("distribution_uuid", Change::Cut, Refuse(BAD)),
    ("distribution_uuid", Change::Extended, Refuse(BAD)),
    ("distribution_uuid", Change::WireType, Refuse(BAD)),
    ("chain_id", Change::Removed, Refuse(BAD)),
    ("chain_id", Change::WireType, Refuse(BAD)),
    ("iteration", Change::Removed, Refuse(BAD)),
    ("iteration", Change::WireType, Refuse(BAD)),
    ("chain_key", Change::Removed, Refuse(BAD)),
    ("chain_key", Change::Emptied, Refuse(BAD)),
    ("chain_key", Change::Cut, Refuse(BAD)),
    ("chain_key", Change::Extended, Refuse(BAD)),
    ("chain_key", Change::WireType, Refuse(BAD)),
    ("signing_key", Change::Zeroed, Refuse(BAD)),
    ("signing_key", Change::Removed, Refuse(BAD)),
    ("signing_key", Change::Emptied, Refuse(BAD)),
    ("signing_key", Change::Cut, Refuse(BAD)),
    ("signing_key", Change::Extended, Refuse(BAD)),
    ("signing_key", Change::WireType, Refuse(BAD)),
    (WHOLE, Change::Emptied, Refuse(BAD)),
    (WHOLE, Change::Halved, Refuse(BAD)),
];

/// All of them.
pub(crate) fn scenes(date: &str) -> Result<Vec<Scene>> {
    Ok(vec![
        opening(
            date,
            "signal/authentication/altered-opening-prekeys",
            "The prekeys that an opening message names, altered",
            "Alice opens a session. Ahead of her message come copies of it that name other prekeys than she used: \
             numbers that do not exist, and prekeys that do. A sound device refuses each, because it has no such \
             prekey or comes to other keys than Alice, spends no prekey on it, and then takes the message itself.",
            OPENING_PREKEYS,
        )?,
        opening(
            date,
            "signal/authentication/altered-opening-keys",
            "Base key and identity key of an opening message, altered",
            "Alice opens a session. Ahead of her message come copies of it with another base key or identity key, \
             among them keys of small order, with which every agreement is zero. A sound device refuses each: both \
             keys go into the shared secret, and the identity key under the tag besides.",
            OPENING_KEYS,
        )?,
        kyber(date)?,
        opening(
            date,
            "signal/authentication/altered-opening-message",
            "Version, content and length of an opening message, altered",
            "Alice opens a session. Ahead of her message come copies of it with another version or with the \
             SignalMessage inside it altered, and pieces of it. A sound device refuses each and then takes the \
             message itself.",
            OPENING_MESSAGE,
        )?,
        opening_open(date)?,
        header(date)?,
        messages(
            date,
            "signal/authentication/altered-message-header",
            "Version, ratchet key and counters of a message, altered",
            MESSAGE_HEADER,
        )?,
        messages(
            date,
            "signal/authentication/altered-message-body",
            "Ciphertext, SPQR's part and tag of a message, altered",
            MESSAGE_BODY,
        )?,
        group_messages(date)?,
        group_key(date)?,
    ])
}

/// Alice's opening message with altered copies before it. What is swapped is that of carol's, who uses other prekeys.
fn opening(date: &str, id: &str, title: &str, description: &str, rows: &[Row]) -> Result<Scene> {
    let rng = &mut dice(id);
    let bob = Keys::new("bob.1", &[1, 5], &[11, 15], &[21, 25], rng)?;
    let (mut alice, mut carol) = (Person::new("alice.1", rng)?, Person::new("carol.1", rng)?);
    alice.open(&bob, Some(1), 11, 21)?;
    carol.open(&bob, Some(5), 15, 25)?;
    let (m0, c0) = (alice.say(&bob, "m0: here I am")?, carol.say(&bob, "c0: me too")?);
    let mut scene = Scene::new(id, title, description, &["R1"], date, bob.start());
    scene.altered_copies(&OPENING, rows, Some(&c0), &m0, "m0")?;
    scene.read("m0", "The message itself: none of the copies has spent a prekey.", &m0);
    scene.read("c0", "Carol's opening message, with the other prekeys.", &c0);
    chain(&mut scene, &bob, &mut alice, rows.len() / 2)?;
    chain(&mut scene, &bob, &mut carol, rows.len() / 2)?;
    Ok(scene)
}

/// The same for the Kyber ciphertext, and the downgrades to a handshake without it.
fn kyber(date: &str) -> Result<Scene> {
    let id = "signal/authentication/altered-opening-kyber";
    let rng = &mut dice(id);
    let bob = Keys::new("bob.1", &[1, 5], &[11], &[21, 25], rng)?;
    let (mut alice, mut carol) = (Person::new("alice.1", rng)?, Person::new("carol.1", rng)?);
    alice.open(&bob, Some(1), 11, 21)?;
    carol.open(&bob, Some(5), 11, 25)?;
    let (m0, c0) = (alice.say(&bob, "m0: here I am")?, carol.say(&bob, "c0: me too")?);
    let mut scene = Scene::new(
        id,
        "The Kyber ciphertext of an opening message, altered or left out",
        "Alice opens a session with PQXDH. Ahead of her message come copies with another Kyber ciphertext, and \
         copies without one, as X3DH had it. A sound device refuses each: decapsulation of an altered ciphertext \
         yields another secret, and a handshake without Kyber is a downgrade.",
        &["R1"],
        date,
        bob.start(),
    );
    scene.altered_copies(&OPENING, OPENING_KYBER, Some(&c0), &m0, "m0")?;
    let without = OPENING.alter(m0.bytes(), "kyber_ciphertext", Change::Removed, None)?;
    let without = OPENING.alter(&without, "kyber_pre_key_id", Change::Removed, None)?;
    let fault = (OPENING.packet, "kyber_pre_key_id and kyber_ciphertext", "removed");
    scene.refuse("downgrade", "Nothing of Kyber's.", m0.with(without.clone()), &["Downgrade"], fault, "m0", AUTH_BAD);
    let old = OPENING.alter(&without, "version", VERSION_3, None)?;
    let fault = (OPENING.packet, "version, kyber_pre_key_id and kyber_ciphertext", "as X3DH had it");
    let comment = "Nothing of Kyber's, and the version of that time.";
    scene.refuse("downgrade-with-version", comment, m0.with(old), &["Downgrade"], fault, "m0", AUTH_BAD);
    scene.read("m0", "The message itself.", &m0);
    scene.read("c0", "Carol's opening message, with the other Kyber prekey.", &c0);
    chain(&mut scene, &bob, &mut alice, 5)?;
    chain(&mut scene, &bob, &mut carol, 5)?;
    Ok(scene)
}

/// More of somebody's chain, without the header, to keep it short.
fn chain(scene: &mut Scene, bob: &Keys, person: &mut Person, count: usize) -> Result<()> {
    for number in 1..=count {
        scene.next(&person.say_plainly(bob, &format!("{number} more"))?);
    }
    Ok(())
}

fn opening_open(date: &str) -> Result<Scene> {
    let id = "signal/authentication/opening-unauthenticated";
    let rng = &mut dice(id);
    let kyber: Vec<u32> = (21..).take(OPENING_OPEN.len()).collect();
    let bob = Keys::new("bob.1", &[], &[11], &kyber, rng)?;
    let mut alice = Person::new("alice.1", rng)?;
    let mut scene = Scene::new(
        id,
        "What nothing authenticates in an opening message",
        "Alice opens one session after the other. Some parts of an opening message are under no tag and in no key. A \
         device may refuse a message in which they are altered, or read it; if it reads it, it is Alice's message as \
         she wrote it.",
        &["R1"],
        date,
        bob.start(),
    );
    for (number, (row, kyber)) in OPENING_OPEN.iter().zip(kyber).enumerate() {
        alice.open(&bob, None, 11, kyber)?;
        let first = alice.say(&bob, &format!("session {number}, first"))?;
        let second = alice.say(&bob, &format!("session {number}, second"))?;
        let twin = format!("session-{number}");
        scene.altered_copies(&OPENING, &[*row], None, &first, &twin)?;
        scene.read(&twin, "The second message of the session, which opens it if the first has not.", &second);
    }
    Ok(scene)
}

fn header(date: &str) -> Result<Scene> {
    let id = "signal/authentication/header-in-session";
    let rng = &mut dice(id);
    let bob = Keys::new("bob.1", &[1], &[11], &[21], rng)?;
    let mut alice = Person::new("alice.1", rng)?;
    alice.open(&bob, Some(1), 11, 21)?;
    let m0 = alice.say(&bob, "m0: here I am")?;
    let mut scene = Scene::new(
        id,
        "The header that repeats how a session was opened, altered",
        "Until she hears from Bob, Alice repeats in each message how she opened the session. When the session is \
         there already, that header says nothing new, and nothing authenticates it. A device may refuse a message \
         whose header is altered, or read it as Alice wrote it. The SignalMessage inside is authenticated as ever.",
        &["R1"],
        date,
        bob.start(),
    );
    scene.read("m0", "Opens the session.", &m0);
    let rows: Vec<Row> = HEADER_OPEN.to_vec();
    let last = "twin";
    for row in rows {
        let sent = alice.say(&bob, "one more")?;
        scene.altered_copies(&IN_SESSION, &[row], None, &sent, last)?;
    }
    for row in HEADER_REFUSED {
        let sent = alice.say(&bob, "one more")?;
        let name = format!("after-{}", row.1.label().replace(' ', "-"));
        scene.altered_copies(&IN_SESSION, &[*row], None, &sent, &name)?;
        scene.read(&name, "The message itself.", &sent);
    }
    let sent = alice.say(&bob, "the last")?;
    scene.read(last, "A message of the same session with its header as it was sent.", &sent);
    chain(&mut scene, &bob, &mut alice, 12)?;
    Ok(scene)
}

fn messages(date: &str, id: &str, title: &str, rows: &[Row]) -> Result<Scene> {
    let rng = &mut dice(id);
    let bob = Keys::new("bob.1", &[1, 2], &[11], &[21, 22], rng)?;
    let (mut alice, mut carol) = (Person::new("alice.1", rng)?, Person::new("carol.1", rng)?);
    alice.open(&bob, Some(1), 11, 21)?;
    carol.open(&bob, Some(2), 11, 22)?;
    let (m0, c0) = (alice.say(&bob, "m0: here I am")?, carol.say(&bob, "c0: me too")?);
    let mut scene = Scene::new(
        id,
        title,
        "Alice has opened a session; her messages come here without the header that repeats how. Ahead of each comes \
         a copy with one field altered. A sound device refuses the copy, since everything in a SignalMessage is \
         under its tag, and then reads the message: a refusal has neither used up its key nor moved the ratchet.",
        &["R1"],
        date,
        bob.start(),
    );
    scene.read("m0", "Opens the session.", &m0);
    scene.read("c0", "Carol's session, from which swapped fields are.", &c0);
    let donor = carol.say_plainly(&bob, "c1: it is raining")?;
    scene.read("c1", "The message that swapped fields are from.", &donor);
    let mut number = 0;
    scene.one_altered_copy_each(&MESSAGE, rows, &donor, || {
        number += 1;
        alice.say_plainly(&bob, &format!("message {number}"))
    })?;
    Ok(scene)
}

/// Two sender keys of alice's: that of `group` carries the messages, and swapped fields are of the other's.
fn two_groups(alice: &mut Person, scene: &mut Scene) -> Result<(Uuid, Sent)> {
    let (group, other) = (Uuid::from_u128(0x1111), Uuid::from_u128(0x2222));
    scene.take("distribution", "Alice's sender key for the group.", alice.distribution(group)?);
    scene.take("other-distribution", "Her sender key for another group.", alice.distribution(other)?);
    let donor = alice.say_to_group(other, "d0: elsewhere")?;
    scene.read("d0", "A message to the other group, which swapped fields are from.", &donor);
    Ok((group, donor))
}

fn group_messages(date: &str) -> Result<Scene> {
    let id = "signal/authentication/altered-group-message";
    let rng = &mut dice(id);
    let bob = Keys::new("bob.1", &[], &[11], &[21], rng)?;
    let mut alice = Person::new("alice.1", rng)?;
    let mut scene = Scene::new(
        id,
        "Every field of a group message, altered",
        "Alice sends to a group under her sender key. Ahead of each message comes a copy with one field altered. A \
         sound device refuses the copy, since the signature covers everything, and then reads the message: a refusal \
         has not used up its key.",
        &["R1"],
        date,
        bob.start(),
    );
    let (group, donor) = two_groups(&mut alice, &mut scene)?;
    let mut number = 0;
    scene.next(&alice.say_to_group(group, "message 0")?);
    scene.one_altered_copy_each(&SENDER_KEY_MESSAGE, GROUP_MESSAGE, &donor, || {
        number += 1;
        alice.say_to_group(group, &format!("message {number}"))
    })?;
    Ok(scene)
}

fn group_key(date: &str) -> Result<Scene> {
    let id = "signal/authentication/malformed-distribution";
    let rng = &mut dice(id);
    let bob = Keys::new("bob.1", &[], &[11], &[21], rng)?;
    let mut alice = Person::new("alice.1", rng)?;
    let group = Uuid::from_u128(0x1111);
    let key = alice.distribution(group)?;
    let sent = Sent { delivery: key.clone(), text: Vec::new(), index: None, sender: alice.name() };
    let mut scene = Scene::new(
        id,
        "Malformed sender keys",
        "A sender key comes through Alice's pairwise session, so nobody on the way can alter it; it has no tag of \
         its own. But its sender may write what is no sender key. A sound device refuses what lacks a field or has \
         one of another length, and is not confused by it: the key as it should be is taken, and messages under it \
         are read.",
        &["R1"],
        date,
        bob.start(),
    );
    scene.altered_copies(&DISTRIBUTION, GROUP_KEY, None, &sent, "distribution")?;
    scene.take("distribution", "The sender key as it should be.", key);
    for number in 0..GROUP_KEY.len() {
        scene.next(&alice.say_to_group(group, &format!("message {number}"))?);
    }
    Ok(scene)
}
