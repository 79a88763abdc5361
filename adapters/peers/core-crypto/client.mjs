// What a device over core-crypto has, whatever it speaks: a database, transactions, an account, and a state that can be copied.

import { Account, hex } from './account.mjs';
import { Refusal } from './e2esm.mjs';
import { refused } from './errors.mjs';
import { Library } from './library.mjs';

/** Ends a transaction that was only to see what would come of it. */
export class Enough extends Error {}

export class Client {
  constructor(id, notebook) {
    this.id = id;
    this.notebook = notebook;
  }

  /** An empty database. */
  async begin() {
    this.library = await Library.shared();
    this.file = await this.library.empty();
  }

  /** Calls the library. What is thrown in it comes out as it went in, and has taken it back. */
  async transaction(doing, work) {
    try {
      return await this.library.transaction(this.core, work);
    } catch (error) {
      throw refused(doing, error);
    }
  }

  /** The same, and takes it back in any case. */
  async trial(doing, work) {
    let outcome;
    try {
      await this.transaction(doing, async (context) => {
        outcome = await work(context);
        throw new Enough();
      });
    } catch (error) {
      if (!(error instanceof Enough)) throw error;
    }
    return outcome;
  }

  async link_request() {
    return { device: this.id, device_key: this.account.deviceKey };
  }

  async authorise({ request }) {
    return this.account.authorise(request);
  }

  async identity() {
    return this.account.identity();
  }

  /** The database's file with its key, the account, and what else there is. */
  async keep(more) {
    return Buffer.from(JSON.stringify({
      name: this.file.name,
      blocks: await this.library.blocks(this.file.name),
      storage_key: hex(this.file.key),
      account: this.account.toJson(),
      ...more,
    }));
  }

  /** The other direction; answers what else there was. */
  async take(store) {
    let kept;
    try {
      kept = JSON.parse(Buffer.from(store).toString());
      if (!Array.isArray(kept.blocks)) throw new SyntaxError('no blocks');
    } catch (error) {
      throw new Refusal('bad_request', `not a state of this adapter: ${error.message}`);
    }
    this.library = await Library.start(kept.blocks.map((block) => ({ ...block, path: kept.name })));
    this.account = Account.fromJson(kept.account);
    this.file = await this.library.open(kept.name, Buffer.from(kept.storage_key, 'hex'));
    return kept;
  }
}
