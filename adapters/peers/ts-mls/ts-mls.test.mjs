// What vectors do not show: `node --test` in an installed copy of this folder.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Account, shown } from './account.mjs';
import { Device, MixedDevice } from './device.mjs';
import { Notebook } from './e2esm.mjs';

const GROUP = 'friends';
const text = (bytes) => new TextDecoder().decode(bytes);
const bytes = (words) => new TextEncoder().encode(words);

async function device(id, stance = 'yes', Kind = Device) {
  const notebook = new Notebook();
  notebook.setStance(stance);
  return { id, notebook, device: await Kind.create(id, notebook) };
}

async function added(by, ...newcomers) {
  const add = [];
  for (const { device: newcomer } of newcomers) add.push(await newcomer.publish());
  return (await by.device.change({ group: GROUP, change: { add, remove: [], refresh: false } })).packets;
}

/** Alice's group with bob in it. */
async function friends(AliceKind = Device, BobKind = AliceKind) {
  const [alice, bob] = [await device('alice/phone', 'yes', AliceKind), await device('bob/phone', 'yes', BobKind)];
  await alice.device.create_group({ group: GROUP });
  const [change, welcome] = await added(alice, bob);
  await alice.device.receive({ packet: change });
  await bob.device.receive({ packet: welcome });
  return { alice, bob };
}

async function sent(by, words) {
  const { packets: [packet] } = await by.device.send({ group: GROUP, plaintext: bytes(words) });
  return packet;
}

const read = async (by, packet) => text((await by.device.receive({ packet })).message.plaintext);
const refuses = (work, errorClass) => assert.rejects(work, (error) => error.errorClass === errorClass, errorClass);
const fingerprint = async ({ device: at }) => (await at.fingerprint({ group: GROUP })).value;

test('a credential is the JSON that the other MLS adapters write', () => {
  const account = Account.create('b\u{f6}b/phone', new Uint8Array(32));
  const written = text(account.credential());
  assert.match(written, /^\{"device":"b\u{f6}b\/phone","account_key":"[0-9a-f]{64}","voucher":"[0-9a-f]{128}"\}$/u);
  const credential = (identity) => ({ credentialType: 'basic', identity: bytes(identity) });
  assert.deepEqual(shown(credential(written), account.deviceKey).identity, account.identity());
  const identity = Buffer.from(account.credential(true));
  assert.equal(text(identity), `00000000-0000-4000-8000-000000000000:0@${written}`);
  assert.deepEqual(shown({ credentialType: 'basic', identity }, account.deviceKey).identity, account.identity());
  for (const junk of [`@${written}`, '', '{}', '{"device":"bob/phone"}', written.replace('}', ',"more":""}'), written.replace('/', ' ')]) {
    assert.throws(() => shown(credential(junk), account.deviceKey), { errorClass: 'bad_request' });
  }
});

test('a linked device shows the account that vouched for it, and vouches for nobody', () => {
  const phone = Account.create('bob/phone', bytes('phone'));
  const tablet = Account.create('bob/tablet', bytes('tablet'));
  const grant = phone.authorise({ device: 'bob/tablet', device_key: bytes('tablet') });
  const linked = tablet.accept(grant);
  assert.deepEqual(linked.identity().account_key, phone.identity().account_key);
  assert.throws(() => phone.accept(grant), { errorClass: 'bad_request' });
  assert.throws(() => linked.authorise({ device: 'bob/car', device_key: bytes('car') }), { errorClass: 'bad_request' });
});

test('what is read while a change waits is not read again after it', async () => {
  const { alice, bob } = await friends();
  const { packets: [change] } = await alice.device.change({ group: GROUP, change: { add: [], remove: [], refresh: true } });
  const early = await sent(bob, 'early');
  const late = await sent(bob, 'late');
  assert.equal(await read(alice, early), 'early');
  for (const { device: at } of [alice, bob]) await at.receive({ packet: change });
  await refuses(alice.device.receive({ packet: early }), 'no_key');
  assert.equal(await read(alice, late), 'late');
  assert.equal(await fingerprint(alice), await fingerprint(bob));
});

test('a device goes on from what it stored, with a change that waits', async () => {
  const { alice, bob } = await friends();
  const { packets: [change] } = await alice.device.change({ group: GROUP, change: { add: [], remove: [], refresh: true } });
  const again = { ...alice, device: await Device.load(alice.id, alice.device.store(), alice.notebook) };
  assert.deepEqual(again.device.identity(), alice.device.identity());
  assert.equal(await read(again, await sent(bob, 'before')), 'before');
  for (const { device: at } of [again, bob]) await at.receive({ packet: change });
  assert.equal(await read(bob, await sent(again, 'after')), 'after');
  assert.equal(await fingerprint(again), await fingerprint(bob));
  await refuses(Device.restore('carol/phone', alice.device.export_state(), new Notebook()), 'bad_request');
});

test('a no leaves the device as it was, and a yes does what the library does', async () => {
  const { alice, bob } = await friends();
  const carol = await device('carol/phone');
  const [change, welcome] = await added(alice, carol);
  for (const stance of ['no', 'ask']) {
    bob.notebook.setStance(stance);
    await assert.rejects(bob.device.receive({ packet: change }));
  }
  assert.equal(bob.notebook.takeWaiting().fact, 'identity');
  bob.notebook.takeEvents();
  bob.notebook.setStance('yes');
  for (const { device: at } of [alice, bob]) await at.receive({ packet: change });
  const points = bob.notebook.takeEvents().map(({ event, point, about }) => [event, point, about?.fact]);
  assert.deepEqual(points, [
    ['consulted', 'AuthenticationService.validateCredential', 'identity'],
    ['consulted', 'IncomingMessageCallback', 'add'],
    ['member_added', undefined, undefined],
  ]);
  await carol.device.receive({ packet: welcome });
  assert.equal(await fingerprint(carol), await fingerprint(bob));
});

test('a newcomer is asked about under the name that was wanted', async () => {
  const alice = await device('alice/phone', 'ask');
  const mallory = await device('mallory/phone');
  await alice.device.create_group({ group: GROUP });
  const bundle = { ...await mallory.device.publish(), device: 'bob/phone' };
  const change = { add: [bundle], remove: [], refresh: false };
  await assert.rejects(alice.device.change({ group: GROUP, change }));
  const fact = alice.notebook.takeWaiting();
  assert.equal(fact.device, 'bob/phone');
  assert.equal(fact.identity.device_key, Buffer.from(mallory.device.identity().device_key).toString('hex'));
});

test('a refresh beside an addition is refused: the library has no way to force a path', async () => {
  const { alice } = await friends();
  const carol = await device('carol/phone');
  const change = { add: [await carol.device.publish()], remove: [], refresh: true };
  await refuses(alice.device.change({ group: GROUP, change }), 'bad_request');
});

test('a welcome is for one key package, once', async () => {
  const { alice } = await friends();
  const carol = await device('carol/phone');
  const [change, welcome] = await added(alice, carol);
  await alice.device.receive({ packet: change });
  await carol.device.receive({ packet: welcome });
  const mark = await fingerprint(carol);
  await refuses(carol.device.receive({ packet: welcome }), 'no_key');
  assert.equal(await fingerprint(carol), mark);
});

test('for a mixed group commits are public, and either end reads the other', async () => {
  for (const [one, other] of [[MixedDevice, MixedDevice], [MixedDevice, Device], [Device, MixedDevice]]) {
    const { alice, bob } = await friends(one, other);
    for (const [author, Kind] of [[alice, one], [bob, other]]) {
      const { packets: [change] } = await author.device.change({ group: GROUP, change: { add: [], remove: [], refresh: true } });
      assert.equal(change.bytes[3], Kind.mixed ? 1 : 2);
      for (const { device: at } of [alice, bob]) await at.receive({ packet: change });
      assert.equal(await read(alice, await sent(bob, 'hello')), 'hello');
    }
    assert.equal(await fingerprint(alice) === await fingerprint(bob), one === other);
    const again = await one.load(alice.id, alice.device.store(), alice.notebook);
    assert.equal(again.mixed, one.mixed);
  }
});
