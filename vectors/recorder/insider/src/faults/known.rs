//! Faults that an implementation under test is publicly known to take. Each is a file of its own: whoever takes the packet is in
//! another group from then on, and can take nothing that follows.

use anyhow::Result;
use e2esm_adapter::ErrorClass::{BadRequest, Duplicate, NotMember};
use e2esm_playback::Draft;
use mls_rs::ExtensionList;

use crate::member::library;
use crate::scene::{Builder, CAROL, Head, Scene, Setting, Wrong, as_it_is};
use crate::wire::{MLS10, Proposal, ProposalOrRef, ReInit};

const PACKET: &str = "commit as PublicMessage";

/// The same Remove twice (section 12.2).
pub(crate) fn removed_twice(setting: Setting<'_>) -> Result<Draft> {
    let mut scene = Scene::new(
        Head {
            id: "removal/insider-removed-twice",
            title: "A Commit removes the same member twice",
            description: "Mallory, a member, commits two Removes of the same leaf. All else is that of a Commit with one of them. A sound \
                device refuses it and takes the honest one that follows.",
            requirements: &["T3"],
        },
        setting,
    )?;
    let extra = scene.add_extra("yolanda")?;
    let wrong = Wrong {
        name: "twice",
        comment: "Two Removes of the same leaf.",
        packet: PACKET,
        field: "proposals",
        change: "two Removes of the same leaf by value",
        section: "12.2",
        demands: "At most one Update or Remove in a Commit is of any one leaf.",
        reasons: &[Duplicate, BadRequest, NotMember],
    };
    scene.remade_commit(
        wrong,
        |commit| commit.remove_member(extra).map_err(library),
        |making| {
            making.propose(Proposal::Remove(extra));
            making.rebuild(|_| {})
        },
    )?;
    scene.known(
        "openmls",
        &wrong,
        "openmls counts proposals that are the same as one (https://github.com/openmls/openmls/issues/1932). RFC 9420, section 12.2, \
         calls a list with two of them for one leaf invalid.",
    );
    scene.draft()
}

fn same_extensions(commit: Builder<'_>) -> Result<Builder<'_>> {
    commit.set_group_context_ext(ExtensionList::new()).map_err(library)
}

fn reinit(scene: &Scene, version: u16) -> Proposal {
    Proposal::ReInit(ReInit {
        group_id: b"the next group".to_vec(),
        version,
        cipher_suite: scene.cipher_suite(),
        extensions: Vec::new(),
    })
}

/// A ReInit beside another proposal (section 12.2).
pub(crate) fn reinit_beside(setting: Setting<'_>) -> Result<Draft> {
    let mut scene = Scene::new(
        Head {
            id: "participation/insider-reinit-beside",
            title: "A Commit covers a ReInit beside another proposal",
            description: "Mallory, a member, commits a ReInit together with another proposal. A ReInit ends the group, and what else is in \
                the Commit would be lost on those who stop there. A sound device refuses it and takes the honest Commit that follows.",
            requirements: &["T3"],
        },
        setting,
    )?;
    let wrong = Wrong {
        name: "reinit-beside-another",
        comment: "A ReInit beside GroupContextExtensions.",
        packet: PACKET,
        field: "proposals",
        change: "a ReInit beside another proposal",
        section: "12.2",
        demands: "A ReInit is the only proposal of its Commit.",
        reasons: &[BadRequest],
    };
    let proposal = reinit(&scene, MLS10);
    scene.remade_commit(wrong, same_extensions, |making| {
        making.propose(proposal);
        Ok(())
    })?;
    scene.known(
        "openmls",
        &wrong,
        "openmls 0.9 passes over ReInit proposals, which it does not implement: https://github.com/openmls/openmls/issues/1096, and \
         https://github.com/openmls/openmls/pull/2129, which adds this check (valn0309). RFC 9420, section 12.2.",
    );
    scene.draft()
}

/// A ReInit to an older version (section 12.1.5).
pub(crate) fn reinit_downgrade(setting: Setting<'_>) -> Result<Draft> {
    let mut scene = Scene::new(
        Head {
            id: "participation/insider-reinit-downgrade",
            title: "A Commit covers a ReInit to an older version",
            description: "Mallory, a member, commits a ReInit that leads the group to a version of the protocol before the present one. A \
                sound device refuses it and takes the honest Commit that follows.",
            requirements: &["T3"],
        },
        setting,
    )?;
    let wrong = Wrong {
        name: "reinit-downgrade",
        comment: "A ReInit to a version of the protocol before the present one.",
        packet: PACKET,
        field: "ReInit.version",
        change: "less than the group's",
        section: "12.1.5",
        demands: "A ReInit does not lead to an older version of the protocol.",
        reasons: &[BadRequest],
    };
    let proposal = reinit(&scene, 0);
    scene.remade_commit(wrong, as_it_is, |making| {
        making.propose(proposal);
        Ok(())
    })?;
    scene.known(
        "openmls",
        &wrong,
        "openmls 0.9 passes over ReInit proposals, which it does not implement: https://github.com/openmls/openmls/issues/1096, and \
         https://github.com/openmls/openmls/pull/2129, which adds this check (valn0901). RFC 9420, section 12.1.5.",
    );
    scene.draft()
}

/// A member joins once more and stays (section 7.3).
pub(crate) fn rejoin(setting: Setting<'_>) -> Result<Draft> {
    let mut scene = Scene::new(
        Head {
            id: "participation/insider-joins-twice",
            title: "A member joins once more by an external Commit, and keeps the old leaf",
            description: "Carol, a member, joins her own group by an external Commit that does not remove her old leaf. She would have two \
                leaves with one signature key, and be removed from one of them only. A sound device refuses it, and takes her external \
                Commit with the Remove.",
            requirements: &["T3", "C1"],
        },
        setting,
    )?;
    let wrong = Wrong {
        name: "member-stays",
        comment: "Carol joins once more and does not remove her old leaf.",
        packet: "external commit as PublicMessage",
        field: "proposals",
        change: "without a Remove of the joiner's old leaf",
        section: "7.3",
        demands: "No two leaves have the same signature key.",
        reasons: &[Duplicate, BadRequest],
    };
    super::external::joining(&mut scene, wrong, Some(CAROL), |_, making| {
        making.proposals.retain(|proposal| !matches!(proposal, ProposalOrRef::Proposal(Proposal::Remove(_))));
        making.fresh_path()
    })?;
    scene.known(
        "openmls",
        &wrong,
        "openmls 0.9 does not look at the signature key in the path of an external Commit when it looks for duplicates; mended by \
         https://github.com/openmls/openmls/pull/2207, which this version does not have. RFC 9420, section 7.3.",
    );
    scene.draft()
}
