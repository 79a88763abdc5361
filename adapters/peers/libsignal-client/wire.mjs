// What travels besides the library's own bytes: plain JSON bodies that nothing authenticates, and the framing inside
// pairwise ciphertexts. All of it as in `adapters/sender-keys`, to the byte.

import { Refusal } from './e2esm.mjs';

const TAGS = { message: 0, senderKey: 1, handedOn: 2 };
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Devices (or groups), each once, in the order of their bytes: a device by its user and then by its name. */
export function sorted(names) {
  const key = (name) => Buffer.from(name.replace('/', '\0'));
  const keyed = [...new Set(names)].map((name) => [key(name), name]);
  return keyed.sort(([one], [other]) => Buffer.compare(one, other)).map(([, name]) => name);
}

/**
 * The fields of a body in JSON, all of them and no others. A shape names each with `device`, `bytes` (which come in hex),
 * or a list of one of these.
 *
 * @throws Refusal `bad_request` for anything else.
 */
export function fromJson(bytes, shape, what) {
  const malformed = (why) => new Refusal('bad_request', `malformed ${what}: ${why}`);
  const item = (given, type) => {
    const form = type === 'device' ? /^[^/]+\/[^/]+$/s : /^([0-9a-f]{2})*$/;
    if (typeof given !== 'string' || !form.test(given)) throw malformed(`expected ${type}`);
    return type === 'device' ? given : new Uint8Array(Buffer.from(given, 'hex'));
  };
  let body;
  try {
    body = JSON.parse(utf8.decode(bytes));
  } catch (error) {
    throw malformed(error.message);
  }
  if (typeof body !== 'object' || body === null || Array.isArray(body)) throw malformed('expected an object');
  for (const name of Object.keys(body)) if (!Object.hasOwn(shape, name)) throw malformed(`unknown field ${name}`);
  return Object.fromEntries(Object.entries(shape).map(([name, type]) => {
    const given = Object.hasOwn(body, name) ? body[name] : undefined;
    if (!Array.isArray(type)) return [name, item(given, type)];
    if (!Array.isArray(given)) throw malformed(`expected a list of ${name}`);
    return [name, given.map((one) => item(one, type[0]))];
  }));
}

/**
 * The plaintext of a pairwise message: a tag, then the group with its length, so that the server cannot hand it to another,
 * then the body. That is one of `{message}`, `{senderKey}`.
 */
export function content(group, body) {
  const [[name, bytes]] = Object.entries(body);
  return new Uint8Array(Buffer.concat([Uint8Array.of(TAGS[name]), field(Buffer.from(group)), bytes]));
}

/** `{group, body}`, where the body may also be `{handedOn: [{owner, key}]}`. @throws Refusal `bad_request`. */
export function fromContent(plaintext) {
  const malformed = (why) => new Refusal('bad_request', `malformed pairwise content: ${why}`);
  if (plaintext.length === 0) throw malformed('empty');
  let rest = Buffer.from(plaintext.subarray(1));
  const take = () => {
    if (rest.length < 4 || rest.readUInt32BE() > rest.length - 4) throw malformed('truncated');
    const end = 4 + rest.readUInt32BE();
    const taken = rest.subarray(4, end);
    rest = rest.subarray(end);
    return taken;
  };
  const text = () => {
    try {
      return utf8.decode(take());
    } catch (error) {
      throw error instanceof Refusal ? error : malformed(error.message);
    }
  };
  const group = text();
  switch (plaintext[0]) {
    case TAGS.message:
      return { group, body: { message: new Uint8Array(rest) } };
    case TAGS.senderKey:
      return { group, body: { senderKey: new Uint8Array(rest) } };
    case TAGS.handedOn: {
      const handedOn = [];
      while (rest.length > 0) handedOn.push({ owner: text(), key: new Uint8Array(take()) });
      return { group, body: { handedOn } };
    }
    default:
      throw malformed(`unknown kind ${plaintext[0]}`);
  }
}

function field(bytes) {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([length, bytes]);
}
