// Proteus over core-crypto: pairwise sessions, and a small application above them that has groups.
//
// A message to a group is encrypted for each member apart and goes out as one packet. Membership is the server's, as in
// adapters/sender-keys: changes and invitations are plain JSON. What the library asks of its application is one thing: to
// compare identity keys (cc-book/src/concepts/proteus.md:49).

import { createHash } from 'node:crypto';
import { Account, hex, json } from './account.mjs';
import { isPrekeyMessage, withIdentity, withZeroKey } from './cbor.mjs';
import { Client } from './client.mjs';
import { Refusal } from './e2esm.mjs';
import { Library } from './library.mjs';

/** The remote key of a session: "can be used to verify the peer's identity out-of-band". */
const IDENTITY = 'CoreCryptoContext::proteusFingerprintRemote';
const OWN = 'group_management';

export class Device extends Client {
  static faults = ['none', 'relabelled_sender', 'degenerate_key'];
  static forgeries = ['message', 'change', 'rewritten_identity'];

  static async create(id, notebook) {
    const device = new Device(id, notebook);
    await device.begin();
    await device.#session();
    device.account = Account.fresh(id, await device.#key());
    return device;
  }

  static async load(id, store, notebook) {
    const device = new Device(id, notebook);
    const { groups, peers, sent } = await device.take(store);
    await device.#session();
    device.groups = new Map(groups.map(([group, { members, pending }]) => [group, { members: new Set(members), pending }]));
    device.peers = new Map(peers.map(([peer, identity]) => [peer, fromHex(identity)]));
    device.sent = new Map(sent);
    return device;
  }

  static restore(id, state, notebook) {
    return Device.load(id, state, notebook);
  }

  /** Members, and the own change that has not come back. */
  groups = new Map();
  /** The identity with which each session was made. */
  peers = new Map();
  /** To which account key each message went, by the message and the device: for `resend`. */
  sent = new Map();
  relabel = null;
  degenerate = false;

  /** A client that knows what the database knows. */
  async #session() {
    this.core = this.library.cc.CoreCrypto.new(this.file.database);
    await this.library.transaction(this.core, (context) => context.proteusInit());
  }

  async #key() {
    return Buffer.from(await this.core.proteusFingerprint(), 'hex');
  }

  /** A refusal ends with a client made anew from its database, so that a refused packet costs nothing. */
  async transaction(doing, work) {
    try {
      return await super.transaction(doing, work);
    } catch (error) {
      await this.#session();
      throw error;
    }
  }

  #group(id) {
    const group = this.groups.get(id);
    if (!group) throw new Refusal('bad_request', `no group ${id}`);
    return group;
  }

  #membership(id) {
    const group = this.#group(id);
    if (!group.members.has(this.id)) throw new Refusal('not_member', `${this.id} is not a member of ${id}`);
    return group;
  }

  #packet(kind, group, to, bytes, opensSession = false) {
    return { kind, group, from: this.relabel ?? this.id, to, opens_session: opensSession, bytes };
  }

  async publish() {
    const { pkb } = await this.transaction('making a prekey', (context) => context.proteusNewPrekeyAuto());
    return { device: this.id, bytes: this.#bundle(this.degenerate ? withZeroKey(pkb) : pkb) };
  }

  #bundle(prekey) {
    return text({ account_key: hex(this.account.accountKey), voucher: hex(this.account.voucher), prekey: hex(prekey) });
  }

  async create_group({ group }) {
    if (this.groups.has(group)) throw new Refusal('duplicate', `there is a group ${group} already`);
    this.groups.set(group, { members: new Set([this.id]), pending: null });
  }

  async change({ group: id, change: { add, remove } }) {
    const group = this.#membership(id);
    for (const { device } of add) if (group.members.has(device)) throw new Refusal('duplicate', `${device} is a member already`);
    for (const device of remove) if (!group.members.has(device)) throw new Refusal('not_member', `${device} is not in the group`);
    await this.#introduce(add);
    if (group.pending) this.notebook.note({ event: 'change_dropped', group: id });
    const added = add.map(({ device }) => device);
    const bytes = text({ add: added, remove });
    group.pending = hex(bytes);
    const packets = [this.#packet('change', id, { group: id }, bytes)];
    if (added.length > 0) {
      const members = [...group.members].filter((device) => !remove.includes(device)).concat(added).sort();
      packets.push(this.#packet('welcome', id, added.length === 1 ? { device: added[0] } : { devices: added }, text({ members })));
    }
    return { packets };
  }

  async wants({ group: id }) {
    const { members } = this.#group(id);
    return [...members].filter((device) => device !== this.id && !this.peers.has(device));
  }

  async introduce({ bundle }) {
    await this.#introduce([bundle]);
  }

  /** Opens a session with each, in one transaction, so that there are all or none. */
  async #introduce(bundles) {
    const opened = new Map();
    await this.transaction('opening a session', async (context) => {
      for (const { device, bytes } of bundles) {
        if (device === this.id) throw new Refusal('bad_request', 'a bundle of this very device');
        const { account_key: accountKey, voucher, prekey } = json(Buffer.from(bytes), 'malformed bundle', ['account_key', 'voucher', 'prekey']);
        if (this.peers.has(device)) await context.proteusSessionDelete(device);
        await context.proteusSessionFromPrekey(device, Buffer.from(prekey, 'hex'));
        opened.set(device, await this.#vouch(context, device, { accountKey, voucher }));
      }
    });
    for (const [device, identity] of opened) this.#know(device, identity);
  }

  /** Asks whether the key at the other end of a session is this device's. */
  async #vouch(context, device, { accountKey, voucher }) {
    const identity = fromHex({ account_key: accountKey, device_key: await context.proteusFingerprintRemote(device), voucher });
    const known = this.peers.get(device);
    const previous = known && !known.account_key.equals(identity.account_key) ? known.account_key : undefined;
    this.notebook.require(IDENTITY, { fact: 'identity', device, identity, previous });
    return identity;
  }

  #know(device, identity) {
    const known = this.peers.get(device);
    if (known && !known.account_key.equals(identity.account_key)) this.notebook.note({ event: 'key_changed', device });
    this.peers.set(device, identity);
    this.notebook.note({ event: 'session_opened', peer: device });
  }

  async send({ group: id, plaintext }) {
    const { members } = this.#membership(id);
    const others = [...members].filter((device) => device !== this.id).sort();
    const reached = others.filter((device) => this.peers.has(device));
    for (const device of others) if (!this.peers.has(device)) this.notebook.note({ event: 'skipped', group: id, device });
    const ciphertexts = await this.#seal(id, reached, plaintext);
    return { packets: [this.#message(id, { group: id }, ciphertexts)] };
  }

  /** Bound to the group, and to both ends by the session. */
  async #seal(group, devices, plaintext) {
    const content = text({ group, from: this.relabel ?? this.id, text: hex(plaintext) });
    const ciphertexts = await this.transaction('encrypting', (context) => context.proteusEncryptBatched(devices, content));
    for (const device of devices) this.sent.set(this.#sentKey(group, plaintext, device), hex(this.peers.get(device).account_key));
    return Object.fromEntries(ciphertexts);
  }

  #sentKey(group, plaintext, device) {
    return createHash('sha256').update(text([group, hex(plaintext), device])).digest('hex');
  }

  #message(group, to, ciphertexts) {
    const sender = { account_key: hex(this.account.accountKey), voucher: hex(this.account.voucher) };
    const entries = Object.entries(ciphertexts).map(([device, bytes]) => [device, hex(bytes)]);
    const opens = Object.values(ciphertexts).some(isPrekeyMessage);
    return this.#packet('message', group, to, text({ sender, ciphertexts: Object.fromEntries(entries) }), opens);
  }

  async receive({ packet }) {
    switch (packet.kind) {
      case 'change':
        return this.#takeChange(packet);
      case 'welcome':
        return this.#takeWelcome(packet);
      case 'message':
        return this.#takeMessage(packet);
      case 'device_list':
        return this.#takeDeviceList(packet);
      default:
        throw new Refusal('bad_request', `this application has no ${packet.kind}`);
    }
  }

  #takeChange({ group: id, from: by, bytes }) {
    const group = this.#group(id);
    const { add, remove } = lists(bytes, 'malformed change', ['add', 'remove']);
    if (by === this.id && group.pending === hex(bytes)) {
      group.pending = null;
    } else {
      const ask = (fact, device) => this.notebook.require('Device::receive(change)', { fact, group: id, device, by, authenticated: false }, OWN);
      for (const device of remove) ask('remove', device);
      for (const device of add) ask('add', device);
      if (group.pending) this.notebook.note({ event: 'change_dropped', group: id });
      group.pending = null;
    }
    for (const device of remove) if (group.members.delete(device)) this.notebook.note({ event: 'member_removed', group: id, device, by });
    for (const device of add) this.#added(id, device, by);
    return {};
  }

  #added(id, device, by) {
    const { members } = this.#group(id);
    if (!members.has(device)) this.notebook.note({ event: 'member_added', group: id, device, by });
    members.add(device);
  }

  #takeWelcome({ group: id, from: by, bytes }) {
    const { members } = lists(bytes, 'malformed welcome', ['members']);
    if (!members.includes(this.id)) throw new Refusal('bad_request', `a welcome to ${id} that leaves out ${this.id}`);
    this.notebook.require('Device::receive(welcome)', { fact: 'add', group: id, device: this.id, by, authenticated: false }, OWN);
    if (this.groups.get(id)?.pending) this.notebook.note({ event: 'change_dropped', group: id });
    this.groups.set(id, { members: new Set(members), pending: null });
    this.notebook.note({ event: 'joined', group: id });
    return {};
  }

  async #takeDeviceList({ bytes }) {
    const bundle = json(Buffer.from(bytes), 'malformed bundle in a device list', ['device', 'bytes']);
    const { device } = bundle;
    this.notebook.require('Device::receive(device_list)', { fact: 'listed_device', device }, OWN);
    await this.#introduce([{ device, bytes: Buffer.from(bundle.bytes, 'hex') }]);
    const user = (name) => name.split('/')[0];
    for (const [id, { members }] of this.groups) {
      if ([...members].some((member) => user(member) === user(device))) this.#added(id, device, device);
    }
    return {};
  }

  async #takeMessage({ group: id, from, to, bytes }) {
    const { members } = this.#group(id);
    const { sender, ciphertexts } = object(bytes, 'malformed message');
    const ciphertext = ciphertexts?.[this.id];
    if (typeof ciphertext !== 'string') throw new Refusal('no_key', 'nothing in this message is for this device');
    const keys = json(text(sender ?? null), 'malformed message', ['account_key', 'voucher']);
    if (!members.has(from)) this.notebook.require('Device::receive(message)', { fact: 'non_member_sender', group: id, device: from }, OWN);
    let opened = null;
    const plaintext = await this.transaction('decrypting', async (context) => {
      const known = this.peers.has(from);
      // A session under the name that the label bears; it opens one from the message if there is none.
      const content = await context.proteusDecryptSafe(from, Buffer.from(ciphertext, 'hex'));
      if (!known) opened = await this.#vouch(context, from, { accountKey: keys.account_key, voucher: keys.voucher });
      const inside = json(Buffer.from(content), 'malformed content', ['group', 'from', 'text']);
      if (inside.group !== id || inside.from !== from) throw new Refusal('auth_failed', `written by ${inside.from} to ${inside.group}`);
      // A session with one member does not show who else has been written to.
      if (to.group !== undefined) this.notebook.require('Device::receive(message)', { fact: 'recipients', group: id, sender: from }, OWN);
      return Buffer.from(inside.text, 'hex');
    });
    if (opened) this.#know(from, opened);
    return { message: { group: id, sender: from, plaintext } };
  }

  async roster({ group: id }) {
    const order = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
    const members = [...this.#group(id).members].map((device) => device.split('/'))
      .sort((a, b) => order(a[0], b[0]) || order(a[1], b[1])).map((parts) => parts.join('/'));
    return { members, authenticated: false };
  }

  async fingerprint({ group, peer }) {
    this.#group(group);
    const known = this.peers.get(peer);
    if (!known) throw new Refusal('no_key', `no session with ${peer}`);
    return { kind: 'device_keys', value: [hex(this.account.deviceKey), hex(known.device_key)].sort().join(' ') };
  }

  async resend({ group, plaintext, bundle, acknowledged }) {
    this.#membership(group);
    const { device } = bundle;
    const original = this.sent.get(this.#sentKey(group, plaintext, device)) ?? '';
    const { account_key: accountKey } = json(Buffer.from(bundle.bytes), 'malformed bundle', ['account_key', 'voucher', 'prekey']);
    this.notebook.require('Device::resend', { fact: 'resend', device, account_key: accountKey, original, acknowledged }, OWN);
    await this.#introduce([bundle]);
    return { packets: [this.#message(group, { device }, await this.#seal(group, [device], plaintext))] };
  }

  async accept_authorisation({ authorisation }) {
    this.account = this.account.linked(authorisation);
  }

  async store() {
    const groups = [...this.groups].map(([id, { members, pending }]) => [id, { members: [...members], pending }]);
    const peers = [...this.peers].map(([peer, identity]) => [peer, toHex(identity)]);
    return this.keep({ groups, peers, sent: [...this.sent] });
  }

  export_state() {
    return this.store();
  }

  async misbehave({ fault: { fault, device } }) {
    this.relabel = fault === 'relabelled_sender' ? device : null;
    this.degenerate = fault === 'degenerate_key';
  }

  async craft({ forgery }) {
    const { group, claim } = forgery;
    const packet = (kind, to, bytes, opens = false) => ({ kind, group: group.id, from: claim, to, opens_session: opens, bytes });
    switch (forgery.forgery) {
      case 'message':
        return { packets: [packet('message', { group: group.id }, await this.#impostor(group, claim, forgery.plaintext), true)] };
      case 'change': {
        const added = forgery.add.map(({ device }) => device);
        const packets = [packet('change', { group: group.id }, text({ add: added, remove: forgery.remove }))];
        const members = [...new Set([...group.members, ...added])].filter((device) => !forgery.remove.includes(device)).sort();
        if (added.length > 0) packets.push(packet('welcome', added.length === 1 ? { device: added[0] } : { devices: added }, text({ members })));
        return { packets };
      }
      case 'rewritten_identity':
        return { packets: [this.#rewritten(forgery.packet)] };
    }
  }

  /** A message under a member's name, from a client of the outsider's to clients of its own. */
  async #impostor(group, claim, plaintext) {
    const library = await Library.shared();
    const { database } = await library.empty();
    const act = (work) => {
      const core = library.cc.CoreCrypto.new(database);
      return library.transaction(core, async (context) => {
        await context.proteusInit();
        return work(context);
      });
    };
    const ciphertexts = {};
    for (const member of group.members.filter((device) => device !== claim)) {
      const content = text({ group: group.id, from: claim, text: hex(plaintext) });
      ciphertexts[member] = hex(await act(async (context) => {
        const { pkb } = await context.proteusNewPrekeyAuto();
        await context.proteusSessionFromPrekey(member, pkb);
        return context.proteusEncrypt(member, content);
      }));
    }
    const sender = { account_key: hex(this.account.accountKey), voucher: hex(this.account.voucher) };
    return text({ sender, ciphertexts });
  }

  /** The same packet with the outsider's identity key where the sender's stands. */
  #rewritten(packet) {
    const { ciphertexts } = object(packet.bytes, 'malformed message');
    const rewritten = Object.entries(ciphertexts ?? {}).map(([device, bytes]) => {
      const envelope = Buffer.from(bytes, 'hex');
      return [device, isPrekeyMessage(envelope) ? hex(withIdentity(envelope, this.account.deviceKey)) : bytes];
    });
    const own = { account_key: hex(this.account.accountKey), voucher: hex(this.account.voucher) };
    return { ...packet, bytes: text({ sender: own, ciphertexts: Object.fromEntries(rewritten) }) };
  }
}

function text(value) {
  return Buffer.from(JSON.stringify(value));
}

function object(bytes, complaint) {
  let parsed;
  try {
    parsed = JSON.parse(Buffer.from(bytes).toString());
  } catch (error) {
    throw new Refusal('bad_request', `${complaint}: ${error.message}`);
  }
  if (typeof parsed !== 'object' || parsed === null) throw new Refusal('bad_request', complaint);
  return parsed;
}

/** An object of lists of devices. */
function lists(bytes, complaint, names) {
  const parsed = object(bytes, complaint);
  for (const name of names) {
    if (!Array.isArray(parsed[name]) || !parsed[name].every((device) => /^[^/]+\/[^/]+$/.test(device))) throw new Refusal('bad_request', complaint);
  }
  return parsed;
}

function fromHex(identity) {
  return Object.fromEntries(Object.entries(identity).map(([name, value]) => [name, Buffer.from(value, 'hex')]));
}

function toHex(identity) {
  return Object.fromEntries(Object.entries(identity).map(([name, value]) => [name, hex(value)]));
}
