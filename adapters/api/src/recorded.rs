//! Recorded vectors: what a passive device starts with, what is delivered to it, and what it makes of that.
//!
//! A passive device only receives. It starts from private keys in its protocol's own standard form, so that an
//! implementation needs neither the harness nor anybody else's record format, and it knows the protocol's own names
//! only: leaf indexes, addresses, identity keys. The policy is the same for everybody: what the protocol itself decides is
//! decided, identity keys are trusted on first use, credentials are taken as they are, and the lifetime of an MLS key
//! package is looked at against the present.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::ids::Bytes;

/// A device that only receives.
pub trait Passive: Send {
    /// Takes one delivery. A refused one leaves the device able to take the next.
    ///
    /// # Errors
    /// Whatever the library says, in classes.
    fn deliver(&mut self, delivery: &Delivery) -> Result<Delivered, Error>;
}

/// The protocols of recorded vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// RFC 9420.
    Mls,
    /// PQXDH, Double Ratchet with SPQR, Sender Keys.
    Signal,
    /// Olm: 3DH and Double Ratchet between two devices.
    Olm,
    /// Megolm: a group's ratchet for one sender.
    Megolm,
}

impl Protocol {
    /// All of them, in the order of the documents.
    pub const ALL: [Self; 4] = [Self::Mls, Self::Signal, Self::Olm, Self::Megolm];

    /// The name used in JSON, in paths and on the command line.
    pub fn label(self) -> &'static str {
        match self {
            Self::Mls => "mls",
            Self::Signal => "signal",
            Self::Olm => "olm",
            Self::Megolm => "megolm",
        }
    }
}

/// What a passive device starts with: private keys, and what it published with them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Start {
    /// RFC 9420, named as in the MLS working group's passive-client test vectors.
    Mls(MlsStart),
    /// Signal.
    Signal(SignalStart),
    /// Olm.
    Olm(OlmStart),
    /// Megolm.
    Megolm(MegolmStart),
}

impl Start {
    /// Whose start this is.
    pub fn protocol(&self) -> Protocol {
        match self {
            Self::Mls(_) => Protocol::Mls,
            Self::Signal(_) => Protocol::Signal,
            Self::Olm(_) => Protocol::Olm,
            Self::Megolm(_) => Protocol::Megolm,
        }
    }
}

/// An MLS client that is in no group yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MlsStart {
    /// The cipher suite's number (RFC 9420, section 17.1).
    pub cipher_suite: u16,
    /// The signature private key: the 32-byte seed of RFC 8032 for Ed25519, the scalar for ECDSA.
    pub signature_priv: Bytes,
    /// What it has published.
    pub key_packages: Vec<MlsKeyPackage>,
    /// Pre-shared keys that it was given by other means.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub external_psks: Vec<ExternalPsk>,
}

/// A key package and its private keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MlsKeyPackage {
    /// An MLSMessage with wire format mls_key_package.
    pub key_package: Bytes,
    /// The private key of the key package's `init_key`, as HPKE serialises it (RFC 9180, section 7.1.2).
    pub init_priv: Bytes,
    /// The private key of the leaf's `encryption_key`, in the same form.
    pub encryption_priv: Bytes,
}

/// A pre-shared key that the group's members were given by other means (RFC 9420, section 8.4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExternalPsk {
    /// Its id.
    pub psk_id: Bytes,
    /// The key.
    pub psk: Bytes,
}

/// A Signal client before its first session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SignalStart {
    /// Its own address, `NAME.DEVICE`: the name is what safety numbers are computed over, as UTF-8; the device is a number
    /// from 1 to 127.
    pub address: String,
    /// The registration id, 14 bits.
    pub registration_id: u32,
    /// The private identity key: 32 bytes of Curve25519.
    pub identity_key_priv: Bytes,
    /// One-time prekeys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub one_time_prekeys: Vec<Prekey>,
    /// Signed prekeys.
    pub signed_prekeys: Vec<SignedPrekey>,
    /// Kyber1024 prekeys. A device of this kind uses each for one session.
    pub kyber_prekeys: Vec<KyberPrekey>,
    /// Identity keys that it knows already; of everybody else it trusts the first one that it sees.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub known_identities: Vec<KnownIdentity>,
}

/// A Curve25519 prekey.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Prekey {
    /// Its number.
    pub id: u32,
    /// The private key: 32 bytes.
    #[serde(rename = "priv")]
    pub private: Bytes,
}

/// A Curve25519 prekey that the identity key has signed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SignedPrekey {
    /// Its number.
    pub id: u32,
    /// The private key: 32 bytes.
    #[serde(rename = "priv")]
    pub private: Bytes,
    /// XEdDSA over the public key: 64 bytes.
    pub signature: Bytes,
}

/// A Kyber1024 prekey that the identity key has signed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KyberPrekey {
    /// Its number.
    pub id: u32,
    /// The public key: the type byte 0x08 and 1,568 bytes.
    #[serde(rename = "pub")]
    pub public: Bytes,
    /// The secret key: the type byte 0x08 and 3,168 bytes.
    #[serde(rename = "priv")]
    pub private: Bytes,
    /// XEdDSA over the public key: 64 bytes.
    pub signature: Bytes,
}

/// Somebody's identity key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KnownIdentity {
    /// Whose: an address `NAME.DEVICE`.
    pub address: String,
    /// The public key: the type byte 0x05 and 32 bytes.
    pub identity_key: Bytes,
}

/// An Olm account before its first session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OlmStart {
    /// The private fingerprint key: the 32-byte seed of RFC 8032, or, where that is not at hand, the 64 bytes of the
    /// expanded secret key.
    pub ed25519_priv: Bytes,
    /// The private identity key: 32 bytes.
    pub curve25519_priv: Bytes,
    /// Published one-time keys; a message that opens a session names the public one.
    pub one_time_keys: Vec<Prekey>,
}

/// A Megolm receiver with no session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MegolmStart {}

/// What kind of bytes are delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryKind {
    /// MLS: an MLSMessage of any wire format.
    MlsMessage,
    /// Signal: a PreKeySignalMessage. Olm: a prekey message. Opens a session where there is none.
    PrekeyMessage,
    /// Signal: a SignalMessage. Olm: a normal message.
    Message,
    /// Signal: a SenderKeyDistributionMessage, which has come through `from`'s pairwise session.
    SenderKeyDistribution,
    /// Signal: a SenderKeyMessage.
    SenderKeyMessage,
    /// Megolm: a signed session key in the session sharing format, which has come through the sender's Olm session.
    SessionKey,
    /// Megolm: a session key in the session export format, which has no signature.
    ExportedSessionKey,
    /// Megolm: a message.
    MegolmMessage,
}

/// Bytes on their way to a passive device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Delivery {
    /// Of what kind.
    pub kind: DeliveryKind,
    /// From whom, as the server labels it. Signal: an address `NAME.DEVICE`. Olm: the Curve25519 identity key of the
    /// sender's device, 64 hex digits. Absent for MLS and Megolm, whose packets say it themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The packet.
    pub bytes: Bytes,
    /// MLS: `optional<Node> ratchet_tree<V>` (RFC 9420, section 12.4.3.3) beside a Welcome that does not hold it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ratchet_tree: Option<Bytes>,
}

/// What holds after a delivery that was accepted. What does not apply is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Delivered {
    /// What was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plaintext: Option<Bytes>,
    /// Who is shown as the sender of `plaintext`, in the form of [`Delivery::from`]. Megolm: the session's Ed25519 key, 64
    /// hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
    /// MLS: the leaf index of the sender of `plaintext`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender_leaf: Option<u32>,
    /// MLS: the group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_id: Option<Bytes>,
    /// MLS: the group's epoch from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// MLS: that epoch's authenticator (RFC 9420, section 8.7). Told after a Welcome and after a Commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch_authenticator: Option<Bytes>,
    /// MLS: the members from now on, by leaf index. Told after a Welcome and after a Commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roster: Option<Vec<Member>>,
    /// MLS: the Commit removes this device. It then keeps the keys that it has and goes on trying.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub removed: bool,
    /// Megolm: the message's index, by which a caller knows a repetition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_index: Option<u32>,
    /// Signal, after a message has opened a session: the safety number with its sender, 60 digits (version 2 of the
    /// scannable format, 5,200 iterations).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub safety_number: Option<String>,
}

/// A leaf of the tree.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// Where it is.
    pub leaf_index: u32,
    /// The identity in its basic credential.
    pub identity: Bytes,
    /// Its signature key.
    pub signature_key: Bytes,
}
