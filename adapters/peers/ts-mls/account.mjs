// A credential in which a device's key is vouched for by its user's account key: the scheme that the suite's MLS adapters
// share (`adapters/account`), byte for byte, because RFC 9420 leaves credentials to the application.

import { createPrivateKey, createPublicKey, randomBytes, sign } from 'node:crypto';
import { Refusal } from './e2esm.mjs';

const CONTEXT = Buffer.from('E2ESM device voucher v1\0');
/**
 * What stands before a credential's content where a group has members whose library takes nothing for an identity but Wire's
 * client ids, `UUID:HEX@DOMAIN`: the content is the domain. It says nothing, and so it is the same for everybody.
 */
const CLIENT_ID = '00000000-0000-4000-8000-000000000000:0@';
/** PKCS #8 of an Ed25519 private key (RFC 8410, section 7), up to its seed. */
const PKCS8 = Buffer.from('302e020100300506032b657004220420', 'hex');

const hex = (bytes) => Buffer.from(bytes).toString('hex');
const unhex = (text) => new Uint8Array(Buffer.from(text, 'hex'));

function signingKey(seed) {
  return createPrivateKey({ key: Buffer.concat([PKCS8, seed]), format: 'der', type: 'pkcs8' });
}

/** What an account key signs: the context string, the device's name and the device's key, each with its length. */
function statement(device, deviceKey) {
  const slash = device.indexOf('/');
  const parts = [Buffer.from(device.slice(0, slash)), Buffer.from(device.slice(slash + 1)), Buffer.from(deviceKey)];
  return Buffer.concat([CONTEXT, ...parts.flatMap((part) => {
    const length = Buffer.alloc(8);
    length.writeBigUInt64BE(BigInt(part.length));
    return [length, part];
  })]);
}

/** One device's share of its user's account: the account key pair (first device) or a voucher (linked device). */
export class Account {
  /** `secret` is the account key's seed; a linked device has none. */
  constructor(device, deviceKey, secret, accountKey, voucher) {
    Object.assign(this, { device, deviceKey, secret, accountKey, voucher });
  }

  /** A fresh account whose only device is `device` with the public key `deviceKey`. */
  static create(device, deviceKey) {
    const seed = randomBytes(32);
    const key = signingKey(seed);
    const accountKey = createPublicKey(key).export({ format: 'der', type: 'spki' }).subarray(-32);
    const voucher = sign(null, statement(device, deviceKey), key);
    return new Account(device, deviceKey, new Uint8Array(seed), new Uint8Array(accountKey), new Uint8Array(voucher));
  }

  static fromJSON({ device, device_key, secret, account_key, voucher }) {
    return new Account(device, unhex(device_key), secret === null ? null : unhex(secret), unhex(account_key), unhex(voucher));
  }

  toJSON() {
    return {
      device: this.device,
      device_key: hex(this.deviceKey),
      secret: this.secret === null ? null : hex(this.secret),
      account_key: hex(this.accountKey),
      voucher: hex(this.voucher),
    };
  }

  identity() {
    return { account_key: this.accountKey, device_key: this.deviceKey, voucher: this.voucher };
  }

  /** The identity in this device's basic credential: JSON with the fields in this order, in a mixed group as a client id's domain. */
  credential(mixed = false) {
    const { device, accountKey, voucher } = this;
    const content = JSON.stringify({ device, account_key: hex(accountKey), voucher: hex(voucher) });
    return new TextEncoder().encode(mixed ? CLIENT_ID + content : content);
  }

  /** Vouches for another device. Checks nothing: whoever calls it has decided. */
  authorise({ device, device_key }) {
    if (this.secret === null) {
      throw new Refusal('bad_request', `${this.device} holds no account key: it is a linked device`);
    }
    const voucher = sign(null, statement(device, device_key), signingKey(this.secret));
    const grant = JSON.stringify({ account_key: hex(this.accountKey), voucher: hex(voucher) });
    return { device, bytes: new TextEncoder().encode(grant) };
  }

  /** This device's account after it has taken the word of an existing device: it is now a linked one of that account. */
  accept({ device, bytes }) {
    if (device !== this.device) {
      throw new Refusal('bad_request', `the authorisation is for ${device}, this device is ${this.device}`);
    }
    const grant = fields(bytes, { account_key: HEX, voucher: HEX }, 'authorisation');
    return new Account(this.device, this.deviceKey, null, unhex(grant.account_key), unhex(grant.voucher));
  }
}

const HEX = /^([0-9a-f]{2})*$/;
const DEVICE = /^[^/]+\/[^/]+$/;

/** The JSON object in these bytes, if it has exactly these fields. */
function fields(bytes, shape, what) {
  let found;
  try {
    found = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (error) {
    throw new Refusal('bad_request', `malformed ${what}: ${error.message}`);
  }
  const names = Object.keys(found ?? {});
  const fits = ([name, form]) => typeof found[name] === 'string' && form.test(found[name]);
  if (names.length !== Object.keys(shape).length || !Object.entries(shape).every(fits)) {
    throw new Refusal('bad_request', `malformed ${what}`);
  }
  return found;
}

/** The JSON in a credential's identity: all of it, or what follows the rest of a client id. */
function content(identity) {
  const prefixed = Buffer.from(identity.subarray(0, CLIENT_ID.length)).toString('latin1') === CLIENT_ID;
  return prefixed ? identity.subarray(CLIENT_ID.length) : identity;
}

/** What a leaf shows: the device's name and the identity that its credential claims for the leaf's signature key. */
export function shown(credential, signatureKey) {
  if (credential.credentialType !== 'basic') throw new Refusal('bad_request', 'not a basic credential');
  const { device, account_key, voucher } = fields(
    content(credential.identity), { device: DEVICE, account_key: HEX, voucher: HEX }, 'credential of this suite',
  );
  return { device, identity: { account_key: unhex(account_key), device_key: signatureKey, voucher: unhex(voucher) } };
}

/** The same of a leaf node. */
export const shownBy = (leaf) => shown(leaf.credential, leaf.signaturePublicKey);
