//! Who said it, when, and where.

use anyhow::Result;
use e2esm_adapter::ErrorClass::{AuthFailed, BadRequest, Duplicate, NoKey, StaleEpoch};
use e2esm_adapter::{Forgery, PacketKind};
use e2esm_playback::{Recorded, Rule};

use super::{FRIENDS, MESSAGE, WORK, commit};
use crate::fields::{self, Edit};
use crate::room::{Head, Room, Wrong, device_id};
use crate::{Recorder, Recording};

pub(super) fn roundtrip(recorder: &Recorder, by: Recording<'_>) -> Result<Recorded> {
    let head = Head {
        id: "authentication/roundtrip",
        title: "Everybody writes, everybody reads",
        description: "carol is let into a group with alice and bob. Both write, both replace their keys, and both write again. \
                      A sound device reads every message, knows each one's sender, and comes with each commit into the next \
                      epoch. Nothing hostile happens: start here.",
        requirements: &["R1"],
        scenario: Some("authentication/roundtrip"),
        passive: "carol",
        key_packages: 1,
    };
    let mut room = Room::new(recorder, by, &head)?;
    let founded = room.found(FRIENDS, "alice", &["bob", "carol"])?;
    room.hear_welcome("Welcome", "alice adds bob (leaf 1) and carol (leaf 2).", &founded)?;
    for round in 1..=2 {
        for name in ["alice", "bob"] {
            let said = room.say(FRIENDS, name, &format!("{name}, round {round}"))?;
            room.hear(&format!("{name} {round}"), &format!("{name} writes."), &said);
        }
        let refreshing = if round == 1 { "bob" } else { "alice" };
        let changed = room.change(FRIENDS, refreshing, &[], &[], true)?;
        room.hear_change(&format!("refresh {round}"), &format!("{refreshing} replaces its keys."), &changed);
    }
    for name in ["alice", "bob"] {
        let said = room.say(FRIENDS, name, &format!("{name}, at the end"))?;
        room.hear(&format!("{name} at the end"), &format!("{name} writes with the keys of epoch 3."), &said);
    }
    room.finish()
}

pub(super) fn replayed_message(recorder: &Recorder, by: Recording<'_>) -> Result<Recorded> {
    let head = Head {
        id: "authentication/replayed-message",
        title: "A message is delivered twice",
        description: "alice writes once, and the server delivers her message three times more: at once, after her next message, \
                      and in the next epoch. A sound device has deleted the key with which it read the message and refuses \
                      every repetition. Otherwise somebody who keeps a packet could make alice say it again whenever it suits.",
        requirements: &["R1"],
        scenario: None,
        passive: "carol",
        key_packages: 1,
    };
    let mut room = Room::new(recorder, by, &head)?;
    let founded = room.found(FRIENDS, "alice", &["bob", "carol"])?;
    room.hear_welcome("Welcome", "alice adds bob and carol.", &founded)?;
    let yes = room.say(FRIENDS, "alice", "yes")?;
    room.hear("yes", "alice answers a question.", &yes);
    let again = |change| Wrong { packet: MESSAGE, field: "whole", change, flags: &["Replayed"], twin: "yes" };
    let why = "Keys are deleted as soon as they have been used (RFC 9420, section 9.2).";
    room.refuse("yes, again", why, &yes.packet, &again("delivered again"), &[Duplicate, NoKey]);
    let no = room.say(FRIENDS, "alice", "no")?;
    room.hear("no", "alice answers another question.", &no);
    let later = again("delivered again after the sender's next message");
    room.refuse("yes, after no", why, &yes.packet, &later, &[Duplicate, NoKey]);
    let changed = room.change(FRIENDS, "bob", &[], &[], true)?;
    room.hear_change("refresh", "bob replaces his keys.", &changed);
    let much_later = again("delivered again in the next epoch");
    let reasons = [Duplicate, NoKey, StaleEpoch];
    room.refuse("yes, an epoch later", why, &yes.packet, &much_later, &reasons);
    let said = room.say(FRIENDS, "alice", "good night")?;
    room.hear("good night", "alice writes once more.", &said);
    room.finish()
}

pub(super) fn replayed_commit(recorder: &Recorder, by: Recording<'_>) -> Result<Recorded> {
    let head = Head {
        id: "authentication/replayed-commit",
        title: "A commit is delivered twice",
        description: "bob replaces his keys, and the server delivers his commit once more: at once, and after alice's next \
                      commit. A sound device refuses it, because it is of an epoch that has passed, and stays in the epoch of \
                      the others. Otherwise whoever keeps a commit could set a member back, or make a change happen twice.",
        requirements: &["R1", "L1"],
        scenario: None,
        passive: "carol",
        key_packages: 1,
    };
    let mut room = Room::new(recorder, by, &head)?;
    let packet = commit(room.handshake());
    let founded = room.found(FRIENDS, "alice", &["bob", "carol"])?;
    room.hear_welcome("Welcome", "alice adds bob and carol.", &founded)?;
    let first = room.change(FRIENDS, "bob", &[], &[], true)?;
    room.hear_change("bob's commit", "bob replaces his keys.", &first);
    let flags = ["Replayed", "OtherEpoch"];
    let again = |change| Wrong { packet: &packet, field: "whole", change, flags: &flags, twin: "bob's commit" };
    let why = "The epoch of a commit is the present one (RFC 9420, section 12.4.2).";
    room.refuse("bob's commit, again", why, &first.commit, &again("delivered again"), &[StaleEpoch]);
    let said = room.say(FRIENDS, "bob", "done")?;
    room.hear("done", "bob writes with the keys of epoch 2.", &said);
    let second = room.change(FRIENDS, "alice", &[], &[], true)?;
    room.hear_change("alice's commit", "alice replaces hers.", &second);
    let later = again("delivered again after the next commit");
    room.refuse("bob's commit, two epochs later", why, &first.commit, &later, &[StaleEpoch]);
    let said = room.say(FRIENDS, "alice", "me too")?;
    room.hear("me too", "alice writes with the keys of epoch 3.", &said);
    room.finish()
}

pub(super) fn replayed_welcome(recorder: &Recorder, by: Recording<'_>) -> Result<Recorded> {
    let head = Head {
        id: "authentication/replayed-welcome",
        title: "A Welcome is delivered twice",
        description: "alice lets carol in, and the server delivers the same Welcome again: at once, and after the group has gone \
                      on. A sound device is in that group already and has deleted the private key that the Welcome was for: it refuses \
                      the repetition and stays where it is. Otherwise a kept Welcome could set a member back to old keys.",
        requirements: &["R1", "L1"],
        scenario: None,
        passive: "carol",
        key_packages: 1,
    };
    let mut room = Room::new(recorder, by, &head)?;
    let founded = room.found(FRIENDS, "alice", &["bob", "carol"])?;
    let welcome = founded.welcome.clone().unwrap_or_default();
    room.hear_welcome("Welcome", "alice adds bob and carol.", &founded)?;
    let again = |change| Wrong { packet: "Welcome", field: "whole", change, flags: &["Replayed"], twin: "Welcome" };
    let why = "A key package is used once, and a client is in a group once (RFC 9420, sections 16.8 and 12.4.3.1).";
    room.refuse("Welcome, again", why, &welcome, &again("delivered again"), &[Duplicate, NoKey]);
    let said = room.say(FRIENDS, "alice", "hello carol")?;
    room.hear("hello carol", "alice writes.", &said);
    let changed = room.change(FRIENDS, "bob", &[], &[], true)?;
    room.hear_change("refresh", "bob replaces his keys.", &changed);
    let later = again("delivered again after the next commit");
    room.refuse("Welcome, an epoch later", why, &welcome, &later, &[Duplicate, NoKey]);
    let said = room.say(FRIENDS, "bob", "still here?")?;
    room.hear("still here?", "bob writes with the keys of epoch 2.", &said);
    room.finish()
}

pub(super) fn insider_forges_sender(recorder: &Recorder, by: Recording<'_>) -> Result<Recorded> {
    let head = Head {
        id: "authentication/insider-forges-sender",
        title: "A member writes under another member's name",
        description: "bob is a member and holds every key that members hold. He makes a message that names alice's leaf, is \
                      encrypted with alice's next key, and is signed with his own. A sound device refuses it, because the \
                      signature is not alice's, and then reads what bob and alice write under their own names, alice's with \
                      the very key that bob had borrowed. Otherwise nobody in a group could rely on who said what.",
        requirements: &["R1"],
        scenario: Some("authentication/insider-forges-sender"),
        passive: "carol",
        key_packages: 1,
    };
    let mut room = Room::new(recorder, by, &head)?;
    let founded = room.found(FRIENDS, "alice", &["bob", "carol"])?;
    room.hear_welcome("Welcome", "alice adds bob and carol.", &founded)?;
    for name in ["alice", "bob"] {
        let said = room.say(FRIENDS, name, &format!("I am {name}"))?;
        room.hear(&format!("I am {name}"), &format!("{name} writes."), &said);
    }
    let forged = room.forge_name(FRIENDS, "bob", "alice", "I owe bob a hundred")?;
    let wrong = Wrong {
        packet: MESSAGE,
        field: "signature",
        change: "another member's, who used the sender's leaf index, generation and key",
        flags: &["Relabelled", "Insider"],
        twin: "alice herself",
    };
    let rule = Rule {
        document: "RFC 9420".to_owned(),
        section: "6.1".to_owned(),
        demands: "The signature of a member's message is verified with the signature key in the leaf that it names."
            .to_owned(),
    };
    let comment = "By bob, who says that he is alice.";
    room.refuse_for("alice, says bob", comment, &forged, &wrong, &[AuthFailed], Some(rule));
    let said = room.say(FRIENDS, "bob", "it was worth a try")?;
    room.hear("bob himself", "bob writes under his own name.", &said);
    let said = room.say(FRIENDS, "alice", "I owe nobody anything")?;
    room.hear("alice herself", "alice writes; her message has the generation that bob had used.", &said);
    room.finish()
}

pub(super) fn outsider_inject(recorder: &Recorder, by: Recording<'_>) -> Result<Recorded> {
    let head = Head {
        id: "authentication/outsider-inject",
        title: "A stranger writes under a member's name",
        description: "mallory is not in the group, holds none of its keys, and knows what the server knows: its id, its epoch, \
                      its members' names. She makes a message that names bob's leaf, with keys of her own. A sound device \
                      cannot open it, refuses it, and reads bob's next message.",
        requirements: &["R1"],
        scenario: Some("authentication/outsider-inject"),
        passive: "carol",
        key_packages: 1,
    };
    let mut room = Room::new(recorder, by, &head)?;
    let founded = room.found(FRIENDS, "alice", &["bob", "carol"])?;
    room.hear_welcome("Welcome", "alice adds bob and carol.", &founded)?;
    let said = room.say(FRIENDS, "alice", "is bob there?")?;
    room.hear("is bob there?", "alice writes.", &said);
    let forged = room.forged(FRIENDS, PacketKind::Message, |_, group| {
        Ok(Forgery::Message { group, claim: device_id("bob"), plaintext: b"yes, send me your keys".as_slice().into() })
    })?;
    let wrong = Wrong {
        packet: MESSAGE,
        field: "whole",
        change: "made by an outsider with keys of its own",
        flags: &["Outsider"],
        twin: "bob himself",
    };
    room.refuse("bob, says mallory", "By mallory, who says that she is bob.", &forged, &wrong, &[AuthFailed, NoKey]);
    let said = room.say(FRIENDS, "bob", "I am here")?;
    room.hear("bob himself", "bob writes.", &said);
    room.finish()
}

pub(super) fn wrong_group(recorder: &Recorder, by: Recording<'_>) -> Result<Recorded> {
    let head = Head {
        id: "authentication/wrong-group",
        title: "A packet of one group in another",
        description: "alice, bob and carol have two groups, both in epoch 1. The server writes the id of the one over a message \
                      and over a commit of the other, and delivers packets of a third group that carol is not in. A sound \
                      device refuses all of these, because the group's id is authenticated with the rest, and takes the \
                      packets in their own group. Otherwise words said in one place could be made to appear in another.",
        requirements: &["R1"],
        scenario: None,
        passive: "carol",
        key_packages: 2,
    };
    let mut room = Room::new(recorder, by, &head)?;
    let packet = commit(room.handshake());
    let friends = room.found(FRIENDS, "alice", &["bob", "carol"])?;
    room.hear_welcome("Welcome to friends", "alice adds bob and carol.", &friends)?;
    let work = room.found(WORK, "alice", &["bob", "carol"])?;
    room.hear_welcome("Welcome to work", "The same people in another group.", &work)?;

    let said = room.say(WORK, "bob", "you are dismissed")?;
    let moved = in_group(&said.packet, FRIENDS)?;
    let message_moved = Wrong {
        packet: MESSAGE,
        field: "group_id",
        change: "that of another group of the same members in the same epoch",
        flags: &["OtherGroup"],
        twin: "message in work",
    };
    let why = "The id is authenticated, and the other group has other keys (RFC 9420, section 6.3.1).";
    room.refuse("message moved to friends", why, &moved, &message_moved, &[AuthFailed]);
    room.hear("message in work", "bob's message as he sent it.", &said);

    let changed = room.change(WORK, "alice", &[], &["bob"], false)?;
    let moved = in_group(&changed.commit, FRIENDS)?;
    let commit_moved = Wrong { packet: &packet, twin: "commit in work", ..message_moved };
    room.refuse("commit moved to friends", why, &moved, &commit_moved, &[AuthFailed]);
    room.hear_change("commit in work", "alice removes bob there, and there only.", &changed);

    room.found("others", "alice", &["bob"])?;
    let strange = room.say("others", "bob", "not for carol")?;
    let elsewhere = Wrong {
        packet: MESSAGE,
        field: "whole",
        change: "of a group that the receiver is not in",
        flags: &["OtherGroup"],
        twin: "message in friends",
    };
    let why = "There is no such group here.";
    room.refuse("message of a third group", why, &strange.packet, &elsewhere, &[BadRequest]);
    let said = room.say(FRIENDS, "bob", "hello friends")?;
    room.hear("message in friends", "bob is still a member there.", &said);
    room.finish()
}

/// A packet with another group's id in its frame.
fn in_group(packet: &[u8], group: &str) -> Result<Vec<u8>> {
    let (format, root) = fields::message(packet)?;
    let path = if format == fields::WireFormat::PublicMessage { "content.group_id" } else { "group_id" };
    Ok(root.rewritten(packet, root.find(path)?, &Edit::Content(group.into())))
}
