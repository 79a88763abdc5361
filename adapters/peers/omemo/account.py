"""A user's account key, which vouches for the keys of the user's devices: the scheme of `adapters/account`.

In OMEMO each device has an identity key of its own, and nothing says which of them belong together: the library leaves to
its application whom to trust. This is what such an application does here. The account key is part of the state of a
user's first device; a linked device holds a voucher and the public key only.
"""

import json

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from e2esm import Refusal

CONTEXT = b"E2ESM device voucher v1\0"


def _statement(device, device_key):
    """What an account key signs (PROTOCOL.md, "Values")."""
    user, name = device.split("/")
    parts = [user.encode(), name.encode(), device_key]
    return CONTEXT + b"".join(len(part).to_bytes(8, "big") + part for part in parts)


def found(device, device_key):
    """A fresh account, as JSON has it, whose first device this is."""
    key = Ed25519PrivateKey.generate()
    return {
        "secret": key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption()).hex(),
        "account_key": key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex(),
        "voucher": key.sign(_statement(device, device_key)).hex(),
    }


def vouch(account, device, device_key):
    """An authorisation for another device. Checks nothing: whoever calls it has decided."""
    if account["secret"] is None:
        raise Refusal("bad_request", "this is a linked device: it holds no account key")
    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(account["secret"]))
    grant = {"account_key": account["account_key"], "voucher": key.sign(_statement(device, device_key)).hex()}
    return json.dumps(grant, separators=(",", ":")).encode()


def linked(authorisation):
    """The account of a device that an authorisation was given for."""
    try:
        grant = json.loads(authorisation)
        account_key, voucher = (bytes.fromhex(grant.pop(field)) for field in ("account_key", "voucher"))
        if grant or len(account_key) != 32 or len(voucher) != 64:
            raise ValueError("wrong fields or lengths")
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise Refusal("bad_request", f"malformed authorisation: {error}") from None
    return {"secret": None, "account_key": account_key.hex(), "voucher": voucher.hex()}
