//! The tables at the end of a benchmark run: what each operation cost, and how cost grows.

use std::collections::{BTreeMap, BTreeSet};

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{Attribute, Cell, CellAlignment, Color, Table};

use crate::bench::document::{Benchmarks, Fit, Measurement, Outcome};

/// A table for each state of the group, and one of the exponents.
pub fn tables(document: &Benchmarks, colour: bool) -> Vec<String> {
    let adapters: Vec<&str> = document.adapters.keys().map(String::as_str).collect();
    let mut states: BTreeMap<String, Vec<&Measurement>> = BTreeMap::new();
    for measurement in &document.measurements {
        states.entry(state(&measurement.id)).or_default().push(measurement);
    }
    let mut tables: Vec<String> =
        states.into_iter().map(|(state, measurements)| costs(&state, &measurements, &adapters, colour)).collect();
    if !tables.is_empty() {
        tables.push(
            "In each field: the median time, and the bytes that go up to the server (or, of `store`, of the state). Empty: not \
             measured   - no such operation   ! the answer was wrong, or there was none\n"
                .to_owned(),
        );
    }
    if !document.fits.is_empty() {
        tables.push(exponents(&document.fits, &adapters, colour));
    }
    tables
}

/// The part of an id that names the group's state.
fn state(id: &str) -> String {
    id.split('/').nth(2).unwrap_or_default().to_owned()
}

fn title(text: &str, colour: bool) -> Cell {
    let cell = Cell::new(text);
    if colour { cell.add_attribute(Attribute::Bold) } else { cell }
}

fn begin(first: [&str; 2], adapters: &[&str], colour: bool) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    let heads = first.into_iter().chain(adapters.iter().copied());
    table.set_header(heads.map(|text| title(text, colour)));
    table
}

fn costs(state: &str, measurements: &[&Measurement], adapters: &[&str], colour: bool) -> String {
    let here: Vec<&str> = adapters
        .iter()
        .copied()
        .filter(|adapter| measurements.iter().any(|measurement| measurement.adapter == *adapter))
        .collect();
    let rows: BTreeSet<_> = measurements.iter().map(|measurement| (measurement.operation, measurement.size)).collect();
    let mut table = begin([state, "members"], &here, colour);
    for (operation, size) in rows {
        let mut row =
            vec![Cell::new(operation.label()), Cell::new(grouped(u64::from(size))).set_alignment(CellAlignment::Right)];
        for adapter in &here {
            let found = measurements.iter().find(|measurement| {
                (measurement.operation, measurement.size, measurement.adapter.as_str()) == (operation, size, *adapter)
            });
            row.push(field(found.copied(), colour));
        }
        table.add_row(row);
    }
    table.to_string()
}

fn field(measurement: Option<&Measurement>, colour: bool) -> Cell {
    let text = match measurement.map(|measurement| (&measurement.outcome, measurement)) {
        None => String::new(),
        Some((Outcome::Unsupported(_), _)) => "-".to_owned(),
        Some((Outcome::Void(_) | Outcome::Failed(_), _)) => {
            let cell = Cell::new("!").set_alignment(CellAlignment::Right);
            return if colour { cell.fg(Color::Red) } else { cell };
        }
        Some((Outcome::Measured, measurement)) => {
            let time = measurement.time.as_ref().map(|time| duration(time.median));
            let size = ["bytes_up", "state_bytes"]
                .into_iter()
                .filter_map(|name| measurement.counts.get(name))
                .find(|count| count.high > 0)
                .map(|count| bytes(count.high));
            [time, size].into_iter().flatten().collect::<Vec<_>>().join("  ")
        }
    };
    Cell::new(text).set_alignment(CellAlignment::Right)
}

fn exponents(fits: &[Fit], adapters: &[&str], colour: bool) -> String {
    let mut rows: BTreeMap<(String, String, &str), BTreeMap<&str, &Fit>> = BTreeMap::new();
    for fit in fits {
        let mut parts = fit.id.split('/');
        let (Some(operation), Some(adapter), Some(state)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        rows.entry((operation.to_owned(), state.to_owned(), &fit.of)).or_default().insert(adapter, fit);
    }
    let here: Vec<&str> =
        adapters.iter().copied().filter(|adapter| rows.values().any(|row| row.contains_key(adapter))).collect();
    let mut table = begin(["exponent of", "state"], &here, colour);
    for ((operation, state, of), row) in rows {
        let what = if of == "time" { operation } else { format!("{operation} ({of})") };
        let mut cells = vec![Cell::new(what), Cell::new(state)];
        cells.extend(here.iter().map(|adapter| {
            let text = row
                .get(adapter)
                .map_or_else(|| "-".to_owned(), |fit| format!("{:.2} [{:.2}, {:.2}]", fit.exponent, fit.low, fit.high));
            Cell::new(text).set_alignment(CellAlignment::Right)
        }));
        table.add_row(cells);
    }
    table.to_string()
}

/// A time with three digits and a unit.
pub fn duration(nanoseconds: f64) -> String {
    let (value, unit) = match nanoseconds {
        value if value < 1e3 => (value, "ns"),
        value if value < 1e6 => (value / 1e3, "µs"),
        value if value < 1e9 => (value / 1e6, "ms"),
        value => (value / 1e9, "s"),
    };
    format!("{} {unit}", three(value))
}

/// A number of bytes with three digits and a decimal unit; exact below 1,000.
pub fn bytes(count: u64) -> String {
    let value = count as f64;
    match count {
        0..1_000 => format!("{count} B"),
        1_000..1_000_000 => format!("{} kB", three(value / 1e3)),
        1_000_000..1_000_000_000 => format!("{} MB", three(value / 1e6)),
        _ => format!("{} GB", three(value / 1e9)),
    }
}

fn three(value: f64) -> String {
    let digits = if value < 10.0 {
        2
    } else if value < 100.0 {
        1
    } else {
        0
    };
    format!("{value:.digits$}")
}

/// A number with its thousands apart.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_and_a_unit() {
        assert_eq!(duration(950.0), "950 ns");
        assert_eq!(duration(1_234_567.0), "1.23 ms");
        assert_eq!(duration(103.4e9), "103 s");
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(82_644), "82.6 kB");
        assert_eq!(grouped(100_000), "100,000");
        assert_eq!(grouped(999), "999");
    }
}
