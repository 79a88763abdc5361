//! The SDK's errors in the suite's classes.

use e2esm_adapter::{Error, ErrorClass};
use matrix_sdk_crypto::vodozemac::DecodeError;
use matrix_sdk_crypto::vodozemac::megolm::DecryptionError;
use matrix_sdk_crypto::{CryptoStoreError, EventError, MegolmError, OlmError};

/// For `map_err`.
pub(crate) fn refused(error: impl Class) -> Error {
    Error::new(error.class(), error.to_string())
}

/// What an error of the SDK's means.
pub(crate) trait Class: std::fmt::Display {
    fn class(&self) -> ErrorClass;
}

impl Class for CryptoStoreError {
    fn class(&self) -> ErrorClass {
        ErrorClass::Internal
    }
}

impl Class for EventError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::MismatchedSender(..)
            | Self::MismatchedKeys(..)
            | Self::MismatchedRoom(..)
            | Self::InvalidSenderDeviceKeys => ErrorClass::AuthFailed,
            Self::MissingCiphertext => ErrorClass::NoKey,
            Self::UnsupportedAlgorithm | Self::NotAnObject | Self::MissingSigningKey | Self::MissingSenderKey => {
                ErrorClass::BadRequest
            }
        }
    }
}

impl Class for MegolmError {
    fn class(&self) -> ErrorClass {
        use matrix_sdk_common::deserialized_responses::VerificationLevel;

        match self {
            Self::EventError(error) => error.class(),
            Self::MissingRoomKey(_) | Self::Decryption(DecryptionError::UnknownMessageIndex(..)) => ErrorClass::NoKey,
            Self::SenderIdentityNotTrusted(VerificationLevel::MismatchedSender)
            | Self::Decode(DecodeError::InvalidMacLength(..) | DecodeError::Signature(_))
            | Self::Decryption(
                DecryptionError::Signature(_) | DecryptionError::InvalidMAC(_) | DecryptionError::InvalidMACLength(..),
            ) => ErrorClass::AuthFailed,
            Self::SenderIdentityNotTrusted(_) | Self::MismatchedIdentityKeys(_) => ErrorClass::UntrustedIdentity,
            Self::JsonError(_) | Self::Decode(_) | Self::Decryption(DecryptionError::InvalidPadding(_)) => {
                ErrorClass::BadRequest
            }
            Self::Store(_) => ErrorClass::Internal,
        }
    }
}

impl Class for OlmError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::EventError(error) => error.class(),
            Self::SessionWedged(..) => ErrorClass::AuthFailed,
            Self::ReplayedMessage(..) => ErrorClass::Duplicate,
            Self::MissingSession => ErrorClass::NoKey,
            Self::SessionRecipientCollectionError(_) | Self::UnverifiedSenderDevice => ErrorClass::UntrustedIdentity,
            Self::Withheld(_) => ErrorClass::Refused,
            Self::JsonError(_) | Self::SessionCreation(_) | Self::SessionExport(_) | Self::Encryption(_) => {
                ErrorClass::BadRequest
            }
            Self::Store(_) => ErrorClass::Internal,
        }
    }
}
