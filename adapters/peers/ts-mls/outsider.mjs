// Forgeries by somebody outside the group, who knows what the server knows: its id, its members' names, its epoch. The library
// plays a parallel group of impostors under the same id and names, at the same epoch. What comes out has every visible byte
// right and none of the keys.

import {
  createApplicationMessage, createCommit, createGroup, createGroupInfoWithExternalPubAndRatchetTree, defaultAuthenticationService,
  joinGroup, joinGroupExternal, makePskIndex, proposeAddExternal,
} from 'ts-mls';
import { Account } from './account.mjs';
import { configured, keyPackage } from './device.mjs';
import { Refusal } from './e2esm.mjs';
import { indexOf } from './groups.mjs';
import { encoded, expected } from './wire.mjs';

/** Impostors ask nobody. */
const config = configured(defaultAuthenticationService);

/** Crafts what is asked for. */
export async function craft(outsider, forgery, cs) {
  switch (forgery.forgery) {
    case 'message': {
      const { group, claim, plaintext } = forgery;
      const { privateMessage } = await createApplicationMessage(await parallel(outsider, group, claim, cs), plaintext, cs);
      return { packets: [packet('message', group, claim, { privateMessage })] };
    }
    case 'change':
      return change(outsider, forgery, cs);
    case 'uninvited_join': {
      const { group } = forgery;
      const info = await parallelInfo(outsider, group, outsider.id, cs);
      const own = await keyPackage(outsider.account, outsider.keys, outsider.mixed, cs);
      const { publicMessage } = await joinGroupExternal(
        info, own.publicPackage, own.privatePackage, false, cs, undefined, config,
      );
      return { packets: [packet('change', group, outsider.id, { publicMessage })] };
    }
    default:
      return { bundle: broken(forgery.bundle) };
  }
}

/**
 * The commit of a parallel group, and, where the outsider slips itself in, an external Add proposal of its own: that is the one
 * change that a stranger may ask for (RFC 9420, section 12.1.8).
 */
async function change(outsider, { group, claim, add, remove }, cs) {
  const state = await parallel(outsider, group, claim, cs);
  const adds = add.map((bundle) => ({ proposalType: 'add', add: { keyPackage: expected(bundle.bytes, 'keyPackage') } }));
  const removes = remove.map((device) => (
    { proposalType: 'remove', remove: { removed: indexOf(state.ratchetTree, device) } }
  ));
  const { commit } = await createCommit(
    { state, cipherSuite: cs }, { extraProposals: [...adds, ...removes], wireAsPublicMessage: outsider.mixed },
  );
  const { privateMessage, publicMessage } = commit;
  const packets = [packet('change', group, claim, outsider.mixed ? { publicMessage } : { privateMessage })];
  for (const bundle of add.filter(({ device }) => device === outsider.id)) {
    const own = await outsider.ownKeyPackage(bundle);
    if (own === undefined) throw new Refusal('bad_request', 'the bundle is not of this device');
    const info = await parallelInfo(outsider, group, claim, cs);
    const { publicMessage } = await proposeAddExternal(info, own.publicPackage, own.privatePackage, cs);
    packets.push(packet('proposal', group, outsider.id, { publicMessage }));
  }
  return { packets };
}

/** The parallel group, as the member `claim` has it. */
async function parallel({ mixed }, known, claim, cs) {
  const names = known.members.includes(claim) ? known.members : [...known.members, claim];
  const members = await Promise.all(names.map((name) => impostor(name, mixed, cs)));
  const [creator, ...others] = members;
  const created = await createGroup(
    new TextEncoder().encode(known.id), creator.publicPackage, creator.privatePackage, [], cs, config,
  );
  // The commit that brings the others in is one epoch.
  const epoch = BigInt(others.length === 0 ? known.changes : Math.max(known.changes - 1, 0));
  const state = { ...created, groupContext: { ...created.groupContext, epoch } };
  if (others.length === 0) return state;
  const extraProposals = others.map(({ publicPackage }) => ({ proposalType: 'add', add: { keyPackage: publicPackage } }));
  const { newState, welcome } = await createCommit({ state, cipherSuite: cs }, { extraProposals, ratchetTreeExtension: true });
  const index = names.indexOf(claim);
  if (index === 0) return newState;
  const { publicPackage, privatePackage } = members[index];
  return joinGroup(
    welcome, publicPackage, privatePackage, makePskIndex(undefined, {}), cs, undefined, undefined, config,
  );
}

/** GroupInfo of a parallel group, with its tree. */
async function parallelInfo(outsider, known, claim, cs) {
  const state = await parallel(outsider, known, known.members[0] ?? claim, cs);
  return createGroupInfoWithExternalPubAndRatchetTree(state, [], cs);
}

/** One who bears a member's name, with keys of its own. */
async function impostor(name, mixed, cs) {
  const keys = await cs.signature.keygen();
  return keyPackage(Account.create(name, keys.publicKey), keys, mixed, cs);
}

/** A key package with a bit of its signature flipped: the last of its fields (RFC 9420, section 10). */
function broken(bundle) {
  expected(bundle.bytes, 'keyPackage');
  const bytes = bundle.bytes.slice();
  bytes[bytes.length - 1] ^= 1;
  return { ...bundle, bytes };
}

function packet(kind, { id: group }, from, content) {
  return { kind, group, from, to: { group }, opens_session: false, bytes: encoded(content) };
}
