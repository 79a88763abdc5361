//! The ratchet tree as RFC 9420 evolves it (sections 7.4 to 7.9, 12.1 and 12.4.2), on plain data and without any check:
//! what follows from a commit that nobody ought to take.

use anyhow::Result;
use mls_rs::CipherSuiteProvider;

use crate::wire::{LeafNode, LeafNodeSource, Node, ParentNode, Wire};

/// Nodes in the order of the array (appendix C), a full tree: `2^(d+1) - 1` of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tree(pub(crate) Vec<Option<Node>>);

impl Tree {
    /// From `optional<Node> ratchet_tree<V>` (section 12.4.3.3).
    pub(crate) fn from_extension(bytes: &[u8]) -> Result<Self> {
        let mut tree = Self(Wire::decode(bytes)?);
        tree.fill();
        Ok(tree)
    }

    /// As such, without the blank nodes at the end.
    pub(crate) fn to_extension(&self) -> Vec<u8> {
        let nodes = self.0.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        self.0[..nodes].to_vec().encode()
    }

    /// Appends blank nodes until the tree is full.
    fn fill(&mut self) {
        let full = (self.0.len() + 1).next_power_of_two() - 1;
        self.0.resize(full.max(1), None);
    }

    fn root(&self) -> usize {
        self.0.len() / 2
    }

    /// How many places for leaves there are.
    pub(crate) fn leaves(&self) -> u32 {
        self.0.len().div_ceil(2) as u32
    }

    /// The leaf at this place.
    pub(crate) fn leaf(&self, index: u32) -> Result<&LeafNode> {
        match self.0.get(2 * index as usize) {
            Some(Some(Node::Leaf(leaf))) => Ok(leaf),
            _ => anyhow::bail!("leaf {index} is blank"),
        }
    }

    /// The same, to be changed.
    pub(crate) fn leaf_mut(&mut self, index: u32) -> Result<&mut LeafNode> {
        match self.0.get_mut(2 * index as usize) {
            Some(Some(Node::Leaf(leaf))) => Ok(leaf),
            _ => anyhow::bail!("leaf {index} is blank"),
        }
    }

    /// The parent at this place of the array.
    pub(crate) fn parent_mut(&mut self, node: usize) -> Result<&mut ParentNode> {
        match self.0.get_mut(node) {
            Some(Some(Node::Parent(parent))) => Ok(parent),
            _ => anyhow::bail!("parent {node} is blank"),
        }
    }

    fn parent(&self, node: usize) -> Option<&ParentNode> {
        match &self.0[node] {
            Some(Node::Parent(parent)) => Some(parent),
            _ => None,
        }
    }

    /// The nodes above a leaf, from below, each with the other child of it: direct path and copath (section 4.1.2).
    pub(crate) fn path(&self, leaf: u32) -> Vec<(usize, usize)> {
        let (target, mut node, mut path) = (2 * leaf as usize, self.root(), Vec::new());
        while node != target {
            let [left, right] = children(node);
            let (towards, aside) = if target < node { (left, right) } else { (right, left) };
            path.push((node, aside));
            node = towards;
        }
        path.reverse();
        path
    }

    /// The same without the nodes whose copath has an empty resolution (section 4.1.2).
    pub(crate) fn filtered_path(&self, leaf: u32) -> Vec<(usize, usize)> {
        self.path(leaf).into_iter().filter(|(_, copath)| !self.resolution(*copath).is_empty()).collect()
    }

    /// Section 4.1.1.
    pub(crate) fn resolution(&self, node: usize) -> Vec<usize> {
        match &self.0[node] {
            Some(Node::Leaf(_)) => vec![node],
            Some(Node::Parent(parent)) => {
                let unmerged = parent.unmerged_leaves.iter().map(|leaf| 2 * *leaf as usize);
                std::iter::once(node).chain(unmerged).collect()
            }
            None if node.is_multiple_of(2) => Vec::new(),
            None => children(node).into_iter().flat_map(|child| self.resolution(child)).collect(),
        }
    }

    /// The HPKE key of a node that is not blank.
    pub(crate) fn encryption_key(&self, node: usize) -> Result<&[u8]> {
        match &self.0[node] {
            Some(Node::Leaf(leaf)) => Ok(&leaf.encryption_key),
            Some(Node::Parent(parent)) => Ok(&parent.encryption_key),
            None => anyhow::bail!("node {node} is blank"),
        }
    }

    fn blank_path(&mut self, leaf: u32) {
        for (node, _) in self.path(leaf) {
            self.0[node] = None;
        }
    }

    /// Section 12.1.1. The place of the new leaf.
    pub(crate) fn add(&mut self, leaf: LeafNode) -> u32 {
        let index = self.vacancy();
        self.0[2 * index as usize] = Some(Node::Leaf(leaf));
        for (node, _) in self.path(index) {
            if let Some(Node::Parent(parent)) = &mut self.0[node] {
                parent.unmerged_leaves.push(index);
                parent.unmerged_leaves.sort_unstable();
            }
        }
        index
    }

    /// The leftmost blank leaf, for which the tree grows if there is none (section 7.7).
    pub(crate) fn vacancy(&mut self) -> u32 {
        if let Some(place) = self.0.iter().step_by(2).position(Option::is_none) {
            return place as u32;
        }
        let leaves = self.leaves();
        self.0.resize(2 * self.0.len() + 1, None);
        leaves
    }

    /// Section 12.1.2.
    pub(crate) fn update(&mut self, index: u32, leaf: LeafNode) {
        self.0[2 * index as usize] = Some(Node::Leaf(leaf));
        self.blank_path(index);
    }

    /// Section 12.1.3. Nothing happens where there is no leaf.
    pub(crate) fn remove(&mut self, index: u32) {
        if index >= self.leaves() {
            return;
        }
        self.0[2 * index as usize] = None;
        self.blank_path(index);
        while self.0.len() > 1 && self.0[self.root() + 1..].iter().step_by(2).all(Option::is_none) {
            self.0.truncate(self.root());
        }
    }

    /// Puts new keys on the filtered path of a leaf (section 7.5) and answers with the parent hash of the leaf (section
    /// 7.9).
    pub(crate) fn set_path<S: CipherSuiteProvider>(
        &mut self,
        suite: &S,
        leaf: u32,
        keys: &[Vec<u8>],
    ) -> Result<Vec<u8>> {
        let filtered = self.filtered_path(leaf);
        self.blank_path(leaf);
        let mut parent_hash = Vec::new();
        for ((node, copath), key) in filtered.into_iter().zip(keys).rev() {
            self.0[node] = Some(Node::Parent(ParentNode {
                encryption_key: key.clone(),
                parent_hash: parent_hash.clone(),
                unmerged_leaves: Vec::new(),
            }));
            let mut input = key.encode();
            parent_hash.write(&mut input);
            self.hash(suite, copath)?.write(&mut input);
            parent_hash = hash(suite, &input)?;
        }
        Ok(parent_hash)
    }

    /// Section 7.8.
    pub(crate) fn tree_hash<S: CipherSuiteProvider>(&self, suite: &S) -> Result<Vec<u8>> {
        self.hash(suite, self.root())
    }

    fn hash<S: CipherSuiteProvider>(&self, suite: &S, node: usize) -> Result<Vec<u8>> {
        let mut input = Vec::new();
        if node.is_multiple_of(2) {
            1u8.write(&mut input);
            (node as u32 / 2).write(&mut input);
            let leaf = match &self.0[node] {
                Some(Node::Leaf(leaf)) => Some(leaf.clone()),
                _ => None,
            };
            leaf.write(&mut input);
        } else {
            2u8.write(&mut input);
            self.parent(node).cloned().write(&mut input);
            for child in children(node) {
                self.hash(suite, child)?.write(&mut input);
            }
        }
        hash(suite, &input)
    }
}

/// The children of a parent (appendix C).
pub(crate) fn children(node: usize) -> [usize; 2] {
    let half = 1 << (node.trailing_ones() - 1);
    [node - half, node + half]
}

fn hash<S: CipherSuiteProvider>(suite: &S, data: &[u8]) -> Result<Vec<u8>> {
    suite.hash(data).map_err(|error| anyhow::anyhow!("hashing: {error:?}"))
}

/// What a leaf's signature is over: LeafNodeTBS (section 7.2). Group and place are those of leaves by Update and Commit.
pub(crate) fn leaf_tbs(leaf: &LeafNode, group_id: &[u8], index: u32) -> Vec<u8> {
    let mut unsigned = leaf.clone();
    unsigned.signature.clear();
    let mut tbs = unsigned.encode();
    // The empty signature: its length alone.
    tbs.pop();
    if !matches!(leaf.leaf_node_source, LeafNodeSource::KeyPackage(_)) {
        group_id.to_vec().write(&mut tbs);
        index.write(&mut tbs);
    }
    tbs
}

/// Whether what is hashed is a ParentHashInput (section 7.9): a key, a hash or nothing, and a hash. A TreeHashInput begins
/// with a node type, a transcript with a hash without its length.
pub(crate) fn is_parent_hash_input(data: &[u8], hash: usize) -> bool {
    let mut reader = crate::wire::Reader::new(data);
    let (Ok(_), Ok(parent_hash), Ok(sibling)) = (reader.opaque(), reader.opaque(), reader.opaque()) else {
        return false;
    };
    reader.is_empty() && [0, hash].contains(&parent_hash.len()) && sibling.len() == hash
}
