// A device: its account, its key packages and its groups, each the library's immutable state of it. A call works on the state
// that is there and puts the new one in its place when everything has been asked and nothing has refused: so whatever fails
// leaves the device as it was.

import {
  createApplicationMessage, createCommit, createGroup, createGroupInfoWithExternalPubAndRatchetTree, decodeGroupState,
  defaultAuthenticationService, defaultCapabilities, defaultKeyPackageEqualityConfig, defaultKeyRetentionConfig,
  defaultLifetime, defaultLifetimeConfig, defaultPaddingConfig, encodeGroupState, encodeMlsMessage,
  generateKeyPackageWithKey, getCiphersuiteFromName, getCiphersuiteImpl, joinGroup, joinGroupExternal, makePskIndex, mlsExporter,
  processPrivateMessage, processPublicMessage, zeroOutUint8Array,
} from 'ts-mls';
import { makeKeyPackageRef } from 'ts-mls/keyPackage.js';
import { encodeRatchetTree } from 'ts-mls/ratchetTree.js';
import { Account, shown, shownBy } from './account.mjs';
import { bent } from './bent.mjs';
import { Refusal } from './e2esm.mjs';
import { translated, translatedIn } from './errors.mjs';
import { effects, entered, groupName, indexOf, keyChanges, knownKey, leaves, senderOf } from './groups.mjs';
import { decoded, decodedTree, encoded, expected, framing } from './wire.mjs';

/** Where the library asks. */
const VALIDATE_CREDENTIAL = 'AuthenticationService.validateCredential';
const INCOMING_MESSAGE = 'IncomingMessageCallback';

/** The numbers of the one cipher suite that devices have. */
const SUITE = 1;
/** The length of the secret by which members of a mixed group compare their epochs. */
const EXPORTED = 32;
/** PKCS #8 of an Ed25519 key ends with its seed (RFC 8410, section 7). */
const SEED = 32;

const CIPHERSUITE = getCiphersuiteFromName('MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519');
/** One for all devices of the process: it has no state. */
let suite;

const hex = (bytes) => Buffer.from(bytes).toString('hex');
const unhex = (text) => new Uint8Array(Buffer.from(text, 'hex'));
const same = (one, other) => Buffer.compare(one, other) === 0;

/** The library's configuration with its defaults, but for the one place that has none: who is who. */
export const configured = (authService) => ({
  keyRetentionConfig: defaultKeyRetentionConfig,
  lifetimeConfig: defaultLifetimeConfig,
  keyPackageEqualityConfig: defaultKeyPackageEqualityConfig,
  paddingConfig: defaultPaddingConfig,
  authService,
});

/** A state between calls: without the questions of the call that made it. */
const resting = (state) => ({ ...state, clientConfig: configured(defaultAuthenticationService) });

/** A key package of this account's, with its private keys. */
export function keyPackage(account, keys, mixed, cs) {
  const credential = { credentialType: 'basic', identity: account.credential(mixed) };
  return generateKeyPackageWithKey(credential, defaultCapabilities(), defaultLifetime, [], keys, cs);
}

export class Device {
  static faults = ['relabelled_sender', 'wrong_leaf_signature', 'wrong_parent_hash', 'wrong_confirmation_tag'];

  static forgeries = ['message', 'change', 'uninvited_join', 'broken_bundle'];

  /** Whether the members of its groups have other implementations. */
  static mixed = false;

  #notebook;

  #fault = { fault: 'none' };

  /** By reference, in hex: what is published and not used. Each `{publicPackage, privatePackage}`. */
  #keyPackages = new Map();

  /**
   * By name: `{state, pending, treeApart, joinedBy}`. A pending change of this device's own is `{bytes, next, consumed, effects}`;
   * `joinedBy` is the commit by which it joined, if it did so by its own act.
   */
  #groups = new Map();

  static async create(id, notebook) {
    suite ??= await getCiphersuiteImpl(CIPHERSUITE);
    const keys = await suite.signature.keygen();
    return new this(id, notebook, keys, Account.create(id, keys.publicKey));
  }

  /** A device from a copied state. */
  static async restore(id, bytes, notebook) {
    suite ??= await getCiphersuiteImpl(CIPHERSUITE);
    let state;
    try {
      state = JSON.parse(new TextDecoder().decode(bytes));
    } catch (error) {
      throw new Refusal('bad_request', `no state: ${error.message}`);
    }
    if (state?.account?.device !== id) throw new Refusal('bad_request', `the state is not ${id}'s`);
    const keys = { signKey: unhex(state.sign_key), publicKey: unhex(state.public_key) };
    const device = new this(id, notebook, keys, Account.fromJSON(state.account));
    for (const { reference, key_package, init, encryption } of state.key_packages) {
      device.#keyPackages.set(reference, {
        publicPackage: expected(unhex(key_package), 'keyPackage'),
        privatePackage: { initPrivateKey: unhex(init), hpkePrivateKey: unhex(encryption), signaturePrivateKey: keys.signKey },
      });
    }
    const group = (encodedState) => resting(decodeGroupState(unhex(encodedState), 0)[0]);
    for (const { name, state: present, tree_apart, joined_by, pending } of state.groups) {
      device.#groups.set(name, {
        state: group(present),
        treeApart: tree_apart,
        joinedBy: joined_by === null ? null : unhex(joined_by),
        pending: pending.map((change) => ({
          bytes: unhex(change.bytes), next: group(change.next), consumed: [], effects: change.effects,
        })),
      });
    }
    return device;
  }

  /** A device from what it stored: the library has one encoding of a group, for both. */
  static load(id, bytes, notebook) {
    return this.restore(id, bytes, notebook);
  }

  constructor(id, notebook, keys, account) {
    this.id = id;
    this.#notebook = notebook;
    this.keys = keys;
    this.account = account;
    this.mixed = new.target.mixed;
  }

  // ---- Who this is

  identity() {
    return this.account.identity();
  }

  async publish() {
    const made = await keyPackage(this.account, this.keys, this.mixed, suite);
    const reference = hex(await makeKeyPackageRef(made.publicPackage, suite.hash));
    this.#keyPackages.set(reference, made);
    return { device: this.id, bytes: encoded({ keyPackage: made.publicPackage }) };
  }

  link_request() {
    return { device: this.id, device_key: this.keys.publicKey };
  }

  authorise({ request }) {
    return this.account.authorise(request);
  }

  accept_authorisation({ authorisation }) {
    this.account = this.account.accept(authorisation);
  }

  // ---- Groups

  create_group({ group }) {
    if (this.#groups.has(group)) throw new Refusal('duplicate', `${this.id} has a group ${group} already`);
    return translated(async () => {
      const own = await keyPackage(this.account, this.keys, this.mixed, suite);
      const id = new TextEncoder().encode(group);
      this.#begin(group, await createGroup(id, own.publicPackage, own.privatePackage, [], suite));
    });
  }

  change({ group, change: { add, remove, refresh } }) {
    const membership = this.#membership(group);
    return this.#asking(membership.state, async (state, wanted) => {
      const proposals = [];
      for (const bundle of add) {
        const newcomer = expected(bundle.bytes, 'keyPackage');
        wanted.set(hex(newcomer.leafNode.signaturePublicKey), bundle.device);
        proposals.push({ proposalType: 'add', add: { keyPackage: newcomer } });
      }
      for (const device of remove) {
        proposals.push({ proposalType: 'remove', remove: { removed: indexOf(state.ratchetTree, device) } });
      }
      // A refresh is a commit of nothing, or of what others have proposed: the library decides by that alone about a path.
      if (refresh && add.length > 0 && remove.length === 0) {
        throw new Refusal('bad_request', 'createCommit makes no update path where somebody is added: nothing forces one');
      }
      const { commit, welcome, newState, consumed } = await createCommit(
        { state, cipherSuite: bent(suite, this.#fault.fault), pskIndex: makePskIndex(state, {}) },
        { extraProposals: proposals, ratchetTreeExtension: !membership.treeApart, wireAsPublicMessage: this.mixed },
      );
      const own = proposals.map((proposal) => ({ proposal, senderLeafIndex: state.privatePath.leafIndex }));
      const done = effects(state.ratchetTree, [...Object.values(state.unappliedProposals), ...own]);
      const bytes = encodeMlsMessage(commit);
      membership.pending.push({ bytes, next: resting(newState), consumed, effects: done });
      const packets = [this.#packet('change', group, bytes)];
      if (welcome !== undefined) {
        const newcomers = done.added.map(({ device }) => device);
        const to = newcomers.length === 1 ? { device: newcomers[0] } : { devices: newcomers };
        packets.push({ ...this.#packet('welcome', group, encoded({ welcome })), to });
      }
      return { packets };
    });
  }

  wants({ group }) {
    this.#membership(group);
    return [];
  }

  send({ group, plaintext }) {
    const membership = this.#membership(group);
    return this.#asking(membership.state, async (state) => {
      if (this.#fault.fault === 'relabelled_sender' && this.#fault.device !== this.id) {
        return this.#relabelled(group, state, plaintext);
      }
      const { newState, privateMessage, consumed } = await createApplicationMessage(state, plaintext, suite);
      this.#enter(membership, newState, consumed);
      return { packets: [this.#packet('message', group, encoded({ privateMessage }))] };
    });
  }

  receive({ packet }) {
    switch (packet.kind) {
      case 'change':
        return this.#receiveChange(packet);
      case 'welcome':
        return this.#join(packet);
      case 'proposal':
      case 'message':
        return this.#process(packet);
      default:
        throw new Refusal('bad_request', `a ${packet.kind} means nothing to MLS`);
    }
  }

  roster({ group }) {
    const members = leaves(this.#membership(group).state.ratchetTree).map(([, leaf]) => shownBy(leaf).device);
    return { members: sorted(members), authenticated: true };
  }

  async fingerprint({ group }) {
    const { epochAuthenticator, exporterSecret } = this.#membership(group).state.keySchedule;
    // In a mixed group the one secret of an epoch that every implementation shows.
    const value = this.mixed
      ? await mlsExporter(exporterSecret, 'exporter', new Uint8Array(), EXPORTED, suite)
      : epochAuthenticator;
    return { kind: 'epoch_authenticator', value: hex(value) };
  }

  group_info({ group }) {
    const { state } = this.#membership(group);
    return translated(async () => (
      encoded({ groupInfo: await createGroupInfoWithExternalPubAndRatchetTree(state, [], suite) })
    ));
  }

  external_join({ group_info }) {
    const groupInfo = expected(group_info, 'groupInfo');
    return this.#asking(null, async (_, wanted, config) => {
      const own = await keyPackage(this.account, this.keys, this.mixed, suite);
      // A leaf of this same device: the library takes its place if it is told that there is one.
      const again = (treeIn(groupInfo) ?? []).some((node) => (
        node?.nodeType === 'leaf' && same(node.leaf.signaturePublicKey, this.keys.publicKey)
      ));
      const { publicMessage, newState } = await joinGroupExternal(
        groupInfo, own.publicPackage, own.privatePackage, again, suite, undefined, config,
      );
      const group = groupName(groupInfo.groupContext.groupId);
      const bytes = encoded({ publicMessage });
      this.#install(group, newState).joinedBy = bytes;
      return { packets: [this.#packet('change', group, bytes)] };
    });
  }

  tree_in_welcome({ group, inside }) {
    this.#membership(group).treeApart = !inside;
  }

  ratchet_tree({ group }) {
    return encodeRatchetTree(this.#membership(group).state.ratchetTree);
  }

  join_with_tree({ welcome, ratchet_tree }) {
    if (welcome.kind !== 'welcome') throw new Refusal('bad_request', `a ${welcome.kind} is no welcome`);
    return this.#join(welcome, decodedTree(ratchet_tree));
  }

  // ---- State

  store() {
    return this.export_state();
  }

  export_state() {
    const state = {
      account: this.account,
      sign_key: hex(this.keys.signKey),
      public_key: hex(this.keys.publicKey),
      key_packages: [...this.#keyPackages].map(([reference, { publicPackage, privatePackage }]) => ({
        reference,
        key_package: hex(encoded({ keyPackage: publicPackage })),
        init: hex(privatePackage.initPrivateKey),
        encryption: hex(privatePackage.hpkePrivateKey),
      })),
      groups: [...this.#groups].map(([name, { state: present, treeApart, joinedBy, pending }]) => ({
        name,
        state: hex(encodeGroupState(present)),
        tree_apart: treeApart,
        joined_by: joinedBy === null ? null : hex(joinedBy),
        pending: pending.map((change) => ({
          bytes: hex(change.bytes), next: hex(encodeGroupState(change.next)), effects: change.effects,
        })),
      })),
    };
    return new TextEncoder().encode(JSON.stringify(state));
  }

  standard_keys() {
    const key_packages = [...this.#keyPackages.values()].map(({ publicPackage, privatePackage }) => ({
      key_package: encoded({ keyPackage: publicPackage }),
      init_priv: privatePackage.initPrivateKey,
      encryption_priv: privatePackage.hpkePrivateKey,
    }));
    const signature_priv = this.keys.signKey.slice(-SEED);
    return { mls: { cipher_suite: SUITE, signature_priv, key_packages } };
  }

  // ---- Attackers

  misbehave({ fault }) {
    this.#fault = fault;
  }

  async craft({ forgery }) {
    const { craft } = await import('./outsider.mjs');
    return translated(() => craft(this, forgery, suite));
  }

  /**
   * An application message under another member's name. Every member holds the secrets of every other member's message keys,
   * and the library sends from the leaf that the state names: told the victim's, it makes everything the victim's own but the
   * signature. The state that comes of it is dropped, so that the victim's next message can still be read here.
   */
  async #relabelled(group, state, plaintext) {
    const from = this.#fault.device;
    const privatePath = { ...state.privatePath, leafIndex: indexOf(state.ratchetTree, from) };
    const { privateMessage } = await createApplicationMessage({ ...state, privatePath }, plaintext, suite);
    return { packets: [{ ...this.#packet('message', group, encoded({ privateMessage })), from }] };
  }

  // ---- Receiving

  async #receiveChange(packet) {
    const membership = this.#groups.get(packet.group);
    if (membership?.joinedBy && same(membership.joinedBy, packet.bytes)) return {};
    const own = membership?.pending.find(({ bytes }) => same(bytes, packet.bytes));
    if (own === undefined) return this.#process(packet);
    membership.pending = membership.pending.filter((change) => change !== own);
    const before = membership.state;
    this.#enter(membership, entered(before, own.next), own.consumed);
    this.#dropPending(packet.group);
    this.#noteChange(packet.group, own.effects, before.ratchetTree, membership.state.ratchetTree);
    return {};
  }

  /** A message, a commit or a proposal, as the packet's kind says. */
  #process(packet) {
    const message = decoded(packet.bytes);
    const { groupId, epoch, contentType } = framing(message);
    if (contentType !== { change: 'commit', proposal: 'proposal', message: 'application' }[packet.kind]) {
      throw new Refusal('bad_request', `a ${packet.kind} with other content`);
    }
    // The library is given a group's state and a message: its caller finds the one by the other.
    const group = groupName(groupId);
    const membership = this.#membership(group);
    const present = membership.state.groupContext.epoch;
    return this.#asking(membership.state, (state) => translatedIn(present, { epoch, contentType }, async () => {
      const joiner = contentType === 'commit' ? joinerIn(message) : undefined;
      let done = { removed: [], added: [] };
      const callback = (incoming) => {
        const proposals = incoming.kind === 'commit' ? incoming.proposals : [incoming.proposal];
        done = effects(state.ratchetTree, proposals, joiner);
        return this.#allowed(group, done) ? 'accept' : 'reject';
      };
      const result = message.wireformat === 'mls_private_message'
        ? await processPrivateMessage(state, message.privateMessage, makePskIndex(state, {}), suite, callback)
        : await processPublicMessage(state, message.publicMessage, makePskIndex(state, {}), suite, callback);
      if (result.actionTaken === 'reject') {
        throw new Refusal('refused', `the application said no at ${INCOMING_MESSAGE}: ${contentType}`);
      }
      if (result.kind === 'applicationMessage') {
        const { leaf } = await senderOf(state, message.privateMessage, suite);
        const plaintext = result.message.slice();
        this.#enter(membership, result.newState, result.consumed);
        return { message: { group, sender: shownBy(leaf).device, plaintext } };
      }
      this.#enter(membership, result.newState, result.consumed);
      if (contentType === 'commit') {
        this.#dropPending(group);
        this.#noteChange(group, done, state.ratchetTree, membership.state.ratchetTree);
      }
      return {};
    }));
  }

  #join(packet, ratchetTree) {
    const welcome = expected(packet.bytes, 'welcome');
    return this.#asking(null, async (_, wanted, config) => {
      const reference = welcome.secrets.map(({ newMember }) => hex(newMember)).find((ref) => this.#keyPackages.has(ref));
      if (reference === undefined) throw new Refusal('no_key', 'the welcome is for no key package that is here');
      const { publicPackage, privatePackage } = this.#keyPackages.get(reference);
      const state = await joinGroup(
        welcome, publicPackage, privatePackage, makePskIndex(undefined, {}), suite, ratchetTree, undefined, config,
      );
      // It has served its turn (RFC 9420, section 10); the library leaves its storage to the application.
      this.#keyPackages.delete(reference);
      this.#install(groupName(state.groupContext.groupId), state);
      return {};
    });
  }

  // ---- Asking and telling

  /**
   * Does `work` with a state whose questions go to this call's notebook. The library may ask about several leaves at a time, and
   * still about one when the call has ended with another: from then on nobody listens.
   */
  async #asking(state, work) {
    const wanted = new Map();
    let over = false;
    const config = configured({
      validateCredential: async (credential, key) => !over && this.#vouched(state?.ratchetTree ?? [], wanted, credential, key),
    });
    try {
      return await translated(() => work(state && { ...state, clientConfig: config }, wanted, config));
    } finally {
      over = true;
    }
  }

  /** Whether the application takes a credential. The key of a bundle in a change is asked about under the name that was wanted. */
  #vouched(tree, wanted, credential, key) {
    const { device, identity } = shown(credential, key);
    if (device === this.id && same(key, this.keys.publicKey)) return true;
    const name = wanted.get(hex(key)) ?? device;
    const known = knownKey(tree, name);
    const previous = known === undefined || known === hex(identity.account_key) ? undefined : known;
    return this.#notebook.consult(VALIDATE_CREDENTIAL, { fact: 'identity', device: name, identity, previous });
  }

  /** Whether the application allows what a commit or a proposal does. Its author's signature has been verified. */
  #allowed(group, { removed, added }) {
    const allowed = (fact) => ({ device, by }) => (
      this.#notebook.consult(INCOMING_MESSAGE, { fact, group, device, by, authenticated: true })
    );
    return removed.every(allowed('remove')) && added.every(allowed('add'));
  }

  #noteChange(group, { removed, added }, before, after) {
    for (const { device, by } of removed) this.#notebook.note({ event: 'member_removed', group, device, by });
    for (const device of keyChanges(before, after)) this.#notebook.note({ event: 'key_changed', device });
    for (const { device, by } of added) this.#notebook.note({ event: 'member_added', group, device, by });
  }

  #dropPending(group) {
    const membership = this.#groups.get(group);
    for (const _ of membership?.pending ?? []) this.#notebook.note({ event: 'change_dropped', group });
    if (membership) membership.pending = [];
  }

  // ---- Keeping

  #membership(group) {
    const membership = this.#groups.get(group);
    if (membership === undefined) throw new Refusal('bad_request', `${this.id} has no group ${group}`);
    return membership;
  }

  /** Puts a new state in the place of the old one, and wipes what the library says is used up. */
  #enter(membership, state, consumed = []) {
    membership.state = resting(state);
    consumed.forEach(zeroOutUint8Array);
  }

  #begin(group, state) {
    const membership = { state: resting(state), pending: [], treeApart: false, joinedBy: null };
    this.#groups.set(group, membership);
    return membership;
  }

  /** Takes a new group in the place of one of the same id: the library does not know what other groups there are. */
  #install(group, state) {
    this.#dropPending(group);
    const membership = this.#begin(group, state);
    this.#notebook.note({ event: 'joined', group });
    return membership;
  }

  #packet(kind, group, bytes) {
    return { kind, group, from: this.id, to: { group }, opens_session: false, bytes };
  }

  /** The key package in a bundle of this device's own, with its private keys. */
  async ownKeyPackage(bundle) {
    const publicPackage = expected(bundle.bytes, 'keyPackage');
    return this.#keyPackages.get(hex(await makeKeyPackageRef(publicPackage, suite.hash)));
  }
}

/** A device whose groups have members with other implementations: README.md says what each of them takes. */
export class MixedDevice extends Device {
  static mixed = true;
}

/** Who joins by an external commit: the library's callback tells its proposals only. */
function joinerIn({ publicMessage }) {
  if (publicMessage?.content.sender.senderType !== 'new_member_commit') return undefined;
  const leaf = publicMessage.content.commit.path?.leafNode;
  return leaf && shownBy(leaf).device;
}

/** The tree in a GroupInfo. */
function treeIn({ extensions }) {
  const extension = extensions.find(({ extensionType }) => extensionType === 'ratchet_tree');
  return extension && decodedTree(extension.extensionData);
}

/** As the protocol sorts devices: by user and then by device, each by its UTF-8. */
function sorted(devices) {
  const parts = (name) => {
    const slash = name.indexOf('/');
    return [Buffer.from(name.slice(0, slash)), Buffer.from(name.slice(slash + 1))];
  };
  return devices.toSorted((one, other) => {
    const [user, device] = parts(one);
    const [otherUser, otherDevice] = parts(other);
    return Buffer.compare(user, otherUser) || Buffer.compare(device, otherDevice);
  });
}
