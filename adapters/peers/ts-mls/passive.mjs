// A device that only receives, for recorded vectors: what the library itself makes of bytes. It starts from private keys in
// their standards' form, knows members by leaf, and asks nobody: credentials are taken as they are, which is the library's
// default, and so is every other setting.

import {
  bytesToBase64, ciphersuites, defaultAuthenticationService, getCiphersuiteFromName, getCiphersuiteImpl, joinGroup,
  makePskIndex, processPrivateMessage, processPublicMessage, zeroOutUint8Array,
} from 'ts-mls';
import { makeKeyPackageRef } from 'ts-mls/keyPackage.js';
import { configured } from './device.mjs';
import { Refusal } from './e2esm.mjs';
import { translated, translatedIn } from './errors.mjs';
import { leaves, senderOf } from './groups.mjs';
import { decoded, decodedTree, expected, framing } from './wire.mjs';

const hex = (bytes) => Buffer.from(bytes).toString('hex');

/** The cipher suites of RFC 9420, section 17.1, whose dependencies are installed. */
const SUITES = 7;

/** The length of a private key on the suite's curve, where it is a scalar (RFC 9180, section 7.1.2). */
const SCALARS = { 2: 32, 5: 66, 7: 48 };

/** A scalar at its full length: who drops leading zeros, as the MLS working group's vectors do, writes one in 256 shorter. */
function padded(suite, bytes) {
  const missing = Math.max((SCALARS[suite] ?? 0) - bytes.length, 0);
  return new Uint8Array([...new Uint8Array(missing), ...bytes]);
}

export class Passive {
  #keyPackages = new Map();

  #groups = new Map();

  static async create(start) {
    if (start?.mls === undefined) throw new Refusal('unsupported', `a start of ${Object.keys(start ?? {})[0]}`);
    const { cipher_suite, signature_priv, key_packages, external_psks } = start.mls;
    const name = Object.keys(ciphersuites).find((known) => ciphersuites[known] === cipher_suite);
    if (name === undefined || cipher_suite > SUITES) {
      throw new Refusal('unsupported', `the crypto provider does not have cipher suite ${cipher_suite}`);
    }
    const passive = new Passive();
    passive.suite = await getCiphersuiteImpl(getCiphersuiteFromName(name));
    passive.psks = Object.fromEntries((external_psks ?? []).map(({ psk_id, psk }) => (
      [bytesToBase64(bytes(psk_id, 'psk_id')), bytes(psk, 'psk')]
    )));
    const key = (text, what) => padded(cipher_suite, bytes(text, what));
    const signaturePrivateKey = key(signature_priv, 'signature_priv');
    for (const { key_package, init_priv, encryption_priv } of key_packages) {
      const publicPackage = expected(bytes(key_package, 'key_package'), 'keyPackage');
      if (publicPackage.cipherSuite !== name) throw new Refusal('bad_request', 'key_package: of another cipher suite');
      const privatePackage = {
        initPrivateKey: key(init_priv, 'init_priv'),
        hpkePrivateKey: key(encryption_priv, 'encryption_priv'),
        signaturePrivateKey,
      };
      await passive.#check(publicPackage, privatePackage);
      const reference = hex(await makeKeyPackageRef(publicPackage, passive.suite.hash));
      passive.#keyPackages.set(reference, { publicPackage, privatePackage });
    }
    return passive;
  }

  deliver({ kind, bytes: given, ratchet_tree }) {
    if (kind !== 'mls_message') throw new Refusal('bad_request', 'not an MLS message');
    const message = decoded(given);
    return translated(() => (
      message.wireformat === 'mls_welcome' ? this.#join(message.welcome, ratchet_tree) : this.#process(message)
    ));
  }

  async #join(welcome, ratchetTree) {
    const reference = welcome.secrets.map(({ newMember }) => hex(newMember)).find((ref) => this.#keyPackages.has(ref));
    if (reference === undefined) throw new Refusal('no_key', 'the welcome is for no key package that is here');
    const { publicPackage, privatePackage } = this.#keyPackages.get(reference);
    const tree = ratchetTree && decodedTree(ratchetTree);
    const state = await joinGroup(
      welcome, publicPackage, privatePackage, makePskIndex(undefined, this.psks), this.suite, tree, undefined,
      configured(defaultAuthenticationService),
    );
    this.#keyPackages.delete(reference);
    this.#groups.set(hex(state.groupContext.groupId), state);
    return standing(state);
  }

  #process(message) {
    const framed = framing(message);
    const state = this.#groups.get(hex(framed.groupId));
    if (state === undefined) throw new Refusal('bad_request', `no group ${hex(framed.groupId)}`);
    return translatedIn(state.groupContext.epoch, framed, () => this.#take(state, message, framed));
  }

  async #take(state, message, { groupId, contentType }) {
    const psks = makePskIndex(state, this.psks);
    // Not `processMessage`, which takes no pre-shared keys for a PrivateMessage (processMessages.js:234).
    const result = message.wireformat === 'mls_private_message'
      ? await processPrivateMessage(state, message.privateMessage, psks, this.suite)
      : await processPublicMessage(state, message.publicMessage, psks, this.suite);
    const { newState, consumed } = result;
    let delivered;
    if (result.kind === 'applicationMessage') {
      const { leafIndex } = await senderOf(state, message.privateMessage, this.suite);
      delivered = { plaintext: result.message.slice(), sender_leaf: leafIndex, group_id: groupId };
    } else if (contentType === 'proposal') {
      delivered = { group_id: groupId, epoch: newState.groupContext.epoch };
    } else if (newState.groupActiveState.kind === 'removedFromGroup') {
      delivered = { group_id: groupId, removed: true };
    } else {
      delivered = standing(newState);
    }
    this.#groups.set(hex(groupId), newState);
    consumed.forEach(zeroOutUint8Array);
    return delivered;
  }

  /** Whether the private keys are those of the key package. */
  async #check({ initKey, leafNode }, { initPrivateKey, hpkePrivateKey, signaturePrivateKey }) {
    const { hpke, signature } = this.suite;
    const probe = new TextEncoder().encode('is this your key?');
    const none = new Uint8Array();
    const opens = async (publicKey, privateKey) => {
      const { ct, enc } = await hpke.seal(await hpke.importPublicKey(publicKey), probe, none, none);
      return hex(await hpke.open(await hpke.importPrivateKey(privateKey), enc, ct, none, none)) === hex(probe);
    };
    const checks = {
      init_priv: () => opens(initKey, initPrivateKey),
      encryption_priv: () => opens(leafNode.hpkePublicKey, hpkePrivateKey),
      signature_priv: async () => (
        signature.verify(leafNode.signaturePublicKey, probe, await signature.sign(signaturePrivateKey, probe))
      ),
    };
    for (const [name, check] of Object.entries(checks)) {
      if (!await check().catch(() => false)) throw new Refusal('bad_request', `${name}: not the private key of the public one`);
    }
  }
}

function bytes(text, what) {
  if (typeof text !== 'string' || !/^([0-9a-f]{2})*$/.test(text)) throw new Refusal('bad_request', `${what}: expected bytes`);
  return new Uint8Array(Buffer.from(text, 'hex'));
}

/** Where a group stands. */
function standing({ groupContext, keySchedule, ratchetTree }) {
  return {
    group_id: groupContext.groupId,
    epoch: groupContext.epoch,
    epoch_authenticator: keySchedule.epochAuthenticator,
    roster: leaves(ratchetTree).map(([leaf_index, { credential, signaturePublicKey }]) => ({
      leaf_index, identity: credential.identity, signature_key: signaturePublicKey,
    })),
  };
}
