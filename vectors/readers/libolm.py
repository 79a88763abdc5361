#!/usr/bin/env python3
"""Plays the recorded vectors of Olm and Megolm on libolm, the C library (Debian: libolm3).

    python3 libolm.py [PATH...]     files, collections or directories; the vectors beside this script if none is named
    python3 libolm.py --json PATH   what became of them, for a program

Each vector is one passive device: what it starts with, and what is delivered to it, each time with the outcome that a
sound implementation shows (vectors/README.md). An Olm device starts from raw private keys, for which libolm has no
call; they are put into the form in which libolm stores an account, and unpickled.

Exit codes: 0 everything agrees, 1 it does not, 2 misuse, 3 libolm or the package `cryptography` is absent.
"""

import argparse
import base64
import ctypes
import ctypes.util
import hashlib
import json
import os
import sys

try:
    from cryptography.hazmat.primitives import hashes, hmac, padding
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
except ImportError as absent:
    print(f"the Python package `cryptography` is absent ({absent}): libolm has not confirmed anything", file=sys.stderr)
    sys.exit(3)

PROTOCOLS = ("olm", "megolm")
# What the stored form is encrypted with here. It never leaves this process.
PICKLE_KEY = b"libolm.py"


class Refused(Exception):
    """The device does not take the delivery."""


def library():
    """libolm, with the types of what is called here."""
    for name in ("libolm.so.3", ctypes.util.find_library("olm")):
        try:
            lib = ctypes.CDLL(name) if name else None
        except OSError:
            lib = None
        if lib is not None:
            break
    else:
        print("libolm is absent (Debian: apt-get install libolm3): it has not confirmed anything", file=sys.stderr)
        sys.exit(3)
    size, pointer = ctypes.c_size_t, ctypes.c_void_p
    text = [pointer, size]
    numbers = {
        "olm_error": [],
        "olm_account_size": [],
        "olm_session_size": [],
        "olm_inbound_group_session_size": [],
        "olm_unpickle_account": [pointer, *text, *text],
        "olm_remove_one_time_keys": [pointer, pointer],
        "olm_create_inbound_session_from": [pointer, pointer, *text, *text],
        "olm_matches_inbound_session_from": [pointer, *text, *text],
        "olm_decrypt_max_plaintext_length": [pointer, size, *text],
        "olm_decrypt": [pointer, size, *text, *text],
        "olm_pickle_session_length": [pointer],
        "olm_pickle_session": [pointer, *text, *text],
        "olm_unpickle_session": [pointer, *text, *text],
        "olm_init_inbound_group_session": [pointer, *text],
        "olm_import_inbound_group_session": [pointer, *text],
        "olm_inbound_group_session_id_length": [pointer],
        "olm_inbound_group_session_id": [pointer, *text],
        "olm_export_inbound_group_session_length": [pointer],
        "olm_export_inbound_group_session": [pointer, *text, ctypes.c_uint32],
        "olm_group_decrypt_max_plaintext_length": [pointer, *text],
        "olm_group_decrypt": [pointer, *text, *text, ctypes.POINTER(ctypes.c_uint32)],
    }
    for name, arguments in numbers.items():
        function = getattr(lib, name)
        function.restype, function.argtypes = size, arguments
    for name in ("olm_account", "olm_session", "olm_inbound_group_session"):
        function = getattr(lib, name)
        function.restype, function.argtypes = pointer, [pointer]
    for name in ("olm_account_last_error", "olm_session_last_error", "olm_inbound_group_session_last_error"):
        function = getattr(lib, name)
        function.restype, function.argtypes = ctypes.c_char_p, [pointer]
    lib.olm_inbound_group_session_first_known_index.restype = ctypes.c_uint32
    lib.olm_inbound_group_session_first_known_index.argtypes = [pointer]
    lib.olm_get_library_version.restype = None
    lib.olm_get_library_version.argtypes = [ctypes.POINTER(ctypes.c_uint8)] * 3
    return lib


LIB = library()
ERROR = LIB.olm_error()


def version():
    parts = [ctypes.c_uint8() for _ in range(3)]
    LIB.olm_get_library_version(*map(ctypes.byref, parts))
    return ".".join(str(part.value) for part in parts)


class Object:
    """An object of libolm's, in memory of ours: `kind` is account, session or inbound_group_session."""

    def __init__(self, kind):
        self.kind = kind
        self.last_error = getattr(LIB, f"olm_{kind}_last_error")
        self.renew()

    def renew(self):
        """Makes it an empty one."""
        self.memory = ctypes.create_string_buffer(getattr(LIB, f"olm_{self.kind}_size")())
        self.at = getattr(LIB, f"olm_{self.kind}")(self.memory)

    def call(self, name, *arguments):
        """Calls a function; bytes become a copy in memory of their own, since libolm decodes in place, and a length."""
        flat, copies = [], []
        for argument in arguments:
            if isinstance(argument, bytes):
                copies.append(ctypes.create_string_buffer(argument, len(argument)))
                flat += [ctypes.addressof(copies[-1]), len(argument)]
            elif isinstance(argument, ctypes.Array):
                flat += [ctypes.addressof(argument), len(argument)]
            else:
                flat.append(argument)
        result = getattr(LIB, name)(self.at, *flat)
        if result == ERROR:
            raise Refused(self.last_error(self.at).decode())
        return result


def output(length):
    """Room for what a call gives back. Never of no length: libolm is given a pointer to it."""
    return (ctypes.c_char * max(length, 1))()


def to_base64(data):
    """As libolm wants it: without padding."""
    return base64.b64encode(data).rstrip(b"=")


def from_base64(text):
    return base64.b64decode(text + b"=" * (-len(text) % 4))


def number(value):
    return value.to_bytes(4, "big")


def curve25519(private):
    public = X25519PrivateKey.from_private_bytes(private).public_key()
    return public.public_bytes(Encoding.Raw, PublicFormat.Raw) + private


def ed25519(private):
    """The public key and the expanded private one. Of an expanded key alone the public one is left open: it takes no
    part in what a passive device does."""
    if len(private) == 64:
        return bytes(32) + private
    expanded = bytearray(hashlib.sha512(private).digest())
    expanded[0] &= 248
    expanded[31] = expanded[31] & 63 | 64
    public = Ed25519PrivateKey.from_private_bytes(private).public_key()
    return public.public_bytes(Encoding.Raw, PublicFormat.Raw) + bytes(expanded)


def stored_account(start):
    """An account in the form in which libolm stores it: version 4 (libolm's src/account.cpp), encrypted as its
    src/pickle_encoding.c does it: AES-256-CBC and HMAC-SHA-256 cut to 8 bytes, with keys from HKDF-SHA-256."""
    one_time_keys = start["one_time_keys"]
    plain = number(4)
    plain += ed25519(bytes.fromhex(start["ed25519_priv"])) + curve25519(bytes.fromhex(start["curve25519_priv"]))
    plain += number(len(one_time_keys))
    for key in one_time_keys:
        plain += number(key["id"]) + b"\x01" + curve25519(bytes.fromhex(key["priv"]))
    # No fallback keys, and the number that the next one-time key would have.
    plain += b"\x00" + number(max([key["id"] for key in one_time_keys], default=0) + 1)

    keys = HKDF(hashes.SHA256(), 80, salt=None, info=b"Pickle").derive(PICKLE_KEY)
    aes_key, mac_key, iv = keys[:32], keys[32:64], keys[64:]
    padder = padding.PKCS7(128).padder()
    padded = padder.update(plain) + padder.finalize()
    encryptor = Cipher(algorithms.AES(aes_key), modes.CBC(iv)).encryptor()
    ciphertext = encryptor.update(padded) + encryptor.finalize()
    mac = hmac.HMAC(mac_key, hashes.SHA256())
    mac.update(ciphertext)
    return to_base64(ciphertext + mac.finalize()[:8])


class OlmDevice:
    """An account and its sessions."""

    def __init__(self, start):
        self.account = Object("account")
        self.account.call("olm_unpickle_account", PICKLE_KEY, stored_account(start["olm"]))
        # Of each sender, the one that was last received on first.
        self.sessions = {}

    def deliver(self, step):
        sender, message = bytes.fromhex(step["from"]), to_base64(bytes.fromhex(step["bytes"]))
        sessions = self.sessions.setdefault(sender, [])
        if step["kind"] == "message":
            plaintext = self.with_any(sessions, message)
        else:
            plaintext = self.prekey_message(sender, sessions, message)
        return {"plaintext": plaintext.hex(), "sender": sender.hex()}

    def with_any(self, sessions, message):
        refusal = Refused("there is no session with this device")
        for session in list(sessions):
            try:
                plaintext = decrypt(session, 1, message)
            except Refused as error:
                refusal = error
            else:
                sessions.remove(session)
                sessions.insert(0, session)
                return plaintext
        raise refusal

    def prekey_message(self, sender, sessions, message):
        identity = to_base64(sender)
        for session in list(sessions):
            if session.call("olm_matches_inbound_session_from", identity, message) == 1:
                return decrypt(session, 0, message)
        session = Object("session")
        session.call("olm_create_inbound_session_from", self.account.at, identity, message)
        plaintext = decrypt(session, 0, message)
        # Only now is it certain that the message was meant.
        self.account.call("olm_remove_one_time_keys", session.at)
        sessions.insert(0, session)
        return plaintext


def decrypt(session, kind, message):
    """Decrypts, or leaves the session as it was."""
    before = output(session.call("olm_pickle_session_length"))
    session.call("olm_pickle_session", PICKLE_KEY, before)
    try:
        room = output(session.call("olm_decrypt_max_plaintext_length", kind, message))
        length = session.call("olm_decrypt", kind, message, room)
        return room.raw[:length]
    except Refused:
        # Into an object of its own: libolm adds the lists that it unpickles to those that are there.
        session.renew()
        session.call("olm_unpickle_session", PICKLE_KEY, before.raw)
        raise


class MegolmDevice:
    """Sessions by their ids, which are their signing keys."""

    def __init__(self, _):
        self.sessions = {}

    def deliver(self, step):
        data = to_base64(bytes.fromhex(step["bytes"]))
        if step["kind"] == "megolm_message":
            return self.decrypt(data)
        session = Object("inbound_group_session")
        calls = {
            "session_key": "olm_init_inbound_group_session",
            "exported_session_key": "olm_import_inbound_group_session",
        }
        session.call(calls[step["kind"]], data)
        self.keep(session)
        return {}

    def keep(self, session):
        """Of two that are one session at two indexes the earlier is kept. If they are not, the one that is here stays."""
        room = output(session.call("olm_inbound_group_session_id_length"))
        session.call("olm_inbound_group_session_id", room)
        known = self.sessions.get(room.raw)
        if known is not None:
            index = max(first_index(known), first_index(session))
            if exported(known, index) != exported(session, index):
                raise Refused("another session has that id")
            if first_index(known) <= first_index(session):
                return
        self.sessions[room.raw] = session

    def decrypt(self, message):
        refusal = Refused("there is no session")
        for session_id, session in self.sessions.items():
            index = ctypes.c_uint32()
            try:
                room = output(session.call("olm_group_decrypt_max_plaintext_length", message))
                length = session.call("olm_group_decrypt", message, room, ctypes.byref(index))
            except Refused as error:
                refusal = error
            else:
                sender = from_base64(session_id)
                return {"plaintext": room.raw[:length].hex(), "sender": sender.hex(), "message_index": index.value}
        raise refusal


def first_index(session):
    return LIB.olm_inbound_group_session_first_known_index(session.at)


def exported(session, index):
    room = output(session.call("olm_export_inbound_group_session_length"))
    session.call("olm_export_inbound_group_session", room, index)
    return room.raw


DEVICES = {"olm": OlmDevice, "megolm": MegolmDevice}


def wrong(facts, shown):
    """Why what a device shows is not what is expected, or None."""
    if "plaintext" not in facts and "plaintext" in shown:
        return f"a message was read: {shown['plaintext']}"
    for name, fact in facts.items():
        if shown.get(name) != fact:
            return f"{name} is {shown.get(name)}, not {fact}"
    return None


def play(vector):
    """What is wrong with each delivery: (name, what was observed, why), for those that are not as expected."""
    device = DEVICES[vector["protocol"]](vector["start"])
    for step in vector["deliveries"]:
        ((outcome, facts),) = step["expected"].items()
        try:
            shown = device.deliver(step)
        except Refused as refusal:
            if outcome == "accepted":
                yield step["name"], "rejected", f"refused, and accepted was expected: {refusal}"
            continue
        if outcome == "rejected":
            yield step["name"], "accepted", "accepted, and a refusal was expected"
        elif (why := wrong(facts, shown)) is not None:
            yield step["name"], "accepted", why


def json_files(path):
    if not os.path.isdir(path):
        yield path
        return
    for directory, directories, files in os.walk(path):
        directories.sort()
        yield from (os.path.join(directory, file) for file in sorted(files) if file.endswith(".json"))


def read(paths):
    """Every vector of these protocols, once, by id: collections repeat what lies in files of their own."""
    vectors = {}
    for path in paths:
        for file in json_files(path):
            with open(file, encoding="utf-8") as opened:
                content = json.load(opened)
            for vector in content["vectors"] if "vectors" in content else [content]:
                if vector["protocol"] in PROTOCOLS:
                    vectors.setdefault(vector["id"], vector)
    return [vectors[key] for key in sorted(vectors)]


def main():
    beside = os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "recorded")
    parser = argparse.ArgumentParser(description="Plays the recorded vectors of Olm and Megolm on libolm.")
    parser.add_argument("paths", nargs="*", metavar="PATH", default=[beside], help="files, collections or directories")
    parser.add_argument("--json", action="store_true", help="tell what became of them in JSON")
    options = parser.parse_args()
    try:
        vectors = read(options.paths)
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"{error.__class__.__name__}: {error}", file=sys.stderr)
        return 2

    agrees, known, unknown = [], [], []
    table = {
        protocol: dict.fromkeys(("files", "deliveries", "accepted", "rejected", "harmless"), 0)
        for protocol in PROTOCOLS
    }
    for vector in vectors:
        counts = table[vector["protocol"]]
        counts["files"] += 1
        counts["deliveries"] += len(vector["deliveries"])
        for step in vector["deliveries"]:
            counts[next(iter(step["expected"]))] += 1
        explained = {
            (entry["delivery"], entry["observed"])
            for entry in vector.get("disagreements", [])
            if entry["implementation"] == "libolm"
        }
        found = list(play(vector))
        for name, observed, why in found:
            (known if (name, observed) in explained else unknown).append(f"{vector['id']}: `{name}`: {why}")
        if not found:
            agrees.append(vector["id"])

    if options.json:
        by = {"implementation": "libolm", "version": version(), "crypto_provider": "its own"}
        print(json.dumps({"by": by, "agrees": agrees, "known": known, "unknown": unknown}, indent=2))
    else:
        print(f"libolm {version()}")
        columns = list(next(iter(table.values())))
        print("protocol  " + "".join(f"{column:>12}" for column in columns))
        for protocol, counts in table.items():
            print(f"{protocol:<10}" + "".join(f"{counts[column]:>12}" for column in columns))
        for title, sentences in (("known disagreements", known), ("DISAGREEMENTS", unknown)):
            if sentences:
                print(f"\n{title}:")
                print("\n".join(f"  {sentence}" for sentence in sentences))
        print(f"\n{len(agrees)} of {len(vectors)} files agree")
    return 1 if unknown else 0


if __name__ == "__main__":
    sys.exit(main())
