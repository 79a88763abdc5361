//! Why a call was refused, in classes that mean the same for every implementation.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::decision::Fact;

/// The class of an error: what a scenario may expect. The library's own words go into [`Error::text`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorClass {
    /// A key is not the one that this user or device is known by, or the application said so.
    UntrustedIdentity,
    /// Seen before: a replay, or a second thing where only one may be.
    Duplicate,
    /// A signature, tag or hash does not fit.
    AuthFailed,
    /// No key here opens this: unknown session, sender key, epoch secret or prekey.
    NoKey,
    /// The sender, or this device itself, is not in the group.
    NotMember,
    /// Belongs to another epoch than the present one.
    StaleEpoch,
    /// The application said no to something else than an identity.
    Refused,
    /// The call waits for a decision: see [`Error::undecided`].
    UndecidedTrust,
    /// This implementation has no such operation.
    Unsupported,
    /// The call or its bytes make no sense: malformed, unknown group, wrong kind.
    BadRequest,
    /// The implementation or its adapter failed for a reason of its own.
    Internal,
}

impl ErrorClass {
    /// The name used in JSON, on the command line and in the documents.
    pub fn label(self) -> &'static str {
        match self {
            Self::UntrustedIdentity => "untrusted_identity",
            Self::Duplicate => "duplicate",
            Self::AuthFailed => "auth_failed",
            Self::NoKey => "no_key",
            Self::NotMember => "not_member",
            Self::StaleEpoch => "stale_epoch",
            Self::Refused => "refused",
            Self::UndecidedTrust => "undecided_trust",
            Self::Unsupported => "unsupported",
            Self::BadRequest => "bad_request",
            Self::Internal => "internal",
        }
    }
}

/// A refused call.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[error("{}: {text}", class.label())]
#[serde(deny_unknown_fields)]
pub struct Error {
    /// What kind of refusal.
    pub class: ErrorClass,
    /// The library's own words, for a reader; never matched on.
    pub text: String,
    /// With [`ErrorClass::UndecidedTrust`]: the one fact that is to be decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undecided: Option<Box<Fact>>,
}

impl Error {
    /// An error of `class`, explained by `text`.
    pub fn new(class: ErrorClass, text: impl Into<String>) -> Self {
        Self { class, text: text.into(), undecided: None }
    }

    /// The implementation has no such operation; `what` says which API is missing.
    pub fn unsupported(what: impl Into<String>) -> Self {
        Self::new(ErrorClass::Unsupported, what)
    }

    /// The call or its bytes make no sense.
    pub fn bad_request(text: impl Into<String>) -> Self {
        Self::new(ErrorClass::BadRequest, text)
    }

    /// Something failed that should not have.
    pub fn internal(error: impl std::fmt::Display) -> Self {
        Self::new(ErrorClass::Internal, error.to_string())
    }
}
