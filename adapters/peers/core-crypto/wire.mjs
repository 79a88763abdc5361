// The little of MLS's wire format (RFC 9420) that the library reads and does not show: the keys in key packages and trees.

import { createHash } from 'node:crypto';
import { Refusal } from './e2esm.mjs';

const WIRE_FORMATS = { public_message: 1, welcome: 3, group_info: 4, key_package: 5 };
const RATCHET_TREE = 2;
const BASIC = 1;

/** A message of this wire format around a body. */
export function framed(format, body) {
  return Buffer.concat([Buffer.from([0, 1, 0, WIRE_FORMATS[format]]), body]);
}

/** The body of a message that must have this wire format. */
export function unframed(format, bytes) {
  const header = framed(format, Buffer.alloc(0));
  if (Buffer.compare(header, bytes.subarray(0, header.length)) !== 0) {
    throw new Refusal('bad_request', `not a message with a ${format.replace('_', ' ')}`);
  }
  return bytes.subarray(header.length);
}

/** The leaf of a key package. */
export function keyPackage(bytes) {
  return read(bytes, 'key package', (reader) => {
    reader.skip(4);
    reader.vector();
    return leaf(reader);
  });
}

/** The group that a GroupInfo is about. */
export function groupIn(groupInfo) {
  return read(groupInfo, 'GroupInfo', (reader) => {
    reader.skip(4);
    return reader.vector().toString();
  });
}

/** The leaves of the tree in a GroupInfo. */
export function treeOf(groupInfo) {
  return read(groupInfo, 'GroupInfo', (reader) => {
    reader.skip(4);
    reader.vector();
    reader.skip(8);
    for (let i = 0; i < 3; i++) reader.vector();
    const extensions = new Reader(reader.vector());
    while (extensions.more()) {
      const type = extensions.number(2);
      const data = extensions.vector();
      if (type === RATCHET_TREE) return leaves(new Reader(new Reader(data).vector()));
    }
    throw new Refusal('internal', 'a GroupInfo without a tree');
  });
}

function leaves(reader) {
  const found = [];
  while (reader.more()) {
    if (reader.number(1) === 0) continue;
    if (reader.number(1) === 1) found.push(leaf(reader));
    else for (let i = 0; i < 3; i++) reader.vector();
  }
  return found;
}

function leaf(reader) {
  reader.vector();
  const signatureKey = reader.vector();
  const identity = reader.number(2) === BASIC ? reader.vector() : (reader.vector(), Buffer.alloc(0));
  for (let i = 0; i < 5; i++) reader.vector();
  const source = reader.number(1);
  if (source === 1) reader.skip(16);
  if (source === 3) reader.vector();
  reader.vector();
  reader.vector();
  return { signatureKey, identity, thumbprint: thumbprint(signatureKey) };
}

/** RFC 7638's thumbprint of an Ed25519 key, by which the library tells members' keys. */
export function thumbprint(key) {
  const jwk = JSON.stringify({ crv: 'Ed25519', kty: 'OKP', x: Buffer.from(key).toString('base64url') });
  return createHash('sha256').update(jwk).digest('base64url');
}

/** A variable-size vector (RFC 9420, section 2.1.2). */
export function vector(bytes) {
  const size = bytes.length;
  const length = size < 64 ? Buffer.from([size]) : Buffer.alloc(size < 16384 ? 2 : 4);
  if (length.length === 2) length.writeUInt16BE(size | 0x4000);
  if (length.length === 4) length.writeUInt32BE((size | 0x80000000) >>> 0);
  return Buffer.concat([length, bytes]);
}

class Reader {
  #bytes;
  #at = 0;

  constructor(bytes) {
    this.#bytes = Buffer.from(bytes);
  }

  more() {
    return this.#at < this.#bytes.length;
  }

  skip(count) {
    this.#at += count;
    if (this.#at > this.#bytes.length) throw new RangeError('the end came too early');
  }

  number(size) {
    const value = this.#bytes.readUIntBE(this.#at, size);
    this.#at += size;
    return value;
  }

  vector() {
    const size = 1 << (this.#bytes.readUInt8(this.#at) >> 6);
    if (size > 4) throw new RangeError('a length that there is none of');
    const length = this.number(size) & (2 ** (8 * size - 2) - 1);
    const start = this.#at;
    this.skip(length);
    return this.#bytes.subarray(start, this.#at);
  }
}

function read(bytes, what, work) {
  try {
    return work(new Reader(bytes));
  } catch (error) {
    if (error instanceof RangeError) throw new Refusal('bad_request', `malformed ${what}: ${error.message}`);
    throw error;
  }
}
