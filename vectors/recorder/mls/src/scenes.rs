//! What happens to one device: a scene for each scenario of `vectors/` that MLS has, from the view of those to whom
//! something happens.
//!
//! Each scene is recorded with openmls, whose commits are PrivateMessages, and with mls-rs, whose commits are
//! PublicMessages; some of them with two more cipher suites.

mod authentication;
mod device_addition;
mod integrity;
mod participation;
mod removal;

use anyhow::Result;
use e2esm_playback::Recorded;

use crate::{Recorder, Recording};

/// Plays one and writes it down.
type Scene = fn(&Recorder, Recording<'_>) -> Result<Recorded>;

/// All of them.
const SCENES: [Scene; 26] = [
    authentication::roundtrip,
    authentication::replayed_message,
    authentication::replayed_commit,
    authentication::replayed_welcome,
    authentication::insider_forges_sender,
    authentication::outsider_inject,
    authentication::wrong_group,
    removal::cannot_read_next,
    removal::cannot_send,
    removal::rejoin_gap,
    removal::forged_by_server,
    removal::concurrent,
    removal::in_flight,
    removal::withheld_from_bob,
    removal::withheld_from_target,
    device_addition::no_history,
    device_addition::link_authorised,
    device_addition::server_unsigned,
    device_addition::welcome_for_another,
    participation::external_join,
    participation::external_join_uninvited,
    participation::split_view,
    participation::roster_agreement,
    integrity::lost_and_reordered,
    integrity::late_commits,
    integrity::concurrent_groups,
];

/// A handful for the other cipher suites.
const OTHER_SUITES: [Scene; 6] = [
    authentication::roundtrip,
    authentication::insider_forges_sender,
    removal::cannot_read_next,
    removal::rejoin_gap,
    device_addition::no_history,
    participation::external_join_uninvited,
];

/// All vectors.
///
/// # Errors
/// The first disagreement.
pub fn record(recorder: &Recorder) -> Result<Vec<Recorded>> {
    let [public, p256, chacha20] = recorder.mls_rs()?;
    let mut vectors = Vec::new();
    for by in [recorder.openmls()?, public] {
        for scene in &SCENES {
            vectors.push(scene(recorder, by)?);
        }
    }
    for by in [p256, chacha20] {
        for scene in &OTHER_SUITES {
            vectors.push(scene(recorder, by)?);
        }
    }
    Ok(vectors)
}

/// The group that everything happens in, unless it needs a second one.
const FRIENDS: &str = "friends";
/// The second one.
const WORK: &str = "work";

/// What a message is called in a fault: MLS has no other form for it.
const MESSAGE: &str = "application message as PrivateMessage";

/// What a commit is called in a fault.
fn commit(handshake: &str) -> String {
    format!("commit as {handshake}")
}
