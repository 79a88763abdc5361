// A device that only receives, for recorded vectors: the library's sessions and sender keys, and nothing above them.
//
// It starts from raw private keys and knows addresses only; what is in a plaintext is none of its business. Identity keys
// are trusted on first use. A used prekey is gone, as in a live device.

import {
  groupDecrypt, IdentityKeyPair, KEMPublicKey, KEMSecretKey, KyberPreKeyRecord, PreKeyRecord, PreKeySignalMessage,
  PrivateKey, processSenderKeyDistributionMessage, PublicKey, SenderKeyDistributionMessage, signalDecrypt,
  signalDecryptPreKey, SignalMessage, SignedPreKeyRecord,
} from '@signalapp/libsignal-client';
import { createHash } from 'node:crypto';
import { parse } from './address.mjs';
import { addressOf } from './drawer.mjs';
import { Refusal } from './e2esm.mjs';
import { read } from './errors.mjs';
import { encode, zeroFixed64 } from './protobuf.mjs';
import { REGISTRATION_IDS, safetyNumber } from './signal.mjs';
import { Keys, same, SenderKeys, withStores } from './stores.mjs';

/** Prekeys are kept with a date for those who renew them, which a passive device does not. */
const UNDATED = 0;
const OTHER_PROTOCOLS = ['mls', 'olm', 'megolm'];
/** The kinds of delivery of other protocols. */
const FOREIGN = ['mls_message', 'session_key', 'exported_session_key', 'megolm_message'];

export class Passive {
  #address;
  #keys;
  #senderKeys = new SenderKeys();

  /** A device with these keys and no session. `start` is as it came, bytes in hex. */
  static async create(start) {
    const [protocol, ...others] = typeof start === 'object' && start !== null ? Object.keys(start) : [];
    if (!protocol || others.length > 0) throw new Refusal('bad_request', 'expected the start of one protocol');
    if (protocol !== 'signal') {
      const what = OTHER_PROTOCOLS.includes(protocol) ? `recorded vectors of ${protocol}` : `unknown protocol ${protocol}`;
      throw new Refusal('unsupported', `${what}: libsignal speaks signal alone`);
    }
    return new Passive(fields(start.signal, {
      address: text,
      registration_id: number,
      identity_key_priv: bytes,
      'one_time_prekeys?': list({ id: number, priv: bytes }),
      signed_prekeys: list({ id: number, priv: bytes, signature: bytes }),
      kyber_prekeys: list({ id: number, pub: bytes, priv: bytes, signature: bytes }),
      'known_identities?': list({ address: text, identity_key: bytes }),
    }));
  }

  constructor(start) {
    if (start.registration_id < 1 || start.registration_id > REGISTRATION_IDS) {
      throw new Refusal('bad_request', `${start.registration_id} is not a registration id`);
    }
    const own = read(() => PrivateKey.deserialize(start.identity_key_priv));
    const identity = own.getPublicKey();
    const keys = new Keys(new IdentityKeyPair(identity, own), start.registration_id);
    const only = (store, id, record, what) => {
      if (store.has(id)) throw new Refusal('bad_request', `${what} ${id}: there are two`);
      store.set(id, record);
    };
    const signed = (key, signature, what) => {
      if (!read(() => identity.verify(key, signature))) {
        throw new Refusal('bad_request', `${what}: the identity key has not signed this one`);
      }
    };
    for (const { id, priv } of start.one_time_prekeys) {
      const key = read(() => PrivateKey.deserialize(priv));
      only(keys.preKeys, id, PreKeyRecord.new(id, key.getPublicKey(), key).serialize(), 'one-time prekeys');
    }
    for (const { id, priv, signature } of start.signed_prekeys) {
      const key = read(() => PrivateKey.deserialize(priv));
      signed(key.getPublicKey().serialize(), signature, `signed prekey ${id}`);
      const record = SignedPreKeyRecord.new(id, UNDATED, key.getPublicKey(), key, signature);
      only(keys.signedPreKeys, id, record.serialize(), 'signed prekeys');
    }
    for (const { id, pub, priv, signature } of start.kyber_prekeys) {
      halves(pub, priv);
      signed(pub, signature, `Kyber prekey ${id}`);
      only(keys.kyberPreKeys, id, kyberRecord(id, pub, priv, signature), 'Kyber prekeys');
    }
    for (const { address, identity_key: key } of start.known_identities) {
      parse(address);
      only(keys.known, address, read(() => PublicKey.deserialize(key)).serialize(), 'identities of');
    }
    parse(start.address);
    this.#address = start.address;
    this.#keys = keys;
  }

  /** Works on a copy of the stores: whatever the library has written into them before it refuses is dropped with it. */
  async deliver(delivery) {
    if (delivery.ratchet_tree) throw new Refusal('bad_request', "a ratchet tree beside a delivery of Signal's");
    if (!delivery.from) throw new Refusal('bad_request', 'a delivery from nobody');
    const keys = this.#keys.copy();
    const senderKeys = new SenderKeys(new Map(this.#senderKeys.records));
    const delivered = await this.#take(keys, senderKeys, delivery);
    this.#keys = keys;
    this.#senderKeys = senderKeys;
    return delivered;
  }

  async #take(keys, senderKeys, { kind, from, bytes: packet }) {
    const sender = addressOf(from);
    const me = addressOf(this.#address);
    const calling = (call) => withStores(keys, onFirstUse(keys), call);
    switch (kind) {
      case 'prekey_message': {
        const message = read(() => PreKeySignalMessage.deserialize(packet));
        const prekeys = keys.kyberPreKeys.size;
        const plaintext = await calling(({ sessions, identities, preKeys, signedPreKeys, kyberPreKeys }) => (
          signalDecryptPreKey(message, sender, me, sessions, identities, preKeys, signedPreKeys, kyberPreKeys)
        ));
        // Each session costs a Kyber prekey; a later prekey message of the same session does not.
        if (keys.kyberPreKeys.size === prekeys) return { plaintext, sender: from };
        const theirs = PublicKey.deserialize(keys.known.get(from));
        const name = (address) => parse(address).name;
        const number = safetyNumber([name(this.#address), keys.own.publicKey], [name(from), theirs]);
        return { plaintext, sender: from, safety_number: number };
      }
      case 'message': {
        const message = read(() => SignalMessage.deserialize(packet));
        const plaintext = await calling(({ sessions, identities }) => (
          signalDecrypt(message, sender, me, sessions, identities)
        ));
        return { plaintext, sender: from };
      }
      case 'sender_key_distribution': {
        const message = read(() => SenderKeyDistributionMessage.deserialize(packet));
        await calling(() => processSenderKeyDistributionMessage(sender, message, senderKeys));
        return {};
      }
      case 'sender_key_message':
        return { plaintext: await calling(() => groupDecrypt(sender, senderKeys, packet)), sender: from };
      default:
        if (FOREIGN.includes(kind)) throw new Refusal('bad_request', `a device of Signal's takes no ${kind}`);
        throw new Refusal('unsupported', `unknown kind ${kind}`);
    }
  }
}

/** Trust on first use, and none in a changed key. */
const onFirstUse = (keys) => ({
  isTrusted: (address, key) => same(keys.known.get(address) ?? key, key),
  changed: () => {},
});

/**
 * The library has no call that joins the halves of a Kyber prekey, only this record of both (`storage.proto`,
 * SignedPreKeyRecordStructure).
 */
function kyberRecord(id, pub, priv, signature) {
  const bytes = encode([[1, id], [2, pub], [3, priv], [4, signature], [5, zeroFixed64()]]);
  return read(() => KyberPreKeyRecord.deserialize(bytes)).serialize();
}

/**
 * Whether the halves of a Kyber1024 prekey belong together. The secret key ends in the public key, its hash and 32
 * bytes more (FIPS 203, section 7.1, and Kyber's round 3 before it); a type byte stands before each.
 */
function halves(pub, priv) {
  read(() => [KEMPublicKey.deserialize(pub), KEMSecretKey.deserialize(priv)]);
  const key = pub.subarray(1);
  const inside = priv.subarray(-64 - key.length, -64);
  const hash = priv.subarray(-64, -32);
  if (!same(inside, key) || !same(hash, createHash('sha3-256').update(key).digest())) {
    throw new Refusal('bad_request', 'the halves of a Kyber prekey do not belong together');
  }
}

// The fields of a start. `?` after a name: may be left out, and is an empty list then.
const malformed = (what) => new Refusal('bad_request', `malformed start: ${what}`);

function text(given) {
  if (typeof given !== 'string') throw malformed('expected a text');
  return given;
}

function number(given) {
  if (!Number.isInteger(given) || given < 0 || given >= 2 ** 32) throw malformed('expected a 32-bit number');
  return given;
}

function bytes(given) {
  if (typeof given !== 'string' || !/^([0-9a-f]{2})*$/.test(given)) throw malformed('expected bytes in hex');
  return new Uint8Array(Buffer.from(given, 'hex'));
}

const list = (shape) => (given) => {
  if (!Array.isArray(given)) throw malformed('expected a list');
  return given.map((item) => fields(item, shape));
};

function fields(given, shape) {
  if (typeof given !== 'object' || given === null || Array.isArray(given)) throw malformed('expected an object');
  for (const name of Object.keys(given)) {
    if (!(name in shape) && !(`${name}?` in shape)) throw malformed(`unknown field ${name}`);
  }
  return Object.fromEntries(Object.entries(shape).map(([key, reader]) => {
    const name = key.replace('?', '');
    if (given[name] === undefined && name !== key) return [name, []];
    if (given[name] === undefined) throw malformed(`missing field ${name}`);
    return [name, reader(given[name])];
  }));
}
