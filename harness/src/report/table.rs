//! The table at the end of a run.

use std::collections::BTreeMap;

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{Attribute, Cell, CellAlignment, Color, Row as TableRow, Table};

use crate::divergence::Divergences;
use crate::scenario::Layer;
use crate::suite::{Column, Row};
use crate::verdict::Verdict;

/// Vectors down, implementations across; in each field one letter for each layer.
pub fn verdicts(columns: &[Column], layers: &[Layer], divergences: &Divergences, colour: bool) -> String {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    let title = |text: String| {
        let cell = Cell::new(text);
        if colour { cell.add_attribute(Attribute::Bold) } else { cell }
    };
    let mut head = vec![title("vector".to_owned())];
    head.extend(columns.iter().map(|column| title(wrap(&column.name))));
    table.set_header(head);
    let mut rows: BTreeMap<&str, Vec<Vec<&Row>>> = BTreeMap::new();
    for (place, column) in columns.iter().enumerate() {
        for row in &column.rows {
            rows.entry(&row.vector).or_insert_with(|| vec![Vec::new(); columns.len()])[place].push(row);
        }
    }
    for (vector, fields) in rows {
        let mut cells = vec![Cell::new(vector)];
        for (column, field) in columns.iter().zip(fields) {
            cells.push(cell(&column.name, &field, layers, divergences, colour));
        }
        table.add_row(TableRow::from(cells));
    }
    let mut text = table.to_string();
    text.push_str("\n\n");
    text.push_str(&totals(columns, layers, colour));
    text.push_str("\n\n");
    text.push_str(&legend(layers));
    text
}

fn cell(adapter: &str, rows: &[&Row], layers: &[Layer], divergences: &Divergences, colour: bool) -> Cell {
    let mut letters = Vec::new();
    let mut worst = Verdict::Pass;
    for layer in layers {
        let Some(row) = rows.iter().find(|row| row.layer == *layer) else { continue };
        let known = divergences.find(adapter, &row.vector, *layer).is_some();
        letters.push(format!("{}{}", row.verdict.letter(), if known { "*" } else { "" }));
        if gravity(row.verdict) > gravity(worst) {
            worst = row.verdict;
        }
    }
    let cell = Cell::new(letters.join(" ")).set_alignment(CellAlignment::Center);
    if !colour {
        return cell;
    }
    cell.fg(match worst {
        Verdict::Pass => Color::Green,
        Verdict::LeftToTheApplication | Verdict::Graded => Color::Yellow,
        Verdict::Unsupported => Color::DarkGrey,
        Verdict::Fail | Verdict::Error => Color::Red,
    })
}

fn gravity(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Pass => 0,
        Verdict::Unsupported => 1,
        Verdict::Graded => 2,
        Verdict::LeftToTheApplication => 3,
        Verdict::Fail => 4,
        Verdict::Error => 5,
    }
}

fn totals(columns: &[Column], layers: &[Layer], colour: bool) -> String {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    let mut head = vec!["implementation".to_owned(), "version".to_owned(), "layer".to_owned()];
    head.extend(Verdict::ALL.iter().map(|verdict| verdict.label().replace(" to the ", " to\nthe ")));
    table.set_header(head);
    for column in columns {
        for layer in layers {
            let count = |verdict: Verdict| {
                column.rows.iter().filter(|row| row.layer == *layer && row.verdict == verdict).count()
            };
            let version = column.description.as_ref().map_or("?", |description| description.version.as_str());
            let mut cells = vec![Cell::new(&column.name), Cell::new(version), Cell::new(layer.label())];
            for verdict in Verdict::ALL {
                let count = count(verdict);
                let cell = Cell::new(count).set_alignment(CellAlignment::Right);
                let bad = colour && count > 0 && !verdict.needs_no_reason();
                cells.push(if bad { cell.fg(Color::Red) } else { cell });
            }
            table.add_row(cells);
        }
    }
    table.to_string()
}

/// What the letters mean.
pub fn legend(layers: &[Layer]) -> String {
    let mut text = String::new();
    if layers.len() > 1 {
        text.push_str("In each field: the library alone (every decision left to the application answered with yes), then the library with the shared policy.\n");
    }
    text.push_str(
        "P pass   F fail   A left to the application: the library asked, and was told yes   G graded: counted, not judged\n\
         - unsupported: a declared property of the protocol or a missing API   E error: the process failed   * expected: harness/divergences.json, --divergences",
    );
    text
}

/// Long names over two lines, so that six columns fit a terminal.
fn wrap(name: &str) -> String {
    match name.rfind('-') {
        Some(place) if name.len() > 12 => format!("{}\n{}", &name[..=place], &name[place + 1..]),
        _ => name.to_owned(),
    }
}
