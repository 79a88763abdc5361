// One group's sender keys.
//
// libsignal's store has no groups, only senders and distribution ids. Each group has a store of its own here, and each
// sender key a random distribution id, so that a rotation is a new id.

import { randomUUID } from 'node:crypto';
import {
  groupDecrypt, groupEncrypt, ProtocolAddress, processSenderKeyDistributionMessage, SenderKeyDistributionMessage,
} from '@signalapp/libsignal-client';
import { parse } from './address.mjs';
import { Refusal } from './e2esm.mjs';
import { classify, read } from './errors.mjs';
import { bytesOf, decode, encode, replaced } from './protobuf.mjs';
import { SenderKeys } from './stores.mjs';

/** The fields of the library's `storage.proto` that `encryptAs` bends. */
const STATES = 1;
const SIGNING_KEY = 3;
const SKIPPED_KEYS = 4;

/** An address in the library's own form. */
export function addressOf(text) {
  const { name, number } = parse(text);
  return ProtocolAddress.new(name, number);
}

/** Makes a call of the library whose stores throw nothing. */
async function calling(call) {
  try {
    return await call();
  } catch (error) {
    throw classify(error);
  }
}

export class Drawer {
  /** The distribution id of this device's present sender key. */
  own = null;
  keys = new SenderKeys();
  /** The distribution id of the sender key that came last from each member's address. */
  latest = new Map();

  #own() {
    if (!this.own) throw new Refusal('no_key', 'no sender key of its own for this group');
    return this.own;
  }

  async rotate(me) {
    const distributionId = randomUUID();
    await this.#distribute(me, distributionId);
    if (this.own) this.keys.records.delete(SenderKeys.key(me, this.own));
    this.own = distributionId;
  }

  async distribution(me) {
    return this.#distribute(me, this.#own());
  }

  /** The library's one function makes the key where there is none, and hands it out. */
  async #distribute(me, distributionId) {
    const message = await calling(() => SenderKeyDistributionMessage.create(addressOf(me), distributionId, this.keys));
    return message.serialize();
  }

  async accept(owner, distribution) {
    const message = read(() => SenderKeyDistributionMessage.deserialize(distribution));
    const distributionId = read(() => message.distributionId());
    await calling(() => processSenderKeyDistributionMessage(addressOf(owner), message, this.keys));
    this.latest.set(owner, distributionId);
  }

  async encrypt(me, plaintext) {
    const distributionId = this.#own();
    return (await calling(() => groupEncrypt(addressOf(me), distributionId, this.keys, plaintext))).serialize();
  }

  /**
   * The next message of `other`'s chain, which every member can derive, under this device's own signature key. The
   * library makes it, from a record in which the two are joined; nothing of that is kept.
   */
  async encryptAs(me, other, plaintext) {
    const distributionId = this.latest.get(other);
    if (!distributionId) throw noKeyOf(other);
    const chain = this.#record(other, distributionId);
    const signing = this.#record(me, this.#own());
    const forged = new SenderKeys(new Map([[SenderKeys.key(other, distributionId), signedBy(chain, signing)]]));
    return (await calling(() => groupEncrypt(addressOf(other), distributionId, forged, plaintext))).serialize();
  }

  #record(sender, distributionId) {
    const record = this.keys.records.get(SenderKeys.key(sender, distributionId));
    if (!record) throw noKeyOf(sender);
    return record;
  }

  async decrypt(claimed, ciphertext) {
    return calling(() => groupDecrypt(addressOf(claimed), this.keys, ciphertext));
  }
}

const noKeyOf = (sender) => new Refusal('no_key', `no sender key of ${sender} here`);

/**
 * The chain of one record with the signature key pair of another, without the skipped message keys. The library has no
 * accessor for either, only this format.
 */
function signedBy(chain, signing) {
  // The newest state is the record's first.
  const newest = (record) => decode(decode(record).find(([number]) => number === STATES)[1]);
  const state = newest(chain).filter(([number]) => number !== SKIPPED_KEYS);
  return encode([[STATES, encode(replaced(state, SIGNING_KEY, bytesOf(newest(signing), SIGNING_KEY)))]]);
}
