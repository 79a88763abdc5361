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

/// The group is written again after that many messages, or as many as it has leaves: seldom enough for a message's share
/// of the cost not to grow with the group.
const JOURNAL: usize = 256;

/// A change of this device's own, made with the library's detached commits: it leaves the group as it is.
pub(crate) struct Pending {
    pub(crate) packet: Bytes,
    pub(crate) secrets: CommitSecrets,
}

enum Step {
    Received(Bytes),
    Sent,
}

/// A group and what goes with it.
pub(crate) struct Membership<P: CryptoProvider + Clone> {
    pub(crate) group: Group<P>,
    pub(crate) pending: Vec<Pending>,
    /// What has happened since the group was written.
    journal: Vec<Step>,
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
        Self { group, pending: Vec::new(), journal: Vec::new() }
    }

    /// Writes the group to storage.
    pub(crate) fn checkpoint(&mut self) -> Result<(), Error> {
        self.group.write_to_storage().map_err(translate)?;
        self.journal.clear();
        Ok(())
    }

    /// Encrypts to the group.
    pub(crate) fn send(&mut self, plaintext: &[u8]) -> Result<MlsMessage, Error> {
        let message = self.group.encrypt_application_message(plaintext, Vec::new()).map_err(translate)?;
        self.note(Step::Sent)?;
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
                self.checkpoint()?;
                Ok(received)
            }
            Ok(received) => {
                self.note(Step::Received(bytes.clone()))?;
                Ok(received)
            }
            Err(error) => {
                self.roll_back(client)?;
                Err(translate(error))
            }
        }
    }

    /// Applies a change of this device's own that has come back.
    pub(crate) fn apply(&mut self, change: Pending) -> Result<CommitMessageDescription, Error> {
        let description = self.group.apply_detached_commit(change.secrets).map_err(translate)?;
        self.checkpoint()?;
        Ok(description)
    }

    fn note(&mut self, step: Step) -> Result<(), Error> {
        self.journal.push(step);
        let leaves = self.group.export_tree().total_leaf_count() as usize;
        if self.journal.len() >= JOURNAL.max(leaves) { self.checkpoint() } else { Ok(()) }
    }

    fn roll_back(&mut self, client: &Client<Settings<P>>) -> Result<(), Error> {
        let mut group = client.load_group(self.group.group_id()).map_err(translate)?;
        for step in &self.journal {
            match step {
                Step::Received(bytes) => {
                    let message = MlsMessage::from_bytes(bytes.as_ref()).map_err(translate)?;
                    group.process_incoming_message(message).map_err(translate)?;
                }
                // What it says does not matter: the same message keys are spent.
                Step::Sent => {
                    group.encrypt_application_message(&[], Vec::new()).map_err(translate)?;
                }
            }
        }
        self.group = group;
        Ok(())
    }
}
