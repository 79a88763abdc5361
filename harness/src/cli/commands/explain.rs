//! `e2esm explain`

use anyhow::{Context, Result, anyhow};
use e2esm::probe::probe;
use e2esm::report::story::{self, Mood};
use e2esm::suite::{Target, observe};
use e2esm::worker::Worker;

use crate::cli::args::ExplainArguments;
use crate::cli::{AS_EXPECTED, console};

pub(crate) fn explain(arguments: &ExplainArguments) -> Result<u8> {
    let set = super::vectors(&arguments.vectors)?;
    let vector = set
        .vectors
        .iter()
        .find(|vector| vector.id == arguments.vector)
        .with_context(|| format!("there is no vector `{}`: see `e2esm list vectors`", arguments.vector))?;
    let settings = super::settings(&arguments.limits, arguments.layer);
    let target = if e2esm::rogues::all().iter().any(|rogue| rogue.name == arguments.adapter) {
        Target::rogue(super::program()?, &arguments.adapter)
    } else {
        super::target(&arguments.adapter, &arguments.peers, &arguments.limits)
            .context("`e2esm list adapters` and `e2esm list rogues` say what there is")?
    };
    let description = Worker::start(&target.launch, settings.limits)
        .and_then(|mut worker| probe(&mut worker))
        .map_err(|failure| anyhow!("{}: it {failure}", target.name))?;
    console::tell(&vec![
        (Mood::Heading, format!("{}: {}", vector.id, vector.title)),
        (Mood::Plain, vector.description.clone()),
        (
            Mood::Faint,
            format!(
                "played by {} {} ({}, {}, {})",
                description.implementation,
                description.version,
                description.protocol,
                description.cipher_suite,
                description.crypto_provider
            ),
        ),
    ]);
    for layer in &settings.layers {
        console::say("");
        let observations = observe(&target, &description, vector, *layer, &settings);
        console::tell(&story::explain(vector, *layer, &observations));
    }
    Ok(AS_EXPECTED)
}
