//! The vocabulary of what is expected.

use e2esm_adapter::{DeviceId, ErrorClass, FactKind, GroupId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whether a check asks that something happened, or that it did not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Polarity {
    /// Something good must happen. An implementation that refuses everything fails.
    Positive,
    /// Something bad must not happen.
    Negative,
    /// Counted, never judged.
    Graded,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Check {
    /// Each of these devices has read the message, from its true sender.
    Read {
        /// The message.
        message: String,
        /// The devices.
        by: Vec<DeviceId>,
    },
    /// None of these devices has read the message, though each was given what the server had and tried.
    Unreadable {
        /// The message.
        message: String,
        /// The devices.
        by: Vec<DeviceId>,
        /// The facts whose affirmation would explain the opposite.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        decided_by: Vec<Decisive>,
    },
    /// Each of these devices refused what the named step brought it: the author's own call if it is the author, else
    /// every packet.
    Refused {
        /// The step.
        attempt: String,
        /// The devices.
        by: Vec<DeviceId>,
        /// The classes of reason that a sound system may give.
        reasons: Vec<ErrorClass>,
        /// The facts whose affirmation would explain the opposite.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        decided_by: Vec<Decisive>,
    },
    /// None of these devices has taken anything that the named step brought for a message of `claim`.
    NotAttributed {
        /// The step or message.
        attempt: String,
        /// The devices.
        by: Vec<DeviceId>,
        /// The device under whose name it came.
        claim: DeviceId,
        /// The facts whose affirmation would explain the opposite.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        decided_by: Vec<Decisive>,
    },
    /// The rosters of these devices name exactly these members.
    Members {
        /// The group.
        group: GroupId,
        /// Whose rosters.
        of: Vec<DeviceId>,
        /// The members.
        are: Vec<DeviceId>,
    },
    /// The rosters of these devices do not name this one.
    NotMember {
        /// The group.
        group: GroupId,
        /// Whose rosters.
        of: Vec<DeviceId>,
        /// Who must not be there.
        who: DeviceId,
        /// The facts whose affirmation would explain the opposite.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        decided_by: Vec<Decisive>,
    },
    /// The rosters of these devices still name this one.
    StillMember {
        /// The group.
        group: GroupId,
        /// Whose rosters.
        of: Vec<DeviceId>,
        /// Who must still be there.
        who: DeviceId,
        /// The facts whose affirmation would explain the opposite.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        decided_by: Vec<Decisive>,
    },
    /// These devices have the same roster and, where the protocol has one, the same epoch authenticator.
    SameView {
        /// The group.
        group: GroupId,
        /// The devices.
        of: Vec<DeviceId>,
    },
    /// Two devices that are shown different groups can tell: their epoch authenticators differ, or the one refuses the
    /// other's message.
    SplitNoticed {
        /// The group.
        group: GroupId,
        /// A message of the first, delivered to the second.
        message: String,
        /// The two devices.
        between: [DeviceId; 2],
        /// The facts whose affirmation would explain the opposite.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        decided_by: Vec<Decisive>,
    },
    /// If this device has read the message, its roster names everybody else who has.
    NoHiddenRecipient {
        /// The group.
        group: GroupId,
        /// The message.
        message: String,
        /// Whose roster.
        by: DeviceId,
        /// The facts whose affirmation would explain the opposite.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        decided_by: Vec<Decisive>,
    },
    /// What two devices compare is equal.
    FingerprintsEqual {
        /// The two sides.
        between: [FingerprintOf; 2],
    },
    /// What two devices compare differs.
    FingerprintsDiffer {
        /// The two sides.
        between: [FingerprintOf; 2],
    },
    /// This device was told.
    Notified {
        /// Who.
        who: DeviceId,
        /// Of what.
        of: Notice,
        /// About which device.
        about: DeviceId,
    },
    /// This device was told that a device's key had changed before it sent anything that the new key opens.
    NoticeFirst {
        /// Who.
        who: DeviceId,
        /// The device whose key changed.
        about: DeviceId,
        /// The device that holds the new key.
        new_key_of: DeviceId,
    },
    /// Each of these devices has read the message or was told by an error that it could not: never silence. Graded by the
    /// number that read it.
    ReadOrLost {
        /// The message.
        message: String,
        /// The devices.
        by: Vec<DeviceId>,
    },
    /// Graded by the number of these devices that read the message.
    CountReaders {
        /// The message.
        message: String,
        /// The devices.
        among: Vec<DeviceId>,
    },
}

/// A fact about a device. If an honest device's application was asked about it and said yes, a bad outcome was left to
/// the application.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Decisive {
    /// The kind of fact.
    pub fact: FactKind,
    /// The device it is about, as it names itself.
    pub about: DeviceId,
    /// Only questions from this named step on count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
}

/// One side of a comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FingerprintOf {
    /// Whose screen.
    pub device: DeviceId,
    /// In which group.
    pub group: GroupId,
    /// About whom.
    pub peer: DeviceId,
}

/// What a device can be told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Notice {
    /// A member was added.
    MemberAdded,
    /// A member was removed.
    MemberRemoved,
    /// A device's key changed.
    KeyChanged,
}

impl Check {
    /// Whether it asks that something happened, or that it did not.
    pub fn polarity(&self) -> Polarity {
        match self {
            Self::Read { .. }
            | Self::Members { .. }
            | Self::SameView { .. }
            | Self::FingerprintsEqual { .. }
            | Self::Notified { .. } => Polarity::Positive,
            Self::Unreadable { .. }
            | Self::Refused { .. }
            | Self::NotAttributed { .. }
            | Self::NotMember { .. }
            | Self::StillMember { .. }
            | Self::SplitNoticed { .. }
            | Self::NoHiddenRecipient { .. }
            | Self::FingerprintsDiffer { .. }
            | Self::NoticeFirst { .. } => Polarity::Negative,
            Self::ReadOrLost { .. } | Self::CountReaders { .. } => Polarity::Graded,
        }
    }

    /// The facts whose affirmation would explain that a negative check failed.
    pub fn decided_by(&self) -> &[Decisive] {
        match self {
            Self::Unreadable { decided_by, .. }
            | Self::Refused { decided_by, .. }
            | Self::NotAttributed { decided_by, .. }
            | Self::NotMember { decided_by, .. }
            | Self::StillMember { decided_by, .. }
            | Self::SplitNoticed { decided_by, .. }
            | Self::NoHiddenRecipient { decided_by, .. } => decided_by,
            _ => &[],
        }
    }
}
