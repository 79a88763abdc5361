//! Comparisons in words and tables.

use std::collections::{BTreeMap, BTreeSet};

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{Attribute, Cell, CellAlignment, Color, Table};
use e2esm_adapter::Description;

use super::{Absent, Between, Change, Comparison, Judgement, Ratio, Side, Totals, Value, Versions};

/// How many ids are written out where a reason has many.
const FEW: usize = 8;

/// Two documents compared. `names`: what to call them. `all`: what is the same and what was not compared as well.
pub fn comparison(comparison: &Comparison, names: [&str; 2], all: bool, colour: bool) -> String {
    let mut paragraphs = vec![header(comparison, names).join("\n")];
    let changes = comparison.changes.iter().chain(&comparison.fits);
    let shown: Vec<_> = changes.filter(|change| all || moved(&change.judgement)).collect();
    if !shown.is_empty() {
        let mut table = table(&["measurement", "measure", "A", "B", "change", "judgement"], colour);
        for change in shown {
            table.add_row(row(change, colour));
        }
        paragraphs.push(table.to_string());
    }
    let mut lines = Vec::new();
    lines.extend(absent("lost", &comparison.lost, all));
    lines.extend(absent("gained", &comparison.gained, all));
    if all {
        lines.extend(absent("in neither", &comparison.in_neither, all));
    }
    for (words, ids) in [("only in A", &comparison.only_in_a), ("only in B", &comparison.only_in_b)] {
        if !ids.is_empty() {
            lines.push(format!("{words}: {}", list(ids.iter().map(String::as_str), all)));
        }
    }
    lines.extend(reasons(comparison));
    lines.push(summary(&comparison.totals));
    paragraphs.push(lines.join("\n"));
    paragraphs.join("\n\n")
}

/// Two implementations compared. `all`: what is the same as well.
pub fn between(between: &Between, all: bool, colour: bool) -> String {
    let Between { baseline, other, ratios, .. } = between;
    let mut header = vec![
        format!("baseline  {}: {}", baseline.name, described(baseline)),
        format!("with      {}: {}", other.name, described(other)),
    ];
    header.extend(between.notes.iter().map(|note| format!("note: {note}")));
    let mut paragraphs = vec![header.join("\n")];
    let equal = |ratio: &&Ratio| ratio.baseline == ratio.other && ratio.baseline.exact();
    let same = ratios.iter().filter(equal).count();
    if all || same < ratios.len() {
        let mut table = table(&["operation/state/N", "measure", &baseline.name, &other.name, "ratio"], colour);
        for ratio in ratios.iter().filter(|ratio| all || !equal(ratio)) {
            table.add_row(ratio_row(ratio, colour));
        }
        paragraphs.push(table.to_string());
    }
    let mut lines = Vec::new();
    lines.extend(absent(&format!("no {}", other.name), &between.only_baseline, all));
    lines.extend(absent(&format!("no {}", baseline.name), &between.only_other, all));
    lines.push(format!(
        "measurements that both have: {}; values: {}, of which {same} the same",
        between.measurements,
        ratios.len()
    ));
    lines.push(format!("Below 1, {} costs less; an interval that holds 1 shows no difference.", other.name));
    paragraphs.push(lines.join("\n"));
    paragraphs.join("\n\n")
}

/// The line of a gate about a change; `None` if it is no regression.
pub fn regression(change: &Change) -> Option<String> {
    let Change { id, measure, a, b, threshold, .. } = change;
    let show = |value: &Option<Value>| value.map_or_else(|| "nothing".to_owned(), |value| shown(measure, &value));
    match &change.judgement {
        Judgement::Worse => {
            let from = a.map(|value| format!("{} -> ", shown(measure, &value))).unwrap_or_default();
            let threshold = threshold.map(|threshold| limit(measure, threshold)).unwrap_or_default();
            Some(format!("worse: {id}: {measure} {from}{} ({}), threshold {threshold}", show(b), difference(change)))
        }
        Judgement::Lost(reason) => Some(format!("lost: {id}: {measure} {} -> nothing: {reason}", show(a))),
        _ => None,
    }
}

/// Whether it is shown without being asked for.
fn moved(judgement: &Judgement) -> bool {
    matches!(judgement, Judgement::Better | Judgement::Worse | Judgement::Lost(_))
}

fn header(comparison: &Comparison, names: [&str; 2]) -> Vec<String> {
    let mut lines = vec![origin("A", names[0], &comparison.a), origin("B", names[1], &comparison.b)];
    lines.extend(comparison.implementations.iter().map(|(name, versions)| format!("{name}: {}", versioned(versions))));
    lines.extend(comparison.notes.iter().map(|note| format!("note: {note}")));
    lines
}

fn origin(letter: &str, name: &str, side: &Side) -> String {
    let Side { suite, environment, run, measurements, .. } = side;
    let cpu = environment.cpu.as_ref().map(|cpu| format!(", {cpu}")).unwrap_or_default();
    let against = run.against.as_ref().map(|against| format!(", against {against}")).unwrap_or_default();
    format!(
        "{letter}  {name}: e2esm {} ({}), tier {}, {measurements} measurements{against}; {}{cpu}, {}, {}",
        suite.version, suite.commit, run.tier, environment.system, environment.rustc, environment.profile
    )
}

fn described(description: &Description) -> String {
    let Description { implementation, version, cipher_suite, crypto_provider, .. } = description;
    format!("{implementation} {version}, {cipher_suite}, {crypto_provider}")
}

fn versioned(versions: &Versions) -> String {
    match (&versions.a, &versions.b) {
        (Some(a), Some(b)) if a == b => described(a),
        (Some(a), Some(b)) => {
            let mut differences = Vec::new();
            let mut field = |name: &str, a: &str, b: &str| {
                if a != b {
                    differences.push(format!("{name} {a} -> {b}"));
                }
            };
            field("library", &a.implementation, &b.implementation);
            field("version", &a.version, &b.version);
            field("protocol", &a.protocol, &b.protocol);
            field("cipher suite", &a.cipher_suite, &b.cipher_suite);
            field("provider", &a.crypto_provider, &b.crypto_provider);
            let settings: BTreeSet<&String> = a.configuration.keys().chain(b.configuration.keys()).collect();
            for setting in settings {
                let value = |side: &Description| side.configuration.get(setting).cloned().unwrap_or("unset".to_owned());
                field(setting, &value(a), &value(b));
            }
            let differences =
                if differences.is_empty() { "another description".to_owned() } else { differences.join("; ") };
            format!("{} in A; {differences}", described(a))
        }
        (Some(a), None) => format!("{}, only in A", described(a)),
        (None, Some(b)) => format!("{}, only in B", described(b)),
        (None, None) => String::new(),
    }
}

fn table(head: &[&str], colour: bool) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    if colour {
        // Whoever asks for colours has looked whether there is a terminal.
        table.enforce_styling();
    }
    table.set_header(head.iter().map(|title| {
        let cell = Cell::new(title);
        if colour { cell.add_attribute(Attribute::Bold) } else { cell }
    }));
    table
}

fn row(change: &Change, colour: bool) -> Vec<Cell> {
    let value = |value: &Option<Value>| {
        let text = value.map(|value| shown(&change.measure, &value)).unwrap_or_default();
        Cell::new(text).set_alignment(CellAlignment::Right)
    };
    let (word, tint) = match change.judgement {
        Judgement::Same => ("same", None),
        Judgement::Within => ("within", None),
        Judgement::Better => ("better", Some(Color::Green)),
        Judgement::Worse => ("worse", Some(Color::Red)),
        Judgement::Lost(_) => ("lost", Some(Color::Red)),
        Judgement::NotCompared(_) => ("not compared", Some(Color::DarkGrey)),
    };
    let judgement = Cell::new(word);
    vec![
        Cell::new(&change.id),
        Cell::new(&change.measure),
        value(&change.a),
        value(&change.b),
        Cell::new(difference(change)).set_alignment(CellAlignment::Right),
        match tint.filter(|_| colour) {
            Some(tint) => judgement.fg(tint),
            None => judgement,
        },
    ]
}

fn ratio_row(ratio: &Ratio, colour: bool) -> Vec<Cell> {
    let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
    let quotient = right(ratio.ratio.map_or_else(|| "from 0".to_owned(), |quotient| fraction(&quotient, 3)));
    let tint = match ratio.ratio {
        Some(quotient) if quotient.high < 1.0 => Some(Color::Green),
        Some(quotient) if quotient.low > 1.0 => Some(Color::Red),
        _ => None,
    };
    vec![
        Cell::new(&ratio.cell),
        Cell::new(&ratio.measure),
        right(shown(&ratio.measure, &ratio.baseline)),
        right(shown(&ratio.measure, &ratio.other)),
        match tint.filter(|_| colour) {
            Some(tint) => quotient.fg(tint),
            None => quotient,
        },
    ]
}

/// A value in its unit: `1204`, `1204..1210`, `1.23 ms (1.20 ms..1.31 ms)`.
fn shown(measure: &str, value: &Value) -> String {
    match measure {
        "time" => interval(value, duration),
        "efficiency" | "against" => fraction(value, 3),
        _ if measure.starts_with("exponent.") => fraction(value, 2),
        _ if value.exact() => format!("{}", value.low),
        _ => format!("{}..{}", value.low, value.high),
    }
}

fn fraction(value: &Value, digits: usize) -> String {
    interval(value, |number| format!("{number:.digits$}"))
}

fn interval(value: &Value, show: impl Fn(f64) -> String) -> String {
    if value.exact() {
        return show(value.middle);
    }
    format!("{} ({}..{})", show(value.middle), show(value.low), show(value.high))
}

fn duration(nanoseconds: f64) -> String {
    let units = [(1e9, "s"), (1e6, "ms"), (1e3, "µs")];
    match units.into_iter().find(|(size, _)| nanoseconds >= *size) {
        Some((size, unit)) => format!("{:.2} {unit}", nanoseconds / size),
        None => format!("{nanoseconds:.0} ns"),
    }
}

fn difference(change: &Change) -> String {
    match change.difference {
        _ if change.threshold.is_none() => String::new(),
        None => "from 0".to_owned(),
        Some(difference) if change.measure.starts_with("exponent.") => format!("{difference:+.3}"),
        Some(difference) => percent(difference),
    }
}

/// At least one digit behind the point, and two that say something: a byte of a megabyte is to be seen.
fn percent(part: f64) -> String {
    if part == 0.0 {
        return "0 %".to_owned();
    }
    let percent = part * 100.0;
    let digits = (1.0 - percent.abs().log10().floor()).clamp(1.0, 9.0);
    format!("{percent:+.*} %", digits as usize)
}

fn limit(measure: &str, threshold: f64) -> String {
    // Without the last digits, which are those of binary fractions.
    let round = |number: f64| (number * 1e9).round() / 1e9;
    if measure.starts_with("exponent.") {
        return format!("{}", round(threshold));
    }
    format!("{} %", round(threshold * 100.0))
}

/// Ids by their reason.
fn absent(word: &str, absent: &[Absent], all: bool) -> Vec<String> {
    let mut by_reason: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for Absent { id, reason } in absent {
        by_reason.entry(reason).or_default().push(id);
    }
    by_reason.into_iter().map(|(reason, ids)| format!("{word} ({reason}): {}", list(ids.into_iter(), all))).collect()
}

fn list<'a>(ids: impl ExactSizeIterator<Item = &'a str>, all: bool) -> String {
    let count = ids.len();
    let few: Vec<&str> = ids.take(if all { count } else { FEW }).collect();
    let more = count - few.len();
    let more = if more > 0 { format!(" and {more} more (--all)") } else { String::new() };
    format!("{}{more}", few.join(", "))
}

/// What was not compared or was lost, by reason.
fn reasons(comparison: &Comparison) -> Vec<String> {
    let mut by_reason: BTreeMap<(&str, &str), (usize, BTreeSet<&str>)> = BTreeMap::new();
    for change in comparison.changes.iter().chain(&comparison.fits) {
        let (word, reason) = match &change.judgement {
            Judgement::NotCompared(reason) => ("not compared", reason),
            Judgement::Lost(reason) => ("lost", reason),
            _ => continue,
        };
        let (count, measures) = by_reason.entry((word, reason)).or_default();
        *count += 1;
        measures.insert(&change.measure);
    }
    let line = |((word, reason), (count, measures)): ((&str, &str), (usize, BTreeSet<&str>))| {
        let measures: Vec<_> = measures.into_iter().collect();
        format!("{word}: {count} values of {}: {reason}", measures.join(", "))
    };
    by_reason.into_iter().map(line).collect()
}

fn summary(totals: &Totals) -> String {
    let Totals { measurements, measures, same, within, better, worse, lost, .. } = *totals;
    let parts = [(worse, "worse"), (lost, "lost"), (better, "better"), (within, "within what their measures allow")];
    let mut parts: Vec<_> =
        parts.into_iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}")).collect();
    let compared = format!("{measurements} measurements x {measures} measures compared");
    if parts.is_empty() {
        return format!("{compared}, all the same");
    }
    parts.push(format!("{same} the same"));
    format!("{compared}: {}", parts.join(", "))
}
