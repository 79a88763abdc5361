"""A Megolm receiver.

The whole of Matrix's "Megolm group ratchet" (https://spec.matrix.org/unstable/olm-megolm/megolm/) as far as a
receiver needs it. Section names in the docstrings are those of that document.
"""

import hmac
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from outcome import Refused, Shown

MAC_LENGTH = 8
SIGNATURE_LENGTH = 64
EXPORT_LENGTH = 1 + 4 + 4 * 32 + 32
SHARING_LENGTH = EXPORT_LENGTH + SIGNATURE_LENGTH


def hmac_sha256(key: bytes, data: bytes) -> bytes:
    """HMAC-SHA-256 (RFC 2104)."""
    return hmac.digest(key, data, "sha256")


def hkdf_sha256(key_material: bytes, info: bytes, length: int) -> bytes:
    """HKDF-SHA-256 with a salt of zeros (RFC 5869)."""
    key, block, output, count = hmac_sha256(bytes(32), key_material), b"", b"", 0
    while len(output) < length:
        count += 1
        block = hmac_sha256(key, block + info + bytes([count]))
        output += block
    return output[:length]


def check_ed25519(public_key: bytes, signature: bytes, signed: bytes) -> bool:
    """Whether an Ed25519 signature fits (RFC 8032)."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, signed)
    except (InvalidSignature, ValueError):
        return False
    return True


@dataclass(frozen=True)
class Ratchet:
    """The value of the ratchet at `index`: four parts of 32 bytes ("The Megolm ratchet algorithm")."""

    index: int
    parts: tuple[bytes, ...]

    def at(self, index: int) -> "Ratchet":
        """The ratchet wound forward to `index`, in at most 4 * 256 steps.

        Part j changes where 2^(24 - 8j) divides the index. At such an index, part j and those below it become H_j,
        H_j+1, ... of the old part j: so the coarsest part is wound first, and each of its steps but the last one need
        only be done for itself, since the next one overwrites all that is below.
        """
        parts = list(self.parts)
        reached = self.index
        for part, bits in enumerate((24, 16, 8, 0)):
            steps = (index >> bits) - (reached >> bits)
            for step in range(steps):
                old = parts[part]
                for below in range(part, 4 if step == steps - 1 else part + 1):
                    parts[below] = hmac_sha256(old, bytes([below]))
            if steps:
                reached = (index >> bits) << bits
        return Ratchet(index, tuple(parts))

    def message_keys(self) -> tuple[bytes, bytes, bytes]:
        """AES key, HMAC key and AES IV for the message of this index ("Message encryption")."""
        keys = hkdf_sha256(b"".join(self.parts), b"MEGOLM_KEYS", 80)
        return keys[:32], keys[32:64], keys[64:]


@dataclass(frozen=True)
class Session:
    """A session as a receiver holds it: its first known ratchet value and its Ed25519 key."""

    ratchet: Ratchet
    public_key: bytes


@dataclass(frozen=True)
class Message:
    """A message, taken apart ("Message format")."""

    index: int
    ciphertext: bytes
    mac: bytes
    signature: bytes
    covered_by_mac: bytes
    covered_by_signature: bytes


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """An integer, seven bits a byte and the least significant first; also where it ends."""
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise Refused("malformed: an integer has no end")
        value |= (data[at] & 0x7F) << shift
        shift += 7
        at += 1
        if not data[at - 1] & 0x80:
            return value, at


def read_message(data: bytes) -> Message:
    """Take a message apart. Fields of other tags are passed over, as in Protocol Buffers; the last of a tag counts."""
    if len(data) < 1 + MAC_LENGTH + SIGNATURE_LENGTH or data[0] != 3:
        raise Refused("malformed: not a message of version 3")
    covered_by_mac = data[: -MAC_LENGTH - SIGNATURE_LENGTH]
    fields: dict[int, int | bytes] = {}
    at = 1
    while at < len(covered_by_mac):
        tag, at = read_varint(covered_by_mac, at)
        value, at = read_varint(covered_by_mac, at)
        if tag & 7 == 0:
            fields[tag] = value
        elif tag & 7 == 2 and at + value <= len(covered_by_mac):
            fields[tag] = covered_by_mac[at : at + value]
            at += value
        else:
            raise Refused("malformed: a field of an unknown kind, or one longer than the message")
    index, ciphertext = fields.get(0x08), fields.get(0x12)
    if not isinstance(index, int) or not isinstance(ciphertext, bytes):
        raise Refused("malformed: a message needs an index and a ciphertext")
    if index > 0xFFFFFFFF:
        raise Refused("malformed: the index is a 32-bit counter")
    return Message(
        index=index,
        ciphertext=ciphertext,
        mac=data[-MAC_LENGTH - SIGNATURE_LENGTH : -SIGNATURE_LENGTH],
        signature=data[-SIGNATURE_LENGTH:],
        covered_by_mac=covered_by_mac,
        covered_by_signature=data[:-SIGNATURE_LENGTH],
    )


def decrypt(session: Session, message: Message) -> bytes:
    """The plaintext of a message whose signature is known to fit ("Message encryption")."""
    if message.index < session.ratchet.index:
        raise Refused(f"the session is known from index {session.ratchet.index} on, and this is {message.index}")
    aes_key, mac_key, iv = session.ratchet.at(message.index).message_keys()
    if not hmac.compare_digest(hmac_sha256(mac_key, message.covered_by_mac)[:MAC_LENGTH], message.mac):
        raise Refused("the MAC does not fit")
    if not message.ciphertext or len(message.ciphertext) % 16:
        raise Refused("malformed: the ciphertext is not a number of AES blocks")
    decryptor = Cipher(algorithms.AES(aes_key), modes.CBC(iv)).decryptor()
    padded = decryptor.update(message.ciphertext) + decryptor.finalize()
    length = padded[-1]
    if not 1 <= length <= 16 or padded[-length:] != bytes([length]) * length:
        raise Refused("malformed: the padding is not that of PKCS#7")
    return padded[:-length]


class MegolmDevice:
    """A receiver with the sessions that it was given.

    It may be given several keys with one Ed25519 key: the same session from another index on, or a false one, since an
    export is not signed. All are held and tried: a false key then takes nothing away from a true one.
    """

    def __init__(self) -> None:
        self.sessions: list[Session] = []

    def take(self, kind: str, data: bytes) -> Shown:
        """One delivery: what is shown of it, or Refused."""
        if kind == "session_key":
            return self._hold(data, version=2, length=SHARING_LENGTH)
        if kind == "exported_session_key":
            return self._hold(data, version=1, length=EXPORT_LENGTH)
        if kind == "megolm_message":
            return self._read(data)
        raise Refused(f"{kind} is nothing of Megolm's")

    def _hold(self, data: bytes, version: int, length: int) -> Shown:
        """A session key, signed ("Session sharing format") or not ("Session export format")."""
        if len(data) != length or data[0] != version:
            raise Refused(f"malformed: not a session key of version {version} and {length} bytes")
        public_key = data[133:165]
        if version == 2 and not check_ed25519(public_key, data[165:], data[:165]):
            raise Refused("the session key's signature does not fit")
        parts = tuple(data[5 + 32 * part : 37 + 32 * part] for part in range(4))
        session = Session(Ratchet(int.from_bytes(data[1:5], "big"), parts), public_key)
        if session not in self.sessions:
            self.sessions.append(session)
        return {"sender": public_key.hex()}

    def _read(self, data: bytes) -> Shown:
        """A message. It does not name its session: the one whose key has signed it is meant."""
        message = read_message(data)
        signers = [
            session
            for session in self.sessions
            if check_ed25519(session.public_key, message.signature, message.covered_by_signature)
        ]
        refusal = Refused("no session that is held here has signed it")
        for session in signers:
            try:
                plaintext = decrypt(session, message)
            except Refused as why:
                refusal = why
            else:
                return {
                    "plaintext": plaintext.hex(),
                    "sender": session.public_key.hex(),
                    "message_index": message.index,
                }
        raise refusal
