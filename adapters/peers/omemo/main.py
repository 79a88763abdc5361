"""OMEMO 2 with python-omemo, over the stdio protocol of E2ESM. See README.md."""

import gc

# Nothing that is made while modules are imported is ever freed: collecting in between only costs time.
gc.disable()

import omemo  # noqa: E402
import twomemo  # noqa: E402
from twomemo.version import __version__ as twomemo_version  # noqa: E402

from device import OmemoDevice  # noqa: E402
from e2esm import serve  # noqa: E402

gc.freeze()
gc.enable()

PER_MESSAGE = "each message has a key of its own, encrypted for the devices of that moment"

DESCRIPTION = {
    "name": "omemo",
    "implementation": "python-omemo",
    "version": f"{omemo.__version__} (twomemo {twomemo_version})",
    "protocol": "OMEMO (XEP-0384 version 0.8)",
    "cipher_suite": "urn:xmpp:omemo:2: X3DH and Double Ratchet (X25519, Ed25519, HKDF-SHA-256, AES-256-CBC, HMAC-SHA-256 cut to 16 bytes)",
    "crypto_provider": "libxeddsa and cryptography",
    "configuration": {
        "trust": "the custom levels undecided and trusted; the application is asked at each encryption to and decryption from a key, whatever its level; the library itself would decrypt from an undecided key",
        "recipients": "a user without a trusted device that has a session is left out, and the rest is encrypted for; the library refuses such a message as a whole (NoEligibleDevices)",
        "skipped message keys": "1000 for each session and each message, the default",
        "history synchronisation": "ended at once: used pre keys are deleted and empty messages sent right away",
        "signed pre key": "rotated after 7 days, the default: never within a scenario",
        "staleness": f"an empty message after more than {omemo.SessionManager.STALENESS_MAGIC_NUMBER} messages without an answer, the library's own number",
        "bundles": "one pre key each out of the 100 that are published, and each given to one peer only",
        "device lists": "before each message set to the devices of the roster: the harness is the server",
        "payload": "XEP-0420 with from, to and padding to 64 bytes; sender and group are checked when it is read",
        "account": "an Ed25519 account key vouches for the identity keys of a user's devices; OMEMO itself has no such thing",
    },
    "group_object": False,
    "unsupported": {
        "epochs": "membership is managed by the server: there is no group state to agree on, and nothing is numbered",
        "key_distribution": f"there are no sender keys: {PER_MESSAGE}",
        "history": f"there is no call that hands on keys of earlier messages: {PER_MESSAGE}",
        "key_request": "OMEMO has no requests for keys",
        "external_join": "there is no public group information with which a device could join by its own act",
        "ratchet_tree": "MLS only: there is no tree, and an invitation holds the list of members",
        "standard_keys": "there are no recorded vectors of OMEMO",
        "wrong_leaf_signature": "MLS only: there are no leaves",
        "wrong_parent_hash": "MLS only: there is no tree",
        "wrong_confirmation_tag": "MLS only: there are no commits",
        "forged_key_distribution": "there are no sender keys that could be forged",
        "uninvited_join": "there is no joining by one's own act, invited or not",
    },
}

if __name__ == "__main__":
    serve(DESCRIPTION, OmemoDevice)
