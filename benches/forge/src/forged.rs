//! What comes out of the forge: a group and the places in it, or the reason why there is none.

use std::ops::Range;

use e2esm_adapter::DeviceId;

use crate::plan::MAX_SIZE;

/// A plan that cannot be carried out.
#[derive(Debug, thiserror::Error)]
pub enum ForgeError {
    /// The forge has the primitives of two suites only.
    #[error("cipher suite {0:#06x}: the forge knows 0x0001 and 0x0003")]
    Suite(u16),
    /// Too few or too many leaf places.
    #[error("{0} leaf places: the forge makes groups with 1 to {MAX_SIZE}")]
    Size(u32),
    /// A hole that is not in the tree.
    #[error("a hole at leaf {hole}: the group has {size} leaf places")]
    Hole {
        /// The leaf.
        hole: u32,
        /// The number of leaf places.
        size: u32,
    },
    /// Every leaf is a hole.
    #[error("all {0} leaf places are holes: nobody is left to sign for the group")]
    Nobody(u32),
    /// A member's credential could not be written.
    #[error("writing a credential: {0}")]
    Credential(#[from] e2esm_adapter::Error),
}

/// A group in which nobody exists: the members' signature keys can be had from the seed, but there are no path secrets
/// and no epoch secrets, so that they cannot act. Live members join by an external commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forged {
    /// `optional<Node> ratchet_tree<V>` (RFC 9420, section 12.4.3.3).
    pub ratchet_tree: Vec<u8>,
    /// An `MLSMessage` with a `GroupInfo` (section 12.4.3) that has the tree in it, and the key for external commits. The
    /// leftmost member has signed it.
    pub group_info: Vec<u8>,
    /// The members, by leaf, without the holes.
    pub members: Vec<DeviceId>,
    pub(crate) fields: Vec<Written>,
}

impl Forged {
    /// Where in [`ratchet_tree`](Self::ratchet_tree) the leaves' signatures are, without their length prefixes.
    pub fn signatures(&self) -> Vec<Range<usize>> {
        self.ranges(|written| written.field == Field::Signature)
    }

    /// Where in [`ratchet_tree`](Self::ratchet_tree) the parent hashes are that a newcomer can check, without their length
    /// prefixes: one for each parent that is set (section 7.9.2). All others refer to a version of a parent that a later
    /// commit has overwritten.
    pub fn checked_parent_hashes(&self) -> Vec<Range<usize>> {
        self.ranges(|written| written.field == Field::CheckedParentHash)
    }

    fn ranges(&self, wanted: impl Fn(&Written) -> bool) -> Vec<Range<usize>> {
        self.fields.iter().filter(|written| wanted(written)).map(|written| written.bytes.clone()).collect()
    }

    /// Where what can be bent is.
    #[doc(hidden)]
    pub fn fields(&self) -> &[Written] {
        &self.fields
    }
}

/// Something that a newcomer checks, or cannot check, in one node.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    Signature,
    CheckedParentHash,
    StaleParentHash,
}

/// A field of a node and its place in the tree's bytes.
#[doc(hidden)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The node's index in the array.
    pub node: u32,
    pub field: Field,
    pub bytes: Range<usize>,
}

/// A bit to turn over as soon as its field is made. Whatever is computed from the field later is computed from the wrong
/// one, so that nothing else in the group is wrong: what a test of the checks needs.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The node's index in the array.
    pub node: u32,
    pub field: Field,
    /// From 0 at the start of the field.
    pub byte: usize,
    pub bit: u8,
}
