//! What a ratchet tree costs to commit in, read off its bytes: any group's, forged or exported by a library.

use crate::tree::{halves, root, width};
use crate::wire::{BASIC, COMMIT, KEY_PACKAGE, LEAF, Malformed, PARENT, Reader, UPDATE, X509};

/// Which nodes of a ratchet tree are set, and which leaves are unmerged where; nothing of what is in them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// The complete tree: the array as it was read, and blanks after it.
    nodes: Vec<Place>,
    leaves: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Blank,
    Leaf(u32),
    /// A parent and its unmerged leaves.
    Parent(Vec<u32>),
}

impl Place {
    fn unmerged(&self) -> &[u32] {
        match self {
            Self::Parent(unmerged) => unmerged,
            Self::Blank | Self::Leaf(_) => &[],
        }
    }
}

/// A leaf index that is not one of the tree's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no leaf {leaf}: the tree has {leaves} leaf places")]
pub struct NoLeaf {
    /// The index asked for.
    pub leaf: u32,
    /// How many leaf places there are.
    pub leaves: u32,
}

impl Shape {
    /// Reads `optional<Node> ratchet_tree<V>` (RFC 9420, section 12.4.3.3), to its last byte. Hashes and signatures are not
    /// looked at, and neither is anything inside credentials, capabilities and extensions.
    ///
    /// # Errors
    /// [`Malformed`], with the place, for bytes that are no such vector, for a leaf where a parent should be and the other
    /// way round, for an array that ends with a blank, and for unmerged leaves that are not leaves below their parent in
    /// increasing order.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let mut array = reader.vector()?;
        if !reader.is_empty() {
            return Err(reader.malformed("bytes after the tree"));
        }
        let mut nodes = Vec::new();
        let mut end = array.malformed("a tree without nodes");
        while !array.is_empty() {
            end = array.malformed("the last node is not a leaf that is set");
            nodes.push(node(&mut array, nodes.len())?);
        }
        let Some(Place::Leaf(last)) = nodes.last() else { return Err(end) };
        let leaves = last + 1;
        nodes.resize(width(leaves), Place::Blank);
        let is_set = |leaf: &u32| matches!(nodes.get(2 * *leaf as usize), Some(Place::Leaf(_)));
        if !nodes.iter().flat_map(Place::unmerged).all(is_set) {
            return Err(reader.malformed("the tree ends, and a leaf that is unmerged somewhere is blank"));
        }
        Ok(Self { nodes, leaves })
    }

    /// The number of leaf places, up to the last member's.
    pub fn leaves(&self) -> u32 {
        self.leaves
    }

    /// The number of leaves that are set.
    pub fn members(&self) -> usize {
        self.nodes.iter().filter(|place| matches!(place, Place::Leaf(_))).count()
    }

    /// The length of a leaf's filtered direct path (RFC 9420, section 4.1.2): how many nodes a commit from there sets. This
    /// is `p` of the byte law.
    ///
    /// # Errors
    /// [`NoLeaf`].
    pub fn filtered_path(&self, leaf: u32) -> Result<usize, NoLeaf> {
        Ok(self.copath_resolution(leaf, &[])?.len())
    }

    /// How many ciphertexts a commit from this leaf carries for each node of its filtered direct path, from the leaf
    /// upwards: the sizes of the resolutions (section 4.1.1) of the copath nodes, without the leaves `exclude` that the same
    /// commit adds (section 7.6). The sum is `R` of the byte law. A size can be 0: which nodes are filtered out does not
    /// depend on `exclude`. The tree as the commit leaves it and the tree with the commit's proposals applied to it give the
    /// same: a path changes no copath.
    ///
    /// # Errors
    /// [`NoLeaf`].
    pub fn copath_resolution(&self, leaf: u32, exclude: &[u32]) -> Result<Vec<usize>, NoLeaf> {
        if leaf >= self.leaves {
            return Err(NoLeaf { leaf, leaves: self.leaves });
        }
        let mut sizes = Vec::new();
        let (mut subtree, mut place) = (self.nodes.as_slice(), 2 * leaf as usize);
        while let Some((left, _, right)) = halves(subtree) {
            let copath;
            if place < left.len() {
                (subtree, copath) = (left, right);
            } else {
                place -= left.len() + 1;
                (subtree, copath) = (right, left);
            }
            if resolution(copath, &[]) > 0 {
                sizes.push(resolution(copath, exclude));
            }
        }
        sizes.reverse();
        Ok(sizes)
    }
}

/// The size of a subtree's resolution without some leaves.
fn resolution(subtree: &[Place], exclude: &[u32]) -> usize {
    match (root(subtree), halves(subtree)) {
        (Place::Parent(unmerged), _) => 1 + unmerged.iter().filter(|leaf| !exclude.contains(leaf)).count(),
        (Place::Leaf(leaf), _) => usize::from(!exclude.contains(leaf)),
        (Place::Blank, Some((left, _, right))) => resolution(left, exclude) + resolution(right, exclude),
        (Place::Blank, None) => 0,
    }
}

/// `optional<Node>`, the one with this index in the array.
fn node(reader: &mut Reader<'_>, index: usize) -> Result<Place, Malformed> {
    let start = reader.malformed("neither a blank nor a node");
    match reader.byte()? {
        0 => return Ok(Place::Blank),
        1 => {}
        _ => return Err(start),
    }
    let start = reader.malformed("a parent where a leaf should be, or a leaf where a parent should be, or neither");
    match (reader.byte()?, index % 2) {
        (LEAF, 0) => {
            leaf_node(reader)?;
            // A node takes at least a byte, and there are less than 2^30 of them.
            Ok(Place::Leaf(index as u32 / 2))
        }
        (PARENT, 1) => parent_node(reader, index),
        _ => Err(start),
    }
}

/// `ParentNode` (section 7.1), the one with this index in the array.
fn parent_node(reader: &mut Reader<'_>, index: usize) -> Result<Place, Malformed> {
    reader.vector()?; // encryption_key
    reader.vector()?; // parent_hash
    let mut leaves = reader.vector()?;
    let reach = (1 << index.trailing_ones()) - 1;
    let mut unmerged = Vec::new();
    while !leaves.is_empty() {
        let start = leaves.malformed("an unmerged leaf that is not below its parent, or out of order");
        let leaf = leaves.long()?;
        if (2 * leaf as usize).abs_diff(index) > reach || unmerged.last().is_some_and(|last| *last >= leaf) {
            return Err(start);
        }
        unmerged.push(leaf);
    }
    Ok(Place::Parent(unmerged))
}

/// `LeafNode` (section 7.2).
fn leaf_node(reader: &mut Reader<'_>) -> Result<(), Malformed> {
    reader.vector()?; // encryption_key
    reader.vector()?; // signature_key
    let start = reader.malformed("a credential that is neither basic nor x509");
    if !matches!(reader.short()?, BASIC | X509) {
        return Err(start);
    }
    reader.vector()?; // identity or certificates
    for _ in ["versions", "cipher_suites", "extensions", "proposals", "credentials"] {
        reader.vector()?;
    }
    let start = reader.malformed("an unknown source of a leaf");
    match reader.byte()? {
        KEY_PACKAGE => {
            reader.take(16)?; // lifetime
        }
        UPDATE => {}
        COMMIT => {
            reader.vector()?; // parent_hash
        }
        _ => return Err(start),
    }
    reader.vector()?; // extensions
    reader.vector()?; // signature
    Ok(())
}
