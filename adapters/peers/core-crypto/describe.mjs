// Who the adapters are, and what they cannot do.

const COMMON = {
  implementation: 'core-crypto',
  version: '10.3.0',
};

const ATTACKS = 'the library makes all cryptography itself, in one wasm module: nothing of it can be bent';
const HPKE = 'the library makes the HPKE keys of a key package itself: no API takes one';

const MLS = {
  ...COMMON,
  name: 'core-crypto',
  protocol: 'MLS (RFC 9420)',
  cipher_suite: 'MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519 (0x0001)',
  crypto_provider: 'RustCrypto and dalek, in wasm',
  configuration: {
    build: 'the package for browsers, under Node',
    credential: 'basic; the domain of the client identity is the JSON of e2esm_account::Credential',
    'wire format': 'handshake messages are PublicMessage, made and taken; no API sets it',
    'required capabilities': 'a group that it makes requires basic and X.509 credentials of its members; no API sets it',
    'update path': 'where RFC 9420 demands one, or a change asks for a refresh: then in a commit of its own',
    'key package lifetime': 'three months, the default',
    'padding, past epochs, out-of-order tolerance, forward distance': '128, 3, 2, 1000; no API sets them',
    'messages of the next epoch': 'refused, and not kept: a refusal ends the transaction, and the buffer with it',
    'end-to-end identity': 'no PKI environment',
  },
  group_object: true,
  unsupported: {
    key_distribution: 'MLS has no sender keys that travel',
    pairwise_sessions: 'MLS has no pairwise sessions',
    resend: 'MLS has no pairwise sessions',
    history: 'MLS keeps no keys of earlier messages; what the library calls history sharing is a client of its own that reads along',
    key_request: 'MLS keeps no keys of earlier messages',
    ratchet_tree: 'the tree is always in the Welcome: no API leaves it out, or takes it beside',
    standard_keys: 'no API shows a private key',
    degenerate_key: HPKE,
    relabelled_sender: ATTACKS,
    wrong_leaf_signature: ATTACKS,
    wrong_parent_hash: ATTACKS,
    wrong_confirmation_tag: ATTACKS,
    forged_key_distribution: 'MLS has no sender keys that travel',
    rewritten_identity: "MLS has no session-opening packet that bears its sender's identity key",
  },
};

const NO_GROUPS = 'membership is managed by the server: there is no group state to agree on, and nothing is numbered';
const NO_TREE = 'MLS only: there is no tree';

const PROTEUS = {
  ...COMMON,
  name: 'core-crypto-proteus',
  protocol: 'Proteus',
  cipher_suite: 'Proteus version 1 (Curve25519, Ed25519, ChaCha20, HMAC-SHA-256)',
  crypto_provider: 'dalek and RustCrypto, in wasm',
  configuration: {
    build: 'the package for browsers, under Node',
    bundles: 'one-time prekeys, without signature: the library makes none',
    groups: 'fan-out at the sender: one packet with a ciphertext for each member',
    identity: 'an account key vouches for the library\'s identity key; the voucher goes with bundles and messages, outside the encryption',
    content: 'names its group and its sender',
    'after a refusal': 'the client is made anew from its database',
  },
  group_object: false,
  unsupported: {
    epochs: NO_GROUPS,
    key_distribution: 'each message is encrypted for each member: there are no sender keys',
    history: 'message keys are gone once used, and no API shows them',
    key_request: 'there are no keys that could be asked for',
    external_join: 'there is no public group information with which a device could join by its own act',
    uninvited_join: 'there is no joining by one\'s own act, invited or not',
    ratchet_tree: NO_TREE,
    standard_keys: 'no API shows a private key',
    wrong_leaf_signature: 'MLS only: there are no leaves',
    wrong_parent_hash: NO_TREE,
    wrong_confirmation_tag: 'MLS only: there are no commits',
    forged_key_distribution: 'there are no sender keys',
    broken_bundle: 'the library\'s bundles bear no signature',
  },
};

export function description(protocol) {
  return { mls: MLS, proteus: PROTEUS }[protocol];
}
