//! The two places where mls-rs asks its application: the `IdentityProvider` (is this credential this member's?) and
//! `MlsRules::filter_proposals` (may this committer add or remove this member?). Both put the question to the device's
//! notebook and hand the answer back.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use e2esm_account::{Credential, content};
use e2esm_adapter::{DecisionPoint, DeviceId, Error, ErrorClass, Fact, GroupId, Notebook};
use mls_rs::crypto::SignaturePublicKey;
use mls_rs::error::IntoAnyError;
use mls_rs::group::proposal::{AddProposal, RemoveProposal};
use mls_rs::group::{GroupContext, Roster, Sender};
use mls_rs::identity::{CredentialType, SigningIdentity};
use mls_rs::mls_rules::{CommitDirection, CommitOptions, CommitSource, EncryptionOptions, ProposalBundle};
use mls_rs::time::MlsTime;
use mls_rs::{ExtensionList, IdentityProvider, MlsRules};
use mls_rs_core::identity::MemberValidationContext;

use crate::client::Company;

const VALIDATE_MEMBER: DecisionPoint = DecisionPoint::library("IdentityProvider::validate_member");
const VALIDATE_EXTERNAL_SENDER: DecisionPoint = DecisionPoint::library("IdentityProvider::validate_external_sender");
const VALID_SUCCESSOR: DecisionPoint = DecisionPoint::library("IdentityProvider::valid_successor");
const FILTER_PROPOSALS: DecisionPoint = DecisionPoint::library("MlsRules::filter_proposals");

/// An error of ours on its way through the library.
#[derive(Debug)]
pub(crate) struct Verdict(pub(crate) Error);

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Verdict {}

impl IntoAnyError for Verdict {
    fn into_dyn_error(self) -> Result<Box<dyn std::error::Error + Send + Sync>, Self> {
        Ok(Box::new(self))
    }
}

/// What a device shares with the callbacks of its client.
#[derive(Clone, Default)]
pub(crate) struct Counsel {
    notebook: Notebook,
    commit: Arc<CommitWishes>,
    unanswered: Arc<Mutex<Option<Error>>>,
}

/// What the library asks about the commit that is made next.
#[derive(Default)]
struct CommitWishes {
    refresh: AtomicBool,
    tree_apart: AtomicBool,
}

impl Counsel {
    pub(crate) fn notebook(&self) -> &Notebook {
        &self.notebook
    }

    /// Whether the commit that is made next must have an update path, and whether its Welcome goes without the tree.
    pub(crate) fn set_wishes(&self, refresh: bool, tree_apart: bool) {
        self.commit.refresh.store(refresh, Ordering::Relaxed);
        self.commit.tree_apart.store(tree_apart, Ordering::Relaxed);
    }

    /// The question that has been left open since the last time. A committer drops a cached proposal that it may not
    /// commit, and with it the error that says why: for a question without an answer that would be a "no".
    pub(crate) fn take_unanswered(&self) -> Option<Error> {
        self.unanswered.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn heed<T>(&self, answer: Result<T, Error>) -> Result<T, Verdict> {
        answer.map_err(|error| {
            if error.class == ErrorClass::UndecidedTrust {
                let mut unanswered = self.unanswered.lock().unwrap_or_else(PoisonError::into_inner);
                unanswered.get_or_insert_with(|| error.clone());
            }
            Verdict(error)
        })
    }

    fn require(&self, point: DecisionPoint, fact: Fact) -> Result<(), Verdict> {
        self.heed(self.notebook.require(point, fact))
    }

    fn consult(&self, point: DecisionPoint, fact: Fact) -> Result<bool, Verdict> {
        self.heed(self.notebook.consult(point, fact))
    }
}

/// The credential that a leaf shows.
pub(crate) fn credential(identity: &SigningIdentity) -> Result<Credential, Error> {
    let basic = identity.credential.as_basic().ok_or_else(|| Error::bad_request("not a basic credential"))?;
    Credential::from_bytes(basic.identifier())
}

fn shown(identity: &SigningIdentity) -> Result<Credential, Verdict> {
    credential(identity).map_err(Verdict)
}

/// The name of the device that a leaf shows, and nothing else of the credential: `Credential::to_bytes` writes it first.
/// Anything that does not begin so is read as a whole.
fn shown_name(identity: &SigningIdentity) -> Result<Vec<u8>, Verdict> {
    let basic = identity.credential.as_basic();
    let name = basic.and_then(|basic| content(basic.identifier()).strip_prefix(br#"{"device":""#)).and_then(|rest| {
        let end = rest.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
        (rest[end] == b'"').then(|| rest[..end].to_vec())
    });
    match name {
        Some(name) => Ok(name),
        None => Ok(shown(identity)?.device.to_string().into_bytes()),
    }
}

/// The device whose leaf this is, without a look at the rest of the credential: for members, who have been validated.
pub(crate) fn member_name(identity: &SigningIdentity) -> Result<DeviceId, Error> {
    let name = shown_name(identity).map_err(|Verdict(error)| error)?;
    String::from_utf8_lossy(&name).parse().map_err(Error::bad_request)
}

/// The name of a group whose id the library holds as bytes.
pub(crate) fn group_name(id: &[u8]) -> GroupId {
    GroupId(String::from_utf8_lossy(id).into_owned())
}

/// The application's side of credentials. Members are told apart by device, so that two devices of one user can be in
/// one group.
#[derive(Clone)]
pub(crate) struct Judge {
    company: Company,
    counsel: Counsel,
    device: DeviceId,
    device_key: SignaturePublicKey,
}

impl Judge {
    pub(crate) fn new(company: Company, counsel: &Counsel, device: &DeviceId, device_key: &SignaturePublicKey) -> Self {
        Self { company, counsel: counsel.clone(), device: device.clone(), device_key: device_key.clone() }
    }

    /// Asks about a credential, unless it is this device's own.
    fn vouch(&self, point: DecisionPoint, identity: &SigningIdentity) -> Result<(), Verdict> {
        if !self.counsel.notebook.listens() {
            return Ok(());
        }
        let Credential { device, .. } = shown(identity)?;
        if device == self.device && identity.signature_key == self.device_key {
            return Ok(());
        }
        self.counsel.require(point, fact(identity, None)?)
    }
}

fn fact(identity: &SigningIdentity, previous: Option<&Credential>) -> Result<Fact, Verdict> {
    let credential = shown(identity)?;
    let previous = previous.map(|previous| &previous.account_key).filter(|key| **key != credential.account_key);
    Ok(Fact::Identity {
        identity: credential.identity(&identity.signature_key),
        previous: previous.cloned(),
        device: credential.device,
    })
}

impl IdentityProvider for Judge {
    type Error = Verdict;

    fn validate_member(
        &self,
        signing_identity: &SigningIdentity,
        _timestamp: Option<MlsTime>,
        _context: MemberValidationContext<'_>,
    ) -> Result<(), Verdict> {
        self.vouch(VALIDATE_MEMBER, signing_identity)
    }

    fn validate_external_sender(
        &self,
        signing_identity: &SigningIdentity,
        _timestamp: Option<MlsTime>,
        _extensions: Option<&ExtensionList>,
    ) -> Result<(), Verdict> {
        self.vouch(VALIDATE_EXTERNAL_SENDER, signing_identity)
    }

    fn identity(&self, signing_identity: &SigningIdentity, _extensions: &ExtensionList) -> Result<Vec<u8>, Verdict> {
        if self.counsel.notebook.listens() {
            Ok(shown(signing_identity)?.device.to_string().into_bytes())
        } else {
            shown_name(signing_identity)
        }
    }

    /// A leaf that stays as it is succeeds itself; anything else is for the application to say.
    fn valid_successor(
        &self,
        predecessor: &SigningIdentity,
        successor: &SigningIdentity,
        _extensions: &ExtensionList,
    ) -> Result<bool, Verdict> {
        if predecessor == successor || !self.counsel.notebook.listens() {
            return Ok(true);
        }
        self.counsel.consult(VALID_SUCCESSOR, fact(successor, Some(&shown(predecessor)?))?)
    }

    fn supported_types(&self) -> Vec<CredentialType> {
        match self.company {
            Company::Own => vec![CredentialType::BASIC],
            // It never shows an X.509 credential, and reads none: a group may require that leaves list it.
            Company::Mixed => vec![CredentialType::BASIC, CredentialType::X509],
        }
    }
}

/// The application's side of commits. Everything but the question who may add and remove whom is the library's default.
#[derive(Clone)]
pub(crate) struct Rules {
    counsel: Counsel,
}

impl Rules {
    pub(crate) fn new(counsel: &Counsel) -> Self {
        Self { counsel: counsel.clone() }
    }

    /// Whether a proposal stays. The library's rule: what must not be is an error, except that a committer leaves out what
    /// others have proposed, since it could never commit otherwise.
    fn keeps(&self, direction: CommitDirection, by_reference: bool, fact: Fact) -> Result<bool, Verdict> {
        if direction == CommitDirection::Send && by_reference {
            self.counsel.consult(FILTER_PROPOSALS, fact)
        } else {
            self.counsel.require(FILTER_PROPOSALS, fact).map(|()| true)
        }
    }
}

impl MlsRules for Rules {
    type Error = Verdict;

    fn filter_proposals(
        &self,
        direction: CommitDirection,
        source: CommitSource,
        current_roster: &Roster<'_>,
        current_context: &GroupContext,
        mut proposals: ProposalBundle,
    ) -> Result<ProposalBundle, Verdict> {
        if !self.counsel.notebook.listens() {
            return Ok(proposals);
        }
        let group = group_name(&current_context.group_id);
        let by = match &source {
            CommitSource::ExistingMember(member) => shown(&member.signing_identity)?.device,
            CommitSource::NewMember(identity) => {
                let joiner = shown(identity)?.device;
                let fact =
                    Fact::Add { group: group.clone(), device: joiner.clone(), by: joiner.clone(), authenticated: true };
                self.counsel.require(FILTER_PROPOSALS, fact)?;
                joiner
            }
        };
        proposals.retain_by_type::<AddProposal, _, _>(|add| {
            let device = shown(add.proposal.signing_identity())?.device;
            // What a stranger proposed for itself it answers for itself, whoever commits it.
            let by = if add.sender == Sender::NewMemberProposal { device.clone() } else { by.clone() };
            let fact = Fact::Add { group: group.clone(), device, by, authenticated: true };
            self.keeps(direction, add.is_by_reference(), fact)
        })?;
        proposals.retain_by_type::<RemoveProposal, _, _>(|remove| {
            // A leaf that nobody has is the library's to refuse: it does so right after.
            let Ok(member) = current_roster.member_with_index(remove.proposal.to_remove()) else { return Ok(true) };
            let device = shown(&member.signing_identity)?.device;
            let fact = Fact::Remove { group: group.clone(), device, by: by.clone(), authenticated: true };
            self.keeps(direction, remove.is_by_reference(), fact)
        })?;
        Ok(proposals)
    }

    fn commit_options(
        &self,
        _new_roster: &Roster<'_>,
        _new_context: &GroupContext,
        _proposals: &ProposalBundle,
    ) -> Result<CommitOptions, Verdict> {
        let CommitWishes { refresh, tree_apart } = &*self.counsel.commit;
        Ok(CommitOptions::new()
            .with_path_required(refresh.load(Ordering::Relaxed))
            .with_ratchet_tree_extension(!tree_apart.load(Ordering::Relaxed)))
    }

    fn encryption_options(
        &self,
        _current_roster: &Roster<'_>,
        _current_context: &GroupContext,
    ) -> Result<EncryptionOptions, Verdict> {
        Ok(EncryptionOptions::default())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use e2esm_account::Account;
    use mls_rs::identity::basic::BasicCredential;

    use super::*;

    fn leaf(credential: Vec<u8>) -> SigningIdentity {
        SigningIdentity::new(BasicCredential::new(credential).into_credential(), b"key".to_vec().into())
    }

    #[test]
    fn the_name_that_is_read_alone_is_the_name_that_is_read_with_the_rest() {
        for device in ["bob/phone", "b\u{f6}b/\u{1f4f1}", "\"bob\"/phone\\", "bob/\n"] {
            let device: DeviceId = device.parse().unwrap();
            let credential = Credential::of(&Account::new(&device, b"key"));
            for written in [credential.to_bytes(), credential.to_client_id()] {
                let leaf = leaf(written.unwrap());
                assert_eq!(shown_name(&leaf).unwrap(), device.to_string().into_bytes());
                assert_eq!(member_name(&leaf).unwrap(), device);
            }
        }
        for junk in ["", "{}", r#"{"device":"#, r#"{"device":"bob/phone"#, r#"{"account_key":"","device":"bob/phone"}"#]
        {
            shown_name(&leaf(junk.into())).unwrap_err();
        }
    }
}
