// The library's errors in the suite's classes: by tag where there is one, by text where the library gives only that.

import { Refusal } from './e2esm.mjs';

/** `MlsError`, crypto-ffi/src/error/mls.rs. */
const MLS = {
  ConversationAlreadyExists: 'duplicate',
  DuplicateMessage: 'duplicate',
  BufferedFutureMessage: 'stale_epoch',
  WrongEpoch: 'stale_epoch',
  StaleCommit: 'stale_epoch',
  StaleProposal: 'stale_epoch',
  MessageEpochTooOld: 'stale_epoch',
  BufferedCommit: 'bad_request',
  UnmergedPendingGroup: 'bad_request',
  SelfCommitIgnored: 'no_key',
  OrphanWelcome: 'no_key',
  MessageRejected: 'internal',
};

/** `ProteusError`, crypto-ffi/src/error/proteus.rs. */
const PROTEUS = {
  SessionNotFound: 'no_key',
  DuplicateMessage: 'duplicate',
  RemoteIdentityChanged: 'untrusted_identity',
};

/** `ProteusError::Other` bears a number: those that messages and bundles were seen to lead to. Below 100 something could not be decoded. */
const PROTEUS_CODES = { 101: 'no_key', 202: 'no_key', 206: 'auth_failed', 210: 'no_key', 211: 'no_key', 406: 'auth_failed' };

/** `MlsError::Other` bears the words of the innermost error, of core-crypto or of its openmls, and nothing else. */
const TEXTS = [
  [/duplicate|same public key|already exists/i, 'duplicate'],
  [/prior epoch|epoch differs|epoch too far|EpochMismatch/i, 'stale_epoch'],
  [/secret was deleted to preserve forward secrecy/, 'duplicate'],
  [/signature|decrypt|membership tag|confirmation tag|parent hash|tree hash|hpke|derived public key|derived nodes/i, 'auth_failed'],
  [/ratcheting secret|own key package|key store|too old to be processed|too far in the future/i, 'no_key'],
  [/not part of the group|not a member|unknown sender|matched to a member|evicted|should be removed|external application/i, 'not_member'],
];

/** What the library throws, as a refusal. Anything else is handed back as it is. */
export function refused(doing, error) {
  if (error instanceof Refusal || error?.constructor?.name === 'Undecided') return error;
  const mls = error?.inner?.mlsError;
  if (mls) {
    const text = mls.inner?.msg ?? mls.message;
    const known = MLS[mls.tag] ?? TEXTS.find(([words]) => words.test(text))?.[1] ?? 'bad_request';
    return new Refusal(known, `${doing}: ${text}`);
  }
  const proteus = error?.inner?.exception;
  if (proteus) {
    const code = proteus.inner?.errorCode;
    const known = PROTEUS[proteus.tag] ?? PROTEUS_CODES[code] ?? 'bad_request';
    return new Refusal(known, `${doing}: ${code === undefined ? proteus.message : `Proteus error ${code}`}`);
  }
  if (error?.tag === 'Other') {
    const text = error.inner?.msg ?? error.message;
    return new Refusal(TEXTS.find(([words]) => words.test(text))?.[1] ?? 'bad_request', `${doing}: ${text}`);
  }
  return error;
}
