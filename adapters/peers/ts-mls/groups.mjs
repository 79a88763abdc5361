// What the library's state of a group says, by the names of devices.

import { addHistoricalReceiverData } from 'ts-mls/clientState.js';
import { decryptSenderData } from 'ts-mls/privateMessage.js';
import { shownBy } from './account.mjs';
import { Refusal } from './e2esm.mjs';

const text = new TextDecoder();

/** The name of a group whose id the library holds as bytes. */
export const groupName = (groupId) => text.decode(groupId);

/** The leaf at an index, if there is one: leaves stand at the even places of a tree. */
export function leafAt(tree, leafIndex) {
  const node = tree[2 * leafIndex];
  return node?.nodeType === 'leaf' ? node.leaf : undefined;
}

/** `[leafIndex, leaf]` of all members. */
export function leaves(tree) {
  return tree.flatMap((node, index) => (node?.nodeType === 'leaf' ? [[index / 2, node.leaf]] : []));
}

/** The name of the member at an index. */
export function nameAt(tree, leafIndex) {
  const leaf = leafAt(tree, leafIndex);
  if (leaf === undefined) throw new Refusal('not_member', `no member at index ${leafIndex}`);
  return shownBy(leaf).device;
}

/** The index of the member of this name. */
export function indexOf(tree, device) {
  const found = leaves(tree).find(([, leaf]) => shownBy(leaf).device === device);
  if (found === undefined) throw new Refusal('not_member', `${device} is not in the group`);
  return found[0];
}

/** The account key under which the members know a device, in hex; none if it is not one. */
export function knownKey(tree, device) {
  const found = leaves(tree).map(([, leaf]) => shownBy(leaf)).find((member) => member.device === device);
  return found && Buffer.from(found.identity.account_key).toString('hex');
}

/**
 * What a commit or a proposal would do. A proposal is its proposer's; what a stranger has proposed for itself it answers for
 * itself, whoever commits it, and so does one who joins by its own commit.
 */
export function effects(tree, proposals, joiner) {
  const by = ({ senderLeafIndex }, stranger) => (
    senderLeafIndex === undefined ? joiner ?? stranger : nameAt(tree, senderLeafIndex)
  );
  const removed = [];
  const added = [];
  for (const entry of proposals) {
    const { proposal } = entry;
    if (proposal.proposalType === 'remove') {
      // A leaf that nobody has is the library's to refuse.
      const leaf = leafAt(tree, proposal.remove.removed);
      if (leaf === undefined) continue;
      const { device } = shownBy(leaf);
      removed.push({ device, by: by(entry, device) });
    } else if (proposal.proposalType === 'add') {
      const { device } = shownBy(proposal.add.keyPackage.leafNode);
      added.push({ device, by: by(entry, device) });
    }
  }
  if (joiner !== undefined) added.push({ device: joiner, by: joiner });
  return { removed, added };
}

/** The devices that are known by another account key in `after` than in `before`. */
export function keyChanges(before, after) {
  return leaves(after)
    .filter(([index, leaf]) => leafAt(before, index) !== leaf)
    .map(([, leaf]) => shownBy(leaf))
    .filter(({ device, identity }) => {
      const known = knownKey(before, device);
      return known !== undefined && known !== Buffer.from(identity.account_key).toString('hex');
    })
    .map(({ device }) => device);
}

/**
 * The state that a change of this device's own leads to, now that it comes into force. Between making it and now messages of
 * the epoch that ends have been read: the keys that are kept for late ones are those of now.
 */
export function entered(present, next) {
  const [historicalReceiverData] = addHistoricalReceiverData(present);
  return { ...next, historicalReceiverData };
}

/**
 * The leaf that a message was sent from. 1.6.4 checks the message's signature by this leaf's key and does not tell its caller
 * whose it is: so the sender data are opened once more.
 */
export async function senderOf(state, message, cs) {
  const epoch = message.epoch < state.groupContext.epoch
    ? state.historicalReceiverData.get(message.epoch)
    : { senderDataSecret: state.keySchedule.senderDataSecret, ratchetTree: state.ratchetTree };
  const { leafIndex } = await decryptSenderData(message, epoch.senderDataSecret, cs);
  return { leafIndex, leaf: leafAt(epoch.ratchetTree, leafIndex) };
}
