//! `e2esm record`

use anyhow::{Context, Result, bail};
use e2esm::recorded::scenario::{Order, record as make};
use e2esm::registry;
use e2esm::results::write_atomically;
use e2esm::suite::Target;

use crate::cli::args::{Layers, RecordArguments};
use crate::cli::{AS_EXPECTED, console};

pub(crate) fn record(arguments: &RecordArguments) -> Result<u8> {
    let set = super::vectors(&arguments.vectors)?;
    let vector = set
        .vectors
        .iter()
        .find(|vector| vector.id == arguments.scenario)
        .with_context(|| format!("there is no vector `{}`: see `e2esm list vectors`", arguments.scenario))?;
    let Some(adapter) = registry::find(&arguments.adapter) else {
        let known: Vec<_> = registry::built_in().iter().map(|adapter| adapter.describe().name).collect();
        bail!("there is no implementation `{}`: expected one of {}", arguments.adapter, known.join(", "));
    };
    let description = adapter.describe();
    let played: Vec<_> = description.recorded.iter().map(|protocol| protocol.label()).collect();
    let protocol = match (arguments.protocol, description.recorded.first()) {
        (Some(protocol), _) if description.recorded.contains(&protocol) => protocol,
        (None, Some(first)) => *first,
        _ => bail!("{} records vectors of: {}", arguments.adapter, played.join(", ")),
    };
    let date = match &arguments.date {
        Some(date) => date.clone(),
        None => chrono::Utc::now().format("%Y-%m-%d").to_string(),
    };
    let settings = super::settings(&arguments.limits, Layers::Library);
    let order = Order { vector, device: &arguments.passive, protocol, date: &date, seed: settings.seed };
    let target = Target::built_in(super::program()?, &arguments.adapter);
    let mut recorded = make(&order, &target.launch, &description, adapter.as_ref(), settings.limits)
        .with_context(|| format!("recording {} with {}", vector.id, arguments.adapter))?;
    for other in registry::built_in() {
        recorded
            .confirm(other.as_ref())
            .context("nothing is recorded that another implementation does not agree with")?;
    }
    let ids = set.requirements.iter().map(|requirement| requirement.id.clone()).collect();
    let problems = e2esm_playback::check(&recorded, &ids);
    if !problems.is_empty() {
        bail!("what was recorded is no vector: {}", problems.join("; "));
    }
    let text = e2esm_playback::write(&recorded)?;
    match &arguments.out {
        Some(path) => {
            if path.exists() {
                bail!("{}: is there already; a published vector never changes", path.display());
            }
            write_atomically(path, text.as_bytes()).with_context(|| format!("writing {}", path.display()))?;
            let confirmed: Vec<_> = recorded.confirmed_by.iter().map(|by| by.implementation.as_str()).collect();
            let confirmed =
                if confirmed.is_empty() { "nobody yet: provisional".to_owned() } else { confirmed.join(", ") };
            console::say(format_args!(
                "wrote {}: {} with {} deliveries, confirmed by {confirmed}",
                path.display(),
                recorded.id,
                recorded.deliveries.len()
            ));
        }
        None => console::say(text.trim_end()),
    }
    Ok(AS_EXPECTED)
}
