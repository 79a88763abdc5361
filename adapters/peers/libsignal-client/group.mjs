// The group management that libsignal lacks: who is in a group, who holds whose sender key, when a new one is due.
//
// It is `adapters/sender-keys` once more: the same questions, the same packets to the byte, so that devices of both sit in
// one group. libsignal has no group object. Membership is the server's, and nothing authenticates it; every question
// about it is asked at a point of the group management's own, so that nobody takes what is here for the library's.
//
// Every question is put before anything changes. Where the library has to decrypt before it is known what is to be asked,
// the opened content is held until its packet comes again; where a session has to be opened first, its peer's former
// state is put back.

import { createHash } from 'node:crypto';
import { Refusal, Undecided } from './e2esm.mjs';
import { content, fromContent, fromJson, sorted } from './wire.mjs';

const POINTS = {
  change: 'GroupDevice::receive_change',
  welcome: 'GroupDevice::receive_welcome',
  deviceList: 'GroupDevice::receive_device_list',
  message: 'GroupDevice::receive_message',
  keyDistribution: 'GroupDevice::receive_key_distribution',
  send: 'GroupDevice::send',
  resend: 'GroupDevice::resend',
  shareHistory: 'GroupDevice::share_history',
};

/** What is kept of the key of a group. */
const KEY = {
  /** There is none, or it has been retired: the next send makes one, and nobody is to be asked. */
  none: 'none',
  inUse: 'in_use',
  /**
   * A send has begun to replace it and was not completed, so that the library has a key already that nobody holds: the
   * next send makes another, and asks what that send asked.
   */
  halfReplaced: 'half_replaced',
};

const NOTHING = new Uint8Array();
const same = (one, other) => Buffer.compare(one, other) === 0;

/** One group as one device sees it. */
class Group {
  roster = new Set();
  /** A change of this device's own that the server has not delivered back yet: `{bytes, refresh}`. */
  pending = null;
  key = KEY.none;
  /** Everybody who was ever given the present sender key. */
  holders = new Set();
  /** Members to whom it has yet to be sent, those among them that hold it but have a new session since. */
  owed = new Set();
  /** Holders who are no longer in the roster. */
  stale = new Set();
  /** How many messages have been sent, which one each plaintext was at first, and who got which key before which. */
  outbox = { count: 0, messages: new Map(), given: new Map() };
  /**
   * Every sender key of this device's own, as it was first handed out. Kept to be shared with newcomers, as an
   * application keeps its users' messages; part neither of the store nor of an exported state, or no protocol would have
   * forward secrecy.
   */
  archive = [];

  constructor(me, members = []) {
    this.me = me;
    for (const member of sorted(members)) this.join(member);
  }

  /** Takes a device into the roster; false if it was in. One that has been here before may have been reinstalled since. */
  join(device) {
    if (this.roster.has(device)) return false;
    this.roster.add(device);
    if (device !== this.me) {
      this.stale.delete(device);
      this.owed.add(device);
    }
    return true;
  }

  /** Takes a device out of the roster; false if it was not in. */
  leave(device) {
    if (!this.roster.delete(device)) return false;
    this.owed.delete(device);
    if (this.holders.has(device)) this.stale.add(device);
    return true;
  }

  hasDeviceOf(user) {
    return [...this.roster].some((member) => member.split('/')[0] === user);
  }

  /** What was sent through the old session with this device may never have been read. */
  sessionReplaced(device) {
    if (this.roster.has(device) && device !== this.me) this.owed.add(device);
  }

  /** Whether the next send needs a new sender key whatever anybody decides. */
  get needsKey() {
    return this.key !== KEY.inUse;
  }

  retireKey() {
    this.key = KEY.none;
    this.holders.clear();
    this.stale.clear();
  }

  replaceKey() {
    if (this.key === KEY.inUse) this.key = KEY.halfReplaced;
  }

  /** A new sender key is in use, and nobody holds it; `first` is what there is to hand out of it. */
  keyMade(first) {
    this.retireKey();
    this.key = KEY.inUse;
    this.archive.push(first);
    this.owed = new Set(this.everybodyElse());
  }

  everybodyElse() {
    return sorted(this.roster).filter((member) => member !== this.me);
  }

  /** The present sender key has gone to this device, encrypted to a session with this account key. */
  keyGiven(device, accountKey) {
    this.holders.add(device);
    this.owed.delete(device);
    if (!this.roster.has(device)) this.stale.add(device);
    const given = this.outbox.given.get(device) ?? [];
    this.outbox.given.set(device, given);
    if (given.length === 0 || !same(given.at(-1)[1], accountKey)) given.push([this.outbox.count, accountKey]);
  }

  /** A message has gone to everybody who holds the present sender key. */
  sent(plaintext) {
    const message = digest(plaintext);
    if (!this.outbox.messages.has(message)) this.outbox.messages.set(message, this.outbox.count);
    this.outbox.count += 1;
  }

  /** The account key to which this message first went at this device, if it went to any. */
  originalKey(device, plaintext) {
    // A plaintext that was never sent as such is taken for the last one.
    const message = this.outbox.messages.get(digest(plaintext)) ?? this.outbox.count;
    return (this.outbox.given.get(device) ?? []).findLast(([first]) => first <= message)?.[1];
  }

  state() {
    const { roster, pending, key, holders, owed, stale, outbox } = this;
    return {
      roster: sorted(roster),
      pending,
      key,
      holders: sorted(holders),
      owed: sorted(owed),
      stale: sorted(stale),
      outbox: { count: outbox.count, messages: [...outbox.messages], given: [...outbox.given] },
    };
  }

  static restore(me, { roster, pending, key, holders, owed, stale, outbox: { count, messages, given } }) {
    return Object.assign(new Group(me), {
      roster: new Set(roster),
      pending,
      key,
      holders: new Set(holders),
      owed: new Set(owed),
      stale: new Set(stale),
      outbox: { count, messages: new Map(messages), given: new Map(given) },
    });
  }
}

const digest = (plaintext) => createHash('sha256').update(plaintext).digest('hex');

/** One device: a library's keys (`signal.mjs`) and the group management above them. */
export class GroupDevice {
  static faults = ['relabelled_sender', 'degenerate_key'];
  static forgeries = ['message', 'key_distribution', 'change', 'broken_bundle', 'rewritten_identity'];

  #me;
  #notebook;
  #keys;
  #groups = new Map();
  /** The last pairwise message that could be decrypted but not dealt with: the library does not decrypt it twice. */
  #held = null;
  /** What the latest packet brought to the library itself. */
  #transcript = [];
  /** The fault `relabelled_sender`. */
  #relabel = null;

  constructor(id, notebook, keys) {
    this.#me = id;
    this.#notebook = notebook;
    this.#keys = keys;
  }

  /** What `restore` and `load` take. A message that waits for an answer is as good as not received yet to a thief. */
  state({ held }) {
    return {
      device: this.#me,
      groups: [...this.#groups].map(([id, group]) => [id, group.state()]),
      held: held ? this.#held : null,
      keys: this.#keys.state(),
    };
  }

  /** Puts back the part of a state that is not the keys'. */
  resume({ groups, held }) {
    this.#groups = new Map(groups.map(([id, group]) => [id, Group.restore(this.#me, group)]));
    this.#held = held;
    return this;
  }

  identity() {
    return this.#keys.identity();
  }

  publish() {
    return this.#keys.publish();
  }

  create_group({ group }) {
    if (this.#groups.has(group)) throw new Refusal('duplicate', `there is a group ${group} already`);
    this.#groups.set(group, new Group(this.#me, [this.#me]));
  }

  async change({ group: id, change: { add: bundles, remove, refresh } }) {
    const group = this.#membership(id);
    const gone = new Set();
    for (const device of remove) {
      if (!group.roster.has(device) || gone.has(device)) {
        throw new Refusal('not_member', `${device} is not a member of ${id}`);
      }
      gone.add(device);
    }
    const add = bundles.map(({ device }) => device);
    add.forEach((device, index) => {
      if ((group.roster.has(device) && !gone.has(device)) || add.indexOf(device) < index) {
        throw new Refusal('duplicate', `${device} is a member of ${id} already`);
      }
    });
    if (add.length === 0 && remove.length === 0) {
      if (refresh) group.retireKey();
      return {};
    }
    await this.#introducing(bundles, () => {});

    const bytes = json({ add, remove });
    this.#dropPending(id);
    group.pending = { bytes, refresh };
    const packets = [this.#packet('change', id, { group: id }, bytes)];
    if (add.length > 0) {
      const stay = [...group.roster].filter((member) => !gone.has(member));
      packets.push(this.#packet('welcome', id, addressed(add), json({ members: sorted([...stay, ...add]) })));
    }
    return { packets };
  }

  wants({ group: id }) {
    const group = this.#group(id);
    if (!group.roster.has(this.#me)) return [];
    return sorted(group.owed).filter((peer) => !this.#keys.hasSession(peer));
  }

  async introduce({ bundle }) {
    await this.#introducing([bundle], () => {});
  }

  async send({ group: id, plaintext }) {
    const group = this.#membership(id);
    let fresh = group.needsKey;
    for (const device of sorted(group.stale)) {
      if (!this.#notebook.consult(POINTS.send, { fact: 'stale_key', group: id, device }, 'group_management')) fresh = true;
    }
    const owed = fresh ? group.everybodyElse() : sorted(group.owed);
    if (fresh) {
      group.replaceKey();
      await this.#keys.newSenderKey(id);
    }
    const key = fresh || owed.length > 0 ? await this.#keys.distribution(id) : NOTHING;
    const { given, skipped } = await this.#distribute(id, owed, key);
    const from = this.#relabel ?? this.#me;
    const bytes = this.#relabel
      ? await this.#keys.groupEncryptAs(id, this.#relabel, plaintext)
      : await this.#keys.groupEncrypt(id, plaintext);

    if (fresh) group.keyMade(key);
    for (const { peer } of given) group.keyGiven(peer, this.#accountKey(peer));
    group.sent(plaintext);
    for (const device of skipped) this.#notebook.note({ event: 'skipped', group: id, device });
    const message = { ...this.#packet('message', id, { group: id }, bytes), from };
    return { packets: [...given.map(({ packet }) => packet), message] };
  }

  async receive({ packet }) {
    this.#transcript = [];
    switch (packet.kind) {
      case 'change':
        return this.#receiveChange(packet);
      case 'welcome':
        return this.#receiveWelcome(packet);
      case 'message':
        return this.#receiveMessage(packet);
      case 'key_distribution':
        return this.#receiveKeyDistribution(packet);
      case 'device_list':
        return this.#receiveDeviceList(packet);
      case 'key_request':
        throw new Refusal('bad_request', 'a key request, which this library cannot answer');
      case 'proposal':
        throw new Refusal('bad_request', 'there are no proposals in this protocol');
      default:
        throw new Refusal('unsupported', `unknown kind of packet ${packet.kind}`);
    }
  }

  roster({ group }) {
    return { members: sorted(this.#group(group).roster), authenticated: false };
  }

  fingerprint({ group, peer }) {
    this.#group(group);
    return this.#keys.fingerprint(peer);
  }

  async resend({ group: id, plaintext, bundle, acknowledged }) {
    const { device } = bundle;
    const original = this.#membership(id).originalKey(device, plaintext) ?? NOTHING;
    const { account_key: accountKey } = this.#keys.bundleIdentity(bundle);
    this.#ask(POINTS.resend, { fact: 'resend', device, account_key: accountKey, original, acknowledged });
    const packets = await this.#introducing([bundle], async () => (
      [await this.#seal('message', id, device, content(id, { message: plaintext }))]
    ));
    return { packets };
  }

  async share_history({ group: id, to }) {
    const group = this.#group(id);
    this.#ask(POINTS.shareHistory, { fact: 'history', group: id, device: to });
    if (group.archive.length === 0) throw new Refusal('no_key', `there are no keys of ${id} to hand over`);
    const packets = [];
    for (const key of group.archive) {
      packets.push(await this.#seal('key_distribution', id, to, content(id, { senderKey: key })));
    }
    const accountKey = this.#accountKey(to);
    // The present sender key is among them, unless it has been retired.
    if (!group.needsKey) group.keyGiven(to, accountKey);
    this.#notebook.note({ event: 'history_shared', group: id, device: to });
    return { packets };
  }

  link_request() {
    return this.#keys.linkRequest();
  }

  authorise({ request }) {
    return this.#keys.authorise(request);
  }

  accept_authorisation({ authorisation }) {
    this.#keys.acceptAuthorisation(authorisation);
  }

  standard_keys() {
    return this.#keys.standardKeys();
  }

  transcript() {
    return this.#transcript.map(({ kind, from, bytes }) => this.#keys.delivery(kind, from, bytes));
  }

  misbehave({ fault: { fault, device } }) {
    if (fault === 'none') {
      this.#relabel = null;
      this.#keys.publishDegenerateKeys(false);
    } else if (fault === 'relabelled_sender') {
      this.#relabel = device;
    } else {
      this.#keys.publishDegenerateKeys(true);
    }
  }

  /** What an outsider makes out of its own keys and what the server knows. */
  async craft({ forgery }) {
    switch (forgery.forgery) {
      case 'message':
        await this.#forgedKey(forgery.group);
        return { packets: [await this.#forgedMessage(forgery)] };
      case 'key_distribution':
        return { packets: await this.#forgeKeyDistribution(forgery) };
      case 'change':
        return { packets: this.#forgeChange(forgery) };
      case 'broken_bundle':
        return { bundle: this.#keys.breakBundle(forgery.bundle) };
      case 'rewritten_identity': {
        const { packet } = forgery;
        if (!packet.opens_session) throw new Refusal('bad_request', 'a packet that opens no session');
        return { packets: [{ ...packet, bytes: this.#keys.rewriteIdentity(packet.bytes) }] };
      }
    }
  }

  // What follows is not called from outside.

  #group(id) {
    const group = this.#groups.get(id);
    if (!group) throw new Refusal('bad_request', `no group ${id}`);
    return group;
  }

  #membership(id) {
    const group = this.#group(id);
    if (!group.roster.has(this.#me)) throw new Refusal('not_member', `${this.#me} is not a member of ${id}`);
    return group;
  }

  #ask(point, fact) {
    this.#notebook.require(point, fact, 'group_management');
  }

  #packet(kind, group, to, bytes, opensSession = false) {
    return { kind, group, from: this.#me, to, opens_session: opensSession, bytes };
  }

  /**
   * Opens a session from each bundle and goes on with `then`. If an answer is waited for, even after the last session was
   * opened, there are none: the same call will be made again, and is to ask and notice the same things.
   */
  async #introducing(bundles, then) {
    const before = [];
    let waits = false;
    try {
      for (const bundle of bundles) {
        if (bundle.device === this.#me) throw new Refusal('bad_request', 'a bundle of this very device');
        const state = this.#keys.peerState(bundle.device);
        await this.#keys.introduce(bundle);
        before.unshift([bundle.device, state]);
      }
      return await then();
    } catch (error) {
      waits = error instanceof Undecided;
      throw error;
    } finally {
      for (const [peer, state] of before) {
        if (waits) this.#keys.restorePeer(peer, state);
        else this.#sessionReplaced(peer);
      }
    }
  }

  #sessionReplaced(peer) {
    for (const group of this.#groups.values()) group.sessionReplaced(peer);
  }

  /** A pairwise packet, under the name of `claim` inside and out. */
  async #seal(kind, group, peer, plaintext, claim = this.#me) {
    const { opensSession, bytes } = await this.#keys.encrypt(peer, plaintext, claim);
    return { ...this.#packet(kind, group, { device: peer }, bytes, opensSession), from: claim };
  }

  /** Opens a pairwise packet, or finds it opened, and lets `accept` deal with what is in it. */
  async #open({ group, from, bytes, opens_session: opensSession }, accept) {
    let plaintext;
    if (this.#held && this.#held.from === from && same(this.#held.bytes, bytes)) {
      ({ plaintext } = this.#held);
      this.#held = null;
    } else {
      const known = this.#keys.knownAccountKey(from);
      this.#brought(opensSession ? 'prekey_message' : 'message', from, bytes);
      plaintext = await this.#keys.decrypt(from, { opensSession, bytes });
      if (known && !same(known, this.#keys.knownAccountKey(from))) this.#sessionReplaced(from);
    }
    try {
      const { group: named, body } = fromContent(plaintext);
      if (named !== group) throw new Refusal('bad_request', `sent for ${named}, delivered for ${group}`);
      return await accept(body);
    } catch (error) {
      this.#held = { from, bytes, plaintext };
      throw error;
    }
  }

  #brought(kind, from, bytes) {
    this.#transcript.push({ kind, from, bytes });
  }

  #senderInRoster({ group, from }, point) {
    if (!this.#group(group).roster.has(from)) this.#ask(point, { fact: 'non_member_sender', group, device: from });
  }

  #added(id, device, by) {
    if (this.#group(id).join(device)) this.#notebook.note({ event: 'member_added', group: id, device, by });
  }

  #removed(id, device, by) {
    if (this.#group(id).leave(device)) this.#notebook.note({ event: 'member_removed', group: id, device, by });
  }

  /** Drops a change of this device's own that has not come back. */
  #dropPending(id) {
    const group = this.#group(id);
    if (group.pending) this.#notebook.note({ event: 'change_dropped', group: id });
    group.pending = null;
  }

  #receiveChange({ group: id, from: by, bytes }) {
    const { add, remove } = fromJson(bytes, { add: ['device'], remove: ['device'] }, 'change');
    const group = this.#group(id);
    // Another member may make the very same change: the label is part of what is recognised.
    if (group.pending && by === this.#me && same(group.pending.bytes, bytes)) {
      if (group.pending.refresh) group.retireKey();
      group.pending = null;
    } else {
      const ask = (fact, device) => this.#ask(POINTS.change, { fact, group: id, device, by, authenticated: false });
      for (const device of remove) ask('remove', device);
      for (const device of add) ask('add', device);
      this.#dropPending(id);
    }
    for (const device of remove) this.#removed(id, device, by);
    for (const device of add) this.#added(id, device, by);
  }

  #receiveWelcome({ group: id, from: by, bytes }) {
    const { members } = fromJson(bytes, { members: ['device'] }, 'welcome');
    if (!members.includes(this.#me)) throw new Refusal('bad_request', `a welcome to ${id} that leaves out ${this.#me}`);
    this.#ask(POINTS.welcome, { fact: 'add', group: id, device: this.#me, by, authenticated: false });
    const group = this.#groups.get(id);
    if (group) {
      // In again, or never out in its own view: the roster is the new one, the sender keys stay.
      for (const member of sorted(group.roster)) if (!members.includes(member)) group.leave(member);
      for (const member of sorted(members)) group.join(member);
      this.#dropPending(id);
    } else {
      this.#groups.set(id, new Group(this.#me, members));
    }
    this.#notebook.note({ event: 'joined', group: id });
  }

  async #receiveDeviceList({ bytes }) {
    const bundle = fromJson(bytes, { device: 'device', bytes: 'bytes' }, 'bundle in a device list');
    const { device } = bundle;
    this.#ask(POINTS.deviceList, { fact: 'listed_device', device });
    await this.#introducing([bundle], () => {
      for (const id of sorted(this.#groups.keys())) {
        if (this.#group(id).hasDeviceOf(device.split('/')[0])) this.#added(id, device, device);
      }
    });
  }

  async #receiveMessage(packet) {
    const { group: id, from: sender, to, bytes } = packet;
    this.#senderInRoster(packet, POINTS.message);
    let plaintext;
    if (to.group !== undefined) {
      this.#ask(POINTS.message, { fact: 'recipients', group: id, sender });
      this.#brought(this.#keys.constructor.kinds.message, sender, bytes);
      plaintext = await this.#keys.groupDecrypt(id, sender, bytes);
    } else if (to.device !== undefined) {
      plaintext = await this.#open(packet, (body) => {
        if (!body.message) throw new Refusal('bad_request', 'a sender key, delivered as a message');
        return body.message;
      });
    } else {
      throw new Refusal('bad_request', 'a message to neither a group nor a device');
    }
    return { message: { group: id, sender, plaintext } };
  }

  async #receiveKeyDistribution(packet) {
    const { group: id, from } = packet;
    this.#senderInRoster(packet, POINTS.keyDistribution);
    await this.#open(packet, async (body) => {
      if (body.message) throw new Refusal('bad_request', 'a message, delivered as a sender key');
      if (body.handedOn) throw new Refusal('bad_request', 'this library cannot import a sender key from a third party');
      this.#brought(this.#keys.constructor.kinds.key, from, body.senderKey);
      await this.#keys.acceptSenderKey(id, from, body.senderKey);
      this.#notebook.note({ event: 'key_accepted', group: id, owner: from });
    });
  }

  #accountKey(peer) {
    const key = this.#keys.knownAccountKey(peer);
    if (!key) throw new Refusal('internal', 'a session with nobody known');
    return key;
  }

  /** Encrypts the present sender key to those who are owed it; those are left out with whom no session may be used. */
  async #distribute(id, owed, key) {
    const given = [];
    const skipped = [];
    const plaintext = content(id, { senderKey: key });
    for (const peer of owed) {
      if (!this.#keys.hasSession(peer)) {
        skipped.push(peer);
        continue;
      }
      try {
        given.push({ peer, packet: await this.#seal('key_distribution', id, peer, plaintext) });
      } catch (error) {
        if (error.errorClass !== 'untrusted_identity') throw error;
        skipped.push(peer);
      }
    }
    return { given, skipped };
  }

  /** A new sender key, never to be used in earnest if this device is (or was) a member itself. */
  async #forgedKey({ id }) {
    await this.#keys.newSenderKey(id);
    this.#groups.get(id)?.retireKey();
  }

  /** A message under a sender key that nobody holds, or that victims were made to take. */
  async #forgedMessage({ group: { id }, claim, plaintext }) {
    const bytes = await this.#keys.groupEncrypt(id, plaintext);
    return { ...this.#packet('message', id, { group: id }, bytes), from: claim };
  }

  async #forgeKeyDistribution(forgery) {
    const { group: { id }, claim, victims } = forgery;
    await this.#forgedKey(forgery.group);
    const key = await this.#keys.distribution(id);
    const packets = await this.#introducing(victims, async () => {
      const sealed = [];
      for (const { device } of victims) {
        // An honest library would put this device's own address under the tag; nothing makes a forger do so.
        sealed.push(await this.#seal('key_distribution', id, device, content(id, { senderKey: key }), claim));
      }
      return sealed;
    });
    return [...packets, await this.#forgedMessage(forgery)];
  }

  /** A change, and the invitations that let those slipped in take part: a ghost without a roster could not even try. */
  #forgeChange({ group: { id, members }, claim, add: bundles, remove }) {
    const add = bundles.map(({ device }) => device);
    const left = members.filter((member) => !remove.includes(member));
    const packets = [{ ...this.#packet('change', id, { group: id }, json({ add, remove })), from: claim }];
    if (add.length > 0) {
      const welcome = this.#packet('welcome', id, addressed(add), json({ members: sorted([...left, ...add]) }));
      packets.push({ ...welcome, from: claim });
    }
    return packets;
  }
}

const json = (value) => new Uint8Array(Buffer.from(JSON.stringify(value)));
const addressed = (devices) => (devices.length === 1 ? { device: devices[0] } : { devices });
