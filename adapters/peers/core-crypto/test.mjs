// What vectors do not show: run in an installed copy with `node --test test.mjs`.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Notebook } from './e2esm.mjs';
import * as mls from './mls.mjs';
import * as proteus from './proteus.mjs';

const group = 'friends';
const hello = Buffer.from('hello');
const refusedAs = (errorClass) => (error) => error.errorClass === errorClass;

/** Alice's group with the others in it. */
async function friends({ Device }, ...names) {
  const devices = [];
  for (const name of names) devices.push(await Device.create(`${name}/phone`, new Notebook()));
  const [alice, ...others] = devices;
  await alice.create_group({ group });
  const add = [];
  for (const device of others) add.push(await device.publish());
  const { packets } = await alice.change({ group, change: { add, remove: [], refresh: false } });
  await alice.receive({ packet: packets[0] });
  for (const device of others) await device.receive({ packet: packets[1] });
  return devices;
}

async function sent(from) {
  return (await from.send({ group, plaintext: hello })).packets[0];
}

async function reads(device, packet) {
  const { message } = await device.receive({ packet });
  assert.deepEqual({ ...message, plaintext: Buffer.from(message.plaintext) }, { group, sender: packet.from, plaintext: hello });
}

const change = (add, remove, refresh = false) => ({ group, change: { add, remove, refresh } });

test('an MLS change waits while messages go on, and is the same when it comes back', async () => {
  const [alice, bob, carol] = await friends(mls, 'alice', 'bob', 'carol');
  const { packets: [packet] } = await alice.change(change([], ['carol/phone']));
  const before = await sent(bob);
  await reads(alice, before);
  await reads(bob, await sent(alice));
  assert.equal((await alice.roster({ group })).members.length, 3);
  for (const device of [alice, bob, carol]) await device.receive({ packet });
  assert.deepEqual((await alice.roster({ group })).members, ['alice/phone', 'bob/phone']);
  await assert.rejects(alice.receive({ packet: before }), refusedAs('duplicate'));
  await reads(bob, await sent(alice));
  await assert.rejects(carol.receive({ packet: await sent(alice) }), refusedAs('stale_epoch'));
  await assert.rejects(carol.send({ group, plaintext: hello }), refusedAs('not_member'));
});

test("a pending MLS change is dropped for another member's, and comes too late then", async () => {
  const [alice, bob, carol] = await friends(mls, 'alice', 'bob', 'carol');
  const { packets: [first] } = await alice.change(change([], [], true));
  const { packets: [second] } = await bob.change(change([], [], true));
  bob.notebook.takeEvents();
  for (const device of [alice, bob, carol]) await device.receive({ packet: first });
  assert.ok(bob.notebook.takeEvents().some(({ event }) => event === 'change_dropped'));
  for (const device of [alice, bob, carol]) await assert.rejects(device.receive({ packet: second }), refusedAs('stale_epoch'));
  const values = await Promise.all([alice, bob, carol].map(async (device) => (await device.fingerprint({ group })).value));
  assert.equal(new Set(values).size, 1);
  await reads(carol, await sent(bob));
});

test('a change that removes and adds is two commits', async () => {
  const [alice, bob, carol] = await friends(mls, 'alice', 'bob', 'carol');
  const dave = await mls.Device.create('dave/phone', new Notebook());
  const { packets } = await alice.change(change([await dave.publish()], ['carol/phone']));
  assert.deepEqual(packets.map(({ kind }) => kind), ['change', 'change', 'welcome']);
  for (const packet of packets.slice(0, 2)) for (const device of [alice, bob]) await device.receive({ packet });
  await dave.receive({ packet: packets[2] });
  await reads(dave, await sent(bob));
  assert.deepEqual((await dave.roster({ group })).members, ['alice/phone', 'bob/phone', 'dave/phone']);
  await carol.receive({ packet: packets[0] });
});

test('a no leaves the device as it was', async () => {
  const [alice, bob] = await friends(mls, 'alice', 'bob');
  const dave = await mls.Device.create('dave/phone', new Notebook());
  const wanted = change([await dave.publish()], []);
  alice.notebook.setStance('no');
  await assert.rejects(alice.change(wanted), refusedAs('untrusted_identity'));
  alice.notebook.setStance('yes');
  const { packets } = await alice.change(wanted);
  bob.notebook.setStance('no');
  await assert.rejects(bob.receive({ packet: packets[0] }), refusedAs('untrusted_identity'));
  bob.notebook.setStance('yes');
  dave.notebook.setStance('no');
  for (const device of [alice, bob]) await device.receive({ packet: packets[0] });
  await assert.rejects(dave.receive({ packet: packets[1] }), refusedAs('untrusted_identity'));
  dave.notebook.setStance('yes');
  await dave.receive({ packet: packets[1] });
  await reads(dave, await sent(bob));
});

test('a Proteus packet whose identity is rewritten is otherwise as it was', async () => {
  const [alice] = await friends(proteus, 'alice', 'bob');
  const outsider = await proteus.Device.create('mallory/phone', new Notebook());
  const packet = { ...await sent(alice), seal: '5ea1' };
  const { packets: [forged] } = await outsider.craft({ forgery: { forgery: 'rewritten_identity', packet } });
  assert.notDeepEqual(Buffer.from(forged.bytes), Buffer.from(packet.bytes));
  assert.deepEqual({ ...forged, bytes: packet.bytes }, packet);
});

for (const [name, protocol] of Object.entries({ mls, proteus })) {
  test(`${name}: a refused packet costs nothing`, async () => {
    const [alice, bob] = await friends(protocol, 'alice', 'bob');
    for (const [from, to] of [[alice, bob], [bob, alice], [alice, bob]]) {
      const packet = await sent(from);
      const other = { ...packet, group: 'nobody' };
      await assert.rejects(to.receive({ packet: other }), refusedAs('bad_request'));
      to.notebook.setStance('no');
      await to.receive({ packet }).catch(() => {});
      to.notebook.setStance('yes');
      if (name === 'proteus') await reads(to, packet);
      await assert.rejects(to.receive({ packet }), refusedAs('duplicate'));
    }
  });

  test(`${name}: a copied state goes on beside the original, and shares nothing with it`, async () => {
    const [alice, bob] = await friends(protocol, 'alice', 'bob');
    await reads(bob, await sent(alice));
    const thief = await protocol.Device.restore('bob/phone', await bob.export_state(), new Notebook());
    const packet = await sent(alice);
    for (const device of [thief, bob]) await reads(device, packet);
    await assert.rejects(thief.receive({ packet }), refusedAs('duplicate'));
    const loaded = await protocol.Device.load('bob/phone', await bob.store(), new Notebook());
    await assert.rejects(loaded.receive({ packet }), refusedAs('duplicate'));
    await reads(alice, await sent(loaded));
  });
}
