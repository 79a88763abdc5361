// libsignal's errors in the suite's classes.
//
// The Node build has codes for few of them; the others are `Generic` and differ in their text alone, which is the Rust
// library's (`rust/protocol/src/error.rs`).

import { ErrorCode, LibSignalErrorBase } from '@signalapp/libsignal-client';
import { Refusal } from './e2esm.mjs';

const CODES = new Map([
  [ErrorCode.DuplicatedMessage, 'duplicate'],
  [ErrorCode.UntrustedIdentity, 'untrusted_identity'],
  [ErrorCode.InvalidProtocolAddress, 'bad_request'],
]);

const TEXTS = [
  [/^session .*not found/, 'no_key'],
  [/^missing sender key state/, 'no_key'],
  [/^invalid signature detected/, 'auth_failed'],
  // The library's word for a tag that does not hold, for padding that does not, and for much else.
  [/^invalid \w+ message: decryption failed/, 'auth_failed'],
  [/^invalid \w+ message: message from too far into the future/, 'no_key'],
  [/^invalid \w+ message: /, 'bad_request'],
  [/^invalid argument: /, 'bad_request'],
  [/^protobuf encoding was invalid/, 'bad_request'],
  [/^ciphertext (serialized bytes were too short|version was)/, 'bad_request'],
  [/^unrecognized message version/, 'bad_request'],
  [/^no key type identifier/, 'bad_request'],
  [/^(bad|unexpected) (key|KEM) /, 'bad_request'],
  // An agreement that does not contribute: a key of zeros.
  [/^invalid key agreement/, 'bad_request'],
];

/** The class of an error; what is not the library's is handed on. */
export function classify(error) {
  if (!(error instanceof LibSignalErrorBase)) return error;
  const errorClass = CODES.get(error.code) ?? TEXTS.find(([text]) => text.test(error.message))?.[1] ?? 'internal';
  return new Refusal(errorClass, error.message);
}

/** Makes the library read what came from outside. @throws Refusal `bad_request` where it cannot. */
export function read(what) {
  try {
    return what();
  } catch (error) {
    if (error instanceof Refusal) throw error;
    throw new Refusal('bad_request', error.message);
  }
}
