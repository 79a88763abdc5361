//! One group of a device: the library's group, the device's own changes that have not come back yet, and the way back to
//! where it was when the library refuses a packet halfway.
//!
//! mls-rs keeps what it changes in memory until the application writes it to storage, and a refused packet may have
//! changed something: the message key of a message whose signature does not hold is spent, the private tree of a commit
//! whose confirmation tag does not hold is the commit's. An application goes back by loading the group from storage. So
//! that this costs nothing as long as nothing is refused, the group is written when it enters an epoch, as retention
//! wants it anyway, and what has been sent and received since is remembered and done again.

use e2esm_adapter::{Bytes, Error};
use mls_rs::group::{CommitMessageDescription, CommitSecrets, ReceivedMessage};
use mls_rs::{Client, CryptoProvider, MlsMessage};

use crate::client::{Group, Settings};
use crate::error::translate;

/// The group is written again after that many messages for each of its leaves: so seldom that a message's share of the
/// cost, which grows with the group, is not seen beside the message's own. What was received takes memory until then and
/// costs more, so that it may be written more often than what was sent.
const SENT_PER_LEAF: usize = 32;
const RECEIVED_PER_LEAF: usize = 4;
/// But not more often than this.
const MESSAGES: usize = 256;

/// A change of this device's own, made with the library's detached commits: it leaves the group as it is.
pub(crate) struct Pending {
    pub(crate) packet: Bytes,
    pub(crate) secrets: CommitSecrets,
}

/// What has happened since a group was written. Members' message keys do not depend on one another, nor does a proposal
/// on messages, so that how it was interleaved does not matter.
#[derive(Default)]
struct Journal {
    sent: usize,
    received: Vec<Bytes>,
}

/// A group and what goes with it.
pub(crate) struct Membership<P: CryptoProvider + Clone> {
    pub(crate) group: Group<P>,
    pub(crate) pending: Vec<Pending>,
    /// The external commit by which this device has joined, until it comes back or the epoch is over. It has been in force
    /// from the start. A store does not keep it.
    pub(crate) joined_by: Option<Bytes>,
    /// Whether a Welcome goes without the group's tree.
    pub(crate) tree_apart: bool,
    journal: Journal,
}

impl<P: CryptoProvider + Clone> Membership<P> {
    /// A group that storage does not know yet.
    pub(crate) fn begin(group: Group<P>) -> Result<Self, Error> {
        let mut membership = Self::loaded(group);
        membership.checkpoint()?;
        Ok(membership)
    }

    /// A group that storage knows just so.
    pub(crate) fn loaded(group: Group<P>) -> Self {
        Self { group, pending: Vec::new(), joined_by: None, tree_apart: false, journal: Journal::default() }
    }

    /// Writes the group to storage.
    pub(crate) fn checkpoint(&mut self) -> Result<(), Error> {
        self.group.write_to_storage().map_err(translate)?;
        self.journal = Journal::default();
        Ok(())
    }

    /// Encrypts to the group.
    pub(crate) fn send(&mut self, plaintext: &[u8]) -> Result<MlsMessage, Error> {
        let message = self.group.encrypt_application_message(plaintext, Vec::new()).map_err(translate)?;
        self.journal.sent += 1;
        self.write_now_and_then()?;
        Ok(message)
    }

    /// Processes a packet, or leaves the group as it was.
    pub(crate) fn receive(
        &mut self,
        client: &Client<Settings<P>>,
        message: MlsMessage,
        bytes: &Bytes,
    ) -> Result<ReceivedMessage, Error> {
        match self.group.process_incoming_message(message) {
            Ok(received @ ReceivedMessage::Commit(_)) => {
                self.joined_by = None;
                self.checkpoint()?;
                Ok(received)
            }
            Ok(received) => {
                self.journal.received.push(bytes.clone());
                self.write_now_and_then()?;
                Ok(received)
            }
            Err(error) => {
                self.roll_back(client)?;
                Err(translate(error))
            }
        }
    }

    /// This device's own change that has come back in this packet, if it is one.
    pub(crate) fn take_pending(&mut self, packet: &Bytes) -> Option<Pending> {
        let index = self.pending.iter().position(|pending| pending.packet == *packet)?;
        Some(self.pending.swap_remove(index))
    }

    /// The external commit by which this device has joined, if this packet is it.
    pub(crate) fn take_joined_by(&mut self, packet: &Bytes) -> Option<Bytes> {
        self.joined_by.take_if(|joined_by| joined_by == packet)
    }

    /// Applies a change of this device's own that has come back.
    pub(crate) fn apply(&mut self, change: Pending) -> Result<CommitMessageDescription, Error> {
        let description = self.group.apply_detached_commit(change.secrets).map_err(translate)?;
        self.joined_by = None;
        self.checkpoint()?;
        Ok(description)
    }

    fn write_now_and_then(&mut self) -> Result<(), Error> {
        let leaves = self.group.export_tree().total_leaf_count() as usize;
        let Journal { sent, received } = &self.journal;
        if *sent >= MESSAGES.max(SENT_PER_LEAF * leaves) || received.len() >= MESSAGES.max(RECEIVED_PER_LEAF * leaves) {
            self.checkpoint()?;
        }
        Ok(())
    }

    fn roll_back(&mut self, client: &Client<Settings<P>>) -> Result<(), Error> {
        let mut group = client.load_group(self.group.group_id()).map_err(translate)?;
        // What a message said does not matter: the same message keys are spent. A proposal would stop them: it comes after.
        for _ in 0..self.journal.sent {
            group.encrypt_application_message(&[], Vec::new()).map_err(translate)?;
        }
        for bytes in &self.journal.received {
            let message = MlsMessage::from_bytes(bytes.as_ref()).map_err(translate)?;
            group.process_incoming_message(message).map_err(translate)?;
        }
        self.group = group;
        Ok(())
    }
}
