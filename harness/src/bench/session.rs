//! A run: drives one child after the other through a plan, and writes what it has after each, so that an interruption
//! costs at most the measurement in hand.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Instant;

use e2esm_rogues::burden::Burden;
use rayon::prelude::*;

use super::callgrind;
use super::cell::Cell;
use super::child::{Ask, Child, Look, Start, Taken, Tell, Trouble};
use super::document::{Benchmarks, Count, DocumentError, Measure, Measurement, Outcome, Sampling, Spread, Time};
use super::tiers::Plan;

/// Seconds until a silent child is given up: preparing 100,000 members takes minutes.
const PATIENCE: f64 = 7200.0;

/// How a run is done.
pub struct Session<'a> {
    /// This program.
    pub program: PathBuf,
    /// The program on the other side of interleaved pairs.
    pub against: Option<PathBuf>,
    /// The directory of prepared states.
    pub cache: PathBuf,
    /// How many bytes it may hold.
    pub bound: u64,
    /// What every implementation is burdened with.
    pub burden: Option<Burden>,
    /// Where the document goes.
    pub out: PathBuf,
    /// Whether the user wants to stop.
    pub interrupted: &'a (dyn Fn() -> bool + Sync),
    /// Is told what is begun, and what is done with its [`weight`].
    pub progress: &'a (dyn Fn(Progress<'_>) + Sync),
}

/// What a run tells meanwhile.
#[derive(Clone, Copy, Debug)]
pub enum Progress<'a> {
    /// This cell is being measured.
    Begun(&'a Cell),
    /// This one was, in this session or the one that is resumed.
    Done(&'a Cell),
}

/// About how long a cell takes beside others: what the estimate of the time left goes by.
pub fn weight(cell: &Cell) -> u64 {
    16 + u64::from(cell.setting.size) / 16
}

/// Why a run stopped.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The user wanted it.
    #[error("interrupted; what was measured is written: go on with --resume")]
    Interrupted,
    /// The document could not be written.
    #[error(transparent)]
    Document(#[from] DocumentError),
}

/// Why an earlier document cannot be gone on with.
///
/// # Errors
/// What differs, in words.
pub fn resumable(earlier: &Benchmarks, now: &Benchmarks) -> Result<(), String> {
    let differs = |what: &str, before: &dyn std::fmt::Debug, after: &dyn std::fmt::Debug| {
        Err(format!("{what} was {before:?} and is {after:?} now"))
    };
    if earlier.suite != now.suite {
        return differs("the suite", &earlier.suite, &now.suite);
    }
    if earlier.environment != now.environment {
        return differs("the environment", &earlier.environment, &now.environment);
    }
    let (before, after) = (&earlier.run, &now.run);
    if (&before.tier, before.sampling, &before.against, &before.burden)
        != (&after.tier, after.sampling, &after.against, &after.burden)
    {
        return differs("the run", before, after);
    }
    Ok(())
}

impl Session<'_> {
    /// Measures what is in the plan and not in the document yet.
    ///
    /// # Errors
    /// [`SessionError`]; everything measured until then is in the file.
    pub fn run(&self, plan: &Plan, document: &mut Benchmarks) -> Result<(), SessionError> {
        let sampling = document.run.sampling;
        let known: BTreeSet<String> = document.measurements.iter().map(|measurement| measurement.id.clone()).collect();
        self.write(document)?;
        for (cell, measures) in plan {
            if !known.contains(&cell.id()) {
                (self.progress)(Progress::Begun(cell));
                let measurement = self.measure(cell, measures, &sampling)?;
                document.measurements.push(measurement);
                self.write(document)?;
            }
            (self.progress)(Progress::Done(cell));
        }
        self.instructions(plan, document)?;
        document.complete = true;
        self.write(document)
    }

    fn write(&self, document: &mut Benchmarks) -> Result<(), SessionError> {
        document.settle();
        Ok(document.write(&self.out)?)
    }

    fn prepare(&self, cell: &Cell) -> Ask {
        Ask::Prepare { cell: cell.clone(), cache: self.cache.clone(), bound: self.bound, burden: self.burden }
    }

    /// One cell. Whatever goes wrong becomes its outcome; only the user's wish to stop is an error.
    fn measure(
        &self,
        cell: &Cell,
        measures: &BTreeSet<Measure>,
        sampling: &Sampling,
    ) -> Result<Measurement, SessionError> {
        let measured = self.samples(cell, measures, sampling);
        if (self.interrupted)() {
            return Err(SessionError::Interrupted);
        }
        Ok(measured.unwrap_or_else(|outcome| Measurement::new(cell, outcome)))
    }

    fn child(&self, program: &Path, cell: &Cell) -> Result<(Child, bool), Outcome> {
        let start = Start { program: program.to_owned(), under: Vec::new(), patience: PATIENCE };
        let mut child = Child::start(&start, cell.threads).map_err(failed)?;
        match child.ask(&self.prepare(cell), self.interrupted).map_err(failed)? {
            Tell::Ready { metered, .. } => Ok((child, metered)),
            other => Err(outcome(other)),
        }
    }

    fn sample(&self, child: &mut Child, metering: Look) -> Result<Taken, Outcome> {
        match child.ask(&Ask::Sample { metering }, self.interrupted).map_err(failed)? {
            Tell::Sample(taken) => Ok(taken),
            other => Err(outcome(other)),
        }
    }

    fn samples(&self, cell: &Cell, measures: &BTreeSet<Measure>, sampling: &Sampling) -> Result<Measurement, Outcome> {
        let mut measurement = Measurement::new(cell, Outcome::Measured);
        if !measures.iter().any(|measure| *measure != Measure::Instructions) {
            return Ok(measurement);
        }
        let (mut child, metered) = self.child(&self.program, cell)?;
        let timed = measures.contains(&Measure::Time);
        let mut counted = Vec::new();
        let mut times = Vec::new();
        let mut shares = Vec::new();
        let mut ratios = Vec::new();
        let share = |taken: &Taken| taken.within_primitives as f64 / taken.nanoseconds.max(1) as f64;

        let first = self.sample(&mut child, Look::Count)?;
        if first.nanoseconds as f64 / 1e9 > sampling.seconds || sampling.warm_up == 0 {
            // So slow that warming up does not matter, nor looking at the clock around each primitive: every run counts
            // for everything.
            times.push(first.nanoseconds);
            counted.push(first.counts);
            for _ in 1..sampling.least.min(3) {
                let taken = self.sample(&mut child, Look::Time)?;
                shares.push(share(&taken));
                times.push(taken.nanoseconds);
                counted.push(taken.counts);
            }
        } else {
            for _ in 1..sampling.warm_up {
                self.sample(&mut child, Look::Off)?;
            }
            for run in 0..sampling.counted {
                if run > 0 {
                    match child.ask(&Ask::Renew {}, self.interrupted).map_err(failed)? {
                        Tell::Done {} => {}
                        other => return Err(outcome(other)),
                    }
                }
                counted.push(self.sample(&mut child, Look::Count)?.counts);
            }
            let begin = Instant::now();
            while timed && more(sampling, times.len(), begin) {
                times.push(self.sample(&mut child, Look::Off)?.nanoseconds);
            }
            for _ in 0..if timed && metered { sampling.least } else { 0 } {
                shares.push(share(&self.sample(&mut child, Look::Time)?));
            }
        }
        if let (Some(against), true) = (&self.against, timed) {
            let (mut other, _) = self.child(against, cell)?;
            self.sample(&mut other, Look::Off)?;
            let begin = Instant::now();
            while more(sampling, ratios.len(), begin) {
                let ours = self.sample(&mut child, Look::Off)?.nanoseconds as f64;
                ratios.push(ours / self.sample(&mut other, Look::Off)?.nanoseconds.max(1) as f64);
            }
        }
        if timed {
            measurement.time = Time::of(times);
            measurement.against = Spread::of(&ratios);
            if metered {
                measurement.efficiency = Spread::of(&shares);
            } else {
                let reason = "the library does not let its cryptography be metered".to_owned();
                measurement.missing.insert("efficiency".to_owned(), reason);
            }
        }
        measurement.counts = counts(&counted, measures);
        if measures.contains(&Measure::Counts) && !metered {
            let reason = "the library does not let its cryptography be metered: see `functions.*`".to_owned();
            measurement.missing.insert("calls".to_owned(), reason);
        }
        Ok(measurement)
    }

    /// The second half of a run: callgrind does not mind company, so as many as there are processors at a time.
    fn instructions(&self, plan: &Plan, document: &mut Benchmarks) -> Result<(), SessionError> {
        let Sampling { instructions_up_to: up_to, counted, .. } = document.run.sampling;
        let place: BTreeMap<String, usize> = document
            .measurements
            .iter()
            .enumerate()
            .filter(|(_, measurement)| {
                let open = !measurement.counts.contains_key("instructions")
                    && !measurement.missing.contains_key("instructions");
                measurement.outcome == Outcome::Measured && open
            })
            .map(|(index, measurement)| (measurement.id.clone(), index))
            .collect();
        let cells: Vec<(&Cell, usize)> = plan
            .iter()
            .filter(|(cell, measures)| {
                measures.contains(&Measure::Instructions) && cell.setting.size <= up_to && cell.threads == 1
            })
            .filter_map(|(cell, _)| Some((cell, *place.get(&cell.id())?)))
            .collect();
        let valgrind = if cells.is_empty() { None } else { callgrind::valgrind() };
        let state = Mutex::new((document, None));
        let note = |cell: &Cell, index: usize, seen: Result<Vec<callgrind::Seen>, String>| {
            let Ok(mut guard) = state.lock() else { return };
            let (document, trouble) = &mut *guard;
            let measurement = &mut document.measurements[index];
            match seen {
                Ok(seen) => {
                    let instructions: Vec<u64> = seen.iter().map(|seen| seen.instructions).collect();
                    let functions = seen.iter().flat_map(|seen| seen.functions());
                    let counts = functions.filter_map(|(name, calls)| Some((name, Count::of(&[calls])?)));
                    measurement.counts.extend(counts);
                    measurement.counts.extend(Count::of(&instructions).map(|count| ("instructions".into(), count)));
                }
                Err(reason) => drop(measurement.missing.insert("instructions".to_owned(), reason)),
            }
            if let Err(error) = document.write(&self.out) {
                *trouble = Some(error);
            }
            (self.progress)(Progress::Done(cell));
        };
        let stop = || (self.interrupted)() || state.lock().map_or(true, |guard| guard.1.is_some());
        cells.par_iter().for_each(|(cell, index)| {
            if valgrind.is_none() {
                return note(cell, *index, Err("there is no valgrind on this machine".to_owned()));
            }
            if stop() {
                return;
            }
            (self.progress)(Progress::Begun(cell));
            let prepare = self.prepare(cell);
            let run = |first| callgrind::count(&self.program, &prepare, first, self.interrupted);
            let seen: Result<Vec<_>, Trouble> = (0..counted).map(|number| run(number == 0)).collect();
            if !(self.interrupted)() {
                note(cell, *index, seen.map_err(|trouble| trouble.to_string()));
            }
        });
        match state.into_inner() {
            Ok((_, Some(error))) => Err(error.into()),
            _ if (self.interrupted)() => Err(SessionError::Interrupted),
            _ => Ok(()),
        }
    }
}

/// Whether another timed run is to be made.
fn more(sampling: &Sampling, taken: usize, begin: Instant) -> bool {
    taken < sampling.least as usize
        || (taken < sampling.most as usize && begin.elapsed().as_secs_f64() < sampling.seconds)
}

/// What was counted in each run, by name. What one run has and another has not was 0 there.
fn counts(runs: &[Vec<(String, u64)>], measures: &BTreeSet<Measure>) -> BTreeMap<String, Count> {
    let names: BTreeSet<&String> = runs.iter().flatten().map(|(name, _)| name).collect();
    let mut counts = BTreeMap::new();
    for name in names {
        let heap = matches!(name.as_str(), "allocations" | "allocated_bytes" | "peak_bytes");
        if !measures.contains(if heap { &Measure::Heap } else { &Measure::Counts }) {
            continue;
        }
        let value =
            |run: &Vec<(String, u64)>| run.iter().find(|(known, _)| known == name).map_or(0, |(_, value)| *value);
        let values: Vec<u64> = runs.iter().map(value).collect();
        counts.extend(Count::of(&values).map(|count| (name.clone(), count)));
    }
    counts
}

fn failed(trouble: Trouble) -> Outcome {
    Outcome::Failed(trouble.0)
}

fn outcome(told: Tell) -> Outcome {
    match told {
        Tell::Unsupported(reason) => Outcome::Unsupported(reason),
        Tell::Void(reason) => Outcome::Void(reason),
        Tell::Failed(reason) => Outcome::Failed(reason),
        Tell::Ready { .. } | Tell::Sample(_) | Tell::Done {} => {
            Outcome::Failed("it answered something else".to_owned())
        }
    }
}
