//! Who is out is out.

use anyhow::Result;
use e2esm_adapter::ErrorClass::{AuthFailed, NoKey, NotMember, StaleEpoch};
use e2esm_adapter::{Forgery, PacketKind};
use e2esm_playback::Recorded;

use super::{FRIENDS, MESSAGE, commit};
use crate::fields::{self, Edit};
use crate::room::{Head, Room, Wrong, device_id};
use crate::{Recorder, Recording};

pub(super) fn cannot_read_next(recorder: &Recorder, by: Recording<'_>) -> Result<Recorded> {
    let head = Head {
        id: "removal/cannot-read-next",
        title: "Removed means: reads nothing more",
        description: "alice removes carol, whose device is looked at here, and the server goes on giving her everything: a \
                      message, another commit, another message. The device takes the commit that removes it, and finds \
                      nothing in what follows that it could open: the epoch secret has gone to the others only.",
        requirements: &["I1"],
        scenario: Some("removal/cannot-read-next"),
        passive: "carol",
        key_packages: 1,
    };
    let mut room = Room::new(recorder, by, &head)?;
    let packet = commit(room.handshake());
    let founded = room.found(FRIENDS, "alice", &["bob", "carol"])?;
    room.hear_welcome("Welcome", "alice adds bob and carol.", &founded)?;
    for name in ["alice", "bob"] {
        let said = room.say(FRIENDS, name, &format!("{name} with carol"))?;
        room.hear(&format!("{name} before"), &format!("{name} writes."), &said);
    }
    let removal = room.change(FRIENDS, "alice", &[], &["carol"], false)?;
    room.hear_change("removal", "alice removes carol.", &removal);
    let after = |twin| Wrong {
        packet: MESSAGE,
        field: "whole",
        change: "sent after the receiver was removed",
        flags: &["AfterRemoval"],
        twin,
    };
    let why = "It is of an epoch whose secret went to the others only (RFC 9420, sections 7.6 and 12.1.3).";
    let reasons = [NoKey, NotMember, StaleEpoch];
    let said = room.say(FRIENDS, "alice", "now that carol is gone")?;
    room.refuse("alice after", why, &said.packet, &after("alice before"), &reasons);
    let refresh = room.change(FRIENDS, "bob", &[], &[], true)?;
    room.refuse("refresh", why, &refresh.commit, &Wrong { packet: &packet, ..after("removal") }, &reasons);
    let said = room.say(FRIENDS, "bob", "indeed")?;
    let later = Wrong { change: "sent two epochs after the receiver was removed", ..after("bob before") };
    room.refuse("bob after", why, &said.packet, &later, &reasons);
    room.finish()
}

pub(super) fn cannot_send(recorder: &Recorder, by: Recording<'_>) -> Result<Recorded> {
    let head = Head {
        id: "removal/cannot-send",
        title: "Removed means: is not heard any more",
        description: "alice removes carol, and the server keeps that from carol, whose phone goes on: it writes, and replaces \
                      its keys. bob's device is looked at here. It refuses carol's commit, which is of an epoch that has \
                      passed, and her message once the server has written the new epoch over it. Her message as she sent it \
                      cannot be told from one that was on its way when she was removed: RFC 9420 leaves it to the receiver \
                      whether and for how long it keeps the keys of a past epoch (sections 9.2 and 14).",
        requirements: &["R1"],
        scenario: Some("removal/cannot-send"),
        passive: "bob",
        key_packages: 1,
    };
    let mut room = Room::new(recorder, by, &head)?;
    let packet = commit(room.handshake());
    let founded = room.found(FRIENDS, "alice", &["bob", "carol"])?;
    room.hear_welcome("Welcome", "alice adds bob and carol.", &founded)?;
    let said = room.say(FRIENDS, "carol", "I am carol")?;
    room.hear("carol before", "carol writes.", &said);
    let mut removal = room.prepare(FRIENDS, "alice", &[], &["carol"], false)?;
    room.spread(&mut removal, &["carol"])?;
    room.hear_change("removal", "alice removes carol.", &removal);

    let wrong = Wrong {
        packet: MESSAGE,
        field: "whole",
        change: "sent by a removed member in the epoch before",
        flags: &["RemovedSender", "OtherEpoch"],
        twin: "carol before",
    };
    let late = room.mutter(FRIENDS, "carol", "I am still here")?.at(2);
    room.leave_open("carol after", "carol writes, who does not know.", &late, &wrong);
    let lifted = in_epoch(&late.packet, 2)?;
    let change = "that of the epoch after the sender was removed";
    let raised = Wrong { field: "epoch", change, flags: &["RemovedSender", "Altered"], ..wrong };
    let why = "The keys of the new epoch do not open it (RFC 9420, section 6.3).";
    room.refuse("carol after, in the new epoch", why, &lifted, &raised, &[AuthFailed, NotMember]);
    let refresh = room.prepare(FRIENDS, "carol", &[], &[], true)?;
    let commits = Wrong { packet: &packet, flags: &["RemovedSender", "OtherEpoch"], twin: "removal", ..wrong };
    let why = "A commit is of the present epoch (RFC 9420, section 12.4.2).";
    room.refuse("carol's commit", why, &refresh.commit, &commits, &[StaleEpoch]);
    let said = room.say(FRIENDS, "alice", "carol is gone")?;
    room.hear("alice after", "alice writes.", &said);
    room.finish()
}

/// A PrivateMessage with another epoch in its frame.
fn in_epoch(packet: &[u8], epoch: u64) -> Result<Vec<u8>> {
    let (_, root) = fields::message(packet)?;
    Ok(root.rewritten(packet, root.find("epoch")?, &Edit::Content(epoch.to_be_bytes().to_vec())))
}

pub(super) fn rejoin_gap(recorder: &Recorder, by: Recording<'_>) -> Result<Recorded> {
    let head = Head {
        id: "removal/rejoin-gap",
        title: "Removed, and later taken back",
        description: "alice removes carol, writes to bob, takes carol back with another key package, and writes again. carol's \
                      device is looked at here, and the server gives it everything. It reads what was written while it was \
                      a member, and the message from the time between stays closed, before its return and after it.",
        requirements: &["I1"],
        scenario: Some("removal/rejoin-gap"),
        passive: "carol",
        key_packages: 2,
    };
    let mut room = Room::new(recorder, by, &head)?;
    let founded = room.found(FRIENDS, "alice", &["bob", "carol"])?;
    room.hear_welcome("Welcome", "alice adds bob and carol.", &founded)?;
    let before = room.say(FRIENDS, "alice", "see you tomorrow")?;
    room.hear("before", "alice writes.", &before);
    let removal = room.change(FRIENDS, "alice", &[], &["carol"], false)?;
    room.hear_change("removal", "alice removes carol.", &removal);
    let between = room.say(FRIENDS, "alice", "a present for carol")?;
    let wrong = Wrong {
        packet: MESSAGE,
        field: "whole",
        change: "sent while the receiver was no member, delivered before its return",
        flags: &["AfterRemoval"],
        twin: "after",
    };
    let why = "It is of an epoch whose secret went to the others only (RFC 9420, sections 7.6 and 12.1.3).";
    room.refuse("between", why, &between.packet, &wrong, &[NoKey, NotMember, StaleEpoch]);
    let back = room.change(FRIENDS, "bob", &["carol"], &[], false)?;
    room.hear_welcome("Welcome back", "bob adds carol, who gets leaf 2 again.", &back)?;
    let change = "sent while the receiver was no member, delivered after its return";
    let later = Wrong { change, flags: &["BeforeJoining"], ..wrong };
    let why = "Who joins is given no secret of an earlier epoch (RFC 9420, section 12.4.3.1).";
    room.refuse("between, again", why, &between.packet, &later, &[NoKey, StaleEpoch]);
    let said = room.say(FRIENDS, "alice", "welcome back")?;
    room.hear("after", "alice writes.", &said);
    room.finish()
}

pub(super) fn forged_by_server(recorder: &Recorder, by: Recording<'_>) -> Result<Recorded> {
    let head = Head {
        id: "removal/forged-by-server",
        title: "The server announces a removal that nobody made",
        description: "The server and mallory make a commit in alice's name that removes carol, and another that removes bob. \
                      They know the group's id, its epoch and its members' names, and none of its keys. carol's device \
                      refuses both, and alice's next message, in the epoch in which the group still is, arrives.",
        requirements: &["C3"],
        scenario: Some("removal/forged-by-server"),
        passive: "carol",
        key_packages: 1,
    };
    let mut room = Room::new(recorder, by, &head)?;
    let packet = commit(room.handshake());
    let founded = room.found(FRIENDS, "alice", &["bob", "carol"])?;
    room.hear_welcome("Welcome", "alice adds bob and carol.", &founded)?;
    let wrong = |change| Wrong { packet: &packet, field: "whole", change, flags: &["Outsider"], twin: "real removal" };
    for (victim, change) in [
        ("carol", "made by an outsider with keys of its own, to remove the receiver"),
        ("bob", "made by an outsider with keys of its own, to remove another member"),
    ] {
        let forged = room.forged(FRIENDS, PacketKind::Change, |_, group| {
            let remove = vec![device_id(victim)];
            Ok(Forgery::Change { group, claim: device_id("alice"), add: Vec::new(), remove })
        })?;
        let comment = format!("In alice's name: {victim} is out.");
        room.refuse(&format!("forged removal of {victim}"), &comment, &forged, &wrong(change), &[AuthFailed, NoKey]);
        let said = room.say(FRIENDS, "alice", &format!("{victim} is in"))?;
        room.hear(&format!("{victim} is in"), "alice writes.", &said);
    }
    let removal = room.change(FRIENDS, "alice", &[], &["bob"], false)?;
    room.hear_change("real removal", "Now alice does remove bob.", &removal);
    room.finish()
}

pub(super) fn concurrent(recorder: &Recorder, by: Recording<'_>) -> Result<Recorded> {
    let head = Head {
        id: "removal/concurrent",
        title: "Two removals at the same moment",
        description: "alice removes carol while bob, at the same moment, removes dave. The server takes alice's commit first. \
                      dave's device is looked at here: it takes alice's and refuses bob's, which is of an epoch that has \
                      passed, stays a member, and reads what bob writes once he has followed.",
        requirements: &["L1"],
        scenario: Some("removal/concurrent"),
        passive: "dave",
        key_packages: 1,
    };
    let mut room = Room::new(recorder, by, &head)?;
    let packet = commit(room.handshake());
    let founded = room.found(FRIENDS, "alice", &["bob", "carol", "dave"])?;
    room.hear_welcome("Welcome", "alice adds bob, carol and dave.", &founded)?;
    let mut first = room.prepare(FRIENDS, "alice", &[], &["carol"], false)?;
    let second = room.prepare(FRIENDS, "bob", &[], &["dave"], false)?;
    room.spread(&mut first, &[])?;
    room.hear_change("alice's commit", "alice removes carol.", &first);
    let wrong = Wrong {
        packet: &packet,
        field: "whole",
        change: "another commit of the same epoch, delivered second",
        flags: &["OtherEpoch"],
        twin: "alice's commit",
    };
    let why = "There is one commit for each epoch: the first that the server gives to all (RFC 9420, section 14).";
    room.refuse("bob's commit", why, &second.commit, &wrong, &[StaleEpoch]);
    for name in ["alice", "bob"] {
        let said = room.say(FRIENDS, name, &format!("{name} with dave"))?;
        room.hear(&format!("{name} after"), &format!("{name} writes."), &said);
    }
    room.finish()
}

pub(super) fn in_flight(recorder: &Recorder, by: Recording<'_>) -> Result<Recorded> {
    let head = Head {
        id: "removal/in-flight",
        title: "A message that was still on its way",
        description: "alice writes and then removes carol; bob gets the removal first and the message afterwards. Whether his \
                      device still has the keys of the epoch before is its own affair (RFC 9420, sections 9.2 and 14). It reads the message, as alice's, or says that it cannot; \
                      what alice writes next it reads.",
        requirements: &["T1", "L1"],
        scenario: Some("removal/in-flight"),
        passive: "bob",
        key_packages: 1,
    };
    let mut room = Room::new(recorder, by, &head)?;
    let founded = room.found(FRIENDS, "alice", &["bob", "carol"])?;
    room.hear_welcome("Welcome", "alice adds bob and carol.", &founded)?;
    let said = room.say(FRIENDS, "alice", "one")?;
    room.hear("one", "alice writes.", &said);
    let late = room.say(FRIENDS, "alice", "two")?;
    let removal = room.change(FRIENDS, "alice", &[], &["carol"], false)?;
    room.hear_change("removal", "alice removes carol.", &removal);
    let wrong = Wrong {
        packet: MESSAGE,
        field: "whole",
        change: "delivered in the epoch after its own",
        flags: &["OtherEpoch", "OutOfOrder"],
        twin: "one",
    };
    room.leave_open("two", "alice wrote this before the removal.", &late, &wrong);
    let said = room.say(FRIENDS, "alice", "three")?;
    room.hear("three", "alice writes with the keys of epoch 2.", &said);
    room.finish()
}

pub(super) fn withheld_from_bob(recorder: &Recorder, by: Recording<'_>) -> Result<Recorded> {
    let head = Head {
        id: "removal/withheld-from-bob",
        title: "One member does not hear of a removal",
        description: "alice removes carol, and the server keeps the commit from bob, whose device is looked at here, while it \
                      delivers what alice writes afterwards. The device refuses the message, since it is of an epoch that it \
                      does not have: the stall shows. Once the commit has come, it reads that very message.",
        requirements: &["T1", "T2", "L1"],
        scenario: Some("removal/withheld-from-bob"),
        passive: "bob",
        key_packages: 1,
    };
    let mut room = Room::new(recorder, by, &head)?;
    let founded = room.found(FRIENDS, "alice", &["bob", "carol"])?;
    room.hear_welcome("Welcome", "alice adds bob and carol.", &founded)?;
    let said = room.say(FRIENDS, "alice", "all three of us")?;
    room.hear("all three of us", "alice writes.", &said);
    let removal = room.change(FRIENDS, "alice", &[], &["carol"], false)?;
    let early = room.say(FRIENDS, "alice", "the two of us")?;
    let wrong = Wrong {
        packet: MESSAGE,
        field: "whole",
        change: "delivered before the commit that begins its epoch",
        flags: &["OtherEpoch"],
        twin: "the two of us",
    };
    let why = "This device does not have that epoch's keys yet (RFC 9420, section 14).";
    room.refuse("the two of us, too early", why, &early.packet, &wrong, &[StaleEpoch, NoKey]);
    room.hear_change("removal", "At last: alice has removed carol.", &removal);
    room.hear("the two of us", "The message that came too early.", &early);
    room.finish()
}

pub(super) fn withheld_from_target(recorder: &Recorder, by: Recording<'_>) -> Result<Recorded> {
    let head = Head {
        id: "removal/withheld-from-target",
        title: "The removed person is told last",
        description: "alice removes carol, and the server keeps that from carol's phone, which is looked at here, while it gives \
                      it everything that follows. A removal works because the others use new keys, and not because the \
                      removed phone forgets the old ones: it can open none of it. When the commit comes at last it takes \
                      it, and goes on opening nothing.",
        requirements: &["I1"],
        scenario: Some("removal/withheld-from-target"),
        passive: "carol",
        key_packages: 1,
    };
    let mut room = Room::new(recorder, by, &head)?;
    let packet = commit(room.handshake());
    let founded = room.found(FRIENDS, "alice", &["bob", "carol"])?;
    room.hear_welcome("Welcome", "alice adds bob and carol.", &founded)?;
    let said = room.say(FRIENDS, "alice", "with carol")?;
    room.hear("with carol", "alice writes.", &said);
    let removal = room.change(FRIENDS, "alice", &[], &["carol"], false)?;
    let message = room.say(FRIENDS, "alice", "without carol")?;
    let wrong = Wrong {
        packet: MESSAGE,
        field: "whole",
        change: "sent after the receiver was removed, which it has not been told",
        flags: &["AfterRemoval", "OtherEpoch"],
        twin: "with carol",
    };
    let why = "It is of an epoch whose secret went to the others only (RFC 9420, sections 7.6 and 12.1.3).";
    room.refuse("without carol", why, &message.packet, &wrong, &[NoKey, StaleEpoch]);
    let refresh = room.change(FRIENDS, "bob", &[], &[], true)?;
    let next = Wrong { packet: &packet, twin: "removal", ..wrong };
    room.refuse("refresh", why, &refresh.commit, &next, &[NoKey, StaleEpoch]);
    room.hear_change("removal", "alice has removed carol.", &removal);
    let change = "sent after the receiver was removed, delivered before and after it was told";
    let again = Wrong { change, ..wrong };
    room.refuse("without carol, again", why, &message.packet, &again, &[NoKey, NotMember, StaleEpoch]);
    room.finish()
}
