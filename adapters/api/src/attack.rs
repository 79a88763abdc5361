//! What attackers do: insiders that bend their own cryptography, outsiders that craft what only the library's formats
//! allow. Optional for an adapter: what it cannot do it declares.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{Bytes, DeviceId, GroupId};
use crate::packet::{Bundle, Packet};

/// How an insider bends its own cryptography. Stays in force until the next [`Fault::None`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// Honest again.
    None,
    /// Group messages claim to come from this other member; everything that the insider can make consistent is (the
    /// packet's label, key ids, the keys that every member knows); only the signature is the insider's own.
    RelabelledSender(DeviceId),
    /// MLS: the leaf in the insider's next commit is signed by another key (RFC 9420, section 7.2).
    WrongLeafSignature,
    /// MLS: the next commit carries a wrong parent hash (RFC 9420, section 7.9).
    WrongParentHash,
    /// MLS: the next commit carries a wrong confirmation tag (RFC 9420, section 8.1).
    WrongConfirmationTag,
    /// The Diffie-Hellman key in the next bundle is all zeros, and properly signed.
    DegenerateKey,
}

/// What an outsider crafts. The outsider knows what the server knows: group id, members' names, how many changes the
/// group has seen, and every bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Forgery {
    /// A message to the group from somebody who holds none of its keys, under `claim`'s name.
    Message {
        /// What the server knows of the group.
        group: KnownGroup,
        /// Whose name it bears.
        claim: DeviceId,
        /// What it says.
        plaintext: Bytes,
    },
    /// A sender key under `claim`'s name for each device whose bundle is given (sent pairwise by the outsider's own
    /// session), and then a message under that key.
    KeyDistribution {
        /// What the server knows of the group.
        group: KnownGroup,
        /// Whose name it bears.
        claim: DeviceId,
        /// A bundle for each victim.
        victims: Vec<Bundle>,
        /// What the message says.
        plaintext: Bytes,
    },
    /// A change that no member made: `add` and `remove` under `claim`'s name.
    Change {
        /// What the server knows of the group.
        group: KnownGroup,
        /// Whose name it bears.
        claim: DeviceId,
        /// Devices to slip in.
        add: Vec<Bundle>,
        /// Devices to throw out.
        remove: Vec<DeviceId>,
    },
    /// MLS: an external commit into a group whose GroupInfo the outsider does not have.
    UninvitedJoin {
        /// What the server knows of the group.
        group: KnownGroup,
    },
    /// Somebody's bundle with its signature broken.
    BrokenBundle {
        /// The honest bundle.
        bundle: Bundle,
    },
    /// A session-opening packet rewritten so that it bears the outsider's identity key.
    RewrittenIdentity {
        /// The honest packet.
        packet: Packet,
    },
}

/// What the server knows of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KnownGroup {
    /// Its id.
    pub id: GroupId,
    /// Its members.
    pub members: Vec<DeviceId>,
    /// How many changes it has taken: for MLS the epoch.
    pub changes: u64,
}

/// What a forgery yields: packets for the members, or a bundle for the directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Forged {
    /// Packets to deliver.
    Packets(Vec<Packet>),
    /// A bundle to hand out.
    Bundle(Bundle),
}
