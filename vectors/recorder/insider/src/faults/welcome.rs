//! Welcomes: the GroupInfo and the secrets in them, and the tree that comes with them.

use anyhow::{Context, Result, ensure};
use e2esm_adapter::ErrorClass::{AuthFailed, BadRequest, Duplicate, NoKey, NotMember};
use e2esm_playback::Draft;
use mls_rs::{CipherSuiteProvider, ExtensionList};

use crate::epoch::{Invitation, crypto, expand, signed_leaf};
use crate::member::{Member, SUPPORTED_EXTENSION, UNSUPPORTED, key_package_in};
use crate::scene::{ALICE, BLANK, BOB, CAROL, ERIN, Head, MALLORY, NOWHERE, Scene, Setting, Wrong};
use crate::tree::Tree;
use crate::wire::{
    Extension, LeafNode, LeafNodeSource, Node, ParentNode, REQUIRED_CAPABILITIES, RequiredCapabilities, Welcome, Wire,
    X509,
};

/// The parent below the root that is above mallory and bob, in the array.
const BELOW_ROOT: usize = 3;

const INFO: &str = "GroupInfo in a Welcome";
const TREE: &str = "ratchet_tree in a Welcome";
const SECRETS: &str = "GroupSecrets in a Welcome";

/// Changes the GroupInfo and signs it again, and nothing else.
fn resigned(
    change: impl FnOnce(&mut Invitation) -> Result<()>,
) -> impl FnOnce(&mut Scene, &mut Invitation) -> Result<Welcome> {
    |scene, invitation| {
        change(invitation)?;
        invitation.sign(&scene.mallory.signer)?;
        invitation.seal()
    }
}

/// Changes the context and makes the confirmation tag and the signature anew, so that all of it fits together.
fn consistent(
    change: impl FnOnce(&mut Invitation) -> Result<()>,
) -> impl FnOnce(&mut Scene, &mut Invitation) -> Result<Welcome> {
    |scene, invitation| {
        change(invitation)?;
        invitation.confirm()?;
        invitation.sign(&scene.mallory.signer)?;
        invitation.seal()
    }
}

/// Changes the tree, and makes tree hash, confirmation tag and signature anew.
fn with_tree(
    change: impl FnOnce(&mut Scene, &mut Tree) -> Result<()>,
) -> impl FnOnce(&mut Scene, &mut Invitation) -> Result<Welcome> {
    |scene, invitation| {
        let mut tree = invitation.tree()?;
        change(scene, &mut tree)?;
        invitation.set_tree(&tree)?;
        invitation.confirm()?;
        invitation.sign(&scene.mallory.signer)?;
        invitation.seal()
    }
}

/// The same, in a group for which mallory has sent the last path: she vouches for the keys above her in the changed tree as
/// she did in the group's, so that no parent hash tells.
fn vouched(
    change: impl FnOnce(&mut Scene, &mut Tree) -> Result<()>,
) -> impl FnOnce(&mut Scene, &mut Invitation) -> Result<Welcome> {
    |scene, invitation| {
        let group_id = invitation.info.group_context.group_id.clone();
        with_tree(move |scene, tree| {
            change(scene, tree)?;
            let suite = scene.mallory.suite();
            // Bob came after that path. Without him its parents are as they were then.
            let bob = tree.0[2 * BOB as usize].take();
            let path = tree.filtered_path(MALLORY);
            let before: Vec<_> = path.iter().map(|(node, _)| tree.0[*node].clone()).collect();
            let keys = path.iter().map(|(node, _)| tree.encryption_key(*node).map(<[u8]>::to_vec));
            let parent_hash = tree.set_path(&suite, MALLORY, &keys.collect::<Result<Vec<_>>>()?)?;
            tree.0[2 * BOB as usize] = bob;
            for ((node, _), before) in path.iter().zip(before) {
                if let Some(Node::Parent(before)) = before {
                    tree.parent_mut(*node)?.unmerged_leaves = before.unmerged_leaves;
                }
            }
            let own = LeafNode { leaf_node_source: LeafNodeSource::Commit(parent_hash), ..tree.leaf(MALLORY)?.clone() };
            *tree.leaf_mut(MALLORY)? = signed_leaf(&suite, own, &scene.mallory.signer, &group_id, MALLORY)?;
            Ok(())
        })(scene, invitation)
    }
}

/// Mallory's own leaf, changed and signed anew.
fn own_leaf(change: impl FnOnce(&mut LeafNode)) -> impl FnOnce(&mut Scene, &mut Invitation) -> Result<Welcome> {
    |scene, invitation| {
        let group_id = invitation.info.group_context.group_id.clone();
        with_tree(move |scene, tree| {
            let mut own = tree.leaf(MALLORY)?.clone();
            change(&mut own);
            let suite = scene.mallory.suite();
            *tree.leaf_mut(MALLORY)? = signed_leaf(&suite, own, &scene.mallory.signer, &group_id, MALLORY)?;
            Ok(())
        })(scene, invitation)
    }
}

/// An extension of a leaf or a group.
fn extension(extension_type: u16) -> Extension {
    Extension { extension_type, extension_data: b"content".to_vec() }
}

/// Signatures, tags and context (sections 8.1, 12.4.3 and 12.4.3.1).
pub(crate) fn group_info(setting: Setting<'_>) -> Result<Draft> {
    let mut scene = Scene::outside(
        Head {
            id: "device-addition/insider-welcome-group-info",
            title: "A Welcome describes a group that there is not",
            description: "Mallory, a member of several groups, adds bob to each of them, and sends him first a Welcome whose GroupInfo \
                she did not sign as she should, or that does not describe the group. All else is as it would be. A sound device \
                refuses each of them, and joins by the honest Welcome, for the same key package, that follows.",
            requirements: &["R1", "T3"],
        },
        setting,
        false,
    )?;
    let none = ExtensionList::new;
    scene.remade_welcome(
        Wrong {
            name: "signed-by-another-key",
            comment: "Signed with a key that is in no leaf.",
            packet: INFO,
            field: "signature",
            change: "made with a key that no leaf has",
            section: "12.4.3",
            demands: "A GroupInfo is signed with the key in the leaf that it names as its signer.",
            reasons: &[AuthFailed],
        },
        none(),
        |scene, invitation| {
            invitation.sign(&scene.stranger()?.0)?;
            invitation.seal()
        },
    )?;
    scene.remade_welcome(
        Wrong {
            name: "signer-is-another",
            comment: "Alice is named as the signer, and mallory has signed.",
            packet: INFO,
            field: "signer",
            change: "the leaf of another member",
            section: "12.4.3",
            demands: "A GroupInfo is signed with the key in the leaf that it names as its signer.",
            reasons: &[AuthFailed],
        },
        none(),
        resigned(|invitation| {
            invitation.info.signer = ALICE;
            Ok(())
        }),
    )?;
    scene.remade_welcome(
        Wrong {
            name: "signer-is-blank",
            comment: "The signer is a leaf that is blank.",
            packet: INFO,
            field: "signer",
            change: "a leaf that is blank",
            section: "12.4.3.1",
            demands: "A GroupInfo is not taken if the leaf of its signer is blank.",
            reasons: &[NotMember],
        },
        none(),
        resigned(|invitation| {
            invitation.info.signer = BLANK;
            Ok(())
        }),
    )?;
    scene.remade_welcome(
        Wrong {
            name: "signer-is-nowhere",
            comment: "The signer is a leaf that the tree does not have.",
            packet: INFO,
            field: "signer",
            change: "a leaf beyond the tree",
            section: "12.4.3.1",
            demands: "A GroupInfo is not taken if the leaf of its signer is blank.",
            reasons: &[NotMember],
        },
        none(),
        resigned(|invitation| {
            invitation.info.signer = NOWHERE;
            Ok(())
        }),
    )?;
    scene.remade_welcome(
        Wrong {
            name: "confirmation-tag",
            comment: "The last bit of the confirmation tag is turned over before the GroupInfo is signed.",
            packet: INFO,
            field: "confirmation_tag",
            change: "one bit flipped",
            section: "12.4.3.1",
            demands: "Whoever joins computes the confirmation tag from the secrets and compares it with the one in the GroupInfo.",
            reasons: &[AuthFailed],
        },
        none(),
        resigned(|invitation| {
            invitation.info.confirmation_tag.iter_mut().last().into_iter().for_each(|byte| *byte ^= 1);
            Ok(())
        }),
    )?;
    scene.remade_welcome(
        Wrong {
            name: "transcript",
            comment: "Another confirmed transcript hash, and the confirmation tag of the right one.",
            packet: INFO,
            field: "group_context.confirmed_transcript_hash",
            change: "another than the one that is confirmed",
            section: "12.4.3.1",
            demands: "Whoever joins computes the confirmation tag over the transcript hash in the GroupInfo.",
            reasons: &[AuthFailed],
        },
        none(),
        resigned(|invitation| {
            invitation.info.group_context.confirmed_transcript_hash.iter_mut().for_each(|byte| *byte ^= 0x55);
            Ok(())
        }),
    )?;
    scene.remade_welcome(
        Wrong {
            name: "tree-hash",
            comment: "Another tree hash than the tree's, from which the secrets and the tag follow.",
            packet: INFO,
            field: "group_context.tree_hash",
            change: "another than the tree's",
            section: "12.4.3.1",
            demands: "The tree hash in the GroupInfo is that of the tree.",
            reasons: &[AuthFailed],
        },
        none(),
        consistent(|invitation| {
            invitation.info.group_context.tree_hash.iter_mut().for_each(|byte| *byte ^= 0x55);
            Ok(())
        }),
    )?;
    scene.remade_welcome(
        Wrong {
            name: "group-id",
            comment: "Another group's id, with secrets and tag that follow from it. The members' leaves are signed for the group.",
            packet: INFO,
            field: "group_context.group_id",
            change: "another than the one for which the members have signed their leaves",
            section: "7.2",
            demands: "The signature of a leaf that came by a Commit covers the group's id.",
            reasons: &[AuthFailed],
        },
        none(),
        consistent(|invitation| {
            invitation.info.group_context.group_id = b"another group".to_vec();
            Ok(())
        }),
    )?;
    scene.remade_welcome(
        Wrong {
            name: "another-version",
            comment: "A version of the protocol that does not exist, with secrets and tag that follow from it.",
            packet: INFO,
            field: "group_context.version",
            change: "another than the key package's",
            section: "11.1",
            demands: "All members support the group's version of the protocol.",
            reasons: &[BadRequest],
        },
        none(),
        consistent(|invitation| {
            invitation.info.group_context.version = 2;
            Ok(())
        }),
    )?;
    scene.remade_welcome(
        Wrong {
            name: "unsupported-extension",
            comment: "The group has an extension of a type that bob does not support.",
            packet: INFO,
            field: "group_context.extensions",
            change: "one of a type that the newcomer does not support",
            section: "13.4",
            demands: "Whoever joins a group supports every extension in its GroupContext.",
            reasons: &[BadRequest],
        },
        none(),
        consistent(|invitation| {
            invitation.info.group_context.extensions.push(extension(UNSUPPORTED));
            Ok(())
        }),
    )?;
    scene.remade_welcome(
        Wrong {
            name: "requirement",
            comment: "The group requires an extension that neither bob nor anybody else supports.",
            packet: INFO,
            field: "group_context.extensions",
            change: "required_capabilities that no member has",
            section: "7.3",
            demands: "Every member supports what the group's required_capabilities list, which a newcomer verifies for each leaf.",
            reasons: &[BadRequest],
        },
        none(),
        consistent(|invitation| {
            let required = RequiredCapabilities {
                extension_types: vec![UNSUPPORTED],
                proposal_types: Vec::new(),
                credential_types: Vec::new(),
            };
            let extension = Extension { extension_type: REQUIRED_CAPABILITIES, extension_data: required.encode() };
            invitation.info.group_context.extensions.push(extension);
            Ok(())
        }),
    )?;
    scene.remade_welcome(
        Wrong {
            name: "context-extension-twice",
            comment: "The group has two extensions of a type that everybody supports.",
            packet: INFO,
            field: "group_context.extensions",
            change: "two of the same type",
            section: "13.4",
            demands: "A list of extensions has at most one of each type.",
            reasons: &[BadRequest],
        },
        none(),
        consistent(|invitation| {
            invitation.info.group_context.extensions = vec![extension(SUPPORTED_EXTENSION); 2];
            Ok(())
        }),
    )?;
    scene.remade_welcome(
        Wrong {
            name: "info-extension-twice",
            comment: "The GroupInfo has two extensions of a type that nobody knows. One would be ignored.",
            packet: INFO,
            field: "extensions",
            change: "two of the same type",
            section: "13.4",
            demands: "A list of extensions has at most one of each type.",
            reasons: &[BadRequest],
        },
        none(),
        consistent(|invitation| {
            invitation.info.extensions.extend(vec![extension(UNSUPPORTED); 2]);
            Ok(())
        }),
    )?;
    scene.remade_welcome(
        Wrong {
            name: "no-tree",
            comment: "There is no tree in the GroupInfo, and bob is given none by other means.",
            packet: INFO,
            field: "extensions",
            change: "without the ratchet_tree",
            section: "12.4.3.1",
            demands: "Nobody joins without the tree.",
            reasons: &[BadRequest],
        },
        none(),
        consistent(|invitation| {
            invitation.info.extensions.clear();
            Ok(())
        }),
    )?;
    scene.draft()
}

/// What the joiner is told apart from the group (section 12.4.3.1).
pub(crate) fn secrets(setting: Setting<'_>) -> Result<Draft> {
    let mut scene = Scene::outside(
        Head {
            id: "device-addition/insider-welcome-secrets",
            title: "A Welcome gives a newcomer other secrets than the members have",
            description: "Mallory, a member of several groups, adds bob to each of them by a Commit with a path, and sends him first a \
                Welcome whose secrets are not those of the group. A sound device refuses each of them, and joins by the honest \
                Welcome, for the same key package, that follows.",
            requirements: &["T3"],
        },
        setting,
        true,
    )?;
    let none = ExtensionList::new;
    scene.remade_welcome(
        Wrong {
            name: "path-secret",
            comment: "The path secret is another than that of the lowest node above bob and mallory.",
            packet: SECRETS,
            field: "path_secret",
            change: "another than that of the node's key",
            section: "12.4.3.1",
            demands: "The private keys that a newcomer derives from the path secret are those of the public keys in the tree.",
            reasons: &[AuthFailed],
        },
        none(),
        |_, invitation| {
            let secret = invitation.secrets.path_secret.as_mut().context("no path secret")?;
            secret.iter_mut().for_each(|byte| *byte ^= 0x55);
            invitation.seal()
        },
    )?;
    scene.remade_welcome(
        Wrong {
            name: "path-secret-of-the-root",
            comment: "The path secret of the root instead of that of the node below it.",
            packet: SECRETS,
            field: "path_secret",
            change: "that of the next node above",
            section: "12.4.3.1",
            demands: "The path secret is that of the lowest node above both the newcomer and who added them.",
            reasons: &[AuthFailed],
        },
        none(),
        |scene, invitation| {
            let suite = scene.mallory.suite();
            let secret = invitation.secrets.path_secret.as_mut().context("no path secret")?;
            *secret = expand(&suite, secret, "path", &[], suite.kdf_extract_size())?;
            invitation.seal()
        },
    )?;
    scene.remade_welcome(
        Wrong {
            name: "joiner-secret",
            comment: "A joiner secret with which the GroupInfo cannot be opened.",
            packet: SECRETS,
            field: "joiner_secret",
            change: "another than the one from which the GroupInfo's key follows",
            section: "12.4.3.1",
            demands: "The key that follows from the joiner secret opens the GroupInfo.",
            reasons: &[AuthFailed],
        },
        none(),
        |_, invitation| {
            let honest = invitation.seal()?;
            invitation.secrets.joiner_secret.iter_mut().for_each(|byte| *byte ^= 0x55);
            let other = invitation.seal_under(|_| honest.encrypted_group_info.clone())?;
            Ok(Welcome { encrypted_group_info: honest.encrypted_group_info, ..other })
        },
    )?;
    scene.remade_welcome(
        Wrong {
            name: "of-another-group-info",
            comment: "The secrets are bound to another encrypted GroupInfo than the one that comes with them.",
            packet: "Welcome",
            field: "secrets.encrypted_group_secrets",
            change: "bound to another encrypted_group_info",
            section: "12.4.3.1",
            demands: "A newcomer's secrets are encrypted under the encrypted GroupInfo.",
            reasons: &[AuthFailed],
        },
        none(),
        |_, invitation| invitation.seal_under(|info| [info, b"more"].concat()),
    )?;
    scene.draft()
}

/// The leaves of the tree (sections 7.2, 7.3 and 12.4.3.1).
pub(crate) fn leaves(setting: Setting<'_>) -> Result<Draft> {
    let mut scene = Scene::outside(
        Head {
            id: "device-addition/insider-welcome-leaves",
            title: "A Welcome comes with leaves that are not their members' own",
            description: "Mallory, a member of several groups, adds bob to each of them, and sends him first a Welcome with a tree in which \
                a leaf breaks a rule. She vouches for the parents above her in that tree, and the tree hash, the secrets, the \
                confirmation tag and the signature are those of that tree, so that the leaf alone tells. A sound device refuses \
                each of them, and joins by the honest Welcome, for the same key package, that follows.",
            requirements: &["T3", "R1"],
        },
        setting,
        false,
    )?;
    let none = ExtensionList::new;
    scene.remade_welcome(
        Wrong {
            name: "signature",
            comment: "One bit of the signature in carol's leaf is turned over.",
            packet: TREE,
            field: "leaf_node.signature",
            change: "one bit flipped",
            section: "7.3",
            demands: "Each leaf of the tree is signed with its own signature key, which a newcomer verifies.",
            reasons: &[AuthFailed],
        },
        none(),
        vouched(|_, tree| {
            tree.leaf_mut(CAROL)?.signature.iter_mut().last().into_iter().for_each(|byte| *byte ^= 1);
            Ok(())
        }),
    )?;
    scene.remade_welcome(
        Wrong {
            name: "key-replaced",
            comment: "Erin's encryption key is one of mallory's making: she would read what is meant for erin.",
            packet: TREE,
            field: "leaf_node.encryption_key",
            change: "another than the one that was signed",
            section: "7.3",
            demands: "Each leaf of the tree is signed with its own signature key, which a newcomer verifies.",
            reasons: &[AuthFailed],
        },
        none(),
        vouched(|scene, tree| {
            let (_, public) = scene.mallory.suite().kem_generate().map_err(crypto)?;
            tree.leaf_mut(ERIN)?.encryption_key = public.to_vec();
            Ok(())
        }),
    )?;
    scene.remade_welcome(
        Wrong {
            name: "moved",
            comment: "Erin's leaf stands one place to the left.",
            packet: TREE,
            field: "leaf_node",
            change: "at another place than the one that was signed",
            section: "7.2",
            demands: "The signature of a leaf that came by a Commit covers its place in the tree.",
            reasons: &[AuthFailed],
        },
        none(),
        vouched(|_, tree| {
            let erin = tree.0[2 * ERIN as usize].take();
            tree.0[2 * BLANK as usize] = erin;
            Ok(())
        }),
    )?;
    scene.remade_welcome(
        Wrong {
            name: "encryption-key-twice",
            comment: "Two leaves have the same encryption key: carol lets mallory sign one for her with alice's.",
            packet: TREE,
            field: "leaf_node.encryption_key",
            change: "that of another leaf",
            section: "7.3",
            demands: "No two leaves have the same encryption key.",
            reasons: &[Duplicate, BadRequest],
        },
        none(),
        |scene, invitation| {
            let group_id = invitation.info.group_context.group_id.clone();
            vouched(move |scene, tree| {
                let alices = tree.leaf(ALICE)?.encryption_key.clone();
                let carol = LeafNode { encryption_key: alices, ..tree.leaf(CAROL)?.clone() };
                let suite = scene.mallory.suite();
                *tree.leaf_mut(CAROL)? = signed_leaf(&suite, carol, &scene.carol.signer, &group_id, CAROL)?;
                Ok(())
            })(scene, invitation)
        },
    )?;
    scene.remade_welcome(
        Wrong {
            name: "signature-key-twice",
            comment: "Two leaves have the same signature key: mallory has made erin's leaf one more of hers.",
            packet: TREE,
            field: "leaf_node.signature_key",
            change: "that of another leaf",
            section: "7.3",
            demands: "No two leaves have the same signature key.",
            reasons: &[Duplicate, BadRequest],
        },
        none(),
        |scene, invitation| {
            let group_id = invitation.info.group_context.group_id.clone();
            vouched(move |scene, tree| {
                let mallory = &scene.mallory;
                let erin = LeafNode { signature_key: mallory.public.to_vec(), ..tree.leaf(ERIN)?.clone() };
                *tree.leaf_mut(ERIN)? = signed_leaf(&mallory.suite(), erin, &mallory.signer, &group_id, ERIN)?;
                Ok(())
            })(scene, invitation)
        },
    )?;
    scene.remade_welcome(
        Wrong {
            name: "own-credential-not-listed",
            comment: "The capabilities of mallory's leaf do not list the type of its own credential.",
            packet: TREE,
            field: "leaf_node.capabilities.credentials",
            change: "without the type of the leaf's credential",
            section: "7.2",
            demands: "A leaf's capabilities list the type of its credential.",
            reasons: &[BadRequest],
        },
        none(),
        own_leaf(|leaf| leaf.capabilities.credentials = vec![X509]),
    )?;
    scene.remade_welcome(
        Wrong {
            name: "extension-not-listed",
            comment: "Mallory's leaf has an extension of a type that its capabilities do not list.",
            packet: TREE,
            field: "leaf_node.extensions",
            change: "one whose type the leaf's capabilities do not list",
            section: "7.3",
            demands: "A leaf's capabilities list the types of its extensions.",
            reasons: &[BadRequest],
        },
        none(),
        own_leaf(|leaf| leaf.extensions.push(extension(UNSUPPORTED))),
    )?;
    let stranger = Member::new("stranger", scene.cipher_suite(), false)?;
    let stranger = key_package_in(&stranger.key_package()?)?.leaf_node;
    scene.remade_welcome(
        Wrong {
            name: "newcomer-missing",
            comment: "The leaf at bob's place is somebody else's, by a valid key package.",
            packet: TREE,
            field: "leaf_node",
            change: "a stranger's at the newcomer's place",
            section: "12.4.3.1",
            demands: "The newcomer's own leaf is in the tree.",
            reasons: &[NoKey, BadRequest],
        },
        none(),
        with_tree(|_, tree| {
            *tree.leaf_mut(BOB)? = stranger;
            Ok(())
        }),
    )?;
    scene.draft()
}

/// The parents of the tree and its form (sections 7.9.2, 12.4.3.1 and 12.4.3.3).
pub(crate) fn parents(setting: Setting<'_>) -> Result<Draft> {
    let mut scene = Scene::outside(
        Head {
            id: "device-addition/insider-welcome-parents",
            title: "A Welcome comes with parents that no member has made",
            description: "Mallory, a member of several groups, adds bob to each of them, and sends him first a Welcome with another tree \
                than the group's: parents for which no leaf vouches, or that name leaves which they cannot have. The tree hash, \
                the secrets, the confirmation tag and the signature are those of that tree. A sound device refuses each of them, \
                and joins by the honest Welcome, for the same key package, that follows.",
            requirements: &["T3", "B1"],
        },
        setting,
        false,
    )?;
    let none = ExtensionList::new;
    let chain =
        "From each parent that is not blank a chain of parent hashes leads down to a leaf, which a newcomer verifies.";
    scene.remade_welcome(
        Wrong {
            name: "key-replaced",
            comment: "The root has a key of mallory's making, for which no leaf vouches.",
            packet: TREE,
            field: "parent_node.encryption_key",
            change: "another than the one that a leaf vouches for",
            section: "7.9.2",
            demands: chain,
            reasons: &[AuthFailed],
        },
        none(),
        with_tree(|scene, tree| {
            let root = tree.0.len() / 2;
            let (_, public) = scene.mallory.suite().kem_generate().map_err(crypto)?;
            tree.parent_mut(root)?.encryption_key = public.to_vec();
            Ok(())
        }),
    )?;
    scene.remade_welcome(
        Wrong {
            name: "parent-hash",
            comment: "One bit of the parent hash in a parent below the root is turned over.",
            packet: TREE,
            field: "parent_node.parent_hash",
            change: "one bit flipped",
            section: "7.9.2",
            demands: chain,
            reasons: &[AuthFailed],
        },
        none(),
        with_tree(|_, tree| {
            let parent = tree.parent_mut(BELOW_ROOT)?;
            parent.parent_hash.iter_mut().next().into_iter().for_each(|byte| *byte ^= 1);
            Ok(())
        }),
    )?;
    scene.remade_welcome(
        Wrong {
            name: "leaf-does-not-vouch",
            comment: "Carol's leaf has changed since mallory vouched for the tree with it; it is signed by carol.",
            packet: TREE,
            field: "leaf_node",
            change: "another than the one below which a parent hash was made",
            section: "7.9.2",
            demands: chain,
            reasons: &[AuthFailed],
        },
        none(),
        |scene, invitation| {
            let group_id = invitation.info.group_context.group_id.clone();
            with_tree(move |scene, tree| {
                let (_, public) = scene.mallory.suite().kem_generate().map_err(crypto)?;
                let carol = LeafNode { encryption_key: public.to_vec(), ..tree.leaf(CAROL)?.clone() };
                let suite = scene.mallory.suite();
                *tree.leaf_mut(CAROL)? = signed_leaf(&suite, carol, &scene.carol.signer, &group_id, CAROL)?;
                Ok(())
            })(scene, invitation)
        },
    )?;
    scene.remade_welcome(
        Wrong {
            name: "invented",
            comment: "A parent stands where the tree is blank, with a key of mallory's making: she would read along below it.",
            packet: TREE,
            field: "parent_node",
            change: "one where the tree is blank",
            section: "7.9.2",
            demands: chain,
            reasons: &[AuthFailed],
        },
        none(),
        vouched(|scene, tree| {
            let (_, public) = scene.mallory.suite().kem_generate().map_err(crypto)?;
            let above_erin = 2 * ERIN as usize - 1;
            tree.0[above_erin] = Some(Node::Parent(ParentNode {
                encryption_key: public.to_vec(),
                parent_hash: Vec::new(),
                unmerged_leaves: Vec::new(),
            }));
            Ok(())
        }),
    )?;
    let field = "parent_node.unmerged_leaves";
    let section = "12.4.3.1";
    scene.remade_welcome(
        Wrong {
            name: "unmerged-leaf-missing",
            comment: "Bob is an unmerged leaf of the root and not of the parent between it and him.",
            packet: TREE,
            field,
            change: "without a leaf that the parent above names",
            section,
            demands: "A leaf that is unmerged at one parent is unmerged at every parent between it and that one.",
            reasons: &[BadRequest, AuthFailed],
        },
        none(),
        with_tree(|_, tree| {
            tree.parent_mut(BELOW_ROOT)?.unmerged_leaves.clear();
            Ok(())
        }),
    )?;
    scene.remade_welcome(
        Wrong {
            name: "unmerged-leaf-elsewhere",
            comment: "Erin is an unmerged leaf of a parent that is not above her.",
            packet: TREE,
            field,
            change: "with a leaf that is not below the parent",
            section,
            demands: "The unmerged leaves of a parent are below it.",
            reasons: &[BadRequest, AuthFailed],
        },
        none(),
        with_tree(|_, tree| {
            tree.parent_mut(BELOW_ROOT)?.unmerged_leaves.push(ERIN);
            Ok(())
        }),
    )?;
    scene.remade_welcome(
        Wrong {
            name: "unmerged-leaf-nowhere",
            comment: "A leaf beyond the tree is an unmerged leaf of the root.",
            packet: TREE,
            field,
            change: "with a leaf beyond the tree",
            section,
            demands: "The unmerged leaves of a parent are below it.",
            reasons: &[BadRequest],
        },
        none(),
        with_tree(|_, tree| {
            let root = tree.0.len() / 2;
            tree.parent_mut(root)?.unmerged_leaves.push(NOWHERE);
            Ok(())
        }),
    )?;
    scene.gather(none())?;
    scene.add_before_bob("yolanda")?;
    scene.remade_invitation(
        Wrong {
            name: "unmerged-leaves-out-of-order",
            comment: "The root names its two unmerged leaves, bob's and another newcomer's, in falling order.",
            packet: TREE,
            field,
            change: "in falling order",
            section: "7.1",
            demands: "The unmerged leaves of a parent are in rising order.",
            reasons: &[BadRequest, AuthFailed],
        },
        with_tree(|_, tree| {
            let root = tree.0.len() / 2;
            let unmerged = &mut tree.parent_mut(root)?.unmerged_leaves;
            ensure!(unmerged.len() == 2, "two unmerged leaves");
            unmerged.reverse();
            Ok(())
        }),
    )?;
    scene.remade_welcome(
        Wrong {
            name: "blank-at-the-end",
            comment: "The list of nodes goes on with blank ones.",
            packet: TREE,
            field: "ratchet_tree",
            change: "with blank nodes at its end",
            section: "12.4.3.3",
            demands: "The last node of the list is not blank, which the receiver checks.",
            reasons: &[BadRequest],
        },
        none(),
        resigned(|invitation| {
            let tree = invitation.tree()?;
            invitation.set_tree_bytes(tree.0.encode());
            Ok(())
        }),
    )?;
    scene.remade_welcome(
        Wrong {
            name: "empty",
            comment: "The list of nodes is empty.",
            packet: TREE,
            field: "ratchet_tree",
            change: "of length zero",
            section: "12.4.3.3",
            demands: "The last node of the list is not blank, which the receiver checks.",
            reasons: &[BadRequest],
        },
        none(),
        resigned(|invitation| {
            invitation.set_tree_bytes(Vec::<u8>::new().encode());
            Ok(())
        }),
    )?;
    scene.draft()
}
