"""What goes into packets: OMEMO's own elements in XML, the envelope inside its payload, and the group management's JSON.

The elements are those of XEP-0384 version 0.8 ("urn:xmpp:omemo:2"), read and written as `twomemo/etree.py` does it. That
module itself is not used: the XML Schema library that it needs takes longer to import than everything else together.
"""

import base64
import json
import secrets
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

import google.protobuf.message
import x3dh
from omemo import Message
from twomemo.twomemo import NAMESPACE, BundleImpl, ContentImpl, EncryptedKeyMaterialImpl, KeyExchangeImpl

from e2esm import Refusal

OMEMO = f"{{{NAMESPACE}}}"
#: What XMPP has from the server and here travels beside: who a device is.
E2ESM_NAMESPACE = "urn:e2esm:omemo:1"
E2ESM = f"{{{E2ESM_NAMESPACE}}}"
#: Stanza Content Encryption, XEP-0420.
SCE_NAMESPACE = "urn:xmpp:sce:1"
SCE = f"{{{SCE_NAMESPACE}}}"

#: Envelopes are padded to a multiple of this, so that sizes are the same in every run.
PADDED_TO = 64


def _base64(given):
    return base64.b64encode(given).decode("ASCII")


def _bytes(text):
    return base64.b64decode(text or "", validate=True)


def _parse(given, tag, what):
    # An entity could be made to grow without end, and there is no document type in XMPP (RFC 6120, section 11.1).
    if b"<!" in given or b"<?" in given:
        raise Refusal("bad_request", f"malformed {what}: only elements are allowed")
    try:
        element = ElementTree.fromstring(given)
    except (ElementTree.ParseError, ValueError) as error:
        raise Refusal("bad_request", f"malformed {what}: {error}") from None
    if element.tag != tag:
        raise Refusal("bad_request", f"malformed {what}: a {element.tag}")
    return element


def _child(element, tag, what):
    found = element.findall(tag)
    if len(found) != 1:
        raise Refusal("bad_request", f"malformed {what}: {len(found)} of {tag}")
    return found[0]


class _Reading:
    """Whatever is wrong in a document is a malformed document."""

    def __init__(self, what):
        self.what = what

    def __enter__(self):
        return self

    def __exit__(self, _, error, __):
        if isinstance(error, (ValueError, TypeError, KeyError, google.protobuf.message.Error)):
            raise Refusal("bad_request", f"malformed {self.what}: {error}") from error


def _identity_to_xml(identity, device_key=True):
    """An identity; within a bundle its device key is the bundle's identity key."""
    attributes = f' account={quoteattr(_base64(identity["account_key"]))} voucher={quoteattr(_base64(identity["voucher"]))}'
    key = f' key={quoteattr(_base64(identity["device_key"]))}' if device_key else ""
    return f'<identity xmlns="{E2ESM_NAMESPACE}"{attributes}{key}/>'


def _identity_of(element, device_key=None):
    return {
        "account_key": _bytes(element.attrib["account"]),
        "device_key": _bytes(element.attrib["key"]) if device_key is None else device_key,
        "voucher": _bytes(element.attrib["voucher"]),
    }


def write_bundle(bundle, identity):
    """A bundle with the voucher for its identity key, and the id of its device, which XMPP has from the node's name."""
    keys = "".join(
        f'<pk id="{bundle.pre_key_ids[pre_key]}">{_base64(pre_key)}</pk>' for pre_key in sorted(bundle.bundle.pre_keys)
    )
    return (
        f'<device xmlns="{E2ESM_NAMESPACE}" id="{bundle.device_id}">{_identity_to_xml(identity, device_key=False)}'
        f'<bundle xmlns="{NAMESPACE}"><spk id="{bundle.signed_pre_key_id}">{_base64(bundle.bundle.signed_pre_key)}</spk>'
        f"<spks>{_base64(bundle.bundle.signed_pre_key_sig)}</spks><ik>{_base64(bundle.identity_key)}</ik>"
        f"<prekeys>{keys}</prekeys></bundle></device>"
    ).encode()


def read_bundle(given, user):
    """The bundle of a device of `user`, and the identity beside it."""
    device = _parse(given, f"{E2ESM}device", "bundle")
    with _Reading("bundle"):
        element = _child(device, f"{OMEMO}bundle", "bundle")
        spk = _child(element, f"{OMEMO}spk", "bundle")
        identity_key = _bytes(_child(element, f"{OMEMO}ik", "bundle").text)
        prekeys = _child(element, f"{OMEMO}prekeys", "bundle").findall(f"{OMEMO}pk")
        pre_key_ids = {_bytes(pk.text): int(pk.attrib["id"]) for pk in prekeys}
        bundle = BundleImpl(
            user,
            int(device.attrib["id"]),
            x3dh.Bundle(
                identity_key,
                _bytes(spk.text),
                _bytes(_child(element, f"{OMEMO}spks", "bundle").text),
                frozenset(pre_key_ids),
            ),
            int(spk.attrib["id"]),
            pre_key_ids,
        )
        identity = _identity_of(_child(device, f"{E2ESM}identity", "bundle"), identity_key)
    return bundle, identity


def with_keys(bundle, pre_keys=None, signed_pre_key=None, signature=None):
    """A bundle with other keys than those of the one given."""
    old = bundle.bundle
    return BundleImpl(
        bundle.bare_jid,
        bundle.device_id,
        x3dh.Bundle(
            old.identity_key,
            old.signed_pre_key if signed_pre_key is None else signed_pre_key,
            old.signed_pre_key_sig if signature is None else signature,
            old.pre_keys if pre_keys is None else frozenset(pre_keys),
        ),
        bundle.signed_pre_key_id,
        bundle.pre_key_ids,
    )


def identity_bundle(user, device_id, identity_key):
    """What a download of a bundle gives for a device that is known by a message alone: its identity key. `decrypt` needs
    no more (omemo/session_manager.py:1510); a session cannot be opened with it, because its signature does not hold."""
    return BundleImpl(user, device_id, x3dh.Bundle(identity_key, bytes(32), bytes(64), frozenset()), 0, {})


def write_message(message, identity, device_id=None):
    """An OMEMO message. Beside a key exchange stands who the sender is, which XMPP has from the server."""
    users = {}
    for material, exchange in message.keys:
        users.setdefault(material.bare_jid, []).append((material, exchange))
    keys = []
    for user, materials in sorted(users.items()):
        keys.append(f"<keys jid={quoteattr(user)}>")
        for material, exchange in sorted(materials, key=lambda pair: pair[0].device_id):
            given = material.serialize()
            kex = ""
            if exchange is not None:
                given, kex = exchange.serialize(given), ' kex="true"'
            keys.append(f'<key rid="{material.device_id}"{kex}>{_base64(given)}</key>')
        keys.append("</keys>")
    payload = "" if message.content.empty else f"<payload>{_base64(message.content.ciphertext)}</payload>"
    beside = _identity_to_xml(identity) if opens_session(message) else ""
    sid = message.device_id if device_id is None else device_id
    return (
        f'<message xmlns="jabber:client"><encrypted xmlns="{NAMESPACE}"><header sid="{sid}">{"".join(keys)}</header>'
        f"{payload}</encrypted>{beside}</message>"
    ).encode()


def read_message(given, user):
    """An OMEMO message under the label of `user`, and the identity beside it or None."""
    stanza = _parse(given, "{jabber:client}message", "message")
    with _Reading("message"):
        element = _child(stanza, f"{OMEMO}encrypted", "message")
        header = _child(element, f"{OMEMO}header", "message")
        keys = set()
        for recipient in header.findall(f"{OMEMO}keys"):
            for key in recipient.findall(f"{OMEMO}key"):
                material, exchange = _bytes(key.text), None
                if key.get("kex", "false") in ("true", "1"):
                    exchange, material = KeyExchangeImpl.parse(material)
                material = EncryptedKeyMaterialImpl.parse(material, recipient.attrib["jid"], int(key.attrib["rid"]))
                keys.add((material, exchange))
        payload = element.find(f"{OMEMO}payload")
        content = ContentImpl.make_empty() if payload is None else ContentImpl(_bytes(payload.text))
        beside = stanza.find(f"{E2ESM}identity")
        identity = None if beside is None else _identity_of(beside)
        message = Message(NAMESPACE, user, int(header.attrib["sid"]), content, frozenset(keys))
    return message, identity


def opens_session(message):
    return any(exchange is not None for _, exchange in message.keys)


def rewrite_identity(given, identity):
    """The same message with another identity key in each key exchange, and another sender beside it."""
    message, honest = read_message(given, "")
    if honest is None or not opens_session(message):
        raise Refusal("bad_request", "this packet opens no session")
    keys = set()
    for material, exchange in message.keys:
        if exchange is not None:
            header = exchange.header._replace(identity_key=identity["device_key"])
            exchange = KeyExchangeImpl(header, exchange.signed_pre_key_id, exchange.pre_key_id)
        keys.add((material, exchange))
    return write_message(message._replace(keys=frozenset(keys)), identity)


def write_envelope(plaintext, user, group):
    """What is encrypted: an envelope of XEP-0420, which OMEMO 2 prescribes, with the affixes that name sender and group."""

    def with_padding(padding):
        return (
            f'<envelope xmlns="{SCE_NAMESPACE}"><content><bytes xmlns="{E2ESM_NAMESPACE}">{_base64(plaintext)}</bytes></content>'
            f"<rpad>{padding}</rpad><from jid={quoteattr(user)}/><to jid={quoteattr(group)}/></envelope>"
        ).encode()

    missing = -len(with_padding("")) % PADDED_TO
    return with_padding(secrets.token_hex(missing // 2 + 1)[:missing])


def read_envelope(given):
    """Content, sender's user and group of an envelope."""
    envelope = _parse(given, f"{SCE}envelope", "envelope")
    with _Reading("envelope"):
        content = _child(_child(envelope, f"{SCE}content", "envelope"), f"{E2ESM}bytes", "envelope")
        sender, group = (_child(envelope, f"{SCE}{affix}", "envelope").attrib["jid"] for affix in ("from", "to"))
        return _bytes(content.text), sender, group


def write_json(given):
    return json.dumps(given, separators=(",", ":")).encode()


def read_json(given, what, fields):
    """An object of the group management, with exactly these fields, each a list of texts or a text."""
    try:
        found = json.loads(given)
    except ValueError as error:
        raise Refusal("bad_request", f"malformed {what}: {error}") from None
    if not isinstance(found, dict) or set(found) != set(fields):
        raise Refusal("bad_request", f"malformed {what}: not exactly the fields {', '.join(fields)}")
    for name, kind in fields.items():
        value = found[name]
        if not isinstance(value, kind) or kind is list and not all(isinstance(item, str) for item in value):
            raise Refusal("bad_request", f"malformed {what}: {name}")
    return found
