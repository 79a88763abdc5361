//! What travels: packets, bundles and what a call returns.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{Bytes, DeviceId, GroupId};

/// What a packet is for. The server sees this; the cryptography must not depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PacketKind {
    /// A change of the group: an MLS commit, or a roster change of the shared group management.
    Change,
    /// What lets one new member in: an MLS Welcome, or the shared group management's invitation.
    Welcome,
    /// An MLS proposal that stands alone.
    Proposal,
    /// A user's message to a group.
    Message,
    /// A sender key (Sender Keys) or room key (Megolm), sent pairwise.
    KeyDistribution,
    /// A request for the keys of messages already sent.
    KeyRequest,
    /// The server's word that a user has one more device; `bytes` is a [`Bundle`] as JSON.
    DeviceList,
}

impl PacketKind {
    /// The name used in JSON and in the documents.
    pub fn label(self) -> &'static str {
        match self {
            Self::Change => "change",
            Self::Welcome => "welcome",
            Self::Proposal => "proposal",
            Self::Message => "message",
            Self::KeyDistribution => "key distribution",
            Self::KeyRequest => "key request",
            Self::DeviceList => "device list",
        }
    }
}

/// Where a packet goes; "bytes up" and "bytes fanned out" follow from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Address {
    /// Sent once, fanned out by the server to everybody who was a member before this packet, the author included.
    Group(GroupId),
    /// To one device.
    Device(DeviceId),
    /// Sent once, and given by the server to each of these devices: an MLS Welcome for several newcomers.
    Devices(Vec<DeviceId>),
    /// To the server alone.
    Server,
}

impl Address {
    /// To these devices.
    pub fn devices(mut devices: Vec<DeviceId>) -> Self {
        match devices.len() {
            1 => Self::Device(devices.remove(0)),
            _ => Self::Devices(devices),
        }
    }
}

/// One packet between a device and the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Packet {
    /// What it is for.
    pub kind: PacketKind,
    /// The group it belongs to.
    pub group: GroupId,
    /// The sender as the *server* labels it. Nothing vouches for this: what the library authenticates is another matter.
    pub from: DeviceId,
    /// Where it goes.
    pub to: Address,
    /// Whether it opens a pairwise session (a prekey message).
    #[serde(default)]
    pub opens_session: bool,
    /// The library's bytes.
    pub bytes: Bytes,
    /// The sending application's own seal, put on and checked by the harness's policy. An adapter passes it over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seal: Option<Bytes>,
}

/// A key package or prekey bundle: single use, claimed by one peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bundle {
    /// Whose it claims to be.
    pub device: DeviceId,
    /// The library's bytes.
    pub bytes: Bytes,
}

/// The public keys that a device stands for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// What the user is known by: what people compare and a trust store pins. Ed25519 (32 bytes) from the shared account
    /// crate; for Signal the identity key (33 bytes).
    pub account_key: Bytes,
    /// The device's own key: an MLS leaf's signature key, Olm's Curve25519 and Ed25519 keys one after the other. For Signal
    /// equal to `account_key`: a linked device shares the identity key.
    pub device_key: Bytes,
    /// The account key's signature over the device's name and `device_key`; empty where the two keys are equal.
    pub voucher: Bytes,
}

/// What a new device shows to an existing device of its user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkRequest {
    /// The new device.
    pub device: DeviceId,
    /// The key that is to be vouched for; empty for Signal, where the new device is given the identity key instead.
    pub device_key: Bytes,
}

/// An existing device's word for a new one. Travels inside the user's own trusted computing base (a scanned code, a
/// cable), never through the server: for Signal it holds the identity key pair itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Authorisation {
    /// The device that is let in.
    pub device: DeviceId,
    /// The adapter's bytes.
    pub bytes: Bytes,
}

/// A change of a group, made by one member.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// Devices to add, each with a bundle of its own.
    #[serde(default)]
    pub add: Vec<Bundle>,
    /// Devices to remove.
    #[serde(default)]
    pub remove: Vec<DeviceId>,
    /// Whether the author also replaces its own keys (an MLS update path; a new sender key).
    #[serde(default)]
    pub refresh: bool,
}

/// A message that was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// Where it was said.
    pub group: GroupId,
    /// Who said it, as the library or the shared group management attributes it.
    pub sender: DeviceId,
    /// What was said.
    pub plaintext: Bytes,
}

/// What a call produced. Events are kept in the device's [`Notebook`](crate::Notebook) and drained after each call, so that a refused call
/// has them too.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Output {
    /// Packets for the network, in the order in which the server is to take them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub packets: Vec<Packet>,
    /// A message that was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<Message>,
}

impl Output {
    /// Nothing but these packets.
    pub fn packets(packets: Vec<Packet>) -> Self {
        Self { packets, message: None }
    }

    /// Nothing but this message.
    pub fn message(message: Message) -> Self {
        Self { packets: Vec::new(), message: Some(message) }
    }
}

/// Who is in a group, as one device sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Roster {
    /// The devices, sorted.
    pub members: Vec<DeviceId>,
    /// Whether the library itself authenticates this list among the members (MLS does; Sender Keys and Megolm have none).
    pub authenticated: bool,
}

/// Something two people can compare. Values are compared within a protocol, never across.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fingerprint {
    /// What it is.
    pub kind: FingerprintKind,
    /// The value, as people or programs would compare it.
    pub value: String,
}

/// The kinds of [`Fingerprint`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FingerprintKind {
    /// MLS: one value for the whole group in this epoch (RFC 9420, section 8.7).
    EpochAuthenticator,
    /// Signal: one number for a pair of users.
    SafetyNumber,
    /// Olm: the device keys of both, in a fixed order.
    DeviceKeys,
}
