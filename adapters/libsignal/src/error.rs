//! libsignal's errors in the suite's classes, and its futures, which complete at once.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use e2esm_adapter::{Error, ErrorClass};
use libsignal_protocol::SignalProtocolError as Signal;

/// The class of an error. `InvalidMessage` is the library's word for a wrong tag and for much else: only its text
/// tells.
pub(crate) fn classify(error: Signal) -> Error {
    let class = match &error {
        Signal::ApplicationCallbackError(_, source) => {
            let source: &(dyn std::error::Error + 'static) = &**source;
            // The question that the store could not answer: the library hands its error through.
            return source.downcast_ref::<Error>().cloned().unwrap_or_else(|| Error::internal(&error));
        }
        Signal::UntrustedIdentity(_) => ErrorClass::UntrustedIdentity,
        Signal::DuplicatedMessage(..) => ErrorClass::Duplicate,
        Signal::SignatureValidationFailed => ErrorClass::AuthFailed,
        Signal::SessionNotFound(_)
        | Signal::InvalidPreKeyId
        | Signal::InvalidSignedPreKeyId
        | Signal::InvalidKyberPreKeyId
        | Signal::NoSenderKeyState { .. } => ErrorClass::NoKey,
        Signal::InvalidMessage(_, text) => match *text {
            "decryption failed" => ErrorClass::AuthFailed,
            "message from too far into the future" => ErrorClass::NoKey,
            _ => ErrorClass::BadRequest,
        },
        Signal::InvalidArgument(_)
        | Signal::InvalidProtobufEncoding
        | Signal::CiphertextMessageTooShort(_)
        | Signal::LegacyCiphertextVersion(_)
        | Signal::UnrecognizedCiphertextVersion(_)
        | Signal::UnrecognizedMessageVersion(_)
        | Signal::NoKeyTypeIdentifier
        | Signal::BadKeyType(_)
        | Signal::BadKeyLength(..)
        | Signal::BadKEMKeyType(_)
        | Signal::WrongKEMKeyType(..)
        | Signal::BadKEMKeyLength(..)
        | Signal::BadKEMCiphertextLength(..) => ErrorClass::BadRequest,
        _ => ErrorClass::Internal,
    };
    Error::new(class, error.to_string())
}

/// What came from outside could not be read.
pub(crate) fn malformed(error: Signal) -> Error {
    Error::bad_request(error.to_string())
}

/// What an asynchronous call of the library returns. The stores never wait, so neither does the call.
pub(crate) fn at_once<T>(call: impl Future<Output = Result<T, Signal>>) -> Result<T, Error> {
    match pin!(call).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result.map_err(classify),
        Poll::Pending => Err(Error::internal("a store of this adapter made libsignal wait")),
    }
}
