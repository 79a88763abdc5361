"""MLS messages as bytes, read strictly (RFC 9420, sections 2.1, 6, 7.1, 7.2, 8.1, 8.4, 10, 12 and 17).

Everything here is immutable. Since there is exactly one encoding of a value, a structure that has to be hashed or
signed later keeps the bytes that it was read from (`raw`), and those up to its signature (`signed`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from mls_crypto import opaque
from outcome import Immutable, Refused

T = TypeVar("T")

MLS10 = 1
# Wire formats (17.2)
PUBLIC_MESSAGE, PRIVATE_MESSAGE, WELCOME, GROUP_INFO, KEY_PACKAGE = 1, 2, 3, 4, 5
# Content types, sender types (6)
APPLICATION, PROPOSAL, COMMIT = 1, 2, 3
MEMBER, EXTERNAL, NEW_MEMBER_PROPOSAL, NEW_MEMBER_COMMIT = 1, 2, 3, 4
# Leaf node sources (7.2)
FROM_KEY_PACKAGE, FROM_UPDATE, FROM_COMMIT = 1, 2, 3
# Extension types (17.3) and credential types (17.5)
RATCHET_TREE, REQUIRED_CAPABILITIES, EXTERNAL_SENDERS = 2, 3, 5
DEFAULT_EXTENSIONS = frozenset(range(1, 6))
DEFAULT_PROPOSALS = frozenset(range(1, 8))
BASIC, X509 = 1, 2


def uint(value: int, length: int) -> bytes:
    """An integer of fixed length."""
    return value.to_bytes(length, "big")


class Cursor:
    """A place in some bytes. Every way of reading past the end is Refused."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, length: int) -> bytes:
        """The next bytes."""
        taken = self.data[self.at : self.at + length]
        if len(taken) != length:
            raise Refused("malformed: it ends too early")
        self.at += length
        return taken

    def uint(self, length: int) -> int:
        """An integer of fixed length."""
        return int.from_bytes(self.take(length), "big")

    def choice(self, length: int, known: range | tuple[int, ...], what: str) -> int:
        """An integer that has to be one of those that are known."""
        value = self.uint(length)
        if value not in known:
            raise Refused(f"malformed: {value} is no {what}")
        return value

    def length(self) -> int:
        """A variable-length integer, in as few bytes as it can be (2.1.2)."""
        first = self.uint(1)
        prefix = first >> 6
        if prefix == 3:
            raise Refused("malformed: the length prefix 11")
        value = first & 0x3F
        for _ in range((1 << prefix) - 1):
            value = value << 8 | self.uint(1)
        if prefix and value < 1 << (8 * (1 << prefix) // 2 - 2):
            raise Refused("malformed: a length is not encoded in as few bytes as possible")
        return value

    def opaque(self) -> bytes:
        """`opaque x<V>`."""
        return self.take(self.length())

    def vector(self, read: "Callable[[Cursor], T]") -> tuple[T, ...]:
        """`T x<V>`: elements until the vector's bytes are used up."""
        inner = Cursor(self.opaque())
        elements = []
        while inner.at < len(inner.data):
            elements.append(read(inner))
        return tuple(elements)

    def optional(self, read: "Callable[[Cursor], T]") -> T | None:
        """`optional<T>` (2.1.1)."""
        return read(self) if self.choice(1, (0, 1), "presence octet") else None

    def since(self, start: int) -> bytes:
        """The bytes from an earlier place to here."""
        return self.data[start : self.at]


def read_all(data: bytes, read: Callable[[Cursor], T]) -> T:
    """A value that takes up all of the bytes."""
    cursor = Cursor(data)
    value = read(cursor)
    if cursor.at != len(data):
        raise Refused("malformed: something follows after the end")
    return value


def u16(cursor: Cursor) -> int:
    """A uint16, such as an extension type."""
    return cursor.uint(2)


def u32(cursor: Cursor) -> int:
    """A uint32, such as a leaf index."""
    return cursor.uint(4)


# Extensions, credentials, leaf nodes (5.3, 7.1, 7.2, 13.4)

Extensions = dict[int, bytes]


def read_extensions(cursor: Cursor) -> Extensions:
    """`Extension extensions<V>`, of each type at most one (13.4)."""
    listed = cursor.vector(lambda inner: (inner.uint(2), inner.opaque()))
    extensions = dict(listed)
    if len(extensions) != len(listed):
        raise Refused("two extensions of one type")
    return extensions


@dataclass(frozen=True)
class Credential:
    """A credential: an identity, or a chain of certificates (5.3)."""

    type: int
    identity: bytes

    @classmethod
    def read(cls, cursor: Cursor) -> "Credential":
        """Read it. One of an unknown type has no known end."""
        kind = cursor.choice(2, (BASIC, X509), "credential type")
        if kind == X509:
            start = cursor.at
            cursor.vector(Cursor.opaque)
            return cls(kind, cursor.since(start))
        return cls(kind, cursor.opaque())


@dataclass(frozen=True)
class Capabilities:
    """What a client supports (7.2); also, without versions and suites, what a group requires (11.1)."""

    versions: tuple[int, ...]
    suites: tuple[int, ...]
    extensions: tuple[int, ...]
    proposals: tuple[int, ...]
    credentials: tuple[int, ...]

    @classmethod
    def read(cls, cursor: Cursor) -> "Capabilities":
        """A leaf's capabilities."""
        return cls(*(cursor.vector(u16) for _ in range(5)))

    @classmethod
    def read_required(cls, cursor: Cursor) -> "Capabilities":
        """The content of the extension `required_capabilities`."""
        return cls((), (), *(cursor.vector(u16) for _ in range(3)))


@dataclass(frozen=True)
class LeafNode(Immutable):
    """A member, or somebody who may become one (7.2)."""

    encryption_key: bytes
    signature_key: bytes
    credential: Credential
    capabilities: Capabilities
    source: int
    lifetime: tuple[int, int] | None
    parent_hash: bytes | None
    extensions: Extensions
    signature: bytes
    signed: bytes
    raw: bytes

    @classmethod
    def read(cls, cursor: Cursor) -> "LeafNode":
        """Read it."""
        start = cursor.at
        keys = cursor.opaque(), cursor.opaque()
        credential, capabilities = Credential.read(cursor), Capabilities.read(cursor)
        source = cursor.choice(1, (FROM_KEY_PACKAGE, FROM_UPDATE, FROM_COMMIT), "leaf node source")
        lifetime = (cursor.uint(8), cursor.uint(8)) if source == FROM_KEY_PACKAGE else None
        parent_hash = cursor.opaque() if source == FROM_COMMIT else None
        extensions = read_extensions(cursor)
        signed = cursor.since(start)
        signature = cursor.opaque()
        raw = cursor.since(start)
        return cls(*keys, credential, capabilities, source, lifetime, parent_hash, extensions, signature, signed, raw)


@dataclass(frozen=True)
class KeyPackage(Immutable):
    """A leaf to be, and a key to which the Welcome is encrypted (10)."""

    version: int
    suite: int
    init_key: bytes
    leaf: LeafNode
    extensions: Extensions
    signature: bytes
    signed: bytes
    raw: bytes

    @classmethod
    def read(cls, cursor: Cursor) -> "KeyPackage":
        """Read it."""
        start = cursor.at
        version, suite, init_key = cursor.uint(2), cursor.uint(2), cursor.opaque()
        leaf, extensions = LeafNode.read(cursor), read_extensions(cursor)
        signed = cursor.since(start)
        return cls(version, suite, init_key, leaf, extensions, cursor.opaque(), signed, cursor.since(start))


@dataclass(frozen=True)
class ParentNode(Immutable):
    """An intermediate node of the ratchet tree (7.1)."""

    encryption_key: bytes
    parent_hash: bytes
    unmerged_leaves: tuple[int, ...]

    @classmethod
    def read(cls, cursor: Cursor) -> "ParentNode":
        """Read it."""
        return cls(cursor.opaque(), cursor.opaque(), cursor.vector(u32))

    @property
    def raw(self) -> bytes:
        """Its encoding."""
        unmerged = b"".join(uint(leaf, 4) for leaf in self.unmerged_leaves)
        return opaque(self.encryption_key) + opaque(self.parent_hash) + opaque(unmerged)


Node = LeafNode | ParentNode | None


def read_ratchet_tree(cursor: Cursor) -> tuple[Node, ...]:
    """`optional<Node> ratchet_tree<V>` (12.4.3.3)."""

    def read_node(inner: Cursor) -> LeafNode | ParentNode:
        return LeafNode.read(inner) if inner.choice(1, (1, 2), "node type") == 1 else ParentNode.read(inner)

    return cursor.vector(lambda inner: inner.optional(read_node))


# Groups and Welcomes (8.1, 8.4, 12.4.3)


@dataclass(frozen=True)
class GroupContext(Immutable):
    """What a group's members agree on (8.1)."""

    suite: int
    group_id: bytes
    epoch: int
    tree_hash: bytes
    confirmed_transcript_hash: bytes
    extensions: Extensions

    @classmethod
    def read(cls, cursor: Cursor) -> "GroupContext":
        """Read it."""
        cursor.choice(2, (MLS10,), "protocol version")
        fixed = cursor.uint(2), cursor.opaque(), cursor.uint(8)
        return cls(*fixed, cursor.opaque(), cursor.opaque(), read_extensions(cursor))

    @property
    def raw(self) -> bytes:
        """Its encoding."""
        extensions = b"".join(uint(kind, 2) + opaque(data) for kind, data in self.extensions.items())
        return (
            uint(MLS10, 2)
            + uint(self.suite, 2)
            + opaque(self.group_id)
            + uint(self.epoch, 8)
            + opaque(self.tree_hash)
            + opaque(self.confirmed_transcript_hash)
            + opaque(extensions)
        )


@dataclass(frozen=True)
class GroupInfo:
    """A group as a newcomer is told of it (12.4.3)."""

    context: GroupContext
    extensions: Extensions
    confirmation_tag: bytes
    signer: int
    signature: bytes
    signed: bytes

    @classmethod
    def read(cls, cursor: Cursor) -> "GroupInfo":
        """Read it."""
        start = cursor.at
        context, extensions = GroupContext.read(cursor), read_extensions(cursor)
        tag, signer = cursor.opaque(), cursor.uint(4)
        signed = cursor.since(start)
        return cls(context, extensions, tag, signer, cursor.opaque(), signed)


@dataclass(frozen=True)
class HPKECiphertext:
    """Something encrypted to a public key (7.6)."""

    kem_output: bytes
    ciphertext: bytes

    @classmethod
    def read(cls, cursor: Cursor) -> "HPKECiphertext":
        """Read it."""
        return cls(cursor.opaque(), cursor.opaque())


@dataclass(frozen=True)
class Welcome:
    """An invitation of several newcomers (12.4.3.1)."""

    suite: int
    secrets: tuple[tuple[bytes, HPKECiphertext], ...]
    encrypted_group_info: bytes

    @classmethod
    def read(cls, cursor: Cursor) -> "Welcome":
        """Read it."""
        suite = cursor.uint(2)
        secrets = cursor.vector(lambda inner: (inner.opaque(), HPKECiphertext.read(inner)))
        return cls(suite, secrets, cursor.opaque())


@dataclass(frozen=True)
class PreSharedKeyID:
    """Which pre-shared key (8.4). `group_id` and `epoch` are those of a resumption PSK."""

    EXTERNAL, RESUMPTION = 1, 2
    USE_APPLICATION, USE_REINIT, USE_BRANCH = 1, 2, 3

    type: int
    external_id: bytes
    usage: int
    group_id: bytes
    epoch: int
    nonce: bytes
    raw: bytes

    @classmethod
    def read(cls, cursor: Cursor) -> "PreSharedKeyID":
        """Read it."""
        start = cursor.at
        kind = cursor.choice(1, (cls.EXTERNAL, cls.RESUMPTION), "PSK type")
        external_id, usage, group_id, epoch = b"", 0, b"", 0
        if kind == cls.EXTERNAL:
            external_id = cursor.opaque()
        else:
            usage = cursor.choice(1, range(1, 4), "usage of a resumption PSK")
            group_id, epoch = cursor.opaque(), cursor.uint(8)
        nonce = cursor.opaque()
        return cls(kind, external_id, usage, group_id, epoch, nonce, cursor.since(start))


@dataclass(frozen=True)
class GroupSecrets:
    """What a Welcome tells one newcomer alone (12.4.3.1)."""

    joiner_secret: bytes
    path_secret: bytes | None
    psks: tuple[PreSharedKeyID, ...]

    @classmethod
    def read(cls, cursor: Cursor) -> "GroupSecrets":
        """Read it."""
        return cls(cursor.opaque(), cursor.optional(Cursor.opaque), cursor.vector(PreSharedKeyID.read))


# Proposals and Commits (12.1, 12.4)


@dataclass(frozen=True)
class Add:
    """Proposes a new member (12.1.1)."""

    key_package: KeyPackage


@dataclass(frozen=True)
class Update:
    """Proposes a new leaf for its sender (12.1.2)."""

    leaf: LeafNode


@dataclass(frozen=True)
class Remove:
    """Proposes that a member go (12.1.3)."""

    removed: int


@dataclass(frozen=True)
class PreSharedKey:
    """Proposes that a pre-shared key be mixed in (12.1.4)."""

    id: PreSharedKeyID


@dataclass(frozen=True)
class ReInit:
    """Proposes that the group end and another begin (12.1.5)."""

    group_id: bytes
    version: int
    suite: int
    extensions: Extensions


@dataclass(frozen=True)
class ExternalInit:
    """Brings the init secret of somebody who joins by its own act (12.1.6)."""

    kem_output: bytes


@dataclass(frozen=True)
class GroupContextExtensions:
    """Proposes other extensions of the group (12.1.7)."""

    extensions: Extensions


Proposal = Add | Update | Remove | PreSharedKey | ReInit | ExternalInit | GroupContextExtensions


def read_proposal(cursor: Cursor) -> Proposal:
    """A proposal. One of an unknown type has no known end, and no member here supports it (12.2)."""
    kind = cursor.choice(2, range(1, 8), "proposal type that is known here")
    if kind == 1:
        return Add(KeyPackage.read(cursor))
    if kind == 2:
        return Update(LeafNode.read(cursor))
    if kind == 3:
        return Remove(cursor.uint(4))
    if kind == 4:
        return PreSharedKey(PreSharedKeyID.read(cursor))
    if kind == 5:
        return ReInit(cursor.opaque(), cursor.uint(2), cursor.uint(2), read_extensions(cursor))
    if kind == 6:
        return ExternalInit(cursor.opaque())
    return GroupContextExtensions(read_extensions(cursor))


@dataclass(frozen=True)
class UpdatePathNode:
    """A new key for a node of the committer's path, and its secret for those below (7.6)."""

    encryption_key: bytes
    secrets: tuple[HPKECiphertext, ...]

    @classmethod
    def read(cls, cursor: Cursor) -> "UpdatePathNode":
        """Read it."""
        return cls(cursor.opaque(), cursor.vector(HPKECiphertext.read))


@dataclass(frozen=True)
class UpdatePath:
    """The committer's new leaf and the new keys above it (7.6)."""

    leaf: LeafNode
    nodes: tuple[UpdatePathNode, ...]

    @classmethod
    def read(cls, cursor: Cursor) -> "UpdatePath":
        """Read it."""
        return cls(LeafNode.read(cursor), cursor.vector(UpdatePathNode.read))


@dataclass(frozen=True)
class Commit:
    """Begins the next epoch (12.4). A proposal that was sent before is here as its hash."""

    proposals: tuple[Proposal | bytes, ...]
    path: UpdatePath | None

    @classmethod
    def read(cls, cursor: Cursor) -> "Commit":
        """Read it."""

        def read_proposal_or_ref(inner: Cursor) -> Proposal | bytes:
            by_value = inner.choice(1, (1, 2), "ProposalOrRef") == 1
            return read_proposal(inner) if by_value else inner.opaque()

        return cls(cursor.vector(read_proposal_or_ref), cursor.optional(UpdatePath.read))


# Framing (6)


@dataclass(frozen=True)
class Content:
    """FramedContent and FramedContentAuthData, in whichever way they came (6, 6.1)."""

    wire_format: int
    group_id: bytes
    epoch: int
    sender_type: int
    sender: int | None
    type: int
    body: bytes | Proposal | Commit
    signature: bytes
    confirmation_tag: bytes
    framed: bytes  # FramedContent, encoded
    auth: bytes  # FramedContentAuthData, encoded

    @property
    def authenticated(self) -> bytes:
        """AuthenticatedContent, encoded."""
        return uint(self.wire_format, 2) + self.framed + self.auth

    def to_be_signed(self, context: GroupContext) -> bytes:
        """FramedContentTBS (6.1)."""
        in_group = self.sender_type in (MEMBER, NEW_MEMBER_COMMIT)
        return uint(MLS10, 2) + uint(self.wire_format, 2) + self.framed + (context.raw if in_group else b"")


def read_body(cursor: Cursor, content_type: int) -> bytes | Proposal | Commit:
    """What a message carries."""
    if content_type == APPLICATION:
        return cursor.opaque()
    return read_proposal(cursor) if content_type == PROPOSAL else Commit.read(cursor)


def read_auth(cursor: Cursor, content_type: int) -> tuple[bytes, bytes, bytes]:
    """FramedContentAuthData: the signature, the confirmation tag if it has one, and both encoded (6.1)."""
    start = cursor.at
    signature = cursor.opaque()
    confirmation_tag = cursor.opaque() if content_type == COMMIT else b""
    return signature, confirmation_tag, cursor.since(start)


@dataclass(frozen=True)
class PublicMessage:
    """A message that is signed but not encrypted (6.2)."""

    content: Content
    membership_tag: bytes

    @classmethod
    def read(cls, cursor: Cursor) -> "PublicMessage":
        """Read it."""
        start = cursor.at
        group_id, epoch = cursor.opaque(), cursor.uint(8)
        sender_type = cursor.choice(1, range(1, 5), "sender type")
        sender = cursor.uint(4) if sender_type in (MEMBER, EXTERNAL) else None
        cursor.opaque()  # authenticated_data
        content_type = cursor.choice(1, range(1, 4), "content type")
        body = read_body(cursor, content_type)
        framed = cursor.since(start)
        signature, confirmation_tag, auth = read_auth(cursor, content_type)
        tag = cursor.opaque() if sender_type == MEMBER else b""
        fields = (group_id, epoch, sender_type, sender, content_type, body, signature, confirmation_tag, framed, auth)
        return cls(Content(PUBLIC_MESSAGE, *fields), tag)


@dataclass(frozen=True)
class PrivateMessage:
    """A message that is signed and encrypted (6.3)."""

    group_id: bytes
    epoch: int
    content_type: int
    authenticated_data: bytes
    encrypted_sender_data: bytes
    ciphertext: bytes

    @classmethod
    def read(cls, cursor: Cursor) -> "PrivateMessage":
        """Read it."""
        head = cursor.opaque(), cursor.uint(8), cursor.choice(1, range(1, 4), "content type")
        return cls(*head, cursor.opaque(), cursor.opaque(), cursor.opaque())

    @property
    def sender_data_aad(self) -> bytes:
        """SenderDataAAD (6.3.2)."""
        return opaque(self.group_id) + uint(self.epoch, 8) + uint(self.content_type, 1)

    @property
    def content_aad(self) -> bytes:
        """PrivateContentAAD (6.3.1)."""
        return self.sender_data_aad + opaque(self.authenticated_data)

    def read_content(self, plaintext: bytes, sender: int) -> Content:
        """PrivateMessageContent: the content, its authentication, and nothing but zeros after it (6.3.1)."""
        cursor = Cursor(plaintext)
        body = read_body(cursor, self.content_type)
        framed = (
            opaque(self.group_id)
            + uint(self.epoch, 8)
            + uint(MEMBER, 1)
            + uint(sender, 4)
            + opaque(self.authenticated_data)
            + uint(self.content_type, 1)
            + cursor.since(0)
        )
        signature, confirmation_tag, auth = read_auth(cursor, self.content_type)
        if any(plaintext[cursor.at :]):
            raise Refused("malformed: the padding is not all zero")
        fields = (self.group_id, self.epoch, MEMBER, sender, self.content_type, body, signature, confirmation_tag)
        return Content(PRIVATE_MESSAGE, *fields, framed, auth)


MLSMessage = PublicMessage | PrivateMessage | Welcome | GroupInfo | KeyPackage


def read_message(cursor: Cursor) -> MLSMessage:
    """`MLSMessage` (6)."""
    cursor.choice(2, (MLS10,), "protocol version")
    wire_format = cursor.choice(2, range(1, 6), "wire format")
    readers = {
        PUBLIC_MESSAGE: PublicMessage.read,
        PRIVATE_MESSAGE: PrivateMessage.read,
        WELCOME: Welcome.read,
        GROUP_INFO: GroupInfo.read,
        KEY_PACKAGE: KeyPackage.read,
    }
    return readers[wire_format](cursor)
