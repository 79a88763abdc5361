//! What a file of a recorded vector holds.

use std::collections::BTreeMap;

use e2esm_adapter::{Bytes, Delivered, Delivery, DeliveryKind, Description, ErrorClass, Protocol, Start};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One recorded vector: one passive device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Recorded {
    /// `protocol/theme/name`, as the file is called. Never changes, and is never used again.
    pub id: String,
    /// A few words.
    pub title: String,
    /// What happens to this device, and what a sound one does.
    pub description: String,
    /// What it speaks.
    pub protocol: Protocol,
    /// The cipher suite, as the protocol names it.
    pub cipher_suite: String,
    /// The scenario that it was recorded from, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scenario: Option<String>,
    /// Ids of `requirements.json`.
    pub requirements: Vec<String>,
    /// Whose bytes these are.
    pub recorded_by: Implementation,
    /// Which other implementations agree with every outcome. While it is empty the vector is provisional.
    pub confirmed_by: Vec<Implementation>,
    /// Which implementation does not, where, and why that is known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disagreements: Vec<Disagreement>,
    /// The day, `YYYY-MM-DD`.
    pub recorded_on: String,
    /// Until when it can be played, `YYYY-MM-DD`, where something in it expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<String>,
    /// What a failure means, for each flag that a delivery bears.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub flags: BTreeMap<String, Flag>,
    /// What the device starts with.
    pub start: Start,
    /// What is delivered to it, in order.
    pub deliveries: Vec<Step>,
}

/// An implementation, as far as bytes depend on it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Implementation {
    /// The library.
    pub implementation: String,
    /// Its version, exactly.
    pub version: String,
    /// Who does the cryptography.
    pub crypto_provider: String,
}

impl From<&Description> for Implementation {
    fn from(description: &Description) -> Self {
        Self {
            implementation: description.implementation.clone(),
            version: description.version.clone(),
            crypto_provider: description.crypto_provider.clone(),
        }
    }
}

/// A known implementation that shows another outcome than the one expected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Disagreement {
    /// The library.
    pub implementation: String,
    /// The delivery's name.
    pub delivery: String,
    /// What it shows.
    pub observed: ObservedOutcome,
    /// Why, and which paragraph of the specification decides it.
    pub note: String,
}

/// What became of a delivery, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ObservedOutcome {
    /// It was taken.
    Accepted,
    /// It was refused.
    Rejected,
}

/// What a failure means.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Flag {
    /// The kind of bug: `authentication`, `replay`, `downgrade`, `denial_of_service`, `decoding`, `confidentiality`, `none`.
    pub bug_type: String,
    /// What is delivered.
    pub description: String,
    /// What follows if it is taken.
    pub effect: String,
    /// CVEs, papers, sections of specifications.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<String>,
}

/// One delivery and its outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Its name in this file.
    pub name: String,
    /// What is sent, by whom and why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// See [`Delivery::kind`].
    pub kind: DeliveryKind,
    /// See [`Delivery::from`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// See [`Delivery::bytes`].
    pub bytes: Bytes,
    /// See [`Delivery::ratchet_tree`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ratchet_tree: Option<Bytes>,
    /// Names of the file's flags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<String>,
    /// What is wrong with it, if anything is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
    /// The name of the delivery that is what this one would be without its fault. It is accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub twin: Option<String>,
    /// What a sound implementation makes of it.
    pub expected: Expected,
}

impl Step {
    /// What is delivered.
    pub fn delivery(&self) -> Delivery {
        Delivery {
            kind: self.kind,
            from: self.from.clone(),
            bytes: self.bytes.clone(),
            ratchet_tree: self.ratchet_tree.clone(),
        }
    }
}

/// What is wrong with a packet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Which kind of packet: `commit as PublicMessage`, `prekey message`.
    pub packet: String,
    /// Which field of it: `membership_tag`, `whole`.
    pub field: String,
    /// What was done to it: `one bit flipped`, `delivered again`.
    pub change: String,
    /// The sentence of a specification that it breaks, where it was made by a member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<Rule>,
}

/// A sentence of a specification.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// `RFC 9420`.
    pub document: String,
    /// `12.4.2`.
    pub section: String,
    /// What it demands, in our words.
    pub demands: String,
}

/// What a sound implementation makes of a delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Expected {
    /// It is taken, and then this holds: every field that is here.
    Accepted(Delivered),
    /// It is refused.
    Rejected(Rejection),
    /// The protocol leaves it open: either it is refused, for whatever reason, or it is taken and this holds. A message is
    /// exactly this one; an MLS proposal, which may also be refused when it is committed, leaves the epoch as it is.
    Harmless(Delivered),
}

/// Why a delivery is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rejection {
    /// Any of these.
    pub reasons: Vec<ErrorClass>,
}
