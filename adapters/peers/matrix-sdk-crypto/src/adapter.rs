//! [`MatrixAdapter`] in three configurations, and what it cannot do.

use std::collections::{BTreeMap, BTreeSet};

use e2esm_adapter::{Adapter, Capability, Description, Device, DeviceId, Error};
use matrix_sdk_crypto::{CollectStrategy, TrustRequirement, VERSION};
use serde::{Deserialize, Serialize};

use crate::device::Matrix;

/// To whom room keys go, and whose messages are decrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Configuration {
    /// The SDK's default.
    AllDevices,
    /// What the SDK recommends.
    IdentityBased,
    /// The default, but with an error where something is wrong with a verified user.
    VerifiedProblem,
}

impl Configuration {
    const ALL: [Self; 3] = [Self::AllDevices, Self::IdentityBased, Self::VerifiedProblem];

    /// The configuration that an argument names; without one it is the default.
    pub(crate) fn named(argument: Option<&str>) -> Option<Self> {
        let argument = argument.unwrap_or(Self::AllDevices.argument());
        Self::ALL.into_iter().find(|configuration| configuration.argument() == argument)
    }

    /// The arguments that there are.
    pub(crate) fn names() -> [&'static str; 3] {
        Self::ALL.map(Self::argument)
    }

    fn argument(self) -> &'static str {
        match self {
            Self::AllDevices => "all-devices",
            Self::IdentityBased => "identity-based",
            Self::VerifiedProblem => "unverified-problem",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::AllDevices => "matrix-sdk-crypto",
            Self::IdentityBased => "matrix-sdk-crypto-identity-based",
            Self::VerifiedProblem => "matrix-sdk-crypto-unverified-problem",
        }
    }

    pub(crate) fn strategy(self) -> CollectStrategy {
        match self {
            Self::AllDevices => CollectStrategy::AllDevices,
            Self::IdentityBased => CollectStrategy::IdentityBasedStrategy,
            Self::VerifiedProblem => CollectStrategy::ErrorOnVerifiedUserProblem,
        }
    }

    pub(crate) fn trust(self) -> TrustRequirement {
        match self {
            Self::AllDevices | Self::VerifiedProblem => TrustRequirement::Untrusted,
            Self::IdentityBased => TrustRequirement::CrossSigned,
        }
    }
}

/// What neither Matrix nor the SDK has.
const UNSUPPORTED: [(Capability, &str); 9] = [
    (
        Capability::Epochs,
        "membership is the homeserver's room state: there is no group state to agree on, and nothing is numbered",
    ),
    (Capability::ExternalJoin, "there is no public group information with which a device could join by its own act"),
    (Capability::UninvitedJoin, "there is no joining by one's own act, invited or not"),
    (Capability::RatchetTree, "MLS only: there is no tree"),
    (Capability::WrongLeafSignature, "MLS only: there are no leaves"),
    (Capability::WrongParentHash, "MLS only: there is no tree"),
    (Capability::WrongConfirmationTag, "MLS only: there are no commits"),
    (
        Capability::Resend,
        "a message goes to the room once: the SDK sends room keys again (OlmMachine::share_room_key), never an old message to \
         one device",
    ),
    (
        Capability::StandardKeys,
        "OlmMachine takes Matrix events only: a recorded vector's Olm and Megolm bytes have no way into it",
    ),
];

/// The error of an operation that there is none of.
pub(crate) fn unsupported(capability: Capability) -> Error {
    let reason = UNSUPPORTED.iter().find(|(other, _)| *other == capability).map_or("", |(_, reason)| reason);
    Error::unsupported(format!("{}: {reason}", capability.label()))
}

/// The adapter.
pub(crate) struct MatrixAdapter(pub(crate) Configuration);

impl Adapter for MatrixAdapter {
    fn describe(&self) -> Description {
        let configuration = [
            ("CollectStrategy", format!("{:?}", self.0.strategy())),
            ("TrustRequirement", format!("{:?}", self.0.trust())),
            (
                "EncryptionSettings",
                "the default: a new room key after 100 messages or a week, history_visibility shared".into(),
            ),
            ("features", "automatic-room-key-forwarding, which is a default feature of matrix-sdk".into()),
            ("store", "MemoryStore; stored and exported through the CryptoStore trait and the pickles".into()),
            ("cross-signing", "set up on each device; a user's linked device has all three private keys".into()),
            ("identities", "a yes to a user's identity is OtherUserIdentity::verify".into()),
            ("bundles", "one-time keys; the fallback key is never handed out".into()),
            ("backup, dehydrated devices, verification messages", "not in use".into()),
        ];
        Description {
            name: self.0.name().to_owned(),
            implementation: "matrix-sdk-crypto".to_owned(),
            version: VERSION.to_owned(),
            protocol: "Olm and Megolm in Matrix".to_owned(),
            cipher_suite: "m.olm.v1.curve25519-aes-sha2, m.megolm.v1.aes-sha2".to_owned(),
            crypto_provider: format!("vodozemac {}", matrix_sdk_crypto::vodozemac::VERSION),
            configuration: configuration.map(|(name, value)| (name.to_owned(), value)).into(),
            group_object: false,
            recorded: BTreeSet::new(),
            unsupported: BTreeMap::from(UNSUPPORTED.map(|(capability, reason)| (capability, reason.to_owned()))),
        }
    }

    fn device(&self, id: &DeviceId) -> Result<Box<dyn Device>, Error> {
        Ok(Box::new(Matrix::new(id, self.0)?))
    }

    fn restore(&self, id: &DeviceId, state: &[u8]) -> Result<Box<dyn Device>, Error> {
        Ok(Box::new(Matrix::load(id, self.0, state)?))
    }

    fn load(&self, id: &DeviceId, store: &[u8]) -> Result<Box<dyn Device>, Error> {
        Ok(Box::new(Matrix::load(id, self.0, store)?))
    }
}
