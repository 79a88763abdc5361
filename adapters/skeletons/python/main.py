"""An adapter's skeleton: it runs, and honestly says `unsupported` to everything that it does not do yet.

Write the methods below `Device` over your library, from top to bottom, and add those that you need from METHODS in e2esm.py.
What has no method is declared unsupported by itself; `unsupported` in the description is for better reasons. PROTOCOL.md of
the project says what each call is to do.
"""

import os

from e2esm import Refusal, serve

DESCRIPTION = {
    "name": "my-adapter",  # unique: at most 64 of a-z, 0-9, -, _ and ., not beginning with .
    "implementation": "my library",
    "version": "0.0.0",  # of the library, exactly
    "protocol": "none yet",
    "cipher_suite": "none yet",
    "crypto_provider": "none yet",
    "configuration": {},  # each setting that bears on an outcome, name to value
    "group_object": False,  # whether the library itself has groups
    "unsupported": {
        "groups": "not written yet: create_group, change, wants, send and receive come first",
        # No method stands for these: once there are groups, take out what your protocol has, and give the reason for the rest.
        "third_member": "not written yet: a group has two members at most",
        "epochs": "not written yet: members do not agree on a numbered group state",
        "key_distribution": "not written yet: no sender keys travel in packets of their own",
    },
}


class Device:
    """One user's one client. `id` is who it claims to be: `user/device`. Nothing is shared between devices."""

    def __init__(self, id, notebook):
        self.id = id
        self.notebook = notebook  # consult, require, note: see e2esm.py
        self.key = os.urandom(32)  # your library's key pair goes here
        self.groups = {}

    def identity(self):
        """The public keys that this device stands for. With one key only, both are equal and the voucher is empty."""
        return {"account_key": self.key, "device_key": self.key, "voucher": b""}

    def roster(self, group):
        """Who is in the group, as this device sees it."""
        if group not in self.groups:
            raise Refusal("bad_request", f"no group {group}")
        return {"members": sorted(self.groups[group]), "authenticated": False}

    # def publish(self, peer): return {"device": self.id, "bytes": ...}
    # def create_group(self, group): self.groups[group] = {self.id}
    # def change(self, group, change): return {"packets": [{"kind": "change", "group": group, "from": self.id, "to": {"group": group}, "bytes": ...}]}
    # def wants(self, group): return []
    # def send(self, group, plaintext): return {"packets": [{"kind": "message", ...}]}
    # def receive(self, packet): return {"message": {"group": packet["group"], "sender": ..., "plaintext": ...}}


if __name__ == "__main__":
    serve(DESCRIPTION, Device)
