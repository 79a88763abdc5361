//! External Commits, by which somebody joins by themselves, and proposals from outside.

use anyhow::{Context, Result};
use e2esm_adapter::ErrorClass::{AuthFailed, BadRequest, NotMember};
use e2esm_playback::Draft;
use mls_rs::{CipherSuiteProvider, ExtensionList, MlsMessage};

use crate::commit::Making;
use crate::epoch::crypto;
use crate::member::{Member, key_package_in, library};
use crate::scene::{CAROL, ERIN, Head, MALLORY, NOWHERE, Scene, Setting, Who, Wrong};
use crate::wire::{
    BASIC, Content, Credential, EXTERNAL_SENDERS, ExternalSender, FramedContent, LeafNodeSource, Lifetime,
    PUBLIC_MESSAGE, Proposal, ProposalOrRef, Sender, Wire, message,
};

const PACKET: &str = "external commit as PublicMessage";

/// Joins by themselves, honestly, and before that as `change` has it. Mallory has given the newcomer the GroupInfo, and the newcomer
/// lets her act in their name.
pub(crate) fn joining(
    scene: &mut Scene,
    wrong: Wrong,
    removing: Option<u32>,
    change: impl FnOnce(&Scene, &mut Making<'_>) -> Result<()>,
) -> Result<()> {
    let epoch = scene.epoch()?;
    let info = scene.mallory.group()?.group_info_message_allowing_ext_commit(true).map_err(library)?;
    let mut newcomer = match removing {
        Some(CAROL) => None,
        _ => Some(Member::new(&format!("joiner {}", wrong.name), scene.cipher_suite(), false)?),
    };
    let joiner = newcomer.as_ref().unwrap_or(&scene.carol);
    let mut builder = joiner.client.external_commit_builder().map_err(library)?;
    if let Some(leaf) = removing {
        builder = builder.with_removal(leaf);
    }
    let (group, honest) = builder.build(info).map_err(library).with_context(|| wrong.name)?;
    let honest = honest.to_bytes().map_err(library)?;
    let faulty = {
        let mut making = Making::of(&epoch, joiner, &honest).with_context(|| wrong.name)?;
        change(scene, &mut making).with_context(|| wrong.name)?;
        making.finish()?
    };
    scene.reject(wrong, faulty);
    match &mut newcomer {
        Some(newcomer) => newcomer.entered(group),
        None => scene.carol.entered(group),
    }
    scene.joined(&wrong, honest, removing == Some(CAROL))
}

/// External Commits (sections 8.3, 12.2 and 12.4.3.2).
pub(crate) fn commits(setting: Setting<'_>) -> Result<Draft> {
    let mut scene = Scene::new(
        Head {
            id: "device-addition/insider-external-commit",
            title: "Somebody joins by an external Commit that breaks its rules",
            description: "Mallory, a member, gives newcomers what they need to join by themselves, and what they need to go wrong: the \
                group's secrets. Each sends an external Commit that breaks one of the rules for them; all else is computed from \
                that. A sound device refuses each of them and takes the newcomer's honest one.",
            requirements: &["C1", "R1", "T3"],
        },
        setting,
    )?;
    let suite = scene.mallory.suite();
    joining(
        &mut scene,
        Wrong {
            name: "signed-by-another-key",
            comment: "Signed with a key that is not the one in the newcomer's leaf.",
            packet: PACKET,
            field: "FramedContentAuthData.signature",
            change: "made with another key than that of the path's leaf",
            section: "12.4.3.2",
            demands: "An external Commit is signed with the signature key in the leaf of its path.",
            reasons: &[AuthFailed],
        },
        None,
        |scene, making| {
            making.signer = scene.stranger()?.0;
            Ok(())
        },
    )?;
    joining(
        &mut scene,
        Wrong {
            name: "leaf-signed-by-another-key",
            comment: "The newcomer's leaf is signed with a key that nobody knows.",
            packet: PACKET,
            field: "path.leaf_node.signature",
            change: "made with a key that no leaf has",
            section: "7.3",
            demands: "A leaf is signed with the signature key that is in it.",
            reasons: &[AuthFailed],
        },
        None,
        |scene, making| {
            making.leaf_signer = scene.stranger()?.0;
            making.rebuild(|_| {})
        },
    )?;
    joining(
        &mut scene,
        Wrong {
            name: "source-key-package",
            comment: "The newcomer's leaf says that it is out of a key package.",
            packet: PACKET,
            field: "path.leaf_node.leaf_node_source",
            change: "key_package",
            section: "7.3",
            demands: "The leaf in a Commit's path says that it came by a Commit, and so has a parent hash.",
            reasons: &[BadRequest],
        },
        None,
        |_, making| {
            making.rebuild(|leaf| {
                leaf.leaf_node_source = LeafNodeSource::KeyPackage(Lifetime { not_before: 0, not_after: u64::MAX });
            })
        },
    )?;
    joining(
        &mut scene,
        Wrong {
            name: "parent-hash",
            comment: "A bit of the parent hash in the newcomer's leaf is turned over.",
            packet: PACKET,
            field: "path.leaf_node.parent_hash",
            change: "one bit flipped",
            section: "7.9.2",
            demands: "Whoever takes a Commit with a path computes the parent hash and compares it with the one in the new leaf.",
            reasons: &[AuthFailed],
        },
        None,
        |_, making| {
            making.rebuild(|leaf| {
                if let LeafNodeSource::Commit(hash) = &mut leaf.leaf_node_source {
                    hash.iter_mut().next().into_iter().for_each(|byte| *byte ^= 1);
                }
            })
        },
    )?;
    joining(
        &mut scene,
        Wrong {
            name: "no-path",
            comment: "Without a path, and so without a leaf.",
            packet: PACKET,
            field: "path",
            change: "absent",
            section: "12.4.3.2",
            demands: "An external Commit has a path.",
            reasons: &[BadRequest],
        },
        None,
        |_, making| {
            making.path = None;
            making.rebuild(|_| {})
        },
    )?;
    joining(
        &mut scene,
        Wrong {
            name: "no-external-init",
            comment: "Without an ExternalInit: the secrets follow from those of the present epoch, as in a member's Commit.",
            packet: PACKET,
            field: "proposals",
            change: "without an ExternalInit",
            section: "12.2",
            demands: "An external Commit has one ExternalInit.",
            reasons: &[BadRequest],
        },
        None,
        |_, making| {
            making.proposals.clear();
            making.init_of_members()
        },
    )?;
    let other = suite.clone();
    joining(
        &mut scene,
        Wrong {
            name: "two-external-inits",
            comment: "Two ExternalInits, of which the secrets follow from the first.",
            packet: PACKET,
            field: "proposals",
            change: "two ExternalInits",
            section: "12.2",
            demands: "An external Commit has one ExternalInit.",
            reasons: &[BadRequest],
        },
        None,
        move |_, making| {
            let (kem_output, _) = other.hpke_setup_s(&making.external_key()?, &[]).map_err(crypto)?;
            making.proposals.push(ProposalOrRef::Proposal(Proposal::ExternalInit(kem_output)));
            Ok(())
        },
    )?;
    let nobody = suite.kem_generate().map_err(crypto)?.1;
    let kem = suite.clone();
    joining(
        &mut scene,
        Wrong {
            name: "external-init-for-another-key",
            comment: "The ExternalInit is for another key than the group's: nobody else can compute what follows.",
            packet: PACKET,
            field: "ExternalInit.kem_output",
            change: "for another key than the group's external_pub",
            section: "8.3",
            demands: "The secrets of the next epoch follow from what the members compute from the ExternalInit.",
            reasons: &[AuthFailed],
        },
        None,
        move |_, making| {
            let (kem_output, _) = kem.hpke_setup_s(&nobody, &[]).map_err(crypto)?;
            making.proposals = vec![ProposalOrRef::Proposal(Proposal::ExternalInit(kem_output))];
            Ok(())
        },
    )?;
    joining(
        &mut scene,
        Wrong {
            name: "external-init-too-short",
            comment: "A KEM output that lacks a byte.",
            packet: PACKET,
            field: "ExternalInit.kem_output",
            change: "one byte shorter",
            section: "8.3",
            demands: "The secrets of the next epoch follow from what the members compute from the ExternalInit.",
            reasons: &[AuthFailed, BadRequest],
        },
        None,
        |_, making| {
            if let Some(ProposalOrRef::Proposal(Proposal::ExternalInit(kem_output))) = making.proposals.first_mut() {
                kem_output.pop();
            }
            Ok(())
        },
    )?;
    let extra = key_package_in(&Member::new("stowaway", scene.cipher_suite(), false)?.key_package()?)?;
    joining(
        &mut scene,
        Wrong {
            name: "with-add",
            comment: "The newcomer brings somebody else along.",
            packet: PACKET,
            field: "proposals",
            change: "with an Add",
            section: "12.2",
            demands: "An external Commit has an ExternalInit, perhaps one Remove and pre-shared keys, and no other proposals.",
            reasons: &[BadRequest, AuthFailed],
        },
        None,
        |_, making| {
            making.propose(Proposal::Add(extra));
            making.fresh_path()
        },
    )?;
    joining(
        &mut scene,
        Wrong {
            name: "with-extensions",
            comment: "The newcomer replaces the group's extensions.",
            packet: PACKET,
            field: "proposals",
            change: "with GroupContextExtensions",
            section: "12.2",
            demands: "An external Commit has an ExternalInit, perhaps one Remove and pre-shared keys, and no other proposals.",
            reasons: &[BadRequest],
        },
        None,
        |_, making| {
            making.propose(Proposal::GroupContextExtensions(Vec::new()));
            making.rebuild(|_| {})
        },
    )?;
    let leaf = scene.epoch()?.tree.leaf(MALLORY)?.clone();
    joining(
        &mut scene,
        Wrong {
            name: "with-update",
            comment: "The newcomer, who has no leaf yet, brings an Update.",
            packet: PACKET,
            field: "proposals",
            change: "with an Update",
            section: "12.2",
            demands: "An external Commit has an ExternalInit, perhaps one Remove and pre-shared keys, and no other proposals.",
            reasons: &[BadRequest],
        },
        None,
        |_, making| {
            making.propose(Proposal::Update(leaf));
            making.rebuild(|_| {})
        },
    )?;
    joining(
        &mut scene,
        Wrong {
            name: "two-removes",
            comment: "The newcomer removes two members.",
            packet: PACKET,
            field: "proposals",
            change: "two Removes",
            section: "12.2",
            demands: "An external Commit has at most one Remove, of the newcomer's own old leaf.",
            reasons: &[BadRequest],
        },
        None,
        |_, making| {
            making.propose(Proposal::Remove(CAROL));
            making.propose(Proposal::Remove(ERIN));
            making.fresh_path()
        },
    )?;
    joining(
        &mut scene,
        Wrong {
            name: "removes-nobody",
            comment: "The newcomer removes a leaf that the tree does not have.",
            packet: PACKET,
            field: "proposals",
            change: "with a Remove of a leaf beyond the tree",
            section: "12.1.3",
            demands: "A Remove names a leaf that is not blank.",
            reasons: &[NotMember],
        },
        None,
        |_, making| {
            making.propose(Proposal::Remove(NOWHERE));
            making.rebuild(|_| {})
        },
    )?;
    let proposal =
        scene.carol.group()?.propose_group_context_extensions(ExtensionList::new(), Vec::new()).map_err(library)?;
    let proposal = scene.proposal(
        Who::Carol,
        "carols-proposal",
        "Carol proposes to leave the group's extensions empty.",
        &proposal,
    )?;
    let mut epoch = scene.epoch()?;
    let reference = epoch.note(&proposal)?;
    joining(
        &mut scene,
        Wrong {
            name: "with-reference",
            comment: "The newcomer refers to carol's proposal, which they cannot have verified.",
            packet: PACKET,
            field: "proposals",
            change: "with a reference",
            section: "12.4.3.2",
            demands: "An external Commit refers to no proposals.",
            reasons: &[BadRequest],
        },
        None,
        |_, making| {
            making.refer(&reference);
            Ok(())
        },
    )?;
    scene.draft()
}

/// Proposals from outside (sections 6.1 and 12.1.8).
pub(crate) fn proposals(setting: Setting<'_>) -> Result<Draft> {
    let service = Member::new("service", setting.cipher_suite, false)?;
    let sender = ExternalSender {
        signature_key: service.public.to_vec(),
        credential: Credential { credential_type: BASIC, identity: b"service".to_vec() },
    };
    let extension = mls_rs::Extension::new(EXTERNAL_SENDERS.into(), vec![sender].encode());
    let mut scene = Scene::with_extensions(
        Head {
            id: "participation/insider-external-proposal",
            title: "Somebody outside proposes what they may not",
            description: "The group has an external sender, who may propose and is no member. Proposals come that claim to be from \
                outside and are not from that sender, or are of a kind that nobody outside may make. A sound device refuses each of \
                them, and takes the external sender's honest proposal and the Commit of it.",
            requirements: &["C1", "R1"],
        },
        setting,
        ExtensionList::from(vec![extension]),
    )?;
    let packet = "external proposal as PublicMessage";
    let (stranger, _) = scene.stranger()?;
    let mallory = scene.mallory.signer.clone();
    let joiner = Member::new("joiner", setting.cipher_suite, false)?;
    let joiners = key_package_in(&joiner.key_package()?)?;
    let (service_key, joiner_key) = (service.signer.clone(), joiner.signer.clone());
    let cases = [
        (
            Wrong {
                name: "signed-by-another-key",
                comment: "As the external sender, signed with a key that nobody knows.",
                packet,
                field: "FramedContentAuthData.signature",
                change: "made with another key than the external sender's",
                section: "6.1",
                demands: "An external sender's proposal is signed with the key in the group's external_senders extension.",
                reasons: &[AuthFailed],
            },
            Sender::External(0),
            Some(stranger.clone()),
            None,
        ),
        (
            Wrong {
                name: "signed-by-a-member",
                comment: "As the external sender, signed by mallory.",
                packet,
                field: "FramedContentAuthData.signature",
                change: "made with a member's key",
                section: "6.1",
                demands: "An external sender's proposal is signed with the key in the group's external_senders extension.",
                reasons: &[AuthFailed],
            },
            Sender::External(0),
            Some(mallory),
            None,
        ),
        (
            Wrong {
                name: "another-index",
                comment: "As an external sender that the group does not have, signed by the one that it has.",
                packet,
                field: "FramedContent.sender",
                change: "beyond the list of external senders",
                section: "12.1.8",
                demands: "There are external senders only where the group's external_senders extension lists them.",
                reasons: &[NotMember, BadRequest],
            },
            Sender::External(1),
            None,
            None,
        ),
        (
            Wrong {
                name: "new-member-not-signed-by-themselves",
                comment: "Somebody is asked for as if by themselves, and has not signed.",
                packet,
                field: "FramedContentAuthData.signature",
                change: "made with another key than the newcomer's",
                section: "6.1",
                demands: "Who asks to be added signs with the signature key in their key package.",
                reasons: &[AuthFailed],
            },
            Sender::NewMemberProposal,
            Some(stranger),
            Some(Proposal::Add(joiners.clone())),
        ),
        (
            Wrong {
                name: "new-member-removes",
                comment: "As somebody who asks to be added, with a Remove.",
                packet,
                field: "Proposal.proposal_type",
                change: "remove, by somebody who is not a member yet",
                section: "6.1",
                demands: "Somebody who is not a member yet can propose only their own Add.",
                reasons: &[BadRequest],
            },
            Sender::NewMemberProposal,
            Some(joiner_key),
            Some(Proposal::Remove(ERIN)),
        ),
    ];
    for (index, (wrong, sender, key, proposal)) in cases.into_iter().enumerate() {
        let extra = scene.add_extra(&format!("extra {index}").replace(' ', "-"))?;
        let epoch = scene.epoch()?;
        let content = |sender, proposal| FramedContent { sender, ..epoch.content(Content::Proposal(proposal)) };
        let faulty = content(sender, proposal.unwrap_or(Proposal::Remove(extra)));
        let faulty = epoch.public(faulty, key.as_ref().unwrap_or(&service_key))?;
        scene.reject(wrong, message(PUBLIC_MESSAGE, &faulty));
        let honest = epoch.public(content(Sender::External(0), Proposal::Remove(extra)), &service_key)?;
        let honest = MlsMessage::from_bytes(&message(PUBLIC_MESSAGE, &honest)).map_err(library)?;
        scene.proposal_from_outside(
            &format!("{}-honest", wrong.name),
            "The external sender's Remove of somebody.",
            &honest,
        )?;
        scene.commit_proposals(&format!("{}-committed", wrong.name), "Mallory's Commit of the honest proposal.")?;
    }
    scene.draft()
}
