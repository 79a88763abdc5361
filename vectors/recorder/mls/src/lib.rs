//! Records vectors of MLS (RFC 9420) whose cryptography is honest everywhere.
//!
//! - [`scenes`]: what happens to one device in a group, from the scenarios of `vectors/`, with the adapters' ordinary
//!   devices as everybody else ([`room`]).
//! - [`altered`]: packets of every kind that somebody on the way has changed who holds no key, each ahead of the packet
//!   itself. [`fields`] knows where the fields are, [`alter`] what can be done to them and [`verdict`] why RFC 9420 has each
//!   copy refused; [`members`] makes the packets.
//!
//! What is to happen is written down here. The recording implementation adds what nobody could write down, and all others
//! must agree ([`Recorder::finish`]).

pub mod alter;
pub mod altered;
pub mod fields;
pub mod members;
pub mod room;
pub mod scenes;
pub mod verdict;

use anyhow::{Context, Result, ensure};
use e2esm_adapter::{Adapter, Bytes, Delivered, Delivery, DeliveryKind};
use e2esm_playback::{Draft, Recorded};

/// Everybody who records or confirms, and the day.
pub struct Recorder {
    date: String,
    openmls: Vec<Box<dyn Adapter>>,
    mls_rs: Vec<Box<dyn Adapter>>,
    recording: Vec<Box<dyn Adapter>>,
}

/// An implementation that records, and what its files are called.
#[derive(Clone, Copy)]
pub struct Recording<'a> {
    /// Who.
    pub adapter: &'a dyn Adapter,
    /// The end of its vectors' ids.
    pub label: &'static str,
    /// How it sends the members' commits and proposals.
    pub handshake: &'static str,
}

impl Recorder {
    /// With all implementations that there are; `date` is `YYYY-MM-DD`.
    pub fn new(date: &str) -> Self {
        Self {
            date: date.to_owned(),
            openmls: e2esm_adapter_openmls::adapters(),
            mls_rs: e2esm_adapter_mls_rs::adapters(),
            recording: e2esm_adapter_mls_rs::recording(),
        }
    }

    /// All vectors, in the order in which they were recorded.
    ///
    /// # Errors
    /// The first one with which anybody disagrees: vector, delivery, implementation and reason.
    pub fn record(&self) -> Result<Vec<Recorded>> {
        let mut vectors = scenes::record(self)?;
        vectors.extend(altered::record(self)?);
        Ok(vectors)
    }

    /// openmls over RustCrypto, whose commits are PrivateMessages.
    ///
    /// # Errors
    /// If the adapter is gone.
    pub fn openmls(&self) -> Result<Recording<'_>> {
        let adapter = self.openmls.first().context("no openmls")?;
        Ok(Recording { adapter: adapter.as_ref(), label: "private", handshake: "PrivateMessage" })
    }

    /// mls-rs over RustCrypto, whose commits are PublicMessages, with the cipher suites 0x0001, 0x0002 and 0x0003.
    ///
    /// # Errors
    /// If an adapter is gone.
    pub fn mls_rs(&self) -> Result<[Recording<'_>; 3]> {
        let [first, second, third] = self.recording.as_slice() else { anyhow::bail!("not three suites of mls-rs's") };
        Ok([(first, "public"), (second, "p256"), (third, "chacha20")].map(|(adapter, label)| Recording {
            adapter: adapter.as_ref(),
            label,
            handshake: "PublicMessage",
        }))
    }

    /// Has everybody play it: whoever recorded it, then all others.
    ///
    /// # Errors
    /// The first disagreement; a vector that nobody confirms.
    pub fn finish(&self, draft: Draft, by: Recording<'_>) -> Result<Recorded> {
        let mut recorded = draft.record(by.adapter, &by.adapter.describe().cipher_suite)?;
        for adapter in self.openmls.iter().chain(&self.mls_rs) {
            recorded.confirm(adapter.as_ref())?;
        }
        ensure!(!recorded.confirmed_by.is_empty(), "{}: nobody confirms it", recorded.id);
        Ok(recorded)
    }
}

/// A packet on its way.
pub(crate) fn delivery(bytes: &[u8]) -> Delivery {
    Delivery { kind: DeliveryKind::MlsMessage, from: None, bytes: bytes.into(), ratchet_tree: None }
}

/// What must hold after a message has been read.
pub(crate) fn message_read(group: &str, text: &str, leaf: u32) -> Delivered {
    Delivered {
        plaintext: Some(text.as_bytes().into()),
        sender_leaf: Some(leaf),
        group_id: Some(group_id(group)),
        ..Delivered::default()
    }
}

/// What must hold in this epoch of a group.
pub(crate) fn epoch_reached(group: &str, epoch: u64) -> Delivered {
    Delivered { group_id: Some(group_id(group)), epoch: Some(epoch), ..Delivered::default() }
}

/// What must hold after a Commit that removes this device.
pub(crate) fn removed_from(group: &str) -> Delivered {
    Delivered { group_id: Some(group_id(group)), removed: true, ..Delivered::default() }
}

fn group_id(group: &str) -> Bytes {
    group.as_bytes().into()
}
