"""The ratchet tree of MLS (RFC 9420, sections 4, 7.3 to 7.9 and appendix C).

Nodes are numbered as in appendix C: leaf i is node 2i, and the parents lie between. The tree is always full, so that
its nodes are 2^(d+1) - 1. A node keeps its number when the tree grows or shrinks.
"""

from collections.abc import Iterator
from dataclasses import replace

from mls_crypto import Suite, opaque
from mls_wire import (
    BASIC,
    DEFAULT_EXTENSIONS,
    DEFAULT_PROPOSALS,
    EXTERNAL_SENDERS,
    FROM_COMMIT,
    FROM_KEY_PACKAGE,
    MLS10,
    REQUIRED_CAPABILITIES,
    Capabilities,
    Credential,
    Cursor,
    Extensions,
    LeafNode,
    Node,
    ParentNode,
    UpdatePath,
    read_all,
    uint,
)
from outcome import Refused, Undecided


def level(node: int) -> int:
    """How far a node is above the leaves."""
    return (~node & (node + 1)).bit_length() - 1


def children(node: int) -> tuple[int, int]:
    """Left and right child of a parent node."""
    step = 1 << (level(node) - 1)
    return node - step, node + step


def parent_of(node: int) -> int:
    """The node above, if the tree is high enough."""
    step = 1 << level(node)
    return (node | step) & ~(step << 1)


def leaves_below(node: int) -> range:
    """The leaf indices of a subtree."""
    half = (1 << level(node)) - 1
    return range((node - half) // 2, (node + half) // 2 + 1)


class Tree:
    """A ratchet tree with the suite that it hashes and verifies with."""

    def __init__(self, suite: Suite, nodes: list[Node]) -> None:
        self.suite, self.nodes = suite, nodes

    @classmethod
    def from_extension(cls, suite: Suite, nodes: tuple[Node, ...]) -> "Tree":
        """A tree as it is sent, without the blank nodes at its right end (12.4.3.3)."""
        if not nodes or nodes[-1] is None:
            raise Refused("malformed: the last node of a ratchet tree is blank")
        for number, node in enumerate(nodes):
            if node is not None and isinstance(node, LeafNode) == bool(number % 2):
                raise Refused("malformed: a ratchet tree has a leaf where a parent is, or the other way round")
        width = 1
        while width < len(nodes):
            width = 2 * width + 1
        return cls(suite, list(nodes) + [None] * (width - len(nodes)))

    def copy(self) -> "Tree":
        """Another tree of the same nodes."""
        return Tree(self.suite, list(self.nodes))

    # Its shape (4.1, appendix C)

    @property
    def root(self) -> int:
        """The node above all."""
        return len(self.nodes) // 2

    def leaf(self, index: int | None) -> LeafNode | None:
        """The member at a leaf, if there is one."""
        if index is None or not 0 <= 2 * index < len(self.nodes):
            return None
        node = self.nodes[2 * index]
        assert node is None or isinstance(node, LeafNode)
        return node

    def parent(self, node: int) -> ParentNode | None:
        """A parent node, if it is not blank."""
        found = self.nodes[node]
        assert found is None or isinstance(found, ParentNode)
        return found

    def members(self) -> Iterator[tuple[int, LeafNode]]:
        """Leaf indices and leaves of all members."""
        for index in range(len(self.nodes) // 2 + 1):
            leaf = self.leaf(index)
            if leaf is not None:
                yield index, leaf

    def direct_path(self, index: int) -> list[int]:
        """The parents above a leaf, upwards (4.1.2)."""
        path, node = [], 2 * index
        while node != self.root:
            node = parent_of(node)
            path.append(node)
        return path

    def resolution(self, node: int) -> list[int]:
        """The fewest nodes with keys that cover a subtree (4.1.1)."""
        found = self.nodes[node]
        if isinstance(found, ParentNode):
            return [node] + [2 * leaf for leaf in found.unmerged_leaves]
        if found is not None:
            return [node]
        if node % 2 == 0:
            return []
        left, right = children(node)
        return self.resolution(left) + self.resolution(right)

    def filtered_direct_path(self, index: int) -> list[tuple[int, int]]:
        """The parents above a leaf whose other child has anybody below it, each with that child (4.1.2)."""
        path, below = [], 2 * index
        for node in self.direct_path(index):
            left, right = children(node)
            sibling = right if below == left else left
            if self.resolution(sibling):
                path.append((node, sibling))
            below = node
        return path

    # Hashes (7.8, 7.9)

    def tree_hash(self, node: int, without: frozenset[int] = frozenset()) -> bytes:
        """The tree hash of a subtree, as if some leaves had never been added (7.8)."""
        found = self.nodes[node]
        if node % 2 == 0:
            absent = found is None or node // 2 in without
            encoded = b"\x00" if absent else b"\x01" + found.raw
            return self.suite.hash(uint(1, 1) + uint(node // 2, 4) + encoded)
        encoded = b"\x00"
        if isinstance(found, ParentNode):
            merged = tuple(leaf for leaf in found.unmerged_leaves if leaf not in without)
            encoded = b"\x01" + replace(found, unmerged_leaves=merged).raw
        left, right = (opaque(self.tree_hash(child, without)) for child in children(node))
        return self.suite.hash(uint(2, 1) + encoded + left + right)

    def parent_hash(self, parent: ParentNode, sibling: int) -> bytes:
        """The parent hash of a node with a copath child (7.9)."""
        original = self.tree_hash(sibling, frozenset(parent.unmerged_leaves))
        return self.suite.hash(opaque(parent.encryption_key) + opaque(parent.parent_hash) + opaque(original))

    def check_parent_hashes(self) -> None:
        """Every parent node was set together with exactly one node below it (7.9.2)."""
        for node in range(1, len(self.nodes), 2):
            parent = self.parent(node)
            if parent is None:
                continue
            if node == self.root and parent.parent_hash:
                raise Refused("the root has a parent hash")
            left, right = children(node)
            links = self._links(parent, left, right) + self._links(parent, right, left)
            if links != 1:
                raise Refused(f"node {node} is not parent-hash valid")

    def _links(self, parent: ParentNode, child: int, sibling: int) -> int:
        """How many nodes below `child` were set together with this parent of `child` and `sibling` (7.9.2)."""
        expected = self.parent_hash(parent, sibling)
        resolution = set(self.resolution(child))
        unmerged = {2 * leaf for leaf in parent.unmerged_leaves if leaf in leaves_below(child)}
        return sum(self.nodes[node].parent_hash == expected and unmerged == resolution - {node} for node in resolution)

    def check_unmerged_leaves(self) -> None:
        """Whoever is unmerged is there, below, in order, and unmerged in between as well (7.1, 12.4.3.1)."""
        for node in range(1, len(self.nodes), 2):
            parent = self.parent(node)
            if parent is None:
                continue
            unmerged = parent.unmerged_leaves
            if list(unmerged) != sorted(set(unmerged)):
                raise Refused("malformed: unmerged leaves are not in increasing order")
            for leaf in unmerged:
                if leaf not in leaves_below(node) or self.leaf(leaf) is None:
                    raise Refused("an unmerged leaf is blank, or not below its node")
                for between in self.direct_path(leaf):
                    if between == node:
                        break
                    other = self.parent(between)
                    if other is not None and leaf not in other.unmerged_leaves:
                        raise Refused("an unmerged leaf is merged further down")

    # Members (7.3)

    def check_leaf(self, leaf: LeafNode, index: int, group_id: bytes) -> None:
        """What a leaf node shows of itself: its keys, its signature, its capabilities (7.2, 7.3)."""
        self.suite.check_encryption_key(leaf.encryption_key)
        self.suite.check_signature_key(leaf.signature_key)
        place = b"" if leaf.source == FROM_KEY_PACKAGE else opaque(group_id) + uint(index, 4)
        self.suite.verify(leaf.signature_key, "LeafNodeTBS", leaf.signed + place, leaf.signature, f"leaf {index}")
        if leaf.credential.type != BASIC:
            raise Undecided("credentials of X.509 are not looked at")
        if leaf.credential.type not in leaf.capabilities.credentials:
            raise Refused("a leaf does not support its own credential type")
        if not set(leaf.extensions) - DEFAULT_EXTENSIONS <= set(leaf.capabilities.extensions):
            raise Refused("a leaf does not support its own extensions")

    def check_members(self, extensions: Extensions) -> None:
        """What has to hold for all members together, under the group's extensions (7.3, 11.1, 13.4, 16.7)."""
        leaves = [leaf for _, leaf in self.members()]
        required = required_capabilities(extensions)
        needed_extensions = (set(required.extensions) | set(extensions)) - DEFAULT_EXTENSIONS
        needed_proposals = set(required.proposals) - DEFAULT_PROPOSALS
        needed_credentials = set(required.credentials) | {leaf.credential.type for leaf in leaves}
        for leaf in leaves:
            has = leaf.capabilities
            if MLS10 not in has.versions or self.suite.number not in has.suites:
                raise Refused("a member does not support the group's version or cipher suite")
            if not needed_extensions <= set(has.extensions):
                raise Refused("a member does not support the group's extensions")
            if not needed_proposals <= set(has.proposals):
                raise Refused("a member does not support proposals that are required")
            if not needed_credentials <= set(has.credentials):
                raise Refused("a member does not support the credentials in use")
        if len({leaf.signature_key for leaf in leaves}) != len(leaves):
            raise Refused("two members have one signature key")
        keys = self.encryption_keys()
        if len(set(keys)) != len(keys):
            raise Refused("two nodes have one encryption key")
        if EXTERNAL_SENDERS in extensions:
            external_senders(extensions)

    def encryption_keys(self) -> list[bytes]:
        """The keys of all nodes."""
        return [node.encryption_key for node in self.nodes if node is not None]

    # How it changes (7.7, 12.1)

    def blank_path(self, index: int) -> None:
        """Blank the parents above a leaf."""
        for node in self.direct_path(index):
            self.nodes[node] = None

    def update(self, index: int, leaf: LeafNode) -> None:
        """Apply an Update (12.1.2)."""
        self.nodes[2 * index] = leaf
        self.blank_path(index)

    def remove(self, index: int) -> None:
        """Apply a Remove, but for `truncate` (12.1.3)."""
        self.nodes[2 * index] = None
        self.blank_path(index)

    def truncate(self) -> None:
        """Drop the right half as long as nobody is there (7.7)."""
        while self.root and not any(self.leaf(leaf) for leaf in leaves_below(children(self.root)[1])):
            del self.nodes[self.root :]

    def free_leaf(self) -> int:
        """The leftmost blank leaf; the tree grows if there is none (7.7)."""
        for index in range(len(self.nodes) // 2 + 1):
            if self.leaf(index) is None:
                return index
        index = len(self.nodes) // 2 + 1
        self.nodes.extend([None] * (len(self.nodes) + 1))
        return index

    def add(self, leaf: LeafNode) -> int:
        """Apply an Add (12.1.1): where the new member is."""
        index = self.free_leaf()
        for node in self.direct_path(index):
            parent = self.parent(node)
            if parent is not None:
                unmerged = tuple(sorted(parent.unmerged_leaves + (index,)))
                self.nodes[node] = replace(parent, unmerged_leaves=unmerged)
        self.nodes[2 * index] = leaf
        return index

    def merge_path(self, index: int, path: UpdatePath) -> None:
        """Put an UpdatePath into the tree, and check the parent hash of its leaf (7.5, 7.9.2)."""
        filtered = self.filtered_direct_path(index)
        if len(filtered) != len(path.nodes):
            raise Refused("a path has another length than the filtered direct path")
        new_keys = [path.leaf.encryption_key] + [node.encryption_key for node in path.nodes]
        if len(set(new_keys)) != len(new_keys) or set(new_keys) & set(self.encryption_keys()):
            raise Refused("a path brings a key that is in the tree already")
        self.blank_path(index)
        parent_hash = b""
        for (node, sibling), new in reversed(list(zip(filtered, path.nodes, strict=True))):
            self.suite.check_encryption_key(new.encryption_key)
            parent = ParentNode(new.encryption_key, parent_hash, ())
            self.nodes[node] = parent
            parent_hash = self.parent_hash(parent, sibling)
        if path.leaf.source != FROM_COMMIT:
            raise Refused("a path's leaf is not for a Commit")
        if path.leaf.parent_hash != parent_hash:
            raise Refused("the parent hash of a path's leaf does not fit")
        self.nodes[2 * index] = path.leaf


def required_capabilities(extensions: Extensions) -> Capabilities:
    """What a group requires of its members (11.1)."""
    if REQUIRED_CAPABILITIES not in extensions:
        return Capabilities((), (), (), (), ())
    return read_all(extensions[REQUIRED_CAPABILITIES], Capabilities.read_required)


def external_senders(extensions: Extensions) -> tuple[tuple[bytes, Credential], ...]:
    """The signature keys and credentials of those outside who may propose (12.1.8.1)."""

    def read(cursor: Cursor) -> tuple[tuple[bytes, Credential], ...]:
        return cursor.vector(lambda inner: (inner.opaque(), Credential.read(inner)))

    return read_all(extensions.get(EXTERNAL_SENDERS, b"\x00"), read)
