//! The faults, by what they are about: a function for each vector.

mod external;
mod key_packages;
mod known;
mod path;
mod private;
mod proposals;
mod sender;
mod signatures;
mod welcome;

use anyhow::Result;
use e2esm_playback::Draft;

use crate::scene::Setting;

type Play = fn(Setting<'_>) -> Result<Draft>;

/// Played with cipher suite 0x0001.
const PLAYS: [Play; 28] = [
    signatures::signature,
    signatures::membership_tag,
    signatures::confirmation_tag,
    sender::sender,
    private::content,
    private::sender_data,
    path::leaf,
    path::parent_hash,
    path::secrets,
    path::required,
    proposals::removes,
    proposals::own_updates,
    proposals::updates,
    proposals::pre_shared_keys,
    proposals::extensions,
    proposals::list,
    key_packages::invalid,
    key_packages::whom,
    welcome::group_info,
    welcome::secrets,
    welcome::leaves,
    welcome::parents,
    external::commits,
    external::proposals,
    known::removed_twice,
    known::reinit_beside,
    known::reinit_downgrade,
    known::rejoin,
];

/// Played with 0x0002 and 0x0003 besides.
const OTHER_SUITES: [Play; 5] =
    [path::parent_hash, path::secrets, private::content, welcome::group_info, welcome::parents];

/// All vectors, made on this day.
pub(crate) fn all(date: &str) -> Result<Vec<Draft>> {
    let first = PLAYS.into_iter().map(|play| (play, 0x0001));
    let others = [0x0002, 0x0003].into_iter().flat_map(|suite| OTHER_SUITES.map(|play| (play, suite)));
    first.chain(others).map(|(play, cipher_suite)| play(Setting { cipher_suite, date })).collect()
}
