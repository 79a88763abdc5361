//! mls-rs over RustCrypto, with handshake messages as PublicMessage: its default.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use e2esm_adapter::{MlsKeyPackage, MlsStart};
use mls_rs::client_builder::{BaseConfig, WithCryptoProvider, WithIdentityProvider, WithMlsRules};
use mls_rs::crypto::SignatureSecretKey;
use mls_rs::group::{ExportedTree, GroupContext, Roster};
use mls_rs::identity::SigningIdentity;
use mls_rs::identity::basic::{BasicCredential, BasicIdentityProvider};
use mls_rs::mls_rules::{CommitDirection, CommitOptions, CommitSource, EncryptionOptions, ProposalBundle};
use mls_rs::storage_provider::in_memory::InMemoryKeyPackageStorage;
use mls_rs::time::MlsTime;
use mls_rs::{CipherSuite, CipherSuiteProvider, Client, CryptoProvider, Group, MlsMessage, MlsRules};
use mls_rs_crypto_rustcrypto::RustCryptoProvider;

use super::{Changes, Committed, Member, Proposal};

const SUITE: CipherSuite = CipherSuite::CURVE25519_AES128;

/// Key packages are valid for as long as the library can count from any present: it adds this to a clock of 64 bits.
const LIFETIME: Duration = Duration::from_secs(u64::MAX / 2);

/// ProtocolVersion mls10 and WireFormat mls_key_package.
const KEY_PACKAGE_HEADER: [u8; 4] = [0, 1, 0, 5];

/// The length in bytes of an Ed25519 seed, which is the first half of the library's private key.
const SEED: usize = 32;

type Settings = WithIdentityProvider<
    BasicIdentityProvider,
    WithMlsRules<Wishes, WithCryptoProvider<RustCryptoProvider, BaseConfig>>,
>;

/// One member.
pub struct MlsRsMember {
    name: &'static str,
    secret: SignatureSecretKey,
    key_packages: InMemoryKeyPackageStorage,
    wishes: Wishes,
    client: Client<Settings>,
    group: Option<Group<Settings>>,
    /// The commit that waits to come back; of an external commit, which is in force at once, its bytes alone matter.
    pending: Option<Vec<u8>>,
}

impl MlsRsMember {
    /// Somebody of this name, in no group yet.
    ///
    /// # Errors
    /// The library's.
    pub fn new(name: &'static str) -> Result<Self> {
        let suite = RustCryptoProvider::new().cipher_suite_provider(SUITE).context("the suite is missing")?;
        let (secret, public) = suite.signature_key_generate()?;
        let identity = SigningIdentity::new(BasicCredential::new(name.as_bytes().to_vec()).into_credential(), public);
        let key_packages = InMemoryKeyPackageStorage::new();
        let wishes = Wishes::default();
        let client = Client::builder()
            .key_package_repo(key_packages.clone())
            .key_package_lifetime(LIFETIME)
            .crypto_provider(RustCryptoProvider::new())
            .mls_rules(wishes.clone())
            .identity_provider(BasicIdentityProvider::new())
            .signing_identity(identity, secret.clone(), SUITE)
            .build();
        Ok(Self { name, secret, key_packages, wishes, client, group: None, pending: None })
    }

    fn group(&mut self) -> Result<&mut Group<Settings>> {
        let name = self.name;
        self.group.as_mut().with_context(|| format!("{name} is in no group"))
    }

    /// A GroupInfo for somebody who joins by an external commit, with the tree.
    ///
    /// # Errors
    /// The library's.
    pub fn group_info(&mut self) -> Result<Vec<u8>> {
        Ok(self.group()?.group_info_message_allowing_ext_commit(true)?.to_bytes()?)
    }

    /// Joins by an external commit, which comes back.
    ///
    /// # Errors
    /// The library's.
    pub fn join_externally(&mut self, group_info: &[u8], authenticated_data: &str) -> Result<Vec<u8>> {
        let builder = self.client.external_commit_builder()?.with_authenticated_data(authenticated_data.into());
        let (group, commit) = builder.build(MlsMessage::from_bytes(group_info)?)?;
        self.group = Some(group);
        let commit = commit.to_bytes()?;
        self.pending = Some(commit.clone());
        Ok(commit)
    }

    /// A proposal of somebody outside to be added (RFC 9420, section 12.1.8).
    ///
    /// # Errors
    /// The library's, and if this is a member.
    pub fn propose_itself(&mut self, group_info: &[u8], authenticated_data: &str) -> Result<Vec<u8>> {
        if self.group.is_some() {
            bail!("{} is in a group", self.name);
        }
        let proposal = self.client.external_add_proposal(
            &MlsMessage::from_bytes(group_info)?,
            None,
            authenticated_data.into(),
            Default::default(),
            Default::default(),
            Some(MlsTime::from(0)),
        )?;
        Ok(proposal.to_bytes()?)
    }
}

impl Member for MlsRsMember {
    fn key_package(&mut self) -> Result<Vec<u8>> {
        let message =
            self.client.generate_key_package_message(Default::default(), Default::default(), Some(MlsTime::from(0)))?;
        Ok(message.to_bytes()?)
    }

    fn start(&self) -> Result<MlsStart> {
        let published = self.key_packages.key_packages().into_iter().map(|(_, data)| MlsKeyPackage {
            key_package: [&KEY_PACKAGE_HEADER, data.key_package_bytes.as_slice()].concat().into(),
            init_priv: data.init_key.to_vec().into(),
            encryption_priv: data.leaf_node_key.to_vec().into(),
        });
        let mut key_packages: Vec<_> = published.collect();
        key_packages.sort();
        let signature_priv = self.secret.as_bytes().get(..SEED).context("not an Ed25519 key")?.into();
        Ok(MlsStart { cipher_suite: SUITE.into(), signature_priv, key_packages, external_psks: Vec::new() })
    }

    fn create(&mut self, group: &str) -> Result<()> {
        let id = group.as_bytes().to_vec();
        let now = Some(MlsTime::from(0));
        self.group = Some(self.client.create_group_with_id(id, Default::default(), Default::default(), now)?);
        Ok(())
    }

    fn join(&mut self, welcome: &[u8], ratchet_tree: Option<&[u8]>) -> Result<()> {
        let tree = ratchet_tree.map(ExportedTree::from_bytes).transpose()?;
        let (group, _) = self.client.join_group(tree, &MlsMessage::from_bytes(welcome)?, None)?;
        self.group = Some(group);
        Ok(())
    }

    fn send(&mut self, text: &str, authenticated_data: &str) -> Result<Vec<u8>> {
        let message = self.group()?.encrypt_application_message(text.as_bytes(), authenticated_data.into())?;
        Ok(message.to_bytes()?)
    }

    fn propose(&mut self, proposal: &Proposal, authenticated_data: &str) -> Result<Vec<u8>> {
        let (group, data) = (self.group()?, authenticated_data.into());
        let message = match proposal {
            Proposal::Add(key_package) => group.propose_add(MlsMessage::from_bytes(key_package)?, data)?,
            Proposal::Update => group.propose_update(data)?,
            Proposal::Remove(leaf) => group.propose_remove(*leaf, data)?,
        };
        Ok(message.to_bytes()?)
    }

    fn commit(&mut self, changes: &Changes, authenticated_data: &str) -> Result<Committed> {
        self.wishes.set(changes);
        let mut builder = self.group()?.commit_builder().authenticated_data(authenticated_data.into());
        for key_package in &changes.add {
            builder = builder.add_member(MlsMessage::from_bytes(key_package)?)?;
        }
        for leaf in &changes.remove {
            builder = builder.remove_member(*leaf)?;
        }
        let output = builder.build()?;
        let commit = output.commit_message.to_bytes()?;
        let ratchet_tree = match &output.ratchet_tree {
            Some(tree) if changes.tree_apart => Some(tree.to_bytes()?),
            _ => None,
        };
        self.pending = Some(commit.clone());
        let welcome = output.welcome_messages.first().map(MlsMessage::to_bytes).transpose()?;
        Ok(Committed { commit, welcome, ratchet_tree })
    }

    fn epoch_authenticator(&mut self) -> Result<Vec<u8>> {
        Ok(self.group()?.epoch_authenticator()?.as_bytes().to_vec())
    }

    fn receive(&mut self, message: &[u8]) -> Result<()> {
        if self.pending.as_deref() == Some(message) {
            self.pending = None;
            if self.group()?.has_pending_commit() {
                self.group()?.apply_pending_commit()?;
            }
            return Ok(());
        }
        self.group()?.process_incoming_message(MlsMessage::from_bytes(message)?)?;
        Ok(())
    }
}

/// What the library asks about a commit while it makes it.
#[derive(Clone, Default)]
struct Wishes(Arc<Mutex<CommitOptions>>);

impl Wishes {
    fn set(&self, changes: &Changes) {
        let options =
            CommitOptions::new().with_path_required(changes.path).with_ratchet_tree_extension(!changes.tree_apart);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = options;
    }
}

/// The library's defaults in everything else.
impl MlsRules for Wishes {
    type Error = Infallible;

    fn filter_proposals(
        &self,
        _direction: CommitDirection,
        _source: CommitSource,
        _current_roster: &Roster<'_>,
        _current_context: &GroupContext,
        proposals: ProposalBundle,
    ) -> Result<ProposalBundle, Infallible> {
        Ok(proposals)
    }

    fn commit_options(
        &self,
        _new_roster: &Roster<'_>,
        _new_context: &GroupContext,
        _proposals: &ProposalBundle,
    ) -> Result<CommitOptions, Infallible> {
        Ok(*self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn encryption_options(
        &self,
        _current_roster: &Roster<'_>,
        _current_context: &GroupContext,
    ) -> Result<EncryptionOptions, Infallible> {
        Ok(EncryptionOptions::default())
    }
}
