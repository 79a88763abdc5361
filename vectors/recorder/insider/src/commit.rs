//! A commit of the library's, taken apart: changed in one place, and then everything that depends on that place computed
//! anew (RFC 9420, sections 7.5, 7.6, 8 and 12.4.2). What the library itself refuses to build is reached in this way.

use anyhow::{Context, Result, ensure};
use mls_rs::CipherSuiteProvider;
use mls_rs::crypto::SignatureSecretKey;

use crate::bent::Seen;
use crate::epoch::{Epoch, Schedule, Suite, crypto, derive, nothing, psk_secret, seal, signed_leaf};
use crate::member::Member;
use crate::tree::Tree;
use crate::wire::{
    AuthData, Commit, Content, Extension, FramedContent, GroupContext, LeafNode, LeafNodeSource, PUBLIC_MESSAGE,
    Proposal, ProposalOrRef, PublicMessage, Sender, UpdatePath, Wire, content, message,
};

/// A commit in the making.
pub(crate) struct Making<'a> {
    epoch: &'a Epoch,
    /// All but the commit.
    pub(crate) frame: FramedContent,
    /// What is committed.
    pub(crate) proposals: Vec<ProposalOrRef>,
    /// The committer's new keys, if there are any.
    pub(crate) path: Option<UpdatePath>,
    /// The path secrets of the path's nodes.
    pub(crate) path_secrets: Vec<Vec<u8>>,
    /// The commit secret, where it is not what follows from the last path secret.
    pub(crate) commit_secret: Option<Vec<u8>>,
    /// The committer's new signature key, with which the leaf is signed.
    pub(crate) leaf_signer: SignatureSecretKey,
    /// The key with which the commit is signed.
    pub(crate) signer: SignatureSecretKey,
    /// The init secret from which the key schedule goes on.
    pub(crate) init_secret: Vec<u8>,
    // What follows from all this.
    tree: Tree,
    added: Vec<u32>,
    committer: u32,
    extensions: Vec<Extension>,
    psk_secret: Vec<u8>,
}

impl<'a> Making<'a> {
    /// Takes a PublicMessage with a commit of `committer`'s apart. Everything that depends on the commit is computed once, and
    /// has to come out as the library has it.
    pub(crate) fn of(epoch: &'a Epoch, committer: &Member, packet: &[u8]) -> Result<Self> {
        let PublicMessage { content: mut frame, auth, .. } = content(PUBLIC_MESSAGE, packet)?;
        let commit = match &mut frame.content {
            Content::Commit(commit) => std::mem::replace(commit, Commit { proposals: Vec::new(), path: None }),
            _ => anyhow::bail!("not a commit"),
        };
        let path_secrets = path_secrets(epoch, committer, commit.path.as_ref())?;
        let mut making = Self {
            epoch,
            frame,
            proposals: commit.proposals,
            path: commit.path,
            path_secrets,
            commit_secret: None,
            leaf_signer: committer.signer.clone(),
            signer: committer.signer.clone(),
            init_secret: epoch.schedule.secret("init")?,
            tree: epoch.tree.clone(),
            added: Vec::new(),
            committer: 0,
            extensions: Vec::new(),
            psk_secret: Vec::new(),
        };
        making.init()?;
        making.apply()?;
        let again = making.authenticated(auth.signature)?;
        ensure!(again.auth.confirmation_tag == auth.confirmation_tag, "the confirmation tag comes out another");
        Ok(making)
    }

    /// The init secret that an external commit brings.
    fn init(&mut self) -> Result<()> {
        for proposal in &self.proposals {
            if let ProposalOrRef::Proposal(Proposal::ExternalInit(kem_output)) = proposal {
                self.init_secret = self.epoch.external_init(kem_output)?;
            }
        }
        Ok(())
    }

    /// Adds a proposal by value.
    pub(crate) fn propose(&mut self, proposal: Proposal) {
        self.proposals.push(ProposalOrRef::Proposal(proposal));
    }

    /// Adds a proposal by reference.
    pub(crate) fn refer(&mut self, reference: &[u8]) {
        self.proposals.push(ProposalOrRef::Reference(reference.to_vec()));
    }

    /// The committer's new leaf.
    pub(crate) fn leaf(&mut self) -> Result<&mut LeafNode> {
        Ok(&mut self.path.as_mut().context("there is no path")?.leaf_node)
    }

    /// The init secret from which a member's commit goes on.
    pub(crate) fn init_of_members(&mut self) -> Result<()> {
        self.init_secret = self.epoch.schedule.secret("init")?;
        Ok(())
    }

    /// The public key for external commits.
    pub(crate) fn external_key(&self) -> Result<mls_rs::crypto::HpkePublicKey> {
        Ok(self.epoch.external_key()?.1)
    }

    /// A path for the place that the leaf gets by the proposals as they are now: as many nodes as its filtered path has, with
    /// fresh secrets.
    pub(crate) fn fresh_path(&mut self) -> Result<()> {
        let suite = self.suite();
        self.apply()?;
        let nodes = self.tree.filtered_path(self.committer).len();
        let path = self.path.as_mut().context("there is no path")?;
        let mut secret = suite.random_bytes_vec(suite.kdf_extract_size()).map_err(crypto)?;
        self.path_secrets.clear();
        path.nodes.clear();
        for _ in 0..nodes {
            let (_, public) = suite.kem_derive(&derive(&suite, &secret, "node")?).map_err(crypto)?;
            path.nodes.push(crate::wire::UpdatePathNode {
                encryption_key: public.to_vec(),
                encrypted_path_secret: Vec::new(),
            });
            self.path_secrets.push(secret.clone());
            secret = derive(&suite, &secret, "path")?;
        }
        self.rebuild(|_| {})
    }

    /// The suite's operations.
    pub(crate) fn suite(&self) -> Suite {
        self.epoch.suite.clone()
    }

    /// The tree, the group's extensions and the pre-shared keys that follow from the proposals and the path, with a parent
    /// hash in the leaf that fits. Whatever does not make sense is passed over.
    fn apply(&mut self) -> Result<()> {
        let Self { epoch, tree, .. } = self;
        *tree = epoch.tree.clone();
        self.added.clear();
        self.extensions.clone_from(&epoch.context.extensions);
        let mut psks = Vec::new();
        let mut proposals = Vec::new();
        for proposal in &self.proposals {
            match proposal {
                ProposalOrRef::Proposal(proposal) => proposals.push((&self.frame.sender, proposal)),
                ProposalOrRef::Reference(reference) => {
                    proposals.extend(epoch.proposals.get(reference).map(|(sender, proposal)| (sender, proposal)));
                }
            }
        }
        for (sender, proposal) in &proposals {
            if let (Sender::Member(index), Proposal::Update(leaf)) = (sender, proposal) {
                tree.update(*index, leaf.clone());
            }
        }
        for (_, proposal) in &proposals {
            match proposal {
                Proposal::Remove(index) => tree.remove(*index),
                Proposal::GroupContextExtensions(extensions) => self.extensions.clone_from(extensions),
                Proposal::Psk(id) => psks.push((id.clone(), epoch.psk(id)?)),
                _ => {}
            }
        }
        for (_, proposal) in &proposals {
            if let Proposal::Add(key_package) = proposal {
                self.added.push(tree.add(key_package.leaf_node.clone()));
            }
        }
        self.psk_secret = psk_secret(&epoch.suite, &psks)?;
        self.committer = match self.frame.sender {
            Sender::Member(index) => index,
            _ => tree.vacancy(),
        };
        let Some(path) = &mut self.path else { return Ok(()) };
        // A leaf is needed there so that the path is one; its content is in no parent hash of its own path.
        tree.0[2 * self.committer as usize] = Some(crate::wire::Node::Leaf(path.leaf_node.clone()));
        let keys: Vec<_> = path.nodes.iter().map(|node| node.encryption_key.clone()).collect();
        let parent_hash = tree.set_path(&epoch.suite, self.committer, &keys)?;
        path.leaf_node.leaf_node_source = LeafNodeSource::Commit(parent_hash);
        tree.0[2 * self.committer as usize] = Some(crate::wire::Node::Leaf(path.leaf_node.clone()));
        Ok(())
    }

    /// Computes the path anew after a change to the proposals or to the path's keys: parent hash, leaf, and who the path
    /// secrets are encrypted to. `change` may do something to the leaf before it is signed.
    pub(crate) fn rebuild(&mut self, change: impl FnOnce(&mut LeafNode)) -> Result<()> {
        self.rebuild_signed(change, |_, _| {})
    }

    /// The same. `context` may change the group id and the place that the leaf's signature is over.
    pub(crate) fn rebuild_signed(
        &mut self,
        change: impl FnOnce(&mut LeafNode),
        context: impl FnOnce(&mut Vec<u8>, &mut u32),
    ) -> Result<()> {
        self.apply()?;
        let Some(path) = &mut self.path else { return Ok(()) };
        change(&mut path.leaf_node);
        let (mut group_id, mut index) = (self.epoch.context.group_id.clone(), self.committer);
        context(&mut group_id, &mut index);
        path.leaf_node = signed_leaf(&self.epoch.suite, path.leaf_node.clone(), &self.leaf_signer, &group_id, index)?;
        self.settle_leaf()?;
        self.encrypt()
    }

    /// Puts the leaf of the path into the tree, as it is.
    pub(crate) fn settle_leaf(&mut self) -> Result<()> {
        let path = self.path.as_ref().context("there is no path")?;
        self.tree.0[2 * self.committer as usize] = Some(crate::wire::Node::Leaf(path.leaf_node.clone()));
        Ok(())
    }

    /// Encrypts the path secrets under the provisional context (section 7.6).
    pub(crate) fn encrypt(&mut self) -> Result<()> {
        let context = self.provisional()?.encode();
        let filtered = self.tree.filtered_path(self.committer);
        let Some(path) = &mut self.path else { return Ok(()) };
        for ((node, (_, copath)), secret) in path.nodes.iter_mut().zip(filtered).zip(&self.path_secrets) {
            let newcomers: Vec<_> = self.added.iter().map(|leaf| 2 * *leaf as usize).collect();
            let recipients = self.tree.resolution(copath).into_iter().filter(|node| !newcomers.contains(node));
            node.encrypted_path_secret = recipients
                .map(|to| seal(&self.epoch.suite, self.tree.encryption_key(to)?, "UpdatePathNode", &context, secret))
                .collect::<Result<_>>()?;
        }
        Ok(())
    }

    /// The new epoch's context with the old transcript (section 12.4.1).
    pub(crate) fn provisional(&self) -> Result<GroupContext> {
        Ok(GroupContext {
            epoch: self.epoch.context.epoch + 1,
            tree_hash: self.tree.tree_hash(&self.epoch.suite)?,
            extensions: self.extensions.clone(),
            ..self.epoch.context.clone()
        })
    }

    /// Signs the commit, and confirms the epoch that it begins.
    pub(crate) fn finish(&self) -> Result<Vec<u8>> {
        let content = self.content();
        let signature = self.epoch.signature(PUBLIC_MESSAGE, &content, &self.signer)?;
        Ok(message(PUBLIC_MESSAGE, &self.authenticated(signature)?))
    }

    fn content(&self) -> FramedContent {
        let commit = Commit { proposals: self.proposals.clone(), path: self.path.clone() };
        FramedContent { content: Content::Commit(commit), ..self.frame.clone() }
    }

    /// The commit with this signature, its confirmation and membership tags (sections 8.2, 6.1 and 6.2).
    fn authenticated(&self, signature: Vec<u8>) -> Result<PublicMessage> {
        let Self { epoch, .. } = self;
        let content = self.content();
        let mut input = epoch.interim_transcript_hash.clone();
        PUBLIC_MESSAGE.write(&mut input);
        content.write(&mut input);
        signature.write(&mut input);
        let context = GroupContext {
            confirmed_transcript_hash: epoch.suite.hash(&input).map_err(crypto)?,
            ..self.provisional()?
        };
        let commit_secret = match (&self.commit_secret, &self.path, self.path_secrets.last()) {
            (Some(secret), ..) => secret.clone(),
            (None, Some(_), Some(last)) => derive(&epoch.suite, last, "path")?,
            _ => nothing(&epoch.suite),
        };
        let schedule = Schedule::next(&epoch.suite, &self.init_secret, &commit_secret, &self.psk_secret, &context)?;
        let confirmation_tag = Some(schedule.confirmation_tag(&context)?);
        epoch.tagged(content, AuthData { signature, confirmation_tag })
    }
}

/// The path secrets of a path's nodes, found by what their public keys are.
fn path_secrets(epoch: &Epoch, committer: &Member, path: Option<&UpdatePath>) -> Result<Vec<Vec<u8>>> {
    let Some(path) = path else { return Ok(Vec::new()) };
    let suite = &epoch.suite;
    let mut known = Vec::new();
    for seen in committer.lever.seen() {
        if let Seen::PathSecret(secret) = seen {
            let (_, public) = suite.kem_derive(&derive(suite, &secret, "node")?).map_err(crypto)?;
            known.push((public, secret));
        }
    }
    let secret = |key: &[u8]| known.iter().find(|(public, _)| public.as_ref() == key).map(|(_, secret)| secret.clone());
    path.nodes.iter().map(|node| secret(&node.encryption_key).context("the secret of a node was not seen")).collect()
}
