//! The suite's test of itself: deliberately flawed implementations must be caught, sound but unusual ones must not be
//! accused, and every negative check of every vector must be load-bearing.
//!
//! A rogue is caught by a vector if its verdict there is bad (fail or error) where the verdict of the sound adapter that it
//! wraps is not. A negative check is load-bearing if some rogue's verdict on that vector, run alone, changes when the check is
//! dropped: verdicts are derived from what the checks found, so nothing has to be played again for that.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use e2esm_adapter::{Adapter, Protocol};
use e2esm_playback::Recorded;
use e2esm_rogues::Rogue;
use e2esm_rogues::passive::PassiveRogue;
use serde::Serialize;

use crate::recorded::{self, Agreement};
use crate::registry;
use crate::scenario::{Layer, Stop};
use crate::suite::{Column, Row, Settings, Target, run};
use crate::vector::{Polarity, Vector};
use crate::verdict::{Verdict, verdict};

/// The rogues whose base is built in.
pub fn all() -> Vec<Rogue> {
    e2esm_rogues::rogues().into_iter().filter(|rogue| registry::find(rogue.base).is_some()).collect()
}

/// Those that only receive and whose base is built in.
pub fn passive() -> Vec<PassiveRogue> {
    e2esm_rogues::passive_rogues().into_iter().filter(|rogue| registry::find(rogue.base).is_some()).collect()
}

/// The rogue of that name, over its base.
pub fn find(name: &str) -> Option<Box<dyn Adapter>> {
    if let Some(rogue) = passive().into_iter().find(|rogue| rogue.name == name) {
        return Some(rogue.over(registry::find(rogue.base)?));
    }
    let rogue = all().into_iter().find(|rogue| rogue.name == name)?;
    Some(rogue.over(registry::find(rogue.base)?))
}

/// What the rogues and their bases did.
pub struct Matrix {
    /// The rogues, in the order of the table.
    pub rogues: Vec<Rogue>,
    /// Their rows, in the same order.
    pub columns: Vec<Column>,
    /// The rows of their bases, by name.
    bases: BTreeMap<String, Column>,
}

/// What the suite learns about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Findings {
    /// Flawed implementations that no scenario caught, or not the ones that must.
    pub missed_flaws: Vec<String>,
    /// Sound implementations that a scenario accused.
    pub wrong_accusations: Vec<String>,
    /// Negative checks that no rogue's verdict rests on.
    pub idle_checks: Vec<String>,
    /// Vectors that no flawed implementation fails.
    pub idle_vectors: Vec<String>,
}

impl Findings {
    /// Whether there is nothing to mend.
    pub fn is_clean(&self) -> bool {
        self.missed_flaws.is_empty()
            && self.wrong_accusations.is_empty()
            && self.idle_checks.is_empty()
            && self.idle_vectors.is_empty()
    }
}

/// Runs rogues and their bases against the vectors. `done` is called after each scenario.
pub fn play(
    program: &Path,
    rogues: Vec<Rogue>,
    vectors: &[Vector],
    settings: &Settings,
    done: &(dyn Fn() + Sync),
) -> Matrix {
    // To hang may be the flaw: nobody is given up.
    let settings = &Settings { patience: usize::MAX, ..settings.clone() };
    let base_names: BTreeSet<&str> = rogues.iter().map(|rogue| rogue.base).collect();
    let base_targets: Vec<_> = base_names.into_iter().map(|name| Target::built_in(program.to_owned(), name)).collect();
    let bases =
        run(&base_targets, vectors, settings, done).into_iter().map(|column| (column.name.clone(), column)).collect();
    let mut columns = BTreeMap::new();
    // Those that are run with few vectors apart: every other work list is a full product.
    let mut by_selection: BTreeMap<&[&str], Vec<&Rogue>> = BTreeMap::new();
    for rogue in &rogues {
        by_selection.entry(rogue.only).or_default().push(rogue);
    }
    for (only, rogues) in by_selection {
        let targets: Vec<_> = rogues.iter().map(|rogue| Target::rogue(program.to_owned(), rogue.name)).collect();
        let chosen: Vec<_> =
            vectors.iter().filter(|vector| only.is_empty() || only.contains(&vector.id.as_str())).cloned().collect();
        for column in run(&targets, &chosen, settings, done) {
            columns.insert(column.name.clone(), column);
        }
    }
    let columns = rogues.iter().filter_map(|rogue| columns.remove(rogue.name)).collect();
    Matrix { rogues, columns, bases }
}

/// How many scenarios [`play`] will play.
pub fn work(rogues: &[Rogue], vectors: &[Vector], settings: &Settings) -> usize {
    let bases: BTreeSet<&str> = rogues.iter().map(|rogue| rogue.base).collect();
    let full = rogues.iter().filter(|rogue| rogue.only.is_empty()).count() + bases.len();
    let few: usize = rogues.iter().map(|rogue| rogue.only.len()).sum();
    (full * vectors.len() + few) * settings.layers.len()
}

impl Matrix {
    fn base_verdict(&self, rogue: &Rogue, row: &Row) -> Option<Verdict> {
        let base = self.bases.get(rogue.base)?;
        let twin = base.rows.iter().find(|twin| twin.vector == row.vector && twin.layer == row.layer)?;
        Some(twin.verdict)
    }

    /// Whether this row accuses the rogue of something that its base is not accused of.
    pub fn accuses(&self, rogue: &Rogue, row: &Row) -> bool {
        // A lost process counts for those alone whose flaw it is: else a slow machine would catch anything.
        let bad = match row.verdict {
            Verdict::Error => !rogue.only.is_empty(),
            verdict => !verdict.needs_no_reason(),
        };
        bad && self.base_verdict(rogue, row).is_some_and(Verdict::needs_no_reason)
    }

    /// The vectors that catch a rogue.
    pub fn caught_by(&self, rogue: &Rogue, column: &Column) -> BTreeSet<String> {
        column.rows.iter().filter(|row| self.accuses(rogue, row)).map(|row| row.vector.clone()).collect()
    }

    /// What the suite learns about itself from these vectors.
    pub fn findings(&self, vectors: &[Vector]) -> Findings {
        let mut findings = Findings {
            missed_flaws: Vec::new(),
            wrong_accusations: Vec::new(),
            idle_checks: Vec::new(),
            idle_vectors: Vec::new(),
        };
        let mut caught_anywhere = BTreeSet::new();
        for (rogue, column) in self.rogues.iter().zip(&self.columns) {
            let caught_by = self.caught_by(rogue, column);
            if rogue.sound {
                for vector in caught_by {
                    findings.wrong_accusations.push(format!("{vector} accuses the sound `{}`", rogue.name));
                }
                continue;
            }
            let scored = column.rows.iter().any(|row| matches!(row.verdict, Verdict::Pass | Verdict::Graded));
            if rogue.name == "shrug" {
                if scored {
                    findings.missed_flaws.push("`shrug` scores without doing anything".to_owned());
                }
                continue;
            }
            if caught_by.is_empty() {
                findings.missed_flaws.push(format!("`{}` ({}) is caught by nothing", rogue.name, rogue.what));
            }
            for required in rogue.caught_by {
                let present = vectors.iter().any(|vector| vector.id == *required);
                if present && !caught_by.contains(*required) {
                    findings.missed_flaws.push(format!("`{}` is not caught by {required}", rogue.name));
                }
            }
            caught_anywhere.extend(caught_by);
        }
        for vector in vectors {
            if !caught_anywhere.contains(&vector.id) {
                findings.idle_vectors.push(vector.id.clone());
            }
            for (step, check) in vector.checks() {
                if check.polarity() == Polarity::Negative && self.bearers(&vector.id, step).is_empty() {
                    findings.idle_checks.push(format!("{}, step {} ({})", vector.id, step + 1, check.verb()));
                }
            }
        }
        findings
    }

    /// The rogues whose verdict on the vector, run alone, changes when the check at this step is dropped.
    pub fn bearers(&self, vector: &str, step: usize) -> Vec<&'static str> {
        let mut names = Vec::new();
        for (rogue, column) in self.rogues.iter().zip(&self.columns) {
            let changes =
                column.rows.iter().filter(|row| row.vector == vector && self.accuses(rogue, row)).any(|row| {
                    if matches!(row.stop, Some(Stop::Failed { .. } | Stop::Refused { .. })) {
                        return false;
                    }
                    let rest: Vec<_> = row.checks.iter().filter(|check| check.step != step).cloned().collect();
                    verdict(row.layer, &rest, row.stop.as_ref()).needs_no_reason()
                });
            if changes && !rogue.sound {
                names.push(rogue.name);
            }
        }
        names
    }

    /// The layers at which a vector catches a rogue.
    pub fn layers(&self, rogue: &Rogue, column: &Column, vector: &str) -> Vec<Layer> {
        column.rows.iter().filter(|row| row.vector == vector && self.accuses(rogue, row)).map(|row| row.layer).collect()
    }
}

/// What the passive rogues did with the recorded vectors.
pub struct RecordedMatrix {
    /// The rogues, in the order of the table.
    pub rogues: Vec<PassiveRogue>,
    /// For each, in the same order, the vectors of which its base keeps every promise and it does not.
    pub caught_by: Vec<Vec<String>>,
}

/// Plays recorded vectors on passive rogues and their bases. `done` is called after each vector.
pub fn play_recorded(
    program: &Path,
    rogues: Vec<PassiveRogue>,
    vectors: &[Recorded],
    settings: &Settings,
    done: &(dyn Fn() + Sync),
) -> RecordedMatrix {
    let bases: BTreeSet<&str> = rogues.iter().map(|rogue| rogue.base).collect();
    let mut targets: Vec<_> = rogues.iter().map(|rogue| Target::rogue(program.to_owned(), rogue.name)).collect();
    targets.extend(bases.iter().map(|base| Target::built_in(program.to_owned(), base)));
    let columns = recorded::verify(&targets, vectors, settings.limits, settings.jobs, done);
    // What a vector says of the sound implementation holds for what is wrapped around it.
    let good = |name: &str, base: &str, place: usize| {
        let column = columns.iter().find(|column| column.name == name)?;
        let base = columns.iter().find(|column| column.name == base)?;
        let (agreement, _) = column.rows.get(place)?.judge(&vectors[place], &base.implementation());
        match agreement {
            Agreement::Agrees | Agreement::Known => Some(true),
            Agreement::Disagrees | Agreement::Error => Some(false),
            Agreement::Unsupported => None,
        }
    };
    let caught_by = rogues.iter().map(|rogue| {
        let places = (0..vectors.len()).filter(|&place| {
            good(rogue.base, rogue.base, place) == Some(true) && good(rogue.name, rogue.base, place) == Some(false)
        });
        places.map(|place| vectors[place].id.clone()).collect()
    });
    let caught_by = caught_by.collect();
    RecordedMatrix { rogues, caught_by }
}

impl RecordedMatrix {
    /// Adds what there is to mend.
    pub fn add_to(&self, findings: &mut Findings, vectors: &[Recorded]) {
        for (rogue, caught) in self.rogues.iter().zip(&self.caught_by) {
            if rogue.sound {
                let accused = caught.iter().map(|vector| format!("{}: recorded/{vector}", rogue.name));
                findings.wrong_accusations.extend(accused);
                continue;
            }
            for must in rogue.caught_by.iter().filter(|must| !caught.iter().any(|vector| vector.starts_with(**must))) {
                findings.missed_flaws.push(format!("{}: no vector of recorded/{must} catches it", rogue.name));
            }
        }
        let flawed = self.rogues.iter().zip(&self.caught_by).filter(|(rogue, _)| !rogue.sound);
        let failed: BTreeSet<&String> = flawed.flat_map(|(_, caught)| caught).collect();
        let protocols: BTreeSet<Protocol> = self
            .rogues
            .iter()
            .filter_map(|rogue| registry::find(rogue.base))
            .flat_map(|base| base.describe().recorded)
            .collect();
        let played = vectors.iter().filter(|vector| protocols.contains(&vector.protocol));
        let idle = played.filter(|vector| !failed.contains(&vector.id));
        findings.idle_vectors.extend(idle.map(|vector| format!("recorded/{}", vector.id)));
    }
}
