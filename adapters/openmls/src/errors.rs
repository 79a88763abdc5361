//! openmls's error variants in the suite's classes.

use std::fmt::Display;

use e2esm_adapter::{Error, ErrorClass};
use openmls::error::LibraryError;
use openmls::framing::errors::{MessageDecryptionError, SecretTreeError};
use openmls::group::{
    CommitBuilderStageError, CreateCommitError, CreateMessageError, ExportGroupInfoError, ExternalCommitBuilderError,
    ExternalCommitBuilderFinalizeError, MergeCommitError, MergePendingCommitError, MlsGroupStateError, NewGroupError,
    ProcessMessageError, ProposalValidationError, ProposeAddMemberError, StageCommitError, ValidationError,
    WelcomeError,
};
use openmls::key_packages::errors::{KeyPackageNewError, KeyPackageVerifyError};
use openmls::messages::GroupSecretsError;
use openmls::messages::group_info::GroupInfoError;
use openmls::prelude::CreationFromExternalError;
use openmls::treesync::RatchetTreeError;
use openmls::treesync::errors::{ApplyUpdatePathError, PublicTreeError, TreeSyncFromNodesError, UpdatePathError};

/// What kind of refusal an error of the library's is.
pub(crate) trait Classify: Display {
    fn class(&self) -> ErrorClass;
}

/// The library's refusal in the suite's words: `doing` says what was being done.
pub(crate) fn refused<E: Classify>(doing: &str) -> impl Fn(E) -> Error {
    move |error| Error::new(error.class(), format!("{doing}: {error}"))
}

use ErrorClass::{AuthFailed, BadRequest, Duplicate, Internal, NoKey, NotMember, StaleEpoch};

impl Classify for LibraryError {
    /// An opaque type, also for what the crypto provider refuses in a peer's bytes: only the text tells that from a flaw
    /// of the library's own.
    fn class(&self) -> ErrorClass {
        let text = self.to_string();
        if text.contains("CryptoError") {
            AuthFailed
        } else if text.contains("encrypting group secrets") {
            // The init key of a key package is no key that HPKE could encrypt to.
            BadRequest
        } else {
            Internal
        }
    }
}

impl Classify for MlsGroupStateError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::LibraryError(error) => error.class(),
            Self::UseAfterEviction => NotMember,
            Self::PendingProposal | Self::PendingCommit | Self::NoPendingCommit | Self::PendingProposalNotFound => {
                BadRequest
            }
        }
    }
}

impl<S: Display> Classify for ProcessMessageError<S> {
    fn class(&self) -> ErrorClass {
        match self {
            Self::LibraryError(error) => error.class(),
            Self::StorageError(_) => Internal,
            Self::ValidationError(error) => error.class(),
            Self::GroupStateError(error) => error.class(),
            Self::InvalidCommit(error) => error.class(),
            Self::IncompatibleWireFormat | Self::UnsupportedProposalType => BadRequest,
            Self::UnauthorizedExternalApplicationMessage | Self::UnauthorizedExternalCommitMessage => NotMember,
        }
    }
}

impl Classify for ValidationError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::LibraryError(error) => error.class(),
            Self::WrongEpoch | Self::NoPastEpochData => StaleEpoch,
            Self::UnknownMember
            | Self::NonMemberApplicationMessage
            | Self::UnauthorizedExternalSender
            | Self::NoExternalSendersExtension => NotMember,
            Self::MissingMembershipTag
            | Self::InvalidMembershipTag
            | Self::MissingConfirmationTag
            | Self::InvalidSignature
            | Self::InvalidLeafNodeSignature => AuthFailed,
            Self::UnableToDecrypt(error) => error.class(),
            Self::KeyPackageVerifyError(error) => error.class(),
            Self::UpdatePathError(error) => error.class(),
            Self::WrongGroupId
            | Self::NotACommit
            | Self::NotAnExternalAddProposal
            | Self::NoPath
            | Self::UnencryptedApplicationMessage
            | Self::WrongWireFormat
            | Self::InvalidLeafNodeSourceType
            | Self::InvalidSenderType
            | Self::CommitterIncludedOwnUpdate
            | Self::InvalidAddProposalCiphersuite
            | Self::ExternalCommitValidation(_)
            | Self::InvalidExtension(_) => BadRequest,
        }
    }
}

impl Classify for MessageDecryptionError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::LibraryError(error) => error.class(),
            Self::AeadError => AuthFailed,
            Self::GenerationOutOfBound => NoKey,
            Self::WrongWireFormat | Self::MalformedContent => BadRequest,
            Self::SecretTreeError(error) => error.class(),
        }
    }
}

impl Classify for SecretTreeError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::SecretReuseError => Duplicate,
            Self::TooDistantInThePast | Self::TooDistantInTheFuture | Self::RatchetTypeError => NoKey,
            Self::IndexOutOfBounds => NotMember,
            Self::CodecError(_) => BadRequest,
            Self::RatchetTooLong | Self::LibraryError | Self::CryptoError(_) => Internal,
        }
    }
}

impl Classify for StageCommitError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::LibraryError(error) => error.class(),
            Self::EpochMismatch => StaleEpoch,
            Self::OwnCommitMismatch | Self::OwnKeyNotFound | Self::MissingDecryptionKey | Self::PskError(_) => NoKey,
            Self::PathLeafNodeVerificationFailure | Self::ConfirmationTagMissing | Self::ConfirmationTagMismatch => {
                AuthFailed
            }
            Self::ProposalValidationError(error) => error.class(),
            Self::UpdatePathError(error) => error.class(),
            Self::VerifiedUpdatePathError(error) => error.class(),
            Self::SenderTypeExternal | Self::SenderTypeNewMemberProposal => NotMember,
            Self::WrongPlaintextContentType
            | Self::RequiredPathNotFound
            | Self::AttemptedSelfRemoval
            | Self::MissingProposal
            | Self::InconsistentSenderIndex
            | Self::TooManyNewMembers
            | Self::ExternalCommitValidation(_)
            | Self::GroupContextExtensionsProposalValidationError(_)
            | Self::LeafNodeValidation(_)
            | Self::DuplicatePskId(_) => BadRequest,
        }
    }
}

impl Classify for ProposalValidationError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::LibraryError(error) => error.class(),
            Self::UnknownMember | Self::UnknownMemberRemoval | Self::UpdateFromNonMember => NotMember,
            Self::DuplicateSignatureKey
            | Self::DuplicateEncryptionKey
            | Self::DuplicateInitKey
            | Self::DuplicateMemberRemoval => Duplicate,
            Self::InitEncryptionKeyCollision
            | Self::CommitterIncludedOwnUpdate
            | Self::InsufficientCapabilities
            | Self::InvalidAddProposalCiphersuiteOrVersion
            | Self::Psk(_)
            | Self::UnsupportedProposalType
            | Self::LeafNodeValidation(_)
            | Self::ExternalInitProposalInRegularCommit => BadRequest,
        }
    }
}

impl Classify for ApplyUpdatePathError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::LibraryError(error) => error.class(),
            Self::PathMismatch | Self::ParentHashMismatch | Self::MissingParentHash | Self::UnableToDecrypt => {
                AuthFailed
            }
            Self::MissingSender | Self::MissingOwnLeaf => NotMember,
            Self::PathLengthMismatch | Self::TreeFull | Self::InconsistentSenderIndex | Self::MissingCiphertext => {
                BadRequest
            }
        }
    }
}

impl Classify for UpdatePathError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::InvalidType => BadRequest,
            Self::SignatureError(_) => AuthFailed,
        }
    }
}

impl Classify for KeyPackageVerifyError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::LibraryError(error) => error.class(),
            Self::InvalidSignature | Self::InvalidLeafNodeSignature => AuthFailed,
            Self::LifetimeError(_)
            | Self::MissingLifetime
            | Self::UnsupportedExtension
            | Self::InvalidLeafNodeSourceType
            | Self::InitKeyEqualsEncryptionKey
            | Self::InvalidProtocolVersion
            | Self::ExtensionTypeNotValidInKeyPackage(_) => BadRequest,
        }
    }
}

impl Classify for KeyPackageNewError {
    fn class(&self) -> ErrorClass {
        Internal
    }
}

impl<S: Display> Classify for NewGroupError<S> {
    fn class(&self) -> ErrorClass {
        match self {
            Self::GroupAlreadyExists => Duplicate,
            _ => Internal,
        }
    }
}

impl<S> Classify for CommitBuilderStageError<S> {
    fn class(&self) -> ErrorClass {
        Internal
    }
}

impl<S: Display> Classify for MergeCommitError<S> {
    fn class(&self) -> ErrorClass {
        Internal
    }
}

impl<S: Display> Classify for MergePendingCommitError<S> {
    fn class(&self) -> ErrorClass {
        match self {
            Self::MlsGroupStateError(error) => error.class(),
            Self::MergeCommitError(error) => error.class(),
        }
    }
}

impl Classify for CreateMessageError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::LibraryError(error) => error.class(),
            Self::GroupStateError(error) => error.class(),
        }
    }
}

impl Classify for CreateCommitError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::LibraryError(error) => error.class(),
            Self::ProposalValidationError(error) => error.class(),
            Self::OwnKeyNotFound | Self::PskError(_) => NoKey,
            Self::SignatureError(_) => Internal,
            Self::PublicTreeError(error) => error.class(),
            _ => BadRequest,
        }
    }
}

impl<S: Display> Classify for ProposeAddMemberError<S> {
    fn class(&self) -> ErrorClass {
        BadRequest
    }
}

impl Classify for ExportGroupInfoError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::LibraryError(error) => error.class(),
            Self::GroupStateError(error) => error.class(),
            Self::InvalidExtensionError(_) => Internal,
        }
    }
}

impl Classify for PublicTreeError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::LibraryError(error) => error.class(),
            Self::PublicKeyMismatch | Self::InvalidParentHash | Self::SignatureError(_) => AuthFailed,
            Self::MissingKeyPackage => NotMember,
            Self::DuplicateKeyPackage | Self::MalformedTree | Self::IdentityMismatch => BadRequest,
        }
    }
}

impl Classify for TreeSyncFromNodesError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::LibraryError(error) => error.class(),
            Self::PublicTreeError(error) => error.class(),
            Self::RatchetTreeError(RatchetTreeError::InvalidNodeSignature) => AuthFailed,
            Self::RatchetTreeError(_) => BadRequest,
        }
    }
}

impl<S: Display> Classify for CreationFromExternalError<S> {
    fn class(&self) -> ErrorClass {
        match self {
            Self::LibraryError(error) => error.class(),
            Self::TreeSyncError(error) => error.class(),
            Self::UnknownSender => NotMember,
            Self::InvalidGroupInfoSignature | Self::TreeHashMismatch => AuthFailed,
            Self::WriteToStorageError(_) => Internal,
            Self::UnsupportedMlsVersion
            | Self::UnsupportedCiphersuite(_)
            | Self::LeafNodeValidation(_)
            | Self::UnmergedLeafNotADescendant
            | Self::IntermediateNodeMissingUnmergedLeaf
            | Self::DuplicateEncryptionKey
            | Self::DuplicateSignatureKey => BadRequest,
        }
    }
}

impl<S: Display> Classify for WelcomeError<S> {
    fn class(&self) -> ErrorClass {
        match self {
            Self::LibraryError(error) => error.class(),
            Self::GroupSecrets(GroupSecretsError::DecryptionFailed)
            | Self::GroupInfo(GroupInfoError::DecryptionFailed)
            | Self::ConfirmationTagMismatch
            | Self::InvalidGroupInfoSignature
            | Self::UnableToDecrypt => AuthFailed,
            Self::PrivateInitKeyNotFound
            | Self::JoinerSecretNotFound
            | Self::NoMatchingEncryptionKey
            | Self::NoMatchingKeyPackage
            | Self::Psk(_) => NoKey,
            Self::UnknownSender => NotMember,
            Self::PublicTreeError(error) => error.class(),
            Self::PublicGroupError(error) => error.class(),
            Self::GroupAlreadyExists => Duplicate,
            Self::StorageError(_) | Self::KeySchedule(_) => Internal,
            Self::GroupSecrets(GroupSecretsError::Malformed)
            | Self::GroupInfo(GroupInfoError::Malformed)
            | Self::CiphersuiteMismatch
            | Self::MissingRatchetTree
            | Self::UnsupportedMlsVersion
            | Self::UnsupportedCapability
            | Self::UnsupportedCiphersuite(_)
            | Self::NotAWelcomeMessage
            | Self::MalformedWelcomeMessage
            | Self::UnsupportedExtensions
            | Self::LeafNodeValidation(_) => BadRequest,
        }
    }
}

impl<S: Display> Classify for ExternalCommitBuilderError<S> {
    fn class(&self) -> ErrorClass {
        match self {
            Self::LibraryError(error) => error.class(),
            Self::PublicGroupError(error) => error.class(),
            Self::InvalidProposal(error) => error.class(),
            Self::StorageError(_) => Internal,
            Self::MissingRatchetTree | Self::MissingExternalPub | Self::UnsupportedCiphersuite(_) => BadRequest,
        }
    }
}

impl<S: Display> Classify for ExternalCommitBuilderFinalizeError<S> {
    fn class(&self) -> ErrorClass {
        Internal
    }
}
