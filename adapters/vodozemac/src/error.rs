//! vodozemac's errors in the suite's classes.

use e2esm_adapter::{Error, ErrorClass};
use vodozemac::megolm::{DecryptionError as MegolmError, SessionKeyDecodeError};
use vodozemac::olm::{DecryptionError as OlmError, EncryptionError, SessionCreationError};
use vodozemac::{DecodeError, KeyError};

/// What an error of vodozemac's means.
pub(crate) trait Class: std::fmt::Display {
    fn class(&self) -> ErrorClass;
}

/// For `map_err`.
pub(crate) fn refused(error: impl Class) -> Error {
    Error::new(error.class(), error.to_string())
}

impl Class for DecodeError {
    fn class(&self) -> ErrorClass {
        match self {
            // The tag or the signature is what does not fit.
            Self::InvalidMacLength(..) | Self::Signature(_) => ErrorClass::AuthFailed,
            Self::MessageType(_)
            | Self::MissingVersion
            | Self::MessageTooShort(_)
            | Self::InvalidVersion(..)
            | Self::InvalidKey(_)
            | Self::ProtoBufError(_)
            | Self::Base64(_) => ErrorClass::BadRequest,
        }
    }
}

impl Class for KeyError {
    fn class(&self) -> ErrorClass {
        ErrorClass::BadRequest
    }
}

impl Class for SessionCreationError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::MissingOneTimeKey(_) => ErrorClass::NoKey,
            Self::MismatchedIdentityKey(..) => ErrorClass::UntrustedIdentity,
            Self::Decryption(error) => error.class(),
            Self::MismatchedSessionConfig { .. } | Self::NonContributoryKey => ErrorClass::BadRequest,
        }
    }
}

impl Class for OlmError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::InvalidMAC(_) | Self::InvalidMACLength(..) => ErrorClass::AuthFailed,
            // Used up or thrown away: vodozemac does not tell a repeated message from one that comes too late.
            Self::MissingMessageKey(_) | Self::TooBigMessageGap(..) => ErrorClass::NoKey,
            Self::InvalidPadding(_) | Self::NonContributoryKey => ErrorClass::BadRequest,
        }
    }
}

impl Class for EncryptionError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::NonContributoryKey => ErrorClass::BadRequest,
        }
    }
}

impl Class for MegolmError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Signature(_) | Self::InvalidMAC(_) | Self::InvalidMACLength(..) => ErrorClass::AuthFailed,
            Self::UnknownMessageIndex(..) => ErrorClass::NoKey,
            Self::InvalidPadding(_) => ErrorClass::BadRequest,
        }
    }
}

impl Class for SessionKeyDecodeError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Signature(_) => ErrorClass::AuthFailed,
            Self::Version(..) | Self::Read(_) | Self::Base64(_) | Self::PublicKey(_) => ErrorClass::BadRequest,
        }
    }
}
