// Signal's own build of libsignal as an adapter: see README.md.

import { Refusal, serve } from './e2esm.mjs';
import { GroupDevice } from './group.mjs';

// The library is a native module of 27 MB, and only devices need it.
const library = () => import('./signal.mjs');

class Device extends GroupDevice {
  static async create(id, notebook) {
    const { Signal } = await library();
    return new Device(id, notebook, Signal.create(id, notebook));
  }

  static restore(id, state, notebook) {
    return fromState(id, state, notebook);
  }

  static load(id, store, notebook) {
    return fromState(id, store, notebook);
  }

  store() {
    return written(this.state({ held: true }));
  }

  export_state() {
    return written(this.state({ held: false }));
  }
}

async function fromState(id, bytes, notebook) {
  const { Signal } = await library();
  try {
    const state = JSON.parse(Buffer.from(bytes).toString(), (_, value) => (
      typeof value === 'object' && value !== null && typeof value.base64 === 'string'
        ? new Uint8Array(Buffer.from(value.base64, 'base64'))
        : value
    ));
    if (state.device !== id) throw new Refusal('bad_request', `the state is ${state.device}'s, not ${id}'s`);
    return new Device(id, notebook, Signal.restore(id, notebook, state.keys)).resume(state);
  } catch (error) {
    throw error instanceof Refusal ? error : new Refusal('bad_request', `not a state: ${error.message}`);
  }
}

/** JSON with the library's records in it, in base64. */
function written(state) {
  const json = JSON.stringify(state, (_, value) => (
    value instanceof Uint8Array ? { base64: Buffer.from(value).toString('base64') } : value
  ));
  return new Uint8Array(Buffer.from(json));
}

const Passive = {
  create: async (start) => (await import('./passive.mjs')).Passive.create(start),
};

const ONLY_MLS = 'MLS only: there are no';

await serve({
  Device,
  Passive,
  description: {
    name: 'libsignal-client',
    implementation: 'libsignal',
    version: "0.103.0 (@signalapp/libsignal-client, Signal's own build for Node)",
    protocol: 'Signal (PQXDH, SPQR, Double Ratchet, Sender Keys)',
    cipher_suite: 'X25519, Kyber1024 and ML-KEM 768, XEdDSA, AES-256-CBC, HMAC-SHA-256, HKDF-SHA-256',
    crypto_provider: 'curve25519-dalek, libcrux-ml-kem, RustCrypto, in the native module of the package',
    configuration: {
      prekeys: 'a one-time X25519 and a one-time Kyber1024 prekey in each bundle, one signed X25519 prekey a device',
      addresses: "service ids made of the users' names, so that the addresses of both ends are under the tag of a message that opens a session",
      SPQR: "on: version 1, with the library's fallback for peers without it",
      padding: 'none: the library leaves it to the application',
      'safety number': '5200 iterations',
    },
    group_object: false,
    recorded: ['signal'],
    unsupported: {
      key_request: 'libsignal has no request for the keys of messages already sent',
      epochs: 'membership is managed by the server: there is no group state to agree on, and nothing is numbered',
      external_join: 'there is no public group information with which a device could join by its own act',
      ratchet_tree: `${ONLY_MLS} trees, and an invitation holds the list of members`,
      uninvited_join: "there is no joining by one's own act, invited or not",
      wrong_leaf_signature: `${ONLY_MLS} leaves`,
      wrong_parent_hash: `${ONLY_MLS} trees`,
      wrong_confirmation_tag: `${ONLY_MLS} commits`,
    },
  },
});
