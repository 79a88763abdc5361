"""One device's `SessionManager`, with what it needs from an application: storage, a server, and trust.

python-omemo is written for XMPP: it downloads and uploads bundles and device lists itself, and a user's devices are the
ones on the server's list for the user. Here the harness is the server and hands over bundles and packets, so that "the
server" which a device asks (`_download_bundle`, `_download_device_list`) is what its own bundles and packets have brought,
and nothing else. A bare JID is a user's name; an OMEMO device id belongs to a device's name (`alice/phone`).
"""

import json
import logging

import doubleratchet
import omemo
import x3dh
import xeddsa
from omemo.backend import DecryptionFailed, KeyExchangeFailed
from omemo.session_manager import (
    BundleNotFound,
    MessageNotForUs,
    NoEligibleDevices,
    NoSession,
    PublicDataInconsistency,
    SenderDistrusted,
    SenderNotFound,
)
from omemo.storage import Maybe, Nothing
from twomemo.twomemo import NAMESPACE, Twomemo

import wire
from e2esm import Refusal

#: The names of the custom trust levels: a key that was said yes to once, and any other. Both are asked about.
TRUSTED, UNDECIDED = "trusted", "undecided"

# What the library wants to say goes to stderr, and only where something is wrong with the library itself.
logging.getLogger("omemo").setLevel(logging.ERROR)

#: The class of the error that stands first in the list and in the chain of causes.
CLASSES = [
    (xeddsa.XEdDSAException, "bad_request"),
    (doubleratchet.DuplicateMessageException, "duplicate"),
    (doubleratchet.DoSProtectionException, "no_key"),
    (MessageNotForUs, "no_key"),
    (SenderNotFound, "no_key"),
    (NoSession, "no_key"),
    (SenderDistrusted, "untrusted_identity"),
    (PublicDataInconsistency, "untrusted_identity"),
    (DecryptionFailed, "auth_failed"),
]


def refused(error):
    """An exception of the library as a refusal; others as they are."""
    chain = [error]
    while chain[-1].__cause__ is not None:
        chain.append(chain[-1].__cause__)
    text = ": ".join(f"{type(link).__name__}{f' ({link})' if str(link) else ''}" for link in chain)
    for kind, error_class in CLASSES:
        if any(isinstance(link, kind) for link in chain):
            return Refusal(error_class, text)
    if isinstance(error, KeyExchangeFailed):
        # One exception for all that can be wrong; only the text tells that it is the signature.
        broken = any(isinstance(link, x3dh.KeyAgreementException) and "signature" in str(link) for link in chain)
        return Refusal("auth_failed" if broken else "no_key", text)
    if isinstance(error, ValueError):
        # Keys of a wrong length.
        return Refusal("bad_request", text)
    return error


class _Held(Maybe):
    """A value that was read for this caller alone. The library's `Just` copies it each time that it is looked at, which
    takes longer than all the cryptography."""

    def __init__(self, value):
        self._value = value

    is_just, is_nothing = True, False

    def from_just(self):
        return self._value

    def maybe(self, default):
        return self._value

    def fmap(self, function):
        return _Held(function(self._value))


class Storage(omemo.Storage):
    """The library's storage: keys and values as JSON texts in a dictionary, which is put back when a call is refused."""

    def __init__(self, values):
        super().__init__(disable_cache=True)
        self.values = values

    async def _load(self, key):
        return _Held(json.loads(self.values[key])) if key in self.values else Nothing()

    async def _store(self, key, value):
        self.values[key] = json.dumps(value)

    async def _delete(self, key):
        self.values.pop(key, None)


class Backend(Twomemo):
    """Tells which sessions were built and why others were not: `SessionManager.encrypt` drops the reasons if a recipient
    is left without any device (omemo/session_manager.py:2006-2018)."""

    def __init__(self, storage):
        super().__init__(storage)
        self.forget()

    def forget(self):
        self.built, self.failed = [], {}

    async def build_session_active(self, bare_jid, device_id, bundle, plain_key_material):
        try:
            built = await super().build_session_active(bare_jid, device_id, bundle, plain_key_material)
        except Exception as error:
            self.failed[bare_jid, device_id] = error
            raise
        self.built.append((bare_jid, device_id))
        return built

    async def build_session_passive(self, bare_jid, device_id, key_exchange, encrypted_key_material):
        built = await super().build_session_passive(bare_jid, device_id, key_exchange, encrypted_key_material)
        self.built.append((bare_jid, device_id))
        return built


def user_of(device):
    return device.split("/")[0]


class Client:
    """The library's side of a device.

    `book` is what is known of others and is kept with the device: `people`, the present OMEMO device id and identity of
    each name, and `names`, the name to which each id of a user belongs or belonged.
    """

    @classmethod
    async def create(cls, name, notebook, values, book):
        self = cls()
        self.name, self.user = name, user_of(name)
        self.notebook = notebook
        self.storage = Storage(values)
        self.book = book
        self.device_id = None
        self.begin()
        self.backend = Backend(self.storage)
        self.manager = await _manager(self).create([self.backend], self.storage, self.user, None, UNDECIDED)
        # Nothing was missed: keys that have been used are deleted at once, and empty messages go out at once.
        await self.manager.after_history_sync()
        own, _ = await self.manager.get_own_device_information()
        self.device_id, self.identity_key = own.device_id, own.identity_key
        self.begin()
        return self

    def begin(self):
        """A new call: what the last one left is forgotten."""
        self.offers = {}  # (user, device id): (name, identity, bundle) that this call has brought
        self.outbox = []  # (message, user) that the library sends by itself
        self.answers = {}  # (user, identity key): what the application said in this call
        self.receiving = False
        if hasattr(self, "backend"):
            self.backend.forget()

    # What is known of others.

    def offer(self, name, device_id, identity, bundle):
        """This call shows keys of a device, in a bundle or beside a message. Nothing vouches for them."""
        self.offers[user_of(name), device_id] = (name, identity, bundle)
        known = self.book["people"].get(name)
        if known is not None and known["identity"]["account_key"] != identity["account_key"].hex():
            self.notebook.note("key_changed", device=name)

    def adopt(self, user, device_id):
        """What was offered is from now on known."""
        if (user, device_id) in self.offers:
            name, identity, _ = self.offers.pop((user, device_id))
            identity = {field: key.hex() for field, key in identity.items()}
            self.book["people"][name] = {"id": device_id, "identity": identity}
            self.book["names"].setdefault(user, {})[str(device_id)] = name

    def name_of(self, user, device_id):
        if (user, device_id) == (self.user, self.device_id):
            return self.name
        if (user, device_id) in self.offers:
            return self.offers[user, device_id][0]
        return self.book["names"].get(user, {}).get(str(device_id))

    def id_of(self, name):
        return None if name not in self.book["people"] else self.book["people"][name]["id"]

    def identity_of(self, name):
        known = self.book["people"].get(name)
        return None if known is None else {field: bytes.fromhex(key) for field, key in known["identity"].items()}

    async def has_session(self, name):
        device_id = self.id_of(name)
        return device_id is not None and await self.backend.load_session(user_of(name), device_id) is not None

    def _listed(self, user):
        """The server's device list of a user, as far as it has come here: one OMEMO device for each name."""
        listed = {name: known["id"] for name, known in self.book["people"].items() if user_of(name) == user}
        listed.update({name: device_id for (of, device_id), (name, _, _) in self.offers.items() if of == user})
        if user == self.user and self.device_id is not None:
            listed[self.name] = self.device_id
        return dict.fromkeys(listed.values())

    # What the library asks.

    def _fact(self, device):
        user, device_id = device.bare_jid, device.device_id
        name = self.name_of(user, device_id)
        offered = self.offers.get((user, device_id))
        known = self.identity_of(name)
        shown = known if offered is None else offered[1]
        # The key about which the library asks is the library's, whatever was offered.
        fact = {"fact": "identity", "device": name, "identity": {**shown, "device_key": device.identity_key}}
        if known is not None and known["account_key"] != shown["account_key"]:
            fact["previous"] = known["account_key"]
        return fact

    async def evaluate(self, device):
        """The library asks this about each device, several times in each call: the application answers once in a call."""
        key = (device.bare_jid, device.identity_key)
        own = (device.bare_jid, device.device_id) == (self.user, self.device_id)
        if own or device.trust_level_name == UNDECIDED and not self.receiving:
            # `_make_trust_decision` will follow; about itself a device has nothing to decide.
            return omemo.TrustLevel.UNDECIDED
        # While receiving there is no other question, and `decrypt` refuses "distrusted" alone (omemo/session_manager.py:2134):
        # so the application decides here (README.md).
        if key not in self.answers:
            yes = self.notebook.consult("SessionManager._evaluate_custom_trust_level", self._fact(device))
            self.answers[key] = yes
            if yes and device.trust_level_name == UNDECIDED:
                await self.manager.set_trust(*key, TRUSTED)
        return omemo.TrustLevel.TRUSTED if self.answers[key] else omemo.TrustLevel.DISTRUSTED

    async def decide(self, undecided):
        for device in sorted(undecided, key=lambda device: (device.bare_jid, device.device_id)):
            key = (device.bare_jid, device.identity_key)
            yes = self.notebook.consult("SessionManager._make_trust_decision", self._fact(device))
            self.answers[key] = yes
            # The library wants some level other than undecided from then on; `evaluate` is the one who knows.
            await self.manager.set_trust(*key, TRUSTED)

    def download_bundle(self, user, device_id):
        if (user, device_id) not in self.offers:
            raise BundleNotFound(f"no bundle of device {device_id} of {user} was handed over")
        return self.offers[user, device_id][2]

    # What the application asks the library.

    async def encrypt(self, targets, plaintext):
        """Encrypts for OMEMO devices, each a user and an id. Returns the message, or None if nobody is left for whom it
        could be encrypted, and those for whom it is."""
        users = {user: set() for user, _ in targets}
        for user, device_id in targets:
            users[user].add(device_id)
        # The library writes to all devices on the lists of the users and of one's own user: so these are the lists.
        for user in users.keys() | {self.user}:
            ids = users.get(user, set()) | ({self.device_id} if user == self.user else set())
            await self.manager.update_device_list(NAMESPACE, user, dict.fromkeys(ids))
        recipients = frozenset(users)
        while True:
            try:
                messages, _ = await self.manager.encrypt(recipients, {NAMESPACE: plaintext})
                break
            except NoEligibleDevices as error:
                # The library refuses the message as a whole: that the others get it is this adapter's own doing.
                recipients -= error.bare_jids
            except (xeddsa.XEdDSAException, ValueError) as error:
                # Malformed keys.
                raise refused(error) from error
        # A no holds for this call. Next time the library makes its decision anew.
        for key, yes in self.answers.items():
            if not yes:
                await self.manager.set_trust(*key, UNDECIDED)
        message = next(iter(messages), None)
        reached = {(key.bare_jid, key.device_id) for key, _ in message.keys} if message is not None else set()
        return (message if reached else None), reached

    async def introduce(self, name, bundle, identity):
        """Opens a session from a bundle. The library has no call for that: it does so when it encrypts. What it encrypts
        here is empty and not sent, as if it had been lost on the way: the key exchange comes again with each message until
        there is an answer."""
        user, device_id = user_of(name), bundle.device_id
        if user == self.user and device_id == self.device_id:
            raise Refusal("bad_request", "a bundle of this very device")
        known = self.identity_of(name)
        if known is not None and known["device_key"] == identity["device_key"] and known != identity:
            # The same key under another account: what was trusted is another thing.
            await self.manager.set_trust(user, identity["device_key"], UNDECIDED)
        before = dict(self.storage.values)
        there = await self.backend.load_session(user, device_id) is not None
        self.offer(name, device_id, identity, bundle)
        _, reached = await self.encrypt([(user, device_id)], b"")
        if (user, device_id) in self.backend.failed:
            raise refused(self.backend.failed[user, device_id])
        if (user, device_id) not in reached:
            raise Refusal("untrusted_identity", f"the application does not trust the identity key of {name}")
        if there:
            # The library goes on with the session that it has, and has only been asked whom it trusts.
            self.storage.values = before
        else:
            self.notebook.note("session_opened", peer=name)
        self.adopt(user, device_id)

    async def decrypt(self, sender, given):
        """Decrypts a message that is said to be `sender`'s: what was in it, or None if it was empty."""
        user = user_of(sender)
        message, beside = wire.read_message(given, user)
        known = self.name_of(user, message.device_id)
        if known is None and beside is not None:
            bundle = wire.identity_bundle(user, message.device_id, beside["device_key"])
            self.offer(sender, message.device_id, beside, bundle)
        elif known not in (None, sender):
            raise Refusal("auth_failed", f"labelled as {sender}'s, and sent on the session with {known}")
        self.receiving = True
        try:
            plaintext, _, _ = await self.manager.decrypt(message)
        except Exception as error:
            raise refused(error) from error
        finally:
            self.receiving = False
        self.adopt(user, message.device_id)
        if (user, message.device_id) in self.backend.built:
            self.notebook.note("session_opened", peer=sender)
        return plaintext


def _manager(client):
    """The class of one device's `SessionManager`. It is made before the instance is there, and calls its own methods
    meanwhile: so the device is in the class."""

    class Manager(omemo.SessionManager):
        async def _upload_bundle(self, bundle):
            """`publish` asks the backend when the server wants a bundle."""

        async def _download_bundle(self, _namespace, bare_jid, device_id):
            return client.download_bundle(bare_jid, device_id)

        async def _delete_bundle(self, namespace, device_id):
            """Only a backend that is purged deletes its bundle, and none ever is."""

        async def _upload_device_list(self, namespace, device_list):
            """The harness keeps the device lists."""

        async def _download_device_list(self, _namespace, bare_jid):
            return client._listed(bare_jid)

        async def _evaluate_custom_trust_level(self, device):
            return await client.evaluate(device)

        async def _make_trust_decision(self, undecided, _identifier):
            await client.decide(undecided)

        async def _send_message(self, message, bare_jid):
            client.outbox.append((message, bare_jid))

    return Manager
