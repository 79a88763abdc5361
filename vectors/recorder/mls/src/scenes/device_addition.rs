//! Who comes in, by whom, and from when on.

use anyhow::Result;
use e2esm_adapter::ErrorClass::{AuthFailed, BadRequest, NoKey, StaleEpoch};
use e2esm_adapter::{Forgery, PacketKind};
use e2esm_playback::Recorded;

use super::{FRIENDS, MESSAGE, WORK, commit};
use crate::room::{Head, Room, Wrong, device_id};
use crate::{Recorder, Recording};

pub(super) fn no_history(recorder: &Recorder, by: Recording<'_>) -> Result<Recorded> {
    let head = Head {
        id: "device-addition/no-history",
        title: "A newcomer does not see the past",
        description: "alice and bob talk, and then alice adds bob's tablet, which is looked at here. The server gives it what \
                      was written before, once before its Welcome and once after, and the commit that added it. None of it \
                      opens, since a Welcome holds the secrets of its own epoch only; what is written from then on does.",
        requirements: &["I1"],
        scenario: Some("device-addition/no-history"),
        passive: "bob/tablet",
        key_packages: 1,
    };
    let mut room = Room::new(recorder, by, &head)?;
    let packet = commit(room.handshake());
    room.found(FRIENDS, "alice", &["bob"])?;
    let old = room.say(FRIENDS, "alice", "between the two of us")?;
    let wrong = |change| Wrong { packet: MESSAGE, field: "whole", change, flags: &["BeforeJoining"], twin: "alice" };
    let early = wrong("sent before the receiver joined, delivered before its Welcome");
    room.refuse("old message", "There is no such group here yet.", &old.packet, &early, &[BadRequest]);
    let added = room.change(FRIENDS, "alice", &["bob/tablet"], &[], false)?;
    room.hear_welcome("Welcome", "alice adds bob's tablet, which gets leaf 2.", &added)?;
    let late = wrong("sent before the receiver joined, delivered after its Welcome");
    let why = "Who joins is given no secret of an earlier epoch (RFC 9420, section 12.4.3.1).";
    room.refuse("old message, again", why, &old.packet, &late, &[NoKey, StaleEpoch]);
    let adding = Wrong { packet: &packet, twin: "refresh", ..wrong("the one that adds the receiver, delivered to it") };
    room.refuse("the commit itself", why, &added.commit, &adding, &[StaleEpoch]);
    for name in ["alice", "bob"] {
        let said = room.say(FRIENDS, name, &format!("{name} to all three"))?;
        room.hear(name, &format!("{name} writes."), &said);
    }
    let refresh = room.change(FRIENDS, "bob", &[], &[], true)?;
    room.hear_change("refresh", "bob's phone replaces its keys.", &refresh);
    room.finish()
}

pub(super) fn link_authorised(recorder: &Recorder, by: Recording<'_>) -> Result<Recorded> {
    let head = Head {
        id: "device-addition/link-authorised",
        title: "Somebody adds a second device of their own",
        description: "bob vouches with his phone for his tablet and adds it. carol's device is looked at here: it sees the \
                      tablet in the list of members, in a leaf of its own, and reads what both of bob's devices write. Then \
                      bob takes the tablet out again, and the list is as it was.",
        requirements: &["R2", "D1", "D2"],
        scenario: Some("device-addition/link-authorised"),
        passive: "carol",
        key_packages: 1,
    };
    let mut room = Room::new(recorder, by, &head)?;
    let founded = room.found(FRIENDS, "alice", &["bob", "carol"])?;
    room.hear_welcome("Welcome", "alice adds bob and carol.", &founded)?;
    room.link("bob", "bob/tablet")?;
    let added = room.change(FRIENDS, "bob", &["bob/tablet"], &[], false)?;
    room.hear_change("tablet added", "bob adds his tablet, which gets leaf 3.", &added);
    for name in ["bob", "bob/tablet", "alice"] {
        let said = room.say(FRIENDS, name, &format!("from {name}"))?;
        room.hear(&format!("from {name}"), &format!("{name} writes."), &said);
    }
    let refresh = room.change(FRIENDS, "bob/tablet", &[], &[], true)?;
    room.hear_change("tablet's commit", "The tablet replaces its keys, as any member may.", &refresh);
    let removed = room.change(FRIENDS, "bob", &[], &["bob/tablet"], false)?;
    room.hear_change("tablet removed", "bob takes the tablet out.", &removed);
    let said = room.say(FRIENDS, "bob", "one phone is enough")?;
    room.hear("one phone is enough", "bob writes with his phone.", &said);
    room.finish()
}

pub(super) fn server_unsigned(recorder: &Recorder, by: Recording<'_>) -> Result<Recorded> {
    let head = Head {
        id: "device-addition/server-unsigned",
        title: "The server adds a device",
        description: "The server and mallory make a commit in alice's name that adds mallory's device, with a key package that \
                      is mallory's own and properly signed, and everything else with keys that they have made up. carol's \
                      device refuses it, and stays in the epoch in which the members are.",
        requirements: &["C1", "R2"],
        scenario: Some("device-addition/server-unsigned"),
        passive: "carol",
        key_packages: 1,
    };
    let mut room = Room::new(recorder, by, &head)?;
    let packet = commit(room.handshake());
    let founded = room.found(FRIENDS, "alice", &["bob", "carol"])?;
    room.hear_welcome("Welcome", "alice adds bob and carol.", &founded)?;
    let said = room.say(FRIENDS, "alice", "the three of us")?;
    room.hear("the three of us", "alice writes.", &said);
    let forged = room.forged(FRIENDS, PacketKind::Change, |mallory, group| {
        let add = vec![mallory.publish(&device_id("alice"))?];
        Ok(Forgery::Change { group, claim: device_id("alice"), add, remove: Vec::new() })
    })?;
    let wrong = Wrong {
        packet: &packet,
        field: "whole",
        change: "made by an outsider with keys of its own, to add itself",
        flags: &["Outsider"],
        twin: "dave is added",
    };
    room.refuse("mallory is added", "In alice's name: mallory is in.", &forged, &wrong, &[AuthFailed, NoKey]);
    let said = room.say(FRIENDS, "bob", "still the three of us")?;
    room.hear("still the three of us", "bob writes.", &said);
    let added = room.change(FRIENDS, "alice", &["dave"], &[], false)?;
    room.hear_change("dave is added", "Now alice does add somebody: dave, at leaf 3.", &added);
    let said = room.say(FRIENDS, "dave", "the four of us")?;
    room.hear("the four of us", "dave writes.", &said);
    room.finish()
}

pub(super) fn welcome_for_another(recorder: &Recorder, by: Recording<'_>) -> Result<Recorded> {
    let head = Head {
        id: "device-addition/welcome-for-another",
        title: "A Welcome that is for somebody else",
        description: "The server delivers to carol's device, which is looked at here, Welcomes that are for dave: one into a \
                      group that she is not in, and one into her own. The device finds no key package of its own in them and \
                      refuses both, keeps its key package for the Welcome that is for it, and stays in its group.",
        requirements: &["C1", "L1"],
        scenario: None,
        passive: "carol",
        key_packages: 1,
    };
    let mut room = Room::new(recorder, by, &head)?;
    let elsewhere = room.found(WORK, "alice", &["dave"])?;
    let wrong = |change| Wrong { packet: "Welcome", field: "whole", change, flags: &["OtherGroup"], twin: "Welcome" };
    let why = "It names no key package of this device's (RFC 9420, section 12.4.3.1).";
    let strange = wrong("for another device, into a group that the receiver is not in");
    let welcome = elsewhere.welcome.unwrap_or_default();
    room.refuse("Welcome to work, for dave", why, &welcome, &strange, &[NoKey]);
    let founded = room.found(FRIENDS, "alice", &["bob", "carol"])?;
    room.hear_welcome("Welcome", "alice adds bob and carol.", &founded)?;
    let added = room.change(FRIENDS, "alice", &["dave"], &[], false)?;
    let own = wrong("for another device, into the receiver's own group");
    let welcome = added.welcome.clone().unwrap_or_default();
    room.refuse("Welcome to friends, for dave", why, &welcome, &own, &[NoKey]);
    room.hear_change("dave is added", "The commit to which that Welcome belongs.", &added);
    let said = room.say(FRIENDS, "dave", "hello carol")?;
    room.hear("hello carol", "dave writes.", &said);
    room.finish()
}
