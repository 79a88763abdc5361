//! Makes a plan's tree: which nodes are set and whose they are, and then the nodes, in the order in which their hashes
//! allow it.

use std::ops::Range;

use crate::forged::{Fault, ForgeError, Forged, Written};
use crate::group_info::group_info;
use crate::node::{Node, ParentHash, Smith, Touch};
use crate::plan::{MAX_SIZE, Plan};
use crate::tree::{halves_mut, root, width};
use crate::wire::prefix;

/// Forges a group. The same plan gives the same bytes, whatever the number of threads that rayon may use.
///
/// # Errors
/// [`ForgeError`], for a plan that makes no sense.
pub fn forge(plan: &Plan) -> Result<Forged, ForgeError> {
    Smith { plan, fault: None }.forge()
}

/// A group with one wrong bit.
#[doc(hidden)]
pub fn forge_with_fault(plan: &Plan, fault: Fault) -> Result<Forged, ForgeError> {
    Smith { plan, fault: Some(fault) }.forge()
}

impl Smith<'_> {
    fn forge(&self) -> Result<Forged, ForgeError> {
        let leaves = leaves(self.plan)?;
        let (Some(first), Some(last)) = (leaves.first(), leaves.last()) else {
            return Err(ForgeError::Nobody(self.plan.size));
        };
        let history = self.plan.history();
        let mut nodes: Vec<Node> = (0..width(last + 1) as u32).map(|index| Node { index, ..Node::default() }).collect();
        for leaf in &leaves {
            let node = &mut nodes[2 * *leaf as usize];
            (node.inhabited, node.set) = (true, true);
        }
        for (time, commit) in history.iter().enumerate() {
            for leaf in &commit.replaced {
                nodes[2 * *leaf as usize].touch = Some(Touch { time, by: None });
            }
            nodes[2 * commit.by as usize].touch = Some(Touch { time, by: Some(commit.by) });
        }
        outline(&mut nodes);
        self.complete(&mut nodes, ParentHash::None)?;

        let tree_hash = root(&nodes).tree_hash;
        nodes.truncate(2 * *last as usize + 1);
        let (ratchet_tree, fields) = write(nodes);
        // Everybody was added in the first epoch's commit.
        let epoch = history.len() as u64 + 1;
        let group_info = group_info(self.plan, &ratchet_tree, &tree_hash, *first, epoch);
        let members = leaves.into_iter().map(Plan::member).collect();
        Ok(Forged { ratchet_tree, group_info, members, fields })
    }

    /// Makes a whole subtree. `above` is the parent hash of its root, should that be in a path.
    fn complete(&self, subtree: &mut [Node], above: ParentHash) -> Result<(), ForgeError> {
        self.prepare(subtree, above)?;
        self.descend(subtree, above)
    }

    /// Makes all of a subtree but the path that goes through its root. What hangs off that path was finished before its
    /// commit, and none of it depends on the rest.
    fn prepare(&self, subtree: &mut [Node], above: ParentHash) -> Result<(), ForgeError> {
        let Some((left, parent, right)) = halves_mut(subtree) else { return Ok(()) };
        // A parent over members on both sides was in the paths of all who committed below it. It is no longer theirs whose
        // paths end here.
        let off = if root(left).inhabited && root(right).inhabited { ParentHash::Stale } else { above };
        let (one, two) = match parent.owner() {
            Some(owner) => {
                let (ours, other) = own_side(owner, left, parent, right);
                rayon::join(|| self.prepare(ours, off), || self.complete(other, off))
            }
            None => rayon::join(|| self.complete(left, off), || self.complete(right, off)),
        };
        one.and(two)
    }

    /// Makes the path that goes through a subtree's root, if there is one: parent hashes on the way down, the leaf, tree
    /// hashes on the way up.
    fn descend(&self, subtree: &mut [Node], above: ParentHash) -> Result<(), ForgeError> {
        let Some((left, parent, right)) = halves_mut(subtree) else {
            for leaf in subtree {
                if leaf.set {
                    self.leaf(leaf, above)?;
                }
                leaf.hash_leaf();
            }
            return Ok(());
        };
        if let Some(owner) = parent.owner() {
            let (ours, other) = own_side(owner, left, parent, right);
            let below = if parent.set { self.parent(parent, above, root(other)) } else { above };
            self.descend(ours, below)?;
        }
        parent.hash_parent(root(left), root(right));
        Ok(())
    }
}

/// The leaves with members, if the plan makes sense.
fn leaves(plan: &Plan) -> Result<Vec<u32>, ForgeError> {
    let size = plan.size;
    if !matches!(plan.suite, 0x0001 | 0x0003) {
        return Err(ForgeError::Suite(plan.suite));
    }
    if !(1..=MAX_SIZE).contains(&size) {
        return Err(ForgeError::Size(size));
    }
    match plan.holes.iter().find(|hole| **hole >= size) {
        Some(hole) => Err(ForgeError::Hole { hole: *hole, size }),
        None => Ok(plan.leaves()),
    }
}

/// Finds out what happened last in each subtree, and which parents that leaves set: those of a path with members on both
/// sides below them. The others are in nobody's filtered direct path.
fn outline(subtree: &mut [Node]) {
    let Some((left, parent, right)) = halves_mut(subtree) else { return };
    outline(left);
    outline(right);
    let (left, right) = (root(left), root(right));
    parent.inhabited = left.inhabited || right.inhabited;
    parent.touch = left.touch.max(right.touch);
    parent.set = parent.owner().is_some() && left.inhabited && right.inhabited;
}

/// The half that a leaf is in, and then the other one.
fn own_side<'a>(
    leaf: u32,
    left: &'a mut [Node],
    parent: &Node,
    right: &'a mut [Node],
) -> (&'a mut [Node], &'a mut [Node]) {
    if 2 * leaf < parent.index { (left, right) } else { (right, left) }
}

/// `optional<Node> ratchet_tree<V>` (RFC 9420, section 12.4.3.3), and where in it what is.
fn write(nodes: Vec<Node>) -> (Vec<u8>, Vec<Written>) {
    let length = nodes.iter().map(|node| if node.set { 2 + node.content.len() } else { 1 }).sum();
    let mut out = prefix(length);
    out.reserve_exact(length);
    let mut fields = Vec::new();
    for node in nodes {
        out.push(node.set.into());
        if node.set {
            out.push(node.kind());
            let start = out.len();
            let here = |place: Range<usize>| start + place.start..start + place.end;
            for (field, place) in node.fields {
                fields.push(Written { node: node.index, field, bytes: here(place) });
            }
            out.extend(node.content);
        }
    }
    (out, fields)
}
