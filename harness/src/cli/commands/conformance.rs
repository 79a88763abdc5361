//! `e2esm conformance`

use anyhow::Result;
use console::style;
use e2esm::conformance::{Outcome, checks, examine};
use serde_json::json;

use crate::cli::args::{ConformanceArguments, Layers, RogueFormat};
use crate::cli::{AS_EXPECTED, UNEXPECTED, console as terminal};

pub(crate) fn conformance(arguments: &ConformanceArguments) -> Result<u8> {
    let target = super::target(&arguments.adapter, &arguments.peers, &arguments.limits)?;
    let limits = super::settings(&arguments.limits, Layers::Library).limits;
    let bar = terminal::progress(checks(), "asking");
    let points = examine(&target, limits, &|| bar.inc(1));
    bar.finish_and_clear();
    let count = |wanted: fn(&Outcome) -> bool| points.iter().filter(|point| wanted(&point.outcome)).count();
    let broken = count(|outcome| matches!(outcome, Outcome::Broken(_)));
    match arguments.format {
        RogueFormat::Json => {
            terminal::say(serde_json::to_string_pretty(&json!({ "adapter": target.name, "points": points }))?)
        }
        RogueFormat::Table => {
            let colour = terminal::colour();
            for point in &points {
                let (word, because) = match &point.outcome {
                    Outcome::Kept => (style("kept   ").green(), None),
                    Outcome::Broken(because) => (style("broken ").red(), Some(because)),
                    Outcome::Skipped(because) => (style("skipped").yellow(), Some(because)),
                };
                terminal::say(format_args!("{} {}", word.force_styling(colour), point.says));
                if let Some(because) = because {
                    terminal::say(format_args!("        {because}"));
                }
            }
            terminal::say(format_args!(
                "\n{}: {} kept, {broken} broken, {} skipped of {} points of adapters/PROTOCOL.md",
                target.name,
                count(|outcome| *outcome == Outcome::Kept),
                count(|outcome| matches!(outcome, Outcome::Skipped(_))),
                points.len()
            ));
        }
    }
    Ok(if broken == 0 { AS_EXPECTED } else { UNEXPECTED })
}
