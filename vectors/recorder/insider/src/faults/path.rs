//! The path of a Commit: the committer's new leaf, the parent hash in it, the keys above it and their secrets.

use anyhow::{Context, Result};
use e2esm_adapter::ErrorClass::{AuthFailed, BadRequest, Duplicate};
use e2esm_playback::Draft;
use mls_rs::{CipherSuiteProvider, ExtensionList};

use crate::bent::Call;
use crate::epoch::{crypto, derive};
use crate::member::{SUPPORTED_EXTENSION, UNSUPPORTED, library};
use crate::scene::{BOB, CAROL, Head, MALLORY, Scene, Setting, Who, Wrong, as_it_is};
use crate::wire::{Extension, LeafNodeSource, Lifetime, UpdatePathNode, Wire, X509};

const PACKET: &str = "commit as PublicMessage";

/// An extension of a leaf.
fn extension(extension_type: u16) -> Extension {
    Extension { extension_type, extension_data: b"content".to_vec() }
}

/// The new leaf (sections 7.2, 7.3 and 12.4.2).
pub(crate) fn leaf(setting: Setting<'_>) -> Result<Draft> {
    let mut scene = Scene::new(
        Head {
            id: "authentication/insider-path-leaf",
            title: "A Commit brings an invalid leaf",
            description: "Mallory, a member, commits with a path whose leaf breaks a rule for leaves. The tree, the path secrets and \
                all tags are computed from that leaf, so that nothing else is wrong. A sound device refuses each of them and takes \
                the honest Commit that follows.",
            requirements: &["R1"],
        },
        setting,
    )?;
    let (stranger, _) = scene.stranger()?;
    scene.bent_commit(
        Wrong {
            name: "signed-by-another-key",
            comment: "The leaf is signed with a key that nobody knows.",
            packet: PACKET,
            field: "path.leaf_node.signature",
            change: "made with a key that no leaf has",
            section: "7.3",
            demands: "A leaf is signed with the signature key that is in it.",
            reasons: &[AuthFailed],
        },
        as_it_is,
        move |call| {
            if let Call::Sign { label: "LeafNodeTBS", key, .. } = call {
                *key = stranger.clone();
            }
        },
    )?;
    scene.remade_commit(
        Wrong {
            name: "signed-for-another-group",
            comment: "The leaf is signed as one of another group.",
            packet: PACKET,
            field: "path.leaf_node.signature",
            change: "over another group_id",
            section: "7.2",
            demands: "The signature of a leaf that came by a Commit covers the group's id.",
            reasons: &[AuthFailed],
        },
        as_it_is,
        |making| making.rebuild_signed(|_| {}, |group_id, _| *group_id = b"another group".to_vec()),
    )?;
    scene.remade_commit(
        Wrong {
            name: "signed-for-another-place",
            comment: "The leaf is signed for carol's place in the tree.",
            packet: PACKET,
            field: "path.leaf_node.signature",
            change: "over another leaf_index",
            section: "7.2",
            demands: "The signature of a leaf that came by a Commit covers its place in the tree.",
            reasons: &[AuthFailed],
        },
        as_it_is,
        |making| making.rebuild_signed(|_| {}, |_, index| *index = CAROL),
    )?;
    scene.remade_commit(
        Wrong {
            name: "not-signed-again",
            comment: "A new encryption key in the leaf, and the signature of before.",
            packet: PACKET,
            field: "path.leaf_node.encryption_key",
            change: "changed after signing",
            section: "7.2",
            demands: "Whenever a leaf changes it is signed again.",
            reasons: &[AuthFailed],
        },
        as_it_is,
        |making| {
            let (_, public) = making.suite().kem_generate().map_err(crypto)?;
            making.leaf()?.encryption_key = public.to_vec();
            making.settle_leaf()?;
            making.encrypt()
        },
    )?;
    scene.remade_commit(
        Wrong {
            name: "source-key-package",
            comment: "The leaf says that it is out of a key package.",
            packet: PACKET,
            field: "path.leaf_node.leaf_node_source",
            change: "key_package",
            section: "7.3",
            demands: "The leaf in a Commit's path says that it came by a Commit, and so has a parent hash.",
            reasons: &[BadRequest],
        },
        as_it_is,
        |making| {
            making.rebuild(|leaf| {
                let lifetime = Lifetime { not_before: 0, not_after: u64::MAX };
                leaf.leaf_node_source = LeafNodeSource::KeyPackage(lifetime);
            })
        },
    )?;
    scene.remade_commit(
        Wrong {
            name: "source-update",
            comment: "The leaf says that it came by an Update.",
            packet: PACKET,
            field: "path.leaf_node.leaf_node_source",
            change: "update",
            section: "7.3",
            demands: "The leaf in a Commit's path says that it came by a Commit, and so has a parent hash.",
            reasons: &[BadRequest],
        },
        as_it_is,
        |making| making.rebuild(|leaf| leaf.leaf_node_source = LeafNodeSource::Update),
    )?;
    let present = scene.epoch()?.tree.leaf(MALLORY)?.encryption_key.clone();
    let private = scene.mallory.private_key(&present)?;
    scene.bent_commit(
        Wrong {
            name: "same-encryption-key",
            comment: "The leaf keeps the encryption key that it has: whoever knows its private key goes on reading.",
            packet: PACKET,
            field: "path.leaf_node.encryption_key",
            change: "that of the committer's present leaf",
            section: "12.4.2",
            demands: "The leaf in a Commit's path has another encryption key than the committer's present leaf.",
            reasons: &[BadRequest, Duplicate],
        },
        as_it_is,
        move |call| {
            if let Call::KemGenerate { secret, public } = call {
                (*secret, *public) = (private.clone().into(), present.clone().into());
            }
        },
    )?;
    let epoch = scene.epoch()?;
    let carols = epoch.tree.leaf(CAROL)?.encryption_key.clone();
    scene.remade_commit(
        Wrong {
            name: "encryption-key-of-another",
            comment: "The leaf has carol's encryption key.",
            packet: PACKET,
            field: "path.leaf_node.encryption_key",
            change: "that of another member's leaf",
            section: "7.3",
            demands: "No two leaves have the same encryption key.",
            reasons: &[Duplicate],
        },
        as_it_is,
        move |making| making.rebuild(|leaf| leaf.encryption_key = carols),
    )?;
    scene.remade_commit(
        Wrong {
            name: "own-credential-not-listed",
            comment: "The leaf's capabilities do not list the type of its own credential.",
            packet: PACKET,
            field: "path.leaf_node.capabilities.credentials",
            change: "without the type of the leaf's credential",
            section: "7.2",
            demands: "A leaf's capabilities list the type of its credential.",
            reasons: &[BadRequest],
        },
        as_it_is,
        |making| making.rebuild(|leaf| leaf.capabilities.credentials = vec![X509]),
    )?;
    scene.remade_commit(
        Wrong {
            name: "extension-not-listed",
            comment: "The leaf has an extension of a type that its capabilities do not list.",
            packet: PACKET,
            field: "path.leaf_node.extensions",
            change: "one whose type the leaf's capabilities do not list",
            section: "7.3",
            demands: "A leaf's capabilities list the types of its extensions.",
            reasons: &[BadRequest],
        },
        as_it_is,
        |making| making.rebuild(|leaf| leaf.extensions.push(extension(UNSUPPORTED))),
    )?;
    scene.remade_commit(
        Wrong {
            name: "extension-twice",
            comment: "The leaf has two extensions of one type.",
            packet: PACKET,
            field: "path.leaf_node.extensions",
            change: "two of the same type",
            section: "13.4",
            demands: "A list of extensions has at most one of each type.",
            reasons: &[BadRequest],
        },
        as_it_is,
        |making| {
            making.rebuild(|leaf| {
                leaf.extensions.push(extension(SUPPORTED_EXTENSION));
                leaf.extensions.push(extension(SUPPORTED_EXTENSION));
            })
        },
    )?;
    scene.draft()
}

/// Parent hashes (section 7.9).
pub(crate) fn parent_hash(setting: Setting<'_>) -> Result<Draft> {
    let mut scene = Scene::new(
        Head {
            id: "authentication/insider-parent-hash",
            title: "A Commit's leaf does not vouch for the path above it",
            description: "Mallory, a member, commits with a path whose leaf has another parent hash than that of the keys above it. \
                The leaf is signed as it is. Keys that no leaf vouches for can be somebody's who is in no leaf. A sound device \
                refuses each Commit and takes the honest one that follows.",
            requirements: &["R1", "T3"],
        },
        setting,
    )?;
    let field = "path.leaf_node.parent_hash";
    let section = "7.9.2";
    let demands =
        "Whoever takes a Commit with a path computes the parent hash and compares it with the one in the new leaf.";
    scene.remade_commit(
        Wrong {
            name: "one-bit",
            comment: "A bit of the parent hash is turned over before the leaf is signed.",
            packet: PACKET,
            field,
            change: "one bit flipped",
            section,
            demands,
            reasons: &[AuthFailed],
        },
        as_it_is,
        |making| {
            making.rebuild(|leaf| {
                if let LeafNodeSource::Commit(hash) = &mut leaf.leaf_node_source {
                    hash.iter_mut().next().into_iter().for_each(|byte| *byte ^= 1);
                }
            })
        },
    )?;
    scene.remade_commit(
        Wrong {
            name: "empty",
            comment: "A parent hash of length zero, as if there were no parent.",
            packet: PACKET,
            field,
            change: "of length zero",
            section,
            demands,
            reasons: &[AuthFailed],
        },
        as_it_is,
        |making| making.rebuild(|leaf| leaf.leaf_node_source = LeafNodeSource::Commit(Vec::new())),
    )?;
    let old = scene.epoch()?.tree.leaf(MALLORY)?.leaf_node_source.clone();
    scene.remade_commit(
        Wrong {
            name: "of-the-last-commit",
            comment: "The parent hash that the leaf has now, of keys that this Commit replaces.",
            packet: PACKET,
            field,
            change: "that of the committer's present leaf",
            section,
            demands,
            reasons: &[AuthFailed],
        },
        as_it_is,
        move |making| making.rebuild(|leaf| leaf.leaf_node_source = old),
    )?;
    let mut hashes = Vec::new();
    scene.bent_commit(
        Wrong {
            name: "of-the-node-above",
            comment: "The parent hash of the next node but one: the lowest node of the path is left out.",
            packet: PACKET,
            field,
            change: "that of the second node above the leaf",
            section: "7.9.1",
            demands: "A leaf has the parent hash of the first node above it that is not blank.",
            reasons: &[AuthFailed],
        },
        as_it_is,
        move |call| {
            // The hashes of ParentHashInputs, from the root downwards: the last one goes into the leaf.
            if let Call::Hash { data, hash } = call
                && crate::tree::is_parent_hash_input(data, hash.len())
            {
                hashes.push(hash.clone());
                if let [_, above, _] = hashes.as_slice() {
                    hash.clone_from(above);
                }
            }
        },
    )?;
    scene.draft()
}

/// Path secrets and the keys that follow from them (sections 7.4 to 7.6).
pub(crate) fn secrets(setting: Setting<'_>) -> Result<Draft> {
    let mut scene = Scene::new(
        Head {
            id: "participation/insider-path-secrets",
            title: "A Commit gives members other secrets than those of its keys",
            description: "Mallory, a member, commits with a path whose public keys and encrypted secrets do not fit together or do not \
                fit the tree. Members who took it would have different keys for the same nodes. A sound device refuses each \
                Commit and takes the honest one that follows.",
            requirements: &["T3"],
        },
        setting,
    )?;
    let suite = scene.mallory.suite();
    let size = suite.kdf_extract_size();
    // Bob shares the second node of mallory's path with her. His side's key is the one above him and carol.
    let bobs_side = scene.epoch()?.tree.encryption_key(2 * BOB as usize + 1)?.to_vec();

    let to = bobs_side.clone();
    scene.bent_commit(
        Wrong {
            name: "another-secret",
            comment: "Bob's side of the tree is sent another secret than the one from which the node's key follows.",
            packet: PACKET,
            field: "path.nodes.encrypted_path_secret",
            change: "of another secret than that of the node's key",
            section: "7.5",
            demands: "The keys that follow from a path secret are those in the path, which the receiver verifies.",
            reasons: &[AuthFailed],
        },
        as_it_is,
        move |call| match call {
            Call::Seal { label: "UpdatePathNode", to: recipient, plaintext, .. }
                if recipient.as_ref() == to.as_slice() =>
            {
                plaintext.iter_mut().for_each(|byte| *byte ^= 0x55);
            }
            _ => {}
        },
    )?;
    let to = bobs_side.clone();
    let (_, nobody) = suite.kem_generate().map_err(crypto)?;
    scene.bent_commit(
        Wrong {
            name: "another-recipient",
            comment: "What is meant for bob's side of the tree is encrypted to a key that is not in the tree.",
            packet: PACKET,
            field: "path.nodes.encrypted_path_secret",
            change: "encrypted to a key that no node has",
            section: "7.6",
            demands: "Each path secret is encrypted to the keys of the resolution of the node's copath child.",
            reasons: &[AuthFailed],
        },
        as_it_is,
        move |call| match call {
            Call::Seal { label: "UpdatePathNode", to: recipient, .. } if recipient.as_ref() == to.as_slice() => {
                *recipient = nobody.clone();
            }
            _ => {}
        },
    )?;
    let bobs = scene.epoch()?.tree.leaf(BOB)?.encryption_key.clone();
    let mut node = 0;
    scene.bent_commit(
        Wrong {
            name: "key-of-a-leaf",
            comment: "The node that bob shares with mallory gets the key of bob's leaf, to which no path secret leads.",
            packet: PACKET,
            field: "path.nodes.encryption_key",
            change: "that of a leaf below the node",
            section: "12.4.2",
            demands: "None of the keys of a path is in the tree already, and each follows from its path secret.",
            reasons: &[AuthFailed, Duplicate],
        },
        as_it_is,
        move |call| {
            if let Call::KemDerive { public } = call {
                node += 1;
                if node == 2 {
                    *public = bobs.clone().into();
                }
            }
        },
    )?;
    let present = scene.epoch()?.context.encode();
    scene.bent_commit(
        Wrong {
            name: "present-context",
            comment: "Encrypted under the GroupContext of the present epoch instead of the provisional one of the next.",
            packet: PACKET,
            field: "path.nodes.encrypted_path_secret",
            change: "encrypted under the GroupContext of the present epoch",
            section: "7.6",
            demands: "Path secrets are encrypted under the provisional GroupContext, with the next epoch and the new tree.",
            reasons: &[AuthFailed],
        },
        as_it_is,
        move |call| {
            if let Call::Seal { label: "UpdatePathNode", context, .. } = call {
                context.clone_from(&present);
            }
        },
    )?;
    scene.remade_commit(
        Wrong {
            name: "unchained",
            comment: "The root's key follows from a secret that does not follow from the one below. Bob's half of the tree and \
                erin's would each go on with what they can compute.",
            packet: PACKET,
            field: "path.nodes.encryption_key",
            change: "of a secret that does not follow from the one below",
            section: "7.4",
            demands: "Each path secret follows from the one below it, and each key from its path secret.",
            reasons: &[AuthFailed],
        },
        as_it_is,
        |making| {
            let suite = making.suite();
            let unrelated = suite.random_bytes_vec(size).map_err(crypto)?;
            let (_, public) = suite.kem_derive(&derive(&suite, &unrelated, "node")?).map_err(crypto)?;
            let honest = making.path_secrets.last().context("no secrets")?.clone();
            making.commit_secret = Some(derive(&suite, &honest, "path")?);
            let nodes = &mut making.path.as_mut().context("no path")?.nodes;
            nodes.last_mut().context("no nodes")?.encryption_key = public.to_vec();
            *making.path_secrets.last_mut().context("no secrets")? = unrelated;
            making.rebuild(|_| {})
        },
    )?;
    scene.remade_commit(
        Wrong {
            name: "too-short",
            comment: "The root is left out of the path.",
            packet: PACKET,
            field: "path.nodes",
            change: "one too few",
            section: "7.5",
            demands: "A path has one key for each node of the committer's filtered direct path.",
            reasons: &[BadRequest, AuthFailed],
        },
        as_it_is,
        |making| {
            making.path.as_mut().context("no path")?.nodes.pop();
            making.path_secrets.pop();
            making.rebuild(|_| {})
        },
    )?;
    scene.remade_commit(
        Wrong {
            name: "too-long",
            comment: "The path goes on beyond the root.",
            packet: PACKET,
            field: "path.nodes",
            change: "one too many",
            section: "7.5",
            demands: "A path has one key for each node of the committer's filtered direct path.",
            reasons: &[BadRequest],
        },
        as_it_is,
        |making| {
            let (_, public) = making.suite().kem_generate().map_err(crypto)?;
            let node = UpdatePathNode { encryption_key: public.to_vec(), encrypted_path_secret: Vec::new() };
            making.path.as_mut().context("no path")?.nodes.push(node);
            Ok(())
        },
    )?;
    scene.remade_commit(
        Wrong {
            name: "too-few-ciphertexts",
            comment: "For the node that bob shares with mallory there is no ciphertext.",
            packet: PACKET,
            field: "path.nodes.encrypted_path_secret",
            change: "one too few",
            section: "7.6",
            demands: "There are as many ciphertexts for a node as keys in the resolution of its copath child.",
            reasons: &[BadRequest],
        },
        as_it_is,
        |making| {
            making.path.as_mut().context("no path")?.nodes[1].encrypted_path_secret.pop();
            Ok(())
        },
    )?;
    scene.draft()
}

/// When there has to be a path (section 12.4).
pub(crate) fn required(setting: Setting<'_>) -> Result<Draft> {
    let mut scene = Scene::new(
        Head {
            id: "removal/insider-path-missing",
            title: "A Commit that needs a path has none",
            description: "Mallory, a member, leaves out the path of Commits that must have one: without new keys somebody who is removed \
                goes on reading. The key schedule goes on as it does for a Commit without a path. A sound device refuses each \
                Commit and takes the honest one that follows, with its path.",
            requirements: &["I1", "D1"],
        },
        setting,
    )?;
    let field = "path";
    let section = "12.4";
    scene.remade_commit(
        Wrong {
            name: "empty",
            comment: "A Commit with neither proposals nor path.",
            packet: PACKET,
            field,
            change: "absent, and no proposals",
            section,
            demands: "A Commit without proposals has a path.",
            reasons: &[BadRequest],
        },
        as_it_is,
        |making| {
            making.path = None;
            making.rebuild(|_| {})
        },
    )?;
    let ghost = scene.add_extra("yolanda")?;
    scene.remade_commit(
        Wrong {
            name: "remove",
            comment: "A Commit with a Remove and without a path: who is removed can compute the next epoch's secrets.",
            packet: PACKET,
            field,
            change: "absent, with a Remove",
            section,
            demands: "A Commit with a Remove has a path.",
            reasons: &[BadRequest],
        },
        |commit| commit.remove_member(ghost).map_err(library),
        |making| {
            making.path = None;
            making.rebuild(|_| {})
        },
    )?;
    scene.remade_commit(
        Wrong {
            name: "extensions",
            comment: "A Commit with a GroupContextExtensions proposal and without a path.",
            packet: PACKET,
            field,
            change: "absent, with GroupContextExtensions",
            section,
            demands: "A Commit with a GroupContextExtensions proposal has a path.",
            reasons: &[BadRequest],
        },
        |commit| commit.set_group_context_ext(ExtensionList::new()).map_err(library),
        |making| {
            making.path = None;
            making.rebuild(|_| {})
        },
    )?;
    let update = scene.carol.group()?.propose_update(Vec::new()).map_err(library)?;
    let update = scene.proposal(Who::Carol, "carols-update", "Carol proposes an Update of her leaf.", &update)?;
    let mut epoch = scene.epoch()?;
    epoch.note(&update)?;
    scene.remade_commit_in(
        &epoch,
        Wrong {
            name: "update",
            comment: "A Commit of carol's Update without a path: the keys above her stay blank, and those who knew them know the \
                next epoch.",
            packet: PACKET,
            field,
            change: "absent, with an Update",
            section,
            demands: "A Commit with an Update has a path.",
            reasons: &[BadRequest],
        },
        as_it_is,
        |making| {
            making.path = None;
            making.rebuild(|_| {})
        },
    )?;
    scene.draft()
}
