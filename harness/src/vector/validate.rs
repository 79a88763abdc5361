//! What a vector's types cannot say: names lead somewhere, everybody acts, and no negative check goes unanswered.

use std::collections::{BTreeSet, HashSet};

use e2esm_adapter::{DeviceId, Fault, GroupId};

use super::{Check, Polarity, Step, Vector};

/// What is wrong with a vector: which field, and what was expected there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Flaw {
    /// A path such as `steps[3].send.by`.
    pub(super) field: String,
    /// What was expected.
    pub(super) expected: String,
}

/// A name that a step or check uses.
enum Use<'a> {
    /// A device of this vector, by its own name.
    Actor(&'static str, &'a DeviceId),
    /// A device as it names itself: an actor's, or one that an actor poses as.
    Claim(&'static str, &'a DeviceId),
    /// A group that an earlier step created.
    Group(&'a GroupId),
    /// The name of an earlier step.
    Earlier(&'static str, &'a str),
}

/// Checks everything that the types do not.
///
/// # Errors
/// The first flaw, in the order of the file.
pub(super) fn validate(vector: &Vector, known_requirements: &BTreeSet<String>) -> Result<(), Flaw> {
    for (index, id) in vector.requirements.iter().enumerate() {
        if !known_requirements.contains(id) {
            return flaw(format!("requirements[{index}]"), format!("an id of requirements.json, not `{id}`"));
        }
    }
    if vector.requirements.is_empty() {
        return flaw("requirements", "at least one id of requirements.json");
    }
    let (actors, claims) = names(vector)?;
    let users: HashSet<_> = vector.actors.iter().map(|actor| &actor.user).collect();
    for (index, user) in vector.policy.admins.iter().enumerate() {
        if !users.contains(user) {
            return flaw(format!("policy.admins[{index}]"), format!("a user among the actors, not `{user}`"));
        }
    }
    if let Some(user) = vector.policy.trust_store.keys().find(|user| !users.contains(user)) {
        return flaw("policy.trust_store", format!("users among the actors, not `{user}`"));
    }
    let mut thieves = vector.thieves();
    let mut groups = HashSet::new();
    let mut earlier = HashSet::new();
    let mut acting = HashSet::new();
    for (index, step) in vector.steps.iter().enumerate() {
        let path = format!("steps[{index}].{}", step.verb());
        if let Step::StealState { by, .. } = step {
            thieves.remove(by);
        }
        for used in step.uses() {
            match used {
                Use::Actor(field, device) if thieves.contains(device) => {
                    return flaw(format!("{path}.{field}"), format!("`{device}` only after its `steal_state`"));
                }
                Use::Actor(field, device) => {
                    if !actors.contains(device) {
                        return flaw(format!("{path}.{field}"), format!("a device among the actors, not `{device}`"));
                    }
                    acting.insert(device.clone());
                }
                Use::Claim(field, device) => {
                    if !actors.contains(device) && !claims.contains(device) {
                        let expected =
                            format!("a device among the actors or one that an actor poses as, not `{device}`");
                        return flaw(format!("{path}.{field}"), expected);
                    }
                }
                Use::Group(group) => {
                    if !groups.contains(group) {
                        return flaw(
                            format!("{path}.group"),
                            format!("a group that an earlier step created, not `{group}`"),
                        );
                    }
                }
                Use::Earlier(field, name) => {
                    if !earlier.contains(name) {
                        return flaw(format!("{path}.{field}"), format!("the name of an earlier step, not `{name}`"));
                    }
                }
            }
        }
        if let Step::CreateGroup { group, .. } = step {
            groups.insert(group.clone());
        }
        if let Some(name) = step.name()
            && !earlier.insert(name)
        {
            return flaw(path, format!("a name of its own: `{name}` is taken by an earlier step"));
        }
        if let Some(field) = step.empty_list() {
            return flaw(format!("{path}.{field}"), "at least one device");
        }
        if let Step::Expect(Check::Refused { reasons, .. }) = step
            && reasons.is_empty()
        {
            return flaw(format!("{path}.refused.reasons"), "at least one class of reason");
        }
    }
    for (index, actor) in vector.actors.iter().enumerate() {
        for device in &actor.devices {
            if !acting.contains(&DeviceId::new(&actor.user.0, device)) {
                let expected = format!("`{}/{device}` in at least one step: it never acts", actor.user);
                return flaw(format!("actors[{index}]"), expected);
            }
        }
    }
    answered(vector)
}

type Names = (HashSet<DeviceId>, HashSet<DeviceId>);

/// The devices of the vector, and those that somebody poses as.
fn names(vector: &Vector) -> Result<Names, Flaw> {
    let mut actors = HashSet::new();
    let mut claims = HashSet::new();
    for (index, actor) in vector.actors.iter().enumerate() {
        if actor.devices.is_empty() {
            return flaw(format!("actors[{index}].devices"), "at least one device");
        }
        if actor.poses_as.is_some() && actor.devices.len() > 1 {
            return flaw(format!("actors[{index}].devices"), "one device, because the actor poses as another");
        }
        claims.extend(actor.poses_as.clone());
        for (place, device) in actor.devices.iter().enumerate() {
            let id = format!("{}/{device}", actor.user)
                .parse::<DeviceId>()
                .map_err(|expected| Flaw { field: format!("actors[{index}].devices[{place}]"), expected })?;
            if !actors.insert(id) {
                return flaw(format!("actors[{index}].devices[{place}]"), format!("`{device}` only once"));
            }
        }
    }
    Ok((actors, claims))
}

/// Every negative check is followed by a positive one, so that refusing everything does not pass.
fn answered(vector: &Vector) -> Result<(), Flaw> {
    let mut open = None;
    let mut any = false;
    for (index, check) in vector.checks() {
        any = true;
        match check.polarity() {
            Polarity::Negative => open = Some(index),
            Polarity::Positive => open = None,
            Polarity::Graded => {}
        }
    }
    if !any {
        return flaw("steps", "at least one `expect`");
    }
    match open {
        Some(index) => flaw(
            format!("steps[{index}].expect"),
            "a positive check after this negative one, so that an implementation that refuses everything fails",
        ),
        None => Ok(()),
    }
}

fn flaw<T>(field: impl Into<String>, expected: impl Into<String>) -> Result<T, Flaw> {
    Err(Flaw { field: field.into(), expected: expected.into() })
}

impl Step {
    /// The step's name in JSON.
    pub fn verb(&self) -> &'static str {
        match self {
            Self::CreateGroup { .. } => "create_group",
            Self::Add { .. } => "add",
            Self::Remove { .. } => "remove",
            Self::Refresh { .. } => "refresh",
            Self::Race { .. } => "race",
            Self::Send { .. } => "send",
            Self::Withhold { .. } => "withhold",
            Self::Deliver { .. } => "deliver",
            Self::Replay { .. } => "replay",
            Self::Tamper { .. } => "tamper",
            Self::StopTampering {} => "stop_tampering",
            Self::ForgeMessage { .. } => "forge_message",
            Self::ForgeKeyDistribution { .. } => "forge_key_distribution",
            Self::InjectMember { .. } => "inject_member",
            Self::ForgeRemoval { .. } => "forge_removal",
            Self::UninvitedJoin { .. } => "uninvited_join",
            Self::SwapIdentity { .. } => "swap_identity",
            Self::RestoreIdentity { .. } => "restore_identity",
            Self::Reregistered { .. } => "reregistered",
            Self::BreakBundle { .. } => "break_bundle",
            Self::LinkDevice { .. } => "link_device",
            Self::ListDevice { .. } => "list_device",
            Self::RevokeDevice { .. } => "revoke_device",
            Self::StealState { .. } => "steal_state",
            Self::PublishLink { .. } => "publish_link",
            Self::ExternalJoin { .. } => "external_join",
            Self::AskResend { .. } => "ask_resend",
            Self::ShareHistory { .. } => "share_history",
            Self::RequestKeys { .. } => "request_keys",
            Self::Verify { .. } => "verify",
            Self::Misbehave { .. } => "misbehave",
            Self::Expect(_) => "expect",
        }
    }

    /// A list of devices that must name somebody and does not.
    fn empty_list(&self) -> Option<&'static str> {
        let (field, list) = match self {
            Self::Add { who, .. } | Self::Remove { who, .. } => ("who", who),
            Self::Withhold { to, .. }
            | Self::Deliver { to, .. }
            | Self::Replay { to, .. }
            | Self::Tamper { to, .. }
            | Self::Reregistered { to, .. }
            | Self::ListDevice { to, .. } => ("to", to),
            Self::Expect(check) => match check {
                Check::Read { by, .. }
                | Check::Unreadable { by, .. }
                | Check::Refused { by, .. }
                | Check::NotAttributed { by, .. }
                | Check::ReadOrLost { by, .. } => ("by", by),
                Check::Members { of, .. }
                | Check::NotMember { of, .. }
                | Check::StillMember { of, .. }
                | Check::SameView { of, .. } => ("of", of),
                Check::CountReaders { among, .. } => ("among", among),
                _ => return None,
            },
            _ => return None,
        };
        list.is_empty().then_some(field)
    }

    fn uses(&self) -> Vec<Use<'_>> {
        use super::Alteration;
        use Use::{Actor, Claim, Earlier, Group};
        match self {
            Self::CreateGroup { by, with, .. } => [vec![Actor("by", by)], vec_of_claims("with", with)].concat_uses(),
            Self::Add { by, group, who, .. } | Self::Remove { by, group, who, .. } => {
                [vec![Actor("by", by), Group(group)], vec_of_claims("who", who)].concat_uses()
            }
            Self::Refresh { by, group, .. } | Self::PublishLink { by, group } => vec![Actor("by", by), Group(group)],
            Self::Race { group, changes } => {
                let mut uses = vec![Group(group)];
                for change in changes {
                    uses.push(Actor("changes.by", &change.by));
                    uses.extend(vec_of_claims("changes.remove", &change.remove));
                }
                uses
            }
            Self::Send { by, group, quotes, .. } => {
                let mut uses = vec![Actor("by", by), Group(group)];
                uses.extend(quotes.as_deref().map(|name| Earlier("quotes", name)));
                uses
            }
            Self::Withhold { to, .. } | Self::Deliver { to, .. } => vec_of("to", to),
            Self::Replay { of, to, .. } => [vec![Earlier("of", of)], vec_of("to", to)].concat_uses(),
            Self::Tamper { from, to, alter, .. } => {
                let mut uses = vec_of("to", to);
                uses.push(Actor("from", from));
                match alter {
                    Alteration::RelabelOpening { claim } => uses.push(Claim("alter.relabel_opening.claim", claim)),
                    Alteration::RewriteIdentity { by } => uses.push(Actor("alter.rewrite_identity.by", by)),
                    Alteration::FlipLastBit {} => {}
                }
                uses
            }
            Self::StopTampering {} => Vec::new(),
            Self::ForgeMessage { by, group, claim, .. }
            | Self::ForgeKeyDistribution { by, group, claim, .. }
            | Self::InjectMember { by, group, claim, .. } => vec![Actor("by", by), Group(group), Claim("claim", claim)],
            Self::ForgeRemoval { by, group, claim, who, .. } => {
                vec![Actor("by", by), Group(group), Claim("claim", claim), Claim("who", who)]
            }
            Self::UninvitedJoin { by, group, .. } => vec![Actor("by", by), Group(group)],
            Self::SwapIdentity { device, by } => vec![Claim("device", device), Actor("by", by)],
            Self::RestoreIdentity { device } => vec![Actor("device", device)],
            Self::Reregistered { device, to, .. } => [vec![Claim("device", device)], vec_of("to", to)].concat_uses(),
            Self::BreakBundle { device, by } => vec![Claim("device", device), Actor("by", by)],
            Self::LinkDevice { device, by } | Self::RevokeDevice { device, by } => {
                vec![Actor("device", device), Actor("by", by)]
            }
            Self::ListDevice { device, to } => [vec![Actor("device", device)], vec_of("to", to)].concat_uses(),
            Self::StealState { from, by } => vec![Actor("from", from), Actor("by", by)],
            Self::ExternalJoin { by, group, .. } => vec![Actor("by", by), Group(group)],
            Self::AskResend { to, message, device, .. } => {
                vec![Actor("to", to), Earlier("message", message), Claim("device", device)]
            }
            Self::ShareHistory { by, group, to, .. } => vec![Actor("by", by), Group(group), Claim("to", to)],
            Self::RequestKeys { by, group, from, .. } => vec![Actor("by", by), Group(group), Claim("from", from)],
            Self::Verify { by, peer } => vec![Actor("by", by), Actor("peer", peer)],
            Self::Misbehave { by, fault: Fault::RelabelledSender(claim) } => {
                vec![Actor("by", by), Claim("fault.relabelled_sender", claim)]
            }
            Self::Misbehave { by, .. } => vec![Actor("by", by)],
            Self::Expect(check) => check.uses(),
        }
    }
}

impl Check {
    /// The check's name in JSON.
    pub fn verb(&self) -> &'static str {
        match self {
            Self::Read { .. } => "read",
            Self::Unreadable { .. } => "unreadable",
            Self::Refused { .. } => "refused",
            Self::NotAttributed { .. } => "not_attributed",
            Self::Members { .. } => "members",
            Self::NotMember { .. } => "not_member",
            Self::StillMember { .. } => "still_member",
            Self::SameView { .. } => "same_view",
            Self::SplitNoticed { .. } => "split_noticed",
            Self::NoHiddenRecipient { .. } => "no_hidden_recipient",
            Self::FingerprintsEqual { .. } => "fingerprints_equal",
            Self::FingerprintsDiffer { .. } => "fingerprints_differ",
            Self::Notified { .. } => "notified",
            Self::NoticeFirst { .. } => "notice_first",
            Self::ReadOrLost { .. } => "read_or_lost",
            Self::CountReaders { .. } => "count_readers",
        }
    }

    fn uses(&self) -> Vec<Use<'_>> {
        use Use::{Actor, Claim, Earlier, Group};
        let mut uses = match self {
            Self::Read { message, by } | Self::Unreadable { message, by, .. } | Self::ReadOrLost { message, by } => {
                [vec![Earlier("message", message)], vec_of("by", by)].concat_uses()
            }
            Self::CountReaders { message, among } => {
                [vec![Earlier("message", message)], vec_of("among", among)].concat_uses()
            }
            Self::Refused { attempt, by, .. } => [vec![Earlier("attempt", attempt)], vec_of("by", by)].concat_uses(),
            Self::NotAttributed { attempt, by, claim, .. } => {
                [vec![Earlier("attempt", attempt), Claim("claim", claim)], vec_of("by", by)].concat_uses()
            }
            Self::Members { group, of, are } => {
                [vec![Group(group)], vec_of("of", of), vec_of_claims("are", are)].concat_uses()
            }
            Self::NotMember { group, of, who, .. } | Self::StillMember { group, of, who, .. } => {
                [vec![Group(group), Claim("who", who)], vec_of("of", of)].concat_uses()
            }
            Self::SameView { group, of } => [vec![Group(group)], vec_of("of", of)].concat_uses(),
            Self::SplitNoticed { group, message, between, .. } => {
                [vec![Group(group), Earlier("message", message)], vec_of("between", between)].concat_uses()
            }
            Self::NoHiddenRecipient { group, message, by, .. } => {
                vec![Group(group), Earlier("message", message), Actor("by", by)]
            }
            Self::FingerprintsEqual { between } | Self::FingerprintsDiffer { between } => between
                .iter()
                .flat_map(|side| {
                    [Actor("between.device", &side.device), Group(&side.group), Claim("between.peer", &side.peer)]
                })
                .collect(),
            Self::Notified { who, about, .. } => vec![Actor("who", who), Claim("about", about)],
            Self::NoticeFirst { who, about, new_key_of } => {
                vec![Actor("who", who), Claim("about", about), Actor("new_key_of", new_key_of)]
            }
        };
        for decisive in self.decided_by() {
            uses.push(Claim("decided_by.about", &decisive.about));
            uses.extend(decisive.since.as_deref().map(|name| Earlier("decided_by.since", name)));
        }
        uses
    }
}

fn vec_of<'a>(field: &'static str, devices: &'a [DeviceId]) -> Vec<Use<'a>> {
    devices.iter().map(|device| Use::Actor(field, device)).collect()
}

fn vec_of_claims<'a>(field: &'static str, devices: &'a [DeviceId]) -> Vec<Use<'a>> {
    devices.iter().map(|device| Use::Claim(field, device)).collect()
}

trait ConcatUses<'a> {
    fn concat_uses(self) -> Vec<Use<'a>>;
}

impl<'a, const N: usize> ConcatUses<'a> for [Vec<Use<'a>>; N] {
    fn concat_uses(self) -> Vec<Use<'a>> {
        self.into_iter().flatten().collect()
    }
}
