// Forgeries by somebody outside the group, who knows what the server knows: its id, its members' names, its epoch.
//
// The outsider lets the library play the group to itself: a parallel group of impostors under the same id and names, at the
// same epoch. What comes out has every visible byte right and none of the keys.

import { createCipheriv, randomBytes, sign } from 'node:crypto';
import { Account, clientId, shown, signingKey } from './account.mjs';
import { Refusal } from './e2esm.mjs';
import { Library, SUITE } from './library.mjs';
import { framed, unframed, vector } from './wire.mjs';

/** Each epoch of a parallel group is a commit: more than these are not played out. */
const MOST_CHANGES = 10_000;

export async function message({ group, claim, plaintext }) {
  const parallel = await Parallel.of(group, claim);
  const bytes = await parallel.act((context, conversation) => context.encryptMessage(conversation, plaintext));
  return { packets: [packet('message', group, claim, bytes)] };
}

/** The commit of a parallel group, and, where the outsider slips itself in, an external Add proposal of its own: that is the
 * one change that RFC 9420, section 12.1.8 lets a stranger ask for. */
export async function change(outsider, { group, claim, add, remove }) {
  const parallel = await Parallel.of(group, claim);
  const { cc } = parallel.library;
  const packages = add.map((bundle) => unframed('key_package', bundle.bytes));
  const packets = [];
  if (remove.length > 0) {
    await parallel.act(async (context, conversation) => {
      const clients = await context.getClientIds(conversation);
      const named = clients.filter((client) => remove.includes(shown(client.copyBytes()).device));
      if (named.length === 0) throw new Refusal('not_member', 'none of these is in the group');
      await context.removeClientsFromConversation(conversation, named);
    });
  }
  if (add.length > 0) {
    await parallel.act((context, conversation) => context.addClientsToConversation(conversation, packages.map((bytes) => new cc.KeyPackage(bytes))));
  }
  if (add.length + remove.length === 0) await parallel.act((context, conversation) => context.updateKeyingMaterial(conversation));
  for (const { commit } of parallel.commits) packets.push(packet('change', group, claim, commit));
  add.forEach((bundle, index) => {
    if (bundle.device === outsider.id) packets.push(packet('proposal', group, outsider.id, joinProposal(outsider, group, packages[index])));
  });
  return { packets };
}

/** An external commit with the GroupInfo of a parallel group. */
export async function uninvitedJoin(outsider, { group }) {
  const parallel = await Parallel.of(group, group.members[0] ?? outsider.id);
  const info = unframed('group_info', parallel.info);
  const { cc } = outsider.library;
  const bytes = await outsider.trial('joining uninvited', async (context) => {
    await context.joinByExternalCommit(new cc.GroupInfo(info), outsider.credential);
    return outsider.bundles[0].commit;
  });
  return { packets: [packet('change', group, outsider.id, bytes)] };
}

/** A PublicMessage by `new_member_proposal` (RFC 9420, sections 6.1 and 12.1.8), which the library can take and not make. */
function joinProposal(outsider, group, keyPackage) {
  const epoch = Buffer.alloc(8);
  epoch.writeBigUInt64BE(BigInt(group.changes));
  const content = Buffer.concat([
    vector(Buffer.from(group.id)), epoch, Buffer.from([3]), vector(Buffer.alloc(0)), Buffer.from([2, 0, 1]), keyPackage,
  ]);
  const label = Buffer.concat([vector(Buffer.from('MLS 1.0 FramedContentTBS')), vector(framed('public_message', content))]);
  return framed('public_message', Buffer.concat([content, vector(sign(null, label, signatureKey(outsider.seed)))]));
}

/** The signature key that the library's generator makes of a seed: the first bytes of its ChaCha20 stream. */
function signatureKey(seed) {
  const stream = createCipheriv('chacha20', seed, Buffer.alloc(16));
  return signingKey(stream.update(Buffer.alloc(32)));
}

function packet(kind, group, from, bytes) {
  return { kind, group: group.id, from, to: { group: group.id }, opens_session: false, bytes };
}

/** The parallel group, from the view of the impostor who bears the claimed name. */
class Parallel {
  static async of(group, claim) {
    if (group.changes > MOST_CHANGES) throw new Refusal('bad_request', `a parallel group of ${group.changes} changes: ${MOST_CHANGES} are the most`);
    const parallel = new Parallel();
    parallel.library = await Library.shared();
    parallel.file = await parallel.library.empty();
    parallel.id = group.id;
    const names = group.members.includes(claim) ? [...group.members] : [claim, ...group.members];
    // Before the first change there is only the creator.
    const [first, ...others] = group.changes === 0 ? [claim] : names;
    const creator = await parallel.#impostor(first);
    parallel.actor = creator;
    await parallel.act((context, conversation) => context.createConversation(conversation, creator.credential, undefined));
    for (let epoch = 1; epoch < group.changes; epoch++) {
      await parallel.act((context, conversation) => context.updateKeyingMaterial(conversation));
    }
    if (group.changes > 0) await parallel.#fill(others, claim);
    parallel.commits = [];
    return parallel;
  }

  constructor() {
    this.commits = [];
  }

  get info() {
    return this.latest.groupInfo.payload;
  }

  /** The members sit in the tree in the order in which they are known: the outsider's best guess. */
  async #fill(others, claim) {
    const impostors = [];
    const packages = [];
    for (const name of others) {
      const impostor = await this.#impostor(name);
      impostors.push(impostor);
      packages.push(await this.library.transaction(impostor.core, (context) => context.generateKeyPackage(impostor.credential, undefined)));
    }
    const adding = packages.length > 0;
    await this.act((context, conversation) => (
      adding ? context.addClientsToConversation(conversation, packages) : context.updateKeyingMaterial(conversation)
    ));
    const claimed = impostors.find(({ name }) => name === claim);
    if (!claimed) return;
    const { welcome } = this.latest;
    // The creator's copy of the group is in the way: all impostors share a database.
    await this.act((context, conversation) => context.wipeConversation(conversation));
    this.actor = claimed;
    await this.act((context) => context.processWelcomeMessage(welcome));
  }

  async #impostor(name) {
    const { cc } = this.library;
    const account = Account.fresh(name, randomBytes(32));
    const client = clientId(cc, account.credential());
    const core = cc.CoreCrypto.new(this.file.database);
    const transport = {
      sendCommitBundle: async (bundle) => {
        this.latest = bundle;
        this.commits.push(bundle);
      },
      prepareForTransport: async () => new Uint8Array(),
    };
    const credential = await this.library.transaction(core, async (context) => {
      await context.mlsInit(client, transport);
      return context.addCredential(cc.Credential.basic(SUITE, client));
    });
    return { name, core, credential };
  }

  act(work) {
    const conversation = new this.library.cc.ConversationId(Buffer.from(this.id));
    return this.library.transaction(this.actor.core, (context) => work(context, conversation));
  }
}
