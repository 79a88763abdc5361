// Names and keys: the account key that vouches for a user's devices, and how both get into a credential.
//
// The same as adapters/account, bytes and all, with one difference: the library takes nothing for a client's identity but
// `UUID:HEX@DOMAIN` (crypto/src/mls/session/id.rs:84), and so the credential's JSON is the domain.

import { createPrivateKey, createPublicKey, generateKeyPairSync, sign } from 'node:crypto';
import { Refusal } from './e2esm.mjs';

const CONTEXT = Buffer.from('E2ESM device voucher v1\0');
const PKCS8 = Buffer.from('302e020100300506032b657004220420', 'hex');

/** The rest of a client identity. It says nothing, and is the same for everybody, with other implementations too. */
const UUID = '00000000-0000-4000-8000-000000000000';
const CLIENT_ID = `${UUID}:0@`;

/** An Ed25519 key from its seed. */
export function signingKey(seed) {
  return createPrivateKey({ key: Buffer.concat([PKCS8, seed]), format: 'der', type: 'pkcs8' });
}

export function publicKey(key) {
  return createPublicKey(key).export({ format: 'der', type: 'spki' }).subarray(-32);
}

export function freshSeed() {
  return generateKeyPairSync('ed25519').privateKey.export({ format: 'der', type: 'pkcs8' }).subarray(-32);
}

/** What an account key signs. */
function statement(device, deviceKey) {
  const [user, name] = device.split('/');
  const parts = [Buffer.from(user), Buffer.from(name), deviceKey];
  return Buffer.concat([CONTEXT, ...parts.flatMap((part) => {
    const length = Buffer.alloc(8);
    length.writeBigUInt64BE(BigInt(part.length));
    return [length, part];
  })]);
}

/** A device's share of its user's account: the key pair (first device) or a voucher (linked device). */
export class Account {
  static fresh(device, deviceKey) {
    const secret = freshSeed();
    const accountKey = publicKey(signingKey(secret));
    return new Account({ device, deviceKey, secret, accountKey, voucher: sign(null, statement(device, deviceKey), signingKey(secret)) });
  }

  constructor({ device, deviceKey, secret, accountKey, voucher }) {
    Object.assign(this, { device, deviceKey, secret, accountKey, voucher });
  }

  static fromJson(given) {
    const bytes = (text) => (text === null ? null : Buffer.from(text, 'hex'));
    const { device, device_key, secret, account_key, voucher } = given;
    return new Account({
      device, deviceKey: bytes(device_key), secret: bytes(secret), accountKey: bytes(account_key), voucher: bytes(voucher),
    });
  }

  toJson() {
    return {
      device: this.device,
      device_key: hex(this.deviceKey),
      secret: this.secret ? hex(this.secret) : null,
      account_key: hex(this.accountKey),
      voucher: hex(this.voucher),
    };
  }

  identity() {
    return { account_key: this.accountKey, device_key: this.deviceKey, voucher: this.voucher };
  }

  /** The credential's content, as adapters/account writes it. */
  credential() {
    return JSON.stringify({ device: this.device, account_key: hex(this.accountKey), voucher: hex(this.voucher) });
  }

  authorise(request) {
    if (!this.secret) throw new Refusal('bad_request', `${this.device} holds no account key: it is a linked device`);
    const voucher = sign(null, statement(request.device, request.device_key), signingKey(this.secret));
    const grant = JSON.stringify({ account_key: hex(this.accountKey), voucher: hex(voucher) });
    return { device: request.device, bytes: Buffer.from(grant) };
  }

  /** The same device as a linked one of the account that the authorisation is from. */
  linked(authorisation) {
    if (authorisation.device !== this.device) {
      throw new Refusal('bad_request', `the authorisation is for ${authorisation.device}, this device is ${this.device}`);
    }
    const grant = json(Buffer.from(authorisation.bytes), 'malformed authorisation', ['account_key', 'voucher']);
    return new Account({ ...this, secret: null, accountKey: Buffer.from(grant.account_key, 'hex'), voucher: Buffer.from(grant.voucher, 'hex') });
  }
}

/** The client identity with this content. */
export function clientId(cc, content) {
  return new cc.ClientId(new cc.Uuid(UUID), new cc.DeviceId(0n), content);
}

/** The same of a client identity, which the library gives only where it can read the credential (crypto/src/mls/credential/ext.rs:37). */
export function named(client) {
  if (!client) throw new Refusal('bad_request', 'a credential that is not UUID:HEX@DOMAIN, for which the library shows no client');
  return shown(client.copyBytes());
}

/** Who a credential says that its leaf is: a name, an account key and a voucher. JSON alone is what other adapters write. */
export function shown(identity) {
  const bytes = Buffer.from(identity);
  const content = bytes.subarray(0, CLIENT_ID.length).toString() === CLIENT_ID ? bytes.subarray(CLIENT_ID.length) : bytes;
  const credential = json(content, 'not a credential of this suite', ['device', 'account_key', 'voucher']);
  if (!/^[^/]+\/[^/]+$/.test(credential.device)) throw new Refusal('bad_request', `not a device: ${credential.device}`);
  return {
    device: credential.device,
    accountKey: Buffer.from(credential.account_key, 'hex'),
    voucher: Buffer.from(credential.voucher, 'hex'),
  };
}

export function json(bytes, complaint, fields) {
  let object;
  try {
    object = JSON.parse(bytes.toString());
  } catch (error) {
    throw new Refusal('bad_request', `${complaint}: ${error.message}`);
  }
  const named = typeof object === 'object' && object !== null ? Object.keys(object) : [];
  if (named.length !== fields.length || !fields.every((name) => typeof object[name] === 'string')) {
    throw new Refusal('bad_request', `${complaint}: other fields`);
  }
  return object;
}

export function hex(bytes) {
  return Buffer.from(bytes).toString('hex');
}
