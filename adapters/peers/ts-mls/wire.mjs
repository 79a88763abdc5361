// Messages as bytes.

import { decodeMlsMessage, encodeMlsMessage } from 'ts-mls';
import { decodeRatchetTree } from 'ts-mls/ratchetTree.js';
import { Refusal } from './e2esm.mjs';

const VERSION = 'mls10';

export const WIRE_FORMATS = {
  publicMessage: 'mls_public_message',
  privateMessage: 'mls_private_message',
  welcome: 'mls_welcome',
  groupInfo: 'mls_group_info',
  keyPackage: 'mls_key_package',
};

/** `{welcome}` and so on as an MLSMessage. */
export function encoded(content) {
  const [name] = Object.keys(content);
  return encodeMlsMessage({ version: VERSION, wireformat: WIRE_FORMATS[name], ...content });
}

/** What a decoder of the library's makes of bytes: it gives nothing where they are none, and throws where they end too early. */
function read(decoder, bytes) {
  let found;
  try {
    found = decoder(bytes, 0);
  } catch (error) {
    throw new Refusal('bad_request', `malformed: ${error.message}`);
  }
  if (found === undefined) throw new Refusal('bad_request', 'malformed');
  return found[0];
}

/** An MLSMessage. */
export const decoded = (bytes) => read(decodeMlsMessage, bytes);

/** A ratchet tree (RFC 9420, section 12.4.3.3). */
export const decodedTree = (bytes) => read(decodeRatchetTree, bytes);

/** The content of an MLSMessage of this kind: `expected(bytes, 'welcome')`. */
export function expected(bytes, name) {
  const message = decoded(bytes);
  if (message.wireformat !== WIRE_FORMATS[name]) {
    throw new Refusal('bad_request', `${message.wireformat} where ${WIRE_FORMATS[name]} is expected`);
  }
  return message[name];
}

/** What stands in the clear on a PublicMessage or PrivateMessage: group, epoch and kind of content. */
export function framing(message) {
  const framed = message.privateMessage ?? message.publicMessage?.content;
  if (framed === undefined) throw new Refusal('bad_request', `a ${message.wireformat} belongs to no group`);
  const { groupId, epoch, contentType } = framed;
  return { groupId, epoch, contentType };
}
