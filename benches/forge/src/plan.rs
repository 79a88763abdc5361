//! What is to be forged: a group's size, its holes, and the history that its tree is to be the outcome of.

use std::collections::BTreeSet;

use e2esm_adapter::{DeviceId, GroupId};
use rand::seq::index;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

/// The most leaf places that a plan may have: the tree stays well below the 2^30 bytes that a vector can hold.
pub const MAX_SIZE: u32 = 1 << 20;

/// The stream of who is replaced. Nodes' streams are their indexes.
const CHURN: u64 = u64::MAX;

/// Which histories a group may have behind it. In each of them everybody was added at first, in one commit without a path,
/// so that no parent was set and no leaf is unmerged; then came the commits of [`Plan::history`], each with a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Every parent is set that can be: the members at even leaves committed, from left to right, and at an odd leaf the
    /// member whose left neighbour is a hole. A parent belongs to the rightmost committer below it. It is blank only where
    /// one of its two subtrees is empty: such a node is in nobody's filtered direct path. A commit meets one node in each
    /// copath resolution.
    Full,
    /// [`Full`](Self::Full), and then one commit by the leftmost member that removed a tenth of the members (chosen by the
    /// seed, rounded down, at least one in a group of four, never the committer) and put new ones in their places. The
    /// newcomers' leaves come from key packages, and every parent above them is blank, save those that the commit's own
    /// path set again, as the path of a commit that removes does: those above the committer.
    Churn10,
    /// Members came in waves, each of which doubled the group: leaf 0, leaf 1, leaves 2 and 3, 4 to 7, and so on. Of each
    /// wave the first member has committed since, one after the other from left to right, and nobody else. So each wave's
    /// subtree has one populated path, a member meets large resolutions in its own wave and one node for all the earlier
    /// ones, and what a commit costs grows in steps from wave to wave.
    Staircase,
    /// Nobody has committed since: no parent is set, and a commit encrypts to every other member.
    Flat,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Full, Self::Churn10, Self::Staircase, Self::Flat];

    /// The name used in ids and in the documents.
    pub fn label(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Churn10 => "churn10",
            Self::Staircase => "staircase",
            Self::Flat => "flat",
        }
    }
}

/// A group to forge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The cipher suite: 0x0001 or 0x0003, which differ in the AEAD alone.
    pub suite: u16,
    /// The history behind the tree.
    pub state: State,
    /// The number of leaf places, from 1 to [`MAX_SIZE`].
    pub size: u32,
    /// Leaves left blank, where live members can join: an external commit takes the leftmost. They were blank before
    /// anybody committed. Holes at the end are no leaves at all: the array of nodes ends with the last member.
    pub holes: Vec<u32>,
    /// What all keys come from.
    pub seed: u64,
    /// The group's id: its UTF-8 bytes.
    pub group: GroupId,
}

/// A commit with a path, as a [`State`]'s history has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// The committer's leaf.
    pub by: u32,
    /// Leaves, in increasing order, whose members it removed and at which it added others.
    pub replaced: Vec<u32>,
}

impl Plan {
    /// The leaves that are not holes, in increasing order.
    pub fn leaves(&self) -> Vec<u32> {
        let holes: BTreeSet<u32> = self.holes.iter().copied().collect();
        (0..self.size).filter(|leaf| !holes.contains(leaf)).collect()
    }

    /// The name of the member at a leaf.
    pub fn member(leaf: u32) -> DeviceId {
        DeviceId::new(&format!("m{leaf}"), "d")
    }

    /// The commits with a path, in order: what the state's name stands for.
    pub fn history(&self) -> Vec<Commit> {
        let leaves = self.leaves();
        let by = |leaf: &u32| Commit { by: *leaf, replaced: Vec::new() };
        match self.state {
            State::Full => full(&leaves).map(by).collect(),
            State::Churn10 => full(&leaves).map(by).chain(self.churn(&leaves)).collect(),
            State::Staircase => leaves.chunk_by(|a, b| wave(*a) == wave(*b)).flat_map(<[u32]>::first).map(by).collect(),
            State::Flat => Vec::new(),
        }
    }

    fn churn(&self, leaves: &[u32]) -> Option<Commit> {
        let (committer, others) = leaves.split_first()?;
        let count = match leaves.len() {
            0..4 => return None,
            members => (members / 10).max(1),
        };
        let chosen = index::sample(&mut self.random(CHURN), others.len(), count);
        let mut replaced: Vec<u32> = chosen.into_iter().map(|place| others[place]).collect();
        replaced.sort_unstable();
        Some(Commit { by: *committer, replaced })
    }

    /// The randomness of the node that is this leaf.
    pub(crate) fn leaf_random(&self, leaf: u32) -> ChaCha20Rng {
        self.random(2 * u64::from(leaf))
    }

    /// The randomness of one node, or of the group: streams are independent, whatever order they are drawn in.
    pub(crate) fn random(&self, stream: u64) -> ChaCha20Rng {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&self.seed.to_le_bytes());
        let mut random = ChaCha20Rng::from_seed(seed);
        random.set_stream(stream);
        random
    }
}

/// Even leaves, and odd ones whose left neighbour is missing.
fn full(leaves: &[u32]) -> impl Iterator<Item = &u32> {
    leaves.chunk_by(|a, b| a / 2 == b / 2).flat_map(<[u32]>::first)
}

/// The wave in which a leaf was filled: 0, 1, 2 and 3, 4 to 7, ...
fn wave(leaf: u32) -> u32 {
    u32::BITS - leaf.leading_zeros()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn committers(state: State, size: u32, holes: &[u32]) -> Vec<u32> {
        let plan = Plan { suite: 1, state, size, holes: holes.to_vec(), seed: 1, group: GroupId("g".to_owned()) };
        plan.history().into_iter().map(|commit| commit.by).collect()
    }

    #[test]
    fn in_full_one_of_each_pair_commits() {
        assert_eq!(committers(State::Full, 7, &[]), [0, 2, 4, 6]);
        assert_eq!(committers(State::Full, 7, &[1, 4]), [0, 2, 5, 6]);
        assert_eq!(committers(State::Full, 7, &[6, 0, 1]), [2, 4]);
    }

    #[test]
    fn in_staircase_the_first_of_each_wave_commits() {
        assert_eq!(committers(State::Staircase, 9, &[]), [0, 1, 2, 4, 8]);
        assert_eq!(committers(State::Staircase, 9, &[1, 4, 5]), [0, 2, 6, 8]);
    }

    #[test]
    fn churn_replaces_a_tenth_and_never_the_committer() {
        for (size, count) in [(3, 0), (4, 1), (9, 1), (20, 2), (1_000, 100)] {
            let plan = Plan {
                suite: 1,
                state: State::Churn10,
                size: size + 1,
                holes: vec![0],
                seed: 7,
                group: GroupId("g".to_owned()),
            };
            let mut history = plan.history();
            let last = history.pop().expect("somebody committed");
            assert_eq!(last.replaced.len(), count, "{size}");
            assert!(last.replaced.is_sorted() && last.replaced.iter().all(|leaf| (2..=size).contains(leaf)));
            assert_eq!(last.by == 1, count > 0 || size == 1);
            assert_ne!(history, Vec::new());
        }
        assert_eq!(committers(State::Flat, 9, &[]), Vec::<u32>::new());
    }
}
