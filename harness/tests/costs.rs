//! The cost model holds: bytes by the byte law, public-key operations by the formulas, for every MLS implementation.
//!
//! One test, because the meter is the whole process's.

#![allow(clippy::unwrap_used)]

use e2esm::bench::cache::Cache;
use e2esm::bench::cell::{Actor, Cell, GroupState, Operation, Setting, group, member};
use e2esm::bench::prepare::{change_of, prepare};
use e2esm::bench::stage::{Sample, Stage};
use e2esm_adapter::{Adapter, Change, Metering, Primitive};
use e2esm_forge::Shape;

const SIZES: [u32; 10] = [2, 3, 8, 9, 32, 33, 128, 129, 512, 513];
const STATES: [GroupState; 3] = [GroupState::Flat, GroupState::CreatorPath, GroupState::Full];

/// Bytes of the length in front of a variable-size vector (RFC 9420, section 2.1.2).
fn prefix(length: usize) -> usize {
    match length {
        0..64 => 1,
        64..16_384 => 2,
        _ => 4,
    }
}

/// A commit's bytes apart from its constant: a node of the path is a key (33 with its prefix) and the list of its
/// ciphertexts, 82 each; the nodes are a list; and in a PrivateMessage all of it lies in one ciphertext.
fn path_bytes(resolutions: &[usize], constant: usize, private: bool) -> usize {
    let nodes: usize = resolutions.iter().map(|size| 33 + prefix(82 * size) + 82 * size).sum();
    let path = prefix(nodes) + nodes;
    if private { prefix(constant + path) + constant + path } else { constant + path }
}

struct Bench<'a> {
    adapter: &'a dyn Adapter,
    name: String,
    cache: Cache,
}

impl Bench<'_> {
    fn setting(&self, state: GroupState, size: u32) -> Setting {
        Setting { adapter: self.name.clone(), state, size, actor: Actor::First }
    }

    fn sample(&self, operation: Operation, state: GroupState, size: u32) -> Sample {
        let cell = Cell { operation, setting: self.setting(state, size), threads: 1 };
        let stage = Stage::new(self.adapter, &cell, &self.cache).unwrap();
        stage.sample(Metering::Count).unwrap()
    }

    /// The tree of the prepared group, or after the member at `removed` was taken out of it.
    fn shape(&self, state: GroupState, size: u32, removed: Option<u32>) -> Shape {
        let prepared = prepare(self.adapter, &self.setting(state, size), &self.cache).unwrap();
        let mut actor = prepared.actor.load(self.adapter).unwrap();
        if let Some(leaf) = removed {
            let change = Change { remove: vec![member(leaf)], ..Change::default() };
            let packets = actor.change(&group(), &change).unwrap().packets;
            actor.receive(change_of(&packets).unwrap()).unwrap();
        }
        Shape::parse(actor.ratchet_tree(&group()).unwrap().as_ref()).unwrap()
    }
}

/// The public-key operations among the calls; a primitive that was not called is 0.
fn public(sample: &Sample) -> [u64; 5] {
    [Primitive::Seal, Primitive::Open, Primitive::Verify, Primitive::Sign, Primitive::KemKey]
        .map(|primitive| sample.reading.calls.get(&primitive).copied().unwrap_or(0))
}

fn exists(operation: Operation, state: GroupState, size: u32) -> bool {
    let setting = Setting { adapter: String::new(), state, size, actor: Actor::First };
    Cell { operation, setting, threads: 1 }.impossible(true).is_none()
}

#[test]
fn bytes_and_public_key_operations_are_those_of_the_cost_model() {
    let directory = tempfile::tempdir().unwrap();
    let adapters = e2esm::registry::built_in();
    let mut rows = 0;
    for adapter in adapters.iter().filter(|adapter| adapter.describe().group_object) {
        let description = adapter.describe();
        let cache = Cache::new(directory.path().to_owned(), u64::MAX);
        let bench = Bench { adapter: adapter.as_ref(), name: description.name.clone(), cache };
        let mls_rs = description.implementation == "mls-rs";
        // openmls frames commits as PrivateMessage, mls-rs as PublicMessage: the adapters' READMEs.
        let private = !mls_rs;
        let mut constant = None;
        for size in SIZES {
            for state in STATES.into_iter().filter(|state| exists(Operation::Update, *state, size)) {
                let place = format!("{}, {state}, {size} members", bench.name);
                let n = u64::from(size);
                let shape = bench.shape(state, size, None);
                let resolutions = shape.copath_resolution(0, &[]).unwrap();
                let p = shape.filtered_path(0).unwrap() as u64;
                let r = resolutions.iter().sum::<usize>() as u64;
                // What the cost model says that R is.
                match state {
                    GroupState::Full => assert_eq!(r, u64::from(size.next_power_of_two().ilog2()), "{place}"),
                    _ => assert_eq!(r, n - 1, "{place}"),
                }

                let update = bench.sample(Operation::Update, state, size);
                let bytes = update.bytes_up as usize;
                // Calibrated at N = 2, where no prefix has grown but the ciphertext's.
                let constant = *constant.get_or_insert_with(|| {
                    assert_eq!((size, state), (2, GroupState::Flat));
                    let rest = (1..bytes).find(|constant| path_bytes(&resolutions, *constant, private) == bytes);
                    rest.unwrap()
                });
                assert_eq!(bytes, path_bytes(&resolutions, constant, private), "{place}");
                // In the terms of the law: c + 35 p + 82 R, and the prefixes that have grown.
                let grown = resolutions.iter().map(|size| prefix(82 * size) - 2).sum::<usize>();
                let nodes: usize = resolutions.iter().map(|size| 33 + prefix(82 * size) + 82 * size).sum();
                assert_eq!(nodes as u64, 35 * p + 82 * r + grown as u64, "{place}");

                // mls-rs signs a GroupInfo also for a commit that welcomes nobody: group/commit.rs:772 builds the
                // Welcome's GroupInfo before it looks whether there are newcomers.
                let for_nobody = u64::from(mls_rs);
                assert_eq!(public(&update), [r, 0, 0, 2 + for_nobody, p + 1], "update: {place}");

                if exists(Operation::Remove1, state, size) {
                    // The member that the benchmark removes, and the tree without it.
                    let others: Vec<u32> = (1..size - 1).collect();
                    let without = bench.shape(state, size, Some(others[3 * others.len() / 4]));
                    let r: usize = without.copath_resolution(0, &[]).unwrap().iter().sum();
                    let p = without.filtered_path(0).unwrap() as u64;
                    let remove = bench.sample(Operation::Remove1, state, size);
                    assert_eq!(public(&remove), [r as u64, 0, 0, 2 + for_nobody, p + 1], "remove-1: {place}");
                }
                let process = public(&bench.sample(Operation::ProcessUpdate, state, size));
                assert_eq!(process[..4], [0, 1, 2, 0], "process-update: {place}");
                assert!((1..=p).contains(&process[4]), "process-update: {place}: {process:?}");
                let add = public(&bench.sample(Operation::Add1, state, size));
                let join = public(&bench.sample(Operation::Join, state, size));
                let process_add = public(&bench.sample(Operation::ProcessAdd1, state, size));
                assert_eq!(add, [1, 0, 2, 2, 0], "add-1: {place}");
                assert_eq!(join, [0, 1, n + 2, 0, 0], "join: {place}");
                assert_eq!(process_add, [0, 0, 3, 0, 0], "process-add-1: {place}");
                if state == GroupState::Flat {
                    let create = public(&bench.sample(Operation::Create, state, size));
                    // The creator's own leaf is signed, has a key, and mls-rs checks it as it does others'.
                    let own = u64::from(mls_rs);
                    assert_eq!(create, [n - 1, 0, 2 * (n - 1) + own, 3, 1], "create: {place}");
                }
                if size <= 33 {
                    let send = bench.sample(Operation::Send, state, size);
                    let receive = bench.sample(Operation::Receive, state, size);
                    assert_eq!(public(&send), [0, 0, 0, 1, 0], "send: {place}");
                    assert_eq!(public(&receive), [0, 0, 1, 0, 0], "receive: {place}");
                    let aead = |sample: &Sample, primitive| sample.reading.calls.get(&primitive).copied();
                    assert_eq!(aead(&send, Primitive::AeadSeal), Some(2), "{place}");
                    assert_eq!(aead(&receive, Primitive::AeadOpen), Some(2), "{place}");
                }
                rows += 1;
            }
        }
        println!("{}: c = {}", bench.name, constant.unwrap());
    }
    assert_eq!(rows, 4 * (SIZES.len() * STATES.len() - 1), "every place but `full` with two members");
}
