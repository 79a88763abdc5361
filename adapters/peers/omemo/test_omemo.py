"""What vectors do not show of this peer. Run in the directory where it is installed: venv/bin/python -m unittest"""

import json
import unittest

import omemo

import wire
from device import OmemoDevice
from e2esm import Notebook, Refusal

ALICE, BOB, TABLET = "alice/phone", "bob/phone", "bob/tablet"
GROUP = "friends"


async def make(name):
    return await OmemoDevice.create(name, Notebook())


async def pair():
    """Alice and Bob in a group; nobody has written yet."""
    alice, bob = await make(ALICE), await make(BOB)
    await alice.create_group(GROUP)
    bundle = await bob.publish(ALICE)
    output = await alice.change(GROUP, {"add": [bundle], "remove": [], "refresh": False})
    change, welcome = output["packets"]
    await alice.receive(change)
    await bob.receive(welcome)
    return alice, bob


async def bring(packet, devices):
    """Gives a packet to those it is for, and what they answer, too. Returns what was read."""
    read = []
    for device in devices:
        if device.me == packet["from"] or packet["to"] not in ({"group": GROUP}, {"device": device.me}):
            continue
        output = await device.receive(packet)
        if "message" in output:
            read.append((device.me, output["message"]["plaintext"]))
        for answer in output.get("packets", []):
            await bring(answer, devices)
    return read


async def write(device, text):
    [packet] = (await device.send(GROUP, text))["packets"]
    return packet


def state_of(device):
    return json.dumps([device.client.storage.values, device.state], sort_keys=True)


class Omemo(unittest.IsolatedAsyncioTestCase):
    async def refuses(self, error_class, awaitable):
        with self.assertRaises(Refusal) as caught:
            await awaitable
        self.assertEqual(caught.exception.error_class, error_class, caught.exception)

    async def test_the_first_message_is_answered_and_then_the_session_is_confirmed(self):
        alice, bob = await pair()
        first = await write(alice, b"first")
        self.assertTrue(first["opens_session"])
        output = await bob.receive(first)
        [answer] = output["packets"]
        self.assertEqual(answer["to"], {"device": ALICE})
        self.assertNotIn(b"<payload>", answer["bytes"])
        self.assertTrue((await write(alice, b"before the answer"))["opens_session"])
        self.assertNotIn("message", await alice.receive(answer))
        self.assertFalse((await write(alice, b"after it"))["opens_session"])

    async def test_many_messages_without_an_answer_bring_an_empty_one(self):
        alice, bob = await pair()
        devices = [alice, bob]
        await bring(await write(alice, b"first"), devices)
        answers = []
        for number in range(omemo.SessionManager.STALENESS_MAGIC_NUMBER + 3):
            answers.append(len((await bob.receive(await write(alice, b"%d" % number)))["packets"]))
        quiet = omemo.SessionManager.STALENESS_MAGIC_NUMBER
        self.assertEqual(sum(answers[:quiet]), 0)
        self.assertGreater(sum(answers[quiet:]), 0)

    async def test_no_flipped_bit_is_read_as_something_else_and_none_costs_anything(self):
        alice, bob = await pair()
        packet = await write(alice, b"text")
        data = packet["bytes"]
        refused = 0
        before = state_of(bob)
        for at in range(0, len(data), 7):
            flipped = {**packet, "bytes": data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]}
            probe = await OmemoDevice.load(BOB, await bob.store(), Notebook())
            try:
                output = await probe.receive(flipped)
                self.assertEqual(output.get("message", {"plaintext": b"text"})["plaintext"], b"text")
            except Refusal:
                refused += 1
        self.assertGreater(refused, len(data) // 7 // 2)
        self.assertEqual(state_of(bob), before)
        await self.refuses("bad_request", bob.receive({**packet, "bytes": data[:-1]}))
        self.assertEqual(state_of(bob), before)
        self.assertEqual(await bring(packet, [alice, bob]), [(BOB, b"text")])

    async def test_a_refused_message_costs_nothing(self):
        alice, bob = await pair()
        packet = await write(alice, b"text")
        before = state_of(bob)
        bob.notebook.set_stance("no")
        await self.refuses("untrusted_identity", bob.receive(packet))
        self.assertEqual(state_of(bob), before)
        bob.notebook.set_stance("yes")
        self.assertEqual(await bring(packet, [alice, bob]), [(BOB, b"text")])
        await self.refuses("duplicate", bob.receive(packet))

    async def test_a_no_when_sending_leaves_the_device_out_and_is_asked_about_again(self):
        alice, bob = await pair()
        alice.notebook.set_stance("no")
        self.assertEqual(await alice.send(GROUP, b"text"), {})
        self.assertIn({"event": "skipped", "group": GROUP, "device": BOB}, alice.notebook.take_events())
        alice.notebook.set_stance("yes")
        self.assertEqual(await bring(await write(alice, b"text"), [alice, bob]), [(BOB, b"text")])

    async def test_a_device_goes_on_after_a_restart(self):
        alice, bob = await pair()
        await bring(await write(alice, b"one"), [alice, bob])
        bob = await OmemoDevice.load(BOB, await bob.store(), Notebook())
        self.assertEqual(await bring(await write(alice, b"two"), [alice, bob]), [(BOB, b"two")])
        self.assertEqual(await bring(await write(bob, b"three"), [alice, bob]), [(ALICE, b"three")])

    async def test_a_message_is_bound_to_its_group_and_its_sender(self):
        alice, bob = await pair()
        await bring(await write(alice, b"one"), [alice, bob])
        await bob.create_group("others")
        packet = await write(alice, b"two")
        await self.refuses("bad_request", bob.receive({**packet, "group": "others"}))
        await self.refuses("no_key", bob.receive({**packet, "from": "carol/phone"}))
        await self.refuses("auth_failed", bob.receive({**packet, "from": "alice/tablet"}))
        self.assertEqual(await bring(packet, [alice, bob]), [(BOB, b"two")])

    async def test_two_devices_of_a_user_have_one_account_and_two_identity_keys(self):
        alice, bob = await pair()
        tablet = await make(TABLET)
        await tablet.accept_authorisation(await bob.authorise(await tablet.link_request()))
        phone, linked = await bob.identity(), await tablet.identity()
        self.assertEqual(phone["account_key"], linked["account_key"])
        self.assertNotEqual(phone["device_key"], linked["device_key"])
        bundle = await tablet.publish(BOB)
        change, welcome = (await bob.change(GROUP, {"add": [bundle], "remove": [], "refresh": False}))["packets"]
        for device in (bob, alice):
            await device.receive(change)
        await tablet.receive(welcome)
        self.assertEqual(await alice.wants(GROUP), [TABLET])
        await alice.introduce(await tablet.publish(ALICE))
        devices = [alice, bob, tablet]
        self.assertEqual(sorted(await bring(await write(alice, b"text"), devices)), [(BOB, b"text"), (TABLET, b"text")])
        self.assertEqual(sorted(await bring(await write(bob, b"more"), devices)), [(ALICE, b"more"), (TABLET, b"more")])

    async def test_each_bundle_has_a_pre_key_of_its_own_even_when_all_have_been_given_away(self):
        bob = await make(BOB)
        given = set()
        for number in range(105):
            bundle, _ = wire.read_bundle((await bob.publish(ALICE))["bytes"], "bob")
            given.update(bundle.bundle.pre_keys)
            self.assertEqual(len(given), number + 1)

    async def test_documents_with_entities_are_refused(self):
        _, bob = await pair()
        data = b'<!DOCTYPE message [<!ENTITY a "b">]><message xmlns="jabber:client">&a;</message>'
        packet = {"kind": "message", "group": GROUP, "from": ALICE, "to": {"group": GROUP}, "bytes": data}
        await self.refuses("bad_request", bob.receive(packet))


if __name__ == "__main__":
    unittest.main()
