"""Cipher suites of MLS, and HPKE in base mode as far as a receiver needs it.

RFC 9420, sections 5.1, 5.2 and 8; RFC 9180, sections 4, 5.1, 5.3 and 7.1.
"""

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, x448, x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from outcome import Immutable, Refused


def opaque(data: bytes) -> bytes:
    """A variable-length vector: its length in the fewest bytes, then its content (RFC 9420, 2.1.2)."""
    length = len(data)
    if length < 1 << 6:
        return length.to_bytes(1, "big") + data
    if length < 1 << 14:
        return (length | 1 << 14).to_bytes(2, "big") + data
    return (length | 2 << 30).to_bytes(4, "big") + data


class MontgomeryCurve:
    """Diffie-Hellman on X25519 or X448 (RFC 7748; RFC 9180, 7.1)."""

    def __init__(self, private: type, public: type, length: int) -> None:
        self.private, self.public, self.private_length = private, public, length

    def public_key(self, private: bytes) -> bytes:
        """The public key of a private one."""
        return self.private.from_private_bytes(private).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    def exchange(self, private: bytes, public: bytes) -> bytes:
        """The shared secret. ValueError if it is all zero, as RFC 9180, 7.1.4 demands."""
        return self.private.from_private_bytes(private).exchange(self.public.from_public_bytes(public))

    def check_public_key(self, public: bytes) -> None:
        """ValueError if it is no public key."""
        self.public.from_public_bytes(public)

    def derive_private_key(self, expand: Callable[[bytes, bytes, int], bytes]) -> bytes:
        """The second half of DeriveKeyPair (RFC 9180, 7.1.3)."""
        return expand(b"sk", b"", self.private_length)


class WeierstrassCurve:
    """Diffie-Hellman on a NIST curve; public keys are uncompressed points (RFC 9180, 7.1)."""

    def __init__(self, curve: ec.EllipticCurve, length: int, order: int, first_byte_mask: int) -> None:
        self.curve, self.private_length, self.order, self.mask = curve, length, order, first_byte_mask

    def public_key(self, private: bytes) -> bytes:
        """The public key of a private one."""
        key = ec.derive_private_key(int.from_bytes(private, "big"), self.curve)
        return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)

    def point(self, public: bytes) -> ec.EllipticCurvePublicKey:
        """A point of the curve, in its uncompressed form, or ValueError."""
        if public[:1] != b"\x04":
            raise ValueError("not an uncompressed point")
        return ec.EllipticCurvePublicKey.from_encoded_point(self.curve, public)

    def exchange(self, private: bytes, public: bytes) -> bytes:
        """The shared secret: an x coordinate."""
        key = ec.derive_private_key(int.from_bytes(private, "big"), self.curve)
        return key.exchange(ec.ECDH(), self.point(public))

    def check_public_key(self, public: bytes) -> None:
        """ValueError if it is no public key."""
        self.point(public)

    def derive_private_key(self, expand: Callable[[bytes, bytes, int], bytes]) -> bytes:
        """The second half of DeriveKeyPair (RFC 9180, 7.1.3)."""
        for counter in range(256):
            candidate = bytearray(expand(b"candidate", bytes([counter]), self.private_length))
            candidate[0] &= self.mask
            if 0 < int.from_bytes(candidate, "big") < self.order:
                return bytes(candidate)
        raise ValueError("no private key in 256 attempts")


X25519 = MontgomeryCurve(x25519.X25519PrivateKey, x25519.X25519PublicKey, 32)
X448 = MontgomeryCurve(x448.X448PrivateKey, x448.X448PublicKey, 56)
P256 = WeierstrassCurve(ec.SECP256R1(), 32, 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551, 0xFF)

ED25519 = ed25519.Ed25519PublicKey
ED448 = ed448.Ed448PublicKey


@dataclass(frozen=True)
class Suite(Immutable):
    """A cipher suite: its primitives, and the functions that RFC 9420 builds from them."""

    number: int
    kem: MontgomeryCurve | WeierstrassCurve
    kem_id: int  # RFC 9180, 7.1
    hash_name: str
    kdf_id: int  # RFC 9180, 7.2
    aead: type
    aead_id: int  # RFC 9180, 7.3
    key_length: int
    signature: type | WeierstrassCurve

    nonce_length = 12

    # Hashes, and the functions of the key schedule (RFC 9420, 8)

    @property
    def hash_length(self) -> int:
        """KDF.Nh."""
        return hashlib.new(self.hash_name).digest_size

    def hash(self, data: bytes) -> bytes:
        """The suite's hash."""
        return hashlib.new(self.hash_name, data).digest()

    def ref_hash(self, label: str, value: bytes) -> bytes:
        """RefHash (RFC 9420, 5.2)."""
        return self.hash(opaque(label.encode()) + opaque(value))

    def mac(self, key: bytes, data: bytes) -> bytes:
        """The suite's MAC: HMAC with its hash."""
        return hmac.digest(key, data, self.hash_name)

    def extract(self, salt: bytes, key_material: bytes) -> bytes:
        """KDF.Extract (RFC 5869, 2.2)."""
        return hmac.digest(salt, key_material, self.hash_name)

    def expand(self, key: bytes, info: bytes, length: int) -> bytes:
        """KDF.Expand (RFC 5869, 2.3)."""
        block, output, count = b"", b"", 0
        while len(output) < length:
            count += 1
            block = hmac.digest(key, block + info + bytes([count]), self.hash_name)
            output += block
        return output[:length]

    def expand_with_label(self, secret: bytes, label: str, context: bytes, length: int) -> bytes:
        """ExpandWithLabel (RFC 9420, 8)."""
        info = length.to_bytes(2, "big") + opaque(b"MLS 1.0 " + label.encode()) + opaque(context)
        return self.expand(secret, info, length)

    def derive_secret(self, secret: bytes, label: str) -> bytes:
        """DeriveSecret (RFC 9420, 8)."""
        return self.expand_with_label(secret, label, b"", self.hash_length)

    # Signatures (RFC 9420, 5.1.2)

    def verify(self, public_key: bytes, label: str, content: bytes, signature: bytes, what: str) -> None:
        """VerifyWithLabel; Refused if the signature does not fit."""
        signed = opaque(b"MLS 1.0 " + label.encode()) + opaque(content)
        try:
            if isinstance(self.signature, WeierstrassCurve):
                self.signature.point(public_key).verify(signature, signed, ec.ECDSA(hashes.SHA256()))
            else:
                self.signature.from_public_bytes(public_key).verify(signature, signed)
        except (InvalidSignature, ValueError):
            raise Refused(f"the signature of {what} does not fit") from None

    def check_signature_key(self, public_key: bytes) -> None:
        """Refused if these bytes are no signature public key of the suite."""
        try:
            if isinstance(self.signature, WeierstrassCurve):
                self.signature.point(public_key)
            else:
                self.signature.from_public_bytes(public_key)
        except ValueError:
            raise Refused("a signature key is none of this cipher suite") from None

    # AEAD

    def open(self, key: bytes, nonce: bytes, ciphertext: bytes, aad: bytes, what: str) -> bytes:
        """AEAD.Open; Refused if the tag does not fit."""
        try:
            return self.aead(key).decrypt(nonce, ciphertext, aad)
        except (InvalidTag, ValueError):
            raise Refused(f"{what} cannot be decrypted") from None

    # HPKE (RFC 9180)

    @property
    def _kem_suite(self) -> bytes:
        return b"KEM" + self.kem_id.to_bytes(2, "big")

    @property
    def _hpke_suite(self) -> bytes:
        ids = (self.kem_id, self.kdf_id, self.aead_id)
        return b"HPKE" + b"".join(number.to_bytes(2, "big") for number in ids)

    def _labeled_extract(self, suite: bytes, salt: bytes, label: bytes, key_material: bytes) -> bytes:
        """LabeledExtract (RFC 9180, 4)."""
        return self.extract(salt, b"HPKE-v1" + suite + label + key_material)

    def _labeled_expand(self, suite: bytes, key: bytes, label: bytes, info: bytes, length: int) -> bytes:
        """LabeledExpand (RFC 9180, 4)."""
        return self.expand(key, length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info, length)

    def _shared_secret(self, private_key: bytes, kem_output: bytes) -> bytes:
        """Decap of DHKEM (RFC 9180, 4.1)."""
        try:
            secret = self.kem.exchange(private_key, kem_output)
        except ValueError:
            raise Refused("an HPKE encapsulated key is none of this cipher suite, or of small order") from None
        key = self._labeled_extract(self._kem_suite, b"", b"eae_prk", secret)
        context = kem_output + self.kem.public_key(private_key)
        return self._labeled_expand(self._kem_suite, key, b"shared_secret", context, self.hash_length)

    def _schedule(self, private_key: bytes, kem_output: bytes, info: bytes) -> Callable[[bytes, int], bytes]:
        """KeySchedule in base mode (RFC 9180, 5.1): a function from a label and a length to a key."""
        context = b"\x00"
        context += self._labeled_extract(self._hpke_suite, b"", b"psk_id_hash", b"")
        context += self._labeled_extract(self._hpke_suite, b"", b"info_hash", info)
        shared_secret = self._shared_secret(private_key, kem_output)
        secret = self._labeled_extract(self._hpke_suite, shared_secret, b"secret", b"")
        return lambda label, length: self._labeled_expand(self._hpke_suite, secret, label, context, length)

    def decrypt_with_label(
        self, private_key: bytes, label: str, context: bytes, kem_output: bytes, ciphertext: bytes, what: str
    ) -> bytes:
        """DecryptWithLabel (RFC 9420, 5.1.3)."""
        info = opaque(b"MLS 1.0 " + label.encode()) + opaque(context)
        derive = self._schedule(private_key, kem_output, info)
        key, nonce = derive(b"key", self.key_length), derive(b"base_nonce", self.nonce_length)
        return self.open(key, nonce, ciphertext, b"", what)

    def hpke_export(self, private_key: bytes, kem_output: bytes, context: bytes, length: int) -> bytes:
        """SetupBaseR and Context.Export with an empty info (RFC 9180, 5.3; RFC 9420, 8.3)."""
        exporter = self._schedule(private_key, kem_output, b"")(b"exp", self.hash_length)
        return self._labeled_expand(self._hpke_suite, exporter, b"sec", context, length)

    def derive_key_pair(self, secret: bytes) -> tuple[bytes, bytes]:
        """DeriveKeyPair (RFC 9180, 7.1.3): the private and the public key."""
        key = self._labeled_extract(self._kem_suite, b"", b"dkp_prk", secret)
        private_key = self.kem.derive_private_key(
            lambda label, info, length: self._labeled_expand(self._kem_suite, key, label, info, length)
        )
        return private_key, self.kem.public_key(private_key)

    def check_encryption_key(self, public_key: bytes) -> None:
        """Refused if these bytes are no HPKE public key of the suite."""
        try:
            self.kem.check_public_key(public_key)
        except ValueError:
            raise Refused("an encryption key is none of this cipher suite") from None


# RFC 9420, 17.1. In all of these the KDF of the KEM, of HPKE and of MLS is HKDF with the hash of the suite.
# 0x0005 (P-521) and 0x0007 (P-384) are left out.
SUITES = {
    suite.number: suite
    for suite in (
        Suite(0x0001, X25519, 0x0020, "sha256", 1, AESGCM, 1, 16, ED25519),
        Suite(0x0002, P256, 0x0010, "sha256", 1, AESGCM, 1, 16, P256),
        Suite(0x0003, X25519, 0x0020, "sha256", 1, ChaCha20Poly1305, 3, 32, ED25519),
        Suite(0x0004, X448, 0x0021, "sha512", 3, AESGCM, 2, 32, ED448),
        Suite(0x0006, X448, 0x0021, "sha512", 3, ChaCha20Poly1305, 3, 32, ED448),
    )
}
