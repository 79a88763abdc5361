//! The message by which a device joins: a GroupInfo around a tree.

use crate::keys::{draw, hpke_key, sign, signature_key};
use crate::plan::Plan;
use crate::wire::{MLS10, vector};

// RFC 9420, sections 17.2 and 17.3.
const MLS_GROUP_INFO: u16 = 4;
const RATCHET_TREE: u16 = 2;
const EXTERNAL_PUB: u16 = 4;

/// The stream of what belongs to the group as a whole. Nodes' streams are their indexes.
const GROUP: u64 = u64::MAX - 1;

/// An `MLSMessage` with a `GroupInfo` (RFC 9420, sections 6 and 12.4.3), signed by the member at a leaf. What a newcomer
/// cannot check is random: the transcript hash and the confirmation tag.
pub(crate) fn group_info(plan: &Plan, ratchet_tree: &[u8], tree_hash: &[u8; 32], signer: u32, epoch: u64) -> Vec<u8> {
    let mut random = plan.random(GROUP);
    let mut external_pub = Vec::new();
    vector(&mut external_pub, &hpke_key(&mut random));
    let mut extensions = RATCHET_TREE.to_be_bytes().to_vec();
    vector(&mut extensions, ratchet_tree);
    extensions.extend(EXTERNAL_PUB.to_be_bytes());
    vector(&mut extensions, &external_pub);

    let mut message = [MLS10, MLS_GROUP_INFO].map(u16::to_be_bytes).concat();
    let start = message.len();
    // GroupContext
    message.extend([MLS10, plan.suite].map(u16::to_be_bytes).concat());
    vector(&mut message, plan.group.0.as_bytes());
    message.extend(epoch.to_be_bytes());
    vector(&mut message, tree_hash);
    vector(&mut message, &draw(&mut random)); // confirmed_transcript_hash
    vector(&mut message, &[]); // extensions
    // The rest of GroupInfo
    vector(&mut message, &extensions);
    vector(&mut message, &draw(&mut random)); // confirmation_tag
    message.extend(signer.to_be_bytes());
    let key = signature_key(&mut plan.leaf_random(signer));
    let signature = sign(&key, "GroupInfoTBS", &message[start..]);
    vector(&mut message, &signature);
    message
}
