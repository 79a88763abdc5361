"""pynacl-box: a small messenger, built as one would naively build it from what PyNaCl offers, as an adapter for E2ESM.

- Each device has one Curve25519 key pair for ever. A text goes into a `nacl.public.Box` for every other member.
- Each user has an Ed25519 key, which signs the user's devices: a device's *card* is its key with that signature. Every
  packet bears its sender's card in the clear, so that whoever has never met the sender can open it too.
- A further device of one's own is given the Ed25519 private key, in a `nacl.public.SealedBox`.
- Who is in a chat is told in boxes too, just as texts are.

There is no ratchet, no counter and no transcript, and a box holds nothing but the text: this is an example of what is
missing then, and not one to follow. README.md says which vectors show it. `e2esm.py` speaks the protocol.
"""

import json

import nacl
from nacl.exceptions import CryptoError
from nacl.public import Box, PrivateKey, PublicKey, SealedBox
from nacl.signing import SigningKey, VerifyKey

from e2esm import Refusal, serve

STATIC = "keys are static: no session is opened, and there is none whose keys could be handed on"

DESCRIPTION = {
    "name": "pynacl-box",
    "implementation": "PyNaCl",
    "version": nacl.__version__,
    "protocol": "none: static boxes, one for each member",
    "cipher_suite": "crypto_box_curve25519xsalsa20poly1305, Ed25519",
    "crypto_provider": "libsodium, as bundled with PyNaCl",
    "configuration": {
        "bound into a box": "nothing but the text: not the chat, nor the kind of packet, nor a number",
        "identity": "an Ed25519 key for each user, copied to linked devices; a Curve25519 key for each device",
        "questions": "whose key it is that goes into a Box, and no other",
        "padding": "none",
    },
    "group_object": False,
    "unsupported": {
        "epochs": "a chat is a list of names: nothing is numbered, and no state is agreed on",
        "key_distribution": "there are no sender keys: a text is encrypted for each member apart",
        "pairwise_sessions": STATIC,
        "history": STATIC,
        "key_request": STATIC,
        "external_join": "a chat has no public information with which a device could join by its own act",
        "persistence": "PyNaCl stores nothing; export_state is this adapter's own",
        "standard_keys": "there is no standard for such a messenger, so there are no recorded vectors either",
        "forged_key_distribution": "there are no sender keys",
        "rewritten_identity": "no packet opens a session",
        "uninvited_join": "there is no joining by one's own act, invited or not",
        "ratchet_tree": "MLS only",
        "wrong_leaf_signature": "MLS only",
        "wrong_parent_hash": "MLS only",
        "wrong_confirmation_tag": "MLS only",
    },
}


def pack(value):
    """JSON in UTF-8, with bytes in hex."""
    return json.dumps(value, default=bytes.hex).encode()


def unpack(data, read):
    """What `read` makes of JSON. Whatever is wrong with it: an attacker may have written it."""
    try:
        return read(json.loads(data))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise Refusal("bad_request", f"malformed: {error!r}") from None


def read_card(given):
    return {name: bytes.fromhex(given[name]) for name in ("account_key", "device_key", "voucher")}


def read_cards(given):
    return {device: read_card(card) for device, card in given.items()}


def read_bundles(bundles):
    return {bundle["device"]: unpack(bundle["bytes"], read_card) for bundle in bundles}


def voucher_text(device, device_key):
    """What the account key signs to say that a device is its user's, in the suite's form (PROTOCOL.md, "Values")."""
    user, name = device.split("/")
    parts = (user.encode(), name.encode(), device_key)
    return b"E2ESM device voucher v1\0" + b"".join(len(part).to_bytes(8, "big") + part for part in parts)


def make_card(device, account, device_key):
    voucher = account.sign(voucher_text(device, device_key)).signature
    return {"account_key": bytes(account.verify_key), "device_key": device_key, "voucher": voucher}


class Device:
    """One user's one client: two private keys, an address book, and the members of each chat."""

    FAULTS = ("relabelled_sender", "degenerate_key")
    FORGERIES = ("message", "change", "broken_bundle")

    def __init__(self, id, notebook):
        self.id = id
        self.notebook = notebook
        self.key = PrivateKey.generate()
        self.account = SigningKey.generate()
        self.fault, self.claim = "none", None
        self.chats = {}  # name -> set of devices
        self.pending = {}  # name of a chat -> bytes of this device's own change, until the server brings it back
        self.seen = {}  # cards of senders, trusted or not: what an eavesdropper notes, used by `craft` alone
        # This device's own card is in its address book as well: it reads its own changes as it reads all others.
        self.contacts = {id: make_card(id, self.account, bytes(self.key.public_key))}

    # Keys and cards

    def identity(self):
        return self.contacts[self.id]

    def publish(self, peer):
        """The card: static, and therefore the same for everybody."""
        card = self.identity()
        if self.fault == "degenerate_key":
            card = make_card(self.id, self.account, bytes(32))
        return {"device": self.id, "bytes": pack(card)}

    def _check_card(self, device, card):
        """Checks that a card fits the device's name, and is a key at all. Whose card it is remains to be asked."""
        try:
            VerifyKey(card["account_key"]).verify(voucher_text(device, card["device_key"]), card["voucher"])
        except (CryptoError, ValueError) as error:
            raise Refusal("auth_failed", f"the card of {device}: {error}") from None
        try:
            return Box(self.key, PublicKey(card["device_key"]))
        except CryptoError as error:  # libsodium refuses degenerate keys
            raise Refusal("bad_request", f"the key of {device}: {error}") from None

    def _trust(self, cards):
        """Checks cards, asks whose they are where they are not in the address book, and puts them there.

        Box takes whatever public key it is given, so the question whose it is belongs to the caller: the only one that
        is asked here. A yes replaces an old card, as naive address books do, and nobody is warned otherwise.
        """
        for device, card in cards.items():
            self._check_card(device, card)
            known = self.contacts.get(device)
            if card == known:
                continue
            if device == self.id:
                raise Refusal("auth_failed", "this is not my card")
            previous = known["account_key"] if known and known["account_key"] != card["account_key"] else None
            fact = {"fact": "identity", "device": device, "identity": card, "previous": previous}
            self.notebook.require("nacl.public.Box(private_key, public_key)", fact)
        self.contacts.update(cards)

    def fingerprint(self, group, peer):
        """Both account keys, in the same order at both ends."""
        self._chat(group)
        if peer not in self.contacts:
            raise Refusal("bad_request", f"{peer} is not in the address book")
        keys = sorted(self.contacts[device]["account_key"].hex() for device in (self.id, peer))
        return {"kind": "safety_number", "value": " ".join(keys)}

    # Packets

    def _packet(self, kind, group, to, content, cards, own_card=None):
        """A packet with a box for each card. Nothing says which is whose: everybody tries them all."""
        boxes = [Box(self.key, PublicKey(card["device_key"])).encrypt(content) for card in cards]
        data = pack({"card": own_card or self.identity(), "boxes": boxes})
        return {"kind": kind, "group": group, "from": self.id, "to": to, "bytes": data}

    def _open(self, sender, data):
        """What is in the box that is meant for this device, and the cards to be trusted with it.

        The card in the packet says which key to try. Every box is tried, as a removed device or an eavesdropper would.
        """
        card, boxes = unpack(data, lambda told: (read_card(told["card"]), list(map(bytes.fromhex, told["boxes"]))))
        box = self._check_card(sender, card)
        self.seen.setdefault(sender, card)
        for sealed in boxes:
            try:
                return box.decrypt(sealed), {sender: card}
            except CryptoError:
                continue
        raise Refusal("auth_failed", "no box here opens with the sender's key and mine")

    # Chats

    def _chat(self, group):
        if group not in self.chats:
            raise Refusal("bad_request", f"no chat {group}")
        return self.chats[group]

    def create_group(self, group):
        if group in self.chats:
            raise Refusal("duplicate", f"there is a chat {group} already")
        self.chats[group] = {self.id}

    def roster(self, group):
        return {"members": sorted(self._chat(group), key=lambda device: device.split("/")), "authenticated": False}

    def change(self, group, change):
        """Announces who comes and goes. With static keys there is nothing that a refresh could renew."""
        members = self._chat(group)
        removed = change["remove"]
        names = [bundle["device"] for bundle in change["add"]]
        if self.id not in members or not members.issuperset(removed):
            raise Refusal("not_member", f"{self.id} and whom it removes must be members of {group}")
        if members.intersection(names) or len(set(names)) != len(names):
            raise Refusal("duplicate", f"already a member of {group}")
        if not names and not removed:
            return {}
        added = read_bundles(change["add"])
        self._trust(added)
        packets = self._announce(group, {device: self.contacts[device] for device in members}, added, removed)
        self.pending[group] = packets[0]["bytes"]
        return {"packets": packets}

    def _announce(self, group, members, added, removed, own_card=None):
        """The change, to everybody who is in the chat (this device too), and the list of members, to those who come."""
        news = pack({"add": added, "remove": removed})
        packets = [self._packet("change", group, {"group": group}, news, members.values(), own_card)]
        if added:
            cards = {device: card for device, card in {**members, **added}.items() if device not in removed}
            to = {"devices": sorted(added)}
            packets.append(self._packet("welcome", group, to, pack(cards), added.values(), own_card))
        return packets

    def wants(self, group):
        """Nobody ever has to be introduced: cards come with the change or the welcome."""
        self._chat(group)
        return []

    def send(self, group, plaintext):
        members = self._chat(group)
        if self.id not in members:
            raise Refusal("not_member", f"{self.id} is out of {group}")
        cards = [self.contacts[device] for device in sorted(members - {self.id})]
        if self.fault != "relabelled_sender":
            return {"packets": [self._packet("message", group, {"group": group}, plaintext, cards)]}
        # The label and the card can be another's, but not the key that the boxes are made with.
        packet = self._packet("message", group, {"group": group}, plaintext, cards, self.contacts.get(self.claim))
        return {"packets": [{**packet, "from": self.claim}]}

    def resend(self, group, plaintext, bundle, acknowledged):
        """Sends again to whatever key the server names now, and does not mind whether it has been read already."""
        self._chat(group)
        cards = read_bundles([bundle])
        self._trust(cards)
        return {"packets": [self._packet("message", group, {"device": bundle["device"]}, plaintext, cards.values())]}

    # What arrives

    def receive(self, packet):
        kinds = {"message": self._receive_message, "change": self._receive_change, "welcome": self._receive_welcome}
        if packet["kind"] not in kinds:
            raise Refusal("bad_request", f"there are no packets of kind {packet['kind']}")
        return kinds[packet["kind"]](packet["group"], packet["from"], packet["bytes"])

    def _receive_message(self, group, sender, data):
        """Shows what can be opened, under the name on the card, in the chat that the label names.

        Whether there is such a chat, the sender is in it, or the text has been here before is not looked at.
        """
        text, cards = self._open(sender, data)
        self._trust(cards)
        return {"message": {"group": group, "sender": sender, "plaintext": text}}

    def _receive_change(self, group, author, data):
        """Anybody may change any chat, in any order and as often as the server likes: there is no number to compare."""
        members = self._chat(group)
        news, cards = self._open(author, data)
        added, removed = unpack(news, lambda told: (read_cards(told["add"]), members.intersection(told["remove"])))
        self._trust({**cards, **added})
        if group in self.pending:
            if author != self.id or self.pending[group] != data:
                self.notebook.note("change_dropped", group=group)
            del self.pending[group]
        self.chats[group] = members.difference(removed).union(added)
        for device in sorted(removed):
            self.notebook.note("member_removed", group=group, device=device, by=author)
        for device in added:
            self.notebook.note("member_added", group=group, device=device, by=author)

    def _receive_welcome(self, group, author, data):
        text, cards = self._open(author, data)
        members = unpack(text, read_cards)
        if self.id not in members:
            raise Refusal("bad_request", "this invitation does not name me")
        self._trust({**cards, **members})
        self.chats[group] = set(members)
        self.notebook.note("joined", group=group)

    # Further devices

    def link_request(self):
        return {"device": self.id, "device_key": bytes(self.key.public_key)}

    def authorise(self, request):
        """Gives the account's private key away: the new device can do all that this one can, for ever."""
        seed = SealedBox(PublicKey(request["device_key"])).encrypt(bytes(self.account))
        return {"device": request["device"], "bytes": seed}

    def accept_authorisation(self, authorisation):
        if authorisation["device"] != self.id:
            raise Refusal("bad_request", f"this is for {authorisation['device']}")
        try:
            self.account = SigningKey(SealedBox(self.key).decrypt(authorisation["bytes"]))
        except CryptoError as error:
            raise Refusal("auth_failed", str(error)) from None
        self.contacts[self.id] = make_card(self.id, self.account, bytes(self.key.public_key))

    # Attackers

    def export_state(self):
        """A thief's copy."""
        chats = {group: sorted(members) for group, members in self.chats.items()}
        return pack({"key": bytes(self.key), "account": bytes(self.account), "contacts": self.contacts, "chats": chats})

    @classmethod
    def restore(cls, id, state, notebook):
        told = unpack(state, dict)
        device = cls(id, notebook)
        device.key = PrivateKey(bytes.fromhex(told["key"]))
        device.account = SigningKey(bytes.fromhex(told["account"]))
        device.contacts = read_cards(told["contacts"])
        device.chats = {group: set(members) for group, members in told["chats"].items()}
        return device

    def misbehave(self, fault, device):
        self.fault, self.claim = fault, device

    def craft(self, forgery, fields):
        """What somebody can make who has no member's private key: all boxes are made with the outsider's own."""
        if forgery == "broken_bundle":
            card = unpack(fields["bundle"]["bytes"], read_card)
            card["voucher"] = card["voucher"][:-1] + bytes([card["voucher"][-1] ^ 1])
            return {"bundle": {"device": fields["bundle"]["device"], "bytes": pack(card)}}
        group, claim = fields["group"]["id"], fields["claim"]
        # A card that bears another's name is easily made. Only its keys are not the ones that the others know.
        card = make_card(claim, self.account, bytes(self.key.public_key))
        # Public keys are in the packets that have come by; for a member who has sent none any key will do, in vain.
        members = {device: self.seen.get(device, card) for device in fields["group"]["members"]}
        if forgery == "message":
            packets = [self._packet("message", group, {"group": group}, fields["plaintext"], members.values(), card)]
        else:
            packets = self._announce(group, members, read_bundles(fields["add"]), fields["remove"], card)
        return {"packets": [{**packet, "from": claim} for packet in packets]}


if __name__ == "__main__":
    serve(DESCRIPTION, Device)
