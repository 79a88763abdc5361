// Device names as libsignal's addresses.
//
// A `ProtocolAddress` is a name and a number from 1 to 127. Since 0.91 the addresses of both ends are under the tag of a
// message that opens a session, if both names are service ids; else it has none in it, and nothing is checked. So the
// name is the user's service id: a version 5 UUID of the user's name, the same at everybody. The number is a hash of the
// device's name, as in `adapters/libsignal`; where two names of one user collide, the one met later takes the next free
// number, and the two ends may then disagree about it.

import { createHash } from 'node:crypto';
import { Refusal } from './e2esm.mjs';

const NUMBERS = 127;
/** RFC 9562, section 6.6. */
const NAMESPACE_URL = Buffer.from('6ba7b8119dad11d180b400c04fd430c8', 'hex');

/** The user's service id, an ACI as text: `uuid5(NAMESPACE_URL, "e2esm:user:" + user)`. */
export function serviceId(user) {
  const hash = createHash('sha1').update(NAMESPACE_URL).update(`e2esm:user:${user}`).digest().subarray(0, 16);
  hash[6] = (hash[6] & 0x0f) | 0x50;
  hash[8] = (hash[8] & 0x3f) | 0x80;
  return hash.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
}

/** Which device an address stands for. Addresses are text here: `NAME.DEVICE`. */
export class AddressBook {
  #devices = new Map();

  /** The address of a device, given to it now if it has none. */
  address(device) {
    const holds = (address) => (this.#devices.get(address) ?? device) === device;
    const address = candidates(device).find(holds);
    if (!address) throw new Refusal('bad_request', `the user of ${device} has more than ${NUMBERS} devices`);
    this.#devices.set(address, device);
    return address;
  }

  /** The address of a device that has one. */
  find(device) {
    return candidates(device).find((address) => this.#devices.get(address) === device);
  }

  /** Whose address this is. */
  device(address) {
    return this.#devices.get(address);
  }
}

/** The two parts of an address. @throws Refusal `bad_request` for anything but `NAME.DEVICE` in its one spelling. */
export function parse(text) {
  const [, name, number] = /^(.+)\.([1-9][0-9]{0,2})$/s.exec(text) ?? [];
  if (!name || Number(number) > NUMBERS) {
    throw new Refusal('bad_request', `\`${text}\` is not an address: expected NAME.DEVICE, the device from 1 to ${NUMBERS}`);
  }
  return { name, number: Number(number) };
}

/** The addresses a device may have, the best first. */
function candidates(id) {
  const [user, device] = id.split('/');
  // FNV-1a: short, and the same in every language.
  let hash = 0x811c9dc5;
  for (const byte of Buffer.from(device)) hash = Math.imul(hash ^ byte, 0x01000193);
  const first = (hash >>> 0) % NUMBERS;
  const name = serviceId(user);
  return Array.from({ length: NUMBERS }, (_, step) => `${name}.${((first + step) % NUMBERS) + 1}`);
}
