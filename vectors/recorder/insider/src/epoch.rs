//! One epoch of a group as an insider knows it: the tree, the context and the secret from which all keys of the epoch
//! follow (RFC 9420, sections 6 and 8). With that, packets of the library's are taken apart, changed and put together
//! again, so that nothing but the change is wrong with them.

use std::collections::BTreeMap;

use anyhow::{Context, Result, anyhow, ensure};
use mls_rs::crypto::{HpkePublicKey, SignatureSecretKey};
use mls_rs::error::IntoAnyError;
use mls_rs::mls_rs_codec::MlsEncode;
use mls_rs::{CipherSuiteProvider, CryptoProvider};
use mls_rs_crypto_rustcrypto::RustCryptoProvider;

use crate::bent::{Seen, label};
use crate::member::{Member, Settings};
use crate::tree::Tree;
use crate::wire::{
    AuthData, Content, FramedContent, GroupContext, GroupInfo, GroupSecrets, HpkeCiphertext, KeyPackage, MLS10,
    PRIVATE_MESSAGE, PUBLIC_MESSAGE, PreSharedKeyId, PreSharedKeyKind, PrivateContent, PrivateMessage, Proposal,
    PublicMessage, Sender, SenderData, Welcome, Wire, content,
};

/// A cipher suite's operations, without a bend.
pub(crate) type Suite = <RustCryptoProvider as CryptoProvider>::CipherSuiteProvider;

/// What an operation of the provider's failed with, as an error of ours.
pub(crate) fn crypto<E: IntoAnyError>(error: E) -> anyhow::Error {
    anyhow!("crypto provider: {error:?}")
}

/// ExpandWithLabel (section 8).
pub(crate) fn expand(suite: &Suite, secret: &[u8], name: &str, context: &[u8], length: usize) -> Result<Vec<u8>> {
    let info = [(length as u16).to_be_bytes().as_slice(), &label(name, context)].concat();
    Ok(suite.kdf_expand(secret, &info, length).map_err(crypto)?.to_vec())
}

/// DeriveSecret (section 8).
pub(crate) fn derive(suite: &Suite, secret: &[u8], name: &str) -> Result<Vec<u8>> {
    expand(suite, secret, name, &[], suite.kdf_extract_size())
}

fn extract(suite: &Suite, salt: &[u8], ikm: &[u8]) -> Result<Vec<u8>> {
    Ok(suite.kdf_extract(salt, ikm).map_err(crypto)?.to_vec())
}

/// SignWithLabel (section 5.1.2).
pub(crate) fn sign(suite: &Suite, key: &SignatureSecretKey, name: &str, content: &[u8]) -> Result<Vec<u8>> {
    suite.sign(key, &label(name, content)).map_err(crypto)
}

/// EncryptWithLabel (section 5.1.3).
pub(crate) fn seal(suite: &Suite, to: &[u8], name: &str, context: &[u8], plaintext: &[u8]) -> Result<HpkeCiphertext> {
    let to = HpkePublicKey::from(to.to_vec());
    let sealed = suite.hpke_seal(&to, &label(name, context), None, plaintext).map_err(crypto)?;
    Ok(HpkeCiphertext { kem_output: sealed.kem_output, ciphertext: sealed.ciphertext })
}

/// RefHash (section 5.2).
pub(crate) fn reference(suite: &Suite, name: &str, value: &[u8]) -> Result<Vec<u8>> {
    suite.hash(&label(name, value)).map_err(crypto)
}

/// A signed leaf.
pub(crate) fn signed_leaf(
    suite: &Suite,
    mut leaf: crate::wire::LeafNode,
    key: &SignatureSecretKey,
    group_id: &[u8],
    index: u32,
) -> Result<crate::wire::LeafNode> {
    leaf.signature = sign(suite, key, "LeafNodeTBS", &crate::tree::leaf_tbs(&leaf, group_id, index))?;
    Ok(leaf)
}

/// A signed key package.
pub(crate) fn signed_key_package(
    suite: &Suite,
    mut package: KeyPackage,
    key: &SignatureSecretKey,
) -> Result<KeyPackage> {
    package.signature.clear();
    let mut tbs = package.encode();
    // The empty signature: its length alone.
    tbs.pop();
    package.signature = sign(suite, key, "KeyPackageTBS", &tbs)?;
    Ok(package)
}

/// The secrets of an epoch (section 8).
#[derive(Clone)]
pub(crate) struct Schedule {
    suite: Suite,
    /// From which everything else follows.
    pub(crate) epoch_secret: Vec<u8>,
}

impl Schedule {
    /// The epoch after one with this init secret.
    pub(crate) fn next(
        suite: &Suite,
        init_secret: &[u8],
        commit_secret: &[u8],
        psk_secret: &[u8],
        context: &GroupContext,
    ) -> Result<Self> {
        let context_bytes = context.encode();
        let secret = extract(suite, init_secret, commit_secret)?;
        let joiner_secret = expand(suite, &secret, "joiner", &context_bytes, suite.kdf_extract_size())?;
        Self::joined(suite, &joiner_secret, psk_secret, context)
    }

    /// The epoch that one joins with this secret.
    pub(crate) fn joined(
        suite: &Suite,
        joiner_secret: &[u8],
        psk_secret: &[u8],
        context: &GroupContext,
    ) -> Result<Self> {
        let member_secret = extract(suite, joiner_secret, psk_secret)?;
        let epoch_secret = expand(suite, &member_secret, "epoch", &context.encode(), suite.kdf_extract_size())?;
        Ok(Self { suite: suite.clone(), epoch_secret })
    }

    /// One of the secrets under their labels.
    pub(crate) fn secret(&self, name: &str) -> Result<Vec<u8>> {
        derive(&self.suite, &self.epoch_secret, name)
    }

    /// Section 6.1.
    pub(crate) fn confirmation_tag(&self, context: &GroupContext) -> Result<Vec<u8>> {
        self.suite.mac(&self.secret("confirm")?, &context.confirmed_transcript_hash).map_err(crypto)
    }
}

/// All zeros, for where there is no secret.
pub(crate) fn nothing(suite: &Suite) -> Vec<u8> {
    vec![0; suite.kdf_extract_size()]
}

/// Section 8.4: the secret of these pre-shared keys.
pub(crate) fn psk_secret(suite: &Suite, psks: &[(PreSharedKeyId, Vec<u8>)]) -> Result<Vec<u8>> {
    let mut secret = nothing(suite);
    for (index, (id, psk)) in psks.iter().enumerate() {
        let extracted = extract(suite, &nothing(suite), psk)?;
        let mut psk_label = id.encode();
        (index as u16).write(&mut psk_label);
        (psks.len() as u16).write(&mut psk_label);
        let input = expand(suite, &extracted, "derived psk", &psk_label, suite.kdf_extract_size())?;
        secret = extract(suite, &input, &secret)?;
    }
    Ok(secret)
}

/// What an insider knows of the group's present epoch, and who the insider is.
#[derive(Clone)]
pub(crate) struct Epoch {
    pub(crate) suite: Suite,
    pub(crate) context: GroupContext,
    pub(crate) tree: Tree,
    pub(crate) schedule: Schedule,
    pub(crate) interim_transcript_hash: Vec<u8>,
    /// The insider's leaf.
    pub(crate) own: u32,
    /// The insider's signature key.
    pub(crate) signer: SignatureSecretKey,
    /// Proposals that were sent in this epoch: by reference, with their senders.
    pub(crate) proposals: BTreeMap<Vec<u8>, (Sender, Proposal)>,
    /// Pre-shared keys by external id.
    pub(crate) psks: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Epoch {
    /// As `member` knows it, whose provider has seen the epoch begin.
    pub(crate) fn of(member: &Member, group: &mls_rs::Group<Settings>) -> Result<Self> {
        let suite = member.suite();
        let encoded = group.context().mls_encode_to_vec().map_err(|error| anyhow!("the context: {error}"))?;
        let epoch_secret = member.lever.seen().into_iter().rev().find_map(|seen| match seen {
            Seen::EpochSecret { context, secret } if context == encoded => Some(secret),
            _ => None,
        });
        let epoch_secret = epoch_secret.context("the secret of the epoch was not seen")?;
        let schedule = Schedule { suite: suite.clone(), epoch_secret };
        let context = GroupContext::decode(&encoded)?;
        let tree = Tree::from_extension(&group.export_tree().to_bytes()?)?;
        ensure!(tree.tree_hash(&suite)? == context.tree_hash, "the tree hash is another");
        let tag = schedule.confirmation_tag(&context)?;
        let interim = [context.confirmed_transcript_hash.clone(), tag.encode()].concat();
        Ok(Self {
            interim_transcript_hash: suite.hash(&interim).map_err(crypto)?,
            suite,
            context,
            tree,
            schedule,
            own: group.current_member_index(),
            signer: member.signer.clone(),
            proposals: BTreeMap::new(),
            psks: BTreeMap::new(),
        })
    }

    /// Takes note of a proposal that was sent, and answers with its reference.
    pub(crate) fn note(&mut self, packet: &[u8]) -> Result<Vec<u8>> {
        let message: PublicMessage = content(PUBLIC_MESSAGE, packet)?;
        let mut authenticated = PUBLIC_MESSAGE.encode();
        message.content.write(&mut authenticated);
        message.auth.write(&mut authenticated);
        let reference = reference(&self.suite, "Proposal Reference", &authenticated)?;
        match message.content.content {
            Content::Proposal(proposal) => {
                self.proposals.insert(reference.clone(), (message.content.sender, proposal));
            }
            _ => anyhow::bail!("not a proposal"),
        }
        Ok(reference)
    }

    /// A content of this epoch's by the insider.
    pub(crate) fn content(&self, content: Content) -> FramedContent {
        FramedContent {
            group_id: self.context.group_id.clone(),
            epoch: self.context.epoch,
            sender: Sender::Member(self.own),
            authenticated_data: Vec::new(),
            content,
        }
    }

    /// FramedContentTBS (section 6.1) under the context of this epoch.
    pub(crate) fn tbs(&self, wire_format: u16, content: &FramedContent) -> Vec<u8> {
        let mut tbs = [MLS10, wire_format].map(u16::to_be_bytes).concat();
        content.write(&mut tbs);
        if matches!(content.sender, Sender::Member(_) | Sender::NewMemberCommit) {
            self.context.write(&mut tbs);
        }
        tbs
    }

    /// Signs a content with this key.
    pub(crate) fn signature(
        &self,
        wire_format: u16,
        content: &FramedContent,
        key: &SignatureSecretKey,
    ) -> Result<Vec<u8>> {
        sign(&self.suite, key, "FramedContentTBS", &self.tbs(wire_format, content))
    }

    /// A PublicMessage with this content and authentication, tagged if by a member (section 6.2).
    pub(crate) fn tagged(&self, content: FramedContent, auth: AuthData) -> Result<PublicMessage> {
        let membership_tag = match content.sender {
            Sender::Member(_) => Some(self.membership_tag(&content, &auth)?),
            _ => None,
        };
        Ok(PublicMessage { content, auth, membership_tag })
    }

    /// Section 6.2.
    pub(crate) fn membership_tag(&self, content: &FramedContent, auth: &AuthData) -> Result<Vec<u8>> {
        let mut tbm = self.tbs(PUBLIC_MESSAGE, content);
        auth.write(&mut tbm);
        self.suite.mac(&self.schedule.secret("membership")?, &tbm).map_err(crypto)
    }

    /// A content that is no commit as a PublicMessage, signed with this key.
    pub(crate) fn public(&self, content: FramedContent, key: &SignatureSecretKey) -> Result<PublicMessage> {
        let signature = self.signature(PUBLIC_MESSAGE, &content, key)?;
        self.tagged(content, AuthData { signature, confirmation_tag: None })
    }

    /// Key and nonce of a leaf's ratchet (section 9).
    fn message_key(&self, content_type: u8, leaf: u32, generation: u32) -> Result<(Vec<u8>, Vec<u8>)> {
        let (suite, size) = (&self.suite, self.suite.kdf_extract_size());
        let mut secret = self.schedule.secret("encryption")?;
        for (node, _) in self.tree.path(leaf).into_iter().rev() {
            let side = if (2 * leaf as usize) < node { "left" } else { "right" };
            secret = expand(suite, &secret, "tree", side.as_bytes(), size)?;
        }
        let ratchet = if content_type == 1 { "application" } else { "handshake" };
        secret = expand(suite, &secret, ratchet, &[], size)?;
        for step in 0..generation {
            secret = expand(suite, &secret, "secret", &step.to_be_bytes(), size)?;
        }
        let context = generation.to_be_bytes();
        let key = expand(suite, &secret, "key", &context, suite.aead_key_size())?;
        let nonce = expand(suite, &secret, "nonce", &context, suite.aead_nonce_size())?;
        Ok((key, nonce))
    }

    /// The sender data's key, nonce and AAD (section 6.3.2).
    fn sender_data_key(&self, message: &PrivateMessage) -> Result<[Vec<u8>; 3]> {
        let (suite, secret) = (&self.suite, self.schedule.secret("sender data")?);
        let sample = &message.ciphertext[..message.ciphertext.len().min(suite.kdf_extract_size())];
        let key = expand(suite, &secret, "key", sample, suite.aead_key_size())?;
        let nonce = expand(suite, &secret, "nonce", sample, suite.aead_nonce_size())?;
        let mut aad = message.group_id.encode();
        message.epoch.write(&mut aad);
        message.content_type.write(&mut aad);
        Ok([key, nonce, aad])
    }

    /// What is in a PrivateMessage of this epoch.
    pub(crate) fn open(&self, message: &PrivateMessage) -> Result<(SenderData, PrivateContent)> {
        let [key, nonce, aad] = self.sender_data_key(message)?;
        let sender_data = self.suite.aead_open(&key, &message.encrypted_sender_data, Some(&aad), &nonce);
        let sender_data = SenderData::decode(&sender_data.map_err(crypto)?)?;
        let (key, nonce) = self.message_key(message.content_type, sender_data.leaf_index, sender_data.generation)?;
        let nonce = guarded(nonce, sender_data.reuse_guard);
        let opened = self.suite.aead_open(&key, &message.ciphertext, Some(&content_aad(message)), &nonce);
        let content = PrivateContent::decode(message.content_type, &opened.map_err(crypto)?)?;
        Ok((sender_data, content))
    }

    /// Encrypts into a PrivateMessage with the outer fields of `message`. `keys` says whose message key it is and which
    /// generation; `sender_data` is what is said about that.
    pub(crate) fn close(
        &self,
        message: PrivateMessage,
        keys: &SenderData,
        sender_data: &SenderData,
        content: &[u8],
    ) -> Result<PrivateMessage> {
        let ratchet = message.content_type;
        self.close_with(ratchet, message, keys, sender_data, content)
    }

    /// The same with a key from the ratchet for contents of another type.
    pub(crate) fn close_with(
        &self,
        ratchet: u8,
        mut message: PrivateMessage,
        keys: &SenderData,
        sender_data: &SenderData,
        content: &[u8],
    ) -> Result<PrivateMessage> {
        let (key, nonce) = self.message_key(ratchet, keys.leaf_index, keys.generation)?;
        let nonce = guarded(nonce, keys.reuse_guard);
        let aad = content_aad(&message);
        message.ciphertext = self.suite.aead_seal(&key, content, Some(&aad), &nonce).map_err(crypto)?;
        let [key, nonce, aad] = self.sender_data_key(&message)?;
        let sealed = self.suite.aead_seal(&key, &sender_data.encode(), Some(&aad), &nonce);
        message.encrypted_sender_data = sealed.map_err(crypto)?;
        Ok(message)
    }

    /// What the content of a PrivateMessage is as a FramedContent, which is what its signature is over.
    pub(crate) fn framed(&self, message: &PrivateMessage, leaf: u32, content: Content) -> FramedContent {
        FramedContent {
            group_id: message.group_id.clone(),
            epoch: message.epoch,
            sender: Sender::Member(leaf),
            authenticated_data: message.authenticated_data.clone(),
            content,
        }
    }

    /// The signature for a content that goes into a PrivateMessage.
    pub(crate) fn private_signature(&self, content: &FramedContent, key: &SignatureSecretKey) -> Result<Vec<u8>> {
        self.signature(PRIVATE_MESSAGE, content, key)
    }

    /// The init secret from which an external commit goes on (section 8.3).
    pub(crate) fn external_init(&self, kem_output: &[u8]) -> Result<Vec<u8>> {
        use mls_rs_core::crypto::HpkeContextR;
        let (secret, public) = self.external_key()?;
        let context = self.suite.hpke_setup_r(kem_output, &secret, &public, &[]).map_err(crypto)?;
        let exported = context.export(b"MLS 1.0 external init secret", self.suite.kdf_extract_size());
        Ok(exported.map_err(crypto)?.to_vec())
    }

    /// The key pair for external commits (section 8).
    pub(crate) fn external_key(&self) -> Result<(mls_rs::crypto::HpkeSecretKey, HpkePublicKey)> {
        self.suite.kem_derive(&self.schedule.secret("external")?).map_err(crypto)
    }

    /// The pre-shared key of an id: an external one, or that of this group's present epoch whatever the id says.
    pub(crate) fn psk(&self, id: &PreSharedKeyId) -> Result<Vec<u8>> {
        match &id.id {
            PreSharedKeyKind::External(id) => self.psks.get(id).cloned().context("no such pre-shared key"),
            PreSharedKeyKind::Resumption(_) => self.schedule.secret("resumption"),
        }
    }
}

/// PrivateContentAAD (section 6.3.1).
fn content_aad(message: &PrivateMessage) -> Vec<u8> {
    let mut aad = message.group_id.encode();
    message.epoch.write(&mut aad);
    message.content_type.write(&mut aad);
    message.authenticated_data.write(&mut aad);
    aad
}

fn guarded(mut nonce: Vec<u8>, reuse_guard: u32) -> Vec<u8> {
    nonce.iter_mut().zip(reuse_guard.to_be_bytes()).for_each(|(byte, guard)| *byte ^= guard);
    nonce
}

/// A Welcome for one joiner, opened by whoever made it.
pub(crate) struct Invitation {
    suite: Suite,
    new_member: Vec<u8>,
    init_key: Vec<u8>,
    /// What the joiner is told apart from the group.
    pub(crate) secrets: GroupSecrets,
    /// The group.
    pub(crate) info: GroupInfo,
}

impl Invitation {
    /// Opens a Welcome for this key package alone, with the secrets that its maker's provider has seen go into it.
    pub(crate) fn open(maker: &Member, welcome: &[u8], key_package: &KeyPackage) -> Result<Self> {
        let suite = maker.suite();
        let secrets = maker.lever.seen().into_iter().rev().find_map(|seen| match seen {
            Seen::GroupSecrets(secrets) => Some(secrets),
            _ => None,
        });
        let secrets = GroupSecrets::decode(&secrets.context("no Welcome was seen being made")?)?;
        let welcome: Welcome = content(crate::wire::WELCOME, welcome)?;
        let new_member = reference(&suite, "KeyPackage Reference", &key_package.encode())?;
        ensure!(welcome.secrets.len() == 1 && welcome.secrets[0].new_member == new_member, "for somebody else");
        let [key, nonce] = welcome_key(&suite, &secrets.joiner_secret, &nothing(&suite))?;
        let info = suite.aead_open(&key, &welcome.encrypted_group_info, None, &nonce).map_err(crypto)?;
        let info = GroupInfo::decode(&info)?;
        Ok(Self { suite, new_member, init_key: key_package.init_key.clone(), secrets, info })
    }

    /// The tree in it.
    pub(crate) fn tree(&self) -> Result<Tree> {
        let mut extensions = self.info.extensions.iter();
        let tree = extensions.find(|extension| extension.extension_type == crate::wire::RATCHET_TREE);
        Tree::from_extension(&tree.context("no tree")?.extension_data)
    }

    /// Puts these nodes in the place of the tree's, as they are.
    pub(crate) fn set_tree_bytes(&mut self, bytes: Vec<u8>) {
        for extension in &mut self.info.extensions {
            if extension.extension_type == crate::wire::RATCHET_TREE {
                extension.extension_data.clone_from(&bytes);
            }
        }
    }

    /// Another tree, with a tree hash that fits.
    pub(crate) fn set_tree(&mut self, tree: &Tree) -> Result<()> {
        self.info.group_context.tree_hash = tree.tree_hash(&self.suite)?;
        self.set_tree_bytes(tree.to_extension());
        Ok(())
    }

    /// A confirmation tag that fits the context and the secrets.
    pub(crate) fn confirm(&mut self) -> Result<()> {
        let context = &self.info.group_context;
        let schedule = Schedule::joined(&self.suite, &self.secrets.joiner_secret, &nothing(&self.suite), context)?;
        self.info.confirmation_tag = schedule.confirmation_tag(context)?;
        Ok(())
    }

    /// A signature that fits the rest.
    pub(crate) fn sign(&mut self, key: &SignatureSecretKey) -> Result<()> {
        self.info.signature.clear();
        let mut tbs = self.info.encode();
        // The empty signature: its length alone.
        tbs.pop();
        self.info.signature = sign(&self.suite, key, "GroupInfoTBS", &tbs)?;
        Ok(())
    }

    /// As a Welcome.
    pub(crate) fn seal(&self) -> Result<Welcome> {
        self.seal_under(|encrypted_group_info| encrypted_group_info.to_vec())
    }

    /// As a Welcome whose secrets are bound to what `context` makes of the encrypted GroupInfo.
    pub(crate) fn seal_under(&self, context: impl Fn(&[u8]) -> Vec<u8>) -> Result<Welcome> {
        let suite = &self.suite;
        let [key, nonce] = welcome_key(suite, &self.secrets.joiner_secret, &nothing(suite))?;
        let info = self.info.encode();
        let encrypted_group_info = suite.aead_seal(&key, &info, None, &nonce).map_err(crypto)?;
        let context = context(&encrypted_group_info);
        let secrets = crate::wire::EncryptedGroupSecrets {
            new_member: self.new_member.clone(),
            encrypted_group_secrets: seal(suite, &self.init_key, "Welcome", &context, &self.secrets.encode())?,
        };
        let cipher_suite = suite.cipher_suite().into();
        Ok(Welcome { cipher_suite, secrets: vec![secrets], encrypted_group_info })
    }
}

/// Key and nonce of the GroupInfo in a Welcome (section 12.4.3.1).
fn welcome_key(suite: &Suite, joiner_secret: &[u8], psk_secret: &[u8]) -> Result<[Vec<u8>; 2]> {
    let welcome_secret = derive(suite, &extract(suite, joiner_secret, psk_secret)?, "welcome")?;
    let key = expand(suite, &welcome_secret, "key", &[], suite.aead_key_size())?;
    let nonce = expand(suite, &welcome_secret, "nonce", &[], suite.aead_nonce_size())?;
    Ok([key, nonce])
}
