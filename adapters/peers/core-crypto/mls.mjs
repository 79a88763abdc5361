// MLS over core-crypto: one client, its groups, and what the library does not keep about them.
//
// Every call to the library is a transaction (cc-book/src/concepts/mls/transactions.md): what is thrown in it takes it back.
// So a refused packet costs nothing, and whatever a question is about can be looked at before it comes into force.

import { randomBytes } from 'node:crypto';
import { Account, clientId, hex, named } from './account.mjs';
import { Client, Enough } from './client.mjs';
import { Refusal } from './e2esm.mjs';
import { change, message, uninvitedJoin } from './forge.mjs';
import { SUITE } from './library.mjs';
import { framed, groupIn, keyPackage, treeOf, unframed } from './wire.mjs';

/** Where the library shows who a group's members are: "those claims are verifiable by any member" (crypto/src/identity.rs:8). */
const IDENTITIES = 'CoreCryptoContext::getDeviceIdentities';

export class Device extends Client {
  static forgeries = ['message', 'change', 'uninvited_join', 'broken_bundle'];

  /** A device with fresh keys. */
  static async create(id, notebook) {
    const device = new Device(id, notebook);
    await device.begin();
    device.seed = randomBytes(32);
    const unnamed = await device.#signatureKey(clientId(device.library.cc, ''));
    const pem = unnamed.exportPem().replace(/-.*-|\s/g, '');
    device.account = Account.fresh(id, Buffer.from(pem, 'base64'));
    await device.enrol();
    return device;
  }

  static async load(id, store, notebook) {
    const device = new Device(id, notebook);
    const { seed, groups } = await device.take(store);
    device.seed = Buffer.from(seed, 'hex');
    await device.#session();
    [device.credential] = await device.core.getCredentials();
    device.groups = new Map(groups.map(([group, seat]) => [group, { ...seat, info: seat.info && Buffer.from(seat.info, 'hex') }]));
    return device;
  }

  static restore(id, state, notebook) {
    return Device.load(id, state, notebook);
  }

  groups = new Map();
  bundles = [];

  /** Enters the library as a client of the present identity, with the device's one signature key. */
  async enrol() {
    await this.#session();
    const credential = await this.#signatureKey(this.client);
    this.credential = await this.transaction('storing the credential', (context) => context.addCredential(credential));
  }

  async #session() {
    const { cc } = this.library;
    this.client = clientId(cc, this.account.credential());
    this.core = cc.CoreCrypto.new(this.file.database);
    // A commit is accepted here, in a transaction, and comes into force with it.
    const transport = {
      sendCommitBundle: async (bundle) => { this.bundles.push(bundle); },
      prepareForTransport: async () => new Uint8Array(),
    };
    await this.transaction('opening a session', (context) => context.mlsInit(this.client, transport));
  }

  #signatureKey(client) {
    const { cc } = this.library;
    return this.library.seeded(this.seed, async () => cc.Credential.basic(SUITE, client));
  }

  async transaction(doing, work) {
    this.bundles = [];
    return super.transaction(doing, work);
  }

  conversation(group) {
    return new this.library.cc.ConversationId(Buffer.from(group));
  }

  #seat(group) {
    const seat = this.groups.get(group);
    if (!seat) throw new Refusal('bad_request', `no group ${group}`);
    return seat;
  }

  #member(group) {
    const seat = this.#seat(group);
    if (seat.removed) throw new Refusal('not_member', 'this device has been removed');
    return seat;
  }

  #packet(kind, group, to, bytes) {
    return { kind, group, from: this.id, to, opens_session: false, bytes };
  }

  /** The members as the library shows them: names, credentials, and the thumbprints of their keys. */
  async members(context, group) {
    const conversation = this.conversation(group);
    const clients = await context.getClientIds(conversation);
    const identities = await context.getDeviceIdentities(conversation, clients);
    return identities.map(({ clientId: client, thumbprint }) => ({ ...named(client), client, thumbprint }));
  }

  async publish() {
    const bundle = await this.transaction('making a key package', (context) => (
      context.generateKeyPackage(this.credential, undefined)
    ));
    return { device: this.id, bytes: framed('key_package', bundle.serialize()) };
  }

  async create_group({ group }) {
    await this.transaction('creating the group', (context) => (
      context.createConversation(this.conversation(group), this.credential, undefined)
    ));
    this.groups.set(group, { pending: [], removed: false, info: null, joined: null });
  }

  async change({ group, change: wanted }) {
    const seat = this.#member(group);
    const leaves = wanted.add.map((bundle) => ({ ...keyPackage(unframed('key_package', bundle.bytes)), device: bundle.device }));
    const before = await this.members(this.core, group);
    const plan = this.#plan(wanted, before);
    const { after, bundles } = await this.trial('making the change', async (context) => {
      for (const step of plan) await this.#play(context, group, step);
      return { after: await this.members(context, group), bundles: this.bundles };
    });
    plan.forEach((step, index) => { step.commit = hex(bundles[index].commit); });

    const last = bundles.at(-1);
    const newcomers = differing(after, before);
    const tree = treeOf(unframed('group_info', last.groupInfo.payload));
    for (const newcomer of newcomers) {
      // It is this device that is wanted, whatever name the credential bears.
      newcomer.device = leaves.find(({ thumbprint }) => thumbprint === newcomer.thumbprint)?.device ?? newcomer.device;
    }
    this.#askAbout(newcomers, before, tree);

    seat.pending.push(plan);
    const packets = plan.map((step) => this.#packet('change', group, { group }, Buffer.from(step.commit, 'hex')));
    const welcome = bundles.find((bundle) => bundle.welcome)?.welcome;
    if (welcome) {
      const devices = newcomers.map(({ device }) => device);
      const to = devices.length === 1 ? { device: devices[0] } : { devices };
      packets.push(this.#packet('welcome', group, to, welcome.serialize()));
    }
    return { packets };
  }

  /** The library makes a commit for each kind of change. What is needed to make the very same again is kept with each. */
  #plan({ add, remove, refresh }, members) {
    const clients = remove.flatMap((device) => {
      const found = members.filter((member) => member.device === device);
      if (found.length === 0) throw new Refusal('not_member', `${device} is not in the group`);
      return found.map(({ client }) => hex(client.copyBytes()));
    });
    const plan = [];
    if (clients.length > 0) plan.push({ remove: clients });
    if (add.length > 0) plan.push({ add: add.map((bundle) => hex(unframed('key_package', bundle.bytes))) });
    // A removal has an update path, an addition has none.
    if (plan.length === 0 || (refresh && clients.length === 0)) plan.push({ refresh: true });
    return plan.map((step) => ({ ...step, seed: hex(randomBytes(32)) }));
  }

  /** Makes a step's commit and puts it into force, for as long as the transaction lasts. */
  async #play(context, group, step) {
    const { cc } = this.library;
    const conversation = this.conversation(group);
    const members = step.remove ? await context.getClientIds(conversation) : [];
    await this.library.seeded(Buffer.from(step.seed, 'hex'), () => {
      if (step.add) return context.addClientsToConversation(conversation, step.add.map((bytes) => new cc.KeyPackage(Buffer.from(bytes, 'hex'))));
      if (!step.remove) return context.updateKeyingMaterial(conversation);
      return context.removeClientsFromConversation(conversation, members.filter((client) => step.remove.includes(hex(client.copyBytes()))));
    });
  }

  async wants({ group }) {
    this.#seat(group);
    return [];
  }

  async send({ group, plaintext }) {
    this.#member(group);
    const bytes = await this.transaction('encrypting', (context) => context.encryptMessage(this.conversation(group), plaintext));
    return { packets: [this.#packet('message', group, { group }, bytes)] };
  }

  async receive({ packet }) {
    switch (packet.kind) {
      case 'welcome':
        return this.#join(packet);
      case 'change':
        return this.#take(packet);
      case 'proposal':
        this.#seat(packet.group);
        await this.#decrypt(this.transaction, packet, 'Proposal');
        return {};
      case 'message': {
        this.#seat(packet.group);
        const { plaintext, senderClientId } = await this.#decrypt(this.transaction, packet, 'Text');
        return { message: { group: packet.group, sender: named(senderClientId).device, plaintext } };
      }
      default:
        throw new Refusal('bad_request', `MLS has no ${packet.kind}`);
    }
  }

  /** What the library makes of a packet, which must be of this kind, in a transaction or a trial of one. */
  #decrypt(how, packet, tag, also = async () => {}) {
    return how.call(this, `processing a ${packet.kind}`, async (context) => {
      const decrypted = await context.decryptMessage(this.conversation(packet.group), packet.bytes);
      if (decrypted.tag !== tag) throw new Refusal('bad_request', `a ${packet.kind} packet with other content`);
      await also(context, decrypted.inner);
      return decrypted.inner;
    });
  }

  /** Takes a change: its own comes into force, another's is looked at first. */
  async #take(packet) {
    const { group } = packet;
    const seat = this.#seat(group);
    const bytes = hex(packet.bytes);
    if (seat.joined === bytes) return {};
    const own = seat.pending.find(([step]) => step.commit === bytes);
    if (own && !seat.removed) return this.#takeOwn(group, seat, own);

    const before = await this.members(this.core, group);
    const seen = {};
    const look = async (context, { isActive, identity }) => {
      seen.active = isActive;
      seen.by = named(identity.clientId).device;
      seen.after = isActive ? await this.members(context, group) : before.filter(({ client }) => !this.client.equals(client));
      seen.newcomers = differing(seen.after, before);
      if (seen.newcomers.length > 0) {
        seen.tree = await this.#tree(context, group);
        throw new Enough();
      }
      // The library would forget the group of a device that is removed: it is to go on trying with the old keys.
      if (!isActive) throw new Enough();
    };
    try {
      await this.#decrypt(this.transaction, packet, 'Commit', look);
    } catch (error) {
      if (!(error instanceof Enough)) throw error;
      this.#askAbout(seen.newcomers, before, seen.tree);
      if (seen.active) await this.#decrypt(this.transaction, packet, 'Commit');
      else if (seat.removed) throw new Refusal('duplicate', 'this device has been removed by this change before');
      else seat.removed = true;
    }
    this.#dropped(group, seat);
    seat.info = null;
    this.#noteDifference(group, before, seen.after, seen.by);
    return {};
  }

  /** Makes the commit again that has come back, and lets it be accepted. */
  async #takeOwn(group, seat, plan) {
    const before = await this.members(this.core, group);
    const [step] = plan;
    const { after, info } = await this.transaction('taking the own change', async (context) => {
      await this.#play(context, group, step);
      const [bundle] = this.bundles;
      if (hex(bundle.commit) !== step.commit) throw new Refusal('internal', 'the change came out otherwise the second time');
      return { after: await this.members(context, group), info: bundle.groupInfo.payload };
    });
    seat.pending = seat.pending.filter((other) => other !== plan);
    this.#dropped(group, seat);
    if (plan.length > 1) seat.pending.push(plan.slice(1));
    seat.info = Buffer.from(info);
    this.#noteDifference(group, before, after, this.id);
    return {};
  }

  #dropped(group, seat) {
    if (seat.pending.length > 0) this.notebook.note({ event: 'change_dropped', group });
    seat.pending = [];
  }

  /** The leaves of a group's tree. The library shows it in a GroupInfo, and a GroupInfo with a commit: so it makes one for nothing. */
  async #tree(context, group) {
    const earlier = this.bundles.length;
    await context.updateKeyingMaterial(this.conversation(group));
    return treeOf(unframed('group_info', this.bundles[earlier].groupInfo.payload));
  }

  #askAbout(newcomers, before, tree) {
    for (const newcomer of newcomers) {
      const leaf = tree.find(({ thumbprint }) => thumbprint === newcomer.thumbprint);
      if (!leaf) throw new Refusal('internal', `no leaf for ${newcomer.device}`);
      const identity = { account_key: newcomer.accountKey, device_key: leaf.signatureKey, voucher: newcomer.voucher };
      this.notebook.require(IDENTITIES, { fact: 'identity', device: newcomer.device, identity, previous: previous(newcomer, before) });
    }
  }

  #noteDifference(group, before, after, by) {
    for (const { device } of differing(before, after)) {
      if (!after.some((member) => member.device === device)) this.notebook.note({ event: 'member_removed', group, device, by });
    }
    for (const newcomer of differing(after, before)) {
      const { device } = newcomer;
      if (previous(newcomer, before)) this.notebook.note({ event: 'key_changed', device });
      if (!before.some((member) => member.device === device)) this.notebook.note({ event: 'member_added', group, device, by });
    }
  }

  async #join(packet) {
    const { cc } = this.library;
    const enter = (context) => {
      const welcome = new cc.Welcome(packet.bytes);
      return context.processWelcomeMessage(welcome);
    };
    return this.#enter('joining by Welcome', packet.group, enter);
  }

  async external_join({ group_info: bytes }) {
    const { cc } = this.library;
    const body = unframed('group_info', bytes);
    const group = groupIn(body);
    const seed = randomBytes(32);
    const enter = (context) => this.library.seeded(seed, () => context.joinByExternalCommit(new cc.GroupInfo(body), this.credential));
    return this.#enter('joining by an external commit', group, enter);
  }

  /** Enters a group: looks at it first, and asks about everybody in it. */
  async #enter(doing, label, enter) {
    let old = null;
    const attempt = async (context) => {
      if (old !== null) await context.wipeConversation(this.conversation(old));
      const group = Buffer.from((await enter(context)).copyBytes()).toString();
      return { group, commit: this.bundles[0]?.commit, info: this.bundles[0]?.groupInfo.payload, members: await this.members(context, group) };
    };
    const look = async (context) => {
      const seen = await attempt(context);
      return { ...seen, tree: await this.#tree(context, seen.group) };
    };
    // What is left of an earlier membership goes with the new one.
    if (this.groups.get(label)?.removed) old = label;
    const { members, tree } = await this.trial(doing, look);
    this.#askAbout(members.filter(({ client }) => !this.client.equals(client)), [], tree);
    const { group, commit, info } = await this.transaction(doing, attempt);
    const joined = commit ? hex(commit) : null;
    this.groups.set(group, { pending: [], removed: false, info: info ? Buffer.from(info) : null, joined });
    this.notebook.note({ event: 'joined', group });
    return commit ? { packets: [this.#packet('change', group, { group }, commit)] } : {};
  }

  async roster({ group }) {
    this.#seat(group);
    const members = (await this.core.getClientIds(this.conversation(group))).map((client) => named(client).device);
    const order = (a, b) => (a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : a[1] < b[1] ? -1 : 1);
    const sorted = members.map((device) => device.split('/')).sort(order).map((parts) => parts.join('/'));
    return { members: sorted, authenticated: true };
  }

  /** The library does not show the epoch authenticator. What it exports is bound to the group's state and epoch in the same way. */
  async fingerprint({ group }) {
    this.#seat(group);
    const secret = await this.core.exportSecretKey(this.conversation(group), 32);
    return { kind: 'epoch_authenticator', value: hex(secret.copyBytes()) };
  }

  /** The library has one credential for a key, and lets go of none that a group uses. Key packages go with it. */
  async accept_authorisation({ authorisation }) {
    const account = this.account.linked(authorisation);
    await this.transaction('removing the old credential', (context) => context.removeCredential(this.credential));
    this.account = account;
    await this.enrol();
  }

  async group_info({ group }) {
    const { info } = this.#member(group);
    if (!info) throw new Refusal('bad_request', 'the library gives a GroupInfo with a commit of its own, and to nobody else');
    return info;
  }

  async store() {
    const groups = [...this.groups].map(([group, seat]) => [group, { ...seat, info: seat.info && hex(seat.info) }]);
    return this.keep({ seed: hex(this.seed), groups });
  }

  export_state() {
    return this.store();
  }

  async craft({ forgery }) {
    switch (forgery.forgery) {
      case 'message':
        return message(forgery);
      case 'change':
        return change(this, forgery);
      case 'uninvited_join':
        return uninvitedJoin(this, forgery);
      case 'broken_bundle': {
        unframed('key_package', forgery.bundle.bytes);
        // The signature is the last field of a key package (RFC 9420, section 10).
        const bytes = Buffer.from(forgery.bundle.bytes);
        bytes[bytes.length - 1] ^= 1;
        return { bundle: { device: forgery.bundle.device, bytes } };
      }
    }
  }
}

/** Those who are in one list of members and not, with this key and credential, in the other. */
function differing(some, others) {
  return some.filter((one) => !others.some((other) => other.thumbprint === one.thumbprint && other.client.equals(one.client)));
}

/** The other account key under which the group has known a device, if there is one. */
function previous({ device, accountKey }, before) {
  return before.find((member) => member.device === device && !member.accountKey.equals(accountKey))?.accountKey;
}
