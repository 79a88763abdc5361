//! Signal: sender keys, from the view of one member.

use anyhow::Result;
use uuid::Uuid;

use crate::dice;
use crate::scene::{AUTH, AUTH_NO_KEY, DUPLICATE, NO_KEY, READ_BEFORE, Scene};
use crate::signal::cast::{Keys, Person, SENDER_KEY_MESSAGE};

/// The group.
const GROUP: Uuid = Uuid::from_u128(0x9e2c_4f0d_7a51_4b1e_8d26_5b0f_3c7a_1101);
/// Another group, or the same after somebody has been removed: a new sender key has a new distribution id.
const OTHER: Uuid = Uuid::from_u128(0x9e2c_4f0d_7a51_4b1e_8d26_5b0f_3c7a_2202);

/// All of them.
pub(crate) fn scenes(date: &str) -> Result<Vec<Scene>> {
    Ok(vec![
        honest(date)?,
        out_of_order(date)?,
        replayed(date)?,
        redelivered_key(date)?,
        relabelled(date)?,
        forged(date)?,
        foreign_key(date)?,
        other_group(date)?,
        removed(date)?,
        removed_sender(date)?,
        removed_and_back(date)?,
        newcomer(date)?,
        no_history(date)?,
    ])
}

/// A member with no sessions: what came through one is delivered as it came out of it.
fn member(id: &str, name: &str) -> Result<(Keys, rand::rngs::StdRng)> {
    let mut rng = dice(id);
    let keys = Keys::new(name, &[], &[11], &[21], &mut rng)?;
    Ok((keys, rng))
}

fn honest(date: &str) -> Result<Scene> {
    let id = "signal/authentication/group-messages";
    let (bob, mut rng) = member(id, "bob.1")?;
    let (mut alice, mut carol) = (Person::new("alice.1", &mut rng)?, Person::new("carol.1", &mut rng)?);
    let mut scene = Scene::new(
        id,
        "A group with two senders",
        "Alice and Carol each hand Bob their sender key for a group and write to it. He reads every message, as the \
         one's who wrote it.",
        &["R1"],
        date,
        bob.start(),
    );
    scene.take("alice-key", "Alice's sender key.", alice.distribution(GROUP)?);
    scene.read("a0", "", &alice.say_to_group(GROUP, "a0: welcome, everybody")?);
    scene.take("carol-key", "Carol's, under the same distribution id.", carol.distribution(GROUP)?);
    scene.read("c0", "", &carol.say_to_group(GROUP, "c0: thank you")?);
    scene.read("a1", "", &alice.say_to_group(GROUP, "a1: a longer text than one block of the cipher can hold")?);
    scene.read("a2", "An empty text.", &alice.say_to_group(GROUP, "")?);
    scene.read("c1", "", &carol.say_to_group(GROUP, "c1: the end")?);
    Ok(scene)
}

fn out_of_order(date: &str) -> Result<Scene> {
    let id = "signal/integrity/group-out-of-order";
    let (bob, mut rng) = member(id, "bob.1")?;
    let mut alice = Person::new("alice.1", &mut rng)?;
    let mut scene = Scene::new(
        id,
        "Group messages in any order",
        "Alice's messages to a group come in another order than she wrote them, and some never come. A sound device \
         reads all that come.",
        &["L1"],
        date,
        bob.start(),
    );
    scene.take("key", "Alice's sender key.", alice.distribution(GROUP)?);
    let mut messages = Vec::new();
    for number in 0..40 {
        messages.push((number, alice.say_to_group(GROUP, &format!("m{number}: one of many"))?));
    }
    messages.retain(|(number, _)| number % 10 != 9);
    messages.sort_by_key(|(number, _)| (number % 7, *number));
    for (number, sent) in messages {
        scene.read_out_of_order(&format!("m{number}"), "", &sent);
    }
    for number in 40..100 {
        alice.say_to_group(GROUP, &format!("m{number}: never delivered"))?;
    }
    scene.read_out_of_order("m100", "After sixty that have not come.", &alice.say_to_group(GROUP, "m100: at last")?);
    Ok(scene)
}

fn replayed(date: &str) -> Result<Scene> {
    let id = "signal/authentication/group-replayed";
    let (bob, mut rng) = member(id, "bob.1")?;
    let mut alice = Person::new("alice.1", &mut rng)?;
    let mut scene = Scene::new(
        id,
        "A group message delivered again",
        "The server delivers messages of Alice's to a group a second time: at once, after later ones, and one that \
         had come late. A sound device shows none of them twice.",
        &["R1"],
        date,
        bob.start(),
    );
    scene.take("key", "Alice's sender key.", alice.distribution(GROUP)?);
    let m0 = alice.say_to_group(GROUP, "m0: meet me")?;
    let (m1, m2) = (alice.say_to_group(GROUP, "m1: at eight")?, alice.say_to_group(GROUP, "m2: tomorrow")?);
    let again = |change| (SENDER_KEY_MESSAGE.packet, "whole", change);
    scene.read("m0", "", &m0);
    scene.refuse("m0-again", "At once.", m0.delivery.clone(), &["Replayed"], again("delivered again"), "m0", DUPLICATE);
    scene.read_out_of_order("m2", "m1 is still on its way.", &m2);
    let fault = again("delivered again after later ones");
    scene.refuse("m0-after-m2", "", m0.delivery.clone(), &["Replayed"], fault, "m0", DUPLICATE);
    scene.read_out_of_order("m1", "Late.", &m1);
    let fault = again("delivered again, after it had come late");
    scene.refuse("m1-again", "", m1.delivery.clone(), &["Replayed"], fault, "m1", DUPLICATE);
    scene.read("m3", "", &alice.say_to_group(GROUP, "m3: good")?);
    Ok(scene)
}

fn redelivered_key(date: &str) -> Result<Scene> {
    let id = "signal/authentication/group-key-redelivered";
    let (bob, mut rng) = member(id, "bob.1")?;
    let mut alice = Person::new("alice.1", &mut rng)?;
    let mut scene = Scene::new(
        id,
        "A sender key delivered again does not rewind",
        "Alice hands Bob her sender key once more, as clients do after an error: the same one, and later its present \
         position. It must not wind back what he has read: a message that he has read is refused after it as before.",
        &["R1"],
        date,
        bob.start(),
    );
    let key = alice.distribution(GROUP)?;
    scene.take("key", "Alice's sender key at its beginning.", key.clone());
    let (m0, m1) = (alice.say_to_group(GROUP, "m0: meet me")?, alice.say_to_group(GROUP, "m1: at eight")?);
    let late = alice.say_to_group(GROUP, "m2: or at nine")?;
    scene.read("m0", "", &m0);
    scene.read("m1", "", &m1);
    scene.read_out_of_order("m3", "m2 is still on its way.", &alice.say_to_group(GROUP, "m3: whatever")?);
    scene.take("key-again", "The same bytes as before.", key);
    let fault = (SENDER_KEY_MESSAGE.packet, "whole", "delivered again after its sender key was");
    scene.refuse("m0-again", "", m0.delivery.clone(), &["Replayed"], fault, "m0", DUPLICATE);
    scene.take("key-at-4", "The same key at its present position.", alice.distribution(GROUP)?);
    let fault = (SENDER_KEY_MESSAGE.packet, "whole", "delivered again after its sender key's present position");
    scene.refuse("m1-again", "", m1.delivery.clone(), &["Replayed"], fault, "m1", DUPLICATE);
    scene.read_out_of_order("m2", "What was skipped before can still be read.", &late);
    scene.read("m4", "", &alice.say_to_group(GROUP, "m4: see you")?);
    Ok(scene)
}

fn relabelled(date: &str) -> Result<Scene> {
    let id = "signal/authentication/group-relabelled";
    let (bob, mut rng) = member(id, "bob.1")?;
    let (mut alice, mut carol) = (Person::new("alice.1", &mut rng)?, Person::new("carol.1", &mut rng)?);
    let mut scene = Scene::new(
        id,
        "A group message under another sender's name",
        "Alice and Carol have handed Bob their sender keys for one group. The server delivers Alice's message as \
         Carol's, as that of somebody who has handed out no key, and as that of another device of Alice's. A sound \
         device opens it with the key of the sender that is claimed, so none of these opens.",
        &["R1"],
        date,
        bob.start(),
    );
    scene.take("alice-key", "", alice.distribution(GROUP)?);
    scene.take("carol-key", "", carol.distribution(GROUP)?);
    scene.read("c0", "", &carol.say_to_group(GROUP, "c0: hello")?);
    let a0 = alice.say_to_group(GROUP, "a0: I leave you my house")?;
    let relabelled = |change| (SENDER_KEY_MESSAGE.packet, "from", change);
    let other = relabelled("delivered under the label of another sender with a key");
    scene.refuse("a0-as-carol", "", a0.labelled("carol.1"), &["Relabelled"], other, "a0", AUTH_NO_KEY);
    let nobody = relabelled("delivered under the label of somebody without a key");
    scene.refuse("a0-as-mallory", "", a0.labelled("mallory.1"), &["Relabelled"], nobody, "a0", NO_KEY);
    let device = relabelled("delivered under the label of another device of the sender");
    scene.refuse("a0-as-another-device", "", a0.labelled("alice.2"), &["Relabelled"], device, "a0", NO_KEY);
    scene.read("a0", "", &a0);
    scene.read("c1", "", &carol.say_to_group(GROUP, "c1: how kind")?);
    Ok(scene)
}

fn forged(date: &str) -> Result<Scene> {
    let id = "signal/authentication/group-forged-by-member";
    let (bob, mut rng) = member(id, "bob.1")?;
    let (mut alice, mut mallory) = (Person::new("alice.1", &mut rng)?, Person::new("mallory.1", &mut rng)?);
    let mut scene = Scene::new(
        id,
        "A member writes in another member's name",
        "Every member has Alice's chain key and can encrypt as she does. Mallory, a member, writes a message on \
         Alice's chain and signs it with a key of her own; she does so at the present position, further on, and at \
         one that was read. A sound device looks at the signature first and refuses each; Alice's own messages are \
         read.",
        &["R1"],
        date,
        bob.start(),
    );
    let key = alice.distribution(GROUP)?;
    scene.take("alice-key", "Mallory is given the same.", key.clone());
    scene.take("mallory-key", "Mallory's own.", mallory.distribution(GROUP)?);
    scene.read("a0", "", &alice.say_to_group(GROUP, "a0: hello")?);
    let fault = |change| (SENDER_KEY_MESSAGE.packet, "signature", change);
    for (name, ahead, change, reasons) in [
        ("forged-next", 1, "made by another member with a key of her own", AUTH),
        ("forged-ahead", 20, "made by another member with a key of her own, for a later position", AUTH),
        ("forged-before", 0, "made by another member with a key of her own, for a position that was read", READ_BEFORE),
    ] {
        let bytes = mallory.forge(&key, ahead, "a1: I leave my house to Mallory")?;
        scene.refuse(name, "", bytes, &["Insider"], fault(change), "a1", reasons);
    }
    scene.read("a1", "The position that the first forgery took.", &alice.say_to_group(GROUP, "a1: how are you?")?);
    scene.read("m0", "Mallory under her own name.", &mallory.say_to_group(GROUP, "m0: fine")?);
    scene.read("a2", "", &alice.say_to_group(GROUP, "a2: good")?);
    Ok(scene)
}

fn foreign_key(date: &str) -> Result<Scene> {
    let id = "signal/authentication/group-key-of-the-same-id";
    let (bob, mut rng) = member(id, "bob.1")?;
    let (mut alice, mut mallory) = (Person::new("alice.1", &mut rng)?, Person::new("mallory.1", &mut rng)?);
    let mut scene = Scene::new(
        id,
        "Another member's sender key under the same distribution id",
        "Mallory hands Bob a sender key of her own under the distribution id of Alice's, and writes under it; the \
         server delivers her message as Alice's. Keys are kept for each sender apart: a sound device refuses it, and \
         Mallory's key has not taken the place of Alice's.",
        &["R1"],
        date,
        bob.start(),
    );
    scene.take("alice-key", "", alice.distribution(GROUP)?);
    scene.read("a0", "", &alice.say_to_group(GROUP, "a0: hello")?);
    scene.take("mallory-key", "Of the same distribution id.", mallory.distribution(GROUP)?);
    let forged = mallory.say_to_group(GROUP, "m0: I leave my house to Mallory")?;
    let fault = (SENDER_KEY_MESSAGE.packet, "from", "of another sender under the same distribution id");
    scene.refuse("m0-as-alice", "", forged.labelled("alice.1"), &["Insider"], fault, "m0", AUTH_NO_KEY);
    scene.read("m0", "Under her own name.", &forged);
    scene.read("a1", "Alice's key is still hers.", &alice.say_to_group(GROUP, "a1: how are you?")?);
    Ok(scene)
}

fn other_group(date: &str) -> Result<Scene> {
    let id = "signal/participation/group-not-distributed";
    let (bob, mut rng) = member(id, "bob.1")?;
    let mut alice = Person::new("alice.1", &mut rng)?;
    let mut scene = Scene::new(
        id,
        "A message to a group whose key was not handed out",
        "Alice writes to two groups; Bob is in one of them. The server gives him the messages of both. A sound \
         device reads those to his group alone, and says that it has no key for the others.",
        &["T1", "I1"],
        date,
        bob.start(),
    );
    scene.take("key", "For Bob's group.", alice.distribution(GROUP)?);
    alice.distribution(OTHER)?;
    let fault =
        (SENDER_KEY_MESSAGE.packet, "distribution_uuid", "of another group, whose key this device was not given");
    for round in 0..3 {
        scene.read(&format!("m{round}"), "", &alice.say_to_group(GROUP, &format!("m{round}: to Bob's group"))?);
        let elsewhere = alice.say_to_group(OTHER, &format!("e{round}: to the other group"))?;
        let name = format!("elsewhere-{round}");
        scene.refuse(&name, "", elsewhere.delivery, &["OtherGroup"], fault, "m0", NO_KEY);
    }
    scene.read("m3", "", &alice.say_to_group(GROUP, "m3: to Bob's group")?);
    Ok(scene)
}

fn removed(date: &str) -> Result<Scene> {
    let id = "signal/removal/group-key-rotated";
    let (carol, mut rng) = member(id, "carol.1")?;
    let mut alice = Person::new("alice.1", &mut rng)?;
    let mut scene = Scene::new(
        id,
        "Who has been removed reads nothing more",
        "Carol is removed from a group. Alice makes a new sender key and hands it to everybody else; the server is \
         on Carol's side and still gives her everything. Carol's device keeps trying: what was written before, and \
         comes late, it may read, and nothing after.",
        &["I1"],
        date,
        carol.start(),
    );
    scene.take("key", "While Carol is a member.", alice.distribution(GROUP)?);
    scene.read("m0", "", &alice.say_to_group(GROUP, "m0: hello, all")?);
    let in_flight = alice.say_to_group(GROUP, "m1: written before the removal")?;
    let last = alice.say_to_group(GROUP, "m2: also before")?;
    alice.distribution(OTHER)?;
    let fault = (SENDER_KEY_MESSAGE.packet, "distribution_uuid", "of the sender key made after this device's removal");
    for number in 0..3 {
        let sent = alice.say_to_group(OTHER, &format!("n{number}: now that she is gone"))?;
        let name = format!("n{number}");
        scene.refuse(&name, "After the removal.", sent.delivery, &["AfterRemoval"], fault, "m0", NO_KEY);
        if number == 1 {
            scene.read("m1", "Written before the removal.", &in_flight);
        }
    }
    scene.read("m2", "Written before the removal.", &last);
    Ok(scene)
}

fn removed_sender(date: &str) -> Result<Scene> {
    let id = "signal/removal/group-rotation-seen-by-a-member";
    let (bob, mut rng) = member(id, "bob.1")?;
    let mut alice = Person::new("alice.1", &mut rng)?;
    let mut scene = Scene::new(
        id,
        "Who stays reads on after a removal",
        "Somebody is removed from a group. Alice hands those who stay a new sender key and writes under it; a \
         message under the old one comes late. A sound device reads both, and a message under the new key that comes \
         before the key itself is refused and can be read afterwards.",
        &["I1", "L1"],
        date,
        bob.start(),
    );
    scene.take("key", "The old sender key.", alice.distribution(GROUP)?);
    scene.read("m0", "", &alice.say_to_group(GROUP, "m0: hello, all")?);
    let late = alice.say_to_group(GROUP, "m1: written before the removal")?;
    let rotated = alice.distribution(OTHER)?;
    let n0 = alice.say_to_group(OTHER, "n0: now that she is gone")?;
    let fault = (SENDER_KEY_MESSAGE.packet, "whole", "delivered ahead of its sender key");
    scene.refuse("n0-early", "", n0.delivery.clone(), &["OtherEpoch"], fault, "n0", NO_KEY);
    scene.take("new-key", "The new sender key.", rotated);
    scene.read("n0", "", &n0);
    scene.read_out_of_order("m1", "Under the old key, and late.", &late);
    scene.read("n1", "", &alice.say_to_group(OTHER, "n1: good")?);
    Ok(scene)
}

fn newcomer(date: &str) -> Result<Scene> {
    let id = "signal/device-addition/group-newcomer";
    let (tablet, mut rng) = member(id, "bob.2")?;
    let mut alice = Person::new("alice.1", &mut rng)?;
    let mut scene = Scene::new(
        id,
        "A new device reads nothing from before",
        "Bob links a second device. Alice hands it her sender key at its present position. The server gives the new \
         device what was written before, too. A sound device reads what follows and nothing from before: the chain \
         does not run backwards.",
        &["I1", "R2"],
        date,
        tablet.start(),
    );
    alice.distribution(GROUP)?;
    let before: Vec<_> =
        (0..3).map(|number| alice.say_to_group(GROUP, &format!("m{number}: before"))).collect::<Result<_>>()?;
    let fault =
        (SENDER_KEY_MESSAGE.packet, "iteration", "from before this device was given the sender key, and ahead of it");
    scene.refuse(
        "m0-early",
        "Before any key is here.",
        before[0].delivery.clone(),
        &["BeforeJoining"],
        fault,
        "m3",
        NO_KEY,
    );
    scene.take("key", "Alice's sender key at position 3.", alice.distribution(GROUP)?);
    let fault = (SENDER_KEY_MESSAGE.packet, "iteration", "from before this device was given the sender key");
    let comment = "The library cannot tell it from a message that was read.";
    for (number, sent) in before.iter().enumerate() {
        let name = format!("m{number}");
        scene.refuse(&name, comment, sent.delivery.clone(), &["BeforeJoining"], fault, "m3", READ_BEFORE);
    }
    scene.read("m3", "The first that is for this device.", &alice.say_to_group(GROUP, "m3: welcome")?);
    scene.read("m4", "", &alice.say_to_group(GROUP, "m4: how is the tablet?")?);
    Ok(scene)
}

fn removed_and_back(date: &str) -> Result<Scene> {
    let id = "signal/removal/group-rejoin-gap";
    let (carol, mut rng) = member(id, "carol.1")?;
    let mut alice = Person::new("alice.1", &mut rng)?;
    let mut scene = Scene::new(
        id,
        "Who comes back does not read what was said meanwhile",
        "Carol is removed from a group and later added again. Alice makes a new sender key at the removal, and hands \
         it to Carol when she is back, at its present position. The server gives Carol everything. A sound device \
         reads what was written while she was a member, and nothing from between.",
        &["I1"],
        date,
        carol.start(),
    );
    scene.take("key", "While Carol is a member.", alice.distribution(GROUP)?);
    scene.read("m0", "", &alice.say_to_group(GROUP, "m0: hello, all")?);
    alice.distribution(OTHER)?;
    let gap: Vec<_> =
        (0..2).map(|number| alice.say_to_group(OTHER, &format!("n{number}: she is away"))).collect::<Result<_>>()?;
    let away =
        (SENDER_KEY_MESSAGE.packet, "distribution_uuid", "of the sender key made while this device was not a member");
    scene.refuse("n0", "While she is away.", gap[0].delivery.clone(), &["AfterRemoval"], away, "n2", NO_KEY);
    scene.take("new-key", "Carol is back: the new key at its present position.", alice.distribution(OTHER)?);
    let back = (SENDER_KEY_MESSAGE.packet, "iteration", "from while this device was not a member");
    for (number, sent) in gap.iter().enumerate() {
        let name = format!("n{number}-again");
        scene.refuse(
            &name,
            "Now that she is back.",
            sent.delivery.clone(),
            &["BeforeJoining"],
            back,
            "n2",
            READ_BEFORE,
        );
    }
    scene.read("n2", "", &alice.say_to_group(OTHER, "n2: welcome back")?);
    scene.read("n3", "", &alice.say_to_group(OTHER, "n3: what did you miss?")?);
    Ok(scene)
}

fn no_history(date: &str) -> Result<Scene> {
    let id = "signal/integrity/group-no-history";
    let (dave, mut rng) = member(id, "dave.1")?;
    let (mut alice, mut carol) = (Person::new("alice.1", &mut rng)?, Person::new("carol.1", &mut rng)?);
    let mut scene = Scene::new(
        id,
        "A new member reads nothing of any sender's from before",
        "Dave is added to a group in which Alice and Carol have written. Each hands him her sender key at its \
         present position, Carol later than Alice. A sound device reads of each what she writes from then on: that \
         Alice's key is here opens nothing of Carol's.",
        &["I1", "T1"],
        date,
        dave.start(),
    );
    alice.distribution(GROUP)?;
    carol.distribution(GROUP)?;
    let a0 = alice.say_to_group(GROUP, "a0: before Dave")?;
    let c0 = carol.say_to_group(GROUP, "c0: before Dave")?;
    scene.take("alice-key", "Alice's at position 1.", alice.distribution(GROUP)?);
    let a1 = alice.say_to_group(GROUP, "a1: hello, Dave")?;
    let c1 = carol.say_to_group(GROUP, "c1: Dave does not have my key yet")?;
    scene.read("a1", "", &a1);
    let fault = (SENDER_KEY_MESSAGE.packet, "iteration", "from before the sender handed this member her key");
    scene.refuse("a0", "", a0.delivery.clone(), &["BeforeJoining"], fault, "a1", READ_BEFORE);
    let without =
        (SENDER_KEY_MESSAGE.packet, "from", "of a sender who has not handed this member her key, as another has");
    scene.refuse("c1-early", "", c1.delivery.clone(), &["BeforeJoining"], without, "c2", NO_KEY);
    scene.take("carol-key", "Carol's at position 2.", carol.distribution(GROUP)?);
    for (name, sent) in [("c0", &c0), ("c1", &c1)] {
        scene.refuse(name, "", sent.delivery.clone(), &["BeforeJoining"], fault, "c2", READ_BEFORE);
    }
    scene.read("c2", "", &carol.say_to_group(GROUP, "c2: hello, Dave")?);
    scene.read("a2", "", &alice.say_to_group(GROUP, "a2: we were talking about you")?);
    Ok(scene)
}
