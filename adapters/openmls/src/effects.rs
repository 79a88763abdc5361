//! What a proposal or a staged commit would do to a group: what is asked before it is taken, and what is noted after.

use e2esm_adapter::{Bytes, DecisionPoint, DeviceId, Error, Event, Fact, GroupId, Notebook};
use openmls::group::{MlsGroup, QueuedProposal, StagedCommit};
use openmls::prelude::{LeafNode, LeafNodeIndex, Proposal, Sender};
use serde::{Deserialize, Serialize};

use crate::credential::{Shown, name_at, previous_keys};

/// Where a question is put: about keys, and about who may come and go.
#[derive(Clone, Copy)]
pub(crate) struct Points {
    keys: DecisionPoint,
    membership: DecisionPoint,
}

/// A commit waits, staged, to be merged.
pub(crate) const STAGED_COMMIT: Points = Points {
    keys: DecisionPoint::library("StagedCommit::credentials_to_verify"),
    membership: DecisionPoint::library("ProcessedMessageContent::StagedCommitMessage"),
};

/// A member's proposal waits to be stored.
const PROPOSAL: Points = Points {
    keys: DecisionPoint::library("ProcessedMessageContent::ProposalMessage"),
    membership: DecisionPoint::library("ProcessedMessageContent::ProposalMessage"),
};

/// A stranger's proposal to be added waits to be stored.
const EXTERNAL_JOIN: Points = Points {
    keys: DecisionPoint::library("ProcessedMessageContent::ExternalJoinProposalMessage"),
    membership: DecisionPoint::library("ProcessedMessageContent::ExternalJoinProposalMessage"),
};

impl Points {
    /// Those of a proposal that stands alone.
    pub(crate) fn of_proposal(proposal: &QueuedProposal) -> Self {
        match proposal.sender() {
            Sender::NewMemberProposal => EXTERNAL_JOIN,
            _ => PROPOSAL,
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Admission {
    shown: Shown,
    previous: Option<Bytes>,
    by: DeviceId,
}

#[derive(Serialize, Deserialize)]
struct Removal {
    device: DeviceId,
    by: DeviceId,
}

#[derive(Serialize, Deserialize)]
struct Replacement {
    shown: Shown,
    previous: Option<Bytes>,
}

/// What would come of it; nothing where nobody listens, since nothing else depends on it.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Effects {
    admissions: Vec<Admission>,
    removals: Vec<Removal>,
    replacements: Vec<Replacement>,
}

impl Effects {
    /// Of a commit by `sender`, before it is merged.
    pub(crate) fn of_commit(
        notebook: &Notebook,
        group: &MlsGroup,
        staged: &StagedCommit,
        sender: &Sender,
    ) -> Result<Self, Error> {
        let mut effects = Self::default();
        if !notebook.listens() {
            return Ok(effects);
        }
        let path_leaf = staged.update_path_leaf_node();
        let author = match (sender, path_leaf) {
            (Sender::Member(index), leaf) => {
                if let Some(leaf) = leaf {
                    effects.replace(group, *index, leaf)?;
                }
                name_at(group, *index)?
            }
            (_, Some(leaf)) => {
                let joiner = Shown::of(leaf)?;
                let author = joiner.device.clone();
                effects.admit(joiner, author.clone());
                author
            }
            (_, None) => return Err(Error::bad_request("a commit by nobody in particular")),
        };
        for proposal in staged.queued_proposals() {
            effects.take(group, proposal, Some(&author))?;
        }
        effects.recall(group);
        Ok(effects)
    }

    /// Of a proposal that stands alone.
    pub(crate) fn of_proposal(notebook: &Notebook, group: &MlsGroup, proposal: &QueuedProposal) -> Result<Self, Error> {
        let mut effects = Self::default();
        if !notebook.listens() {
            return Ok(effects);
        }
        effects.take(group, proposal, None)?;
        effects.recall(group);
        Ok(effects)
    }

    /// What a stranger proposed for itself it answers for itself, whoever commits it; the committer answers for the rest.
    fn take(&mut self, group: &MlsGroup, queued: &QueuedProposal, committer: Option<&DeviceId>) -> Result<(), Error> {
        let proposer = match queued.sender() {
            Sender::Member(index) => Some(name_at(group, *index)?),
            Sender::NewMemberProposal => None,
            _ => committer.cloned(),
        };
        match queued.proposal() {
            Proposal::Add(add) => {
                let shown = Shown::of(add.key_package().leaf_node())?;
                let by = proposer.unwrap_or_else(|| shown.device.clone());
                self.admit(shown, by);
            }
            Proposal::Remove(remove) => {
                let device = name_at(group, remove.removed())?;
                let by = proposer.unwrap_or_else(|| device.clone());
                self.removals.push(Removal { device, by });
            }
            Proposal::SelfRemove => {
                if let Some(device) = proposer {
                    self.removals.push(Removal { by: device.clone(), device });
                }
            }
            Proposal::Update(update) => {
                if let Sender::Member(index) = queued.sender() {
                    self.replace(group, *index, update.leaf_node())?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn admit(&mut self, shown: Shown, by: DeviceId) {
        self.admissions.push(Admission { shown, previous: None, by });
    }

    /// Looks up under which keys the group has known those who come.
    fn recall(&mut self, group: &MlsGroup) {
        let previous = previous_keys(group, self.admissions.iter().map(|admission| &admission.shown));
        for (admission, previous) in self.admissions.iter_mut().zip(previous) {
            admission.previous = previous;
        }
    }

    /// Most updates bring a new HPKE key only: then there is nothing to validate that has not been validated.
    fn replace(&mut self, group: &MlsGroup, index: LeafNodeIndex, leaf: &LeafNode) -> Result<(), Error> {
        let Some(old) = group.public_group().leaf(index) else { return Ok(()) };
        if old.credential() == leaf.credential() && old.signature_key() == leaf.signature_key() {
            return Ok(());
        }
        let shown = Shown::of(leaf)?;
        let known = Shown::of(old)?.identity.account_key;
        let previous = (known != shown.identity.account_key).then_some(known);
        self.replacements.push(Replacement { shown, previous });
        Ok(())
    }

    /// Puts every question.
    pub(crate) fn ask(&self, notebook: &Notebook, group: &GroupId, points: Points) -> Result<(), Error> {
        for Removal { device, by } in &self.removals {
            let (group, device, by) = (group.clone(), device.clone(), by.clone());
            notebook.require(points.membership, Fact::Remove { group, device, by, authenticated: true })?;
        }
        for Replacement { shown, previous } in &self.replacements {
            notebook.require(points.keys, identity(shown, previous.clone()))?;
        }
        for Admission { shown, previous, by } in &self.admissions {
            notebook.require(points.keys, identity(shown, previous.clone()))?;
            let (group, device, by) = (group.clone(), shown.device.clone(), by.clone());
            notebook.require(points.membership, Fact::Add { group, device, by, authenticated: true })?;
        }
        Ok(())
    }

    /// Records that it has come about.
    pub(crate) fn note(self, notebook: &Notebook, group: &GroupId) {
        for Removal { device, by } in self.removals {
            notebook.note(Event::MemberRemoved { group: group.clone(), device, by });
        }
        for Replacement { shown, previous } in self.replacements {
            if previous.is_some() {
                notebook.note(Event::KeyChanged { device: shown.device });
            }
        }
        for Admission { shown, previous, by } in self.admissions {
            if previous.is_some() {
                notebook.note(Event::KeyChanged { device: shown.device.clone() });
            }
            notebook.note(Event::MemberAdded { group: group.clone(), device: shown.device, by });
        }
    }
}

/// The question whether these keys are this device's.
pub(crate) fn identity(shown: &Shown, previous: Option<Bytes>) -> Fact {
    Fact::Identity { device: shown.device.clone(), identity: shown.identity.clone(), previous }
}
