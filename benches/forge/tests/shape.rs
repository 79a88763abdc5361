//! Reading trees: the counts of known ones, and bytes that are none.

mod common;

use common::plan;
use e2esm_forge::{NoLeaf, Shape, State, forge};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

fn tree(state: State, size: u32, holes: &[u32]) -> Vec<u8> {
    forge(&plan(state, size, holes)).expect("a plan that makes sense").ratchet_tree
}

fn shape(state: State, size: u32, holes: &[u32]) -> Shape {
    Shape::parse(&tree(state, size, holes)).expect("a forged tree is a tree")
}

fn sum(shape: &Shape, leaf: u32) -> usize {
    shape.copath_resolution(leaf, &[]).expect("a leaf of the tree").iter().sum()
}

#[test]
fn a_full_tree_has_one_node_in_each_resolution() {
    let full = shape(State::Full, 16, &[]);
    assert_eq!((full.leaves(), full.members()), (16, 16));
    for leaf in 0..16 {
        assert_eq!(full.copath_resolution(leaf, &[]), Ok(vec![1, 1, 1, 1]));
    }
    let nine = shape(State::Full, 9, &[]);
    assert_eq!(nine.copath_resolution(3, &[]), Ok(vec![1, 1, 1, 1]));
    assert_eq!(nine.copath_resolution(8, &[]), Ok(vec![1]), "nobody is in the rest of its half");
    assert_eq!(nine.filtered_path(8), Ok(1));
    assert_eq!(nine.copath_resolution(9, &[]), Err(NoLeaf { leaf: 9, leaves: 9 }));
}

#[test]
fn a_flat_tree_has_everybody() {
    let flat = shape(State::Flat, 16, &[]);
    assert_eq!(flat.copath_resolution(5, &[]), Ok(vec![1, 2, 4, 8]));
    assert_eq!(flat.copath_resolution(5, &[4, 6, 7, 15]), Ok(vec![0, 0, 4, 7]), "newcomers get no ciphertext");
    let holes = shape(State::Flat, 16, &[4, 6, 7]);
    assert_eq!(holes.copath_resolution(5, &[]), Ok(vec![4, 8]), "empty subtrees are filtered out");
    assert_eq!((holes.leaves(), holes.members()), (16, 13));
    let alone = shape(State::Flat, 1, &[]);
    assert_eq!(alone.copath_resolution(0, &[]), Ok(vec![]));
}

#[test]
fn a_staircase_rises_with_each_wave() {
    let stairs = shape(State::Staircase, 64, &[]);
    assert_eq!(stairs.copath_resolution(1, &[]), Ok(vec![1, 1, 1, 1, 1, 1]));
    assert_eq!(stairs.copath_resolution(32, &[]), Ok(vec![1, 2, 4, 8, 16, 1]), "the first of the last wave");
    assert_eq!(stairs.copath_resolution(63, &[]), Ok(vec![1, 2, 4, 8, 1, 1]), "the last");
    // The last of each wave.
    assert_eq!([1, 3, 7, 15, 31, 63].map(|leaf| sum(&stairs, leaf)), [6, 6, 6, 7, 10, 17]);
}

#[test]
fn churn_blanks_what_is_above_newcomers_only() {
    let plan = plan(State::Churn10, 64, &[]);
    let churned = shape(State::Churn10, 64, &[]);
    let last = plan.history().pop().expect("somebody committed");
    assert_eq!((last.by, last.replaced.len()), (0, 6));
    assert_eq!(churned.filtered_path(0), Ok(6));
    for leaf in 0..64 {
        let resolutions = churned.copath_resolution(leaf, &[]).expect("a leaf of the tree");
        for (level, size) in resolutions.into_iter().enumerate() {
            // The copath node at this level, as the leaves below it.
            let below = |other: u32| (other >> level) == (leaf >> level) ^ 1;
            let blank = last.replaced.iter().any(|other| below(*other)) && !below(0) && level > 0;
            assert_eq!(size > 1, blank, "leaf {leaf}, level {level}");
        }
    }
}

/// Whatever parses can be asked.
fn ask(bytes: &[u8]) -> bool {
    let Ok(shape) = Shape::parse(bytes) else { return false };
    (0..shape.leaves()).all(|leaf| shape.copath_resolution(leaf, &[0]).is_ok())
}

#[test]
fn a_tree_cut_short_is_none() {
    for state in State::ALL {
        let whole = tree(state, 9, &[3, 4]);
        assert!(ask(&whole));
        for length in 0..whole.len() {
            assert!(!ask(&whole[..length]), "{}, {length} bytes", state.label());
        }
        assert!(!ask(&[whole, vec![0]].concat()), "{}, a byte too many", state.label());
    }
}

#[test]
fn no_wrong_bits_make_it_panic() {
    let mut random = StdRng::seed_from_u64(4);
    let (mut refused, mut read) = (0, 0);
    for state in State::ALL {
        let whole = tree(state, 7, &[1, 2]);
        for bit in 0..8 * whole.len() {
            let mut bent = whole.clone();
            bent[bit / 8] ^= 1 << (bit % 8);
            *if ask(&bent) { &mut read } else { &mut refused } += 1;
        }
        for _ in 0..20_000 {
            let mut bent = whole.clone();
            for _ in 0..random.gen_range(1..8) {
                let place = random.gen_range(0..bent.len());
                match random.gen_range(0..3) {
                    0 => bent[place] = random.r#gen(),
                    1 => drop(bent.remove(place)),
                    _ => bent.insert(place, random.r#gen()),
                }
            }
            *if ask(&bent) { &mut read } else { &mut refused } += 1;
        }
    }
    assert!(refused > 1_000 && read > 1_000, "keys and signatures may be anything, lengths may not: {refused}, {read}");
}

/// Trees by hand: what is refused, and with which words.
#[test]
fn malformed_trees_are_told_apart() {
    const BLANK: &[u8] = &[0];
    // Present, a leaf; two empty keys, an empty basic credential, five empty lists; source update; no extensions, an empty
    // signature.
    const LEAF: &[u8] = &[1, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 2, 0, 0];
    let parent = |unmerged: &[u32]| {
        let mut bytes = vec![1, 2, 0, 0, 4 * unmerged.len() as u8];
        bytes.extend(unmerged.iter().flat_map(|leaf| leaf.to_be_bytes()));
        bytes
    };
    let parse = |nodes: &[&[u8]]| {
        let content = nodes.concat();
        assert!(content.len() < 64);
        Shape::parse(&[vec![content.len() as u8], content].concat())
    };
    let refused = |nodes: &[&[u8]]| parse(nodes).expect_err("this must be refused").to_string();

    let three = parse(&[LEAF, &parent(&[0]), LEAF, BLANK, LEAF]).expect("a tree of three");
    assert_eq!(three.copath_resolution(2, &[]), Ok(vec![2]), "a parent and its unmerged leaf");
    assert_eq!(three.copath_resolution(2, &[0]), Ok(vec![1]), "not the leaf that is added in the same commit");

    assert_eq!(
        Shape::parse(&[0]).expect_err("refused").to_string(),
        "not a ratchet tree: byte 1: a tree without nodes"
    );
    assert!(refused(&[LEAF, BLANK]).contains("byte 16: the last node"));
    assert!(refused(&[LEAF, BLANK, BLANK]).contains("byte 17: the last node"));
    assert!(refused(&[LEAF, LEAF, LEAF]).contains("byte 17: a parent where"));
    assert!(refused(&[&parent(&[]), BLANK, LEAF]).contains("byte 2: a parent where"));
    assert!(refused(&[&[2]]).contains("byte 1: neither a blank nor a node"));
    assert!(refused(&[LEAF, &parent(&[1, 0]), LEAF]).contains("byte 25: an unmerged leaf"));
    assert!(refused(&[LEAF, &parent(&[0, 0]), LEAF]).contains("byte 25: an unmerged leaf"));
    assert!(refused(&[LEAF, &parent(&[2]), LEAF, BLANK, LEAF]).contains("byte 21: an unmerged leaf"));
    assert!(refused(&[LEAF, &parent(&[u32::MAX]), LEAF]).contains("byte 21: an unmerged leaf"));
    assert!(refused(&[LEAF, &parent(&[1]), BLANK, BLANK, LEAF]).contains("is blank"));
    assert!(refused(&[&[1, 1, 0, 0, 0, 3, 0]]).contains("byte 5: a credential that is neither"));
    assert!(refused(&[&[1, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 4]]).contains("byte 13: an unknown source"));
}
