//! A vector: one scenario as data, readable without the code.
//!
//! Steps use names, never indexes, and a vocabulary that no implementation owns. [`load`] reads and checks files; nothing
//! here knows how a scenario is played.

mod check;
mod describe;
pub mod load;
mod step;
mod validate;

use std::collections::{BTreeMap, BTreeSet};

use e2esm_adapter::{Capability, DeviceId, GroupId, UserId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use check::{Check, Decisive, FingerprintOf, Notice, Polarity};
pub use describe::describe;
pub use step::{Alteration, GroupInfoSource, RacingChange, Step};

/// One scenario.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "E2ESM vector")]
pub struct Vector {
    /// `theme/name`; never changes and is never reused.
    #[schemars(regex(pattern = r"^[a-z0-9-]+/[a-z0-9-]+$"))]
    pub id: String,
    /// A few words.
    pub title: String,
    /// What happens, and why it matters, for somebody who has not read the code.
    pub description: String,
    /// Ids of `requirements.json` that the scenario tests.
    #[schemars(length(min = 1))]
    pub requirements: Vec<String>,
    /// Attacks, papers and advisories that this scenario repeats.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub precedents: Vec<Precedent>,
    /// What an implementation must be able to do for the scenario to mean anything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<Capability>,
    /// How the shared policy is set at the layer library + policy.
    #[serde(default, skip_serializing_if = "PolicySettings::is_default")]
    pub policy: PolicySettings,
    /// Who takes part.
    #[schemars(length(min = 1))]
    pub actors: Vec<Actor>,
    /// What happens, in order.
    #[schemars(length(min = 1))]
    pub steps: Vec<Step>,
    /// Surprises and reasons.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl Vector {
    /// The part of the id before the slash.
    pub fn theme(&self) -> &str {
        self.id.split('/').next().unwrap_or_default()
    }

    /// The devices that come into being by `steal_state`.
    pub fn thieves(&self) -> BTreeSet<&DeviceId> {
        self.steps
            .iter()
            .filter_map(|step| match step {
                Step::StealState { by, .. } => Some(by),
                _ => None,
            })
            .collect()
    }

    /// What every implementation must be able to do to play it, whatever it is about: have groups, and a third member where
    /// there is one.
    pub fn implied_needs(&self) -> Vec<Capability> {
        let mut members: BTreeMap<&GroupId, BTreeSet<&DeviceId>> = BTreeMap::new();
        let mut largest = 0;
        for step in &self.steps {
            let (group, by, who) = match step {
                Step::CreateGroup { by, group, with, .. } => (group, by, with),
                Step::Add { by, group, who, .. } => (group, by, who),
                Step::Remove { group, who, .. } => {
                    members.entry(group).or_default().retain(|member| !who.contains(member));
                    continue;
                }
                _ => continue,
            };
            let members = members.entry(group).or_default();
            members.insert(by);
            members.extend(who);
            largest = largest.max(members.len());
        }
        let mut needs = vec![Capability::Groups];
        needs.extend((largest > 2).then_some(Capability::ThirdMember));
        needs
    }

    /// The checks, each with the index of its step.
    pub fn checks(&self) -> impl Iterator<Item = (usize, &Check)> {
        self.steps.iter().enumerate().filter_map(|(index, step)| match step {
            Step::Expect(check) => Some((index, check)),
            _ => None,
        })
    }
}

/// Where a scenario comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Precedent {
    /// What it is called: a CVE, a paper with its year, a release.
    pub name: String,
    /// Where to read about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// A user and the devices that take part. A device is named `user/device` everywhere in the vector.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Actor {
    /// The user.
    pub user: UserId,
    /// Their devices. The first holds the account key; another one is a stranger until `link_device`.
    #[schemars(length(min = 1))]
    pub devices: Vec<String>,
    /// On whose side they are.
    #[serde(default, skip_serializing_if = "Role::is_honest")]
    pub role: Role,
    /// The device that this actor's (only) device claims to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub poses_as: Option<DeviceId>,
}

/// On whose side an actor is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Follows the protocol and the policy.
    #[default]
    Honest,
    /// A member that follows neither where it does not want to: the policy is not applied to its devices.
    Insider,
    /// Not a member; works with the server: is given every packet and tries each.
    Outsider,
}

impl Role {
    fn is_honest(&self) -> bool {
        *self == Self::Honest
    }
}

/// How the shared policy is set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicySettings {
    /// The trust store of users who do not use `tofu`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub trust_store: BTreeMap<UserId, TrustStore>,
    /// Who may add and remove others; everybody if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub admins: Vec<UserId>,
}

impl PolicySettings {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// How an application learns whose key is whose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TrustStore {
    /// Takes any key.
    Blind,
    /// Trust on first use: the first key is kept, another one refused until it is verified.
    #[default]
    Tofu,
    /// Only keys that were compared out of band.
    VerifiedOnly,
}
