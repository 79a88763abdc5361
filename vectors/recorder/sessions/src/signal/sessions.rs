//! Signal: sessions between two devices, honest and attacked.

use anyhow::Result;
use e2esm_adapter::{Delivery, DeliveryKind};
use e2esm_playback::ObservedOutcome;

use crate::dice;
use crate::scene::{AUTH, AUTH_NO_KEY, DUPLICATE, NO_KEY, READ_BEFORE, Scene, UNTRUSTED};
use crate::signal::cast::{Keys, MESSAGE, OPENING, Person, without_header};

/// All of them.
pub(crate) fn scenes(date: &str) -> Result<Vec<Scene>> {
    Ok(vec![
        with_one_time_prekey(date)?,
        without_one_time_prekey(date)?,
        two_senders(date)?,
        out_of_order(date)?,
        lost(date)?,
        replayed(date)?,
        opening_replayed(date)?,
        second_session(date)?,
        openings_out_of_order(date)?,
        prekey_given_twice(date)?,
        unknown_prekeys(date)?,
        relabelled_first_message(date)?,
        relabelled_to_somebody_known(date)?,
        relabelled_in_session(date)?,
        changed_identity(date)?,
        known_identity(date)?,
        second_device(date)?,
    ])
}

fn with_one_time_prekey(date: &str) -> Result<Scene> {
    let id = "signal/authentication/session-with-one-time-prekey";
    let rng = &mut dice(id);
    let bob = Keys::new("bob.1", &[1], &[11], &[21], rng)?;
    let mut alice = Person::new("alice.1", rng)?;
    alice.open(&bob, Some(1), 11, 21)?;
    let mut scene = Scene::new(
        id,
        "A session with all kinds of prekeys",
        "Alice opens a session with Bob by PQXDH: his identity key, signed prekey, one-time prekey and Kyber prekey \
         all go into it. He reads what she writes, as hers, and both come to one safety number.",
        &["R1"],
        date,
        bob.start(),
    );
    scene.read("m0", "Opens the session.", &alice.say(&bob, "m0: hello, Bob")?);
    scene.read("m1", "", &alice.say(&bob, "m1: are you there?")?);
    scene.read("m2", "An empty text.", &alice.say(&bob, "")?);
    let long =
        "m3: long enough for more than one block of the cipher, with a few letters that are not ASCII: äöü ß 安全";
    scene.read("m3", "", &alice.say(&bob, long)?);
    let sixteen = alice.say(&bob, "m4: 16 bytes now")?;
    scene.read("m4", "As long as one block: another block of padding follows.", &sixteen);
    Ok(scene)
}

fn without_one_time_prekey(date: &str) -> Result<Scene> {
    let id = "signal/authentication/session-without-one-time-prekey";
    let rng = &mut dice(id);
    let bob = Keys::new("bob.1", &[], &[11, 12], &[21, 22], rng)?;
    let (mut alice, mut carol) = (Person::new("alice.1", rng)?, Person::new("carol.1", rng)?);
    alice.open(&bob, None, 11, 21)?;
    carol.open(&bob, None, 12, 22)?;
    let mut scene = Scene::new(
        id,
        "Sessions without a one-time prekey",
        "The server has run out of Bob's one-time prekeys. Alice opens a session without one, and Carol another with \
         his newer signed prekey. He reads both.",
        &["R1"],
        date,
        bob.start(),
    );
    scene.read("a0", "Opens a session with the older signed prekey.", &alice.say(&bob, "a0: hello, Bob")?);
    scene.read("c0", "Opens a session with the newer signed prekey.", &carol.say(&bob, "c0: hello from Carol")?);
    scene.read("a1", "", &alice.say(&bob, "a1: still here")?);
    scene.read("c1", "", &carol.say(&bob, "c1: me too")?);
    Ok(scene)
}

fn two_senders(date: &str) -> Result<Scene> {
    let id = "signal/authentication/two-senders";
    let rng = &mut dice(id);
    let bob = Keys::new("bob.1", &[1, 2], &[11], &[21, 22], rng)?;
    let (mut alice, mut carol) = (Person::new("alice.1", rng)?, Person::new("carol.1", rng)?);
    alice.open(&bob, Some(1), 11, 21)?;
    carol.open(&bob, Some(2), 11, 22)?;
    let mut scene = Scene::new(
        id,
        "Two senders at once",
        "Alice and Carol write to Bob at the same time. Each message is shown as the one's who wrote it, and the two \
         sessions do not disturb one another.",
        &["R1"],
        date,
        bob.start(),
    );
    for round in 0..4 {
        scene.read(&format!("a{round}"), "", &alice.say(&bob, &format!("a{round}: this is Alice"))?);
        scene.read(&format!("c{round}"), "", &carol.say(&bob, &format!("c{round}: this is Carol"))?);
    }
    Ok(scene)
}

/// The order in which nine messages come.
const SHUFFLED: [usize; 9] = [4, 2, 8, 0, 7, 1, 3, 6, 5];

fn out_of_order(date: &str) -> Result<Scene> {
    let id = "signal/integrity/out-of-order";
    let rng = &mut dice(id);
    let bob = Keys::new("bob.1", &[1], &[11], &[21], rng)?;
    let mut alice = Person::new("alice.1", rng)?;
    alice.open(&bob, Some(1), 11, 21)?;
    let mut scene = Scene::new(
        id,
        "Messages in any order",
        "Alice writes nine messages before she hears from Bob. The network brings them in another order, so that not \
         her first one opens the session. A sound device reads all of them; to lose messages for that would be a way \
         to silence her.",
        &["L1"],
        date,
        bob.start(),
    );
    let mut messages = Vec::new();
    for number in 0..SHUFFLED.len() {
        messages.push(alice.say(&bob, &format!("m{number}: one of nine"))?);
    }
    for number in SHUFFLED {
        scene.read_out_of_order(&format!("m{number}"), "", &messages[number]);
    }
    // The same without the header, in blocks.
    let mut more = Vec::new();
    for number in 9..39 {
        more.push((number, alice.say_plainly(&bob, &format!("m{number}: one of many"))?));
    }
    more.sort_by_key(|(number, _)| (number % 5, *number));
    for (number, sent) in more {
        scene.read_out_of_order(&format!("m{number}"), "", &sent);
    }
    Ok(scene)
}

fn lost(date: &str) -> Result<Scene> {
    let id = "signal/integrity/lost-messages";
    let rng = &mut dice(id);
    let bob = Keys::new("bob.1", &[1], &[11], &[21], rng)?;
    let mut alice = Person::new("alice.1", rng)?;
    alice.open(&bob, Some(1), 11, 21)?;
    let mut scene = Scene::new(
        id,
        "Messages that never come",
        "Alice's first message never comes, and later a hundred in a row do not. A sound device reads what does \
         come; a message that was held back for long is still read.",
        &["L1"],
        date,
        bob.start(),
    );
    alice.say(&bob, "m0: never delivered")?;
    let held_back = alice.say(&bob, "m1: held back")?;
    scene.read_out_of_order(
        "m2",
        "Opens the session; two messages before it have not come.",
        &alice.say(&bob, "m2: first to come")?,
    );
    for number in 3..103 {
        alice.say(&bob, &format!("m{number}: never delivered"))?;
    }
    scene.read_out_of_order("m103", "After a hundred that have not come.", &alice.say(&bob, "m103: after a gap")?);
    scene.read_out_of_order("m1", "Held back until now.", &held_back);
    scene.read("m104", "", &alice.say(&bob, "m104: as usual")?);
    Ok(scene)
}

fn replayed(date: &str) -> Result<Scene> {
    let id = "signal/authentication/replayed-message";
    let rng = &mut dice(id);
    let bob = Keys::new("bob.1", &[1], &[11], &[21], rng)?;
    let mut alice = Person::new("alice.1", rng)?;
    alice.open(&bob, Some(1), 11, 21)?;
    let mut scene = Scene::new(
        id,
        "A message delivered again",
        "The server delivers messages of Alice's a second time: at once, after later ones, and one that had come \
         late. A sound device shows none of them twice: their keys are used up.",
        &["R1"],
        date,
        bob.start(),
    );
    let m0 = alice.say(&bob, "m0: hello, Bob")?;
    scene.read("m0", "Opens the session.", &m0);
    let (m1, m2) = (alice.say_plainly(&bob, "m1: pay him")?, alice.say_plainly(&bob, "m2: ten euros")?);
    let (m3, m4) = (alice.say_plainly(&bob, "m3: today")?, alice.say_plainly(&bob, "m4: please")?);
    let again = (MESSAGE.packet, "whole", "delivered again");
    scene.read("m1", "", &m1);
    scene.refuse("m1-again", "At once.", m1.delivery.clone(), &["Replayed"], again, "m1", DUPLICATE);
    scene.read_out_of_order("m3", "m2 is still on its way.", &m3);
    let late = (MESSAGE.packet, "whole", "delivered again after later ones");
    scene.refuse("m1-after-m3", "After a later one.", m1.delivery.clone(), &["Replayed"], late, "m1", DUPLICATE);
    scene.read_out_of_order("m2", "Late.", &m2);
    let skipped = (MESSAGE.packet, "whole", "delivered again, after it had come late");
    let comment = "Its key had been kept for it, and is gone now.";
    scene.refuse("m2-again", comment, m2.delivery.clone(), &["Replayed"], skipped, "m2", DUPLICATE);
    scene.read("m4", "", &m4);
    Ok(scene)
}

fn opening_replayed(date: &str) -> Result<Scene> {
    let id = "signal/authentication/replayed-opening";
    let rng = &mut dice(id);
    let bob = Keys::new("bob.1", &[1, 2], &[11], &[21, 22], rng)?;
    let mut alice = Person::new("alice.1", rng)?;
    let mut scene = Scene::new(
        id,
        "An opening message delivered again",
        "The server delivers the message with which Alice opened a session a second time: at once, and when she has \
         long opened another. A sound device does not read it again, and does not fall back to the session that it \
         belonged to.",
        &["R1"],
        date,
        bob.start(),
    );
    alice.open(&bob, Some(1), 11, 21)?;
    let m0 = alice.say(&bob, "m0: hello, Bob")?;
    scene.read("m0", "Opens the session.", &m0);
    let fault = (OPENING.packet, "whole", "delivered again");
    scene.refuse("m0-again", "At once.", m0.delivery.clone(), &["Replayed"], fault, "m0", DUPLICATE);
    scene.read("m1", "", &alice.say(&bob, "m1: still there")?);
    alice.open(&bob, Some(2), 11, 22)?;
    scene.read("n0", "Opens another session.", &alice.say(&bob, "n0: from the start")?);
    let fault = (OPENING.packet, "whole", "delivered again after another session was opened");
    let comment = "The first session's.";
    scene.refuse("m0-after-n0", comment, m0.delivery.clone(), &["Replayed"], fault, "m0", READ_BEFORE);
    scene.read("n1", "The later session goes on.", &alice.say(&bob, "n1: all well")?);
    Ok(scene)
}

fn second_session(date: &str) -> Result<Scene> {
    let id = "signal/integrity/second-session";
    let rng = &mut dice(id);
    let bob = Keys::new("bob.1", &[1, 2], &[11], &[21, 22], rng)?;
    let mut alice = Person::new("alice.1", rng)?;
    let mut scene = Scene::new(
        id,
        "A second session of the same sender",
        "Alice opens a second session with Bob, with another base key. Messages of the first one are still on their \
         way. A sound device reads both, each in its session.",
        &["L1"],
        date,
        bob.start(),
    );
    alice.open(&bob, Some(1), 11, 21)?;
    scene.read("m0", "Opens the first session.", &alice.say(&bob, "m0: hello, Bob")?);
    let (m1, m2) = (alice.say(&bob, "m1: on its way")?, alice.say_plainly(&bob, "m2: on its way, too")?);
    alice.open(&bob, Some(2), 11, 22)?;
    scene.read("n0", "Opens the second session.", &alice.say(&bob, "n0: from the start")?);
    scene.read_out_of_order("m1", "Of the first session, and late.", &m1);
    scene.read("n1", "", &alice.say(&bob, "n1: once more")?);
    scene.read_out_of_order("m2", "Of the first session, late, and without the header that says so.", &m2);
    scene.read("n2", "", &alice.say_plainly(&bob, "n2: the end")?);
    Ok(scene)
}

fn openings_out_of_order(date: &str) -> Result<Scene> {
    let id = "signal/integrity/openings-out-of-order";
    let rng = &mut dice(id);
    let bob = Keys::new("bob.1", &[1, 2, 3], &[11], &[21, 22, 23], rng)?;
    let mut alice = Person::new("alice.1", rng)?;
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
        alice.open(&bob, Some(1 + number), 11, 21 + number)?;
        opened.push(alice.say(&bob, &format!("s{number}: the first of session {number}"))?);
        opened.push(alice.say_plainly(&bob, &format!("t{number}: the second of session {number}"))?);
    }
    scene.read_out_of_order("s2", "Opens the third session.", &opened[4]);
    scene.read_out_of_order("s1", "Opens the second.", &opened[2]);
    scene.read_out_of_order("t2", "", &opened[5]);
    scene.read_out_of_order("s0", "Opens the first.", &opened[0]);
    scene.read_out_of_order("t1", "", &opened[3]);
    scene.read_out_of_order("t0", "", &opened[1]);
    Ok(scene)
}

fn prekey_given_twice(date: &str) -> Result<Scene> {
    let id = "signal/authentication/prekey-given-twice";
    let rng = &mut dice(id);
    let bob = Keys::new("bob.1", &[1, 2], &[11], &[21, 22, 23], rng)?;
    let (mut alice, mut carol) = (Person::new("alice.1", rng)?, Person::new("carol.1", rng)?);
    let mut scene = Scene::new(
        id,
        "One prekey given to two people",
        "The server gives one of Bob's one-time prekeys, and then one of his Kyber prekeys, to two people. What is \
         for one use is gone after it: a sound device refuses the second opening message. Otherwise an opening \
         message could be replayed.",
        &["R1"],
        date,
        bob.start(),
    );
    alice.open(&bob, Some(1), 11, 21)?;
    carol.open(&bob, Some(1), 11, 22)?;
    scene.read(
        "a0",
        "Alice's session spends one-time prekey 1 and Kyber prekey 21.",
        &alice.say(&bob, "a0: hello, Bob")?,
    );
    let fault = (OPENING.packet, "pre_key_id", "of a one-time prekey that has been used");
    let second = carol.say(&bob, "c0: me too")?;
    scene.refuse("c0", "One-time prekey 1 again.", second.delivery, &["UnknownPrekey"], fault, "c1", NO_KEY);
    carol.open(&bob, Some(2), 11, 21)?;
    let fault = (OPENING.packet, "kyber_pre_key_id", "of a Kyber prekey that has been used");
    let third = carol.say(&bob, "c0: me too, again")?;
    scene.refuse("c0-kyber", "Kyber prekey 21 again.", third.delivery, &["UnknownPrekey"], fault, "c1", NO_KEY);
    carol.open(&bob, Some(2), 11, 23)?;
    scene.read("c1", "With prekeys of her own.", &carol.say(&bob, "c1: at last")?);
    scene.read("a1", "", &alice.say(&bob, "a1: all well")?);
    Ok(scene)
}

fn unknown_prekeys(date: &str) -> Result<Scene> {
    let id = "signal/authentication/prekeys-of-an-earlier-installation";
    let rng = &mut dice(id);
    let bob = Keys::new("bob.1", &[1, 2], &[11, 12], &[21, 22], rng)?;
    let mut alice = Person::new("alice.1", rng)?;
    let mut scene = Scene::new(
        id,
        "Prekeys that the device does not have any more",
        "The server hands out prekeys that Bob has thrown away. Alice's opening messages are honest, and nothing \
         here opens them. A sound device says so, takes none of her words for read, and takes the session that she \
         opens with prekeys it has.",
        &["R1"],
        date,
        bob.start_without(&[2], &[12], &[22]),
    );
    for (name, one_time, signed, kyber, field) in [
        ("one-time", 2, 11, 21, "pre_key_id"),
        ("signed", 1, 12, 21, "signed_pre_key_id"),
        ("kyber", 1, 11, 22, "kyber_pre_key_id"),
    ] {
        alice.open(&bob, Some(one_time), signed, kyber)?;
        let sent = alice.say(&bob, "are you there?")?;
        let fault = (OPENING.packet, field, "of a prekey that was thrown away");
        scene.refuse(name, "", sent.delivery, &["UnknownPrekey"], fault, "m0", NO_KEY);
    }
    alice.open(&bob, Some(1), 11, 21)?;
    scene.read("m0", "With prekeys that the device has.", &alice.say(&bob, "m0: there you are")?);
    scene.read("m1", "", &alice.say(&bob, "m1: good")?);
    Ok(scene)
}

/// Service ids, as the names in the addresses under a tag are.
const ALICE_ID: &str = "9d0652a3-dcc3-4d11-975f-74d61598733f.1";
const BOB_ID: &str = "e80f7bbe-5b94-471e-bd8c-2173654ea3d1.1";
const CAROL_ID: &str = "6838237d-02f6-4098-b110-698253d15961.1";

fn relabelled_first_message(date: &str) -> Result<Scene> {
    let id = "signal/authentication/relabelled-opening";
    let rng = &mut dice(id);
    let bob = Keys::new(BOB_ID, &[1, 2], &[11], &[21, 22], rng)?;
    let mut alice = Person::new(ALICE_ID, rng)?;
    let mut scene = Scene::new(
        id,
        "An opening message under another sender's name",
        "Alice opens a session; her message says under its tag from which address to which it goes, as Signal's do \
         since 2026. The server, or whoever it works with, delivers it as Carol's, whom Bob has never met. A sound \
         device sees that it is not from Carol's address and refuses it; else Alice's words would be shown as \
         Carol's, and her key be kept as Carol's. Then it takes the message as Alice's.",
        &["R1", "R6"],
        date,
        bob.start(),
    );
    alice.open(&bob, Some(1), 11, 21)?;
    let m0 = alice.say_with_addresses(&bob, "m0: it is me, Alice")?;
    let fault = (OPENING.packet, "from", "delivered under another sender's label");
    let reasons = &[e2esm_adapter::ErrorClass::AuthFailed, e2esm_adapter::ErrorClass::UntrustedIdentity];
    scene.refuse(
        "m0-as-carol",
        "Alice's message as Carol's.",
        m0.labelled(CAROL_ID),
        &["Relabelled"],
        fault,
        "m0",
        reasons,
    );
    scene.read("m0", "The message under its own label.", &m0);
    alice.open(&bob, Some(2), 11, 22)?;
    scene.read("n0", "Another session of Alice's.", &alice.say_with_addresses(&bob, "n0: again")?);
    scene.read("n1", "", &alice.say_with_addresses(&bob, "n1: and again")?);
    scene.disagreement(
        "libsignal",
        "m0-as-carol",
        ObservedOutcome::Accepted,
        "0.85.3 does not know the field `addresses` of a SignalMessage and compares nothing with it. X3DH, section 3.3, lets the \
         parties put such names into the associated data, and section 4.8 says what follows if they do not; Signal does so since \
         0.91.0 (its commit 81afdfe2f, \"MAC sender ID\").",
    );
    scene.disagreement(
        "libsignal",
        "m0",
        ObservedOutcome::Rejected,
        "What follows from it: 0.85.3 has spent the prekeys on the copy under Carol's label.",
    );
    Ok(scene)
}

fn relabelled_to_somebody_known(date: &str) -> Result<Scene> {
    let id = "signal/authentication/relabelled-opening-known";
    let rng = &mut dice(id);
    let mut bob = Keys::new("bob.1", &[1, 2], &[11], &[21, 22], rng)?;
    let (mut alice, mut carol) = (Person::new("alice.1", rng)?, Person::new("carol.1", rng)?);
    bob.know(&alice);
    bob.know(&carol);
    alice.open(&bob, Some(1), 11, 21)?;
    carol.open(&bob, Some(2), 11, 22)?;
    let mut scene = Scene::new(
        id,
        "An opening message under the name of somebody known",
        "Bob knows the identity keys of Alice and Carol. The server delivers the message with which Alice opens a \
         session as Carol's, and the other way round. A sound device sees that the identity key is not that person's.",
        &["R1", "R6"],
        date,
        bob.start(),
    );
    let (a0, c0) = (alice.say(&bob, "a0: it is me, Alice")?, carol.say(&bob, "c0: it is me, Carol")?);
    let fault = (OPENING.packet, "from", "delivered under the label of somebody known");
    scene.refuse("a0-as-carol", "", a0.labelled("carol.1"), &["Relabelled"], fault, "a0", UNTRUSTED);
    scene.read("a0", "", &a0);
    scene.refuse(
        "c0-as-alice",
        "Now that Alice has a session.",
        c0.labelled("alice.1"),
        &["Relabelled"],
        fault,
        "c0",
        UNTRUSTED,
    );
    scene.read("c0", "", &c0);
    scene.read("a1", "", &alice.say(&bob, "a1: all well")?);
    Ok(scene)
}

fn relabelled_in_session(date: &str) -> Result<Scene> {
    let id = "signal/authentication/relabelled-message";
    let rng = &mut dice(id);
    let bob = Keys::new("bob.1", &[1, 2], &[11], &[21, 22], rng)?;
    let (mut alice, mut carol) = (Person::new("alice.1", rng)?, Person::new("carol.1", rng)?);
    alice.open(&bob, Some(1), 11, 21)?;
    carol.open(&bob, Some(2), 11, 22)?;
    let mut scene = Scene::new(
        id,
        "A message under another sender's name",
        "Alice and Carol have sessions with Bob. The server delivers Alice's messages under Carol's name, under a \
         stranger's and under that of another device of Alice's. A sound device opens a message with the session of \
         the sender that is claimed, so none of them opens.",
        &["R1"],
        date,
        bob.start(),
    );
    let (a0, c0) = (alice.say(&bob, "a0: it is me, Alice")?, carol.say(&bob, "c0: it is me, Carol")?);
    scene.read("a0", "", &a0);
    scene.read("c0", "", &c0);
    let a1 = alice.say_plainly(&bob, "a1: trust me")?;
    let relabelled = |to| (MESSAGE.packet, "from", to);
    let other = relabelled("delivered under the label of another sender with a session");
    scene.refuse("a1-as-carol", "", a1.labelled("carol.1"), &["Relabelled"], other, "a1", AUTH);
    let stranger = relabelled("delivered under the label of somebody without a session");
    scene.refuse("a1-as-mallory", "", a1.labelled("mallory.1"), &["Relabelled"], stranger, "a1", AUTH_NO_KEY);
    let device = relabelled("delivered under the label of another device of the sender");
    scene.refuse("a1-as-another-device", "", a1.labelled("alice.2"), &["Relabelled"], device, "a1", AUTH_NO_KEY);
    scene.read("a1", "Under its own label.", &a1);
    let c1 = carol.say_plainly(&bob, "c1: trust me")?;
    scene.read("c1", "Carol's session has not suffered.", &c1);
    Ok(scene)
}

fn changed_identity(date: &str) -> Result<Scene> {
    let id = "signal/authentication/identity-changed";
    let rng = &mut dice(id);
    let bob = Keys::new("bob.1", &[1, 2, 3], &[11], &[21, 22, 23], rng)?;
    let (mut alice, mut mallory) = (Person::new("alice.1", rng)?, Person::new("mallory.1", rng)?);
    alice.open(&bob, Some(1), 11, 21)?;
    mallory.open(&bob, Some(2), 11, 22)?;
    let mut scene = Scene::new(
        id,
        "A changed identity key",
        "Bob has met Alice. Mallory opens a session with an identity key of her own, and the server delivers her \
         message as Alice's. A device that trusts a key on first use refuses another one, spends no prekey on it, \
         and goes on with Alice.",
        &["R1", "R6"],
        date,
        bob.start(),
    );
    scene.read("a0", "The first use of Alice's key.", &alice.say(&bob, "a0: it is me, Alice")?);
    let forged = mallory.say(&bob, "f0: it is me, Alice, on a new phone")?;
    let fault = (OPENING.packet, "identity_key", "of another person, who signs as nobody");
    scene.refuse(
        "forged",
        "Mallory's, as Alice's.",
        forged.labelled("alice.1"),
        &["SwappedIdentity"],
        fault,
        "a0",
        UNTRUSTED,
    );
    scene.read("a1", "Alice's session goes on.", &alice.say(&bob, "a1: all well")?);
    scene.read("f0", "Under her own name Mallory may write.", &mallory.say(&bob, "f1: hello from Mallory")?);
    alice.open(&bob, Some(3), 11, 23)?;
    scene.read("a2", "Alice opens another session with the key that is known.", &alice.say(&bob, "a2: still me")?);
    Ok(scene)
}

fn known_identity(date: &str) -> Result<Scene> {
    let id = "signal/authentication/identity-known-before";
    let rng = &mut dice(id);
    let mut bob = Keys::new("bob.1", &[1, 2], &[11], &[21, 22], rng)?;
    let (mut alice, mut mallory) = (Person::new("alice.1", rng)?, Person::new("mallory.1", rng)?);
    bob.know(&alice);
    alice.open(&bob, Some(1), 11, 21)?;
    mallory.open(&bob, Some(1), 11, 21)?;
    let mut scene = Scene::new(
        id,
        "An identity key that is known before the first message",
        "Bob has Alice's identity key from elsewhere: they have compared safety numbers. Mallory is first to open a \
         session in her name, with an identity key of her own and with the very prekeys that Alice will use. A sound \
         device refuses it before it spends them.",
        &["R1", "R6"],
        date,
        bob.start(),
    );
    let forged = mallory.say(&bob, "f0: it is me, Alice")?;
    let fault = (OPENING.packet, "identity_key", "not the one known before");
    scene.refuse(
        "forged",
        "Mallory's, as Alice's.",
        forged.labelled("alice.1"),
        &["SwappedIdentity"],
        fault,
        "a0",
        UNTRUSTED,
    );
    scene.read("a0", "Alice's, with the same prekeys.", &alice.say(&bob, "a0: it is me, Alice")?);
    scene.read("a1", "", &alice.say(&bob, "a1: all well")?);
    Ok(scene)
}

fn second_device(date: &str) -> Result<Scene> {
    let id = "signal/device-addition/second-device";
    let rng = &mut dice(id);
    let bob = Keys::new("bob.1", &[1, 2], &[11], &[21, 22], rng)?;
    let (mut phone, mut tablet) = (Person::new("alice.1", rng)?, Person::new("alice.2", rng)?);
    phone.open(&bob, Some(1), 11, 21)?;
    tablet.open(&bob, Some(2), 11, 22)?;
    let mut scene = Scene::new(
        id,
        "A second device under the same name",
        "Alice's phone has a session with Bob. A message comes that claims to be from a second device of hers; it \
         has sessions and keys of its own. The server delivers the phone's messages as the new device's and the \
         other way round. A sound device keeps the two apart.",
        &["R1", "R2"],
        date,
        bob.start(),
    );
    let p0 = phone.say(&bob, "p0: from the phone")?;
    scene.read("p0", "", &p0);
    let t0 = tablet.say(&bob, "t0: from the tablet")?;
    let fault = (OPENING.packet, "from", "of a new device, delivered as an old one's");
    scene.refuse(
        "t0-as-phone",
        "The tablet's key is not the phone's.",
        t0.labelled("alice.1"),
        &["Relabelled"],
        fault,
        "t0",
        UNTRUSTED,
    );
    scene.read("t0", "", &t0);
    let p1 = phone.say_plainly(&bob, "p1: from the phone")?;
    let fault = (MESSAGE.packet, "from", "of an old device, delivered as a new one's");
    scene.refuse("p1-as-tablet", "", p1.labelled("alice.2"), &["Relabelled"], fault, "p1", AUTH);
    scene.read("p1", "", &p1);
    let t1 = tablet.say(&bob, "t1: from the tablet")?;
    let inner = without_header(&t1)?;
    scene.read("t1", "", &t1);
    let again = Delivery { kind: DeliveryKind::Message, ..inner.delivery };
    let fault = (MESSAGE.packet, "whole", "delivered again without its prekey header");
    scene.refuse("t1-again", "Read a moment ago, with its header.", again, &["Replayed"], fault, "p1", DUPLICATE);
    scene.read("p2", "", &phone.say_plainly(&bob, "p2: good night")?);
    Ok(scene)
}
