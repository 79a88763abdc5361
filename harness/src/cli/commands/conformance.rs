//! `e2esm conformance`

use anyhow::{Error, Result};
use console::style;
use e2esm::conformance::{Outcome, checks, examine};
use e2esm::peers::is_name;
use e2esm::suite::Target;
use e2esm::worker::{Limits, Worker};
use serde_json::json;

use crate::cli::args::{ConformanceArguments, Layers, RogueFormat};
use crate::cli::{AS_EXPECTED, UNEXPECTED, console as terminal};

pub(crate) fn conformance(arguments: &ConformanceArguments) -> Result<u8> {
    let limits = super::settings(&arguments.limits, Layers::Library).limits;
    let target = super::target(&arguments.adapter, &arguments.peers, &arguments.limits)
        .or_else(|error| misnamed(&arguments.adapter, limits, error))?;
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

/// A program that `run` refuses for the name that it gives itself: here that is a point like others.
fn misnamed(text: &str, limits: Limits, refused: Error) -> Result<Target> {
    if !text.contains(std::path::MAIN_SEPARATOR) && !text.contains(char::is_whitespace) {
        return Err(refused);
    }
    // Asked without any patience it has said no name, and is called after its file.
    let Ok((target, _)) = super::foreign(text, &super::program()?, Limits { seconds: 0.0, ..limits }) else {
        return Err(refused);
    };
    match Worker::start(&target.launch, limits).and_then(|mut worker| worker.hello()) {
        Ok(description) if !is_name(&description.name) => Ok(target),
        _ => Err(refused),
    }
}
