//! What authenticates a Commit: its signature, its membership tag and its confirmation tag.

use anyhow::Result;
use e2esm_adapter::ErrorClass::{AuthFailed, BadRequest};
use e2esm_playback::Draft;
use mls_rs::CipherSuiteProvider;

use crate::bent::Call;
use crate::epoch::{crypto, sign};
use crate::scene::{Head, Scene, Setting, Wrong, as_it_is};
use crate::wire::{PRIVATE_MESSAGE, Wire};

/// Signatures (section 6.1).
pub(crate) fn signature(setting: Setting<'_>) -> Result<Draft> {
    let mut scene = Scene::new(
        Head {
            id: "authentication/insider-commit-signature",
            title: "A member signs a Commit wrongly",
            description: "Mallory, a member, sends Commits whose signature is not hers, or is over something else than the message in \
                its group, epoch and wire format. The membership tag and the confirmation tag fit, so that only the signature \
                tells. A sound device refuses each of them and takes the honest Commit that follows.",
            requirements: &["R1"],
        },
        setting,
    )?;
    let suite = scene.mallory.suite();
    let packet = "commit as PublicMessage";
    let field = "FramedContentAuthData.signature";
    let section = "6.1";
    let reasons: &[_] = &[AuthFailed];

    let (stranger, _) = scene.stranger()?;
    scene.bent_commit(
        Wrong {
            name: "another-key",
            comment: "Signed with a key that is in no leaf.",
            packet,
            field,
            change: "made with a key that no leaf has",
            section,
            demands: "A member's message is signed with the key in the leaf that it names as its sender.",
            reasons,
        },
        as_it_is,
        move |call| {
            if let Call::Sign { label: "FramedContentTBS", key, .. } = call {
                *key = stranger.clone();
            }
        },
    )?;
    let previous = scene.epoch()?.context.encode();
    scene.bent_commit(
        Wrong {
            name: "another-wire-format",
            comment: "Signed for the wire format of encrypted messages, and sent as a PublicMessage.",
            packet,
            field,
            change: "over the wire format of a PrivateMessage",
            section,
            demands: "A signature covers the wire format in which the message is sent.",
            reasons,
        },
        as_it_is,
        |call| {
            if let Call::Sign { label: "FramedContentTBS", content, .. } = call {
                content.splice(2..4, PRIVATE_MESSAGE.to_be_bytes());
            }
        },
    )?;
    let present = scene.epoch()?.context.encode();
    let length = present.len();
    let stale = previous.clone();
    scene.bent_commit(
        Wrong {
            name: "previous-context",
            comment: "Signed over the GroupContext of the previous epoch.",
            packet,
            field,
            change: "over the GroupContext of the previous epoch",
            section,
            demands: "A member's signature covers the GroupContext of the epoch in which the message is sent.",
            reasons,
        },
        as_it_is,
        move |call| {
            if let Call::Sign { label: "FramedContentTBS", content, .. } = call {
                content.truncate(content.len() - length);
                content.extend(&stale);
            }
        },
    )?;
    let mut context = scene.epoch()?.context;
    let length = context.encode().len();
    context.group_id = b"another group".to_vec();
    let other = context.encode();
    scene.bent_commit(
        Wrong {
            name: "another-group",
            comment: "Signed over the GroupContext of a group with another id.",
            packet,
            field,
            change: "over the GroupContext of another group",
            section,
            demands: "A member's signature covers the GroupContext of the group in which the message is sent.",
            reasons,
        },
        as_it_is,
        move |call| {
            if let Call::Sign { label: "FramedContentTBS", content, .. } = call {
                content.truncate(content.len() - length);
                content.extend(&other);
            }
        },
    )?;
    let length = scene.epoch()?.context.encode().len();
    scene.bent_commit(
        Wrong {
            name: "no-context",
            comment: "Signed as somebody outside would sign: without a GroupContext.",
            packet,
            field,
            change: "over no GroupContext",
            section,
            demands: "A member's signature covers the GroupContext.",
            reasons,
        },
        as_it_is,
        move |call| {
            if let Call::Sign { label: "FramedContentTBS", content, .. } = call {
                content.truncate(content.len() - length);
            }
        },
    )?;
    let signer = scene.mallory.signer.clone();
    let mut signed = Vec::new();
    scene.bent_commit(
        Wrong {
            name: "another-label",
            comment: "Signed under the label of a GroupInfo.",
            packet,
            field,
            change: "under the label GroupInfoTBS",
            section: "5.1.2",
            demands: "A signature is over a label that says what is signed, so that one kind of signature is never another.",
            reasons,
        },
        as_it_is,
        move |call| match call {
            Call::Sign { label: "FramedContentTBS", content, .. } => signed = content.clone(),
            Call::Signature { label: "FramedContentTBS", signature } => {
                if let Ok(other) = sign(&suite, &signer, "GroupInfoTBS", &signed) {
                    *signature = other;
                }
            }
            _ => {}
        },
    )?;
    scene.bent_commit(
        Wrong {
            name: "empty",
            comment: "Without a signature: its length is zero.",
            packet,
            field,
            change: "of length zero",
            section,
            demands: "Whoever receives a message verifies its signature.",
            reasons,
        },
        as_it_is,
        |call| {
            if let Call::Signature { label: "FramedContentTBS", signature } = call {
                signature.clear();
            }
        },
    )?;
    scene.draft()
}

/// Membership tags (section 6.2).
pub(crate) fn membership_tag(setting: Setting<'_>) -> Result<Draft> {
    let mut scene = Scene::new(
        Head {
            id: "participation/insider-membership-tag",
            title: "A member tags a Commit wrongly",
            description: "Mallory, a member, sends Commits that she has signed and confirmed correctly, with a membership tag that \
                does not show that she is a member now, or is not over all of the message. A sound device refuses each of them \
                and takes the honest Commit that follows.",
            requirements: &["R1", "C1"],
        },
        setting,
    )?;
    let packet = "commit as PublicMessage";
    let field = "membership_tag";
    let section = "6.2";

    let previous = scene.epoch()?.schedule;
    scene.altered_commit(
        Wrong {
            name: "without-auth-data",
            comment: "Tagged over what is signed, without the signature and the confirmation tag.",
            packet,
            field,
            change: "over FramedContentTBS alone",
            section,
            demands: "The membership tag covers the signature and the confirmation tag beside what is signed.",
            reasons: &[AuthFailed],
        },
        |epoch, message| {
            let key = epoch.schedule.secret("membership")?;
            let tbs = epoch.tbs(crate::wire::PUBLIC_MESSAGE, &message.content);
            message.membership_tag = Some(epoch.suite.mac(&key, &tbs).map_err(crypto)?);
            Ok(())
        },
    )?;
    scene.altered_commit(
        Wrong {
            name: "previous-key",
            comment: "Tagged with the membership key of the previous epoch, as somebody who has been removed could.",
            packet,
            field,
            change: "made with the membership key of the previous epoch",
            section,
            demands: "A member's message is tagged with the membership key of the epoch in which it is sent.",
            reasons: &[AuthFailed],
        },
        move |epoch, message| {
            let old = crate::epoch::Epoch { schedule: previous, ..epoch.clone() };
            message.membership_tag = Some(old.membership_tag(&message.content, &message.auth)?);
            Ok(())
        },
    )?;
    scene.altered_commit(
        Wrong {
            name: "absent",
            comment: "The message ends where its membership tag should be.",
            packet,
            field,
            change: "absent",
            section,
            demands: "A member's message has a membership tag.",
            reasons: &[AuthFailed, BadRequest],
        },
        |_, message| {
            message.membership_tag = None;
            Ok(())
        },
    )?;
    scene.draft()
}

/// Confirmation tags (sections 6.1 and 12.4.2).
pub(crate) fn confirmation_tag(setting: Setting<'_>) -> Result<Draft> {
    let mut scene = Scene::new(
        Head {
            id: "participation/insider-confirmation-tag",
            title: "A member confirms another state than the one that the Commit leads to",
            description: "Mallory, a member, sends Commits that are signed and tagged, with a confirmation tag that is not that of \
                the epoch which they begin. Whoever took one could end up in a group of their own without noticing. A sound device \
                refuses each of them and takes the honest Commit that follows.",
            requirements: &["R1", "T3"],
        },
        setting,
    )?;
    let packet = "commit as PublicMessage";
    let field = "FramedContentAuthData.confirmation_tag";
    let section = "12.4.2";
    let demands =
        "Whoever takes a Commit computes the new epoch's confirmation tag and compares it with the one in the message.";
    let hash = scene.mallory.suite().kdf_extract_size();
    // The membership tag is over a whole message.
    let is_confirmation = move |data: &[u8]| data.len() == hash;

    scene.bent_commit(
        Wrong {
            name: "one-bit",
            comment: "The last bit of the confirmation tag is turned over, and the rest computed from that.",
            packet,
            field,
            change: "one bit flipped",
            section,
            demands,
            reasons: &[AuthFailed],
        },
        as_it_is,
        move |call| match call {
            Call::Tag { data, tag } if is_confirmation(data) => {
                tag.iter_mut().last().into_iter().for_each(|byte| *byte ^= 1)
            }
            _ => {}
        },
    )?;
    scene.bent_commit(
        Wrong {
            name: "empty",
            comment: "A confirmation tag of length zero.",
            packet,
            field,
            change: "of length zero",
            section,
            demands,
            reasons: &[AuthFailed],
        },
        as_it_is,
        move |call| match call {
            Call::Tag { data, tag } if is_confirmation(data) => tag.clear(),
            _ => {}
        },
    )?;
    scene.bent_commit(
        Wrong {
            name: "truncated",
            comment: "The first half of the right confirmation tag.",
            packet,
            field,
            change: "cut to its first half",
            section,
            demands,
            reasons: &[AuthFailed],
        },
        as_it_is,
        move |call| match call {
            Call::Tag { data, tag } if is_confirmation(data) => tag.truncate(tag.len() / 2),
            _ => {}
        },
    )?;
    let present = scene.epoch()?.schedule.secret("confirm")?;
    scene.bent_commit(
        Wrong {
            name: "present-key",
            comment: "Made with the confirmation key of the epoch that the Commit ends.",
            packet,
            field,
            change: "made with the confirmation key of the present epoch",
            section: "6.1",
            demands: "The confirmation tag is made with the key of the epoch that the Commit begins.",
            reasons: &[AuthFailed],
        },
        as_it_is,
        move |call| match call {
            Call::Mac { key, data } if is_confirmation(data) => key.clone_from(&present),
            _ => {}
        },
    )?;
    scene.bent_commit(
        Wrong {
            name: "other-secrets",
            comment: "The next epoch's secrets do not follow from the present ones: mallory alone knows from what.",
            packet,
            field,
            change: "of secrets that do not follow from the present epoch",
            section: "8",
            demands: "An epoch's secrets follow from the init secret of the epoch before it.",
            reasons: &[AuthFailed],
        },
        as_it_is,
        |call| {
            if let Call::Expand { label: "joiner", secret } = call {
                secret.iter_mut().for_each(|byte| *byte ^= 0x55);
            }
        },
    )?;
    let transcript = scene.epoch()?.context.confirmed_transcript_hash;
    scene.bent_commit(
        Wrong {
            name: "old-transcript",
            comment: "Over the transcript without this Commit.",
            packet,
            field,
            change: "over the previous confirmed_transcript_hash",
            section: "8.2",
            demands: "The confirmation tag covers the history of the group with the Commit that it is in.",
            reasons: &[AuthFailed],
        },
        as_it_is,
        move |call| match call {
            Call::Mac { data, .. } if is_confirmation(data) => data.clone_from(&transcript),
            _ => {}
        },
    )?;
    scene.draft()
}
