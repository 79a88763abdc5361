//! What the bench targets share: which cells they have, where prepared states are kept, how many threads there are, and
//! what they were asked to do. `benches/README.md` says what each target is for.

use e2esm::bench::cache::{Cache, DEFAULT_BOUND};
use e2esm::bench::cell::{Actor, Cell, GroupState, Operation, Setting};
use e2esm_adapter::Adapter;

/// Where `e2esm bench` keeps its prepared states, too.
pub fn cache() -> Cache {
    Cache::new(Cache::default_directory(), DEFAULT_BOUND)
}

/// Gives the one pool that openmls and mls-rs use one thread: this one, so that nothing changes threads.
///
/// # Errors
/// If there is a pool already.
pub fn one_thread() -> Result<(), rayon::ThreadPoolBuildError> {
    rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build_global()
}

/// One cell on one thread, acted by the member at leaf 0.
pub fn cell(operation: Operation, adapter: &str, state: GroupState, size: u32) -> Cell {
    let setting = Setting { adapter: adapter.to_owned(), state, size, actor: Actor::First };
    Cell { operation, setting, threads: 1 }
}

/// The cells of these operations with this implementation, without the impossible ones.
pub fn cells(adapter: &dyn Adapter, operations: &[Operation], states: &[GroupState], sizes: &[u32]) -> Vec<Cell> {
    let description = adapter.describe();
    let mut cells = Vec::new();
    for size in sizes {
        for state in states {
            cells.extend(operations.iter().map(|operation| cell(*operation, &description.name, *state, *size)));
        }
    }
    cells.retain(|cell| cell.impossible(description.group_object).is_none());
    cells
}

/// What a target that does not leave its command line to criterion or gungraun is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Measure.
    Measure,
    /// Do everything once, to see that it works: `--test`, or no `--bench`, which is what `cargo test --benches` gives.
    Test,
    /// Name what there is.
    List,
}

/// Reads it off the command line.
pub fn task() -> Task {
    let given = |flag: &str| std::env::args().any(|argument| argument == flag);
    if given("--list") {
        Task::List
    } else if given("--test") || !given("--bench") {
        Task::Test
    } else {
        Task::Measure
    }
}
