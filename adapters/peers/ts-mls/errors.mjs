// The library's errors in the suite's classes. ts-mls has a JavaScript class for each kind of error and no codes, so that
// within `ValidationError`, `UsageError` and `InternalError` only the text tells what happened. All texts are of 1.6.4.

import { Refusal } from './e2esm.mjs';

/** Texts whose class is not that of their kind. */
const TEXTS = {
  'Could not validate credential': 'untrusted_identity',
  'Cannot process message, epoch too old': 'stale_epoch',
  'Could not validate epoch': 'stale_epoch',
  'Cannot process commit or proposal from former epoch': 'stale_epoch',
  // A repeated message, and one whose key was thrown away.
  'Desired gen in the past': 'no_key',
  'Desired generation too far in the future': 'no_key',
  'No matching secret found': 'no_key',
  'Could not find pskId referenced in proposal': 'no_key',
  'No overlap between provided private keys and update path': 'no_key',
  'Unable to find leafnode for leafIndex': 'not_member',
  'Tried to remove empty leaf node': 'not_member',
  'Bad node index for secret tree': 'not_member',
  'Could not find signer leafNode': 'not_member',
  'The last node in the ratchet tree must be non-blank.': 'bad_request',
  'Cannot send messages after being removed from group': 'not_member',
  'Commit cannot contain an Add proposal for someone already in the group': 'duplicate',
  'Commit cannot contain multiple Add proposals that contain KeyPackages that represent the same client': 'duplicate',
  'Commit cannot contain multiple update and/or remove proposals that apply to the same leaf': 'duplicate',
  'Parent hash did not match the UpdatePath': 'auth_failed',
  'Unable to verify tree hash': 'auth_failed',
};

/** The classes of what is left of each kind. `CryptoError` is what opening fails with. */
const KINDS = {
  CryptoVerificationError: 'auth_failed',
  CryptoError: 'auth_failed',
  ValidationError: 'bad_request',
  CodecError: 'bad_request',
  UsageError: 'bad_request',
  // WebCrypto's own, for bytes that are no key of the algorithm: under them no signature holds.
  DataError: 'auth_failed',
};

const PREFIX = 'This error should never occur, if you see this please submit a bug report. Message: ';

/** The refusal that an error of the library's is; what is none of the library's, as it is. */
export function translate(error) {
  const { name, message } = error ?? {};
  const text = name === 'InternalError' ? message.slice(PREFIX.length) : message;
  const kind = name === 'InternalError' || Object.hasOwn(KINDS, name ?? '');
  if (!kind) return error;
  const errorClass = (Object.hasOwn(TEXTS, text) && TEXTS[text]) || KINDS[name] || 'internal';
  return new Refusal(errorClass, `${name}: ${text}`);
}

/** What `work` gives, with its errors translated. */
export async function translated(work) {
  try {
    return await work();
  } catch (error) {
    throw translate(error);
  }
}

/**
 * The same for a message of a group, whose epoch stands in the clear: what the library says of a message of another epoch, in
 * whatever words, is that it is of another epoch. A late application message is no such thing while its keys are kept.
 */
export async function translatedIn(present, { epoch, contentType }, work) {
  try {
    return await work();
  } catch (error) {
    const refusal = translate(error);
    const early = epoch > present && refusal.errorClass === 'auth_failed';
    const late = epoch < present && contentType !== 'application' && ['auth_failed', 'no_key'].includes(refusal.errorClass);
    throw early || late ? new Refusal('stale_epoch', refusal.message) : refusal;
  }
}
