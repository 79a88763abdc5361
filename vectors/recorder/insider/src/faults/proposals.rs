//! Lists of proposals in a Commit: who is removed or updated, which pre-shared keys and extensions come in, and what is
//! referred to.

use anyhow::{Context, Result};
use e2esm_adapter::ErrorClass;
use e2esm_adapter::ErrorClass::{AuthFailed, BadRequest, Duplicate, NoKey, NotMember};
use e2esm_playback::Draft;
use mls_rs::psk::ExternalPskId;
use mls_rs::{CipherSuiteProvider, ExtensionList};

use crate::commit::Making;
use crate::epoch::{Epoch, crypto, signed_leaf};
use crate::member::{PSK, SUPPORTED_EXTENSION, UNSUPPORTED, library};
use crate::scene::{ALICE, BLANK, Builder, CAROL, Head, MALLORY, NOWHERE, Scene, Setting, Who, Wrong, as_it_is};
use crate::wire::{
    BASIC, Content, CustomProposal, Extension, FramedContent, LeafNode, LeafNodeSource, Lifetime, PUBLIC_MESSAGE,
    PreSharedKeyId, PreSharedKeyKind, Proposal, ProposalOrRef, REQUIRED_CAPABILITIES, RequiredCapabilities,
    ResumptionPsk, Sender, Wire, X509, message,
};

const PACKET: &str = "commit as PublicMessage";

/// An extension of a leaf or a group.
fn extension(extension_type: u16) -> Extension {
    Extension { extension_type, extension_data: b"content".to_vec() }
}

/// Removes (sections 12.1.3 and 12.2).
pub(crate) fn removes(setting: Setting<'_>) -> Result<Draft> {
    let mut scene = Scene::new(
        Head {
            id: "removal/insider-removes",
            title: "A Commit removes whom it cannot remove",
            description: "Mallory, a member, commits Removes that are not valid by themselves or beside one another. Everything else \
                about the Commit is as it would be if they were. A sound device refuses each of them and takes the honest Commit \
                that follows.",
            requirements: &["T3", "C3"],
        },
        setting,
    )?;
    let field = "proposals";
    scene.remade_commit(
        Wrong {
            name: "committer",
            comment: "Mallory removes herself, and yet has a leaf in the path.",
            packet: PACKET,
            field,
            change: "a Remove of the committer",
            section: "12.2",
            demands: "Nobody removes themselves by their own Commit.",
            reasons: &[BadRequest],
        },
        as_it_is,
        |making| {
            making.propose(Proposal::Remove(MALLORY));
            making.rebuild(|_| {})
        },
    )?;
    scene.remade_commit(
        Wrong {
            name: "blank-leaf",
            comment: "A Remove of a leaf that is blank.",
            packet: PACKET,
            field,
            change: "a Remove of a blank leaf",
            section: "12.1.3",
            demands: "A Remove names a leaf that is not blank.",
            reasons: &[NotMember],
        },
        as_it_is,
        |making| {
            making.propose(Proposal::Remove(BLANK));
            making.rebuild(|_| {})
        },
    )?;
    scene.remade_commit(
        Wrong {
            name: "no-leaf",
            comment: "A Remove of a leaf that the tree does not have.",
            packet: PACKET,
            field,
            change: "a Remove of a leaf beyond the tree",
            section: "12.1.3",
            demands: "A Remove names a leaf that is not blank.",
            reasons: &[NotMember],
        },
        as_it_is,
        |making| {
            making.propose(Proposal::Remove(NOWHERE));
            making.rebuild(|_| {})
        },
    )?;
    let extra = scene.add_extra("zoe")?;
    let remove = scene.carol.group()?.propose_remove(extra, Vec::new()).map_err(library)?;
    let remove = scene.proposal(Who::Carol, "carols-remove", "Carol proposes to remove somebody.", &remove)?;
    let mut epoch = scene.epoch()?;
    epoch.note(&remove)?;
    scene.remade_commit_in(
        &epoch,
        Wrong {
            name: "by-value-and-by-reference",
            comment: "Carol's Remove by reference, and one of mallory's of the same leaf.",
            packet: PACKET,
            field,
            change: "a Remove by reference and one by value, of the same leaf",
            section: "12.2",
            demands: "At most one Update or Remove in a Commit is of any one leaf.",
            reasons: &[Duplicate, NotMember],
        },
        as_it_is,
        |making| {
            making.propose(Proposal::Remove(extra));
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
            name: "update-and-remove",
            comment: "Carol's Update by reference, and a Remove of carol.",
            packet: PACKET,
            field,
            change: "an Update and a Remove of the same leaf",
            section: "12.2",
            demands: "At most one Update or Remove in a Commit is of any one leaf.",
            reasons: &[Duplicate, BadRequest],
        },
        as_it_is,
        |making| {
            making.propose(Proposal::Remove(CAROL));
            making.rebuild(|_| {})
        },
    )?;
    scene.draft()
}

/// Carol's leaf with a fresh key, changed by `change` and signed by carol.
fn carols_leaf(scene: &Scene, epoch: &Epoch, change: impl FnOnce(&mut LeafNode)) -> Result<LeafNode> {
    let (_, public) = epoch.suite.kem_generate().map_err(crypto)?;
    let mut leaf = LeafNode {
        encryption_key: public.to_vec(),
        leaf_node_source: LeafNodeSource::Update,
        ..epoch.tree.leaf(CAROL)?.clone()
    };
    change(&mut leaf);
    signed_leaf(&epoch.suite, leaf, &scene.carol.signer, &epoch.context.group_id, CAROL)
}

/// An Update proposal by carol, as a PublicMessage.
fn carols_update(scene: &Scene, epoch: &Epoch, leaf: LeafNode) -> Result<Vec<u8>> {
    let content = epoch.content(Content::Proposal(Proposal::Update(leaf)));
    let content = FramedContent { sender: Sender::Member(CAROL), ..content };
    Ok(message(PUBLIC_MESSAGE, &epoch.public(content, &scene.carol.signer)?))
}

/// Updates that are not to be committed by this committer (section 12.2).
pub(crate) fn own_updates(setting: Setting<'_>) -> Result<Draft> {
    let mut scene = Scene::new(
        Head {
            id: "authentication/insider-own-update",
            title: "A member commits an Update of their own leaf",
            description: "Mallory, a member, commits Updates of her own leaf, which are valid by themselves. A committer's leaf is \
                replaced by the path alone. A sound device refuses each Commit and takes the honest one that follows.",
            requirements: &["R1"],
        },
        setting,
    )?;
    let section = "12.2";
    let demands = "A committer's own leaf is replaced by the path of the Commit, and never by an Update in it.";
    let epoch = scene.epoch()?;
    let (_, public) = epoch.suite.kem_generate().map_err(crypto)?;
    let leaf = LeafNode {
        encryption_key: public.to_vec(),
        leaf_node_source: LeafNodeSource::Update,
        ..epoch.tree.leaf(MALLORY)?.clone()
    };
    let leaf = signed_leaf(&epoch.suite, leaf, &scene.mallory.signer, &epoch.context.group_id, MALLORY)?;
    scene.remade_commit(
        Wrong {
            name: "by-value",
            comment: "Mallory's Update of her own leaf in her own Commit.",
            packet: PACKET,
            field: "proposals",
            change: "an Update by value",
            section,
            demands,
            reasons: &[BadRequest],
        },
        as_it_is,
        move |making| {
            making.propose(Proposal::Update(leaf));
            making.rebuild(|_| {})
        },
    )?;
    let update = scene.mallory.group()?.propose_update(Vec::new()).map_err(library)?;
    let update = scene.proposal(Who::Mallory, "mallorys-update", "Mallory proposes an Update of her leaf.", &update)?;
    let mut epoch = scene.epoch()?;
    let reference = epoch.note(&update)?;
    scene.remade_commit_in(
        &epoch,
        Wrong {
            name: "by-reference",
            comment: "Mallory commits the Update that she has proposed herself.",
            packet: PACKET,
            field: "proposals",
            change: "the committer's own Update by reference",
            section,
            demands,
            reasons: &[BadRequest],
        },
        as_it_is,
        |making| {
            making.refer(&reference);
            making.rebuild(|_| {})
        },
    )?;
    scene.draft()
}

/// Makes the leaf of an Update.
type MakeLeaf = Box<dyn FnOnce(&Scene, &Epoch) -> Result<LeafNode>>;

/// One invalid Update: what is wrong with it, in the proposal and in the Commit of it.
struct BadUpdate {
    name: &'static str,
    comment: &'static str,
    field: &'static str,
    change: &'static str,
    section: &'static str,
    demands: &'static str,
    reasons: &'static [ErrorClass],
    leaf: MakeLeaf,
}

/// Updates whose leaf is invalid (sections 7.2, 7.3 and 12.1.2). Whether the proposal is refused when it comes or the Commit when it
/// covers it is left to the implementation.
pub(crate) fn updates(setting: Setting<'_>) -> Result<Draft> {
    let mut scene = Scene::new(
        Head {
            id: "authentication/insider-update",
            title: "An Update brings an invalid leaf, and is committed",
            description: "Carol, a member, proposes Updates whose leaf breaks a rule, and mallory, another one, commits them as if they \
                were valid. A device may refuse such a proposal as soon as it comes, or wait for the Commit, which a sound one \
                refuses. It takes carol's honest Update and mallory's Commit of that.",
            requirements: &["R1"],
        },
        setting,
    )?;
    let (stranger, _) = scene.stranger()?;
    let updates = [
        BadUpdate {
            name: "signed-by-another-key",
            comment: "The leaf is signed with a key that nobody knows.",
            field: "leaf_node.signature",
            change: "made with a key that no leaf has",
            section: "7.3",
            demands: "A leaf is signed with the signature key that is in it.",
            reasons: &[AuthFailed, BadRequest],
            leaf: Box::new(move |scene, epoch| {
                let leaf = carols_leaf(scene, epoch, |_| {})?;
                signed_leaf(&epoch.suite, leaf, &stranger, &epoch.context.group_id, CAROL)
            }),
        },
        BadUpdate {
            name: "signed-for-another-place",
            comment: "The leaf is signed for mallory's place in the tree.",
            field: "leaf_node.signature",
            change: "over another leaf_index",
            section: "7.2",
            demands: "The signature of a leaf that came by an Update covers its place in the tree.",
            reasons: &[AuthFailed, BadRequest],
            leaf: Box::new(|scene, epoch| {
                let leaf = carols_leaf(scene, epoch, |_| {})?;
                signed_leaf(&epoch.suite, leaf, &scene.carol.signer, &epoch.context.group_id, MALLORY)
            }),
        },
        BadUpdate {
            name: "source-key-package",
            comment: "The leaf says that it is out of a key package.",
            field: "leaf_node.leaf_node_source",
            change: "key_package",
            section: "7.3",
            demands: "The leaf in an Update says that it came by an Update.",
            reasons: &[BadRequest],
            leaf: Box::new(|scene, epoch| {
                carols_leaf(scene, epoch, |leaf| {
                    let lifetime = Lifetime { not_before: 0, not_after: u64::MAX };
                    leaf.leaf_node_source = LeafNodeSource::KeyPackage(lifetime);
                })
            }),
        },
        BadUpdate {
            name: "source-commit",
            comment: "The leaf says that it came by a Commit.",
            field: "leaf_node.leaf_node_source",
            change: "commit",
            section: "7.3",
            demands: "The leaf in an Update says that it came by an Update.",
            reasons: &[BadRequest],
            leaf: Box::new(|scene, epoch| {
                let size = epoch.suite.kdf_extract_size();
                carols_leaf(scene, epoch, |leaf| leaf.leaf_node_source = LeafNodeSource::Commit(vec![0; size]))
            }),
        },
        BadUpdate {
            name: "encryption-key-of-another",
            comment: "The leaf has alice's encryption key.",
            field: "leaf_node.encryption_key",
            change: "that of another member's leaf",
            section: "7.3",
            demands: "No two leaves have the same encryption key.",
            reasons: &[Duplicate, BadRequest],
            leaf: Box::new(|scene, epoch| {
                let alices = epoch.tree.leaf(ALICE)?.encryption_key.clone();
                carols_leaf(scene, epoch, |leaf| leaf.encryption_key = alices)
            }),
        },
        BadUpdate {
            name: "own-credential-not-listed",
            comment: "The leaf's capabilities do not list the type of its own credential.",
            field: "leaf_node.capabilities.credentials",
            change: "without the type of the leaf's credential",
            section: "7.2",
            demands: "A leaf's capabilities list the type of its credential.",
            reasons: &[BadRequest],
            leaf: Box::new(|scene, epoch| carols_leaf(scene, epoch, |leaf| leaf.capabilities.credentials = vec![X509])),
        },
        BadUpdate {
            name: "extension-not-listed",
            comment: "The leaf has an extension of a type that its capabilities do not list.",
            field: "leaf_node.extensions",
            change: "one whose type the leaf's capabilities do not list",
            section: "7.3",
            demands: "A leaf's capabilities list the types of its extensions.",
            reasons: &[BadRequest],
            leaf: Box::new(|scene, epoch| {
                carols_leaf(scene, epoch, |leaf| leaf.extensions.push(extension(UNSUPPORTED)))
            }),
        },
        BadUpdate {
            name: "extension-twice",
            comment: "The leaf has two extensions of one type.",
            field: "leaf_node.extensions",
            change: "two of the same type",
            section: "13.4",
            demands: "A list of extensions has at most one of each type.",
            reasons: &[BadRequest],
            leaf: Box::new(|scene, epoch| {
                carols_leaf(scene, epoch, |leaf| leaf.extensions = vec![extension(SUPPORTED_EXTENSION); 2])
            }),
        },
    ];
    for update in updates {
        let epoch = scene.epoch()?;
        let leaf = (update.leaf)(&scene, &epoch)?;
        let bytes = carols_update(&scene, &epoch, leaf)?;
        let proposed = Wrong {
            name: update.name,
            comment: update.comment,
            packet: "Update proposal as PublicMessage",
            field: update.field,
            change: update.change,
            section: update.section,
            demands: update.demands,
            reasons: &[],
        };
        scene.open_proposal(proposed, bytes.clone())?;
        let mut epoch = scene.epoch()?;
        let reference = epoch.note(&bytes)?;
        let honest = scene.carol.group()?.propose_update(Vec::new()).map_err(library)?;
        let committed = {
            let commit = scene.build_detached()?;
            let mut making = Making::of(&epoch, &scene.mallory, &commit)?;
            making.refer(&reference);
            making.rebuild(|_| {})?;
            making.finish()?
        };
        let wrong = Wrong {
            comment: "Mallory's Commit of that Update.",
            packet: "commit of an Update proposal as PublicMessage",
            reasons: update.reasons,
            ..proposed
        };
        scene.reject_committed(wrong, committed);
        scene.proposal(
            Who::Carol,
            &format!("{}-honest", update.name),
            "Carol's Update of the same leaf, without the fault.",
            &honest,
        )?;
        let name = format!("{}-committed-honest", update.name);
        scene.commit_proposals(&name, "Mallory's Commit of the honest Update.")?;
    }
    scene.draft()
}

/// Adds the pre-shared key that everybody has.
fn with_psk(commit: Builder<'_>) -> Result<Builder<'_>> {
    commit.add_external_psk(ExternalPskId::new(PSK.0.to_vec())).map_err(library)
}

fn psk_of(proposals: &mut [ProposalOrRef]) -> Result<&mut PreSharedKeyId> {
    proposals
        .iter_mut()
        .find_map(|proposal| match proposal {
            ProposalOrRef::Proposal(Proposal::Psk(id)) => Some(id),
            _ => None,
        })
        .context("no pre-shared key is proposed")
}

/// Pre-shared keys (sections 8.4, 12.1.4, 12.2 and 12.4.2).
pub(crate) fn pre_shared_keys(setting: Setting<'_>) -> Result<Draft> {
    let mut scene = Scene::new(
        Head {
            id: "participation/insider-pre-shared-keys",
            title: "A Commit brings a pre-shared key in wrongly",
            description: "All members have a pre-shared key. Mallory, a member, commits proposals of it that are not valid, or proposals \
                of one that bob does not have. The secrets of the next epoch follow from what she proposes. A sound device refuses \
                each Commit and takes the honest one that follows.",
            requirements: &["T3"],
        },
        setting,
    )?;
    scene.share_psk();
    let nonce = "PreSharedKeyID.psk_nonce";
    let section = "12.1.4";
    let demands = "The nonce of a pre-shared key is as long as a hash of the cipher suite.";
    for (name, comment, change, length) in [
        ("nonce-too-short", "A nonce that lacks a byte.", "one byte shorter", Some(-1)),
        ("nonce-too-long", "A nonce with a byte more.", "one byte longer", Some(1)),
        ("nonce-empty", "A nonce of length zero.", "of length zero", None),
    ] {
        scene.remade_commit(
            Wrong { name, comment, packet: PACKET, field: nonce, change, section, demands, reasons: &[BadRequest] },
            with_psk,
            move |making| {
                let nonce = &mut psk_of(&mut making.proposals)?.psk_nonce;
                let longer = length.map_or(0, |by| nonce.len().saturating_add_signed(by));
                nonce.resize(longer, 0);
                making.rebuild(|_| {})
            },
        )?;
    }
    scene.remade_commit(
        Wrong {
            name: "twice",
            comment: "The same key with the same nonce, twice.",
            packet: PACKET,
            field: "proposals",
            change: "two PreSharedKey proposals with the same PreSharedKeyID",
            section: "12.2",
            demands: "No two PreSharedKey proposals of a Commit have the same PreSharedKeyID.",
            reasons: &[BadRequest, Duplicate],
        },
        with_psk,
        |making| {
            let id = psk_of(&mut making.proposals)?.clone();
            making.propose(Proposal::Psk(id));
            making.rebuild(|_| {})
        },
    )?;
    let group_id = scene.epoch()?.context.group_id;
    for (name, comment, change, usage) in [
        ("usage-reinit", "The group's own resumption secret, as if the group followed another.", "reinit", 2),
        ("usage-branch", "The group's own resumption secret, as if the group branched off another.", "branch", 3),
    ] {
        let epoch = scene.epoch()?.context.epoch;
        let id =
            PreSharedKeyKind::Resumption(ResumptionPsk { usage, psk_group_id: group_id.clone(), psk_epoch: epoch });
        scene.remade_commit(
            Wrong {
                name,
                comment,
                packet: PACKET,
                field: "PreSharedKeyID.usage",
                change,
                section,
                demands: "A resumption secret is for a new group's first epoch only if its usage is reinit or branch, and for all \
                    others only if it is application.",
                reasons: &[BadRequest],
            },
            with_psk,
            move |making| {
                psk_of(&mut making.proposals)?.id = id;
                making.rebuild(|_| {})
            },
        )?;
    }
    let mut epoch = scene.epoch()?;
    epoch.psks.insert(b"not for bob".to_vec(), vec![9; 32]);
    scene.remade_commit_in(
        &epoch,
        Wrong {
            name: "unknown",
            comment: "A pre-shared key that bob was not given.",
            packet: PACKET,
            field: "PreSharedKeyID.psk_id",
            change: "an id that the receiver does not know",
            section: "12.4.2",
            demands: "Whoever takes a Commit has all of its pre-shared keys.",
            reasons: &[NoKey],
        },
        with_psk,
        |making| {
            psk_of(&mut making.proposals)?.id = PreSharedKeyKind::External(b"not for bob".to_vec());
            making.rebuild(|_| {})
        },
    )?;
    scene.draft()
}

/// Requires these of all members.
fn required(extensions: &[u16], proposals: &[u16], credentials: &[u16]) -> Extension {
    let required = RequiredCapabilities {
        extension_types: extensions.to_vec(),
        proposal_types: proposals.to_vec(),
        credential_types: credentials.to_vec(),
    };
    Extension { extension_type: REQUIRED_CAPABILITIES, extension_data: required.encode() }
}

fn same_extensions(commit: Builder<'_>) -> Result<Builder<'_>> {
    commit.set_group_context_ext(ExtensionList::new()).map_err(library)
}

/// The group's extensions (sections 11.1, 12.1.7, 12.2 and 13.4).
pub(crate) fn extensions(setting: Setting<'_>) -> Result<Draft> {
    let mut scene = Scene::new(
        Head {
            id: "participation/insider-group-extensions",
            title: "A Commit gives the group extensions that it cannot have",
            description: "Mallory, a member, commits GroupContextExtensions proposals that would shut members out or leave open what \
                holds. A sound device refuses each Commit and takes the honest one that follows.",
            requirements: &["T3"],
        },
        setting,
    )?;
    let field = "GroupContextExtensions.extensions";
    let set = |extensions: Vec<Extension>| {
        move |making: &mut crate::commit::Making<'_>| {
            making.proposals = vec![ProposalOrRef::Proposal(Proposal::GroupContextExtensions(extensions))];
            making.rebuild(|_| {})
        }
    };
    scene.remade_commit(
        Wrong {
            name: "two-proposals",
            comment: "Two GroupContextExtensions proposals, which do not say the same.",
            packet: PACKET,
            field: "proposals",
            change: "two GroupContextExtensions",
            section: "12.2",
            demands: "A Commit has at most one GroupContextExtensions proposal.",
            reasons: &[BadRequest],
        },
        same_extensions,
        |making| {
            making.propose(Proposal::GroupContextExtensions(vec![required(&[], &[], &[BASIC])]));
            making.rebuild(|_| {})
        },
    )?;
    scene.remade_commit(
        Wrong {
            name: "required-extension",
            comment: "A type of extension that nobody supports is required.",
            packet: PACKET,
            field,
            change: "required_capabilities with an extension type that no member supports",
            section: "12.1.7",
            demands: "What the group's extensions require of members is supported by all of them.",
            reasons: &[BadRequest],
        },
        same_extensions,
        set(vec![required(&[UNSUPPORTED], &[], &[])]),
    )?;
    scene.remade_commit(
        Wrong {
            name: "unsupported",
            comment: "An extension of a type that nobody supports.",
            packet: PACKET,
            field,
            change: "one of a type that no member supports",
            section: "13.4",
            demands: "Every member supports every extension of the GroupContext.",
            reasons: &[BadRequest],
        },
        same_extensions,
        set(vec![extension(UNSUPPORTED)]),
    )?;
    scene.remade_commit(
        Wrong {
            name: "type-twice",
            comment: "Two extensions of the same type, which everybody supports.",
            packet: PACKET,
            field,
            change: "two of the same type",
            section: "13.4",
            demands: "A list of extensions has at most one of each type.",
            reasons: &[BadRequest],
        },
        same_extensions,
        set(vec![required(&[], &[], &[BASIC]); 2]),
    )?;
    scene.draft()
}

/// References and types (sections 12.2 and 12.4).
pub(crate) fn list(setting: Setting<'_>) -> Result<Draft> {
    let mut scene = Scene::new(
        Head {
            id: "participation/insider-proposal-list",
            title: "A Commit covers what is no proposal of this group and epoch",
            description: "Mallory, a member, commits references to proposals that bob does not have, and proposals of kinds that do not \
                belong into such a Commit. A sound device refuses each of them and takes the honest Commit that follows.",
            requirements: &["T3", "R1"],
        },
        setting,
    )?;
    let field = "proposals";
    let size = scene.mallory.suite().kdf_extract_size();
    scene.remade_commit(
        Wrong {
            name: "unknown-reference",
            comment: "A reference to a proposal that nobody has sent.",
            packet: PACKET,
            field,
            change: "a reference to nothing",
            section: "12.4",
            demands: "A reference is the hash of a proposal that was sent to the group.",
            reasons: &[BadRequest],
        },
        as_it_is,
        |making| {
            making.refer(&vec![0x5a; size]);
            Ok(())
        },
    )?;
    let update =
        scene.carol.group()?.propose_group_context_extensions(ExtensionList::new(), Vec::new()).map_err(library)?;
    let update = scene.proposal(
        Who::Carol,
        "carols-proposal",
        "Carol proposes to leave the group's extensions empty.",
        &update,
    )?;
    let reference = scene.epoch()?.note(&update)?;
    scene.commit_proposals("carols-proposal-committed", "Mallory's Commit of it.")?;
    scene.remade_commit(
        Wrong {
            name: "reference-of-the-last-epoch",
            comment: "A reference to carol's proposal, which the last Commit has covered.",
            packet: PACKET,
            field,
            change: "a reference to a proposal of the previous epoch",
            section: "12.4",
            demands: "A reference is to a proposal of the epoch that the Commit ends.",
            reasons: &[BadRequest],
        },
        as_it_is,
        |making| {
            making.refer(&reference);
            Ok(())
        },
    )?;
    let epoch = scene.epoch()?;
    let (kem_output, _) = epoch.suite.hpke_setup_s(&epoch.external_key()?.1, &[]).map_err(crypto)?;
    scene.remade_commit(
        Wrong {
            name: "external-init",
            comment: "A member's Commit with an ExternalInit, from which the next epoch's secrets follow.",
            packet: PACKET,
            field,
            change: "an ExternalInit by a member",
            section: "12.2",
            demands: "A member's Commit has no ExternalInit.",
            reasons: &[BadRequest],
        },
        as_it_is,
        |making| {
            making.init_secret = epoch.external_init(&kem_output)?;
            making.propose(Proposal::ExternalInit(kem_output.clone()));
            Ok(())
        },
    )?;
    scene.remade_commit(
        Wrong {
            name: "unsupported-type",
            comment: "A proposal of a type that no member supports.",
            packet: PACKET,
            field,
            change: "one of a type that no member supports",
            section: "12.2",
            demands: "Every member supports the types of a Commit's proposals.",
            reasons: &[BadRequest],
        },
        as_it_is,
        |making| {
            making.propose(Proposal::Custom(CustomProposal { proposal_type: UNSUPPORTED, data: b"content".to_vec() }));
            Ok(())
        },
    )?;
    scene.draft()
}
