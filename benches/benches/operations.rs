//! Wall time of each operation of each implementation, by criterion. The ids are those of `e2esm bench`, so that
//! `cargo bench --bench operations -- send/openmls` and baselines find them.
//!
//! Only the operation is under the clock: groups are brought into their state, devices loaded and dropped outside it. An
//! id whose answer is wrong is not timed, and the program then fails at its end.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::ExitCode;
use std::time::Duration;

use criterion::{BatchSize, Criterion};
use e2esm::bench::cell::{Cell, GroupState, Operation};
use e2esm::bench::stage::{Scene, Stage, StageError, measured};
use e2esm_adapter::Adapter;
use e2esm_benches::{cache, cells, one_thread};

/// What is measured in a large group, too.
const LARGE: &[Operation] = &[
    Operation::Send,
    Operation::Receive,
    Operation::Update,
    Operation::ProcessUpdate,
    Operation::Remove1,
    Operation::Add1,
    Operation::Join,
];

fn all_cells(adapter: &dyn Adapter) -> Vec<Cell> {
    let flat = &[GroupState::Flat];
    let mut all = cells(adapter, Operation::ALL, flat, &[8, 128]);
    all.extend(cells(adapter, LARGE, flat, &[1024]));
    // Possible only where there is a tree.
    all.extend(cells(adapter, &[Operation::Update], &[GroupState::CreatorPath, GroupState::Full], &[128]));
    all
}

/// A cell that has given a right answer once.
fn ready<'a>(adapter: &'a dyn Adapter, cell: &Cell) -> Result<Stage<'a>, StageError> {
    let stage = Stage::new(adapter, cell, &cache())?;
    stage.warm_up()?;
    Ok(stage)
}

/// Leaves the closure of a bench without having timed anything, which criterion has no other way for. Nobody sees a panic.
fn leave(error: StageError) -> ! {
    resume_unwind(Box::new(error))
}

fn act(mut scene: Scene<'_>) -> Scene<'_> {
    match measured(&mut scene) {
        Ok(()) => scene,
        Err(source) => leave(StageError::Refused { doing: "the measured operation", source }),
    }
}

/// Benches one cell; whether its answer was right.
fn bench(criterion: &mut Criterion, adapter: &dyn Adapter, cell: &Cell) -> bool {
    let id = cell.id();
    // Nothing is prepared for an id that is only listed, or filtered out.
    let mut stage = None;
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        criterion.bench_function(&id, |bencher| {
            let stage = stage.get_or_insert_with(|| ready(adapter, cell).unwrap_or_else(|error| leave(error)));
            bencher.iter_batched(|| stage.scene().unwrap_or_else(|error| leave(error)), act, BatchSize::PerIteration);
        });
    }));
    let Err(payload) = outcome else { return true };
    match payload.downcast::<StageError>().map(|error| *error) {
        Ok(StageError::Unsupported(reason)) => {
            eprintln!("{id}: not timed: {reason}");
            true
        }
        Ok(error) => {
            eprintln!("{id}: void, {error}");
            false
        }
        Err(payload) => resume_unwind(payload),
    }
}

fn main() -> ExitCode {
    if let Err(error) = one_thread() {
        eprintln!("operations: the pool of threads: {error}");
        return ExitCode::FAILURE;
    }
    // Setting up one iteration costs more than most operations: a short time for each id keeps the whole in minutes.
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(100))
        .nresamples(10_000)
        .without_plots()
        .configure_from_args();
    let mut right = true;
    for adapter in e2esm::registry::built_in() {
        for cell in all_cells(&*adapter) {
            right &= bench(&mut criterion, &*adapter, &cell);
        }
    }
    criterion.final_summary();
    if right { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
