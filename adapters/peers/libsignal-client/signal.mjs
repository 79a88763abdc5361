// One device's keys: what the group management needs, over libsignal.
//
// What is here is the translation of pairwise sessions and sender keys, and the one decision that libsignal hands to its
// application, `IdentityKeyStore.isTrustedIdentity`. A call that throws leaves the keys as they were.

import { randomInt } from 'node:crypto';
import {
  CiphertextMessageType, Fingerprint, IdentityKeyPair, KEMKeyPair, KyberPreKeyRecord, PreKeyRecord, PreKeySignalMessage,
  PrivateKey, processPreKeyBundle, PublicKey, SenderKeyRecord, SessionRecord, signalDecrypt, signalDecryptPreKey,
  signalEncrypt, SignalMessage, SignedPreKeyRecord,
} from '@signalapp/libsignal-client';
import { AddressBook, parse } from './address.mjs';
import { fromBytes, identityOf, toBytes, toLibrary } from './bundle.mjs';
import { addressOf, Drawer } from './drawer.mjs';
import { Refusal } from './e2esm.mjs';
import { read } from './errors.mjs';
import { bytesOf, decode, encode, replaced } from './protobuf.mjs';
import { Keys, same, SenderKeys, withStores } from './stores.mjs';

/** The iterations that Signal's own applications ask for. */
const FINGERPRINT_ITERATIONS = 5200;
/** The version of the format for scanning, which does not bear on the digits. */
const FINGERPRINT_VERSION = 2;
/** Registration ids have 14 bits, and 0 says that there is none. */
export const REGISTRATION_IDS = 0x3fff;
const IS_TRUSTED_IDENTITY = 'IdentityKeyStore.isTrustedIdentity';
const ZERO_KEY = Uint8Array.from([5, ...new Uint8Array(32)]);
const NOTHING = new Uint8Array();

/** The public keys of a device that is known by this identity key: a user's devices share it. */
const identity = (key) => ({ account_key: key, device_key: key, voucher: NOTHING });

/** What two people compare: 60 digits, the same at both ends. The stable identifiers are the names, as UTF-8. */
export function safetyNumber([ownName, ownKey], [theirName, theirKey]) {
  const fingerprint = Fingerprint.new(
    FINGERPRINT_ITERATIONS, FINGERPRINT_VERSION,
    new Uint8Array(Buffer.from(ownName)), ownKey, new Uint8Array(Buffer.from(theirName)), theirKey,
  );
  return fingerprint.displayableFingerprint().toString();
}

export class Signal {
  /** What a group's keys and messages are in recorded vectors. */
  static kinds = { key: 'sender_key_distribution', message: 'sender_key_message' };

  #book = new AddressBook();
  #groups = new Map();
  #nextId = 1;
  #degenerate = false;

  constructor(id, notebook, keys) {
    this.id = id;
    this.notebook = notebook;
    this.keys = keys;
    this.address = this.#book.address(id);
  }

  static create(id, notebook) {
    const signal = new Signal(id, notebook, new Keys(IdentityKeyPair.generate(), randomInt(1, REGISTRATION_IDS + 1)));
    signal.#renewSignedPreKey();
    return signal;
  }

  #renewSignedPreKey() {
    const pair = PrivateKey.generate();
    const id = this.#nextId++;
    const signature = this.#sign(pair.getPublicKey().serialize());
    const record = SignedPreKeyRecord.new(id, Date.now(), pair.getPublicKey(), pair, signature);
    this.keys.signedPreKeys.set(id, record.serialize());
  }

  #sign(key) {
    return this.keys.own.privateKey.sign(key);
  }

  #drawer(group) {
    if (!this.#groups.has(group)) this.#groups.set(group, new Drawer());
    return this.#groups.get(group);
  }

  #known(peer) {
    return this.keys.known.get(this.#book.find(peer));
  }

  /** The application's part of the stores. */
  #trust = {
    isTrusted: (address, key) => {
      const known = this.keys.known.get(address);
      const previous = known && !same(known, key) ? known : undefined;
      const fact = { fact: 'identity', device: this.#book.device(address), identity: identity(key), previous };
      return this.notebook.consult(IS_TRUSTED_IDENTITY, fact);
    },
    changed: (address) => this.notebook.note({ event: 'key_changed', device: this.#book.device(address) }),
  };

  #calling(call) {
    return withStores(this.keys, this.#trust, call);
  }

  identity() {
    return identity(this.keys.own.publicKey.serialize());
  }

  publish() {
    // The one in use is the one made last.
    const signed = SignedPreKeyRecord.deserialize([...this.keys.signedPreKeys.values()].at(-1));
    const id = this.#nextId++;
    const oneTime = PrivateKey.generate();
    const kyber = KEMKeyPair.generate();
    const kyberPublic = kyber.getPublicKey().serialize();
    const kyberSignature = this.#sign(kyberPublic);
    const preKey = { id, public: oneTime.getPublicKey().serialize(), signature: NOTHING };
    const signedPreKey = { id: signed.id(), public: signed.publicKey().serialize(), signature: signed.signature() };
    if (this.#degenerate) {
      preKey.public = ZERO_KEY;
      signedPreKey.public = ZERO_KEY;
      signedPreKey.signature = this.#sign(ZERO_KEY);
    }
    this.keys.preKeys.set(id, PreKeyRecord.new(id, oneTime.getPublicKey(), oneTime).serialize());
    this.keys.kyberPreKeys.set(id, KyberPreKeyRecord.new(id, Date.now(), kyber, kyberSignature).serialize());
    const bytes = toBytes({
      registrationId: this.keys.registrationId,
      deviceId: parse(this.address).number,
      identityKey: this.keys.own.publicKey.serialize(),
      preKey,
      signedPreKey,
      kyberPreKey: { id, public: kyberPublic, signature: kyberSignature },
    });
    return { device: this.id, bytes };
  }

  /** The identity that a bundle shows: a look, no check, no question. */
  bundleIdentity(bundle) {
    return identity(identityOf(fromBytes(bundle.bytes)));
  }

  /** Opens a session from a bundle, from now on the one that is sent on; one with another identity is dropped. */
  async introduce({ device, bytes }) {
    const address = this.#book.address(device);
    const bundle = fromBytes(bytes);
    // The library would archive a session with another identity and still read with it.
    const former = this.keys.sessions.get(address);
    const isNew = former && !same(remoteIdentity(former), bundle.identityKey);
    if (isNew) this.keys.sessions.delete(address);
    try {
      const own = toLibrary(bundle);
      await this.#calling(({ sessions, identities }) => (
        processPreKeyBundle(own, addressOf(address), addressOf(this.address), sessions, identities)
      ));
    } catch (error) {
      if (isNew) this.keys.sessions.set(address, former);
      throw error;
    }
    this.notebook.note({ event: 'session_opened', peer: device });
  }

  /** Whether there is a session with `peer` to send on. */
  hasSession(peer) {
    const record = this.keys.sessions.get(this.#book.find(peer));
    return record !== undefined && SessionRecord.deserialize(record).hasCurrentState();
  }

  /** The account key by which `peer` is known since the last session was opened, by either side. */
  knownAccountKey(peer) {
    return this.#known(peer);
  }

  /** A copy of what is held about one peer, for an operation that may still have to wait for an answer. */
  peerState(peer) {
    const address = this.#book.find(peer);
    return { session: this.keys.sessions.get(address), known: this.keys.known.get(address) };
  }

  restorePeer(peer, { session, known }) {
    const address = this.#book.find(peer);
    put(this.keys.sessions, address, session);
    put(this.keys.known, address, known);
  }

  /**
   * Encrypts to `peer` alone: `{opensSession, bytes}`. A message that opens a session bears the address of `claim` under
   * its tag, which is the sender's to choose.
   */
  async encrypt(peer, plaintext, claim = this.id) {
    const [to, from] = [peer, claim].map((device) => addressOf(this.#book.address(device)));
    const message = await this.#calling(({ sessions, identities }) => (
      signalEncrypt(plaintext, to, from, sessions, identities)
    ));
    return { opensSession: message.type() === CiphertextMessageType.PreKey, bytes: message.serialize() };
  }

  /** Decrypts what the label says comes from `claimed`, opening a session if it is a prekey message. */
  async decrypt(claimed, { opensSession, bytes }) {
    const message = read(() => (opensSession ? PreKeySignalMessage : SignalMessage).deserialize(bytes));
    const address = addressOf(this.#book.address(claimed));
    const me = addressOf(this.address);
    const prekeys = this.keys.kyberPreKeys.size;
    const plaintext = await this.#calling(({ sessions, identities, preKeys, signedPreKeys, kyberPreKeys }) => (
      opensSession
        ? signalDecryptPreKey(message, address, me, sessions, identities, preKeys, signedPreKeys, kyberPreKeys)
        : signalDecrypt(message, address, me, sessions, identities)
    ));
    // Each session costs a Kyber prekey; a later prekey message of the same session does not.
    if (this.keys.kyberPreKeys.size < prekeys) this.notebook.note({ event: 'session_opened', peer: claimed });
    return plaintext;
  }

  newSenderKey(group) {
    return this.#drawer(group).rotate(this.address);
  }

  distribution(group) {
    return this.#drawer(group).distribution(this.address);
  }

  acceptSenderKey(group, owner, distribution) {
    return this.#drawer(group).accept(this.#book.address(owner), distribution);
  }

  groupEncrypt(group, plaintext) {
    return this.#drawer(group).encrypt(this.address, plaintext);
  }

  groupEncryptAs(group, other, plaintext) {
    return this.#drawer(group).encryptAs(this.address, this.#book.address(other), plaintext);
  }

  groupDecrypt(group, claimed, ciphertext) {
    return this.#drawer(group).decrypt(this.#book.address(claimed), ciphertext);
  }

  fingerprint(peer) {
    const theirs = this.#known(peer);
    if (!theirs) throw new Refusal('bad_request', `no identity of ${peer} is known`);
    const user = (device) => device.split('/')[0];
    const value = safetyNumber(
      [user(this.id), this.keys.own.publicKey], [user(peer), PublicKey.deserialize(theirs)],
    );
    return { kind: 'safety_number', value };
  }

  linkRequest() {
    return { device: this.id, device_key: NOTHING };
  }

  authorise({ device }) {
    return { device, bytes: this.keys.own.serialize() };
  }

  acceptAuthorisation({ device, bytes }) {
    if (device !== this.id) {
      throw new Refusal('bad_request', `the authorisation is for ${device}, this device is ${this.id}`);
    }
    this.keys.own = read(() => IdentityKeyPair.deserialize(bytes));
    // The prekey's signature is the former key's.
    this.#renewSignedPreKey();
  }

  publishDegenerateKeys(degenerate) {
    this.#degenerate = degenerate;
  }

  breakBundle({ device, bytes }) {
    const bundle = fromBytes(bytes);
    if (!bundle.signedPreKey?.signature.length) throw new Refusal('bad_request', 'a bundle without a signature');
    bundle.signedPreKey.signature[0] ^= 1;
    return { device, bytes: toBytes(bundle) };
  }

  /** Somebody's session-opening message made to bear this device's identity key. */
  rewriteIdentity(bytes) {
    read(() => PreKeySignalMessage.deserialize(bytes));
    const IDENTITY_KEY = 3;
    const fields = replaced(decode(bytes.subarray(1)), IDENTITY_KEY, this.keys.own.publicKey.serialize());
    return new Uint8Array(Buffer.concat([bytes.subarray(0, 1), encode(fields)]));
  }

  /** What came from `peer`, as a recorded vector has it. */
  delivery(kind, peer, bytes) {
    return { kind, from: this.#book.find(peer), bytes };
  }

  /**
   * The prekeys that have not been used, with the identity key and the address. Those are left out that a former identity
   * key has signed, before this device was linked: no session can be opened with them any more.
   */
  standardKeys() {
    const { own, registrationId, preKeys, signedPreKeys, kyberPreKeys } = this.keys;
    const records = (type, store) => [...store.values()].map((record) => type.deserialize(record));
    const signed = (record) => own.publicKey.verify(record.publicKey().serialize(), record.signature());
    return {
      signal: {
        address: this.address,
        registration_id: registrationId,
        identity_key_priv: own.privateKey.serialize(),
        one_time_prekeys: records(PreKeyRecord, preKeys)
          .map((record) => ({ id: record.id(), priv: record.privateKey().serialize() })),
        signed_prekeys: records(SignedPreKeyRecord, signedPreKeys).filter(signed).map((record) => (
          { id: record.id(), priv: record.privateKey().serialize(), signature: record.signature() }
        )),
        kyber_prekeys: records(KyberPreKeyRecord, kyberPreKeys).filter(signed).map((record) => ({
          id: record.id(),
          pub: record.publicKey().serialize(),
          priv: record.secretKey().serialize(),
          signature: record.signature(),
        })),
      },
    };
  }

  /** Everything secret, in the library's own records. Addresses are a device's own choice, and so names stand for them. */
  state() {
    const named = (map) => [...map].map(([address, record]) => [this.#book.device(address), record]);
    return {
      own: this.keys.own.serialize(),
      registrationId: this.keys.registrationId,
      nextId: this.#nextId,
      preKeys: [...this.keys.preKeys],
      signedPreKeys: [...this.keys.signedPreKeys],
      kyberPreKeys: [...this.keys.kyberPreKeys],
      known: named(this.keys.known),
      sessions: named(this.keys.sessions),
      groups: [...this.#groups].map(([group, { own, keys, latest }]) => ({
        group,
        own,
        keys: [...keys.records].map(([key, record]) => {
          const [address, distributionId] = key.split(' ');
          return [this.#book.device(address), distributionId, record];
        }),
        latest: named(latest),
      })),
    };
  }

  /** The device of such a state. */
  static restore(id, notebook, state) {
    const signal = new Signal(id, notebook, new Keys(IdentityKeyPair.deserialize(state.own), state.registrationId));
    const { keys } = signal;
    signal.#nextId = state.nextId;
    const checked = (type, records) => records.map(([key, record]) => [key, type.deserialize(record).serialize()]);
    const addressed = (map) => map.map(([device, record]) => [signal.#book.address(device), record]);
    keys.preKeys = new Map(checked(PreKeyRecord, state.preKeys));
    keys.signedPreKeys = new Map(checked(SignedPreKeyRecord, state.signedPreKeys));
    keys.kyberPreKeys = new Map(checked(KyberPreKeyRecord, state.kyberPreKeys));
    keys.known = new Map(addressed(checked(PublicKey, state.known)));
    keys.sessions = new Map(addressed(checked(SessionRecord, state.sessions)));
    for (const { group, own, keys: records, latest } of state.groups) {
      const drawer = signal.#drawer(group);
      drawer.own = own;
      for (const [device, distributionId, record] of records) {
        const key = SenderKeys.key(signal.#book.address(device), distributionId);
        drawer.keys.records.set(key, SenderKeyRecord.deserialize(record).serialize());
      }
      drawer.latest = new Map(addressed(latest));
    }
    return signal;
  }
}

/** The identity key at the other end of a session. The library has no accessor, only this format (its `storage.proto`). */
function remoteIdentity(session) {
  const [CURRENT_SESSION, REMOTE_IDENTITY] = [1, 3];
  return bytesOf(decode(bytesOf(decode(session), CURRENT_SESSION)), REMOTE_IDENTITY);
}

function put(store, address, value) {
  if (value === undefined) store.delete(address);
  else store.set(address, value);
}
