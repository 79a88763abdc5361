//! An ordinary network: packets are late, or never come.

use anyhow::Result;
use e2esm_adapter::ErrorClass::{NoKey, StaleEpoch};
use e2esm_playback::Recorded;

use super::{FRIENDS, MESSAGE, WORK, commit};
use crate::room::{Head, Room, Wrong};
use crate::{Recorder, Recording};

pub(super) fn lost_and_reordered(recorder: &Recorder, by: Recording<'_>) -> Result<Recorded> {
    let head = Head {
        id: "integrity/lost-and-reordered",
        title: "Messages are late, or never come",
        description: "alice writes six times and bob twice. carol's device gets alice's third before her second, her fifth \
                      before her fourth, bob's second before his first, and alice's sixth never. It reads each of them when \
                      it comes, since every message of a sender's has a key of its own and skipped keys are kept for a while.",
        requirements: &["L1"],
        scenario: None,
        passive: "carol",
        key_packages: 1,
    };
    let mut room = Room::new(recorder, by, &head)?;
    let founded = room.found(FRIENDS, "alice", &["bob", "carol"])?;
    room.hear_welcome("Welcome", "alice adds bob and carol.", &founded)?;
    let mut alice = Vec::new();
    for number in 1..=6 {
        alice.push(room.say(FRIENDS, "alice", &format!("alice {number}"))?);
    }
    let bob = [room.say(FRIENDS, "bob", "bob 1")?, room.say(FRIENDS, "bob", "bob 2")?];
    room.hear("alice 1", "In its place.", &alice[0]);
    room.hear_late("alice 3", "Before the second.", &alice[2]);
    room.hear_late("bob 2", "Before the first.", &bob[1]);
    room.hear_late("alice 2", "After the third.", &alice[1]);
    room.hear_late("alice 5", "Before the fourth.", &alice[4]);
    room.hear_late("bob 1", "After the second.", &bob[0]);
    room.hear_late("alice 4", "After the fifth.", &alice[3]);
    let last = room.say(FRIENDS, "alice", "alice 7")?;
    room.hear_late("alice 7", "The sixth never comes.", &last);
    let refresh = room.change(FRIENDS, "bob", &[], &[], true)?;
    room.hear_change("refresh", "bob replaces his keys; what was lost stays lost.", &refresh);
    let first = room.say(FRIENDS, "bob", "bob 3")?;
    let second = room.say(FRIENDS, "bob", "bob 4")?;
    room.hear_late("bob 4", "In epoch 2, before the third.", &second);
    room.hear_late("bob 3", "After the fourth.", &first);
    room.finish()
}

pub(super) fn late_commits(recorder: &Recorder, by: Recording<'_>) -> Result<Recorded> {
    let head = Head {
        id: "integrity/late-commits",
        title: "Commits come in the wrong order",
        description: "bob replaces his keys, then alice hers, then alice writes. carol's device gets alice's commit and her \
                      message before bob's commit. It refuses both, since it has not come to their epochs; then it gets \
                      everything in order and must read it: what was refused has spent nothing.",
        requirements: &["L1"],
        scenario: None,
        passive: "carol",
        key_packages: 1,
    };
    let mut room = Room::new(recorder, by, &head)?;
    let packet = commit(room.handshake());
    let founded = room.found(FRIENDS, "alice", &["bob", "carol"])?;
    room.hear_welcome("Welcome", "alice adds bob and carol.", &founded)?;
    let first = room.change(FRIENDS, "bob", &[], &[], true)?;
    let between = room.say(FRIENDS, "alice", "in epoch 2")?;
    let second = room.change(FRIENDS, "alice", &[], &[], true)?;
    let last = room.say(FRIENDS, "alice", "in epoch 3")?;
    let wrong = Wrong {
        packet: &packet,
        field: "whole",
        change: "delivered before the commit of the epoch before",
        flags: &["OtherEpoch", "OutOfOrder"],
        twin: "alice's commit",
    };
    let why = "The epoch of a commit is the present one (RFC 9420, section 12.4.2).";
    room.refuse("alice's commit, too early", why, &second.commit, &wrong, &[StaleEpoch]);
    let change = "delivered two commits before that of its epoch";
    let early = Wrong { packet: MESSAGE, change, twin: "in epoch 3", ..wrong };
    let why = "This device does not have that epoch's keys yet (RFC 9420, section 14).";
    room.refuse("in epoch 3, too early", why, &last.packet, &early, &[NoKey, StaleEpoch]);
    room.hear_change("bob's commit", "bob replaces his keys.", &first);
    let change = "delivered one commit before that of its epoch";
    room.refuse("in epoch 3, still too early", why, &last.packet, &Wrong { change, ..early }, &[NoKey, StaleEpoch]);
    room.hear("in epoch 2", "What alice wrote between the two commits.", &between);
    room.hear_change("alice's commit", "alice replaces her keys.", &second);
    room.hear("in epoch 3", "What alice wrote at the end.", &last);
    room.finish()
}

pub(super) fn concurrent_groups(recorder: &Recorder, by: Recording<'_>) -> Result<Recorded> {
    let head = Head {
        id: "integrity/concurrent-groups",
        title: "Two groups side by side",
        description: "carol's device is in two groups with alice and bob, in different leaves and different epochs, and what \
                      happens in them arrives mixed. It keeps them apart: each message belongs to its group, and a commit in \
                      the one changes nothing in the other.",
        requirements: &["L1", "T3"],
        scenario: None,
        passive: "carol",
        key_packages: 2,
    };
    let mut room = Room::new(recorder, by, &head)?;
    let friends = room.found(FRIENDS, "alice", &["bob", "carol"])?;
    let work = room.found(WORK, "bob", &["carol", "alice"])?;
    room.hear_welcome("Welcome to work", "bob adds carol (leaf 1) and alice (leaf 2).", &work)?;
    room.hear_welcome("Welcome to friends", "alice adds bob (leaf 1) and carol (leaf 2).", &friends)?;
    for (round, group) in [(1, FRIENDS), (2, WORK), (3, FRIENDS), (4, FRIENDS), (5, WORK)] {
        for name in ["alice", "bob"] {
            let other = if group == FRIENDS { WORK } else { FRIENDS };
            let here = room.say(group, name, &format!("{name} to {group}, {round}"))?;
            let there = room.say(other, name, &format!("{name} to {other}, {round}"))?;
            room.hear(&format!("{name} to {group}, {round}"), &format!("{name} writes."), &here);
            room.hear(&format!("{name} to {other}, {round}"), &format!("{name} writes."), &there);
        }
        let changed = room.change(group, if round % 2 == 0 { "alice" } else { "bob" }, &[], &[], true)?;
        room.hear_change(&format!("refresh in {group}, {round}"), "New keys in this group only.", &changed);
    }
    room.finish()
}
