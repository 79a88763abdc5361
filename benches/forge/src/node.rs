//! One node: what has happened to it, its bytes, and its hashes.

use std::ops::Range;

use e2esm_account::{Account, Credential};
use rand_chacha::ChaCha20Rng;
use sha2::{Digest, Sha256};

use crate::forged::{Fault, Field, ForgeError};
use crate::keys::{draw, hpke_key, sign, signature_key};
use crate::plan::Plan;
use crate::wire::{BASIC, COMMIT, KEY_PACKAGE, LEAF, MLS10, PARENT, numbers, vector};

/// From ever to ever: groups that are kept outlive any present.
const LIFETIME: [u64; 2] = [0, u64::MAX];

/// The latest thing that happened to a leaf, or in a subtree. Of one commit's doings the path comes last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Touch {
    pub(crate) time: usize,
    /// The leaf whose path it was; nobody's for a replacement, which blanks.
    pub(crate) by: Option<u32>,
}

/// A node of the complete tree.
#[derive(Default)]
pub(crate) struct Node {
    /// Its place in the array: even for leaves.
    pub(crate) index: u32,
    /// Whether there is a member at the leaf, or any in the subtree.
    pub(crate) inhabited: bool,
    /// Whether the node is not blank.
    pub(crate) set: bool,
    pub(crate) touch: Option<Touch>,
    /// `LeafNode` or `ParentNode`, once it is made.
    pub(crate) content: Vec<u8>,
    /// Where in it what is.
    pub(crate) fields: Vec<(Field, Range<usize>)>,
    pub(crate) tree_hash: [u8; 32],
}

impl Node {
    /// Whose path the node was last in, if that was the last thing that happened below it.
    pub(crate) fn owner(&self) -> Option<u32> {
        self.touch?.by
    }

    /// What kind of node it is, in bytes on the wire.
    pub(crate) fn kind(&self) -> u8 {
        if self.index.is_multiple_of(2) { LEAF } else { PARENT }
    }

    /// The tree hash of a leaf: of a `TreeHashInput` with a `LeafNodeHashInput` (RFC 9420, section 7.8).
    pub(crate) fn hash_leaf(&mut self) {
        let mut input = vec![LEAF];
        input.extend((self.index / 2).to_be_bytes());
        input.push(self.set.into());
        input.extend(&self.content);
        self.tree_hash = Sha256::digest(input).into();
    }

    /// The tree hash of a parent, from those of its children: of a `TreeHashInput` with a `ParentNodeHashInput`.
    pub(crate) fn hash_parent(&mut self, left: &Node, right: &Node) {
        let mut input = vec![PARENT, self.set.into()];
        input.extend(&self.content);
        vector(&mut input, &left.tree_hash);
        vector(&mut input, &right.tree_hash);
        self.tree_hash = Sha256::digest(input).into();
    }
}

/// The parent hash of a node in somebody's path.
#[derive(Clone, Copy)]
pub(crate) enum ParentHash {
    /// The node is the uppermost of the path.
    None,
    /// The next node of the path has been overwritten or blanked since. What this is the hash of is nowhere any more, so
    /// that nobody can check it, and any 32 bytes will do.
    Stale,
    /// The next node of the path is still there.
    Of([u8; 32]),
}

/// Makes nodes.
pub(crate) struct Smith<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) fault: Option<Fault>,
}

impl Smith<'_> {
    /// Makes a `ParentNode` (RFC 9420, section 7.1); returns its parent hash (section 7.9).
    pub(crate) fn parent(&self, node: &mut Node, above: ParentHash, sibling: &Node) -> ParentHash {
        let mut random = self.plan.random(node.index.into());
        vector(&mut node.content, &hpke_key(&mut random));
        self.parent_hash(node, above, &mut random);
        let mut input = node.content.clone();
        vector(&mut input, &sibling.tree_hash);
        vector(&mut node.content, &[]); // unmerged_leaves
        ParentHash::Of(Sha256::digest(input).into())
    }

    /// Makes a `LeafNode` (section 7.2).
    pub(crate) fn leaf(&self, node: &mut Node, above: ParentHash) -> Result<(), ForgeError> {
        let leaf = node.index / 2;
        let mut random = self.plan.leaf_random(leaf);
        let key = signature_key(&mut random);
        let verifying_key = key.verifying_key().to_bytes();
        let account = Account::from_seed(&Plan::member(leaf), &verifying_key, &draw(&mut random));
        vector(&mut node.content, &hpke_key(&mut random));
        vector(&mut node.content, &verifying_key);
        node.content.extend(BASIC.to_be_bytes());
        vector(&mut node.content, &Credential::of(&account).to_bytes()?);
        numbers(&mut node.content, &[MLS10]); // versions
        numbers(&mut node.content, &[self.plan.suite]);
        numbers(&mut node.content, &[]); // extensions: the default ones must not be listed
        numbers(&mut node.content, &[]); // proposals: nor here
        numbers(&mut node.content, &[BASIC]); // credentials
        let committed = node.owner().is_some();
        if committed {
            node.content.push(COMMIT);
            self.parent_hash(node, above, &mut random);
        } else {
            node.content.push(KEY_PACKAGE);
            node.content.extend(LIFETIME.map(u64::to_be_bytes).concat());
        }
        vector(&mut node.content, &[]); // extensions
        let mut signed = node.content.clone();
        if committed {
            vector(&mut signed, self.plan.group.0.as_bytes());
            signed.extend(leaf.to_be_bytes());
        }
        self.append(node, Field::Signature, &sign(&key, "LeafNodeTBS", &signed));
        Ok(())
    }

    fn parent_hash(&self, node: &mut Node, above: ParentHash, random: &mut ChaCha20Rng) {
        match above {
            ParentHash::None => vector(&mut node.content, &[]),
            ParentHash::Stale => self.append(node, Field::StaleParentHash, &draw(random)),
            ParentHash::Of(hash) => self.append(node, Field::CheckedParentHash, &hash),
        }
    }

    /// Appends a field, wrong if it is to be, and keeps its place.
    fn append(&self, node: &mut Node, field: Field, value: &[u8]) {
        vector(&mut node.content, value);
        let end = node.content.len();
        let place = end - value.len()..end;
        if let Some(fault) = self.fault.filter(|fault| (fault.node, fault.field) == (node.index, field)) {
            node.content[place.start + fault.byte] ^= 1 << fault.bit;
        }
        node.fields.push((field, place));
    }
}
