// Who this is: the answer to `hello`.

const usual = {
  name: 'ts-mls',
  implementation: 'ts-mls',
  version: '1.6.4',
  protocol: 'MLS (RFC 9420)',
  cipher_suite: 'MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519 (0x0001)',
  crypto_provider: "defaultCryptoProvider: Node's WebCrypto, @hpke/core 1.9.0",
  configuration: {
    capabilities: 'defaultCapabilities(): all cipher suites of the library, basic and x509, and GREASE values drawn anew for each key package',
    credential: "basic, a JSON credential with a voucher by the user's account key",
    'epoch retention': 'defaultKeyRetentionConfig: 4 earlier epochs, 10 skipped generations, 200 generations forward',
    'handshake messages': 'PrivateMessage (the default); an external commit is a PublicMessage',
    'key package lifetime': 'defaultLifetime: without a practical end; not looked at on receipt (defaultLifetimeConfig)',
    padding: 'defaultPaddingConfig: to 256 bytes, application and handshake messages',
    'ratchet tree': "in the Welcome (ratchetTreeExtension; the library's default is without) and in the GroupInfo",
    'update path': 'as the library chooses: after a removal or an update, or where nothing is proposed',
    welcome: "one message for all new members (the library's way)",
  },
  group_object: true,
  recorded: ['mls'],
  unsupported: {
    key_distribution: "MLS derives every sender's keys from the group's secret: no key travels",
    pairwise_sessions: 'MLS has no pairwise sessions: a Welcome opens a group',
    resend: 'MLS encrypts to the group, never once more for one device',
    history: 'MLS has no way to hand keys of earlier epochs to a newcomer',
    key_request: 'MLS has no requests for the keys of messages',
    degenerate_key: 'the library makes the HPKE keys of a key package itself: no API takes one',
    forged_key_distribution: 'there is no key distribution to forge',
    rewritten_identity: 'there is no session-opening packet with an identity key to rewrite',
  },
};

/** The same for groups in which members have other implementations. */
const mixed = {
  ...usual,
  name: 'ts-mls-mixed',
  configuration: {
    ...usual.configuration,
    credential: 'basic, a client id with a JSON credential as its domain',
    fingerprint: 'MLS-Exporter("exporter", "", 32) instead of the epoch authenticator',
    'handshake messages': 'PublicMessage (wireAsPublicMessage); taken as either',
  },
};

export const descriptions = { usual, mixed };
