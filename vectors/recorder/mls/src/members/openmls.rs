//! openmls over RustCrypto, with handshake messages as PrivateMessage: its default.

use anyhow::{Context, Result, anyhow, bail};
use e2esm_adapter::{Bytes, MlsKeyPackage, MlsStart};
use openmls::group::{GroupId, MlsGroup, MlsGroupCreateConfig, MlsGroupJoinConfig, StagedWelcome};
use openmls::key_packages::Lifetime;
use openmls::prelude::tls_codec::{DeserializeBytes, Serialize as _};
use openmls::prelude::{
    BasicCredential, Ciphersuite, CredentialWithKey, HpkePrivateKey, KeyPackage, KeyPackageBundle, LeafNodeIndex,
    LeafNodeParameters, MlsMessageBodyIn, MlsMessageIn, MlsMessageOut, ProcessedMessageContent, ProtocolVersion,
    RatchetTreeIn,
};
use openmls_basic_credential::SignatureKeyPair;
use openmls_rust_crypto::OpenMlsRustCrypto;
use openmls_traits::OpenMlsProvider;
use serde::Deserialize;

use super::{Changes, Committed, Member, Proposal};

const SUITE: Ciphersuite = Ciphersuite::MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519;

/// Never over: recorded vectors outlive the library's default of three months.
const FOR_EVER: (u64, u64) = (0, u64::MAX);

/// A [`KeyPackageBundle`] as the library writes it: the only way to its private keys.
#[derive(Deserialize)]
struct Written {
    private_init_key: HpkePrivateKey,
    private_encryption_key: WrittenKey,
}

#[derive(Deserialize)]
struct WrittenKey {
    key: HpkePrivateKey,
}

/// What of a [`SignatureKeyPair`], as the library writes it, is not public.
#[derive(Deserialize)]
struct WrittenSigner {
    private: Vec<u8>,
}

/// One member.
pub struct OpenMlsMember {
    name: &'static str,
    provider: OpenMlsRustCrypto,
    signer: SignatureKeyPair,
    published: Vec<MlsKeyPackage>,
    group: Option<MlsGroup>,
    /// The commit that waits to come back.
    pending: Option<Vec<u8>>,
}

impl OpenMlsMember {
    /// Somebody of this name, in no group yet.
    ///
    /// # Errors
    /// The library's.
    pub fn new(name: &'static str) -> Result<Self> {
        let signer = SignatureKeyPair::new(SUITE.signature_algorithm()).map_err(|error| anyhow!("{error:?}"))?;
        let provider = OpenMlsRustCrypto::default();
        Ok(Self { name, provider, signer, published: Vec::new(), group: None, pending: None })
    }

    fn credential(&self) -> CredentialWithKey {
        CredentialWithKey {
            credential: BasicCredential::new(self.name.as_bytes().to_vec()).into(),
            signature_key: self.signer.public().into(),
        }
    }

    fn open(&self, key_package: &[u8]) -> Result<KeyPackage> {
        let MlsMessageBodyIn::KeyPackage(received) = parse(key_package)? else { bail!("not a key package") };
        Ok(received.validate(self.provider.crypto(), ProtocolVersion::Mls10)?)
    }
}

/// The group of `member`, and what works on it: fields of their own, so that both can be borrowed.
fn parts(member: &mut OpenMlsMember) -> Result<(&mut MlsGroup, &OpenMlsRustCrypto, &SignatureKeyPair)> {
    let OpenMlsMember { name, provider, signer, group, .. } = member;
    Ok((group.as_mut().with_context(|| format!("{name} is in no group"))?, provider, signer))
}

fn join_config(changes: &Changes) -> MlsGroupJoinConfig {
    MlsGroupJoinConfig::builder().use_ratchet_tree_extension(!changes.tree_apart).build()
}

fn parse(bytes: &[u8]) -> Result<MlsMessageBodyIn> {
    Ok(MlsMessageIn::tls_deserialize_exact_bytes(bytes)?.extract())
}

fn to_bytes(message: &MlsMessageOut) -> Result<Vec<u8>> {
    Ok(message.tls_serialize_detached()?)
}

impl Member for OpenMlsMember {
    fn key_package(&mut self) -> Result<Vec<u8>> {
        let bundle: KeyPackageBundle = KeyPackage::builder()
            .key_package_lifetime(Lifetime::init(FOR_EVER.0, FOR_EVER.1))
            .build(SUITE, &self.provider, &self.signer, self.credential())?;
        let written: Written = serde_json::from_value(serde_json::to_value(&bundle)?)?;
        let key_package = to_bytes(&MlsMessageOut::from(bundle.into_key_package()))?;
        self.published.push(MlsKeyPackage {
            key_package: key_package.clone().into(),
            init_priv: Bytes::from(&*written.private_init_key),
            encryption_priv: Bytes::from(&*written.private_encryption_key.key),
        });
        Ok(key_package)
    }

    fn start(&self) -> Result<MlsStart> {
        let mut key_packages = self.published.clone();
        key_packages.sort();
        let signer: WrittenSigner = serde_json::from_value(serde_json::to_value(&self.signer)?)?;
        let signature_priv = signer.private.into();
        Ok(MlsStart { cipher_suite: SUITE.into(), signature_priv, key_packages, external_psks: Vec::new() })
    }

    fn create(&mut self, group: &str) -> Result<()> {
        let config = MlsGroupCreateConfig::builder()
            .ciphersuite(SUITE)
            .lifetime(Lifetime::init(FOR_EVER.0, FOR_EVER.1))
            .use_ratchet_tree_extension(true)
            .build();
        let id = GroupId::from_slice(group.as_bytes());
        let credential = self.credential();
        self.group = Some(MlsGroup::new_with_group_id(&self.provider, &self.signer, &config, id, credential)?);
        Ok(())
    }

    fn join(&mut self, welcome: &[u8], ratchet_tree: Option<&[u8]>) -> Result<()> {
        let MlsMessageBodyIn::Welcome(welcome) = parse(welcome)? else { bail!("not a Welcome") };
        let builder = StagedWelcome::build_from_welcome(&self.provider, &join_config(&Changes::default()), welcome)?;
        let builder = match ratchet_tree {
            Some(tree) => builder.with_ratchet_tree(RatchetTreeIn::tls_deserialize_exact_bytes(tree)?),
            None => builder,
        };
        self.group = Some(builder.build()?.into_group(&self.provider)?);
        Ok(())
    }

    fn send(&mut self, text: &str, authenticated_data: &str) -> Result<Vec<u8>> {
        let (group, provider, signer) = parts(self)?;
        group.set_aad(authenticated_data.into());
        to_bytes(&group.create_message(provider, signer, text.as_bytes())?)
    }

    fn propose(&mut self, proposal: &Proposal, authenticated_data: &str) -> Result<Vec<u8>> {
        let added = match proposal {
            Proposal::Add(key_package) => Some(self.open(key_package)?),
            Proposal::Update | Proposal::Remove(_) => None,
        };
        let (group, provider, signer) = parts(self)?;
        group.set_aad(authenticated_data.into());
        let (message, _) = match (proposal, added) {
            (Proposal::Remove(leaf), _) => group.propose_remove_member(provider, signer, LeafNodeIndex::new(*leaf))?,
            (_, Some(key_package)) => group.propose_add_member(provider, signer, &key_package)?,
            _ => group.propose_self_update(provider, signer, LeafNodeParameters::default())?,
        };
        to_bytes(&message)
    }

    fn commit(&mut self, changes: &Changes, authenticated_data: &str) -> Result<Committed> {
        let add = changes.add.iter().map(|key_package| self.open(key_package)).collect::<Result<Vec<_>>>()?;
        let (group, provider, signer) = parts(self)?;
        group.set_configuration(provider.storage(), &join_config(changes))?;
        group.set_aad(authenticated_data.into());
        let bundle = group
            .commit_builder()
            .propose_adds(add)
            .propose_removals(changes.remove.iter().map(|leaf| LeafNodeIndex::new(*leaf)))
            .force_self_update(changes.path)
            .load_psks(provider.storage())?
            .create_group_info(false)
            .build(provider.rand(), provider.crypto(), signer, |_| true)?
            .stage_commit(provider)?;
        let (commit, welcome, _) = bundle.into_messages();
        let commit = to_bytes(&commit)?;
        let welcome = welcome.as_ref().map(to_bytes).transpose()?;
        self.pending = Some(commit.clone());
        // The tree after a commit is there only once that is in force.
        Ok(Committed { commit, welcome, ratchet_tree: None })
    }

    fn epoch_authenticator(&mut self) -> Result<Vec<u8>> {
        Ok(parts(self)?.0.epoch_authenticator().as_slice().to_vec())
    }

    fn receive(&mut self, message: &[u8]) -> Result<()> {
        let own = self.pending.as_deref() == Some(message);
        if own {
            self.pending = None;
        }
        let (group, provider, _) = parts(self)?;
        if own {
            return Ok(group.merge_pending_commit(provider)?);
        }
        let message = MlsMessageIn::tls_deserialize_exact_bytes(message)?.try_into_protocol_message()?;
        match group.process_message(provider, message)?.into_content() {
            ProcessedMessageContent::StagedCommitMessage(staged) => group.merge_staged_commit(provider, *staged)?,
            ProcessedMessageContent::ProposalMessage(proposal)
            | ProcessedMessageContent::ExternalJoinProposalMessage(proposal) => {
                group.store_pending_proposal(provider.storage(), *proposal)?
            }
            _ => {}
        }
        Ok(())
    }
}
