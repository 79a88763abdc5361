// The little of Proteus's CBOR that the library does not show. An envelope is {0: version, 1: {0: tag}, 2: message}, and the
// first byte of a message says whether it opens a session; then it bears {0: prekey id, 1: {0: base key}, 2: {0: {0: identity key}}}.
// A prekey bundle is {0: version, 1: id, 2: {0: key}, 3: {1: {0: identity key}}, 4: signature or null}.

import { Refusal } from './e2esm.mjs';

const KEY_SIZE = 32;
/** Before the message: three fields' names, the version, the tag with its header, and the name of the last. */
const MESSAGE = 8 + KEY_SIZE + 1;
const OPENS_SESSION = 2;
/** What stands before the identity key of a message, and before the prekey of a bundle. */
const IDENTITY = Buffer.from('02a100a1005820', 'hex');
const PREKEY = Buffer.from('02a1005820', 'hex');

/** Whether an envelope opens a session. */
export function isPrekeyMessage(envelope) {
  return envelope[message(envelope)] === OPENS_SESSION;
}

/** An envelope that opens a session, with another identity key in it. */
export function withIdentity(envelope, key) {
  return replaced(envelope, key, IDENTITY, message(envelope));
}

/** A prekey bundle whose prekey is all zeros. */
export function withZeroKey(bundle) {
  return replaced(bundle, Buffer.alloc(KEY_SIZE), PREKEY, 0);
}

/** Where the message begins in an envelope: after the header of a byte string of up to 65,535 bytes. */
function message(envelope) {
  const header = envelope[MESSAGE];
  return MESSAGE + (header === 0x59 ? 3 : header === 0x58 ? 2 : 1);
}

function replaced(bytes, key, before, from) {
  const copy = Buffer.from(bytes);
  const at = copy.indexOf(before, from);
  if (at < 0) throw new Refusal('bad_request', 'no key where one should be');
  key.copy(copy, at + before.length);
  return copy;
}
