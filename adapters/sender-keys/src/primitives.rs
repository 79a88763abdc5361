//! What a library without a group object offers: pairwise sessions and sender keys.
//!
//! An implementation translates and nothing else. It puts the questions that *its library* hands to the application, at
//! points named after the library's API ([`Fact::Identity`], [`Fact::UnsignedPrekey`], [`Fact::Sender`],
//! [`Fact::Replay`]); everything about groups is asked by [`GroupDevice`](crate::GroupDevice).
//!
//! Two rules hold for every method. A call that returns an error leaves the keys as they were, so that the same call
//! can be made again: this is what makes [`ErrorClass::UndecidedTrust`] work. And unless it is said otherwise, nothing
//! here knows rosters: a group id is the name of a drawer with sender keys in it, whoever is in the group.
//!
//! [`Fact::Identity`]: e2esm_adapter::Fact::Identity
//! [`Fact::UnsignedPrekey`]: e2esm_adapter::Fact::UnsignedPrekey
//! [`Fact::Sender`]: e2esm_adapter::Fact::Sender
//! [`Fact::Replay`]: e2esm_adapter::Fact::Replay
//! [`ErrorClass::UndecidedTrust`]: e2esm_adapter::ErrorClass::UndecidedTrust

use e2esm_adapter::{
    Authorisation, Bundle, Bytes, Delivery, DeliveryKind, Description, DeviceId, Error, Fingerprint, GroupId, Identity,
    LinkRequest, Notebook, Passive, Start,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A pairwise ciphertext.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Whether it opens a session at the receiver (a prekey message).
    pub opens_session: bool,
    /// The library's bytes.
    pub bytes: Bytes,
}

/// Another member's sender key, as a third party hands it on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandedOn {
    /// Whose key it is, in the word of the one who hands it on.
    pub owner: DeviceId,
    /// The library's bytes.
    pub key: Bytes,
}

/// What a library's group keys and messages are in recorded vectors.
#[derive(Clone, Copy, Debug)]
pub struct Kinds {
    /// A sender key that came through a pairwise session.
    pub key: DeliveryKind,
    /// A message under such a key.
    pub message: DeliveryKind,
}

/// One device's keys and what its library can do with them.
pub trait Primitives: Send + Sized + 'static {
    /// What the library's packets are in recorded vectors.
    const KINDS: Kinds;

    /// What this device holds about one peer: sessions and known identity. See [`peer_state`](Self::peer_state).
    type PeerState;

    /// Everything secret that this device holds, by the library's own means of persistence. It is written as JSON where a
    /// thief copies it, and in a binary format (postcard, which does not describe itself) where the device stores itself:
    /// with 10,000 sessions that is to be fast and small.
    type State: Serialize + DeserializeOwned;

    /// The description of the adapter, with `group_object: false` and what this *library* leaves unsupported. What the
    /// group management leaves unsupported is put in by [`GroupAdapter`](crate::GroupAdapter). An operation of
    /// [`Device`](e2esm_adapter::Device) whose capability is listed there answers `Unsupported` and does not get here.
    fn describe() -> Description;

    /// A device with fresh keys, and an account key of its own.
    ///
    /// # Errors
    /// `Internal` where the library fails.
    fn new(id: &DeviceId) -> Result<Self, Error>;

    /// The state, for [`restore`](Self::restore).
    ///
    /// # Errors
    /// `Internal` where the library fails.
    fn state(&self) -> Result<Self::State, Error>;

    /// The device of such a state, with an empty notebook.
    ///
    /// # Errors
    /// `BadRequest` where the library cannot read its own part of it.
    fn restore(id: &DeviceId, state: Self::State) -> Result<Self, Error>;

    /// See [`Adapter::passive`](e2esm_adapter::Adapter::passive): the library's own sessions and sender keys, without the
    /// group management.
    ///
    /// # Errors
    /// `Unsupported` for another protocol; `BadRequest` for keys that are none.
    fn passive(start: &Start) -> Result<Box<dyn Passive>, Error>;

    /// See [`Device::standard_keys`](e2esm_adapter::Device::standard_keys).
    ///
    /// # Errors
    /// `Internal` where the library fails.
    fn standard_keys(&mut self) -> Result<Start, Error>;

    /// What came from `peer`, as a recorded vector has it: the library's own bytes, without what this adapter puts around
    /// them, and the name under which the protocol knows the sender.
    fn delivery(&self, kind: DeliveryKind, peer: &DeviceId, bytes: &Bytes) -> Delivery;

    /// Where questions go and events are kept.
    fn notebook(&self) -> &Notebook;

    /// The public keys that this device stands for.
    ///
    /// # Errors
    /// `Internal` where the library fails.
    fn identity(&self) -> Result<Identity, Error>;

    /// A single-use prekey bundle for `peer`.
    ///
    /// # Errors
    /// `Internal` where the library fails.
    fn publish(&mut self, peer: &DeviceId) -> Result<Bundle, Error>;

    /// The identity that a bundle shows: a look, no check, no question.
    ///
    /// # Errors
    /// `BadRequest` for bytes that are no bundle.
    fn bundle_identity(&self, bundle: &Bundle) -> Result<Identity, Error>;

    /// Opens a session from a bundle, from now on the one that is sent on; sessions with another identity of that
    /// device are dropped. Asks what the library asks (an [`Identity`](e2esm_adapter::Fact::Identity); where the
    /// library leaves prekey signatures to its caller, `UnsignedPrekey` if one does not hold) and notes
    /// `SessionOpened`, and `KeyChanged` if the device was known by another account key.
    ///
    /// # Errors
    /// Those of the questions; `AuthFailed` where the library itself refuses a signature; `BadRequest` for bytes that
    /// are no bundle.
    fn introduce(&mut self, bundle: &Bundle) -> Result<(), Error>;

    /// Whether there is a session with `peer` to send on.
    fn has_session(&self, peer: &DeviceId) -> bool;

    /// The identity by which `peer` is known since the last session was opened, by either side.
    fn known_identity(&self, peer: &DeviceId) -> Option<Identity>;

    /// A copy of what is held about `peer`, for the operations that open a session and may still have to wait for a
    /// decision afterwards.
    ///
    /// # Errors
    /// `Internal` where the library fails.
    fn peer_state(&self, peer: &DeviceId) -> Result<Self::PeerState, Error>;

    /// Puts such a copy back.
    fn restore_peer(&mut self, peer: &DeviceId, state: Self::PeerState);

    /// Encrypts to `peer` alone. Asks what the library asks before encrypting.
    ///
    /// # Errors
    /// `NoKey` without a session; `UntrustedIdentity` where the application said that this identity is not to be used:
    /// the caller then leaves the device out.
    fn encrypt(&mut self, peer: &DeviceId, plaintext: &[u8]) -> Result<Sealed, Error>;

    /// Decrypts what the label says comes from `claimed`, opening a session if it is a prekey message. Asks what the
    /// library asks on receiving, and notes `SessionOpened` and `KeyChanged` as [`introduce`](Self::introduce) does.
    ///
    /// # Errors
    /// `NoKey` without a session or prekey for it; `AuthFailed`, `Duplicate`, `UntrustedIdentity` as the library says;
    /// `BadRequest` for bytes that are no message.
    fn decrypt(&mut self, claimed: &DeviceId, sealed: &Sealed) -> Result<Vec<u8>, Error>;

    /// Makes a new sender key of this device's own for `group`; from now on it is the present one.
    ///
    /// # Errors
    /// `Internal` where the library fails.
    fn new_sender_key(&mut self, group: &GroupId) -> Result<(), Error>;

    /// The present sender key at its present position: who gets this reads what follows and nothing before. Right after
    /// [`new_sender_key`](Self::new_sender_key) that is everything; the group management keeps that one for
    /// `share_history`, so an implementation keeps nothing for it.
    ///
    /// # Errors
    /// `NoKey` if none was made.
    fn distribution(&mut self, group: &GroupId) -> Result<Bytes, Error>;

    /// Takes a sender key that came through the pairwise session of `owner`.
    ///
    /// # Errors
    /// `BadRequest` for bytes that are none; `AuthFailed` where the library refuses its signature.
    fn accept_sender_key(&mut self, group: &GroupId, owner: &DeviceId, distribution: &[u8]) -> Result<(), Error>;

    /// Encrypts under the present sender key.
    ///
    /// # Errors
    /// `NoKey` if none was made.
    fn group_encrypt(&mut self, group: &GroupId, plaintext: &[u8]) -> Result<Bytes, Error>;

    /// For `Fault::RelabelledSender`: encrypts so that all but the signature fits a message of `other`, whose sender
    /// key this device may hold.
    ///
    /// # Errors
    /// `NoKey` where the key of `other` would be needed and is not here.
    fn group_encrypt_as(&mut self, group: &GroupId, other: &DeviceId, plaintext: &[u8]) -> Result<Bytes, Error>;

    /// Decrypts a message to the group that the label says comes from `claimed`. Asks `Sender` and `Replay` where the
    /// library leaves these to its caller.
    ///
    /// # Errors
    /// `NoKey`, `AuthFailed`, `Duplicate` as the library says; those of the questions; `BadRequest` for bytes that are
    /// no message.
    fn group_decrypt(&mut self, group: &GroupId, claimed: &DeviceId, ciphertext: &[u8]) -> Result<Vec<u8>, Error>;

    /// The sender keys of others that this device could hand to a newcomer, each from the first position it knows. None
    /// where the library has no way to export a received key.
    ///
    /// # Errors
    /// `Internal` where the library fails.
    fn export_history(&mut self, group: &GroupId) -> Result<Vec<HandedOn>, Error> {
        let _ = group;
        Ok(Vec::new())
    }

    /// Takes a sender key that `from` handed on through its pairwise session. Asks `Sender` where the library leaves
    /// the origin of such a key to its caller.
    ///
    /// # Errors
    /// `BadRequest` for bytes that are none; those of the question.
    fn import_history(&mut self, group: &GroupId, from: &DeviceId, handed_on: &HandedOn) -> Result<(), Error> {
        let _ = (group, from, handed_on);
        Err(Error::bad_request("this library cannot import a sender key from a third party"))
    }

    /// What two people compare.
    ///
    /// # Errors
    /// `BadRequest` for a peer whose identity is not known.
    fn fingerprint(&mut self, peer: &DeviceId) -> Result<Fingerprint, Error>;

    /// See [`Device::link_request`](e2esm_adapter::Device::link_request).
    ///
    /// # Errors
    /// `Internal` where the library fails.
    fn link_request(&mut self) -> Result<LinkRequest, Error>;

    /// See [`Device::authorise`](e2esm_adapter::Device::authorise).
    ///
    /// # Errors
    /// `BadRequest` where this device has no account key to vouch with.
    fn authorise(&mut self, request: &LinkRequest) -> Result<Authorisation, Error>;

    /// See [`Device::accept_authorisation`](e2esm_adapter::Device::accept_authorisation).
    ///
    /// # Errors
    /// `BadRequest` if it is malformed or for another device.
    fn accept_authorisation(&mut self, authorisation: &Authorisation) -> Result<(), Error>;

    /// For `Fault::DegenerateKey`: whether the bundles published from now on hold an all-zero Diffie-Hellman key,
    /// properly signed.
    fn publish_degenerate_keys(&mut self, degenerate: bool);

    /// For `Forgery::BrokenBundle`: the bundle with its prekey signature broken and all else as it was.
    ///
    /// # Errors
    /// `BadRequest` for bytes that are no bundle.
    fn break_bundle(&self, bundle: &Bundle) -> Result<Bundle, Error>;

    /// For `Forgery::RewrittenIdentity`: somebody's session-opening message made to bear this device's identity key.
    ///
    /// # Errors
    /// `BadRequest` for anything but a session-opening message.
    fn rewrite_identity(&self, sealed: &Sealed) -> Result<Sealed, Error>;
}
