//! mls-rs's errors in the suite's classes.

use e2esm_adapter::{Error, ErrorClass};
use mls_rs::error::{AnyError, MlsError};

use crate::bent::{CryptoFailure, Operation};
use crate::decisions::Verdict;

/// The class of an error of the library's, with the library's words; an error of ours that has gone through the library
/// as it was.
pub(crate) fn translate(error: MlsError) -> Error {
    use ErrorClass::{AuthFailed, BadRequest, Duplicate, Internal, NoKey, NotMember, StaleEpoch, UntrustedIdentity};

    let class = match &error {
        MlsError::IdentityProviderError(source) | MlsError::MlsRulesError(source) => match verdict(source) {
            Some(verdict) => return verdict.clone(),
            None => Internal,
        },
        MlsError::CryptoProviderError(source) => match source.inner_dyn_error().downcast_ref::<CryptoFailure>() {
            Some(CryptoFailure { operation: Operation::Open, .. }) => AuthFailed,
            Some(CryptoFailure { operation: Operation::SealTo, .. }) => BadRequest,
            _ => Internal,
        },
        MlsError::InvalidSignature
        | MlsError::InvalidConfirmationTag
        | MlsError::InvalidMembershipTag
        | MlsError::TreeHashMismatch
        | MlsError::ParentHashMismatch
        | MlsError::PubKeyMismatch => AuthFailed,
        MlsError::WelcomeKeyPackageNotFound
        | MlsError::KeyMissing(_)
        | MlsError::MissingRequiredPsk
        | MlsError::OldGroupStateNotFound
        | MlsError::InvalidFutureGeneration(_)
        | MlsError::InvalidLeafConsumption
        | MlsError::UpdateErrorNoSecretKey
        | MlsError::InvalidTreeKemPrivateKey => NoKey,
        MlsError::InvalidEpoch | MlsError::EpochNotFound => StaleEpoch,
        // The library finds a blank leaf, or one past the end, where a member sends or is sent to.
        MlsError::MemberNotFound
        | MlsError::LeafNotFound(_)
        | MlsError::ExpectedNode
        | MlsError::InvalidNodeIndex(_)
        | MlsError::RemovingNonExistingMember => NotMember,
        MlsError::DuplicateLeafData(_) => Duplicate,
        MlsError::InvalidSuccessor
        | MlsError::DifferentIdentityInUpdate(_)
        | MlsError::ExternalCommitRemovesOtherIdentity => UntrustedIdentity,
        MlsError::KeyPackageRepoError(_)
        | MlsError::GroupStorageError(_)
        | MlsError::PskStoreError(_)
        | MlsError::SignerNotFound
        | MlsError::TimeOverflow
        | MlsError::FailedGeneratingPathSecret => Internal,
        // What is left says that a packet or a call breaks a rule of the protocol.
        _ => BadRequest,
    };
    Error::new(class, error.to_string())
}

fn verdict(source: &AnyError) -> Option<&Error> {
    source.inner_dyn_error().downcast_ref::<Verdict>().map(|Verdict(error)| error)
}
