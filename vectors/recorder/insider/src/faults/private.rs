//! Encrypted messages: PrivateMessage and the sender data in it.

use anyhow::Result;
use e2esm_adapter::ErrorClass::{AuthFailed, BadRequest, Duplicate, NoKey, NotMember, StaleEpoch};
use e2esm_playback::Draft;

use crate::bent::Call;
use crate::epoch::Epoch;
use crate::scene::{BLANK, BOB, CAROL, Head, NOWHERE, Scene, Setting, Wrong};
use crate::wire::{PROPOSAL, PUBLIC_MESSAGE, PrivateContent, PrivateMessage, SenderData};

/// The length of SenderData (section 6.3.2).
const SENDER_DATA: usize = 12;

/// A message taken apart.
struct Open {
    outer: PrivateMessage,
    /// Whose key it is encrypted with.
    keys: SenderData,
    /// What it says about that.
    sender_data: SenderData,
    content: PrivateContent,
}

impl Open {
    fn of(epoch: &Epoch, message: PrivateMessage) -> Result<Self> {
        let (sender_data, content) = epoch.open(&message)?;
        Ok(Self { outer: message, keys: sender_data.clone(), sender_data, content })
    }

    /// Becomes a message from this leaf, with the first key of that leaf's ratchet.
    fn claim(&mut self, leaf: u32) {
        self.keys = SenderData { leaf_index: leaf, generation: 0, reuse_guard: 0 };
        self.sender_data = self.keys.clone();
    }

    fn sign(&mut self, epoch: &Epoch) -> Result<()> {
        let framed = epoch.framed(&self.outer, self.sender_data.leaf_index, self.content.content.clone());
        self.content.auth.signature = epoch.private_signature(&framed, &epoch.signer)?;
        Ok(())
    }

    fn close(self, epoch: &Epoch) -> Result<PrivateMessage> {
        epoch.close(self.outer, &self.keys, &self.sender_data, &self.content.encode())
    }
}

/// Takes a message apart, lets `change` do something, and puts it together again.
fn changed(
    change: impl FnOnce(&Epoch, &mut Open) -> Result<()>,
) -> impl FnOnce(&Epoch, PrivateMessage) -> Result<PrivateMessage> {
    |epoch, message| {
        let mut open = Open::of(epoch, message)?;
        change(epoch, &mut open)?;
        open.close(epoch)
    }
}

/// Signature and content (sections 6.1 and 6.3.1).
pub(crate) fn content(setting: Setting<'_>) -> Result<Draft> {
    let mut scene = Scene::new(
        Head {
            id: "authentication/insider-message-content",
            title: "A member encrypts a message that is not authentic",
            description: "Mallory, a member, has the keys of the group's encryption. She sends messages that decrypt, with a \
                signature that is missing, not hers or over something else, or with something in the padding. A sound device \
                refuses each of them and reads her next honest message.",
            requirements: &["R1"],
        },
        setting,
    )?;
    let packet = "application message as PrivateMessage";
    let field = "FramedContentAuthData.signature";
    let previous = scene.epoch()?.context;
    scene.commit_empty("commit")?;

    scene.bent_message(
        Wrong {
            name: "padding",
            comment: "The last byte of the padding is a one.",
            packet,
            field: "PrivateMessageContent.padding",
            change: "a byte that is not zero",
            section: "6.3.1",
            demands: "Padding is all zeros, and a message with any other is malformed.",
            reasons: &[BadRequest],
        },
        |call| {
            // The sender data are no longer than that, and have no padding.
            if let Call::AeadSeal { plaintext } = call
                && plaintext.len() > SENDER_DATA
            {
                plaintext.push(1);
            }
        },
    )?;
    let (stranger, _) = scene.stranger()?;
    scene.remade_message(
        Wrong {
            name: "another-key",
            comment: "Signed with a key that is in no leaf.",
            packet,
            field,
            change: "made with a key that no leaf has",
            section: "6.1",
            demands: "A member's message is signed with the key in the leaf that it names as its sender.",
            reasons: &[AuthFailed],
        },
        changed(|epoch, open| {
            let framed = epoch.framed(&open.outer, open.keys.leaf_index, open.content.content.clone());
            open.content.auth.signature = epoch.private_signature(&framed, &stranger)?;
            Ok(())
        }),
    )?;
    scene.remade_message(
        Wrong {
            name: "no-signature",
            comment: "A signature of length zero.",
            packet,
            field,
            change: "of length zero",
            section: "6.3.1",
            demands: "Whoever decrypts a message also verifies its signature.",
            reasons: &[AuthFailed],
        },
        changed(|_, open| {
            open.content.auth.signature.clear();
            Ok(())
        }),
    )?;
    scene.remade_message(
        Wrong {
            name: "signed-as-public",
            comment: "Signed for the wire format of a PublicMessage.",
            packet,
            field,
            change: "over the wire format of a PublicMessage",
            section: "6.1",
            demands: "A signature covers the wire format in which the message is sent.",
            reasons: &[AuthFailed],
        },
        changed(|epoch, open| {
            let framed = epoch.framed(&open.outer, open.keys.leaf_index, open.content.content.clone());
            open.content.auth.signature = epoch.signature(PUBLIC_MESSAGE, &framed, &epoch.signer)?;
            Ok(())
        }),
    )?;
    scene.remade_message(
        Wrong {
            name: "previous-context",
            comment: "Signed over the GroupContext of the previous epoch.",
            packet,
            field,
            change: "over the GroupContext of the previous epoch",
            section: "6.1",
            demands: "A member's signature covers the GroupContext of the epoch in which the message is sent.",
            reasons: &[AuthFailed],
        },
        changed(|epoch, open| {
            let framed = epoch.framed(&open.outer, open.keys.leaf_index, open.content.content.clone());
            let old = Epoch { context: previous, ..epoch.clone() };
            open.content.auth.signature = old.private_signature(&framed, &epoch.signer)?;
            Ok(())
        }),
    )?;
    scene.remade_message(
        Wrong {
            name: "authenticated-data",
            comment: "What is sent beside the ciphertext is not what was signed; the encryption fits it.",
            packet,
            field: "authenticated_data",
            change: "other than what was signed",
            section: "6.1",
            demands: "A signature covers the data that goes with the message unencrypted.",
            reasons: &[AuthFailed],
        },
        changed(|_, open| {
            open.outer.authenticated_data = b"something else".to_vec();
            Ok(())
        }),
    )?;
    scene.message()?;
    scene.draft()
}

/// Sender data (section 6.3.2), ratchets and epochs (sections 6.3.1, 9 and 15.3).
pub(crate) fn sender_data(setting: Setting<'_>) -> Result<Draft> {
    let mut scene = Scene::new(
        Head {
            id: "authentication/insider-sender-data",
            title: "A member encrypts a message as somebody else",
            description: "Mallory, a member, knows from what every member's message keys follow. She sends messages whose sender \
                data names somebody else, nobody, or a key that is not to be used, and signs them herself. A sound device refuses \
                each of them and reads her next honest message.",
            requirements: &["R1"],
        },
        setting,
    )?;
    let packet = "application message as PrivateMessage";
    let field = "SenderData.leaf_index";

    scene.remade_message(
        Wrong {
            name: "another-member",
            comment: "Carol's leaf, carol's message key, and mallory's signature.",
            packet,
            field,
            change: "the leaf of another member, encrypted with that member's key",
            section: "6.1",
            demands: "A member's message is signed with the key in the leaf that it names as its sender.",
            reasons: &[AuthFailed],
        },
        changed(|epoch, open| {
            open.claim(CAROL);
            open.sign(epoch)
        }),
    )?;
    scene.remade_message(
        Wrong {
            name: "the-receiver",
            comment: "Bob's own leaf, his own message key, and mallory's signature: bob would have said it himself.",
            packet,
            field,
            change: "the leaf of the device itself, encrypted with its own key",
            section: "6.1",
            demands: "A member's message is signed with the key in the leaf that it names as its sender.",
            reasons: &[AuthFailed, NoKey, BadRequest],
        },
        changed(|epoch, open| {
            open.claim(BOB);
            open.sign(epoch)
        }),
    )?;
    scene.remade_message(
        Wrong {
            name: "another-ratchet",
            comment: "Carol's leaf, and encrypted with mallory's own message key.",
            packet,
            field,
            change: "the leaf of another member, encrypted with the sender's own key",
            section: "6.3.2",
            demands: "The sender data names the leaf from whose ratchet the message key is.",
            reasons: &[AuthFailed],
        },
        changed(|epoch, open| {
            open.sender_data.leaf_index = CAROL;
            open.sign(epoch)
        }),
    )?;
    scene.remade_message(
        Wrong {
            name: "blank-leaf",
            comment: "A leaf that is blank, with the message key that it would have.",
            packet,
            field,
            change: "a leaf that is blank",
            section: "6.3.2",
            demands: "The leaf in the sender data is not blank, which the receiver verifies.",
            reasons: &[NotMember],
        },
        changed(|epoch, open| {
            open.claim(BLANK);
            open.sign(epoch)
        }),
    )?;
    scene.remade_message(
        Wrong {
            name: "no-leaf",
            comment: "A leaf that the tree does not have.",
            packet,
            field,
            change: "a leaf beyond the tree",
            section: "6.3.2",
            demands: "The leaf in the sender data is not blank, which the receiver verifies.",
            reasons: &[NotMember, NoKey],
        },
        changed(|epoch, open| {
            open.sender_data.leaf_index = NOWHERE;
            open.sign(epoch)
        }),
    )?;
    scene.remade_message(
        Wrong {
            name: "handshake-ratchet",
            comment: "Encrypted with a key of mallory's ratchet for handshake messages.",
            packet,
            field: "ciphertext",
            change: "made with a key of the handshake ratchet",
            section: "6.3.1",
            demands: "Messages and handshakes have ratchets of their own, and the content type says which one.",
            reasons: &[AuthFailed],
        },
        |epoch, message| {
            let open = Open::of(epoch, message)?;
            epoch.close_with(PROPOSAL, open.outer, &open.keys, &open.sender_data, &open.content.encode())
        },
    )?;
    scene.remade_message(
        Wrong {
            name: "far-generation",
            comment: "A generation so high that billions of keys would have to be derived.",
            packet,
            field: "SenderData.generation",
            change: "the highest number",
            section: "15.3",
            demands: "There is a limit to how far a ratchet is moved for one message.",
            reasons: &[NoKey],
        },
        changed(|epoch, open| {
            open.sender_data.generation = u32::MAX;
            open.sign(epoch)
        }),
    )?;
    scene.remade_message(
        Wrong {
            name: "next-epoch",
            comment: "Said to be of the next epoch, and encrypted with keys of the present one.",
            packet,
            field: "epoch",
            change: "the next epoch",
            section: "6.3.2",
            demands: "The keys of a message are those of the epoch that it names.",
            reasons: &[StaleEpoch, NoKey],
        },
        changed(|epoch, open| {
            open.outer.epoch += 1;
            open.sign(epoch)
        }),
    )?;
    // The message that uses the key first is read; the second one comes after it.
    let spent = scene.spent_generation("first-use", "Mallory's message with the key that will be used twice.")?;
    scene.remade_message(
        Wrong {
            name: "generation-used-twice",
            comment: "Another text, signed, encrypted with the key of a message that has been read.",
            packet,
            field: "SenderData.generation",
            change: "that of a message that was read",
            section: "9.2",
            demands: "A message key is deleted as soon as it has decrypted a message.",
            reasons: &[Duplicate, NoKey],
        },
        changed(move |_, open| {
            open.keys.generation = spent;
            open.sender_data.generation = spent;
            Ok(())
        }),
    )?;
    scene.message()?;
    scene.draft()
}
