// The stdio protocol of E2ESM: lines in, lines out, questions and events. PROTOCOL.md describes it.
//
// An adapter gives `serve` a description and a class of devices. A device has a method for each call that it can do, named
// as the call is; what it has no method for is answered with `unsupported`, and declared so. Bytes are Uint8Arrays on this
// side and hex on the wire. Methods may be async. They return what is said at each in METHODS below, or throw a `Refusal`.
//
// This file knows no library, and an adapter should not have to change it.

/** The version of the protocol. */
export const VERSION = 1;

/** A refusal, with its class (PROTOCOL.md, "Errors") and the library's own words. */
export class Refusal extends Error {
  constructor(errorClass, text) {
    super(text);
    this.errorClass = errorClass;
  }
}

/** Thrown where a question waits for an answer: the call is made again, from its start, when it has come. */
export class Undecided extends Error {}

/** The class of the error when the application says no. */
const REFUSAL_OF = {
  identity: 'untrusted_identity',
  listed_device: 'untrusted_identity',
  unsigned_prekey: 'auth_failed',
  sender: 'auth_failed',
  non_member_sender: 'not_member',
  replay: 'duplicate',
};

/** One device's questions, their answers, and what it noticed. */
export class Notebook {
  #stance = 'yes';
  #table = new Map();
  #once = new Map();
  #events = [];
  #waiting = null;

  /**
   * Puts a question about a fact, and tells of it. `point` is the library's own name for the place, `asker` is `library`, or
   * `group_management` where the adapter's own code asks. True is the permissive answer.
   */
  consult(point, fact, asker = 'library') {
    const about = wired(fact);
    const key = canonical(about);
    let answer = this.#once.get(key) ?? this.#table.get(key);
    if (answer === undefined) {
      if (this.#stance === 'ask') {
        this.#waiting = about;
        throw new Undecided(`${point} waits for an answer`);
      }
      answer = this.#stance === 'yes';
    }
    this.#events.push({ event: 'consulted', point, asker, about, answer });
    return answer;
  }

  /** Puts a question; a no is thrown as the refusal of that fact's class. */
  require(point, fact, asker = 'library') {
    if (!this.consult(point, fact, asker)) {
      throw new Refusal(REFUSAL_OF[fact.fact] ?? 'refused', `the application said no at ${point}: ${fact.fact}`);
    }
  }

  /** Tells what was noticed: `{event: 'joined', group}` and so on (PROTOCOL.md, "Events"). */
  note(event) {
    this.#events.push(wired(event));
  }

  setStance(stance) {
    this.#stance = stance;
  }

  decide({ fact, answer }) {
    this.#table.set(canonical(fact), answer);
  }

  answerOnce(fact, answer) {
    this.#once.set(canonical(fact), answer);
  }

  forgetAnswers() {
    this.#once.clear();
  }

  takeEvents() {
    const events = this.#events;
    this.#events = [];
    return events;
  }

  /** The fact that an interrupted call waits for. A library may have wrapped what was thrown into an error of its own. */
  takeWaiting() {
    const fact = this.#waiting;
    this.#waiting = null;
    return fact;
  }
}

// What the fields hold. `?` after a name: may be left out. `seal` is the harness's own.
const BUNDLE = { device: 'device', bytes: 'bytes' };
const PACKET = {
  kind: 'text', group: 'text', from: 'device', to: 'address', 'opens_session?': 'boolean', bytes: 'bytes', 'seal?': 'any',
};
const CHANGE = { 'add?': [BUNDLE], 'remove?': ['device'], 'refresh?': 'boolean' };
const LINK_REQUEST = { device: 'device', device_key: 'bytes' };
const AUTHORISATION = { device: 'device', bytes: 'bytes' };
const KNOWN_GROUP = { id: 'text', members: ['device'], changes: 'integer' };

/** Each call: its fields, the answer that its result becomes, and the capability that a device without it lacks. */
const METHODS = {
  identity: [{}, 'identity'], // {account_key, device_key, voucher}
  publish: [{ peer: 'device' }, 'bundle'], // {device, bytes}
  create_group: [{ group: 'text' }, 'output', 'groups'], // {packets?, message?}: nothing at all is an empty one
  change: [{ group: 'text', change: CHANGE }, 'output'],
  wants: [{ group: 'text' }, 'devices'], // [device]
  send: [{ group: 'text', plaintext: 'bytes' }, 'output'],
  receive: [{ packet: PACKET }, 'output'],
  roster: [{ group: 'text' }, 'roster'], // {members, authenticated}
  introduce: [{ bundle: BUNDLE }, 'output', 'pairwise_sessions'],
  fingerprint: [{ group: 'text', peer: 'device' }, 'fingerprint', 'fingerprint'], // {kind, value}
  resend: [{ group: 'text', plaintext: 'bytes', bundle: BUNDLE, acknowledged: 'boolean' }, 'output', 'resend'],
  share_history: [{ group: 'text', to: 'device' }, 'output', 'history'],
  request_keys: [{ group: 'text', holder: 'device' }, 'output', 'key_request'],
  link_request: [{}, 'link_request', 'linking'], // {device, device_key}
  authorise: [{ request: LINK_REQUEST }, 'authorisation', 'linking'], // {device, bytes}
  accept_authorisation: [{ authorisation: AUTHORISATION }, 'done', 'linking'],
  group_info: [{ group: 'text' }, 'bytes', 'external_join'],
  external_join: [{ group_info: 'bytes' }, 'output', 'external_join'],
  tree_in_welcome: [{ group: 'text', inside: 'boolean' }, 'done', 'ratchet_tree'],
  ratchet_tree: [{ group: 'text' }, 'bytes', 'ratchet_tree'],
  join_with_tree: [{ welcome: PACKET, ratchet_tree: 'bytes' }, 'output', 'ratchet_tree'],
  store: [{}, 'bytes', 'persistence'],
  export_state: [{}, 'bytes', 'state_export'],
  standard_keys: [{}, 'start', 'standard_keys'], // {mls: {...}} and so on
  transcript: [{}, 'deliveries'], // [delivery]
  misbehave: [{ fault: 'any' }, 'done'],
  craft: [{ forgery: 'any' }, 'forged'], // {packets} or {bundle}
};

/** The attackers' faults and forgeries with their fields, and the capability of each. */
const FAULTS = {
  none: [null], relabelled_sender: ['device'], degenerate_key: [null], wrong_leaf_signature: [null],
  wrong_parent_hash: [null], wrong_confirmation_tag: [null],
};
const FORGERIES = {
  message: [{ group: KNOWN_GROUP, claim: 'device', plaintext: 'bytes' }, 'forged_message'],
  key_distribution: [
    { group: KNOWN_GROUP, claim: 'device', victims: [BUNDLE], plaintext: 'bytes' }, 'forged_key_distribution',
  ],
  change: [{ group: KNOWN_GROUP, claim: 'device', 'add?': [BUNDLE], 'remove?': ['device'] }, 'forged_change'],
  uninvited_join: [{ group: KNOWN_GROUP }, 'uninvited_join'],
  broken_bundle: [{ bundle: BUNDLE }, 'broken_bundle'],
  rewritten_identity: [{ packet: PACKET }, 'rewritten_identity'],
};

const REQUESTS = {
  hello: {},
  device: { handle: 'text', id: 'device' },
  restore: { handle: 'text', id: 'device', state: 'bytes' },
  load: { handle: 'text', id: 'device', store: 'bytes' },
  passive: { handle: 'text', start: 'any' },
  deliver: {
    handle: 'text', delivery: { kind: 'text', 'from?': 'text', bytes: 'bytes', 'ratchet_tree?': 'bytes' },
  },
  stance: { handle: 'text', stance: 'text' },
  trust: { handle: 'text', decision: { fact: 'any', answer: 'boolean' } },
  call: { handle: 'text', call: 'any' },
  resume: { handle: 'text', token: 'integer', answer: 'boolean' },
};

/**
 * Answers requests on stdin until it ends.
 *
 * `adapter` has `description` (PROTOCOL.md, "hello"; in `unsupported` the reasons, where you have better ones than "this
 * adapter does not have it"), `Device`, and optionally `Passive` for recorded vectors. `new Device(id, notebook)`, or
 * `Device.create(id, notebook)` where making one is async, makes a device; `Device.restore(id, state, notebook)` and
 * `Device.load(id, store, notebook)` make one from what `export_state` and `store` gave; `Device.faults` and
 * `Device.forgeries` name the faults and forgeries that `misbehave` and `craft` know. `Passive.create(start)` makes a
 * device with a method `deliver(delivery)`; its `start` has bytes in hex, as it came.
 */
export async function serve(adapter) {
  // Whatever a library prints is for people: nothing but replies goes to stdout.
  console.log = console.info = console.debug = console.error;
  const child = new Child(adapter);
  for await (const line of lines(process.stdin)) {
    const reply = await child.answer(line);
    if (!process.stdout.write(`${JSON.stringify(reply)}\n`)) {
      await new Promise((resolve) => process.stdout.once('drain', resolve));
    }
  }
  // Timers that a library left behind must not keep the process alive; what is written must go out.
  process.stdout.end(() => process.exit(0));
}

class Child {
  #seats = new Map();
  #passives = new Map();
  #nextToken = 1;

  constructor(adapter) {
    this.adapter = adapter;
  }

  async answer(line) {
    let id = 0;
    const events = [];
    const start = process.hrtime.bigint();
    let reply;
    try {
      const frame = parse(line);
      if (Number.isSafeInteger(frame.id) && frame.id >= 0) id = frame.id;
      else throw new Refusal('bad_request', 'no id');
      const { request } = read(frame, { id: 'integer', request: 'any' }, 'frame');
      reply = await this.#take(request, events);
    } catch (error) {
      reply = { error: asError(error) };
    }
    const nanoseconds = Number(process.hrtime.bigint() - start);
    return { id, reply: wired(reply), events, nanoseconds };
  }

  async #take(request, events) {
    const [verb, fields] = only(request, REQUESTS, 'verb');
    const given = read(fields, REQUESTS[verb], verb);
    const { Device, Passive } = this.adapter;
    switch (verb) {
      case 'hello':
        return { hello: { version: VERSION, description: describe(this.adapter) } };
      case 'device':
        return this.#seat(given.handle, (notebook) => (
          Device.create ? Device.create(given.id, notebook) : new Device(given.id, notebook)
        ));
      case 'restore':
        if (!Device.restore) throw new Refusal('unsupported', 'restore');
        return this.#seat(given.handle, (notebook) => Device.restore(given.id, given.state, notebook));
      case 'load':
        if (!Device.load) throw new Refusal('unsupported', 'load');
        return this.#seat(given.handle, (notebook) => Device.load(given.id, given.store, notebook));
      case 'passive': {
        if (!Passive) throw new Refusal('unsupported', 'passive');
        if (this.#passives.has(given.handle)) throw new Refusal('bad_request', `there is a passive device ${given.handle} already`);
        this.#passives.set(given.handle, await Passive.create(given.start));
        return { ok: { done: {} } };
      }
      case 'deliver': {
        if (!Passive) throw new Refusal('unsupported', 'deliver');
        const passive = this.#passives.get(given.handle);
        if (!passive) throw new Refusal('bad_request', `no passive device ${given.handle}`);
        return { ok: { delivered: await passive.deliver(given.delivery) } };
      }
      case 'stance':
        if (!['yes', 'no', 'ask'].includes(given.stance)) throw new Refusal('unsupported', `unknown stance ${given.stance}`);
        this.#find(given.handle).notebook.setStance(given.stance);
        return { ok: { done: {} } };
      case 'trust':
        this.#find(given.handle).notebook.decide(given.decision);
        return { ok: { done: {} } };
      case 'call': {
        const seat = this.#find(given.handle);
        seat.waiting = null;
        seat.notebook.forgetAnswers();
        return this.#call(seat, given.call, events);
      }
      case 'resume': {
        const seat = this.#find(given.handle);
        if (seat.waiting?.token !== given.token) throw new Refusal('bad_request', `no call waits with token ${given.token}`);
        const { fact, call } = seat.waiting;
        seat.waiting = null;
        seat.notebook.answerOnce(fact, given.answer);
        return this.#call(seat, call, events);
      }
    }
  }

  async #seat(handle, make) {
    if (this.#seats.has(handle)) throw new Refusal('bad_request', `there is a device ${handle} already`);
    const notebook = new Notebook();
    this.#seats.set(handle, { notebook, device: await make(notebook), waiting: null });
    return { ok: { done: {} } };
  }

  #find(handle) {
    const seat = this.#seats.get(handle);
    if (!seat) throw new Refusal('bad_request', `no device ${handle}`);
    return seat;
  }

  async #call(seat, call, events) {
    const [verb, fields] = only(call, METHODS, 'call');
    const [shape, answer] = METHODS[verb];
    if (typeof seat.device[verb] !== 'function') throw new Refusal('unsupported', verb);
    const given = read(fields, shape, verb);
    if (verb === 'misbehave') given.fault = fault(given.fault, this.adapter.Device);
    if (verb === 'craft') given.forgery = forgery(given.forgery, this.adapter.Device);
    let result;
    let thrown = null;
    try {
      result = await seat.device[verb](given);
    } catch (error) {
      thrown = error;
    }
    const noticed = seat.notebook.takeEvents();
    const waiting = seat.notebook.takeWaiting();
    // The call will be made again from its start, and notice the same things again.
    if (waiting) {
      const token = this.#nextToken++;
      seat.waiting = { token, fact: waiting, call };
      return { undecided: { token, fact: waiting } };
    }
    events.push(...noticed);
    if (thrown) throw thrown;
    return { ok: { [answer]: answer === 'done' ? {} : result ?? {} } };
  }
}

/** Who the adapter is, with a reason for everything that it does not have. */
function describe({ description, Device, Passive }) {
  const missing = {};
  const lacks = (capability) => { missing[capability] ??= 'this adapter does not have it'; };
  for (const [verb, [, , capability]] of Object.entries(METHODS)) {
    if (capability && typeof Device.prototype[verb] !== 'function') lacks(capability);
  }
  if (!Device.restore) lacks('state_export');
  if (!Device.load) lacks('persistence');
  for (const name of Object.keys(FAULTS)) if (name !== 'none' && !Device.faults?.includes(name)) lacks(name);
  for (const [name, [, capability]] of Object.entries(FORGERIES)) if (!Device.forgeries?.includes(name)) lacks(capability);
  const unsupported = { ...missing, ...description.unsupported };
  return { ...description, recorded: Passive ? description.recorded ?? [] : [], unsupported };
}

function fault(given, Device) {
  const name = typeof given === 'string' ? given : Object.keys(given ?? {})[0];
  const named = typeof given === 'object' && given !== null ? Object.values(given)[0] : null;
  if (!(name in FAULTS) || (name !== 'none' && !Device.faults?.includes(name))) {
    throw new Refusal('unsupported', `unknown fault ${name}`);
  }
  const shape = FAULTS[name][0];
  if (shape === null ? named !== null : Object.keys(given).length !== 1) throw new Refusal('bad_request', `malformed fault ${name}`);
  return { fault: name, device: shape === null ? null : value(named, shape, name) };
}

function forgery(given, Device) {
  const [name, fields] = only(given, FORGERIES, 'forgery');
  if (!Device.forgeries?.includes(name)) throw new Refusal('unsupported', `unknown forgery ${name}`);
  return { forgery: name, ...read(fields, FORGERIES[name][0], name) };
}

function parse(line) {
  let frame;
  try {
    frame = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(line));
  } catch (error) {
    throw new Refusal('bad_request', `no JSON: ${error.message}`);
  }
  if (typeof frame !== 'object' || frame === null) throw new Refusal('bad_request', 'no request');
  return frame;
}

/** The one name in `{name: fields}`. */
function only(object, known, what) {
  const names = typeof object === 'object' && object !== null ? Object.keys(object) : [];
  if (names.length !== 1) throw new Refusal('bad_request', `expected one ${what}`);
  if (!Object.hasOwn(known, names[0])) throw new Refusal('unsupported', `unknown ${what} ${names[0]}`);
  return [names[0], object[names[0]]];
}

/** The fields of an object, checked; bytes become Uint8Arrays. */
function read(object, shape, where) {
  if (typeof object !== 'object' || object === null || Array.isArray(object)) {
    throw new Refusal('bad_request', `${where}: expected an object`);
  }
  const found = {};
  for (const [key, type] of Object.entries(shape)) {
    const name = key.replace('?', '');
    const given = Object.hasOwn(object, name) ? object[name] : undefined;
    if (given === undefined || given === null) {
      if (!key.endsWith('?')) throw new Refusal('bad_request', `${where}: missing field ${name}`);
      if (Array.isArray(type)) found[name] = [];
      if (type === 'boolean') found[name] = false;
    } else {
      found[name] = value(given, type, `${where}.${name}`);
    }
  }
  for (const name of Object.keys(object)) {
    if (!(name in shape) && !(`${name}?` in shape)) throw new Refusal('bad_request', `${where}: unknown field ${name}`);
  }
  return found;
}

function value(given, type, where) {
  const wrong = () => new Refusal('bad_request', `${where}: expected ${Array.isArray(type) ? 'a list' : type}`);
  if (Array.isArray(type)) {
    if (!Array.isArray(given)) throw wrong();
    return given.map((item) => value(item, type[0], where));
  }
  if (typeof type === 'object') return read(given, type, where);
  switch (type) {
    case 'any':
      return given;
    case 'bytes':
      if (typeof given !== 'string' || !/^([0-9a-f]{2})*$/.test(given)) throw wrong();
      return new Uint8Array(Buffer.from(given, 'hex'));
    case 'device':
      if (typeof given !== 'string' || !/^[^/]+\/[^/]+$/.test(given)) throw wrong();
      return given;
    case 'address':
      if (given === 'server') return given;
      return ((name) => {
        if (name === 'group') return read(given, { group: 'text' }, where);
        if (name === 'device') return read(given, { device: 'device' }, where);
        return read(given, { devices: ['device'] }, where);
      })(Object.keys(given)[0]);
    case 'text':
      if (typeof given !== 'string') throw wrong();
      return given;
    case 'integer':
      if (!Number.isSafeInteger(given)) throw wrong();
      return given;
    default:
      if (typeof given !== type) throw wrong();
      return given;
  }
}

function asError(error) {
  if (error instanceof Refusal) return { class: error.errorClass, text: error.message };
  // Nobody foresaw it: whoever mends the adapter wants to know where it came from.
  console.error(error?.stack ?? error);
  return { class: 'internal', text: String(error?.message ?? error) };
}

/** A value as it goes on the wire: bytes in hex, what is undefined left out. */
function wired(given) {
  if (given instanceof Uint8Array) return Buffer.from(given).toString('hex');
  if (Array.isArray(given)) return given.map(wired);
  if (typeof given === 'bigint') return Number(given);
  if (typeof given !== 'object' || given === null) return given;
  return Object.fromEntries(
    Object.entries(given).filter(([, item]) => item !== undefined).map(([name, item]) => [name, wired(item)]),
  );
}

/** The same text for the same fact, whatever the order of its fields. */
function canonical(fact) {
  if (Array.isArray(fact)) return `[${fact.map(canonical).join()}]`;
  if (typeof fact !== 'object' || fact === null) return JSON.stringify(fact);
  const names = Object.keys(fact).filter((name) => fact[name] !== undefined && fact[name] !== null).sort();
  return `{${names.map((name) => `${JSON.stringify(name)}:${canonical(fact[name])}`).join()}}`;
}

/** Lines as they come, without their ends. */
async function* lines(stream) {
  let parts = [];
  for await (const chunk of stream) {
    let rest = chunk;
    for (let end = rest.indexOf(10); end >= 0; end = rest.indexOf(10)) {
      parts.push(rest.subarray(0, end));
      yield Buffer.concat(parts);
      parts = [];
      rest = rest.subarray(end + 1);
    }
    parts.push(rest);
  }
}
