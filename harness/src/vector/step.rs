//! The vocabulary of what can happen.

use e2esm_adapter::{DeviceId, GroupId, PacketKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::check::Check;

/// One step. A step that bears a name may fail: the checks say what was expected of it. One without a name must succeed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Step {
    /// `by` creates a group and, in one change, adds `with`.
    CreateGroup {
        /// The creator.
        by: DeviceId,
        /// The group.
        group: GroupId,
        /// The other members.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        with: Vec<DeviceId>,
        /// Makes it an attempt.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
    /// `by` adds devices.
    Add {
        /// The author.
        by: DeviceId,
        /// The group.
        group: GroupId,
        /// Whom.
        who: Vec<DeviceId>,
        /// Makes it an attempt.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
    /// `by` removes devices.
    Remove {
        /// The author.
        by: DeviceId,
        /// The group.
        group: GroupId,
        /// Whom.
        who: Vec<DeviceId>,
        /// Makes it an attempt.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
    /// `by` replaces its own keys: an MLS update path, a new sender key.
    Refresh {
        /// The author.
        by: DeviceId,
        /// The group.
        group: GroupId,
        /// Makes it an attempt.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
    /// Several members make a change at the same time; the server takes the first, and the others reach everybody too late.
    Race {
        /// The group.
        group: GroupId,
        /// The changes, in the order in which the server takes them.
        changes: Vec<RacingChange>,
    },
    /// `by` sends a message; its text contains its name and, with `quotes`, the text of an earlier one.
    Send {
        /// The sender.
        by: DeviceId,
        /// The group.
        group: GroupId,
        /// The message's name.
        message: String,
        /// An earlier message to repeat in the text.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        quotes: Option<String>,
    },
    /// From now on the server keeps packets to these devices back.
    Withhold {
        /// From whom.
        to: Vec<DeviceId>,
        /// Which kinds; all if empty.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        kinds: Vec<PacketKind>,
    },
    /// The server hands over what it kept back from these devices, and keeps nothing back any more.
    Deliver {
        /// To whom.
        to: Vec<DeviceId>,
        /// Last first.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        reversed: bool,
    },
    /// The server delivers the packets of an earlier named step (again, or to somebody else).
    Replay {
        /// The step or message.
        of: String,
        /// To whom.
        to: Vec<DeviceId>,
        /// For the checks.
        name: String,
    },
    /// Until `stop_tampering`, the server slips in an altered copy ahead of each packet from one device to others.
    Tamper {
        /// Whose packets.
        from: DeviceId,
        /// On the way to whom.
        to: Vec<DeviceId>,
        /// How the copy is altered.
        alter: Alteration,
        /// For the checks.
        name: String,
    },
    /// The server delivers as it should again.
    StopTampering {},
    /// An outsider crafts a message under a member's name.
    ForgeMessage {
        /// The outsider.
        by: DeviceId,
        /// The group.
        group: GroupId,
        /// Under whose name.
        claim: DeviceId,
        /// The message's name.
        message: String,
    },
    /// An outsider sends every member a sender key under a member's name, and then a message under it.
    ForgeKeyDistribution {
        /// The outsider.
        by: DeviceId,
        /// The group.
        group: GroupId,
        /// Under whose name.
        claim: DeviceId,
        /// The message's name.
        message: String,
    },
    /// An outsider and the server make as if a member had added the outsider.
    InjectMember {
        /// The outsider.
        by: DeviceId,
        /// The group.
        group: GroupId,
        /// Under whose name.
        claim: DeviceId,
        /// For the checks.
        name: String,
    },
    /// An outsider and the server make as if a member had removed somebody.
    ForgeRemoval {
        /// The outsider.
        by: DeviceId,
        /// The group.
        group: GroupId,
        /// Under whose name.
        claim: DeviceId,
        /// Whom.
        who: DeviceId,
        /// For the checks.
        name: String,
    },
    /// An outsider joins by its own act, knowing only what the server knows.
    UninvitedJoin {
        /// The outsider.
        by: DeviceId,
        /// The group.
        group: GroupId,
        /// For the checks.
        name: String,
    },
    /// The directory hands out, and the mailbox serves, another device in this one's place: by a malicious server, or
    /// after a reinstallation.
    SwapIdentity {
        /// The device replaced.
        device: DeviceId,
        /// The one in its place, which claims to be that device.
        by: DeviceId,
    },
    /// The directory and the mailbox are the device's own again.
    RestoreIdentity {
        /// The device.
        device: DeviceId,
    },
    /// The server tells members that a device has registered anew: each claims a new bundle for it.
    Reregistered {
        /// The device.
        device: DeviceId,
        /// Who is told.
        to: Vec<DeviceId>,
        /// Makes it an attempt.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
    /// The next bundle that the directory hands out for a device has a broken signature.
    BreakBundle {
        /// The device.
        device: DeviceId,
        /// The outsider who breaks it.
        by: DeviceId,
    },
    /// `by` vouches for a new device of its user, which from then on stands in the signed device list.
    LinkDevice {
        /// The new device.
        device: DeviceId,
        /// The existing one.
        by: DeviceId,
    },
    /// The server tells members of a device of which nobody else has told them.
    ListDevice {
        /// The device.
        device: DeviceId,
        /// Who is told.
        to: Vec<DeviceId>,
    },
    /// `by` takes a device off its user's signed device list.
    RevokeDevice {
        /// The device.
        device: DeviceId,
        /// The owner's device that does it.
        by: DeviceId,
    },
    /// A thief copies a device's whole state, and is given all later traffic.
    StealState {
        /// From whom.
        from: DeviceId,
        /// The thief's device.
        by: DeviceId,
    },
    /// A member publishes a link to the group.
    PublishLink {
        /// The member.
        by: DeviceId,
        /// The group.
        group: GroupId,
    },
    /// A device joins by its own act, with the group's public information.
    ExternalJoin {
        /// Who joins.
        by: DeviceId,
        /// The group.
        group: GroupId,
        /// How it came by that information.
        info: GroupInfoSource,
        /// Makes it an attempt.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
    /// The server asks a sender to send a message once more to a device; a bundle of that device is claimed for it.
    AskResend {
        /// The sender.
        to: DeviceId,
        /// The message.
        message: String,
        /// For whom.
        device: DeviceId,
        /// For the checks.
        name: String,
    },
    /// A member's client hands a newcomer the keys of what was sent before, without being told to by its user.
    ShareHistory {
        /// The member.
        by: DeviceId,
        /// The group.
        group: GroupId,
        /// The newcomer.
        to: DeviceId,
        /// For the checks.
        name: String,
    },
    /// A device asks another for the keys of the group's messages.
    RequestKeys {
        /// Who asks.
        by: DeviceId,
        /// The group.
        group: GroupId,
        /// Who has them.
        from: DeviceId,
        /// For the checks.
        name: String,
    },
    /// Two users compare keys out of band: `by` now holds `peer`'s true key as verified.
    Verify {
        /// Who learns.
        by: DeviceId,
        /// Whose key.
        peer: DeviceId,
    },
    /// From now on a device bends its own cryptography (`"none"` ends it).
    Misbehave {
        /// The insider, or an outsider with its own device.
        by: DeviceId,
        /// How.
        fault: e2esm_adapter::Fault,
    },
    /// A check.
    Expect(Check),
}

/// One of several changes made at the same time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RacingChange {
    /// The author.
    pub by: DeviceId,
    /// Whom it removes.
    pub remove: Vec<DeviceId>,
}

/// How a copy of a packet is altered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Alteration {
    /// Session-opening packets are labelled with another sender.
    RelabelOpening {
        /// Whose name the copy bears.
        claim: DeviceId,
    },
    /// Session-opening packets bear an outsider's identity key.
    RewriteIdentity {
        /// The outsider.
        by: DeviceId,
    },
    /// The last bit of the bytes is flipped.
    FlipLastBit {},
}

/// How a joiner came by the group's public information.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GroupInfoSource {
    /// A member published it (see `publish_link`).
    Published,
    /// It leaked from a member's device.
    Leaked,
}

impl Step {
    /// The name under which the checks refer to the step.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::CreateGroup { name, .. }
            | Self::Add { name, .. }
            | Self::Remove { name, .. }
            | Self::Refresh { name, .. }
            | Self::Reregistered { name, .. }
            | Self::ExternalJoin { name, .. } => name.as_deref(),
            Self::Send { message, .. }
            | Self::ForgeMessage { message, .. }
            | Self::ForgeKeyDistribution { message, .. } => Some(message),
            Self::Replay { name, .. }
            | Self::Tamper { name, .. }
            | Self::InjectMember { name, .. }
            | Self::ForgeRemoval { name, .. }
            | Self::UninvitedJoin { name, .. }
            | Self::AskResend { name, .. }
            | Self::ShareHistory { name, .. }
            | Self::RequestKeys { name, .. } => Some(name),
            _ => None,
        }
    }
}
