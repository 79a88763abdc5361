//! Recorded vectors in the harness: playing them on implementations in workers, making one from a scenario, reading those
//! of the MLS working group, and keeping what is generated from them current.
//!
//! Their files, and how one is judged, are in the crate `e2esm-playback`.

pub mod published;
pub mod scenario;
pub mod working_group;

use std::path::{Path, PathBuf};

use e2esm_adapter::{Description, ErrorClass};
use e2esm_playback::{Implementation, Outcome, Played, ReadError, Recorded, play, read_collection};
use rayon::prelude::*;
use serde::Serialize;

use crate::suite::{Target, in_pool};
use crate::worker::{Failure, Limits, Worker};

/// The vectors that the binary carries, sorted by id.
///
/// # Errors
/// None in a released binary: the same checks as for files.
pub fn embedded() -> Result<Vec<Recorded>, ReadError> {
    let mut vectors = Vec::new();
    for (path, bytes) in e2esm_vectors::recorded() {
        vectors.extend(read_collection(&Path::new("vectors").join(path), bytes)?.vectors);
    }
    vectors.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(vectors)
}

/// One vector on one implementation.
#[derive(Clone, Debug)]
pub struct Row {
    /// The vector's id.
    pub vector: String,
    /// What came of it.
    pub finding: Finding,
}

/// What came of a vector.
#[derive(Clone, Debug)]
pub enum Finding {
    /// Every delivery was judged.
    Played(Vec<Played>),
    /// The implementation does not have the protocol or the cipher suite.
    Unsupported(String),
    /// It does not take what the device starts with.
    NoStart(String),
    /// Its process failed at this delivery, or before the first.
    Failed(Option<String>, Failure),
}

/// A vector's verdict, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Agreement {
    /// Every outcome is the one expected.
    Agrees,
    /// Some are not, and the vector says so and why.
    Known,
    /// Some are not.
    Disagrees,
    /// Not this protocol, or not this cipher suite.
    Unsupported,
    /// The process failed.
    Error,
}

impl Agreement {
    /// The word in tables and JSON.
    pub fn label(self) -> &'static str {
        match self {
            Self::Agrees => "agrees",
            Self::Known => "known",
            Self::Disagrees => "disagrees",
            Self::Unsupported => "unsupported",
            Self::Error => "error",
        }
    }
}

impl Row {
    /// Its verdict, and why where it is not `agrees`.
    pub fn judge(&self, vector: &Recorded, who: &Implementation) -> (Agreement, String) {
        match &self.finding {
            Finding::Unsupported(reason) => (Agreement::Unsupported, reason.clone()),
            Finding::NoStart(reason) => {
                (Agreement::Disagrees, format!("does not take what the device starts with: {reason}"))
            }
            Finding::Failed(Some(delivery), failure) => (Agreement::Error, format!("at `{delivery}` it {failure}")),
            Finding::Failed(None, failure) => (Agreement::Error, format!("it {failure}")),
            Finding::Played(played) => judge_played(vector, who, played),
        }
    }
}

fn judge_played(vector: &Recorded, who: &Implementation, played: &[Played]) -> (Agreement, String) {
    let note = |delivery: &str, outcome: &Outcome| {
        let mut known = vector.disagreements.iter();
        known.find(|known| {
            known.implementation == who.implementation
                && known.delivery == delivery
                && (known.observed == e2esm_playback::ObservedOutcome::Accepted) == outcome.is_ok()
        })
    };
    let mut first_known = None;
    for played in played {
        let Some(why) = &played.wrong else { continue };
        match note(&played.delivery, &played.outcome) {
            Some(known) => first_known = first_known.or(Some(format!("`{}`: {}", played.delivery, known.note))),
            None => return (Agreement::Disagrees, format!("`{}`: {why}", played.delivery)),
        }
    }
    match first_known {
        Some(note) => (Agreement::Known, note),
        None => (Agreement::Agrees, String::new()),
    }
}

/// All rows of one implementation.
#[derive(Clone, Debug)]
pub struct Column {
    /// The target's name.
    pub name: String,
    /// Who it says it is; `Err` if it could not even be asked.
    pub description: Result<Description, Failure>,
    /// One for each vector, in their order.
    pub rows: Vec<Row>,
}

impl Column {
    /// Who this is, as the vectors name implementations.
    pub fn implementation(&self) -> Implementation {
        match &self.description {
            Ok(description) => Implementation::from(description),
            Err(_) => Implementation {
                implementation: self.name.clone(),
                version: String::new(),
                crypto_provider: String::new(),
            },
        }
    }
}

/// Plays every vector on every target, each in a process of its own. `done` is called after each vector.
pub fn verify(
    targets: &[Target],
    vectors: &[Recorded],
    limits: Limits,
    jobs: usize,
    done: &(dyn Fn() + Sync),
) -> Vec<Column> {
    let work = || {
        let described: Vec<_> = targets
            .par_iter()
            .map(|target| Worker::start(&target.launch, limits).and_then(|mut worker| worker.hello()))
            .collect();
        let pairs: Vec<_> =
            (0..targets.len()).flat_map(|target| vectors.iter().map(move |vector| (target, vector))).collect();
        let mut rows: Vec<Row> = pairs
            .par_iter()
            .map(|(target, vector)| {
                let finding = match &described[*target] {
                    Ok(description) => find(&targets[*target], description, vector, limits),
                    Err(failure) => Finding::Failed(None, failure.clone()),
                };
                done();
                Row { vector: vector.id.clone(), finding }
            })
            .collect();
        let mut columns = Vec::new();
        for (target, description) in targets.iter().zip(described) {
            let rest = rows.split_off(vectors.len().min(rows.len()));
            columns.push(Column { name: target.name.clone(), description, rows: std::mem::replace(&mut rows, rest) });
        }
        columns
    };
    in_pool(jobs, work)
}

/// Plays one vector on one target, in a process of its own.
pub fn find(target: &Target, description: &Description, vector: &Recorded, limits: Limits) -> Finding {
    if !description.recorded.contains(&vector.protocol) {
        return Finding::Unsupported(format!("it plays no recorded vectors of {}", vector.protocol.label()));
    }
    let mut worker = match Worker::start(&target.launch, limits) {
        Ok(worker) => worker,
        Err(failure) => return Finding::Failed(None, failure),
    };
    match worker.passive("passive", &vector.start) {
        Ok(Ok(())) => {}
        Ok(Err(error)) if error.class == ErrorClass::Unsupported => return Finding::Unsupported(error.text),
        Ok(Err(error)) => return Finding::NoStart(error.to_string()),
        Err(failure) => return Finding::Failed(None, failure),
    }
    let mut at = 0;
    let played = play(vector, |delivery| {
        let outcome = worker.deliver("passive", delivery);
        at += usize::from(outcome.is_ok());
        outcome
    });
    match played {
        Ok(played) => Finding::Played(played),
        Err(failure) => Finding::Failed(vector.deliveries.get(at).map(|step| step.name.clone()), failure),
    }
}

/// The vectors of a directory, and everything wrong with them, one line each: files that cannot be read, vectors that are out
/// of place or make no sense, alone or beside one another. Whether what is generated from them is current is asked of
/// [`published`].
pub fn problems(root: &Path, requirements: &std::collections::BTreeSet<String>) -> (Vec<Recorded>, Vec<String>) {
    let (vectors, errors) = e2esm_playback::read_directory(root);
    let mut problems: Vec<String> = errors.iter().map(ToString::to_string).collect();
    for (path, vector) in &vectors {
        let in_place = *path == root.join(path_of(vector));
        if path.parent().is_some_and(|parent| parent != root) && !in_place {
            problems.push(format!("{}: id: `{}` is not as the file is called", path.display(), vector.id));
        }
        for problem in e2esm_playback::check(vector, requirements) {
            problems.push(format!("{}: {problem}", path.display()));
        }
    }
    let vectors: Vec<_> = vectors.into_iter().map(|(_, vector)| vector).collect();
    for problem in e2esm_playback::check_together(&vectors) {
        problems.push(format!("{}: {problem}", root.display()));
    }
    (vectors, problems)
}

/// Vectors of a file or a directory, checked.
///
/// # Errors
/// Every problem, one line each.
pub fn load(path: &Path, requirements: &std::collections::BTreeSet<String>) -> Result<Vec<Recorded>, Vec<String>> {
    let (vectors, errors) = e2esm_playback::read_directory(path);
    let mut problems: Vec<String> = errors.iter().map(ToString::to_string).collect();
    for (file, vector) in &vectors {
        let of_file = e2esm_playback::check(vector, requirements);
        problems.extend(of_file.into_iter().map(|problem| format!("{} ({}): {problem}", file.display(), vector.id)));
    }
    if vectors.is_empty() && problems.is_empty() {
        problems.push(format!("{}: no recorded vectors", path.display()));
    }
    if problems.is_empty() { Ok(vectors.into_iter().map(|(_, vector)| vector).collect()) } else { Err(problems) }
}

/// Where a vector lies below the directory of recorded vectors.
pub fn path_of(vector: &Recorded) -> PathBuf {
    PathBuf::from(format!("{}.json", vector.id))
}
