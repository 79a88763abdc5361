//! What an adapter says about itself before anything is scored.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::recorded::Protocol;

/// Something that not every protocol or library can do. What is not declared [`unsupported`](Description::unsupported) is
/// claimed; the harness probes both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Capability {
    /// There are groups at all, of two at least (`create_group`, `change`, `send`): everything else rests on them.
    Groups,
    /// A group can have a third member. Without it a protocol between two is judged where two are enough.
    ThirdMember,
    /// Members agree on one group state in numbered epochs, so that of two racing changes one wins (MLS).
    Epochs,
    /// A device can join by its own act, with public information about the group (`group_info`, `external_join`).
    ExternalJoin,
    /// Sender keys travel in packets of their own.
    KeyDistribution,
    /// Two devices open a session with a first message (prekey message).
    PairwiseSessions,
    /// An undelivered message can be encrypted once more for one device (`resend`).
    Resend,
    /// Keys of earlier messages can be handed to a newcomer (`share_history`).
    History,
    /// A device can ask another for the keys of messages (`request_keys`).
    KeyRequest,
    /// An existing device can vouch for a new one (`link_request`, `authorise`, `accept_authorisation`).
    Linking,
    /// Something two people can compare (`fingerprint`).
    Fingerprint,
    /// A device's whole state can be copied (`export_state`, `restore`).
    StateExport,
    /// A device can be stored and loaded again by the library's own means (`store`, `load`).
    Persistence,
    /// The tree of a group can travel beside a Welcome instead of in it (`tree_in_welcome`, `ratchet_tree`,
    /// `join_with_tree`).
    RatchetTree,
    /// `Fault::RelabelledSender`.
    RelabelledSender,
    /// `Fault::WrongLeafSignature`.
    WrongLeafSignature,
    /// `Fault::WrongParentHash`.
    WrongParentHash,
    /// `Fault::WrongConfirmationTag`.
    WrongConfirmationTag,
    /// `Fault::DegenerateKey`.
    DegenerateKey,
    /// `Forgery::Message`.
    ForgedMessage,
    /// `Forgery::KeyDistribution`.
    ForgedKeyDistribution,
    /// `Forgery::Change`.
    ForgedChange,
    /// `Forgery::UninvitedJoin`.
    UninvitedJoin,
    /// `Forgery::BrokenBundle`.
    BrokenBundle,
    /// `Forgery::RewrittenIdentity`.
    RewrittenIdentity,
    /// What a device has published can be exported with its private keys in the protocol's standard form
    /// (`standard_keys`), so that what it receives can be recorded.
    StandardKeys,
}

impl Capability {
    /// All of them, in the order of the documents.
    pub const ALL: [Self; 26] = [
        Self::Groups,
        Self::ThirdMember,
        Self::Epochs,
        Self::ExternalJoin,
        Self::KeyDistribution,
        Self::PairwiseSessions,
        Self::Resend,
        Self::History,
        Self::KeyRequest,
        Self::Linking,
        Self::Fingerprint,
        Self::StateExport,
        Self::Persistence,
        Self::RatchetTree,
        Self::RelabelledSender,
        Self::WrongLeafSignature,
        Self::WrongParentHash,
        Self::WrongConfirmationTag,
        Self::DegenerateKey,
        Self::ForgedMessage,
        Self::ForgedKeyDistribution,
        Self::ForgedChange,
        Self::UninvitedJoin,
        Self::BrokenBundle,
        Self::RewrittenIdentity,
        Self::StandardKeys,
    ];

    /// The name used in JSON, in vectors and in the documents.
    pub fn label(self) -> &'static str {
        match self {
            Self::Groups => "groups",
            Self::ThirdMember => "third_member",
            Self::Epochs => "epochs",
            Self::ExternalJoin => "external_join",
            Self::KeyDistribution => "key_distribution",
            Self::PairwiseSessions => "pairwise_sessions",
            Self::Resend => "resend",
            Self::History => "history",
            Self::KeyRequest => "key_request",
            Self::Linking => "linking",
            Self::Fingerprint => "fingerprint",
            Self::StateExport => "state_export",
            Self::Persistence => "persistence",
            Self::RatchetTree => "ratchet_tree",
            Self::RelabelledSender => "relabelled_sender",
            Self::WrongLeafSignature => "wrong_leaf_signature",
            Self::WrongParentHash => "wrong_parent_hash",
            Self::WrongConfirmationTag => "wrong_confirmation_tag",
            Self::DegenerateKey => "degenerate_key",
            Self::ForgedMessage => "forged_message",
            Self::ForgedKeyDistribution => "forged_key_distribution",
            Self::ForgedChange => "forged_change",
            Self::UninvitedJoin => "uninvited_join",
            Self::BrokenBundle => "broken_bundle",
            Self::RewrittenIdentity => "rewritten_identity",
            Self::StandardKeys => "standard_keys",
        }
    }
}

/// An implementation under test, in one configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// The adapter's name on the command line: `openmls-rustcrypto`.
    pub name: String,
    /// The library: `openmls`.
    pub implementation: String,
    /// Its version, exactly.
    pub version: String,
    /// What it speaks: `MLS (RFC 9420)`.
    pub protocol: String,
    /// The cipher suite, as the protocol names it.
    pub cipher_suite: String,
    /// Who does the cryptography.
    pub crypto_provider: String,
    /// Settings that bear on the outcome, name to value.
    #[serde(default)]
    pub configuration: BTreeMap<String, String>,
    /// Whether the library itself has a group object. Where it has none, group decisions are the suite's own code's.
    pub group_object: bool,
    /// Whose recorded vectors it plays: see [`Adapter::passive`](crate::Adapter::passive).
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub recorded: BTreeSet<Protocol>,
    /// What it cannot do, and because of which missing API or which property of the protocol.
    #[serde(default)]
    pub unsupported: BTreeMap<Capability, String>,
}
