//! The operations by direct calls into openmls: the library's own provider over RustCrypto, with its own storage in memory.
//! Which calls these are, and with which options, is the adapter's choice (`adapters/openmls`).

use anyhow::{Context, Result, ensure};
use e2esm::bench::cell::{Operation, group, member};
use e2esm_account::{Account, Credential};
use openmls::group::{GroupId, MlsGroup, MlsGroupCreateConfig, MlsGroupJoinConfig, StagedWelcome};
use openmls::prelude::tls_codec::{DeserializeBytes, Serialize as _};
use openmls::prelude::{
    BasicCredential, CredentialWithKey, KeyPackage, LeafNodeParameters, Lifetime, MlsMessageBodyIn, MlsMessageIn,
    MlsMessageOut, ProcessedMessageContent, ProtocolMessage,
};
use openmls_basic_credential::SignatureKeyPair;
use openmls_rust_crypto::OpenMlsRustCrypto;
use openmls_traits::OpenMlsProvider;
use openmls_traits::types::Ciphersuite;

use crate::{Direct, PLAINTEXT};

const SUITE: Ciphersuite = Ciphersuite::MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519;

struct Client {
    provider: OpenMlsRustCrypto,
    signer: SignatureKeyPair,
    credential: CredentialWithKey,
}

impl Client {
    fn new(leaf: u32) -> Result<Self> {
        let signer = SignatureKeyPair::new(SUITE.signature_algorithm())?;
        let content = Credential::of(&Account::new(&member(leaf), signer.public())).to_bytes()?;
        let credential = BasicCredential::new(content).into();
        let credential = CredentialWithKey { credential, signature_key: signer.public().into() };
        Ok(Self { provider: OpenMlsRustCrypto::default(), signer, credential })
    }

    fn key_package(&self) -> Result<KeyPackage> {
        let bundle = KeyPackage::builder().key_package_lifetime(Lifetime::init(0, u64::MAX)).build(
            SUITE,
            &self.provider,
            &self.signer,
            self.credential.clone(),
        )?;
        Ok(bundle.key_package().clone())
    }

    /// Goes on with the group as it is in storage, as after a restart.
    fn load(&self) -> Result<MlsGroup> {
        let group = MlsGroup::load(self.provider.storage(), &GroupId::from_slice(group().0.as_bytes()))?;
        group.context("the group is in storage")
    }
}

/// Two live members of a group of throw-aways, and what the first has sent.
pub(crate) struct OpenMls {
    operation: Operation,
    actor: Client,
    actor_group: MlsGroup,
    peer: Client,
    peer_group: MlsGroup,
    sent: Vec<u8>,
}

impl OpenMls {
    pub(crate) fn ready(operation: Operation, size: u32) -> Result<Self> {
        let (actor, peer) = (Client::new(0)?, Client::new(size - 1)?);
        let config = MlsGroupCreateConfig::builder().ciphersuite(SUITE).use_ratchet_tree_extension(true).build();
        let id = GroupId::from_slice(group().0.as_bytes());
        let mut created =
            MlsGroup::new_with_group_id(&actor.provider, &actor.signer, &config, id, actor.credential.clone())?;
        let others = (1..size - 1).map(|leaf| Client::new(leaf)?.key_package());
        let mut added = others.collect::<Result<Vec<_>>>()?;
        added.push(peer.key_package()?);
        let (_, welcome, _) = created.add_members_without_update(&actor.provider, &actor.signer, &added)?;
        created.merge_pending_commit(&actor.provider)?;

        let MlsMessageBodyIn::Welcome(welcome) = parse(&to_bytes(&welcome)?)? else { anyhow::bail!("not a Welcome") };
        let config = MlsGroupJoinConfig::builder().use_ratchet_tree_extension(true).build();
        let peer_group =
            StagedWelcome::build_from_welcome(&peer.provider, &config, welcome)?.build()?.into_group(&peer.provider)?;
        let actor_group = actor.load()?;
        let mut ready = Self { operation, actor, actor_group, peer, peer_group, sent: Vec::new() };
        if operation == Operation::Send {
            // `send` is a later message, not the first one of its epoch.
            ready.send()?;
            ready.check()?;
            ready.actor_group = ready.actor.load()?;
        }
        Ok(ready)
    }

    fn send(&mut self) -> Result<()> {
        let Self { actor: Client { provider, signer, .. }, actor_group, sent, .. } = self;
        *sent = to_bytes(&actor_group.create_message(provider, signer, PLAINTEXT)?)?;
        Ok(())
    }

    fn update(&mut self) -> Result<()> {
        let Self { actor: Client { provider, signer, .. }, actor_group, sent, .. } = self;
        let (commit, _, _) = actor_group
            .commit_builder()
            .force_self_update(true)
            .leaf_node_parameters(LeafNodeParameters::default())
            .load_psks(provider.storage())?
            .create_group_info(false)
            .build(provider.rand(), provider.crypto(), signer, |_| true)?
            .stage_commit(provider)?
            .into_messages();
        *sent = to_bytes(&commit)?;
        actor_group.merge_pending_commit(provider)?;
        Ok(())
    }
}

impl Direct for OpenMls {
    fn act(&mut self) -> Result<()> {
        match self.operation {
            Operation::Send => self.send(),
            Operation::Update => self.update(),
            other => anyhow::bail!("{other} is not compared"),
        }
    }

    fn bytes(&self) -> u64 {
        self.sent.len() as u64
    }

    fn check(&mut self) -> Result<()> {
        let Self { actor_group, peer: Client { provider, .. }, peer_group, sent, .. } = self;
        let MlsMessageBodyIn::PrivateMessage(message) = parse(sent)? else { anyhow::bail!("not a PrivateMessage") };
        match peer_group.process_message(provider, ProtocolMessage::from(message))?.into_content() {
            ProcessedMessageContent::ApplicationMessage(message) => {
                ensure!(message.into_bytes() == PLAINTEXT, "the peer has read something else");
            }
            ProcessedMessageContent::StagedCommitMessage(commit) => {
                peer_group.merge_staged_commit(provider, *commit)?;
            }
            _ => anyhow::bail!("the peer has taken it for something else"),
        }
        let same = peer_group.epoch_authenticator().as_slice() == actor_group.epoch_authenticator().as_slice();
        ensure!(same, "epoch authenticators differ");
        Ok(())
    }
}

fn to_bytes(message: &MlsMessageOut) -> Result<Vec<u8>> {
    Ok(message.tls_serialize_detached()?)
}

fn parse(bytes: &[u8]) -> Result<MlsMessageBodyIn> {
    Ok(MlsMessageIn::tls_deserialize_exact_bytes(bytes)?.extract())
}
