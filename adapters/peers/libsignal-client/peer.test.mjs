// What vectors do not show: two children talk to each other, in both directions, and what is stored is the same device.
//
//     node --test peer.test.mjs                                       two of these
//     OTHER='e2esm worker --adapter libsignal-rust' node --test peer.test.mjs     this one and the built-in one, too

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { after, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { AddressBook, parse, serviceId } from './address.mjs';
import { content, fromContent, sorted } from './wire.mjs';

const MINE = [process.execPath, fileURLToPath(new URL('main.mjs', import.meta.url))];
const OTHER = process.env.OTHER?.split(' ');
const GROUP = 'team';
const [ALICE, BOB, CAROL, TABLET] = ['alice/phone', 'bob/phone', 'carol/phone', 'bob/tablet'];

/** A child of either implementation. */
class Child {
  static #all = [];
  #next = 1;

  constructor(command) {
    this.signal103 = command === MINE;
    this.process = spawn(command[0], command.slice(1), { stdio: ['pipe', 'pipe', 'inherit'] });
    this.lines = createInterface({ input: this.process.stdout })[Symbol.asyncIterator]();
    Child.#all.push(this);
  }

  static async endAll() {
    for (const child of Child.#all.splice(0)) {
      child.process.stdin.end();
      await once(child.process, 'exit');
    }
  }

  async ask(request) {
    const id = this.#next++;
    this.process.stdin.write(`${JSON.stringify({ id, request })}\n`);
    const frame = JSON.parse((await this.lines.next()).value);
    assert.equal(frame.id, id);
    return frame;
  }

  async device(id, handle = id) {
    await this.ask({ device: { handle, id } });
    return new Device(this, id, handle);
  }
}

class Device {
  constructor(child, id, handle) {
    Object.assign(this, { child, id, handle });
  }

  /** The whole reply to a call. */
  async try(verb, fields = {}) {
    const { reply, events = [] } = await this.child.ask({ call: { handle: this.handle, call: { [verb]: fields } } });
    return { reply, events, answer: reply.ok && Object.values(reply.ok)[0] };
  }

  async call(verb, fields) {
    const { reply, answer } = await this.try(verb, fields);
    assert.ok(answer, `${this.handle} ${verb}: ${JSON.stringify(reply)}`);
    return answer;
  }

  receive(packet) {
    return this.try('receive', { packet });
  }
}

/** The server: hands each packet to those who are to have it, and gives back what they read. */
async function route(packets, devices, author) {
  const read = [];
  for (const packet of packets) {
    const { group, device, devices: several } = packet.to;
    const reached = devices.filter(({ id, handle }) => (
      group ? handle !== author.handle || packet.kind === 'change' : [device, ...several ?? []].includes(id)
    ));
    for (const receiver of reached) {
      if (packet.kind === 'change' && (await receiver.try('roster', { group: GROUP })).reply.error) continue;
      const { reply, answer } = await receiver.receive(packet);
      assert.ok(answer, `${receiver.handle} ${packet.kind}: ${JSON.stringify(reply)}`);
      if (answer.message) read.push(`${receiver.handle} ${answer.message.sender} ${text(answer.message.plaintext)}`);
    }
  }
  return read.sort();
}

const hex = (plain) => Buffer.from(plain).toString('hex');
const text = (plain) => Buffer.from(plain, 'hex').toString();

async function change(author, { add = [], remove = [], refresh = false }, devices) {
  const bundles = [];
  for (const device of add) bundles.push(await device.call('publish', { peer: author.id }));
  const { packets = [] } = await author.call('change', { group: GROUP, change: { add: bundles, remove, refresh } });
  await route(packets, devices, author);
}

/** Writes, after fetching the bundles that are missing; everybody else must have read it. */
async function say(author, words, devices) {
  for (const wanted of await author.call('wants', { group: GROUP })) {
    const peer = devices.find(({ id }) => id === wanted);
    await author.call('introduce', { bundle: await peer.call('publish', { peer: author.id }) });
  }
  const { packets } = await author.call('send', { group: GROUP, plaintext: hex(words) });
  const others = devices.filter(({ handle }) => handle !== author.handle);
  assert.deepEqual(await route(packets, devices, author), others.map(({ handle }) => `${handle} ${author.id} ${words}`).sort());
  return packets;
}

async function team(author, others) {
  await author.call('create_group', { group: GROUP });
  await change(author, { add: others }, [author, ...others]);
  return [author, ...others];
}

async function same(verb, one, other) {
  const value = (device, peer) => device.call(verb, { group: GROUP, peer: peer.id });
  assert.deepEqual(await value(one, other), await value(other, one));
}

const pairs = [['this and this', MINE, MINE]];
if (OTHER) pairs.push(['this and the other', MINE, OTHER], ['the other and this', OTHER, MINE]);

after(Child.endAll);

for (const [name, first, second] of pairs) {
  describe(name, () => {
    const phones = async () => {
      const [a, b] = [new Child(first), new Child(second)];
      return [await a.device(ALICE), await b.device(BOB), await a.device(CAROL)];
    };

    test('a group of three, 120 messages in turn and in a row, a removal and a rotation', async () => {
      const [alice, bob, carol] = await phones();
      const devices = await team(alice, [bob, carol]);
      for (let turn = 0; turn < 10; turn += 1) {
        for (const author of devices) for (let n = 0; n < 4; n += 1) await say(author, `${turn} ${n}`, devices);
      }
      await same('fingerprint', alice, bob);
      await same('fingerprint', carol, bob);
      await change(bob, { remove: [CAROL] }, devices);
      await change(alice, { refresh: true }, devices);
      await say(alice, 'carol has left', [alice, bob]);
      assert.equal((await carol.try('send', { group: GROUP, plaintext: '00' })).reply.error.class, 'not_member');
    });

    test('pairwise sessions go round many times, also out of order', async () => {
      const [alice, bob] = await phones();
      const devices = await team(alice, [bob]);
      await say(alice, 'a', devices);
      await say(bob, 'b', devices);
      for (let turn = 0; turn < 40; turn += 1) {
        // A fresh key each time goes through the session; the first of two comes last.
        const packets = [];
        for (const author of [alice, alice, bob]) {
          await author.call('change', { group: GROUP, change: { add: [], remove: [], refresh: true } });
          packets.push((await author.call('send', { group: GROUP, plaintext: hex(`${turn}`) })).packets);
        }
        assert.equal(packets[0].some(({ opens_session: opens }) => opens), false);
        for (const [index, author] of [[1, alice], [0, alice], [2, bob]]) {
          assert.equal((await route(packets[index], devices, author)).length, 1);
        }
      }
    });

    test('a device is linked by one of the other implementation', async () => {
      const [alice, bob] = await phones();
      const devices = await team(alice, [bob]);
      await say(alice, 'before', devices);
      const tablet = await alice.child.device(TABLET);
      const request = await tablet.call('link_request');
      await tablet.call('accept_authorisation', { authorisation: await bob.call('authorise', { request }) });
      assert.deepEqual(await tablet.call('identity'), await bob.call('identity'));
      await change(alice, { add: [tablet] }, [...devices, tablet]);
      for (const author of [tablet, bob, alice]) await say(author, author.id, [...devices, tablet]);
    });

    test('a reinstalled device has another key, and everybody is told', async () => {
      const [alice, bob, carol] = await phones();
      const devices = await team(alice, [bob, carol]);
      for (const author of devices) await say(author, 'before', devices);
      const again = await bob.child.device(BOB, 'bob again');
      const bundle = await again.call('publish', { peer: ALICE });
      const { events } = await alice.try('introduce', { bundle });
      assert.deepEqual(events.filter(({ event }) => event === 'key_changed'), [{ event: 'key_changed', device: BOB }]);
      const asked = events.find(({ about }) => about?.fact === 'identity');
      assert.equal(asked.about.previous, (await bob.call('identity')).account_key);
      await change(alice, { remove: [BOB] }, [alice, carol]);
      await change(alice, { add: [again] }, [alice, carol, again]);
      for (const author of [again, alice, carol]) await say(author, 'after', [alice, carol, again]);
    });

    test('a first message under another name is refused where both ends have addresses under its tag', async () => {
      const [alice, bob, carol] = await phones();
      const devices = await team(alice, [bob, carol]);
      await carol.call('introduce', { bundle: await bob.call('publish', { peer: CAROL }) });
      const { packets } = await carol.call('send', { group: GROUP, plaintext: hex('hello') });
      const first = packets.find(({ to }) => to.device === BOB);
      assert.equal(first.opens_session, true);
      const { reply } = await bob.receive({ ...first, from: ALICE });
      if (alice.child.signal103 && bob.child.signal103) {
        assert.equal(reply.error.class, 'auth_failed');
        assert.deepEqual(await route(packets, [bob], carol), [`${BOB} ${CAROL} hello`]);
      } else {
        assert.ok(reply.ok, 'before 0.91 nothing but the question about the key stands against it');
      }
    });

    test('what one device was given is read by a passive one of either implementation', async () => {
      const [alice, bob] = await phones();
      await team(alice, [bob]);
      const bundle = await alice.call('publish', { peer: BOB });
      const start = await alice.call('standard_keys');
      await bob.call('introduce', { bundle });
      for (const child of [alice.child, bob.child]) await child.ask({ passive: { handle: 'passive', start } });
      for (const words of ['one', 'two']) {
        const { packets } = await bob.call('send', { group: GROUP, plaintext: hex(words) });
        for (const packet of packets) {
          const { answer } = await alice.receive(packet);
          for (const delivery of await alice.call('transcript')) {
            const told = [];
            for (const child of [alice.child, bob.child]) {
              told.push((await child.ask({ deliver: { handle: 'passive', delivery } })).reply);
            }
            if (delivery.kind === 'prekey_message' && !alice.child.signal103 && bob.child.signal103) {
              // Under the tag are the service ids that this one's live devices have; the other's recording names users.
              assert.ok(told[0].ok);
              assert.equal(told[1].error.class, 'auth_failed');
              return;
            }
            assert.ok(told[0].ok, JSON.stringify(told));
            assert.deepEqual(told[0], told[1]);
            if (delivery.kind === 'sender_key_message') {
              assert.equal(told[0].ok.delivered.plaintext, answer.message.plaintext);
            }
          }
        }
      }
    });
  });
}

describe('this alone', () => {
  test('a call that waits leaves everything as it was, and goes on', async () => {
    const [a, b] = [new Child(MINE), new Child(MINE)];
    const [alice, bob] = [await a.device(ALICE), await b.device(BOB)];
    const devices = await team(alice, [bob]);
    const state = await bob.call('export_state');
    const { packets: [key] } = await alice.call('send', { group: GROUP, plaintext: hex('hello') });
    await b.ask({ stance: { handle: BOB, stance: 'ask' } });
    await bob.receive(key);
    assert.equal(await bob.call('export_state'), state);
    const { reply: { undecided } } = await bob.receive(key);
    assert.equal(undecided.fact.fact, 'identity');
    const { reply, events } = await b.ask({ resume: { handle: BOB, token: undecided.token, answer: true } });
    assert.ok(reply.ok);
    assert.deepEqual(events.map(({ event }) => event), ['consulted', 'session_opened', 'key_accepted']);

    const before = await alice.call('export_state');
    await a.ask({ stance: { handle: ALICE, stance: 'ask' } });
    const bundle = await bob.call('publish', { peer: ALICE });
    const resend = { group: GROUP, plaintext: hex('hello'), bundle, acknowledged: false };
    const first = (await alice.try('resend', resend)).reply.undecided;
    const second = (await a.ask({ resume: { handle: ALICE, token: first.token, answer: true } })).reply.undecided;
    assert.deepEqual([first.fact.fact, second.fact.fact], ['resend', 'identity']);
    assert.equal(await alice.call('export_state'), before);
    assert.equal(devices.length, 2);
  });

  test('what is refused inside a pairwise message is held for the right delivery', async () => {
    const child = new Child(MINE);
    const [alice, bob] = [await child.device(ALICE), await child.device(BOB)];
    await team(alice, [bob]);
    await bob.call('create_group', { group: 'other' });
    const { packets: [key, message] } = await alice.call('send', { group: GROUP, plaintext: hex('hello') });
    assert.equal((await bob.receive({ ...key, group: 'other' })).reply.error.class, 'bad_request');
    assert.equal((await bob.receive({ ...key, kind: 'message' })).reply.error.class, 'bad_request');
    assert.ok((await bob.receive(key)).answer);
    assert.equal((await bob.receive(key)).reply.error.class, 'duplicate');
    assert.equal(text((await bob.receive(message)).answer.message.plaintext), 'hello');
  });

  test('a stored device goes on, and a stolen one reads until its keys are replaced', async () => {
    const [a, b, c] = [new Child(MINE), new Child(MINE), new Child(MINE)];
    const [alice, bob] = [await a.device(ALICE), await b.device(BOB)];
    await team(alice, [bob]);
    await say(alice, 'one', [alice, bob]);
    await c.ask({ load: { handle: BOB, id: BOB, store: await bob.call('store') } });
    const loaded = new Device(c, BOB, BOB);
    for (const author of [loaded, alice, loaded]) await say(author, 'two', [alice, loaded]);
    await c.ask({ restore: { handle: 'thief', id: BOB, state: await loaded.call('export_state') } });
    await say(alice, 'three', [alice, loaded, new Device(c, BOB, 'thief')]);
    const { reply } = await c.ask({ load: { handle: 'x', id: CAROL, store: await loaded.call('store') } });
    assert.equal(reply.error.class, 'bad_request');
  });

  test('addresses are the same everywhere, one for each device until the numbers run out', () => {
    // Python: uuid.uuid5(uuid.NAMESPACE_URL, 'e2esm:user:alice')
    assert.equal(serviceId('alice'), '2cb06922-1937-55a1-991a-e70cf5893448');
    const book = new AddressBook();
    const devices = Array.from({ length: 127 }, (_, n) => `bob/device ${n}`);
    const addresses = devices.map((device) => book.address(device));
    assert.equal(new Set(addresses).size, 127);
    devices.forEach((device, index) => {
      assert.equal(book.find(device), addresses[index]);
      assert.equal(book.device(addresses[index]), device);
    });
    assert.throws(() => book.address('bob/one too many'));
    assert.deepEqual(parse('bob.b.127'), { name: 'bob.b', number: 127 });
    for (const wrong of ['', 'bob', 'bob.', '.1', 'bob.0', 'bob.128', 'bob.01', 'bob.+1', 'bob.1 ', 'bob.x']) {
      assert.throws(() => parse(wrong), { errorClass: 'bad_request' }, wrong);
    }
  });

  test('the framing of pairwise messages survives the journey, and no part of it passes for the whole', () => {
    const plaintext = content('team', { senderKey: Uint8Array.of(1, 2) });
    assert.equal(Buffer.from(plaintext).toString('hex'), '01000000047465616d0102');
    assert.deepEqual(fromContent(plaintext), { group: 'team', body: { senderKey: Uint8Array.of(1, 2) } });
    for (let end = 0; end < 9; end += 1) assert.throws(() => fromContent(plaintext.subarray(0, end)));
    assert.throws(() => fromContent(Uint8Array.of(9, 0, 0, 0, 0)));
    assert.deepEqual(sorted(['bobby/a', 'bob/z', 'bob!/b', 'bob/z']), ['bob/z', 'bob!/b', 'bobby/a']);
  });
});
