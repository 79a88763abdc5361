//! Tiers: which cells a run has, from a committed file (`benches/tiers.toml`). A tier is a list of sweeps; a sweep is a
//! product of axes. What is impossible is left out, what is named twice is measured once.

use std::collections::{BTreeMap, BTreeSet};

use e2esm_adapter::Description;
use serde::Deserialize;

use super::cell::{Actor, Cell, GroupState, Operation, Setting};
use super::document::{Measure, Sampling};

/// The committed file.
pub const COMMITTED: &str = include_str!("../../../benches/tiers.toml");

/// A file of tiers.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tiers {
    /// By name.
    pub tiers: BTreeMap<String, Tier>,
}

/// One tier.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tier {
    /// What it is for, in a sentence.
    pub about: String,
    /// How often each cell is measured, and for how long.
    pub sampling: Sampling,
    /// Its sweeps.
    pub sweep: Vec<Sweep>,
}

/// A product of axes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sweep {
    /// Names of operations; all if empty.
    #[serde(default)]
    pub operations: Vec<Operation>,
    /// Names of adapters, `mls`, or `groupless` for those without a group object; all if empty.
    #[serde(default)]
    pub adapters: Vec<String>,
    /// Group states; `flat` if empty.
    #[serde(default)]
    pub states: Vec<GroupState>,
    /// Numbers of members.
    pub sizes: Vec<u32>,
    /// Actors; the first if empty.
    #[serde(default)]
    pub actors: Vec<Actor>,
    /// Threads in every pool; 1 if empty.
    #[serde(default)]
    pub threads: Vec<usize>,
    /// What is measured; everything but instructions if empty.
    #[serde(default)]
    pub measures: Vec<Measure>,
}

/// What remains of a tier on the command line: an empty list chooses everything.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// Operations.
    pub operations: Vec<Operation>,
    /// Adapters.
    pub adapters: Vec<String>,
    /// States.
    pub states: Vec<GroupState>,
    /// Sizes.
    pub sizes: Vec<u32>,
    /// Actors.
    pub actors: Vec<Actor>,
    /// Measures.
    pub measures: Vec<Measure>,
    /// Threads, in place of the sweeps' own.
    pub threads: Option<usize>,
}

/// The cells of a run, each with what is measured of it, in the order in which they are measured.
pub type Plan = Vec<(Cell, BTreeSet<Measure>)>;

/// Reads a file of tiers.
///
/// # Errors
/// Where and what, in one line.
pub fn read(text: &str) -> Result<Tiers, String> {
    toml::from_str(text).map_err(|error| {
        let line = error.span().map(|span| text[..span.start].matches('\n').count() + 1);
        let place = line.map(|line| format!("line {line}: ")).unwrap_or_default();
        format!("{place}{}", error.message())
    })
}

impl Tier {
    /// The cells, and why some of the products are none.
    pub fn plan(&self, adapters: &[Description], choice: &Choice) -> (Plan, BTreeMap<String, String>) {
        let mut cells: BTreeMap<Cell, BTreeSet<Measure>> = BTreeMap::new();
        let mut impossible = BTreeMap::new();
        for sweep in &self.sweep {
            for (cell, group_object) in sweep.product(adapters, choice) {
                if let Some(reason) = cell.impossible(group_object) {
                    impossible.insert(cell.id(), reason);
                } else {
                    cells.entry(cell).or_default().extend(sweep.measures(choice));
                }
            }
        }
        cells.retain(|_, measures| !measures.is_empty());
        let mut plan: Plan = cells.into_iter().collect();
        // Small groups first, and all of one prepared state together.
        plan.sort_by(|(a, _), (b, _)| {
            let place = |cell: &Cell| (cell.setting.size, cell.setting.clone(), cell.threads, cell.operation);
            place(a).cmp(&place(b))
        });
        (plan, impossible)
    }
}

/// `listed`, or `otherwise` if nothing is; of that what was chosen.
fn axis<T: Copy + PartialEq>(listed: &[T], otherwise: &[T], chosen: &[T]) -> Vec<T> {
    let all = if listed.is_empty() { otherwise } else { listed };
    all.iter().copied().filter(|value| chosen.is_empty() || chosen.contains(value)).collect()
}

impl Sweep {
    fn product(&self, adapters: &[Description], choice: &Choice) -> Vec<(Cell, bool)> {
        let operations = axis(&self.operations, Operation::ALL, &choice.operations);
        let states = axis(&self.states, &[GroupState::Flat], &choice.states);
        let sizes = axis(&self.sizes, &[], &choice.sizes);
        let actors = axis(&self.actors, &[Actor::First], &choice.actors);
        let threads = match choice.threads {
            Some(threads) => vec![threads],
            None => axis(&self.threads, &[1], &[]),
        };
        let mut cells = Vec::new();
        for description in adapters.iter().filter(|description| self.has(description, choice)) {
            for operation in &operations {
                for state in &states {
                    for size in &sizes {
                        for actor in &actors {
                            for threads in &threads {
                                let adapter = description.name.clone();
                                let setting = Setting { adapter, state: *state, size: *size, actor: *actor };
                                let cell = Cell { operation: *operation, setting, threads: *threads };
                                cells.push((cell, description.group_object));
                            }
                        }
                    }
                }
            }
        }
        cells
    }

    fn has(&self, description: &Description, choice: &Choice) -> bool {
        let family = if description.group_object { "mls" } else { "groupless" };
        let listed =
            self.adapters.is_empty() || self.adapters.iter().any(|name| *name == description.name || name == family);
        listed && (choice.adapters.is_empty() || choice.adapters.contains(&description.name))
    }

    fn measures(&self, choice: &Choice) -> Vec<Measure> {
        axis(&self.measures, &[Measure::Time, Measure::Counts, Measure::Heap], &choice.measures)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn committed(tier: &str) -> Plan {
        let adapters: Vec<_> = crate::registry::built_in().iter().map(|adapter| adapter.describe()).collect();
        read(COMMITTED).unwrap().tiers[tier].plan(&adapters, &Choice::default()).0
    }

    /// The quick tier measures every operation of every implementation at three sizes at least, wherever it is possible.
    #[test]
    fn quick_has_every_operation_and_configuration_at_three_sizes() {
        let plan = committed("quick");
        for adapter in crate::registry::built_in() {
            let description = adapter.describe();
            for operation in Operation::ALL {
                let sizes: BTreeSet<_> = plan
                    .iter()
                    .filter(|(cell, _)| cell.operation == *operation && cell.setting.adapter == description.name)
                    .map(|(cell, _)| cell.setting.size)
                    .collect();
                let setting = Setting {
                    adapter: description.name.clone(),
                    state: GroupState::Flat,
                    size: 2048,
                    actor: Actor::First,
                };
                let cell = Cell { operation: *operation, setting, threads: 1 };
                let possible = cell.impossible(description.group_object).is_none();
                assert_eq!(sizes.len() >= 3, possible, "{} of {}: {sizes:?}", operation, description.name);
            }
        }
    }

    /// No axis stands still in all tiers.
    #[test]
    fn every_value_of_every_axis_is_somewhere() {
        let plans: Plan = ["quick", "nightly", "extended"].into_iter().flat_map(committed).collect();
        let has = |what: &dyn Fn(&Cell) -> bool| plans.iter().any(|(cell, _)| what(cell));
        for state in GroupState::ALL {
            assert!(has(&|cell| cell.setting.state == *state), "{state}");
        }
        for actor in Actor::ALL {
            assert!(has(&|cell| cell.setting.actor == *actor), "{actor}");
        }
        assert!(has(&|cell| cell.threads > 1));
        assert!(has(&|cell| cell.setting.size.is_power_of_two()));
        assert!(has(&|cell| (cell.setting.size - 1).is_power_of_two() && cell.setting.size > 3));
    }

    #[test]
    fn what_is_wrong_with_a_file_is_told_with_its_line() {
        let error = read("[tiers.quick]\nabout = \"x\"\nspeed = 3\n").unwrap_err();
        assert!(error.starts_with("line 3: ") && error.contains("speed"), "{error}");
        let error = read(&COMMITTED.replace("\"create\"", "\"invent\"")).unwrap_err();
        assert!(error.contains("invent"), "{error}");
    }
}
