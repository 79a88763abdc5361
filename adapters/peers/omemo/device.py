"""A device: the calls of the protocol, and groups as an application over OMEMO has them.

A group is a chat room whose members the server knows: unauthenticated changes and invitations in plain JSON, as in
`adapters/sender-keys`. A message to a group is one OMEMO message with a key for each device in the roster.
"""

import copy
import functools
import hashlib
import json

import omemo
import xeddsa
from omemo.identity_key_pair import IdentityKeyPair
from twomemo import Twomemo

import account
import wire
from client import Client, Storage, user_of
from e2esm import Refusal

#: How many pre keys the library makes at a time, as in `SessionManager.create`.
PRE_KEYS = 100


def atomic(method):
    """A refused call, and one that waits for an answer, leaves the device as it was."""

    @functools.wraps(method)
    async def guarded(self, *args, **kwargs):
        values, state = dict(self.client.storage.values), copy.deepcopy(self.state)
        self.client.begin()
        try:
            return await method(self, *args, **kwargs)
        except BaseException:
            self._put_back(values, state)
            raise

    return guarded


class OmemoDevice:
    FAULTS = ("relabelled_sender", "degenerate_key")
    FORGERIES = ("message", "change", "broken_bundle", "rewritten_identity")

    # Made, copied and loaded.

    @classmethod
    async def create(cls, name, notebook):
        self = await cls._with(name, notebook, {}, {"people": {}, "names": {}, "groups": {}, "dealt": []})
        self.state["account"] = account.found(name, self.client.identity_key)
        return self

    @classmethod
    async def restore(cls, name, state, notebook):
        try:
            found = json.loads(state)
            whose, values, kept = found["device"], found["storage"], found["state"]
        except (ValueError, KeyError, TypeError) as error:
            raise Refusal("bad_request", f"malformed state: {error}") from None
        if whose != name:
            raise Refusal("bad_request", f"the state is {whose}'s, not {name}'s")
        return await cls._with(name, notebook, values, kept)

    @classmethod
    async def load(cls, name, store, notebook):
        return await cls.restore(name, store, notebook)

    @classmethod
    async def _with(cls, name, notebook, values, state):
        self = cls()
        self.me, self.notebook, self.state = name, notebook, state
        self.client = await Client.create(name, notebook, values, state)
        self.relabel, self.degenerate = None, False
        self.seen = {}  # user: OMEMO device ids that packets name in the clear. For forgeries, as the server knows them.
        return self

    def _put_back(self, values, state):
        self.client.storage.values = values
        self.state = self.client.book = state

    async def store(self):
        """All of it is in the library's storage, and in what this application keeps beside it."""
        return wire.write_json({"device": self.me, "storage": self.client.storage.values, "state": self.state})

    async def export_state(self):
        return await self.store()

    # Keys.

    async def identity(self):
        own = self.state["account"]
        return {
            "account_key": bytes.fromhex(own["account_key"]),
            "device_key": self.client.identity_key,
            "voucher": bytes.fromhex(own["voucher"]),
        }

    @atomic
    async def publish(self, peer):
        """The bundle as it is on the server, with one pre key instead of a hundred. Nobody else is given that pre key:
        whoever fetches a bundle takes one at random, and two who take the same would get in each other's way."""
        backend = self.client.backend
        bundle = await backend.get_bundle(self.client.user, self.client.device_id)
        left = [pre_key for pre_key, number in bundle.pre_key_ids.items() if number not in self.state["dealt"]]
        if not left:
            await backend.generate_pre_keys(PRE_KEYS)
            bundle = await backend.get_bundle(self.client.user, self.client.device_id)
            left = [pre_key for pre_key, number in bundle.pre_key_ids.items() if number not in self.state["dealt"]]
        dealt = min(left, key=bundle.pre_key_ids.get)
        self.state["dealt"].append(bundle.pre_key_ids[dealt])
        bundle = wire.with_keys(bundle, pre_keys=[dealt])
        if self.degenerate:
            private = (await IdentityKeyPair.get(self.client.storage)).as_priv().priv
            zeros = bytes(32)
            bundle = wire.with_keys(bundle, signed_pre_key=zeros, signature=xeddsa.ed25519_priv_sign(private, zeros))
        return {"device": self.me, "bytes": wire.write_bundle(bundle, await self.identity())}

    async def _introduce(self, bundle):
        given, identity = wire.read_bundle(bundle["bytes"], user_of(bundle["device"]))
        await self.client.introduce(bundle["device"], given, identity)

    @atomic
    async def introduce(self, bundle):
        await self._introduce(bundle)
        return {}

    async def fingerprint(self, group, peer):
        self._group(group)
        known = self.client.identity_of(peer)
        if known is None:
            raise Refusal("bad_request", f"the keys of {peer} are not known")
        keys = (self.client.identity_key, known["device_key"])
        lines = sorted(" ".join(omemo.SessionManager.format_identity_key(key)) for key in keys)
        return {"kind": "device_keys", "value": "\n".join(lines)}

    async def link_request(self):
        return {"device": self.me, "device_key": self.client.identity_key}

    async def authorise(self, request):
        voucher = account.vouch(self.state["account"], request["device"], request["device_key"])
        return {"device": request["device"], "bytes": voucher}

    async def accept_authorisation(self, authorisation):
        if authorisation["device"] != self.me:
            raise Refusal("bad_request", f"the authorisation is for {authorisation['device']}, this device is {self.me}")
        self.state["account"] = account.linked(authorisation["bytes"])

    # Groups.

    def _group(self, group):
        if group not in self.state["groups"]:
            raise Refusal("bad_request", f"no group {group}")
        return self.state["groups"][group]

    def _membership(self, group):
        found = self._group(group)
        if self.me not in found["members"]:
            raise Refusal("not_member", f"{self.me} is not a member of {group}")
        return found

    def _ask(self, point, fact, **fields):
        self.notebook.require(f"OmemoDevice.{point}", {"fact": fact, **fields}, asker="group_management")

    def _packet(self, kind, group, to, data, opens_session=False):
        return {
            "kind": kind,
            "group": group,
            "from": self.me,
            "to": to,
            "opens_session": opens_session,
            "bytes": data,
        }

    async def create_group(self, group):
        if group in self.state["groups"]:
            raise Refusal("duplicate", f"there is a group {group} already")
        self._new_group(group, [self.me])
        return {}

    def _new_group(self, group, members):
        # `sent` is what an application's outbox knows: to which account key each message went first.
        self.state["groups"][group] = {"members": sorted(members), "pending": None, "sent": {}}

    async def roster(self, group):
        return {"members": sorted(self._group(group)["members"], key=lambda name: name.split("/")), "authenticated": False}

    @atomic
    async def change(self, group, change):
        found = self._membership(group)
        members, gone = set(found["members"]), set()
        for device in change["remove"]:
            if device not in members or device in gone:
                raise Refusal("not_member", f"{device} is not a member of {group}")
            gone.add(device)
        new = []
        for bundle in change["add"]:
            device = bundle["device"]
            if device in new or device in members - gone:
                raise Refusal("duplicate", f"{device} is a member of {group} already")
            new.append(device)
        if not new and not gone:
            # There is no group key that could be made anew: each message has its own.
            return {}
        for bundle in change["add"]:
            await self._introduce(bundle)
        data = wire.write_json({"add": new, "remove": change["remove"]})
        self._drop_pending(group)
        found["pending"] = data.hex()
        packets = [self._packet("change", group, {"group": group}, data)]
        if new:
            welcome = wire.write_json({"members": sorted(members - gone | set(new))})
            to = {"device": new[0]} if len(new) == 1 else {"devices": new}
            packets.append(self._packet("welcome", group, to, welcome))
        return {"packets": packets}

    def _drop_pending(self, group):
        if self._group(group)["pending"] is not None:
            self._group(group)["pending"] = None
            self.notebook.note("change_dropped", group=group)

    def _added(self, group, device, by):
        members = self._group(group)["members"]
        if device not in members:
            members.append(device)
            members.sort()
            self.notebook.note("member_added", group=group, device=device, by=by)

    def _removed(self, group, device, by):
        members = self._group(group)["members"]
        if device in members:
            members.remove(device)
            self.notebook.note("member_removed", group=group, device=device, by=by)

    def _others(self, group):
        return [device for device in self._group(group)["members"] if device != self.me]

    async def wants(self, group):
        if self.me not in self._group(group)["members"]:
            return []
        return [device for device in self._others(group) if not await self.client.has_session(device)]

    async def _encrypt(self, group, plaintext, devices):
        """One OMEMO message for these devices, and those that it does not reach."""
        targets = {}
        for device in devices:
            if await self.client.has_session(device):
                targets[user_of(device), self.client.id_of(device)] = device
        envelope = wire.write_envelope(plaintext, user_of(self.relabel or self.me), group)
        message, reached = await self.client.encrypt(list(targets), envelope)
        reached = {targets[target] for target in reached}
        sent = self._group(group)["sent"].setdefault(hashlib.sha256(plaintext).hexdigest(), {})
        for device in reached:
            sent.setdefault(device, self.client.identity_of(device)["account_key"].hex())
        return message, [device for device in devices if device not in reached]

    @atomic
    async def send(self, group, plaintext):
        self._membership(group)
        message, skipped = await self._encrypt(group, plaintext, self._others(group))
        for device in skipped:
            self.notebook.note("skipped", group=group, device=device)
        if message is None:
            return {}
        return {"packets": [await self._message(group, {"group": group}, message)]}

    async def _message(self, group, to, message):
        """A message as a packet. One who claims to be another names that one's OMEMO device, too."""
        claimed = None if self.relabel is None else self.client.id_of(self.relabel)
        data = wire.write_message(message, await self.identity(), claimed)
        packet = self._packet("message", group, to, data, wire.opens_session(message))
        return {**packet, "from": self.relabel or self.me}

    @atomic
    async def resend(self, group, plaintext, bundle, acknowledged):
        found = self._membership(group)
        device = bundle["device"]
        _, identity = wire.read_bundle(bundle["bytes"], user_of(device))
        original = found["sent"].get(hashlib.sha256(plaintext).hexdigest(), {}).get(device, "")
        self._ask(
            "resend",
            "resend",
            device=device,
            account_key=identity["account_key"],
            original=original,
            acknowledged=acknowledged,
        )
        await self._introduce(bundle)
        message, skipped = await self._encrypt(group, plaintext, [device])
        if skipped:
            raise Refusal("untrusted_identity", f"the application does not trust the identity key of {device}")
        return {"packets": [await self._message(group, {"device": device}, message)]}

    # What arrives.

    async def receive(self, packet):
        if packet["kind"] == "message":
            self._overhear(packet)
        return await self._receive(packet)

    @atomic
    async def _receive(self, packet):
        take = {
            "change": self._receive_change,
            "welcome": self._receive_welcome,
            "message": self._receive_message,
            "device_list": self._receive_device_list,
        }.get(packet["kind"])
        if take is None:
            raise Refusal("bad_request", f"there is no {packet['kind']} in this protocol")
        return await take(packet)

    async def _receive_change(self, packet):
        group, by = packet["group"], packet["from"]
        change = wire.read_json(packet["bytes"], "change", {"add": list, "remove": list})
        found = self._group(group)
        if by == self.me and found["pending"] == packet["bytes"].hex():
            found["pending"] = None
        else:
            for device in change["remove"]:
                self._ask("_receive_change", "remove", group=group, device=device, by=by, authenticated=False)
            for device in change["add"]:
                self._ask("_receive_change", "add", group=group, device=device, by=by, authenticated=False)
            self._drop_pending(group)
        for device in change["remove"]:
            self._removed(group, device, by)
        for device in change["add"]:
            self._added(group, device, by)
        return {}

    async def _receive_welcome(self, packet):
        group, by = packet["group"], packet["from"]
        members = wire.read_json(packet["bytes"], "welcome", {"members": list})["members"]
        if self.me not in members:
            raise Refusal("bad_request", f"a welcome to {group} that leaves out {self.me}")
        self._ask("_receive_welcome", "add", group=group, device=self.me, by=by, authenticated=False)
        if group in self.state["groups"]:
            self._group(group)["members"] = sorted(set(members))
            self._drop_pending(group)
        else:
            self._new_group(group, set(members))
        self.notebook.note("joined", group=group)
        return {}

    async def _receive_device_list(self, packet):
        listed = wire.read_json(packet["bytes"], "device list", {"device": str, "bytes": str})
        device = listed["device"]
        try:
            bundle = {"device": device, "bytes": bytes.fromhex(listed["bytes"])}
        except ValueError as error:
            raise Refusal("bad_request", f"malformed device list: {error}") from None
        self._ask("_receive_device_list", "listed_device", device=device)
        await self._introduce(bundle)
        for group in self.state["groups"]:
            if any(user_of(member) == user_of(device) for member in self._group(group)["members"]):
                self._added(group, device, device)
        return {}

    async def _receive_message(self, packet):
        group, sender, to = packet["group"], packet["from"], packet["to"]
        found = self._group(group)
        plaintext = await self.client.decrypt(sender, packet["bytes"])
        answers = [await self._by_itself(group, message, user) for message, user in self.client.outbox]
        if plaintext is None:
            # An empty message: it moves the session on, and is nobody's to read.
            return {"packets": answers}
        content, user, named = wire.read_envelope(plaintext)
        if user != user_of(sender):
            # The library says that the plaintext is an envelope, and leaves what it says to its caller.
            owner = f"{user}/{sender.partition('/')[2]}"
            fact = {"fact": "sender", "group": group, "claimed": sender, "owner": owner}
            self.notebook.require("SessionManager.decrypt", fact)
        if named != group:
            raise Refusal("bad_request", f"sent for {named}, delivered for {group}")
        if sender not in found["members"]:
            self._ask("_receive_message", "non_member_sender", group=group, device=sender)
        if isinstance(to, dict) and "group" in to:
            self._ask("_receive_message", "recipients", group=group, sender=sender)
        return {"packets": answers, "message": {"group": group, "sender": sender, "plaintext": content}}

    async def _by_itself(self, group, message, user):
        """What the library sends of its own accord: an empty message to one device."""
        [(key, _)] = message.keys
        return await self._message(group, {"device": self.client.name_of(user, key.device_id)}, message)

    # Attackers.

    async def misbehave(self, fault, device):
        if fault == "none":
            self.relabel, self.degenerate = None, False
        elif fault == "relabelled_sender":
            self.relabel = device
        else:
            self.degenerate = True

    def _overhear(self, packet):
        """Whoever sees a message sees which OMEMO devices it is from and to."""
        try:
            message, _ = wire.read_message(packet["bytes"], user_of(packet["from"]))
        except Refusal:
            return
        self.seen.setdefault(message.bare_jid, set()).add(message.device_id)
        for key, _ in message.keys:
            self.seen.setdefault(key.bare_jid, set()).add(key.device_id)

    @atomic
    async def craft(self, forgery, fields):
        if forgery == "broken_bundle":
            bundle, identity = wire.read_bundle(fields["bundle"]["bytes"], user_of(fields["bundle"]["device"]))
            signature = bundle.bundle.signed_pre_key_sig
            bundle = wire.with_keys(bundle, signature=bytes([signature[0] ^ 1]) + signature[1:])
            return {"bundle": {**fields["bundle"], "bytes": wire.write_bundle(bundle, identity)}}
        if forgery == "rewritten_identity":
            packet = fields["packet"]
            return {"packets": [{**packet, "bytes": wire.rewrite_identity(packet["bytes"], await self.identity())}]}
        group = fields["group"]
        if forgery == "change":
            new = [bundle["device"] for bundle in fields["add"]]
            packets = [("change", {"group": group["id"]}, {"add": new, "remove": fields["remove"]})]
            if new:
                # Whoever is slipped in has to know the group, or could not even try to read.
                members = {member for member in group["members"] if member not in fields["remove"]} | set(new)
                to = {"device": new[0]} if len(new) == 1 else {"devices": new}
                packets.append(("welcome", to, {"members": sorted(members)}))
            forged = [self._packet(kind, group["id"], to, wire.write_json(body)) for kind, to, body in packets]
        else:
            forged = [await self._forged_message(group, fields["claim"], fields["plaintext"])]
        return {"packets": [{**packet, "from": fields["claim"]} for packet in forged]}

    async def _forged_message(self, group, claim, plaintext):
        """A message on sessions that nobody else has. The OMEMO devices named in it are those that packets have shown."""
        backend = self.client.backend
        envelope = wire.write_envelope(plaintext, user_of(claim), group["id"])
        content, material = await backend.encrypt_plaintext(envelope)
        keys = []
        for user in sorted({user_of(member) for member in group["members"]}):
            for device_id in sorted(self.seen.get(user, ())):
                nobody = Twomemo(Storage({}))
                await nobody.generate_pre_keys(1)
                bundle = await nobody.get_bundle(user, device_id)
                session, _ = await backend.build_session_active(user, device_id, bundle, material)
                keys.append((await backend.encrypt_key_material(session, material), None))
        sender = min(self.seen.get(user_of(claim), {self.client.device_id}))
        message = omemo.Message(backend.namespace, user_of(claim), sender, content, frozenset(keys))
        data = wire.write_message(message, await self.identity())
        return self._packet("message", group["id"], {"group": group["id"]}, data)
