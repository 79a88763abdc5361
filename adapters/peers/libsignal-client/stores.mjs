// The stores that libsignal asks its application for. They keep and forget as its documentation says, in memory, as the
// library's own serialised records, and decide nothing.

import {
  IdentityChange, IdentityKeyPair, IdentityKeyStore, KyberPreKeyRecord, KyberPreKeyStore, PreKeyRecord, PreKeyStore,
  PublicKey, SenderKeyRecord, SenderKeyStore, SessionRecord, SessionStore, SignedPreKeyRecord, SignedPreKeyStore,
} from '@signalapp/libsignal-client';
import { Refusal } from './e2esm.mjs';
import { classify } from './errors.mjs';

/** Everything that pairwise sessions need. Addresses are text; what they and numbers lead to are serialised records. */
export class Keys {
  known = new Map();
  preKeys = new Map();
  signedPreKeys = new Map();
  kyberPreKeys = new Map();
  sessions = new Map();

  constructor(own, registrationId) {
    /** This device's identity key pair. */
    this.own = own;
    this.registrationId = registrationId;
  }

  copy() {
    return Object.assign(new Keys(this.own, this.registrationId), {
      known: new Map(this.known),
      preKeys: new Map(this.preKeys),
      signedPreKeys: new Map(this.signedPreKeys),
      kyberPreKeys: new Map(this.kyberPreKeys),
      sessions: new Map(this.sessions),
    });
  }
}

/**
 * Calls the library with stores over these keys. `trust` is the application's part: `isTrusted(address, key)`, and
 * `changed(address)` where an identity is replaced by another.
 *
 * @throws Refusal with the class of what the library says. What a store has thrown is thrown as it was: the library
 * hands on its text alone.
 */
export async function withStores(keys, trust, call) {
  let thrown = null;
  const telling = (stores) => {
    for (const store of Object.values(stores)) store.thrown = (error) => { thrown = error; return error; };
    return stores;
  };
  const stores = telling({
    identities: new Identities(keys, trust),
    preKeys: new PreKeys(keys),
    signedPreKeys: new SignedPreKeys(keys),
    kyberPreKeys: new KyberPreKeys(keys),
    sessions: new Sessions(keys),
  });
  try {
    return await call(stores);
  } catch (error) {
    throw thrown ?? classify(error);
  }
}

class Identities extends IdentityKeyStore {
  constructor(keys, trust) {
    super();
    this.keys = keys;
    this.trust = trust;
  }

  async getIdentityKey() {
    return this.keys.own.privateKey;
  }

  async getIdentityKeyPair() {
    return new IdentityKeyPair(this.keys.own.publicKey, this.keys.own.privateKey);
  }

  async getLocalRegistrationId() {
    return this.keys.registrationId;
  }

  async saveIdentity(address, key) {
    const name = address.toString();
    const previous = this.keys.known.get(name);
    const now = key.serialize();
    this.keys.known.set(name, now);
    if (!previous || same(previous, now)) return IdentityChange.NewOrUnchanged;
    this.trust.changed(name);
    return IdentityChange.ReplacedExisting;
  }

  async isTrustedIdentity(address, key) {
    try {
      return this.trust.isTrusted(address.toString(), key.serialize());
    } catch (error) {
      throw this.thrown(error);
    }
  }

  async getIdentity(address) {
    const key = this.keys.known.get(address.toString());
    return key ? PublicKey.deserialize(key) : null;
  }
}

class PreKeys extends PreKeyStore {
  constructor(keys) {
    super();
    this.keys = keys.preKeys;
  }

  async savePreKey(id, record) {
    this.keys.set(id, record.serialize());
  }

  async getPreKey(id) {
    const record = this.keys.get(id);
    if (!record) throw this.thrown(new Refusal('no_key', 'invalid prekey identifier'));
    return PreKeyRecord.deserialize(record);
  }

  async removePreKey(id) {
    this.keys.delete(id);
  }
}

class SignedPreKeys extends SignedPreKeyStore {
  constructor(keys) {
    super();
    this.keys = keys.signedPreKeys;
  }

  async saveSignedPreKey(id, record) {
    this.keys.set(id, record.serialize());
  }

  async getSignedPreKey(id) {
    const record = this.keys.get(id);
    if (!record) throw this.thrown(new Refusal('no_key', 'invalid signed prekey identifier'));
    return SignedPreKeyRecord.deserialize(record);
  }
}

/** All of them one-time: a used one is deleted, as the library asks for those. */
class KyberPreKeys extends KyberPreKeyStore {
  constructor(keys) {
    super();
    this.keys = keys.kyberPreKeys;
  }

  async saveKyberPreKey(id, record) {
    this.keys.set(id, record.serialize());
  }

  async getKyberPreKey(id) {
    const record = this.keys.get(id);
    if (!record) throw this.thrown(new Refusal('no_key', 'invalid Kyber prekey identifier'));
    return KyberPreKeyRecord.deserialize(record);
  }

  async markKyberPreKeyUsed(id) {
    this.keys.delete(id);
  }
}

class Sessions extends SessionStore {
  constructor(keys) {
    super();
    this.keys = keys.sessions;
  }

  async saveSession(address, record) {
    this.keys.set(address.toString(), record.serialize());
  }

  async getSession(address) {
    const record = this.keys.get(address.toString());
    return record ? SessionRecord.deserialize(record) : null;
  }
}

/** Sender keys, each under its sender's address and its distribution id. */
export class SenderKeys extends SenderKeyStore {
  constructor(records = new Map()) {
    super();
    this.records = records;
  }

  async saveSenderKey(sender, distributionId, record) {
    this.records.set(SenderKeys.key(sender, distributionId), record.serialize());
  }

  async getSenderKey(sender, distributionId) {
    const record = this.records.get(SenderKeys.key(sender, distributionId));
    return record ? SenderKeyRecord.deserialize(record) : null;
  }

  static key(sender, distributionId) {
    return `${sender} ${distributionId}`;
  }
}

export const same = (one, other) => Buffer.compare(one, other) === 0;
