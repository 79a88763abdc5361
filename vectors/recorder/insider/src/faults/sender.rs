//! Who a PublicMessage says that it is from, and what it may say.

use anyhow::Result;
use e2esm_adapter::ErrorClass::{AuthFailed, BadRequest, NotMember, StaleEpoch};
use e2esm_playback::Draft;

use crate::epoch::Epoch;
use crate::scene::{BLANK, CAROL, Head, NOWHERE, Scene, Setting, Wrong};
use crate::wire::{Content, FramedContent, PUBLIC_MESSAGE, PublicMessage, Sender, message};

/// The same content with this sender, signed and tagged by mallory.
fn said_by(sender: Sender) -> impl FnOnce(&Epoch, PublicMessage) -> Result<Vec<u8>> {
    resigned(move |content| content.sender = sender)
}

/// A changed content, signed and tagged by mallory.
fn resigned(change: impl FnOnce(&mut FramedContent)) -> impl FnOnce(&Epoch, PublicMessage) -> Result<Vec<u8>> {
    move |epoch, mut message_| {
        change(&mut message_.content);
        Ok(message(PUBLIC_MESSAGE, &epoch.public(message_.content, &epoch.signer)?))
    }
}

/// Senders (sections 6 and 12.1.8) and epochs (section 12.1).
pub(crate) fn sender(setting: Setting<'_>) -> Result<Draft> {
    let mut scene = Scene::new(
        Head {
            id: "authentication/insider-sender",
            title: "A member speaks as somebody else",
            description: "Mallory, a member, sends a proposal under another sender than herself: another member, nobody, somebody \
                from outside. She signs it with her own key, and where a membership tag is due it fits. A sound device refuses \
                each of them, takes mallory's proposal under her own name, and the Commit of that.",
            requirements: &["R1"],
        },
        setting,
    )?;
    let packet = "proposal as PublicMessage";
    let field = "FramedContent.sender";
    scene.remade_proposal(
        Wrong {
            name: "another-member",
            comment: "Carol's leaf index, and mallory's signature.",
            packet,
            field,
            change: "the leaf of another member",
            section: "6.1",
            demands: "A member's message is signed with the key in the leaf that it names as its sender.",
            reasons: &[AuthFailed],
        },
        said_by(Sender::Member(CAROL)),
    )?;
    scene.remade_proposal(
        Wrong {
            name: "blank-leaf",
            comment: "The index of a leaf that is blank.",
            packet,
            field,
            change: "a leaf that is blank",
            section: "6.1",
            demands: "A member's message names a leaf with a key that its signature can be verified with.",
            reasons: &[NotMember],
        },
        said_by(Sender::Member(BLANK)),
    )?;
    scene.remade_proposal(
        Wrong {
            name: "no-leaf",
            comment: "The index of a leaf that the tree does not have.",
            packet,
            field,
            change: "a leaf beyond the tree",
            section: "6.1",
            demands: "A member's message names a leaf with a key that its signature can be verified with.",
            reasons: &[NotMember],
        },
        said_by(Sender::Member(NOWHERE)),
    )?;
    scene.remade_proposal(
        Wrong {
            name: "external-sender",
            comment: "As the first external sender, in a group that has none.",
            packet,
            field,
            change: "external, where the group has no external senders",
            section: "12.1.8",
            demands: "There are external senders only where the group's external_senders extension lists them.",
            reasons: &[NotMember, BadRequest],
        },
        said_by(Sender::External(0)),
    )?;
    scene.remade_proposal(
        Wrong {
            name: "new-member-proposal",
            comment: "As somebody who asks to be added, with a proposal that is no Add.",
            packet,
            field,
            change: "new_member_proposal, where the proposal is no Add",
            section: "6.1",
            demands: "Somebody who is not a member yet can propose only their own Add.",
            reasons: &[BadRequest],
        },
        said_by(Sender::NewMemberProposal),
    )?;
    scene.remade_proposal(
        Wrong {
            name: "new-member-commit",
            comment: "As somebody who joins by a Commit, with a proposal.",
            packet,
            field,
            change: "new_member_commit, where the content is no Commit",
            section: "6.1",
            demands: "Somebody who joins by themselves sends a Commit and nothing else.",
            reasons: &[BadRequest],
        },
        said_by(Sender::NewMemberCommit),
    )?;
    scene.remade_proposal(
        Wrong {
            name: "application-data",
            comment: "A message for people as a PublicMessage, which anybody on the way can read.",
            packet: "application message as PublicMessage",
            field: "FramedContent.content_type",
            change: "application",
            section: "6",
            demands: "Messages for people are always encrypted.",
            reasons: &[BadRequest],
        },
        resigned(|content| content.content = Content::Application(b"in the clear".to_vec())),
    )?;
    scene.remade_proposal(
        Wrong {
            name: "next-epoch",
            comment: "For the epoch after the present one.",
            packet,
            field: "FramedContent.epoch",
            change: "the next epoch",
            section: "12.1",
            demands: "A proposal is of the present epoch.",
            reasons: &[StaleEpoch],
        },
        resigned(|content| content.epoch += 1),
    )?;
    scene.remade_proposal(
        Wrong {
            name: "last-epoch",
            comment: "For the epoch before the present one, signed and tagged now.",
            packet,
            field: "FramedContent.epoch",
            change: "the previous epoch",
            section: "12.1",
            demands: "A proposal is of the present epoch.",
            reasons: &[StaleEpoch],
        },
        resigned(|content| content.epoch -= 1),
    )?;
    scene.draft()
}
