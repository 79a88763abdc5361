//! Running vectors against implementations: which work there is, in parallel, into rows in a stable order.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use e2esm_adapter::Description;
use rayon::prelude::*;

use crate::probe::probe;
use crate::scenario::{Cast, Checked, Layer, Observations, Stop, Traffic, play};
use crate::vector::Vector;
use crate::verdict::{Verdict, verdict, without_group_object};
use crate::worker::{Failure, Launch, Limits, Worker};

/// Something that can be run: a name, and how to start it.
#[derive(Clone, Debug)]
pub struct Target {
    /// The adapter's or rogue's name.
    pub name: String,
    /// How to start it.
    pub launch: Launch,
}

impl Target {
    /// A built-in adapter, in a worker process of this binary.
    pub fn built_in(program: PathBuf, name: &str) -> Self {
        let arguments = vec!["worker".to_owned(), "--adapter".to_owned(), name.to_owned()];
        Self { name: name.to_owned(), launch: Launch { program, arguments, ..Launch::default() } }
    }

    /// A deliberately flawed implementation, likewise.
    pub fn rogue(program: PathBuf, name: &str) -> Self {
        let arguments = vec!["worker".to_owned(), "--rogue".to_owned(), name.to_owned()];
        Self { name: name.to_owned(), launch: Launch { program, arguments, ..Launch::default() } }
    }
}

/// One vector, one layer: what was observed and what follows.
#[derive(Clone, Debug)]
pub struct Row {
    /// The vector's id.
    pub vector: String,
    /// The layer.
    pub layer: Layer,
    /// What the checks found.
    pub checks: Vec<Checked>,
    /// What stopped the scenario, if anything did.
    pub stop: Option<Stop>,
    /// What follows.
    pub verdict: Verdict,
    /// Whether what decided was asked by the adapter's own group management, not by the library.
    pub no_group_object: bool,
    /// What crossed the server.
    pub traffic: Traffic,
    /// How long it took, in milliseconds, the start of the process included.
    pub milliseconds: f64,
}

impl Row {
    /// Why the verdict, in a sentence.
    pub fn because(&self) -> String {
        match &self.stop {
            Some(Stop::Unsupported { capability, because }) => return format!("`{}`: {because}", capability.label()),
            Some(Stop::Refused { step, action, reason }) => {
                return format!("step {}, {action}, was refused: {reason}", step + 1);
            }
            Some(Stop::Failed { step, failure }) => {
                return format!("in step {} the implementation {failure}", step + 1);
            }
            None => {}
        }
        if let Some(broken) = self.checks.iter().find(|check| !check.holds) {
            let mut sentence = format!("expected: {}; observed: {}", broken.expected, broken.observed);
            let points: Vec<_> = broken
                .consulted
                .iter()
                .map(|consultation| format!("{} ({})", consultation.point, consultation.fact.label()))
                .collect();
            if !points.is_empty() {
                sentence.push_str(&format!("; the application was asked at {} and said yes", points.join(" and ")));
            }
            return sentence;
        }
        let scores: Vec<_> = self
            .checks
            .iter()
            .filter_map(|check| check.score.map(|(got, of)| format!("{got} of {of}: {}", check.observed)))
            .collect();
        if scores.is_empty() { "every check holds".to_owned() } else { scores.join("; ") }
    }
}

/// All rows of one implementation.
#[derive(Clone, Debug)]
pub struct Column {
    /// The target's name.
    pub name: String,
    /// Who it says it is; `None` if it could not even be asked.
    pub description: Option<Description>,
    /// One for each vector and layer, in the order of the vectors.
    pub rows: Vec<Row>,
}

/// The usual [`Settings::patience`].
pub const PATIENCE: usize = 4;

/// How to run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which layers.
    pub layers: Vec<Layer>,
    /// What a scenario may use.
    pub limits: Limits,
    /// From what message texts are made.
    pub seed: u64,
    /// How many scenarios at a time.
    pub jobs: usize,
    /// In how many scenarios an implementation may hang before it is not started any more.
    pub patience: usize,
}

/// Runs every vector against every target. `done` is called after each scenario, from any thread.
pub fn run(targets: &[Target], vectors: &[Vector], settings: &Settings, done: &(dyn Fn() + Sync)) -> Vec<Column> {
    let work = || {
        let probed: Vec<Result<Description, Failure>> = targets
            .par_iter()
            .map(|target| Worker::start(&target.launch, settings.limits).and_then(|mut worker| probe(&mut worker)))
            .collect();
        let mut jobs = Vec::new();
        for (column, _) in targets.iter().enumerate() {
            for vector in vectors {
                for layer in &settings.layers {
                    jobs.push((column, vector, *layer));
                }
            }
        }
        let hung: Vec<AtomicUsize> = targets.iter().map(|_| AtomicUsize::new(0)).collect();
        let rows: Vec<(usize, Row)> = jobs
            .par_iter()
            .map(|(column, vector, layer)| {
                let scenarios = hung[*column].load(Ordering::Relaxed);
                let row = match &probed[*column] {
                    Ok(_) if scenarios >= settings.patience => {
                        failed_row(vector, *layer, &Failure::GivenUp { scenarios })
                    }
                    Ok(description) => run_one(&targets[*column], description, vector, *layer, settings),
                    Err(failure) => failed_row(vector, *layer, failure),
                };
                if matches!(&row.stop, Some(Stop::Failed { failure: Failure::TimedOut { .. }, .. })) {
                    hung[*column].fetch_add(1, Ordering::Relaxed);
                }
                done();
                (*column, row)
            })
            .collect();
        let mut by_column: BTreeMap<usize, Vec<Row>> = BTreeMap::new();
        for (column, row) in rows {
            by_column.entry(column).or_default().push(row);
        }
        targets
            .iter()
            .zip(probed)
            .enumerate()
            .map(|(column, (target, probed))| Column {
                name: target.name.clone(),
                description: probed.ok(),
                rows: by_column.remove(&column).unwrap_or_default(),
            })
            .collect()
    };
    in_pool(settings.jobs, work)
}

/// Does work in a pool of so many threads; without threads of its own it is slower, not wrong. The threads have ended when it
/// returns: a pool that is dropped ends its threads without waiting for them, and what they still allocate and free would be
/// counted as part of whatever is measured next.
pub fn in_pool<R: Send>(threads: usize, work: impl FnOnce() -> R + Send) -> R {
    let mut running = Vec::with_capacity(threads);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).spawn_handler(|thread| {
        running.push(std::thread::Builder::new().spawn(|| thread.run())?);
        Ok(())
    });
    let result = match pool.build() {
        Ok(pool) => pool.install(work),
        Err(_) => work(),
    };
    for thread in running {
        // A panic in the pool has been passed on already; here only the end of the thread matters.
        let _ = thread.join();
    }
    result
}

/// Runs one vector against one target at one layer.
pub fn run_one(target: &Target, description: &Description, vector: &Vector, layer: Layer, settings: &Settings) -> Row {
    let start = Instant::now();
    let observations = observe(target, description, vector, layer, settings);
    let milliseconds = start.elapsed().as_secs_f64() * 1000.0;
    let verdict = verdict(layer, &observations.checks, observations.stop.as_ref());
    Row {
        vector: vector.id.clone(),
        layer,
        verdict,
        no_group_object: without_group_object(&observations.checks),
        checks: observations.checks,
        stop: observations.stop,
        traffic: observations.traffic,
        milliseconds,
    }
}

/// The same, with everything that happened.
pub fn observe(
    target: &Target,
    description: &Description,
    vector: &Vector,
    layer: Layer,
    settings: &Settings,
) -> Observations {
    play(vector, &Cast::one(description, &target.launch), layer, settings.limits, settings.seed)
}

fn failed_row(vector: &Vector, layer: Layer, failure: &Failure) -> Row {
    let stop = Some(Stop::Failed { step: 0, failure: failure.clone() });
    Row {
        vector: vector.id.clone(),
        layer,
        verdict: verdict(layer, &[], stop.as_ref()),
        no_group_object: false,
        checks: Vec::new(),
        stop,
        traffic: Traffic::default(),
        milliseconds: 0.0,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::in_pool;

    static ENDED: AtomicUsize = AtomicUsize::new(0);

    /// Ends slowly with the thread it belongs to.
    struct Slow;

    impl Drop for Slow {
        fn drop(&mut self) {
            std::thread::sleep(Duration::from_millis(50));
            ENDED.fetch_add(1, Ordering::SeqCst);
        }
    }

    thread_local!(static SLOW: Slow = const { Slow });

    #[test]
    fn no_thread_of_a_pool_outlives_its_work() {
        let answer = in_pool(4, || {
            rayon::broadcast(|_| SLOW.with(|_| ()));
            7
        });
        assert_eq!(answer, 7);
        assert_eq!(ENDED.load(Ordering::SeqCst), 4);
    }
}
