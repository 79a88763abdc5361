"""A passive MLS client: it joins by a Welcome, follows its groups, reads, and never sends (RFC 9420).

Not decided, and counted so:
  * cipher suites 0x0005 and 0x0007, and those that RFC 9420 does not name;
  * groups in which a credential of X.509 occurs.

Decided by this program where RFC 9420 leaves it to the application:
  * every identity in a basic credential is taken as it is, also that of somebody who replaces a leaf (5.3.1);
  * a key package in an Add has to be within its lifetime now; how long that is may be anything (7.2, 7.3);
  * a generation may be at most FURTHEST_SKIP ahead, and no skipped key is ever dropped (15.3);
  * application messages are read up to KEPT_EPOCHS epochs late (9.2);
  * this device has never sent anything, so what comes in its own name is refused;
  * a key package is used once (16.8); a group that has been reinitialised takes nothing more (11.2).

What a Commit that removes this device does to the group's secrets cannot be checked by it: its confirmation tag is not.
"""

import hmac
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from mls_crypto import SUITES, Suite, opaque
from mls_tree import Tree, children, external_senders, leaves_below
from mls_wire import (
    APPLICATION,
    EXTERNAL,
    FROM_KEY_PACKAGE,
    FROM_UPDATE,
    MEMBER,
    MLS10,
    NEW_MEMBER_PROPOSAL,
    RATCHET_TREE,
    Add,
    Commit,
    Content,
    ExternalInit,
    GroupContext,
    GroupContextExtensions,
    GroupInfo,
    GroupSecrets,
    KeyPackage,
    PreSharedKey,
    PreSharedKeyID,
    PrivateMessage,
    Proposal,
    PublicMessage,
    ReInit,
    Remove,
    Update,
    UpdatePath,
    Welcome,
    read_all,
    read_message,
    read_ratchet_tree,
    uint,
)
from outcome import Immutable, Refused, Shown, Undecided

FURTHEST_SKIP = 1 << 12
KEPT_EPOCHS = 3

# What a device knows of a pre-shared key, or Refused.
PskSource = Callable[[PreSharedKeyID], bytes]


# The key schedule (8) and the secret tree (9)


@dataclass(frozen=True)
class EpochSecrets(Immutable):
    """The secrets of an epoch (8)."""

    sender_data: bytes
    encryption: bytes
    external: bytes
    confirmation: bytes
    membership: bytes
    resumption: bytes
    authenticator: bytes
    init: bytes

    @classmethod
    def derive(cls, suite: Suite, member_secret: bytes, context: GroupContext) -> "EpochSecrets":
        """All of them, from what is extracted of the joiner secret and the PSKs."""
        epoch_secret = suite.expand_with_label(member_secret, "epoch", context.raw, suite.hash_length)
        return cls(
            sender_data=suite.derive_secret(epoch_secret, "sender data"),
            encryption=suite.derive_secret(epoch_secret, "encryption"),
            external=suite.derive_secret(epoch_secret, "external"),
            confirmation=suite.derive_secret(epoch_secret, "confirm"),
            membership=suite.derive_secret(epoch_secret, "membership"),
            resumption=suite.derive_secret(epoch_secret, "resumption"),
            authenticator=suite.derive_secret(epoch_secret, "authentication"),
            init=suite.derive_secret(epoch_secret, "init"),
        )


def psk_secret(suite: Suite, psks: list[tuple[PreSharedKeyID, bytes]]) -> bytes:
    """All pre-shared keys in one (8.4)."""
    secret = bytes(suite.hash_length)
    for number, (psk_id, psk) in enumerate(psks):
        extracted = suite.extract(bytes(suite.hash_length), psk)
        label = psk_id.raw + uint(number, 2) + uint(len(psks), 2)
        secret = suite.extract(suite.expand_with_label(extracted, "derived psk", label, suite.hash_length), secret)
    return secret


class Sender:
    """One of the two ratchets of a sender: handshake or application (9.1)."""

    def __init__(self, suite: Suite, secret: bytes) -> None:
        self.suite, self.secret, self.generation = suite, secret, 0
        self.skipped: dict[int, tuple[bytes, bytes]] = {}

    def _derive(self, label: str, length: int) -> bytes:
        return self.suite.expand_with_label(self.secret, label, uint(self.generation, 4), length)

    def key_and_nonce(self, generation: int) -> tuple[bytes, bytes]:
        """The key and nonce of a generation, which then are gone (9.2)."""
        if generation > self.generation + FURTHEST_SKIP:
            raise Refused(f"generation {generation} is too far ahead")
        while self.generation <= generation:
            nonce, key = self._derive("nonce", self.suite.nonce_length), self._derive("key", self.suite.key_length)
            self.skipped[self.generation] = key, nonce
            self.secret = self._derive("secret", self.suite.hash_length)
            self.generation += 1
        if generation not in self.skipped:
            raise Refused(f"generation {generation} has been used")
        return self.skipped.pop(generation)


def sender_ratchet(suite: Suite, encryption_secret: bytes, root: int, leaf: int, handshake: bool) -> Sender:
    """A sender's ratchet at the start of an epoch, down the secret tree (9)."""
    node, secret = root, encryption_secret
    while node != 2 * leaf:
        left, right = children(node)
        side, node = ("left", left) if leaf in leaves_below(left) else ("right", right)
        secret = suite.expand_with_label(secret, "tree", side.encode(), suite.hash_length)
    kind = "handshake" if handshake else "application"
    return Sender(suite, suite.expand_with_label(secret, kind, b"", suite.hash_length))


# A group


@dataclass(frozen=True)
class Proposed:
    """A proposal of a Commit, and who made it: a leaf, or nobody inside."""

    proposal: Proposal
    sender: int | None


@dataclass
class Group:
    """A group in its present epoch, as one member sees it."""

    suite: Suite
    context: GroupContext
    tree: Tree
    own_leaf: int
    keys: dict[bytes, bytes]  # private HPKE keys by their public ones
    secrets: EpochSecrets
    interim_transcript_hash: bytes
    senders: dict[tuple[int, bool], Sender] = field(default_factory=dict)
    proposals: dict[bytes, Proposed] = field(default_factory=dict)
    past: "dict[int, Group]" = field(default_factory=dict)  # by epoch, for application messages that come late
    reinit: ReInit | None = None
    removed: bool = False

    def roster(self) -> list[dict[str, object]]:
        """The members."""
        return [
            {
                "leaf_index": index,
                "identity": leaf.credential.identity.hex(),
                "signature_key": leaf.signature_key.hex(),
            }
            for index, leaf in self.tree.members()
        ]

    def shown(self, **more: object) -> Shown:
        """What is shown after any delivery."""
        return {"group_id": self.context.group_id.hex(), "epoch": self.context.epoch, **more}

    def shown_new_epoch(self) -> Shown:
        """What is shown after a Welcome or a Commit."""
        return self.shown(epoch_authenticator=self.secrets.authenticator.hex(), roster=self.roster())

    # Unprotecting messages (6)

    def take(self, message: PublicMessage | PrivateMessage, psks: PskSource) -> Shown:
        """A message of this group."""
        if isinstance(message, PublicMessage):
            content = self._open_public(message)
        elif message.content_type == APPLICATION and message.epoch in self.past:
            content = self.past[message.epoch]._open_private(message)
        else:
            content = self._open_private(message)
        if isinstance(content.body, bytes):
            return self.shown(plaintext=content.body.hex(), sender_leaf=content.sender)
        if self.removed:
            raise Refused("this device has been removed from the group")
        if isinstance(content.body, Commit):
            return self._take_commit(content, content.body, psks)
        return self._take_proposal(content, content.body)

    def _check_epoch(self, epoch: int) -> None:
        if epoch != self.context.epoch:
            raise Refused(f"it is of epoch {epoch}, and the present one is {self.context.epoch}")
        if self.reinit is not None:
            raise Refused("the group has been reinitialised")

    def _open_public(self, message: PublicMessage) -> Content:
        """Check a PublicMessage: membership tag and signature (6.1, 6.2)."""
        content = message.content
        self._check_epoch(content.epoch)
        if content.type == APPLICATION:
            raise Refused("application messages have to be encrypted")
        if content.sender_type == MEMBER:
            self._check_sender(content.sender)
            tagged = content.to_be_signed(self.context) + content.auth
            if not hmac.compare_digest(self.suite.mac(self.secrets.membership, tagged), message.membership_tag):
                raise Refused("the membership tag does not fit")
        self._check_signature(content)
        return content

    def _open_private(self, message: PrivateMessage) -> Content:
        """Decrypt a PrivateMessage and check its signature (6.3)."""
        self._check_epoch(message.epoch)
        suite = self.suite
        sample = message.ciphertext[: suite.hash_length]
        key = suite.expand_with_label(self.secrets.sender_data, "key", sample, suite.key_length)
        nonce = suite.expand_with_label(self.secrets.sender_data, "nonce", sample, suite.nonce_length)
        sender_data = suite.open(key, nonce, message.encrypted_sender_data, message.sender_data_aad, "the sender data")
        sender, generation, guard = read_all(
            sender_data, lambda cursor: (cursor.uint(4), cursor.uint(4), cursor.take(4))
        )
        self._check_sender(sender)
        handshake = message.content_type != APPLICATION
        if (sender, handshake) not in self.senders:
            self.senders[sender, handshake] = sender_ratchet(
                suite, self.secrets.encryption, self.tree.root, sender, handshake
            )
        key, nonce = self.senders[sender, handshake].key_and_nonce(generation)
        nonce = bytes(a ^ b for a, b in zip(nonce, guard, strict=False)) + nonce[4:]
        plaintext = suite.open(key, nonce, message.ciphertext, message.content_aad, "the content")
        content = message.read_content(plaintext, sender)
        self._check_signature(content)
        return content

    def _check_sender(self, sender: int | None) -> None:
        if self.tree.leaf(sender) is None:
            raise Refused(f"leaf {sender} is no member")
        if sender == self.own_leaf:
            raise Refused("this device has sent nothing")

    def _check_signature(self, content: Content) -> None:
        """The signature under the key that the sender type names (6.1, 12.1.8)."""
        body = content.body
        if content.sender_type == MEMBER:
            key = self.tree.leaf(content.sender).signature_key
        elif content.sender_type == EXTERNAL:
            senders = external_senders(self.context.extensions)
            if content.sender >= len(senders):
                raise Refused("there is no such external sender")
            if not isinstance(body, Add | Remove | PreSharedKey | ReInit | GroupContextExtensions):
                raise Refused("malformed: an external sender may not send this")
            key = senders[content.sender][0]
        elif content.sender_type == NEW_MEMBER_PROPOSAL:
            if not isinstance(body, Add):
                raise Refused("malformed: a newcomer may propose nothing but its own Add")
            key = body.key_package.leaf.signature_key
        else:
            if not isinstance(body, Commit):
                raise Refused("malformed: not a Commit")
            if body.path is None:
                raise Refused("an external Commit needs a path")
            key = body.path.leaf.signature_key
        self.suite.verify(key, "FramedContentTBS", content.to_be_signed(self.context), content.signature, "the message")

    # Proposals (12.1, 12.2)

    def _take_proposal(self, content: Content, proposal: Proposal) -> Shown:
        """Keep a proposal until a Commit names it (12.1)."""
        sender = content.sender if content.sender_type == MEMBER else None
        self._check_proposal(proposal, sender)
        reference = self.suite.ref_hash("MLS 1.0 Proposal Reference", content.authenticated)
        self.proposals[reference] = Proposed(proposal, sender)
        return self.shown()

    def _check_proposal(self, proposal: Proposal, sender: int | None) -> None:
        """What makes a proposal invalid by itself (12.1)."""
        match proposal:
            case Add(key_package):
                self._check_key_package(key_package)
            case Update(leaf):
                old = self.tree.leaf(sender)
                if (
                    sender is None
                    or old is None
                    or leaf.source != FROM_UPDATE
                    or leaf.encryption_key == old.encryption_key
                ):
                    raise Refused("an Update brings no leaf for an Update, or no new key")
                self.tree.check_leaf(leaf, sender, self.context.group_id)
            case Remove(removed):
                if self.tree.leaf(removed) is None:
                    raise Refused("a Remove names nobody")
            case PreSharedKey(psk):
                self._check_psk_proposal(psk)
            case ReInit(_, version, _, _):
                if version < MLS10:
                    raise Refused("a ReInit goes back behind the version")
            case ExternalInit(_):
                if sender is not None:
                    raise Refused("a member sends an ExternalInit")

    def _check_psk_proposal(self, psk: PreSharedKeyID) -> None:
        """12.1.4."""
        if len(psk.nonce) != self.suite.hash_length:
            raise Refused("a PSK's nonce has the wrong length")
        if psk.type == PreSharedKeyID.RESUMPTION and psk.usage != PreSharedKeyID.USE_APPLICATION:
            raise Refused("a PSK for reinitialisation or branching is proposed")

    def _check_key_package(self, key_package: KeyPackage) -> None:
        """10.1."""
        leaf = key_package.leaf
        if key_package.version != MLS10 or key_package.suite != self.suite.number:
            raise Refused("a key package is of another version or cipher suite")
        self.suite.verify(
            leaf.signature_key, "KeyPackageTBS", key_package.signed, key_package.signature, "a key package"
        )
        self.suite.check_encryption_key(key_package.init_key)
        if key_package.init_key == leaf.encryption_key:
            raise Refused("a key package's init key is its leaf's key")
        if leaf.source != FROM_KEY_PACKAGE:
            raise Refused("a key package's leaf is not for a key package")
        self.tree.check_leaf(leaf, 0, b"")
        not_before, not_after = leaf.lifetime
        if not not_before <= time.time() <= not_after:
            raise Refused("a key package is not within its lifetime")

    def _committed(self, commit: Commit, sender: int | None) -> list[Proposed]:
        """The proposals of a Commit, those that were sent before looked up (12.4)."""
        proposals = []
        for listed in commit.proposals:
            if not isinstance(listed, bytes):
                proposals.append(Proposed(listed, sender))
            elif listed in self.proposals and sender is not None:
                proposals.append(self.proposals[listed])
            else:
                raise Refused("a Commit names a proposal that is not known here, or may not name any")
        return proposals

    def _check_list(self, proposals: list[Proposed], committer: int) -> None:
        """The rules for the list of an ordinary Commit, but for those on the tree that follows from it (12.2)."""
        of_type = [type(proposed.proposal) for proposed in proposals]
        if ExternalInit in of_type:
            raise Refused("an ordinary Commit has an ExternalInit")
        if of_type.count(GroupContextExtensions) > 1:
            raise Refused("two GroupContextExtensions in one Commit")
        if ReInit in of_type and len(of_type) > 1:
            raise Refused("a ReInit together with another proposal")
        changed = []
        for proposed in proposals:
            self._check_proposal(proposed.proposal, proposed.sender)
            match proposed.proposal:
                case Update(_):
                    changed.append(proposed.sender)
                case Remove(removed):
                    changed.append(removed)
        if committer in changed:
            raise Refused("the committer updates or removes itself")
        if len(set(changed)) != len(changed):
            raise Refused("two Updates or Removes for one leaf")
        self._check_distinct_psks(proposals)

    def _check_distinct_psks(self, proposals: list[Proposed]) -> None:
        psks = [proposed.proposal.id.raw for proposed in proposals if isinstance(proposed.proposal, PreSharedKey)]
        if len(set(psks)) != len(psks):
            raise Refused("a PSK is proposed twice")

    def _check_external_list(self, proposals: list[Proposed], path: UpdatePath) -> None:
        """The rules for the list of an external Commit (12.2)."""
        of_type = [type(proposed.proposal) for proposed in proposals]
        if of_type.count(ExternalInit) != 1 or of_type.count(Remove) > 1:
            raise Refused("an external Commit needs one ExternalInit, and may have one Remove")
        if set(of_type) - {ExternalInit, Remove, PreSharedKey}:
            raise Refused("an external Commit has a proposal that it may not have")
        for proposed in proposals:
            self._check_proposal(proposed.proposal, None)
            if isinstance(proposed.proposal, Remove):
                if self.tree.leaf(proposed.proposal.removed).encryption_key == path.leaf.encryption_key:
                    raise Refused("a leaf that comes again brings no new key")
        self._check_distinct_psks(proposals)

    # Commits (12.4.2)

    def _take_commit(self, content: Content, commit: Commit, psks: PskSource) -> Shown:
        """Follow a Commit into the next epoch, or refuse it."""
        proposals = self._committed(commit, content.sender)
        if content.sender is not None:
            self._check_list(proposals, content.sender)
        elif commit.path is not None:
            self._check_external_list(proposals, commit.path)
        no_path_needed = all(isinstance(each.proposal, Add | PreSharedKey | ReInit) for each in proposals)
        if commit.path is None and not (proposals and no_path_needed):
            raise Refused("a Commit needs a path for what it proposes, or because it proposes nothing")

        extensions = self.context.extensions
        for proposed in proposals:
            if isinstance(proposed.proposal, GroupContextExtensions):
                extensions = proposed.proposal.extensions
        tree, added = self._apply(proposals)
        committer = content.sender if content.sender is not None else tree.free_leaf()
        filtered = tree.filtered_direct_path(committer)
        resolutions = [[node for node in tree.resolution(sibling) if node not in added] for _, sibling in filtered]
        if commit.path is not None:
            tree.check_leaf(commit.path.leaf, committer, self.context.group_id)
            tree.merge_path(committer, commit.path)
            if [len(node.secrets) for node in commit.path.nodes] != [len(nodes) for nodes in resolutions]:
                raise Refused("a path has more or fewer secrets than there are keys below")
        tree.check_members(extensions)
        context = replace(
            self.context,
            epoch=self.context.epoch + 1,
            tree_hash=tree.tree_hash(tree.root),
            extensions=extensions,
        )
        if any(isinstance(each.proposal, Remove) and each.proposal.removed == self.own_leaf for each in proposals):
            self.removed = True
            return self.shown(removed=True)

        self.keys = {key: self.keys[key] for key in tree.encryption_keys() if key in self.keys}
        commit_secret = bytes(self.suite.hash_length)
        if commit.path is not None:
            commit_secret = self._open_path(commit.path, tree, filtered, resolutions, context)
        self._enter_epoch(content, proposals, tree, context, commit_secret, psks)
        return self.shown_new_epoch()

    def _apply(self, proposals: list[Proposed]) -> tuple[Tree, set[int]]:
        """The tree after the proposals, and the nodes of the new leaves (12.3)."""
        tree = self.tree.copy()
        for proposed in proposals:
            if isinstance(proposed.proposal, Update) and proposed.sender is not None:
                tree.update(proposed.sender, proposed.proposal.leaf)
        for proposed in proposals:
            if isinstance(proposed.proposal, Remove):
                tree.remove(proposed.proposal.removed)
        tree.truncate()
        added = {2 * tree.add(each.proposal.key_package.leaf) for each in proposals if isinstance(each.proposal, Add)}
        return tree, added

    def _open_path(
        self,
        path: UpdatePath,
        tree: Tree,
        filtered: list[tuple[int, int]],
        resolutions: list[list[int]],
        context: GroupContext,
    ) -> bytes:
        """Decrypt the path secret for this device, derive all above it, and return the commit secret (7.4, 7.5)."""
        place = next(place for place, (_, sibling) in enumerate(filtered) if self.own_leaf in leaves_below(sibling))
        for number, encrypted in zip(resolutions[place], path.nodes[place].secrets, strict=True):
            node = tree.nodes[number]
            if node is not None and node.encryption_key in self.keys:
                secret = self.suite.decrypt_with_label(
                    self.keys[node.encryption_key],
                    "UpdatePathNode",
                    context.raw,
                    encrypted.kem_output,
                    encrypted.ciphertext,
                    "the path secret",
                )
                return self.follow_path_secret(secret, [above.encryption_key for above in path.nodes[place:]])
        raise Refused("a path is not encrypted to this device")

    def follow_path_secret(self, secret: bytes, public_keys: list[bytes]) -> bytes:
        """Derive and keep the keys of a path, upwards, and return the secret behind its end (7.4)."""
        for expected in public_keys:
            private_key, public_key = self.suite.derive_key_pair(self.suite.derive_secret(secret, "node"))
            if public_key != expected:
                raise Refused("a path secret gives another key than the path")
            self.keys[public_key] = private_key
            secret = self.suite.derive_secret(secret, "path")
        return secret

    def _enter_epoch(
        self,
        content: Content,
        proposals: list[Proposed],
        tree: Tree,
        context: GroupContext,
        commit_secret: bytes,
        psks: PskSource,
    ) -> None:
        """Transcript hashes, key schedule, confirmation tag, next epoch (8, 8.2, 12.4.2)."""
        suite = self.suite
        self.past[self.context.epoch] = replace(self, past={})
        self.past.pop(self.context.epoch - KEPT_EPOCHS, None)
        init_secret = self.secrets.init
        used_psks = []
        for proposed in proposals:
            match proposed.proposal:
                case PreSharedKey(psk):
                    used_psks.append((psk, psks(psk)))
                case ExternalInit(kem_output):
                    private_key, _ = suite.derive_key_pair(self.secrets.external)
                    init_secret = suite.hpke_export(
                        private_key, kem_output, b"MLS 1.0 external init secret", suite.hash_length
                    )
                case ReInit(_, _, _, _):
                    self.reinit = proposed.proposal
        transcript = uint(content.wire_format, 2) + content.framed + opaque(content.signature)
        context = replace(context, confirmed_transcript_hash=suite.hash(self.interim_transcript_hash + transcript))
        joiner_secret = suite.expand_with_label(
            suite.extract(init_secret, commit_secret), "joiner", context.raw, suite.hash_length
        )
        member_secret = suite.extract(joiner_secret, psk_secret(suite, used_psks))
        self.secrets = EpochSecrets.derive(suite, member_secret, context)
        check_confirmation_tag(suite, self.secrets, context, content.confirmation_tag)
        self.context, self.tree = context, tree
        self.interim_transcript_hash = interim_transcript_hash(suite, context, content.confirmation_tag)
        self.senders, self.proposals = {}, {}


def check_confirmation_tag(suite: Suite, secrets: EpochSecrets, context: GroupContext, tag: bytes) -> None:
    """6.1."""
    if not hmac.compare_digest(suite.mac(secrets.confirmation, context.confirmed_transcript_hash), tag):
        raise Refused("the confirmation tag does not fit")


def interim_transcript_hash(suite: Suite, context: GroupContext, confirmation_tag: bytes) -> bytes:
    """8.2."""
    return suite.hash(context.confirmed_transcript_hash + opaque(confirmation_tag))


# The client


@dataclass(frozen=True)
class OwnKeyPackage:
    """A key package of this device with its private keys."""

    key_package: KeyPackage
    init_priv: bytes
    encryption_priv: bytes


class MlsDevice:
    """A client in any number of groups."""

    def __init__(self, start: dict) -> None:
        if start["cipher_suite"] not in SUITES:
            raise Undecided(f"cipher suite {start['cipher_suite']} is not known here")
        self.suite = SUITES[start["cipher_suite"]]
        self.groups: dict[bytes, Group] = {}
        self.resumption_psks: dict[tuple[bytes, int], bytes] = {}
        self.external_psks = {
            bytes.fromhex(psk["psk_id"]): bytes.fromhex(psk["psk"]) for psk in start.get("external_psks", [])
        }
        self.key_packages = {}
        for own in start["key_packages"]:
            key_package = read_all(bytes.fromhex(own["key_package"]), read_message)
            if not isinstance(key_package, KeyPackage) or key_package.suite != self.suite.number:
                raise Refused("what the device starts with is no key package of its cipher suite")
            init_priv, encryption_priv = bytes.fromhex(own["init_priv"]), bytes.fromhex(own["encryption_priv"])
            pairs = (init_priv, key_package.init_key), (encryption_priv, key_package.leaf.encryption_key)
            if any(self.suite.kem.public_key(private) != public for private, public in pairs):
                raise Refused("the private keys that the device starts with are not those of its key package")
            reference = self.suite.ref_hash("MLS 1.0 KeyPackage Reference", key_package.raw)
            self.key_packages[reference] = OwnKeyPackage(key_package, init_priv, encryption_priv)

    def take(self, data: bytes, ratchet_tree: bytes | None) -> Shown:
        """One delivery: what is shown of it, or Refused."""
        message = read_all(data, read_message)
        if isinstance(message, Welcome):
            return self._join(message, ratchet_tree)
        if isinstance(message, GroupInfo | KeyPackage):
            raise Refused("a GroupInfo or a key package tells a passive device nothing")
        group_id = message.content.group_id if isinstance(message, PublicMessage) else message.group_id
        if group_id not in self.groups:
            raise Refused("this device is in no such group")
        group = self.groups[group_id]
        shown = group.take(message, self._psk)
        self._remember(group)
        return shown

    def _remember(self, group: Group) -> None:
        """Keep the epoch's resumption PSK (8.6)."""
        self.resumption_psks[group.context.group_id, group.context.epoch] = group.secrets.resumption

    def _psk(self, psk: PreSharedKeyID) -> bytes:
        """Look a pre-shared key up (8.4)."""
        if psk.type == PreSharedKeyID.EXTERNAL:
            found = self.external_psks.get(psk.external_id)
        else:
            found = self.resumption_psks.get((psk.group_id, psk.epoch))
        if found is None:
            raise Refused("a PSK is not known here")
        return found

    # Joining by a Welcome (12.4.3.1)

    def _join(self, welcome: Welcome, ratchet_tree: bytes | None) -> Shown:
        suite = self.suite
        mine = [(name, encrypted) for name, encrypted in welcome.secrets if name in self.key_packages]
        if not mine:
            raise Refused("a Welcome names no key package that this device has left")
        reference, encrypted = mine[0]
        own = self.key_packages.pop(reference)
        if welcome.suite != suite.number:
            raise Refused("a Welcome is of another cipher suite")
        group_secrets = read_all(
            suite.decrypt_with_label(
                own.init_priv,
                "Welcome",
                welcome.encrypted_group_info,
                encrypted.kem_output,
                encrypted.ciphertext,
                "the group secrets",
            ),
            GroupSecrets.read,
        )
        psk = psk_secret(suite, [(psk_id, self._psk(psk_id)) for psk_id in group_secrets.psks])
        member_secret = suite.extract(group_secrets.joiner_secret, psk)
        welcome_secret = suite.derive_secret(member_secret, "welcome")
        group_info = read_all(
            suite.open(
                suite.expand_with_label(welcome_secret, "key", b"", suite.key_length),
                suite.expand_with_label(welcome_secret, "nonce", b"", suite.nonce_length),
                welcome.encrypted_group_info,
                b"",
                "the group info",
            ),
            GroupInfo.read,
        )
        context = group_info.context
        if context.suite != suite.number:
            raise Refused("a group is of another cipher suite than its Welcome")
        if context.group_id in self.groups and not self.groups[context.group_id].removed:
            raise Refused("this device is in a group of this id already")
        tree = self._joined_tree(group_info, ratchet_tree)
        self._check_resumption(group_secrets.psks, context, tree)

        secrets = EpochSecrets.derive(suite, member_secret, context)
        check_confirmation_tag(suite, secrets, context, group_info.confirmation_tag)
        own_leaf = next((index for index, leaf in tree.members() if leaf.raw == own.key_package.leaf.raw), None)
        if own_leaf is None:
            raise Refused("this device's leaf is not in the tree")
        group = Group(
            suite=suite,
            context=context,
            tree=tree,
            own_leaf=own_leaf,
            keys={own.key_package.leaf.encryption_key: own.encryption_priv},
            secrets=secrets,
            interim_transcript_hash=interim_transcript_hash(suite, context, group_info.confirmation_tag),
        )
        if group_secrets.path_secret is not None:
            self._follow_welcome_path(group, group_info.signer, group_secrets.path_secret)
        self.groups[context.group_id] = group
        self._remember(group)
        return group.shown_new_epoch()

    def _joined_tree(self, group_info: GroupInfo, beside: bytes | None) -> Tree:
        """The tree of a group that is to be joined, verified (12.4.3.1, 12.4.3.3)."""
        context = group_info.context
        encoded = group_info.extensions.get(RATCHET_TREE, beside)
        if encoded is None:
            raise Refused("there is no ratchet tree, neither in the Welcome nor beside it")
        tree = Tree.from_extension(self.suite, read_all(encoded, read_ratchet_tree))
        signer = tree.leaf(group_info.signer)
        if signer is None:
            raise Refused("the signer of a GroupInfo is no member")
        self.suite.verify(
            signer.signature_key, "GroupInfoTBS", group_info.signed, group_info.signature, "the GroupInfo"
        )
        if tree.tree_hash(tree.root) != context.tree_hash:
            raise Refused("the tree hash does not fit")
        tree.check_unmerged_leaves()
        tree.check_parent_hashes()
        for index, leaf in tree.members():
            tree.check_leaf(leaf, index, context.group_id)
        tree.check_members(context.extensions)
        return tree

    def _follow_welcome_path(self, group: Group, signer: int, path_secret: bytes) -> None:
        """Keys from the lowest common ancestor with the committer upwards (12.4.3.1)."""
        if signer == group.own_leaf:
            raise Refused("this device has welcomed itself")
        common = [node for node in group.tree.direct_path(group.own_leaf) if signer in leaves_below(node)]
        if group.tree.nodes[common[0]] is None:
            raise Refused("a Welcome has a path secret for a blank node")
        parents = [group.tree.parent(node) for node in common]
        group.follow_path_secret(path_secret, [parent.encryption_key for parent in parents if parent is not None])

    def _check_resumption(self, psks: tuple[PreSharedKeyID, ...], context: GroupContext, tree: Tree) -> None:
        """What has to hold for a group that continues another one (11.2, 11.3, 12.4.3.1)."""
        linking = [
            psk for psk in psks if psk.type == PreSharedKeyID.RESUMPTION and psk.usage != PreSharedKeyID.USE_APPLICATION
        ]
        if not linking:
            return
        if len(linking) > 1:
            raise Refused("a Welcome continues two groups")
        if context.epoch != 1:
            raise Refused("a group that continues another one does not begin with epoch 1")
        old = self.groups.get(linking[0].group_id)
        if old is None:
            raise Refused("a Welcome continues a group that is not known here")
        identities = {leaf.credential.identity for _, leaf in tree.members()}
        old_identities = {leaf.credential.identity for _, leaf in old.tree.members()}
        if linking[0].usage == PreSharedKeyID.USE_BRANCH:
            if old.suite.number != context.suite or not identities <= old_identities:
                raise Refused("a group branches off with another cipher suite or with other members")
            return
        reinit = old.reinit
        if reinit is None or linking[0].epoch != old.context.epoch:
            raise Refused("a Welcome continues a group that has not been reinitialised")
        announced = reinit.group_id, reinit.version, reinit.suite, reinit.extensions
        if announced != (context.group_id, MLS10, context.suite, context.extensions):
            raise Refused("a group is reinitialised otherwise than was announced")
        if not old_identities <= identities:
            raise Refused("a member is lost in a reinitialisation")
