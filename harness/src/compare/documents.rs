//! Two documents: which values can be compared, and what follows from them.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Absent, Change, Comparison, Incomparable, Judgement, Override, SCHEMA_VERSION, Side, Thresholds, Totals, Value,
    Versions,
};
use crate::bench::document::{self, Benchmarks, Fit, Measure, Measurement, Outcome};

/// Compares B with A.
///
/// - Bytes and calls on which all runs agree: any difference counts, up to the threshold (0). More is worse. A primitive or
///   function that one side never called is 0 there, if the side would have seen it.
/// - Those on which they do not: a difference is a gap between the two intervals, beyond the threshold; for instructions
///   beyond the intervals' own widths as well.
/// - Sizes of states, allocations and the heap: likewise, each with a threshold of its own, and also where all runs agree. All
///   runs of a process start from one prepared state; another process has other keys, whose encodings differ in length.
/// - Instructions: likewise; only on the same machine and with the same compiler.
/// - Wall time: never. Two runs at different times differ by more than what one looks for. Ratios of interleaved pairs, which
///   B has if it was measured `against` another binary, are judged by their interval.
/// - Scaling exponents: a gap between the two intervals.
///
/// # Errors
/// [`Incomparable`], where it would mean nothing.
pub fn compare(a: &Benchmarks, b: &Benchmarks, thresholds: &Thresholds) -> Result<Comparison, Incomparable> {
    comparable(a, b)?;
    let (of_a, of_b) = (index("A", a)?, index("B", b)?);
    let pair = Pair { a: Document::new("A", a), b: Document::new("B", b), thresholds };
    let mut comparison = Comparison {
        schema_version: SCHEMA_VERSION,
        a: side(a),
        b: side(b),
        implementations: implementations(a, b),
        notes: pair.notes(&of_a, &of_b),
        totals: Totals::default(),
        changes: Vec::new(),
        fits: pair.fits(),
        lost: Vec::new(),
        gained: Vec::new(),
        in_neither: Vec::new(),
        only_in_a: Vec::new(),
        only_in_b: Vec::new(),
    };
    for before in &a.measurements {
        let id = &before.id;
        let absent = |reason: String| Absent { id: id.clone(), reason };
        let after = of_b.get(id.as_str());
        match (before.outcome == Outcome::Measured, after.map(|after| (after, failure(after)))) {
            (true, Some((after, None))) => comparison.changes.extend(pair.changes(before, after)),
            (true, Some((_, Some(reason)))) => comparison.lost.push(absent(format!("now {reason}"))),
            (true, None) if pair.planned() => comparison.lost.push(absent(pair.gone(before))),
            (_, None) => comparison.only_in_a.push(id.clone()),
            (false, Some((after, None))) => {
                comparison.gained.push(absent(failure(before).unwrap_or_default()));
                comparison.changes.extend(pair.against(after));
            }
            (false, Some((_, Some(reason)))) => comparison.in_neither.push(absent(reason)),
        }
    }
    for after in b.measurements.iter().filter(|after| !of_a.contains_key(after.id.as_str())) {
        comparison.only_in_b.push(after.id.clone());
        comparison.changes.extend(pair.against(after));
    }
    comparison.notes.extend(idle(&comparison, thresholds));
    comparison.totals = totals(&comparison);
    if comparison.totals.measures == 0 && comparison.totals.lost == 0 {
        return Err(Incomparable::Nothing(why_nothing(&comparison)));
    }
    Ok(comparison)
}

/// Whether comparing them means anything at all.
fn comparable(a: &Benchmarks, b: &Benchmarks) -> Result<(), Incomparable> {
    if (a.schema_version, b.schema_version) != (document::SCHEMA_VERSION, document::SCHEMA_VERSION) {
        return Err(Incomparable::Schema(a.schema_version, b.schema_version));
    }
    if a.suite.forge != b.suite.forge {
        return Err(Incomparable::Forge(a.suite.forge, b.suite.forge));
    }
    let (before, after) = (&a.environment.profile, &b.environment.profile);
    if before != after {
        return Err(Incomparable::Profile(before.clone(), after.clone()));
    }
    Ok(())
}

fn index<'a>(
    document: &'static str,
    benchmarks: &'a Benchmarks,
) -> Result<BTreeMap<&'a str, &'a Measurement>, Incomparable> {
    let mut index = BTreeMap::new();
    for measurement in &benchmarks.measurements {
        if index.insert(measurement.id.as_str(), measurement).is_some() {
            return Err(Incomparable::Duplicate { document, id: measurement.id.clone() });
        }
    }
    Ok(index)
}

fn side(benchmarks: &Benchmarks) -> Side {
    Side {
        suite: benchmarks.suite.clone(),
        environment: benchmarks.environment.clone(),
        run: benchmarks.run.clone(),
        complete: benchmarks.complete,
        measurements: benchmarks.measurements.len(),
    }
}

fn implementations(a: &Benchmarks, b: &Benchmarks) -> BTreeMap<String, Versions> {
    let names: BTreeSet<&String> = a.adapters.keys().chain(b.adapters.keys()).collect();
    let versions = |name: &String| Versions { a: a.adapters.get(name).cloned(), b: b.adapters.get(name).cloned() };
    names.into_iter().map(|name| (name.clone(), versions(name))).collect()
}

/// Why it was not measured; `None` if it was.
pub(super) fn failure(measurement: &Measurement) -> Option<String> {
    match &measurement.outcome {
        Outcome::Measured => None,
        Outcome::Unsupported(reason) => Some(format!("unsupported: {reason}")),
        Outcome::Void(reason) => Some(format!("void, because an answer was wrong: {reason}")),
        Outcome::Failed(reason) => Some(format!("failed: {reason}")),
    }
}

/// A document, and which counts it has anywhere: what was never seen at all may not have been looked for.
pub(super) struct Document<'a> {
    /// What it is called.
    name: &'static str,
    benchmarks: &'a Benchmarks,
    /// By adapter.
    seen: BTreeMap<&'a str, BTreeSet<&'a str>>,
}

/// Why a document does not have a count.
pub(super) enum Missing {
    /// It was not asked for it.
    Unasked(String),
    /// It was.
    Gone(String),
}

impl Missing {
    pub(super) fn reason(self) -> String {
        match self {
            Self::Unasked(reason) | Self::Gone(reason) => reason,
        }
    }
}

impl<'a> Document<'a> {
    pub(super) fn new(name: &'static str, benchmarks: &'a Benchmarks) -> Self {
        let mut seen: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for measurement in &benchmarks.measurements {
            let names = measurement.counts.keys().map(String::as_str);
            seen.entry(&measurement.adapter).or_default().extend(names);
        }
        Self { name, benchmarks, seen }
    }

    fn seen(&self, adapter: &str, matches: impl Fn(&str) -> bool) -> bool {
        self.seen.get(adapter).is_some_and(|names| names.iter().any(|name| matches(name)))
    }

    /// The reason that the document itself gives, for the count, its family (`calls`) or its kind.
    fn given(&self, measurement: &'a Measurement, count: &str) -> Option<&'a String> {
        let family = count.split_once('.').map_or(count, |(family, _)| family);
        [count, family, label(kind(count))].into_iter().find_map(|name| measurement.missing.get(name))
    }

    /// A count of a measurement. Primitives and functions that were never called are left out of the documents: where they
    /// would have been seen, they are 0. A doubt is settled so that nothing passes unseen: before (`lenient`), a call that
    /// the metered side does not list was not made; after, an implementation of which no call is seen anywhere is taken
    /// for one that is not metered any more.
    pub(super) fn count(&self, measurement: &Measurement, name: &str, lenient: bool) -> Result<Value, Missing> {
        if let Some(count) = measurement.counts.get(name) {
            return Ok(Value::from(count));
        }
        let Self { name: document, benchmarks: Benchmarks { run, complete, .. }, .. } = self;
        let kind = kind(name);
        if !run.measures.contains(&kind) {
            return Err(Missing::Unasked(format!("{document} did not measure {}", label(kind))));
        }
        let up_to = run.sampling.instructions_up_to;
        if kind == Measure::Instructions && measurement.size > up_to {
            return Err(Missing::Unasked(format!("{document} counts instructions in groups of at most {up_to}")));
        }
        if name.starts_with("functions.") && !measurement.missing.contains_key("calls") {
            return Err(Missing::Unasked(format!("{document} meters the cryptography and has `calls.*` instead")));
        }
        if let Some(reason) = self.given(measurement, name) {
            return Err(Missing::Gone(format!("{document}: {reason}")));
        }
        let (calls, functions) = (name.starts_with("calls."), name.starts_with("functions."));
        if calls && (lenient || self.seen(&measurement.adapter, |seen| seen.starts_with("calls."))) {
            return Ok(Value::exactly(0.0));
        }
        let looked_for = functions && measurement.counts.contains_key("instructions");
        if looked_for && self.seen(&measurement.adapter, |seen| seen == name) {
            return Ok(Value::exactly(0.0));
        }
        Err(Missing::Gone(if calls || looked_for {
            format!("{document} has none of them for {}: are they still counted?", measurement.adapter)
        } else if *complete {
            format!("{document} does not have it and does not say why")
        } else {
            format!("{document} is incomplete and has not come to it: go on with `e2esm bench --resume`")
        }))
    }
}

/// Which measure has this count.
fn kind(count: &str) -> Measure {
    match count {
        "allocations" | "allocated_bytes" | "peak_bytes" => Measure::Heap,
        "instructions" => Measure::Instructions,
        _ if count.starts_with("functions.") => Measure::Instructions,
        _ => Measure::Counts,
    }
}

fn label(measure: Measure) -> &'static str {
    match measure {
        Measure::Time => "time",
        Measure::Counts => "counts",
        Measure::Heap => "heap",
        Measure::Instructions => "instructions",
    }
}

/// Two comparable documents.
struct Pair<'a> {
    a: Document<'a>,
    b: Document<'a>,
    thresholds: &'a Thresholds,
}

impl Pair<'_> {
    /// Whether B was meant to measure what A did.
    fn planned(&self) -> bool {
        self.a.benchmarks.run.tier == self.b.benchmarks.run.tier
    }

    /// Why B has not what A measured.
    fn gone(&self, before: &Measurement) -> String {
        if !self.b.benchmarks.complete {
            "B is incomplete and has not come to it: go on with `e2esm bench --resume`".to_owned()
        } else if !self.b.benchmarks.adapters.contains_key(&before.adapter) {
            format!("B has no {}", before.adapter)
        } else {
            format!("it is not in B, although that is of the same tier, {}", self.b.benchmarks.run.tier)
        }
    }

    fn other_machine(&self) -> Option<String> {
        let machine = |document: &Document<'_>| {
            let environment = &document.benchmarks.environment;
            (environment.system.clone(), environment.cpu.clone())
        };
        let name = |(system, cpu): (String, Option<String>)| match cpu {
            Some(cpu) => format!("{system}, {cpu}"),
            None => system,
        };
        let (a, b) = (machine(&self.a), machine(&self.b));
        (a != b).then(|| format!("another machine ({} against {})", name(a), name(b)))
    }

    fn other_compiler(&self) -> Option<String> {
        let (a, b) = (&self.a.benchmarks.environment.rustc, &self.b.benchmarks.environment.rustc);
        (a != b).then(|| format!("another compiler ({a} against {b})"))
    }

    /// Why a measure means something else in these two documents.
    fn barred(&self, measure: &str) -> Option<String> {
        match measure {
            "instructions" | "exponent.instructions" => self.other_machine().or_else(|| self.other_compiler()),
            // Which functions stay whole is the compiler's choice; the simulated processor calls them all the same.
            _ if measure.starts_with("functions.") => self.other_compiler(),
            // Where a group outgrows the processor's caches bends the line.
            "exponent.time" => self.other_machine(),
            _ => None,
        }
    }

    fn notes(&self, of_a: &BTreeMap<&str, &Measurement>, of_b: &BTreeMap<&str, &Measurement>) -> Vec<String> {
        let mut notes = Vec::new();
        let mut burdened = |name: &str, burden: &Option<String>| {
            notes.extend(burden.as_ref().map(|burden| format!("{name} is burdened on purpose: {burden}")));
        };
        burdened("A", &self.a.benchmarks.run.burden);
        burdened("B", &self.b.benchmarks.run.burden);
        let mut incomplete = |name: &str, other: &str, complete: bool, missing: usize| {
            if !complete {
                notes.push(format!("{name} is incomplete: {missing} measurements of {other} are missing in it"));
            }
        };
        let missing = |there: &BTreeMap<&str, &Measurement>, here: &BTreeMap<&str, &Measurement>| {
            there.keys().filter(|id| !here.contains_key(**id)).count()
        };
        incomplete("A", "B", self.a.benchmarks.complete, missing(of_b, of_a));
        incomplete("B", "A", self.b.benchmarks.complete, missing(of_a, of_b));
        notes.extend(
            self.other_machine()
                .map(|other| format!("{other}: neither instructions nor exponents are compared, counts are")),
        );
        notes.extend(self.other_compiler().map(|other| {
            format!(
                "{other}: neither instructions nor calls of functions are compared; allocations are, though another standard \
                 library may allocate otherwise"
            )
        }));
        let (a, b) = (&self.a.benchmarks.run, &self.b.benchmarks.run);
        if a.tier != b.tier {
            notes.push(format!(
                "A is of tier {}, B of tier {}: what A alone has is not counted as lost",
                a.tier, b.tier
            ));
        }
        if a.sampling.counted != b.sampling.counted {
            notes.push(format!(
                "A counts in {} runs, B in {}: more runs show more of what is not exact",
                a.sampling.counted, b.sampling.counted
            ));
        }
        if self.a.benchmarks.environment.profile == "debug" {
            notes.push("both are debug builds: what they count need not be what a release build does".to_owned());
        }
        notes
    }

    /// Every measure of a measurement that both sides have.
    fn changes(&self, before: &Measurement, after: &Measurement) -> Vec<Change> {
        let names: BTreeSet<&String> = before.counts.keys().chain(after.counts.keys()).collect();
        let mut changes: Vec<_> = names.into_iter().map(|name| self.count(before, after, name)).collect();
        let reason = "wall time is never compared across documents: use `e2esm bench --against`";
        let mut listed = |measure: &str, a: Option<Value>, b: Option<Value>| {
            if a.is_some() || b.is_some() {
                changes.push(not_compared(&after.id, measure, a, b, reason.to_owned()));
            }
        };
        listed("time", before.time.as_ref().map(Value::from), after.time.as_ref().map(Value::from));
        let efficiency = |measurement: &Measurement| measurement.efficiency.as_ref().map(Value::from);
        listed("efficiency", efficiency(before), efficiency(after));
        changes.extend(self.against(after));
        changes
    }

    fn count(&self, before: &Measurement, after: &Measurement, name: &str) -> Change {
        let id = &after.id;
        let counted = |measurement: &Measurement| measurement.counts.get(name).map(Value::from);
        if let Some(other) = self.barred(name) {
            return not_compared(id, name, counted(before), counted(after), other);
        }
        match (self.a.count(before, name, true), self.b.count(after, name, false)) {
            (Ok(a), Ok(b)) => self.judged(id, name, a, b),
            (Err(missing), b) => not_compared(id, name, None, b.ok(), missing.reason()),
            (Ok(a), Err(Missing::Unasked(reason))) => not_compared(id, name, Some(a), None, reason),
            (Ok(a), Err(Missing::Gone(reason))) if self.planned() || self.explained(after, name) => {
                unjudged(id, name, Some(a), None, Judgement::Lost(reason))
            }
            (Ok(a), Err(Missing::Gone(reason))) => not_compared(id, name, Some(a), None, reason),
        }
    }

    /// Whether B itself says that it should have had this count.
    fn explained(&self, after: &Measurement, name: &str) -> bool {
        self.b.given(after, name).is_some()
    }

    fn judged(&self, id: &str, measure: &str, a: Value, b: Value) -> Change {
        let gap = gap(a, b);
        let nearest = if gap > 0.0 { a.high } else { a.low };
        let difference = if gap == 0.0 { 0.0 } else { gap / nearest };
        // A few runs need not show the whole range that chance has over instructions: each interval may be as wide again.
        let width = |value: Value| match measure {
            "instructions" if value.low > 0.0 => (value.high - value.low) / value.low,
            _ => 0.0,
        };
        let threshold = self.thresholds.of(measure, id, a.exact() && b.exact()) + width(a) + width(b);
        change(id, measure, (Some(a), Some(b)), difference, threshold, a.low == b.low && a.high == b.high)
    }

    /// The interleaved pairs of B.
    fn against(&self, after: &Measurement) -> Option<Change> {
        let run = &self.b.benchmarks.run;
        let against = run.against.as_ref().filter(|_| run.measures.contains(&Measure::Time))?;
        if after.outcome != Outcome::Measured {
            return None;
        }
        let Some(spread) = &after.against else {
            let given = after.missing.get("against").or_else(|| after.missing.get("time"));
            let reason = given.cloned().unwrap_or_else(|| format!("no pairs with {against} were taken"));
            return Some(not_compared(&after.id, "against", None, None, reason));
        };
        let (one, ratio) = (Value::exactly(1.0), Value::from(spread));
        let threshold = self.thresholds.of("against", &after.id, false);
        Some(change(&after.id, "against", (None, Some(ratio)), gap(one, ratio), threshold, ratio == one))
    }

    fn fits(&self) -> Vec<Change> {
        let key = |fit: &Fit| (fit.id.clone(), fit.of.clone());
        let index = |document: &Document<'_>| -> BTreeMap<(String, String), Fit> {
            document.benchmarks.fits.iter().map(|fit| (key(fit), fit.clone())).collect()
        };
        let (of_a, of_b) = (index(&self.a), index(&self.b));
        let keys: BTreeSet<&(String, String)> = of_a.keys().chain(of_b.keys()).collect();
        keys.into_iter().map(|key| self.fit(key, of_a.get(key), of_b.get(key))).collect()
    }

    fn fit(&self, (id, of): &(String, String), a: Option<&Fit>, b: Option<&Fit>) -> Change {
        let measure = format!("exponent.{of}");
        let (before, after) = (a.map(Value::from), b.map(Value::from));
        let refused = |reason: String| not_compared(id, &measure, before, after, reason);
        if let Some(other) = self.barred(&measure) {
            return refused(other);
        }
        let (Some(a), Some(b), Some(before), Some(after)) = (a, b, before, after) else {
            let document = if a.is_none() { "A" } else { "B" };
            return refused(format!("{document} has fewer than three sizes of it"));
        };
        if a.sizes != b.sizes {
            // The line is bent: other sizes have another slope without any change.
            return refused("it was fitted over other sizes".to_owned());
        }
        let threshold = self.thresholds.of(&measure, id, false);
        let same = before == after;
        change(id, &measure, (Some(before), Some(after)), gap(before, after), threshold, same)
    }
}

/// How far B lies above A, or with a minus below it: between the nearest ends.
fn gap(a: Value, b: Value) -> f64 {
    if b.low > a.high {
        b.low - a.high
    } else if b.high < a.low {
        b.high - a.low
    } else {
        0.0
    }
}

fn change(
    id: &str,
    measure: &str,
    (a, b): (Option<Value>, Option<Value>),
    difference: f64,
    threshold: f64,
    same: bool,
) -> Change {
    let judgement = if same {
        Judgement::Same
    } else if difference > threshold {
        Judgement::Worse
    } else if difference < -threshold {
        Judgement::Better
    } else {
        Judgement::Within
    };
    Change {
        id: id.to_owned(),
        measure: measure.to_owned(),
        a,
        b,
        difference: Some(difference).filter(|difference| difference.is_finite()),
        threshold: Some(threshold),
        judgement,
    }
}

fn unjudged(id: &str, measure: &str, a: Option<Value>, b: Option<Value>, judgement: Judgement) -> Change {
    Change { id: id.to_owned(), measure: measure.to_owned(), a, b, difference: None, threshold: None, judgement }
}

fn not_compared(id: &str, measure: &str, a: Option<Value>, b: Option<Value>, reason: String) -> Change {
    unjudged(id, measure, a, b, Judgement::NotCompared(reason))
}

/// Exceptions of the user's that were about nothing: most likely a name is misspelt.
fn idle(comparison: &Comparison, thresholds: &Thresholds) -> Vec<String> {
    let changes = || comparison.changes.iter().chain(&comparison.fits);
    let about_nothing = |entry: &&Override| !changes().any(|change| entry.matches(&change.measure, &change.id));
    let words = |entry: &Override| {
        format!("the threshold for measure {} of {} is about nothing in these documents", entry.measure, entry.ids)
    };
    thresholds.overrides.iter().filter(|entry| entry.own).filter(about_nothing).map(words).collect()
}

fn totals(comparison: &Comparison) -> Totals {
    let mut totals = Totals { lost: comparison.lost.len(), ..Totals::default() };
    let (mut measurements, mut measures) = (BTreeSet::new(), BTreeSet::new());
    for change in comparison.changes.iter().chain(&comparison.fits) {
        *match change.judgement {
            Judgement::Same => &mut totals.same,
            Judgement::Within => &mut totals.within,
            Judgement::Better => &mut totals.better,
            Judgement::Worse => &mut totals.worse,
            Judgement::Lost(_) => &mut totals.lost,
            Judgement::NotCompared(_) => &mut totals.not_compared,
        } += 1;
        if !matches!(change.judgement, Judgement::NotCompared(_)) {
            measures.insert(&change.measure);
            if !change.measure.starts_with("exponent.") {
                measurements.insert(&change.id);
            }
        }
    }
    (totals.measurements, totals.measures) = (measurements.len(), measures.len());
    totals
}

fn why_nothing(comparison: &Comparison) -> String {
    let reasons: BTreeSet<&str> = comparison
        .changes
        .iter()
        .chain(&comparison.fits)
        .filter_map(|change| match &change.judgement {
            Judgement::NotCompared(reason) => Some(reason.as_str()),
            _ => None,
        })
        .collect();
    if reasons.is_empty() {
        return "they have no measurement in common".to_owned();
    }
    reasons.into_iter().collect::<Vec<_>>().join("; ")
}
