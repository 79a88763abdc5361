//! Complete binary trees in an array, as RFC 9420, appendix C lays them out: leaves at even indexes, parents between.
//!
//! Every subtree is then one run of the array with its root in the middle, so that no index arithmetic is needed and the
//! two halves of a tree can be worked on in parallel.

/// How many nodes the complete tree has that holds this many leaves, of which there is at least one.
pub(crate) fn width(leaves: u32) -> usize {
    2 * leaves.next_power_of_two() as usize - 1
}

/// The root of a subtree.
pub(crate) fn root<T>(subtree: &[T]) -> &T {
    &subtree[subtree.len() / 2]
}

/// The left subtree, the root and the right subtree; nothing for a leaf.
pub(crate) fn halves<T>(subtree: &[T]) -> Option<(&[T], &T, &[T])> {
    let (left, rest) = subtree.split_at(subtree.len() / 2);
    let (root, right) = rest.split_first()?;
    (!left.is_empty()).then_some((left, root, right))
}

/// The same, to be changed.
pub(crate) fn halves_mut<T>(subtree: &mut [T]) -> Option<(&mut [T], &mut T, &mut [T])> {
    let (left, rest) = subtree.split_at_mut(subtree.len() / 2);
    let (root, right) = rest.split_first_mut()?;
    (!left.is_empty()).then_some((left, root, right))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_stands_between_its_halves() {
        for (leaves, nodes) in [(1, 1), (2, 3), (3, 7), (4, 7), (5, 15), (100_000, 262_143)] {
            assert_eq!(width(leaves), nodes);
        }
        let mut tree = [0, 1, 2, 3, 4, 5, 6];
        assert_eq!(*root(&tree), 3);
        assert_eq!(halves(&tree), Some((&tree[..3], &3, &tree[4..])));
        assert_eq!(halves(&tree[4..]), Some((&tree[4..5], &5, &tree[6..])));
        assert_eq!(halves(&tree[..1]), None);
        assert_eq!(halves_mut(&mut tree).map(|(_, root, _)| *root), Some(3));
        assert_eq!(halves_mut(&mut tree[..1]), None);
    }
}
