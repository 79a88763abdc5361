//! Exports for services that watch numbers over time.
//!
//! Exact measures alone are exported: bytes, calls, allocations, heap and state sizes. Wall times are not, because these
//! services compare one run with the next wherever it ran, and hosted runners differ from one another by more than a factor of
//! two: an alarm would say which machine was drawn. Instructions are not either, because they change with the processor and
//! the compiler, of which the formats know nothing; [`compare`](super::compare) does.
//! Nor is what was not measured: a void answer has no cost.

use serde_json::{Map, Value, json};

use crate::bench::document::{Benchmarks, Count, Measurement, Outcome};

/// [Bencher Metric Format](https://bencher.dev/docs/reference/bencher-metric-format): an object of benchmarks, each of them an
/// object of measures. A benchmark's name is the measurement's id; a measure's is its slug, for which Bencher takes small
/// letters, digits and single hyphens: `calls.sign` becomes `calls-sign`. Where the runs disagree, the value is halfway
/// between `lower_value` and `upper_value`.
pub fn bencher(document: &Benchmarks) -> Value {
    let mut benchmarks = Map::new();
    for measurement in measured(document) {
        let measures: Map<String, Value> =
            exported(measurement).map(|(name, count)| (slug(name), metric(count))).collect();
        if !measures.is_empty() {
            benchmarks.insert(measurement.id.clone(), measures.into());
        }
    }
    benchmarks.into()
}

/// The format of
/// [github-action-benchmark](https://github.com/benchmark-action/github-action-benchmark)'s tool `customSmallerIsBetter`: an
/// array of numbers, each with a name of its own (id and measure) and a unit. `range` is there where the runs disagree,
/// `extra` says what was measured.
pub fn github_action_benchmark(document: &Benchmarks) -> Value {
    let entry = |measurement: &Measurement, name: &str, count: &Count| {
        let mut entry = json!({
            "name": format!("{} {name}", measurement.id),
            "unit": unit(name),
            "value": value(count),
        });
        if !count.exact() {
            entry["range"] = format!("± {}", (count.high - count.low) as f64 / 2.0).into();
        }
        if let Some(described) = document.adapters.get(&measurement.adapter) {
            let e2esm_adapter::Description { implementation, version, cipher_suite, crypto_provider, .. } = described;
            entry["extra"] = format!("{implementation} {version}\n{cipher_suite}\n{crypto_provider}").into();
        }
        entry
    };
    measured(document)
        .flat_map(|measurement| exported(measurement).map(move |(name, count)| entry(measurement, name, count)))
        .collect()
}

fn measured(document: &Benchmarks) -> impl Iterator<Item = &Measurement> {
    document.measurements.iter().filter(|measurement| measurement.outcome == Outcome::Measured)
}

fn exported(measurement: &Measurement) -> impl Iterator<Item = (&str, &Count)> {
    measurement.counts.iter().map(|(name, count)| (name.as_str(), count)).filter(|(name, _)| *name != "instructions")
}

fn metric(count: &Count) -> Value {
    if count.exact() {
        return json!({ "value": value(count) });
    }
    json!({ "value": value(count), "lower_value": count.low, "upper_value": count.high })
}

fn value(count: &Count) -> Value {
    if count.exact() { count.low.into() } else { f64::midpoint(count.low as f64, count.high as f64).into() }
}

fn slug(name: &str) -> String {
    let parts: Vec<String> = name
        .split(|character: char| !character.is_ascii_alphanumeric())
        .filter(|part| !part.is_empty())
        .map(str::to_ascii_lowercase)
        .collect();
    parts.join("-")
}

fn unit(name: &str) -> &'static str {
    match name {
        "allocations" => "allocations",
        _ if name.starts_with("bytes_") || name.ends_with("_bytes") => "bytes",
        _ => "calls",
    }
}
