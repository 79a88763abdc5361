//! Two implementations in one document: measured on the same machine by the same program, so times have a meaning as well.

use e2esm_adapter::Description;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::documents::{Document, failure};
use super::{Absent, Incomparable, SCHEMA_VERSION, Value};
use crate::bench::document::{Benchmarks, Measurement};
use crate::results::Environment;

/// Two implementations compared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "E2ESM comparison of two implementations")]
pub struct Between {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The machine.
    pub environment: Environment,
    /// What is compared with.
    pub baseline: Description,
    /// What is compared.
    pub other: Description,
    /// What a reader must know before the numbers.
    pub notes: Vec<String>,
    /// How many measurements both have.
    pub measurements: usize,
    /// What both measured, in the order of the document.
    pub ratios: Vec<Ratio>,
    /// What only the baseline measured, and why the other did not.
    pub only_baseline: Vec<Absent>,
    /// What only the other measured, and why the baseline did not.
    pub only_other: Vec<Absent>,
}

/// One measure of one operation in one group, by two implementations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ratio {
    /// The measurements' ids without the implementation: `operation/state/N`.
    pub cell: String,
    /// A count's name, or `time`: the median in nanoseconds.
    pub measure: String,
    /// The baseline's.
    pub baseline: Value,
    /// The other's.
    pub other: Value,
    /// The other's over the baseline's: below 1 it costs less. Its ends are those of the worst case, the least over the
    /// most; for times of six samples or more, whose intervals hold the median with 95 % each, both hold with at least
    /// 90 %. Absent where the baseline can be 0.
    pub ratio: Option<Value>,
}

/// Compares `other` with `baseline` wherever operation, state, actor, size and threads are the same.
///
/// A primitive that a metered implementation did not call is 0. What one of the two does not have is left out.
///
/// # Errors
/// [`Incomparable`], if there is no such implementation or nothing in common.
pub fn between(document: &Benchmarks, baseline: &str, other: &str) -> Result<Between, Incomparable> {
    let describe = |name: &str| {
        let unknown =
            || Incomparable::Unknown { name: name.to_owned(), known: document.adapters.keys().cloned().collect() };
        document.adapters.get(name).cloned().ok_or_else(unknown)
    };
    let mut between = Between {
        schema_version: SCHEMA_VERSION,
        environment: document.environment.clone(),
        baseline: describe(baseline)?,
        other: describe(other)?,
        notes: notes(document),
        measurements: 0,
        ratios: Vec::new(),
        only_baseline: Vec::new(),
        only_other: Vec::new(),
    };
    if baseline == other {
        return Err(Incomparable::Itself(baseline.to_owned()));
    }
    let of_baseline = of(document, baseline)?;
    let of_other = of(document, other)?;
    let whole = Document::new("the document", document);
    for (cell, _) in &of_baseline {
        match (found(cell, &of_baseline), found(cell, &of_other)) {
            (Ok(first), Ok(second)) => {
                between.measurements += 1;
                between.ratios.extend(ratios(&whole, cell, first, second));
            }
            (Ok(_), Err(reason)) => between.only_baseline.push(Absent { id: cell.clone(), reason }),
            (Err(_), _) => {}
        }
    }
    for (cell, _) in &of_other {
        if let (Ok(_), Err(reason)) = (found(cell, &of_other), found(cell, &of_baseline)) {
            between.only_other.push(Absent { id: cell.clone(), reason });
        }
    }
    if between.ratios.is_empty() {
        let reason = format!("{baseline} and {other} have nothing measured in common");
        return Err(Incomparable::Nothing(reason));
    }
    Ok(between)
}

fn notes(document: &Benchmarks) -> Vec<String> {
    let mut notes = Vec::new();
    notes.extend(
        document.run.burden.as_ref().map(|burden| format!("every implementation is burdened on purpose: {burden}")),
    );
    if !document.complete {
        notes.push("the document is incomplete: it was interrupted".to_owned());
    }
    if document.environment.profile == "debug" {
        notes.push("this is a debug build: its times mean nothing".to_owned());
    }
    notes
}

/// What there is of an implementation, by the id without its name.
fn of<'a>(document: &'a Benchmarks, adapter: &str) -> Result<Vec<(String, &'a Measurement)>, Incomparable> {
    let mut found: Vec<(String, &Measurement)> = Vec::new();
    for measurement in document.measurements.iter().filter(|measurement| measurement.adapter == adapter) {
        let cell = measurement.id.replacen(&format!("/{adapter}/"), "/", 1);
        if found.iter().any(|(known, _)| *known == cell) {
            return Err(Incomparable::Duplicate { document: "the document", id: measurement.id.clone() });
        }
        found.push((cell, measurement));
    }
    Ok(found)
}

/// The measurement of a cell, or why there is none.
fn found<'a>(cell: &str, side: &[(String, &'a Measurement)]) -> Result<&'a Measurement, String> {
    match side.iter().find(|(known, _)| known == cell) {
        Some((_, measurement)) => failure(measurement).map_or(Ok(*measurement), Err),
        None => Err("it is not in the document".to_owned()),
    }
}

fn ratios(document: &Document<'_>, cell: &str, baseline: &Measurement, other: &Measurement) -> Vec<Ratio> {
    let mut names: Vec<&String> = baseline.counts.keys().chain(other.counts.keys()).collect();
    names.sort();
    names.dedup();
    let ratio = |measure: &str, baseline: Value, other: Value| Ratio {
        cell: cell.to_owned(),
        measure: measure.to_owned(),
        baseline,
        other,
        ratio: quotient(baseline, other),
    };
    let count = |name: &str| {
        let baseline = document.count(baseline, name, false).ok()?;
        Some(ratio(name, baseline, document.count(other, name, false).ok()?))
    };
    let mut ratios: Vec<_> = names.into_iter().filter_map(|name| count(name)).collect();
    if let (Some(baseline), Some(other)) = (&baseline.time, &other.time) {
        ratios.push(ratio("time", baseline.into(), other.into()));
    }
    ratios
}

fn quotient(baseline: Value, other: Value) -> Option<Value> {
    (baseline.low > 0.0).then(|| Value {
        low: other.low / baseline.high,
        middle: other.middle / baseline.middle,
        high: other.high / baseline.low,
    })
}
