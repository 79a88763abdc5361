// An adapter's skeleton: it runs, and honestly says `unsupported` to everything that it does not do yet.
//
// Write the methods below `Device` over your library, from top to bottom, and add those that you need from METHODS in
// e2esm.mjs. What has no method is declared unsupported by itself; `unsupported` in the description is for better reasons.
// PROTOCOL.md of the project says what each call is to do.

import { randomBytes } from 'node:crypto';

import { Refusal, serve } from './e2esm.mjs';

const description = {
  name: 'my-adapter', // unique: at most 64 of a-z, 0-9, -, _ and ., not beginning with .
  implementation: 'my library',
  version: '0.0.0', // of the library, exactly
  protocol: 'none yet',
  cipher_suite: 'none yet',
  crypto_provider: 'none yet',
  configuration: {}, // each setting that bears on an outcome, name to value
  group_object: false, // whether the library itself has groups
  unsupported: {
    groups: 'not written yet: create_group, change, wants, send and receive come first',
    // No method stands for these: once there are groups, take out what your protocol has, and give the reason for the rest.
    third_member: 'not written yet: a group has two members at most',
    epochs: 'not written yet: members do not agree on a numbered group state',
    key_distribution: 'not written yet: no sender keys travel in packets of their own',
  },
};

/** One user's one client. `id` is who it claims to be: `user/device`. Nothing is shared between devices. */
class Device {
  constructor(id, notebook) {
    this.id = id;
    this.notebook = notebook; // consult, require, note: see e2esm.mjs
    this.key = randomBytes(32); // your library's key pair goes here
    this.groups = new Map();
  }

  /** The public keys that this device stands for. With one key only, both are equal and the voucher is empty. */
  identity() {
    return { account_key: this.key, device_key: this.key, voucher: new Uint8Array() };
  }

  /** Who is in the group, as this device sees it. */
  roster({ group }) {
    const members = this.groups.get(group);
    if (!members) throw new Refusal('bad_request', `no group ${group}`);
    return { members: [...members].sort(), authenticated: false };
  }

  // publish({ peer }) { return { device: this.id, bytes } }
  // create_group({ group }) { this.groups.set(group, new Set([this.id])); }
  // change({ group, change }) { return { packets: [{ kind: 'change', group, from: this.id, to: { group }, bytes }, ...] } }
  // wants({ group }) { return []; }
  // send({ group, plaintext }) { return { packets: [{ kind: 'message', group, from: this.id, to: { group }, bytes }] } }
  // receive({ packet }) { return { message: { group: packet.group, sender, plaintext } } }
}

await serve({ description, Device });
