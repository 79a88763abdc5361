//! Who takes part, and who sees it.

use anyhow::Result;
use e2esm_adapter::ErrorClass::{AuthFailed, NoKey, StaleEpoch};
use e2esm_adapter::{Forgery, PacketKind};
use e2esm_playback::Recorded;

use super::{FRIENDS, MESSAGE, commit};
use crate::room::{Head, Room, Wrong};
use crate::{Recorder, Recording};

/// What an external commit is called in a fault: it is never encrypted.
const EXTERNAL_COMMIT: &str = "external commit as PublicMessage";

pub(super) fn external_join(recorder: &Recorder, by: Recording<'_>) -> Result<Recorded> {
    let head = Head {
        id: "participation/external-join",
        title: "Somebody joins by a published link",
        description: "alice publishes what is needed to join, a GroupInfo, and dave joins with it by an external commit. carol's \
                      device is looked at here: it takes the commit, sees dave in the list of members, and reads what he \
                      writes. The same commit a second time is of an epoch that has passed.",
        requirements: &["C2", "T3"],
        scenario: Some("participation/external-join-public-link"),
        passive: "carol",
        key_packages: 1,
    };
    let mut room = Room::new(recorder, by, &head)?;
    let founded = room.found(FRIENDS, "alice", &["bob", "carol"])?;
    room.hear_welcome("Welcome", "alice adds bob and carol.", &founded)?;
    let joined = room.join_externally(FRIENDS, "alice", "dave")?;
    room.hear_change("dave joins", "dave's external commit: he gets leaf 3.", &joined);
    let said = room.say(FRIENDS, "dave", "thank you for the link")?;
    room.hear("thank you for the link", "dave writes.", &said);
    let wrong = Wrong {
        packet: EXTERNAL_COMMIT,
        field: "whole",
        change: "delivered again",
        flags: &["Replayed", "OtherEpoch"],
        twin: "dave joins",
    };
    let why = "The epoch of a commit is the present one (RFC 9420, section 12.4.2).";
    room.refuse("dave joins, again", why, &joined.commit, &wrong, &[StaleEpoch]);
    let changed = room.change(FRIENDS, "dave", &[], &["bob"], false)?;
    room.hear_change("dave removes bob", "dave is a member like any other.", &changed);
    for name in ["alice", "dave"] {
        let said = room.say(FRIENDS, name, &format!("{name}, without bob"))?;
        room.hear(&format!("{name}, without bob"), &format!("{name} writes."), &said);
    }
    room.finish()
}

pub(super) fn external_join_uninvited(recorder: &Recorder, by: Recording<'_>) -> Result<Recorded> {
    let head = Head {
        id: "participation/external-join-uninvited",
        title: "Somebody joins without a link",
        description: "mallory has no GroupInfo of the group. She knows its id, its epoch and its members' names, makes up a \
                      group of her own that looks the same, and joins the real one with that group's. carol's device refuses \
                      the commit, because its keys are not this group's; dave, who was given a link, gets in.",
        requirements: &["C1"],
        scenario: Some("participation/external-join-uninvited"),
        passive: "carol",
        key_packages: 1,
    };
    let mut room = Room::new(recorder, by, &head)?;
    let founded = room.found(FRIENDS, "alice", &["bob", "carol"])?;
    room.hear_welcome("Welcome", "alice adds bob and carol.", &founded)?;
    let forged = room.forged(FRIENDS, PacketKind::Change, |_, group| Ok(Forgery::UninvitedJoin { group }))?;
    let wrong = Wrong {
        packet: EXTERNAL_COMMIT,
        field: "whole",
        change: "made without the group's GroupInfo",
        flags: &["Outsider"],
        twin: "dave joins",
    };
    room.refuse("mallory joins", "By mallory, into a group of her own making.", &forged, &wrong, &[AuthFailed, NoKey]);
    let said = room.say(FRIENDS, "alice", "the three of us")?;
    room.hear("the three of us", "alice writes.", &said);
    let joined = room.join_externally(FRIENDS, "alice", "dave")?;
    room.hear_change("dave joins", "dave, by alice's link: he gets leaf 3.", &joined);
    let said = room.say(FRIENDS, "dave", "the four of us")?;
    room.hear("the four of us", "dave writes.", &said);
    room.finish()
}

pub(super) fn split_view(recorder: &Recorder, by: Recording<'_>) -> Result<Recorded> {
    let head = Head {
        id: "participation/split-view",
        title: "Members are shown different groups",
        description: "alice adds dave while carol, at the same moment, replaces her keys. The server takes alice's commit for \
                      alice and dave, and shows bob, whose device is looked at here, carol's. Both halves are in epoch 2 \
                      now, each in its own. What alice writes to her half bob's device must not take for a message of its \
                      group: the keys differ, and that is how the split shows.",
        requirements: &["T3"],
        scenario: Some("participation/split-view"),
        passive: "bob",
        key_packages: 1,
    };
    let mut room = Room::new(recorder, by, &head)?;
    let packet = commit(room.handshake());
    let founded = room.found(FRIENDS, "alice", &["bob", "carol"])?;
    room.hear_welcome("Welcome", "alice adds bob and carol.", &founded)?;
    let mut alices = room.prepare(FRIENDS, "alice", &["dave"], &[], false)?;
    let mut carols = room.prepare(FRIENDS, "carol", &[], &[], true)?;
    room.spread(&mut alices, &["carol"])?;
    let elsewhere = room.mutter(FRIENDS, "alice", "dave is here")?;
    // The server's other half.
    room.spread(&mut carols, &["alice", "dave"])?;
    room.hear_change("carol's commit", "carol replaces her keys.", &carols);
    let wrong = Wrong {
        packet: MESSAGE,
        field: "whole",
        change: "of another branch of the group, in an epoch of the same number",
        flags: &["OtherEpoch"],
        twin: "carol writes",
    };
    let why = "The two epochs of one number have different secrets (RFC 9420, section 8).";
    room.refuse("alice writes", why, &elsewhere.packet, &wrong, &[AuthFailed]);
    let late = Wrong { packet: &packet, twin: "carol's commit", change: "of another branch of the group", ..wrong };
    let why = "There is one commit for each epoch, and this device has taken another (RFC 9420, section 14).";
    room.refuse("alice's commit", why, &alices.commit, &late, &[StaleEpoch]);
    let said = room.mutter(FRIENDS, "carol", "only the two of us read this")?;
    room.hear("carol writes", "carol writes to her half.", &said);
    room.finish()
}

pub(super) fn roster_agreement(recorder: &Recorder, by: Recording<'_>) -> Result<Recorded> {
    let head = Head {
        id: "participation/roster-agreement",
        title: "Everybody sees the same members",
        description: "People come and go: two at once, into leaves that others have left, past the end of the tree, one in the \
                      place of another. carol's device is looked at here. After each commit it must have the list of members, \
                      leaf by leaf, and the epoch authenticator that all others have, and read whoever writes.",
        requirements: &["T3", "T2", "D1"],
        scenario: Some("participation/roster-agreement"),
        passive: "carol",
        key_packages: 1,
    };
    let mut room = Room::new(recorder, by, &head)?;
    let founded = room.found(FRIENDS, "alice", &["bob", "carol"])?;
    room.hear_welcome("Welcome", "alice adds bob and carol.", &founded)?;
    type Step = (&'static str, &'static str, &'static [&'static str], &'static [&'static str], bool);
    let steps: [Step; 8] = [
        ("dave comes", "alice", &["dave"], &[], false),
        ("dave refreshes", "dave", &[], &[], true),
        ("erin and frank come", "dave", &["erin", "frank"], &[], false),
        ("bob goes", "erin", &[], &["bob"], false),
        ("grace comes", "alice", &["grace"], &[], false),
        ("dave goes, heidi comes", "frank", &["heidi"], &["dave"], false),
        ("grace refreshes", "grace", &[], &[], true),
        ("alice, erin and frank go", "heidi", &[], &["alice", "erin", "frank"], true),
    ];
    for (name, author, add, remove, refresh) in steps {
        let changed = room.change(FRIENDS, author, add, remove, refresh)?;
        room.hear_change(name, &format!("By {author}."), &changed);
        let speaker = add.first().copied().unwrap_or(author);
        let said = room.say(FRIENDS, speaker, &format!("{speaker}: {name}"))?;
        room.hear(&format!("{name}, says {speaker}"), &format!("{speaker} writes."), &said);
    }
    room.finish()
}
