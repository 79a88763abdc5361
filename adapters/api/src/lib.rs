//! What an implementation of an end-to-end secure messaging protocol needs in order to be tested by this suite: one
//! trait, its types, and the stdio protocol.
//!
//! An [`Adapter`] makes [`Device`]s. A device is the only thing with state: one user's one client. It does no I/O; each
//! call returns packets and leaves events in its [`Notebook`], and the harness is the network and the server, counts every byte
//! and may be malicious. The crate knows nothing of the harness, of vectors or of verdicts.
//!
//! `adapters/README.md` shows how to write an adapter.

mod attack;
mod decision;
mod describe;
mod device;
mod error;
mod ids;
pub mod meter;
mod packet;
mod recorded;
mod stdio;

pub use attack::{Fault, Forged, Forgery, KnownGroup};
pub use decision::{Asker, Decision, DecisionPoint, Event, Fact, FactKind, Notebook, Override, Stance};
pub use describe::{Capability, Description};
pub use device::{Adapter, Answer, Call, Device};
pub use error::{Error, ErrorClass};
pub use ids::{Bytes, DeviceId, GroupId, UserId};
pub use meter::{Metering, Primitive, metered};
pub use packet::{
    Address, Authorisation, Bundle, Change, Fingerprint, FingerprintKind, Identity, LinkRequest, Message, Output,
    Packet, PacketKind, Roster,
};
pub use recorded::{
    Delivered, Delivery, DeliveryKind, ExternalPsk, KnownIdentity, KyberPrekey, MegolmStart, Member, MlsKeyPackage,
    MlsStart, OlmStart, Passive, Prekey, Protocol, SignalStart, SignedPrekey, Start,
};
pub use stdio::{Dispatcher, Frame, PROTOCOL_VERSION, Reply, ReplyFrame, Request, serve_stdio};
