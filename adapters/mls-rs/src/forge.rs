//! What an outsider makes of what the server knows: a parallel group with the same id, members of the same names and the
//! same epoch, played by the library itself with keys of the outsider's own. Its packets are those of the real group in
//! everything but the secrets.

use e2esm_account::Account;
use e2esm_adapter::{DeviceId, Error, KnownGroup};
use mls_rs::{Client, CryptoProvider, MlsMessage};

use crate::bent::BentProvider;
use crate::client::{Company, Group, Keys, Settings, Stores, beginning, client, key_package};
use crate::decisions::Counsel;
use crate::error::translate;

/// The parallel group, as the member `claim` has it.
pub(crate) fn parallel_group<P>(
    provider: &BentProvider<P>,
    company: Company,
    known: &KnownGroup,
    claim: &DeviceId,
) -> Result<Group<P>, Error>
where
    P: CryptoProvider + Clone,
{
    let mut names: Vec<&DeviceId> = known.members.iter().collect();
    if !names.contains(&claim) {
        names.push(claim);
    }
    let clients = names.iter().map(|name| puppet(provider, company, name)).collect::<Result<Vec<_>, _>>()?;
    let Some((creator, others)) = clients.split_first() else {
        return Err(Error::internal("a parallel group without members"));
    };
    // The commit that brings the others in is one epoch.
    let start = if others.is_empty() { known.changes } else { known.changes.saturating_sub(1) };
    let mut group = creator
        .group_builder()
        .map_err(translate)?
        .with_group_id(known.id.0.clone().into_bytes())
        .with_start_epoch(start)
        .with_now_time(beginning())
        .build()
        .map_err(translate)?;
    if others.is_empty() {
        return Ok(group);
    }
    let mut commit = group.commit_builder();
    for other in others {
        commit = commit.add_member(key_package(other)?).map_err(translate)?;
    }
    let commit = commit.build().map_err(translate)?;
    group.apply_pending_commit().map_err(translate)?;
    match (names.iter().position(|name| *name == claim), commit.welcome_messages.first()) {
        (Some(index), Some(welcome)) if index > 0 => {
            clients[index].join_group(None, welcome, None).map(|(group, _)| group).map_err(translate)
        }
        _ => Ok(group),
    }
}

/// GroupInfo of a parallel group, with its tree.
pub(crate) fn parallel_info<P>(
    provider: &BentProvider<P>,
    company: Company,
    known: &KnownGroup,
) -> Result<MlsMessage, Error>
where
    P: CryptoProvider + Clone,
{
    let Some(first) = known.members.first() else {
        return Err(Error::bad_request("a group without members"));
    };
    parallel_group(provider, company, known, first)?.group_info_message_allowing_ext_commit(true).map_err(translate)
}

/// A client under somebody's name with keys of the outsider's own, which asks nobody.
fn puppet<P>(provider: &BentProvider<P>, company: Company, name: &DeviceId) -> Result<Client<Settings<P>>, Error>
where
    P: CryptoProvider + Clone,
{
    let keys = Keys::generate(provider)?;
    let account = Account::new(name, keys.public.as_bytes());
    client(provider, company, &Counsel::default(), name, &account, &keys, &Stores::default())
}
